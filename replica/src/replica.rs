//! The replica: takes inputs in order and returns the outputs that follow from them.
//!
//! ```text
//!   step(now, inputs, txs):  for each input ─> on_… ─> drive: engine (in a driver's batch) ─> execute what it asks for
//!                                           ─> go_on: block sync, start the next height
//!                            at the end: one write for all signed messages, then the messages, then our round state
//! ```
//! Between two heights the engine stays at the decided one. The next height starts when there is a reason:
//! transactions, a message of that height from a peer, a deadline of the application, or the interval for empty blocks.
//! It never starts before the minimum interval, and at most one starts per step, so that a lone validator with much work
//! still handles its other inputs.
//!
//! The maximum work that peers can cause in one step, with the largest validator set (`tests/worst_steps.rs` measures
//! it; all below 1 ms except the checks):
//!
//! | input | bound |
//! |---|---|
//! | votes, single or in certificates | the batch size of the node's inbox; a vote that is already held has no effect |
//! | signatures and parts that were not checked before | [`STEP_CHECKS_MAX`]: 2 ms |
//! | round states | one response to each peer, the bytes of `peers.rs` to all; block sync reads the claims once |
//! | evidence | one write for each infraction that it proves, within the bounds of `evidence.rs`; what `evidence.rs` says for other evidence |
//! | blocks of block sync | `SYNC_STEP_BYTES_MAX`, `SYNC_STEP_BLOCKS_MAX`; other threads check them |
//!
//! In addition there is the work for a block that validators proposed or decided; the `app` crate documents its bounds.
//!
//! The replica's methods are in files by topic, in `replica/`: `messages` of peers, `round_states`, blocks to `judge`,
//! `heights` that start, the `commit` of a block, `evidence`, `catch_up` by block sync, `signing`, and `views` for other threads.

mod catch_up;
mod commit;
mod evidence;
mod heights;
mod judge;
mod messages;
mod open;
mod round_states;
mod signing;
mod views;

use std::{cell::OnceCell, sync::Arc};

use app::UpgradeStop;
use consensus::{Engine, Input as EngineInput, driver::Batch};
use storage::{Kv, Store};
use types::{BlockId, Moment, PartSet, PeerMessage, Round, Time, TxPool};

use crate::{
    Config, Halt, Input, LiveApp, Output, Phase, RoundVotesHeld, Timer, TreesFrom, Verifier,
    blocks::Blocks,
    chain::Chain,
    evidence::Waiting,
    mutation::{Mutation, mutated},
    peers::Peers,
    sync::Sync,
};
use catch_up::CatchUp;
use heights::Pace;
pub use open::ReplicaError;
use round_states::Shown;
use signing::Signing;

/// Maximum number of signatures and parts that are checked on the replica's thread in one step: messages that arrived
/// before their height was known. Others are dropped, and the gossip repair sends them again. 32 checks take 2 ms.
const STEP_CHECKS_MAX: usize = 32;

/// A validator or a full node, without I/O of its own.
pub struct Replica<K: Kv> {
    config: Config,
    store: Arc<Store<K>>,
    app: LiveApp,
    trees_from: TreesFrom,
    verifier: Verifier,
    on_phase: Box<dyn FnMut(Phase) + Send>,
    /// The steady time of this step.
    now: Time,
    /// The wall-clock time of this step.
    wall: Time,
    /// Outputs of this step.
    outputs: Vec<Output>,
    /// True once the node must stop; it sends and writes nothing after that.
    halted: bool,
    engine: Engine,
    chain: Chain,
    blocks: Blocks,
    peers: Peers,
    sync: Sync,
    catch_up: CatchUp,
    pace: Pace,
    signing: Signing,
    /// Reason why this program may not execute the height after the tip.
    upgrade_stop: Option<UpgradeStop>,
    /// Evidence that waits for a block.
    evidence: Waiting,
    shown: Shown,
    /// Parts of the last committed block, for peers that are one height behind.
    last_parts: Option<PartSet>,
    /// Our last proposal of this height whose parts were sent.
    parts_said: Option<(Round, BlockId)>,
    /// The votes that the engine holds, for views; empty after an input of the engine, until they are read.
    votes_held: OnceCell<Arc<[RoundVotesHeld]>>,
    duplicate_votes: u64,
    duplicate_parts: u64,
}

/// What belongs to one step.
struct Turn<'a> {
    /// Messages and the hard state that wait for the end of the step.
    batch: Batch,
    /// The transactions that the driver lends for this step.
    txs: &'a dyn TxPool,
    /// True if a height has started in this step.
    has_started: bool,
    /// Number of signatures and parts that may still be checked in this step.
    checks_left: usize,
}

impl<K: Kv> Replica<K> {
    /// Handles inputs in order and returns outputs in order. Everything that the outputs depend on is durable.
    ///
    /// The wall time of `now` is the timestamp of the blocks and votes that are made here; its steady time measures all
    /// durations.
    ///
    /// `txs` are the transactions from which blocks are made. The replica reads them in this call alone.
    pub fn step(&mut self, now: impl Into<Moment>, inputs: Vec<Input>, txs: &dyn TxPool) -> Vec<Output> {
        if self.halted {
            return Vec::new();
        }
        Moment { wall: self.wall, steady: self.now } = now.into();
        self.signing.guard.on_time(self.wall);
        let mut turn = Turn { batch: Batch::default(), txs, has_started: false, checks_left: STEP_CHECKS_MAX };
        for input in inputs {
            self.on_input(&mut turn, input);
            self.go_on(&mut turn);
        }
        self.catch_up.look |= std::mem::take(&mut self.catch_up.look_at_end);
        self.go_on(&mut turn);
        self.on_round_states();
        for output in turn.batch.finish() {
            self.execute(txs, output);
        }
        self.publish_round();
        self.sample();
        let is_halted = self.halted;
        self.finish_if_done();
        let mut outputs = std::mem::take(&mut self.outputs);
        if is_halted && !mutated(Mutation::SpeakAfterFailure) {
            // The write that should have made these messages durable may be the one that failed.
            outputs.retain(|output| !matches!(output, Output::Send { .. } | Output::Broadcast(_)));
        }
        outputs
    }

    fn on_input(&mut self, turn: &mut Turn<'_>, input: Input) {
        if self.halted {
            return;
        }
        match input {
            Input::Start => self.on_start(),
            Input::PeerUp(peer) => {
                self.catch_up.look = true;
                self.peers.up(peer);
                let message = Arc::new(PeerMessage::RoundState(self.round_state()));
                self.outputs.push(Output::Send { to: peer, message });
            }
            Input::PeerDown(peer) => {
                self.peers.down(peer);
                self.blocks.forget_peer(peer);
                self.sync.peer_down(peer);
                self.catch_up.look = true;
            }
            Input::Message { peer, message, received } => self.on_message(turn, peer, message, received),
            Input::Timer(timer) => self.on_timer(turn, timer),
            Input::TxsAvailable => {}
            Input::TxsVerified { block_id, valid } => {
                let verdict = self.on_txs_verified(turn.txs, block_id, valid);
                self.on_verdict(turn, block_id, verdict);
            }
            Input::Blocks { request, response } => self.on_blocks(request, response),
            Input::CommitVerified(checked) => {
                self.catch_up.look = true;
                self.sync.on_commit_verified(checked);
            }
            Input::Evidence(evidence) => self.on_evidence(&evidence),
        }
    }

    fn on_start(&mut self) {
        let now = self.now;
        let height = self.chain.height();
        (self.pace.last_commit_at, self.pace.height_started) = (now, now);
        self.pace.block_time = self.wall;
        let own = self.own().map(types::ConsensusPublicKey::address);
        self.signing.guard.on_start(own, &self.chain.validators, self.wall);
        let said_before = self.signing.restored.as_ref().is_some_and(|hard_state| hard_state.height == height);
        self.pace.start_now = said_before || self.chain.tip.block_id.is_none();
        self.start_gossip_timer();
    }

    fn start_gossip_timer(&mut self) {
        let after = self.config.gossip_interval * if mutated(Mutation::SlowGossip) { 5 } else { 1 };
        self.outputs.push(Output::StartTimer { timer: Timer::Gossip, after });
    }

    fn on_timer(&mut self, turn: &mut Turn<'_>, timer: Timer) {
        match timer {
            Timer::Consensus(timeout) => {
                if self.is_live() {
                    self.drive(turn, EngineInput::Timeout(timeout));
                }
            }
            Timer::EmptyBlock(height) => {
                self.pace.start_timer.take_if(|(of, _)| *of == height);
            }
            Timer::Sync => {
                self.catch_up.timer = None;
                self.expire_requests();
            }
            Timer::Gossip => {
                let state = self.round_state();
                self.outputs.push(Output::Broadcast(Arc::new(PeerMessage::RoundState(state))));
                self.expire_requests();
                self.send_evidence_again();
                self.ask_to_sign(turn);
                if !mutated(Mutation::GossipOnce) {
                    self.start_gossip_timer();
                }
            }
        }
    }

    /// Stops this node permanently; it sends and writes nothing after this call.
    fn halt(&mut self, why: impl Into<Halt>) {
        if !std::mem::replace(&mut self.halted, true) {
            self.outputs.push(Output::Halt(why.into()));
        }
    }
}
