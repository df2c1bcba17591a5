//! Verification of what the chain says, by someone who runs no node and trusts no node: only a validator set.
//!
//! ```text
//!  validators.json ──> Trust ──────────────┐
//!                                          v
//!  proof file ──> ProofFile::verify: header ──app hash──> chain of proofs ──> Proven: key, value, height, signers
//! ```
//!
//! | file | content |
//! |---|---|
//! | `header` | when a header is believed: the rules of Tendermint's light client |
//! | `trust` | the validator set that the verifier trusts, from its file |
//! | `proof_file` | the files that are handed over: a chain of proofs, a signed header, its validators; or two of them |
//! | `revert_file` | the file that proves what a revert restored |
//! | `kinds` | a file of any of these kinds |
//! | `json` | the JSON of headers, commits and validators, in the only form that is accepted |
//!
//! **What is not checked**: whether the trusted set is still the right one to trust. Validators that have left and taken
//! their stake back can sign anything without a loss. Compare the time of the header, which [`Proven`] states, with the age of
//! the trusted set.
//!
//! A proof file has one form: any changed byte makes it invalid (`a_changed_byte_is_never_accepted`). All input is
//! hostile: its size is bounded, and no input leads to a panic.

mod header;
mod json;
mod kinds;
mod proof_file;
mod revert_file;
mod trust;

pub use header::{HeaderError, Link, Signed, verify_header};
pub use kinds::verify_file;
pub use proof_file::{
    EQUAL_FORMAT, Equal, EqualFile, FILE_BYTES_MAX, FORMAT, Place, ProofFile, ProofFileError, Proven,
};
pub use revert_file::{REVERT_FORMAT, Restored, RevertFile};
pub use trust::{TRUST_BYTES_MAX, Trust, TrustError};
