//! The loop of the consensus thread: wait, collect the available inputs, run one step of the replica, perform its outputs
//! in order.
//!
//! ```text
//!   verify pool ─┐
//!   network ─────┼─▶ Inbox ──▶ [Input] ──▶ Replica::step(now, [Input]) ──▶ [Output] ──▶ network, timers, pool, board
//!   timers ──────┘   bounded     one batch     at most one sync             in order
//! ```
//! One thread owns the replica. It waits only for the inbox, the next timer, or the disk inside `Replica::step`; nothing is
//! polled. Everything that the outputs depend on is durable when `step` returns, so the thread only has to send them.
//!
//! Both clocks are read once per batch: see `clock.rs`.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    path::PathBuf,
    sync::{Arc, mpsc::SyncSender},
    time::{Duration, Instant},
};

use app::UpgradeStop;
use mempool::SharedPool;
use p2p::{Bytes, Channel, Network, NodeId, RequestError};
use replica::{Committed, Halt, Input, Output, Replica, Status, Timer};
use rpc::Happened;
use storage::RocksKv;
use types::{Event, PeerMessage, PeerRequest, Power, ValidatorUpdate, Wire};

use crate::{
    board::Board,
    clock::MachineClocks,
    exit::Failure,
    heard::{self, Heard},
    inbox::{Inbox, Taken},
    metrics::{Metrics, message_type},
    os,
    penalty::penalize,
    progress::{Progress, attribute},
    signing::NewKeys,
    stake_log::StakeLog,
    stop::Stopper,
    upgrade_info,
    verify_pool::VerifyPool,
};

/// The consensus thread and the parts of the node that it uses.
pub struct ConsensusThread {
    /// The replica, which holds all protocol logic.
    pub replica: Replica<RocksKv>,
    /// The waiting transactions, lent to the replica for each step.
    pub txs: SharedPool,
    /// Queue of inputs from the other threads.
    pub inbox: Arc<Inbox>,
    /// The network for messages and requests to peers.
    pub network: Network,
    /// The pool that verifies transactions, precommits and commits.
    pub pool: Arc<VerifyPool>,
    /// The board on which other threads see the state of consensus.
    pub board: Arc<Board>,
    /// The metrics that this thread updates.
    pub metrics: Arc<Metrics>,
    /// Wakes the pruner; the channel is full while the pruner is awake already.
    pub pruner: SyncSender<()>,
    /// Wakes the thread that stores the hashes of trees; the channel is full while it is awake already.
    pub trees: SyncSender<()>,
    /// The files of this node's consensus keys, of which a new one may come.
    pub new_keys: NewKeys,
    /// Log lines about the progress of consensus.
    pub progress: Progress,
    /// Log lines about validators.
    pub stake_log: StakeLog,
    /// Stops the node after its last height.
    pub stopper: Stopper,
    /// Folder for the file about the upgrade for which the node stops.
    pub data_dir: PathBuf,
}

impl ConsensusThread {
    /// Runs until the inbox is closed. The caller must use a thread of its own for it.
    ///
    /// Errors: the reason for which the replica must stop.
    pub fn run(self) -> Result<(), Failure> {
        os::prefer_latency();
        let status = self.board.status();
        let mut turns = Turns {
            timers: Timers::default(),
            clock: MachineClocks::default(),
            step_since: Instant::now(),
            catching_up: CatchingUp::default(),
            status,
            thread: self,
        };
        turns.thread.progress.on_start(&turns.status);
        turns.thread.stake_log.on_start(turns.thread.replica.signer());
        let mut inputs = vec![Input::Start];
        loop {
            turns.turn(&mut inputs)?;
            while inputs.is_empty() {
                if turns.thread.inbox.take(turns.timers.next(), &mut inputs) == Taken::Closed {
                    return Ok(());
                }
                turns.timers.take_due(Instant::now(), &mut inputs);
            }
        }
    }
}

/// State that only the consensus thread uses.
struct Turns {
    thread: ConsensusThread,
    timers: Timers,
    clock: MachineClocks,
    /// Status of the replica after the last turn.
    status: Arc<Status>,
    step_since: Instant,
    catching_up: CatchingUp,
}

impl Turns {
    /// Runs one step of the replica with a batch of inputs and performs the outputs in order.
    fn turn(&mut self, inputs: &mut Vec<Input>) -> Result<(), Failure> {
        let now = self.clock.now();
        self.thread.metrics.on_inputs(inputs, &self.status);
        if inputs.iter().any(|input| matches!(input, Input::Timer(Timer::Gossip))) {
            self.thread.txs.mempool.drop_outdated(now.steady);
        }
        self.thread.replica.watch(self.thread.board.is_watched());
        let begun = Instant::now();
        let outputs = self.thread.replica.step(now, std::mem::take(inputs), &self.thread.txs);
        let stepped = Instant::now();
        let has_committed = outputs.iter().any(|output| matches!(output, Output::Committed(_)));
        let mut sent = Encoded::default();
        for output in outputs {
            self.perform(output, &mut sent, stepped)?;
        }
        for note in self.thread.replica.take_notes() {
            self.thread.board.publish_happened(Happened::Round(note));
        }
        self.thread.metrics.on_turn(stepped - begun, stepped.elapsed(), has_committed);
        self.publish_status();
        Ok(())
    }

    fn perform(&mut self, output: Output, sent: &mut Encoded, now: Instant) -> Result<(), Failure> {
        let thread = &self.thread;
        match output {
            Output::Send { to, message } => {
                let (channel, bytes) = sent.of(&message);
                thread.count_sent(&message, bytes.len(), 1);
                thread.network.send(NodeId(to.0), channel, bytes);
            }
            Output::Broadcast(message) => {
                let (channel, bytes) = sent.of(&message);
                let length = bytes.len();
                let peers = thread.network.broadcast(channel, bytes);
                thread.count_sent(&message, length, peers);
            }
            Output::StartTimer { timer, after } => self.timers.start(now, after, timer),
            Output::VerifyTxs { block_id, txs, precommits, evidence } => {
                thread.pool.verify_block(block_id, txs, precommits, evidence);
            }
            Output::VerifyCommit { commit } => thread.pool.verify_commit(commit),
            Output::RequestBlocks { peer, request, blocks } => thread.request_blocks(peer, request, &blocks),
            Output::Penalize { peer, offence } => penalize(&thread.network, peer, &offence),
            Output::Committed(committed) => self.on_committed(committed),
            Output::Evidence(evidence) if !thread.board.publish_evidence(&evidence) => {} // it was reported before
            Output::Evidence(evidence) => {
                thread.metrics.on_evidence(&evidence);
                report(&evidence);
            }
            Output::Finished => {
                tracing::info!(
                    target: "consensus", height = self.thread.replica.status().tip.0,
                    "this is the last height, by --halt-height or --halt-time: the node stops; start it without these flags to continue"
                );
                self.thread.stopper.stop();
            }
            Output::Halt(why) => {
                if let Halt::Upgrade(UpgradeStop::Needed(plan)) = &why {
                    upgrade_info::write(&thread.data_dir, plan);
                }
                return Err(why.into());
            }
        }
        Ok(())
    }

    fn on_committed(&mut self, committed: Arc<Committed>) {
        let us = self.status.own.map(|own| own.address());
        let thread = &mut self.thread;
        thread.hold_new_keys(&committed);
        let interval = thread.progress.on_committed(&committed, us);
        thread.stake_log.on_committed(&committed, thread.replica.signer());
        thread.metrics.on_committed(&committed, interval, us);
        thread.board.publish_committed(committed);
        let _ = thread.pruner.try_send(()); // full: the pruner is awake already
        let _ = thread.trees.try_send(()); // full: as the pruner
    }

    fn publish_status(&mut self) {
        let mut status = self.thread.replica.status();
        status.catching_up = self.catching_up.is_worth_telling(&status, Instant::now());
        let place = |status: &Status| (status.height, status.round, status.step);
        if place(&status) != place(&self.status) {
            let at = Instant::now();
            self.thread.metrics.on_step(self.status.step, at - self.step_since);
            self.step_since = at;
        }
        self.thread.progress.on_status(&self.status, &status);
        self.thread.metrics.on_status(&self.status, &status);
        if self.step_since.elapsed() >= heard::MISSING_AFTER
            && let Some(heard) = Heard::now(&status)
        {
            self.thread.metrics.on_waiting(&heard);
        }
        self.status = self.thread.board.publish_status(status);
    }
}

impl ConsensusThread {
    /// Looks for the next key of this node when a key enters the validator set, which signs two heights later, or replaces
    /// one of this node outside of the set.
    fn hold_new_keys(&mut self, committed: &Committed) {
        let enters = |update: &ValidatorUpdate| {
            update.power > Power::ZERO && committed.validators.by_address(&update.public_key.address()).is_none()
        };
        let Some(signer) = self.replica.signer() else { return };
        let replaces_ours = |event: &Event| {
            let old = attribute(event, "old").filter(|_| event.kind == "staking.key_rotated");
            old.and_then(|old| old.parse().ok()).is_some_and(|old| signer.is_own(&old))
        };
        let mut events = committed.results.txs.iter().flat_map(|tx| &tx.events);
        if committed.results.validator_updates.iter().any(enters) || events.any(replaces_ours) {
            self.new_keys.load().for_each(|key| self.replica.hold(key));
        }
    }

    fn request_blocks(&self, peer: NodeId, request: u64, blocks: &types::BlockRequest) {
        let pool = self.pool.clone();
        self.network.request_then(NodeId(peer.0), PeerRequest::Blocks(*blocks).encode(), move |reply| match reply {
            Ok(bytes) => pool.decode_response(peer, request, bytes),
            // The replica has its own timeout and then knows that the peer was silent.
            Err(RequestError::Timeout) => {}
            Err(error) => {
                tracing::debug!(target: "consensus", %peer, reason = %error, "a request for blocks was not answered");
                pool.no_response(request);
            }
        });
    }

    fn count_sent(&self, message: &PeerMessage, bytes: usize, receivers: usize) {
        let kind = message_type(message);
        self.metrics.p2p.message_send_bytes_total.with_label_values(&[kind]).inc_by((bytes * receivers) as u64);
    }
}

/// Encoding of the message sent last: one message to many peers is encoded once.
#[derive(Default)]
struct Encoded(Option<(Arc<PeerMessage>, Bytes)>);

impl Encoded {
    fn of(&mut self, message: &Arc<PeerMessage>) -> (Channel, Bytes) {
        let channel = match **message {
            PeerMessage::Part { .. } => Channel::Parts,
            _ => Channel::Consensus,
        };
        if let Some((_, bytes)) = self.0.as_ref().filter(|(last, _)| Arc::ptr_eq(last, message)) {
            return (channel, bytes.clone());
        }
        let bytes = Bytes::from(message.encode());
        self.0 = Some((message.clone(), bytes.clone()));
        (channel, bytes)
    }
}

/// Decides whether catching up is reported. A node that is slow for a moment fetches a block or two, which clients and
/// people need not know.
#[derive(Debug, Default)]
struct CatchingUp {
    since: Option<Instant>,
}

/// Catching up is reported when it lasts this long, or when more than this number of heights are missing.
const CATCHING_UP_LOGGED_AFTER: Duration = Duration::from_secs(1);
const CATCHING_UP_LOGGED_BEYOND: u64 = 16;

impl CatchingUp {
    fn is_worth_telling(&mut self, status: &Status, now: Instant) -> bool {
        if !status.catching_up {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now - since >= CATCHING_UP_LOGGED_AFTER || status.proven_height.0 > status.tip.0 + CATCHING_UP_LOGGED_BEYOND
    }
}

/// Logs evidence that this node has seen for the first time.
fn report(evidence: &types::Evidence) {
    let hash = evidence.hash();
    match evidence {
        types::Evidence::DuplicateVote(double) => {
            let vote = &double.vote_a.vote;
            tracing::warn!(
                target: "consensus", height = vote.height.0, round = vote.round.0, validator = %vote.validator,
                hash = %hash, "a validator signed two votes that contradict each other"
            );
        }
        types::Evidence::LightClientAttack(attack) => {
            let named: Vec<String> = attack.byzantine.iter().map(|one| one.address().to_string()).collect();
            tracing::warn!(
                target: "consensus", common_height = attack.common_height.0,
                height = attack.conflicting.header.height.0, validators = named.join(" "), hash = %hash,
                "validators signed a block for light clients that contradicts the chain"
            );
        }
    }
}

/// Timers in the order of their deadlines; timers with the same deadline keep the order of their start. None is
/// cancelled: the replica ignores one that no longer matters, and its own bounds limit how many it starts.
#[derive(Debug, Default)]
struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64, Timer)>>,
    started: u64,
}

impl Timers {
    fn start(&mut self, now: Instant, after: Duration, timer: Timer) {
        self.started += 1;
        self.heap.push(Reverse((now + after, self.started, timer)));
    }

    /// Returns the deadline of the next timer.
    fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    fn take_due(&mut self, now: Instant, inputs: &mut Vec<Input>) {
        while self.next().is_some_and(|at| at <= now) {
            if let Some(Reverse((.., timer))) = self.heap.pop() {
                inputs.push(Input::Timer(timer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Height;

    use super::*;

    #[test]
    fn timers_expire_in_order_of_their_time_then_of_their_start() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let ms = Duration::from_millis;
        timers.start(now, ms(20), Timer::Gossip);
        timers.start(now, ms(10), Timer::EmptyBlock(Height(2)));
        timers.start(now, ms(10), Timer::EmptyBlock(Height(1)));
        assert_eq!(timers.next(), Some(now + ms(10)));
        let mut due = Vec::new();
        timers.take_due(now + ms(15), &mut due);
        let [Input::Timer(Timer::EmptyBlock(first)), Input::Timer(Timer::EmptyBlock(second))] = due[..] else {
            panic!("{due:?}")
        };
        assert_eq!((first, second), (Height(2), Height(1)));
        assert_eq!(timers.next(), Some(now + ms(20)));
    }

    #[test]
    fn a_message_to_many_is_encoded_once() {
        let proof = types::merkle::Proof { total: 1, index: 0, leaf_hash: types::blake3(b""), aunts: Vec::new() };
        let part = types::Part { index: 0, bytes: vec![7], proof };
        let message = Arc::new(PeerMessage::Part { height: Height(1), round: types::Round(0), part: Arc::new(part) });
        let mut sent = Encoded::default();
        let (first, second) = (sent.of(&message).1, sent.of(&message).1);
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(sent.of(&message).0, Channel::Parts);
    }
}
