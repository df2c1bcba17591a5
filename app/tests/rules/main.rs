//! Proves the rules of namespaces, of proposals, of stake, of consensus keys and of trees, and with a mutation of each rule that a test holds it.
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod mutations;
mod namespaces;
mod proposals;
mod rotation;
mod stake;
mod trees;
