//! One suite over both databases, and what only one of them can show.
#![allow(missing_docs)]

/// Runs each generic test of this module over memory and, with the feature, over RocksDB.
macro_rules! on_both {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        mod memory {
            $($(#[$meta])* #[test] fn $name() { super::$name::<crate::chain::MemRig>() })*
        }
        #[cfg(feature = "rocksdb")]
        mod rocksdb {
            $($(#[$meta])* #[test] fn $name() { super::$name::<crate::chain::RocksRig>() })*
        }
    };
}

mod chain;
mod crash;
mod history;
mod index;
mod kv;
#[cfg(feature = "rocksdb")]
mod rocks;
mod store;
mod verify;
