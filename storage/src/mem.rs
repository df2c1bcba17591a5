//! A database in memory for the simulator: it gives the same guarantees as RocksDB, and can simulate crashes.
//!
//! [`MemDisk`] is the disk and survives a crash. [`MemKv`] is the handle of one process and is invalid after
//! [`MemDisk::crash`] or the next [`MemDisk::open`]. A crash keeps all synced batches and as many of the later ones, in
//! order, as the simulator requests.

use std::{
    collections::{BTreeMap, btree_map::Range},
    ops::Bound,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use types::Height;

use crate::{
    error::{Result, StoreError},
    kv::{Batch, Cf, Cursor, Durability, HeightAt, Kv, Op, Replaced, Row, Rows, Stats, View},
    schema::VERSION_HEIGHT_BYTES,
};

/// Maximum number of batches that a crash can revert. Beyond it the oldest becomes durable, as a kernel also writes
/// pages back without a sync.
const UNSYNCED_MAX: usize = 1024;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Maps = [Arc<Map>; Cf::ALL.len()];

/// The effect of the write that is made to fail. The writer gets an error in both cases and cannot distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write had no effect on the disk.
    Lost,
    /// The write took effect, and only its reply was lost.
    Kept,
}

/// A disk in memory. Clones refer to the same disk.
#[derive(Clone, Default)]
pub struct MemDisk(Arc<RwLock<Disk>>);

#[derive(Default)]
struct Disk {
    /// Shared with views; a write copies a map only while a view still holds it.
    maps: Maps,
    /// For each batch since the last sync, the changes that revert it.
    undo: std::collections::VecDeque<Vec<Op>>,
    /// Number of openings; a handle with a lower number is invalid.
    life: u64,
    /// The write that must fail, as the number of writes before it.
    fault: Option<(u64, Fault)>,
    /// True while there is no space: every write fails.
    is_full: bool,
    /// True after a failed write; every later write on this handle fails too.
    failed: bool,
    stats: Stats,
}

impl MemDisk {
    /// Creates an empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the disk and invalidates earlier handles. All writes stay, synced or not, as after `kill -9`.
    pub fn open(&self) -> MemKv {
        let mut disk = self.lock();
        disk.life += 1;
        disk.failed = false;
        disk.stats = Stats::default();
        MemKv { disk: self.clone(), life: disk.life }
    }

    /// Simulates a power loss: of the batches since the last sync only the first `keep` survive, and the handle becomes
    /// invalid.
    pub fn crash(&self, keep: usize) {
        let mut disk = self.lock();
        disk.life += 1;
        disk.fault = None;
        while disk.undo.len() > keep {
            let undo = disk.undo.pop_back().expect("longer than keep");
            for op in undo.into_iter().rev() {
                disk.apply(op);
            }
        }
        disk.undo.clear();
    }

    /// Returns another disk with the content that this one has now; all of it is durable.
    pub fn copy(&self) -> Self {
        let maps = self.read().maps.clone();
        Self(Arc::new(RwLock::new(Disk { maps, ..Disk::default() })))
    }

    /// Returns another disk with the content that this one would have after a crash now: only what is durable.
    pub fn durable(&self) -> Self {
        let disk = self.read();
        let mut copy = Disk { maps: disk.maps.clone(), undo: disk.undo.clone(), ..Disk::default() };
        drop(disk);
        while let Some(undo) = copy.undo.pop_back() {
            for op in undo.into_iter().rev() {
                copy.apply(op);
            }
        }
        Self(Arc::new(RwLock::new(copy)))
    }

    /// Returns the number of batches that a crash could revert.
    pub fn unsynced(&self) -> usize {
        self.read().undo.len()
    }

    /// Makes the `nth` write from now (0 is the next) fail, and every write after it until the next [`MemDisk::open`].
    pub fn fail_write(&self, nth: u64, fault: Fault) {
        self.lock().fault = Some((nth, fault));
    }

    /// Takes all space of the disk, or frees it. Without space, every write fails and has no effect.
    pub fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// Returns true if there is no space.
    pub fn is_full(&self) -> bool {
        self.read().is_full
    }

    /// Returns true if a write has failed since the disk was opened last.
    pub fn has_failed(&self) -> bool {
        self.read().failed
    }

    /// Returns every row, to compare two disks.
    pub fn dump(&self) -> Vec<(Cf, Vec<u8>, Vec<u8>)> {
        let disk = self.read();
        let rows = |cf: Cf| disk.maps[cf as usize].iter().map(move |(key, value)| (cf, key.clone(), value.clone()));
        Cf::ALL.into_iter().flat_map(rows).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Disk> {
        self.0.read().expect("no thread panics while it holds the disk")
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Disk> {
        self.0.write().expect("no thread panics while it holds the disk")
    }
}

impl Disk {
    /// Changes one row and returns the change that reverts it.
    fn apply(&mut self, op: Op) -> Op {
        let map = Arc::make_mut(&mut self.maps[op.cf as usize]);
        let before = match op.value {
            Some(value) => map.insert(op.key.clone(), value),
            None => map.remove(&op.key),
        };
        Op { cf: op.cf, key: op.key, value: before }
    }
}

/// A handle to a [`MemDisk`], valid until the disk is opened again.
pub struct MemKv {
    disk: MemDisk,
    life: u64,
}

impl MemKv {
    /// Creates a handle to a new empty disk.
    pub fn new() -> Self {
        MemDisk::new().open()
    }

    /// Returns the disk of this handle.
    pub fn disk(&self) -> &MemDisk {
        &self.disk
    }

    fn alive(&self, disk: &Disk, doing: &'static str) -> Result<()> {
        if disk.life == self.life && !disk.failed {
            return Ok(());
        }
        let reason = if disk.failed { "an earlier write failed" } else { "this handle is of an earlier life" };
        Err(StoreError::Io { place: self.place(), doing, reason: reason.to_owned() })
    }
}

impl Default for MemKv {
    fn default() -> Self {
        Self::new()
    }
}

impl Kv for MemKv {
    type View<'a> = MemView;

    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.disk.read().maps[cf as usize].get(key).cloned())
    }

    fn multi_get(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let disk = self.disk.read();
        Ok(keys.iter().map(|key| disk.maps[cf as usize].get(*key).cloned()).collect())
    }

    fn view(&self) -> MemView {
        MemView { maps: self.disk.read().maps.clone() }
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        let mut disk = self.disk.lock();
        self.alive(&disk, "writing")?;
        let fault = match disk.fault.take() {
            Some((0, fault)) => Some(fault),
            Some((nth, fault)) => {
                disk.fault = Some((nth - 1, fault));
                None
            }
            None => None,
        };
        let fault = if disk.is_full { Some(Fault::Lost) } else { fault };
        if fault != Some(Fault::Lost) {
            disk.stats.batches += 1;
            disk.stats.batch_bytes.add(batch.bytes() as u64);
            let undo = batch.ops.into_iter().map(|op| disk.apply(op)).collect();
            disk.undo.push_back(undo);
            if durability == Durability::Synced {
                disk.stats.syncs += 1;
                disk.undo.clear();
            } else if disk.undo.len() > UNSYNCED_MAX {
                disk.undo.pop_front();
            }
        }
        if fault.is_some() {
            disk.failed = true;
            let reason =
                if disk.is_full { "the simulated disk is full" } else { "the simulated disk failed" }.to_owned();
            return Err(StoreError::Io { place: self.place(), doing: "writing", reason });
        }
        Ok(())
    }

    fn forget_below(&self, cf: Cf, height: Height) -> Result<()> {
        let mut disk = self.disk.lock();
        self.alive(&disk, "forgetting")?;
        // A view may share the map, which is then copied as a whole: not for nothing.
        let shared = &disk.maps[cf as usize];
        let mut replaced = Replaced::new(height);
        let gone: Vec<Vec<u8>> = match cf.height_at() {
            HeightAt::KeyStart => {
                shared.keys().take_while(|key| key.as_slice() < height.0.to_be_bytes().as_slice()).cloned().collect()
            }
            HeightAt::Version => shared.keys().filter(|key| replaced.is_next(key)).cloned().collect(),
            _ => {
                let is_below =
                    |(key, value): &(&Vec<u8>, &Vec<u8>)| cf.height_of(key, value).is_some_and(|row| row < height);
                shared.iter().filter(is_below).map(|(key, _)| key.clone()).collect()
            }
        };
        if !gone.is_empty() {
            let map = Arc::make_mut(&mut disk.maps[cf as usize]);
            gone.iter().for_each(|key| drop(map.remove(key)));
        }
        Ok(())
    }

    fn stats(&self) -> Stats {
        self.disk.read().stats.clone()
    }

    fn sizes(&self) -> Vec<(Cf, u64)> {
        let disk = self.disk.read();
        let size = |cf: Cf| disk.maps[cf as usize].iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        Cf::ALL.into_iter().map(|cf| (cf, size(cf))).collect()
    }
}

/// Snapshot of all rows; the maps are shared with the disk until it writes.
pub struct MemView {
    maps: Maps,
}

impl View for MemView {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.maps[cf as usize].get(key).cloned())
    }

    fn rows<'a>(&'a self, cf: Cf, prefix: &[u8], from: &[u8]) -> Rows<'a> {
        let (prefix, start) = (prefix.to_vec(), prefix.max(from).to_vec());
        let rows = self.maps[cf as usize].range(start..).take_while(move |(key, _)| key.starts_with(&prefix));
        Box::new(rows.map(|row| Ok(boxed(row))))
    }

    fn between<'a>(&'a self, cf: Cf, from: &[u8], to: Option<Vec<u8>>) -> Result<Box<dyn Cursor + 'a>> {
        let map = &self.maps[cf as usize];
        let mut cursor = MemCursor { map, from: from.to_vec(), to, rest: Range::default(), row: None };
        cursor.seek(from)?;
        Ok(Box::new(cursor))
    }

    fn versions(&self) -> Result<Box<dyn Cursor + '_>> {
        self.cursor(Cf::State, &[])
    }

    fn version(&self, version: &[u8]) -> Result<Option<Row>> {
        let key = &version[..version.len() - VERSION_HEIGHT_BYTES];
        let from = (Bound::Included(version), Bound::Unbounded);
        let row = self.maps[Cf::State as usize].range::<[u8], _>(from).next();
        Ok(row.filter(|(row, _)| row.len() == version.len() && row.starts_with(key)).map(boxed))
    }

    fn at_or_below(&self, cf: Cf, key: &[u8]) -> Result<Option<Row>> {
        let upto = (Bound::Unbounded, Bound::Included(key));
        Ok(self.maps[cf as usize].range::<[u8], _>(upto).next_back().map(boxed))
    }
}

struct MemCursor<'a> {
    map: &'a Map,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    rest: Range<'a, Vec<u8>, Vec<u8>>,
    row: Option<(&'a Vec<u8>, &'a Vec<u8>)>,
}

impl Cursor for MemCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        let from = key.max(&self.from);
        self.rest = self.map.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        self.advance()
    }

    fn advance(&mut self) -> Result<()> {
        self.row = self.rest.next().filter(|(key, _)| self.to.as_ref().is_none_or(|to| *key < to));
        Ok(())
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.row.map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

fn boxed((key, value): (&Vec<u8>, &Vec<u8>)) -> Row {
    (key.as_slice().into(), value.as_slice().into())
}
