//! Certificates: votes that prove a threshold to somebody who lacks them.

use thiserror::Error;

use crate::{
    ChainId, Height, Power, Round, SignedVote, ValidatorSet, VerifiedVote, VoteError, VoteType,
    limits::{CERTIFICATE_BYTES_MAX, VALIDATORS_MAX},
    pb,
    wire::{self, DecodeError, Wire},
};

/// Votes of one height, round and type, at most one of each validator, by ascending index. Never empty.
///
/// They may agree (a polka, a commit) or differ (a reason to skip to their round).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    votes: Vec<SignedVote>,
}

/// A certificate each of whose votes was checked. One bad vote rejects the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCertificate {
    votes: Vec<VerifiedVote>,
}

/// Why votes do not make a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// There is none.
    #[error("a certificate needs at least one vote")]
    Empty,
    /// They are not of one height, round and type.
    #[error("the votes are of different heights, rounds or types")]
    Mixed,
    /// A validator stands there twice, or out of order.
    #[error("the votes are not in strictly ascending order of validators")]
    Order,
    /// One of them does not hold.
    #[error("vote {index}: {error}")]
    Vote {
        /// Its place in the certificate.
        index: usize,
        /// What is wrong with it.
        error: VoteError,
    },
}

impl Certificate {
    /// Checks the shape; signatures are checked by [`Certificate::verify`].
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

    /// The votes, by ascending validator index.
    pub fn votes(&self) -> &[SignedVote] {
        &self.votes
    }

    /// The height voted on.
    pub fn height(&self) -> Height {
        self.votes[0].vote.height
    }

    /// The round voted in.
    pub fn round(&self) -> Round {
        self.votes[0].vote.round
    }

    /// Prevotes or precommits.
    pub fn vote_type(&self) -> VoteType {
        self.votes[0].vote.vote_type
    }

    /// This certificate, each of whose votes was verified one by one.
    ///
    /// Panics unless `votes` are exactly its votes.
    pub fn verified(self, votes: Vec<VerifiedVote>) -> VerifiedCertificate {
        assert!(self.votes.iter().eq(votes.iter().map(|vote| &**vote)), "the votes are those of the certificate");
        VerifiedCertificate { votes }
    }

    /// Checks every vote against the set of this height. Cost: one signature check for each vote.
    pub fn verify(
        self,
        chain_id: &ChainId,
        validators: &ValidatorSet,
    ) -> Result<VerifiedCertificate, CertificateError> {
        self.verify_except(chain_id, validators, |_| false)
    }

    /// As [`Certificate::verify`], but signatures that are `known` to hold are not checked again.
    pub fn verify_except(
        self,
        chain_id: &ChainId,
        validators: &ValidatorSet,
        known: impl Fn(&SignedVote) -> bool,
    ) -> Result<VerifiedCertificate, CertificateError> {
        let votes = self
            .votes
            .into_iter()
            .enumerate()
            .map(|(index, vote)| {
                vote.verify_except(chain_id, validators, &known)
                    .map_err(|error| CertificateError::Vote { index, error })
            })
            .collect::<Result<_, _>>()?;
        Ok(VerifiedCertificate { votes })
    }
}

impl VerifiedCertificate {
    /// The votes, by ascending validator index.
    pub fn votes(&self) -> &[VerifiedVote] {
        &self.votes
    }

    /// The height voted on.
    pub fn height(&self) -> Height {
        self.votes[0].vote.height
    }

    /// The round voted in.
    pub fn round(&self) -> Round {
        self.votes[0].vote.round
    }

    /// Prevotes or precommits.
    pub fn vote_type(&self) -> VoteType {
        self.votes[0].vote.vote_type
    }

    /// The sum of the voters' power.
    pub fn power(&self) -> Power {
        Power(self.votes.iter().map(|vote| vote.power().0).sum())
    }
}

impl Wire for Certificate {
    type Pb = pb::Certificate;
    const NAME: &'static str = "certificate";
    const BYTES_MAX: usize = CERTIFICATE_BYTES_MAX;

    fn to_pb(&self) -> pb::Certificate {
        pb::Certificate { votes: self.votes.iter().map(Wire::to_pb).collect() }
    }

    fn from_pb(pb: pb::Certificate) -> Result<Self, DecodeError> {
        wire::at_most("certificate.votes", pb.votes.len(), VALIDATORS_MAX)?;
        let votes = pb.votes.into_iter().map(SignedVote::from_pb).collect::<Result<Vec<_>, _>>()?;
        Self::new(votes).map_err(|e| DecodeError::field("certificate.votes", e))
    }
}
