//! Runs the engine on a batch of inputs, with one write-ahead for all messages that the batch produces.
//!
//! ```text
//!   inputs ─> engine.step ─┬─ BuildBlock, CheckBlock, Commit, StartTimer, Evidence ─> Effects, at once
//!               ^          │                                                             │
//!               └──────────│─────────────────────── answers ─────────────────────────────┘
//!                          └─ WriteAhead, Broadcast ─> kept until the batch is done:
//!                                                      the last WriteAhead once, then every Broadcast in order
//! ```
//! It is sound to keep only the last hard state: it supersedes the earlier ones of its height, and the hard state of a
//! decided height is written before the commit, so before any hard state of a later height.

use std::collections::VecDeque;

use types::{BlockId, Commit, Evidence, HardState, Height, Moment, Round};

use crate::{Engine, Input, Message, Output, Timeout};

/// Executes the actions that the engine asks for. The driver calls the methods in the order in which they must take
/// effect.
pub trait Effects {
    /// Builds a block. The answer is returned at once or arrives as a later input. If the new block displaced other
    /// blocks, their [`Input::BlockDropped`] come first.
    fn build_block(&mut self, engine: &Engine, height: Height, round: Round) -> Vec<Input>;
    /// Checks a block. The answer is returned at once or arrives as a later input. If the block displaced other blocks,
    /// their [`Input::BlockDropped`] come first.
    fn check_block(&mut self, engine: &Engine, block_id: BlockId) -> Vec<Input>;
    /// Commits a decided block. The next height starts at once, with the returned inputs that were kept for it, or
    /// later.
    fn commit(&mut self, engine: &Engine, block_id: BlockId, commit: Commit) -> Vec<Input>;
    /// Starts a timer that expires after the given duration.
    fn start_timer(&mut self, timeout: Timeout, after: std::time::Duration);
    /// Reports two votes of one validator that contradict each other.
    fn evidence(&mut self, evidence: Evidence);
    /// Makes the hard state durable, with one disk sync. It is called before the messages that it explains are
    /// broadcast.
    fn write_ahead(&mut self, hard_state: &HardState);
    /// Sends a message to all peers.
    fn broadcast(&mut self, message: Message);
}

/// Collects what one batch has to write and to broadcast at its end.
#[derive(Debug, Default)]
pub struct Batch {
    write_ahead: Option<Box<HardState>>,
    said: Vec<Message>,
}

impl Batch {
    /// Steps the engine with `inputs` and with the answers to its requests, until no input is left.
    ///
    /// Our own precommit may be part of the quorum of a decision, so a waiting hard state is written before the block
    /// is committed.
    pub fn feed(
        &mut self,
        engine: &mut Engine,
        now: Moment,
        inputs: impl IntoIterator<Item = Input>,
        effects: &mut impl Effects,
    ) {
        let mut queue: VecDeque<Input> = inputs.into_iter().collect();
        while let Some(input) = queue.pop_front() {
            let mut answers = Vec::new();
            for output in engine.step(now, input) {
                match output {
                    Output::BuildBlock { height, round } => answers.extend(effects.build_block(engine, height, round)),
                    Output::CheckBlock(block_id) => answers.extend(effects.check_block(engine, block_id)),
                    Output::Commit { block_id, commit } => {
                        self.write(effects);
                        answers.extend(effects.commit(engine, block_id, commit));
                    }
                    Output::StartTimer(timeout, after) => effects.start_timer(timeout, after),
                    Output::Evidence(evidence) => effects.evidence(*evidence),
                    Output::WriteAhead(hard_state) => self.supersede(hard_state),
                    Output::Broadcast(message) => self.said.push(message),
                }
            }
            // Answers precede the remaining inputs, because after a commit the rest of the batch may belong to the next
            // height.
            answers.into_iter().rev().for_each(|answer| queue.push_front(answer));
        }
    }

    /// Keeps the last hard state of the batch. It forbids to sign again whatever the earlier ones forbid.
    fn supersede(&mut self, later: Box<HardState>) {
        let hrs = |hard_state: &HardState| (hard_state.height, hard_state.round, hard_state.step);
        let grows = self.write_ahead.as_ref().is_none_or(|earlier| hrs(earlier) <= hrs(&later));
        assert!(grows, "I2: a later hard state supersedes an earlier one");
        self.write_ahead = Some(later);
    }

    /// Ends the batch: writes the hard state, then broadcasts the messages.
    pub fn finish(mut self, effects: &mut impl Effects) {
        self.write(effects);
        self.said.into_iter().for_each(|message| effects.broadcast(message));
    }

    fn write(&mut self, effects: &mut impl Effects) {
        if let Some(hard_state) = self.write_ahead.take() {
            effects.write_ahead(&hard_state);
        }
    }
}

/// Runs one batch: one [`Effects::write_ahead`] before all its messages, and one more before a commit if the batch
/// decides a height in which it also signed.
pub fn run(
    engine: &mut Engine,
    now: impl Into<Moment>,
    inputs: impl IntoIterator<Item = Input>,
    effects: &mut impl Effects,
) {
    let mut batch = Batch::default();
    batch.feed(engine, now.into(), inputs, effects);
    batch.finish(effects);
}
