//! Searches for an input that breaks the property `proposal`.
#![no_main]
cairn_fuzz::target!(proposal);
