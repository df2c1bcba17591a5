//! A validator replaces its consensus key.
//!
//! The record of the validator has the new key at once; the set two heights later has it with the validator's power, without
//! the old one. Until the unbonding time after the last height of the old key, both keys lead to the operator: evidence
//! against the old key hits it, and no other validator can use that key. So a validator answers for two keys at most, and replaces
//! its key once per unbonding time.

use types::{Address, ChainId, ConsensusPublicKey, Deadline, Event, KeyRotate, Power, Reader, ValidatorUpdate};

use super::{
    changes::Staked,
    queue::{self, Item, What},
    record::{OldKey, StakedValidator},
};
use crate::{
    error::Refusal,
    event::event,
    kv::At,
    mutation::{Mutation, mutated},
    view::View,
};

/// Replaces the consensus key of the signer's validator.
///
/// Errors: the [`Refusal`]; nothing has changed then.
pub(super) fn rotate<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    chain_id: &ChainId,
    operator: Address,
    rotate: &KeyRotate,
    staked: &mut Staked,
) -> Result<Event, Refusal> {
    let mut validator = view.validator(&operator).ok_or(Refusal::NotValidator { signer: operator })?;
    if let Some(old) = validator.old_key.filter(|_| !mutated(Mutation::RotateTwice)) {
        let next_at = forgotten_at(view, at, &old);
        return Err(Refusal::Rotated { old: old.address, next_at });
    }
    let (new, old) = (rotate.public_key.address(), validator.public_key.address());
    if let Some(other) = view.key_owner(&new).filter(|_| !mutated(Mutation::AnyKey)) {
        return Err(Refusal::KeyInUse { consensus: new, operator: other });
    }
    let signed_for = if mutated(Mutation::AnyPossession) { Address::default() } else { operator };
    let is_owned = rotate.check_possession(chain_id, &signed_for);
    is_owned.map_err(|_| Refusal::BadPossession { consensus: new, operator })?;
    staked.rotated.entry(operator).or_insert(validator.public_key);
    staked.changed.insert(operator);
    let batch = queue::add(view, Item { validator: operator, what: What::OldKey(old) });
    validator.public_key = rotate.public_key;
    validator.old_key = Some(OldKey { address: old, batch });
    view.set_key_owner(&new, Some(&operator));
    if mutated(Mutation::ForgetOldKey) {
        view.set_key_owner(&old, None);
    }
    view.set_validator(&operator, Some(&validator));
    Ok(event(
        "staking.key_rotated",
        [
            ("validator", (operator.to_string(), true)),
            ("consensus", (new.to_string(), false)),
            ("old", (old.to_string(), false)),
            ("next_at", (at.after(at.params.staking.unbonding).unix_millis().to_string(), false)),
        ],
    ))
}

/// Returns the time at which an old key is forgotten; while the next block has not set it, the time by this block's.
fn forgotten_at<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, old: &OldKey) -> Deadline {
    queue::completes(view, old.batch).unwrap_or_else(|| at.after(at.params.staking.unbonding))
}

/// Forgets an old key, which matured.
pub(super) fn forget<R: Reader + ?Sized>(view: &mut View<'_, R>, validator: &mut StakedValidator, address: &Address) {
    validator.old_key.take_if(|old| old.address == *address);
    if !mutated(Mutation::KeepOldKey) {
        view.set_key_owner(address, None);
    }
}

/// Adds the changes of the set by a validator that had `before` in the last set, and has `power` in the new one.
pub(super) fn change(
    updates: &mut Vec<ValidatorUpdate>,
    validator: &StakedValidator,
    before: Power,
    power: Power,
    replaced: Option<&ConsensusPublicKey>,
) {
    let public_key = validator.public_key;
    match replaced.filter(|old| **old != public_key) {
        None if before == power => {}
        None => updates.push(ValidatorUpdate { public_key, power }),
        Some(old) => {
            if before > Power::ZERO && !mutated(Mutation::OldKeySigns) {
                updates.push(ValidatorUpdate { public_key: *old, power: Power::ZERO });
            }
            if power > Power::ZERO || mutated(Mutation::RotateOutside) {
                updates.push(ValidatorUpdate { public_key, power });
            }
        }
    }
}
