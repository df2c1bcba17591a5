//! The kept window: its start, the readers below it, and deletion of the rows under it.
//!
//! Moving the window writes one small row. The first move of a process, and then one every [`FORGET_STEP`] heights, is synced, and
//! the database receives the order to delete after it: rows that are gone from the disk were durably outside the window before (S7). Deletions
//! in the state that left the window are then removed one by one, because no compaction can.

use std::collections::BTreeMap;

use types::Height;

use crate::{
    error::{Result, StoreError},
    kv::{Batch, Cf, Durability, Kv, View},
    mutation::{Mutation, mutated},
    schema::{self, Change},
    store::{Store, lock, meta},
};

/// Number of heights that are deleted together, with one sync and one range tombstone per family.
pub const FORGET_STEP: u64 = 64;

/// Bytes of removed deletions at which a batch is written.
const SWEEP_BATCH_BYTES: usize = 1 << 20;

/// Start of the window, and the heights that are being read.
#[derive(Debug, Default)]
pub(crate) struct Window {
    earliest: Height,
    /// This process has ordered the database to delete everything below this height. It does so only after a sync of its own: the
    /// start of the window that it finds at first may be the unsynced write of a process that was killed, which the next loss of
    /// power takes back.
    forgotten: Option<Height>,
    /// The deletions below this height are removed; the next synced write makes that durable.
    swept: Height,
    /// Heights that are being read, and the number of readers of each.
    held: BTreeMap<Height, usize>,
}

impl Window {
    pub(crate) fn new(earliest: Height) -> Self {
        Self { earliest, ..Self::default() }
    }

    /// Registers a reader of the state at `height`.
    ///
    /// Errors: `Pruned` when the state of `height` is no longer kept.
    pub(crate) fn hold(&mut self, height: Height) -> Result<()> {
        let earliest = self.earliest_state();
        if height < earliest {
            return Err(StoreError::Pruned { got: height, earliest });
        }
        *self.held.entry(height).or_default() += 1;
        Ok(())
    }

    /// Registers a reader of the lowest height whose state is kept, and returns that height.
    pub(crate) fn hold_earliest(&mut self) -> Height {
        let earliest = self.earliest_state();
        *self.held.entry(earliest).or_default() += 1;
        earliest
    }

    fn earliest_state(&self) -> Height {
        self.earliest.prev().unwrap_or_default()
    }

    pub(crate) fn release(&mut self, height: Height) {
        if let Some(readers) = self.held.get_mut(&height) {
            *readers -= 1;
            if *readers == 0 {
                self.held.remove(&height);
            }
        }
    }

    /// Returns the height below which no reader, old or new, needs a row that is replaced: a reader of height h needs
    /// the rows above h, and the versions that h replaced.
    fn unneeded_below(&self) -> Height {
        match self.held.first_key_value() {
            Some((lowest, _)) if *lowest < self.earliest && !mutated(Mutation::IgnoreReaders) => lowest.next(),
            _ => self.earliest,
        }
    }
}

impl<K: Kv> Store<K> {
    /// Returns the height of the earliest kept block. The state of its parent is kept too, which is the earliest height
    /// of [`Store::reader_at`].
    ///
    /// Before the first block this is the initial height.
    pub fn earliest(&self) -> Height {
        lock(&self.window).earliest
    }

    /// Returns the lowest height whose state can be read: the one before [`Store::earliest`].
    pub fn earliest_state(&self) -> Height {
        lock(&self.window).earliest_state()
    }

    /// Moves the start of the window to `retain`. The first move of a process, and then one every [`FORGET_STEP`] heights, deletes
    /// the rows below it.
    ///
    /// The tip is always kept. A height at or below the start of the window changes nothing. Call this off the commit
    /// path, from any thread.
    ///
    /// Errors: `NoGenesis` for an empty store; `Damaged` or `Io` when a read or write fails.
    pub fn prune(&self, retain: Height) -> Result<()> {
        let _one_at_a_time = lock(&self.pruning);
        let tip = self.tip_or_error()?.height;
        let (earliest, forget) = {
            let mut window = lock(&self.window);
            let earliest = if mutated(Mutation::PassTip) { retain } else { retain.min(tip) };
            if earliest <= window.earliest && !mutated(Mutation::WindowGoesBack) {
                return Ok(());
            }
            if !mutated(Mutation::AnnounceLate) {
                window.earliest = earliest;
            }
            (earliest, window.forgotten.is_none_or(|forgotten| earliest.0.saturating_sub(forgotten.0) >= FORGET_STEP))
        };
        let mut batch = Batch::new();
        batch.put(Cf::Meta, meta::EARLIEST, schema::height(earliest));
        let is_synced = forget && !mutated(Mutation::DeleteBeforeDurable);
        self.kv.write(batch, if is_synced { Durability::Synced } else { Durability::Buffered })?;
        if forget {
            let below = lock(&self.window).unneeded_below();
            let below = if mutated(Mutation::AnnounceLate) { earliest } else { below };
            self.forget(below)?;
            self.sweep(below)?;
            let mut window = lock(&self.window);
            (window.forgotten, window.swept) = (Some(below), below);
        }
        if mutated(Mutation::AnnounceLate) {
            lock(&self.window).earliest = earliest;
        }
        Ok(())
    }

    /// Removes the deletions of the heights below `below`, and the versions under them, where no newer version below
    /// `below` replaces them.
    ///
    /// The database cannot do this by itself: a compaction sees some of the files, and if it dropped a deletion while
    /// another file has an older version, that version would appear again.
    fn sweep(&self, below: Height) -> Result<()> {
        if mutated(Mutation::KeepDeletions) {
            return Ok(());
        }
        let last = below.prev().unwrap_or_default();
        let view = self.kv.view();
        let mut batch = Batch::new();
        let mut lists = view.cursor(Cf::Changes, &[])?;
        while let Some((height, list)) = lists.row() {
            let unreadable = || self.unreadable_key(Cf::Changes, height);
            let at = schema::read_height(height).ok_or_else(unreadable)?;
            if at >= below {
                break;
            }
            for change in schema::Changes::new(list) {
                let Change { key, is_deletion, .. } = change.ok_or_else(unreadable)?;
                if is_deletion && self.version_in(&view, key, last)? == Some((at, None)) {
                    let newest = if mutated(Mutation::DeleteLaterVersions) { Height(u64::MAX) } else { at };
                    let versions = view.rows(Cf::State, &schema::terminated(key), &schema::version(key, newest));
                    versions.into_iter().try_for_each(|row| row.map(|(row, _)| batch.delete(Cf::State, row)))?;
                }
                if batch.bytes() >= SWEEP_BATCH_BYTES {
                    self.kv.write(std::mem::take(&mut batch), Durability::Buffered)?;
                }
            }
            lists.advance()?;
        }
        if batch.is_empty() { Ok(()) } else { self.kv.write(batch, Durability::Buffered) }
    }

    /// Allows the database to delete rows below a height that is durably outside the window.
    pub(crate) fn forget(&self, below: Height) -> Result<()> {
        let for_evidence = |below| match mutated(Mutation::DeleteForEvidence) {
            true => Ok(below),
            false => self.evidence_needed_from(below),
        };
        let needed = |cf| if cf == Cf::Validators { for_evidence(below) } else { Ok(below) };
        for cf in Cf::ALL {
            let below = match cf {
                Cf::Meta => continue,
                // The lists are needed until the deletions in them are durably removed.
                Cf::Changes if mutated(Mutation::DeleteListsEarly) => below,
                Cf::State if mutated(Mutation::DeleteInForce) => below.next(),
                Cf::Validators | Cf::Params if mutated(Mutation::DeleteRulesInForce) => needed(cf)?,
                Cf::Changes => below.min(lock(&self.window).swept),
                Cf::Times | Cf::Evidence | Cf::EvidenceWaiting => for_evidence(below)?,
                Cf::Validators | Cf::Params => match self.kv.view().at_or_below(cf, &schema::height(needed(cf)?))? {
                    Some((in_force, _)) => schema::read_height(&in_force).ok_or_else(|| self.unreadable(cf, below))?,
                    None => continue,
                },
                _ => below,
            };
            self.kv.forget_below(cf, below)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_for_the_lowest_reader_below_the_window() {
        let mut window = Window::new(Height(5));
        window.hold(Height(4)).unwrap();
        window.earliest = Height(9);
        assert_eq!(window.unneeded_below(), Height(5));
        window.release(Height(4));
        assert_eq!(window.unneeded_below(), Height(9));
    }

    /// A client may ask for any height. It is held for a moment, before it is known to be above the tip.
    #[test]
    fn a_reader_of_the_highest_number_changes_nothing() {
        let mut window = Window::new(Height(5));
        window.hold(Height(u64::MAX)).unwrap();
        assert_eq!(window.unneeded_below(), Height(5));
    }
}
