//! Rules of slashing for double signs.

use app::{Answer, JailReason, Kept, Slash, SlashReason, Status, View, misplaced_row, query};
use types::{Event, Hash, Height, MisbehaviorKind, Msg, Params, Power, StakeMsg, StakingParams, ValidatorEdit};

use super::{
    common::{
        net::{Net, kinds, text},
        stake::*,
    },
    stake::{check_supply, delegation, pools, stake_pools},
};

fn texts(events: &[Event]) -> Vec<String> {
    events.iter().map(text).collect()
}

fn evidence(seed: u8, height: u64) -> String {
    let consensus = super::common::address(seed + 50);
    format!("evidence validator={consensus} height={height} kind=duplicate_vote")
}

fn slashed(seed: u8, height: u64, burned: u64) -> String {
    let operator = of(seed);
    format!(
        "staking.slashed validator={operator} infraction=duplicate_vote height={height} fraction_bps=500 burned={burned} tombstoned=true"
    )
}

fn supply(net: &Net) -> u64 {
    View::of_state(&net.chain.rows).supply()
}

/// What is left of departures of a validator, by their numbers.
fn left(net: &Net, seed: u8, ids: &[u64]) -> Vec<u64> {
    let mut view = View::of_state(&net.chain.rows);
    ids.iter().map(|id| view.departure(&of(seed), *id).expect("it waits").tokens).collect()
}

fn until(net: &mut Net, height: u64) {
    while net.height() < height {
        net.empty();
    }
}

#[test]
pub fn a_double_sign_costs_the_fraction_and_the_place_in_the_set_for_ever() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 2000)]);
    until(&mut net, 5);
    let before = supply(&net);
    let events = net.accuse(&[double_sign(51, 4, 12)]);
    assert_eq!(texts(&events), [evidence(51, 4), slashed(51, 4, 600)]);
    assert_eq!((net.changes(), net.power_total()), (vec![(51, 0)], Power(30)));
    let validator = net.validator(51);
    assert_eq!((validator.tokens, validator.is_tombstoned, validator.status()), (11_400, true, Status::Unbonding));
    assert_eq!(validator.jail.map(|jail| jail.why), Some(JailReason::DoubleSign));
    let worths = [51, 1].map(|seed| validator.worth(delegation(&net, seed, 51).shares)).to_vec();
    assert_eq!(worths, [9499, 1899], "rounded down");
    assert_eq!(pools(&net), stake_pools(41_400, 0));
    check_supply(&net);
    assert_eq!(before - supply(&net), 600);
    net.fails(51, vec![unjail()], "E_TOMBSTONED");
    // Those behind it leave with what is left.
    net.ok(1, vec![undelegate_all(51)]);
    net.ok(51, vec![redelegate(51, 52, 9000)]);
    until(&mut net, 25);
    let validator = net.validator(51);
    assert_eq!((validator.is_tombstoned, validator.power), (true, Power(0)), "it is known for ever");
    net.fails(51, vec![unjail()], "E_TOMBSTONED");
    assert_eq!(misplaced_row(&net.chain.rows), None);
    check_supply(&net);
}

#[test]
pub fn what_counted_at_the_infraction_pays_wherever_it_unbonds() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 6000)]);
    until(&mut net, 2);
    // The set of height 5 is that of block 3.
    (3..=5).for_each(|_| drop(net.ok(1, vec![undelegate(51, 1000)])));
    let events = net.accuse(&[double_sign(51, 5, 15)]);
    assert_eq!(left(&net, 51, &[1, 2, 3]), [1000, 950, 950], "the first left before");
    assert_eq!(texts(&events)[1], slashed(51, 5, 750));
    assert_eq!(net.validator(51).tokens, 13_000 - 650);
    assert_eq!(pools(&net), stake_pools(43_000 - 650, 3000 - 100));
    check_supply(&net);
    until(&mut net, 20);
    assert_eq!(pools(&net).unbonding, 0);
    check_supply(&net);
}

#[test]
pub fn amounts_are_rounded_down_and_of_what_waits() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 2000)]);
    net.ok(1, vec![undelegate(51, 1000)]);
    net.ok(1, vec![undelegate(51, 39)]);
    net.ok(1, vec![cancel_unbonding(51, 1, 600)]);
    net.accuse(&[double_sign(51, 3, 12)]);
    assert_eq!(left(&net, 51, &[1, 2]), [380, 38]);
    // 5 % of 12,000, without what the departures paid.
    assert_eq!(net.validator(51).tokens, 12_000 - 1039 + 600 - (600 - 20 - 1));
    check_supply(&net);
}

#[test]
pub fn redelegated_stake_pays_at_its_target_and_where_it_unbonds_from_there() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 4000), delegate(52, 60)]);
    net.ok(1, vec![undelegate(52, 10)]);
    net.ok(1, vec![redelegate(51, 52, 2000)]);
    net.ok(1, vec![undelegate(52, 1000), undelegate(52, 990)]);
    assert_eq!(net.height(), 4);
    let events = net.accuse(&[double_sign(51, 4, 14)]);
    assert_eq!(texts(&events)[1], slashed(51, 4, 700));
    // The share of 2000 is 100: 60 are at the target, 40 in the last unbonding; the first one began before.
    assert_eq!((delegation(&net, 1, 52).shares, left(&net, 52, &[1, 2, 3])), (0, vec![10, 1000, 950]));
    assert_eq!((net.validator(51).tokens, net.validator(52).tokens), (12_000 - 600, 10_000));
    assert_eq!(pools(&net), stake_pools(42_060 - 660, 2000 - 40));
    check_supply(&net);
    // It is not paid twice.
    assert_eq!(kinds(&net.accuse(&[double_sign(51, 3, 14)])), "evidence");
    until(&mut net, 20);
    check_supply(&net);
    assert_eq!(misplaced_row(&net.chain.rows), None);
}

#[test]
pub fn a_redelegation_whose_stake_is_gone_is_not_paid_by_others() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 4000)]);
    net.ok(1, vec![redelegate(51, 52, 2000)]);
    // The target loses most of it.
    net.ok(1, vec![undelegate(52, 1990)]);
    let key = app::state::key::departure(&of(52), 1);
    let value = View::of_state(&net.chain.rows).get(&key).unwrap().to_vec();
    let mut pb: types::pb::Departure = prost::Message::decode(&value[..]).unwrap();
    pb.tokens = 30;
    net.tamper(&key, &prost::Message::encode_to_vec(&pb));
    let events = net.accuse(&[double_sign(51, 3, 14)]);
    assert_eq!(texts(&events)[1], slashed(51, 3, 600 + 10 + 30));
    assert_eq!((left(&net, 52, &[1]), net.validator(51).tokens), (vec![0], 11_400));
}

#[test]
pub fn a_double_sign_is_punished_once_and_an_earlier_one_takes_from_what_has_not_paid() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 6000)]);
    net.ok(1, vec![undelegate(51, 1000)]);
    until(&mut net, 5);
    net.ok(1, vec![undelegate(51, 1000)]);
    let events = net.accuse(&[double_sign(51, 6, 15), double_sign(51, 6, 15)]);
    assert_eq!(texts(&events), [evidence(51, 6), slashed(51, 6, 750), evidence(51, 6)]);
    assert_eq!((net.validator(51).tokens, left(&net, 51, &[1, 2])), (13_300, vec![1000, 950]));
    net.ok(1, vec![undelegate(51, 500)]);
    for height in [7, 5, 4] {
        assert_eq!(texts(&net.accuse(&[double_sign(51, height, 15)])), [evidence(51, height)]);
    }
    assert_eq!(net.height(), 11);
    // What left in block 2 counted at height 3.
    let earlier = texts(&net.accuse(&[double_sign(51, 3, 16)]));
    assert_eq!(earlier, [evidence(51, 3), slashed(51, 3, 50)]);
    assert_eq!((net.validator(51).tokens, left(&net, 51, &[1, 2, 3])), (12_800, vec![950, 950, 500]));
    check_supply(&net);
    // The history, the newest first.
    let slash = |height: u64, block, burned| Slash {
        why: SlashReason::DuplicateVote,
        height: Height(height),
        block: Height(block),
        fraction_bps: 500,
        burned,
        evidence: Some(Hash([height as u8; 32])),
    };
    let ask = |path: &str, data: &[u8]| query(&net.chain.rows, path, data).unwrap();
    let path = format!("/staking/slashes/{}", of(51));
    let all = Answer::Slashes { list: vec![(2, slash(3, 12, 50)), (1, slash(6, 7, 750))], next: None };
    assert_eq!(ask(&path, b""), all);
    let first = Answer::Slashes { list: vec![(2, slash(3, 12, 50))], next: Some(1) };
    assert_eq!(ask(&format!("{path}?limit=1"), b""), first);
    assert_eq!(ask(&path, b"1"), Answer::Slashes { list: vec![(1, slash(6, 7, 750))], next: None });
    assert_eq!(ask(&path, b"0"), Answer::Slashes { list: vec![], next: None });
    let refused = query(&net.chain.rows, &path, b"x").unwrap_err();
    assert_eq!(refused.code().name, "E_BAD_QUERY");
}

/// Stake at a validator pays once: a cancelled unbonding would escape what an earlier double sign costs it.
#[test]
pub fn what_unbonds_from_a_validator_that_signed_twice_does_not_return_to_it() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 6000)]);
    net.ok(1, vec![undelegate(51, 1000)]);
    until(&mut net, 5);
    net.ok(1, vec![undelegate(51, 1000)]);
    net.accuse(&[double_sign(51, 6, 15)]);
    for id in [1, 2] {
        net.fails(1, vec![cancel_unbonding(51, id, 100)], "E_TOMBSTONED");
    }
    // What left in block 2 counted at height 3.
    let earlier = texts(&net.accuse(&[double_sign(51, 3, 16)]));
    assert_eq!(earlier, [evidence(51, 3), slashed(51, 3, 50)]);
    assert_eq!(left(&net, 51, &[1, 2]), [950, 950]);
    check_supply(&net);
}

fn own_min(min: u64) -> Msg {
    Msg::Stake(StakeMsg::Edit(Box::new(ValidatorEdit { own_min: Some(min), ..ValidatorEdit::default() })))
}

#[test]
pub fn own_stake_that_a_slash_takes_below_its_minimum_jails_in_the_same_block() {
    for (min, is_low) in [(13_801, true), (13_800, false)] {
        let mut net = net(5);
        net.ok(52, vec![delegate(51, 4000)]);
        net.ok(52, vec![redelegate(51, 52, 4000)]);
        net.ok(52, vec![own_min(min)]);
        // The share of 4000 is 200 of the 14,000 that the operator has at its own validator.
        let events = net.accuse(&[double_sign(51, 3, 14)]);
        let jailed = format!("staking.jailed validator={} why=own_stake until=4000", of(52));
        let expected = [evidence(51, 3), slashed(51, 3, 700)].into_iter().chain(is_low.then_some(jailed));
        assert_eq!(texts(&events), expected.collect::<Vec<_>>());
        let validator = net.validator(52);
        assert_eq!((validator.tokens, validator.power), (13_800, Power(if is_low { 0 } else { 13 })));
        assert_eq!(validator.jail.map(|jail| jail.why), is_low.then_some(JailReason::OwnStake));
        check_supply(&net);
    }
    // A validator outside of the set stays there.
    let mut net = net(4);
    net.ok(1, vec![create_validator(1, 3000), delegate(51, 4000)]);
    net.ok(1, vec![redelegate(51, 1, 4000)]);
    net.ok(1, vec![own_min(7000)]);
    assert_eq!(texts(&net.accuse(&[double_sign(51, 3, 14)])), [evidence(51, 3), slashed(51, 3, 700)]);
    assert_eq!(net.changes(), [(51, 0)], "the place in the set stays empty");
    net.fails(1, vec![unjail()], "E_TOO_LITTLE");
    check_supply(&net);
}

#[test]
pub fn a_validator_that_loses_everything_keeps_its_shares() {
    let staking = StakingParams { slash_duplicate_vote_bps: 10_000, ..params(5).staking };
    let mut net = Net::with(&Params { staking, ..params(5) });
    net.ok(1, vec![delegate(51, 2000)]);
    net.ok(1, vec![undelegate(51, 500), redelegate(51, 52, 500)]);
    let before = supply(&net);
    net.accuse(&[double_sign(51, 3, 12)]);
    let validator = net.validator(51);
    assert_eq!((validator.tokens, validator.shares), (0, 11_000 << 32));
    assert_eq!((left(&net, 51, &[1]), delegation(&net, 1, 52).shares, net.validator(52).tokens), (vec![0], 0, 10_000));
    assert_eq!(before - supply(&net), 12_000);
    net.fails(1, vec![delegate(51, 5)], "E_NO_VALUE");
    net.ok(1, vec![undelegate_all(51)]);
    until(&mut net, 20);
    check_supply(&net);
    assert_eq!(misplaced_row(&net.chain.rows), None);
}

#[test]
pub fn two_validators_pay_for_themselves_and_one_that_ended_pays_nothing() {
    let mut net = net(5);
    net.ok(1, vec![create_validator(1, 3000)]);
    net.ok(1, vec![undelegate_all(1)]);
    until(&mut net, 20);
    let mut attack = double_sign(52, 19, 10);
    attack.kind = MisbehaviorKind::LightClientAttack;
    let before = supply(&net);
    let events = net.accuse(&[double_sign(51, 18, 10), double_sign(1, 3, 3), attack]);
    assert_eq!(kinds(&events), "evidence staking.slashed evidence evidence staking.slashed");
    let of_attack = slashed(52, 19, 500).replace("duplicate_vote", "light_client_attack");
    assert_eq!((texts(&events)[1].clone(), texts(&events)[4].clone()), (slashed(51, 18, 500), of_attack));
    let mut left = vec![(51, 0), (52, 0)];
    left.sort_unstable();
    assert_eq!((net.changes(), before - supply(&net)), (left, 1000));
    check_supply(&net);
}

#[test]
pub fn what_left_a_validator_that_kept_its_power_pays() {
    for (until_block, height, pays) in [(None, 9, true), (Some(10), 11, true), (Some(10), 12, false)] {
        let mut net = net(5);
        for seed in 51..55 {
            net.ok(seed, vec![undelegate_all(seed)]);
        }
        assert_eq!(net.validator(54).kept, Some(Kept { from: Height(4), until: None }));
        until(&mut net, 9);
        if until_block.is_some() {
            net.ok(1, vec![create_validator(1, 5000)]);
            assert_eq!(net.validator(54).kept, Some(Kept { from: Height(4), until: Some(Height(10)) }));
        }
        until(&mut net, height);
        let events = net.accuse(&[double_sign(54, height, 10)]);
        let expected = slashed(54, height, if pays { 500 } else { 0 });
        assert!(texts(&events).contains(&expected), "{expected}: {:?}", texts(&events));
        assert_eq!(left(&net, 54, &[1]), [if pays { 9500 } else { 10_000 }]);
        check_supply(&net);
    }
}
