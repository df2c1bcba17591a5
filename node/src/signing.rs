//! Loads this node's consensus keys, and records what they have signed.
//!
//! The last signed place is in the store's hard state, and also in `priv_validator_state.json`, in CometBFT's format.
//! With the file, a database that is damaged, moved away or restored from an older copy cannot lead to double signing.
//! No signed message is sent before both are durable:
//!
//! ```text
//!   consensus thread:  begin ─> sync of the store ─────> finish: wait, overwrite the file, sync it ─> send
//!   signing thread:        └─> write the spare, sync it ──┘
//! ```
//! File and spare have their full length from the start, so a sync of either is one flush of the disk, as for the
//! store's log. A file that is created and renamed needs two commits of the file system's journal, which takes several
//! times as long. If a power loss tears a write of the file, the spare is whole, and the other way round. Each ends in
//! a checksum, so that a mixture of old and new bytes is detected even if it parses. The file is written after the
//! store's sync, so it is never ahead of the store, unless the store is an older copy. The replica decides what follows
//! from that at the start (`replica/src/guard.rs`).
//!
//! A validator that replaces its consensus key has two key files for a while:
//!
//! | file in `config/` | content |
//! |---|---|
//! | `priv_validator_key.json` | the key of the validator |
//! | `next_validator_key.json` | the key that will replace it, or has replaced it: both sign, each at the heights whose set has it |
//! | `old_validator_key.json` | the key that it had before; it signs nothing, but the signing state is of it until the new one has signed |
//!
//! All of them share one signing state. The next key is read at the start, and when a key enters the validator set, so that
//! a running node needs no restart.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use consensus::Signer;
use files::{Access, Existing, FileError, ValidatorKey, is_absent, signing_state, write_over};
use replica::SigningRecord;
use storage::{RocksKv, Store, StoreError};
use types::{ChainId, ConsensusPublicKey, ConsensusSecretKey, HardState, Height, SignState};

use crate::{config::Config, exit::Failure};

/// Loads the validator key, the next one if there is one, and their signing state. Returns `None` when there is no key: the
/// node then follows the chain and signs nothing.
///
/// Errors: a file that cannot be read or is not valid, with its name and field; a signing state of another key.
pub fn load_signer(config: &Config, store: &Store<RocksKv>) -> Result<Option<Signer>, Failure> {
    let file = config.priv_validator_key_file();
    let load = |file: &Path| if is_absent(file) { Ok(None) } else { ValidatorKey::load(file).map(Some) };
    let keys = [load(&file)?, load(&config.next_validator_key_file())?];
    let mut keys = keys.into_iter().flatten();
    let Some(key) = keys.next() else {
        tracing::warn!(target: "main", file = %file.display(), "there is no validator key: this node signs nothing");
        return Ok(None);
    };
    let next = keys.next();
    let state_file = config.priv_validator_state_file();
    let mut state = load_state(&state_file)?;
    let others = [next.clone(), load(&config.old_validator_key_file())?].map(|key| Some(key?.public_key()));
    check_owner(&state, &state_file, &key.public_key(), others.iter().flatten(), &file)?;
    let floor = store.signing_floor();
    if floor > Height::GENESIS && floor >= state.height {
        state = SignState::sealed(floor);
    }
    let mut signer = Signer::new(key.secret, state);
    if let Some(next) = next {
        tracing::info!(target: "main", address = %next.address(), "there is a next validator key: it signs when the validator set has it");
        signer.hold(next.secret);
    }
    Ok(Some(signer))
}

/// The files of keys that may have come while the node runs.
pub struct NewKeys {
    files: [PathBuf; 2],
}

impl NewKeys {
    /// Names the files of this configuration. The next key is first: it may become the validator's between two reads.
    pub fn of(config: &Config) -> Self {
        Self { files: [config.next_validator_key_file(), config.priv_validator_key_file()] }
    }

    /// Loads the keys that are there. One that cannot be read is logged.
    pub fn load(&self) -> impl Iterator<Item = ConsensusSecretKey> {
        self.files.iter().filter(|file| !is_absent(file)).filter_map(|file| match ValidatorKey::load(file) {
            Ok(key) => Some(key.secret),
            Err(error) => {
                tracing::error!(
                    target: "main", %error,
                    "a validator key cannot be read. If it is the next one, correct the file and start this node again before that \
                     key is in the validator set"
                );
                None
            }
        })
    }
}

/// Loads the signing state from the file, or from its spare; the default when the file is absent.
fn load_state(file: &Path) -> Result<SignState, Failure> {
    if is_absent(file) {
        return Ok(SignState::default());
    }
    let state = signing_state::load_alone(file).or_else(|error| {
        // The spare is written first, so it covers every signed message that was sent.
        let state = signing_state::load(file)?;
        let (file, height) = (file.display(), state.height.0);
        tracing::warn!(target: "main", %file, height, %error, "the signing state file cannot be used; its spare copy is used \
            instead");
        Ok(state)
    });
    state.map_err(|error: FileError| match error {
        FileError::Io { .. } => Failure::from(error),
        _ => Failure::config(format!(
            "{error}. This file records what the validator's key signed last. Do not replace it with an older copy. It may be \
             absent: if the database is there, the node then signs nothing until it has heard from the network; if the \
             database is empty, use `cairn start --signed-up-to H`, where H is the last height at which the key may have signed"
        )),
    })
}

/// Checks that the signature in the state file was made by the key, or by one of the `others` of the validator.
fn check_owner<'k>(
    state: &SignState,
    state_file: &Path,
    key: &ConsensusPublicKey,
    mut others: impl Iterator<Item = &'k ConsensusPublicKey>,
    key_file: &Path,
) -> Result<(), Failure> {
    let Some((sign_bytes, signature)) = &state.signed else { return Ok(()) };
    if others.any(|other| other.verify(sign_bytes, signature).is_ok()) {
        return Ok(());
    }
    key.verify(sign_bytes, signature).map_err(|_| {
        Failure::config(format!(
            "{}: signature: it was not made by the key in {}, whose address is {}: this file records what another key signed. If \
             the validator replaced its key (`cairn keys rotate`), put the file of the other key back beside {}, as \
             old_validator_key.json or next_validator_key.json, and leave this file where it is. Otherwise replace this file with \
             the key's own one; move it away only if the key has never signed, or if the other key is lost for ever",
            state_file.display(),
            key_file.display(),
            key.address(),
            key_file.display()
        ))
    })
}

/// Raises the state file to the votes of a hard state. A file that is already higher does not change.
///
/// Errors: the file cannot be read or written.
pub fn save_state(file: &Path, hard_state: &HardState, chain_id: &ChainId) -> Result<(), FileError> {
    let signed = SignState::of_hard_state(hard_state, chain_id);
    let written = if is_absent(file) { SignState::default() } else { signing_state::load(file)? };
    if signed.hrs() > written.hrs() {
        signing_state::save(&signed, file, Existing::Replace)?;
    }
    Ok(())
}

/// Records the operator's declaration that the key signed nothing above `height`: from now on nothing up to it is
/// signed, and everything above may be. A file that is higher does not change; returns the height that the file has
/// now.
///
/// Errors: the file cannot be read or written.
pub fn declare(file: &Path, height: Height) -> Result<Height, Failure> {
    let written = load_state(file)?;
    let sealed = SignState::sealed(height);
    if written.hrs() > sealed.hrs() {
        return Ok(written.height);
    }
    signing_state::save(&sealed, file, Existing::Replace)?;
    Ok(height)
}

/// The open state file, which is written at every signature, and the thread that writes its spare.
pub struct StateFile {
    path: PathBuf,
    file: File,
    next: Vec<u8>,
    jobs: SyncSender<Vec<u8>>,
    written: Receiver<io::Result<()>>,
}

impl StateFile {
    /// Writes `signed` to the file and its spare, and starts the thread for the spare, which ends when this value is
    /// dropped.
    ///
    /// Errors: the file or its spare cannot be written.
    pub fn start(path: PathBuf, signed: &SignState) -> Result<Self, Failure> {
        let open = |path: &Path| {
            files::write(path, &signing_state::to_record(signed), Access::Secret, Existing::Replace)?;
            let opened = OpenOptions::new().write(true).open(path);
            opened.map_err(|error| Failure::disk(format!("{}: cannot be opened: {error}", path.display())))
        };
        let (file, spare) = (open(&path)?, open(&signing_state::spare_of(&path))?);
        let (jobs, to_write) = sync_channel::<Vec<u8>>(1);
        let (done, written) = sync_channel(1);
        let work = move || {
            for bytes in to_write {
                if done.send(write_over(&spare, &bytes)).is_err() {
                    return; // the state file was dropped
                }
            }
        };
        thread::Builder::new().name("signing".to_owned()).spawn(work).expect("a thread can be started");
        Ok(Self { path, file, next: Vec::new(), jobs, written })
    }
}

impl SigningRecord for StateFile {
    fn begin(&mut self, signed: &SignState) {
        self.next = signing_state::to_record(signed);
        // The channel has room: each job is awaited before the next, and after a failed sync of the store there is
        // none.
        let _ = self.jobs.send(self.next.clone());
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let spare = self.written.recv().expect("the thread lives as long as this");
        spare.and_then(|()| write_over(&self.file, &self.next)).map_err(|error| StoreError::Io {
            place: self.path.display().to_string(),
            doing: "writing what was signed",
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use types::{Round, SecretKey, Time, Vote, VoteType};

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
    fn the_state_file_holds_the_last_signature_and_never_moves_back() {
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
    fn a_record_replaces_the_previous_one_only_when_finished() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("priv_validator_state.json");
        let state = |height| SignState { height: Height(height), step: 2, ..SignState::default() };
        let mut record = StateFile::start(file.clone(), &state(0)).unwrap();
        for height in 1..20 {
            record.begin(&state(height));
            assert_eq!(load_state(&file).unwrap().height, Height(height - 1), "the store's sync comes first");
            record.finish().unwrap();
            assert_eq!(load_state(&file).unwrap(), state(height));
        }
        // A power loss tears the write of the file, and the spare is whole.
        drop(record);
        std::fs::write(&file, "{\"height\": \"2").unwrap();
        assert_eq!(load_state(&file).unwrap(), state(19));
        // A power loss during the write of the spare leaves the file whole. An absent file is not replaced by its
        // spare.
        StateFile::start(file.clone(), &state(20)).unwrap();
        std::fs::write(signing_state::spare_of(&file), "{").unwrap();
        assert_eq!(load_state(&file).unwrap(), state(20));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(load_state(&file).unwrap(), SignState::default());
    }

    /// Whatever bytes of a write reach the disk, the state read back is the new one or the one before, never another
    /// height.
    #[test]
    fn a_write_that_is_torn_at_any_byte_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("priv_validator_state.json");
        let signed = |height: u64, round: u32| {
            let (key, chain) = (SecretKey::from_bytes(&[5; 32]).unwrap(), ChainId::new("c").unwrap());
            let vote = hard_state(round, VoteType::Precommit).votes.remove(0).vote;
            let mut signer = Signer::new(key, SignState::default());
            signer.sign_vote(Vote { height: Height(height), ..vote }, &chain).unwrap();
            signer.state().clone()
        };
        let sealed = SignState::sealed;
        for (old, new) in [
            (sealed(Height(99)), signed(100, 0)),
            (sealed(Height(199)), signed(200, 0)),
            (SignState::default(), signed(1, 0)),
            (signed(99, 0), signed(100, 0)),
            (signed(199, 9), signed(200, 10)),
            (signed(7, 0), signed(7, 1)),
        ] {
            let (before, after) = (signing_state::to_record(&old), signing_state::to_record(&new));
            assert_eq!(before.len(), after.len());
            let torn = |from: usize, to: usize| [&before[..from], &after[from..to], &before[to..]].concat();
            // A position after an equal byte gives the same torn file as the one before, so it is skipped.
            let differs = |at: usize| at == 0 || before[at - 1] != after[at - 1];
            for at in (0..=after.len()).filter(|at| differs(*at)) {
                // Disks choose the order of their sectors, so either the beginning or the end may be written.
                for (torn, is_done) in
                    [(torn(0, at), torn(0, at) == after), (torn(at, after.len()), torn(at, after.len()) == after)]
                {
                    let is_whole = torn == before || is_done;
                    // The spare is written first; the file is whole at that time and counts.
                    std::fs::write(&file, &before).unwrap();
                    std::fs::write(signing_state::spare_of(&file), &torn).unwrap();
                    assert_eq!(load_state(&file).unwrap(), old, "{at}");
                    // Then the file is written, while the spare is whole.
                    std::fs::write(&file, &torn).unwrap();
                    std::fs::write(signing_state::spare_of(&file), &after).unwrap();
                    let read = load_state(&file).unwrap();
                    assert!(read == new || (is_whole && read == old), "{at}: {read:?}");
                }
            }
        }
    }

    #[test]
    fn the_state_file_of_another_key_is_refused() {
        let [ours, theirs] = [5, 6].map(|seed| SecretKey::from_bytes(&[seed; 32]).unwrap());
        let mut signer = Signer::new(theirs.clone(), SignState::default());
        signer.sign_vote(hard_state(1, VoteType::Prevote).votes.remove(0).vote, &ChainId::new("c").unwrap()).unwrap();
        let (state_file, key_file) = (Path::new("data/state.json"), Path::new("config/key.json"));
        let check_with = |key: &SecretKey, others: &[ConsensusPublicKey]| {
            check_owner(signer.state(), state_file, &key.public_key().into(), others.iter(), key_file)
        };
        let check = |key: &SecretKey| check_with(key, &[]);
        let failure = check(&ours).unwrap_err();
        assert_eq!(failure.code, crate::exit::Code::Config);
        for part in [
            "data/state.json: signature",
            "config/key.json",
            "old_validator_key.json or next_validator_key.json",
            &ours.public_key().address().to_string(),
        ] {
            assert!(failure.sentence.contains(part), "{part}: {failure}");
        }
        check(&theirs).unwrap();
        check_with(&ours, &[theirs.public_key().into()]).unwrap();
        check_owner(&SignState::sealed(Height(7)), state_file, &ours.public_key().into(), [].iter(), key_file).unwrap();
    }

    #[test]
    fn signed_up_to_raises_the_state_and_never_lowers_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("priv_validator_state.json");
        assert_eq!(declare(&file, Height(7)).unwrap(), Height(7));
        assert!(load_state(&file).unwrap().is_sealed());
        assert_eq!(declare(&file, Height(5)).unwrap(), Height(7));
        assert_eq!(load_state(&file).unwrap(), SignState::sealed(Height(7)));
    }

    #[test]
    fn a_malformed_state_file_is_refused_with_the_reason_and_whether_it_may_be_absent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("priv_validator_state.json");
        let extra = r#"{"height": "7", "round": 0, "step": 3, "extra": 1}"#;
        for (text, part) in
            [("", "it is empty"), ("garbage", "not JSON"), (extra, "extra"), (r#"{"height": "x"}"#, "height")]
        {
            std::fs::write(&file, text).unwrap();
            let error = load_state(&file).unwrap_err();
            assert!(error.sentence.starts_with(&file.display().to_string()), "{error}");
            assert!(error.sentence.contains(part) && error.sentence.contains("It may be absent"), "{error}");
            assert_eq!(error.code, crate::exit::Code::Config);
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(load_state(&file).unwrap(), SignState::default());
    }
}
