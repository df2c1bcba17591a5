//! The trees of the state after an earlier height, for proofs.
//!
//! They are computed from the trees at the tip and from the rows of the earlier height, as [`tree::earlier`] describes, and
//! only those that proofs need: the tree of N and that of the roots of namespaces for every proof, and the tree of one
//! namespace for a proof of its keys. The roots of namespaces at the earlier height are in the log of roots.
//!
//! [`tree::earlier`]: crate::tree::earlier

use std::collections::BTreeMap;

use types::{Hash, Height, NsName, Reader, Version};

use crate::{
    app::{App, app_hash, prove_part},
    area::{Area, NAMES, NEVER_REVERTED, TreeOf, name_row},
    namespaces::{MAP, names_in},
    state::key,
    state_proof::{REVERTIBLE, StateProof},
    tree::{
        StaleReader, Tree,
        earlier::Earlier,
        proof::{Existence, Proof},
        rows::{Path, path_of, row_value},
    },
    view::View,
};

/// The trees of the state after an earlier height, as far as they were computed.
///
/// To compute more: [`EarlierTrees::begin`], [`EarlierTrees::copy`] until it returns true, [`EarlierTrees::mark`] for each
/// row that changed between the earlier height and the heights of the copies, [`EarlierTrees::end_copy`], and
/// [`EarlierTrees::read`] until it returns true.
pub struct EarlierTrees {
    height: Height,
    names: Names,
    /// Trees whose nodes are being copied and marked.
    copied: BTreeMap<TreeOf, Earlier>,
    /// Trees whose marked nodes are being computed.
    unread: BTreeMap<TreeOf, Earlier>,
    /// Trees that are complete.
    complete: BTreeMap<TreeOf, Tree>,
}

/// The namespaces of an earlier height, by the paths of their names and by their numbers.
struct Names {
    by_path: BTreeMap<Path, NsName>,
    by_number: BTreeMap<u32, Path>,
}

impl EarlierTrees {
    /// Begins with no tree. `reader` is the state after `height`. Cost: one scan of the names of namespaces.
    pub fn new<R: Reader + ?Sized>(reader: &R, height: Height) -> Self {
        let named = names_in(reader).into_iter().map(|(number, name)| (number, path_of(name.as_bytes()), name));
        let (by_number, by_path) = named.map(|(number, path, name)| ((number, path), (path, name))).unzip();
        let [copied, unread] = [(); 2].map(|()| BTreeMap::new());
        Self { height, names: Names { by_path, by_number }, copied, unread, complete: BTreeMap::new() }
    }

    /// Returns the height of the state that the trees describe.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Begins to copy the trees that proofs need; `number` is that of the namespace whose keys are to be proven. Returns
    /// true if there is something to copy.
    pub fn begin(&mut self, number: Option<u32>) -> bool {
        let of_keys = number.map(|number| TreeOf::Area(Area::Namespace(number)));
        let needed = [TreeOf::Area(Area::NeverReverted), TreeOf::Roots].into_iter().chain(of_keys);
        let missing = needed.filter(|of| !self.unread.contains_key(of) && !self.complete.contains_key(of));
        self.copied = missing.map(|of| (of, Earlier::new(prefix_of(of)))).collect();
        !self.copied.is_empty()
    }

    /// Copies some nodes of the trees at the tip. Returns true when all are copied. It reads no rows, so a lock on `app` is
    /// held for microseconds only; the tip may advance between two calls.
    pub fn copy(&mut self, app: &App) -> bool {
        self.copied.iter_mut().all(|(of, earlier)| app.with_tree(*of, |tree| earlier.copy(tree)))
    }

    /// Marks what depends on the row of the store under `key`, which changed between the earlier height and the heights at
    /// which nodes were copied.
    pub fn mark(&mut self, key: &[u8]) {
        if let Some((area, path)) = Area::of_row(key) {
            if let Some(tree) = self.copied.get_mut(&TreeOf::Area(area)) {
                tree.mark(&path);
            }
            // A namespace without a name at the earlier height was created after it; its new name is a change too.
            let name = area.number().and_then(|number| self.names.by_number.get(&number));
            if let Some((tree, name)) = self.copied.get_mut(&TreeOf::Roots).zip(name) {
                tree.mark(name);
            }
        } else if let Some(name) = key.strip_prefix(NAMES)
            && let Some(tree) = self.copied.get_mut(&TreeOf::Roots)
        {
            tree.mark(&path_of(name));
        }
    }

    /// Ends the copies. If `is_marked` is false, not all changes were marked, and everything counts as changed.
    pub fn end_copy(&mut self, is_marked: bool) {
        for (of, mut tree) in std::mem::take(&mut self.copied) {
            if !is_marked {
                tree.mark_all();
            }
            self.unread.insert(of, tree);
        }
    }

    /// Computes what changed from the rows of `reader`, the state after the earlier height, as long as `may_go_on` returns
    /// true; it is asked before each scan of some adjacent rows. Returns true when all trees are complete.
    ///
    /// A caller that finds a failed read must drop the trees.
    pub fn read<R: Reader + ?Sized>(&mut self, reader: &R, may_go_on: &mut dyn FnMut() -> bool) -> bool {
        while let Some(mut tree) = self.unread.first_entry() {
            let is_read = match tree.key() {
                TreeOf::Area(_) => tree.get_mut().read(reader, may_go_on),
                TreeOf::Roots => tree.get_mut().read(&Roots { names: &self.names, reader }, may_go_on),
            };
            if !is_read {
                return false;
            }
            let (of, tree) = tree.remove_entry();
            self.complete.insert(of, tree.into_tree());
        }
        true
    }

    /// Returns the percentage of the changed parts of unfinished trees that are computed.
    pub fn percent(&self) -> usize {
        let progress = self.unread.values().map(Earlier::progress);
        let (marked, done) = progress.fold((0, 0), |(marked, done), tree| (marked + tree.0, done + tree.1));
        (100 * done).checked_div(marked).unwrap_or(100)
    }

    /// Returns the bytes of memory of trees and names, without the overhead of the allocator.
    pub fn memory_bytes(&self) -> usize {
        let trees: usize = self.complete.values().map(Tree::memory_bytes).sum();
        let unread: usize = self.unread.values().map(Earlier::memory_bytes).sum();
        let name = |name: &NsName| 2 * size_of::<Path>() + size_of::<NsName>() + size_of::<u32>() + name.len();
        trees + unread + self.names.by_path.values().map(name).sum::<usize>()
    }

    /// Drops the trees of all namespaces.
    pub fn forget_namespaces(&mut self) {
        let is_of_all = |of: &TreeOf| !matches!(of, TreeOf::Area(Area::Namespace(_)));
        self.unread.retain(|of, _| is_of_all(of));
        self.complete.retain(|of, _| is_of_all(of));
    }

    /// Returns the app hash of the earlier height; `None` before the trees are complete.
    pub fn app_hash(&self) -> Option<Hash> {
        self.roots().map(|(n, r)| app_hash(&n, &r))
    }

    /// Proves the value or the absence of a raw key, as [`App::prove`] does at the tip. `reader` is the state after the earlier
    /// height.
    ///
    /// Cost: a scan of the rows of one end, some 150 if the state has 10 million; for an absence, sometimes of two more.
    ///
    /// Errors: [`StaleReader`] if `reader` is at another height, or the trees are not complete.
    pub fn prove<R: Reader + ?Sized>(&self, reader: &R, key: &[u8]) -> Result<StateProof, StaleReader> {
        let proof = self.tree(TreeOf::Area(Area::NeverReverted))?.prove(reader, key)?;
        let (n, r) = self.roots().ok_or(StaleReader)?;
        Ok(StateProof::new(proof, prove_part(&n, &r, NEVER_REVERTED)))
    }

    /// As [`EarlierTrees::prove`], for a key of the namespace with this number and name.
    ///
    /// Errors: as there; also if there was no such namespace.
    pub fn prove_in<R: Reader + ?Sized>(&self, reader: &R, number: u32, key: &[u8]) -> Result<StateProof, StaleReader> {
        let proof = self.tree(TreeOf::Area(Area::Namespace(number)))?.prove(reader, key)?;
        let path = self.names.by_number.get(&number);
        let name = path.and_then(|path| self.names.by_path.get(path)).ok_or(StaleReader)?;
        match self.root_of(reader, name)? {
            Proof::Existence(root) => Ok(StateProof::new(proof, std::iter::once(root).chain(self.revertible()?))),
            Proof::Absence { .. } => Err(StaleReader),
        }
    }

    /// As [`EarlierTrees::prove`], for the root of the namespace with this name, or its absence.
    ///
    /// Errors: as there.
    pub fn prove_root<R: Reader + ?Sized>(&self, reader: &R, name: &NsName) -> Result<StateProof, StaleReader> {
        Ok(StateProof::new(self.root_of(reader, name)?, self.revertible()?))
    }

    fn root_of<R: Reader + ?Sized>(&self, reader: &R, name: &NsName) -> Result<Proof, StaleReader> {
        self.tree(TreeOf::Roots)?.prove(&Roots { names: &self.names, reader }, name.as_bytes())
    }

    fn revertible(&self) -> Result<Vec<Existence>, StaleReader> {
        let (n, r) = self.roots().ok_or(StaleReader)?;
        Ok(prove_part(&n, &r, REVERTIBLE))
    }

    fn tree(&self, of: TreeOf) -> Result<&Tree, StaleReader> {
        self.complete.get(&of).ok_or(StaleReader)
    }

    /// Returns `root_N` and `root_R`.
    fn roots(&self) -> Option<(Hash, Hash)> {
        let root = |of| self.complete.get(&of).map(Tree::root);
        root(TreeOf::Area(Area::NeverReverted)).zip(root(TreeOf::Roots))
    }
}

fn prefix_of(of: TreeOf) -> Vec<u8> {
    match of {
        TreeOf::Area(area) => area.prefix(),
        TreeOf::Roots => MAP.to_vec(),
    }
}

/// The rows of the map of roots at an earlier height. They are in no store: the names are known, and each root is in the
/// log of roots.
struct Roots<'a, R: ?Sized> {
    names: &'a Names,
    reader: &'a R,
}

impl<R: Reader + ?Sized> Roots<'_, R> {
    fn row(&self, name: &NsName) -> Option<Vec<u8>> {
        let mut view = View::of_state(self.reader);
        let Some(namespace) = view.namespace(name) else {
            self.reader.unreadable(&name_row(name), "it lists a namespace that does not exist");
            return None;
        };
        Some(row_value(name.as_bytes(), &view.root_of(&namespace).0))
    }
}

impl<R: Reader + ?Sized> Reader for Roots<'_, R> {
    /// Returns the root, with the height of the last change of the namespace, whatever changed.
    fn version(&self, key: &[u8]) -> Option<Version> {
        let name = self.names.by_path.get::<Path>(key.try_into().ok()?)?;
        let changed = self.reader.changed_at(&Area::NeverReverted.row_key(&path_of(&key::namespace(name))))?;
        Some((changed, self.row(name)))
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let mut first = Path::default();
        first[..from.len()].copy_from_slice(from);
        for (path, name) in self.names.by_path.range(first..) {
            if !path.starts_with(prefix) || !self.row(name).is_some_and(|row| visit(path, &row)) {
                return;
            }
        }
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        self.reader.unreadable(key, reason);
    }
}
