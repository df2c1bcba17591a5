//! Searches for an input that breaks the property `config_file`.
#![no_main]
cairn_fuzz::target!(config_file);
