//! Block parts: the bytes of a block are cut into pieces that can be checked and forwarded one by one.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    BitSet, PartSetHeader,
    limits::{PART_BYTES, PART_MESSAGE_BYTES_MAX},
    merkle, pb,
    wire::{self, DecodeError, Wire},
};

/// One piece of a block, with the proof of its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Index of the part, from 0.
    pub index: u32,
    /// The bytes of the part, at most [`PART_BYTES`]; every part except the last has exactly this size.
    pub bytes: Vec<u8>,
    /// Merkle proof that leads to the root of the part set.
    pub proof: merkle::Proof,
}

/// A part whose bytes and proof agree, with the part set that they lead to. It is checked once and can be offered to
/// many sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedPart {
    part: Arc<Part>,
    header: PartSetHeader,
}

/// The parts of one block, all or some of them. Parts are shared, so putting one into a message copies no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSet {
    header: PartSetHeader,
    parts: Vec<Option<Arc<Part>>>,
    held: BitSet,
}

/// Reason why a part does not belong to a set. A peer that sends such a part is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PartError {
    /// The index is beyond the end of the set.
    #[error("part {got} of {total}")]
    Index {
        /// Index of the part.
        got: u32,
        /// Number of parts in the set.
        total: u32,
    },
    /// The size is wrong: a part before the last is not full, or the last is empty or too large.
    #[error("part {index} has a wrong size of {got} bytes")]
    Size {
        /// Index of the part.
        index: u32,
        /// Size of the part in bytes.
        got: usize,
    },
    /// The proof does not lead to the root of the set.
    #[error("part {index} is not in this block")]
    Proof {
        /// Index of the part.
        index: u32,
    },
}

const HASHER: merkle::Hasher = merkle::Hasher::Blake3;

impl PartSet {
    /// Cuts a block's bytes into parts, all of which are held. `bytes` must not be empty.
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

    /// Creates a set of which no part is held yet.
    pub fn empty(header: PartSetHeader) -> Self {
        Self { header, parts: vec![None; header.total as usize], held: BitSet::new(header.total) }
    }

    /// Returns the header that identifies the set.
    pub fn header(&self) -> PartSetHeader {
        self.header
    }

    /// Checks a part and takes it. Returns true if it is new, and false if a part with its index is already held.
    ///
    /// Errors: `Index` if the index is beyond the end of this set; the errors of [`Part::check`]; `Proof` if the part
    /// is of another set.
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

    /// Takes a part of this set that was checked before. Returns true if it is new.
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

    /// Returns the part at `index`, if it is held.
    pub fn get(&self, index: u32) -> Option<&Arc<Part>> {
        self.parts.get(index as usize)?.as_ref()
    }

    /// Returns the indices of the parts that are held.
    pub fn held(&self) -> &BitSet {
        &self.held
    }

    /// Returns true if every part is held.
    pub fn is_complete(&self) -> bool {
        self.held.is_full()
    }

    /// Returns the block's bytes, or `None` while a part is missing.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let parts: Option<Vec<&[u8]>> =
            self.parts.iter().map(|part| part.as_ref().map(|part| part.bytes.as_slice())).collect();
        Some(parts?.concat())
    }
}

impl Part {
    /// Computes the part set that this part belongs to. Cost: one hash of its bytes and one for each level of the tree.
    ///
    /// Errors: `Index`, `Size` or `Proof` if the part cannot belong to any set. The peer that sent it did not check it.
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
    /// Returns the header that identifies the set of this part.
    pub fn header(&self) -> PartSetHeader {
        self.header
    }

    /// Returns the part itself.
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
