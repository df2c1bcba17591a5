//! Starts real validators as processes, breaks them and their network in every way that an operator meets, and checks that the
//! chain keeps its promises.
//!
//! ```text
//!   plan (seed) ──> inject ──> net: node, links, disk, clock          validators in namespaces or on loopback
//!                     │                  ▲
//!                     │      traffic ────┘ transfers, stake          watch: votes, signing states
//!                     └──> calm: at the tip? sign? agreement ──> liar ──> audit ──> tally
//! ```
//! | module | what it hides |
//! |---|---|
//! | `random`, `fault`, `plan` | all faults with their times, which follow from a seed |
//! | `wanted`, `run`, `tally` | the parameters of a run, its sequence, its summary |
//! | `layout`, `spaces`, `links` | addresses; network namespaces; the relays between validators |
//! | `net`, `node`, `disk`, `clock`, `command` | the processes with their homes, small disks and wrong clocks |
//! | `inject`, `upgrade`, `liar` | the faults; the swap of programs that the validators decide; a key that runs twice |
//! | `ledger`, `deliver`, `traffic` | the stream of transactions, and what was answered about each |
//! | `watch`, `votes`, `agreement`, `audit` | the checks, throughout and at the end |
//!
//! What is checked, each with the module that does it:
//! - **C1** All validators have the same block at every height (`agreement`, after each round and for all heights at the
//!   end).
//! - **C2** A transaction that was answered as committed is at its height at every validator (`audit`).
//! - **C3** No transaction is executed twice: each is in one block, nonces have no gap, and money adds up (`audit`).
//! - **C4** No correct validator signs twice: no evidence against it (`audit`), no two votes of one place at any validator
//!   (`votes`), no signing state that goes back (`watch`).
//! - **C5** After each round, all validators are at the tip and sign again within a bounded time (`run`).
//! - **C6** No process ends by itself but for a full disk and an upgrade, with the exit code of each (`inject`).
//! - **C7** A validator that signs twice is slashed, jailed for ever, and leaves the set (`liar`).
//!
//! Processes end with the value that owns them. In namespaces, the kernel ends all of them with the first process of the
//! run, even if that is killed.

mod agreement;
mod audit;
mod clock;
mod command;
mod deliver;
mod disk;
mod error;
mod fault;
mod inject;
mod layout;
mod ledger;
mod liar;
mod links;
mod net;
mod node;
mod plan;
mod random;
mod run;
mod spaces;
mod tally;
mod traffic;
mod upgrade;
mod votes;
mod wanted;
mod watch;

pub use error::ChaosError;
pub use plan::Plan;
pub use run::{plan, run};
pub use spaces::wrapper;
pub use tally::Report;
pub use upgrade::NAME as UPGRADE;
pub use wanted::{Place, Wanted};
