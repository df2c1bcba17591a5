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
//! | N, never reverted | balances, nonces, unordered transactions, parameters, what is known about namespaces | `n` | [`tree::Tree`] over its rows |
//! | R, revertible | keys and values of the namespaces | `r` | tree over namespace name → root of the namespace's own tree |
//!
//! A root of R is a function of keys and values alone, never of heights or of the order of writes. [`area`] has the rows
//! of both parts, and of the two lists that follow from them.
//!
//! **Keys of N** (raw keys; [`tree::rows`] defines how they are stored in rows; values are protobuf messages of
//! `types/proto/cairn.proto`):
//!
//! | raw key | value | removed |
//! |---|---|---|
//! | `a` ‖ address (20) | `Account`: balance, nonce | when both are 0 |
//! | `d` ‖ digest (32) | `Executed`: the height that executed this transaction | in a block after it expired |
//! | `c` | `Amount`: the number of namespaces that were created | never |
//! | `e` ‖ second (8) | `Expiry`: number of transactions that expire in it, and of list rows | with the last row |
//! | `e` ‖ second (8) ‖ row (4) | `Digests`: a list row of up to 1024 digests of these | with its digests |
//! | `f` | `Amount`: the collected fees | when they are 0 |
//! | `g` | `ProposalList`: the number of the next proposal, and the open ones | never |
//! | `h` ‖ id (8) | `ProposalRecord`: a proposal and its progress | never |
//! | `i` ‖ id (8) | `ProposalVotes`: the votes on a proposal | never |
//! | `j` ‖ number (4) | `Taints`: the heights of a namespace that reverts took back | never |
//! | `k` | `Barrier`: the last change of rules across which no revert goes | never |
//! | `l` ‖ number (4) ‖ height (8) | `LoggedRoot`: the root of a namespace since this height | when the next one leaves the window |
//! | `m` | `Counters`: transactions, transfers and writes since genesis | never |
//! | `o` | `ExpirySpan`: the first second that may have a list, and the one after the last | with the last list |
//! | `p` | `Params` | never |
//! | `q` | `ChangedRootsQueue`: the lists of changed roots that wait | with the last list |
//! | `s` | `Amount`: the total supply | when it is 0 |
//! | `t` | `Amount`: the total voting power of the set | when it is 0 |
//! | `u` ‖ place (8) | `ChangedRoots`: up to 1024 namespaces that a height changed | when the height leaves the window |
//! | `w` ‖ name | `Namespace`: owner, epoch, quotas, size | never |
//! | `B` ‖ operator (20) ‖ id (8) | `Departure`: stake that left a validator | when it matures |
//! | `D` ‖ delegator (20) ‖ operator (20) | `Delegation`: shares, unbondings, redelegations | when it has none of them |
//! | `I` | `Income`: the sum of rewards per unit of power, issuance, changes of power that act later | never |
//! | `K` ‖ address (20) | `KeyOwner`: the operator of the validator whose consensus key has this address | with the validator |
//! | `M` ‖ position (4) | `HeapEntry`: a member of the set | with the last member |
//! | `N` | `StakeSet`: the numbers of members and waiting validators, and who kept its power | when they are 0 |
//! | `P` ‖ operator (20) | `HeapPlace`: where a validator is among `M` or `W` | when it is in neither |
//! | `Q` | `StakeQueue`: the batches that wait | never |
//! | `Q` ‖ batch (8) | `StakeBatch`: the time at which it matures | when it has matured |
//! | `Q` ‖ batch (8) ‖ place (4) | `StakeItem`: a departure or a validator | when it has matured |
//! | `S` | `StakePools`: bonded and unbonding stake, rewards, and what is the community's | when they are 0 |
//! | `U` | `DowntimeLog`: the validators that were jailed for downtime in the last window | never |
//! | `U` ‖ operator (20) | `Uptime`: the misses of a validator | when it is jailed or ends |
//! | `U` ‖ operator (20) ‖ index (8) | `UptimeBits`: those of 1,024 heights | with the former, or when they left the window |
//! | `V` ‖ operator (20) | `StakedValidator` | when no account has stake there, and it answers for no set |
//! | `W` ‖ position (4) | `HeapEntry`: a validator that waits for a place in the set | with the last one |
//! | `X` ‖ operator (20) | `Amount`: how often a validator was slashed | never |
//! | `X` ‖ operator (20) ‖ number (8) | `Slash` | never |
//! | `Y` | `Upgrade`: the plan of the next upgrade | at its height, or when it is cancelled |
//! | `Y` ‖ name | `UpgradeDone`: the height of an upgrade that was executed | never |
//!
//! **Bounds of the work of a block**: apart from a constant, its own bytes and its number of transactions. Work that
//! earlier blocks left behind is spread over several blocks.
//!
//! | work | bound |
//! |---|---|
//! | decoding, checking signatures | the block's bytes, `BLOCK_TXS_MAX` signatures (most were checked before) |
//! | one transaction | its fee, its nonce or digest, `TX_MESSAGES_MAX` messages; undo costs the same |
//! | one message | a transfer: two accounts; a namespace: five rows; a write: two rows and a condition per operation, `KV_OPS_MAX` of them, and one read of each old value |
//! | bytes of values | the block's bytes for new ones, which `fee_per_kib` pays; `KV_OLD_BYTES_MAX` and one value for old ones |
//! | proposing a revert | `proposals.revert_keys_max` keys, `proposals.revert_bytes_max` bytes of values, `proposals.open_max` times in a block |
//! | executing reverts | one in a block, of the same size |
//! | executing acts | all that are due, at most as many as may be open; some rows each, and a new set of validators |
//! | counting the votes | a row per validator: for each vote, and for each open proposal if one changed |
//! | logging roots | four rows per namespace that changes |
//! | a message about stake | some 12 rows; one signature check to create a validator |
//! | maturing stake | [`MATURED_MAX`] items of some 8 rows |
//! | slashing for evidence | `EVIDENCE_NAMED_MAX` validators; once for each validator, its departures of the unbonding time: a row, or some 12 for a redelegation |
//! | misses | per validator that did not sign: five reads and two writes, and the chunks that leave the window; none if all signed |
//! | distributing income | four rows, and one for each validator whose power changed three blocks before |
//! | the validator set | per changed validator: some rows, and three per level of a heap |
//! | trimming the log | [`TRIMMED_MIN`] entries, [`TRIMMED_PER_CHANGE`] per namespace that changes, the rest of a list row |
//! | listing unordered transactions by expiry | two rows per second in which some expire, one per further 1024 of them, and `o` |
//! | deleting expired ones | [`FORGOTTEN_MIN`] rows, [`FORGOTTEN_PER_TX`] per unordered one, the rest of a list row |
//! | the tree | per written row: an end of about 10 leaves, at most 63 whatever the keys are, and the levels above (*) |
//! | growing and shrinking the tree | a bucket and 24 hashes per 12 new leaves: bucket by bucket, whatever the size of the state |
//!
//! (*) An end that is not in the cache is read: one seek, a step for each key in its range that has a version in the
//! store, and the values of its rows. The bytes of these values do not count in `KV_OLD_BYTES_MAX`, because nodes differ in
//! what their caches have.
//!
//! Invariants:
//! **A1** The balances, the fee pool, deposits, stake, rewards and the community pool add up to the supply (`the_supply_is_conserved`).
//! **A2** A transaction is atomic: one that is not includable changes nothing; one whose messages fail pays its fee and
//! consumes its nonce or digest, and nothing else (`a_failed_transaction_changes_only_fee_and_nonce`).
//! **A3** A signed body is executed at most once (`nothing_is_executed_twice`).
//! **A4** Execution is repeatable, also after a restart (`the_same_block_gives_the_same_outcome`).
//! **A5** A namespace's root in the log is the root of its keys and values, and its counts are exact
//! (`namespaces_follow_a_simple_model`).
//! **A6** Equal keys and values have an equal root, whatever was written before
//! (`equal_content_has_an_equal_root`).

mod app;
pub mod area;
mod audit;
mod check;
mod context;
mod deadline;
mod earlier;
pub mod error;
mod event;
mod evidence;
mod execute;
mod export;
mod first_state;
mod kv;
mod mutation;
mod namespaces;
mod proposals;
mod query;
mod staking;
pub mod state;
mod state_proof;
pub mod tree;
mod upgrade;
mod view;

pub use app::{App, Outcome, PartsFrom, StateUpdate, StateWay, app_hash};
pub use area::LOOKED_AT_MAX;
pub use audit::misplaced_row;
pub use check::{
    Admission, BlockTx, InvalidTx, NONCES_AHEAD_MAX, Pending, check_tx, decode_block_txs, validate_block_txs,
};
pub use context::BlockContext;
pub use deadline::earliest_deadline;
pub use earlier::EarlierTrees;
pub use error::{CODES, CODESPACE, Code, Refusal};
pub use execute::{EXPIRING_MAX, FORGOTTEN_MIN, FORGOTTEN_PER_TX, Rules};
pub use export::{ExportError, Exported, export};
pub use first_state::{
    FirstDelegation, FirstStake, FirstState, FirstStateError, FirstTerms, FirstValidator, OtherPower, first_state,
    genesis_writes,
};
pub use kv::{Frozen, Namespace, Owner, TRIMMED_MIN, TRIMMED_PER_CHANGE};
#[cfg(feature = "mutations")]
pub use mutation::{BrokenRule, Mutation};
pub use proposals::{
    Ending, NotUndone, NsPreview, OperatorVote, Preview, Proposal, ProposalState, ProposedRevert, REVERT_PREVIEW,
    Subject, Taint, Taints, Tally, open_targets, preview,
};
pub use query::{Answer, QUERY_PATHS, RANGE_BYTES_MAX, ROWS_MAX, query};
pub use staking::{
    DEPARTURES_MAX, Delegation, DelegationOf, Departure, DepartureOf, Earnings, Jail, JailReason, Kept, MATURED_MAX,
    OldKey, Pools, RewardsOf, Slash, SlashReason, StakeReport, StakedValidator, Status, Uptime, UptimeOf,
    ValidatorSummary, stake_report,
};
pub use state::{Account, Operator};
pub use state_proof::{PROOF_OP_TYPE, ProofOp, REVERTIBLE, StateProof};
pub use upgrade::{Barrier, Migration, UPGRADES, Upgrade, UpgradeStop, Upgrades, last_upgrade};
pub use view::View;
