//! Proves that a rewind leaves nothing of the heights above it, whatever interrupts it and whatever these heights wrote.

use storage::{Batch, BlocksAbove, Cf, Durability, Fault, Kv, MemDisk, MemKv, Store, StoreError};
use types::{Event, Height, Power, ValidatorUpdate, WriteSet};

use crate::chain::{Chain, Made, chain_id, public_key, writes};

const TIP: u64 = 8;
const TO: Height = Height(3);

/// Start of the keys of the blocks above the tip.
const ABOVE: [u8; 8] = (TIP + 1).to_be_bytes();

fn rows_of(disk: &MemDisk, cf: Cf) -> impl Iterator<Item = Vec<u8>> {
    disk.dump().into_iter().filter(move |row| row.0 == cf).map(|(_, key, _)| key)
}

fn open(disk: &MemDisk) -> Store<MemKv> {
    Store::open(disk.open(), &chain_id()).unwrap()
}

/// Returns the rows of a height: of a namespace one that changes always, one of this height, and one that comes and goes.
fn state(n: u64) -> WriteSet {
    let of_namespace = |key: u8| [&b"r\0\0\0\x01"[..], &[key]].concat();
    let (hot, own, rare) = (of_namespace(0), of_namespace(n as u8), of_namespace(100));
    writes([
        (b"counter", Some(&n.to_be_bytes())),
        (&n.to_be_bytes(), Some(b"x")),
        (&hot, Some(&n.to_be_bytes())),
        (&own, Some(b"x")),
        (&rare, (!n.is_multiple_of(3)).then_some(b"x")),
    ])
}

/// Makes a height with a transaction and an indexed event.
fn next(chain: &mut Chain, n: u64) -> Made {
    let mut made = chain.next(state(n), vec![n.to_be_bytes().to_vec()]);
    made.results.txs[0].events = vec![Event::new("pay", [("to", format!("{n}"), true)])];
    made
}

/// Returns a disk with a chain up to [`TIP`], all of it durable, and the chain.
fn made() -> (MemDisk, Vec<Made>) {
    let disk = MemDisk::new();
    let store = open(&disk);
    let mut chain = Chain::start(&store, 1, state(0));
    let heights: Vec<Made> = (1..=TIP).map(|n| next(&mut chain, n)).collect();
    for made in &heights {
        store.commit_block(&made.batch()).unwrap();
    }
    // A block above the tip that this node precommitted is part of its signing state.
    let pending = next(&mut chain, TIP + 1);
    store.write_ahead(&pending.hard_state(), &[(pending.id, &pending.bytes)]).unwrap();
    (disk, heights)
}

/// Commits the heights above the tip again, up to [`TIP`].
fn replay(store: &Store<MemKv>, heights: &[Made]) -> Result<(), StoreError> {
    let tip = store.tip().unwrap().height.0 as usize;
    heights[tip..].iter().try_for_each(|made| store.commit_block(&made.batch()).map(drop))?;
    store.sync()
}

#[test]
pub fn a_replay_that_is_interrupted_at_any_write_ends_as_if_never_rewound() {
    let (made, heights) = made();
    for fault in [Fault::Lost, Fault::Kept] {
        for nth in 0..=TIP - TO.0 + 2 {
            for keep in [0, 1, usize::MAX] {
                let disk = made.copy();
                let store = open(&disk);
                disk.fail_write(nth, fault);
                let stopped = store.begin_rewind(TO, BlocksAbove::Kept).and_then(|()| replay(&store, &heights));
                assert!(stopped.is_err(), "write {nth}");
                drop(store);
                disk.crash(keep);
                let store = open(&disk);
                match store.unfinished_rewind() {
                    Some(rewind) => assert_eq!((rewind.to, rewind.from.height.0, rewind.rows_to.0), (TO, TIP, TIP)),
                    None => assert_eq!(store.tip().unwrap().height.0, TIP, "not begun, or at its end"),
                }
                assert_eq!(store.verification().finish().findings, [], "no row is damaged meanwhile");
                replay(&store, &heights).unwrap();
                assert_eq!(store.unfinished_rewind(), None);
                assert!(disk.dump() == made.dump(), "write {nth}, {keep} kept");
            }
        }
    }
}

/// What the key of this node has signed is not undone, whatever happens to the blocks.
#[test]
pub fn a_rewind_keeps_what_was_signed() {
    for blocks in [BlocksAbove::Kept, BlocksAbove::Dropped] {
        let (disk, _) = made();
        let store = open(&disk);
        store.raise_signing_floor(Height(TIP + 5)).unwrap();
        let signed = store.hard_state().unwrap().unwrap();
        let pending: Vec<Vec<u8>> = rows_of(&disk, Cf::Blocks).filter(|key| key.starts_with(&ABOVE)).collect();
        assert_eq!((signed.height.0, pending.len()), (TIP + 1, 1));
        store.begin_rewind(TO, blocks).unwrap();
        if blocks == BlocksAbove::Dropped {
            store.drop_undone(&mut |_| {}).unwrap();
        }
        for store in [store, open(&disk)] {
            assert_eq!(store.hard_state().unwrap().as_ref(), Some(&signed), "the hard state");
            assert_eq!(store.signing_floor(), Height(TIP + 5), "the signing floor");
            let kept = rows_of(&disk, Cf::Blocks).filter(|key| key.starts_with(&ABOVE));
            assert!(kept.eq(pending.iter().cloned()), "the block that was precommitted");
        }
    }
}

/// The rows are those of a chain that never was higher; what was signed is as before.
#[test]
pub fn dropped_heights_leave_no_row() {
    let (disk, heights) = made();
    open(&disk).rewind(TO).unwrap();
    let plain = MemDisk::new();
    let store = open(&plain);
    let mut chain = Chain::start(&store, 1, state(0));
    for made in &heights[..TO.0 as usize] {
        store.commit_block(&made.batch()).unwrap();
    }
    let pending = (1..=TIP + 1).map(|n| next(&mut chain, n)).last().unwrap();
    store.write_ahead(&pending.hard_state(), &[(pending.id, &pending.bytes)]).unwrap();
    for cf in Cf::ALL {
        let left: Vec<Vec<u8>> = rows_of(&disk, cf).collect();
        assert!(rows_of(&plain, cf).eq(left), "rows of dropped heights are left in {}", cf.name());
    }
    assert!(disk.dump() == plain.dump());
}

#[test]
pub fn rows_above_the_tip_are_not_seen_while_a_rewind_is_unfinished() {
    let (disk, heights) = made();
    let store = open(&disk);
    let id = heights[TIP as usize - 1].block.tx_ids().next().unwrap();
    store.begin_rewind(TO, BlocksAbove::Kept).unwrap();
    assert_eq!(store.tip().unwrap().height, TO);
    assert!(matches!(store.block(TO.next()), Err(StoreError::Future { .. })));
    assert!(matches!(store.reader_at(TO.next()), Err(StoreError::Future { .. })));
    assert_eq!(store.tx(&id).unwrap(), None, "the transaction is above the tip");
    let hash = heights[TIP as usize - 1].id.hash;
    assert_eq!(store.height_of(&hash).unwrap(), None, "the block is above the tip");
    let reader = store.reader().unwrap();
    assert_eq!(reader.try_get(b"counter").unwrap(), Some(TO.0.to_be_bytes().to_vec()));
    assert_eq!(reader.try_get(&TIP.to_be_bytes()).unwrap(), None);
    let undone = store.undone(TO.next()).unwrap();
    let above = &heights[TO.0 as usize];
    assert_eq!((undone.block_id, &undone.block_bytes), (above.id, &above.bytes));
    assert_eq!((&undone.commit, &undone.results), (&above.seen_commit, &above.results));
    assert_eq!(store.undone_writes(TO.next()).unwrap(), above.writes);
}

/// The first execution wrote another row, other results, another index row, another validator set and other parameters.
#[test]
pub fn a_replay_replaces_everything_that_a_wrong_execution_wrote() {
    let (right, heights) = made();
    let disk = MemDisk::new();
    let store = open(&disk);
    let mut chain = Chain::start(&store, 1, state(0));
    for made in &heights {
        let mut wrong = made.clone();
        if made.block.header.height > TO {
            wrong.writes.0.insert(b"wrong".to_vec(), Some(b"row".to_vec()));
            wrong.results.txs[0].events = vec![Event::new("pay", [("to", "thief", true)])];
            let update = ValidatorUpdate { public_key: public_key(2).into(), power: Power(7) };
            wrong.validators = wrong.validators.update(&[update]).unwrap();
            wrong.params.fee_min += 1;
        }
        store.commit_block(&wrong.batch()).unwrap();
    }
    let pending = (1..=TIP + 1).map(|n| next(&mut chain, n)).last().unwrap();
    store.write_ahead(&pending.hard_state(), &[(pending.id, &pending.bytes)]).unwrap();
    assert!(disk.dump() != right.dump());
    store.begin_rewind(TO, BlocksAbove::Kept).unwrap();
    replay(&store, &heights).unwrap();
    assert!(disk.dump() == right.dump());
}

#[test]
pub fn a_rewind_to_below_an_unfinished_one_goes_on_from_there() {
    let (made, heights) = made();
    let disk = made.copy();
    let store = open(&disk);
    store.begin_rewind(TO, BlocksAbove::Kept).unwrap();
    for made in &heights[3..5] {
        store.commit_block(&made.batch()).unwrap();
    }
    store.begin_rewind(Height(2), BlocksAbove::Kept).unwrap();
    let rewind = store.unfinished_rewind().unwrap();
    assert_eq!((rewind.to, rewind.from.height.0, rewind.rows_to.0), (Height(2), TIP, TIP));
    replay(&store, &heights).unwrap();
    assert!(disk.dump() == made.dump());

    // What was kept can be dropped at any time.
    store.begin_rewind(TO, BlocksAbove::Kept).unwrap();
    for made in &heights[3..5] {
        store.commit_block(&made.batch()).unwrap();
    }
    store.begin_rewind(Height(5), BlocksAbove::Dropped).unwrap();
    store.drop_undone(&mut |_| {}).unwrap();
    let plain = made.copy();
    open(&plain).rewind(Height(5)).unwrap();
    assert!(disk.dump() == plain.dump());
}

/// A rewind also leads away from damage above the height: rows that the damaged lists would name are searched.
#[test]
pub fn damaged_lists_above_the_height_do_not_stop_a_rewind_that_drops_blocks() {
    let (made, _) = made();
    let plain = made.copy();
    open(&plain).rewind(TO).unwrap();
    for cf in [Cf::Heads, Cf::Blocks, Cf::Commits, Cf::Results, Cf::Changes] {
        for nth in 0..5 {
            let disk = made.copy();
            let store = open(&disk);
            let mut batch = Batch::new();
            for height in [5_u64, 7] {
                let rows =
                    disk.dump().into_iter().filter(|row| row.0 == cf && row.1.starts_with(&height.to_be_bytes()));
                rows.for_each(|(_, key, _)| batch.put(cf, key, [0xFF]));
            }
            store.kv().write(batch, Durability::Synced).unwrap();
            disk.fail_write(nth, Fault::Kept);
            if store.rewind(TO).is_err() {
                drop(store);
                disk.crash(usize::MAX);
                open(&disk).drop_undone(&mut |_| {}).unwrap();
            }
            let store = open(&disk);
            assert_eq!((store.tip().unwrap().height, store.unfinished_rewind()), (TO, None));
            assert!(disk.dump() == plain.dump(), "{}", cf.name());
        }
    }
}
