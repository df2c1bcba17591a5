//! Makes signed headers of a chain, and files that prove its state.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;

use app::{
    App, BlockContext, ProofOp, StateWay, genesis_writes,
    state::{NEVER_REVERTED, key},
    tree::rows::rows_of,
};
use data_encoding::BASE64;
use prost::Message;
use serde_json::{Value, json};
use types::{
    Address, BlockId, ChainId, Commit, CommitSig, Hash, Header, Height, KvOp, Msg, NsName, NsOwner, Params,
    PartSetHeader, Power, ProposalKind, Propose, Revert, RevertScope, Round, SecretKey, SignedVote, Time, TxBody,
    TxOrder, ValidatorSet, VerifiedTx, Vote, VoteType, Wire, pb,
};

/// The rows of a state.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn chain_id() -> ChainId {
    ChainId::new("light-test").unwrap()
}

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

pub fn address(seed: u8) -> Address {
    secret(seed).public_key().address()
}

/// Returns the set of validators with these seeds and powers.
pub fn set(members: &[(u8, u64)]) -> ValidatorSet {
    ValidatorSet::new(members.iter().map(|(seed, power)| (secret(*seed).public_key(), Power(*power))).collect())
        .unwrap()
}

/// What a validator does in a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Sign,
    SignNil,
    SignWrongly,
    Nothing,
}

pub struct Block {
    pub header: Header,
    pub commit: Commit,
    pub validators: ValidatorSet,
}

pub fn time() -> Time {
    Time::parse("2026-11-23T01:02:03.456789Z").unwrap()
}

/// Makes the block of a height with a commit in which each validator, given by its seed, does something.
pub fn block(
    height: u64,
    members: &[(u8, u64)],
    next: &[(u8, u64)],
    app_hash: Hash,
    does: impl Fn(u8) -> Does,
) -> Block {
    let validators = set(members);
    let some = |seed| Hash([seed; 32]);
    let id = |hash| BlockId { hash, parts: PartSetHeader { total: 1, hash: some(9) } };
    let header = Header {
        version_app: 1,
        chain_id: chain_id(),
        height: Height(height),
        time: time().saturating_add(std::time::Duration::from_secs(height)),
        last_block_id: Some(id(some(1))),
        last_commit_hash: some(2),
        data_hash: some(3),
        validators_hash: validators.hash(),
        next_validators_hash: set(next).hash(),
        consensus_hash: some(4),
        app_hash,
        last_results_hash: some(5),
        evidence_hash: some(6),
        proposer: validators.get(0).unwrap().address(),
    };
    let decided = id(header.hash());
    let votes = validators.iter().enumerate().filter_map(|(index, validator)| {
        let seed = members.iter().map(|(seed, _)| *seed).find(|seed| address(*seed) == validator.address()).unwrap();
        let vote = Vote {
            vote_type: VoteType::Precommit,
            height: header.height,
            round: Round(1),
            block_id: (does(seed) != Does::SignNil).then_some(decided),
            timestamp: header.time,
            validator: validator.address(),
            validator_index: index as u32,
        };
        let mut signed: SignedVote = vote.sign(&chain_id(), &secret(seed));
        if does(seed) == Does::SignWrongly {
            signed.signature.0[7] ^= 1;
        }
        (does(seed) != Does::Nothing).then_some(signed)
    });
    let commit = Commit::from_votes(header.height, Round(1), decided, &validators, &votes.collect::<Vec<_>>());
    Block { header, commit, validators }
}

pub const MEMBERS: [(u8, u64); 4] = [(1, 10), (2, 10), (3, 10), (4, 10)];

/// Returns the file that proves the state of the account of a seed: only the account of seed 1 has something. Three of
/// four validators sign.
pub fn file(seed: u8) -> Value {
    let first = genesis_writes(&Params::default(), &[], [(address(1), 100)]).unwrap();
    let rows: BTreeMap<Vec<u8>, Vec<u8>> = first.rows().collect();
    let app = App::open(&rows, chain_id(), Height(41));
    let ops = app.prove(&rows, &key::account(&address(seed))).unwrap().to_ops();
    file_of(&ops, app.app_hash(), 42)
}

/// Returns the file that proves a key of the namespace `a/b` at height 41, or its root: only the key `rules` has a value.
pub fn in_namespace(key: Option<&[u8]>) -> Value {
    match key {
        Some(key) => of_namespaces(41, &["ask first"], |app| app.way_in(0, key).unwrap()),
        None => root_of("a/b", 41, &["ask first"]),
    }
}

/// Returns the file that proves the root of a namespace at a height, after these values of the key `rules` were written.
pub fn root_of(ns: &str, height: u64, rules: &[&str]) -> Value {
    of_namespaces(height, rules, |app| app.way_to_root(&NsName::new(ns).unwrap()))
}

/// Returns the file with a proof of the state in which the namespaces `a/b` and `c` have the same content.
fn of_namespaces(height: u64, rules: &[&str], way: impl Fn(&App) -> StateWay) -> Value {
    let (app, rows) = namespaces(height, rules, &Rows::new());
    file_of(&way(&app).prove(&rows).unwrap().to_ops(), app.app_hash(), height + 1)
}

/// Returns the record of a revert of these namespaces to height 41 that was executed at a height.
pub fn record(executed: u64, scope: &[&str]) -> pb::ProposalRecord {
    use pb::{proposal_closed::Ending, proposal_record::State};
    let closed = pb::ProposalClosed {
        height: executed as i64,
        ending: Some(Ending::Executed(pb::Reverted {})),
        yes_power: 30,
        total_power: 40,
        ..pb::ProposalClosed::default()
    };
    let scope = scope.iter().map(|ns| RevertScope { ns: (*ns).into(), expect_root: None }).collect();
    let revert = Revert { target: Height(41), scope, notice: None, dirty_after: None };
    let propose = Propose { kind: ProposalKind::Revert(revert), reason: String::new(), uri: String::new() };
    pb::ProposalRecord {
        propose: Some(pb::Propose::decode(&propose.encode()[..]).unwrap()),
        proposer: address(1).0.to_vec(),
        opened_height: 50,
        voting_ends_ms: 1_795_000_000_000,
        diff_digest: vec![7; 32],
        state: Some(State::Closed(closed)),
        ..pb::ProposalRecord::default()
    }
}

/// Returns the file of revert 4 with this record, whose namespaces were restored at height 57 to their content at height 41.
pub fn restored(record: &pb::ProposalRecord, namespaces_named: &[&str]) -> Value {
    let at = |height, rules: &[&str], more: &Rows, ns: &str| {
        let (app, rows) = namespaces(height, rules, more);
        let ops = app.way_to_root(&NsName::new(ns).unwrap()).prove(&rows).unwrap().to_ops();
        let record = app.prove(&rows, &key::proposal(4)).unwrap().to_ops();
        (file_of(&ops, app.app_hash(), height + 1), file_of(&record, app.app_hash(), height + 1))
    };
    let more = rows_of(NEVER_REVERTED, [(key::proposal(4), record.encode_to_vec())]);
    let before = |ns: &str| at(41, &["ask first"], &Rows::new(), ns).0;
    let after = |ns: &str| at(57, &["ask first", "never", "ask first"], &more, ns);
    let block = |file: &Value| json!({ "signed_header": file["signed_header"], "validators": file["validators"] });
    let roots = |ns: &&str| json!({ "before": before(ns)["proof_ops"], "after": after(ns).0["proof_ops"] });
    json!({
        "format": "cairn proof of a revert 1",
        "before": block(&before("c")),
        "after": block(&after("c").0),
        "record": after("c").1["proof_ops"],
        "namespaces": namespaces_named.iter().map(roots).collect::<Vec<_>>(),
    })
}

/// Returns a state in which the namespaces `a/b` and `c` have the same content, and these rows beside.
fn namespaces(height: u64, rules: &[&str], more: &Rows) -> (App, Rows) {
    let first = genesis_writes(&Params::default(), &[], [(address(1), 20_000)]).unwrap();
    let mut rows: Rows = first.rows().collect();
    let mut app = App::open(&rows, chain_id(), Height(height - rules.len() as u64 - 1));
    let create = |ns: &str| Msg::NsCreate { ns: ns.into(), owner: NsOwner::Shared, quota_keys: 9, quota_bytes: 999 };
    let write = |value: &&str| {
        let op = KvOp { key: b"rules".to_vec(), value: Some((*value).into()), if_height: None };
        ["a/b", "c"].map(|ns| Msg::KvWrite { ns: ns.into(), data_epoch: 1, ops: vec![op.clone()] }).to_vec()
    };
    let created = ["a/b", "c"].map(create).to_vec();
    for (nonce, messages) in std::iter::once(created).chain(rules.iter().map(write)).enumerate() {
        let order = TxOrder::Nonce(nonce as u64);
        let body = TxBody { chain_id: chain_id(), signer: secret(1).public_key(), order, fee: 1000, messages };
        let tx = VerifiedTx::verified_before(body.sign(&secret(1)));
        let context = BlockContext {
            height: app.height().next(),
            time: time(),
            proposer: address(1),
            misbehavior: Vec::new(),
            absent: Vec::new(),
        };
        let outcome = app.execute(&rows, &context, [&tx]);
        assert_eq!(outcome.results.txs[0].code, 0, "{:?}", outcome.results.txs[0]);
        for (key, value) in outcome.writes.0 {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        app.commit(outcome.update);
    }
    rows.extend(more.clone());
    (App::open(&rows, chain_id(), Height(height)), rows)
}

/// Returns the file with two proofs.
pub fn equal(first: Value, second: Value) -> Value {
    json!({ "format": "cairn proof of equal content 1", "proofs": [first, second] })
}

fn file_of(ops: &[ProofOp], app_hash: Hash, height: u64) -> Value {
    let does = |seed| if seed == 4 { Does::Nothing } else { Does::Sign };
    let block = block(height, &MEMBERS, &MEMBERS, app_hash, does);
    let base64 = |bytes: &[u8]| BASE64.encode(bytes);
    let ops = ops.iter().map(|op| json!({ "type": "ics23:cairn", "key": base64(&op.key), "data": base64(&op.data) }));
    json!({
        "format": "cairn proof 1",
        "proof_ops": ops.collect::<Vec<_>>(),
        "signed_header": { "header": header_json(&block.header), "commit": commit_json(&block.commit) },
        "validators": validators_json(&block.validators),
    })
}

fn id_json(id: &BlockId) -> Value {
    json!({ "hash": id.hash.to_string(), "parts": { "total": id.parts.total, "hash": id.parts.hash.to_string() } })
}

fn header_json(header: &Header) -> Value {
    json!({
        "version": { "block": "11", "app": header.version_app.to_string() },
        "chain_id": header.chain_id.as_str(),
        "height": header.height.to_string(),
        "time": header.time.to_string(),
        "last_block_id": id_json(&header.last_block_id.unwrap()),
        "last_commit_hash": header.last_commit_hash.to_string(),
        "data_hash": header.data_hash.to_string(),
        "validators_hash": header.validators_hash.to_string(),
        "next_validators_hash": header.next_validators_hash.to_string(),
        "consensus_hash": header.consensus_hash.to_string(),
        "app_hash": header.app_hash.to_string(),
        "last_results_hash": header.last_results_hash.to_string(),
        "evidence_hash": header.evidence_hash.to_string(),
        "proposer_address": header.proposer.to_string(),
    })
}

fn commit_json(commit: &Commit) -> Value {
    let entry = |entry: &CommitSig| match entry {
        CommitSig::Absent => json!({
            "block_id_flag": 1, "validator_address": "", "timestamp": "0001-01-01T00:00:00Z", "signature": null,
        }),
        CommitSig::Commit { validator, timestamp, signature } | CommitSig::Nil { validator, timestamp, signature } => {
            json!({
                "block_id_flag": if matches!(entry, CommitSig::Commit { .. }) { 2 } else { 3 },
                "validator_address": validator.to_string(),
                "timestamp": timestamp.to_string(),
                "signature": BASE64.encode(&signature.0),
            })
        }
    };
    json!({
        "height": commit.height.to_string(),
        "round": commit.round.0,
        "block_id": id_json(&commit.block_id),
        "signatures": commit.signatures.iter().map(entry).collect::<Vec<_>>(),
    })
}

pub fn validators_json(validators: &ValidatorSet) -> Value {
    let member = |validator: &types::Validator| {
        let key = json!({
            "type": validator.public_key.key_type().public_tag(),
            "value": BASE64.encode(validator.public_key.bytes()),
        });
        json!({ "address": validator.address().to_string(), "pub_key": key, "voting_power": validator.power.to_string() })
    };
    validators.iter().map(member).collect()
}
