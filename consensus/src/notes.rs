//! Round events of a height for observers, as CometBFT publishes them.
//!
//! No rule depends on notes. The engine records none until [`Engine::watch`] switches them on. Then each note is a
//! small value that is kept until [`Engine::take_notes`] at the end of the step. A step records only a few notes for
//! each vote that it counts.

use types::{Address, BlockId, Height, Round, SignedVote, Step};

use crate::Engine;

/// Records one event of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundNote {
    /// Height in which the event occurred.
    pub height: Height,
    /// Round of the engine when the event occurred. For a vote, this is not necessarily the round of the vote.
    pub round: Round,
    /// Step of the engine when the event occurred.
    pub step: RoundStep,
    /// Kind of the event, with its data.
    pub what: What,
}

/// Names the steps of a round as CometBFT counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundStep {
    /// The node waits for a proposal, or makes one.
    Propose,
    /// The node has prevoted in this round.
    Prevote,
    /// The node has prevoted, and a quorum of prevotes for any values has arrived.
    PrevoteWait,
    /// The node has precommitted in this round.
    Precommit,
    /// A quorum of precommits for any values has arrived.
    PrecommitWait,
    /// A block is decided at this height.
    Commit,
}

impl From<Step> for RoundStep {
    fn from(step: Step) -> Self {
        match step {
            Step::Propose => Self::Propose,
            Step::Prevote => Self::Prevote,
            Step::Precommit => Self::Precommit,
        }
    }
}

/// Names the event that a [`RoundNote`] records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A new round has started.
    NewRound {
        /// Address of the proposer of the round.
        proposer: Address,
        /// Index of the proposer in the validator set.
        index: u32,
    },
    /// A new step has started.
    NewStep(RoundStep),
    /// The proposal of this round has arrived, and its block was checked.
    CompleteProposal(BlockId),
    /// A quorum prevoted for one block, or for nil.
    Polka,
    /// The node has locked on a block.
    Lock(BlockId),
    /// The node has locked on the same block again, in a later round.
    Relock(BlockId),
    /// A block with a polka is remembered as valid.
    ValidBlock(BlockId),
    /// The propose timer expired before the node could prevote.
    TimeoutPropose,
    /// The prevote or the precommit timer expired.
    TimeoutWait,
    /// A vote was counted.
    Vote(Box<SignedVote>),
}

/// Holds the notes since they were last taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// `None` while no observer is attached.
    taken: Option<Vec<RoundNote>>,
}

impl Engine {
    /// Starts recording notes, or stops it.
    pub fn watch(&mut self, watched: bool) {
        if watched != self.notes.taken.is_some() {
            self.notes.taken = watched.then(Vec::new);
        }
    }

    /// Returns the notes that were recorded since the last call, in order.
    pub fn take_notes(&mut self) -> Vec<RoundNote> {
        self.notes.taken.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> What) {
        let Some(taken) = &mut self.notes.taken else { return };
        let what = what();
        let step = match (&what, self.decided) {
            (What::NewStep(step), _) => *step,
            (_, Some(_)) => RoundStep::Commit,
            (_, None) if self.done.line_47 => RoundStep::PrecommitWait,
            (_, None) if self.done.line_34 && self.step == Step::Prevote => RoundStep::PrevoteWait,
            _ => self.step.into(),
        };
        taken.push(RoundNote { height: self.height, round: self.round, step, what });
    }

    pub(crate) fn note_new_round(&mut self) {
        if self.notes.taken.is_none() {
            return;
        }
        let proposer = self.validators.proposer_of_round(self.round).address();
        let index = self.validators.by_address(&proposer).map_or(0, |(index, _)| index);
        self.note(|| What::NewRound { proposer, index });
        self.note(|| What::NewStep(RoundStep::Propose));
    }

    /// Records once per round that the proposal has arrived and its block was checked.
    pub(crate) fn note_complete_proposal(&mut self) {
        if self.notes.taken.is_none() || self.done.complete {
            return;
        }
        let mut ids = self.proposals_of(self.round).iter().map(|known| known.signed.proposal.block_id);
        if let Some(block_id) = ids.find(|id| self.verdict(id).is_some()) {
            self.done.complete = true;
            self.note(|| What::CompleteProposal(block_id));
        }
    }
}
