//! Reasons why a mempool refuses a transaction.

use std::fmt;

use app::{CODESPACE, Code, Refusal};

const FULL: Code = Code {
    number: 64,
    name: "E_MEMPOOL_FULL",
    when: "the mempool has no room, and no transaction that this one could replace",
    way_out: "offer the fee that `log` names, or send it again later",
};
const HELD: Code = Code {
    number: 65,
    name: "E_IN_MEMPOOL",
    when: "the node holds it already",
    way_out: "wait; it is announced to peers again",
};
const COMMITTED: Code = Code {
    number: 66,
    name: "E_COMMITTED",
    when: "it was committed in a block recently",
    way_out: "look up its result with `tx`",
};
const SENDER_FULL: Code = Code {
    number: 67,
    name: "E_SENDER_FULL",
    when: "its sender has the maximum number of waiting transactions",
    way_out: "send it again after the next block",
};
const REPLACE_FEE: Code = Code {
    number: 68,
    name: "E_REPLACE_FEE",
    when: "another one with its nonce waits, and its fee is not high enough to replace that one",
    way_out: "offer the fee that `log` names, or use the next nonce",
};
const BUSY: Code = Code {
    number: 69,
    name: "E_BUSY",
    when: "the node has too many transactions to check",
    way_out: "send it again in a second",
};
const NOT_AVAILABLE: Code = Code {
    number: 70,
    name: "E_NOT_AVAILABLE",
    when: "the node cannot read the state from its disk",
    way_out: "send it to another node",
};

/// The codes of a mempool in ascending order. Those of the application's rules are [`app::CODES`].
pub const CODES: &[Code] = &[FULL, HELD, COMMITTED, SENDER_FULL, REPLACE_FEE, BUSY, NOT_AVAILABLE];

/// Refusal of a transaction: a stable code of [`CODES`] or [`app::CODES`], and a sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MempoolError {
    /// What refuses the transaction.
    pub cause: Cause,
    /// Number of the code, never 0.
    pub code: u32,
    /// Name of the code, `E_…`.
    pub name: &'static str,
    /// Codespace that the number belongs to.
    pub codespace: &'static str,
    /// The name, the values and the remedy.
    pub log: String,
}

/// What refuses a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The application's rules: the transaction is not valid in the current state.
    Rules,
    /// The limits of the mempool: there is no place for it.
    Limits,
    /// The transaction is held already, or a block has it.
    Known,
    /// This node is busy or cannot read its disk; that says nothing about the transaction.
    Node,
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
        Self { cause: Cause::Rules, code: code.number, name: code.name, codespace: CODESPACE, log: refusal.to_string() }
    }
}

impl MempoolError {
    fn new(cause: Cause, Code { number, name, .. }: Code, what: impl fmt::Display) -> Self {
        Self { cause, code: number, name, codespace: CODESPACE, log: format!("{name}: {what}") }
    }

    /// Returns the error of a node that is too busy; it says nothing about the transaction.
    pub fn busy() -> Self {
        Self::new(Cause::Node, BUSY, "the node has too many transactions to check: send it again in a second")
    }

    /// Returns the error of a node that cannot read the state from its disk; it says nothing about the transaction.
    pub fn not_available() -> Self {
        Self::new(
            Cause::Node,
            NOT_AVAILABLE,
            "this node cannot read the state from its disk (see its log): send it to another node",
        )
    }

    pub(super) fn full(fee_needed: Option<u64>, got: u64) -> Self {
        let way_out = match fee_needed {
            Some(fee) => format!("the fee is {got}, a fee of {fee} is the least that is accepted now"),
            None => "it needs earlier transactions of its sender, and there is room only for transactions that can be executed: \
                     send those first, or try again later"
                .to_owned(),
        };
        Self::new(Cause::Limits, FULL, way_out)
    }

    pub(super) fn held() -> Self {
        Self::new(Cause::Known, HELD, "it already waits here for a block; it is announced to peers again")
    }

    pub(super) fn committed() -> Self {
        Self::new(Cause::Known, COMMITTED, "it is in a block already: look up its result")
    }

    pub(super) fn sender_full(max: usize) -> Self {
        Self::new(
            Cause::Limits,
            SENDER_FULL,
            format!("{max} transactions of this sender wait, which is the limit: try again after the next block"),
        )
    }

    pub(super) fn replace_fee(got: u64, held: u64, needed: u64) -> Self {
        Self::new(
            Cause::Limits,
            REPLACE_FEE,
            format!(
                "a transaction with this nonce and a fee of {held} waits: offer {needed} or more, not {got}, to replace it"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_cause() {
        let of_rules = MempoolError::from(Refusal::BadSignature);
        assert_eq!((of_rules.cause, of_rules.name), (Cause::Rules, "E_BAD_SIGNATURE"));
        for (error, name, cause) in [
            (MempoolError::full(None, 1), "E_MEMPOOL_FULL", Cause::Limits),
            (MempoolError::held(), "E_IN_MEMPOOL", Cause::Known),
            (MempoolError::committed(), "E_COMMITTED", Cause::Known),
            (MempoolError::sender_full(1), "E_SENDER_FULL", Cause::Limits),
            (MempoolError::replace_fee(1, 1, 2), "E_REPLACE_FEE", Cause::Limits),
            (MempoolError::busy(), "E_BUSY", Cause::Node),
            (MempoolError::not_available(), "E_NOT_AVAILABLE", Cause::Node),
        ] {
            assert_eq!((error.name, error.cause), (name, cause));
        }
    }
}
