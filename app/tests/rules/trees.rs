//! Proves that a bucket of a tree is divided where many paths begin with the same bits.

use std::collections::BTreeMap;

use app::tree::{
    Cache, Tree,
    rows::{Path, path_of, row_key, row_value},
};
use types::WriteSet;

use super::common::{Rows, counting::Counting};

const PREFIX: &[u8] = b"n";

/// A path of which the first 40 bits are always the same.
fn path(i: u32) -> Path {
    let mut path = path_of(&i.to_be_bytes());
    path[..5].fill(0x5A);
    path
}

fn change(i: u32, value: Option<&[u8]>) -> WriteSet {
    WriteSet([(row_key(PREFIX, &path(i)), value.map(|value| row_value(&path(i), value)))].into())
}

#[test]
pub fn a_write_beside_many_keys_with_equal_first_bits_reads_few_rows() {
    let rows: Rows = (0..1000).map(|i| (row_key(PREFIX, &path(i)), row_value(&path(i), b"x"))).collect();
    let tree = Tree::open(PREFIX, &rows);
    for i in 0..1000 {
        let write = |reader: &Counting<'_>| drop(tree.update(&Cache::new(0), reader, &change(i, Some(b"y"))));
        let read = Counting::of(&rows, write);
        assert!(read <= 64, "{read} rows are read for a write");
    }
}

/// Otherwise nodes that store them at different times store different rows.
#[test]
pub fn the_nodes_of_a_bucket_are_stored_while_it_is_crowded() {
    let (mut tree, mut cache, mut rows) = (Tree::new(PREFIX), Cache::new(0), BTreeMap::new());
    let mut stored = BTreeMap::new();
    let mut write = |i: u32, value: Option<&[u8]>| {
        let writes = change(i, value);
        let update = tree.update(&cache, &rows, &writes);
        let changed = tree.apply(&mut cache, update).into_iter().map(|node| node.row());
        for (rows, changes) in [(&mut rows, Vec::from_iter(writes.0)), (&mut stored, changed.collect())] {
            for (key, value) in changes {
                match value {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
        }
        stored.len()
    };
    for i in 0..62 {
        write(i, Some(b"x"));
    }
    let counts = [write(62, Some(b"x")), write(63, Some(b"x")), write(63, None), write(63, Some(b"x"))];
    assert_eq!(counts, [6, 45, 6, 45]);
}
