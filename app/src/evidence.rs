//! The effect of evidence in a block, before the block's transactions: an event. Slashing attaches here.

use types::{Event, Misbehavior};

use crate::event::event;

/// Handles the misbehavior of a validator, which all nodes have verified, and which no earlier block contained.
pub(crate) fn on_misbehavior(misbehavior: &Misbehavior) -> Event {
    let Misbehavior { kind, validator, height, .. } = misbehavior;
    event(
        "evidence",
        [
            ("validator", (validator.to_string(), true)),
            ("height", (height.to_string(), false)),
            ("kind", (kind.name().to_owned(), false)),
        ],
    )
}
