//! For those who ask other questions of a run than a [`crate::Report`] answers.

use std::time::Instant;

use crate::TxKey;

/// Told of each valid transaction and of each height as it happens.
///
/// Told on the threads that send, read answers and watch nodes, so it should be quick.
pub trait Witness: Send + Sync {
    /// A transaction is about to be sent, and was due then. `node`: of the plan's nodes, the one that it goes to.
    fn sending(&self, node: usize, key: TxKey, due: Instant);

    /// The node that it went to has taken it in.
    fn accepted(&self, key: TxKey);

    /// A node was seen to have committed a height.
    fn committed(&self, node: usize, height: u64, at: Instant);

    /// What is in a height, anybody's transactions; told once for each height, as long as any node can be asked.
    fn block(&self, height: u64, keys: &[TxKey]);
}
