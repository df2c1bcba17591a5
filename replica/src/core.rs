//! Everything of a replica except the engine: it executes the effects that the engine requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use app::{BlockContext, BlockTx};
use consensus::{Engine, Input as EngineInput, Message, SignState, Timeout, driver::Effects, votes::VoteSet};
use mempool::{Mempool, TxVerifier};
use storage::{CommitBatch, Kv, Store, StoreError};
use types::{
    Address, Block, BlockId, Commit, Evidence, HardState, Height, PartSet, PeerMessage, Power, Round, Time, TxId,
    VerifiedTx, VoteType,
};

use crate::{
    CommitTiming, Committed, Config, Halt, LiveApp, Output, Phase, SigningRecord, Timer, Verifier,
    blocks::{Blocks, Entry, Verdict},
    chain::Chain,
    gossip::Peers,
    verifier::Place,
};

/// Application, store, mempool, blocks and peers of a replica.
pub(crate) struct Core<K: Kv> {
    pub config: Config,
    pub store: Arc<Store<K>>,
    pub mempool: Arc<Mempool>,
    pub txs: Arc<TxVerifier>,
    pub verifier: Verifier,
    pub chain: Chain,
    pub app: LiveApp,
    pub blocks: Blocks,
    pub peers: Peers,
    pub outputs: Vec<Output>,
    /// The steady time of this step.
    pub now: Time,
    /// The wall-clock time of this step.
    pub wall: Time,
    /// Address of our validator; `None` for a full node.
    pub own: Option<Address>,
    /// Time at which the tip was committed here, or the replica started.
    pub last_commit_at: Time,
    /// Time at which the height being decided started here.
    pub height_started: Time,
    /// Parts of the last committed block, for peers that are one height behind.
    pub last_parts: Option<PartSet>,
    /// Proposals of this height whose parts were sent. At most one for each round in which we propose.
    parts_said: BTreeSet<(Round, BlockId)>,
    /// Height and round of the last precommit for a block that is durable together with the block.
    precommitted: Option<(Height, Round)>,
    pub hard_state_height: Height,
    /// The newest position and messages that our key signed, kept also outside of the store by `record`.
    pub signed: SignState,
    pub record: Option<Box<dyn SigningRecord>>,
    pub syncs: u64,
    pub duplicate_votes: u64,
    pub duplicate_parts: u64,
    pub halted: bool,
    pub on_phase: Box<dyn FnMut(Phase) + Send>,
}

/// Components from which a core is created.
pub(crate) struct Deps<K: Kv> {
    pub config: Config,
    pub store: Arc<Store<K>>,
    pub mempool: Arc<Mempool>,
    pub txs: Arc<TxVerifier>,
    pub verifier: Verifier,
    pub chain: Chain,
    pub app: LiveApp,
    pub own: Option<Address>,
    /// The hard state that this node wrote before it stopped.
    pub hard_state: Option<HardState>,
    /// The newest known position and messages that the node's key signed.
    pub signed: SignState,
}

impl<K: Kv> Core<K> {
    pub fn new(deps: Deps<K>) -> Self {
        let Deps { config, store, mempool, txs, verifier, chain, app, own, hard_state, signed } = deps;
        let precommitted = hard_state.as_ref().and_then(|hard_state| precommits(hard_state).map(|(at, _)| at).max());
        Self {
            config,
            store,
            mempool,
            txs,
            verifier,
            chain,
            app,
            blocks: Blocks::default(),
            peers: Peers::default(),
            outputs: Vec::new(),
            now: Time::UNIX_EPOCH,
            wall: Time::UNIX_EPOCH,
            own,
            last_commit_at: Time::UNIX_EPOCH,
            height_started: Time::UNIX_EPOCH,
            last_parts: None,
            parts_said: BTreeSet::new(),
            precommitted,
            hard_state_height: hard_state.map_or(Height::GENESIS, |hard_state| hard_state.height),
            signed,
            record: None,
            syncs: 0,
            duplicate_votes: 0,
            duplicate_parts: 0,
            halted: false,
            on_phase: Box::new(|_| {}),
        }
    }

    /// Stops this node permanently; it sends and writes nothing after this call.
    pub fn halt(&mut self, why: impl Into<Halt>) {
        if !std::mem::replace(&mut self.halted, true) {
            self.outputs.push(Output::Halt(why.into()));
        }
    }

    /// Returns height, round and validator sets for the verifier of messages.
    pub fn place(chain: &Chain, round: Round) -> Place {
        Place {
            height: chain.height(),
            round,
            validators: chain.validators.clone(),
            next_validators: chain.next_validators.clone(),
            last_validators: chain.last_validators.clone(),
        }
    }

    /// Makes `signed` durable outside of the store, if it is later than the recorded state.
    pub fn keep_signed(&mut self, signed: &SignState) {
        if self.halted || signed.hrs() <= self.signed.hrs() {
            return;
        }
        self.signed = signed.clone();
        let Some(record) = &mut self.record else { return };
        record.begin(signed);
        if let Err(error) = record.finish() {
            self.halt(error);
        }
    }

    /// Returns the blocks that must not be evicted to make room for others.
    fn keep(&self, engine: &Engine) -> Vec<BlockId> {
        engine.needed_blocks().into_iter().collect()
    }

    /// Returns the blocks that are not available any more, as inputs for the engine.
    pub fn dropped(&mut self) -> impl Iterator<Item = EngineInput> + use<K> {
        self.blocks.take_dropped().into_iter().map(|block_id| EngineInput::BlockDropped { block_id })
    }

    /// Makes room for a block that an entitled source named. A block whose bytes are in the store is available
    /// immediately.
    pub fn name_block(&mut self, engine: &Engine, round: Round, id: BlockId) {
        let (height, keep) = (self.chain.height(), self.keep(engine));
        if self.blocks.get(&id).is_none() {
            match self.store.pending_block(&id) {
                Ok(Some(bytes)) => {
                    let parts = PartSet::from_bytes(&bytes);
                    if parts.header() == id.parts {
                        self.blocks.put(round, id, parts, &keep);
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => return self.halt(error),
            }
        }
        self.blocks.name(height, round, id, &keep);
    }

    /// Adds a whole block that was decided by others.
    pub fn put_block(&mut self, engine: &Engine, round: Round, id: BlockId, parts: PartSet) {
        let mut keep = self.keep(engine);
        keep.push(id);
        if !self.blocks.get(&id).is_some_and(|entry| entry.parts.is_complete()) {
            self.blocks.put(round, id, parts, &keep);
        }
    }

    /// Returns the verdict on a block as an input for the engine, once it is known.
    pub fn judge(&mut self, engine: &Engine, id: BlockId) -> Option<EngineInput> {
        let entry = self.blocks.get(&id).filter(|entry| entry.parts.is_complete())?;
        if let (Verdict::Unknown, Some(block)) = (&entry.verdict, entry.block.clone()) {
            let bytes = entry.bytes.len();
            let verdict = self.examine(engine, id, &block, bytes).unwrap_or_else(Verdict::Invalid);
            self.blocks.get_mut(&id).expect("it was there").verdict = verdict;
        }
        let entry = self.blocks.get_mut(&id).expect("it was there");
        entry.judged = true;
        let time = entry.block.as_ref().map_or(Time::UNIX_EPOCH, |block| block.header.time);
        match entry.verdict {
            Verdict::Unknown | Verdict::AwaitingTxs(_) => None,
            Verdict::Valid(_) => Some(EngineInput::BlockChecked { block_id: id, time, valid: true }),
            Verdict::Invalid(_) => Some(EngineInput::BlockChecked { block_id: id, time, valid: false }),
        }
    }

    /// Checks all of a block except the signatures that were not checked here before; these are sent out for
    /// verification.
    fn examine(&mut self, engine: &Engine, id: BlockId, block: &Block, bytes: usize) -> Result<Verdict, String> {
        (self.on_phase)(Phase::Check);
        let verdict = self.examine_timed(engine, id, block, bytes);
        (self.on_phase)(Phase::Rest);
        verdict
    }

    fn examine_timed(&mut self, engine: &Engine, id: BlockId, block: &Block, bytes: usize) -> Result<Verdict, String> {
        let known = engine.last_commit();
        let known = known.as_ref().or(self.chain.last_commit.as_ref());
        let mut precommits = self.chain.check_block(block, bytes, known).map_err(|fault| fault.to_string())?;
        precommits.retain(|vote| !self.verifier.knows(vote));
        let txs = app::decode_block_txs(&self.chain.id, &self.chain.params, &block.txs, |bytes| self.known_tx(bytes))
            .map_err(|fault| fault.to_string())?;
        let unverified = |tx: &BlockTx| match tx {
            BlockTx::Known(_) => None,
            BlockTx::Unverified(tx) => Some(tx.clone()),
        };
        let unverified: Vec<_> = txs.iter().filter_map(unverified).collect();
        if unverified.is_empty() && precommits.is_empty() {
            return Ok(Verdict::Valid(signed(txs)));
        }
        self.outputs.push(Output::VerifyTxs { block_id: id, txs: Arc::new(unverified), precommits });
        Ok(Verdict::AwaitingTxs(txs))
    }

    /// Returns the transaction of these bytes if it was checked before. Most transactions of a block are already
    /// decoded in the mempool.
    fn known_tx(&self, bytes: &[u8]) -> Option<VerifiedTx> {
        let waits = self.mempool.get(&TxId::of(bytes));
        waits.inspect(|_| self.txs.note_hit()).or_else(|| self.txs.known(bytes))
    }

    /// Handles the result of verifying the signatures of a block's transactions and of its last commit.
    pub fn on_txs_verified(&mut self, engine: &Engine, id: BlockId, valid: bool) -> Option<EngineInput> {
        let entry = self.blocks.get_mut(&id)?;
        let Verdict::AwaitingTxs(txs) = &mut entry.verdict else { return None };
        entry.verdict = match valid {
            true => Verdict::Valid(signed(std::mem::take(txs))),
            false => {
                Verdict::Invalid("a transaction or a precommit of the last commit is not signed by its signer".into())
            }
        };
        self.judge(engine, id)
    }

    /// Executes and stores a decided block. Returns false without any effect if the block is not available and valid.
    /// `engine` is the engine that decided the block; `None` if block sync delivered it.
    pub fn apply(&mut self, id: BlockId, commit: Commit, engine: Option<&Engine>) -> bool {
        if !self.blocks.get(&id).is_some_and(|entry| matches!(entry.verdict, Verdict::Valid(_))) {
            return false;
        }
        let entry = self.blocks.take(&id).expect("it was there");
        if let Err(error) = self.store_block(id, entry, commit, engine) {
            self.halt(error);
        }
        (self.on_phase)(Phase::Rest);
        true
    }

    fn store_block(
        &mut self,
        block_id: BlockId,
        entry: Entry,
        commit: Commit,
        engine: Option<&Engine>,
    ) -> Result<(), StoreError> {
        let Entry { parts, bytes, block: Some(block), verdict: Verdict::Valid(txs), .. } = entry else {
            unreachable!("only a valid block is applied, and it was decoded")
        };
        (self.on_phase)(Phase::Execute);
        let header = &block.header;
        let context = BlockContext { height: header.height, time: header.time, proposer: header.proposer };
        let reader = self.store.reader()?;
        let outcome = self.app.read().execute(&reader, &context, &txs);
        reader.check()?;
        drop(reader);
        let after = self.chain.validators_after(&outcome.results);
        let params = outcome.results.params_update.clone().unwrap_or_else(|| self.chain.params.clone());
        (self.on_phase)(Phase::Commit);
        let tip = self.store.commit_block(&CommitBatch {
            block_id,
            block: &block,
            block_bytes: &bytes,
            seen_commit: &commit,
            results: &outcome.results,
            writes: &outcome.writes,
            validators: &after,
            params: &params,
        })?;
        (self.on_phase)(Phase::Recheck);
        self.app.commit(outcome.update);
        let ids: Vec<_> = block.tx_ids().collect();
        let reader = self.store.reader()?;
        self.mempool.update(&reader, tip.height, &ids, outcome.writes.0.keys(), self.now);
        reader.check()?;
        drop(reader);
        let validators = self.chain.validators.as_ref().clone();
        self.chain.advance(tip, header, commit.clone(), after, params);
        let decide = self.now.since(self.height_started);
        let timing = engine.map(|engine| timing(engine, block_id, &commit, header.time, decide)).unwrap_or_default();
        self.outputs.push(Output::Committed(Arc::new(Committed {
            block: block.as_ref().clone(),
            block_id,
            block_bytes: bytes.len(),
            commit,
            results: outcome.results,
            validators,
            synced: engine.is_none(),
            timing,
        })));
        self.last_parts = Some(parts);
        self.parts_said.clear();
        self.blocks.start(self.chain.height());
        self.last_commit_at = self.now;
        self.verifier.publish(Self::place(&self.chain, Round::ZERO));
        Ok(())
    }
}

/// Returns the durations from proposal to decision of a decided height.
fn timing(engine: &Engine, block_id: BlockId, commit: &Commit, proposed: Time, decide: Duration) -> CommitTiming {
    let (round, total) = (commit.round, engine.validators().total_power());
    let ordered = |votes: Option<&VoteSet>| {
        let votes = votes.into_iter().flat_map(|votes| votes.votes_for(Some(block_id)));
        let mut votes: Vec<(Time, Power)> = votes.map(|vote| (vote.vote.timestamp, vote.power())).collect();
        votes.sort_unstable();
        votes
    };
    let reached = |votes: &[(Time, Power)], enough: &dyn Fn(Power) -> bool| {
        let mut power = Power::ZERO;
        let at = votes.iter().find(|(_, one)| {
            power = Power(power.0 + one.0);
            enough(power)
        });
        at.map(|(at, _)| at.since(proposed))
    };
    let quorum = |power: Power| power.is_quorum_of(total);
    let (prevotes, precommits) = (ordered(engine.prevotes(round)), ordered(engine.precommits(round)));
    CommitTiming {
        decide,
        rounds: round.0,
        quorum_prevote: reached(&prevotes, &quorum),
        full_prevote: reached(&prevotes, &|power| power == total),
        quorum_precommit: reached(&precommits, &quorum),
    }
}

/// Returns the precommits for blocks in a hard state: height and round, and the block.
fn precommits(hard_state: &HardState) -> impl Iterator<Item = ((Height, Round), BlockId)> {
    let votes = hard_state.votes.iter().map(|signed| &signed.vote).filter(|vote| vote.vote_type == VoteType::Precommit);
    votes.filter_map(|vote| Some(((vote.height, vote.round), vote.block_id?)))
}

/// Returns the transactions of a block after all their signatures were verified.
fn signed(txs: Vec<BlockTx>) -> Vec<VerifiedTx> {
    txs.into_iter()
        .map(|tx| match tx {
            BlockTx::Known(tx) => tx,
            BlockTx::Unverified(tx) => VerifiedTx::verified_before(tx),
        })
        .collect()
}

impl<K: Kv> Effects for Core<K> {
    fn build_block(&mut self, engine: &Engine, height: Height, round: Round) -> Vec<EngineInput> {
        if self.halted || height != self.chain.height() {
            return Vec::new();
        }
        (self.on_phase)(Phase::Build);
        let proposer = self.own.expect("only a validator is asked for a block");
        let txs = self.mempool.reap(self.chain.tx_bytes_max(), self.chain.params.block.gas_max);
        let txs = self.chain.fitting(txs);
        let bytes = txs.iter().map(|tx| tx.bytes().to_vec()).collect();
        let last_commit = engine.last_commit().or_else(|| self.chain.last_commit.clone());
        let block = self.chain.build_block(self.wall, bytes, last_commit, proposer);
        let parts = block.part_set();
        let (id, time, keep) = (block.id(&parts), block.header.time, self.keep(engine));
        let entry = self.blocks.put(round, id, parts, &keep);
        debug_assert!(entry.block.is_some(), "what we build can be decoded");
        (entry.verdict, entry.judged) = (Verdict::Valid(txs), true);
        (self.on_phase)(Phase::Rest);
        self.dropped().chain([EngineInput::BlockBuilt { round, block_id: id, time }]).collect()
    }

    fn check_block(&mut self, engine: &Engine, block_id: BlockId) -> Vec<EngineInput> {
        if self.halted {
            return Vec::new();
        }
        if u64::from(block_id.parts.total) > self.chain.parts_max() {
            return vec![EngineInput::BlockChecked { block_id, time: Time::UNIX_EPOCH, valid: false }];
        }
        self.name_block(engine, engine.round(), block_id);
        let verdict = self.judge(engine, block_id);
        self.dropped().chain(verdict).collect()
    }

    fn commit(&mut self, engine: &Engine, block_id: BlockId, commit: Commit) -> Vec<EngineInput> {
        if !self.halted {
            let height = commit.height;
            let is_applied = self.apply(block_id, commit, Some(engine));
            assert!(
                is_applied,
                "I4: block {block_id} of height {height} was decided and is valid here, but its bytes are not held"
            );
        }
        // The replica, not the engine, decides when the next height starts.
        Vec::new()
    }

    fn start_timer(&mut self, timeout: Timeout, after: Duration) {
        self.outputs.push(Output::StartTimer { timer: Timer::Consensus(timeout), after });
    }

    fn evidence(&mut self, evidence: Evidence) {
        let Evidence::DuplicateVote(double) = &evidence;
        let (ours, height) = (self.own == Some(double.vote_a.vote.validator), evidence.height());
        self.outputs.push(Output::Evidence(evidence));
        if ours {
            self.halt(Halt::AnotherSigner { height });
        }
    }

    fn write_ahead(&mut self, hard_state: &HardState) {
        if self.halted {
            return;
        }
        let locks = [hard_state.locked, hard_state.valid].into_iter().flatten().map(|lock| lock.block_id);
        let proposed = hard_state.proposals.iter().map(|signed| signed.proposal.block_id);
        let precommitted = precommits(hard_state).map(|(_, id)| id);
        let ids: BTreeSet<BlockId> = locks.chain(proposed).chain(precommitted).collect();
        let at_hand = |id: BlockId| {
            self.blocks.get(&id).filter(|entry| entry.parts.is_complete()).map(|entry| (id, entry.bytes.as_slice()))
        };
        // A block that an earlier write-ahead named was written with it, and may have been evicted from memory since.
        let blocks: BTreeMap<BlockId, &[u8]> = ids.into_iter().filter_map(at_hand).collect();
        for ((height, round), id) in precommits(hard_state).filter(|(at, _)| Some(*at) > self.precommitted) {
            assert!(
                blocks.contains_key(&id),
                "I4: the precommit for block {id} at height {height}, round {round} is not in one write with the block's bytes"
            );
        }
        let blocks: Vec<(BlockId, &[u8])> = blocks.into_iter().collect();
        (self.on_phase)(Phase::WriteAhead);
        self.signed.raise_to(hard_state, &self.chain.id);
        if let Some(record) = &mut self.record {
            record.begin(&self.signed);
        }
        let written = self.store.write_ahead(hard_state, &blocks);
        let written = written.and_then(|()| self.record.as_mut().map_or(Ok(()), |record| record.finish()));
        (self.on_phase)(Phase::Rest);
        if let Err(error) = written {
            return self.halt(error);
        }
        self.syncs += 1;
        self.hard_state_height = hard_state.height;
        self.precommitted = self.precommitted.max(precommits(hard_state).map(|(at, _)| at).max());
    }

    fn broadcast(&mut self, message: Message) {
        if self.halted {
            return;
        }
        let (say, parts_of) = match message {
            Message::Vote(vote) => (PeerMessage::Vote(vote), None),
            Message::Certificate(certificate) => (PeerMessage::Certificate(certificate), None),
            Message::Proposal(signed) => {
                let p = &signed.proposal;
                let parts_of = (p.height == self.chain.height()).then_some((p.round, p.block_id));
                (PeerMessage::Proposal(signed), parts_of)
            }
        };
        self.outputs.push(Output::Broadcast(Arc::new(say)));
        // Most peers already have the parts of a proposal that is sent again; the gossip repair finds the others.
        let Some((round, id)) = parts_of.filter(|of| self.parts_said.insert(*of)) else { return };
        let Some(entry) = self.blocks.get(&id) else { return };
        let height = self.chain.height();
        let parts = (0..id.parts.total).filter_map(|index| entry.parts.get(index).cloned());
        let messages = parts.map(|part| Output::Broadcast(Arc::new(PeerMessage::Part { height, round, part })));
        self.outputs.extend(messages);
    }
}
