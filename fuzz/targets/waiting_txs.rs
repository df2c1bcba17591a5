//! Searches for an input that breaks the property `waiting_txs`.
#![no_main]
cairn_fuzz::target!(waiting_txs);
