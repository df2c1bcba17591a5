//! How a chain begins: the genesis document, the first state it implies, and the key files around it.
//!
//! | module | holds |
//! |---|---|
//! | `stream` | reading a document of any number of accounts, one at a time |
//! | [`document`] | `genesis.json`, in CometBFT's shape: read, checked field by field, written, hashed |
//! | [`keys`] | `priv_validator_key.json`, `priv_validator_state.json`, `node_key.json`, and the keyring `keys/NAME.json` |
//! | [`files`] | writing files whole or not at all, reading them with errors that name file and field |
//! | [`testnet`] | the files of a testnet, planned first and written then |
//!
//! Invariants:
//! **G1** a [`Genesis`] that exists is valid: it can only be made by checking (`every_mistake_is_named`);
//! **G2** equal meaning, equal hash: order and names do not count (`the_hash_is_of_what_it_means`);
//! **G3** a file is there whole or not at all, and is not written over unless asked (`a_file_is_never_written_over_unasked`);
//! **G4** a secret is in its file and nowhere else: no `Debug`, no error shows it (`no_error_shows_a_secret`).

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
