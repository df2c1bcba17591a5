//! A bounded set of small indices, for example the votes or the parts that a node holds.

use crate::{
    limits::{PARTS_MAX, VALIDATORS_MAX},
    pb,
    wire::{DecodeError, Wire},
};

/// A set of the bits `0..len`, all clear at first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BitSet {
    len: u32,
    bytes: Vec<u8>,
}

/// Maximum number of bits that a peer may send: a set is over validators or over parts.
const BITS_MAX: u32 = if PARTS_MAX > VALIDATORS_MAX as u32 { PARTS_MAX } else { VALIDATORS_MAX as u32 };

impl BitSet {
    /// Creates a set of `len` clear bits.
    pub fn new(len: u32) -> Self {
        Self { len, bytes: vec![0; len.div_ceil(8) as usize] }
    }

    /// Returns the number of bits, set or clear.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Returns true if the set has no bits (its length is 0).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns true if bit `index` is set; bits beyond the end are clear.
    pub fn get(&self, index: u32) -> bool {
        index < self.len && self.bytes[index as usize / 8] & (1 << (index % 8)) != 0
    }

    /// Sets bit `index`, or does nothing if it is beyond the end.
    pub fn set(&mut self, index: u32) {
        if index < self.len {
            self.bytes[index as usize / 8] |= 1 << (index % 8);
        }
    }

    /// Returns the number of set bits.
    pub fn count(&self) -> u32 {
        self.bytes.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Returns true if every bit is set.
    pub fn is_full(&self) -> bool {
        self.count() == self.len
    }

    /// Iterates over the indices of the set bits, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.len).filter(|index| self.get(*index))
    }

    /// Iterates over the indices that are set here and not in `other`, in ascending order.
    pub fn missing_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        self.iter().filter(|index| !other.get(*index))
    }
}

impl Wire for BitSet {
    type Pb = pb::BitSet;
    const NAME: &'static str = "bit set";
    const BYTES_MAX: usize = 1024;

    fn to_pb(&self) -> pb::BitSet {
        pb::BitSet { bits: self.len, bytes: self.bytes.clone() }
    }

    fn from_pb(pb: pb::BitSet) -> Result<Self, DecodeError> {
        if pb.bits > BITS_MAX || pb.bytes.len() != pb.bits.div_ceil(8) as usize {
            return Err(DecodeError::field("bit_set", format!("{} bits in {} bytes", pb.bits, pb.bytes.len())));
        }
        let spare = pb.bits % 8;
        if spare != 0 && pb.bytes.last().is_some_and(|last| last >> spare != 0) {
            return Err(DecodeError::field("bit_set", "bits beyond the end are set"));
        }
        Ok(Self { len: pb.bits, bytes: pb.bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_counts_and_compares() {
        let mut ours = BitSet::new(10);
        let mut theirs = BitSet::new(10);
        [0, 3, 9].iter().for_each(|i| ours.set(*i));
        [3, 4].iter().for_each(|i| theirs.set(*i));
        ours.set(10);
        assert_eq!(ours.count(), 3);
        assert_eq!(ours.missing_in(&theirs).collect::<Vec<_>>(), [0, 9]);
        assert_eq!(ours.iter().collect::<Vec<_>>(), [0, 3, 9]);
        assert!(!ours.get(10) && !ours.is_full());
        assert_eq!(BitSet::decode(&ours.encode()), Ok(ours));
    }

    #[test]
    fn bits_beyond_the_length_and_wrong_lengths_are_refused() {
        let refused = |bits, bytes| BitSet::from_pb(pb::BitSet { bits, bytes }).is_err();
        assert!(
            refused(9, vec![0]) && refused(1, vec![2]) && refused(BITS_MAX + 1, vec![0; 33]) && refused(0, vec![0])
        );
    }
}
