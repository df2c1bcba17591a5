//! Searches for an input that breaks the property `state_proof`.
#![no_main]
cairn_fuzz::target!(state_proof);
