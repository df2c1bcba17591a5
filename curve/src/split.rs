//! Splits scalars into two halves, and writes halves as sums of few powers of two.
//!
//! λ is a third root of unity modulo n, the order of the group, and λ times a point costs one multiplication in the
//! field. A scalar k is k1 + λ k2 modulo n for two integers of at most 128 bits and a sign. Such pairs (k1, k2) of
//! k = 0 are a lattice with the short basis (a1, b1), (a2, b2). The vector of the lattice that is near (k, 0) is
//! subtracted from it.
//!
//! Source: R. Gallant, R. Lambert, S. Vanstone, "Faster Point Multiplication on Elliptic Curves with Efficient
//! Endomorphisms", 2001; D. Hankerson, A. Menezes, S. Vanstone, "Guide to Elliptic Curve Cryptography", 2004,
//! algorithms 3.35 (width-w NAF) and 3.74 (halves).

use k256::{Scalar, elliptic_curve::PrimeField};

use crate::words;

/// Number of positions of the digits of a half: 128, and one for a carry.
pub(crate) const POSITIONS: usize = 129;

/// The basis of the lattice: (A1, -B1) and (A2, A1).
const A1: u128 = 0x3086_D221_A7D4_6BCD_E86C_90E4_9284_EB15;
const B1: u128 = 0xE443_7ED6_010E_8828_6F54_7FA9_0ABF_E4C3;
const A2: [u64; 3] = [0x57C1_108D_9D44_CFD8, 0x14CA_50F7_A8E2_F3F6, 1];

/// The quotients 2^384 · A1 / n and 2^384 · B1 / n, rounded.
const G1: [u64; 4] = [0xE893_209A_45DB_B031, 0x3DAA_8A14_71E8_CA7F, 0xE86C_90E4_9284_EB15, 0x3086_D221_A7D4_6BCD];
const G2: [u64; 4] = [0x1571_B4AE_8AC4_7F71, 0x2212_08AC_9DF5_06C6, 0x6F54_7FA9_0ABF_E4C4, 0xE443_7ED6_010E_8828];

/// The third root of unity modulo n that [`crate::point::Point::times_lambda`] multiplies by, as big-endian bytes.
#[cfg(test)]
pub(crate) const LAMBDA: [u8; 32] = [
    0x53, 0x63, 0xAD, 0x4C, 0xC0, 0x5C, 0x30, 0xE0, 0xA5, 0x26, 0x1C, 0x02, 0x88, 0x12, 0x64, 0x5A, 0x12, 0x2E, 0x22,
    0xEA, 0x20, 0x81, 0x66, 0x78, 0xDF, 0x02, 0x96, 0x7C, 0x1B, 0x23, 0xBD, 0x72,
];

/// An integer with a sign and at most 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) is_negative: bool,
    pub(crate) magnitude: u128,
}

/// Returns k1 and k2 with k1 + λ k2 = k modulo n.
///
/// |k1| is at most (A1 + A2)/2 + 2, and |k2| at most (B1 + A1)/2 + 2: both are below 2^128.
pub(crate) fn split(scalar: &Scalar) -> [Half; 2] {
    let k = words::from_bytes(&scalar.to_repr().into());
    let (c1, c2) = (high(&k, &G1), high(&k, &G2));
    // The halves are short, so 192 bits of them are sufficient.
    let [k0, k1, k2, _] = k;
    let first = less([k0, k1, k2], low(&split_words(A1), c1));
    let first = less(first, low(&A2, c2));
    let second = less(low(&split_words(B1), c1), low(&split_words(A1), c2));
    [half(first), half(second)]
}

/// Returns k g / 2^384, rounded.
fn high(k: &[u64; 4], g: &[u64; 4]) -> u128 {
    let product = words::product(k, g);
    (u128::from(product[6]) | u128::from(product[7]) << 64) + u128::from(product[5] >> 63)
}

const fn split_words(integer: u128) -> [u64; 3] {
    [integer as u64, (integer >> 64) as u64, 0]
}

/// Returns a b modulo 2^192.
fn low(a: &[u64; 3], b: u128) -> [u64; 3] {
    let [b0, b1, _] = split_words(b);
    let (w0, carry) = a[0].carrying_mul(b0, 0);
    let (w1, carry) = a[1].carrying_mul(b0, carry);
    let w2 = a[2].wrapping_mul(b0).wrapping_add(carry);
    let (w1, carry) = a[0].carrying_mul_add(b1, w1, 0);
    [w0, w1, w2.wrapping_add(a[1].wrapping_mul(b1)).wrapping_add(carry)]
}

/// Returns a - b modulo 2^192.
fn less(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    let (w0, borrow) = a[0].overflowing_sub(b[0]);
    let (w1, borrow) = a[1].borrowing_sub(b[1], borrow);
    let (w2, _) = a[2].borrowing_sub(b[2], borrow);
    [w0, w1, w2]
}

/// Converts an integer modulo 2^192 whose magnitude is below 2^128.
fn half(words: [u64; 3]) -> Half {
    let is_negative = words[2] >> 63 == 1;
    let magnitude = u128::from(words[0]) | u128::from(words[1]) << 64;
    Half { is_negative, magnitude: if is_negative { magnitude.wrapping_neg() } else { magnitude } }
}

impl Half {
    /// Calls `each` with the position and the value of each digit of the width-w NAF, from the lowest position on:
    /// the half is the sum of digit · 2^position. Digits are odd and below 2^(width - 1) in magnitude; positions are
    /// below [`POSITIONS`] and at least `width` apart. `width` is from 2 to 16.
    #[inline]
    pub(crate) fn odd_digits(&self, width: u32, mut each: impl FnMut(usize, i32)) {
        let (mut rest, mut position, mut carry) = (self.magnitude, 0, 0);
        while rest != 0 || carry != 0 {
            // The next digit is at the first bit that differs from the carry.
            let skipped = (if carry == 0 { rest } else { !rest }).trailing_zeros();
            rest = rest.checked_shr(skipped).unwrap_or(0);
            position += skipped;
            let mut digit = (rest as u32 & ((1 << width) - 1)) as i32 + carry;
            carry = digit >> (width - 1) & 1;
            digit -= carry << width;
            each(position as usize, if self.is_negative { -digit } else { digit });
            rest >>= width;
            position += width;
        }
    }

    /// Returns the digits of the half to the base 2^width, from the lowest on: the half is the sum of
    /// digit · 2^(width · index). Digits are at most 2^(width - 1) in magnitude. `width` is from 2 to 16, and the
    /// number of digits is [`windows`]`(width)`.
    #[inline]
    pub(crate) fn window_digits(&self, width: u32) -> impl Iterator<Item = i32> {
        let (mut rest, mut carry, sign) = (self.magnitude, 0, if self.is_negative { -1 } else { 1 });
        (0..windows(width)).map(move |_| {
            let digit = (rest as u32 & ((1 << width) - 1)) as i32 + carry;
            carry = i32::from(digit > 1 << (width - 1));
            rest >>= width;
            sign * (digit - (carry << width))
        })
    }
}

/// Returns the number of digits of a half to the base 2^width. They have at least 129 bits, so the last digit has no
/// carry.
pub(crate) const fn windows(width: u32) -> usize {
    POSITIONS.div_ceil(width as usize)
}

#[cfg(test)]
mod tests {
    use k256::{
        U256,
        elliptic_curve::{Field, bigint::NonZero, ops::Reduce},
    };

    use super::*;
    use crate::samples::Random;

    fn scalar(bytes: [u8; 32]) -> Scalar {
        <Scalar as Reduce<U256>>::reduce(&U256::from_be_slice(&bytes))
    }

    fn value(half: Half) -> Scalar {
        let magnitude = Scalar::from(half.magnitude);
        if half.is_negative { -magnitude } else { magnitude }
    }

    fn check(k: Scalar) {
        let [first, second] = split(&k);
        assert_eq!(value(first) + scalar(LAMBDA) * value(second), k);
        // The proven limits, as multiples of 2^120: (A1 + A2)/2 and (B1 + A1)/2.
        assert!(first.magnitude >> 120 <= 0xA2 && second.magnitude >> 120 <= 0x8A, "{k:?}");
    }

    #[test]
    fn the_halves_of_a_scalar_are_short_and_exact() {
        let mut random = Random(1);
        let a2 = Scalar::from(u128::from(A2[0]) | u128::from(A2[1]) << 64) + Scalar::from(u128::MAX) + Scalar::ONE;
        let basis = [Scalar::from(A1), Scalar::from(B1), a2, scalar(LAMBDA), scalar(LAMBDA).square(), Scalar::ZERO];
        let half = Scalar::from(2_u64).invert().unwrap();
        for a in basis {
            for b in basis {
                for k in [a + b, a - b, a * b, (a + b) * half, (a - b) * half] {
                    [k, -k, k + Scalar::ONE, k - Scalar::ONE].into_iter().for_each(check);
                }
            }
        }
        (0..100_000).for_each(|_| check(scalar(random.bytes())));
        (0..256).for_each(|bit| {
            check(scalar(words::to_bytes(&std::array::from_fn(|at| u64::from(at == bit / 64) << (bit % 64)))))
        });
    }

    /// Scalars that are as near as possible to a middle between two integers, so that the rounding decides.
    #[test]
    fn scalars_between_two_points_of_the_lattice_are_split() {
        let mut random = Random(2);
        let order = U256::from_be_slice(&(-Scalar::ONE).to_bytes()).wrapping_add(&U256::ONE);
        for _ in 0..20_000 {
            for quotient in [A1, B1] {
                // k = (c + 1/2) n / quotient, for a c below the quotient.
                let c = U256::from_u128(u128::from(random.word()) * u128::from(random.word()) % quotient);
                let odd = c.shl(1).wrapping_add(&U256::ONE);
                let divisor = NonZero::new(U256::from_u128(quotient).shl(1)).unwrap();
                let (middle, _) = odd.concatenating_mul(&order).div_rem_vartime(&divisor);
                let [w0, w1, w2, w3, ..] = middle.to_words();
                let middle = scalar(words::to_bytes(&[w0, w1, w2, w3]));
                [middle, middle + Scalar::ONE, middle - Scalar::ONE].into_iter().for_each(check);
            }
        }
    }

    fn halves() -> Vec<Half> {
        let mut random = Random(3);
        let some = (0..2_000).map(|_| u128::from_be_bytes(*random.bytes().first_chunk().unwrap()));
        let edges =
            (0..128).flat_map(|bit| [1 << bit, (1 << bit) - 1, u128::MAX << bit, u128::MAX >> bit, !(1 << bit)]);
        let all = some.chain(edges).chain([u128::MAX / 3, u128::MAX / 3 * 2, u128::MAX / 31 * 16]);
        all.flat_map(|magnitude| [true, false].map(|is_negative| Half { is_negative, magnitude })).collect()
    }

    #[test]
    fn odd_digits_add_up_and_are_far_apart() {
        for half in halves() {
            for width in [2, 3, 5, 8, 16] {
                let (mut sum, mut free) = (Scalar::ZERO, 0);
                half.odd_digits(width, |position, digit| {
                    assert!(free <= position && position < POSITIONS, "{half:?}");
                    assert!(digit % 2 != 0 && digit.unsigned_abs() < 1 << (width - 1), "{half:?}");
                    free = position + width as usize;
                    let power = (0..position).fold(Scalar::ONE, |power, _| power.double());
                    let product = power * Scalar::from(digit.unsigned_abs());
                    sum += if digit < 0 { -product } else { product };
                });
                assert_eq!(sum, value(half), "{half:?}");
            }
        }
    }

    #[test]
    fn window_digits_add_up() {
        for half in halves() {
            for width in 2..=16 {
                let digits: Vec<i32> = half.window_digits(width).collect();
                assert_eq!(digits.len(), windows(width));
                assert!(digits.iter().all(|digit| digit.unsigned_abs() <= 1 << (width - 1)), "{half:?}");
                let sum = digits.iter().rev().fold(Scalar::ZERO, |sum, digit| {
                    let digit = Half { is_negative: *digit < 0, magnitude: digit.unsigned_abs().into() };
                    sum * Scalar::from(1_u64 << width) + value(digit)
                });
                assert_eq!(sum, value(half), "{half:?}");
            }
        }
    }
}
