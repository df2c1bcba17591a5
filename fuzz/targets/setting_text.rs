//! Searches for an input that breaks the property `setting_text`.
#![no_main]
cairn_fuzz::target!(setting_text);
