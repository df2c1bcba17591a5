//! Validators and stake as JSON.

use app::{DelegationOf, DepartureOf, Pools, RewardsOf, Slash, UptimeOf, ValidatorSummary};
use serde_json::{Value, json};
use types::{Address, Deadline, Power, StakingParams};

fn time(deadline: Option<Deadline>) -> Value {
    deadline.map_or(Value::Null, |deadline| json!(deadline.to_string()))
}

fn next(next: Option<Address>) -> Value {
    next.map_or(Value::Null, |next| json!(next.to_string()))
}

/// Returns a validator with its stake.
pub fn validator(summary: &ValidatorSummary) -> Value {
    let validator = &summary.validator;
    json!({
        "operator": summary.operator.to_string(),
        "consensus_address": validator.public_key.address().to_string(),
        "pub_key": crate::json::public_key(&validator.public_key),
        "moniker": validator.description.moniker,
        "website": validator.description.website,
        "details": validator.description.details,
        "status": validator.status().name(),
        "power": validator.power.to_string(),
        "tokens": validator.tokens.to_string(),
        "shares": validator.shares.to_string(),
        "commission_bps": validator.commission.rate_bps.to_string(),
        "commission_bps_max": validator.commission.max_bps.to_string(),
        "commission_rise_bps_max": validator.commission.rise_max_bps.to_string(),
        "commission_due": validator.earnings.commission_due().to_string(),
        "own_min": validator.own_min.to_string(),
        "unbonded_at": time(summary.unbonded_at),
        "jailed": validator.jail.map(|jail| {
            json!({ "why": jail.why.name(), "until": jail.until.to_string() })
        }),
        "tombstoned": validator.is_tombstoned,
        "missed": summary.missed.to_string(),
        "old_key": validator.old_key.map(|old| {
            json!({ "consensus_address": old.address.to_string(), "until": time(summary.old_key_until) })
        }),
    })
}

/// Returns validators, and the operator that continues the list.
pub fn validators(list: &[ValidatorSummary], following: Option<Address>) -> Value {
    json!({ "validators": list.iter().map(validator).collect::<Vec<_>>(), "next": next(following) })
}

/// Returns delegations, and the address that continues the list.
pub fn delegations(list: &[DelegationOf], following: Option<Address>) -> Value {
    let delegation = |of: &DelegationOf| {
        json!({
            "delegator": of.delegator.to_string(),
            "validator": of.validator.to_string(),
            "amount": of.amount.to_string(),
            "shares": of.shares.to_string(),
            "unbonding": of.unbonding.to_string(),
        })
    };
    json!({ "delegations": list.iter().map(delegation).collect::<Vec<_>>(), "next": next(following) })
}

/// Returns unbondings or redelegations, and the operator that continues the list.
pub fn departures(list: &[DepartureOf], following: Option<Address>) -> Value {
    let departure = |of: &DepartureOf| {
        json!({
            "validator": of.validator.to_string(),
            "id": of.id.to_string(),
            "to": of.departure.to.map(|(to, _)| to.to_string()),
            "amount": of.departure.tokens.to_string(),
            "amount_at_start": of.departure.tokens_start.to_string(),
            "height": of.departure.height.to_string(),
            "completes_at": time(of.completes_at),
        })
    };
    json!({ "departures": list.iter().map(departure).collect::<Vec<_>>(), "next": next(following) })
}

/// Returns slashes of a validator, and the number that continues the list.
pub fn slashes(list: &[(u64, Slash)], next: Option<u64>) -> Value {
    let slash = |(number, slash): &(u64, Slash)| {
        json!({
            "number": number.to_string(),
            "infraction": slash.why.name(),
            "height": slash.height.to_string(),
            "block": slash.block.to_string(),
            "fraction_bps": slash.fraction_bps.to_string(),
            "burned": slash.burned.to_string(),
            "evidence": slash.evidence.map(|hash| hash.to_string()),
        })
    };
    json!({ "slashes": list.iter().map(slash).collect::<Vec<_>>(), "next": next.map(|next| next.to_string()) })
}

/// Returns what is known about the signatures of a validator.
pub fn uptime(of: &UptimeOf) -> Value {
    let misses = of.misses.as_ref();
    json!({
        "since": of.since.to_string(),
        "window": of.window.to_string(),
        "missed": misses.map_or(0, |misses| misses.missed).to_string(),
        "last_missed": misses.map(|misses| misses.last_missed.to_string()),
        "silent_since": time(misses.map(|misses| misses.silent_since)),
        "jailed_from": time(of.jailed_from),
    })
}

/// Returns what the stake of a delegator has earned, and the operator that continues the list.
pub fn rewards(list: &[RewardsOf], following: Option<Address>) -> Value {
    let rewards = |of: &RewardsOf| json!({ "validator": of.validator.to_string(), "amount": of.amount.to_string() });
    json!({ "rewards": list.iter().map(rewards).collect::<Vec<_>>(), "next": next(following) })
}

/// Returns the amounts of money that are no account's, without deposits.
pub fn pool(pools: &Pools, fees: u64, power_total: Power) -> Value {
    json!({
        "bonded": pools.bonded.to_string(),
        "unbonding": pools.unbonding.to_string(),
        "rewards": pools.rewards.to_string(),
        "fees": fees.to_string(),
        "community": pools.community.to_string(),
        "power": power_total.to_string(),
    })
}

/// Returns the parameters of stake.
pub fn params(params: &StakingParams) -> Value {
    json!({
        "power_unit": params.power_unit.to_string(),
        "validators_max": params.validators_max.to_string(),
        "unbonding_ms": params.unbonding.as_millis().to_string(),
        "commission_bps_min": params.commission_bps_min.to_string(),
        "commission_bps_max": params.commission_bps_max.to_string(),
        "own_stake_min": params.own_stake_min.to_string(),
        "slash_duplicate_vote_bps": params.slash_duplicate_vote_bps.to_string(),
        "slash_downtime_bps": params.slash_downtime_bps.to_string(),
        "downtime_window": params.downtime_window.to_string(),
        "downtime_ms": params.downtime.as_millis().to_string(),
        "jail_ms": params.jail.as_millis().to_string(),
        "issuance_bps_per_year": params.issuance_bps_per_year.to_string(),
        "community_bps": params.community_bps.to_string(),
    })
}
