//! Height, round, power and chain id: small values whose types prevent confusion.

use std::{fmt, ops::Deref, str::FromStr};

use thiserror::Error;

use crate::{
    limits::{CHAIN_ID_CHARS_MAX, POWER_TOTAL_MAX},
    mutation::{Mutation, mutated},
};

/// Position of a block in the chain. The genesis state has the height before the first block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Height(pub u64);

impl Height {
    /// Height of the state before the first block of a chain that starts at height 1.
    pub const GENESIS: Self = Self(0);

    /// Returns the height after this one.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("heights stay below i64::MAX"))
    }

    /// Returns the height before this one, if any.
    pub fn prev(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// Number of an attempt to decide a height, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u32);

impl Round {
    /// The first round of a height.
    pub const ZERO: Self = Self(0);

    /// Returns the round after this one.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("rounds stay below i32::MAX"))
    }
}

/// Voting weight of validators. Sums are at most [`POWER_TOTAL_MAX`], so that the threshold tests never overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Power(pub u64);

impl Power {
    /// The weight of no validators.
    pub const ZERO: Self = Self(0);

    /// Returns the sum, or `None` if it is above [`POWER_TOTAL_MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).filter(|sum| *sum <= POWER_TOTAL_MAX).map(Self)
    }

    /// Returns true if this is more than two thirds of `total`: `3·w > 2·total`, strict.
    pub fn is_quorum_of(self, total: Self) -> bool {
        if mutated(Mutation::ThirdIsQuorum) {
            return 3 * u128::from(self.0) > u128::from(total.0);
        }
        if mutated(Mutation::TwoThirdsAreQuorum) && self > Self::ZERO {
            return 3 * u128::from(self.0) >= 2 * u128::from(total.0);
        }
        3 * u128::from(self.0) > 2 * u128::from(total.0)
    }

    /// Returns true if this is more than one third of `total`, so that a correct validator is included: `3·w > total`,
    /// strict.
    pub fn is_honest_of(self, total: Self) -> bool {
        3 * u128::from(self.0) > u128::from(total.0)
    }
}

macro_rules! display_number {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}
display_number!(Height, Round, Power, ChainId);

/// Identifies a chain. Signatures of one chain are not valid on another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(String);

/// Reason why a text is not a chain id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("chain id {got:?}: use 1 to {CHAIN_ID_CHARS_MAX} letters, digits, '-', '_' or '.'")]
pub struct ChainIdError {
    got: String,
}

impl ChainId {
    /// Creates a chain id from a text.
    ///
    /// Errors: [`ChainIdError`] if the length is not 1 to [`CHAIN_ID_CHARS_MAX`], or a character is not a letter,
    /// digit, '-', '_' or '.'.
    pub fn new(text: &str) -> Result<Self, ChainIdError> {
        let fits = !text.is_empty() && text.len() <= CHAIN_ID_CHARS_MAX;
        if fits && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ChainIdError { got: text.chars().take(80).collect() })
        }
    }

    /// Returns the text of the chain id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainId {
    type Err = ChainIdError;
    fn from_str(text: &str) -> Result<Self, ChainIdError> {
        Self::new(text)
    }
}

impl Deref for ChainId {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorum_is_strictly_more_than_two_thirds() {
        let quorum = |w, total| Power(w).is_quorum_of(Power(total));
        assert!(!quorum(2, 3) && quorum(3, 3));
        assert!(!quorum(2, 4) && quorum(3, 4));
        assert!(!quorum(66, 99) && quorum(67, 99));
        assert!(!quorum(0, 0));
        assert!(quorum(POWER_TOTAL_MAX, POWER_TOTAL_MAX));
    }

    #[test]
    fn honest_is_strictly_more_than_one_third() {
        let honest = |w, total| Power(w).is_honest_of(Power(total));
        assert!(!honest(1, 3) && honest(2, 3));
        assert!(!honest(1, 4) && honest(2, 4));
    }

    #[test]
    fn power_sums_stop_at_an_eighth_of_int64() {
        assert_eq!(Power(POWER_TOTAL_MAX).checked_add(Power(1)), None);
        assert_eq!(Power(u64::MAX).checked_add(Power(1)), None);
        assert_eq!(Power(1).checked_add(Power(2)), Some(Power(3)));
    }

    #[test]
    fn chain_ids_are_short_and_plain() {
        assert!(ChainId::new("cairn-testnet_1.0").is_ok());
        for bad in ["", "a b", "ü", "a/b", &"x".repeat(51)] {
            assert!(ChainId::new(bad).is_err(), "{bad:?}");
        }
    }
}
