//! The error of a command: a sentence for the operator, and the exit code of the process.

use std::{fmt, io, path::Path};

use files::FileError;
use node::{config::ConfigError, exit};

use super::client::ClientError;

/// An error message that includes a remedy, and the exit code of the process. The table of exit codes is in [`exit`].
#[derive(Debug)]
pub struct Failure {
    sentence: String,
    exit_code: u8,
}

impl Failure {
    /// Creates the failure of a command that was refused or found nothing (exit code 1). `sentence` states what was
    /// wrong, where, and what to do about it.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self::with_code(exit::Code::Refused, sentence)
    }

    /// Creates a failure with the given exit code.
    pub fn with_code(code: exit::Code, sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), exit_code: code as u8 }
    }

    /// Returns a failure with the same sentence and the given exit code.
    pub fn coded(self, code: exit::Code) -> Self {
        Self { exit_code: code as u8, ..self }
    }

    /// Creates the failure for a file or folder on which an operation failed. `done` is the participle of the operation
    /// ("read", "written", …).
    pub fn file(done: &str, path: &Path, error: &io::Error) -> Self {
        let way_out = match error.kind() {
            io::ErrorKind::PermissionDenied => ": change the permissions, or choose another folder",
            io::ErrorKind::StorageFull => ": free some space",
            _ => "",
        };
        Self::new(format!("{} cannot be {done}: {error}{way_out}", path.display()))
    }

    /// Returns the exit code with which the process must end.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl From<exit::Failure> for Failure {
    fn from(failure: exit::Failure) -> Self {
        Self::with_code(failure.code, failure.sentence)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        exit::Failure::from(error).into()
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match &error {
            FileError::Content { .. } => Self::with_code(exit::Code::Config, error.to_string()),
            FileError::Io { error: reason, .. } if reason.kind() == io::ErrorKind::PermissionDenied => {
                Self::with_code(exit::Code::Config, format!("{error}: run this as the user who owns it"))
            }
            _ => Self::new(error.to_string()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(error.to_string())
    }
}
