//! Searches for an input that breaks the property `vote`.
#![no_main]
cairn_fuzz::target!(vote);
