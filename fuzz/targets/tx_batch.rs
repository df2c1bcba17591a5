//! Searches for an input that breaks the property `tx_batch`.
#![no_main]
cairn_fuzz::target!(tx_batch);
