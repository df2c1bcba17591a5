//! The blocks of a chain without consensus: the next header, and the commit of the validators that sign it.

use std::time::Duration;

use app::{BlockContext, Outcome};
use storage::{CommitBatch, Tip};
use types::{
    Address, Block, BlockId, ChainId, Commit, ConsensusSecretKey, Evidence, Header, Height, Params, Round,
    ValidatorSet, VerifiedTx, Vote, VoteType,
};

/// What the next block of a chain depends on, apart from its tip and parameters.
pub struct Blocks {
    chain_id: ChainId,
    /// Validator set of the next height.
    pub validators: ValidatorSet,
    next_validators: ValidatorSet,
    last_commit: Option<Commit>,
    /// The lowest height whose evidence has not expired after the next block.
    pub evidence_floor: Height,
}

/// A block with everything that follows from it before its execution.
pub struct Next {
    /// The block itself.
    pub block: Block,
    /// Its id.
    pub block_id: BlockId,
    /// Its bytes.
    pub block_bytes: Vec<u8>,
    /// Its commit.
    pub commit: Commit,
    /// Validator set of its height + 2.
    validators: ValidatorSet,
    evidence_floor: Height,
    /// Validators that are absent in its last commit.
    absent: Vec<Address>,
}

impl Blocks {
    /// Begins with the validator set of the first height.
    pub fn new(chain_id: ChainId, validators: ValidatorSet) -> Self {
        let next_validators = rotated(&validators);
        Self { chain_id, validators, next_validators, last_commit: None, evidence_floor: Height(1) }
    }

    /// Makes the block after `tip`, one second later, with these transactions and this evidence, and has it signed with
    /// `keys`.
    pub fn next(
        &self,
        tip: &Tip,
        params: &Params,
        txs: Vec<Vec<u8>>,
        evidence: Vec<Evidence>,
        keys: &[ConsensusSecretKey],
    ) -> Next {
        let header = Header {
            version_app: params.version_app,
            chain_id: self.chain_id.clone(),
            height: tip.height.next(),
            time: tip.time.saturating_add(Duration::from_secs(1)),
            last_block_id: tip.block_id,
            last_commit_hash: self.last_commit.as_ref().map_or_else(Commit::empty_hash, Commit::hash),
            data_hash: Block::data_hash(&txs),
            validators_hash: self.validators.hash(),
            next_validators_hash: self.next_validators.hash(),
            consensus_hash: params.hash(),
            app_hash: tip.app_hash,
            last_results_hash: tip.results_hash,
            evidence_hash: Block::evidence_hash(&evidence),
            proposer: self.validators.proposer().address(),
        };
        let (height, timestamp) = (header.height, header.time);
        // The sets of all heights have the same order.
        let absent = self.last_commit.as_ref().map_or_else(Vec::new, |commit| commit.absent(&self.validators));
        let block = Block { header, txs, evidence, last_commit: self.last_commit.clone() };
        let parts = block.part_set();
        let block_id = block.id(&parts);
        let votes = keys.iter().map(|key| {
            let validator = key.public_key().address();
            let (validator_index, _) = self.validators.by_address(&validator).unwrap();
            let (vote_type, round, block_id) = (VoteType::Precommit, Round(0), Some(block_id));
            Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }.sign(&self.chain_id, key)
        });
        let commit = Commit::from_votes(height, Round(0), block_id, &self.validators, &votes.collect::<Vec<_>>());
        let block_bytes = parts.bytes().unwrap();
        let (validators, evidence_floor) = (rotated(&self.next_validators), self.evidence_floor);
        Next { block, block_id, block_bytes, commit, validators, evidence_floor, absent }
    }

    /// Makes a block the tip. Returns the validator set of its height.
    pub fn advance(&mut self, next: &Next) -> ValidatorSet {
        self.last_commit = Some(next.commit.clone());
        let validators = std::mem::replace(&mut self.next_validators, next.validators.clone());
        std::mem::replace(&mut self.validators, validators)
    }
}

impl Next {
    /// Returns what the execution of the block depends on besides the state: its context, and its transactions.
    pub fn execution(&self) -> (BlockContext, Vec<VerifiedTx>) {
        let Header { height, time, proposer, .. } = self.block.header;
        let txs = self.block.txs.iter().map(|tx| VerifiedTx::from_bytes(tx).unwrap());
        let misbehavior = self.block.evidence.iter().flat_map(Evidence::misbehavior).collect();
        let absent = self.absent.clone();
        (BlockContext { height, time, proposer, misbehavior, absent }, txs.collect())
    }

    /// Returns what the store commits after the execution.
    pub fn batch<'a>(&'a self, outcome: &'a Outcome, params: &'a Params) -> CommitBatch<'a> {
        CommitBatch {
            block_id: self.block_id,
            block: &self.block,
            block_bytes: &self.block_bytes,
            seen_commit: &self.commit,
            results: &outcome.results,
            writes: &outcome.writes,
            replaced: &outcome.replaced,
            validators: &self.validators,
            params,
            evidence_floor: self.evidence_floor,
        }
    }
}

fn rotated(validators: &ValidatorSet) -> ValidatorSet {
    let mut next = validators.clone();
    next.increment(1);
    next
}
