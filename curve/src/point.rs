//! Points of secp256k1, y² = x³ + 7, in affine and in Jacobian coordinates.
//!
//! The group has a prime order, so no point has order 2, and y is never zero.
//!
//! Source: H. Cohen, A. Miyaji, T. Ono, "Efficient Elliptic Curve Exponentiation Using Mixed Coordinates", 1998
//! (Jacobian coordinates); SEC 1, version 2.0, section 2.3 (encodings).

use k256::{
    AffinePoint, Scalar,
    elliptic_curve::{PrimeField, point::AffineCoordinates},
};

use crate::{encoding::x_and_parity, field::Field, words};

/// The constant of the curve's equation.
const B: Field = Field::from_words([7, 0, 0, 0]);

/// A primitive third root of unity in the field. (β x, y) is λ times (x, y), where λ is [`crate::split::LAMBDA`].
const BETA: Field =
    Field::from_words([0xC139_6C28_7195_01EE, 0x9CF0_4975_12F5_8995, 0x6E64_479E_AC34_34E9, 0x7AE9_6A2B_657C_0710]);

/// The order of the group, as an element of the field.
const ORDER: Field =
    Field::from_words([0xBFD2_5E8C_D036_4141, 0xBAAE_DCE6_AF48_A03B, 0xFFFF_FFFF_FFFF_FFFE, 0xFFFF_FFFF_FFFF_FFFF]);

/// The words of p - n, where n is the order of the group.
const P_MINUS_ORDER: [u64; 4] = [0x402D_A172_2FC9_BAEE, 0x4551_2319_50B7_5FC4, 1, 0];

/// A point of the curve, in affine coordinates. It is never the point at infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub(crate) x: Field,
    pub(crate) y: Field,
}

impl Point {
    /// Reads the 33 bytes of a compressed point: 2 for an even y or 3 for an odd one, then x. Returns `None` for
    /// other first bytes, for an x of p or more, and if no point has this x. Cost: one square root (4 µs).
    pub fn from_compressed(bytes: &[u8; 33]) -> Option<Self> {
        let (x, y_is_odd) = x_and_parity(bytes)?;
        Self::from_x(x, y_is_odd)
    }

    /// Returns the point with an x-coordinate of 32 big-endian bytes and an odd or even y. Returns `None` for an x of
    /// p or more, and if no point has this x. Cost: one square root (4 µs).
    pub fn from_x(x: &[u8; 32], y_is_odd: bool) -> Option<Self> {
        let x = Field::from_bytes(x)?;
        let y = (x.square() * x + B).square_root()?;
        Some(Self { x, y: if y.is_odd() == y_is_odd { y } else { (-y).canonical() } })
    }

    /// Returns the compressed point: 2 for an even y or 3 for an odd one, then x.
    pub fn to_compressed(self) -> [u8; 33] {
        let mut bytes = [2 + u8::from(self.y.is_odd()); 33];
        bytes[1..].copy_from_slice(&self.x.to_bytes());
        bytes
    }

    /// Converts a point of k256. Returns `None` for the point at infinity.
    pub fn from_k256(point: &AffinePoint) -> Option<Self> {
        if *point == AffinePoint::IDENTITY {
            return None;
        }
        Some(Self { x: Field::from_bytes(&point.x().into())?, y: Field::from_bytes(&point.y().into())? })
    }

    /// Returns the same point as a point of k256. Cost: about 1 µs.
    pub fn to_k256(self) -> AffinePoint {
        AffinePoint::from_coordinates(&self.x.to_bytes().into(), &self.y.to_bytes().into())
            .expect("a point is on the curve, and its bytes are canonical")
    }

    /// The generator of the group.
    pub(crate) const GENERATOR: Self = Self {
        x: Field::from_words([
            0x59F2_815B_16F8_1798,
            0x029B_FCDB_2DCE_28D9,
            0x55A0_6295_CE87_0B07,
            0x79BE_667E_F9DC_BBAC,
        ]),
        y: Field::from_words([
            0x9C47_D08F_FB10_D4B8,
            0xFD17_B448_A685_5419,
            0x5DA4_FBFC_0E11_08A8,
            0x483A_DA77_26A3_C465,
        ]),
    };

    /// Returns λ times the point.
    #[inline]
    pub(crate) fn times_lambda(self) -> Self {
        Self { x: self.x * BETA, y: self.y }
    }

    #[inline]
    pub(crate) fn negated_if(self, is_negative: bool) -> Self {
        if is_negative { -self } else { self }
    }

    /// Returns the coordinates in canonical form: equal for equal points.
    pub(crate) fn canonical_words(&self) -> [[u64; 4]; 2] {
        [self.x.canonical_words(), self.y.canonical_words()]
    }
}

impl std::ops::Neg for Point {
    type Output = Self;

    #[inline]
    fn neg(self) -> Self {
        Self { x: self.x, y: -self.y }
    }
}

/// A point of the curve or the point at infinity, in Jacobian coordinates: (x, y, z) is the point (x/z², y/z³), and
/// the point at infinity if z is zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jacobian {
    x: Field,
    y: Field,
    z: Field,
}

impl Jacobian {
    pub(crate) const IDENTITY: Self = Self { x: Field::ONE, y: Field::ONE, z: Field::ZERO };

    pub(crate) fn is_identity(&self) -> bool {
        self.z.is_zero()
    }

    /// Returns twice the point. Cost: 3 multiplications and 4 squarings.
    ///
    /// Source: the formulas of the tangent for a = 0, with D = 4 x y².
    #[inline]
    pub(crate) fn double(&self) -> Self {
        // y is never zero, so z stays zero or not zero.
        let y2 = self.y.square();
        let d = (self.x * y2).times(4);
        let e = self.x.square().times(3);
        let x = e.square() - d.double();
        let y = e * (d - x) - y2.square().times(8);
        Self { x, y, z: (self.y * self.z).double() }
    }

    /// Returns the sum with an affine point. Cost: 8 multiplications and 3 squarings.
    #[inline]
    pub(crate) fn plus_point(&self, point: &Point) -> Self {
        if self.is_identity() {
            return Self::from(*point);
        }
        let z2 = self.z.square();
        let x_difference = point.x * z2 - self.x;
        let y_difference = point.y * z2 * self.z - self.y;
        if x_difference.is_zero() {
            return self.tangent(y_difference);
        }
        Self::chord(self.x, self.y, self.z, x_difference, y_difference)
    }

    /// Returns the sum of two points. Cost: 12 multiplications and 4 squarings.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        if self.is_identity() {
            return *other;
        }
        if other.is_identity() {
            return *self;
        }
        let (z2, other_z2) = (self.z.square(), other.z.square());
        let x = self.x * other_z2;
        let y = self.y * other_z2 * other.z;
        let x_difference = other.x * z2 - x;
        let y_difference = other.y * z2 * self.z - y;
        if x_difference.is_zero() {
            return self.tangent(y_difference);
        }
        Self::chord(x, y, self.z * other.z, x_difference, y_difference)
    }

    /// Returns the sum with a point of equal x: the double of the same point, or the point at infinity for the
    /// negative point.
    #[cold]
    fn tangent(&self, y_difference: Field) -> Self {
        if y_difference.is_zero() { self.double() } else { Self::IDENTITY }
    }

    /// Returns the sum of (x, y, z) and the point whose x and y, with the same z, are larger by the differences.
    #[inline(always)]
    fn chord(x: Field, y: Field, z: Field, x_difference: Field, y_difference: Field) -> Self {
        let square = x_difference.square();
        let cube = square * x_difference;
        let v = x * square;
        let x = y_difference.square() - cube - v.double();
        Self { x, y: y_difference * (v - x) - y * cube, z: z * x_difference }
    }

    /// Returns λ times the point.
    pub(crate) fn times_lambda(self) -> Self {
        Self { x: self.x * BETA, ..self }
    }

    /// Returns the points in affine coordinates, `None` for the point at infinity. Cost: one inversion, and 6
    /// multiplications and a squaring per point.
    pub(crate) fn to_points(points: &[Self]) -> Vec<Option<Point>> {
        let mut inverses: Vec<Field> = points.iter().map(|point| point.z).collect();
        Field::invert_all(&mut inverses, &mut Vec::with_capacity(points.len()));
        points.iter().zip(inverses).map(|(point, inverse)| point.scaled(inverse)).collect()
    }

    /// Returns the affine point, for the inverse of z.
    fn scaled(&self, z_inverse: Field) -> Option<Point> {
        let square = z_inverse.square();
        (!self.is_identity()).then(|| Point { x: self.x * square, y: self.y * square * z_inverse })
    }

    /// Returns true if the x-coordinate is congruent to r modulo the order of the group. r is not zero. Cost: a
    /// squaring and one or two multiplications.
    ///
    /// An x-coordinate is below p and p is below 2n, so x is r, or r + n if this is below p.
    pub(crate) fn x_is_congruent_to(&self, r: &Scalar) -> bool {
        let r = words::from_bytes(&r.to_repr().into());
        let z2 = self.z.square();
        let is = |x: Field| !self.is_identity() && x * z2 == self.x;
        is(Field::from_words(r)) || words::sub(&r, &P_MINUS_ORDER).1 && is(Field::from_words(r) + ORDER)
    }

    /// Returns true if this is the point with x-coordinate r and this parity of y. Cost: an inversion, if x is r.
    pub(crate) fn is_point_with(&self, r: &Scalar, y_is_odd: bool) -> bool {
        let r = Field::from_words(words::from_bytes(&r.to_repr().into()));
        if self.is_identity() || r * self.z.square() != self.x {
            return false;
        }
        self.scaled(self.z.inverse()).is_some_and(|point| point.y.is_odd() == y_is_odd)
    }
}

impl From<Point> for Jacobian {
    fn from(point: Point) -> Self {
        Self { x: point.x, y: point.y, z: Field::ONE }
    }
}

#[cfg(test)]
mod tests {
    use k256::{
        ProjectivePoint,
        elliptic_curve::{
            point::DecompressPoint,
            subtle::{Choice, ConditionallySelectable},
        },
    };

    use super::*;
    use crate::{samples::Random, split::LAMBDA};

    /// Returns multiples of the generator. Some are equal, opposite, λ times each other, or the point at infinity.
    fn multiples() -> Vec<ProjectivePoint> {
        let generator = ProjectivePoint::GENERATOR;
        let lambda = Scalar::from_repr(LAMBDA.into()).unwrap();
        let mut random = Random(1);
        let some = (0..6).map(|_| generator * (Scalar::from(random.word()) * Scalar::from(random.word())));
        let small = (0..5_u64).map(|factor| generator * Scalar::from(factor));
        let all: Vec<ProjectivePoint> = some.chain(small).collect();
        all.iter().flat_map(|point| [*point, -*point, *point * lambda, *point * lambda.square()]).collect()
    }

    /// Converts a point to Jacobian coordinates with a z that is not 1.
    fn scaled(point: &ProjectivePoint, z: Field) -> Jacobian {
        Point::from_k256(&point.to_affine()).map_or(Jacobian { z: Field::ZERO, ..Jacobian::IDENTITY }, |point| {
            Jacobian { x: point.x * z.square(), y: point.y * z.square() * z, z }
        })
    }

    fn affine(point: &Jacobian) -> Option<Point> {
        Jacobian::to_points(&[*point])[0]
    }

    fn expected(point: ProjectivePoint) -> Option<Point> {
        Point::from_k256(&point.to_affine())
    }

    #[test]
    fn sums_are_those_of_k256_also_of_equal_and_opposite_points() {
        let (all, mut random) = (multiples(), Random(2));
        for a in &all {
            let mut z = || Field::from_words(std::array::from_fn(|_| random.word()));
            assert_eq!(affine(&scaled(a, z()).double()), expected(a.double()));
            for b in &all {
                let sum = expected(*a + *b);
                assert_eq!(affine(&scaled(a, z()).plus(&scaled(b, z()))), sum);
                if let Some(b) = expected(*b) {
                    assert_eq!(affine(&scaled(a, z()).plus_point(&b)), sum);
                    assert_eq!(affine(&scaled(a, Field::ONE).plus_point(&b)), sum);
                }
            }
        }
    }

    #[test]
    fn lambda_times_a_point_is_its_product_with_lambda() {
        let lambda = Scalar::from_repr(LAMBDA.into()).unwrap();
        for point in multiples() {
            let product = expected(point * lambda);
            assert_eq!(expected(point).map(Point::times_lambda), product);
            assert_eq!(affine(&scaled(&point, Field::from_words([5; 4])).times_lambda()), product);
        }
    }

    #[test]
    fn many_points_become_affine_together() {
        let all = multiples();
        let scaled: Vec<Jacobian> =
            all.iter().zip(2..).map(|(point, z)| scaled(point, Field::from_words([z, 0, z, 0]))).collect();
        let expected: Vec<Option<Point>> = all.iter().map(|point| expected(*point)).collect();
        assert_eq!(Jacobian::to_points(&scaled), expected);
    }

    #[test]
    fn the_x_coordinate_is_compared_modulo_the_order() {
        // The x-coordinates from n on: the first points of them have these distances to n.
        let order = ORDER.to_bytes();
        let mut found = 0;
        for distance in 0..40_u8 {
            let mut x = order;
            x[31] += distance;
            let point: Option<AffinePoint> = AffinePoint::decompress(&x.into(), Choice::from(0)).into();
            let Some(point) = point else { continue };
            found += 1;
            for z in [1, 7] {
                let point = scaled(&ProjectivePoint::from(point), Field::from_words([z, z, z, z]));
                for r in 1..60_u64 {
                    let r = Scalar::from(r);
                    assert_eq!(point.x_is_congruent_to(&r), r == Scalar::from(u64::from(distance)));
                    assert!(!point.is_point_with(&r, false), "r is not x itself");
                }
            }
        }
        assert!(found > 10);
        // r + n is at most p - 1.
        let last = Scalar::from_repr(words::to_bytes(&words::sub(&P_MINUS_ORDER, &[1, 0, 0, 0]).0).into()).unwrap();
        assert_eq!(Field::from_words(words::from_bytes(&last.to_bytes().into())) + ORDER, -Field::ONE);
        for r in [last, last + Scalar::ONE, last + Scalar::from(2_u64)] {
            // These x are p - 1, p and p + 1: none of the last two may be taken for 0 or 1.
            for x in [-Field::ONE, Field::ZERO, Field::ONE] {
                let is = Jacobian { x, y: Field::ONE, z: Field::ONE }.x_is_congruent_to(&r);
                assert_eq!(is, r == last && x == -Field::ONE);
            }
        }
    }

    #[test]
    fn the_generator_is_that_of_k256() {
        assert_eq!(Point::from_k256(&AffinePoint::GENERATOR), Some(Point::GENERATOR));
    }

    #[test]
    fn the_point_at_infinity_has_no_coordinates() {
        for z in [Field::ZERO, Field::from_words([0xFFFF_FFFE_FFFF_FC2F, u64::MAX, u64::MAX, u64::MAX])] {
            let identity = Jacobian { x: Field::ZERO, y: Field::ONE, z };
            assert!(identity.is_identity() && affine(&identity).is_none());
            for r in 0..3_u64 {
                let is_odd = r == 1;
                assert!(!identity.x_is_congruent_to(&Scalar::from(r)));
                assert!(!identity.is_point_with(&Scalar::from(r), is_odd));
            }
        }
    }

    #[test]
    fn a_selected_point_of_k256_is_the_same_point() {
        // Sums in k256 leave coordinates that are not normalised in every case.
        for (a, b) in multiples().into_iter().zip(multiples().into_iter().skip(3)) {
            let sum = ProjectivePoint::conditional_select(&a, &(a + b), Choice::from(1)).to_affine();
            if let Some(point) = Point::from_k256(&sum) {
                assert_eq!(point.to_k256(), sum);
                assert_eq!(Point::from_compressed(&point.to_compressed()), Some(point));
                assert_eq!((-point).to_k256(), -sum);
            }
        }
    }
}
