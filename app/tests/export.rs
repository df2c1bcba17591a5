//! Proves that the state of a chain is the start of another one, with the same money and the same stake.
#![allow(missing_docs)]

mod common;

use app::{Answer, Exported, View, export, first_state, misplaced_row, query, state::key};
use common::{
    Rows,
    net::{Net, create, propose, revert},
    stake::*,
    store, transfer,
};
use prost::Message;
use types::{Address, Params, Power, StakingParams, pb};

/// Changes the row of a validator as a slash would: the price is the least one at which the tokens pay for all shares.
fn slash(net: &mut Net, seed: u8, tokens: u64, is_tombstoned: bool) {
    let before = net.validator(seed);
    let row = key::validator(&of(seed));
    let value = View::of_state(&net.chain.rows).get(&row).unwrap().to_vec();
    let mut pb = pb::StakedValidator::decode(&value[..]).unwrap();
    (pb.tokens, pb.is_tombstoned) = (tokens, is_tombstoned);
    pb.shares_per_token = before.shares.div_ceil(u128::from(tokens)).to_be_bytes().to_vec();
    if is_tombstoned {
        pb.jail = Some(pb::Jail { until_ms: 0, why: 1 });
    }
    net.tamper(&row, &pb.encode_to_vec());
    let burnt = before.tokens - tokens;
    let value = View::of_state(&net.chain.rows).get(key::STAKE_POOLS).unwrap().to_vec();
    let mut pools = pb::StakePools::decode(&value[..]).unwrap();
    pools.bonded -= burnt;
    net.tamper(key::STAKE_POOLS, &pools.encode_to_vec());
    let amount = View::of_state(&net.chain.rows).supply() - burnt;
    net.tamper(key::SUPPLY, &pb::Amount { amount }.encode_to_vec());
}

fn supply(rows: &Rows) -> u64 {
    match query(rows, "/supply", b"") {
        Ok(Answer::Supply { total, .. }) => total,
        other => panic!("{other:?}"),
    }
}

/// Returns the rows of the chain that starts from the state of another one.
fn next_chain(exported: &Exported) -> Rows {
    let first = first_state(&exported.params, &exported.validators, exported.accounts.iter().copied(), &exported.stake);
    first.unwrap().rows().collect()
}

fn balance(rows: &Rows, account: Address) -> u64 {
    View::of_state(rows).account(&account).balance
}

/// A chain with a bit of everything.
fn chain() -> Net {
    let mut net = net(4);
    net.ok(1, vec![create_validator(1, 5000)]);
    net.ok(2, vec![delegate(51, 3000), delegate(52, 2000), delegate(1, 700), delegate(53, 1)]);
    net.ok(3, vec![delegate(51, 333)]);
    slash(&mut net, 51, 9999, false);
    net.ok(2, vec![undelegate(51, 1000), redelegate(52, 53, 500)]);
    net.ok(54, vec![undelegate_all(54)]);
    net.ok(3, vec![create("ns"), create("other")]);
    net.ok(3, vec![common::net::write("ns", 1, &[common::net::put("k", "v")])]);
    net.ok(3, vec![common::net::write("ns", 1, &[common::net::put("k", "w")])]);
    net.ok(3, vec![propose(revert(net.height() - 1, &["ns"]))]);
    slash(&mut net, 52, 7000, true);
    net.ok(1, vec![rotate_key(1, 150)]);
    net
}

#[test]
fn rewards_that_are_due_return_to_their_owners() {
    let params = params(5);
    let staking = StakingParams { community_bps: 0, ..params.staking };
    let mut net = Net::with(&Params { staking, ..params });
    net.ok(1, vec![delegate(51, 10_000)]);
    net.ok(3, vec![transfer(2, 1)]);
    net.empty();
    let exported = export(&net.chain.rows).unwrap();
    let rows = next_chain(&exported);
    assert_eq!(supply(&rows), supply(&net.chain.rows));
    let gained = [1, 51].map(|seed| balance(&rows, of(seed)) - net.chain.balance(seed));
    // A quarter of 2000 is that of 51: 1 % is its commission, the rest is divided by two equal stakes.
    assert_eq!(gained, [247, 247 + 5]);
}

#[test]
fn nothing_is_lost_or_created() {
    let net = chain();
    let exported = export(&net.chain.rows).unwrap();
    let rows = next_chain(&exported);
    assert_eq!(supply(&rows), supply(&net.chain.rows));
    assert_eq!((misplaced_row(&rows), exported.has_namespaces), (None, true));
    assert_eq!(exported.left_out, [of(52)]);
    // Who had stake at a validator has the same worth there, and the remainder of rounding is part of the fees.
    let (mut before, mut after) = (View::of_state(&net.chain.rows), View::of_state(&rows));
    for (delegator, operator) in [(51, 51), (2, 51), (3, 51), (1, 1), (2, 1), (2, 53), (53, 53)] {
        let (delegator, operator) = (of(delegator), of(operator));
        let validator = before.validator(&operator).unwrap();
        let worth = validator.worth(before.delegation(&delegator, &operator).shares);
        let now = after.validator(&operator).unwrap();
        assert!(worth > 0);
        assert_eq!(now.worth(after.delegation(&delegator, &operator).shares), worth);
        assert_eq!(
            (now.public_key, now.commission, &now.description),
            (validator.public_key, validator.commission, &validator.description)
        );
    }
    // What unbonds, and the stake of a validator in jail for ever, is in the accounts of its owners.
    assert_eq!(after.validator(&of(52)), None);
    assert_eq!(balance(&rows, of(54)), net.chain.balance(54) + 10_000);
    let at_52 = |view: &mut View<'_, Rows>, seed| {
        let shares = view.delegation(&of(seed), &of(52)).shares;
        view.validator(&of(52)).unwrap().worth(shares)
    };
    assert_eq!(balance(&rows, of(2)), net.chain.balance(2) + 1000 + at_52(&mut before, 2));
    assert_eq!(balance(&rows, of(3)), net.chain.balance(3) + 500, "the deposit of the proposal");
    assert_eq!(after.account(&of(1)).nonce, 0);
    // The new set: 54 has no stake, 52 is gone, and 51 lost a part.
    let mut powers: Vec<(Address, Power)> =
        exported.validators.iter().map(|first| (first.operator.unwrap(), first.power)).collect();
    powers.sort_unstable();
    let mut expected = vec![(of(51), Power(8)), (of(53), Power(10)), (of(1), Power(5))];
    expected.sort_unstable();
    assert_eq!(powers, expected);
    assert_eq!(after.power_total(), Power(23));
}

#[test]
fn the_start_of_a_chain_is_exported_as_it_was() {
    let net = net(5);
    let exported = export(&net.chain.rows).unwrap();
    assert_eq!(next_chain(&exported), net.chain.rows);
    // What is exported from the new chain is the same again.
    let rows = next_chain(&export(&chain().chain.rows).unwrap());
    let again = export(&rows).unwrap();
    assert_eq!(next_chain(&again), rows);
}

#[test]
fn a_validator_in_jail_stays_there_and_one_that_waits_waits() {
    let mut net = net(4);
    net.ok(1, vec![delegate(51, 90_000)]);
    net.ok(51, vec![undelegate(51, 9600)]);
    assert!(net.validator(51).jail.is_some());
    let exported = export(&net.chain.rows).unwrap();
    let rows = next_chain(&exported);
    let mut view = View::of_state(&rows);
    let jailed = view.validator(&of(51)).unwrap();
    assert_eq!(
        (jailed.power, jailed.tokens, jailed.jail.unwrap().why),
        (Power::ZERO, 90_400, app::JailReason::OwnStake)
    );
    assert_eq!((exported.validators.len(), exported.stake.terms.len()), (3, 4));
}

#[test]
fn a_state_that_is_no_start_is_refused() {
    let mut net = net(5);
    let mut rows = net.chain.rows.clone();
    let supply = View::of_state(&rows).supply();
    let row = app::tree::rows::row_key(app::area::NEVER_REVERTED, &app::tree::rows::path_of(key::SUPPLY));
    let value = app::tree::rows::row_value(key::SUPPLY, &pb::Amount { amount: supply + 1 }.encode_to_vec());
    store(&mut rows, &types::WriteSet([(row, Some(value))].into()));
    let error = export(&rows).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("the amounts of the state add up to {supply}, and the supply is {}: the state is damaged", supply + 1)
    );
    (51..55).for_each(|seed| drop(net.ok(seed, vec![undelegate_all(seed)])));
    let error = export(&net.chain.rows).unwrap_err().to_string();
    assert!(error.starts_with("no validator has stake"), "{error}");
}
