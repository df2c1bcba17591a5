//! Validators, delegations and departures as rows of N.

use prost::Message;
use types::{
    Address, Commission, ConsensusPublicKey, Deadline, Description, Height, Power, Reader, Wire,
    limits::POWER_TOTAL_MAX, pb,
};

use super::rewards::Earnings;
use crate::{
    error::Refusal,
    kv::height_pb,
    mutation::{Mutation, mutated},
    state::{Account, Operator, key},
    view::View,
};

/// Shares per token of a validator that was never slashed.
const FIRST_PRICE: u128 = 1 << 32;

/// A validator, which its operator created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StakedValidator {
    /// Consensus key of the validator.
    pub public_key: ConsensusPublicKey,
    /// Description of the validator for people.
    pub description: Description,
    /// Share of the rewards that the operator keeps.
    pub commission: Commission,
    /// Time of the last change of the commission.
    pub commission_changed: Deadline,
    /// Minimum of the operator's own stake.
    pub own_min: u64,
    /// Stake of all delegations together.
    pub tokens: u64,
    /// Shares of all delegations together.
    pub shares: u128,
    /// Number of shares for one token.
    pub shares_per_token: u128,
    /// Power in the set that the last block computed; 0 if it is not in that set.
    pub power: Power,
    /// The batch with which it ends to unbond, after it left the set.
    pub unbonding: Option<u64>,
    /// The reason and the end of its jail, while it is in jail.
    pub jail: Option<Jail>,
    /// True if it is in jail for ever.
    pub is_tombstoned: bool,
    /// Number of its next departure, from 1.
    pub next_departure: u64,
    /// Number of its departures that wait.
    pub departures: u32,
    /// Number of the first departure that paid for a double sign, or that left after it paid; 0 if it never signed twice.
    pub punished_from: u64,
    /// Number of the departures before that one that wait.
    pub unpunished: u32,
    /// First height of the sets in which it has been since.
    pub member_since: Height,
    /// The last blocks in a row that left it its power because no other validator could replace it. What left it in one of
    /// them counted until the set without it.
    pub kept: Option<Kept>,
    /// What its power earned.
    pub earnings: Earnings,
    /// The consensus key that it had before, while evidence against that key can come.
    pub old_key: Option<OldKey>,
}

/// A range of blocks that left a validator its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The first of them.
    pub from: Height,
    /// The block that computed another set; `None` as long as there is none.
    pub until: Option<Height>,
}

/// A consensus key that its validator replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldKey {
    /// Address of the key.
    pub address: Address,
    /// The batch with which the key is forgotten.
    pub batch: u64,
}

/// The jail of a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jail {
    /// Time from which the operator may end it.
    pub until: Deadline,
    /// Why the validator is in jail.
    pub why: JailReason,
}

/// Why a validator is in jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JailReason {
    /// The operator's own stake is below its minimum.
    OwnStake,
    /// It signed nothing for too long.
    Downtime,
    /// It signed two votes, or blocks, that contradict each other.
    DoubleSign,
}

/// Number above those of the reasons for jail.
const NUMBERS_MAX: u32 = 16;

impl JailReason {
    /// Returns the reason in two words.
    pub fn name(self) -> &'static str {
        match self {
            Self::OwnStake => "own_stake",
            Self::Downtime => "downtime",
            Self::DoubleSign => "double_sign",
        }
    }

    /// Returns the reason with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        (1..=NUMBERS_MAX).filter_map(Self::from_number).find(|why| why.name() == name)
    }

    fn number(self) -> u32 {
        match self {
            Self::OwnStake => 1,
            Self::Downtime => 2,
            Self::DoubleSign => 3,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::OwnStake, Self::Downtime, Self::DoubleSign].into_iter().find(|why| why.number() == number)
    }
}

/// The relation of a validator to the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is in the set that the last block computed.
    Bonded,
    /// It left the set, and can still be slashed for what it did there.
    Unbonding,
    /// It is not in the set, and no longer answers for one.
    Unbonded,
}

impl Status {
    /// Returns the status in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bonded => "bonded",
            Self::Unbonding => "unbonding",
            Self::Unbonded => "unbonded",
        }
    }
}

/// What one delegator has at one validator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delegation {
    /// Shares of the validator.
    pub shares: u128,
    /// Numbers of the departures that unbond, ascending.
    pub unbonding: Vec<u64>,
    /// Redelegations to this validator that have not matured: the validator that they come from, and the number of the
    /// departure there.
    pub arrivals: Vec<(Address, u64)>,
    /// Sum of rewards per share up to which it was paid; 0 without shares.
    pub per_share: u128,
}

/// Stake that left a validator and can still be slashed for what the validator did before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Owner of the stake.
    pub delegator: Address,
    /// Amount that left the validator.
    pub tokens_start: u64,
    /// Amount that is left of it: less after a cancellation or a slash.
    pub tokens: u64,
    /// Height at which it left.
    pub height: Height,
    /// The batch with which it matures.
    pub batch: u64,
    /// The validator to which it was redelegated, and its shares there; `None` if it unbonds.
    pub to: Option<(Address, u128)>,
}

/// Amounts of money that are no account's, without fees and deposits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// Tokens of all validators.
    pub bonded: u64,
    /// Stake that waits for the end of its unbonding.
    pub unbonding: u64,
    /// Income of the set that is not paid yet.
    pub rewards: u64,
    /// The community pool, which the validators spend by proposals.
    pub community: u64,
}

impl Pools {
    /// Returns the sum of the amounts.
    pub fn sum(&self) -> u64 {
        self.bonded + self.unbonding + self.rewards + self.community
    }
}

/// Encodes a number of 128 bits; 0 as nothing.
pub(super) fn bytes_of(number: u128) -> Vec<u8> {
    if number == 0 { Vec::new() } else { number.to_be_bytes().to_vec() }
}

pub(super) fn number_of(bytes: &[u8]) -> Option<u128> {
    if bytes.is_empty() { Some(0) } else { shares_of(bytes) }
}

fn height(height: i64) -> Option<Height> {
    u64::try_from(height).ok().map(Height)
}

fn share_bytes(shares: u128) -> Vec<u8> {
    shares.to_be_bytes().to_vec()
}

fn shares_of(bytes: &[u8]) -> Option<u128> {
    bytes.try_into().ok().map(u128::from_be_bytes)
}

impl StakedValidator {
    /// Creates a validator without stake.
    pub(crate) fn new(
        public_key: ConsensusPublicKey,
        description: Description,
        commission: Commission,
        own_min: u64,
        now: Deadline,
    ) -> Self {
        Self {
            public_key,
            description,
            commission,
            commission_changed: now,
            own_min,
            tokens: 0,
            shares: 0,
            shares_per_token: FIRST_PRICE,
            power: Power::ZERO,
            unbonding: None,
            jail: None,
            is_tombstoned: false,
            next_departure: 1,
            departures: 0,
            punished_from: 0,
            unpunished: 0,
            member_since: Height::GENESIS,
            kept: None,
            earnings: Earnings::default(),
            old_key: None,
        }
    }

    /// Returns the relation to the set.
    pub fn status(&self) -> Status {
        match (self.power, self.unbonding) {
            (Power::ZERO, Some(_)) => Status::Unbonding,
            (Power::ZERO, None) => Status::Unbonded,
            _ => Status::Bonded,
        }
    }

    /// Returns the tokens that these shares are worth, rounded down.
    pub fn worth(&self, shares: u128) -> u64 {
        let worth = match shares / self.shares_per_token.max(1) {
            worth if mutated(Mutation::RoundUp) && worth > 0 => worth + 1,
            worth => worth,
        };
        u64::try_from(worth).map_or(self.tokens, |worth| worth.min(self.tokens))
    }

    /// Returns the exact number of shares for an amount; `None` if there is no such number.
    pub(crate) fn price(&self, amount: u64) -> Option<u128> {
        self.shares_per_token.checked_mul(u128::from(amount))
    }

    /// Adds stake and returns its shares; `None` if the validator's shares are worth nothing.
    pub(crate) fn add(&mut self, amount: u64) -> Option<u128> {
        if self.shares == 0 {
            self.shares_per_token = FIRST_PRICE;
        } else if self.tokens == 0 && !mutated(Mutation::DelegateToNothing) {
            return None;
        }
        let shares = self.price(amount)?;
        self.shares = self.shares.checked_add(shares)?;
        self.tokens = self.tokens.checked_add(amount).expect("stake is part of the supply");
        Some(shares)
    }

    /// Removes shares, and the tokens that they are worth.
    pub(crate) fn remove(&mut self, shares: u128, amount: u64) {
        self.shares = self.shares.checked_sub(shares).expect("a delegation's shares are part of its validator's");
        self.tokens = self.tokens.checked_sub(amount).expect("the tokens pay for all shares");
    }

    /// Counts a departure that does not wait any more.
    pub(crate) fn end_departure(&mut self, id: u64) {
        self.departures = self.departures.saturating_sub(1);
        if id < self.punished_from {
            self.unpunished = self.unpunished.saturating_sub(1);
        }
    }

    /// Returns the power of the validator in a set, if it may be in one.
    pub(crate) fn eligible_power(&self, power_unit: u64) -> Option<Power> {
        let is_free = self.jail.is_none() || mutated(Mutation::JailedSigns);
        Some(Power(self.tokens / power_unit)).filter(|power| *power > Power::ZERO && is_free)
    }

    fn to_pb(&self) -> pb::StakedValidator {
        let Commission { rate_bps, max_bps, rise_max_bps } = self.commission;
        pb::StakedValidator {
            pub_key: Some(self.public_key.to_pb()),
            description: Some(pb::Description {
                moniker: self.description.moniker.clone(),
                website: self.description.website.clone(),
                details: self.description.details.clone(),
            }),
            commission: Some(pb::Commission { rate_bps, max_bps, rise_max_bps }),
            commission_changed_ms: self.commission_changed.unix_millis(),
            own_min: self.own_min,
            tokens: self.tokens,
            shares: share_bytes(self.shares),
            shares_per_token: share_bytes(self.shares_per_token),
            power: self.power.0,
            unbonding_batch: self.unbonding,
            jail: self.jail.map(|jail| pb::Jail { until_ms: jail.until.unix_millis(), why: jail.why.number() }),
            is_tombstoned: self.is_tombstoned,
            next_departure: self.next_departure,
            departures: self.departures,
            punished_from: self.punished_from,
            unpunished: self.unpunished,
            member_since: height_pb(self.member_since),
            kept_from: height_pb(self.kept.map_or(Height::GENESIS, |kept| kept.from)),
            kept_until: height_pb(self.kept.and_then(|kept| kept.until).unwrap_or_default()),
            earnings: Some(self.earnings.to_pb()).filter(|pb| *pb != pb::Earnings::default()),
            old_key: self.old_key.map(|old| pb::OldKey { address: old.address.0.to_vec(), batch: old.batch }),
        }
    }

    /// Reads the value under a validator's key, for example from a proof; `None` if it is no validator.
    pub fn from_value(value: &[u8]) -> Option<Self> {
        let mut pb = pb::StakedValidator::decode(value).ok()?;
        let public_key = ConsensusPublicKey::from_pb(pb.pub_key.take()?).ok()?;
        Self::from_pb(pb, public_key)
    }

    fn from_pb(pb: pb::StakedValidator, public_key: ConsensusPublicKey) -> Option<Self> {
        let pb::Description { moniker, website, details } = pb.description?;
        let pb::Commission { rate_bps, max_bps, rise_max_bps } = pb.commission?;
        let jail = |jail: pb::Jail| {
            Some(Jail { until: Deadline::from_unix_millis(jail.until_ms)?, why: JailReason::from_number(jail.why)? })
        };
        let old_key =
            |old: pb::OldKey| Some(OldKey { address: Address(old.address.try_into().ok()?), batch: old.batch });
        Some(Self {
            public_key,
            description: Description { moniker, website, details },
            commission: Commission { rate_bps, max_bps, rise_max_bps },
            commission_changed: Deadline::from_unix_millis(pb.commission_changed_ms)?,
            own_min: pb.own_min,
            tokens: pb.tokens,
            shares: shares_of(&pb.shares)?,
            shares_per_token: shares_of(&pb.shares_per_token)?,
            power: Power(pb.power),
            unbonding: pb.unbonding_batch,
            jail: match pb.jail {
                None => None,
                Some(pb) => Some(jail(pb)?),
            },
            is_tombstoned: pb.is_tombstoned,
            next_departure: pb.next_departure,
            departures: pb.departures,
            punished_from: pb.punished_from,
            unpunished: pb.unpunished,
            member_since: height(pb.member_since)?,
            kept: match (height(pb.kept_from)?, height(pb.kept_until)?) {
                (Height::GENESIS, _) => None,
                (from, until) => Some(Kept { from, until: Some(until).filter(|until| *until > Height::GENESIS) }),
            },
            earnings: Earnings::from_pb(pb.earnings.unwrap_or_default())?,
            old_key: match pb.old_key {
                None => None,
                Some(pb) => Some(old_key(pb)?),
            },
        })
    }
}

impl Delegation {
    /// Reads the value under a delegation's key, for example from a proof; `None` if it is no delegation.
    pub fn from_value(value: &[u8]) -> Option<Self> {
        Self::from_pb(pb::Delegation::decode(value).ok()?)
    }

    fn from_pb(pb: pb::Delegation) -> Option<Self> {
        let arrival = |pb: pb::Arrival| Some((Address(pb.from.try_into().ok()?), pb.id));
        let arrivals = pb.arrivals.into_iter().map(arrival).collect::<Option<_>>()?;
        let per_share = number_of(&pb.per_share)?;
        Some(Self { shares: shares_of(&pb.shares)?, unbonding: pb.unbonding, arrivals, per_share })
    }

    fn to_pb(&self) -> pb::Delegation {
        let arrival = |(from, id): &(Address, u64)| pb::Arrival { from: from.0.to_vec(), id: *id };
        pb::Delegation {
            shares: share_bytes(self.shares),
            unbonding: self.unbonding.clone(),
            arrivals: self.arrivals.iter().map(arrival).collect(),
            per_share: bytes_of(self.per_share),
        }
    }
}

impl Departure {
    fn to_pb(&self) -> pb::Departure {
        let to = |(validator, shares): &(Address, u128)| pb::Redelegated {
            validator: validator.0.to_vec(),
            shares: share_bytes(*shares),
        };
        pb::Departure {
            delegator: self.delegator.0.to_vec(),
            tokens_start: self.tokens_start,
            tokens: self.tokens,
            height: height_pb(self.height),
            batch: self.batch,
            to: self.to.as_ref().map(to),
        }
    }

    pub(crate) fn from_pb(pb: pb::Departure) -> Option<Self> {
        let to = |pb: pb::Redelegated| Some((Address(pb.validator.try_into().ok()?), shares_of(&pb.shares)?));
        Some(Self {
            delegator: Address(pb.delegator.try_into().ok()?),
            tokens_start: pb.tokens_start,
            tokens: pb.tokens,
            height: height(pb.height)?,
            batch: pb.batch,
            to: match pb.to {
                None => None,
                Some(pb) => Some(to(pb)?),
            },
        })
    }
}

impl<R: Reader + ?Sized> View<'_, R> {
    /// Returns the validator with this operator, if there is one.
    pub fn validator(&mut self, operator: &Address) -> Option<StakedValidator> {
        let key = key::validator(operator);
        let mut pb: pb::StakedValidator = self.message(&key)?;
        let public_key = pb.pub_key.take().and_then(|pb| self.consensus_key(pb));
        let validator = public_key.and_then(|public_key| StakedValidator::from_pb(pb, public_key));
        validator.or_else(|| self.unreadable(&key, "it is not a validator"))
    }

    /// Returns the validator for which an account votes, if there is one in the set.
    pub fn operator(&mut self, address: &Address) -> Option<Operator> {
        let StakedValidator { public_key, power, .. } = self.validator(address)?;
        (power > Power::ZERO).then_some(Operator { public_key, power })
    }

    pub(crate) fn set_validator(&mut self, operator: &Address, validator: Option<&StakedValidator>) {
        self.set_listed(&key::validator(operator), validator.map(|validator| validator.to_pb().encode_to_vec()));
    }

    /// Returns the operator of the validator whose consensus key has this address, if there is one.
    pub fn key_owner(&mut self, consensus: &Address) -> Option<Address> {
        let key = key::key_owner(consensus);
        let pb: pb::KeyOwner = self.message(&key)?;
        let owner = pb.operator.try_into().ok().map(Address);
        owner.or_else(|| self.unreadable(&key, "an operator has not 20 bytes"))
    }

    pub(crate) fn set_key_owner(&mut self, consensus: &Address, operator: Option<&Address>) {
        let value = operator.map(|operator| pb::KeyOwner { operator: operator.0.to_vec() }.encode_to_vec());
        self.set(&key::key_owner(consensus), value);
    }

    /// Returns what a delegator has at a validator.
    pub fn delegation(&mut self, delegator: &Address, operator: &Address) -> Delegation {
        let key = key::delegation(delegator, operator);
        let Some(pb) = self.message::<pb::Delegation>(&key) else { return Delegation::default() };
        let delegation = Delegation::from_pb(pb);
        delegation.or_else(|| self.unreadable(&key, "it is not a delegation")).unwrap_or_default()
    }

    /// Sets what a delegator has at a validator. Without shares, nothing is due to it.
    pub(crate) fn set_delegation(&mut self, delegator: &Address, operator: &Address, delegation: &Delegation) {
        let per_share = if delegation.shares > 0 { delegation.per_share } else { 0 };
        let delegation = Delegation { per_share, ..delegation.clone() };
        let value = (delegation != Delegation::default()).then(|| delegation.to_pb().encode_to_vec());
        self.set_listed(&key::delegation(delegator, operator), value);
    }

    /// Returns the departure of a validator with this number, unless it has matured.
    pub fn departure(&mut self, operator: &Address, id: u64) -> Option<Departure> {
        let key = key::departure(operator, id);
        let pb: pb::Departure = self.message(&key)?;
        Departure::from_pb(pb).or_else(|| self.unreadable(&key, "it is not a departure"))
    }

    pub(crate) fn set_departure(&mut self, operator: &Address, id: u64, departure: Option<&Departure>) {
        self.set(&key::departure(operator, id), departure.map(|departure| departure.to_pb().encode_to_vec()));
    }

    /// Returns the amounts of money that are no account's, without fees and deposits.
    pub fn pools(&mut self) -> Pools {
        let pb: pb::StakePools = self.message(key::STAKE_POOLS).unwrap_or_default();
        Pools { bonded: pb.bonded, unbonding: pb.unbonding, rewards: pb.rewards, community: pb.community }
    }

    pub(crate) fn set_pools(&mut self, pools: Pools) {
        let Pools { bonded, unbonding, rewards, community } = pools;
        let pb = pb::StakePools { bonded, unbonding, rewards, community };
        self.set(key::STAKE_POOLS, (pools != Pools::default()).then(|| pb.encode_to_vec()));
    }

    /// Takes an amount from an account.
    ///
    /// Errors: `E_INSUFFICIENT_FUNDS` if the account has less; then nothing has changed.
    pub(crate) fn take(&mut self, from: &Address, amount: u64) -> Result<(), Refusal> {
        let account = self.account(from);
        let Some(balance) = account.balance.checked_sub(amount) else {
            return Err(Refusal::InsufficientFunds { have: account.balance, need: amount.into() });
        };
        self.set_account(from, Account { balance, ..account });
        Ok(())
    }

    /// Adds stake to the bonded pool.
    ///
    /// Errors: `E_TOO_MUCH_POWER` if all stake together could have more power than a set may have.
    pub(crate) fn bond(&mut self, amount: u64, power_unit: u64) -> Result<(), Refusal> {
        let mut pools = self.pools();
        pools.bonded = pools.bonded.checked_add(amount).expect("stake is part of the supply");
        if pools.bonded / power_unit > POWER_TOTAL_MAX && !mutated(Mutation::AnyPower) {
            return Err(Refusal::TooMuchPower { max: POWER_TOTAL_MAX.saturating_mul(power_unit) });
        }
        self.set_pools(pools);
        Ok(())
    }

    /// Moves stake from the bonded pool to the one that unbonds.
    pub(crate) fn unbond(&mut self, amount: u64) {
        let mut pools = self.pools();
        pools.bonded = pools.bonded.checked_sub(amount).expect("a validator's tokens are part of the pool");
        pools.unbonding = pools.unbonding.checked_add(amount).expect("stake is part of the supply");
        self.set_pools(pools);
    }

    /// Takes stake from the pool that unbonds.
    pub(crate) fn release(&mut self, amount: u64) {
        let pools = self.pools();
        let unbonding = pools.unbonding.checked_sub(amount).expect("what unbonds is part of the pool");
        self.set_pools(Pools { unbonding, ..pools });
    }
}
