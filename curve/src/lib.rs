//! Checks signatures on secp256k1 faster than k256 alone, with exactly the same results.
//!
//! All functions take **variable time**: how long they take depends on the values. They are for public data only: keys,
//! digests and signatures that anyone may see. No secret may be passed to them.
//!
//! | function | computes | as k256 |
//! |---|---|---|
//! | [`verify`], [`KnownKey::verify`] | whether a signature r ‖ s holds | `VerifyingKey::verify_prehash` |
//! | [`recovers`], [`KnownKey::recovers`] | whether a signature r ‖ s ‖ v holds | a comparison with the nonce point |
//! | [`sum_is_identity`] | the equation of a batch | `lincomb_vartime` |
//! | [`Point::from_compressed`], [`Point::from_x`] | a point from its x-coordinate | `AffinePoint::decompress` |
//! | [`invert_all`] | inverses of scalars | `BatchInverter` |
//!
//! The files use each other from the bottom to the top of this list:
//!
//! - `ecdsa`: the rules of a signature.
//! - `sum`, `known`: sums of products with scalars; tables of points that are used often.
//! - `lists`, `split`: many additions with one inversion; scalars as short digits.
//! - `point`, `scalar`: points of the curve; inverses of scalars.
//! - `field`, `inverse`, `words`, `encoding`: the coordinates, and their bytes in a compressed point.
//!
//! Invariants:
//!
//! - I1: A result is that of k256 for every input, also one that an adversary chooses: points that are equal, opposite,
//!   or small multiples of the generator, and products that cancel each other. `tests/acceptance.rs` and the unit tests
//!   compare them.
//! - I2: No input leads to a panic, and the work depends on the number of signatures only.
//!
//! With the feature `k256-alone`, the file `alone` computes everything with k256, behind the same names. It passes the
//! same tests of this crate's public functions.

#![forbid(unsafe_code)]

#[cfg(feature = "k256-alone")]
mod alone;
mod ecdsa;
mod encoding;
#[cfg(all(test, not(feature = "k256-alone")))]
mod samples;

#[cfg(not(feature = "k256-alone"))]
mod field;
#[cfg(not(feature = "k256-alone"))]
mod inverse;
#[cfg(not(feature = "k256-alone"))]
mod known;
#[cfg(not(feature = "k256-alone"))]
mod lists;
#[cfg(not(feature = "k256-alone"))]
mod point;
#[cfg(not(feature = "k256-alone"))]
mod scalar;
#[cfg(not(feature = "k256-alone"))]
mod split;
#[cfg(not(feature = "k256-alone"))]
mod sum;
#[cfg(not(feature = "k256-alone"))]
mod words;

#[cfg(feature = "k256-alone")]
pub use alone::{KnownKey, Point, Term, invert_all, sum_is_identity};
pub use ecdsa::{Recoverable, recovers, verify};
#[cfg(not(feature = "k256-alone"))]
pub use {
    known::KnownKey,
    point::Point,
    scalar::invert_all,
    sum::{Term, sum_is_identity},
};
