//! What this node's key may sign: the key, and what it signed last.
//!
//! The hard state in the store is the truth. `priv_validator_state.json`, in CometBFT's shape, travels with the key: it is read at
//! start, so that a key that comes from elsewhere, or meets an older store, never signs below it; and written at a graceful stop.

use std::path::Path;

use consensus::{SignState, Signer};
use genesis::{Existing, FileError, ValidatorKey, ValidatorState};
use storage::{RocksKv, Store};
use types::{ChainId, HardState, Height, Round, VoteType};

use crate::{config::Config, exit::Failure};

/// The step number of a precommit: the last of a round.
const PRECOMMIT: u8 = 3;

/// Reads the key and what it signed last. `None` when there is no key: the node follows the chain and signs nothing.
///
/// Errors: a file that is not what it should be, with its name and field.
pub fn load_signer(config: &Config, store: &Store<RocksKv>) -> Result<Option<Signer>, Failure> {
    let file = config.priv_validator_key_file();
    if is_absent(&file) {
        tracing::warn!(target: "main", file = %file.display(), "there is no validator key: this node signs nothing");
        return Ok(None);
    }
    let key = ValidatorKey::load(&file).map_err(Failure::config)?;
    let mut state = load_state(&config.priv_validator_state_file())?;
    let floor = store.signing_floor();
    if floor > Height::GENESIS && floor >= state.height {
        state = SignState { height: floor, round: Round(i32::MAX as u32), step: PRECOMMIT, signed: None };
    }
    Ok(Some(Signer::new(key.secret, state)))
}

fn load_state(file: &Path) -> Result<SignState, Failure> {
    if is_absent(file) {
        return Ok(SignState::default()); // a new key, or one whose whole history is in the store
    }
    let state = ValidatorState::load(file).map_err(Failure::config)?;
    Ok(SignState {
        height: state.height,
        round: state.round,
        step: state.step,
        signed: state.sign_bytes.zip(state.signature),
    })
}

fn is_absent(file: &Path) -> bool {
    matches!(std::fs::symlink_metadata(file), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

/// Writes what the key signed last, never something lower than what is written already.
pub fn save_state(file: &Path, hard_state: &HardState, chain_id: &ChainId) -> Result<(), FileError> {
    let signed = last_signed(hard_state, chain_id);
    let place = |state: &ValidatorState| (state.height, state.round, state.step);
    let written = if is_absent(file) { ValidatorState::default() } else { ValidatorState::load(file)? };
    if place(&signed) > place(&written) {
        signed.save(file, Existing::Replace)?;
    }
    Ok(())
}

/// The last thing signed in a hard state; of its height at least, even if nothing was signed there yet.
pub fn last_signed(hard_state: &HardState, chain_id: &ChainId) -> ValidatorState {
    let mut last = ValidatorState { height: hard_state.height, ..ValidatorState::default() };
    let mut raise = |round: Round, step: u8, sign_bytes: Vec<u8>, signature| {
        if (round, step) > (last.round, last.step) {
            last = ValidatorState {
                height: last.height,
                round,
                step,
                signature: Some(signature),
                sign_bytes: Some(sign_bytes),
            };
        }
    };
    for signed in &hard_state.proposals {
        raise(signed.proposal.round, 1, signed.proposal.sign_bytes(chain_id), signed.signature);
    }
    for signed in &hard_state.votes {
        let step = match signed.vote.vote_type {
            VoteType::Prevote => 2,
            VoteType::Precommit => PRECOMMIT,
        };
        raise(signed.vote.round, step, signed.vote.sign_bytes(chain_id), signed.signature);
    }
    last
}

#[cfg(test)]
mod tests {
    use types::{SecretKey, Time, Vote};

    use super::*;

    fn hard_state(round: u32, vote_type: VoteType) -> HardState {
        let key = SecretKey::from_bytes(&[5; 32]).unwrap();
        let vote = Vote {
            vote_type,
            height: Height(9),
            round: Round(round),
            block_id: None,
            timestamp: Time::UNIX_EPOCH,
            validator: key.public_key().address(),
            validator_index: 0,
        };
        let votes = vec![vote.sign(&ChainId::new("c").unwrap(), &key)];
        HardState { height: Height(9), round: Round(round), votes, ..HardState::default() }
    }

    #[test]
    fn the_state_file_says_the_last_thing_signed_and_never_moves_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("priv_validator_state.json");
        let chain = ChainId::new("c").unwrap();
        let saved = || {
            let state = load_state(&file).unwrap();
            (state.height, state.round, state.step)
        };
        save_state(&file, &hard_state(1, VoteType::Precommit), &chain).unwrap();
        assert_eq!(saved(), (Height(9), Round(1), 3));
        save_state(&file, &hard_state(1, VoteType::Prevote), &chain).unwrap();
        assert_eq!(saved(), (Height(9), Round(1), 3), "lower: left as it was");
        save_state(&file, &hard_state(2, VoteType::Prevote), &chain).unwrap();
        assert_eq!(saved(), (Height(9), Round(2), 2));
        assert!(load_state(&file).unwrap().signed.is_some());
    }

    #[test]
    fn garbage_in_the_state_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("priv_validator_state.json");
        std::fs::write(&file, "{\"height\": \"x\"").unwrap();
        let error = load_state(&file).unwrap_err();
        assert!(error.sentence.starts_with(&file.display().to_string()), "{error}");
        assert_eq!(error.code, crate::exit::Code::Config);
    }
}
