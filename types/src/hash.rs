//! Hashes, and what is identified by one: keys, nodes, transactions and blocks.

use std::{fmt, str::FromStr};

use data_encoding::{HEXLOWER, HEXUPPER, HEXUPPER_PERMISSIVE};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A SHA-256 or BLAKE3 hash of 32 bytes. The documentation of each field says which of the two.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

/// An address of 20 bytes that identifies a key. For secp256k1 it is RIPEMD-160 of SHA-256 of the compressed public
/// key; for Ed25519 see [`ConsensusPublicKey::address`](crate::ConsensusPublicKey::address).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 20]);

/// Identifies a node: the first 20 bytes of the SHA-256 of its Ed25519 public key, as in CometBFT. A peer is known by
/// the id that it proved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 20]);

/// Identifies a transaction: SHA-256 of its full bytes, signature included, as in Tendermint.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub [u8; 32]);

/// Reason why a text is not a hash, an address or an id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{got:?} is not {digits} hexadecimal digits")]
pub struct ParseHexError {
    got: String,
    digits: usize,
}

macro_rules! hex_text {
    ($($name:ident $bytes:literal $encoding:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$encoding.encode(&self.0))
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
hex_text!(Hash 32 HEXUPPER, Address 20 HEXUPPER, TxId 32 HEXUPPER, NodeId 20 HEXLOWER);

impl NodeId {
    /// Returns the id of a node with this Ed25519 public key.
    pub fn of(public_key: &[u8; 32]) -> Self {
        Self(*sha256(public_key).0.first_chunk().expect("a hash is longer than an id"))
    }
}

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

    /// The key is that of RFC 8032, 7.1, test 1; `printf … | xxd -r -p | sha256sum` gives the id.
    #[test]
    fn the_id_of_a_known_node_key_is_written_in_lower_case_and_read_in_any() {
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let id = NodeId::of(&HEXLOWER.decode(key.as_bytes()).unwrap().try_into().unwrap());
        let text = id.to_string();
        assert_eq!(text, "21fe31dfa154a261626bf854046fd2271b7bed4b");
        assert_eq!((text.parse(), text.to_uppercase().parse()), (Ok(id), Ok(id)));
        assert!("00".repeat(21).parse::<NodeId>().is_err());
        let error = "zz".parse::<NodeId>().unwrap_err();
        assert_eq!(error.to_string(), "\"zz\" is not 40 hexadecimal digits");
    }

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
