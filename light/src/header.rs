//! When a header is believed.

use thiserror::Error;
use types::{ChainId, Commit, CommitError, CommitSig, Hash, Header, Height, Power, ValidatorSet};

/// Who signed a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Number of validators that signed.
    pub signers: usize,
    /// Number of validators of the header's height.
    pub validators: usize,
    /// Power of those that signed.
    pub power: Power,
    /// Power of all validators of the header's height.
    pub total: Power,
    /// Why the validators of the header's height are believed.
    pub link: Link,
}

/// The link from the trusted set to the validators of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// They are the trusted set.
    Same,
    /// More than a third of the trusted power, and so at least one honest validator, signed the header too.
    Overlap,
}

/// The reason why a header is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The header is of another chain.
    #[error("the header is of chain {}, expected {}", .got.as_str(), .expected.as_str())]
    Chain {
        /// Chain of the header.
        got: ChainId,
        /// Chain that is trusted.
        expected: ChainId,
    },
    /// The commit is of another height.
    #[error("the commit is of height {got}, the header of height {expected}")]
    Height {
        /// Height of the commit.
        got: Height,
        /// Height of the header.
        expected: Height,
    },
    /// The commit is for another block.
    #[error("the commit is for block {got}, the header's hash is {expected}")]
    Block {
        /// Block of the commit.
        got: Hash,
        /// Hash of the header.
        expected: Hash,
    },
    /// The validators are not those of the header.
    #[error("the validators have hash {got}, the header says {expected}")]
    Validators {
        /// Hash of the given validators.
        got: Hash,
        /// Hash in the header.
        expected: Hash,
    },
    /// The commit does not show that more than two thirds of the header's validators signed it.
    #[error("the commit of the header: {0}")]
    Commit(CommitError),
    /// The commit does not show that more than a third of the trusted power signed it.
    #[error("the trusted validators: {0}")]
    Trusted(CommitError),
}

/// Decides as Tendermint's light client does whether to believe a header: its own validators signed it with more than
/// two thirds of their power, and they are the trusted set (the adjacent case), or more than a third of the trusted
/// power signed it too (the skipping case).
///
/// It is stricter in one thing: all signatures of the commit must hold, not only as many as suffice.
///
/// `chain_id` is `None` if every chain of these validators is trusted.
///
/// Cost: one check for each signature, and in the skipping case another one for those of trusted validators.
///
/// Errors: [`HeaderError`]; nothing in such a header is believed.
pub fn verify_header(
    chain_id: Option<&ChainId>,
    trusted: &ValidatorSet,
    header: &Header,
    commit: &Commit,
    validators: &ValidatorSet,
) -> Result<Signed, HeaderError> {
    if let Some(expected) = chain_id.filter(|expected| **expected != header.chain_id) {
        return Err(HeaderError::Chain { got: header.chain_id.clone(), expected: expected.clone() });
    }
    if commit.height != header.height {
        return Err(HeaderError::Height { got: commit.height, expected: header.height });
    }
    let (got, expected) = (commit.block_id.hash, header.hash());
    if got != expected {
        return Err(HeaderError::Block { got, expected });
    }
    let (got, expected) = (validators.hash(), header.validators_hash);
    if got != expected {
        return Err(HeaderError::Validators { got, expected });
    }
    commit.verify(&header.chain_id, validators).map_err(HeaderError::Commit)?;
    let link = if trusted.hash() == got {
        Link::Same
    } else {
        commit.verify_by_a_third_of(&header.chain_id, trusted).map_err(HeaderError::Trusted)?;
        Link::Overlap
    };
    let signed = validators.iter().zip(&commit.signatures);
    let signed = signed.filter(|(_, entry)| matches!(entry, CommitSig::Commit { .. }));
    let powers: Vec<u64> = signed.map(|(validator, _)| validator.power.0).collect();
    Ok(Signed {
        signers: powers.len(),
        validators: validators.len(),
        power: Power(powers.iter().sum()),
        total: validators.total_power(),
        link,
    })
}
