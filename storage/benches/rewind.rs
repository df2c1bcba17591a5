//! Benchmark of a rewind: of going back alone, and of one that drops its blocks, in CPU time and time on the wall, per
//! distinct changed key.
//!
//! `cargo bench --workspace --bench rewind --profile dev -- [accounts] [heights] [transfers]`. Each transfer changes two
//! random accounts and has two events with three indexed attributes. The state is compacted before, and the heights are
//! in memory and in young files, as in a node that runs.
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

use chain::{Rig, RocksRig};
use cpu::cpu;
use random::Random;
use storage::BlocksAbove;
use types::{Event, Height, TxResult, WriteSet};

fn account(number: u64) -> Vec<u8> {
    [b"n".as_slice(), &types::blake3(&number.to_be_bytes()).0].concat()
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let mut argument = |default: u64| arguments.next().unwrap_or(default);
    let (accounts, heights, transfers) = (argument(1_000_000), argument(100), argument(500));
    let rig = RocksRig::new();
    let mut chain = filled::chain();
    let store = filled::store(&rig, &chain, (0..accounts).map(|number| (account(number), vec![7; 48])));
    let mut random = Random(7);
    let mut next = move || random.next() % accounts;
    for indexed in [false, true] {
        for height in 1..=heights {
            let rows =
                (0..2 * transfers).map(|_| (account(next()), Some([&height.to_be_bytes()[..], &[7; 40]].concat())));
            let rows = WriteSet(rows.collect());
            let tx = |n: u64| [vec![1; 137], (height * 100_000 + n).to_be_bytes().to_vec()].concat();
            let mut made = chain.next(rows, (0..transfers).map(tx).collect());
            let mut attribute = |key: &'static str| (key, format!("{:040X}", next()), indexed);
            made.results.txs.iter_mut().for_each(|result| {
                let tx = Event::new("tx", [attribute("signer")]);
                let transfer = Event::new("transfer", [attribute("sender"), attribute("recipient")]);
                *result = TxResult { gas_used: 1, events: vec![tx, transfer], ..TxResult::default() };
            });
            store.commit_block(&made.batch()).expect("commits");
        }
        store.sync().expect("syncs");
        let mut keys = 0;
        let count = &mut |_: &[u8], _| {
            keys += 1;
            true
        };
        store.reader().and_then(|reader| reader.try_changed_since(Height(0), b"", count)).expect("kept");
        let wall = Instant::now();
        store.begin_rewind(Height(1), BlocksAbove::Kept).expect("kept");
        store.sync().expect("syncs");
        println!("going back with kept blocks, synced: {:.2} ms", wall.elapsed().as_secs_f64() * 1e3);
        let (start, wall) = (cpu(), Instant::now());
        store.rewind(Height(0)).expect("kept");
        let (cpu, wall) = ((cpu() - start).as_secs_f64() * 1e6, wall.elapsed().as_secs_f64() * 1e6);
        println!(
            "{accounts} accounts, {heights} heights of {transfers} transfers, indexed {indexed}: {keys} keys; CPU {:.0} ms, {:.2} µs \
             per key; wall {:.0} ms, {:.2} µs per key",
            cpu / 1e3,
            cpu / keys as f64,
            wall / 1e3,
            wall / keys as f64
        );
        chain = filled::chain();
    }
}
