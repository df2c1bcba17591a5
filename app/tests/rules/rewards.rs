//! Rules of rewards.

use std::time::Duration;

use app::{Answer, Pools, View, query, state::key};
use prost::Message;
use types::{Msg, Params, StakeMsg, StakingParams, Time, TxBody, TxOrder, TxResult, ValidatorEdit, Wire, pb};

use super::common::{
    Chain, body,
    counting::Counting,
    key as account,
    net::{Net, kinds, seconds, text},
    rewards::*,
    stake::*,
    transfer, trusted,
};

/// Parameters with which all income is that of the set.
fn paying() -> Params {
    let params = params(5);
    Params { staking: StakingParams { community_bps: 0, ..params.staking }, ..params }
}

fn with(change: impl FnOnce(&mut StakingParams)) -> Net {
    let mut params = paying();
    change(&mut params.staking);
    Net::with(&params)
}

/// Executes a block with a fee of 1000.
fn pay_fee(net: &mut Net) {
    net.ok(3, vec![transfer(2, 1)]);
}

/// What is due to an account at a validator.
fn due(net: &Net, delegator: u8, validator: u8) -> u64 {
    let path = format!("/staking/rewards/{}", of(delegator));
    let Ok(Answer::Rewards { list, .. }) = query(&net.chain.rows, &path, &of(validator).0) else { panic!() };
    list.iter().find(|one| one.validator == of(validator)).map_or(0, |one| one.amount)
}

fn commission(net: &Net, validator: u8) -> u64 {
    match query(&net.chain.rows, &format!("/staking/validator/{}", of(validator)), b"") {
        Ok(Answer::Validator(one)) => one.validator.earnings.commission_due(),
        other => panic!("{other:?}"),
    }
}

/// Checks ST1 and ST3.
fn check(net: &Net) {
    let Ok(Answer::Supply { total, fee_pool, deposits, stake }) = query(&net.chain.rows, "/supply", b"") else {
        panic!()
    };
    assert_eq!(net.chain.balances() + u128::from(fee_pool + deposits + stake.sum()), u128::from(total), "ST1");
    check_due(&net.chain.rows);
}

/// Returns the events of the messages of a transaction.
fn said(result: &TxResult) -> Vec<String> {
    result.events[1..].iter().map(text).collect()
}

fn paid(delegator: u8, validator: u8, amount: u64) -> String {
    format!("staking.rewards_paid delegator={} validator={} amount={amount}", of(delegator), of(validator))
}

fn commission_paid(validator: u8, amount: u64) -> String {
    format!("staking.commission_paid validator={} amount={amount}", of(validator))
}

#[test]
pub fn the_income_of_a_height_goes_to_its_set_by_power_after_the_commission() {
    let mut net = Net::with(&paying());
    // Height 1 doubles the power of 51 at height 3.
    net.ok(1, vec![delegate(51, 10_000)]);
    assert_eq!((pools(&net.chain.rows).rewards, due(&net, 51, 51)), (0, 0));
    pay_fee(&mut net);
    assert_eq!(pools(&net.chain.rows).rewards, 1000, "the income of height 1");
    assert_eq!([51, 1].map(|seed| due(&net, seed, 51)), [123, 123], "half of 250, less 1 %");
    assert_eq!([52, 53, 54].map(|seed| due(&net, seed, seed)), [247; 3]);
    pay_fee(&mut net);
    assert_eq!([51, 1].map(|seed| due(&net, seed, 51)), [247, 247], "the set of height 2 is that of height 1");
    net.empty();
    assert_eq!([51, 1].map(|seed| due(&net, seed, 51)), [445, 445], "half of 250 + 250 + 1000 · 20 / 50, less 1 %");
    assert_eq!([52, 53, 54].map(|seed| due(&net, seed, seed)), [692; 3], "just below 700 less 1 %");
    assert_eq!([51, 52].map(|seed| commission(&net, seed)), [9, 7]);
    assert_eq!(pools(&net.chain.rows), Pools { bonded: 50_000, rewards: 3000, ..Pools::default() });
    assert_eq!(View::of_state(&net.chain.rows).fee_pool(), 0);
    check(&net);
    let rows = net.chain.rows.clone();
    net.empty();
    assert!(net.chain.rows == rows, "a block without income changes nothing");
}

#[test]
pub fn what_is_due_is_paid_once() {
    let mut net = Net::with(&paying());
    net.ok(1, vec![delegate(51, 10_000)]);
    pay_fee(&mut net);
    let (before, rewards) = (net.chain.balance(1), pools(&net.chain.rows).rewards);
    let result = net.ok(1, vec![withdraw(51)]);
    // The income of height 2 is that of the block before, too.
    assert_eq!(said(&result), [paid(1, 51, 247)]);
    assert_eq!((net.chain.balance(1), pools(&net.chain.rows).rewards), (before - 1000 + 247, rewards + 1000 - 247));
    check(&net);
    net.empty();
    let twice = net.run(1, vec![withdraw(51), withdraw(51)]);
    assert!(twice.log.starts_with("message 1: E_NOTHING: "), "the second one has nothing to pay: {}", twice.log);
    net.fails(2, vec![withdraw(51)], "E_NOTHING");
    net.fails(2, vec![withdraw(9)], "E_UNKNOWN_VALIDATOR");
    check(&net);
    net.fails(1, vec![withdraw_commission()], "E_NOT_VALIDATOR");
    net.empty();
    let (before, due) = (net.chain.balance(51), commission(&net, 51));
    assert_eq!(said(&net.ok(51, vec![withdraw_commission()])), [commission_paid(51, due)]);
    assert_eq!((net.chain.balance(51), commission(&net, 51)), (before - 1000 + due, 0));
    let twice = net.run(51, vec![withdraw_commission(), withdraw_commission()]);
    assert!(twice.log.starts_with("message 1: E_NOTHING: "), "{}", twice.log);
    check(&net);
}

#[test]
pub fn shares_change_only_after_their_rewards_are_paid() {
    let mut net = Net::with(&paying());
    net.ok(1, vec![delegate(51, 10_000)]);
    net.empty();
    // Each of these heights has a fee of 1000, which the next one distributes.
    let kinds_of = |result: &TxResult| kinds(&result.events[1..]);
    assert_eq!(due(&net, 1, 51), 123);
    let before = [1, 51].map(|seed| due(&net, seed, 51));
    let result = net.ok(1, vec![delegate(51, 30_000)]);
    assert_eq!(said(&result)[0], paid(1, 51, 123));
    assert_eq!(kinds_of(&result), "staking.rewards_paid staking.delegated");
    assert_eq!([1, 51].map(|seed| due(&net, seed, 51)), [0, before[1]], "the new shares have earned nothing");
    net.empty();
    // Four fifths of the income of height 3, 400 of 1000 less 1 %, with the 0.75 that the payment left.
    let result = net.ok(1, vec![undelegate(51, 20_000)]);
    assert_eq!(said(&result)[0], paid(1, 51, 317));
    assert_eq!(kinds_of(&result), "staking.rewards_paid staking.undelegated");
    check(&net);
    net.empty();
    // The income of height 5 goes to a power of 50 of 80: 618.75 after the commission, of which two thirds.
    let result = net.ok(1, vec![cancel_unbonding(51, 1, 20_000)]);
    assert_eq!(said(&result)[0], paid(1, 51, 412));
    assert_eq!(kinds_of(&result), "staking.rewards_paid staking.undelegate_cancelled");
    net.empty();
    let result = net.ok(1, vec![redelegate(51, 52, 40_000)]);
    assert_eq!(kinds_of(&result), "staking.rewards_paid staking.redelegated");
    net.empty();
    check(&net);
    let all = net.ok(1, vec![undelegate_all(52)]);
    assert_eq!(kinds_of(&all), "staking.rewards_paid staking.undelegated");
    let delegation = View::of_state(&net.chain.rows).delegation(&of(1), &of(52));
    assert_eq!((delegation.shares, delegation.per_share, delegation.unbonding.len()), (0, 0, 1));
    check(&net);
}

#[test]
pub fn a_new_commission_is_that_of_later_income() {
    let mut net = Net::with(&paying());
    net.chain.time = Time::from_unix_millis(86_400_000);
    pay_fee(&mut net);
    let edit = ValidatorEdit { commission_bps: Some(5000), ..ValidatorEdit::default() };
    net.ok(51, vec![Msg::Stake(StakeMsg::Edit(Box::new(edit)))]);
    assert_eq!((commission(&net, 51), due(&net, 51, 51)), (2, 247), "1 % of 250");
    net.empty();
    assert_eq!((commission(&net, 51), due(&net, 51, 51)), (127, 372), "and 50 % of 250");
    check(&net);
}

#[test]
pub fn what_a_division_leaves_is_divided_later() {
    let mut net = Net::with(&paying());
    net.ok(1, vec![delegate(51, 3000), delegate(52, 1), delegate(53, 10)]);
    for _ in 0..10 {
        pay_fee(&mut net);
        check_due(&net.chain.rows);
    }
    net.ok(1, vec![withdraw(51), delegate(52, 4000), undelegate_all(53)]);
    for _ in 0..10 {
        pay_fee(&mut net);
        check(&net);
    }
    let total: u64 =
        [(51, 51), (1, 51), (52, 52), (1, 52), (53, 53), (54, 54)].map(|(a, b)| due(&net, a, b)).iter().sum();
    let commissions: u64 = (51..55).map(|seed| commission(&net, seed)).sum();
    let left = pools(&net.chain.rows).rewards - total - commissions;
    assert!(left < 11, "{left}: less than 1 of each");
}

/// Adds to all sums as a long life of the chain would.
fn age(net: &mut Net, per_power: u128, per_share: u128) {
    let bytes = |number: u128| number.to_be_bytes().to_vec();
    let row = |net: &Net, key: &[u8]| View::of_state(&net.chain.rows).get(key).unwrap().to_vec();
    let mut income = pb::Income::decode(&row(net, key::INCOME)[..]).unwrap();
    income.per_power = bytes(per_power);
    net.tamper(key::INCOME, &income.encode_to_vec());
    for seed in 51..55 {
        let key = key::validator(&of(seed));
        let mut validator = pb::StakedValidator::decode(&row(net, &key)[..]).unwrap();
        let earnings = validator.earnings.as_mut().unwrap();
        (earnings.settled, earnings.per_share) = (bytes(per_power), bytes(per_share));
        net.tamper(&key, &validator.encode_to_vec());
        let key = key::delegation(&of(seed), &of(seed));
        let mut delegation = pb::Delegation::decode(&row(net, &key)[..]).unwrap();
        delegation.per_share = bytes(per_share);
        net.tamper(&key, &delegation.encode_to_vec());
    }
}

#[test]
pub fn sums_wrap_around() {
    let mut net = Net::with(&paying());
    age(&mut net, u128::MAX - (30 << 64), u128::MAX - 5);
    net.ok(1, vec![delegate(51, 10_000)]);
    for expected in [123, 247, 445] {
        pay_fee(&mut net);
        assert_eq!([51, 1].map(|seed| due(&net, seed, 51)), [expected; 2]);
        check(&net);
    }
}

#[test]
pub fn a_validator_that_ends_is_paid_its_commission() {
    let mut net = Net::with(&paying());
    net.ok(1, vec![delegate(52, 10_000)]);
    net.ok(51, vec![undelegate_all(51)]);
    // Without delegators, it earns for heights 2 and 3, in whose sets it is: all of it is commission. Heights 4 and 5 do not count.
    (0..4).for_each(|_| pay_fee(&mut net));
    assert_eq!(commission(&net, 51), 3 + 250 + 200, "with 0.5 that its last payment left");
    check(&net);
    let (before, fees) = (net.chain.balance(51), View::of_state(&net.chain.rows).fee_pool());
    assert_eq!(fees, 1000);
    let events = net.wait();
    assert_eq!(kinds(&events), "staking.unbonded staking.commission_paid staking.validator_ended");
    assert_eq!(text(&events[1]), commission_paid(51, 453));
    assert_eq!(net.chain.balance(51), before + 10_000 + 453);
    assert_eq!(View::of_state(&net.chain.rows).validator(&of(51)), None);
    check(&net);
}

#[test]
pub fn a_validator_ends_when_it_can_earn_no_more() {
    let mut net = Net::with(&paying());
    net.ok(51, vec![undelegate_all(51)]);
    pay_fee(&mut net);
    // All that left at height 1 is due at height 3, and it is in the set of height 2.
    net.chain.time = net.chain.time.saturating_add(seconds(20));
    assert_eq!(kinds(&net.empty()), "staking.unbonded");
    assert_eq!(commission(&net, 51), 250 + 250);
    check(&net);
    let events = net.empty();
    assert_eq!(kinds(&events), "staking.commission_paid staking.validator_ended");
    assert_eq!(text(&events[0]), commission_paid(51, 500));
    check(&net);
    (0..3).for_each(|_| pay_fee(&mut net));
    check(&net);
}

#[test]
pub fn issuance_is_by_block_time_and_its_fractions_add_up() {
    // 2 % a year of some 3.3 · 10^12 are some 2,093 per second.
    let mut net = with(|staking| staking.issuance_bps_per_year = 200);
    let supply = |net: &Net| View::of_state(&net.chain.rows).supply();
    let start = supply(&net);
    net.empty();
    assert_eq!(supply(&net), start, "the first block begins to count");
    net.empty();
    let first = supply(&net) - start;
    assert_eq!((start, first), (3_302_829_890_624, 2094));
    for _ in 0..100 {
        net.chain.time = net.chain.time.saturating_sub(seconds(1)).saturating_add(Duration::from_millis(7));
        net.empty();
    }
    assert_eq!(supply(&net) - start - first, 1466, "a hundred times 7 ms");
    net.chain.time = net.chain.time.saturating_add(seconds(3599));
    net.empty();
    assert_eq!(supply(&net) - start - first - 1466, 7_540_708, "an hour");
    assert_eq!(pools(&net.chain.rows).rewards, supply(&net) - start);
    check(&net);
}

#[test]
pub fn nothing_is_issued_for_the_time_in_which_there_is_no_issuance() {
    let mut net = with(|staking| staking.issuance_bps_per_year = 200);
    let supply = |net: &Net| View::of_state(&net.chain.rows).supply();
    (0..3).for_each(|_| drop(net.empty()));
    let set = |net: &mut Net, bps| {
        let mut params = View::of_state(&net.chain.rows).params();
        params.staking.issuance_bps_per_year = bps;
        net.tamper(key::PARAMS, &params.encode());
    };
    let before = supply(&net);
    set(&mut net, 0);
    (0..100).for_each(|_| drop(net.empty()));
    assert_eq!(supply(&net), before);
    set(&mut net, 200);
    net.empty();
    assert_eq!(supply(&net), before, "it begins to count");
    net.empty();
    assert_eq!(supply(&net), before + 2094);
    check(&net);
}

#[test]
pub fn the_community_has_its_part_of_all_income() {
    let mut net = with(|staking| (staking.community_bps, staking.issuance_bps_per_year) = (3333, 200));
    net.empty();
    pay_fee(&mut net);
    let issued = View::of_state(&net.chain.rows).supply() - 3_302_829_890_624;
    assert_eq!((issued, pools(&net.chain.rows).community), (2094, 697), "33.33 % of 2094, rounded down");
    net.empty();
    let Pools { rewards, community, .. } = pools(&net.chain.rows);
    assert_eq!((rewards, community), (2094 + 3095 - 697 - 1031, 697 + 1031), "and of 3095");
    check(&net);
}

#[test]
pub fn queries_show_what_is_due() {
    let mut net = Net::with(&paying());
    net.ok(1, (51..55).map(|validator| delegate(validator, 10_000)).collect());
    pay_fee(&mut net);
    let mut operators: Vec<_> = (51..55).map(of).collect();
    operators.sort_unstable();
    let ask = |path: &str, data: &[u8]| query(&net.chain.rows, path, data).unwrap();
    let path = format!("/staking/rewards/{}?limit=3", of(1));
    let Answer::Rewards { list, next } = ask(&path, b"") else { panic!() };
    assert_eq!(list.iter().map(|one| (one.validator, one.amount)).collect::<Vec<_>>(), {
        operators[..3].iter().map(|operator| (*operator, 123)).collect::<Vec<_>>()
    });
    assert_eq!(next, Some(operators[3]));
    let Answer::Rewards { list, next } = ask(&path, &operators[3].0) else { panic!() };
    assert_eq!((list.len(), next), (1, None));
    let Answer::Pool { pools, fees, .. } = ask("/staking/pool", b"") else { panic!() };
    assert_eq!((pools, fees), (Pools { bonded: 80_000, rewards: 1000, ..Pools::default() }, 1000));
}

#[test]
pub fn a_block_reads_and_writes_as_few_rows_for_a_hundred_validators_as_for_four() {
    let params = Params { staking: StakingParams { validators_max: 100, ..paying().staking }, ..paying() };
    let work = |count: usize| {
        let mut chain = Chain::with_validators(&[1 << 40, 1 << 40], &params, &vec![10; count]);
        let fee = TxBody { fee: 1000, ..body(1, TxOrder::Nonce(0), vec![transfer(2, 1)]) };
        chain.block(&[trusted(fee.sign(&account(1)))]);
        let written = chain.execute(&[]).writes.0.len();
        chain.block(&[]);
        assert_eq!(pools(&chain.rows).rewards, 1000);
        check_due(&chain.rows);
        let mut writes = 0;
        let execute = |rows: &Counting<'_>| writes = chain.app.execute(rows, &chain.context(), &[]).writes.0.len();
        let reads = Counting::of(&chain.tip(), execute);
        (written, writes, reads)
    };
    let (four, hundred) = (work(4), work(100));
    assert_eq!((four.0, four.1), (3, 0), "fees, pools and the sum; then nothing");
    assert_eq!(hundred, four);
}

#[test]
pub fn golden_rows() {
    let mut net = Net::with(&paying());
    net.ok(1, vec![delegate(51, 10_000)]);
    net.ok(1, vec![delegate(51, 10_000)]);
    let row = |key: &[u8]| View::of_state(&net.chain.rows).get(key).unwrap().to_vec();
    let hex = |bytes: &[u8]| data_encoding::HEXUPPER.encode(bytes);
    // 1000 of power 40: 25 units of money per power. Changes of the powers at heights 1 and 2 wait.
    let shift = |height: u8, power: u8| format!("321A08{height:02X}10{power:02X}1A14{}", hex(&of(51).0));
    let per_power = hex(&(25_u128 << 64).to_be_bytes());
    assert_eq!(hex(&row(key::INCOME)), format!("0A10{per_power}1828{}{}", shift(4, 50), shift(5, 60)));
    let value = row(&key::validator(&of(51)));
    let earnings = pb::StakedValidator::decode(&value[..]).unwrap().earnings.unwrap();
    // 250, of which 2.5 are commission, and the rest of 20000 · 2^32 shares.
    let units = 247_u128 * (1 << 64) + (1 << 63);
    let (per_share, remainder) = (units / (20_000 << 32), units % (20_000 << 32));
    // What the payment of almost 123.75 left is not divided yet.
    let paid = per_share * (10_000 << 32);
    let left = remainder + paid % (1 << 64);
    let commission = 5_u128 << 63;
    assert_eq!(
        hex(&earnings.encode_to_vec()),
        format!(
            "080A1202141E1A10{per_power}2210{}2A10{}3210{}",
            hex(&commission.to_be_bytes()),
            hex(&per_share.to_be_bytes()),
            hex(&left.to_be_bytes())
        )
    );
    assert_eq!(hex(&row(key::STAKE_POOLS)), format!("08{}18{}", "E0D403", "ED06"));
    let delegation = hex(&row(&key::delegation(&of(1), &of(51))));
    let expected = format!("0A10{}5210{}", hex(&(20_000_u128 << 32).to_be_bytes()), hex(&per_share.to_be_bytes()));
    assert_eq!(delegation, expected);
}

#[test]
pub fn shares_that_a_slash_takes_leave_their_rewards_to_the_others() {
    let mut net = Net::with(&paying());
    net.ok(1, vec![delegate(51, 4000), delegate(52, 60)]);
    net.ok(1, vec![redelegate(51, 52, 2000)]);
    pay_fee(&mut net);
    net.empty();
    let before = due(&net, 1, 52);
    // The share of 2000 is 100 at the target.
    net.accuse(&[double_sign(51, 2, 10)]);
    check(&net);
    net.empty();
    assert!(before > 0 && due(&net, 1, 52) < before, "{} after {before}", due(&net, 1, 52));
    check(&net);
}
