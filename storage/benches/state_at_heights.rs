//! Benchmark of reads of the state at different heights, and of a rewind.
//!
//! `cargo bench --workspace --bench state_at_heights --profile dev -- [accounts]`. One key changes at each of 10,000
//! heights, another one at every third. A transfer changes two random accounts. The reads are repeated while the newest versions are
//! in memory, when all of them are in files, and after a compaction; each figure is the shortest of several rounds of a few
//! milliseconds. Other figures are CPU time of the whole process.
#![allow(missing_docs, clippy::print_stdout)]

#[path = "../tests/suite/chain.rs"]
mod chain;
#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/filled.rs"]
mod filled;
#[path = "common/random.rs"]
mod random;

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use chain::{Rig, RocksRig, changed_since};
use cpu::cpu;
use random::Random;
use storage::{RocksKv, Store};
use types::{Height, Reader, WriteSet};

const HEIGHTS: u64 = 10_000;
const READS: u64 = 2_000;
const ROUNDS: usize = 15;

fn account(number: u64) -> Vec<u8> {
    [b"n".as_slice(), &types::blake3(&number.to_be_bytes()).0].concat()
}

/// Returns the time of a call, in µs.
fn timed(count: u64, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..count).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e6 / count as f64
}

/// Waits until the database has compacted what it wants to.
#[allow(clippy::disallowed_methods, reason = "the database says nothing when its threads are done")]
fn settle() {
    let mut before = cpu();
    loop {
        thread::sleep(Duration::from_millis(200));
        let now = cpu();
        if now - before < Duration::from_millis(2) {
            return;
        }
        before = now;
    }
}

/// Prints the times of reads at several heights, and their ratios to those at the tip.
fn print_reads(store: &Store<RocksKv>, what: &str, mut random_account: impl FnMut() -> Vec<u8>) {
    const COLUMNS: [&str; 5] = ["every height", "every third", "any account", "own reader", "scan"];
    println!("{what:<14}{}", COLUMNS.map(|column| format!("{column:>20}")).concat());
    let heights = [0, 1, HEIGHTS / 2, HEIGHTS - 1].map(|below| (below, Height(HEIGHTS - below)));
    let mut times = [[f64::MAX; COLUMNS.len()]; 4];
    for _ in 0..ROUNDS {
        for ((_, height), times) in heights.iter().zip(&mut times) {
            let reader = store.reader_at(*height).expect("kept");
            let get = |key: &[u8]| drop(black_box(reader.get(key)));
            let fresh = || store.reader_at(*height).expect("kept").get(b"hot");
            let rounds = [
                timed(READS, || get(b"hot")),
                timed(READS, || get(b"third")),
                timed(READS, || get(&random_account())),
                timed(READS / 4, || drop(black_box(fresh()))),
                timed(READS / 10, || reader.scan(b"hot", &mut |_, _| true)),
            ];
            times.iter_mut().zip(rounds).for_each(|(least, time)| *least = least.min(time));
        }
    }
    for ((below, _), row) in heights.iter().zip(&times) {
        let cells = row.iter().zip(&times[0]).map(|(time, tip)| format!("{time:>12.2} ({:>4.1}x)", time / tip));
        println!("{:<14}{}", format!("tip - {below}"), cells.collect::<String>());
    }
}

fn main() {
    let accounts = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let rig = RocksRig::new();
    let mut chain = filled::chain();
    let store = filled::store(&rig, &chain, (0..accounts).map(|number| (account(number), vec![7; 48])));
    let mut random = Random(7);
    let mut next = move || random.next() % accounts;
    for height in 1..=HEIGHTS {
        let transfers = if height > HEIGHTS - 100 { 500 } else { 1 };
        let rows = (0..2 * transfers).map(|_| account(next())).chain([b"hot".to_vec()]);
        let rows = rows.chain((height % 3 == 0).then(|| b"third".to_vec()));
        let rows = rows.map(|key| (key, Some([&height.to_be_bytes()[..], &[7; 40]].concat()))).collect();
        let txs = (0..transfers).map(|n| [vec![1; 137], (height * 1000 + n).to_be_bytes().to_vec()].concat()).collect();
        store.commit_block(&chain.next(WriteSet(rows), txs).batch()).expect("commits");
    }
    println!("{accounts} accounts, {HEIGHTS} heights; µs, and the ratio to the read at the tip");
    settle();
    print_reads(&store, "in memory", || account(next()));
    let copies = tempfile::tempdir().expect("a temporary folder");
    store.kv().checkpoint(&copies.path().join("copy")).expect("the copy flushes the memory");
    settle();
    print_reads(&store, "in files", || account(next()));
    store.kv().compact().expect("compacts");
    print_reads(&store, "compacted", || account(next()));
    let tip = store.reader().expect("there is a state");
    let start = cpu();
    let changed = changed_since(&tip, Height(HEIGHTS - 100), b"").len();
    let listed = (cpu() - start).as_secs_f64() * 1e6;
    let start = cpu();
    assert_eq!(changed_since(&tip, Height(0), b"hot").len(), 1);
    let repeated = (cpu() - start).as_secs_f64() * 1e6;
    println!(
        "changed since 100 heights: {:.2} per key of {changed}; one key of all heights: {repeated:.0} in all",
        listed / changed as f64
    );
    drop(tip);
    let start = cpu();
    store.rewind(Height(HEIGHTS - 100)).expect("kept");
    let rewound = (cpu() - start).as_secs_f64() * 1e6;
    println!("rewind of 100 heights: {:.0} in all, {:.2} per changed key", rewound, rewound / changed as f64);
    let start = cpu();
    store.rewind(Height(1)).expect("kept");
    let rewound = (cpu() - start).as_secs_f64() * 1e6;
    println!("rewind of the others: {:.2} per height", rewound / (HEIGHTS - 101) as f64);
}
