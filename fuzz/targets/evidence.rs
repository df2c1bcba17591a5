//! Searches for an input that breaks the property `evidence`.
#![no_main]
cairn_fuzz::target!(evidence);
