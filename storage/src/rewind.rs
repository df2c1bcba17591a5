//! Rewinding the store of one node to a kept height. It changes neither what the network agreed on nor what this node
//! has signed.

use std::collections::BTreeMap;

use types::{Height, split_revertible};

use crate::{
    error::{Result, StoreError},
    index,
    kv::{Batch, Cf, Durability, Kv},
    schema::{self, Tip},
    store::{Store, genesis_tip, meta},
};

/// Bytes of a batch at which it is written; a batch contains whole heights.
const BATCH_BYTES: usize = 4 << 20;

/// For each revertible row that a batch changes back: the height of its last change, and that of the value before all
/// changes in the batch, if there was one.
type Undone = BTreeMap<Vec<u8>, (Height, Option<Height>)>;

impl<K: Kv> Store<K> {
    /// Rewinds the store to `height`, in batches of whole heights; the last one is synced.
    ///
    /// After an interruption the store is at a whole height in between, and the same call continues. The hard state and
    /// the signing floor stay (S3): a validator signs nothing until the chain has passed them again. Committed blocks
    /// above `height` are deleted. No other user of the store may be active during the call.
    ///
    /// Cost: the rows that the heights above `height` have written are deleted. Of the state, only revertible rows that
    /// did not exist before their change are read; so the cost does not depend on the size of the state.
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
        let (mut batch, mut rows) = (Batch::new(), Undone::new());
        for undone in (height.next().0..=tip.height.0).rev().map(Height) {
            self.undo(&view, &mut batch, &mut rows, undone)?;
            let below = Height(undone.0 - 1);
            if below == height || batch.bytes() >= BATCH_BYTES {
                self.move_recent_back(&view, &mut batch, std::mem::take(&mut rows), below)?;
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

    /// Adds the deletion of everything that `commit_block` wrote for a height, except in the index over last changes: its
    /// rows are noted in `rows`.
    fn undo(&self, view: &K::View<'_>, batch: &mut Batch, rows: &mut Undone, height: Height) -> Result<()> {
        for (key, before) in self.changes_in(view, height)? {
            batch.delete(Cf::State, schema::version(&key, height));
            if split_revertible(&key).is_some() {
                rows.entry(key).or_insert((height, None)).1 = before;
            }
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

    /// Moves rows of the index over last changes to where they were when `height` was committed.
    fn move_recent_back(&self, view: &K::View<'_>, batch: &mut Batch, rows: Undone, height: Height) -> Result<()> {
        let earliest = self.earliest();
        for (key, (at, before)) in rows {
            // The list does not say when a row was deleted that a later change created again.
            let before = match before {
                None => self.version_in(view, &key, height)?.map(|(at, _)| at),
                before => before,
            };
            let at_height = |at| schema::recent(&key, at).expect("the row is revertible");
            batch.delete(Cf::Recent, at_height(at));
            if let Some(before) = before.filter(|before| *before >= earliest) {
                batch.put(Cf::Recent, at_height(before), []);
            }
        }
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
