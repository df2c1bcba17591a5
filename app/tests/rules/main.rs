//! Proves the rules of namespaces, of proposals, of other decisions, of stake and of trees, and with a mutation of each rule that a test holds it.
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod decisions;
mod mutations;
mod namespaces;
mod proposals;
mod stake;
mod trees;
