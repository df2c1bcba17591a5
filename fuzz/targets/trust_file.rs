//! Searches for an input that breaks the property `trust_file`.
#![no_main]
cairn_fuzz::target!(trust_file);
