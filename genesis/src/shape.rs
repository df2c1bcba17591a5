//! The format of a document: one serde shape for each object, which is read and written.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use types::{
    Address, BlockParams, ChainId, EvidenceParams, Hash, Height, KeyType, Params, Power, ProposalParams, StakingParams,
    Synchrony, Time, Timeouts,
};

use crate::{
    document::{self, Document, GenesisAccount, GenesisValidator},
    json::{self, FieldError, KeyShape, Text, number, text},
};

/// The document. Its accounts `A` are read and written one at a time, apart from it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentShape<A> {
    #[serde(serialize_with = "text::serialize", deserialize_with = "time")]
    genesis_time: Time,
    #[serde(with = "text")]
    chain_id: ChainId,
    #[serde(with = "number", default = "first_height")]
    initial_height: u64,
    #[serde(default)]
    consensus_params: ParamsShape,
    validators: Vec<ValidatorShape>,
    #[serde(with = "hash_or_empty", default)]
    app_hash: Option<Hash>,
    #[serde(default)]
    app_state: A,
}

fn first_height() -> u64 {
    1
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    Time::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

mod hash_or_empty {
    use super::*;

    pub(super) fn serialize<S: Serializer>(hash: &Option<Hash>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hash.map(|hash| hash.to_string()).unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hash>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(de::Error::custom) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorShape {
    address: Option<Text<Address>>,
    pub_key: KeyShape,
    #[serde(with = "number")]
    power: u64,
    #[serde(deserialize_with = "document::name", default)]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<Text<Address>>,
}

impl From<&GenesisValidator> for ValidatorShape {
    fn from(GenesisValidator { public_key, power, name, operator }: &GenesisValidator) -> Self {
        Self {
            address: Some(Text(public_key.address())),
            pub_key: KeyShape::public(public_key),
            power: power.0,
            name: name.clone(),
            operator: operator.map(Text),
        }
    }
}

impl TryFrom<ValidatorShape> for GenesisValidator {
    type Error = FieldError;

    fn try_from(shape: ValidatorShape) -> Result<Self, FieldError> {
        let ValidatorShape { address, pub_key, power, name, operator } = shape;
        let public_key = pub_key.to_public(&KeyType::ALL).map_err(|error| error.within("pub_key"))?;
        match (address, public_key.address()) {
            (Some(Text(got)), expected) if got != expected => Err(FieldError::new(
                "address",
                format!("is {got}, but pub_key has address {expected}: correct it or leave it out"),
            )),
            _ => Ok(Self { public_key, power: Power(power), name, operator: operator.map(|Text(address)| address) }),
        }
    }
}

#[derive(Serialize)]
struct AppStateShape<'a> {
    accounts: Accounts<'a>,
}

/// Accounts that are serialized one at a time.
pub(crate) struct Accounts<'a> {
    pub all: &'a [GenesisAccount],
    /// Indices of the accounts in output order; `None`: the order of `all`.
    pub order: Option<Vec<u32>>,
    /// True if the names of the accounts are part of the output.
    pub are_named: bool,
}

impl Serialize for Accounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let account = |index: usize| {
            let account = &self.all[self.order.as_ref().map_or(index, |order| order[index] as usize)];
            let name = if self.are_named { account.name.clone() } else { String::new() };
            GenesisAccount { name, ..*account }
        };
        serializer.collect_seq((0..self.all.len()).map(account))
    }
}

/// The consensus parameters in CometBFT's order. An absent field has its default.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ParamsShape {
    #[serde(with = "BlockShape")]
    block: BlockParams,
    #[serde(with = "EvidenceShape")]
    evidence: EvidenceParams,
    validator: KeyTypesShape,
    version: VersionShape,
    abci: AbciShape,
    #[serde(with = "TimeoutsShape")]
    timeouts: Timeouts,
    #[serde(with = "SynchronyShape")]
    synchrony: Synchrony,
    #[serde(with = "number")]
    retain_blocks: u64,
    #[serde(rename = "tx_ttl_ms_max", with = "millis")]
    tx_ttl_max: Duration,
    #[serde(with = "number")]
    fee_min: u64,
    #[serde(with = "number")]
    fee_per_kib: u64,
    #[serde(with = "number")]
    ns_deposit: u64,
    #[serde(with = "ProposalsShape")]
    proposals: ProposalParams,
    #[serde(with = "StakingShape")]
    staking: StakingParams,
}

impl Default for ParamsShape {
    fn default() -> Self {
        Self::from(&Params::default())
    }
}

impl From<&Params> for ParamsShape {
    fn from(params: &Params) -> Self {
        Self {
            block: params.block,
            evidence: params.evidence,
            validator: KeyTypesShape::default(),
            version: VersionShape { app: params.version_app },
            abci: AbciShape::default(),
            timeouts: params.timeouts,
            synchrony: params.synchrony,
            retain_blocks: params.retain_blocks,
            tx_ttl_max: params.tx_ttl_max,
            fee_min: params.fee_min,
            fee_per_kib: params.fee_per_kib,
            ns_deposit: params.ns_deposit,
            proposals: params.proposals,
            staking: params.staking,
        }
    }
}

impl From<ParamsShape> for Params {
    fn from(shape: ParamsShape) -> Self {
        Self {
            block: shape.block,
            evidence: shape.evidence,
            version_app: shape.version.app,
            timeouts: shape.timeouts,
            synchrony: shape.synchrony,
            retain_blocks: shape.retain_blocks,
            tx_ttl_max: shape.tx_ttl_max,
            fee_min: shape.fee_min,
            fee_per_kib: shape.fee_per_kib,
            ns_deposit: shape.ns_deposit,
            proposals: shape.proposals,
            staking: shape.staking,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "BlockParams", deny_unknown_fields, default = "BlockParams::default")]
struct BlockShape {
    #[serde(rename = "max_bytes", with = "number")]
    bytes_max: u64,
    #[serde(rename = "max_gas", with = "number")]
    gas_max: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "EvidenceParams", deny_unknown_fields, default = "EvidenceParams::default")]
struct EvidenceShape {
    #[serde(rename = "max_age_num_blocks", with = "number")]
    age_heights_max: u64,
    #[serde(rename = "max_age_duration", with = "nanos")]
    age_max: Duration,
    #[serde(rename = "max_bytes", with = "number")]
    bytes_max: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyTypesShape {
    pub_key_types: Vec<Text<KeyType>>,
}

impl Default for KeyTypesShape {
    fn default() -> Self {
        Self { pub_key_types: KeyType::ALL.map(Text).to_vec() }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VersionShape {
    #[serde(with = "number")]
    app: u64,
}

impl Default for VersionShape {
    fn default() -> Self {
        Self { app: Params::default().version_app }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AbciShape {
    #[serde(serialize_with = "number::serialize", deserialize_with = "no_height")]
    vote_extensions_enable_height: u64,
}

fn no_height<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match number::deserialize(deserializer)? {
        0 => Ok(0),
        _ => Err(de::Error::custom("this chain has no vote extensions: use \"0\"")),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Timeouts", deny_unknown_fields, default = "Timeouts::default")]
struct TimeoutsShape {
    #[serde(rename = "propose_ms", with = "millis")]
    propose: Duration,
    #[serde(rename = "propose_delta_ms", with = "millis")]
    propose_delta: Duration,
    #[serde(rename = "prevote_ms", with = "millis")]
    prevote: Duration,
    #[serde(rename = "prevote_delta_ms", with = "millis")]
    prevote_delta: Duration,
    #[serde(rename = "precommit_ms", with = "millis")]
    precommit: Duration,
    #[serde(rename = "precommit_delta_ms", with = "millis")]
    precommit_delta: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Synchrony", deny_unknown_fields, default = "Synchrony::default")]
struct SynchronyShape {
    #[serde(rename = "precision_ms", with = "millis")]
    precision: Duration,
    #[serde(rename = "message_delay_ms", with = "millis")]
    message_delay: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ProposalParams", deny_unknown_fields, default = "ProposalParams::default")]
struct ProposalsShape {
    #[serde(with = "number")]
    deposit: u64,
    #[serde(with = "number")]
    open_max: u64,
    #[serde(rename = "voting_ms", with = "millis")]
    voting: Duration,
    #[serde(rename = "notice_ms_min", with = "millis")]
    notice_min: Duration,
    #[serde(rename = "freeze_ms_max", with = "millis")]
    freeze_max: Duration,
    #[serde(rename = "cooldown_ms", with = "millis")]
    cooldown: Duration,
    #[serde(with = "number")]
    revert_keys_max: u64,
    #[serde(with = "number")]
    revert_bytes_max: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "StakingParams", deny_unknown_fields, default = "StakingParams::default")]
struct StakingShape {
    #[serde(with = "number")]
    power_unit: u64,
    #[serde(with = "number")]
    validators_max: u64,
    #[serde(rename = "unbonding_ms", with = "millis")]
    unbonding: Duration,
    #[serde(with = "number")]
    commission_bps_min: u64,
    #[serde(with = "number")]
    commission_bps_max: u64,
    #[serde(with = "number")]
    own_stake_min: u64,
    #[serde(with = "number")]
    slash_duplicate_vote_bps: u64,
    #[serde(with = "number")]
    slash_downtime_bps: u64,
    #[serde(with = "number")]
    downtime_window: u64,
    #[serde(rename = "downtime_ms", with = "millis")]
    downtime: Duration,
    #[serde(rename = "jail_ms", with = "millis")]
    jail: Duration,
}

/// A duration in whole milliseconds.
mod millis {
    use super::*;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        number::serialize(&duration.as_millis(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        number::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// A duration of whole milliseconds, in nanoseconds.
mod nanos {
    use super::*;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        number::serialize(&duration.as_nanos(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        match Duration::from_nanos(number::deserialize(deserializer)?) {
            whole if whole.subsec_nanos().is_multiple_of(1_000_000) => Ok(whole),
            _ => Err(de::Error::custom("is in nanoseconds and must be whole milliseconds: end it with 000000")),
        }
    }
}

/// Returns `consensus_params`, as in the document and in CometBFT's RPC.
pub fn params_json(params: &Params) -> Value {
    serde_json::to_value(ParamsShape::from(params)).expect("shapes have text keys")
}

/// Returns the document in the form in which it is written, with these accounts.
pub(crate) fn of<'a>(document: &'a Document, accounts: Accounts<'a>) -> impl Serialize + 'a {
    DocumentShape {
        genesis_time: document.genesis_time,
        chain_id: document.chain_id.clone(),
        initial_height: document.initial_height.0,
        consensus_params: ParamsShape::from(&document.params),
        validators: document.validators.iter().map(ValidatorShape::from).collect(),
        app_hash: document.app_hash,
        app_state: AppStateShape { accounts },
    }
}

/// Creates a document from its fields except `app_state`, and its accounts.
///
/// Errors: [`FieldError`] with the path of the invalid field.
pub(crate) fn read(head: Map<String, Value>, accounts: Vec<GenesisAccount>) -> Result<Document, FieldError> {
    let head = Value::Object(head);
    let shape: DocumentShape<()> = json::read(&head)?;
    let validator = |(index, shape): (usize, ValidatorShape)| {
        GenesisValidator::try_from(shape).map_err(|error| error.within(&format!("validators[{index}]")))
    };
    Ok(Document {
        genesis_time: shape.genesis_time,
        chain_id: shape.chain_id,
        initial_height: Height(shape.initial_height),
        params: shape.consensus_params.into(),
        validators: shape.validators.into_iter().enumerate().map(validator).collect::<Result<_, _>>()?,
        app_hash: shape.app_hash,
        accounts,
    })
}
