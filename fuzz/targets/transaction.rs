//! Searches for an input that breaks the property `transaction`.
#![no_main]
cairn_fuzz::target!(transaction);
