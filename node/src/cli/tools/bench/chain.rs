//! The testnet of a workload: its processes, and the resources that they have used since their start.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use client::{Client, metrics};
use load::Node;
use node::{config::Config, exit::Failure};

use crate::cli::{
    children::{self, Validator},
    home::{Home, reachable},
    keyring::Keyring,
    prepare::{self, Wanted},
    testnet,
};

/// First base port that is tried. The following ones are multiples of 100 above it.
const PORT_FIRST: u16 = 31_000;
/// Upper bound of the base ports that are tried, exclusive.
const PORT_LAST: u16 = 60_000;
/// Time that validators have from their start to their first block.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Time that validators have for a clean stop before they are killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);
/// Pause between two status queries while the validators start.
const PAUSE: Duration = Duration::from_millis(50);

/// A running testnet. Its validators are stopped when the value is dropped.
pub struct Chain {
    folder: PathBuf,
    configs: Vec<Config>,
    validators: Vec<Validator>,
}

/// The resources that all validators have used since their start.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Time of the reading.
    pub at: Instant,
    /// Used resources of each validator.
    pub nodes: Vec<Used>,
}

/// The resources that one validator has used since its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Used {
    /// Latest height that was committed.
    pub height: f64,
    /// Number of committed transactions.
    pub txs: f64,
    /// Used processor time in seconds.
    pub cpu_s: f64,
    /// Number of checked signatures of transactions.
    pub checks: f64,
    /// Number of disk syncs that consensus waited for.
    pub syncs: f64,
    /// Number of failed rounds.
    pub failed_rounds: f64,
    /// Resident memory at the time of the reading, in bytes.
    pub memory: f64,
    /// Size of the validator's data on disk at the time of the reading, in bytes.
    pub disk: f64,
    /// Bytes that the process has written to disk; `None` if the system does not report it.
    pub written: Option<f64>,
}

impl Chain {
    /// Creates a testnet in `folder`, starts it and waits until all validators have a block.
    ///
    /// Errors: there are no free ports, the files cannot be written, a validator cannot be started, ends or has no
    /// block within 60 s (the failure names the validator and the reason or its log), or `stop` is set.
    pub fn start(folder: &Path, count: usize, interval: Duration, stop: &AtomicBool) -> Result<Self, Failure> {
        let prepared = prepare::testnet(&Wanted {
            dir: folder.to_owned(),
            validators: Some(count),
            chain_id: None,
            base_port: Some(free_ports(count)?),
            empty_block_interval: Some(Some(interval)),
            hostname_prefix: None,
            key_type: None,
        })?;
        let program = std::env::current_exe().map_err(|error| {
            Failure::refused(format!("the path of this program's own file cannot be determined: {error}"))
        })?;
        let start = |(index, home): (usize, &PathBuf)| Validator::start(&program, &prepare::node_name(index), home);
        let homes = prepare::homes(folder);
        let validators = homes.iter().enumerate().map(start).collect::<Result<_, _>>()?;
        let mut chain = Self { folder: folder.to_owned(), configs: prepared.nodes, validators };
        chain.wait_for_blocks(stop)?;
        Ok(chain)
    }

    fn wait_for_blocks(&mut self, stop: &AtomicBool) -> Result<(), Failure> {
        let deadline = Instant::now() + START_TIME_MAX;
        for index in 0..self.configs.len() {
            let client = Client::new(&reachable(&self.configs[index].rpc.laddr), None)?;
            while client.chain().map_or(0, |chain| chain.height.0) == 0 {
                self.all_run()?;
                if stop.load(Ordering::Relaxed) {
                    return Err(Failure::refused("stopped before the validators had a block"));
                }
                if Instant::now() > deadline {
                    let (one, seconds) = (&self.validators[index], START_TIME_MAX.as_secs());
                    let log = children::log_file(&one.home);
                    return Err(Failure::refused(format!(
                        "{} has no block after {seconds} s: run again with --keep, and look at {}",
                        one.name,
                        log.display()
                    )));
                }
                thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Checks that all validators run; otherwise the failure has the last log line of one that has ended.
    fn all_run(&mut self) -> Result<(), Failure> {
        match self.validators.iter_mut().find_map(|one| Some((one.ended()?, &*one))) {
            Some((status, one)) => {
                Err(Failure::refused(format!("{} {}: {}", one.name, children::how(status), one.last_words())))
            }
            None => Ok(()),
        }
    }

    /// Returns the folder of the testnet.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the RPC and metrics addresses of the validators.
    pub fn nodes(&self) -> Vec<Node> {
        let address = |config: &Config| Node {
            rpc: reachable(&config.rpc.laddr),
            metrics: Some(reachable(&config.instrumentation.prometheus_listen_addr)),
        };
        self.configs.iter().map(address).collect()
    }

    /// Returns the secret key of a funded account, alice.
    ///
    /// Errors: the key's file cannot be read.
    pub fn funder(&self) -> Result<types::SecretKey, Failure> {
        let home = Home::given_or_default(Some(self.folder.join(prepare::node_name(0))))?;
        Ok(Keyring::of(&home).get(&"alice".parse().expect("alice is a name"))?.secret)
    }

    /// Reads the resources that the validators have used so far.
    ///
    /// Errors: a validator does not return its metrics.
    pub fn read(&self) -> Result<Reading, Failure> {
        let at = Instant::now();
        let used = |(config, validator): (&Config, &Validator)| {
            let address = reachable(&config.instrumentation.prometheus_listen_addr);
            let page = Client::new(&address, None)?
                .page("/metrics")
                .map_err(|error| Failure::refused(format!("{} does not serve its metrics: {error}", validator.name)))?;
            let of = |name: &str| metrics::sum(&page, name).unwrap_or(0.0);
            Ok(Used {
                height: of("cometbft_consensus_latest_block_height"),
                txs: of("cometbft_consensus_total_txs"),
                cpu_s: of("process_cpu_seconds_total"),
                checks: of("cometbft_mempool_signature_checks_total"),
                syncs: of("cometbft_consensus_syncs_total"),
                failed_rounds: of("cometbft_consensus_round_increment_total"),
                memory: of("process_resident_memory_bytes"),
                disk: bytes_in(&validator.home.join("data")) as f64,
                written: written(validator.pid()),
            })
        };
        let nodes = self.configs.iter().zip(&self.validators).map(used).collect::<Result<_, Failure>>()?;
        Ok(Reading { at, nodes })
    }

    /// Stops all validators of the chain.
    ///
    /// Errors: a validator ended by itself before, or did not stop within 20 s and was killed.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.all_run()?;
        let killed = children::stop(&mut self.validators, STOP_TIME_MAX, || false);
        if killed.is_empty() {
            return Ok(());
        }
        Err(Failure::refused(format!("did not stop within {} s: {}", STOP_TIME_MAX.as_secs(), killed.join(", "))))
    }
}

impl Drop for Chain {
    /// Stops the validators, because their folder is removed next.
    fn drop(&mut self) {
        children::stop(&mut self.validators, STOP_TIME_MAX, || false);
    }
}

/// Returns a base port from which on all ports of `count` validators are free.
fn free_ports(count: usize) -> Result<u16, Failure> {
    let step = 100 * count.div_ceil(10).max(1);
    let free = |port: &u16| {
        prepare::ports(*port, count).all(|port| testnet::is_free(([127, 0, 0, 1], port).into(), true).is_ok())
    };
    let missing = || Failure::refused(format!("there are not enough free ports between {PORT_FIRST} and {PORT_LAST}"));
    (PORT_FIRST..PORT_LAST).step_by(step).find(free).ok_or_else(missing)
}

/// Returns the total size in bytes of the files under a folder. Files that cannot be read are skipped, because a
/// running validator removes files at any time.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(file) if file.is_dir() => bytes_in(&entry.path()),
        Ok(file) => file.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

/// Returns the number of bytes that a process has written to disk, including bytes that are still in the page cache.
/// Only Linux reports it.
fn written(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_of_a_folder_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/x"), [0; 10]).unwrap();
        fs::write(dir.path().join("y"), [0; 5]).unwrap();
        assert_eq!(bytes_in(dir.path()), 15);
        assert_eq!(bytes_in(&dir.path().join("none")), 0);
    }
}
