//! Hashes, addresses and block ids.

use std::{fmt, str::FromStr};

use data_encoding::{HEXUPPER, HEXUPPER_PERMISSIVE};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A SHA-256 or BLAKE3 hash of 32 bytes. The documentation of each field says which of the two.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

/// An address of 20 bytes that identifies a key. For secp256k1 it is RIPEMD-160 of SHA-256 of the compressed public
/// key; for Ed25519 see [`ConsensusPublicKey::address`](crate::ConsensusPublicKey::address).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 20]);

/// Identifies a transaction: SHA-256 of its full bytes, signature included, as in Tendermint.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub [u8; 32]);

/// Reason why a text is not a hash or an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{got:?} is not {digits} hexadecimal digits")]
pub struct ParseHexError {
    got: String,
    digits: usize,
}

macro_rules! hex_text {
    ($($name:ident $bytes:literal),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXUPPER.encode(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl FromStr for $name {
            type Err = ParseHexError;
            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                HEXUPPER_PERMISSIVE
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| ParseHexError { got: text.chars().take(80).collect(), digits: 2 * $bytes })
            }
        }
        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    )*};
}
hex_text!(Hash 32, Address 20, TxId 32);

impl TxId {
    /// Returns the id of the transaction with these bytes.
    pub fn of(tx: &[u8]) -> Self {
        Self(sha256(tx).0)
    }
}

/// Number of parts of a block, and the Merkle root over them (BLAKE3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartSetHeader {
    /// Number of parts, 1 to [`crate::limits::PARTS_MAX`].
    pub total: u32,
    /// Merkle root over the parts (BLAKE3).
    pub hash: Hash,
}

/// Identifies a block by the hash of its header and by its parts. Nil is `Option::<BlockId>::None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId {
    /// Hash of the header (SHA-256).
    pub hash: Hash,
    /// Identifies the parts of exactly these block bytes.
    pub parts: PartSetHeader,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.hash, f)
    }
}

/// Returns the SHA-256 of `bytes`, for values that other software recomputes.
pub fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// Returns the BLAKE3 of `bytes`, for values that only Cairn computes.
pub fn blake3(bytes: &[u8]) -> Hash {
    Hash(*::blake3::hash(bytes).as_bytes())
}

/// Returns the BLAKE3 of the concatenation of `parts`.
pub fn blake3_parts(parts: &[&[u8]]) -> Hash {
    let mut hasher = ::blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_written_in_upper_case_and_read_in_any() {
        let hash = sha256(b"cairn");
        let text = hash.to_string();
        assert_eq!(text, text.to_uppercase());
        assert_eq!(text.to_lowercase().parse::<Hash>(), Ok(hash));
        assert!("12".parse::<Hash>().is_err());
        assert!("".parse::<Address>().is_err());
        assert!("zz".repeat(20).parse::<Address>().is_err());
    }

    #[test]
    fn golden_hashes() {
        assert_eq!(sha256(b"").to_string(), "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855");
        assert_eq!(blake3(b"").to_string(), "AF1349B9F5F9A1A6A0404DEA36DCC9499BCB25C9ADC112B7CC9A93CAE41F3262");
        assert_eq!(blake3_parts(&[b"ca", b"irn"]), blake3(b"cairn"));
    }
}
