//! Searches for an input that breaks the property `params`.
#![no_main]
cairn_fuzz::target!(params);
