//! Proves the rules of rewind and prune, and with a mutation of each rule that a test holds it.
#![allow(missing_docs)]

#[path = "../blocks/mod.rs"]
mod blocks;
mod chain;
mod mutations;
mod plan;
mod upgrade;
mod window;
