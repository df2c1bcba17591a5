//! Proposals to the validators, and what they decide: reverts, and the acts of `acts`.
//!
//! ```text
//!  propose ──> Voting ──> Scheduled ──> Executed | Failed
//!                │  yes > 2/3       the notice is over (an act has none: the next block)
//!                └──> Rejected (no > 1/3) | Expired | Cancelled | Superseded
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `record` | proposals, votes and taken back heights as rows of N |
//! | `acts` | the acts: their conditions and effects |
//! | `diff` | conditions of a revert, and the keys that it changes |
//! | `revert` | the execution of a revert |
//! | `block` | what a block decides before its first and after its last transaction |
//! | `messages` | the messages of transactions |
//! | `preview` | a revert on a scratch view, for clients |
//!
//! **Power.** A vote weighs the power of its validator at the time of the count. More than 2/3 of the total power must
//! vote yes when a proposal is scheduled, and again when it is executed. More than 1/3 may freeze the namespaces of a
//! proposal: such a minority can stop the whole chain by silence, and a freeze is less. Both thresholds are constants.
//!
//! **A revert** writes the old value of each key that changed since the target height, in one block, and the root must
//! then be the logged root of the target; otherwise nothing changes. The namespace is *quiet* in this block: it takes no
//! other write, so the next header commits to exactly the old root. Its data epoch grows by 1, so a write that was signed
//! before fails after it. The heights between target and execution are recorded as [`Taint`].
//!
//! **Nothing here fails a block.** What is not possible any more closes its proposal, with an event.
//!
//! **Bounds**: a block executes one revert, and compares namespaces for as many new proposals as may be open. Each
//! comparison reads the keys and bytes that the parameters allow, and one more. A new proposal is compared with the state
//! before its block.
//!
//! Invariants (`app/tests/revert_properties.rs`; the rules one by one are in `app/tests/rules/proposals.rs`, and
//! `app/tests/rules/mutations.rs` breaks each of them):
//! **I-RV1** After a revert, the root is that of the target.
//! **I-RV2** Nothing in N goes back.
//! **I-RV3** An executed revert had more than 2/3, its notice was kept, and it crossed no barrier.
//! **I-RV5** The preview's digest is that of the execution on the same state; a failed execution changes nothing.
//! **I-RV6** A revert to the height before a revert undoes it
//! (`a_revert_to_the_height_before_a_revert_undoes_it`).

mod acts;
mod block;
mod diff;
mod messages;
mod preview;
mod record;
mod revert;

pub(crate) use block::earliest_deadline;
pub use block::open_targets;
pub(crate) use block::{Decisions, begin, end};
pub(crate) use messages::{cancel, check_propose, freeze, propose, vote};
pub use preview::{NotUndone, NsPreview, Preview, REVERT_PREVIEW, preview};
pub use record::{Ending, OperatorVote, Proposal, ProposalState, ProposedRevert, Subject, Taint, Taints, Tally};
pub(crate) use record::{all, load, open, tally_of, votes};
