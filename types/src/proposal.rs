//! Proposals: the block that is proposed in a round, and the round of the polka that justifies it.

use std::ops::Deref;

use prost::Message;
use thiserror::Error;

use crate::{
    BlockId, ChainId, ConsensusKey, ConsensusPublicKey, EarlierChecks, Height, Round, Signature, Time,
    mutation::{Mutation, mutated},
    pb,
    vote::signature,
    wire::{self, DecodeError, Wire},
};

/// Tendermint's `SignedMsgType` of a proposal.
const PROPOSAL_TYPE: i32 = 32;

/// The content of a proposal, made by the proposer of a round (L19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Height of the proposed block.
    pub height: Height,
    /// Round in which the block is proposed.
    pub round: Round,
    /// Round of the polka that justifies a re-proposal (`vr` in the paper); always below `round`.
    pub pol_round: Option<Round>,
    /// Id of the proposed block.
    pub block_id: BlockId,
    /// Time of the block, from the clock of the validator that proposed it first.
    pub timestamp: Time,
}

/// A proposal with an unverified signature, as peers send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedProposal {
    /// Content of the proposal.
    pub proposal: Proposal,
    /// Signature, which should be of the proposer of the round.
    pub signature: Signature,
}

/// A proposal whose signature was verified with the proposer's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedProposal(SignedProposal);

/// The signature is not that of the proposer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the proposal is not signed by the proposer of its round")]
pub struct ProposalError;

impl Proposal {
    /// Returns height, round and step, by which all signed messages of one key are ordered.
    pub fn hrs(&self) -> (Height, Round, u8) {
        (self.height, self.round, 1)
    }

    /// Returns the bytes that are signed: Tendermint's length-delimited canonical proposal.
    pub fn sign_bytes(&self, chain_id: &ChainId) -> Vec<u8> {
        pb::CanonicalProposal {
            r#type: PROPOSAL_TYPE,
            height: wire::height_pb(self.height),
            round: i64::from(self.round.0),
            pol_round: self.pol_round.map_or(-1, |round| i64::from(round.0)),
            block_id: wire::block_id_pb(Some(self.block_id)),
            timestamp: wire::time_pb(self.timestamp),
            chain_id: chain_id.as_str().to_owned(),
        }
        .encode_length_delimited_to_vec()
    }

    /// Signs the sign-bytes with `key`.
    pub fn sign(self, chain_id: &ChainId, key: &impl ConsensusKey) -> SignedProposal {
        let signature = key.sign_message(&self.sign_bytes(chain_id));
        SignedProposal { proposal: self, signature }
    }
}

impl SignedProposal {
    /// Checks that `proposer`, the key of the proposer of this height and round, signed the proposal.
    ///
    /// Errors: [`ProposalError`] if the signature does not hold.
    pub fn verify(self, chain_id: &ChainId, proposer: &ConsensusPublicKey) -> Result<VerifiedProposal, ProposalError> {
        self.verify_by(chain_id, proposer, &())
    }

    /// Verifies as [`Self::verify`] does, with the prepared form of the key if there is one.
    ///
    /// Errors: those of [`Self::verify`].
    pub fn verify_by(
        self,
        chain_id: &ChainId,
        proposer: &ConsensusPublicKey,
        earlier: &impl EarlierChecks,
    ) -> Result<VerifiedProposal, ProposalError> {
        if !mutated(Mutation::AnyProposalSignature) {
            let message = self.proposal.sign_bytes(chain_id);
            proposer
                .verify_prepared(&message, &self.signature, |key| earlier.prepared(key))
                .map_err(|_| ProposalError)?;
        }
        Ok(VerifiedProposal(self))
    }
}

impl VerifiedProposal {
    /// Wraps a proposal that this process has just signed itself.
    pub fn of_own(signed: SignedProposal) -> Self {
        Self(signed)
    }

    /// Returns the signed proposal, as it is sent to peers.
    pub fn into_signed(self) -> SignedProposal {
        self.0
    }
}

impl Deref for VerifiedProposal {
    type Target = SignedProposal;
    fn deref(&self) -> &SignedProposal {
        &self.0
    }
}

impl Wire for SignedProposal {
    type Pb = pb::Proposal;
    const NAME: &'static str = "proposal";
    const BYTES_MAX: usize = 512;

    fn to_pb(&self) -> pb::Proposal {
        let proposal = &self.proposal;
        pb::Proposal {
            r#type: PROPOSAL_TYPE,
            height: wire::height_pb(proposal.height),
            round: wire::round_pb(proposal.round),
            pol_round: proposal.pol_round.map_or(-1, wire::round_pb),
            block_id: wire::block_id_pb(Some(proposal.block_id)),
            timestamp: wire::time_pb(proposal.timestamp),
            signature: self.signature.0.to_vec(),
        }
    }

    fn from_pb(pb: pb::Proposal) -> Result<Self, DecodeError> {
        if pb.r#type != PROPOSAL_TYPE {
            return Err(DecodeError::field("proposal.type", format!("{} is not {PROPOSAL_TYPE}", pb.r#type)));
        }
        let round = wire::round("proposal.round", pb.round)?;
        let pol_round = match pb.pol_round {
            -1 => None,
            other => Some(wire::round("proposal.pol_round", other)?),
        };
        if pol_round.is_some_and(|pol| pol >= round) {
            return Err(DecodeError::field("proposal.pol_round", format!("is not below the round {round}")));
        }
        Ok(Self {
            proposal: Proposal {
                height: wire::height("proposal.height", pb.height)?,
                round,
                pol_round,
                block_id: wire::block_id("proposal.block_id", pb.block_id)?,
                timestamp: wire::time("proposal.timestamp", pb.timestamp)?,
            },
            signature: signature("proposal.signature", &pb.signature)?,
        })
    }
}
