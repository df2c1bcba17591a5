//! Searches for an input that breaks the property `event_query`.
#![no_main]
cairn_fuzz::target!(event_query);
