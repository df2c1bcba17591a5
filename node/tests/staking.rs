//! Proves on real processes that a node becomes a validator by a transaction, that a validator leaves by one, and that
//! the chain goes on.

mod processes;

use std::{path::Path, process::Command, time::Duration};

use data_encoding::{BASE64, HEXUPPER};
use files::AccountKey;
use processes::{Homes, Validator, eventually, has_signed};
use serde_json::{Value, json};
use types::{
    Address, ChainId, Commission, ConsensusKey, Description, KeyRotate, Msg, SecretKey, StakeMsg, TxBody, TxOrder,
    ValidatorCreate, ValidatorEdit, possession_message,
};

#[track_caller]
fn succeeds(args: &[&str], home: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{args:?}: {text}");
    text
}

/// Runs a command that must fail; returns its standard output and its standard error.
#[track_caller]
fn fails(args: &[&str], home: &Path) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap();
    let [said, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(!output.status.success(), "{args:?}: {said}{error}");
    (said, error)
}

/// Returns the height of the block whose transaction has an event, which is searched by this query.
fn height_of(node: &Validator, query: &str) -> u64 {
    let found = node.call(&format!("tx_search?query=\"{query}\"").replace('"', "%22").replace(' ', "%20"));
    let txs = found["txs"].as_array().unwrap();
    assert_eq!(txs.len(), 1, "{found}");
    txs[0]["height"].as_str().unwrap().parse().unwrap()
}

/// Returns address and power of each validator of a height.
fn set_of(node: &Validator, height: u64) -> Vec<(String, u64)> {
    let set = node.call(&format!("validators?height={height}"));
    let member = |one: &Value| {
        let text = |field: &str| one[field].as_str().unwrap().to_owned();
        (text("address"), text("voting_power").parse().unwrap())
    };
    set["validators"].as_array().unwrap().iter().map(member).collect()
}

#[test]
fn a_fifth_node_joins_by_a_transaction_and_a_validator_leaves_by_one() {
    let homes = Homes::new(4, Duration::from_millis(20));
    let mut nodes = homes.start_all();
    let (home, flags) = homes.follower("fifth");
    let mut fifth = Validator::start_with(&home, &flags);
    fifth.wait_for_height(3);

    let mine = fifth.call("status")["validator_info"]["address"].as_str().unwrap().to_owned();
    succeeds(&["keys", "add", "eve"], &home);
    let eve = succeeds(&["keys", "show", "eve", "--address"], &home);
    let pay = ["tx", "send", "--from", "alice", "--to", eve.trim(), "--amount", "8000000", "--node", &nodes[0].rpc];
    succeeds(&pay, &homes.home(0));
    fifth.wait_for_height(nodes[0].height());
    let create = ["stake", "create", "--from", "eve", "--amount", "7500000", "--moniker", "eve", "--node", &fifth.rpc];
    let said = succeeds(&create, &home);
    assert!(!said.contains("does not run") && !said.contains("1/3"), "{said}");
    let all: Value =
        serde_json::from_str(&succeeds(&["query", "validators", "--all", "--json", "--node", &fifth.rpc], &home))
            .unwrap();
    let created = all["validators"].as_array().unwrap().iter().find(|one| one["moniker"] == "eve").unwrap();
    assert_eq!((&created["tokens"], &created["own_min"]), (&json!("7500000"), &json!("1000000")));
    let (refusal, _) = fails(&[&create[..], &["--json"]].concat(), &home);
    let refusal: Value = serde_json::from_str(&refusal).unwrap();
    assert_eq!((&refusal["code"], &refusal["name"]), (&json!(140), &json!("E_VALIDATOR_EXISTS")));
    assert!(refusal["message"].as_str().unwrap().starts_with("E_VALIDATOR_EXISTS: "), "{refusal}");
    let joined = height_of(&fifth, "staking.validator_created.validator EXISTS");
    nodes[0].wait_for_height(joined + 2);
    let (before, after) = (set_of(&nodes[0], joined + 1), set_of(&nodes[0], joined + 2));
    assert_eq!((before.len(), after.len()), (4, 5));
    assert!(after.contains(&(mine.clone(), 7)), "half a unit of stake gives no power: {after:?}");
    let mut height = joined + 2;
    eventually("the fifth node signs", || {
        height += 1;
        nodes[0].wait_for_height(height + 1);
        has_signed(&nodes[0], &mine, height)
    });

    // It earns its part of a fee, and keeps the commission.
    let fee = ["tx", "send", "--from", "alice", "--to", eve.trim(), "--amount", "1", "--fee", "4700000"];
    succeeds(&[&fee[..], &["--node", &nodes[0].rpc]].concat(), &homes.home(0));
    let rewards = || succeeds(&["query", "rewards", "eve", "--node", &fifth.rpc], &home);
    eventually("the fee is distributed", || rewards().lines().count() == 2 && !rewards().trim().ends_with(" 0"));
    succeeds(&["stake", "withdraw", "--from", "eve", "--node", &fifth.rpc], &home);
    succeeds(&["stake", "commission", "--from", "eve", "--node", &fifth.rpc], &home);
    let paid = height_of(&fifth, "staking.rewards_paid.validator EXISTS");
    assert!(paid < height_of(&fifth, "staking.commission_paid.validator EXISTS"));

    // A validator that takes back all of its stake leaves the set.
    let leaver = nodes[3].call("status")["validator_info"]["address"].as_str().unwrap().to_owned();
    let undelegate = ["stake", "undelegate", "--from", "validator-3", "--of", "validator-3", "--all"];
    succeeds(&[&undelegate[..], &["--node", &nodes[1].rpc]].concat(), &homes.home(1));
    let left = height_of(&nodes[1], "staking.undelegated.validator EXISTS");
    nodes[1].wait_for_height(left + 10);
    let (before, after) = (set_of(&nodes[1], left + 1), set_of(&nodes[1], left + 2));
    assert_eq!((before.len(), after.len()), (5, 4));
    assert!(after.iter().all(|(address, _)| *address != leaver), "{after:?}");
    assert!(!has_signed(&nodes[1], &leaver, left + 2), "it is not in the set");

    // The former validator follows the chain, a new node verifies all of it, and all nodes have the same blocks.
    let (home, flags) = homes.follower("late");
    succeeds(&["keys", "add", "late"], &home);
    let create = ["stake", "create", "--from", "late", "--amount", "1", "--moniker", "late", "--node", &nodes[1].rpc];
    let (_, said) = fails(&create, &home);
    assert!(said.contains("late does not run") && said.contains("1 is less than 1000000, the minimum"), "{said}");
    let mut late = Validator::start_with(&home, &flags);
    nodes.iter_mut().chain([&mut fifth, &mut late]).for_each(|node| node.wait_for_height(left + 8));
    let hashes: Vec<_> = nodes.iter().chain([&fifth, &late]).map(|node| node.block_hash(left + 8)).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");

    let table = succeeds(&["query", "validators", "--all", "--node", &nodes[2].rpc], &homes.home(2));
    assert!(table.contains("eve") && table.contains("7500000"), "{table}");
    let unbonding = succeeds(&["query", "unbonding", "validator-3", "--node", &nodes[2].rpc], &homes.home(2));
    assert!(unbonding.lines().count() > 1, "{unbonding}");
    let delegate = ["stake", "delegate", "--from", "alice", "--to", eve.trim(), "--amount", "15000000"];
    let said = succeeds(&[&delegate[..], &["--node", &nodes[2].rpc]].concat(), &homes.home(2));
    assert!(said.contains("warning: the validator will have 22 of 52 of the power, which is 1/3 or more"), "{said}");
    let (_, said) = fails(&["stake", "undelegate", "--from", "alice", "--of", eve.trim()], &homes.home(2));
    assert!(said.contains("--amount <N>|--all"), "{said}");
}

const ALICE: u8 = 61;
const BOB: u8 = 62;
const OPERATOR: u8 = 63;
/// An account with more than a set may have power.
const RICH: u8 = 64;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn address(seed: u8) -> Address {
    key(seed).public_key().address()
}

fn chain_id() -> ChainId {
    ChainId::new("processes").unwrap()
}

/// A chain with one running validator, on which each unit of money gives a power of 1.
struct Chain {
    _homes: Homes,
    node: Validator,
    nonces: [u64; 256],
}

impl Chain {
    fn new() -> Self {
        let homes = Homes::with(1, Duration::from_millis(20), |options| {
            let account = |name: &str, seed| AccountKey::new(name, key(seed)).unwrap();
            options.accounts = vec![
                (account("alice", ALICE), 1 << 30),
                (account("bob", BOB), 1 << 30),
                (account("rich", RICH), 1 << 62),
            ];
            options.nodes[0].operator = account("validator-0", OPERATOR);
            options.params.evidence.age_max = Duration::from_secs(1);
            let staking = &mut options.params.staking;
            (staking.power_unit, staking.own_stake_min) = (1, 5);
            staking.unbonding = Duration::from_millis(1500);
        });
        let mut node = homes.start(0);
        node.wait_for_height(1);
        Self { _homes: homes, node, nonces: [0; 256] }
    }

    /// Sends a message; returns the code and the log of its result, or of the refusal.
    fn send(&mut self, from: u8, message: StakeMsg) -> (u64, String) {
        let order = TxOrder::Nonce(self.nonces[usize::from(from)]);
        let (signer, messages) = (key(from).public_key(), vec![Msg::Stake(message)]);
        let tx = TxBody { chain_id: chain_id(), signer, order, fee: 10, messages }.sign(&key(from));
        let (code, log, height) = self.node.commit(tx.bytes());
        self.nonces[usize::from(from)] += u64::from(height > 0);
        (code, log)
    }

    #[track_caller]
    fn ok(&mut self, from: u8, message: StakeMsg) {
        let (code, log) = self.send(from, message);
        assert_eq!(code, 0, "{log}");
    }

    /// Sends a message that must be refused, and must change no validator and no stake.
    #[track_caller]
    fn refused(&mut self, from: u8, message: StakeMsg, code: u64, name: &str) {
        let before = self.stake();
        let (got, log) = self.send(from, message);
        let sentence = log.strip_prefix("message 0: ").unwrap_or(&log);
        assert!(got == code && sentence.starts_with(&format!("{name}: ")), "{got} {log}, expected {name}");
        assert_eq!(self.stake(), before);
    }

    fn query(&self, path: &str) -> Value {
        let answer = self.node.post("abci_query", &json!({ "path": path, "data": HEXUPPER.encode(b"") }));
        let value = answer["result"]["response"]["value"].as_str().unwrap_or_else(|| panic!("{answer}"));
        serde_json::from_slice(&BASE64.decode(value.as_bytes()).unwrap()).unwrap()
    }

    /// Returns what only messages change: of each validator, and the bonded stake.
    fn stake(&self) -> Vec<Value> {
        let validators = self.query("/staking/validators");
        let fields = ["operator", "pub_key", "moniker", "tokens", "shares", "commission_bps", "own_min", "jailed"];
        let of_messages = |one: &Value| fields.iter().map(|field| one[field].clone()).collect();
        let all = validators["validators"].as_array().unwrap().iter().map(of_messages);
        all.chain([self.query("/staking/pool")["bonded"].clone()]).collect()
    }
}

/// A validator of an account, whose consensus key is that of the seed plus 100, with a possession that is signed for `of`.
fn validator(seed: u8, of: u8) -> ValidatorCreate {
    let consensus = key(100 + seed);
    ValidatorCreate {
        public_key: consensus.public_key().into(),
        possession: consensus.sign_message(&possession_message(&chain_id(), &address(of))),
        amount: 20,
        commission: Commission { rate_bps: 500, max_bps: 2000, rise_max_bps: 300 },
        own_min: 10,
        description: Description { moniker: "new".into(), ..Description::default() },
    }
}

/// Replaces the consensus key of the signer's validator by that of a seed, with a possession that is signed for `of`.
fn rotate(consensus: u8, of: u8) -> StakeMsg {
    let possession = key(consensus).sign_message(&possession_message(&chain_id(), &address(of)));
    StakeMsg::RotateKey(Box::new(KeyRotate { public_key: key(consensus).public_key().into(), possession }))
}

fn create(validator: ValidatorCreate) -> StakeMsg {
    StakeMsg::Create(Box::new(validator))
}

#[test]
fn each_refusal_of_a_message_about_stake_reaches_the_client_and_changes_nothing() {
    let mut chain = Chain::new();
    let (node, alice) = (address(OPERATOR), address(ALICE));
    // The running validator keeps more than 2/3 of the power.
    chain.ok(RICH, StakeMsg::Delegate { validator: node, amount: 1000 });
    let delegate = |validator, amount| StakeMsg::Delegate { validator, amount };
    let undelegate = |validator, amount| StakeMsg::Undelegate { validator, amount: Some(amount) };

    chain.refused(ALICE, create(validator(ALICE, BOB)), 142, "E_BAD_POSSESSION");
    let commission = Commission { rate_bps: 2001, max_bps: 2000, rise_max_bps: 300 };
    chain.refused(ALICE, create(ValidatorCreate { commission, ..validator(ALICE, ALICE) }), 143, "E_COMMISSION");
    let commission = Commission { rate_bps: 500, max_bps: 10_001, rise_max_bps: 300 };
    chain.refused(ALICE, create(ValidatorCreate { commission, ..validator(ALICE, ALICE) }), 143, "E_COMMISSION");
    chain.refused(ALICE, create(ValidatorCreate { own_min: 21, ..validator(ALICE, ALICE) }), 144, "E_TOO_LITTLE");
    chain.refused(ALICE, create(ValidatorCreate { own_min: 4, ..validator(ALICE, ALICE) }), 144, "E_TOO_LITTLE");
    let description = Description::default();
    chain.refused(ALICE, create(ValidatorCreate { description, ..validator(ALICE, ALICE) }), 145, "E_DESCRIPTION");
    let amount = 1 << 40;
    chain.refused(ALICE, create(ValidatorCreate { amount, ..validator(ALICE, ALICE) }), 11, "E_INSUFFICIENT_FUNDS");
    chain.ok(ALICE, create(validator(ALICE, ALICE)));
    chain.refused(ALICE, create(validator(ALICE, ALICE)), 140, "E_VALIDATOR_EXISTS");
    let taken = ValidatorCreate {
        possession: key(100 + ALICE).sign_message(&possession_message(&chain_id(), &address(BOB))),
        ..validator(ALICE, BOB)
    };
    chain.refused(BOB, create(taken), 141, "E_KEY_IN_USE");
    let edit = |commission_bps| StakeMsg::Edit(Box::new(ValidatorEdit { commission_bps, ..ValidatorEdit::default() }));
    chain.refused(ALICE, edit(Some(501)), 143, "E_COMMISSION");
    chain.refused(BOB, edit(None), 122, "E_NOT_VALIDATOR");
    chain.refused(BOB, StakeMsg::Unjail, 122, "E_NOT_VALIDATOR");
    chain.refused(ALICE, StakeMsg::Unjail, 153, "E_NOT_JAILED");

    chain.refused(BOB, delegate(address(BOB), 1), 146, "E_UNKNOWN_VALIDATOR");
    chain.refused(BOB, delegate(node, 0), 13, "E_ZERO_AMOUNT");
    chain.refused(BOB, delegate(node, u64::MAX), 11, "E_INSUFFICIENT_FUNDS");
    chain.refused(RICH, delegate(node, 1 << 61), 156, "E_TOO_MUCH_POWER");
    chain.refused(BOB, undelegate(node, 1), 148, "E_NO_DELEGATION");
    chain.ok(BOB, delegate(node, 100));
    chain.refused(BOB, undelegate(node, 101), 148, "E_NO_DELEGATION");
    chain.refused(BOB, StakeMsg::Redelegate { from: node, to: node, amount: 1 }, 152, "E_SAME");
    chain.ok(BOB, StakeMsg::Redelegate { from: node, to: alice, amount: 5 });
    chain.refused(BOB, StakeMsg::Redelegate { from: alice, to: node, amount: 5 }, 151, "E_TRANSITIVE");

    let withdraw = |validator| StakeMsg::WithdrawRewards { validator };
    chain.refused(BOB, withdraw(address(BOB)), 146, "E_UNKNOWN_VALIDATOR");
    chain.refused(ALICE, withdraw(node), 160, "E_NOTHING");
    chain.refused(BOB, StakeMsg::WithdrawCommission, 122, "E_NOT_VALIDATOR");
    chain.ok(RICH, withdraw(node));

    // An own stake below the minimum is jailed, and comes back when it is above it again.
    chain.ok(ALICE, undelegate(alice, 11));
    chain.refused(ALICE, StakeMsg::Unjail, 144, "E_TOO_LITTLE");
    chain.ok(ALICE, delegate(alice, 1));
    chain.ok(ALICE, StakeMsg::Unjail);

    chain.refused(BOB, rotate(150, BOB), 122, "E_NOT_VALIDATOR");
    chain.refused(ALICE, rotate(100 + ALICE, ALICE), 141, "E_KEY_IN_USE");
    chain.refused(ALICE, rotate(150, BOB), 142, "E_BAD_POSSESSION");
    chain.ok(ALICE, rotate(150, ALICE));
    chain.refused(ALICE, rotate(151, ALICE), 180, "E_ROTATED");

    chain.refused(BOB, StakeMsg::Cancel { validator: node, id: 99, amount: 1 }, 120, "E_UNKNOWN");
    for _ in 0..7 {
        chain.ok(BOB, undelegate(node, 1));
    }
    chain.refused(BOB, undelegate(node, 1), 149, "E_TOO_MANY");
    eventually("all unbondings are paid", || chain.query("/staking/pool")["unbonding"] == "0");
    chain.refused(BOB, StakeMsg::Cancel { validator: node, id: 2, amount: 1 }, 150, "E_MATURED");
    chain.ok(BOB, undelegate(node, 1));
}
