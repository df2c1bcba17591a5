//! The application object: it holds the tree of the committed state and executes blocks on it.

use types::{Address, BlockResults, ChainId, Hash, Height, History, Reader, Time, VerifiedTx, WriteSet};

use crate::{
    area::NEVER_REVERTED,
    execute::Execution,
    namespaces::{Namespaces, NamespacesUpdate},
    proposals::Decisions,
    state_proof::StateProof,
    tree::{
        Part, StaleReader, Tree, Update, Way,
        small::{prove_in, root_of},
    },
    view::Before,
};

/// The properties of a block on which its execution depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// Height of the block: the one after the state's height.
    pub height: Height,
    /// Time in the header of the block.
    pub time: Time,
    /// Address of the validator that proposed the block.
    pub proposer: Address,
}

/// Result of executing a block. Nothing has been changed yet.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Rows to write to the store.
    pub writes: WriteSet,
    /// Results, events, updates and the app hash, which is part of the next header.
    pub results: BlockResults,
    /// Update for [`App::commit`], once the block is decided and its rows are stored.
    pub update: StateUpdate,
}

/// Change of the state's trees by one block.
#[derive(Clone, Debug)]
pub struct StateUpdate {
    height: Height,
    tree: Update,
    namespaces: NamespacesUpdate,
}

/// Summary of the committed state: its height and trees. The rows are in the store.
pub struct App {
    chain_id: ChainId,
    height: Height,
    /// The tree of the part that is never reverted.
    tree: Tree,
    namespaces: Namespaces,
}

impl App {
    /// Opens the application on the state after block `height`. Cost: one scan of the state.
    ///
    /// Before the first block, `height` is the initial height minus 1.
    pub fn open<R: Reader + ?Sized>(reader: &R, chain_id: ChainId, height: Height) -> Self {
        Self { chain_id, height, tree: Tree::open(NEVER_REVERTED, reader), namespaces: Namespaces::open(reader) }
    }

    /// Returns the height of the committed state.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Returns the app hash of the committed state.
    pub fn app_hash(&self) -> Hash {
        app_hash(&self.tree.root(), &self.namespaces.root())
    }

    /// Returns the bytes of memory that the application uses.
    pub fn memory_bytes(&self) -> usize {
        self.tree.memory_bytes() + self.namespaces.memory_bytes()
    }

    /// Executes a block on the state of `history`, which must be the committed one. It changes nothing: a block that is
    /// not decided leaves no trace.
    ///
    /// Panics if `context.height` is not the next height, because the caller mixed up blocks.
    pub fn execute<'t, R: History + ?Sized>(
        &self,
        history: &R,
        context: &BlockContext,
        txs: impl IntoIterator<Item = &'t VerifiedTx>,
    ) -> Outcome {
        assert_eq!(context.height, self.height.next(), "blocks are executed one after the other");
        let (chain_id, trees) = (self.chain_id.clone(), &self.namespaces);
        let mut execution = Execution::begin(history, chain_id, context.height, context.time, trees);
        let results = txs.into_iter().map(|tx| execution.transaction(tx)).collect();
        let retain_blocks = execution.rules.params.retain_blocks;
        let (mut view, Decisions { events, restored, .. }) = execution.finish();
        let in_namespaces = view.namespace_writes();
        let created = view.created_namespaces();
        let (restored_rows, restored): (Vec<WriteSet>, Vec<(u32, Update)>) =
            restored.into_iter().map(|restored| (restored.writes, (restored.number, restored.update))).unzip();
        let (namespaces, changed) = trees.update(&Before(&view), &in_namespaces, created, restored);
        view.log_roots(context.height, retain_blocks, &changed);
        let mut writes = view.writes();
        let tree = self.tree.update(&Before(&view), &writes);
        writes.0.extend(in_namespaces.0);
        writes.0.extend(restored_rows.into_iter().flat_map(|rows| rows.0));
        writes.0.extend(namespaces.name_rows());
        let app_hash = app_hash(&tree.root(), &namespaces.root());
        Outcome {
            writes,
            results: BlockResults { txs: results, events, app_hash, ..BlockResults::default() },
            update: StateUpdate { height: context.height, tree, namespaces },
        }
    }

    /// Makes the state of a decided block the committed one. Call it together with storing the block's rows.
    ///
    /// Panics if the update is not for the next height on this state.
    pub fn commit(&mut self, update: StateUpdate) {
        assert_eq!(update.height, self.height.next(), "blocks are committed one after the other");
        self.tree.apply(update.tree);
        self.namespaces.apply(update.namespaces);
        self.height = update.height;
    }

    /// Proves the value or the absence of a raw key under [`App::app_hash`] (which is part of the header of the next
    /// height).
    ///
    /// Errors: [`StaleReader`] if `reader` is not at this height.
    pub fn prove<R: Reader + ?Sized>(&self, reader: &R, key: &[u8]) -> Result<StateProof, StaleReader> {
        self.way_to(key).prove(reader)
    }

    /// Returns the part of a proof that is in memory. Cost: microseconds; no row is read.
    pub fn way_to(&self, key: &[u8]) -> StateWay {
        StateWay { height: self.height, tree: self.tree.way_to(key), root_revertible: self.namespaces.root() }
    }

    /// Returns one part of each tree, as [`Tree::part`], to be compared with rows of this height.
    pub fn parts(&self, first: u8) -> Vec<Part> {
        std::iter::once(self.tree.part(first)).chain(self.namespaces.parts(first)).collect()
    }
}

/// The part of a proof that is in memory; created by [`App::way_to`].
pub struct StateWay {
    height: Height,
    tree: Way,
    root_revertible: Hash,
}

impl StateWay {
    /// Returns the height of the state that the proof is about.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Completes the proof with the rows of `reader`.
    ///
    /// Errors: [`StaleReader`] if `reader` is not at this height.
    pub fn prove<R: Reader + ?Sized>(self, reader: &R) -> Result<StateProof, StaleReader> {
        let root = self.tree.root();
        let key = self.tree.prove(reader)?;
        let part = prove_in(&[(PART_N, &root.0), (PART_R, &self.root_revertible.0)], PART_N);
        Ok(StateProof::new(key, part))
    }
}

/// Name of the part of the state that is never reverted, in the tree over the parts' roots.
const PART_N: &[u8] = b"n";
/// Name of the revertible part.
const PART_R: &[u8] = b"r";

/// Computes the root of the tree in which the key `n` has the value root_N, and `r` the value root_R.
pub fn app_hash(root_never_reverted: &Hash, root_revertible: &Hash) -> Hash {
    root_of(&[(PART_N, &root_never_reverted.0), (PART_R, &root_revertible.0)])
}
