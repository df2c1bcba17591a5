//! Report files: JSON for programs, beside the text for people.

use std::{fs, path::Path};

use node::exit::Failure;
use serde::Serialize;

use crate::cli::output;

/// Checks that [`write()`] can write to `path`, without a change of an existing file. Commands call it before minutes
/// of work, so that a wrong path is reported before the work and not after it.
///
/// Errors: the file cannot be opened for writing. `None` and `-` (standard output) never fail.
pub fn check(path: Option<&str>) -> Result<(), Failure> {
    let Some(path) = path.filter(|path| *path != "-").map(Path::new) else { return Ok(()) };
    let was_there = path.exists();
    let opened = fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| Failure::file("written", path, &error))?;
    if !was_there {
        // The empty file is left over from this check only; the report is written later, and if this removal fails, it
        // replaces it.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Writes a report as JSON to a file, or to standard output if `path` is `-`.
///
/// Errors: the report has no JSON form, or the file cannot be written.
pub fn write(path: &str, report: &impl Serialize) -> Result<(), Failure> {
    let value = serde_json::to_value(report)
        .map_err(|error| Failure::refused(format!("the report cannot be written as JSON: {error}")))?;
    if path == "-" {
        output::json(&value);
        return Ok(());
    }
    fs::write(path, format!("{value:#}\n")).map_err(|error| Failure::file("written", Path::new(path), &error))
}
