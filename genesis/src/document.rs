//! The content of a genesis document, its limits, and the reasons why bytes are none.

use std::io;

use app::{FirstStake, FirstValidator};
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;
use types::{Address, ChainId, ConsensusPublicKey, Hash, Height, Params, Power, Time, is_plain};

use crate::json::{FieldError, number, text};

/// Maximum bytes of a genesis file, which is enough for four million accounts as written by this module.
pub const GENESIS_BYTES_MAX: u64 = 640 * 1024 * 1024;

/// Maximum bytes between two elements of the lists in `app_state`, and of the fields before the first or after the last one.
pub const GENESIS_HEAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Maximum number of characters in the name of a validator or an account.
const NAME_CHARS_MAX: usize = 70;

/// The content of a genesis document before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Start time of the chain.
    pub genesis_time: Time,
    /// Id of the chain.
    pub chain_id: ChainId,
    /// Height of the first block, at least 1.
    pub initial_height: Height,
    /// Consensus parameters of the first height.
    pub params: Params,
    /// Validators of the first height.
    pub validators: Vec<GenesisValidator>,
    /// Required hash of the first state, if the document has one.
    pub app_hash: Option<Hash>,
    /// Accounts with their balances.
    pub accounts: Vec<GenesisAccount>,
    /// Terms of validators, delegations, and money that is no account's.
    pub stake: FirstStake,
}

/// A validator of the first height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisValidator {
    /// Consensus key of the validator.
    pub public_key: ConsensusPublicKey,
    /// Voting power, at least 1.
    pub power: Power,
    /// Human-readable name; may be empty.
    pub name: String,
    /// Account that operates the validator; `None` for the address of the consensus key. Without delegations, it owns the
    /// validator's stake, which is its power times `staking.power_unit`.
    pub operator: Option<Address>,
}

impl GenesisValidator {
    /// Returns the validator of the first state.
    pub(crate) fn first(&self) -> FirstValidator {
        FirstValidator { public_key: self.public_key, power: self.power, operator: self.operator }
    }
}

/// An account of the first state. Its JSON is that of the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Address that owns the account.
    #[serde(with = "text")]
    pub address: Address,
    /// Balance of the account in the first state.
    #[serde(with = "number")]
    pub balance: u64,
    /// Human-readable name; may be empty.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "name", default)]
    pub name: String,
}

/// Reads a short text without control characters.
pub(crate) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.chars().count() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
        return Err(de::Error::custom(format!("use at most {NAME_CHARS_MAX} characters, without line breaks")));
    }
    Ok(name)
}

/// The reason why bytes are not a valid genesis document.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GenesisError {
    /// The document exceeds a size limit.
    #[error("{what} take more than {max} bytes, which is the limit: {way_out}")]
    TooLarge {
        /// Which part is too large.
        what: &'static str,
        /// Maximum size in bytes.
        max: u64,
        /// What the operator can do.
        way_out: &'static str,
    },
    /// The document cannot be read.
    #[error("it cannot be read: {0}")]
    Io(io::ErrorKind),
    /// The bytes are not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// A field has an invalid value.
    #[error(transparent)]
    Field(#[from] FieldError),
}
