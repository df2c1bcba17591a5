//! Proves that the stored hashes of trees are those of one height, whatever happens, and are dropped when a rewind passes
//! their height.

use std::collections::BTreeMap;

use storage::{Fault, Kv, MemDisk, Store, StoreError};
use types::{Height, WriteSet};

use crate::chain::{Chain, MemRig, Rig, chain_id, open, writes};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn read<K: Kv>(store: &Store<K>) -> Option<(Height, Rows)> {
    let mut rows = Rows::new();
    let height = store.read_trees(&mut |key, value| rows.insert(key.to_vec(), value.to_vec()).is_none()).unwrap();
    assert_eq!(height, store.trees_height().unwrap());
    Some((height?, rows))
}

/// The rows of a height: each names the height that changed it.
fn rows_at(height: u64) -> Rows {
    let row = |n: u64| {
        (n * 7 <= height * 20).then(|| (n.to_be_bytes().to_vec(), (height - height % (n + 1)).to_be_bytes().to_vec()))
    };
    (0..20).filter_map(row).collect()
}

/// The changes from the rows of one height to those of another.
fn changes(from: u64, to: u64) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let (before, after) = (rows_at(from), rows_at(to));
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), None));
    let new = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    gone.chain(new.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

fn all(height: u64) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
    rows_at(height).into_iter().map(|(key, value)| (key, Some(value)))
}

fn the_trees_move_from_height_to_height<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    assert_eq!(read(&store), None);
    store.replace_trees(Height(0), all(0)).unwrap();
    for height in 1..8 {
        chain.commit(&store, writes([(b"a", Some(b"1"))]));
        store.update_trees(Height(height), changes(height - 1, height)).unwrap();
        assert_eq!(read(&store), Some((Height(height), rows_at(height))));
    }
    store.replace_trees(Height(3), all(3)).unwrap();
    assert_eq!(read(&store), Some((Height(3), rows_at(3))));
    drop(store);
    assert_eq!(read(&open(&rig)), Some((Height(3), rows_at(3))));
}

fn a_rewind_drops_the_trees_of_a_height_that_it_removes<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    (0..9).for_each(|_| drop(chain.commit(&store, writes([(b"a", Some(b"1"))]))));
    store.replace_trees(Height(5), all(5)).unwrap();
    store.rewind(Height(5)).unwrap();
    assert_eq!(read(&store), Some((Height(5), rows_at(5))), "the state of that height is still there");
    store.rewind(Height(4)).unwrap();
    assert_eq!(read(&store), None);
    store.replace_trees(Height(4), all(4)).unwrap();
    assert_eq!(read(&store), Some((Height(4), rows_at(4))), "nothing of the dropped ones is left");
}

on_both!(the_trees_move_from_height_to_height, a_rewind_drops_the_trees_of_a_height_that_it_removes);

/// A life of a node: the trees are computed at the start, then follow the chain; at last it is rewound.
fn live<K: Kv>(store: &Store<K>, chain: &mut Chain) -> Result<(), StoreError> {
    store.replace_trees(Height(0), all(0))?;
    for height in 1..6 {
        let made = chain.next(writes([(b"a", Some(b"1"))]), Vec::new());
        store.commit_block(&made.batch())?;
        store.update_trees(Height(height), changes(height - 1, height))?;
    }
    store.sync()?;
    store.rewind(Height(3))?;
    Ok(())
}

#[test]
fn a_crash_at_any_write_leaves_the_trees_of_one_height_or_none() {
    let writes_of_a_life = {
        let rig = MemRig::new();
        let store = open(&rig);
        let mut chain = Chain::start(&store, 1, WriteSet::default());
        let before = store.kv().stats().batches;
        live(&store, &mut chain).unwrap();
        store.kv().stats().batches - before
    };
    for (nth, fault) in (0..writes_of_a_life).flat_map(|nth| [(nth, Fault::Lost), (nth, Fault::Kept)]) {
        // `None` is a crash of the process, else so many unsynced writes survive a crash of the machine.
        for power in [None, Some(0), Some(1), Some(2), Some(5)] {
            let disk = MemDisk::new();
            let store = Store::open(disk.open(), &chain_id()).unwrap();
            let mut chain = Chain::start(&store, 1, WriteSet::default());
            disk.fail_write(nth, fault);
            live(&store, &mut chain).unwrap_err();
            if let Some(keep) = power {
                disk.crash(keep);
            }
            let store = Store::open(disk.open(), &chain_id()).unwrap();
            let tip = store.tip().unwrap().height;
            if let Some((height, rows)) = read(&store) {
                assert!(height <= tip, "write {nth}, {fault:?}, {power:?}: trees of {height}, the tip is {tip}");
                assert_eq!(rows, rows_at(height.0), "write {nth}, {fault:?}, {power:?}");
            }
        }
    }
}
