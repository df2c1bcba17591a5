use super::super::earlier::{BELOW_MAX, Earlier};
use super::crowded::{Counting, change, path, put_paths};
use super::*;

/// Computes the tree of an earlier state: copies the nodes of the tree at the tip, with some writes after each copy, and
/// reads the rows of the earlier state with at most `reads_max` scans in each call.
fn earlier_tree(
    world: &mut World,
    before: &Rows,
    since: &WriteSet,
    meanwhile: impl IntoIterator<Item = WriteSet>,
    reads_max: usize,
) -> Tree {
    let mut earlier = Earlier::new(PREFIX.to_vec());
    let mut changed: Vec<Path> = rows_under(PREFIX, since).map(|(path, _)| path).collect();
    let mut meanwhile = meanwhile.into_iter();
    while !earlier.copy(&world.tree) {
        if let Some(more) = meanwhile.next() {
            world.write(&more);
            changed.extend(rows_under(PREFIX, &more).map(|(path, _)| path));
        }
    }
    changed.iter().for_each(|path| earlier.mark(path));
    let mut reads = 0_usize;
    while !earlier.read(before, &mut || {
        reads += 1;
        !reads.is_multiple_of(reads_max + 1)
    }) {}
    let (marked, done) = earlier.progress();
    assert!(marked == done && marked <= changed.len(), "{marked} {done}");
    earlier.into_tree()
}

#[test]
fn the_tree_of_an_earlier_state_follows_from_that_of_the_tip_while_it_advances() {
    // Enough for a level that is copied in several calls.
    const LEAVES: u32 = 120_000;
    let key = |i: u32| i.to_be_bytes();
    for last in [LEAVES, 100] {
        let mut world = World::new();
        world.write(&writes((0..LEAVES).map(|i| put(&key(i), &key(i)))));
        let (before, root) = (world.rows.clone(), world.tree.root());
        let change = |i: u32| if i.is_multiple_of(3) { (row(&key(i)), None) } else { put(&key(2 * i), b"new") };
        let since = writes((0..900).map(change));
        world.write(&since);
        // While nodes are copied, others change, and the tree may shrink by several levels.
        let shrink = writes((last..LEAVES).map(|i| (row(&key(i)), None)));
        let grow = writes((LEAVES..LEAVES + 900).map(|i| put(&key(i), b"more")));
        let tree = earlier_tree(&mut world, &before, &since, [shrink, grow], 7);
        assert_eq!(tree.root(), root);
        assert_ne!(world.tree.root(), root);
        for i in (0..2 * LEAVES).step_by(1111) {
            let proof = tree.prove(&before, &key(i)).unwrap();
            assert_eq!(proof.value(), (i < LEAVES).then_some(&key(i)[..]), "{i}");
            assert_eq!(proof.verify(&root, &key(i), proof.value()), Ok(()));
        }
    }
}

#[test]
fn the_tree_of_an_earlier_state_is_found_if_it_or_that_of_the_tip_is_empty() {
    let some = writes((0..50_u8).map(|i| put(&[i], &[1])));
    let none = writes((0..50_u8).map(|i| (row(&[i]), None)));
    let mut world = World::new();
    world.write(&some);
    assert_eq!(earlier_tree(&mut world, &Rows::new(), &some, [], 1).root(), EMPTY_ROOT);
    let (before, root) = (world.rows.clone(), world.tree.root());
    world.write(&none);
    assert_eq!(earlier_tree(&mut world, &before, &none, [], 1).root(), root);
}

#[test]
fn the_tree_of_an_earlier_state_is_divided_where_many_paths_begin_with_the_same_bits() {
    let cluster = || (0..20_000).map(|i| path(11, i)).chain((0..300).map(|i| path(50, i)));
    let some = |range: std::ops::Range<u32>| writes(range.map(|i| change(&path(0, i), Some(b"x"))));
    let nothing = writes([]);
    // The number of other leaves: with many, the level is above the buckets, and many nodes are copied by several calls.
    for others in [0, 1000, 200_000] {
        let fewer = writes(cluster().step_by(50).map(|path| change(&path, None)));
        let all = writes(cluster().map(|path| change(&path, None)));
        for (since, meanwhile) in [(&nothing, &some(0..30)), (&fewer, &all), (&all, &nothing)] {
            let mut world = World::new();
            world.write(&some(0..others));
            world.write(&put_paths(cluster()));
            let (before, root) = (world.rows.clone(), world.tree.root());
            world.write(since);
            let tree = earlier_tree(&mut world, &before, since, [meanwhile.clone()], 3);
            assert_eq!(tree.root(), root);
            for key in cluster().step_by(997).chain((0..300).step_by(100).map(|i| path(50, i))) {
                let mut found = None;
                let read = Counting::of(&before, |reader| found = Some(tree.way_to(&key).find(reader)));
                assert!(read <= 3 * 100 + 2, "{read} rows are read for a proof");
                assert!(matches!(found, Some(Proof::Absence { .. })), "an injected path is of no known key");
                let leaves = read_leaves(PREFIX, tree.end_of(&key), &before);
                assert_eq!(fold(&leaves, tree.end_of(&key).0), tree.node(tree.end_of(&key)));
            }
        }
    }
}

/// However many leaves a marked node has, a call reads a bounded number of rows before it asks whether it may go on.
#[test]
fn the_rows_of_an_earlier_state_are_read_in_portions() {
    let mut world = World::new();
    world.write(&put_paths((0..20_000).map(|i| path(11, i)).chain((0..9).map(|i| path(0, i)))));
    let mut earlier = Earlier::new(PREFIX.to_vec());
    while !earlier.copy(&world.tree) {}
    earlier.mark(&path(11, 0));
    let mut calls = 0;
    while !{
        let (mut asked, mut is_read) = (false, false);
        let read = Counting::of(&world.rows, |reader| {
            is_read = earlier.read(reader, &mut || !std::mem::replace(&mut asked, true))
        });
        assert!(read <= 4097, "{read} rows");
        is_read
    } {
        calls += 1;
    }
    assert_eq!((calls, earlier.progress()), (4, (1, 1)));
    assert_eq!(earlier.into_tree().root(), world.tree.root());
}

#[test]
fn the_nodes_below_the_copied_level_are_bounded() {
    let mut earlier = Earlier::new(PREFIX.to_vec());
    for depth in 17..37 {
        (0..8000).for_each(|index| earlier.keep((depth, index), Node::EMPTY));
    }
    earlier.keep((18, 8000), Node::EMPTY);
    earlier.keep((30, 8000), Node::EMPTY);
    assert!(earlier.memory_bytes() <= BELOW_MAX * size_of::<(Place, Node)>());
    let depths: BTreeSet<u32> = earlier.below().keys().map(|place| place.0).collect();
    assert_eq!(depths, (17..25).collect(), "the upper ones are kept");
}
