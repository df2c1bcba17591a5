//! The interface that the store needs from a database: ordered rows in column families, atomic batches, snapshots, and
//! deletion of rows by height.

use types::Height;

use crate::{error::Result, schema};

/// A column family: a separate ordered map of keys to values. The table in the crate's documentation describes the rows
/// of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cf {
    /// Named single rows: format, chain id, tip, earliest height, hard state, signing floor, genesis.
    Meta,
    /// Height → header, block id and sizes.
    Heads,
    /// Height ‖ block id → block bytes; above the tip, blocks that we precommitted.
    Blocks,
    /// Block hash → height of the block.
    BlockHash,
    /// Height → the commit that this node saw.
    Commits,
    /// Height → results of the block.
    Results,
    /// Escaped key ‖ complement of the height → the value that the height gave to the key of the application's state.
    State,
    /// Height → the keys that the height changed.
    Changes,
    /// Part ‖ complement of the height ‖ rest of the key → nothing; the height of the last change of a revertible row.
    Recent,
    /// Height → validator set, where it is not the previous set rotated by one turn, and at fixed intervals.
    Validators,
    /// Height → parameters, where they changed.
    Params,
    /// Height → time of the block ‖ the lowest height whose evidence has not expired ‖ what judges attacks on light clients.
    Times,
    /// Height ‖ validator → height of the first block with evidence that it misbehaved at that height ‖ hash of the evidence.
    Evidence,
    /// Height ‖ validator, or the start of an attack's hash → evidence that waits for a block.
    EvidenceWaiting,
    /// Transaction id, and height ‖ index if the block did not execute it → height ‖ index.
    Txs,
    /// Attribute ‖ value ‖ height ‖ index → the events that carry it.
    Events,
    /// Bucket of a tree of the application → its hash. Derived from the state.
    Trees,
}

/// Position of the height in a row that can be deleted by height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeightAt {
    /// The key begins with the height, so the rows of one height are adjacent.
    KeyStart,
    /// The key ends with the complement of the height. The rows of one key are its versions, and a version is deleted
    /// by the height of the next newer one, which replaces it.
    Version,
    /// The complement of the height follows the name of a part of the state.
    AfterPart,
    /// The key ends with the height and a 4-byte index.
    BeforeIndex,
    /// The value begins with the height.
    ValueStart,
    /// The row has no height and is never deleted by height.
    Nowhere,
}

impl Cf {
    /// All column families, in the order of their declaration.
    pub const ALL: [Self; 17] = [
        Self::Meta,
        Self::Heads,
        Self::Blocks,
        Self::BlockHash,
        Self::Commits,
        Self::Results,
        Self::State,
        Self::Changes,
        Self::Recent,
        Self::Validators,
        Self::Params,
        Self::Times,
        Self::Evidence,
        Self::EvidenceWaiting,
        Self::Txs,
        Self::Events,
        Self::Trees,
    ];

    /// Returns the name of the family on disk and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Heads => "heads",
            Self::Blocks => "blocks",
            Self::BlockHash => "block_hash",
            Self::Commits => "commits",
            Self::Results => "results",
            Self::State => "state",
            Self::Changes => "changes",
            Self::Recent => "recent",
            Self::Validators => "validators",
            Self::Params => "params",
            Self::Times => "times",
            Self::Evidence => "evidence",
            Self::EvidenceWaiting => "evidence_waiting",
            Self::Txs => "txs",
            Self::Events => "events",
            Self::Trees => "trees",
        }
    }

    /// Returns where the rows of this family contain their height.
    pub fn height_at(self) -> HeightAt {
        match self {
            Self::Meta | Self::Trees => HeightAt::Nowhere,
            Self::State => HeightAt::Version,
            Self::Recent => HeightAt::AfterPart,
            Self::Events => HeightAt::BeforeIndex,
            Self::BlockHash | Self::Txs => HeightAt::ValueStart,
            _ => HeightAt::KeyStart,
        }
    }

    /// Returns the height of a row of this family; `None` for a row that does not have the family's format.
    pub fn height_of(self, key: &[u8], value: &[u8]) -> Option<Height> {
        let bytes = match self.height_at() {
            HeightAt::KeyStart => key.first_chunk::<8>(),
            HeightAt::Version => return schema::split_version(key).map(|(_, at)| at),
            HeightAt::AfterPart => return schema::split_recent(key).map(|(_, at, _)| at),
            HeightAt::BeforeIndex => key.last_chunk::<12>().and_then(|end| end.first_chunk::<8>()),
            HeightAt::ValueStart => value.first_chunk::<8>(),
            HeightAt::Nowhere => None,
        }?;
        Some(Height(u64::from_be_bytes(*bytes)))
    }
}

/// Durability of a write in a crash of the machine. A crash of the process alone loses no write of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The write keeps its order and is durable at the latest with the next synced write.
    Buffered,
    /// The write and all earlier writes are durable when the call returns.
    Synced,
}

/// Change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) cf: Cf,
    pub(crate) key: Vec<u8>,
    /// New value of the row; `None` deletes the row.
    pub(crate) value: Option<Vec<u8>>,
}

/// Changes of rows that are written atomically. A later change of the same row replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(crate) ops: Vec<Op>,
    bytes: usize,
}

impl Batch {
    /// Creates a batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a change that sets a row.
    pub fn put(&mut self, cf: Cf, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.push(Op { cf, key: key.into(), value: Some(value.into()) });
    }

    /// Adds a change that deletes a row; the row may be absent.
    pub fn delete(&mut self, cf: Cf, key: impl Into<Vec<u8>>) {
        self.push(Op { cf, key: key.into(), value: None });
    }

    fn push(&mut self, op: Op) {
        self.bytes += op.key.len() + op.value.as_ref().map_or(0, Vec::len);
        self.ops.push(op);
    }

    /// Returns the total size of keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sorts the changes by their rows, so that the database finds the places of neighbours faster. Of two changes of the
    /// same row the later one stays the later.
    pub(crate) fn sort(&mut self) {
        self.ops.sort_by(|a, b| (a.cf, &a.key).cmp(&(b.cf, &b.key)));
    }

    /// Returns the number of changes in the batch.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Returns true if the batch has no changes.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// A row of a column family: its key and its value.
pub type Row = (Box<[u8]>, Box<[u8]>);

/// Iterator over rows in ascending order of their keys. Dropping it stops the scan.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row>> + 'a>;

/// A place among the rows of a column family that ascends, for reads that skip most rows.
///
/// Errors: every method returns `Io` or `Damaged`, as described at [`View`].
pub trait Cursor {
    /// Moves to the first row whose key is not below `key`.
    ///
    /// Errors: as described at [`Cursor`].
    fn seek(&mut self, key: &[u8]) -> Result<()>;

    /// Moves to the next row; at the end it stays there.
    ///
    /// Errors: as described at [`Cursor`].
    fn advance(&mut self) -> Result<()>;

    /// Returns key and value of the current row; `None` at the end.
    fn row(&self) -> Option<(&[u8], &[u8])>;
}

/// Snapshot of all rows at one moment; later writes are not visible in it.
///
/// Errors: every method returns `StoreError::Io` when the read fails, and `StoreError::Damaged` when the bytes read are
/// not the bytes written.
pub trait View: Send + Sync {
    /// Returns the value under `key`.
    ///
    /// Errors: `Io` or `Damaged`, as described at [`View`].
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Returns the rows whose keys start with `prefix` and are not below `from`, ascending.
    fn rows<'a>(&'a self, cf: Cf, prefix: &[u8], from: &[u8]) -> Rows<'a>;

    /// Returns a cursor over the rows whose keys start with `prefix`, at the first of them.
    ///
    /// Errors: `Io` or `Damaged`, as described at [`View`].
    fn cursor<'a>(&'a self, cf: Cf, prefix: &[u8]) -> Result<Box<dyn Cursor + 'a>> {
        self.between(cf, prefix, prefix_end(prefix))
    }

    /// Returns a cursor over the rows whose keys are not below `from`, and below `to` if there is an end, at the first of
    /// them.
    ///
    /// Errors: `Io` or `Damaged`, as described at [`View`].
    fn between<'a>(&'a self, cf: Cf, from: &[u8], to: Option<Vec<u8>>) -> Result<Box<dyn Cursor + 'a>>;

    /// Returns a cursor over [`Cf::State`] for searches of the versions of one key after the other. Each search begins with
    /// [`Cursor::seek`] to a version; the rows after the last version of its key may be left out. Cheaper than
    /// [`View::cursor`].
    ///
    /// Errors: `Io` or `Damaged`, as described at [`View`].
    fn versions(&self) -> Result<Box<dyn Cursor + '_>>;

    /// Returns the newest version in [`Cf::State`] that is not above the one with the key `version`, and has the same
    /// key of the application. Cheaper than a cursor.
    ///
    /// Errors: `Io` or `Damaged`, as described at [`View`].
    fn version(&self, version: &[u8]) -> Result<Option<Row>>;

    /// Returns the row with the highest key that is not above `key`.
    ///
    /// Errors: `Io` or `Damaged`, as described at [`View`].
    fn at_or_below(&self, cf: Cf, key: &[u8]) -> Result<Option<Row>>;
}

/// A database with column families. Methods take `&self`; writes of several threads are executed one after another.
///
/// Errors: `StoreError::Io` when the disk fails, `StoreError::Damaged` when bytes are not what was written. After a
/// failed write the content of the disk is unknown, and the caller must stop.
pub trait Kv: Send + Sync + 'static {
    /// A consistent snapshot, held as long as a reader needs it.
    type View<'a>: View
    where
        Self: 'a;

    /// Returns the location of the database, for messages.
    fn place(&self) -> String;

    /// Returns the newest value under `key`.
    ///
    /// Errors: `Io` or `Damaged`, as described at [`Kv`].
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Returns the newest values under `keys`, which must ascend; cheaper than one `get` per key.
    ///
    /// Errors: `Io` or `Damaged`, as described at [`Kv`].
    fn multi_get(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>>;

    /// Returns a snapshot of all rows at the moment of the call.
    fn view(&self) -> Self::View<'_>;

    /// Writes the whole batch or nothing, after every earlier batch.
    ///
    /// Errors: `Io` or `Damaged`, as described at [`Kv`].
    fn write(&self, batch: Batch, durability: Durability) -> Result<()>;

    /// Allows the database to delete rows of `cf` below `height` ([`Cf::height_of`]) at any time from now on, by files
    /// and by compaction rather than row by row. A version in [`Cf::State`] stays until a newer version below `height`
    /// replaces it.
    ///
    /// Views do not protect these rows. The bound never moves back and is not stored across a reopen. Call this off the
    /// commit path, and only after the caller's own lower bound is durable.
    ///
    /// Errors: `Io` or `Damaged`, as described at [`Kv`].
    fn forget_below(&self, cf: Cf, height: Height) -> Result<()>;

    /// Returns counters since the database was opened. Cheap.
    fn stats(&self) -> Stats;

    /// Returns the approximate size of each column family on disk (in memory for [`crate::MemKv`]), in bytes. Reads
    /// file metadata; for metrics.
    fn sizes(&self) -> Vec<(Cf, u64)>;
}

/// Finds the versions that may be deleted, while it is shown the rows of [`Cf::State`] in ascending order, whole or in
/// part: those that a newer version below `bound` replaces.
pub(crate) struct Replaced {
    bound: Height,
    /// The key of the row before, escaped and terminated.
    key: Vec<u8>,
    /// True if a version of `key` below the bound was shown.
    is_known: bool,
}

impl Replaced {
    pub(crate) fn new(bound: Height) -> Self {
        Self { bound, key: Vec::new(), is_known: false }
    }

    /// Returns true if the next row may be deleted.
    pub(crate) fn is_next(&mut self, row: &[u8]) -> bool {
        let Some((key, at)) = schema::split_version(row) else { return false };
        if *key != *self.key {
            self.key.clear();
            self.key.extend(key);
            self.is_known = false;
        }
        let is_replaced = self.is_known;
        self.is_known |= at < self.bound;
        is_replaced
    }
}

/// Counters of writes since the database was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Number of batches that were written.
    pub batches: u64,
    /// Number of batches that were synced, a part of `batches`.
    pub syncs: u64,
    /// Bytes of keys and values per batch.
    pub batch_bytes: Histogram,
    /// Time to write a buffered batch, µs. Empty for a database without a clock.
    pub buffered_us: Histogram,
    /// Time to write a synced batch, µs.
    pub synced_us: Histogram,
}

/// Histogram of numbers with buckets at powers of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Number of the values that were counted.
    pub count: u64,
    /// Sum of the values that were counted.
    pub sum: u64,
    /// `buckets[i]` counts values below `2^i` that no lower bucket counts; the last bucket also counts all larger
    /// values.
    pub buckets: [u64; Self::BUCKETS],
}

impl Histogram {
    /// Number of buckets: up to 2^27, which is two minutes in µs and eight times the largest block in bytes.
    pub const BUCKETS: usize = 28;

    /// Adds one value to the histogram.
    pub fn add(&mut self, number: u64) {
        let bucket = (u64::BITS - number.leading_zeros()) as usize;
        self.count += 1;
        self.sum = self.sum.saturating_add(number);
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
    }

    /// Adds a duration to the histogram, in µs.
    pub fn add_us(&mut self, time: std::time::Duration) {
        self.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// Returns the lowest key above every key with this prefix; `None` when there is no such key.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
