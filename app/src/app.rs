//! The application object: it holds the tree of the committed state and executes blocks on it.

use std::{collections::BTreeMap, mem};

use types::{BlockResults, ChainId, Hash, Height, History, NsName, Reader, Replaced, VerifiedTx, WriteSet};

use crate::{
    area::{Area, NEVER_REVERTED, TreeOf},
    context::BlockContext,
    execute::{Execution, Finished},
    namespaces::{Namespaces, NamespacesUpdate, Trees},
    proposals::Decisions,
    state_proof::{REVERTIBLE, StateProof},
    tree::{
        Cache, CacheStats, Part, Proof, StaleReader, Tree, Update, Way,
        load::StoredTrees,
        proof::Existence,
        rows::Path,
        small::{prove_in, root_of},
        stored::{ChangedNodes, StoredNode},
    },
    upgrade::{UpgradeStop, Upgrades},
    view::{Before, View},
};

/// Result of executing a block. Nothing has been changed yet.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Rows to write to the store.
    pub writes: WriteSet,
    /// What those rows of `writes` replace that are revertible.
    pub replaced: Replaced,
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
    cache: Cache,
    /// Nodes of the trees that changed since `stored`.
    changed: ChangedNodes,
    /// The height that the stored nodes describe, once those that were taken are written.
    stored: Height,
    upgrades: Upgrades,
}

/// Place among the ends of all trees, from which [`App::parts`] continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartsFrom {
    area: Area,
    start: u64,
}

impl PartsFrom {
    /// The first end of all.
    pub const FIRST: Self = Self { area: Area::NeverReverted, start: 0 };
}

impl App {
    /// Opens the application on the state after block `height`. Cost: one scan of the state, about a microsecond per
    /// row; the rows are not held in memory.
    ///
    /// Before the first block, `height` is the initial height minus 1.
    pub fn open<R: Reader + ?Sized>(reader: &R, chain_id: ChainId, height: Height) -> Self {
        let (tree, namespaces) = (Tree::open(NEVER_REVERTED, reader), Namespaces::open(reader));
        Self::of_trees(chain_id, height, tree, namespaces, ChangedNodes::default(), height)
    }

    /// Opens the application on the state after block `height` from the nodes of the trees that were stored at the height
    /// `stored_at`, and the keys of the rows that changed since, or before if `stored_at` is the higher one. Returns
    /// `None` if the rows in `stored` are not those of trees.
    ///
    /// The caller must compare [`App::app_hash`] with the one that the chain agreed on: it is another one if the stored
    /// nodes are wrong.
    ///
    /// Cost: one hash per stored node, one scan of the names of namespaces, and one of a bucket per changed key.
    pub fn load<R: Reader + ?Sized>(
        mut stored: StoredTrees,
        stored_at: Height,
        reader: &R,
        chain_id: ChainId,
        height: Height,
        changed: impl IntoIterator<Item = Vec<u8>>,
    ) -> Option<Self> {
        let mut paths: BTreeMap<Area, Vec<Path>> = BTreeMap::new();
        for (area, path) in changed.into_iter().filter_map(|key| Area::of_row(&key)) {
            paths.entry(area).or_default().push(path);
        }
        let mut nodes = ChangedNodes::default();
        let mut tree = stored.take(NEVER_REVERTED)?;
        if let Some(paths) = paths.remove(&Area::NeverReverted) {
            let update = tree.catch_up(reader, paths);
            nodes.add(tree.apply(&mut Cache::new(0), update));
        }
        let namespaces = Namespaces::load(&mut stored, reader, paths, &mut nodes)?;
        // Namespaces that do not exist yet at a height below that of the stored nodes.
        nodes.add(stored.delete_others()?);
        Some(Self::of_trees(chain_id, height, tree, namespaces, nodes, stored_at))
    }

    fn of_trees(
        chain_id: ChainId,
        height: Height,
        tree: Tree,
        namespaces: Namespaces,
        changed: ChangedNodes,
        stored: Height,
    ) -> Self {
        Self {
            chain_id,
            height,
            tree,
            namespaces,
            cache: Cache::new(Cache::BYTES_MAX),
            changed,
            stored,
            upgrades: Upgrades::default(),
        }
    }

    /// Limits the memory for leaves of the trees to `bytes_max` instead of [`Cache::BYTES_MAX`], from now on.
    pub fn with_cache(mut self, bytes_max: usize) -> Self {
        self.cache = Cache::new(bytes_max);
        self
    }

    /// Gives the application the upgrades of this program instead of [`UPGRADES`](crate::UPGRADES).
    pub fn with_upgrades(mut self, upgrades: Upgrades) -> Self {
        self.upgrades = upgrades;
        self
    }

    /// Checks whether this program may execute the next height; `reader` is the committed state. Cost: two reads.
    ///
    /// Errors: [`UpgradeStop`], why it may not.
    pub fn check_program<R: Reader + ?Sized>(&self, reader: &R) -> Result<(), UpgradeStop> {
        self.upgrades.check(reader, self.height.next())
    }

    /// Returns the height of the committed state.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Returns the app hash of the committed state.
    pub fn app_hash(&self) -> Hash {
        app_hash(&self.tree.root(), &self.namespaces.root())
    }

    /// Returns the bytes of memory that the application uses, without the cache.
    pub fn memory_bytes(&self) -> usize {
        self.tree.memory_bytes() + self.namespaces.memory_bytes()
    }

    /// Returns size and use of the cache of the trees' leaves.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Executes a block on the state of `history`, which must be the committed one. It changes nothing: a block that is
    /// not decided leaves no trace.
    ///
    /// Panics if `context.height` is not the next height, because the caller mixed up blocks, or if an upgrade is due that
    /// this program does not have: [`App::check_program`] says so after the block before.
    pub fn execute<'t, R: History + ?Sized>(
        &self,
        history: &R,
        context: &BlockContext,
        txs: impl IntoIterator<Item = &'t VerifiedTx>,
    ) -> Outcome {
        assert_eq!(context.height, self.height.next(), "blocks are executed one after the other");
        let (chain_id, trees) = (self.chain_id.clone(), Trees { namespaces: &self.namespaces, cache: &self.cache });
        let view = View::of_state(history);
        let mut execution = Execution::begin(view, chain_id, context, trees, self.upgrades);
        let results = txs.into_iter().map(|tx| execution.transaction(tx)).collect();
        let retain_blocks = execution.rules.params.retain_blocks;
        let Finished { mut view, decisions: Decisions { events, restored, .. }, validator_updates, params_update } =
            execution.finish();
        let (mut in_namespaces, mut replaced) = view.namespace_writes();
        let created = view.created_namespaces();
        let (restored_rows, restored): (Vec<_>, Vec<_>) = restored
            .into_iter()
            .map(|restored| ((restored.writes, restored.replaced), (restored.number, restored.update)))
            .unzip();
        let (namespaces, changed) =
            self.namespaces.update(&self.cache, &Before(&view), &in_namespaces, created, restored);
        view.log_roots(context.height, retain_blocks, &changed);
        let mut writes = view.writes();
        let tree = self.tree.update(&self.cache, &Before(&view), &writes);
        writes.0.append(&mut in_namespaces.0);
        for (mut rows, mut of_rows) in restored_rows {
            writes.0.append(&mut rows.0);
            replaced.0.append(&mut of_rows.0);
        }
        writes.0.extend(namespaces.name_rows());
        writes.0.extend(view.list_writes());
        let app_hash = app_hash(&tree.root(), &namespaces.root());
        Outcome {
            writes,
            replaced,
            results: BlockResults { txs: results, events, validator_updates, params_update, app_hash },
            update: StateUpdate { height: context.height, tree, namespaces },
        }
    }

    /// Makes the state of a decided block the committed one. Call it together with storing the block's rows.
    ///
    /// Panics if the update is not for the next height on this state.
    pub fn commit(&mut self, update: StateUpdate) {
        assert_eq!(update.height, self.height.next(), "blocks are committed one after the other");
        self.changed.add(self.tree.apply(&mut self.cache, update.tree));
        self.namespaces.apply(&mut self.cache, &mut self.changed, update.namespaces);
        self.height = update.height;
    }

    /// Returns the height and the nodes of the trees that changed since the last call, or since [`App::load`]; `None` if
    /// there are fewer than `nodes_min` and `heights_min` heights were not committed since. The caller stores them.
    ///
    /// Cost: that of a move, whatever the number of nodes.
    pub fn take_changed(&mut self, nodes_min: usize, heights_min: u64) -> Option<(Height, ChangedNodes)> {
        if self.changed.len() < nodes_min && self.height.0 < self.stored.0.saturating_add(heights_min) {
            return None;
        }
        self.stored = self.height;
        Some((self.height, mem::take(&mut self.changed)))
    }

    /// Returns the nodes of all trees, to store them.
    pub fn stored(&self) -> impl Iterator<Item = StoredNode> {
        self.tree.stored().chain(self.namespaces.stored())
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
        StateWay { height: self.height, start: Start::Way(self.tree.way_to(key)), roots: self.part(PART_N) }
    }

    /// As [`App::way_to`], for a key of the namespace with this number; `None` if there is no such namespace.
    pub fn way_in(&self, number: u32, key: &[u8]) -> Option<StateWay> {
        let (way, root) = self.namespaces.way_to(number, key)?;
        let roots = std::iter::once(root).chain(self.part(REVERTIBLE)).collect();
        Some(StateWay { height: self.height, start: Start::Way(way), roots })
    }

    /// As [`App::way_to`], for the root of the namespace with this name.
    pub fn way_to_root(&self, name: &NsName) -> StateWay {
        let start = Start::Proof(self.namespaces.prove_root(name));
        StateWay { height: self.height, start, roots: self.part(REVERTIBLE) }
    }

    /// Returns the proof of the root of a part of the state.
    fn part(&self, name: &[u8]) -> Vec<Existence> {
        prove_part(&self.tree.root(), &self.namespaces.root(), name)
    }

    /// Calls `act` with a tree of the committed state: an empty one for a namespace that does not exist.
    pub(crate) fn with_tree<T>(&self, of: TreeOf, act: impl FnOnce(&Tree) -> T) -> T {
        match of {
            TreeOf::Area(Area::NeverReverted) => act(&self.tree),
            TreeOf::Area(Area::Namespace(number)) => self.namespaces.with_tree(number, act),
            TreeOf::Roots => act(self.namespaces.map()),
        }
    }

    /// Returns parts of the trees with about `ends_max` ends, to be compared with rows of this height, and where to
    /// continue. Cost: about 0.1 µs per end; no row is read.
    pub fn parts(&self, from: PartsFrom, ends_max: usize) -> (Vec<Part>, Option<PartsFrom>) {
        let number = from.area.number();
        let first = number.is_none().then_some((Area::NeverReverted, &self.tree));
        let others = self.namespaces.trees_from(number.unwrap_or(0));
        let trees = first.into_iter().chain(others.map(|(number, tree)| (Area::Namespace(number), tree)));
        let (mut parts, mut left) = (Vec::new(), ends_max);
        for (area, tree) in trees {
            let start = if area == from.area { from.start } else { 0 };
            if left == 0 {
                return (parts, Some(PartsFrom { area, start }));
            }
            let (part, next) = tree.part(start, left);
            left -= part.ends();
            parts.push(part);
            if let Some(start) = next {
                return (parts, Some(PartsFrom { area, start }));
            }
        }
        (parts, None)
    }
}

/// The part of a proof that is in memory; created by [`App::way_to`].
pub struct StateWay {
    height: Height,
    start: Start,
    /// Proofs of the roots, from that of the first tree up.
    roots: Vec<Existence>,
}

/// The proof in the first tree.
enum Start {
    /// The rest of it is in rows of the store.
    Way(Way),
    /// It is whole, because the tree's rows are in memory.
    Proof(Proof),
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
        let key = match self.start {
            Start::Way(way) => way.prove(reader)?,
            Start::Proof(proof) => proof,
        };
        Ok(StateProof::new(key, self.roots))
    }
}

/// Name of the part of the state that is never reverted, in the tree over the parts' roots.
const PART_N: &[u8] = b"n";

/// Proves the root of a part of the state, given the roots of both parts.
pub(crate) fn prove_part(root_never_reverted: &Hash, root_revertible: &Hash, name: &[u8]) -> Vec<Existence> {
    let entries: [(&[u8], &[u8]); 2] = [(PART_N, &root_never_reverted.0), (REVERTIBLE, &root_revertible.0)];
    prove_in(&entries, name).into_iter().collect()
}

/// Computes the root of the tree in which the key `n` has the value root_N, and `r` the value root_R.
pub fn app_hash(root_never_reverted: &Hash, root_revertible: &Hash) -> Hash {
    root_of(&[(PART_N, &root_never_reverted.0), (REVERTIBLE, &root_revertible.0)])
}
