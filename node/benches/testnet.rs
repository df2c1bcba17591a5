//! Four real validators on this machine, durable, over loopback: what a height and a transfer cost.
//!
//! `cargo bench --profile dev -p cairn-node --bench testnet`. Times depend on the machine, so they are told beside what this machine
//! takes for one sync of a file and one round trip over loopback; counts and shares are told as they are.

#[path = "../tests/processes/mod.rs"]
mod processes;

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use genesis::testnet::sender_key;
use processes::{Homes, Validator, batch};
use serde_json::json;
use types::{Address, ChainId, Msg, TxBody, TxOrder, Wire};

const VALIDATORS: usize = 4;
const SENDERS: u32 = 64;

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return; // `cargo test --benches` only wants it to build
    }
    if std::env::var("QUICK").is_err() {
        empty_heights();
        idle();
    }
    transfers_when_idle();
    load();
}

fn tell(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// As many empty heights as possible.
fn empty_heights() {
    let homes = Homes::new(VALIDATORS, Duration::ZERO);
    let sync = sync_time(homes.folder.path());
    let mut nodes = homes.start_all();
    nodes[0].wait_for_height(100);
    let rounds = "cometbft_consensus_round_increment_total";
    let sum = |nodes: &[Validator], name: &str| nodes.iter().map(|node| node.metric(name)).sum::<f64>();
    let begun = Instant::now();
    let height = nodes[0].height();
    let (cpu, syncs, failed) = (cpu(&nodes), nodes[0].metric("cometbft_consensus_syncs_total"), sum(&nodes, rounds));
    thread::sleep(Duration::from_secs(10));
    let heights = (nodes[0].height() - height) as f64;
    let (cpu, time) = (self::cpu(&nodes) - cpu, begun.elapsed());
    let per_height = time.as_secs_f64() / heights;
    tell("empty heights, one after another");
    tell(format!("  heights/s                      {:8.0}", 1.0 / per_height));
    tell(format!("  height / sync of a file        {:8.1}", per_height / sync.as_secs_f64()));
    tell(format!(
        "  syncs / height                 {:8.2}",
        (nodes[0].metric("cometbft_consensus_syncs_total") - syncs) / heights
    ));
    tell(format!(
        "  failed rounds / height         {:8.4}",
        (sum(&nodes, rounds) - failed) / VALIDATORS as f64 / heights
    ));
    tell(format!("  CPU ms / height and validator  {:8.2}", cpu.as_secs_f64() * 1e3 / heights / VALIDATORS as f64));
    tell(format!("  cores used                     {:8.2}", cpu.as_secs_f64() / time.as_secs_f64()));
    tell(format!("  sync of a file, µs             {:8.0}", sync.as_micros()));
    tell_memory(&nodes);
}

/// Nothing to do: an empty block a second.
fn idle() {
    let homes = Homes::new(VALIDATORS, Duration::from_secs(1));
    let mut nodes = homes.start_all();
    nodes[0].wait_for_height(3);
    let (cpu, begun) = (cpu(&nodes), Instant::now());
    thread::sleep(Duration::from_secs(20));
    let share = (self::cpu(&nodes) - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    tell("idle, an empty block a second");
    tell(format!("  CPU of all, % of one core      {:8.2}", share * 100.0));
    tell_memory(&nodes);
}

/// One transfer after another, into an idle chain.
fn transfers_when_idle() {
    let homes = Homes::with(VALIDATORS, Duration::from_secs(1), |options| options.senders = SENDERS);
    let (sync, round_trip) = (sync_time(homes.folder.path()), round_trip_time());
    let mut nodes = homes.start_all();
    nodes[0].wait_for_height(2);
    let count: u64 = 200;
    let mut times: Vec<Duration> = (0..count)
        .map(|nonce| {
            let tx = transfer(0, nonce);
            let begun = Instant::now();
            let answer = nodes[(nonce % VALIDATORS as u64) as usize]
                .batch("broadcast_tx_commit", [json!({ "tx": tx })].into_iter());
            let result = &answer[0]["result"];
            assert!(result["check_tx"]["code"] == 0 && result["tx_result"]["code"] == 0, "{answer:?}");
            begun.elapsed()
        })
        .collect();
    times.sort();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let checks: Vec<f64> = nodes.iter().map(|node| node.metric("cometbft_mempool_signature_checks_total")).collect();
    tell("transfers, one after another, from the call to the answer that it is committed");
    tell(format!("  p50 / sync of a file           {:8.1}   ({:.1} ms)", ratio(p50, sync), p50.as_secs_f64() * 1e3));
    tell(format!("  p99 / sync of a file           {:8.1}   ({:.1} ms)", ratio(p99, sync), p99.as_secs_f64() * 1e3));
    tell(format!("  p50 / loopback round trip      {:8.0}", ratio(p50, round_trip)));
    tell(format!(
        "  signature checks / transfer    {:8.2}   on each node: {checks:?}",
        checks.iter().sum::<f64>() / (count as f64 * VALIDATORS as f64)
    ));
}

/// More transfers than fit: how many a second, and what each costs.
fn load() {
    let homes = Homes::with(VALIDATORS, Duration::from_secs(1), |options| options.senders = SENDERS);
    let mut nodes = homes.start_all();
    nodes[0].wait_for_height(2);
    let per_sender: u64 = 250;
    let txs: Vec<Vec<String>> =
        (0..SENDERS).map(|sender| (0..per_sender).map(|nonce| transfer(sender, nonce)).collect()).collect();
    let (cpu, begun) = (cpu(&nodes), Instant::now());
    thread::scope(|scope| {
        for (node, txs) in nodes.iter().zip(txs.chunks(txs.len().div_ceil(VALIDATORS))) {
            let rpc = &node.rpc;
            scope.spawn(move || {
                for txs in txs.iter().flat_map(|txs| txs.chunks(100)) {
                    let answers = batch(rpc, "broadcast_tx_sync", txs.iter().map(|tx| json!({ "tx": tx })));
                    let refused = answers.iter().find(|answer| answer["result"]["code"] != 0);
                    assert!(refused.is_none() && answers.len() == txs.len(), "{refused:?}");
                }
            });
        }
    });
    let total = (per_sender * u64::from(SENDERS)) as f64;
    let deadline = Instant::now() + Duration::from_secs(60);
    while nodes[0].metric("cometbft_consensus_total_txs") < total && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    let (time, cpu) = (begun.elapsed(), self::cpu(&nodes) - cpu);
    if std::env::var("QUICK").is_ok() {
        let text = ureq::get(&nodes[0].metrics).call().unwrap().into_body().read_to_string().unwrap();
        tell(
            text.lines()
                .filter(|l| {
                    !l.starts_with('#')
                        && !l.contains("_bucket")
                        && (l.contains("mempool")
                            || l.contains("gossip")
                            || l.contains("verify")
                            || l.contains("round")
                            || l.contains("proposer_tim")
                            || l.contains("interval"))
                })
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    let done = nodes[0].metric("cometbft_consensus_total_txs");
    let checks: f64 = nodes.iter().map(|node| node.metric("cometbft_mempool_signature_checks_total")).sum();
    tell("transfers, as many as there are");
    tell(format!("  committed                      {done:8.0} of {total}"));
    tell(format!("  transfers/s                    {:8.0}", done / time.as_secs_f64()));
    tell(format!("  CPU µs / transfer and validator{:8.0}", cpu.as_secs_f64() * 1e6 / done / VALIDATORS as f64));
    tell(format!("  signature checks / transfer    {:8.2}   on each node", checks / done / VALIDATORS as f64));
    tell_memory(&nodes);
}

fn transfer(sender: u32, nonce: u64) -> String {
    let chain_id = ChainId::new("processes").unwrap();
    let key = sender_key(&chain_id, sender);
    let body = TxBody {
        chain_id,
        signer: key.public_key(),
        order: TxOrder::Nonce(nonce),
        fee: 1,
        messages: vec![Msg::Transfer { to: Address([sender as u8 + 1; 20]), amount: 1 }],
    };
    BASE64.encode(body.sign(&key).encode())
}

fn cpu(nodes: &[Validator]) -> Duration {
    nodes.iter().map(|node| node.usage().0).sum()
}

fn tell_memory(nodes: &[Validator]) {
    let most = nodes.iter().map(|node| node.usage().1).max().unwrap_or_default();
    tell(format!("  memory MiB / validator, most   {:8.0}", most as f64 / f64::from(1 << 20)));
}

fn ratio(time: Duration, unit: Duration) -> f64 {
    time.as_secs_f64() / unit.as_secs_f64()
}

/// The median time to append to a file and sync it, on the disk under `folder`.
fn sync_time(folder: &Path) -> Duration {
    let mut file = File::create(folder.join("sync")).unwrap();
    median(|| {
        file.write_all(&[7; 256]).unwrap();
        file.sync_data().unwrap();
    })
}

/// The median round trip of a byte over loopback.
fn round_trip_time() -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut far = listener.accept().unwrap().0;
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).and_then(|()| far.write_all(&byte)).is_ok() {}
    });
    let mut byte = [0];
    median(|| {
        near.write_all(&byte).unwrap();
        near.read_exact(&mut byte).unwrap();
    })
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}
