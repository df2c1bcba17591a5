//! Computes sums of products of scalars and points.
//!
//! Small batches: each scalar is written in odd digits, of which about every sixth position has one, and each point
//! has a table of odd multiples (Straus). The multiples at each of the 129 positions are a list; all lists are added up
//! together, and one pass of doublings joins the sums.
//!
//! Large batches: each scalar is written in digits of several bits, and the points with the same digit at the same
//! place are a list, called a bucket (Pippenger). It needs no tables, but a pass over all buckets.
//!
//! Source: E. Straus, "Addition Chains of Vectors", 1964; N. Pippenger, "On the Evaluation of Powers and Related
//! Problems", 1976; D. Bernstein, J. Doumen, T. Lange, J.-J. Oosterwijk, "Faster Batch Forgery Identification", 2012.

use k256::Scalar;

use crate::{
    known::Sums,
    lists::{Lists, pair_sums},
    point::{Jacobian, Point},
    split::{Half, POSITIONS, split, windows},
};

/// Width of the odd digits. Their magnitudes are 1, 3, … 15.
const WIDTH: u32 = 5;

/// Number of odd multiples in the table of a point.
const MULTIPLES: usize = 1 << (WIDTH - 2);

/// Minimum number of products for which buckets are cheaper than tables. A signature has three products, or one if
/// another signature of the batch has the same key.
const BUCKETS_MIN: usize = 350;

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

/// Products of halves of scalars with points. The product with the second half of a key's scalar is one with λ times
/// the key.
struct Products {
    /// The keys, then the nonce points.
    points: Vec<Point>,
    keys: usize,
    /// One half for each point, then the second halves for the keys.
    halves: Vec<Half>,
}

/// Returns true if `generator` · G, and `key_scalar` · `key` - `coefficient` · `nonce_point` of all terms, add up to
/// the point at infinity. `generator` is the sum of `coefficient` · u1. The sum of no terms is the point at infinity.
/// Terms with the same key cost less.
///
/// Cost: about 11 µs per term for 64 terms of different keys, and 7 µs for 1024.
pub fn sum_is_identity(generator: &Scalar, terms: &[Term]) -> bool {
    let products = Products::new(terms);
    let sum = if products.halves.len() < BUCKETS_MIN { products.by_tables() } else { products.by_buckets() };
    let mut of_generator = Sums::new();
    of_generator.add_generator(generator);
    of_generator.total().plus(&sum).is_identity()
}

/// Adds up the scalars of equal points.
fn merged(mut products: Vec<(Point, Scalar)>) -> Vec<(Point, Scalar)> {
    products.sort_unstable_by_key(|(point, _)| point.canonical_words());
    products.dedup_by(|(next, scalar), (point, sum)| {
        let is_equal = next == point;
        if is_equal {
            *sum += *scalar;
        }
        is_equal
    });
    products
}

/// Returns u1 · G + u2 · Q, where G is the generator. Cost: about 33 µs.
pub(crate) fn combination(u1: &Scalar, key: &Point, u2: &Scalar) -> Jacobian {
    let mut multiples = [Jacobian::from(*key); MULTIPLES];
    let double = multiples[0].double();
    for at in 1..MULTIPLES {
        multiples[at] = multiples[at - 1].plus(&double);
    }
    let multiples: Vec<Point> = Jacobian::to_points(&multiples).into_iter().flatten().collect();
    let turned: Vec<Point> = multiples.iter().map(|point| point.times_lambda()).collect();
    let mut digits = [[0; POSITIONS]; 2];
    for (half, digits) in split(u2).iter().zip(&mut digits) {
        half.odd_digits(WIDTH, |position, digit| digits[position] = digit);
    }
    let mut sum = Jacobian::IDENTITY;
    for position in (0..POSITIONS).rev() {
        sum = sum.double();
        for (digits, multiples) in digits.iter().zip([&multiples, &turned]) {
            let digit = digits[position];
            if digit != 0 {
                sum = sum.plus_point(&multiples[digit.unsigned_abs() as usize / 2].negated_if(digit < 0));
            }
        }
    }
    let mut of_generator = Sums::new();
    of_generator.add_generator(u1);
    of_generator.total().plus(&sum)
}

impl Products {
    fn new(terms: &[Term]) -> Self {
        let keys = merged(terms.iter().map(|term| (term.key, term.key_scalar)).collect());
        let (mut halves, seconds): (Vec<Half>, Vec<Half>) = keys.iter().map(|(_, scalar)| split(scalar).into()).unzip();
        halves.extend(terms.iter().map(|term| Half { is_negative: true, magnitude: term.coefficient }));
        halves.extend(seconds);
        let points = keys.iter().map(|(point, _)| *point).chain(terms.iter().map(|term| term.nonce_point));
        Self { points: points.collect(), keys: keys.len(), halves }
    }

    fn by_tables(&self) -> Jacobian {
        let mut entries = Vec::with_capacity(self.halves.len() * (POSITIONS / WIDTH as usize));
        for (index, half) in self.halves.iter().enumerate() {
            half.odd_digits(WIDTH, |position, digit| {
                let point = digit.unsigned_abs() as usize / 2 * self.halves.len() + index;
                entries.push(Entry { list: position as u32, point: point as u32, is_negative: digit < 0 });
            });
        }
        let sums = sums_of(&entries, POSITIONS, &self.odd_multiples());
        sums.iter().rev().fold(Jacobian::IDENTITY, |sum, at_position| {
            let sum = sum.double();
            at_position.as_ref().map_or(sum, |point| sum.plus_point(point))
        })
    }

    /// Returns the points that belong to the halves, then three times each of them, and so on.
    fn odd_multiples(&self) -> Vec<Point> {
        let mut multiples = Vec::with_capacity(MULTIPLES * self.halves.len());
        let doubles = pair_sums(self.points.iter().map(|point| [*point; 2]));
        let mut row = self.points.clone();
        for multiple in 0..MULTIPLES {
            if multiple > 0 {
                let pairs = row.iter().zip(&doubles).filter_map(|(point, double)| Some([*point, (*double)?]));
                row = pair_sums(pairs).into_iter().flatten().collect();
            }
            multiples.extend_from_slice(&row);
            multiples.extend(row[..self.keys].iter().map(|point| point.times_lambda()));
        }
        multiples
    }

    fn by_buckets(&self) -> Jacobian {
        let width = match self.halves.len() {
            ..1000 => 7,
            1000..4000 => 8,
            4000..12000 => 9,
            _ => 10,
        };
        let buckets = 1 << (width - 1);
        let turned = self.points[..self.keys].iter().map(|point| point.times_lambda());
        let points: Vec<Point> = self.points.iter().copied().chain(turned).collect();
        let mut entries: Vec<Vec<Entry>> = (0..windows(width)).map(|_| Vec::with_capacity(points.len())).collect();
        for (index, half) in self.halves.iter().enumerate() {
            for (digit, entries) in half.window_digits(width).zip(&mut entries) {
                if digit != 0 {
                    let (list, point) = (digit.unsigned_abs() - 1, index as u32);
                    entries.push(Entry { list, point, is_negative: digit < 0 });
                }
            }
        }
        entries.iter().rev().fold(Jacobian::IDENTITY, |sum, entries| {
            let sum = (0..width).fold(sum, |sum, _| sum.double());
            sum.plus(&weighted(&sums_of(entries, buckets, &points)))
        })
    }
}

/// A point, by its index, that is added to a list or subtracted from it.
struct Entry {
    list: u32,
    point: u32,
    is_negative: bool,
}

/// Returns the sums of lists. They are sorted by counting.
fn sums_of(entries: &[Entry], lists: usize, points: &[Point]) -> Vec<Option<Point>> {
    let mut lengths = vec![0; lists];
    entries.iter().for_each(|entry| lengths[entry.list as usize] += 1);
    let begin = |end: &mut usize, length: &usize| {
        *end += length;
        Some(*end - length)
    };
    let mut next: Vec<usize> = lengths.iter().scan(0, begin).collect();
    let mut sorted = vec![Point::GENERATOR; entries.len()];
    for entry in entries {
        let place = &mut next[entry.list as usize];
        sorted[*place] = points[entry.point as usize].negated_if(entry.is_negative);
        *place += 1;
    }
    Lists::new(sorted, lengths).sums()
}

/// Returns the sum of (index + 1) · sum over all buckets.
fn weighted(buckets: &[Option<Point>]) -> Jacobian {
    let (mut above, mut total) = (Jacobian::IDENTITY, Jacobian::IDENTITY);
    for bucket in buckets.iter().rev() {
        if let Some(point) = bucket {
            above = above.plus_point(point);
        }
        total = total.plus(&above);
    }
    total
}

#[cfg(test)]
mod tests {
    use k256::{ProjectivePoint, U256, elliptic_curve::ops::Reduce};

    use super::*;
    use crate::{known::KnownKey, samples::Random, split::LAMBDA};

    fn scalar(bytes: [u8; 32]) -> Scalar {
        <Scalar as Reduce<U256>>::reduce(&U256::from_be_slice(&bytes))
    }

    fn point(factor: Scalar) -> Point {
        Point::from_k256(&(ProjectivePoint::GENERATOR * factor).to_affine()).unwrap()
    }

    /// A term whose points are known multiples of the generator, and the sum of its products as such a multiple.
    fn term(key: Scalar, key_scalar: Scalar, nonce: Scalar, coefficient: u128) -> (Term, Scalar) {
        let term = Term { key: point(key), key_scalar, nonce_point: point(nonce), coefficient };
        (term, key * key_scalar - nonce * Scalar::from(coefficient))
    }

    /// Factors that make points equal, opposite, or λ times each other, and random ones.
    fn factor(random: &mut Random) -> Scalar {
        let small = Scalar::from(1 + random.below(3));
        match random.below(6) {
            0 => small,
            1 => -small,
            2 => small * scalar(LAMBDA),
            3 => -small * scalar(LAMBDA).square(),
            _ => scalar(random.plain_bytes()),
        }
    }

    fn scalar_of(random: &mut Random) -> Scalar {
        match random.below(6) {
            0 => Scalar::ZERO,
            1 => -Scalar::from(random.below(40)),
            2 => scalar(LAMBDA) * Scalar::from(random.below(40)),
            _ => scalar(random.bytes()),
        }
    }

    /// Both methods, and the choice between them, give the sum that the multiples of the generator have.
    #[test]
    fn sums_of_chosen_points_are_right_by_both_methods() {
        let mut random = Random(1);
        for count in (0..40).chain([115, 116, 117, 118, 180, 400]) {
            let coefficient = |random: &mut Random| u128::from_be_bytes(*random.bytes().first_chunk().unwrap());
            let both: Vec<(Term, Scalar)> = (0..count)
                .map(|_| {
                    let (key, by, nonce) = (factor(&mut random), scalar_of(&mut random), factor(&mut random));
                    term(key, by, nonce, coefficient(&mut random))
                })
                .collect();
            let (terms, sums): (Vec<Term>, Vec<Scalar>) = both.into_iter().unzip();
            let sum = sums.iter().fold(Scalar::ZERO, |sum, one| sum + one);
            let products = Products::new(&terms);
            let expected = Point::from_k256(&(ProjectivePoint::GENERATOR * sum).to_affine());
            assert_eq!(Jacobian::to_points(&[products.by_tables(), products.by_buckets()]), [expected; 2], "{count}");
            assert!(sum_is_identity(&-sum, &terms), "{count}");
            assert!(!sum_is_identity(&(Scalar::ONE - sum), &terms), "{count}");
        }
    }

    #[test]
    fn all_products_may_cancel() {
        let lambda = scalar(LAMBDA);
        for k in [Scalar::ONE, Scalar::from(15_u64), Scalar::from(16_u64), scalar([0xA5; 32]), -Scalar::ONE, lambda] {
            // k P + k (-P), k P + (k λ²) (λ P), and k P - c R for the same product.
            let (p, turned) = (Scalar::from(3_u64), Scalar::from(3_u64) * lambda);
            let pairs = [(p, k, -p, k), (p, k, turned, -k * lambda.square()), (p, k, p, -k)];
            for (key, by, other, by_other) in pairs {
                let both = [term(key, by, p, 9), term(other, by_other, -p, 9)];
                let terms = both.map(|(term, _)| term);
                assert!(sum_is_identity(&Scalar::ZERO, &terms));
                let products = Products::new(&terms);
                assert!(products.by_tables().is_identity() && products.by_buckets().is_identity());
            }
        }
        assert!(sum_is_identity(&Scalar::ZERO, &[]) && !sum_is_identity(&Scalar::ONE, &[]));
    }

    #[test]
    fn combinations_are_right_with_and_without_a_table() {
        let mut random = Random(2);
        for _ in 0..100 {
            let key = factor(&mut random);
            let known = KnownKey::new(&point(key));
            for _ in 0..10 {
                let u2 = scalar_of(&mut random);
                // The second one makes both products opposite, and the third one equal.
                for u1 in [scalar_of(&mut random), -key * u2, key * u2] {
                    let expected = Point::from_k256(&(ProjectivePoint::GENERATOR * (u1 + key * u2)).to_affine());
                    let both = [combination(&u1, known.point(), &u2), known.combination(&u1, &u2)];
                    assert_eq!(Jacobian::to_points(&both), [expected; 2]);
                }
            }
        }
    }
}
