//! Defines how the process ends: with an exit code and one sentence for the operator.
//!
//! | code | meaning | what to do |
//! |---|---|---|
//! | 0 | stopped as requested | – |
//! | 1 | a command was refused or found nothing | read the message |
//! | 2 | the command line is wrong | `cairn help` |
//! | 20 | the next height needs another program | install the program that the message names |
//! | 21 | the program is too new for the next height | run the one that the message names until the height of the upgrade |
//! | 69 | something is in use: a port, the home | stop the other process, or choose another port or home |
//! | 70 | an invariant is broken | keep the log and the home, report it; the validator is safe while it is stopped |
//! | 74 | the disk failed, or the store is damaged | check the disk; restart, or restore from a backup |
//! | 76 | stopped to avoid double signing | do not restart before the second signer is found |
//! | 78 | the configuration, genesis document or a key file is wrong | correct the file that the message names |
//!
//! Supervisors can restart on 70 and 74, and must not on 76. On 20, those that install programs by themselves find the upgrade
//! in `data/upgrade-info.json`.

use std::{fmt, io, path::Path};

use app::UpgradeStop;
use client::{ClientError, FieldError};
use files::FileError;
use replica::Halt;
use storage::StoreError;

use crate::config::ConfigError;

/// The exit codes of the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The process stopped as requested.
    Clean = 0,
    /// A command was refused or found nothing.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The next height needs another program.
    Upgrade = 20,
    /// The program is too new for the next height.
    TooNew = 21,
    /// A port or the home is in use.
    InUse = 69,
    /// An invariant of the program is broken.
    Invariant = 70,
    /// The disk failed, or the store is damaged.
    Disk = 74,
    /// The process stopped to avoid double signing.
    DoubleSign = 76,
    /// A file or setting of the operator is wrong.
    Config = 78,
}

/// The reason why the process ends: a sentence for the operator that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code, for programs.
    pub code: Code,
    /// The explanation, for people.
    pub sentence: String,
}

impl Failure {
    /// Creates a failure with this code and sentence.
    pub fn new(code: Code, sentence: impl ToString) -> Self {
        Self { code, sentence: sentence.to_string() }
    }

    /// Creates the failure of a command that was refused or found nothing. `sentence` states what was wrong, where, and
    /// what to do about it.
    pub fn refused(sentence: impl ToString) -> Self {
        Self::new(Code::Refused, sentence)
    }

    /// Creates the failure of a command for a file or folder that its user named. `done` is the participle of the
    /// operation that failed, such as "read" or "written".
    pub fn file(done: &str, path: &Path, error: &io::Error) -> Self {
        let way_out = match error.kind() {
            io::ErrorKind::PermissionDenied => ": change the permissions, or choose another folder",
            io::ErrorKind::StorageFull => ": free some space",
            _ => "",
        };
        Self::refused(format!("{} cannot be {done}: {error}{way_out}", path.display()))
    }

    /// Creates a failure for a file or folder of the home that cannot be used. `doing` completes "cannot", such as
    /// "create the folder".
    ///
    /// The code is `Code::Disk` when the disk is full, read-only or broken, because no configuration can repair that.
    pub fn home_io(path: &Path, doing: &str, error: &io::Error) -> Self {
        use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied};
        let (code, way_out) = match error.kind() {
            PermissionDenied => (Code::Config, "; run this as the user who owns the home"),
            AlreadyExists | IsADirectory | NotADirectory | NotFound => (Code::Config, ""),
            io::ErrorKind::ReadOnlyFilesystem => {
                (Code::Disk, "; check why the disk is read-only (dmesg, mount), then mount it for writing")
            }
            io::ErrorKind::StorageFull => (Code::Disk, "; free some space"),
            _ => (Code::Disk, "; check the disk"),
        };
        Self::new(code, format!("{}: cannot {doing}: {error}{way_out}", path.display()))
    }

    /// Creates a failure for a wrong file or setting of the operator.
    pub fn config(sentence: impl ToString) -> Self {
        Self::new(Code::Config, sentence)
    }

    /// Creates a failure for a broken disk or a damaged store.
    pub fn disk(sentence: impl ToString) -> Self {
        Self::new(Code::Disk, sentence)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::config(error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match &error {
            FileError::Io { file, act, error } => Self::home_io(file, act, error),
            FileError::Content { .. } => Self::config(error),
            FileError::Exists { .. } | FileError::Name { .. } | FileError::Randomness(_) => Self::refused(error),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::refused(error)
    }
}

impl From<FieldError> for Failure {
    fn from(error: FieldError) -> Self {
        Self::refused(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(code_of(&error), error)
    }
}

fn code_of(error: &StoreError) -> Code {
    match error {
        StoreError::Locked { .. } => Code::InUse,
        StoreError::Io { .. } | StoreError::Damaged { .. } => Code::Disk,
        StoreError::NoParent { .. }
        | StoreError::NoPermission { .. }
        | StoreError::NotOurs { .. }
        | StoreError::OtherFormat { .. }
        | StoreError::OtherChain { .. } => Code::Config,
        _ => Code::Invariant,
    }
}

impl From<Halt> for Failure {
    fn from(why: Halt) -> Self {
        let code = match &why {
            Halt::AnotherSigner { .. } => Code::DoubleSign,
            Halt::Store(error) => code_of(error),
            Halt::Differs { .. } => Code::Invariant,
            Halt::Upgrade(UpgradeStop::Early { .. }) => Code::TooNew,
            Halt::Upgrade(_) => Code::Upgrade,
        };
        Self::new(code, why)
    }
}

impl From<p2p::Error> for Failure {
    fn from(error: p2p::Error) -> Self {
        let code = match &error {
            p2p::Error::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => Code::InUse,
            _ => Code::Config,
        };
        Self::new(code, error)
    }
}

#[cfg(test)]
mod tests {
    use types::Height;

    use super::*;

    #[test]
    fn the_systemd_unit_does_not_restart_after_errors_that_a_restart_cannot_fix() {
        let unit = include_str!("../../scripts/cairn.service");
        let never = [Code::Usage, Code::Upgrade, Code::TooNew, Code::DoubleSign, Code::Config]
            .map(|code| (code as u8).to_string())
            .join(" ");
        assert!(unit.contains(&format!("\nRestartPreventExitStatus={never}\n")), "{unit}");
    }

    #[test]
    fn a_second_signer_ends_the_process_with_the_code_that_forbids_a_restart() {
        let failure = Failure::from(Halt::AnotherSigner { height: Height(7) });
        assert_eq!(failure.code as u8, 76);
        assert!(failure.sentence.contains("height 7"), "{failure}");
        let failed = StoreError::Io { place: "data".to_owned(), doing: "a write", reason: "no space".to_owned() };
        assert_eq!(Failure::from(Halt::from(failed)).code, Code::Disk);
    }
}
