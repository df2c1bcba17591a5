//! The host: takes inputs in order and returns the outputs that follow from them.
//!
//! ```text
//!   step(now, inputs):  for each input ─> on_… ─> engine (in a driver's batch) ─> go_on: sync, start the next height
//!                       at the end: one write for all signed messages, then the messages, then our round state
//! ```
//! Between two heights the engine stays at the decided one. The next height starts when there is a reason:
//! transactions, a message of that height from a peer, or the interval for empty blocks. It never starts before the
//! minimum interval, and at most one starts per step, so that a lone validator with much work still handles its other
//! inputs.
//!
//! Size: one `impl` with one short function per input; the parts that decide something are in files of their own.
//!
//! The maximum work that peers can cause in one step, with the largest validator set (`tests/worst_steps.rs` measures
//! it; all below 1 ms except the checks):
//!
//! | input | bound |
//! |---|---|
//! | votes, single or in certificates | the batch size of the node's inbox; a vote that is already held has no effect |
//! | signatures and parts that were not checked before | [`STEP_CHECKS_MAX`]: 2 ms |
//! | round states | one response to each peer, [`gossip`]'s bytes to all; block sync reads the claims once |
//! | blocks of block sync | [`SYNC_STEP_BYTES_MAX`], [`SYNC_STEP_BLOCKS_MAX`]; other threads check them |
//!
//! In addition there is the work for a block that validators proposed or decided; the `app` crate documents its bounds.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use app::App;
use consensus::{Engine, Input as EngineInput, RoundNote, SignState, Signer, driver::Batch};
use genesis::Genesis;
use storage::{GenesisBatch, Kv, Store, StoreError};
use thiserror::Error;
use types::{
    BlockAndCommit, BlockId, BlockRequest, BlockResponse, CheckedPart, Commit, HardState, Hash, Height, Moment,
    PartSet, PeerMessage, Round, RoundState, SignedVote, Step, Time, VerifiedCertificate, VerifiedProposal,
    VerifiedVote, VoteType, Wire, limits::SYNC_BLOCKS_MAX,
};

use crate::{
    Checked, CheckedBlocks, Config, Halt, Held, Input, LiveApp, Mempool, Offence, Output, Peer, Phase, RoundVotesHeld,
    SigningRecord, Silence, Status, SyncedBlock, Timer, TxVerifier, Verifier,
    blocks::{Added, Blocks, Verdict},
    chain::Chain,
    core::{Core, Deps},
    gossip::{self, RELAY_HEIGHTS},
    guard::{self, Guard, Words},
    sync::{Applying, Ask, Claim, Sync},
};

/// Maximum bytes of synced blocks that are applied in one step; after that other inputs have their turn.
const SYNC_STEP_BYTES_MAX: usize = 1024 * 1024;

/// Maximum number of synced blocks that are applied in one step.
const SYNC_STEP_BLOCKS_MAX: usize = 16;

/// Maximum delay of a running timer after which it may still start a height. The wall clock is slewed, so the time left
/// until the tip's time differs a little from step to step, and not every step may start a timer of its own.
const START_SLACK: Duration = Duration::from_millis(5);

/// Maximum bytes of blocks in one response to a sync request, unless one block is larger.
const SERVE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Maximum number of signatures and parts that are checked on the host's thread in one step: messages that arrived
/// before their height was known. Others are dropped, and the gossip repair sends them again. 32 checks take 2 ms.
const STEP_CHECKS_MAX: usize = 32;

/// Number of samples of our round state per gossip interval. They are kept for two intervals, to determine what we have
/// held for some time.
const SAMPLES_PER_INTERVAL: u32 = 8;

/// Reason why a host cannot be opened.
#[derive(Debug, Error)]
pub enum HostError {
    /// The store refused or failed an operation.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was initialized with another genesis document.
    #[error(
        "the store was created with genesis {got}, but this genesis document is {expected}: use the document with which the store was created, or a new home"
    )]
    OtherGenesis {
        /// Hash of the store's genesis document.
        got: Hash,
        /// Hash of the given genesis document.
        expected: Hash,
    },
    /// The rows of the state do not hash to the app hash of the chain.
    #[error(
        "the state of height {height} has hash {got}, but the chain has {expected}: family state of the store is damaged. Stop the node, move the folder of the database away, and `cairn restore` a copy of another node's store; keep priv_validator_state.json"
    )]
    State {
        /// Height of the tip.
        height: Height,
        /// Hash that was computed from the rows.
        got: Hash,
        /// App hash of the tip.
        expected: Hash,
    },
}

/// A validator or a full node, without I/O of its own.
pub struct Host<K: Kv> {
    core: Core<K>,
    engine: Engine,
    sync: Sync,
    guard: Guard,
    /// True if the store holds signed messages that the signer's state did not contain when this host was opened.
    is_record_behind: bool,
    /// Height up to which nothing is signed, whatever the guard decides.
    signing_floor: Height,
    /// The hard state that this node wrote before it stopped, until its height starts.
    hard_state: Option<HardState>,
    /// True if the next height starts without a further reason.
    start_now: bool,
    /// True if a height has started in this step.
    started: bool,
    /// True while blocks of other nodes are being applied; the engine is then idle.
    catching_up: bool,
    /// The greatest height that is proven to be decided, by a commit of the validators that we know. Claims do not
    /// raise it.
    proven: Height,
    /// True if something that block sync depends on has changed.
    look: bool,
    /// True if peers claim another height than before: block sync handles that once per step, however many claims
    /// arrive.
    look_at_end: bool,
    /// Number of signatures and parts that may still be checked in this step.
    checks_left: usize,
    /// The timer for the next height that was started last.
    start_timer: Option<(Height, Time)>,
    sync_timer: Option<Time>,
    /// Samples of our round state, oldest first.
    samples: VecDeque<(Time, RoundState)>,
    published_round: (Height, Round),
}

impl<K: Kv> Host<K> {
    /// Opens a host on `store`, which is empty or holds the chain of `genesis`. Without a signer it is a full node.
    ///
    /// Cost: one scan of the state.
    ///
    /// Errors: [`HostError`], as of [`Host::begin`] and [`Host::resume`].
    pub fn open(
        config: Config,
        genesis: &Genesis,
        store: Arc<Store<K>>,
        mempool: Arc<Mempool>,
        txs: Arc<TxVerifier>,
        signer: Option<Signer>,
    ) -> Result<(Self, Verifier), HostError> {
        Self::begin(&store, genesis)?;
        Self::resume(config, store, mempool, txs, signer)
    }

    /// Writes the genesis state of `genesis` into an empty store. A store that was initialized with the same document
    /// is unchanged.
    ///
    /// Errors: `OtherGenesis` when the store was initialized with another document; `Store` when a write fails.
    pub fn begin(store: &Store<K>, genesis: &Genesis) -> Result<(), HostError> {
        if let Some(begun) = store.tip().and(store.genesis()) {
            let (got, expected) = (begun.document_hash, genesis.hash());
            return if got == expected { Ok(()) } else { Err(HostError::OtherGenesis { got, expected }) };
        }
        let first = genesis.first_state();
        let begun = storage::Genesis {
            initial_height: first.initial_height,
            time: first.time,
            app_hash: first.state.app_hash,
            document_hash: first.genesis_hash,
        };
        let (validators, params) = (&first.validators, &first.params);
        store.init_genesis(&GenesisBatch { genesis: begun, validators, params }, first.state.rows())?;
        Ok(())
    }

    /// Opens a host on a store that [`Host::begin`] initialized at any earlier time. Without a signer it is a full
    /// node.
    ///
    /// Cost: one scan of the state.
    ///
    /// Errors: `Store` when the store is empty, damaged or fails; `State` when the rows of the state do not hash to the
    /// app hash of the tip.
    pub fn resume(
        config: Config,
        store: Arc<Store<K>>,
        mempool: Arc<Mempool>,
        txs: Arc<TxVerifier>,
        signer: Option<Signer>,
    ) -> Result<(Self, Verifier), HostError> {
        let tip = store.tip().ok_or_else(|| StoreError::NoGenesis { place: store.kv().place() })?;
        let chain = Chain::load(&store, tip)?;
        let reader = store.reader()?;
        let app = App::open(&reader, chain.id.clone(), tip.height);
        reader.check()?;
        drop(reader);
        let (got, expected) = (app.app_hash(), tip.app_hash);
        if got != expected {
            return Err(HostError::State { height: tip.height, got, expected });
        }
        let hard_state = store.hard_state()?;
        let file = signer.as_ref().map(|signer| signer.state().clone()).unwrap_or_default();
        let mut stored = SignState::default();
        hard_state.iter().for_each(|hard_state| stored.raise_to(hard_state, &chain.id));
        let guard = Guard::new(&file, hard_state.as_ref(), &stored, tip.block_id.is_some());
        // If the signing state of the file is ahead of the hard state, it is unknown what was locked at its height.
        let ahead = if file.hrs() > stored.hrs() { file.height } else { Height::GENESIS };
        let is_record_behind = stored.hrs() > file.hrs();
        let signed = if file.hrs() > stored.hrs() { file } else { stored };
        let hard_state = hard_state.filter(|hard_state| hard_state.height > tip.height);
        // Heights below a hard state from before a rewind were already signed.
        let rewound =
            hard_state.as_ref().and_then(|hard_state| hard_state.height.prev()).filter(|below| *below > tip.height);
        let signing_floor = store.signing_floor().max(rewound.unwrap_or_default()).max(ahead);
        let own = signer.as_ref().map(Signer::address);
        let verifier = Verifier::new(chain.id.clone(), Core::<K>::place(&chain, Round::ZERO));
        let engine = Engine::new(chain.id.clone(), signer, chain.validators.as_ref().clone());
        let app = LiveApp::new(app);
        let deps = Deps {
            config,
            store,
            mempool,
            txs,
            verifier: verifier.clone(),
            chain,
            app,
            own,
            hard_state: hard_state.clone(),
            signed,
        };
        let host = Self {
            core: Core::new(deps),
            engine,
            sync: Sync::default(),
            guard,
            is_record_behind,
            signing_floor,
            hard_state,
            start_now: false,
            started: false,
            catching_up: false,
            proven: tip.height,
            look: false,
            look_at_end: false,
            checks_left: 0,
            start_timer: None,
            sync_timer: None,
            samples: VecDeque::new(),
            published_round: (Height::GENESIS, Round::ZERO),
        };
        Ok((host, verifier))
    }

    /// Handles inputs in order and returns outputs in order. Everything that the outputs depend on is durable.
    ///
    /// The wall time of `now` is the timestamp of the blocks and votes that are made here; its steady time measures all
    /// durations.
    pub fn step(&mut self, now: impl Into<Moment>, inputs: Vec<Input>) -> Vec<Output> {
        if self.core.halted {
            return Vec::new();
        }
        Moment { wall: self.core.wall, steady: self.core.now } = now.into();
        self.guard.on_time(self.core.wall);
        self.started = false;
        self.checks_left = STEP_CHECKS_MAX;
        let mut batch = Batch::default();
        for input in inputs {
            self.on_input(&mut batch, input);
            self.go_on(&mut batch);
        }
        self.look |= std::mem::take(&mut self.look_at_end);
        self.go_on(&mut batch);
        self.on_round_states();
        batch.finish(&mut self.core);
        self.publish_round();
        self.sample();
        let mut outputs = std::mem::take(&mut self.core.outputs);
        if self.core.halted {
            // The write that should have made these messages durable may be the one that failed.
            outputs.retain(|output| !matches!(output, Output::Send { .. } | Output::Broadcast(_)));
        }
        outputs
    }

    // ---- inputs --------------------------------------------------------------------------------------------------

    fn on_input(&mut self, batch: &mut Batch, input: Input) {
        if self.core.halted {
            return;
        }
        match input {
            Input::Start => self.on_start(),
            Input::PeerUp(peer) => {
                self.look = true;
                self.core.peers.up(peer);
                let message = Arc::new(PeerMessage::RoundState(self.round_state()));
                self.core.outputs.push(Output::Send { to: peer, message });
            }
            Input::PeerDown(peer) => {
                self.core.peers.down(peer);
                self.core.blocks.forget_peer(peer);
                self.sync.peer_down(peer);
                self.look = true;
            }
            Input::Message { peer, message, received } => self.on_message(batch, peer, message, received),
            Input::Timer(timer) => self.on_timer(batch, timer),
            Input::TxsAvailable => {}
            Input::TxsVerified { block_id, valid } => {
                let verdict = self.core.on_txs_verified(&self.engine, block_id, valid);
                self.on_verdict(batch, block_id, verdict);
            }
            Input::Blocks { request, response } => self.on_blocks(request, response),
            Input::CommitVerified(checked) => {
                self.look = true;
                self.sync.on_commit_verified(checked);
            }
        }
    }

    fn on_start(&mut self) {
        let now = self.core.now;
        let height = self.core.chain.height();
        (self.core.last_commit_at, self.core.height_started) = (now, now);
        self.guard.on_start(self.core.own, &self.core.chain.validators, self.core.wall);
        let said_before = self.hard_state.as_ref().is_some_and(|hard_state| hard_state.height == height);
        self.start_now = said_before || self.core.chain.tip.block_id.is_none();
        let after = self.core.config.gossip_interval;
        self.core.outputs.push(Output::StartTimer { timer: Timer::Gossip, after });
    }

    fn on_timer(&mut self, batch: &mut Batch, timer: Timer) {
        match timer {
            Timer::Consensus(timeout) => {
                if self.is_live() {
                    self.feed(batch, EngineInput::Timeout(timeout));
                }
            }
            Timer::EmptyBlock(height) => {
                self.start_timer.take_if(|(of, _)| *of == height);
            }
            Timer::Sync => {
                self.sync_timer = None;
                self.expire_requests();
            }
            Timer::Gossip => {
                let state = self.round_state();
                self.core.outputs.push(Output::Broadcast(Arc::new(PeerMessage::RoundState(state))));
                self.expire_requests();
                self.core.mempool.expire(self.core.now);
                self.ask_to_sign(batch);
                let after = self.core.config.gossip_interval;
                self.core.outputs.push(Output::StartTimer { timer: Timer::Gossip, after });
            }
        }
    }

    fn on_message(&mut self, batch: &mut Batch, peer: Peer, message: Checked, received: Time) {
        if self.core.halted || self.core.peers.get_mut(peer).is_none() {
            return;
        }
        match &message {
            Checked::Vote(vote) => self.note_height(peer, vote.vote.height),
            Checked::Proposal(proposal) => self.note_height(peer, proposal.proposal.height),
            Checked::Certificate(certificate) => self.note_height(peer, certificate.height()),
            Checked::Part { height, .. } => self.note_height(peer, *height),
            Checked::Unchecked(_) | Checked::Bad(_) => {}
        }
        match message {
            Checked::Bad(offence) => self.penalize(peer, offence),
            Checked::Unchecked(message) => self.on_unchecked(batch, peer, message, received),
            Checked::Vote(vote) => self.on_vote(batch, peer, vote, received),
            Checked::Proposal(proposal) => self.on_proposal(batch, peer, proposal, received),
            Checked::Certificate(certificate) => self.on_certificate(batch, peer, certificate, received),
            Checked::Part { height, round, part } => self.on_part(batch, peer, height, round, part),
        }
    }

    /// Raises the height that the peer claims, because its message is of this height.
    fn note_height(&mut self, peer: Peer, height: Height) {
        if let Some(view) = self.core.peers.get_mut(peer)
            && view.height < height
        {
            view.height = height;
            self.look_at_end |= height > self.core.chain.height();
        }
    }

    /// Handles a message that its verifier could not check: of another height, or a peer's round state.
    fn on_unchecked(&mut self, batch: &mut Batch, peer: Peer, message: PeerMessage, received: Time) {
        let (height, checks) = match &message {
            PeerMessage::RoundState(state) => (state.height, 0),
            PeerMessage::Part { height, .. } => (*height, 1),
            PeerMessage::Vote(vote) => (vote.vote.height, 1),
            PeerMessage::Proposal(proposal) => (proposal.proposal.height, 1),
            PeerMessage::Certificate(certificate) => (certificate.height(), certificate.votes().len()),
        };
        let ours = self.core.chain.height();
        if let PeerMessage::RoundState(state) = message {
            return self.on_round_state(peer, state);
        }
        self.note_height(peer, height);
        // The host has moved since the verifier saw the message. If it cannot be checked now either, its round is too
        // far ahead.
        if (height == ours || height == ours.next()) && checks <= self.checks_left {
            self.checks_left -= checks;
            match self.core.verifier.check(message) {
                Checked::Unchecked(_) => {}
                checked => self.on_message(batch, peer, checked, received),
            }
        }
    }

    /// Returns true if a message of this height must wait for the height to start.
    fn is_early(&self, height: Height) -> bool {
        let ours = self.core.chain.height();
        height == ours.next() || height == ours && !self.is_live()
    }

    fn on_vote(&mut self, batch: &mut Batch, peer: Peer, vote: VerifiedVote, received: Time) {
        let height = vote.vote.height;
        if self.is_early(height) {
            let bytes = vote.encode().len();
            return self.keep(peer, height, Checked::Vote(vote), bytes, received);
        }
        // The engine handles the rest: late votes of the height before, and useless votes. It receives no votes of a
        // height that block sync took over.
        let is_heard = self.is_live() || self.engine.is_decided();
        if is_heard && (height == self.engine.height() || height.next() == self.engine.height()) {
            if self.is_live() && height == self.engine.height() && !self.check_own(&vote) {
                return;
            }
            let new = self.lacks(&vote).then(|| (*vote).clone());
            if new.is_none() && height == self.engine.height() {
                self.core.duplicate_votes += 1;
                return;
            }
            if new.is_some() {
                self.sync.was_useful(peer);
            }
            self.feed(batch, EngineInput::Vote(vote));
            self.relay_votes(peer, new);
        }
    }

    fn on_proposal(&mut self, batch: &mut Batch, peer: Peer, proposal: VerifiedProposal, received: Time) {
        let height = proposal.proposal.height;
        if self.is_early(height) {
            let bytes = proposal.encode().len();
            return self.keep(peer, height, Checked::Proposal(proposal), bytes, received);
        }
        if height != self.core.chain.height() {
            return;
        }
        let known = |host: &Self| host.engine.proposals(proposal.proposal.round).any(|known| *known == *proposal);
        let new = !known(self);
        self.feed(batch, EngineInput::Proposal { proposal: proposal.clone(), received });
        if new && known(self) {
            self.relay(peer, height, |_| true, PeerMessage::Proposal(proposal.into_signed()));
        }
        self.judge_ready(batch);
    }

    fn on_certificate(&mut self, batch: &mut Batch, peer: Peer, certificate: VerifiedCertificate, received: Time) {
        let height = certificate.height();
        if self.is_early(height) {
            let bytes = certificate.votes().iter().map(|vote| vote.encode().len()).sum();
            return self.keep(peer, height, Checked::Certificate(certificate), bytes, received);
        }
        if height != self.core.chain.height() {
            return;
        }
        if certificate.votes().iter().all(|vote| self.check_own(vote)) {
            let new: Vec<SignedVote> =
                certificate.votes().iter().filter(|vote| self.lacks(vote)).map(|vote| (**vote).clone()).collect();
            if new.is_empty() && self.is_live() {
                return;
            }
            self.feed(batch, EngineInput::Certificate(certificate));
            self.relay_votes(peer, new);
        }
    }

    fn on_part(&mut self, batch: &mut Batch, peer: Peer, height: Height, round: Round, part: CheckedPart) {
        let ours = self.core.chain.height();
        let added = match height {
            at if at == ours => self.core.blocks.add_part(peer, height, round, part.clone()),
            at if at == ours.next() => self.core.blocks.keep_early(peer, height, round, part.clone()),
            _ => return,
        };
        match added {
            Added::New(_) => {
                let part = part.part().clone();
                self.relay(peer, height, |_| true, PeerMessage::Part { height, round, part });
                self.judge_ready(batch);
            }
            Added::Known => self.core.duplicate_parts += 1,
            Added::Early | Added::Dropped => {}
        }
    }

    /// Notes the round state of a peer. The response is sent at the end of the step, to the newest state.
    fn on_round_state(&mut self, peer: Peer, state: RoundState) {
        let (now, interval, height) = (self.core.now, self.core.config.gossip_interval, self.core.chain.height());
        let old = |(at, _): &&(Time, RoundState)| now.since(*at) >= interval / 4;
        let lacks_old =
            self.samples.iter().rev().find(old).is_some_and(|(_, before)| gossip::lacks_old(before, &state));
        let Some(view) = self.core.peers.get_mut(peer) else { return };
        if lacks_old {
            view.relay_until = Height(height.0.saturating_add(RELAY_HEIGHTS));
        }
        self.look_at_end |= view.height != state.height || view.earliest != state.earliest_height;
        view.note_state(state);
    }

    /// Responds to the new round states of peers: sends what they lack, and asks peers that are ahead for blocks.
    fn on_round_states(&mut self) {
        if self.core.halted || !self.core.peers.has_news() {
            return;
        }
        let (now, interval, is_live) = (self.core.now, self.core.config.gossip_interval, self.is_live());
        let Core { peers, blocks, chain, last_parts, outputs, .. } = &mut self.core;
        let (engine, height) = (&self.engine, chain.height());
        let answer = |state: &RoundState, bytes_max| match &chain.last_commit {
            _ if state.height == height && is_live => gossip::repair(engine, blocks, state, bytes_max),
            Some(commit) if state.height == commit.height => {
                gossip::repair_last(commit, last_parts.as_ref(), state, bytes_max)
            }
            _ => Vec::new(),
        };
        let send = |to, message| outputs.push(Output::Send { to, message });
        if peers.answer_states(now, interval, answer, send) {
            self.core.outputs.push(Output::StartTimer { timer: Timer::Sync, after: Duration::ZERO });
        }
    }

    // ---- blocks --------------------------------------------------------------------------------------------------

    /// Judges blocks that have become complete.
    fn judge_ready(&mut self, batch: &mut Batch) {
        for id in self.core.blocks.unjudged() {
            let verdict = self.core.judge(&self.engine, id);
            self.on_verdict(batch, id, verdict);
        }
    }

    /// Delivers the verdict of a block, if it is known, to block sync or the engine.
    fn on_verdict(&mut self, batch: &mut Batch, id: BlockId, verdict: Option<EngineInput>) {
        let Some(verdict) = verdict else { return };
        if let Some(Applying { commit, .. }) = self.sync.applying.take_if(|applying| applying.block_id == id) {
            return self.apply_synced(id, commit);
        }
        if self.is_live() {
            self.feed(batch, verdict);
        }
    }

    /// Commits a block that more than 2/3 decided. If it is not valid here, this node or its state is wrong.
    fn apply_synced(&mut self, id: BlockId, commit: Arc<Commit>) {
        let height = commit.height;
        if self.core.apply(id, Arc::unwrap_or_clone(commit), None) {
            self.catching_up = true;
            self.sync.applying = None;
            return self.on_committed(true);
        }
        let reason = match self.core.blocks.get(&id).map(|entry| &entry.verdict) {
            Some(Verdict::Invalid(reason)) => reason.clone(),
            _ => "its bytes are missing".into(),
        };
        self.core.halt(Halt::Differs { block_id: id, height, reason });
    }

    fn on_committed(&mut self, synced: bool) {
        if !self.guard.is_settled() {
            let (tip, precision) = (&self.core.chain.tip, self.core.chain.params.synchrony.precision);
            let said = (self.engine.height() == tip.height).then(|| self.engine.hard_state());
            let is_signed = said.is_some_and(|said| !said.votes.is_empty() || !said.proposals.is_empty());
            // The clocks of the proposer and of this node may each be off by the precision.
            self.guard.on_committed(tip.height, tip.time, synced, is_signed, precision * 2);
        }
        self.start_now = false;
        self.start_timer = None;
        self.proven = self.proven.max(self.core.chain.tip.height);
        self.look = true;
    }

    // ---- block sync ----------------------------------------------------------------------------------------------

    fn on_blocks(&mut self, request: u64, response: Option<CheckedBlocks>) {
        let (now, next) = (self.core.now, self.core.chain.height());
        let Some(request) = self.sync.on_answer(request) else { return };
        self.look = true;
        let peer = request.peer;
        let Some(CheckedBlocks { earliest, latest, proven, blocks }) = response else {
            return self.sync.fail(now, peer);
        };
        if let Some(view) = self.core.peers.get_mut(peer) {
            (view.height, view.earliest) = (Height(latest.0.min(i64::MAX as u64 - 2)).next(), earliest);
        }
        self.proven = self.proven.max(proven.unwrap_or_default());
        if blocks.is_empty() {
            self.sync.fail(now, peer);
            // The peer may have pruned the block in the meantime, or the request asked only for its range of heights.
            if earliest <= request.from && request.count > 0 {
                self.penalize(
                    peer,
                    Offence::Unserved(format!("it was asked for block {} and sent no block", request.from)),
                );
            }
            return;
        }
        if let Err(reason) = self.sync.take_in(next, &request, blocks) {
            self.sync.fail(now, peer);
            self.penalize(peer, Offence::BadResponse(reason));
        }
    }

    /// Expires requests that were not answered in time.
    fn expire_requests(&mut self) {
        self.look = true;
        for peer in self.sync.expire(self.core.now) {
            let seconds = self.core.config.sync_timeout.as_secs_f64();
            self.penalize(
                peer,
                Offence::Unserved(format!("it did not answer a request for blocks within {seconds} s")),
            );
        }
    }

    /// Applies the blocks that arrived and requests the missing ones.
    fn sync_on(&mut self) {
        if !std::mem::take(&mut self.look) {
            return;
        }
        let (mut bytes, mut blocks) = (0, 0);
        let is_enough = |bytes, blocks| bytes >= SYNC_STEP_BYTES_MAX || blocks >= SYNC_STEP_BLOCKS_MAX;
        while self.sync.applying.is_none() && !is_enough(bytes, blocks) && !self.core.halted {
            let next = self.core.chain.height();
            if self.sync.lacks_verification(next, || self.core.chain.validators.hash()) {
                let commit = self.sync.ask_verification(next);
                self.core.outputs.extend(commit.map(|commit| Output::VerifyCommit { commit }));
                break;
            }
            let Some((peer, block)) = self.sync.take(next) else { break };
            (bytes, blocks) = (bytes + block.bytes, blocks + 1);
            match self.check_synced(block) {
                Ok((commit, parts)) => self.begin_apply(peer, commit, parts),
                Err(offence) => {
                    self.sync.fail(self.core.now, peer);
                    self.penalize(peer, offence);
                }
            }
        }
        // The blocks that were just applied here are no reason to run block sync again.
        self.look = is_enough(bytes, blocks);
        if self.look {
            self.core.outputs.push(Output::StartTimer { timer: Timer::Sync, after: Duration::ZERO });
        }
        let views = self.core.peers.iter();
        let claims: Vec<Claim> =
            views.map(|(peer, view)| Claim { peer, height: view.height, earliest: view.earliest }).collect();
        let (now, next, timeout) = (self.core.now, self.core.chain.height(), self.core.config.sync_timeout);
        let plan = self.sync.plan(now, next, self.proven, timeout, &claims);
        for Ask { peer, request, blocks } in plan.asks {
            self.core.outputs.push(Output::RequestBlocks { peer, request, blocks });
        }
        let Some(after) = plan.look_after else { return };
        let at = now.saturating_add(after);
        if self.sync_timer.is_none_or(|running| at < running || running < now) {
            self.sync_timer = Some(at);
            self.core.outputs.push(Output::StartTimer { timer: Timer::Sync, after });
        }
    }

    /// Checks that these bytes are the block of the next height that more than 2/3 signed.
    fn check_synced(&self, block: SyncedBlock) -> Result<(Arc<Commit>, PartSet), Offence> {
        let SyncedBlock { bytes, parts, commit, verified } = block;
        let bad = |reason: String| Err(Offence::BadBlock(format!("block {}: {reason}", commit.height)));
        let (total, chain) = (commit.block_id.parts.total, &self.core.chain);
        let Some(parts) = parts.filter(|_| u64::from(total) <= chain.parts_max()) else {
            return bad(format!("{bytes} bytes in {total} parts"));
        };
        if parts.header() != commit.block_id.parts {
            return bad("its bytes do not match its commit".into());
        }
        match verified.map(|verified| verified.result) {
            Some(Ok(())) => Ok((commit, parts)),
            Some(Err(error)) => bad(error.to_string()),
            None => bad("its commit was not verified".into()),
        }
    }

    fn begin_apply(&mut self, peer: Peer, commit: Arc<Commit>, parts: PartSet) {
        let block_id = commit.block_id;
        self.sync.delivered(peer);
        self.core.put_block(&self.engine, commit.round, block_id, parts);
        let verdict = self.core.judge(&self.engine, block_id);
        match verdict {
            Some(_) => self.apply_synced(block_id, commit),
            None => self.sync.applying = Some(Applying { block_id, commit }),
        }
    }

    // ---- heights -------------------------------------------------------------------------------------------------

    /// Returns true if the engine is deciding the height after the tip.
    fn is_live(&self) -> bool {
        self.engine.height() == self.core.chain.height()
    }

    fn feed(&mut self, batch: &mut Batch, input: EngineInput) {
        let before = self.core.chain.height();
        let now = Moment { wall: self.core.wall, steady: self.core.now };
        let inputs: Vec<EngineInput> = self.core.dropped().chain([input]).collect();
        batch.feed(&mut self.engine, now, inputs, &mut self.core);
        if self.core.chain.height() != before {
            self.sync.applying = None;
            self.on_committed(false);
        }
    }

    /// Runs after each input: continues block sync and starts the next height if it is due.
    fn go_on(&mut self, batch: &mut Batch) {
        self.sync_on();
        // Heights that are proven to be decided are fetched while a peer delivers them; claims alone do not stop the
        // engine.
        self.catching_up &= self.proven >= self.core.chain.height() && self.sync.is_delivering();
        if self.core.halted || self.is_live() || self.catching_up {
            return;
        }
        let Some(due) = self.start_due() else { return };
        let (now, height) = (self.core.now, self.core.chain.height());
        if due > now || self.started {
            let at = due.max(now);
            let latest = at.saturating_add(START_SLACK);
            let running =
                self.start_timer.is_some_and(|(of, running)| of == height && running <= latest && running >= now);
            if !running {
                self.start_timer = Some((height, at));
                let timer = Timer::EmptyBlock(height);
                self.core.outputs.push(Output::StartTimer { timer, after: at.since(now) });
            }
            return;
        }
        self.start_height(batch);
        for (peer, waiting) in self.core.peers.take_waiting(height) {
            self.on_message(batch, peer, waiting.message, waiting.received);
        }
    }

    /// Returns when the next height may start, never before the time of the tip. `None` while there is no reason to
    /// start it.
    fn start_due(&self) -> Option<Time> {
        let core = &self.core;
        Some(self.wanted_from()?.max(core.now.saturating_add(core.chain.tip.time.since(core.wall))))
    }

    /// Returns the time since which there is a reason to start the next height.
    fn wanted_from(&self) -> Option<Time> {
        let core = &self.core;
        if self.start_now {
            return Some(core.now);
        }
        let earliest = core.last_commit_at.saturating_add(core.config.block_interval_min);
        if !core.mempool.is_empty() || core.peers.is_waiting(core.chain.height()) {
            return Some(earliest);
        }
        match core.config.empty_block_interval {
            Some(interval) => Some(earliest.max(core.last_commit_at.saturating_add(interval))),
            // The state after the last block is not yet in any header.
            None => (core.chain.last_app_hash != Some(core.chain.tip.app_hash)).then_some(earliest),
        }
    }

    fn start_height(&mut self, batch: &mut Batch) {
        let height = self.core.chain.height();
        self.guard.on_height(self.core.now);
        self.seal_if_due(height);
        let chain = &self.core.chain;
        let hard_state = self.hard_state.take_if(|hard_state| hard_state.height <= height);
        let hard_state = hard_state.filter(|hard_state| hard_state.height == height).map(Box::new);
        let abstain = !self.guard.signs() || height <= self.signing_floor;
        let told = EngineInput::StartHeight {
            height,
            validators: chain.validators.as_ref().clone(),
            timeouts: chain.params.timeouts,
            synchrony: chain.params.synchrony,
            hard_state,
            abstain,
        };
        (self.started, self.start_now, self.core.height_started) = (true, false, self.core.now);
        self.feed(batch, told);
        self.judge_ready(batch);
    }

    /// Starts to sign from now on, if enough is known.
    fn ask_to_sign(&mut self, batch: &mut Batch) {
        let height = self.core.chain.height();
        let may_ask = self.is_live() && height > self.signing_floor;
        // At a height that others have already decided there is nothing to sign.
        let is_decided = || self.engine.votes().decision().next().is_some();
        if self.guard.signs() || self.engine.own_index().is_none() || !may_ask || is_decided() {
            return;
        }
        let (words, total) = (self.words(), self.core.chain.validators.total_power());
        if self.guard.look(height, self.core.now, self.core.config.gossip_interval, words, total) {
            self.feed(batch, EngineInput::SignAgain);
        }
        self.seal_if_due(height);
    }

    /// Returns the votes of other validators at the height being decided.
    fn words(&self) -> Words {
        if !self.is_live() {
            return Words::default();
        }
        guard::words(&self.engine, self.guard.words_count_from(), self.guard.known_round(self.engine.height()))
    }

    /// Makes it durable that nothing is signed at a height at which this node abstains.
    fn seal_if_due(&mut self, height: Height) {
        if self.guard.must_seal(height) && self.core.own.is_some_and(|own| self.is_validator(own)) {
            self.engine.seal(height);
            if let Some(signer) = self.engine.signer() {
                self.core.keep_signed(signer.state());
            }
        }
    }

    fn is_validator(&self, own: types::Address) -> bool {
        self.core.chain.validators.by_address(&own).is_some()
    }

    /// Returns the reason why our validator does not sign.
    fn silence(&self) -> Option<Silence> {
        let (height, tip) = (self.core.chain.height(), self.core.chain.tip.height);
        self.core.own.filter(|own| self.is_validator(*own))?;
        if height <= self.signing_floor {
            return Some(Silence::SignedAhead { signed: self.signing_floor, tip });
        }
        if self.guard.signs() {
            return None;
        }
        self.guard.silence(height, self.words(), self.core.chain.validators.total_power())
    }

    /// Returns true if a vote may be counted. A vote of ours that is unknown here halts the node while we sign, because
    /// another process signs with our key; while we abstain, it ends all signing at its height.
    fn check_own(&mut self, vote: &SignedVote) -> bool {
        let height = vote.vote.height;
        if self.core.own != Some(vote.vote.validator) || guard::is_known(vote, &self.engine.hard_state()) {
            return true;
        }
        if height > self.signing_floor && self.guard.on_unknown_vote(height) {
            self.core.halt(Halt::AnotherSigner { height });
            return false;
        }
        self.seal_if_due(height);
        true
    }

    // ---- peers ---------------------------------------------------------------------------------------------------

    fn penalize(&mut self, peer: Peer, offence: Offence) {
        self.core.outputs.push(Output::Penalize { peer, offence });
    }

    fn keep(&mut self, peer: Peer, height: Height, message: Checked, bytes: usize, received: Time) {
        if let Some(view) = self.core.peers.get_mut(peer) {
            view.keep(height, message, bytes, received);
        }
    }

    /// Returns true if a vote of the height being decided is not held yet.
    fn lacks(&self, vote: &SignedVote) -> bool {
        let votes = self.engine.votes().round(vote.vote.round).map(|votes| votes.of(vote.vote.vote_type));
        vote.vote.height == self.engine.height() && !votes.is_some_and(|votes| votes.has(vote))
    }

    /// Forwards votes that were new here and are now held to peers that do not receive them from others.
    fn relay_votes(&mut self, from: Peer, votes: impl IntoIterator<Item = SignedVote>) {
        for vote in votes {
            if !self.lacks(&vote) {
                self.relay(from, vote.vote.height, |view| !view.holds(&vote), PeerMessage::Vote(vote.clone()));
            }
        }
    }

    fn relay(&mut self, from: Peer, height: Height, wants: impl Fn(&gossip::PeerView) -> bool, message: PeerMessage) {
        let message = Arc::new(message);
        let to = self.core.peers.relayed(height).filter(|(peer, view)| *peer != from && wants(view));
        let sends: Vec<Output> = to.map(|(to, _)| Output::Send { to, message: message.clone() }).collect();
        self.core.outputs.extend(sends);
    }

    fn round_state(&self) -> RoundState {
        let (chain, earliest) = (&self.core.chain, self.core.store.earliest());
        if self.is_live() {
            return gossip::round_state(&self.engine, &self.core.blocks, earliest);
        }
        RoundState::empty(chain.height(), Round::ZERO, chain.validators.len() as u32, earliest)
    }

    /// Publishes the round to verifiers, and to peers if it is not the first.
    fn publish_round(&mut self) {
        if self.core.halted || !self.is_live() {
            return;
        }
        let place = (self.engine.height(), self.engine.round());
        if place == self.published_round {
            return;
        }
        self.published_round = place;
        self.core.verifier.publish(Core::<K>::place(&self.core.chain, place.1));
        if place.1 > Round::ZERO {
            let current = Round(place.1.0.saturating_sub(1));
            self.core.blocks.forget_rounds(place.0, current);
            let state = PeerMessage::RoundState(self.round_state());
            self.core.outputs.push(Output::Broadcast(Arc::new(state)));
        }
    }

    /// Adds a sample of our round state.
    fn sample(&mut self) {
        let (now, spacing) = (self.core.now, self.core.config.gossip_interval / SAMPLES_PER_INTERVAL);
        let recent = self.samples.back().is_some_and(|(at, _)| now >= *at && now.since(*at) < spacing);
        if recent || !self.is_live() {
            return;
        }
        self.samples.push_back((now, self.round_state()));
        if self.samples.len() > 2 * SAMPLES_PER_INTERVAL as usize {
            self.samples.pop_front();
        }
    }

    // ---- views ---------------------------------------------------------------------------------------------------

    /// Returns the current state of this node. Cost: a copy of the votes of this height.
    pub fn status(&self) -> Status {
        let (core, engine, live) = (&self.core, &self.engine, self.is_live());
        let held = |round: Round, vote_type: VoteType| {
            let votes = engine.votes().round(round).map(|votes| votes.of(vote_type));
            votes.into_iter().flat_map(|votes| votes.votes()).map(|vote| (**vote).clone()).collect()
        };
        let rounds = engine.votes().rounds().filter(|_| live).map(|(round, _)| RoundVotesHeld {
            round,
            prevotes: held(round, VoteType::Prevote),
            precommits: held(round, VoteType::Precommit),
        });
        Status {
            height: core.chain.height(),
            round: if live { engine.round() } else { Round::ZERO },
            step: if live { engine.current_step() } else { Step::Propose },
            height_started: if live { core.height_started } else { core.last_commit_at },
            round_started: if live { engine.round_started() } else { core.last_commit_at },
            validators: core.chain.validators.clone(),
            proposal: engine.proposal(engine.round()).filter(|_| live).map(|signed| signed.proposal.block_id),
            locked: engine.locked().filter(|_| live).map(|lock| lock.block_id),
            valid: engine.valid().filter(|_| live).map(|lock| lock.block_id),
            votes: rounds.collect(),
            waits_until: self.waits_until(),
            silence: self.silence(),
            not_kept: self.not_kept(),
            catching_up: self.catching_up || self.proven > core.chain.height(),
            proven_height: self.proven,
            peer_heights: core.peers.iter().map(|(peer, view)| (peer, view.height)).collect(),
            tip: core.chain.tip.height,
            app_hash: core.chain.tip.app_hash,
            hard_state_height: core.hard_state_height,
            syncs: core.syncs,
            duplicate_votes: core.duplicate_votes,
            duplicate_parts: core.duplicate_parts,
        }
    }

    /// Returns the tip's time, if the next height waits for it because this clock is further behind than the precision
    /// allows.
    fn waits_until(&self) -> Option<Time> {
        let (tip, latest) =
            (self.core.chain.tip.time, self.core.wall.saturating_add(self.core.chain.params.synchrony.precision));
        let knows_time = self.core.wall > Time::UNIX_EPOCH;
        Some(tip).filter(|tip| knows_time && !self.is_live() && *tip > latest)
    }

    /// Returns the lowest height that a peer ahead of us keeps, if heights are proven to be decided and no such peer
    /// keeps our next one.
    fn not_kept(&self) -> Option<Height> {
        let next = self.core.chain.height();
        if self.proven < next || self.sync.is_delivering() {
            return None;
        }
        let ahead = self.core.peers.iter().filter(|(_, view)| view.height > next);
        ahead.map(|(_, view)| view.earliest).min().filter(|earliest| *earliest > next)
    }

    /// Starts or stops recording notes about the rounds inside heights, from the next step on: for clients that watch
    /// rounds.
    pub fn watch(&mut self, watched: bool) {
        self.engine.watch(watched);
    }

    /// Returns the notes since the last call, in order. A step makes a few notes for each vote that it counts.
    pub fn take_notes(&mut self) -> Vec<RoundNote> {
        self.engine.take_notes()
    }

    /// Sets a hook that is called when a phase begins, on the thread that calls `step`.
    pub fn on_phase(&mut self, hook: impl FnMut(Phase) + Send + 'static) {
        self.core.on_phase = Box::new(hook);
    }

    /// Returns the memory that is held for the height being decided, to check its bounds. Cost: counting all of it.
    pub fn held(&self) -> Held {
        Held {
            engine_bytes: self.engine.held_bytes(),
            engine_bytes_max: self.engine.held_bytes_max(),
            blocks_bytes: self.core.blocks.bytes(),
            blocks_bytes_max: Blocks::bytes_max(self.core.chain.parts_max()),
        }
    }

    /// Keeps what the key signs also in `record`, from now on: no message is sent before it is durable there.
    ///
    /// The store may hold signed messages that a failed write kept from this record. They are sent again, so they are
    /// written to the record first.
    ///
    /// Errors: those of the record.
    pub fn keep_signed_in(&mut self, mut record: impl SigningRecord + 'static) -> Result<(), StoreError> {
        if self.is_record_behind {
            record.begin(&self.core.signed);
            record.finish()?;
        }
        self.core.record = Some(Box::new(record));
        Ok(())
    }

    /// Returns the application, for proofs on other threads.
    pub fn app(&self) -> LiveApp {
        self.core.app.clone()
    }

    /// Returns the signer of the engine, to export what its key signed last.
    pub fn signer(&self) -> Option<&Signer> {
        self.engine.signer()
    }

    /// Returns the engine, for inspection.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Switches off a rule of the engine, to prove that a checker detects it.
    #[cfg(feature = "mutations")]
    pub fn with_mutation(mut self, mutation: consensus::Mutation) -> Self {
        self.engine = self.engine.with_mutation(mutation);
        self
    }

    /// Keeps the bytes of every block that is named, to prove that a checker detects it (I6).
    #[cfg(feature = "mutations")]
    pub fn keep_blocks(mut self) -> Self {
        self.core.blocks.keeps_all = true;
        self
    }

    /// Returns the response to a peer's request for blocks; on any thread.
    ///
    /// It contains at most 4 MiB of blocks, or one block if that is larger. It is shorter than requested where the kept
    /// blocks end, and before a height that cannot be read; the error of that read is returned too, for the log.
    pub fn serve(store: &Store<K>, request: BlockRequest) -> (BlockResponse, Option<StoreError>) {
        let latest = store.tip().filter(|tip| tip.block_id.is_some()).map_or(Height::GENESIS, |tip| tip.height);
        let mut response =
            BlockResponse { earliest: store.earliest(), latest, latest_commit: None, blocks: Vec::new() };
        match store.commit(latest) {
            Ok(commit) => response.latest_commit = Some(commit),
            // There is no block yet, or the window moved in the meantime.
            Err(StoreError::Pruned { .. } | StoreError::Future { .. }) => {}
            Err(error) => return (response, Some(error)),
        }
        let mut bytes = 0;
        for offset in 0..u64::from(request.count.min(SYNC_BLOCKS_MAX)) {
            let height = Height(request.from.0.saturating_add(offset));
            if height > latest || height < response.earliest {
                break;
            }
            let read =
                store.block_bytes(height).and_then(|block| Ok(BlockAndCommit { block, commit: store.commit(height)? }));
            let block = match read {
                Ok(block) => block,
                // The window moved in the meantime.
                Err(StoreError::Pruned { .. } | StoreError::Future { .. }) => break,
                Err(error) => return (response, Some(error)),
            };
            bytes += block.block.len();
            if bytes > SERVE_BYTES_MAX && offset > 0 {
                break;
            }
            response.blocks.push(block);
        }
        (response, None)
    }
}
