//! Benchmark of the trees of a large state: a start, memory, updates with and without cached leaves, and proofs.
//!
//! `cargo bench --workspace --bench state_trees --profile dev -- [accounts …]`, by default with 100,000, 1,000,000 and
//! 10,000,000; then with 100,000 namespaces of three keys. Each phase is a process of its own, so that its memory can be measured. Ten million accounts take about
//! 2 GB in the folder for temporary files, and some minutes.
#![allow(missing_docs, clippy::print_stdout)]

use std::{
    env,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use app::{
    App, BlockContext,
    area::{Area, name_row},
    genesis_writes,
    state::key,
    tree::{
        rows::{path_of, row_value},
        stored::StoredNode,
    },
};
use replica::{LiveApp, open_app};
use storage::{GenesisBatch, RocksKv, Store};
use types::{Address, Hash, Height, Msg, Params, SecretKey, Time, TxBody, TxOrder, VerifiedTx, WriteSet, blake3};

#[allow(unexpected_cfgs)]
#[path = "../../storage/tests/suite/chain.rs"]
mod chain;

use chain::{Chain, MemRig, Rig, chain_id};

/// Number of transfers in a block, each of another sender to another account.
const TRANSFERS: u64 = 1000;

/// Number of namespaces of three keys each, in the last store.
const NAMESPACES: u32 = 100_000;

/// Number of blocks with recipients that were not paid before, and then again with the same ones.
const BLOCKS: u64 = 25;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [phase, path, accounts] = &arguments[..]
        && let Ok(accounts) = accounts.parse()
        && Path::new(path).is_dir()
    {
        return run(phase, Path::new(path), accounts);
    }
    let sizes: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    for accounts in if sizes.is_empty() { vec![100_000, 1_000_000, 10_000_000] } else { sizes } {
        println!("{accounts} accounts");
        run_all(&["build", "first start", "start", "work", "start"], accounts);
    }
    println!("{NAMESPACES} namespaces");
    run_all(&["build namespaces", "first start", "start"], 1000);
}

fn run_all(phases: &[&str], accounts: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for phase in phases {
        let program = env::current_exe().expect("this program");
        let status = Command::new(program).arg(phase).arg(folder.path()).arg(accounts.to_string()).status();
        assert!(status.expect("it runs").success(), "{phase}");
    }
}

fn account(number: u64) -> Address {
    Address(*blake3(&number.to_be_bytes()).0.first_chunk().expect("20 of 32 bytes"))
}

fn sender(number: u64) -> SecretKey {
    SecretKey::from_bytes(&blake3(&[b"sender", &number.to_be_bytes()[..]].concat()).0).expect("a scalar")
}

/// Returns a memory figure of this process in MB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is Linux");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel gives it");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") / 1000
}

fn run(phase: &str, folder: &Path, accounts: u64) {
    let begun = Instant::now();
    let store = Store::open(RocksKv::open(&folder.join("store")).expect("opens"), &chain_id()).expect("opens");
    if phase.starts_with("build") {
        return build(&store, folder, accounts, phase == "build namespaces");
    }
    let opened = begun.elapsed();
    let hash = Hash(std::fs::read(folder.join("hash")).expect("it was written").try_into().expect("32 bytes"));
    let begun = Instant::now();
    let tip = store.tip().expect("it has a state").height;
    let (app, from) = open_app(&store, tip, hash).expect("opens");
    assert_eq!(app.app_hash(), hash);
    let took = begun.elapsed();
    if phase != "work" {
        println!(
            "  {phase}: trees in {:.2} s, database in {:.2} s, {} MB resident, at most {} MB; {:.1} MB of trees; {from:?}",
            took.as_secs_f64(),
            opened.as_secs_f64(),
            memory("VmRSS"),
            memory("VmHWM"),
            app.memory_bytes() as f64 / 1e6,
        );
    }
    match phase {
        "first start" => {
            let begun = Instant::now();
            store.replace_trees(tip, app.stored().map(StoredNode::row)).expect("writes");
            println!("    stored in {:.2} s", begun.elapsed().as_secs_f64());
        }
        "work" => work(store, app, folder, accounts),
        _ => {}
    }
}

fn build(store: &Store<RocksKv>, folder: &Path, accounts: u64, has_namespaces: bool) {
    let begun = Instant::now();
    let rich = (0..TRANSFERS).map(|n| (sender(n).public_key().address(), 1 << 40));
    let first =
        genesis_writes(&Params::default(), &[], (0..accounts).map(|n| (account(n), 7)).chain(rich)).expect("valid");
    let chain = fresh_chain();
    let genesis = GenesisBatch {
        genesis: chain.genesis,
        validators: &chain.validators[&Height(1)],
        params: &chain.params[&Height(1)],
    };
    let more = (0..NAMESPACES).take_while(|_| has_namespaces).flat_map(namespace_rows);
    store.init_genesis(&genesis, first.rows().chain(more)).expect("an empty store");
    store.kv().compact().expect("compacts");
    let hash = match has_namespaces {
        false => first.app_hash,
        true => App::open(&store.reader().expect("it has a state"), chain_id(), Height(0)).app_hash(),
    };
    std::fs::write(folder.join("hash"), hash.0).expect("writes");
    println!("  built in {:.0} s", begun.elapsed().as_secs_f64());
}

/// Returns the row that lists a namespace, and those of three keys in it.
fn namespace_rows(number: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let key = |n: u8| {
        let raw = [n + 1, 7, 7, 7];
        (Area::Namespace(number).row_key(&path_of(&raw)), row_value(&raw, &number.to_be_bytes()))
    };
    let list = (name_row(&format!("namespace-{number}")), number.to_be_bytes().to_vec());
    (0..3).map(key).chain([list]).collect()
}

fn fresh_chain() -> Chain {
    let store = Store::open(MemRig::new().open(), &chain_id()).expect("opens");
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    chain.remember = false;
    chain
}

/// Commits blocks of transfers to accounts that are spread over all, then again to the same, and makes proofs.
fn work(store: Store<RocksKv>, app: App, folder: &Path, accounts: u64) {
    let mut chain = fresh_chain();
    let app = LiveApp::new(app);
    let mut times: Vec<Vec<[Duration; 3]>> = Vec::new();
    for nonce in 0..2 * BLOCKS {
        let tx = |n: u64| {
            let nth = (nonce % BLOCKS * TRANSFERS + n) * 2_654_435_761 % accounts;
            let messages = vec![Msg::Transfer { to: account(nth), amount: 1 }];
            let key = sender(n);
            let (order, fee) = (TxOrder::Nonce(nonce), 2);
            let body = TxBody { chain_id: chain_id(), signer: key.public_key(), order, fee, messages };
            VerifiedTx::verified_before(body.sign(&key))
        };
        let txs: Vec<VerifiedTx> = (0..TRANSFERS).map(tx).collect();
        let height = Height(nonce + 1);
        let time = Time::from_unix_millis(1_700_000_000_000 + height.0);
        let context = BlockContext { height, time, proposer: Address([1; 20]), misbehavior: Vec::new() };
        let begun = Instant::now();
        let reader = store.reader().expect("it has a state");
        let outcome = app.read().execute(&reader, &context, &txs);
        reader.check().expect("reads");
        drop(reader);
        let executed = begun.elapsed();
        assert!(outcome.results.txs.iter().all(|result| result.code == 0));
        let app_hash = outcome.results.app_hash;
        let made = chain.next(outcome.writes, txs.iter().map(|tx| tx.bytes().to_vec()).collect());
        let begun = Instant::now();
        store.commit_block(&made.batch()).expect("writes");
        let stored = begun.elapsed();
        let begun = Instant::now();
        app.commit(outcome.update);
        let committed = begun.elapsed();
        if nonce % BLOCKS == 0 {
            times.push(Vec::new());
        }
        times.last_mut().expect("pushed before").push([executed, stored, committed]);
        app.store_trees(&store, false).expect("writes");
        std::fs::write(folder.join("hash"), app_hash.0).expect("writes");
    }
    for (times, what) in times.iter_mut().zip(["first", "again"]) {
        let median = |part: usize| {
            let mut times: Vec<Duration> = times.iter().map(|times| times[part]).collect();
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1e6 / TRANSFERS as f64
        };
        println!(
            "  a transfer, {what}: executed in {:.1} µs, stored in {:.1} µs, applied to the trees in {:.2} µs",
            median(0),
            median(1),
            median(2)
        );
    }
    println!("  {:?}, {} MB resident", app.read().cache_stats(), memory("VmRSS"));
    for (what, first) in [("a value", 0), ("an absence", accounts)] {
        let reader = store.reader().expect("it has a state");
        let (mut times, mut bytes) = (Vec::new(), 0);
        for n in 0..2000 {
            let raw = key::account(&account(first + n * 7919 % accounts));
            let begun = Instant::now();
            let way = app.read().way_to(&raw);
            let proof = way.prove(&reader).expect("the tip");
            times.push(begun.elapsed());
            bytes = bytes.max(proof.to_ops().iter().map(|op| op.data.len()).sum());
        }
        times.sort_unstable();
        println!(
            "  proof of {what}: {:.0} µs, 99 % in {:.0} µs, at most {bytes} bytes",
            times[1000].as_secs_f64() * 1e6,
            times[1980].as_secs_f64() * 1e6
        );
    }
}
