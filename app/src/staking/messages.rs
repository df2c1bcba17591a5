//! The messages of transactions about stake.

use std::time::Duration;

use types::{
    Address, ChainId, Commission, Deadline, Description, Event, Params, Reader, StakeMsg, ValidatorCreate,
    ValidatorEdit, is_plain,
    limits::{DETAILS_BYTES_MAX, MONIKER_BYTES_MAX, WEBSITE_BYTES_MAX},
};

use super::{
    changes::Staked,
    queue::{self, Item, What},
    record::{Delegation, Departure, Jail, JailReason, StakedValidator},
    rotate::rotate,
};
use crate::{
    error::Refusal,
    kv::At,
    mutation::{Mutation, mutated},
    view::View,
};

/// Maximum number of unbondings of one delegator from one validator, and of redelegations of one delegator to one validator.
pub const DEPARTURES_MAX: usize = 7;

/// Minimum time between two changes of a commission.
const COMMISSION_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Checks the parts of a message that do not depend on the state, and returns the amount that the signer needs for it.
///
/// Errors: the [`Refusal`] of executing it.
pub(crate) fn check_stake(params: &Params, message: &StakeMsg) -> Result<u64, Refusal> {
    match message {
        StakeMsg::Create(create) => {
            check_description(&create.description)?;
            check_commission(params, &create.commission)?;
            check_own_min(create.own_min, params.staking.own_stake_min)?;
            check_own_min(create.amount, create.own_min)?;
            Ok(create.amount)
        }
        StakeMsg::Edit(edit) => edit.description.as_ref().map_or(Ok(()), check_description).map(|()| 0),
        StakeMsg::Delegate { amount, .. } => check_amount(*amount).map(|()| *amount),
        StakeMsg::Undelegate { amount, .. } => amount.map_or(Ok(()), check_amount).map(|()| 0),
        StakeMsg::Cancel { amount, .. } => check_amount(*amount).map(|()| 0),
        StakeMsg::Redelegate { from, to, amount } => {
            if from == to && !mutated(Mutation::RedelegateToSelf) {
                return Err(Refusal::SameValidator { validator: *to });
            }
            check_amount(*amount).map(|()| 0)
        }
        StakeMsg::Unjail | StakeMsg::WithdrawRewards { .. } | StakeMsg::WithdrawCommission | StakeMsg::RotateKey(_) => {
            Ok(0)
        }
    }
}

fn check_amount(amount: u64) -> Result<(), Refusal> {
    if amount == 0 { Err(Refusal::ZeroAmount) } else { Ok(()) }
}

fn check_own_min(got: u64, min: u64) -> Result<(), Refusal> {
    if got < min && !mutated(Mutation::AnyOwnStake) {
        return Err(Refusal::TooLittle { got, min });
    }
    Ok(())
}

fn check_description(description: &Description) -> Result<(), Refusal> {
    let Description { moniker, website, details } = description;
    let parts = [
        ("moniker", moniker, 1, MONIKER_BYTES_MAX),
        ("website", website, 0, WEBSITE_BYTES_MAX),
        ("details", details, 0, DETAILS_BYTES_MAX),
    ];
    for (part, text, min, max) in parts {
        let fits = (min..=max).contains(&text.len()) && text.chars().all(is_plain);
        if !fits && !mutated(Mutation::AnyDescription) {
            return Err(Refusal::BadDescription { part, got: text.len(), min, max });
        }
    }
    Ok(())
}

fn check_commission(params: &Params, commission: &Commission) -> Result<(), Refusal> {
    let [rate, max, rise] = [commission.rate_bps, commission.max_bps, commission.rise_max_bps].map(u64::from);
    let staking = &params.staking;
    let fits = staking.commission_bps_min <= rate && rate <= max && rise <= max && max <= staking.commission_bps_max;
    if !fits && !mutated(Mutation::AnyCommission) {
        let max = max.min(staking.commission_bps_max);
        return Err(Refusal::BadCommission { got: rate, min: staking.commission_bps_min, max, next_change: None });
    }
    Ok(())
}

/// Executes a message.
///
/// Errors: the [`Refusal`]; some writes may have been made then, which the caller undoes.
pub(crate) fn execute<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    chain_id: &ChainId,
    signer: &Address,
    message: &StakeMsg,
    staked: &mut Staked,
) -> Result<Vec<Event>, Refusal> {
    check_stake(at.params, message)?;
    let mut stake = Stake { view, at, signer, staked, events: Vec::new() };
    match message {
        StakeMsg::Create(create) => stake.create(chain_id, create)?,
        StakeMsg::Edit(edit) => stake.edit(edit)?,
        StakeMsg::Delegate { validator, amount } => stake.delegate(validator, *amount)?,
        StakeMsg::Undelegate { validator, amount } => stake.undelegate(validator, *amount)?,
        StakeMsg::Cancel { validator, id, amount } => stake.cancel(validator, *id, *amount)?,
        StakeMsg::Redelegate { from, to, amount } => stake.redelegate(from, to, *amount)?,
        StakeMsg::Unjail => stake.unjail()?,
        StakeMsg::WithdrawRewards { validator } => stake.withdraw_rewards(validator)?,
        StakeMsg::WithdrawCommission => stake.withdraw_commission()?,
        StakeMsg::RotateKey(new) => {
            let event = rotate(stake.view, at, chain_id, *signer, new, stake.staked)?;
            stake.events.push(event);
        }
    }
    Ok(stake.events)
}

/// The execution of a message.
struct Stake<'s, 'a, R: ?Sized> {
    view: &'s mut View<'a, R>,
    at: &'s At<'s>,
    signer: &'s Address,
    staked: &'s mut Staked,
    events: Vec<Event>,
}

impl<R: Reader + ?Sized> Stake<'_, '_, R> {
    fn store(&mut self, operator: &Address, validator: &StakedValidator) {
        self.view.set_validator(operator, Some(validator));
        self.staked.changed.insert(*operator);
    }

    /// Returns a validator, with all that it has earned until now.
    fn known(&mut self, operator: &Address) -> Result<StakedValidator, Refusal> {
        self.view.settled_validator(operator).ok_or(Refusal::UnknownValidator { validator: *operator })
    }

    /// Returns the validator of the signer, with all that it has earned until now.
    fn own(&mut self) -> Result<StakedValidator, Refusal> {
        self.view.settled_validator(self.signer).ok_or(Refusal::NotValidator { signer: *self.signer })
    }

    /// Pays the signer what its delegation has earned, before its shares change. The validator must be settled.
    fn pay(&mut self, operator: &Address, validator: &mut StakedValidator, delegation: &mut Delegation) {
        self.events.extend(self.view.pay_due((self.signer, operator), validator, delegation));
    }

    /// Adds an event about the signer's stake at a validator.
    fn tell<const N: usize>(&mut self, kind: &str, validator: &Address, rest: [(&'static str, String); N]) {
        let parties = [("delegator", self.signer.to_string(), true), ("validator", validator.to_string(), true)];
        let rest = rest.map(|(key, value)| (key, value, false));
        self.events.push(Event::new(kind, parties.into_iter().chain(rest)));
    }

    /// Adds an event about the signer's validator.
    fn tell_own<const N: usize>(&mut self, kind: &str, rest: [(&'static str, String); N]) {
        let validator = std::iter::once(("validator", self.signer.to_string(), true));
        let rest = rest.map(|(key, value)| (key, value, false));
        self.events.push(Event::new(kind, validator.chain(rest)));
    }

    fn create(&mut self, chain_id: &ChainId, create: &ValidatorCreate) -> Result<(), Refusal> {
        let operator = *self.signer;
        if self.view.validator(&operator).is_some() && !mutated(Mutation::ValidatorTwice) {
            return Err(Refusal::ValidatorExists { operator });
        }
        let consensus = create.public_key.address();
        if let Some(other) = self.view.key_owner(&consensus).filter(|_| !mutated(Mutation::AnyKey)) {
            return Err(Refusal::KeyInUse { consensus, operator: other });
        }
        self.view.take(&operator, create.amount)?;
        let signed_for = if mutated(Mutation::AnyPossession) { Address::default() } else { operator };
        create.check_possession(chain_id, &signed_for).map_err(|_| Refusal::BadPossession { consensus, operator })?;
        self.view.bond(create.amount, self.at.params.staking.power_unit)?;
        let (description, now) = (create.description.clone(), Deadline::at(self.at.time));
        let mut validator =
            StakedValidator::new(create.public_key, description, create.commission, create.own_min, now);
        let shares = validator.add(create.amount).ok_or(Refusal::NoValue { validator: operator })?;
        let delegation = self.view.delegation(&operator, &operator);
        let delegation = Delegation { shares, ..delegation };
        self.view.set_delegation(&operator, &operator, &delegation);
        self.view.set_key_owner(&consensus, Some(&operator));
        self.store(&operator, &validator);
        let rest = [("consensus", consensus.to_string()), ("amount", create.amount.to_string())];
        self.tell_own("staking.validator_created", rest);
        Ok(())
    }

    fn edit(&mut self, edit: &ValidatorEdit) -> Result<(), Refusal> {
        let (operator, mut validator) = (*self.signer, self.own()?);
        if let Some(rate) = edit.commission_bps {
            self.change_commission(&mut validator, rate)?;
        }
        if let Some(min) = edit.own_min {
            check_own_min(min, validator.own_min)?;
            let shares = self.view.delegation(&operator, &operator).shares;
            check_own_min(validator.worth(shares), min)?;
            validator.own_min = min;
        }
        if let Some(description) = &edit.description {
            validator.description = description.clone();
        }
        let rest =
            [("commission_bps", validator.commission.rate_bps.to_string()), ("own_min", validator.own_min.to_string())];
        self.view.set_validator(&operator, Some(&validator));
        self.tell_own("staking.validator_edited", rest);
        Ok(())
    }

    fn change_commission(&mut self, validator: &mut StakedValidator, rate: u32) -> Result<(), Refusal> {
        let (commission, staking) = (validator.commission, &self.at.params.staking);
        let rise = commission.rate_bps.saturating_add(commission.rise_max_bps);
        let max = u64::from(commission.max_bps.min(rise)).min(staking.commission_bps_max);
        let next = At { time: validator.commission_changed.time(), ..*self.at }.after(COMMISSION_PAUSE);
        let is_early = !next.has_passed(self.at.time) && !mutated(Mutation::NoCommissionPause);
        let fits = (staking.commission_bps_min..=max).contains(&u64::from(rate)) || mutated(Mutation::AnyRise);
        if is_early || !fits {
            let (got, min, next_change) = (rate.into(), staking.commission_bps_min, Some(next));
            return Err(Refusal::BadCommission { got, min, max, next_change });
        }
        validator.commission.rate_bps = rate;
        validator.commission_changed = Deadline::at(self.at.time);
        Ok(())
    }

    fn delegate(&mut self, operator: &Address, amount: u64) -> Result<(), Refusal> {
        let mut validator = self.known(operator)?;
        let mut delegation = self.view.delegation(self.signer, operator);
        self.pay(operator, &mut validator, &mut delegation);
        // First the money: an amount that the signer does not have could not be added to the stake of the validator.
        self.view.take(self.signer, amount)?;
        let shares = validator.add(amount).ok_or(Refusal::NoValue { validator: *operator })?;
        self.view.bond(amount, self.at.params.staking.power_unit)?;
        delegation.shares += shares;
        self.view.set_delegation(self.signer, operator, &delegation);
        self.store(operator, &validator);
        self.tell("staking.delegated", operator, [("amount", amount.to_string()), ("shares", shares.to_string())]);
        Ok(())
    }

    /// Returns the shares of a delegation that pay an amount; for no amount all, and what they are worth.
    fn shares(
        &self,
        operator: &Address,
        validator: Option<&StakedValidator>,
        delegation: &Delegation,
        amount: Option<u64>,
    ) -> Result<(u128, u64), Refusal> {
        let have = validator.map_or(0, |validator| validator.worth(delegation.shares));
        let refused = Refusal::NoDelegation { validator: *operator, have };
        let Some(validator) = validator.filter(|_| delegation.shares > 0) else { return Err(refused) };
        let Some(amount) = amount else { return Ok((delegation.shares, have)) };
        let price = validator.price(amount).filter(|_| amount <= have || mutated(Mutation::AnyAmount));
        price.map(|shares| (shares.min(delegation.shares), amount.min(validator.tokens))).ok_or(refused)
    }

    fn undelegate(&mut self, operator: &Address, amount: Option<u64>) -> Result<(), Refusal> {
        let found = self.view.settled_validator(operator);
        let mut delegation = self.view.delegation(self.signer, operator);
        let (shares, amount) = self.shares(operator, found.as_ref(), &delegation, amount)?;
        let mut validator = found.ok_or(Refusal::UnknownValidator { validator: *operator })?;
        if delegation.unbonding.len() >= DEPARTURES_MAX && !mutated(Mutation::AnyUnbondings) {
            return Err(Refusal::TooManyDepartures { validator: *operator, max: DEPARTURES_MAX });
        }
        self.pay(operator, &mut validator, &mut delegation);
        validator.remove(shares, amount);
        delegation.shares -= shares;
        self.view.unbond(amount);
        let id = self.depart(operator, &mut validator, amount, None);
        delegation.unbonding.push(id);
        self.view.set_delegation(self.signer, operator, &delegation);
        let completes = self.at.after(self.at.params.staking.unbonding);
        let rest = [
            ("amount", amount.to_string()),
            ("completes_at", completes.unix_millis().to_string()),
            ("id", id.to_string()),
        ];
        self.tell("staking.undelegated", operator, rest);
        self.check_own_stake(operator, &mut validator, &delegation);
        self.store(operator, &validator);
        Ok(())
    }

    /// Records stake of the signer that leaves a validator in this block, and returns its number.
    fn depart(
        &mut self,
        operator: &Address,
        validator: &mut StakedValidator,
        tokens: u64,
        to: Option<(Address, u128)>,
    ) -> u64 {
        let id = validator.next_departure;
        validator.next_departure += 1;
        validator.departures += 1;
        let batch = queue::add(self.view, Item { validator: *operator, what: What::Departure(id) });
        let (delegator, height) = (*self.signer, self.at.height);
        let departure = Departure { delegator, tokens_start: tokens, tokens, height, batch, to };
        self.view.set_departure(operator, id, Some(&departure));
        id
    }

    /// Puts a validator into jail if its operator, the signer, left less than the minimum of its own stake.
    fn check_own_stake(&mut self, operator: &Address, validator: &mut StakedValidator, own: &Delegation) {
        let is_low = self.signer == operator && validator.worth(own.shares) < validator.own_min;
        if is_low && validator.jail.is_none() && !mutated(Mutation::IgnoreOwnStake) {
            let why = JailReason::OwnStake;
            validator.jail = Some(Jail { until: Deadline::at(self.at.time), why });
            self.tell_own("staking.jailed", [("why", why.name().to_owned())]);
        }
    }

    fn redelegate(&mut self, from: &Address, to: &Address, amount: u64) -> Result<(), Refusal> {
        let found = self.view.settled_validator(from);
        let mut left = self.view.delegation(self.signer, from);
        let (shares, amount) = self.shares(from, found.as_ref(), &left, Some(amount))?;
        let mut source = found.ok_or(Refusal::UnknownValidator { validator: *from })?;
        if let Some((other, id)) = left.arrivals.last().copied().filter(|_| !mutated(Mutation::Transitive)) {
            let batch = self.view.departure(&other, id).map_or(0, |departure| departure.batch);
            let until = queue::completes(self.view, batch);
            let until = until.unwrap_or_else(|| self.at.after(self.at.params.staking.unbonding));
            return Err(Refusal::Transitive { validator: *from, until });
        }
        let mut target = self.known(to)?;
        let mut gained = self.view.delegation(self.signer, to);
        if gained.arrivals.len() >= DEPARTURES_MAX && !mutated(Mutation::AnyRedelegations) {
            return Err(Refusal::TooManyDepartures { validator: *to, max: DEPARTURES_MAX });
        }
        self.pay(from, &mut source, &mut left);
        self.pay(to, &mut target, &mut gained);
        let new = target.add(amount).ok_or(Refusal::NoValue { validator: *to })?;
        source.remove(shares, amount);
        (left.shares, gained.shares) = (left.shares - shares, gained.shares + new);
        let id = self.depart(from, &mut source, amount, Some((*to, new)));
        gained.arrivals.push((*from, id));
        self.view.set_delegation(self.signer, from, &left);
        self.view.set_delegation(self.signer, to, &gained);
        let rest = [("amount", amount.to_string()), ("from", from.to_string()), ("shares", new.to_string())];
        self.tell("staking.redelegated", to, rest);
        self.check_own_stake(from, &mut source, &left);
        self.store(from, &source);
        self.store(to, &target);
        Ok(())
    }

    fn cancel(&mut self, operator: &Address, id: u64, amount: u64) -> Result<(), Refusal> {
        let mut validator = self.known(operator)?;
        let Some(mut departure) = self.view.departure(operator, id) else {
            let was = (1..validator.next_departure).contains(&id);
            return Err(if was { Refusal::Matured { id } } else { Refusal::UnknownUnbonding { id } });
        };
        let is_own = departure.delegator == *self.signer || mutated(Mutation::CancelOthers);
        if departure.to.is_some() || !is_own {
            return Err(Refusal::UnknownUnbonding { id });
        }
        let completes = queue::completes(self.view, departure.batch);
        if completes.is_some_and(|completes| completes.has_passed(self.at.time)) && !mutated(Mutation::CancelMatured) {
            return Err(Refusal::Matured { id });
        }
        if validator.is_tombstoned && !mutated(Mutation::CancelTombstoned) {
            return Err(Refusal::Tombstoned { operator: *operator });
        }
        if amount > departure.tokens {
            return Err(Refusal::NoDelegation { validator: *operator, have: departure.tokens });
        }
        let mut delegation = self.view.delegation(self.signer, operator);
        self.pay(operator, &mut validator, &mut delegation);
        let shares = validator.add(amount).ok_or(Refusal::NoValue { validator: *operator })?;
        self.view.release(amount);
        self.view.bond(amount, self.at.params.staking.power_unit)?;
        delegation.shares += shares;
        departure.tokens -= amount;
        if departure.tokens == 0 {
            delegation.unbonding.retain(|other| *other != id);
            validator.end_departure(id);
        }
        self.view.set_departure(operator, id, Some(&departure).filter(|departure| departure.tokens > 0));
        self.view.set_delegation(self.signer, operator, &delegation);
        self.store(operator, &validator);
        let rest = [("amount", amount.to_string()), ("id", id.to_string()), ("shares", shares.to_string())];
        self.tell("staking.undelegate_cancelled", operator, rest);
        Ok(())
    }

    fn unjail(&mut self) -> Result<(), Refusal> {
        let (operator, mut validator) = (*self.signer, self.own()?);
        let Some(jail) = validator.jail else { return Err(Refusal::NotJailed { operator }) };
        if validator.is_tombstoned && !mutated(Mutation::UnjailTombstoned) {
            return Err(Refusal::Tombstoned { operator });
        }
        if !jail.until.has_passed(self.at.time) && !mutated(Mutation::UnjailEarly) {
            return Err(Refusal::Jailed { until: jail.until });
        }
        let shares = self.view.delegation(&operator, &operator).shares;
        check_own_min(validator.worth(shares), validator.own_min)?;
        validator.jail = None;
        self.store(&operator, &validator);
        self.tell_own("staking.unjailed", []);
        Ok(())
    }

    fn withdraw_rewards(&mut self, operator: &Address) -> Result<(), Refusal> {
        let mut validator = self.known(operator)?;
        let mut delegation = self.view.delegation(self.signer, operator);
        let paid = self.view.pay_due((self.signer, operator), &mut validator, &mut delegation);
        if paid.is_none() && !mutated(Mutation::WithdrawNothing) {
            return Err(Refusal::NothingDue { validator: *operator });
        }
        self.events.extend(paid);
        self.view.set_delegation(self.signer, operator, &delegation);
        self.view.set_validator(operator, Some(&validator));
        Ok(())
    }

    fn withdraw_commission(&mut self) -> Result<(), Refusal> {
        let (operator, mut validator) = (*self.signer, self.own()?);
        let paid = self.view.pay_commission(&operator, &mut validator.earnings);
        if paid.is_none() && !mutated(Mutation::WithdrawNothing) {
            return Err(Refusal::NothingDue { validator: operator });
        }
        self.events.extend(paid);
        self.view.set_validator(&operator, Some(&validator));
        Ok(())
    }
}
