//! Benchmark of the index over the last changes of revertible rows, in CPU time of the whole process.
//!
//! `cargo bench --workspace --bench last_changes --profile dev -- [rows]`. Writes to revertible rows and to rows of the
//! same shape without an index are interleaved (ABBA) in one run. Then one row changes at each of 10,000 heights, and 10,000
//! rows change once.
#![allow(missing_docs, clippy::print_stdout)]

#[path = "../tests/suite/chain.rs"]
mod chain;
#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/filled.rs"]
mod filled;
#[path = "common/random.rs"]
mod random;

use std::time::Instant;

use chain::{Chain, PART, Rig, RocksRig, changed_since, revertible};
use cpu::cpu;
use random::Random;
use storage::{Kv, RocksKv, Store};
use types::{Height, Reader, Replaced, ReplacedVersion, WriteSet};

/// Number of ABBA pairs.
const ROUNDS: usize = 30;
const WRITES: u64 = 1000;
const HEIGHTS: u64 = 10_000;

/// The start of the keys of rows without an index, as long as [`PART`].
const PLAIN: &[u8] = b"s\0\0\0\x01";

fn path(number: u64) -> [u8; 32] {
    types::blake3(&number.to_be_bytes()).0
}

fn key(part: &[u8], number: u64) -> Vec<u8> {
    [part, &path(number)].concat()
}

/// Reads these rows, as the execution of a block does, then commits a height that changes them. Returns the CPU time of
/// the commit in µs, and the bytes of its batch.
fn commit(store: &Store<RocksKv>, chain: &mut Chain, keys: impl Iterator<Item = Vec<u8>>) -> (f64, u64) {
    let keys: Vec<_> = keys.collect();
    let reader = store.reader().expect("there is a state");
    let version = |key| reader.version(key).map(|(at, value)| ReplacedVersion { at, is_deletion: value.is_none() });
    let replaced = Replaced(keys.iter().map(|key| (key.clone(), version(key))).collect());
    drop(reader);
    let value = [&chain.height.0.to_be_bytes()[..], &[7; 100]].concat();
    let mut made = chain.next(WriteSet(keys.into_iter().map(|key| (key, Some(value.clone()))).collect()), Vec::new());
    made.replaced = replaced;
    let bytes = store.kv().stats().batch_bytes.sum;
    let start = cpu();
    store.commit_block(&made.batch()).expect("commits");
    ((cpu() - start).as_secs_f64() * 1e6, store.kv().stats().batch_bytes.sum - bytes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the time of `act`, which is repeated, on the wall.
fn timed<T>(what: &str, repeats: u32, mut act: impl FnMut() -> T) -> T {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        let done = act();
        times.push(start.elapsed().as_secs_f64() * 1e6);
        if times.len() as u32 == repeats {
            println!("{what}: {:.0} µs, the first time {:.0} µs", median(times.clone()), times[0]);
            return done;
        }
    }
}

fn main() {
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000_u64);
    let rig = RocksRig::new();
    let mut chain = filled::chain();
    let all = [PART, PLAIN].into_iter().flat_map(|part| (0..rows).map(move |number| (key(part, number), vec![7; 100])));
    let store = filled::store(&rig, &chain, all);
    let mut random = Random(7);
    let mut next = move || random.next() % rows;

    println!("{rows} rows of each kind; {WRITES} writes per height; medians of {ROUNDS} pairs, CPU time");
    for (what, is_hot) in [("random rows", false), ("the same rows at each height", true)] {
        let (mut times, mut bytes) = ([Vec::new(), Vec::new()], [0, 0]);
        for _ in 0..ROUNDS {
            for kind in [0, 1, 1, 0] {
                let numbers: Vec<u64> = (0..WRITES).map(|number| if is_hot { number } else { next() }).collect();
                let keys = numbers.into_iter().map(|number| key([PLAIN, PART][kind], number));
                let (time, written) = commit(&store, &mut chain, keys);
                times[kind].push(time / WRITES as f64);
                bytes[kind] = written / WRITES;
            }
        }
        let [plain, indexed] = times.map(median);
        println!(
            "{what}: {plain:.2} µs and {} bytes per write without the index, {indexed:.2} µs and {} bytes with it ({:.2})",
            bytes[0],
            bytes[1],
            indexed / plain
        );
    }

    let distinct = |chain: &mut Chain| {
        for number in 0..100 {
            commit(&store, chain, (number * 100..(number + 1) * 100).map(|number| key(PART, number)));
        }
    };
    distinct(&mut chain);
    let before = chain.height;
    for _ in 0..HEIGHTS {
        commit(&store, &mut chain, [revertible(b"hot")].into_iter());
    }
    let middle = chain.height;
    distinct(&mut chain);
    println!("medians of 15, on the wall");
    for compacted in [false, true] {
        if compacted {
            println!("compacted:");
            store.kv().compact().expect("compacts");
        }
        let tip = store.reader().expect("there is a state");
        let since = |what, height| timed(what, 15, || changed_since(&tip, height, PART)).len() as u64;
        assert_eq!(since("1 row that changed at 10,000 heights, and then 10,000 rows at 100 heights", before), 10_001);
        assert_eq!(since("10,000 rows that changed at the last 100 heights", middle), 10_000);
        assert_eq!(since("100 rows that changed at the last height", chain.height.prev().expect("above 0")), 100);
        drop(tip);
        let below = store.reader_at(Height(middle.0 + 70)).expect("kept");
        let what = "7,000 rows at 70 heights, when 3,000 rows changed at 30 heights since";
        assert_eq!(timed(what, 15, || changed_since(&below, middle, PART)).len(), 7000);
    }
    timed("rewind of 100 heights with 100 rows each", 1, || store.rewind(middle)).expect("kept");
    let tip = store.reader().expect("there is a state");
    assert_eq!(timed("1 row that changed at 10,000 heights", 15, || changed_since(&tip, before, PART)).len(), 1);
    drop(tip);
    timed("rewind of 10,000 heights with 1 row", 1, || store.rewind(before)).expect("kept");
}
