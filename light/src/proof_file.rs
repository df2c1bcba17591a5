//! The file that is handed over: a chain of proofs, the header whose app hash it leads to, the commit of that header
//! and the validators of its height.

use std::fmt;

use app::{Account, PROOF_OP_TYPE, ProofOp, StateProof, state::NEVER_REVERTED, tree::ProofError};
use data_encoding::HEXUPPER;
use serde::Deserialize;
use thiserror::Error;
use types::{Address, ChainId, Commit, DecodeError, Hash, Header, Height, Time, ValidatorSet};

use crate::{
    Trust,
    header::{HeaderError, Link, Signed, verify_header},
    json::{Bytes, SignedHeader, validators},
};

/// First field of a file, with the version of its layout.
pub const FORMAT: &str = "cairn proof 1";

/// Maximum bytes of a file.
pub const FILE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A proof to hand over. [`ProofFile::verify`] decides whether it proves anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFile {
    key: Vec<u8>,
    proof: StateProof,
    header: Header,
    commit: Commit,
    validators: ValidatorSet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJson {
    format: String,
    proof_ops: Vec<OpJson>,
    signed_header: SignedHeader,
    #[serde(deserialize_with = "validators")]
    validators: ValidatorSet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpJson {
    r#type: String,
    key: Bytes,
    data: Bytes,
}

/// The reason why a file proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProofFileError {
    /// The file is too large.
    #[error("the file has {got} bytes, at most {FILE_BYTES_MAX} are read")]
    TooLarge {
        /// Bytes of the file.
        got: usize,
    },
    /// The file has another shape.
    #[error("the file is not a proof that `cairn proof` wrote: {0}")]
    Shape(String),
    /// A proof of the chain cannot be read.
    #[error("the chain of proofs: {0}")]
    Ops(DecodeError),
    /// The header is not believed.
    #[error("{0}")]
    Header(HeaderError),
    /// The chain of proofs does not lead to the app hash of the header.
    #[error("the chain of proofs does not lead to the app hash of the header: {0}")]
    Proof(ProofError),
}

/// What a file proves. Its text says so in sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Raw key in the state.
    pub key: Vec<u8>,
    /// Its value; `None` if the state has no such key.
    pub value: Option<Vec<u8>>,
    /// Chain to which the state belongs.
    pub chain_id: ChainId,
    /// Height of the block after which the state was so. The header is that of the next height.
    pub height: Height,
    /// Time of the header.
    pub time: Time,
    /// Hash of the header.
    pub block: Hash,
    /// Who signed the header.
    pub signed: Signed,
}

impl ProofFile {
    /// Reads a file. Nothing is verified.
    ///
    /// Errors: [`ProofFileError::TooLarge`], [`ProofFileError::Shape`], [`ProofFileError::Ops`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProofFileError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(ProofFileError::TooLarge { got: bytes.len() });
        }
        let shape = |reason: String| ProofFileError::Shape(reason);
        let json: FileJson = serde_json::from_slice(bytes).map_err(|error| shape(error.to_string()))?;
        if json.format != FORMAT {
            return Err(shape(format!("its format is {:?}, expected {FORMAT:?}", json.format)));
        }
        if json.proof_ops.iter().any(|op| op.r#type != PROOF_OP_TYPE) {
            return Err(shape(format!("a proof is not of type {PROOF_OP_TYPE:?}")));
        }
        let ops = json.proof_ops.into_iter().map(|op| ProofOp { key: op.key.0, data: op.data.0 });
        let proof = StateProof::from_ops(&ops.collect::<Vec<_>>()).map_err(ProofFileError::Ops)?;
        Ok(Self {
            key: proof.key().to_vec(),
            proof,
            header: json.signed_header.header,
            commit: json.signed_header.commit,
            validators: json.validators,
        })
    }

    /// Returns what the file proves to a verifier with this trust.
    ///
    /// Cost: about 100 hashes, and the signatures of the commit.
    ///
    /// Errors: [`ProofFileError::Header`] if the header is not believed, [`ProofFileError::Proof`] if the chain of
    /// proofs does not lead to its app hash.
    pub fn verify(&self, trust: &Trust) -> Result<Proven, ProofFileError> {
        let Self { key, proof, header, commit, validators } = self;
        let signed = verify_header(trust.chain_id.as_ref(), &trust.validators, header, commit, validators)
            .map_err(ProofFileError::Header)?;
        proof.verify(&header.app_hash, &[NEVER_REVERTED], key, proof.value()).map_err(ProofFileError::Proof)?;
        Ok(Proven {
            key: key.clone(),
            value: proof.value().map(<[u8]>::to_vec),
            chain_id: header.chain_id.clone(),
            height: header.height.prev().unwrap_or_default(),
            time: header.time,
            block: commit.block_id.hash,
            signed,
        })
    }
}

impl Proven {
    /// Returns the address and the state of the account, if the key is that of an account.
    pub fn account(&self) -> Option<(Address, Account)> {
        let address = Address(self.key.strip_prefix(b"a")?.try_into().ok()?);
        match &self.value {
            None => Some((address, Account::default())),
            Some(value) => Some((address, Account::from_value(value)?)),
        }
    }
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, height) = (HEXUPPER.encode(&self.key), self.height);
        match (self.account(), &self.value) {
            (Some((address, account)), Some(_)) => writeln!(
                f,
                "Account {address} had balance {} and next nonce {} at height {height}.",
                account.balance, account.nonce
            )?,
            (Some((address, _)), None) => {
                writeln!(f, "Account {address} was unused at height {height}: balance 0 and next nonce 0.")?;
            }
            (None, Some(value)) => {
                writeln!(f, "Key {key} had the value {} at height {height}.", HEXUPPER.encode(value))?;
            }
            (None, None) => writeln!(f, "Key {key} had no value at height {height}.")?,
        }
        let Signed { signers, validators, power, total, link } = self.signed;
        let permille = u128::from(power.0) * 1000 / u128::from(total.0.max(1));
        writeln!(
            f,
            "The header of height {} of chain {} commits to it; its hash is {}, its time {}.",
            height.next(),
            self.chain_id.as_str(),
            self.block,
            self.time
        )?;
        write!(
            f,
            "{signers} of {validators} validators with {}.{} % of the power signed that header.\n{}",
            permille / 10,
            permille % 10,
            match link {
                Link::Same => "They are of the trusted set.",
                Link::Overlap => "More than a third of the trusted power signed it; the other validators are new.",
            }
        )
    }
}
