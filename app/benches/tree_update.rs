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
        Cache, Proof, Tree,
        rows::{path_of, row_key, row_value, rows_of},
    },
};
use types::{Address, ChainId, Height, Msg, Params, SecretKey, Time, TxBody, TxOrder, VerifiedTx, Wire, WriteSet};

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
    let mut cache = Cache::new(Cache::BYTES_MAX);
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
            let update = tree.update(&cache, &rows, next.next().expect("one for each run"));
            tree.apply(&mut cache, update);
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

/// Measures writes and proofs of keys whose paths begin with the same 11 bits, among 100,000 others.
fn equal_first_bits(most: usize) {
    let is_found = |index: &u32| {
        let path = path_of(&key(*index));
        path[0] == 0x5A && path[1] < 0x20
    };
    let found: Vec<u32> = (1_000_000..).filter(is_found).take(most).collect();
    for count in [0, 200, 2000, 20_000].into_iter().filter(|count| *count <= most) {
        let keys = (0..100_000).chain(found[..count].iter().copied());
        let rows = rows_of(b"n", keys.map(|index| (key(index), [3; 8])));
        let mut tree = Tree::open(b"n", &rows);
        let written: Vec<u32> = if count == 0 { (0..101).collect() } else { found[..count].to_vec() };
        let per_leaf = tree.memory_bytes() as f64 / rows.len() as f64;
        let mut times = Vec::new();
        // The first updates after a scan may split some buckets.
        for _ in 0..100 {
            let same = (row_key(b"n", &path_of(&key(0))), Some(row_value(&key(0), &[3; 8])));
            let update = tree.update(&Cache::new(0), &rows, &WriteSet([same].into()));
            tree.apply(&mut Cache::new(0), update);
        }
        for bytes_max in [0, Cache::BYTES_MAX] {
            let mut cache = Cache::new(bytes_max);
            let mut turn = 0;
            let mut update = || {
                turn += 1;
                let key = key(written[turn * 7919 % written.len()]);
                let change = (row_key(b"n", &path_of(&key)), Some(row_value(&key, &turn.to_be_bytes())));
                let update = tree.update(&cache, &rows, &WriteSet([change].into()));
                if bytes_max > 0 {
                    tree.apply(&mut cache, update);
                }
            };
            times.push(nanos(1001, &mut update) / 1000.0);
        }
        let mut turn = 0;
        let prove = nanos(301, || {
            turn += 1;
            black_box(tree.prove(&rows, &key(written[turn * 7919 % written.len()]))).ok();
        });
        println!(
            "{count:>6} keys with 11 equal bits: a write takes {:.1} µs, {:.1} µs with a cache; a proof {:.1} µs; {per_leaf:.1} bytes of memory per key",
            times[0],
            times[1],
            prove / 1000.0
        );
    }
}

/// Measures execution and commit of blocks of 1,000 transfers, each to another account. `recipients` is their number:
/// after they were paid once, the leaves of the trees that they need are in the cache.
fn transfers(accounts: u32, recipients: u32) {
    let chain_id = ChainId::new("bench").expect("a chain id");
    let senders: Vec<SecretKey> = (1..=1000_u16)
        .map(|seed| SecretKey::from_bytes(&[&[1; 30][..], &seed.to_be_bytes()].concat()).expect("a key"))
        .collect();
    let rich = senders.iter().map(|key| (key.public_key().address(), 1_000_000));
    let others = (0..accounts).map(|index| (Address(key(index + 1)), 1));
    let first = genesis_writes(&Params::default(), &[], rich.chain(others)).expect("a first state");
    let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = first.rows().collect();
    let mut app = App::open(&rows, chain_id.clone(), Height(0));
    let step = accounts / recipients;
    let mut times: Vec<u128> = Vec::new();
    let warm = recipients / 1000;
    for nonce in 0..u64::from(warm + 25) {
        let tx = |(index, key): (usize, &SecretKey)| {
            let nth = (nonce as u32 * 1000 + index as u32) % recipients;
            let messages = vec![Msg::Transfer { to: Address(self::key(nth * step + 1)), amount: 5 }];
            let order = TxOrder::Nonce(nonce);
            let body = TxBody { chain_id: chain_id.clone(), signer: key.public_key(), order, fee: 2, messages };
            VerifiedTx::verified_before(body.sign(key))
        };
        let txs: Vec<VerifiedTx> = senders.iter().enumerate().map(tx).collect();
        let context = BlockContext {
            height: Height(nonce + 1),
            time: Time::UNIX_EPOCH,
            proposer: Address([1; 20]),
            misbehavior: Vec::new(),
            absent: Vec::new(),
        };
        let start = Instant::now();
        let outcome = app.execute(&rows, &context, &txs);
        app.commit(outcome.update);
        black_box(app.take_changed(8192, 16));
        times.push(start.elapsed().as_nanos());
        assert!(outcome.results.txs.iter().all(|result| result.code == 0));
        for (key, value) in outcome.writes.0 {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }
    let mut hot = times.split_off(warm as usize);
    times.sort_unstable();
    hot.sort_unstable();
    println!(
        "1000 transfers, {accounts} accounts: executed and committed in {:.2} µs each the first time, {:.2} µs again",
        times[times.len() / 2] as f64 / 1e6,
        hot[hot.len() / 2] as f64 / 1e6
    );
}

fn main() {
    println!("one BLAKE3 over 64 bytes: {:.3} µs", one_hash() / 1000.0);
    equal_first_bits(20_000);
    for accounts in [10_000, 1_000_000] {
        tree_updates(accounts);
        proofs(accounts);
        transfers(accounts, accounts.min(20_000));
    }
}
