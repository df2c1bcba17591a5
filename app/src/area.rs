//! The parts of the state, and the keys of their rows in the store.
//!
//! | row key | value | in a tree |
//! |---|---|---|
//! | `n` ‖ path (32) | a row of N, as [`rows`](crate::tree::rows) defines it | yes, of N |
//! | `r` ‖ number (4) ‖ path (32) | a key and value of the namespace with this number, in the same form | yes, of the namespace |
//! | `k` ‖ number (4) ‖ key | nothing; it gives the keys of a namespace an order | no: it follows from the rows above |
//! | `w` ‖ name | number (4) of the namespace; it lists the namespaces in order | no: it follows from N |
//! | `s` ‖ `V` ‖ operator | nothing; it lists the validators | no: it follows from N |
//! | `s` ‖ `D` ‖ delegator ‖ operator | nothing; it lists the validators of a delegator | no: it follows from N |
//! | `s` ‖ `E` ‖ operator ‖ delegator | nothing; it lists the delegators of a validator | no: it follows from N |

use types::{Address, REVERTIBLE_PART_BYTES, Reader, split_revertible};

use crate::tree::rows::{Path, path_in, row_key};

/// Prefix of the rows that are never reverted.
pub const NEVER_REVERTED: &[u8] = b"n";

/// Prefix of the rows of namespaces.
pub const REVERTIBLE: &[u8] = &[types::REVERTIBLE];

/// Prefix of the rows that list the names of namespaces.
pub const NAMES: &[u8] = b"w";

/// First byte of the raw key of a validator.
pub(crate) const VALIDATOR: &[u8] = b"V";

/// First byte of the raw key of a delegation.
pub(crate) const DELEGATION: &[u8] = b"D";

/// Maximum number of keys that one answer looks at, those included that have no value at its height: a client can create and
/// delete many.
pub const LOOKED_AT_MAX: usize = 10_000;

/// Prefix of the rows that list validators and delegations.
pub const STAKES: &[u8] = b"s";

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

/// Returns the prefix of the rows that list the validators.
pub fn validators_prefix() -> Vec<u8> {
    [STAKES, VALIDATOR].concat()
}

/// Returns the prefix of the rows that list the validators of a delegator.
pub fn of_delegator_prefix(delegator: &Address) -> Vec<u8> {
    [STAKES, DELEGATION, &delegator.0].concat()
}

/// Returns the prefix of the rows that list the delegators of a validator.
pub fn of_validator_prefix(operator: &Address) -> Vec<u8> {
    [STAKES, b"E", &operator.0].concat()
}

/// Returns the keys of the rows that list a raw key of N: one for a validator, two for a delegation, otherwise none.
pub fn stake_rows(key: &[u8]) -> Vec<Vec<u8>> {
    let Some((kind, rest)) = key.split_at_checked(1) else { return Vec::new() };
    let listed = [STAKES, key].concat();
    match rest.split_at_checked(20) {
        Some((_, [])) if kind == VALIDATOR => vec![listed],
        Some((delegator, operator)) if kind == DELEGATION => {
            vec![listed, [STAKES, b"E", operator, delegator].concat()]
        }
        _ => Vec::new(),
    }
}

/// Returns the raw key of N that a row of these lists names; `None` if it is no such row.
pub(crate) fn listed_stake(row: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = row.strip_prefix(STAKES)?.split_at_checked(1)?;
    match (kind, rest.len()) {
        (b"V", 20) | (b"D", 40) => Some(row[STAKES.len()..].to_vec()),
        (b"E", 40) => Some([DELEGATION, &rest[20..], &rest[..20]].concat()),
        _ => None,
    }
}

/// Returns the keys of at most `limit` rows under `prefix` from `from` on, without the prefix, and the key at which to continue.
pub(crate) fn listed<R: Reader + ?Sized>(
    reader: &R,
    prefix: &[u8],
    from: &[u8],
    limit: usize,
) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut keys = Vec::new();
    let rest = reader.scan_some(prefix, from, LOOKED_AT_MAX, &mut |row, _| {
        keys.push(row[prefix.len()..].to_vec());
        keys.len() <= limit
    });
    let next = match keys.len() > limit {
        true => keys.pop(),
        false => rest.map(|row| row[prefix.len()..].to_vec()),
    };
    (keys, next)
}
