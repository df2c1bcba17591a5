//! Converts our types to the JSON of CometBFT v0.38: 64-bit numbers as strings, hashes in upper-case hex, bytes in
//! base64.

use std::time::Duration;

use consensus::{RoundNote, RoundStep, What};
use data_encoding::{BASE64, HEXUPPER};
use genesis::params_json;
use replica::{Committed, Status};
use serde_json::{Value, json};
use storage::Head;
use types::{
    BLOCK_PROTOCOL, Block, BlockId, BlockResults, Commit, CommitSig, ConsensusPublicKey, Event, Evidence, Hash, Header,
    Height, SignedVote, TxId, TxResult, Validator, ValidatorSet, ValidatorUpdate, VoteType, merkle,
};

use super::{
    context::{Identity, PeerSeen, Rejection, Traffic},
    query::Tags,
};

/// The version of CometBFT's RPC that is spoken: clients choose their parser by it.
pub const DIALECT_VERSION: &str = "0.38.0";

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

fn tx_results(results: &BlockResults) -> Vec<Value> {
    results.txs.iter().map(tx_result).collect()
}

/// Converts the result of checking a transaction: the rejection, or the gas that it requests.
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

/// Converts the results of executing a block.
pub fn block_results(height: Height, results: &BlockResults) -> Value {
    json!({
        "height": text(height),
        "txs_results": tx_results(results),
        "finalize_block_events": events(&results.events),
        "validator_updates": results.validator_updates.iter().map(validator_update).collect::<Vec<_>>(),
        "consensus_param_updates": results.params_update.as_ref().map(params_json),
        "app_hash": base64(results.app_hash),
    })
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

/// Returns the event of a new block.
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
                "consensus_param_updates": results.params_update.as_ref().map(params_json),
                "app_hash": base64(results.app_hash),
            },
        },
    })
}

/// Returns the event of a new header. v0.38 sends the header alone. The number of transactions is added, as in earlier
/// versions, so that a client that watches many blocks need not read empty ones.
pub fn new_block_header_event(of: &Header, txs: usize) -> Value {
    json!({
        "type": "tendermint/event/NewBlockHeader",
        "value": { "header": header(of), "num_txs": text(txs) },
    })
}

/// Returns the event with what a block did outside of its transactions.
pub fn new_block_events_event(committed: &Committed) -> Value {
    json!({
        "type": "tendermint/event/NewBlockEvents",
        "value": {
            "height": text(committed.block.header.height),
            "events": events(&committed.results.events),
            "num_txs": text(committed.block.txs.len()),
        },
    })
}

/// Returns the event of changes of the validator set.
pub fn validator_set_updates_event(updates: &[ValidatorUpdate]) -> Value {
    let update = |update: &ValidatorUpdate| {
        json!({
            "address": text(update.public_key.address()),
            "pub_key": public_key(&update.public_key),
            "voting_power": text(update.power),
            "proposer_priority": "0",
        })
    };
    json!({
        "type": "tendermint/event/ValidatorSetUpdates",
        "value": { "validator_updates": updates.iter().map(update).collect::<Vec<_>>() },
    })
}

/// Returns the event of a double sign.
pub fn new_evidence_event(of: &Evidence) -> Value {
    json!({
        "type": "tendermint/event/NewEvidence",
        "value": { "evidence": evidence(of), "height": text(of.height()) },
    })
}

/// Returns the event of a note about a round.
pub fn round_event(note: &RoundNote) -> Value {
    let step = match (&note.what, note.step) {
        (What::NewRound { .. }, _) => "RoundStepNewRound",
        (_, RoundStep::Propose) => "RoundStepPropose",
        (_, RoundStep::Prevote) => "RoundStepPrevote",
        (_, RoundStep::PrevoteWait) => "RoundStepPrevoteWait",
        (_, RoundStep::Precommit) => "RoundStepPrecommit",
        (_, RoundStep::PrecommitWait) => "RoundStepPrecommitWait",
        (_, RoundStep::Commit) => "RoundStepCommit",
    };
    let mut value = json!({ "height": text(note.height), "round": note.round.0, "step": step });
    let kind = match &note.what {
        What::NewRound { proposer, index } => {
            value["proposer"] = json!({ "address": text(proposer), "index": index });
            "NewRound"
        }
        What::CompleteProposal(id) => {
            value["block_id"] = block_id(Some(*id));
            "CompleteProposal"
        }
        What::Vote(signed) => {
            value = json!({ "Vote": vote(signed) });
            "Vote"
        }
        _ => "RoundState",
    };
    json!({ "type": format!("tendermint/event/{kind}"), "value": value })
}

/// Returns the event of a committed transaction.
pub fn tx_event(height: Height, index: usize, tx: &[u8], result: &TxResult) -> Value {
    json!({
        "type": "tendermint/event/Tx",
        "value": {
            "TxResult": { "height": text(height), "index": index, "tx": base64(tx), "result": tx_result(result) },
        },
    })
}

/// Returns the information about this node, for `status`.
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

/// Returns the information about a peer, for `net_info`.
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

/// Returns CometBFT's number of a step.
fn step_number(status: &Status) -> u8 {
    match status.step {
        types::Step::Propose => 3,
        types::Step::Prevote => 4,
        types::Step::Precommit => 6,
    }
}

/// Returns the first 6 bytes in hex: enough for people to distinguish values.
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
    let round = |held: &replica::RoundVotesHeld| {
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

/// Returns the state of consensus, in brief.
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

/// Returns the state of consensus, with everything that this node knows of it.
pub fn dump_consensus_state(status: &Status) -> Value {
    let members = status.validators.iter().map(validator).collect::<Vec<_>>();
    let peer = |(peer, height): &(types::NodeId, Height)| json!({ "node_address": text(peer), "peer_state": { "round_state": { "height": text(height) } } });
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

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use replica::{CommitTiming, RoundVotesHeld};
    use serde::de::DeserializeOwned;
    use tendermint_rpc::{Response, endpoint};
    use types::{
        Address, Attribute, ChainId, DuplicateVoteEvidence, Params, PartSetHeader, Power, Round, SecretKey, Step, Time,
        Vote,
    };

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32]).unwrap()
    }

    fn chain_id() -> ChainId {
        ChainId::new("cairn-test").unwrap()
    }

    fn validators() -> ValidatorSet {
        ValidatorSet::new((1..=4).map(|seed| (key(seed).public_key(), Power(u64::from(seed)))).collect()).unwrap()
    }

    fn some_id(byte: u8) -> BlockId {
        BlockId { hash: Hash([byte; 32]), parts: PartSetHeader { total: 1, hash: Hash([byte; 32]) } }
    }

    fn some_vote(vote_type: VoteType, index: u32, block_id: Option<BlockId>) -> SignedVote {
        let validators = validators();
        let validator = validators.get(index).unwrap().address();
        let secret = (1..=4).map(key).find(|key| key.public_key().address() == validator).unwrap();
        let timestamp = Time::from_unix_millis(1_700_000_000_123);
        Vote { vote_type, height: Height(6), round: Round(0), block_id, timestamp, validator, validator_index: index }
            .sign(&chain_id(), &secret)
    }

    /// Returns a committed height, with a transfer's events for each transaction.
    pub fn committed(height: u64, txs: &[&[u8]]) -> Arc<Committed> {
        let validators = validators();
        let txs: Vec<Vec<u8>> = txs.iter().map(|tx| tx.to_vec()).collect();
        let votes: Vec<SignedVote> = [Some(some_id(5)), None]
            .into_iter()
            .zip(0..)
            .map(|(id, index)| some_vote(VoteType::Precommit, index, id))
            .collect();
        let last_commit = Commit::from_votes(Height(6), Round(0), some_id(5), &validators, &votes);
        let last_commit = (height > 1).then(|| Commit { height: Height(height - 1), ..last_commit });
        let (a, b) = (some_vote(VoteType::Prevote, 1, None), some_vote(VoteType::Prevote, 1, Some(some_id(9))));
        let evidence = DuplicateVoteEvidence::new(a, b, &validators, Time::from_unix_millis(5)).unwrap();
        let evidence = vec![Evidence::DuplicateVote(evidence)];
        let header = Header {
            version_app: 1,
            chain_id: chain_id(),
            height: Height(height),
            time: Time::from_unix_millis(1_700_000_000_123),
            last_block_id: last_commit.as_ref().map(|commit| commit.block_id),
            last_commit_hash: last_commit.as_ref().map_or_else(Commit::empty_hash, Commit::hash),
            data_hash: Block::data_hash(&txs),
            validators_hash: validators.hash(),
            next_validators_hash: validators.hash(),
            consensus_hash: Params::default().hash(),
            app_hash: Hash([1; 32]),
            last_results_hash: Hash([2; 32]),
            evidence_hash: Block::evidence_hash(&evidence),
            proposer: validators.proposer().address(),
        };
        let attribute = |key: &str, value: &str| Attribute { key: key.into(), value: value.into(), index: true };
        let event =
            Event { kind: "transfer".into(), attributes: vec![attribute("amount", "5"), attribute("to", "\"é\"")] };
        let result = TxResult {
            data: vec![1],
            log: "ok".into(),
            gas_used: 1,
            events: vec![event.clone()],
            ..TxResult::default()
        };
        let results = BlockResults {
            txs: vec![result; txs.len()],
            events: vec![event],
            validator_updates: vec![ValidatorUpdate { public_key: key(9).public_key().into(), power: Power(7) }],
            params_update: Some(Params::default()),
            app_hash: Hash([3; 32]),
        };
        let block = Block { header, txs, evidence, last_commit };
        let parts = block.part_set();
        let block_id = block.id(&parts);
        let commit =
            Commit { height: Height(height), round: Round(0), block_id, signatures: vec![CommitSig::Absent; 4] };
        Arc::new(Committed {
            block_bytes: parts.bytes().unwrap().len(),
            block_id,
            block,
            commit,
            results,
            validators,
            synced: false,
            timing: CommitTiming::default(),
        })
    }

    /// Returns the status of a node in the middle of a height.
    pub fn status() -> Status {
        let votes = |vote_type| vec![some_vote(vote_type, 0, Some(some_id(7))), some_vote(vote_type, 2, None)];
        let held = RoundVotesHeld {
            round: Round(0),
            prevotes: votes(VoteType::Prevote),
            precommits: votes(VoteType::Precommit),
        };
        Status {
            height: Height(6),
            round: Round(1),
            step: Step::Precommit,
            height_started: Time::from_unix_millis(1),
            round_started: Time::from_unix_millis(2),
            validators: Arc::new(validators()),
            proposal: Some(some_id(7)),
            locked: None,
            valid: Some(some_id(7)),
            votes: vec![held].into(),
            waits_until: None,
            silence: None,
            catching_up: false,
            not_kept: None,
            proven_height: Height(5),
            peer_heights: vec![(types::NodeId([4; 20]), Height(5))].into(),
            tip: Height(5),
            app_hash: Hash([1; 32]),
            hard_state_height: Height(6),
            syncs: 3,
            duplicate_votes: 0,
            duplicate_parts: 0,
        }
    }

    fn wrapped(result: &Value) -> String {
        json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string()
    }

    fn parsed<T: Response + DeserializeOwned>(result: &Value) -> T {
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
        let results = block_results(Height(7), &committed.results);
        assert_eq!(results["app_hash"], base64([3; 32]), "bytes, as in CometBFT: no hexadecimal digits");
        let answer: endpoint::block_results::Response = parsed(&results);
        assert_eq!(answer.txs_results.unwrap()[0].events[0].kind, "transfer");
        assert_eq!(answer.validator_updates[0].power.value(), 7);
        assert!(answer.consensus_param_updates.is_some());
        assert_eq!(answer.app_hash.as_bytes(), [3; 32]);
    }

    #[test]
    fn events_are_understood() {
        let committed = committed(7, &[b"a"]);
        let event =
            |data| json!({ "query": "tm.event = 'X'", "data": data, "events": tags_of(&committed.results.events) });
        let block: tendermint_rpc::event::v0_38::DeEvent = parsed(&event(new_block_event(&committed)));
        let tendermint_rpc::event::EventData::NewBlock {
            block: Some(block), result_finalize_block: Some(results), ..
        } = tendermint_rpc::event::Event::from(block).data
        else {
            panic!("another event")
        };
        assert_eq!((block.header.height.value(), results.tx_results.len()), (7, 1));
        let tx = tx_event(Height(7), 0, b"a", &committed.results.txs[0]);
        let tx: tendermint_rpc::event::v0_38::DeEvent = parsed(&event(tx));
        let tendermint_rpc::event::EventData::Tx { tx_result } = tendermint_rpc::event::Event::from(tx).data else {
            panic!("another event")
        };
        assert_eq!((tx_result.height, tx_result.index, &tx_result.tx[..]), (7, Some(0), &b"a"[..]));
    }

    #[test]
    fn the_consensus_state_is_understood() {
        let answer: endpoint::consensus_state::Response = parsed(&json!({ "round_state": consensus_state(&status()) }));
        let votes = &answer.round_state.height_vote_set[0];
        assert_eq!(votes.prevotes_bit_array, "BA{4:x_x_} 6/10 = 0.60");
        assert_eq!((votes.precommits.len(), answer.round_state.height_round_step.step), (4, 6));
        let dump = dump_consensus_state(&status());
        assert_eq!(dump["peers"][0]["node_address"], "04".repeat(20));
        assert_eq!(dump["round_state"]["validators"]["validators"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn this_node_and_its_peers_are_understood() {
        let identity = Identity {
            node_id: "ab".repeat(20),
            moniker: "one".into(),
            listen_address: "tcp://0.0.0.0:26656".into(),
            rpc_address: "tcp://127.0.0.1:26657".into(),
            validator: None,
        };
        let info: tendermint::node::Info = serde_json::from_value(node_info(&identity, "cairn-test", 1)).unwrap();
        let mode = tendermint_rpc::client::CompatMode::from_version(info.version).unwrap();
        assert_eq!(mode, tendermint_rpc::client::CompatMode::V0_38);
        let seen = PeerSeen {
            node_id: "cd".repeat(20),
            moniker: "two".into(),
            version: "0.1.0".into(),
            listen_address: String::new(),
            remote_ip: "::1".parse().unwrap(),
            is_outbound: true,
            since: Time::from_unix_millis(1),
            age: Duration::from_millis(1500),
            sent: Traffic { bytes: 7, messages: 1 },
            received: Traffic::default(),
            channels: vec![(0x22, 1, 7)],
        };
        let peers =
            json!({ "listening": true, "listeners": ["x"], "n_peers": "1", "peers": [peer(&seen, "cairn-test", 1)] });
        let answer: endpoint::net_info::Response = parsed(&peers);
        assert_eq!(answer.peers[0].connection_status.send_monitor.bytes, 7);
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
