//! Implements Tendermint consensus (arXiv:1807.04938, Algorithm 1) as a function: [`Engine::step`] takes one input and
//! returns the list of actions that the replica must execute, in order. The crate uses no clock, no thread, no disk and
//! no socket.
//!
//! This page explains the protocol from beginning to end: words, the algorithm line by line, why it is safe and why it
//! makes progress, the deviations D1 to D7 from the paper, and the invariants I1 to I6. You do not need the paper.
//!
//! # Words
//!
//! A **node** is one engine inside a **replica**, which executes the actions: it sends and writes, and it fetches,
//! checks and holds the blocks. The engine knows a block by its id only. A **validator** is a node that has a vote. A
//! validator is **correct** if it follows this page, even if it crashes and restarts with its disk. A **faulty** one
//! may do anything.
//!
//! A **height** is one position of the chain. It is decided in **rounds** 0, 1, 2 and so on. Each round has one
//! **proposer**; the validators take turns in proportion to their power. A round has three **steps**: Propose, Prevote
//! and Precommit. The proposer signs a **proposal**, which names one block by its id. A **vote** is a prevote or a
//! precommit, either for one block or for **nil** ("no block in this round"). The three **types** of signed messages
//! are the proposal, the prevote and the precommit.
//!
//! Each validator has a **power**. Votes with a sum of powers `w` are a **quorum** if `3·w > 2·total`, and they
//! **exceed a third** if `3·w > total`; both comparisons are strict, and a validator counts once. The faulty validators
//! have less than a third of the power. So the votes of correct validators in a quorum exceed a third, any two quorums
//! have a correct validator in common, and votes that exceed a third include one of a correct validator. A
//! **certificate** is a list of votes of one height, round and type that is sent as one message to prove such a sum.
//!
//! A block is **available** while the replica of this node holds all its bytes. It is **checked** when the replica has
//! reported whether it is a valid next block. A valid block, on this page, is one that was found valid and is
//! available.
//!
//! A **polka** is a quorum of prevotes for one block in one round. Two variables refer to polkas, and both keep a block
//! together with the round of its polka. **`locked`** is the block that this node precommitted last; the paper has
//! `lockedValue` and `lockedRound`. **`valid`** is, of the valid blocks with a polka that this node knows, the one with
//! the latest polka; the paper has `validValue` and `validRound`. A proposer that has `valid` proposes it again. The
//! **POL round** ("proof of lock", `vr` in the paper) of such a re-proposal is the round of `valid`. The proposal of a
//! new block has none.
//!
//! The **hard state** is what a node must know after a crash: height, round, step, `locked`, `valid` with its polka,
//! and the messages that it signed in the last rounds. A **write-ahead** makes it durable before these messages are
//! sent.
//!
//! # The algorithm, line by line
//!
//! Numbers are lines of Algorithm 1, the text is our rule, and the last column is the function that executes it. D1 to
//! D7 are the deviations, explained below. All rules apply to the current height. After each input the rules run until
//! none fires any more (`Engine::run_rules`). So it does not matter which condition of a rule is met last: if a polka
//! is complete before its block is checked, L36 fires as soon as the block is checked.
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
//! | L22 | Step Propose: the first proposal without POL round is judged when its block is checked. | `line_22` |
//! | L23–L24 | Its block is prevoted if it is valid and timely (D5), and no other block is locked. | `line_22` |
//! | L25–L26 | Otherwise nil is prevoted. | `line_22` |
//! | L27 | Either vote ends step Propose. | `vote` |
//! | L28 | Step Propose: a proposal with an earlier POL round is judged when block and polka are here. | `line_28` |
//! | L29–L30 | Its block is prevoted if it is valid, and no other is locked later than the polka. | `line_28` |
//! | L31–L32 | Otherwise nil is prevoted. | `line_28` |
//! | L33 | Either vote ends step Propose. | `vote` |
//! | L34–L35 | Step Prevote: a quorum of any prevotes starts the prevote timer, once per round. | `line_34` |
//! | L36 | Steps Prevote and Precommit: a polka of this round for a valid block has these effects, once: | `line_36` |
//! | L37–L39 | In step Prevote the block is locked. | `lock` |
//! | L40–L41 | In step Prevote the block is precommitted, which ends the step. | `vote` |
//! | L42–L43 | In both steps the block becomes `valid`. | `remember_valid` |
//! | L44–L46 | Step Prevote: a quorum of nil prevotes: nil is precommitted. The lock stays. | `line_44` |
//! | L47–L48 | A quorum of any precommits starts the precommit timer, once per round. For nil: D2. | `line_47` |
//! | L49–L51 | A quorum of precommits of any round for a valid block decides that block. | `line_49`, `decide` |
//! | L52–L54 | The replica commits it, and starts the next height with nothing locked. | [`Input::StartHeight`] |
//! | L55–L56 | Votes of a later round, of either type, that exceed a third start the latest such round. | `line_55` |
//! | L57–L60 | The propose timer expires in step Propose: nil is prevoted, or the wait is extended (D7). | `line_57` |
//! | L61–L64 | The prevote timer expires in step Prevote: nil is precommitted. | `line_61` |
//! | L65–L67 | The precommit timer expires, or nil has a quorum (D2): the next round starts. | `line_65` |
//!
//! Two more functions belong to deviations: `line_42_of_a_passed_round` (D6) and `line_65_after_nil` (D2).
//!
//! # Agreement: why two blocks are never decided
//!
//! Four facts suffice.
//!
//! - **S1** Two quorums have a correct validator in common.
//! - **S2** A correct validator signs one value (a block or nil) for each round and type of vote (I1).
//! - **S3** It precommits a block only upon a polka for that block in the same round, and locks the block then. Only
//!   its next precommit for a block replaces the lock: nil does not (L44), and a crash does not (the hard state has
//!   it).
//! - **S4** A validator that is locked on block `a` prevotes another block only if it has seen a polka for that other
//!   block in the round of its lock or later, but before the current round (L23, L28, L29).
//!
//! In this argument a block has a polka as soon as the prevotes are signed, even if no node holds all of them. Suppose
//! that two blocks are decided, `a` in round r and the other in round r or later.
//!
//! 1. A quorum precommitted `a` in round r. Its correct validators exceed a third. Call them the holders: by S3 they
//!    are locked on `a` when they leave round r.
//! 2. A decided block has a polka in the round of its decision, because a correct validator precommitted it there (S3).
//!    So there is a first round s, from r on, in which a block `b` other than `a` has a polka.
//! 3. If s = r, `a` and `b` both have a polka in round r, and a correct validator prevoted both (S1), against S2.
//! 4. If s > r, no block but `a` has a polka from r to s − 1. So the holders that reach round s are still locked on
//!    `a`, in round r or later (S3). The polka for `b` exceeds two thirds and the holders exceed a third, so one holder
//!    prevoted `b` in round s; it was locked by then, because the rounds of a node only grow. By S4 it had seen a polka
//!    for `b` in a round from r to s − 1. There is none: a contradiction.
//!
//! Time appears nowhere in this argument: whatever timers do, and however long messages take, agreement holds.
//!
//! # Progress: why a block is decided
//!
//! From some time on, the network is timely: a message of a correct node reaches all others within some delay.
//!
//! - **P1** What one correct node knows about a height, all know soon (D4).
//! - **P2** The waits grow with the round, so in late rounds they exceed the delay. L55 brings a node that is behind
//!   into the round of the others.
//! - **P3** In such a round, let the proposer be correct, and its `valid` at least as late as the lock of each correct
//!   validator. Then all correct validators prevote its block: if it has `valid`, by L29; if it has none, no correct
//!   validator is locked, and they prevote its new block by L23. Such a proposer has its turn, because the polka behind
//!   each lock (S3) reaches all nodes (P1) and sets their `valid` (L42, D6).
//! - **P4** Then the polka and the precommits reach all before their timers expire, and L49 decides.
//!
//! Faulty validators can delay P3: if they complete a polka for one node only at the end of a round, the next proposer
//! may have to propose before the polka reaches it. Then its round may fail, but the proposer after it has the polka.
//! To repeat this, they have to complete another polka within the last message delay of that round, and so on.
//!
//! # Deviations from the paper
//!
//! Each has a reason, the argument why agreement and progress still hold, and an example. In the examples the
//! validators are A, B, C and D with power 1 each: three are a quorum, and two exceed a third. A proposes in round 0, B
//! in round 1, and so on. `a` is a block that A built, `b` one that B built.
//!
//! ## D1: no rule except L22 and L28 needs the proposal
//!
//! In the paper L36 and L49 need the proposal of the block too. Here they take the id of the block from the polka or
//! from the quorum of precommits. A node that missed the proposal continues as soon as it has the votes and the valid
//! block.
//!
//! - *Agreement*: S1 to S4 do not mention proposals. A polka contains prevotes of correct validators, and these saw the
//!   proposal and checked the block; this node checks the block too.
//! - *Progress*: each rule needs less than the paper's rule, so it fires no later.
//! - *Example*: D receives no proposal, but prevotes for `a` of A, B and C. Its propose timer expires and it prevotes
//!   nil. Its replica fetches the block `a` and finds it valid; D locks `a`, and precommits it in round 0. In the paper
//!   D would wait for the proposal before it locks `a`.
//!
//! ## D2: a quorum of nil precommits starts the next round at once
//!
//! No block can reach a quorum of precommits in that round any more, so the precommit timer has nothing to wait for.
//! From the third round of a height (round 2) on, a round that ends in nil lasts at least a time that grows with the
//! round ([`timers::nil_round`]). So a lasting cause of nil votes, for example clocks that disagree, does not cause a
//! fast sequence of rounds with a disk sync in each.
//!
//! - *Agreement*: it does not depend on when a node leaves a round. Votes of a past round still count (L49).
//! - *Progress*: P2 holds, because the propose timer still grows, and from the third round on so does the whole round.
//!   The nodes stay together, because the quorum that moved one node is sent to the others (D4). In the paper, a polka
//!   that one node saw at the last moment reaches the others while their precommit timers run. Here the next round may
//!   start without it, and the proposer after that has it: see the end of section Progress.
//! - *Example*: A is down. B, C and D wait for its proposal, prevote nil and precommit nil. Each starts round 1 as soon
//!   as it has the three nil precommits. A crashed proposer costs the propose timer, but not the precommit timer.
//!
//! ## D3: the proposer signs its proposal and its prevote under one write
//!
//! The nodes of the paper do not restart. Ours do, so a write-ahead precedes each message that a node signs (I2). L19
//! and L24 (or L30) fire in the same call of [`Engine::step`], so one write-ahead precedes both messages.
//!
//! - *Agreement*: I1 and I2 hold for both messages. A crash before the write loses both, and no peer has seen them. A
//!   crash after it loses neither, and both are sent again with the same bytes.
//! - *Progress*: the same messages are sent, and the prevote is sent earlier, because it waits for one disk sync, not
//!   two.
//! - *Example*: A builds `a`. The step returns a write-ahead that contains the proposal of `a` and the prevote for `a`,
//!   then these two messages. If the power fails before the write is durable, A may propose another block in round 0
//!   after its restart: no signature for `a` has left it.
//!
//! ## D4: messages that others may lack are sent again
//!
//! The paper assumes P1. Our links lose messages, so the engine sends again. Each re-proposal is sent together with its
//! polka. A timer that continues across rounds sends our last proposal, prevote and precommit, and the certificates
//! that brought this node into its round (L55, L65). After the first failed round of a height, the timer also sends the
//! polka behind `valid`, and so does each node that is not the proposer at the start of a round: no lock stays hidden.
//!
//! - *Agreement*: what is sent again has the bytes and signatures of the first time (I1), and a vote counts once.
//! - *Progress*: this makes P1 true for what a node signed, and for what moved it or locks it. The replica does the
//!   rest: peers compare which votes of their rounds they hold, and send each other the missing ones.
//! - *Example*: in round 0 the prevote of A reaches only D. So only D sees the polka for `a` of A, B and D, and locks
//!   `a`. Then A crashes. In round 1 B proposes a new block `b`; B and C prevote it, and D, which is locked, prevotes
//!   nil. Two votes are no quorum. If the polka stayed hidden, this would repeat until D proposes. But D broadcasts the
//!   polka when round 1 starts; the example of D6 continues from there.
//!
//! ## D5: a new block must be timely
//!
//! A proposal has the time in the header of its block. Two parameters of the chain say when it is timely
//! ([`types::Synchrony`]): the precision is the maximum difference between correct clocks, and the message delay is how
//! long a proposal may travel. If a proposal without POL round was received earlier than its time minus the precision,
//! or later than its time plus the message delay (a tenth longer in each round) plus the precision, nil is prevoted. So
//! the time of a block is near the time at which a correct validator received its proposal. CometBFT calls this
//! proposer-based timestamps.
//!
//! - *Agreement*: it only makes L23 stricter. S4 limits prevotes for a block; nil is always allowed.
//! - *Progress*: the proposal of a correct proposer is timely for all correct nodes, if their clocks differ by at most
//!   `precision` and its message takes at most the delay, which grows with the round. The clock does not judge a
//!   re-proposal: the first polka for its block contains the prevotes of correct validators for which it was timely. So
//!   the clock cannot keep a locked block from being decided in a later round.
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
//!   that receives the polka proposes the locked block.
//! - *Example*: in the example of D4, B and C receive the polka of round 0 in round 1, and set `valid` to `a`. In round
//!   2 C proposes `a` with POL round 0. B and C are not locked, and the lock of D is of round 0. All three prevote `a`,
//!   precommit it and decide it, while A is down. Without D6 they would wait until D, which holds the lock, proposes in
//!   round 3.
//!
//! ## D7: the propose timer adapts to the measured delays
//!
//! In the paper each wait is a base plus a growth for each round. Here this is the bound of the wait for a proposal,
//! and comes from the chain's parameters. The wait itself follows the delays that this node measures, and never exceeds
//! the bound ([`timers`]). If it expires while the block of a proposal that may be prevoted is still arriving (a timely
//! new block, or a re-proposal whose polka is here), the wait continues once, up to the bound.
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
//! Each invariant is asserted in the code: search for `"I1:` and so on, or see the table in `invariants.rs`. (An
//! assertion of a single rule begins with its line, such as `"L39:`.) No input of a peer can make an assertion fail:
//! each concerns only what this node itself computed. So a failure is our error. It stops the process, and a validator
//! that stops is safe.
//!
//! - **I1** A key signs at most one value for each (height, round, type), permanently. [`Signer`], the guard of the
//!   key, refuses anything else, and asserts that what it signs is later than what it signed before. A node that was
//!   restored from an old copy of its disk, and may not know what it signed since, does not sign
//!   ([`Engine::is_abstaining`]).
//! - **I2** No message that this node signs is sent before a hard state that contains it is durable:
//!   [`Output::WriteAhead`] precedes the message, and in a batch a later hard state supersedes the earlier ones.
//!   Asserted after each step, and in [`driver::Batch`].
//! - **I3** locked round ≤ valid round ≤ round. Asserted after each step. So a proposer that is locked re-proposes a
//!   block whose polka is of the round of its lock or later.
//! - **I4** A vote or a decision for a block is made only while the block is valid and available on this node. A
//!   precommit is sent only when the bytes of its block are durable: they are part of the write-ahead, as the replica
//!   asserts. Before each input, engine and replica agree on which bytes are available: the replica reports bytes that
//!   it drops before it gives the engine any other input ([`Input::BlockDropped`]), and it never drops a block that a
//!   rule may need ([`Engine::needed_blocks`]).
//! - **I5** A decided height never changes: after [`Output::Commit`] no rule fires until the next height starts. Each
//!   function by which rules change the state asserts this.
//! - **I6** Memory for a height is bounded by a function of the number of validators: [`Engine::held_bytes`] never
//!   exceeds [`Engine::held_bytes_max`], whatever peers send. Asserted after each step. The paper keeps all messages.
//!   We forget votes of rounds long past, except those of rounds to which a rule refers, and of a few rounds with a
//!   quorum; and of the rounds after the next one we keep only the latest of each validator ([`votes::HeightVotes`]).
//!   So a forgotten vote can delay a rule. It counts again when a certificate proves its quorum.
//!
//! # Modules
//!
//! [`rules`] (one function for each rule), [`engine`] (state), [`io`] (inputs, outputs), `invariants` (assertions),
//! [`votes`] (counting of votes), `seen` (verdicts on blocks), [`signer`] (the guard against double signing),
//! [`timers`] (durations of timeouts), [`driver`] (one disk sync for a batch of inputs), [`notes`] (round events for
//! observers).

pub mod driver;
pub mod engine;
mod invariants;
pub mod io;
mod mutation;
pub mod notes;
pub mod rules;
mod seen;
pub mod signer;
pub mod timers;
pub mod votes;

pub use engine::{Engine, NEEDED_BLOCKS_MAX};
pub use io::{Input, Message, Output};
#[cfg(feature = "mutations")]
pub use mutation::{BrokenRule, Mutation};
pub use notes::{RoundNote, RoundStep, What};
pub use signer::{DoubleSign, Signer};
pub use timers::{Timeout, TimeoutKind};
