//! The messages that nodes send to each other.

use std::sync::Arc;

use crate::{
    BitSet, Certificate, Commit, Evidence, Height, List, Part, PartSetHeader, Round, SignedProposal, SignedVote, Step,
    TxId,
    hard_state::step,
    limits::{
        CONSENSUS_MESSAGE_BYTES_MAX, PEER_REQUEST_BYTES_MAX, SYNC_BLOCKS_MAX, SYNC_RESPONSE_BYTES_MAX,
        TX_BATCH_BYTES_MAX, TX_BATCH_MAX, TX_BYTES_MAX, TXS_PER_REQUEST_MAX, VALIDATORS_MAX, WAITING_TXS_MAX,
    },
    pb,
    wire::{self, DecodeError, Wire},
};

/// A message on a direct stream between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// A proposal; its block follows in parts.
    Proposal(SignedProposal),
    /// A prevote or a precommit.
    Vote(SignedVote),
    /// A polka, a commit, or votes that justify skipping rounds.
    Certificate(Certificate),
    /// A part of the block that is proposed in this round, or decided at this height.
    Part {
        /// Height of the block.
        height: Height,
        /// Round of the proposal or the decision that names the block.
        round: Round,
        /// The part with its proof.
        part: Arc<Part>,
    },
    /// Position of the sender in consensus, and what it holds.
    RoundState(RoundState),
    /// Evidence that waits for a block.
    Evidence(Box<Evidence>),
}

/// The votes of one round that the sender holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundVotes {
    /// Round of the votes.
    pub round: Round,
    /// Prevotes that are held, by validator index.
    pub prevotes: BitSet,
    /// Precommits that are held, by validator index.
    pub precommits: BitSet,
}

/// Position of a node in consensus, and what it holds, so that a peer can send what the node lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundState {
    /// Height that the node is deciding.
    pub height: Height,
    /// Round that the node is in.
    pub round: Round,
    /// Step that the node is in.
    pub step: Step,
    /// True if the node has the proposal of this round.
    pub has_proposal: bool,
    /// Part set of the block that the node collects or holds, if it knows one.
    pub parts_header: Option<PartSetHeader>,
    /// Parts of that block that the node holds.
    pub parts: BitSet,
    /// Votes of its current round that the node holds.
    pub current: RoundVotes,
    /// Votes of another round that the node needs: its POL round, or the round before.
    pub previous: Option<RoundVotes>,
    /// Earliest height whose block the node can serve.
    pub earliest_height: Height,
}

impl RoundState {
    /// Creates the state of a node in the first step of a round that holds nothing, for a set of `validators`
    /// validators.
    pub fn empty(height: Height, round: Round, validators: u32, earliest_height: Height) -> Self {
        let none = BitSet::new(validators);
        Self {
            height,
            round,
            step: Step::Propose,
            has_proposal: false,
            parts_header: None,
            parts: BitSet::default(),
            current: RoundVotes { round, prevotes: none.clone(), precommits: none },
            previous: None,
            earliest_height,
        }
    }
}

/// A list of transactions on the gossip topic, or in answer to [`PeerRequest::Txs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxBatch {
    /// Encoded transactions of the batch.
    pub txs: Vec<Vec<u8>>,
    /// A number that makes the content unique: gossip identifies a batch by its content and sends each content once, so
    /// a batch that is sent again has another salt.
    pub salt: u64,
}

/// A request to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerRequest {
    /// Request for decided blocks, answered by [`BlockResponse`].
    Blocks(BlockRequest),
    /// Request for the list of transactions that wait at the peer, answered by [`WaitingTxs`].
    WaitingTxs,
    /// Request for transactions by id, at most [`TXS_PER_REQUEST_MAX`], answered by a [`TxBatch`] of those that are
    /// still waiting.
    Txs(Vec<TxId>),
}

/// Ids of the transactions that wait at a peer, with their sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingTxs(pub Vec<(TxId, u32)>);

/// A request for decided blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRequest {
    /// Height of the first requested block.
    pub from: Height,
    /// Number of requested blocks, 0 to [`SYNC_BLOCKS_MAX`]; 0 asks only for the available heights.
    pub count: u32,
}

/// A decided block with the commit that decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockAndCommit {
    /// Encoded bytes of the block.
    pub block: Vec<u8>,
    /// Commit with precommits of more than 2/3 of the power.
    pub commit: Commit,
}

/// Decided blocks, consecutive from the requested height. They are fewer than requested if they are large or not
/// available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockResponse {
    /// Earliest height that the sender can serve.
    pub earliest: Height,
    /// Latest height that the sender can serve.
    pub latest: Height,
    /// Commit of `latest`, which proves the height of the chain. `None` before the first block.
    pub latest_commit: Option<Commit>,
    /// The decided blocks with their commits.
    pub blocks: Vec<BlockAndCommit>,
}

impl Wire for PeerMessage {
    type Pb = pb::PeerMessage;
    const NAME: &'static str = "peer message";
    const BYTES_MAX: usize = CONSENSUS_MESSAGE_BYTES_MAX;
    const LISTS: &'static [List] = &[
        List::new("certificate.votes", &[3, 1], VALIDATORS_MAX),
        List::new("commit.signatures", &[6, 2, 1, 1, 2, 4], VALIDATORS_MAX),
        List::new("validators", &[6, 2, 1, 2, 1], VALIDATORS_MAX),
        List::new("evidence.byzantine_validators", &[6, 2, 3], VALIDATORS_MAX),
    ];

    fn to_pb(&self) -> pb::PeerMessage {
        use pb::peer_message::Sum;
        pb::PeerMessage {
            sum: Some(match self {
                Self::Proposal(proposal) => Sum::Proposal(proposal.to_pb()),
                Self::Vote(vote) => Sum::Vote(vote.to_pb()),
                Self::Certificate(certificate) => Sum::Certificate(certificate.to_pb()),
                Self::Part { height, round, part } => Sum::Part(pb::BlockPart {
                    height: wire::height_pb(*height),
                    round: wire::round_pb(*round),
                    part: Some(part.to_pb()),
                }),
                Self::RoundState(state) => Sum::RoundState(state.to_pb()),
                Self::Evidence(evidence) => Sum::Evidence(evidence.to_pb()),
            }),
        }
    }

    fn from_pb(pb: pb::PeerMessage) -> Result<Self, DecodeError> {
        use pb::peer_message::Sum;
        Ok(match wire::required("peer_message", pb.sum)? {
            Sum::Proposal(pb) => Self::Proposal(SignedProposal::from_pb(pb)?),
            Sum::Vote(pb) => Self::Vote(SignedVote::from_pb(pb)?),
            Sum::Certificate(pb) => Self::Certificate(Certificate::from_pb(pb)?),
            Sum::Part(pb) => Self::Part {
                height: wire::height("block_part.height", pb.height)?,
                round: wire::round("block_part.round", pb.round)?,
                part: Arc::new(Part::from_pb(wire::required("block_part.part", pb.part)?)?),
            },
            Sum::RoundState(pb) => Self::RoundState(RoundState::from_pb(pb)?),
            Sum::Evidence(pb) => Self::Evidence(Box::new(Evidence::from_pb(pb)?)),
        })
    }
}

impl RoundVotes {
    fn to_pb(&self) -> pb::RoundVotes {
        pb::RoundVotes {
            round: wire::round_pb(self.round),
            prevotes: Some(self.prevotes.to_pb()),
            precommits: Some(self.precommits.to_pb()),
        }
    }

    fn from_pb(pb: pb::RoundVotes) -> Result<Self, DecodeError> {
        Ok(Self {
            round: wire::round("round_votes.round", pb.round)?,
            prevotes: BitSet::from_pb(pb.prevotes.unwrap_or_default())?,
            precommits: BitSet::from_pb(pb.precommits.unwrap_or_default())?,
        })
    }
}

impl Wire for RoundState {
    type Pb = pb::RoundState;
    const NAME: &'static str = "round state";
    const BYTES_MAX: usize = 4096;

    fn to_pb(&self) -> pb::RoundState {
        pb::RoundState {
            height: wire::height_pb(self.height),
            round: wire::round_pb(self.round),
            step: self.step as u32,
            has_proposal: self.has_proposal,
            parts_header: self.parts_header.and_then(wire::parts_header_pb),
            parts: Some(self.parts.to_pb()),
            current: Some(self.current.to_pb()),
            previous: self.previous.as_ref().map(RoundVotes::to_pb),
            earliest_height: wire::height_pb(self.earliest_height),
        }
    }

    fn from_pb(pb: pb::RoundState) -> Result<Self, DecodeError> {
        Ok(Self {
            height: wire::height("round_state.height", pb.height)?,
            round: wire::round("round_state.round", pb.round)?,
            step: step(pb.step)?,
            has_proposal: pb.has_proposal,
            parts_header: pb
                .parts_header
                .map(|header| wire::parts_header("round_state.parts_header", Some(header)))
                .transpose()?,
            parts: BitSet::from_pb(pb.parts.unwrap_or_default())?,
            current: RoundVotes::from_pb(wire::required("round_state.current", pb.current)?)?,
            previous: pb.previous.map(RoundVotes::from_pb).transpose()?,
            earliest_height: wire::height("round_state.earliest_height", pb.earliest_height)?,
        })
    }
}

impl Wire for TxBatch {
    type Pb = pb::TxBatch;
    const NAME: &'static str = "transaction batch";
    const BYTES_MAX: usize = TX_BATCH_BYTES_MAX;

    fn to_pb(&self) -> pb::TxBatch {
        pb::TxBatch { txs: self.txs.clone(), salt: self.salt }
    }

    fn from_pb(pb: pb::TxBatch) -> Result<Self, DecodeError> {
        wire::at_most("tx_batch.txs", pb.txs.len(), TX_BATCH_MAX)?;
        if pb.txs.iter().any(|tx| tx.is_empty() || tx.len() > TX_BYTES_MAX) {
            return Err(DecodeError::field(
                "tx_batch.txs",
                format!("a transaction is empty or above {TX_BYTES_MAX} bytes"),
            ));
        }
        Ok(Self { txs: pb.txs, salt: pb.salt })
    }
}

impl Wire for PeerRequest {
    type Pb = pb::PeerRequest;
    const NAME: &'static str = "peer request";
    const BYTES_MAX: usize = PEER_REQUEST_BYTES_MAX;

    fn to_pb(&self) -> pb::PeerRequest {
        use pb::peer_request::Sum;
        let sum = match self {
            PeerRequest::Blocks(request) => Sum::Blocks(request.to_pb()),
            PeerRequest::WaitingTxs => Sum::WaitingTxs(pb::WaitingTxsRequest {}),
            PeerRequest::Txs(ids) => Sum::Txs(pb::TxsRequest { ids: ids.iter().flat_map(|id| id.0).collect() }),
        };
        pb::PeerRequest { sum: Some(sum) }
    }

    fn from_pb(pb: pb::PeerRequest) -> Result<Self, DecodeError> {
        use pb::peer_request::Sum;
        Ok(match wire::required("peer_request.sum", pb.sum)? {
            Sum::Blocks(request) => PeerRequest::Blocks(BlockRequest::from_pb(request)?),
            Sum::WaitingTxs(_) => PeerRequest::WaitingTxs,
            Sum::Txs(request) => PeerRequest::Txs(tx_ids("txs_request.ids", &request.ids, TXS_PER_REQUEST_MAX)?),
        })
    }
}

impl Wire for WaitingTxs {
    type Pb = pb::WaitingTxs;
    const NAME: &'static str = "waiting transactions";
    const BYTES_MAX: usize = WAITING_TXS_MAX * 40 + 64;

    fn to_pb(&self) -> pb::WaitingTxs {
        let (ids, sizes) = self.0.iter().map(|(id, size)| (id.0, *size)).unzip::<_, _, Vec<_>, Vec<_>>();
        pb::WaitingTxs { ids: ids.concat(), sizes }
    }

    fn from_pb(pb: pb::WaitingTxs) -> Result<Self, DecodeError> {
        let ids = tx_ids("waiting_txs.ids", &pb.ids, WAITING_TXS_MAX)?;
        if ids.len() != pb.sizes.len() {
            return Err(DecodeError::field(
                "waiting_txs.sizes",
                format!("{} sizes of {} ids", pb.sizes.len(), ids.len()),
            ));
        }
        Ok(Self(ids.into_iter().zip(pb.sizes).collect()))
    }
}

fn tx_ids(field: &'static str, bytes: &[u8], max: usize) -> Result<Vec<TxId>, DecodeError> {
    let (ids, rest) = bytes.as_chunks::<32>();
    wire::at_most(field, ids.len(), max)?;
    if !rest.is_empty() {
        return Err(DecodeError::field(field, format!("{} bytes are not ids of 32 bytes", bytes.len())));
    }
    Ok(ids.iter().map(|id| TxId(*id)).collect())
}

impl Wire for BlockRequest {
    type Pb = pb::BlockRequest;
    const NAME: &'static str = "block request";
    const BYTES_MAX: usize = 64;

    fn to_pb(&self) -> pb::BlockRequest {
        pb::BlockRequest { from_height: wire::height_pb(self.from), count: self.count }
    }

    fn from_pb(pb: pb::BlockRequest) -> Result<Self, DecodeError> {
        wire::at_most("block_request.count", pb.count as usize, SYNC_BLOCKS_MAX as usize)?;
        Ok(Self { from: wire::height("block_request.from_height", pb.from_height)?, count: pb.count })
    }
}

impl Wire for BlockResponse {
    type Pb = pb::BlockResponse;
    const NAME: &'static str = "block response";
    const BYTES_MAX: usize = SYNC_RESPONSE_BYTES_MAX;
    const LISTS: &'static [List] = &[
        List::new("block_response.blocks", &[3], SYNC_BLOCKS_MAX as usize),
        List::new("signatures in block_response.blocks", &[3, 2, 4], SYNC_BLOCKS_MAX as usize * VALIDATORS_MAX),
        List::new("commit.signatures", &[4, 4], VALIDATORS_MAX),
    ];

    fn to_pb(&self) -> pb::BlockResponse {
        let block = |block: &BlockAndCommit| pb::BlockAndCommit {
            block: block.block.clone(),
            commit: Some(block.commit.to_pb()),
        };
        pb::BlockResponse {
            earliest_height: wire::height_pb(self.earliest),
            latest_height: wire::height_pb(self.latest),
            latest_commit: self.latest_commit.as_ref().map(Commit::to_pb),
            blocks: self.blocks.iter().map(block).collect(),
        }
    }

    fn from_pb(pb: pb::BlockResponse) -> Result<Self, DecodeError> {
        wire::at_most("block_response.blocks", pb.blocks.len(), SYNC_BLOCKS_MAX as usize)?;
        let block = |pb: pb::BlockAndCommit| {
            Ok(BlockAndCommit {
                block: pb.block,
                commit: Commit::from_pb(wire::required("block_response.commit", pb.commit)?)?,
            })
        };
        Ok(Self {
            earliest: wire::height("block_response.earliest_height", pb.earliest_height)?,
            latest: wire::height("block_response.latest_height", pb.latest_height)?,
            latest_commit: pb.latest_commit.map(Commit::from_pb).transpose()?,
            blocks: pb.blocks.into_iter().map(block).collect::<Result<_, DecodeError>>()?,
        })
    }
}
