//! Anti-entropy: peers tell each other where they stand and what they hold; whoever sees a peer lacking something sends it.
//!
//! A full mesh needs little of this: everybody says everything to everybody. What was lost, and what travels through nodes that
//! are connected to both sides (a validator behind sentries), is repaired here: at first within a gossip interval, then, once a
//! peer has shown that it hears nobody else ([`lacks_old`]), by forwarding to it at once for the next [`RELAY_HEIGHTS`] heights.
//!
//! | peer is | gets |
//! |---|---|
//! | at our height | proposal, parts and votes that it lacks of its round and of the one that it names as previous |
//! | there, in an earlier round | besides: what brought us into ours, our votes of it, the polka behind our `valid` |
//! | one height behind | the commit of that height, and parts of its block |
//! | further behind | nothing: it pulls blocks |
//!
//! Bounds: [`PARTS_MAX`] parts for each answer, one answer for each half gossip interval, place and round of the peer;
//! [`WAITING_MAX`] messages and [`WAITING_BYTES_MAX`] of the next height for each peer. A message too many is dropped.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use consensus::{Engine, votes::VoteSet};
use types::{
    BitSet, Certificate, Commit, Height, PartSet, PeerMessage, Round, RoundState, RoundVotes, SignedVote, Step, Time,
    VoteType,
};

use crate::{Checked, Peer, blocks::Blocks};

/// Heights for which a peer that hears nobody else gets everything at once.
pub(crate) const RELAY_HEIGHTS: u64 = 100;

/// Parts in one answer: 4 MiB.
const PARTS_MAX: usize = 64;

/// Messages of a height that has not started here, for each peer.
const WAITING_MAX: usize = 64;

/// Their bytes.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// A message of a height that has not started here.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub height: Height,
    pub message: Checked,
    pub received: Time,
    bytes: usize,
}

/// What is known of a peer, as it says.
#[derive(Debug, Default)]
pub(crate) struct PeerView {
    /// The height that it decides.
    pub height: Height,
    /// The first height that it can serve.
    pub earliest: Height,
    /// Gets what is new at once, up to this height.
    pub relay_until: Height,
    /// Where it last said it is, and what it holds.
    pub state: Option<RoundState>,
    repaired: Option<(Time, Height, Round)>,
    waiting: VecDeque<Waiting>,
}

/// The connected peers; the network bounds how many.
#[derive(Debug, Default)]
pub(crate) struct Peers(BTreeMap<Peer, PeerView>);

impl Peers {
    pub fn up(&mut self, peer: Peer) {
        self.0.entry(peer).or_default();
    }

    pub fn down(&mut self, peer: Peer) {
        self.0.remove(&peer);
    }

    pub fn get_mut(&mut self, peer: Peer) -> Option<&mut PeerView> {
        self.0.get_mut(&peer)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Peer, &PeerView)> {
        self.0.iter().map(|(peer, view)| (*peer, view))
    }

    /// Those that get what is new at `height` at once.
    pub fn relayed(&self, height: Height) -> impl Iterator<Item = (Peer, &PeerView)> {
        self.iter().filter(move |(_, view)| view.relay_until >= height && view.height <= height)
    }

    /// Whether a message of `height` waits for it to start.
    pub fn is_waiting(&self, height: Height) -> bool {
        self.0.values().any(|view| view.waiting.iter().any(|waiting| waiting.height == height))
    }

    /// Takes the messages that waited for `height`, and forgets older ones.
    pub fn take_waiting(&mut self, height: Height) -> Vec<(Peer, Waiting)> {
        let mut taken = Vec::new();
        for (peer, view) in &mut self.0 {
            for waiting in std::mem::take(&mut view.waiting) {
                match waiting.height {
                    at if at == height => taken.push((*peer, waiting)),
                    at if at > height => view.waiting.push_back(waiting),
                    _ => {}
                }
            }
        }
        taken
    }
}

impl PeerView {
    /// The peer's message is of this height, so it is there.
    pub fn note_height(&mut self, height: Height) {
        self.height = self.height.max(height);
    }

    /// Keeps a message until `height` starts; false if there is no room.
    pub fn keep(&mut self, height: Height, message: Checked, bytes: usize, received: Time) -> bool {
        let held: usize = self.waiting.iter().map(|waiting| waiting.bytes).sum();
        let fits = self.waiting.len() < WAITING_MAX && held + bytes <= WAITING_BYTES_MAX;
        if fits {
            self.waiting.push_back(Waiting { height, message, received, bytes });
        }
        fits
    }

    /// Whether the peer may be answered now: once for each half interval, unless it moved on.
    pub fn may_repair(&mut self, now: Time, interval: Duration, theirs: &RoundState) -> bool {
        let place = (theirs.height, theirs.round);
        let recent = self
            .repaired
            .is_some_and(|(at, height, round)| (height, round) == place && now.since(at) < interval / 2 && now >= at);
        if !recent {
            self.repaired = Some((now, theirs.height, theirs.round));
        }
        !recent
    }

    /// Whether it said that it holds this vote.
    pub fn holds(&self, vote: &SignedVote) -> bool {
        let Some(state) = self.state.as_ref().filter(|state| state.height == vote.vote.height) else { return false };
        [Some(&state.current), state.previous.as_ref()]
            .into_iter()
            .flatten()
            .filter(|votes| votes.round == vote.vote.round)
            .any(|votes| bits(votes, vote.vote.vote_type).get(vote.vote.validator_index))
    }
}

pub(crate) fn bits(votes: &RoundVotes, vote_type: VoteType) -> &BitSet {
    match vote_type {
        VoteType::Prevote => &votes.prevotes,
        VoteType::Precommit => &votes.precommits,
    }
}

/// Where we stand in a height that has started.
pub(crate) fn round_state(engine: &Engine, blocks: &Blocks, earliest: Height) -> RoundState {
    let held = |round| {
        let bits =
            |set: Option<&VoteSet>| set.map_or_else(|| BitSet::new(engine.validators().len() as u32), VoteSet::held);
        RoundVotes { round, prevotes: bits(engine.prevotes(round)), precommits: bits(engine.precommits(round)) }
    };
    let round = engine.round();
    let proposal = engine.proposal(round).map(|signed| &signed.proposal);
    let previous = proposal.and_then(|proposal| proposal.pol_round).or(round.0.checked_sub(1).map(Round));
    // What we gather comes before what we have.
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

/// Where we stand before a height has started.
pub(crate) fn waiting_state(height: Height, validators: u32, earliest: Height) -> RoundState {
    let none = BitSet::new(validators);
    RoundState {
        height,
        round: Round::ZERO,
        step: Step::Propose,
        has_proposal: false,
        parts_header: None,
        parts: BitSet::default(),
        current: RoundVotes { round: Round::ZERO, prevotes: none.clone(), precommits: none },
        previous: None,
        earliest_height: earliest,
    }
}

/// What a peer at our height lacks and we have.
pub(crate) fn repair(engine: &Engine, blocks: &Blocks, theirs: &RoundState) -> Vec<PeerMessage> {
    let mut answer = Vec::new();
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
    answer
}

/// What a peer lacks of the height that was decided last.
pub(crate) fn repair_last(commit: &Commit, parts: Option<&PartSet>, theirs: &RoundState) -> Vec<PeerMessage> {
    let mut answer: Vec<PeerMessage> = commit.to_certificate().into_iter().map(PeerMessage::Certificate).collect();
    if let Some(parts) = parts.filter(|parts| theirs.parts_header == Some(parts.header())) {
        answer.extend(missing_parts(commit.height, commit.round, parts, theirs));
    }
    answer
}

/// Our votes that are not in `theirs`, as one certificate.
fn missing(ours: &VoteSet, theirs: &BitSet) -> Option<Certificate> {
    let lacking = ours.first_votes().filter(|vote| !theirs.get(vote.vote.validator_index));
    Certificate::new(lacking.map(|vote| (**vote).clone()).collect()).ok()
}

fn missing_parts<'a>(
    height: Height,
    round: Round,
    parts: &'a PartSet,
    theirs: &RoundState,
) -> impl Iterator<Item = PeerMessage> + use<'a> {
    let theirs_held =
        if theirs.parts_header == Some(parts.header()) { theirs.parts.clone() } else { BitSet::default() };
    let lacking: Vec<u32> = parts.held().missing_in(&theirs_held).take(PARTS_MAX).collect();
    lacking.into_iter().filter_map(|index| parts.get(index).cloned()).map(move |part| PeerMessage::Part {
        height,
        round,
        part,
    })
}

/// Whether a peer lacks what we held `before`, a good part of a gossip interval ago: then nobody else tells it.
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

    const MS: u64 = 1_000_000;

    fn now(ms: u64) -> Time {
        Time::from_unix_nanos((ms * MS) as i64)
    }

    fn state(round: u32, prevotes: &[u32]) -> RoundState {
        let mut state = waiting_state(Height(5), 4, Height(1));
        state.round = Round(round);
        state.current.round = Round(round);
        prevotes.iter().for_each(|index| state.current.prevotes.set(*index));
        state
    }

    #[test]
    fn an_answer_each_half_interval_unless_the_peer_moved() {
        let mut view = PeerView::default();
        let second = Duration::from_secs(1);
        assert!(view.may_repair(now(1000), second, &state(0, &[])));
        assert!(!view.may_repair(now(1499), second, &state(0, &[1])));
        assert!(view.may_repair(now(1499), second, &state(1, &[])));
        assert!(!view.may_repair(now(1900), second, &state(1, &[])));
        assert!(view.may_repair(now(1999), second, &state(1, &[])));
    }

    #[test]
    fn who_lacks_what_is_old_hears_nobody_else() {
        assert!(lacks_old(&state(0, &[0, 1]), &state(0, &[0])));
        assert!(!lacks_old(&state(0, &[0, 1]), &state(0, &[0, 1, 2])), "it has more");
        assert!(!lacks_old(&state(0, &[0, 1]), &state(1, &[])), "it is elsewhere");
        let mut before = state(0, &[]);
        before.has_proposal = true;
        assert!(lacks_old(&before, &state(0, &[])));
    }

    #[test]
    fn messages_that_wait_are_bounded_and_taken_by_height() {
        let mut peers = Peers::default();
        let peer = Peer([1; 20]);
        peers.up(peer);
        let message = || Checked::Unchecked(PeerMessage::RoundState(state(0, &[])));
        let view = peers.get_mut(peer).unwrap();
        assert!(view.keep(Height(5), message(), 10, now(0)) && view.keep(Height(6), message(), 10, now(0)));
        assert!(!view.keep(Height(6), message(), WAITING_BYTES_MAX, now(0)), "too many bytes");
        while view.keep(Height(6), message(), 1, now(0)) {}
        assert_eq!(view.waiting.len(), WAITING_MAX);
        assert!(peers.is_waiting(Height(5)) && peers.is_waiting(Height(6)) && !peers.is_waiting(Height(7)));
        assert_eq!(peers.take_waiting(Height(6)).len(), WAITING_MAX - 1);
        assert!(!peers.is_waiting(Height(5)), "what is older is forgotten");
    }
}
