//! Proves that a node starts with the right trees: from stored hashes, whatever was interrupted or damaged, or from the
//! state.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use app::{
    App, BlockContext, EarlierTrees, REVERTIBLE, genesis_writes, state,
    tree::{load::StoredTrees, stored::StoredNode},
};
use replica::{LiveApp, TreesFrom, open_app, prepare_earlier};
use storage::{Batch, Cf, Durability, Fault, Kv, MemDisk, RocksKv, Store, StoreError, View};
use types::{
    Address, Hash, Height, KvOp, Msg, NsName, NsOwner, Params, SecretKey, Time, TxBody, TxOrder, VerifiedTx, WriteSet,
    blake3,
};

#[allow(unexpected_cfgs)]
#[path = "../../storage/tests/suite/chain.rs"]
mod chain;

use chain::{Chain, chain_id};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn account(number: u32) -> Address {
    Address(*blake3(&number.to_be_bytes()).0.first_chunk().unwrap())
}

/// A chain with an application, whose blocks have transfers and namespaces.
struct World<K: Kv> {
    store: Store<K>,
    chain: Chain,
    app: LiveApp,
    /// App hash after each height.
    hashes: BTreeMap<Height, Hash>,
    /// Next nonce of the sender.
    nonce: u64,
}

impl<K: Kv> World<K> {
    /// Initializes the store with a thousand accounts.
    fn start(kv: K) -> Self {
        let store = Store::open(kv, &chain_id()).unwrap();
        let accounts = (0..1000_u32).map(|n| (account(n), 5));
        let accounts = accounts.chain([(key(1).public_key().address(), 1 << 40)]);
        let first = genesis_writes(&Params::default(), &[], accounts).unwrap();
        let chain = Chain::start(&store, 1, WriteSet(first.rows().map(|(key, row)| (key, Some(row))).collect()));
        let (app, from) = open_app(&store, Height(0), first.app_hash).unwrap();
        assert_eq!((app.app_hash(), from), (first.app_hash, TreesFrom::State("there are none")));
        let hashes = [(Height(0), first.app_hash)].into();
        Self { store, chain, app: LiveApp::new(app), hashes, nonce: 0 }
    }

    fn store_all(&self) -> Result<(), StoreError> {
        let app = self.app.read();
        self.store.replace_trees(app.height(), app.stored().map(StoredNode::row))
    }

    /// Commits a height with transfers to new accounts, and with a namespace and a key in it.
    fn commit(&mut self) -> Result<(), StoreError> {
        let height = self.chain.height.next();
        let transfer = |n: u64| Msg::Transfer { to: Address([(height.0 * 40 + n) as u8 | 1; 20]), amount: 1 };
        let transfers = (0..20).map(transfer);
        let messages: Vec<Msg> = transfers.chain(namespace_messages(height.0)).collect();
        let tx = |message| {
            let (order, messages) = (TxOrder::Nonce(self.nonce), vec![message]);
            self.nonce += 1;
            let body = TxBody { chain_id: chain_id(), signer: key(1).public_key(), order, fee: 1 << 20, messages };
            VerifiedTx::verified_before(body.sign(&key(1)))
        };
        let txs: Vec<VerifiedTx> = messages.into_iter().map(tx).collect();
        let time = Time::from_unix_millis(1_700_000_000_000 + height.0);
        let context =
            BlockContext { height, time, proposer: Address([1; 20]), misbehavior: Vec::new(), absent: Vec::new() };
        let reader = self.store.reader()?;
        let outcome = self.app.read().execute(&reader, &context, &txs);
        reader.check()?;
        drop(reader);
        assert!(outcome.results.txs.iter().all(|result| result.code == 0));
        self.hashes.insert(height, outcome.results.app_hash);
        let made = self.chain.next(outcome.writes, Vec::new());
        self.store.commit_block(&made.batch())?;
        self.app.commit(outcome.update);
        Ok(())
    }
}

/// Returns messages that create a namespace, fill it, and empty the one of the height before.
fn namespace_messages(height: u64) -> Vec<Msg> {
    let name = |height: u64| format!("n{height}");
    let ops = |value: Option<&[u8]>| {
        let op = |n: u8| KvOp { key: vec![n + 1], value: value.map(<[u8]>::to_vec), if_height: None };
        (0..15).map(op).collect()
    };
    let write = |at: u64, value| Msg::KvWrite { ns: name(at), data_epoch: 1, ops: ops(value) };
    let owner = NsOwner::Signer;
    let create = Msg::NsCreate { ns: name(height), owner, quota_keys: 100, quota_bytes: 10_000 };
    let before = height.checked_sub(1).filter(|before| *before > 0);
    [create, write(height, Some(b"value"))].into_iter().chain(before.map(|before| write(before, None))).collect()
}

/// Opens the application at a height as a start does, and checks it.
fn opened<K: Kv>(store: &Store<K>, height: Height, hashes: &BTreeMap<Height, Hash>) -> (App, TreesFrom) {
    let (app, from) = open_app(store, height, hashes[&height]).unwrap();
    assert_eq!((app.height(), app.app_hash()), (height, hashes[&height]), "{from:?}");
    (app, from)
}

#[test]
fn a_start_continues_from_the_stored_hashes_forwards_and_backwards() {
    let mut world = World::start(MemDisk::new().open());
    world.store_all().unwrap();
    for _ in 0..12 {
        world.commit().unwrap();
    }
    let (app, from) = opened(&world.store, Height(12), &world.hashes);
    assert!(matches!(from, TreesFrom::Stored { height: Height(0), changed } if changed > 100), "{from:?}");
    // What the application has changed completes the stored hashes.
    LiveApp::new(app).store_trees(&world.store, true).unwrap();
    assert_eq!(opened(&world.store, Height(12), &world.hashes).1, TreesFrom::Stored { height: Height(12), changed: 0 });
    for height in (0..12).map(Height) {
        let (mut app, from) = opened(&world.store, height, &world.hashes);
        assert!(matches!(from, TreesFrom::Stored { height: Height(12), .. }), "{height}: {from:?}");
        // What it has changed takes the stored hashes back too.
        let mut back = BTreeMap::new();
        world.store.read_trees(&mut |key, value| back.insert(key.to_vec(), value.to_vec()).is_none()).unwrap();
        let (at, nodes) = app.take_changed(0, 0).expect("as many as there are");
        assert_eq!(at, height);
        for (key, value) in nodes.rows() {
            match value {
                Some(value) => back.insert(key, value),
                None => back.remove(&key),
            };
        }
        let mut trees = StoredTrees::default();
        assert!(back.iter().all(|(key, value)| trees.push(key, value)));
        let reader = world.store.reader_at(height).unwrap();
        let app = App::load(trees, height, &reader, chain_id(), height, []).expect("trees");
        assert_eq!(app.app_hash(), world.hashes[&height]);
    }
    // The running application has the same trees, and follows them further.
    world.app.store_trees(&world.store, true).unwrap();
    world.commit().unwrap();
    opened(&world.store, Height(13), &world.hashes);
}

#[test]
fn a_rewind_and_a_late_start_are_followed_by_a_scan_of_the_state() {
    let mut world = World::start(MemDisk::new().open());
    world.store_all().unwrap();
    (0..8).for_each(|_| world.commit().unwrap());
    world.app.store_trees(&world.store, true).unwrap();
    world.store.rewind(Height(6)).unwrap();
    let (app, from) = opened(&world.store, Height(6), &world.hashes);
    assert_eq!(from, TreesFrom::State("there are none"));
    world.store.replace_trees(Height(6), app.stored().map(StoredNode::row)).unwrap();
    assert_eq!(opened(&world.store, Height(6), &world.hashes).1, TreesFrom::Stored { height: Height(6), changed: 0 });
    let mut world = World::start(MemDisk::new().open());
    world.store_all().unwrap();
    (0..8).for_each(|_| world.commit().unwrap());
    world.store.prune(Height(7)).unwrap();
    let from = opened(&world.store, Height(8), &world.hashes).1;
    assert_eq!(from, TreesFrom::State("they are older than the kept heights"));
}

#[test]
fn damaged_hashes_are_detected_and_computed_again() {
    let mut world = World::start(MemDisk::new().open());
    (0..3).for_each(|_| world.commit().unwrap());
    world.store_all().unwrap();
    world.commit().unwrap();
    let kv = world.store.kv();
    let rows: Vec<_> = kv.view().rows(Cf::Trees, &[], &[]).map(Result::unwrap).collect();
    assert!(rows.len() > 80, "{}", rows.len());
    let write = |key: &[u8], value: Option<Vec<u8>>| {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(Cf::Trees, key, value),
            None => batch.delete(Cf::Trees, key),
        }
        kv.write(batch, Durability::Buffered).unwrap();
    };
    let from = || opened(&world.store, Height(4), &world.hashes).1;
    // The buckets of rows that changed since are read again, so damage there has no effect.
    let mut detected = [0, 0];
    for (nth, (key, value)) in rows.iter().enumerate() {
        let mut flipped = value.to_vec();
        flipped[nth % value.len()] ^= 1 << (nth % 8);
        write(key, Some(flipped));
        assert_eq!(from(), TreesFrom::State("they are not those of trees"), "row {nth}");
        write(key, None);
        detected[0] += usize::from(matches!(from(), TreesFrom::State(_)));
        // A row that is whole, but has the hash of other content.
        let mut other = [&value[..1], &blake3(key).0].concat();
        let check = blake3(&[&key[..], &other].concat());
        other.extend(&check.0[..4]);
        write(key, Some(other));
        detected[1] += usize::from(from() == TreesFrom::State("they do not lead to the app hash of the chain"));
        write(key, Some(value.to_vec()));
    }
    assert!(detected[0] >= rows.len() - 2 && detected[1] > rows.len() / 2, "{detected:?} of {}", rows.len());
    assert!(matches!(from(), TreesFrom::Stored { height: Height(3), .. }));
}

/// Commits heights, and stores the hashes after some of them.
fn live<K: Kv>(world: &mut World<K>) -> Result<(), StoreError> {
    world.store_all()?;
    for nth in 0..7 {
        world.commit()?;
        if nth % 3 != 1 {
            world.app.store_trees(&world.store, true)?;
        }
    }
    Ok(())
}

#[test]
fn a_crash_at_any_write_is_followed_by_a_start_with_the_right_trees() {
    let mut world = World::start(MemDisk::new().open());
    let before = world.store.kv().stats().batches;
    live(&mut world).unwrap();
    let count = world.store.kv().stats().batches - before;
    let mut stored = 0;
    for (nth, fault) in (0..count).flat_map(|nth| [(nth, Fault::Lost), (nth, Fault::Kept)]) {
        for power in [None, Some(0), Some(1), Some(3)] {
            let disk = MemDisk::new();
            let mut world = World::start(disk.open());
            world.store.sync().unwrap();
            disk.fail_write(nth, fault);
            live(&mut world).unwrap_err();
            if let Some(keep) = power {
                disk.crash(keep);
            }
            let store = Store::open(disk.open(), &chain_id()).unwrap();
            let (_, from) = opened(&store, store.tip().unwrap().height, &world.hashes);
            stored += usize::from(matches!(from, TreesFrom::Stored { .. }));
        }
    }
    assert!(stored > count as usize, "{stored} starts continued from stored hashes");
}

#[test]
fn a_start_on_rocksdb_after_a_kill_continues_from_the_stored_hashes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store");
    let mut world = World::start(RocksKv::open(&path).unwrap());
    live(&mut world).unwrap();
    world.commit().unwrap();
    let World { store, hashes, .. } = world;
    drop(store);
    let store = Store::open(RocksKv::open(&path).unwrap(), &chain_id()).unwrap();
    let (_, from) = opened(&store, Height(8), &hashes);
    assert!(matches!(from, TreesFrom::Stored { height: Height(7), changed } if changed > 20), "{from:?}");
}

/// Computes the trees of an earlier height for proofs about a namespace: each call scans at most one part of the rows. Between
/// calls, the tip advances `commits` times.
fn earlier_trees<K: Kv>(world: &mut World<K>, height: Height, number: Option<u32>, commits: usize) -> EarlierTrees {
    let mut trees = EarlierTrees::new(&world.store.reader_at(height).unwrap(), height);
    for call in 1.. {
        let reader = world.store.reader_at(height).unwrap();
        let mut may_go_on = true;
        let is_complete = prepare_earlier(&mut trees, number, &world.store, &world.app, &reader, &mut || {
            std::mem::replace(&mut may_go_on, false)
        });
        drop(reader);
        if is_complete.unwrap() {
            break;
        }
        assert_eq!(trees.app_hash(), None);
        if call <= commits {
            world.commit().unwrap();
        }
    }
    assert_eq!(trees.app_hash(), Some(world.hashes[&height]));
    trees
}

#[test]
fn each_earlier_height_is_proven_while_the_tip_advances() {
    let mut world = World::start(MemDisk::new().open());
    (0..6).for_each(|_| world.commit().unwrap());
    for height in (0..7).map(Height) {
        // The namespace that this height created, the one that it emptied, and one of the next height.
        let of_namespace = |at: u64| (NsName::new(&format!("n{at}")).unwrap(), at as u32 - 1);
        let trees = earlier_trees(&mut world, height, height.0.checked_sub(1).map(|number| number as u32), 3);
        let reader = world.store.reader_at(height).unwrap();
        let app_hash = world.hashes[&height];
        let recipients = (0..=u8::MAX).step_by(17).map(|byte| Address([byte; 20]));
        let mut values = [0, 0];
        for address in (0..1000).step_by(111).map(account).chain(recipients) {
            let key = state::key::account(&address);
            let value = app::View::of_state(&reader).get(&key).map(<[u8]>::to_vec);
            let proof = trees.prove(&reader, &key).unwrap();
            assert_eq!(proof.verify(&app_hash, &[state::NEVER_REVERTED], &key, value.as_deref()), Ok(()));
            values[usize::from(value.is_some())] += 1;
        }
        assert!(values[0] > 5 && values[1] > 9, "{values:?}");
        for at in 1..=height.0 + 1 {
            let (name, number) = of_namespace(at);
            let root =
                app::View::of_state(&reader).namespace(&name).map(|found| app::View::of_state(&reader).root_of(&found));
            assert_eq!(root.is_some(), at <= height.0);
            let proof = trees.prove_root(&reader, &name).unwrap();
            let root = root.as_ref().map(|root| &root.0[..]);
            assert_eq!(proof.verify(&app_hash, &[REVERTIBLE], name.as_bytes(), root), Ok(()));
            let of_key = trees.prove_in(&reader, number, &[3]);
            assert_eq!(of_key.is_ok(), at == height.0, "only the tree of this one was computed");
        }
        if height > Height(0) {
            let (name, number) = of_namespace(height.0);
            for (key, value) in [([3], Some(&b"value"[..])), ([99], None)] {
                let proof = trees.prove_in(&reader, number, &key).unwrap();
                assert_eq!(proof.verify(&app_hash, &[name.as_bytes(), REVERTIBLE], &key, value), Ok(()));
            }
        }
        drop(reader);
        // The trees of a further namespace are added to those of the height: one that is empty since then.
        if height > Height(1) {
            let trees = earlier_trees(&mut world, height, Some(height.0 as u32 - 2), 1);
            let reader = world.store.reader_at(height).unwrap();
            let (name, number) = of_namespace(height.0 - 1);
            let proof = trees.prove_in(&reader, number, &[3]).unwrap();
            assert_eq!(proof.verify(&app_hash, &[name.as_bytes(), REVERTIBLE], &[3], None), Ok(()));
        }
    }
}

#[test]
fn an_earlier_height_is_proven_from_all_its_rows_if_too_much_changed_since() {
    let mut world = World::start(MemDisk::new().open());
    (0..4).for_each(|_| world.commit().unwrap());
    let reader = world.store.reader_at(Height(2)).unwrap();
    let mut trees = EarlierTrees::new(&reader, Height(2));
    assert!(trees.begin(Some(1)));
    while !trees.copy(&world.app.read()) {}
    trees.end_copy(false);
    assert!(!trees.begin(Some(1)), "nothing is missing");
    assert!(!trees.read(&reader, &mut || false) && trees.percent() == 0);
    assert!(trees.read(&reader, &mut || true));
    assert_eq!((trees.app_hash(), trees.percent()), (Some(world.hashes[&Height(2)]), 100));
    assert!(trees.prove_in(&reader, 1, &[3]).unwrap().value().is_some());
    trees.forget_namespaces();
    assert!(trees.prove_in(&reader, 1, &[3]).is_err());
    assert!(trees.begin(Some(1)));
}

#[test]
fn the_lowest_kept_height_is_proven() {
    let mut world = World::start(MemDisk::new().open());
    (0..6).for_each(|_| world.commit().unwrap());
    world.store.prune(Height(4)).unwrap();
    assert!(matches!(world.store.reader_at(Height(2)).err(), Some(StoreError::Pruned { .. })));
    earlier_trees(&mut world, Height(3), Some(2), 2);
}
