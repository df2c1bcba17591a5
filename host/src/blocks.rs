//! The blocks of the height being decided: gathered from parts, or built here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use types::{Block, BlockId, Part, PartSet, Round, VerifiedTx, Wire};

use crate::Peer;

/// Blocks held at once. A correct height needs one or two; a Byzantine proposer can name two each round.
const BLOCKS_MAX: usize = 8;

/// Parts kept that came before the proposal that names their block, in all and of one peer.
const EARLY_MAX: usize = 128;
const EARLY_OF_PEER_MAX: usize = 32;

/// What is known about a block.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The parts held.
    pub(crate) parts: PartSet,
    /// The block, once complete.
    pub(crate) block: Option<Complete>,
    /// Whether the engine waits for a verdict.
    pub(crate) asked: bool,
    /// How far the check came.
    pub(crate) check: Check,
}

/// A block that is here as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Complete {
    pub(crate) block: Arc<Block>,
    pub(crate) bytes: Arc<Vec<u8>>,
}

/// How far the check of a block came.
#[derive(Debug)]
pub(crate) enum Check {
    /// Not begun, or its parts are not all here.
    Unknown,
    /// All but these signatures.
    Signatures(Vec<app::BlockTx>),
    /// Valid, with what is to be executed.
    Valid(Arc<Vec<VerifiedTx>>),
    /// Not a valid next block.
    Invalid(String),
}

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// New, and it completed this block.
    Complete(BlockId),
    /// New.
    New(BlockId),
    /// Held already, or of a block that is complete.
    Duplicate,
    /// Kept until a proposal names its block, or dropped for lack of room.
    Early,
}

#[derive(Debug)]
struct Early {
    peer: Peer,
    round: Round,
    part: Part,
}

/// The pool of one height.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    entries: BTreeMap<BlockId, Entry>,
    /// Oldest first.
    order: VecDeque<BlockId>,
    early: VecDeque<Early>,
}

impl Blocks {
    /// Makes room for a block that somebody entitled to it named. Returns whether parts that came early completed it.
    ///
    /// `pinned` are the blocks that must stay: locked, valid, own.
    pub(crate) fn expect(&mut self, id: BlockId, pinned: &[BlockId]) -> bool {
        if self.entries.contains_key(&id) {
            return false;
        }
        if self.order.len() >= BLOCKS_MAX {
            let Some(at) = self.order.iter().position(|old| !pinned.contains(old)) else { return false };
            let old = self.order.remove(at).expect("the position is in the queue");
            self.entries.remove(&old);
        }
        let parts = PartSet::empty(id.parts);
        self.entries.insert(id, Entry { parts, block: None, asked: false, check: Check::Unknown });
        self.order.push_back(id);
        let early = std::mem::take(&mut self.early);
        let mut complete = false;
        for Early { peer, round, part } in early {
            complete |= self.add(peer, round, part) == Added::Complete(id);
        }
        complete
    }

    /// A block that is here as a whole: built, synced, or restored.
    pub(crate) fn insert(&mut self, id: BlockId, block: Block, bytes: Vec<u8>, parts: PartSet, pinned: &[BlockId]) {
        self.expect(id, pinned);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.parts = parts;
            entry.block = Some(Complete { block: Arc::new(block), bytes: Arc::new(bytes) });
        }
    }

    /// Takes a part for whichever block it proves to belong to.
    pub(crate) fn add(&mut self, peer: Peer, round: Round, part: Part) -> Added {
        let fits = |entry: &Entry| entry.parts.header().total == part.proof.total;
        if self.entries.values().any(|e| fits(e) && e.parts.get(part.index).is_some_and(|held| *held == part)) {
            return Added::Duplicate;
        }
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| fits(entry) && entry.block.is_none()) {
            if entry.parts.add(part.clone()) != Ok(true) {
                continue;
            }
            if !entry.parts.is_complete() {
                return Added::New(*id);
            }
            entry.complete(id);
            return Added::Complete(*id);
        }
        let of_peer = self.early.iter().filter(|early| early.peer == peer).count();
        if self.early.len() < EARLY_MAX && of_peer < EARLY_OF_PEER_MAX {
            self.early.push_back(Early { peer, round, part });
        }
        Added::Early
    }

    pub(crate) fn get(&self, id: &BlockId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &BlockId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&BlockId, &Entry)> {
        self.entries.iter()
    }

    /// The next height begins. Parts that came early are kept: they may be of it.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

impl Entry {
    /// All parts are here: what they make is the block, or the id was a lie.
    fn complete(&mut self, id: &BlockId) {
        let bytes = self.parts.bytes().expect("all parts are held");
        match Block::decode(&bytes) {
            Ok(block) if block.header.hash() == id.hash => {
                self.block = Some(Complete { block: Arc::new(block), bytes: Arc::new(bytes) });
            }
            Ok(_) => self.check = Check::Invalid("its header is not the one that its id names".into()),
            Err(error) => self.check = Check::Invalid(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Hash, limits::PART_BYTES};

    const PEER: Peer = Peer([1; 20]);

    fn parts(seed: u8, n: usize) -> (BlockId, PartSet) {
        let set = PartSet::from_bytes(&vec![seed; n * PART_BYTES]);
        (BlockId { hash: Hash([seed; 32]), parts: set.header() }, set)
    }

    #[test]
    fn parts_that_come_before_their_proposal_are_kept() {
        let (id, set) = parts(1, 2);
        let mut blocks = Blocks::default();
        for index in 0..2 {
            assert_eq!(blocks.add(PEER, Round(0), set.get(index).unwrap().clone()), Added::Early);
        }
        assert!(blocks.expect(id, &[]));
        assert!(matches!(blocks.get(&id).unwrap().check, Check::Invalid(_)), "these bytes are no block");
        assert_eq!(blocks.add(PEER, Round(0), set.get(0).unwrap().clone()), Added::Duplicate);
    }

    #[test]
    fn early_parts_of_one_peer_are_bounded() {
        let mut blocks = Blocks::default();
        for seed in 0..100 {
            blocks.add(PEER, Round(0), parts(seed, 1).1.get(0).unwrap().clone());
        }
        assert_eq!(blocks.early.len(), EARLY_OF_PEER_MAX);
        for peer in 0..100 {
            blocks.add(Peer([peer; 20]), Round(0), parts(peer, 1).1.get(0).unwrap().clone());
        }
        assert!(blocks.early.len() <= EARLY_MAX);
    }

    #[test]
    fn a_flood_of_proposals_does_not_push_out_what_is_pinned() {
        let mut blocks = Blocks::default();
        let (pinned, _) = parts(0, 1);
        blocks.expect(pinned, &[]);
        for seed in 1..50 {
            blocks.expect(parts(seed, 1).0, &[pinned]);
        }
        assert!(blocks.get(&pinned).is_some());
        assert_eq!(blocks.entries.len(), BLOCKS_MAX);
        assert_eq!(blocks.order.len(), BLOCKS_MAX);
    }
}
