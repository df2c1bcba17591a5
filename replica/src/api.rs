//! The interface of a replica: its inputs, its outputs, and views of its state.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use app::{UpgradeStop, Upgrades};
use storage::StoreError;
use thiserror::Error;
use types::{
    Block, BlockId, BlockRequest, BlockResults, CheckedPart, Commit, CommitError, ConsensusPublicKey, Hash, Height,
    NodeId, PartSet, PeerMessage, Power, Round, SignState, SignedVote, Step, Time, ValidatorSet, VerifiedCertificate,
    VerifiedProposal, VerifiedVote,
};

use crate::{
    evidence::{UnverifiedEvidence, VerifiedEvidence},
    timing::CommitTiming,
};

/// All inputs that a replica accepts.
#[derive(Clone, Debug)]
pub enum Input {
    /// The first input, sent once: the replica continues from the store's tip.
    Start,
    /// A peer connected; messages can be sent to it.
    PeerUp(NodeId),
    /// A peer disconnected from this node.
    PeerDown(NodeId),
    /// A message of a peer, checked by [`crate::Verifier::check`].
    Message {
        /// Peer that sent the message.
        peer: NodeId,
        /// The message, as far as it was checked.
        message: Checked,
        /// Time at which the message arrived.
        received: Time,
    },
    /// A timer that [`Output::StartTimer`] started has expired.
    Timer(Timer),
    /// The mempool has a transaction for a block again.
    TxsAvailable,
    /// The response to [`Output::VerifyTxs`].
    TxsVerified {
        /// The block whose transactions and last commit were checked.
        block_id: BlockId,
        /// True if every signature is valid.
        valid: bool,
    },
    /// The response to [`Output::RequestBlocks`]; `None` if the peer disconnected or was too busy. The replica itself
    /// detects a peer that never responds.
    Blocks {
        /// Number of the request.
        request: u64,
        /// The peer's response, checked by [`crate::Verifier::check_blocks`].
        response: Option<CheckedBlocks>,
    },
    /// The response to [`Output::VerifyCommit`].
    CommitVerified(VerifiedCommit),
    /// Evidence from a client, checked by [`crate::check_evidence`].
    Evidence(VerifiedEvidence),
}

/// A message of a peer, as far as it could be checked outside of the replica.
#[derive(Clone, Debug)]
pub enum Checked {
    /// A vote of the replica's current height, the next, or a late one of the height before.
    Vote(VerifiedVote),
    /// A proposal of the replica's current height or the next.
    Proposal(VerifiedProposal),
    /// A certificate of the replica's current height or the next.
    Certificate(VerifiedCertificate),
    /// A part of some block, of the replica's current height or the next.
    Part {
        /// Height that the part was sent for.
        height: Height,
        /// Round that the part was sent for.
        round: Round,
        /// The part, with its hash checked.
        part: CheckedPart,
    },
    /// Evidence that may be in the next block.
    Evidence(VerifiedEvidence),
    /// A message that needs no check, or of a height whose validators the verifier did not know.
    Unchecked(PeerMessage),
    /// An invalid message, with the offence of the peer.
    Bad(Offence),
}

/// A peer's response to a block request, as far as it could be checked outside of the replica.
#[derive(Clone, Debug)]
pub struct CheckedBlocks {
    /// The first height that the peer claims to be able to serve.
    pub earliest: Height,
    /// The last height that the peer claims to be able to serve.
    pub latest: Height,
    /// Height of the peer's latest commit, if more than 2/3 of the power of the validators that we know signed it.
    pub proven: Option<Height>,
    /// The blocks of the response, in the order received.
    pub blocks: Vec<SyncedBlock>,
}

/// A block from a peer, with the commit that must prove it.
#[derive(Clone, Debug)]
pub struct SyncedBlock {
    /// Size of the block in bytes.
    pub bytes: usize,
    /// Parts of the block; `None` if it cannot be the block of its commit.
    pub parts: Option<PartSet>,
    /// Commit that must prove that the block was decided.
    pub commit: Arc<Commit>,
    /// Result of verifying the commit; `None` if it was not verified, because an earlier one in the response is
    /// invalid.
    pub verified: Option<Verification>,
}

/// Result of verifying the signatures of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Hash of the validator set that the commit was verified against.
    pub validators: Hash,
    /// The result: `Ok` if the commit is valid.
    pub result: Result<(), CommitError>,
}

/// A commit with the result of verifying it, by [`crate::Verifier::verify_commit`].
#[derive(Clone, Debug)]
pub struct VerifiedCommit {
    /// The commit that was verified.
    pub commit: Arc<Commit>,
    /// Result of the verification.
    pub verification: Verification,
}

/// All outputs of a replica. They must be executed in order; everything that they depend on is durable.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // Evidence is rare, so the size does not matter.
pub enum Output {
    /// A message for one peer.
    Send {
        /// Peer that receives the message.
        to: NodeId,
        /// The message to send.
        message: Arc<PeerMessage>,
    },
    /// A message for all connected peers.
    Broadcast(Arc<PeerMessage>),
    /// Request for [`Input::Timer`] after `after`. A timer is never cancelled: one that no longer matters is ignored
    /// when it expires.
    StartTimer {
        /// The timer to start.
        timer: Timer,
        /// Duration from now until it expires.
        after: Duration,
    },
    /// Request to check the signatures of these transactions and precommits, in any order. The response is
    /// [`Input::TxsVerified`].
    VerifyTxs {
        /// Block that contains the transactions.
        block_id: BlockId,
        /// Transactions that this node has not checked before.
        txs: Arc<Vec<types::Transaction>>,
        /// Precommits of the block's last commit that this node has not checked before ([`crate::Verifier::hold`]).
        precommits: Vec<SignedVote>,
        /// Evidence that this node has not checked before ([`crate::Verifier::hold_evidence`]).
        evidence: Vec<UnverifiedEvidence>,
    },
    /// Request to verify a commit again, because the validators have changed since the peer's response was checked. The
    /// response is [`Input::CommitVerified`].
    VerifyCommit {
        /// The commit to verify.
        commit: Arc<Commit>,
    },
    /// Request for decided blocks from a peer. The response is [`Input::Blocks`].
    RequestBlocks {
        /// Peer that receives the request.
        peer: NodeId,
        /// Number of the request.
        request: u64,
        /// Range of heights that is requested.
        blocks: BlockRequest,
    },
    /// Report of a peer that misbehaved.
    Penalize {
        /// The peer that misbehaved.
        peer: NodeId,
        /// Offence of the peer.
        offence: Offence,
    },
    /// A height was committed; the store and the mempool contain it already.
    Committed(Arc<Committed>),
    /// Two contradicting votes of one validator were received.
    Evidence(types::Evidence),
    /// The node may stop: the last height of [`HaltAt`] is committed here, and the connected peers have it too or had
    /// time to fetch it. The replica sends and writes nothing after this.
    Finished,
    /// This node must stop. Nothing is sent or written after this output.
    Halt(Halt),
}

/// Reason why a node must stop; each message is a sentence for the operator.
#[derive(Clone, Debug, Error)]
pub enum Halt {
    /// Another process signs with our key.
    #[error(
        "another process signs with this validator's key: it signed a message at height {height} that this node did not sign. This node stops \
         so that nothing is signed twice. Find the other process, stop it, and start only one of them with its signing state"
    )]
    AnotherSigner {
        /// Height at which the other process signed.
        height: Height,
    },
    /// The store failed an operation.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The other validators decided a block that is not valid here.
    #[error(
        "block {block_id} of height {height} was decided by more than 2/3 of the power but is not valid on this node: {reason}. Its \
         state or version differs from that of the other nodes: compare versions, then `cairn restore` a copy of another node's store"
    )]
    Differs {
        /// Id of the decided block.
        block_id: BlockId,
        /// Height of the decided block.
        height: Height,
        /// Fault of the block on this node.
        reason: String,
    },
    /// This program may not execute the next height. The connected peers have the last one too, or had time to fetch it.
    #[error(transparent)]
    Upgrade(UpgradeStop),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Reason why a validator does not sign now; each message is a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Silence {
    /// The signing state is ahead of the chain.
    #[error(
        "its signing state says that its key signed at height {signed}, and the chain of this node ends at height {tip}, so it signs nothing \
         up to height {signed}. Either an older copy of the database was restored, or the signing state belongs to another chain. It \
         signs again once the network has passed that height"
    )]
    SignedAhead {
        /// Last height at which the key signed.
        signed: Height,
        /// Height of the last block here.
        tip: Height,
    },
    /// There is a chain but no signing state.
    #[error(
        "there is no signing state beside the database, so its key may have signed messages that this node does not know. It signs \
         again when the network has decided a new height, or when validators with more than 1/3 of the power vote at this height from \
         now on (so far: {heard} of {total}). If its key signed nothing above some height H, start it with --signed-up-to H"
    )]
    NoSigningState {
        /// Power whose votes of this height have arrived, without ours.
        heard: Power,
        /// Total power of the validators.
        total: Power,
    },
    /// The signing state is ahead of the hard state.
    #[error(
        "the database is older than the signing state beside it: an old copy was restored. It signs again when the network has decided \
         a new height, or when validators with more than 1/3 of the power vote at this height (so far: {heard} of {total})"
    )]
    DatabaseOlder {
        /// Power whose votes of this height have arrived, without ours.
        heard: Power,
        /// Total power of the validators.
        total: Power,
    },
    /// The node had to catch up.
    #[error(
        "it has just caught up and signs nothing at the first undecided height that it reaches, because its data may be an older \
         copy. It signs again after the first new block whose time is later than the start of this process; if that takes more than \
         a few blocks, this machine's clock was ahead at the start: check NTP"
    )]
    CaughtUp,
    /// The key may have signed at this height what this node does not know.
    #[error(
        "its key may have signed messages at height {height} that this node does not know: peers sent a vote of this key, or are in \
         later rounds than its data. It signs again when this height is decided"
    )]
    MayHaveSigned {
        /// Height at which nothing is signed.
        height: Height,
    },
}

impl Silence {
    /// Returns the reason as one identifier for programs, which is the label of the metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SignedAhead { .. } => "signed_ahead",
            Self::NoSigningState { .. } => "no_signing_state",
            Self::DatabaseOlder { .. } => "database_older",
            Self::CaughtUp => "caught_up",
            Self::MayHaveSigned { .. } => "may_have_signed",
        }
    }

    /// All values of [`Silence::reason`].
    pub const REASONS: [&'static str; 5] =
        ["signed_ahead", "no_signing_state", "database_older", "caught_up", "may_have_signed"];
}

/// Record of the newest signed messages of the key outside of the store, which survives the loss of the database.
///
/// The replica begins a record, syncs the store, and finishes the record: no message is sent before both are durable. A
/// record must not replace the previous one until it is finished, so that it is never ahead of the store.
pub trait SigningRecord: Send {
    /// Prepares the record, in parallel with other work if possible.
    fn begin(&mut self, signed: &SignState);
    /// Makes the record durable and replaces the previous one.
    ///
    /// Errors: [`StoreError`] when the record cannot be written.
    fn finish(&mut self) -> Result<(), StoreError>;
}

/// Timers that a replica can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Timeout of the consensus engine.
    Consensus(consensus::Timeout),
    /// Time to start this height, with an empty block if there are no transactions.
    EmptyBlock(Height),
    /// Time to send our round state to peers, and to expire requests; the driver expires transactions of the mempool then too.
    Gossip,
    /// Time to run block sync, to expire requests, and to handle what the last step left over.
    Sync,
}

/// Offence of a peer, with details. The network determines the weight of each penalty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Bytes that are not a valid message.
    Malformed(String),
    /// A signature that is not valid.
    BadSignature(String),
    /// Evidence that proves nothing, wherever its sender is in the chain.
    BadEvidence(String),
    /// A block, part or commit that is not valid.
    BadBlock(String),
    /// A response that does not match our request.
    BadResponse(String),
    /// The peer claimed to have a block, and did not send it.
    Unserved(String),
    /// The peer sent more than its share.
    Flood(String),
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, detail) = match self {
            Self::Malformed(detail) => ("malformed message", detail),
            Self::BadSignature(detail) => ("bad signature", detail),
            Self::BadEvidence(detail) => ("bad evidence", detail),
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
    /// The committed block itself.
    pub block: Block,
    /// Id of the block.
    pub block_id: BlockId,
    /// Size of the encoded block in bytes.
    pub block_bytes: usize,
    /// The commit that decided the block here.
    pub commit: Commit,
    /// Results of executing the block.
    pub results: BlockResults,
    /// The validators of this height.
    pub validators: ValidatorSet,
    /// True if block sync delivered the block.
    pub synced: bool,
    /// Durations from proposal to decision of the height.
    pub timing: CommitTiming,
}

/// Phase of a replica's work. The replica reads no clock: a hook is called when a phase begins ([`crate::Replica::on_phase`]),
/// and can measure it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Filling a block with transactions.
    Build,
    /// Checking a proposed block.
    Check,
    /// Executing a decided block.
    Execute,
    /// Writing the height of a decided block to the store.
    Commit,
    /// Removing its transactions from the mempool, and rechecking the senders whose accounts it changed.
    Recheck,
    /// Making the hard state durable.
    WriteAhead,
    /// All work outside of the other phases.
    Rest,
}

/// Configuration of a replica, chosen by the operator, not by the chain.
#[derive(Clone, Debug)]
pub struct Config {
    /// Interval after which an empty block follows; zero: immediately; `None`: only when needed.
    pub empty_block_interval: Option<Duration>,
    /// Minimum interval between two blocks.
    pub block_interval_min: Duration,
    /// Interval between two broadcasts of our round state, by which lost messages are repaired.
    pub gossip_interval: Duration,
    /// Maximum duration of a block request before it expires.
    pub sync_timeout: Duration,
    /// Where the replica stops.
    pub halt: HaltAt,
    /// The upgrades that this program has.
    pub upgrades: Upgrades,
    /// Peers that only we, and nodes like us, are connected with: this node is their sentry. What they send is forwarded to
    /// all peers immediately, and all new messages to them.
    pub hidden_peers: BTreeSet<NodeId>,
}

/// Where the operator wants the replica to stop: after the first height that has one of the two. It then signs and
/// decides nothing more, and finishes when its peers have that height too, or had time to fetch it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HaltAt {
    /// Height after which the replica stops.
    pub height: Option<Height>,
    /// Header time: the replica stops after the first height that has it or a later one.
    pub time: Option<Time>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            empty_block_interval: Some(Duration::from_secs(1)),
            block_interval_min: Duration::ZERO,
            gossip_interval: Duration::from_secs(1),
            sync_timeout: Duration::from_secs(5),
            halt: HaltAt::default(),
            upgrades: Upgrades::default(),
            hidden_peers: BTreeSet::new(),
        }
    }
}

/// State of a replica: for RPC, metrics and the terminal display.
#[derive(Clone, Debug)]
pub struct Status {
    /// The height being decided.
    pub height: Height,
    /// Round of the height being decided.
    pub round: Round,
    /// Step of the round.
    pub step: Step,
    /// Time at which this height started.
    pub height_started: Time,
    /// Time at which this round started.
    pub round_started: Time,
    /// The validators of the height being decided.
    pub validators: Arc<ValidatorSet>,
    /// The key with which this node signs at this height if it is one of the validators; `None` for a full node.
    pub own: Option<ConsensusPublicKey>,
    /// The block proposed in this round, if known.
    pub proposal: Option<BlockId>,
    /// The block that this node is locked on.
    pub locked: Option<BlockId>,
    /// The newest block with a polka.
    pub valid: Option<BlockId>,
    /// The votes held, by round.
    pub votes: Arc<[RoundVotesHeld]>,
    /// The time of the tip, if this node's clock is behind it by more than the allowed difference of clocks: the next
    /// height does not start before that time.
    pub waits_until: Option<Time>,
    /// Reason why our validator does not sign now; `None` if it signs, or if we are no validator of this height.
    pub silence: Option<Silence>,
    /// True if heights that are proven to be decided are missing here.
    pub catching_up: bool,
    /// The lowest height that a peer claims to keep, if heights are missing here and no peer keeps the next block.
    pub not_kept: Option<Height>,
    /// The greatest height that is proven to be decided by a received commit that more than 2/3 signed.
    pub proven_height: Height,
    /// The height that each peer claims; no decision depends on it.
    pub peer_heights: Arc<[(NodeId, Height)]>,
    /// The last committed height.
    pub tip: Height,
    /// App hash of the state after the tip.
    pub app_hash: Hash,
    /// Height of this validator's hard state; zero for a full node.
    pub hard_state_height: Height,
    /// Number of syncs to disk made by the replica since it started.
    pub syncs: u64,
    /// Number of pieces of evidence that wait for a block.
    pub evidence_waiting: usize,
    /// Number of votes that arrived again, since the start.
    pub duplicate_votes: u64,
    /// Number of block parts that arrived again, since the start.
    pub duplicate_parts: u64,
}

impl Status {
    /// Returns the status of a full node without peers between two heights: it has committed the `tip` at `since`, and `validators`
    /// decide the next height. Tests of what reads a status begin with it, and change what they are about.
    pub fn at_rest(tip: Height, app_hash: Hash, since: Time, validators: Arc<ValidatorSet>) -> Self {
        Self {
            height: tip.next(),
            round: Round::ZERO,
            step: Step::Propose,
            height_started: since,
            round_started: since,
            validators,
            own: None,
            proposal: None,
            locked: None,
            valid: None,
            votes: Arc::default(),
            waits_until: None,
            silence: None,
            catching_up: false,
            not_kept: None,
            proven_height: tip,
            peer_heights: Arc::default(),
            tip,
            app_hash,
            hard_state_height: Height::GENESIS,
            syncs: 0,
            evidence_waiting: 0,
            duplicate_votes: 0,
            duplicate_parts: 0,
        }
    }
}

/// Memory of one part of a replica that peers can fill, and its maximum, in bytes (I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Name of the part.
    pub what: &'static str,
    /// Bytes that it holds now. What has an encoding counts as its encoded bytes, or as its content.
    pub bytes: usize,
    /// Maximum of `bytes`: a function of the number of validators and of connected peers, and of the limits of the chain.
    pub bytes_max: usize,
}

/// The votes of one round that are held.
#[derive(Clone, Debug)]
pub struct RoundVotesHeld {
    /// Round of the votes.
    pub round: Round,
    /// Prevotes, by validator index.
    pub prevotes: Vec<SignedVote>,
    /// Precommits, by validator index.
    pub precommits: Vec<SignedVote>,
}
