//! Persistent storage of one chain: every write is atomic, and every kept height can be read or restored.
//!
//! One database holds everything that a node must not lose. [`Store`] is the interface for the other crates; [`Kv`] is
//! the interface that it needs from a database. RocksDB (`RocksKv`, feature `rocksdb`) and memory ([`MemKv`], for the
//! simulator) implement [`Kv`] and pass the same test suite.
//!
//! # Column families
//! Heights are encoded as 8 bytes, big-endian, so that they sort as numbers. *Window* rows are deleted below the
//! earliest kept height.
//!
//! | family | key | value | kept |
//! |---|---|---|---|
//! | `meta` | name | one of the single rows that are listed below | permanently |
//! | `heads` | height | block id, header, size in bytes and number of transactions of the block | window |
//! | `blocks` | height ‖ block id | the block's bytes, stored once | window |
//! | `block_hash` | header hash | height | window |
//! | `commits` | height | the commit that this node saw; the canonical one is in the next block | window |
//! | `results` | height | results, events, updates, app hash | window |
//! | `state` | escaped key ‖ `00 00` ‖ height's complement | version: `01` ‖ value, or `00` (deleted) | window, and the version in force at its start |
//! | `changes` | height | the keys that the height changed, ascending | window |
//! | `recent` | part ‖ height's complement ‖ rest of the key | nothing: a revertible row, and the height of its last change | window |
//! | `validators` | height | the validator set, where it is stored | as `evidence`, and the row in force there |
//! | `params` | height | the parameters, where they changed | window, and the row in force at its start |
//! | `times` | height | time of the block ‖ the lowest height whose evidence has not expired ‖ hash ‖ hash of what the header must say ‖ round and signers of the last commit | as `evidence` |
//! | `evidence` | height ‖ validator | height of the block with evidence of it ‖ hash of the evidence | while not expired |
//! | `evidence_waiting` | height ‖ validator, or the start of an attack's hash | evidence that waits for a block | until it is in one, or expired |
//! | `txs` | transaction id; then height ‖ index, if the block did not execute it | height ‖ index in the block | window |
//! | `events` | index key | numbers of the events that carry the value | window |
//! | `trees` | bucket of a tree of the application | its hash at the height of the row `trees` in `meta` | derived from `state` |
//!
//! - `meta` has the rows `format`, `chain_id`, `genesis`, `tip`, `earliest`, `hard_state`, `signing_floor`,
//!   `genesis_file`, `trees`, and `rewind` while a rewind is not finished: rows of heights above the tip are then stored, and no
//!   read of the chain or the state sees them.
//! - `blocks`: a block that this node precommitted is stored before it is committed; the commit then moves the tip over
//!   it without writing the bytes again. The batch of a height deletes the other blocks that were stored for that
//!   height.
//! - `changes` has for each key twice its length, plus 1 if the height deleted it, as a variable-length number, and the
//!   key. The height of the value that the change replaced follows the key of a revertible row, as a variable-length
//!   number, plus 1; 0 if there was none.
//! - `recent` has one row for each revertible row ([`types::REVERTIBLE`]) that changed in the window. Part is the start of
//!   its key, which names a namespace.
//! - `times`, `evidence` and `validators` are kept from the lowest height on whose evidence has not expired, for the block
//!   after the earliest kept height; that can be below the window. The heights in `evidence` and `evidence_waiting` are
//!   those of the misbehavior.
//! - `validators` has a row where the set is not the previous set rotated by one turn, and every [`VALIDATORS_EVERY`]
//!   heights.
//! - `events` has the key what ‖ escaped `kind.key` ‖ `00 00` ‖ escaped value ‖ `00 00` ‖ height ‖ index, for
//!   attributes that are marked for indexing.
//!
//! The versions of a key sort from the newest to the oldest, so its value at height *h* is in the first row that is not
//! above *h*. The genesis state has the height before the initial one. The escape (`00` → `00 FF`) keeps the rows of one
//! key together and the keys in order. A version that another one replaced at or below the start of the window is
//! dropped by a compaction; a deletion there is removed with what is under it by [`Store::prune`]. The database verifies
//! a checksum of every block, record and blob that it reads; this crate adds no second checksum.
//!
//! # Invariants
//! - **S1** A height is one batch: block, commit, results, writes, history, indexes and tip are either all stored or
//!   all absent (`a_crash_at_any_write_leaves_a_complete_height`).
//! - **S2** The batch of a height is not synced; [`Store::write_ahead`] is, and makes all earlier batches durable.
//!   After a crash of the machine the store is at exactly one height, at or above the parent of the last write-ahead's
//!   height, with the hard state and the bytes of the blocks precommitted above it
//!   (`a_crash_that_loses_the_batch_keeps_hard_state_and_pending_block`).
//! - **S3** The hard state never moves back in (height, round, step), nor does the signing floor; rewinding does not
//!   change them (`hard_state_never_moves_back`).
//! - **S4** A reader sees one height, whatever is committed in the meantime
//!   (`a_reader_sees_one_height_while_others_are_committed`).
//! - **S5** For every kept height, the state that is read later equals the state at the commit
//!   (`every_kept_height_reads_as_it_was_when_committed`).
//! - **S6** A read outside the window is an error that contains the bound, never an empty answer
//!   (`reads_below_the_window_are_pruned_and_above_the_tip_are_future`).
//! - **S7** Rows that are deleted from the disk were durably outside the window before, and no reader still needs them
//!   (`a_crash_after_pruning_does_not_restore_the_old_window`, `a_window_that_moved_before_a_kill_can_move_back`,
//!   `a_held_reader_keeps_its_height_through_a_prune`).
//! - **S8** Rewinding to a height leaves exactly the rows that existed when it was committed
//!   (`rewind_leaves_exactly_the_rows_of_that_height`). After an interruption the tip is there already, and
//!   [`Store::unfinished_rewind`] says so until the rows are gone or their heights committed again
//!   (`a_rewind_that_is_interrupted_at_any_write_is_continued`).

mod changes;
mod error;
mod evidence;
#[cfg(feature = "rocksdb")]
mod folder;
mod hold;
mod index;
mod kv;
mod lookup;
mod mem;
mod mutation;
#[cfg(feature = "rocksdb")]
mod newest;
mod reader;
mod recent;
mod rewind;
#[cfg(feature = "rocksdb")]
mod rocks;
mod schema;
mod store;
mod trees;
mod txs;
mod verify;
mod window;

pub use changes::Change;
pub use error::{Result, StoreError};
pub use index::{INDEXED_BYTES_MAX, INDEXED_EVENTS_MAX, IndexRow, Indexed, Position};
pub use kv::{Batch, Cf, Cursor, Durability, HeightAt, Histogram, Kv, Row, Rows, Stats, View};
pub use mem::{Fault, MemDisk, MemKv, MemView};
#[cfg(feature = "mutations")]
pub use mutation::{BrokenRule, Mutation};
pub use reader::StateReader;
pub use rewind::{BlocksAbove, Rewind, Undone};
#[cfg(feature = "rocksdb")]
pub use rocks::{BLOCK_CACHE_BYTES, OPEN_FILES_MAX, RocksKv, RocksView, WRITE_BUFFERS_BYTES};
pub use schema::{Genesis, Head, Tip};
pub use store::{Begun, CommitBatch, FORMAT, GenesisBatch, Store, VALIDATORS_EVERY, begun_with, chain_of};
pub use verify::{FINDINGS_MAX, FamilyCount, Finding, Report, Verification};
pub use window::FORGET_STEP;
