//! The index of events: the transactions and blocks that carry a value of an attribute that is marked for indexing.
//!
//! ```text
//!   key:   what (1 byte) ‖ escaped "kind.key" ‖ 00 00 ‖ escaped value ‖ 00 00 ‖ height (8) ‖ index (4)
//!   value: numbers of the events, 2 bytes each
//! ```
//! The rows of one value are adjacent, ascending by height and index in the block. They are written in the batch of
//! their height and deleted with it. The numbers say which events of the transaction carry the value, so that a query
//! can require two attributes of the same event.

use std::collections::BTreeMap;

use types::{Attribute, BlockResults, Event, Height};

use crate::{
    error::Result,
    kv::{Batch, Cf, Kv, View},
    schema,
    store::Store,
};

/// Maximum bytes of an indexed attribute's tag (`kind.key`), and of its value; longer ones are not indexed.
pub const INDEXED_BYTES_MAX: usize = 256;

/// Maximum number of events of one transaction, or of one block, that are indexed; later ones are not.
pub const INDEXED_EVENTS_MAX: usize = u16::MAX as usize;

/// The kind of object that a row of the index refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexed {
    /// Transactions, found by the events of their execution.
    Txs,
    /// Blocks, found by the events outside of their transactions.
    Blocks,
}

impl Indexed {
    fn byte(self) -> u8 {
        match self {
            Self::Txs => b't',
            Self::Blocks => b'b',
        }
    }
}

/// Position of an indexed transaction or block in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Height of the block.
    pub height: Height,
    /// Index of the transaction in the block; 0 for a block.
    pub index: u32,
}

/// One row of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// The value of the attribute.
    pub value: String,
    /// Position of the transaction or block that carries the value.
    pub at: Position,
    /// Numbers of its events that carry the value, ascending.
    pub events: Vec<u16>,
}

impl<K: Kv> Store<K> {
    /// Calls `visit` for rows of the attribute `tag` (`kind.key`) until it returns false.
    ///
    /// With a `value`, these are the rows with this value in ascending order of their positions, beginning at the
    /// height `from`. Without one, they are the rows with any value, in the order of their values, and `from` is
    /// ignored. Rows of heights below the window can be among them until they are deleted, so that a caller that limits
    /// the work counts them too.
    ///
    /// Errors: `Damaged` when a row is unreadable, `Io` or `Damaged` when the read fails.
    pub fn index_rows(
        &self,
        of: Indexed,
        tag: &str,
        value: Option<&str>,
        from: Height,
        visit: &mut dyn FnMut(IndexRow) -> bool,
    ) -> Result<()> {
        let (of_tag, view) = (tag_prefix(of, tag), self.kv.view());
        let prefix = value.map_or_else(|| of_tag.clone(), |value| value_prefix(of, tag, value));
        let start = match value {
            Some(_) => [prefix.as_slice(), &schema::height(from)].concat(),
            None => Vec::new(),
        };
        for row in view.rows(Cf::Events, &prefix, &start) {
            let (key, events) = row?;
            let row = decode(&key[of_tag.len()..], &events)
                .ok_or_else(|| self.damaged("a row of its index is unreadable"))?;
            if !visit(row) {
                break;
            }
        }
        Ok(())
    }

    /// Returns the numbers of the events that carry this value of an attribute, in the transaction or block at a
    /// position; `None` if there are none.
    ///
    /// Errors: `Damaged` when the row is unreadable, `Io` or `Damaged` when the read fails.
    pub fn index_row(&self, of: Indexed, tag: &str, value: &str, at: Position) -> Result<Option<Vec<u16>>> {
        let key = [value_prefix(of, tag, value), schema::tx_position(at.height, at.index)].concat();
        let Some(events) = self.kv.get(Cf::Events, &key)? else { return Ok(None) };
        read_events(&events).map(Some).ok_or_else(|| self.damaged("a row of its index is unreadable"))
    }
}

/// Adds the index rows of a height to the batch.
pub(crate) fn put(batch: &mut Batch, height: Height, results: &BlockResults) {
    for (key, events) in rows_of(height, results) {
        batch.put(Cf::Events, key, events);
    }
}

/// Adds the deletion of the index rows of a height to the batch.
pub(crate) fn delete(batch: &mut Batch, height: Height, results: &BlockResults) {
    let txs = results.txs.iter().zip(0..).map(|(result, index)| (Indexed::Txs, index, &result.events));
    for (of, index, events) in txs.chain([(Indexed::Blocks, 0, &results.events)]) {
        for (_, event, attribute) in indexed(events) {
            batch.delete(Cf::Events, row_key(of, event, attribute, Position { height, index }));
        }
    }
}

/// Returns the index rows of a height's results.
pub(crate) fn rows_of(height: Height, results: &BlockResults) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let txs =
        results.txs.iter().zip(0..).flat_map(move |(result, index)| rows(Indexed::Txs, height, index, &result.events));
    txs.chain(rows(Indexed::Blocks, height, 0, &results.events))
}

/// Returns the rows of one transaction or block. A value that several events carry is one row.
fn rows(of: Indexed, height: Height, index: u32, events: &[Event]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (number, event, attribute) in indexed(events) {
        let numbers = rows.entry(row_key(of, event, attribute, Position { height, index })).or_default();
        if numbers.last_chunk() != Some(&number.to_be_bytes()) {
            numbers.extend(number.to_be_bytes());
        }
    }
    rows
}

/// Returns the attributes that are in the index, each with its event and the number of that.
fn indexed(events: &[Event]) -> impl Iterator<Item = (u16, &Event, &Attribute)> {
    events.iter().take(INDEXED_EVENTS_MAX).zip(0_u16..).flat_map(|(event, number)| {
        let is_indexed = |attribute: &&Attribute| {
            let tag_bytes = event.kind.len() + 1 + attribute.key.len();
            attribute.index && tag_bytes <= INDEXED_BYTES_MAX && attribute.value.len() <= INDEXED_BYTES_MAX
        };
        event.attributes.iter().filter(is_indexed).map(move |attribute| (number, event, attribute))
    })
}

fn tag_prefix(of: Indexed, tag: &str) -> Vec<u8> {
    [&[of.byte()], schema::terminated(tag.as_bytes()).as_slice()].concat()
}

fn value_prefix(of: Indexed, tag: &str, value: &str) -> Vec<u8> {
    let mut prefix = tag_prefix(of, tag);
    prefix.extend(schema::terminated(value.as_bytes()));
    prefix
}

/// Returns the key of the row of an attribute.
fn row_key(of: Indexed, event: &Event, attribute: &Attribute, at: Position) -> Vec<u8> {
    let bytes = event.kind.len() + attribute.key.len() + attribute.value.len();
    let mut key = Vec::with_capacity(1 + bytes + 1 + 2 * schema::KEY_END.len() + 12);
    key.push(of.byte());
    for part in [event.kind.as_bytes(), b".", attribute.key.as_bytes()] {
        schema::escape_into(&mut key, part);
    }
    key.extend(schema::KEY_END);
    schema::escape_into(&mut key, attribute.value.as_bytes());
    key.extend(schema::KEY_END);
    key.extend(schema::tx_position(at.height, at.index));
    key
}

/// Returns true if [`put`] could have written this row.
pub(crate) fn is_readable(key: &[u8], events: &[u8]) -> bool {
    let Some((b't' | b'b', rest)) = key.split_first() else { return false };
    let tag = schema::terminated_length(rest).map(|length| rest.split_at(length));
    let is_ascending = |events: Vec<u16>| !events.is_empty() && events.is_sorted_by(|a, b| a < b);
    tag.is_some_and(|(tag, rest)| {
        schema::read_terminated(tag).is_some_and(|tag| str::from_utf8(&tag).is_ok())
            && decode(rest, events).is_some_and(|row| is_ascending(row.events))
    })
}

/// Decodes a row from the part of its key after the tag, and its value.
fn decode(key: &[u8], events: &[u8]) -> Option<IndexRow> {
    let (value, position) = key.split_last_chunk::<12>()?;
    let (height, index) = schema::read_tx_position(position)?;
    let value = String::from_utf8(schema::read_terminated(value)?).ok()?;
    Some(IndexRow { value, at: Position { height, index }, events: read_events(events)? })
}

fn read_events(bytes: &[u8]) -> Option<Vec<u16>> {
    let (numbers, []) = bytes.as_chunks::<2>() else { return None };
    Some(numbers.iter().copied().map(u16::from_be_bytes).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes_of_the_index() {
        let events = [Event::new("t", [("a", "x\0", true), ("b", "y", false)]), Event::new("t", [("a", "x\0", true)])];
        let rows = rows(Indexed::Txs, Height(258), 3, &events);
        let key = [&b"tt.a\0\0x\0\xFF\0\0"[..], &[0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]].concat();
        assert_eq!(rows, BTreeMap::from([(key, vec![0, 0, 0, 1])]), "one row, of events 0 and 1; b is not marked");
    }

    #[test]
    fn long_values_are_left_out() {
        let long = "v".repeat(INDEXED_BYTES_MAX + 1);
        assert!(rows(Indexed::Txs, Height(1), 0, &[Event::new("t", [("a", &long, true)])]).is_empty());
        assert!(rows(Indexed::Txs, Height(1), 0, &[Event::new(&long, [("a", "v", true)])]).is_empty());
    }

    proptest! {
        #[test]
        fn rows_read_back_and_values_do_not_mix(a in "[\0-b]{0,4}", b in "[\0-b]{0,4}", height in 0u64..3, index in 0u32..3) {
            let at = Position { height: Height(height), index };
            let key = [value_prefix(Indexed::Txs, "t", &a), schema::tx_position(at.height, at.index)].concat();
            let behind = &key[tag_prefix(Indexed::Txs, "t").len()..];
            prop_assert_eq!(decode(behind, &[0, 7]), Some(IndexRow { value: a.clone(), at, events: vec![7] }));
            prop_assert_eq!(key.starts_with(&value_prefix(Indexed::Txs, "t", &b)), a == b);
            prop_assert!(is_readable(&key, &[0, 7]) && is_readable(&key, &[0, 7, 1, 0]));
            for numbers in [&[][..], &[0], &[0, 7, 0, 7], &[1, 0, 0, 7]] {
                prop_assert!(!is_readable(&key, numbers), "{numbers:?}");
            }
            prop_assert!(!is_readable(&key[..key.len() - 1], &[0, 7]));
        }

        #[test]
        fn foreign_bytes_are_refused_not_panicked_on(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (decode(&bytes, &bytes), read_events(&bytes), is_readable(&bytes, &bytes));
        }
    }
}
