//! Tendermint consensus (arXiv:1807.04938, Algorithm 1) as a function: [`Engine::step`] is told what happened and tells what to
//! do, in order. No clock, no thread, no disk, no socket.
//!
//! # The protocol, by line number
//!
//! | line | upon (all in the current height) | do |
//! |---|---|---|
//! | L11 | a round starts | the proposer re-proposes `valid` with its POL round, else builds a block; others start the propose timer |
//! | L22 | a proposal without POL round, in Propose | prevote it if valid, timely, and no lock on another value; else nil |
//! | L28 | a proposal with POL round and a polka for it there, in Propose | prevote it if valid and locked no later than that, or on it; else nil |
//! | L34 | a quorum of any prevotes in this round, in Prevote, first time | start the prevote timer |
//! | L36 | a valid block with a polka in this round, in Prevote or Precommit, first time | in Prevote: lock and precommit it; always: remember it as valid |
//! | L44 | a quorum of nil prevotes in this round, in Prevote | precommit nil |
//! | L47 | a quorum of any precommits in this round, first time | start the precommit timer |
//! | L49 | a quorum of precommits for a valid block at any round | decide it |
//! | L55 | votes of more than 1/3 of the power in a later round | start that round |
//! | L57 | the propose timer, in Propose | prevote nil |
//! | L61 | the prevote timer, in Prevote | precommit nil |
//! | L65 | the precommit timer | start the next round |
//!
//! Quorum is `3·w > 2·total`, honest is `3·w > total`, both strict. Rules run to a fixpoint after each input: a polka that was
//! complete before its proposal came fires L36 the moment it comes.
//!
//! # Where we differ from the paper, and why
//!
//! - **D1** L36 and L49 take the value from the polka or the quorum of precommits itself: a node that missed the proposal but has
//!   the votes and a valid block goes on. More than a third of those voters are correct and saw the proposal.
//! - **D2** A quorum of nil precommits starts the next round at once. No block can get a quorum in that round any more, so the
//!   precommit timer would wait for nothing. A crashed proposer costs its propose timer and no more. From the third round of a
//!   height on, such a round lasts at least as long as a growing pause ([`timers::nil_round`]), so that no lasting reason for nil,
//!   clocks that disagree for example, spins through rounds and their syncs.
//! - **D3** The proposer signs its proposal and its prevote under one write of the hard state.
//! - **D4** What others may lack is said again: every re-proposal travels with its polka; a timer that survives rounds repeats our
//!   last proposal, prevote, precommit and what brought us into the round; from the first failed round on, the polka behind
//!   `valid` is shown, so that no lock stays hidden.
//! - **D5** Proposer-based timestamps: a proposal without POL round that is not timely is prevoted nil.
//! - **D6** A polka of a round that has passed, later than `valid`, is remembered as valid too. `valid` decides only what is
//!   proposed, and a proposal travels with its polka. So a lock whose polka was hidden is resolved by the next proposer that is
//!   shown it, not by the next turn of those that hold it.
//!
//! - **D7** The propose timer adapts to the delays measured here, below the chain's bound. If it goes off while the block of a
//!   timely proposal is still arriving, the wait goes on up to the bound.
//!
//! # Invariants
//!
//! - **I1** One signed value for each (height, round, type), for ever: [`Signer`]'s guard.
//! - **I2** Nothing is said before the hard state that explains it is durable: [`Output::WriteAhead`] stands before it.
//! - **I3** locked round ≤ valid round ≤ round: asserted after each step.
//! - **I4** A precommit for a block is said only when its bytes are durable here: L36 needs [`Input::BlockChecked`], and the write
//!   carries the bytes. Engine and host agree at every moment which bytes are at hand: what is dropped is told
//!   ([`Input::BlockDropped`]), and what a rule may need ([`Engine::needed_blocks`]) is never dropped.
//! - **I5** A decided height never changes: after [`Output::Commit`] no rule fires until the next height.
//! - **I6** Memory for a height is bounded by a function of the number of validators: [`Engine::held_bytes`] never exceeds
//!   [`Engine::held_bytes_max`], whatever peers send.
//!
//! # Where to read on
//!
//! [`rules`] (a function for each line), [`engine`] (state, inputs, outputs), [`votes`] (counting), [`signer`] (the guard),
//! [`timers`] (how long to wait), [`driver`] (one sync for a batch of inputs), [`notes`] (what watchers are shown).

pub mod driver;
pub mod engine;
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
