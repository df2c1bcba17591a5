//! Our types in the shapes of CometBFT v0.38: 64-bit numbers as text, hashes in upper-case hex, bytes in base64.

use std::time::Duration;

use data_encoding::{BASE64, HEXUPPER};
use host::{Committed, Status};
use serde_json::{Value, json};
use storage::Head;
use types::{
    BLOCK_PROTOCOL, Block, BlockId, BlockResults, Commit, CommitSig, Event, Evidence, Hash, Header, Height, Params, PublicKey,
    SignedVote, TxResult, Validator, ValidatorSet, ValidatorUpdate, VoteType, merkle,
};

use super::{
    context::{Identity, PeerSeen, Rejection, Traffic},
    query::Tags,
};

/// The dialect that we speak: clients choose their parser by it.
pub const DIALECT_VERSION: &str = "0.38.0";

/// Where an absent validator's clock would stand.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Bytes, as everywhere but in hashes.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes.as_ref())
}

/// A number that may not fit into a double.
fn text(number: impl ToString) -> String {
    number.to_string()
}

fn hash_or_empty(id: Option<BlockId>) -> String {
    id.map(|id| id.hash.to_string()).unwrap_or_default()
}

/// Nil is the empty id.
pub fn block_id(id: Option<BlockId>) -> Value {
    let total = id.map_or(0, |id| id.parts.total);
    let parts_hash = id.map(|id| id.parts.hash.to_string()).unwrap_or_default();
    json!({ "hash": hash_or_empty(id), "parts": { "total": total, "hash": parts_hash } })
}

/// A header.
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

/// A commit.
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

/// A block.
pub fn block(block: &Block) -> Value {
    let no_commit = || json!({ "height": "0", "round": 0, "block_id": block_id(None), "signatures": [] });
    json!({
        "header": header(&block.header),
        "data": { "txs": block.txs.iter().map(base64).collect::<Vec<_>>() },
        "evidence": { "evidence": block.evidence.iter().map(evidence).collect::<Vec<_>>() },
        "last_commit": block.last_commit.as_ref().map_or_else(no_commit, commit),
    })
}

/// A block's id with the block, as `block` and `block_by_hash` answer.
pub fn block_with_id(id: BlockId, decided: &Block) -> Value {
    json!({ "block_id": block_id(Some(id)), "block": block(decided) })
}

/// A line of `blockchain`.
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
        "extension": "",
        "extension_signature": "",
    })
}

fn evidence(evidence: &Evidence) -> Value {
    let Evidence::DuplicateVote(pair) = evidence;
    json!({
        "type": "tendermint/DuplicateVoteEvidence",
        "value": {
            "vote_a": vote(&pair.vote_a),
            "vote_b": vote(&pair.vote_b),
            "TotalVotingPower": text(pair.total_power),
            "ValidatorPower": text(pair.validator_power),
            "Timestamp": text(pair.timestamp),
        },
    })
}

/// A public key with its type.
pub fn public_key(key: &PublicKey) -> Value {
    json!({ "type": "tendermint/PubKeySecp256k1", "value": base64(key.bytes()) })
}

/// A member of a set.
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

/// Parameters. What CometBFT does not know stands under `cairn`.
pub fn params(params: &Params) -> Value {
    let ms = |duration: Duration| text(duration.as_millis());
    let timeouts = &params.timeouts;
    json!({
        "block": { "max_bytes": text(params.block.bytes_max), "max_gas": text(params.block.gas_max) },
        "evidence": {
            "max_age_num_blocks": text(params.evidence.age_heights_max),
            "max_age_duration": text(params.evidence.age_max.as_nanos()),
            "max_bytes": text(params.evidence.bytes_max),
        },
        "validator": { "pub_key_types": ["secp256k1"] },
        "version": { "app": text(params.version_app) },
        "abci": { "vote_extensions_enable_height": "0" },
        "cairn": {
            "timeouts": {
                "propose_ms": ms(timeouts.propose),
                "propose_delta_ms": ms(timeouts.propose_delta),
                "prevote_ms": ms(timeouts.prevote),
                "prevote_delta_ms": ms(timeouts.prevote_delta),
                "precommit_ms": ms(timeouts.precommit),
                "precommit_delta_ms": ms(timeouts.precommit_delta),
            },
            "synchrony": {
                "precision_ms": ms(params.synchrony.precision),
                "message_delay_ms": ms(params.synchrony.message_delay),
            },
            "retain_blocks": text(params.retain_blocks),
            "tx_ttl_heights_max": text(params.tx_ttl_heights_max),
            "fee_min": text(params.fee_min),
        },
    })
}

fn event(event: &Event) -> Value {
    let attributes = event.attributes.iter().map(|a| json!({ "key": a.key, "value": a.value, "index": a.index }));
    json!({ "type": event.kind, "attributes": attributes.collect::<Vec<_>>() })
}

fn events(list: &[Event]) -> Vec<Value> {
    list.iter().map(event).collect()
}

/// What queries look at: the values of each attribute, under the event's name, a dot, and the attribute's.
pub fn tags_of(events: &[Event]) -> Tags {
    let mut tags = Tags::new();
    for event in events {
        for attribute in &event.attributes {
            tags.entry(format!("{}.{}", event.kind, attribute.key)).or_default().push(attribute.value.clone());
        }
    }
    tags
}

/// What executing a transaction brought about.
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

fn tx_results(results: &BlockResults) -> Vec<Value> {
    results.txs.iter().map(tx_result).collect()
}

/// What checking a transaction says: `rejection`, or the gas that it asks for.
pub fn check_tx(outcome: &Result<super::Accepted, Rejection>) -> Value {
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

/// What executing a block brought about.
pub fn block_results(height: Height, results: &BlockResults) -> Value {
    json!({
        "height": text(height),
        "txs_results": tx_results(results),
        "finalize_block_events": events(&results.events),
        "validator_updates": results.validator_updates.iter().map(validator_update).collect::<Vec<_>>(),
        "consensus_param_updates": results.params_update.as_ref().map(params),
        "app_hash": text(results.app_hash),
    })
}

/// Where a transaction stands in its block, provably: its id is the leaf.
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

/// The event of a new block.
pub fn new_block_event(committed: &Committed) -> Value {
    let results = &committed.results;
    json!({
        "type": "tendermint/event/NewBlock",
        "value": {
            "block": block(&committed.block),
            "block_id": block_id(Some(committed.block_id)),
            "result_finalize_block": {
                "events": events(&results.events),
                "tx_results": tx_results(results),
                "validator_updates": results.validator_updates.iter().map(validator_update).collect::<Vec<_>>(),
                "consensus_param_updates": results.params_update.as_ref().map(params),
                "app_hash": base64(results.app_hash),
            },
        },
    })
}

/// The event of a committed transaction.
pub fn tx_event(height: Height, index: usize, tx: &[u8], result: &TxResult) -> Value {
    json!({
        "type": "tendermint/event/Tx",
        "value": {
            "TxResult": { "height": text(height), "index": index, "tx": base64(tx), "result": tx_result(result) },
        },
    })
}

/// This node, as `status` shows it.
pub fn node_info(identity: &Identity, chain_id: &str, version_app: u64) -> Value {
    json!({
        "protocol_version": { "p2p": "1", "block": text(BLOCK_PROTOCOL), "app": text(version_app) },
        "id": identity.node_id,
        "listen_addr": identity.listen_address,
        "network": chain_id,
        "version": DIALECT_VERSION,
        "channels": "0102",
        "moniker": identity.moniker,
        "other": { "tx_index": "on", "rpc_address": identity.rpc_address, "cairn_version": env!("CARGO_PKG_VERSION") },
    })
}

/// A peer, as `net_info` shows it.
pub fn peer(peer: &PeerSeen, chain_id: &str, version_app: u64) -> Value {
    let nanos = |duration: Duration| text(duration.as_nanos());
    let seconds = peer.age.as_secs().max(1);
    let monitor = |traffic: &Traffic| {
        let rate = text(traffic.bytes / seconds);
        json!({
            "Active": true,
            "Start": text(peer.since),
            "Duration": nanos(peer.age),
            "Idle": "0",
            "Bytes": text(traffic.bytes),
            "Samples": text(traffic.messages),
            "InstRate": rate,
            "CurRate": rate,
            "AvgRate": rate,
            "PeakRate": rate,
            "BytesRem": "0",
            "TimeRem": "0",
            "Progress": 0,
        })
    };
    let channel = |(id, queued, sent): &(u8, u64, u64)| {
        json!({
            "ID": id,
            "SendQueueCapacity": "0",
            "SendQueueSize": text(queued),
            "Priority": "1",
            "RecentlySent": text(sent),
        })
    };
    let identity = Identity {
        node_id: peer.node_id.clone(),
        moniker: peer.moniker.clone(),
        listen_address: peer.listen_address.clone(),
        rpc_address: String::new(),
        validator: None,
    };
    let mut info = node_info(&identity, chain_id, version_app);
    info["other"]["cairn_version"] = json!(peer.version);
    json!({
        "node_info": info,
        "is_outbound": peer.is_outbound,
        "connection_status": {
            "Duration": nanos(peer.age),
            "SendMonitor": monitor(&peer.sent),
            "RecvMonitor": monitor(&peer.received),
            "Channels": peer.channels.iter().map(channel).collect::<Vec<_>>(),
        },
        "remote_ip": text(peer.remote_ip),
    })
}

/// Tendermint's number of a step.
fn step_number(status: &Status) -> u8 {
    match status.step {
        types::Step::Propose => 3,
        types::Step::Prevote => 4,
        types::Step::Precommit => 6,
    }
}

/// The first 6 bytes, in hex: enough for people to tell values apart.
fn fingerprint(bytes: &[u8]) -> String {
    HEXUPPER.encode(&bytes[..6])
}

fn vote_text(signed: &SignedVote) -> String {
    let vote = &signed.vote;
    let (number, name) = match vote.vote_type {
        VoteType::Prevote => (1, "Prevote"),
        VoteType::Precommit => (2, "Precommit"),
    };
    format!(
        "Vote{{{}:{} {}/{:02}/{number}({name}) {} {} @ {}}}",
        vote.validator_index,
        fingerprint(&vote.validator.0),
        vote.height,
        vote.round.0,
        fingerprint(&vote.block_id.map(|id| id.hash).unwrap_or_default().0),
        fingerprint(&signed.signature.0),
        vote.timestamp,
    )
}

fn votes_held(votes: &[SignedVote], validators: &ValidatorSet) -> (Vec<String>, String) {
    let mut texts = vec!["nil-Vote".to_owned(); validators.len()];
    let mut bits = vec!['_'; validators.len()];
    let mut power = 0;
    for signed in votes {
        let index = signed.vote.validator_index as usize;
        let Some(validator) = validators.get(signed.vote.validator_index) else { continue };
        texts[index] = vote_text(signed);
        bits[index] = 'x';
        power += validator.power.0;
    }
    let total = validators.total_power().0;
    let share = power as f64 / total as f64;
    let bits = format!("BA{{{}:{}}} {power}/{total} = {share:.2}", bits.len(), bits.iter().collect::<String>());
    (texts, bits)
}

fn height_vote_set(status: &Status) -> Vec<Value> {
    let round = |held: &host::RoundVotesHeld| {
        let (prevotes, prevotes_bits) = votes_held(&held.prevotes, &status.validators);
        let (precommits, precommits_bits) = votes_held(&held.precommits, &status.validators);
        json!({
            "round": held.round.0,
            "prevotes": prevotes,
            "prevotes_bit_array": prevotes_bits,
            "precommits": precommits,
            "precommits_bit_array": precommits_bits,
        })
    };
    status.votes.iter().map(round).collect()
}

/// Where consensus stands, in brief.
pub fn consensus_state(status: &Status) -> Value {
    let proposer = status.validators.proposer_of_round(status.round).address();
    let index = status.validators.by_address(&proposer).map_or(0, |(index, _)| index);
    json!({
        "height/round/step": format!("{}/{}/{}", status.height, status.round, step_number(status)),
        "start_time": text(status.height_started),
        "proposal_block_hash": hash_or_empty(status.proposal),
        "locked_block_hash": hash_or_empty(status.locked),
        "valid_block_hash": hash_or_empty(status.valid),
        "height_vote_set": height_vote_set(status),
        "proposer": { "address": text(proposer), "index": index },
    })
}

/// Where consensus stands, with everything that this node knows of it.
pub fn dump_consensus_state(status: &Status) -> Value {
    let members = status.validators.iter().map(validator).collect::<Vec<_>>();
    let peer = |(peer, height): &(host::Peer, Height)| {
        json!({ "node_address": text(peer), "peer_state": { "round_state": { "height": text(height) } } })
    };
    json!({
        "round_state": {
            "height": text(status.height),
            "round": status.round.0,
            "step": step_number(status),
            "start_time": text(status.height_started),
            "round_start_time": text(status.round_started),
            "validators": { "validators": members, "proposer": validator(status.validators.proposer()) },
            "proposal_block_hash": hash_or_empty(status.proposal),
            "locked_block_hash": hash_or_empty(status.locked),
            "valid_block_hash": hash_or_empty(status.valid),
            "votes": height_vote_set(status),
            "last_commit_height": text(status.tip),
            "hard_state_height": text(status.hard_state_height),
            "catching_up": status.catching_up,
        },
        "peers": status.peer_heights.iter().map(peer).collect::<Vec<_>>(),
    })
}
