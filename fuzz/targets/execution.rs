//! Searches for an input that breaks the property `execution`.
#![no_main]
cairn_fuzz::target!(execution);
