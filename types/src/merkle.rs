//! Merkle trees over ordered leaves, laid out as in RFC 6962 section 2.1, as Tendermint uses them.
//!
//! `leaf = H(0x00 ‖ bytes)`, `inner = H(0x01 ‖ left ‖ right)`, and the empty tree is `H("")`. A tree of n leaves splits
//! at the largest power of two below n.

use thiserror::Error;

use crate::{
    Hash, blake3_parts,
    mutation::{Mutation, mutated},
    pb,
    wire::{self, DecodeError, Wire},
};

/// Selects the hash function of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hasher {
    /// SHA-256, for trees that other software recomputes.
    Sha256,
    /// BLAKE3, for trees that only Cairn computes.
    Blake3,
}

impl Hasher {
    fn hash(self, parts: &[&[u8]]) -> Hash {
        match self {
            Self::Sha256 => {
                use sha2::{Digest, Sha256};
                let mut hasher = Sha256::new();
                for part in parts {
                    hasher.update(part);
                }
                Hash(hasher.finalize().into())
            }
            Self::Blake3 => blake3_parts(parts),
        }
    }

    fn leaf(self, bytes: &[u8]) -> Hash {
        self.hash(&[&[0], bytes])
    }

    fn inner(self, left: Hash, right: Hash) -> Hash {
        self.hash(&[&[1], &left.0, &right.0])
    }
}

/// Returns the Merkle root over `leaves`.
pub fn root(hasher: Hasher, leaves: &[impl AsRef<[u8]>]) -> Hash {
    match leaves {
        [] => hasher.hash(&[]),
        [leaf] => hasher.leaf(leaf.as_ref()),
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            hasher.inner(root(hasher, left), root(hasher, right))
        }
    }
}

fn split(leaves: usize) -> usize {
    leaves.next_power_of_two() / 2
}

/// A proof that a leaf is at an index of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Number of leaves in the tree.
    pub total: u32,
    /// Index of the leaf, from 0.
    pub index: u32,
    /// Hash of the leaf.
    pub leaf_hash: Hash,
    /// Hashes of the siblings on the path to the root, nearest first; at most 32.
    pub aunts: Vec<Hash>,
}

/// Reason why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// The leaf is not the one that the proof is for.
    #[error("the leaf is not the one proven")]
    Leaf,
    /// The path does not lead to the root.
    #[error("the path does not lead to the root")]
    Root,
}

const AUNTS_MAX: usize = 32;

impl Proof {
    /// Checks that `leaf` is at `self.index` among `self.total` leaves under `root`.
    ///
    /// Errors: `Leaf` if this proof is for another leaf, `Root` if its path does not lead to `root`.
    pub fn verify(&self, hasher: Hasher, root: Hash, leaf: &[u8]) -> Result<(), ProofError> {
        if self.root(hasher, leaf)? == root { Ok(()) } else { Err(ProofError::Root) }
    }

    /// Returns the root under which `leaf` is at `self.index` among `self.total` leaves.
    ///
    /// Errors: `Leaf` if this proof is for another leaf, `Root` if the length of its path does not fit the index.
    pub fn root(&self, hasher: Hasher, leaf: &[u8]) -> Result<Hash, ProofError> {
        if hasher.leaf(leaf) != self.leaf_hash && !mutated(Mutation::AnyPart) {
            return Err(ProofError::Leaf);
        }
        climb(hasher, self.index as usize, self.total as usize, self.leaf_hash, &self.aunts).ok_or(ProofError::Root)
    }
}

/// Returns the root that a leaf hash and its aunts lead to; `None` if the number of aunts does not fit.
fn climb(hasher: Hasher, index: usize, total: usize, leaf: Hash, aunts: &[Hash]) -> Option<Hash> {
    if index >= total {
        return None;
    }
    if total == 1 {
        return aunts.is_empty().then_some(leaf);
    }
    let (aunt, below) = aunts.split_last()?;
    let left_leaves = split(total);
    if index < left_leaves {
        Some(hasher.inner(climb(hasher, index, left_leaves, leaf, below)?, *aunt))
    } else {
        Some(hasher.inner(*aunt, climb(hasher, index - left_leaves, total - left_leaves, leaf, below)?))
    }
}

/// Returns the root over `leaves` and a proof for each of them. Cost: O(n log n) hashes.
pub fn proofs(hasher: Hasher, leaves: &[impl AsRef<[u8]>]) -> (Hash, Vec<Proof>) {
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| hasher.leaf(leaf.as_ref())).collect();
    let mut proofs: Vec<Proof> = hashes
        .iter()
        .enumerate()
        .map(|(index, leaf_hash)| Proof {
            total: leaves.len() as u32,
            index: index as u32,
            leaf_hash: *leaf_hash,
            aunts: Vec::new(),
        })
        .collect();
    let root = if hashes.is_empty() { hasher.hash(&[]) } else { collect_aunts(hasher, &hashes, &mut proofs) };
    (root, proofs)
}

fn collect_aunts(hasher: Hasher, hashes: &[Hash], proofs: &mut [Proof]) -> Hash {
    if let [leaf] = hashes {
        return *leaf;
    }
    let at = split(hashes.len());
    let (left_proofs, right_proofs) = proofs.split_at_mut(at);
    let left = collect_aunts(hasher, &hashes[..at], left_proofs);
    let right = collect_aunts(hasher, &hashes[at..], right_proofs);
    left_proofs.iter_mut().for_each(|proof| proof.aunts.push(right));
    right_proofs.iter_mut().for_each(|proof| proof.aunts.push(left));
    hasher.inner(left, right)
}

impl Wire for Proof {
    type Pb = pb::Proof;
    const NAME: &'static str = "proof";
    const BYTES_MAX: usize = 4096;

    fn to_pb(&self) -> pb::Proof {
        pb::Proof {
            total: i64::from(self.total),
            index: i64::from(self.index),
            leaf_hash: self.leaf_hash.0.to_vec(),
            aunts: self.aunts.iter().map(|aunt| aunt.0.to_vec()).collect(),
        }
    }

    fn from_pb(pb: pb::Proof) -> Result<Self, DecodeError> {
        wire::at_most("proof.aunts", pb.aunts.len(), AUNTS_MAX)?;
        let number = |field, value: i64| u32::try_from(value).map_err(|_| DecodeError::field(field, "is out of range"));
        Ok(Self {
            total: number("proof.total", pb.total)?,
            index: number("proof.index", pb.index)?,
            leaf_hash: wire::hash("proof.leaf_hash", &pb.leaf_hash)?,
            aunts: pb.aunts.iter().map(|aunt| wire::hash("proof.aunts", aunt)).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_is_proven_and_nothing_else() {
        for n in 0..40_usize {
            let leaves: Vec<Vec<u8>> = (0..n).map(|i| vec![i as u8; i % 5]).collect();
            for hasher in [Hasher::Sha256, Hasher::Blake3] {
                let (tree_root, proofs) = proofs(hasher, &leaves);
                assert_eq!(tree_root, root(hasher, &leaves));
                for (leaf, proof) in leaves.iter().zip(&proofs) {
                    assert_eq!(proof.verify(hasher, tree_root, leaf), Ok(()));
                    assert_eq!(proof.verify(hasher, tree_root, b"other"), Err(ProofError::Leaf));
                    assert_eq!(proof.verify(hasher, Hash::default(), leaf), Err(ProofError::Root));
                    let elsewhere = Proof { index: proof.index + 1, ..proof.clone() };
                    assert_eq!(elsewhere.verify(hasher, tree_root, leaf), Err(ProofError::Root));
                    let longer =
                        Proof { aunts: [proof.aunts.clone(), vec![Hash::default()]].concat(), ..proof.clone() };
                    assert_eq!(longer.verify(hasher, tree_root, leaf), Err(ProofError::Root));
                    assert_eq!(Proof::decode(&proof.encode()).as_ref(), Ok(proof));
                }
            }
        }
    }

    #[test]
    fn a_huge_total_costs_no_more_than_its_aunts() {
        let proof = Proof { total: u32::MAX, index: 0, leaf_hash: Hasher::Blake3.leaf(b""), aunts: vec![] };
        assert_eq!(proof.verify(Hasher::Blake3, Hash::default(), b""), Err(ProofError::Root));
    }
}
