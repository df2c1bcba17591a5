//! Implementation of [`Kv`] with RocksDB, and its configuration.
//!
//! **Durability.** Every batch is written to one write-ahead log, which all column families share; `Synced` also syncs
//! it. The log is ordered, so a sync makes every earlier batch durable. Recovery is *point in time*: after a power loss
//! the log is replayed up to the first incomplete record, so the store is at a prefix of its batches, the same prefix
//! in every family (atomic flush is for databases without a log). Point-in-time recovery alone would also stop, without
//! an error, at a record that was synced and then damaged, and so lose the record of what we signed. Therefore the file
//! `SYNCED` contains the sequence number of the last synced batch. It is written after the sync and not synced itself,
//! so its number can be too low but never too high, and a store that recovers to a lower number is reported as damaged.
//! If that file itself is missing or invalid, [`RocksKv::warnings`] reports it.
//!
//! **Checksums.** Every block, log record and blob in RocksDB carries a checksum that is verified when it is read; this
//! crate adds no second one.
//!
//! **Memory.** One block cache ([`BLOCK_CACHE_BYTES`], which includes index and filter blocks), one budget for all
//! write buffers ([`WRITE_BUFFERS_BYTES`]), a bounded number of open files.
//!
//! **Deletion by height.** Rows of a height are adjacent in most families: they are deleted by one range tombstone and,
//! where a whole file is below the height, by dropping the file. In `events`, `block_hash`, `txs` and `recent` a
//! compaction filter drops rows below an atomic bound whenever a file is rewritten, at the latest after
//! [`REWRITE_SECONDS`]. In `state` it drops the versions that a newer one below the bound replaces, if both are in files
//! that are rewritten together.
//!
//! **Versions.** All versions of a key share an entry of the Bloom filters, without the height, so a search for one key
//! at any height asks only the files with versions of that key. The searches of a view share one iterator. The newest
//! versions of recently written keys are known and need no search.

use std::{
    ffi::CStr,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactionDecision, DB, DBCompressionType,
    DBRawIterator, DBRecoveryMode, Direction, Error, ErrorKind, IteratorMode, LogLevel, LruCacheOptions, Options,
    ReadOptions, SliceTransform, Snapshot, WriteBatch, WriteOptions,
    checkpoint::Checkpoint,
    compaction_filter::CompactionFilter,
    compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory},
};
use types::{Height, blake3};

use crate::{
    error::{Result, StoreError},
    folder,
    kv::{Batch, Cf, Cursor, Durability, HeightAt, Kv, Replaced, Row, Rows, Stats, View, prefix_end},
    newest::Newest,
    schema,
    store::{FORMAT, meta},
};

/// Size of the block cache that all families share, in bytes.
pub const BLOCK_CACHE_BYTES: usize = 32 << 20;
/// The block cache has 2 to this power shards, each with a lock of its own.
const CACHE_SHARD_BITS: i32 = 2;
/// Maximum bytes of all write buffers together; above it the oldest is flushed.
pub const WRITE_BUFFERS_BYTES: usize = 16 << 20;
/// Maximum bytes of the log; above it the families that still need its oldest part are flushed.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Maximum number of table files that are held open, if the system allows that number.
pub const OPEN_FILES_MAX: i32 = 256;
/// Maximum age of a file in seconds. An older file is rewritten, so that the compaction filter sees rows that no other
/// write would move.
const REWRITE_SECONDS: u64 = 24 * 3600;

/// A RocksDB folder, open and locked.
pub struct RocksKv {
    db: DB,
    path: PathBuf,
    /// For each family, the height below which the compaction filter drops rows.
    floors: Floors,
    newest: Newest,
    writer: Mutex<Writer>,
    warnings: Vec<String>,
}

type Floors = [Arc<AtomicU64>; Cf::ALL.len()];

/// State of the writing thread, protected by a mutex.
struct Writer {
    /// `None` if the store was opened read-only.
    synced: Option<SyncedFile>,
    stats: Stats,
}

/// Kind of access that a store is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadAndWrite,
    ReadOnly,
}

impl RocksKv {
    /// Opens the store in the folder `path`; creates it when the folder is absent or empty.
    ///
    /// Errors: `Locked`, `NoParent`, `NoPermission`, `NotOurs`, `Damaged`, or `Io`, each with the path. Nothing is
    /// written into a folder that does not belong to a store.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, OPEN_FILES_MAX)
    }

    /// As [`RocksKv::open`], with at most `tables_max` table files open. A lower number only costs time.
    ///
    /// Errors: as [`RocksKv::open`].
    pub fn open_with(path: &Path, tables_max: i32) -> Result<Self> {
        Self::open_for(Access::ReadAndWrite, path, tables_max)
    }

    /// Opens a store without writing a byte, whatever its state. The lock of the database is not taken: no process may
    /// write to the store in the meantime.
    ///
    /// Errors: as [`RocksKv::open`], and `NotOurs` when there is no database.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        Self::open_for(Access::ReadOnly, path, OPEN_FILES_MAX)
    }

    fn open_for(access: Access, path: &Path, tables_max: i32) -> Result<Self> {
        folder::check(path)?;
        let has_database = folder::has_database(path);
        if !has_database && access == Access::ReadOnly {
            return Err(not_ours(path, "there is no database in it".to_owned()));
        }
        if has_database {
            let families = DB::list_cf(&Options::default(), path).map_err(|e| open_error(path, &e))?;
            let ours = |name: &str| name == DEFAULT_FAMILY || Cf::ALL.iter().any(|cf| cf.name() == name);
            if families.len() != Cf::ALL.len() + 1 || !families.iter().all(|name| ours(name)) {
                check_format(path, &families)?;
            }
            if let Some(other) = families.iter().find(|name| !ours(name)) {
                return Err(not_ours(path, format!("a RocksDB with a column family {other:?}")));
            }
        }
        let floors: Floors = std::array::from_fn(|_| Arc::default());
        let cache = block_cache();
        let families = Cf::ALL.iter().map(|cf| {
            let options = family_options(*cf, &cache, floors[*cf as usize].clone());
            ColumnFamilyDescriptor::new(cf.name(), options)
        });
        let default = ColumnFamilyDescriptor::new(DEFAULT_FAMILY, Options::default());
        let families = families.chain([default]);
        let db = match access {
            Access::ReadAndWrite => DB::open_cf_descriptors(&database_options(tables_max), path, families),
            Access::ReadOnly => DB::open_cf_descriptors_read_only(&database_options(tables_max), path, families, false),
        };
        let db = db.map_err(|e| open_error(path, &e))?;
        if db.iterator(IteratorMode::Start).next().is_some() {
            return Err(not_ours(path, "a RocksDB with rows of another program".to_owned()));
        }
        let sequence = db.latest_sequence_number();
        let warnings = SyncedFile::check(path, sequence, has_database)?.into_iter().collect();
        let synced = match access {
            Access::ReadAndWrite => Some(SyncedFile::open(path)?),
            Access::ReadOnly => None,
        };
        let writer = Mutex::new(Writer { synced, stats: Stats::default() });
        let kv = Self { db, path: path.to_owned(), floors, newest: Newest::default(), writer, warnings };
        kv.check_blob_files()?;
        Ok(kv)
    }

    /// Returns warnings for the operator about the state in which the store was found; each is a sentence.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Checks the number and size of the blob files. RocksDB opens such a file only when a block in it is read, so a
    /// missing or truncated file is detected here.
    fn check_blob_files(&self) -> Result<()> {
        let property = |name| {
            let of = |cf| self.db.property_int_value_cf(self.family(cf), name).ok().flatten().unwrap_or(0);
            Cf::ALL.into_iter().map(of).sum::<u64>()
        };
        let (files, bytes) = (property("rocksdb.num-blob-files"), property("rocksdb.live-blob-file-size"));
        let found = folder::blob_files(&self.path).map_err(|error| StoreError::Io {
            place: self.place(),
            doing: "listing the folder",
            reason: error.to_string(),
        })?;
        if found.len() as u64 >= files && found.iter().sum::<u64>() >= bytes {
            return Ok(());
        }
        let (found_files, found_bytes) = (found.len(), found.iter().sum::<u64>());
        let reason = format!(
            "files with blocks (*.blob) are missing or cut off: {files} files with {bytes} bytes were written, {found_files} with \
             {found_bytes} bytes exist"
        );
        Err(StoreError::damaged(self.place(), reason))
    }

    /// Writes a consistent copy of the store into the folder `to`, while the store is in use. The folder must not
    /// exist, but its parent must. If both are on one disk, files are shared by hard links, so that the copy first
    /// takes no space.
    ///
    /// The copy contains the signing state too: [`crate::Store::strip_signing_state`] removes it.
    ///
    /// Errors: `Io` when the copy cannot be written.
    pub fn checkpoint(&self, to: &Path) -> Result<()> {
        let failed = |error: &Error| StoreError::Io {
            place: to.display().to_string(),
            doing: "copying the store",
            reason: error.to_string(),
        };
        Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(to)).map_err(|e| failed(&e))
    }

    /// Returns the folder of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes the write buffers and rewrites every file, so that all rows that may be deleted are gone. For tests and
    /// tools: it takes as long as reading and writing the whole store.
    ///
    /// Errors: `Io` or `Damaged` when a flush fails.
    pub fn compact(&self) -> Result<()> {
        for cf in Cf::ALL {
            self.db.flush_cf(self.family(cf)).map_err(|e| self.error("flushing", &e))?;
            self.db.compact_range_cf(self.family(cf), None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }

    fn family(&self, cf: Cf) -> &ColumnFamily {
        self.db.cf_handle(cf.name()).expect("every family is opened with the database")
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("no thread panics while it writes")
    }

    fn error(&self, doing: &'static str, error: &Error) -> StoreError {
        database_error(&self.path, doing, error)
    }

    /// Returns the error for a failed read of the row `key`; for a range, of the first row at or after it.
    fn read_error(&self, cf: Cf, key: &[u8], error: &Error) -> StoreError {
        let row = format!("reading {} from key {}: {error}", cf.name(), schema::shown(key));
        // RocksDB opens blob files when it needs them, so a deleted file is detected here.
        if error.kind() == ErrorKind::Corruption || row.to_lowercase().contains("no such file") {
            return StoreError::damaged(self.place(), row);
        }
        StoreError::Io { place: self.place(), doing: "reading", reason: row }
    }
}

impl Kv for RocksKv {
    type View<'a> = RocksView<'a>;

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get_cf(self.family(cf), key).map_err(|e| self.read_error(cf, key, &e))
    }

    fn multi_get(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let found = self.db.batched_multi_get_cf(self.family(cf), keys.iter().copied(), true);
        found
            .into_iter()
            .zip(keys)
            .map(|(row, key)| Ok(row.map_err(|e| self.read_error(cf, key, &e))?.map(|value| value.to_vec())))
            .collect()
    }

    fn view(&self) -> RocksView<'_> {
        let (snapshot, mut options) = (self.db.snapshot(), ReadOptions::default());
        options.set_snapshot(&snapshot);
        RocksView { versions: Mutex::default(), kv: self, options, snapshot }
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        let families = Cf::ALL.map(|cf| self.family(cf));
        let mut rows = WriteBatch::with_capacity_bytes(batch.bytes() + 16 * batch.len());
        for op in &batch.ops {
            match &op.value {
                Some(value) => rows.put_cf(families[op.cf as usize], &op.key, value),
                None => rows.delete_cf(families[op.cf as usize], &op.key),
            }
        }
        let versions = batch.ops.iter().filter(|op| op.cf == Cf::State);
        self.newest.write(versions.filter_map(|op| {
            let (key, at) = schema::split_version(&op.key)?;
            Some((key, at, op.value.is_some()))
        }));
        let sync = durability == Durability::Synced;
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let mut writer = self.writer();
        let start = Instant::now();
        let written = match rows.is_empty() && sync {
            true => self.db.flush_wal(true),
            false => self.db.write_opt(rows, &options),
        };
        written.map_err(|e| self.error("writing", &e))?;
        writer.stats.batches += 1;
        writer.stats.batch_bytes.add(batch.bytes() as u64);
        if sync {
            writer.stats.syncs += 1;
            writer.stats.synced_us.add_us(start.elapsed());
            let sequence = self.db.latest_sequence_number();
            let noted = writer.synced.as_ref().map_or(Ok(()), |synced| synced.set(sequence));
            noted.map_err(|e| StoreError::Io {
                place: self.place(),
                doing: "recording the sync",
                reason: e.to_string(),
            })?;
        } else {
            writer.stats.buffered_us.add_us(start.elapsed());
        }
        Ok(())
    }

    fn forget_below(&self, cf: Cf, height: Height) -> Result<()> {
        if self.floors[cf as usize].fetch_max(height.0, Ordering::Relaxed) >= height.0 {
            return Ok(());
        }
        if cf.height_at() == HeightAt::KeyStart {
            let (from, to) = (schema::height(Height(0)), schema::height(height));
            // Dropping whole files includes the last key, but deleting a range of rows excludes it.
            let last = schema::last_of(Height(height.0 - 1));
            let _order = self.writer();
            self.db
                .delete_file_in_range_cf(self.family(cf), &from[..], &last[..])
                .map_err(|e| self.error("dropping files", &e))?;
            self.db.delete_range_cf(self.family(cf), from, to).map_err(|e| self.error("forgetting", &e))?;
        }
        Ok(())
    }

    fn stats(&self) -> Stats {
        self.writer().stats.clone()
    }

    fn sizes(&self) -> Vec<(Cf, u64)> {
        let property = |cf, name| self.db.property_int_value_cf(self.family(cf), name).ok().flatten().unwrap_or(0);
        let size = |cf| {
            property(cf, "rocksdb.live-sst-files-size")
                + property(cf, "rocksdb.live-blob-file-size")
                + property(cf, "rocksdb.cur-size-active-mem-table")
        };
        Cf::ALL.into_iter().map(|cf| (cf, size(cf))).collect()
    }
}

/// Snapshot of the database.
pub struct RocksView<'a> {
    /// The iterator of all reads of single versions, made by the first of them.
    versions: Mutex<Option<DBRawIterator<'a>>>,
    kv: &'a RocksKv,
    /// Options of reads of single rows.
    options: ReadOptions,
    snapshot: Snapshot<'a>,
}

impl<'a> RocksView<'a> {
    fn iterator(&self, cf: Cf, mut options: ReadOptions) -> DBRawIterator<'a> {
        options.set_snapshot(&self.snapshot);
        self.kv.db.raw_iterator_cf_opt(self.kv.family(cf), options)
    }

    /// Returns an iterator for searches of the versions of single keys. With `fills_cache`, what it reads stays in the block
    /// cache.
    fn versions_iterator(&self, fills_cache: bool) -> DBRawIterator<'a> {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        options.fill_cache(fills_cache);
        self.iterator(Cf::State, options)
    }
}

impl View for RocksView<'_> {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.kv.db.get_cf_opt(self.kv.family(cf), key, &self.options);
        value.map_err(|e| self.kv.read_error(cf, key, &e))
    }

    fn rows<'a>(&'a self, cf: Cf, prefix: &[u8], from: &[u8]) -> Rows<'a> {
        let from = prefix.max(from).to_vec();
        let mode = IteratorMode::From(&from, Direction::Forward);
        let rows = self.snapshot.iterator_cf_opt(self.kv.family(cf), scan_options(prefix_end(prefix)), mode);
        Box::new(rows.map(move |row| row.map_err(|e| self.kv.read_error(cf, &from, &e))))
    }

    fn between<'b>(&'b self, cf: Cf, from: &[u8], to: Option<Vec<u8>>) -> Result<Box<dyn Cursor + 'b>> {
        let iterator = self.iterator(cf, scan_options(to));
        let mut cursor = RocksCursor { kv: self.kv, cf, from: from.to_vec(), iterator };
        cursor.seek(from)?;
        Ok(Box::new(cursor))
    }

    fn versions(&self) -> Result<Box<dyn Cursor + '_>> {
        // The old values of 10,000 keys are in as many blocks, 40 MB, and would evict what commits need.
        let iterator = self.versions_iterator(false);
        Ok(Box::new(RocksCursor { kv: self.kv, cf: Cf::State, from: Vec::new(), iterator }))
    }

    fn version(&self, version: &[u8]) -> Result<Option<Row>> {
        let (key, height) = schema::split_version(version).expect("the key of a version ends with its height");
        if let Some(newest) = self.kv.newest.height(key).filter(|newest| *newest <= height) {
            let row = [key, &schema::version_height(newest)].concat();
            if let Some(value) = self.get(Cf::State, &row)? {
                return Ok(Some((row.into(), value.into())));
            }
        }
        let mut iterator = self.versions.lock().expect("no thread panics while it reads");
        let iterator = iterator.get_or_insert_with(|| self.versions_iterator(true));
        iterator.seek(version);
        iterator.status().map_err(|e| self.kv.read_error(Cf::State, version, &e))?;
        let row = iterator.item().filter(|(row, _)| row.len() == version.len() && row.starts_with(key));
        Ok(row.map(|(row, value)| (row.into(), value.into())))
    }

    fn at_or_below(&self, cf: Cf, key: &[u8]) -> Result<Option<Row>> {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        let mode = IteratorMode::From(key, Direction::Reverse);
        let row = self.snapshot.iterator_cf_opt(self.kv.family(cf), options, mode).next();
        row.transpose().map_err(|e| self.kv.read_error(cf, key, &e))
    }
}

struct RocksCursor<'a> {
    kv: &'a RocksKv,
    cf: Cf,
    /// Start of the range of keys, inclusive.
    from: Vec<u8>,
    iterator: DBRawIterator<'a>,
}

impl RocksCursor<'_> {
    /// Returns the error of the last move; `key` is the key at or after which it read.
    fn check(&self, key: &[u8]) -> Result<()> {
        self.iterator.status().map_err(|e| self.kv.read_error(self.cf, key, &e))
    }
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        let key = key.max(&self.from);
        self.iterator.seek(key);
        self.check(key)
    }

    fn advance(&mut self) -> Result<()> {
        if self.iterator.valid() {
            self.iterator.next();
        }
        self.check(&self.from)
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.iterator.item()
    }
}

/// Returns the options of a scan over the keys below `end`, if there is an end.
fn scan_options(end: Option<Vec<u8>>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    if let Some(end) = end {
        options.set_iterate_upper_bound(end);
    }
    options
}

/// Makes the filters of compactions of [`Cf::State`], one for each compaction.
struct ReplacedVersions {
    floor: Arc<AtomicU64>,
}

impl CompactionFilterFactory for ReplacedVersions {
    type Filter = Replaced;

    fn create(&mut self, _context: CompactionFilterContext) -> Replaced {
        Replaced::new(Height(self.floor.load(Ordering::Relaxed)))
    }

    fn name(&self) -> &CStr {
        c"cairn.replaced"
    }
}

impl CompactionFilter for Replaced {
    fn filter(&mut self, _level: u32, key: &[u8], _value: &[u8]) -> CompactionDecision {
        if self.is_next(key) { CompactionDecision::Remove } else { CompactionDecision::Keep }
    }

    fn name(&self) -> &CStr {
        c"cairn.replaced"
    }
}

/// Family that RocksDB requires; it must stay empty here.
const DEFAULT_FAMILY: &str = "default";

fn database_options(tables_max: i32) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_max_total_wal_size(LOG_BYTES_MAX);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_open_files(tables_max);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// Creates the block cache. By default it would have 64 shards of 512 KiB, and the index of a table file, which is one
/// block of up to 300 KiB, would often be evicted by that of another file in its shard.
fn block_cache() -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(BLOCK_CACHE_BYTES);
    options.set_num_shard_bits(CACHE_SHARD_BITS);
    Cache::new_lru_cache_opts(&options)
}

fn family_options(cf: Cf, cache: &Cache, floor: Arc<AtomicU64>) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_write_buffer_size(4 << 20);
    options.set_max_write_buffer_number(2);
    options.set_target_file_size_base(16 << 20);
    options.set_max_bytes_for_level_base(64 << 20);
    options.set_compression_type(DBCompressionType::Lz4);
    match cf {
        Cf::State => {
            table.set_bloom_filter(10.0, false);
            table.set_whole_key_filtering(false);
            options.set_prefix_extractor(SliceTransform::create("cairn.key", key_of_version, Some(has_whole_key)));
            options.set_memtable_prefix_bloom_ratio(0.05);
            options.set_write_buffer_size(8 << 20);
            options.set_periodic_compaction_seconds(REWRITE_SECONDS);
            options.set_compaction_filter_factory(ReplacedVersions { floor: floor.clone() });
        }
        Cf::Blocks => {
            // Block bodies are incompressible, and moving them between levels would write them repeatedly.
            options.set_write_buffer_size(8 << 20);
            options.set_compression_type(DBCompressionType::None);
            options.set_enable_blob_files(true);
            options.set_min_blob_size(2048);
            options.set_blob_file_size(64 << 20);
            options.set_enable_blob_gc(true);
        }
        Cf::Events => {
            table.set_bloom_filter(10.0, false);
        }
        Cf::BlockHash | Cf::Txs => {
            table.set_bloom_filter(10.0, false);
            options.set_compression_type(DBCompressionType::None);
        }
        _ => {}
    }
    if matches!(cf.height_at(), HeightAt::AfterPart | HeightAt::BeforeIndex | HeightAt::ValueStart) {
        options.set_periodic_compaction_seconds(REWRITE_SECONDS);
        options.set_compaction_filter("cairn.floor", move |_level, key, value| match cf.height_of(key, value) {
            Some(height) if height.0 < floor.load(Ordering::Relaxed) => CompactionDecision::Remove,
            _ => CompactionDecision::Keep,
        });
    }
    options.set_block_based_table_factory(&table);
    options
}

/// Returns true if these bytes contain a whole escaped key with its end mark.
fn has_whole_key(bytes: &[u8]) -> bool {
    whole_key_length(bytes).is_some()
}

/// Returns the escaped key with its end mark, without the height.
fn key_of_version(bytes: &[u8]) -> &[u8] {
    whole_key_length(bytes).map_or(bytes, |length| &bytes[..length])
}

/// Returns the length of the whole key in these bytes, if there is one. The database asks several times in a search, and
/// nearly always about a row, in which the place of the end mark is known.
fn whole_key_length(bytes: &[u8]) -> Option<usize> {
    match schema::split_version(bytes) {
        Some((key, _)) if key.ends_with(&schema::KEY_END) => Some(key.len()),
        _ => schema::terminated_length(bytes),
    }
}

/// Checks the format number of a database whose families are not exactly ours, which another version of Cairn may have
/// written. Opening it for writing would add the missing families, and that version could not open it again.
///
/// Errors: `OtherFormat` if it has another number.
fn check_format(path: &Path, families: &[String]) -> Result<()> {
    if !families.iter().any(|name| name == Cf::Meta.name()) {
        return Ok(());
    }
    let names = [DEFAULT_FAMILY, Cf::Meta.name()];
    let db = DB::open_cf_for_read_only(&Options::default(), path, names, false).map_err(|e| open_error(path, &e))?;
    let family = db.cf_handle(Cf::Meta.name()).expect("it was opened");
    let format = db.get_cf(family, meta::FORMAT).map_err(|e| database_error(path, "reading the format", &e))?;
    let Some(got) = format.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes) else { return Ok(()) };
    match got == FORMAT {
        true => Ok(()),
        false => Err(StoreError::OtherFormat { place: path.display().to_string(), got, expected: FORMAT }),
    }
}

fn not_ours(path: &Path, found: String) -> StoreError {
    StoreError::NotOurs { path: path.to_owned(), found }
}

/// Returns the reason why the database did not open, as an error for the operator.
fn open_error(path: &Path, error: &Error) -> StoreError {
    let text = error.to_string();
    let lower = text.to_lowercase();
    if lower.contains("lock file") || lower.contains("lock hold") || lower.contains("/lock:") {
        return StoreError::Locked { path: path.to_owned() };
    }
    if lower.contains("permission denied") {
        return StoreError::NoPermission { path: path.to_owned(), reason: text };
    }
    let file_is_missing = lower.contains("no such file");
    if file_is_missing || matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::NotFound) {
        return StoreError::damaged(path.display().to_string(), text);
    }
    database_error(path, "opening the database", error)
}

fn database_error(path: &Path, doing: &'static str, error: &Error) -> StoreError {
    let place = path.display().to_string();
    match error.kind() {
        ErrorKind::Corruption => StoreError::damaged(place, error),
        _ => StoreError::Io { place, doing, reason: error.to_string() },
    }
}

/// File with the sequence number of the last synced batch: number ‖ first 8 bytes of its BLAKE3 hash, so that a partial
/// write is ignored.
struct SyncedFile(File);

impl SyncedFile {
    /// Compares the noted number with that of the database. Returns a warning when a database that was used has no
    /// valid note.
    ///
    /// Errors: `Damaged` when the database recovered with less than was synced; `Io` when the file cannot be read.
    fn check(folder: &Path, sequence: u64, has_database: bool) -> Result<Option<String>> {
        let path = folder.join(folder::SYNCED_FILE);
        let read = std::fs::read(&path);
        let noted = match &read {
            Ok(bytes) => bytes.first_chunk().and_then(Self::decode),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Self::failed(&path, error)),
        };
        let Some(noted) = noted else {
            let what = if read.is_err() { "is missing" } else { "is not readable" };
            let warning = format!(
                "{} {what}: it cannot be checked now whether the database still has everything that was synced. If the \
                 folder was restored from an old copy, stop the node before it signs, and see \"Copies of a store\" in docs/operate.md",
                path.display()
            );
            return Ok((has_database && sequence > 0).then_some(warning));
        };
        if sequence < noted {
            let reason = format!("its log ends at write {sequence}, but write {noted} was synced");
            return Err(StoreError::damaged(folder.display().to_string(), reason));
        }
        Ok(None)
    }

    /// Opens the file for writing and creates it if it is absent.
    ///
    /// Errors: `Io` when the file cannot be opened.
    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(folder::SYNCED_FILE);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        Ok(Self(file.map_err(|error| Self::failed(&path, &error))?))
    }

    fn failed(path: &Path, error: &io::Error) -> StoreError {
        StoreError::Io { place: path.display().to_string(), doing: "opening the file", reason: error.to_string() }
    }

    fn set(&self, sequence: u64) -> io::Result<()> {
        self.0.write_all_at(&Self::encode(sequence), 0)
    }

    fn encode(sequence: u64) -> [u8; 16] {
        let number = sequence.to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&blake3(&number).0[..8]);
        bytes
    }

    fn decode(bytes: &[u8; 16]) -> Option<u64> {
        let sequence = u64::from_be_bytes(*bytes.first_chunk().expect("16 bytes begin with 8"));
        (Self::encode(sequence) == *bytes).then_some(sequence)
    }
}
