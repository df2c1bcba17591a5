//! Validators and stake as JSON.

use app::{DelegationOf, DepartureOf, Pools, ValidatorSummary};
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
        "own_min": validator.own_min.to_string(),
        "unbonded_at": time(summary.unbonded_at),
        "jailed": validator.jail.map(|jail| {
            json!({ "why": jail.why.name(), "until": jail.until.to_string() })
        }),
        "tombstoned": validator.is_tombstoned,
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

/// Returns the amounts of stake.
pub fn pool(pools: &Pools, power_total: Power) -> Value {
    json!({
        "bonded": pools.bonded.to_string(),
        "unbonding": pools.unbonding.to_string(),
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
    })
}
