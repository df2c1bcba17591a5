//! The kinds of transactions that a run sends: valid ones, and those that nodes must refuse.

use serde::Serialize;

/// Whether a transaction is valid, and if not, why nodes must refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the table of `recipe` explains them")]
pub enum Kind {
    Valid,
    BadSignature,
    WrongNonce,
    Unaffordable,
    WrongChain,
    Expired,
    Garbage,
}

impl Kind {
    /// All kinds that nodes must refuse.
    pub const INVALID: [Self; 6] =
        [Self::BadSignature, Self::WrongNonce, Self::Unaffordable, Self::WrongChain, Self::Expired, Self::Garbage];

    /// Returns the kind with this number, as it is stored in a file.
    pub fn of(number: u8) -> Option<Self> {
        if number == 0 { Some(Self::Valid) } else { Self::INVALID.get(usize::from(number) - 1).copied() }
    }

    /// Returns the name of the kind in plain words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::BadSignature => "bad signature",
            Self::WrongNonce => "wrong nonce",
            Self::Unaffordable => "unaffordable",
            Self::WrongChain => "wrong chain",
            Self::Expired => "expired",
            Self::Garbage => "garbage",
        }
    }

    /// Returns the code with which nodes refuse this kind; 0 for a valid transaction.
    pub fn code(self) -> u32 {
        match self {
            Self::Valid => 0,
            Self::BadSignature => 4,
            Self::WrongNonce => 5,
            Self::Unaffordable => 11,
            Self::WrongChain => 3,
            Self::Expired => 6,
            Self::Garbage => 1,
        }
    }
}
