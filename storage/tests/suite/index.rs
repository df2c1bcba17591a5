//! Proves that the index of events finds transactions and blocks, and is deleted, rewound and committed with its
//! heights.

use storage::{FORGET_STEP, Indexed, Kv, Position, Store};
use types::{Event, Height, TxResult, WriteSet};

use crate::chain::{Chain, Made, Rig, open};

on_both!(
    index_values_find_their_transactions_in_order,
    events_of_blocks_and_of_transactions_are_indexed_separately,
    pruning_a_height_removes_its_index_rows,
    rewinding_removes_index_rows_above_the_height,
    index_rows_are_written_with_their_height,
);

/// Creates a height with two transactions: the first pays `ann`; the second pays `ann` at even heights, otherwise
/// `bob`.
fn next(chain: &mut Chain) -> Made {
    let height = chain.height.next();
    let mut made = chain.next(WriteSet::default(), vec![height.0.to_be_bytes().to_vec(), vec![height.0 as u8]]);
    let second = if height.0.is_multiple_of(2) { "ann" } else { "bob" };
    let of = |to: &str| TxResult {
        events: vec![
            Event::new("pay", [("to", to, true), ("amount", "5", false)]),
            Event::new("pay", [("to", to, true)]),
        ],
        ..TxResult::default()
    };
    made.results.txs = vec![of("ann"), of(second)];
    made.results.events = vec![Event::new("pay", [("to", "block", true)])];
    made
}

fn grown<R: Rig>(rig: &R, heights: u64) -> (Store<R::Kv>, Chain) {
    let store = open(rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    for _ in 0..heights {
        store.commit_block(&next(&mut chain).batch()).unwrap();
    }
    (store, chain)
}

fn places<K: Kv>(store: &Store<K>, of: Indexed, value: Option<&str>, from: u64) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    store
        .index_rows(of, "pay.to", value, Height(from), &mut |row| {
            assert!(value.is_none_or(|value| value == row.value));
            if row.at.height >= store.earliest() {
                found.push((row.at.height.0, row.at.index));
            }
            true
        })
        .unwrap();
    found
}

fn index_values_find_their_transactions_in_order<R: Rig>() {
    let (store, _) = grown(&R::new(), 4);
    let ann = [(1, 0), (2, 0), (2, 1), (3, 0), (4, 0), (4, 1)];
    assert_eq!(places(&store, Indexed::Txs, Some("ann"), 0), ann);
    assert_eq!(places(&store, Indexed::Txs, Some("ann"), 3), ann[3..]);
    assert_eq!(places(&store, Indexed::Txs, Some("bob"), 0), [(1, 1), (3, 1)]);
    assert_eq!(places(&store, Indexed::Txs, Some("an"), 0), [], "a part of a value is another value");
    assert_eq!(places(&store, Indexed::Txs, None, 0).len(), 8);
    let row = |value, height, index| {
        store.index_row(Indexed::Txs, "pay.to", value, Position { height: Height(height), index }).unwrap()
    };
    assert_eq!(row("bob", 3, 1), Some(vec![0, 1]), "both events carry it");
    assert_eq!((row("bob", 2, 1), row("bob", 3, 0)), (None, None));
    let mut visited = 0;
    store
        .index_rows(Indexed::Txs, "pay.to", None, Height(0), &mut |_| {
            visited += 1;
            visited < 3
        })
        .unwrap();
    assert_eq!(visited, 3, "it stops on request");
    store.index_rows(Indexed::Txs, "pay.amount", None, Height(0), &mut |row| panic!("{row:?} is not marked")).unwrap();
}

fn events_of_blocks_and_of_transactions_are_indexed_separately<R: Rig>() {
    let (store, _) = grown(&R::new(), 2);
    assert_eq!(places(&store, Indexed::Blocks, Some("block"), 0), [(1, 0), (2, 0)]);
    assert_eq!(places(&store, Indexed::Blocks, Some("ann"), 0), []);
    assert_eq!(places(&store, Indexed::Txs, Some("block"), 0), []);
}

fn pruning_a_height_removes_its_index_rows<R: Rig>() {
    let rig = R::new();
    let (store, _) = grown(&rig, FORGET_STEP + 2);
    store.prune(Height(FORGET_STEP + 2)).unwrap();
    let expected = [(FORGET_STEP + 2, 0), (FORGET_STEP + 2, 1)];
    assert_eq!(places(&store, Indexed::Txs, Some("ann"), 0), expected);
    assert_eq!(places(&store, Indexed::Txs, None, 0), expected);
    drop(store);
    assert_eq!(places(&open(&rig), Indexed::Txs, None, 0), expected);
}

fn rewinding_removes_index_rows_above_the_height<R: Rig>() {
    let (store, _) = grown(&R::new(), 4);
    store.rewind(Height(2)).unwrap();
    assert_eq!(places(&store, Indexed::Txs, Some("ann"), 0), [(1, 0), (2, 0), (2, 1)]);
    assert_eq!(places(&store, Indexed::Blocks, None, 0).len(), 2);
}

fn index_rows_are_written_with_their_height<R: Rig>() {
    let rig = R::new();
    let (store, mut chain) = grown(&rig, 1);
    let made = next(&mut chain);
    assert_eq!(places(&store, Indexed::Txs, Some("ann"), 0), [(1, 0)]);
    store.commit_block(&made.batch()).unwrap();
    assert_eq!(places(&store, Indexed::Txs, Some("ann"), 0), [(1, 0), (2, 0), (2, 1)], "found at once");
    drop(store);
    assert_eq!(places(&open(&rig), Indexed::Txs, Some("ann"), 0), [(1, 0), (2, 0), (2, 1)]);
}
