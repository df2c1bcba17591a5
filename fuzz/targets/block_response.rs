//! Searches for an input that breaks the property `block_response`.
#![no_main]
cairn_fuzz::target!(block_response);
