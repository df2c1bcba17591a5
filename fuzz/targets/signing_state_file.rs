//! Searches for an input that breaks the property `signing_state_file`.
#![no_main]
cairn_fuzz::target!(signing_state_file);
