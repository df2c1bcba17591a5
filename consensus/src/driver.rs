//! The driver: a batch of inputs, answers included, and one write for all that it makes the engine say.
//!
//! ```text
//!   inputs ─> engine.step ─┬─ BuildBlock, CheckBlock, Commit, StartTimer, Evidence ─> Effects (at once; answers go back in)
//!                          └─ WriteAhead, Broadcast ─> kept until the batch is done:
//!                                                      the last WriteAhead once, then every Broadcast in order
//! ```
//! Keeping only the last hard state is sound: it holds everything that the earlier ones held of the same height, and a hard
//! state of a later height is written after the batch of the decided one.

use std::collections::VecDeque;

use types::{BlockId, Commit, Evidence, HardState, Height, Moment, Round};

use crate::{Engine, Input, Message, Output, Timeout};

/// What the driver needs done. Calls come in the order in which to do them.
pub trait Effects {
    /// Build a block; the answer may come at once or later. The answers tell first which other blocks gave way to it.
    fn build_block(&mut self, engine: &Engine, height: Height, round: Round) -> Vec<Input>;
    /// Check a block; the answer may come at once or later. The answers tell first which other blocks gave way to it.
    fn check_block(&mut self, engine: &Engine, block_id: BlockId) -> Vec<Input>;
    /// Commit a decided block. The next height may start at once, with what was kept for it, or later.
    fn commit(&mut self, engine: &Engine, block_id: BlockId, commit: Commit) -> Vec<Input>;
    /// Start a timer.
    fn start_timer(&mut self, timeout: Timeout, after: std::time::Duration);
    /// Report a double vote.
    fn evidence(&mut self, evidence: Evidence);
    /// Make durable, with one sync, before anything is said.
    fn write_ahead(&mut self, hard_state: &HardState);
    /// Say to all peers.
    fn broadcast(&mut self, message: Message);
}

/// What a batch wants written and said, so far.
#[derive(Debug, Default)]
pub struct Batch {
    write_ahead: Option<Box<HardState>>,
    said: Vec<Message>,
}

impl Batch {
    /// Steps the engine with `inputs` and the answers to what it asks for, until nothing is left.
    ///
    /// A decision may rest on our own precommit, so a hard state that waits is written before the block is committed.
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
                    Output::WriteAhead(hard_state) => self.write_ahead = Some(hard_state),
                    Output::Broadcast(message) => self.said.push(message),
                }
            }
            // Answers come before what arrived later: after a commit, the rest of the batch may be of the next height.
            answers.into_iter().rev().for_each(|answer| queue.push_front(answer));
        }
    }

    /// Ends the batch: writes, then says.
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

/// Runs a batch: one [`Effects::write_ahead`] before everything said in it, and one more if it decides on words of its own.
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
