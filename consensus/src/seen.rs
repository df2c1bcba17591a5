//! What a height has asked and found out, in bounded memory: verdicts on blocks, and whose double votes were reported.

use std::collections::{BTreeMap, BTreeSet};

use types::{BlockId, Round, Time, VoteType};

/// Whether a block is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) valid: bool,
    pub(crate) time: Time,
}

/// Blocks of one height that are remembered (I6). The host holds fewer, so what is forgotten here it has dropped long before.
pub(crate) const BLOCKS_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Block {
    verdict: Option<Verdict>,
    order: u64,
}

/// The blocks that were asked about, with the verdicts that came.
///
/// When there are too many, the oldest that no rule needs is forgotten; what is needed again is asked about again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    blocks: BTreeMap<BlockId, Block>,
    named: u64,
}

impl Blocks {
    /// Notes that a block is asked about; false if it was before. `needed` are not forgotten.
    pub(crate) fn ask(&mut self, id: BlockId, needed: impl FnOnce() -> BTreeSet<BlockId>) -> bool {
        let is_new = !self.blocks.contains_key(&id);
        if is_new {
            self.insert(id, None, needed);
        }
        is_new
    }

    /// Notes a verdict. `valid` is never taken back.
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
    }

    pub(crate) fn verdict(&self, id: &BlockId) -> Option<Verdict> {
        self.blocks.get(id)?.verdict
    }

    /// Its bytes are gone, so nothing is known of it any more.
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

/// The most that [`Blocks`] holds, in bytes.
pub(crate) const BLOCKS_BYTES_MAX: usize = BLOCKS_MAX * BLOCK_BYTES;

/// Double votes of one validator that are reported at one height: one is enough to slash it, more would be a flood.
pub(crate) const REPORTS_PER_VALIDATOR_MAX: usize = 4;

/// Whose double votes were reported, by validator index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(BTreeMap<u32, BTreeSet<(Round, VoteType)>>);

impl Reports {
    /// Whether a double vote is to be reported: it was not before, and few of its validator were.
    pub(crate) fn is_due(&mut self, validator: u32, round: Round, vote_type: VoteType) -> bool {
        let reported = self.0.entry(validator).or_default();
        reported.len() < REPORTS_PER_VALIDATOR_MAX && reported.insert((round, vote_type))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.values().map(|reported| size_of::<u32>() + reported.len() * size_of::<(Round, VoteType)>()).sum()
    }

    /// The most that is held, in bytes.
    pub(crate) fn bytes_max(validators: usize) -> usize {
        validators * (size_of::<u32>() + REPORTS_PER_VALIDATOR_MAX * size_of::<(Round, VoteType)>())
    }
}
