//! What a host can be told and what it can ask for.

use std::{fmt, sync::Arc, time::Duration};

use consensus::SignState;
use storage::StoreError;
use thiserror::Error;
use types::{
    Block, BlockId, BlockRequest, BlockResults, CheckedPart, Commit, CommitError, Hash, Height, PartSet, PeerMessage,
    Power, Round, SignedVote, Step, Time, ValidatorSet, VerifiedCertificate, VerifiedProposal, VerifiedVote,
};

/// Names a peer: its node id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub [u8; 20]);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({self})")
    }
}

/// Everything a host can be told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Once, first: goes on from the store's tip.
    Start,
    /// A peer is connected; messages can be sent to it.
    PeerUp(Peer),
    /// A peer is gone.
    PeerDown(Peer),
    /// A peer sent a message, checked by [`crate::Verifier::check`].
    Message {
        /// Who sent it.
        peer: Peer,
        /// What it sent.
        message: Checked,
        /// When it arrived.
        received: Time,
    },
    /// A timer started by [`Output::StartTimer`] went off.
    Timer(Timer),
    /// The mempool holds a transaction again.
    TxsAvailable,
    /// Answers [`Output::VerifyTxs`].
    TxsVerified {
        /// The block whose transactions and last commit were checked.
        block_id: BlockId,
        /// Whether every signature holds.
        valid: bool,
    },
    /// Answers [`Output::RequestBlocks`]; `None` if the peer is gone or was too busy. A peer that never answers is noticed by the host.
    Blocks {
        /// The request's number.
        request: u64,
        /// The peer's answer, checked by [`crate::Verifier::check_blocks`].
        response: Option<CheckedBlocks>,
    },
    /// Answers [`Output::VerifyCommit`].
    CommitVerified(VerifiedCommit),
}

/// A peer's message as far as it could be checked away from the host.
#[derive(Clone, Debug)]
pub enum Checked {
    /// A vote of the host's current height, the next, or a late one of the height before.
    Vote(VerifiedVote),
    /// A proposal of the host's current height.
    Proposal(VerifiedProposal),
    /// A certificate of the host's current height.
    Certificate(VerifiedCertificate),
    /// A part that is of some block, of the host's current height or the next.
    Part {
        /// The height.
        height: Height,
        /// The round that it was sent for.
        round: Round,
        /// The part.
        part: CheckedPart,
    },
    /// Needs no check, or is of a height whose validators the checker did not know.
    Unchecked(PeerMessage),
    /// Wrong: the peer is at fault.
    Bad(Offence),
}

/// A peer's answer to a block request as far as it could be checked away from the host.
#[derive(Clone, Debug)]
pub struct CheckedBlocks {
    /// The first height that the peer says it can serve.
    pub earliest: Height,
    /// The last one, as it says.
    pub latest: Height,
    /// The height of its latest commit, if more than 2/3 of the power of the validators that we know signed it.
    pub proven: Option<Height>,
    /// The blocks.
    pub blocks: Vec<SyncedBlock>,
}

/// A block from a peer, with the commit that is to prove it.
#[derive(Clone, Debug)]
pub struct SyncedBlock {
    /// Bytes of the block.
    pub bytes: usize,
    /// Its parts; `None` if it cannot be the block of its commit.
    pub parts: Option<PartSet>,
    /// What is to prove that it was decided.
    pub commit: Arc<Commit>,
    /// What came of checking its commit; `None` if nobody has, because one before it did not hold.
    pub verified: Option<Verification>,
}

/// What came of checking a commit's signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The hash of the validators that it was checked against.
    pub validators: Hash,
    /// Whether it holds.
    pub result: Result<(), CommitError>,
}

/// A commit with what came of checking it, by [`crate::Verifier::verify_commit`].
#[derive(Clone, Debug)]
pub struct VerifiedCommit {
    /// The commit.
    pub commit: Arc<Commit>,
    /// What came of it.
    pub verification: Verification,
}

/// Everything a host can ask for. The order of the outputs is the order in which to do them; whatever they explain is durable.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // evidence is rare
pub enum Output {
    /// To one peer.
    Send {
        /// To whom.
        to: Peer,
        /// What.
        message: Arc<PeerMessage>,
    },
    /// To all connected peers.
    Broadcast(Arc<PeerMessage>),
    /// [`Input::Timer`] after `after`. A timer is never cancelled: one that no longer matters is ignored when it goes off.
    StartTimer {
        /// Which.
        timer: Timer,
        /// From now.
        after: Duration,
    },
    /// Check the signatures of these transactions and precommits, in any order, then tell [`Input::TxsVerified`].
    VerifyTxs {
        /// The block they are of.
        block_id: BlockId,
        /// Those that this node has not checked before.
        txs: Arc<Vec<types::Transaction>>,
        /// Of its last commit, those that this node has not checked before ([`crate::Verifier::hold`]).
        precommits: Vec<SignedVote>,
    },
    /// Check the signatures of a commit, then tell [`Input::CommitVerified`]: the validators have changed since the peer's answer was
    /// checked.
    VerifyCommit {
        /// The commit.
        commit: Arc<Commit>,
    },
    /// Ask a peer for decided blocks, then tell [`Input::Blocks`].
    RequestBlocks {
        /// Whom.
        peer: Peer,
        /// The request's number.
        request: u64,
        /// What.
        blocks: BlockRequest,
    },
    /// A peer misbehaved.
    Penalize {
        /// Who.
        peer: Peer,
        /// How.
        offence: Offence,
    },
    /// A height was committed; the store and the mempool have it already.
    Committed(Arc<Committed>),
    /// Two votes of one validator that contradict each other were seen.
    Evidence(types::Evidence),
    /// This node must stop. Nothing is said or written any more.
    Halt(Halt),
}

/// Why a node must stop; each a sentence for the operator.
#[derive(Clone, Debug, Error)]
pub enum Halt {
    /// Our key signs elsewhere too.
    #[error(
        "another process signs with this validator's key: it signed at height {height} what this node did not. This node stops \
         so that it does not sign twice. Find the other process, stop it, and start only one of them with its signing state"
    )]
    AnotherSigner {
        /// Where it signed.
        height: Height,
    },
    /// The store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The others decided what is not valid here.
    #[error(
        "block {block_id} of height {height} was decided by more than 2/3 of the power and is not valid here: {reason}. This node's \
         state or version differs from the others': compare versions, then `cairn restore` a copy of another node's store"
    )]
    Differs {
        /// The block.
        block_id: BlockId,
        /// Its height.
        height: Height,
        /// What is wrong with it here.
        reason: String,
    },
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Why a validator signs nothing now; each a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Silence {
    /// The signing state is ahead of the chain.
    #[error(
        "its signing state says that its key signed at height {signed}, and the chain here ends at height {tip}, so it signs nothing \
         up to height {signed}. Either an older copy of the database was put back, or the signing state is of another chain. It \
         signs again once the network has passed that height"
    )]
    SignedAhead {
        /// Up to here.
        signed: Height,
        /// The last block here.
        tip: Height,
    },
    /// There is none beside a chain.
    #[error(
        "there is no signing state beside the database, so its key may have signed what this node does not know. It signs again \
         when the network has decided a new height, or when validators of more than 1/3 of the power vote at this one from now on \
         (so far: {heard} of {total}). If its key signed nothing above some height H, start it with --signed-up-to H"
    )]
    NoSigningState {
        /// Power whose votes of this height are here, without ours.
        heard: Power,
        /// The total.
        total: Power,
    },
    /// It is ahead of the hard state.
    #[error(
        "the database is older than the signing state beside it: a copy was put back. It signs again when the network has decided \
         a new height, or when validators of more than 1/3 of the power are heard at this one (heard: {heard} of {total})"
    )]
    DatabaseOlder {
        /// Power whose votes of this height are here, without ours.
        heard: Power,
        /// The total.
        total: Power,
    },
    /// It had to catch up.
    #[error(
        "it has just caught up, and leaves out the first height that it meets, in case its data is an older copy. It signs again \
         after the next new block"
    )]
    CaughtUp,
    /// Its key may have signed at this height what it does not know.
    #[error(
        "its key may have signed at height {height} what this node does not know: peers showed a vote of it, or are in later rounds \
         than its data. It signs again when this height is decided"
    )]
    MayHaveSigned {
        /// This one.
        height: Height,
    },
}

impl Silence {
    /// One word for programs; the label of the metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SignedAhead { .. } => "signed_ahead",
            Self::NoSigningState { .. } => "no_signing_state",
            Self::DatabaseOlder { .. } => "database_older",
            Self::CaughtUp => "caught_up",
            Self::MayHaveSigned { .. } => "may_have_signed",
        }
    }

    /// Every reason.
    pub const REASONS: [&'static str; 5] =
        ["signed_ahead", "no_signing_state", "database_older", "caught_up", "may_have_signed"];
}

/// Keeps what the key signed last outside of the store, so that it outlives the database.
///
/// The host begins a record, syncs the store, and finishes the record: nothing is said before both are durable. A record must
/// not replace the one before until it is finished, so that it is never ahead of the store.
pub trait SigningRecord: Send {
    /// Prepares the record, if it can beside other work.
    fn begin(&mut self, signed: &SignState);
    /// Makes it durable, in place of the one before.
    fn finish(&mut self) -> Result<(), StoreError>;
}

/// The host's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The engine's.
    Consensus(consensus::Timeout),
    /// Time for an empty block of this height.
    EmptyBlock(Height),
    /// Tell peers where we stand and repair what was lost.
    Gossip,
    /// Look after block sync, requests that were not answered, and what the last step left over.
    Sync,
}

/// What a peer did wrong. Weights are the network's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Bytes that are no message.
    Malformed(String),
    /// A signature that does not hold.
    BadSignature(String),
    /// A block, part or commit that does not hold.
    BadBlock(String),
    /// An answer that is not to our question.
    BadResponse(String),
    /// It said that it has a block, and did not send it.
    Unserved(String),
    /// More than its share.
    Flood(String),
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, detail) = match self {
            Self::Malformed(detail) => ("malformed message", detail),
            Self::BadSignature(detail) => ("bad signature", detail),
            Self::BadBlock(detail) => ("bad block", detail),
            Self::BadResponse(detail) => ("bad response", detail),
            Self::Unserved(detail) => ("claim not served", detail),
            Self::Flood(detail) => ("flood", detail),
        };
        write!(f, "{what}: {detail}")
    }
}

/// A height that this node committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The block.
    pub block: Block,
    /// Its id.
    pub block_id: BlockId,
    /// Its encoded size in bytes.
    pub block_bytes: usize,
    /// The commit that decided it here.
    pub commit: Commit,
    /// What it brought about.
    pub results: BlockResults,
    /// The validators of this height.
    pub validators: ValidatorSet,
    /// Whether it came by block sync.
    pub synced: bool,
    /// How long building or checking, executing and writing took here.
    pub timing: CommitTiming,
}

/// Where the time of a height went, by the times that the host was given and those in the votes; zero and `None` for a block
/// that was synced.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitTiming {
    /// From the start of the height to the decision.
    pub decide: Duration,
    /// Rounds that failed.
    pub rounds: u32,
    /// From the block's time to the prevote that completed the polka.
    pub quorum_prevote: Option<Duration>,
    /// From the block's time to the last prevote, if everybody prevoted the block.
    pub full_prevote: Option<Duration>,
    /// From the block's time to the precommit that completed the decision.
    pub quorum_precommit: Option<Duration>,
}

/// What a host is doing. It reads no clock: whoever measures it is told when a phase begins ([`crate::Host::on_phase`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Filling a block.
    Build,
    /// Checking a proposed block.
    Check,
    /// Executing a decided block.
    Execute,
    /// Writing its height.
    Commit,
    /// Taking it out of the mempool, and looking again at whom it touched.
    Recheck,
    /// Making the hard state durable.
    WriteAhead,
    /// Everything else.
    Rest,
}

/// How a host behaves; an operator's choices, not the chain's.
#[derive(Clone, Debug)]
pub struct Config {
    /// After how long an empty block follows; zero: at once; `None`: only when needed.
    pub empty_block_interval: Option<Duration>,
    /// The least time between two blocks.
    pub block_interval_min: Duration,
    /// Period of the repair of what was lost.
    pub gossip_interval: Duration,
    /// How long a block request may take.
    pub sync_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            empty_block_interval: Some(Duration::from_secs(1)),
            block_interval_min: Duration::ZERO,
            gossip_interval: Duration::from_secs(1),
            sync_timeout: Duration::from_secs(5),
        }
    }
}

/// Where a host stands: for RPC, metrics and the screen.
#[derive(Clone, Debug)]
pub struct Status {
    /// The height being decided.
    pub height: Height,
    /// The round.
    pub round: Round,
    /// The step.
    pub step: Step,
    /// When this height, and when this round, started.
    pub height_started: Time,
    /// When this round started.
    pub round_started: Time,
    /// The validators of the height being decided.
    pub validators: Arc<ValidatorSet>,
    /// The block proposed in this round, if known.
    pub proposal: Option<BlockId>,
    /// What we are locked on.
    pub locked: Option<BlockId>,
    /// What was last seen with a polka.
    pub valid: Option<BlockId>,
    /// The votes held, by round.
    pub votes: Vec<RoundVotesHeld>,
    /// The time of the tip, if this node's clock is further behind it than clocks may be apart: the next height does not start
    /// before.
    pub waits_until: Option<Time>,
    /// Why our validator signs nothing now; `None` if it signs, or if we are no validator of this height.
    pub silence: Option<Silence>,
    /// Whether heights are missing here that are proven to be decided.
    pub catching_up: bool,
    /// Such heights, and no peer keeps the next block: the lowest height that one keeps, as it says.
    pub not_kept: Option<Height>,
    /// The greatest height that is proven to be decided: by a commit that more than 2/3 signed, of all that we have seen.
    pub proven_height: Height,
    /// Where each peer stands, as it says: nothing follows from it.
    pub peer_heights: Vec<(Peer, Height)>,
    /// The last committed height.
    pub tip: Height,
    /// Its state.
    pub app_hash: Hash,
    /// This validator's hard state is for this height; zero for a full node.
    pub hard_state_height: Height,
    /// Syncs to disk made by the host since it started.
    pub syncs: u64,
    /// Votes that came again, since the start.
    pub duplicate_votes: u64,
    /// Block parts that came again, since the start.
    pub duplicate_parts: u64,
}

/// Memory that a host holds for the height being decided, and the most that it may hold, in bytes (I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The engine's votes, proposals, verdicts and reports.
    pub engine_bytes: usize,
    /// Bounded by a function of the number of validators.
    pub engine_bytes_max: usize,
    /// Blocks and parts of blocks.
    pub blocks_bytes: usize,
    /// Bounded by a function of the size of a block.
    pub blocks_bytes_max: usize,
}

/// The votes held of one round.
#[derive(Clone, Debug)]
pub struct RoundVotesHeld {
    /// The round.
    pub round: Round,
    /// Prevotes, by validator index.
    pub prevotes: Vec<SignedVote>,
    /// Precommits, by validator index.
    pub precommits: Vec<SignedVote>,
}
