//! The start of a chain: the genesis document and the first state that it defines. Bytes in, a validated document, its
//! first state and bytes out: the crate `files` reads and writes `genesis.json`.
//!
//! | module | contents |
//! |---|---|
//! | `genesis` | a checked document: its first state, its validators, its hash |
//! | `check`, `faults` | the rules of the content, and all faults of a document |
//! | [`document`] | the content of `genesis.json`, in CometBFT's format, and its limits |
//! | `stream` | reading a document with any number of accounts, one account at a time |
//! | `shape`, `stake` | the format of a document, for reading and writing |
//! | [`json`] | reading JSON into shapes, with errors that name the field; the format of keys |
//! | `senders` | keys of the accounts that a test network funds for load tests |
//!
//! Invariants:
//! **G1** An existing [`Genesis`] is valid: it can only be created by checking (`every_mistake_in_…_is_named` in `genesis/tests/document.rs`).
//! **G2** Documents with equal meaning have equal hashes: order and names do not count
//! (`the_genesis_hash_covers_the_meaning_not_the_text`).

mod check;
pub mod document;
mod faults;
mod genesis;
pub mod json;
mod senders;
mod shape;
mod stake;
mod stream;

pub use app::{FirstDelegation, FirstStake, FirstTerms, JailReason};
pub use document::{Document, GenesisAccount, GenesisError, GenesisValidator};
pub use faults::FAULTS_MAX;
pub use genesis::{FirstState, Genesis};
pub use json::FieldError;
pub use senders::sender_key;
pub use shape::params_json;
