//! Why a mempool does not take a transaction.

use std::fmt;

use app::{CODESPACE, Refusal};

/// A transaction that is not taken: a stable code, and a sentence with the way out.
///
/// | code | name | when |
/// |---|---|---|
/// | below 64 | see [`app::CODES`] | the application's rules refuse it |
/// | 64 | `E_MEMPOOL_FULL` | there is no room, and nothing that it could take the place of |
/// | 65 | `E_IN_MEMPOOL` | it is held already |
/// | 66 | `E_COMMITTED` | it was in a block not long ago |
/// | 67 | `E_SENDER_FULL` | its sender has as many waiting as one may have |
/// | 68 | `E_REPLACE_FEE` | another one with its nonce waits, and it does not pay enough more |
/// | 69 | `E_BUSY` | the node has too much to do to look at it |
/// | 70 | `E_NOT_AVAILABLE` | the node cannot read from its disk what it would be held against |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MempoolError {
    /// The number, not 0.
    pub code: u32,
    /// Its name, `E_…`.
    pub name: &'static str,
    /// Whose number.
    pub codespace: &'static str,
    /// The name, the values and the way out.
    pub log: String,
}

impl std::error::Error for MempoolError {}

impl fmt::Display for MempoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.log)
    }
}

impl From<Refusal> for MempoolError {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code();
        Self { code: code.number, name: code.name, codespace: CODESPACE, log: refusal.to_string() }
    }
}

impl MempoolError {
    fn new(code: u32, name: &'static str, what: impl fmt::Display) -> Self {
        Self { code, name, codespace: CODESPACE, log: format!("{name}: {what}") }
    }

    /// The node has too much to do: nothing is said about the transaction.
    pub fn busy() -> Self {
        Self::new(69, "E_BUSY", "the node has too many transactions to look at: send it again in a second")
    }

    /// The node cannot read the state from its disk: nothing is said about the transaction.
    pub fn not_available() -> Self {
        Self::new(
            70,
            "E_NOT_AVAILABLE",
            "this node cannot read the state from its disk, as its log says: send it to another node",
        )
    }

    pub(super) fn full(fee_needed: Option<u64>, got: u64) -> Self {
        let way_out = match fee_needed {
            Some(fee) => format!("the fee is {got}, {fee} is the least that gets in now"),
            None => "it cannot be executed before others of its sender come, and there is room only for what can: send those first, \
                     or try again later"
                .to_owned(),
        };
        Self::new(64, "E_MEMPOOL_FULL", way_out)
    }

    pub(super) fn held() -> Self {
        Self::new(65, "E_IN_MEMPOOL", "it is here already and waits for a block; it is announced to peers again")
    }

    pub(super) fn committed() -> Self {
        Self::new(66, "E_COMMITTED", "it is in a block already: look up its result")
    }

    pub(super) fn sender_full(max: usize) -> Self {
        Self::new(
            67,
            "E_SENDER_FULL",
            format!("{max} transactions of this sender wait, no more may: try again after the next block"),
        )
    }

    pub(super) fn replace_fee(got: u64, held: u64, needed: u64) -> Self {
        Self::new(
            68,
            "E_REPLACE_FEE",
            format!("one with this nonce and a fee of {held} waits: offer {needed} or more, not {got}, to replace it"),
        )
    }
}
