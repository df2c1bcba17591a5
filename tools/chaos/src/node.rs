//! One validator: its home, and its process while it runs.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use client::Client;
use files::signing_state;

use crate::{ChaosError, clock::Clock, command};

/// Bytes at the end of a log in which its last line is searched.
const LAST_LINE_BYTES_MAX: u64 = 4_096;

/// A version of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The program with which the chain begins.
    First,
    /// The program that has the upgrade `v2` too.
    Next,
}

impl Version {
    /// Returns the other version.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Next,
            Self::Next => Self::First,
        }
    }
}

/// The programs of both versions.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The `cairn` program, which also has the commands for homes.
    pub cairn: PathBuf,
    /// The program that has the upgrade `v2`.
    pub next: PathBuf,
}

impl Programs {
    /// Runs a command of `cairn` on a home, and returns its standard output.
    ///
    /// Errors: [`ChaosError::Machine`] if it fails or does not end in time.
    pub fn cairn(&self, args: &[&str], home: &Path) -> Result<String, ChaosError> {
        let mut command = Command::new(&self.cairn);
        command.args(args).arg("--home").arg(home).env_remove("CAIRN_HOME").env_remove("CAIRN_NODE");
        command::run(&mut command, Duration::from_secs(60))
    }
}

/// What the process of a validator is expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It runs and answers.
    Runs,
    /// It is down, because a fault ended it; the fault's end starts it again.
    Down,
    /// It was asked to stop, and is then started with the other program.
    Stops,
    /// It runs, or has ended because its disk is full; the fault's end starts it again.
    DiskFull,
}

/// A validator with its files and its process.
pub struct Node {
    /// Index of the validator, which is its slot.
    pub index: usize,
    /// Name of the validator: node0, node1, …
    pub name: String,
    /// Home folder of the validator.
    pub home: PathBuf,
    /// Client of its RPC, which waits 2 s at most.
    pub client: Client,
    /// File of its clock, if clocks can be shifted.
    pub clock: Option<Clock>,
    /// Version of the program that it runs.
    pub version: Version,
    /// What its process is expected to do.
    pub expected: Expected,
    /// Words before its program.
    pub prefix: Vec<String>,
    /// Environment of its process: its settings, and the library of its clock.
    pub environment: Vec<(String, String)>,
    /// File of its log.
    pub log: PathBuf,
    /// Its process, from the start until its end was seen.
    pub process: Option<Child>,
}

impl Node {
    /// Starts the process, with further arguments.
    ///
    /// Errors: [`ChaosError::Machine`] if the log cannot be opened or the process cannot be started.
    pub fn start(&mut self, programs: &Programs, args: &[String]) -> Result<(), ChaosError> {
        let failed = |error| ChaosError::machine(format!("{} cannot be started", self.name), error);
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let program = match self.version {
            Version::First => &programs.cairn,
            Version::Next => &programs.next,
        };
        let mut words = self.prefix.iter().map(std::ffi::OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().expect("there is a program"));
        command.args(words).args(["start", "--until-stdin-closes", "--home"]).arg(&self.home).args(args);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CAIRN_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().cloned());
        let process = command.stdin(Stdio::piped()).stdout(log).stderr(errors).spawn().map_err(failed)?;
        (self.process, self.expected) = (Some(process), Expected::Runs);
        Ok(())
    }

    /// Kills the process (SIGKILL) and waits for its end. Returns false if it did not run.
    pub fn kill(&mut self) -> bool {
        self.expected = Expected::Down;
        let Some(mut process) = self.process.take() else { return false };
        let has_ended = process.try_wait().is_ok_and(|status| status.is_some());
        let _ = process.kill(); // fails if it has ended already
        let _ = process.wait();
        !has_ended
    }

    /// Sends a signal such as `STOP` to the process. Returns false if there is none.
    pub fn signal(&self, signal: &str) -> bool {
        let Some(process) = &self.process else { return false };
        command::line(&format!("kill -{signal} {}", process.id())).is_ok()
    }

    /// Returns how the process has ended, once; `None` while it runs or if it does not exist.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(status)
    }

    /// Returns the folder of the validator's data.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Returns the file with the record of what the validator signed last.
    pub fn record(&self) -> PathBuf {
        self.data().join("priv_validator_state.json")
    }

    /// Returns the height of the validator's last signature, or 0 if there is no record.
    pub fn signed_height(&self) -> u64 {
        signing_state::load(&self.record()).map_or(0, |state| state.height.0)
    }

    /// Deletes the record of what the validator signed last.
    ///
    /// Errors: [`ChaosError::Machine`] if a file cannot be deleted.
    pub fn delete_record(&self) -> Result<(), ChaosError> {
        let record = self.record();
        [signing_state::spare_of(&record), record].iter().try_for_each(|file| match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ChaosError::machine(file.display(), error))
            }
            _ => Ok(()),
        })
    }

    /// Returns the last line of the log that is not blank.
    pub fn last_words(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = fs::File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINE_BYTES_MAX)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes);
            Ok(text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned())
        };
        read().unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Deletes all files and folders in a folder, which itself stays.
///
/// Errors: [`ChaosError::Machine`] if one cannot be deleted.
pub fn empty(folder: &Path) -> Result<(), ChaosError> {
    let failed = |error| ChaosError::machine(folder.display(), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(failed)?;
    }
    Ok(())
}
