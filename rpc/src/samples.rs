//! Samples for unit tests, of this crate and of the node: a committed height and a status of the replica.

use std::sync::Arc;

use replica::{CommitTiming, Committed, RoundVotesHeld, Status};
use types::{
    Attribute, Block, BlockId, BlockResults, ChainId, Commit, CommitSig, DuplicateVoteEvidence, Event, Evidence, Hash,
    Header, Height, Params, PartSetHeader, Power, Round, SecretKey, SignedVote, Step, Time, TxResult, ValidatorSet,
    ValidatorUpdate, Vote, VoteType,
};

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
    let result =
        TxResult { data: vec![1], log: "ok".into(), gas_used: 1, events: vec![event.clone()], ..TxResult::default() };
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
    let commit = Commit { height: Height(height), round: Round(0), block_id, signatures: vec![CommitSig::Absent; 4] };
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
    let held =
        RoundVotesHeld { round: Round(0), prevotes: votes(VoteType::Prevote), precommits: votes(VoteType::Precommit) };
    Status {
        height: Height(6),
        round: Round(1),
        step: Step::Precommit,
        height_started: Time::from_unix_millis(1),
        round_started: Time::from_unix_millis(2),
        validators: Arc::new(validators()),
        own: None,
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
        evidence_waiting: 0,
        duplicate_votes: 0,
        duplicate_parts: 0,
    }
}
