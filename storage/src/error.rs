//! What can go wrong with a store, told apart by who can mend it.

use std::path::PathBuf;

use thiserror::Error;
use types::{Hash, Height, Round, Step};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why the store refused or failed.
///
/// *The operator can mend it*: `Locked`, `NoParent`, `NoPermission`, `NotOurs`, `OtherFormat`, `OtherChain`, `Damaged`. Each is a
/// sentence with the place and the way out. *The asker was wrong*: `Pruned`, `Future`. *We are wrong, or the disk is*: the rest;
/// the process stops, and a stopped validator is safe.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk or the operating system refused.
    #[error("{place}: {doing} failed: {reason}. Check that the disk works and has free space, then start again")]
    Io {
        /// Where the store lives.
        place: String,
        /// What was tried.
        doing: &'static str,
        /// What the operating system or the database said.
        reason: String,
    },
    /// Files are missing or their bytes are not what was written.
    #[error(
        "{place}: the store is damaged: {reason}. `cairn verify store` lists what else is. Stop the node, move the folder away, and \
         `cairn restore` a copy of another node's store (`cairn backup` makes one); keep priv_validator_state.json, so that nothing \
         is signed twice"
    )]
    Damaged {
        /// Where the store lives.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Another process holds the store.
    #[error("{}: another process has the store open. Stop that node first, or use another home", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder that should contain the store's folder is not there.
    #[error("{}: the folder above it does not exist. Create it (`cairn init` does), or give another home", path.display())]
    NoParent {
        /// The folder that could not be created.
        path: PathBuf,
    },
    /// We may not read or write the folder.
    #[error("{}: permission denied. Make this user the folder's owner, or give another home: {reason}", path.display())]
    NoPermission {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The folder holds something else.
    #[error("{}: this is not a Cairn store: {found}. Give an empty or a new folder", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// Written by another version of this program.
    #[error(
        "{place}: the store has format {got}, this program reads format {expected}. Use the version of `cairn` that wrote it, or move the folder away and `cairn restore` a copy that this version made"
    )]
    OtherFormat {
        /// Where the store lives.
        place: String,
        /// The store's format.
        got: u32,
        /// Ours.
        expected: u32,
    },
    /// The data of another chain.
    #[error(
        "{place}: the store belongs to chain {got}, the genesis document to chain {expected}. Use the home of that chain, or a new one"
    )]
    OtherChain {
        /// Where the store lives.
        place: String,
        /// The store's chain.
        got: String,
        /// The one asked for.
        expected: String,
    },
    /// No genesis state has been written yet.
    #[error("{place}: the store is empty: the genesis state comes first")]
    NoGenesis {
        /// Where the store lives.
        place: String,
    },
    /// The genesis state is there already.
    #[error("{place}: the store already holds a chain, at height {tip}")]
    HasGenesis {
        /// Where the store lives.
        place: String,
        /// Its height.
        tip: Height,
    },
    /// Below the kept window. Never answered with "empty".
    #[error("height {got} is no longer kept: the earliest kept height is {earliest}")]
    Pruned {
        /// The height asked for.
        got: Height,
        /// The lowest that can be answered.
        earliest: Height,
    },
    /// Above what has been decided.
    #[error("height {got} is not there yet: the chain stands at height {tip}")]
    Future {
        /// The height asked for.
        got: Height,
        /// The highest that can be answered.
        tip: Height,
    },
    /// A block that does not follow the tip.
    #[error("block of height {got} does not follow: height {expected} comes next")]
    WrongHeight {
        /// The block's height.
        got: Height,
        /// The tip's successor.
        expected: Height,
    },
    /// A block whose parent is not the tip.
    #[error("block of height {height} has parent {}, the tip is {}", name(got), name(expected))]
    WrongParent {
        /// The block's height.
        height: Height,
        /// Header hash of the parent it names.
        got: Option<Hash>,
        /// Header hash of the tip; none at genesis.
        expected: Option<Hash>,
    },
    /// A hard state below the one that is durable. What was said stays said.
    #[error("the hard state would move back from {expected:?} to {got:?} (height, round, step); nothing was written")]
    HardStateMovedBack {
        /// What was to be written.
        got: (Height, Round, Step),
        /// What is durable.
        expected: (Height, Round, Step),
    },
}

impl StoreError {
    /// Whether bytes could not be read from the disk, or are not what was written: no fault of who asked for them.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Damaged { .. })
    }

    /// The same error once more, for a second one who must know.
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
