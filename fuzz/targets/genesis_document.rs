//! Searches for an input that breaks the property `genesis_document`.
#![no_main]
cairn_fuzz::target!(genesis_document);
