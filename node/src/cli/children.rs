//! The processes of a testnet.
//!
//! Each validator is a process of its own, `cairn start --home DIR/nodeN`, in a process group of its own, so that a terminal's
//! Ctrl-C reaches the testnet only. Its standard input is a pipe that nobody writes to: when it closes, the validator stops.
//! Closing it is how we ask for a clean stop, and the kernel closes it when the testnet dies by whatever means, so no
//! validator outlives its testnet. One started by hand has no such pipe and no such end.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::failure::Failure;

/// A log that has grown beyond this, in bytes, is put aside at the next start; the one put aside before is dropped.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes at the end of a log in which its last line is looked for.
const LAST_LINE_BYTES_MAX: u64 = 4096;

/// A validator's process.
pub struct Validator {
    /// `node0`, …
    pub name: String,
    /// Its home.
    pub home: PathBuf,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Validator {
    /// Starts the validator of a home. Its output is appended to `cairn.log` there.
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

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            // An error means that there is no such child any more: it has been waited for.
            self.ended = self.child.try_wait().unwrap_or_default();
        }
        self.ended
    }

    /// Asks for a clean stop.
    pub fn ask_to_stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Ends the process at once.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    /// The last line that it wrote.
    pub fn last_words(&self) -> String {
        last_line(&log_file(&self.home)).unwrap_or_default()
    }
}

/// Asks all for a clean stop, and kills those that have not ended at the deadline or when `hurry` says so. Returns the names of
/// those killed.
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

/// How a process ended, as the end of a sentence that begins with its name.
pub fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(0)) => "was stopped".to_owned(),
        (None, code) => format!("ended with exit code {}", code.unwrap_or_default()),
    }
}

/// Where a validator's output goes.
pub fn log_file(home: &Path) -> PathBuf {
    home.join("cairn.log")
}

fn open_log(path: &Path) -> io::Result<fs::File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    fs::OpenOptions::new().create(true).append(true).open(path)
}

fn last_line(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINE_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(LAST_LINE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    // Control characters of a log must not command the terminal.
    Ok(line.chars().filter(|c| !c.is_control()).take(500).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_last_line_that_says_something() {
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
    fn how_a_process_ended_is_said_in_words() {
        assert_eq!(how(ExitStatus::from_raw(9)), "was killed by signal 9");
        assert_eq!(how(ExitStatus::from_raw(0)), "was stopped");
        assert_eq!(how(ExitStatus::from_raw(3 << 8)), "ended with exit code 3");
    }
}
