//! Benchmark of reads of the state at different heights, and of a rewind, in CPU time of the whole process.
//!
//! `cargo bench --workspace --bench state_at_heights --profile dev -- [accounts]`. One key changes at each of 10,000
//! heights. A transfer changes two random accounts.
#![allow(missing_docs, clippy::print_stdout)]

#[path = "../tests/suite/chain.rs"]
mod chain;
#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/filled.rs"]
mod filled;
#[path = "common/random.rs"]
mod random;

use chain::{Rig, RocksRig, changed_since};
use cpu::cpu;
use random::Random;
use types::{Height, Reader, WriteSet};

const HEIGHTS: u64 = 10_000;
const READS: u64 = 20_000;

fn account(number: u64) -> Vec<u8> {
    [b"n".as_slice(), &types::blake3(&number.to_be_bytes()).0].concat()
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
        let rows = rows.map(|key| (key, Some([&height.to_be_bytes()[..], &[7; 40]].concat()))).collect();
        let txs = (0..transfers).map(|n| [vec![1; 137], (height * 1000 + n).to_be_bytes().to_vec()].concat()).collect();
        store.commit_block(&chain.next(WriteSet(rows), txs).batch()).expect("commits");
    }
    println!("{accounts} accounts, {HEIGHTS} heights; CPU time in µs, and the ratio to the first line");
    let mut first = None;
    for compacted in [false, true] {
        if compacted {
            store.kv().compact().expect("compacts");
        }
        for (what, height) in [("tip", HEIGHTS), ("tip - 1", HEIGHTS - 1), ("the middle", HEIGHTS / 2), ("genesis", 0)]
        {
            let reader = store.reader_at(Height(height)).expect("kept");
            let start = cpu();
            (0..READS).for_each(|_| drop(reader.get(b"hot")));
            let hot = (cpu() - start).as_secs_f64() * 1e6 / READS as f64;
            let start = cpu();
            (0..READS).for_each(|_| drop(reader.get(&account(next()))));
            let any = (cpu() - start).as_secs_f64() * 1e6 / READS as f64;
            let start = cpu();
            (0..READS / 100).for_each(|_| reader.scan(b"hot", &mut |_, _| true));
            let scan = (cpu() - start).as_secs_f64() * 1e6 / (READS / 100) as f64;
            let (hot_at_tip, any_at_tip) = *first.get_or_insert((hot, any));
            println!(
                "{}at {what}: hot key {hot:.2} ({:.2}), any key {any:.2} ({:.2}), scan of the hot key {scan:.2}",
                if compacted { "compacted, " } else { "" },
                hot / hot_at_tip,
                any / any_at_tip,
            );
        }
    }
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
