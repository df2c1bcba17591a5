//! A file of any kind: its first field says of which.

use serde::Deserialize;

use crate::{EQUAL_FORMAT, EqualFile, ProofFile, ProofFileError, REVERT_FORMAT, RevertFile, Trust, proof_file::parse};

/// Reads a file of any kind, verifies it, and returns the sentences that it proves.
///
/// Errors: those of [`ProofFile`], [`EqualFile`] and [`RevertFile`]; a file of no kind has those of [`ProofFile`].
pub fn verify_file(bytes: &[u8], trust: &Trust) -> Result<String, ProofFileError> {
    #[derive(Deserialize)]
    struct Kind {
        format: String,
    }
    match parse::<Kind>(bytes)?.format.as_str() {
        EQUAL_FORMAT => Ok(EqualFile::from_json(bytes)?.verify(trust)?.to_string()),
        REVERT_FORMAT => Ok(RevertFile::from_json(bytes)?.verify(trust)?.to_string()),
        _ => Ok(ProofFile::from_json(bytes)?.verify(trust)?.to_string()),
    }
}
