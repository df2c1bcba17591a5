//! Block sync: decides which blocks to request from which peers.
//!
//! Peers only claim heights, and a claim is only a reason to send a request. A block is accepted only if its commit
//! verifies. Being one height behind is normal for a moment, so such a claim counts after [`GRACE`], or immediately
//! where a commit proves the height; a claim of two or more heights ahead counts immediately.
//!
//! | request for | sent to | maximum at a time |
//! |---|---|---|
//! | the first missing block | a peer that delivered before; if none, or it is slow, others too | [`FRESH_MAX`] |
//! | blocks after it | other peers, reliable ones first, up to [`WINDOW`] heights ahead | together with those |
//! | the range of heights | a peer that pruned our next block, while no commit proves that we are behind | one |
//!
//! A request that is older than a tenth of its timeout is slow: it no longer counts, and another peer gets a request
//! for the same blocks. A peer that serves nothing therefore delays the others only for a moment, and loses its own
//! standing: it gets no requests for an interval that doubles each time, it ranks behind all others, and it gets a
//! penalty. The standing is kept when the connection ends.
//!
//! Bounds: one request per peer; [`QUEUE_BYTES_MAX`] of blocks in the queue; the standings of [`STANDINGS_MAX`] peers.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use types::{
    BlockId, BlockRequest, Commit, CommitSig, Hash, Height, NodeId, Time,
    limits::{SYNC_BLOCKS_MAX, VALIDATORS_MAX},
};

use crate::{SyncedBlock, VerifiedCommit};

/// Duration for which being one height behind is normal.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// Backoff after the first failure of a peer; it doubles with each further failure.
const BACKOFF: Duration = Duration::from_secs(1);

/// Maximum number of doublings of the backoff, which is then 64 s.
const BACKOFF_DOUBLINGS: u32 = 6;

/// Maximum number of outstanding requests that are not slow yet.
const FRESH_MAX: usize = 4;

/// Maximum number of outstanding requests, including slow ones.
const REQUESTS_MAX: usize = 64;

/// A request is slow after its timeout divided by this number.
const SLOW_PART: u32 = 10;

/// Maximum number of blocks in a request to a peer that has delivered nothing yet, because a block that two peers
/// deliver is wasted.
const PROBE_BLOCKS: u32 = 8;

/// Number of heights beyond our next one that are requested.
const WINDOW: u64 = 2 * SYNC_BLOCKS_MAX as u64;

/// Maximum bytes of blocks that wait for earlier ones; above it the latest heights are dropped and requested again.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Maximum number of peers whose failures are remembered, connected or not; the one whose backoff ends first is evicted
/// first.
const STANDINGS_MAX: usize = 1024;

/// The range of heights that a peer claims to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub peer: NodeId,
    /// The height that the peer is deciding: it has all blocks below.
    pub height: Height,
    /// The first height that the peer can serve.
    pub earliest: Height,
}

/// The requests to send now, and the maximum delay until the next plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub asks: Vec<Ask>,
    pub look_after: Option<Duration>,
}

/// A request that the replica must send to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub peer: NodeId,
    pub request: u64,
    pub blocks: BlockRequest,
}

/// A request that was sent and not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub peer: NodeId,
    pub from: Height,
    pub count: u32,
    asked: Time,
    deadline: Time,
}

impl Request {
    fn covers(&self, height: Height) -> bool {
        self.from <= height && height.0 - self.from.0 < u64::from(self.count)
    }
}

/// The record of a peer in block sync.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    failures: u32,
    not_before: Time,
    /// True if it delivered blocks or useful signed messages since it last failed.
    delivered: bool,
    /// The number of the last request to the peer.
    asked: u64,
}

/// A decided block whose transactions are being checked.
#[derive(Debug)]
pub(crate) struct Applying {
    pub block_id: BlockId,
    pub commit: Arc<Commit>,
}

/// The state of block sync.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    requests: BTreeMap<u64, Request>,
    asked: u64,
    queue: BTreeMap<Height, (NodeId, SyncedBlock)>,
    queue_bytes: usize,
    /// True while a commit of the queue is being verified again.
    is_verifying: bool,
    pub applying: Option<Applying>,
    /// A height, and the time since when a peer claims to be one ahead of it.
    near: Option<(Height, Time)>,
    standings: BTreeMap<NodeId, Standing>,
}

impl Sync {
    /// Returns the requests to send, where `next` is the height after the tip and `proven` the greatest height that is
    /// proven to be decided.
    pub fn plan(&mut self, now: Time, next: Height, proven: Height, timeout: Duration, claims: &[Claim]) -> Plan {
        self.forget_below(next);
        let is_near = claims.iter().any(|claim| claim.height == next.next());
        let since = match self.near {
            Some((height, since)) if height == next && since <= now => since,
            _ => now,
        };
        self.near = is_near.then_some((next, since));
        let near_counts = proven >= next || now.since(since) >= GRACE;
        let counts = |claim: &&Claim| claim.height > next.next() || near_counts && claim.height == next.next();
        let mut claims: Vec<&Claim> =
            claims.iter().filter(counts).filter(|claim| self.may_ask(now, claim.peer)).collect();
        claims.sort_by_key(|claim| self.rank(claim.peer));
        let slow = timeout / SLOW_PART;
        let mut asks = Vec::new();
        for claim in &claims {
            let (from, count) = match self.wanted(now, next, slow, claim) {
                Some(wanted) => wanted,
                None => continue,
            };
            asks.push(self.ask(now, timeout, claim.peer, from, count));
        }
        let head = self.first_missing(next);
        let nobody_serves = asks.is_empty() && self.requests.is_empty() && claims.iter().all(|c| c.earliest > head);
        if let (true, true, Some(claim)) = (nobody_serves, proven < next, claims.first()) {
            asks.push(self.ask(now, timeout, claim.peer, head, 0));
        }
        let slow_at = |request: &Request| match request.asked.saturating_add(slow) {
            slow_at if slow_at > now => slow_at,
            _ => request.deadline,
        };
        let request_at = self.requests.values().map(|request| slow_at(request).since(now)).min();
        let grace = (is_near && !near_counts).then(|| GRACE - now.since(since));
        Plan { asks, look_after: request_at.into_iter().chain(grace).min() }
    }

    /// Returns the range to request from this peer: the first missing block, or the blocks after those already
    /// requested.
    fn wanted(&self, now: Time, next: Height, slow: Duration, claim: &Claim) -> Option<(Height, u32)> {
        let delivered = self.standings.get(&claim.peer).is_some_and(|standing| standing.delivered);
        let is_fresh = |request: &&Request| now >= request.asked && now.since(request.asked) < slow;
        let fresh = self.requests.values().filter(is_fresh);
        if self.requests.len() >= REQUESTS_MAX || fresh.clone().count() >= FRESH_MAX {
            return None;
        }
        let head = self.first_missing(next);
        let reliable = |request: &Request| self.standings.get(&request.peer).is_some_and(|standing| standing.delivered);
        let head_comes = fresh.clone().any(|request| request.covers(head) && reliable(request));
        let from = if head_comes { self.first_not_asked(head) } else { head };
        let end = claim.height.0.min(next.0 + WINDOW);
        let most = if delivered { SYNC_BLOCKS_MAX } else { PROBE_BLOCKS };
        let count = end.saturating_sub(from.0).min(u64::from(most)) as u32;
        (count > 0 && claim.earliest <= from).then_some((from, count))
    }

    fn ask(&mut self, now: Time, timeout: Duration, peer: NodeId, from: Height, count: u32) -> Ask {
        self.asked += 1;
        let request = Request { peer, from, count, asked: now, deadline: now.saturating_add(timeout) };
        self.requests.insert(self.asked, request);
        self.standing(peer).asked = self.asked;
        Ask { peer, request: self.asked, blocks: BlockRequest { from, count } }
    }

    /// Returns the first height that is neither held nor being applied.
    fn first_missing(&self, next: Height) -> Height {
        let mut height = Height(next.0 + u64::from(self.applying.is_some()));
        while self.queue.contains_key(&height) {
            height = height.next();
        }
        height
    }

    /// Returns the first height from `from` on that is neither held nor requested.
    fn first_not_asked(&self, from: Height) -> Height {
        let mut height = from;
        loop {
            let under_way = self.requests.values().filter(|request| request.covers(height));
            match under_way.map(|request| request.from.0 + u64::from(request.count)).max() {
                Some(end) => height = Height(end),
                None if self.queue.contains_key(&height) => height = height.next(),
                None => return height,
            }
        }
    }

    /// Returns true if blocks are available, or a request to a peer that delivered before is outstanding.
    pub fn is_delivering(&self) -> bool {
        let reliable = |request: &Request| self.standings.get(&request.peer).is_some_and(|standing| standing.delivered);
        self.applying.is_some() || !self.queue.is_empty() || self.requests.values().any(reliable)
    }

    fn may_ask(&self, now: Time, peer: NodeId) -> bool {
        let left_alone = self.standings.get(&peer).is_some_and(|standing| now < standing.not_before);
        !left_alone && self.requests.values().all(|request| request.peer != peer)
    }

    /// Returns the sort key of a peer; the lowest gets the first request.
    fn rank(&self, peer: NodeId) -> (Reverse<bool>, u32, u64, NodeId) {
        let standing = self.standings.get(&peer).copied().unwrap_or_default();
        (Reverse(standing.delivered), standing.failures, standing.asked, peer)
    }

    fn standing(&mut self, peer: NodeId) -> &mut Standing {
        if !self.standings.contains_key(&peer) && self.standings.len() >= STANDINGS_MAX {
            let first = self.standings.iter().min_by_key(|(_, standing)| standing.not_before).map(|(peer, _)| *peer);
            first.and_then(|first| self.standings.remove(&first));
        }
        self.standings.entry(peer).or_default()
    }

    /// Notes that the peer did not deliver what it claimed: its blocks are dropped, and it gets no requests during the
    /// backoff.
    pub fn fail(&mut self, now: Time, peer: NodeId) {
        let standing = self.standing(peer);
        standing.delivered = false;
        standing.not_before = now.saturating_add(BACKOFF * (1 << standing.failures.min(BACKOFF_DOUBLINGS)));
        standing.failures = standing.failures.saturating_add(1);
        self.drop_blocks(|_, from| from == peer);
        self.requests.retain(|_, request| request.peer != peer);
    }

    /// Ends the requests whose deadline has passed and returns their peers.
    pub fn expire(&mut self, now: Time) -> Vec<NodeId> {
        let over: Vec<NodeId> =
            self.requests.values().filter(|request| now >= request.deadline).map(|request| request.peer).collect();
        over.iter().for_each(|peer| self.fail(now, *peer));
        over
    }

    /// Notes that the peer disconnected. Its failures are remembered.
    pub fn peer_down(&mut self, peer: NodeId) {
        self.requests.retain(|_, request| request.peer != peer);
        if let Some(standing) = self.standings.get_mut(&peer) {
            standing.delivered = false;
            if standing.failures == 0 {
                self.standings.remove(&peer);
            }
        }
    }

    /// Removes and returns the request that a response answers; `None` if it expired or never existed.
    pub fn on_answer(&mut self, id: u64) -> Option<Request> {
        self.requests.remove(&id)
    }

    /// Adds the blocks of a response to the queue, except those that are already held.
    ///
    /// Errors: a sentence if the blocks are not the requested ones; then none is added.
    pub fn take_in(&mut self, next: Height, request: &Request, blocks: Vec<SyncedBlock>) -> Result<(), String> {
        if blocks.len() > request.count as usize {
            return Err(format!("{} blocks, but {} were requested", blocks.len(), request.count));
        }
        for (block, expected) in blocks.iter().zip(request.from.0..) {
            if block.commit.height.0 != expected {
                return Err(format!("a block of height {}, expected {expected}", block.commit.height));
            }
        }
        let wanted = next.0 + u64::from(self.applying.is_some());
        for block in blocks {
            let height = block.commit.height;
            if height.0 >= wanted && !self.queue.contains_key(&height) {
                self.queue_bytes += block.bytes;
                self.queue.insert(height, (request.peer, block));
            }
        }
        while self.queue_bytes > QUEUE_BYTES_MAX && self.queue.len() > 1 {
            let last = self.queue.pop_last();
            self.queue_bytes -= last.map_or(0, |(_, (_, block))| block.bytes);
        }
        Ok(())
    }

    /// Returns true if the block of `next` is held, and its commit was not verified against the validators of its
    /// height.
    pub fn lacks_verification(&self, next: Height, validators: impl FnOnce() -> Hash) -> bool {
        let by = |block: &SyncedBlock| block.verified.map(|verified| verified.validators);
        self.queue.get(&next).is_some_and(|(_, block)| by(block) != Some(validators()))
    }

    /// Returns the commit of the block of `next`, to be verified again; `None` while another verification is running.
    pub fn ask_verification(&mut self, next: Height) -> Option<Arc<Commit>> {
        let (_, block) = self.queue.get(&next).filter(|_| !self.is_verifying)?;
        self.is_verifying = true;
        Some(block.commit.clone())
    }

    /// Stores the result of a verification. The block may have been dropped since, or come from another peer with
    /// another commit.
    pub fn on_commit_verified(&mut self, VerifiedCommit { commit, verification }: VerifiedCommit) {
        self.is_verifying = false;
        if let Some((_, block)) = self.queue.get_mut(&commit.height)
            && block.commit == commit
        {
            block.verified = Some(verification);
        }
    }

    /// Removes and returns the block of `next`, if it is held.
    pub fn take(&mut self, next: Height) -> Option<(NodeId, SyncedBlock)> {
        let (peer, block) = self.queue.remove(&next)?;
        self.queue_bytes -= block.bytes;
        Some((peer, block))
    }

    /// Returns the memory held for block sync in bytes; a block counts as its encoded bytes and its commit.
    pub fn bytes(&self) -> usize {
        let commit = |commit: &Commit| size_of::<SyncedBlock>() + size_of_val(&commit.signatures[..]);
        let commits = self.queue.values().map(|(_, block)| &block.commit);
        let commits = commits.chain(self.applying.as_ref().map(|applying| &applying.commit));
        self.queue_bytes
            + commits.map(|one| commit(one)).sum::<usize>()
            + self.requests.len() * size_of::<(u64, Request)>()
            + self.standings.len() * size_of::<(NodeId, Standing)>()
    }

    /// Returns the maximum of [`Sync::bytes`] (I6). The queue has one block more than are requested ahead while one is
    /// being applied; the bytes of that one are in the blocks of the height.
    pub fn bytes_max() -> usize {
        QUEUE_BYTES_MAX
            + (WINDOW as usize + 2) * (size_of::<SyncedBlock>() + VALIDATORS_MAX * size_of::<CommitSig>())
            + REQUESTS_MAX * size_of::<(u64, Request)>()
            + STANDINGS_MAX * size_of::<(NodeId, Standing)>()
    }

    fn forget_below(&mut self, next: Height) {
        if self.queue.first_key_value().is_some_and(|(height, _)| *height < next) {
            self.drop_blocks(|height, _| height < next);
        }
    }

    fn drop_blocks(&mut self, drop: impl Fn(Height, NodeId) -> bool) {
        self.queue.retain(|height, (from, _)| !drop(*height, *from));
        self.queue_bytes = self.queue.values().map(|(_, block)| block.bytes).sum();
    }

    /// Notes that a block of this peer was valid.
    pub fn delivered(&mut self, peer: NodeId) {
        let standing = self.standing(peer);
        (standing.failures, standing.not_before, standing.delivered) = (0, Time::UNIX_EPOCH, true);
    }

    /// Notes that a signed message of this peer was new here: it probably has the blocks too, unless it failed before.
    pub fn was_useful(&mut self, peer: NodeId) {
        let standing = self.standing(peer);
        standing.delivered |= standing.failures == 0;
    }
}

#[cfg(test)]
mod tests {
    use types::{PartSetHeader, Round};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const NONE: Height = Height(0);

    fn now(ms: u64) -> Time {
        Time::from_unix_millis(10_000 + ms)
    }

    fn peer(n: u8) -> NodeId {
        NodeId([n; 20])
    }

    fn claim(n: u8, height: u64) -> Claim {
        Claim { peer: peer(n), height: Height(height), earliest: Height(1) }
    }

    fn plan(sync: &mut Sync, ms: u64, next: u64, claims: &[Claim]) -> Plan {
        sync.plan(now(ms), Height(next), NONE, TIMEOUT, claims)
    }

    /// Returns the requests of a plan: peer, first height, count.
    fn asked(plan: &Plan) -> Vec<(u8, u64, u32)> {
        plan.asks.iter().map(|ask| (ask.peer.0[0], ask.blocks.from.0, ask.blocks.count)).collect()
    }

    fn blocks(from: u64, count: u64) -> Vec<SyncedBlock> {
        let block_id = BlockId { hash: Hash([1; 32]), parts: PartSetHeader { total: 1, hash: Hash([2; 32]) } };
        let commit = |height| Commit { height: Height(height), round: Round(0), block_id, signatures: Vec::new() };
        (from..from + count)
            .map(|height| SyncedBlock { bytes: 100, parts: None, commit: commit(height).into(), verified: None })
            .collect()
    }

    /// Answers the peer's request in full.
    fn answers(sync: &mut Sync, next: u64, ask: &Ask) {
        let request = sync.on_answer(ask.request).unwrap();
        sync.take_in(Height(next), &request, blocks(ask.blocks.from.0, ask.blocks.count.into())).unwrap();
    }

    #[test]
    fn one_height_behind_is_normal_for_an_instant() {
        let mut sync = Sync::default();
        assert_eq!(plan(&mut sync, 0, 5, &[claim(1, 5)]), Plan::default());
        let wait = |after| Plan { asks: Vec::new(), look_after: Some(after) };
        assert_eq!(plan(&mut sync, 0, 5, &[claim(1, 6)]), wait(GRACE));
        assert_eq!(plan(&mut sync, 40, 5, &[claim(1, 6)]), wait(Duration::from_millis(60)));
        assert_eq!(
            plan(&mut sync, 90, 6, &[claim(1, 7)]),
            wait(GRACE),
            "this node advanced: the grace time starts again"
        );
        assert_eq!(asked(&plan(&mut sync, 190, 6, &[claim(1, 7)])), [(1, 6, 1)]);
        let mut sync = Sync::default();
        let proven = sync.plan(now(0), Height(5), Height(5), TIMEOUT, &[claim(1, 6)]);
        assert_eq!(asked(&proven), [(1, 5, 1)], "a commit proves it: no need to wait");
    }

    #[test]
    fn unproven_peers_are_asked_together_and_a_peer_that_delivered_is_asked_first() {
        let mut sync = Sync::default();
        let claims: Vec<Claim> = (1..=6).map(|n| claim(n, 200)).collect();
        let first = plan(&mut sync, 0, 5, &claims);
        assert_eq!(asked(&first), [(1, 5, 8), (2, 5, 8), (3, 5, 8), (4, 5, 8)]);
        answers(&mut sync, 5, &first.asks[2]);
        (5..13).for_each(|height| assert_eq!(sync.take(Height(height)).unwrap().0, peer(3)));
        sync.delivered(peer(3));
        // The other requests are not slow yet, so one more is allowed: to the peer that delivered.
        assert_eq!(asked(&plan(&mut sync, 10, 13, &claims)), [(3, 13, 64)]);
        // Now the other requests are slow. The peers without a request get the following blocks.
        assert_eq!(asked(&plan(&mut sync, 505, 13, &claims)), [(5, 77, 8), (6, 85, 8)]);
        assert_eq!(sync.expire(now(5000)), [peer(1), peer(2), peer(4)]);
    }

    #[test]
    fn fourteen_peers_that_serve_nothing_delay_sync_only_briefly() {
        let mut sync = Sync::default();
        let mut claims: Vec<Claim> = (1..=14).map(|n| claim(n, 1 << 60)).collect();
        claims.extend((15..=16).map(|n| claim(n, 100)));
        let (mut at, mut served) = (0, Vec::new());
        while served.is_empty() {
            let plan = plan(&mut sync, at, 5, &claims);
            served = plan.asks.into_iter().filter(|ask| ask.peer.0[0] > 14).collect();
            at += plan.look_after.unwrap().as_millis() as u64;
        }
        assert!(at <= 2500, "asked after {at} ms");
        served.iter().for_each(|ask| answers(&mut sync, 5, ask));
        sync.take(Height(5)).unwrap();
        sync.delivered(peer(15));
        assert_eq!(sync.expire(now(8_000)).len(), 14, "all pay for it");
        // Whatever the others claim later, the peer that delivered gets the first request.
        assert_eq!(asked(&plan(&mut sync, 90_000, 50, &claims))[0], (15, 50, 50));
    }

    #[test]
    fn a_second_peer_is_asked_when_a_proven_one_is_slow() {
        let mut sync = Sync::default();
        sync.was_useful(peer(1));
        let claims = [claim(1, 70), claim(2, 70)];
        let first = plan(&mut sync, 0, 6, &claims);
        assert_eq!(asked(&first), [(1, 6, 64)]);
        assert_eq!(first.look_after, Some(Duration::from_millis(500)));
        assert_eq!(asked(&plan(&mut sync, 499, 6, &claims)), []);
        assert_eq!(asked(&plan(&mut sync, 500, 6, &claims)), [(2, 6, 8)]);
    }

    #[test]
    fn a_peer_that_cannot_deliver_is_asked_less_and_less_often_even_after_reconnecting() {
        let mut sync = Sync::default();
        let liar = [claim(1, 1 << 60)];
        let mut at = 0;
        for wait in [1000, 2000, 4000] {
            assert_eq!(asked(&plan(&mut sync, at, 5, &liar)).len(), 1);
            assert!(sync.expire(now(at + 4999)).is_empty());
            assert_eq!(asked(&plan(&mut sync, at + 4999, 5, &liar)), []);
            at += 5000;
            assert_eq!(sync.expire(now(at)), [peer(1)]);
            sync.peer_down(peer(1));
            assert_eq!(plan(&mut sync, at, 5, &liar), Plan::default(), "the claim does not count");
            assert_eq!(plan(&mut sync, at + wait - 1, 5, &liar), Plan::default());
            at += wait;
        }
        sync.was_useful(peer(1));
        assert!(!sync.standings[&peer(1)].delivered, "claims do not compensate for it");
        for n in 0..2 * STANDINGS_MAX as u32 {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            sync.fail(now(at), NodeId(id));
        }
        assert_eq!(sync.standings.len(), STANDINGS_MAX);
    }

    #[test]
    fn answers_to_other_questions_are_refused_and_blocks_are_taken_once() {
        let mut sync = Sync::default();
        let ask = plan(&mut sync, 0, 5, &[claim(1, 8)]).asks[0];
        assert!(sync.on_answer(9).is_none(), "never asked");
        let request = sync.on_answer(ask.request).unwrap();
        assert!(sync.on_answer(ask.request).is_none(), "answered");
        assert!(sync.take_in(Height(5), &request, blocks(5, 4)).is_err(), "more than asked for");
        assert!(sync.take_in(Height(5), &request, blocks(6, 1)).is_err(), "another height");
        assert!(sync.take(Height(5)).is_none());
        sync.take_in(Height(5), &request, blocks(5, 3)).unwrap();
        sync.take_in(Height(6), &Request { peer: peer(2), ..request }, blocks(5, 3)).unwrap();
        assert_eq!(sync.take(Height(6)).unwrap().0, peer(1));
        sync.fail(now(0), peer(1));
        assert!(sync.take(Height(7)).is_none() && sync.queue_bytes == 0, "what it sent is dropped");
    }

    #[test]
    fn blocks_that_wait_are_bounded() {
        let mut sync = Sync::default();
        let ask = plan(&mut sync, 0, 5, &[claim(1, 1000)]).asks[0];
        let request = Request { count: 64, ..sync.on_answer(ask.request).unwrap() };
        let large =
            blocks(5, 20).into_iter().map(|block| SyncedBlock { bytes: QUEUE_BYTES_MAX / 4, ..block }).collect();
        sync.take_in(Height(5), &request, large).unwrap();
        assert_eq!((sync.queue.len(), sync.queue_bytes), (4, QUEUE_BYTES_MAX));
        assert!(sync.take(Height(5)).is_some(), "the next one stays");
    }

    #[test]
    fn a_peer_that_pruned_the_next_block_is_only_asked_for_its_range() {
        let mut sync = Sync::default();
        let pruned = Claim { earliest: Height(50), ..claim(1, 100) };
        assert_eq!(asked(&plan(&mut sync, 0, 5, &[pruned])), [(1, 5, 0)]);
        assert_eq!(asked(&plan(&mut sync, 0, 5, &[pruned, claim(2, 60)])), [(2, 5, 8)]);
        let mut sync = Sync::default();
        let proven = sync.plan(now(0), Height(5), Height(90), TIMEOUT, &[pruned]);
        assert_eq!(asked(&proven), [], "the range is known, and no peer has the block");
    }
}
