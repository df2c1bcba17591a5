//! Proves that verification finds every missing, changed or misplaced row, with its family, its height and its key.

use storage::{Batch, Cf, Durability, Finding, Kv, Store, StoreError, View};
use types::{BlockId, Event, Height, Reader, Wire, WriteSet};

use crate::chain::{Chain, PART, Rig, open, revertible, version, writes};

const HEIGHTS: u64 = 20;

fn state(n: u64) -> WriteSet {
    let rows = (0..8).map(|i| (vec![b'k', i], Some(vec![n as u8; 5])));
    WriteSet(rows.chain([(revertible(&[n as u8 % 4]), Some(vec![1]))]).collect())
}

/// Returns the row in the index over last changes of a revertible row that a height changed.
fn recent(rest: u8, height: u64) -> Vec<u8> {
    [PART, &(!height).to_be_bytes()[..], &[rest]].concat()
}

fn made<R: Rig>() -> (R, Store<R::Kv>, Chain) {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, state(99));
    for n in 0..HEIGHTS {
        let mut made = chain.next(state(n), vec![format!("tx {n}").into_bytes()]);
        made.results.txs[0].events = vec![Event::new("pay", [("to", "ann", true)])];
        store.commit_block(&made.batch()).unwrap();
    }
    (rig, store, chain)
}

/// Returns the key of the index row of the first transaction of a height.
fn event_key<K: Kv>(store: &Store<K>, height: u64) -> Vec<u8> {
    let view = store.kv().view();
    let keys = view.rows(Cf::Events, &[], &[]).map(|row| row.unwrap().0.to_vec());
    keys.into_iter().find(|row| row.ends_with(&[&key(height)[..], &[0; 4]].concat())).unwrap()
}

fn key(height: u64) -> Vec<u8> {
    height.to_be_bytes().to_vec()
}

fn block_key<K: Kv>(store: &Store<K>, height: u64) -> Vec<u8> {
    row(store, Cf::Blocks, &key(height))
}

fn row<K: Kv>(store: &Store<K>, cf: Cf, prefix: &[u8]) -> Vec<u8> {
    store.kv().view().rows(cf, prefix, &[]).next().unwrap().unwrap().0.to_vec()
}

fn verifying_an_undamaged_store_finds_nothing<R: Rig>() {
    let (_rig, store, mut chain) = made::<R>();
    let report = store.verification().finish();
    assert_eq!(report.findings, []);
    assert_eq!((report.earliest, report.tip, report.heights), (Height(1), Height(HEIGHTS), HEIGHTS));
    let rows = |cf: Cf| report.families.iter().find(|family| family.cf == cf).unwrap().rows;
    assert_eq!([Cf::Blocks, Cf::Results, Cf::Txs].map(rows), [HEIGHTS; 3]);
    assert_eq!((rows(Cf::State), rows(Cf::Recent)), (9 * (HEIGHTS + 1), 4));

    // There are also no findings while the window moves and a block above the tip is pending.
    let next = chain.next(state(77), vec![b"pending".to_vec()]);
    store.write_ahead(&next.hard_state(), &[(next.id, &next.bytes)]).unwrap();
    store.prune(Height(7)).unwrap();
    let mut verification = store.verification();
    while verification.step(1) {
        store.prune(Height(9)).unwrap();
    }
    assert_eq!(verification.report().findings, []);
}

fn each_damage_is_found_at_its_place<R: Rig>() {
    type Injury<K> = (&'static str, Cf, Option<u64>, fn(&Store<K>, &mut Batch));
    let injuries: [Injury<R::Kv>; 37] = [
        ("a head is missing", Cf::Heads, Some(5), |_, batch| batch.delete(Cf::Heads, key(5))),
        ("a head is another height's", Cf::Heads, Some(5), |store, batch| {
            batch.put(Cf::Heads, key(5), store.kv().get(Cf::Heads, &key(6)).unwrap().unwrap());
        }),
        ("a block is missing", Cf::Blocks, Some(5), |store, batch| batch.delete(Cf::Blocks, block_key(store, 5))),
        ("a block's bytes are others", Cf::Blocks, Some(5), |store, batch| {
            let mut block = store.block(Height(5)).unwrap();
            block.txs.push(b"one more".to_vec());
            batch.put(Cf::Blocks, block_key(store, 5), block.encode());
        }),
        ("a commit is missing", Cf::Commits, Some(5), |_, batch| batch.delete(Cf::Commits, key(5))),
        ("a commit is garbage", Cf::Commits, Some(5), |_, batch| batch.put(Cf::Commits, key(5), [0xFF; 9])),
        ("a commit is another height's", Cf::Commits, Some(5), |store, batch| {
            batch.put(Cf::Commits, key(5), store.seen_commit(Height(6)).unwrap().encode());
        }),
        ("results are missing", Cf::Results, Some(5), |_, batch| batch.delete(Cf::Results, key(5))),
        ("results are others", Cf::Results, Some(5), |store, batch| {
            let mut results = store.results(Height(5)).unwrap();
            results.txs[0].code = 3;
            batch.put(Cf::Results, key(5), results.encode());
        }),
        ("the last results are others", Cf::Results, Some(HEIGHTS), |store, batch| {
            let mut results = store.results(Height(HEIGHTS)).unwrap();
            results.app_hash.0[0] ^= 1;
            batch.put(Cf::Results, key(HEIGHTS), results.encode());
        }),
        ("a list of changes is missing", Cf::Changes, Some(5), |_, batch| batch.delete(Cf::Changes, key(5))),
        ("a list of changes is garbage", Cf::Changes, Some(5), |_, batch| batch.put(Cf::Changes, key(5), [8, 1])),
        ("a version is missing", Cf::State, Some(5), |_, batch| batch.delete(Cf::State, version(b"k\x03", 5))),
        ("a version is garbage", Cf::State, Some(0), |_, batch| {
            batch.put(Cf::State, version(b"k\x03", 0), [7]);
        }),
        ("a version is above the tip", Cf::State, Some(90), |_, batch| {
            batch.put(Cf::State, version(b"k\x03", 90), [0]);
        }),
        ("a version has no key", Cf::State, None, |_, batch| batch.put(Cf::State, *b"k", [0])),
        ("a last change is missing", Cf::Recent, Some(HEIGHTS), |_, batch| {
            batch.delete(Cf::Recent, recent(3, HEIGHTS))
        }),
        ("a last change is not the last", Cf::Recent, Some(HEIGHTS - 4), |_, batch| {
            batch.put(Cf::Recent, recent(3, HEIGHTS - 4), []);
        }),
        ("a last change never happened", Cf::Recent, Some(5), |_, batch| batch.put(Cf::Recent, recent(9, 5), [])),
        ("a last change is above the tip", Cf::Recent, Some(90), |_, batch| batch.put(Cf::Recent, recent(3, 90), [])),
        ("a last change is garbage", Cf::Recent, None, |_, batch| batch.put(Cf::Recent, *b"r", [])),
        ("a list has another replaced value", Cf::Changes, Some(HEIGHTS), |store, batch| {
            let mut list = store.kv().get(Cf::Changes, &key(HEIGHTS)).unwrap().unwrap();
            *list.last_mut().unwrap() -= 1;
            batch.put(Cf::Changes, key(HEIGHTS), list);
        }),
        ("a validator set is garbage", Cf::Validators, Some(1), |_, batch| {
            batch.put(Cf::Validators, key(1), [0xFF; 9])
        }),
        ("parameters are others", Cf::Params, Some(1), |store, batch| {
            let mut params = store.params(Height(1)).unwrap();
            params.block.bytes_max -= 1; // The hash in the header covers this field.
            batch.put(Cf::Params, key(1), params.encode());
        }),
        ("a block's hash leads elsewhere", Cf::BlockHash, Some(5), |store, batch| {
            batch.put(Cf::BlockHash, store.head(Height(5)).unwrap().block_id.hash.0, key(6));
        }),
        ("a time is missing", Cf::Times, Some(5), |_, batch| batch.delete(Cf::Times, key(5))),
        ("a time is another height's", Cf::Times, Some(5), |store, batch| {
            batch.put(Cf::Times, key(5), store.kv().get(Cf::Times, &key(6)).unwrap().unwrap());
        }),
        ("evidence leads nowhere", Cf::Evidence, Some(5), |_, batch| {
            batch.put(Cf::Evidence, [&key(5)[..], &[1; 20]].concat(), [0; 39]);
        }),
        ("a transaction leads nowhere", Cf::Txs, Some(5), |store, batch| {
            let id = store.block(Height(5)).unwrap().tx_ids().next().unwrap();
            batch.delete(Cf::Txs, id.0);
        }),
        ("a row of the index is missing", Cf::Events, Some(5), |store, batch| {
            batch.delete(Cf::Events, event_key(store, 5));
        }),
        ("a row of the index names another event", Cf::Events, Some(5), |store, batch| {
            batch.put(Cf::Events, event_key(store, 5), [0, 9]);
        }),
        ("a row of the index names no event", Cf::Events, Some(5), |store, batch| {
            batch.put(Cf::Events, event_key(store, 5), []);
        }),
        ("a row of the index leads to no value", Cf::Events, Some(7), |_, batch| {
            let key = [&b"tpay.to\0\0ann"[..], &key(7), &[0; 4]].concat();
            batch.put(Cf::Events, key, [0, 0]);
        }),
        ("a row of the index is above the tip", Cf::Events, Some(90), |_, batch| {
            batch.put(Cf::Events, [&b"tpay.to\0\0ann\0\0"[..], &key(90), &[0; 4]].concat(), [0, 0]);
        }),
        ("results above the tip", Cf::Results, Some(90), |_, batch| batch.put(Cf::Results, key(90), [])),
        ("a waiting block is garbage", Cf::Blocks, Some(90), |_, batch| {
            let id = [&key(90)[..], &[1; 68]].concat();
            batch.put(Cf::Blocks, id, *b"garbage");
        }),
        ("the hard state is garbage", Cf::Meta, None, |_, batch| batch.put(Cf::Meta, "hard_state", [0xFF; 9])),
    ];
    for (what, cf, height, injure) in injuries {
        let (_rig, store, _) = made::<R>();
        let mut batch = Batch::new();
        injure(&store, &mut batch);
        store.kv().write(batch, Durability::Synced).unwrap();
        let report = store.verification().finish();
        let is_it = |finding: &&Finding| finding.cf == cf && finding.height == height.map(Height);
        let found = report.findings.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("{what}: {:?}", report.findings));
        assert!(!found.key.is_empty() && !found.reason.is_empty(), "{what}: {found:?}");
        assert_eq!(report.findings_total() as usize, report.findings.len(), "{what}");
    }
}

fn a_damaged_row_fails_its_readers_and_no_others<R: Rig>() {
    let (_rig, store, _) = made::<R>();
    let mut batch = Batch::new();
    batch.put(Cf::State, version(b"k\x03", HEIGHTS), [7]);
    store.kv().write(batch, Durability::Synced).unwrap();

    let reader = store.reader().unwrap();
    assert_eq!(reader.get(b"k\x02"), Some(vec![HEIGHTS as u8 - 1; 5]));
    reader.check().unwrap();
    assert_eq!(reader.get(b"k\x03"), None);
    let error = reader.check().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("state") && told.contains("6b03") && told.contains("cairn restore"), "{told}");
    assert_eq!(reader.changed_at(b"k\x03"), None);
    for height in [0, HEIGHTS - 1] {
        let below = store.reader_at(Height(height)).unwrap();
        assert_eq!(below.get(b"k\x03"), Some(vec![if height == 0 { 99 } else { height as u8 - 1 }; 5]));
        assert_eq!(below.changed_at(b"k\x03"), Some(Height(height)));
        below.check().unwrap();
    }
}

fn an_unchecked_failed_read_panics<R: Rig>() {
    let (_rig, store, _) = made::<R>();
    let reader = store.reader().unwrap();
    reader.unreadable(b"k", "a reason from the test");
    drop(reader);
}

fn a_stripped_store_has_no_signing_state<R: Rig>() {
    let (rig, store, mut chain) = made::<R>();
    let next = chain.next(writes([]), vec![b"pending".to_vec()]);
    store.write_ahead(&next.hard_state(), &[(next.id, &next.bytes)]).unwrap();
    store.raise_signing_floor(Height(3)).unwrap();
    store.strip_signing_state().unwrap();
    let check = |store: &Store<R::Kv>| {
        assert_eq!((store.hard_state().unwrap(), store.signing_floor()), (None, Height(0)));
        assert_eq!(store.pending_block(&next.id).unwrap(), None);
        assert_eq!(store.tip().map(|tip| tip.height), Some(Height(HEIGHTS)));
        let blocks: Vec<BlockId> = (1..=HEIGHTS).map(|height| store.head(Height(height)).unwrap().block_id).collect();
        assert_eq!(blocks.len() as u64, HEIGHTS);
    };
    check(&store);
    drop(store);
    check(&open(&rig));
}

on_both! {
    verifying_an_undamaged_store_finds_nothing,
    each_damage_is_found_at_its_place,
    a_damaged_row_fails_its_readers_and_no_others,
    #[should_panic(expected = "was ignored")]
    an_unchecked_failed_read_panics,
    a_stripped_store_has_no_signing_state,
}
