//! The rules of a document's content. All faults are collected.

use std::collections::{BTreeMap, BTreeSet};

use app::{FirstDelegation, FirstStateError, FirstTerms, OtherPower};
use types::{
    Address, Commission, Description, Params, Power, ValidatorSet, ValidatorSetError, is_plain,
    limits::{DETAILS_BYTES_MAX, MONIKER_BYTES_MAX, POWER_TOTAL_MAX, WEBSITE_BYTES_MAX},
};

use crate::{
    document::{Document, GenesisValidator},
    faults::Faults,
    json::FieldError,
    shape::{in_order, with_default},
};

/// A hundred percent in hundredths of a percent.
const ALL_BPS: u32 = 10_000;

/// Maximum of the first height: half of the heights that have an encoding, so that a chain does not reach the last one.
const INITIAL_HEIGHT_MAX: u64 = i64::MAX as u64 / 2;

const NO_KEY: &str = "this address can belong to no key: check it";

/// Checks a document, apart from the power that follows from the stake, and returns the set of the first height.
///
/// Errors: all faults, each with the path of the invalid field.
pub(crate) fn document(document: &Document) -> Result<ValidatorSet, Vec<FieldError>> {
    let mut faults = Faults::default();
    if document.initial_height.0 == 0 || document.initial_height.0 > INITIAL_HEIGHT_MAX {
        faults.add("initial_height", format!("{} is not a height: use 1", document.initial_height));
    }
    let mut params = Some(document.params.clone());
    while let Some(Err(error)) = params.as_ref().map(Params::check).filter(|_| !faults.is_full()) {
        let reason = format!("{} is out of range, use {}", error.got, error.range);
        faults.add(format!("consensus_params.{}", error.field), reason);
        params = params.and_then(|params| with_default(&params, error.field));
    }
    let set = validators(&mut faults, document);
    let operators = operators(&mut faults, &document.validators);
    let others = terms(&mut faults, document, &operators);
    delegations(&mut faults, document, &operators, &others);
    supply(&mut faults, document);
    accounts(&mut faults, document);
    match set {
        Some(set) => faults.none_in(set),
        None => Err(faults.into_vec()),
    }
}

fn validators(faults: &mut Faults, document: &Document) -> Option<ValidatorSet> {
    let (validators, max) = (&document.validators, document.params.staking.validators_max);
    let mut is_valid = validators.len() as u64 <= max;
    if !is_valid {
        let reason = format!("{} of them, consensus_params.staking.validators_max allows {max}", validators.len());
        faults.add("validators", reason);
    }
    let mut total = Some(Power::ZERO);
    let mut seen = BTreeMap::new();
    for (index, validator) in validators.iter().enumerate() {
        let path = format!("validators[{index}]");
        if validator.power == Power::ZERO {
            faults.add(format!("{path}.power"), "is 0: give 1 or more, or leave the validator out");
            is_valid = false;
        }
        let before = total;
        total = total.and_then(|total| total.checked_add(validator.power));
        if before.is_some() && total.is_none() {
            let reason = format!("with it the total power exceeds {POWER_TOTAL_MAX}: give less");
            faults.add(format!("{path}.power"), reason);
        }
        if let Some(first) = seen.insert(validator.public_key.address(), index) {
            faults.add(format!("{path}.pub_key"), format!("is also the key of validators[{first}]: leave one out"));
            is_valid = false;
        }
    }
    if !is_valid || total.is_none() {
        return None;
    }
    let all = validators.iter().map(|validator| (validator.public_key, validator.power)).collect();
    let set = ValidatorSet::new(all).map_err(|error| match error {
        ValidatorSetError::Empty => faults.add("validators", "there is none: a chain needs at least one"),
        other => faults.add("validators", other),
    });
    set.ok()
}

/// Checks that each operator is that of one validator, and returns all with the places of their validators.
fn operators(faults: &mut Faults, validators: &[GenesisValidator]) -> BTreeMap<Address, usize> {
    let mut seen = BTreeMap::new();
    for (index, validator) in validators.iter().enumerate() {
        let operator = validator.first().operator();
        let path = format!("validators[{index}].operator");
        if operator == Address::default() {
            faults.add(path, format!("{NO_KEY}, or leave the operator out"));
            continue;
        }
        if let Some(first) = seen.insert(operator, index) {
            faults.add(path, format!("is also the operator of validators[{first}]: use another account"));
        }
    }
    seen
}

/// Checks the terms of validators, and returns the operators of those that are not of the first height.
fn terms(faults: &mut Faults, document: &Document, operators: &BTreeMap<Address, usize>) -> BTreeSet<Address> {
    let keys: BTreeSet<Address> = document.validators.iter().map(|validator| validator.public_key.address()).collect();
    let (mut seen, mut others, mut other_keys) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for (index, terms) in document.stake.terms.iter().enumerate() {
        let path = |field: &str| format!("app_state.validators[{index}].{field}");
        if terms.operator == Address::default() {
            faults.add(path("operator"), NO_KEY);
        }
        if let Some(first) = seen.insert(terms.operator, index) {
            faults
                .add(path("operator"), format!("is also the operator of app_state.validators[{first}]: leave one out"));
        }
        match (operators.get(&terms.operator), terms.public_key) {
            (Some(member), Some(_)) => {
                faults.add(path("pub_key"), format!("is that of validators[{member}]: leave it out here"));
            }
            (Some(member), None) if terms.jailed.is_some() => {
                let reason =
                    format!("a validator in jail has no power: remove validators[{member}], and give pub_key here");
                faults.add(path("jailed"), reason);
            }
            (Some(_), None) => {}
            (None, None) => {
                faults.add(path("pub_key"), "is missing: it is not the operator of a validator in validators");
            }
            (None, Some(key)) => {
                if keys.contains(&key.address()) || !other_keys.insert(key.address()) {
                    faults.add(path("pub_key"), "is also the key of another validator: leave one out");
                }
                others.insert(terms.operator);
            }
        }
        check_terms(faults, terms, path);
    }
    others
}

fn check_terms(faults: &mut Faults, terms: &FirstTerms, path: impl Fn(&str) -> String) {
    if let Some(Commission { rate_bps, max_bps, rise_max_bps }) = terms.commission {
        if max_bps > ALL_BPS {
            faults.add(path("commission.max_bps"), format!("is {max_bps}: use at most {ALL_BPS}"));
        }
        for (field, bps) in [("commission.rate_bps", rate_bps), ("commission.rise_max_bps", rise_max_bps)] {
            if bps > max_bps {
                faults.add(path(field), format!("is {bps}: use at most the maximum, {max_bps}"));
            }
        }
    }
    let Description { moniker, website, details } = &terms.description;
    let texts = [
        ("moniker", moniker, MONIKER_BYTES_MAX),
        ("website", website, WEBSITE_BYTES_MAX),
        ("details", details, DETAILS_BYTES_MAX),
    ];
    for (field, text, max) in texts {
        if text.len() > max || !text.chars().all(is_plain) {
            let reason = format!("has {} bytes: use at most {max} of printable text", text.len());
            faults.add(path(field), reason);
        }
    }
}

fn delegations(
    faults: &mut Faults,
    document: &Document,
    operators: &BTreeMap<Address, usize>,
    others: &BTreeSet<Address>,
) {
    let all = &document.stake.delegations;
    let path = |index: usize, field: &str| format!("app_state.delegations[{index}].{field}");
    let mut delegated = BTreeSet::new();
    for (index, FirstDelegation { delegator, validator, amount }) in all.iter().enumerate() {
        if *delegator == Address::default() {
            faults.add(path(index, "delegator"), NO_KEY);
        }
        if *amount == 0 {
            faults.add(path(index, "amount"), "is 0: give 1 or more, or leave the delegation out");
        }
        if !operators.contains_key(validator) && !others.contains(validator) {
            faults.add(path(index, "validator"), format!("{validator} is not the operator of a validator"));
        }
        delegated.insert(*validator);
    }
    let order = in_order(all, |one| (one.delegator, one.validator));
    for pair in order.windows(2) {
        let [first, second] = [pair[0] as usize, pair[1] as usize];
        if (all[first].delegator, all[first].validator) == (all[second].delegator, all[second].validator) {
            let reason = format!("delegates to this validator in app_state.delegations[{first}] too: make one of both");
            faults.add(path(second, "delegator"), reason);
        }
    }
    for (index, terms) in document.stake.terms.iter().enumerate() {
        if others.contains(&terms.operator) && !delegated.contains(&terms.operator) {
            let reason = "has no delegation in app_state.delegations: give it one, or leave the validator out";
            faults.add(format!("app_state.validators[{index}].operator"), reason);
        }
    }
}

/// Checks that the supply, stake included, fits into 64 bits, and that all stake has no more power than a set may have.
fn supply(faults: &mut Faults, document: &Document) {
    let (stake, power_unit) = (&document.stake, document.params.staking.power_unit.max(1));
    let delegated: BTreeSet<Address> = stake.delegations.iter().map(|delegation| delegation.validator).collect();
    let own = document.validators.iter().enumerate().filter_map(|(index, validator)| {
        let is_own = !delegated.contains(&validator.first().operator());
        is_own.then(|| (format!("validators[{index}].power"), validator.power.0.checked_mul(power_unit)))
    });
    let delegations = stake.delegations.iter().enumerate();
    let delegations =
        delegations.map(|(index, one)| (format!("app_state.delegations[{index}].amount"), Some(one.amount)));
    let mut supply = 0_u64;
    for (path, amount) in own.chain(delegations) {
        let Some(sum) = amount.and_then(|amount| supply.checked_add(amount)) else {
            let reason = format!(
                "with it the stake exceeds {}: give less, or a smaller consensus_params.staking.power_unit",
                u64::MAX
            );
            return faults.add(path, reason);
        };
        if sum / power_unit > POWER_TOTAL_MAX {
            let reason = format!("with it the power of all stake exceeds {POWER_TOTAL_MAX}: give less");
            return faults.add(path, reason);
        }
        supply = sum;
    }
    let pools = [("community_pool", stake.community), ("fee_pool", stake.fee_pool)];
    let pools = pools.into_iter().map(|(field, amount)| (format!("app_state.{field}"), amount));
    let balances = document.accounts.iter().enumerate();
    let balances = balances.map(|(index, one)| (format!("app_state.accounts[{index}].balance"), one.balance));
    for (path, amount) in pools.chain(balances) {
        match supply.checked_add(amount) {
            Some(sum) => supply = sum,
            None => return faults.add(path, format!("with it the supply exceeds {}: give less", u64::MAX)),
        }
    }
}

fn accounts(faults: &mut Faults, document: &Document) {
    let accounts = &document.accounts;
    let path = |index: usize| format!("app_state.accounts[{index}].address");
    for (index, _) in accounts.iter().enumerate().filter(|(_, account)| account.address == Address::default()) {
        faults.add(path(index), NO_KEY);
    }
    let order = in_order(accounts, |account| account.address);
    for pair in order.windows(2) {
        if accounts[pair[0] as usize].address == accounts[pair[1] as usize].address {
            let reason = format!("is also the address of app_state.accounts[{}]: leave one out", pair[0]);
            faults.add(path(pair[1] as usize), reason);
        }
    }
}

/// Returns the faults of a document whose stake does not give the validators their power.
pub(crate) fn stake_faults(document: &Document, error: FirstStateError) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let FirstStateError::Powers(others) = error else {
        faults.add("app_state", error);
        return faults.into_vec();
    };
    let unit = document.params.staking.power_unit;
    for OtherPower { operator, given, computed } in others {
        let is_it = |validator: &GenesisValidator| validator.first().operator() == operator;
        let member = document.validators.iter().position(is_it);
        let other = document.stake.terms.iter().position(|terms| terms.operator == operator);
        match (member, other) {
            (Some(index), _) => faults.add(
                format!("validators[{index}].power"),
                format!("is {given}, but its delegations give it {computed} in the first set, one for each {unit}"),
            ),
            (None, Some(index)) => faults.add(
                format!("app_state.validators[{index}].operator"),
                format!("its delegations give it a power of {computed}: list it in validators"),
            ),
            (None, None) => faults.add("app_state", format!("{operator} is not the operator of a validator")),
        }
    }
    faults.into_vec()
}
