//! Opens the application from the stored hashes of its trees, and stores them.
//!
//! The hashes describe the state at some height. A start reads them and the keys that changed since, and reads the whole
//! state only if the hashes are missing, too old, or do not lead to the app hash on which the chain agreed.

use app::{App, tree::load::StoredTrees};
use storage::{Kv, Store, StoreError};
use types::{Hash, Height};

/// Maximum number of changed keys with which a start continues from stored hashes; each takes some 20 µs.
const CHANGED_MAX: usize = 1 << 17;

/// Source of the trees of an application that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreesFrom {
    /// The hashes that were stored at this height, and this number of keys that changed since.
    Stored {
        /// Height that the stored hashes describe.
        height: Height,
        /// Number of keys that changed between that height and the opened one.
        changed: usize,
    },
    /// All rows of the state, because the stored hashes cannot be used, for this reason.
    State(&'static str),
}

/// Opens the application on the state after `height`, which the store keeps. It should have the app hash `expected`; the
/// caller compares.
///
/// Cost: a read of the stored hashes, about 0.1 µs per row of the state, and some 20 µs for each key that changed
/// between their height and the tip; else one scan of the state, about a microsecond per row.
///
/// Errors: `Pruned` or `Future` if the height is not kept; `Damaged` or `Io` when a read fails.
pub fn open_app<K: Kv>(store: &Store<K>, height: Height, expected: Hash) -> Result<(App, TreesFrom), StoreError> {
    let reason = match from_stored(store, height)? {
        Ok((app, from)) if app.app_hash() == expected => return Ok((app, from)),
        Ok(_) => "they do not lead to the app hash of the chain",
        Err(reason) => reason,
    };
    Ok((scan_app(store, height)?, TreesFrom::State(reason)))
}

/// Opens the application from all rows of the state after `height`, whatever hashes are stored.
///
/// Errors: `Pruned` or `Future` if the height is not kept; `Damaged` or `Io` when a read fails.
pub(crate) fn scan_app<K: Kv>(store: &Store<K>, height: Height) -> Result<App, StoreError> {
    let reader = store.reader_at(height)?;
    let app = App::open(&reader, store.chain_id().clone(), height);
    reader.check()?;
    Ok(app)
}

/// Opens the application from the stored hashes. The inner error is the reason why they cannot be used.
fn from_stored<K: Kv>(store: &Store<K>, height: Height) -> Result<Result<(App, TreesFrom), &'static str>, StoreError> {
    let mut stored = StoredTrees::default();
    let Some(stored_at) = store.read_trees(&mut |key, value| stored.push(key, value))? else {
        return Ok(Err("there are none"));
    };
    let mut changed = Vec::new();
    let read = store.reader_at(stored_at.max(height)).and_then(|reader| {
        reader.try_changed_since(stored_at.min(height), &[], &mut |key, _| {
            changed.push(key.to_vec());
            changed.len() <= CHANGED_MAX
        })
    });
    match read {
        Ok(()) => {}
        Err(StoreError::Pruned { .. }) => return Ok(Err("they are older than the kept heights")),
        Err(StoreError::Future { .. }) => return Ok(Err("they are of a height above the tip")),
        Err(error) => return Err(error),
    }
    if changed.len() > CHANGED_MAX {
        return Ok(Err("too much has changed since"));
    }
    let (count, reader) = (changed.len(), store.reader_at(height)?);
    let app = App::load(stored, stored_at, &reader, store.chain_id().clone(), height, changed);
    if reader.check().is_err() {
        return Ok(Err("they do not match the rows of the state"));
    }
    let from = TreesFrom::Stored { height: stored_at, changed: count };
    Ok(app.map(|app| (app, from)).ok_or("they are not those of trees"))
}
