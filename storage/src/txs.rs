//! The index of transactions: where each transaction is in the kept blocks.
//!
//! ```text
//!   key of an executed one:  transaction id
//!   key of another one:      transaction id ‖ height (8) ‖ index (4)
//!   value of both:           height (8) ‖ index (4)
//! ```
//! Any number of blocks can contain the same bytes, because an unexecuted transaction does not make its block invalid. So each
//! occurrence has a row of its own, which no other height writes or deletes, and a commit reads nothing. The id leads to
//! the block that executed the transaction, whatever blocks repeat it.

use types::{BlockResults, Height, TxId};

use crate::{
    error::Result,
    kv::{Cf, Kv, View},
    mutation::{Mutation, mutated},
    schema,
    store::Store,
};

impl<K: Kv> Store<K> {
    /// Returns the position of a transaction, height and index in its block: where it was executed, or else where it occurs first.
    /// `None` if it is unknown or no longer kept.
    ///
    /// Errors: `Damaged` when the row is unreadable, `Io` or `Damaged` when the read fails.
    pub fn tx(&self, id: &TxId) -> Result<Option<(Height, u32)>> {
        if let Some(position) = self.kv.get(Cf::Txs, &id.0)? {
            let (height, index) = self.tx_position(&id.0, &position)?;
            if self.check_kept(height).is_ok() || mutated(Mutation::SeeTxsAbove) {
                return Ok(Some((height, index)));
            }
        }
        let from = [&id.0[..], &schema::height(self.earliest())].concat();
        let Some(row) = self.kv.view().rows(Cf::Txs, &id.0, &from).next() else { return Ok(None) };
        let (key, position) = row?;
        let (height, index) = self.tx_position(&key, &position)?;
        Ok(self.check_kept(height).is_ok().then_some((height, index)))
    }

    fn tx_position(&self, key: &[u8], value: &[u8]) -> Result<(Height, u32)> {
        schema::read_tx_position(value).ok_or_else(|| self.unreadable_key(Cf::Txs, key))
    }
}

/// Returns the rows of the transactions of a height, in the order of the block: key and value.
///
/// A transaction without a result counts as executed.
pub(crate) fn rows_of(
    height: Height,
    ids: impl IntoIterator<Item = TxId>,
    results: &BlockResults,
) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    ids.into_iter().zip(0..).map(move |(id, index)| {
        let position = schema::tx_position(height, index);
        let is_executed = results.txs.get(index as usize).is_none_or(types::TxResult::is_executed);
        (if is_executed { id.0.to_vec() } else { [&id.0[..], &position].concat() }, position)
    })
}

/// Returns true if a row has the shape of this index.
pub(crate) fn is_readable(key: &[u8], value: &[u8]) -> bool {
    let is_position = schema::read_tx_position(value).is_some();
    is_position && key.split_first_chunk::<32>().is_some_and(|(_, rest)| rest.is_empty() || rest == value)
}
