//! Searches for an input that breaks the property `rpc_uri`.
#![no_main]
cairn_fuzz::target!(rpc_uri);
