use super::super::earlier::Earlier;
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
