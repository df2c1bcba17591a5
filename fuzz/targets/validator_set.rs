//! Searches for an input that breaks the property `validator_set`.
#![no_main]
cairn_fuzz::target!(validator_set);
