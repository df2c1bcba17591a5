//! Benchmark of the trees of a large state: a start, memory, updates with and without cached leaves, and proofs at the tip and
//! below.
//!
//! `cargo bench --workspace --bench state_trees --profile dev -- [accounts …]`, by default with 100,000, 1,000,000 and
//! 10,000,000; then with 100,000 namespaces of three keys. Each phase is a process of its own, so that its memory can be measured. Ten million accounts take about
//! 2 GB in the folder for temporary files, and some minutes.
#![allow(missing_docs, clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use app::{
    App, BlockContext, EarlierTrees, StateProof,
    area::{Area, name_row},
    genesis_writes,
    state::{NEVER_REVERTED, key},
    tree::{
        rows::{path_of, row_value},
        stored::StoredNode,
    },
};
use replica::{LiveApp, open_app, prepare_earlier};
use rpc::thread_cpu;
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

/// Number of transfers in a block of the phase with proofs below the tip: with the senders, twice as many keys change.
const FEW_TRANSFERS: u64 = 50;

/// Distances from the tip at which proofs are made.
const BELOW: [u64; 4] = [1, 10, 100, 1000];

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
        "work" => {
            let (chain, store, app) = (fresh_chain(), Arc::new(store), LiveApp::new(app));
            let mut net = Net { store, app, chain, folder, accounts, nonce: 0, hashes: BTreeMap::new() };
            work(&mut net);
            earlier(&mut net);
        }
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

/// A chain on a large state.
struct Net<'f> {
    store: Arc<Store<RocksKv>>,
    app: LiveApp,
    chain: Chain,
    folder: &'f Path,
    accounts: u64,
    /// Next nonce of all senders.
    nonce: u64,
    /// App hash after each height.
    hashes: BTreeMap<Height, Hash>,
}

impl Net<'_> {
    /// Commits a block of transfers, each of another sender, to accounts from the number `first` on, which are spread over
    /// all. Returns the times of its execution, its write and its application to the trees, and the CPU
    /// time of this thread for the three.
    fn block(&mut self, transfers: u64, first: u64) -> [Duration; 4] {
        let tx = |n: u64| {
            let nth = (first + n) * 2_654_435_761 % self.accounts;
            let messages = vec![Msg::Transfer { to: account(nth), amount: 1 }];
            let key = sender(n);
            let (order, fee) = (TxOrder::Nonce(self.nonce), 2);
            let body = TxBody { chain_id: chain_id(), signer: key.public_key(), order, fee, messages };
            VerifiedTx::verified_before(body.sign(&key))
        };
        let txs: Vec<VerifiedTx> = (0..transfers).map(tx).collect();
        self.nonce += 1;
        let height = self.chain.height.next();
        let time = Time::from_unix_millis(1_700_000_000_000 + height.0);
        let context =
            BlockContext { height, time, proposer: Address([1; 20]), misbehavior: Vec::new(), absent: Vec::new() };
        let (begun, cpu_begun) = (Instant::now(), thread_cpu());
        let reader = self.store.reader().expect("it has a state");
        let outcome = self.app.read().execute(&reader, &context, &txs);
        reader.check().expect("reads");
        drop(reader);
        let (executed, cpu_executed) = (begun.elapsed(), thread_cpu() - cpu_begun);
        assert!(outcome.results.txs.iter().all(|result| result.code == 0));
        let app_hash = outcome.results.app_hash;
        let made = self.chain.next(outcome.writes, txs.iter().map(|tx| tx.bytes().to_vec()).collect());
        let (begun, cpu_begun) = (Instant::now(), thread_cpu());
        self.store.commit_block(&made.batch()).expect("writes");
        let stored = begun.elapsed();
        let begun = Instant::now();
        self.app.commit(outcome.update);
        let (committed, cpu_committed) = (begun.elapsed(), thread_cpu() - cpu_begun);
        self.app.store_trees(&self.store, false).expect("writes");
        self.hashes.insert(height, app_hash);
        std::fs::write(self.folder.join("hash"), app_hash.0).expect("writes");
        [executed, stored, committed, cpu_executed + cpu_committed]
    }
}

/// Returns the median and the 99th percentile in µs.
fn percentiles(times: &mut [Duration]) -> [f64; 2] {
    times.sort_unstable();
    [times.len() / 2, times.len() * 99 / 100].map(|at| times[at].as_secs_f64() * 1e6)
}

/// Commits blocks of transfers, then again to the same accounts, and makes proofs.
fn work(net: &mut Net<'_>) {
    let accounts = net.accounts;
    let mut times: Vec<Vec<[Duration; 4]>> = Vec::new();
    for block in 0..2 * BLOCKS {
        let of_block = net.block(TRANSFERS, block % BLOCKS * TRANSFERS);
        if block % BLOCKS == 0 {
            times.push(Vec::new());
        }
        times.last_mut().expect("pushed before").push(of_block);
    }
    for (times, what) in times.iter_mut().zip(["first", "again"]) {
        let median = |part: usize| {
            let mut times: Vec<Duration> = times.iter().map(|times| times[part]).collect();
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1e6 / TRANSFERS as f64
        };
        println!(
            "  a transfer, {what}: executed in {:.1} µs, stored in {:.1} µs, applied to the trees in {:.2} µs; {:.2} µs of CPU time",
            median(0),
            median(1),
            median(2),
            median(3)
        );
    }
    println!("  {:?}, {} MB resident", net.app.read().cache_stats(), memory("VmRSS"));
    for (what, first) in [("a value", 0), ("an absence", accounts)] {
        let reader = net.store.reader().expect("it has a state");
        let app_hash = net.app.read().app_hash();
        let (mut times, mut verified, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..2000 {
            let raw = key::account(&account(first + n * 7919 % accounts));
            let begun = Instant::now();
            let way = net.app.read().way_to(&raw);
            let proof = way.prove(&reader).expect("the tip");
            times.push(begun.elapsed());
            let ops = proof.to_ops();
            bytes.push(ops.iter().map(|op| op.data.len()).sum::<usize>());
            let begun = thread_cpu();
            let read = StateProof::from_ops(&ops).expect("it was written just now");
            read.verify(&app_hash, &[NEVER_REVERTED], &raw, read.value()).expect("a proof of the tip");
            verified.push(thread_cpu() - begun);
        }
        let ([median, most], [verified, _]) = (percentiles(&mut times), percentiles(&mut verified));
        bytes.sort_unstable();
        println!(
            "  proof of {what}: {median:.0} µs, 99 % in {most:.0} µs; read and verified in {verified:.0} µs of CPU time; {} bytes, at most {}",
            bytes[bytes.len() / 2],
            bytes[bytes.len() - 1]
        );
    }
}

/// Computes all trees of a height below the tip that a proof of an account needs.
fn trees_of(store: &Store<RocksKv>, app: &LiveApp, height: Height) -> EarlierTrees {
    let reader = store.reader_at(height).expect("it is kept");
    let mut trees = EarlierTrees::new(&reader, height);
    assert!(prepare_earlier(&mut trees, None, store, app, &reader, &mut || true).expect("reads"));
    trees
}

/// Makes proofs below the tip, and compares the times of blocks with and without them.
fn earlier(net: &mut Net<'_>) {
    let accounts = net.accounts;
    let last = BELOW[BELOW.len() - 1];
    for block in 0..last {
        net.block(FEW_TRANSFERS, block * FEW_TRANSFERS);
    }
    for below in BELOW {
        let height = Height(net.chain.height.0 - below);
        let (begun, cpu_begun) = (Instant::now(), thread_cpu());
        let trees = trees_of(&net.store, &net.app, height);
        let [took, cpu] = [begun.elapsed(), thread_cpu() - cpu_begun].map(|time| time.as_secs_f64() * 1e3);
        let expected = net.hashes[&height];
        assert_eq!(trees.app_hash(), Some(expected));
        let reader = net.store.reader_at(height).expect("it is kept");
        let proofs = ["a value", "an absence"].into_iter().zip([0, accounts]).map(|(what, first)| {
            let prove = |n: u64| {
                let raw = key::account(&account(first + n * 7919 % accounts));
                let begun = thread_cpu();
                let proof = trees.prove(&reader, &raw).expect("the state of the trees");
                let took = thread_cpu() - begun;
                assert_eq!(proof.verify(&expected, &[NEVER_REVERTED], &raw, proof.value()), Ok(()));
                took
            };
            let [median, most] = percentiles(&mut (0..500).map(prove).collect::<Vec<_>>());
            format!("{what} {median:.0} µs, 99 % {most:.0} µs")
        });
        let proofs: Vec<String> = proofs.collect();
        println!(
            "  tip - {below}: trees in {took:.0} ms, {cpu:.0} ms of CPU time, {:.1} MB; then, CPU time of {}",
            trees.memory_bytes() as f64 / 1e6,
            proofs.join("; ")
        );
        // As if too much had changed: the trees are computed from all rows.
        if below == last {
            let mut trees = EarlierTrees::new(&reader, height);
            trees.begin(None);
            let (mut copies, mut longest, mut is_copied) = (0, Duration::ZERO, false);
            let begun = thread_cpu();
            while !is_copied {
                let begun = thread_cpu();
                is_copied = trees.copy(&net.app.read());
                (copies, longest) = (copies + 1, longest.max(thread_cpu() - begun));
            }
            trees.end_copy(false);
            assert!(trees.read(&reader, &mut || true) && trees.app_hash() == Some(expected));
            println!(
                "  … from all rows: {:.0} ms of CPU time; {copies} copies under the lock, the longest {:.0} µs",
                (thread_cpu() - begun).as_secs_f64() * 1e3,
                longest.as_secs_f64() * 1e6
            );
        }
    }
    // Blocks while another thread computes trees all the time, and blocks without it, in turns.
    let mut times = [(); 4].map(|()| Vec::new());
    let mut computed = 0;
    for turn in 0..8 {
        let is_busy = turn % 4 == 1 || turn % 4 == 2;
        let is_over = Arc::new(AtomicBool::new(false));
        let worker = is_busy.then(|| {
            let (store, app, is_over) = (net.store.clone(), net.app.clone(), is_over.clone());
            thread::spawn(move || compute_until(&store, &app, last, &is_over))
        });
        for block in 0..150 {
            let [executed, stored, committed, cpu] = net.block(FEW_TRANSFERS, block * FEW_TRANSFERS);
            times[usize::from(is_busy)].push(executed + stored + committed);
            times[2 + usize::from(is_busy)].push(cpu);
        }
        is_over.store(true, Ordering::Relaxed);
        computed += worker.map_or(0, |worker| worker.join().expect("it does not panic"));
    }
    let [alone, beside, cpu_alone, cpu_beside] = times.each_mut().map(|times| percentiles(times)[0]);
    println!(
        "  a block of {FEW_TRANSFERS} transfers: {alone:.0} µs, {cpu_alone:.0} µs of CPU time; beside a thread that computed trees of {computed} heights: {beside:.0} µs, {cpu_beside:.0} µs of CPU time"
    );
}

/// Computes the trees of a height below the tip, again and again. Returns how often it did.
fn compute_until(store: &Store<RocksKv>, app: &LiveApp, below: u64, is_over: &AtomicBool) -> u64 {
    let mut computed = 0;
    while !is_over.load(Ordering::Relaxed) {
        let height = Height(store.tip().expect("it has a state").height.0 - below);
        let reader = store.reader_at(height).expect("it is kept");
        let mut trees = EarlierTrees::new(&reader, height);
        let is_complete =
            prepare_earlier(&mut trees, None, store, app, &reader, &mut || !is_over.load(Ordering::Relaxed));
        computed += u64::from(is_complete.expect("reads"));
    }
    computed
}
