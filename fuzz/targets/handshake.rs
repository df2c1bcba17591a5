//! Searches for an input that breaks the property `handshake`.
#![no_main]
cairn_fuzz::target!(handshake);
