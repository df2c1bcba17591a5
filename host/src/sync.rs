//! Block sync: which blocks to ask of whom.
//!
//! We are behind when a peer says, or its messages show, that it decides a later height. One height is normal for an instant, so it
//! must stay so for [`GRACE`]; two and more are asked for at once. One request is under way at a time, and the next is sent while
//! the blocks of the last are applied.
//!
//! Peers only claim heights. Who cannot deliver what it claims is left alone for a while, longer each time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use types::{BlockAndCommit, BlockId, BlockRequest, BlockResponse, Commit, Height, Time, limits::SYNC_BLOCKS_MAX};

use crate::Peer;

/// How long being one height behind is normal.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// How long a peer that failed is left alone, doubled each time.
const BACKOFF: Duration = Duration::from_secs(1);

/// Doublings of it.
const BACKOFF_DOUBLINGS: u32 = 6;

/// A peer's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub peer: Peer,
    /// The height that it decides: it has all blocks below.
    pub height: Height,
    /// The first height that it can serve.
    pub earliest: Height,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nobody is ahead.
    UpToDate,
    /// Somebody may be ahead; look again after this.
    LookAgain(Duration),
    /// Blocks are coming or being applied, or nobody who is ahead can serve them.
    Busy,
    /// Ask.
    Request { peer: Peer, request: u64, blocks: BlockRequest },
}

#[derive(Debug)]
struct Request {
    id: u64,
    peer: Peer,
    from: Height,
    count: u32,
    deadline: Time,
}

#[derive(Debug, Default)]
struct Standing {
    failures: u32,
    not_before: Time,
}

/// A decided block whose transactions are being checked.
#[derive(Debug)]
pub(crate) struct Applying {
    pub block_id: BlockId,
    pub commit: Commit,
}

/// The state of block sync.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    request: Option<Request>,
    requests: u64,
    queue: VecDeque<(Peer, BlockAndCommit)>,
    pub applying: Option<Applying>,
    /// Since when somebody has been ahead of this height.
    behind: Option<(Height, Time)>,
    /// At most one for each connected peer.
    standing: BTreeMap<Peer, Standing>,
}

impl Sync {
    /// What to do, when `next` is the height after the tip.
    pub fn plan(&mut self, now: Time, next: Height, timeout: Duration, claims: &[Claim]) -> Plan {
        let ahead = |claim: &&Claim| claim.height > next && !self.is_left_alone(now, claim.peer);
        let ahead: Vec<Claim> = claims.iter().filter(ahead).copied().collect();
        let in_work = self.request.is_some() || self.applying.is_some() || !self.queue.is_empty();
        let Some(best) = ahead.iter().map(|claim| claim.height).max() else {
            self.behind = None;
            return if in_work { Plan::Busy } else { Plan::UpToDate };
        };
        let since = match self.behind {
            Some((height, since)) if height == next && since <= now => since,
            _ => now,
        };
        self.behind = Some((next, since));
        if best == next.next() && !in_work && now.since(since) < GRACE {
            return Plan::LookAgain(GRACE - now.since(since));
        }
        let held = self.queue.len() as u64 + u64::from(self.applying.is_some());
        let from = Height(next.0 + held);
        if self.request.is_some() || held > u64::from(SYNC_BLOCKS_MAX) {
            return Plan::Busy;
        }
        let able: Vec<&Claim> = ahead.iter().filter(|claim| claim.height > from && claim.earliest <= from).collect();
        if able.is_empty() {
            return Plan::Busy;
        }
        let claim = able[(self.requests % able.len() as u64) as usize];
        let count = (claim.height.0 - from.0).min(u64::from(SYNC_BLOCKS_MAX)) as u32;
        self.requests += 1;
        let (id, peer) = (self.requests, claim.peer);
        self.request = Some(Request { id, peer, from, count, deadline: now.saturating_add(timeout) });
        Plan::Request { peer, request: id, blocks: BlockRequest { from, count } }
    }

    /// Whether blocks are coming or being applied.
    pub fn in_work(&self) -> bool {
        self.request.is_some() || self.applying.is_some() || !self.queue.is_empty()
    }

    fn is_left_alone(&self, now: Time, peer: Peer) -> bool {
        self.standing.get(&peer).is_some_and(|standing| now < standing.not_before)
    }

    /// The peer did not deliver what it claimed.
    pub fn fail(&mut self, now: Time, peer: Peer) {
        let standing = self.standing.entry(peer).or_default();
        standing.not_before = now.saturating_add(BACKOFF * (1 << standing.failures.min(BACKOFF_DOUBLINGS)));
        standing.failures = standing.failures.saturating_add(1);
        self.queue.retain(|(from, _)| *from != peer);
    }

    /// Gives up on a request whose time is over.
    pub fn expire(&mut self, now: Time) {
        if let Some(request) = self.request.take_if(|request| now >= request.deadline) {
            self.fail(now, request.peer);
        }
    }

    pub fn peer_down(&mut self, peer: Peer) {
        self.request.take_if(|request| request.peer == peer);
        self.standing.remove(&peer);
    }

    /// Takes an answer. Returns who sent it and, if it is not to our question, why.
    pub fn on_answer(
        &mut self,
        now: Time,
        id: u64,
        answer: Option<BlockResponse>,
    ) -> Option<(Peer, Result<Claim, String>)> {
        let request = self.request.take_if(|request| request.id == id)?;
        let peer = request.peer;
        let Some(answer) = answer else {
            self.fail(now, peer);
            return None;
        };
        if answer.blocks.len() > request.count as usize {
            self.fail(now, peer);
            return Some((peer, Err(format!("{} blocks, {} were asked for", answer.blocks.len(), request.count))));
        }
        if answer.blocks.is_empty() {
            self.fail(now, peer);
        }
        // Blocks that do not follow what is queued were asked for before something went wrong.
        for (at, block) in answer.blocks.into_iter().enumerate() {
            let expected = Height(request.from.0 + at as u64);
            if block.commit.height != expected {
                self.fail(now, peer);
                return Some((peer, Err(format!("a block of height {}, expected {expected}", block.commit.height))));
            }
            self.queue.push_back((peer, block));
        }
        let height = Height(answer.latest.0.min(i64::MAX as u64 - 2)).next();
        Some((peer, Ok(Claim { peer, height, earliest: answer.earliest })))
    }

    /// The block of `next`, if it is here. What is older, or does not follow, is forgotten.
    pub fn take(&mut self, next: Height) -> Option<(Peer, BlockAndCommit)> {
        while let Some((peer, block)) = self.queue.pop_front() {
            match block.commit.height {
                height if height == next => return Some((peer, block)),
                height if height > next => {
                    self.queue.clear();
                    return None;
                }
                _ => {}
            }
        }
        None
    }

    /// A peer's block was applied.
    pub fn delivered(&mut self, peer: Peer) {
        self.standing.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use types::{Hash, PartSetHeader, Round};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn now(ms: u64) -> Time {
        Time::from_unix_millis(10_000 + ms)
    }

    fn claim(n: u8, height: u64) -> Claim {
        Claim { peer: Peer([n; 20]), height: Height(height), earliest: Height(1) }
    }

    fn plan(sync: &mut Sync, ms: u64, next: u64, claims: &[Claim]) -> Plan {
        sync.plan(now(ms), Height(next), TIMEOUT, claims)
    }

    fn asks(plan: Plan) -> Option<(Peer, u64, u64, u32)> {
        match plan {
            Plan::Request { peer, request, blocks } => Some((peer, request, blocks.from.0, blocks.count)),
            _ => None,
        }
    }

    fn block(height: u64) -> BlockAndCommit {
        let block_id = BlockId { hash: Hash([1; 32]), parts: PartSetHeader { total: 1, hash: Hash([2; 32]) } };
        let commit = Commit { height: Height(height), round: Round(0), block_id, signatures: Vec::new() };
        BlockAndCommit { block: Vec::new(), commit }
    }

    fn answer(from: u64, count: u64) -> Option<BlockResponse> {
        let blocks = (from..from + count).map(block).collect();
        Some(BlockResponse { earliest: Height(1), latest: Height(99), blocks })
    }

    #[test]
    fn one_height_behind_is_normal_for_an_instant() {
        let mut sync = Sync::default();
        assert_eq!(plan(&mut sync, 0, 5, &[claim(1, 5)]), Plan::UpToDate);
        assert_eq!(plan(&mut sync, 0, 5, &[claim(1, 6)]), Plan::LookAgain(GRACE));
        assert_eq!(plan(&mut sync, 40, 5, &[claim(1, 6)]), Plan::LookAgain(Duration::from_millis(60)));
        assert_eq!(plan(&mut sync, 90, 6, &[claim(1, 7)]), Plan::LookAgain(GRACE), "we moved: it counts anew");
        assert_eq!(asks(plan(&mut sync, 190, 6, &[claim(1, 7)])), Some((Peer([1; 20]), 1, 6, 1)));
    }

    #[test]
    fn two_heights_behind_asks_at_once_and_prefetches() {
        let mut sync = Sync::default();
        let claims = [claim(1, 100), claim(2, 7)];
        assert_eq!(asks(plan(&mut sync, 0, 5, &claims)), Some((Peer([1; 20]), 1, 5, 64)));
        assert_eq!(plan(&mut sync, 0, 5, &claims), Plan::Busy);
        assert!(matches!(sync.on_answer(now(1), 1, answer(5, 64)), Some((_, Ok(_)))));
        assert_eq!(asks(plan(&mut sync, 1, 5, &claims)), Some((Peer([1; 20]), 2, 69, 31)));
        assert!(sync.on_answer(now(1), 2, answer(69, 31)).is_some());
        assert_eq!(plan(&mut sync, 1, 5, &claims), Plan::Busy, "two answers are held");
        for height in 5..100 {
            assert_eq!(sync.take(Height(height)).unwrap().1.commit.height, Height(height));
        }
        assert_eq!(plan(&mut sync, 1, 100, &claims), Plan::UpToDate);
    }

    #[test]
    fn who_cannot_deliver_is_left_alone_longer_each_time() {
        let mut sync = Sync::default();
        let liar = [claim(1, 1 << 60)];
        let mut at = 0;
        for wait in [1000, 2000, 4000] {
            assert!(asks(plan(&mut sync, at, 5, &liar)).is_some());
            sync.expire(now(at + 4999));
            assert_eq!(plan(&mut sync, at + 4999, 5, &liar), Plan::Busy);
            at += 5000;
            sync.expire(now(at));
            assert_eq!(plan(&mut sync, at, 5, &liar), Plan::UpToDate, "the claim does not count");
            assert_eq!(plan(&mut sync, at + wait - 1, 5, &liar), Plan::UpToDate);
            at += wait;
        }
    }

    #[test]
    fn answers_to_other_questions_are_refused() {
        let mut sync = Sync::default();
        plan(&mut sync, 0, 5, &[claim(1, 8)]);
        assert!(sync.on_answer(now(0), 9, answer(5, 1)).is_none(), "never asked");
        assert!(matches!(sync.on_answer(now(0), 1, answer(5, 4)), Some((_, Err(_)))), "more than asked for");
        plan(&mut sync, 0, 5, &[claim(2, 8)]);
        assert!(matches!(sync.on_answer(now(0), 2, answer(6, 1)), Some((_, Err(_)))), "another height");
        assert!(sync.take(Height(5)).is_none());
    }

    #[test]
    fn a_peer_that_forgot_our_next_block_is_not_asked() {
        let mut sync = Sync::default();
        let pruned = Claim { earliest: Height(50), ..claim(1, 100) };
        assert_eq!(plan(&mut sync, 0, 5, &[pruned]), Plan::Busy);
        assert_eq!(asks(plan(&mut sync, 0, 5, &[pruned, claim(2, 60)])).unwrap().0, Peer([2; 20]));
    }
}
