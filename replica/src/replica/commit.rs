//! The commit of a decided block: executes it and stores the height in one batch.

use std::sync::Arc;

use storage::{CommitBatch, Kv, StoreError};
use types::{BlockId, Commit, Round, TxPool};

use super::Replica;
use crate::{
    CommitTiming, Committed, Halt, Output, Phase,
    blocks::{Entry, Verdict},
    evidence,
    mutation::{Mutation, mutated},
};

impl<K: Kv> Replica<K> {
    /// Commits the block that the engine decided.
    pub(super) fn commit_decided(&mut self, txs: &dyn TxPool, block_id: BlockId, commit: Commit) {
        let height = commit.height;
        let is_applied = self.apply(txs, block_id, commit, false);
        assert!(
            is_applied,
            "I4: block {block_id} of height {height} was decided and is valid here, but its bytes are not held"
        );
    }

    /// Commits a block that more than 2/3 decided and block sync delivered. If it is not valid here, this node or its
    /// state is wrong.
    pub(super) fn apply_synced(&mut self, txs: &dyn TxPool, id: BlockId, commit: Arc<Commit>) {
        let height = commit.height;
        if self.apply(txs, id, Arc::unwrap_or_clone(commit), true) {
            self.catch_up.is_active = true;
            return;
        }
        let reason = match self.blocks.get(&id).map(|entry| &entry.verdict) {
            Some(Verdict::Invalid(reason)) => reason.clone(),
            _ => "its bytes are missing".into(),
        };
        self.halt(Halt::Differs { block_id: id, height, reason });
    }

    /// Executes and stores a decided block. Returns false without any effect if the block is not available and valid.
    /// `synced`: block sync delivered the block; otherwise the engine decided it.
    fn apply(&mut self, txs: &dyn TxPool, id: BlockId, commit: Commit, synced: bool) -> bool {
        if !self.blocks.get(&id).is_some_and(|entry| matches!(entry.verdict, Verdict::Valid(_))) {
            return false;
        }
        let entry = self.blocks.take(&id).expect("it was there");
        match self.store_block(txs, id, entry, commit, synced) {
            Ok(()) => self.on_committed(synced),
            Err(error) => self.halt(error),
        }
        (self.on_phase)(Phase::Rest);
        true
    }

    fn store_block(
        &mut self,
        pool: &dyn TxPool,
        block_id: BlockId,
        entry: Entry,
        commit: Commit,
        synced: bool,
    ) -> Result<(), StoreError> {
        let Entry { parts, bytes, block: Some(block), verdict: Verdict::Valid(txs), .. } = entry else {
            unreachable!("only a valid block is applied, and it was decoded")
        };
        (self.on_phase)(Phase::Execute);
        let header = &block.header;
        let misbehavior = evidence::misbehavior_in(&self.store, &block.evidence)?;
        let context = self.chain.context_of(&block, misbehavior);
        let reader = self.store.reader()?;
        let outcome = self.app.read().execute(&reader, &context, &txs);
        reader.check()?;
        drop(reader);
        let (after, params) = self.chain.rules_after(&outcome.results);
        (self.on_phase)(Phase::Commit);
        let (height, time) = (header.height, header.time);
        let floor = evidence::floor_after(&self.store, &params, self.chain.evidence_floor, height, time)?;
        let tip = self.store.commit_block(&CommitBatch {
            block_id,
            block: &block,
            block_bytes: &bytes,
            seen_commit: &commit,
            results: &outcome.results,
            writes: &outcome.writes,
            replaced: &outcome.replaced,
            validators: &after,
            params: &params,
            evidence_floor: floor,
        })?;
        (self.on_phase)(Phase::Recheck);
        self.app.commit(outcome.update);
        let ids: Vec<_> = block.tx_ids().collect();
        let reader = self.store.reader()?;
        pool.update(&reader, header, &ids, &outcome.writes, self.now);
        let deadline = app::earliest_deadline(&reader);
        self.upgrade_stop = self.app.read().check_program(&reader).err();
        reader.check()?;
        drop(reader);
        let validators = self.chain.validators.as_ref().clone();
        self.chain.advance(tip, (header, &outcome.results), commit.clone(), after, params, floor);
        self.on_evidence_committed(&block, synced)?;
        // The engine has counted the votes of a commit that it built itself.
        let fetched = synced.then_some(&commit).filter(|_| !mutated(Mutation::TrustFetchedCommits));
        let last = block.last_commit.as_ref().filter(|_| !mutated(Mutation::TrustLastCommits));
        fetched.into_iter().chain(last).for_each(|commit| self.compare_commit(commit));
        let timing = match synced {
            true => CommitTiming::default(),
            false => {
                let decide = self.now.since(self.pace.height_started);
                CommitTiming::of(&self.engine, block_id, commit.round, header.time, decide)
            }
        };
        self.outputs.push(Output::Committed(Arc::new(Committed {
            block: block.as_ref().clone(),
            block_id,
            block_bytes: bytes.len(),
            commit,
            results: outcome.results,
            validators,
            synced,
            timing,
        })));
        self.last_parts = Some(parts);
        self.parts_said = None;
        self.blocks.start(self.chain.height());
        self.pace.last_commit_at = self.now;
        self.pace.block_time = if synced { self.wall } else { header.time };
        self.pace.deadline = deadline;
        self.verifier.publish(self.chain.place(Round::ZERO));
        Ok(())
    }

    /// Prepares for the height after the new tip.
    fn on_committed(&mut self, synced: bool) {
        if !self.signing.guard.is_settled() {
            let (tip, precision) = (&self.chain.tip, self.chain.params.synchrony.precision);
            let said = (self.engine.height() == tip.height).then(|| self.engine.hard_state());
            let is_signed = said.is_some_and(|said| !said.votes.is_empty() || !said.proposals.is_empty());
            // The clocks of the proposer and of this node may each be off by the precision.
            self.signing.guard.on_committed(tip.height, tip.time, synced, is_signed, precision * 2);
        }
        self.sync.applying = None;
        self.pace.start_now = false;
        self.pace.start_timer = None;
        self.catch_up.proven = self.catch_up.proven.max(self.chain.tip.height);
        self.catch_up.look = true;
    }
}
