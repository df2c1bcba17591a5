//! Measures the cost of a signature check with k256 alone and with this crate, in turns in one run: of a single
//! signature, of one under a known key, and per signature of batches.
//!
//! `cargo bench -p cairn-curve --profile dev` prints a table in µs. Instructions are counted from outside, for one row:
//! `perf stat -e instructions:u target/debug/deps/signatures-… 64 own 100` checks a batch of 64 a hundred times, with
//! `own` arithmetic or with `k256`. On a machine without counters, `valgrind --tool=cachegrind --cache-sim=no` counts
//! them. The difference of two numbers of repetitions leaves out what is done once.
#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::{hint::black_box, rc::Rc, time::Instant};

use curve::{KnownKey, Point, Recoverable, Term, invert_all, recovers, sum_is_identity, verify};
use k256::{
    AffinePoint, ProjectivePoint, Scalar, U256,
    ecdsa::{Signature, SigningKey, VerifyingKey, signature::hazmat::PrehashVerifier},
    elliptic_curve::{
        Group,
        ff::BatchInverter,
        ops::{LinearCombination, Reduce},
        point::DecompressPoint,
        subtle::Choice,
    },
};

/// Rows of the table: single signatures, signatures of known keys, the making of the table of a known key, the parsing
/// of a key, and batches of these sizes.
const NAMES: [&str; 13] =
    ["single", "recoverable", "known", "table", "parse", "1", "2", "4", "16", "64", "256", "1024", "4096"];

/// Number of signatures in the rows that are not batches.
const SINGLES: u64 = 16;

/// A digest and a valid signature of it.
struct Signed {
    theirs: VerifyingKey,
    key: Point,
    digest: [u8; 32],
    signature: [u8; 65],
}

/// Two ways to check the same `signatures` signatures.
struct Row {
    signatures: usize,
    k256: Box<dyn Fn() -> bool>,
    own: Box<dyn Fn() -> bool>,
}

/// Returns 32 bytes that depend on a number.
fn bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for chunk in bytes.chunks_exact_mut(8) {
        state = (state ^ state >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9).wrapping_add(0x94D0_49BB_1331_11EB);
        chunk.copy_from_slice(&(state ^ state >> 31).to_be_bytes());
    }
    bytes
}

fn signed(seed: u64) -> Signed {
    let secret = SigningKey::from_slice(&bytes(seed)).expect("a secret key");
    let digest = bytes(seed + 1_000_000);
    let (signature, recovery) = secret.sign_prehash_recoverable(&digest);
    let theirs = *secret.verifying_key();
    let key = Point::from_k256(theirs.as_affine()).expect("a key");
    let mut bytes = [recovery.to_byte(); 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    Signed { theirs, key, digest, signature: bytes }
}

fn scalar(bytes: &[u8; 32]) -> Scalar {
    <Scalar as Reduce<U256>>::reduce(&U256::from_be_slice(bytes))
}

fn coefficient(index: usize) -> u128 {
    u128::from_be_bytes(*bytes(index as u64 + 2_000_000).first_chunk().expect("16 bytes"))
}

fn batch_by_k256(all: &[Signed]) -> bool {
    let parts = all.iter().map(|signed| {
        let signature = Signature::from_slice(&signed.signature[..64]).expect("a signature");
        let (r, s) = signature.split_scalars();
        let point = AffinePoint::decompress(&r.to_bytes(), Choice::from(signed.signature[64]));
        (*r, *s, ProjectivePoint::from(Option::<AffinePoint>::from(point).expect("a point")))
    });
    let parts: Vec<(Scalar, Scalar, ProjectivePoint)> = parts.collect();
    let mut inverses: Vec<Scalar> = parts.iter().map(|(_, s, _)| *s).collect();
    BatchInverter::invert_with_external_scratch(&mut inverses, &mut vec![Scalar::ZERO; all.len()]);
    let mut of_generator = Scalar::ZERO;
    let mut products = Vec::with_capacity(2 * all.len() + 1);
    for (index, ((r, _, nonce_point), signed)) in parts.iter().zip(all).enumerate() {
        let coefficient = Scalar::from(coefficient(index));
        let scaled = coefficient * inverses[index];
        of_generator += scalar(&signed.digest) * scaled;
        products.push((ProjectivePoint::from(*signed.theirs.as_affine()), *r * scaled));
        products.push((-*nonce_point, coefficient));
    }
    products.push((ProjectivePoint::GENERATOR, of_generator));
    ProjectivePoint::lincomb_vartime(products.as_slice()).is_identity().into()
}

fn batch_by_own(all: &[Signed]) -> bool {
    let parts = all.iter().map(|signed| {
        let parts = Recoverable::from_bytes(&signed.signature).expect("a signature");
        (parts, parts.nonce_point().expect("a point"))
    });
    let parts: Vec<(Recoverable, Point)> = parts.collect();
    let mut inverses: Vec<Scalar> = parts.iter().map(|(parts, _)| parts.s).collect();
    invert_all(&mut inverses);
    let mut of_generator = Scalar::ZERO;
    let mut terms = Vec::with_capacity(all.len());
    for (index, ((parts, nonce_point), signed)) in parts.into_iter().zip(all).enumerate() {
        let coefficient = coefficient(index);
        let scaled = Scalar::from(coefficient) * inverses[index];
        of_generator += scalar(&signed.digest) * scaled;
        terms.push(Term { key: signed.key, key_scalar: parts.r * scaled, nonce_point, coefficient });
    }
    sum_is_identity(&of_generator, &terms)
}

fn by_k256(signed: &Signed) -> bool {
    let signature = Signature::from_slice(&signed.signature[..64]).expect("a signature");
    signed.theirs.verify_prehash(&signed.digest, &signature).is_ok()
}

fn row(k256: impl Fn(&Signed) -> bool + 'static, own: impl Fn(&Signed) -> bool + 'static) -> Row {
    let all: Rc<Vec<Signed>> = Rc::new((0..SINGLES).map(signed).collect());
    let again = all.clone();
    Row {
        signatures: all.len(),
        k256: Box::new(move || all.iter().all(&k256)),
        own: Box::new(move || again.iter().all(&own)),
    }
}

fn known_row() -> Row {
    let known: Vec<KnownKey> = (0..SINGLES).map(|seed| KnownKey::new(&signed(seed).key)).collect();
    row(by_k256, move |signed| {
        let known = known.iter().find(|known| *known.point() == signed.key).expect("a known key");
        known.verify(&signed.digest, signed.signature.first_chunk().expect("64 bytes"))
    })
}

fn batch_row(count: u64) -> Row {
    let all: Rc<Vec<Signed>> = Rc::new((0..count).map(signed).collect());
    let again = all.clone();
    Row {
        signatures: all.len(),
        k256: Box::new(move || batch_by_k256(&all)),
        own: Box::new(move || batch_by_own(&again)),
    }
}

/// Creates the row of a name: one of [`NAMES`] or the number of signatures of a batch.
fn row_of(name: &str) -> Row {
    let key_bytes =
        |signed: &Signed| -> [u8; 33] { signed.theirs.to_sec1_point(true).as_bytes().try_into().expect("33 bytes") };
    match name {
        "single" => row(by_k256, |signed| {
            verify(&signed.key, &signed.digest, signed.signature.first_chunk().expect("64 bytes"))
        }),
        "recoverable" => row(by_k256, |signed| recovers(&signed.key, &signed.digest, &signed.signature)),
        "known" => known_row(),
        "table" => row(by_k256, |signed| *KnownKey::new(&signed.key).point() == signed.key),
        "parse" => row(
            move |signed| VerifyingKey::from_sec1_bytes(&key_bytes(signed)).is_ok(),
            move |signed| Point::from_compressed(&key_bytes(signed)).is_some(),
        ),
        count => batch_row(count.parse().expect("the name of a row or a number")),
    }
}

/// Returns the nanoseconds per signature of one call.
fn time(row: &Row, check: &dyn Fn() -> bool) -> u128 {
    let started = Instant::now();
    assert!(black_box(check()), "all signatures hold");
    started.elapsed().as_nanos() / row.signatures as u128
}

fn median(mut times: Vec<u128>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [name, way, times] = words.as_slice() {
        let row = row_of(name);
        let check = if way == "k256" { &row.k256 } else { &row.own };
        (0..times.parse().expect("a number")).for_each(|_| assert!(check()));
        return;
    }
    println!("{:12} {:>8} {:>8}   (median, µs per signature)", "", "k256", "own");
    for name in NAMES {
        let row = row_of(name);
        let repetitions = (4096 / row.signatures).clamp(11, 301);
        let (mut k256, mut own) = (Vec::new(), Vec::new());
        for _ in 0..repetitions {
            k256.push(time(&row, &row.k256));
            own.push(time(&row, &row.own));
        }
        let micros = |nanos: u128| format!("{}.{}", nanos / 1000, nanos % 1000 / 100);
        println!("{name:12} {:>8} {:>8}", micros(median(k256)), micros(median(own)));
    }
}
