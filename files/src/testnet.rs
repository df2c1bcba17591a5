//! The files of a test network: planned first without any disk access, then written.
//!
//! ```text
//! <folder>/node0/config/{config.toml,genesis.json,node_key.json,priv_validator_key.json}
//! <folder>/node0/data/priv_validator_state.json
//! <folder>/node1/…
//! <folder>/keys/{alice,bob,carol,validator-0,validator-1,…}.json
//! ```
//! The caller provides the content of `config.toml` and the addresses to listen on, which are defined by the node.

use std::path::{Path, PathBuf};

use genesis::{Document, FieldError, Genesis, GenesisAccount, GenesisValidator, sender_key};
use types::{ChainId, Height, KeyType, Params, Power, SignState, Time, limits::VALIDATORS_MAX};

use crate::{
    error::FileError,
    file::{self, Access, Existing},
    keyring::AccountKey,
    keys::{NodeKey, ValidatorKey},
    signing_state,
};

/// The properties of a test network.
#[derive(Clone, Debug)]
pub struct TestnetOptions {
    /// Id of the chain.
    pub chain_id: ChainId,
    /// Start time of the chain.
    pub genesis_time: Time,
    /// Height of the first block.
    pub initial_height: Height,
    /// Consensus parameters of the chain.
    pub params: Params,
    /// Keys of the nodes: one validator each, all with the same power.
    pub nodes: Vec<NodeKeys>,
    /// Balance of the account of each validator's operator.
    pub operator_balance: u64,
    /// Other funded accounts with their balances; their keys are written to `keys/`.
    pub accounts: Vec<(AccountKey, u64)>,
    /// Number of funded accounts with the keys of [`sender_key`], for load tests.
    pub senders: u32,
    /// Balance of each of these accounts.
    pub sender_balance: u64,
}

/// The keys of one node of a test network.
#[derive(Clone, Debug)]
pub struct NodeKeys {
    /// Consensus key of the validator.
    pub validator: ValidatorKey,
    /// Identity of the node in the peer-to-peer network.
    pub node: NodeKey,
    /// Account that votes for the validator on proposals; its key is written to `keys/`.
    pub operator: AccountKey,
}

impl TestnetOptions {
    /// Creates options with new keys: `validators` nodes with consensus keys of one type and operators validator-0,
    /// validator-1 and so on, and the accounts alice, bob and carol. All accounts have a balance of 1,000,000,000.
    ///
    /// Errors: [`FileError::Randomness`] if the operating system returns no random bytes.
    pub fn generate(
        chain_id: ChainId,
        genesis_time: Time,
        validators: usize,
        key_type: KeyType,
    ) -> Result<Self, FileError> {
        let node = |index| {
            let (validator, node) = (ValidatorKey::generate(key_type)?, NodeKey::generate()?);
            Ok(NodeKeys { validator, node, operator: AccountKey::generate(&operator_name(index))? })
        };
        let account = |name| Ok((AccountKey::generate(name)?, BALANCE));
        Ok(Self {
            chain_id,
            genesis_time,
            initial_height: Height(1),
            params: Params::default(),
            // One node more than allowed is enough for `plan` to refuse.
            nodes: (0..validators.min(VALIDATORS_MAX + 1)).map(node).collect::<Result<_, FileError>>()?,
            operator_balance: BALANCE,
            accounts: ["alice", "bob", "carol"].into_iter().map(account).collect::<Result<_, FileError>>()?,
            senders: 0,
            sender_balance: 1_000_000,
        })
    }
}

/// A file that is to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Path relative to the folder of the test network.
    pub path: PathBuf,
    /// Content of the file.
    pub bytes: Vec<u8>,
    /// Permission to read the file.
    pub access: Access,
}

impl std::fmt::Debug for PlannedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlannedFile({}, {} bytes, {:?})", self.path.display(), self.bytes.len(), self.access)
    }
}

/// A planned test network with its genesis document.
#[derive(Clone, Debug)]
pub struct Testnet {
    /// Genesis document of the chain.
    pub genesis: Genesis,
    options: TestnetOptions,
}

impl Testnet {
    /// Plans a test network from its options.
    ///
    /// Errors: [`FieldError`] of the genesis document, if the options do not define a valid chain.
    pub fn plan(options: TestnetOptions) -> Result<Self, FieldError> {
        let validator = |(index, keys): (usize, &NodeKeys)| GenesisValidator {
            public_key: keys.validator.public_key(),
            power: Power(10),
            name: node_name(index),
            operator: Some(keys.operator.address()),
        };
        let account =
            |key: &AccountKey, balance: u64| GenesisAccount { address: key.address(), balance, name: key.name.clone() };
        let accounts = options.accounts.iter().map(|(key, balance)| account(key, *balance));
        let operators = options.nodes.iter().map(|keys| account(&keys.operator, options.operator_balance));
        let sender = |index| GenesisAccount {
            address: sender_key(&options.chain_id, index).public_key().address(),
            balance: options.sender_balance,
            name: String::new(),
        };
        let genesis = Genesis::new(Document {
            genesis_time: options.genesis_time,
            chain_id: options.chain_id.clone(),
            initial_height: options.initial_height,
            params: options.params.clone(),
            validators: options.nodes.iter().enumerate().map(validator).collect(),
            app_hash: None,
            stake: genesis::FirstStake::default(),
            accounts: accounts.chain(operators).chain((0..options.senders).map(sender)).collect(),
        })?;
        Ok(Self { genesis, options })
    }

    /// Returns the names of the nodes' home folders, relative to the folder of the test network.
    pub fn homes(&self) -> impl ExactSizeIterator<Item = String> {
        (0..self.options.nodes.len()).map(node_name)
    }

    /// Returns all files. `config_toml` returns a node's `config.toml` for its index.
    pub fn files(&self, config_toml: impl Fn(usize) -> String) -> Vec<PlannedFile> {
        let genesis = self.genesis.to_json().into_bytes();
        let mut files = Vec::new();
        let mut plan = |path: PathBuf, bytes, access| files.push(PlannedFile { path, bytes, access });
        for (index, keys) in self.options.nodes.iter().enumerate() {
            let home = PathBuf::from(node_name(index));
            let config = home.join("config");
            plan(config.join("config.toml"), config_toml(index).into_bytes(), Access::Public);
            plan(config.join("genesis.json"), genesis.clone(), Access::Public);
            plan(config.join("node_key.json"), keys.node.to_file(), Access::Secret);
            plan(config.join("priv_validator_key.json"), keys.validator.to_file(), Access::Secret);
            plan(
                home.join("data/priv_validator_state.json"),
                signing_state::to_file(&SignState::default()),
                Access::Secret,
            );
        }
        let accounts = self.options.accounts.iter().map(|(key, _)| key);
        for key in accounts.chain(self.options.nodes.iter().map(|keys| &keys.operator)) {
            plan(PathBuf::from(format!("keys/{}.json", key.name)), key.to_file(), Access::Secret);
        }
        files
    }
}

/// Balance of each funded account, unless the options say otherwise.
const BALANCE: u64 = 1_000_000_000;

/// Returns the name of the account that votes for a validator.
fn operator_name(index: usize) -> String {
    format!("validator-{index}")
}

fn node_name(index: usize) -> String {
    format!("node{index}")
}

/// Writes planned files under `folder`. With `Existing::Refuse`, nothing is written if one of them already exists.
///
/// Errors: [`FileError::Exists`], [`FileError::Io`]; files that were written before an I/O error stay, complete.
pub fn write_files(folder: &Path, files: &[PlannedFile], existing: Existing) -> Result<(), FileError> {
    if existing == Existing::Refuse
        && let Some(file) =
            files.iter().map(|file| folder.join(&file.path)).find(|file| file.symlink_metadata().is_ok())
    {
        return Err(FileError::Exists { file });
    }
    files.iter().try_for_each(|file| file::write(&folder.join(&file.path), &file.bytes, file.access, existing))
}
