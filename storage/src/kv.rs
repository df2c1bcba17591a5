//! What the store asks of a database: ordered rows in column families, atomic batches, snapshots, and forgetting by height.

use types::Height;

use crate::error::Result;

/// A column family: an ordered map of its own. The table in the crate's documentation says what each holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cf {
    /// Named single rows: format, chain id, tip, earliest height, hard state, signing floor, genesis.
    Meta,
    /// Height → header, block id and sizes.
    Heads,
    /// Height ‖ block hash → block bytes; above the tip, blocks that we precommitted.
    Blocks,
    /// Block hash → height.
    BlockHash,
    /// Height → the commit that we saw.
    Commits,
    /// Height → results of the block.
    Results,
    /// Key → value, the application's state at the tip.
    State,
    /// Escaped key ‖ height → what the key held before that height.
    History,
    /// Height → the keys that the height changed.
    Changes,
    /// Height → validator set, where it is not the previous set rotated by one.
    Validators,
    /// Height → parameters, where they changed.
    Params,
    /// Transaction id → height ‖ index.
    Txs,
    /// Attribute ‖ value ‖ height ‖ index → the events that carry it.
    Events,
}

/// Where a row carries the height that it can be forgotten by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeightAt {
    /// The key begins with it: rows of one height lie together.
    KeyStart,
    /// The key ends with it.
    KeyEnd,
    /// The key ends with it and 4 bytes more.
    BeforeIndex,
    /// The value begins with it.
    ValueStart,
    /// Rows are never forgotten.
    Nowhere,
}

impl Cf {
    /// Every column family.
    pub const ALL: [Self; 13] = [
        Self::Meta,
        Self::Heads,
        Self::Blocks,
        Self::BlockHash,
        Self::Commits,
        Self::Results,
        Self::State,
        Self::History,
        Self::Changes,
        Self::Validators,
        Self::Params,
        Self::Txs,
        Self::Events,
    ];

    /// The name on disk, and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Heads => "heads",
            Self::Blocks => "blocks",
            Self::BlockHash => "block_hash",
            Self::Commits => "commits",
            Self::Results => "results",
            Self::State => "state",
            Self::History => "history",
            Self::Changes => "changes",
            Self::Validators => "validators",
            Self::Params => "params",
            Self::Txs => "txs",
            Self::Events => "events",
        }
    }

    /// Where its rows carry their height.
    pub fn height_at(self) -> HeightAt {
        match self {
            Self::Meta | Self::State => HeightAt::Nowhere,
            Self::History => HeightAt::KeyEnd,
            Self::Events => HeightAt::BeforeIndex,
            Self::BlockHash | Self::Txs => HeightAt::ValueStart,
            _ => HeightAt::KeyStart,
        }
    }

    /// The height that a row of this family can be forgotten by; none for a row that is not of its shape.
    pub fn height_of(self, key: &[u8], value: &[u8]) -> Option<Height> {
        let bytes = match self.height_at() {
            HeightAt::KeyStart => key.first_chunk::<8>(),
            HeightAt::KeyEnd => key.last_chunk::<8>(),
            HeightAt::BeforeIndex => key.last_chunk::<12>().and_then(|end| end.first_chunk::<8>()),
            HeightAt::ValueStart => value.first_chunk::<8>(),
            HeightAt::Nowhere => None,
        }?;
        Some(Height(u64::from_be_bytes(*bytes)))
    }
}

/// Whether a write may be lost by a crash of the machine. A crash of the process alone loses neither kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In order, and durable with the next synced write at the latest.
    Buffered,
    /// Durable when the call returns, and everything written before it too.
    Synced,
}

/// One change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) cf: Cf,
    pub(crate) key: Vec<u8>,
    /// `None` deletes.
    pub(crate) value: Option<Vec<u8>>,
}

/// Rows to write together: all of them or none. A later change of the same row wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(crate) ops: Vec<Op>,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a row.
    pub fn put(&mut self, cf: Cf, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(Op { cf, key: key.into(), value: Some(value.into()) });
    }

    /// Removes a row; absent is fine.
    pub fn delete(&mut self, cf: Cf, key: impl Into<Vec<u8>>) {
        self.ops.push(Op { cf, key: key.into(), value: None });
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.ops.iter().map(|op| op.key.len() + op.value.as_ref().map_or(0, Vec::len)).sum()
    }

    /// Changes in it.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// A key and its value.
pub type Row = (Box<[u8]>, Box<[u8]>);

/// Rows in ascending order of their keys. Dropping it stops the scan.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row>> + 'a>;

/// The rows of one moment; later writes do not show.
pub trait View: Send + Sync {
    /// The value under `key`.
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Rows whose keys start with `prefix` and are not below `from`, ascending.
    fn rows<'a>(&'a self, cf: Cf, prefix: &[u8], from: &[u8]) -> Rows<'a>;

    /// The row with the highest key that is not above `key`.
    fn at_or_below(&self, cf: Cf, key: &[u8]) -> Result<Option<Row>>;
}

/// A database. Methods take `&self`; writes of several threads happen one after another.
///
/// Errors: `StoreError::Io` when the disk refuses, `StoreError::Damaged` when bytes are not what was written. After a failed
/// write nobody knows what is on disk: the caller stops.
pub trait Kv: Send + Sync {
    /// A consistent view, held as long as a reader needs it.
    type View<'a>: View
    where
        Self: 'a;

    /// Where it lives, for messages.
    fn place(&self) -> String;

    /// The newest value under `key`.
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The newest values under `keys`, which ascend; cheaper than as many gets.
    fn multi_get(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>>;

    /// All rows as they are now.
    fn view(&self) -> Self::View<'_>;

    /// Writes the whole batch or nothing, after every earlier batch.
    fn write(&self, batch: Batch, durability: Durability) -> Result<()>;

    /// Allows rows of `cf` below `height` ([`Cf::height_of`]) to vanish at any time from now on, by files and by compaction
    /// rather than row by row. Views do not protect them. Never moves back; not remembered across a reopen. Call it off the
    /// commit path, and only once the caller's own floor is durable.
    fn forget_below(&self, cf: Cf, height: Height) -> Result<()>;

    /// Counters since the database was opened. Cheap.
    fn stats(&self) -> Stats;

    /// Approximate bytes on disk (in memory for [`crate::MemKv`]) of each column family. Reads file metadata; for metrics.
    fn sizes(&self) -> Vec<(Cf, u64)>;
}

/// Counters since the database was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches written.
    pub batches: u64,
    /// Of these, the synced ones.
    pub syncs: u64,
    /// Bytes of keys and values in a batch.
    pub batch_bytes: Histogram,
    /// Time of a buffered batch, µs. Empty for a database without a clock.
    pub buffered_us: Histogram,
    /// Time of a synced batch, µs.
    pub synced_us: Histogram,
}

/// Numbers, counted by their magnitude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// `buckets[i]` counts numbers below `2^i` that no lower bucket counts; the last one counts all larger ones too.
    pub buckets: [u64; Self::BUCKETS],
}

impl Histogram {
    /// Buckets: up to 2^27, which is two minutes in µs and eight times the largest block in bytes.
    pub const BUCKETS: usize = 28;

    /// Counts one number.
    pub fn add(&mut self, number: u64) {
        let bucket = (u64::BITS - number.leading_zeros()) as usize;
        self.count += 1;
        self.sum = self.sum.saturating_add(number);
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
    }

    /// Counts a time in µs.
    pub fn add_us(&mut self, time: std::time::Duration) {
        self.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// The lowest key above every key with this prefix; none when there is no such key.
#[cfg(feature = "rocksdb")]
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
