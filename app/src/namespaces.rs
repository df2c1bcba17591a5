//! The trees of all namespaces, and the map of their roots.
//!
//! Each namespace has a history-independent tree over its rows. The map from names to roots is such a tree too; its
//! rows are in memory only, because they follow from the others. Its root is `root_R`.
//!
//! Memory: the trees of the namespaces that have keys, as [`Tree::memory_bytes`] says, and about 500 bytes per
//! namespace.

use std::collections::{BTreeMap, BTreeSet};

use types::{Hash, NsName, Reader, WriteSet};

use crate::{
    area::{Area, NAMES, REVERTIBLE, name_row},
    tree::{
        Cache, EMPTY_ROOT, Proof, Tree, Update, Way,
        load::StoredTrees,
        proof::Existence,
        rows::{Path, path_of, row_key, row_value},
        stored::{ChangedNodes, StoredNode},
    },
};

/// Prefix of the rows of the map of roots, which are in no store.
pub(crate) const MAP: &[u8] = b"";

/// The namespaces of the committed state.
pub(crate) struct Namespaces {
    names: BTreeMap<u32, NsName>,
    /// Trees of the namespaces that have keys.
    trees: BTreeMap<u32, Tree>,
    /// The rows of the map of roots, and the tree over them.
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    map: Tree,
}

/// The namespaces, with the cache of their trees' leaves.
#[derive(Clone, Copy)]
pub(crate) struct Trees<'a> {
    pub namespaces: &'a Namespaces,
    pub cache: &'a Cache,
}

impl Trees<'_> {
    /// Computes the effect of writes on the tree of one namespace.
    pub fn update_of<R: Reader + ?Sized>(self, number: u32, before: &R, writes: &WriteSet) -> Update {
        self.namespaces.update_of(self.cache, number, before, writes)
    }
}

/// The effect of a block on the namespaces.
#[derive(Clone, Debug)]
pub(crate) struct NamespacesUpdate {
    created: Vec<(u32, NsName)>,
    trees: Vec<(u32, Update)>,
    rows: WriteSet,
    map: Update,
}

impl NamespacesUpdate {
    /// Returns `root_R` after the block.
    pub fn root(&self) -> Hash {
        self.map.root()
    }

    /// Returns the rows that list the names of new namespaces.
    pub fn name_rows(&self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        self.created.iter().map(|(number, name)| (name_row(name), Some(number.to_be_bytes().to_vec())))
    }
}

impl Namespaces {
    /// Creates the trees over the rows of `reader`. Cost: one scan of the namespaces.
    pub fn open<R: Reader + ?Sized>(reader: &R) -> Self {
        let names = names_in(reader);
        let trees = names.keys().map(|number| (*number, Tree::open(&Area::Namespace(*number).prefix(), reader)));
        Self::of_trees(trees.collect(), names)
    }

    /// Creates the trees over the rows of `reader` from stored nodes and the paths of the rows that changed since. Adds
    /// the nodes that differ from the stored ones to `nodes`. Returns `None` if the stored nodes are not those of trees.
    ///
    /// Cost: one scan of the names, and that of [`Tree::catch_up`].
    pub fn load<R: Reader + ?Sized>(
        stored: &mut StoredTrees,
        reader: &R,
        mut changed: BTreeMap<Area, Vec<Path>>,
        nodes: &mut ChangedNodes,
    ) -> Option<Self> {
        let names = names_in(reader);
        let mut trees = BTreeMap::new();
        for number in names.keys() {
            let area = Area::Namespace(*number);
            let mut tree = stored.take(&area.prefix())?;
            if let Some(paths) = changed.remove(&area) {
                let update = tree.catch_up(reader, paths);
                nodes.add(tree.apply(&mut Cache::new(0), update));
            }
            trees.insert(*number, tree);
        }
        Some(Self::of_trees(trees, names))
    }

    fn of_trees(mut trees: BTreeMap<u32, Tree>, names: BTreeMap<u32, NsName>) -> Self {
        let root = |number| trees.get(number).map_or(EMPTY_ROOT, Tree::root);
        let rows: BTreeMap<_, _> = names.iter().map(|(number, name)| map_row(name, root(number))).collect();
        trees.retain(|_, tree| tree.root() != EMPTY_ROOT);
        let map = Tree::open(MAP, &rows);
        Self { names, trees, rows, map }
    }

    /// Returns `root_R` of the committed state.
    pub fn root(&self) -> Hash {
        self.map.root()
    }

    fn update_of<R: Reader + ?Sized>(&self, cache: &Cache, number: u32, before: &R, writes: &WriteSet) -> Update {
        self.with_tree(number, |tree| tree.update(cache, before, writes))
    }

    /// Calls `act` with the tree of a namespace: an empty one if it has no keys or does not exist.
    pub fn with_tree<T>(&self, number: u32, act: impl FnOnce(&Tree) -> T) -> T {
        match self.trees.get(&number) {
            Some(tree) => act(tree),
            None => act(&Tree::new(&Area::Namespace(number).prefix())),
        }
    }

    /// Returns the tree over the roots.
    pub fn map(&self) -> &Tree {
        &self.map
    }

    /// Computes the effect of the writes of a block that creates these namespaces. `restored` has the updates of those
    /// that the block reverts, in which there are no writes. It also returns the namespaces whose root changes, in the order
    /// of their numbers, with the new root.
    ///
    /// Cost: that of the trees' updates, and one update of the map.
    pub fn update<R: Reader + ?Sized>(
        &self,
        cache: &Cache,
        before: &R,
        writes: &WriteSet,
        created: Vec<(u32, NsName)>,
        restored: impl IntoIterator<Item = (u32, Update)>,
    ) -> (NamespacesUpdate, Vec<(NsName, Hash)>) {
        let (mut trees, mut changed, mut rows) = (Vec::new(), Vec::new(), WriteSet::default());
        let new: BTreeMap<u32, &NsName> = created.iter().map(|(number, name)| (*number, name)).collect();
        rows.0.extend(created.iter().map(|(_, name)| map_row(name, EMPTY_ROOT)).map(|(key, row)| (key, Some(row))));
        let written =
            numbers_in(writes).into_iter().map(|number| (number, self.update_of(cache, number, before, writes)));
        let mut updates: BTreeMap<u32, Update> = written.collect();
        for (number, update) in restored {
            assert!(
                updates.insert(number, update).is_none(),
                "a namespace takes no writes in the block that reverts it"
            );
        }
        for (number, update) in updates {
            let name = self.names.get(&number).or_else(|| new.get(&number).copied());
            let name = name.expect("only a namespace that exists is written to").clone();
            let (key, row) = map_row(&name, update.root());
            rows.0.insert(key, Some(row));
            changed.push((name, update.root()));
            trees.push((number, update));
        }
        let map = self.map.update(cache, &self.rows, &rows);
        (NamespacesUpdate { created, trees, rows, map }, changed)
    }

    /// Applies an update, and adds the nodes that changed to `nodes`. Call it together with storing the rows.
    pub fn apply(&mut self, cache: &mut Cache, nodes: &mut ChangedNodes, update: NamespacesUpdate) {
        self.names.extend(update.created);
        for (number, update) in update.trees {
            let tree = self.trees.entry(number).or_insert_with(|| Tree::new(&Area::Namespace(number).prefix()));
            nodes.add(tree.apply(cache, update));
            if tree.root() == EMPTY_ROOT {
                self.trees.remove(&number);
            }
        }
        self.map.apply(cache, update.map);
        self.rows.extend(update.rows.0.into_iter().filter_map(|(key, row)| Some((key, row?))));
    }

    /// Returns the way to a key of the namespace with this number, and the proof of the namespace's root under `root_R`;
    /// `None` if there is no such namespace. Reads no rows of the store.
    pub fn way_to(&self, number: u32, key: &[u8]) -> Option<(Way, Existence)> {
        let name = self.names.get(&number)?;
        let way = self.with_tree(number, |tree| tree.way_to(key));
        match self.prove_root(name) {
            Proof::Existence(root) => Some((way, root)),
            Proof::Absence { .. } => None,
        }
    }

    /// Proves the root of the namespace with this name under `root_R`, or that there is no such namespace.
    pub fn prove_root(&self, name: &NsName) -> Proof {
        self.map.prove(&self.rows, name.as_bytes()).expect("the rows of the map are those of its tree")
    }

    /// Returns the trees of the namespaces with keys, from a number on.
    pub fn trees_from(&self, number: u32) -> impl Iterator<Item = (u32, &Tree)> {
        self.trees.range(number..).map(|(number, tree)| (*number, tree))
    }

    /// Returns the nodes of all trees, to store them.
    pub fn stored(&self) -> impl Iterator<Item = StoredNode> {
        self.trees.values().flat_map(Tree::stored)
    }

    /// Returns the bytes of memory of the trees and the map, without the overhead of the allocator.
    pub fn memory_bytes(&self) -> usize {
        let trees: usize = self.trees.values().map(Tree::memory_bytes).sum();
        let rows: usize = self.rows.iter().map(|(key, row)| key.len() + row.len()).sum();
        trees + rows + self.map.memory_bytes() + self.names.values().map(|name| name.len()).sum::<usize>()
    }
}

/// Returns the names of all namespaces by their numbers.
pub(crate) fn names_in<R: Reader + ?Sized>(reader: &R) -> BTreeMap<u32, NsName> {
    let mut names = BTreeMap::new();
    reader.scan(NAMES, &mut |key, value| {
        let name = std::str::from_utf8(&key[NAMES.len()..]).ok().and_then(|text| NsName::new(text).ok());
        let number = value.try_into().map(u32::from_be_bytes);
        let is_read = match (name, number) {
            (Some(name), Ok(number)) => names.insert(number, name).is_none(),
            _ => false,
        };
        if !is_read {
            reader.unreadable(key, "it does not list a namespace");
        }
        is_read
    });
    names
}

fn map_row(name: &NsName, root: Hash) -> (Vec<u8>, Vec<u8>) {
    let key = name.as_bytes();
    (row_key(MAP, &path_of(key)), row_value(key, &root.0))
}

/// Returns the numbers of the namespaces that have rows in `writes`.
fn numbers_in(writes: &WriteSet) -> BTreeSet<u32> {
    let rows = writes.0.range(REVERTIBLE.to_vec()..).take_while(|(key, _)| key.starts_with(REVERTIBLE));
    let area = |(key, _): (&Vec<u8>, _)| Area::of_row(key).map(|(area, _)| area);
    rows.filter_map(area).filter_map(Area::number).collect()
}
