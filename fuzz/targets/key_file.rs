//! Searches for an input that breaks the property `key_file`.
#![no_main]
cairn_fuzz::target!(key_file);
