//! Computes everything with k256, for the feature `k256-alone`. The types and functions are those of the files `point`,
//! `known`, `scalar` and `sum`.

use k256::{
    AffinePoint, ProjectivePoint, Scalar,
    elliptic_curve::{
        Group, PrimeField,
        ff::BatchInverter,
        ops::{LinearCombination, MulByGeneratorVartime, Reduce},
        point::{AffineCoordinates, DecompressPoint},
        sec1::ToSec1Point,
        subtle::Choice,
    },
};

use crate::encoding::x_and_parity;

/// A point of the curve, in affine coordinates. It is never the point at infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point(AffinePoint);

impl Point {
    /// Reads the 33 bytes of a compressed point: 2 for an even y or 3 for an odd one, then x. Returns `None` for
    /// other first bytes, for an x of p or more, and if no point has this x.
    pub fn from_compressed(bytes: &[u8; 33]) -> Option<Self> {
        let (x, y_is_odd) = x_and_parity(bytes)?;
        Self::from_x(x, y_is_odd)
    }

    /// Returns the point with an x-coordinate of 32 big-endian bytes and an odd or even y. Returns `None` for an x of
    /// p or more, and if no point has this x.
    pub fn from_x(x: &[u8; 32], y_is_odd: bool) -> Option<Self> {
        let point: Option<AffinePoint> = AffinePoint::decompress(&(*x).into(), Choice::from(u8::from(y_is_odd))).into();
        point.map(Self)
    }

    /// Returns the compressed point: 2 for an even y or 3 for an odd one, then x.
    pub fn to_compressed(self) -> [u8; 33] {
        self.0.to_sec1_point(true).as_bytes().try_into().expect("a compressed point has 33 bytes")
    }

    /// Converts a point of k256. Returns `None` for the point at infinity.
    pub fn from_k256(point: &AffinePoint) -> Option<Self> {
        (*point != AffinePoint::IDENTITY).then_some(Self(*point))
    }

    /// Returns the same point as a point of k256.
    pub fn to_k256(self) -> AffinePoint {
        self.0
    }
}

impl std::ops::Neg for Point {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

/// A public key that signs often. With k256 alone, it has no table.
#[derive(Debug)]
pub struct KnownKey {
    point: Point,
}

impl KnownKey {
    /// Creates a known key.
    pub fn new(key: &Point) -> Self {
        Self { point: *key }
    }

    /// Returns the key as a point.
    pub fn point(&self) -> &Point {
        &self.point
    }

    pub(crate) fn combination(&self, u1: &Scalar, u2: &Scalar) -> Jacobian {
        combination(u1, &self.point, u2)
    }
}

/// A point of the curve or the point at infinity.
pub(crate) struct Jacobian(ProjectivePoint);

impl Jacobian {
    /// Returns true if the x-coordinate is congruent to r modulo the order of the group. r is not zero.
    pub(crate) fn x_is_congruent_to(&self, r: &Scalar) -> bool {
        <Scalar as Reduce<_>>::reduce(&self.0.to_affine().x()) == *r
    }

    /// Returns true if this is the point with x-coordinate r and the parity of y.
    pub(crate) fn is_point_with(&self, r: &Scalar, y_is_odd: bool) -> bool {
        let point = self.0.to_affine();
        point.x() == r.to_repr() && bool::from(point.y_is_odd()) == y_is_odd
    }
}

/// Returns u1 · G + u2 · Q, where G is the generator.
pub(crate) fn combination(u1: &Scalar, key: &Point, u2: &Scalar) -> Jacobian {
    Jacobian(ProjectivePoint::mul_by_generator_and_mul_add_vartime(u1, u2, &ProjectivePoint::from(key.0)))
}

/// Returns the inverse, and zero for zero.
pub(crate) fn inverse(scalar: &Scalar) -> Scalar {
    Option::from(scalar.invert_vartime()).unwrap_or(Scalar::ZERO)
}

/// Replaces each scalar by its inverse; zero stays zero.
pub fn invert_all(scalars: &mut [Scalar]) {
    BatchInverter::invert_with_external_scratch(scalars, &mut vec![Scalar::ZERO; scalars.len()]);
}

/// One signature of a batch. It claims that the sum of u1 · G and u2 · `key` is `nonce_point`. The difference of both
/// sides is multiplied by `coefficient`.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// The signer's public key.
    pub key: Point,
    /// The product of `coefficient` and u2.
    pub key_scalar: Scalar,
    /// The point that the signature commits to.
    pub nonce_point: Point,
    /// The factor of the difference, which the signer cannot choose.
    pub coefficient: u128,
}

/// Returns true if `generator` · G, and `key_scalar` · `key` - `coefficient` · `nonce_point` of all terms, add up to
/// the point at infinity. `generator` is the sum of `coefficient` · u1. The sum of no terms is the point at infinity.
pub fn sum_is_identity(generator: &Scalar, terms: &[Term]) -> bool {
    let mut products = vec![(ProjectivePoint::GENERATOR, *generator)];
    for term in terms {
        products.push((ProjectivePoint::from(term.key.0), term.key_scalar));
        products.push((-ProjectivePoint::from(term.nonce_point.0), Scalar::from(term.coefficient)));
    }
    ProjectivePoint::lincomb_vartime(products.as_slice()).is_identity().into()
}
