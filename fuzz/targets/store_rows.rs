//! Searches for an input that breaks the property `store_rows`.
#![no_main]
cairn_fuzz::target!(store_rows);
