//! A tree that is small enough to be computed from its entries each time.

use types::Hash;

use super::{
    node::{Leaf, descend, fold},
    proof::Existence,
    rows::{hash_value, path_of},
};

/// Returns the root of the tree with these keys and values. The keys are different.
pub fn root_of(entries: &[(&[u8], &[u8])]) -> Hash {
    fold(&leaves(entries), 0).hash
}

/// Proves the value of a key of the tree; `None` if the tree does not have the key.
pub fn prove_in(entries: &[(&[u8], &[u8])], key: &[u8]) -> Option<Existence> {
    let (key, value) = *entries.iter().find(|(of, _)| *of == key)?;
    let mut siblings = Vec::new();
    descend(&leaves(entries), &path_of(key), 0, &mut siblings);
    Some(Existence { key: key.to_vec(), value: value.to_vec(), siblings })
}

fn leaves(entries: &[(&[u8], &[u8])]) -> Vec<Leaf> {
    let mut leaves: Vec<Leaf> =
        entries.iter().map(|(key, value)| Leaf::new(path_of(key), &hash_value(value))).collect();
    leaves.sort_unstable_by_key(|leaf| leaf.path);
    leaves
}
