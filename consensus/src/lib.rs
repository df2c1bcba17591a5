//! Implements Tendermint consensus (arXiv:1807.04938, Algorithm 1) as a function: [`Engine::step`] takes one input and
//! returns the list of actions that the host must execute, in order. The crate uses no clock, no thread, no disk and no
//! socket.
//!
//! # The protocol, by line number of the paper
//!
//! | line | in step | upon | do |
//! |---|---|---|---|
//! | L11 | any | start of a round | proposer: propose `valid`, else build a block; others: start the propose timer |
//! | L22 | Propose | proposal without POL round | prevote it if valid, timely and allowed by the lock, else nil |
//! | L28 | Propose | proposal with POL round and its polka | prevote it if valid and allowed by the lock, else nil |
//! | L34 | Prevote | quorum of any prevotes in this round, first time | start the prevote timer |
//! | L36 | Prevote | polka for a valid block in this round, first time | lock it, set `valid`, precommit it |
//! | L36 | Precommit | polka for a valid block in this round, first time | set `valid` |
//! | L44 | Prevote | quorum of nil prevotes in this round | precommit nil |
//! | L47 | any | quorum of any precommits in this round, first time | start the precommit timer |
//! | L49 | any | quorum of precommits for a valid block in any round | decide the block |
//! | L55 | any | votes of more than 1/3 of the power in a later round | start that round |
//! | L57 | Propose | the propose timer expires | prevote nil |
//! | L61 | Prevote | the prevote timer expires | precommit nil |
//! | L65 | any | the precommit timer expires | start the next round |
//!
//! All rules apply to the current height. A **polka** is a quorum of prevotes for one block in one round. `locked` is
//! the paper's `lockedValue` with `lockedRound`, `valid` its `validValue` with `validRound`. The **POL round** of a
//! proposal (`vr` in the paper) is the round of the polka that justifies it: a re-proposal of `valid` carries the round
//! of `valid`, a new block has none. The lock allows a proposal if there is no lock or it is on the same block; in L28
//! also if the locked round is at most the POL round.
//!
//! A quorum is `3·w > 2·total`. Voters with `3·w > total` include a correct validator. Both comparisons are strict.
//! After each input the rules run until no rule fires any more: if a polka is complete before its proposal arrives, L36
//! fires as soon as the proposal has arrived and its block is checked.
//!
//! # Where this implementation differs from the paper, and why
//!
//! - **D1** L36 and L49 take the value from the polka or from the quorum of precommits, without the proposal. A node
//!   that missed the proposal but has the votes and a valid block continues. Those voters include correct ones with
//!   more than a third of the power, and these saw the proposal.
//! - **D2** A quorum of nil precommits starts the next round at once. No block can reach a quorum in that round any
//!   more, so waiting for the precommit timer is useless, and a crashed proposer costs only its propose timer. From the
//!   third round of a height on, a round that ends in nil lasts at least a minimum time that grows with the round
//!   ([`timers::nil_round`]). So a lasting cause of nil votes, for example clocks that disagree, does not cause a fast
//!   sequence of rounds with a disk sync in each.
//! - **D3** The proposer signs its proposal and its prevote under one write of the hard state.
//! - **D4** Messages that other nodes may lack are sent again. Each re-proposal is sent together with its polka. A
//!   timer that continues across rounds sends again our last proposal, prevote and precommit, and the certificates that
//!   brought this node into its round. After the first failed round of a height, the polka behind `valid` is broadcast
//!   too, so that no lock stays hidden.
//! - **D5** Proposer-based timestamps: a proposal without POL round that is not timely is prevoted nil.
//! - **D6** A polka of a past round that is later than the round of `valid` also sets `valid`. `valid` decides only
//!   which block is proposed, and a re-proposal is sent with its polka. So, if other nodes did not see the polka behind
//!   a lock, the next proposer that receives this polka resolves the lock. It is not necessary to wait for the turn of
//!   a proposer that holds the lock.
//! - **D7** The propose timer adapts to the delays measured on this node and stays below the chain's bound. If it
//!   expires while the block of a timely proposal is still arriving, the wait continues up to the bound.
//!
//! # Invariants
//!
//! - **I1** A key signs at most one value for each (height, round, type), permanently. The guard in [`Signer`] enforces
//!   this.
//! - **I2** No message is sent before the hard state that explains it is durable: [`Output::WriteAhead`] precedes the
//!   message.
//! - **I3** locked round ≤ valid round ≤ round. This is asserted after each step.
//! - **I4** A precommit for a block is sent only when the block's bytes are durable on this node: L36 needs
//!   [`Input::BlockChecked`], and the write-ahead contains the bytes. Engine and host agree at every moment on which
//!   block bytes are available: the host reports bytes that it drops ([`Input::BlockDropped`]), and it never drops a
//!   block that a rule may need ([`Engine::needed_blocks`]).
//! - **I5** A decided height never changes: after [`Output::Commit`] no rule fires until the next height starts.
//! - **I6** Memory for a height is bounded by a function of the number of validators: [`Engine::held_bytes`] never
//!   exceeds [`Engine::held_bytes_max`], whatever peers send.
//!
//! # Modules
//!
//! [`rules`] (one function for each line), [`engine`] (state, inputs, outputs), [`votes`] (counting of votes),
//! [`signer`] (the guard against double signing), [`timers`] (durations of timeouts), [`driver`] (one disk sync for a
//! batch of inputs), [`notes`] (round events for observers).

pub mod driver;
pub mod engine;
mod invariants;
pub mod notes;
pub mod rules;
mod seen;
pub mod signer;
pub mod timers;
pub mod votes;

#[cfg(any(test, feature = "mutations"))]
pub use engine::Mutation;
pub use engine::{Engine, Input, Message, NEEDED_BLOCKS_MAX, Output};
pub use notes::{RoundNote, RoundStep, What};
pub use signer::{DoubleSign, SignState, Signer};
pub use timers::{Timeout, TimeoutKind};
