//! The application: it executes the transactions of a block and returns the rows to write, the results and the app
//! hash.
//!
//! Everything here is a function of its arguments: no clock, no file, no thread, and no map whose order depends on the
//! process. Two nodes that execute the same block on the same state write the same bytes.
//!
//! ```text
//!            Reader (state before) ──┐
//!  VerifiedTx, VerifiedTx, … ──> execute ──> Outcome { writes, results, update }
//!                                    │                    │
//!                 View: overlay, all or nothing      App::commit(update), together with storing the writes
//! ```
//!
//! The **state** has two parts, and the app hash commits to both: it is the root of a tree with the same rules, in which
//! the key `n` has the value root_N, and the key `r` the value root_R.
//!
//! | part | contents | rows under | root |
//! |---|---|---|---|
//! | N, never reverted | balances, nonces, unordered transactions, parameters | `n` | [`tree::Tree`] over its rows |
//! | R, revertible | namespaces; there are none yet | `r` | map from namespace id to the root of the namespace: empty |
//!
//! **Keys of N** (raw keys; [`tree::rows`] defines how they are stored in rows; values are protobuf messages of
//! `types/proto/cairn.proto`):
//!
//! | raw key | value | removed |
//! |---|---|---|
//! | `a` ‖ address (20) | `Account`: balance, nonce | when both are 0 |
//! | `d` ‖ digest (32) | `Executed`: the height that executed this transaction | in a block after it expired |
//! | `e` ‖ second (8) | `Expiry`: number of transactions that expire in it, and of list rows | with the last row |
//! | `e` ‖ second (8) ‖ row (4) | `Digests`: a list row of up to 1024 digests of these | with its digests |
//! | `f` | `Amount`: the collected fees | when they are 0 |
//! | `o` | `ExpirySpan`: the first second that may have a list, and the one after the last | with the last list |
//! | `p` | `Params` | never |
//! | `s` | `Amount`: the total supply | when it is 0 |
//!
//! **Bounds of the work of a block**: apart from a constant, its own bytes and its number of transactions. Work that
//! earlier blocks left behind is spread over several blocks.
//!
//! | work | bound |
//! |---|---|
//! | decoding, checking signatures | the block's bytes, `BLOCK_TXS_MAX` signatures (most were checked before) |
//! | one transaction | its fee, its nonce or digest, `TX_MESSAGES_MAX` transfers of two accounts; undo costs the same |
//! | listing unordered transactions by expiry | two rows per second in which some expire, one per further 1024 of them, and `o` |
//! | deleting expired ones | [`FORGOTTEN_MIN`] rows, [`FORGOTTEN_PER_TX`] per unordered one, the rest of a list row |
//! | the tree | per written row: a bucket of about 10 leaves, and the levels above (*) |
//! | growing and shrinking the tree | 24 hashes per 12 new leaves: bucket by bucket, whatever the size of the state |
//!
//! (*) Two keys that share 64 bits of their paths cost a scan of these two keys. Finding such a pair takes 2^32 hashes.
//!
//! Invariants:
//! **A1** The balances and the fee pool add up to the supply (`the_supply_is_conserved`).
//! **A2** A transaction is atomic: one that is not includable changes nothing; one whose messages fail pays its fee and
//! consumes its nonce or digest, and nothing else (`a_failed_transaction_changes_only_fee_and_nonce`).
//! **A3** A signed body is executed at most once (`nothing_is_executed_twice`).
//! **A4** Execution is repeatable, also after a restart (`the_same_block_gives_the_same_outcome`).

mod app;
mod check;
pub mod error;
mod execute;
mod first_state;
mod query;
pub mod state;
mod state_proof;
pub mod tree;
mod view;

pub use app::{App, BlockContext, Outcome, StateUpdate, StateWay, app_hash};
pub use check::{
    Admission, BlockTx, InvalidTx, NONCES_AHEAD_MAX, Pending, check_tx, decode_block_txs, validate_block_txs,
};
pub use error::{CODES, CODESPACE, Code, Refusal};
pub use execute::{EXPIRING_MAX, FORGOTTEN_MIN, FORGOTTEN_PER_TX, Rules};
pub use first_state::{FirstState, FirstStateError, genesis_writes};
pub use query::{Answer, QUERY_PATHS, query};
pub use state::Account;
pub use state_proof::{PROOF_OP_TYPE, ProofOp, StateProof};
pub use view::View;
