//! What went wrong, told to the person who can mend it.

use std::{fmt, io, path::Path};

/// A sentence with the way out, and the process's exit code.
#[derive(Debug)]
pub struct Failure {
    sentence: String,
    exit_code: u8,
}

impl Failure {
    /// With exit code 1. `sentence` says what was wrong, where, and what to do about it.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), exit_code: 1 }
    }

    /// With an exit code of its own, 1 to 255.
    pub fn with_code(sentence: impl Into<String>, exit_code: u8) -> Self {
        Self { sentence: sentence.into(), exit_code: exit_code.max(1) }
    }

    /// A file or folder that could not be `done` ("read", "written", …).
    pub fn file(done: &str, path: &Path, error: &io::Error) -> Self {
        let way_out = match error.kind() {
            io::ErrorKind::PermissionDenied => ": give yourself the right to, or choose another folder",
            io::ErrorKind::StorageFull => ": free some space",
            _ => "",
        };
        Self::new(format!("{} cannot be {done}: {error}{way_out}", path.display()))
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}
