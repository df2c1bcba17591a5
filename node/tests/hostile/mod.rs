//! A testnet of four real validators, the first of which is attacked. An attack must cost the victim little, and the others
//! nothing: [`Siege::endure`] runs an attack, measures the victim and checks both.
//!
//! What an attack may cost is given in amounts that do not depend on how busy this machine is: memory, files and processor time
//! of the victim, not rates or delays. The attackers of `hostile_peer.rs` are beside this file, those of `hostile_client.rs` in a
//! folder of that name.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod usage;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use files::NodeKey;
use genesis::sender_key;
use node::config::Config;
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
};
use types::{Address, ChainId, Msg, SecretKey, TxBody, TxOrder, Wire, limits::TX_MESSAGES_MAX};

use self::usage::{Usage, Watch};
use crate::processes::{Homes, Validator, WAIT_MAX, eventually};

/// Chain id of the testnet.
pub const CHAIN: &str = "processes";

/// Pause between two blocks without transactions.
const EMPTY_BLOCKS_EVERY: Duration = Duration::from_millis(250);

/// Number of funded accounts, which make the genesis document large. The first one sends while the network is attacked.
const SENDERS: u32 = 1_025;

/// What an attack may cost the victim.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Maximum growth of the resident memory, in megabytes.
    pub resident_mb: u64,
    /// Maximum growth of the number of open files.
    pub files: usize,
    /// Maximum processor time in seconds, beside what the heights cost meanwhile.
    pub cpu_seconds: f64,
    /// Maximum number of cores that work all the time, in addition.
    pub cores: f64,
}

/// What the victim did during an attack.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Duration of the attack.
    pub took: Duration,
    /// Processor time that the victim used.
    pub cpu: Duration,
    /// Heights that it committed.
    pub heights: u64,
}

/// The testnet. All its processes are killed when the value is dropped.
pub struct Siege {
    /// Homes of the validators.
    pub homes: Homes,
    /// The validators; the first is the victim.
    pub nodes: Vec<Validator>,
    /// Runtime of the attackers.
    pub runtime: Runtime,
    /// Index of the node through which the honest client sends transfers.
    pub through: usize,
    /// Node ids of the victim's honest peers, in the order of `nodes`.
    honest: Vec<String>,
    /// Nonce of the next transfer of the first sender.
    nonce: AtomicU64,
    /// Processor time of the victim for one height while nothing attacks it.
    quiet: Duration,
}

/// Returns a transaction of a key with this number of transfers of 1 to one account.
pub fn transfers(key: &SecretKey, nonce: u64, count: usize) -> Vec<u8> {
    let body = TxBody {
        chain_id: ChainId::new(CHAIN).unwrap(),
        signer: key.public_key(),
        order: TxOrder::Nonce(nonce),
        fee: 1_000,
        messages: vec![Msg::Transfer { to: Address([7; 20]), amount: 1 }; count],
    };
    body.sign(key).encode()
}

/// Returns the key of a funded account.
pub fn sender(index: u32) -> SecretKey {
    sender_key(&ChainId::new(CHAIN).unwrap(), index)
}

/// Opens a TCP connection from an address of this machine.
///
/// Errors: the connection is refused.
pub async fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// Returns an address of this machine for the n-th attacker. Each is in a range of its own.
pub fn address(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    [127, 64 + high, low, 1].into()
}

impl Siege {
    /// Starts the validators, the victim with these flags, and measures what heights cost the victim while nothing attacks it.
    pub fn start(flags: &[&str]) -> Self {
        let homes = Homes::with(4, EMPTY_BLOCKS_EVERY, |options| {
            (options.senders, options.sender_balance) = (SENDERS, 1_000_000_000);
            options.params.timeouts.propose = Duration::from_millis(500);
        });
        let patient = format!("--rpc.timeout_broadcast_tx_commit={}s", WAIT_MAX.as_secs());
        let mut nodes: Vec<Validator> = (0..4)
            .map(|index| {
                let own: &[&str] = if index == 0 { flags } else { &[] };
                let flags = [&[patient.as_str()], own].concat();
                Validator::spawn(&homes.home(index), &flags)
            })
            .collect::<Vec<_>>()
            .into_iter()
            .map(Validator::listening)
            .collect();
        nodes.iter_mut().for_each(|node| node.wait_for_height(3));
        let id = |index| {
            let config = Config::load(&homes.home(index), &[]).unwrap();
            NodeKey::load(&config.node_key_file()).unwrap().id().to_string().to_lowercase()
        };
        let honest = (1..4).map(id).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (nonce, quiet) = (AtomicU64::new(0), Duration::ZERO);
        let mut siege = Self { homes, nodes, runtime, through: 1, honest, nonce, quiet };
        let (_, cost) = siege.measure(|_| thread::sleep(Duration::from_secs(2)));
        siege.quiet = cost.cpu / cost.heights as u32;
        siege
    }

    /// Returns the victim.
    pub fn victim(&self) -> &Validator {
        &self.nodes[0]
    }

    /// Returns the socket on which a node listens for peers.
    pub fn p2p(&self, index: usize) -> SocketAddr {
        let config = Config::load(&self.homes.home(index), &[]).unwrap();
        config.p2p.laddr.trim_start_matches("tcp://").parse().unwrap()
    }

    /// Returns a counter or a gauge of the victim: the sum of the series whose labels contain this text.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        metric(self.victim(), name, label)
    }

    /// Commits transactions whose blocks are larger than what a connection carries unread.
    pub fn make_blocks(&self) {
        for nonce in 0..16 {
            let txs = (1..=64).map(|index| transfers(&sender(index), nonce, TX_MESSAGES_MAX));
            let txs = txs.map(|tx| json!({ "tx": BASE64.encode(&tx) }));
            let answers = self.nodes[1].batch("broadcast_tx_sync", txs);
            assert!(answers.iter().all(|answer| answer["result"]["code"] == 0), "{:?}", answers.first());
        }
        eventually("all are committed", || self.metric("mempool_size", "") == 0.0);
    }

    /// Kills the last node: its key signs for the attacker from now on.
    pub fn betray(&mut self) {
        self.honest.pop().expect("a peer of the victim");
        self.nodes.pop().expect("it is not the victim").kill();
    }

    /// Runs an attack and checks that the victim stays within the bounds; that all validators decide heights and commit the
    /// transfers of an honest client meanwhile or directly afterwards; and that the victim keeps its honest peers.
    ///
    /// Prints one line. Returns what the attack returned.
    pub fn endure<T>(&mut self, name: &str, bounds: Bounds, attack: impl FnOnce(&Self) -> T) -> T {
        let before = Usage::of(self.victim().pid());
        let (result, (cost, most, committed)) = {
            let watch = Watch::start(self.victim().pid());
            let (result, cost, committed) = self.with_transfers(attack);
            (result, (cost, watch.most(), committed))
        };
        let grown_mb = most.resident.saturating_sub(before.resident) / 1_000_000;
        let files = most.files.saturating_sub(before.files);
        let extra = cost.cpu.saturating_sub(self.quiet * cost.heights as u32).as_secs_f64();
        println!(
            "{name:<28} {:>5.1} s, {:>4} MB +{grown_mb}, {:>3} files +{files}, {extra:>5.2} s of processor time, {} heights, \
             {committed} transfers",
            cost.took.as_secs_f64(),
            before.resident / 1_000_000,
            before.files,
            cost.heights,
        );
        assert!(grown_mb <= bounds.resident_mb, "{name}: the memory grew by {grown_mb} MB: {bounds:?}");
        assert!(files <= bounds.files, "{name}: {files} more open files: {bounds:?}");
        let cpu_max = bounds.cpu_seconds + bounds.cores * cost.took.as_secs_f64();
        assert!(extra <= cpu_max, "{name}: {extra} s of processor time, more than {cpu_max}: {bounds:?}");
        self.has_honest_peers(name);
        result
    }

    /// Checks that the victim is connected with all honest peers and penalized none.
    fn has_honest_peers(&self, name: &str) {
        let info = self.victim().call("net_info");
        let peers = info["peers"].as_array().unwrap();
        let ids: BTreeSet<String> =
            peers.iter().map(|peer| peer["node_info"]["id"].as_str().unwrap().to_lowercase()).collect();
        assert!(self.honest.iter().all(|id| ids.contains(id)), "{name}: honest peers are missing: {ids:?}");
        let page = self.victim().metrics_text().to_lowercase();
        for line in page.lines().filter(|line| line.starts_with("cometbft_p2p_peer_penalty{")) {
            let is_honest = self.honest.iter().any(|id| line.contains(id.as_str()));
            assert!(!is_honest || line.ends_with(" 0"), "{name}: an honest peer got a penalty: {line}");
        }
    }

    /// Runs an attack while an honest client commits transfers through a node, at least one after the begin of the
    /// attack. Returns also their number.
    fn with_transfers<T>(&mut self, attack: impl FnOnce(&Self) -> T) -> (T, Cost, u64) {
        let (ends, committed) = (AtomicBool::new(false), AtomicU64::new(0));
        let (rpc, key, nonce) = (self.nodes[self.through].rpc.clone(), sender(0), &self.nonce);
        let (result, cost) = thread::scope(|scope| {
            let _end = End(&ends);
            scope.spawn(|| {
                while !ends.load(Relaxed) || committed.load(Relaxed) == 0 {
                    commit(&rpc, &transfers(&key, nonce.fetch_add(1, Relaxed), 1));
                    committed.fetch_add(1, Relaxed);
                    thread::sleep(Duration::from_millis(100));
                }
            });
            let this: &Self = self;
            this.measure_shared(attack)
        });
        let goal = self.victim().height() + 2;
        self.nodes.iter_mut().for_each(|node| node.wait_for_height(goal));
        (result, cost, committed.into_inner())
    }

    fn measure<T>(&mut self, action: impl FnOnce(&Self) -> T) -> (T, Cost) {
        self.measure_shared(action)
    }

    /// Measures the victim during an action and until it has committed one height more.
    fn measure_shared<T>(&self, action: impl FnOnce(&Self) -> T) -> (T, Cost) {
        let (victim, begun) = (self.victim(), Instant::now());
        let (height, before) = (victim.height(), Usage::of(victim.pid()));
        let result = action(self);
        let deadline = Instant::now() + WAIT_MAX;
        let mut now = victim.height();
        while now == height {
            assert!(Instant::now() < deadline, "the victim decides nothing after height {height}");
            thread::sleep(Duration::from_millis(20));
            now = victim.height();
        }
        let cpu = Usage::of(victim.pid()).cpu - before.cpu;
        (result, Cost { took: begun.elapsed(), cpu, heights: now - height })
    }

    /// Checks that the attacks have left nothing behind: a height costs the victim as much processor time as before, it has passed
    /// nothing on that its peers punish, all nodes have the same blocks, and all of them stop in order.
    pub fn ends_well(mut self) {
        let (_, cost) = self.measure(|_| thread::sleep(Duration::from_secs(2)));
        let (before, after) = (self.quiet, cost.cpu / cost.heights as u32);
        println!("processor time for a height: {before:?} before the attacks, {after:?} after them");
        assert!(
            after < 3 * before + Duration::from_millis(10),
            "the victim is busier than before: {before:?}, {after:?}"
        );
        for node in &self.nodes[1..] {
            assert_eq!(metric(node, "p2p_penalties_total", ""), 0.0, "{}", node.rpc);
        }
        let height = self.victim().height();
        self.nodes.iter_mut().for_each(|node| node.wait_for_height(height));
        for at in 1..=height {
            let hashes: BTreeSet<_> = self.nodes.iter().map(|node| node.block_hash(at)).collect();
            assert_eq!(hashes.len(), 1, "height {at}");
        }
        for node in self.nodes {
            let (code, log) = node.terminate();
            assert_eq!(code, Some(0), "{log}");
        }
    }
}

/// Says that a thread has to end, also when the test fails.
pub struct End<'a>(pub &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Sends a transaction and waits for its block.
pub fn commit(rpc: &str, tx: &[u8]) {
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "broadcast_tx_commit", "params": { "tx": BASE64.encode(tx) } });
    let answer: Value = ureq::post(rpc).send_json(call).unwrap().body_mut().read_json().unwrap();
    assert_eq!(answer["result"]["tx_result"]["code"], 0, "{answer}");
}

/// Returns a counter or a gauge of a node: the sum of the series whose labels contain this text.
pub fn metric(node: &Validator, name: &str, label: &str) -> f64 {
    metric_of(&node.metrics_text(), name, label)
}

/// As [`metric`], from the text of a metrics page.
pub fn metric_of(page: &str, name: &str, label: &str) -> f64 {
    let of_name = |line: &&str| {
        line.strip_prefix("cometbft_")
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
    };
    page.lines().filter(of_name).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
