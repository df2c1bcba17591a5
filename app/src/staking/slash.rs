//! Slashing: what a validator that signed twice loses, and all whose stake counted for it then.
//!
//! The fraction is of the stake as it was bonded at the height of the infraction, which is the power in the evidence times
//! the unit of power. Stake that left since pays from where it is now; the validator's tokens pay the rest:
//!
//! | stake | pays |
//! |---|---|
//! | unbonds from the validator | the fraction of what waits |
//! | was redelegated | the fraction of its shares at the target, as far as they are still there; the rest from what this delegator unbonds from the target since |
//! | is at the validator | what the others do not owe, by a change of the tokens and the price: one row, whatever the number of delegators |
//!
//! **Which stake left since.** The set of height h was computed by block h - 2, so what left in block d counted at h if
//! d ≥ h - 1. Departures are numbered in the order of their blocks: a walk from the newest one ends at the first that did not
//! count. A validator that kept its power because no other one could replace it answers with what left it meanwhile, too.
//!
//! **Once.** A validator pays for its first double sign, and is in jail for ever. Evidence of another one finds departures that
//! have not paid only if it is of an earlier height, and then these pay their fraction. Each departure is thus looked at once,
//! whatever the number of pieces of evidence, and what left after the first slash has paid by the price.
//!
//! A cancelled unbonding would be stake at the validator, which does not pay again: so none is cancelled at a validator that
//! signed twice.
//!
//! **Own stake.** An operator that redelegated stake to its own validator may lose so much of it there that the rest is below
//! its minimum. Then its validator is in jail from this block on.
//!
//! What is taken is burned. Amounts are rounded down. What a departure owes and cannot pay, because the stake is gone, is
//! not owed by anyone else.

use prost::Message;
use types::{Address, Deadline, Event, Hash, Height, Misbehavior, MisbehaviorKind, Power, Reader, pb};

use super::{
    changes::Staked,
    record::{Departure, Jail, JailReason, StakedValidator},
    rewards::part_of,
};
use crate::{
    event::event,
    kv::{At, height_pb},
    mutation::{Mutation, mutated},
    state::key,
    view::View,
};

/// What a validator was slashed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlashReason {
    /// It signed two votes that contradict each other.
    DuplicateVote,
    /// It signed a block for light clients that contradicts the chain.
    LightClientAttack,
    /// It signed nothing for too long.
    Downtime,
}

impl SlashReason {
    /// Returns the name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::DuplicateVote => MisbehaviorKind::DuplicateVote.name(),
            Self::LightClientAttack => MisbehaviorKind::LightClientAttack.name(),
            Self::Downtime => "downtime",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::DuplicateVote => 1,
            Self::LightClientAttack => 2,
            Self::Downtime => 3,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::DuplicateVote, Self::LightClientAttack, Self::Downtime].into_iter().find(|one| one.number() == number)
    }
}

impl From<MisbehaviorKind> for SlashReason {
    fn from(kind: MisbehaviorKind) -> Self {
        match kind {
            MisbehaviorKind::DuplicateVote => Self::DuplicateVote,
            MisbehaviorKind::LightClientAttack => Self::LightClientAttack,
        }
    }
}

/// What a validator and those behind it lost at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slash {
    /// What the validator did.
    pub why: SlashReason,
    /// Height at which it did so.
    pub height: Height,
    /// Height of the block that slashed it.
    pub block: Height,
    /// Share that is taken, in hundredths of a percent.
    pub fraction_bps: u64,
    /// Amount that was burned.
    pub burned: u64,
    /// Hash of the evidence; `None` for downtime.
    pub evidence: Option<Hash>,
}

/// Returns a share of an amount of money, rounded down. `bps` is in hundredths of a percent, 10000 at most.
pub(super) fn amount_of(amount: u64, bps: u64) -> u64 {
    let share = u64::try_from(part_of(amount.into(), bps)).expect("a share is not more than the whole");
    if mutated(Mutation::RoundBurnUp) { (share + 1).min(amount) } else { share }
}

impl StakedValidator {
    /// Takes an amount of the tokens, as far as there are so many, and raises the price to the least one at which the others pay
    /// for all shares. Returns the amount.
    pub(super) fn slash(&mut self, amount: u64) -> u64 {
        let taken = amount.min(self.tokens);
        self.tokens -= taken;
        if self.tokens > 0 && !mutated(Mutation::KeepPrice) {
            self.shares_per_token = self.shares_per_token.max(self.shares.div_ceil(self.tokens.into()));
        }
        taken
    }

    /// Returns true if a departure counted in the set of `height`. Of two departures, the later one did if the earlier one did.
    fn counted(&self, departure: &Departure, height: Height) -> bool {
        let last = if mutated(Mutation::SlashOtherHeight) { departure.height } else { departure.height.next() };
        let is_kept = self
            .kept
            .is_some_and(|kept| departure.height >= kept.from && kept.until.is_none_or(|until| until.next() >= height));
        let counted = last >= height || (is_kept && !mutated(Mutation::ForgetKept));
        counted && !mutated(Mutation::ForgetDepartures)
    }
}

/// The slash of one validator.
struct Slashing<'s, 'a, R: ?Sized> {
    view: &'s mut View<'a, R>,
    at: &'s At<'s>,
    operator: Address,
    bps: u64,
    staked: &'s mut Staked,
    /// Operators whose own stake falls below its minimum, and that were in the set.
    jailed: Vec<Address>,
    /// Burned so far of bonded stake.
    bonded: u64,
    /// Burned so far of stake that unbonds.
    unbonding: u64,
    /// The shares of departures, whether they were paid or not.
    owed: u64,
}

/// Slashes the validator that evidence names, and those whose stake counted for it; jails it for ever. Without effect if the
/// validator has ended, or has paid with all that counted.
///
/// Cost: some rows, and one for each departure of the unbonding time that no evidence has looked at; for one that is a
/// redelegation, those of two validators and of at most seven unbondings.
pub(crate) fn on_double_sign<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    misbehavior: &Misbehavior,
    staked: &mut Staked,
    events: &mut Vec<Event>,
) {
    let owner = view.key_owner(&misbehavior.validator).filter(|_| !mutated(Mutation::ForgiveDoubleSign));
    let Some(operator) = owner else { return };
    let Some(mut validator) = view.validator(&operator) else { return };
    let staking = &at.params.staking;
    let (bps, is_first) = (staking.slash_duplicate_vote_bps, !validator.is_tombstoned);
    let jailed = Vec::new();
    let mut slashing = Slashing { view, at, operator, bps, staked, jailed, bonded: 0, unbonding: 0, owed: 0 };
    if is_first {
        (validator.punished_from, validator.unpunished) = (validator.next_departure, validator.departures);
    }
    slashing.departures(&mut validator, misbehavior.height);
    if is_first || mutated(Mutation::SlashAgain) {
        let bonded = u128::from(misbehavior.power.0) * u128::from(staking.power_unit);
        let rest = part_of(bonded, bps).saturating_sub(slashing.owed.into());
        slashing.bonded += validator.slash(u64::try_from(rest).unwrap_or(u64::MAX));
        validator.is_tombstoned = !mutated(Mutation::NoTombstone);
        validator.jail = Some(Jail { until: Deadline::at(at.time), why: JailReason::DoubleSign });
    }
    let (burned, jailed) = slashing.finish();
    view.set_validator(&operator, Some(&validator));
    staked.changed.insert(operator);
    if is_first || burned > 0 {
        let slash = Slash {
            why: misbehavior.kind.into(),
            height: misbehavior.height,
            block: at.height,
            fraction_bps: bps,
            burned,
            evidence: Some(misbehavior.evidence),
        };
        record(view, &operator, &slash, events);
    }
    let until = Deadline::at(at.time);
    events.extend(jailed.iter().map(|low| jailed_event(low, Jail { until, why: JailReason::OwnStake })));
}

impl<R: Reader + ?Sized> Slashing<'_, '_, R> {
    /// Takes the share of what left the validator since a height, from the newest that has not paid.
    fn departures(&mut self, validator: &mut StakedValidator, height: Height) {
        while validator.unpunished > 0 && validator.punished_from > 1 {
            let id = validator.punished_from - 1;
            // One that has matured or was cancelled left no row.
            if let Some(mut departure) = self.view.departure(&self.operator, id) {
                if !validator.counted(&departure, height) {
                    return;
                }
                validator.unpunished -= 1;
                self.departure(&mut departure);
                self.view.set_departure(&self.operator, id, Some(&departure));
            }
            validator.punished_from = id;
        }
    }

    fn departure(&mut self, departure: &mut Departure) {
        let share = amount_of(departure.tokens, self.bps);
        self.owed = self.owed.saturating_add(share);
        match departure.to {
            None => self.unbonding += share,
            Some((to, shares)) => {
                let tokens_per = shares / u128::from(departure.tokens_start.max(1));
                self.redelegated(departure, to, part_of(shares, self.bps), tokens_per);
            }
        }
        departure.tokens -= share;
    }

    /// Takes shares at the target of a redelegation, with what is due to them; what is not there any more from what its owner unbonds since, at the
    /// price `shares_per_token` of the redelegation.
    fn redelegated(&mut self, departure: &Departure, to: Address, shares: u128, shares_per_token: u128) {
        // The target is kept at least as long as what came from there and unbonds.
        let Some(mut target) = self.view.settled_validator(&to).filter(|_| !mutated(Mutation::ForgetTarget)) else {
            return;
        };
        let mut delegation = self.view.delegation(&departure.delegator, &to);
        let there = shares.min(delegation.shares);
        target.forfeit(&delegation, there);
        let worth = target.worth(there);
        target.remove(there, worth);
        delegation.shares -= there;
        self.bonded += worth;
        let rest = (shares - there) / shares_per_token.max(1);
        let mut rest = u64::try_from(rest).unwrap_or(u64::MAX);
        for id in delegation.unbonding.iter().rev().filter(|_| !mutated(Mutation::ForgetFollowed)) {
            let Some(mut left) = self.view.departure(&to, *id) else { continue };
            if left.height < departure.height || rest == 0 {
                break;
            }
            let taken = rest.min(left.tokens);
            (left.tokens, rest) = (left.tokens - taken, rest - taken);
            self.unbonding += taken;
            self.view.set_departure(&to, *id, Some(&left));
        }
        if departure.delegator == to {
            self.check_own_stake(to, &mut target, delegation.shares);
        }
        self.view.set_delegation(&departure.delegator, &to, &delegation);
        self.view.set_validator(&to, Some(&target));
        self.staked.changed.insert(to);
    }

    /// Puts a validator into jail if the shares of its operator are worth less than the minimum. Only members of the set have
    /// an event: operators outside of it are not bounded in number.
    fn check_own_stake(&mut self, operator: Address, validator: &mut StakedValidator, shares: u128) {
        let is_low = validator.worth(shares) < validator.own_min && !mutated(Mutation::ForgetOwnStake);
        if !is_low || validator.jail.is_some() {
            return;
        }
        validator.jail = Some(Jail { until: Deadline::at(self.at.time), why: JailReason::OwnStake });
        if validator.power > Power::ZERO {
            self.jailed.push(operator);
        }
    }

    /// Burns what was taken; returns the amount, and the members of the set that are in jail now for their own stake.
    fn finish(self) -> (u64, Vec<Address>) {
        burn(self.view, self.bonded, self.unbonding);
        (self.bonded + self.unbonding, self.jailed)
    }
}

/// Returns the event of a validator that a block puts into jail.
pub(super) fn jailed_event(operator: &Address, jail: Jail) -> Event {
    event(
        "staking.jailed",
        [
            ("validator", (operator.to_string(), true)),
            ("why", (jail.why.name().to_owned(), false)),
            ("until", (jail.until.unix_millis().to_string(), false)),
        ],
    )
}

/// Takes amounts from the pools, and from the supply.
pub(super) fn burn<R: Reader + ?Sized>(view: &mut View<'_, R>, bonded: u64, unbonding: u64) {
    let mut pools = view.pools();
    pools.bonded = pools.bonded.checked_sub(bonded).expect("a validator's tokens are part of the pool");
    pools.unbonding = pools.unbonding.checked_sub(unbonding).expect("what unbonds is part of the pool");
    view.set_pools(pools);
    if !mutated(Mutation::BurnKeepsSupply) {
        let supply = view.supply().checked_sub(bonded + unbonding).expect("stake is part of the supply");
        view.set_supply(supply);
    }
}

/// Stores a slash under the next number of its validator, and announces it.
pub(super) fn record<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    operator: &Address,
    slash: &Slash,
    events: &mut Vec<Event>,
) {
    let number = view.slashes(operator) + 1;
    view.set_amount(&key::slashes(operator), number);
    view.set(&key::slash(operator, number), Some(slash.to_pb().encode_to_vec()));
    events.push(event(
        "staking.slashed",
        [
            ("validator", (operator.to_string(), true)),
            ("infraction", (slash.why.name().to_owned(), false)),
            ("height", (slash.height.to_string(), false)),
            ("fraction_bps", (slash.fraction_bps.to_string(), false)),
            ("burned", (slash.burned.to_string(), false)),
            ("tombstoned", ((slash.why != SlashReason::Downtime).to_string(), false)),
        ],
    ));
}

impl Slash {
    /// Reads the value under a slash's key, for example from a proof; `None` if it is no slash.
    pub fn from_value(value: &[u8]) -> Option<Self> {
        Self::from_pb(pb::Slash::decode(value).ok()?)
    }

    fn to_pb(&self) -> pb::Slash {
        pb::Slash {
            infraction: self.why.number(),
            height: height_pb(self.height),
            block: height_pb(self.block),
            fraction_bps: self.fraction_bps,
            burned: self.burned,
            evidence: self.evidence.map(|hash| hash.0.to_vec()).unwrap_or_default(),
        }
    }

    fn from_pb(pb: pb::Slash) -> Option<Self> {
        Some(Self {
            why: SlashReason::from_number(pb.infraction)?,
            height: Height(u64::try_from(pb.height).ok()?),
            block: Height(u64::try_from(pb.block).ok()?),
            fraction_bps: pb.fraction_bps,
            burned: pb.burned,
            evidence: match pb.evidence.len() {
                0 => None,
                _ => Some(Hash(pb.evidence.try_into().ok()?)),
            },
        })
    }
}

impl<R: Reader + ?Sized> View<'_, R> {
    /// Returns how often the validator of an operator was slashed.
    pub fn slashes(&mut self, operator: &Address) -> u64 {
        self.amount(&key::slashes(operator))
    }

    /// Returns a slash of a validator by its number, from 1.
    pub fn slash(&mut self, operator: &Address, number: u64) -> Option<Slash> {
        let key = key::slash(operator, number);
        let pb: pb::Slash = self.message(&key)?;
        Slash::from_pb(pb).or_else(|| self.unreadable(&key, "it is not a slash"))
    }
}
