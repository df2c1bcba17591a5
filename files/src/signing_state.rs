//! `priv_validator_state.json`: what a validator signed last, in CometBFT's format.
//!
//! The node writes it at every signature, in addition to its database, which also knows what was signed: see
//! `node/src/signing.rs`.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXUPPER, HEXUPPER_PERMISSIVE};
use genesis::{
    FieldError,
    json::{base64, number},
};
use serde::{Deserialize, Serialize};
use types::{Height, Round, SignState, Signature};

use crate::{
    error::{FileError, in_file},
    file::{self, Access, Existing, json_of, to_json},
    keys::KEY_FILE_BYTES_MAX,
};

/// Size of a record in bytes: enough for a signature and the signed bytes in hexadecimal.
const RECORD_BYTES: usize = 2048;

/// Maximum bytes of white space at the end of a file that was not written as a record: a line's end.
const LINE_END_BYTES_MAX: usize = 2;

/// Number of bits of a record's checksum; each bit is stored as one byte of white space.
const RECORD_CHECK_BITS: usize = 64;

fn record_check(content: &[u8]) -> [u8; RECORD_CHECK_BITS] {
    let hash = types::blake3(content).0;
    std::array::from_fn(|bit| if hash[bit / 8] >> (bit % 8) & 1 == 0 { b' ' } else { b'\t' })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignStateShape {
    #[serde(with = "number")]
    height: u64,
    #[serde(deserialize_with = "number::deserialize")]
    round: u32,
    #[serde(deserialize_with = "number::deserialize")]
    step: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signbytes: Option<String>,
}

/// Returns the content of the state file.
pub fn to_file(state: &SignState) -> Vec<u8> {
    let (sign_bytes, signature) = state.signed.as_ref().map(|(bytes, signature)| (bytes, signature)).unzip();
    to_json(&SignStateShape {
        height: state.height.0,
        round: state.round.0,
        step: state.step,
        signature: signature.map(|signature| BASE64.encode(&signature.0)),
        signbytes: sign_bytes.map(|bytes| HEXUPPER.encode(bytes)),
    })
}

/// Returns the content of the file with a constant length, so that it can be overwritten in place: the document, spaces,
/// and a checksum of both as spaces and tabs, which every JSON reader ignores.
pub fn to_record(state: &SignState) -> Vec<u8> {
    let mut bytes = to_file(state);
    assert!(bytes.len() <= RECORD_BYTES - RECORD_CHECK_BITS, "what is signed is bounded");
    bytes.resize(RECORD_BYTES - RECORD_CHECK_BITS, b' ');
    let check = record_check(&bytes);
    bytes.extend(check);
    bytes
}

/// Returns the path of the spare copy, which is overwritten before the file itself.
pub fn spare_of(file: &Path) -> PathBuf {
    file.with_added_extension("spare")
}

/// Reads `priv_validator_state.json`, or its spare copy if the content of the file is damaged.
///
/// Errors: [`FileError`] with the file and the invalid field.
pub fn load(file: &Path) -> Result<SignState, FileError> {
    match load_alone(file) {
        Err(error @ FileError::Content { .. }) => load_alone(&spare_of(file)).map_err(|_| error),
        read => read,
    }
}

/// Reads `priv_validator_state.json` without its spare copy.
///
/// Errors: [`FileError`] with the file and the invalid field.
pub fn load_alone(file: &Path) -> Result<SignState, FileError> {
    of_file(file, &file::read(file, KEY_FILE_BYTES_MAX)?)
}

/// Reads the state from the content of a file; `file` is for the error.
///
/// Errors: [`FileError::Content`] with the file and the invalid field.
pub fn of_file(file: &Path, bytes: &[u8]) -> Result<SignState, FileError> {
    let padding = bytes.len() - bytes.trim_ascii_end().len();
    if bytes.len() != RECORD_BYTES && padding > LINE_END_BYTES_MAX {
        return Err(FileError::content(
            file,
            format!("it has {} bytes, {RECORD_BYTES} were written: it was cut or extended", bytes.len()),
        ));
    }
    if bytes.len() == RECORD_BYTES {
        let (content, check) = bytes.split_at(RECORD_BYTES - RECORD_CHECK_BITS);
        if record_check(content) != check {
            return Err(FileError::content(
                file,
                "it differs from what was written: a write was interrupted, or the file was edited",
            ));
        }
    }
    // The error must not advise to restore the file from a copy: an older state is worse than none.
    in_file(file, read(json_of(file, bytes, "")?))
}

/// Maximum bytes of a message that a validator signs; those of a vote with the longest chain id have fewer than 200. It leaves
/// room for the rest of a record.
const SIGNED_BYTES_MAX: usize = 512;

/// Returns the state that the document describes. The signed bytes count only together with their signature.
fn read(SignStateShape { height, round, step, signature, signbytes }: SignStateShape) -> Result<SignState, FieldError> {
    if height > i64::MAX as u64 {
        return Err(FieldError::new("height", "is too large for a height"));
    }
    if round > i32::MAX as u32 {
        return Err(FieldError::new("round", "is too large for a round"));
    }
    if step > 3 {
        return Err(FieldError::new("step", format!("{step} is not a step: use 0 to 3")));
    }
    let signature = signature.map(|text| base64("signature", &text).map(Signature)).transpose()?;
    let sign_bytes = signbytes.map(|text| HEXUPPER_PERMISSIVE.decode(text.as_bytes())).transpose();
    let sign_bytes = sign_bytes.map_err(|_| FieldError::new("signbytes", "is not hexadecimal"))?;
    if let Some(got) = sign_bytes.as_ref().map(Vec::len).filter(|got| *got > SIGNED_BYTES_MAX) {
        let reason =
            format!("has {got} bytes, a validator signs at most {SIGNED_BYTES_MAX}: it is not what was signed");
        return Err(FieldError::new("signbytes", reason));
    }
    Ok(SignState { height: Height(height), round: Round(round), step, signed: sign_bytes.zip(signature) })
}

/// Writes the state to `priv_validator_state.json`.
///
/// Errors: those of [`crate::write`].
pub fn save(state: &SignState, file: &Path, existing: Existing) -> Result<(), FileError> {
    file::write(file, &to_file(state), Access::Secret, existing)
}
