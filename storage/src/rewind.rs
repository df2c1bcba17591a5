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

impl<K: Kv> Store<K> {
    /// Rewinds the store to `height`, height by height, each in one batch; the last one is synced.
    ///
    /// After an interruption the store is at a whole height in between, and the same call continues. The hard state and
    /// the signing floor stay (S3): a validator signs nothing until the chain has passed them again. Committed blocks
    /// above `height` are deleted. No other user of the store may be active during the call.
    ///
    /// Cost: four rows for each key changed above `height`.
    ///
    /// Errors: `Future` above the tip; `Pruned` below the window; `NoGenesis` for an empty store; `Damaged` or `Io`
    /// when a read or write fails.
    pub fn rewind(&self, height: Height) -> Result<Tip> {
        let mut tip = self.tip_or_error()?;
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
        while tip.height > height {
            tip = self.undo(&tip)?;
        }
        self.sync()?;
        self.reload()?;
        Ok(tip)
    }

    /// Reverts `commit_block` of the tip's height.
    fn undo(&self, tip: &Tip) -> Result<Tip> {
        let height = tip.height;
        let row = schema::height(height);
        let below = self.tip_below(height)?;
        let mut batch = Batch::new();
        for change in self.change_record(height)? {
            batch.delete(Cf::History, schema::history(&change.key, height));
            match change.old {
                Some(old) => batch.put(Cf::State, change.key, old),
                None => batch.delete(Cf::State, change.key),
            }
        }
        for tx in self.block(height)?.tx_ids() {
            batch.delete(Cf::Txs, tx.0);
        }
        index::delete(&mut batch, height, &self.results(height)?);
        let id = self.head(height)?.block_id;
        batch.delete(Cf::Blocks, schema::block(height, &id));
        batch.delete(Cf::BlockHash, id.hash.0);
        for cf in [Cf::Heads, Cf::Commits, Cf::Results, Cf::Changes] {
            batch.delete(cf, row);
        }
        batch.delete(Cf::Validators, schema::height(height.next().next()));
        batch.delete(Cf::Params, schema::height(height.next()));
        batch.put(Cf::Meta, meta::TIP, below.encode());
        self.kv.write(batch, Durability::Buffered)?;
        self.set_tip(below);
        Ok(below)
    }

    /// Returns the tip as it was before `height` was committed.
    fn tip_below(&self, height: Height) -> Result<Tip> {
        let genesis = self.genesis().ok_or_else(|| self.damaged("it has a tip but no genesis"))?;
        if height == genesis.initial_height {
            return Ok(genesis_tip(&genesis));
        }
        let below = height.prev().expect("above the initial height");
        let head = self.head(below)?;
        let results = self.results(below)?;
        Ok(Tip {
            height: below,
            block_id: Some(head.block_id),
            time: head.header.time,
            app_hash: results.app_hash,
            results_hash: types::results_hash(&results.txs),
        })
    }
}
