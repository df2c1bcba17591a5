//! The tip of the chain, the rules for the next block, and the effect of a committed block.
//!
//! The header of height h is checked as follows:
//!
//! | header field of height h | must be |
//! |---|---|
//! | `chain_id`, `height`, `last_block_id` | ours, tip + 1, the tip's |
//! | `time` | later than the tip's |
//! | `last_commit_hash`, `data_hash`, `evidence_hash` | over the block's content; the commit proves the tip; `evidence.rs` has the rules of evidence |
//! | `validators_hash`, `next_validators_hash` | of the sets of h and h + 1 |
//! | `consensus_hash`, `version_app` | of the parameters of h |
//! | `app_hash`, `last_results_hash` | after the tip |
//! | `proposer` | a validator of h |

use std::{sync::Arc, time::Duration};

use app::BlockContext;
use storage::{Kv, Store, StoreError, Tip};
use thiserror::Error;
use types::{
    Address, Block, BlockError, BlockId, BlockResults, ChainId, Commit, CommitError, Evidence, Hash, Header, Height,
    Misbehavior, Params, Round, SignedVote, Time, ValidatorSet, VerifiedTx,
    limits::{BLOCK_TXS_MAX, PART_BYTES},
};

use crate::{
    mutation::{Mutation, mutated},
    verifier::Place,
};

/// The chain's tip and the rules for the block after it.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub id: ChainId,
    pub tip: Tip,
    /// The set of tip + 1.
    pub validators: Arc<ValidatorSet>,
    /// The set of tip + 2.
    pub next_validators: Arc<ValidatorSet>,
    /// The set of the tip; `None` before the first block.
    pub last_validators: Option<Arc<ValidatorSet>>,
    /// The parameters of tip + 1.
    pub params: Params,
    /// The commit that this node saw for the tip; `None` before the first block.
    pub last_commit: Option<Commit>,
    /// The app hash in the tip's header; `None` before the first block.
    pub last_app_hash: Option<Hash>,
    /// True if the tip had no content: no transactions, and no events. It may have changed the state nevertheless, by the
    /// income of the block before or by a missed height, which is no reason to make a block.
    pub is_quiet: bool,
    /// The lowest height whose evidence has not expired, for the block after the tip.
    pub evidence_floor: Height,
}

/// Reason why a block is not a valid next block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BlockFault {
    #[error("header.{field} is {got}, expected {expected}")]
    Field { field: &'static str, got: String, expected: String },
    #[error("header.time {got} is not later than the last block's, {last}")]
    Time { got: Time, last: Time },
    #[error("header.proposer {0} is not a validator of this height")]
    Proposer(Address),
    #[error("{got} bytes, the parameters allow {max}")]
    Size { got: usize, max: u64 },
    #[error("the last commit is of round {round} of height {height} for {block_id}, not of the last block")]
    CommitOf { height: Height, round: types::Round, block_id: BlockId },
    #[error("{0}")]
    Content(#[from] BlockError),
    #[error("the last commit: {0}")]
    Commit(#[from] CommitError),
}

/// Returns true if a block had no transactions and no events.
fn is_quiet(results: &BlockResults) -> bool {
    results.txs.is_empty() && results.events.is_empty()
}

impl Chain {
    /// Loads the tip and its rules from the store.
    ///
    /// Errors: `Damaged` or `Io` when a row is missing or cannot be read.
    pub fn load<K: Kv>(store: &Store<K>, tip: Tip) -> Result<Self, StoreError> {
        let next = tip.height.next();
        let has_block = tip.block_id.is_some();
        Ok(Self {
            id: store.chain_id().clone(),
            tip,
            validators: Arc::new(store.validators(next)?),
            next_validators: Arc::new(store.validators(next.next())?),
            last_validators: has_block.then(|| store.validators(tip.height).map(Arc::new)).transpose()?,
            params: store.params(next)?,
            last_commit: has_block.then(|| store.seen_commit(tip.height)).transpose()?,
            evidence_floor: store.evidence_floor()?,
            last_app_hash: has_block.then(|| Ok::<_, StoreError>(store.header(tip.height)?.app_hash)).transpose()?,
            is_quiet: has_block && is_quiet(&store.results(tip.height)?),
        })
    }

    /// Returns the height after the tip.
    pub fn height(&self) -> Height {
        self.tip.height.next()
    }

    /// Returns height, round and validator sets for the verifier of messages.
    pub fn place(&self, round: Round) -> Place {
        Place {
            height: self.height(),
            round,
            validators: self.validators.clone(),
            next_validators: self.next_validators.clone(),
            last_validators: self.last_validators.clone(),
        }
    }

    /// Returns the maximum bytes that a block's transactions and evidence may take.
    pub fn body_bytes_max(&self) -> usize {
        let overhead = Block::overhead_bytes_max(
            self.validators.len().max(self.last_validators.as_ref().map_or(0, |set| set.len())),
        );
        (self.params.block.bytes_max as usize).saturating_sub(overhead)
    }

    /// Returns the maximum number of parts of a block of this height.
    pub fn parts_max(&self) -> u64 {
        self.params.block.bytes_max.div_ceil(PART_BYTES as u64)
    }

    /// Returns the time of the next block if it is built at the time `now`.
    pub fn time_of_next(&self, now: Time) -> Time {
        now.max(self.tip.time.saturating_add(Duration::from_nanos(1)))
    }

    /// Builds the next block. `txs` and `evidence` fit into [`Chain::body_bytes_max`]; `last_commit` is of the tip.
    pub fn build_block(
        &self,
        now: Time,
        txs: Vec<Vec<u8>>,
        evidence: Vec<Evidence>,
        last_commit: Option<Commit>,
        proposer: Address,
    ) -> Block {
        let mut header = self.expected(proposer);
        header.time = self.time_of_next(now);
        header.last_commit_hash = last_commit.as_ref().map_or_else(Commit::empty_hash, Commit::hash);
        header.data_hash = Block::data_hash(&txs);
        header.evidence_hash = Block::evidence_hash(&evidence);
        Block { header, txs, evidence, last_commit }
    }

    /// Returns the next header, as far as it does not depend on the content of the block.
    fn expected(&self, proposer: Address) -> Header {
        Header {
            version_app: self.params.version_app,
            chain_id: self.id.clone(),
            height: self.height(),
            time: self.tip.time,
            last_block_id: self.tip.block_id,
            last_commit_hash: Commit::empty_hash(),
            data_hash: Block::data_hash(&[]),
            validators_hash: self.validators.hash(),
            next_validators_hash: self.next_validators.hash(),
            consensus_hash: self.params.hash(),
            app_hash: self.tip.app_hash,
            last_results_hash: self.tip.results_hash,
            evidence_hash: Block::evidence_hash(&[]),
            proposer,
        }
    }

    /// Checks everything about a block except its transactions, its evidence and the signatures of its last commit. Returns the
    /// precommits of the last commit that are not in `known`; those in `known` were verified before.
    ///
    /// Errors: [`BlockFault`], the first fault found.
    pub fn check_block(
        &self,
        block: &Block,
        bytes: usize,
        known: Option<&Commit>,
    ) -> Result<Vec<SignedVote>, BlockFault> {
        if bytes as u64 > self.params.block.bytes_max {
            return Err(BlockFault::Size { got: bytes, max: self.params.block.bytes_max });
        }
        let header = &block.header;
        self.check_header(header)?;
        block.check_content()?;
        let Some(commit) = &block.last_commit else { return Ok(Vec::new()) };
        if (commit.height, Some(commit.block_id)) != (self.tip.height, self.tip.block_id) {
            let Commit { height, round, block_id, .. } = *commit;
            return Err(BlockFault::CommitOf { height, round, block_id });
        }
        let validators = self.last_validators.as_ref().expect("a tip with a block has validators");
        Ok(commit.unverified(validators, known)?)
    }

    /// Returns what the execution of the next block depends on, apart from the state and the transactions. `misbehavior` is
    /// what its evidence informs the application of.
    pub fn context_of(&self, block: &Block, misbehavior: Vec<Misbehavior>) -> BlockContext {
        let Header { height, time, proposer, .. } = block.header;
        let last = block.last_commit.as_ref().zip(self.last_validators.as_deref());
        let absent = last.map_or_else(Vec::new, |(commit, validators)| commit.absent(validators));
        BlockContext { height, time, proposer, misbehavior, absent }
    }

    fn check_header(&self, got: &Header) -> Result<(), BlockFault> {
        fn same<T: PartialEq>(
            rule: Option<Mutation>,
            field: &'static str,
            got: T,
            expected: T,
            text: impl Fn(&T) -> String,
        ) -> Result<(), BlockFault> {
            if got == expected || rule.is_some_and(mutated) {
                return Ok(());
            }
            Err(BlockFault::Field { field, got: text(&got), expected: text(&expected) })
        }
        let expected = self.expected(got.proposer);
        let hash = |hash: &Hash| hash.to_string();
        let id = |id: &Option<BlockId>| id.map_or_else(|| "none".into(), |id| id.to_string());
        same(Some(Mutation::HeaderVersion), "version.app", got.version_app, expected.version_app, u64::to_string)?;
        same(Some(Mutation::HeaderChain), "chain_id", &got.chain_id, &expected.chain_id, |id| id.to_string())?;
        same(None, "height", got.height, expected.height, Height::to_string)?;
        same(None, "last_block_id", got.last_block_id, expected.last_block_id, id)?;
        same(Some(Mutation::HeaderValidators), "validators_hash", got.validators_hash, expected.validators_hash, hash)?;
        same(
            Some(Mutation::HeaderNextValidators),
            "next_validators_hash",
            got.next_validators_hash,
            expected.next_validators_hash,
            hash,
        )?;
        same(Some(Mutation::HeaderParams), "consensus_hash", got.consensus_hash, expected.consensus_hash, hash)?;
        same(Some(Mutation::HeaderState), "app_hash", got.app_hash, expected.app_hash, hash)?;
        same(
            Some(Mutation::HeaderResults),
            "last_results_hash",
            got.last_results_hash,
            expected.last_results_hash,
            hash,
        )?;
        if got.time <= self.tip.time && !mutated(Mutation::HeaderTime) {
            return Err(BlockFault::Time { got: got.time, last: self.tip.time });
        }
        if self.validators.by_address(&got.proposer).is_none() && !mutated(Mutation::HeaderProposer) {
            return Err(BlockFault::Proposer(got.proposer));
        }
        Ok(())
    }

    /// Returns the set that is in force two heights after the block with these results, whose changes it contains, and
    /// the parameters of the next height.
    pub fn rules_after(&self, results: &BlockResults) -> (ValidatorSet, Params) {
        if mutated(Mutation::SameParams) {
            return (self.validators_after(results), self.params.clone());
        }
        (self.validators_after(results), results.params_update.clone().unwrap_or_else(|| self.params.clone()))
    }

    fn validators_after(&self, results: &BlockResults) -> ValidatorSet {
        let updates = if mutated(Mutation::SameSet) { &[] } else { &results.validator_updates[..] };
        let mut after = self.next_validators.update(updates).expect("the application's validator updates make a set");
        if !mutated(Mutation::NoTurn) {
            after.increment(1);
        }
        after
    }

    /// Advances the tip over a committed block.
    pub fn advance(
        &mut self,
        tip: Tip,
        (header, results): (&Header, &BlockResults),
        commit: Commit,
        after: ValidatorSet,
        params: Params,
        evidence_floor: Height,
    ) {
        let mut next = std::mem::replace(&mut self.next_validators, Arc::new(after));
        if mutated(Mutation::SetTooEarly) {
            next = self.next_validators.clone();
        }
        self.last_validators = Some(std::mem::replace(&mut self.validators, next));
        self.tip = tip;
        (self.params, self.evidence_floor) = (params, evidence_floor);
        self.last_commit = Some(commit);
        self.last_app_hash = Some(header.app_hash);
        self.is_quiet = is_quiet(results);
    }

    /// Returns the leading transactions that fit into `bytes_max` bytes of a block. The mempool counts bytes differently;
    /// here they are counted as in the block.
    pub fn fitting(txs: Vec<VerifiedTx>, bytes_max: usize) -> Vec<VerifiedTx> {
        let mut room = Some(bytes_max);
        let fits = |tx: &VerifiedTx| {
            room = room.and_then(|room| room.checked_sub(Block::tx_bytes_in_block(tx.bytes().len())));
            room.is_some()
        };
        txs.into_iter().take(BLOCK_TXS_MAX).take_while(fits).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use types::{Msg, Power, SecretKey, TxBody, TxOrder, Vote, VoteType, Wire, results_hash};

    use super::*;

    fn keys() -> Vec<SecretKey> {
        (1..=4).map(|seed| SecretKey::from_bytes(&[seed; 32]).unwrap()).collect()
    }

    fn time(ms: u64) -> Time {
        Time::from_unix_millis(ms)
    }

    fn genesis() -> Chain {
        let set = ValidatorSet::new(keys().iter().map(|key| (key.public_key(), Power(10))).collect()).unwrap();
        let mut next = set.clone();
        next.increment(1);
        let tip = Tip {
            height: Height(0),
            block_id: None,
            time: time(1000),
            app_hash: Hash([7; 32]),
            results_hash: results_hash(&[]),
        };
        Chain {
            id: ChainId::new("cairn-test").unwrap(),
            tip,
            validators: Arc::new(set),
            next_validators: Arc::new(next),
            last_validators: None,
            params: Params::default(),
            last_commit: None,
            last_app_hash: None,
            is_quiet: false,
            evidence_floor: Height(1),
        }
    }

    fn proposer(chain: &Chain) -> Address {
        chain.validators.proposer().address()
    }

    /// Returns a first block of a test chain.
    pub(crate) fn first_block() -> Block {
        let chain = genesis();
        chain.build_block(time(2000), Vec::new(), Vec::new(), None, proposer(&chain))
    }

    fn commit_of(chain: &Chain, block_id: BlockId, voters: usize) -> Commit {
        let height = chain.height();
        let votes: Vec<SignedVote> = keys()[..voters]
            .iter()
            .map(|key| {
                let validator = key.public_key().address();
                let (validator_index, _) = chain.validators.by_address(&validator).unwrap();
                let (vote_type, round, timestamp) = (VoteType::Precommit, types::Round(0), time(2000));
                Vote { vote_type, height, round, block_id: Some(block_id), timestamp, validator, validator_index }
                    .sign(&chain.id, key)
            })
            .collect();
        Commit::from_votes(height, types::Round(0), block_id, &chain.validators, &votes)
    }

    /// Returns the chain after its first block, and a valid second block.
    fn second() -> (Chain, Block) {
        let mut chain = genesis();
        let block = first_block();
        let id = block.id(&block.part_set());
        let commit = commit_of(&chain, id, 4);
        let tip = Tip { height: Height(1), block_id: Some(id), time: block.header.time, ..chain.tip };
        let after = chain.validators_after(&BlockResults::default());
        let params = chain.params.clone();
        chain.advance(tip, (&block.header, &BlockResults::default()), commit.clone(), after, params, Height(1));
        let block = chain.build_block(time(1), Vec::new(), Vec::new(), Some(commit), proposer(&chain));
        (chain, block)
    }

    fn check(chain: &Chain, block: &Block) -> Result<(), BlockFault> {
        let unverified = chain.check_block(block, block.encode().len(), None)?;
        let holds = |vote: &SignedVote| {
            chain.last_validators.as_ref().is_some_and(|validators| vote.clone().verify(&chain.id, validators).is_ok())
        };
        match unverified.iter().position(|vote| !holds(vote)) {
            None => Ok(()),
            Some(index) => Err(CommitError::Signature { index }.into()),
        }
    }

    #[test]
    fn a_built_block_is_valid() {
        assert_eq!(check(&genesis(), &first_block()), Ok(()));
        let (chain, block) = second();
        assert_eq!(check(&chain, &block), Ok(()));
        assert!(block.header.time > chain.tip.time, "a slow clock still moves the chain's time");
    }

    #[test]
    fn sets_rotate_one_turn_for_each_height() {
        let (chain, _) = second();
        let mut set = genesis().validators.as_ref().clone();
        assert_eq!(chain.last_validators.as_deref(), Some(&set));
        set.increment(1);
        assert_eq!(*chain.validators, set);
        set.increment(1);
        assert_eq!(*chain.next_validators, set);
    }

    #[test]
    fn every_wrong_header_field_is_named() {
        type Change = fn(&mut Block);
        let wrong: [(&str, Change); 13] = [
            ("version.app", |block| block.header.version_app += 1),
            ("chain_id", |block| block.header.chain_id = ChainId::new("other").unwrap()),
            ("height", |block| block.header.height = Height(3)),
            ("last_block_id", |block| block.header.last_block_id = None),
            ("validators_hash", |block| block.header.validators_hash = Hash([1; 32])),
            ("next_validators_hash", |block| block.header.next_validators_hash = Hash([1; 32])),
            ("consensus_hash", |block| block.header.consensus_hash = Hash([1; 32])),
            ("app_hash", |block| block.header.app_hash = Hash([1; 32])),
            ("last_results_hash", |block| block.header.last_results_hash = Hash([1; 32])),
            ("header.time", |block| block.header.time = Time::from_unix_millis(2000)),
            ("header.proposer", |block| block.header.proposer = Address([1; 20])),
            ("header.data_hash", |block| block.txs.push(vec![1])),
            ("header.last_commit_hash", |block| block.header.last_commit_hash = Hash([1; 32])),
        ];
        let (chain, block) = second();
        for (field, change) in wrong {
            let mut block = block.clone();
            change(&mut block);
            let fault = check(&chain, &block).unwrap_err().to_string();
            assert!(fault.contains(field), "{field}: {fault}");
        }
    }

    #[test]
    fn the_last_commit_must_prove_the_tip() {
        let (chain, block) = second();
        let with = |commit: Option<Commit>| {
            let block = chain.build_block(time(1), Vec::new(), Vec::new(), commit, block.header.proposer);
            check(&chain, &block)
        };
        let good = block.last_commit.clone().unwrap();
        assert!(matches!(with(None), Err(BlockFault::Content(BlockError::LastCommit))));
        let first = genesis();
        let id = good.block_id;
        assert!(matches!(with(Some(commit_of(&first, id, 2))), Err(BlockFault::Commit(CommitError::Power { .. }))));
        assert_eq!(with(Some(commit_of(&first, id, 3))), Ok(()));
        let other = BlockId { hash: Hash([1; 32]), ..id };
        assert!(with(Some(commit_of(&first, other, 4))).is_err());
        assert!(matches!(
            with(Some(Commit { round: types::Round(1), ..good })),
            Err(BlockFault::Commit(CommitError::Signature { .. }))
        ));
    }

    #[test]
    fn signatures_that_were_checked_are_not_checked_again() {
        let (chain, block) = second();
        let mut forged = block.last_commit.clone().unwrap();
        let types::CommitSig::Commit { signature, .. } = &mut forged.signatures[0] else { panic!("everybody signed") };
        signature.0[9] ^= 1;
        let block = chain.build_block(time(1), Vec::new(), Vec::new(), Some(forged.clone()), block.header.proposer);
        assert!(check(&chain, &block).is_err());
        assert_eq!(chain.check_block(&block, 1000, Some(&forged)), Ok(vec![]), "known ones are taken as they are");
        let mut known = forged.clone();
        known.signatures[2] = types::CommitSig::Absent;
        let unverified = chain.check_block(&block, 1000, Some(&known)).unwrap();
        assert_eq!(unverified, [forged.vote(2).unwrap()]);
    }

    #[test]
    fn a_built_block_stays_within_its_size() {
        let (mut chain, block) = second();
        let max = 100_000;
        chain.params.block.bytes_max = max as u64;
        assert!(matches!(chain.check_block(&block, max + 1, None), Err(BlockFault::Size { .. })));
        let transfer = |nonce: u64| {
            let (order, messages) =
                (TxOrder::Nonce(nonce), vec![Msg::Transfer { to: Address([9; 20]), amount: 1 }; 16]);
            let body = TxBody { chain_id: chain.id.clone(), signer: keys()[0].public_key(), order, fee: 1, messages };
            VerifiedTx::verified_before(body.sign(&keys()[0]))
        };
        let txs: Vec<VerifiedTx> = (0..200).map(transfer).collect();
        let (one, all) = (txs[0].bytes().len(), txs.len());
        let fitting = Chain::fitting(txs, chain.body_bytes_max());
        assert!(fitting.len() < all);
        let bytes = fitting.iter().map(|tx| tx.bytes().to_vec()).collect();
        let full = chain.build_block(time(1), bytes, Vec::new(), block.last_commit, block.header.proposer);
        let bytes = full.encode().len();
        let overhead = Block::overhead_bytes_max(4);
        assert!(bytes <= max && bytes + one + overhead > max, "{bytes} bytes");
    }
}
