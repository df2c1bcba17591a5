//! A prune that is killed or meets damage: what is kept reads as before, what is not is refused.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use app::App;
use serde_json::Value;
use storage::{FORGET_STEP, Kv, RocksKv, Store, StoreError};
use types::{BlockId, ChainId, Height, Reader};

use crate::{
    cairn, copy_folder, database,
    disk::{Small, fill, tables},
    dying::Dying,
    processes::{Homes, Validator},
    store_of, succeeds,
};

/// Number of last heights that the chain obliges a node to keep.
const RETAIN: u64 = 20;
/// Setting with which a node keeps no more than that.
const PRUNES: &str = "--storage.retain_time=0s";
/// Namespace and key whose value changes.
const NS: &str = "shared/notes";
const KEY: &str = "plan";

type State = BTreeMap<Vec<u8>, Vec<u8>>;

fn chain_id() -> ChainId {
    ChainId::new("processes").unwrap()
}

/// The home of a stopped node that has pruned nothing, and what its store answers.
struct Whole {
    homes: Homes,
    tip: Height,
    /// The state after each height, beginning with the genesis state.
    states: Vec<State>,
    ids: BTreeMap<Height, BlockId>,
    /// What `cairn kv get` prints for the key at some heights.
    values: BTreeMap<u64, String>,
}

fn kv_get(node: &Validator, home: &Path, height: u64) -> (i32, String) {
    cairn(&["kv", "get", NS, KEY, "--height", &height.to_string(), "--node", &node.rpc], home)
}

fn state_at<K: Kv>(store: &Store<K>, height: Height) -> Result<State, StoreError> {
    let (reader, mut rows) = (store.reader_at(height)?, State::new());
    reader.scan(b"", &mut |key, value| rows.insert(key.to_vec(), value.to_vec()).is_none());
    reader.check()?;
    Ok(rows)
}

impl Whole {
    fn new() -> Self {
        let homes = Homes::with(1, Duration::from_millis(10), |options| options.params.retain_blocks = RETAIN);
        let home = homes.home(0);
        let mut node = homes.start(0);
        let rpc = node.rpc.clone();
        let run = |args: &[&str]| succeeds(&[args, &["--from", "alice", "--node", &rpc][..]].concat(), &home);
        run(&["ns", "create", NS, "--shared"]);
        // Deletions in each step of the window are removed by the prune itself.
        for step in 0..3 {
            for n in 0..3 {
                run(&["kv", "put", NS, KEY, &format!("value {step}.{n}")]);
            }
            run(&["kv", "put", NS, &format!("gone {step}"), "x"]);
            run(&["kv", "del", NS, &format!("gone {step}")]);
            node.wait_for_height((step + 1) * FORGET_STEP);
        }
        run(&["kv", "put", NS, KEY, "last"]);
        let last = node.height();
        node.wait_for_height(last + 10);
        let values = (1..=last + 5).step_by(8).map(|height| (height, kv_get(&node, &home, height)));
        let values = values.filter(|(_, (code, _))| *code == 0).map(|(height, (_, text))| (height, text)).collect();
        let (code, log) = node.terminate();
        assert_eq!(code, Some(0), "{log}");
        let store = store_of(&home);
        assert_eq!(store.earliest(), Height(1));
        store.kv().compact().unwrap();
        let tip = store.tip().unwrap().height;
        let states = (0..=tip.0).map(|height| state_at(&store, Height(height)).unwrap()).collect();
        let ids = (1..=tip.0).map(|height| (Height(height), store.head(Height(height)).unwrap().block_id)).collect();
        Self { homes, tip, states, ids, values }
    }

    /// Returns a copy of the home in a new folder.
    fn copy(&self, name: &str) -> std::path::PathBuf {
        let to = self.homes.folder.path().join(name);
        copy_folder(&self.homes.home(0), &to);
        to
    }

    /// The first height to keep of each prune, as the node would do it in two turns.
    fn steps(&self) -> [Height; 2] {
        [Height(1 + FORGET_STEP), Height(self.tip.0 + 1 - RETAIN)]
    }

    /// Checks that each height that the store says it keeps reads as before, and that all others are refused. Damage may
    /// make a read fail, if `is_damaged`; the number of these is returned.
    fn check<K: Kv>(&self, store: &Store<K>, is_damaged: bool) -> usize {
        let (earliest, tip) = (store.earliest(), store.tip().unwrap().height);
        assert_eq!(tip, self.tip);
        let mut failed = 0;
        let mut is_failure = |error: &StoreError| {
            assert!(is_damaged && matches!(error, StoreError::Damaged { .. }), "{error}");
            failed += 1;
        };
        for height in (0..=tip.0).map(Height) {
            let is_kept = height.next() >= earliest;
            match state_at(store, height) {
                Ok(state) => assert!(is_kept && state == self.states[height.0 as usize], "the state at {height}"),
                Err(StoreError::Pruned { .. }) => assert!(!is_kept, "the state at {height}"),
                Err(error) => is_failure(&error),
            }
        }
        for (height, id) in &self.ids {
            let is_kept = *height >= earliest;
            match store.block(*height) {
                Ok(block) => assert!(is_kept && block.header.hash() == id.hash, "block {height}"),
                Err(StoreError::Pruned { .. }) => assert!(!is_kept, "block {height}"),
                Err(error) => is_failure(&error),
            }
        }
        failed
    }

    /// Checks what a node on this home answers about heights that are kept and that are not.
    fn check_answers(&self, node: &Validator, home: &Path, is_damaged: bool) {
        let earliest = earliest_of(node);
        for (height, expected) in &self.values {
            // The window may move between the two questions.
            let (code, text) = kv_get(node, home, *height);
            let is_pruned = text.contains("E_HEIGHT_PRUNED: ");
            if code == 0 {
                assert!(text == *expected && height + 1 >= earliest, "{height}: {text}");
            } else {
                assert!(is_damaged || is_pruned && height + 1 < earliest_of(node), "{height}: {text}");
            }
        }
        if earliest > 2 {
            let (code, text) = kv_get(node, home, earliest - 2);
            assert!(code == 1 && text.contains("E_HEIGHT_PRUNED: "), "{code}: {text}");
        }
    }
}

fn earliest_of(node: &Validator) -> u64 {
    let status: Value = node.call("status");
    status["sync_info"]["earliest_block_height"].as_str().unwrap().parse().unwrap()
}

/// Checks that the lowest heights that a stopped node keeps have the state that the chain agreed on, and that nothing in
/// its store is damaged.
fn check_lowest(home: &Path) -> Height {
    let store = store_of(home);
    let (earliest, tip) = (store.earliest(), store.tip().unwrap().height);
    for height in [earliest.0 - 1, earliest.0, earliest.0 + RETAIN / 2, tip.0 - 1].map(Height) {
        let state = App::open(&store.reader_at(height).unwrap(), chain_id(), height);
        assert_eq!(state.app_hash(), store.header(height.next()).unwrap().app_hash, "height {height}");
    }
    if earliest > Height(1) {
        let below = Height(earliest.0 - 2);
        assert!(matches!(store.reader_at(below), Err(StoreError::Pruned { .. })), "{below} is below {earliest}");
    }
    drop(store);
    assert!(succeeds(&["verify", "store"], home).contains("are whole"));
    earliest
}

const CHILD: &str = "CAIRN_TEST_PRUNE";

/// Not a test by itself: the process that `kill_9_at_any_step_of_a_prune…` starts and that kills itself.
#[test]
fn child_that_kills_itself() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let [path, nth, first, second] = told.split('|').collect::<Vec<_>>().try_into().unwrap();
    let store = Store::open(Dying::new(RocksKv::open(Path::new(path)).unwrap(), false), &chain_id()).unwrap();
    store.kv().die_at(nth.parse().unwrap());
    for retain in [first, second] {
        store.prune(Height(retain.parse().unwrap())).unwrap();
    }
}

#[test]
fn kill_9_at_any_step_of_a_prune_leaves_a_whole_store_and_a_node_that_starts() {
    let whole = Whole::new();
    let [first, second] = whole.steps();
    let mut starts = 0;
    for nth in 0.. {
        let home = whole.copy("killed");
        let told = format!("{}|{nth}|{first}|{second}", database(&home).display());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "prune::child_that_kills_itself"])
            .env(CHILD, told)
            .output()
            .unwrap();
        let is_killed = child.status.code().is_none();
        assert!(is_killed || child.status.success(), "{child:?}");
        let store = store_of(&home);
        let earliest = store.earliest();
        assert!([Height(1), first, second].contains(&earliest), "killed at step {nth}: {earliest}");
        assert!(is_killed || earliest == second);
        assert_eq!(whole.check(&store, false), 0);
        assert_eq!(store.verification().finish().findings, [], "killed at step {nth}");
        drop(store);
        // A node starts, on the home of the first step, of some in the middle, and of the last one.
        if nth % 12 == 0 || !is_killed {
            let node = Validator::start(&home);
            assert_eq!(earliest_of(&node), earliest.0);
            whole.check_answers(&node, &home, false);
            let (code, log) = node.terminate();
            assert_eq!(code, Some(0), "{log}");
            assert_eq!(check_lowest(&home), earliest);
            starts += 1;
        }
        // The prune is done again, and the window does not depend on the interruption.
        let store = store_of(&home);
        store.prune(second).unwrap();
        store.kv().compact().unwrap();
        assert_eq!(store.earliest(), second);
        drop(store);
        check_lowest(&home);
        fs::remove_dir_all(&home).unwrap();
        if !is_killed {
            assert!(nth > 30 && starts > 3, "{nth} steps: per prune one row, an order for each family, and deletions");
            break;
        }
    }
}

/// The process is killed when the start of its window has moved in memory, while its pruner deletes.
#[test]
fn a_node_that_is_killed_while_it_prunes_starts_again() {
    let whole = Whole::new();
    let home = whole.homes.home(0);
    let mut earliest = Height(1);
    for _ in 0..3 {
        let mut node = Validator::spawn(&home, &[PRUNES]).listening();
        node.wait_until("the window moves", |node| Height(earliest_of(node)) > earliest);
        node.kill();
        let stored = check_lowest(&home);
        assert!(stored >= earliest, "the window never moves back: {stored}, was {earliest}");
        earliest = stored;
    }
    let mut node = Validator::start(&home);
    let height = node.height();
    node.wait_for_height(height + 2);
    let (code, text) = kv_get(&node, &home, 1);
    assert!(code == 1 && text.contains("E_HEIGHT_PRUNED: "), "{code}: {text}");
    assert_eq!(kv_get(&node, &home, earliest_of(&node)).0, 0);
    assert_eq!(node.terminate().0, Some(0));
}

/// Damage is there before the prune, or comes after it: no answer is wrong, and each failure is a sentence.
#[test]
fn damaged_files_during_and_after_a_prune_are_a_sentence_and_never_a_wrong_answer() {
    let whole = Whole::new();
    let [first, second] = whole.steps();
    let pruned = whole.copy("pruned");
    store_of(&pruned).prune(first).unwrap();
    store_of(&pruned).kv().compact().unwrap();
    let (mut failed, mut ended) = (0, 0);
    for (from, is_after) in [(whole.homes.home(0), false), (pruned, true)] {
        for (nth, file) in tables(&from).into_iter().enumerate() {
            let home = whole.homes.folder.path().join("damaged");
            copy_folder(&from, &home);
            let copy = database(&home).join(file.file_name().unwrap());
            let mut bytes = fs::read(&copy).unwrap();
            let middle = bytes.len() / 3;
            bytes[middle] ^= 1;
            fs::write(&copy, &bytes).unwrap();
            // The process itself, for some of the files.
            if nth % 3 == 0 {
                ended += u64::from(run_damaged(&whole, &home));
                fs::remove_dir_all(&home).unwrap();
                copy_folder(&from, &home);
                fs::write(&copy, &bytes).unwrap();
            }
            let store = RocksKv::open(&database(&home)).and_then(|kv| Store::open(kv, &chain_id()));
            match store {
                Ok(store) => {
                    if is_after {
                        failed += whole.check(&store, true);
                    }
                    if let Err(error) = store.prune(second) {
                        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
                        failed += 1;
                    }
                    assert_eq!(store.earliest(), second);
                    failed += whole.check(&store, true);
                }
                Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
            }
            fs::remove_dir_all(&home).unwrap();
        }
    }
    assert!(failed > 10, "{failed} reads met the damage, {ended} nodes ended");
}

/// RocksDB reserves space for its log when it opens, so the disk has room to open the store and not to reserve, and is
/// filled up afterwards. The log's first page has room for some of the writes.
#[test]
#[expect(clippy::print_stderr, reason = "the test runner shows why the test did nothing")]
fn a_full_disk_during_a_prune_is_a_sentence_and_the_prune_ends_when_there_is_space() {
    const TO_OPEN: u64 = 2 << 20;
    let whole = Whole::new();
    let [_, second] = whole.steps();
    let mount = whole.homes.folder.path().join("small");
    let (home, to_open, rest) = (mount.join("home"), mount.join("to open"), mount.join("rest"));
    let mut refused = 0;
    for free in [0, 1, 2, 4, 16].map(|pages: u64| pages * 4096) {
        let Some(small) = Small::mount(&mount, 64 << 20) else {
            return eprintln!("skipped: mounting a tmpfs needs root");
        };
        copy_folder(&whole.homes.home(0), &home);
        fill(&to_open, TO_OPEN);
        let store = store_of(&home);
        fill(&rest, free);
        // One height at a time, as a node does.
        if let Err(error) = (2..=second.0).try_for_each(|retain| store.prune(Height(retain))) {
            let is_full = matches!(&error, StoreError::Io { reason, .. } if reason.contains("No space left"));
            assert!(is_full, "{free} free: {error}");
            refused += 1;
        }
        drop(store);
        fs::remove_file(&rest).unwrap();
        fs::remove_file(&to_open).unwrap();
        let store = store_of(&home);
        assert!(store.earliest() <= second, "{free} free: {}", store.earliest());
        assert_eq!(whole.check(&store, false), 0);
        store.prune(second).unwrap();
        store.kv().compact().unwrap();
        assert_eq!(store.earliest(), second);
        drop(store);
        assert_eq!(check_lowest(&home), second);
        drop(small);
    }
    assert!(refused > 1, "the disk was never full");
    let _small = Small::mount(&mount, 64 << 20).unwrap();
    copy_folder(&whole.homes.home(0), &home);
    fill(&to_open, 3 * TO_OPEN);
    let node = Validator::spawn(&home, &[PRUNES]).listening();
    fill(&rest, 0);
    let (code, log) = node.ended();
    assert!(code == Some(74) && log.to_lowercase().contains("space"), "{code:?}: {log}");
    fs::remove_file(&rest).unwrap();
    fs::remove_file(&to_open).unwrap();
    let stopped = check_lowest(&home);
    let mut node = Validator::spawn(&home, &[PRUNES]).listening();
    node.wait_until("it prunes", |node| Height(earliest_of(node)) > stopped);
    assert_eq!(node.terminate().0, Some(0));
    check_lowest(&home);
}

/// Runs a pruning node on a damaged home; returns true if it ended with a sentence.
fn run_damaged(whole: &Whole, home: &Path) -> bool {
    let output = match Validator::spawn(home, &[PRUNES]).listening_or_ended() {
        Err(ended) => ended,
        Ok(node) => {
            // Metrics of the state leave out what cannot be read.
            let _ = ureq::get(&node.metrics).call();
            if ureq::get(format!("{}/status", node.rpc)).call().is_ok() {
                let asked = whole.values.keys().map(|height| (*height, kv_get(&node, home, *height)));
                for (height, (code, text)) in asked {
                    assert!(code != 0 || text == whole.values[&height], "{height}: {text}");
                    assert!(code == 0 || text.contains("error: "), "{height}: {text}");
                }
            }
            node.terminate()
        }
    };
    let (code, log) = output;
    assert!(!log.contains("panicked"), "{log}");
    assert!(code == Some(0) || code == Some(74) && log.contains("damaged"), "{code:?}: {log}");
    code != Some(0)
}
