//! Searches for an input that breaks the property `block`.
#![no_main]
cairn_fuzz::target!(block);
