//! Searches for an input that breaks the property `results`.
#![no_main]
cairn_fuzz::target!(results);
