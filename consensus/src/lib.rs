//! Implements Tendermint consensus (arXiv:1807.04938, Algorithm 1) as a function: [`Engine::step`] takes one input and
//! returns the list of actions that the replica must execute, in order. The crate uses no clock, no thread, no disk and no
//! socket.
//!
//! This page explains the protocol from beginning to end: words, the algorithm line by line, why it is safe and why it
//! makes progress, the deviations D1 to D7 from the paper, and the invariants I1 to I6. You do not need the paper.
//!
//! # Words
//!
//! A **height** is one position of the chain. It is decided in **rounds** 0, 1, 2 and so on. Each round has one
//! **proposer**, and three **steps**: Propose, Prevote and Precommit. A **vote** is a prevote or a precommit, either
//! for one block or for **nil** ("no block in this round").
//!
//! Each validator has a **power**. A **quorum** is votes of `3·w > 2·total`, and a third is exceeded by `3·w > total`;
//! both comparisons are strict. The faulty validators have less than a third of the power. So each quorum contains
//! correct validators of more than a third, any two quorums have a correct validator in common, and votes that exceed a
//! third include one of a correct validator.
//!
//! A **polka** is a quorum of prevotes for one block in one round. **locked** is the block that this node precommitted
//! last, with the round of its polka; the paper has `lockedValue` and `lockedRound`. **valid** is the valid block with
//! the latest polka that this node knows, and the round of the polka; the paper has `validValue` and `validRound`. The
//! **POL round** of a proposal (`vr` in the paper) is the round of the polka that justifies it: a re-proposal of
//! `valid` carries the round of `valid`, a new block has none.
//!
//! # The algorithm, line by line
//!
//! Numbers are lines of Algorithm 1, the text is our rule, and the last column is the function that executes it. All
//! rules apply to the current height. After each input the rules run until none fires any more (`Engine::run_rules`).
//! So the order in which messages arrive does not matter: if a polka is complete before its block is checked, L36 fires
//! as soon as the block is checked.
//!
//! | line | rule | function |
//! |---|---|---|
//! | L1–L4 | A node has a height, a round and a step. | `Engine::new` |
//! | L5 | A height has no decision until L51. Decided blocks are kept by the replica. | `Engine::decision` |
//! | L6–L9 | At the start of a height nothing is locked and nothing is valid. | `on_start_height` |
//! | L10 | A height starts with round 0, or after a crash as its hard state says. | `on_start_height`, `restore` |
//! | L11–L13 | A round starts in step Propose. | `line_11_start_round` |
//! | L14–L16 | The proposer proposes `valid` again, if there is one. | `line_11_propose_or_wait` |
//! | L16 | If the block of `valid` is still being checked, it is proposed after that. | `line_16_when_checked` |
//! | L17–L18 | Without `valid`, the proposer asks the replica for a new block. | `build_block`, `on_block_built` |
//! | L19 | The proposal is signed and sent to all peers. | `propose` |
//! | L20–L21 | The others start the propose timer. | `line_11_propose_or_wait` |
//! | L22 | Step Propose: a proposal without POL round is judged when its block is checked. | `line_22` |
//! | L23–L24 | It is prevoted if it is valid and timely (D5), and there is no lock on another block. | `line_22` |
//! | L25–L26 | Otherwise nil is prevoted. | `line_22` |
//! | L27 | Either vote ends step Propose. | `vote` |
//! | L28 | Step Propose: a proposal with an earlier POL round is judged when its polka is here too. | `line_28` |
//! | L29–L30 | It is prevoted if it is valid, and the lock is not later than the polka, or on the block. | `line_28` |
//! | L31–L32 | Otherwise nil is prevoted. | `line_28` |
//! | L33 | Either vote ends step Propose. | `vote` |
//! | L34–L35 | Step Prevote: a quorum of any prevotes starts the prevote timer, once per round. | `line_34` |
//! | L36 | Steps Prevote and Precommit: a polka of this round for a valid block fires once. | `line_36` |
//! | L37–L39 | In step Prevote the block is locked. | `lock` |
//! | L40–L41 | In step Prevote the block is precommitted, which ends the step. | `vote` |
//! | L42–L43 | In both steps the block becomes `valid`. | `remember_valid` |
//! | L44–L46 | Step Prevote: a quorum of nil prevotes: nil is precommitted. The lock stays. | `line_44` |
//! | L47–L48 | A quorum of any precommits starts the precommit timer, once per round. | `line_47` |
//! | L49–L51 | A quorum of precommits of any round for a valid block decides that block. | `line_49`, `decide` |
//! | L52–L54 | The replica commits it, and starts the next height with nothing locked. | [`Input::StartHeight`] |
//! | L55–L56 | Votes of a later round that exceed a third, each validator once, start that round. | `line_55` |
//! | L57–L60 | The propose timer expires in step Propose: nil is prevoted. | `line_57` |
//! | L61–L64 | The prevote timer expires in step Prevote: nil is precommitted. | `line_61` |
//! | L65–L67 | The precommit timer expires: the next round starts. | `line_65` |
//!
//! # Agreement: why two blocks are never decided
//!
//! Four facts suffice. (S1) Two quorums have a correct validator in common. (S2) A correct validator signs one value
//! for each round and type (I1). (S3) It precommits a block only upon a polka for it in that round, and locks it then.
//! (S4) A node that is locked on block `a` prevotes another block only if it sees a polka for that other block in the
//! round of its lock or later (L23, L29).
//!
//! Suppose that two blocks are decided, `a` in round r and the other in round r or later. By S3, correct validators of
//! more than a third are locked on `a` when they leave round r, and the other block has a polka in its round. Let s be
//! the first round from r on in which a block `b` other than `a` has a polka. If s = r, a correct validator prevoted
//! `a` and `b` in one round (S1), against S2. If s > r, no other block has a polka from r to s − 1, so the locks on `a`
//! stay until round s. The polka for `b` contains a prevote of one of these validators, and by S4 it saw a polka for
//! `b` in a round from r to s − 1. There is none: a contradiction.
//!
//! Time appears nowhere in this argument: whatever timers do, and however long messages take, agreement holds.
//!
//! # Progress: why a block is decided
//!
//! From some time on, the network is timely: a message of a correct node reaches all others within some delay. (P1)
//! What one correct node knows about a height, all know soon. (P2) The waits grow with the round, so in late rounds
//! they exceed the delay, and L55 brings all correct nodes into the same round. (P3) In such a round, a correct
//! proposer whose `valid` is as late as every lock proposes a block that all correct nodes prevote: a block with its
//! polka by L29, or, if no validator is locked, a new block by L23. (P4) Then the polka and the precommits reach all before
//! their timers expire, and L49 decides.
//!
//! # Deviations from the paper
//!
//! Each has a reason, the argument why agreement and progress still hold, and an example. In the examples the
//! validators are A, B, C and D with power 1 each: three are a quorum, and two exceed a third. A proposes in round 0, B
//! in round 1, and so on.
//!
//! ## D1: no rule except L22 and L28 needs the proposal
//!
//! L36 and L49 take the block from the polka or from the quorum of precommits. A node that missed the proposal
//! continues as soon as it has the votes and a valid block.
//!
//! - *Agreement*: S1 to S4 do not mention proposals. A polka contains prevotes of correct validators, and these saw the
//!   proposal and checked the block; this node checks the block too.
//! - *Progress*: each rule needs less than the paper's rule, so it fires no later.
//! - *Example*: D receives no proposal, but prevotes for `a` of A, B and C. Its propose timer expires and it prevotes
//!   nil. It fetches the block `a`, finds it valid, locks it, and precommits it in round 0. In the paper D would wait
//!   for the proposal.
//!
//! ## D2: a quorum of nil precommits starts the next round at once
//!
//! No block can reach a quorum of precommits in that round any more, so the precommit timer has nothing to wait for.
//! From the third round of a height on, a round that ends in nil lasts at least a time that grows with the round
//! ([`timers::nil_round`]). So a lasting cause of nil votes, for example clocks that disagree, does not cause a fast
//! sequence of rounds with a disk sync in each.
//!
//! - *Agreement*: it does not depend on when a node leaves a round. Votes of a past round still count (L49).
//! - *Progress*: P2 holds, because the propose timer still grows, and from the third round on so does the whole round.
//!   The nodes stay together, because the quorum that moved one node is sent to the others (D4).
//! - *Example*: A is down. B, C and D wait for its proposal, prevote nil and precommit nil. Each starts round 1 as soon
//!   as it has the three nil precommits. A crashed proposer costs the propose timer, but not the precommit timer.
//!
//! ## D3: the proposer signs its proposal and its prevote under one write
//!
//! L19 and L24 fire in the same step, so one write of the hard state precedes both messages.
//!
//! - *Agreement*: I1 and I2 hold for both messages. A crash before the write loses both, and no peer has seen them. A
//!   crash after it loses neither, and both are sent again with the same bytes.
//! - *Progress*: the same messages are sent, earlier by one disk sync.
//! - *Example*: A builds `a`. The step returns a write-ahead that contains the proposal of `a` and the prevote for `a`,
//!   then these two messages. If the power fails before the write is durable, A may propose another block in round 0
//!   after its restart: no signature for `a` has left it.
//!
//! ## D4: messages that others may lack are sent again
//!
//! The paper assumes P1. Our links lose messages, so the engine sends again: each re-proposal together with its polka;
//! and, by a timer that continues across rounds, our last proposal, prevote and precommit, and the certificates that
//! brought this node into its round. After the first failed round of a height, the polka behind `valid` is broadcast
//! too, so that no lock stays hidden.
//!
//! - *Agreement*: what is sent again has the bytes and signatures of the first time (I1), and a vote counts once.
//! - *Progress*: this is what makes P1 true.
//! - *Example*: in round 0 only D sees the polka for `a` of A, B and D, and locks `a`. Then A crashes. In round 1 B
//!   proposes a new block `b`; B and C prevote it, and D, which is locked, prevotes nil. Two votes are no quorum. If
//!   the polka stayed hidden, this would repeat until D proposes. But D broadcasts the polka when round 1 starts, and
//!   D6 follows.
//!
//! ## D5: a new block must be timely
//!
//! A proposal without POL round is prevoted nil if it is received earlier than its time minus the precision, or later
//! than its time plus the message delay (which grows by a tenth in each round) plus the precision. So the time of a
//! block is near the time at which a correct validator saw it (proposer-based timestamps).
//!
//! - *Agreement*: it only makes L23 stricter. S4 says when a prevote for a block is allowed, and nil always is.
//! - *Progress*: the proposal of a correct proposer is timely for all correct nodes, if their clocks differ by at most
//!   `precision` and its message takes at most the delay, which grows with the round. A re-proposal is not judged
//!   again: its polka contains the prevotes of correct validators for which it was timely. So the clock cannot keep a
//!   locked block from being decided in a later round.
//! - *Example*: with a precision of 505 ms, A's clock is 2 s ahead, and A dates `a` 12:00:02. B, C and D receive it at
//!   12:00:00.1, before 12:00:01.495, and prevote nil. Round 1 decides a block of B, dated 12:00:00.2.
//!
//! ## D6: a polka of a past round also sets `valid`
//!
//! The paper sets `valid` only from a polka of the current round. Here a polka of a past round that is later than the
//! round of `valid` sets it too, as soon as its block is checked (`line_42_of_a_passed_round`).
//!
//! - *Agreement*: `valid` decides only what this node proposes, and a proposal may be any block. The lock does not
//!   move, and each node judges the re-proposal by L29 with a polka that it has seen itself.
//! - *Progress*: `valid` is never earlier than in the paper, and P3 needs that it is late. The next correct proposer
//!   that receives the polka resolves the lock.
//! - *Example*: in the example of D4, B and C receive the polka of round 0 in round 1, and set `valid` to `a`. In round
//!   2 C proposes `a` with POL round 0. B and C are not locked, and the lock of D is of round 0. All three prevote `a`,
//!   precommit it and decide it, while A is down. Without D6 they would wait until D, which holds the lock, proposes in
//!   round 3.
//!
//! ## D7: the propose timer adapts to the measured delays
//!
//! The wait for a proposal follows the delays that this node measures, and stays below the chain's bound ([`timers`]).
//! If it expires while the block of a timely proposal is still arriving, the wait continues once, up to the bound.
//!
//! - *Agreement*: it does not depend on time.
//! - *Progress*: the wait doubles in each failed round of a height until it is the bound, and the bound grows with the
//!   round, so P2 holds.
//! - *Example*: blocks are usually checked 20 ms after the start of a round, so the wait is its minimum of 200 ms
//!   instead of 3 s. If A is down, round 0 costs 200 ms. If the proposal of A arrives after 30 ms and its large block
//!   after 900 ms, the node waits for it beyond the 200 ms and prevotes it.
//!
//! # Invariants
//!
//! Each invariant is asserted in the code: search for `"I1:` and so on, or see the table in `invariants.rs`. No input
//! of a peer can reach an assertion: each concerns only what this node itself computed, so a failure is our error, and
//! a validator that stops is safe.
//!
//! - **I1** A key signs at most one value for each (height, round, type), permanently. [`Signer`] refuses anything
//!   else, and asserts that what it signs is later than what it signed before. A node whose record of signatures may be
//!   too old does not sign ([`Engine::is_abstaining`]).
//! - **I2** No message is sent before the hard state that explains it is durable: [`Output::WriteAhead`] precedes the
//!   message, and in a batch a later hard state supersedes the earlier ones. Asserted after each step, and in
//!   [`driver::Batch`].
//! - **I3** locked round ≤ valid round ≤ round. Asserted after each step. So a proposer that is locked re-proposes a
//!   block of its lock's round or later.
//! - **I4** A vote or a decision for a block is made only while the block's bytes are available on this node and the
//!   block is valid. A precommit is sent only when the bytes are durable: they are part of the write-ahead, as the replica
//!   asserts. Engine and replica agree at every moment on which bytes are available: the replica reports bytes that it drops
//!   ([`Input::BlockDropped`]), and it never drops a block that a rule may need ([`Engine::needed_blocks`]).
//! - **I5** A decided height never changes: after [`Output::Commit`] no rule fires until the next height starts. Each
//!   function by which rules change the state asserts this.
//! - **I6** Memory for a height is bounded by a function of the number of validators: [`Engine::held_bytes`] never
//!   exceeds [`Engine::held_bytes_max`], whatever peers send. Asserted after each step. The paper keeps all messages.
//!   We forget votes of rounds long past, except those of rounds to which a rule refers, and a few rounds with a quorum
//!   ([`votes::HeightVotes`]). A vote that was forgotten counts again when a certificate proves its quorum.
//!
//! # Modules
//!
//! [`rules`] (one function for each rule), [`engine`] (state), [`io`] (inputs, outputs), `invariants` (assertions),
//! [`votes`] (counting of votes), [`signer`] (the guard against double signing), [`timers`] (durations of timeouts),
//! [`driver`] (one disk sync for a batch of inputs), [`notes`] (round events for observers).

pub mod driver;
pub mod engine;
mod invariants;
pub mod io;
pub mod notes;
pub mod rules;
mod seen;
pub mod signer;
pub mod timers;
pub mod votes;

pub use engine::{Engine, NEEDED_BLOCKS_MAX};
#[cfg(any(test, feature = "mutations"))]
pub use io::Mutation;
pub use io::{Input, Message, Output};
pub use notes::{RoundNote, RoundStep, What};
pub use signer::{DoubleSign, SignState, Signer};
pub use timers::{Timeout, TimeoutKind};
