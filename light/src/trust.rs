//! The validator set that a verifier trusts.

use serde::{Deserialize, de::IgnoredAny};
use thiserror::Error;
use types::{ChainId, Power, ValidatorSet};

use crate::json::{PublicKeyJson, plainly};

/// Maximum bytes of a file with the trusted validators, which may be a genesis document with many accounts.
pub const TRUST_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What the verifier knows and trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The chain; `None` if the file does not name one.
    pub chain_id: Option<ChainId>,
    /// Its validators at some height.
    pub validators: ValidatorSet,
}

/// The reason why a file names no validators to trust.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustError {
    /// The file is too large.
    #[error("{got} bytes, at most {TRUST_BYTES_MAX} are read")]
    TooLarge {
        /// Bytes of the file.
        got: usize,
    },
    /// The file is a proof. Whoever made it chose the validators in it.
    #[error("this is a proof, and its author chose the validators in it: name a file that you trust")]
    Proof,
    /// The file is neither an answer of `validators` nor a genesis document.
    #[error("neither the answer of /validators nor a genesis document: {0}")]
    Shape(String),
    /// The file has only one page of the validators.
    #[error(
        "{got} of {total} validators: add per_page=100 and the other pages, or use `cairn query validators --json`"
    )]
    Page {
        /// Validators in the file.
        got: usize,
        /// Validators of the height.
        total: usize,
    },
    /// The chain id or the validators break a rule.
    #[error("{0}")]
    Content(String),
}

/// The fields that matter, of an answer or of a document, also inside the envelope of JSON-RPC.
#[derive(Deserialize)]
struct TrustJson {
    chain_id: Option<String>,
    validators: Option<Vec<MemberJson>>,
    total: Option<Number>,
    result: Option<Box<TrustJson>>,
    genesis: Option<Box<TrustJson>>,
    proof_ops: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct MemberJson {
    pub_key: PublicKeyJson,
    #[serde(alias = "voting_power")]
    power: Number,
}

/// A number, or its digits as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

impl Number {
    fn read(&self) -> Result<u64, TrustError> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => {
                text.parse().map_err(|_| TrustError::Content(plainly(format_args!("{text:?} is no number"))))
            }
        }
    }
}

impl Trust {
    /// Reads the answer of the method `validators`, the output of `cairn query validators --json`, or a genesis
    /// document.
    ///
    /// Errors: [`TrustError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > TRUST_BYTES_MAX {
            return Err(TrustError::TooLarge { got: bytes.len() });
        }
        let mut json: TrustJson = serde_json::from_slice(bytes).map_err(|error| TrustError::Shape(plainly(error)))?;
        while let Some(inner) = json.result.take().or_else(|| json.genesis.take()) {
            json = *inner;
        }
        if json.proof_ops.is_some() {
            return Err(TrustError::Proof);
        }
        let members = json.validators.ok_or_else(|| TrustError::Shape("the field validators is missing".into()))?;
        let got = members.len();
        let total = json.total.map_or(Ok(got as u64), |total| total.read())?;
        if total != got as u64 {
            return Err(TrustError::Page { got, total: usize::try_from(total).unwrap_or(usize::MAX) });
        }
        let content = |reason: String| TrustError::Content(plainly(reason));
        let mut validators = Vec::with_capacity(got);
        for member in members {
            validators.push((member.pub_key.read().map_err(content)?, Power(member.power.read()?)));
        }
        let chain_id = json.chain_id.map(|id| ChainId::new(&id)).transpose();
        Ok(Self {
            chain_id: chain_id.map_err(|error| content(error.to_string()))?,
            validators: ValidatorSet::new(validators).map_err(|error| content(error.to_string()))?,
        })
    }
}
