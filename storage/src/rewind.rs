//! Rewinding the store of one node to a kept height. It changes neither what the network agreed on nor what this node
//! has signed.

use types::Height;

use crate::{
    error::{Result, StoreError},
    index,
    kv::{Batch, Cf, Durability, Kv},
    schema::{self, Tip},
    store::{Store, genesis_tip, meta},
};

/// Bytes of a batch at which it is written; a batch contains whole heights.
const BATCH_BYTES: usize = 4 << 20;

impl<K: Kv> Store<K> {
    /// Rewinds the store to `height`, in batches of whole heights; the last one is synced.
    ///
    /// After an interruption the store is at a whole height in between, and the same call continues. The hard state and
    /// the signing floor stay (S3): a validator signs nothing until the chain has passed them again. Committed blocks
    /// above `height` are deleted. No other user of the store may be active during the call.
    ///
    /// Cost: the rows that the heights above `height` have written are deleted, without reads of the state; so it does
    /// not depend on the size of the state.
    ///
    /// Errors: `Future` above the tip; `Pruned` below the window; `NoGenesis` for an empty store; `Damaged` or `Io`
    /// when a read or write fails.
    pub fn rewind(&self, height: Height) -> Result<Tip> {
        let tip = self.tip_or_error()?;
        let lowest = match self.genesis() {
            Some(genesis) if genesis.initial_height == self.earliest() => genesis_tip(&genesis).height,
            _ => self.earliest(),
        };
        if height < lowest {
            return Err(StoreError::Pruned { got: height, earliest: lowest });
        }
        if height > tip.height {
            return Err(StoreError::Future { got: height, tip: tip.height });
        }
        let view = self.kv.view();
        let mut batch = Batch::new();
        for undone in (height.next().0..=tip.height.0).rev().map(Height) {
            self.undo(&view, &mut batch, undone)?;
            let below = Height(undone.0 - 1);
            if below == height || batch.bytes() >= BATCH_BYTES {
                let tip = self.tip_at(below)?;
                batch.put(Cf::Meta, meta::TIP, tip.encode());
                self.kv.write(std::mem::take(&mut batch), Durability::Buffered)?;
                self.set_tip(tip);
            }
        }
        self.sync()?;
        self.reload()?;
        self.tip_or_error()
    }

    /// Adds the deletion of everything that `commit_block` wrote for a height.
    fn undo(&self, view: &K::View<'_>, batch: &mut Batch, height: Height) -> Result<()> {
        for (key, _) in self.changes_in(view, height)? {
            batch.delete(Cf::State, schema::version(&key, height));
        }
        for tx in self.block(height)?.tx_ids() {
            batch.delete(Cf::Txs, tx.0);
        }
        index::delete(batch, height, &self.results(height)?);
        let id = self.head(height)?.block_id;
        batch.delete(Cf::Blocks, schema::block(height, &id));
        batch.delete(Cf::BlockHash, id.hash.0);
        for cf in [Cf::Heads, Cf::Commits, Cf::Results, Cf::Changes] {
            batch.delete(cf, schema::height(height));
        }
        batch.delete(Cf::Validators, schema::height(height.next().next()));
        batch.delete(Cf::Params, schema::height(height.next()));
        Ok(())
    }

    /// Returns the tip as it was when `height` was committed.
    fn tip_at(&self, height: Height) -> Result<Tip> {
        let genesis = self.genesis().ok_or_else(|| self.damaged("it has a tip but no genesis"))?;
        if height < genesis.initial_height {
            return Ok(genesis_tip(&genesis));
        }
        let head = self.head(height)?;
        let results = self.results(height)?;
        Ok(Tip {
            height,
            block_id: Some(head.block_id),
            time: head.header.time,
            app_hash: results.app_hash,
            results_hash: types::results_hash(&results.txs),
        })
    }
}
