//! What a block means: transactions in, rows to write, results and an app hash out.
//!
//! Everything here is a function of its arguments: no clock, no file, no thread, no map whose order depends on the process.
//! Two nodes that execute the same block on the same state write the same bytes.
//!
//! ```text
//!            Reader (state before) ──┐
//!  VerifiedTx, VerifiedTx, … ──> execute ──> Outcome { writes, results, update }
//!                                    │                    │
//!                 View: overlay, all or nothing      App::commit(update), together with storing the writes
//! ```
//!
//! **State** is split in two, and the app hash commits to both: `app_hash = BLAKE3("app" ‖ root_N ‖ root_R)`.
//!
//! | part | contents | rows under | root |
//! |---|---|---|---|
//! | N, never reverted | money, nonces, executed unordered transactions, parameters | `n` | [`tree::Tree`] over its rows |
//! | R, revertible | namespaces; there are none yet | `r` | map from namespace id to the namespace's root: empty |
//!
//! **Keys of N** (raw keys; [`tree::rows`] says how they lie in rows; values are protobuf, `types/proto/cairn.proto`):
//!
//! | raw key | value | removed |
//! |---|---|---|
//! | `a` ‖ address (20) | `Account`: balance, nonce | when both are 0 |
//! | `d` ‖ digest (32) | `Executed`: the height that executed this unordered transaction | some time after the height it expires at |
//! | `e` ‖ height (8) | `Expiry`: how many unordered transactions expire at this height, and in how many rows they are listed | with the last of them |
//! | `e` ‖ height (8) ‖ row (4) | `Digests`: up to 1024 of them | with them |
//! | `f` | `Amount`: the fees collected | never |
//! | `o` | `Amount`: the first height that has passed and whose list is not forgotten yet | when all lists of the past are forgotten |
//! | `p` | `Params` | never |
//! | `s` | `Amount`: the total supply | never |
//!
//! **What bounds the work of a block**: its own bytes and number of transactions, apart from a constant. Nothing that earlier blocks
//! left behind is done at once.
//!
//! | work | bound |
//! |---|---|
//! | decoding, checking signatures | the block's bytes, `BLOCK_TXS_MAX` transactions, one signature each (most were checked before) |
//! | a transaction | its fee, its nonce or digest, and `TX_MESSAGES_MAX` transfers of two accounts each; undoing a failed one is as much |
//! | listing unordered transactions by expiry | one row for each, and one for each height at which some expire |
//! | forgetting those that expired | [`FORGOTTEN_MIN`] rows, [`FORGOTTEN_PER_TX`] for each unordered transaction, and the row of a list begun |
//! | the tree | for each row written: a bucket of about 10 leaves, and the levels above; two keys that share 64 bits of their paths cost a scan of these two, and 2^32 hashes to find |
//! | growing and shrinking the tree | 24 hashes for each 12 new leaves: it is done bucket by bucket, whatever the size of the state |
//!
//! Invariants:
//! **A1** the balances and the fee pool add up to the supply (`the_supply_is_conserved`);
//! **A2** a transaction is all or nothing: one that is not includable changes nothing; one whose messages fail pays its fee and
//! uses up its nonce or digest, and nothing else (`a_failed_transaction_changes_only_fee_and_nonce`);
//! **A3** a signed body is executed at most once (`nothing_is_executed_twice`);
//! **A4** executing is repeatable, also after a restart (`the_same_block_gives_the_same_outcome`).

mod app;
mod check;
pub mod error;
mod execute;
mod first_state;
mod query;
pub mod state;
pub mod tree;
mod view;

pub use app::{App, BlockContext, Outcome, StateProof, StateUpdate, StateWay, app_hash};
pub use check::{
    Admission, BlockTx, InvalidTx, NONCES_AHEAD_MAX, Pending, check_tx, decode_block_txs, validate_block_txs,
};
pub use error::{CODES, CODESPACE, Code, Refusal};
pub use execute::{EXPIRING_MAX, FORGOTTEN_MIN, FORGOTTEN_PER_TX, Rules};
pub use first_state::{FirstState, FirstStateError, genesis_writes};
pub use query::{Answer, QUERY_PATHS, query};
pub use state::Account;
pub use view::View;
