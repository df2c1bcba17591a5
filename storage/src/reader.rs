//! Reads of the state at one height.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use types::{CompareVisit, Height, History, Now, Reader, Version};

use crate::{
    error::{Result, StoreError},
    hold::Hold,
    kv::{Cf, Cursor, Kv, View},
    schema::{self, Tip},
    store::{Store, meta},
};

/// Number of versions that a scan steps over one by one before it seeks: a seek costs as much as a few steps.
const STEPS_MAX: u32 = 4;

/// The state at one height, not affected by commits while it is held (S4).
///
/// While it is held, the database does not delete rows that this height needs (and the simulator's database cannot
/// share rows). Drop it soon.
pub struct StateReader<'a, K: Kv> {
    pub(crate) store: &'a Store<K>,
    pub(crate) view: K::View<'a>,
    pub(crate) height: Height,
    /// Height of the tip in `view`.
    pub(crate) tip: Height,
    _hold: Hold<'a>,
    /// The first read through [`Reader`] that failed.
    failure: OnceLock<StoreError>,
    /// True if a caller has received the failure.
    is_told: AtomicBool,
}

/// The parts of a row of [`Cf::State`]: terminated key, height and value.
type VersionRow<'r> = (&'r [u8], Height, Option<&'r [u8]>);

impl<K: Kv> Store<K> {
    /// Returns a reader of the state at the tip.
    ///
    /// Errors: `NoGenesis` before there is a state; `Damaged` or `Io` when the tip cannot be read.
    pub fn reader(&self) -> Result<StateReader<'_, K>> {
        let hold = self.hold_tip()?;
        let view = self.kv.view();
        let height = self.tip_in(&view)?;
        Ok(StateReader::new(self, view, height, height, hold))
    }

    /// Returns a reader of the state after the block of `height`. The lowest possible height is the one before
    /// [`Store::earliest`]; the header of the earliest block contains the root of that state.
    ///
    /// Errors: `Pruned` below that, `Future` above the tip, `NoGenesis` before there is a state; `Damaged` or `Io` when
    /// the tip cannot be read.
    pub fn reader_at(&self, height: Height) -> Result<StateReader<'_, K>> {
        let hold = self.hold(height)?;
        let view = self.kv.view();
        let tip = self.tip_in(&view)?;
        if height > tip {
            return Err(StoreError::Future { got: height, tip });
        }
        Ok(StateReader::new(self, view, height, tip, hold))
    }

    /// Returns the height of the tip in a view.
    pub(crate) fn tip_in(&self, view: &K::View<'_>) -> Result<Height> {
        let bytes = view.get(Cf::Meta, meta::TIP)?;
        let bytes = bytes.ok_or_else(|| StoreError::NoGenesis { place: self.kv.place() })?;
        Ok(Tip::decode(&bytes).ok_or_else(|| self.unreadable_key(Cf::Meta, meta::TIP))?.height)
    }

    /// Returns the newest version of `key` at or below `height`.
    pub(crate) fn version_in(&self, view: &K::View<'_>, key: &[u8], height: Height) -> Result<Option<Version>> {
        let Some((row, value)) = view.version(&schema::version(key, height))? else { return Ok(None) };
        let (_, at, value) = self.read_version(&row, &value)?;
        Ok(Some((at, value.map(<[u8]>::to_vec))))
    }

    /// Splits a row of [`Cf::State`] into its parts.
    fn read_version<'r>(&self, row: &'r [u8], value: &'r [u8]) -> Result<VersionRow<'r>> {
        let version = schema::split_version(row).zip(schema::read_version_value(value));
        version.map(|((key, at), value)| (key, at, value)).ok_or_else(|| self.unreadable_key(Cf::State, row))
    }

    /// Returns the version at a cursor, if it is one of this terminated key.
    fn version_at<'r>(&self, rows: &'r dyn Cursor, key: &[u8]) -> Result<Now<'r>> {
        let Some((row, value)) = rows.row() else { return Ok(None) };
        let (found, at, value) = self.read_version(row, value)?;
        Ok((found == key).then_some((at, value)))
    }
}

impl<'a, K: Kv> StateReader<'a, K> {
    fn new(store: &'a Store<K>, view: K::View<'a>, height: Height, tip: Height, hold: Hold<'a>) -> Self {
        let (failure, is_told) = (OnceLock::new(), AtomicBool::new(false));
        Self { store, view, height, tip, _hold: hold, failure, is_told }
    }

    /// Returns the height whose state is read.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Checks that every read through [`Reader`] succeeded. Call it before a value that was computed from this reader
    /// is used.
    ///
    /// Errors: the first read that failed: `Damaged` or `Io`, with the row.
    pub fn check(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(failure) => {
                self.is_told.store(true, Ordering::Relaxed);
                Err(failure.again())
            }
        }
    }

    /// As [`Reader::get`], for callers that can handle an error.
    ///
    /// Errors: `Damaged` or `Io` when the row cannot be read.
    pub fn try_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.try_version(key)?.and_then(|(_, value)| value))
    }

    fn try_version(&self, key: &[u8]) -> Result<Option<Version>> {
        self.store.version_in(&self.view, key, self.height)
    }

    /// As [`History::get_at`], for callers that can handle an error.
    ///
    /// Errors: `Pruned` below the window; `Future` above the height of this reader; `Damaged` or `Io` when the row
    /// cannot be read.
    pub fn try_get_at(&self, height: Height, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let _hold = self.hold(height)?;
        Ok(self.store.version_in(&self.view, key, height)?.and_then(|(_, value)| value))
    }

    /// As [`History::compare`], for callers that can handle an error.
    ///
    /// Cost: one search per key, and a few steps or another search to the earlier version.
    ///
    /// Errors: as [`StateReader::try_get_at`]; `visit` was then called for the rows before it.
    pub fn try_compare(&self, height: Height, keys: &[Vec<u8>], visit: &mut CompareVisit<'_>) -> Result<()> {
        let _hold = self.hold(height)?;
        let mut rows = self.view.versions()?;
        let mut newest = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let key = schema::terminated(key);
            rows.seek(&[&key[..], &schema::version_height(self.height)].concat())?;
            let mut now = self.store.version_at(&*rows, &key)?;
            let mut then = now.and_then(|(_, value)| value);
            if let Some((at, value)) = now.filter(|(at, _)| *at > height) {
                newest.clear();
                newest.extend(value.unwrap_or_default());
                now = Some((at, value.map(|_| &newest[..])));
                skip(&mut *rows, &[&key[..], &schema::version_height(height)].concat())?;
                then = self.store.version_at(&*rows, &key)?.and_then(|(_, value)| value);
            }
            if !visit(index, now, then) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Calls `visit` with the versions of the row under `key`, from the newest at the height of this reader to the one that
    /// is in force at the start of the window, until it returns false: height and value, `None` for a deletion. A deletion
    /// at the start of the window is left out, because not all nodes still have it.
    ///
    /// Errors: `Damaged` or `Io` when a row cannot be read.
    pub fn try_versions(&self, key: &[u8], visit: &mut dyn FnMut(Height, Option<&[u8]>) -> bool) -> Result<()> {
        let (_hold, lowest) = self.store.hold_earliest();
        let mut rows = self.view.cursor(Cf::State, &schema::terminated(key))?;
        rows.seek(&schema::version(key, self.height))?;
        while let Some((row, value)) = rows.row() {
            let (_, at, value) = self.store.read_version(row, value)?;
            let is_base = at <= lowest;
            let is_shown = !is_base || value.is_some();
            if (is_shown && !visit(at, value)) || is_base {
                return Ok(());
            }
            rows.advance()?;
        }
        Ok(())
    }

    /// Keeps the state at `height` readable through this reader.
    ///
    /// Errors: `Pruned` below the window, `Future` above the height of this reader.
    pub(crate) fn hold(&self, height: Height) -> Result<Hold<'a>> {
        if height > self.height {
            return Err(StoreError::Future { got: height, tip: self.height });
        }
        self.store.hold(height)
    }

    /// Returns the result of a read; if it failed, records the failure.
    fn recorded<T>(&self, read: Result<T>) -> Option<T> {
        // Only the first failure is kept.
        read.map_err(|error| self.failure.set(error)).ok()
    }

    /// As [`Reader::scan`], for callers that can handle an error.
    ///
    /// Errors: those of [`StateReader::try_scan_from`].
    pub fn try_scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        self.try_scan_from(prefix, prefix, visit)
    }

    /// As [`Reader::scan_from`], for callers that can handle an error.
    ///
    /// Cost: the keys that the prefix has at any kept height, each with a few steps or a seek, whatever the number of
    /// its versions.
    ///
    /// Errors: `Damaged` or `Io` when a row cannot be read; `visit` was then called for the rows before it.
    pub fn try_scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        self.try_scan_some(prefix, from, usize::MAX, visit).map(|_| ())
    }

    /// As [`Reader::scan_some`], for callers that can handle an error. Keys without a row at the height of this reader
    /// count.
    ///
    /// Errors: those of [`StateReader::try_scan_from`].
    pub fn try_scan_some(
        &self,
        prefix: &[u8],
        from: &[u8],
        keys_max: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let mut rows = self.view.cursor(Cf::State, &schema::escape(prefix))?;
        if from > prefix {
            rows.seek(&schema::escape(from))?;
        }
        let (mut keys, mut next) = (0, Vec::new());
        while let Some((row, value)) = rows.row() {
            let unreadable = || self.store.unreadable_key(Cf::State, row);
            let (key, at) = schema::split_version(row).ok_or_else(unreadable)?;
            let is_first = !next.starts_with(key); // not a further version of the key before
            if is_first && keys == keys_max {
                return schema::read_terminated(key).ok_or_else(unreadable).map(Some);
            }
            keys += usize::from(is_first);
            next.clear();
            next.extend(key);
            if at > self.height {
                next.extend(schema::version_height(self.height));
            } else {
                let value = schema::read_version_value(value).ok_or_else(unreadable)?;
                let key = schema::read_terminated(key).ok_or_else(unreadable)?;
                if value.is_some_and(|value| !visit(&key, value)) {
                    return Ok(None);
                }
                schema::pass_versions(&mut next);
            }
            skip(&mut *rows, &next)?;
        }
        Ok(None)
    }
}

/// Moves to the first row whose key is not below `key`, and is above the current one.
fn skip(rows: &mut dyn Cursor, key: &[u8]) -> Result<()> {
    for _ in 0..STEPS_MAX {
        rows.advance()?;
        if rows.row().is_none_or(|(row, _)| row >= key) {
            return Ok(());
        }
    }
    rows.seek(key)
}

/// Panics when a read failed and no caller checked for it: then a result was computed from a state with missing rows.
impl<K: Kv> Drop for StateReader<'_, K> {
    fn drop(&mut self) {
        if let Some(failure) = self.failure.get().filter(|_| !*self.is_told.get_mut() && !std::thread::panicking()) {
            panic!("a failed read of the state at height {} was ignored: {failure}", self.height);
        }
    }
}

impl<K: Kv> Reader for StateReader<'_, K> {
    fn version(&self, key: &[u8]) -> Option<Version> {
        self.recorded(self.try_version(key)).flatten()
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.recorded(self.try_scan_from(prefix, from, visit));
    }

    fn scan_some(
        &self,
        prefix: &[u8],
        from: &[u8],
        keys_max: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        self.recorded(self.try_scan_some(prefix, from, keys_max, visit)).flatten()
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        let key = schema::shown(key);
        let reason = format!("the row of key {key} in {} is unreadable: {reason}", Cf::State.name());
        let _ = self.failure.set(self.store.damaged(reason));
    }
}

impl<K: Kv> History for StateReader<'_, K> {
    fn get_at(&self, height: Height, key: &[u8]) -> Option<Vec<u8>> {
        self.recorded(self.try_get_at(height, key)).flatten()
    }

    fn compare(&self, height: Height, keys: &[Vec<u8>], visit: &mut CompareVisit<'_>) {
        self.recorded(self.try_compare(height, keys, visit));
    }

    fn changed_since(&self, height: Height, prefix: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool) {
        self.recorded(self.try_changed_since(height, prefix, &mut |key, _| visit(key)));
    }
}
