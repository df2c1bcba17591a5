//! The parts of the state, and the keys of their rows in the store.
//!
//! | row key | value | in a tree |
//! |---|---|---|
//! | `n` ‖ path (32) | a row of N, as [`rows`](crate::tree::rows) defines it | yes, of N |
//! | `r` ‖ number (4) ‖ path (32) | a key and value of the namespace with this number, in the same form | yes, of the namespace |
//! | `k` ‖ number (4) ‖ key | nothing; it gives the keys of a namespace an order | no: it follows from the rows above |
//! | `w` ‖ name | number (4) of the namespace; it lists the namespaces in order | no: it follows from N |

use types::{REVERTIBLE_PART_BYTES, split_revertible};

use crate::tree::rows::{Path, path_in, row_key};

/// Prefix of the rows that are never reverted.
pub const NEVER_REVERTED: &[u8] = b"n";

/// Prefix of the rows of namespaces.
pub const REVERTIBLE: &[u8] = &[types::REVERTIBLE];

/// Prefix of the rows that list the names of namespaces.
pub const NAMES: &[u8] = b"w";

/// A part of the state with a tree of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The part that is never reverted.
    NeverReverted,
    /// The namespace with this number.
    Namespace(u32),
}

/// A tree of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TreeOf {
    /// The tree over the rows of an area.
    Area(Area),
    /// The tree over the roots of namespaces.
    Roots,
}

impl Area {
    /// Returns the number of the namespace, if it is one.
    pub fn number(self) -> Option<u32> {
        match self {
            Self::NeverReverted => None,
            Self::Namespace(number) => Some(number),
        }
    }

    /// Returns the prefix of the area's rows.
    pub fn prefix(self) -> Vec<u8> {
        self.with_prefix(<[u8]>::to_vec)
    }

    /// Calls `act` with the prefix of the area's rows, without an allocation: execution does so for each row.
    fn with_prefix<T>(self, act: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::NeverReverted => act(NEVER_REVERTED),
            Self::Namespace(number) => {
                let mut prefix = [types::REVERTIBLE; REVERTIBLE_PART_BYTES];
                prefix[1..].copy_from_slice(&number.to_be_bytes());
                act(&prefix)
            }
        }
    }

    /// Returns the key of the row with this path.
    pub fn row_key(self, path: &Path) -> Vec<u8> {
        self.with_prefix(|prefix| row_key(prefix, path))
    }

    /// Returns the area and the path of a row; `None` for a key that [`Area::row_key`] did not create.
    pub fn of_row(key: &[u8]) -> Option<(Self, Path)> {
        let area = if key.starts_with(NEVER_REVERTED) {
            Self::NeverReverted
        } else {
            let (part, _) = split_revertible(key)?;
            Self::Namespace(u32::from_be_bytes(*part.last_chunk()?))
        };
        Some((area, area.with_prefix(|prefix| path_in(prefix, key))?))
    }
}

/// Returns the prefix of the rows that list the keys of a namespace.
pub fn keys_prefix(number: u32) -> Vec<u8> {
    [b"k", &number.to_be_bytes()[..]].concat()
}

/// Returns the key of the row that lists a key of a namespace.
pub fn key_row(number: u32, key: &[u8]) -> Vec<u8> {
    [&keys_prefix(number), key].concat()
}

/// Returns the key of the row that lists the name of a namespace.
pub fn name_row(name: &str) -> Vec<u8> {
    [NAMES, name.as_bytes()].concat()
}
