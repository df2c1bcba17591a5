//! Views of a replica, for RPC, metrics and checkers.

use std::sync::Arc;

use consensus::{
    Engine, RoundNote, Signer,
    votes::{RoundVotes, VoteSet},
};
use storage::Kv;
use types::{Height, PartSet, Round, SignedVote, Step, Time, VoteType, limits::BLOCK_BYTES_MAX};

use super::{Replica, round_states::Shown};
use crate::{
    Held, LiveApp, Phase, RoundVotesHeld, Status, TreesFrom, Verifier, blocks::Blocks, evidence::Waiting, sync::Sync,
};

impl<K: Kv> Replica<K> {
    /// Returns the current state of this node. Cost: a copy of the votes of this height if the engine had an input since
    /// the last call, and little otherwise.
    pub fn status(&self) -> Status {
        let (chain, engine, live) = (&self.chain, &self.engine, self.is_live());
        Status {
            height: chain.height(),
            round: if live { engine.round() } else { Round::ZERO },
            step: if live { engine.current_step() } else { Step::Propose },
            height_started: if live { self.pace.height_started } else { self.pace.last_commit_at },
            round_started: if live { engine.round_started() } else { self.pace.last_commit_at },
            validators: chain.validators.clone(),
            own: self.own().copied(),
            proposal: engine.proposal(engine.round()).filter(|_| live).map(|signed| signed.proposal.block_id),
            locked: engine.locked().filter(|_| live).map(|lock| lock.block_id),
            valid: engine.valid().filter(|_| live).map(|lock| lock.block_id),
            votes: if live { self.votes_held() } else { Arc::default() },
            waits_until: self.waits_until(),
            silence: self.silence(),
            not_kept: self.not_kept(),
            catching_up: self.catch_up.is_active || self.catch_up.proven > chain.height(),
            proven_height: self.catch_up.proven,
            peer_heights: self.peers.heights(),
            tip: chain.tip.height,
            app_hash: chain.tip.app_hash,
            hard_state_height: self.signing.hard_state_height,
            syncs: self.signing.syncs,
            evidence_waiting: self.evidence.len(),
            duplicate_votes: self.duplicate_votes,
            duplicate_parts: self.duplicate_parts,
        }
    }

    /// Returns the votes that the engine holds, which are copied only after it had an input.
    fn votes_held(&self) -> Arc<[RoundVotesHeld]> {
        let copy = |votes: &VoteSet| votes.votes().map(|vote| (**vote).clone()).collect();
        let held = |(round, votes): (Round, &RoundVotes)| RoundVotesHeld {
            round,
            prevotes: copy(votes.of(VoteType::Prevote)),
            precommits: copy(votes.of(VoteType::Precommit)),
        };
        self.votes_held.get_or_init(|| self.engine.votes().rounds().map(held).collect()).clone()
    }

    /// Returns the tip's time, if the next height waits for it because this clock is further behind than the precision
    /// allows.
    fn waits_until(&self) -> Option<Time> {
        let (tip, latest) = (self.chain.tip.time, self.wall.saturating_add(self.chain.params.synchrony.precision));
        let knows_time = self.wall > Time::UNIX_EPOCH;
        Some(tip).filter(|tip| knows_time && !self.is_live() && *tip > latest)
    }

    /// Returns the lowest height that a peer ahead of us keeps, if heights are proven to be decided and no such peer
    /// keeps our next one.
    fn not_kept(&self) -> Option<Height> {
        let next = self.chain.height();
        if self.catch_up.proven < next || self.sync.is_delivering() {
            return None;
        }
        let claims = self.peers.claims();
        let ahead = claims.iter().filter(|claim| claim.height > next);
        ahead.map(|claim| claim.earliest).min().filter(|earliest| *earliest > next)
    }

    /// Starts or stops recording notes about the rounds inside heights, from the next step on: for clients that watch
    /// rounds.
    pub fn watch(&mut self, watched: bool) {
        self.engine.watch(watched);
    }

    /// Returns the notes since the last call, in order. A step makes a few notes for each vote that it counts.
    pub fn take_notes(&mut self) -> Vec<RoundNote> {
        self.engine.take_notes()
    }

    /// Sets a hook that is called when a phase begins, on the thread that calls `step`.
    pub fn on_phase(&mut self, hook: impl FnMut(Phase) + Send + 'static) {
        self.on_phase = Box::new(hook);
    }

    /// Returns the memory of each part of the replica that peers can fill, to check its bounds (I6). The application's
    /// state and the waiting transactions are not among them: the store and the mempool have bounds of their own. No output
    /// waits here between two steps. Cost: counting all of it.
    pub fn held(&self) -> [Held; 9] {
        let (engine, engine_max) = (self.engine.held_bytes(), self.engine.held_bytes_max());
        let of_parts =
            |parts: &PartSet| parts.held().iter().filter_map(|index| parts.get(index)).map(|p| p.bytes.len()).sum();
        let views = self.votes_held.get().into_iter().flat_map(|rounds| rounds.iter());
        let views = views.map(|round| (round.prevotes.len() + round.precommits.len()) * size_of::<SignedVote>()).sum();
        let held = |what, bytes, bytes_max| Held { what, bytes, bytes_max };
        [
            held("engine", engine, engine_max),
            held("blocks", self.blocks.bytes(), Blocks::bytes_max(self.chain.parts_max())),
            held("last block", self.last_parts.as_ref().map_or(0, of_parts), BLOCK_BYTES_MAX),
            held("peers", self.peers.bytes(), self.peers.bytes_max()),
            held("block sync", self.sync.bytes(), Sync::bytes_max()),
            held("evidence", self.evidence.bytes(), Waiting::bytes_max()),
            held("samples", self.shown.bytes(), Shown::bytes_max()),
            held("views", views, engine_max),
            held("signatures", self.verifier.remembered_bytes(), Verifier::remembered_bytes_max()),
        ]
    }

    /// Returns the application, for proofs on other threads.
    pub fn app(&self) -> LiveApp {
        self.app.clone()
    }

    /// Returns the source of the application's trees when the replica was opened.
    pub fn trees_from(&self) -> TreesFrom {
        self.trees_from
    }

    /// Returns the signer of the engine, to export what its keys signed last.
    pub fn signer(&self) -> Option<&Signer> {
        self.engine.signer()
    }

    /// Returns the engine, for inspection.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}
