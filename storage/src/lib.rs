//! The store: nothing is half-written; any kept height can be read or restored.
//!
//! One database holds everything a node must not lose. [`Store`] is what the others use; [`Kv`] is what it asks of a database, with
//! RocksDB (`RocksKv`, feature `rocksdb`) and memory ([`MemKv`], for the simulator) behind one test suite.
//!
//! # Column families
//! Heights are 8 bytes, big-endian, so that they sort as numbers. *Window* rows are forgotten below the earliest kept height.
//!
//! | family | key | value | lives |
//! |---|---|---|---|
//! | `meta` | name | `format`, `chain_id`, `genesis`, `tip`, `earliest`, `hard_state`, `signing_floor`, `genesis_file` | for ever |
//! | `heads` | height | block id, header, bytes and transactions of the block | window |
//! | `blocks` | height ‖ block id | the block's bytes, once: a block we precommitted becomes the committed one by the tip moving over it | window; losers of a height go with its batch |
//! | `block_hash` | header hash | height | window |
//! | `commits` | height | the commit we saw; the canonical one is in the next block | window |
//! | `results` | height | results, events, updates, app hash | window |
//! | `state` | key | value, at the tip | for ever |
//! | `history` | escaped key ‖ `00 00` ‖ height | what the key held before that height: `00`, or `01` ‖ value | window |
//! | `changes` | height | the keys it changed; with `history` the height's change record | window |
//! | `validators` | height | the set, where it is not the set before rotated by one turn, and every [`VALIDATORS_EVERY`] heights | window, and the row in force at its start |
//! | `params` | height | the parameters, where they changed | likewise |
//! | `txs` | transaction id | height ‖ index in the block | window |
//! | `events` | what ‖ escaped `kind.key` ‖ `00 00` ‖ escaped value ‖ `00 00` ‖ height ‖ index | numbers of the events that carry the value, where the attribute is marked for indexing | window |
//!
//! A key's value at height *h* is the old value of the first `history` row above *h*, or its row in `state` if there is none. The
//! escape (`00` → `00 FF`) keeps the rows of one key together and the keys in order. The database checksums every block, record
//! and blob it reads; there is no second checksum.
//!
//! # Invariants
//! - **S1** A height is one batch: block, commit, results, writes, history, indexes and tip are all there or none is
//!   (`crash_at_every_write_leaves_a_whole_height`).
//! - **S2** A height's batch is not synced; [`Store::write_ahead`] is, and makes all earlier batches durable. A crash of the machine
//!   leaves the store exactly at a height at or above the last write-ahead's parent, with the hard state and the bytes of the
//!   blocks precommitted above it (`a_crash_that_loses_the_batch_keeps_hard_state_and_pending_block`).
//! - **S3** The hard state never moves back in (height, round, step), nor does the signing floor; rewinding does not touch them
//!   (`hard_state_never_moves_back`).
//! - **S4** A reader sees one height, whatever is committed meanwhile (`a_reader_sees_one_height_while_others_are_committed`).
//! - **S5** For every kept height, state read later equals state when committed
//!   (`every_kept_height_reads_as_it_was_when_committed`).
//! - **S6** A read outside the window is an error with the bound, never an empty answer
//!   (`below_the_window_is_pruned_and_above_the_tip_is_future`).
//! - **S7** What is forgotten on disk was out of the window durably before, and no reader still needs it
//!   (`a_crash_after_forgetting_does_not_bring_the_old_window_back`, `a_held_reader_keeps_its_height_through_a_prune`).
//! - **S8** Rewinding to a height leaves the rows that were there when it was committed
//!   (`rewind_leaves_exactly_the_rows_of_that_height`).

mod error;
#[cfg(feature = "rocksdb")]
mod folder;
mod index;
mod keys;
mod kv;
mod lookup;
mod mem;
mod reader;
mod rewind;
#[cfg(feature = "rocksdb")]
mod rocks;
mod store;
mod verify;
mod window;

pub use error::{Result, StoreError};
pub use index::{INDEXED_BYTES_MAX, INDEXED_EVENTS_MAX, IndexRow, Indexed, Position};
pub use keys::{Genesis, Head, Tip};
pub use kv::{Batch, Cf, Durability, HeightAt, Histogram, Kv, Row, Rows, Stats, View};
pub use lookup::Change;
pub use mem::{Fault, MemDisk, MemKv, MemView};
pub use reader::StateReader;
#[cfg(feature = "rocksdb")]
pub use rocks::{BLOCK_CACHE_BYTES, OPEN_FILES_MAX, RocksKv, RocksView, WRITE_BUFFERS_BYTES};
pub use store::{Begun, CommitBatch, FORMAT, GenesisBatch, Store, VALIDATORS_EVERY, begun_with, chain_of};
pub use verify::{FINDINGS_MAX, FamilyCount, Finding, Report, Verification};
pub use window::FORGET_STEP;
