//! Atomic writes of files, reads with a size limit, and the primitives behind them, with readable errors.
//!
//! A file is written under a temporary name in the same folder, synced and then renamed, and the folder is synced:
//! after a power loss, either the old or the new file is there. (CometBFT does not sync the folder, so its older file
//! may come back.)

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use data_encoding::HEXLOWER;
use genesis::json;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{FileError, in_file, io},
    random::random,
};

/// Permission to read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only the owner may read it: mode 0600.
    Secret,
    /// All users may read it: mode 0644.
    Public,
}

/// What to do if the file already exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Keep the existing file and fail.
    Refuse,
    /// Replace the existing file.
    Replace,
}

/// Writes a file completely or not at all. Missing parent folders are created with access for the owner only.
///
/// Errors: [`FileError::Exists`] if the file exists and `existing` is `Refuse`; [`FileError::Io`];
/// [`FileError::Content`] if the path does not name a file; [`FileError::Randomness`].
pub fn write(file: &Path, bytes: &[u8], access: Access, existing: Existing) -> Result<(), FileError> {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(FileError::content(file, "is not the path of a file"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    io(folder, "make the folder", make_folder(folder))?;
    let beside = format!(".{}.{}.tmp", name.to_string_lossy(), HEXLOWER.encode(&random::<8>()?));
    let beside = folder.join(beside);
    let moved = fill(&beside, bytes, access).and_then(|()| move_to(&beside, file, existing));
    if moved.is_err() || existing == Existing::Refuse {
        // The file now has its final name, or the write failed; a leftover temporary file does no harm.
        let _ = fs::remove_file(&beside);
    }
    moved?;
    io(folder, "sync the folder", sync_folder(folder))
}

/// Creates a folder and its parents, and syncs each parent, so that the folder survives a power loss.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make_folder(above)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()), // created meanwhile
        made => made.and_then(|()| sync_folder(above)),
    }
}

/// Syncs a folder, so that the files that were created, renamed or removed in it stay so after a power loss.
///
/// Errors: the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Overwrites the beginning of an open file in place and syncs its data. A power loss may leave old and new bytes mixed.
///
/// Errors: the file cannot be written or synced.
pub fn write_over(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    file.sync_data()
}

/// Returns true if nothing has this path. A path that cannot be examined counts as present.
pub fn is_absent(path: &Path) -> bool {
    matches!(fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Returns true if other users than the owner of the file may read or write it. False for a file that cannot be
/// examined.
pub fn is_open_to_others(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

fn fill(file: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let mode = match access {
        Access::Secret => 0o600,
        Access::Public => 0o644,
    };
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let mut opened = io(file, "create", opened)?;
    io(file, "write", opened.write_all(bytes))?;
    io(file, "sync", opened.sync_all())
}

fn move_to(from: &Path, to: &Path, existing: Existing) -> Result<(), FileError> {
    if existing == Existing::Replace {
        return io(to, "write", fs::rename(from, to));
    }
    // Unlike a rename, a hard link fails atomically if the name already exists.
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) if fs::symlink_metadata(to).is_ok() => Err(FileError::Exists { file: to.to_owned() }),
        // Some file systems do not support hard links.
        Err(_) => io(to, "write", fs::rename(from, to)),
    }
}

/// Reads a file of at most `bytes_max` bytes.
///
/// Errors: [`FileError::Io`]; [`FileError::Content`] if the file is larger.
pub fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    let opened = io(file, "open", File::open(file))?;
    let mut bytes = Vec::new();
    io(file, "read", opened.take(bytes_max as u64 + 1).read_to_end(&mut bytes))?;
    if bytes.len() > bytes_max {
        return Err(FileError::content(file, format!("is larger than {bytes_max} bytes: this is not the right file")));
    }
    Ok(bytes)
}

/// Reads the content of a JSON file of the shape `T`; `file` is for the error, which names the position of a syntax error or the
/// invalid field, and shows no content of the file.
pub(crate) fn read_json<T: DeserializeOwned>(file: &Path, bytes: &[u8]) -> Result<T, FileError> {
    json_of(file, bytes, ": restore the file from a copy")
}

/// Reads the JSON of a file as the shape `T`. The error is that of [`read_json`], with another `way_out` if it is not
/// JSON.
pub(crate) fn json_of<T: DeserializeOwned>(file: &Path, bytes: &[u8], way_out: &str) -> Result<T, FileError> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = if bytes.is_empty() { "it is empty, " } else { "" };
        FileError::content(file, format!("{what}not JSON at line {line}, column {column}{way_out}"))
    })?;
    in_file(file, json::read(&value))
}

/// Returns the content of a JSON file: indented, with a line break at the end.
pub(crate) fn to_json(shape: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(shape).expect("shapes have text keys");
    text.push(b'\n');
    text
}
