//! Converts what this node knows of itself, of its peers and of the running height to JSON.

use std::time::Duration;

use data_encoding::HEXUPPER;
use replica::Status;
use serde_json::{Value, json};
use types::{BLOCK_PROTOCOL, Height, SignedVote, ValidatorSet, VoteType};

use super::{hash_or_empty, text, validator};
use crate::context::{Identity, PeerSeen, Traffic};

/// The version of CometBFT's RPC that is spoken: clients choose their parser by it.
const DIALECT_VERSION: &str = "0.38.0";

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
mod tests {
    use tendermint_rpc::endpoint;
    use types::Time;

    use super::{super::tests::parsed, *};
    use crate::samples::status;

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
}
