//! What a rewind checks before it changes something, and while it executes blocks again.

use replica::{Effect, RewindError, RewindPlan, Rewound};
use storage::{Batch, BlocksAbove, Cf, Durability, Kv, MemDisk, MemKv, Store, StoreError};
use types::{Commit, Height, Round, Wire};

use crate::chain::{Chain, Change, REVERTED_AT, REVERTED_TO, chain_id};

pub const TIP: u64 = 9;
pub const TO: Height = Height(4);

pub fn rewind<K: Kv>(store: &Store<K>, to: Height, blocks: BlocksAbove) -> Result<Rewound, RewindError> {
    RewindPlan::new(store, app::UPGRADES, to, blocks, &mut |_| {})?.run(store, &mut |_| {})
}

pub fn open(disk: &MemDisk) -> Store<MemKv> {
    Store::open(disk.open(), &chain_id()).unwrap()
}

#[test]
pub fn a_chain_that_was_rewound_and_executed_again_is_as_if_never_rewound() {
    let chain = Chain::with(TIP, None);
    let before = chain.disk.dump();
    let events = open(&chain.disk).results(Height(REVERTED_AT)).unwrap().events;
    assert!(events.iter().any(|event| event.kind == "revert.executed"), "{events:?}");
    for to in 1..TIP {
        let store = open(&chain.disk);
        let plan = RewindPlan::new(&store, app::UPGRADES, Height(to), BlocksAbove::Kept, &mut |_| {}).unwrap();
        assert_eq!((plan.from.height, plan.txs, plan.is_resumed), (Height(TIP), 2 * (TIP - to), false));
        assert!(plan.changed_keys.unwrap() > 2 && plan.block_bytes > 400);
        assert!(chain.disk.dump() == before, "a plan writes nothing");
        let done = plan.run(&store, &mut |_| {}).unwrap();
        assert_eq!((done.tip.height, done.replayed, done.repaired), (Height(TIP), TIP - to, 0));
        assert!(chain.disk.dump() == before);
    }
}

#[test]
pub fn wrong_heights_are_refused_and_change_nothing() {
    let chain = Chain::with(TIP, None);
    let store = open(&chain.disk);
    store.prune(Height(3)).unwrap();
    let before = chain.disk.dump();
    for (to, below) in [(0, true), (2, true), (TIP, false), (TIP + 1, false), (u64::MAX, false)] {
        for blocks in [BlocksAbove::Kept, BlocksAbove::Dropped] {
            match rewind(&store, Height(to), blocks) {
                Err(RewindError::BelowBase { base: Height(3), .. }) => assert!(below, "{to}"),
                Err(RewindError::Future { tip: Height(TIP), .. }) => assert!(!below, "{to}"),
                other => panic!("{to}: {other:?}"),
            }
        }
    }
    assert!(chain.disk.dump() == before);
    rewind(&store, Height(3), BlocksAbove::Dropped).unwrap();
}

/// Block 5 proposes the revert, block 6 decides it, block 7 executes it: each of them reads the state at the target.
#[test]
pub fn a_block_that_reverts_to_a_height_that_is_no_longer_kept_is_not_undone() {
    let chain = Chain::with(TIP, None);
    let store = open(&chain.disk);
    store.prune(Height(REVERTED_TO + 2)).unwrap();
    let before = chain.disk.dump();
    for to in REVERTED_TO + 2..REVERTED_AT {
        for blocks in [BlocksAbove::Kept, BlocksAbove::Dropped] {
            let (target, lowest) = (Height(REVERTED_TO), Height(REVERTED_TO + 1));
            match rewind(&store, Height(to), blocks) {
                Err(RewindError::Window { height, target: got, lowest: kept }) => {
                    assert_eq!((height, got, kept), (Height(to + 1), target, lowest));
                }
                other => panic!("{to}: {other:?}"),
            }
        }
    }
    assert!(chain.disk.dump() == before, "nothing was changed");
    let done = rewind(&store, Height(REVERTED_AT), BlocksAbove::Kept).unwrap();
    assert_eq!((done.tip.height, done.repaired), (Height(TIP), 0));
}

/// Rows of the state at the height, and of its next block, are compared before anything is deleted.
#[test]
pub fn a_state_that_is_not_the_one_of_the_next_block_is_refused_and_nothing_is_changed() {
    let chain = Chain::with(TIP, None);
    let is_version = |(cf, key, _): &(Cf, Vec<u8>, Vec<u8>)| {
        *cf == Cf::State && key.starts_with(b"n") && key.ends_with(&(!TO.0).to_be_bytes())
    };
    let (cf, key, mut value) = chain.disk.dump().into_iter().find(is_version).unwrap();
    *value.last_mut().unwrap() ^= 1;
    let disk = chain.disk.copy();
    let mut batch = Batch::new();
    batch.put(cf, key, value);
    disk.open().write(batch, Durability::Synced).unwrap();
    let before = disk.dump();
    for blocks in [BlocksAbove::Kept, BlocksAbove::Dropped] {
        let refused = rewind(&open(&disk), TO, blocks);
        assert!(matches!(refused, Err(RewindError::NotAgreed { height: TO, .. })), "{refused:?}");
        assert!(disk.dump() == before);
    }
    // Below the damaged row all is well, and executing again repairs it.
    let done = rewind(&open(&disk), Height(TO.0 - 1), BlocksAbove::Kept).unwrap();
    assert_eq!((done.replayed, done.repaired), (TIP - TO.0 + 1, 1));
    assert!(disk.dump() == chain.disk.dump());
}

/// Removes the row of the income from what a block wrote.
fn forgets_income(outcome: &mut app::Outcome) {
    let row = app::tree::rows::row_key(app::area::NEVER_REVERTED, &app::tree::rows::path_of(b"I"));
    assert!(outcome.writes.0.remove(&row).is_some());
}

/// Gives the second transaction another result.
fn other_result(outcome: &mut app::Outcome) {
    outcome.results.txs[1].gas_used += 1;
}

#[test]
pub fn a_block_that_gives_another_result_stops_the_replay_and_is_named() {
    let cases: [(Change, &str, Option<usize>, usize); 2] =
        [(forgets_income, "the app hash", None, 1), (other_result, "the results hash", Some(1), 0)];
    for (change, what, tx, keys) in cases {
        for at in [6, TIP] {
            let chain = Chain::with(TIP, Some((at, change)));
            let store = open(&chain.disk);
            let stopped = rewind(&store, TO, BlocksAbove::Kept);
            let Err(RewindError::Differs(difference)) = stopped else { panic!("{what}, {at}: {stopped:?}") };
            assert_eq!((difference.height, difference.what), (Height(at), what));
            assert_eq!(difference.tx.as_ref().map(|tx| tx.index), tx);
            assert_eq!((difference.keys.len(), difference.keys_total), (keys, keys));
            if let Some(key) = difference.keys.first() {
                assert_eq!(key.stored, Effect::Nothing);
                assert!(matches!(&key.got, Effect::Set(row) if app::tree::rows::split_row(row).unwrap().0 == b"I"));
            }
            // The last good height is kept, nothing above it is lost, and no replica starts on this store.
            assert_eq!(store.tip().unwrap().height, Height(at - 1));
            assert_eq!(store.undone(Height(at)).unwrap().commit.height, Height(at));
            assert!(matches!(rewind(&store, Height(TIP), BlocksAbove::Kept), Err(RewindError::Unfinished { .. })));
            assert!(matches!(rewind(&store, TO, BlocksAbove::Kept), Err(RewindError::Differs(_))), "it continues");
            drop(store);
            let store = std::sync::Arc::new(open(&chain.disk));
            let refused = replica::Replica::resume(config(), store.clone(), None).err().expect("refused").to_string();
            assert!(refused.contains("cairn rewind --to 4` to finish it"), "{refused}");
            rewind(&store, Height(at - 1), BlocksAbove::Dropped).unwrap();
            assert_eq!(store.verification().finish().findings, []);
            assert!(replica::Replica::resume(config(), store, None).is_ok());
        }
    }
}

pub fn config() -> replica::Config {
    let second = std::time::Duration::from_secs(1);
    replica::Config {
        empty_block_interval: None,
        block_interval_min: second,
        gossip_interval: second,
        sync_timeout: second,
        upgrades: app::UPGRADES,
        ..replica::Config::default()
    }
}

/// Each changed row of a block, header, commit or result above the height is found before or while it is executed.
#[test]
pub fn damaged_blocks_above_the_height_are_named_and_can_be_dropped() {
    let chain = Chain::with(TIP, None);
    for cf in [Cf::Blocks, Cf::Heads, Cf::Commits] {
        let disk = chain.disk.copy();
        let is_it = |row: &&(Cf, Vec<u8>, Vec<u8>)| row.0 == cf && row.1.starts_with(&7_u64.to_be_bytes());
        let rows = disk.dump();
        let (_, key, value) = rows.iter().find(is_it).unwrap();
        let mut value = value.clone();
        let middle = value.len() / 2;
        value[middle] ^= 1;
        let mut batch = Batch::new();
        batch.put(cf, key.clone(), value);
        disk.open().write(batch, Durability::Synced).unwrap();
        let store = open(&disk);
        match rewind(&store, TO, BlocksAbove::Kept) {
            Err(RewindError::Block { height, .. }) => assert!(height.0 == 7 || height.0 == 8, "{}", cf.name()),
            Err(RewindError::Store(StoreError::Damaged { .. })) => {}
            Ok(done) => assert_eq!((cf, done.replayed), (Cf::Commits, TIP - TO.0), "only its signatures changed"),
            other => panic!("{}: {other:?}", cf.name()),
        }
        let at = store.tip().unwrap().height.min(Height(5));
        rewind(&store, at, BlocksAbove::Dropped).unwrap();
        assert_eq!(store.verification().finish().findings, []);
    }
}

/// Returns a copy of a chain's disk in which `change` changed the value of one row.
fn with_row(chain: &Chain, cf: Cf, height: u64, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> MemDisk {
    let disk = chain.disk.copy();
    let key = height.to_be_bytes();
    let value = disk.open().get(cf, &key).unwrap().unwrap();
    let mut batch = Batch::new();
    batch.put(cf, key, change(value));
    disk.open().write(batch, Durability::Synced).unwrap();
    disk
}

/// The signatures of the commit of the last block prove all blocks that are executed again.
#[test]
pub fn a_last_block_that_was_not_decided_is_refused_and_nothing_is_changed() {
    let chain = Chain::with(TIP, None);
    let disk = with_row(&chain, Cf::Commits, TIP, |row| {
        let commit = Commit::decode(&row).unwrap();
        Commit { round: Round(commit.round.0 + 1), ..commit }.encode()
    });
    let before = disk.dump();
    match rewind(&open(&disk), TO, BlocksAbove::Kept) {
        Err(RewindError::Block { height: Height(TIP), reason }) => {
            assert!(reason.starts_with("its commit does not prove that it was decided: "), "{reason}");
        }
        other => panic!("a block without a valid commit is executed again: {other:?}"),
    }
    assert!(disk.dump() == before);
    rewind(&open(&disk), TO, BlocksAbove::Dropped).unwrap();
}

/// A header that hashes to its own id, but is not the one that the next header names.
#[test]
pub fn headers_that_are_no_chain_are_refused_and_nothing_is_changed() {
    let chain = Chain::with(TIP, None);
    let other = Chain::with(7, Some((6, other_result)));
    let disk =
        with_row(&chain, Cf::Heads, 7, |_| other.disk.open().get(Cf::Heads, &7_u64.to_be_bytes()).unwrap().unwrap());
    let before = disk.dump();
    let refused = rewind(&open(&disk), TO, BlocksAbove::Kept);
    let is_named = matches!(&refused, Err(RewindError::Block { height: Height(8), reason }) if reason.contains("name"));
    assert!(is_named, "headers without a chain are accepted: {refused:?}");
    assert!(disk.dump() == before);
}
