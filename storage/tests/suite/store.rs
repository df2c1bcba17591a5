//! Proves the lookups of blocks, the rules of the hard state, and the bounds of the window.

use storage::{Cf, FORGET_STEP, GenesisBatch, Kv, Store, StoreError, Tip, View};
use types::{
    BlockId, ChainId, HardState, Height, PartSetHeader, Reader, Round, Step, TxId, TxResult, WriteSet, blake3,
    results_hash,
};

use crate::chain::{Chain, Rig, chain_id, changed_since, open, writes};

on_both!(
    an_empty_store_has_no_tip_and_takes_one_genesis,
    a_chain_may_begin_above_height_one,
    every_part_of_a_height_reads_back_the_same,
    every_height_reads_back_the_same_after_a_reopen,
    a_block_that_does_not_follow_is_refused,
    validator_sets_read_back_with_their_priorities,
    parameters_read_back_for_every_height,
    hard_state_never_moves_back,
    pending_blocks_live_until_their_height_is_decided,
    a_block_decided_after_it_was_precommitted_is_written_once,
    a_hard_state_of_a_decided_height_stores_no_block,
    signing_floor_never_moves_back,
    reads_below_the_window_are_pruned_and_above_the_tip_are_future,
    pruning_removes_heights_in_steps_and_keeps_sets_and_parameters_in_force,
    another_chain_or_format_is_refused,
    single_rows_that_no_chain_has_are_damage,
    rewind_refuses_heights_outside_the_window,
    a_transaction_leads_to_the_block_that_executed_it,
);

fn row(n: u64) -> WriteSet {
    writes([(b"counter", Some(&n.to_be_bytes())), (&n.to_be_bytes(), Some(b"x"))])
}

fn grown<R: Rig>(rig: &R, heights: u64) -> (Store<R::Kv>, Chain) {
    let store = open(rig);
    let mut chain = Chain::start(&store, 1, writes([(b"counter", Some(b"0"))]));
    for n in 1..=heights {
        chain.commit(&store, row(n));
    }
    (store, chain)
}

fn an_empty_store_has_no_tip_and_takes_one_genesis<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    assert_eq!((store.tip(), store.genesis()), (None, None));
    assert!(store.hard_state().unwrap().is_none());
    assert!(matches!(store.reader(), Err(StoreError::NoGenesis { .. })));
    assert!(matches!(store.block(Height(1)), Err(StoreError::NoGenesis { .. })));
    let chain = Chain::start(&store, 1, writes([(b"a", Some(b"1"))]));
    let tip = Tip {
        height: Height(0),
        block_id: None,
        time: chain.genesis.time,
        app_hash: chain.genesis.app_hash,
        results_hash: results_hash(&[]),
    };
    assert_eq!(store.tip(), Some(tip));
    assert_eq!(store.reader().unwrap().get(b"a").as_deref(), Some(b"1".as_slice()));
    let again = GenesisBatch {
        genesis: chain.genesis,
        validators: &chain.validators[&Height(1)],
        params: &chain.params[&Height(1)],
    };
    assert!(matches!(store.init_genesis(&again, []), Err(StoreError::HasGenesis { tip: Height(0), .. })));
    drop(store);
    let store = open(&rig);
    assert_eq!((store.tip(), store.genesis()), (Some(tip), Some(chain.genesis)));
}

fn a_chain_may_begin_above_height_one<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1000, writes([(b"a", Some(b"1"))]));
    assert_eq!(store.tip().unwrap().height, Height(999));
    assert_eq!(store.earliest(), Height(1000));
    assert_eq!(store.reader_at(Height(999)).unwrap().get(b"a").as_deref(), Some(b"1".as_slice()));
    assert!(matches!(store.reader_at(Height(998)), Err(StoreError::Pruned { earliest: Height(999), .. })));
    chain.commit(&store, writes([(b"a", None)]));
    assert_eq!(store.tip().unwrap().height, Height(1000));
    assert_eq!(store.reader_at(Height(999)).unwrap().get(b"a").as_deref(), Some(b"1".as_slice()));
    assert_eq!(store.reader().unwrap().get(b"a"), None);
}

fn check_heights<K: Kv>(store: &Store<K>, chain: &Chain) {
    for (height, made) in &chain.made {
        assert_eq!(store.block(*height).unwrap(), made.block);
        assert_eq!(store.block_bytes(*height).unwrap(), made.bytes);
        assert_eq!(store.header(*height).unwrap(), made.block.header);
        let head = store.head(*height).unwrap();
        assert_eq!((head.block_id, head.block_bytes, head.txs), (made.id, made.bytes.len() as u64, 1));
        assert_eq!(store.block_by_hash(&made.id.hash).unwrap().as_ref(), Some(&made.block));
        assert_eq!(store.height_of(&made.id.hash).unwrap(), Some(*height));
        assert_eq!(store.seen_commit(*height).unwrap(), made.seen_commit);
        let canonical =
            chain.made.get(&height.next()).map_or(&made.seen_commit, |next| next.block.last_commit.as_ref().unwrap());
        assert_eq!(store.commit(*height).unwrap(), *canonical);
        assert_eq!(store.results(*height).unwrap(), made.results);
        let id = made.block.tx_ids().next().unwrap();
        assert_eq!(store.tx(&id).unwrap(), Some((*height, 0)));
    }
    let tip = store.tip().unwrap();
    let last = &chain.made[&chain.height];
    let expected = Tip {
        height: chain.height,
        block_id: Some(last.id),
        time: last.block.header.time,
        app_hash: last.results.app_hash,
        results_hash: results_hash(&last.results.txs),
    };
    assert_eq!(tip, expected);
    assert_eq!(store.height_of(&blake3(b"unknown")).unwrap(), None);
    assert_eq!(store.tx(&TxId([9; 32])).unwrap(), None);
}

fn every_part_of_a_height_reads_back_the_same<R: Rig>() {
    let rig = R::new();
    let (store, mut chain) = grown(&rig, 5);
    chain.commit(&store, WriteSet::default());
    assert_eq!(changed_since(&store.reader().unwrap(), Height(5), b""), []);
    check_heights(&store, &chain);
}

fn every_height_reads_back_the_same_after_a_reopen<R: Rig>() {
    let rig = R::new();
    let (store, mut chain) = grown(&rig, 5);
    drop(store);
    let store = open(&rig);
    check_heights(&store, &chain);
    chain.commit(&store, row(6));
    check_heights(&store, &chain);
}

fn a_block_that_does_not_follow_is_refused<R: Rig>() {
    let rig = R::new();
    let (store, mut chain) = grown(&rig, 2);
    let third = chain.next(row(3), vec![]);
    let fourth = chain.next(row(4), vec![]);
    let refused = store.commit_block(&fourth.batch());
    assert!(matches!(refused, Err(StoreError::WrongHeight { got: Height(4), expected: Height(3) })));
    let mut orphan = third.clone();
    orphan.block.header.last_block_id = Some(fourth.id);
    let refused = store.commit_block(&orphan.batch());
    assert!(matches!(refused, Err(StoreError::WrongParent { got, .. }) if got == Some(fourth.id.hash)));
    assert_eq!(store.tip().unwrap().height, Height(2));
    store.commit_block(&third.batch()).unwrap();
    assert!(matches!(store.commit_block(&third.batch()), Err(StoreError::WrongHeight { .. })));
    store.commit_block(&fourth.batch()).unwrap();
}

fn validator_sets_read_back_with_their_priorities<R: Rig>() {
    let rig = R::new();
    let (store, chain) = grown(&rig, 150);
    for (height, set) in &chain.validators {
        assert_eq!(store.validators(*height).unwrap(), *set, "height {height}");
    }
    assert_eq!(chain.validators.last_key_value().unwrap().0, &Height(152));
    assert!(matches!(store.validators(Height(153)), Err(StoreError::Future { tip: Height(152), .. })));
    assert!(matches!(store.validators(Height(0)), Err(StoreError::Pruned { earliest: Height(1), .. })));
}

fn parameters_read_back_for_every_height<R: Rig>() {
    let rig = R::new();
    let (store, chain) = grown(&rig, 12);
    for (height, params) in &chain.params {
        assert_eq!(store.params(*height).unwrap(), *params, "height {height}");
    }
    assert!(matches!(store.params(Height(14)), Err(StoreError::Future { tip: Height(13), .. })));
}

fn at(height: u64, round: u32, step: Step) -> HardState {
    HardState { height: Height(height), round: Round(round), step, ..HardState::default() }
}

fn hard_state_never_moves_back<R: Rig>() {
    let rig = R::new();
    let (store, _) = grown(&rig, 1);
    let stored = at(2, 1, Step::Prevote);
    store.write_ahead(&stored, &[]).unwrap();
    for lower in [at(1, 9, Step::Precommit), at(2, 0, Step::Precommit), at(2, 1, Step::Propose)] {
        let refused = store.write_ahead(&lower, &[]);
        assert!(matches!(refused, Err(StoreError::HardStateMovedBack { .. })), "{lower:?}");
        assert_eq!(store.hard_state().unwrap(), Some(stored.clone()));
    }
    let mut equal = stored.clone();
    equal.proposals.clear();
    store.write_ahead(&equal, &[]).unwrap();
    drop(store);
    let store = open(&rig);
    assert!(store.write_ahead(&at(2, 0, Step::Precommit), &[]).is_err());
    store.rewind(Height(0)).unwrap();
    assert_eq!(store.hard_state().unwrap(), Some(stored));
    assert!(store.write_ahead(&at(1, 0, Step::Propose), &[]).is_err());
    store.write_ahead(&at(3, 0, Step::Propose), &[]).unwrap();
}

fn pending_blocks_live_until_their_height_is_decided<R: Rig>() {
    let rig = R::new();
    let (store, mut chain) = grown(&rig, 2);
    let made = chain.next(row(3), vec![vec![1; 5000]]);
    let loser = BlockId { hash: blake3(b"loser"), parts: PartSetHeader { total: 1, hash: blake3(b"parts") } };
    store.write_ahead(&at(3, 0, Step::Precommit), &[(loser, b"losing bytes")]).unwrap();
    store.write_ahead(&at(3, 1, Step::Precommit), &[(made.id, &made.bytes)]).unwrap();
    drop(store);
    let store = open(&rig);
    assert_eq!(store.pending_block(&made.id).unwrap().as_ref(), Some(&made.bytes));
    assert_eq!(store.pending_block(&loser).unwrap().as_deref(), Some(b"losing bytes".as_slice()));
    assert_eq!(store.height_of(&made.id.hash).unwrap(), None);
    store.commit_block(&made.batch()).unwrap();
    assert_eq!(store.pending_block(&made.id).unwrap(), None);
    assert_eq!(store.pending_block(&loser).unwrap(), None);
    assert_eq!(store.block_bytes(Height(3)).unwrap(), made.bytes);
    let bodies = store.kv().view().rows(Cf::Blocks, b"", b"").count();
    assert_eq!(bodies, 3, "one for each height: the loser's bytes are gone");
    drop(store);
    let store = open(&rig);
    assert_eq!(store.pending_block(&loser).unwrap(), None);
    assert_eq!(store.block(Height(3)).unwrap(), made.block);
}

fn a_block_decided_after_it_was_precommitted_is_written_once<R: Rig>() {
    let rig = R::new();
    let (store, mut chain) = grown(&rig, 2);
    let made = chain.next(row(3), vec![vec![1; 50_000]]);
    let before = store.kv().stats().batch_bytes.sum;
    store.write_ahead(&made.hard_state(), &[(made.id, &made.bytes)]).unwrap();
    store.write_ahead(&made.hard_state(), &[(made.id, &made.bytes)]).unwrap();
    store.commit_block(&made.batch()).unwrap();
    let written = store.kv().stats().batch_bytes.sum - before;
    assert!(written < 55_000, "{written} bytes for a block of 50,000");
}

fn a_hard_state_of_a_decided_height_stores_no_block<R: Rig>() {
    let rig = R::new();
    let (store, mut chain) = grown(&rig, 2);
    let decided = chain.made[&Height(2)].clone();
    store.write_ahead(&decided.hard_state(), &[(decided.id, &decided.bytes)]).unwrap();
    assert_eq!(store.pending_block(&decided.id).unwrap(), None);
    chain.commit(&store, row(3));
    check_heights(&store, &chain);
}

fn signing_floor_never_moves_back<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    assert_eq!(store.signing_floor(), Height(0));
    store.raise_signing_floor(Height(7)).unwrap();
    store.raise_signing_floor(Height(5)).unwrap();
    drop(store);
    assert_eq!(open(&rig).signing_floor(), Height(7));
}

fn reads_below_the_window_are_pruned_and_above_the_tip_are_future<R: Rig>() {
    let rig = R::new();
    let (store, mut chain) = grown(&rig, 20);
    store.prune(Height(10)).unwrap();
    store.prune(Height(8)).unwrap();
    assert_eq!(store.earliest(), Height(10));
    let pruned = |error: StoreError| matches!(error, StoreError::Pruned { got: Height(9), earliest: Height(10) });
    assert!(pruned(store.block(Height(9)).unwrap_err()));
    assert!(pruned(store.header(Height(9)).unwrap_err()));
    assert!(pruned(store.commit(Height(9)).unwrap_err()));
    assert!(pruned(store.seen_commit(Height(9)).unwrap_err()));
    assert!(pruned(store.results(Height(9)).unwrap_err()));
    let reader = store.reader().unwrap();
    let below = reader.try_changed_since(Height(8), b"", &mut |_, _| true).unwrap_err();
    assert!(matches!(below, StoreError::Pruned { got: Height(8), earliest: Height(9) }));
    let below = reader.try_get_at(Height(8), b"counter").unwrap_err();
    assert!(matches!(below, StoreError::Pruned { got: Height(8), earliest: Height(9) }));
    let above = reader.try_get_at(Height(21), b"counter").unwrap_err();
    assert!(matches!(above, StoreError::Future { got: Height(21), tip: Height(20) }));
    assert_eq!(
        reader.try_get_at(Height(9), b"counter").unwrap(),
        chain.states[&Height(9)].get(&b"counter"[..]).cloned()
    );
    assert_eq!(changed_since(&reader, Height(9), b"counter").len(), 1);
    assert!(pruned(store.validators(Height(9)).unwrap_err()));
    assert!(pruned(store.params(Height(9)).unwrap_err()));
    let gone = &chain.made[&Height(9)];
    assert_eq!(store.block_by_hash(&gone.id.hash).unwrap(), None);
    assert_eq!(store.tx(&gone.block.tx_ids().next().unwrap()).unwrap(), None);
    assert!(store.reader_at(Height(9)).is_ok(), "the state under the earliest block, whose header holds its root");
    let below = store.reader_at(Height(8)).err().unwrap();
    assert!(matches!(below, StoreError::Pruned { got: Height(8), earliest: Height(9) }));
    let future = store.reader_at(Height(21)).err().unwrap();
    assert!(matches!(future, StoreError::Future { got: Height(21), tip: Height(20) }));
    assert!(matches!(store.block(Height(21)), Err(StoreError::Future { .. })));
    assert!(matches!(store.commit(Height(21)), Err(StoreError::Future { .. })));
    store.prune(Height(1000)).unwrap();
    assert_eq!(store.earliest(), Height(20), "the tip is always kept");
    chain.commit(&store, row(21));
    assert_eq!(store.block(Height(20)).unwrap(), chain.made[&Height(20)].block);
}

fn pruning_removes_heights_in_steps_and_keeps_sets_and_parameters_in_force<R: Rig>() {
    let rig = R::new();
    let (store, mut chain) = grown(&rig, 3 * FORGET_STEP + 20);
    let before = store.kv().stats().syncs;
    for height in 2..=2 * FORGET_STEP + 2 {
        store.prune(Height(height)).unwrap();
    }
    assert_eq!(store.kv().stats().syncs - before, 3, "one sync at first, and one for each step");
    let earliest = Height(2 * FORGET_STEP + 2);
    assert_eq!(store.earliest(), earliest);
    assert_eq!(store.kv().get(Cf::Heads, &(earliest.0 - 1).to_be_bytes()).unwrap(), None);
    let check = |store: &Store<R::Kv>, chain: &Chain| {
        for height in earliest.0..=chain.height.0 {
            let height = Height(height);
            assert_eq!(store.validators(height).unwrap(), chain.validators[&height]);
            assert_eq!(store.params(height).unwrap(), chain.params[&height]);
            assert_eq!(store.block(height).unwrap(), chain.made[&height].block);
        }
    };
    check(&store, &chain);
    drop(store);
    let store = open(&rig);
    assert_eq!(store.earliest(), earliest);
    check(&store, &chain);
    chain.commit(&store, row(0));
    check(&store, &chain);
}

fn another_chain_or_format_is_refused<R: Rig>() {
    let rig = R::new();
    let (store, _) = grown(&rig, 1);
    let mut batch = storage::Batch::new();
    drop(store);
    let other = ChainId::new("other-chain").unwrap();
    let error = Store::open(rig.open(), &other).err().unwrap();
    assert!(matches!(&error, StoreError::OtherChain { got, .. } if got == "test-chain"));
    assert!(error.to_string().contains("other-chain"), "{error}");
    batch.put(Cf::Meta, "format", 99u32.to_be_bytes());
    rig.open().write(batch, storage::Durability::Synced).unwrap();
    let error = Store::open(rig.open(), &chain_id()).err().unwrap();
    assert!(matches!(error, StoreError::OtherFormat { got: 99, .. }));
    let mut batch = storage::Batch::new();
    batch.delete(Cf::Meta, "format");
    rig.open().write(batch, storage::Durability::Synced).unwrap();
    assert!(matches!(Store::open(rig.open(), &chain_id()).err().unwrap(), StoreError::Damaged { .. }));
}

/// A store whose earliest height is above its tip would delete all blocks; heights end; a name can be shown.
fn single_rows_that_no_chain_has_are_damage<R: Rig>() {
    let height = |height: u64| height.to_be_bytes().to_vec();
    let genesis = |first: u8| [&[8, first, 16, 2, 26, 32][..], &[1; 32], &[34, 32], &[2; 32]].concat();
    let end = [
        &[8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1][..],
        &[0x22, 32],
        &[1; 32],
        &[0x2A, 32],
        &[2; 32],
    ];
    for (name, value, says) in [
        ("earliest", height(5), "its earliest height is above its tip"),
        ("earliest", height(u64::MAX), "earliest"),
        ("signing_floor", height(u64::MAX), "signing_floor"),
        ("tip", end.concat(), "tip"),
        ("genesis", genesis(0), "genesis"),
        ("chain_id", b"\x1b[2J".to_vec(), "the name of its chain is unreadable"),
    ] {
        let rig = R::new();
        drop(grown(&rig, 3));
        let mut batch = storage::Batch::new();
        batch.put(Cf::Meta, name, value);
        rig.open().write(batch, storage::Durability::Synced).unwrap();
        let error = Store::open(rig.open(), &chain_id()).err().unwrap_or_else(|| panic!("{name} is accepted"));
        let text = error.to_string();
        assert!(matches!(error, StoreError::Damaged { .. }) && text.contains(says), "{name}: {text}");
        assert!(text.chars().all(types::is_plain), "{name}: {text:?}");
    }
}

fn rewind_refuses_heights_outside_the_window<R: Rig>() {
    let rig = R::new();
    let (store, _) = grown(&rig, 10);
    store.prune(Height(5)).unwrap();
    assert!(matches!(store.rewind(Height(4)), Err(StoreError::Pruned { got: Height(4), earliest: Height(5) })));
    assert!(matches!(store.rewind(Height(11)), Err(StoreError::Future { .. })));
    assert_eq!(store.rewind(Height(10)).unwrap().height, Height(10));
    assert_eq!(store.rewind(Height(5)).unwrap().height, Height(5));
}

/// A transaction that is not executed does not make its block invalid, so any later block can repeat one.
fn a_transaction_leads_to_the_block_that_executed_it<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    let blocks: [&[(&str, bool)]; 4] = [
        &[("a", true), ("b", false)],
        &[("a", false), ("a", false), ("b", true)],
        &[("a", false), ("b", false), ("c", false)],
        &[("c", false)],
    ];
    let made = blocks.map(|txs| {
        let mut made = chain.next(WriteSet::default(), txs.iter().map(|(tx, _)| tx.as_bytes().to_vec()).collect());
        for (result, (_, is_executed)) in made.results.txs.iter_mut().zip(txs) {
            if !is_executed {
                *result = TxResult { code: 4, gas_wanted: 1, ..TxResult::default() };
            }
        }
        chain.results_hash = results_hash(&made.results.txs);
        made
    });
    let places =
        || ["a", "b", "c"].map(|tx| store.tx(&TxId::of(tx.as_bytes())).unwrap().map(|(at, index)| (at.0, index)));
    let all = [Some((1, 0)), Some((2, 2)), Some((3, 2))];
    for made in &made {
        store.commit_block(&made.batch()).unwrap();
    }
    assert_eq!(places(), all);
    assert_eq!(store.verification().finish().findings, []);
    store.rewind(Height(2)).unwrap();
    assert_eq!(places(), [all[0], all[1], None]);
    store.rewind(Height(1)).unwrap();
    assert_eq!(places(), [all[0], Some((1, 1)), None]);
    for made in &made[1..] {
        store.commit_block(&made.batch()).unwrap();
    }
    assert_eq!(places(), all);
    assert_eq!(store.verification().finish().findings, []);
    store.prune(Height(3)).unwrap();
    assert_eq!(places(), [Some((3, 0)), Some((3, 1)), Some((3, 2))]);
}
