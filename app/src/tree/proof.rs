//! Proofs that a key has a value, or is absent, under a root.
//!
//! Their encoding is ICS-23's `CommitmentProof`, so that other software verifies them too. ICS-23 proves absence by the
//! two neighbours of a key: the leaves with the nearest smaller and the nearest greater path, with nothing between them. The
//! ways to the two are mostly the same, so an absence is encoded as ICS-23's compressed batch with one entry, which has each
//! sibling once.
//!
//! Our own verification accepts less than ICS-23 allows. The side of each sibling follows from the path, so a proof has
//! only one form, and a leaf is hashed by one rule only.

use thiserror::Error;
use types::{DecodeError, Hash, Wire, pb};

use super::{
    node::{EMPTY_ROOT, LEAF_PREFIX, Leaf, hash_pair},
    rows::{Path, bit, hash_value, path_of},
};

/// Number of bits of a path, and so the maximum number of siblings of a leaf.
pub const DEPTH_MAX: usize = 256;

/// ICS-23's number of BLAKE3.
const BLAKE3: i32 = 9;

/// ICS-23's number of "no length before the bytes".
const NO_LENGTH: i32 = 0;

/// A leaf with its key and value, and the way from the root to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existence {
    /// Raw key, not empty.
    pub key: Vec<u8>,
    /// Value under the key, not empty.
    pub value: Vec<u8>,
    /// Hashes of the sibling subtrees, from the root down; at most [`DEPTH_MAX`].
    pub siblings: Vec<Hash>,
}

/// A proof about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The key has a value.
    Existence(Existence),
    /// The key has no value, because it would lie between these two leaves and nothing does.
    Absence {
        /// The key that is absent.
        key: Vec<u8>,
        /// Leaf with the nearest smaller path; `None` if no path is smaller.
        left: Option<Existence>,
        /// Leaf with the nearest greater path; `None` if no path is greater. Only an empty tree has neither leaf.
        right: Option<Existence>,
    },
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
    /// The proof contradicts the claim about the key.
    #[error("the proof is about another key or another value")]
    Claim,
    /// The leaves in a proof of absence are not the neighbours of the key.
    #[error("the proof of absence does not show the two neighbours of the key")]
    Neighbours,
    /// The proof leads to another root.
    #[error("the proof leads to root {got}, expected {expected}")]
    Root {
        /// Root that the proof leads to.
        got: Hash,
        /// Root that the proof was checked against.
        expected: Hash,
    },
    /// The proof has another number of trees than the claim.
    #[error("the proof leads through {got} trees, expected {expected}")]
    Levels {
        /// Number of trees in the proof.
        got: usize,
        /// Number of trees from the app hash to the key.
        expected: usize,
    },
}

impl Existence {
    /// Returns the path of the key.
    pub fn path(&self) -> Path {
        path_of(&self.key)
    }

    /// Returns the root under which the key has the value. Cost: one hash per sibling, one of key and one of value.
    fn root(&self) -> Hash {
        let path = self.path();
        let leaf = Leaf::new(path, &hash_value(&self.value)).hash;
        self.siblings.iter().enumerate().rev().fold(leaf, |below, (depth, sibling)| {
            if bit(&path, depth as u32) { hash_pair(sibling, &below) } else { hash_pair(&below, sibling) }
        })
    }

    /// Checks that the leaf is in the tree with this root.
    ///
    /// Errors: [`ProofError::TooDeep`], [`ProofError::Root`].
    pub fn verify(&self, root: &Hash) -> Result<(), ProofError> {
        if self.siblings.len() > DEPTH_MAX {
            return Err(ProofError::TooDeep { got: self.siblings.len() });
        }
        check_root(self.root(), root)
    }

    /// Returns true if, from `depth` down, the way to the leaf leaves nothing on the side `greater` (or smaller) of it.
    fn is_outermost(&self, depth: usize, greater: bool) -> bool {
        let path = self.path();
        let mut below = self.siblings.iter().enumerate().skip(depth);
        below.all(|(depth, sibling)| bit(&path, depth as u32) == greater || *sibling == EMPTY_ROOT)
    }

    fn to_pb(&self) -> pb::ExistenceProof {
        let path = self.path();
        let op = |(depth, sibling): (usize, &Hash)| {
            let sibling = sibling.0.to_vec();
            let (prefix, suffix) = if bit(&path, depth as u32) { (sibling, vec![]) } else { (vec![], sibling) };
            pb::InnerOp { hash: BLAKE3, prefix, suffix }
        };
        pb::ExistenceProof {
            key: self.key.clone(),
            value: self.value.clone(),
            leaf: Some(leaf_op()),
            path: self.siblings.iter().enumerate().rev().map(op).collect(),
        }
    }

    fn from_pb(pb: pb::ExistenceProof) -> Result<Self, DecodeError> {
        let field = |field, reason: &str| Err(DecodeError::field(field, reason));
        if pb.key.is_empty() || pb.value.is_empty() {
            return field("existence_proof", "neither key nor value is empty");
        }
        if pb.leaf != Some(leaf_op()) {
            return field("existence_proof.leaf", "is not the rule for leaves of this chain");
        }
        if pb.path.len() > DEPTH_MAX {
            return field("existence_proof.path", "has more elements than a path has bits");
        }
        let path = path_of(&pb.key);
        let mut siblings = Vec::with_capacity(pb.path.len());
        for (depth, op) in pb.path.into_iter().rev().enumerate() {
            let (sibling, nothing) =
                if bit(&path, depth as u32) { (op.prefix, op.suffix) } else { (op.suffix, op.prefix) };
            match <[u8; 32]>::try_from(sibling) {
                Ok(sibling) if op.hash == BLAKE3 && nothing.is_empty() => siblings.push(Hash(sibling)),
                _ => return field("existence_proof.path", "is not one sibling on the side that the key determines"),
            }
        }
        Ok(Self { key: pb.key, value: pb.value, siblings })
    }
}

/// Returns the rule for leaves in ICS-23's terms.
fn leaf_op() -> pb::LeafOp {
    pb::LeafOp {
        hash: BLAKE3,
        prehash_key: BLAKE3,
        prehash_value: BLAKE3,
        length: NO_LENGTH,
        prefix: LEAF_PREFIX.to_vec(),
    }
}

fn check_root(got: Hash, expected: &Hash) -> Result<(), ProofError> {
    if got == *expected { Ok(()) } else { Err(ProofError::Root { got, expected: *expected }) }
}

impl Proof {
    /// Returns the key that the proof is about.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Existence(leaf) => &leaf.key,
            Self::Absence { key, .. } => key,
        }
    }

    /// Returns the value that the proof claims for its key; `None` if it claims that the key is absent.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Existence(leaf) => Some(&leaf.value),
            Self::Absence { .. } => None,
        }
    }

    /// Checks that under `root` the key has this value, or is absent if `value` is `None`.
    ///
    /// Cost: one hash per sibling, and one of each key and value.
    ///
    /// Errors: [`ProofError`]; a proof that fails says nothing about the key.
    pub fn verify(&self, root: &Hash, key: &[u8], value: Option<&[u8]>) -> Result<(), ProofError> {
        if self.key() != key || self.value() != value {
            return Err(ProofError::Claim);
        }
        match self {
            Self::Existence(leaf) => leaf.verify(root),
            Self::Absence { left: None, right: None, .. } => check_root(EMPTY_ROOT, root),
            Self::Absence { key, left, right } => {
                let (left, right) = (left.as_ref(), right.as_ref());
                [left, right].into_iter().flatten().try_for_each(|leaf| leaf.verify(root))?;
                let is_between = are_neighbours(&path_of(key), left, right);
                if is_between { Ok(()) } else { Err(ProofError::Neighbours) }
            }
        }
    }
}

/// Returns true if `path` is between two leaves of a tree, and no other leaf is.
fn are_neighbours(path: &Path, left: Option<&Existence>, right: Option<&Existence>) -> bool {
    let is_ordered = left.is_none_or(|left| left.path() < *path) && right.is_none_or(|right| *path < right.path());
    // The depth below which both leaves have their own way.
    let fork = match (left, right) {
        (Some(left), Some(right)) => 1 + common_bits(&left.path(), &right.path()),
        _ => 0,
    };
    is_ordered
        && left.is_none_or(|left| left.is_outermost(fork, true))
        && right.is_none_or(|right| right.is_outermost(fork, false))
}

/// Returns the number of leading bits that two different paths share.
fn common_bits(a: &Path, b: &Path) -> usize {
    (0..DEPTH_MAX as u32).take_while(|depth| bit(a, *depth) == bit(b, *depth)).count()
}

impl Wire for Proof {
    type Pb = pb::CommitmentProof;
    const NAME: &'static str = "commitment proof";
    /// Two ways of 256 siblings that share none take 20 KiB; the rest is for the keys and values of two leaves.
    const BYTES_MAX: usize = 256 * 1024;

    fn to_pb(&self) -> pb::CommitmentProof {
        use pb::{commitment_proof::Proof as Kind, compressed_batch_entry::Proof as Entry};
        let kind = match self {
            Self::Existence(leaf) => Kind::Exist(leaf.to_pb()),
            Self::Absence { key, left, right } => {
                let mut lookup_inners = Vec::new();
                let [left, right] =
                    [left, right].map(|leaf| Some(compress(leaf.as_ref()?.to_pb(), &mut lookup_inners)));
                let absence = pb::CompressedNonExistenceProof { key: key.clone(), left, right };
                let entry = pb::CompressedBatchEntry { proof: Some(Entry::Nonexist(absence)) };
                Kind::Compressed(pb::CompressedBatchProof { entries: vec![entry], lookup_inners })
            }
        };
        pb::CommitmentProof { proof: Some(kind) }
    }

    fn from_pb(pb: pb::CommitmentProof) -> Result<Self, DecodeError> {
        use pb::{commitment_proof::Proof as Kind, compressed_batch_entry::Proof as Entry};
        match pb.proof {
            Some(Kind::Exist(leaf)) => Existence::from_pb(leaf).map(Self::Existence),
            Some(Kind::Compressed(pb::CompressedBatchProof { entries, lookup_inners })) => {
                let Ok([pb::CompressedBatchEntry { proof: Some(Entry::Nonexist(absence)) }]) =
                    <[pb::CompressedBatchEntry; 1]>::try_from(entries)
                else {
                    return Err(DecodeError::field(
                        "compressed_batch_proof.entries",
                        "are not one proof of an absence",
                    ));
                };
                // A way repeats these, so their sizes are checked before any of them is copied.
                let is_sibling = |op: &pb::InnerOp| op.prefix.len() + op.suffix.len() == size_of::<Hash>();
                if lookup_inners.len() > 2 * DEPTH_MAX || !lookup_inners.iter().all(is_sibling) {
                    let reason = "are not siblings, or more than two ways have";
                    return Err(DecodeError::field("compressed_batch_proof.lookup_inners", reason));
                }
                let leaf = |leaf| Existence::from_pb(decompress(leaf, &lookup_inners)?);
                Ok(Self::Absence {
                    key: absence.key,
                    left: absence.left.map(leaf).transpose()?,
                    right: absence.right.map(leaf).transpose()?,
                })
            }
            None => Err(DecodeError::field("commitment_proof.proof", "is neither of a value nor of an absence")),
        }
    }
}

/// Replaces each operation of a way by its index in `inners`, to which new ones are added.
fn compress(leaf: pb::ExistenceProof, inners: &mut Vec<pb::InnerOp>) -> pb::CompressedExistenceProof {
    let mut index_of = |op: pb::InnerOp| {
        let index = inners.iter().position(|inner| *inner == op).unwrap_or_else(|| {
            inners.push(op);
            inners.len() - 1
        });
        i32::try_from(index).expect("two ways have few operations")
    };
    let path = leaf.path.into_iter().map(&mut index_of).collect();
    pb::CompressedExistenceProof { key: leaf.key, value: leaf.value, leaf: leaf.leaf, path }
}

/// Undoes [`compress`]. Cost: a copy of at most [`DEPTH_MAX`] operations.
fn decompress(leaf: pb::CompressedExistenceProof, inners: &[pb::InnerOp]) -> Result<pb::ExistenceProof, DecodeError> {
    let bad = |reason| DecodeError::field("compressed_existence_proof.path", reason);
    if leaf.path.len() > DEPTH_MAX {
        return Err(bad("has more elements than a path has bits"));
    }
    let op = |index: &i32| usize::try_from(*index).ok().and_then(|index| inners.get(index)).cloned();
    let path: Option<Vec<pb::InnerOp>> = leaf.path.iter().map(op).collect();
    let path = path.ok_or_else(|| bad("has an index without an operation"))?;
    Ok(pb::ExistenceProof { key: leaf.key, value: leaf.value, leaf: leaf.leaf, path })
}
