//! Proves the rules of namespaces, of proposals and other decisions, of stake, of rewards, of slashes, of consensus keys and of
//! trees, and with a mutation of each rule that a test holds it.
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod decisions;
mod mutations;
mod namespaces;
mod proposals;
mod rewards;
mod rotation;
mod slash;
mod stake;
mod trees;
mod uptime;
