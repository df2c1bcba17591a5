//! The hard state: what must be durable before this node sends a signed message.

use std::fmt;

use crate::{
    BlockId, Certificate, Height, Round, SignedProposal, SignedVote,
    limits::HARD_STATE_BYTES_MAX,
    pb,
    wire::{self, DecodeError, Wire},
};

/// Names the steps of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The node waits for the proposal.
    #[default]
    Propose = 1,
    /// The node has prevoted and waits for a polka.
    Prevote = 2,
    /// The node has precommitted and waits for a decision.
    Precommit = 3,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Propose => "propose",
            Self::Prevote => "prevote",
            Self::Precommit => "precommit",
        })
    }
}

/// A value and the round of its polka: `locked` or `valid` in the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The round of the polka.
    pub round: Round,
    /// The block that is the value.
    pub block_id: BlockId,
}

/// The paper's variables, the messages that this node signed at this height, and the polka behind `valid`: everything
/// that safety and re-proposing need after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The height that is being decided (`h_p`).
    pub height: Height,
    /// The current round (`round_p`).
    pub round: Round,
    /// The current step (`step_p`).
    pub step: Step,
    /// The paper's `lockedValue` and `lockedRound`.
    pub locked: Option<Lock>,
    /// The paper's `validValue` and `validRound`.
    pub valid: Option<Lock>,
    /// The polka behind `valid`: the prevotes for its block.
    pub valid_polka: Option<Certificate>,
    /// The proposals that this node signed at this height, by round. Bounded: only those of the last rounds are kept.
    pub proposals: Vec<SignedProposal>,
    /// The votes that this node signed at this height, by round and type. Bounded: only those of the last rounds are
    /// kept.
    pub votes: Vec<SignedVote>,
}

impl Wire for HardState {
    type Pb = pb::HardState;
    const NAME: &'static str = "hard state";
    const BYTES_MAX: usize = HARD_STATE_BYTES_MAX;

    fn to_pb(&self) -> pb::HardState {
        let lock = |lock: &Lock| pb::Lock {
            round: wire::round_pb(lock.round),
            block_id: wire::block_id_pb(Some(lock.block_id)),
        };
        pb::HardState {
            height: wire::height_pb(self.height),
            round: wire::round_pb(self.round),
            step: self.step as u32,
            locked: self.locked.as_ref().map(lock),
            valid: self.valid.as_ref().map(lock),
            valid_polka: self.valid_polka.as_ref().map(Wire::to_pb),
            proposals: self.proposals.iter().map(Wire::to_pb).collect(),
            votes: self.votes.iter().map(Wire::to_pb).collect(),
        }
    }

    fn from_pb(pb: pb::HardState) -> Result<Self, DecodeError> {
        let lock = |pb: pb::Lock| {
            Ok::<_, DecodeError>(Lock {
                round: wire::round("lock.round", pb.round)?,
                block_id: wire::block_id("lock.block_id", pb.block_id)?,
            })
        };
        Ok(Self {
            height: wire::height("hard_state.height", pb.height)?,
            round: wire::round("hard_state.round", pb.round)?,
            step: step(pb.step)?,
            locked: pb.locked.map(lock).transpose()?,
            valid: pb.valid.map(lock).transpose()?,
            valid_polka: pb.valid_polka.map(Certificate::from_pb).transpose()?,
            proposals: pb.proposals.into_iter().map(SignedProposal::from_pb).collect::<Result<_, _>>()?,
            votes: pb.votes.into_iter().map(SignedVote::from_pb).collect::<Result<_, _>>()?,
        })
    }
}

pub(crate) fn step(value: u32) -> Result<Step, DecodeError> {
    match value {
        1 => Ok(Step::Propose),
        2 => Ok(Step::Prevote),
        3 => Ok(Step::Precommit),
        other => Err(DecodeError::field("step", format!("{other} is not 1, 2 or 3"))),
    }
}
