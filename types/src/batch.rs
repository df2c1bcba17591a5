//! Checks many signatures of transactions together, with one multi-scalar multiplication instead of many.
//!
//! A recoverable signature (r, s, v) of digest z under key Q holds if `(z/s)·G + (r/s)·Q = R`, where R is the point
//! with x-coordinate r and parity v. For a batch, the difference of both sides of each equation is multiplied by a
//! coefficient that no signer can choose, and these products are added. The sum is the point at infinity if all
//! signatures hold; if one does not hold, it is the point at infinity only with probability 2^-128. The coefficients
//! are a hash of everything that is checked, so the result is deterministic.
//!
//! If the sum is not the point at infinity, the batch is halved until the invalid signatures are found. The result for
//! each signature is the same as from [`PublicKey::verify_recoverable`](crate::PublicKey::verify_recoverable).

use curve::{Point, Recoverable, Term, invert_all, sum_is_identity};
use k256::{Scalar, U256, elliptic_curve::ops::Reduce};

use crate::{Transaction, memo};

/// A signature whose parts are in their valid ranges, but which is not verified yet.
struct Claim<'t> {
    tx: &'t Transaction,
    index: usize,
    r: Scalar,
    s_inverse: Scalar,
    nonce_point: Point,
}

/// Returns, for each transaction, true if its signature holds.
///
/// Cost: about 17 µs per signature for a batch of 64 that all hold, 20 µs for one of 16. An invalid signature adds as
/// many checks as there are halvings until it is found.
///
/// Source: A. Antipa et al., "Accelerated Verification of ECDSA Signatures", 2005 (the gain from a recovery bit); M.
/// Bellare, J. Garay, T. Rabin, "Fast Batch Verification for Modular Exponentiation and Digital Signatures", 1998
/// (small exponents).
pub fn verify_batch(txs: &[Transaction]) -> Vec<bool> {
    // A simulated cluster has checked most of them one by one.
    if memo::lives() {
        return txs.iter().map(Transaction::holds).collect();
    }
    let mut holds = vec![false; txs.len()];
    let mut claims: Vec<Claim<'_>> = txs.iter().enumerate().filter_map(|(index, tx)| Claim::new(index, tx)).collect();
    let mut inverses: Vec<Scalar> = claims.iter().map(|claim| claim.s_inverse).collect();
    invert_all(&mut inverses);
    claims.iter_mut().zip(inverses).for_each(|(claim, inverse)| claim.s_inverse = inverse);
    halve(&claims, &mut holds);
    holds
}

fn halve(claims: &[Claim<'_>], holds: &mut [bool]) {
    match claims {
        [] => {}
        [one] => holds[one.index] = one.tx.holds(),
        many if all_hold(many) => many.iter().for_each(|claim| holds[claim.index] = true),
        many => {
            let (first, second) = many.split_at(many.len() / 2);
            halve(first, holds);
            halve(second, holds);
        }
    }
}

/// Returns true if the sum of all scaled differences is the point at infinity.
fn all_hold(claims: &[Claim<'_>]) -> bool {
    let mut seed = blake3::Hasher::new_derive_key("cairn signature batch v1");
    for claim in claims {
        // The digest alone is not sufficient, because a signer can choose the signature after the digest.
        seed.update(&claim.tx.id().0);
    }
    let mut coefficients = seed.finalize_xof();
    let mut of_generator = Scalar::ZERO;
    let mut term = |claim: &Claim<'_>| {
        let mut bytes = [0; 16];
        coefficients.fill(&mut bytes);
        let coefficient = u128::from_le_bytes(bytes);
        let scaled = Scalar::from(coefficient) * claim.s_inverse;
        of_generator += scalar(claim.tx.digest().0) * scaled;
        let key = *claim.tx.body().signer.point();
        Term { key, key_scalar: claim.r * scaled, nonce_point: claim.nonce_point, coefficient }
    };
    let terms: Vec<Term> = claims.iter().map(&mut term).collect();
    sum_is_identity(&of_generator, &terms)
}

impl<'t> Claim<'t> {
    /// Creates a claim. Returns `None` for a signature that cannot hold for any digest and key.
    fn new(index: usize, tx: &'t Transaction) -> Option<Self> {
        let signature = Recoverable::from_bytes(&tx.signature().0)?;
        let nonce_point = signature.nonce_point()?;
        Some(Self { tx, index, r: signature.r, s_inverse: signature.s, nonce_point })
    }
}

/// Returns the integer of these big-endian bytes modulo the order of the group.
fn scalar(bytes: [u8; 32]) -> Scalar {
    <Scalar as Reduce<U256>>::reduce(&U256::from_be_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use k256::{
        ProjectivePoint,
        elliptic_curve::{point::AffineCoordinates, scalar::IsHigh},
    };

    use super::*;
    use crate::{Address, ChainId, Deadline, Msg, SecretKey, TxBody, TxOrder, Wire};

    fn tx(n: u64) -> Transaction {
        let key = SecretKey::from_bytes(&[1 + (n % 5) as u8; 32]).unwrap();
        TxBody {
            chain_id: ChainId::new("cairn-test").unwrap(),
            signer: key.public_key(),
            order: if n.is_multiple_of(2) {
                TxOrder::Nonce(n)
            } else {
                TxOrder::Expires(Deadline::from_unix_millis(n).unwrap())
            },
            fee: n,
            messages: vec![Msg::Transfer { to: Address([9; 20]), amount: 1 }],
        }
        .sign(&key)
    }

    /// Changes one byte, counted from the end of the encoding; the last 65 bytes are the signature.
    fn changed(tx: &Transaction, from_end: usize, change: impl Fn(u8) -> u8) -> Transaction {
        let mut bytes = tx.encode();
        let at = bytes.len() - from_end;
        bytes[at] = change(bytes[at]);
        Transaction::decode(&bytes).unwrap()
    }

    #[test]
    fn batches_of_valid_signatures_are_valid() {
        for count in [0, 1, 2, 3, 16, 65] {
            let txs: Vec<Transaction> = (0..count).map(tx).collect();
            assert_eq!(verify_batch(&txs), vec![true; txs.len()]);
        }
        assert_eq!(verify_batch(&[tx(1), tx(1), tx(1)]), [true; 3], "the same transaction again");
    }

    #[test]
    fn every_bit_counts_in_a_batch_as_it_does_alone() {
        for bit in 0..65 * 8 {
            let bad = changed(&tx(7), 65 - bit / 8, |byte| byte ^ 1 << (bit % 8));
            assert!(!bad.holds(), "bit {bit}");
            assert_eq!(verify_batch(&[tx(1), bad, tx(2)]), [true, false, true], "bit {bit}");
        }
    }

    #[test]
    fn invalid_signatures_are_found_at_every_position() {
        let good: Vec<Transaction> = (0..9).map(tx).collect();
        for mask in 0..1_u32 << 9 {
            let is_bad = |index: usize| mask >> index & 1 == 1;
            let with_bad = |(index, tx): (usize, &Transaction)| {
                if is_bad(index) { changed(tx, 20, |byte| byte.wrapping_add(1)) } else { tx.clone() }
            };
            let txs: Vec<Transaction> = good.iter().enumerate().map(with_bad).collect();
            let expected: Vec<bool> = (0..9).map(|index| !is_bad(index)).collect();
            assert_eq!(verify_batch(&txs), expected);
        }
    }

    /// Returns `tx(n)` with a signature of the nonce `k` whose recovery bit is inverted, and that bit.
    fn with_wrong_parity(n: u64, k: Scalar) -> (Transaction, bool) {
        let (honest, secret) = (tx(n), scalar([1 + (n % 5) as u8; 32]));
        let point = (ProjectivePoint::GENERATOR * k).to_affine();
        let r = scalar(point.x().into());
        let s = k.invert().unwrap() * (scalar(honest.digest().0) + r * secret);
        // The negation of s, which keeps it low, negates the nonce point.
        let is_odd = bool::from(point.y_is_odd()) != bool::from(s.is_high());
        let s = if s.is_high().into() { -s } else { s };
        let bytes = [r.to_bytes().as_slice(), s.to_bytes().as_slice(), &[u8::from(!is_odd)]].concat();
        (
            bytes.into_iter().zip((1..=65).rev()).fold(honest, |tx, (byte, from_end)| changed(&tx, from_end, |_| byte)),
            is_odd,
        )
    }

    /// Two signatures with opposite nonce points R and -R, both with the wrong recovery bit: their errors are 2R and -2R, so a
    /// sum without coefficients would be the point at infinity.
    #[test]
    fn two_errors_in_a_batch_do_not_cancel_each_other() {
        let (a, a_is_odd) = with_wrong_parity(0, Scalar::from(7_u64));
        let opposite = (1..).map(|n| with_wrong_parity(n, Scalar::from(7_u64))).find(|(_, is_odd)| *is_odd != a_is_odd);
        let b = opposite.unwrap().0;
        assert_eq!(verify_batch(&[a.clone(), b.clone(), tx(1)]), [false, false, true]);
        let right = |tx: &Transaction| changed(tx, 1, |parity| parity ^ 1);
        assert_eq!(verify_batch(&[right(&a), right(&b)]), [true, true], "only the recovery bits are wrong");
    }

    #[test]
    fn signatures_with_high_s_zero_or_no_curve_point_are_invalid() {
        let zero_s = (1..=32).fold(tx(3), |tx, byte| changed(&tx, 1 + byte, |_| 0));
        let zero_r = (33..=64).fold(tx(3), |tx, byte| changed(&tx, 1 + byte, |_| 0));
        let large_r = (33..=64).fold(tx(3), |tx, byte| changed(&tx, 1 + byte, |_| 0xFF));
        let high_s = changed(&tx(3), 33, |byte| byte | 0x80);
        assert_eq!(
            verify_batch(&[zero_s, zero_r, tx(1), large_r, high_s, tx(2)]),
            [false, false, true, false, false, true]
        );
    }
}
