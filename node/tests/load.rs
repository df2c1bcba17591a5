//! Proves with real validators that the report of `cairn load` agrees with their blocks, and that it has a warning when
//! blocks and submitted transactions differ.
//!
//! The tests check counts and no durations, so that they also pass on a loaded machine.

mod processes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use genesis::sender_key;
use load::{Report, StageReport};
use processes::{Homes, Validator, WAIT_MAX};
use serde_json::Value;
use tempfile::TempDir;
use types::{Address, ChainId, TxOrder, VerifiedTx};

/// Lock that makes the tests run one after the other, so that they do not slow each other down.
static TURN: Mutex<()> = Mutex::new(());

/// Validators of a chain with funded senders, and a folder for the files of `cairn load`.
struct Net {
    nodes: Vec<Validator>,
    folder: TempDir,
    _homes: Homes,
    _turn: MutexGuard<'static, ()>,
}

impl Net {
    fn new(validators: usize, senders: u32) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let homes = Homes::with(validators, Duration::from_secs(1), |options| options.senders = senders);
        // All load comes from one address, whose share of a node's processor time would end before one node is saturated.
        let unlimited = ["max_client_cpu_percent", "max_cpu_percent", "max_client_bytes_per_second"];
        let unlimited = unlimited.map(|setting| format!("--rpc.{setting}=0"));
        let unlimited: Vec<&str> = unlimited.iter().map(String::as_str).collect();
        let starting: Vec<_> = (0..validators).map(|index| Validator::spawn(&homes.home(index), &unlimited)).collect();
        let mut nodes: Vec<Validator> = starting.into_iter().map(Validator::listening).collect();
        nodes.iter_mut().for_each(|node| node.wait_for_height(1));
        Self { nodes, folder: tempfile::tempdir().unwrap(), _homes: homes, _turn: turn }
    }

    fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.rpc.clone()).collect()
    }

    fn json(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }

    /// Starts `cairn load` on these addresses.
    fn start(&self, urls: &[String], args: &[&str]) -> Generator {
        let said = self.folder.path().join("said");
        let file = fs::File::create(&said).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CAIRN_") {
                command.env_remove(name);
            }
        }
        let folder = self.folder.path();
        command.arg("load").arg("--home").arg(folder).args(["--nodes", &urls.join(","), "--json"]).arg(self.json());
        command.args(args).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Generator { child: command.spawn().unwrap(), said }
    }

    /// Runs `cairn load` to its end and returns its report.
    fn load(&self, urls: &[String], args: &[&str]) -> Report {
        self.start(urls, args).ends();
        self.report()
    }

    fn report(&self) -> Report {
        serde_json::from_str(&fs::read_to_string(self.json()).unwrap()).unwrap()
    }

    /// Waits until node0 has committed `count` transactions.
    fn wait_for_txs(&self, count: u64) {
        eventually(&format!("{count} transactions are committed"), || {
            (self.nodes[0].metric("cometbft_consensus_total_txs") >= count as f64).then_some(())
        });
    }
}

/// A running process of `cairn load`.
struct Generator {
    child: Child,
    said: PathBuf,
}

impl Generator {
    /// Waits for the end of the process, which must succeed.
    fn ends(&mut self) {
        let said = || fs::read_to_string(&self.said).unwrap_or_default();
        let deadline = Instant::now() + 3 * WAIT_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}: {}", said());
                return;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn interrupt(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.child.kill(); // fails if the process has ended already
        let _ = self.child.wait();
    }
}

#[track_caller]
fn eventually<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(result) = happened() {
            return result;
        }
        assert!(Instant::now() < deadline, "{what}: not within {WAIT_MAX:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The signer of a transaction and its nonce, which identify it here.
type Name = (Address, u64);

/// Returns the encoded transactions of each block of a validator.
fn blocks(node: &Validator) -> Vec<Vec<Vec<u8>>> {
    let block = |height: u64| {
        let block = node.call(&format!("block?height={height}"));
        let txs = block["block"]["data"]["txs"].as_array().cloned().unwrap_or_default();
        txs.iter().map(|tx| BASE64.decode(tx.as_str().unwrap().as_bytes()).unwrap()).collect()
    };
    (1..=node.height()).map(block).collect()
}

fn name(tx: &[u8]) -> Name {
    let tx = VerifiedTx::from_bytes(tx).expect("a committed transaction is signed");
    let TxOrder::Nonce(nonce) = tx.body().order else { panic!("it has no nonce: {:?}", tx.body()) };
    (tx.body().signer.address(), nonce)
}

/// Checks that the blocks contain each of these transactions exactly once, and no others.
fn exactly_once(blocks: &[Vec<Vec<u8>>], expected: &BTreeSet<Name>) -> Result<(), String> {
    let mut counts: BTreeMap<Name, u64> = expected.iter().map(|name| (*name, 0)).collect();
    for name in blocks.iter().flatten().map(|tx| name(tx)) {
        *counts.get_mut(&name).ok_or(format!("{name:?} was committed and is none of these"))? += 1;
    }
    match counts.iter().find(|(_, count)| **count != 1) {
        Some((name, count)) => Err(format!("{name:?} was committed {count} times")),
        None => Ok(()),
    }
}

/// Checks that no transaction is in the blocks twice; returns the number of transactions.
fn distinct(blocks: &[Vec<Vec<u8>>]) -> u64 {
    let all: Vec<&Vec<u8>> = blocks.iter().flatten().collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a transaction is committed twice");
    all.len() as u64
}

/// Returns the names of the first `each` transactions of each of the first `senders` senders.
fn of_senders(senders: u32, each: u64) -> BTreeSet<Name> {
    let chain_id = ChainId::new("processes").unwrap();
    let address = |index| sender_key(&chain_id, index).public_key().address();
    (0..senders).map(address).flat_map(|address| (0..each).map(move |nonce| (address, nonce))).collect()
}

fn sum(stage: &StageReport, count: fn(&load::SecondReport) -> u64) -> u64 {
    stage.seconds.iter().map(count).sum()
}

#[test]
fn valid_transactions_are_committed_once_everywhere_and_invalid_ones_are_refused() {
    let net = Net::new(4, 250);
    // The load has 1,000 transactions: 750 valid ones, three of each sender, and 250 that must be refused.
    let args = "--rate 200 --duration 5s --warm-up 0 --cool-down 0 --senders 250 --invalid-share 0.25 --timeout 60s";
    let report = net.load(&net.urls(), &args.split(' ').collect::<Vec<_>>());

    let expected = of_senders(250, 3);
    for node in &net.nodes {
        let blocks = blocks(node);
        assert_eq!(exactly_once(&blocks, &expected), Ok(()));
        assert_eq!(node.metric("cometbft_consensus_total_txs"), 750.0);
        let largest = blocks.iter().map(Vec::len).max().unwrap_or_default() as u64;
        assert!(report.stages[0].blocks.txs_max <= largest);
    }

    let [stage] = &report.stages[..] else { panic!("one stage: {report:?}") };
    assert_eq!((stage.due, stage.committed), (750, 750));
    assert_eq!((stage.refused, stage.timed_out, stage.unsent), (0, 0, 0));
    assert_eq!((stage.duplicates, stage.late, stage.refused_and_committed, stage.ran_out), (0, 0, 0, false));
    assert_eq!((sum(stage, |second| second.due), sum(stage, |second| second.committed)), (750, 750));
    // The six kinds of invalid transactions alternate, so their counts differ by at most one.
    let codes: Vec<(&str, u64, u32)> =
        stage.invalid.iter().map(|(kind, of)| (kind.as_str(), of.due, of.expected_code)).collect();
    let kinds = [
        ("bad signature", 42, 4),
        ("expired", 41, 6),
        ("garbage", 41, 1),
        ("unaffordable", 42, 11),
        ("wrong chain", 42, 3),
        ("wrong nonce", 42, 5),
    ];
    assert_eq!(codes, kinds);
    for (kind, of) in &stage.invalid {
        assert_eq!(of.codes, BTreeMap::from([(of.expected_code, of.due)]), "{kind}");
        assert_eq!((of.unanswered, of.taken, of.committed), (0, 0, 0), "{kind}");
    }
    assert_eq!(stage.by_node.len(), 4);
    assert!(stage.everywhere.p50_ms >= stage.first.p50_ms && stage.first.p50_ms > Some(0.0), "{stage:?}");
    assert_eq!(
        report.nodes.iter().map(|node| node.moniker.as_str()).collect::<Vec<_>>(),
        ["node0", "node1", "node2", "node3"]
    );

    // Programs that read the report rely on these fields.
    let json: Value = serde_json::from_str(&fs::read_to_string(net.json()).unwrap()).unwrap();
    for pointer in [
        "/format",
        "/chain_id",
        "/plan/arrivals",
        "/stages/0/offered_per_s",
        "/stages/0/committed_per_s",
        "/stages/0/is_sustained",
        "/stages/0/everywhere/p99_ms",
        "/stages/0/lag/p99_ms",
        "/stages/0/invalid/garbage/codes/1",
        "/stages/0/cpu/generator_share",
        "/stages/0/seconds/0/committed",
        "/is_trustworthy",
        "/warnings",
    ] {
        assert!(json.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer}: {json:#}");
    }
}

#[test]
fn a_killed_validator_is_reported_and_the_load_on_the_others_continues() {
    let mut net = Net::new(4, 500);
    let urls = net.urls();
    let args = "--rate 100 --duration 0 --warm-up 0 --cool-down 0 --senders 500 --timeout 10s --invalid-share 0.1";
    let mut generator = net.start(&urls, &args.split(' ').collect::<Vec<_>>());
    net.wait_for_txs(100);
    net.nodes.pop().unwrap().kill();
    let then = net.nodes[0].metric("cometbft_consensus_total_txs") as u64;
    net.wait_for_txs(then + 300);
    generator.interrupt();
    generator.ends();

    let report = net.report();
    let stage = &report.stages[0];
    let is_told = |sentence: &String| sentence.contains(&urls[3]) && sentence.contains("went away");
    assert!(report.warnings.iter().any(is_told), "{:?}", report.warnings);
    assert_eq!(report.plan.order, "unordered");
    assert_eq!(stage.committed + stage.refused + stage.timed_out + stage.unsent, stage.due, "{stage:?}");
    assert!(stage.committed >= 300, "{stage:?}");
    // Only transactions are lost that the killed validator had accepted and not forwarded, or that were about to be
    // sent to it. The other validators refused none.
    assert_eq!((stage.refused, stage.duplicates), (0, 0), "{stage:?}");
    for node in &net.nodes {
        assert_eq!(distinct(&blocks(node)), stage.committed + stage.late, "{stage:?}");
    }
    for (kind, of) in &stage.invalid {
        let refused = of.codes.get(&of.expected_code).copied().unwrap_or_default();
        assert_eq!(refused + of.unanswered, of.due, "{kind}: {of:?}");
        assert_eq!((of.codes.len(), of.taken, of.committed), (1, 0, 0), "{kind}");
    }
}

#[test]
fn stages_of_a_sweep_and_of_a_closed_loop_add_up_and_write_plots() {
    let net = Net::new(1, 500);
    let plots = net.folder.path().join("plots");
    let common = ["--senders", "500", "--warm-up", "0", "--cool-down", "0", "--timeout", "60s", "--plots"];
    let with = |more: &str| -> Vec<String> {
        let common = common.iter().map(|arg| (*arg).to_owned()).chain([plots.display().to_string()]);
        common.chain(more.split(' ').map(str::to_owned)).collect()
    };
    let run = |more: &str| {
        let args = with(more);
        net.load(&net.urls(), &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let sweep = run("--mode sweep --rates 50,100 --duration 2s --arrivals poisson");
    assert_eq!(sweep.stages.iter().map(|stage| stage.rate_per_s).collect::<Vec<_>>(), [Some(50.0), Some(100.0)]);
    let closed = run("--mode closed --duration 500ms");
    assert_eq!(closed.stages[0].window, Some(64));
    assert!(closed.stages.len() > 1 && closed.saturation.is_some());

    let stages = || sweep.stages.iter().chain(&closed.stages);
    assert!(stages().all(|stage| stage.due == stage.committed), "{sweep:?} {closed:?}");
    let committed: u64 = stages().map(|stage| sum(stage, |second| second.committed)).sum();
    assert_eq!(distinct(&blocks(&net.nodes[0])), committed);
    for picture in ["over-time.svg", "over-load.svg"] {
        let svg = fs::read_to_string(plots.join(picture)).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{picture}");
    }
}

/// Proves that the checks of this file and of `cairn load` can fail: a proxy changes the transactions of one block in a
/// response.
#[test]
fn duplicate_and_missing_transactions_are_detected() {
    let net = Net::new(1, 150);
    let args = "--rate 100 --duration 1s --warm-up 0 --cool-down 0 --senders 150 --timeout 10s";
    let load = |url: &str| net.load(&[url.to_owned()], &args.split(' ').collect::<Vec<_>>());

    let twice = load(&liar(&net.nodes[0], |txs| txs.push(txs[0].clone())));
    assert_eq!((twice.stages[0].committed, twice.stages[0].duplicates), (100, 1));
    assert!(twice.warnings.iter().any(|warning| warning.contains("in two blocks")), "{:?}", twice.warnings);

    let missing = load(&liar(&net.nodes[0], |txs| drop(txs.pop())));
    assert_eq!((missing.stages[0].committed, missing.stages[0].timed_out), (99, 1));

    let honest = load(&net.nodes[0].rpc);
    assert_eq!((honest.stages[0].committed, honest.stages[0].duplicates), (100, 0));

    // The check `exactly_once` of this file must notice such changes too.
    let (blocks, expected) = (blocks(&net.nodes[0]), of_senders(100, 3));
    assert_eq!(exactly_once(&blocks, &expected), Ok(()));
    let tx = blocks.iter().flatten().next().unwrap().clone();
    let with_one_twice = [blocks.clone(), vec![vec![tx.clone()]]].concat();
    assert!(exactly_once(&with_one_twice, &expected).unwrap_err().contains("2 times"));
    let without_one: Vec<Vec<Vec<u8>>> =
        blocks.iter().map(|txs| txs.iter().filter(|other| **other != tx).cloned().collect()).collect();
    assert!(exactly_once(&without_one, &expected).unwrap_err().contains("0 times"));
    let without_its_name = expected.iter().copied().filter(|other| *other != name(&tx)).collect();
    assert!(exactly_once(&blocks, &without_its_name).unwrap_err().contains("none of these"));
}

/// Starts a proxy in front of a node that changes the transactions of one block in a response; returns its URL.
fn liar(node: &Validator, change: fn(&mut Vec<Value>)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let behind = node.rpc.trim_start_matches("http://").to_owned();
    let has_lied = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&behind) else { return };
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = io::copy(&mut from_client, &mut to_server); // fails if either end closes the connection
                let _ = to_server.shutdown(Shutdown::Both);
            });
            let has_lied = has_lied.clone();
            thread::spawn(move || {
                let _ = pass_answers(BufReader::new(server), &client, change, &has_lied);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    url
}

/// Forwards the node's responses and changes one of them. After a switch to WebSocket, it copies all bytes unchanged.
fn pass_answers(
    mut from: BufReader<TcpStream>,
    mut to: &TcpStream,
    change: fn(&mut Vec<Value>),
    has_lied: &AtomicBool,
) -> io::Result<()> {
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length is a number");
            } else if line != "\r\n" {
                head.push_str(&line);
            } else {
                break;
            }
        }
        if head.contains(" 101 ") {
            to.write_all(format!("{head}\r\n").as_bytes())?;
            io::copy(&mut from, &mut to)?;
            return Ok(());
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        if let Ok(mut answer) = serde_json::from_slice::<Value>(&body)
            && let Some(txs) = answer.pointer_mut("/result/block/data/txs").and_then(Value::as_array_mut)
            && !txs.is_empty()
            && !has_lied.swap(true, Ordering::Relaxed)
        {
            change(txs);
            body = answer.to_string().into_bytes();
        }
        to.write_all(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes())?;
        to.write_all(&body)?;
    }
}
