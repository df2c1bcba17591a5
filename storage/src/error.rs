//! Errors of a store, grouped by the party that can correct them.

use std::path::PathBuf;

use thiserror::Error;
use types::{Hash, Height, Round, Step};

/// Result type of this crate.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Reason why the store refused a call or failed.
///
/// *The operator can correct it*: `Locked`, `NoParent`, `NoPermission`, `NotOurs`, `OtherFormat`, `OtherChain`,
/// `Damaged`. Each message names the place and the remedy. *The caller asked for something wrong*: `Pruned`, `Future`.
/// *This program or the disk is faulty*: the rest; the process stops, and a stopped validator is safe.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk or the operating system failed an operation.
    #[error("{place}: {doing} failed: {reason}. Check that the disk works and has free space, then start again")]
    Io {
        /// Location of the store.
        place: String,
        /// The operation that failed.
        doing: &'static str,
        /// Message of the operating system or the database.
        reason: String,
    },
    /// Files are missing, or their bytes are not what was written.
    #[error(
        "{place}: the store is damaged: {reason}. `cairn verify store` lists all damage. Stop the node, move the folder away, and \
         `cairn restore` a copy of another node's store (`cairn backup` makes one); keep priv_validator_state.json, so that nothing \
         is signed twice"
    )]
    Damaged {
        /// Location of the store.
        place: String,
        /// Description of the damage.
        reason: String,
    },
    /// Another process has the store open.
    #[error("{}: another process has the store open. Stop that node first, or use another home", path.display())]
    Locked {
        /// Folder of the store.
        path: PathBuf,
    },
    /// The parent of the store's folder does not exist.
    #[error("{}: the folder above it does not exist. Create it (`cairn init` does), or give another home", path.display())]
    NoParent {
        /// Folder that could not be created.
        path: PathBuf,
    },
    /// This process may not read or write the folder.
    #[error("{}: permission denied. Make this user the folder's owner, or give another home: {reason}", path.display())]
    NoPermission {
        /// Folder of the store.
        path: PathBuf,
        /// Message of the operating system.
        reason: String,
    },
    /// The folder holds files that do not belong to a store.
    #[error("{}: this is not a Cairn store: {found}. Give an empty or a new folder", path.display())]
    NotOurs {
        /// Folder of the store.
        path: PathBuf,
        /// Description of what was found there.
        found: String,
    },
    /// The store was written in another format.
    #[error(
        "{place}: the store has format {got}, this program reads format {expected}. Use the version of `cairn` that wrote it, or move the folder away and `cairn restore` a copy that this version made"
    )]
    OtherFormat {
        /// Location of the store.
        place: String,
        /// Format of the store.
        got: u32,
        /// Format of this program.
        expected: u32,
    },
    /// The store holds the data of another chain.
    #[error(
        "{place}: the store belongs to chain {got}, the genesis document to chain {expected}. Use the home of that chain, or a new one"
    )]
    OtherChain {
        /// Location of the store.
        place: String,
        /// Chain id in the store.
        got: String,
        /// Chain id that was requested.
        expected: String,
    },
    /// No genesis state has been written yet.
    #[error("{place}: the store is empty: the genesis state must be written first")]
    NoGenesis {
        /// Location of the store.
        place: String,
    },
    /// The genesis state was already written.
    #[error("{place}: the store already holds a chain, at height {tip}")]
    HasGenesis {
        /// Location of the store.
        place: String,
        /// Height of the store's tip.
        tip: Height,
    },
    /// The height is below the kept window. The store never answers it with an empty result.
    #[error("height {got} is no longer kept: the earliest kept height is {earliest}")]
    Pruned {
        /// Height that was requested.
        got: Height,
        /// Lowest height that can be answered.
        earliest: Height,
    },
    /// The height is above the decided ones.
    #[error("height {got} does not exist yet: the chain is at height {tip}")]
    Future {
        /// Height that was requested.
        got: Height,
        /// Highest height that can be answered.
        tip: Height,
    },
    /// The block's height does not follow the tip.
    #[error("block of height {got} does not follow: height {expected} comes next")]
    WrongHeight {
        /// Height of the block.
        got: Height,
        /// Height after the tip.
        expected: Height,
    },
    /// The block's parent is not the tip.
    #[error("block of height {height} has parent {}, the tip is {}", name(got), name(expected))]
    WrongParent {
        /// Height of the block.
        height: Height,
        /// Header hash of the parent that the block names.
        got: Option<Hash>,
        /// Header hash of the tip; `None` at genesis.
        expected: Option<Hash>,
    },
    /// The hard state is below the durable one. A signed message cannot be revoked.
    #[error("the hard state would move back from {expected:?} to {got:?} (height, round, step); nothing was written")]
    HardStateMovedBack {
        /// Position of the hard state that was to be written.
        got: (Height, Round, Step),
        /// Position of the durable hard state.
        expected: (Height, Round, Step),
    },
}

impl StoreError {
    /// Returns true if bytes could not be read or written, or are not what was written: the caller is not at fault.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Damaged { .. })
    }

    /// Returns a copy of the error for a second receiver. Errors other than `Io` and `Damaged` become `Damaged`.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Io { place, doing, reason } => Self::Io { place: place.clone(), doing, reason: reason.clone() },
            Self::Damaged { place, reason } => Self::Damaged { place: place.clone(), reason: reason.clone() },
            other => Self::Damaged { place: "the store".to_owned(), reason: other.to_string() },
        }
    }

    pub(crate) fn damaged(place: impl Into<String>, reason: impl ToString) -> Self {
        Self::Damaged { place: place.into(), reason: reason.to_string() }
    }
}

fn name(hash: &Option<Hash>) -> String {
    hash.map_or_else(|| "none".to_owned(), |hash| hash.to_string())
}
