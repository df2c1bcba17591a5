//! Starts real validators, each as a process of the `cairn` program, on loopback ports that the system chooses.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod evidence;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use files::{Existing, Testnet as Plan, TestnetOptions, signing_state, testnet::write_files};
use node::config::Config;
use serde_json::{Value, json};
use tempfile::TempDir;
use types::{ChainId, KeyType, SignState, Time};

/// Timeout of each expected event, which is long enough for a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// The home folders of a testnet's nodes.
pub struct Homes {
    /// Temporary folder that contains all homes.
    pub folder: TempDir,
    /// Number of nodes, each with one home.
    pub count: usize,
}

impl Homes {
    /// Creates the files for `count` validators, whose empty blocks follow each other after `interval`.
    pub fn new(count: usize, interval: Duration) -> Self {
        Self::with(count, interval, |_| {})
    }

    /// Creates the files of a testnet, after `change` has modified the options.
    pub fn with(count: usize, interval: Duration, change: impl FnOnce(&mut TestnetOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Time::parse("2026-01-01T00:00:00Z").unwrap();
        let mut options =
            TestnetOptions::generate(ChainId::new("processes").unwrap(), now, count, KeyType::Secp256k1).unwrap();
        change(&mut options);
        let ids: Vec<_> = options.nodes.iter().map(|keys| keys.node.id()).collect();
        let ports = free_ports(count);
        let plan = Plan::plan(options).unwrap();
        let config = |index: usize| {
            let mut config = Config::default();
            config.base.moniker = format!("node{index}");
            config.p2p.laddr = format!("tcp://127.0.0.1:{}", ports[index]);
            config.p2p.addr_book_strict = false;
            config.p2p.allow_duplicate_ip = true;
            let peers = (0..count).filter(|peer| *peer != index);
            config.p2p.persistent_peers =
                peers.map(|peer| format!("{}@127.0.0.1:{}", ids[peer], ports[peer])).collect();
            config.rpc.laddr = "tcp://127.0.0.1:0".to_owned();
            config.instrumentation.prometheus = true;
            config.instrumentation.prometheus_listen_addr = "127.0.0.1:0".to_owned();
            config.consensus.empty_block_interval = Some(interval);
            config.rpc.max_request_batch_size = 100;
            config.to_commented_toml()
        };
        write_files(folder.path(), &plan.files(config), Existing::Refuse).unwrap();
        Self { folder, count }
    }

    /// Returns the home folder of a node.
    pub fn home(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("node{index}"))
    }

    /// Creates the home of a further node, which has keys of its own and follows the chain of the first one. Returns it with
    /// the flags for its start.
    pub fn follower(&self, name: &str) -> (PathBuf, Vec<String>) {
        let (home, first) = (self.folder.path().join(name), self.home(0));
        let run = |args: &[&str], home: &Path| {
            let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        run(&["init", "--moniker", name], &home);
        fs::copy(first.join("config/genesis.json"), home.join("config/genesis.json")).unwrap();
        let address = Config::load(&first, &[]).unwrap().p2p.laddr;
        let peer = format!("{}@{}", run(&["show-node-id"], &first).trim(), address.trim_start_matches("tcp://"));
        let flags = [
            ("p2p.laddr", "tcp://127.0.0.1:0"),
            ("p2p.persistent_peers", &peer),
            ("p2p.addr_book_strict", "false"),
            ("p2p.allow_duplicate_ip", "true"),
            ("rpc.laddr", "tcp://127.0.0.1:0"),
            ("instrumentation.prometheus", "true"),
            ("instrumentation.prometheus_listen_addr", "127.0.0.1:0"),
        ];
        (home, flags.iter().map(|(name, value)| format!("--{name}={value}")).collect())
    }

    /// Starts a node and waits until it listens.
    pub fn start(&self, index: usize) -> Validator {
        Validator::start(&self.home(index))
    }

    /// Starts all nodes at once and waits until they listen.
    pub fn start_all(&self) -> Vec<Validator> {
        let starting: Vec<_> = (0..self.count).map(|index| Validator::spawn(&self.home(index), &[])).collect();
        starting.into_iter().map(Validator::listening).collect()
    }
}

/// First and last port of [`free_ports`]: above those of the module `program`, and below the range from which the system gives
/// ports to outgoing connections, which could take one before the node listens.
const PORTS: [u16; 2] = [22_000, 32_000];

/// Returns ports that are free at this time, for both TCP and UDP. Each call in a process returns others.
fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [first, last] = PORTS;
    let next = || {
        let nth = (std::process::id() as u16 % 250 * 40).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        first + nth % (last - first)
    };
    let is_free =
        |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok() && UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(next).filter(is_free).take(count).collect()
}

/// Maximum number of lines of a process's log that a failed test shows.
const SHOWN_LINES_MAX: usize = 100;

/// A running validator process, which is killed when the value is dropped.
pub struct Validator {
    child: Child,
    lines: Receiver<String>,
    /// Lines of the log that were read so far.
    pub log: Vec<String>,
    /// URL of the RPC; empty until the node listens.
    pub rpc: String,
    /// URL of the metrics page; empty until the node listens.
    pub metrics: String,
}

impl Validator {
    /// Starts the node of a home and waits until it listens.
    pub fn start(home: &Path) -> Self {
        Self::spawn(home, &[]).listening()
    }

    /// Starts the node of a home, with further arguments, and does not wait until it listens.
    pub fn spawn(home: &Path, args: &[&str]) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_cairn")), home, args)
    }

    /// Starts the node of a home, with the flags of [`Homes::follower`], and waits until it listens.
    pub fn start_with(home: &Path, flags: &[String]) -> Self {
        Self::spawn(home, &flags.iter().map(String::as_str).collect::<Vec<_>>()).listening()
    }

    /// As [`Validator::spawn`], with another program than `cairn`.
    pub fn spawn_program(program: &Path, home: &Path, args: &[&str]) -> Self {
        Self::spawn_by(Command::new(program), home, args)
    }

    /// Starts the node of a home with a limit of `files` open files, and does not wait until it listens.
    pub fn spawn_with_files(home: &Path, files: u32, args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_cairn")]);
        Self::spawn_by(shell, home, args)
    }

    fn spawn_by(mut command: Command, home: &Path, args: &[&str]) -> Self {
        let mut child = command
            .args(["start", "--home"])
            .arg(home)
            .args(args)
            .env_remove("CAIRN_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send(line); // fails if the test has ended already
                }
            });
        }
        Self { child, lines, log: Vec::new(), rpc: String::new(), metrics: String::new() }
    }

    /// Waits for the log line with the addresses at which the node listens, and reads them.
    pub fn listening(mut self) -> Self {
        let line = self.wait_for_line(" started ");
        self.read_addresses(&line);
        self
    }

    /// As [`Validator::listening`]; if the process ends before, returns its exit code and its whole output.
    pub fn listening_or_ended(mut self) -> Result<Self, (Option<i32>, String)> {
        let deadline = Instant::now() + WAIT_MAX;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.log.push(line.clone());
            if line.contains(" started ") {
                self.read_addresses(&line);
                return Ok(self);
            }
        }
        Err(self.ended())
    }

    fn read_addresses(&mut self, line: &str) {
        let field = |name: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            value.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
        };
        self.rpc = format!("http://{}", field("rpc="));
        self.metrics = format!("http://{}/metrics", field("metrics="));
    }

    /// Waits for a log line that contains `part`, and returns it.
    pub fn wait_for_line(&mut self, part: &str) -> String {
        self.wait_for_line_where(part, |_| true)
    }

    /// Waits for a log line that contains `part` and for which `is_asked_for` returns true, and returns it.
    pub fn wait_for_line_where(&mut self, part: &str, is_asked_for: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(part) && is_asked_for(&line) {
                        return line;
                    }
                }
                Err(_) => panic!("no such line with {part:?} in:\n{}", self.log.join("\n")),
            }
        }
    }

    /// Waits until the process has ended; returns its exit code and its whole output.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let status = self.wait_for_end();
        self.log.extend(self.lines.iter());
        (status.code(), self.log.join("\n"))
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.log.extend(self.lines.try_iter());
        panic!("the process did not end:\n{}", self.log.join("\n"));
    }

    /// Kills the process with SIGKILL and waits for its end.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the process with SIGTERM; returns its exit code and its whole output.
    pub fn terminate(self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.ended()
    }

    /// Returns the id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Calls an RPC method by GET and returns its result. An HTTP error status panics.
    pub fn call(&self, path: &str) -> Value {
        let answer = ureq::get(format!("{}/{path}", self.rpc)).call().unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut answer: Value = answer.into_body().read_json().unwrap();
        answer["result"].take()
    }

    /// Calls an RPC method by GET and returns its result, with any HTTP status.
    pub fn call_any(&self, path: &str) -> Value {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let answer = config.new_agent().get(format!("{}/{path}", self.rpc)).call().unwrap();
        answer.into_body().read_json::<Value>().unwrap()["result"].take()
    }

    /// Calls an RPC method by POST; returns the whole response, with a result or an error.
    pub fn post(&self, method: &str, params: &Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        ureq::post(&self.rpc).send_json(call).unwrap().body_mut().read_json().unwrap()
    }

    /// Sends a transaction and waits for its block. Returns the code and the log of its result with the height of the block,
    /// or those of its refusal with height 0.
    pub fn commit(&self, tx: &[u8]) -> (u64, String, u64) {
        let answer = self.post("broadcast_tx_commit", &json!({ "tx": BASE64.encode(tx) }));
        let (checked, done) = (&answer["result"]["check_tx"], &answer["result"]["tx_result"]);
        let is_refused = checked["code"] != 0;
        let result = if is_refused { checked } else { done };
        let log = result["log"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let height = if is_refused { "0" } else { answer["result"]["height"].as_str().unwrap() };
        (result["code"].as_u64().unwrap(), log, height.parse().unwrap())
    }

    /// Calls `/ready`; returns the HTTP status and the text of the response.
    pub fn ready(&self) -> (u16, String) {
        let request = ureq::get(format!("{}/ready", self.rpc)).config().http_status_as_error(false).build();
        let answer = request.call().unwrap();
        (answer.status().as_u16(), answer.into_body().read_to_string().unwrap())
    }

    /// Waits until `holds` returns true; panics with `what` and the log after [`WAIT_MAX`].
    pub fn wait_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        while !holds(self) {
            if Instant::now() > deadline {
                self.log.extend(self.lines.try_iter());
                panic!("still not: {what}:\n{}", self.log.join("\n"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Calls an RPC method with each of the parameters in one batch request; returns the responses.
    pub fn batch(&self, method: &str, params: impl Iterator<Item = Value>) -> Vec<Value> {
        batch(&self.rpc, method, params)
    }

    /// Returns the processor time that the process has used, and its resident memory in bytes.
    pub fn usage(&self) -> (Duration, u64) {
        (
            Duration::from_secs_f64(self.metric("process_cpu_seconds_total")),
            self.metric("process_resident_memory_bytes") as u64,
        )
    }

    /// Returns the latest committed height of the node.
    pub fn height(&self) -> u64 {
        self.call("status")["sync_info"]["latest_block_height"].as_str().unwrap().parse().unwrap()
    }

    /// Waits until the node has committed this height.
    pub fn wait_for_height(&mut self, height: u64) {
        let deadline = Instant::now() + WAIT_MAX;
        while self.height() < height {
            if Instant::now() > deadline {
                self.log.extend(self.lines.try_iter());
                panic!("height {height} was not reached, stands at {}:\n{}", self.height(), self.log.join("\n"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the hash of the block at a height, and the app hash in its header.
    pub fn block_hash(&self, height: u64) -> (String, String) {
        let block = self.call(&format!("block?height={height}"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&block["block_id"]["hash"]), text(&block["block"]["header"]["app_hash"]))
    }

    /// Returns the text of the node's metrics page.
    pub fn metrics_text(&self) -> String {
        ureq::get(&self.metrics).call().unwrap().into_body().read_to_string().unwrap()
    }

    /// Returns the sum of all series of a metric, with any labels.
    pub fn metric(&self, name: &str) -> f64 {
        sum_of(&self.metrics_text(), name)
    }
}

/// Returns the sum of all series of a metric on a metrics page, with any labels.
pub fn sum_of(scrape: &str, name: &str) -> f64 {
    let series = scrape.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Calls a method of an RPC with each of the parameters in one batch request; returns the responses.
pub fn batch(rpc: &str, method: &str, params: impl Iterator<Item = Value>) -> Vec<Value> {
    let call = |(id, params)| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let calls: Vec<Value> = params.enumerate().map(call).collect();
    ureq::post(rpc).send_json(calls).unwrap().into_body().read_json().unwrap()
}

impl Drop for Validator {
    #[expect(clippy::print_stderr, reason = "the test runner shows it beside the failure")]
    fn drop(&mut self) {
        let _ = self.child.kill(); // fails if the test has stopped the process already
        let _ = self.child.wait();
        if thread::panicking() {
            self.log.extend(self.lines.iter());
            let from = self.log.len().saturating_sub(SHOWN_LINES_MAX);
            eprintln!("the last lines of {}:\n{}\n", self.rpc, self.log[from..].join("\n"));
        }
    }
}

/// Waits until `happened` returns true; panics with `what` after [`WAIT_MAX`].
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !happened() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Writes a text to a file and replaces its content.
pub fn write(path: impl AsRef<Path>, text: &str) {
    fs::write(path, text).unwrap();
}

/// Returns the height, round and step of the last signature of a home's key; `None` if it has no file of them.
pub fn signed(home: &Path) -> Option<(u64, u32, u8)> {
    let SignState { height, round, step, .. } =
        signing_state::load(&home.join("data/priv_validator_state.json")).ok()?;
    Some((height.0, round.0, step))
}

/// Returns true if a validator's signature is in the commit for a height.
pub fn has_signed(node: &Validator, address: &str, height: u64) -> bool {
    let commit = node.call(&format!("commit?height={height}"));
    let signatures = commit["signed_header"]["commit"]["signatures"].as_array().unwrap();
    signatures.iter().any(|signature| signature["validator_address"] == address)
}
