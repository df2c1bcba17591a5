//! Runs the `cairn` program in a temporary folder, without the `CAIRN_` variables of the test's environment.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    io::Write,
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// The program with its temporary folder, which is removed when the value is dropped.
pub struct Cairn {
    folder: tempfile::TempDir,
}

/// The output and the exit code of a run.
pub struct Said {
    /// Exit code, or -1 if a signal ended the process.
    pub code: i32,
    /// Text on standard output.
    pub out: String,
    /// Text on standard error.
    pub err: String,
}

impl Cairn {
    /// Creates a new temporary folder for the program.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Returns the folder in which the program runs; it is also the home folder of its user.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// Returns a command with these arguments, which is not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.args(args).current_dir(self.folder());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CAIRN_") {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.folder()).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, &[])
    }

    /// Runs the program to its end, with these environment variables.
    pub fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Said {
        self.command(args).envs(env.iter().copied()).output().unwrap().into()
    }

    /// Runs the program to its end, with this text on standard input.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Said {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// Returns standard output; panics if the program failed.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// Returns standard error; panics unless the program failed with an error message.
    #[track_caller]
    pub fn fails(self) -> String {
        assert!(self.code > 0 && !self.err.contains("panicked"), "exit code {}: {}{}", self.code, self.out, self.err);
        assert!(self.err.lines().any(|line| line.starts_with("error: ")), "{}", self.err);
        self.err
    }
}

/// Parses a JSON text; panics with the text if it is invalid.
#[track_caller]
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Returns the first of `count` consecutive ports that are free on loopback for TCP and UDP.
///
/// Each call in a process returns other ports. The first port that a process tries follows from its id, so that
/// concurrent test programs rarely try the same ports. All ports are below the range from which the system assigns
/// ports itself.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + (std::process::id() % 250) as u16 * 40;
    loop {
        let base = first + NEXT.fetch_add(count, Ordering::Relaxed);
        assert!(base + count < 32_000, "no {count} free ports in a row from {first}");
        let free =
            |port| TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok();
        if (base..base + count).all(free) {
            return base;
        }
    }
}

/// Waits until `happened` returns a value and returns it; panics with `what` after `time`.
#[track_caller]
pub fn within<T>(time: Duration, what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(result) = happened() {
            return result;
        }
        assert!(Instant::now() < deadline, "{what}: not within {time:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a command and returns its standard output; panics if it fails.
#[track_caller]
pub fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Returns the root folder of the sources.
pub fn sources() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
