//! Certificates: votes that prove a threshold to a node that lacks them.

use thiserror::Error;

use crate::{
    ChainId, EarlierChecks, Height, List, Power, Round, SignedVote, ValidatorSet, VerifiedVote, VoteError, VoteType,
    limits::{CERTIFICATE_BYTES_MAX, VALIDATORS_MAX},
    pb,
    wire::{self, DecodeError, Wire},
};

/// A list of votes of one height, round and type, at most one of each validator, by ascending index. It is never empty.
///
/// The votes may agree (a polka, a commit) or differ (to justify skipping to their round).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    votes: Vec<SignedVote>,
}

/// A certificate in which each vote was verified. One invalid vote rejects the whole certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCertificate {
    votes: Vec<VerifiedVote>,
}

/// Reason why votes do not form a valid certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The list of votes is empty.
    #[error("a certificate needs at least one vote")]
    Empty,
    /// The votes are of different heights, rounds or types.
    #[error("the votes are of different heights, rounds or types")]
    Mixed,
    /// A validator is listed twice, or the order is wrong.
    #[error("the votes are not in strictly ascending order of validators")]
    Order,
    /// One of the votes is not valid.
    #[error("vote {index}: {error}")]
    Vote {
        /// Position of the vote in the certificate.
        index: usize,
        /// Reason why the vote is not valid.
        error: VoteError,
    },
}

impl Certificate {
    /// Creates a certificate and checks its shape. [`Certificate::verify`] checks the signatures.
    ///
    /// Errors: [`CertificateError::Empty`], [`CertificateError::Mixed`] or [`CertificateError::Order`].
    pub fn new(votes: Vec<SignedVote>) -> Result<Self, CertificateError> {
        let key = |vote: &SignedVote| (vote.vote.height, vote.vote.round, vote.vote.vote_type);
        let first = votes.first().map(key).ok_or(CertificateError::Empty)?;
        if votes.iter().any(|vote| key(vote) != first) {
            return Err(CertificateError::Mixed);
        }
        if !votes.is_sorted_by(|a, b| a.vote.validator_index < b.vote.validator_index) {
            return Err(CertificateError::Order);
        }
        Ok(Self { votes })
    }

    /// Returns the votes, by ascending validator index.
    pub fn votes(&self) -> &[SignedVote] {
        &self.votes
    }

    /// Returns the height of the votes.
    pub fn height(&self) -> Height {
        self.votes[0].vote.height
    }

    /// Returns the round of the votes.
    pub fn round(&self) -> Round {
        self.votes[0].vote.round
    }

    /// Returns the type of the votes: prevotes or precommits.
    pub fn vote_type(&self) -> VoteType {
        self.votes[0].vote.vote_type
    }

    /// Converts a certificate whose votes were verified one by one.
    ///
    /// Panics unless `votes` are exactly the votes of the certificate.
    pub fn verified(self, votes: Vec<VerifiedVote>) -> VerifiedCertificate {
        assert!(self.votes.iter().eq(votes.iter().map(|vote| &**vote)), "the votes are those of the certificate");
        VerifiedCertificate { votes }
    }

    /// Verifies every vote against the validator set of this height. Cost: one signature check for each vote.
    ///
    /// Errors: [`CertificateError::Vote`] for the first vote whose voter or signature is wrong.
    pub fn verify(
        self,
        chain_id: &ChainId,
        validators: &ValidatorSet,
    ) -> Result<VerifiedCertificate, CertificateError> {
        self.verify_by(chain_id, validators, &())
    }

    /// Verifies as [`Certificate::verify`] does, with what is remembered of earlier checks.
    ///
    /// Errors: [`CertificateError::Vote`] for the first vote whose voter or signature is wrong.
    pub fn verify_by(
        self,
        chain_id: &ChainId,
        validators: &ValidatorSet,
        earlier: &impl EarlierChecks,
    ) -> Result<VerifiedCertificate, CertificateError> {
        let votes = self
            .votes
            .into_iter()
            .enumerate()
            .map(|(index, vote)| {
                vote.verify_by(chain_id, validators, earlier).map_err(|error| CertificateError::Vote { index, error })
            })
            .collect::<Result<_, _>>()?;
        Ok(VerifiedCertificate { votes })
    }
}

impl VerifiedCertificate {
    /// Returns the votes, by ascending validator index.
    pub fn votes(&self) -> &[VerifiedVote] {
        &self.votes
    }

    /// Returns the height of the votes.
    pub fn height(&self) -> Height {
        self.votes[0].vote.height
    }

    /// Returns the round of the votes.
    pub fn round(&self) -> Round {
        self.votes[0].vote.round
    }

    /// Returns the type of the votes: prevotes or precommits.
    pub fn vote_type(&self) -> VoteType {
        self.votes[0].vote.vote_type
    }

    /// Returns the total power of the voters.
    pub fn power(&self) -> Power {
        Power(self.votes.iter().map(|vote| vote.power().0).sum())
    }
}

impl Wire for Certificate {
    type Pb = pb::Certificate;
    const NAME: &'static str = "certificate";
    const BYTES_MAX: usize = CERTIFICATE_BYTES_MAX;
    const LISTS: &'static [List] = &[List::new("certificate.votes", &[1], VALIDATORS_MAX)];

    fn to_pb(&self) -> pb::Certificate {
        pb::Certificate { votes: self.votes.iter().map(Wire::to_pb).collect() }
    }

    fn from_pb(pb: pb::Certificate) -> Result<Self, DecodeError> {
        wire::at_most("certificate.votes", pb.votes.len(), VALIDATORS_MAX)?;
        let votes = pb.votes.into_iter().map(SignedVote::from_pb).collect::<Result<Vec<_>, _>>()?;
        Self::new(votes).map_err(|e| DecodeError::field("certificate.votes", e))
    }
}
