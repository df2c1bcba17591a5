//! Proves the formats of key files and test networks, their errors and modes, and that existing files are kept.
#![allow(missing_docs)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use files::{
    Access, AccountKey, Existing, FileError, Keyring, NodeKey, NodeKeys, Testnet, TestnetOptions, ValidatorKey,
    is_open_to_others, load_genesis, signing_state, testnet::write_files,
};
use genesis::sender_key;
use serde_json::{Value, json};
use types::{
    ChainId, ConsensusSecretKey, Height, KeyType, NodeId, Params, Round, SecretKey, SignState, Signature, Time,
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const SECRET_7: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

#[test]
fn golden_key_files() {
    let validator = String::from_utf8(ValidatorKey { secret: key(7).into() }.to_file()).unwrap();
    let address = key(7).public_key().address();
    let expected = format!(
        r#"{{
  "address": "{address}",
  "pub_key": {{
    "type": "tendermint/PubKeySecp256k1",
    "value": "ApicC3bLVjlx/cm+8x7AbDVg8ySdbunl2DxXYlWW4F9v"
  }},
  "priv_key": {{
    "type": "tendermint/PrivKeySecp256k1",
    "value": "{SECRET_7}"
  }}
}}
"#
    );
    assert_eq!(validator, expected);
    let account = String::from_utf8(AccountKey::new("alice", key(7)).unwrap().to_file()).unwrap();
    assert_eq!(account, expected.replacen("{\n", "{\n  \"name\": \"alice\",\n", 1));
    let node: Value = serde_json::from_slice(&NodeKey::from_seed([7; 32]).to_file()).unwrap();
    let base64 = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwfqSmxj4pxSCr71UHsTLsX5lUd2rr6+e5JCHuppFEbSLA==";
    assert_eq!(node, json!({"priv_key": {"type": "tendermint/PrivKeyEd25519", "value": base64}}));
    let signed = Some((vec![0xAB, 1], Signature([0; 64])));
    let state = signing_state::to_file(&SignState { height: Height(12), round: Round(1), step: 2, signed });
    let state: Value = serde_json::from_slice(&state).unwrap();
    let signature = format!("{}A==", "A".repeat(85));
    assert_eq!(state, json!({"height": "12", "round": 1, "step": 2, "signature": signature, "signbytes": "AB01"}));
    let none: Value = serde_json::from_slice(&signing_state::to_file(&SignState::default())).unwrap();
    assert_eq!(none, json!({"height": "0", "round": 0, "step": 0}));
}

/// The file has CometBFT's format: the secret is the seed followed by the public key.
#[test]
fn golden_ed25519_key_file() {
    let secret = ConsensusSecretKey::from_bytes(KeyType::Ed25519, &[7; 32]).unwrap();
    let file: Value = serde_json::from_slice(&ValidatorKey { secret }.to_file()).unwrap();
    let expected = json!({
        "address": "FE812C12F3AB4CE6AC5DB69AC352F906CB1B11EF",
        "pub_key": { "type": "tendermint/PubKeyEd25519", "value": "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=" },
        "priv_key": {
            "type": "tendermint/PrivKeyEd25519",
            "value": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwfqSmxj4pxSCr71UHsTLsX5lUd2rr6+e5JCHuppFEbSLA==",
        },
    });
    assert_eq!(file, expected);
}

#[test]
fn key_files_read_back_and_only_their_owner_can_read_them() {
    let folder = folder();
    let at = |name: &str| folder.path().join("config").join(name);
    for key_type in KeyType::ALL {
        let validator = ValidatorKey::generate(key_type).unwrap();
        validator.save(&at("priv_validator_key.json"), Existing::Replace).unwrap();
        let read = ValidatorKey::load(&at("priv_validator_key.json")).unwrap();
        assert_eq!((read.public_key(), read.secret.bytes()), (validator.public_key(), validator.secret.bytes()));
    }
    let node = NodeKey::from_seed([9; 32]);
    node.save(&at("node_key.json"), Existing::Refuse).unwrap();
    assert_eq!(NodeKey::load(&at("node_key.json")).unwrap(), node);
    let state = SignState { height: Height(5), round: Round(0), step: 3, signed: None };
    signing_state::save(&state, &at("priv_validator_state.json"), Existing::Refuse).unwrap();
    assert_eq!(signing_state::load(&at("priv_validator_state.json")).unwrap(), state);
    let full = SignState { signed: Some((vec![1, 2], Signature([3; 64]))), ..state };
    signing_state::save(&full, &at("priv_validator_state.json"), Existing::Replace).unwrap();
    assert_eq!(signing_state::load(&at("priv_validator_state.json")).unwrap(), full);
    for name in names(&folder.path().join("config")) {
        assert_eq!(mode(&at(&name)), 0o600, "{name}");
    }
    assert_eq!(mode(&folder.path().join("config")), 0o700);
}

/// RFC 8032, 7.1, test 1 gives the key pair.
#[test]
fn a_node_key_is_a_seed_with_its_public_key_and_refuses_others() {
    let hex = |text: &str| -> Vec<u8> { data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap() };
    let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let key = NodeKey::from_seed(seed.clone().try_into().unwrap());
    assert_eq!(key.id(), NodeId::of(&public.clone().try_into().unwrap()));
    assert_eq!(key.to_bytes().to_vec(), [seed, public].concat());
    let mut bytes = key.to_bytes();
    assert_eq!(NodeKey::from_bytes(&bytes).unwrap(), key);
    bytes[40] ^= 1;
    assert!(NodeKey::from_bytes(&bytes).is_err(), "a public key that is not the seed's");
    assert!(NodeKey::from_bytes(&bytes[..63]).is_err());
    assert!(NodeKey::from_bytes(&[key.to_bytes().to_vec(), vec![0]].concat()).is_err());
}

#[test]
fn the_keyring_lists_loads_and_adds() {
    let folder = folder();
    let keyring = Keyring::new(folder.path().join("keys"));
    assert!(keyring.names().unwrap().is_empty());
    for name in ["carol", "alice", "bob-2"] {
        keyring.add(&AccountKey::generate(name).unwrap()).unwrap();
    }
    fs::write(folder.path().join("keys/README"), "not a key").unwrap();
    assert_eq!(keyring.names().unwrap(), ["alice", "bob-2", "carol"]);
    let alice = keyring.load("alice").unwrap();
    assert!(matches!(keyring.add(&alice), Err(FileError::Exists { .. })));
    assert!(matches!(keyring.load("dave"), Err(FileError::Io { .. })));
    for bad in ["", "../alice", "Alice", "a/b", "ä", &"x".repeat(65)] {
        assert!(matches!(keyring.load(bad), Err(FileError::Name { .. })), "{bad}");
        assert!(AccountKey::generate(bad).is_err());
    }
}

#[test]
fn a_file_is_replaced_only_on_request() {
    let folder = folder();
    let file = folder.path().join("deep/er/file");
    files::write(&file, b"first", Access::Public, Existing::Refuse).unwrap();
    let refused = files::write(&file, b"second", Access::Public, Existing::Refuse).unwrap_err();
    assert!(matches!(refused, FileError::Exists { .. }), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), b"first");
    files::write(&file, b"third", Access::Secret, Existing::Replace).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"third");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(names(file.parent().unwrap()), ["file"], "nothing is left beside it");
    let below_a_file = files::write(&file.join("x"), b"", Access::Public, Existing::Refuse).unwrap_err();
    assert!(matches!(below_a_file, FileError::Io { .. }));
}

fn broken(content: &str, load: impl Fn(&Path) -> Option<FileError>) -> String {
    let folder = folder();
    let file = folder.path().join("broken.json");
    fs::write(&file, content).unwrap();
    let error = load(&file).expect("it is broken").to_string();
    assert!(error.starts_with(&format!("{}: ", file.display())), "{error}");
    error[file.display().to_string().len() + 2..].to_owned()
}

#[test]
fn a_broken_key_file_is_named_with_its_field() {
    let good: Value = serde_json::from_slice(&ValidatorKey { secret: key(7).into() }.to_file()).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        broken(&changed.to_string(), |file| ValidatorKey::load(file).err())
    };
    let other = ValidatorKey { secret: key(8).into() };
    assert!(with(&|v| v["priv_key"] = Value::Null).starts_with("priv_key: is missing"));
    assert!(with(&|v| v["priv_key"]["value"] = json!("AAAA")).starts_with("priv_key.value: is not 32 bytes in base64"));
    assert!(
        with(&|v| v["priv_key"]["value"] = json!(format!("{}=", "A".repeat(43))))
            .contains("not a secp256k1 secret key")
    );
    assert!(
        with(&|v| v["priv_key"]["type"] = json!("tendermint/PrivKeySr25519")).starts_with("priv_key.type: is another")
    );
    assert!(
        with(&|v| v["priv_key"]["type"] = json!("tendermint/PrivKeyEd25519")).starts_with("priv_key.value: is not 64")
    );
    assert!(
        with(&|v| v["pub_key"]["type"] = json!("tendermint/PubKeyEd25519")).starts_with("pub_key.type: is another")
    );
    let both = data_encoding::BASE64.encode(&[[7; 32], [8; 32]].concat());
    let halves = with(&|v| v["priv_key"] = json!({ "type": "tendermint/PrivKeyEd25519", "value": both }));
    assert!(halves.starts_with("priv_key.value: ends with the public key of another secret"), "{halves}");
    let ed25519 = ConsensusSecretKey::from_bytes(KeyType::Ed25519, &[7; 32]).unwrap();
    let file = String::from_utf8(ValidatorKey { secret: ed25519 }.to_file()).unwrap();
    let refused = broken(&file, |file| AccountKey::load("alice", file).err());
    assert!(refused.starts_with("priv_key.type: is another type of key"), "{refused}");
    assert!(with(&|v| v["address"] = json!(other.address().to_string())).starts_with("address: is not the address"));
    let theirs: Value = serde_json::from_slice(&other.to_file()).unwrap();
    assert!(with(&|v| v["pub_key"] = theirs["pub_key"].clone()).starts_with("pub_key: is not the public key"));
    assert!(with(&|v| v["more"] = json!(1)).starts_with("more: is not a field here"));
    let not_json = broken("{\n  \"priv_key\": oops", |file| ValidatorKey::load(file).err());
    assert!(not_json.starts_with("not JSON at line 2"), "{not_json}");
    assert!(
        broken(&" ".repeat(100_000), |file| ValidatorKey::load(file).err()).starts_with("is larger than 65536 bytes")
    );
    let node = |key: Value| broken(&json!({ "priv_key": key }).to_string(), |file| NodeKey::load(file).err());
    assert!(node(Value::Null).starts_with("priv_key: is missing"));
    let halves = node(json!({ "type": "tendermint/PrivKeyEd25519", "value": both }));
    assert!(
        halves.starts_with("priv_key.value: node key must be 64 bytes, an Ed25519 seed and the public key"),
        "{halves}"
    );
    assert!(broken("{}", |file| NodeKey::load(file).err()).starts_with("priv_key: is missing"));
    assert!(broken("{}", |file| load_genesis(file).err()).starts_with("genesis_time: is missing"));
    let state = |text: &str| broken(text, |file| signing_state::load(file).err());
    assert!(state(r#"{"height":"x","round":0,"step":0}"#).starts_with("height: \"x\" is not a whole number"));
    assert!(state(r#"{"height":"1","round":0,"step":4}"#).starts_with("step: 4 is not a step"));
    assert!(state(r#"{"height":"1","round":4294967295,"step":1}"#).starts_with("round: is too large"));
    assert!(
        state(r#"{"height":"1","round":0,"step":1,"signbytes":"xyz"}"#).starts_with("signbytes: is not hexadecimal")
    );
    assert!(state(r#"{"height":"1","round":0,"step":1,"signature":"AA=="}"#).starts_with("signature: is not 64 bytes"));
    let record = String::from_utf8(signing_state::to_record(&SignState::default())).unwrap();
    assert!(state(&record[..600]).starts_with("it has 600 bytes, 2048 were written: it was cut or extended"));
    assert!(state(&(record + " ")).starts_with("it has 2049 bytes"));
    let missing = ValidatorKey::load(Path::new("/nowhere/key.json")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/key.json: cannot open: "), "{missing}");
    assert!(missing.ends_with(": restore the file, or check the path"), "{missing}");
}

#[test]
fn a_key_that_others_may_read_or_write_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.json");
    assert!(!is_open_to_others(&file), "it is absent");
    ValidatorKey { secret: key(7).into() }.save(&file, Existing::Refuse).unwrap();
    for (mode, is_open) in [(0o600, false), (0o400, false), (0o644, true), (0o640, true), (0o602, true)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(is_open_to_others(&file), is_open, "{mode:o}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    let good = String::from_utf8(ValidatorKey { secret: key(7).into() }.to_file()).unwrap();
    let swapped = good.replace("tendermint/PrivKeySecp256k1", SECRET_7);
    let longer = good.replace(SECRET_7, &format!("{SECRET_7}AAAA"));
    let torn = good[..good.len() - 5].to_owned();
    let number = good.replace(&format!("\"{SECRET_7}\""), "12345");
    for bad in [swapped, longer, torn, number] {
        let error = broken(&bad, |file| ValidatorKey::load(file).err());
        assert!(!error.contains("BwcHBwcH") && !error.contains("12345"), "{error}");
    }
    assert!(!format!("{:?}", ValidatorKey { secret: key(7).into() }).contains("BwcH"));
    assert_eq!(format!("{:?}", NodeKey::from_seed([7; 32])), "NodeKey(hidden)");
    let options = options(1);
    assert!(!format!("{options:?} {:?}", Testnet::plan(options.clone()).unwrap()).contains("[7, 7"));
    let files = Testnet::plan(options).unwrap().files(|_| String::new());
    assert!(!format!("{files:?}").contains("priv_key\""));
}

fn options(nodes: u8) -> TestnetOptions {
    TestnetOptions {
        chain_id: ChainId::new("cairn-testnet").unwrap(),
        genesis_time: Time::parse("2026-01-01T00:00:00Z").unwrap(),
        initial_height: Height(1),
        params: Params::default(),
        nodes: (1..=nodes)
            .map(|seed| NodeKeys {
                validator: ValidatorKey { secret: key(seed).into() },
                node: NodeKey::from_seed([seed; 32]),
                operator: AccountKey::new(&format!("validator-{seed}"), key(100 + seed)).unwrap(),
            })
            .collect(),
        operator_balance: 500,
        accounts: vec![
            (AccountKey::new("alice", key(50)).unwrap(), 1000),
            (AccountKey::new("bob", key(51)).unwrap(), 10),
        ],
        senders: 3,
        sender_balance: 77,
    }
}

#[test]
fn a_testnet_is_planned_and_written() {
    let testnet = Testnet::plan(options(2)).unwrap();
    assert_eq!(testnet.genesis.validators().len(), 2);
    assert_eq!(testnet.homes().collect::<Vec<_>>(), ["node0", "node1"]);
    let accounts = &testnet.genesis.document().accounts;
    assert_eq!(accounts.len(), 7);
    let operator = &testnet.genesis.document().validators[1].operator;
    assert_eq!((accounts[3].name.as_str(), accounts[3].balance), ("validator-2", 500));
    assert_eq!(*operator, Some(accounts[3].address), "an operator is a funded account");
    let sender = sender_key(&ChainId::new("cairn-testnet").unwrap(), 2).public_key().address();
    assert_eq!((accounts[6].address, accounts[6].balance), (sender, 77));
    let files = testnet.files(|index| format!("moniker = \"node{index}\"\n"));
    let paths: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    assert_eq!(
        paths,
        [
            "node0/config/config.toml",
            "node0/config/genesis.json",
            "node0/config/node_key.json",
            "node0/config/priv_validator_key.json",
            "node0/data/priv_validator_state.json",
            "node1/config/config.toml",
            "node1/config/genesis.json",
            "node1/config/node_key.json",
            "node1/config/priv_validator_key.json",
            "node1/data/priv_validator_state.json",
            "keys/alice.json",
            "keys/bob.json",
            "keys/validator-1.json",
            "keys/validator-2.json",
        ]
    );
    let folder = folder();
    write_files(folder.path(), &files, Existing::Refuse).unwrap();
    let at = |path: &str| folder.path().join(path);
    assert_eq!(load_genesis(&at("node1/config/genesis.json")).unwrap(), testnet.genesis);
    let address = ValidatorKey::load(&at("node1/config/priv_validator_key.json")).unwrap().address();
    assert!(testnet.genesis.validators().by_address(&address).is_some());
    assert_eq!(fs::read_to_string(at("node1/config/config.toml")).unwrap(), "moniker = \"node1\"\n");
    assert_eq!(mode(&at("node0/config/node_key.json")), 0o600);
    assert_eq!(mode(&at("node0/config/genesis.json")), 0o644);
    assert_eq!(Keyring::new(at("keys")).names().unwrap(), ["alice", "bob", "validator-1", "validator-2"]);
}

#[test]
fn a_testnet_is_not_written_over() {
    let folder = folder();
    let files = Testnet::plan(options(1)).unwrap().files(|_| String::new());
    fs::create_dir_all(folder.path().join("keys")).unwrap();
    fs::write(folder.path().join("keys/bob.json"), "mine").unwrap();
    match write_files(folder.path(), &files, Existing::Refuse) {
        Err(FileError::Exists { file }) => assert_eq!(file, folder.path().join("keys/bob.json")),
        other => panic!("{other:?}"),
    }
    assert_eq!(names(folder.path()), ["keys"], "nothing was written");
    write_files(folder.path(), &files, Existing::Replace).unwrap();
    assert_eq!(Keyring::new(folder.path().join("keys")).load("bob").unwrap().address(), key(51).public_key().address());
}

#[test]
fn options_that_make_no_chain_are_refused() {
    assert!(Testnet::plan(options(0)).unwrap_err().to_string().starts_with("validators: there is none"));
    let mut twice = options(1);
    twice.accounts[1].0 = AccountKey::new("again", key(50)).unwrap();
    assert!(Testnet::plan(twice).unwrap_err().to_string().contains("leave one out"));
    let mut rich = options(1);
    rich.sender_balance = u64::MAX / 2;
    assert!(Testnet::plan(rich).unwrap_err().to_string().contains("supply exceeds"));
}

#[test]
fn new_testnets_have_new_keys() {
    let make = || {
        let chain_id = ChainId::new("new").unwrap();
        TestnetOptions::generate(chain_id, Time::UNIX_EPOCH, 4, KeyType::Ed25519)
    };
    let (one, other) = (make().unwrap(), make().unwrap());
    assert_eq!(one.nodes.len(), 4);
    assert_eq!(one.accounts.iter().map(|(key, _)| key.name.as_str()).collect::<Vec<_>>(), ["alice", "bob", "carol"]);
    assert_ne!(one.nodes[0].validator.address(), other.nodes[0].validator.address());
    assert_ne!(one.nodes[0].node, one.nodes[1].node);
    assert_eq!(one.nodes.iter().map(|keys| keys.operator.name.as_str()).next_back(), Some("validator-3"));
    assert!(Testnet::plan(one).is_ok());
    assert_eq!(PathBuf::from("keys").join("alice.json"), Keyring::new("keys").file("alice").unwrap());
}

/// The node writes what it read at a place of constant length.
#[test]
fn a_signing_state_with_more_bytes_than_are_signed_is_refused() {
    let path = std::path::Path::new("state.json");
    let state = |bytes: usize| SignState {
        height: Height(3),
        round: Round(1),
        step: 2,
        signed: Some((vec![7; bytes], Signature([1; 64]))),
    };
    let longest = signing_state::of_file(path, &signing_state::to_file(&state(512))).unwrap();
    assert_eq!(signing_state::of_file(path, &signing_state::to_record(&longest)).unwrap(), longest);
    let error = signing_state::of_file(path, &signing_state::to_file(&state(513))).unwrap_err().to_string();
    assert!(error.contains("signbytes: has 513 bytes, a validator signs at most 512"), "{error}");
}
