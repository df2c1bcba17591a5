//! Proves that each database implements the `Kv` interface: batches, scans, snapshots, reopening, deletion, and
//! counters.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};
use storage::{Batch, Cf, Durability::*, Kv, View};
use types::Height;

use crate::chain::{PART, Rig, version};

on_both!(
    a_batch_is_atomic_and_its_later_changes_win,
    rows_ascend_within_a_prefix_from_a_key,
    a_scan_stops_when_it_is_dropped,
    at_or_below_finds_the_last_row_up_to_a_key,
    multi_get_answers_in_the_order_of_the_keys,
    a_view_does_not_see_later_writes,
    rows_survive_a_reopen,
    forget_below_keeps_rows_at_and_above_the_height,
    stats_count_batches_syncs_and_bytes,
    the_database_behaves_like_an_ordered_map,
);

fn put(cf: Cf, rows: &[(&[u8], &[u8])]) -> Batch {
    let mut batch = Batch::new();
    rows.iter().for_each(|(key, value)| batch.put(cf, *key, *value));
    batch
}

fn keys<V: View>(view: &V, cf: Cf, prefix: &[u8], from: &[u8]) -> Vec<Vec<u8>> {
    view.rows(cf, prefix, from).map(|row| row.expect("reads").0.into()).collect()
}

fn a_batch_is_atomic_and_its_later_changes_win<R: Rig>() {
    let rig = R::new();
    let kv = rig.open();
    let mut batch = put(Cf::State, &[(b"a", b"1"), (b"b", b"1"), (b"a", b"2")]);
    batch.put(Cf::Meta, "a", "other family");
    batch.delete(Cf::State, "b");
    batch.delete(Cf::State, "never there");
    kv.write(batch, Buffered).unwrap();
    assert_eq!(kv.get(Cf::State, b"a").unwrap().as_deref(), Some(b"2".as_slice()));
    assert_eq!(kv.get(Cf::State, b"b").unwrap(), None);
    assert_eq!(kv.get(Cf::Meta, b"a").unwrap().as_deref(), Some(b"other family".as_slice()));
}

fn rows_ascend_within_a_prefix_from_a_key<R: Rig>() {
    let rig = R::new();
    let kv = rig.open();
    let all: [&[u8]; 7] = [b"", b"a", b"a\0", b"ab", b"a\xff", b"b", b"\xff\xff"];
    kv.write(put(Cf::State, &all.map(|key| (key, key))), Buffered).unwrap();
    let view = kv.view();
    assert_eq!(keys(&view, Cf::State, b"", b""), all);
    assert_eq!(keys(&view, Cf::State, b"a", b""), all[1..5]);
    assert_eq!(keys(&view, Cf::State, b"a", b"aa"), all[3..5]);
    assert_eq!(keys(&view, Cf::State, b"\xff", b"\xff"), all[6..]);
    assert_eq!(keys(&view, Cf::State, b"", b"b"), all[5..]);
    assert_eq!(keys(&view, Cf::State, b"a", b"b"), all[..0]);
    assert_eq!(keys(&view, Cf::State, b"c", b""), all[..0]);
    let between = |from: &[u8], to: &[u8]| {
        let (mut rows, mut found) = (view.between(Cf::State, from, Some(to.to_vec())).unwrap(), Vec::new());
        while let Some((key, _)) = rows.row() {
            found.push(key.to_vec());
            rows.advance().unwrap();
        }
        found
    };
    assert_eq!(between(b"a", b"b"), all[1..5]);
    assert_eq!(between(b"a\0", b"\xff"), all[2..6]);
    assert_eq!(between(b"", b"a"), all[..1]);
    assert_eq!(between(b"b", b"b"), all[..0]);
}

fn a_scan_stops_when_it_is_dropped<R: Rig>() {
    let rig = R::new();
    let kv = rig.open();
    kv.write(put(Cf::State, &[(b"a", b"1"), (b"b", b"2")]), Buffered).unwrap();
    let view = kv.view();
    let (key, value) = view.rows(Cf::State, b"", b"").next().unwrap().unwrap();
    assert_eq!((&*key, &*value), (b"a".as_slice(), b"1".as_slice()));
}

fn at_or_below_finds_the_last_row_up_to_a_key<R: Rig>() {
    let rig = R::new();
    let kv = rig.open();
    kv.write(put(Cf::Params, &[(b"b", b"1"), (b"d", b"2")]), Buffered).unwrap();
    let view = kv.view();
    let below = |key: &[u8]| view.at_or_below(Cf::Params, key).unwrap().map(|(key, _)| key.to_vec());
    assert_eq!(below(b"a"), None);
    assert_eq!(below(b"b"), Some(b"b".to_vec()));
    assert_eq!(below(b"c"), Some(b"b".to_vec()));
    assert_eq!(below(b"z"), Some(b"d".to_vec()));
}

fn multi_get_answers_in_the_order_of_the_keys<R: Rig>() {
    let rig = R::new();
    let kv = rig.open();
    let number = |i: u32| i.to_be_bytes();
    let mut batch = Batch::new();
    (0..500).step_by(2).for_each(|i| batch.put(Cf::State, number(i), number(i)));
    kv.write(batch, Buffered).unwrap();
    let asked: Vec<_> = (0..500).map(number).collect();
    let found = kv.multi_get(Cf::State, &asked.iter().map(<[u8; 4]>::as_slice).collect::<Vec<_>>()).unwrap();
    let expected: Vec<_> = (0..500).map(|i| (i % 2 == 0).then(|| number(i).to_vec())).collect();
    assert_eq!(found, expected);
    assert!(kv.multi_get(Cf::State, &[]).unwrap().is_empty());
}

fn a_view_does_not_see_later_writes<R: Rig>() {
    let rig = R::new();
    let kv = rig.open();
    kv.write(put(Cf::State, &[(b"a", b"old"), (b"b", b"old")]), Buffered).unwrap();
    let view = kv.view();
    let mut batch = put(Cf::State, &[(b"a", b"new"), (b"c", b"new")]);
    batch.delete(Cf::State, "b");
    kv.write(batch, Synced).unwrap();
    assert_eq!(view.get(Cf::State, b"a").unwrap().as_deref(), Some(b"old".as_slice()));
    assert_eq!(keys(&view, Cf::State, b"", b""), [b"a", b"b"]);
    assert_eq!(keys(&kv.view(), Cf::State, b"", b""), [b"a", b"c"]);
}

fn rows_survive_a_reopen<R: Rig>() {
    let rig = R::new();
    let kv = rig.open();
    kv.write(put(Cf::State, &[(b"a", b"buffered")]), Buffered).unwrap();
    kv.write(put(Cf::Blocks, &[(b"b", &[7; 10_000])]), Synced).unwrap();
    kv.write(put(Cf::Txs, &[(b"c", b"after the sync")]), Buffered).unwrap();
    drop(kv);
    let kv = rig.open();
    assert_eq!(kv.get(Cf::State, b"a").unwrap().as_deref(), Some(b"buffered".as_slice()));
    assert_eq!(kv.get(Cf::Blocks, b"b").unwrap(), Some(vec![7; 10_000]));
    assert_eq!(kv.get(Cf::Txs, b"c").unwrap().as_deref(), Some(b"after the sync".as_slice()));
}

fn forget_below_keeps_rows_at_and_above_the_height<R: Rig>() {
    let rig = R::new();
    let kv = rig.open();
    let height = |h: u64| h.to_be_bytes();
    let mut batch = Batch::new();
    for h in 0..300 {
        batch.put(Cf::Heads, height(h), [1]);
        batch.put(Cf::State, version(b"key", h), [1]);
        batch.put(Cf::Recent, [PART, &(!h).to_be_bytes()[..], b"key"].concat(), []);
        batch.put(Cf::Txs, (h * 7919).to_le_bytes(), [height(h).as_slice(), &[0; 4]].concat());
    }
    kv.write(batch, Synced).unwrap();
    for cf in [Cf::Heads, Cf::State, Cf::Recent, Cf::Txs] {
        kv.forget_below(cf, Height(200)).unwrap();
        kv.forget_below(cf, Height(100)).unwrap();
        let view = kv.view();
        let kept = view.rows(cf, b"", b"").filter_map(|row| {
            let (key, value) = row.unwrap();
            cf.height_of(&key, &value)
        });
        let mut kept: Vec<u64> = kept.map(|height| height.0).filter(|height| *height >= 200).collect();
        kept.sort_unstable();
        assert_eq!(kept, (200..300).collect::<Vec<_>>(), "{}", cf.name());
    }
    assert_eq!(kv.get(Cf::Heads, &height(199)).unwrap(), None);
}

fn stats_count_batches_syncs_and_bytes<R: Rig>() {
    let rig = R::new();
    let kv = rig.open();
    let before = kv.stats();
    kv.write(put(Cf::State, &[(b"ab", b"cde")]), Buffered).unwrap();
    kv.write(put(Cf::State, &[(b"f", b"")]), Synced).unwrap();
    kv.write(Batch::new(), Synced).unwrap();
    let after = kv.stats();
    assert_eq!(after.batches - before.batches, 3);
    assert_eq!(after.syncs - before.syncs, 2);
    assert_eq!(after.batch_bytes.sum - before.batch_bytes.sum, 6);
    let sizes = kv.sizes();
    assert_eq!(sizes.iter().map(|(cf, _)| *cf).collect::<Vec<_>>(), Cf::ALL);
    assert!(sizes[Cf::State as usize].1 > 0);
}

#[derive(Clone, Debug)]
enum Act {
    Write(Vec<(bool, Vec<u8>, Option<Vec<u8>>)>, bool),
    Scan(Vec<u8>, Vec<u8>),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let key = || vec(prop_oneof![Just(0u8), Just(1), Just(0xFF)], 0..4);
    let value = proptest::option::of(vec(any::<u8>(), 0..3));
    prop_oneof![
        6 => (vec((any::<bool>(), key(), value), 0..6), any::<bool>()).prop_map(|(ops, sync)| Act::Write(ops, sync)),
        4 => (key(), key()).prop_map(|(prefix, from)| Act::Scan(prefix, from)),
        1 => Just(Act::Reopen),
    ]
}

fn the_database_behaves_like_an_ordered_map<R: Rig>() {
    let cases = if cfg!(feature = "rocksdb") { 12 } else { 200 };
    proptest!(ProptestConfig { cases, failure_persistence: None, ..Default::default() }, |(acts in vec(act(), 1..40))| {
        let rig = R::new();
        let mut kv = Some(rig.open());
        let mut model: [BTreeMap<Vec<u8>, Vec<u8>>; 2] = Default::default();
        let family = |first| if first { Cf::State } else { Cf::Results };
        for act in acts {
            let db = kv.as_ref().expect("open");
            match act {
                Act::Write(ops, sync) => {
                    let mut batch = Batch::new();
                    for (first, key, value) in ops {
                        match value {
                            Some(value) => {
                                batch.put(family(first), key.clone(), value.clone());
                                model[usize::from(first)].insert(key, value);
                            }
                            None => {
                                batch.delete(family(first), key.clone());
                                model[usize::from(first)].remove(&key);
                            }
                        }
                    }
                    db.write(batch, if sync { Synced } else { Buffered }).unwrap();
                }
                Act::Scan(prefix, from) => {
                    let view = db.view();
                    let rows = view.rows(Cf::State, &prefix, &from).map(|row| row.unwrap());
                    let rows: Vec<_> = rows.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
                    let expected = model[1].iter().filter(|(key, _)| key.starts_with(&prefix) && **key >= from);
                    prop_assert_eq!(rows, expected.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>());
                    let below = view.at_or_below(Cf::State, &from).unwrap().map(|(key, _)| key.to_vec());
                    prop_assert_eq!(below.as_ref(), model[1].range(..=from).next_back().map(|(key, _)| key));
                }
                Act::Reopen => {
                    drop(kv.take());
                    kv = Some(rig.open());
                }
            }
        }
        let db = kv.as_ref().expect("open");
        for first in [true, false] {
            let view = db.view();
            let rows: BTreeMap<_, _> =
                view.rows(family(first), b"", b"").map(|row| row.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(&rows, &model[usize::from(first)]);
        }
    });
}
