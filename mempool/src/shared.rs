//! The mempool and the cache of checked signatures, as a validator uses them.

use std::sync::Arc;

use types::{Header, Reader, Time, TxId, TxPool, VerifiedTx, WriteSet};

use crate::{mempool::Mempool, tx_verifier::TxVerifier};

/// The waiting transactions and the transactions whose signatures were checked; clones share all state.
#[derive(Clone)]
pub struct SharedPool {
    /// The transactions that wait for a block.
    pub mempool: Arc<Mempool>,
    /// The cache of checked signatures.
    pub verifier: Arc<TxVerifier>,
}

impl TxPool for SharedPool {
    fn is_empty(&self) -> bool {
        self.mempool.is_empty()
    }

    fn reap(&self, time: Time, bytes_max: usize, gas_max: i64) -> Vec<VerifiedTx> {
        self.mempool.reap(time, bytes_max, gas_max)
    }

    /// Most transactions of a block are already decoded in the mempool.
    fn known(&self, bytes: &[u8]) -> Option<VerifiedTx> {
        let waits = self.mempool.get(&TxId::of(bytes));
        waits.inspect(|_| self.verifier.note_hit()).or_else(|| self.verifier.known(bytes))
    }

    fn update(&self, reader: &dyn Reader, block: &Header, block_txs: &[TxId], writes: &WriteSet, now: Time) {
        self.mempool.update(reader, block.height, block.time, block_txs, writes.0.keys(), now);
    }
}
