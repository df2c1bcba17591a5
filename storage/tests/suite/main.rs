//! Tests of the store over both databases, memory and RocksDB, and tests that only one of them allows.
#![allow(missing_docs)]

/// Runs each generic test of this module with the memory database and, with the feature `rocksdb`, with RocksDB.
macro_rules! on_both {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        pub mod memory {
            $($(#[$meta])* #[test] pub fn $name() { super::$name::<crate::chain::MemRig>() })*
        }
        #[cfg(feature = "rocksdb")]
        mod rocksdb {
            $($(#[$meta])* #[test] fn $name() { super::$name::<crate::chain::RocksRig>() })*
        }
    };
}

mod chain;
mod crash;
mod evidence;
mod history;
mod index;
mod kv;
mod mutations;
mod prune;
mod rewind;
#[cfg(feature = "rocksdb")]
mod rocks;
mod store;
mod trees;
mod verify;
