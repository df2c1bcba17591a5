//! The data types of Cairn: their bytes, their signatures and their limits.
//!
//! | term | meaning | elsewhere |
//! |---|---|---|
//! | height | position of a block in the chain; one decision each | Tendermint's height |
//! | round | an attempt to decide a height, from 0 | `round`, arXiv:1807.04938 |
//! | power | voting weight of a validator, an integer | voting power, stake |
//! | polka | more than 2/3 of the power prevoting one block in one round | `2f + 1 PREVOTE`, L28, L36 |
//! | POL round | the round of the polka that justifies a re-proposal | `vr`, L14, L28 |
//! | locked, valid | the last value precommitted, the last value seen with a polka | `lockedValue`, `validValue` |
//! | commit | the precommits of more than 2/3 of the power, kept with a block | commit, seen commit |
//! | certificate | votes of one height, round and type that prove a threshold | – |
//! | proposal | a proposed block; what an account asks the validators to decide is a [`Propose`] | Tendermint's proposal; governance proposal |
//! | evidence | two signed votes that contradict each other, or an attack on light clients | duplicate vote, light client attack evidence |
//! | hard state | what must be durable before a message is sent | etcd raft's `HardState`; CometBFT's WAL |
//!
//! **Hashes.** SHA-256, by Tendermint's rules and encodings, for what its light clients, explorers and client libraries
//! recompute: the header and every hash in it but the app hash, transaction ids, addresses (RIPEMD-160 of SHA-256, or
//! truncated SHA-256 for Ed25519) and the digest under a secp256k1 consensus signature. BLAKE3 for what only Cairn
//! and verifiers of its proofs compute: the state tree and the app hash; block parts, checksums, caches, the digest under a transaction's
//! signature and the seeds of signature batches.
//!
//! **Bytes.** There is one codec, protobuf, described by `proto/cairn.proto`. Types with bytes implement [`Wire`].
//! Decoding accepts at most [`Wire::BYTES_MAX`] bytes and returns only values that keep the invariants of their type.
//!
//! **Trust is a type.** [`SignedVote`] comes from a peer. A [`VerifiedVote`] comes from [`SignedVote::verify`], or from
//! a constructor for votes that need no check because this node signed or verified them before. The same holds for
//! proposals, certificates and transactions.

mod act;
mod attack;
mod batch;
mod bits;
mod block;
mod certificate;
mod commit;
mod consensus_key;
mod evidence;
mod hard_state;
mod hash;
mod header;
mod keys;
mod kv;
pub mod limits;
mod list;
mod memo;
pub mod merkle;
mod mutation;
mod mutations;
mod numbers;
mod param_fields;
mod params;
mod parts;
pub mod pb;
mod peer;
mod proposal;
mod propose;
mod results;
mod sign_state;
mod stake;
mod state;
mod text;
mod time;
mod tx;
mod tx_pool;
mod validators;
mod versions;
mod vote;
mod wire;

pub use act::{Act, ParamChange, UpgradePlan};
pub use attack::{AttackError, LightBlock, LightClientAttackEvidence, Signers, TrustedBlock};
pub use batch::verify_batch;
pub use bits::BitSet;
pub use block::{Block, BlockError};
pub use certificate::{Certificate, CertificateError, VerifiedCertificate};
pub use commit::{Commit, CommitError, CommitSig};
pub use consensus_key::{
    ConsensusKey, ConsensusPublicKey, ConsensusSecretKey, Ed25519PublicKey, Ed25519SecretKey, KeyType, KeyTypeError,
};
pub use evidence::{
    DuplicateVoteEvidence, Evidence, EvidenceError, EvidenceKey, Infraction, Misbehavior, MisbehaviorKind, UNNAMED,
};
pub use hard_state::{HardState, Lock, Step};
pub use hash::{Address, BlockId, Hash, NodeId, ParseHexError, PartSetHeader, TxId, blake3, blake3_parts, sha256};
pub use header::{BLOCK_PROTOCOL, Header};
pub use keys::{PreparedKey, PublicKey, SecretKey, Signature, SignatureError, TxSignature};
pub use kv::{KvOp, NsName, NsNameError, NsOwner};
pub use list::List;
#[cfg(feature = "memo")]
pub use memo::Memo;
#[cfg(feature = "mutations")]
pub use mutation::{BrokenRule, Mutation};
pub use numbers::{ChainId, ChainIdError, Height, Power, Round};
pub use param_fields::{ParamField, ParamsChangeError};
pub use params::{
    BPS_MAX, BlockParams, EvidenceParams, Params, ParamsError, ProposalParams, StakingParams, Synchrony, Timeouts,
};
pub use parts::{CheckedPart, Part, PartError, PartSet};
pub use peer::{
    BlockAndCommit, BlockRequest, BlockResponse, PeerMessage, PeerRequest, RoundState, RoundVotes, TxBatch, WaitingTxs,
};
pub use proposal::{Proposal, ProposalError, SignedProposal, VerifiedProposal};
pub use propose::{ProposalKind, Propose, Revert, RevertScope};
pub use results::{Attribute, BlockResults, Event, TxResult, results_hash};
pub use sign_state::SignState;
pub use stake::{Commission, Description, KeyRotate, StakeMsg, ValidatorCreate, ValidatorEdit, possession_message};
pub use state::{
    CompareVisit, History, Now, REVERTIBLE, REVERTIBLE_PART_BYTES, Reader, Replaced, ReplacedVersion, Version,
    WriteSet, split_revertible,
};
pub use text::is_plain;
pub use time::{Deadline, Moment, ParseTimeError, Time};
pub use tx::{Choice, Msg, Transaction, TxBody, TxError, TxOrder, VerifiedTx};
pub use tx_pool::TxPool;
pub use validators::{Validator, ValidatorSet, ValidatorSetError, ValidatorUpdate};
pub use versions::Versions;
pub use vote::{EarlierChecks, SignedVote, VerifiedVote, Vote, VoteError, VoteType};
pub use wire::{DecodeError, Wire};
