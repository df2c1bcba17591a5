//! Searches for an input that breaks the property `address_book`.
#![no_main]
cairn_fuzz::target!(address_book);
