//! The inputs that the engine takes, and the outputs that it returns.

use std::time::Duration;

use types::{
    BlockId, Certificate, Commit, Evidence, HardState, Height, Round, SignedProposal, SignedVote, Synchrony, Time,
    Timeouts, ValidatorSet, VerifiedCertificate, VerifiedProposal, VerifiedVote,
};

use crate::timers::Timeout;

/// Names everything that the engine can be informed of. Time, randomness, disk answers and peer bytes arrive as values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Starts the next height; the one before is committed. Heights only grow.
    StartHeight {
        /// The height to decide.
        height: Height,
        /// Validators of the height, with the proposer rotation of the height.
        validators: ValidatorSet,
        /// Base and growth of the timeouts, from the chain's parameters.
        timeouts: Timeouts,
        /// Bounds within which a proposal is timely.
        synchrony: Synchrony,
        /// What this node had signed and locked at this height before it stopped.
        hard_state: Option<Box<HardState>>,
        /// True if the node must abstain: follow this height without signing until [`Input::SignAgain`]. This is for a
        /// node that was restored from an old backup: it may have signed messages of this height that it does not
        /// remember.
        abstain: bool,
    },
    /// A proposal arrived. It names a block by its id; block bytes never enter the engine.
    Proposal {
        /// The proposal, signed by the proposer of its round.
        proposal: VerifiedProposal,
        /// Time at which the proposal arrived on this node.
        received: Time,
    },
    /// A vote of this height arrived, or a late vote of the height before.
    Vote(VerifiedVote),
    /// A certificate arrived: a polka, a commit, or votes that justify skipping rounds (L55). Its votes are counted;
    /// this node may lack some of them.
    Certificate(VerifiedCertificate),
    /// Answers [`Output::BuildBlock`] with a new block.
    BlockBuilt {
        /// The round for which the block was built.
        round: Round,
        /// The new block, which is valid and whose bytes are available.
        block_id: BlockId,
        /// Time in the header of the block.
        time: Time,
    },
    /// Answers [`Output::CheckBlock`]. A block that was reported as not valid may be reported as valid later, but never
    /// the reverse.
    BlockChecked {
        /// The block that was checked.
        block_id: BlockId,
        /// Time in the header of the block; a proposal of the block must have the same time.
        time: Time,
        /// True if it is a valid next block and its bytes are available.
        valid: bool,
    },
    /// The bytes of a block are no longer available, because the replica needed the space for other blocks. The engine
    /// forgets its verdict, and asks again when a rule needs the block. The replica never drops a block of
    /// [`crate::Engine::needed_blocks`].
    BlockDropped {
        /// The block whose bytes were dropped.
        block_id: BlockId,
    },
    /// A timer that the engine started has expired.
    Timeout(Timeout),
    /// Allows signing from now on, although the height started with `abstain`. The replica decides when this is
    /// safe (`replica/src/guard.rs`).
    SignAgain,
}

/// Names everything that the engine can ask for. The outputs must be executed in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Build a block for this round, then answer with [`Input::BlockBuilt`].
    BuildBlock {
        /// Height of the block.
        height: Height,
        /// Round for which the block is built.
        round: Round,
    },
    /// Fetch the block if it is not available, validate it, then answer with [`Input::BlockChecked`].
    CheckBlock(BlockId),
    /// Make this hard state durable, with the bytes of the blocks that it names, before any later output of the list is
    /// executed. Bytes that an earlier write-ahead made durable need not be written again.
    WriteAhead(Box<HardState>),
    /// Send this message to all peers.
    Broadcast(Message),
    /// Answer with [`Input::Timeout`] after this duration.
    StartTimer(Timeout, Duration),
    /// Commit the block, because the height is decided.
    Commit {
        /// The block that is decided.
        block_id: BlockId,
        /// The precommits that decided it.
        commit: Commit,
    },
    /// Report two votes of one validator, of the same height, round and type, for different values.
    Evidence(Box<Evidence>),
}

/// Names the messages that the engine sends to peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A proposal; its block is sent separately.
    Proposal(SignedProposal),
    /// A prevote or a precommit.
    Vote(SignedVote),
    /// Votes of one round and type that prove a quorum, or exceed a third.
    Certificate(Certificate),
}
