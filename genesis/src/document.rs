//! The genesis document, `genesis.json`, which defines the start of a chain.
//!
//! The format is CometBFT's, so that its clients can read it; `consensus_params` has more fields, each with a default.
//! 64-bit numbers are decimal strings.
//!
//! | field | content | default |
//! |---|---|---|
//! | `genesis_time` | RFC 3339; the first block is later | – |
//! | `chain_id` | 1 to 50 letters, digits, `-`, `_`, `.` | – |
//! | `initial_height` | height of the first block | 1 |
//! | `consensus_params` | [`types::Params`] | its defaults |
//! | `validators[]` | `address` (optional), `pub_key` (secp256k1 or Ed25519), `power`, `name` | – |
//! | `app_hash` | required hash of the first state; if empty, any hash is accepted | empty |
//! | `app_state.accounts[]` | `address`, `balance`, `name` (optional) | none |
//!
//! A chain may start with millions of accounts: they are read one at a time, and this list is the only data kept for
//! all of them.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Read, Write},
    time::Duration,
};

use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use thiserror::Error;
use types::{
    Address, BlockParams, ChainId, ConsensusPublicKey, EvidenceParams, Hash, Height, KeyType, Params, Power, Synchrony,
    Time, Timeouts, ValidatorSet, ValidatorSetError,
    limits::{POWER_TOTAL_MAX, VALIDATORS_MAX},
};

use crate::{
    json::{At, FieldError},
    stream,
};

/// Maximum bytes of a genesis file, which is enough for four million accounts as written by this module.
pub const GENESIS_BYTES_MAX: u64 = 640 * 1024 * 1024;

/// Maximum bytes between two accounts, and of the fields before the first or after the last account.
pub const GENESIS_HEAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Names of the top-level fields of the document.
pub(crate) const FIELDS: &[&str] =
    &["genesis_time", "chain_id", "initial_height", "consensus_params", "validators", "app_hash", "app_state"];

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
}

/// An account of the first state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisAccount {
    /// Address that owns the account.
    pub address: Address,
    /// Balance of the account in the first state.
    pub balance: u64,
    /// Human-readable name; may be empty.
    pub name: String,
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

/// The first state, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstState {
    /// Height of the first block; the height of the state itself is one lower.
    pub initial_height: Height,
    /// Genesis time of the document.
    pub time: Time,
    /// Rows of the state, and their app hash.
    pub state: app::FirstState,
    /// Validators of the first height.
    pub validators: ValidatorSet,
    /// Consensus parameters of the first height.
    pub params: Params,
    /// Hash of the document: [`Genesis::hash`].
    pub genesis_hash: Hash,
}

/// A checked genesis document with its validator set and app hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    document: Document,
    validators: ValidatorSet,
    app_hash: Hash,
}

fn field<T>(field: impl Into<String>, reason: impl ToString) -> Result<T, FieldError> {
    Err(FieldError::new(field, reason))
}

impl Genesis {
    /// Reads and checks a document.
    ///
    /// Errors: [`GenesisError`]; for a field with its path: `validators[2].power: …`.
    pub fn parse(bytes: &[u8]) -> Result<Self, GenesisError> {
        Self::read(bytes)
    }

    /// Reads and checks a document, one account at a time. `reader` should be buffered.
    ///
    /// Errors: those of [`Genesis::parse`], and [`GenesisError::Io`] if the reader fails.
    pub fn read(reader: impl Read) -> Result<Self, GenesisError> {
        let (head, accounts) = stream::read(reader)?;
        Ok(Self::new(read(head, accounts)?)?)
    }

    /// Checks a document. Cost: computing the first state once.
    ///
    /// Errors: [`FieldError`] with the path of the invalid field.
    pub fn new(document: Document) -> Result<Self, FieldError> {
        if document.initial_height.0 == 0 || document.initial_height.0 > i64::MAX as u64 {
            return field("initial_height", format!("{} is not a height: use 1", document.initial_height));
        }
        if let Err(error) = document.params.check() {
            let reason = format!("{} is out of range, use {}", error.got, error.range);
            return field(format!("consensus_params.{}", error.field), reason);
        }
        let validators = check_validators(&document.validators)?;
        check_accounts(&document.accounts)?;
        let first = app_state(&document);
        if let Some(expected) = document.app_hash.filter(|expected| *expected != first.app_hash) {
            let got = first.app_hash;
            return field(
                "app_hash",
                format!("is {expected}, but app_state hashes to {got}: correct one or leave app_hash empty"),
            );
        }
        Ok(Self { document, validators, app_hash: first.app_hash })
    }

    /// Returns the content of the document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Returns the id of the chain.
    pub fn chain_id(&self) -> &ChainId {
        &self.document.chain_id
    }

    /// Returns the validators of the first height.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Returns the consensus parameters of the first height.
    pub fn params(&self) -> &Params {
        &self.document.params
    }

    /// Returns the app hash of the first state.
    pub fn app_hash(&self) -> Hash {
        self.app_hash
    }

    /// Creates the first state from the document.
    pub fn first_state(&self) -> FirstState {
        let document = &self.document;
        let state = app_state(document);
        FirstState {
            initial_height: document.initial_height,
            time: document.genesis_time,
            state,
            validators: self.validators.clone(),
            params: document.params.clone(),
            genesis_hash: self.hash(),
        }
    }

    /// Returns the document in its file format: indented, with the fields in CometBFT's order.
    pub fn to_json(&self) -> String {
        let accounts = Accounts { all: &self.document.accounts, order: None, are_named: true };
        let mut text = serde_json::to_string_pretty(&shape(&self.document, accounts)).expect("shapes have text keys");
        text.push('\n');
        text
    }

    /// Returns the document as a JSON value.
    pub fn to_value(&self) -> Value {
        let accounts = Accounts { all: &self.document.accounts, order: None, are_named: true };
        serde_json::to_value(shape(&self.document, accounts)).expect("shapes have text keys")
    }

    /// Returns the hash that identifies the chain: BLAKE3 of the content with all defaults written out. The order of
    /// validators and accounts and their names do not count.
    pub fn hash(&self) -> Hash {
        let document = &self.document;
        let mut validators = document.validators.clone();
        validators.sort_by_key(|validator| validator.public_key.address());
        validators.iter_mut().for_each(|validator| validator.name.clear());
        let meaning = Document {
            genesis_time: document.genesis_time,
            chain_id: document.chain_id.clone(),
            initial_height: document.initial_height,
            params: document.params.clone(),
            validators,
            app_hash: Some(self.app_hash),
            accounts: Vec::new(),
        };
        let order = Some(by_address(&document.accounts));
        let accounts = Accounts { all: &document.accounts, order, are_named: false };
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"cairn genesis v1");
        let mut writer = BufWriter::with_capacity(HASHED_BYTES, &mut hasher);
        serde_json::to_writer(&mut writer, &shape(&meaning, accounts)).expect("shapes have text keys");
        writer.flush().expect("a hasher takes everything");
        drop(writer);
        Hash(*hasher.finalize().as_bytes())
    }
}

/// Buffer size in bytes for hashing the document.
const HASHED_BYTES: usize = 64 * 1024;

/// Returns the indices of the accounts, sorted by address; equal addresses keep their order.
fn by_address(accounts: &[GenesisAccount]) -> Vec<u32> {
    let count = u32::try_from(accounts.len()).expect("a document of 640 MiB has fewer accounts");
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_unstable_by_key(|place| (accounts[*place as usize].address, *place));
    order
}

fn app_state(document: &Document) -> app::FirstState {
    let accounts = document.accounts.iter().map(|account| (account.address, account.balance));
    app::genesis_writes(&document.params, accounts).expect("the accounts were checked")
}

fn check_validators(validators: &[GenesisValidator]) -> Result<ValidatorSet, FieldError> {
    let mut total = Power::ZERO;
    let mut seen = BTreeMap::new();
    for (index, validator) in validators.iter().enumerate() {
        let path = format!("validators[{index}]");
        if validator.power == Power::ZERO {
            return field(format!("{path}.power"), "is 0: give 1 or more, or leave the validator out");
        }
        total = match total.checked_add(validator.power) {
            Some(total) => total,
            None => {
                return field(
                    format!("{path}.power"),
                    format!("with it the total power exceeds {POWER_TOTAL_MAX}: give less"),
                );
            }
        };
        if let Some(first) = seen.insert(validator.public_key.address(), index) {
            return field(format!("{path}.pub_key"), format!("is also the key of validators[{first}]: leave one out"));
        }
    }
    let all = validators.iter().map(|validator| (validator.public_key, validator.power)).collect();
    ValidatorSet::new(all).or_else(|error| match error {
        ValidatorSetError::Empty => field("validators", "there is none: a chain needs at least one"),
        other => field("validators", other),
    })
}

fn check_accounts(accounts: &[GenesisAccount]) -> Result<(), FieldError> {
    let path = |index: usize, field: &str| format!("app_state.accounts[{index}].{field}");
    let mut supply = 0_u64;
    for (index, account) in accounts.iter().enumerate() {
        if account.address == Address::default() {
            return field(path(index, "address"), "this address can belong to no key: check it");
        }
        supply = match supply.checked_add(account.balance) {
            Some(supply) => supply,
            None => {
                return field(path(index, "balance"), format!("with it the supply exceeds {}: give less", u64::MAX));
            }
        };
    }
    let order = by_address(accounts);
    let same = |pair: &&[u32]| accounts[pair[0] as usize].address == accounts[pair[1] as usize].address;
    match order.windows(2).find(same) {
        Some(pair) => {
            let reason = format!("is also the address of app_state.accounts[{}]: leave one out", pair[0]);
            field(path(pair[1] as usize, "address"), reason)
        }
        None => Ok(()),
    }
}

/// Creates a document from its fields except `app_state`, and its accounts.
///
/// Errors: [`FieldError`] with the path of the invalid field.
fn read(head: Map<String, Value>, accounts: Vec<GenesisAccount>) -> Result<Document, FieldError> {
    let head = Value::Object(head);
    let root = At::root(&head);
    let time = root.need("genesis_time")?;
    let validators = root.need("validators")?;
    let members = validators.list()?;
    if members.len() > VALIDATORS_MAX {
        return validators.error(format!("{} of them, at most {VALIDATORS_MAX} are allowed", members.len()));
    }
    let app_hash = match root.get("app_hash")? {
        Some(hash) if !hash.text()?.is_empty() => Some(hash.parse()?),
        _ => None,
    };
    Ok(Document {
        genesis_time: Time::parse(time.text()?).or_else(|error| time.error(error))?,
        chain_id: root.need("chain_id")?.parse()?,
        initial_height: Height(root.get("initial_height")?.map_or(Ok(1), |height| height.number())?),
        params: root.get("consensus_params")?.map_or_else(|| Ok(Params::default()), |params| read_params(&params))?,
        validators: members.iter().map(read_validator).collect::<Result<_, _>>()?,
        app_hash,
        accounts,
    })
}

fn read_validator(at: &At<'_>) -> Result<GenesisValidator, FieldError> {
    at.only(&["address", "pub_key", "power", "name"])?;
    let key = at.need("pub_key")?;
    let public_key = read_public_key(&key, &KeyType::ALL)?;
    if let Some(address) = at.get("address")? {
        let (got, expected) = (address.parse::<Address>()?, public_key.address());
        if got != expected {
            return address.error(format!("is {got}, but pub_key has address {expected}: correct it or leave it out"));
        }
    }
    let power = Power(at.need("power")?.number()?);
    let name = at.get("name")?.map_or_else(|| Ok(String::new()), |name| name.name(NAME_CHARS_MAX))?;
    Ok(GenesisValidator { public_key, power, name })
}

pub(crate) fn read_account(at: &At<'_>) -> Result<GenesisAccount, FieldError> {
    at.only(&["address", "balance", "name"])?;
    Ok(GenesisAccount {
        address: at.need("address")?.parse()?,
        balance: at.need("balance")?.number()?,
        name: at.get("name")?.map_or_else(|| Ok(String::new()), |name| name.name(NAME_CHARS_MAX))?,
    })
}

/// Reads a public key of one of these types: `{"type": "tendermint/PubKeyEd25519", "value": BASE64}`.
///
/// Errors: [`FieldError`] with the path of the invalid field.
pub(crate) fn read_public_key(at: &At<'_>, key_types: &[KeyType]) -> Result<ConsensusPublicKey, FieldError> {
    let tags: Vec<_> = key_types.iter().map(|key_type| (*key_type, key_type.public_tag())).collect();
    let (key_type, value) = at.key_of(&tags)?;
    let key = match key_type {
        KeyType::Secp256k1 => ConsensusPublicKey::from_bytes(key_type, &value.base64::<33>()?),
        KeyType::Ed25519 => ConsensusPublicKey::from_bytes(key_type, &value.base64::<32>()?),
    };
    key.or_else(|error| value.error(error))
}

/// Reads a number field, or returns its default.
fn number_or<T: std::str::FromStr<Err: std::fmt::Display>>(
    at: &At<'_>,
    key: &str,
    default: T,
) -> Result<T, FieldError> {
    at.get(key)?.map_or(Ok(default), |number| number.number())
}

fn millis_or(at: &At<'_>, key: &str, default: Duration) -> Result<Duration, FieldError> {
    Ok(Duration::from_millis(number_or(at, key, default.as_millis() as u64)?))
}

/// Reads the `fields` of an optional object, or returns the default.
fn section<T>(
    at: &At<'_>,
    key: &str,
    known: &[&str],
    default: T,
    fields: impl FnOnce(&At<'_>) -> Result<T, FieldError>,
) -> Result<T, FieldError> {
    let Some(section) = at.get(key)? else { return Ok(default) };
    section.only(known)?;
    fields(&section)
}

fn read_params(at: &At<'_>) -> Result<Params, FieldError> {
    at.only(&[
        "block",
        "evidence",
        "validator",
        "version",
        "abci",
        "timeouts",
        "synchrony",
        "retain_blocks",
        "tx_ttl_heights_max",
        "fee_min",
    ])?;
    let defaults = Params::default();
    section(at, "validator", &["pub_key_types"], (), |at| {
        let Some(kinds) = at.get("pub_key_types")? else { return Ok(()) };
        for kind in kinds.list()? {
            if kind.text()?.parse::<KeyType>().is_err() {
                return kind.error("validators use secp256k1 or ed25519: leave other types out");
            }
        }
        Ok(())
    })?;
    section(at, "abci", &["vote_extensions_enable_height"], (), |at| {
        match at.get("vote_extensions_enable_height")? {
            Some(height) if height.number::<u64>()? != 0 => {
                height.error("this chain has no vote extensions: use \"0\"")
            }
            _ => Ok(()),
        }
    })?;
    let block = section(at, "block", &["max_bytes", "max_gas"], defaults.block, |at| {
        Ok(BlockParams {
            bytes_max: number_or(at, "max_bytes", defaults.block.bytes_max)?,
            gas_max: number_or(at, "max_gas", defaults.block.gas_max)?,
        })
    })?;
    let known = ["max_age_num_blocks", "max_age_duration", "max_bytes"];
    let evidence = section(at, "evidence", &known, defaults.evidence, |at| {
        let age_max = match at.get("max_age_duration")? {
            None => defaults.evidence.age_max,
            Some(nanos) => match Duration::from_nanos(nanos.number()?) {
                whole if whole.subsec_nanos().is_multiple_of(1_000_000) => whole,
                _ => return nanos.error("is in nanoseconds and must be whole milliseconds: end it with 000000"),
            },
        };
        Ok(EvidenceParams {
            age_heights_max: number_or(at, "max_age_num_blocks", defaults.evidence.age_heights_max)?,
            age_max,
            bytes_max: number_or(at, "max_bytes", defaults.evidence.bytes_max)?,
        })
    })?;
    let known =
        ["propose_ms", "propose_delta_ms", "prevote_ms", "prevote_delta_ms", "precommit_ms", "precommit_delta_ms"];
    let timeouts = section(at, "timeouts", &known, defaults.timeouts, |at| {
        Ok(Timeouts {
            propose: millis_or(at, "propose_ms", defaults.timeouts.propose)?,
            propose_delta: millis_or(at, "propose_delta_ms", defaults.timeouts.propose_delta)?,
            prevote: millis_or(at, "prevote_ms", defaults.timeouts.prevote)?,
            prevote_delta: millis_or(at, "prevote_delta_ms", defaults.timeouts.prevote_delta)?,
            precommit: millis_or(at, "precommit_ms", defaults.timeouts.precommit)?,
            precommit_delta: millis_or(at, "precommit_delta_ms", defaults.timeouts.precommit_delta)?,
        })
    })?;
    let synchrony = section(at, "synchrony", &["precision_ms", "message_delay_ms"], defaults.synchrony, |at| {
        Ok(Synchrony {
            precision: millis_or(at, "precision_ms", defaults.synchrony.precision)?,
            message_delay: millis_or(at, "message_delay_ms", defaults.synchrony.message_delay)?,
        })
    })?;
    Ok(Params {
        block,
        evidence,
        version_app: section(at, "version", &["app"], defaults.version_app, |at| {
            number_or(at, "app", defaults.version_app)
        })?,
        timeouts,
        synchrony,
        retain_blocks: number_or(at, "retain_blocks", defaults.retain_blocks)?,
        tx_ttl_heights_max: number_or(at, "tx_ttl_heights_max", defaults.tx_ttl_heights_max)?,
        fee_min: number_or(at, "fee_min", defaults.fee_min)?,
    })
}

//  ---- The format of written documents ------------------------------------------------------------------------------

#[derive(Serialize)]
struct DocumentShape<'a> {
    genesis_time: String,
    chain_id: &'a str,
    initial_height: String,
    consensus_params: ParamsShape,
    validators: Vec<ValidatorShape<'a>>,
    app_hash: String,
    app_state: AppStateShape<'a>,
}

#[derive(Serialize)]
struct ValidatorShape<'a> {
    address: String,
    pub_key: KeyShape,
    power: String,
    name: &'a str,
}

/// A key in its JSON format.
#[derive(Serialize)]
pub(crate) struct KeyShape {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub value: String,
}

impl KeyShape {
    pub fn public(key: &ConsensusPublicKey) -> Self {
        Self { kind: key.key_type().public_tag(), value: BASE64.encode(key.bytes()) }
    }
}

#[derive(Serialize)]
struct AppStateShape<'a> {
    accounts: Accounts<'a>,
}

/// Accounts that are serialized one at a time.
struct Accounts<'a> {
    all: &'a [GenesisAccount],
    /// Indices of the accounts in output order; `None`: the order of `all`.
    order: Option<Vec<u32>>,
    are_named: bool,
}

impl Serialize for Accounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let account = |index: usize| {
            let GenesisAccount { address, balance, name } =
                &self.all[self.order.as_ref().map_or(index, |order| order[index] as usize)];
            let name = if self.are_named { name.as_str() } else { "" };
            AccountShape { address: address.to_string(), balance: balance.to_string(), name }
        };
        serializer.collect_seq((0..self.all.len()).map(account))
    }
}

#[derive(Serialize)]
struct AccountShape<'a> {
    address: String,
    balance: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

#[derive(Serialize)]
struct ParamsShape {
    block: BlockShape,
    evidence: EvidenceShape,
    validator: PubKeyTypesShape,
    version: VersionShape,
    abci: AbciShape,
    timeouts: TimeoutsShape,
    synchrony: SynchronyShape,
    retain_blocks: String,
    tx_ttl_heights_max: String,
    fee_min: String,
}

#[derive(Serialize)]
struct BlockShape {
    max_bytes: String,
    max_gas: String,
}

#[derive(Serialize)]
struct EvidenceShape {
    max_age_num_blocks: String,
    max_age_duration: String,
    max_bytes: String,
}

#[derive(Serialize)]
struct PubKeyTypesShape {
    pub_key_types: [&'static str; 2],
}

#[derive(Serialize)]
struct VersionShape {
    app: String,
}

#[derive(Serialize)]
struct AbciShape {
    vote_extensions_enable_height: &'static str,
}

#[derive(Serialize)]
struct TimeoutsShape {
    propose_ms: String,
    propose_delta_ms: String,
    prevote_ms: String,
    prevote_delta_ms: String,
    precommit_ms: String,
    precommit_delta_ms: String,
}

#[derive(Serialize)]
struct SynchronyShape {
    precision_ms: String,
    message_delay_ms: String,
}

/// Returns `consensus_params`, as in the document and in CometBFT's RPC.
pub fn params_json(params: &Params) -> Value {
    serde_json::to_value(params_shape(params)).expect("shapes have text keys")
}

fn params_shape(params: &Params) -> ParamsShape {
    let ms = |duration: Duration| duration.as_millis().to_string();
    ParamsShape {
        block: BlockShape { max_bytes: params.block.bytes_max.to_string(), max_gas: params.block.gas_max.to_string() },
        evidence: EvidenceShape {
            max_age_num_blocks: params.evidence.age_heights_max.to_string(),
            max_age_duration: params.evidence.age_max.as_nanos().to_string(),
            max_bytes: params.evidence.bytes_max.to_string(),
        },
        validator: PubKeyTypesShape { pub_key_types: KeyType::ALL.map(KeyType::name) },
        version: VersionShape { app: params.version_app.to_string() },
        abci: AbciShape { vote_extensions_enable_height: "0" },
        timeouts: TimeoutsShape {
            propose_ms: ms(params.timeouts.propose),
            propose_delta_ms: ms(params.timeouts.propose_delta),
            prevote_ms: ms(params.timeouts.prevote),
            prevote_delta_ms: ms(params.timeouts.prevote_delta),
            precommit_ms: ms(params.timeouts.precommit),
            precommit_delta_ms: ms(params.timeouts.precommit_delta),
        },
        synchrony: SynchronyShape {
            precision_ms: ms(params.synchrony.precision),
            message_delay_ms: ms(params.synchrony.message_delay),
        },
        retain_blocks: params.retain_blocks.to_string(),
        tx_ttl_heights_max: params.tx_ttl_heights_max.to_string(),
        fee_min: params.fee_min.to_string(),
    }
}

fn shape<'a>(document: &'a Document, accounts: Accounts<'a>) -> DocumentShape<'a> {
    let validators = document.validators.iter().map(|validator| ValidatorShape {
        address: validator.public_key.address().to_string(),
        pub_key: KeyShape::public(&validator.public_key),
        power: validator.power.to_string(),
        name: &validator.name,
    });
    DocumentShape {
        genesis_time: document.genesis_time.to_string(),
        chain_id: document.chain_id.as_str(),
        initial_height: document.initial_height.to_string(),
        consensus_params: params_shape(&document.params),
        validators: validators.collect(),
        app_hash: document.app_hash.map(|hash| hash.to_string()).unwrap_or_default(),
        app_state: AppStateShape { accounts },
    }
}
