//! Trees in which many paths begin with the same bits, as a client can choose them.

#[path = "../../../tests/common/counting.rs"]
mod counting;

pub(super) use counting::Counting;

use super::*;

/// A path that begins with `bits` bits of a number that is repeated; the rest depends on `i`.
pub(super) fn path(bits: u32, i: u32) -> Path {
    let mut path = path_of(&i.to_be_bytes());
    for bit in 0..bits {
        let (byte, mask) = (bit as usize / 8, 0x80 >> (bit % 8));
        path[byte] = path[byte] & !mask | 0x5A & mask;
    }
    path
}

pub(super) fn change(path: &Path, value: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
    (row_key(PREFIX, path), value.map(|value| row_value(path, value)))
}

/// Returns the changes that put these paths.
pub(super) fn put_paths(paths: impl IntoIterator<Item = Path>) -> WriteSet {
    writes(paths.into_iter().map(|path| change(&path, Some(b"x"))))
}

/// Compares the nodes of a tree with its rows (T5), and with those that are read from the stored nodes.
fn check(world: &World) {
    fn below(leaves: &[Leaf], place: Place, found: &mut BTreeMap<Place, Node>) {
        if leaves.len() < 64 || place.0 == 63 {
            return;
        }
        let (left, right) = split(leaves, place.0);
        for (child, leaves) in [((place.0 + 1, 2 * place.1), left), ((place.0 + 1, 2 * place.1 + 1), right)] {
            found.insert(child, fold(leaves, child.0));
            below(leaves, child, found);
        }
    }
    let tree = &world.tree;
    let mut expected = BTreeMap::new();
    for nth in 0..tree.shape().buckets() {
        let place = tree.nth_bucket(nth);
        let leaves = read_leaves(PREFIX, place, &world.rows);
        assert_eq!(tree.node(place), fold(&leaves, place.0));
        below(&leaves, place, &mut expected);
    }
    assert_eq!(tree.below, expected);
    assert_eq!((tree.root(), tree.leaves), (root_by_definition(&world.rows), world.rows.len()));
    let scanned = Tree::open(PREFIX, &world.rows);
    assert_eq!((scanned.root(), scanned.leaves), (tree.root(), tree.leaves));
    let stored: Rows = tree.stored().map(StoredNode::row).map(|(key, value)| (key, value.unwrap())).collect();
    assert!(world.stored == stored, "the stored nodes are those of the tree");
    let loaded = world.load().expect("what was stored is read");
    assert_eq!((&loaded.levels, &loaded.below, loaded.leaves), (&tree.levels, &tree.below, tree.leaves));
    for (path, leaves) in tree.ends().map(|place| (place, read_leaves(PREFIX, place, &world.rows))) {
        assert!(path.0 == 63 || leaves.len() < 64);
        let held = world.cache.get(&tree.cache_key(path));
        assert!(held.is_none_or(|held| held == leaves), "the cache has the leaves at {path:?}");
    }
}

/// Puts or deletes some paths that share a number of bits, around the number of leaves at which a node is divided; or some
/// that share none, by which the tree grows and shrinks.
fn crowded_writes() -> impl Strategy<Value = WriteSet> {
    let bits = prop_oneof![Just(0), Just(3), Just(9), Just(17), Just(33), Just(62), Just(64), Just(200)];
    let some =
        (bits, 0_u32..80, prop_oneof![Just(1_u32), Just(2), Just(30), Just(63), Just(64), Just(300)], any::<bool>());
    proptest::collection::vec(some, 1..4).prop_map(|some| {
        writes(some.into_iter().flat_map(|(bits, first, count, is_put)| {
            // The ends at the greatest depth stay below 256 leaves: there, the numbers of stored nodes are exact.
            let different = if bits >= 64 { 20 } else { u32::MAX };
            (first..first + count)
                .map(move |i| i % different)
                .map(move |i| change(&path(bits, i), is_put.then_some(&[b'x', (i % 7) as u8])))
        }))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// (T5) The cache decides nothing.
    #[test]
    fn crowded_buckets_are_divided_in_any_order_of_writes(
        batches in proptest::collection::vec(crowded_writes(), 1..12),
        bytes_max in 0_usize..60_000,
    ) {
        let mut worlds = [0, bytes_max, usize::MAX].map(World::with_cache);
        for batch in &batches {
            let updates = worlds.each_ref().map(|world| world.update(batch));
            for update in &updates {
                prop_assert_eq!(
                    (&update.nodes, &update.below, &update.ends, &update.splits, &update.reshaped),
                    (&updates[0].nodes, &updates[0].below, &updates[0].ends, &updates[0].splits, &updates[0].reshaped)
                );
            }
            for world in &mut worlds {
                world.write(batch);
                check(world);
            }
        }
    }

    /// Forwards and backwards.
    #[test]
    fn stored_nodes_and_changed_keys_give_the_same_crowded_tree(
        batches in proptest::collection::vec(crowded_writes(), 1..8),
        at in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new();
        let at = at.index(batches.len());
        let mut states = vec![(world.rows.clone(), world.stored.clone())];
        for batch in &batches {
            world.write(batch);
            states.push((world.rows.clone(), world.stored.clone()));
        }
        let changed: BTreeSet<Path> = batches[at..].iter().flat_map(|batch| batch.0.keys().map(|key| key[1..].try_into().unwrap())).collect();
        for (from, to) in [(at, batches.len()), (batches.len(), at)] {
            let tree = load(&states[from].1).expect("what was stored is read");
            let mut world = World { tree, rows: states[to].0.clone(), cache: Cache::new(0), stored: states[from].1.clone() };
            let update = world.tree.catch_up(&world.rows, changed.clone());
            let mut nodes = ChangedNodes::default();
            nodes.add(world.tree.apply(&mut world.cache, update));
            put_all(&mut world.stored, nodes.rows());
            check(&world);
        }
    }
}

/// The leaf that makes a bucket crowded divides it, and its deletion makes it whole again, whatever else is there.
#[test]
fn a_bucket_is_divided_while_it_has_64_leaves() {
    let mut world = World::new();
    world.write(&put_paths((0..63).map(|i| path(40, i))));
    assert!(world.tree.below.is_empty());
    for _ in 0..3 {
        world.write(&put_paths([path(40, 63)]));
        check(&world);
        // The bucket is at depth 3, and the paths differ from bit 40 on.
        let depths: Vec<u32> = world.tree.below.keys().map(|place| place.0).collect();
        assert_eq!((depths.first(), depths.last(), depths.len()), (Some(&4), Some(&41), 2 * 38));
        world.write(&writes([change(&path(40, 63), None)]));
        check(&world);
        assert!(world.tree.below.is_empty());
    }
}

/// Returns a tree with 20,000 paths that share their first 11 bits, 500 that share 50, and 20,000 others.
fn ground() -> World {
    let mut world = World::with_cache(0);
    let others = (0..20_000).map(|i| path(0, i));
    world.write(&put_paths((0..20_000).map(|i| path(11, i)).chain((0..500).map(|i| path(50, i))).chain(others)));
    world
}

#[test]
fn writes_proofs_and_comparisons_read_few_rows_whatever_the_keys_are() {
    const END: usize = 63;
    let mut world = ground();
    check(&world);
    let crowded = world.tree.bucket_above(world.tree.end_of(&path(11, 0)));
    assert!(read_leaves(PREFIX, crowded, &world.rows).len() > 9000);
    for i in 0..200 {
        for bits in [0, 11, 50] {
            let (old, new) = (path(bits, 7 * i), path(bits, 1_000_000 + i));
            for change in [change(&old, Some(b"y")), change(&new, Some(b"x")), change(&old, None)] {
                let write = writes([change]);
                // A scan passes over a row after the end. A bucket that is split, and an end that joins another, are read too.
                let read = Counting::of(&world.rows, |reader| drop(world.tree.update(&world.cache, reader, &write)));
                assert!(read <= 2 * (END + 1), "{read} rows are read for a write");
                world.write(&write);
            }
            let read = Counting::of(&world.rows, |reader| drop(world.tree.way_to(&old).find(reader)));
            assert!(read <= 3 * (END + 1) + 2, "{read} rows are read for a proof");
        }
    }
    let (mut rows, mut next) = (0, Some(0));
    while let Some(start) = next {
        let part;
        (part, next) = world.tree.part(start, 10);
        let read = Counting::of(&world.rows, |reader| {
            let compared = part.compare(reader);
            // No raw key has an injected path.
            assert!(compared.different.iter().all(|(_, what)| what == "the row holds another key"));
            assert!(part.ends() <= 10 && next.is_none_or(|next| start < next));
            rows += compared.rows as usize;
        });
        assert!(read <= 10 * (END + 1), "{read} rows are read for a portion");
    }
    assert_eq!(rows, world.rows.len());
    check(&world);
    let bytes = world.tree.memory_bytes();
    assert!(bytes < 15 * world.rows.len(), "{bytes} for {} leaves", world.rows.len());
}

/// A scan meets the other leaves first, so it expects too few buckets.
#[test]
fn an_update_after_a_scan_splits_a_bounded_number_of_buckets() {
    let high = |i: u32| {
        let mut path = path_of(&i.to_be_bytes());
        path[0] = 0xFF;
        path
    };
    let mut world = World::with_cache(0);
    let content = put_paths((0..10_000).map(|i| path(0, i)).chain((0..10_000).map(high)));
    put_all(&mut world.rows, content.0);
    world.tree = Tree::open(PREFIX, &world.rows);
    let needed = world.rows.len().div_ceil(BUCKET_LEAVES);
    let before = world.tree.shape().buckets();
    assert!(before + 200 < needed, "{before} buckets, {needed} are needed");
    for i in 0..50 {
        let before = world.tree.shape().buckets();
        world.write(&put_paths([path(0, i)]));
        assert!(world.tree.shape().buckets() - before <= SPLITS_MIN + 63);
        assert_eq!(world.tree.root(), Tree::open(PREFIX, &world.rows).root());
    }
    assert_eq!(world.tree.shape().buckets(), needed);
}

#[test]
fn comparing_parts_finds_a_damaged_row_in_a_crowded_bucket() {
    let world = ground();
    for bits in [11, 50] {
        for i in [3, 200, 499] {
            let key = row_key(PREFIX, &path(bits, i));
            let mut rows = world.rows.clone();
            rows.insert(key.clone(), row_value(&path(bits, i), b"damaged"));
            let (mut next, mut different) = (Some(0), Vec::new());
            while let Some(start) = next {
                let part;
                (part, next) = world.tree.part(start, 100);
                different.extend(part.compare(&rows).different);
            }
            // No raw key has an injected path.
            different.retain(|(_, what)| what != "the row holds another key");
            let [(first, what)] = &different[..] else { panic!("one difference is expected: {different:?}") };
            let end = world.tree.end_of(&path(bits, i));
            assert_eq!(first[1..], read_leaves(PREFIX, end, &rows)[0].path, "the first row of the end");
            assert!(*first <= key && what.starts_with("one of "), "{what}");
            // An update that needs the end is not computed from the damaged row.
            let reader = Watching(&rows, Default::default());
            world.tree.update(&world.cache, &reader, &put_paths([path(bits, i + 1)]));
            let reported = reader.1.into_inner();
            let is_same_end = end == world.tree.end_of(&path(bits, i + 1));
            assert_eq!(reported, if is_same_end { vec![first.clone()] } else { vec![] });
        }
    }
}

#[test]
fn golden_bytes_of_stored_nodes_below_a_bucket() {
    let mut world = World::new();
    world.write(&put_paths((0..64).map(|i| path(40, i))));
    let keys: Vec<&[u8]> = world.stored.keys().map(|key| &key[8..]).collect();
    let bits = 0x5A5A_5A5A_5A00_0000_u64;
    assert_eq!(keys.len(), 6 + 39, "6 buckets, and the ends below one of them");
    assert_eq!(keys[2..5], [[0x40, 0, 0, 0, 3], [0x40, 0, 0, 0, 4], [0x50, 0, 0, 0, 5]]);
    for half in [0, 0x80_0000] {
        let start = (bits + half).to_be_bytes();
        let key = [&start[..4], &[33], &start[4..], &[41]].concat();
        assert!(keys.contains(&&key[..]), "{key:?} is in {keys:?}");
    }
}

#[test]
fn stored_rows_that_are_not_those_of_a_crowded_tree_are_refused() {
    let mut world = World::new();
    world.write(&put_paths((0..150).map(|i| path(6, i)).chain((0..100).map(|i| path(40, i)))));
    assert!(world.load().is_some());
    let mut buckets = world.stored.clone();
    for place in world.tree.below.keys() {
        buckets.remove(&StoredNode::new(PREFIX, *place, None).row().0);
    }
    assert_eq!(buckets.len(), world.tree.shape().buckets());
    assert!(load(&buckets).is_none(), "an older program stored no ends below a crowded bucket");
    for (key, value) in &world.stored {
        let mut without = world.stored.clone();
        without.remove(key);
        assert!(load(&without).is_none(), "without {key:?}");
        for at in 0..key.len() + value.len() {
            let mut rows = without.clone();
            let (mut key, mut value) = (key.clone(), value.clone());
            if at < key.len() {
                key[at] ^= 1
            } else {
                value[at - key.len()] ^= 1
            }
            rows.insert(key, value);
            assert!(load(&rows).is_none(), "byte {at}");
        }
    }
    // An end that is divided without need, and two that are not.
    let end = *world
        .tree
        .below
        .keys()
        .find(|place| world.tree.is_end(**place) && world.tree.node(**place).leaves > 9)
        .unwrap();
    let leaves = read_leaves(PREFIX, end, &world.rows);
    let mut rows = world.stored.clone();
    let row = |place: Place, leaves: &[Leaf]| {
        let (key, value) = StoredNode::new(PREFIX, place, Some(fold(leaves, place.0))).row();
        (key, value.unwrap())
    };
    rows.remove(&row(end, &leaves).0);
    let (left, right) = split(&leaves, end.0);
    let [to_left, to_right] = children(end);
    rows.extend([row(to_left, left), row(to_right, right)]);
    assert!(load(&rows).is_none());
    let above = (end.0 - 1, end.1 / 2);
    let mut rows = world.stored.clone();
    for place in children(above) {
        rows.remove(&row(place, &[]).0);
    }
    rows.extend([row(above, &read_leaves(PREFIX, above, &world.rows))]);
    assert!(load(&rows).is_none());
}

#[test]
fn keys_in_a_crowded_bucket_are_proven_present_and_absent() {
    let mut world = World::with_cache(0);
    let keys: Vec<[u8; 4]> = (0_u32..).map(u32::to_be_bytes).filter(|key| path_of(key)[0] == 0x5A).take(400).collect();
    world.write(&writes(keys[..300].iter().map(|key| put(key, b"x"))));
    check(&world);
    assert!(world.tree.below.len() > 10);
    for key in keys {
        let proof = world.tree.prove(&world.rows, &key).unwrap();
        let value = world.rows.contains_key(&row(&key)).then_some(&b"x"[..]);
        assert_eq!(proof.verify(&world.tree.root(), &key, value), Ok(()));
    }
}
