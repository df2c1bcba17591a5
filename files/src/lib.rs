//! The one room for file work: how Cairn writes files, which access it gives to them, and the files of keys.
//!
//! | module | contents |
//! |---|---|
//! | `file` | atomic and durable writes, reads with a size limit, and the primitives behind them |
//! | `error` | [`FileError`]: the file, the field, and what to do |
//! | `keys` | `priv_validator_key.json` and `node_key.json` |
//! | `keyring` | `keys/NAME.json`: keys of accounts |
//! | [`signing_state`] | `priv_validator_state.json`: what a validator signed last |
//! | `document` | reading of `genesis.json` |
//! | [`testnet`] | the files of a test network, planned first and then written |
//! | `random` | randomness of the operating system, for secrets and names of temporary files |
//!
//! Two formats stay where they are used: the database (`storage`), and the place of the signing state that is overwritten
//! at every signature (`node/src/signing.rs`).
//!
//! Invariants:
//! **F1** A file is written completely or not at all, and is overwritten only on request
//! (`a_file_is_replaced_only_on_request`).
//! **F2** A secret is in its file and nowhere else: no `Debug` output and no error shows it
//! (`no_error_shows_a_secret`).

mod document;
mod error;
mod file;
mod keyring;
mod keys;
mod random;
pub mod signing_state;
pub mod testnet;

pub use document::load_genesis;
pub use error::{FileError, NAME_CHARS_MAX};
pub use file::{Access, Existing, is_absent, is_open_to_others, read, sync_folder, write, write_over};
pub use keyring::{AccountKey, KEYRING_KEYS_MAX, Keyring};
pub use keys::{NodeKey, NodeKeyError, ValidatorKey, generate_secret_key};
pub use testnet::{NodeKeys, PlannedFile, Testnet, TestnetOptions};
