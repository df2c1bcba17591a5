//! Bounded memory of one height: the verdicts on blocks, and the double votes that were already reported.

use std::collections::{BTreeMap, BTreeSet};

use types::{BlockId, Round, Time, VoteType};

/// Result of the check of a block: whether it is valid, and the time in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) valid: bool,
    pub(crate) time: Time,
}

/// Maximum number of blocks that are remembered at one height (I6). The replica keeps fewer blocks, so it has dropped the
/// bytes of a block long before the block is forgotten here.
pub(crate) const BLOCKS_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Block {
    verdict: Option<Verdict>,
    order: u64,
}

/// Records the blocks whose check was requested, with the verdicts that have arrived.
///
/// If there are too many, the oldest block that no rule needs is forgotten. If a rule needs it later, its check is
/// requested again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    blocks: BTreeMap<BlockId, Block>,
    named: u64,
}

impl Blocks {
    /// Records that the check of a block is requested, and returns false if it was requested before. Blocks in `needed`
    /// are not forgotten to make room.
    pub(crate) fn ask(&mut self, id: BlockId, needed: impl FnOnce() -> BTreeSet<BlockId>) -> bool {
        let is_new = !self.blocks.contains_key(&id);
        if is_new {
            self.insert(id, None, needed);
        }
        is_new
    }

    /// Records a verdict. A block that was found valid stays valid.
    pub(crate) fn judge(&mut self, id: BlockId, verdict: Verdict, needed: impl FnOnce() -> BTreeSet<BlockId>) {
        match self.blocks.get_mut(&id) {
            Some(block) if block.verdict.is_some_and(|known| known.valid) => {}
            Some(block) => block.verdict = Some(verdict),
            None => self.insert(id, Some(verdict), needed),
        }
    }

    fn insert(&mut self, id: BlockId, verdict: Option<Verdict>, needed: impl FnOnce() -> BTreeSet<BlockId>) {
        if self.blocks.len() >= BLOCKS_MAX {
            let needed = needed();
            let others = self.blocks.iter().filter(|(other, _)| !needed.contains(other));
            let oldest = others.min_by_key(|(_, block)| block.order).map(|(other, _)| *other);
            self.blocks.remove(&oldest.expect("fewer blocks are needed than remembered"));
        }
        self.named += 1;
        self.blocks.insert(id, Block { verdict, order: self.named });
        assert!(self.blocks.len() <= BLOCKS_MAX, "I6: {} blocks are remembered", self.blocks.len());
    }

    pub(crate) fn verdict(&self, id: &BlockId) -> Option<Verdict> {
        self.blocks.get(id)?.verdict
    }

    /// Forgets a block whose bytes are no longer available, with its verdict.
    pub(crate) fn forget(&mut self, id: &BlockId) {
        self.blocks.remove(id);
    }

    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }
}

const BLOCK_BYTES: usize = size_of::<(BlockId, Block)>();

/// Maximum memory of [`Blocks`], in bytes.
pub(crate) const BLOCKS_BYTES_MAX: usize = BLOCKS_MAX * BLOCK_BYTES;

/// Maximum number of double votes of one validator that are reported at one height. One is enough to slash it; the
/// bound prevents a flood.
pub(crate) const REPORTS_PER_VALIDATOR_MAX: usize = 4;

/// Records the double votes that were reported, by validator index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(BTreeMap<u32, BTreeSet<(Round, VoteType)>>);

impl Reports {
    /// Records a double vote and returns true if it must be reported: it was not reported before, and the validator is
    /// below its limit.
    pub(crate) fn is_due(&mut self, validator: u32, round: Round, vote_type: VoteType) -> bool {
        let reported = self.0.entry(validator).or_default();
        reported.len() < REPORTS_PER_VALIDATOR_MAX && reported.insert((round, vote_type))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.values().map(|reported| size_of::<u32>() + reported.len() * size_of::<(Round, VoteType)>()).sum()
    }

    /// Returns the maximum memory for `validators` validators, in bytes.
    pub(crate) fn bytes_max(validators: usize) -> usize {
        validators * (size_of::<u32>() + REPORTS_PER_VALIDATOR_MAX * size_of::<(Round, VoteType)>())
    }
}
