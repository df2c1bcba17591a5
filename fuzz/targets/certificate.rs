//! Searches for an input that breaks the property `certificate`.
#![no_main]
cairn_fuzz::target!(certificate);
