//! Proofs under the app hash: a chain of proofs, each of which proves the root that the one before leads to.

use types::{DecodeError, Hash, Wire};

use crate::tree::{Proof, ProofError, proof::Existence};

/// Name of the revertible part of the state, which has a map of the roots of namespaces.
pub const REVERTIBLE: &[u8] = b"r";

/// Maximum number of trees from a key to the app hash: a namespace, the namespaces, the parts of the state.
const LEVELS_MAX: usize = 3;

/// Type of each proof of a chain, as Tendermint's `ProofOp` carries it.
pub const PROOF_OP_TYPE: &str = "ics23:cairn";

/// A proof of the value or absence of a key under an app hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateProof {
    /// The proof of the key in its own tree.
    key: Proof,
    /// Each proves the root of the tree before it; the last one leads to the app hash.
    roots: Vec<Existence>,
}

/// One proof of a chain: key and data of a `ProofOp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofOp {
    /// The key that the proof is about: the raw key in the first one, then the name of the tree before.
    pub key: Vec<u8>,
    /// Bytes of ICS-23's `CommitmentProof`.
    pub data: Vec<u8>,
}

impl StateProof {
    /// Creates the proof of a key from that in its own tree and those of the roots, from the tree's up.
    pub fn new(key: Proof, roots: impl IntoIterator<Item = Existence>) -> Self {
        Self { key, roots: roots.into_iter().collect() }
    }

    /// Returns the key that the proof is about.
    pub fn key(&self) -> &[u8] {
        self.key.key()
    }

    /// Returns the value that the proof claims for its key; `None` if it claims that the key is absent.
    pub fn value(&self) -> Option<&[u8]> {
        self.key.value()
    }

    /// Returns the names of the trees from the key's own up; [`StateProof::verify`] checks that they are right.
    pub fn names(&self) -> Vec<&[u8]> {
        self.roots.iter().map(|leaf| &leaf.key[..]).collect()
    }

    /// Checks that under `app_hash` the key has this value, or is absent if `value` is `None`. `names` are the names of the
    /// trees from the key's own up:
    ///
    /// | key | names |
    /// |---|---|
    /// | raw key of a row that is never reverted | [`NEVER_REVERTED`](crate::state::NEVER_REVERTED) |
    /// | name of a namespace, whose root is the value | [`REVERTIBLE`] |
    /// | key in a namespace | the name of the namespace, [`REVERTIBLE`] |
    ///
    /// Cost: one hash per sibling, about 30 for a state of ten million keys, and twice that for absence.
    ///
    /// Errors: [`ProofError`]; a proof that fails says nothing about the key.
    pub fn verify(&self, app_hash: &Hash, names: &[&[u8]], key: &[u8], value: Option<&[u8]>) -> Result<(), ProofError> {
        if self.roots.len() != names.len() {
            return Err(ProofError::Levels { got: 1 + self.roots.len(), expected: 1 + names.len() });
        }
        let mut root = *app_hash;
        for (leaf, name) in self.roots.iter().zip(names).rev() {
            if leaf.key != **name {
                return Err(ProofError::Claim);
            }
            leaf.verify(&root)?;
            root = leaf.value.as_slice().try_into().map(Hash).map_err(|_| ProofError::Claim)?;
        }
        self.key.verify(&root, key, value)
    }

    /// Returns the chain as it is sent, from the key's own tree up.
    pub fn to_ops(&self) -> Vec<ProofOp> {
        let roots = self.roots.iter().cloned().map(Proof::Existence);
        let proofs = std::iter::once(self.key.clone()).chain(roots);
        proofs.map(|proof| ProofOp { key: proof.key().to_vec(), data: proof.encode() }).collect()
    }

    /// Reads a chain that was sent, from the key's own tree up.
    ///
    /// Errors: too few or too many proofs, one that is not ours or not in its only form, or one of another key.
    pub fn from_ops(ops: &[ProofOp]) -> Result<Self, DecodeError> {
        let bad = |reason| DecodeError::field("proof_ops", reason);
        if ops.len() > LEVELS_MAX {
            return Err(bad("more proofs than there are levels of trees"));
        }
        let mut proofs = ops.iter().map(|op| match Proof::decode(&op.data)? {
            proof if proof.key() != op.key => Err(bad("a proof is of another key than it says")),
            // Protobuf has several encodings of the same content.
            proof if proof.encode() != op.data => Err(bad("a proof has other bytes than its content")),
            proof => Ok(proof),
        });
        let key = proofs.next().ok_or_else(|| bad("there is none"))??;
        let roots = proofs.map(|proof| match proof? {
            Proof::Existence(leaf) => Ok(leaf),
            Proof::Absence { .. } => Err(bad("the root of a tree is absent")),
        });
        Ok(Self { key, roots: roots.collect::<Result<_, _>>()? })
    }
}
