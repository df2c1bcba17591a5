//! A bounded set of small indices: which votes or parts somebody holds.

use crate::{
    limits::{PARTS_MAX, VALIDATORS_MAX},
    pb,
    wire::{DecodeError, Wire},
};

/// Bits `0..len`, all clear at first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BitSet {
    len: u32,
    bytes: Vec<u8>,
}

/// Most bits a peer may send: a set is over validators or over parts.
const BITS_MAX: u32 = if PARTS_MAX > VALIDATORS_MAX as u32 { PARTS_MAX } else { VALIDATORS_MAX as u32 };

impl BitSet {
    /// `len` clear bits.
    pub fn new(len: u32) -> Self {
        Self { len, bytes: vec![0; len.div_ceil(8) as usize] }
    }

    /// Number of bits, set or not.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no bits at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether bit `index` is set; bits beyond the end are clear.
    pub fn get(&self, index: u32) -> bool {
        index < self.len && self.bytes[index as usize / 8] & (1 << (index % 8)) != 0
    }

    /// Sets bit `index`; beyond the end nothing happens.
    pub fn set(&mut self, index: u32) {
        if index < self.len {
            self.bytes[index as usize / 8] |= 1 << (index % 8);
        }
    }

    /// Number of set bits.
    pub fn count(&self) -> u32 {
        self.bytes.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether every bit is set.
    pub fn is_full(&self) -> bool {
        self.count() == self.len
    }

    /// Indices of the set bits, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.len).filter(|index| self.get(*index))
    }

    /// Indices set here and not in `other`, ascending.
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
    fn refuses_what_does_not_fit() {
        let refused = |bits, bytes| BitSet::from_pb(pb::BitSet { bits, bytes }).is_err();
        assert!(
            refused(9, vec![0]) && refused(1, vec![2]) && refused(BITS_MAX + 1, vec![0; 33]) && refused(0, vec![0])
        );
    }
}
