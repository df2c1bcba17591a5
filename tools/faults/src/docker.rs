//! Calls Docker's command line with a time limit for each call, and manages compose projects.

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

/// Time limit of one call, which may start or remove containers.
const CALL_TIME_MAX: Duration = Duration::from_secs(120);
/// Interval at which it is checked whether a call has ended.
const LOOK_PERIOD: Duration = Duration::from_millis(5);
/// Maximum number of characters of a failed call's output that are reported.
const SAID_MAX: usize = 2_000;
/// Label in which compose stores the name of a project.
const LABEL: &str = "com.docker.compose.project";

/// Runs a command to its end, and returns its standard output. The command has a process group of its own, so that
/// Ctrl-C in a terminal, which ends the run and starts the cleanup, does not also end the cleanup.
///
/// Errors: [`FaultsError::Docker`] with the command's output when it cannot be started, does not end in time, or ends
/// with an exit code other than 0.
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
    // A command that does not read its input fails with a message of its own, so a write error is ignored.
    thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let outputs = [reading(stdout), reading(stderr)];
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => thread::sleep(LOOK_PERIOD),
            _ => {
                let _ = child.kill().and_then(|()| child.wait()); // an error means that it has ended already
                return Err(failed(format!("not done within {} s", CALL_TIME_MAX.as_secs())));
            }
        }
    };
    // A process that the command left behind may keep the pipes open, so the wait is bounded.
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
        let _ = from.read_to_end(&mut bytes); // after an error, what was read so far is used
        let _ = to.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    output
}

/// Runs `docker ARGUMENTS` and returns its output.
///
/// Errors: [`FaultsError::Docker`] when the command fails or takes more than 120 s.
pub fn docker(arguments: &[&str]) -> Result<String, FaultsError> {
    let mut command = Command::new("docker");
    command.args(arguments);
    call(command, "")
}

/// Returns the compose command that this machine has: `docker compose` or the older `docker-compose`.
///
/// Errors: [`FaultsError::Docker`] when no Docker daemon answers, or the machine has neither command.
pub fn compose_command() -> Result<Vec<String>, FaultsError> {
    docker(&["info"])
        .map_err(|_| FaultsError::Docker("no Docker daemon answers: `docker info` shows the reason".to_owned()))?;
    for words in [&["docker", "compose"][..], &["docker-compose"]] {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("version");
        if call(command, "").is_ok() {
            return Ok(words.iter().map(|word| (*word).to_owned()).collect());
        }
    }
    Err(FaultsError::Docker("there is neither `docker compose` nor docker-compose: install one of them".to_owned()))
}

/// Returns the names of all compose projects that have a container, a volume or a network.
///
/// Errors: [`FaultsError::Docker`] when a call to Docker fails.
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

/// A compose project. Each call receives the compose file on standard input, so nothing is written to this machine's
/// disk.
pub struct Project {
    compose: Vec<String>,
    name: String,
    file: String,
}

impl Project {
    /// Creates a project that is not started. `file` is the text of the compose file.
    pub fn new(compose: Vec<String>, name: String, file: String) -> Self {
        Self { compose, name, file }
    }

    /// Returns the name of the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces the text of the compose file for the next calls.
    pub fn set_file(&mut self, file: String) {
        self.file = file;
    }

    /// Runs `docker compose ARGUMENTS` on this project and returns its output.
    ///
    /// Errors: [`FaultsError::Docker`] when the command fails or takes more than 120 s.
    pub fn compose(&self, arguments: &[&str]) -> Result<String, FaultsError> {
        let mut command = Command::new(&self.compose[0]);
        command.args(&self.compose[1..]).args(["-p", &self.name, "-f", "-"]).args(arguments);
        for name in ["COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"] {
            command.env_remove(name);
        }
        call(command, &self.file)
    }

    /// Returns the id of a service's container.
    ///
    /// Errors: [`FaultsError::Docker`] when the call fails, or the service has no container.
    pub fn container(&self, service: &str) -> Result<String, FaultsError> {
        let id = self.compose(&["ps", "-q", service])?.trim().to_owned();
        if id.is_empty() {
            return Err(FaultsError::Docker(format!("{service} has no container")));
        }
        Ok(id)
    }

    /// Removes the containers, networks and volumes of the project.
    ///
    /// Errors: [`FaultsError::Docker`] with Docker's output when something cannot be removed.
    pub fn remove(&self) -> Result<(), FaultsError> {
        self.compose(&["down", "--volumes", "--remove-orphans", "-t", "0"]).map(drop)
    }
}
