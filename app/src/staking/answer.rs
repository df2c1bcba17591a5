//! Queries of stake.

use types::{Address, Deadline, Height, Reader, StakingParams};

use super::{
    index::Index,
    queue,
    record::{Departure, Pools, StakedValidator},
    slash::Slash,
    uptime::Uptime,
};
use crate::{
    area::{listed, of_delegator_prefix, of_validator_prefix, validators_prefix},
    view::View,
};

/// A validator with its operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSummary {
    /// Account that operates the validator.
    pub operator: Address,
    /// The validator itself, without its operator.
    pub validator: StakedValidator,
    /// Time at which it ends to unbond; `None` if it does not unbond, or if the next block sets the time.
    pub unbonded_at: Option<Deadline>,
    /// Number of the heights that it missed in the window that ends with the last miss of its membership.
    pub missed: u64,
    /// Time at which its old consensus key is forgotten; `None` if it has none, or if the next block sets the time.
    pub old_key_until: Option<Deadline>,
}

/// What is known about the signatures of a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UptimeOf {
    /// First height of its membership.
    pub since: Height,
    /// Number of heights in the window.
    pub window: u64,
    /// The misses of this membership, if there are any.
    pub misses: Option<Uptime>,
    /// Time from which it is jailed if it stays silent; `None` while it has missed no more than half of the window.
    pub jailed_from: Option<Deadline>,
}

/// What a delegator has at a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationOf {
    /// Owner of the stake.
    pub delegator: Address,
    /// Operator of the validator.
    pub validator: Address,
    /// Shares of the validator.
    pub shares: u128,
    /// What they are worth.
    pub amount: u64,
    /// Number of unbondings from there that wait.
    pub unbonding: usize,
}

/// Stake that left a validator and has not matured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepartureOf {
    /// Operator of the validator that it left.
    pub validator: Address,
    /// Number of the departure, which is unique for the validator.
    pub id: u64,
    /// The departure itself, without its number.
    pub departure: Departure,
    /// Time at which it matures; `None` if the next block sets the time.
    pub completes_at: Option<Deadline>,
}

/// What the stake of a delegator at a validator has earned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewardsOf {
    /// Operator of the validator.
    pub validator: Address,
    /// What is due to the delegator.
    pub amount: u64,
}

/// What a node reports about stake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StakeReport {
    /// Amounts of money that are no account's, without fees and deposits.
    pub pools: Pools,
    /// Bounds of silence, and the other parameters of stake.
    pub params: StakingParams,
    /// The validator of the node; `None` if no validator has its consensus key.
    pub own: Option<StakedValidator>,
    /// Place of the node's validator in the order of the set, from 1; `None` if it is not in the set.
    pub rank: Option<u32>,
    /// The misses of its present membership; `None` if there are none.
    pub misses: Option<Uptime>,
}

/// Returns what the node with this consensus key reports about stake. Cost: one read for each member of the set.
pub fn stake_report<R: Reader + ?Sized>(reader: &R, consensus: Option<&Address>) -> StakeReport {
    let mut view = View::of_state(reader);
    let operator = consensus.and_then(|consensus| view.key_owner(consensus));
    let own = operator.and_then(|operator| Some((operator, view.validator(&operator)?)));
    StakeReport {
        pools: view.pools(),
        params: view.params().staking,
        rank: operator.and_then(|operator| Index::load(&mut view).rank(&operator)),
        misses: own.as_ref().and_then(|(operator, own)| misses(&mut view, operator, own)),
        own: own.map(|(_, own)| own),
    }
}

fn address_of(bytes: &[u8]) -> Option<Address> {
    bytes.try_into().ok().map(Address)
}

/// Returns a validator, with all that it has earned until now.
pub(crate) fn summary<R: Reader + ?Sized>(view: &mut View<'_, R>, operator: &Address) -> Option<ValidatorSummary> {
    let validator = view.settled_validator(operator)?;
    let unbonded_at = validator.unbonding.and_then(|batch| queue::completes(view, batch));
    let missed = misses(view, operator, &validator).map_or(0, |uptime| uptime.missed);
    let old_key_until = validator.old_key.and_then(|old| queue::completes(view, old.batch));
    Some(ValidatorSummary { operator: *operator, validator, unbonded_at, missed, old_key_until })
}

/// Returns the misses of the present membership of a validator.
fn misses<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    operator: &Address,
    validator: &StakedValidator,
) -> Option<Uptime> {
    view.uptime(operator).filter(|uptime| uptime.since == validator.member_since)
}

/// Returns what is known about the signatures of a validator; `None` if there is no such validator.
pub(crate) fn uptime_of<R: Reader + ?Sized>(view: &mut View<'_, R>, operator: &Address) -> Option<UptimeOf> {
    let (validator, params) = (view.validator(operator)?, view.params().staking);
    let misses = misses(view, operator, &validator);
    let is_often = |uptime: &&Uptime| uptime.missed > params.downtime_window / 2;
    let jailed_from = misses.as_ref().filter(is_often).and_then(|uptime| {
        let ms = uptime.silent_since.unix_millis().saturating_add(params.downtime.as_millis() as u64);
        Deadline::from_unix_millis(ms)
    });
    Some(UptimeOf { since: validator.member_since, window: params.downtime_window, misses, jailed_from })
}

/// Returns at most `limit` slashes of a validator with their numbers, from the number `from` down, or from the newest one;
/// and the number at which to continue.
pub(crate) fn slashes_of<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    operator: &Address,
    from: Option<u64>,
    limit: usize,
) -> (Vec<(u64, Slash)>, Option<u64>) {
    let newest = view.slashes(operator);
    let first = from.map_or(newest, |from| from.min(newest));
    let last = first.saturating_sub(limit as u64);
    let list = (last + 1..=first).rev().filter_map(|number| Some((number, view.slash(operator, number)?))).collect();
    (list, (last > 0).then_some(last))
}

/// Returns at most `limit` addresses of a list from `from` on, and the one at which to continue.
fn page<R: Reader + ?Sized>(reader: &R, prefix: &[u8], from: Address, limit: usize) -> (Vec<Address>, Option<Address>) {
    let (found, next) = listed(reader, prefix, &[prefix, &from.0].concat(), limit);
    (found.iter().filter_map(|bytes| address_of(bytes)).collect(), next.as_deref().and_then(address_of))
}

/// Returns validators in the order of their operators.
pub(crate) fn validator_list<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    reader: &R,
    from: Address,
    limit: usize,
) -> (Vec<ValidatorSummary>, Option<Address>) {
    let (operators, next) = page(reader, &validators_prefix(), from, limit);
    (operators.iter().filter_map(|operator| summary(view, operator)).collect(), next)
}

/// Returns what a delegator has, in the order of the validators' operators; or, with `is_validator`, what all delegators have
/// at a validator.
pub(crate) fn delegations_of<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    reader: &R,
    (address, is_validator): (Address, bool),
    from: Address,
    limit: usize,
) -> (Vec<DelegationOf>, Option<Address>) {
    let prefix = if is_validator { of_validator_prefix(&address) } else { of_delegator_prefix(&address) };
    let (others, next) = page(reader, &prefix, from, limit);
    let delegation = |other: Address| {
        let (delegator, validator) = if is_validator { (other, address) } else { (address, other) };
        let delegation = view.delegation(&delegator, &validator);
        let amount = view.validator(&validator).map_or(0, |found| found.worth(delegation.shares));
        DelegationOf { delegator, validator, shares: delegation.shares, amount, unbonding: delegation.unbonding.len() }
    };
    (others.into_iter().map(delegation).collect(), next)
}

/// Returns the unbondings of a delegator, in the order of the validators' operators; or, with `are_moved`, its redelegations,
/// in the order of those to which they went. `limit` counts validators.
pub(crate) fn departures_of<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    reader: &R,
    (delegator, are_moved): (Address, bool),
    from: Address,
    limit: usize,
) -> (Vec<DepartureOf>, Option<Address>) {
    let (validators, next) = page(reader, &of_delegator_prefix(&delegator), from, limit);
    let mut list = Vec::new();
    for operator in validators {
        let delegation = view.delegation(&delegator, &operator);
        let left: Vec<(Address, u64)> = match are_moved {
            true => delegation.arrivals,
            false => delegation.unbonding.into_iter().map(|id| (operator, id)).collect(),
        };
        for (validator, id) in left {
            let Some(departure) = view.departure(&validator, id) else { continue };
            let completes_at = queue::completes(view, departure.batch);
            list.push(DepartureOf { validator, id, departure, completes_at });
        }
    }
    (list, next)
}

/// Returns what the stake of a delegator has earned, in the order of the validators' operators.
pub(crate) fn rewards_of<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    reader: &R,
    delegator: Address,
    from: Address,
    limit: usize,
) -> (Vec<RewardsOf>, Option<Address>) {
    let (validators, next) = page(reader, &of_delegator_prefix(&delegator), from, limit);
    let rewards = |validator: Address| {
        let delegation = view.delegation(&delegator, &validator);
        let amount = view.settled_validator(&validator).map_or(0, |found| found.due_amount(&delegation));
        RewardsOf { validator, amount }
    };
    (validators.into_iter().map(rewards).collect(), next)
}
