//! Evidence: which is in a block, which waits for one, and what is needed to check it.
//!
//! Evidence can be of a height below the window. The times of the blocks, the validator sets, and what is in a block are
//! therefore kept from the lowest height on whose evidence has not expired. The caller says which height that is when it
//! commits a block; it is stored with the block's time, so that a rewind finds that of any kept height.

use types::{Address, Evidence, Hash, Height, Infraction, Time, ValidatorSet, Wire};

use crate::{
    error::{Result, StoreError},
    kv::{Batch, Cf, Durability, Kv, View},
    schema,
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
            _ => Ok(self.time_row(tip.height)?.1),
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
        Ok(self.time_row(height)?.0)
    }

    fn time_row(&self, height: Height) -> Result<(Time, Height)> {
        let row = self.kv.get(Cf::Times, &schema::height(height))?.ok_or_else(|| self.absent(Cf::Times, height))?;
        schema::read_time_and_floor(&row).ok_or_else(|| self.unreadable(Cf::Times, height))
    }

    /// Returns the validator set of a block, also of one below the window whose evidence has not expired.
    ///
    /// Cost: as [`Store::validators`].
    ///
    /// Errors: `Future` above tip + 2, `NoGenesis`, `Damaged`, `Io`.
    pub fn validators_for_evidence(&self, height: Height) -> Result<ValidatorSet> {
        self.validators_from(height, Height::GENESIS)
    }

    /// Returns the height of the block with the evidence of this infraction, and the evidence's hash; `None` if no block
    /// up to the tip has it, or it has expired.
    ///
    /// Errors: `Damaged` when the row is unreadable; `Damaged` or `Io` when the read fails.
    pub fn committed_evidence(&self, infraction: &Infraction) -> Result<Option<(Height, Hash)>> {
        let key = schema::infraction(infraction);
        let Some(row) = self.kv.get(Cf::Evidence, &key)? else { return Ok(None) };
        let committed = schema::read_committed(&row).ok_or_else(|| self.unreadable_key(Cf::Evidence, &key))?;
        // Rows above the tip are those of an unfinished rewind.
        Ok(Some(committed).filter(|(at, _)| self.read_tip().is_some_and(|tip| *at <= tip.height)))
    }

    /// Returns the evidence of this infraction that waits for a block, if there is some.
    ///
    /// Errors: `Damaged` when the row is unreadable; `Damaged` or `Io` when the read fails.
    pub fn waiting_evidence_of(&self, infraction: &Infraction) -> Result<Option<Evidence>> {
        let key = schema::infraction(infraction);
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

    /// Adds evidence to what waits for a block, or replaces that of the same infraction. Not synced: it survives the end
    /// of the process, and other nodes have it too. A block with the evidence removes it.
    ///
    /// Errors: `Damaged` or `Io` when the write fails.
    pub fn put_waiting_evidence(&self, evidence: &Evidence) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(Cf::EvidenceWaiting, schema::infraction(&evidence.infraction()), evidence.encode());
        self.kv.write(batch, Durability::Buffered)
    }

    /// Removes evidence from what waits for a block, because it has expired. Not synced.
    ///
    /// Errors: `Damaged` or `Io` when the write fails.
    pub fn remove_waiting_evidence(&self, infractions: &[Infraction]) -> Result<()> {
        let mut batch = Batch::new();
        for infraction in infractions {
            batch.delete(Cf::EvidenceWaiting, schema::infraction(infraction));
        }
        self.kv.write(batch, Durability::Buffered)
    }

    /// Returns the height below which times, validator sets and evidence are not needed when the window begins at
    /// `earliest`. The window can only begin at a block.
    pub(crate) fn evidence_needed_from(&self, earliest: Height) -> Result<Height> {
        let row = self.kv.get(Cf::Times, &schema::height(earliest))?;
        let floor = row.and_then(|row| schema::read_time_and_floor(&row)).map(|(_, floor)| floor);
        // Before the first block there is no row, and nothing to delete.
        Ok(floor.unwrap_or_default().min(earliest))
    }
}

/// Adds what a block at `height` with this evidence changes.
pub(crate) fn put(batch: &mut Batch, height: Height, time: Time, floor: Height, evidence: &[Evidence]) {
    batch.put(Cf::Times, schema::height(height), schema::time_and_floor(time, floor));
    for evidence in evidence {
        let key = schema::infraction(&evidence.infraction());
        batch.put(Cf::Evidence, key, schema::committed(height, &evidence.hash()));
        batch.delete(Cf::EvidenceWaiting, key);
    }
}

/// Adds the deletion of what a block with this evidence added.
pub(crate) fn delete(batch: &mut Batch, evidence: &[Evidence]) {
    for evidence in evidence {
        batch.delete(Cf::Evidence, schema::infraction(&evidence.infraction()));
    }
}

/// Returns true if a row of one of the two families about evidence has the shape of its family.
pub(crate) fn is_readable(cf: Cf, key: &[u8], value: &[u8]) -> bool {
    match cf {
        Cf::Evidence => key.len() == 8 + size_of::<Address>() && schema::read_committed(value).is_some(),
        _ => Evidence::decode(value).is_ok_and(|evidence| *key == schema::infraction(&evidence.infraction())),
    }
}
