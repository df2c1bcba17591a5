//! Valid values of each type, from fixed keys: what the seeds are made of.

use std::sync::OnceLock;

use types::{
    Block, BlockId, BlockResults, Certificate, ChainId, Commit, DuplicateVoteEvidence, Event, Evidence, HardState,
    Hash, Header, Height, LightBlock, LightClientAttackEvidence, Lock, Params, PartSetHeader, Power, Proposal, Round,
    SecretKey, SignedProposal, SignedVote, Time, TxResult, ValidatorSet, ValidatorUpdate, Vote, VoteType,
};

/// Returns the secret key of a seed. Its public half is computed once: with the counters of a fuzzer that takes milliseconds.
pub fn key(seed: u8) -> SecretKey {
    static KEYS: [OnceLock<SecretKey>; 256] = [const { OnceLock::new() }; 256];
    let made = || SecretKey::from_bytes(&[seed; 32]).expect("these 32 bytes are a key");
    KEYS[usize::from(seed)].get_or_init(made).clone()
}

/// Returns the chain of all samples.
pub fn chain_id() -> ChainId {
    ChainId::new("properties").expect("it is a chain id")
}

/// Returns the time of all samples.
pub fn time() -> Time {
    Time::from_unix_millis(1_800_000_000_000)
}

/// Returns a set of four validators, with the keys 1 to 4 and powers of 10.
pub fn validators() -> ValidatorSet {
    let members = (1..=4).map(|seed| (key(seed).public_key(), Power(10))).collect();
    ValidatorSet::new(members).expect("they are a set")
}

/// Returns the id of no block that exists.
pub fn id(byte: u8) -> BlockId {
    BlockId { hash: Hash([byte; 32]), parts: PartSetHeader { total: 2, hash: Hash([byte + 1; 32]) } }
}

/// Returns the vote of the validator at an index of the set at height 3, round 1.
pub fn vote(vote_type: VoteType, index: u32, block_id: Option<BlockId>) -> SignedVote {
    vote_at(Height(3), vote_type, index, block_id)
}

/// Returns the vote of the validator at an index of the set in round 1 of a height.
pub fn vote_at(height: Height, vote_type: VoteType, index: u32, block_id: Option<BlockId>) -> SignedVote {
    let set = validators();
    let validator = set.get(index).expect("the index is in the set").address();
    let secret = (1..=4).map(key).find(|key| key.public_key().address() == validator).expect("its key is known");
    let (round, timestamp, validator_index) = (Round(1), time(), index);
    Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }.sign(&chain_id(), &secret)
}

/// Returns a proposal with or without a POL round.
pub fn proposal(pol_round: Option<Round>) -> SignedProposal {
    Proposal { height: Height(3), round: Round(1), pol_round, block_id: id(1), timestamp: time() }
        .sign(&chain_id(), &key(1))
}

/// Returns a polka of three validators.
pub fn certificate() -> Certificate {
    let votes = (0..3).map(|index| vote(VoteType::Prevote, index, Some(id(1)))).collect();
    Certificate::new(votes).expect("they are of one place, in order")
}

/// Returns a commit of a block: two signed for it, one for nil, and one is absent.
pub fn commit_of(height: Height, block_id: BlockId) -> Commit {
    let votes = [Some(block_id), None, Some(block_id)].into_iter().zip(0..);
    let votes: Vec<_> = votes.map(|(id, index)| vote_at(height, VoteType::Precommit, index, id)).collect();
    Commit::from_votes(height, Round(1), block_id, &validators(), &votes)
}

/// Returns two votes that contradict each other.
pub fn double_sign() -> Evidence {
    let (a, b) = (vote(VoteType::Prevote, 1, None), vote(VoteType::Prevote, 1, Some(id(1))));
    let evidence = DuplicateVoteEvidence::new(a, b, &validators(), time()).expect("they contradict each other");
    Evidence::DuplicateVote(evidence)
}

/// Returns an attack on light clients.
pub fn attack() -> Evidence {
    let header = Header { validators_hash: validators().hash(), ..header(5, &[], &[], None) };
    let block_id = BlockId { hash: header.hash(), ..id(1) };
    let votes: Vec<_> = (0..4).map(|index| vote_at(Height(5), VoteType::Precommit, index, Some(block_id))).collect();
    let commit = Commit::from_votes(Height(5), Round(1), block_id, &validators(), &votes);
    let conflicting = LightBlock { header, commit, validators: validators() };
    let attack = LightClientAttackEvidence::new(conflicting, Height(3), None, &validators(), time());
    Evidence::LightClientAttack(Box::new(attack.expect("it is an attack")))
}

/// Returns the header of a block with this content.
pub fn header(height: u64, txs: &[Vec<u8>], evidence: &[Evidence], last_commit: Option<&Commit>) -> Header {
    Header {
        version_app: 1,
        chain_id: chain_id(),
        height: Height(height),
        time: time(),
        last_block_id: last_commit.map(|commit| commit.block_id),
        last_commit_hash: last_commit.map_or_else(Commit::empty_hash, Commit::hash),
        data_hash: Block::data_hash(txs),
        validators_hash: validators().hash(),
        next_validators_hash: validators().hash(),
        consensus_hash: Params::default().hash(),
        app_hash: Hash([7; 32]),
        last_results_hash: Hash([8; 32]),
        evidence_hash: Block::evidence_hash(evidence),
        proposer: key(1).public_key().address(),
    }
}

/// Returns a block with these transactions, with evidence and a commit if it is not the first one.
pub fn block(height: u64, txs: Vec<Vec<u8>>) -> Block {
    let last_commit = (height > 1).then(|| commit_of(Height(height - 1), id(1)));
    let evidence = if height > 1 { vec![double_sign(), attack()] } else { Vec::new() };
    let header = header(height, &txs, &evidence, last_commit.as_ref());
    Block { header, txs, evidence, last_commit }
}

/// Returns the hard state of a validator that is locked.
pub fn hard_state() -> HardState {
    HardState {
        height: Height(3),
        round: Round(1),
        locked: Some(Lock { round: Round(1), block_id: id(1) }),
        valid: Some(Lock { round: Round(1), block_id: id(1) }),
        valid_polka: Some(certificate()),
        votes: vec![vote(VoteType::Prevote, 0, Some(id(1))), vote(VoteType::Precommit, 0, None)],
        proposals: vec![proposal(None)],
        ..HardState::default()
    }
}

/// Returns the results of a block, with everything that can be in them.
pub fn results() -> BlockResults {
    let event = Event::new("transfer", [("amount", "5", true), ("to", "\"é\"", false)]);
    let failed = TxResult { code: 7, codespace: "app".into(), log: "no".into(), gas_wanted: 2, ..TxResult::default() };
    let done =
        TxResult { data: vec![1], gas_wanted: 1, gas_used: 1, events: vec![event.clone()], ..TxResult::default() };
    let update = |seed, power| ValidatorUpdate { public_key: key(seed).public_key().into(), power: Power(power) };
    BlockResults {
        txs: vec![done, failed],
        events: vec![event],
        validator_updates: vec![update(9, 7), update(1, 0)],
        params_update: Some(Params::default()),
        app_hash: Hash([3; 32]),
    }
}
