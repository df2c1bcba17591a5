//! The error of file work: it names the file, the field and the way out.

use std::{
    io,
    path::{Path, PathBuf},
};

use genesis::FieldError;
use thiserror::Error;

/// Maximum number of characters in the name of an account key.
pub const NAME_CHARS_MAX: usize = 64;

/// The reason why a file cannot be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file system reported an error.
    #[error("{}: cannot {act}: {error}{}", .file.display(), way_out(.error))]
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
    #[error("{name:?} is not a key's name: use 1 to {NAME_CHARS_MAX} of a-z, 0-9, '-', '_'")]
    Name {
        /// The invalid name, cut to 80 characters.
        name: String,
    },
    /// The operating system returned no random bytes.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ": restore the file, or check the path",
        io::ErrorKind::PermissionDenied => ": run this as the owner of the file, or change its access",
        _ => "",
    }
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

/// Adds the path of the file and the failed operation to an error of the file system.
pub(crate) fn io<T>(file: &Path, act: &'static str, result: io::Result<T>) -> Result<T, FileError> {
    result.map_err(|error| FileError::Io { file: file.to_owned(), act, error })
}
