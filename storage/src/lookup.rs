//! Lookups of committed data by height, hash or id.

use std::ops::RangeInclusive;

use prost::Message;
use types::{Block, BlockResults, Commit, Hash, Header, Height, Params, ValidatorSet, Wire, pb};

use crate::{
    error::{Result, StoreError},
    kv::{Cf, Kv, View},
    mutation::{Mutation, mutated},
    schema::{self, Head},
    store::Store,
};

/// A block decoded only to its last commit; the codec skips the other fields without copying them.
#[derive(Clone, PartialEq, Message)]
struct LastCommitOnly {
    #[prost(message, optional, tag = "4")]
    last_commit: Option<pb::Commit>,
}

/// Lookups by height return `Pruned { earliest }` below the window and `Future { tip }` above the tip. Before genesis
/// they return `NoGenesis`. A failed read is `Io` or `Damaged`, and a missing or unreadable row is `Damaged`.
impl<K: Kv> Store<K> {
    /// Returns block id, header and sizes. Cheap: the block's body is not read.
    ///
    /// Errors: `Pruned` or `Future` outside the window, `NoGenesis`, `Damaged`, `Io`.
    pub fn head(&self, height: Height) -> Result<Head> {
        self.record(Cf::Heads, height, Head::decode)
    }

    /// Returns the header of the block at `height`.
    ///
    /// Errors: as [`Store::head`].
    pub fn header(&self, height: Height) -> Result<Header> {
        Ok(self.head(height)?.header)
    }

    /// Returns the bytes of the block, as they were proposed.
    ///
    /// Errors: as [`Store::head`].
    pub fn block_bytes(&self, height: Height) -> Result<Vec<u8>> {
        let id = self.head(height)?.block_id;
        self.kv.get(Cf::Blocks, &schema::block(height, &id))?.ok_or_else(|| self.absent(Cf::Blocks, height))
    }

    /// Reads and decodes the block of `height`.
    ///
    /// Errors: as [`Store::head`].
    pub fn block(&self, height: Height) -> Result<Block> {
        Block::decode(&self.block_bytes(height)?).map_err(|e| {
            self.damaged(format!("the block of height {height} in {} is unreadable: {e}", Cf::Blocks.name()))
        })
    }

    /// Returns the height of the block with this header hash; `None` when it is unknown or no longer kept.
    ///
    /// Errors: `Damaged` when the row is unreadable, `Io` or `Damaged` when the read fails.
    pub fn height_of(&self, hash: &Hash) -> Result<Option<Height>> {
        let Some(bytes) = self.kv.get(Cf::BlockHash, &hash.0)? else { return Ok(None) };
        let height = schema::read_height(&bytes).ok_or_else(|| self.unreadable_key(Cf::BlockHash, &hash.0))?;
        Ok((self.check_kept(height).is_ok() || mutated(Mutation::SeeBlocksAbove)).then_some(height))
    }

    /// Returns the block with this header hash; `None` when it is unknown or no longer kept.
    ///
    /// Errors: `Damaged` or `Io`; `Pruned` when the window moves past the block during the call.
    pub fn block_by_hash(&self, hash: &Hash) -> Result<Option<Block>> {
        self.height_of(hash)?.map(|height| self.block(height)).transpose()
    }

    /// Returns the commit of this height's block: the one in the next block, or at the tip the one that this node saw.
    ///
    /// Errors: as [`Store::head`].
    pub fn commit(&self, height: Height) -> Result<Commit> {
        self.check_kept(height)?;
        if self.tip_or_error()?.height == height {
            return self.seen_commit(height);
        }
        let commit = LastCommitOnly::decode(self.block_bytes(height.next())?.as_slice())
            .ok()
            .and_then(|block| block.last_commit);
        let commit = commit.and_then(|commit| Commit::from_pb(commit).ok());
        commit.ok_or_else(|| self.damaged(format!("the commit of height {height}, in the next block, is unreadable")))
    }

    /// Returns the commit that this node saw when the block was decided.
    ///
    /// Errors: as [`Store::head`].
    pub fn seen_commit(&self, height: Height) -> Result<Commit> {
        self.record(Cf::Commits, height, |bytes| Commit::decode(bytes).ok())
    }

    /// Returns the results of executing the block.
    ///
    /// Errors: as [`Store::head`].
    pub fn results(&self, height: Height) -> Result<BlockResults> {
        self.record(Cf::Results, height, |bytes| BlockResults::decode(bytes).ok())
    }

    /// Returns the validator set of a height, with its priorities. Known up to tip + 2.
    ///
    /// Cost: one row and at most [`crate::VALIDATORS_EVERY`] turns of the rotation.
    ///
    /// Errors: `Pruned` below the window, `Future` above tip + 2, `NoGenesis`, `Damaged`, `Io`.
    pub fn validators(&self, height: Height) -> Result<ValidatorSet> {
        self.validators_from(height, self.earliest())
    }

    /// As [`Store::validators`], where the sets from `earliest` on are needed.
    pub(crate) fn validators_from(&self, height: Height, earliest: Height) -> Result<ValidatorSet> {
        let known = earliest..=self.validators_known_to(&self.tip_or_error()?);
        let (at, bytes) = self.in_force(Cf::Validators, height, known)?;
        let mut set = ValidatorSet::decode(&bytes).map_err(|e| self.damaged(format!("the set of height {at}: {e}")))?;
        for _ in at.0..height.0 {
            set.increment(1);
        }
        Ok(set)
    }

    /// Returns the parameters of a height. Known up to tip + 1.
    ///
    /// Errors: `Pruned` below the window, `Future` above tip + 1, `NoGenesis`, `Damaged`, `Io`.
    pub fn params(&self, height: Height) -> Result<Params> {
        let known = self.earliest()..=self.tip_or_error()?.height.next();
        let (at, bytes) = self.in_force(Cf::Params, height, known)?;
        Params::decode(&bytes).map_err(|e| self.damaged(format!("the parameters of height {at}: {e}")))
    }

    /// Returns the row that is in force at `height` (the last one at or below it), with the height that it was written
    /// for.
    fn in_force(&self, cf: Cf, height: Height, known: RangeInclusive<Height>) -> Result<(Height, Vec<u8>)> {
        let (earliest, tip) = known.into_inner();
        if height < earliest {
            return Err(StoreError::Pruned { got: height, earliest });
        }
        if height > tip {
            return Err(StoreError::Future { got: height, tip });
        }
        let row = self.kv.view().at_or_below(cf, &schema::height(height))?;
        let Some((key, bytes)) = row else { return Err(self.absent(cf, height)) };
        let at = schema::read_height(&key).ok_or_else(|| self.unreadable(cf, height))?;
        Ok((at, bytes.into()))
    }

    fn record<T>(&self, cf: Cf, height: Height, decode: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
        self.check_kept(height)?;
        let bytes = self.kv.get(cf, &schema::height(height))?.ok_or_else(|| self.absent(cf, height))?;
        decode(&bytes).ok_or_else(|| self.unreadable(cf, height))
    }

    /// Checks that the height has a block that is kept.
    ///
    /// Errors: `Pruned`, `Future`, or `NoGenesis`.
    pub(crate) fn check_kept(&self, height: Height) -> Result<()> {
        let tip = self.tip_or_error()?.height;
        let earliest = self.earliest();
        if height < earliest {
            return Err(StoreError::Pruned { got: height, earliest });
        }
        if height > tip {
            return Err(StoreError::Future { got: height, tip });
        }
        Ok(())
    }

    /// Returns the error for a missing row: `Pruned` if the window moved past the height in the meantime, otherwise
    /// `Damaged`.
    pub(crate) fn absent(&self, cf: Cf, height: Height) -> StoreError {
        match self.check_kept(height) {
            Err(pruned @ StoreError::Pruned { .. }) => pruned,
            _ => self.damaged(format!("height {height} has no row in {}", cf.name())),
        }
    }

    pub(crate) fn unreadable(&self, cf: Cf, height: Height) -> StoreError {
        self.damaged(format!("the row of height {height} in {} is unreadable", cf.name()))
    }

    pub(crate) fn unreadable_key(&self, cf: Cf, key: &[u8]) -> StoreError {
        self.damaged(format!("the row of key {} in {} is unreadable", schema::shown(key), cf.name()))
    }
}
