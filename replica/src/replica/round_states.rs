//! Round states: those of peers, with the responses to them, and ours.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use storage::Kv;
use types::{Height, NodeId, PeerMessage, Round, RoundState, Time};

use super::Replica;
use crate::{
    mutation::{Mutation, mutated},
    {Output, Timer, gossip, peers::RELAY_HEIGHTS},
};

/// Number of samples of our round state per gossip interval. They are kept for two intervals, to determine what we have
/// held for some time.
const SAMPLES_PER_INTERVAL: u32 = 8;

/// What peers and verifiers know of our round.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Samples of our round state, oldest first.
    samples: VecDeque<(Time, RoundState)>,
    /// Height and round that were published last.
    round: (Height, Round),
}

impl Shown {
    /// Returns the memory of the samples in bytes.
    pub fn bytes(&self) -> usize {
        self.samples.iter().map(|(_, state)| size_of::<(Time, RoundState)>() + gossip::bits_bytes(state)).sum()
    }

    /// Returns the maximum of [`Shown::bytes`] (I6).
    pub fn bytes_max() -> usize {
        2 * SAMPLES_PER_INTERVAL as usize * (size_of::<(Time, RoundState)>() + gossip::BITS_BYTES_MAX)
    }
}

impl<K: Kv> Replica<K> {
    /// Notes the round state of a peer. The response is sent at the end of the step, to the newest state.
    pub(super) fn on_round_state(&mut self, peer: NodeId, state: RoundState) {
        let (now, interval, height) = (self.now, self.config.gossip_interval, self.chain.height());
        let old = |(at, _): &&(Time, RoundState)| now.since(*at) >= interval / 4;
        let lacks_old =
            self.shown.samples.iter().rev().find(old).is_some_and(|(_, before)| gossip::lacks_old(before, &state));
        if lacks_old {
            self.peers.relay_to(peer, Height(height.0.saturating_add(RELAY_HEIGHTS)));
        }
        self.catch_up.look_at_end |= self.peers.note_state(peer, state);
    }

    /// Responds to the new round states of peers: sends what they lack, and asks peers that are ahead for blocks.
    pub(super) fn on_round_states(&mut self) {
        if self.halted || !self.peers.has_news() || mutated(Mutation::NoRepair) {
            return;
        }
        let (now, interval, is_live) = (self.now, self.config.gossip_interval, self.is_live());
        let Self { engine, peers, blocks, chain, last_parts, outputs, .. } = self;
        let height = chain.height();
        let answer = |state: &RoundState, bytes_max| match &chain.last_commit {
            _ if state.height == height && is_live => gossip::repair(engine, blocks, state, bytes_max),
            Some(commit) if state.height == commit.height => {
                gossip::repair_last(commit, last_parts.as_ref(), state, bytes_max)
            }
            _ => Vec::new(),
        };
        let send = |to, message| outputs.push(Output::Send { to, message });
        if peers.answer_states(now, interval, answer, send) {
            outputs.push(Output::StartTimer { timer: Timer::Sync, after: Duration::ZERO });
        }
    }

    pub(super) fn round_state(&self) -> RoundState {
        let (chain, earliest) = (&self.chain, self.store.earliest());
        if self.is_live() {
            return gossip::round_state(&self.engine, &self.blocks, earliest);
        }
        RoundState::empty(chain.height(), Round::ZERO, chain.validators.len() as u32, earliest)
    }

    /// Publishes the round to verifiers, and to peers if it is not the first.
    pub(super) fn publish_round(&mut self) {
        if self.halted || !self.is_live() {
            return;
        }
        let place = (self.engine.height(), self.engine.round());
        if place == self.shown.round {
            return;
        }
        self.shown.round = place;
        self.verifier.publish(self.chain.place(place.1));
        if place.1 > Round::ZERO {
            let current = Round(place.1.0.saturating_sub(1));
            self.blocks.forget_rounds(place.0, current);
            let state = PeerMessage::RoundState(self.round_state());
            self.outputs.push(Output::Broadcast(Arc::new(state)));
        }
    }

    /// Adds a sample of our round state.
    pub(super) fn sample(&mut self) {
        let (now, spacing) = (self.now, self.config.gossip_interval / SAMPLES_PER_INTERVAL);
        let recent = self.shown.samples.back().is_some_and(|(at, _)| now >= *at && now.since(*at) < spacing);
        if recent || !self.is_live() {
            return;
        }
        self.shown.samples.push_back((now, self.round_state()));
        if self.shown.samples.len() > 2 * SAMPLES_PER_INTERVAL as usize {
            self.shown.samples.pop_front();
        }
    }
}
