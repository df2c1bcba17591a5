//! Proves on real processes that a node becomes a validator by a transaction, that a validator leaves by one, and that
//! the chain goes on.

mod processes;

use std::{path::Path, process::Command, time::Duration};

use data_encoding::BASE64;
use files::AccountKey;
use processes::{
    Homes, Validator, eventually,
    evidence::{double_sign, set_of},
    has_signed,
};
use serde_json::{Value, json};
use types::{
    Address, ChainId, Commission, ConsensusKey, ConsensusSecretKey, Description, KeyRotate, Msg, Params, SecretKey,
    StakeMsg, Transaction, TxBody, TxOrder, ValidatorCreate, ValidatorEdit, possession_message,
};

/// Runs the program on a home; returns the exit code and the whole output.
fn cairn(args: &[&str], home: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap_or(-1), text)
}

#[track_caller]
fn succeeds(args: &[&str], home: &Path) -> String {
    let (code, text) = cairn(args, home);
    assert_eq!(code, 0, "{args:?}: {text}");
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
fn members(node: &Validator, height: u64) -> Vec<(String, u64)> {
    set_of(node, height).into_iter().map(|(_, address, power)| (address, power)).collect()
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
    let (before, after) = (members(&nodes[0], joined + 1), members(&nodes[0], joined + 2));
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
    let (before, after) = (members(&nodes[1], left + 1), members(&nodes[1], left + 2));
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

/// Returns what the application answers about the state of a height.
fn state(node: &Validator, path: &str, data: &str, height: u64) -> Value {
    let answer = node.post("abci_query", &json!({ "path": path, "data": data, "height": height.to_string() }));
    let value = answer["result"]["response"]["value"].as_str().unwrap_or_else(|| panic!("{answer}"));
    serde_json::from_slice(&BASE64.decode(value.as_bytes()).unwrap()).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

/// Returns the height of the only transaction of an account that was paid by events of this kind, and the sum of the amounts.
fn paid(node: &Validator, kind: &str, party: &str, address: &str) -> (u64, u64) {
    let query = format!("tx_search?query=\"{kind}.{party}='{address}'\"");
    let found = node.call(&query.replace('"', "%22").replace('\'', "%27"));
    let [tx] = &found["txs"].as_array().unwrap()[..] else { panic!("{found}") };
    let events = tx["tx_result"]["events"].as_array().unwrap().iter().filter(|event| event["type"] == kind);
    let amount = |event: &Value| {
        let attributes = event["attributes"].as_array().unwrap();
        number(&attributes.iter().find(|one| one["key"] == "amount").unwrap()["value"])
    };
    (number(&tx["height"]), events.map(amount).sum())
}

/// Checks what a payment in block `height` changed: the account, by the amount and the fee, and the pools.
fn check_payment(node: &Validator, address: &str, height: u64, amount: u64, fee: u64) {
    let balance = |height| number(&state(node, "/account", address, height)["balance"]);
    assert!(amount > 0, "it is paid something");
    assert_eq!(balance(height) + fee, balance(height - 1) + amount);
    let pool = |height, name: &str| number(&state(node, "/staking/pool", "", height)[name]);
    let supply = |height| number(&state(node, "/supply", "", height)["total"]);
    let income = pool(height - 1, "fees") + supply(height) - supply(height - 1);
    assert!(supply(height) > supply(height - 1), "money is issued in each block");
    let has = |height| pool(height, "rewards") + pool(height, "community");
    assert_eq!(has(height) + amount, has(height - 1) + income);
}

#[test]
fn rewards_and_commissions_are_paid_to_the_unit() {
    let homes = Homes::with(4, Duration::from_millis(20), |options| {
        // So much that each block issues something.
        options.accounts.push((AccountKey::new("rich", key(RICH)).unwrap(), 1 << 50));
        let staking = &mut options.params.staking;
        (staking.commission_bps_min, staking.issuance_bps_per_year, staking.community_bps) = (1000, 10_000, 500);
    });
    let mut nodes = homes.start_all();
    nodes[0].wait_for_height(2);
    let (home, rpc) = (homes.home(0), nodes[0].rpc.clone());
    let run = |args: &[&str]| succeeds(&[args, &["--node", &rpc]].concat(), &home);
    let address = |name: &str| succeeds(&["keys", "show", name, "--address"], &home).trim().to_owned();
    let (bob, operator) = (address("bob"), address("validator-1"));
    run(&["stake", "delegate", "--from", "bob", "--to", "validator-1", "--amount", "20000000"]);
    run(&["tx", "send", "--from", "alice", "--to", "carol", "--amount", "1", "--fee", "1000000"]);
    let rewards = |height| state(&nodes[0], &format!("/staking/rewards/{bob}"), "", height)["rewards"].clone();
    let owed = |height| -> u64 { rewards(height).as_array().unwrap().iter().map(|one| number(&one["amount"])).sum() };
    eventually("bob has earned something", || owed(nodes[0].height()) > 0);
    assert!(rewards(nodes[0].height()).as_array().unwrap().iter().all(|one| one["validator"] == operator.as_str()));
    assert!(run(&["query", "rewards", "bob"]).lines().count() == 2);

    run(&["stake", "withdraw", "--from", "bob", "--fee", "1000"]);
    let (height, amount) = paid(&nodes[0], "staking.rewards_paid", "delegator", &bob);
    check_payment(&nodes[0], &bob, height, amount, 1000);
    assert!(owed(height - 1) <= amount, "and what the block itself distributed");
    assert_eq!(owed(height), 0, "all is paid");

    run(&["stake", "commission", "--from", "validator-1", "--fee", "1000"]);
    let (height, amount) = paid(&nodes[0], "staking.commission_paid", "validator", &operator);
    check_payment(&nodes[0], &operator, height, amount, 1000);
    let of_validator = |height| state(&nodes[0], &format!("/staking/validator/{operator}"), "", height);
    assert_eq!(number(&of_validator(height)["commission_due"]), 0);
    assert!(number(&of_validator(height - 1)["commission_due"]) <= amount);

    // Who is owed nothing is refused, and pays no more than the fee of a transaction that fails.
    let carol = address("carol");
    let balance = |address: &str| number(&state(&nodes[0], "/account", address, nodes[0].height())["balance"]);
    for (args, says) in [
        (&["stake", "withdraw"][..], "no validator owes carol anything"),
        (&["stake", "withdraw", "--of", "validator-1"], "E_NOTHING: "),
        (&["stake", "commission"], "E_NOT_VALIDATOR: "),
    ] {
        let before = balance(&carol);
        let args = [args, &["--from", "carol", "--fee", "1000", "--node", &rpc]].concat();
        let (code, text) = cairn(&args, &home);
        assert!(code == 1 && text.contains(says), "{args:?}: {code} {text}");
        assert!([before, before - 1000].contains(&balance(&carol)), "{before}");
    }
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
        Self::with(|params| {
            params.evidence.age_max = Duration::from_secs(1);
            params.staking.unbonding = Duration::from_millis(1500);
        })
    }

    fn with(change: impl FnOnce(&mut Params)) -> Self {
        let homes = Homes::with(1, Duration::from_millis(20), |options| {
            let account = |name: &str, seed| AccountKey::new(name, key(seed)).unwrap();
            options.accounts = vec![
                (account("alice", ALICE), 1 << 30),
                (account("bob", BOB), 1 << 30),
                (account("rich", RICH), 1 << 62),
            ];
            options.nodes[0].operator = account("validator-0", OPERATOR);
            let staking = &mut options.params.staking;
            (staking.power_unit, staking.own_stake_min) = (1, 5);
            change(&mut options.params);
        });
        let mut node = homes.start(0);
        node.wait_for_height(1);
        Self { _homes: homes, node, nonces: [0; 256] }
    }

    fn body(&self, from: u8, messages: Vec<StakeMsg>) -> TxBody {
        let order = TxOrder::Nonce(self.nonces[usize::from(from)]);
        let messages = messages.into_iter().map(Msg::Stake).collect();
        TxBody { chain_id: chain_id(), signer: key(from).public_key(), order, fee: 10, messages }
    }

    /// Sends a transaction of an account; returns the code and the log of its result, or of the refusal.
    fn commit(&mut self, from: u8, tx: &Transaction) -> (u64, String) {
        let (code, log, height) = self.node.commit(tx.bytes());
        self.nonces[usize::from(from)] += u64::from(height > 0);
        (code, log)
    }

    #[track_caller]
    fn ok(&mut self, from: u8, message: StakeMsg) {
        self.all_ok(from, vec![message]);
    }

    /// Sends a transaction with these messages, which succeeds.
    #[track_caller]
    fn all_ok(&mut self, from: u8, messages: Vec<StakeMsg>) {
        let tx = self.body(from, messages).sign(&key(from));
        let (code, log) = self.commit(from, &tx);
        assert_eq!(code, 0, "{log}");
    }

    /// Sends a message that must be refused, and must change no validator and no stake.
    #[track_caller]
    fn refused(&mut self, from: u8, message: StakeMsg, code: u64, name: &str) {
        self.last_refused(from, vec![message], code, name);
    }

    /// Sends a transaction whose last message must be refused; then none of its messages may change anything.
    #[track_caller]
    fn last_refused(&mut self, from: u8, messages: Vec<StakeMsg>, code: u64, name: &str) {
        let last = format!("message {}: ", messages.len() - 1);
        let tx = self.body(from, messages).sign(&key(from));
        self.tx_refused(from, &tx, code, &last, name);
    }

    #[track_caller]
    fn tx_refused(&mut self, from: u8, tx: &Transaction, code: u64, place: &str, name: &str) {
        let before = self.stake();
        let (got, log) = self.commit(from, tx);
        let sentence = log.strip_prefix(place).unwrap_or(&log);
        assert!(got == code && sentence.starts_with(&format!("{name}: ")), "{got} {log}, expected {name}");
        assert_eq!(self.stake(), before);
    }

    fn query(&self, path: &str) -> Value {
        state(&self.node, path, "", 0)
    }

    /// Returns what only messages and slashes change: of each validator, the bonded stake, and the supply.
    fn stake(&self) -> Vec<Value> {
        let validators = self.query("/staking/validators");
        let fields = ["operator", "pub_key", "moniker", "tokens", "shares", "commission_bps", "own_min", "jailed"];
        let of_messages = |one: &Value| fields.iter().map(|field| one[field].clone()).collect();
        let all = validators["validators"].as_array().unwrap().iter().map(of_messages);
        let sums = [self.query("/staking/pool")["bonded"].clone(), self.query("/supply")["total"].clone()];
        all.chain(sums).collect()
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

    let edit_with = |edit| StakeMsg::Edit(Box::new(edit));
    let redelegate = |from, to, amount| StakeMsg::Redelegate { from, to, amount };
    let cancel = |id, amount| StakeMsg::Cancel { validator: node, id, amount };

    // A possession of another operator, of another key, and on another chain.
    chain.refused(ALICE, create(validator(ALICE, BOB)), 142, "E_BAD_POSSESSION");
    let message = possession_message(&chain_id(), &address(ALICE));
    let possession = key(BOB).sign_message(&message);
    chain.refused(ALICE, create(ValidatorCreate { possession, ..validator(ALICE, ALICE) }), 142, "E_BAD_POSSESSION");
    let message = possession_message(&ChainId::new("other").unwrap(), &address(ALICE));
    let possession = key(100 + ALICE).sign_message(&message);
    chain.refused(ALICE, create(ValidatorCreate { possession, ..validator(ALICE, ALICE) }), 142, "E_BAD_POSSESSION");
    // The key of another account, and too small a fee.
    let forged = chain.body(ALICE, vec![create(validator(ALICE, ALICE))]).sign(&key(BOB));
    chain.tx_refused(ALICE, &forged, 4, "", "E_BAD_SIGNATURE");
    let free = TxBody { fee: 0, ..chain.body(ALICE, vec![create(validator(ALICE, ALICE))]) };
    chain.tx_refused(ALICE, &free.sign(&key(ALICE)), 10, "", "E_FEE");
    for amount in [0, 1] {
        chain.refused(ALICE, create(ValidatorCreate { amount, ..validator(ALICE, ALICE) }), 144, "E_TOO_LITTLE");
    }
    let commission = Commission { rate_bps: u32::MAX, max_bps: u32::MAX, rise_max_bps: u32::MAX };
    chain.refused(ALICE, create(ValidatorCreate { commission, ..validator(ALICE, ALICE) }), 143, "E_COMMISSION");
    let commission = Commission { rate_bps: 2001, max_bps: 2000, rise_max_bps: 300 };
    chain.refused(ALICE, create(ValidatorCreate { commission, ..validator(ALICE, ALICE) }), 143, "E_COMMISSION");
    let commission = Commission { rate_bps: 500, max_bps: 10_001, rise_max_bps: 300 };
    chain.refused(ALICE, create(ValidatorCreate { commission, ..validator(ALICE, ALICE) }), 143, "E_COMMISSION");
    chain.refused(ALICE, create(ValidatorCreate { own_min: 21, ..validator(ALICE, ALICE) }), 144, "E_TOO_LITTLE");
    chain.refused(ALICE, create(ValidatorCreate { own_min: 4, ..validator(ALICE, ALICE) }), 144, "E_TOO_LITTLE");
    let description = Description::default();
    chain.refused(ALICE, create(ValidatorCreate { description, ..validator(ALICE, ALICE) }), 145, "E_DESCRIPTION");
    for amount in [1 << 40, u64::MAX] {
        chain.refused(ALICE, create(ValidatorCreate { amount, ..validator(ALICE, ALICE) }), 11, "E_INSUFFICIENT_FUNDS");
    }
    chain.ok(ALICE, create(validator(ALICE, ALICE)));
    chain.refused(ALICE, create(validator(ALICE, ALICE)), 140, "E_VALIDATOR_EXISTS");
    let taken = ValidatorCreate {
        possession: key(100 + ALICE).sign_message(&possession_message(&chain_id(), &address(BOB))),
        ..validator(ALICE, BOB)
    };
    chain.refused(BOB, create(taken), 141, "E_KEY_IN_USE");
    let edit = |commission_bps| edit_with(ValidatorEdit { commission_bps, ..ValidatorEdit::default() });
    for rate in [501, 10_001, u32::MAX] {
        chain.refused(ALICE, edit(Some(rate)), 143, "E_COMMISSION");
    }
    let long = Some(Description { moniker: "x".repeat(1000), ..Description::default() });
    let description = edit_with(ValidatorEdit { description: long, ..ValidatorEdit::default() });
    chain.refused(ALICE, description, 145, "E_DESCRIPTION");
    for own_min in [0, 9, 21, u64::MAX] {
        let edit = ValidatorEdit { own_min: Some(own_min), ..ValidatorEdit::default() };
        chain.refused(ALICE, edit_with(edit), 144, "E_TOO_LITTLE");
    }
    chain.refused(BOB, edit(None), 122, "E_NOT_VALIDATOR");
    chain.refused(BOB, StakeMsg::Unjail, 122, "E_NOT_VALIDATOR");
    chain.refused(ALICE, StakeMsg::Unjail, 153, "E_NOT_JAILED");

    chain.refused(BOB, delegate(address(BOB), 1), 146, "E_UNKNOWN_VALIDATOR");
    chain.refused(BOB, delegate(node, 0), 13, "E_ZERO_AMOUNT");
    chain.refused(BOB, delegate(node, u64::MAX), 11, "E_INSUFFICIENT_FUNDS");
    chain.refused(RICH, delegate(node, 1 << 61), 156, "E_TOO_MUCH_POWER");
    chain.refused(BOB, undelegate(node, 1), 148, "E_NO_DELEGATION");
    chain.ok(BOB, delegate(node, 100));
    chain.refused(BOB, undelegate(node, 0), 13, "E_ZERO_AMOUNT");
    chain.refused(BOB, redelegate(node, alice, 0), 13, "E_ZERO_AMOUNT");
    for amount in [101, u64::MAX] {
        chain.refused(BOB, undelegate(node, amount), 148, "E_NO_DELEGATION");
        chain.refused(BOB, redelegate(node, alice, amount), 148, "E_NO_DELEGATION");
    }
    chain.refused(BOB, redelegate(address(BOB), node, 1), 148, "E_NO_DELEGATION");
    chain.refused(BOB, redelegate(node, address(BOB), 1), 146, "E_UNKNOWN_VALIDATOR");
    chain.refused(BOB, redelegate(node, node, 1), 152, "E_SAME");
    chain.last_refused(BOB, vec![redelegate(node, alice, 1); 8], 149, "E_TOO_MANY");
    chain.last_refused(BOB, vec![redelegate(node, alice, 5), redelegate(alice, node, 5)], 151, "E_TRANSITIVE");
    // Some more than there is, in two parts.
    chain.last_refused(BOB, vec![undelegate(node, 60), undelegate(node, 41)], 148, "E_NO_DELEGATION");

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

    // A validator that takes no commission earns none.
    let commission = Commission { rate_bps: 0, max_bps: 2000, rise_max_bps: 300 };
    chain.ok(BOB, create(ValidatorCreate { commission, ..validator(BOB, BOB) }));
    chain.refused(BOB, StakeMsg::WithdrawCommission, 160, "E_NOTHING");

    chain.refused(BOB, cancel(99, 1), 120, "E_UNKNOWN");
    chain.last_refused(BOB, vec![undelegate(node, 1); 8], 149, "E_TOO_MANY");
    chain.ok(BOB, undelegate(node, 1));
    eventually("the unbonding is paid", || chain.query("/staking/pool")["unbonding"] == "0");
    chain.refused(BOB, cancel(1, 1), 150, "E_MATURED");
    chain.ok(BOB, undelegate(node, 1));
}

#[test]
fn what_is_done_with_a_validator_in_jail_is_refused_and_so_is_bad_evidence() {
    let mut chain = Chain::with(|params| {
        params.evidence.age_max = Duration::from_secs(60);
        let staking = &mut params.staking;
        (staking.downtime_window, staking.downtime) = (10, Duration::from_millis(300));
        staking.jail = Duration::from_secs(3600);
        // Both slashes take all.
        (staking.slash_downtime_bps, staking.slash_duplicate_vote_bps) = (10_000, 10_000);
    });
    let (node, alice, bob) = (address(OPERATOR), address(ALICE), address(BOB));
    chain.ok(RICH, StakeMsg::Delegate { validator: node, amount: 1000 });
    // No node runs for these two validators, so both go to jail. What unbonds is not slashed for that.
    let undelegate = |validator| StakeMsg::Undelegate { validator, amount: Some(5) };
    for (seed, operator) in [(ALICE, alice), (BOB, bob)] {
        chain.all_ok(seed, vec![create(validator(seed, seed)), undelegate(operator)]);
        let path = format!("/staking/validator/{operator}");
        eventually("it is in jail", || !chain.query(&path)["jailed"].is_null());
    }
    chain.refused(ALICE, StakeMsg::Unjail, 154, "E_JAILED");
    chain.refused(RICH, StakeMsg::Delegate { validator: alice, amount: 1 }, 147, "E_NO_VALUE");
    chain.refused(RICH, StakeMsg::Redelegate { from: node, to: alice, amount: 1 }, 147, "E_NO_VALUE");
    let cancel = |validator, amount| StakeMsg::Cancel { validator, id: 1, amount };
    chain.refused(ALICE, cancel(alice, 5), 147, "E_NO_VALUE");
    for amount in [6, u64::MAX] {
        chain.refused(ALICE, cancel(alice, amount), 148, "E_NO_DELEGATION");
    }
    chain.refused(ALICE, cancel(alice, 0), 13, "E_ZERO_AMOUNT");
    chain.refused(BOB, cancel(alice, 5), 120, "E_UNKNOWN");

    // Evidence against bob, at a height whose set has its key.
    let liar: ConsensusSecretKey = key(100 + BOB).into();
    let has_liar = |height: &u64| {
        let set = set_of(&chain.node, *height);
        set.iter().any(|(_, address, _)| *address == liar.public_key().address().to_string())
    };
    let height = (1..chain.node.height()).find(has_liar).expect("it was in the set");
    let send =
        |chain: &Chain, evidence: &Value| chain.node.post("broadcast_evidence", &json!({ "evidence": evidence }));
    let good = double_sign(&chain.node, "processes", &liar, height);
    let with = |pointer: &str, value: Value| {
        let mut wrong = good.clone();
        *wrong.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}: {good}")) = value;
        wrong
    };
    let before = chain.stake();
    let stranger: ConsensusSecretKey = key(200).into();
    for (wrong, says) in [
        (with("/value/vote_a/signature", json!(BASE64.encode(&[1; 64]))), "signature"),
        (with("/value/vote_b", good["value"]["vote_a"].clone()), "do not contradict"),
        (double_sign(&chain.node, "other", &liar, height), "signature is wrong"),
        (double_sign(&chain.node, "processes", &stranger, height), "is not at index"),
        (double_sign(&chain.node, "processes", &liar, 1 << 40), "is not decided yet"),
    ] {
        let answer = send(&chain, &wrong);
        assert!(answer["error"]["data"].as_str().is_some_and(|data| data.contains(says)), "{says}: {answer}");
    }
    assert_eq!(chain.stake(), before);
    let answer = send(&chain, &good);
    assert!(answer["result"]["hash"].is_string(), "{answer}");
    let path = format!("/staking/validator/{bob}");
    eventually("it is in jail for ever", || chain.query(&path)["tombstoned"] == true);
    let before = chain.stake();
    let again = send(&chain, &good);
    assert!(again["error"]["data"].as_str().is_some_and(|data| data.contains("it is repeated")), "{again}");
    let height = chain.node.height();
    chain.node.wait_for_height(height + 2);
    assert_eq!(chain.stake(), before);
    chain.refused(BOB, StakeMsg::Unjail, 155, "E_TOMBSTONED");
    chain.refused(BOB, cancel(bob, 1), 155, "E_TOMBSTONED");
}
