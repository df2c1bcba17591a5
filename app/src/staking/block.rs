//! What a block does about stake by itself: before its first transaction what is due, after its last one the new set.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use types::{Address, ConsensusPublicKey, Event, Height, Power, Reader, Time, ValidatorUpdate, limits};

use super::{
    changes::Staked,
    index::Index,
    queue::{self, Item, What},
    record::{Kept, StakedValidator, Status},
    rotate, uptime,
};
use crate::{
    event::event,
    kv::At,
    mutation::{Mutation, mutated},
    view::View,
};

/// Maximum number of items that a block matures; the others follow in the next blocks. This number takes about 30 ms.
pub const MATURED_MAX: usize = 1024;

// At most three events for each item that matures, two for each validator that evidence names, two for each member of the
// set that is jailed for downtime or for its own stake, two for each validator that ends when it no longer earns, one for the
// set; proposals have the others.
const _: () = {
    let proposals = 2 * limits::PROPOSALS_OPEN_MAX as usize * (limits::REVERT_SCOPE_MAX + 1) + limits::REVERT_SCOPE_MAX;
    let slashed = limits::EVIDENCE_NAMED_MAX + limits::VALIDATORS_MAX;
    let stake = 3 * MATURED_MAX + 2 * slashed + 2 * limits::VALIDATORS_MAX + 1;
    assert!(proposals + stake < limits::EVENTS_MAX);
};

/// Closes the batch of the last block, and matures what is due. Cost without either: one read.
pub(crate) fn begin<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>) -> Vec<Event> {
    queue::close(view, at);
    let mut events = Vec::new();
    let items_max = if mutated(Mutation::MatureAll) { usize::MAX } else { MATURED_MAX };
    for (batch, item) in queue::take_due(view, at.time, items_max) {
        mature(view, batch, item, &mut events);
    }
    events
}

fn mature<R: Reader + ?Sized>(view: &mut View<'_, R>, batch: u64, item: Item, events: &mut Vec<Event>) {
    let operator = item.validator;
    // A validator is kept while something of it is in the queue, so there is one.
    let Some(mut validator) = view.validator(&operator) else { return };
    match item.what {
        What::Validator if validator.unbonding == Some(batch) => validator.unbonding = None,
        What::Validator => {}
        What::OldKey(address) => rotate::forget(view, &mut validator, &address),
        What::Departure(id) => {
            let Some(mut departure) = view.departure(&operator, id) else { return };
            if keeps_power(view, &operator, &validator) {
                departure.batch = queue::add(view, item);
                view.set_departure(&operator, id, Some(&departure));
                return;
            }
            validator.end_departure(id);
            let delegator = departure.delegator;
            if let Some((to, _)) = departure.to {
                let mut delegation = view.delegation(&delegator, &to);
                delegation.arrivals.retain(|arrival| *arrival != (operator, id));
                view.set_delegation(&delegator, &to, &delegation);
            } else {
                let mut delegation = view.delegation(&delegator, &operator);
                delegation.unbonding.retain(|other| *other != id);
                view.set_delegation(&delegator, &operator, &delegation);
                view.release(departure.tokens);
                view.pay(&delegator, departure.tokens);
                if mutated(Mutation::UnbondTwice) {
                    view.pay(&delegator, departure.tokens);
                }
                events.push(event(
                    "staking.unbonded",
                    [
                        ("delegator", (delegator.to_string(), true)),
                        ("validator", (operator.to_string(), true)),
                        ("id", (id.to_string(), false)),
                        ("amount", (departure.tokens.to_string(), false)),
                    ],
                ));
            }
            view.set_departure(&operator, id, None);
        }
    }
    end_or_store(view, &operator, &validator, events);
}

/// Returns true if a validator without enough stake is in the set, because no other one could replace it.
fn keeps_power<R: Reader + ?Sized>(view: &mut View<'_, R>, operator: &Address, validator: &StakedValidator) -> bool {
    let is_kept = validator.power > Power::ZERO && !Index::load(view).is_member(operator);
    is_kept && !mutated(Mutation::PayKept)
}

/// Stores a validator; deletes it if nothing refers to it any more, it answers for no set and earns for none.
pub(super) fn end_or_store<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    operator: &Address,
    validator: &StakedValidator,
    events: &mut Vec<Event>,
) {
    let is_used = validator.shares > 0 || validator.departures > 0 || validator.is_tombstoned;
    let answers = validator.old_key.is_some() && !mutated(Mutation::EndWithOldKey);
    if is_used || answers || validator.earnings.can_earn() || validator.status() != Status::Unbonded {
        view.set_validator(operator, Some(validator));
        return;
    }
    view.set_validator(operator, None);
    view.set_key_owner(&validator.public_key.address(), None);
    uptime::forget(view, operator);
    // What rounding left behind.
    let mut pools = view.pools();
    pools.bonded = pools.bonded.checked_sub(validator.tokens).expect("a validator's tokens are part of the pool");
    view.set_pools(pools);
    view.add_to_fee_pool(validator.tokens);
    events.extend(view.end_earnings(operator, validator.earnings.clone()));
    events.push(event("staking.validator_ended", [("validator", (operator.to_string(), true))]));
}

/// Computes the set after the last transaction of a block, with the parameters of the next height, and returns what changes in
/// it. Cost without a changed validator: none.
pub(crate) fn end<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    staked: Staked,
    events: &mut Vec<Event>,
) -> Vec<ValidatorUpdate> {
    let Staked { changed: mut touched, rotated, has_new_params } = staked;
    if touched.is_empty() && !has_new_params {
        return Vec::new();
    }
    let params = &at.params.staking;
    let powers: Vec<(Address, Option<u64>)> = touched
        .iter()
        .map(|operator| {
            let validator = view.validator(operator);
            let is_eligible = |validator: &StakedValidator| {
                validator.eligible_power(params.power_unit).is_some()
                    || (mutated(Mutation::KeepLeaver) && validator.power > Power::ZERO)
            };
            (*operator, validator.filter(is_eligible).map(|validator| validator.tokens))
        })
        .collect();
    let mut index = Index::load(view);
    for (operator, tokens) in powers {
        index.change(operator, tokens);
    }
    index.balance(params.validators_max, &mut touched);
    let kept = mem::take(&mut index.set.kept);
    touched.extend(kept.iter().filter_map(|kept| Some(Address(kept.as_slice().try_into().ok()?))));
    let is_empty = index.set.members == 0;
    let members: BTreeSet<Address> = touched.iter().copied().filter(|operator| index.is_member(operator)).collect();
    index.store();
    if is_empty && !mutated(Mutation::EmptySet) {
        return keep(view, at, &touched, &rotated, events);
    }
    update(view, at, &touched, &members, &rotated)
}

/// Gives the validators that changed their power in the new set.
fn update<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    touched: &BTreeSet<Address>,
    members: &BTreeSet<Address>,
    rotated: &BTreeMap<Address, ConsensusPublicKey>,
) -> Vec<ValidatorUpdate> {
    let mut total = view.power_total();
    let (mut updates, mut changed) = (Vec::new(), Vec::new());
    for operator in touched {
        let Some(mut validator) = view.validator(operator) else { continue };
        let is_member = members.contains(operator);
        let was_kept = validator.kept.as_mut().filter(|kept| kept.until.is_none());
        if let Some(kept) = was_kept {
            kept.until = Some(at.height);
            view.set_validator(operator, Some(&validator));
        }
        let eligible = || validator.eligible_power(at.params.staking.power_unit).unwrap_or(validator.power);
        let power = if is_member { eligible() } else { Power::ZERO };
        rotate::change(&mut updates, &validator, validator.power, power, rotated.get(operator));
        if power == validator.power {
            continue;
        }
        total = Power(total.0 - validator.power.0 + power.0);
        if validator.power == Power::ZERO && at.height > Height::GENESIS {
            validator.member_since = at.height.next().next();
        }
        validator.power = power;
        validator.unbonding = match power {
            Power::ZERO => Some(queue::add(view, Item { validator: *operator, what: What::Validator })),
            _ => None,
        };
        validator.earnings.waiting.push(power);
        changed.push(*operator);
        view.set_validator(operator, Some(&validator));
    }
    view.set_power_total(total);
    if !changed.is_empty() {
        view.shift_powers(at.height, total, &changed);
    }
    updates
}

/// Lets the last members keep their power, because no other ones may replace them. Returns the changes of their keys.
fn keep<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    touched: &BTreeSet<Address>,
    rotated: &BTreeMap<Address, ConsensusPublicKey>,
    events: &mut Vec<Event>,
) -> Vec<ValidatorUpdate> {
    let mut updates = Vec::new();
    for (operator, old) in rotated {
        if let Some(kept) = view.validator(operator) {
            rotate::change(&mut updates, &kept, kept.power, kept.power, Some(old));
        }
    }
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for operator in touched {
        let Some(mut validator) = view.validator(operator).filter(|found| found.power > Power::ZERO) else { continue };
        kept.push(operator.0.to_vec());
        if validator.kept.is_none_or(|before| before.until.is_some()) {
            validator.kept = Some(Kept { from: at.height, until: None });
            view.set_validator(operator, Some(&validator));
        }
    }
    if kept.is_empty() {
        return updates;
    }
    let mut index = Index::load(view);
    index.set.kept = kept;
    index.store();
    let why = "no validator has stake for a unit of power and is not in jail".to_owned();
    events.push(event("staking.set_kept", [("why", (why, false))]));
    updates
}

/// Returns the earliest time at which a block does something about stake by itself. It may have passed.
pub(crate) fn earliest_deadline<R: Reader + ?Sized>(view: &mut View<'_, R>) -> Option<Time> {
    if mutated(Mutation::ForgetQueue) { None } else { queue::deadline(view) }
}
