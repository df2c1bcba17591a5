//! The start of a chain: the genesis document, the first state that it defines, and the key files.
//!
//! | module | contents |
//! |---|---|
//! | `stream` | reading a document with any number of accounts, one account at a time |
//! | [`document`] | `genesis.json` in CometBFT's format: reading, checking field by field, writing, hashing |
//! | [`keys`] | `priv_validator_key.json`, `priv_validator_state.json`, `node_key.json`, `keys/NAME.json` (keyring) |
//! | [`files`] | atomic writes of files, and reads with errors that name the file and the field |
//! | [`testnet`] | the files of a test network, planned first and then written |
//!
//! Invariants:
//! **G1** An existing [`Genesis`] is valid: it can only be created by checking (`every_mistake_is_named`).
//! **G2** Documents with equal meaning have equal hashes: order and names do not count
//! (`the_genesis_hash_covers_the_meaning_not_the_text`).
//! **G3** A file is written completely or not at all, and is overwritten only on request
//! (`a_file_is_replaced_only_on_request`).
//! **G4** A secret is in its file and nowhere else: no `Debug` output and no error shows it
//! (`no_error_shows_a_secret`).

pub mod document;
pub mod files;
mod json;
pub mod keys;
mod stream;
pub mod testnet;

pub use document::{Document, FirstState, Genesis, GenesisAccount, GenesisError, GenesisValidator, params_json};
pub use files::{Access, Existing, FileError};
pub use json::FieldError;
pub use keys::{AccountKey, Keyring, NodeKey, ValidatorKey, ValidatorState};
pub use testnet::{PlannedFile, Testnet, TestnetOptions, sender_key};
