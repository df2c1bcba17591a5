//! What a world's chain says about stake, recomputed from the rows that the nodes store.
//!
//! | check | condition |
//! |---|---|
//! | ST1 | only slashes and issuance change the supply, each by the exact amount; the rest of ST1 is `supply` of [`checker`](crate::checker) |
//! | ST2 | the shares of a validator are the sum of its delegations', its tokens pay for them, and the tokens of all are the bonded pool |
//! | ST3 | the rewards pool is what is due to operators and delegators and what divisions left, to the last unit |
//! | ST4 | the set of a height is the function of the state two heights before, by the parameters of the height between |
//! | ST5 | a double sign is punished once, by the fraction of what was bonded then; a silent validator loses the fraction exactly when it missed half of the window and was silent for long enough, unless a third is in jail for it |
//! | ST6 | no stake is paid out before the unbonding time after the last height at which it counted, or while its validator keeps its power for lack of others |
//! | ST7 | the set is never empty |
//! | params | parameters change one height after the decision, as decided; headers, results and the waits of the engines follow |
//! | upgrade | the block of the plan's height upgrades, and no program decides it that lacks the upgrade, or a height before it that has it |
//! | rotation | an old key leads to its operator for the unbonding time after its last height, and no longer |
//!
//! The parameters are those of the state at each height: validators change them. ST8 and ST9 are about what an amount gives and what
//! work costs, not about a state: `app/tests/stake_properties.rs` and `node/benches/stake.rs` hold them.

use std::{collections::BTreeMap, time::Duration};

use app::{
    Delegation, StakedValidator, View,
    area::{NEVER_REVERTED, STAKES},
    state::key,
    tree::rows::split_row,
};
use consensus::Timeout;
use prost::Message;
use types::{Address, Block, BlockResults, Event, Height, Power, StakingParams, Time, ValidatorSet, pb};

use crate::{
    broken::{Broken, ensure},
    node::Node,
    rows::{Rows, attribute, number, of_kind},
    story::Counts,
};
use decided::Decided;
use rules::RuleRecord;
use slashes::SlashRecord;
use supply::SupplyRecord;

mod decided;
mod rules;
mod slashes;
mod supply;

/// Sets, parameters, unbondings and slashes of a world's chain.
pub struct StakeRecord {
    rules: RuleRecord,
    slashes: SlashRecord,
    supply: SupplyRecord,
    /// The validators after the last block.
    known: BTreeMap<Address, StakedValidator>,
    /// The set of each height that the state determines.
    sets: BTreeMap<Height, ValidatorSet>,
    times: BTreeMap<Height, Time>,
    /// Height at which stake left, by validator and number of the departure.
    left: BTreeMap<(String, u64), Height>,
    /// Height at which a consensus key was replaced, while it leads to its operator.
    old_keys: BTreeMap<Address, Height>,
}

impl StakeRecord {
    /// Creates the record of a chain without blocks that starts with this supply. `is_forgiving`: double signs cost nothing.
    pub fn new(supply: u64, is_forgiving: bool) -> Self {
        Self {
            rules: RuleRecord::default(),
            slashes: SlashRecord::new(is_forgiving),
            supply: SupplyRecord::new(supply),
            known: BTreeMap::new(),
            sets: BTreeMap::new(),
            times: BTreeMap::new(),
            left: BTreeMap::new(),
            old_keys: BTreeMap::new(),
        }
    }

    /// Checks a height that is decided for the first time. `before` and `now` are the states before and after it.
    ///
    /// Errors: [`Broken`] with the violated condition.
    pub fn on_decided(
        &mut self,
        block: &Block,
        results: &BlockResults,
        (before, now): (&Rows, &Rows),
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        let (header, height) = (&block.header, block.header.height);
        if self.sets.is_empty() {
            let params = View::of_state(before).params();
            self.known = validators(before);
            let first = set_of(&self.known, &params.staking, None)?;
            self.sets.extend([(height, first.clone()), (height.next(), first)]);
            self.rules.start(height, params);
        }
        let (expected, got) = (self.sets[&height].hash(), header.validators_hash);
        ensure!(got == expected, "ST4: the set of height {height} has hash {got}, not {expected}");
        self.times.insert(height, header.time);
        let params = self.rules.at(height)?.clone();
        let decided = Decided { block, results, before, now, params: &params };
        self.rules.on_decided(&decided, counts)?;
        let known = validators(now);
        let last = &self.sets[&height.next()];
        let next = set_of(&known, &self.rules.at(height.next())?.staking, Some((last, now)))?;
        counts.set_changes += u64::from(next != *last);
        self.sets.insert(height.next().next(), next);
        check_rows(height, &known, now)?;
        self.slashes.on_decided(&decided, &self.known, (&self.sets, &self.times), counts)?;
        self.supply.on_decided(&decided)?;
        self.follow(&decided, counts)?;
        self.follow_keys(&decided, counts)?;
        self.known = known;
        Ok(())
    }

    /// Checks that the program of a node may decide a height. The one before was followed.
    ///
    /// Errors: [`Broken`] if it lacks an upgrade, or has one too early.
    pub fn check_program(&self, node: &Node, height: Height) -> Result<(), Broken> {
        self.rules.check_program(node, height)
    }

    /// Checks that an engine waits as long as the parameters of its height say, as far as they are known.
    ///
    /// Errors: [`Broken`] if it does not.
    pub fn check_wait(&self, node: usize, timeout: &Timeout, after: Duration) -> Result<(), Broken> {
        self.rules.check_wait(node, timeout, after)
    }

    /// Follows what leaves validators, and what is paid out.
    fn follow(&mut self, decided: &Decided<'_>, counts: &mut Counts) -> Result<(), Broken> {
        let Decided { block, results, params, .. } = decided;
        let (height, time) = (block.header.height, block.header.time);
        for event in of_kind(&results.events, "staking.unbonded") {
            let (validator, id) = (attribute(event, "validator").to_owned(), number(event, "id"));
            let left = self.left.get(&(validator.clone(), id)).copied();
            ensure!(left.is_some(), "ST6: height {height} pays unbonding {id} of {validator}, which never began");
            let due = self.free_from(left.unwrap_or_default().next());
            let is_due = due.is_some_and(|due| time >= due);
            ensure!(is_due, "ST6: unbonding {id} of {validator} left at {left:?} and is paid at height {height}");
            let found = self.known.iter().find(|(operator, _)| operator.to_string() == validator);
            let is_kept = found.is_some_and(|(_, one)| one.power > Power::ZERO && !is_able(one, &params.staking));
            ensure!(!is_kept, "ST6: height {height} pays unbonding {id} of {validator}, which keeps its power");
            counts.unbonded += 1;
        }
        for event in results.txs.iter().flat_map(|tx| of_kind(&tx.events, "staking.undelegated")) {
            self.left.insert((attribute(event, "validator").to_owned(), number(event, "id")), height);
        }
        let stakes = |event: &&Event| event.kind.starts_with("staking.");
        counts.stakings += results.txs.iter().flat_map(|tx| tx.events.iter().filter(stakes)).count() as u64;
        Ok(())
    }

    /// Returns the time until which what counted last at a height is locked: by the parameters of that height.
    fn free_from(&self, counted: Height) -> Option<Time> {
        let (time, params) = (self.times.get(&counted)?, self.rules.at(counted).ok()?);
        Some(time.saturating_add(params.staking.unbonding))
    }

    /// Follows keys that are replaced, and that are forgotten.
    fn follow_keys(&mut self, decided: &Decided<'_>, counts: &mut Counts) -> Result<(), Broken> {
        let (height, time) = (decided.block.header.height, decided.block.header.time);
        let mut view = View::of_state(decided.now);
        let gone: Vec<(Address, Height)> = self.old_keys.iter().map(|(old, at)| (*old, *at)).collect();
        for (old, replaced) in gone.into_iter().filter(|(old, _)| view.key_owner(old).is_none()) {
            let is_due = self.free_from(replaced.next()).is_some_and(|due| time >= due);
            ensure!(is_due, "rotation: {old} was replaced at height {replaced} and is forgotten at height {height}");
            self.old_keys.remove(&old);
        }
        for event in decided.results.txs.iter().flat_map(|tx| of_kind(&tx.events, "staking.key_rotated")) {
            let found = self.known.iter().find(|(operator, _)| operator.to_string() == attribute(event, "validator"));
            let known = found.and_then(|(operator, one)| Some((*operator, one, view.validator(operator)?)));
            // A validator of this block had its first key in no set.
            let Some((operator, before, after)) = known else { continue };
            let (old, new) = (before.public_key.address(), after.public_key.address());
            for key in [old, new] {
                let owner = view.key_owner(&key);
                ensure!(
                    owner == Some(operator),
                    "rotation: {key} leads to {owner:?} after height {height}, not to {operator}"
                );
            }
            let claimed = (attribute(event, "old"), attribute(event, "consensus"));
            ensure!(
                claimed == (&old.to_string(), &new.to_string()),
                "rotation: the event of height {height} claims {claimed:?}, and {operator} replaced {old} by {new}"
            );
            counts.rotations += 1;
            self.old_keys.insert(old, height);
        }
        Ok(())
    }
}

/// Returns true if a validator may be in a set.
fn is_able(validator: &StakedValidator, params: &StakingParams) -> bool {
    validator.jail.is_none() && validator.tokens >= params.power_unit
}

/// Returns the set that the state determines. If no validator can be in one, the members of the last set stay, with the keys that
/// they have now.
fn set_of(
    validators: &BTreeMap<Address, StakedValidator>,
    params: &StakingParams,
    last: Option<(&ValidatorSet, &Rows)>,
) -> Result<ValidatorSet, Broken> {
    let mut able: Vec<_> = validators.iter().filter(|(_, one)| is_able(one, params)).collect();
    able.sort_by(|(a, one), (b, other)| other.tokens.cmp(&one.tokens).then(a.cmp(b)));
    able.truncate(params.validators_max as usize);
    let unit = params.power_unit;
    let mut members: Vec<_> = able.into_iter().map(|(_, one)| (one.public_key, Power(one.tokens / unit))).collect();
    if let (true, Some((last, now))) = (members.is_empty(), last) {
        let mut view = View::of_state(now);
        let mut key_of = |address: &Address| {
            let operator = view.key_owner(address)?;
            validators.get(&operator).map(|validator| validator.public_key)
        };
        members = last.iter().map(|one| (key_of(&one.address()).unwrap_or(one.public_key), one.power)).collect();
    }
    ValidatorSet::new(members).map_err(|error| Broken(format!("ST7: {error}")))
}

/// Returns all validators of a state.
fn validators(rows: &Rows) -> BTreeMap<Address, StakedValidator> {
    let prefix = [STAKES, b"V"].concat();
    let mut view = View::of_state(rows);
    let listed = rows.range(prefix.clone()..).take_while(|(row, _)| row.starts_with(&prefix));
    let operators = listed.filter_map(|(row, _)| row[prefix.len()..].try_into().ok().map(Address));
    operators.filter_map(|operator| Some((operator, view.validator(&operator)?))).collect()
}

/// Returns a number of 128 bits.
fn units(bytes: &[u8]) -> u128 {
    bytes.try_into().map_or(0, u128::from_be_bytes)
}

/// Checks the rows about validators, their delegations, their keys and rewards (ST2, ST3, rotation).
fn check_rows(height: Height, known: &BTreeMap<Address, StakedValidator>, rows: &Rows) -> Result<(), Broken> {
    let mut shares: BTreeMap<&[u8], u128> = BTreeMap::new();
    let mut earnings: BTreeMap<&[u8], pb::Earnings> = BTreeMap::new();
    let (mut income, mut delegations) = (pb::Income::default(), Vec::new());
    let of_state = rows.iter().filter(|(row, _)| row.starts_with(NEVER_REVERTED));
    for (key, value) in of_state.filter_map(|(_, value)| split_row(value)) {
        match key[0] {
            b'D' => {
                let (operator, delegation) = (&key[21..], Delegation::from_value(value));
                let found =
                    delegation.ok_or_else(|| Broken(format!("ST2: height {height}: a delegation is unreadable")))?;
                *shares.entry(operator).or_default() += found.shares;
                delegations.push((operator, found));
            }
            b'V' => {
                let validator = pb::StakedValidator::decode(value).unwrap_or_default();
                earnings.insert(&key[1..], validator.earnings.unwrap_or_default());
            }
            b'K' => {
                let owner = pb::KeyOwner::decode(value).unwrap_or_default().operator;
                let validator = known.iter().find(|(operator, _)| operator.0[..] == owner);
                let is_key = |(_, one): (&Address, &StakedValidator)| {
                    one.public_key.address().0 == key[1..] || one.old_key.is_some_and(|old| old.address.0 == key[1..])
                };
                ensure!(
                    validator.is_some_and(is_key),
                    "rotation: a key leads to {owner:?} after height {height}, which has it no longer"
                );
            }
            _ if key == key::INCOME => income = pb::Income::decode(value).unwrap_or_default(),
            _ => {}
        }
    }
    for (operator, validator) in known {
        let sum = shares.remove(&operator.0[..]).unwrap_or_default();
        let (all, tokens) = (validator.shares, validator.tokens);
        ensure!(all == sum, "ST2: height {height}: {operator} has {all} shares, its delegations have {sum}");
        // Slashes may take all tokens: then no price pays for the shares, and they are worth nothing.
        let is_ruined = tokens == 0 && (validator.punished_from > 0 || validator.jail.is_some());
        let needed = if is_ruined { 0 } else { all / validator.shares_per_token.max(1) };
        ensure!(u128::from(tokens) >= needed, "ST2: height {height}: {operator} has {tokens} of {needed} tokens");
    }
    let stray: u128 = shares.values().sum();
    ensure!(stray == 0, "ST2: height {height}: {stray} shares are of no validator");
    let pools = View::of_state(rows).pools();
    let (bonded, sum) = (pools.bonded, known.values().map(|one| one.tokens).sum::<u64>());
    ensure!(bonded == sum, "ST2: height {height}: the bonded pool has {bonded}, the validators have {sum}");
    let mut due = Some(units(&income.remainder));
    let mut add = |units: Option<u128>| due = due.zip(units).and_then(|(due, units)| due.checked_add(units));
    for earnings in earnings.values() {
        let open = units(&income.per_power).wrapping_sub(units(&earnings.settled));
        add(open.checked_mul(earnings.power.into()));
        add(Some(units(&earnings.commission)));
        add(Some(units(&earnings.remainder)));
    }
    for (operator, delegation) in delegations {
        let now = earnings.get(operator).map_or(0, |earnings| units(&earnings.per_share));
        let per_share = if delegation.shares > 0 { now.wrapping_sub(delegation.per_share) } else { 0 };
        add(per_share.checked_mul(delegation.shares));
    }
    let pool = u128::from(pools.rewards) << 64;
    ensure!(due == Some(pool), "ST3: height {height}: the rewards pool has {pool} units, {due:?} are due");
    Ok(())
}
