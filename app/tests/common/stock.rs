//! An unmodified verifier of ICS-23, with the rules of our trees.

use ics23::{
    CommitmentProof, HashOp, HostFunctionsManager, InnerSpec, LeafOp, LengthOp, ProofSpec, verify_membership,
    verify_non_membership,
};
use prost_of_ics23::Message;
use types::Hash;

/// The rules of every tree of the state, as `docs/proofs.md` prints them.
fn spec() -> ProofSpec {
    ProofSpec {
        leaf_spec: Some(LeafOp {
            hash: HashOp::Blake3.into(),
            prehash_key: HashOp::Blake3.into(),
            prehash_value: HashOp::Blake3.into(),
            length: LengthOp::NoPrefix.into(),
            prefix: b"cairn state tree v2: a leaf hash".to_vec(),
        }),
        inner_spec: Some(InnerSpec {
            child_order: vec![0, 1],
            child_size: 32,
            min_prefix_length: 0,
            max_prefix_length: 0,
            empty_child: vec![0; 32],
            hash: HashOp::Blake3.into(),
        }),
        max_depth: 256,
        min_depth: 0,
        prehash_key_before_comparison: true,
    }
}

/// Reads a proof with the other implementation.
pub fn theirs(bytes: &[u8]) -> CommitmentProof {
    CommitmentProof::decode(bytes).unwrap()
}

/// Verifies a proof with the other implementation.
pub fn accepts(proof: &CommitmentProof, root: &Hash, key: &[u8], value: Option<&[u8]>) -> bool {
    let root = root.0.to_vec();
    match value {
        Some(value) => verify_membership::<HostFunctionsManager>(proof, &spec(), &root, key, value),
        None => verify_non_membership::<HostFunctionsManager>(proof, &spec(), &root, key),
    }
}
