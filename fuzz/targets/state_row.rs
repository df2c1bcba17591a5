//! Searches for an input that breaks the property `state_row`.
#![no_main]
cairn_fuzz::target!(state_row);
