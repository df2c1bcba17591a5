//! Rewards: what the power of validators earns, and what of it is due to their operators and delegators.
//!
//! Two kinds of sums replace all work per validator and delegator:
//!
//! | sum | a block or a touch adds | due is |
//! |---|---|---|
//! | per unit of power, one for the chain | the income of a height / the power of its set | power · (the sum now − the sum up to which the validator is *settled*) |
//! | per share, one for each validator | what its power earned, less the commission / its shares | shares · (the sum now − the sum at the last payment) |
//!
//! A validator is settled before its shares or its commission change, and before the power for which it earns changes. A
//! delegation is paid before its shares change. A slash changes no shares, and so no rewards.
//!
//! **Units.** All of it is counted in 2^-64 of money, in 128 bits. Divisions round down, and what they leave is added to
//! the next amount that is divided; the fraction that a payment leaves is shared by all delegators of the validator. So the
//! rewards pool is, exactly (ST3),
//!
//! ```text
//!  pool · 2^64 = remainder of the chain
//!              + for each validator: power · (per_power − settled) + commission + remainder
//!                  + for each of its delegations: shares · (per_share − its per_share)
//! ```
//!
//! **Nothing overflows.** The pool is part of the supply, below 2^64, so the right side and each of its parts are below 2^128:
//! each product and sum of this file is one of these parts, and so is an amount together with the remainder that it is divided
//! with. A power or a number of shares is at least 1 where a difference of sums matters, so each such difference is below 2^128 as
//! well. Therefore the sums themselves may exceed 128 bits: they wrap around, and a wrapping difference is the true one.
//!
//! **Precision.** A validator's remainder is less than one unit per share: 2^-32 of its stake before any slash.

use prost::Message;
use types::{Address, BPS_MAX, Event, Height, Power, Reader, pb};

use super::record::{Delegation, StakedValidator, bytes_of, number_of};
use crate::{
    event::event,
    kv::height_pb,
    mutation::{Mutation, mutated},
    state::key,
    view::View,
};

/// Number of heights from the block that computes a set to the one that distributes the first income of this set: it acts two
/// heights later, and the block after that distributes.
const SHIFT_HEIGHTS: u64 = 3;

/// What the power of a validator earned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earnings {
    /// Power for which the validator earns now: that of the set whose income was distributed last.
    pub(super) power: Power,
    /// The powers that follow, one for each block that changed the power since.
    pub(super) waiting: Vec<Power>,
    /// Sum per unit of power up to which the validator is settled.
    settled: u128,
    /// Units that are due to the operator.
    commission: u128,
    /// Sum per share.
    per_share: u128,
    /// Units that are not divided among the shares yet.
    remainder: u128,
}

/// The income of the chain, which is one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Income {
    /// Sum per unit of power.
    pub per_power: u128,
    /// Units that are not divided yet.
    pub remainder: u128,
    /// Power of the set whose income was distributed last.
    pub power: Power,
    /// Time up to which money was issued, in milliseconds since the Unix epoch; `None` if none is issued.
    pub issued_until_ms: Option<u64>,
    /// What the last division of the issuance left.
    pub issued_remainder: u64,
    /// Changes of power that act later, at most one for each of the last three blocks.
    pub shifts: Vec<pb::PowerShift>,
}

/// Returns the units of an amount.
pub(super) fn units_of(amount: u64) -> u128 {
    u128::from(amount) << 64
}

/// Returns a part of an amount, rounded down. `bps` is in hundredths of a percent, 10000 at most.
pub(super) fn part_of(amount: u128, bps: u64) -> u128 {
    let (bps, all) = (u128::from(bps), u128::from(BPS_MAX));
    amount / all * bps + amount % all * bps / all
}

impl Earnings {
    /// Returns what is due to the operator, in whole units of money.
    pub fn commission_due(&self) -> u64 {
        (self.commission >> 64) as u64
    }

    /// Returns true if income can still come, for a power of the past.
    pub(super) fn can_earn(&self) -> bool {
        (self.power > Power::ZERO || !self.waiting.is_empty()) && !mutated(Mutation::EndEarning)
    }

    /// Takes what is due to the operator, without a fraction, and returns it.
    pub(super) fn take_commission(&mut self) -> u64 {
        let amount = self.commission_due();
        self.commission -= units_of(amount);
        amount
    }

    /// Returns what belongs to no account when the validator ends: what payments and divisions left.
    pub(super) fn rest(&self) -> u128 {
        self.commission + self.remainder
    }

    pub(super) fn to_pb(&self) -> pb::Earnings {
        pb::Earnings {
            power: self.power.0,
            waiting: self.waiting.iter().map(|power| power.0).collect(),
            settled: bytes_of(self.settled),
            commission: bytes_of(self.commission),
            per_share: bytes_of(self.per_share),
            remainder: bytes_of(self.remainder),
        }
    }

    pub(super) fn from_pb(pb: pb::Earnings) -> Option<Self> {
        Some(Self {
            power: Power(pb.power),
            waiting: pb.waiting.into_iter().map(Power).collect(),
            settled: number_of(&pb.settled)?,
            commission: number_of(&pb.commission)?,
            per_share: number_of(&pb.per_share)?,
            remainder: number_of(&pb.remainder)?,
        })
    }
}

impl StakedValidator {
    /// Divides what the power of the validator earned since it was settled: the commission first, the rest among the shares.
    pub(super) fn settle(&mut self, per_power: u128) {
        let (earnings, rate) = (&mut self.earnings, self.commission.rate_bps.into());
        let earned = per_power.wrapping_sub(earnings.settled).checked_mul(earnings.power.0.into());
        let earned = earned.expect("what a validator earned is part of the rewards pool");
        earnings.settled = per_power;
        let commission = if mutated(Mutation::NoCommission) { 0 } else { part_of(earned, rate) };
        earnings.commission += commission;
        let to_divide = earned - if mutated(Mutation::CommissionOnTop) { 0 } else { commission } + earnings.remainder;
        match to_divide.checked_div(self.shares) {
            Some(per_share) => {
                earnings.per_share = earnings.per_share.wrapping_add(per_share);
                earnings.remainder = to_divide % self.shares;
            }
            // It is still in the set, and no delegator is left.
            None => {
                earnings.commission += to_divide;
                earnings.remainder = 0;
            }
        }
    }

    /// Returns the units that a settled validator owes to a delegation.
    pub(super) fn due(&self, delegation: &Delegation) -> u128 {
        let per_share = self.earnings.per_share.wrapping_sub(delegation.per_share);
        per_share.checked_mul(delegation.shares).expect("what is due is part of the rewards pool")
    }

    /// Returns what a settled validator owes to a delegation, in whole units of money.
    pub(crate) fn due_amount(&self, delegation: &Delegation) -> u64 {
        let due = self.due(delegation);
        let amount = (due >> 64) as u64;
        if mutated(Mutation::RoundRewardUp) && due > units_of(amount) { amount + 1 } else { amount }
    }

    /// Takes what is due to a delegation, without the fraction, and returns it. The validator must be settled.
    pub(super) fn take_due(&mut self, delegation: &mut Delegation) -> u64 {
        let (due, amount) = (self.due(delegation), self.due_amount(delegation));
        if !mutated(Mutation::PayAgain) {
            delegation.per_share = self.earnings.per_share;
            self.earnings.remainder += due % units_of(1);
        }
        amount
    }

    /// Divides what is due to shares of a delegation, which are taken away, among all shares. The validator must be settled.
    pub(super) fn forfeit(&mut self, delegation: &Delegation, shares: u128) {
        let per_share = self.earnings.per_share.wrapping_sub(delegation.per_share);
        let due = per_share.checked_mul(shares).expect("what is due is part of the rewards pool");
        self.earnings.remainder += if mutated(Mutation::ForfeitNothing) { 0 } else { due };
    }

    /// Sets the power for which the validator earns to the next one that waits. The validator must be settled.
    pub(super) fn shift_power(&mut self) {
        if !self.earnings.waiting.is_empty() {
            self.earnings.power = self.earnings.waiting.remove(0);
        }
    }
}

impl<R: Reader + ?Sized> View<'_, R> {
    /// Returns a validator with all that it has earned until now.
    pub(crate) fn settled_validator(&mut self, operator: &Address) -> Option<StakedValidator> {
        let mut validator = self.validator(operator)?;
        if !mutated(Mutation::ForgetSettle) {
            validator.settle(self.income().per_power);
        }
        Some(validator)
    }

    pub(super) fn income(&mut self) -> Income {
        let Some(pb) = self.message::<pb::Income>(key::INCOME) else { return Income::default() };
        let sums = number_of(&pb.per_power).zip(number_of(&pb.remainder));
        let sums = sums.or_else(|| self.unreadable(key::INCOME, "a number has not 16 bytes"));
        let (per_power, remainder) = sums.unwrap_or_default();
        Income {
            per_power,
            remainder,
            power: Power(pb.power),
            issued_until_ms: pb.issued_until_ms,
            issued_remainder: pb.issued_remainder,
            shifts: pb.shifts,
        }
    }

    pub(super) fn set_income(&mut self, income: Income) {
        let pb = pb::Income {
            per_power: bytes_of(income.per_power),
            remainder: bytes_of(income.remainder),
            power: income.power.0,
            issued_until_ms: income.issued_until_ms,
            issued_remainder: income.issued_remainder,
            shifts: income.shifts,
        };
        self.set(key::INCOME, Some(pb.encode_to_vec()).filter(|value| !value.is_empty()));
    }

    /// Remembers validators whose power changes in the set that the block of `height` computes, for the time when this set has
    /// income; `power` is that of all its validators.
    pub(super) fn shift_powers(&mut self, height: Height, power: Power, operators: &[Address]) {
        let mut income = self.income();
        let due = if mutated(Mutation::RewardNewSet) { height.0 + 1 } else { height.0 + SHIFT_HEIGHTS };
        let operators = operators.iter().map(|operator| operator.0.to_vec()).collect();
        income.shifts.push(pb::PowerShift { height: height_pb(Height(due)), power: power.0, operators });
        self.set_income(income);
    }

    /// Pays an operator its commission, and returns the event; `None` if nothing is due.
    pub(super) fn pay_commission(&mut self, operator: &Address, earnings: &mut Earnings) -> Option<Event> {
        let amount = earnings.take_commission();
        if amount == 0 {
            return None;
        }
        self.take_rewards(amount);
        self.pay(operator, amount);
        let validator = ("validator", (operator.to_string(), true));
        Some(event("staking.commission_paid", [validator, ("amount", (amount.to_string(), false))]))
    }

    /// Pays a delegator what is due to its delegation, and returns the event; `None` if nothing is due. The validator must be
    /// settled.
    pub(super) fn pay_due(
        &mut self,
        (delegator, operator): (&Address, &Address),
        validator: &mut StakedValidator,
        delegation: &mut Delegation,
    ) -> Option<Event> {
        let amount = validator.take_due(delegation);
        if amount == 0 {
            return None;
        }
        self.take_rewards(amount);
        self.pay(delegator, amount);
        Some(event(
            "staking.rewards_paid",
            [
                ("delegator", (delegator.to_string(), true)),
                ("validator", (operator.to_string(), true)),
                ("amount", (amount.to_string(), false)),
            ],
        ))
    }

    /// Pays the operator of a validator that ends its commission, and returns the event. The rest is income again.
    pub(super) fn end_earnings(&mut self, operator: &Address, mut earnings: Earnings) -> Option<Event> {
        let paid = if mutated(Mutation::KeepCommission) { None } else { self.pay_commission(operator, &mut earnings) };
        let rest = earnings.rest();
        let whole = (rest >> 64) as u64;
        self.take_rewards(whole);
        self.add_to_fee_pool(whole);
        let mut income = self.income();
        income.remainder += rest - units_of(whole);
        self.set_income(income);
        paid
    }

    /// Takes an amount from the rewards pool.
    fn take_rewards(&mut self, amount: u64) {
        let mut pools = self.pools();
        pools.rewards = pools.rewards.checked_sub(amount).expect("what is due is part of the rewards pool (ST3)");
        self.set_pools(pools);
    }
}
