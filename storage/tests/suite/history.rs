//! Proves that the state at a past height reads as it was at its commit, and that rewinding restores exactly that
//! state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use proptest::{collection::vec, prelude::*};
use storage::{Cf, Change, FORGET_STEP, Kv, MemDisk, Store, StoreError, View};
use types::{Height, History, Reader, ReplacedVersion, WriteSet, split_revertible};

use crate::chain::{Chain, PART, Rig, chain_id, changed_since, open, revertible, writes};

on_both!(
    every_kept_height_reads_as_it_was_when_committed,
    a_scan_at_a_height_stops_on_request,
    a_scan_passes_over_many_versions,
    a_scan_begins_at_a_key,
    a_scan_of_some_keys_is_continued_at_the_next,
    the_last_change_of_a_row_is_known_at_every_height,
    a_reader_sees_one_height_while_others_are_committed,
    readers_on_other_threads_see_whole_heights,
    a_held_reader_keeps_its_height_through_a_prune,
    a_reader_below_the_tip_finds_the_same_changes_with_and_without_the_index,
    replaced_versions_that_are_handed_over_give_the_same_rows,
    a_rewound_chain_continues_like_a_chain_that_was_never_rewound,
);

type State = BTreeMap<Vec<u8>, Vec<u8>>;

fn scan(reader: &impl Reader, prefix: &[u8]) -> State {
    let mut rows = State::new();
    let mut last = None;
    reader.scan(prefix, &mut |key, value| {
        assert!(last.as_deref() < Some(key), "ascending, each key once");
        last = Some(key.to_vec());
        rows.insert(key.to_vec(), value.to_vec());
        true
    });
    rows
}

/// Keys of all kinds: of two parts of revertible rows, and of other rows.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || vec(prop_oneof![Just(0u8), Just(1), Just(0xFF)], 0..4);
    let part = proptest::sample::select(vec![PART, b"r\0\0\0\x02", b"r\0"]);
    prop_oneof![bytes(), (part, vec(0u8..2, 0..3)).prop_map(|(part, rest)| [part, &rest].concat())]
}

fn write_set() -> impl Strategy<Value = WriteSet> {
    let rows = proptest::collection::btree_map(key(), proptest::option::of(vec(0u8..3, 0..3)), 0..8);
    rows.prop_map(WriteSet)
}

/// Returns the versions of a key from `height` down to the one in force at `earliest`.
fn versions_of(chain: &Chain, key: &[u8], earliest: Height, height: Height) -> Vec<(Height, Option<Vec<u8>>)> {
    let heights = chain.made.range(..=height).rev().filter(|(_, made)| made.writes.0.contains_key(key));
    let mut versions: Vec<_> = heights.map(|(at, made)| (*at, made.writes.0[key].clone())).collect();
    versions.extend(chain.states[&Height(0)].get(key).map(|value| (Height(0), Some(value.clone()))));
    let above = versions.iter().take_while(|(at, _)| *at > earliest).count();
    let is_value = versions.get(above).is_some_and(|(_, value)| value.is_some());
    versions.truncate(above + usize::from(is_value));
    versions
}

fn check_heights<K: Kv>(store: &Store<K>, chain: &Chain) -> Result<(), TestCaseError> {
    let earliest = store.earliest().prev().unwrap();
    let keys: BTreeSet<&Vec<u8>> = chain.states.values().flat_map(State::keys).collect();
    for (height, state) in chain.states.range(earliest..=chain.height) {
        let reader = store.reader_at(*height).unwrap();
        prop_assert_eq!(reader.height(), *height);
        for prefix in [&[][..], &[0], &[0, 0], &[1], &[1, 0xFF], &[0xFF], PART] {
            let expected: State =
                state.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(scan(&reader, prefix), expected, "height {} prefix {:?}", height, prefix);
        }
        for key in keys.iter().copied() {
            let mut versions = Vec::new();
            let visit = &mut |at: Height, value: Option<&[u8]>| {
                versions.push((at, value.map(<[u8]>::to_vec)));
                true
            };
            reader.try_versions(key, visit).unwrap();
            prop_assert_eq!(versions, versions_of(chain, key, earliest, *height), "height {} key {:?}", height, key);
        }
        let changes: BTreeMap<_, _> = chain.changes(Height::GENESIS, *height, b"").into_iter().collect();
        for key in keys.iter().copied() {
            prop_assert_eq!(reader.get(key), state.get(key).cloned(), "height {} key {:?}", height, key);
            let changed = changes.get(key).copied().or(chain.states[&Height(0)].get(key).map(|_| Height(0)));
            let found = reader.changed_at(key);
            // A deletion at the start of the window may be gone.
            let may_be_gone = !state.contains_key(key) && changed <= Some(earliest);
            prop_assert!(found == changed || (may_be_gone && found.is_none()), "height {} key {:?}", height, key);
        }
        for above in (earliest.0..=height.0).map(Height) {
            for prefix in [&[][..], &[0], &[1, 0xFF], b"r", PART, &revertible(&[0]), b"r\0\0\0\x02"] {
                let expected = chain.changes(above, *height, prefix);
                prop_assert_eq!(changed_since(&reader, above, prefix), expected, "{} to {}", above, height);
            }
            let each_change = |changes_max| {
                let mut keys = Vec::new();
                let is_whole = reader.try_each_change(above, changes_max, &mut |key| keys.push(key.to_vec())).unwrap();
                (is_whole, keys)
            };
            let made = chain.made.iter().rev().filter(|(at, _)| above < **at && *at <= height);
            let all: Vec<Vec<u8>> = made.flat_map(|(_, made)| made.writes.0.keys().cloned()).collect();
            let (is_whole, first) = each_change(0);
            prop_assert!(is_whole == (above == *height) && all.starts_with(&first), "{} to {}", above, height);
            prop_assert_eq!(each_change(usize::MAX), (true, all), "{} to {}", above, height);
            for key_from in [PART.to_vec(), revertible(&[0]), revertible(&[1, 1])] {
                for at in [above.next(), Height((above.0 + height.0) / 2), *height, height.next()] {
                    let from = Change { at, key: key_from.clone() };
                    let mut found = Vec::new();
                    let visit = &mut |key: &[u8], at| {
                        found.push((key.to_vec(), at));
                        true
                    };
                    prop_assert_eq!(reader.try_changed_from(above, PART, &from, visit).unwrap(), None);
                    let mut expected = chain.changes(above, *height, PART);
                    expected.retain(|(key, at)| *at < from.at || (*at == from.at && *key >= from.key));
                    prop_assert_eq!(found, expected, "{} to {} from {:?}", above, height, from);
                }
            }
            for key in keys.iter().copied() {
                prop_assert_eq!(reader.get_at(above, key), chain.states[&above].get(key).cloned());
            }
            let asked: Vec<Vec<u8>> = keys.iter().copied().cloned().chain([b"zz".to_vec()]).collect();
            let mut count = 0;
            reader.compare(above, &asked, &mut |index, now, then| {
                let (at, value) = reader.version(&asked[index]).map_or((None, None), |(at, value)| (Some(at), value));
                let now_value = now.and_then(|(_, value)| value);
                assert_eq!((index, now.map(|(at, _)| at), now_value), (count, at, value.as_deref()));
                assert_eq!(then, chain.states[&above].get(&asked[index]).map(|value| &value[..]));
                count += 1;
                count < 5
            });
            prop_assert_eq!(count, asked.len().min(5));
        }
    }
    prop_assert_eq!(store.verification().finish().findings, []);
    Ok(())
}

fn every_kept_height_reads_as_it_was_when_committed<R: Rig>() {
    let cases = if cfg!(feature = "rocksdb") { 10 } else { 60 };
    let config = ProptestConfig { cases, failure_persistence: None, ..Default::default() };
    proptest!(config, |(first in write_set(), heights in vec(write_set(), 1..20), retain in 0u64..20, reopen: bool)| {
        let rig = R::new();
        let mut store = open(&rig);
        let mut chain = Chain::start(&store, 1, first);
        for writes in heights {
            chain.commit(&store, writes);
        }
        check_heights(&store, &chain)?;
        store.prune(Height(retain)).unwrap();
        if reopen {
            drop(store);
            store = open(&rig);
        }
        check_heights(&store, &chain)?;
    });
}

/// The rows of the index and of the list of changes do not depend on who finds the replaced versions.
fn replaced_versions_that_are_handed_over_give_the_same_rows<R: Rig>() {
    let cases = if cfg!(feature = "rocksdb") { 10 } else { 60 };
    let config = ProptestConfig { cases, failure_persistence: None, ..Default::default() };
    proptest!(config, |(first in write_set(), heights in vec(write_set(), 1..20))| {
        let rigs = [R::new(), R::new()];
        let stores = [open(&rigs[0]), open(&rigs[1])];
        let mut chain = Chain::start(&stores[0], 1, first.clone());
        Chain::start(&stores[1], 1, first);
        for writes in heights {
            let mut made = chain.next(writes, Vec::new());
            stores[0].commit_block(&made.batch()).unwrap();
            let reader = stores[1].reader().unwrap();
            let version = |key: &Vec<u8>| {
                let version = reader.version(key);
                version.map(|(at, value)| ReplacedVersion { at, is_deletion: value.is_none() })
            };
            let revertible = made.writes.0.keys().filter(|key| split_revertible(key).is_some());
            made.replaced.0 = revertible.map(|key| (key.clone(), version(key))).collect();
            drop(reader);
            stores[1].commit_block(&made.batch()).unwrap();
        }
        for cf in [Cf::State, Cf::Changes, Cf::Recent] {
            let rows = |store: &Store<R::Kv>| store.kv().view().rows(cf, &[], &[]).map(Result::unwrap).collect::<Vec<_>>();
            prop_assert_eq!(rows(&stores[0]), rows(&stores[1]));
        }
    });
}

fn a_scan_at_a_height_stops_on_request<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, writes([(b"a", Some(b"1")), (b"b", Some(b"1")), (b"c", Some(b"1"))]));
    chain.commit(&store, writes([(b"a", None), (b"b", Some(b"2"))]));
    for height in [0, 1] {
        let mut seen = 0;
        store.reader_at(Height(height)).unwrap().scan(b"", &mut |_, _| {
            seen += 1;
            false
        });
        assert_eq!(seen, 1);
    }
}

fn a_scan_begins_at_a_key<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, writes([(b"p", Some(b"1")), (b"q", Some(b"1")), (b"r", Some(b"1"))]));
    chain.commit(&store, writes([(b"q", None), (b"s", Some(b"2"))]));
    for (height, from, expected) in [(0, b"q", "qr"), (1, b"q", "rs"), (1, b"s", "s"), (1, b"t", "")] {
        let mut seen = String::new();
        store.reader_at(Height(height)).unwrap().scan_from(b"", from, &mut |key, _| {
            seen.push(char::from(key[0]));
            true
        });
        assert_eq!(seen, expected, "height {height}");
    }
}

/// Keys that are deleted, or are of later heights, count too.
fn a_scan_of_some_keys_is_continued_at_the_next<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, writes([(b"a", Some(b"1")), (b"b\0", Some(b"1")), (b"c", Some(b"1"))]));
    chain.commit(&store, writes([(b"a", None), (b"b\0", Some(b"2")), (b"d", Some(b"2"))]));
    chain.commit(&store, writes([(b"b\0", None), (b"d", Some(b"3")), (b"e", Some(b"3"))]));
    for (height, keys_max) in (0..=2).flat_map(|height| (1..=6).map(move |keys_max| (height, keys_max))) {
        let reader = store.reader_at(Height(height)).unwrap();
        let (mut rows, mut pages, mut from) = (State::new(), 0, Some(Vec::new()));
        while let Some(key) = from {
            from = reader.scan_some(b"", &key, keys_max, &mut |key, value| {
                rows.insert(key.to_vec(), value.to_vec());
                true
            });
            pages += 1;
        }
        assert_eq!(rows, chain.states[&Height(height)], "height {height}");
        assert_eq!(pages, 5usize.div_ceil(keys_max), "{keys_max} of 5 keys in a page");
    }
    let seen = store.reader().unwrap().scan_some(b"", b"", 5, &mut |_, _| false);
    assert_eq!(seen, None, "the caller knows where it stopped");
}

fn the_last_change_of_a_row_is_known_at_every_height<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, writes([(b"a", Some(b"0")), (b"b", Some(b"0"))]));
    for value in [Some(&b"1"[..]), None, Some(b"2")] {
        chain.commit(&store, writes([(b"a", value)]));
        chain.commit(&store, writes([(b"c", Some(b"0"))]));
    }
    let at = |height: u64, key: &[u8]| store.reader_at(Height(height)).unwrap().changed_at(key).map(|height| height.0);
    for (height, changed) in [(0, 0), (1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5)] {
        assert_eq!(at(height, b"a"), Some(changed), "height {height}");
    }
    assert_eq!((at(6, b"b"), at(6, b"none"), at(1, b"c")), (Some(0), None, None));
}

fn a_reader_sees_one_height_while_others_are_committed<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, writes([(b"a", Some(b"0")), (b"gone", Some(b"0"))]));
    chain.commit(&store, writes([(b"a", Some(b"1"))]));
    let tip = store.reader().unwrap();
    let genesis = store.reader_at(Height(0)).unwrap();
    for _ in 0..3 {
        chain.commit(&store, writes([(b"a", Some(b"later")), (b"gone", None), (b"new", Some(b"later"))]));
    }
    assert_eq!((tip.height(), genesis.height()), (Height(1), Height(0)));
    assert_eq!(scan(&tip, b""), chain.states[&Height(1)]);
    assert_eq!(scan(&genesis, b""), chain.states[&Height(0)]);
    assert_eq!(tip.get(b"a").as_deref(), Some(b"1".as_slice()));
    assert_eq!(genesis.get(b"a").as_deref(), Some(b"0".as_slice()));
    assert_eq!(scan(&store.reader().unwrap(), b""), chain.states[&Height(4)]);
}

/// Every height writes its number under each of 50 keys, so that a reader that mixed heights would find two numbers.
fn readers_on_other_threads_see_whole_heights<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let all = |n: u64| WriteSet((0u8..50).map(|key| (vec![key], Some(n.to_be_bytes().to_vec()))).collect());
    let mut chain = Chain::start(&store, 1, all(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for past in [0, 2] {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let tip = store.tip().unwrap().height.0;
                    let height = Height(tip.saturating_sub(past).max(store.earliest().0));
                    let reader = match past {
                        0 => store.reader().unwrap(),
                        _ => match store.reader_at(height) {
                            Ok(reader) => reader,
                            Err(StoreError::Pruned { .. } | StoreError::Future { .. }) => continue,
                            Err(error) => panic!("{error}"),
                        },
                    };
                    let expected = reader.height().0.to_be_bytes();
                    let rows = scan(&reader, b"");
                    assert_eq!(rows.len(), 50);
                    assert!(rows.values().all(|value| *value == expected));
                }
            });
        }
        for n in 1..=3 * FORGET_STEP {
            chain.commit(&store, all(n));
            store.prune(Height(n.saturating_sub(3))).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn a_held_reader_keeps_its_height_through_a_prune<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, writes([(b"a", Some(b"0"))]));
    let count = |n: u64| writes([(b"a", Some(&n.to_be_bytes())), (&n.to_be_bytes(), Some(b"1"))]);
    for n in 1..=3 * FORGET_STEP {
        chain.commit(&store, count(n));
    }
    let held = store.reader_at(Height(5)).unwrap();
    store.prune(Height(2 * FORGET_STEP + 5)).unwrap();
    assert_eq!(scan(&held, b""), chain.states[&Height(5)]);
    assert_eq!(held.get(b"a"), Some(5u64.to_be_bytes().to_vec()));
    assert!(matches!(store.reader_at(Height(6)), Err(StoreError::Pruned { .. })), "no validator joins");
    drop(held);
    store.prune(Height(3 * FORGET_STEP)).unwrap();
    assert_eq!(scan(&store.reader().unwrap(), b""), chain.states[&chain.height]);
}

fn a_rewound_chain_continues_like_a_chain_that_was_never_rewound<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, writes([(b"a", Some(b"0"))]));
    for n in 1..=20u64 {
        chain.commit(&store, writes([(b"a", Some(&n.to_be_bytes())), (&[n as u8 / 3], Some(b"1"))]));
    }
    store.rewind(Height(6)).unwrap();
    assert_eq!(scan(&store.reader().unwrap(), b""), chain.states[&Height(6)]);
    assert!(matches!(store.block(Height(7)), Err(StoreError::Future { .. })));
    for height in 7..=20 {
        store.commit_block(&chain.made[&Height(height)].batch()).unwrap();
    }
    check_heights(&store, &chain).unwrap();
    for (height, set) in &chain.validators {
        assert_eq!(store.validators(*height).unwrap(), *set);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    /// Compares all rows byte by byte: a dump is made at every height, and after the rewind the rows equal the dump.
    #[test]
    fn rewind_leaves_exactly_the_rows_of_that_height(first in write_set(), heights in vec(write_set(), 1..80), to in 0usize..80) {
        let disk = MemDisk::new();
        let store = Store::open(disk.open(), &chain_id()).unwrap();
        let mut chain = Chain::start(&store, 1, first);
        let mut dumps = vec![disk.dump()];
        for writes in heights {
            chain.commit(&store, writes);
            dumps.push(disk.dump());
        }
        let to = to % dumps.len();
        store.rewind(Height(to as u64)).unwrap();
        prop_assert_eq!(disk.dump(), dumps[to].clone());
        prop_assert_eq!(disk.unsynced(), 0);
    }
}

/// The index is used while at most 4,096 rows changed after the height of the reader.
fn a_reader_below_the_tip_finds_the_same_changes_with_and_without_the_index<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    let rows = |rests: &mut dyn Iterator<Item = u16>| {
        WriteSet(rests.map(|rest| (revertible(&rest.to_be_bytes()), Some(vec![1]))).collect())
    };
    for first in 0..4 {
        chain.commit(&store, rows(&mut (first * 8_000..first * 8_000 + 10_000)));
    }
    let reader = store.reader().unwrap();
    let at_tip = changed_since(&reader, Height(0), PART);
    drop(reader);
    assert_eq!(at_tip, chain.changes(Height(0), Height(4), PART));
    for changed in [4000, 20_000] {
        chain.commit(&store, rows(&mut (0..changed).map(|rest| 2 * rest)));
        let reader = store.reader_at(Height(4)).unwrap();
        assert_eq!(changed_since(&reader, Height(0), PART), at_tip);
        for stop in [1, 20_000] {
            let mut seen = 0;
            reader.changed_since(Height(0), PART, &mut |_| {
                seen += 1;
                seen < stop
            });
            assert_eq!(seen, stop);
        }
        let mut pages = Vec::new();
        let mut from = Some(Change { at: Height(4), key: PART.to_vec() });
        while let Some(place) = from {
            let mut rows = 0;
            let mut refused = None;
            let rest = reader.try_changed_from(Height(0), PART, &place, &mut |key, at| {
                rows += 1;
                match rows > 7000 {
                    true => refused = Some(Change { at, key: key.to_vec() }),
                    false => pages.push((key.to_vec(), at)),
                }
                refused.is_none()
            });
            from = rest.unwrap().or(refused);
        }
        assert_eq!(pages, at_tip, "in pages");
    }
}

#[test]
pub fn rows_below_the_window_are_gone_from_memory() {
    let disk = MemDisk::new();
    let store = Store::open(disk.open(), &chain_id()).unwrap();
    let mut chain = Chain::start(&store, 1, writes([(b"gone", Some(b"0"))]));
    chain.commit(&store, writes([(b"a", None), (b"gone", None)]));
    for n in 2..=3 * FORGET_STEP {
        let value = n.to_be_bytes();
        chain.commit(&store, writes([(b"a", Some(&value)), (&revertible(&value), Some(b"1"))]));
    }
    store.prune(Height(FORGET_STEP + 1)).unwrap();
    store.prune(Height(2 * FORGET_STEP + 1)).unwrap();
    let rows = |cf: Cf| disk.dump().iter().filter(|(at, _, _)| *at == cf).count() as u64;
    for cf in [Cf::Heads, Cf::Blocks, Cf::BlockHash, Cf::Commits, Cf::Results, Cf::Recent, Cf::Txs] {
        assert_eq!(rows(cf), FORGET_STEP, "{}", cf.name());
    }
    assert_eq!(rows(Cf::Changes), 2 * FORGET_STEP, "the lists stay until what was removed with them is durable");
    let written_once = 3 * FORGET_STEP - 1;
    assert_eq!(
        rows(Cf::State) - written_once,
        FORGET_STEP + 1,
        "one more than heights, for the state under the earliest block"
    );
}

/// The number of versions of a key must not show in a scan, at any height.
fn a_scan_passes_over_many_versions<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, writes([(b"a", Some(b"0")), (b"b\0", Some(b"0")), (b"c", Some(b"0"))]));
    for n in 1..=200u64 {
        let value = n.to_be_bytes();
        let hot = (n % 7 != 0).then_some(&value[..]);
        chain.commit(&store, writes([(b"b", hot), (b"b\0", Some(&value)), (&[b'b', 1 + (n % 3) as u8], hot)]));
    }
    check_heights(&store, &chain).unwrap();
}
