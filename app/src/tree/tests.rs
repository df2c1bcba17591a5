use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use types::Wire;

use super::load::StoredTrees;
use super::rows::{path_of, row_value, rows_of, split_row};
use super::stored::ChangedNodes;
use super::*;

mod crowded;
mod earlier;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

const PREFIX: &[u8] = b"n";

/// A tree together with its rows, its cache and its stored nodes.
struct World {
    tree: Tree,
    rows: Rows,
    cache: Cache,
    stored: Rows,
}

impl World {
    fn new() -> Self {
        Self::with_cache(usize::MAX)
    }

    fn with_cache(bytes_max: usize) -> Self {
        Self { tree: Tree::new(PREFIX), rows: Rows::new(), cache: Cache::new(bytes_max), stored: Rows::new() }
    }

    fn update(&self, writes: &WriteSet) -> Update {
        self.tree.update(&self.cache, &self.rows, writes)
    }

    fn write(&mut self, writes: &WriteSet) {
        let update = self.update(writes);
        let mut changed = ChangedNodes::default();
        changed.add(self.tree.apply(&mut self.cache, update));
        put_all(&mut self.rows, writes.0.clone());
        put_all(&mut self.stored, changed.rows());
    }

    /// Returns the tree that is read from the stored nodes.
    fn load(&self) -> Option<Tree> {
        load(&self.stored)
    }
}

fn put_all(rows: &mut Rows, changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>) {
    for (key, value) in changes {
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

fn load(stored: &Rows) -> Option<Tree> {
    let mut trees = StoredTrees::default();
    stored.iter().all(|(key, value)| trees.push(key, value)).then_some(())?;
    let tree = trees.take(PREFIX);
    tree.filter(|_| trees.delete_others().is_some_and(|others| others.is_empty()))
}

fn row(key: &[u8]) -> Vec<u8> {
    row_key(PREFIX, &path_of(key))
}

fn put(key: &[u8], value: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    (row(key), Some(row_value(key, value)))
}

fn writes(changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>) -> WriteSet {
    WriteSet(changes.into_iter().collect())
}

/// Computes the root directly from the definition, without code of the tree.
fn root_by_definition(rows: &Rows) -> Hash {
    fn subtree(leaves: &[(Path, Hash)], depth: u32) -> Hash {
        match leaves {
            [] => Hash([0; 32]),
            [(_, leaf)] => *leaf,
            _ => {
                let (right, left): (Vec<_>, Vec<_>) =
                    leaves.iter().partition(|(path, _)| path[depth as usize / 8] >> (7 - depth % 8) & 1 == 1);
                let sides = [subtree(&left, depth + 1).0, subtree(&right, depth + 1).0].concat();
                Hash(*blake3::hash(&sides).as_bytes())
            }
        }
    }
    let leaf = |(row, value): (&Vec<u8>, &Vec<u8>)| {
        let path: Path = row[1..].try_into().unwrap();
        let (_, value) = rows::split_row(value).unwrap();
        let content = [b"cairn state tree v2: a leaf hash", &path[..], blake3::hash(value).as_bytes()].concat();
        (path, Hash(*blake3::hash(&content).as_bytes()))
    };
    subtree(&rows.iter().map(leaf).collect::<Vec<_>>(), 0)
}

#[test]
fn golden_roots() {
    assert_eq!(Tree::new(PREFIX).root(), Hash([0; 32]));
    let root =
        |content: &[(&str, &str)]| Tree::open(PREFIX, &rows_of(PREFIX, content.iter().copied())).root().to_string();
    assert_eq!(root(&[("a", "1")]), "36307CD7D9007DAC7904B97601CCE2F663DE4860D58615783F1217798EE598A1");
    assert_eq!(
        root(&[("a", "1"), ("b", "2"), ("c", "3")]),
        "5414C1F7608959342274B961C479AEE9D20D0D9443BDBF9CC39C6F33BA6A7EA7"
    );
}

#[test]
fn equal_content_has_equal_roots_through_growth_and_shrinking() {
    let mut world = World::new();
    let key = |i: u32| i.to_be_bytes();
    let mut roots = vec![world.tree.root()];
    for step in 0..40_u32 {
        world.write(&writes((step * 50..(step + 1) * 50).map(|i| put(&key(i), &key(i * 7)))));
        roots.push(world.tree.root());
    }
    assert_eq!(world.tree.leaves, 2000);
    assert_eq!(world.tree.root(), root_by_definition(&world.rows));
    assert_eq!(world.tree.root(), Tree::open(PREFIX, &world.rows).root());
    for step in (0..40_u32).rev() {
        roots.pop();
        world.write(&writes((step * 50..(step + 1) * 50).map(|i| (row(&key(i)), None))));
        assert_eq!(Some(&world.tree.root()), roots.last());
    }
    assert_eq!(world.tree.root(), EMPTY_ROOT);
    assert_eq!(world.tree.depth, 0);
}

/// No block pays for the writes of earlier blocks: one row more or less changes at most one bucket, regardless of their
/// number.
#[test]
fn the_tree_grows_and_shrinks_bucket_by_bucket() {
    let mut world = World::new();
    let mut change = |i: u32, value: Option<&[u8]>| {
        let before = world.tree.shape().buckets();
        let key = i.to_be_bytes();
        world.write(&writes([(row(&key), value.map(|value| row_value(&key, value)))]));
        let after = world.tree.shape().buckets();
        assert!(after.abs_diff(before) <= 1, "{before} buckets, then {after}, at row {i}");
        if i.is_multiple_of(97) {
            assert_eq!(world.tree.root(), Tree::open(PREFIX, &world.rows).root());
            let proof = world.tree.prove(&world.rows, &key).unwrap();
            assert_eq!(proof.verify(&world.tree.root(), &key, value), Ok(()));
        }
        after
    };
    let most = (0..3000).map(|i| change(i, Some(b"x"))).max();
    assert_eq!(most, Some(3000_usize.div_ceil(BUCKET_LEAVES)));
    let least = (0..3000).rev().map(|i| change(i, None)).min();
    assert_eq!(least, Some(1));
    assert_eq!(world.tree.root(), EMPTY_ROOT);
}

#[test]
fn comparing_parts_finds_the_rows_that_differ_from_the_tree() {
    for count in [0, 1, 5, 3000_u32] {
        let mut world = World::new();
        world.write(&writes((0..count).map(|i| put(&i.to_be_bytes(), b"value"))));
        let compare = |rows: &Rows| {
            let (mut sum, mut next) = (Compared::default(), Some(0));
            while let Some(start) = next {
                let part;
                (part, next) = world.tree.part(start, 7);
                assert!(part.ends() <= 7);
                let compared = part.compare(rows);
                sum.rows += compared.rows;
                sum.bytes += compared.bytes;
                sum.different.extend(compared.different);
            }
            sum
        };
        let whole = compare(&world.rows);
        assert_eq!((whole.rows, whole.different), (count.into(), vec![]));
        assert_eq!(whole.bytes, world.rows.iter().map(|(key, row)| key.len() + row.len()).sum::<usize>());
        let place = |key: &[u8]| world.tree.end_of(key[PREFIX.len()..].try_into().unwrap());
        let differs = |rows: &Rows, key: &[u8]| {
            let [(found, _)] = &compare(rows).different[..] else { panic!("one difference is expected") };
            assert_eq!(Some(found), rows.keys().find(|row| place(row) == place(key)), "the first row of the end");
        };
        let Some((key, row)) = world.rows.iter().nth(count as usize / 2) else { continue };
        let mut rows = world.rows.clone();
        rows.insert(key.clone(), [row.as_slice(), b"!"].concat());
        differs(&rows, key);
        let mut of_other_key = row.clone();
        of_other_key[2] ^= 1;
        rows.insert(key.clone(), of_other_key);
        let expected = (key.clone(), "the row holds another key".to_owned());
        assert_eq!(compare(&rows).different, [expected], "no hash is over it");
        rows.remove(key);
        if count == 1 {
            let start = ([PREFIX, &[0; 8]].concat(), "rows from this key on are missing".to_owned());
            assert_eq!(compare(&rows).different, [start]);
        } else {
            differs(&rows, key);
        }
        let mut rows = world.rows.clone();
        let more = row_key(PREFIX, &path_of(b"one more"));
        rows.insert(more.clone(), row_value(b"one more", b"value"));
        differs(&rows, &more);
    }
}

#[test]
fn an_update_that_is_not_applied_leaves_no_trace() {
    let mut world = World::new();
    world.write(&writes([put(b"a", b"1"), put(b"b", b"2")]));
    let root = world.tree.root();
    let one = writes([put(b"a", b"9"), put(b"c", b"3")]);
    let other = writes([(row(b"a"), None)]);
    let first = world.update(&one);
    world.update(&other);
    assert_eq!(world.tree.root(), root);
    assert_eq!(world.update(&one).root(), first.root());
    world.write(&one);
    assert_eq!(world.tree.root(), first.root());
}

#[test]
#[should_panic(expected = "applied to the content it was made for")]
fn an_update_of_other_content_is_refused() {
    let mut world = World::new();
    let update = world.update(&writes([put(b"a", b"1")]));
    world.write(&writes([put(b"b", b"1")]));
    world.tree.apply(&mut world.cache, update);
}

#[test]
fn rows_under_other_prefixes_do_not_change_the_root() {
    let mut world = World::new();
    world.write(&writes([put(b"a", b"1"), (b"m".to_vec(), Some(vec![1])), (b"o".to_vec(), Some(vec![1]))]));
    assert_eq!(world.tree.root(), Tree::open(PREFIX, &rows_of(PREFIX, [("a", "1")])).root());
}

#[test]
fn memory_stays_below_12_bytes_a_leaf() {
    for leaves in [10_000, 99_999_u32] {
        let content = (0..leaves).map(|i| (i.to_be_bytes(), vec![0; 16]));
        let tree = Tree::open(PREFIX, &rows_of(PREFIX, content));
        assert!(tree.memory_bytes() < 12 * leaves as usize, "{} at {leaves}", tree.memory_bytes());
        assert_eq!(tree.leaves, leaves as usize);
    }
}

#[test]
fn a_scan_finds_buckets_of_half_their_size_at_least() {
    for leaves in [1, 5, 6, 11, 12, 13, 100, 1000, 5000_u32] {
        let tree = Tree::open(PREFIX, &rows_of(PREFIX, (0..leaves).map(|i| (i.to_be_bytes(), [1]))));
        let (leaves, buckets) = (leaves as usize, tree.shape().buckets());
        assert!(buckets == 1 || 2 * leaves >= BUCKET_LEAVES * buckets, "{buckets} buckets of {leaves} leaves");
        assert!(leaves <= BUCKET_LEAVES * buckets, "{buckets} buckets of {leaves} leaves");
    }
}

#[test]
fn the_cache_is_bounded_and_keeps_what_was_used_last() {
    let mut world = World::with_cache(100_000);
    let write = |world: &mut World, i: u32| world.write(&writes([put(&i.to_be_bytes(), &[1])]));
    (0..10_000).for_each(|i| write(&mut world, i));
    let full = world.cache.stats();
    assert!((90_000..=100_000).contains(&full.bytes), "{full:?}");
    // A few keys are written again and again, among others.
    for i in 0..2000_u32 {
        world.write(&writes([put(&(i % 10).to_be_bytes(), &i.to_be_bytes()), put(&(i * 4).to_be_bytes(), b"x")]));
    }
    let used = world.cache.stats();
    assert!(used.bytes <= 100_000 && used.hits > full.hits + 1900, "{full:?}, then {used:?}");
    let none = World::with_cache(0);
    assert_eq!(none.cache.stats(), CacheStats::default());
}

/// A reader that remembers which rows were reported as damaged.
struct Watching<'a>(&'a Rows, std::cell::RefCell<Vec<Vec<u8>>>);

impl Reader for Watching<'_> {
    fn version(&self, key: &[u8]) -> Option<types::Version> {
        self.0.version(key)
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.0.scan_from(prefix, from, visit);
    }

    fn unreadable(&self, key: &[u8], _: &str) {
        self.1.borrow_mut().push(key.to_vec());
    }
}

#[test]
fn a_bucket_is_not_updated_from_damaged_rows() {
    let mut world = World::with_cache(0);
    world.write(&writes((0..20_u8).map(|i| put(&[i], b"x"))));
    let change = writes([put(&[200], b"x")]);
    let found = |rows: &Rows, cache: &Cache| {
        let reader = Watching(rows, Default::default());
        world.tree.update(cache, &reader, &change);
        reader.1.into_inner()
    };
    assert_eq!(found(&world.rows, &world.cache), Vec::<Vec<u8>>::new());
    let bucket: Vec<Vec<u8>> = {
        let of = |key: &[u8]| world.tree.end_of(key[PREFIX.len()..].try_into().unwrap());
        world.rows.keys().filter(|key| of(key) == of(&row(&[200]))).cloned().collect()
    };
    for key in &bucket {
        let mut rows = world.rows.clone();
        rows.get_mut(key).unwrap().push(b'!');
        assert_eq!(found(&rows, &world.cache), [bucket[0].clone()]);
    }
    let mut rows = world.rows.clone();
    rows.remove(&bucket[1]);
    assert_eq!(found(&rows, &world.cache), [bucket[0].clone()]);
}

#[test]
fn golden_bytes_of_stored_nodes() {
    let mut world = World::new();
    world.write(&writes([put(b"a", b"1")]));
    let key = [&b"n"[..], &[0; 12]].concat();
    let content = [&[1][..], &world.tree.root().0].concat();
    let hash = blake3::hash(&[&key[..], &content].concat());
    assert_eq!(world.stored, [(key, [&content[..], &hash.as_bytes()[..4]].concat())].into());
    world.write(&writes((0..30_u8).map(|i| put(&[i], b"2"))));
    let places: Vec<&[u8]> = world.stored.keys().map(|key| &key[8..]).collect();
    let half = |start: u8| [start, 0, 0, 0, 2];
    assert_eq!(places, [&half(0)[..], &half(0x40), &[0x80, 0, 0, 0, 1]]);
    world.write(&writes((0..30_u8).map(|i| (row(&[i]), None)).chain([(row(b"a"), None)])));
    assert_eq!(world.stored, Rows::new(), "nothing is stored of an empty tree");
}

#[test]
fn stored_rows_that_are_not_those_of_a_tree_are_refused() {
    let mut world = World::new();
    world.write(&writes((0..200_u8).map(|i| put(&[i], b"x"))));
    assert!(world.tree.halves() > 0 && world.load().is_some());
    for (key, value) in &world.stored {
        let mut without = world.stored.clone();
        without.remove(key);
        assert!(load(&without).is_none(), "without {key:?}");
        for at in 0..key.len() + value.len() {
            let mut rows = world.stored.clone();
            let (mut key, mut value) = (key.clone(), rows.remove(key).unwrap());
            if at < key.len() {
                key[at] ^= 1
            } else {
                value[at - key.len()] ^= 1
            }
            rows.insert(key, value);
            assert!(load(&rows).is_none(), "byte {at}");
        }
    }
    for foreign in [(vec![], vec![]), (vec![b'n'; 13], vec![1; 33]), (vec![0; 13], vec![0; 32])] {
        let mut rows = world.stored.clone();
        rows.extend([foreign]);
        assert!(load(&rows).is_none());
    }
}

/// Paths that share any number of leading bits, as an attacker could choose them.
fn crafted_path() -> impl Strategy<Value = Path> {
    (0_u32..256, any::<bool>(), 0_u8..3).prop_map(|(bits, flip, tail)| {
        let mut path = [0x5A; 32];
        if flip {
            path[bits as usize / 8] ^= 0x80 >> (bits % 8);
        }
        path[31] ^= tail;
        path
    })
}

fn crafted_writes() -> impl Strategy<Value = WriteSet> {
    let change = (crafted_path(), proptest::option::weighted(0.6, 0_u8..4));
    proptest::collection::vec(change, 0..20).prop_map(|changes| {
        writes(
            changes
                .into_iter()
                .map(|(path, value)| (row_key(PREFIX, &path), value.map(|value| row_value(&path, &[value])))),
        )
    })
}

fn small_writes() -> impl Strategy<Value = WriteSet> {
    let change = (0_u16..300, proptest::option::weighted(0.7, 0_u8..4));
    proptest::collection::vec(change, 0..60).prop_map(|changes| {
        writes(changes.into_iter().map(|(key, value)| {
            let key = key.to_be_bytes();
            (row(&key), value.map(|value| row_value(&key, &[value])))
        }))
    })
}

proptest! {
    #[test]
    fn incremental_equals_from_scratch(batches in proptest::collection::vec(small_writes(), 1..12)) {
        let mut world = World::new();
        for batch in &batches {
            world.write(batch);
            prop_assert_eq!(world.tree.root(), root_by_definition(&world.rows));
            prop_assert_eq!(world.tree.root(), Tree::open(PREFIX, &world.rows).root());
            prop_assert_eq!(world.tree.leaves, world.rows.len());
        }
    }

    /// The content of the cache never influences a result.
    #[test]
    fn a_cache_of_any_size_gives_the_same_roots_and_proofs(
        batches in proptest::collection::vec(small_writes(), 1..8),
        bytes_max in proptest::collection::vec(0_usize..20_000, 2),
    ) {
        let mut worlds = [0, bytes_max[0], bytes_max[1], usize::MAX].map(World::with_cache);
        for batch in &batches {
            let updates = worlds.each_ref().map(|world| world.update(batch));
            for update in &updates {
                prop_assert_eq!(update.root(), updates[0].root());
                prop_assert_eq!((&update.nodes, &update.ends), (&updates[0].nodes, &updates[0].ends));
            }
            worlds.iter_mut().for_each(|world| world.write(batch));
            for world in &worlds {
                prop_assert_eq!(&world.stored, &worlds[0].stored);
                let proof = |world: &World| world.tree.prove(&world.rows, &7_u16.to_be_bytes());
                prop_assert_eq!(proof(world), proof(&worlds[0]));
            }
        }
    }

    /// A tree that is read from stored nodes and the keys that changed since, forwards or backwards, is the same as the
    /// one that made the changes.
    #[test]
    fn stored_nodes_and_changed_keys_give_the_same_tree(
        batches in proptest::collection::vec(small_writes(), 1..8),
        at in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new();
        let at = at.index(batches.len());
        let mut states = vec![(world.rows.clone(), world.stored.clone(), world.tree.root())];
        for batch in &batches {
            world.write(batch);
            states.push((world.rows.clone(), world.stored.clone(), world.tree.root()));
            let loaded = world.load().expect("what was stored is read");
            prop_assert_eq!((loaded.root(), loaded.leaves), (world.tree.root(), world.tree.leaves));
            prop_assert_eq!(&loaded.levels, &world.tree.levels);
        }
        let changed = batches[at..].iter().flat_map(|batch| batch.0.keys().map(|key| key[1..].try_into().unwrap()));
        let changed: Vec<Path> = changed.collect();
        for (from, to) in [(at, batches.len()), (batches.len(), at)] {
            let mut tree = load(&states[from].1).expect("what was stored is read");
            let update = tree.catch_up(&states[to].0, changed.clone());
            let mut nodes = ChangedNodes::default();
            nodes.add(tree.apply(&mut Cache::new(0), update));
            prop_assert_eq!(tree.root(), states[to].2);
            let mut stored = states[from].1.clone();
            put_all(&mut stored, nodes.rows());
            let again = load(&stored).expect("the changed nodes complete the stored ones");
            prop_assert_eq!((again.root(), &again.levels), (tree.root(), &tree.levels));
        }
    }

    #[test]
    fn paths_with_common_prefixes_give_the_defined_root(batches in proptest::collection::vec(crafted_writes(), 1..8)) {
        let mut world = World::new();
        for batch in &batches {
            world.write(batch);
            prop_assert_eq!(world.tree.root(), root_by_definition(&world.rows));
            prop_assert_eq!(world.tree.root(), Tree::open(PREFIX, &world.rows).root());
        }
    }

    #[test]
    fn any_order_of_writes_gives_the_same_root(
        content in proptest::collection::btree_map(0_u16..500, 0_u8..9, 0..80),
        passing in proptest::collection::vec(0_u16..500, 0..40),
        order in any::<u64>(),
        batch in 1_usize..30,
    ) {
        let mut sorted: Vec<_> = content.iter().collect();
        let mut straight = World::new();
        straight.write(&writes(sorted.iter().map(|(key, value)| put(&key.to_be_bytes(), &[**value]))));
        let mut winding = World::new();
        winding.write(&writes(passing.iter().map(|key| put(&key.to_be_bytes(), b"passing"))));
        sorted.sort_by_key(|(key, _)| blake3::hash(&[&key.to_be_bytes()[..], &order.to_be_bytes()].concat()).to_hex());
        for some in sorted.chunks(batch) {
            winding.write(&writes(some.iter().map(|(key, value)| put(&key.to_be_bytes(), &[**value]))));
        }
        let leave = passing.iter().filter(|key| !content.contains_key(key));
        winding.write(&writes(leave.map(|key| (row(&key.to_be_bytes()), None))));
        prop_assert_eq!(straight.rows, winding.rows);
        prop_assert_eq!(straight.tree.root(), winding.tree.root());
    }

    #[test]
    fn proofs_hold_and_no_other_claim_does(content in small_writes(), key in 0_u16..300, bit in any::<usize>()) {
        let mut world = World::new();
        world.write(&content);
        let (root, key) = (world.tree.root(), key.to_be_bytes());
        let value = world.rows.get(&row(&key)).map(|row| value_of(row).to_vec());
        let proof = world.tree.prove(&world.rows, &key).unwrap();
        prop_assert_eq!(proof.verify(&root, &key, value.as_deref()), Ok(()));
        prop_assert_eq!(Proof::decode(&proof.encode()), Ok(proof.clone()));

        let otherwise = if value.is_some() { None } else { Some(&[0][..]) };
        prop_assert!(proof.verify(&root, &key, otherwise).is_err());
        prop_assert!(proof.verify(&root, &key, Some(b"another value")).is_err());
        prop_assert!(proof.verify(&root, b"another key", value.as_deref()).is_err());
        prop_assert!(proof.verify(&Hash([7; 32]), &key, value.as_deref()).is_err());
        for change in [|siblings: &mut Vec<Hash>| { siblings.pop(); }, |siblings: &mut Vec<Hash>| siblings.push(Hash([0; 32]))] {
            for side in 0..2 {
                let mut changed = proof.clone();
                if let Some(leaf) = leaves_of(&mut changed).into_iter().nth(side) {
                    change(&mut leaf.siblings);
                }
                prop_assert!(changed == proof || changed.verify(&root, &key, value.as_deref()).is_err());
            }
        }

        let mut bytes = proof.encode();
        let bit = bit % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(changed) = Proof::decode(&bytes) {
            prop_assert!(changed == proof || changed.verify(&root, &key, value.as_deref()).is_err());
        }
    }

    /// Every proof of absence is of a key between two leaves that are neighbours; no other two leaves prove it.
    #[test]
    fn only_neighbours_prove_absence(content in small_writes(), key in 300_u16..900, other in 0_u16..300) {
        let mut world = World::new();
        world.write(&content);
        let (root, key) = (world.tree.root(), key.to_be_bytes());
        let Proof::Absence { left, right, .. } = world.tree.prove(&world.rows, &key).unwrap() else { panic!() };
        let Proof::Existence(other) = world.tree.prove(&world.rows, &other.to_be_bytes()).unwrap() else {
            return Ok(());
        };
        let claim = |left: &Option<Existence>, right: &Option<Existence>| {
            let proof = Proof::Absence { key: key.to_vec(), left: left.clone(), right: right.clone() };
            proof.verify(&root, &key, None)
        };
        prop_assert_eq!(claim(&left, &right), Ok(()));
        let other = Some(other);
        for (a, b) in [(&other, &right), (&left, &other), (&None, &right), (&left, &None), (&right, &left), (&None, &None)] {
            prop_assert!((a, b) == (&left, &right) || claim(a, b).is_err());
        }
    }

    #[test]
    fn decoding_a_proof_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Proof::decode(&bytes);
    }
}

fn leaves_of(proof: &mut Proof) -> Vec<&mut Existence> {
    match proof {
        Proof::Existence(leaf) => vec![leaf],
        Proof::Absence { left, right, .. } => [left, right].into_iter().flatten().collect(),
    }
}

#[test]
fn proofs_for_paths_with_long_common_prefixes_hold() {
    let mut world = World::new();
    let key = |i: u16| i.to_be_bytes();
    world.write(&writes((0..200).map(|i| put(&key(i), b"x"))));
    // These neighbours share 70 and 200 bits with the path of key 3.
    let near = |bit: usize| {
        let mut path = path_of(&key(3));
        path[bit / 8] ^= 0x80 >> (bit % 8);
        (row_key(PREFIX, &path), Some(row_value(&path, b"y")))
    };
    world.write(&writes([near(70), near(200)]));
    let root = world.tree.root();
    assert_eq!(root, root_by_definition(&world.rows));
    let proof = world.tree.prove(&world.rows, &key(3)).unwrap();
    let Proof::Existence(leaf) = &proof else { panic!("{proof:?}") };
    assert_eq!(leaf.siblings.len(), 201);
    assert_eq!(proof.verify(&root, &key(3), Some(b"x")), Ok(()));
    world.write(&writes([(row(&key(3)), None)]));
    // No known keys have such paths, so their proofs do not hold; the neighbours that are found are the right ones.
    for i in 0..400 {
        let raw_key = |row: (&Vec<u8>, &Vec<u8>)| split_row(row.1).unwrap().0.to_vec();
        let left = world.rows.range(..row(&key(i))).next_back().map(raw_key);
        let right = world.rows.range(row(&key(i))..).next().map(raw_key);
        match world.tree.way_to(&key(i)).find(&world.rows) {
            Proof::Existence(leaf) => assert!(i < 200 && i != 3 && leaf.key == key(i)),
            Proof::Absence { left: found_left, right: found_right, .. } => {
                assert!(i >= 200 || i == 3);
                assert_eq!((found_left.map(|leaf| leaf.key), found_right.map(|leaf| leaf.key)), (left, right));
            }
        }
    }
    assert_eq!(world.tree.prove(&world.rows, &key(3)), Err(StaleReader));
}

#[test]
fn a_reader_of_another_height_is_detected() {
    let mut world = World::new();
    world.write(&writes([put(b"a", b"1"), put(b"b", b"2")]));
    let old = world.rows.clone();
    world.write(&writes([put(b"a", b"9")]));
    assert_eq!(world.tree.prove(&old, b"a"), Err(StaleReader));
    assert!(world.tree.prove(&world.rows, b"a").is_ok());
}

#[test]
fn a_proof_is_bounded() {
    let too_deep = Existence { key: b"k".to_vec(), value: b"v".to_vec(), siblings: vec![Hash([1; 32]); 257] };
    let mut proof = Proof::Existence(too_deep);
    assert_eq!(proof.verify(&EMPTY_ROOT, b"k", Some(b"v")), Err(ProofError::TooDeep { got: 257 }));
    leaves_of(&mut proof)[0].siblings.pop();
    assert!(Proof::decode(&proof.encode()).is_ok());
    let mut pb = proof.to_pb();
    let Some(types::pb::commitment_proof::Proof::Exist(leaf)) = &mut pb.proof else { panic!() };
    leaf.path.push(leaf.path[0].clone());
    assert!(Proof::from_pb(pb).is_err());
    assert!(Proof::decode(&vec![0; Proof::BYTES_MAX + 1]).is_err());
}

#[test]
fn an_empty_tree_proves_that_every_key_is_absent() {
    let world = World::new();
    let proof = world.tree.prove(&world.rows, b"a").unwrap();
    assert_eq!(proof, Proof::Absence { key: b"a".to_vec(), left: None, right: None });
    assert_eq!(proof.verify(&EMPTY_ROOT, b"a", None), Ok(()));
    assert!(proof.verify(&Hash([1; 32]), b"a", None).is_err());
}

#[test]
fn a_tree_of_any_shape_proves_every_key_around_its_leaves() {
    for count in [1, 2, 3, 30, 500_u32] {
        let mut world = World::new();
        // Some paths crowd at one end, so that most buckets are empty.
        let crowded = (0..).filter(|i: &u32| path_of(&i.to_be_bytes())[0] < 8).take(count as usize);
        let keys: Vec<u32> = crowded.chain((0..count / 10).map(|i| i + 1_000_000)).collect();
        world.write(&writes(keys.iter().map(|i| put(&i.to_be_bytes(), b"x"))));
        for i in keys.iter().copied().chain(2_000_000..2_000_100) {
            let key = i.to_be_bytes();
            let proof = world.tree.prove(&world.rows, &key).unwrap();
            let value = world.rows.contains_key(&row(&key)).then_some(&b"x"[..]);
            assert_eq!(proof.verify(&world.tree.root(), &key, value), Ok(()), "{i} of {count}");
        }
    }
}

#[test]
fn a_lone_leaf_beside_full_buckets_is_not_wrapped() {
    let keys_at = |first: u8| (0_u32..).map(u32::to_be_bytes).filter(move |key| path_of(key)[0] == first);
    for lone in [0x80, 0xC0] {
        let mut world = World::new();
        world.write(&writes(keys_at(0).take(40).map(|key| put(&key, b"x"))));
        assert_eq!(world.tree.depth, 2);
        let lone = keys_at(lone).next().unwrap();
        for value in [b"1", b"2"] {
            world.write(&writes([put(&lone, value)]));
            assert_eq!(world.tree.root(), root_by_definition(&world.rows));
            world.write(&writes([(row(&lone), None)]));
            assert_eq!(world.tree.root(), root_by_definition(&world.rows));
        }
        world.write(&writes([put(&lone, b"1")]));
        assert_eq!(Tree::open(PREFIX, &world.rows).root(), root_by_definition(&world.rows));
        let proof = |key: &[u8]| world.tree.prove(&world.rows, key).unwrap().verify(&world.tree.root(), key, None);
        (0..50_u8).for_each(|key| assert_eq!(proof(&[key]), Ok(())));
    }
}
