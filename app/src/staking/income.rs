//! What a block does about rewards by itself: it distributes the income of the last height to the set of that height.
//!
//! The income of height H is its fees, with what else is in the fee pool, and the issuance from the time of H to that of
//! H + 1. Block H + 1 distributes it before its transactions: the part of the community to its pool, the rest to the validators of the
//! set of height H by power. That set is the one that block H − 2 computed, so a change of power acts three blocks later.
//!
//! **Work**: one addition to a sum, whatever the number of validators; and for each validator whose power changed, its row.

use std::mem;

use types::{Address, BPS_MAX, Deadline, Event, Power, Reader};

use super::{
    block::end_or_store,
    rewards::{Income, part_of, units_of},
};
use crate::{
    kv::{At, height_pb},
    mutation::{Mutation, mutated},
    view::View,
};

/// A year of issuance, in milliseconds: 365 days.
const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

/// Lets the first set earn from the first height on.
pub(crate) fn start<R: Reader + ?Sized>(view: &mut View<'_, R>) {
    let mut income = view.income();
    let all = income.shifts.len();
    shift(view, &mut income, all);
    view.set_income(income);
}

/// Distributes the income of the last height. Cost without income and without changes of power: two reads.
pub(crate) fn distribute<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, events: &mut Vec<Event>) {
    let before = view.income();
    let mut income = before.clone();
    let due = income.shifts.iter().take_while(|shift| shift.height <= height_pb(at.height)).count();
    let shifted = shift(view, &mut income, due);
    if income.power > Power::ZERO {
        let issued = issue(view, at, &mut income);
        let amount = view.fee_pool().checked_add(issued).expect("fees and issuance are part of the supply");
        if amount > 0 {
            view.set_fee_pool(0);
            divide(view, at, &mut income, amount);
        }
    }
    if income != before {
        view.set_income(income);
    }
    for operator in shifted {
        let Some(validator) = view.validator(&operator) else { continue };
        end_or_store(view, &operator, &validator, events);
    }
}

/// Lets other powers count: those of the first `due` shifts. Settles these validators before, and returns them.
fn shift<R: Reader + ?Sized>(view: &mut View<'_, R>, income: &mut Income, due: usize) -> Vec<Address> {
    let later = income.shifts.split_off(due);
    let mut shifted = Vec::new();
    for due in mem::replace(&mut income.shifts, later) {
        income.power = Power(due.power);
        for operator in due.operators.into_iter().filter_map(|bytes| bytes.try_into().ok().map(Address)) {
            // A validator is kept while a change of its power waits, so there is one.
            let Some(mut validator) = view.validator(&operator) else { continue };
            validator.settle(income.per_power);
            validator.shift_power();
            view.set_validator(&operator, Some(&validator));
            shifted.push(operator);
        }
    }
    shifted
}

/// Issues money for the time since the last block, and returns the amount.
fn issue<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, income: &mut Income) -> u64 {
    let bps = at.params.staking.issuance_bps_per_year;
    if bps == 0 {
        if !mutated(Mutation::IssueForPause) {
            (income.issued_until_ms, income.issued_remainder) = (None, 0);
        }
        return 0;
    }
    let now_ms = Deadline::at(at.time).unix_millis();
    let Some(until_ms) = income.issued_until_ms.replace(now_ms) else { return 0 };
    let elapsed_ms = if mutated(Mutation::IssueByHeight) { 1000 } else { now_ms.saturating_sub(until_ms) };
    // Times end in 2262, below 2^44 ms: the product is below 2^64 · 2^14 · 2^44, and the remainder is less than the divisor.
    let supply = view.supply();
    let parts = u128::from(supply) * u128::from(bps) * u128::from(elapsed_ms) + u128::from(income.issued_remainder);
    let all = u128::from(BPS_MAX) * u128::from(YEAR_MS);
    let amount = u64::try_from(parts / all).unwrap_or(u64::MAX).min(u64::MAX - supply);
    income.issued_remainder = if mutated(Mutation::LoseIssued) { 0 } else { (parts % all) as u64 };
    if amount > 0 && !mutated(Mutation::IssueUncounted) {
        view.set_supply(supply + amount);
    }
    amount
}

/// Gives the community its part, and the rest to the set.
fn divide<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, income: &mut Income, amount: u64) {
    let community_bps = if mutated(Mutation::NoCommunity) { 0 } else { at.params.staking.community_bps };
    let community = part_of(amount.into(), community_bps) as u64;
    let rewards = amount - community;
    let mut pools = view.pools();
    pools.rewards = pools.rewards.checked_add(rewards).expect("rewards are part of the supply");
    pools.community = pools.community.checked_add(community).expect("the community pool is part of the supply");
    view.set_pools(pools);
    let (units, power) = (units_of(rewards) + income.remainder, u128::from(income.power.0));
    income.per_power = match units / power {
        more if mutated(Mutation::SumsEnd) => income.per_power.saturating_add(more),
        more => income.per_power.wrapping_add(more),
    };
    income.remainder = if mutated(Mutation::LoseRemainder) { 0 } else { units % power };
}
