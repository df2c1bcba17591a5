//! Rules of stake.

use app::{
    Answer, DEPARTURES_MAX, Delegation, MATURED_MAX, Pools, Status, View, area, earliest_deadline, misplaced_row,
    query, state::key,
};
use prost::Message;
use types::{Commission, Height, Msg, Power, StakeMsg, StakingParams, Time, ValidatorEdit, limits, pb};

use super::common::{
    Chain, address,
    net::{Net, attribute, kinds, seconds, text},
    stake::*,
};

/// Returns the event of the message of a transaction with one message.
pub fn said(result: &types::TxResult) -> String {
    result.events[1..].iter().map(text).collect::<Vec<_>>().join("; ")
}

/// Returns the pools of stake.
pub fn pools(net: &Net) -> Pools {
    let Pools { bonded, unbonding, .. } = View::of_state(&net.chain.rows).pools();
    stake_pools(bonded, unbonding)
}

pub fn stake_pools(bonded: u64, unbonding: u64) -> Pools {
    Pools { bonded, unbonding, ..Pools::default() }
}

pub fn delegation(net: &Net, delegator: u8, validator: u8) -> Delegation {
    View::of_state(&net.chain.rows).delegation(&of(delegator), &of(validator))
}

/// Changes the row of a validator as a slash would.
fn tamper(net: &mut Net, seed: u8, change: impl FnOnce(&mut pb::StakedValidator)) {
    let key = key::validator(&of(seed));
    let value = View::of_state(&net.chain.rows).get(&key).unwrap().to_vec();
    let mut pb = pb::StakedValidator::decode(&value[..]).unwrap();
    change(&mut pb);
    net.tamper(&key, &pb.encode_to_vec());
}

/// Takes a part of a validator's tokens, and raises the price to the least one at which the rest pays for all shares.
fn slash(net: &mut Net, seed: u8, tokens: u64) {
    let shares = net.validator(seed).shares;
    let price = shares.div_ceil(u128::from(tokens.max(1)));
    let burnt = net.validator(seed).tokens - tokens;
    tamper(net, seed, |pb| (pb.tokens, pb.shares_per_token) = (tokens, price.to_be_bytes().to_vec()));
    let Pools { bonded, unbonding, rewards, community } = View::of_state(&net.chain.rows).pools();
    let row = pb::StakePools { bonded: bonded - burnt, unbonding, rewards, community };
    net.tamper(key::STAKE_POOLS, &row.encode_to_vec());
    let amount = View::of_state(&net.chain.rows).supply() - burnt;
    net.tamper(key::SUPPLY, &pb::Amount { amount }.encode_to_vec());
}

/// ST1.
pub fn check_supply(net: &Net) {
    let Ok(Answer::Supply { total, fee_pool, deposits, stake }) = query(&net.chain.rows, "/supply", b"") else {
        panic!()
    };
    let others = fee_pool + deposits + stake.sum();
    assert_eq!(net.chain.balances() + u128::from(others), u128::from(total), "the supply");
}

#[test]
pub fn the_validators_of_genesis_have_their_power_in_stake_of_their_operators() {
    let net = net(5);
    let validator = net.validator(51);
    assert_eq!((validator.tokens, validator.power, validator.status()), (10 * UNIT, Power(10), Status::Bonded));
    assert_eq!(validator.shares, u128::from(10 * UNIT) << 32);
    assert_eq!(delegation(&net, 51, 51).shares, validator.shares);
    assert_eq!((pools(&net), net.power_total()), (stake_pools(40 * UNIT, 0), Power(40)));
    assert_eq!(misplaced_row(&net.chain.rows), None);
    check_supply(&net);
}

#[test]
pub fn a_validator_is_created_and_joins_the_set() {
    let mut net = net(5);
    let result = net.ok(1, vec![create_validator(1, 5500)]);
    let (operator, consensus) = (of(1), address(201));
    let created = format!("staking.validator_created validator={operator} consensus={consensus} amount=5500");
    assert_eq!(said(&result), created);
    assert_eq!(net.changes(), [(1, 5)]);
    assert_eq!(net.power_total(), Power(45));
    let validator = net.validator(1);
    assert_eq!((validator.tokens, validator.power, validator.status()), (5500, Power(5), Status::Bonded));
    assert_eq!(View::of_state(&net.chain.rows).key_owner(&consensus), Some(operator));
    check_supply(&net);
    assert_eq!(net.empty(), []);
    assert!(net.chain.updates.is_empty(), "a block without changes changes no set");
}

#[test]
pub fn a_validator_that_cannot_be_created_changes_nothing() {
    let mut net = net(5);
    net.ok(1, vec![create_validator(1, 5000)]);
    let says = net.fails(1, vec![create_of(types::ValidatorCreate { ..new_validator(1, 5000) })], "E_VALIDATOR_EXISTS");
    assert!(says.contains(&format!("{} operates a validator already", of(1))), "{says}");
    // Without the amount, too, which the first one has spent.
    let again = net.tx(1, vec![create_validator(1, 1 << 50)]);
    let refused = app::check_tx(&net.chain.rows, &net.chain.rules(), &again, app::Pending::default());
    assert_eq!(refused, Err(app::Refusal::ValidatorExists { operator: of(1) }));
    let mut taken = new_validator(2, 5000);
    taken.public_key = new_validator(1, 0).public_key;
    net.fails(2, vec![create_of(taken)], "E_KEY_IN_USE");
    let mut other = new_validator(2, 5000);
    other.possession = new_validator(3, 0).possession;
    net.fails(2, vec![create_of(other)], "E_BAD_POSSESSION");
    // Signed with the right key, for an operator that is all zeros.
    let mut other = new_validator(2, 5000);
    let message = types::possession_message(&super::common::chain_id(), &types::Address::default());
    other.possession = types::ConsensusKey::sign_message(&super::common::key(202), &message);
    net.fails(2, vec![create_of(other)], "E_BAD_POSSESSION");
    for (rate_bps, max_bps, rise_max_bps) in [(99, 2000, 1), (2001, 2000, 1), (500, 5001, 1), (500, 600, 601)] {
        let commission = Commission { rate_bps, max_bps, rise_max_bps };
        let create = types::ValidatorCreate { commission, ..new_validator(2, 5000) };
        net.fails(2, vec![create_of(create)], "E_COMMISSION");
    }
    net.fails(2, vec![create_validator(2, 499)], "E_TOO_LITTLE");
    let low = types::ValidatorCreate { own_min: 499, ..new_validator(2, 5000) };
    net.fails(2, vec![create_of(low)], "E_TOO_LITTLE");
    for moniker in ["", "a\nb", &"x".repeat(limits::MONIKER_BYTES_MAX + 1)] {
        let mut create = new_validator(2, 5000);
        create.description.moniker = moniker.into();
        net.fails(2, vec![create_of(create)], "E_DESCRIPTION");
    }
    let says = net.fails(2, vec![create_validator(2, 1 << 50)], "E_INSUFFICIENT_FUNDS");
    assert!(says.contains("1125899906842624 is needed"), "{says}");
    net.ok(2, vec![create_validator(2, 500)]);
    assert!(net.chain.updates.is_empty(), "half a unit gives no power");
    assert_eq!(net.validator(2).status(), Status::Unbonded);
    check_supply(&net);
}

#[test]
pub fn an_operator_changes_its_validator_within_its_own_bounds() {
    let edit = |edit: ValidatorEdit| vec![Msg::Stake(StakeMsg::Edit(Box::new(edit)))];
    let commission = |bps| edit(ValidatorEdit { commission_bps: Some(bps), ..ValidatorEdit::default() });
    let own_min = |min| edit(ValidatorEdit { own_min: Some(min), ..ValidatorEdit::default() });
    let mut net = net(5);
    net.fails(1, commission(500), "E_NOT_VALIDATOR");
    net.ok(1, vec![create_validator(1, 5000)]);
    let says = net.fails(1, commission(600), "E_COMMISSION");
    assert!(
        says.contains(
            "6.00 % (600 bps), 1.00 % (100 bps) to 8.00 % (800 bps) are allowed, from 1970-01-02T00:00:02Z on"
        ),
        "{says}"
    );
    net.chain.time = Time::from_unix_millis(86_402_000);
    net.fails(1, commission(801), "E_COMMISSION");
    net.fails(1, commission(99), "E_COMMISSION");
    let edited = format!("staking.validator_edited validator={} commission_bps=800 own_min=500", of(1));
    assert_eq!(said(&net.ok(1, commission(800))), edited);
    net.fails(1, commission(700), "E_COMMISSION");
    net.fails(1, own_min(499), "E_TOO_LITTLE");
    net.fails(1, own_min(5001), "E_TOO_LITTLE");
    net.ok(1, own_min(5000));
    let mut description = new_validator(1, 0).description;
    description.details = "d".repeat(limits::DETAILS_BYTES_MAX + 1);
    let details = |description| edit(ValidatorEdit { description: Some(description), ..ValidatorEdit::default() });
    net.fails(1, details(description.clone()), "E_DESCRIPTION");
    description.details.pop();
    net.ok(1, details(description.clone()));
    assert_eq!((net.validator(1).description, net.validator(1).own_min), (description, 5000));
    assert!(net.chain.updates.is_empty());
}

#[test]
pub fn the_set_is_the_strongest_by_tokens_and_then_by_operator() {
    let mut net = net(4);
    net.ok(1, vec![create_validator(1, 9000)]);
    assert_eq!(net.changes(), [], "four have more");
    // With as much as the weakest, the lower address is in the set.
    net.ok(2, vec![delegate(1, 1000)]);
    let last = (51..55).max_by_key(|seed| of(*seed)).unwrap();
    let expected = if of(1) < of(last) { vec![(1, 10), (last, 0)] } else { vec![] };
    assert_eq!(net.changes(), expected);
    net.ok(2, vec![delegate(1, 500)]);
    let both: Vec<(u8, u64)> = expected.iter().copied().chain(net.changes()).collect();
    assert_eq!(both, [(1, 10), (last, 0)], "it is in the set now in any case");
    assert_eq!(net.validator(last).status(), Status::Unbonding);
    assert_eq!(net.power_total(), Power(40));
    // The one that left comes back when it has more.
    net.ok(last, vec![delegate(last, 2000)]);
    assert_eq!((net.changes().len(), net.validator(last).power), (2, Power(12)));
    assert_eq!(net.validator(last).status(), Status::Bonded);
    check_supply(&net);
}

#[test]
pub fn stake_is_paid_the_unbonding_time_after_the_last_height_at_which_it_counted() {
    let mut net = net(5);
    let result = net.ok(1, vec![delegate(51, 3000)]);
    let shares = 3000_u128 << 32;
    let (delegator, validator) = (of(1), of(51));
    let delegated =
        format!("staking.delegated delegator={delegator} validator={validator} amount=3000 shares={shares}");
    assert_eq!(said(&result), delegated);
    assert_eq!(net.changes(), [(51, 13)]);
    let before = net.chain.balance(1);
    let says = net.fails(1, vec![undelegate(51, 3001)], "E_NO_DELEGATION");
    assert!(says.contains("the signer has 3000"), "{says}");
    net.fails(2, vec![undelegate_all(51)], "E_NO_DELEGATION");
    net.fails(1, vec![undelegate(2, 1)], "E_NO_DELEGATION");
    net.fails(1, vec![undelegate(51, 0)], "E_ZERO_AMOUNT");
    // Height 6 has the time of 6 seconds: its stake counts until height 7, and is paid in the first block from 17 s on.
    let result = net.ok(1, vec![undelegate(51, 1200)]);
    assert_eq!(net.height(), 6);
    let undelegated =
        format!("staking.undelegated delegator={delegator} validator={validator} amount=1200 completes_at=16000 id=1");
    assert_eq!(said(&result), undelegated);
    assert_eq!((net.changes(), pools(&net)), (vec![(51, 11)], stake_pools(41_800, 1200)));
    check_supply(&net);
    let after = before - 4 * 1000;
    for height in 7..17 {
        assert_eq!((net.empty(), net.height()), (vec![], height), "nothing is paid before");
        assert_eq!(net.chain.balance(1), after);
    }
    let events = net.empty();
    let unbonded = format!("staking.unbonded delegator={delegator} validator={validator} id=1 amount=1200");
    assert_eq!(events.iter().map(text).collect::<Vec<_>>(), [unbonded]);
    assert_eq!(net.chain.balance(1), after + 1200, "it is paid once");
    assert_eq!(delegation(&net, 1, 51), Delegation { shares: 1800 << 32, ..Delegation::default() });
    check_supply(&net);
    net.ok(1, vec![undelegate_all(51)]);
    assert_eq!(delegation(&net, 1, 51).shares, 0);
    (0..11).for_each(|_| drop(net.empty()));
    assert_eq!(net.chain.balance(1), after + 3000 - 1000);
    assert_eq!(misplaced_row(&net.chain.rows), None);
}

#[test]
pub fn what_is_delegated_comes_back_as_the_same_amount() {
    let mut net = net(5);
    slash(&mut net, 51, 6999);
    for (number, amount) in [1, 2, 3, 999, 1_000_003].into_iter().enumerate() {
        net.ok(1, vec![delegate(51, amount)]);
        net.fails(1, vec![undelegate(51, amount + 1)], "E_NO_DELEGATION");
        net.ok(1, vec![undelegate(51, amount)]);
        let departure = View::of_state(&net.chain.rows).departure(&of(51), 1 + number as u64).unwrap();
        assert_eq!((departure.tokens, delegation(&net, 1, 51).shares), (amount, 0));
    }
    check_supply(&net);
}

#[test]
pub fn the_worth_of_shares_is_rounded_down() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 10 * UNIT)]);
    net.ok(2, vec![delegate(51, 10 * UNIT)]);
    slash(&mut net, 51, 29_999);
    let worths: Vec<u64> = [51, 1, 2].map(|seed| net.validator(51).worth(delegation(&net, seed, 51).shares)).to_vec();
    assert_eq!(worths, [9999, 9999, 9999]);
    for seed in [1, 2, 51] {
        net.ok(seed, vec![undelegate_all(51)]);
    }
    assert_eq!((net.validator(51).tokens, net.validator(51).shares), (2, 0), "the remainder stays");
    // Fees and what is left are income, all of which is the community's.
    let income = |net: &Net| {
        let mut view = View::of_state(&net.chain.rows);
        view.fee_pool() + view.pools().community
    };
    let before = income(&net);
    let ended = (0..12).map(|_| net.empty()).find(|events| kinds(events).contains("validator_ended")).unwrap();
    let last = format!("staking.validator_ended validator={}", of(51));
    assert_eq!(text(ended.last().unwrap()), last);
    assert_eq!(income(&net), before + 2);
    assert_eq!(View::of_state(&net.chain.rows).validator(&of(51)), None);
    assert_eq!(View::of_state(&net.chain.rows).key_owner(&address(101)), None);
    assert_eq!(misplaced_row(&net.chain.rows), None);
    check_supply(&net);
}

#[test]
pub fn shares_that_are_worth_nothing_are_not_sold() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 5), redelegate(51, 52, 1)]);
    net.ok(2, vec![delegate(51, 7)]);
    net.ok(2, vec![undelegate(51, 3)]);
    slash(&mut net, 51, 0);
    net.fails(1, vec![delegate(51, 5)], "E_NO_VALUE");
    net.fails(2, vec![cancel_unbonding(51, 2, 3)], "E_NO_VALUE");
    net.ok(3, vec![delegate(53, 5)]);
    net.fails(3, vec![redelegate(53, 51, 5)], "E_NO_VALUE");
    net.ok(1, vec![undelegate_all(51)]);
    check_supply(&net);
}

#[test]
pub fn stake_of_all_has_no_more_power_than_a_set_may_have() {
    let staking = StakingParams { power_unit: 1, ..params(5).staking };
    let balances = [1 << 62, 1 << 62];
    let chain = Chain::with_validators(&balances, &types::Params { staking, ..params(5) }, &[10; 4]);
    let mut net = net(5);
    net.chain = chain;
    let most = limits::POWER_TOTAL_MAX - 40;
    let says = net.fails(1, vec![delegate(51, most + 1)], "E_TOO_MUCH_POWER");
    assert!(says.contains(&limits::POWER_TOTAL_MAX.to_string()), "{says}");
    net.ok(1, vec![delegate(51, most)]);
    assert_eq!(net.power_total(), Power(limits::POWER_TOTAL_MAX));
}

#[test]
pub fn seven_unbondings_of_a_pair_wait_at_once() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 100)]);
    net.ok(1, (0..DEPARTURES_MAX).map(|_| undelegate(51, 1)).collect());
    net.fails(1, vec![undelegate(51, 1)], "E_TOO_MANY");
    net.ok(1, vec![delegate(52, 5), undelegate(52, 5)]);
    net.ok(1, vec![delegate(53, 100)]);
    net.ok(1, (0..DEPARTURES_MAX).map(|_| redelegate(53, 54, 1)).collect());
    net.fails(1, vec![redelegate(53, 54, 1)], "E_TOO_MANY");
    net.ok(1, vec![redelegate(53, 51, 1)]);
    (0..11).for_each(|_| drop(net.empty()));
    net.ok(1, vec![undelegate(51, 1)]);
    assert_eq!(delegation(&net, 1, 54).arrivals, []);
    check_supply(&net);
}

#[test]
pub fn an_unbonding_is_cancelled_until_it_matures() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 1000)]);
    net.ok(1, vec![undelegate(51, 600)]);
    net.fails(1, vec![cancel_unbonding(51, 2, 1)], "E_UNKNOWN");
    net.fails(1, vec![cancel_unbonding(52, 1, 1)], "E_UNKNOWN");
    net.fails(1, vec![cancel_unbonding(9, 1, 1)], "E_UNKNOWN_VALIDATOR");
    net.fails(2, vec![cancel_unbonding(51, 1, 1)], "E_UNKNOWN");
    let says = net.fails(1, vec![cancel_unbonding(51, 1, 601)], "E_NO_DELEGATION");
    assert!(says.contains("has 600"), "{says}");
    net.fails(1, vec![cancel_unbonding(51, 1, 0)], "E_ZERO_AMOUNT");
    let result = net.ok(1, vec![cancel_unbonding(51, 1, 200)]);
    let (delegator, validator, shares) = (of(1), of(51), 200_u128 << 32);
    let cancelled = format!(
        "staking.undelegate_cancelled delegator={delegator} validator={validator} amount=200 id=1 shares={shares}"
    );
    assert_eq!(said(&result), cancelled);
    assert_eq!(pools(&net), stake_pools(40_600, 400));
    net.ok(1, vec![cancel_unbonding(51, 1, 400)]);
    net.fails(1, vec![cancel_unbonding(51, 1, 1)], "E_MATURED");
    assert_eq!(delegation(&net, 1, 51), Delegation { shares: 1000 << 32, ..Delegation::default() });
    (0..12).for_each(|_| assert_eq!(net.empty(), [], "what was cancelled is not paid"));
    // An unbonding that is due, but that the block has not reached.
    net.ok(2, vec![delegate(52, 1000)]);
    many_unbondings(&mut net);
    net.ok(2, vec![undelegate(52, 9)]);
    net.empty();
    net.chain.time = net.chain.time.saturating_add(seconds(20));
    net.fails(2, vec![cancel_unbonding(52, 1, 9)], "E_MATURED");
    check_supply(&net);
}

/// Undelegates more often in one block than a block matures: many accounts from one validator, seven times each.
fn many_unbondings(net: &mut Net) {
    let accounts = 100..100 + (MATURED_MAX / DEPARTURES_MAX + 1) as u8;
    for seed in accounts.clone() {
        net.ok(1, vec![super::common::transfer(seed, 1_000_000), delegate(53, 1)]);
        net.ok(seed, vec![delegate(53, 100)]);
    }
    let txs = accounts.map(|seed| net.tx(seed, (0..DEPARTURES_MAX).map(|_| undelegate(53, 1)).collect())).collect();
    assert!(net.block(txs).iter().all(|result| result.code == 0));
}

#[test]
pub fn a_block_matures_no_more_than_its_bound() {
    let mut net = net(5);
    many_unbondings(&mut net);
    let count = (MATURED_MAX / DEPARTURES_MAX + 1) * DEPARTURES_MAX;
    let first = net.wait();
    assert_eq!(first.len(), MATURED_MAX);
    assert_eq!(net.empty().len(), count - MATURED_MAX);
    assert_eq!(net.empty(), []);
    assert_eq!(pools(&net).unbonding, 0);
    check_supply(&net);
}

#[test]
pub fn the_queue_names_its_deadline_to_the_host() {
    let mut net = net(5);
    let due = |net: &Net| earliest_deadline(&net.chain.rows);
    assert_eq!(due(&net), None);
    net.ok(51, vec![undelegate(51, 1000)]);
    assert_eq!(due(&net), Some(Time::UNIX_EPOCH), "the next block sets the time");
    net.empty();
    assert_eq!(due(&net), Some(Time::from_unix_millis(12_000)));
    net.wait();
    assert_eq!(due(&net), None);
}

#[test]
pub fn stake_that_arrived_by_redelegation_moves_on_only_after_it_matured() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 3000)]);
    net.fails(1, vec![redelegate(51, 51, 1)], "E_SAME");
    net.fails(1, vec![redelegate(51, 9, 1)], "E_UNKNOWN_VALIDATOR");
    net.fails(1, vec![redelegate(51, 52, 3001)], "E_NO_DELEGATION");
    net.fails(1, vec![redelegate(51, 52, 0)], "E_ZERO_AMOUNT");
    let result = net.ok(1, vec![redelegate(51, 52, 2000)]);
    let (delegator, from, to, shares) = (of(1), of(51), of(52), 2000_u128 << 32);
    let redelegated =
        format!("staking.redelegated delegator={delegator} validator={to} amount=2000 from={from} shares={shares}");
    assert_eq!(said(&result), redelegated);
    let mut changes = vec![(51, 11), (52, 12)];
    changes.sort_unstable();
    assert_eq!((net.changes(), pools(&net).unbonding), (changes, 0));
    // Height 6: it matures in the first block from 17 s on.
    let says = net.fails(1, vec![redelegate(52, 53, 1)], "E_TRANSITIVE");
    assert!(says.contains("until 1970-01-01T00:00:17Z"), "{says}");
    net.ok(1, vec![undelegate(52, 100)]);
    net.ok(1, vec![redelegate(51, 53, 1)]);
    while net.height() < 16 {
        net.empty();
    }
    net.ok(1, vec![redelegate(52, 53, 1)]);
    check_supply(&net);
}

#[test]
pub fn an_own_stake_below_its_minimum_jails() {
    let mut net = net(5);
    net.fails(51, vec![unjail()], "E_NOT_JAILED");
    net.fails(1, vec![unjail()], "E_NOT_VALIDATOR");
    net.ok(1, vec![delegate(51, 9000)]);
    net.ok(51, vec![undelegate(51, 9500)]);
    assert_eq!(net.validator(51).jail, None, "exactly the minimum is left");
    let result = net.ok(51, vec![redelegate(51, 52, 1)]);
    let jailed = format!("staking.jailed validator={} why=own_stake", of(51));
    assert_eq!(text(&result.events[2]), jailed);
    assert_eq!(net.changes(), [(51, 0)]);
    assert_eq!((net.power_total(), net.validator(51).status()), (Power(30), Status::Unbonding));
    net.fails(51, vec![unjail()], "E_TOO_LITTLE");
    net.ok(1, vec![redelegate(51, 53, 1000)]);
    net.ok(51, vec![delegate(51, 1)]);
    assert_eq!(net.changes(), [], "still in jail");
    let result = net.ok(51, vec![unjail()]);
    assert_eq!(said(&result), format!("staking.unjailed validator={}", of(51)));
    assert_eq!(net.changes(), [(51, 8)]);
    check_supply(&net);
}

#[test]
pub fn a_jail_lasts_until_its_time_and_a_tombstone_for_ever() {
    let mut net = net(5);
    tamper(&mut net, 51, |pb| pb.jail = Some(pb::Jail { until_ms: 4000, why: 1 }));
    let says = net.fails(51, vec![unjail()], "E_JAILED");
    assert!(says.contains("until 1970-01-01T00:00:04Z"), "{says}");
    net.empty();
    net.empty();
    tamper(&mut net, 51, |pb| pb.is_tombstoned = true);
    net.fails(51, vec![unjail()], "E_TOMBSTONED");
    net.ok(1, vec![delegate(51, 10)]);
    net.ok(1, vec![redelegate(51, 52, 10)]);
    tamper(&mut net, 51, |pb| pb.is_tombstoned = false);
    net.ok(51, vec![unjail()]);
}

#[test]
pub fn a_validator_that_loses_all_stake_leaves_and_ends() {
    let mut net = net(5);
    let result = net.ok(51, vec![undelegate_all(51)]);
    assert_eq!(kinds(&result.events[1..]), "staking.undelegated staking.jailed");
    assert_eq!(net.changes(), [(51, 0)]);
    assert_eq!(net.validator(51).status(), Status::Unbonding);
    let events = net.wait();
    assert_eq!(net.height(), 12);
    assert_eq!(kinds(&events), "staking.unbonded staking.validator_ended");
    assert_eq!(View::of_state(&net.chain.rows).validator(&of(51)), None);
    check_supply(&net);
    assert_eq!(misplaced_row(&net.chain.rows), None);
}

#[test]
pub fn the_set_is_never_empty() {
    let mut net = net(5);
    for seed in 51..54 {
        net.ok(seed, vec![undelegate_all(seed)]);
    }
    assert_eq!(net.power_total(), Power(10));
    let left = net.ok(54, vec![undelegate_all(54)]);
    assert_eq!(attribute(&left.events[1], "completes_at"), "14000");
    let kept = "staking.set_kept why=no validator has stake for a unit of power and is not in jail";
    assert_eq!(net.chain.events.iter().map(text).collect::<Vec<_>>(), [kept]);
    assert_eq!((net.changes(), net.power_total()), (vec![], Power(10)));
    assert_eq!(net.validator(54).status(), Status::Bonded);
    // The others are paid; its stake still counts and stays.
    (0..30).for_each(|_| drop(net.empty()));
    assert_eq!(pools(&net), stake_pools(0, 10 * UNIT));
    check_supply(&net);
    // As soon as another one has power, it leaves.
    net.ok(1, vec![create_validator(1, 5000)]);
    let mut changes = vec![(1, 5), (54, 0)];
    changes.sort_unstable();
    assert_eq!((net.changes(), net.power_total()), (changes, Power(5)));
    let gone = (0..30).map(|_| net.empty()).filter(|events| !events.is_empty()).last().unwrap();
    assert_eq!(kinds(&gone).rsplit(' ').next(), Some("staking.validator_ended"));
    assert_eq!(pools(&net), stake_pools(5000, 0));
    check_supply(&net);
}

#[test]
pub fn a_vote_weighs_the_power_in_the_set_of_the_last_block() {
    let mut net = net(4);
    let power = |net: &Net, seed| View::of_state(&net.chain.rows).operator(&of(seed)).map(|operator| operator.power);
    assert_eq!(power(&net, 51), Some(Power(10)));
    net.ok(1, vec![delegate(51, 2500)]);
    assert_eq!(power(&net, 51), Some(Power(12)));
    net.ok(1, vec![create_validator(1, 5000)]);
    assert_eq!(power(&net, 1), None, "a validator outside of the set does not vote");
    net.ok(52, vec![undelegate_all(52)]);
    assert_eq!((power(&net, 52), power(&net, 1)), (None, Some(Power(5))));
    assert_eq!(net.power_total(), Power(37));
}

#[test]
pub fn queries_answer_in_pages() {
    let mut net = net(5);
    for validator in 51..55 {
        net.ok(1, vec![delegate(validator, 100)]);
        net.ok(2, vec![delegate(validator, 200), undelegate(validator, 1)]);
    }
    net.ok(1, vec![redelegate(51, 52, 7)]);
    let ask = |path: &str, data: &[u8]| query(&net.chain.rows, path, data).unwrap();
    let mut operators: Vec<_> = (51..55).map(of).collect();
    operators.sort_unstable();
    let Answer::Validators { list, next } = ask("/staking/validators?limit=3", b"") else { panic!() };
    assert_eq!(list.iter().map(|one| one.operator).collect::<Vec<_>>(), operators[..3]);
    assert_eq!(next, Some(operators[3]));
    let Answer::Validators { list, next } = ask("/staking/validators", &operators[3].0) else { panic!() };
    assert_eq!((list.len(), list[0].operator, next), (1, operators[3], None));
    let Answer::Validator(one) = ask(&format!("/staking/validator/{}", of(51)), b"") else { panic!() };
    assert_eq!((one.operator, one.validator.tokens), (of(51), 10_000 + 100 + 199 - 7));
    let path = format!("/staking/delegations/{}?limit=3", of(2));
    let Answer::Delegations { list, next } = ask(&path, b"") else { panic!() };
    assert_eq!(
        list.iter().map(|one| (one.validator, one.amount, one.unbonding)).collect::<Vec<_>>(),
        operators[..3].iter().map(|validator| (*validator, 199, 1)).collect::<Vec<_>>()
    );
    assert_eq!(next, Some(operators[3]));
    let Answer::Delegations { list, next } = ask(&format!("/staking/delegators/{}", of(51)), b"") else { panic!() };
    let mut expected = vec![(of(1), 93), (of(2), 199), (of(51), 10_000)];
    expected.sort_unstable();
    assert_eq!((list.iter().map(|one| (one.delegator, one.amount)).collect::<Vec<_>>(), next), (expected, None));
    let Answer::Departures { list, .. } = ask(&format!("/staking/unbonding/{}", of(2)), b"") else { panic!() };
    assert_eq!(list.len(), 4);
    assert!(list.iter().all(|one| one.departure.tokens == 1 && one.completes_at.is_some()));
    let Answer::Departures { list, .. } = ask(&format!("/staking/redelegations/{}", of(1)), b"") else { panic!() };
    assert_eq!((list.len(), list[0].validator, list[0].completes_at), (1, of(51), None));
    assert_eq!(list[0].departure.to.unwrap(), (of(52), 7 << 32));
    assert_eq!(list[0].departure.height, Height(9));
    let Answer::Pool { pools, power_total, .. } = ask("/staking/pool", b"") else { panic!() };
    assert_eq!((pools.unbonding, power_total), (4, Power(40)));
    assert_eq!(ask("/staking/params", b""), Answer::Staking(params(5).staking));
    let refused = |path: &str| query(&net.chain.rows, path, b"").unwrap_err().code().name;
    assert_eq!(refused(&format!("/staking/validator/{}", of(9))), "E_UNKNOWN_VALIDATOR");
    assert_eq!(refused("/staking/validator/x"), "E_BAD_QUERY");
    assert_eq!(refused("/staking/validators?limit=101"), "E_BAD_QUERY");
    assert_eq!(refused("/staking/none"), "E_UNKNOWN_PATH");
}

#[test]
pub fn the_lists_of_validators_and_delegations_are_compared_with_their_rows() {
    let mut net = net(5);
    net.ok(1, vec![delegate(51, 100)]);
    assert_eq!(misplaced_row(&net.chain.rows), None);
    let [by_delegator, by_validator] = [area::of_delegator_prefix(&of(1)), area::of_validator_prefix(&of(51))];
    for row in [[&by_delegator[..], &of(51).0].concat(), [&by_validator[..], &of(1).0].concat()] {
        let mut rows = net.chain.rows.clone();
        rows.remove(&row).expect("the row lists the delegation");
        assert!(misplaced_row(&rows).unwrap().contains("is missing: it lists"));
    }
    let mut rows = net.chain.rows.clone();
    rows.insert([&by_delegator[..], &of(9).0].concat(), Vec::new());
    assert!(misplaced_row(&rows).unwrap().contains("lists what does not exist"));
    rows = net.chain.rows.clone();
    rows.insert([area::STAKES, b"x"].concat(), Vec::new());
    assert!(misplaced_row(&rows).unwrap().contains("lists what does not exist"));
}

#[test]
pub fn golden_rows() {
    let mut net = net(4);
    net.ok(1, vec![delegate(51, 3000)]);
    net.ok(1, vec![undelegate(51, 1000), redelegate(51, 52, 500)]);
    assert_eq!(net.height(), 2);
    let row = |key: &[u8]| View::of_state(&net.chain.rows).get(key).map(|value| data_encoding::HEXUPPER.encode(value));
    let hex = |bytes: &[u8]| data_encoding::HEXUPPER.encode(bytes);
    let (one, other) = (hex(&of(1).0), hex(&of(52).0));
    let shares = |tokens: u128| hex(&(tokens << 32).to_be_bytes());
    let expected = format!("0A10{}120101", shares(1500));
    assert_eq!(row(&key::delegation(&of(1), &of(51))).unwrap(), expected);
    let expected = format!("0A14{one}10E80718E8072002");
    assert_eq!(row(&key::departure(&of(51), 1)).unwrap(), expected);
    let expected = format!("0A14{one}10F40318F403200232280A14{other}1210{}", shares(500));
    assert_eq!(row(&key::departure(&of(51), 2)).unwrap(), expected);
    assert_eq!(row(key::STAKE_POOLS).unwrap(), "0890C80210E80720E807");
    assert_eq!(row(key::STAKE_QUEUE).unwrap(), "2002");
    assert_eq!(row(&key::stake_item(0, 1)).unwrap(), format!("0A14{}1002", hex(&of(51).0)));
    assert_eq!(row(key::STAKE_SET).unwrap(), "0804");
    let consensus = hex(super::common::key(101).public_key().bytes());
    // It earns with the power of genesis; those of heights 1 and 2 wait.
    let (shares, price, earnings) = (shares(11_500), shares(1), "080A12020D0B");
    let expected = format!(
        "0A231221{consensus}12001A08086410882718882728F40330EC593A10{shares}4210{price}480B68037002A20106{earnings}"
    );
    assert_eq!(row(&key::validator(&of(51))).unwrap(), expected);
    assert_eq!(row(&key::key_owner(&address(101))).unwrap(), format!("0A14{}", hex(&of(51).0)));
}

/// A proposer can put such a transaction into a block, although no mempool takes it: it fails, and stops no validator.
#[test]
pub fn a_delegation_of_more_than_all_money_fails() {
    let mut net = net(4);
    for amount in [u64::MAX, u64::MAX - 9_999, 1 << 63] {
        let says = net.fails(1, vec![delegate(51, amount)], "E_INSUFFICIENT_FUNDS");
        assert!(says.contains(&amount.to_string()), "{says}");
    }
    net.ok(1, vec![delegate(51, 3000)]);
}
