//! Searches for an input that breaks the property `time_text`.
#![no_main]
cairn_fuzz::target!(time_text);
