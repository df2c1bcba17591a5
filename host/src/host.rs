//! The host: inputs in, outputs out, and between them the engine, the application and the store.
//!
//! A batch of inputs is first turned into the engine's inputs ([`Core`] does what is not the engine's business on the way), then
//! [`consensus::driver::run`] runs the engine, with [`Core`] as its [`Effects`]: one write before all that is said.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use app::App;
use consensus::{
    Engine, Message, Signer, Timeout,
    driver::{self, Effects},
};
use genesis::Genesis;
use storage::{CommitBatch, GenesisBatch, Kv, Store, StoreError};
use thiserror::Error;
use types::{
    Address, Block, BlockAndCommit, BlockId, BlockRequest, BlockResponse, Commit, Evidence, HardState, Height, PartSet,
    PeerMessage, Round, RoundState, Time, Transaction, TxId, VerifiedTx, Wire, limits::SYNC_BLOCKS_MAX,
};

use crate::{
    Checked, CommitTiming, Committed, Config, Input, Mempool, Offence, Output, Peer, RoundVotesHeld, Status, Timer,
    TxVerifier, Verifier,
    blocks::{self, Blocks, Check},
    chain::{self, Chain},
    gossip::{self, PeerView},
    sync::{self, Sync, Synced},
};

/// Heights ahead whose messages are kept; a node that lags more asks for blocks.
const FUTURE_HEIGHTS: u64 = 8;

/// Messages of heights ahead kept of one peer.
const FUTURE_OF_PEER_MAX: usize = 512;

/// Messages of one height that are relayed; what comes after is left to the repair. Enough for 10 rounds of 200 validators.
const RELAYED_MAX: usize = 8_192;

/// Bytes of blocks in one answer to a sync request; a single larger block is answered all the same.
const SERVE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Turns of the gossip timer after which a doubt that no vote confirmed is over, whoever was heard; more if a peer says that
/// there is such a vote.
const DOUBT_INTERVALS: u32 = 3;
const DOUBT_INTERVALS_ACCUSED: u32 = 10;

/// Why a host cannot start.
#[derive(Debug, Error)]
pub enum HostError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store is of another genesis document.
    #[error(
        "the data folder was begun with another genesis document (hash {stored}) than the one given (hash {given}): \
         put the first one back, or use another home"
    )]
    OtherGenesis {
        /// Hash of the document that the store began with.
        stored: types::Hash,
        /// Hash of the document given.
        given: types::Hash,
    },
    /// State and app hash do not belong together.
    #[error(
        "the stored state hashes to {computed}, the chain says {expected}: the data folder is damaged, restore it or sync anew"
    )]
    Damaged {
        /// What the rows hash to.
        computed: types::Hash,
        /// What they must hash to.
        expected: types::Hash,
    },
}

/// A validator or full node without its sockets, threads and clock.
pub struct Host<K: Kv> {
    engine: Engine,
    core: Core<K>,
}

/// Whether this key may have signed, at the height that is live, what this home does not remember.
///
/// Until a quorum of peers has said where it stands, and nobody showed a vote of ours that we lack, nothing is signed. A
/// validator that hears fewer, because it stands behind a sentry or decides with few others, signs after [`DOUBT_INTERVALS`].
#[derive(Debug, Default)]
struct Doubt {
    heard: BTreeSet<Peer>,
    confirmed: bool,
    /// A peer says that somebody holds a vote of ours that we lack. Anybody can say so; the vote itself is the proof.
    accused: bool,
    /// Since the height started, in turns of the gossip timer: at each, every peer has said where it stands once more, and sent
    /// what we lack.
    intervals: u32,
}

struct Core<K: Kv> {
    config: Config,
    store: Arc<Store<K>>,
    app: App,
    mempool: Arc<Mempool>,
    txs: Arc<TxVerifier>,
    verifier: Verifier,
    own: Option<Address>,

    chain: Chain,
    blocks: Blocks,
    peers: BTreeMap<Peer, PeerView>,
    future: BTreeMap<Peer, Vec<PeerMessage>>,
    sync: Sync,
    sync_timer: bool,
    /// The next height has not started: it waits for a reason to.
    waiting: bool,
    /// A reason to start it was seen.
    poked: bool,
    empty_timer: Option<Height>,
    doubt: Option<Doubt>,
    restored: Option<HardState>,
    last_commit_at: Option<Time>,
    height_started: Time,
    shown_round: (Height, Round),
    parts_sent: Option<(Height, Round, BlockId)>,
    /// What was relayed at this height.
    relayed: BTreeSet<types::Hash>,
    syncs: u64,
    now: Time,
    out: Vec<Output>,
    halted: bool,
}

impl<K: Kv> Host<K> {
    /// A host that goes on from the store's tip, or from genesis if the store is empty. It waits for [`Input::Start`].
    ///
    /// Errors: see [`HostError`].
    pub fn open(
        config: Config,
        genesis: &Genesis,
        store: Arc<Store<K>>,
        mempool: Arc<Mempool>,
        txs: Arc<TxVerifier>,
        mut signer: Option<Signer>,
    ) -> Result<(Self, Verifier), HostError> {
        let chain = open_chain(genesis, &store)?;
        let app = App::open(&store.reader()?, chain.chain_id.clone(), chain.tip.height);
        if app.app_hash() != chain.tip.app_hash {
            return Err(HostError::Damaged { computed: app.app_hash(), expected: chain.tip.app_hash });
        }
        let restored = store.hard_state()?;
        if let (Some(signer), Some(hard_state)) = (&mut signer, &restored) {
            signer.raise_to(hard_state, &chain.chain_id);
        }
        let own = signer.as_ref().map(Signer::address);
        let verifier = Verifier::new(
            chain.chain_id.clone(),
            chain.height(),
            chain.validators.clone(),
            chain.last_validators.clone(),
        );
        let engine = Engine::new(chain.chain_id.clone(), signer, chain.validators.clone());
        let core = Core {
            config,
            store,
            app,
            mempool,
            txs,
            verifier: verifier.clone(),
            own,
            chain,
            blocks: Blocks::default(),
            peers: BTreeMap::new(),
            future: BTreeMap::new(),
            sync: Sync::default(),
            sync_timer: false,
            waiting: true,
            poked: false,
            empty_timer: None,
            doubt: None,
            restored,
            last_commit_at: None,
            height_started: Time::UNIX_EPOCH,
            shown_round: (Height::GENESIS, Round::ZERO),
            parts_sent: None,
            relayed: BTreeSet::new(),
            syncs: 0,
            now: Time::UNIX_EPOCH,
            out: Vec::new(),
            halted: false,
        };
        Ok((Self { engine, core }, verifier))
    }

    /// Takes a batch of inputs and tells what to do, in order. What is said in the batch is durable when this returns: at most
    /// one sync. After [`Output::Halt`] nothing follows.
    pub fn step(&mut self, now: Time, inputs: Vec<Input>) -> Vec<Output> {
        if self.core.halted {
            return Vec::new();
        }
        self.core.now = now;
        let mut told = Vec::new();
        for input in inputs {
            self.core.on_input(&self.engine, input, &mut told);
        }
        driver::run(&mut self.engine, now, told, &mut self.core);
        self.core.show_new_round(&self.engine);
        std::mem::take(&mut self.core.out)
    }

    /// Where the host stands.
    pub fn status(&self) -> Status {
        let (engine, core) = (&self.engine, &self.core);
        let held = |votes: &consensus::votes::VoteSet| votes.votes().map(|vote| (**vote).clone()).collect();
        Status {
            height: core.chain.height(),
            round: if core.waiting { Round::ZERO } else { engine.round() },
            step: if core.waiting { types::Step::Propose } else { engine.current_step() },
            height_started: core.height_started,
            round_started: engine.round_started(),
            validators: Arc::new(core.chain.validators.clone()),
            proposal: engine.proposal(engine.round()).map(|p| p.proposal.block_id),
            locked: engine.locked().map(|lock| lock.block_id),
            valid: engine.valid().map(|lock| lock.block_id),
            votes: engine
                .votes()
                .rounds()
                .filter(|_| !core.waiting)
                .map(|(round, votes)| RoundVotesHeld {
                    round,
                    prevotes: held(&votes.prevotes),
                    precommits: held(&votes.precommits),
                })
                .collect(),
            catching_up: core.sync.is_active(),
            peer_heights: core.sync.tips().collect(),
            tip: core.chain.tip.height,
            app_hash: core.chain.tip.app_hash,
            hard_state_height: if core.own.is_some() { engine.hard_state().height } else { Height::GENESIS },
            syncs: core.syncs,
        }
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine with a rule switched off, to prove that a checker notices.
    #[cfg(feature = "mutations")]
    pub fn with_mutation(mut self, mutation: consensus::Mutation) -> Self {
        self.engine = self.engine.with_mutation(mutation);
        self
    }

    /// Answers a peer's request for decided blocks, from any thread.
    ///
    /// Errors: only those of a failing disk; heights that are not there are left out of the answer.
    pub fn serve(store: &Store<K>, request: BlockRequest) -> Result<BlockResponse, StoreError> {
        let (earliest, latest) = (store.earliest(), store.tip().map_or(Height::GENESIS, |tip| tip.height));
        let mut response = BlockResponse { earliest, latest, blocks: Vec::new() };
        let mut bytes = 0;
        let last = latest
            .0
            .min(request.from.0.saturating_add(u64::from(request.count.min(SYNC_BLOCKS_MAX))).saturating_sub(1));
        for height in (request.from.0.max(1)..=last).map(Height) {
            let sent = match (store.block_bytes(height), store.seen_commit(height)) {
                (Ok(block), Ok(commit)) => BlockAndCommit { block, commit },
                // Pruned in the meantime, or below the window.
                (Err(StoreError::Pruned { .. } | StoreError::Future { .. }), _)
                | (_, Err(StoreError::Pruned { .. } | StoreError::Future { .. })) => break,
                (Err(error), _) | (_, Err(error)) => return Err(error),
            };
            bytes += sent.block.len();
            if bytes > SERVE_BYTES_MAX && !response.blocks.is_empty() {
                break;
            }
            response.blocks.push(sent);
        }
        Ok(response)
    }
}

fn open_chain<K: Kv>(genesis: &Genesis, store: &Store<K>) -> Result<Chain, HostError> {
    let first = genesis.first_state();
    let tip = match (store.tip(), store.genesis()) {
        (Some(tip), Some(stored)) => {
            if stored.document_hash != first.genesis_hash {
                return Err(HostError::OtherGenesis { stored: stored.document_hash, given: first.genesis_hash });
            }
            tip
        }
        _ => store.init_genesis(&GenesisBatch {
            genesis: storage::Genesis {
                initial_height: first.initial_height,
                time: first.time,
                app_hash: first.app_hash,
                document_hash: first.genesis_hash,
            },
            writes: &first.writes,
            validators: &first.validators,
            params: &first.params,
        })?,
    };
    let height = tip.height.next();
    let has_blocks = height > first.initial_height;
    Ok(Chain {
        chain_id: genesis.chain_id().clone(),
        initial_height: first.initial_height,
        last_validators: if has_blocks { Some(store.validators(tip.height)?) } else { None },
        validators: store.validators(height)?,
        next_validators: store.validators(height.next())?,
        params: store.params(height)?,
        tip,
    })
}

type Told = Vec<consensus::Input>;

impl<K: Kv> Core<K> {
    // ---- inputs --------------------------------------------------------------------------------------------------

    fn on_input(&mut self, engine: &Engine, input: Input, told: &mut Told) {
        match input {
            Input::Start => self.on_start(told),
            Input::PeerUp(peer) => {
                self.peers.insert(peer, PeerView::default());
                let state = self.round_state(engine);
                self.send(peer, PeerMessage::RoundState(state));
            }
            Input::PeerDown(peer) => {
                self.peers.remove(&peer);
                self.future.remove(&peer);
                self.sync.forget(&peer);
                if let Some(doubt) = &mut self.doubt {
                    doubt.heard.remove(&peer);
                }
                self.sync_on(engine, told);
            }
            Input::Message { peer, message, received } => {
                if self.peers.contains_key(&peer) {
                    self.on_message(engine, peer, message, received, told);
                }
            }
            Input::Timer(timer) => self.on_timer(engine, timer, told),
            Input::TxsAvailable => self.start_if_wanted(told),
            Input::TxsVerified { block_id, valid } => self.on_txs_verified(engine, block_id, valid, told),
            Input::Blocks { request, response } => {
                if let Err((peer, offence)) = self.sync.answer(request, response) {
                    self.penalize(peer, offence);
                }
                self.sync_on(engine, told);
            }
        }
    }

    fn on_start(&mut self, told: &mut Told) {
        let is_validator = self.own.is_some_and(|own| self.chain.validators.by_address(&own).is_some());
        if is_validator && self.chain.validators.len() > 1 {
            self.doubt = Some(Doubt::default());
        }
        self.poked = true;
        self.out.push(Output::StartTimer { timer: Timer::Gossip, after: self.config.gossip_interval });
        self.start_if_wanted(told);
    }

    fn on_message(&mut self, engine: &Engine, peer: Peer, message: Checked, received: Time, told: &mut Told) {
        let height = self.chain.height();
        match message {
            Checked::Bad(offence) => self.penalize(peer, offence),
            Checked::Vote(vote) if vote.vote.height == height => {
                self.poke(told);
                if !gossip::holds(engine, &vote) {
                    self.look_for_own(engine, &vote);
                    self.relay(peer, PeerMessage::Vote((*vote).clone()));
                }
                told.push(consensus::Input::Vote(vote));
            }
            Checked::Vote(vote) => told.push(consensus::Input::Vote(vote)),
            Checked::Proposal(proposal) if proposal.proposal.height == height => {
                self.poke(told);
                self.on_proposal(engine, peer, &proposal, told);
                told.push(consensus::Input::Proposal { proposal, received });
            }
            Checked::Certificate(certificate) if certificate.height() == height => {
                self.poke(told);
                told.push(consensus::Input::Certificate(certificate));
            }
            // Checked for a height that has passed since.
            Checked::Proposal(_) | Checked::Certificate(_) => {}
            Checked::Unchecked(PeerMessage::RoundState(state)) => self.on_round_state(engine, peer, state, told),
            Checked::Unchecked(PeerMessage::Part { height: of, round, part }) => {
                if (height..=height.next()).contains(&of) {
                    self.on_part(engine, peer, round, part, told);
                }
            }
            Checked::Unchecked(message) => self.on_unchecked(engine, peer, message, received, told),
        }
    }

    fn on_unchecked(&mut self, engine: &Engine, peer: Peer, message: PeerMessage, received: Time, told: &mut Told) {
        let of = match &message {
            PeerMessage::Vote(vote) => vote.vote.height,
            PeerMessage::Proposal(proposal) => proposal.proposal.height,
            PeerMessage::Certificate(certificate) => certificate.height(),
            PeerMessage::Part { .. } | PeerMessage::RoundState(_) => return,
        };
        let height = self.chain.height();
        if of == height {
            // It was looked at before this height was entered.
            match self.verifier.check(message) {
                Checked::Unchecked(_) => {}
                checked => self.on_message(engine, peer, checked, received, told),
            }
        } else if of > height && of.0 <= height.0 + FUTURE_HEIGHTS {
            let kept = self.future.entry(peer).or_default();
            if kept.len() < FUTURE_OF_PEER_MAX {
                kept.push(message);
            }
            self.sync_if_late(engine, told);
        }
    }

    /// A vote of our own key that we do not have: somebody else signs with it, or this home is an old copy.
    fn look_for_own(&mut self, engine: &Engine, vote: &types::VerifiedVote) {
        let is_own = self.own == Some(vote.vote.validator);
        if !is_own || self.waiting || engine.height() != vote.vote.height || vote.vote.round < engine.round() {
            return;
        }
        match &mut self.doubt {
            Some(doubt) => doubt.confirmed = true,
            None => self.halt(format!(
                "a vote of this validator's key that this node did not sign was seen at height {}, round {}: another process \
                 signs with the same key; stop one of the two before starting again",
                vote.vote.height, vote.vote.round
            )),
        }
    }

    fn on_proposal(&mut self, engine: &Engine, peer: Peer, proposal: &types::SignedProposal, told: &mut Told) {
        let p = &proposal.proposal;
        let is_new = engine.proposals(p.round).all(|held| held != proposal);
        if is_new {
            self.relay(peer, PeerMessage::Proposal(proposal.clone()));
        }
        if p.round <= engine.round().next() || engine.votes().round(p.round).is_some() {
            let complete = self.blocks.expect(p.block_id, &pinned(engine));
            if complete {
                self.on_complete(engine, p.block_id, told);
            }
        }
    }

    fn on_part(&mut self, engine: &Engine, peer: Peer, round: Round, part: types::Part, told: &mut Told) {
        let message = PeerMessage::Part { height: self.chain.height(), round, part: part.clone() };
        match self.blocks.add(peer, round, part) {
            blocks::Added::Complete(id) => {
                self.relay(peer, message);
                self.on_complete(engine, id, told);
            }
            blocks::Added::New(_) => self.relay(peer, message),
            blocks::Added::Early | blocks::Added::Duplicate => {}
        }
    }

    fn on_complete(&mut self, engine: &Engine, id: BlockId, told: &mut Told) {
        if self.blocks.get(&id).is_some_and(|entry| entry.asked) {
            told.extend(self.check(engine, id));
        }
    }

    fn on_txs_verified(&mut self, engine: &Engine, id: BlockId, valid: bool, told: &mut Told) {
        let Some(entry) = self.blocks.get_mut(&id) else { return };
        entry.check = match std::mem::replace(&mut entry.check, Check::Unknown) {
            Check::Signatures(txs) if valid => Check::Valid(Arc::new(chain::verified(txs))),
            Check::Signatures(_) => Check::Invalid("a transaction's signature is wrong".into()),
            other => other,
        };
        if entry.asked {
            told.extend(self.check(engine, id));
        }
        self.sync_on(engine, told);
    }

    fn on_timer(&mut self, engine: &Engine, timer: Timer, told: &mut Told) {
        match timer {
            Timer::Consensus(timeout) => told.push(consensus::Input::Timeout(timeout)),
            Timer::EmptyBlock(height) if height == self.chain.height() => {
                self.empty_timer = None;
                self.start_if_wanted(told);
            }
            Timer::EmptyBlock(_) => {}
            Timer::Gossip => {
                let state = self.round_state(engine);
                self.out.push(Output::Broadcast(gossip::shared(PeerMessage::RoundState(state))));
                self.out.push(Output::StartTimer { timer: Timer::Gossip, after: self.config.gossip_interval });
                self.outlive_doubt(engine, told);
            }
            Timer::Sync => {
                self.sync_timer = false;
                self.sync.expire(self.now, self.config.sync_timeout);
                self.sync_if_late(engine, told);
                self.sync_on(engine, told);
            }
        }
    }

    fn on_round_state(&mut self, engine: &Engine, peer: Peer, theirs: RoundState, told: &mut Told) {
        let height = self.chain.height();
        if let Some(tip) = theirs.height.prev() {
            self.sync.peer_has(peer, tip);
        }
        if theirs.height == height && theirs.current.prevotes.count() + theirs.current.precommits.count() > 0 {
            self.poke(told);
        }
        self.resolve_doubt(engine, peer, &theirs, told);
        if theirs.height < height {
            let state = self.round_state(engine);
            self.send(peer, PeerMessage::RoundState(state));
        } else if theirs.height == engine.height() && !self.waiting {
            let (now, interval) = (self.now, self.config.gossip_interval);
            let view = self.peers.get_mut(&peer).expect("messages of unknown peers are not looked at");
            for message in view.repair(now, interval, engine, &self.blocks, &theirs) {
                self.send(peer, message);
            }
        }
        if let Some(view) = self.peers.get_mut(&peer) {
            view.state = Some(theirs);
        }
        self.sync_if_late(engine, told);
    }

    // ---- doubt ---------------------------------------------------------------------------------------------------

    /// After a start: nothing is signed until we know that nobody holds a vote of ours, at the height that is live, which we do
    /// not remember. So a home restored from an old backup does not sign again what it signed.
    fn resolve_doubt(&mut self, engine: &Engine, peer: Peer, theirs: &RoundState, told: &mut Told) {
        let Some(doubt) = &mut self.doubt else { return };
        let height = self.chain.height();
        if theirs.height > height || self.waiting || engine.height() != height {
            return;
        }
        let own = engine.own_index().filter(|_| theirs.height == height);
        if own.is_some_and(|index| gossip::holds_foreign_vote(engine, theirs, index)) {
            // If it is true, the vote follows: the peer sees in our round state that we lack it.
            doubt.accused = true;
            doubt.heard.remove(&peer);
        } else {
            doubt.heard.insert(peer);
        }
        let enough = 3 * (doubt.heard.len() + 1) > 2 * self.chain.validators.len();
        if enough && !doubt.confirmed {
            self.doubt = None;
            told.push(consensus::Input::SignAgain);
        }
    }

    /// The gossip timer turned once more at the height in doubt.
    fn outlive_doubt(&mut self, engine: &Engine, told: &mut Told) {
        let started = !self.waiting && engine.height() == self.chain.height();
        let Some(doubt) = self.doubt.as_mut().filter(|_| started) else { return };
        doubt.intervals += 1;
        let patience = if doubt.accused { DOUBT_INTERVALS_ACCUSED } else { DOUBT_INTERVALS };
        if doubt.intervals >= patience && !doubt.confirmed {
            self.doubt = None;
            told.push(consensus::Input::SignAgain);
        }
    }

    // ---- heights -------------------------------------------------------------------------------------------------

    fn poke(&mut self, told: &mut Told) {
        self.poked = true;
        self.start_if_wanted(told);
    }

    /// Starts the next height if there is a reason to; else sees to it that it starts in time.
    fn start_if_wanted(&mut self, told: &mut Told) {
        if !self.waiting || self.sync.is_active() || self.halted {
            return;
        }
        let height = self.chain.height();
        let since = self.last_commit_at.map_or(Duration::MAX, |at| self.now.since(at));
        let wait = if self.poked || !self.mempool.is_empty() || self.state_changed_unproven() {
            self.config.block_interval_min.checked_sub(since)
        } else {
            match self.config.empty_block_interval {
                Some(interval) => interval.max(self.config.block_interval_min).checked_sub(since),
                None => return,
            }
        };
        match wait.filter(|wait| !wait.is_zero()) {
            None => self.start_height(told),
            Some(after) if self.empty_timer != Some(height) => {
                self.empty_timer = Some(height);
                self.out.push(Output::StartTimer { timer: Timer::EmptyBlock(height), after });
            }
            Some(_) => {}
        }
    }

    /// Whether this validator is a quorum by itself.
    fn decides_alone(&self) -> bool {
        let own = self.own.and_then(|own| self.chain.validators.by_address(&own));
        own.is_some_and(|(_, validator)| validator.power.is_quorum_of(self.chain.validators.total_power()))
    }

    /// Where no empty blocks are wanted, one is needed all the same to put a changed app hash into a header.
    fn state_changed_unproven(&self) -> bool {
        let unproven =
            || self.store.header(self.chain.tip.height).is_ok_and(|last| last.app_hash != self.chain.tip.app_hash);
        self.config.empty_block_interval.is_none() && unproven()
    }

    fn start_height(&mut self, told: &mut Told) {
        let height = self.chain.height();
        self.waiting = false;
        self.poked = false;
        self.height_started = self.now;
        let hard_state = self.restored.take_if(|restored| restored.height <= height).filter(|r| r.height == height);
        if let Some(hard_state) = &hard_state {
            self.restore_blocks(hard_state);
        }
        if let Some(doubt) = &mut self.doubt {
            *doubt = Doubt::default();
        }
        told.push(consensus::Input::StartHeight {
            height,
            validators: self.chain.validators.clone(),
            timeouts: self.chain.params.timeouts,
            synchrony: self.chain.params.synchrony,
            hard_state: hard_state.map(Box::new),
            abstain: self.doubt.is_some(),
        });
        self.take_future(height, told);
    }

    /// The bytes of the blocks that we said something about, which were made durable with it.
    fn restore_blocks(&mut self, hard_state: &HardState) {
        let named = [hard_state.locked, hard_state.valid].into_iter().flatten().map(|lock| lock.block_id);
        let named: BTreeSet<BlockId> = named.chain(hard_state.proposals.iter().map(|p| p.proposal.block_id)).collect();
        for id in named {
            match self.store.pending_block(&id) {
                Ok(Some(bytes)) => {
                    let block = Block::decode(&bytes).expect("stored blocks decode");
                    let parts = PartSet::from_bytes(&bytes);
                    self.blocks.insert(id, block, bytes, parts, &[]);
                }
                Ok(None) => {}
                Err(error) => self.halt(error.to_string()),
            }
        }
    }

    /// Messages that came before their height.
    fn take_future(&mut self, height: Height, told: &mut Told) {
        let mut now_due = Vec::new();
        for (peer, kept) in &mut self.future {
            let (due, later) = std::mem::take(kept).into_iter().partition(|message| height_of(message) <= height);
            *kept = later;
            let due: Vec<PeerMessage> = due;
            now_due.extend(due.into_iter().filter(|m| height_of(m) == height).map(|message| (*peer, message)));
        }
        self.future.retain(|_, kept| !kept.is_empty());
        for (peer, message) in now_due {
            match self.verifier.check(message) {
                Checked::Vote(vote) => told.push(consensus::Input::Vote(vote)),
                Checked::Certificate(certificate) => told.push(consensus::Input::Certificate(certificate)),
                Checked::Proposal(proposal) => {
                    self.blocks.expect(proposal.proposal.block_id, &[]);
                    told.push(consensus::Input::Proposal { proposal, received: self.now });
                }
                Checked::Bad(offence) => self.penalize(peer, offence),
                Checked::Unchecked(_) => {}
            }
        }
    }

    // ---- blocks --------------------------------------------------------------------------------------------------

    /// Brings the check of a block as far as it can be, and tells the verdict once there is one.
    fn check(&mut self, engine: &Engine, id: BlockId) -> Option<consensus::Input> {
        let entry = self.blocks.get_mut(&id)?;
        if let (Check::Unknown, Some(complete)) = (&entry.check, &entry.block) {
            let known = engine.last_commit();
            let checked = self.chain.check(&complete.block, complete.bytes.len(), known.as_ref()).and_then(|()| {
                let known = |bytes: &[u8]| known_tx(&self.txs, bytes);
                app::decode_block_txs(&self.chain.chain_id, &self.chain.params, &complete.block.txs, known)
                    .map_err(|e| e.to_string())
            });
            entry.check = match checked {
                Err(reason) => Check::Invalid(reason),
                Ok(txs) => {
                    let unverified: Vec<Transaction> = txs
                        .iter()
                        .filter_map(|tx| match tx {
                            app::BlockTx::Unverified(tx) => Some(tx.clone()),
                            app::BlockTx::Known(_) => None,
                        })
                        .collect();
                    if unverified.is_empty() {
                        Check::Valid(Arc::new(chain::verified(txs)))
                    } else {
                        self.out.push(Output::VerifyTxs { block_id: id, txs: Arc::new(unverified) });
                        Check::Signatures(txs)
                    }
                }
            };
        }
        let time = entry.block.as_ref().map(|complete| complete.block.header.time);
        match &entry.check {
            Check::Valid(_) => Some(consensus::Input::BlockChecked {
                block_id: id,
                time: time.expect("a valid block is here"),
                valid: true,
            }),
            Check::Invalid(_) => Some(consensus::Input::BlockChecked {
                block_id: id,
                time: time.unwrap_or(Time::UNIX_EPOCH),
                valid: false,
            }),
            Check::Unknown | Check::Signatures(_) => None,
        }
    }

    /// Executes and stores a decided block; the next height is then waited for.
    fn apply(&mut self, id: BlockId, commit: Commit, rounds: Round, synced: bool) {
        let entry = self.blocks.get(&id).expect("a decided block is here");
        let complete = entry.block.clone().expect("a decided block is complete");
        let Check::Valid(txs) = &entry.check else { unreachable!("a decided block is valid") };
        let txs: Arc<Vec<VerifiedTx>> = Arc::clone(txs);
        if let Err(error) = self.try_apply(id, &complete, &txs, commit, rounds, synced) {
            self.halt(error.to_string());
        }
    }

    fn try_apply(
        &mut self,
        id: BlockId,
        complete: &blocks::Complete,
        txs: &[VerifiedTx],
        commit: Commit,
        rounds: Round,
        synced: bool,
    ) -> Result<(), StoreError> {
        let block = &complete.block;
        let outcome = self.app.execute(&self.store.reader()?, &chain::context(block), txs);
        let results = outcome.results;
        let mut next_validators = self
            .chain
            .next_validators
            .update(&results.validator_updates)
            .expect("the application hands out updates that make a set");
        next_validators.increment(1);
        let params = results.params_update.clone().unwrap_or_else(|| self.chain.params.clone());
        let tip = self.store.commit_block(&CommitBatch {
            block_id: id,
            block,
            block_bytes: &complete.bytes,
            seen_commit: &commit,
            results: &results,
            writes: &outcome.writes,
            validators: &next_validators,
            params: &params,
        })?;
        self.app.commit(outcome.update);
        let validators = self.chain.validators.clone();
        self.chain.advance(tip, next_validators, params);
        let ids: Vec<TxId> = block.tx_ids().collect();
        self.mempool.update(&self.store.reader()?, tip.height, &ids, outcome.writes.0.keys(), self.now);
        self.verifier.enter(self.chain.height(), self.chain.validators.clone(), validators.clone());
        self.blocks.clear();
        self.relayed.clear();
        self.waiting = true;
        self.poked = self.future.values().flatten().any(|message| height_of(message) == self.chain.height());
        self.last_commit_at = Some(self.now);
        let timing = CommitTiming { decide: self.now.since(self.height_started), rounds: rounds.0 };
        self.out.push(Output::Committed(Arc::new(Committed {
            block: (**block).clone(),
            block_id: id,
            block_bytes: complete.bytes.len(),
            commit,
            results,
            validators,
            synced,
            timing,
        })));
        Ok(())
    }

    // ---- block sync ----------------------------------------------------------------------------------------------

    /// Begins block sync at once if we are far behind, and after a moment of patience if we are a little behind.
    fn sync_if_late(&mut self, engine: &Engine, told: &mut Told) {
        let tip = self.chain.tip.height;
        let future = self.future.values().flatten().map(height_of).max().and_then(Height::prev);
        let best = self.sync.best().map(|(_, best)| best).max(future).filter(|best| *best > tip);
        let Some(best) = best.filter(|_| !self.sync.is_active()) else { return };
        let progressed = self.last_commit_at.unwrap_or(self.height_started);
        let stuck = self.now.since(progressed) >= sync::PATIENCE;
        if best.0 > tip.0 + FUTURE_HEIGHTS || stuck && self.sync.best().is_some_and(|(_, best)| best > tip) {
            self.sync.begin();
            self.sync_on(engine, told);
        } else {
            self.arm_sync_timer(sync::PATIENCE);
        }
    }

    fn arm_sync_timer(&mut self, after: Duration) {
        if !self.sync_timer {
            self.sync_timer = true;
            self.out.push(Output::StartTimer { timer: Timer::Sync, after });
        }
    }

    /// Applies what has come and asks for more, until nobody is ahead.
    fn sync_on(&mut self, engine: &Engine, told: &mut Told) {
        while self.sync.is_active() && !self.halted {
            if let Some((id, commit)) = self.sync.applying.take() {
                if !self.apply_synced(engine, id, commit) {
                    return;
                }
            } else if let Some(synced) = self.sync.pop() {
                self.take_synced(synced);
            } else if let Some((peer, request, blocks)) = self.sync.ask(self.now, self.chain.tip.height) {
                self.out.push(Output::RequestBlocks { peer, request, blocks });
                self.arm_sync_timer(self.config.sync_timeout);
                return;
            } else if self.sync.best().is_some_and(|(_, best)| best > self.chain.tip.height) {
                self.arm_sync_timer(self.config.sync_timeout);
                return;
            } else {
                self.sync.end();
                self.poked = true;
                self.start_if_wanted(told);
            }
        }
    }

    /// Checks the commit of the next block and makes it the one to apply.
    fn take_synced(&mut self, synced: Synced) {
        let height = synced.block.header.height;
        if height != self.chain.height() {
            // Consensus brought us along meanwhile, or a gap: both end by asking again.
            return;
        }
        if let Err(error) = synced.commit.verify(&self.chain.chain_id, &self.chain.validators) {
            let offence = Offence::BadBlock(format!("commit of height {height}: {error}"));
            self.sync.reject(&synced.peer);
            self.penalize(synced.peer, offence);
            return;
        }
        self.blocks.insert(synced.id, synced.block, synced.bytes, synced.parts, &[synced.id]);
        self.sync.applying = Some((synced.id, synced.commit));
    }

    /// Applies the block at hand; false while its signatures are being checked.
    fn apply_synced(&mut self, engine: &Engine, id: BlockId, commit: Commit) -> bool {
        if commit.height != self.chain.height() {
            return true;
        }
        self.check(engine, id);
        match self.blocks.get(&id).map(|entry| &entry.check) {
            Some(Check::Valid(_)) => {
                let rounds = commit.round;
                self.apply(id, commit, rounds, true);
                true
            }
            Some(Check::Invalid(reason)) => {
                let reason = format!(
                    "block {} was committed by more than two thirds of the power, but is invalid here: {reason}. The state of this \
                     node differs from theirs; do not delete it, report it, and restore from another node",
                    commit.height
                );
                self.halt(reason);
                false
            }
            _ => {
                self.sync.applying = Some((id, commit));
                false
            }
        }
    }

    // ---- saying --------------------------------------------------------------------------------------------------

    fn send(&mut self, to: Peer, message: PeerMessage) {
        self.out.push(Output::Send { to, message: gossip::shared(message) });
    }

    /// Sends something new on to those who lacked things before: at most once, whether or not the engine keeps it. (A proposal
    /// of a round ahead is not kept, nor is a third vote of an equivocator: such a message would go round for ever.)
    fn relay(&mut self, from: Peer, message: PeerMessage) {
        let height = self.chain.height();
        let lacking: Vec<Peer> = self
            .peers
            .iter()
            .filter(|(peer, view)| **peer != from && view.relays(height))
            .map(|(peer, _)| *peer)
            .collect();
        if lacking.is_empty()
            || self.relayed.len() >= RELAYED_MAX
            || !self.relayed.insert(types::blake3(&message.encode()))
        {
            return;
        }
        let message = gossip::shared(message);
        for to in lacking {
            self.out.push(Output::Send { to, message: Arc::clone(&message) });
        }
    }

    fn penalize(&mut self, peer: Peer, offence: Offence) {
        self.out.push(Output::Penalize { peer, offence });
    }

    fn halt(&mut self, sentence: String) {
        if !self.halted {
            self.halted = true;
            self.out.push(Output::Halt(sentence));
        }
    }

    fn round_state(&self, engine: &Engine) -> RoundState {
        gossip::round_state(engine, &self.blocks, self.chain.height(), &self.chain.validators, self.store.earliest())
    }

    /// A round above 0 is told to all at once: something is lost or somebody is down.
    fn show_new_round(&mut self, engine: &Engine) {
        let shown = (engine.height(), engine.round());
        if shown != self.shown_round && engine.round() > Round::ZERO && !self.halted {
            self.shown_round = shown;
            let state = self.round_state(engine);
            self.out.push(Output::Broadcast(gossip::shared(PeerMessage::RoundState(state))));
        }
    }

    fn broadcast_parts(&mut self, height: Height, round: Round, id: BlockId) {
        let Some(entry) = self.blocks.get(&id) else { return };
        let held: Vec<types::Part> =
            entry.parts.held().iter().filter_map(|index| entry.parts.get(index).cloned()).collect();
        for part in held {
            self.out.push(Output::Broadcast(gossip::shared(PeerMessage::Part { height, round, part })));
        }
    }
}

/// The transaction of these bytes if this node has checked its signature before.
fn known_tx(txs: &TxVerifier, bytes: &[u8]) -> Option<VerifiedTx> {
    let id = TxId(types::blake3(bytes).0);
    txs.is_verified(&id).then(|| Transaction::decode(bytes).ok().map(VerifiedTx::verified_before)).flatten()
}

/// The blocks that must stay: those that we are bound to, or proposed.
fn pinned(engine: &Engine) -> Vec<BlockId> {
    let bound = [engine.locked(), engine.valid()].into_iter().flatten().map(|lock| lock.block_id);
    let current = engine.proposals(engine.round()).map(|p| p.proposal.block_id);
    bound.chain(current).collect()
}

fn height_of(message: &PeerMessage) -> Height {
    match message {
        PeerMessage::Vote(vote) => vote.vote.height,
        PeerMessage::Proposal(proposal) => proposal.proposal.height,
        PeerMessage::Certificate(certificate) => certificate.height(),
        PeerMessage::Part { height, .. } => *height,
        PeerMessage::RoundState(state) => state.height,
    }
}

impl<K: Kv> Effects for Core<K> {
    fn build_block(&mut self, engine: &Engine, height: Height, round: Round) -> Option<consensus::Input> {
        let last_commit = match engine.last_commit() {
            Some(commit) => Some(commit),
            None if height > self.chain.initial_height => match self.store.seen_commit(self.chain.tip.height) {
                Ok(commit) => Some(commit),
                Err(error) => {
                    self.halt(error.to_string());
                    return None;
                }
            },
            None => None,
        };
        let room = self.chain.params.block.bytes_max as usize - Block::overhead_bytes_max(self.chain.validators.len());
        let txs = self.mempool.reap(room, self.chain.params.block.gas_max);
        let (bytes, txs): (Vec<Vec<u8>>, Vec<VerifiedTx>) = txs.into_iter().unzip();
        let (id, block, parts) = self.chain.build(self.now, self.own?, last_commit, bytes);
        let time = block.header.time;
        let bytes = parts.bytes().expect("a block cut here has all its parts");
        self.blocks.insert(id, block, bytes, parts, &[id]);
        if let Some(entry) = self.blocks.get_mut(&id) {
            entry.check = Check::Valid(Arc::new(txs));
        }
        Some(consensus::Input::BlockBuilt { round, block_id: id, time })
    }

    fn check_block(&mut self, engine: &Engine, block_id: BlockId) -> Option<consensus::Input> {
        self.blocks.expect(block_id, &pinned(engine));
        self.blocks.get_mut(&block_id)?.asked = true;
        self.check(engine, block_id)
    }

    fn commit(&mut self, engine: &Engine, block_id: BlockId, commit: Commit) -> Vec<consensus::Input> {
        let mut told = Vec::new();
        if engine.height() != self.chain.height() || self.halted {
            // Block sync brought this height already.
            return told;
        }
        let round = commit.round;
        self.apply(block_id, commit, round, false);
        // The height was decided by consensus before our eyes: from the next one on there is nothing that we may have forgotten.
        self.doubt = None;
        if self.decides_alone() {
            // Else one call would decide height after height and never return.
            self.empty_timer = Some(self.chain.height());
            let wait = if self.mempool.is_empty() { self.config.empty_block_interval } else { Some(Duration::ZERO) };
            if let Some(after) = wait {
                let timer = Timer::EmptyBlock(self.chain.height());
                self.out.push(Output::StartTimer { timer, after: after.max(self.config.block_interval_min) });
            }
        } else {
            self.start_if_wanted(&mut told);
        }
        told
    }

    fn start_timer(&mut self, timeout: Timeout, after: Duration) {
        self.out.push(Output::StartTimer { timer: Timer::Consensus(timeout), after });
    }

    fn evidence(&mut self, evidence: Evidence) {
        self.out.push(Output::Evidence(evidence));
    }

    fn write_ahead(&mut self, hard_state: &HardState) {
        if self.halted {
            return;
        }
        let named = [hard_state.locked, hard_state.valid].into_iter().flatten().map(|lock| lock.block_id);
        let named: BTreeSet<BlockId> = named.chain(hard_state.proposals.iter().map(|p| p.proposal.block_id)).collect();
        let held: Vec<(BlockId, Arc<Vec<u8>>)> = named
            .into_iter()
            .filter_map(|id| Some((id, Arc::clone(&self.blocks.get(&id)?.block.as_ref()?.bytes))))
            .collect();
        let blocks: Vec<(BlockId, &[u8])> = held.iter().map(|(id, bytes)| (*id, bytes.as_slice())).collect();
        self.syncs += 1;
        if let Err(error) = self.store.write_ahead(hard_state, &blocks) {
            self.halt(error.to_string());
        }
    }

    fn broadcast(&mut self, message: Message) {
        if self.halted {
            return;
        }
        let parts = match &message {
            Message::Proposal(signed) => {
                let p = &signed.proposal;
                Some((p.height, p.round, p.block_id))
            }
            Message::Vote(_) | Message::Certificate(_) => None,
        };
        let message = match message {
            Message::Proposal(proposal) => PeerMessage::Proposal(proposal),
            Message::Vote(vote) => PeerMessage::Vote(vote),
            Message::Certificate(certificate) => PeerMessage::Certificate(certificate),
        };
        self.out.push(Output::Broadcast(gossip::shared(message)));
        if let Some((height, round, id)) = parts.filter(|parts| self.parts_sent != Some(*parts)) {
            self.parts_sent = Some((height, round, id));
            self.broadcast_parts(height, round, id);
        }
    }
}
