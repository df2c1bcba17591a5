//! Searches for an input that breaks the property `stored_trees`.
#![no_main]
cairn_fuzz::target!(stored_trees);
