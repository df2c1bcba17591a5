//! Block parts: a block's bytes cut into pieces that can be checked and forwarded one by one.

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

/// The parts of one block, all or some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSet {
    header: PartSetHeader,
    parts: Vec<Option<Part>>,
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
            .map(|(chunk, proof)| Some(Part { index: proof.index, bytes: chunk.to_vec(), proof }))
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
    pub fn add(&mut self, part: Part) -> Result<bool, PartError> {
        let (index, total) = (part.index, self.header.total);
        let slot = self.parts.get_mut(index as usize).ok_or(PartError::Index { got: index, total })?;
        if slot.is_some() {
            return Ok(false);
        }
        let full = part.bytes.len() == PART_BYTES;
        let last = index + 1 == total;
        if !full && (!last || part.bytes.is_empty() || part.bytes.len() > PART_BYTES) {
            return Err(PartError::Size { index, got: part.bytes.len() });
        }
        if (part.proof.index, part.proof.total) != (index, total)
            || part.proof.verify(HASHER, self.header.hash, &part.bytes).is_err()
        {
            return Err(PartError::Proof { index });
        }
        *slot = Some(part);
        self.held.set(index);
        Ok(true)
    }

    /// The part at `index`, if held.
    pub fn get(&self, index: u32) -> Option<&Part> {
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
        let part = whole.get(1).unwrap().clone();
        let mut set = PartSet::empty(whole.header());
        let mut bytes = part.bytes.clone();
        bytes[0] ^= 1;
        assert_eq!(set.add(Part { bytes, ..part.clone() }), Err(PartError::Proof { index: 1 }));
        assert_eq!(set.add(Part { index: 0, ..part.clone() }), Err(PartError::Proof { index: 0 }));
        assert_eq!(set.add(Part { index: 3, ..part.clone() }), Err(PartError::Index { got: 3, total: 3 }));
        assert_eq!(set.add(Part { bytes: vec![1], ..part.clone() }), Err(PartError::Size { index: 1, got: 1 }));
        assert_eq!(set.add(part), Ok(true));
    }
}
