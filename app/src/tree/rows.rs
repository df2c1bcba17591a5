//! The representation of the authenticated map in flat rows.
//!
//! | part of a row | bytes |
//! |---|---|
//! | key | the tree's prefix ‖ path (32) |
//! | value | length of the raw key (2, big-endian) ‖ raw key ‖ value |
//!
//! The path is the BLAKE3 of the raw key, so paths are evenly distributed for any choice of keys, and a subtree is a
//! range of rows. Neither keys nor values are empty, because other software does not accept proofs of such ones.

use std::collections::BTreeMap;

use types::{Hash, Reader, WriteSet};

/// Position of a key in the tree: 256 bits, of which the first one decides at the root.
pub type Path = [u8; PATH_BYTES];

/// Bytes of a path.
pub const PATH_BYTES: usize = 32;

/// Maximum bytes of a raw key: its length is stored in two bytes.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// Returns the path of a raw key.
pub fn path_of(key: &[u8]) -> Path {
    types::blake3(key).0
}

/// Returns bit `depth` of a path; bit 0 is the most significant one.
pub(crate) fn bit(path: &[u8], depth: u32) -> bool {
    path[depth as usize / 8] & (0x80 >> (depth % 8)) != 0
}

/// Returns the hash of a value, as used in leaves and proofs.
pub fn hash_value(value: &[u8]) -> Hash {
    types::blake3(value)
}

/// Returns the key of the row with this path.
pub fn row_key(prefix: &[u8], path: &Path) -> Vec<u8> {
    let mut row = Vec::with_capacity(prefix.len() + path.len());
    row.extend_from_slice(prefix);
    row.extend_from_slice(path);
    row
}

/// Returns the value of the row. Raw keys and values are created by this crate: keys have 1 to [`KEY_BYTES_MAX`] bytes,
/// and values at least 1.
pub fn row_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    assert!(!key.is_empty() && !value.is_empty(), "an empty key or value cannot be proven to other software");
    let len = u16::try_from(key.len()).expect("raw keys are short");
    let mut row = Vec::with_capacity(2 + key.len() + value.len());
    row.extend_from_slice(&len.to_be_bytes());
    row.extend_from_slice(key);
    row.extend_from_slice(value);
    row
}

/// Splits a row's value into raw key and value; `None` if it is truncated, or if one of them is empty.
pub fn split_row(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = row.split_first_chunk::<2>()?;
    let parts = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)));
    parts.filter(|(key, value)| !key.is_empty() && !value.is_empty())
}

/// Returns the value in a row that this crate has just created.
pub(crate) fn value_of(row: &[u8]) -> &[u8] {
    split_row(row).expect("new rows are whole").1
}

/// Returns the path in a row's key; `None` for a key that this crate did not create.
pub(crate) fn path_in(prefix: &[u8], row_key: &[u8]) -> Option<Path> {
    row_key.get(prefix.len()..)?.try_into().ok()
}

/// Returns path and value hash of a stored row; `None` for a malformed row, of which the reader is informed.
pub(crate) fn read_row<R: Reader + ?Sized>(
    reader: &R,
    prefix: &[u8],
    row_key: &[u8],
    row: &[u8],
) -> Option<(Path, Hash)> {
    let read = path_in(prefix, row_key).zip(split_row(row));
    if read.is_none() {
        reader.unreadable(row_key, "it is not of the shape of a state row");
    }
    read.map(|(path, (_, value))| (path, hash_value(value)))
}

/// Returns the rows of `writes` that belong to the tree under `prefix`, in ascending order of their paths.
pub(crate) fn rows_under<'a>(prefix: &'a [u8], writes: &'a WriteSet) -> impl Iterator<Item = (Path, Option<&'a [u8]>)> {
    writes
        .0
        .range(prefix.to_vec()..)
        .take_while(move |(row, _)| row.starts_with(prefix))
        .map(move |(row, value)| (path_in(prefix, row).expect("new rows have paths"), value.as_deref()))
}

/// Creates the rows of these keys and values.
pub fn rows_of<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    prefix: &[u8],
    content: impl IntoIterator<Item = (K, V)>,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    content
        .into_iter()
        .map(|(key, value)| (row_key(prefix, &path_of(key.as_ref())), row_value(key.as_ref(), value.as_ref())))
        .collect()
}
