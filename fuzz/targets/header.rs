//! Searches for an input that breaks the property `header`.
#![no_main]
cairn_fuzz::target!(header);
