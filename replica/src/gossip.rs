//! Gossip repair (anti-entropy): peers exchange their round states, and a node sends a peer what it lacks.
//!
//! A full mesh needs little of this, because every node sends every message to all. Lost messages, and messages that
//! must travel through nodes that are connected to both sides (a validator behind sentries), are repaired here: first
//! within a gossip interval, then, once a peer has shown that it receives messages from no other node ([`lacks_old`]),
//! by forwarding to it immediately for the next [`crate::peers::RELAY_HEIGHTS`] heights. A sentry knows its hidden peers from
//! its configuration ([`crate::Config::hidden_peers`]), and forwards to and from them always.
//!
//! | peer is | receives |
//! |---|---|
//! | at our height | proposal, parts and votes that it lacks of its round and of the round that it names as previous |
//! | at our height, in an earlier round | also what moved us to our round, our votes of it, our `valid` polka |
//! | one height behind | the commit of that height, and parts of its block |
//! | further behind | nothing: it requests blocks |
//!
//! The bounds of responses are those of `peers.rs`.

use std::sync::Arc;

use consensus::{Engine, votes::VoteSet};
use types::{
    BitSet, Certificate, Commit, Height, PartSet, PeerMessage, Round, RoundState, RoundVotes, VoteType, Wire,
    limits::{PARTS_MAX, VALIDATORS_MAX, VOTE_BYTES_MAX},
};

use crate::blocks::Blocks;

/// Bytes counted for the proof of a part, in addition to its content.
pub(crate) const PART_PROOF_BYTES: usize = 1024;

/// A response to a round state, with the number of bytes that may still be added.
#[derive(Debug)]
pub(crate) struct Answer {
    pub messages: Vec<Arc<PeerMessage>>,
    bytes_left: usize,
}

impl Answer {
    /// Creates an empty response of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { messages: Vec::new(), bytes_left: bytes_max }
    }

    /// Adds a message if it fits, and returns true if it did.
    fn push(&mut self, message: PeerMessage) -> bool {
        let room = self.bytes_left.checked_sub(bytes_of(&message));
        if let Some(left) = room {
            self.bytes_left = left;
            self.messages.push(Arc::new(message));
        }
        room.is_some()
    }

    /// Adds messages up to the first that does not fit.
    pub fn extend(&mut self, messages: impl IntoIterator<Item = PeerMessage>) {
        let _ = messages.into_iter().all(|message| self.push(message));
    }
}

/// Returns the bytes that a message of a response counts for; at least its encoded size.
pub(crate) fn bytes_of(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Part { part, .. } => part.bytes.len() + PART_PROOF_BYTES,
        PeerMessage::Certificate(certificate) => certificate.votes().len() * VOTE_BYTES_MAX,
        PeerMessage::Vote(_) | PeerMessage::Proposal(_) => VOTE_BYTES_MAX,
        PeerMessage::RoundState(_) => RoundState::BYTES_MAX,
        PeerMessage::Evidence(evidence) => evidence.encode().len(),
    }
}

/// Maximum of [`bits_bytes`]: five sets, each over parts or over validators.
pub(crate) const BITS_BYTES_MAX: usize = 5 * (PARTS_MAX as usize + VALIDATORS_MAX).div_ceil(8);

/// Returns the bytes of the bit sets of a round state, which are the part of it that is not of fixed size.
pub(crate) fn bits_bytes(state: &RoundState) -> usize {
    let votes = [Some(&state.current), state.previous.as_ref()].into_iter().flatten();
    let sets = votes.flat_map(|votes| [&votes.prevotes, &votes.precommits]).chain([&state.parts]);
    sets.map(|set| set.len().div_ceil(8) as usize).sum()
}

pub(crate) fn bits(votes: &RoundVotes, vote_type: VoteType) -> &BitSet {
    match vote_type {
        VoteType::Prevote => &votes.prevotes,
        VoteType::Precommit => &votes.precommits,
    }
}

/// Returns our round state in a height that has started.
pub(crate) fn round_state(engine: &Engine, blocks: &Blocks, earliest: Height) -> RoundState {
    let held = |round| {
        let bits =
            |set: Option<&VoteSet>| set.map_or_else(|| BitSet::new(engine.validators().len() as u32), VoteSet::held);
        RoundVotes { round, prevotes: bits(engine.prevotes(round)), precommits: bits(engine.precommits(round)) }
    };
    let round = engine.round();
    let proposal = engine.proposal(round).map(|signed| &signed.proposal);
    let previous = proposal.and_then(|proposal| proposal.pol_round).or(round.0.checked_sub(1).map(Round));
    // A block that is incomplete here has priority over a complete one.
    let gathered = blocks.iter().filter(|(_, entry)| !entry.parts.is_complete()).max_by_key(|(_, entry)| entry.round);
    let entry = gathered.map(|(_, entry)| entry).or_else(|| blocks.get(&proposal?.block_id));
    RoundState {
        height: engine.height(),
        round,
        step: engine.current_step(),
        has_proposal: proposal.is_some(),
        parts_header: entry.map(|entry| entry.parts.header()),
        parts: entry.map(|entry| entry.parts.held().clone()).unwrap_or_default(),
        current: held(round),
        previous: previous.map(held),
        earliest_height: earliest,
    }
}

/// Returns what a peer at our height lacks and we have, votes and proposals before parts, within `bytes_max` bytes.
pub(crate) fn repair(engine: &Engine, blocks: &Blocks, theirs: &RoundState, bytes_max: usize) -> Vec<Arc<PeerMessage>> {
    let mut answer = Answer::new(bytes_max);
    if !theirs.has_proposal {
        answer.extend(engine.proposals(theirs.round).cloned().map(PeerMessage::Proposal));
    }
    if theirs.round < engine.round() {
        let here = [engine.prevotes(engine.round()), engine.precommits(engine.round())];
        let here = here.into_iter().flatten().filter_map(VoteSet::certificate);
        let polka = engine.valid_polka().cloned();
        answer
            .extend(engine.entry_certificates().iter().cloned().chain(here).chain(polka).map(PeerMessage::Certificate));
    }
    for votes in [Some(&theirs.current), theirs.previous.as_ref()].into_iter().flatten() {
        for vote_type in [VoteType::Prevote, VoteType::Precommit] {
            let ours = engine.votes().round(votes.round).map(|ours| ours.of(vote_type));
            answer.extend(ours.and_then(|ours| missing(ours, bits(votes, vote_type))).map(PeerMessage::Certificate));
        }
    }
    let gathers = |parts: &PartSet| match theirs.parts_header {
        Some(header) => parts.header() == header,
        None => engine.proposals(theirs.round).any(|signed| signed.proposal.block_id.parts == parts.header()),
    };
    for (_, entry) in blocks.iter().filter(|(_, entry)| gathers(&entry.parts)) {
        answer.extend(missing_parts(engine.height(), entry.round, &entry.parts, theirs));
    }
    answer.messages
}

/// Returns what a peer lacks of the height that was decided last, within `bytes_max` bytes.
pub(crate) fn repair_last(
    commit: &Commit,
    parts: Option<&PartSet>,
    theirs: &RoundState,
    bytes_max: usize,
) -> Vec<Arc<PeerMessage>> {
    let mut answer = Answer::new(bytes_max);
    answer.extend(commit.to_certificate().map(PeerMessage::Certificate));
    if let Some(parts) = parts.filter(|parts| theirs.parts_header == Some(parts.header())) {
        answer.extend(missing_parts(commit.height, commit.round, parts, theirs));
    }
    answer.messages
}

/// Returns our votes that are not in `theirs`, as one certificate.
fn missing(ours: &VoteSet, theirs: &BitSet) -> Option<Certificate> {
    let lacking = ours.first_votes().filter(|vote| !theirs.get(vote.vote.validator_index));
    Certificate::new(lacking.map(|vote| (**vote).clone()).collect()).ok()
}

fn missing_parts<'a>(
    height: Height,
    round: Round,
    parts: &'a PartSet,
    theirs: &'a RoundState,
) -> impl Iterator<Item = PeerMessage> + use<'a> {
    let same = theirs.parts_header == Some(parts.header());
    let lacking = parts.held().iter().filter(move |index| !(same && theirs.parts.get(*index)));
    lacking.filter_map(|index| parts.get(index).cloned()).map(move |part| PeerMessage::Part { height, round, part })
}

/// Returns true if a peer lacks what we held `before`, a quarter of a gossip interval ago or more: then no other node
/// sends it.
pub(crate) fn lacks_old(before: &RoundState, theirs: &RoundState) -> bool {
    if (before.height, before.round) != (theirs.height, theirs.round) {
        return false;
    }
    let lacks = |ours: &BitSet, theirs: &BitSet| ours.missing_in(theirs).next().is_some();
    (before.has_proposal && !theirs.has_proposal)
        || lacks(&before.current.prevotes, &theirs.current.prevotes)
        || lacks(&before.current.precommits, &theirs.current.precommits)
        || (before.parts_header.is_some()
            && before.parts_header == theirs.parts_header
            && lacks(&before.parts, &theirs.parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(round: u32, prevotes: &[u32]) -> RoundState {
        let mut state = RoundState::empty(Height(5), Round(round), 4, Height(1));
        prevotes.iter().for_each(|index| state.current.prevotes.set(*index));
        state
    }

    #[test]
    fn a_peer_that_lacks_a_message_held_before_lacks_old_messages() {
        assert!(lacks_old(&state(0, &[0, 1]), &state(0, &[0])));
        assert!(!lacks_old(&state(0, &[0, 1]), &state(0, &[0, 1, 2])), "it has more");
        assert!(!lacks_old(&state(0, &[0, 1]), &state(1, &[])), "it is elsewhere");
        let mut before = state(0, &[]);
        before.has_proposal = true;
        assert!(lacks_old(&before, &state(0, &[])));
    }
}
