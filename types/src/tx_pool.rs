//! The interface between a validator and the transactions that wait for a block.

use crate::{Header, Reader, Time, TxId, VerifiedTx, WriteSet};

/// The transactions from which a validator makes blocks, shared with threads that add to them.
///
/// A validator that is a function of its inputs owns no such thing: its driver lends it for one step. No method waits
/// longer than for a lock that is held for 3 ms at most, by the longest update.
pub trait TxPool {
    /// Returns true if there is no transaction for a block.
    fn is_empty(&self) -> bool;

    /// Returns transactions for a block with the time `time`, in an order in which they can be executed. `gas_max` is −1
    /// for no bound. Only what expires by `time` is removed.
    fn reap(&self, time: Time, bytes_max: usize, gas_max: i64) -> Vec<VerifiedTx>;

    /// Returns the transaction of these bytes if its signature was checked before and is valid. Checks nothing.
    fn known(&self, bytes: &[u8]) -> Option<VerifiedTx>;

    /// Removes the transactions of the committed block with the header `block`, and those that expire by its time.
    /// `reader` is the state after it, `writes` are the rows that it wrote.
    fn update(&self, reader: &dyn Reader, block: &Header, block_txs: &[TxId], writes: &WriteSet, now: Time);
}
