//! Proves that the store stays at a whole height after crashes at every write and after power losses that revert
//! unsynced writes.

use storage::{Cf, FORGET_STEP, Fault, Kv, MemDisk, MemKv, Store, StoreError};
use types::{HardState, Height, Reader, Round, Step, WriteSet};

use crate::chain::{Chain, PART, chain_id, changed_since, revertible, writes};

fn open(disk: &MemDisk) -> Store<MemKv> {
    Store::open(disk.open(), &chain_id()).expect("opens after any crash")
}

fn row(n: u64) -> WriteSet {
    let value = n.to_be_bytes();
    let [counter, often] = [revertible(b"counter"), revertible(&[n as u8 % 3])];
    let often = (&often[..], n.is_multiple_of(2).then_some(&b"x"[..]));
    writes([(b"counter", Some(&value)), (&value, Some(b"x")), (&counter, Some(&value)), often])
}

/// Simulates a validator: per height two write-aheads, the batch, and a prune. Stops at the first error.
fn live(store: &Store<MemKv>, chain: &mut Chain, heights: u64) -> Result<(), StoreError> {
    for _ in 0..heights {
        let made = chain.next(row(chain.height.0 + 1), vec![vec![7; 40]]);
        let prevoted = HardState { step: Step::Prevote, ..made.hard_state() };
        store.write_ahead(&prevoted, &[])?;
        store.write_ahead(&made.hard_state(), &[(made.id, &made.bytes)])?;
        store.commit_block(&made.batch())?;
        store.prune(Height(chain.height.0.saturating_sub(3)))?;
    }
    Ok(())
}

/// Checks that the store is at a whole height of the chain and returns all of its data.
fn check_whole(store: &Store<MemKv>, chain: &Chain) {
    let tip = store.tip().expect("the genesis was synced");
    if let Some(made) = chain.made.get(&tip.height) {
        assert_eq!(tip.block_id, Some(made.id));
        assert_eq!(store.block(tip.height).unwrap(), made.block);
        assert_eq!(store.results(tip.height).unwrap(), made.results);
        assert_eq!(store.commit(tip.height).unwrap(), made.seen_commit);
        let below = tip.height.prev().unwrap().max(store.earliest().prev().unwrap());
        let reader = store.reader().unwrap();
        assert_eq!(changed_since(&reader, below, b""), chain.changes(below, tip.height, b""));
        let below = store.earliest().prev().unwrap();
        assert_eq!(changed_since(&reader, below, PART), chain.changes(below, tip.height, PART));
        let tx = made.block.tx_ids().next().unwrap();
        assert_eq!(store.tx(&tx).unwrap(), Some((tip.height, 0)));
    }
    let mut rows = std::collections::BTreeMap::new();
    store.reader().unwrap().scan(b"", &mut |key, value| rows.insert(key.to_vec(), value.to_vec()).is_none());
    assert_eq!(rows, chain.states[&tip.height]);
    assert_eq!(store.validators(tip.height.next()).unwrap(), chain.validators[&tip.height.next()]);
    let earliest = store.earliest().prev().unwrap();
    for height in earliest.0..=tip.height.0 {
        let reader = store.reader_at(Height(height)).unwrap();
        assert_eq!(reader.get(b"counter"), chain.states[&Height(height)].get(b"counter".as_slice()).cloned());
    }
}

#[test]
pub fn a_crash_at_any_write_leaves_a_complete_height() {
    const HEIGHTS: u64 = 5;
    let writes_of_a_life = {
        let disk = MemDisk::new();
        let store = open(&disk);
        let mut chain = Chain::start(&store, 1, row(0));
        live(&store, &mut chain, HEIGHTS).unwrap();
        store.kv().stats().batches
    };
    for fault in [Fault::Lost, Fault::Kept] {
        for nth in 0..writes_of_a_life - 2 {
            for keep in [0, 1, usize::MAX] {
                let disk = MemDisk::new();
                let store = open(&disk);
                let mut chain = Chain::start(&store, 1, row(0));
                disk.fail_write(nth, fault);
                let error = live(&store, &mut chain, HEIGHTS).expect_err("the write fails");
                assert!(matches!(error, StoreError::Io { .. }));
                assert!(live(&store, &mut chain, 1).is_err(), "after a failed write nothing is written");
                drop(store);
                disk.crash(keep);
                let store = open(&disk);
                check_whole(&store, &chain);
                // The blocks that were decided are committed again, beginning after the stored tip.
                let tip = store.tip().unwrap().height;
                for (_, made) in chain.made.range(tip.next()..).take(2) {
                    store.commit_block(&made.batch()).unwrap();
                }
                check_whole(&store, &chain);
            }
        }
    }
}

#[test]
pub fn a_crash_that_loses_the_batch_keeps_hard_state_and_pending_block() {
    let disk = MemDisk::new();
    let store = open(&disk);
    let mut chain = Chain::start(&store, 1, row(0));
    live(&store, &mut chain, 3).unwrap();
    let made = chain.next(row(4), vec![vec![9; 4000]]);
    let hard_state = HardState { round: Round(1), ..made.hard_state() };
    store.write_ahead(&hard_state, &[(made.id, &made.bytes)]).unwrap();
    store.commit_block(&made.batch()).unwrap();
    assert_eq!(store.tip().unwrap().height, Height(4));
    drop(store);
    disk.crash(0);

    let store = open(&disk);
    assert_eq!(store.tip().unwrap().height, Height(3), "exactly the height before");
    check_whole(&store, &chain);
    assert_eq!(store.hard_state().unwrap(), Some(hard_state));
    assert_eq!(
        store.pending_block(&made.id).unwrap().as_ref(),
        Some(&made.bytes),
        "what we precommitted is still here"
    );
    store.commit_block(&made.batch()).unwrap();
    check_whole(&store, &chain);
    assert_eq!(store.pending_block(&made.id).unwrap(), None);
}

#[test]
pub fn a_crash_may_take_back_several_heights_when_nothing_was_synced() {
    let disk = MemDisk::new();
    let store = open(&disk);
    let mut chain = Chain::start(&store, 1, row(0));
    for n in 1..=6 {
        chain.commit(&store, row(n));
    }
    assert_eq!(disk.unsynced(), 6);
    drop(store);
    disk.crash(2);
    let store = open(&disk);
    assert_eq!(store.tip().unwrap().height, Height(2));
    check_whole(&store, &chain);
    store.sync().unwrap();
    disk.crash(0);
    assert_eq!(open(&disk).tip().unwrap().height, Height(2));
}

#[test]
pub fn a_write_ahead_makes_the_height_before_durable() {
    let disk = MemDisk::new();
    let store = open(&disk);
    let mut chain = Chain::start(&store, 1, row(0));
    chain.commit(&store, row(1));
    assert_eq!(disk.unsynced(), 1);
    store.write_ahead(&HardState { height: Height(2), ..HardState::default() }, &[]).unwrap();
    drop(store);
    disk.crash(0);
    assert_eq!(open(&disk).tip().unwrap().height, Height(1));
}

/// A height of a validator needs two syncs, both for write-aheads and none for the batch.
#[test]
pub fn a_height_costs_two_syncs() {
    let disk = MemDisk::new();
    let store = open(&disk);
    let mut chain = Chain::start(&store, 1, row(0));
    live(&store, &mut chain, 5).unwrap(); // its first prune is synced
    let before = store.kv().stats();
    live(&store, &mut chain, 10).unwrap();
    let after = store.kv().stats();
    assert_eq!(after.syncs - before.syncs, 20);
    assert!(after.batches - before.batches <= 40);
}

#[test]
pub fn a_crash_after_pruning_does_not_restore_the_old_window() {
    let disk = MemDisk::new();
    let store = open(&disk);
    let mut chain = Chain::start(&store, 1, row(0));
    for n in 1..=FORGET_STEP + 10 {
        chain.commit(&store, row(n));
    }
    store.prune(Height(FORGET_STEP + 1)).unwrap();
    drop(store);
    disk.crash(0);
    let store = open(&disk);
    assert_eq!(store.earliest(), Height(FORGET_STEP + 1), "the window moved durably before anything was forgotten");
    check_whole(&store, &chain);
}

/// The process that follows a killed one finds a start of the window that is not durable, and deletes nothing because of it.
#[test]
pub fn a_window_that_moved_before_a_kill_can_move_back() {
    let disk = MemDisk::new();
    let store = open(&disk);
    let mut chain = Chain::start(&store, 1, row(0));
    for n in 1..=20 {
        chain.commit(&store, row(n));
    }
    store.prune(Height(5)).unwrap(); // the first one is synced
    store.prune(Height(9)).unwrap();
    drop(store);
    let store = open(&disk);
    assert_eq!(store.earliest(), Height(9));
    check_whole(&store, &chain);
    drop(store);
    disk.crash(0);
    let store = open(&disk);
    assert_eq!(store.earliest(), Height(5), "the loss of power took the move back");
    check_whole(&store, &chain);
}

#[test]
pub fn a_handle_from_before_a_crash_writes_nothing() {
    let disk = MemDisk::new();
    let old = open(&disk);
    let mut chain = Chain::start(&old, 1, row(0));
    let new = open(&disk);
    let made = chain.next(row(1), vec![]);
    assert!(matches!(old.commit_block(&made.batch()), Err(StoreError::Io { .. })));
    new.commit_block(&made.batch()).unwrap();
}

/// Keys of a megabyte, so that a rewind takes several batches.
#[test]
pub fn a_rewind_that_is_interrupted_at_any_write_is_continued() {
    let large = |n: u64| {
        let key = |byte: u8| vec![byte; 1 << 20];
        let rows = [(key(1), Some(vec![n as u8])), (key(2 + n as u8), Some(vec![1])), (key(1 + n as u8), None)];
        let mut writes = WriteSet(rows.into());
        writes.0.extend(row(n).0);
        writes
    };
    let made = MemDisk::new();
    let store = open(&made);
    let mut chain = Chain::start(&store, 1, row(0));
    for n in 1..=8 {
        chain.commit(&store, large(n));
    }
    store.sync().unwrap();
    drop(store);
    for fault in [Fault::Lost, Fault::Kept] {
        let mut interrupted = 0;
        for nth in 0.. {
            for keep in [0, 1, usize::MAX] {
                let disk = made.durable();
                let store = open(&disk);
                disk.fail_write(nth, fault);
                interrupted += u64::from(store.rewind(Height(2)).is_err());
                drop(store);
                disk.crash(keep);
                let store = open(&disk);
                store.resume_rewind().unwrap(); // the index over last changes is moved back first
                check_whole(&store, &chain);
                assert_eq!(store.rewind(Height(2)).unwrap().height, Height(2));
                check_whole(&store, &chain);
                assert_eq!(store.verification().finish().findings, []);
                for height in 3..=8 {
                    store.commit_block(&chain.made[&Height(height)].batch()).unwrap();
                }
                check_whole(&store, &chain);
            }
            if interrupted < 3 * (nth + 1) {
                assert!(nth > 3, "{nth} writes");
                break;
            }
        }
    }
}

/// A full disk refuses every write, also those of the next process, until there is space again.
#[test]
pub fn a_full_disk_leaves_a_whole_height() {
    let disk = MemDisk::new();
    let store = open(&disk);
    let mut chain = Chain::start(&store, 1, row(0));
    live(&store, &mut chain, 4).unwrap();
    store.sync().unwrap();
    disk.set_full(true);
    assert!(live(&store, &mut chain, 1).is_err() && disk.has_failed());
    drop(store);
    let store = open(&disk);
    assert!(!disk.has_failed(), "a new process has not written yet");
    check_whole(&store, &chain);
    assert!(store.prune(chain.height).is_err() || store.sync().is_err(), "there is still no space");
    drop(store);
    disk.set_full(false);
    let store = open(&disk);
    assert_eq!(store.tip().unwrap().height, Height(4));
    let made = chain.made[&Height(5)].clone();
    store.commit_block(&made.batch()).unwrap();
    check_whole(&store, &chain);
}

/// Each height deletes the row of the height before, so every step of the window removes deletions.
#[test]
pub fn a_crash_while_deletions_are_removed_brings_nothing_back() {
    let short =
        |n: u64| writes([(&n.to_be_bytes(), Some(b"x")), (&(n - 1).to_be_bytes(), None), (b"counter", Some(b"c"))]);
    let made = MemDisk::new();
    let store = open(&made);
    let mut chain = Chain::start(&store, 1, row(0));
    for n in 1..=5 * FORGET_STEP {
        chain.commit(&store, short(n));
    }
    store.sync().unwrap();
    drop(store);
    let steps = [1, 2, 3].map(|step| Height(step * FORGET_STEP + 1));
    for fault in [Fault::Lost, Fault::Kept] {
        for nth in 0..6 {
            for keep in [0, 1, usize::MAX] {
                let disk = made.durable();
                let store = open(&disk);
                disk.fail_write(nth, fault);
                let pruned = steps.iter().try_for_each(|step| store.prune(*step));
                assert!(pruned.is_err());
                drop(store);
                disk.crash(keep);
                let store = open(&disk);
                check_whole(&store, &chain);
                store.prune(chain.height).unwrap();
                check_whole(&store, &chain);
                let rows = disk.dump().iter().filter(|(cf, _, _)| *cf == Cf::State).count();
                assert_eq!(
                    rows, 7,
                    "two versions of the counter and of the deleted row, the last row, two rows of the genesis"
                );
            }
        }
    }
}
