//! Measures the cost of updates of the state tree, of proofs and of executing transfers. Run: `cargo bench --profile dev -p
//! cairn-app`.
//!
//! Results are in µs and in multiples of one BLAKE3 over 64 bytes measured at the same time, because machines differ
//! and change speed.
#![allow(missing_docs, clippy::disallowed_types, clippy::disallowed_methods, clippy::print_stdout)]

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use app::{
    App, BlockContext, genesis_writes,
    tree::{
        Proof, Tree,
        rows::{path_of, row_key, row_value, rows_of},
    },
};
use types::{
    Address, ChainId, Deadline, Height, Msg, Params, SecretKey, Time, TxBody, TxOrder, VerifiedTx, Wire, WriteSet,
};

/// Returns the median duration of `runs` calls of `act`, in nanoseconds.
fn nanos(runs: usize, mut act: impl FnMut()) -> f64 {
    let mut times: Vec<u128> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            act();
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    times[runs / 2] as f64
}

fn one_hash() -> f64 {
    let block = [7; 64];
    nanos(51, || {
        for _ in 0..1000 {
            black_box(types::blake3(black_box(&block)));
        }
    }) / 1000.0
}

fn key(index: u32) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&index.to_le_bytes());
    key
}

fn tree_updates(accounts: u32) {
    let rows = rows_of(b"n", (0..accounts).map(|index| (key(index), [3; 8])));
    let start = Instant::now();
    let mut tree = Tree::open(b"n", &rows);
    let opened = start.elapsed().as_secs_f64();
    let per_leaf = tree.memory_bytes() as f64 / f64::from(accounts);
    println!("{accounts} accounts: opened in {opened:.2} s, {per_leaf:.1} bytes of memory each");
    for changed in [1, 100, 1000_u32] {
        let mut turn = 0_u32;
        let mut writes = || {
            turn += 1;
            let change = |i: u32| {
                let key = key((i.wrapping_mul(2_654_435_761).wrapping_add(turn * 7919)) % accounts);
                (row_key(b"n", &path_of(&key)), Some(row_value(&key, &u64::from(turn).to_be_bytes())))
            };
            WriteSet((0..changed).map(change).collect())
        };
        let prepared: Vec<WriteSet> = (0..31).map(|_| writes()).collect();
        let mut next = prepared.iter();
        let per_key = nanos(31, || {
            let update = tree.update(&rows, next.next().expect("one for each run"));
            tree.apply(update);
        }) / f64::from(changed);
        let hash = one_hash();
        println!("  {changed:>4} keys: {:>6.2} µs a key, {:>5.1} hashes", per_key / 1000.0, per_key / hash);
    }
}

/// Measures proofs of keys that exist and of keys that do not.
fn proofs(accounts: u32) {
    let rows = rows_of(b"n", (0..accounts).map(|index| (key(index), [3; 8])));
    let tree = Tree::open(b"n", &rows);
    let root = tree.root();
    for (name, first) in [("a value", 0), ("an absence", accounts)] {
        let mut index = first;
        let prove = nanos(101, || {
            index += 1;
            black_box(tree.prove(&rows, &key(index)).expect("a proof"));
        });
        let proof = tree.prove(&rows, &key(first)).expect("a proof");
        let bytes = proof.encode();
        let verify = nanos(101, || {
            let proof = Proof::decode(&bytes).expect("a proof");
            proof.verify(&root, &key(first), proof.value()).expect("it holds");
        });
        println!(
            "  proof of {name}: {} bytes, made in {:.1} µs, decoded and verified in {:.1} µs",
            bytes.len(),
            prove / 1000.0,
            verify / 1000.0
        );
    }
}

fn transfers(accounts: u32) {
    let chain_id = ChainId::new("bench").expect("a chain id");
    let senders: Vec<SecretKey> = (1..=1000_u16)
        .map(|seed| SecretKey::from_bytes(&[&[1; 30][..], &seed.to_be_bytes()].concat()).expect("a key"))
        .collect();
    let rich = senders.iter().map(|key| (key.public_key().address(), 1_000_000));
    let others = (0..accounts).map(|index| (Address(*key(index + 1).first_chunk().expect("20 bytes")), 1));
    let first = genesis_writes(&Params::default(), &[], rich.chain(others)).expect("a first state");
    let rows: BTreeMap<Vec<u8>, Vec<u8>> = first.rows().collect();
    let app = App::open(&rows, chain_id.clone(), Height(0));
    for (name, order) in [
        ("with nonce", TxOrder::Nonce(0)),
        ("unordered", TxOrder::Expires(Deadline::from_unix_millis(9_000).expect("a deadline"))),
    ] {
        let tx = |(index, key): (usize, &SecretKey)| {
            let to = Address(self::key(index as u32 * 31 % accounts + 1));
            let messages = vec![Msg::Transfer { to, amount: 5 }];
            let body = TxBody { chain_id: chain_id.clone(), signer: key.public_key(), order, fee: 2, messages };
            VerifiedTx::verified_before(body.sign(key))
        };
        let txs: Vec<VerifiedTx> = senders.iter().enumerate().map(tx).collect();
        let context = BlockContext { height: Height(1), time: Time::UNIX_EPOCH, proposer: Address([1; 20]) };
        let outcome = app.execute(&rows, &context, &txs);
        assert!(outcome.results.txs.iter().all(|result| result.code == 0));
        let per_tx = nanos(15, || {
            black_box(app.execute(&rows, &context, &txs));
        }) / 1000.0;
        let hash = one_hash();
        println!(
            "1000 transfers {name}, {accounts} accounts: {:.2} µs each with the app hash, {:.0} hashes, {} rows written",
            per_tx / 1000.0,
            per_tx / hash,
            outcome.writes.0.len()
        );
    }
}

fn main() {
    println!("one BLAKE3 over 64 bytes: {:.3} µs", one_hash() / 1000.0);
    for accounts in [10_000, 1_000_000] {
        tree_updates(accounts);
        proofs(accounts);
        transfers(accounts);
    }
}
