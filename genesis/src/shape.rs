//! The format of a document: one serde shape for each object, which is read and written.

use std::time::Duration;

use app::{FirstDelegation, FirstTerms};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use types::{
    Address, BlockParams, ChainId, EvidenceParams, Hash, Height, KeyType, Params, Power, ProposalParams, StakingParams,
    Synchrony, Time, Timeouts,
};

use crate::{
    document::{self, Document, GenesisAccount, GenesisValidator},
    faults::Faults,
    json::{self, FieldError, KeyShape, Text, number, text},
    stake::{DelegationShape, TermsShape},
    stream::Parts,
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
    accounts: Listed<'a, GenesisAccount>,
    #[serde(skip_serializing_if = "Listed::is_empty")]
    validators: Listed<'a, FirstTerms>,
    #[serde(skip_serializing_if = "Listed::is_empty")]
    delegations: Listed<'a, FirstDelegation>,
    #[serde(skip_serializing_if = "Amount::is_zero")]
    community_pool: Amount,
    #[serde(skip_serializing_if = "Amount::is_zero")]
    fee_pool: Amount,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Amount(#[serde(with = "number")] u64);

impl Amount {
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

/// Which form of the document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// That of the file: lists are in the order of the document.
    File,
    /// That of its meaning: lists are in the order of their keys, and without names.
    Meaning,
}

/// A list of `app_state`, whose elements are serialized one at a time.
struct Listed<'a, T> {
    all: &'a [T],
    /// Places of the elements in the order in which they are written; `None`: that of `all`.
    order: Option<Vec<u32>>,
    form: Form,
}

/// An element of such a list.
trait Element {
    /// What orders the elements.
    type Key: Ord;
    type Shape: Serialize;

    fn key(&self) -> Self::Key;
    fn shape(&self, form: Form) -> Self::Shape;
}

impl<'a, T: Element> Listed<'a, T> {
    fn new(all: &'a [T], form: Form) -> Self {
        Self { all, order: (form == Form::Meaning).then(|| in_order(all, T::key)), form }
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<T: Element> Serialize for Listed<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = |index: usize| self.order.as_ref().map_or(index, |order| order[index] as usize);
        serializer.collect_seq((0..self.all.len()).map(|index| self.all[place(index)].shape(self.form)))
    }
}

/// Returns the places of the elements of a list, sorted by a key; equal keys keep their order.
pub(crate) fn in_order<T, K: Ord>(all: &[T], key: impl Fn(&T) -> K) -> Vec<u32> {
    let count = u32::try_from(all.len()).expect("a document of 640 MiB has fewer elements");
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_unstable_by_key(|place| (key(&all[*place as usize]), *place));
    order
}

impl Element for GenesisAccount {
    type Key = Address;
    type Shape = Self;

    fn key(&self) -> Address {
        self.address
    }

    fn shape(&self, form: Form) -> Self {
        let name = if form == Form::File { self.name.clone() } else { String::new() };
        Self { name, ..*self }
    }
}

impl Element for FirstTerms {
    type Key = Address;
    type Shape = TermsShape;

    fn key(&self) -> Address {
        self.operator
    }

    fn shape(&self, _: Form) -> TermsShape {
        self.into()
    }
}

impl Element for FirstDelegation {
    type Key = (Address, Address);
    type Shape = DelegationShape;

    fn key(&self) -> (Address, Address) {
        (self.delegator, self.validator)
    }

    fn shape(&self, _: Form) -> DelegationShape {
        self.into()
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
    #[serde(with = "number")]
    issuance_bps_per_year: u64,
    #[serde(with = "number")]
    community_bps: u64,
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

/// Returns the parameters with the default of one field, which has this path in `consensus_params`; `None` if there is no such
/// field.
pub(crate) fn with_default(params: &Params, field: &str) -> Option<Params> {
    let mut value = params_json(params);
    let (above, name) = field.rsplit_once('.').unwrap_or(("", field));
    let parent =
        above.split('.').filter(|name| !name.is_empty()).try_fold(&mut value, |value, name| value.get_mut(name));
    parent?.as_object_mut()?.remove(name)?;
    json::read::<ParamsShape>(&value).ok().map(Params::from)
}

/// Returns the document in the form in which it is written. `app_hash` is the required hash of the first state.
pub(crate) fn of(document: &Document, form: Form, app_hash: Option<Hash>) -> impl Serialize {
    let Document { stake, .. } = document;
    let mut validators: Vec<&GenesisValidator> = document.validators.iter().collect();
    if form == Form::Meaning {
        validators.sort_by_key(|validator| validator.public_key.address());
    }
    let validator = |validator: &GenesisValidator| match (ValidatorShape::from(validator), form) {
        (shape, Form::File) => shape,
        (shape, Form::Meaning) => ValidatorShape { name: String::new(), ..shape },
    };
    DocumentShape {
        genesis_time: document.genesis_time,
        chain_id: document.chain_id.clone(),
        initial_height: document.initial_height.0,
        consensus_params: ParamsShape::from(&document.params),
        validators: validators.into_iter().map(validator).collect(),
        app_hash,
        app_state: AppStateShape {
            accounts: Listed::new(&document.accounts, form),
            validators: Listed::new(&stake.terms, form),
            delegations: Listed::new(&stake.delegations, form),
            community_pool: Amount(stake.community),
            fee_pool: Amount(stake.fee_pool),
        },
    }
}

/// Creates a document from its parts. `faults` are those of the lists in `app_state`.
///
/// Errors: all faults of the form, each with the path of the invalid field.
pub(crate) fn read(parts: Parts, mut faults: Faults) -> Result<Document, Vec<FieldError>> {
    let Parts { mut head, accounts, stake } = parts;
    let list = match head.get_mut("validators") {
        Some(Value::Array(list)) => std::mem::take(list),
        _ => Vec::new(), // a fault of the document
    };
    let shape: Option<DocumentShape<()>> = faults.read(Value::Object(head), "");
    let mut validators = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let path = format!("validators[{index}]");
        let Some(shape) = faults.read::<ValidatorShape>(value, &path) else { continue };
        validators.extend(GenesisValidator::try_from(shape).map_err(|fault| faults.push(fault.within(&path))));
    }
    let shape = faults.none_in(shape)?.expect("all was read, as there is no fault");
    Ok(Document {
        genesis_time: shape.genesis_time,
        chain_id: shape.chain_id,
        initial_height: Height(shape.initial_height),
        params: shape.consensus_params.into(),
        validators,
        app_hash: shape.app_hash,
        accounts,
        stake,
    })
}
