//! Converts our types to the JSON of CometBFT v0.38: 64-bit numbers as strings, hashes in upper-case hex, bytes in
//! base64. This file has what is stored and signed; `events` and `node` have the rest.

use data_encoding::BASE64;
use genesis::params_json;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use storage::Head;
use types::{
    BLOCK_PROTOCOL, Block, BlockId, BlockResults, Commit, CommitSig, ConsensusPublicKey, Event, Evidence, Hash, Header,
    Height, LightBlock, SignedVote, TxId, TxResult, Validator, ValidatorUpdate, merkle,
};

use crate::{
    context::{Accepted, Rejection},
    query::Tags,
};

mod events;
mod node;

pub use events::{
    new_block_event, new_block_events_event, new_block_header_event, new_evidence_event, round_event, tx_event,
    validator_set_updates_event,
};
pub use node::{consensus_state, dump_consensus_state, node_info, peer};

/// The name of evidence of two votes.
pub const DUPLICATE_VOTE: &str = "tendermint/DuplicateVoteEvidence";

/// The name of evidence of an attack on light clients.
pub const LIGHT_CLIENT_ATTACK: &str = "tendermint/LightClientAttackEvidence";

/// The time in the commit entry of an absent validator.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Encodes bytes as base64, which is used for everything except hashes.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes.as_ref())
}

/// Formats a number as a string, because it may not fit into a double.
fn text(number: impl ToString) -> String {
    number.to_string()
}

fn hash_or_empty(id: Option<BlockId>) -> String {
    id.map(|id| id.hash.to_string()).unwrap_or_default()
}

/// Converts a block id; nil is the empty id.
pub fn block_id(id: Option<BlockId>) -> Value {
    let total = id.map_or(0, |id| id.parts.total);
    let parts_hash = id.map(|id| id.parts.hash.to_string()).unwrap_or_default();
    json!({ "hash": hash_or_empty(id), "parts": { "total": total, "hash": parts_hash } })
}

/// Converts a block header.
pub fn header(header: &Header) -> Value {
    json!({
        "version": { "block": text(BLOCK_PROTOCOL), "app": text(header.version_app) },
        "chain_id": header.chain_id.as_str(),
        "height": text(header.height),
        "time": text(header.time),
        "last_block_id": block_id(header.last_block_id),
        "last_commit_hash": text(header.last_commit_hash),
        "data_hash": text(header.data_hash),
        "validators_hash": text(header.validators_hash),
        "next_validators_hash": text(header.next_validators_hash),
        "consensus_hash": text(header.consensus_hash),
        "app_hash": text(header.app_hash),
        "last_results_hash": text(header.last_results_hash),
        "evidence_hash": text(header.evidence_hash),
        "proposer_address": text(header.proposer),
    })
}

/// Converts a commit with its signatures.
pub fn commit(commit: &Commit) -> Value {
    let entry = |entry: &CommitSig| {
        let (flag, signed) = match entry {
            CommitSig::Absent => (1, None),
            CommitSig::Commit { validator, timestamp, signature } => (2, Some((validator, timestamp, signature))),
            CommitSig::Nil { validator, timestamp, signature } => (3, Some((validator, timestamp, signature))),
        };
        json!({
            "block_id_flag": flag,
            "validator_address": signed.map(|(validator, ..)| text(validator)).unwrap_or_default(),
            "timestamp": signed.map_or_else(|| ZERO_TIME.to_owned(), |(_, timestamp, _)| text(timestamp)),
            "signature": signed.map(|(.., signature)| base64(signature.0)),
        })
    };
    json!({
        "height": text(commit.height),
        "round": commit.round.0,
        "block_id": block_id(Some(commit.block_id)),
        "signatures": commit.signatures.iter().map(entry).collect::<Vec<_>>(),
    })
}

/// Converts a block with its last commit.
pub fn block(block: &Block) -> Value {
    let no_commit = || json!({ "height": "0", "round": 0, "block_id": block_id(None), "signatures": [] });
    json!({
        "header": header(&block.header),
        "data": { "txs": block.txs.iter().map(base64).collect::<Vec<_>>() },
        "evidence": { "evidence": block.evidence.iter().map(evidence).collect::<Vec<_>>() },
        "last_commit": block.last_commit.as_ref().map_or_else(no_commit, commit),
    })
}

/// Converts a block and its id, as `block` and `block_by_hash` return them.
pub fn block_with_id(id: BlockId, decided: &Block) -> Value {
    json!({ "block_id": block_id(Some(id)), "block": block(decided) })
}

/// Converts one entry of `blockchain`.
pub fn block_meta(head: &Head) -> Value {
    json!({
        "block_id": block_id(Some(head.block_id)),
        "block_size": text(head.block_bytes),
        "header": header(&head.header),
        "num_txs": text(head.txs),
    })
}

fn vote(signed: &SignedVote) -> Value {
    let vote = &signed.vote;
    json!({
        "type": vote.vote_type as i32,
        "height": text(vote.height),
        "round": vote.round.0,
        "block_id": block_id(vote.block_id),
        "timestamp": text(vote.timestamp),
        "validator_address": text(vote.validator),
        "validator_index": vote.validator_index,
        "signature": base64(signed.signature.0),
        "extension": null,
        "extension_signature": null,
    })
}

fn evidence(evidence: &Evidence) -> Value {
    match evidence {
        Evidence::DuplicateVote(pair) => json!({
            "type": DUPLICATE_VOTE,
            "value": {
                "vote_a": vote(&pair.vote_a),
                "vote_b": vote(&pair.vote_b),
                "TotalVotingPower": text(pair.total_power),
                "ValidatorPower": text(pair.validator_power),
                "Timestamp": text(pair.timestamp),
            },
        }),
        Evidence::LightClientAttack(attack) => {
            let LightBlock { header: conflicting, commit: signed, validators } = &attack.conflicting;
            json!({
                "type": LIGHT_CLIENT_ATTACK,
                "value": {
                    "ConflictingBlock": {
                        "signed_header": { "header": header(conflicting), "commit": commit(signed) },
                        "validator_set": {
                            "validators": validators.iter().map(validator).collect::<Vec<_>>(),
                            "proposer": validator(validators.proposer()),
                        },
                    },
                    "CommonHeight": text(attack.common_height),
                    "ByzantineValidators": attack.byzantine.iter().map(validator).collect::<Vec<_>>(),
                    "TotalVotingPower": text(attack.total_power),
                    "Timestamp": text(attack.timestamp),
                },
            })
        }
    }
}

/// Converts a public key with its type.
pub fn public_key(key: &ConsensusPublicKey) -> Value {
    json!({ "type": key.key_type().public_tag(), "value": base64(key.bytes()) })
}

/// Converts a validator of a set.
pub fn validator(validator: &Validator) -> Value {
    json!({
        "address": text(validator.address()),
        "pub_key": public_key(&validator.public_key),
        "voting_power": text(validator.power),
        "proposer_priority": text(validator.proposer_priority),
    })
}

fn validator_update(update: &ValidatorUpdate) -> Value {
    json!({ "pub_key": public_key(&update.public_key), "power": text(update.power) })
}

fn event(event: &Event) -> Value {
    let attributes = event.attributes.iter().map(|a| json!({ "key": a.key, "value": a.value, "index": a.index }));
    json!({ "type": event.kind, "attributes": attributes.collect::<Vec<_>>() })
}

fn events(list: &[Event]) -> Vec<Value> {
    list.iter().map(event).collect()
}

/// Returns the values that queries are compared with: those of each attribute, with the event's kind, a dot, and the
/// attribute's key as the tag.
pub fn tags_of(events: &[Event]) -> Tags {
    let mut tags = Tags::new();
    for event in events {
        for attribute in &event.attributes {
            tags.entry(format!("{}.{}", event.kind, attribute.key)).or_default().push(attribute.value.clone());
        }
    }
    tags
}

/// Returns the values of a committed transaction that queries are compared with.
pub fn tx_tags(height: Height, id: TxId, result: &TxResult) -> Tags {
    let mut tags = tags_of(&result.events);
    tags.insert("tm.event".to_owned(), vec!["Tx".to_owned()]);
    tags.insert("tx.hash".to_owned(), vec![text(id)]);
    tags.insert("tx.height".to_owned(), vec![text(height)]);
    tags
}

/// Converts the result of executing a transaction.
pub fn tx_result(result: &TxResult) -> Value {
    json!({
        "code": result.code,
        "data": (!result.data.is_empty()).then(|| base64(&result.data)),
        "log": result.log,
        "info": "",
        "gas_wanted": text(result.gas_wanted),
        "gas_used": text(result.gas_used),
        "events": events(&result.events),
        "codespace": result.codespace,
    })
}

/// The results of a block's transactions. Each is converted when it is written: as JSON values, those of a large block take many
/// times the memory of their text.
struct TxResults<'a>(&'a [TxResult]);

impl Serialize for TxResults<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(tx_result))
    }
}

/// Converts the result of checking a transaction: the rejection, or the gas that it requests.
pub fn check_tx(outcome: &Result<Accepted, Rejection>) -> Value {
    let (code, log, codespace) = match outcome {
        Ok(_) => (0, "", ""),
        Err(rejection) => (rejection.code, rejection.log.as_str(), rejection.codespace.as_str()),
    };
    json!({
        "code": code,
        "data": null,
        "log": log,
        "info": "",
        "gas_wanted": text(outcome.as_ref().map_or(0, |accepted| accepted.gas_wanted)),
        "gas_used": "0",
        "events": [],
        "codespace": codespace,
    })
}

/// Converts the results of executing a block.
pub fn block_results(height: Height, results: &BlockResults) -> impl Serialize {
    #[derive(Serialize)]
    struct Results<'a> {
        height: String,
        txs_results: TxResults<'a>,
        finalize_block_events: Vec<Value>,
        validator_updates: Vec<Value>,
        consensus_param_updates: Option<Value>,
        app_hash: String,
    }
    Results {
        height: text(height),
        txs_results: TxResults(&results.txs),
        finalize_block_events: events(&results.events),
        validator_updates: results.validator_updates.iter().map(validator_update).collect(),
        consensus_param_updates: results.params_update.as_ref().map(params_json),
        app_hash: base64(results.app_hash),
    }
}

/// Converts the proof that a transaction is in its block; its id is the leaf.
pub fn tx_proof(root: Hash, tx: &[u8], proof: &merkle::Proof) -> Value {
    json!({
        "root_hash": text(root),
        "data": base64(tx),
        "proof": {
            "total": text(proof.total),
            "index": text(proof.index),
            "leaf_hash": base64(proof.leaf_hash),
            "aunts": proof.aunts.iter().map(base64).collect::<Vec<_>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use tendermint_rpc::{Response, endpoint};
    use types::Address;

    use super::*;
    use crate::samples::committed;

    fn wrapped(result: &Value) -> String {
        json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string()
    }

    pub fn parsed<T: Response + DeserializeOwned>(result: &Value) -> T {
        T::from_string(wrapped(result)).unwrap_or_else(|error| panic!("{error}: {result:#}"))
    }

    #[test]
    fn a_block_with_evidence_is_understood_and_hashes_alike() {
        for height in [1, 7] {
            let committed = committed(height, &[b"a", b"b"]);
            let answer: endpoint::block::Response = parsed(&block_with_id(committed.block_id, &committed.block));
            assert_eq!(answer.block.header.hash().as_bytes(), committed.block_id.hash.0);
            assert_eq!(answer.block.data, [b"a", b"b"]);
            assert_eq!(answer.block.evidence.iter().count(), 1);
            assert_eq!(answer.block.last_commit.is_some(), height > 1);
        }
    }

    #[test]
    fn a_commit_with_absent_validators_is_understood() {
        let committed = committed(7, &[]);
        let last = committed.block.last_commit.as_ref().unwrap();
        let parsed: tendermint::block::Commit = serde_json::from_value(commit(last)).unwrap();
        let kinds: Vec<_> =
            parsed.signatures.iter().map(|entry| (entry.is_commit(), entry.is_nil(), entry.is_absent())).collect();
        assert_eq!(kinds, [(true, false, false), (false, true, false), (false, false, true), (false, false, true)]);
    }

    #[test]
    fn results_with_updates_are_understood() {
        let committed = committed(7, &[b"a"]);
        let results = serde_json::to_value(block_results(Height(7), &committed.results)).unwrap();
        assert_eq!(results["app_hash"], base64([3; 32]), "bytes, as in CometBFT: no hexadecimal digits");
        let answer: endpoint::block_results::Response = parsed(&results);
        assert_eq!(answer.txs_results.unwrap()[0].events[0].kind, "transfer");
        assert_eq!(answer.validator_updates[0].power.value(), 7);
        assert!(answer.consensus_param_updates.is_some());
        assert_eq!(answer.app_hash.as_bytes(), [3; 32]);
    }

    #[test]
    fn the_answer_to_a_broadcast_is_understood() {
        let rejected = Err(Rejection { code: 5, codespace: "cairn".into(), log: "E_NONCE".into() });
        let answer = json!({
            "check_tx": check_tx(&rejected),
            "tx_result": tx_result(&TxResult::default()),
            "hash": Hash([1; 32]).to_string(),
            "height": "0",
        });
        let answer: endpoint::broadcast::tx_commit::Response = parsed(&answer);
        assert_eq!((answer.check_tx.code.value(), answer.height.value()), (5, 0));
        assert_eq!(text(Address::default()).len(), 40);
    }
}
