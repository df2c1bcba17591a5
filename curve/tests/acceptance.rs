//! Compares what this crate accepts with what k256 accepts: valid signatures, damaged ones, ones at the edges of all
//! ranges, and ones whose keys and nonces an adversary chose. The tests hold with and without the feature `k256-alone`.

use curve::{KnownKey, Point, Recoverable, Term, invert_all, recovers, sum_is_identity, verify};
use k256::{
    AffinePoint, ProjectivePoint, Scalar, U256,
    ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier},
    elliptic_curve::{
        Group,
        ops::Reduce,
        point::{AffineCoordinates, DecompressPoint},
        scalar::IsHigh,
        subtle::Choice,
    },
};
use proptest::prelude::*;
use samples::Random;

#[path = "../src/samples.rs"]
mod samples;

/// The order of the group, big-endian.
const ORDER: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xBA, 0xAE, 0xDC,
    0xE6, 0xAF, 0x48, 0xA0, 0x3B, 0xBF, 0xD2, 0x5E, 0x8C, 0xD0, 0x36, 0x41, 0x41,
];

/// A key, a digest and a signature r ‖ s ‖ v, which may hold or not.
#[derive(Clone, Debug)]
struct Claim {
    key: VerifyingKey,
    digest: [u8; 32],
    signature: [u8; 65],
}

fn scalar(bytes: &[u8; 32]) -> Scalar {
    <Scalar as Reduce<U256>>::reduce(&U256::from_be_slice(bytes))
}

fn key_of(secret: Scalar) -> VerifyingKey {
    VerifyingKey::from_affine((ProjectivePoint::GENERATOR * secret).to_affine()).unwrap()
}

/// Signs with a chosen nonce. s is low, and v is the parity of the nonce point.
fn signed(secret: Scalar, nonce: Scalar, digest: [u8; 32]) -> Claim {
    let point = (ProjectivePoint::GENERATOR * nonce).to_affine();
    let r = scalar(&point.x().into());
    let s = nonce.invert().unwrap() * (scalar(&digest) + r * secret);
    let is_odd = bool::from(point.y_is_odd()) != bool::from(s.is_high());
    claim(key_of(secret), digest, r, if s.is_high().into() { -s } else { s }, is_odd)
}

fn claim(key: VerifyingKey, digest: [u8; 32], r: Scalar, s: Scalar, is_odd: bool) -> Claim {
    let bytes = [r.to_bytes().as_slice(), s.to_bytes().as_slice(), &[u8::from(is_odd)]].concat();
    Claim { key, digest, signature: bytes.try_into().unwrap() }
}

fn random_claim(random: &mut Random) -> Claim {
    signed(scalar(&random.plain_bytes()), scalar(&random.plain_bytes()), random.plain_bytes())
}

impl Claim {
    fn rs(&self) -> &[u8; 64] {
        self.signature.first_chunk().unwrap()
    }

    fn point(&self) -> Point {
        Point::from_k256(self.key.as_affine()).unwrap()
    }

    fn holds_by_k256(&self) -> bool {
        let signature = Signature::from_slice(self.rs());
        signature.is_ok_and(|signature| self.key.verify_prehash(&self.digest, &signature).is_ok())
    }

    /// The same rules as `PublicKey::recovers` of the crate `types`.
    fn recovers_by_k256(&self) -> bool {
        let Ok(signature) = Signature::from_slice(self.rs()) else { return false };
        let (r, s) = signature.split_scalars();
        if self.signature[64] > 1 || bool::from(s.is_high()) {
            return false;
        }
        let s_inverse = s.invert().unwrap();
        let generator = ProjectivePoint::GENERATOR * (scalar(&self.digest) * s_inverse);
        let point = (generator + ProjectivePoint::from(*self.key.as_affine()) * (*r * s_inverse)).to_affine();
        point.x() == r.to_bytes() && point.y_is_odd().unwrap_u8() == self.signature[64]
    }

    /// Compares all checks of this crate with those of k256, and returns whether both kinds of signature hold.
    fn judged(&self) -> (bool, bool) {
        self.judged_with(&KnownKey::new(&self.point()))
    }

    /// Does the same as `judged`, with a table that exists already.
    fn judged_with(&self, known: &KnownKey) -> (bool, bool) {
        let expected = (self.holds_by_k256(), self.recovers_by_k256());
        let key = self.point();
        assert_eq!(*known.point(), key);
        let single = (verify(&key, &self.digest, self.rs()), recovers(&key, &self.digest, &self.signature));
        assert_eq!(single, expected, "{self:?}");
        let by_table = (known.verify(&self.digest, self.rs()), known.recovers(&self.digest, &self.signature));
        assert_eq!(by_table, expected, "{self:?}");
        expected
    }

    fn with(&self, change: impl Fn(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }
}

/// Returns what the equation of a batch says of claims; `false` if one of them has no term.
fn batch_holds(claims: &[Claim], coefficients: impl Fn(usize) -> u128) -> bool {
    let parts: Option<Vec<Recoverable>> =
        claims.iter().map(|claim| Recoverable::from_bytes(&claim.signature)).collect();
    let Some(parts) = parts else { return false };
    let mut inverses: Vec<Scalar> = parts.iter().map(|parts| parts.s).collect();
    invert_all(&mut inverses);
    let (mut of_generator, mut terms) = (Scalar::ZERO, Vec::new());
    for (index, (parts, claim)) in parts.iter().zip(claims).enumerate() {
        let Some(nonce_point) = parts.nonce_point() else { return false };
        let scaled = Scalar::from(coefficients(index)) * inverses[index];
        of_generator += scalar(&claim.digest) * scaled;
        let (key, coefficient) = (claim.point(), coefficients(index));
        terms.push(Term { key, key_scalar: parts.r * scaled, nonce_point, coefficient });
    }
    sum_is_identity(&of_generator, &terms)
}

fn coefficient(index: usize) -> u128 {
    u128::from_be_bytes(*Random(index as u64 + 77).plain_bytes().first_chunk().unwrap())
}

#[test]
fn every_bit_of_a_signature_counts() {
    let valid = random_claim(&mut Random(1));
    let known = KnownKey::new(&valid.point());
    assert_eq!(valid.judged_with(&known), (true, true));
    for bit in 0..65 * 8 {
        let changed = valid.with(|claim| claim.signature[bit / 8] ^= 1 << (bit % 8));
        // The last byte is not a part of a signature r ‖ s.
        assert_eq!(changed.judged_with(&known), (bit / 8 == 64, false), "bit {bit}");
    }
    for bit in 0..256 {
        assert_eq!(
            valid.with(|claim| claim.digest[bit / 8] ^= 1 << (bit % 8)).judged_with(&known),
            (false, false),
            "bit {bit}"
        );
    }
}

#[test]
fn signatures_at_the_edges_of_the_ranges_are_judged_as_by_k256() {
    let mut random = Random(2);
    let valid = random_claim(&mut random);
    let known = KnownKey::new(&valid.point());
    let half = (-Scalar::ONE) * Scalar::from(2_u64).invert().unwrap();
    let near = |middle: [u8; 32]| {
        [-2_i16, -1, 0, 1, 2].map(|step| {
            let value = U256::from_be_slice(&middle);
            let value = match step {
                ..0 => value.wrapping_sub(&U256::from_u32(step.unsigned_abs().into())),
                _ => value.wrapping_add(&U256::from_u32(step.unsigned_abs().into())),
            };
            value.to_be_bytes().into()
        })
    };
    let mut p = [0xFF; 32];
    p[27..].copy_from_slice(&[0xFE, 0xFF, 0xFF, 0xFC, 0x2F]);
    let edges: Vec<[u8; 32]> = [[0; 32], ORDER, p, half.to_bytes().into()].into_iter().flat_map(near).collect();
    let own = [valid.signature[..32].try_into().unwrap(), valid.signature[32..64].try_into().unwrap()];
    for r in edges.iter().chain(&own) {
        for s in edges.iter().chain(&own) {
            for v in [0, 1, 2, 255] {
                let changed = valid.with(|claim| {
                    claim.signature = [r.as_slice(), s, &[v]].concat().try_into().unwrap();
                });
                let is_valid = changed.rs() == valid.rs();
                assert_eq!(changed.judged_with(&known), (is_valid, is_valid && v == valid.signature[64]));
            }
        }
        for digest in &edges {
            let secret = scalar(&random.plain_bytes());
            assert_eq!(signed(secret, scalar(&random.plain_bytes()), *digest).judged(), (true, true));
            valid.with(|claim| claim.digest = *digest).judged_with(&known);
        }
    }
}

#[test]
fn high_s_does_not_hold() {
    let mut random = Random(3);
    for _ in 0..20 {
        let valid = random_claim(&mut random);
        let s = -scalar(valid.signature[32..64].try_into().unwrap());
        for v in 0..4 {
            let high = valid.with(|claim| {
                claim.signature[32..64].copy_from_slice(&s.to_bytes());
                claim.signature[64] = v;
            });
            assert_eq!(high.judged(), (false, false));
            assert!(!batch_holds(&[high], coefficient));
        }
    }
}

/// An x-coordinate of n or more has a residue that is r, but it is not r.
#[test]
fn nonce_points_above_the_order_hold_without_a_recovery_bit_only() {
    let mut random = Random(4);
    let mut found = 0;
    for distance in 1..40_u8 {
        let mut x = ORDER;
        x[31] += distance;
        let point: Option<AffinePoint> = AffinePoint::decompress(&x.into(), Choice::from(0)).into();
        let Some(point) = point else { continue };
        found += 1;
        let (r, digest) = (Scalar::from(u64::from(distance)), random.plain_bytes());
        let s = Scalar::from(random.word());
        // The key for which this is the nonce point: (s R - z G) / r.
        let key =
            (ProjectivePoint::from(point) * s - ProjectivePoint::GENERATOR * scalar(&digest)) * r.invert().unwrap();
        let key = VerifyingKey::from_affine(key.to_affine()).unwrap();
        for is_odd in [false, true] {
            assert_eq!(claim(key, digest, r, s, is_odd).judged(), (true, false));
            assert_eq!(claim(key, digest, r + Scalar::ONE, s, is_odd).judged(), (false, false));
        }
    }
    assert!(found > 10);
}

/// Keys and nonces are small multiples of the generator or λ times them, so that the points inside of a check are equal
/// or opposite to entries of tables.
#[test]
fn chosen_keys_and_nonces_are_judged_as_by_k256() {
    // λ is a third root of unity: a power of 7, which generates the units modulo n.
    let lambda = third_root_of_unity();
    let small: Vec<Scalar> = (1..=4_u64).chain([15, 16, 17, 64, 1 << 10]).map(Scalar::from).collect();
    let chosen: Vec<Scalar> =
        small.iter().flat_map(|factor| [*factor, -*factor, *factor * lambda, *factor * lambda.square()]).collect();
    let mut random = Random(5);
    for secret in &chosen {
        for nonce in &chosen {
            if random.below(8) == 0 {
                assert_eq!(signed(*secret, *nonce, random.bytes()).judged(), (true, true));
            }
        }
        // Digests for which both products are opposite (the nonce point is the point at infinity), or equal.
        let r = scalar(&(ProjectivePoint::GENERATOR * secret).to_affine().x().into());
        for z in [-r * *secret, r * *secret, Scalar::ZERO] {
            for s in [Scalar::ONE, Scalar::from(9_u64)] {
                let digest = z.to_bytes().into();
                let judged = claim(key_of(*secret), digest, r, s, false).judged();
                assert!(z != -r * *secret || judged == (false, false));
            }
        }
    }
}

fn third_root_of_unity() -> Scalar {
    let exponent = (U256::from_be_slice(&ORDER).wrapping_sub(&U256::ONE)).checked_div(&U256::from_u32(3)).unwrap();
    let seven = Scalar::from(7_u64);
    let exponent: [u8; 32] = exponent.to_be_bytes().into();
    let bits = exponent.into_iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    let root = bits.fold(Scalar::ONE, |power, bit| if bit { power.square() * seven } else { power.square() });
    assert!(root != Scalar::ONE && root.square() * root == Scalar::ONE);
    root
}

#[test]
fn keys_are_parsed_as_by_k256() {
    let mut random = Random(6);
    for round in 0..400 {
        let mut bytes = [0; 33];
        bytes[0] = if round < 256 { round as u8 } else { 2 + round as u8 % 2 };
        bytes[1..].copy_from_slice(&random.bytes());
        let theirs = VerifyingKey::from_sec1_bytes(&bytes).ok().filter(|_| matches!(bytes[0], 2 | 3));
        let own = Point::from_compressed(&bytes);
        assert_eq!(own.map(|point| point.to_k256()), theirs.map(|key| *key.as_affine()), "{bytes:x?}");
        if let Some(point) = own {
            assert_eq!(point.to_compressed(), bytes);
            assert_eq!((-point).to_compressed()[0], bytes[0] ^ 1);
            assert_eq!(Point::from_k256(&point.to_k256()), Some(point));
            let x = bytes[1..].try_into().unwrap();
            assert_eq!(Point::from_x(&x, bytes[0] == 3), Some(point));
        }
    }
    assert_eq!(Point::from_k256(&AffinePoint::IDENTITY), None);
    assert_eq!(Point::from_x(&[0xFF; 32], false), None, "above p");
}

#[test]
fn batches_of_every_size_hold_if_all_signatures_hold() {
    let mut random = Random(7);
    // Each key signs three times.
    let secrets: Vec<Scalar> = (0..100).map(|_| scalar(&random.plain_bytes())).collect();
    let claims: Vec<Claim> =
        (0..257).map(|at| signed(secrets[at % 100], scalar(&random.plain_bytes()), random.plain_bytes())).collect();
    for count in (0..=20).chain([31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 200, 255, 256, 257]) {
        let mut claims = claims[..count].to_vec();
        assert!(batch_holds(&claims, coefficient), "{count}");
        if count > 0 {
            let at = random.below(count as u64) as usize;
            claims[at].digest[31] ^= 1;
            assert!(!batch_holds(&claims, coefficient), "{count}");
            claims[at].digest[31] ^= 1;
            claims[at].signature[64] ^= 1;
            assert!(!batch_holds(&claims, coefficient), "{count}");
        }
    }
    assert!(batch_holds(&vec![claims[0].clone(); 130], coefficient), "the same signature again");
    assert!(batch_holds(&vec![claims[0].clone(); 130], |_| 1), "equal points in all lists");
}

/// Errors that cancel without coefficients: nonce points R and -R, both with the wrong parity.
#[test]
fn opposite_errors_cancel_with_equal_coefficients_only() {
    let nonce = Scalar::from(7_u64);
    let of_parity = |v: u8| {
        let mut random = Random(8 + u64::from(v));
        let mut claims = (0..64).map(|_| signed(scalar(&random.plain_bytes()), nonce, random.plain_bytes()));
        claims.find(|claim| claim.signature[64] == v).unwrap().with(|claim| claim.signature[64] ^= 1)
    };
    let wrong = [of_parity(0), of_parity(1)];
    assert!(!batch_holds(&wrong, coefficient));
    assert!(batch_holds(&wrong, |_| 5), "the equation itself is the sum");
    assert!(!batch_holds(&wrong, |index| 5 + index as u128));
}

#[test]
fn coefficients_of_every_size_are_right() {
    let mut random = Random(10);
    let claims: Vec<Claim> = (0..3).map(|_| random_claim(&mut random)).collect();
    for coefficient in (0..128).map(|bit| 1 << bit).chain([0, u128::MAX, u128::MAX - 1, u128::MAX / 3]) {
        assert!(batch_holds(&claims, |index| coefficient - (coefficient > 2) as u128 * index as u128));
    }
    let wrong = claims[0].with(|claim| claim.digest[0] ^= 1);
    assert!(batch_holds(&[claims[1].clone(), wrong.clone()], |index| 1 - index as u128), "a weight of zero");
    assert!(!batch_holds(&[claims[1].clone(), wrong], |_| u128::MAX));
}

/// A factor of the generator: often small, negative, or λ times such a one.
fn factors() -> impl Strategy<Value = Scalar> {
    let small = (1..40_u64).prop_map(Scalar::from);
    let every = any::<[u8; 32]>().prop_map(|bytes| scalar(&bytes) + Scalar::ONE);
    let turns = (0..3_u32, any::<bool>());
    (prop_oneof![small, every], turns).prop_map(|(factor, (turns, is_negative))| {
        let factor = (0..turns).fold(factor, |factor, _| factor * third_root_of_unity());
        if is_negative { -factor } else { factor }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn claims_are_judged_as_by_k256(
        secret in factors(),
        nonce in factors(),
        digest: [u8; 32],
        damage: Option<(u16, u8)>,
    ) {
        prop_assume!(!bool::from(secret.is_zero()) && !bool::from(nonce.is_zero()));
        let mut claim = signed(secret, nonce, digest);
        if let Some((at, byte)) = damage {
            claim.signature[usize::from(at) % 65] = byte;
        }
        claim.judged();
    }

    #[test]
    fn bytes_are_judged_as_by_k256(secret in factors(), digest: [u8; 32], r: [u8; 32], s: [u8; 32], v in 0..3_u8) {
        let signature = [r.as_slice(), &s, &[v]].concat().try_into().unwrap();
        Claim { key: key_of(secret), digest, signature }.judged();
    }

    #[test]
    fn sums_are_the_point_at_infinity_as_by_k256(
        generator in factors(),
        terms in prop::collection::vec((factors(), factors(), factors(), any::<u128>()), 0..12),
        completes: bool,
    ) {
        let point = |factor: &Scalar| (ProjectivePoint::GENERATOR * factor).to_affine();
        let products = terms.iter().map(|(key, by, nonce, weight)| {
            ProjectivePoint::from(point(key)) * by - ProjectivePoint::from(point(nonce)) * Scalar::from(*weight)
        });
        let sum: ProjectivePoint = products.sum();
        let value = terms.iter().fold(Scalar::ZERO, |sum, (key, by, nonce, weight)| {
            sum + *key * by - *nonce * Scalar::from(*weight)
        });
        let generator = if completes { -value } else { generator };
        let expected = bool::from((sum + ProjectivePoint::GENERATOR * generator).is_identity());
        let terms: Vec<Term> = terms.iter().map(|(key, by, nonce, weight)| Term {
            key: Point::from_k256(&point(key)).unwrap(),
            key_scalar: *by,
            nonce_point: Point::from_k256(&point(nonce)).unwrap(),
            coefficient: *weight,
        }).collect();
        prop_assert_eq!(sum_is_identity(&generator, &terms), expected);
        prop_assert!(expected || !completes);
    }
}

/// The first example of a recoverable signature in k256's own tests: the SHA-256 of "example message", signed by
/// another library.
#[test]
fn a_signature_of_another_library_holds() {
    let key = [
        0x02, 0x1A, 0x7A, 0x56, 0x9E, 0x91, 0xDB, 0xF6, 0x05, 0x81, 0x50, 0x9C, 0x7F, 0xC9, 0x46, 0xD1, 0x00, 0x3B,
        0x60, 0xC7, 0xDE, 0xE8, 0x52, 0x99, 0x53, 0x8D, 0xB6, 0x35, 0x35, 0x38, 0xD5, 0x95, 0x74,
    ];
    let digest = [
        0xAD, 0x84, 0xCD, 0x0B, 0x10, 0xFC, 0x02, 0x87, 0x38, 0x97, 0x1B, 0x07, 0x81, 0x24, 0xAE, 0xC2, 0xA0, 0xE7,
        0xC6, 0xD9, 0x86, 0xA3, 0x81, 0xBE, 0x0B, 0x38, 0x6F, 0x32, 0xBE, 0xE8, 0x87, 0xAF,
    ];
    let signature = [
        0xCE, 0x53, 0xAB, 0xB3, 0x72, 0x1B, 0xAF, 0xC5, 0x61, 0x40, 0x8C, 0xE8, 0xFF, 0x99, 0xC9, 0x09, 0xF7, 0xF0,
        0xB1, 0x8A, 0x2F, 0x78, 0x86, 0x49, 0xD6, 0x47, 0x01, 0x62, 0xAB, 0x1A, 0xA0, 0x32, 0x39, 0x71, 0xED, 0xC5,
        0x23, 0xA6, 0xD6, 0x45, 0x3F, 0x3F, 0xB6, 0x12, 0x8D, 0x31, 0x8D, 0x9D, 0xB1, 0xA5, 0xFF, 0x33, 0x86, 0xFE,
        0xB1, 0x04, 0x7D, 0x98, 0x16, 0xE7, 0x80, 0x03, 0x9D, 0x52, 0x00,
    ];
    let claim = Claim { key: VerifyingKey::from_sec1_bytes(&key).unwrap(), digest, signature };
    assert_eq!(claim.judged(), (true, true));
    assert_eq!(Point::from_compressed(&key), Some(claim.point()));
}
