//! Proves that four processes on loopback, started as `make testnet` starts them, agree, tolerate the loss of one, halt
//! without two, and continue when one comes back.
//!
//! Waits are for events, with a deadline that holds on a loaded machine too. Only the check that a halted chain stays
//! halted waits for a fixed time.

mod program;

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use program::{Cairn, free_ports, json};
use serde_json::Value;

/// Timeout of each expected event; it holds on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(60);
/// Maximum time from the start of the processes to the first block.
const FIRST_BLOCK: Duration = Duration::from_secs(5);

#[track_caller]
fn eventually<T>(what: &str, happened: impl FnMut() -> Option<T>) -> T {
    program::within(DEADLINE, what, happened)
}

/// A process that is killed when the value is dropped, so that it does not outlive its test.
struct Process(Child);

impl Process {
    /// Starts a command, with its output in a file.
    fn start(mut command: Command, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let second = log.try_clone().unwrap();
        Self(command.stdin(Stdio::null()).stdout(log).stderr(second).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    /// Waits for the end of the process and returns its exit code, or -1 if a signal ended it.
    #[track_caller]
    fn ends(&mut self) -> i32 {
        eventually("the process ends", || self.0.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The validators of a testnet end with its process, because their standard input closes.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(done.success(), "kill -{name} {pid}");
}

/// A testnet of four validators on separate ports. The tests run one after the other, so that they do not slow each
/// other down.
struct Testnet {
    cairn: Cairn,
    base_port: u16,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Testnet {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let cairn = Cairn::new();
        let base_port = free_ports(40);
        let port = base_port.to_string();
        cairn.run(&["testnet", "--init-only", "--base-port", &port]).succeeds();
        Self { cairn, base_port, _turn: turn }
    }

    fn start(&self) -> Process {
        Process::start(self.cairn.command(&["testnet"]), &self.cairn.folder().join("out.log"))
    }

    fn start_one(&self, index: usize) -> Process {
        let home = format!("testnet/node{index}");
        Process::start(
            self.cairn.command(&["start", "--home", &home]),
            &self.cairn.folder().join(format!("{index}.log")),
        )
    }

    fn url(&self, index: usize) -> String {
        format!("http://127.0.0.1:{}", self.base_port + 10 * index as u16 + 1)
    }

    /// Calls an RPC method of a node; returns the result, or `None` without a response.
    fn ask(&self, index: usize, method: &str, params: Value) -> Option<Value> {
        let call = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build();
        let mut answer: Value =
            config.new_agent().post(self.url(index)).send_json(&call).ok()?.body_mut().read_json().ok()?;
        answer.get_mut("result").map(Value::take)
    }

    fn height(&self, index: usize) -> Option<u64> {
        self.ask(index, "status", Value::Null)?["sync_info"]["latest_block_height"].as_str()?.parse().ok()
    }

    #[track_caller]
    fn reaches(&self, index: usize, height: u64) -> u64 {
        eventually(&format!("node{index} reaches height {height}"), || self.height(index).filter(|got| *got >= height))
    }

    /// Returns the id of the process that uses a node's home, read from the home's lock file.
    #[track_caller]
    fn pid(&self, index: usize) -> u32 {
        let lock = self.cairn.folder().join(format!("testnet/node{index}/data/cairn.lock"));
        eventually("the home's lock names its process", || std::fs::read_to_string(&lock).ok()?.trim().parse().ok())
    }

    fn address(&self, index: usize) -> String {
        let file = self.cairn.folder().join(format!("testnet/node{index}/config/priv_validator_key.json"));
        json(&std::fs::read_to_string(file).unwrap())["address"].as_str().unwrap().to_owned()
    }

    /// Returns true if the commit of a height contains a validator's precommit for the block; `None` if the node does
    /// not answer.
    fn signed(&self, asked: usize, height: u64, validator: usize) -> Option<bool> {
        let commit = self.ask(asked, "commit", serde_json::json!({ "height": height.to_string() }))?;
        let signatures = commit["signed_header"]["commit"]["signatures"].as_array()?.clone();
        Some(
            signatures
                .iter()
                .any(|one| one["validator_address"] == self.address(validator).as_str() && one["block_id_flag"] == 2),
        )
    }

    fn send(&self, asked: usize, amount: u64) -> Value {
        let amount = amount.to_string();
        let url = self.url(asked);
        let args = ["tx", "send", "--from", "alice", "--to", "bob", "--amount", &amount, "--json", "--node", &url];
        json(&self.cairn.run(&args).succeeds())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.cairn.folder().join("out.log")).unwrap()
    }

    #[track_caller]
    fn says(&self, text: &str) {
        eventually(&format!("the testnet says {text:?}"), || self.said().contains(text).then_some(()));
    }
}

#[test]
fn four_validators_agree_take_transfers_and_continue_after_losses() {
    let net = Testnet::new();
    let started = Instant::now();
    let mut testnet = net.start();
    net.reaches(0, 1);
    let took = started.elapsed();
    assert!(took < FIRST_BLOCK, "the first block took {took:?}");
    (1..4).for_each(|index| {
        net.reaches(index, 2);
    });
    transfers_are_shown_by_every_command(&net);
    refusals_name_their_code(&net);
    transfers_without_waiting_get_nonces_in_a_row(&net);
    let twice = net.cairn.run(&["start", "--home", "testnet/node1"]);
    assert_eq!(twice.code, 69, "one home serves one process");
    assert!(twice.fails().contains(&format!("process {} works in this home", net.pid(1))));
    let second = one_validator_is_killed_and_restarted(&net);
    let mut third = two_validators_are_killed_and_one_is_restarted(&net, second);

    // All validators stop cleanly. The one that was started by hand needs its own signal.
    let last = net.height(0).unwrap();
    testnet.signal("TERM");
    assert_eq!(testnet.ends(), 0);
    net.says("all stopped cleanly");
    third.signal("TERM");
    assert_eq!(third.ends(), 0);
    (0..4).for_each(|index| assert_eq!(net.height(index), None, "node{index} has stopped"));

    // A reset removes the blocks of one validator, but keeps its signing state.
    let reset = net.cairn.run(&["unsafe-reset-all", "--home", "testnet/node1"]).succeeds();
    assert!(reset.contains("kept: up to height"), "{reset}");
    assert!(!net.cairn.folder().join("testnet/node1/data/cairn.db").exists());

    // After a restart, the chain continues from the same height with the same accounts. The validator without blocks
    // catches up and signs again.
    let mut testnet = net.start();
    (0..4).for_each(|index| {
        net.reaches(index, last + 1);
    });
    let account = json(&net.cairn.run(&["query", "account", "bob", "--json"]).succeeds());
    assert_eq!(account["balance"], "1000000010");
    eventually("node1 signs again", || {
        let height = net.height(0)?;
        net.signed(0, height.checked_sub(1)?, 1)?.then_some(())
    });
    testnet.signal("INT");
    assert_eq!(testnet.ends(), 0);
}

/// Sends transfers; every command that shows a transfer must show the first one. Without --node and --home, the
/// commands use the testnet of this folder.
fn transfers_are_shown_by_every_command(net: &Testnet) {
    let sent = net.cairn.run(&["tx", "send", "--from", "alice", "--to", "bob", "--amount", "5"]).succeeds();
    let hash = sent.lines().next().unwrap().to_owned();
    assert!(hash.len() == 64 && sent.contains("height") && sent.contains("ok"), "{sent}");
    let account = net.cairn.run(&["query", "account", "bob"]).succeeds();
    assert!(account.contains("1000000005"), "{account}");
    // Several processes send for one account at the same time, and each must get its own nonce.
    std::thread::scope(|scope| {
        let send = || net.cairn.run(&["tx", "send", "--from", "carol", "--to", "alice", "--amount", "2"]);
        let sending: Vec<_> = (0..6).map(|_| scope.spawn(send)).collect();
        sending.into_iter().for_each(|sent| drop(sent.join().unwrap().succeeds()));
    });
    let account = net.cairn.run(&["query", "account", "carol"]).succeeds();
    assert!(account.contains("next nonce  6\n"), "{account}");
    let tx = net.cairn.run(&["query", "tx", &hash]).succeeds();
    assert!(tx.contains("committed at height") && tx.contains("(bob)"), "{tx}");
    let height =
        json(&net.cairn.run(&["query", "tx", &hash, "--json"]).succeeds())["height"].as_str().unwrap().to_owned();
    let block = net.cairn.run(&["query", "block", &height]).succeeds();
    assert!(block.contains(&hash) && block.contains("alice: transfer 5 to bob"), "{block}");
    assert!(net.cairn.run(&["query", "validators"]).succeeds().contains("4 validators of power 40"));
    assert!(net.cairn.run(&["query", "status"]).succeeds().contains("node0"));
    assert!(net.cairn.run(&["query", "params"]).succeeds().contains("block.max_bytes"));
    assert!(net.cairn.run(&["query", "genesis"]).succeeds().contains("cairn-testnet"));
}

/// Asks for a transaction that does not exist, and sends transfers that must be refused and one that must not.
fn refusals_name_their_code(net: &Testnet) {
    let unknown = net.cairn.run(&["query", "tx", &"0".repeat(64)]).succeeds();
    assert!(unknown.contains("unknown"), "{unknown}");
    let poor = net.cairn.run(&["tx", "send", "--from", "carol", "--to", "bob", "--amount", "9999999999"]).fails();
    assert!(poor.contains("E_INSUFFICIENT_FUNDS") && poor.contains("(code 11)"), "{poor}");
    let old = net.cairn.run(&["tx", "send", "--from", "alice", "--to", "bob", "--amount", "1", "--nonce", "0"]).fails();
    assert!(old.contains("E_NONCE"), "{old}");
    let unordered = net.cairn.run(&["tx", "send", "--from", "alice", "--to", "bob", "--amount", "1", "--unordered"]);
    unordered.succeeds();
}

/// Sends three transfers without waiting: each gets the nonce after the previous one, whether that is committed or not.
fn transfers_without_waiting_get_nonces_in_a_row(net: &Testnet) {
    let row: Vec<String> = (0..3)
        .map(|_| {
            net.cairn.run(&["tx", "send", "--from", "alice", "--to", "bob", "--amount", "1", "--no-wait"]).succeeds()
        })
        .collect();
    for hash in &row {
        eventually("a transfer that nobody waited for is committed", || {
            net.cairn.run(&["query", "tx", hash.trim()]).succeeds().contains("committed").then_some(())
        });
    }
}

/// Kills one validator: the others continue. The display shows the command that restarts it, and it is not restarted
/// automatically. Returns the validator that was then started by hand.
fn one_validator_is_killed_and_restarted(net: &Testnet) -> Process {
    signal(net.pid(2), "KILL");
    net.says("node2 was killed by signal 9. Start it again:");
    let height = net.height(0).unwrap();
    net.reaches(1, height + 3);
    net.send(3, 1);
    let second = net.start_one(2);
    let height = net.height(0).unwrap();
    net.reaches(2, height);
    eventually("node2 signs again", || {
        let height = net.height(0)?;
        net.signed(0, height.checked_sub(1)?, 2)?.then_some(())
    });
    second
}

/// Kills two validators: the chain halts. When one comes back, the chain continues. Returns that one.
fn two_validators_are_killed_and_one_is_restarted(net: &Testnet, mut second: Process) -> Process {
    second.signal("KILL");
    second.ends();
    signal(net.pid(3), "KILL");
    net.says("node3 was killed by signal 9");
    // A block in progress may still be committed. After it, two of four validators cannot decide anything for any
    // length of time.
    let halted = eventually("the chain halts", || {
        let before = net.height(0)?;
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            if net.height(0)? > before {
                return None;
            }
            thread::sleep(Duration::from_millis(200));
        }
        Some(before)
    });
    let third = net.start_one(3);
    net.reaches(0, halted + 2);
    net.reaches(3, halted + 2);
    third
}

#[test]
fn no_validator_outlives_its_testnet() {
    let net = Testnet::new();
    let mut testnet = net.start();
    net.reaches(0, 1);
    let pids: Vec<u32> = (0..4).map(|index| net.pid(index)).collect();
    testnet.signal("KILL");
    testnet.ends();
    for pid in pids {
        let process = format!("/proc/{pid}/stat");
        // A process that has ended stays listed as a zombie ("Z") until its parent waits for it.
        eventually("the validator ends", || {
            let alive = std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z "));
            (!alive).then_some(())
        });
    }
}

#[test]
fn a_testnet_that_cannot_start_says_why_at_once() {
    let net = Testnet::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", net.base_port + 11)).unwrap();
    let refused = net.cairn.run(&["testnet"]);
    assert_eq!(refused.code, 69);
    assert!(refused.fails().contains("node1 cannot listen at 127.0.0.1"));
    drop(taken);
    for index in 0..4 {
        let data = net.cairn.folder().join(format!("testnet/node{index}/data"));
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::write(&data, "not a folder").unwrap();
    }
    let refused = net.cairn.run(&["testnet"]).fails();
    assert!(refused.contains("no validator started. node0 says:") && refused.contains("node0/data"), "{refused}");
}
