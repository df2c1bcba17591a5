//! Slashes: what validators lose that signed twice, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use app::{StakedValidator, View};
use types::{Address, BPS_MAX, Deadline, Event, Evidence, Height, Misbehavior, Power, Time, ValidatorSet};

use super::decided::Decided;
use crate::{
    broken::{Broken, ensure},
    rows::{attribute, number, of_kind},
    story::Counts,
};

type Sets = BTreeMap<Height, ValidatorSet>;
type Times = BTreeMap<Height, Time>;
type Validators = BTreeMap<Address, StakedValidator>;

/// The slashes of a world's chain, and what they follow from.
pub(super) struct SlashRecord {
    /// True if double signs cost nothing.
    is_forgiving: bool,
    /// The operator of each consensus key that a validator has had.
    owners: BTreeMap<Address, Address>,
    /// First height of the present membership of each member.
    members: BTreeMap<Address, Height>,
    misses: BTreeMap<Address, Misses>,
    /// Validators that were jailed for downtime, with the height and their power then.
    jailed: Vec<(Address, Height, u64)>,
    /// Operator and height of each double sign that was punished.
    punished: BTreeSet<(Address, Height)>,
}

/// The heights that a validator missed in a membership, ascending.
struct Misses {
    since: Height,
    heights: Vec<Height>,
}

/// A slash, as its event describes it.
struct Slashed<'e> {
    event: &'e Event,
    operator: Address,
    height: Height,
    burned: u64,
}

impl SlashRecord {
    pub(super) fn new(is_forgiving: bool) -> Self {
        Self {
            is_forgiving,
            owners: BTreeMap::new(),
            members: BTreeMap::new(),
            misses: BTreeMap::new(),
            jailed: Vec::new(),
            punished: BTreeSet::new(),
        }
    }

    /// Checks the slashes of a block; `known` are the validators before it.
    pub(super) fn on_decided(
        &mut self,
        decided: &Decided<'_>,
        known: &Validators,
        (sets, times): (&Sets, &Times),
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        let Decided { block, results, .. } = decided;
        let height = block.header.height;
        self.owners.extend(known.iter().map(|(operator, one)| (one.public_key.address(), *operator)));
        let mut slashed = Vec::new();
        for event in of_kind(&results.events, "staking.slashed") {
            let found = known.keys().find(|operator| operator.to_string() == attribute(event, "validator"));
            let operator =
                *found.ok_or_else(|| Broken(format!("ST5: height {height} slashes an unknown validator")))?;
            let (height, burned) = (Height(number(event, "height")), number(event, "burned"));
            slashed.push(Slashed { event, operator, height, burned });
        }
        let named: Vec<Misbehavior> = block.evidence.iter().flat_map(Evidence::misbehavior).collect();
        self.check_double_signs(decided, known, &named, &slashed, counts)?;
        let last_height = height.prev().unwrap_or_default();
        if let (Some(commit), Some(set)) = (&block.last_commit, sets.get(&last_height)) {
            self.enter(last_height, set);
            let is_kept = |key: &Address| self.is_kept(key, known, decided);
            let accused: BTreeSet<Address> =
                self.operators(named.iter().map(|one| one.validator).filter(is_kept)).collect();
            let absent: Vec<Address> = self.operators(commit.absent(set).into_iter().filter(is_kept)).collect();
            let due = self.due_for_downtime(decided, known, (sets, times), &absent, &accused);
            let is_downtime = |one: &&Slashed<'_>| attribute(one.event, "infraction") == "downtime";
            let got: Vec<(Address, u64)> =
                slashed.iter().filter(is_downtime).map(|one| (one.operator, one.burned)).collect();
            ensure!(got == due, "ST5: height {height} slashes {got:?} for downtime, {due:?} are expected");
            counts.jailed += due.len() as u64;
        }
        Ok(())
    }

    fn operators(&self, keys: impl IntoIterator<Item = Address>) -> impl Iterator<Item = Address> {
        keys.into_iter().filter_map(|key| self.owners.get(&key).copied())
    }

    /// Returns true if the chain knows a key when a block judges who signed. It forgets a replaced key after the unbonding time, which
    /// one slow height can outlast, and before it judges; a key in use only afterwards, when its validator ends.
    fn is_kept(&self, key: &Address, known: &Validators, decided: &Decided<'_>) -> bool {
        let owner = self.owners.get(key).and_then(|operator| known.get(operator));
        owner.is_some_and(|owner| owner.public_key.address() == *key)
            || View::of_state(decided.now).key_owner(key).is_some()
    }

    /// Follows the membership of validators.
    fn enter(&mut self, height: Height, set: &ValidatorSet) {
        let members: BTreeSet<Address> = self.operators(set.iter().map(|one| one.address())).collect();
        self.members.retain(|operator, _| members.contains(operator));
        for operator in members {
            self.members.entry(operator).or_insert(height);
        }
    }

    // ---- double signs --------------------------------------------------------------------------------------------

    fn check_double_signs(
        &mut self,
        decided: &Decided<'_>,
        known: &Validators,
        named: &[Misbehavior],
        slashed: &[Slashed<'_>],
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        let block = decided.block.header.height;
        for one in slashed.iter().filter(|one| attribute(one.event, "infraction") != "downtime") {
            let (operator, height) = (one.operator, one.height);
            let is_it = |misbehavior: &&Misbehavior| {
                misbehavior.height == height && self.owners.get(&misbehavior.validator) == Some(&operator)
            };
            let proof = named.iter().find(is_it);
            ensure!(proof.is_some(), "ST5: height {block} slashes {operator} for height {height} without evidence");
            let (proof, validator) = (proof.expect("just checked"), &known[&operator]);
            let earliest = self.punished.iter().filter(|(other, _)| *other == operator).map(|(_, at)| *at).min();
            ensure!(
                earliest.is_none_or(|earliest| height < earliest),
                "ST5: height {block} slashes {operator} again: for height {height}, after {earliest:?}"
            );
            self.punished.insert((operator, height));
            let is_old = proof.validator != validator.public_key.address();
            counts.slashed += 1;
            counts.slashed_by_old_keys += u64::from(is_old);
            check_amount(decided, validator, proof, one, slashed.len() == 1)?;
        }
        for proof in named.iter().filter(|_| !self.is_forgiving) {
            let Some(operator) = self.owners.get(&proof.validator) else { continue };
            if !self.is_kept(&proof.validator, known, decided) {
                continue;
            }
            let Some(validator) = known.get(operator).filter(|validator| !validator.is_tombstoned) else { continue };
            // The block pays the last stake of the validator before it judges, after a height that outlasts the unbonding time.
            let ends = |event: &Event| attribute(event, "validator") == operator.to_string();
            if validator.tokens == 0 && of_kind(&decided.results.events, "staking.validator_ended").any(ends) {
                continue;
            }
            let is_punished = slashed.iter().any(|one| one.operator == *operator && one.height == proof.height)
                || self.punished.iter().any(|(other, _)| other == operator);
            ensure!(is_punished, "ST5: height {block} names {}, which is not slashed", proof.validator);
            let now = View::of_state(decided.now).validator(operator);
            let is_kept = |now: &StakedValidator| now.kept.is_some_and(|kept| kept.until.is_none());
            let is_out = now.is_none_or(|now| now.is_tombstoned && (now.power == Power::ZERO || is_kept(&now)));
            ensure!(is_out, "ST5: height {block} leaves {operator} where it is, with {}", validator.power.0);
        }
        Ok(())
    }

    // ---- downtime ------------------------------------------------------------------------------------------------

    /// Returns whom a block must slash for downtime, with the amounts.
    fn due_for_downtime(
        &mut self,
        decided: &Decided<'_>,
        known: &Validators,
        (sets, times): (&Sets, &Times),
        absent: &[Address],
        accused: &BTreeSet<Address>,
    ) -> Vec<(Address, u64)> {
        let (block, params) = (&decided.block.header, &decided.params.staking);
        let missed = block.height.prev().unwrap_or_default();
        let mut due = Vec::new();
        for operator in absent.iter().filter(|operator| !accused.contains(*operator)) {
            let Some(validator) = known.get(operator).filter(|one| one.power > Power::ZERO && one.jail.is_none())
            else {
                continue;
            };
            // One that left and returns misses nothing of the membership that ends.
            let is_leaving = [missed.next(), missed.next().next()].iter().any(|height| {
                let Some(set) = sets.get(height) else { return true };
                self.operators(set.iter().map(|one| one.address())).all(|member| member != *operator)
            });
            let Some(since) = self.members.get(operator).copied().filter(|_| !is_leaving) else { continue };
            let misses = self.misses.entry(*operator).or_insert(Misses { since, heights: Vec::new() });
            if misses.since != since {
                *misses = Misses { since, heights: Vec::new() };
            }
            misses.heights.push(missed);
            let start = (missed.0 + 1).saturating_sub(params.downtime_window);
            let count = misses.heights.iter().filter(|height| height.0 >= start).count() as u64;
            let run = misses.heights.iter().rev().zip(0..).take_while(|(height, back)| height.0 + back == missed.0);
            let silent_from = run.last().map_or(missed, |(height, _)| *height);
            let since = times.get(&silent_from.next()).map(|time| Deadline::at(*time).time());
            let is_long = since.is_some_and(|since| block.time >= since.saturating_add(params.downtime));
            let is_due = is_long && count > params.downtime_window / 2;
            if is_due && self.has_turn(decided, known, operator, validator.power) {
                self.misses.remove(operator);
                due.push((*operator, part_of(validator.tokens, params.slash_downtime_bps)));
            }
        }
        due
    }

    /// Returns true if a validator may be jailed beside those of the last window, and notes it then: together they have at most
    /// a third of the power.
    fn has_turn(&mut self, decided: &Decided<'_>, known: &Validators, operator: &Address, power: Power) -> bool {
        let (height, window) = (decided.block.header.height, decided.params.staking.downtime_window);
        self.jailed.retain(|(other, at, _)| other != operator && at.0 + window > height.0);
        let power_of = |operator: &Address| known.get(operator).map_or(0, |one| one.power.0);
        let gone: u64 = self.jailed.iter().filter(|one| power_of(&one.0) == 0).map(|one| one.2).sum();
        let jailed: u64 = self.jailed.iter().map(|one| one.2).sum();
        let total = known.values().map(|one| one.power.0).sum::<u64>() + gone;
        if 3 * (jailed + power.0) > total {
            return false;
        }
        self.jailed.push((*operator, height, power.0));
        true
    }
}

/// Returns a share of an amount, rounded down.
fn part_of(amount: u64, bps: u64) -> u64 {
    (u128::from(amount) * u128::from(bps) / u128::from(BPS_MAX)) as u64
}

/// Checks what a double sign costs: the fraction of what was bonded at its height, from where that is now.
fn check_amount(
    decided: &Decided<'_>,
    validator: &StakedValidator,
    proof: &Misbehavior,
    slashed: &Slashed<'_>,
    is_alone: bool,
) -> Result<(), Broken> {
    let (block, operator, burned) = (decided.block.header.height, slashed.operator, slashed.burned);
    let params = &decided.params.staking;
    let bps = params.slash_duplicate_vote_bps;
    let (mut before, mut now) = (View::of_state(decided.before), View::of_state(decided.now));
    let ids = |events: &[Event], kind: &str| -> BTreeSet<u64> {
        let name = operator.to_string();
        of_kind(events, kind)
            .filter(|event| attribute(event, "validator") == name)
            .map(|event| number(event, "id"))
            .collect()
    };
    let paid = ids(&decided.results.events, "staking.unbonded");
    let cancelled: BTreeSet<u64> =
        decided.results.txs.iter().flat_map(|tx| ids(&tx.events, "staking.undelegate_cancelled")).collect();
    let is_first = !validator.is_tombstoned;
    let (mut owed, mut has_moved) = (0, false);
    for id in (1..validator.next_departure).filter(|id| !paid.contains(id)) {
        let Some(departure) = before.departure(&operator, id) else { continue };
        has_moved |= departure.to.is_some();
        // While a set kept the power of a validator, what left it counted there.
        let is_kept = validator.kept.is_some_and(|kept| {
            departure.height >= kept.from && kept.until.is_none_or(|until| until.next() >= proof.height)
        });
        let counted = departure.height.next() >= proof.height || is_kept;
        let share = if counted { part_of(departure.tokens, bps) } else { 0 };
        owed += share;
        if is_first && is_alone && validator.kept.is_none() && departure.to.is_none() && !cancelled.contains(&id) {
            let (left, expected) =
                (now.departure(&operator, id).map(|departure| departure.tokens), departure.tokens - share);
            ensure!(
                left == Some(expected),
                "ST5: unbonding {id} of {operator} left at height {}: after the slash for height {} it has {left:?}, not {expected}",
                departure.height,
                proof.height
            );
        }
    }
    let whole = part_of(proof.power.0 * params.power_unit, bps);
    let most = if is_first { owed + whole.saturating_sub(owed).min(validator.tokens) } else { owed };
    let is_exact = is_first && is_alone && !has_moved && validator.kept.is_none();
    let is_right =
        if is_exact { burned == most } else { burned <= owed.max(most).max(if is_first { whole } else { 0 }) };
    ensure!(is_right, "ST5: height {block} burns {burned} of {operator} for height {}, not {most}", proof.height);
    Ok(())
}
