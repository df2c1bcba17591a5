//! The genesis document, `genesis.json`, which defines the start of a chain: checked, with its first state and its hash.
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
//! | `validators[]` | `address` (optional), `pub_key` (secp256k1 or Ed25519), `power`, `name`, `operator` (optional: address of the account that operates the validator and owns its stake; by default that of `pub_key`) | – |
//! | `app_hash` | required hash of the first state; if empty, any hash is accepted | empty |
//! | `app_state.accounts[]` | `address`, `balance`, `name` (optional) | none |
//!
//! A chain may start with millions of accounts: they are read one at a time, and this list is the only data kept for
//! all of them.

use std::{
    collections::BTreeMap,
    io::{BufWriter, Read, Write},
};

use app::FirstValidator;
use serde_json::Value;
use types::{
    Address, ChainId, Hash, Height, Params, Power, StakingParams, Time, ValidatorSet, ValidatorSetError,
    limits::POWER_TOTAL_MAX,
};

use crate::{
    document::{Document, GenesisAccount, GenesisError, GenesisValidator},
    json::FieldError,
    shape::{self, Accounts},
    stream,
};

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
        Ok(Self::new(shape::read(head, accounts)?)?)
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
        let validators = check_validators(&document.validators, &document.params.staking)?;
        check_accounts(&document.accounts, &document.validators, document.params.staking.power_unit)?;
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
        let mut text =
            serde_json::to_string_pretty(&shape::of(&self.document, accounts)).expect("shapes have text keys");
        text.push('\n');
        text
    }

    /// Returns the document as a JSON value.
    pub fn to_value(&self) -> Value {
        let accounts = Accounts { all: &self.document.accounts, order: None, are_named: true };
        serde_json::to_value(shape::of(&self.document, accounts)).expect("shapes have text keys")
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
        serde_json::to_writer(&mut writer, &shape::of(&meaning, accounts)).expect("shapes have text keys");
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
    let validators: Vec<FirstValidator> = document.validators.iter().map(first_validator).collect();
    app::genesis_writes(&document.params, &validators, accounts).expect("validators and accounts were checked")
}

fn first_validator(validator: &GenesisValidator) -> FirstValidator {
    let GenesisValidator { public_key, power, operator, .. } = validator;
    FirstValidator { public_key: *public_key, power: *power, operator: *operator }
}

fn check_validators(validators: &[GenesisValidator], staking: &StakingParams) -> Result<ValidatorSet, FieldError> {
    let max = staking.validators_max;
    if validators.len() as u64 > max {
        let reason = format!("{} of them, consensus_params.staking.validators_max allows {max}", validators.len());
        return field("validators", reason);
    }
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
    check_operators(validators)?;
    let all = validators.iter().map(|validator| (validator.public_key, validator.power)).collect();
    ValidatorSet::new(all).or_else(|error| match error {
        ValidatorSetError::Empty => field("validators", "there is none: a chain needs at least one"),
        other => field("validators", other),
    })
}

/// Checks that each operator is that of one validator. Without one, it is the address of the consensus key.
fn check_operators(validators: &[GenesisValidator]) -> Result<(), FieldError> {
    let mut seen = BTreeMap::new();
    for (index, validator) in validators.iter().enumerate() {
        let operator = validator.operator.unwrap_or_else(|| validator.public_key.address());
        let path = format!("validators[{index}].operator");
        if operator == Address::default() {
            return field(path, "this address can belong to no key: check it, or leave the operator out");
        }
        if let Some(first) = seen.insert(operator, index) {
            return field(path, format!("is also the operator of validators[{first}]: use another account"));
        }
    }
    Ok(())
}

/// Checks the accounts, and that the supply with the stake of the validators fits into 64 bits.
fn check_accounts(
    accounts: &[GenesisAccount],
    validators: &[GenesisValidator],
    power_unit: u64,
) -> Result<(), FieldError> {
    let path = |index: usize, field: &str| format!("app_state.accounts[{index}].{field}");
    let mut supply = 0_u64;
    for (index, validator) in validators.iter().enumerate() {
        let stake = validator.power.0.checked_mul(power_unit);
        supply = match stake.and_then(|stake| supply.checked_add(stake)) {
            Some(supply) => supply,
            None => {
                let reason = format!(
                    "with it the stake exceeds {}: give less, or a smaller consensus_params.staking.power_unit",
                    u64::MAX
                );
                return field(format!("validators[{index}].power"), reason);
            }
        };
    }
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
