//! Catching up: applies blocks that others decided, and requests the missing ones.

use std::{sync::Arc, time::Duration};

use storage::Kv;
use types::{Commit, Height, NodeId, PartSet, Time, TxPool};

use super::Replica;
use crate::{
    CheckedBlocks, Offence, Output, SyncedBlock, Timer,
    mutation::{Mutation, mutated},
    sync::{Applying, Ask},
};

/// Maximum bytes of synced blocks that are applied in one step; after that other inputs have their turn.
const SYNC_STEP_BYTES_MAX: usize = 1024 * 1024;

/// Maximum number of synced blocks that are applied in one step.
const SYNC_STEP_BLOCKS_MAX: usize = 16;

/// What makes block sync run, and how far others are.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// True while blocks of other nodes are being applied; the engine is then idle.
    pub is_active: bool,
    /// The greatest height that is proven to be decided, by a commit of the validators that we know. Claims do not
    /// raise it.
    pub proven: Height,
    /// True if something that block sync depends on has changed.
    pub look: bool,
    /// True if peers claim another height than before: block sync handles that once per step, however many claims
    /// arrive.
    pub look_at_end: bool,
    pub timer: Option<Time>,
}

impl CatchUp {
    pub fn new(tip: Height) -> Self {
        Self { is_active: false, proven: tip, look: false, look_at_end: false, timer: None }
    }
}

impl<K: Kv> Replica<K> {
    pub(super) fn on_blocks(&mut self, request: u64, response: Option<CheckedBlocks>) {
        let (now, next) = (self.now, self.chain.height());
        let Some(request) = self.sync.on_answer(request) else { return };
        self.catch_up.look = true;
        let peer = request.peer;
        let Some(CheckedBlocks { earliest, latest, proven, blocks }) = response else {
            return self.sync.fail(now, peer);
        };
        self.peers.claim(peer, Height(latest.0.min(i64::MAX as u64 - 2)).next(), earliest);
        self.catch_up.proven = self.catch_up.proven.max(proven.unwrap_or_default());
        if blocks.is_empty() {
            self.sync.fail(now, peer);
            // The peer may have pruned the block in the meantime, or the request asked only for its range of heights.
            if earliest <= request.from && request.count > 0 {
                self.penalize(
                    peer,
                    Offence::Unserved(format!("it was asked for block {} and sent no block", request.from)),
                );
            }
            return;
        }
        if let Err(reason) = self.sync.take_in(next, &request, blocks) {
            self.sync.fail(now, peer);
            self.penalize(peer, Offence::BadResponse(reason));
        }
    }

    /// Expires requests that were not answered in time.
    pub(super) fn expire_requests(&mut self) {
        self.catch_up.look = true;
        for peer in self.sync.expire(self.now) {
            let seconds = self.config.sync_timeout.as_secs_f64();
            self.penalize(
                peer,
                Offence::Unserved(format!("it did not answer a request for blocks within {seconds} s")),
            );
        }
    }

    /// Applies the blocks that arrived and requests the missing ones.
    pub(super) fn sync_on(&mut self, txs: &dyn TxPool) {
        if self.has_last_height() || !std::mem::take(&mut self.catch_up.look) {
            return;
        }
        let (mut bytes, mut blocks) = (0, 0);
        let is_enough = |bytes, blocks| bytes >= SYNC_STEP_BYTES_MAX || blocks >= SYNC_STEP_BLOCKS_MAX;
        while self.sync.applying.is_none() && !is_enough(bytes, blocks) && !self.halted && !self.has_last_height() {
            let next = self.chain.height();
            if self.sync.lacks_verification(next, || self.chain.validators.hash()) && !mutated(Mutation::SyncUnverified)
            {
                let commit = self.sync.ask_verification(next);
                self.outputs.extend(commit.map(|commit| Output::VerifyCommit { commit }));
                break;
            }
            let Some((peer, block)) = self.sync.take(next) else { break };
            (bytes, blocks) = (bytes + block.bytes, blocks + 1);
            match self.check_synced(block) {
                Ok((commit, parts)) => self.begin_apply(txs, peer, commit, parts),
                Err(offence) => {
                    self.sync.fail(self.now, peer);
                    self.penalize(peer, offence);
                }
            }
        }
        // The blocks that were just applied here are no reason to run block sync again.
        self.catch_up.look = is_enough(bytes, blocks);
        if self.catch_up.look {
            self.outputs.push(Output::StartTimer { timer: Timer::Sync, after: Duration::ZERO });
        }
        let claims = self.peers.claims();
        let (now, next, timeout) = (self.now, self.chain.height(), self.config.sync_timeout);
        let plan = self.sync.plan(now, next, self.catch_up.proven, timeout, &claims);
        let asks = if mutated(Mutation::NoSync) { Vec::new() } else { plan.asks };
        for Ask { peer, request, blocks } in asks {
            self.outputs.push(Output::RequestBlocks { peer, request, blocks });
        }
        let Some(after) = plan.look_after else { return };
        let at = now.saturating_add(after);
        if self.catch_up.timer.is_none_or(|running| at < running || running < now) {
            self.catch_up.timer = Some(at);
            self.outputs.push(Output::StartTimer { timer: Timer::Sync, after });
        }
    }

    /// Checks that these bytes are the block of the next height that more than 2/3 signed.
    fn check_synced(&self, block: SyncedBlock) -> Result<(Arc<Commit>, PartSet), Offence> {
        let SyncedBlock { bytes, parts, commit, verified } = block;
        let bad = |reason: String| Err(Offence::BadBlock(format!("block {}: {reason}", commit.height)));
        let (total, chain) = (commit.block_id.parts.total, &self.chain);
        let Some(parts) = parts.filter(|_| u64::from(total) <= chain.parts_max()) else {
            return bad(format!("{bytes} bytes in {total} parts"));
        };
        if parts.header() != commit.block_id.parts && !mutated(Mutation::SyncAnyBytes) {
            return bad("its bytes do not match its commit".into());
        }
        match verified.map(|verified| verified.result) {
            Some(Ok(())) => Ok((commit, parts)),
            _ if mutated(Mutation::SyncAnyCommit) || mutated(Mutation::SyncUnverified) => Ok((commit, parts)),
            Some(Err(error)) => bad(error.to_string()),
            None => bad("its commit was not verified".into()),
        }
    }

    fn begin_apply(&mut self, txs: &dyn TxPool, peer: NodeId, commit: Arc<Commit>, parts: PartSet) {
        let block_id = commit.block_id;
        self.sync.delivered(peer);
        self.put_block(commit.round, block_id, parts);
        let verdict = self.judge(txs, block_id);
        match verdict {
            Some(_) => self.apply_synced(txs, block_id, commit),
            None => self.sync.applying = Some(Applying { block_id, commit }),
        }
    }
}
