//! Proves the invariants of stake with arbitrary operations on a chain of a few validators.
#![allow(missing_docs)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::catch_unwind,
};

use app::{Answer, BrokenRule, Departure, Mutation, StakedValidator, Status, View, misplaced_row, query};
use common::{
    net::{Net, attribute, kinds},
    rewards::{Eager, check_due},
    stake::*,
    *,
};
use proptest::prelude::*;
use types::{Event, Msg, Params, StakingParams, Time, ValidatorSet, limits::POWER_TOTAL_MAX};

const VALIDATORS: [u8; 6] = [1, 2, 51, 52, 53, 54];
const MEMBERS_MAX: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A transaction of one message.
    Tx(u8, Msg),
    /// The time to the next block, in seconds.
    Wait(u64),
    /// Evidence that a validator signed twice, this number of heights ago.
    Accuse(u8, u64),
    /// A block in whose last commit these validators are absent.
    Without(Vec<u8>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let validator = || proptest::sample::select(&VALIDATORS[..]);
    let amount = || prop_oneof![1_u64..30, Just(1000), 1_u64..12_000];
    let who = || prop_oneof![3 => 1_u8..4, 2 => 51_u8..55];
    let message = prop_oneof![
        1 => (1_u8..3, 500_u64..20_000).prop_map(|(seed, amount)| (seed, create_validator(seed, amount))),
        4 => (who(), validator(), amount()).prop_map(|(who, to, amount)| (who, delegate(to, amount))),
        3 => (who(), validator(), amount()).prop_map(|(who, of, amount)| (who, undelegate(of, amount))),
        2 => (51_u8..55).prop_map(|who| (who, undelegate_all(who))),
        2 => (who(), validator()).prop_map(|(who, of)| (who, undelegate_all(of))),
        2 => (who(), validator(), 1_u64..6, amount())
            .prop_map(|(who, of, id, amount)| (who, cancel_unbonding(of, id, amount))),
        3 => (who(), validator(), validator(), amount())
            .prop_map(|(who, from, to, amount)| (who, redelegate(from, to, amount))),
        2 => validator().prop_map(|who| (who, unjail())),
        2 => (who(), validator()).prop_map(|(who, of)| (who, withdraw(of))),
        1 => validator().prop_map(|who| (who, withdraw_commission())),
        2 => (validator(), 150_u8..156).prop_map(|(who, consensus)| (who, rotate_key(who, consensus))),
    ];
    prop_oneof![
        6 => message.prop_map(|(who, message)| Step::Tx(who, message)),
        2 => (1_u64..8).prop_map(Step::Wait),
        1 => (validator(), 1_u64..8).prop_map(|(who, ago)| Step::Accuse(who, ago)),
        2 => proptest::collection::vec(51_u8..55, 1..4).prop_map(Step::Without),
    ]
}

/// What the host and an observer know about a chain.
struct Watched {
    net: Net,
    /// The set that the last block computed.
    set: ValidatorSet,
    /// For each open unbonding, by validator and number: the last time at which it counted.
    unbonding: BTreeMap<(String, String), u64>,
    /// The sets of the heights from 1 on, up to that of the next height but one.
    sets: Vec<ValidatorSet>,
    /// Heights for which validators were accused.
    accused: BTreeSet<(u8, u64)>,
    /// For each validator that paid for a double sign, the number of its next departure then.
    punished: BTreeMap<u8, u64>,
    /// Validators and departures that paid.
    paid: BTreeSet<(u8, u64)>,
    /// The model of rewards, which knows no slashes.
    eager: Option<Eager>,
    last_time: Option<Time>,
}

fn paying() -> Params {
    let params = params(MEMBERS_MAX + 1);
    let staking = StakingParams {
        community_bps: 1234,
        issuance_bps_per_year: 500,
        downtime_window: 6,
        downtime: net::seconds(3),
        jail: net::seconds(5),
        ..params.staking
    };
    Params { staking, ..params }
}

/// What a validator and its departures have.
type Holdings = (StakedValidator, BTreeMap<u64, Departure>);

impl Watched {
    fn new() -> Self {
        let net = Net::with(&paying());
        let first: Vec<_> = (101..105).map(|seed| (key(seed).public_key(), types::Power(10))).collect();
        let (eager, set) = (Some(Eager::new(&net)), ValidatorSet::new(first).unwrap());
        Self {
            net,
            unbonding: BTreeMap::new(),
            sets: vec![set.clone(), set.clone()],
            set,
            accused: BTreeSet::new(),
            punished: BTreeMap::new(),
            paid: BTreeSet::new(),
            eager,
            last_time: None,
        }
    }

    /// Returns what is known about a validator, if there is one.
    fn holdings(&self, seed: u8) -> Option<Holdings> {
        let mut view = View::of_state(&self.net.chain.rows);
        let validator = view.validator(&of(seed))?;
        let departures = (1..validator.next_departure).filter_map(|id| Some((id, view.departure(&of(seed), id)?)));
        Some((validator.clone(), departures.collect()))
    }

    /// ST5: the first double sign of a validator costs the share of what counted, each later one only what has not paid.
    fn accuse(&mut self, seed: u8, ago: u64) {
        let next = self.net.height() + 1;
        let height = next.saturating_sub(ago);
        let consensus = address(if seed > 50 { seed + 50 } else { seed + 200 });
        let member = self.sets.get((height as usize).wrapping_sub(1)).and_then(|set| set.by_address(&consensus));
        let Some(power) = member.map(|(_, member)| member.power.0) else { return self.step(&Step::Wait(0)) };
        if !self.accused.insert((seed, height)) {
            return self.step(&Step::Wait(0));
        }
        let before = self.holdings(seed);
        self.net.chain.misbehavior = vec![double_sign(seed, height, power)];
        self.step(&Step::Wait(0));
        let (Some((old, left)), Some((new, _))) = (before, self.holdings(seed)) else { return };
        // A key that was replaced is forgotten when evidence against it has expired.
        if View::of_state(&self.net.chain.rows).key_owner(&consensus) != Some(of(seed)) {
            return;
        }
        let counted = |one: &Departure| {
            let is_kept = |kept: app::Kept| one.height >= kept.from && kept.until.is_none_or(|u| u.next().0 >= height);
            one.height.0 + 1 >= height || old.kept.is_some_and(is_kept)
        };
        let limit = *self.punished.entry(seed).or_insert(old.next_departure);
        let mut owed = 0;
        // What matured in this block did so before the evidence.
        for (id, now) in self.holdings(seed).map(|(_, departures)| departures).unwrap_or_default() {
            let Some(then) = left.get(&id) else { continue };
            let pays = id < limit && counted(then) && self.paid.insert((seed, id));
            let share = if pays { then.tokens / 20 } else { 0 };
            owed += share;
            assert_eq!(now.tokens, then.tokens - share, "ST5: departure {id} of {seed} for height {height}");
        }
        let rest = if old.is_tombstoned { 0 } else { (power * UNIT / 20).saturating_sub(owed).min(old.tokens) };
        assert_eq!(new.tokens, old.tokens - rest, "ST5: {seed} for height {height}");
        assert!(new.is_tombstoned);
    }

    fn step(&mut self, step: &Step) {
        let txs = match step {
            Step::Tx(who, message) => vec![self.net.tx(*who, vec![message.clone()])],
            Step::Wait(seconds) => {
                self.net.chain.time = self.net.chain.time.saturating_add(net::seconds(*seconds));
                Vec::new()
            }
            Step::Accuse(seed, ago) => return self.accuse(*seed, *ago),
            Step::Without(operators) => {
                self.net.chain.absent = operators.iter().map(|seed| address(seed + 50)).collect();
                Vec::new()
            }
        };
        let (before, time) = (self.net.chain.rows.clone(), self.net.chain.time);
        let now = time.unix_nanos() as u64 / 1_000_000_000;
        let results = self.net.block(txs);
        // ST4 and ST7: the host can apply the changes, which gives the function of the state.
        self.set = self.set.update(&self.net.chain.updates).expect("the changes make a set");
        self.sets.push(self.set.clone());
        let events = self.net.chain.events.clone();
        events.iter().filter(|event| event.kind == "staking.unbonded").for_each(|event| self.paid(event, now));
        let all: Vec<Event> = events.iter().chain(results.iter().flat_map(|result| &result.events)).cloned().collect();
        let elapsed_ms = self.last_time.map_or(0, |last| time.since(last).as_millis() as u64);
        self.eager = self.eager.take().filter(|_| all.iter().all(|event| event.kind != "staking.slashed"));
        if let Some(eager) = &mut self.eager {
            eager.follow(&before, &self.net, elapsed_ms, &paying().staking, &all);
        }
        self.last_time = Some(time);
        // What left in the last block counted until this one.
        self.unbonding.values_mut().filter(|last| **last == u64::MAX).for_each(|last| *last = now);
        for event in results.iter().flat_map(|result| &result.events) {
            if event.kind == "staking.undelegated" {
                self.unbonding.insert(name(event), u64::MAX);
            }
        }
    }

    /// ST6.
    fn paid(&mut self, event: &Event, now: u64) {
        let last = self.unbonding.remove(&name(event)).expect("it was undelegated, and is paid once");
        assert!(now >= last.saturating_add(10), "{} at {now} s, it counted at {last} s", net::text(event));
    }

    fn check(&self) {
        let rows = &self.net.chain.rows;
        let mut view = View::of_state(rows);
        let Ok(Answer::Supply { total, fee_pool, deposits, stake }) = query(rows, "/supply", b"") else { panic!() };
        let others = fee_pool + deposits + stake.sum();
        assert_eq!(self.net.chain.balances() + u128::from(others), u128::from(total), "ST1");
        check_due(rows);
        let Ok(Answer::Validators { list, .. }) = query(rows, "/staking/validators", b"") else { panic!() };
        let mut bonded = 0;
        for one in &list {
            let path = format!("/staking/delegators/{}", one.operator);
            let Ok(Answer::Delegations { list, .. }) = query(rows, &path, b"") else { panic!() };
            let shares: u128 = list.iter().map(|delegation| delegation.shares).sum();
            assert_eq!(shares, one.validator.shares, "ST2: shares");
            assert!(list.iter().map(|delegation| delegation.amount).sum::<u64>() <= one.validator.tokens, "ST2: worth");
            bonded += one.validator.tokens;
        }
        assert_eq!(bonded, stake.bonded, "ST1: the pool is the stake of all validators");
        let mut eligible: Vec<(u64, std::cmp::Reverse<types::Address>, &StakedValidator)> = list
            .iter()
            .filter(|one| one.validator.jail.is_none() && one.validator.tokens >= UNIT)
            .map(|one| (one.validator.tokens, std::cmp::Reverse(one.operator), &one.validator))
            .collect();
        eligible.sort_by_key(|(tokens, operator, _)| std::cmp::Reverse((*tokens, *operator)));
        eligible.truncate(MEMBERS_MAX as usize + 1);
        let members: BTreeMap<_, _> = self.set.iter().map(|member| (member.address(), member.power.0)).collect();
        if !eligible.is_empty() {
            let expected: BTreeMap<_, _> =
                eligible.iter().map(|(tokens, _, validator)| (validator.public_key.address(), tokens / UNIT)).collect();
            assert_eq!(members, expected, "ST4");
        }
        assert!(self.set.total_power().0 <= POWER_TOTAL_MAX && !members.is_empty(), "ST7");
        assert_eq!(self.set.total_power(), view.power_total(), "the state knows the total");
        for one in list {
            let power = members.get(&one.validator.public_key.address()).copied().unwrap_or(0);
            assert_eq!(one.validator.power.0, power, "the state knows the power of each");
            assert_eq!(one.validator.status() == Status::Bonded, power > 0);
            let keys = [Some(one.validator.public_key.address()), one.validator.old_key.map(|old| old.address)];
            for key in keys.into_iter().flatten() {
                assert_eq!(view.key_owner(&key), Some(one.operator), "each key leads to its operator");
            }
        }
        assert_eq!(misplaced_row(rows), None);
    }
}

fn name(event: &Event) -> (String, String) {
    (attribute(event, "validator").to_owned(), attribute(event, "id").to_owned())
}

fn follow(steps: &[Step]) {
    let mut watched = Watched::new();
    for step in steps {
        watched.step(step);
        watched.check();
    }
}

#[test]
fn the_model_of_rewards_notices_each_broken_rule() {
    let steps = [
        Step::Tx(1, delegate(51, 10_000)),
        Step::Tx(2, delegate(52, 777)),
        Step::Wait(1),
        Step::Tx(1, withdraw(51)),
        Step::Tx(1, undelegate(51, 4000)),
        Step::Tx(51, withdraw_commission()),
        Step::Wait(2),
        Step::Tx(2, delegate(51, 30_000)),
        Step::Wait(1),
        Step::Wait(1),
    ];
    follow(&steps);
    for mutation in [
        Mutation::RewardNewSet,
        Mutation::NoCommission,
        Mutation::CommissionOnTop,
        Mutation::RoundRewardUp,
        Mutation::PayAgain,
        Mutation::ForgetSettle,
        Mutation::LoseRemainder,
        Mutation::IssueByHeight,
        Mutation::LoseIssued,
        Mutation::IssueUncounted,
        Mutation::NoCommunity,
    ] {
        let broken = BrokenRule::new(mutation);
        assert!(catch_unwind(|| follow(&steps)).is_err(), "{mutation:?} is not noticed");
        drop(broken);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stake_keeps_its_invariants(steps in proptest::collection::vec(any_step(), 1..60)) {
        follow(&steps);
    }

    /// ST8, at a price that a slash has made odd.
    #[test]
    fn small_operations_give_what_a_large_one_gives(
        tokens in 1_u64..10_000,
        amounts in proptest::collection::vec(1_u64..5000, 1..6),
    ) {
        let mut net = net(5);
        let shares = net.validator(51).shares;
        let mut pb: types::pb::StakedValidator = {
            let value = View::of_state(&net.chain.rows).get(&app::state::key::validator(&of(51))).unwrap().to_vec();
            prost::Message::decode(&value[..]).unwrap()
        };
        pb.tokens = tokens;
        pb.shares_per_token = shares.div_ceil(u128::from(tokens)).to_be_bytes().to_vec();
        net.tamper(&app::state::key::validator(&of(51)), &prost::Message::encode_to_vec(&pb));
        let sum: u64 = amounts.iter().sum();
        net.ok(1, vec![delegate(51, sum)]);
        let large = net.validator(51).worth(View::of_state(&net.chain.rows).delegation(&of(1), &of(51)).shares);
        prop_assert_eq!(large, sum);
        net.ok(1, amounts.iter().map(|amount| undelegate(51, *amount)).collect());
        prop_assert_eq!(View::of_state(&net.chain.rows).delegation(&of(1), &of(51)).shares, 0);
        prop_assert_eq!(net.validator(51).tokens, tokens);
        prop_assert!(kinds(&net.chain.events).is_empty());
    }
}
