//! The connected peers: what they claim, the responses to their round states, and their messages that wait.
//!
//! A peer's round state is a claim, and only a reason to respond, within bounds that hold whatever it claims: one
//! response per step, to its newest state; [`ANSWERS_MAX`] responses and [`ANSWER_BYTES_MAX`] bytes in half a gossip
//! interval, for each place (height and round) once. Responses to all peers together are limited to [`STEP_BYTES_MAX`]
//! bytes per step; the remaining peers have their turn in the next step.
//!
//! Messages of the next height wait for it to start: [`WAITING_MAX`] messages and [`WAITING_BYTES_MAX`] bytes of each
//! peer, and only those signed by validators of that height. A message above the bound is dropped.
//!
//! No method that runs for each input reads all peers: the claims, the peers with news and the number of messages that
//! wait are kept up to date.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use types::{Height, NodeId, PeerMessage, Round, RoundState, SignedVote, Time};

use crate::{
    Checked,
    gossip::{BITS_BYTES_MAX, bits, bits_bytes, bytes_of},
    sync::Claim,
};

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

/// Maximum number of messages of a height that has not started here, for each peer.
const WAITING_MAX: usize = 64;

/// Maximum bytes of messages of a height that has not started here, for each peer.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Maximum memory for one peer in bytes: its view with its messages, and its places in the other maps.
const PEER_BYTES_MAX: usize = size_of::<(NodeId, PeerView)>()
    + BITS_BYTES_MAX
    + ANSWERS_MAX * size_of::<(Height, Round)>()
    + WAITING_BYTES_MAX
    + WAITING_MAX * (size_of::<Waiting>() + size_of::<(Height, usize)>())
    + size_of::<NodeId>()
    + size_of::<Claim>()
    + size_of::<(NodeId, Height)>();

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
    height: Height,
    /// The first height that the peer can serve.
    earliest: Height,
    /// The last height of which new messages are forwarded to the peer immediately.
    relay_until: Height,
    /// The newest round state of the peer.
    state: Option<RoundState>,
    /// True if the round state was not handled yet: the peer is in [`Peers::news`].
    is_new: bool,
    answers: Answers,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

/// The responses to a peer in the current half of a gossip interval.
#[derive(Debug, Default)]
struct Answers {
    since: Option<Time>,
    places: Vec<(Height, Round)>,
    bytes: usize,
}

/// The connected peers; the network bounds their number.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    views: BTreeMap<NodeId, PeerView>,
    /// The peer whose round state was handled last: the other peers have their turn first.
    last: Option<NodeId>,
    /// The peers whose newest round state was not handled yet.
    news: BTreeSet<NodeId>,
    /// Number of messages that wait, by their height.
    waiting: BTreeMap<Height, usize>,
    /// The greatest height of which messages are or were forwarded to a peer immediately.
    relay_until_max: Height,
    /// The claims of all peers; empty after one has changed, until they are read.
    claims: OnceCell<Arc<[Claim]>>,
    /// The heights in `claims`, for views.
    heights: OnceCell<Arc<[(NodeId, Height)]>>,
}

impl Peers {
    pub fn up(&mut self, peer: NodeId) {
        self.views.entry(peer).or_default();
        self.forget_claims();
    }

    pub fn down(&mut self, peer: NodeId) {
        let Some(view) = self.views.remove(&peer) else { return };
        view.waiting.iter().for_each(|waiting| self.forget_waiting(waiting.height));
        self.news.remove(&peer);
        self.forget_claims();
    }

    /// Returns true if the peer is connected.
    pub fn has(&self, peer: NodeId) -> bool {
        self.views.contains_key(&peer)
    }

    /// Returns what each peer claims to have, by ascending peer. Cost: a pass over all peers after a change, none
    /// otherwise.
    pub fn claims(&self) -> Arc<[Claim]> {
        let claim =
            |(peer, view): (&NodeId, &PeerView)| Claim { peer: *peer, height: view.height, earliest: view.earliest };
        self.claims.get_or_init(|| self.views.iter().map(claim).collect()).clone()
    }

    /// Returns the height that each peer claims to decide, by ascending peer. Cost: as [`Peers::claims`].
    pub fn heights(&self) -> Arc<[(NodeId, Height)]> {
        self.heights.get_or_init(|| self.views.iter().map(|(peer, view)| (*peer, view.height)).collect()).clone()
    }

    fn forget_claims(&mut self) {
        self.claims.take();
        self.heights.take();
    }

    /// Notes what a peer claims to have. Returns true if this changes its claim.
    pub fn claim(&mut self, peer: NodeId, height: Height, earliest: Height) -> bool {
        let is_change = self.views.get_mut(&peer).is_some_and(|view| view.claim(height, earliest));
        if is_change {
            self.forget_claims();
        }
        is_change
    }

    /// Raises the height that a peer claims to decide. Returns true if it was lower.
    pub fn raise_height(&mut self, peer: NodeId, height: Height) -> bool {
        match self.views.get(&peer) {
            Some(view) if view.height < height => self.claim(peer, height, view.earliest),
            _ => false,
        }
    }

    /// Notes a new round state of a peer. Returns true if this changes its claim.
    pub fn note_state(&mut self, peer: NodeId, state: RoundState) -> bool {
        let Some(view) = self.views.get_mut(&peer) else { return false };
        let is_change = view.claim(state.height, state.earliest_height);
        view.state = Some(state);
        if !std::mem::replace(&mut view.is_new, true) {
            self.news.insert(peer);
        }
        if is_change {
            self.forget_claims();
        }
        is_change
    }

    /// Forwards new messages to a peer immediately, up to those of height `until`.
    pub fn relay_to(&mut self, peer: NodeId, until: Height) {
        if let Some(view) = self.views.get_mut(&peer) {
            view.relay_until = until;
            self.relay_until_max = self.relay_until_max.max(until);
        }
    }

    /// Returns the peers to which new messages of `height` are forwarded immediately. `has_hidden`: there are peers for which
    /// `at_once` is true whatever they have shown. A peer at the next height takes late votes.
    pub fn relayed(
        &self,
        height: Height,
        has_hidden: bool,
        at_once: impl Fn(&NodeId) -> bool,
    ) -> impl Iterator<Item = (NodeId, &PeerView)> {
        let views = (has_hidden || self.relay_until_max >= height).then_some(&self.views).into_iter().flatten();
        let views = views.map(|(peer, view)| (*peer, view));
        let is_asked = move |view: &PeerView| view.relay_until >= height && view.height <= height.next();
        views.filter(move |(peer, view)| is_asked(view) || at_once(peer))
    }

    /// Returns true if the round state of a peer was not handled yet.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
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
        mut send: impl FnMut(NodeId, Arc<PeerMessage>),
    ) -> bool {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let upto = self.last.map_or(Bound::Unbounded, Bound::Included);
        let (first, second) = (self.news.range((after, Bound::Unbounded)), self.news.range((Bound::Unbounded, upto)));
        let rest = self.last.map(|_| second).into_iter().flatten();
        let news: Vec<NodeId> = first.chain(rest).copied().collect();
        let mut bytes = 0;
        for peer in news {
            if bytes >= STEP_BYTES_MAX {
                return true;
            }
            self.last = Some(peer);
            self.news.remove(&peer);
            let view = self.views.get_mut(&peer).expect("only connected peers have news");
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

    /// Keeps a message until `height` starts, and returns false if there is no room.
    pub fn keep(&mut self, peer: NodeId, height: Height, message: Checked, bytes: usize, received: Time) -> bool {
        let Some(view) = self.views.get_mut(&peer) else { return false };
        let fits = view.waiting.len() < WAITING_MAX && view.waiting_bytes + bytes <= WAITING_BYTES_MAX;
        if fits {
            view.waiting.push_back(Waiting { height, message, received, bytes });
            view.waiting_bytes += bytes;
            *self.waiting.entry(height).or_default() += 1;
        }
        fits
    }

    /// Returns true if a message of `height` waits for the height to start.
    pub fn is_waiting(&self, height: Height) -> bool {
        self.waiting.contains_key(&height)
    }

    /// Removes and returns the messages that waited for `height`, and drops older ones.
    pub fn take_waiting(&mut self, height: Height) -> Vec<(NodeId, Waiting)> {
        let mut taken = Vec::new();
        self.waiting.retain(|at, _| *at > height);
        for (peer, view) in &mut self.views {
            for waiting in std::mem::take(&mut view.waiting) {
                match waiting.height {
                    at if at == height => taken.push((*peer, waiting)),
                    at if at > height => view.waiting.push_back(waiting),
                    _ => {}
                }
            }
            view.waiting_bytes = view.waiting.iter().map(|waiting| waiting.bytes).sum();
        }
        taken
    }

    /// Returns the memory held for the peers in bytes; a message that waits counts as its encoded bytes and its place.
    pub fn bytes(&self) -> usize {
        let of = |view: &PeerView| {
            view.state.as_ref().map_or(0, bits_bytes)
                + view.answers.places.len() * size_of::<(Height, Round)>()
                + view.waiting_bytes
                + view.waiting.len() * size_of::<Waiting>()
        };
        let claims = self.claims.get().map_or(0, |claims| size_of_val(&claims[..]));
        let heights = self.heights.get().map_or(0, |heights| size_of_val(&heights[..]));
        self.views.values().map(of).sum::<usize>()
            + self.views.len() * size_of::<(NodeId, PeerView)>()
            + self.news.len() * size_of::<NodeId>()
            + self.waiting.len() * size_of::<(Height, usize)>()
            + claims
            + heights
    }

    /// Returns the maximum of [`Peers::bytes`] with the peers that are connected (I6).
    pub fn bytes_max(&self) -> usize {
        self.views.len() * PEER_BYTES_MAX
    }

    fn forget_waiting(&mut self, height: Height) {
        let count = self.waiting.get_mut(&height).expect("each message that waits is counted");
        *count -= 1;
        if *count == 0 {
            self.waiting.remove(&height);
        }
    }
}

impl PeerView {
    fn claim(&mut self, height: Height, earliest: Height) -> bool {
        let is_change = (self.height, self.earliest) != (height, earliest);
        (self.height, self.earliest) = (height, earliest);
        is_change
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::{Answer, PART_PROOF_BYTES};

    const MS: u64 = 1_000_000;

    fn now(ms: u64) -> Time {
        Time::from_unix_nanos((ms * MS) as i64)
    }

    fn state(round: u32) -> RoundState {
        RoundState::empty(Height(5), Round(round), 4, Height(1))
    }

    /// Responds to each state with one message of `part_bytes` bytes; returns the peers that received one, and whether
    /// some are left.
    fn answers(peers: &mut Peers, ms: u64, part_bytes: usize) -> (Vec<NodeId>, bool) {
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

    fn say(peers: &mut Peers, peer: NodeId, round: u32) {
        peers.up(peer);
        peers.note_state(peer, state(round));
    }

    #[test]
    fn a_peer_gets_one_answer_each_half_interval_and_a_bounded_number_when_it_moves() {
        let (mut peers, peer) = (Peers::default(), NodeId([1; 20]));
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
        let (mut peers, one) = (Peers::default(), NodeId([1; 20]));
        let mut sent = 0;
        for round in 0..3 {
            say(&mut peers, one, round);
            sent += answers(&mut peers, 1000, 2 * 1024 * 1024).0.len();
        }
        assert_eq!(sent, 2, "4 MiB in half an interval");
        (1..=5).for_each(|n| say(&mut peers, NodeId([n; 20]), 7));
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
    fn messages_that_wait_are_bounded_and_taken_by_height() {
        let mut peers = Peers::default();
        let peer = NodeId([1; 20]);
        peers.up(peer);
        let message = || Checked::Unchecked(PeerMessage::RoundState(state(0)));
        let keep = |peers: &mut Peers, height, bytes| peers.keep(peer, Height(height), message(), bytes, now(0));
        assert!(keep(&mut peers, 5, 10) && keep(&mut peers, 6, 10));
        assert!(!keep(&mut peers, 6, WAITING_BYTES_MAX), "too many bytes");
        while keep(&mut peers, 6, 1) {}
        assert_eq!(peers.views[&peer].waiting.len(), WAITING_MAX);
        assert!(peers.is_waiting(Height(5)) && peers.is_waiting(Height(6)) && !peers.is_waiting(Height(7)));
        assert_eq!(peers.take_waiting(Height(6)).len(), WAITING_MAX - 1);
        assert!(!peers.is_waiting(Height(5)), "what is older is forgotten");
    }

    #[test]
    fn messages_of_a_peer_that_leaves_do_not_wait() {
        let (mut peers, message) = (Peers::default(), || Checked::Unchecked(PeerMessage::RoundState(state(0))));
        for n in [1, 2] {
            peers.up(NodeId([n; 20]));
            assert!(peers.keep(NodeId([n; 20]), Height(6), message(), 10, now(0)));
        }
        peers.down(NodeId([1; 20]));
        assert!(peers.is_waiting(Height(6)));
        peers.down(NodeId([2; 20]));
        assert!(!peers.is_waiting(Height(6)) && peers.take_waiting(Height(6)).is_empty());
    }

    #[test]
    fn claims_are_collected_again_only_after_a_change() {
        let (mut peers, peer) = (Peers::default(), NodeId([1; 20]));
        peers.up(peer);
        assert!(peers.note_state(peer, state(0)), "a first claim");
        let first = peers.claims();
        assert_eq!(first[..], [Claim { peer, height: Height(5), earliest: Height(1) }]);
        assert!(!peers.note_state(peer, state(1)) && !peers.raise_height(peer, Height(5)));
        assert!(Arc::ptr_eq(&first, &peers.claims()), "another round is no other claim");
        assert!(peers.raise_height(peer, Height(6)));
        assert_eq!((peers.claims()[0].height, peers.heights()[..].to_vec()), (Height(6), vec![(peer, Height(6))]));
        peers.down(peer);
        assert!(peers.claims().is_empty() && peers.heights().is_empty() && !peers.has_news());
    }
}
