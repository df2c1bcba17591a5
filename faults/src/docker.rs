//! Docker's command line, each call bounded in time, and a compose project that is gone when it is dropped.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

#[cfg(unix)]
use std::os::unix::process::CommandExt;

use crate::FaultsError;

/// For a call that starts or removes containers.
const CALL_TIME_MAX: Duration = Duration::from_secs(120);
/// Between two looks whether a call is over.
const LOOK_PERIOD: Duration = Duration::from_millis(5);
/// Of what a failed call said, so many characters are told.
const SAID_MAX: usize = 2_000;
/// What compose calls its projects in labels.
const LABEL: &str = "com.docker.compose.project";

/// Runs a command to its end, and returns what it wrote. It is in a process group of its own: a terminal's Ctrl-C, which ends the
/// run and cleans up, must not end the cleaning up as well.
///
/// Errors: it cannot be started, does not end in time, or ends otherwise than with 0; says what it said.
fn call(mut command: Command, input: &str) -> Result<String, FaultsError> {
    let shown = format!("{command:?}").replace('"', "");
    let failed = |reason: String| FaultsError::Docker(format!("`{shown}`: {reason}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| failed(format!("{error}: is it installed?")))?;
    let until = Instant::now() + CALL_TIME_MAX;
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed("it has no pipes".to_owned()));
    };
    let input = input.to_owned();
    thread::spawn(move || drop(stdin.write_all(input.as_bytes()))); // who does not read it will say why not
    let outputs = [reading(stdout), reading(stderr)];
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => thread::sleep(LOOK_PERIOD),
            _ => {
                let _ = child.kill().and_then(|()| child.wait()); // it has ended meanwhile, if this fails
                return Err(failed(format!("not done within {} s", CALL_TIME_MAX.as_secs())));
            }
        }
    };
    // A process that it left behind may keep the pipes open.
    let [out, err] = outputs.map(|output| output.recv_timeout(Duration::from_secs(5)).unwrap_or_default());
    if !status.success() {
        let said: String = format!("{out}{err}").trim().chars().take(SAID_MAX).collect();
        return Err(failed(format!("{status}\n{said}")));
    }
    Ok(out)
}

fn reading(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (to, output) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes); // what was read is told
        let _ = to.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    output
}

/// `docker ARGUMENTS`
pub fn docker(arguments: &[&str]) -> Result<String, FaultsError> {
    let mut command = Command::new("docker");
    command.args(arguments);
    call(command, "")
}

/// The compose command that this machine has, `docker compose` or the older `docker-compose`.
///
/// Errors: no daemon answers, or there is neither.
pub fn compose_command() -> Result<Vec<String>, FaultsError> {
    docker(&["info"])
        .map_err(|_| FaultsError::Docker("no Docker daemon answers: `docker info` says more".to_owned()))?;
    for words in [&["docker", "compose"][..], &["docker-compose"]] {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("version");
        if call(command, "").is_ok() {
            return Ok(words.iter().map(|word| (*word).to_owned()).collect());
        }
    }
    Err(FaultsError::Docker("there is neither `docker compose` nor docker-compose: install one of them".to_owned()))
}

/// Projects that are there, or of which something is left.
pub fn projects() -> Result<Vec<String>, FaultsError> {
    let (filter, format) = (format!("label={LABEL}"), format!("{{{{.Label \"{LABEL}\"}}}}"));
    let mut found = Vec::new();
    for list in [&["ps", "-a"][..], &["volume", "ls"], &["network", "ls"]] {
        let said = docker(&[list, &["--filter", &filter, "--format", &format]].concat())?;
        found.extend(said.lines().map(str::to_owned));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// A compose project. Its file is told to each call on standard input: nothing is written to this machine's disk.
pub struct Project {
    compose: Vec<String>,
    name: String,
    file: String,
}

impl Project {
    /// One that has not begun. `file`: the compose file's text.
    pub fn new(compose: Vec<String>, name: String, file: String) -> Self {
        Self { compose, name, file }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Goes on with another file.
    pub fn set_file(&mut self, file: String) {
        self.file = file;
    }

    /// `docker compose ARGUMENTS`
    pub fn compose(&self, arguments: &[&str]) -> Result<String, FaultsError> {
        let mut command = Command::new(&self.compose[0]);
        command.args(&self.compose[1..]).args(["-p", &self.name, "-f", "-"]).args(arguments);
        for name in ["COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"] {
            command.env_remove(name);
        }
        call(command, &self.file)
    }

    /// The container of a service.
    pub fn container(&self, service: &str) -> Result<String, FaultsError> {
        let id = self.compose(&["ps", "-q", service])?.trim().to_owned();
        if id.is_empty() {
            return Err(FaultsError::Docker(format!("{service} has no container")));
        }
        Ok(id)
    }

    /// Removes all that is there of it: containers, networks, volumes.
    ///
    /// Errors: something could not be removed; says what was said.
    pub fn remove(&self) -> Result<(), FaultsError> {
        self.compose(&["down", "--volumes", "--remove-orphans", "-t", "0"]).map(drop)
    }
}
