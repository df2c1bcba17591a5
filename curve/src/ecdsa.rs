//! Checks ECDSA signatures, with exactly the acceptance of k256.
//!
//! A signature (r, s) of digest z under key Q holds if r is congruent modulo n to the x-coordinate of R = (z/s) · G +
//! (r/s) · Q. r and s are from 1 to n - 1, and s is at most n/2 (low), so that no signature has a second form. A
//! recoverable signature (r, s, v) holds if R itself is the point with x-coordinate r and a y of parity v.
//!
//! Source: SEC 1, version 2.0, section 4.1.4 (checks) and section 4.1.6 (recovery).

use k256::{
    Scalar, U256,
    elliptic_curve::{PrimeField, ops::Reduce, scalar::IsHigh},
};

#[cfg(feature = "k256-alone")]
use crate::alone::{Jacobian, KnownKey, Point, combination, inverse};
#[cfg(not(feature = "k256-alone"))]
use crate::{
    known::KnownKey,
    point::{Jacobian, Point},
    scalar::inverse,
    sum::combination,
};

/// The parts of a recoverable signature, each in its valid range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recoverable {
    /// The x-coordinate of the nonce point, not zero.
    pub r: Scalar,
    /// The second part of the signature: low and not zero.
    pub s: Scalar,
    /// The parity of the y-coordinate of the nonce point.
    pub y_is_odd: bool,
}

impl Recoverable {
    /// Reads r ‖ s ‖ v. Returns `None` if r or s is zero or at least the group's order, if s is high, or if v is
    /// neither 0 nor 1.
    pub fn from_bytes(signature: &[u8; 65]) -> Option<Self> {
        let (rs, [v]) = signature.split_first_chunk::<64>()? else { return None };
        let (r, s) = parts(rs)?;
        (*v <= 1).then_some(Self { r, s, y_is_odd: *v == 1 })
    }

    /// Returns the point that the signature commits to, or `None` if no point has this x-coordinate. Cost: one square
    /// root (4 µs).
    pub fn nonce_point(&self) -> Option<Point> {
        Point::from_x(&self.r.to_repr().into(), self.y_is_odd)
    }
}

/// Returns true if a signature r ‖ s of a 32-byte digest holds under a key. The result is that of k256's
/// `verify_prehash`: a signature with high s does not hold. Cost: about 37 µs.
pub fn verify(key: &Point, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    holds(digest, signature, |u1, u2| combination(u1, key, u2))
}

/// Returns true if a signature r ‖ s ‖ v of a 32-byte digest holds under a key: v is 0 or 1, s is low, and the nonce
/// point has r itself as its x-coordinate and a y-coordinate of parity v. Cost: about 39 µs.
pub fn recovers(key: &Point, digest: &[u8; 32], signature: &[u8; 65]) -> bool {
    recovers_by(digest, signature, |u1, u2| combination(u1, key, u2))
}

impl KnownKey {
    /// Returns the same as [`verify`]. Cost: about 16 µs.
    pub fn verify(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        holds(digest, signature, |u1, u2| self.combination(u1, u2))
    }

    /// Returns the same as [`recovers`]. Cost: about 17 µs.
    pub fn recovers(&self, digest: &[u8; 32], signature: &[u8; 65]) -> bool {
        recovers_by(digest, signature, |u1, u2| self.combination(u1, u2))
    }
}

fn holds(digest: &[u8; 32], signature: &[u8; 64], combination: impl Fn(&Scalar, &Scalar) -> Jacobian) -> bool {
    let Some((r, s)) = parts(signature) else { return false };
    nonce_point(digest, &r, &s, combination).x_is_congruent_to(&r)
}

fn recovers_by(digest: &[u8; 32], signature: &[u8; 65], combination: impl Fn(&Scalar, &Scalar) -> Jacobian) -> bool {
    let Some(Recoverable { r, s, y_is_odd }) = Recoverable::from_bytes(signature) else { return false };
    nonce_point(digest, &r, &s, combination).is_point_with(&r, y_is_odd)
}

/// Returns (z/s) · G + (r/s) · Q.
fn nonce_point(
    digest: &[u8; 32],
    r: &Scalar,
    s: &Scalar,
    combination: impl Fn(&Scalar, &Scalar) -> Jacobian,
) -> Jacobian {
    let s_inverse = inverse(s);
    let z = <Scalar as Reduce<U256>>::reduce(&U256::from_be_slice(digest));
    combination(&(z * s_inverse), &(*r * s_inverse))
}

/// Reads r ‖ s. Returns `None` if one of them is zero or at least the group's order, or if s is high.
fn parts(signature: &[u8; 64]) -> Option<(Scalar, Scalar)> {
    let (halves, _) = signature.as_chunks::<32>();
    let [r, s] = halves else { return None };
    let scalar = |bytes: &[u8; 32]| {
        let scalar: Option<Scalar> = Scalar::from_repr((*bytes).into()).into();
        scalar.filter(|scalar| !bool::from(scalar.is_zero()))
    };
    let (r, s) = (scalar(r)?, scalar(s)?);
    (!bool::from(s.is_high())).then_some((r, s))
}
