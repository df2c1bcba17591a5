//! `priv_validator_state.json`: what a validator signed last, in CometBFT's format.
//!
//! The node writes it at every signature, in addition to its database, which also knows what was signed: see
//! `node/src/signing.rs`.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXUPPER, HEXUPPER_PERMISSIVE};
use genesis::{FieldError, json::At};
use serde::Serialize;
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

#[derive(Serialize)]
struct SignStateShape {
    height: String,
    round: u32,
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
        height: state.height.to_string(),
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
    let bytes = file::read(file, KEY_FILE_BYTES_MAX)?;
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
    let value = json_of(file, &bytes, "")?;
    in_file(file, read(&At::root(&value)))
}

/// Reads the state from the document. The signed bytes count only together with their signature.
fn read(at: &At<'_>) -> Result<SignState, FieldError> {
    at.only(&["height", "round", "step", "signature", "signbytes"])?;
    let (height, round, step) = (at.need("height")?, at.need("round")?, at.need("step")?);
    let signature = at.get("signature")?.map(|field| field.base64().map(Signature)).transpose()?;
    let sign_bytes = match at.get("signbytes")? {
        None => None,
        Some(field) => match HEXUPPER_PERMISSIVE.decode(field.text()?.as_bytes()) {
            Ok(bytes) => Some(bytes),
            Err(_) => return field.error("is not hexadecimal"),
        },
    };
    let state = SignState {
        height: Height(height.number()?),
        round: Round(round.number()?),
        step: step.number()?,
        signed: sign_bytes.zip(signature),
    };
    if state.height.0 > i64::MAX as u64 {
        return height.error("is too large for a height");
    }
    if state.round.0 > i32::MAX as u32 {
        return round.error("is too large for a round");
    }
    if state.step > 3 {
        return step.error(format!("{} is not a step: use 0 to 3", state.step));
    }
    Ok(state)
}

/// Writes the state to `priv_validator_state.json`.
///
/// Errors: those of [`crate::write`].
pub fn save(state: &SignState, file: &Path, existing: Existing) -> Result<(), FileError> {
    file::write(file, &to_file(state), Access::Secret, existing)
}
