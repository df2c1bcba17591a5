//! Anti-entropy: nodes tell each other where they stand, and whoever sees a peer lacking something sends it.
//!
//! In a full mesh this finds nothing to do. Where messages get lost, or validators stand behind others, the repair marks the
//! peer as one to relay to: for the next heights it is sent every vote, proposal and part as soon as we have it.

use std::{sync::Arc, time::Duration};

use consensus::Engine;
use types::{BitSet, Height, PeerMessage, Round, RoundState, RoundVotes, Time, ValidatorSet, VerifiedVote, VoteType};

use crate::blocks::Blocks;

/// For how many heights a peer that lacked something is relayed to.
const RELAY_HEIGHTS: u64 = 100;

/// Parts sent in one repair: the rest follows in the next.
const PARTS_PER_REPAIR: usize = 32;

/// What we know of a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerView {
    /// Where it said it stands.
    pub(crate) state: Option<RoundState>,
    /// Everything new is sent to it up to this height.
    relay_until: Height,
    repaired: Option<Time>,
}

impl PeerView {
    /// Whether new messages of `height` are sent on to it.
    pub(crate) fn relays(&self, height: Height) -> bool {
        height <= self.relay_until
    }

    /// What to send to a peer that stands at `theirs`, at our own height. Marks it for relaying if it lacked what is older than
    /// `interval`. At most one repair in half an interval.
    pub(crate) fn repair(
        &mut self,
        now: Time,
        interval: Duration,
        engine: &Engine,
        blocks: &Blocks,
        theirs: &RoundState,
    ) -> Vec<PeerMessage> {
        if self.repaired.is_some_and(|last| now.since(last) < interval / 2) {
            return Vec::new();
        }
        let messages = lacking(engine, blocks, theirs);
        if messages.is_empty() {
            return messages;
        }
        self.repaired = Some(now);
        if now.since(engine.round_started()) >= interval {
            self.relay_until = Height(engine.height().0 + RELAY_HEIGHTS);
        }
        messages
    }
}

/// What a peer at our height lacks of what we hold.
fn lacking(engine: &Engine, blocks: &Blocks, theirs: &RoundState) -> Vec<PeerMessage> {
    let mut messages = Vec::new();
    if let Some(commit) = engine.decision_certificate() {
        messages.push(PeerMessage::Certificate(commit));
    }
    if theirs.round < engine.round() {
        messages.extend(engine.entry_certificates().iter().cloned().map(PeerMessage::Certificate));
        let round = engine.round();
        messages.extend(votes_lacking(engine, round, &BitSet::default(), &BitSet::default()));
    }
    if theirs.round < engine.round() || engine.round() > Round::ZERO {
        messages.extend(engine.valid_polka().cloned().map(PeerMessage::Certificate));
    }
    for votes in std::iter::once(&theirs.current).chain(&theirs.previous) {
        messages.extend(votes_lacking(engine, votes.round, &votes.prevotes, &votes.precommits));
    }
    if !theirs.has_proposal {
        messages.extend(engine.proposals(theirs.round).cloned().map(PeerMessage::Proposal));
    }
    messages.extend(parts_lacking(engine, blocks, theirs));
    messages
}

fn votes_lacking(engine: &Engine, round: Round, prevotes: &BitSet, precommits: &BitSet) -> Vec<PeerMessage> {
    let Some(held) = engine.votes().round(round) else { return Vec::new() };
    [(VoteType::Prevote, prevotes), (VoteType::Precommit, precommits)]
        .into_iter()
        .flat_map(|(vote_type, theirs)| {
            held.of(vote_type).votes().filter(|vote| !theirs.get(vote.vote.validator_index))
        })
        .map(|vote| PeerMessage::Vote((**vote).clone()))
        .collect()
}

/// Parts of the block that the peer gathers, or of those proposed in its round or decided if it knows none.
fn parts_lacking(engine: &Engine, blocks: &Blocks, theirs: &RoundState) -> Vec<PeerMessage> {
    let proposed: Vec<_> = engine.proposals(theirs.round).map(|p| p.proposal.block_id.parts).collect();
    let useful = [engine.valid(), engine.locked()].into_iter().flatten().map(|lock| lock.block_id.parts);
    let decided = engine.decision().map(|(_, id)| id.parts);
    let wanted: Vec<_> = proposed.into_iter().chain(useful).chain(decided).collect();
    let held_there = |header, index| theirs.parts_header == Some(header) && theirs.parts.get(index);
    blocks
        .iter()
        .filter(|(id, _)| wanted.contains(&id.parts) || theirs.parts_header == Some(id.parts))
        .flat_map(|(id, entry)| entry.parts.held().iter().map(move |index| (id.parts, entry, index)))
        .filter(|(header, _, index)| !held_there(*header, *index))
        .filter_map(|(_, entry, index)| entry.parts.get(index))
        .take(PARTS_PER_REPAIR)
        .map(|part| PeerMessage::Part { height: engine.height(), round: theirs.round, part: part.clone() })
        .collect()
}

/// Where we stand, for a peer. `height` is the one that we decide or wait to decide; while we wait, nothing of it is held.
pub(crate) fn round_state(
    engine: &Engine,
    blocks: &Blocks,
    height: Height,
    validators: &ValidatorSet,
    earliest: Height,
) -> RoundState {
    let bits = |round: Round| {
        let empty = || BitSet::new(validators.len() as u32);
        let held = (engine.height() == height).then(|| engine.votes().round(round)).flatten();
        RoundVotes {
            round,
            prevotes: held.map_or_else(empty, |votes| votes.prevotes.held()),
            precommits: held.map_or_else(empty, |votes| votes.precommits.held()),
        }
    };
    let round = if engine.height() == height { engine.round() } else { Round::ZERO };
    let proposal = (engine.height() == height).then(|| engine.proposal(round)).flatten();
    let entry = proposal.and_then(|p| Some((p.proposal.block_id.parts, blocks.get(&p.proposal.block_id)?)));
    let pol_round = proposal.and_then(|p| p.proposal.pol_round);
    let before = round.0.checked_sub(1).map(Round);
    RoundState {
        height,
        round,
        step: if engine.height() == height { engine.current_step() } else { types::Step::Propose },
        has_proposal: proposal.is_some(),
        parts_header: entry.map(|(header, _)| header),
        parts: entry.map(|(_, entry)| entry.parts.held().clone()).unwrap_or_default(),
        current: bits(round),
        previous: pol_round.or(before).map(bits),
        earliest_height: earliest,
    }
}

/// Whether a peer that stands at `theirs` holds a vote of validator `index` that we do not have.
pub(crate) fn holds_foreign_vote(engine: &Engine, theirs: &RoundState, index: u32) -> bool {
    let ours = |round: Round, vote_type: VoteType| {
        let held = engine.votes().round(round).map(|votes| votes.of(vote_type).held());
        held.is_some_and(|bits| bits.get(index))
    };
    std::iter::once(&theirs.current).chain(&theirs.previous).any(|votes| {
        votes.prevotes.get(index) && !ours(votes.round, VoteType::Prevote)
            || votes.precommits.get(index) && !ours(votes.round, VoteType::Precommit)
    })
}

/// Whether this very vote is held already.
pub(crate) fn holds(engine: &Engine, vote: &VerifiedVote) -> bool {
    let held = engine.votes().round(vote.vote.round).map(|votes| votes.of(vote.vote.vote_type));
    held.is_some_and(|set| set.votes().any(|other| other == vote))
}

/// As it is sent: shared by all who get it.
pub(crate) fn shared(message: PeerMessage) -> Arc<PeerMessage> {
    Arc::new(message)
}
