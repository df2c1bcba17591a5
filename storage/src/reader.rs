//! Reads of the state at one height.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use types::{Height, Reader};

use crate::{
    error::{Result, StoreError},
    kv::{Cf, Kv, Rows, View},
    schema::{self, Tip},
    store::{Store, lock, meta},
};

/// The state at one height, not affected by commits while it is held (S4).
///
/// While it is held, the database does not delete rows that this height needs (and the simulator's database cannot
/// share rows). Drop it soon.
pub struct StateReader<'a, K: Kv> {
    store: &'a Store<K>,
    view: K::View<'a>,
    height: Height,
    /// The tip in the view; at this height `state` alone has the answer.
    tip: Height,
    /// True if this height is registered in the window as being read.
    held: bool,
    /// The first read through [`Reader`] that failed.
    failure: OnceLock<StoreError>,
    /// True if a caller has received the failure.
    is_told: AtomicBool,
}

impl<K: Kv> Store<K> {
    /// Returns a reader of the state at the tip.
    ///
    /// Errors: `NoGenesis` before there is a state; `Damaged` or `Io` when the tip cannot be read.
    pub fn reader(&self) -> Result<StateReader<'_, K>> {
        let view = self.kv.view();
        let tip = self.tip_in(&view)?;
        Ok(StateReader {
            store: self,
            view,
            height: tip,
            tip,
            held: false,
            failure: OnceLock::new(),
            is_told: AtomicBool::new(false),
        })
    }

    /// Returns a reader of the state after the block of `height`. The lowest possible height is the one before
    /// [`Store::earliest`]; the header of the earliest block contains the root of that state.
    ///
    /// Errors: `Pruned` below that, `Future` above the tip, `NoGenesis` before there is a state; `Damaged` or `Io` when
    /// the tip cannot be read.
    pub fn reader_at(&self, height: Height) -> Result<StateReader<'_, K>> {
        lock(&self.window).hold(height)?;
        // The reader is made before anything else can fail, because dropping it releases the height.
        let view = self.kv.view();
        let (failure, is_told) = (OnceLock::new(), AtomicBool::new(false));
        let mut reader = StateReader { store: self, view, height, tip: height, held: true, failure, is_told };
        reader.tip = self.tip_in(&reader.view)?;
        if height > reader.tip {
            return Err(StoreError::Future { got: height, tip: reader.tip });
        }
        Ok(reader)
    }

    fn tip_in(&self, view: &K::View<'_>) -> Result<Height> {
        let bytes = view.get(Cf::Meta, meta::TIP)?;
        let bytes = bytes.ok_or_else(|| StoreError::NoGenesis { place: self.kv.place() })?;
        Ok(Tip::decode(&bytes).ok_or_else(|| self.unreadable_key(Cf::Meta, meta::TIP))?.height)
    }
}

impl<K: Kv> StateReader<'_, K> {
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
        if self.height < self.tip {
            let next = schema::history(key, self.height.next());
            if let Some(row) = self.view.rows(Cf::History, &schema::history_prefix(key), &next).next() {
                let (_, old) = row?;
                let unreadable = || self.store.unreadable_key(Cf::History, &schema::history_prefix(key));
                return schema::read_old_value(&old).ok_or_else(unreadable);
            }
        }
        self.view.get(Cf::State, key)
    }

    /// As [`Reader::changed_at`], for callers that can handle an error. A row without a change in the kept window counts
    /// as unchanged since the first height.
    ///
    /// Cost: two reads.
    ///
    /// Errors: `Damaged` or `Io` when a row cannot be read.
    pub fn try_changed_at(&self, key: &[u8]) -> Result<Option<Height>> {
        let prefix = schema::history_prefix(key);
        let last = self.view.at_or_below(Cf::History, &schema::history(key, self.height))?;
        if let Some((row, _)) = last.filter(|(row, _)| row.starts_with(&prefix)) {
            let unreadable = || self.store.unreadable_key(Cf::History, &prefix);
            return Ok(Some(schema::unescape_history(&row).ok_or_else(unreadable)?.1));
        }
        Ok(self.try_get(key)?.map(|_| Height::GENESIS))
    }

    /// As [`Reader::scan`], for callers that can handle an error.
    ///
    /// Errors: those of [`StateReader::try_scan_from`].
    pub fn try_scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        self.try_scan_from(prefix, prefix, visit)
    }

    /// As [`Reader::scan_from`], for callers that can handle an error.
    ///
    /// Cost below the tip: the rows that are visited, and their history in the whole window.
    ///
    /// Errors: `Damaged` or `Io` when a row cannot be read; `visit` was then called for the rows before it.
    pub fn try_scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        let mut now = self.view.rows(Cf::State, prefix, from);
        let mut past = Past { rows: None, height: self.height, last: None };
        if self.height < self.tip {
            past.rows = Some(self.view.rows(Cf::History, &schema::escape(prefix), &schema::escape(from)));
        }
        let mut now_row = now.next().transpose()?;
        let mut past_row = past.next(self.store)?;
        loop {
            // The row with the lower key comes next; for equal keys the past row replaces the current one.
            let (from_now, from_past) = match (&now_row, &past_row) {
                (None, None) => return Ok(()),
                (Some(_), None) => (true, false),
                (None, Some(_)) => (false, true),
                (Some((key, _)), Some((old_key, _))) => (**key <= **old_key, **old_key <= **key),
            };
            let row = match (&now_row, &past_row) {
                (_, Some((key, old))) if from_past => old.as_deref().map(|old| (key.as_slice(), old)),
                (Some((key, value)), _) => Some((&**key, &**value)),
                _ => None,
            };
            if row.is_some_and(|(key, value)| !visit(key, value)) {
                return Ok(());
            }
            if from_now {
                now_row = now.next().transpose()?;
            }
            if from_past {
                past_row = past.next(self.store)?;
            }
        }
    }
}

/// Iterator over the keys that changed above `height`, ascending, with their values at `height`.
struct Past<'a> {
    rows: Option<Rows<'a>>,
    height: Height,
    last: Option<Vec<u8>>,
}

impl Past<'_> {
    #[allow(clippy::type_complexity)] // The caller takes the pair apart immediately.
    fn next<K: Kv>(&mut self, store: &Store<K>) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        for row in rows {
            let (bytes, old) = row?;
            let unreadable = || store.unreadable_key(Cf::History, &bytes);
            let (key, at) = schema::unescape_history(&bytes).ok_or_else(unreadable)?;
            if at > self.height && self.last.as_ref() != Some(&key) {
                let old = schema::read_old_value(&old).ok_or_else(unreadable)?;
                self.last = Some(key.clone());
                return Ok(Some((key, old)));
            }
        }
        Ok(None)
    }
}

/// Panics when a read failed and no caller checked for it: then a result was computed from a state with missing rows.
impl<K: Kv> Drop for StateReader<'_, K> {
    fn drop(&mut self) {
        if self.held {
            lock(&self.store.window).release(self.height);
        }
        if let Some(failure) = self.failure.get().filter(|_| !*self.is_told.get_mut() && !std::thread::panicking()) {
            panic!("a failed read of the state at height {} was ignored: {failure}", self.height);
        }
    }
}

impl<K: Kv> Reader for StateReader<'_, K> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.try_get(key).unwrap_or_else(|error| {
            let _ = self.failure.set(error); // Only the first failure is kept.
            None
        })
    }

    fn changed_at(&self, key: &[u8]) -> Option<Height> {
        self.try_changed_at(key).unwrap_or_else(|error| {
            let _ = self.failure.set(error);
            None
        })
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        if let Err(error) = self.try_scan_from(prefix, from, visit) {
            let _ = self.failure.set(error);
        }
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        let key = schema::shown(key);
        let reason = format!("the row of key {key} in {} is unreadable: {reason}", Cf::State.name());
        let _ = self.failure.set(self.store.damaged(reason));
    }
}
