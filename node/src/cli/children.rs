//! The validator processes of a testnet.
//!
//! Each validator is a process `cairn start --home DIR/nodeN` in its own process group, so that Ctrl-C on a terminal
//! reaches the testnet process only. Its standard input is a pipe without data; the validator stops cleanly when this
//! pipe closes. The testnet closes it to request a stop, and the kernel closes it when the testnet process ends for any
//! reason, so no validator outlives its testnet. A validator that was started by hand has no such pipe and continues.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use node::exit::Failure;
use types::is_plain;

/// Maximum size of a log in bytes. A larger log is renamed at the next start and replaces the log that was renamed
/// before.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Number of bytes at the end of a log in which the last line is searched.
const LAST_LINE_BYTES_MAX: u64 = 4096;

/// A validator's process, which this process started.
pub struct Validator {
    /// Name of the validator: `node0`, `node1`, …
    pub name: String,
    /// Home folder of the validator.
    pub home: PathBuf,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Validator {
    /// Starts the validator of a home. Its output is appended to `cairn.log` in the home.
    ///
    /// Errors: the log cannot be opened or renamed, or the process cannot be started.
    pub fn start(program: &Path, name: &str, home: &Path) -> Result<Self, Failure> {
        let log_path = log_file(home);
        let log = open_log(&log_path).map_err(|error| Failure::file("written", &log_path, &error))?;
        let second = log.try_clone().map_err(|error| Failure::file("written", &log_path, &error))?;
        let child = Command::new(program)
            .args(["start", "--until-stdin-closes", "--home"])
            .arg(home)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(second)
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::file("started", program, &error))?;
        Ok(Self { name: name.to_owned(), home: home.to_owned(), child, ended: None })
    }

    /// Returns the operating system's id of the process.
    #[cfg(feature = "tools")]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status of the process, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            // An error means that the child was waited for already, and has no status any more.
            self.ended = self.child.try_wait().unwrap_or_default();
        }
        self.ended
    }

    /// Requests a clean stop by closing the standard input of the process.
    pub fn ask_to_stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Kills the process (SIGKILL), if it still runs, and waits for its end.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    /// Returns the last line of the validator's log that is not blank, or an empty string.
    pub fn last_words(&self) -> String {
        last_line(&log_file(&self.home)).unwrap_or_default()
    }
}

/// Requests a clean stop of all validators. Kills those that still run after `deadline` or when `hurry` returns true,
/// and returns their names.
pub fn stop(validators: &mut [Validator], deadline: Duration, hurry: impl Fn() -> bool) -> Vec<String> {
    validators.iter_mut().for_each(Validator::ask_to_stop);
    let until = Instant::now() + deadline;
    while validators.iter_mut().any(|one| one.ended().is_none()) && Instant::now() < until && !hurry() {
        thread::sleep(Duration::from_millis(20));
    }
    let mut killed = Vec::new();
    for one in validators {
        if one.ended().is_none() {
            one.kill();
            killed.push(one.name.clone());
        }
    }
    killed
}

/// Returns how a process ended, as the end of a sentence that begins with its name.
pub fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(0)) => "was stopped".to_owned(),
        (None, code) => format!("ended with exit code {}", code.unwrap_or_default()),
    }
}

/// Returns the path of the log to which a validator's output is appended.
pub fn log_file(home: &Path) -> PathBuf {
    home.join("cairn.log")
}

/// Opens a log for appending; renames it before if it is larger than [`LOG_BYTES_MAX`].
fn open_log(path: &Path) -> io::Result<fs::File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    fs::OpenOptions::new().create(true).append(true).open(path)
}

/// Returns the last line of a log that is not blank, with at most 500 characters.
fn last_line(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINE_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(LAST_LINE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    // Control characters are removed, because the log must not control the terminal that shows the line.
    Ok(line.chars().filter(|c| is_plain(*c)).take(500).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_with_text_is_shown_when_a_process_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = log_file(dir.path());
        fs::write(&path, format!("{}\nfirst\n\x1b[31mlast\n\n", "x".repeat(10_000))).unwrap();
        assert_eq!(last_line(&path).unwrap(), "[31mlast");
        fs::write(&path, "").unwrap();
        assert_eq!(last_line(&path).unwrap(), "");
    }

    #[test]
    fn a_log_that_has_grown_large_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = log_file(dir.path());
        open_log(&path).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        assert_eq!(open_log(&path).unwrap().metadata().unwrap().len(), 0);
        assert!(dir.path().join("cairn.log.old").exists());
    }

    #[test]
    fn the_exit_status_of_a_process_is_described_in_words() {
        assert_eq!(how(ExitStatus::from_raw(9)), "was killed by signal 9");
        assert_eq!(how(ExitStatus::from_raw(0)), "was stopped");
        assert_eq!(how(ExitStatus::from_raw(3 << 8)), "ended with exit code 3");
    }
}
