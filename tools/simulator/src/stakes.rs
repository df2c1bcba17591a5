//! What a world's chain says about stake, recomputed from the rows that the nodes store.
//!
//! | check | condition |
//! |---|---|
//! | ST1 | balances, fees, deposits and stake add up to the supply (`Checker::check_supply`) |
//! | ST2 | the shares of a validator are the sum of its delegations', its tokens pay for them, and the tokens of all are the bonded pool |
//! | ST4 | the set of a height is the function of the state two heights before |
//! | ST6 | no stake is paid out before the unbonding time after the last height at which it counted |
//! | ST7 | the set is never empty |

use std::collections::BTreeMap;

use app::{
    Delegation, StakedValidator, View,
    area::{NEVER_REVERTED, STAKES},
    tree::rows::split_row,
};
use types::{Address, BlockResults, Event, Header, Height, Power, StakingParams, Time, ValidatorSet};

use crate::{
    broken::{Broken, ensure},
    rows::{Rows, attribute, number, of_kind},
    story::Counts,
};

/// Sets and unbondings of a world's chain.
pub struct StakeRecord {
    params: StakingParams,
    /// The set of each height that the state determines.
    sets: BTreeMap<Height, ValidatorSet>,
    times: BTreeMap<Height, Time>,
    /// Height at which stake left, by validator and number of the departure.
    left: BTreeMap<(String, u64), Height>,
}

impl StakeRecord {
    /// Creates the record of a chain without blocks.
    pub fn new(params: StakingParams) -> Self {
        Self { params, sets: BTreeMap::new(), times: BTreeMap::new(), left: BTreeMap::new() }
    }

    /// Checks a height that is decided for the first time. `before` and `now` are the states before and after it.
    ///
    /// Errors: [`Broken`] with the violated condition.
    pub fn on_decided(
        &mut self,
        header: &Header,
        results: &BlockResults,
        (before, now): (&Rows, &Rows),
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        let height = header.height;
        if self.sets.is_empty() {
            let first = self.set_of(&validators(before), None)?;
            self.sets.extend([(height, first.clone()), (height.next(), first)]);
        }
        let (expected, got) = (self.sets[&height].hash(), header.validators_hash);
        ensure!(got == expected, "ST4: the set of height {height} has hash {got}, not {expected}");
        self.times.insert(height, header.time);
        let known = validators(now);
        let last = &self.sets[&height.next()];
        let next = self.set_of(&known, Some(last))?;
        counts.set_changes += u64::from(next != *last);
        self.sets.insert(height.next().next(), next);
        check_shares(height, &known, now)?;
        self.follow(header, results, counts)
    }

    /// Returns the set that the state determines; `last` stays if no validator can be in one.
    fn set_of(
        &self,
        validators: &BTreeMap<Address, StakedValidator>,
        last: Option<&ValidatorSet>,
    ) -> Result<ValidatorSet, Broken> {
        let unit = self.params.power_unit;
        let mut able: Vec<_> = validators.iter().filter(|(_, one)| one.jail.is_none() && one.tokens >= unit).collect();
        able.sort_by(|(a, one), (b, other)| other.tokens.cmp(&one.tokens).then(a.cmp(b)));
        able.truncate(self.params.validators_max as usize);
        if let (true, Some(last)) = (able.is_empty(), last) {
            return Ok(last.clone());
        }
        let members = able.into_iter().map(|(_, one)| (one.public_key, Power(one.tokens / unit)));
        ValidatorSet::new(members.collect()).map_err(|error| Broken(format!("ST7: {error}")))
    }

    /// Follows what leaves validators, and what is paid out.
    fn follow(&mut self, header: &Header, results: &BlockResults, counts: &mut Counts) -> Result<(), Broken> {
        let height = header.height;
        for event in of_kind(&results.events, "staking.unbonded") {
            let (validator, id) = (attribute(event, "validator").to_owned(), number(event, "id"));
            let left = self.left.get(&(validator.clone(), id)).copied();
            ensure!(left.is_some(), "ST6: height {height} pays unbonding {id} of {validator}, which never began");
            let counted = self.times.get(&left.unwrap_or_default().next()).copied();
            let is_due = counted.is_some_and(|time| header.time >= time.saturating_add(self.params.unbonding));
            ensure!(is_due, "ST6: unbonding {id} of {validator} left at {left:?} and is paid at height {height}");
            counts.unbonded += 1;
        }
        for event in results.txs.iter().flat_map(|tx| of_kind(&tx.events, "staking.undelegated")) {
            self.left.insert((attribute(event, "validator").to_owned(), number(event, "id")), height);
        }
        let stakes = |event: &&Event| event.kind.starts_with("staking.");
        counts.stakings += results.txs.iter().flat_map(|tx| tx.events.iter().filter(stakes)).count() as u64;
        Ok(())
    }
}

/// Returns all validators of a state.
fn validators(rows: &Rows) -> BTreeMap<Address, StakedValidator> {
    let prefix = [STAKES, b"V"].concat();
    let mut view = View::of_state(rows);
    let listed = rows.range(prefix.clone()..).take_while(|(row, _)| row.starts_with(&prefix));
    let operators = listed.filter_map(|(row, _)| row[prefix.len()..].try_into().ok().map(Address));
    operators.filter_map(|operator| Some((operator, view.validator(&operator)?))).collect()
}

fn check_shares(height: Height, known: &BTreeMap<Address, StakedValidator>, rows: &Rows) -> Result<(), Broken> {
    let mut shares: BTreeMap<&[u8], u128> = BTreeMap::new();
    let of_state = rows.iter().filter(|(row, _)| row.starts_with(NEVER_REVERTED));
    for (key, value) in of_state.filter_map(|(_, value)| split_row(value)) {
        let Some(operator) = key.strip_prefix(b"D").and_then(|pair| pair.get(20..)) else { continue };
        let delegation = Delegation::from_value(value);
        let found = delegation.ok_or_else(|| Broken(format!("ST2: height {height}: a delegation is unreadable")))?;
        *shares.entry(operator).or_default() += found.shares;
    }
    for (operator, validator) in known {
        let sum = shares.remove(&operator.0[..]).unwrap_or_default();
        let (all, tokens) = (validator.shares, validator.tokens);
        ensure!(all == sum, "ST2: height {height}: {operator} has {all} shares, its delegations have {sum}");
        let needed = all / validator.shares_per_token.max(1);
        ensure!(u128::from(tokens) >= needed, "ST2: height {height}: {operator} has {tokens} of {needed} tokens");
    }
    let stray: u128 = shares.values().sum();
    ensure!(stray == 0, "ST2: height {height}: {stray} shares are of no validator");
    let (bonded, sum) = (View::of_state(rows).pools().bonded, known.values().map(|one| one.tokens).sum::<u64>());
    ensure!(bonded == sum, "ST2: height {height}: the bonded pool has {bonded}, the validators have {sum}");
    Ok(())
}
