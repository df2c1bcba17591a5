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
//! | `app_state.validators[]` | terms of a validator: `operator`; optional `commission`, `own_min`, `moniker`, `website`, `details`; of a validator outside of the first set also `pub_key` and, optional, `jailed` | none |
//! | `app_state.delegations[]` | `delegator`, `validator` (operator), `amount` | own stake of each validator: its power times `staking.power_unit` |
//! | `app_state.community_pool`, `app_state.fee_pool` | amounts | 0 |
//!
//! The power of each validator must follow from its delegations. A chain may start with millions of accounts: the lists of
//! `app_state` are read one element at a time, and they are the only data kept for all of them.

use std::io::{self, BufWriter, Read, Write};

use app::{FirstStateError, FirstValidator};
use serde::Serialize;
use serde_json::Value;
use types::{ChainId, Hash, Height, Params, Time, ValidatorSet};

use crate::{
    check,
    document::{Document, GenesisError, GenesisValidator},
    json::FieldError,
    shape::{self, Form},
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
        Self::read_all(reader).map_err(|faults| faults.into_iter().next().expect("there is a fault"))
    }

    /// As [`Genesis::read`], but names all faults, at most [`FAULTS_MAX`](crate::FAULTS_MAX): those of the form, or if there
    /// are none, those of the content.
    ///
    /// Errors: the faults, at least one.
    pub fn read_all(reader: impl Read) -> Result<Self, Vec<GenesisError>> {
        let all = |faults: Vec<FieldError>| faults.into_iter().map(GenesisError::from).collect::<Vec<_>>();
        let (parts, faults) = stream::read(reader)?;
        Self::check(shape::read(parts, faults).map_err(all)?).map_err(all)
    }

    /// Checks a document. Cost: computing the first state once.
    ///
    /// Errors: [`FieldError`] with the path of the first invalid field.
    pub fn new(document: Document) -> Result<Self, FieldError> {
        Self::check(document).map_err(|faults| faults.into_iter().next().expect("there is a fault"))
    }

    fn check(document: Document) -> Result<Self, Vec<FieldError>> {
        let validators = check::document(&document)?;
        let first = app_state(&document).map_err(|error| check::stake_faults(&document, error))?;
        if let Some(expected) = document.app_hash.filter(|expected| *expected != first.app_hash) {
            let got = first.app_hash;
            let reason = format!("is {expected}, but app_state hashes to {got}: correct one or leave app_hash empty");
            return Err(vec![FieldError::new("app_hash", reason)]);
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
        let state = app_state(document).expect("the document was checked");
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
        let mut text = Vec::new();
        self.write_json(&mut text).expect("memory takes everything");
        String::from_utf8(text).expect("JSON is text")
    }

    /// Writes the document in its file format, one account at a time. `writer` should be buffered.
    ///
    /// Errors: those of the writer.
    pub fn write_json(&self, mut writer: impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut writer, &self.shape(Form::File))?;
        writer.write_all(b"\n")
    }

    /// Returns the document as a JSON value.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self.shape(Form::File)).expect("shapes have text keys")
    }

    fn shape(&self, form: Form) -> impl Serialize {
        let app_hash = match form {
            Form::File => self.document.app_hash,
            Form::Meaning => Some(self.app_hash),
        };
        shape::of(&self.document, form, app_hash)
    }

    /// Returns the hash that identifies the chain: BLAKE3 of the content with all defaults written out. The order of lists
    /// and names do not count.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"cairn genesis v1");
        let mut writer = BufWriter::with_capacity(HASHED_BYTES, &mut hasher);
        serde_json::to_writer(&mut writer, &self.shape(Form::Meaning)).expect("shapes have text keys");
        writer.flush().expect("a hasher takes everything");
        drop(writer);
        Hash(*hasher.finalize().as_bytes())
    }
}

/// Buffer size in bytes for hashing the document.
const HASHED_BYTES: usize = 64 * 1024;

fn app_state(document: &Document) -> Result<app::FirstState, FirstStateError> {
    let accounts = document.accounts.iter().map(|account| (account.address, account.balance));
    let validators: Vec<FirstValidator> = document.validators.iter().map(GenesisValidator::first).collect();
    app::first_state(&document.params, &validators, accounts, &document.stake)
}
