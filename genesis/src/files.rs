//! Atomic writes of files, and reads of files with readable errors.
//!
//! A file is written under a temporary name in the same folder, synced and then renamed, and the folder is synced:
//! after a power loss, either the old or the new file is there. (CometBFT does not sync the folder, so its older file
//! may come back.)

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use thiserror::Error;

use crate::{GenesisError, json::FieldError};

/// Buffer size in bytes for reading a genesis file.
const READ_BYTES: usize = 256 * 1024;

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

/// The reason why a file cannot be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file system reported an error.
    #[error("{}: cannot {act}: {error}", .file.display())]
    Io {
        /// Path of the file or folder.
        file: PathBuf,
        /// The operation that failed.
        act: &'static str,
        /// Error of the file system.
        error: io::Error,
    },
    /// The file already exists and must not be overwritten.
    #[error("{} is there already and was left as it is: move it away first", .file.display())]
    Exists {
        /// Path of the existing file.
        file: PathBuf,
    },
    /// The content or the path of the file is invalid.
    #[error("{}: {reason}", .file.display())]
    Content {
        /// Path of the invalid file.
        file: PathBuf,
        /// Invalid field and reason.
        reason: String,
    },
    /// The name is not valid for a key.
    #[error("{name:?} is not a key's name: use 1 to {max} of a-z, 0-9, '-', '_'", max = crate::keys::NAME_CHARS_MAX)]
    Name {
        /// The invalid name, cut to 80 characters.
        name: String,
    },
    /// The operating system returned no random bytes.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
}

impl FileError {
    pub(crate) fn content(file: &Path, reason: impl ToString) -> Self {
        Self::Content { file: file.to_owned(), reason: reason.to_string() }
    }
}

/// Adds the path of the file to an error about its content.
pub(crate) fn in_file<T>(file: &Path, content: Result<T, FieldError>) -> Result<T, FileError> {
    content.map_err(|error| FileError::content(file, error))
}

fn io<T>(file: &Path, act: &'static str, result: io::Result<T>) -> Result<T, FileError> {
    result.map_err(|error| FileError::Io { file: file.to_owned(), act, error })
}

/// Returns random bytes of the operating system, suitable for secrets.
///
/// Errors: [`FileError::Randomness`] if the operating system returns none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], FileError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| FileError::Randomness(error.to_string()))?;
    Ok(bytes)
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

/// Reads a file and parses its JSON. The error names the position of a syntax error and shows no content of the file.
pub(crate) fn read_json(file: &Path, bytes_max: usize) -> Result<serde_json::Value, FileError> {
    json_of(file, &read(file, bytes_max)?, ": restore the file from a copy")
}

/// Parses the JSON of a file. The error names the position of a syntax error and adds `way_out`, but shows no content.
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
    /// Errors: [`FileError::Io`]; [`FileError::Content`] with the path of the invalid field.
    pub fn load(file: &Path) -> Result<Self, FileError> {
        let opened = io(file, "open", File::open(file))?;
        let reader = io::BufReader::with_capacity(READ_BYTES, opened);
        Self::read(reader).map_err(|error: GenesisError| match error {
            GenesisError::Io(error) => FileError::Io { file: file.to_owned(), act: "read", error: error.into() },
            other => FileError::content(file, other),
        })
    }
}
