//! Interface for programs that need more details of a run than a [`crate::Report`] has.

use std::time::Instant;

use crate::TxKey;

/// Receives a report about each valid transaction and each height while the run lasts.
///
/// It is called on the threads that send, read answers and watch nodes, so it should return quickly.
pub trait Witness: Send + Sync {
    /// A transaction is about to be sent, whose intended send time was `due`. `node`: index of its node in the plan.
    fn sending(&self, node: usize, key: TxKey, due: Instant);

    /// The node that received a transaction has accepted it.
    fn accepted(&self, key: TxKey);

    /// A node was seen to have committed a height at `at`.
    fn committed(&self, node: usize, height: u64, at: Instant);

    /// The transactions of a height, whether sent by this run or not. Called at most once per height: not if no node
    /// returns the block, and not if its header says that it is empty.
    fn block(&self, height: u64, keys: &[TxKey]);
}
