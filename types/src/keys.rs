//! secp256k1 keys and signatures, for accounts and for validators that choose this key type (`consensus_key` has the
//! other one).
//!
//! Signing is deterministic (RFC 6979), so the same message under the same key always has the same signature bytes.
//! Signatures are low-S; a high-S signature does not verify, so the bytes of a signature cannot be changed without the
//! key.

use std::{fmt, hash::Hash as StdHash, hash::Hasher};

use curve::Point;
use k256::ecdsa::{RecoveryId, SigningKey, signature::hazmat::PrehashSigner};
use ripemd::Ripemd160;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    Address, Hash,
    memo::{lives, made, once, parsed},
};

/// Reason why a key or a signature is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The bytes are not a secret key: 32 bytes of a scalar from 1 to below the group's order.
    #[error("not a secp256k1 secret key")]
    SecretKey,
    /// The bytes are not a seed of 32 bytes.
    #[error("not the seed of an Ed25519 key, which has 32 bytes")]
    Ed25519SecretKey,
    /// The bytes are not a public key: 33 bytes of a compressed point on the curve.
    #[error("not a compressed secp256k1 public key")]
    PublicKey,
    /// The bytes are not 32 bytes of a point on edwards25519, not its canonical encoding, or a point of small order.
    #[error("not an Ed25519 public key (a canonically encoded point that is not of small order)")]
    Ed25519PublicKey,
    /// The signature is not of this message under this key, is high-S, or is malformed.
    #[error("the signature is not of this message under this key")]
    Mismatch,
}

/// A consensus signature of 64 bytes: `r ‖ s`, low-S (secp256k1), or `R ‖ s` (Ed25519).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature(pub [u8; 64]);

/// A transaction's signature of 65 bytes, `r ‖ s ‖ v`. `v` (0 or 1) is the parity of the nonce point. It is verified,
/// so it cannot be changed without the key either, and it allows many signatures to be verified together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxSignature(pub [u8; 65]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", data_encoding::HEXUPPER.encode(&self.0[..6]))
    }
}

impl fmt::Debug for TxSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxSignature({}…)", data_encoding::HEXUPPER.encode(&self.0[..6]))
    }
}

/// A point on the curve, parsed once (4 µs), with its compressed bytes and its address.
#[derive(Clone, Copy)]
pub struct PublicKey {
    bytes: [u8; 33],
    address: Address,
    point: Point,
}

impl PublicKey {
    /// Creates a key from the 33 bytes of a compressed point: 2 for an even y or 3 for an odd one, then x.
    ///
    /// Errors: `SignatureError::PublicKey` if the bytes are not a compressed point on the curve. SEC 1 has also a form without the sign
    /// of y, which begins with 5. It would give a key a second encoding, and thus a second address.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bytes: [u8; 33] = bytes.try_into().map_err(|_| SignatureError::PublicKey)?;
        let parse = || Point::from_compressed(&bytes).map(|point| (point, address_of(&bytes)));
        let (point, address) = parsed(&bytes, parse).ok_or(SignatureError::PublicKey)?;
        Ok(Self { bytes, address, point })
    }

    /// Returns the compressed point of 33 bytes.
    pub fn bytes(&self) -> &[u8; 33] {
        &self.bytes
    }

    pub(crate) fn point(&self) -> &Point {
        &self.point
    }

    /// Returns the address: RIPEMD-160 of SHA-256 of the compressed point, as in Tendermint.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Checks `signature` over a 32-byte digest. Cost: about 37 µs.
    ///
    /// Errors: `SignatureError::Mismatch` if the signature does not hold, is high-S or is malformed.
    pub fn verify(&self, digest: &Hash, signature: &Signature) -> Result<(), SignatureError> {
        if curve::verify(&self.point, &digest.0, &signature.0) { Ok(()) } else { Err(SignatureError::Mismatch) }
    }

    /// Checks `signature`, recovery bit included, over a 32-byte digest. Cost: about 39 µs.
    ///
    /// Errors: `SignatureError::Mismatch`, also if only the recovery bit is wrong.
    pub fn verify_recoverable(&self, digest: &Hash, signature: &TxSignature) -> Result<(), SignatureError> {
        let holds = || curve::recovers(&self.point, &digest.0, &signature.0);
        if once(transaction_parts(&self.bytes, signature, digest), holds) {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }
}

/// A public key with a table of its multiples, with which a check costs half as much.
#[derive(Debug)]
pub struct PreparedKey(curve::KnownKey);

impl PreparedKey {
    /// Memory of one key, in bytes.
    pub const BYTES: usize = 80_000;

    /// Makes the table. Cost: about 15 checks.
    pub fn new(key: &PublicKey) -> Self {
        Self(curve::KnownKey::new(&key.point))
    }

    /// Checks as [`PublicKey::verify`] does, with the same result. Cost: about 16 µs.
    ///
    /// Errors: those of [`PublicKey::verify`].
    pub fn verify(&self, digest: &Hash, signature: &Signature) -> Result<(), SignatureError> {
        if self.0.verify(&digest.0, &signature.0) { Ok(()) } else { Err(SignatureError::Mismatch) }
    }
}

fn address_of(key: &[u8; 33]) -> Address {
    Address(Ripemd160::digest(Sha256::digest(key)).into())
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl StdHash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", data_encoding::HEXUPPER.encode(&self.bytes))
    }
}

/// A scalar that signs. It is never printed, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Creates a key from 32 bytes.
    ///
    /// Errors: `SignatureError::SecretKey` for zero, for values at or above the group's order, and for another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        if bytes.len() != 32 {
            return Err(SignatureError::SecretKey);
        }
        SigningKey::from_slice(bytes).map(Self).map_err(|_| SignatureError::SecretKey)
    }

    /// Returns the 32 secret bytes of the scalar, big-endian. The caller must keep them secret.
    pub fn bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// Returns the public half of the key.
    pub fn public_key(&self) -> PublicKey {
        let bytes = self.compressed();
        let point =
            Point::from_k256(self.0.verifying_key().as_affine()).expect("a public key is not the point at infinity");
        PublicKey { bytes, address: address_of(&bytes), point }
    }

    /// Returns the 33 bytes of the public half of the key.
    pub(crate) fn compressed(&self) -> [u8; 33] {
        let point = self.0.verifying_key().to_sec1_point(true);
        point.as_bytes().try_into().expect("a compressed point has 33 bytes")
    }

    /// Signs a 32-byte digest. Cost: about 33 µs.
    pub fn sign(&self, digest: &Hash) -> Signature {
        let signature: k256::ecdsa::Signature = self.0.sign_prehash(&digest.0).expect("a 32-byte digest can be signed");
        Signature(signature.to_bytes().into())
    }

    /// Signs a 32-byte digest and adds the recovery bit.
    pub fn sign_recoverable(&self, digest: &Hash) -> TxSignature {
        let (signature, recovery): (k256::ecdsa::Signature, RecoveryId) = self.0.sign_prehash_recoverable(&digest.0);
        // The x-coordinate of the nonce point reaches the group's order about once in 2^127 signatures. Then v is 2 or
        // 3, and the signature is refused, not accepted wrongly.
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = recovery.to_byte();
        let signature = TxSignature(bytes);
        if lives() && bytes[64] <= 1 {
            made(transaction_parts(&self.compressed(), &signature, digest));
        }
        signature
    }
}

/// Returns the parts of the check of a recoverable signature.
fn transaction_parts<'a>(key: &'a [u8; 33], signature: &'a TxSignature, digest: &'a Hash) -> [&'a [u8]; 4] {
    [b"transaction", key, &signature.0, &digest.0]
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{blake3, sha256};

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32]).unwrap()
    }

    #[test]
    fn signatures_hold_for_their_message_and_key_only() {
        let digest = sha256(b"message");
        let signature = key(1).sign(&digest);
        assert_eq!(key(1).public_key().verify(&digest, &signature), Ok(()));
        assert!(key(2).public_key().verify(&digest, &signature).is_err());
        assert!(key(1).public_key().verify(&sha256(b"other"), &signature).is_err());
        assert_eq!(key(1).sign(&digest), signature, "signing is deterministic");
    }

    #[test]
    fn every_bit_of_a_recoverable_signature_counts() {
        for seed in 1..6 {
            let digest = blake3(&[seed]);
            let signature = key(seed).sign_recoverable(&digest);
            assert_eq!(key(seed).public_key().verify_recoverable(&digest, &signature), Ok(()));
            assert_eq!(signature.0[..64], key(seed).sign(&digest).0);
            for bit in 0..65 * 8 {
                let mut changed = signature;
                changed.0[bit / 8] ^= 1 << (bit % 8);
                assert!(key(seed).public_key().verify_recoverable(&digest, &changed).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn high_s_is_refused() {
        let digest = sha256(b"message");
        let signature = key(1).sign(&digest);
        let parsed = k256::ecdsa::Signature::from_slice(&signature.0).unwrap();
        let (r, s) = parsed.split_scalars();
        let high = k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
        let high = Signature(high.to_bytes().into());
        assert!(key(1).public_key().verify(&digest, &high).is_err());
        let mut recoverable = TxSignature([0; 65]);
        recoverable.0[..64].copy_from_slice(&high.0);
        for v in 0..4 {
            recoverable.0[64] = v;
            assert!(key(1).public_key().verify_recoverable(&digest, &recoverable).is_err());
        }
    }

    #[test]
    fn golden_key_address_and_signature() {
        let public = key(7).public_key();
        assert_eq!(
            data_encoding::HEXLOWER.encode(public.bytes()),
            "02989c0b76cb563971fdc9bef31ec06c3560f3249d6ee9e5d83c57625596e05f6f"
        );
        assert_eq!(PublicKey::from_bytes(public.bytes()), Ok(public));
        let theirs = tendermint::PublicKey::from_raw_secp256k1(public.bytes()).unwrap();
        assert_eq!(tendermint::account::Id::from(theirs).as_bytes(), public.address().0);
    }

    #[test]
    fn bad_keys_are_refused() {
        for bad in [&[0_u8; 32][..], &[0xFF; 32], &[1; 31], &[1; 33], &[]] {
            assert!(SecretKey::from_bytes(bad).is_err());
        }
        for bad in [&[0_u8; 33][..], &[2; 32], &[4; 65], &[]] {
            assert!(PublicKey::from_bytes(bad).is_err());
        }
        let mut bytes = *key(7).public_key().bytes();
        let accepted: Vec<u8> = (0..=u8::MAX)
            .filter(|tag| {
                bytes[0] = *tag;
                PublicKey::from_bytes(&bytes).is_ok()
            })
            .collect();
        assert_eq!(accepted, [2, 3], "one point, one encoding");
        assert_eq!(format!("{:?}", key(1)), "SecretKey(hidden)");
    }
}
