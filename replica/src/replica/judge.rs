//! Blocks that were named here: builds ours, and judges whether others are valid next blocks.

use std::sync::Arc;

use app::BlockTx;
use consensus::Input as EngineInput;
use storage::Kv;
use types::{Block, BlockId, Evidence, Height, PartSet, Round, Time, TxPool, VerifiedTx};

use super::{Replica, Turn};
use crate::{
    EvidenceRefusal, Output, Phase,
    blocks::Verdict,
    chain::Chain,
    evidence::BlockEvidenceFault,
    mutation::{Mutation, mutated},
    sync::Applying,
};

impl<K: Kv> Replica<K> {
    /// Judges blocks that have become complete.
    pub(super) fn judge_ready(&mut self, turn: &mut Turn<'_>) {
        for id in self.blocks.unjudged() {
            let verdict = self.judge(turn.txs, id);
            self.on_verdict(turn, id, verdict);
        }
    }

    /// Delivers the verdict of a block, if it is known, to block sync or the engine.
    pub(super) fn on_verdict(&mut self, turn: &mut Turn<'_>, id: BlockId, verdict: Option<EngineInput>) {
        let Some(verdict) = verdict else { return };
        if let Some(Applying { commit, .. }) = self.sync.applying.take_if(|applying| applying.block_id == id) {
            return self.apply_synced(turn.txs, id, commit);
        }
        if self.is_live() {
            self.drive(turn, verdict);
        }
    }

    /// Returns the blocks that must not be evicted to make room for others.
    fn needed(&self) -> Vec<BlockId> {
        self.engine.needed_blocks().into_iter().collect()
    }

    /// Returns the blocks that are not available any more, as inputs for the engine.
    pub(super) fn dropped(&mut self) -> impl Iterator<Item = EngineInput> + use<K> {
        self.blocks.take_dropped().into_iter().map(|block_id| EngineInput::BlockDropped { block_id })
    }

    /// Makes room for a block that an entitled source named. A block whose bytes are in the store is available
    /// immediately.
    fn name_block(&mut self, round: Round, id: BlockId) {
        let (height, keep) = (self.chain.height(), self.needed());
        if self.blocks.get(&id).is_none() {
            let stored = if mutated(Mutation::ForgetStoredBlock) { Ok(None) } else { self.store.pending_block(&id) };
            match stored {
                Ok(Some(bytes)) => {
                    let parts = PartSet::from_bytes(&bytes);
                    if parts.header() == id.parts {
                        self.blocks.put(round, id, parts, &keep);
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => return self.halt(error),
            }
        }
        self.blocks.name(height, round, id, &keep);
    }

    /// Adds a whole block that was decided by others.
    pub(super) fn put_block(&mut self, round: Round, id: BlockId, parts: PartSet) {
        let mut keep = self.needed();
        keep.push(id);
        if !self.blocks.get(&id).is_some_and(|entry| entry.parts.is_complete()) {
            self.blocks.put(round, id, parts, &keep);
        }
    }

    /// Returns the verdict on a block as an input for the engine, once it is known.
    pub(super) fn judge(&mut self, pool: &dyn TxPool, id: BlockId) -> Option<EngineInput> {
        let entry = self.blocks.get(&id).filter(|entry| entry.parts.is_complete())?;
        if let (Verdict::Unknown, Some(block)) = (&entry.verdict, entry.block.clone()) {
            let bytes = entry.bytes.len();
            let verdict = self.examine(pool, id, &block, bytes).unwrap_or_else(Verdict::Invalid);
            self.blocks.get_mut(&id).expect("it was there").verdict = verdict;
        }
        let entry = self.blocks.get_mut(&id).expect("it was there");
        entry.judged = true;
        let time = entry.block.as_ref().map_or(Time::UNIX_EPOCH, |block| block.header.time);
        match entry.verdict {
            Verdict::Unknown | Verdict::AwaitingTxs(_) => None,
            Verdict::Valid(_) => Some(EngineInput::BlockChecked { block_id: id, time, valid: true }),
            Verdict::Invalid(_) => Some(EngineInput::BlockChecked { block_id: id, time, valid: false }),
        }
    }

    /// Checks all of a block except the signatures that were not checked here before; these are sent out for
    /// verification.
    fn examine(&mut self, pool: &dyn TxPool, id: BlockId, block: &Block, bytes: usize) -> Result<Verdict, String> {
        (self.on_phase)(Phase::Check);
        let verdict = self.examine_timed(pool, id, block, bytes);
        (self.on_phase)(Phase::Rest);
        verdict
    }

    fn examine_timed(
        &mut self,
        pool: &dyn TxPool,
        id: BlockId,
        block: &Block,
        bytes: usize,
    ) -> Result<Verdict, String> {
        let known = self.engine.last_commit();
        let known = known.as_ref().or(self.chain.last_commit.as_ref());
        let mut precommits = self.chain.check_block(block, bytes, known).map_err(|fault| fault.to_string())?;
        precommits.retain(|vote| !self.verifier.is_known(vote) && !mutated(Mutation::SkipPrecommits));
        let evidence = match self.evidence.check_of_block(&self.store, &self.chain.params, &block.evidence) {
            Err(BlockEvidenceFault::Refused { refusal: EvidenceRefusal::Store(error), .. }) => {
                self.halt(error);
                return Ok(Verdict::Unknown);
            }
            checked => checked.map_err(|fault| fault.to_string())?,
        };
        let txs = app::decode_block_txs(&self.chain.id, &self.chain.params, &block.txs, |bytes| pool.known(bytes))
            .map_err(|fault| fault.to_string())?;
        let unverified = |tx: &BlockTx| match tx {
            BlockTx::Known(_) => None,
            BlockTx::Unverified(_) if mutated(Mutation::SkipTxSignatures) => None,
            BlockTx::Unverified(tx) => Some(tx.clone()),
        };
        let unverified: Vec<_> = txs.iter().filter_map(unverified).collect();
        if unverified.is_empty() && precommits.is_empty() && evidence.is_empty() {
            return Ok(Verdict::Valid(signed(txs)));
        }
        self.outputs.push(Output::VerifyTxs { block_id: id, txs: Arc::new(unverified), precommits, evidence });
        Ok(Verdict::AwaitingTxs(txs))
    }

    /// Handles the result of verifying the signatures of a block's transactions, its last commit and its evidence.
    pub(super) fn on_txs_verified(&mut self, pool: &dyn TxPool, id: BlockId, valid: bool) -> Option<EngineInput> {
        let entry = self.blocks.get_mut(&id)?;
        let Verdict::AwaitingTxs(txs) = &mut entry.verdict else { return None };
        entry.verdict = match valid {
            true => Verdict::Valid(signed(std::mem::take(txs))),
            false => {
                let reason = "a transaction, a precommit of the last commit, or evidence is not signed by its signer";
                Verdict::Invalid(reason.into())
            }
        };
        self.judge(pool, id)
    }

    /// Builds the block of our proposal. Blocks that it displaced come first.
    pub(super) fn build_block(&mut self, pool: &dyn TxPool, height: Height, round: Round) -> Vec<EngineInput> {
        if height != self.chain.height() {
            return Vec::new();
        }
        (self.on_phase)(Phase::Build);
        let proposer = self.own().expect("only a validator is asked for a block").address();
        let time = self.chain.time_of_next(self.wall);
        let evidence = self.evidence_for_block();
        let bytes_max = self.chain.body_bytes_max() - Evidence::list_bytes(&evidence);
        let txs = Chain::fitting(pool.reap(time, bytes_max, self.chain.params.block.gas_max), bytes_max);
        let bytes = txs.iter().map(|tx| tx.bytes().to_vec()).collect();
        let last_commit = self.engine.last_commit().or_else(|| self.chain.last_commit.clone());
        let block = self.chain.build_block(time, bytes, evidence, last_commit, proposer);
        let parts = block.part_set();
        let (id, time, keep) = (block.id(&parts), block.header.time, self.needed());
        let entry = self.blocks.put(round, id, parts, &keep);
        debug_assert!(entry.block.is_some(), "what we build can be decoded");
        (entry.verdict, entry.judged) = (Verdict::Valid(txs), true);
        (self.on_phase)(Phase::Rest);
        self.dropped().chain([EngineInput::BlockBuilt { round, block_id: id, time }]).collect()
    }

    /// Returns the verdict on a block that the engine asks for, if it is known. Blocks that it displaced come first.
    pub(super) fn check_block(&mut self, pool: &dyn TxPool, block_id: BlockId) -> Vec<EngineInput> {
        if u64::from(block_id.parts.total) > self.chain.parts_max() {
            return vec![EngineInput::BlockChecked { block_id, time: Time::UNIX_EPOCH, valid: false }];
        }
        self.name_block(self.engine.round(), block_id);
        let verdict = self.judge(pool, block_id);
        self.dropped().chain(verdict).collect()
    }
}

/// Returns the transactions of a block after all their signatures were verified.
fn signed(txs: Vec<BlockTx>) -> Vec<VerifiedTx> {
    txs.into_iter()
        .map(|tx| match tx {
            BlockTx::Known(tx) => tx,
            BlockTx::Unverified(tx) => VerifiedTx::verified_before(tx),
        })
        .collect()
}
