//! The file that proves what a revert restored: the record of the executed proposal, and for each of its namespaces that
//! the root after the execution is the root at the target.
//!
//! ```text
//!  before: header of target + 1 ──app hash──> root of each namespace ──┐
//!                                                                      ├── equal
//!  after: header of execution + 1 ──app hash──> root of each namespace ┘
//!                                  └──────────> record: target, namespaces, votes
//! ```

use std::fmt;

use app::{Ending, Proposal, ProposalState, StateProof, Tally};
use serde::Deserialize;
use types::{Hash, LightBlock, ValidatorSet};

use crate::{
    EqualFile, Place, ProofFileError, Proven, Trust,
    json::{SignedHeader, validators},
    proof_file::{OpJson, chain, expect_format, parse, prove, shown, verify},
};

/// First field of a file about a revert, with the version of its layout.
pub const REVERT_FORMAT: &str = "cairn proof of a revert 1";

/// A proof of what a revert restored. [`RevertFile::verify`] decides whether it proves anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevertFile {
    before: LightBlock,
    after: LightBlock,
    record: StateProof,
    /// The root of each namespace before and after.
    namespaces: Vec<[StateProof; 2]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJson {
    format: String,
    before: BlockJson,
    after: BlockJson,
    record: Vec<OpJson>,
    namespaces: Vec<RootsJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockJson {
    signed_header: SignedHeader,
    #[serde(deserialize_with = "validators")]
    validators: ValidatorSet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RootsJson {
    before: Vec<OpJson>,
    after: Vec<OpJson>,
}

/// What a revert restored. Its text says so in sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Number of the proposal.
    pub id: u64,
    /// The votes when it was executed.
    pub votes: Tally,
    /// The namespaces with the root that each had at the target and after the execution.
    pub namespaces: Vec<(Vec<u8>, Hash)>,
    /// The root of the first namespace at the target, with its header.
    pub before: Proven,
    /// The record, with the header after the execution.
    pub after: Proven,
}

impl RevertFile {
    /// Reads a file. Nothing is verified.
    ///
    /// Errors: [`ProofFileError::TooLarge`], [`ProofFileError::Shape`], [`ProofFileError::Ops`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProofFileError> {
        let FileJson { format, before, after, record, namespaces } = parse(bytes)?;
        expect_format(&format, REVERT_FORMAT)?;
        let block = |json: BlockJson| json.signed_header.with(json.validators);
        let roots = |json: RootsJson| Ok([chain(json.before)?, chain(json.after)?]);
        Ok(Self {
            before: block(before),
            after: block(after),
            record: chain(record)?,
            namespaces: namespaces.into_iter().map(roots).collect::<Result<_, _>>()?,
        })
    }

    /// Returns what the file proves to a verifier with this trust.
    ///
    /// Cost: the signatures of two commits, and about 100 hashes for each namespace.
    ///
    /// Errors: those of [`ProofFile::verify`](crate::ProofFile::verify); [`ProofFileError::Record`] if the record is not that of a
    /// revert that this block executed; [`ProofFileError::Scope`] if the proofs are not about its namespaces, in the order
    /// of the record, or the first header is not that after its target; [`ProofFileError::Different`] if a root differs.
    pub fn verify(&self, trust: &Trust) -> Result<Restored, ProofFileError> {
        let (signed_before, signed_after) = (verify(&self.before, trust)?, verify(&self.after, trust)?);
        let after = prove(&self.after, signed_after, &self.record)?;
        let no_record = || ProofFileError::Record { executed: after.height };
        let proposal = Some(&after).filter(|proven| proven.place == Place::State);
        let proposal = proposal.and_then(|proven| Proposal::from_row(&proven.key, proven.value.as_deref()?));
        let proposal = proposal.ok_or_else(no_record)?;
        let votes = match proposal.state {
            ProposalState::Closed { height, ending: Ending::Executed, tally } if height == after.height => tally,
            _ => return Err(no_record()),
        };
        let revert = &proposal.revert().ok_or_else(no_record)?.revert;
        let names: Vec<_> = proposal.names().collect();
        let is_target = self.before.header.height == revert.target.next()
            && self.before.header.chain_id == self.after.header.chain_id;
        if names.len() != self.namespaces.len() || !is_target {
            return Err(ProofFileError::Scope);
        }
        let (mut namespaces, mut first) = (Vec::new(), None);
        for (name, [before, after]) in names.iter().zip(&self.namespaces) {
            let pair = [prove(&self.before, signed_before, before)?, prove(&self.after, signed_after, after)?];
            if pair[0].key != name.as_bytes() {
                return Err(ProofFileError::Scope);
            }
            let equal = EqualFile::compare(pair)?;
            let [before, _] = equal.at;
            namespaces.push((before.key.clone(), equal.root));
            first.get_or_insert(before);
        }
        let before = first.ok_or(ProofFileError::Scope)?;
        Ok(Restored { id: proposal.id, votes, namespaces, before, after })
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, votes, namespaces, before, after } = self;
        let Tally { yes, total, .. } = votes;
        writeln!(f, "Revert {id} was executed at height {}, with {yes} of {total} voting power for it.", after.height)?;
        for (name, root) in namespaces {
            let (name, target) = (shown(name), before.height);
            writeln!(f, "After it, namespace {name} had the keys and values of height {target}: its root was {root}.")?;
        }
        before.write_header(f)?;
        writeln!(f)?;
        after.write_header(f)
    }
}
