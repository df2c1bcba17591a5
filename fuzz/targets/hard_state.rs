//! Searches for an input that breaks the property `hard_state`.
#![no_main]
cairn_fuzz::target!(hard_state);
