//! The safety conditions that are checked at every step.
//!
//! | check | condition |
//! |---|---|
//! | agreement | all correct nodes decide the same block at a height, with the same app hash and results |
//! | validity | a decided block follows its predecessor, is valid, and more than 2/3 of the power signed it |
//! | once | no signed body is executed twice |
//! | supply | balances, collected fees, the deposits of open proposals, stake, rewards and the community pool add up to the supply |
//! | time | no decided block is from the future |
//! | I1 | a correct validator signs one value per (height, round, type), permanently and across crashes |
//! | I2 | a signed message is in the durable hard state before it is sent, or that state is at a later height (*) |
//! | I3 | locked round ≤ valid round ≤ round |
//! | I4 | a precommit for a block is sent only when the block's bytes are durable |
//! | I5 | a decided height never changes, also across crashes |
//! | I6 | the bytes held for a height stay below a function of the number of validators and the block size |
//! | lock | a prevote against a precommit needs a proposal with a polka of that round or later (L22, L28) |
//!
//! [`ledger`](crate::ledger) has those about namespaces, reverts and kept heights, [`evidence`](crate::evidence) those about
//! evidence.
//!
//! (*) The signing state in its separate file must also have reached the message.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use app::{Answer, View};
use consensus::Timeout;
use replica::Committed;
use storage::{Kv, MemKv, Store};
use types::{
    Address, BlockId, ChainId, Hash, Height, PeerMessage, Round, SignedVote, Time, Transaction, VoteType, Wire, blake3,
};

use crate::{
    broken::{Broken, ensure},
    evidence::EvidenceRecord,
    ledger::Ledger,
    node::Node,
    setup::SKEW_MAX,
    story::Counts,
};

/// The first decision at a height.
struct Decided {
    block_id: BlockId,
    app_hash: Hash,
    results: Hash,
    time: Time,
}

/// Node, height, round and step of a signed message: 1 proposal, 2 prevote, 3 precommit.
pub type Place = (usize, Height, Round, u8);

/// The checker of all nodes of a world.
pub struct Checker {
    chain_id: ChainId,
    accounts: Vec<Address>,
    precision: Duration,
    /// What the chain says about namespaces and reverts.
    ledger: Ledger,
    evidence: EvidenceRecord,
    decided: BTreeMap<Height, Decided>,
    executed: BTreeSet<Hash>,
    /// Tip of each node in its current process.
    tips: BTreeMap<usize, Height>,
    /// Hashes of the messages that correct validators signed.
    said: BTreeMap<Place, Hash>,
    /// Hashes of the messages that were found in a durable hard state.
    durable: BTreeSet<(usize, Hash)>,
    /// Validators that prevoted a block, including Byzantine ones.
    prevoted: BTreeMap<(Height, Round, BlockId), BTreeSet<Address>>,
    /// POL rounds with which a block was proposed.
    proposed: BTreeMap<(Height, Round, BlockId), BTreeSet<Round>>,
    /// Last block that a correct validator precommitted at a height.
    precommitted: BTreeMap<(usize, Height), (Round, BlockId)>,
}

impl Checker {
    /// Creates a checker for a world without decisions.
    pub fn new(
        chain_id: ChainId,
        accounts: Vec<Address>,
        precision: Duration,
        (ledger, evidence): (Ledger, EvidenceRecord),
    ) -> Self {
        Self {
            chain_id,
            accounts,
            precision,
            ledger,
            evidence,
            decided: BTreeMap::new(),
            executed: BTreeSet::new(),
            tips: BTreeMap::new(),
            said: BTreeMap::new(),
            durable: BTreeSet::new(),
            prevoted: BTreeMap::new(),
            proposed: BTreeMap::new(),
            precommitted: BTreeMap::new(),
        }
    }

    /// Returns the block that was decided at a height.
    pub fn block_id(&self, height: Height) -> Option<BlockId> {
        self.decided.get(&height).map(|decided| decided.block_id)
    }

    /// Returns the evidence in the decided blocks.
    pub fn evidence(&self) -> &EvidenceRecord {
        &self.evidence
    }

    /// Returns the places of all messages that correct nodes signed.
    pub fn signed(&self) -> impl Iterator<Item = &Place> {
        self.said.keys()
    }

    /// Returns true if a correct node signed a message above a height.
    pub fn has_signed_above(&self, node: usize, height: Height) -> bool {
        let first = (node, height.next(), Round::ZERO, 0);
        self.said.range(first..).next().is_some_and(|(place, _)| place.0 == node)
    }

    /// Records the start of a process with its tip.
    pub fn on_start(&mut self, node: usize, tip: Height) {
        self.tips.insert(node, tip);
    }

    /// Checks a decision that a correct node announced.
    ///
    /// Errors: [`Broken`] if agreement, validity, once, supply, time or I5 is violated.
    pub fn on_committed(
        &mut self,
        node: &Node,
        committed: &Committed,
        now: Time,
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        let (block, id) = (&committed.block, committed.block_id);
        let (who, height) = (node.index, block.header.height);
        let tip = self.tips.insert(who, height).unwrap_or(Height::GENESIS);
        ensure!(height == tip.next(), "n{who} announced height {height} after {tip}");
        counts.decisions += 1;
        counts.synced += u64::from(committed.synced);
        counts.later_rounds += u64::from(committed.commit.round > Round::ZERO);
        counts.redecided += u64::from(height <= node.announced());

        ensure!(
            block.header.app_hash == self.app_hash_before(height, block),
            "validity: app hash in header {height} is wrong"
        );
        let results = blake3(&committed.results.encode());
        let commit = &committed.commit;
        ensure!(
            (commit.height, commit.block_id) == (height, id),
            "validity: the commit of height {height} is of another block"
        );
        let is_first = !self.decided.contains_key(&height);
        if is_first || (height.0 + who as u64).is_multiple_of(4) {
            let checked = commit.verify(&self.chain_id, &committed.validators);
            ensure!(checked.is_ok(), "validity: n{who}, height {height}: commit: {}", checked.unwrap_err());
        }
        if let Some(decided) = self.decided.get(&height) {
            let first = decided.block_id;
            ensure!(first == id, "agreement (I5): n{who} decided {id} at height {height}, {first} was decided before");
            ensure!(
                decided.app_hash == committed.results.app_hash,
                "agreement: app hashes differ after height {height}"
            );
            ensure!(decided.results == results, "agreement: results differ at height {height}");
        } else {
            counts.heights += 1;
            self.check_block(committed, now)?;
            self.check_once(committed, counts)?;
            self.evidence.on_decided(committed)?;
            counts.evidence += committed.block.evidence.len() as u64;
            let (app_hash, time) = (committed.results.app_hash, block.header.time);
            self.decided.insert(height, Decided { block_id: id, app_hash, results, time });
        }
        self.check_supply(node)?;
        self.ledger.on_committed(node, committed, counts)
    }

    /// Checks that an engine waits as long as the parameters of its height say.
    ///
    /// Errors: [`Broken`] if it does not.
    pub fn on_wait(&self, node: &Node, timeout: &Timeout, after: Duration) -> Result<(), Broken> {
        self.ledger.check_wait(node.index, timeout, after)
    }

    /// Checks the store of a node that does not run: each kept height reads as it was committed.
    ///
    /// Errors: [`Broken`] if one does not.
    pub fn on_stored<K: Kv>(&self, node: usize, store: &Store<K>) -> Result<(), Broken> {
        self.ledger.check_store(node, store)
    }

    fn app_hash_before(&self, height: Height, block: &types::Block) -> Hash {
        let before = height.prev().and_then(|before| self.decided.get(&before));
        before.map_or(block.header.app_hash, |before| before.app_hash)
    }

    fn check_block(&self, committed: &Committed, now: Time) -> Result<(), Broken> {
        let (block, height) = (&committed.block, committed.block.header.height);
        let content = block.check_content();
        ensure!(content.is_ok(), "validity: block {height}: {}", content.unwrap_err());
        ensure!(block.id(&block.part_set()) == committed.block_id, "validity: block {height} has another id");
        ensure!(committed.validators.hash() == block.header.validators_hash, "validity: validators of block {height}");
        if let Some(before) = height.prev().and_then(|before| self.decided.get(&before)) {
            ensure!(
                block.header.last_block_id == Some(before.block_id),
                "validity: block {height} follows another block"
            );
            ensure!(block.header.time > before.time, "time: block {height} is not later than the previous block");
        }
        let latest = now.saturating_add(self.precision).saturating_add(SKEW_MAX);
        ensure!(block.header.time <= latest, "time: block {height} is from the future");
        Ok(())
    }

    fn check_once(&mut self, committed: &Committed, counts: &mut Counts) -> Result<(), Broken> {
        let height = committed.block.header.height;
        ensure!(committed.block.txs.len() == committed.results.txs.len(), "validity: results of block {height}");
        for (bytes, result) in committed.block.txs.iter().zip(&committed.results.txs) {
            let tx = Transaction::decode(bytes);
            ensure!(tx.is_ok(), "validity: block {height} has a transaction that does not decode");
            let tx = tx.expect("just checked");
            let digest = tx.digest();
            ensure!(tx.verify().is_ok(), "validity: block {height} has a badly signed transaction");
            if result.code == 0 {
                counts.txs += 1;
                ensure!(self.executed.insert(digest), "once: block {height} executes {digest} again");
            }
        }
        Ok(())
    }

    fn check_supply(&self, node: &Node) -> Result<(), Broken> {
        let Some(alive) = &node.alive else { return Ok(()) };
        let reader = alive.store.reader().map_err(|e| Broken(e.to_string()))?;
        let mut view = View::of_state(&reader);
        let balances: u64 = self.accounts.iter().map(|address| view.account(address).balance).sum();
        let Ok(Answer::Supply { total: supply, fee_pool, deposits, stake }) = app::query(&reader, "/supply", &[])
        else {
            return Err(Broken(format!("supply: n{} does not know it", node.index)));
        };
        let sum = balances + fee_pool + deposits + stake.sum();
        ensure!(sum == supply, "supply: the accounts and pools of n{} hold {sum}, its supply is {supply}", node.index);
        Ok(())
    }

    /// Checks the state of a correct node after a step (I3, I6).
    ///
    /// Errors: [`Broken`] if the order of rounds is wrong or too many bytes are held.
    pub fn after_step(&self, node: &Node) -> Result<(), Broken> {
        let Some(alive) = &node.alive else { return Ok(()) };
        let engine = alive.replica.engine();
        let round_of = |lock: Option<types::Lock>| lock.map(|lock| lock.round);
        let (locked, valid, round) = (round_of(engine.locked()), round_of(engine.valid()), engine.round());
        ensure!(
            locked <= valid && valid <= Some(round),
            "I3: n{}: locked {locked:?}, valid {valid:?}, round {round}",
            node.index
        );
        let held = alive.replica.held();
        ensure!(
            held.engine_bytes <= held.engine_bytes_max,
            "I6: n{}'s engine holds {} bytes at height {}, round {round}, at most {} are allowed",
            node.index,
            held.engine_bytes,
            engine.height(),
            held.engine_bytes_max
        );
        ensure!(
            held.blocks_bytes <= held.blocks_bytes_max,
            "I6: n{} holds {} bytes of blocks, at most {} are allowed",
            node.index,
            held.blocks_bytes,
            held.blocks_bytes_max
        );
        Ok(())
    }

    /// Checks the messages that a correct node is about to send (I1, I2, I4, lock).
    ///
    /// Errors: [`Broken`] if a message violates one of these conditions.
    pub fn on_said<'m>(
        &mut self,
        node: &Node,
        messages: impl Iterator<Item = &'m PeerMessage> + Clone,
    ) -> Result<(), Broken> {
        let mut new = Vec::new();
        for message in messages {
            let Some((place, hash)) = own_word(node, message) else { continue };
            self.heard(node, message);
            let (who, height, round, kind) = place;
            match self.said.insert(place, hash) {
                Some(before) => ensure!(
                    before == hash,
                    "I1: n{who} signed two {}s at height {height}, round {round}",
                    ["", "proposal", "prevote", "precommit"][usize::from(kind)]
                ),
                None => new.push((place, hash, message)),
            }
        }
        for (place, hash, message) in new {
            if let PeerMessage::Vote(signed) = message {
                self.check_lock(node, &signed.vote)?;
            }
            self.explained(node, place, hash, message)?;
        }
        Ok(())
    }

    /// Records a node's own message, whether the node is correct or not. The signer of a proposal is not checked: a
    /// false claim about an existing polka cannot break a lock.
    pub fn heard(&mut self, node: &Node, message: &PeerMessage) {
        match message {
            PeerMessage::Vote(SignedVote { vote, .. }) if node.is_own(&vote.validator) => {
                if let (VoteType::Prevote, Some(id)) = (vote.vote_type, vote.block_id) {
                    self.prevoted.entry((vote.height, vote.round, id)).or_default().insert(vote.validator);
                }
            }
            PeerMessage::Proposal(signed) => {
                let p = &signed.proposal;
                self.proposed.entry((p.height, p.round, p.block_id)).or_default().extend(p.pol_round);
            }
            _ => {}
        }
    }

    /// Checks the rule of L22 and L28: only a polka of the lock's round or a later one releases a lock.
    fn check_lock(&mut self, node: &Node, vote: &types::Vote) -> Result<(), Broken> {
        let (who, height, round) = (node.index, vote.height, vote.round);
        let Some(id) = vote.block_id else { return Ok(()) };
        if vote.vote_type == VoteType::Precommit {
            let last = self.precommitted.entry((who, height)).or_insert((round, id));
            *last = (*last).max((round, id));
            return Ok(());
        }
        let Some((locked_round, locked)) = self.precommitted.get(&(who, height)).copied() else { return Ok(()) };
        let Some(alive) = &node.alive else { return Ok(()) };
        let set = alive.store.validators(height).map_err(|error| Broken(error.to_string()))?;
        let power_of = |voter: &Address| set.by_address(voter).map_or(0, |(_, validator)| validator.power.0);
        let has_polka = |pol: &Round| {
            let voters = self.prevoted.get(&(height, *pol, id));
            3 * voters.into_iter().flatten().map(power_of).sum::<u64>() > 2 * set.total_power().0
        };
        let pols = self.proposed.get(&(height, round, id)).into_iter().flatten();
        let is_justified = pols.into_iter().any(|pol| *pol >= locked_round && *pol < round && has_polka(pol));
        ensure!(
            locked == id || locked_round >= round || is_justified,
            "lock: n{who} precommitted {locked} in round {locked_round} of height {height}, and prevotes {id} in round {round}"
        );
        Ok(())
    }

    /// Checks that a message that is sent for the first time is covered by durable data.
    fn explained(&mut self, node: &Node, place: Place, hash: Hash, message: &PeerMessage) -> Result<(), Broken> {
        let (who, height, round, kind) = place;
        let kept = node.state_file.kept().hrs();
        ensure!(
            kept >= (height, round, kind),
            "I2: n{who} signs at {height}/{round}, its signing state is at {kept:?}"
        );
        if !self.durable.contains(&(who, hash)) {
            let hard_state = durable(node, &self.chain_id)?.hard_state().map_err(|e| Broken(e.to_string()))?;
            if let Some(hard_state) = hard_state {
                let votes = hard_state.votes.iter().map(|vote| blake3(&vote.encode()));
                let proposals = hard_state.proposals.iter().map(|proposal| blake3(&proposal.encode()));
                self.durable.extend(votes.chain(proposals).map(|hash| (who, hash)));
                if hard_state.height > height {
                    // One batch may contain messages of a decided height and of the next one. They are covered by the
                    // hard state of the next height: with it, no message of the decided height is ever signed again.
                    self.durable.insert((who, hash));
                }
            }
        }
        let is_durable = self.durable.contains(&(who, hash));
        ensure!(is_durable, "I2: n{who} sends a message of height {height}, round {round} that is not durable");
        if let PeerMessage::Vote(SignedVote { vote, .. }) = message
            && let (VoteType::Precommit, Some(id)) = (vote.vote_type, vote.block_id)
        {
            let store = durable(node, &self.chain_id)?;
            let is_stored = store.tip().is_some_and(|tip| tip.height >= height)
                || store.pending_block(&id).is_ok_and(|bytes| bytes.is_some());
            ensure!(is_stored, "I4: n{who} precommits {id} at height {height} without its bytes");
        }
        Ok(())
    }

    /// Checks that correct nodes at the same height have the same rows, and that all kept heights read as they were
    /// committed. Disks from which heights were deleted are compared height by height only.
    ///
    /// Errors: [`Broken`] if two disks differ.
    pub fn compare(&self, nodes: &[Node]) -> Result<(), Broken> {
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

/// Returns the place and the hash of a message that the node itself signed.
fn own_word(node: &Node, message: &PeerMessage) -> Option<(Place, Hash)> {
    match message {
        PeerMessage::Vote(signed) if node.is_own(&signed.vote.validator) => {
            let (height, round, step) = signed.vote.hrs();
            Some(((node.index, height, round, step), blake3(&signed.encode())))
        }
        PeerMessage::Proposal(signed) => {
            let (height, round, step) = signed.proposal.hrs();
            let engine = node.alive.as_ref()?.replica.engine();
            let is_own =
                engine.height() == height && node.is_own(&engine.validators().proposer_of_round(round).address());
            is_own.then(|| ((node.index, height, round, step), blake3(&signed.encode())))
        }
        _ => None,
    }
}

/// Returns the data that a node's disk would contain after a crash now.
fn durable(node: &Node, chain_id: &ChainId) -> Result<Store<MemKv>, Broken> {
    Store::open(node.disk.durable().open(), chain_id)
        .map_err(|error| Broken(format!("I2: n{}: after a crash now: {error}", node.index)))
}
