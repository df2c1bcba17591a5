//! Searches for an input that breaks the property `commit`.
#![no_main]
cairn_fuzz::target!(commit);
