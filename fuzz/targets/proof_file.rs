//! Searches for an input that breaks the property `proof_file`.
#![no_main]
cairn_fuzz::target!(proof_file);
