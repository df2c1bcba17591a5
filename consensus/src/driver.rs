//! Runs the engine on a batch of inputs, with one write-ahead for all messages that the batch produces.
//!
//! ```text
//!   input ─> engine.step ─┬─ BuildBlock, CheckBlock, StartTimer, Evidence ─> returned, in order
//!     ^                   ├─ Commit ─> returned, after the WriteAhead that waits
//!     │                   └─ WriteAhead, Broadcast ─> kept until the batch is finished:
//!     │                                               the last WriteAhead once, then every Broadcast in order
//!     └─ answers of the caller, before the remaining inputs of the batch
//! ```
//! It is sound to keep only the last hard state: it supersedes the earlier ones of its height, and the hard state of a
//! decided height is written before the commit, so before any hard state of a later height.
//!
//! The caller executes what is returned, in order. Its answers to one step precede the remaining inputs, because after
//! a commit the rest of the batch may belong to the next height.

use types::{HardState, Moment};

use crate::{Engine, Input, Message, Output};

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
    /// Our own precommit may be part of the quorum of a decision, so a waiting [`Output::WriteAhead`] precedes
    /// [`Output::Commit`].
    pub fn step(&mut self, engine: &mut Engine, now: Moment, input: Input) -> Vec<Output> {
        let mut due = Vec::new();
        for output in engine.step(now, input) {
            match output {
                Output::WriteAhead(hard_state) => self.supersede(hard_state),
                Output::Broadcast(message) => self.said.push(message),
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

    /// Keeps the last hard state of the batch. It forbids to sign again whatever the earlier ones forbid.
    fn supersede(&mut self, later: Box<HardState>) {
        let hrs = |hard_state: &HardState| (hard_state.height, hard_state.round, hard_state.step);
        let grows = self.write_ahead.as_ref().is_none_or(|earlier| hrs(earlier) <= hrs(&later));
        assert!(grows, "I2: a later hard state supersedes an earlier one");
        self.write_ahead = Some(later);
    }

    /// Ends the batch and returns the outputs that waited: the hard state to write, then the messages to broadcast.
    pub fn finish(self) -> impl Iterator<Item = Output> {
        let write_ahead = self.write_ahead.map(Output::WriteAhead);
        write_ahead.into_iter().chain(self.said.into_iter().map(Output::Broadcast))
    }
}
