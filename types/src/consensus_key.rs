//! Consensus keys: validators sign proposals and votes with them.
//!
//! | type | signs | public key | address |
//! |---|---|---|---|
//! | secp256k1 | SHA-256 of the message, by RFC 6979, low S | 33 bytes, compressed point | RIPEMD-160 of its SHA-256 |
//! | Ed25519 | the message, by RFC 8032 | 32 bytes, point | first 20 bytes of its SHA-256 |
//!
//! Both types sign deterministically, and both signatures have 64 bytes. Every node must accept exactly the same
//! signatures, with any library, one by one or in batches. RFC 8032 does not define this completely for Ed25519, so
//! signatures are verified by ZIP 215, as in CometBFT: `s` is below the group's order, so the bytes of a signature
//! cannot be changed without the key; `R` is any encoding of a point; and the equation has the cofactor. The rule for
//! keys in a validator set is stricter: a public key is encoded canonically, so one key has one address, and it is not
//! of small order, because anyone could sign for such a key.

use std::{fmt, str::FromStr, sync::Arc};

use ed25519_zebra::{SigningKey, VerificationKey};
use k256::elliptic_curve::zeroize::Zeroize;
use thiserror::Error;

use crate::{
    Address, PreparedKey, PublicKey, SecretKey, Signature, SignatureError,
    memo::{lives, made, once},
    pb, sha256,
    wire::{DecodeError, Wire},
};

/// Type of a consensus key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// ECDSA over the curve secp256k1.
    #[default]
    Secp256k1,
    /// Ed25519, the default of CometBFT.
    Ed25519,
}

/// A text that names no type of consensus key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{got:?} is not a type of consensus key: use secp256k1 or ed25519")]
pub struct KeyTypeError {
    got: String,
}

impl KeyType {
    /// All types of consensus keys.
    pub const ALL: [Self; 2] = [Self::Secp256k1, Self::Ed25519];

    /// Returns the name of the type in `--key-type` and in `pub_key_types`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secp256k1 => "secp256k1",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Returns the tag of a public key of this type in CometBFT's JSON.
    pub fn public_tag(self) -> &'static str {
        match self {
            Self::Secp256k1 => "tendermint/PubKeySecp256k1",
            Self::Ed25519 => "tendermint/PubKeyEd25519",
        }
    }

    /// Returns the tag of a secret key of this type in CometBFT's JSON.
    pub fn secret_tag(self) -> &'static str {
        match self {
            Self::Secp256k1 => "tendermint/PrivKeySecp256k1",
            Self::Ed25519 => "tendermint/PrivKeyEd25519",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyType {
    type Err = KeyTypeError;
    fn from_str(text: &str) -> Result<Self, KeyTypeError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| KeyTypeError { got: text.chars().take(80).collect() })
    }
}

/// Public key of a validator, parsed once, with its address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ConsensusPublicKey {
    /// A point on secp256k1.
    Secp256k1(PublicKey),
    /// A point on edwards25519.
    Ed25519(Ed25519PublicKey),
}

/// A point on edwards25519, canonically encoded and not of small order, with its address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ed25519PublicKey {
    key: VerificationKey,
    address: Address,
}

impl Ed25519PublicKey {
    /// Creates a key from the 32 bytes of a point.
    ///
    /// Errors: `SignatureError::Ed25519PublicKey` if they are not 32 bytes, not a canonically encoded point, or a point
    /// of small order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| SignatureError::Ed25519PublicKey)?;
        let key = VerificationKey::try_from(bytes).map_err(|_| SignatureError::Ed25519PublicKey)?;
        if !is_canonical(&bytes) || is_of_small_order(&key) {
            return Err(SignatureError::Ed25519PublicKey);
        }
        Ok(Self::new(key))
    }

    fn new(key: VerificationKey) -> Self {
        let mut address = Address::default();
        address.0.copy_from_slice(&sha256(key.as_ref()).0[..20]);
        Self { key, address }
    }

    fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let signature = ed25519_zebra::Signature::from_bytes(&signature.0);
        self.key.verify(&signature, message).map_err(|_| SignatureError::Mismatch)
    }
}

/// Returns true if the y-coordinate is below the field's order, 2^255 − 19. (The other non-canonical encoding, x = 0
/// with a sign, is of small order.)
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [lowest, between @ .., highest] = bytes;
    !(*lowest >= 0xED && between.iter().all(|byte| *byte == 0xFF) && highest & 0x7F == 0x7F)
}

/// Returns true if eight times the point is the identity. Exactly then, "R is the identity, s is 0" is a valid
/// signature of any message: the equation becomes `[8][k]A = 0`, where k is a hash that is not a multiple of the
/// group's order.
fn is_of_small_order(key: &VerificationKey) -> bool {
    let mut forged = [0; 64];
    forged[0] = 1;
    key.verify(&ed25519_zebra::Signature::from_bytes(&forged), b"cairn: a key of small order").is_ok()
}

impl ConsensusPublicKey {
    /// Creates a key of this type from the bytes of a point.
    ///
    /// Errors: `SignatureError::PublicKey` or `SignatureError::Ed25519PublicKey` if the bytes are not a key of this
    /// type.
    pub fn from_bytes(key_type: KeyType, bytes: &[u8]) -> Result<Self, SignatureError> {
        Ok(match key_type {
            KeyType::Secp256k1 => Self::Secp256k1(PublicKey::from_bytes(bytes)?),
            KeyType::Ed25519 => Self::Ed25519(Ed25519PublicKey::from_bytes(bytes)?),
        })
    }

    /// Returns the type of the key.
    pub fn key_type(&self) -> KeyType {
        match self {
            Self::Secp256k1(_) => KeyType::Secp256k1,
            Self::Ed25519(_) => KeyType::Ed25519,
        }
    }

    /// Returns the encoded point: 33 bytes for secp256k1, 32 bytes for Ed25519.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Secp256k1(key) => key.bytes(),
            Self::Ed25519(key) => key.key.as_ref(),
        }
    }

    /// Returns the address, by Tendermint's rule for this type of key.
    pub fn address(&self) -> Address {
        match self {
            Self::Secp256k1(key) => key.address(),
            Self::Ed25519(key) => key.address,
        }
    }

    /// Checks `signature` over `message`. Cost: about 37 µs for secp256k1, 40 µs for Ed25519.
    ///
    /// Errors: `SignatureError::Mismatch` if the signature does not hold.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        self.verify_prepared(message, signature, |_| None)
    }

    /// Checks as [`Self::verify`] does, with the prepared form of a secp256k1 key if `prepared` returns it.
    ///
    /// Errors: those of [`Self::verify`].
    pub fn verify_prepared(
        &self,
        message: &[u8],
        signature: &Signature,
        prepared: impl FnOnce(&PublicKey) -> Option<Arc<PreparedKey>>,
    ) -> Result<(), SignatureError> {
        let parts = message_parts(self.key_type(), self.bytes(), signature, message);
        let holds = || match self {
            Self::Secp256k1(key) => {
                let digest = sha256(message);
                let checked = match prepared(key) {
                    Some(prepared) => prepared.verify(&digest, signature),
                    None => key.verify(&digest, signature),
                };
                checked.is_ok()
            }
            Self::Ed25519(key) => key.verify(message, signature).is_ok(),
        };
        if once(parts, holds) { Ok(()) } else { Err(SignatureError::Mismatch) }
    }
}

impl From<PublicKey> for ConsensusPublicKey {
    fn from(key: PublicKey) -> Self {
        Self::Secp256k1(key)
    }
}

impl PartialEq<PublicKey> for ConsensusPublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        matches!(self, Self::Secp256k1(key) if key == other)
    }
}

impl PartialEq<ConsensusPublicKey> for PublicKey {
    fn eq(&self, other: &ConsensusPublicKey) -> bool {
        other == self
    }
}

impl fmt::Debug for ConsensusPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsensusPublicKey({} {})", self.key_type(), data_encoding::HEXUPPER.encode(self.bytes()))
    }
}

impl fmt::Debug for Ed25519PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519PublicKey({})", data_encoding::HEXUPPER.encode(self.key.as_ref()))
    }
}

impl Wire for ConsensusPublicKey {
    type Pb = pb::PublicKey;
    const NAME: &'static str = "public key";
    const BYTES_MAX: usize = 64;

    fn to_pb(&self) -> pb::PublicKey {
        let bytes = self.bytes().to_vec();
        pb::PublicKey {
            sum: Some(match self {
                Self::Secp256k1(_) => pb::public_key::Sum::Secp256k1(bytes),
                Self::Ed25519(_) => pb::public_key::Sum::Ed25519(bytes),
            }),
        }
    }

    fn from_pb(pb: pb::PublicKey) -> Result<Self, DecodeError> {
        let (key_type, bytes) = match pb.sum {
            Some(pb::public_key::Sum::Secp256k1(bytes)) => (KeyType::Secp256k1, bytes),
            Some(pb::public_key::Sum::Ed25519(bytes)) => (KeyType::Ed25519, bytes),
            None => return Err(DecodeError::field("pub_key", "is missing")),
        };
        Self::from_bytes(key_type, &bytes).map_err(|error| DecodeError::field("pub_key", error))
    }
}

/// A key that signs proposals and votes.
pub trait ConsensusKey {
    /// Signs the message. Signing is deterministic: one message has one signature.
    fn sign_message(&self, message: &[u8]) -> Signature;
}

impl ConsensusKey for SecretKey {
    fn sign_message(&self, message: &[u8]) -> Signature {
        let signature = self.sign(&sha256(message));
        if lives() {
            made(message_parts(KeyType::Secp256k1, &self.compressed(), &signature, message));
        }
        signature
    }
}

/// Returns the parts of the check of a signature of a message.
fn message_parts<'a>(key_type: KeyType, key: &'a [u8], signature: &'a Signature, message: &'a [u8]) -> [&'a [u8]; 4] {
    [key_type.name().as_bytes(), key, &signature.0, message]
}

/// Secret key of a validator. It is never printed, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub enum ConsensusSecretKey {
    /// A scalar of secp256k1.
    Secp256k1(SecretKey),
    /// A seed of Ed25519.
    Ed25519(Ed25519SecretKey),
}

/// An Ed25519 seed and the values derived from it. It is never printed, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Ed25519SecretKey(SigningKey);

impl Drop for Ed25519SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ConsensusSecretKey {
    /// Creates a key of this type from 32 bytes: a scalar or a seed.
    ///
    /// Errors: `SignatureError::SecretKey` or `SignatureError::Ed25519SecretKey` if the bytes are not a secret key of
    /// this type.
    pub fn from_bytes(key_type: KeyType, bytes: &[u8]) -> Result<Self, SignatureError> {
        Ok(match key_type {
            KeyType::Secp256k1 => Self::Secp256k1(SecretKey::from_bytes(bytes)?),
            KeyType::Ed25519 => {
                let seed: [u8; 32] = bytes.try_into().map_err(|_| SignatureError::Ed25519SecretKey)?;
                Self::Ed25519(Ed25519SecretKey(SigningKey::from(seed)))
            }
        })
    }

    /// Returns the 32 secret bytes of the scalar or the seed. The caller must keep them secret.
    pub fn bytes(&self) -> [u8; 32] {
        match self {
            Self::Secp256k1(key) => key.bytes(),
            Self::Ed25519(key) => key.0.to_bytes(),
        }
    }

    /// Returns the type of the key.
    pub fn key_type(&self) -> KeyType {
        match self {
            Self::Secp256k1(_) => KeyType::Secp256k1,
            Self::Ed25519(_) => KeyType::Ed25519,
        }
    }

    /// Returns the public half of the key.
    pub fn public_key(&self) -> ConsensusPublicKey {
        match self {
            Self::Secp256k1(key) => ConsensusPublicKey::Secp256k1(key.public_key()),
            // A clamped scalar is not a multiple of the group's order, so this key is not of small order.
            Self::Ed25519(key) => ConsensusPublicKey::Ed25519(Ed25519PublicKey::new(key.0.verification_key())),
        }
    }
}

impl ConsensusKey for ConsensusSecretKey {
    fn sign_message(&self, message: &[u8]) -> Signature {
        match self {
            Self::Secp256k1(key) => key.sign_message(message),
            Self::Ed25519(key) => {
                let signature = Signature(key.0.sign(message).to_bytes());
                if lives() {
                    made(message_parts(KeyType::Ed25519, key.0.verification_key().as_ref(), &signature, message));
                }
                signature
            }
        }
    }
}

impl From<SecretKey> for ConsensusSecretKey {
    fn from(key: SecretKey) -> Self {
        Self::Secp256k1(key)
    }
}

impl fmt::Debug for ConsensusSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsensusSecretKey(hidden)")
    }
}

impl fmt::Debug for Ed25519SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519SecretKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tendermint::crypto::{default::signature::Verifier, signature::Verifier as _};

    fn key(key_type: KeyType, seed: u8) -> ConsensusSecretKey {
        ConsensusSecretKey::from_bytes(key_type, &[seed; 32]).unwrap()
    }

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
    }

    #[test]
    fn signatures_hold_for_their_message_key_and_type_only() {
        for key_type in KeyType::ALL {
            let (one, two) = (key(key_type, 1), key(key_type, 2));
            let signature = one.sign_message(b"message");
            assert_eq!(one.public_key().verify(b"message", &signature), Ok(()));
            assert!(two.public_key().verify(b"message", &signature).is_err());
            assert!(one.public_key().verify(b"other", &signature).is_err());
            assert_eq!(one.sign_message(b"message"), signature, "signing is deterministic");
            for bit in 0..64 * 8 {
                let mut changed = signature;
                changed.0[bit / 8] ^= 1 << (bit % 8);
                assert!(one.public_key().verify(b"message", &changed).is_err(), "{key_type} bit {bit}");
            }
            let public = one.public_key();
            assert_eq!(ConsensusPublicKey::decode(&public.encode()), Ok(public));
            assert_eq!(ConsensusPublicKey::from_bytes(key_type, public.bytes()), Ok(public));
            assert_eq!(key_type.name().parse(), Ok(key_type));
            assert_eq!(format!("{one:?}"), "ConsensusSecretKey(hidden)");
        }
        let [secp256k1, ed25519] = KeyType::ALL.map(|key_type| key(key_type, 1));
        assert_ne!(secp256k1.public_key().address(), ed25519.public_key().address());
        assert!(ed25519.public_key().verify(b"message", &secp256k1.sign_message(b"message")).is_err());
        assert!(secp256k1.public_key().verify(b"message", &ed25519.sign_message(b"message")).is_err());
        assert!("sr25519".parse::<KeyType>().is_err());
    }

    /// The test vector of RFC 8032, section 7.1, test 2.
    #[test]
    fn golden_ed25519() {
        let secret: [u8; 32] = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let secret = ConsensusSecretKey::from_bytes(KeyType::Ed25519, &secret).unwrap();
        let public: [u8; 32] = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(secret.public_key().bytes(), public);
        let expected = hex(concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ));
        assert_eq!(secret.sign_message(&[0x72]), Signature(expected));
        let theirs = tendermint::PublicKey::from_raw_ed25519(&public).unwrap();
        assert_eq!(tendermint::account::Id::from(theirs).as_bytes(), secret.public_key().address().0);
    }

    /// Adding the group's order to s changes nothing in the equation, but must not give a second valid signature.
    #[test]
    fn an_ed25519_signature_cannot_be_changed_without_the_key() {
        let order: [u8; 32] = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let key = key(KeyType::Ed25519, 1);
        let mut signature = key.sign_message(b"message");
        let mut carry = 0;
        for (byte, add) in signature.0[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert_eq!(carry, 0);
        assert!(key.public_key().verify(b"message", &signature).is_err());
    }

    /// Returns the encodings of the eight points of small order: canonical ones, and those with y beyond the field or a
    /// sign for x = 0.
    fn small_order() -> Vec<[u8; 32]> {
        let mut all: Vec<[u8; 32]> = [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ]
        .map(hex)
        .to_vec();
        let signed = all.clone().into_iter().map(|mut bytes| {
            bytes[31] |= 0x80;
            bytes
        });
        all.extend(signed);
        all
    }

    /// With a key of small order, a signature "R, s = 0" of small order holds for any message under ZIP 215, so such
    /// keys are refused. With a good key, our result for unusual encodings of R is that of the other implementation of
    /// ZIP 215.
    #[test]
    fn keys_of_small_order_are_refused_and_unusual_encodings_of_r_follow_zip_215() {
        for bytes in small_order() {
            assert!(VerificationKey::try_from(bytes).is_ok(), "ZIP 215 would accept it");
            assert_eq!(Ed25519PublicKey::from_bytes(&bytes), Err(SignatureError::Ed25519PublicKey));
        }
        // y = p + 3 is another encoding of y = 3, which is a point of large order.
        for (lowest, rest, highest, holds) in [(3, 0, 0, true), (0xF0, 0xFF, 0x7F, false)] {
            let mut bytes = [rest; 32];
            (bytes[0], bytes[31]) = (lowest, highest);
            assert!(VerificationKey::try_from(bytes).is_ok(), "both are encodings of a point");
            assert_eq!(Ed25519PublicKey::from_bytes(&bytes).is_ok(), holds);
        }
        let good = key(KeyType::Ed25519, 9);
        let theirs = tendermint::PublicKey::from_raw_ed25519(good.public_key().bytes()).unwrap();
        for r in small_order() {
            for s in [[0; 32], [1; 32], good.sign_message(b"m").0[32..].try_into().unwrap()] {
                let signature = Signature([r, s].concat().try_into().unwrap());
                let their_signature = tendermint::Signature::try_from(&signature.0[..]).unwrap();
                let verdict = Verifier.verify(theirs, b"m", &their_signature);
                assert_eq!(good.public_key().verify(b"m", &signature).is_ok(), verdict.is_ok());
                assert!(verdict.is_err(), "forged");
            }
        }
        for bad in [&[0_u8; 31][..], &[0; 33], &[], &[2; 32]] {
            assert!(Ed25519PublicKey::from_bytes(bad).is_err());
        }
    }

    /// A signature that only ZIP 215 accepts: R is off by a point of small order, which the cofactor removes. CometBFT
    /// and batch verification accept it, so Cairn does; RFC 8032's equation without the cofactor would refuse it, and
    /// nodes would disagree.
    #[test]
    fn ed25519_signatures_are_verified_with_the_cofactor() {
        let public: [u8; 32] = hex("04c5158f254c3a6c1f95ced6dc64b223c9706fbf72d2f27dcbc6e7844372977f");
        let public = ConsensusPublicKey::from_bytes(KeyType::Ed25519, &public).unwrap();
        let message = b"cofactor";
        let signature = Signature(hex(concat!(
            "df3826fa765882904ecc9e831921971de01ff2f4b9d5e44956016bec9870af2a",
            "657129ba337d97688c36c3c060f3e371a1d63eebfbef3c07d4a0cf76e3182e0b"
        )));
        assert_eq!(public.verify(message, &signature), Ok(()));
        let theirs = tendermint::PublicKey::from_raw_ed25519(public.bytes()).unwrap();
        let their_signature = tendermint::Signature::try_from(&signature.0[..]).unwrap();
        Verifier.verify(theirs, message, &their_signature).unwrap();
    }
}
