//! Benchmark of the time that the store needs for one height, as a ratio to the minimum for anything durable: one
//! synced row.
//!
//! `cargo bench --workspace --bench block_commit --profile dev`. Variants are interleaved in one run, on 100,000
//! accounts; `sync` adds the write-ahead of the next height, which makes the height durable. A transfer has 145 bytes,
//! writes two accounts and has two events, with three attributes that are either all marked for indexing or all
//! unmarked.
#![allow(missing_docs, clippy::print_stdout)]

#[path = "../tests/suite/chain.rs"]
mod chain;

use std::time::{Duration, Instant};

use chain::{Chain, Rig, RocksRig, open};
use storage::{Batch, Cf, Durability, Kv};
use types::{Event, HardState, TxResult, WriteSet};

const ACCOUNTS: u64 = 100_000;
const ROUNDS: usize = 60;
/// Number of transfers of a height, and whether their attributes are marked for indexing.
const SIZES: [(usize, bool); 4] = [(0, true), (100, true), (1000, false), (1000, true)];

/// A small generator of pseudo-random numbers with a fixed seed, so that every run writes the same bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 16
    }

    fn account(&mut self) -> Vec<u8> {
        account(self.next() % ACCOUNTS)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

fn account(number: u64) -> Vec<u8> {
    [b"acct/".as_slice(), &types::blake3(&number.to_be_bytes()).0[..20]].concat()
}

fn result(random: &mut Random, index: bool) -> TxResult {
    let mut attribute = |key: &'static str| (key, format!("{:040X}", random.next() % ACCOUNTS), index);
    let tx = Event::new("tx", [attribute("signer")]);
    let transfer = Event::new("transfer", [attribute("sender"), attribute("recipient")]);
    TxResult { gas_used: 1, events: vec![tx, transfer], ..TxResult::default() }
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn main() {
    let rig = RocksRig::new();
    let store = open(&rig);
    let mut random = Random(7);
    let first = WriteSet((0..ACCOUNTS).map(|number| (account(number), Some(vec![1; 16]))).collect());
    let mut chain = Chain::start(&store, 1, first);
    chain.remember = false;
    let mut bare = Vec::new();
    let mut times: [[Vec<Duration>; 2]; SIZES.len()] = Default::default();
    let mut bytes = [0; SIZES.len()];
    for _ in 0..ROUNDS {
        for (size, (transfers, indexed)) in SIZES.into_iter().enumerate() {
            for synced in [false, true] {
                let rows = (0..2 * transfers).map(|_| (random.account(), Some(random.bytes(16)))).collect();
                let txs = (0..transfers).map(|_| random.bytes(145)).collect();
                let mut made = chain.next(WriteSet(rows), txs);
                made.results.txs = (0..transfers).map(|_| result(&mut random, indexed)).collect();
                let ahead = HardState { height: chain.height.next(), ..HardState::default() };
                let before = store.kv().stats().batch_bytes.sum;
                let start = Instant::now();
                store.commit_block(&made.batch()).expect("commits");
                if synced {
                    store.write_ahead(&ahead, &[]).expect("syncs");
                }
                times[size][usize::from(synced)].push(start.elapsed());
                bytes[size] = store.kv().stats().batch_bytes.sum - before;
                store.sync().expect("every variant starts with nothing to sync");
            }
        }
        let mut row = Batch::new();
        row.put(Cf::Meta, "bench", random.bytes(8));
        let start = Instant::now();
        store.kv().write(row, Durability::Synced).expect("syncs");
        bare.push(start.elapsed());
    }
    let bare = median(&mut bare);
    println!("one synced row: {bare:.0} µs (median of {ROUNDS}), the unit of the ratios");
    println!(
        "{:>10} {:>8} {:>14} {:>8} {:>14} {:>8} {:>12} {:>12}",
        "transfers", "indexed", "commit µs", "ratio", "+ sync µs", "ratio", "bytes", "B/transfer"
    );
    for (size, (transfers, indexed)) in SIZES.into_iter().enumerate() {
        let [commit, synced] = &mut times[size];
        let (commit, synced) = (median(commit), median(synced));
        let each = if transfers == 0 { 0 } else { (bytes[size] - bytes[0]) / transfers as u64 };
        let (ratio, synced_ratio) = (commit / bare, synced / bare);
        println!(
            "{transfers:>10} {indexed:>8} {commit:>14.0} {ratio:>8.2} {synced:>14.0} {synced_ratio:>8.2} {:>12} {each:>12}",
            bytes[size]
        );
    }
    let resident = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(line) = resident.lines().find(|line| line.starts_with("VmRSS")) {
        println!("resident after the run: {}", line.trim_start_matches("VmRSS:").trim());
    }
}
