//! The kept window: where it begins, who still reads below, and forgetting what is under it.
//!
//! Moving the window is one small row. Only every [`FORGET_STEP`] heights the move is synced and the database is then told to forget:
//! what is gone from the disk was out of the window durably before (S7).

use std::collections::BTreeMap;

use types::Height;

use crate::{
    error::{Result, StoreError},
    keys,
    kv::{Batch, Cf, Durability, Kv, View},
    store::{Store, lock, meta},
};

/// Heights that are forgotten together: one sync and one range tombstone per family for all of them.
pub const FORGET_STEP: u64 = 64;

/// Where the window begins, and who reads in it.
#[derive(Debug, Default)]
pub(crate) struct Window {
    earliest: Height,
    /// Everything below has been given to the database to forget.
    forgotten: Height,
    /// Heights being read, and by how many.
    held: BTreeMap<Height, usize>,
}

impl Window {
    pub(crate) fn new(earliest: Height) -> Self {
        Self { earliest, forgotten: earliest, held: BTreeMap::new() }
    }

    /// Notes a reader of the state at `height`.
    pub(crate) fn hold(&mut self, height: Height) -> Result<()> {
        let earliest = self.earliest.prev().unwrap_or_default();
        if height < earliest {
            return Err(StoreError::Pruned { got: height, earliest });
        }
        *self.held.entry(height).or_default() += 1;
        Ok(())
    }

    pub(crate) fn release(&mut self, height: Height) {
        if let Some(readers) = self.held.get_mut(&height) {
            *readers -= 1;
            if *readers == 0 {
                self.held.remove(&height);
            }
        }
    }

    /// The height below which no reader, old or new, needs a row: a reader of height h needs the rows above h.
    fn unneeded_below(&self) -> Height {
        self.held.first_key_value().map_or(self.earliest, |(lowest, _)| self.earliest.min(lowest.next()))
    }
}

impl<K: Kv> Store<K> {
    /// The earliest kept block. Its parent's state is kept too: that is the earliest height of [`Store::reader_at`].
    ///
    /// Before the first block this is the initial height.
    pub fn earliest(&self) -> Height {
        lock(&self.window).earliest
    }

    /// Moves the window to begin at `retain`, and every [`FORGET_STEP`] heights forgets what is below it. The tip is always kept; a
    /// height that is out of the window already changes nothing. Call it off the commit path, from any thread.
    pub fn prune(&self, retain: Height) -> Result<()> {
        let _one_at_a_time = lock(&self.pruning);
        let tip = self.tip_or_error()?.height;
        let (earliest, forget) = {
            let mut window = lock(&self.window);
            let earliest = retain.min(tip);
            if earliest <= window.earliest {
                return Ok(());
            }
            window.earliest = earliest;
            (earliest, earliest.0 - window.forgotten.0 >= FORGET_STEP)
        };
        let mut batch = Batch::new();
        batch.put(Cf::Meta, meta::EARLIEST, keys::height(earliest));
        self.kv.write(batch, if forget { Durability::Synced } else { Durability::Buffered })?;
        if forget {
            let below = lock(&self.window).unneeded_below();
            self.forget(below)?;
            lock(&self.window).forgotten = below;
        }
        Ok(())
    }

    /// Lets the database forget rows below a height that is durably out of the window.
    pub(crate) fn forget(&self, below: Height) -> Result<()> {
        for cf in Cf::ALL {
            let below = match cf {
                Cf::Meta | Cf::State => continue,
                Cf::Validators | Cf::Params => match self.kv.view().at_or_below(cf, &keys::height(below))? {
                    Some((in_force, _)) => keys::read_height(&in_force).ok_or_else(|| self.unreadable(cf, below))?,
                    None => continue,
                },
                _ => below,
            };
            self.kv.forget_below(cf, below)?;
        }
        Ok(())
    }
}
