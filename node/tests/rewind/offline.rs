//! A rewind as a library call on RocksDB, on a chain that was made for the test: killed at any step, and compared with one
//! in memory.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use replica::{RewindError, RewindPlan, Rewound};
use storage::{BlocksAbove, Kv, RocksKv, Store};
use types::Height;

use crate::{
    chain::{Chain, Rows, chain_id, dump, fill},
    dying::Dying,
};

const TIP: u64 = 9;
const TO: Height = Height(4);

fn rewind<K: Kv>(store: &Store<K>, to: Height, blocks: BlocksAbove) -> Result<Rewound, RewindError> {
    RewindPlan::new(store, app::UPGRADES, to, blocks, &mut |_| {})?.run(store, &mut |_| {})
}

fn on_disk(path: &Path, rows: &Rows) -> PathBuf {
    let path = path.join("db");
    fill(&RocksKv::open(&path).unwrap(), rows);
    path
}

const CHILD: &str = "CAIRN_TEST_REWIND";

/// Not a test by itself: the process that `kill_9_at_any_step…` starts and that kills itself.
#[test]
fn child_that_kills_itself() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let [path, nth, after, drops] = told.split('|').collect::<Vec<_>>().try_into().unwrap();
    let kv = RocksKv::open(Path::new(path)).unwrap();
    let store = Store::open(Dying::new(kv, after == "true"), &chain_id()).unwrap();
    store.kv().die_at(nth.parse().unwrap());
    let blocks = if drops == "true" { BlocksAbove::Dropped } else { BlocksAbove::Kept };
    rewind(&store, TO, blocks).unwrap();
}

#[test]
fn kill_9_at_any_step_and_the_same_rewind_again_give_the_same_rows() {
    let rows = Chain::with(TIP, None).disk.dump();
    for blocks in [BlocksAbove::Kept, BlocksAbove::Dropped] {
        let folder = tempfile::tempdir().unwrap();
        let path = on_disk(folder.path(), &rows);
        rewind(&Store::open(RocksKv::open(&path).unwrap(), &chain_id()).unwrap(), TO, blocks).unwrap();
        let expected = dump(&RocksKv::open(&path).unwrap());
        let mut killed = 0;
        for nth in 0.. {
            let mut ended = false;
            for after in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let path = on_disk(folder.path(), &rows);
                let told = format!("{}|{nth}|{after}|{}", path.display(), blocks == BlocksAbove::Dropped);
                let child = Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "offline::child_that_kills_itself"])
                    .env(CHILD, told)
                    .output()
                    .unwrap();
                ended |= child.status.success();
                killed += u64::from(!child.status.success());
                assert!(child.status.success() || child.status.code().is_none(), "{child:?}");
                let store = Store::open(RocksKv::open(&path).unwrap(), &chain_id()).unwrap();
                let is_done = store.unfinished_rewind().is_none() && store.tip().unwrap().height == TO;
                if !is_done {
                    rewind(&store, TO, blocks).unwrap();
                }
                assert_eq!(store.unfinished_rewind(), None);
                assert!(dump(store.kv()) == expected, "killed at write {nth}, after it: {after}, {blocks:?}");
            }
            if ended {
                break;
            }
        }
        let steps = if blocks == BlocksAbove::Kept { 3 + TIP - TO.0 } else { 4 };
        assert_eq!(killed, 2 * steps, "{blocks:?}");
    }
}

#[test]
fn both_databases_have_the_same_rows_after_a_replay() {
    let chain = Chain::with(TIP, None);
    let folder = tempfile::tempdir().unwrap();
    let path = on_disk(folder.path(), &chain.disk.dump());
    let store = Store::open(RocksKv::open(&path).unwrap(), &chain_id()).unwrap();
    rewind(&store, TO, BlocksAbove::Kept).unwrap();
    assert!(dump(store.kv()) == chain.disk.dump());
}
