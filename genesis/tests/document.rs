//! Proves the format of the genesis document: golden bytes, an error for every mistake, round trips.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use genesis::{Document, Genesis, GenesisAccount, GenesisError, GenesisValidator};
use proptest::prelude::*;
use serde_json::{Value, json};
use types::{Address, ChainId, ConsensusSecretKey, Height, KeyType, ParamField, Params, Power, SecretKey, Time};

const GOLDEN: &str = include_str!("golden_genesis.json");

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn validator(seed: u8, power: u64) -> GenesisValidator {
    let public_key = key(seed).public_key().into();
    GenesisValidator { public_key, power: Power(power), name: format!("node{seed}"), operator: None }
}

fn account(seed: u8, balance: u64, name: &str) -> GenesisAccount {
    GenesisAccount { address: key(seed).public_key().address(), balance, name: name.into() }
}

fn document() -> Document {
    let operator = Some(key(11).public_key().address());
    Document {
        genesis_time: Time::parse("2026-01-31T12:00:00.5Z").unwrap(),
        chain_id: ChainId::new("cairn-golden").unwrap(),
        initial_height: Height(1),
        params: Params::default(),
        validators: vec![validator(1, 10), GenesisValidator { operator, ..validator(2, 30) }, validator(3, 20)],
        app_hash: None,
        stake: genesis::FirstStake::default(),
        accounts: vec![account(11, 1_000_000_000, "alice"), account(12, 5, "")],
    }
}

#[test]
fn golden_document() {
    let genesis = Genesis::new(document()).unwrap();
    assert_eq!(genesis.to_json(), GOLDEN);
    assert_eq!(genesis.app_hash().to_string(), "D11F8A2B6032D33ED1EB25C356942A1F0A22B541EC0168E8BD487E4BB41F5B24");
    assert_eq!(genesis.hash().to_string(), "6DA53783EA4C787C9A6ED45C68709D9F093B4638E7C56A6B10F5F520896CEDCA");
    assert_eq!(Genesis::parse(GOLDEN.as_bytes()), Ok(genesis));
}

#[test]
fn the_fields_client_library_reads_it() {
    let theirs: tendermint::Genesis<Value> = serde_json::from_str(GOLDEN).unwrap();
    let ours = Genesis::parse(GOLDEN.as_bytes()).unwrap();
    assert_eq!(theirs.chain_id.as_str(), ours.chain_id().as_str());
    assert_eq!(theirs.initial_height, 1);
    assert_eq!(theirs.validators.len(), 3);
    assert_eq!(theirs.validators[1].address.as_bytes(), key(2).public_key().address().0);
    assert_eq!(theirs.consensus_params.block.max_bytes, Params::default().block.bytes_max);
}

/// CometBFT's own form: validators with Ed25519 keys, here next to one with secp256k1.
#[test]
fn validators_may_have_ed25519_keys() {
    let ed25519 = ConsensusSecretKey::from_bytes(KeyType::Ed25519, &[7; 32]).unwrap().public_key();
    let mut mixed = document();
    mixed.validators[1].public_key = ed25519;
    let json = Genesis::new(mixed.clone()).unwrap().to_json();
    assert_eq!(Genesis::parse(json.as_bytes()).unwrap().document(), &mixed);
    let value: Value = serde_json::from_str(&json).unwrap();
    let expected = json!({
        "type": "tendermint/PubKeyEd25519",
        "value": "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=",
    });
    assert_eq!(value["validators"][1]["pub_key"], expected);
    assert_eq!(value["consensus_params"]["validator"]["pub_key_types"], json!(["secp256k1", "ed25519"]));
    let theirs: tendermint::Genesis<Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(theirs.validators[1].address.as_bytes(), ed25519.address().0);
    // A document that lists only CometBFT's default key type is accepted.
    let only = json.replace("\"secp256k1\",\n        \"ed25519\"", "\"ed25519\"");
    assert_ne!(only, json);
    assert_eq!(Genesis::parse(only.as_bytes()).unwrap().document(), &mixed);
}

#[test]
fn the_first_state_is_what_the_document_says() {
    let genesis = Genesis::new(Document { initial_height: Height(100), ..document() }).unwrap();
    let first = genesis.first_state();
    assert_eq!(first.initial_height, Height(100));
    assert_eq!((first.state.app_hash, first.genesis_hash), (genesis.app_hash(), genesis.hash()));
    assert_eq!(first.validators.len(), 3);
    assert_eq!(first.validators.total_power(), Power(60));
    let rows: std::collections::BTreeMap<_, _> = first.state.rows().collect();
    assert!(first.state.rows().is_sorted());
    let app = app::App::open(&rows, genesis.chain_id().clone(), Height(99));
    assert_eq!(app.app_hash(), genesis.app_hash());
    let answer = app::query(&rows, "/supply", b"").unwrap();
    assert_eq!(
        answer,
        app::Answer::Supply {
            total: 1_060_000_005,
            fee_pool: 0,
            deposits: 0,
            stake: app::Pools { bonded: 60_000_000, ..app::Pools::default() },
        }
    );
}

#[test]
fn the_genesis_hash_covers_the_meaning_not_the_text() {
    let hash = |document: Document| Genesis::new(document).unwrap().hash();
    let same = hash(document());
    let mut turned = document();
    turned.validators.reverse();
    turned.accounts.reverse();
    turned.validators[0].name = "another name".into();
    turned.app_hash = Some(Genesis::new(document()).unwrap().app_hash());
    assert_eq!(hash(turned), same);
    let different: [fn(&mut Document); 6] = [
        |document| document.validators[0].power = Power(11),
        |document| document.accounts[0].balance += 1,
        |document| document.params.fee_min = 7,
        |document| document.initial_height = Height(2),
        |document| document.genesis_time = Time::UNIX_EPOCH,
        |document| document.chain_id = ChainId::new("another").unwrap(),
    ];
    for change in different {
        let mut changed = document();
        change(&mut changed);
        assert_ne!(hash(changed), same);
    }
}

/// Appends the leaves of an object: their names, with dots, and their values.
fn leaves(value: &Value, path: &str, all: &mut BTreeMap<String, String>) {
    let Value::Object(fields) = value else { return };
    for (name, field) in fields {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match field {
            Value::String(number) => drop(all.insert(path, number.clone())),
            _ => leaves(field, &path, all),
        }
    }
}

#[test]
fn proposals_name_each_parameter_as_the_document_does() {
    let params = Params::default();
    let mut shown = BTreeMap::new();
    leaves(&genesis::params_json(&params), "", &mut shown);
    shown.remove("abci.vote_extensions_enable_height");
    let named = |field: &ParamField| (field.name.to_owned(), field.value(&params).to_string());
    assert_eq!(ParamField::ALL.iter().map(named).collect::<BTreeMap<_, _>>(), shown);
}

#[test]
fn optional_fields_have_defaults() {
    let mut least = Genesis::new(document()).unwrap().to_value();
    for field in ["initial_height", "consensus_params", "app_hash", "app_state"] {
        least.as_object_mut().unwrap().remove(field);
    }
    least["validators"][0].as_object_mut().unwrap().remove("address");
    least["validators"][0].as_object_mut().unwrap().remove("name");
    least["validators"][0]["power"] = json!(10);
    let genesis = Genesis::parse(least.to_string().as_bytes()).unwrap();
    assert_eq!(genesis.document().initial_height, Height(1));
    assert_eq!(*genesis.params(), Params::default());
    assert!(genesis.document().accounts.is_empty());
    least["consensus_params"] = json!({"timeouts": {"propose_ms": "700"}, "fee_min": "3"});
    let genesis = Genesis::parse(least.to_string().as_bytes()).unwrap();
    assert_eq!(genesis.params().timeouts.propose.as_millis(), 700);
    assert_eq!(genesis.params().timeouts.prevote, Params::default().timeouts.prevote);
    assert_eq!(genesis.params().fee_min, 3);
}

/// Sets a field of the golden document and checks that the error begins with `says`.
fn mistake(pointer: &str, value: Value, says: &str) {
    let mut document: Value = serde_json::from_str(GOLDEN).unwrap();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(map) => map.insert(field.into(), value),
        Value::Array(list) => Some(std::mem::replace(&mut list[field.parse::<usize>().unwrap()], value)),
        _ => panic!("{pointer} is not a place"),
    };
    let error = Genesis::parse(document.to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with(says), "{pointer}: {error}");
}

/// Checks what is said about each mistake: its place, the value there, and the beginning of the error.
fn mistakes(cases: &[(&str, Value, &str)]) {
    cases.iter().for_each(|(pointer, value, says)| mistake(pointer, value.clone(), says));
}

#[test]
fn every_mistake_in_the_document_is_named() {
    mistakes(&[
        ("/genesis_time", json!("yesterday"), "genesis_time: \"yesterday\" is not an RFC 3339 time"),
        ("/genesis_time", json!(5), "genesis_time: is a number, expected a string"),
        ("/genesis_time", json!(null), "genesis_time: is missing"),
        ("/chain_id", json!("a b"), "chain_id: chain id \"a b\""),
        ("/chain_id", json!("x".repeat(51)), "chain_id: chain id"),
        ("/initial_height", json!("0"), "initial_height: 0 is not a height: use 1"),
        ("/initial_height", json!("-1"), "initial_height: \"-1\" is not a whole number"),
        ("/initial_height", json!("9223372036854775808"), "initial_height: 9223372036854775808 is not a height"),
        ("/initial_height", json!(1.5), "initial_height: \"1.5\" is not a whole number"),
        ("/app_hash", json!("ABCD"), "app_hash: \"ABCD\" is not"),
        ("/app_hash", json!("00".repeat(32)), "app_hash: is 0000"),
        ("/surprise", json!(1), "surprise: is not a field here: use genesis_time, chain_id"),
    ]);
}

#[test]
fn every_mistake_in_validators_is_named() {
    let one = serde_json::from_str::<Value>(GOLDEN).unwrap()["validators"][0].clone();
    let ours = key(2).public_key().address().to_string();
    let big = (i64::MAX / 8).to_string();
    mistakes(&[
        ("/validators", json!([]), "validators: there is none"),
        ("/validators", json!({}), "validators: is an object, expected a list"),
        ("/validators", json!(null), "validators: is missing"),
        (
            "/validators",
            json!(vec![one; 201]),
            "validators: 201 of them, consensus_params.staking.validators_max allows 100",
        ),
        ("/validators/2", json!(7), "validators[2]: is a number, expected an object"),
        ("/validators/2/power", json!("0"), "validators[2].power: is 0: give 1 or more"),
        ("/validators/2/power", json!("-5"), "validators[2].power: \"-5\" is not a whole number"),
        ("/validators/2/power", json!("+5"), "validators[2].power: \"+5\" is not a whole number"),
        ("/validators/2/power", json!(big), "validators[2].power: with it the total power exceeds"),
        ("/validators/2/power", json!(null), "validators[2].power: is missing"),
        ("/validators/0/operator", json!("12"), "validators[0].operator: \"12\" is not 40 hexadecimal digits"),
        ("/validators/0/operator", json!("00".repeat(20)), "validators[0].operator: this address can belong to no key"),
        (
            "/validators/2/operator",
            json!(key(11).public_key().address().to_string()),
            "validators[2].operator: is also the operator of validators[1]: use another account",
        ),
        ("/validators/0/address", json!(ours), "validators[0].address: is "),
        ("/validators/0/address", json!("12"), "validators[0].address: \"12\" is not 40 hexadecimal digits"),
        (
            "/validators/0/pub_key/type",
            json!("tendermint/PubKeyEd25519"),
            "validators[0].pub_key.value: is not 32 bytes in base64",
        ),
        (
            "/validators/0/pub_key",
            json!({ "type": "tendermint/PubKeyEd25519", "value": format!("AQ{}=", "A".repeat(41)) }),
            "validators[0].pub_key.value: not an Ed25519 public key",
        ),
        (
            "/validators/0/pub_key/type",
            json!("tendermint/PubKeySr25519"),
            "validators[0].pub_key.type: is another type of key: this node uses \"tendermint/PubKeySecp256k1\" or",
        ),
        ("/validators/0/pub_key/value", json!("AAAA"), "validators[0].pub_key.value: is not 33 bytes in base64"),
        (
            "/validators/0/pub_key/value",
            json!(zeros_in_base64()),
            "validators[0].pub_key.value: not a compressed secp256k1 public key",
        ),
        ("/validators/0/pub_key", json!(null), "validators[0].pub_key: is missing"),
        (
            "/validators/0/powr",
            json!("1"),
            "validators[0].powr: is not a field here: use address, pub_key, power, name",
        ),
        ("/validators/0/name", json!("a\nb"), "validators[0].name: use at most 70 characters"),
    ]);
}

#[test]
fn every_mistake_in_parameters_is_named() {
    mistakes(&[
        (
            "/consensus_params/block/max_bytes",
            json!("5"),
            "consensus_params.block.max_bytes: 5 is out of range, use 65536",
        ),
        ("/consensus_params/block/max_gas", json!("0"), "consensus_params.block.max_gas: 0 is out of range"),
        ("/consensus_params/block/max_size", json!("0"), "consensus_params.block.max_size: is not a field here"),
        (
            "/consensus_params/evidence/max_age_duration",
            json!("1"),
            "consensus_params.evidence.max_age_duration: is in nano",
        ),
        (
            "/consensus_params/validator/pub_key_types",
            json!(["sr25519"]),
            "consensus_params.validator.pub_key_types[0]: ",
        ),
        ("/consensus_params/abci/vote_extensions_enable_height", json!("1"), "consensus_params.abci.vote_extensions"),
        (
            "/consensus_params/timeouts/prevote_ms",
            json!("0"),
            "consensus_params.timeouts.prevote_ms: 0 is out of range",
        ),
        ("/consensus_params/retain_blocks", json!("0"), "consensus_params.retain_blocks: 0 is out of range"),
        (
            "/consensus_params/tx_ttl_ms_max",
            json!("86400001"),
            "consensus_params.tx_ttl_ms_max: 86400001 is out of range",
        ),
        (
            "/consensus_params/tx_ttl_heights_max",
            json!("1000"),
            "consensus_params.tx_ttl_heights_max: is not a field here",
        ),
        (
            "/consensus_params/staking/unbonding_ms",
            json!("172800000"),
            "consensus_params.staking.unbonding_ms: 172800000 is out of range, use 172800001",
        ),
        (
            "/consensus_params/staking/power_unit",
            json!("1844674407370955161"),
            "validators[1].power: with it the stake exceeds 18446744073709551615",
        ),
        ("/consensus_params/synchrony", json!(4), "consensus_params.synchrony: is a number, expected an object"),
        ("/consensus_params/timeout", json!({}), "consensus_params.timeout: is not a field here"),
    ]);
}

#[test]
fn every_mistake_in_accounts_is_named() {
    let zero = Address::default().to_string();
    mistakes(&[
        (
            "/app_state/accounts/1/address",
            json!(zero),
            "app_state.accounts[1].address: this address can belong to no key",
        ),
        (
            "/app_state/accounts/1/balance",
            json!(u64::MAX.to_string()),
            "app_state.accounts[1].balance: with it the supply",
        ),
        (
            "/app_state/accounts/1/balance",
            json!("much"),
            "app_state.accounts[1].balance: \"much\" is not a whole number",
        ),
        ("/app_state/accounts/1/balance", json!(null), "app_state.accounts[1].balance: is missing"),
        ("/app_state/accounts", json!("none"), "app_state.accounts: is a string, expected a list"),
        ("/app_state/coins", json!([]), "app_state.coins: is not a field here"),
    ]);
}

/// Returns 33 zero bytes in base64.
fn zeros_in_base64() -> String {
    "A".repeat(44)
}

#[test]
fn duplicates_are_refused_with_the_place_of_the_first() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    mistake(
        "/validators/2",
        golden["validators"][0].clone(),
        "validators[2].pub_key: is also the key of validators[0]",
    );
    let first = golden["app_state"]["accounts"][0].clone();
    mistake(
        "/app_state/accounts/1",
        first,
        "app_state.accounts[1].address: is also the address of app_state.accounts[0]",
    );
}

#[test]
fn a_file_that_is_no_genesis_document_is_refused() {
    let parse = |bytes: &[u8]| Genesis::parse(bytes).unwrap_err();
    assert!(matches!(parse(b"{"), GenesisError::Json(_)));
    assert!(matches!(parse(b"\xFF\xFE"), GenesisError::Json(_)));
    let deep = format!("{{\"chain_id\": {}", "[".repeat(100_000));
    assert!(matches!(parse(deep.as_bytes()), GenesisError::Json(_)), "depth is bounded");
    assert_eq!(parse(b"[]").to_string(), "the document: is a list, expected an object");
    assert!(matches!(parse(&vec![b' '; 17 << 20]), GenesisError::TooLarge { .. }));
    let twice = GOLDEN.replacen("\"app_hash\"", "\"chain_id\": \"other\", \"app_hash\"", 1);
    assert_eq!(parse(twice.as_bytes()).to_string(), "chain_id: is given twice: leave one out");
    let twice = GOLDEN.replacen("\"app_hash\"", "\"app_state\": {}, \"app_hash\"", 1);
    assert_eq!(parse(twice.as_bytes()).to_string(), "app_state: is given twice: leave one out");
}

/// A document of about 20 MiB must be accepted; an earlier version refused it.
#[test]
fn more_accounts_than_fit_into_16_mib_are_read() {
    let account = |n: u32| {
        let mut address = Address([7; 20]);
        address.0[..4].copy_from_slice(&n.to_be_bytes());
        GenesisAccount { address, balance: 1 + u64::from(n), name: String::new() }
    };
    let many = Document { accounts: (0..200_000).rev().map(account).collect(), ..document() };
    let genesis = Genesis::new(many).unwrap();
    let text = genesis.to_json();
    assert!(text.len() > 18 << 20, "{}", text.len());
    let again = Genesis::parse(text.as_bytes()).unwrap();
    assert_eq!((again.hash(), again.app_hash()), (genesis.hash(), genesis.app_hash()));
    assert_eq!(again.document().accounts.len(), 200_000);
    let broken = text.replacen("\"balance\": \"200000\"", "\"balance\": \"-1\"", 1);
    let error = Genesis::parse(broken.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("app_state.accounts[0].balance: "), "{error}");
}

fn any_document() -> impl Strategy<Value = Document> {
    let validators = proptest::collection::btree_map(1_u8..30, 1_u64..1_000_000, 1..6);
    let accounts = proptest::collection::btree_map(1_u8..60, 0_u64..1 << 50, 0..8);
    (validators, accounts, 1_u64..1 << 40, 0_i64..i64::MAX, 0_u64..1000, "[a-z]{0,9}").prop_map(
        |(validators, accounts, height, time, fee_min, name)| Document {
            genesis_time: Time::from_unix_nanos(time),
            chain_id: ChainId::new("any-chain").unwrap(),
            initial_height: Height(height),
            params: Params { fee_min, ..Params::default() },
            validators: validators.into_iter().map(|(seed, power)| validator(seed, power)).collect(),
            app_hash: None,
            stake: genesis::FirstStake::default(),
            accounts: accounts.into_iter().map(|(seed, balance)| account(seed, balance, &name)).collect(),
        },
    )
}

/// Arbitrary JSON that resembles a document.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| json!(number)),
        "[ -~]{0,20}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let field = prop_oneof!["[a-z_]{1,8}", Just("address".into()), Just("power".into()), Just("accounts".into())];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((field, inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Paths of the golden document at which the value is replaced.
const PLACES: &[&str] = &[
    "/genesis_time",
    "/chain_id",
    "/initial_height",
    "/consensus_params",
    "/consensus_params/block",
    "/consensus_params/block/max_gas",
    "/consensus_params/evidence/max_age_duration",
    "/consensus_params/timeouts",
    "/validators",
    "/validators/0",
    "/validators/0/address",
    "/validators/1/pub_key",
    "/validators/1/pub_key/value",
    "/validators/2/power",
    "/validators/1/operator",
    "/consensus_params/proposals/open_max",
    "/app_hash",
    "/app_state",
    "/app_state/accounts",
    "/app_state/accounts/0/balance",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_document_reads_back_the_same(document in any_document()) {
        let genesis = Genesis::new(document).unwrap();
        let again = Genesis::parse(genesis.to_json().as_bytes()).unwrap();
        prop_assert_eq!(again.to_json(), genesis.to_json());
        prop_assert_eq!(again.hash(), genesis.hash());
        prop_assert_eq!(again, genesis);
    }

    #[test]
    fn parsing_never_panics(place in 0..PLACES.len(), value in any_json(), bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
        let mut document: Value = serde_json::from_str(GOLDEN).unwrap();
        *document.pointer_mut(PLACES[place]).unwrap() = value;
        if let Ok(genesis) = Genesis::parse(document.to_string().as_bytes()) {
            prop_assert_eq!(Genesis::parse(genesis.to_json().as_bytes()), Ok(genesis));
        }
        prop_assert!(Genesis::parse(&bytes).is_err());
    }

    #[test]
    fn a_damaged_document_never_panics(at in 0..GOLDEN.len(), byte in any::<u8>()) {
        let mut bytes = GOLDEN.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = Genesis::parse(&bytes);
        let _ = Genesis::parse(&GOLDEN.as_bytes()[..at]);
    }
}

/// The author of a document cannot control the terminal of the person who validates it.
#[test]
fn errors_about_a_document_are_short_and_plain() {
    let name = format!("\u{1b}[2J\u{202E}{}", "x".repeat(100_000));
    let mut unknown: Value = serde_json::from_str(GOLDEN).unwrap();
    unknown[&name] = json!(1);
    let mut nested: Value = serde_json::from_str(GOLDEN).unwrap();
    nested["app_state"][&name] = json!(1);
    let twice = format!("{{{0}:1,{0}:1}}", json!(name));
    let twice_inside = format!("{{\"app_state\":{twice}}}");
    for text in [unknown.to_string(), nested.to_string(), twice, twice_inside] {
        let error = Genesis::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.len() < 1500 && error.chars().all(types::is_plain), "{error:?}");
    }
}

#[test]
fn a_chain_does_not_begin_where_heights_end() {
    let at = |height| Genesis::new(Document { initial_height: Height(height), ..document() });
    assert!(at(i64::MAX as u64 / 2).is_ok());
    for height in [0, i64::MAX as u64 / 2 + 1, i64::MAX as u64, u64::MAX] {
        assert_eq!(at(height).unwrap_err().field, "initial_height");
    }
}
