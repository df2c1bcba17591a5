//! Proofs that a key has a value, or is absent, under a root.

use thiserror::Error;
use types::{DecodeError, Hash, Wire, pb};

use super::{
    node::{EMPTY_ROOT, Leaf, hash_pair},
    rows::{Path, bit, hash_value, path_of},
};

/// Number of bits of a path, and so the maximum number of siblings of a proof.
const DEPTH_MAX: usize = 256;

/// The path from the root to the place of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Hashes of the sibling subtrees, from the root down; at most 256.
    pub siblings: Vec<Hash>,
    /// End of the path: nothing, the key's leaf, or the only other leaf of that subtree.
    pub leaf: Option<ProofLeaf>,
}

/// A leaf, without its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofLeaf {
    /// Hash of the key: [`path_of`].
    pub path: Path,
    /// Hash of the value: [`hash_value`].
    pub value_hash: Hash,
}

/// The reason why a proof is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// There are more siblings than bits of a path.
    #[error("{got} siblings, at most {DEPTH_MAX} are possible")]
    TooDeep {
        /// Number of siblings in the proof.
        got: usize,
    },
    /// The leaf at the end contradicts the claim about the key.
    #[error("the proof is about another key or another value")]
    Leaf,
    /// The proof leads to another root.
    #[error("the proof leads to root {got}, expected {expected}")]
    Root {
        /// Root that the proof leads to.
        got: Hash,
        /// Root that the proof was checked against.
        expected: Hash,
    },
}

impl Proof {
    /// Checks that under `root` the key has this value, or is absent if `value` is `None`.
    ///
    /// Cost: one hash per sibling, and one of the value.
    ///
    /// Errors: [`ProofError`]; a proof that fails says nothing about the key.
    pub fn verify(&self, root: &Hash, key: &[u8], value: Option<&[u8]>) -> Result<(), ProofError> {
        let got = self.root(key, value)?;
        if got != *root {
            return Err(ProofError::Root { got, expected: *root });
        }
        Ok(())
    }

    /// Returns the root under which the key has this value, or is absent if `value` is `None`.
    ///
    /// Errors: [`ProofError::TooDeep`] for too many siblings, [`ProofError::Leaf`] if the leaf contradicts the claim.
    pub fn root(&self, key: &[u8], value: Option<&[u8]>) -> Result<Hash, ProofError> {
        if self.siblings.len() > DEPTH_MAX {
            return Err(ProofError::TooDeep { got: self.siblings.len() });
        }
        let path = path_of(key);
        let says_so = match (&self.leaf, value) {
            (None, None) => true,
            (Some(leaf), Some(value)) => leaf.path == path && leaf.value_hash == hash_value(value),
            (Some(leaf), None) => leaf.path != path && self.is_on_the_way(&leaf.path, &path),
            (None, Some(_)) => false,
        };
        if !says_so {
            return Err(ProofError::Leaf);
        }
        Ok(self.climb(&path))
    }

    fn is_on_the_way(&self, a: &Path, b: &Path) -> bool {
        (0..self.siblings.len() as u32).all(|depth| bit(a, depth) == bit(b, depth))
    }

    pub(super) fn climb(&self, path: &Path) -> Hash {
        let end = self.leaf.map_or(EMPTY_ROOT, |leaf| Leaf::new(leaf.path, leaf.value_hash).node().hash);
        self.siblings.iter().enumerate().rev().fold(end, |below, (depth, sibling)| {
            if bit(path, depth as u32) { hash_pair(sibling, &below) } else { hash_pair(&below, sibling) }
        })
    }
}

impl Wire for Proof {
    type Pb = pb::TreeProof;
    const NAME: &'static str = "tree proof";
    const BYTES_MAX: usize = DEPTH_MAX * 34 + 128;

    fn to_pb(&self) -> pb::TreeProof {
        pb::TreeProof {
            siblings: self.siblings.iter().map(|hash| hash.0.to_vec()).collect(),
            leaf: self
                .leaf
                .map(|leaf| pb::TreeLeaf { path: leaf.path.to_vec(), value_hash: leaf.value_hash.0.to_vec() }),
        }
    }

    fn from_pb(pb: pb::TreeProof) -> Result<Self, DecodeError> {
        if pb.siblings.len() > DEPTH_MAX {
            let reason = format!("{} elements, at most {DEPTH_MAX} are possible", pb.siblings.len());
            return Err(DecodeError::field("tree_proof.siblings", reason));
        }
        let leaf = |leaf: pb::TreeLeaf| {
            Ok(ProofLeaf {
                path: bytes32("tree_proof.leaf.path", &leaf.path)?,
                value_hash: Hash(bytes32("tree_proof.leaf.value_hash", &leaf.value_hash)?),
            })
        };
        Ok(Self {
            siblings: pb
                .siblings
                .iter()
                .map(|hash| bytes32("tree_proof.siblings", hash).map(Hash))
                .collect::<Result<_, _>>()?,
            leaf: pb.leaf.map(leaf).transpose()?,
        })
    }
}

pub(crate) fn bytes32(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::field(field, format!("{} bytes, expected 32", bytes.len())))
}
