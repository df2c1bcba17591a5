//! Deterministic simulation of whole clusters, each from one seed.
//!
//! A world runs the real validator ([`replica::Replica`]: engine, application, store, mempool, anti-entropy, block sync) of
//! several nodes under a virtual clock. Everything outside the validator is simulated: links, disks, clocks, crashes,
//! clients, and validators that violate the protocol. All random choices come from the seed, so one seed always gives
//! the same run.
//!
//! ```text
//!   Setup::of_seed ─> World ─┬─ queue of events ─> Replica::step ─> outputs ─> Network (delay, loss, order),
//!                            │                                               MemDisk, timers
//!                            ├─ faults: crashes, partitions, storms, failing and slow disks
//!                            ├─ byzantine: changed messages
//!                            └─ Checker: after every step, before anything leaves a node
//! ```
//! A run has two phases. In the first phase faults occur, and safety is checked at every step. Then all faults end, and
//! all correct nodes must make progress within a bounded time. Some kinds of faults are disabled in many worlds, so
//! that each kind is also tested without the others.
//!
//! In a fifth of the worlds, clients also propose to revert namespaces, operators of validators vote, and operators of
//! nodes rewind and prune their stores. A rewind executes the blocks again or deletes them, and may be interrupted several
//! times.
//!
//! In an eighth, clients delegate and take back stake, and nodes become validators and leave the set. In many of these, validators also decide
//! parameters and upgrades, operators replace keys and programs, silent validators are jailed, and a traitor shows votes with which it
//! contradicts itself.
//!
//! [`checker`], [`ledger`], [`evidence`] and [`stakes`] list the checks. A scenario directs a world by hand: it crashes nodes, cuts links, restores old
//! disks, rewinds stores, holds back messages and delivers forged ones (`tests/scenarios.rs`, `tests/backups.rs`,
//! `tests/cluster.rs`, `tests/checkpoints.rs`). Some scenarios repeat a random run that revealed an error.
//!
//! Mutations, which are rules that are broken on purpose in every correct node, prove that each check can fail (`tests/mutations.rs`,
//! and scenarios for those that random runs rarely reveal):
//!
//! | mutation | detected by |
//! |---|---|
//! | `skip_write_ahead` | I2, I4 |
//! | `lose_syncs` (*) | I2 |
//! | `double_sign` | I1 |
//! | `weak_commit` | validity, agreement |
//! | `skip_lock` | lock, agreement |
//! | `unlock_on_nil` | lock |
//! | `keep_verdicts` | I4 |
//! | `keep_rounds`, `keep_blocks` | I6 |
//! | `log_old_root`: the log has the root of the height before | I-KV1 |
//! | `rewrite_history` (*): earlier versions of a row get the newest value | I-KV2 |
//! | `restore_less`: a revert leaves out a key | I-RV1 |
//! | `restore_more`: a revert takes back an account | I-RV2, supply |
//! | `keep_epoch`: a revert does not raise the epoch | I-RV2 |
//! | `third_decides`: more than 1/3 decides | I-RV3 |
//! | `skip_notice`: a decision takes effect at once | I-RV3 |
//! | `other_digest`: a proposal shows another digest | I-RV5 |
//! | `restore_less_again`: the second revert of a namespace leaves out a key | I-RV6 |
//! | `ignore_freeze`: a frozen namespace takes writes | fence |
//! | `accept_unverified_evidence`: the signatures of evidence in a block are not checked | EV1 |
//! | `accept_repeated_evidence`: evidence of an earlier block is accepted | EV2 |
//! | `accept_expired_evidence`: expired evidence is accepted | EV3 |
//! | `accept_named_evidence`: an attack on light clients may name the innocent | EV1 |
//! | `withhold_evidence`: no block has evidence | a scenario that waits for it |
//! | `several_freezes`: an operator freezes for several proposals | I-RV3 |
//! | `unbond_early`: stake comes back after half of the unbonding time | ST6 |
//! | `unbond_twice`: stake comes back twice | supply |
//! | `keep_leaver`: a validator without enough stake stays in the set | ST4 |
//! | `any_set_size`: the set has more validators than it may have | ST4 |
//! | `forgive_double_sign`: a double sign costs nothing | ST5 |
//! | `pay_kept`: stake of a validator that keeps its power for lack of others is paid | ST6 |
//! | `empty_set`: the set has no members | ST7 |
//! | `jailed_signs`: a validator in jail stays in the set | ST4 |
//! | `keep_set`: the set does not follow its maximum size | ST4 |
//! | `round_up`: shares are worth one more | ST2 |
//! | `keep_price`: a slash leaves the price of shares | ST2 |
//! | `pay_again`: rewards are paid again | ST3 |
//! | `lose_remainder`: what a division of income leaves is lost | ST3 |
//! | `issue_uncounted`: issued money is not in the supply | supply |
//! | `issue_by_height`: money is issued by heights | ST1 |
//! | `burn_keeps_supply`: burned money stays in the supply | ST1, supply |
//! | `keep_timeouts`: engines keep the timeouts of their first height | params |
//! | `params_at_once`: parameters act in the block that changes them | params |
//! | `keep_version`: an upgrade does not raise the version | params |
//! | `no_barrier`: an upgrade sets no barrier | upgrade |
//! | `keep_plan`: an upgrade stays planned | upgrade |
//! | `any_program`: a program runs past an upgrade that it lacks | upgrade |
//! | `old_key_signs`: a replaced key stays in the set | ST4, progress |
//! | `forget_old_key`: a replaced key is forgotten at once | rotation |
//! | `keep_old_key`: a replaced key is never forgotten | rotation |
//! | `slash_again`: each double sign of a validator is slashed | ST5 |
//! | `no_tombstone`: a double sign does not jail for ever | ST5 |
//! | `slash_other_height`: stake that left with the block before a double sign is not slashed | ST5 |
//! | `forget_departures`: stake that left is not slashed | ST5 |
//! | `round_burn_up`: what is burned is rounded up | ST5 |
//! | `downtime_by_heights`: many misses jail at once | ST5 |
//! | `downtime_by_time`: few misses jail | ST5 |
//! | `jail_all`: more than a third is jailed for downtime | ST5 |
//! | `forget_next_key` (*): nodes do not hold the key that replaces theirs | progress |
//! | `rewind_takes_more` (*): a rewind deletes a version that it should keep | determinism, I-KV2 |
//! | `rewind_forgets_signing` (*): a rewind deletes the hard state | rewind |
//! | `replay_differs`: a rewind executes reverts by another rule than the chain | rewind |
//!
//! (*) These need no feature; the others need `mutations`.
#![allow(
    clippy::type_complexity,
    clippy::large_enum_variant,
    clippy::should_implement_trait,
    reason = "a test tool: its tables and events are easier to read when written out"
)]

pub mod accusation;
mod broken;
pub mod byzantine;
pub mod checker;
pub mod clients;
pub mod disk;
pub mod evidence;
pub mod liar;

mod faults;
pub mod ledger;
pub mod network;
pub mod node;
pub mod program;
pub mod random;
pub mod rows;
pub mod run;
pub mod setup;
pub mod stakes;
pub mod story;
pub mod world;

pub use broken::Broken;
pub use liar::Behaviour;
pub use run::{Life, live};
pub use setup::{Faults, Mutation, Setup, StakeEvents};
pub use story::{Counts, Story};
pub use world::{Backup, Cut, Parcel, RewindRun, SigningState, World};
