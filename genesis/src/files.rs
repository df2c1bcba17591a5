//! Files that are there whole or not at all.
//!
//! A file is written beside its place, synced, then moved to its name, and the folder is synced: after a power loss there is the
//! old file or the new one. (CometBFT does not sync the folder, so its older file may come back.)

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use thiserror::Error;

use crate::{GenesisError, json::FieldError};

/// Bytes of a genesis file that are read together.
const READ_BYTES: usize = 256 * 1024;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner: mode 0600.
    Secret,
    /// Everybody: mode 0644.
    Public,
}

/// What to do when a file is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail.
    Refuse,
    /// Put the new one in its place.
    Replace,
}

/// A file that cannot be used, and why.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file system said no.
    #[error("{}: cannot {act}: {error}", .file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// What was tried.
        act: &'static str,
        /// What the file system said.
        error: io::Error,
    },
    /// It would have been written over.
    #[error("{} is there already and was left as it is: move it away first", .file.display())]
    Exists {
        /// Which.
        file: PathBuf,
    },
    /// It is not what it should be.
    #[error("{}: {reason}", .file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// Field and reason.
        reason: String,
    },
    /// A key's name is not one.
    #[error("{name:?} is not a key's name: use 1 to {max} of a-z, 0-9, '-', '_'", max = crate::keys::NAME_CHARS_MAX)]
    Name {
        /// What was given.
        name: String,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
}

impl FileError {
    pub(crate) fn content(file: &Path, reason: impl ToString) -> Self {
        Self::Content { file: file.to_owned(), reason: reason.to_string() }
    }
}

/// Says what is wrong with a file's content, given the file.
pub(crate) fn in_file<T>(file: &Path, content: Result<T, FieldError>) -> Result<T, FileError> {
    content.map_err(|error| FileError::content(file, error))
}

fn io<T>(file: &Path, act: &'static str, result: io::Result<T>) -> Result<T, FileError> {
    result.map_err(|error| FileError::Io { file: file.to_owned(), act, error })
}

/// Bytes from the operating system that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], FileError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| FileError::Randomness(error.to_string()))?;
    Ok(bytes)
}

/// Writes a file whole or not at all; makes the folders above it, for the owner alone, where they are missing.
///
/// Errors: `FileError::Exists` when it is there and `existing` is `Refuse`; `FileError::Io`.
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
        // The file has its name by now, or never will; a left-over is only clutter.
        let _ = fs::remove_file(&beside);
    }
    moved?;
    io(folder, "sync the folder", sync_folder(folder))
}

/// Makes a folder and those above it, so that after a power loss they are there with what was synced in them.
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
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()), // somebody else did
        made => made.and_then(|()| sync_folder(above)),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
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
    // A second name, unlike a rename, fails when the place is taken, with no moment in between.
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) if fs::symlink_metadata(to).is_ok() => Err(FileError::Exists { file: to.to_owned() }),
        // Not every file system has second names.
        Err(_) => io(to, "write", fs::rename(from, to)),
    }
}

/// Reads a file of at most `bytes_max` bytes.
///
/// Errors: `FileError::Io`; `FileError::Content` when it is larger.
pub fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    let opened = io(file, "open", File::open(file))?;
    let mut bytes = Vec::new();
    io(file, "read", opened.take(bytes_max as u64 + 1).read_to_end(&mut bytes))?;
    if bytes.len() > bytes_max {
        return Err(FileError::content(file, format!("is larger than {bytes_max} bytes: this is not the right file")));
    }
    Ok(bytes)
}

/// Reads a file and its JSON. The error says where the JSON breaks, and shows none of it.
pub(crate) fn read_json(file: &Path, bytes_max: usize) -> Result<serde_json::Value, FileError> {
    json_of(file, &read(file, bytes_max)?, ": restore the file from a copy")
}

/// The JSON in a file's bytes. The error says where it breaks and the way out, and shows none of it.
pub(crate) fn json_of(file: &Path, bytes: &[u8], way_out: &str) -> Result<serde_json::Value, FileError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = if bytes.is_empty() { "it is empty, " } else { "" };
        FileError::content(file, format!("{what}not JSON at line {line}, column {column}{way_out}"))
    })
}

impl crate::Genesis {
    /// Reads and checks `genesis.json`.
    ///
    /// Errors: `FileError::Io`; `FileError::Content` with the field's path.
    pub fn load(file: &Path) -> Result<Self, FileError> {
        let opened = io(file, "open", File::open(file))?;
        let reader = io::BufReader::with_capacity(READ_BYTES, opened);
        Self::read(reader).map_err(|error: GenesisError| match error {
            GenesisError::Io(error) => FileError::Io { file: file.to_owned(), act: "read", error: error.into() },
            other => FileError::content(file, other),
        })
    }
}
