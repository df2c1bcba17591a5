//! Rules of the replacement of consensus keys.

use app::{Status, View, misplaced_row};
use prost::Message;
use types::{Address, Power, ValidatorSet};

use super::common::{
    address, key,
    net::{Net, kinds, text},
    stake::*,
};

/// The operator whose key is replaced, the seed of its key, and that of its new one.
const OPERATOR: u8 = 51;
const OLD: u8 = 101;
const NEW: u8 = 150;

/// Checks the changes of the set by the last block: address of the consensus key and power, in order.
#[track_caller]
fn set_changes(net: &Net, expected: &[(u8, u64)]) {
    let of = |update: &types::ValidatorUpdate| (update.public_key.address(), update.power.0);
    let got: Vec<_> = net.chain.updates.iter().map(of).collect();
    let expected: Vec<_> = expected.iter().map(|(seed, power)| (address(*seed), *power)).collect();
    assert_eq!(got, expected, "the set changes");
}

fn owner(net: &Net, consensus: u8) -> Option<Address> {
    View::of_state(&net.chain.rows).key_owner(&address(consensus))
}

#[test]
pub fn the_new_key_enters_the_set_with_the_power_of_the_old_one() {
    let mut net = net(5);
    let set: Vec<_> = (101..105).map(|seed| (key(seed).public_key(), Power(10))).collect();
    let set = ValidatorSet::new(set).unwrap();
    let result = net.ok(OPERATOR, vec![rotate_key(OPERATOR, NEW)]);
    let (operator, new, old) = (of(OPERATOR), address(NEW), address(OLD));
    let rotated = format!("staking.key_rotated validator={operator} consensus={new} old={old} next_at=11000");
    assert_eq!(text(&result.events[1]), rotated);
    set_changes(&net, &[(OLD, 0), (NEW, 10)]);
    let set = set.update(&net.chain.updates).unwrap();
    assert_eq!((set.len(), set.total_power()), (4, net.power_total()));
    let (_, member) = set.by_address(&new).unwrap();
    // It enters as a new validator does, at -(T + T/8) = -56 of all power with the old key; then the average, -17, is taken off.
    assert_eq!((member.power, member.proposer_priority), (Power(10), -39));
    let validator = net.validator(OPERATOR);
    assert_eq!((validator.public_key, validator.power), (key(NEW).public_key().into(), Power(10)));
    assert_eq!((validator.status(), validator.tokens), (Status::Bonded, 10 * UNIT));
    assert_eq!(validator.old_key.unwrap().address, old);
    assert_eq!((owner(&net, NEW), owner(&net, OLD)), (Some(operator), Some(operator)));
    assert_eq!(net.empty(), []);
    set_changes(&net, &[]);
    let power = View::of_state(&net.chain.rows).operator(&operator).map(|operator| operator.power);
    assert_eq!(power, Some(Power(10)), "a vote weighs the power of the operator");
    assert_eq!(misplaced_row(&net.chain.rows), None);
}

#[test]
pub fn a_rotation_in_the_block_of_another_change_has_the_power_of_both() {
    let mut net = net(5);
    let txs = vec![
        net.tx(1, vec![delegate(OPERATOR, 2500)]),
        net.tx(OPERATOR, vec![rotate_key(OPERATOR, NEW)]),
        net.tx(2, vec![delegate(OPERATOR, 500)]),
    ];
    assert!(net.block(txs).iter().all(|result| result.code == 0));
    set_changes(&net, &[(OLD, 0), (NEW, 13)]);
    // Who leaves the set in the block of the rotation leaves with the old key.
    let txs = vec![net.tx(52, vec![rotate_key(52, 151)]), net.tx(52, vec![undelegate_all(52)])];
    assert!(net.block(txs).iter().all(|result| result.code == 0));
    set_changes(&net, &[(102, 0)]);
    assert_eq!((net.validator(52).status(), net.power_total()), (Status::Unbonding, Power(33)));
    // Who enters in it enters with the new key.
    let txs = vec![net.tx(3, vec![create_validator(3, 5000), rotate_key(3, 152)])];
    assert!(net.block(txs).iter().all(|result| result.code == 0));
    set_changes(&net, &[(152, 5)]);
}

#[test]
pub fn a_validator_outside_of_the_set_changes_only_its_record() {
    let mut net = net(4);
    net.ok(1, vec![create_validator(1, 9000)]);
    net.ok(1, vec![rotate_key(1, NEW)]);
    set_changes(&net, &[]);
    assert_eq!(net.validator(1).public_key, key(NEW).public_key());
    assert_eq!((owner(&net, NEW), owner(&net, 201)), (Some(of(1)), Some(of(1))));
    net.ok(2, vec![delegate(1, 2000)]);
    let weakest = (51..55).max_by_key(|seed| of(*seed)).unwrap();
    let mut expected = [(of(1), (NEW, 11)), (of(weakest), (weakest + 50, 0))];
    expected.sort_unstable();
    set_changes(&net, &[expected[0].1, expected[1].1]);
}

#[test]
pub fn a_rotation_that_is_refused_changes_nothing() {
    let mut net = net(5);
    net.fails(1, vec![rotate_key(1, NEW)], "E_NOT_VALIDATOR");
    let says = net.fails(OPERATOR, vec![rotate_key(OPERATOR, 102)], "E_KEY_IN_USE");
    assert!(says.contains(&of(52).to_string()), "{says}");
    net.fails(OPERATOR, vec![rotate_key(OPERATOR, OLD)], "E_KEY_IN_USE");
    net.fails(OPERATOR, vec![rotate_with(key(NEW), &of(52))], "E_BAD_POSSESSION");
    net.fails(OPERATOR, vec![rotate_with(key(NEW), &Address::default())], "E_BAD_POSSESSION");
    set_changes(&net, &[]);
    // A transaction whose second message fails, and another one of the same block that rotates.
    let txs = vec![
        net.tx(OPERATOR, vec![rotate_key(OPERATOR, NEW), unjail()]),
        net.tx(52, vec![rotate_key(52, 151), unjail()]),
        net.tx(52, vec![rotate_key(52, 152)]),
    ];
    let codes: Vec<u32> = net.block(txs).iter().map(|result| result.code).collect();
    assert_eq!(codes, [153, 153, 0]);
    set_changes(&net, &[(102, 0), (152, 10)]);
    assert_eq!((owner(&net, NEW), net.validator(OPERATOR).old_key), (None, None));
}

#[test]
pub fn a_key_is_replaced_once_per_unbonding_time() {
    let mut net = net(5);
    net.ok(OPERATOR, vec![rotate_key(OPERATOR, NEW)]);
    // Block 1 has the time of 1 s. The old key signs until height 2, so evidence against it can come until 12 s.
    let next_at = |says: String| says.contains(&format!("{}, can come until 1970-01-01T00:00:12Z", address(OLD)));
    assert!(next_at(net.fails(OPERATOR, vec![rotate_key(OPERATOR, 151)], "E_ROTATED")));
    while net.height() < 10 {
        net.empty();
    }
    assert!(next_at(net.fails(OPERATOR, vec![rotate_key(OPERATOR, 151)], "E_ROTATED")));
    assert_eq!(net.height(), 11);
    net.ok(OPERATOR, vec![rotate_key(OPERATOR, 151)]);
    set_changes(&net, &[(NEW, 0), (151, 10)]);
    let txs = vec![net.tx(52, vec![rotate_key(52, 152), rotate_key(52, 153)])];
    let result = net.block(txs).remove(0);
    assert_eq!((result.code, net.chain.updates.len()), (180, 0), "{}", result.log);
    assert!(result.log.contains("1970-01-01T00:00:23Z"), "the next block sets the time: {}", result.log);
}

#[test]
pub fn the_old_key_leads_to_its_operator_until_its_evidence_has_expired() {
    let mut net = net(5);
    net.ok(OPERATOR, vec![rotate_key(OPERATOR, NEW)]);
    while net.height() < 10 {
        net.empty();
        assert_eq!(owner(&net, OLD), Some(of(OPERATOR)), "whose key it was");
    }
    net.fails(52, vec![rotate_key(52, OLD)], "E_KEY_IN_USE");
    assert_eq!((net.height(), owner(&net, OLD)), (11, Some(of(OPERATOR))));
    assert_eq!(net.empty(), []);
    assert_eq!((owner(&net, OLD), net.validator(OPERATOR).old_key), (None, None), "it is forgotten");
    assert_eq!(owner(&net, NEW), Some(of(OPERATOR)));
    net.ok(52, vec![rotate_key(52, OLD)]);
    set_changes(&net, &[(102, 0), (OLD, 10)]);
    assert_eq!(misplaced_row(&net.chain.rows), None);
}

#[test]
pub fn a_validator_does_not_end_while_evidence_against_its_old_key_can_come() {
    let mut net = net(5);
    net.ok(OPERATOR, vec![undelegate_all(OPERATOR)]);
    net.empty();
    net.ok(OPERATOR, vec![rotate_key(OPERATOR, NEW)]);
    set_changes(&net, &[]);
    assert_eq!(kinds(&net.wait()), "staking.unbonded");
    assert_eq!((net.height(), owner(&net, OLD)), (12, Some(of(OPERATOR))));
    assert_eq!(kinds(&net.wait()), "staking.validator_ended");
    assert_eq!(net.height(), 14);
    assert_eq!((owner(&net, OLD), owner(&net, NEW)), (None, None));
    assert_eq!(View::of_state(&net.chain.rows).validator(&of(OPERATOR)), None);
}

#[test]
pub fn the_last_members_of_the_set_replace_their_keys_too() {
    let mut net = net(5);
    (52..55).for_each(|seed| drop(net.ok(seed, vec![undelegate_all(seed)])));
    net.ok(OPERATOR, vec![undelegate_all(OPERATOR)]);
    assert_eq!(kinds(&net.chain.events), "staking.set_kept");
    net.ok(OPERATOR, vec![rotate_key(OPERATOR, NEW)]);
    set_changes(&net, &[(OLD, 0), (NEW, 10)]);
    assert_eq!((net.validator(OPERATOR).power, net.power_total()), (Power(10), Power(10)));
    net.ok(1, vec![create_validator(1, 5000)]);
    let mut expected = [(of(1), (201, 5)), (of(OPERATOR), (NEW, 0))];
    expected.sort_unstable();
    set_changes(&net, &[expected[0].1, expected[1].1]);
}

#[test]
pub fn golden_rows() {
    let mut net = net(4);
    net.ok(OPERATOR, vec![rotate_key(OPERATOR, NEW)]);
    let row = |key: &[u8]| View::of_state(&net.chain.rows).get(key).map(|value| value.to_vec()).unwrap();
    let item = row(&app::state::key::stake_item(0, 0));
    let hex = |bytes: &[u8]| data_encoding::HEXUPPER.encode(bytes);
    let (operator, old) = (hex(&of(OPERATOR).0), hex(&address(OLD).0));
    assert_eq!(hex(&item), format!("0A14{operator}5214{old}"));
    let validator = row(&app::state::key::validator(&of(OPERATOR)));
    let pb = types::pb::StakedValidator::decode(&validator[..]).unwrap();
    assert_eq!(pb.old_key.unwrap().encode_to_vec(), [&[0x0A, 20][..], &address(OLD).0].concat());
    assert!(hex(&validator).ends_with(&format!("C202160A14{old}")), "{}", hex(&validator));
}
