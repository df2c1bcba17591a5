//! Hashes of the application's trees at one height, so that a start need not read the whole state.
//!
//! The rows are those of the application. They are derived from the state: a store without them, or with wrong ones, is
//! complete. The row `trees` in [`Cf::Meta`] names the height that they describe; without it, they describe none. A batch
//! moves them from one height to another, so a crash leaves those of one of the two.

use types::Height;

use crate::{
    error::Result,
    kv::{Batch, Cf, Durability, Kv, View},
    schema,
    store::{Store, meta},
};

/// Bytes of a batch at which it is written, while all rows are replaced.
const BATCH_BYTES: usize = 1 << 20;

impl<K: Kv> Store<K> {
    /// Calls `visit` with each row of the trees, ascending, until it returns false. Returns the height that the rows
    /// describe; `None` if they describe none, and then calls `visit` for no row.
    ///
    /// Errors: `Damaged` or `Io` when a row cannot be read; `visit` was then called for the rows before it.
    pub fn read_trees(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<Option<Height>> {
        let view = self.kv.view();
        let Some(height) = view.get(Cf::Meta, meta::TREES)? else { return Ok(None) };
        let height = schema::read_height(&height).ok_or_else(|| self.unreadable_key(Cf::Meta, meta::TREES))?;
        let mut rows = view.cursor(Cf::Trees, &[])?;
        while let Some((key, value)) = rows.row() {
            if !visit(key, value) {
                break;
            }
            rows.advance()?;
        }
        Ok(Some(height))
    }

    /// Returns the height that the rows of the trees describe, if there is one.
    ///
    /// Errors: `Damaged` or `Io` when the row cannot be read.
    pub fn trees_height(&self) -> Result<Option<Height>> {
        self.meta(meta::TREES, schema::read_height)
    }

    /// Moves the trees to a height at or below the tip: writes these rows, or deletes those with the value `None`, in one
    /// batch that is not synced. By convention one thread calls this.
    ///
    /// Errors: `Damaged` or `Io` when the write fails.
    pub fn update_trees(
        &self,
        height: Height,
        rows: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<()> {
        let mut batch = Batch::new();
        for (key, value) in rows {
            match value {
                Some(value) => batch.put(Cf::Trees, key, value),
                None => batch.delete(Cf::Trees, key),
            }
        }
        batch.put(Cf::Meta, meta::TREES, schema::height(height));
        self.kv.write(batch, Durability::Buffered)
    }

    /// Replaces all rows of the trees, not synced. The rows can be more than fit into memory: they are written in
    /// batches, and only the last one makes them describe `height`.
    ///
    /// Errors: `Damaged` or `Io` when a read or write fails.
    pub fn replace_trees(
        &self,
        height: Height,
        rows: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete(Cf::Meta, meta::TREES);
        let view = self.kv.view();
        for row in view.rows(Cf::Trees, &[], &[]) {
            batch.delete(Cf::Trees, row?.0);
            if batch.bytes() >= BATCH_BYTES {
                self.kv.write(std::mem::take(&mut batch), Durability::Buffered)?;
            }
        }
        drop(view);
        self.kv.write(std::mem::take(&mut batch), Durability::Buffered)?;
        for (key, value) in rows.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            batch.put(Cf::Trees, key, value);
            if batch.bytes() >= BATCH_BYTES {
                self.kv.write(std::mem::take(&mut batch), Durability::Buffered)?;
            }
        }
        batch.put(Cf::Meta, meta::TREES, schema::height(height));
        self.kv.write(batch, Durability::Buffered)
    }
}
