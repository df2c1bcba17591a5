//! Block sync: a node that is behind asks for decided blocks, checks them as it checks proposals, and goes back to consensus.
//!
//! It only pulls. It begins when a peer shows a greater height, ends when none does, and works any number of times.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use types::{
    Block, BlockAndCommit, BlockId, BlockRequest, BlockResponse, Commit, Height, PartSet, Time, Wire,
    limits::SYNC_BLOCKS_MAX,
};

use crate::{Offence, Peer};

/// How long a node that is one height behind waits for consensus to bring it along by itself.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// A decided block as a peer sent it, consistent in itself: its commit names exactly these bytes.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) peer: Peer,
    pub(crate) id: BlockId,
    pub(crate) block: Block,
    pub(crate) bytes: Vec<u8>,
    pub(crate) parts: PartSet,
    pub(crate) commit: Commit,
}

#[derive(Debug)]
struct Asked {
    request: u64,
    peer: Peer,
    from: Height,
    at: Time,
}

/// Where block sync stands.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    active: bool,
    /// The last height that each peer has, as it says.
    tips: BTreeMap<Peer, Height>,
    asked: Option<Asked>,
    next_request: u64,
    /// Blocks to apply, consecutive.
    queue: VecDeque<Synced>,
    /// The block being applied waits for its signatures.
    pub(crate) applying: Option<(BlockId, Commit)>,
}

impl Sync {
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// A peer shows that it has committed `tip`.
    pub(crate) fn peer_has(&mut self, peer: Peer, tip: Height) {
        let known = self.tips.entry(peer).or_default();
        *known = tip.max(*known);
    }

    /// A peer is gone, or did not serve: it is not asked until it shows its height again.
    pub(crate) fn forget(&mut self, peer: &Peer) {
        self.tips.remove(peer);
        if self.asked.as_ref().is_some_and(|asked| asked.peer == *peer) {
            self.asked = None;
        }
    }

    /// The greatest height that a peer shows.
    pub(crate) fn best(&self) -> Option<(Peer, Height)> {
        self.tips.iter().max_by_key(|(_, tip)| **tip).map(|(peer, tip)| (*peer, *tip))
    }

    /// Peers and their heights.
    pub(crate) fn tips(&self) -> impl Iterator<Item = (Peer, Height)> {
        self.tips.iter().map(|(peer, tip)| (*peer, *tip))
    }

    pub(crate) fn begin(&mut self) {
        self.active = true;
    }

    pub(crate) fn end(&mut self) {
        self.active = false;
        self.asked = None;
        self.queue.clear();
        self.applying = None;
    }

    /// The next block to apply.
    pub(crate) fn pop(&mut self) -> Option<Synced> {
        self.queue.pop_front()
    }

    /// What to ask next, if anything: one question at a time, and no more than a batch ahead of what is applied.
    pub(crate) fn ask(&mut self, now: Time, tip: Height) -> Option<(Peer, u64, BlockRequest)> {
        if !self.active || self.asked.is_some() || !self.queue.is_empty() || self.applying.is_some() {
            return None;
        }
        let (peer, _) = self.best().filter(|(_, best)| *best > tip)?;
        let request = self.next_request;
        self.next_request += 1;
        let from = tip.next();
        self.asked = Some(Asked { request, peer, from, at: now });
        Some((peer, request, BlockRequest { from, count: SYNC_BLOCKS_MAX }))
    }

    /// Gives up on a question that was not answered in time.
    pub(crate) fn expire(&mut self, now: Time, timeout: Duration) {
        if let Some(asked) = self.asked.take_if(|asked| now.since(asked.at) >= timeout) {
            self.forget(&asked.peer);
        }
    }

    /// Takes an answer. Errors: the peer, and what is wrong with its answer.
    pub(crate) fn answer(&mut self, request: u64, response: Option<BlockResponse>) -> Result<(), (Peer, Offence)> {
        let Some(asked) = self.asked.take_if(|asked| asked.request == request) else { return Ok(()) };
        let Some(response) = response.filter(|response| !response.blocks.is_empty()) else {
            self.forget(&asked.peer);
            return Ok(());
        };
        for (sent, index) in response.blocks.into_iter().zip(0..u64::from(SYNC_BLOCKS_MAX)) {
            match check(asked.peer, Height(asked.from.0 + index), sent) {
                Ok(synced) => self.queue.push_back(synced),
                Err(reason) => {
                    self.forget(&asked.peer);
                    return Err((asked.peer, Offence::BadResponse(reason)));
                }
            }
        }
        Ok(())
    }

    /// A block did not hold: nothing of what follows is used, and its peer is not asked again.
    pub(crate) fn reject(&mut self, peer: &Peer) {
        self.queue.clear();
        self.applying = None;
        self.forget(peer);
    }
}

fn check(peer: Peer, height: Height, sent: BlockAndCommit) -> Result<Synced, String> {
    let BlockAndCommit { block: bytes, commit } = sent;
    let block = Block::decode(&bytes).map_err(|e| e.to_string())?;
    let parts = PartSet::from_bytes(&bytes);
    let id = block.id(&parts);
    if (block.header.height, commit.height) != (height, height) {
        return Err(format!("block {} with a commit of {}, asked for {height}", block.header.height, commit.height));
    }
    if commit.block_id != id {
        return Err(format!("the commit of height {height} is of another block"));
    }
    Ok(Synced { peer, id, block, bytes, parts, commit })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Peer = Peer([1; 20]);
    const B: Peer = Peer([2; 20]);

    fn now() -> Time {
        Time::from_unix_millis(1_000_000)
    }

    #[test]
    fn asks_the_best_peer_once_and_another_after_a_time_out() {
        let mut sync = Sync::default();
        sync.peer_has(A, Height(10));
        sync.peer_has(B, Height(9));
        assert!(sync.ask(now(), Height(3)).is_none(), "not begun");
        sync.begin();
        let (peer, _, asked) = sync.ask(now(), Height(3)).unwrap();
        assert_eq!((peer, asked.from), (A, Height(4)));
        assert!(sync.ask(now(), Height(3)).is_none(), "one question at a time");
        sync.expire(now().saturating_add(Duration::from_secs(1)), Duration::from_secs(5));
        assert!(sync.ask(now(), Height(3)).is_none());
        sync.expire(now().saturating_add(Duration::from_secs(5)), Duration::from_secs(5));
        assert_eq!(sync.ask(now(), Height(3)).unwrap().0, B);
        assert!(Sync::default().ask(now(), Height(3)).is_none());
    }

    #[test]
    fn a_lie_about_the_height_costs_one_question() {
        let mut sync = Sync::default();
        sync.peer_has(A, Height(1_000_000));
        sync.begin();
        let (_, request, _) = sync.ask(now(), Height(3)).unwrap();
        let nothing = BlockResponse { earliest: Height(1), latest: Height(3), blocks: vec![] };
        assert_eq!(sync.answer(request, Some(nothing)), Ok(()));
        assert!(sync.ask(now(), Height(3)).is_none());
    }

    #[test]
    fn garbage_is_an_offence_and_an_answer_to_no_question_is_ignored() {
        let mut sync = Sync::default();
        sync.peer_has(A, Height(10));
        sync.begin();
        let (_, request, _) = sync.ask(now(), Height(3)).unwrap();
        assert_eq!(sync.answer(request + 1, None), Ok(()));
        let id = BlockId {
            hash: types::Hash([1; 32]),
            parts: types::PartSetHeader { total: 1, hash: types::Hash([1; 32]) },
        };
        let commit = Commit { height: Height(4), round: types::Round(0), block_id: id, signatures: vec![] };
        let blocks = vec![BlockAndCommit { block: vec![1, 2, 3], commit }];
        let garbage = BlockResponse { earliest: Height(1), latest: Height(10), blocks };
        assert!(matches!(sync.answer(request, Some(garbage)), Err((A, Offence::BadResponse(_)))));
    }
}
