//! The application: the committed state's tree, and what a block would make of it.

use types::{
    Address, BlockResults, ChainId, DecodeError, Hash, Height, Reader, Time, VerifiedTx, Wire, WriteSet, blake3_parts,
    pb,
};

use crate::{
    execute::Execution,
    state::NEVER_REVERTED,
    tree::{EMPTY_ROOT, Part, Proof, ProofError, StaleReader, Tree, Update, Way, proof::bytes32},
    view::Before,
};

/// What a block says about itself, as far as executing it depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// Its height: the one after the state's.
    pub height: Height,
    /// Its header's time.
    pub time: Time,
    /// Who proposed it.
    pub proposer: Address,
}

/// What executing a block comes to. Nothing has changed yet.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Rows to store.
    pub writes: WriteSet,
    /// Results, events, updates and the app hash, which stands in the next header.
    pub results: BlockResults,
    /// For [`App::commit`], once the block is decided and its rows are stored.
    pub update: StateUpdate,
}

/// How the state's tree changes by a block.
#[derive(Clone, Debug)]
pub struct StateUpdate {
    height: Height,
    tree: Update,
}

/// The committed state in brief: height and tree. The rows are in the store.
pub struct App {
    chain_id: ChainId,
    height: Height,
    tree: Tree,
}

impl App {
    /// The application on the state after block `height`. Cost: one scan of the state.
    ///
    /// Before the first block, `height` is the initial height minus 1.
    pub fn open<R: Reader + ?Sized>(reader: &R, chain_id: ChainId, height: Height) -> Self {
        Self { chain_id, height, tree: Tree::open(NEVER_REVERTED, reader) }
    }

    /// The height of the state.
    pub fn height(&self) -> Height {
        self.height
    }

    /// What the state hashes to.
    pub fn app_hash(&self) -> Hash {
        app_hash(&self.tree.root(), &EMPTY_ROOT)
    }

    /// Bytes that the application keeps in memory.
    pub fn memory_bytes(&self) -> usize {
        self.tree.memory_bytes()
    }

    /// Executes a block on the state of `reader`, which is the committed one. Changes nothing: a block that is not decided
    /// leaves no trace.
    ///
    /// Panics when `context.height` is not the next height: the caller mixed up blocks.
    pub fn execute<'t, R: Reader + ?Sized>(
        &self,
        reader: &R,
        context: &BlockContext,
        txs: impl IntoIterator<Item = &'t VerifiedTx>,
    ) -> Outcome {
        assert_eq!(context.height, self.height.next(), "blocks are executed one after the other");
        let mut execution = Execution::new(reader, self.chain_id.clone(), context.height);
        let results = txs.into_iter().map(|tx| execution.transaction(tx)).collect();
        let view = execution.finish();
        let writes = view.writes();
        let tree = self.tree.update(&Before(&view), &writes);
        let app_hash = app_hash(&tree.root(), &EMPTY_ROOT);
        Outcome {
            writes,
            results: BlockResults { txs: results, app_hash, ..BlockResults::default() },
            update: StateUpdate { height: context.height, tree },
        }
    }

    /// Makes a decided block's state the committed one. Call it together with storing the block's rows.
    ///
    /// Panics when the update is not of the next height on this very state.
    pub fn commit(&mut self, update: StateUpdate) {
        assert_eq!(update.height, self.height.next(), "blocks are committed one after the other");
        self.tree.apply(update.tree);
        self.height = update.height;
    }

    /// Proves what the state says about a raw key, under [`App::app_hash`] (which stands in the header of the next height).
    ///
    /// Errors: [`StaleReader`] when `reader` is not of this height.
    pub fn prove<R: Reader + ?Sized>(&self, reader: &R, key: &[u8]) -> Result<StateProof, StaleReader> {
        self.way_to(key).prove(reader)
    }

    /// The part of a proof that is in memory: microseconds, and no row is read.
    pub fn way_to(&self, key: &[u8]) -> StateWay {
        StateWay { height: self.height, tree: self.tree.way_to(key) }
    }

    /// As [`Tree::part`]: to be compared with rows of this height.
    pub fn part(&self, first: u8) -> Part {
        self.tree.part(first)
    }
}

/// The part of a proof that is in memory; made by [`App::way_to`].
pub struct StateWay {
    height: Height,
    tree: Way,
}

impl StateWay {
    /// The height of the state that is proven about.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The whole proof.
    ///
    /// Errors: [`StaleReader`] when `reader` is not of this height.
    pub fn prove<R: Reader + ?Sized>(self, reader: &R) -> Result<StateProof, StaleReader> {
        Ok(StateProof { tree: self.tree.prove(reader)?, root_revertible: EMPTY_ROOT })
    }
}

/// `BLAKE3("app" ‖ root_N ‖ root_R)`.
pub fn app_hash(root_never_reverted: &Hash, root_revertible: &Hash) -> Hash {
    blake3_parts(&[b"app", &root_never_reverted.0, &root_revertible.0])
}

/// Proves what the part of the state that is never reverted says about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateProof {
    /// The way from that part's root to the key.
    pub tree: Proof,
    /// The other part's root.
    pub root_revertible: Hash,
}

impl StateProof {
    /// Checks that under `app_hash` the raw key has this value, or none.
    ///
    /// Errors: [`ProofError`]; a proof that fails says nothing about the key.
    pub fn verify(&self, app_hash: &Hash, key: &[u8], value: Option<&[u8]>) -> Result<(), ProofError> {
        let root = self.tree.root(key, value)?;
        let got = self::app_hash(&root, &self.root_revertible);
        if got != *app_hash {
            return Err(ProofError::Root { got, expected: *app_hash });
        }
        Ok(())
    }
}

impl Wire for StateProof {
    type Pb = pb::StateProof;
    const NAME: &'static str = "state proof";
    const BYTES_MAX: usize = Proof::BYTES_MAX + 64;

    fn to_pb(&self) -> pb::StateProof {
        pb::StateProof { tree: Some(self.tree.to_pb()), root_revertible: self.root_revertible.0.to_vec() }
    }

    fn from_pb(pb: pb::StateProof) -> Result<Self, DecodeError> {
        let tree = pb.tree.ok_or_else(|| DecodeError::field("state_proof.tree", "is missing"))?;
        Ok(Self {
            tree: Proof::from_pb(tree)?,
            root_revertible: Hash(bytes32("state_proof.root_revertible", &pb.root_revertible)?),
        })
    }
}
