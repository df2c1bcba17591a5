//! Runs the engine on a batch of inputs, with one write-ahead for all messages that the batch produces, because each
//! write-ahead costs a disk sync. A decision in the batch may cause one more.
//!
//! ```text
//!   input ─> engine.step ─┬─ BuildBlock, CheckBlock, StartTimer, Evidence ─> returned, in order
//!     ^                   ├─ Commit ─> returned, after the WriteAhead that waits
//!     │                   └─ WriteAhead, Broadcast ─> kept until the batch is finished:
//!     │                                               the last WriteAhead once, then every Broadcast in order
//!     └─ answers of the caller, before the remaining inputs of the batch
//! ```
//!
//! It is safe to keep only the last hard state: it supersedes the earlier ones of its height, and the hard state of a
//! decided height is returned before the commit, so before the engine makes a hard state of a later height.
//!
//! The caller (the replica) executes what is returned, in order. It gives its answers to one step to the engine before
//! the remaining inputs, because after a commit the rest of the batch may belong to the next height.

use types::{HardState, Moment};

use crate::{
    Engine, Input, Message, Output,
    mutation::{Mutation, is_any_rule_broken, mutated},
};

/// Collects what one batch has to write and to broadcast at its end.
#[derive(Debug, Default)]
#[must_use = "messages that are not finished are never sent"]
pub struct Batch {
    write_ahead: Option<Box<HardState>>,
    said: Vec<Message>,
}

impl Batch {
    /// Steps the engine with one input, and returns the outputs that the caller must execute now, in order.
    ///
    /// A waiting [`Output::WriteAhead`] precedes [`Output::Commit`], because our own precommit may be part of the
    /// quorum of the decision.
    pub fn step(&mut self, engine: &mut Engine, now: Moment, input: Input) -> Vec<Output> {
        let mut due = Vec::new();
        for output in engine.step(now, input) {
            match output {
                Output::WriteAhead(hard_state) => self.supersede(hard_state),
                Output::Broadcast(message) => self.said.push(message),
                Output::Commit { .. } if mutated(Mutation::CommitBeforeWrite) => due.push(output),
                Output::Commit { .. } => {
                    due.extend(self.write_ahead.take().map(Output::WriteAhead));
                    due.push(output);
                }
                Output::BuildBlock { .. } | Output::CheckBlock(_) | Output::StartTimer(..) | Output::Evidence(_) => {
                    due.push(output)
                }
            }
        }
        due
    }

    /// Keeps the last hard state of the batch. It prevents a second signature wherever the earlier ones do, because it
    /// is of the same or a later height, round and step.
    fn supersede(&mut self, later: Box<HardState>) {
        // Height, round and step: hard states are ordered by these.
        let hrs = |hard_state: &HardState| (hard_state.height, hard_state.round, hard_state.step);
        let grows = self.write_ahead.as_ref().is_none_or(|earlier| hrs(earlier) <= hrs(&later));
        assert!(grows || is_any_rule_broken(), "I2: a later hard state supersedes an earlier one");
        if self.write_ahead.is_none() || !mutated(Mutation::KeepFirstState) {
            self.write_ahead = Some(later);
        }
    }

    /// Ends the batch and returns the outputs that waited: the hard state to write, then the messages to broadcast.
    pub fn finish(self) -> impl Iterator<Item = Output> {
        let write_ahead = self.write_ahead.map(Output::WriteAhead);
        write_ahead.into_iter().chain(self.said.into_iter().map(Output::Broadcast))
    }
}
