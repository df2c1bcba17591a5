//! Searches for an input that breaks the property `peer_address`.
#![no_main]
cairn_fuzz::target!(peer_address);
