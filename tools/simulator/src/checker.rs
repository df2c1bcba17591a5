//! The conditions that are checked at every step, before anything leaves a node.
//!
//! | check | condition | source | file |
//! |---|---|---|---|
//! | agreement | all correct nodes decide the same block at a height, with the same results | arXiv:1807.04938, Agreement; Lemma 4 | `agreement` |
//! | app hash | they have the same state after it | Tendermint, `AppHash` | `agreement` |
//! | validity | a decided block follows its predecessor, is valid, and more than 2/3 of the power signed it and the one before it | arXiv:1807.04938, Validity; L49 | `blocks` |
//! | once | no signed body is executed twice, or fails and pays twice | `app` | `blocks` |
//! | index | a node finds each executed transaction at its place | `Store::tx` | `blocks` |
//! | pool | a correct proposer takes only transactions that are executed, or fail and pay | `mempool` | `pool` |
//! | time | no decided block is from the future, or as early as the one before | proposer-based timestamps; D5 of `consensus` | `blocks` |
//! | supply | balances, collected fees, the deposits of open proposals, stake, rewards and the community pool add up to the supply | ST1 | `supply` |
//! | I1 | a correct validator signs one value per (height, round, type), permanently and across crashes | `consensus`, I1 | `own` |
//! | I1 | the guard of a correct node signs no second value, whatever asks it to | `consensus::Signer` | `guard` |
//! | I2 | a signed message is in the durable hard state before it is sent, or that state is at a later height (*) | `consensus`, I2 | `own` |
//! | I3 | locked round ≤ valid round ≤ round | `consensus`, I3 | `reasons` |
//! | I4 | a precommit for a block is sent only when the block's bytes are durable | `consensus`, I4 | `own` |
//! | I5 | a decided height never changes, also across crashes | `consensus`, I5 | `agreement` |
//! | I6 | each part of a replica, and what it sends in a step, stays below a function of the numbers of validators and peers and the limits of the chain, in bytes | `consensus`, I6; `Replica::held` | `memory` |
//! | L16 | a proposer that precommitted a block proposes again one with a POL round not before that | L14 to L16 with I3 | `reasons` |
//! | polka | a block that is proposed again travels with its polka | D4 of `consensus` | `reasons` |
//! | L22 | a prevote for a block needs a proposal of it by the proposer of the round | L22, L28 | `reasons` |
//! | L28 | a proposal with a POL round gets a prevote for its block only if its polka is there | L28 | `reasons` |
//! | L57 | a prevote for nil needs a proposal that could be judged, or the propose timer | L22 to L32, L57 | `reasons` |
//! | L36 | a precommit for a block needs its polka in this round | L36 | `reasons` |
//! | L44 | a precommit for nil needs more than 2/3 of prevotes for nil, or the prevote timer | L44, L61 | `reasons` |
//! | repeats | a node repeats its last votes until the height is decided, and its round state in each gossip interval | Gossip communication property of the paper | `repeats` |
//! | lock | a prevote against a precommit needs a proposal with a polka of that round or later | L23, L29 | `reasons` |
//! | proposer | sets, priorities and proposers are those of the weighted rotation, and in a cycle the share of turns is the share of power | CometBFT v0.38, proposer-selection.md | `rotation` |
//! | standing | no correct node penalizes a correct one, or halts | - | `standing` |
//! | EV1 to EV5 | evidence in blocks is true, new, not expired, reported to the application and bounded | Tendermint, evidence | [`evidence`](crate::evidence) |
//! | EV6 | a node that holds two votes of one validator that contradict each other reports them, however they came: one by one, in certificates, early, late, or in the commits of blocks | Tendermint, evidence | `equivocators`, `heard` |
//! | EV7 | a node keeps evidence that it is given and that may be in the next block, also of attacks on light clients; what a node reported is in a block in the end, also after a restart, unless its disk has lost something since, or it has expired or proves nothing any more | Tendermint, evidence | `accusations`, `equivocators`, `World::expect_evidence` |
//! | ST, params, upgrade, rotation | stake, rewards, slashes, the set, parameters, upgrades and keys | `docs/staking.md` | [`stakes`](crate::stakes) |
//! | effects | a failed transaction leaves its fee and its nonce, and nothing else | `app` | [`effects`](crate::effects) |
//! | I-KV, I-RV, fence | namespaces, reverts and kept heights | `docs/reverts.md` | [`ledger`](crate::ledger) |
//! | rewind | a rewind gives the rows of its height, also when it is interrupted, and forgets no signature | `docs/decisions/035-rewind-in-one-batch.md` | `World::rewind` |
//! | liveness | after faults have ended, all correct nodes decide within a bounded time | arXiv:1807.04938, Termination | `World::healing_bound` |
//!
//! (*) The signing state in its separate file must also have reached the message.
//!
//! The guards from L16 to L57 and the lock are judged by the messages that exist: votes and proposals that correct nodes signed,
//! and those that reached a correct node and that the validator in their name signed, which is verified here again (`words`).
//! Each check is proven by a mutation that it detects ([`mutation`](crate::mutation)), or by a forged history in the tests of its
//! file.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use consensus::Timeout;
use replica::{Committed, Halt, Offence, Output, Timer};
use storage::{Kv, Store};
use types::{Address, BlockId, ChainId, Height, Infraction, PeerMessage, Time};

use crate::{
    broken::{Broken, ensure},
    evidence::EvidenceRecord,
    ledger::Ledger,
    node::Node,
    story::Counts,
};
use accusations::Accusations;
use agreement::Agreement;
use blocks::Blocks;
use equivocators::Equivocators;
use own::{News, Own};
use reasons::Reasons;
use rotation::Rotation;
use words::Words;

mod accusations;
mod agreement;
mod blocks;
mod equivocators;
mod guard;
mod heard;
mod memory;
mod own;
mod pool;
mod reasons;
mod repeats;
mod rotation;
mod standing;
mod step;
mod supply;
mod words;

pub use own::Place;
pub use rotation::Turns;
pub use step::{Given, Step};

/// The checker of all nodes of a world.
pub struct Checker {
    accounts: Vec<Address>,
    /// Addresses of the validators that follow the protocol.
    correct: BTreeSet<Address>,
    agreement: Agreement,
    blocks: Blocks,
    own: Own,
    words: Words,
    reasons: Reasons,
    rotation: Rotation,
    equivocators: Equivocators,
    accusations: Accusations,
    evidence: EvidenceRecord,
    ledger: Ledger,
    /// Heights at which a correct validator proposed a block again with the round of its polka.
    reproposed: BTreeSet<Height>,
}

impl Checker {
    /// Creates a checker for a world without decisions. `correct` are the addresses of the validators that follow the protocol,
    /// `first` is the first set.
    pub fn new(
        chain_id: &ChainId,
        accounts: Vec<Address>,
        precision: Duration,
        (correct, first): (BTreeSet<Address>, Turns),
        (ledger, evidence): (Ledger, EvidenceRecord),
    ) -> Self {
        Self {
            accounts,
            correct: correct.clone(),
            agreement: Agreement::default(),
            blocks: Blocks::new(precision),
            own: Own::new(chain_id.clone()),
            words: Words::new(chain_id.clone()),
            reasons: Reasons::default(),
            rotation: Rotation::new(correct.clone(), first),
            equivocators: Equivocators::new(correct),
            accusations: Accusations::default(),
            evidence,
            ledger,
            reproposed: BTreeSet::new(),
        }
    }

    /// Returns the block that was decided at a height.
    pub fn block_id(&self, height: Height) -> Option<BlockId> {
        self.agreement.at(height).map(|decided| decided.block_id)
    }

    /// Returns the evidence in the decided blocks.
    pub fn evidence(&self) -> &EvidenceRecord {
        &self.evidence
    }

    /// Returns the infractions of which a block must have evidence sooner or later (EV7).
    pub fn owed(&self, nodes: &[Node]) -> Vec<Infraction> {
        let attacks = self.accusations.owed(nodes, &self.evidence);
        self.equivocators.owed(nodes, &self.evidence).into_iter().chain(attacks).collect()
    }

    /// Returns the places of all messages that correct nodes signed.
    pub fn signed(&self) -> impl Iterator<Item = &Place> {
        self.own.places()
    }

    /// Returns true if a correct node signed a message above a height.
    pub fn has_signed_above(&self, node: usize, height: Height) -> bool {
        self.own.has_signed_above(node, height)
    }

    /// Records the start of a process: its tip, and what it signed before and may send again.
    pub fn on_start(&mut self, node: &Node) {
        self.agreement.on_start(node.index, node.tip());
        let Some(alive) = node.alive.as_ref().filter(|_| node.is_correct()) else { return };
        let hard_state = alive.store.hard_state().expect("the replica has read it");
        for message in hard_state.iter().flat_map(|state| &state.votes) {
            self.own.restore(node.index, &PeerMessage::Vote(message.clone()));
            self.words.say_vote(message);
        }
        for message in hard_state.iter().flat_map(|state| &state.proposals) {
            self.own.restore(node.index, &PeerMessage::Proposal(message.clone()));
            self.words.say_proposal(message);
        }
    }

    /// Records a message that was put into the inbox of a correct node.
    pub fn on_delivered(&mut self, to: &Node, message: &PeerMessage) {
        self.words.hear(message, &self.rotation);
        self.accusations.on_delivered(to, message, &self.evidence);
    }

    /// Checks a step of a correct node, before anything leaves it.
    ///
    /// Errors: [`Broken`] with the first violated condition.
    pub fn on_step(&mut self, step: &Step<'_>, now: Time, counts: &mut Counts) -> Result<(), Broken> {
        let node = step.node;
        if let Some(alive) = &node.alive {
            reasons::check_order(node.index, &alive.replica)?;
        }
        memory::check(step)?;
        self.on_said(step)?;
        repeats::check(step)?;
        repeats::check_gossip(step)?;
        for output in step.outputs {
            match output {
                Output::Committed(committed) => self.on_committed(node, committed, now, counts)?,
                Output::StartTimer { timer: Timer::Consensus(timeout), after } => {
                    self.on_wait(node, timeout, *after)?;
                }
                _ => {}
            }
        }
        self.accusations.on_step(step, &self.evidence)?;
        self.equivocators.on_step(step, &self.evidence)
    }

    /// Checks what a correct node is about to send for the first time.
    fn on_said(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        let new = self.own.on_said(step.node, &self.rotation, step.messages())?;
        for News { message, .. } in &new {
            match &**message {
                PeerMessage::Vote(signed) => self.words.say_vote(signed),
                PeerMessage::Proposal(signed) => {
                    self.words.say_proposal(signed);
                    if signed.proposal.pol_round.is_some() {
                        self.reproposed.insert(signed.proposal.height);
                    }
                }
                _ => {}
            }
        }
        for news in &new {
            self.reasons.note(step.node.index, &news.message);
            // What an earlier process signed was judged then, or its write was reported as failed and it stopped.
            if !news.is_restored {
                self.reasons.check(step, &news.message, &self.words, &self.rotation)?;
            }
            self.own.check_durable(step.node, news)?;
            guard::check(step.node, &news.message, self.own.chain_id())?;
        }
        Ok(())
    }

    /// Checks a decision that a correct node announced.
    fn on_committed(
        &mut self,
        node: &Node,
        committed: &Arc<Committed>,
        now: Time,
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        let (height, updates) = (committed.block.header.height, &committed.results.validator_updates);
        self.follow_unannounced(node, height)?;
        self.blocks.check_commit(node.index, committed, &mut self.words, &self.rotation)?;
        let is_first = self.agreement.on_committed(node, committed, counts)?;
        if is_first {
            counts.heights += 1;
            self.count_decided(committed, counts);
            let before = height.prev().and_then(|before| self.agreement.at(before));
            self.blocks.check(committed, before, now, (&mut self.words, &self.rotation))?;
            self.blocks.check_once(committed, counts)?;
            pool::check(committed, &self.correct)?;
            self.evidence.on_decided(committed)?;
            counts.evidence += committed.block.evidence.len() as u64;
        }
        self.rotation.check(committed, is_first)?;
        if self.rotation.followed() < height {
            self.rotation.follow(height, updates);
            self.words.on_new_set(&self.rotation);
        }
        blocks::check_index(node, committed)?;
        supply::check(node, &self.accounts)?;
        self.ledger.on_committed(node, committed, counts)
    }

    /// Counts what the decision of a height needed.
    fn count_decided(&self, committed: &Committed, counts: &mut Counts) {
        let (height, round) = (committed.block.header.height, committed.commit.round);
        counts.after_round_1 += u64::from(round.0 > 1);
        counts.after_round_3 += u64::from(round.0 > 3);
        counts.reproposed += u64::from(self.reproposed.contains(&height));
        counts.multi_part += u64::from(committed.block_id.parts.total > 1);
        counts.greatest_round = counts.greatest_round.max(u64::from(round.0));
        counts.largest_block = counts.largest_block.max(committed.block_bytes as u64);
    }

    /// Follows heights that a node has and no node announced: a write took effect and was reported as failed.
    fn follow_unannounced(&mut self, node: &Node, height: Height) -> Result<(), Broken> {
        let Some(alive) = &node.alive else { return Ok(()) };
        while self.rotation.followed().next() < height {
            let missed = self.rotation.followed().next();
            let results = alive.store.results(missed);
            let results = results.map_err(|error| Broken(format!("height {missed} cannot be read: {error}")))?;
            self.rotation.follow(missed, &results.validator_updates);
        }
        Ok(())
    }

    /// Checks that an engine waits as long as the parameters of its height say.
    fn on_wait(&self, node: &Node, timeout: &Timeout, after: Duration) -> Result<(), Broken> {
        self.ledger.check_wait(node.index, timeout, after)
    }

    /// Checks a penalty that a node gives to a peer.
    ///
    /// Errors: [`Broken`] if both are correct, and the peer is not only slow.
    pub fn on_penalty(&self, from: &Node, of: &Node, offence: &Offence) -> Result<(), Broken> {
        standing::on_penalty(from, of, offence)
    }

    /// Checks a node that stops, for another reason than an upgrade.
    ///
    /// Errors: [`Broken`] if it is correct, and its disk did not fail.
    pub fn on_halt(&self, node: &Node, why: &Halt) -> Result<(), Broken> {
        standing::on_halt(node, why)
    }

    /// Checks the store of a node that does not run: each kept height reads as it was committed.
    ///
    /// Errors: [`Broken`] if one does not.
    pub fn on_stored<K: Kv>(&self, node: usize, store: &Store<K>) -> Result<(), Broken> {
        self.ledger.check_store(node, store)
    }

    /// Checks that correct nodes at the same height have the same rows, and that all kept heights read as they were
    /// committed. Disks from which heights were deleted are compared height by height only.
    ///
    /// Errors: [`Broken`] if two disks differ.
    pub fn compare(&self, nodes: &[Node]) -> Result<(), Broken> {
        use std::collections::BTreeMap;
        use storage::Cf;
        let shared = [Cf::State, Cf::Changes, Cf::Results, Cf::Heads, Cf::BlockHash, Cf::Txs];
        let mut at: BTreeMap<Height, (usize, Vec<(Cf, Vec<u8>, Vec<u8>)>)> = BTreeMap::new();
        let is_whole = |node: &&Node| {
            let store = node.alive.as_ref().map(|alive| &alive.store);
            node.is_correct() && store.is_some_and(|store| store.earliest() <= Height(1))
        };
        for node in nodes.iter().filter(is_whole) {
            let mut rows = node.disk.dump();
            rows.retain(|(cf, _, _)| shared.contains(cf));
            let (first, expected) = at.entry(node.tip()).or_insert_with(|| (node.index, rows.clone()));
            let other = expected.iter().zip(&rows).find(|(row, other)| row != other);
            let family = other.map(|((cf, ..), _)| cf.name());
            ensure!(*expected == rows, "agreement: the disks of n{first} and n{} differ: {family:?}", node.index);
        }
        for node in nodes.iter().filter(|node| node.is_correct() && !node.is_damaged) {
            let Some(alive) = &node.alive else { continue };
            self.ledger.check_store(node.index, &alive.store)?;
        }
        Ok(())
    }
}
