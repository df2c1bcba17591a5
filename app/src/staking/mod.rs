//! Stake: who may sign follows from what owners of money locked, and can take back only after the unbonding time.
//!
//! | file | contents |
//! |---|---|
//! | `record` | validators, delegations and departures as rows of N |
//! | `index` | the order of the validators by their tokens, as two heaps of rows |
//! | `queue` | what matures, in batches of one height |
//! | `messages` | the messages of transactions |
//! | `rotate` | a validator replaces its consensus key |
//! | `block` | what a block does before its first and after its last transaction |
//! | `slash` | what a validator loses that signed twice |
//! | `uptime` | which validators sign nothing, and what becomes of them |
//! | `rewards` | what validators and delegators have earned |
//! | `income` | what a block distributes |
//! | `changes` | what a block changed so far |
//! | `answer` | queries |
//!
//! **Shares.** A delegation is a number of shares of its validator, whose price is a whole number of shares per token. The
//! price is 2^32 at first; only a slash changes it, upwards, to the least price at which the tokens pay for all shares. So an
//! amount has one exact number of shares, and gives back the same amount; the worth of shares is rounded down, and the
//! remainder stays with the validator's tokens.
//!
//! **Time.** A set acts two heights after the block that computed it, so stake that leaves in block H counts until H + 1. What
//! leaves in one block is a *batch*, which the next block closes: its own time plus the unbonding time is the batch's
//! deadline. Batches mature in their order. An open batch is a reason to start the next height.
//!
//! **The set** is the first `staking.validators_max` of the validators that are not jailed and have a unit of power, by tokens,
//! then by the operator's address. Members are a heap with the weakest on top, the others one with the strongest on top, so a
//! block costs some rows per changed validator and level. The set is never empty: if none is left, the last members keep
//! their power, and what they unbond begins again until others replaced them.
//!
//! **Bounds**: a block matures [`MATURED_MAX`] items; a delegator has [`DEPARTURES_MAX`] unbondings from a validator and as
//! many redelegations to one.
//!
//! Invariants (`app/tests/rules/stake.rs`, `app/tests/rules/slash.rs`, `app/tests/stake_properties.rs`,
//! `app/tests/slash_properties.rs`):
//! **ST1** Balances, fees, deposits, bonded and unbonding stake, rewards and the community pool add up to the supply, which
//! only issuance and slashes change.
//! **ST2** A validator's shares are the sum of its delegations', and its tokens pay for them.
//! **ST3** The rewards pool is what is due, with what divisions left.
//! **ST4** The set is the function of the state above.
//! **ST5** An infraction is punished once, and a proven one always.
//! **ST6** Stake is paid out at the unbonding time after the last height at which it counted, or later.
//! **ST7** The set is never empty, and its power is in bounds.
//! **ST8** What was delegated and is taken back at once is the same amount; many small operations give no more than a large one.
//! **ST9** No row and no block's work grows with the number of delegators.

mod answer;
mod block;
mod changes;
mod income;
mod index;
mod messages;
mod queue;
mod record;
mod rewards;
mod rotate;
mod slash;
mod uptime;

pub use answer::{DelegationOf, DepartureOf, RewardsOf, StakeReport, UptimeOf, ValidatorSummary, stake_report};
pub(crate) use answer::{delegations_of, departures_of, rewards_of, slashes_of, summary, uptime_of, validator_list};
pub use block::MATURED_MAX;
pub(crate) use block::{begin, earliest_deadline, end};
pub(crate) use changes::Staked;
pub(crate) use income::{distribute, start};
pub use messages::DEPARTURES_MAX;
pub(crate) use messages::{check_stake, execute};
pub use record::{Delegation, Departure, Jail, JailReason, Kept, OldKey, Pools, StakedValidator, Status};
pub use rewards::Earnings;
pub(crate) use slash::on_double_sign;
pub use slash::{Slash, SlashReason};
pub use uptime::Uptime;
pub(crate) use uptime::on_commit;
