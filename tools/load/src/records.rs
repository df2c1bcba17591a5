//! The encoding of signed transactions, which is the same in memory and on disk.
//!
//! ```text
//! chunk  = record *                                   at most 256 records
//! record = call bytes (2) kind (1) sender (4) key (16) call        numbers are little-endian
//! ```
//! A call is JSON that is ready to be sent. A request is a JSON array of calls.

use std::hash::{BuildHasherDefault, Hasher};

use types::TxId;

use crate::kind::Kind;

/// Maximum number of records in a chunk.
pub const CHUNK_RECORDS_MAX: u32 = 256;
/// Maximum size of a chunk in bytes.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Size in bytes of the part of a record before its call.
const HEAD_BYTES: usize = 2 + 1 + 4 + 16;

/// Key that identifies a transaction in blocks: the first half of its id. To find two transactions with the same key
/// takes about 2^64 attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxKey(pub [u64; 2]);

impl TxKey {
    /// Returns the key of the transaction with these bytes.
    pub fn of(tx: &[u8]) -> Self {
        let id = TxId::of(tx);
        let half = |from: usize| u64::from_le_bytes(id.0[from..from + 8].try_into().expect("8 bytes"));
        Self([half(0), half(8)])
    }
}

impl std::hash::Hash for TxKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0[0]);
    }
}

/// Hash map by transaction. It does not hash the keys again, because they are parts of hashes.
pub type ByKey<V> = std::collections::HashMap<TxKey, V, BuildHasherDefault<KeyHasher>>;

/// Hasher that returns the number that it receives.
#[derive(Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// A sequence of encoded records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    bytes: Vec<u8>,
    records: u32,
}

/// A signed transaction with the call that submits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Kind of the transaction: valid, or why nodes must refuse it.
    pub kind: Kind,
    /// Number of the sender that signed it, if it is valid.
    pub sender: u32,
    /// Key that identifies it: the first half of its id.
    pub key: TxKey,
    /// The JSON-RPC call that submits it.
    pub call: &'a [u8],
}

/// Error: the bytes do not encode records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl Chunk {
    /// Creates a chunk from stored bytes. They are validated only when the records are read.
    pub fn from_bytes(bytes: Vec<u8>, records: u32) -> Self {
        Self { bytes, records }
    }

    /// Returns the encoded records, to be stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the number of records.
    pub fn len(&self) -> u32 {
        self.records
    }

    /// Appends one record. Panics if the call has more than 65,535 bytes, which no transfer has.
    pub fn push(&mut self, kind: Kind, sender: u32, key: TxKey, call: &[u8]) {
        let length = u16::try_from(call.len()).expect("a transfer is small");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&sender.to_le_bytes());
        key.0.iter().for_each(|half| self.bytes.extend_from_slice(&half.to_le_bytes()));
        self.bytes.extend_from_slice(call);
        self.records += 1;
    }

    /// Returns the record at `cursor` and moves the cursor behind it. Returns `None` at the end.
    ///
    /// Errors: [`Damaged`] when the bytes at the cursor do not encode a record.
    pub fn record(&self, cursor: &mut usize) -> Result<Option<Record<'_>>, Damaged> {
        let rest = self.bytes.get(*cursor..).ok_or(Damaged)?;
        if rest.is_empty() {
            return Ok(None);
        }
        let (head, rest) = rest.split_at_checked(HEAD_BYTES).ok_or(Damaged)?;
        let number =
            |from: usize, to: usize| head[from..to].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let length = number(0, 2) as usize;
        let call = rest.get(..length).ok_or(Damaged)?;
        let kind = Kind::of(head[2]).ok_or(Damaged)?;
        *cursor += HEAD_BYTES + length;
        Ok(Some(Record { kind, sender: number(3, 7) as u32, key: TxKey([number(7, 15), number(15, 23)]), call }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut chunk = Chunk::default();
        chunk.push(Kind::Valid, 7, TxKey([u64::MAX - 1, 3]), b"{1}");
        chunk.push(Kind::Garbage, 0, TxKey([2, 2]), b"");
        let chunk = Chunk::from_bytes(chunk.bytes().to_vec(), chunk.len());
        let mut cursor = 0;
        let first = Record { kind: Kind::Valid, sender: 7, key: TxKey([u64::MAX - 1, 3]), call: b"{1}" };
        assert_eq!(chunk.record(&mut cursor), Ok(Some(first)));
        assert_eq!(chunk.record(&mut cursor).unwrap().unwrap().kind, Kind::Garbage);
        assert_eq!(chunk.record(&mut cursor), Ok(None));
    }

    #[test]
    fn a_malformed_record_is_an_error() {
        for bytes in [&[1][..], &[9; HEAD_BYTES], &[255; 40]] {
            assert_eq!(Chunk::from_bytes(bytes.to_vec(), 1).record(&mut 0), Err(Damaged));
        }
    }
}
