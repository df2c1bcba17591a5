//! What rewards must be: the sum of all that is due (ST3), and a model that pays each delegator at each height.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;

use app::{Answer, Pools, View, area::NEVER_REVERTED, query, state::key, tree::rows::split_row};
use prost::Message;
use types::{Address, BPS_MAX, Event, StakingParams, pb};

use super::{
    Rows,
    net::{Net, attribute},
};

fn number(bytes: &[u8]) -> u128 {
    if bytes.is_empty() { 0 } else { u128::from_be_bytes(bytes.try_into().unwrap()) }
}

/// Returns the pools.
pub fn pools(rows: &Rows) -> Pools {
    View::of_state(rows).pools()
}

/// Checks ST3: the rewards pool is what is due, to the last unit.
pub fn check_due(rows: &Rows) {
    let keys = rows.iter().filter(|(row, _)| row.starts_with(NEVER_REVERTED)).map(|(_, row)| split_row(row).unwrap());
    let (mut income, mut validators, mut delegations) = (pb::Income::default(), BTreeMap::new(), Vec::new());
    for (key, value) in keys {
        match key[0] {
            b'V' => drop(validators.insert(&key[1..], pb::StakedValidator::decode(value).unwrap())),
            b'D' => delegations.push((&key[21..], pb::Delegation::decode(value).unwrap())),
            _ if key == key::INCOME => income = pb::Income::decode(value).unwrap(),
            _ => {}
        }
    }
    let mut due = number(&income.remainder);
    let mut add = |units: Option<u128>| due = due.checked_add(units.unwrap()).expect("less than the supply is due");
    for validator in validators.values() {
        let earnings = validator.earnings.clone().unwrap_or_default();
        let open = number(&income.per_power).wrapping_sub(number(&earnings.settled));
        add(open.checked_mul(earnings.power.into()));
        add(Some(number(&earnings.commission)));
        add(Some(number(&earnings.remainder)));
    }
    for (operator, delegation) in delegations {
        let Some(validator) = validators.get(operator) else { continue };
        let now = number(&validator.earnings.clone().unwrap_or_default().per_share);
        add(now.wrapping_sub(number(&delegation.per_share)).checked_mul(number(&delegation.shares)));
    }
    assert_eq!(due, u128::from(pools(rows).rewards) << 64, "ST3");
}

/// Delegator and operator.
pub type Pair = (Address, Address);

/// An account of what is due, in units of 2^-32 of money.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    /// Rounded down, and up.
    bounds: [u128; 2],
    paid: u64,
    /// Number of payments at the validator: each leaves less than 1 to its other delegators.
    touches: u64,
}

/// A model that pays each operator and delegator at each height, without any sums. It knows no slashes.
pub struct Eager {
    /// Powers by operator, as each block computed them, from genesis on.
    sets: Vec<BTreeMap<Address, u64>>,
    dues: BTreeMap<Pair, Due>,
    commissions: BTreeMap<Address, Due>,
    /// What validators that ended may have left to all others.
    left: u64,
    issued_parts: u128,
}

/// The state between two blocks, as queries show it.
struct Seen {
    set: BTreeMap<Address, u64>,
    /// Commission, and stake of all delegators.
    validators: BTreeMap<Address, (u32, BTreeMap<Address, u64>)>,
    pools: Pools,
    fees: u64,
    supply: u64,
}

fn seen(rows: &Rows) -> Seen {
    let Ok(Answer::Validators { list, .. }) = query(rows, "/staking/validators", b"") else { panic!() };
    let stake = |operator| {
        let Ok(Answer::Delegations { list, .. }) = query(rows, &format!("/staking/delegators/{operator}"), b"") else {
            panic!()
        };
        list.into_iter().map(|one| (one.delegator, one.amount)).collect()
    };
    let Ok(Answer::Pool { pools, fees, .. }) = query(rows, "/staking/pool", b"") else { panic!() };
    let power = |one: &app::ValidatorSummary| (one.operator, one.validator.power.0);
    Seen {
        set: list.iter().map(power).filter(|(_, power)| *power > 0).collect(),
        validators: list
            .iter()
            .map(|one| (one.operator, (one.validator.commission.rate_bps, stake(one.operator))))
            .collect(),
        pools,
        fees,
        supply: View::of_state(rows).supply(),
    }
}

impl Due {
    fn add(&mut self, [low, high]: [u128; 2]) {
        self.bounds = [self.bounds[0] + low, self.bounds[1] + high];
    }

    /// Checks what was paid and is still due against what should have been.
    fn check(&self, now: u64, left: u64, who: &str) {
        let got = u128::from(self.paid + now) << 32;
        let slack = u128::from(self.touches + left + 1) << 32;
        assert!(got <= self.bounds[1] + slack - (1 << 32), "{who} gets more than its part: {self:?} and {now}");
        assert!(got + slack >= self.bounds[0], "{who} gets less than its part: {self:?} and {now}");
    }
}

/// Returns `amount · part / whole`, rounded down and up.
fn share([low, high]: [u128; 2], part: u128, whole: u128) -> [u128; 2] {
    [low * part / whole, (high * part).div_ceil(whole)]
}

impl Eager {
    pub fn new(net: &Net) -> Self {
        let sets = vec![seen(&net.chain.rows).set];
        Self { sets, dues: BTreeMap::new(), commissions: BTreeMap::new(), left: 0, issued_parts: 0 }
    }

    /// Follows a block that was executed on `before`. `elapsed_ms` is the time since the block before; 0 for the first one.
    pub fn follow(&mut self, before: &Rows, net: &Net, elapsed_ms: u64, params: &StakingParams, events: &[Event]) {
        let (was, is) = (seen(before), seen(&net.chain.rows));
        self.issued_parts += u128::from(was.supply) * u128::from(params.issuance_bps_per_year * elapsed_ms);
        let year = u128::from(BPS_MAX) * 365 * 24 * 3600 * 1000;
        let issued = (self.issued_parts / year) as u64;
        self.issued_parts %= year;
        assert_eq!(is.supply, was.supply + issued, "ST1: only issuance changes the supply");
        let income = was.fees + issued;
        let community = income * params.community_bps / BPS_MAX;
        assert!(is.pools.community - was.pools.community - community <= 1, "the part of the community");
        self.distribute(&was, income - community);
        self.sets.push(is.set);
        for event in events {
            let party = |name| attribute(event, name).parse::<Address>().ok();
            let amount = || attribute(event, "amount").parse::<u64>().unwrap();
            match event.kind.as_str() {
                "staking.rewards_paid" => {
                    let pair = (party("delegator").unwrap(), party("validator").unwrap());
                    self.dues.entry(pair).or_default().paid += amount();
                }
                "staking.commission_paid" => {
                    self.commissions.entry(party("validator").unwrap()).or_default().paid += amount();
                }
                "staking.validator_ended" => self.left += 2,
                _ => {}
            }
            if event.kind.starts_with("staking.") {
                ["validator", "from"].into_iter().filter_map(party).for_each(|operator| self.touch(&operator));
            }
        }
        self.check(&net.chain.rows);
    }

    /// Counts a payment at a validator.
    fn touch(&mut self, operator: &Address) {
        let dues = self.dues.iter_mut().filter(|((_, validator), _)| validator == operator).map(|(_, due)| due);
        dues.chain(self.commissions.get_mut(operator)).for_each(|due| due.touches += 1);
    }

    /// Gives an income to the set of its height and to all its delegators.
    fn distribute(&mut self, was: &Seen, income: u64) {
        let set = &self.sets[self.sets.len().saturating_sub(3)];
        let total: u64 = set.values().sum();
        for (operator, power) in set {
            let (rate, stakes) = &was.validators[operator];
            let earned = share([u128::from(income) << 32; 2], (*power).into(), total.into());
            let stake: u64 = stakes.values().sum();
            let rate = if stake == 0 { BPS_MAX } else { u64::from(*rate) };
            let commission = share(earned, rate.into(), BPS_MAX.into());
            self.commissions.entry(*operator).or_default().add(commission);
            let rest = share(earned, (BPS_MAX - rate).into(), BPS_MAX.into());
            for (delegator, tokens) in stakes.iter().filter(|(_, tokens)| **tokens > 0) {
                let due = self.dues.entry((*delegator, *operator)).or_default();
                due.add(share(rest, (*tokens).into(), stake.into()));
            }
        }
    }

    /// Compares all that was paid and is due with the model.
    fn check(&self, rows: &Rows) {
        for ((delegator, operator), due) in &self.dues {
            let path = format!("/staking/rewards/{delegator}");
            let Ok(Answer::Rewards { list, .. }) = query(rows, &path, &operator.0) else { panic!() };
            let now = list.first().filter(|one| one.validator == *operator).map_or(0, |one| one.amount);
            due.check(now, self.left, &format!("{delegator} at {operator}"));
        }
        for (operator, due) in &self.commissions {
            let now = match query(rows, &format!("/staking/validator/{operator}"), b"") {
                Ok(Answer::Validator(one)) => one.validator.earnings.commission_due(),
                _ => 0,
            };
            due.check(now, self.left, &format!("operator {operator}"));
        }
    }
}
