//! Rewinding the store of one node to a kept height. It changes neither what the network agreed on nor what this node
//! has signed.
//!
//! ```text
//!   begin_rewind ── one batch: the tip moves to `to`, the row `rewind` says what is above it
//!        then resume_rewind moves the index over last changes back, in batches
//!        blocks dropped: drop_undone   deletes heights from the top, in batches; the last one deletes the row
//!        blocks kept:    commit_block  of each height again replaces its rows; the last one deletes the row
//! ```
//! From the first batch on, no read sees a row above the tip. So after a crash at any moment the store is whole at its
//! tip, and [`Store::unfinished_rewind`] says what is left to do.

use std::collections::BTreeMap;

use prost::Message;
use types::{
    Block, BlockId, BlockResults, Commit, Evidence, HardState, Height, TxId, Wire, WriteSet, pb, split_revertible,
};

use crate::{
    error::{Result, StoreError},
    index,
    kv::{Batch, Cf, Durability, Kv, View},
    mutation::{Mutation, mutated},
    schema::{self, Change, Head, Tip},
    store::{Store, genesis_tip, meta},
    txs,
};

/// Bytes of a batch at which it is written; a batch contains whole heights.
const BATCH_BYTES: usize = 4 << 20;

/// Number of revertible rows whose last changes are moved back together, about 100 bytes of memory each.
const MOVED_BACK_MAX: usize = 1 << 16;

/// For each revertible row that is moved back in the index: the height of its last change, and that of the value before
/// all changes that are undone together, if there was one.
type MovedBack = BTreeMap<Vec<u8>, (Height, Option<Height>)>;

/// Future of the blocks above the height of a rewind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlocksAbove {
    /// They stay, and are committed again.
    Kept,
    /// They are deleted from the disk.
    Dropped,
}

/// A rewind that is not finished: rows of heights above the tip are still stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewind {
    /// Height that the rewind goes back to.
    pub to: Height,
    /// The tip before the rewind.
    pub from: Tip,
    /// The highest height above the tip that still has rows.
    pub rows_to: Height,
    /// Future of the blocks above `to`.
    pub blocks: BlocksAbove,
    /// Height of which the index over last changes is, until it is that of the tip.
    pub(crate) recent_of: Option<Height>,
    /// True if a height was dropped whose list of rows was damaged, so that all rows of the store must be looked at.
    pub(crate) is_sweep_due: bool,
}

/// What the store still has of a block above its tip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Id of the block.
    pub block_id: BlockId,
    /// Bytes of the block.
    pub block_bytes: Vec<u8>,
    /// The commit that this node saw for the block.
    pub commit: Commit,
    /// Results of its earlier execution.
    pub results: BlockResults,
}

/// A block decoded only to its transactions and evidence; the codec skips the other fields without copying them.
#[derive(Clone, PartialEq, Message)]
struct BodyOnly {
    #[prost(message, optional, tag = "2")]
    data: Option<pb::Data>,
    #[prost(message, optional, tag = "3")]
    evidence: Option<pb::EvidenceList>,
}

#[derive(Clone, PartialEq, Message)]
struct RewindRecord {
    #[prost(uint64, tag = "1")]
    to: u64,
    #[prost(bytes = "vec", tag = "2")]
    from: Vec<u8>,
    #[prost(uint64, tag = "3")]
    rows_to: u64,
    #[prost(bool, tag = "4")]
    drops_blocks: bool,
    #[prost(bool, tag = "5")]
    is_sweep_due: bool,
    #[prost(uint64, optional, tag = "6")]
    recent_of: Option<u64>,
}

impl Rewind {
    pub(crate) fn encode(&self) -> Vec<u8> {
        RewindRecord {
            to: self.to.0,
            from: self.from.encode(),
            rows_to: self.rows_to.0,
            drops_blocks: self.blocks == BlocksAbove::Dropped,
            is_sweep_due: self.is_sweep_due,
            recent_of: self.recent_of.map(|height| height.0),
        }
        .encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let record = RewindRecord::decode(bytes).ok()?;
        let from = Tip::decode(&record.from)?;
        // Each height up to this one is looked at when the rewind is continued.
        let is_above_its_tip = record.rows_to > from.height.0 || record.recent_of.is_some_and(|of| of > from.height.0);
        if record.to > from.height.0 || is_above_its_tip {
            return None;
        }
        Some(Self {
            to: Height(record.to),
            from,
            rows_to: Height(record.rows_to),
            blocks: if record.drops_blocks { BlocksAbove::Dropped } else { BlocksAbove::Kept },
            is_sweep_due: record.is_sweep_due,
            recent_of: record.recent_of.map(Height),
        })
    }
}

impl<K: Kv> Store<K> {
    /// Rewinds the store to `height` and deletes everything above it; the last batch is synced.
    ///
    /// After an interruption the same call continues. The hard state, the signing floor and the blocks above the tip
    /// stay (S3): a validator signs nothing until the chain has passed them again. No other user of the store may be
    /// active during the call.
    ///
    /// Cost: the rows that the heights above `height` have written are deleted. Of the state, only revertible rows that
    /// did not exist before their change are read; so the cost does not depend on the size of the state.
    ///
    /// Errors: as [`Store::begin_rewind`] and [`Store::drop_undone`].
    pub fn rewind(&self, height: Height) -> Result<Tip> {
        self.begin_rewind(height, BlocksAbove::Dropped)?;
        self.drop_undone(&mut |_| {})
    }

    /// Moves the tip to `to` and notes what is above it, in one batch that is not synced; then moves the index over last
    /// changes back. A rewind to the tip changes nothing. One that is unfinished is replaced; blocks that it drops cannot
    /// be kept any more.
    ///
    /// Errors: `Future` above the tip; `Pruned` below the window; `NoGenesis` for an empty store; `Damaged` or `Io`
    /// when a read or write fails.
    pub fn begin_rewind(&self, to: Height, blocks: BlocksAbove) -> Result<()> {
        let tip = self.tip_or_error()?;
        let lowest = match self.genesis() {
            Some(genesis) if genesis.initial_height == self.earliest() => genesis_tip(&genesis).height,
            _ => self.earliest(),
        };
        if to < lowest {
            return Err(StoreError::Pruned { got: to, earliest: lowest });
        }
        if to > tip.height {
            return Err(StoreError::Future { got: to, tip: tip.height });
        }
        let unfinished = self.unfinished_rewind();
        if unfinished.is_none() && to == tip.height {
            return Ok(());
        }
        let recent_of = unfinished.and_then(|unfinished| unfinished.recent_of).unwrap_or(tip.height);
        let fresh = Rewind { to, from: tip, rows_to: tip.height, blocks, recent_of: None, is_sweep_due: false };
        let unfinished = unfinished.unwrap_or(fresh);
        let drops = [blocks, unfinished.blocks].contains(&BlocksAbove::Dropped);
        let rewind = Rewind {
            to,
            blocks: if drops { BlocksAbove::Dropped } else { BlocksAbove::Kept },
            recent_of: Some(recent_of).filter(|of| *of > to),
            ..unfinished
        };
        let tip = self.tip_at(to)?;
        let mut batch = Batch::new();
        batch.put(Cf::Meta, meta::REWIND, rewind.encode());
        batch.put(Cf::Meta, meta::TIP, tip.encode());
        // The trees cannot be moved back here; the application computes them again.
        if self.trees_height()?.is_some_and(|trees| trees > to) && !mutated(Mutation::KeepTrees) {
            batch.delete(Cf::Meta, meta::TREES);
        }
        self.break_signing_state(&mut batch, to);
        self.kv.write(batch, Durability::Buffered)?;
        self.set_tip(tip);
        self.reload()?;
        match rewind.blocks {
            BlocksAbove::Kept => self.resume_rewind(),
            BlocksAbove::Dropped => Ok(()), // `drop_undone` does it, whatever is damaged
        }
    }

    /// Changes what this node has signed, which a rewind never does: for the mutations that prove that a test notices.
    fn break_signing_state(&self, batch: &mut Batch, to: Height) {
        if mutated(Mutation::HardStateGoesBack) {
            batch.put(Cf::Meta, meta::HARD_STATE, HardState { height: to, ..HardState::default() }.encode());
        }
        if mutated(Mutation::ForgetSigningFloor) {
            batch.delete(Cf::Meta, meta::SIGNING_FLOOR);
        }
        if mutated(Mutation::ForgetPending) {
            let pending = self.writer().pending.clone();
            pending.iter().for_each(|(height, id)| batch.delete(Cf::Blocks, schema::block(*height, id)));
        }
    }

    /// Moves the index over last changes back to the tip, in batches, if an unfinished rewind has not done so. Without it
    /// the index cannot be used.
    ///
    /// Cost: the lists of the heights in between, and two rows of the index for each distinct revertible row in them.
    ///
    /// Errors: `Damaged` or `Io` when a read or write fails.
    pub fn resume_rewind(&self) -> Result<()> {
        let Some((mut rewind, of)) = self.unfinished_rewind().and_then(|rewind| Some((rewind, rewind.recent_of?)))
        else {
            return Ok(());
        };
        let (tip, view) = (self.tip_or_error()?.height, self.kv.view());
        let mut rows = MovedBack::new();
        for undone in (tip.next().0..=of.0).rev().map(Height) {
            self.visit_changes(&view, undone, &mut |Change { key, before, .. }| {
                if split_revertible(key).is_some() {
                    rows.entry(key.to_vec()).or_insert((undone, None)).1 = before;
                }
            })?;
            let below = Height(undone.0 - 1);
            if below == tip || rows.len() >= MOVED_BACK_MAX {
                let mut batch = Batch::new();
                let rows = std::mem::take(&mut rows);
                if !mutated(Mutation::KeepLastChanges) {
                    self.move_recent_back(&view, &mut batch, rows, below)?;
                }
                rewind.recent_of = Some(below).filter(|below| *below > tip);
                self.write_rewind(&mut batch, Some(rewind))?;
            }
        }
        Ok(())
    }

    /// Moves rows of the index over last changes to where they were when `height` was committed.
    fn move_recent_back(&self, view: &K::View<'_>, batch: &mut Batch, rows: MovedBack, height: Height) -> Result<()> {
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

    /// Returns the rewind that was begun and is not finished, if there is one.
    pub fn unfinished_rewind(&self) -> Option<Rewind> {
        self.writer().rewind
    }

    /// Deletes everything that an unfinished rewind has left above the tip, in batches of whole heights from the top,
    /// and syncs. Calls `progress` with the height below each batch.
    ///
    /// Rows that cannot be found because the lists or results of their height are damaged are searched in the whole
    /// store.
    ///
    /// Errors: `Damaged` or `Io` when a read or write fails.
    pub fn drop_undone(&self, progress: &mut dyn FnMut(Height)) -> Result<Tip> {
        let tip = self.tip_or_error()?;
        let is_damaged = match self.resume_rewind() {
            Err(StoreError::Damaged { .. }) => true,
            resumed => resumed.map(|()| false)?,
        };
        let Some(mut rewind) = self.unfinished_rewind() else {
            self.sync()?;
            return Ok(tip);
        };
        rewind.blocks = BlocksAbove::Dropped;
        rewind.is_sweep_due |= is_damaged;
        rewind.recent_of = None;
        let view = self.kv.view();
        let mut batch = Batch::new();
        for undone in (tip.height.next().0..=rewind.rows_to.0).rev().map(Height) {
            match self.undo(&view, &mut batch, undone) {
                Ok(block_id) => batch.delete(Cf::Blocks, schema::block(undone, &block_id)),
                Err(StoreError::Damaged { .. }) => {
                    rewind.is_sweep_due = true;
                    forget_height(&mut batch, undone);
                }
                Err(error) => return Err(error),
            }
            rewind.rows_to = Height(undone.0 - 1);
            if rewind.rows_to == tip.height || batch.bytes() >= BATCH_BYTES {
                let is_unfinished = rewind.rows_to > tip.height || rewind.is_sweep_due;
                let is_unfinished = is_unfinished && !mutated(Mutation::EndEarly);
                self.write_rewind(&mut batch, is_unfinished.then_some(rewind))?;
                progress(rewind.rows_to);
            }
        }
        if rewind.is_sweep_due && mutated(Mutation::SkipSearch) {
            self.write_rewind(&mut batch, None)?;
        } else if rewind.is_sweep_due {
            self.sweep_above(&view, tip.height, rewind)?;
        }
        drop(view);
        self.sync()?;
        self.reload()?;
        Ok(tip)
    }

    /// Writes a batch with the new state of the rewind, and empties it; `None` ends the rewind.
    fn write_rewind(&self, batch: &mut Batch, rewind: Option<Rewind>) -> Result<()> {
        match &rewind {
            Some(rewind) => batch.put(Cf::Meta, meta::REWIND, rewind.encode()),
            None => batch.delete(Cf::Meta, meta::REWIND),
        }
        batch.sort();
        self.kv.write(std::mem::take(batch), Durability::Buffered)?;
        self.writer().rewind = rewind;
        Ok(())
    }

    /// Deletes every row of the heights above `tip` up to that of the rewind, and ends the rewind.
    fn sweep_above(&self, view: &K::View<'_>, tip: Height, rewind: Rewind) -> Result<()> {
        let mut batch = Batch::new();
        for cf in [Cf::Blocks, Cf::BlockHash, Cf::State, Cf::Recent, Cf::Evidence, Cf::Txs, Cf::Events] {
            for row in view.rows(cf, &[], &[]) {
                let (key, value) = row?;
                let at = match cf {
                    // The height in the key is that of the misbehavior.
                    Cf::Evidence => schema::read_committed(&value).map(|(at, _)| at),
                    _ => cf.height_of(&key, &value),
                };
                if at.is_some_and(|at| at > tip && at <= rewind.from.height) {
                    if cf == Cf::Recent {
                        let row = schema::split_recent(&key).map(|(part, at, rest)| ([part, rest].concat(), at));
                        let (key, at) = row.ok_or_else(|| self.unreadable_key(cf, &key))?;
                        self.move_recent_back(view, &mut batch, MovedBack::from([(key, (at, None))]), tip)?;
                        continue;
                    }
                    batch.delete(cf, key);
                }
                if batch.bytes() >= BATCH_BYTES {
                    self.write_rewind(&mut batch, Some(rewind))?;
                }
            }
        }
        self.write_rewind(&mut batch, None)
    }

    /// Adds the deletion of everything that `commit_block` wrote for a height, apart from the bytes of the block, whose
    /// id is returned.
    pub(crate) fn undo(&self, view: &K::View<'_>, batch: &mut Batch, height: Height) -> Result<BlockId> {
        let Head { block_id, header, .. } = self.undone_head(height)?;
        let body = BodyOnly::decode(self.undone_block(height, &block_id)?.as_slice()).unwrap_or_default();
        let txs: Vec<TxId> = body.data.unwrap_or_default().txs.iter().map(|tx| TxId::of(tx)).collect();
        let evidence = body.evidence.unwrap_or_default().evidence.into_iter().map(Evidence::from_pb);
        let evidence: Vec<Evidence> = evidence.filter_map(std::result::Result::ok).collect();
        if Block::data_hash_of(&txs) != header.data_hash {
            return Err(self.damaged(format!("the transactions of height {height} are not those of its header")));
        }
        if Block::evidence_hash(&evidence) != header.evidence_hash {
            return Err(self.damaged(format!("the evidence of height {height} is not that of its header")));
        }
        let results = self.undone_row(Cf::Results, height, |bytes| BlockResults::decode(bytes).ok())?;
        if !mutated(Mutation::KeepVersions) {
            self.visit_changes(view, height, &mut |change| {
                batch.delete(Cf::State, schema::version(change.key, height));
            })?;
        }
        if !mutated(Mutation::KeepTxs) {
            txs::rows_of(height, txs, &results).for_each(|(key, _)| batch.delete(Cf::Txs, key));
        }
        if !mutated(Mutation::KeepEvents) {
            index::delete(batch, height, &results);
        }
        if !mutated(Mutation::KeepEvidence) {
            self.delete_evidence(batch, height, &evidence)?;
        }
        if !mutated(Mutation::KeepHashes) {
            batch.delete(Cf::BlockHash, block_id.hash.0);
        }
        forget_height(batch, height);
        Ok(block_id)
    }

    /// Returns the head of a kept height, also of one above the tip that an unfinished rewind has left.
    ///
    /// Errors: `Damaged` when the row is missing or unreadable; `Damaged` or `Io` when the read fails.
    pub fn undone_head(&self, height: Height) -> Result<Head> {
        self.undone_row(Cf::Heads, height, Head::decode)
    }

    /// Returns what an unfinished rewind has left of a height above the tip.
    ///
    /// Errors: `Damaged` when a row is missing or unreadable; `Damaged` or `Io` when a read fails.
    pub fn undone(&self, height: Height) -> Result<Undone> {
        let Head { block_id, .. } = self.undone_head(height)?;
        Ok(Undone {
            block_id,
            block_bytes: self.undone_block(height, &block_id)?,
            commit: self.undone_row(Cf::Commits, height, |bytes| Commit::decode(bytes).ok())?,
            results: self.undone_row(Cf::Results, height, |bytes| BlockResults::decode(bytes).ok())?,
        })
    }

    /// Returns the rows that a height above the tip has written, as an unfinished rewind has left them.
    ///
    /// Errors: `Damaged` when a row is missing or unreadable; `Damaged` or `Io` when a read fails.
    pub fn undone_writes(&self, height: Height) -> Result<WriteSet> {
        let mut writes = WriteSet::default();
        for (key, _) in self.changes_in(&self.kv.view(), height)? {
            let row = schema::version(&key, height);
            let value = self.kv.get(Cf::State, &row)?;
            let value = value.as_deref().and_then(schema::read_version_value);
            let value = value.ok_or_else(|| self.unreadable_key(Cf::State, &row))?.map(<[u8]>::to_vec);
            writes.0.insert(key, value);
        }
        Ok(writes)
    }

    fn undone_block(&self, height: Height, id: &BlockId) -> Result<Vec<u8>> {
        self.kv.get(Cf::Blocks, &schema::block(height, id))?.ok_or_else(|| self.absent(Cf::Blocks, height))
    }

    fn undone_row<T>(&self, cf: Cf, height: Height, decode: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
        let bytes = self.kv.get(cf, &schema::height(height))?.ok_or_else(|| self.absent(cf, height))?;
        decode(&bytes).ok_or_else(|| self.unreadable(cf, height))
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

/// Adds the deletion of the rows whose key is the height, or follows from it.
fn forget_height(batch: &mut Batch, height: Height) {
    for cf in [Cf::Heads, Cf::Commits, Cf::Results, Cf::Changes, Cf::Times] {
        batch.delete(cf, schema::height(height));
    }
    if mutated(Mutation::KeepRules) {
        return;
    }
    batch.delete(Cf::Validators, schema::height(height.next().next()));
    batch.delete(Cf::Params, schema::height(height.next()));
}

#[cfg(test)]
mod tests {
    use types::{Hash, Time};

    use super::*;

    #[test]
    fn golden_bytes_of_a_rewind() {
        let from = Tip {
            height: Height(300),
            block_id: None,
            time: Time::from_unix_nanos(2),
            app_hash: Hash([1; 32]),
            results_hash: Hash([2; 32]),
        };
        let (blocks, recent_of) = (BlocksAbove::Dropped, Some(Height(7)));
        let rewind = Rewind { to: Height(5), from, rows_to: Height(9), blocks, recent_of, is_sweep_due: true };
        let golden = [&[0x08, 5, 0x12, 73][..], &from.encode(), &[0x18, 9, 0x20, 1, 0x28, 1, 0x30, 7]].concat();
        assert_eq!(rewind.encode(), golden);
        assert_eq!(Rewind::decode(&golden), Some(rewind));
        let kept = Rewind { blocks: BlocksAbove::Kept, is_sweep_due: false, recent_of: None, ..rewind };
        assert_eq!(kept.encode(), golden[..golden.len() - 6]);
        assert_eq!(Rewind::decode(&kept.encode()), Some(kept));
        for end in 0..golden.len() {
            let _ = Rewind::decode(&golden[..end]); // never a panic
        }
    }
}
