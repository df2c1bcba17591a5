//! The effect of evidence in a block, before the block's transactions: an event, and a slash.

use types::{Event, Misbehavior, Reader};

use crate::{
    event::event,
    kv::At,
    staking::{self, Staked},
    view::View,
};

/// Handles the misbehavior of a validator, which all nodes have verified, and which no earlier block contained.
pub(crate) fn on_misbehavior<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    misbehavior: &Misbehavior,
    staked: &mut Staked,
    events: &mut Vec<Event>,
) {
    let Misbehavior { kind, validator, height, .. } = misbehavior;
    events.push(event(
        "evidence",
        [
            ("validator", (validator.to_string(), true)),
            ("height", (height.to_string(), false)),
            ("kind", (kind.name().to_owned(), false)),
        ],
    ));
    staking::on_double_sign(view, at, misbehavior, staked, events);
}
