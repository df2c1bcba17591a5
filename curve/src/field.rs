//! Computes in the field of the curve's coordinates: the integers modulo p = 2^256 - 2^32 - 977.
//!
//! An element has four words and is weakly reduced: it is any integer below 2^256 that is congruent to its value. So
//! the values below 2^32 + 977 have two forms. Comparison and conversion to bytes use the canonical form, below p.
//! Overflow is cheap, because 2^256 is congruent to 2^32 + 977 ([`EXCESS`]).
//!
//! Source: J. Solinas, "Generalized Mersenne Numbers", 1999 (reduction); P. Montgomery, "Speeding the Pollard and
//! Elliptic Curve Methods of Factorization", 1987, section 10.3.1 (inversion of many elements).

use std::ops::{Add, Mul, Neg, Sub};

use crate::{
    inverse::{self, Modulus},
    words,
};

/// The difference between 2^256 and p.
const EXCESS: u64 = (1 << 32) + 977;

/// The prime p as words.
const P: [u64; 4] = [EXCESS.wrapping_neg(), u64::MAX, u64::MAX, u64::MAX];

const MODULUS: Modulus = Modulus::new(P);

/// An element of the field, weakly reduced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field([u64; 4]);

impl Field {
    pub(crate) const ZERO: Self = Self([0; 4]);
    pub(crate) const ONE: Self = Self([1, 0, 0, 0]);

    /// Creates an element from words, of which each value below 2^256 is one form.
    pub(crate) const fn from_words(words: [u64; 4]) -> Self {
        Self(words)
    }

    /// Reads 32 big-endian bytes. Returns `None` if they are p or more.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let words = words::from_bytes(bytes);
        words::sub(&words, &P).1.then_some(Self(words))
    }

    /// Returns the canonical 32 bytes, big-endian.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        words::to_bytes(&self.canonical().0)
    }

    /// Returns the same element in its canonical form, below p.
    #[inline]
    pub(crate) fn canonical(self) -> Self {
        match words::sub(&self.0, &P) {
            (_, true) => self,
            (reduced, false) => Self(reduced),
        }
    }

    /// Returns the words of the canonical form.
    pub(crate) fn canonical_words(self) -> [u64; 4] {
        self.canonical().0
    }

    /// Returns true for both forms of zero.
    #[inline]
    pub(crate) fn is_zero(self) -> bool {
        // Almost every other element differs from both forms in this word already.
        let is_likely = self.0[1] == 0 || self.0[1] == u64::MAX;
        is_likely && (self.0 == [0; 4] || self.0 == P)
    }

    /// Returns true if the canonical form is odd.
    pub(crate) fn is_odd(self) -> bool {
        self.canonical().0[0] & 1 == 1
    }

    /// Returns twice the element.
    #[inline(always)]
    pub(crate) fn double(self) -> Self {
        self + self
    }

    /// Returns the element times a small integer.
    #[inline(always)]
    pub(crate) fn times(self, factor: u32) -> Self {
        let [w0, w1, w2, w3, carry] = words::product_with_word(&self.0, factor.into());
        fold([w0, w1, w2, w3], carry)
    }

    /// Returns the square of the element. It is cheaper than a product.
    #[inline(always)]
    pub(crate) fn square(self) -> Self {
        reduce(words::square(&self.0))
    }

    /// Returns the element squared `times` times.
    #[inline]
    fn square_repeatedly(self, times: u32) -> Self {
        (0..times).fold(self, |power, _| power.square())
    }

    /// Returns the inverse, and zero for zero. Cost: about 7,000 instructions, those of 40
    /// multiplications.
    pub(crate) fn inverse(self) -> Self {
        Self(inverse::inverse(&self.canonical().0, &MODULUS))
    }

    /// Returns the canonical form of a square root, or `None` if the element is not a square. Cost: 254 squarings and
    /// 13 multiplications.
    ///
    /// p is 3 modulo 4, so the root of a square is its power of (p + 1)/4. The binary form of this exponent is 223
    /// ones, a zero, 22 ones, four zeros, two ones, two zeros. `ones(n)` below is the power of 2^n - 1.
    pub(crate) fn square_root(self) -> Option<Self> {
        let ones2 = self.square() * self;
        let ones3 = ones2.square() * self;
        let ones6 = ones3.square_repeatedly(3) * ones3;
        let ones9 = ones6.square_repeatedly(3) * ones3;
        let ones11 = ones9.square_repeatedly(2) * ones2;
        let ones22 = ones11.square_repeatedly(11) * ones11;
        let ones44 = ones22.square_repeatedly(22) * ones22;
        let ones88 = ones44.square_repeatedly(44) * ones44;
        let ones176 = ones88.square_repeatedly(88) * ones88;
        let ones220 = ones176.square_repeatedly(44) * ones44;
        let ones223 = ones220.square_repeatedly(3) * ones3;
        let with_ones22 = ones223.square_repeatedly(23) * ones22;
        let root = (with_ones22.square_repeatedly(6) * ones2).square_repeatedly(2);
        (root.square() == self).then(|| root.canonical())
    }

    /// Replaces each element by its inverse; zero stays zero. `scratch` is memory for reuse, its content does not
    /// matter. Cost: one inversion, and three multiplications per element.
    pub(crate) fn invert_all(elements: &mut [Self], scratch: &mut Vec<Self>) {
        scratch.clear();
        let mut product = Self::ONE;
        for element in elements.iter() {
            scratch.push(product);
            if !element.is_zero() {
                product = product * *element;
            }
        }
        let mut inverse = product.inverse();
        for (element, before) in elements.iter_mut().zip(scratch.iter()).rev() {
            if !element.is_zero() {
                (*element, inverse) = (inverse * *before, inverse * *element);
            }
        }
    }
}

/// Returns words + carry · 2^256 as an element, for a carry below 2^34.
#[inline(always)]
fn fold(words: [u64; 4], carry: u64) -> Field {
    let (low, high) = carry.carrying_mul(EXCESS, 0);
    let (w0, carry) = words[0].overflowing_add(low);
    let (w1, carry) = words[1].carrying_add(high, carry);
    let (w2, carry) = words[2].carrying_add(0, carry);
    let (w3, carry) = words[3].carrying_add(0, carry);
    if carry { fold_rare([w0, w1, w2, w3]) } else { Field([w0, w1, w2, w3]) }
}

/// Returns words + 2^256, for words below 2^68. A sum that overflows twice is rare: one in 2^188 for random operands.
#[cold]
fn fold_rare(words: [u64; 4]) -> Field {
    Field(words::add(&words, &[EXCESS, 0, 0, 0]).0)
}

/// Returns an integer of 512 bits as an element.
#[inline(always)]
fn reduce(words: [u64; 8]) -> Field {
    let [l0, l1, l2, l3, high @ ..] = words;
    let [w0, w1, w2, w3, carry] = words::product_with_word_plus(&high, EXCESS, &[l0, l1, l2, l3]);
    // The carry is at most EXCESS.
    fold([w0, w1, w2, w3], carry)
}

impl Add for Field {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let (sum, carry) = words::add(&self.0, &other.0);
        let (mut sum, again) = words::add(&sum, &[if carry { EXCESS } else { 0 }, 0, 0, 0]);
        // If this overflows too, the sum is below EXCESS, and its lowest word cannot overflow.
        sum[0] = sum[0].wrapping_add(if again { EXCESS } else { 0 });
        Self(sum)
    }
}

impl Sub for Field {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let (difference, borrow) = words::sub(&self.0, &other.0);
        let (mut difference, again) = words::sub(&difference, &[if borrow { EXCESS } else { 0 }, 0, 0, 0]);
        // If this borrows too, the difference is above 2^256 - EXCESS, and its lowest word cannot borrow.
        difference[0] = difference[0].wrapping_sub(if again { EXCESS } else { 0 });
        Self(difference)
    }
}

impl Mul for Field {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        reduce(words::product(&self.0, &other.0))
    }
}

impl Neg for Field {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self::ZERO - self
    }
}

impl PartialEq for Field {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        (*self - *other).is_zero()
    }
}

impl Eq for Field {}

#[cfg(test)]
mod tests {
    use k256::{
        U256,
        elliptic_curve::bigint::{NonZero, Odd},
    };

    use super::*;
    use crate::samples::Random;

    const MODULUS: NonZero<U256> = NonZero::<U256>::new_unwrap(U256::from_words(P));

    /// Values at the edges of words, of p and of 2^256, in each of their forms.
    fn edges() -> Vec<[u64; 4]> {
        let near = |words: [u64; 4]| {
            (0..4)
                .flat_map(move |step| [words::add(&words, &[step, 0, 0, 0]).0, words::sub(&words, &[step, 0, 0, 0]).0])
        };
        let middles =
            [[0, 0, 0, 0], P, [EXCESS, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1 << 63]];
        let halves =
            [words::sub(&[0; 4], &[EXCESS, 0, 0, 0]).0, words::sub(&P, &[EXCESS, 0, 0, 0]).0, [0, 0, u64::MAX, 0]];
        middles.into_iter().chain(halves).flat_map(near).collect()
    }

    fn reference(words: [u64; 4]) -> U256 {
        U256::from_words(words).rem_vartime(&MODULUS)
    }

    fn is(field: Field, expected: U256) -> bool {
        field.canonical_words() == expected.to_words()
    }

    /// Compares all operations on two elements with those of crypto-bigint.
    fn compare(a: [u64; 4], b: [u64; 4]) {
        let (x, y, ra, rb) = (Field(a), Field(b), reference(a), reference(b));
        let product = |a: U256, b: U256| U256::rem_wide_vartime(a.widening_mul(&b), &MODULUS);
        assert!(is(x, ra), "{a:x?}");
        assert!(is(x + y, ra.add_mod(&rb, &MODULUS)), "{a:x?} + {b:x?}");
        assert!(is(x - y, ra.sub_mod(&rb, &MODULUS)), "{a:x?} - {b:x?}");
        assert!(is(-x, ra.neg_mod(&MODULUS)), "-{a:x?}");
        assert!(is(x.double(), ra.add_mod(&ra, &MODULUS)), "2 {a:x?}");
        assert!(is(x * y, product(ra, rb)), "{a:x?} * {b:x?}");
        assert!(is(x.square(), product(ra, ra)), "{a:x?} squared");
        assert_eq!(x == y, ra == rb, "{a:x?} == {b:x?}");
        assert_eq!(x.is_zero(), ra == U256::ZERO, "{a:x?}");
        assert_eq!(x.is_odd(), ra.to_words()[0] % 2 == 1, "{a:x?}");
        for factor in [0, 1, 2, 3, 4, 8, u32::MAX] {
            assert!(is(x.times(factor), product(ra, U256::from_u32(factor))), "{a:x?} * {factor}");
        }
        assert_eq!(Field::from_bytes(&x.to_bytes()), Some(x));
        assert_eq!(Field::from_bytes(&words::to_bytes(&a)).is_some(), U256::from_words(a) < MODULUS.get());
    }

    #[test]
    fn operations_are_those_of_integers_modulo_p() {
        let edges = edges();
        edges.iter().for_each(|a| edges.iter().for_each(|b| compare(*a, *b)));
        let mut random = Random(1);
        (0..100_000).for_each(|_| compare(words::from_bytes(&random.bytes()), words::from_bytes(&random.bytes())));
    }

    /// Millions of values, in a few seconds: the laws of a ring compare the operations with each other.
    #[test]
    fn operations_obey_the_laws_of_a_ring() {
        let mut random = Random(2);
        let [mut a, mut b, mut c] = [Field(P), Field([u64::MAX; 4]), Field::ONE];
        for round in 0..1_000_000 {
            assert!((a + b) * c == a * c + b * c, "{round}");
            assert!((a + b) * (a - b) == a.square() - b.square(), "{round}");
            assert!((a + b).square() - a.square() - b.square() == (a * b).double(), "{round}");
            // One of the three values is new in each round.
            (a, b, c) = (b, c, Field(words::from_bytes(&random.bytes())));
        }
    }

    #[test]
    fn inverses_are_the_powers_of_p_minus_2() {
        let power = |x: Field, exponent: [u64; 4]| {
            let bits = (0..256).rev().map(|bit| exponent[bit / 64] >> (bit % 64) & 1 == 1);
            bits.fold(Field::ONE, |power, bit| if bit { power.square() * x } else { power.square() })
        };
        let mut random = Random(3);
        let some = (0..500).map(|_| words::from_bytes(&random.bytes()));
        for a in edges().into_iter().chain(some).map(Field) {
            assert_eq!(a.inverse(), power(a, words::sub(&P, &[2, 0, 0, 0]).0), "{a:x?}");
        }
        for _ in 0..50_000 {
            let a = Field(words::from_bytes(&random.bytes()));
            assert_eq!(a * a.inverse(), if a.is_zero() { Field::ZERO } else { Field::ONE }, "{a:x?}");
        }
    }

    /// The same method, modulo the group's order and modulo other odd integers, against crypto-bigint.
    #[test]
    fn inverses_modulo_other_integers() {
        let mut random = Random(4);
        for _ in 0..200 {
            let mut modulus = words::from_bytes(&random.bytes());
            (modulus[0], modulus[3]) = (modulus[0] | 1, modulus[3] | 1 << 63);
            let odd = Odd::new(U256::from_words(modulus)).unwrap();
            for _ in 0..10 {
                let element = U256::from_words(words::from_bytes(&random.bytes())).rem_vartime(odd.as_nz_ref());
                if let Some(expected) = Option::<U256>::from(element.invert_odd_mod(&odd)) {
                    let inverse = inverse::inverse(&element.to_words(), &Modulus::new(modulus));
                    assert_eq!(inverse, expected.to_words(), "{element:?} modulo {modulus:x?}");
                }
            }
        }
    }

    #[test]
    fn many_inverses_are_single_inverses_and_zeros_stay() {
        let mut random = Random(5);
        let mut scratch = Vec::new();
        for count in [0, 1, 2, 3, 17, 100] {
            for zeros in [0, 1, 2, 100] {
                let mut elements: Vec<Field> = (0..count).map(|_| Field(words::from_bytes(&random.bytes()))).collect();
                for _ in 0..zeros.min(count) {
                    let place = random.below(count) as usize;
                    elements[place] = [Field::ZERO, Field(P)][random.below(2) as usize];
                }
                let expected: Vec<Field> = elements.iter().map(|element| element.inverse()).collect();
                Field::invert_all(&mut elements, &mut scratch);
                assert_eq!(elements, expected);
            }
        }
    }

    #[test]
    fn square_roots_are_of_squares_only() {
        let mut random = Random(6);
        let some = (0..2_000).map(|_| words::from_bytes(&random.bytes()));
        for a in edges().into_iter().chain(some).map(Field) {
            let root = a.square().square_root().unwrap();
            assert!(root == a || root == -a);
            assert_eq!(root.0, root.canonical_words());
            // -1 is not a square modulo p, so of an element and its negation exactly one is a square.
            assert_eq!(a.square_root().is_some() == (-a).square_root().is_some(), a.is_zero(), "{a:x?}");
        }
    }
}
