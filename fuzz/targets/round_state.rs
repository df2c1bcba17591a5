//! Searches for an input that breaks the property `round_state`.
#![no_main]
cairn_fuzz::target!(round_state);
