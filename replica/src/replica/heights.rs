//! Heights: starts the next one when there is a reason, and executes what the engine asks for.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use consensus::{Input as EngineInput, Message, Output as EngineOutput};
use storage::Kv;
use types::{Height, Moment, PeerMessage, Time, TxPool};

use super::{Replica, Turn};
use crate::{
    mutation::{Mutation, mutated},
    {Halt, HaltAt, Output, Timer},
};

/// Maximum delay of a running timer after which it may still start a height. The wall clock is slewed, so the time left
/// until the tip's time differs a little from step to step, and not every step may start a timer of its own.
const START_SLACK: Duration = Duration::from_millis(5);

/// Maximum duration of a timer for the next height. A deadline may be weeks away, each height starts a timer for it, and
/// timers are not cancelled: the timers of a minute stay few.
const START_TIMER_MAX: Duration = Duration::from_secs(60);

/// Maximum time for which a replica that decided its last height helps its peers to get there.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// When heights start.
#[derive(Debug)]
pub(super) struct Pace {
    /// True if the next height starts without a further reason.
    pub start_now: bool,
    /// The timer for the next height that was started last.
    pub start_timer: Option<(Height, Time)>,
    /// Time at which the tip was committed here, or the replica started.
    pub last_commit_at: Time,
    /// The block time at `last_commit_at`: the tip's, if its decision has just been made, otherwise that of our clock.
    pub block_time: Time,
    /// The application's earliest deadline after the tip.
    pub deadline: Option<Time>,
    /// Time at which the height being decided started here.
    pub height_started: Time,
}

impl Default for Pace {
    fn default() -> Self {
        let never = Time::UNIX_EPOCH;
        Self {
            start_now: false,
            start_timer: None,
            last_commit_at: never,
            block_time: never,
            deadline: None,
            height_started: never,
        }
    }
}

impl<K: Kv> Replica<K> {
    /// Returns true if the engine is deciding the height after the tip.
    pub(super) fn is_live(&self) -> bool {
        self.engine.height() == self.chain.height()
    }

    /// Steps the engine with an input, executes what it asks for, and steps it with the answers.
    pub(super) fn drive(&mut self, turn: &mut Turn<'_>, input: EngineInput) {
        let now = Moment { wall: self.wall, steady: self.now };
        let mut queue: VecDeque<EngineInput> = self.dropped().chain([input]).collect();
        self.votes_held.take();
        while let Some(input) = queue.pop_front() {
            let due = turn.batch.step(&mut self.engine, now, input);
            let answers: Vec<EngineInput> = due.into_iter().flat_map(|output| self.execute(turn.txs, output)).collect();
            answers.into_iter().rev().for_each(|answer| queue.push_front(answer));
        }
    }

    /// Executes an output of the engine and returns the answers to it, if they are known at once.
    pub(super) fn execute(&mut self, txs: &dyn TxPool, output: EngineOutput) -> Vec<EngineInput> {
        let speaks = mutated(Mutation::SpeakAfterFailure) && matches!(output, EngineOutput::Broadcast(_));
        if self.halted && !speaks && !matches!(output, EngineOutput::StartTimer(..) | EngineOutput::Evidence(_)) {
            return Vec::new();
        }
        match output {
            EngineOutput::BuildBlock { height, round } => return self.build_block(txs, height, round),
            EngineOutput::CheckBlock(block_id) => return self.check_block(txs, block_id),
            EngineOutput::WriteAhead(hard_state) => self.write_ahead(&hard_state),
            EngineOutput::Broadcast(message) => self.broadcast(message),
            EngineOutput::StartTimer(timeout, after) => {
                self.outputs.push(Output::StartTimer { timer: Timer::Consensus(timeout), after });
            }
            // The replica, not the engine, decides when the next height starts.
            EngineOutput::Commit { block_id, commit } => self.commit_decided(txs, block_id, commit),
            EngineOutput::Evidence(evidence) => self.on_evidence_found(*evidence),
        }
        Vec::new()
    }

    /// Runs after each input: continues block sync and starts the next height if it is due.
    pub(super) fn go_on(&mut self, turn: &mut Turn<'_>) {
        self.sync_on(turn.txs);
        // Heights that are proven to be decided are fetched while a peer delivers them; claims alone do not stop the
        // engine.
        self.catch_up.is_active &= self.catch_up.proven >= self.chain.height() && self.sync.is_delivering();
        if self.halted || self.is_live() || self.catch_up.is_active || self.has_last_height() {
            return;
        }
        let ours = self.chain.height();
        if mutated(Mutation::BelieveClaims) && self.peers.heights().iter().any(|(_, height)| *height > ours) {
            return;
        }
        let Some(due) = self.start_due(turn.txs) else { return };
        let (now, height) = (self.now, self.chain.height());
        if due > now || turn.has_started {
            let at = due.max(now);
            let latest = at.saturating_add(START_SLACK);
            let running =
                self.pace.start_timer.is_some_and(|(of, running)| of == height && running <= latest && running >= now);
            if !running {
                let after = at.since(now).min(START_TIMER_MAX);
                self.pace.start_timer = Some((height, now.saturating_add(after)));
                self.outputs.push(Output::StartTimer { timer: Timer::EmptyBlock(height), after });
            }
            return;
        }
        self.start_height(turn);
        for (peer, waiting) in self.peers.take_waiting(height) {
            self.on_message(turn, peer, waiting.message, waiting.received);
        }
    }

    /// Returns true if the tip is the last height that the operator wants, or that this program may execute.
    pub(super) fn has_last_height(&self) -> bool {
        let (HaltAt { height, time }, tip) = (self.config.halt, &self.chain.tip);
        let is_wanted = tip.block_id.is_some()
            && (height.is_some_and(|last| tip.height >= last) || time.is_some_and(|last| tip.time >= last));
        is_wanted || self.upgrade_stop.is_some()
    }

    /// Finishes if the tip is the last height, and no connected peer needs this node to get there. A peer that cannot be
    /// helped delays it by [`LINGER_MAX`].
    pub(super) fn finish_if_done(&mut self) {
        if self.halted || !self.has_last_height() {
            return;
        }
        let next = self.chain.height();
        let has_waited = self.now.since(self.pace.last_commit_at) >= LINGER_MAX;
        if has_waited || self.peers.heights().iter().all(|(_, height)| *height >= next) {
            self.halted = true;
            let stop = self.upgrade_stop.take().map(|stop| Output::Halt(Halt::Upgrade(stop)));
            self.outputs.push(stop.unwrap_or(Output::Finished));
        }
    }

    /// Returns when the next height may start, never before the time of the tip. `None` while there is no reason to
    /// start it.
    fn start_due(&self, txs: &dyn TxPool) -> Option<Time> {
        Some(self.wanted_from(txs)?.max(self.now.saturating_add(self.chain.tip.time.since(self.wall))))
    }

    /// Returns the time since which there is a reason to start the next height.
    fn wanted_from(&self, txs: &dyn TxPool) -> Option<Time> {
        if self.pace.start_now {
            return Some(self.now);
        }
        let earliest = self.pace.last_commit_at.saturating_add(self.config.block_interval_min);
        let has_content = !txs.is_empty() || !self.evidence_for_block().is_empty();
        if has_content || self.peers.is_waiting(self.chain.height()) {
            return Some(earliest);
        }
        let empty = match self.config.empty_block_interval {
            Some(interval) => Some(self.pace.last_commit_at.saturating_add(interval)),
            // What the last block's content changed is not yet in any header.
            None => {
                let is_new = self.chain.last_app_hash != Some(self.chain.tip.app_hash);
                (is_new && !self.chain.is_quiet).then_some(earliest)
            }
        };
        let deadline = self.pace.deadline.map(|deadline| self.reached_at(deadline));
        let reasons = [empty, deadline].into_iter().flatten();
        reasons.min().map(|wanted| wanted.max(earliest))
    }

    /// Returns the time at which block time reaches `deadline`: by our clock, which will be the header's time if we
    /// propose, and by the tip's time and what has passed since. If our clock alone decided, a clock that is an hour
    /// ahead would start heights for an hour, none of which meets the deadline.
    fn reached_at(&self, deadline: Time) -> Time {
        let by_clock = self.now.saturating_add(deadline.since(self.wall));
        let by_chain = self.pace.last_commit_at.saturating_add(deadline.since(self.pace.block_time));
        by_clock.max(by_chain)
    }

    fn start_height(&mut self, turn: &mut Turn<'_>) {
        let height = self.chain.height();
        self.signing.guard.on_height(self.now);
        self.seal_if_due(height);
        let chain = &self.chain;
        let hard_state = self.signing.restored.take_if(|hard_state| hard_state.height <= height);
        let hard_state = hard_state.filter(|hard_state| hard_state.height == height).map(Box::new);
        let is_below_floor = height <= self.signing.floor && !mutated(Mutation::IgnoreFloor);
        let abstain = !self.signing.guard.signs() || is_below_floor;
        let start = EngineInput::StartHeight {
            height,
            validators: chain.validators.as_ref().clone(),
            timeouts: chain.params.timeouts,
            synchrony: chain.params.synchrony,
            hard_state,
            abstain,
        };
        (self.pace.start_now, self.pace.height_started) = (false, self.now);
        turn.has_started = true;
        self.drive(turn, start);
        self.judge_ready(turn);
    }

    fn broadcast(&mut self, message: Message) {
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
        let Some((round, id)) = parts_of.filter(|of| self.parts_said.replace(*of) != Some(*of)) else { return };
        let Some(entry) = self.blocks.get(&id).filter(|_| !mutated(Mutation::KeepParts)) else { return };
        let height = self.chain.height();
        let parts = (0..id.parts.total).filter_map(|index| entry.parts.get(index).cloned());
        let messages = parts.map(|part| Output::Broadcast(Arc::new(PeerMessage::Part { height, round, part })));
        self.outputs.extend(messages);
    }
}
