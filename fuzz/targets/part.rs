//! Searches for an input that breaks the property `part`.
#![no_main]
cairn_fuzz::target!(part);
