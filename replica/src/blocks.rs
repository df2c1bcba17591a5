//! Blocks of the current height, assembled from their parts.
//!
//! A block is held only after an entitled source named it: the proposer of a round, a polka, a commit, or our own lock.
//! Parts are sent on a separate stream and may arrive before that; a limited number waits.
//!
//! A part arrives already hashed ([`crate::Verifier`]), which identifies its part set, so that it need not be tried
//! against each block. A part that belongs to no part set at all is an offence of its sender.
//!
//! Bounds: [`ENTRIES_MAX`] blocks, or those that the engine needs if they are more; [`EARLY_MAX`] waiting parts,
//! [`EARLY_PER_PEER_MAX`] of one peer. A block above the bound evicts the oldest that the engine does not need, and the
//! engine is informed ([`Blocks::take_dropped`]). A part above the bound is dropped, and the gossip repair sends it
//! again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use app::BlockTx;
use consensus::NEEDED_BLOCKS_MAX;
use types::{
    Block, BlockId, CheckedPart, Height, NodeId, PartSet, PartSetHeader, Round, VerifiedTx, Wire, limits::PART_BYTES,
};

use crate::mutation::{Mutation, mutated};

/// Maximum number of blocks of one height that are held, unless the engine needs more.
const ENTRIES_MAX: usize = 8;

/// Maximum number of parts that wait for the proposal that names their block: 16 MiB.
const EARLY_MAX: usize = 256;

/// Maximum number of waiting parts from one peer: a block of the default size.
const EARLY_PER_PEER_MAX: usize = 80;

/// What is known about the validity of a block.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Parts are missing, or the block was not checked yet.
    Unknown,
    /// Everything is valid except some signatures, which are still being checked.
    AwaitingTxs(Vec<BlockTx>),
    /// The block is a valid next block.
    Valid(Vec<VerifiedTx>),
    /// The block is not a valid next block, with the reason.
    Invalid(String),
}

/// A block that an entitled source named.
#[derive(Debug)]
pub(crate) struct Entry {
    pub parts: PartSet,
    /// Bytes of the block; empty until it is complete.
    pub bytes: Arc<Vec<u8>>,
    /// The decoded block, once it is complete and decodable.
    pub block: Option<Arc<Block>>,
    pub verdict: Verdict,
    /// The last round in which the block was named.
    pub round: Round,
    /// True if the complete block was judged.
    pub judged: bool,
    order: u64,
}

impl Entry {
    fn new(parts: PartSet, round: Round, order: u64) -> Self {
        Self { parts, bytes: Arc::default(), block: None, verdict: Verdict::Unknown, round, judged: false, order }
    }

    /// Decodes the block once it is complete. It is invalid if its header does not have the hash in the id.
    fn complete(&mut self, id: &BlockId) {
        let Some(bytes) = self.parts.bytes() else { return };
        match Block::decode(&bytes) {
            Ok(block) if block.header.hash() == id.hash => self.block = Some(Arc::new(block)),
            Ok(_) => self.verdict = Verdict::Invalid("the block id is not of this header".into()),
            Err(error) => self.verdict = Verdict::Invalid(error.to_string()),
        }
        self.bytes = Arc::new(bytes);
    }
}

/// Result of adding a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// The part is new and belongs to this block, which may now be complete.
    New(BlockId),
    /// The part is already held.
    Known,
    /// The part waits for the proposal that names its block.
    Early,
    /// The part was dropped, because there is no room for it.
    Dropped,
}

struct EarlyPart {
    peer: NodeId,
    height: Height,
    round: Round,
    part: CheckedPart,
}

/// The blocks of one height.
#[derive(Default)]
pub(crate) struct Blocks {
    entries: BTreeMap<BlockId, Entry>,
    early: VecDeque<EarlyPart>,
    named: u64,
    dropped: Vec<BlockId>,
}

impl Blocks {
    pub fn get(&self, id: &BlockId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub fn get_mut(&mut self, id: &BlockId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// Returns the blocks that are complete and not judged yet.
    pub fn unjudged(&self) -> Vec<BlockId> {
        let ready = |entry: &Entry| entry.parts.is_complete() && !entry.judged;
        self.entries.iter().filter(|(_, entry)| ready(entry)).map(|(id, _)| *id).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&BlockId, &Entry)> {
        self.entries.iter()
    }

    /// Adds an entry for a block that an entitled source named, with the parts that waited for it. Blocks in `keep` are
    /// not evicted.
    pub fn name(&mut self, height: Height, round: Round, id: BlockId, keep: &[BlockId]) -> &mut Entry {
        if !self.entries.contains_key(&id) {
            self.insert(id, PartSet::empty(id.parts), round, keep);
            self.replay(height, id.parts);
        }
        let entry = self.entries.get_mut(&id).expect("just inserted, and the newest is not pushed out");
        entry.round = entry.round.max(round);
        entry
    }

    /// Adds a whole block that was built here, read from the store, or decided.
    pub fn put(&mut self, round: Round, id: BlockId, parts: PartSet, keep: &[BlockId]) -> &mut Entry {
        self.insert(id, parts, round, keep);
        let entry = self.entries.get_mut(&id).expect("just inserted, and the newest is not pushed out");
        entry.complete(&id);
        entry
    }

    fn insert(&mut self, id: BlockId, parts: PartSet, round: Round, keep: &[BlockId]) {
        self.named += 1;
        self.entries.insert(id, Entry::new(parts, round, self.named));
        if mutated(Mutation::KeepBlocks) {
            return;
        }
        while self.entries.len() > ENTRIES_MAX {
            let others = self.entries.iter().filter(|(other, _)| **other != id && !keep.contains(other));
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.order).map(|(other, _)| *other) else { return };
            self.entries.remove(&oldest);
            self.dropped.push(oldest);
        }
    }

    /// Returns the blocks that were evicted since the last call, which the engine must not rely on any more.
    pub fn take_dropped(&mut self) -> Vec<BlockId> {
        std::mem::take(&mut self.dropped)
    }

    /// Adds a part that a peer sent for a round of `height`.
    pub fn add_part(&mut self, peer: NodeId, height: Height, round: Round, part: CheckedPart) -> Added {
        if !self.entries.keys().any(|id| id.parts == part.header()) {
            return self.keep_early(peer, height, round, part);
        }
        self.offer(&part).map_or(Added::Known, Added::New)
    }

    /// Adds a part to every block that lacks it, because a false id can name the parts of another block. Returns one of
    /// these blocks.
    fn offer(&mut self, part: &CheckedPart) -> Option<BlockId> {
        let mut added = None;
        for (id, entry) in self.entries.iter_mut().filter(|(id, _)| id.parts == part.header()) {
            if entry.parts.add_checked(part.clone()) {
                entry.complete(id);
                added = Some(*id);
            }
        }
        added
    }

    /// Keeps a part of a block that was not named yet, if there is room.
    ///
    /// A part whose block is never named is no offence: the proposal may have been lost on the way, or a proposer that
    /// sends two proposals may have sent it to others only, and a peer that forwards a part cannot know that. The cost
    /// of such parts is bounded by their room here and by the byte rate of a peer's connection; they are hashed outside
    /// of the replica's thread.
    pub fn keep_early(&mut self, peer: NodeId, height: Height, round: Round, part: CheckedPart) -> Added {
        let place = |part: &CheckedPart| (part.header(), part.part().index);
        if self.early.iter().any(|early| early.height == height && place(&early.part) == place(&part)) {
            return Added::Known;
        }
        let of_peer = self.early.iter().filter(|early| early.peer == peer).count();
        if self.early.len() >= EARLY_MAX || of_peer >= EARLY_PER_PEER_MAX {
            return Added::Dropped;
        }
        self.early.push_back(EarlyPart { peer, height, round, part });
        Added::Early
    }

    /// Adds the waiting parts of a block after it was named.
    fn replay(&mut self, height: Height, header: PartSetHeader) {
        let is_of = |early: &EarlyPart| early.height == height && early.part.header() == header;
        let (of, others) = std::mem::take(&mut self.early).into_iter().partition(is_of);
        self.early = others;
        let of: VecDeque<EarlyPart> = of;
        of.iter().for_each(|early| {
            self.offer(&early.part);
        });
    }

    /// Returns the memory held in bytes: parts, and for a complete block also its bytes, its decoded form and its
    /// transactions.
    pub fn bytes(&self) -> usize {
        let of = |entry: &Entry| {
            let parts: usize = (0..entry.parts.header().total)
                .filter_map(|index| entry.parts.get(index))
                .map(|part| part.bytes.len())
                .sum();
            parts + entry.bytes.len() * if entry.block.is_some() { 3 } else { 1 }
        };
        let early: usize = self.early.iter().map(|early| early.part.part().bytes.len()).sum();
        self.entries.values().map(of).sum::<usize>() + early
    }

    /// Returns the maximum memory in bytes when a block has at most `parts` parts (I6).
    pub fn bytes_max(parts: u64) -> usize {
        // The newest block is not evicted, even if the engine needs all others.
        let entries = ENTRIES_MAX.max(NEEDED_BLOCKS_MAX) + 1;
        (4 * entries * parts as usize + EARLY_MAX) * PART_BYTES
    }

    /// Removes and returns a block, to commit it.
    pub fn take(&mut self, id: &BlockId) -> Option<Entry> {
        self.entries.remove(id)
    }

    /// Removes all blocks, and the waiting parts below `height`.
    pub fn start(&mut self, height: Height) {
        self.entries.clear();
        self.dropped.clear();
        self.early.retain(|early| early.height >= height);
    }

    /// Removes the waiting parts of a peer that disconnected.
    pub fn forget_peer(&mut self, peer: NodeId) {
        self.early.retain(|early| early.peer != peer);
    }

    /// Removes the waiting parts of rounds that have passed.
    pub fn forget_rounds(&mut self, height: Height, below: Round) {
        self.early.retain(|early| early.height != height || early.round >= below);
    }
}

#[cfg(test)]
mod tests {
    use types::{Hash, limits::PART_BYTES};

    use super::*;
    use crate::chain::tests::first_block;

    const H: Height = Height(1);
    const R: Round = Round::ZERO;

    fn peer(n: u8) -> NodeId {
        NodeId([n; 20])
    }

    /// Returns a decodable block of three parts.
    fn large(seed: u8) -> (BlockId, PartSet) {
        let mut block = first_block();
        block.txs = (0..3).map(|i| vec![seed + i; 50_000]).collect();
        let parts = block.part_set();
        (block.id(&parts), parts)
    }

    fn part(parts: &PartSet, index: u32) -> CheckedPart {
        parts.get(index).unwrap().clone().check().unwrap()
    }

    #[test]
    fn parts_make_the_block_in_any_order() {
        let (id, parts) = large(1);
        let mut blocks = Blocks::default();
        blocks.name(H, R, id, &[]);
        assert_eq!(blocks.add_part(peer(1), H, R, part(&parts, 2)), Added::New(id));
        assert_eq!(blocks.add_part(peer(1), H, R, part(&parts, 2)), Added::Known);
        assert_eq!(blocks.add_part(peer(2), H, R, part(&parts, 0)), Added::New(id));
        assert!(blocks.get(&id).unwrap().block.is_none());
        assert!(blocks.unjudged().is_empty());
        assert_eq!(blocks.add_part(peer(1), H, R, part(&parts, 1)), Added::New(id));
        assert_eq!(blocks.unjudged(), [id]);
        assert_eq!(blocks.get(&id).unwrap().block.as_ref().unwrap().id(&parts), id);
    }

    #[test]
    fn early_parts_wait_for_their_proposal() {
        let (id, parts) = large(1);
        let mut blocks = Blocks::default();
        for index in 0..3 {
            assert_eq!(blocks.add_part(peer(1), H, R, part(&parts, index)), Added::Early);
        }
        assert!(blocks.name(H, R, id, &[]).block.is_some());
        assert!(blocks.early.is_empty());
    }

    #[test]
    fn early_parts_of_the_next_height_survive_the_change() {
        let (id, parts) = large(1);
        let mut blocks = Blocks::default();
        assert_eq!(blocks.keep_early(peer(1), H.next(), R, part(&parts, 0)), Added::Early);
        assert_eq!(blocks.keep_early(peer(1), H, R, part(&parts, 1)), Added::Early);
        blocks.start(H.next());
        assert!(blocks.name(H.next(), R, id, &[]).parts.held().get(0));
        assert!(!blocks.get(&id).unwrap().parts.held().get(1));
    }

    #[test]
    fn parts_of_an_equivocating_proposers_two_blocks_are_kept_apart() {
        let ((a, a_parts), (b, b_parts)) = (large(1), large(5));
        let mut blocks = Blocks::default();
        blocks.name(H, R, a, &[]);
        blocks.name(H, R, b, &[]);
        for index in 0..3 {
            blocks.add_part(peer(1), H, R, part(&b_parts, index));
            blocks.add_part(peer(1), H, R, part(&a_parts, index));
        }
        assert!(blocks.get(&a).unwrap().block.is_some() && blocks.get(&b).unwrap().block.is_some());
    }

    #[test]
    fn blocks_and_waiting_parts_are_bounded() {
        let mut blocks = Blocks::default();
        let locked = large(1).0;
        blocks.name(H, R, locked, &[]);
        for seed in 2..40 {
            let id = BlockId { hash: Hash([seed; 32]), ..locked };
            blocks.name(H, R, id, &[locked]);
            assert!(blocks.get(&id).is_some() && blocks.get(&locked).is_some());
        }
        assert_eq!(blocks.entries.len(), ENTRIES_MAX);
        let dropped: Vec<u8> = blocks.take_dropped().iter().map(|id| id.hash.0[0]).collect();
        assert_eq!(dropped, (2..33).collect::<Vec<u8>>(), "the oldest first, each reported once");
        assert!(blocks.take_dropped().is_empty());
        let many = PartSet::from_bytes(&vec![7; EARLY_MAX * PART_BYTES]);
        for from in 1..=4 {
            for index in 0..EARLY_PER_PEER_MAX as u32 + 5 {
                let _ =
                    blocks.add_part(peer(from), H, Round(u32::from(from)), part(&many, index + 40 * u32::from(from)));
            }
        }
        assert!(blocks.early.len() <= EARLY_MAX);
        assert!((1..=4).all(|n| blocks.early.iter().filter(|e| e.peer == peer(n)).count() <= EARLY_PER_PEER_MAX));
        blocks.forget_peer(peer(1));
        assert!(blocks.early.iter().all(|early| early.peer != peer(1)));
    }

    /// A proposer that sends two proposals may have sent the other one to others.
    #[test]
    fn a_part_of_another_block_waits_for_its_proposal() {
        let ((id, _), (other, parts)) = (large(1), large(5));
        let mut blocks = Blocks::default();
        blocks.name(H, R, id, &[]);
        assert_eq!(blocks.add_part(peer(1), H, R, part(&parts, 1)), Added::Early);
        assert_eq!(blocks.add_part(peer(2), H, R, part(&parts, 1)), Added::Known);
        assert!(blocks.name(H, R, other, &[]).parts.held().get(1));
    }

    #[test]
    fn a_block_that_differs_from_its_id_is_invalid() {
        let (id, parts) = large(1);
        let mut blocks = Blocks::default();
        let wrong = BlockId { hash: Hash([9; 32]), ..id };
        assert!(matches!(blocks.put(R, wrong, parts, &[]).verdict, Verdict::Invalid(_)));
        let garbage = PartSet::from_bytes(&[0xFF; 100]);
        let id = BlockId { hash: Hash([9; 32]), parts: garbage.header() };
        assert!(matches!(blocks.put(R, id, garbage, &[]).verdict, Verdict::Invalid(_)));
    }
}
