//! Gossip repair (anti-entropy): peers exchange their round states, and a node sends a peer what it lacks.
//!
//! A full mesh needs little of this, because every node sends every message to all. Lost messages, and messages that
//! must travel through nodes that are connected to both sides (a validator behind sentries), are repaired here: first
//! within a gossip interval, then, once a peer has shown that it receives messages from no other node ([`lacks_old`]),
//! by forwarding to it immediately for the next [`RELAY_HEIGHTS`] heights.
//!
//! | peer is | receives |
//! |---|---|
//! | at our height | proposal, parts and votes that it lacks of its round and of the round that it names as previous |
//! | at our height, in an earlier round | also what moved us to our round, our votes of it, our `valid` polka |
//! | one height behind | the commit of that height, and parts of its block |
//! | further behind | nothing: it requests blocks |
//!
//! A peer's round state is a claim, and only a reason to respond, within bounds that hold whatever it claims: one
//! response per step, to its newest state; [`ANSWERS_MAX`] responses and [`ANSWER_BYTES_MAX`] bytes in half a gossip
//! interval, for each place (height and round) once. Responses to all peers together are limited to [`STEP_BYTES_MAX`]
//! bytes per step; the remaining peers have their turn in the next step.
//!
//! Messages of the next height wait for it to start: [`WAITING_MAX`] messages and [`WAITING_BYTES_MAX`] bytes of each
//! peer, and only those signed by validators of that height. A message above the bound is dropped.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use consensus::{Engine, votes::VoteSet};
use types::{
    BitSet, Certificate, Commit, Height, PartSet, PeerMessage, Round, RoundState, RoundVotes, SignedVote, Time,
    VoteType, Wire, limits::VOTE_BYTES_MAX,
};

use crate::{Checked, Peer, blocks::Blocks};

/// Number of heights for which new messages are forwarded immediately to a peer that receives them from no other node.
pub(crate) const RELAY_HEIGHTS: u64 = 100;

/// Maximum number of responses to one peer in half a gossip interval; that number of rounds can fail in it and be
/// repaired.
const ANSWERS_MAX: usize = 4;

/// Maximum bytes of responses to one peer in half a gossip interval: a block of the default size, and all votes of two
/// rounds.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024 + 256 * 1024;

/// Maximum bytes of responses to all peers in one step, except for the last response. Encoding 1 MiB takes about 1 ms.
const STEP_BYTES_MAX: usize = 1024 * 1024;

/// Bytes counted for the proof of a part, in addition to its content.
const PART_PROOF_BYTES: usize = 1024;

/// Maximum number of messages of a height that has not started here, for each peer.
const WAITING_MAX: usize = 64;

/// Maximum bytes of messages of a height that has not started here, for each peer.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// A message of a height that has not started here.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub height: Height,
    pub message: Checked,
    pub received: Time,
    bytes: usize,
}

/// The state of a peer, as the peer claims it.
#[derive(Debug, Default)]
pub(crate) struct PeerView {
    /// The height that the peer is deciding.
    pub height: Height,
    /// The first height that the peer can serve.
    pub earliest: Height,
    /// The last height of which new messages are forwarded to the peer immediately.
    pub relay_until: Height,
    /// The newest round state of the peer.
    pub state: Option<RoundState>,
    /// True if the round state was not handled yet.
    is_new: bool,
    answers: Answers,
    waiting: VecDeque<Waiting>,
}

/// The responses to a peer in the current half of a gossip interval.
#[derive(Debug, Default)]
struct Answers {
    since: Option<Time>,
    places: Vec<(Height, Round)>,
    bytes: usize,
}

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

    fn extend(&mut self, messages: impl IntoIterator<Item = PeerMessage>) {
        let _ = messages.into_iter().all(|message| self.push(message));
    }
}

/// The connected peers; the network bounds their number.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    views: BTreeMap<Peer, PeerView>,
    /// The peer whose round state was handled last: the other peers have their turn first.
    last: Option<Peer>,
}

impl Peers {
    pub fn up(&mut self, peer: Peer) {
        self.views.entry(peer).or_default();
    }

    pub fn down(&mut self, peer: Peer) {
        self.views.remove(&peer);
    }

    pub fn get_mut(&mut self, peer: Peer) -> Option<&mut PeerView> {
        self.views.get_mut(&peer)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Peer, &PeerView)> {
        self.views.iter().map(|(peer, view)| (*peer, view))
    }

    /// Returns the peers to which new messages of `height` are forwarded immediately.
    pub fn relayed(&self, height: Height) -> impl Iterator<Item = (Peer, &PeerView)> {
        self.iter().filter(move |(_, view)| view.relay_until >= height && view.height <= height)
    }

    /// Returns true if the round state of a peer was not handled yet.
    pub fn has_news(&self) -> bool {
        self.views.values().any(|view| view.is_new)
    }

    /// Responds to the peers with new round states, each once, in turn. `answer` creates a response of at most a number
    /// of bytes.
    ///
    /// Returns true if peers are left for another step.
    pub fn answer_states(
        &mut self,
        now: Time,
        interval: Duration,
        mut answer: impl FnMut(&RoundState, usize) -> Vec<Arc<PeerMessage>>,
        mut send: impl FnMut(Peer, Arc<PeerMessage>),
    ) -> bool {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let upto = self.last.map_or(Bound::Unbounded, Bound::Included);
        let (first, second) = (self.views.range((after, Bound::Unbounded)), self.views.range((Bound::Unbounded, upto)));
        let rest = self.last.map(|_| second).into_iter().flatten();
        let news: Vec<Peer> = first.chain(rest).filter(|(_, view)| view.is_new).map(|(peer, _)| *peer).collect();
        let mut bytes = 0;
        for peer in news {
            if bytes >= STEP_BYTES_MAX {
                return true;
            }
            self.last = Some(peer);
            let view = self.views.get_mut(&peer).expect("it was there");
            view.is_new = false;
            let Some(state) = &view.state else { continue };
            let bytes_max = view.answers.bytes_left(now, interval, state);
            if bytes_max == 0 {
                continue;
            }
            let messages = answer(state, bytes_max);
            let sent = view.answers.note(state, &messages);
            bytes += sent;
            messages.into_iter().for_each(|message| send(peer, message));
        }
        false
    }

    /// Returns true if a message of `height` waits for the height to start.
    pub fn is_waiting(&self, height: Height) -> bool {
        self.views.values().any(|view| view.waiting.iter().any(|waiting| waiting.height == height))
    }

    /// Removes and returns the messages that waited for `height`, and drops older ones.
    pub fn take_waiting(&mut self, height: Height) -> Vec<(Peer, Waiting)> {
        let mut taken = Vec::new();
        for (peer, view) in &mut self.views {
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
    /// Keeps a message until `height` starts, and returns false if there is no room.
    pub fn keep(&mut self, height: Height, message: Checked, bytes: usize, received: Time) -> bool {
        let held: usize = self.waiting.iter().map(|waiting| waiting.bytes).sum();
        let fits = self.waiting.len() < WAITING_MAX && held + bytes <= WAITING_BYTES_MAX;
        if fits {
            self.waiting.push_back(Waiting { height, message, received, bytes });
        }
        fits
    }

    /// Notes a new round state of the peer.
    pub fn note_state(&mut self, state: RoundState) {
        (self.height, self.earliest, self.is_new) = (state.height, state.earliest_height, true);
        self.state = Some(state);
    }

    /// Returns true if the peer's round state contains this vote.
    pub fn holds(&self, vote: &SignedVote) -> bool {
        let Some(state) = self.state.as_ref().filter(|state| state.height == vote.vote.height) else { return false };
        [Some(&state.current), state.previous.as_ref()]
            .into_iter()
            .flatten()
            .filter(|votes| votes.round == vote.vote.round)
            .any(|votes| bits(votes, vote.vote.vote_type).get(vote.vote.validator_index))
    }
}

impl Answers {
    /// Returns the maximum bytes of a response now; 0 if none is allowed.
    fn bytes_left(&mut self, now: Time, interval: Duration, theirs: &RoundState) -> usize {
        if self.since.is_none_or(|since| now < since || now.since(since) >= interval / 2) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        if self.places.len() >= ANSWERS_MAX || self.places.contains(&(theirs.height, theirs.round)) {
            return 0;
        }
        ANSWER_BYTES_MAX.saturating_sub(self.bytes)
    }

    /// Notes a response and returns its bytes. An empty one is not counted.
    fn note(&mut self, theirs: &RoundState, messages: &[Arc<PeerMessage>]) -> usize {
        let bytes = messages.iter().map(|message| bytes_of(message)).sum();
        if bytes > 0 {
            self.places.push((theirs.height, theirs.round));
            self.bytes += bytes;
        }
        bytes
    }
}

/// Returns the bytes that a message of a response counts for; at least its encoded size.
fn bytes_of(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Part { part, .. } => part.bytes.len() + PART_PROOF_BYTES,
        PeerMessage::Certificate(certificate) => certificate.votes().len() * VOTE_BYTES_MAX,
        PeerMessage::Vote(_) | PeerMessage::Proposal(_) => VOTE_BYTES_MAX,
        PeerMessage::RoundState(_) => RoundState::BYTES_MAX,
    }
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

    const MS: u64 = 1_000_000;

    fn now(ms: u64) -> Time {
        Time::from_unix_nanos((ms * MS) as i64)
    }

    fn state(round: u32, prevotes: &[u32]) -> RoundState {
        let mut state = RoundState::empty(Height(5), Round(round), 4, Height(1));
        prevotes.iter().for_each(|index| state.current.prevotes.set(*index));
        state
    }

    /// Responds to each state with one message of `part_bytes` bytes; returns the peers that received one, and whether
    /// some are left.
    fn answers(peers: &mut Peers, ms: u64, part_bytes: usize) -> (Vec<Peer>, bool) {
        let proof = types::merkle::Proof { total: 1, index: 0, leaf_hash: types::blake3(b""), aunts: Vec::new() };
        let part = Arc::new(types::Part { index: 0, bytes: vec![0; part_bytes - PART_PROOF_BYTES], proof });
        let message = || PeerMessage::Part { height: Height(5), round: Round(0), part: part.clone() };
        let mut sent = Vec::new();
        let answer = |_: &RoundState, bytes_max: usize| {
            let mut answer = Answer::new(bytes_max);
            answer.extend(std::iter::repeat_with(message).take(1));
            answer.messages
        };
        let left = peers.answer_states(now(ms), Duration::from_secs(1), answer, |peer, _| sent.push(peer));
        (sent, left)
    }

    fn say(peers: &mut Peers, peer: Peer, round: u32) {
        peers.up(peer);
        peers.get_mut(peer).unwrap().note_state(state(round, &[]));
    }

    #[test]
    fn a_peer_gets_one_answer_each_half_interval_and_a_bounded_number_when_it_moves() {
        let (mut peers, peer) = (Peers::default(), Peer([1; 20]));
        let mut said = |ms, round| {
            say(&mut peers, peer, round);
            answers(&mut peers, ms, 2000).0.len()
        };
        assert_eq!([said(1000, 0), said(1499, 0), said(1499, 1), said(1499, 0)], [1, 0, 1, 0]);
        assert_eq!(
            [said(1499, 2), said(1499, 3), said(1499, 4), said(1499, 5)],
            [1, 1, 0, 0],
            "four places are enough"
        );
        assert_eq!([said(1500, 5), said(1500, 6)], [1, 1]);
        say(&mut peers, peer, 8);
        say(&mut peers, peer, 9);
        assert_eq!(answers(&mut peers, 3000, 2000).0.len(), 1, "only to its last round state");
        assert!(!peers.has_news() && answers(&mut peers, 9000, 2000).0.is_empty());
    }

    #[test]
    fn bytes_to_one_peer_are_bounded_and_all_peers_take_turns() {
        let (mut peers, one) = (Peers::default(), Peer([1; 20]));
        let mut sent = 0;
        for round in 0..3 {
            say(&mut peers, one, round);
            sent += answers(&mut peers, 1000, 2 * 1024 * 1024).0.len();
        }
        assert_eq!(sent, 2, "4 MiB in half an interval");
        (1..=5).for_each(|n| say(&mut peers, Peer([n; 20]), 7));
        let mut turns = Vec::new();
        loop {
            let (sent, left) = answers(&mut peers, 2000, STEP_BYTES_MAX / 2);
            turns.push(sent.iter().map(|peer| peer.0[0]).collect::<Vec<_>>());
            if !left {
                break;
            }
        }
        assert_eq!(turns, [vec![2, 3], vec![4, 5], vec![1]]);
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
