//! Opens a replica on a store.

use std::{cell::OnceCell, sync::Arc};

use app::tree::stored::StoredNode;
use consensus::{Engine, Signer};
use genesis::Genesis;
use storage::{BlocksAbove, GenesisBatch, Kv, Store, StoreError};
use thiserror::Error;
use types::{Hash, Height, Round, SignState, Time};

use super::{
    Replica,
    catch_up::CatchUp,
    evidence::{check_evidence_in, load_evidence},
    heights::Pace,
    round_states::Shown,
    signing::{Signing, precommits},
};
use crate::{
    Config, LiveApp, TreesFrom, Verifier,
    blocks::Blocks,
    chain::Chain,
    guard::Guard,
    mutation::{Mutation, mutated},
    open_app,
    peers::Peers,
    sync::Sync,
};

/// Reason why a replica cannot be opened.
#[derive(Debug, Error)]
pub enum ReplicaError {
    /// The store refused or failed an operation.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was initialized with another genesis document.
    #[error(
        "the store was created with genesis {got}, but this genesis document is {expected}: use the document with which the store was created, or a new home"
    )]
    OtherGenesis {
        /// Hash of the store's genesis document.
        got: Hash,
        /// Hash of the given genesis document.
        expected: Hash,
    },
    /// A rewind of the store was interrupted.
    #[error(
        "{place}: a rewind to height {to} was interrupted, and the heights from {} to {from} are not complete. Run `cairn rewind --to {to}{}` to finish it, then start again",
        tip.next(), if *drops_blocks { " --drop-blocks" } else { "" }
    )]
    Rewinding {
        /// Location of the store.
        place: String,
        /// Height that the rewind goes back to.
        to: Height,
        /// Height of the tip.
        tip: Height,
        /// Height of the tip before the rewind.
        from: Height,
        /// True if the rewind drops the blocks.
        drops_blocks: bool,
    },
    /// The rows of the state do not hash to the app hash of the chain.
    #[error(
        "the state of height {height} has hash {got}, but the chain has {expected}: family state of the store is damaged. Stop the node, move the folder of the database away, and `cairn restore` a copy of another node's store; keep priv_validator_state.json"
    )]
    State {
        /// Height of the tip.
        height: Height,
        /// Hash that was computed from the rows.
        got: Hash,
        /// App hash of the tip.
        expected: Hash,
    },
}

impl<K: Kv> Replica<K> {
    /// Opens a replica on `store`, which is empty or holds the chain of `genesis`. Without a signer it is a full node.
    ///
    /// Cost: that of [`Replica::resume`].
    ///
    /// Errors: [`ReplicaError`], as of [`Replica::begin`] and [`Replica::resume`].
    pub fn open(
        config: Config,
        genesis: &Genesis,
        store: Arc<Store<K>>,
        signer: Option<Signer>,
    ) -> Result<(Self, Verifier), ReplicaError> {
        Self::begin(&store, genesis)?;
        Self::resume(config, store, signer)
    }

    /// Writes the genesis state of `genesis` into an empty store. A store that was initialized with the same document
    /// is unchanged.
    ///
    /// Errors: `OtherGenesis` when the store was initialized with another document; `Store` when a write fails.
    pub fn begin(store: &Store<K>, genesis: &Genesis) -> Result<(), ReplicaError> {
        if let Some(begun) = store.tip().and(store.genesis()) {
            let (got, expected) = (begun.document_hash, genesis.hash());
            return if got == expected { Ok(()) } else { Err(ReplicaError::OtherGenesis { got, expected }) };
        }
        let first = genesis.first_state();
        let begun = storage::Genesis {
            initial_height: first.initial_height,
            time: first.time,
            app_hash: first.state.app_hash,
            document_hash: first.genesis_hash,
        };
        let (validators, params) = (&first.validators, &first.params);
        store.init_genesis(&GenesisBatch { genesis: begun, validators, params }, first.state.rows())?;
        Ok(())
    }

    /// Opens a replica on a store that [`Replica::begin`] initialized at any earlier time. Without a signer it is a full
    /// node.
    ///
    /// Cost: that of [`open_app`]. If the trees were computed from all rows of the state, their hashes are stored.
    ///
    /// Errors: `Store` when the store is empty, damaged or fails; `Rewinding` when a rewind of it is not finished;
    /// `State` when the rows of the state do not hash to the app hash of the tip.
    pub fn resume(
        config: Config,
        store: Arc<Store<K>>,
        signer: Option<Signer>,
    ) -> Result<(Self, Verifier), ReplicaError> {
        let tip = store.tip().ok_or_else(|| StoreError::NoGenesis { place: store.kv().place() })?;
        if let Some(rewind) = store.unfinished_rewind().filter(|_| !mutated(Mutation::StartUnfinished)) {
            let (to, from, drops_blocks) = (rewind.to, rewind.from.height, rewind.blocks == BlocksAbove::Dropped);
            return Err(ReplicaError::Rewinding { place: store.kv().place(), to, tip: tip.height, from, drops_blocks });
        }
        let chain = Chain::load(&store, tip)?;
        let (app, trees_from) = open_app(&store, tip.height, tip.app_hash)?;
        let app = app.with_upgrades(config.upgrades);
        let reader = store.reader()?;
        let deadline = app::earliest_deadline(&reader);
        let upgrade_stop = app.check_program(&reader).err();
        reader.check()?;
        drop(reader);
        let (got, expected) = (app.app_hash(), tip.app_hash);
        if got != expected {
            return Err(ReplicaError::State { height: tip.height, got, expected });
        }
        if matches!(trees_from, TreesFrom::State(_)) {
            store.replace_trees(tip.height, app.stored().map(StoredNode::row))?;
        }
        let hard_state = store.hard_state()?;
        let file = signer.as_ref().map(|signer| signer.state().clone()).unwrap_or_default();
        let stored = hard_state.as_ref().map(|hard_state| SignState::of_hard_state(hard_state, &chain.id));
        let stored = stored.unwrap_or_default();
        let guard = Guard::new(&file, hard_state.as_ref(), &stored, tip.block_id.is_some());
        // If the signing state of the file is ahead of the hard state, it is unknown what was locked at its height.
        let ahead = if file.hrs() > stored.hrs() { file.height } else { Height::GENESIS };
        let is_record_behind = stored.hrs() > file.hrs();
        let signed = if file.hrs() > stored.hrs() { file } else { stored };
        let hard_state = hard_state.filter(|hard_state| hard_state.height > tip.height);
        // Heights below a hard state from before a rewind were already signed.
        let rewound =
            hard_state.as_ref().and_then(|hard_state| hard_state.height.prev()).filter(|below| *below > tip.height);
        let signing_floor = store.signing_floor().max(rewound.unwrap_or_default()).max(ahead);
        let verifier = Verifier::new(chain.id.clone(), chain.place(Round::ZERO), check_evidence_in(store.clone()));
        let evidence = load_evidence(&store, chain.evidence_floor)?;
        let signing = Signing {
            opened_at: tip.height,
            guard,
            floor: signing_floor,
            hard_state_height: hard_state.as_ref().map_or(Height::GENESIS, |hard_state| hard_state.height),
            precommitted: hard_state.as_ref().and_then(|hard_state| precommits(hard_state).map(|(at, _)| at).max()),
            restored: hard_state,
            signed,
            record: None,
            is_record_behind,
            syncs: 0,
        };
        let replica = Self {
            upgrade_stop,
            store,
            app: LiveApp::new(app),
            config,
            trees_from,
            verifier: verifier.clone(),
            on_phase: Box::new(|_| {}),
            now: Time::UNIX_EPOCH,
            wall: Time::UNIX_EPOCH,
            outputs: Vec::new(),
            halted: false,
            engine: Engine::new(chain.id.clone(), signer, chain.validators.as_ref().clone()),
            chain,
            blocks: Blocks::default(),
            peers: Peers::default(),
            sync: Sync::default(),
            catch_up: CatchUp::new(tip.height),
            pace: Pace { deadline, ..Pace::default() },
            signing,
            evidence,
            shown: Shown::default(),
            last_parts: None,
            parts_said: None,
            votes_held: OnceCell::new(),
            duplicate_votes: 0,
            duplicate_parts: 0,
        };
        Ok((replica, verifier))
    }
}
