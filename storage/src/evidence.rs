//! Evidence: which is in a block, which waits for one, and what is needed to check it.
//!
//! Evidence can be of a height below the window. Of each block, its time, two hashes and who signed it, the validator sets,
//! and what is in a block are therefore kept from the lowest height on whose evidence has not expired. The caller says
//! which height that is when it commits a block; it is stored with the block's time, so that a rewind finds that of any
//! kept height.
//!
//! An attack on light clients names several validators. The row of an infraction leads to the first block with evidence
//! of it, and in that block to the first piece.

use std::collections::BTreeSet;

use types::{
    Address, Block, Evidence, EvidenceKey, Hash, Height, Infraction, Signers, Time, TrustedBlock, ValidatorSet, Wire,
};

use crate::{
    error::{Result, StoreError},
    kv::{Batch, Cf, Durability, Kv, View},
    mutation::{Mutation, mutated},
    schema::{self, TimeRow},
    store::Store,
};

impl<K: Kv> Store<K> {
    /// Returns the lowest height whose evidence has not expired, for the block after the tip; the initial height before
    /// the first block.
    ///
    /// Errors: `NoGenesis`; `Damaged` when the row is missing or unreadable; `Damaged` or `Io` when the read fails.
    pub fn evidence_floor(&self) -> Result<Height> {
        let tip = self.tip_or_error()?;
        match (tip.block_id, self.genesis()) {
            (None, Some(genesis)) => Ok(genesis.initial_height),
            _ => Ok(self.time_row(tip.height)?.floor),
        }
    }

    /// Returns the time of a block, also of one below the window whose evidence has not expired.
    ///
    /// Errors: `Future` above the tip; `Damaged` when the row is missing or unreadable; `Damaged` or `Io` when the read
    /// fails.
    pub fn block_time(&self, height: Height) -> Result<Time> {
        let tip = self.tip_or_error()?.height;
        if height > tip {
            return Err(StoreError::Future { got: height, tip });
        }
        Ok(self.time_row(height)?.time)
    }

    /// Returns what judges an attack on light clients at this height, also below the window while its evidence has not
    /// expired. The commit is that in the next block, so all nodes have the same one; the tip has none yet.
    ///
    /// Errors: `Future` above the tip; `Damaged` when a row is missing or unreadable; `Damaged` or `Io` when a read fails.
    pub fn trusted_block(&self, height: Height) -> Result<TrustedBlock> {
        let tip = self.tip_or_error()?.height;
        if height > tip {
            return Err(StoreError::Future { got: height, tip });
        }
        let row = self.time_row(height)?;
        let commit = if height < tip { self.time_row(height.next())?.last_commit } else { None };
        Ok(TrustedBlock { hash: row.hash, derived: row.derived, commit })
    }

    pub(crate) fn time_row(&self, height: Height) -> Result<TimeRow> {
        let row = self.kv.get(Cf::Times, &schema::height(height))?.ok_or_else(|| self.absent(Cf::Times, height))?;
        schema::read_time_row(&row).ok_or_else(|| self.unreadable(Cf::Times, height))
    }

    /// Returns the validator set of a block, also of one below the window whose evidence has not expired.
    ///
    /// Cost: as [`Store::validators`].
    ///
    /// Errors: `Future` above tip + 2, `NoGenesis`, `Damaged`, `Io`.
    pub fn validators_for_evidence(&self, height: Height) -> Result<ValidatorSet> {
        self.validators_from(height, Height::GENESIS)
    }

    /// Returns the height of the first block with evidence of this infraction, and the evidence's hash; `None` if no block
    /// up to the tip has it, or it has expired.
    ///
    /// Errors: `Damaged` when the row is unreadable; `Damaged` or `Io` when the read fails.
    pub fn committed_evidence(&self, infraction: &Infraction) -> Result<Option<(Height, Hash)>> {
        // Rows above the tip are those of an unfinished rewind.
        let is_above = |at: Height| self.read_tip().is_none_or(|tip| at > tip.height);
        let committed = self.committed_row(infraction)?;
        Ok(committed.filter(|(at, _)| !is_above(*at) || mutated(Mutation::SeeEvidenceAbove)))
    }

    fn committed_row(&self, infraction: &Infraction) -> Result<Option<(Height, Hash)>> {
        let key = schema::infraction(infraction);
        let Some(row) = self.kv.get(Cf::Evidence, &key)? else { return Ok(None) };
        schema::read_committed(&row).map(Some).ok_or_else(|| self.unreadable_key(Cf::Evidence, &key))
    }

    /// Returns the evidence with this key that waits for a block, if there is some.
    ///
    /// Errors: `Damaged` when the row is unreadable; `Damaged` or `Io` when the read fails.
    pub fn waiting_evidence_of(&self, key: &EvidenceKey) -> Result<Option<Evidence>> {
        let key = schema::infraction(key);
        let Some(row) = self.kv.get(Cf::EvidenceWaiting, &key)? else { return Ok(None) };
        Evidence::decode(&row).map(Some).map_err(|_| self.unreadable_key(Cf::EvidenceWaiting, &key))
    }

    /// Returns all evidence that waits for a block, by ascending height.
    ///
    /// Errors: `Damaged` when a row is unreadable; `Damaged` or `Io` when a read fails.
    pub fn waiting_evidence(&self) -> Result<Vec<Evidence>> {
        let view = self.kv.view();
        let read = |row: Result<_>| {
            let (key, bytes): crate::Row = row?;
            Evidence::decode(&bytes).map_err(|_| self.unreadable_key(Cf::EvidenceWaiting, &key))
        };
        view.rows(Cf::EvidenceWaiting, &[], &[]).map(read).collect()
    }

    /// Adds evidence to what waits for a block, or replaces that with the same key. Not synced: it survives the end
    /// of the process, and other nodes have it too. A block with the evidence removes it.
    ///
    /// Errors: `Damaged` or `Io` when the write fails.
    pub fn put_waiting_evidence(&self, evidence: &Evidence) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(Cf::EvidenceWaiting, schema::infraction(&evidence.key()), evidence.encode());
        self.kv.write(batch, Durability::Buffered)
    }

    /// Removes evidence from what waits for a block, because it has expired or adds nothing to what is in blocks. Not
    /// synced.
    ///
    /// Errors: `Damaged` or `Io` when the write fails.
    pub fn remove_waiting_evidence(&self, keys: &[EvidenceKey]) -> Result<()> {
        let mut batch = Batch::new();
        for key in keys {
            batch.delete(Cf::EvidenceWaiting, schema::infraction(key));
        }
        self.kv.write(batch, Durability::Buffered)
    }

    /// Returns the height below which times, validator sets and evidence are not needed when the window begins at
    /// `earliest`. The window can only begin at a block.
    pub(crate) fn evidence_needed_from(&self, earliest: Height) -> Result<Height> {
        let row = self.kv.get(Cf::Times, &schema::height(earliest))?;
        let floor = row.and_then(|row| schema::read_time_row(&row)).map(|row| row.floor);
        // Before the first block there is no row, and nothing to delete.
        Ok(floor.unwrap_or_default().min(earliest))
    }

    /// Adds what a block changes: the row of its height, and those of the infractions that no earlier block has evidence
    /// of.
    pub(crate) fn put_evidence(&self, batch: &mut Batch, block: &Block, floor: Height) -> Result<()> {
        let height = block.header.height;
        batch.put(Cf::Times, schema::height(height), schema::time_row(&time_row_of(block, floor)));
        let mut before = BTreeSet::new();
        for evidence in &block.evidence {
            batch.delete(Cf::EvidenceWaiting, schema::infraction(&evidence.key()));
            for infraction in evidence.infractions() {
                // Two votes of a validator that an attack names prove nothing more.
                batch.delete(Cf::EvidenceWaiting, schema::infraction(&infraction));
                if !before.insert(infraction) || self.committed_evidence(&infraction)?.is_some() {
                    continue;
                }
                batch.put(Cf::Evidence, schema::infraction(&infraction), schema::committed(height, &evidence.hash()));
            }
        }
        Ok(())
    }

    /// Adds the deletion of the infractions that a block at `height` with this evidence added.
    pub(crate) fn delete_evidence(&self, batch: &mut Batch, height: Height, evidence: &[Evidence]) -> Result<()> {
        for infraction in evidence.iter().flat_map(Evidence::infractions) {
            if self.committed_row(&infraction)?.is_some_and(|(at, _)| at == height) {
                batch.delete(Cf::Evidence, schema::infraction(&infraction));
            }
        }
        Ok(())
    }
}

/// Returns the row of a block's height.
pub(crate) fn time_row_of(block: &Block, floor: Height) -> TimeRow {
    let header = &block.header;
    TimeRow {
        time: header.time,
        floor,
        hash: header.hash(),
        derived: header.derived_hash(),
        last_commit: block.last_commit.as_ref().map(Signers::of),
    }
}

/// Returns true if a row of one of the two families about evidence has the shape of its family.
pub(crate) fn is_readable(cf: Cf, key: &[u8], value: &[u8]) -> bool {
    match cf {
        Cf::Evidence => key.len() == 8 + size_of::<Address>() && schema::read_committed(value).is_some(),
        _ => Evidence::decode(value).is_ok_and(|evidence| *key == schema::infraction(&evidence.key())),
    }
}
