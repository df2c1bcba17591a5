//! Files that people and other programs write: genesis, keys, the signing state, trusted validators, proofs.

use std::path::Path;

use app::ProofOp;
use data_encoding::BASE64;
use files::{AccountKey, NodeKey, ValidatorKey, signing_state};
use genesis::Genesis;
use light::{Trust, verify_file};
use serde_json::{Value, json};
use types::{
    BlockId, Commit, CommitSig, ConsensusSecretKey, Hash, Header, Height, KeyType, Round, SignState, ValidatorSet,
    VoteType,
};

use crate::{
    judge::{decoded, decoded_within, same, survives},
    samples,
    state::{HandedOver, handed_over},
};

/// Bytes that a document of JSON may hold for each of its bytes: a list of small values takes this much.
const JSON_PER_BYTE: usize = 256;

/// Decodes a document of JSON.
fn json_decoded<T, E: std::fmt::Display>(bytes: &[u8], decode: impl FnOnce(&[u8]) -> Result<T, E>) -> Option<T> {
    decoded_within(bytes, crate::judge::MEMORY_BASE + JSON_PER_BYTE * bytes.len(), decode)
}

/// Maximum bytes of a genesis document here: a longer one shows nothing more.
const GENESIS_BYTES_MAX: usize = 64 * 1024;

/// Checks a genesis document: it is the same again when it is written, its hash is that of its content, and its first state
/// has the app hash that the application computes.
pub fn genesis_document(bytes: &[u8]) -> bool {
    if bytes.len() > GENESIS_BYTES_MAX {
        return false;
    }
    let memory_max = 4 * 1024 * 1024 + JSON_PER_BYTE * bytes.len();
    let Some(genesis) = decoded_within(bytes, memory_max, Genesis::parse) else { return false };
    survives(&genesis, |genesis| genesis.to_json().into_bytes(), Genesis::parse);
    let again = Genesis::new(genesis.document().clone()).expect("a document that was read is valid");
    same(again.hash(), genesis.hash(), "the hash is that of the content");
    let first = genesis.first_state();
    same(first.state.app_hash, genesis.app_hash(), "the first state is that of the document");
    let rows: std::collections::BTreeMap<_, _> = first.state.rows().collect();
    let before = genesis.document().initial_height.prev().expect("the first height is at least 1");
    let app = app::App::open(&rows, genesis.chain_id().clone(), before);
    same(app.app_hash(), genesis.app_hash(), "the application computes the same app hash");
    assert_eq!(app::misplaced_row(&rows), None, "each row is where it belongs");
    assert_eq!(genesis.params().check(), Ok(()), "the parameters are in range");
    true
}

/// Returns the seeds of [`genesis_document`]: a golden document, and one with all that a document can have.
pub fn genesis_document_seeds() -> Vec<Vec<u8>> {
    const GOLDEN: &str = include_str!("../../../genesis/tests/golden_genesis.json");
    let golden: Value = serde_json::from_str(GOLDEN).expect("it is JSON");
    let mut small = golden.clone();
    small.as_object_mut().expect("it is an object").remove("consensus_params");
    let mut rich = golden.clone();
    let operator = golden["validators"][0]["address"].clone();
    rich["app_state"]["community_pool"] = json!("5");
    rich["app_state"]["fee_pool"] = json!("6");
    rich["app_state"]["validators"] = json!([{ "operator": operator, "moniker": "first", "own_min": "1" }]);
    [golden.to_string(), small.to_string(), rich.to_string(), GOLDEN.to_owned()].map(String::into_bytes).to_vec()
}

/// Checks a file of a key, as that of a validator, of a node and of an account: each is the same again when it is written,
/// and its public key is that of its secret key.
pub fn key_file(bytes: &[u8]) -> bool {
    let file = Path::new("key.json");
    let validator = json_decoded(bytes, |bytes| ValidatorKey::of_file(file, bytes));
    if let Some(key) = &validator {
        let again = ValidatorKey::of_file(file, &key.to_file()).expect("what was written can be read");
        same(again.secret.bytes(), key.secret.bytes(), "a key is the same again");
        same(again.address(), key.address(), "its address too");
    }
    let node = json_decoded(bytes, |bytes| NodeKey::of_file(file, bytes));
    if let Some(key) = &node {
        let again = NodeKey::of_file(file, &key.to_file()).expect("what was written can be read");
        same(again.to_bytes(), key.to_bytes(), "a key is the same again");
        same(again.id(), key.id(), "its id too");
    }
    let account = json_decoded(bytes, |bytes| AccountKey::of_file("name", file, bytes));
    if let Some(key) = &account {
        let again = AccountKey::of_file("name", file, &key.to_file()).expect("what was written can be read");
        same(again.secret.bytes(), key.secret.bytes(), "a key is the same again");
        assert!(validator.is_some(), "each key of an account could be that of a validator");
    }
    validator.is_some() || node.is_some() || account.is_some()
}

/// Returns the seeds of [`key_file`].
pub fn key_file_seeds() -> Vec<Vec<u8>> {
    let secret = |key_type| ConsensusSecretKey::from_bytes(key_type, &[7; 32]).expect("these bytes are a key");
    let mut seeds: Vec<Vec<u8>> =
        KeyType::ALL.into_iter().map(|key_type| ValidatorKey { secret: secret(key_type) }.to_file()).collect();
    seeds.push(NodeKey::from_seed([3; 32]).to_file());
    seeds.push(AccountKey::new("alice", samples::key(5)).expect("it is a name").to_file());
    seeds
}

/// Checks the file of the signing state: it is the same again in both of its forms.
pub fn signing_state_file(bytes: &[u8]) -> bool {
    let file = Path::new("state.json");
    let Some(state) = json_decoded(bytes, |bytes| signing_state::of_file(file, bytes)) else { return false };
    let read = |bytes: &[u8]| signing_state::of_file(file, bytes).map_err(|error| error.to_string());
    survives(&state, signing_state::to_file, read);
    let record = signing_state::to_record(&state);
    same(read(&record), Ok(state), "a record is the same again");
    for at in (0..record.len()).step_by(61) {
        let mut damaged = record.clone();
        damaged[at] ^= 1;
        assert!(read(&damaged).is_err(), "a damaged record is noticed: byte {at}");
    }
    true
}

/// Returns the seeds of [`signing_state_file`].
pub fn signing_state_file_seeds() -> Vec<Vec<u8>> {
    let chain_id = samples::chain_id();
    let states = [
        SignState::default(),
        SignState::sealed(Height(9)),
        SignState::of_vote(&samples::vote(VoteType::Precommit, 1, Some(samples::id(1))), &chain_id),
        SignState::of_proposal(&samples::proposal(Some(Round(0))), &chain_id),
    ];
    states.iter().flat_map(|state| [signing_state::to_file(state), signing_state::to_record(state)]).collect()
}

/// Checks a file with trusted validators: they are a set, of the chain that the file names.
pub fn trust_file(bytes: &[u8]) -> bool {
    let Some(trust) = json_decoded(bytes, Trust::from_json) else { return false };
    assert!((1..=types::limits::VALIDATORS_MAX).contains(&trust.validators.len()), "a set is bounded");
    let again =
        json!({ "chain_id": trust.chain_id.as_ref().map(|id| id.as_str()), "validators": members(&trust.validators) });
    same(Trust::from_json(again.to_string().as_bytes()), Ok(trust), "what is trusted is the same again");
    true
}

/// Returns the seeds of [`trust_file`].
pub fn trust_file_seeds() -> Vec<Vec<u8>> {
    let answer =
        json!({ "block_height": "3", "validators": members(&samples::validators()), "count": "4", "total": "4" });
    let enveloped = json!({ "jsonrpc": "2.0", "id": 1, "result": answer });
    let mut seeds = vec![answer.to_string().into_bytes(), enveloped.to_string().into_bytes()];
    seeds.extend(genesis_document_seeds().into_iter().take(2));
    seeds
}

/// Checks a proof to hand over: to a verifier with the set of the samples it says something or is refused, and it says the
/// same again; a verifier with another set believes nothing.
pub fn proof_file(bytes: &[u8]) -> bool {
    let trust = |validators| Trust { chain_id: Some(samples::chain_id()), validators };
    let verify = |bytes: &[u8]| verify_file(bytes, &trust(samples::validators()));
    let Some(statement) = json_decoded(bytes, verify) else { return false };
    same(verify(bytes), Ok(statement), "a proof says one thing");
    let stranger = ValidatorSet::new(vec![(samples::key(99).public_key(), types::Power(1))]).expect("it is a set");
    assert!(verify_file(bytes, &trust(stranger)).is_err(), "a stranger believes nothing");
    true
}

/// Returns the seeds of [`proof_file`].
pub fn proof_file_seeds() -> Vec<Vec<u8>> {
    let files: Vec<Value> = handed_over().iter().map(file_of).collect();
    let root = files.last().expect("there are proofs").clone();
    let equal = json!({ "format": "cairn proof of equal content 1", "proofs": [root, root] });
    files.into_iter().chain([equal]).map(|file| file.to_string().into_bytes()).collect()
}

fn file_of(HandedOver { ops, height, app_hash }: &HandedOver) -> Value {
    let id = |hash| BlockId { hash, ..samples::id(1) };
    let header = Header {
        app_hash: *app_hash,
        last_block_id: Some(id(Hash([1; 32]))),
        ..samples::header(height.0, &[], &[], None)
    };
    let (set, block_id) = (samples::validators(), id(header.hash()));
    let vote = |index| samples::vote_at(*height, VoteType::Precommit, index, Some(block_id));
    let commit = Commit::from_votes(*height, Round(1), block_id, &set, &[vote(0), vote(1), vote(2)]);
    let op = |op: &ProofOp| json!({ "type": app::PROOF_OP_TYPE, "key": BASE64.encode(&op.key), "data": BASE64.encode(&op.data) });
    json!({
        "format": "cairn proof 1",
        "proof_ops": ops.iter().map(op).collect::<Vec<_>>(),
        "signed_header": { "header": header_json(&header), "commit": commit_json(&commit) },
        "validators": members(&set),
    })
}

fn id_json(id: &BlockId) -> Value {
    json!({ "hash": id.hash.to_string(), "parts": { "total": id.parts.total, "hash": id.parts.hash.to_string() } })
}

fn header_json(header: &Header) -> Value {
    json!({
        "version": { "block": types::BLOCK_PROTOCOL.to_string(), "app": header.version_app.to_string() },
        "chain_id": header.chain_id.as_str(),
        "height": header.height.to_string(),
        "time": header.time.to_string(),
        "last_block_id": id_json(&header.last_block_id.expect("it is not the first block")),
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
        CommitSig::Commit { validator, timestamp, signature } | CommitSig::Nil { validator, timestamp, signature } => {
            json!({
                "block_id_flag": if matches!(entry, CommitSig::Commit { .. }) { 2 } else { 3 },
                "validator_address": validator.to_string(),
                "timestamp": timestamp.to_string(),
                "signature": BASE64.encode(&signature.0),
            })
        }
        CommitSig::Absent => json!({
            "block_id_flag": 1, "validator_address": "", "timestamp": "0001-01-01T00:00:00Z", "signature": null,
        }),
    };
    json!({
        "height": commit.height.to_string(),
        "round": commit.round.0,
        "block_id": id_json(&commit.block_id),
        "signatures": commit.signatures.iter().map(entry).collect::<Vec<_>>(),
    })
}

fn members(set: &ValidatorSet) -> Value {
    let member = |validator: &types::Validator| {
        let key = json!({
            "type": validator.public_key.key_type().public_tag(),
            "value": BASE64.encode(validator.public_key.bytes()),
        });
        json!({ "address": validator.address().to_string(), "pub_key": key, "voting_power": validator.power.to_string() })
    };
    set.iter().map(member).collect()
}

/// Checks texts that name times: what is parsed is the same again when it is written.
pub fn time_text(bytes: &[u8]) -> bool {
    let parse = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        types::Time::parse(text).map_err(|error| error.to_string())
    };
    let Some(time) = decoded(bytes, parse) else { return false };
    survives(&time, |time| time.to_string().into_bytes(), parse);
    true
}

/// Returns the seeds of [`time_text`].
pub fn time_text_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "2026-01-31T12:00:00.5Z",
        "1970-01-01T00:00:00Z",
        "2262-04-11T23:47:16.854775807Z",
        "2026-01-31T12:00:00+01:00",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}
