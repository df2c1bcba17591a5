//! Evidence of double signs, as a client sends it to a node.

use prost::Message;
use serde_json::Value;
use tendermint_proto::v0_38 as proto;
use types::{
    BlockId, ChainId, ConsensusSecretKey, DuplicateVoteEvidence, Evidence, Hash, Height, PartSetHeader, Power, Round,
    SignedVote, Time, Vote, VoteType, Wire,
};

use super::Validator;

/// Returns index, address and power of each validator of a height.
pub fn set_of(node: &Validator, height: u64) -> Vec<(u32, String, u64)> {
    let set = node.call(&format!("validators?height={height}"))["validators"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let member = |one: &Value| (text(&one["address"]), text(&one["voting_power"]).parse().unwrap());
    (0..).zip(set.iter().map(member)).map(|(index, (address, power))| (index, address, power)).collect()
}

/// Returns evidence that this key signed two blocks of a chain at a height. It is valid if the node decided the height, its set
/// has the key, and the chain is the node's.
pub fn double_sign(node: &Validator, chain: &str, key: &ConsensusSecretKey, height: u64) -> Value {
    let evidence = Evidence::DuplicateVote(double_votes(node, chain, key, height));
    serde_json::to_value(proto::types::Evidence::decode(evidence.encode().as_slice()).unwrap()).unwrap()
}

/// As [`double_sign`], in the form that peers send.
pub fn double_votes(node: &Validator, chain: &str, key: &ConsensusSecretKey, height: u64) -> DuplicateVoteEvidence {
    let known = height.min(node.height());
    let set = set_of(node, known);
    let validator = key.public_key().address();
    let found = set.iter().find(|(_, address, _)| *address == validator.to_string());
    let (validator_index, power) = found.map_or((0, 1), |(index, _, power)| (*index, *power));
    let time = node.call(&format!("block?height={known}"))["block"]["header"]["time"].as_str().unwrap().to_owned();
    let timestamp = Time::parse(&time).unwrap();
    let vote = |byte| -> SignedVote {
        let block_id =
            Some(BlockId { hash: Hash([byte; 32]), parts: PartSetHeader { total: 1, hash: Hash([byte; 32]) } });
        let (vote_type, height, round) = (VoteType::Precommit, Height(height), Round(7));
        Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }
            .sign(&ChainId::new(chain).unwrap(), key)
    };
    DuplicateVoteEvidence {
        vote_a: vote(1),
        vote_b: vote(2),
        total_power: Power(set.iter().map(|(_, _, power)| power).sum()),
        validator_power: Power(power),
        timestamp,
    }
}
