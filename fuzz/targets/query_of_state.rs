//! Searches for an input that breaks the property `query_of_state`.
#![no_main]
cairn_fuzz::target!(query_of_state);
