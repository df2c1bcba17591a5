//! Searches for an input that breaks the property `rpc_body`.
#![no_main]
cairn_fuzz::target!(rpc_body);
