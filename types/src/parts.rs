//! Block parts: a block's bytes cut into pieces that can be checked and forwarded one by one.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    BitSet, PartSetHeader,
    limits::{PART_BYTES, PART_MESSAGE_BYTES_MAX},
    merkle, pb,
    wire::{self, DecodeError, Wire},
};

/// One piece of a block, with the proof of its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place, from 0.
    pub index: u32,
    /// At most [`PART_BYTES`]; all but the last are full.
    pub bytes: Vec<u8>,
    /// Leads to the part set's root.
    pub proof: merkle::Proof,
}

/// A part whose bytes and proof agree, and the part set that they lead to: checked once, it can be offered to many sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedPart {
    part: Arc<Part>,
    header: PartSetHeader,
}

/// The parts of one block, all or some of them. Parts are shared: handing one out for a message copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSet {
    header: PartSetHeader,
    parts: Vec<Option<Arc<Part>>>,
    held: BitSet,
}

/// Why a part does not belong to a set. A peer that sends it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PartError {
    /// Index beyond the end.
    #[error("part {got} of {total}")]
    Index {
        /// The part's index.
        got: u32,
        /// Parts in the set.
        total: u32,
    },
    /// A part that is not the last is full, the last is not empty.
    #[error("part {index} has a wrong size of {got} bytes")]
    Size {
        /// The part's index.
        index: u32,
        /// Its bytes.
        got: usize,
    },
    /// The proof does not lead to the root.
    #[error("part {index} is not in this block")]
    Proof {
        /// The part's index.
        index: u32,
    },
}

const HASHER: merkle::Hasher = merkle::Hasher::Blake3;

impl PartSet {
    /// Cuts a block's bytes; all parts are held. `bytes` is not empty.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let chunks: Vec<&[u8]> = bytes.chunks(PART_BYTES).collect();
        let (hash, proofs) = merkle::proofs(HASHER, &chunks);
        let header = PartSetHeader { total: chunks.len() as u32, hash };
        let mut held = BitSet::new(header.total);
        (0..header.total).for_each(|index| held.set(index));
        let parts = chunks
            .into_iter()
            .zip(proofs)
            .map(|(chunk, proof)| Some(Arc::new(Part { index: proof.index, bytes: chunk.to_vec(), proof })))
            .collect();
        Self { header, parts, held }
    }

    /// A set of which no part is held yet.
    pub fn empty(header: PartSetHeader) -> Self {
        Self { header, parts: vec![None; header.total as usize], held: BitSet::new(header.total) }
    }

    /// What names the set.
    pub fn header(&self) -> PartSetHeader {
        self.header
    }

    /// Takes a part, after checking its place; true if it is new.
    pub fn add(&mut self, part: impl Into<Arc<Part>>) -> Result<bool, PartError> {
        let part = part.into();
        let (index, total) = (part.index, self.header.total);
        let slot = self.parts.get(index as usize).ok_or(PartError::Index { got: index, total })?;
        if slot.is_some() {
            return Ok(false);
        }
        let part = part.check()?;
        if part.header != self.header {
            return Err(PartError::Proof { index });
        }
        Ok(self.add_checked(part))
    }

    /// Takes a part of this set that was checked before; true if it is new.
    ///
    /// Panics if the part is of another set: the caller compares [`CheckedPart::header`] first.
    pub fn add_checked(&mut self, part: CheckedPart) -> bool {
        assert_eq!(part.header, self.header, "a part goes into its own set");
        let index = part.part.index;
        let slot = &mut self.parts[index as usize];
        if slot.is_some() {
            return false;
        }
        *slot = Some(part.part);
        self.held.set(index);
        true
    }

    /// The part at `index`, if held.
    pub fn get(&self, index: u32) -> Option<&Arc<Part>> {
        self.parts.get(index as usize)?.as_ref()
    }

    /// Which parts are held.
    pub fn held(&self) -> &BitSet {
        &self.held
    }

    /// Whether every part is held.
    pub fn is_complete(&self) -> bool {
        self.held.is_full()
    }

    /// The block's bytes, once complete.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let parts: Option<Vec<&[u8]>> =
            self.parts.iter().map(|part| part.as_ref().map(|part| part.bytes.as_slice())).collect();
        Some(parts?.concat())
    }
}

impl Part {
    /// Computes which part set this part belongs to. Cost: one hash of its bytes and one for each level of the tree.
    ///
    /// Errors: the part is of no set at all, so whoever sent it did not check it.
    pub fn check(self: Arc<Self>) -> Result<CheckedPart, PartError> {
        let (index, total) = (self.index, self.proof.total);
        if index >= total {
            return Err(PartError::Index { got: index, total });
        }
        let is_full = self.bytes.len() == PART_BYTES;
        let is_last = index + 1 == total;
        if !is_full && (!is_last || self.bytes.is_empty() || self.bytes.len() > PART_BYTES) {
            return Err(PartError::Size { index, got: self.bytes.len() });
        }
        if self.proof.index != index {
            return Err(PartError::Proof { index });
        }
        let hash = self.proof.root(HASHER, &self.bytes).map_err(|_| PartError::Proof { index })?;
        Ok(CheckedPart { part: self, header: PartSetHeader { total, hash } })
    }
}

impl CheckedPart {
    /// What names the set that this part is of.
    pub fn header(&self) -> PartSetHeader {
        self.header
    }

    /// The part.
    pub fn part(&self) -> &Arc<Part> {
        &self.part
    }
}

impl Wire for Part {
    type Pb = pb::Part;
    const NAME: &'static str = "part";
    const BYTES_MAX: usize = PART_MESSAGE_BYTES_MAX;

    fn to_pb(&self) -> pb::Part {
        pb::Part { index: self.index, bytes: self.bytes.clone(), proof: Some(self.proof.to_pb()) }
    }

    fn from_pb(pb: pb::Part) -> Result<Self, DecodeError> {
        if pb.bytes.len() > PART_BYTES {
            return Err(DecodeError::field(
                "part.bytes",
                format!("{} bytes, at most {PART_BYTES} are allowed", pb.bytes.len()),
            ));
        }
        Ok(Self {
            index: pb.index,
            bytes: pb.bytes,
            proof: merkle::Proof::from_pb(wire::required("part.proof", pb.proof)?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 7 + i / 256) as u8).collect()
    }

    #[test]
    fn parts_arrive_in_any_order_and_make_the_block() {
        for size in [1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES + 3] {
            let whole = PartSet::from_bytes(&block(size));
            let mut set = PartSet::empty(whole.header());
            for index in (0..whole.header().total).rev() {
                assert!(set.bytes().is_none());
                let part = Part::decode(&whole.get(index).unwrap().encode()).unwrap();
                assert_eq!(set.add(part.clone()), Ok(true));
                assert_eq!(set.add(part), Ok(false));
            }
            assert!(set.is_complete());
            assert_eq!(set.bytes(), Some(block(size)));
        }
    }

    #[test]
    fn foreign_parts_are_refused() {
        let whole = PartSet::from_bytes(&block(3 * PART_BYTES));
        let part = Part::clone(whole.get(1).unwrap());
        let mut set = PartSet::empty(whole.header());
        let mut bytes = part.bytes.clone();
        bytes[0] ^= 1;
        assert_eq!(set.add(Part { bytes, ..part.clone() }), Err(PartError::Proof { index: 1 }));
        assert_eq!(set.add(Part { index: 0, ..part.clone() }), Err(PartError::Proof { index: 0 }));
        assert_eq!(set.add(Part { index: 3, ..part.clone() }), Err(PartError::Index { got: 3, total: 3 }));
        assert_eq!(set.add(Part { bytes: vec![1], ..part.clone() }), Err(PartError::Size { index: 1, got: 1 }));
        assert_eq!(set.add(part), Ok(true));
    }

    #[test]
    fn a_checked_part_names_its_set() {
        let whole = PartSet::from_bytes(&block(2 * PART_BYTES + 9));
        for index in 0..3 {
            let part = whole.get(index).unwrap().clone();
            assert_eq!(part.clone().check().map(|part| part.header()), Ok(whole.header()));
            let mut bytes = part.bytes.clone();
            bytes[0] ^= 1;
            assert_eq!(Arc::new(Part { bytes, ..Part::clone(&part) }).check(), Err(PartError::Proof { index }));
            let proof = merkle::Proof { aunts: Vec::new(), ..part.proof.clone() };
            assert_eq!(Arc::new(Part { proof, ..Part::clone(&part) }).check(), Err(PartError::Proof { index }));
        }
    }
}
