//! Searches for an input that breaks the property `peer_message`.
#![no_main]
cairn_fuzz::target!(peer_message);
