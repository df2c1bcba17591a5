//! Searches for an input that breaks the property `peer_request`.
#![no_main]
cairn_fuzz::target!(peer_request);
