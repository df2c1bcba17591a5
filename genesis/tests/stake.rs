//! Proves the rules of stake in the genesis document, and that all faults of a document are named.
#![allow(missing_docs)]

use app::{Answer, Pools, View};
use genesis::{
    Document, FirstDelegation, FirstStake, FirstTerms, Genesis, GenesisAccount, GenesisValidator, JailReason,
};
use serde_json::{Value, json};
use types::{Address, ChainId, Commission, Description, Height, Params, Power, SecretKey, Time};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn address(seed: u8) -> Address {
    key(seed).public_key().address()
}

fn validator(seed: u8, power: u64) -> GenesisValidator {
    GenesisValidator {
        public_key: key(100 + seed).public_key().into(),
        power: Power(power),
        name: String::new(),
        operator: Some(address(seed)),
    }
}

fn terms(seed: u8, public_key: Option<u8>, jailed: Option<JailReason>) -> FirstTerms {
    FirstTerms {
        operator: address(seed),
        public_key: public_key.map(|seed| key(seed).public_key().into()),
        commission: Some(Commission { rate_bps: 500, max_bps: 2000, rise_max_bps: 100 }),
        own_min: Some(7),
        description: Description { moniker: format!("v{seed}"), ..Description::default() },
        jailed,
    }
}

fn delegation(delegator: u8, validator: u8, amount: u64) -> FirstDelegation {
    FirstDelegation { delegator: address(delegator), validator: address(validator), amount }
}

/// Two validators of the first height, of which the first has delegations; one that is in jail, and one with too little stake.
fn document() -> Document {
    let mut params = Params::default();
    params.staking.power_unit = 1000;
    Document {
        genesis_time: Time::parse("2026-01-31T12:00:00Z").unwrap(),
        chain_id: ChainId::new("cairn-stake").unwrap(),
        initial_height: Height(1),
        params,
        validators: vec![validator(1, 12), validator(2, 30)],
        app_hash: None,
        accounts: vec![GenesisAccount { address: address(9), balance: 50, name: "rich".into() }],
        stake: FirstStake {
            terms: vec![
                terms(1, None, None),
                terms(3, Some(103), Some(JailReason::OwnStake)),
                terms(4, Some(104), None),
            ],
            delegations: vec![
                delegation(1, 1, 5000),
                delegation(9, 1, 7999),
                delegation(9, 3, 90_000),
                delegation(4, 4, 999),
            ],
            community: 11,
            fee_pool: 13,
        },
    }
}

#[test]
fn the_first_state_has_the_stake_of_the_document() {
    let genesis = Genesis::new(document()).unwrap();
    let rows: std::collections::BTreeMap<_, _> = genesis.first_state().state.rows().collect();
    let mut view = View::of_state(&rows);
    let bonded = 5000 + 7999 + 90_000 + 999 + 30_000;
    let pools = Pools { bonded, community: 11, ..Pools::default() };
    let supply = app::query(&rows, "/supply", b"").unwrap();
    assert_eq!(supply, Answer::Supply { total: bonded + 11 + 13 + 50, fee_pool: 13, deposits: 0, stake: pools });
    let mut of = |seed| view.validator(&address(seed)).unwrap();
    let first = of(1);
    assert_eq!((first.tokens, first.power, first.own_min), (12_999, Power(12), 7));
    assert_eq!((first.commission.rate_bps, first.description.moniker.as_str()), (500, "v1"));
    assert_eq!(
        (of(2).tokens, of(2).power, of(2).own_min),
        (30_000, Power(30), Params::default().staking.own_stake_min)
    );
    assert_eq!((of(3).tokens, of(3).power, of(3).jail.unwrap().why), (90_000, Power(0), JailReason::OwnStake));
    assert_eq!((of(4).tokens, of(4).power, of(4).jail), (999, Power(0), None));
    assert_eq!(view.delegation(&address(9), &address(1)).shares, 7999 << 32);
    assert_eq!(view.key_owner(&key(104).public_key().address()), Some(address(4)));
    assert_eq!((view.power_total(), genesis.validators().total_power()), (Power(42), Power(42)));
    assert_eq!(app::misplaced_row(&rows), None);
}

#[test]
fn a_written_document_reads_back_the_same_and_its_hash_does_not_count_the_order() {
    let genesis = Genesis::new(document()).unwrap();
    let again = Genesis::parse(genesis.to_json().as_bytes()).unwrap();
    assert_eq!((again.document(), again.hash()), (genesis.document(), genesis.hash()));
    let mut turned = document();
    turned.stake.terms.reverse();
    turned.stake.delegations.reverse();
    assert_eq!(Genesis::new(turned).unwrap().hash(), genesis.hash());
    let different: [fn(&mut Document); 5] = [
        |document| document.stake.community += 1,
        |document| document.stake.fee_pool += 1,
        |document| document.stake.delegations[2].amount += 1,
        |document| document.stake.terms[1].own_min = None,
        |document| document.stake.terms[1].description.website = "w".into(),
    ];
    for change in different {
        let mut changed = document();
        change(&mut changed);
        assert_ne!(Genesis::new(changed).unwrap().hash(), genesis.hash());
    }
}

/// Returns the faults of a document in JSON.
fn faults(document: &Value) -> Vec<String> {
    let faults = Genesis::read_all(document.to_string().as_bytes()).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

/// Checks the faults of the document after a change.
#[track_caller]
fn faults_after(change: impl FnOnce(&mut Value), expected: &[&str]) {
    let mut json = Genesis::new(document()).unwrap().to_value();
    change(&mut json);
    let faults = faults(&json);
    let same = faults.len() == expected.len()
        && faults.iter().zip(expected).all(|(fault, expected)| fault.starts_with(expected));
    assert!(same, "{faults:#?}");
}

#[test]
fn stake_that_does_not_add_up_is_refused() {
    let delegation = |index: usize, field: &'static str, value: Value| {
        move |json: &mut Value| json["app_state"]["delegations"][index][field] = value
    };
    let amount = |index, amount: u64| delegation(index, "amount", json!(amount.to_string()));
    faults_after(amount(1, 8000), &["validators[0].power: is 12, but its delegations give it 13 in the first set"]);
    faults_after(amount(3, 1000), &["app_state.validators[2].operator: its delegations give it a power of 1: list it"]);
    faults_after(amount(0, 0), &["app_state.delegations[0].amount: is 0: give 1 or more"]);
    faults_after(amount(2, u64::MAX), &["app_state.delegations[2].amount: with it the stake exceeds"]);
    faults_after(
        |json| json["app_state"]["community_pool"] = json!(u64::MAX.to_string()),
        &["app_state.community_pool: with it the supply exceeds"],
    );
    faults_after(
        delegation(3, "validator", json!(address(8).to_string())),
        &[
            "app_state.delegations[3].validator: ",
            "app_state.validators[2].operator: has no delegation in app_state.delegations",
        ],
    );
    faults_after(
        |json| json["app_state"]["delegations"][1] = json["app_state"]["delegations"][0].clone(),
        &["app_state.delegations[1].delegator: delegates to this validator in app_state.delegations[0] too"],
    );
    faults_after(
        delegation(0, "delegator", json!(Address::default().to_string())),
        &["app_state.delegations[0].delegator: this address can belong to no key"],
    );
}

#[test]
fn every_mistake_in_terms_is_named() {
    let set = |index: usize, field: &'static str, value: Value| {
        move |json: &mut Value| json["app_state"]["validators"][index][field] = value
    };
    let public = |json: &Value| json["app_state"]["validators"][1]["pub_key"].clone();
    faults_after(
        |json| json["app_state"]["validators"][0]["pub_key"] = public(json),
        &["app_state.validators[0].pub_key: is that of validators[0]: leave it out here"],
    );
    faults_after(
        |json| json["app_state"]["validators"][2]["pub_key"] = public(json),
        &["app_state.validators[2].pub_key: is also the key of another validator"],
    );
    faults_after(
        set(2, "pub_key", Value::Null),
        &["app_state.validators[2].pub_key: is missing", "app_state.delegations[3].validator: "],
    );
    faults_after(
        set(0, "jailed", json!("own_stake")),
        &["app_state.validators[0].jailed: a validator in jail has no power"],
    );
    faults_after(set(1, "jailed", json!("boredom")), &["app_state.validators[1].jailed: is no reason for jail"]);
    faults_after(set(0, "moniker", json!("a\nb")), &["app_state.validators[0].moniker: has 3 bytes: use at most 70"]);
    faults_after(set(1, "own_min", json!("-1")), &["app_state.validators[1].own_min: \"-1\" is not a whole number"]);
    faults_after(set(1, "surprise", json!(1)), &["app_state.validators[1].surprise: is not a field here"]);
    faults_after(
        set(0, "commission", json!({ "rate_bps": "3", "max_bps": "2", "rise_max_bps": "9" })),
        &[
            "app_state.validators[0].commission.rate_bps: is 3: use at most the maximum, 2",
            "app_state.validators[0].commission.rise_max_bps: is 9",
        ],
    );
    faults_after(
        set(0, "commission", json!({ "rate_bps": "3", "max_bps": "10001" })),
        &["app_state.validators[0].commission.rise_max_bps: is missing"],
    );
    faults_after(
        set(2, "operator", json!(address(3).to_string())),
        &[
            "app_state.validators[2].operator: is also the operator of app_state.validators[1]",
            "app_state.delegations[3].validator: ",
        ],
    );
}

#[test]
fn all_faults_of_the_form_are_named_at_once() {
    let mut json = Genesis::new(document()).unwrap().to_value();
    json["genesis_time"] = json!("yesterday");
    json["chain_id"] = json!("a b");
    json["surprise"] = json!(1);
    json["consensus_params"]["block"]["max_bytes"] = json!("many");
    json["consensus_params"]["block"]["max_gas"] = json!([]);
    json["consensus_params"]["staking"] = json!(3);
    json["consensus_params"]["validator"]["pub_key_types"] = json!(["sr25519"]);
    json["validators"][0]["power"] = json!("-5");
    json["validators"][0]["name"] = json!("a\nb");
    json["validators"][1] = json!(7);
    json["app_state"]["accounts"][0]["balance"] = json!("much");
    json["app_state"]["accounts"][0]["address"] = json!("12");
    json["app_state"]["delegations"][2]["amount"] = Value::Null;
    json["app_state"]["fee_pool"] = json!("x");
    let mut faults = faults(&json);
    faults.sort();
    let mut expected = [
        "app_state.accounts[0].address: \"12\" is not 40 hexadecimal digits",
        "app_state.accounts[0].balance: \"much\" is not a whole number",
        "app_state.delegations[2].amount: is missing",
        "app_state.fee_pool: \"x\" is not a whole number",
        "chain_id: chain id \"a b\"",
        "consensus_params.block.max_bytes: \"many\" is not a whole number",
        "consensus_params.block.max_gas: is a list",
        "consensus_params.staking: is a number, expected an object",
        "consensus_params.validator.pub_key_types[0]: ",
        "genesis_time: \"yesterday\" is not",
        "surprise: is not a field here",
        "validators[0].name: use at most 70 characters",
        "validators[0].power: \"-5\" is not a whole number",
        "validators[1]: is a number, expected an object",
    ];
    expected.sort_unstable();
    let same = faults.len() == expected.len()
        && faults.iter().zip(expected).all(|(fault, expected)| fault.starts_with(expected));
    assert!(same, "{faults:#?}");
}

#[test]
fn all_faults_of_the_content_are_named_at_once() {
    faults_after(
        |json| {
            json["initial_height"] = json!("0");
            json["consensus_params"]["block"]["max_gas"] = json!("0");
            json["consensus_params"]["retain_blocks"] = json!("0");
            json["validators"][1]["power"] = json!("0");
            json["app_state"]["accounts"][0]["address"] = json!(Address::default().to_string());
            json["app_state"]["delegations"][2]["amount"] = json!("0");
        },
        &[
            "initial_height: 0 is not a height",
            "consensus_params.block.max_gas: 0 is out of range",
            "consensus_params.retain_blocks: 0 is out of range",
            "validators[1].power: is 0",
            "app_state.delegations[2].amount: is 0",
            "app_state.accounts[0].address: this address can belong to no key",
        ],
    );
}

#[test]
fn the_number_of_faults_is_bounded() {
    let mut json = Genesis::new(document()).unwrap().to_value();
    let bad: Vec<Value> = (0..1000).map(|_| json!({ "address": 1, "balance": "much" })).collect();
    json["app_state"]["accounts"] = Value::Array(bad);
    let faults = faults(&json);
    assert_eq!(faults.len(), genesis::FAULTS_MAX + 1);
    assert!(faults.last().unwrap().starts_with("app_state.accounts: has further elements"), "{faults:?}");
}
