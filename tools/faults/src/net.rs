//! Validators in containers with a relay between them, and the removal of what was started.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use client::{Client, ClientError};
use data_encoding::BASE64;
use serde_json::{Value, json};
use types::SecretKey;

use crate::{
    FaultsError,
    docker::{self, Project},
    relay::Control,
    scenario::Scenario,
    topology::Topology,
    wait::{LOOK_PERIOD, sleep},
    wanted::Wanted,
};

/// Prefix of the projects' names; the id of the process that owns the project follows.
const PROJECT: &str = "cairn-faults-";
/// Time limit from the start of the containers until all validators have committed a height.
const READY_TIME_MAX: Duration = Duration::from_secs(90);

/// Validators in containers, which are removed when it is dropped.
pub struct Net {
    project: Project,
    /// Names of the validators.
    pub names: Vec<String>,
    /// Containers of the validators, in the order of their names.
    pub containers: Vec<String>,
    /// RPC addresses of the validators.
    pub urls: Vec<String>,
    /// Control of the relay between the validators.
    pub relay: Control,
    /// Key of the account that funds the senders.
    pub funder: SecretKey,
}

/// Guard that removes a project when it is dropped.
struct Removed(Option<Project>);

impl Removed {
    fn keep(mut self) -> Option<Project> {
        self.0.take()
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if let Some(project) = &self.0 {
            let _ = project.remove(); // on an error, the next run tries again
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // A paused container cannot be stopped, so it is unpaused first; for other containers this call fails without
        // effect.
        if let Some(container) = self.containers.last() {
            let _ = docker::docker(&["unpause", container]);
        }
        let _ = self.project.remove(); // on an error, the next run tries again
    }
}

impl Net {
    /// Starts the validators and the relay, and waits until each validator is connected to all others.
    ///
    /// Errors: [`FaultsError::Docker`] when Docker or the image fails; [`FaultsError::Stopped`] when the run is stopped.
    pub fn start(wanted: &Wanted, compose: Vec<String>, stop: &AtomicBool) -> Result<Self, FaultsError> {
        let ports = free_ports(wanted.validators + 1)?;
        let (control_port, rpc_ports) = (ports[0], ports[1..].to_vec());
        let topology = Topology { image: wanted.image.clone(), rpc_ports, control_port, quic: wanted.quic };
        let name = format!("{PROJECT}{}", std::process::id());
        let mut removed = Removed(Some(Project::new(compose, name, topology.compose_file(&[]))));
        let project = removed.0.as_mut().expect("it was put there a moment ago");
        let said = project.compose(&["run", "--rm", "-T", "init", &topology.init_script()])?;
        let (ids, key) = said.split_once('{').unwrap_or((&said, ""));
        let ids: Vec<String> = ids.split_whitespace().map(str::to_owned).collect();
        let unexpected = || FaultsError::Docker(format!("{} has no `cairn` of this version", wanted.image));
        let funder = secret(&format!("{{{key}")).filter(|_| ids.len() == wanted.validators).ok_or_else(unexpected)?;
        if stop.load(Ordering::Relaxed) {
            return Err(FaultsError::Stopped);
        }
        project.set_file(topology.compose_file(&ids));
        let names: Vec<String> = (0..wanted.validators).map(|index| format!("node{index}")).collect();
        let services: Vec<&str> = names.iter().map(String::as_str).chain(["relay"]).collect();
        project.compose(&[&["up", "-d", "--no-build"], &services[..]].concat())?;
        let containers = names.iter().map(|name| project.container(name)).collect::<Result<_, _>>()?;
        let net = Self {
            names,
            containers,
            urls: topology.rpc_ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect(),
            relay: Control::at(SocketAddr::from((Ipv4Addr::LOCALHOST, control_port))),
            funder,
            project: removed.keep().expect("it is held until it is taken here"),
        };
        net.wait_until_ready(stop)?;
        Ok(net)
    }

    fn wait_until_ready(&self, stop: &AtomicBool) -> Result<(), FaultsError> {
        let until = Instant::now() + READY_TIME_MAX;
        loop {
            let not_ready: Vec<&String> = self
                .names
                .iter()
                .zip(&self.urls)
                .filter(|(_, url)| !self.is_ready(url))
                .map(|(name, _)| name)
                .collect();
            if not_ready.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                let (seconds, words) = (READY_TIME_MAX.as_secs(), self.last_words());
                return Err(FaultsError::Docker(format!("{not_ready:?} not ready within {seconds} s\n{words}")));
            }
            sleep(LOOK_PERIOD, stop)?;
        }
    }

    /// Returns true if the validator has a height, is not catching up, and has a connection to each other validator.
    fn is_ready(&self, url: &str) -> bool {
        let ask = || -> Result<bool, ClientError> {
            let client = Client::new(url, None)?;
            let chain = client.chain()?;
            let peers = client.call("net_info", json!({}))?["n_peers"].as_str().and_then(|count| count.parse().ok());
            Ok(chain.height.0 > 0 && !chain.catching_up && peers == Some(self.names.len() - 1))
        };
        ask().unwrap_or(false)
    }

    /// Returns the last log lines of all containers.
    pub fn last_words(&self) -> String {
        self.project.compose(&["logs", "--no-color", "--tail", "5"]).unwrap_or_default()
    }

    /// Returns the container of the last validator, which the faults affect.
    fn victim(&self) -> &str {
        self.containers.last().expect("there are at least four")
    }

    /// Gives the command that starts a fault.
    ///
    /// Errors: [`FaultsError::Docker`] when Docker or the relay fails.
    pub fn begin(&self, scenario: Scenario, wanted: &Wanted) -> Result<(), FaultsError> {
        match (scenario, scenario.orders(self.names.len(), wanted.delay, wanted.jitter)) {
            (Scenario::Kill, _) => docker::docker(&["kill", "-s", "KILL", self.victim()]).map(drop),
            (Scenario::Pause, _) => docker::docker(&["pause", self.victim()]).map(drop),
            (_, Some((begin, _))) => self.relay.order(&begin).map(drop).map_err(FaultsError::Docker),
            (_, None) => Ok(()),
        }
    }

    /// Gives the command that ends a fault.
    ///
    /// Errors: [`FaultsError::Docker`] when Docker or the relay fails.
    pub fn end(&self, scenario: Scenario, wanted: &Wanted) -> Result<(), FaultsError> {
        match (scenario, scenario.orders(self.names.len(), wanted.delay, wanted.jitter)) {
            (Scenario::Kill, _) => docker::docker(&["start", self.victim()]).map(drop),
            (Scenario::Pause, _) => docker::docker(&["unpause", self.victim()]).map(drop),
            (_, Some((_, end))) => self.relay.order(&end).map(drop).map_err(FaultsError::Docker),
            (_, None) => Ok(()),
        }
    }

    /// Returns the bytes that have passed the relay, in both directions of all links.
    ///
    /// Errors: [`FaultsError::Docker`] when the relay does not answer.
    pub fn passed_bytes(&self) -> Result<u64, FaultsError> {
        let status = self.relay.status().map_err(FaultsError::Docker)?;
        let of_link = |line: &str| line.split("passed_bytes=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        Ok(status.lines().filter_map(of_link).sum())
    }

    /// Returns a sentence for each validator that is not running.
    ///
    /// Errors: [`FaultsError::Docker`] when Docker fails.
    pub fn who_ended(&self) -> Result<Vec<String>, FaultsError> {
        let mut found = Vec::new();
        for (name, container) in self.names.iter().zip(&self.containers) {
            let state = docker::docker(&["inspect", "-f", "{{json .State}}", container])?;
            let state: Value = serde_json::from_str(&state).unwrap_or_default();
            if state["Running"] != true {
                found.push(format!("{name} has ended by itself with exit code {}", state["ExitCode"]));
            }
        }
        Ok(found)
    }
}

/// Removes the containers, networks and volumes of runs whose process is gone.
///
/// Errors: [`FaultsError::Docker`] when Docker fails.
pub fn remove_what_dead_runs_left(compose: &[String]) -> Result<(), FaultsError> {
    for name in docker::projects()? {
        let pid = name.strip_prefix(PROJECT).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| pid != std::process::id() && is_gone(pid)) {
            // Compose finds what belongs to the project by its labels, so the file can be a placeholder.
            let project = Project::new(compose.to_vec(), name, "services: {x: {image: x}}\n".to_owned());
            project.remove()?;
            remove_volumes(&project)?;
        }
    }
    Ok(())
}

/// Returns true if there is no such process. Returns false on systems where this cannot be found out.
fn is_gone(pid: u32) -> bool {
    let processes = std::path::Path::new("/proc");
    processes.join("self").exists() && !processes.join(pid.to_string()).exists()
}

/// Removes the volumes and networks of the project that its file does not name.
fn remove_volumes(project: &Project) -> Result<(), FaultsError> {
    for what in ["volume", "network"] {
        let filter = format!("label=com.docker.compose.project={}", project.name());
        let left = docker::docker(&[what, "ls", "-q", "--filter", &filter])?;
        for name in left.lines() {
            docker::docker(&[what, "rm", name])?;
        }
    }
    Ok(())
}

/// Reads the secret key of an account from the text of its file.
fn secret(file: &str) -> Option<SecretKey> {
    let value: Value = serde_json::from_str(file).ok()?;
    let bytes = BASE64.decode(value.pointer("/priv_key/value")?.as_str()?.as_bytes()).ok()?;
    SecretKey::from_bytes(&bytes).ok()
}

/// Returns ports that are free on loopback now.
fn free_ports(count: usize) -> Result<Vec<u16>, FaultsError> {
    let none = |error| FaultsError::Docker(format!("there are no free ports on 127.0.0.1: {error}"));
    // All listeners are open at the same time, so that no port is returned twice.
    let listeners = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>();
    let port = |listener: &TcpListener| Ok(listener.local_addr().map_err(none)?.port());
    listeners.map_err(none)?.iter().map(port).collect()
}
