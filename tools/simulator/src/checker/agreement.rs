//! All correct nodes decide the same, once for ever: block, state and results (agreement, app hash, I5).

use std::collections::BTreeMap;

use replica::Committed;
use types::{BlockId, Hash, Height, Round, Time, Wire, blake3};

use crate::{
    broken::{Broken, ensure},
    node::Node,
    story::Counts,
};

/// The first decision at a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Id of the block.
    pub block_id: BlockId,
    /// Root of the state after the block.
    pub app_hash: Hash,
    /// Time in the header.
    pub time: Time,
    results: Hash,
}

impl Decided {
    fn of(committed: &Committed) -> Self {
        let (block_id, results) = (committed.block_id, &committed.results);
        let time = committed.block.header.time;
        Self { block_id, app_hash: results.app_hash, time, results: blake3(&results.encode()) }
    }
}

/// The decisions of a world.
#[derive(Default)]
pub struct Agreement {
    decided: BTreeMap<Height, Decided>,
    /// Tip of each node in its current process.
    tips: BTreeMap<usize, Height>,
}

impl Agreement {
    /// Records the start of a process with its tip.
    pub fn on_start(&mut self, node: usize, tip: Height) {
        self.tips.insert(node, tip);
    }

    /// Returns the first decision at a height.
    pub fn at(&self, height: Height) -> Option<&Decided> {
        self.decided.get(&height)
    }

    /// Compares a decision with the first one at its height, and returns true if there was none.
    ///
    /// Errors: [`Broken`] if the node announces heights in another order, or decided something else than the first node did.
    pub fn on_committed(&mut self, node: &Node, committed: &Committed, counts: &mut Counts) -> Result<bool, Broken> {
        let (who, height) = (node.index, committed.block.header.height);
        let tip = self.tips.insert(who, height).unwrap_or(Height::GENESIS);
        ensure!(height == tip.next(), "n{who} announced height {height} after {tip}");
        counts.decisions += 1;
        counts.synced += u64::from(committed.synced);
        counts.later_rounds += u64::from(committed.commit.round > Round::ZERO);
        counts.redecided += u64::from(height <= node.announced());
        self.compare(who, height, Decided::of(committed))
    }

    fn compare(&mut self, who: usize, height: Height, got: Decided) -> Result<bool, Broken> {
        let Some(first) = self.decided.get(&height) else {
            self.decided.insert(height, got);
            return Ok(true);
        };
        let (id, before) = (got.block_id, first.block_id);
        ensure!(before == id, "agreement (I5): n{who} decided {id} at height {height}, {before} was decided before");
        let (got_hash, hash) = (got.app_hash, first.app_hash);
        ensure!(
            got_hash == hash,
            "app hash: agreement: n{who} has {got_hash} after height {height}, {hash} was there before"
        );
        ensure!(got.results == first.results, "agreement: results differ at height {height}");
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use types::PartSetHeader;

    use super::*;

    #[test]
    fn another_block_another_state_and_other_results_are_noticed() {
        let hash = Hash([1; 32]);
        let block_id = BlockId { hash, parts: PartSetHeader { total: 1, hash } };
        let first = Decided { block_id, app_hash: hash, time: Time::UNIX_EPOCH, results: hash };
        let other = Hash([2; 32]);
        let mut agreement = Agreement::default();
        assert_eq!(agreement.compare(0, Height(3), first), Ok(true));
        assert_eq!(agreement.compare(1, Height(3), first), Ok(false));
        let mut noticed = |got, by: &str| {
            let broken = agreement.compare(1, Height(3), got).unwrap_err().0;
            assert!(broken.starts_with(by), "{broken}");
        };
        noticed(Decided { block_id: BlockId { hash: other, ..block_id }, ..first }, "agreement (I5)");
        noticed(Decided { app_hash: other, ..first }, "app hash");
        noticed(Decided { results: other, ..first }, "agreement: results");
    }
}
