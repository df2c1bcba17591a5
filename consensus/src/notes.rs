//! What happens inside a height, for those who watch it: CometBFT's round events.
//!
//! Nothing depends on notes. The engine takes none until [`Engine::watch`] asks for them; then each is a small value, kept until
//! [`Engine::take_notes`] at the end of the step. A step takes a few for each vote that it counts, and no more.

use types::{Address, BlockId, Height, Round, SignedVote, Step};

use crate::Engine;

/// Something that happened in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundNote {
    /// Its height.
    pub height: Height,
    /// Its round; for a vote, the round that the engine was in when it counted it.
    pub round: Round,
    /// The step that the engine was in.
    pub step: RoundStep,
    /// What it was.
    pub what: What,
}

/// The steps of a round as CometBFT counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundStep {
    /// Waiting for a proposal, or making one.
    Propose,
    /// Prevoted.
    Prevote,
    /// Prevoted, and a quorum of prevotes is mixed.
    PrevoteWait,
    /// Precommitted.
    Precommit,
    /// Precommitted, and a quorum of precommits is mixed.
    PrecommitWait,
    /// Decided.
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

/// What a [`RoundNote`] is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A round started.
    NewRound {
        /// Who proposes in it.
        proposer: Address,
        /// The proposer's index in the set.
        index: u32,
    },
    /// A step started.
    NewStep(RoundStep),
    /// The proposal of this round is here, and its block was checked.
    CompleteProposal(BlockId),
    /// A quorum prevoted one block, or nil.
    Polka,
    /// Locked on a block.
    Lock(BlockId),
    /// Locked on the same block in a later round.
    Relock(BlockId),
    /// A block with a polka is remembered as valid.
    ValidBlock(BlockId),
    /// The proposal did not come in time.
    TimeoutPropose,
    /// Votes stayed mixed for too long.
    TimeoutWait,
    /// A vote was counted.
    Vote(Box<SignedVote>),
}

/// What was noted in this step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// `None` while nobody watches.
    taken: Option<Vec<RoundNote>>,
}

impl Engine {
    /// Takes notes from now on, or no longer.
    pub fn watch(&mut self, watched: bool) {
        if watched != self.notes.taken.is_some() {
            self.notes.taken = watched.then(Vec::new);
        }
    }

    /// What was noted since the last call, in order.
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

    /// Once a round: when its proposal is here and the verdict on its block too.
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
