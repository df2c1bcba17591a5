//! What a scenario does to a world, and what it asks of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mempool::Source;
use replica::{Committed, Status};
use storage::{Batch, Cf, Durability, Kv, MemDisk, View};
use types::{BlockId, BlockResponse, Height, Infraction, Round, SignState, Step};

use super::{Event, Parcel, World};
use crate::{
    broken::Broken,
    node::{Node, StateFile},
};

/// A copy of a node's data, to be restored later.
pub struct Backup {
    /// Content of the disk at that time.
    pub disk: MemDisk,
    /// Content of the signing state file at that time.
    pub signed: SignState,
}

/// What becomes of a node's signing state file when its disk is restored from a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningState {
    /// The file stays as it is.
    Kept,
    /// The file is deleted.
    Lost,
    /// The file is restored from the same copy.
    EquallyOld,
}

impl World {
    /// Runs the world for some time.
    ///
    /// Errors: [`Broken`] with the violated condition.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Broken> {
        let end = self.now + time;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.run_one()?;
        }
        self.now = end;
        Ok(())
    }

    /// Runs the world until `done` returns true.
    ///
    /// Errors: [`Broken`] with the violated condition, or if it takes longer than `within`.
    pub fn run_until(&mut self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) -> Result<(), Broken> {
        let end = self.now + within;
        while !done(self) {
            self.run_one()?;
            if self.now > end {
                return Err(Broken(format!("liveness: {what}: not within {within:?}: {}", self.standing())));
            }
        }
        Ok(())
    }

    /// Runs the world until all correct nodes are up and at `height` or above.
    ///
    /// Errors: those of [`World::run_until`].
    pub fn run_until_height(&mut self, height: u64, within: Duration) -> Result<(), Broken> {
        self.run_until(&format!("height {height} everywhere"), within, |world| {
            world.correct().all(|node| node.alive.is_some() && node.tip().0 >= height)
        })
    }

    /// Runs the world until all correct nodes have decided `heights` more than the highest tip of any node now.
    ///
    /// Errors: those of [`World::run_until`].
    pub fn expect_progress(&mut self, heights: u64, within: Duration) -> Result<(), Broken> {
        let tip = self.nodes.iter().map(|node| node.tip().0).max().unwrap_or(0);
        self.run_until_height(tip + heights, within)
    }

    /// Runs the world until blocks have the evidence that correct nodes have now, or it has expired (EV7).
    ///
    /// Errors: those of [`World::run_until`], under the name EV7 if it takes longer than `within`.
    pub fn expect_evidence(&mut self, within: Duration) -> Result<(), Broken> {
        for infraction @ (height, validator) in self.checker.owed(&self.nodes) {
            let what = format!("EV7: a block has evidence against {validator} at height {height}");
            let is_done = |world: &Self| !world.checker.owed(&world.nodes).contains(&infraction);
            self.run_until(&what, within, is_done).map_err(|Broken(text)| {
                match text.strip_prefix("liveness: EV7") {
                    Some(rest) => Broken(format!("EV7{rest}")),
                    None => Broken(text),
                }
            })?;
        }
        Ok(())
    }

    /// Returns the last height that a node committed, or `Height::GENESIS` if it is down.
    pub fn tip(&self, node: usize) -> Height {
        self.nodes[node].tip()
    }

    /// Returns the current round of a node.
    pub fn round(&self, node: usize) -> Round {
        self.nodes[node].alive.as_ref().map_or(Round::ZERO, |alive| alive.replica.engine().round())
    }

    /// Returns the height that a node is deciding, or has decided last.
    pub fn height(&self, node: usize) -> Height {
        self.nodes[node].alive.as_ref().map_or(Height::GENESIS, |alive| alive.replica.engine().height())
    }

    /// Returns true if a node reports that it lacks decided heights.
    pub fn catching_up(&self, node: usize) -> bool {
        self.nodes[node].alive.as_ref().is_some_and(|alive| alive.replica.status().catching_up)
    }

    /// Returns the block that a node is locked on, at a height that is not decided yet.
    pub fn locked(&self, node: usize) -> Option<BlockId> {
        let engine = self.nodes[node].alive.as_ref()?.replica.engine();
        engine.locked().filter(|_| !engine.is_decided()).map(|lock| lock.block_id)
    }

    /// Returns the block that was decided at a height.
    pub fn block_id(&self, height: u64) -> Option<BlockId> {
        self.checker.block_id(Height(height))
    }

    /// Returns the current step of a node.
    pub fn step(&self, node: usize) -> Step {
        self.nodes[node].alive.as_ref().map_or(Step::Propose, |alive| alive.replica.engine().current_step())
    }

    /// Returns the proposer of a round of the height after `node`'s tip.
    pub fn next_proposer(&self, node: usize, round: Round) -> usize {
        let store = &self.nodes[node].alive.as_ref().expect("it runs").store;
        let validators = store.validators(self.tip(node).next()).expect("the next height's set is stored");
        let address = validators.proposer_of_round(round).address();
        self.nodes.iter().position(|node| node.is_own(&address)).expect("a validator of the world")
    }

    /// Returns the state of all nodes, for error messages.
    pub fn standing(&self) -> String {
        let one = |node: &Node| match &node.alive {
            None if !node.arrived => format!("n{} has not joined", node.index),
            None if node.announced() == Height::GENESIS => format!("n{} down before its first height", node.index),
            None => format!("n{} down after announcing {}", node.index, node.announced()),
            Some(alive) => {
                let engine = alive.replica.engine();
                let (height, round, step) = (engine.height(), engine.round(), engine.current_step());
                format!("n{} tip {} at {height}/{round} {step:?}", node.index, node.tip())
            }
        };
        self.nodes.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// Returns the nodes that follow the protocol.
    pub fn correct(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_correct())
    }

    /// Makes a node lose power: of its unsynced writes only the first `keep` survive.
    pub fn crash(&mut self, node: usize, keep: usize) {
        if self.nodes[node].alive.is_some() {
            self.counts.crashes += 1;
            self.tell(node, || format!("loses power, {keep} unsynced writes survive"));
            self.stop(node, Some(keep));
        }
    }

    /// Kills the process of a node; its disk keeps all writes.
    pub fn kill(&mut self, node: usize) {
        if self.nodes[node].alive.is_some() {
            self.counts.crashes += 1;
            self.tell(node, || "is killed".to_owned());
            self.stop(node, None);
        }
    }

    /// Makes all nodes lose power and everything that was not synced.
    pub fn crash_all(&mut self) {
        self.counts.cluster_crashes += 1;
        (0..self.nodes.len()).for_each(|node| self.crash(node, 0));
    }

    /// Starts a node that is down.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].arrived = true;
        if self.nodes[node].alive.is_none() {
            self.start(node);
        }
    }

    /// Starts all nodes that are down.
    pub fn restart_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.restart(node));
    }

    /// Separates groups: only nodes of one group can communicate, and nodes in no group with no other. Connections
    /// break, and the nodes are informed.
    pub fn partition(&mut self, groups: &[&[usize]]) {
        self.counts.partitions += 1;
        let count = self.nodes.len();
        for (a, b) in (0..count).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let together = groups.iter().any(|group| group.contains(&a) && group.contains(&b));
            self.network.set_apart(a, b, !together);
            if !together {
                self.disconnect(a, b);
            }
        }
    }

    /// Blocks or unblocks one direction between two nodes. The nodes are not informed.
    pub fn cut(&mut self, from: usize, to: usize, cut: bool) {
        self.network.block(from, to, cut);
    }

    /// Ends all faults: all nodes are up, and all links carry messages.
    pub fn heal(&mut self) {
        let now = self.now;
        self.story.tell(now, || "-- all faults end --".to_owned());
        self.is_troubled = false;
        self.network.calm();
        for node in 0..self.nodes.len() {
            let of = &mut self.nodes[node];
            (of.dies_after_commit, of.dies_between_outputs, of.dies_in_step) = (false, false, false);
            of.sync_time = Duration::from_micros(300);
            of.jump = 0;
            of.disk.fail_write(u64::MAX, storage::Fault::Kept);
            of.disk.set_full(false);
            self.restart(node);
        }
    }

    /// Returns a copy of a node's disk and of its signing state as they are now.
    pub fn backup(&self, node: usize) -> Backup {
        let Node { disk, state_file, .. } = &self.nodes[node];
        Backup { disk: disk.copy(), signed: state_file.kept() }
    }

    /// Replaces the disk of a node that is down by an old copy, and its signing state as requested.
    pub fn restore(&mut self, node: usize, backup: &Backup, signing_state: SigningState) {
        self.nodes[node].replace_disk(backup.disk.copy());
        match signing_state {
            SigningState::Kept => {}
            SigningState::Lost => self.lose_signing_state(node),
            SigningState::EquallyOld => self.nodes[node].state_file = StateFile::new(backup.signed.clone()),
        }
    }

    /// Overwrites the rows of a family whose keys begin with `prefix` with invalid bytes, in the store of a running node.
    pub fn damage(&mut self, node: usize, cf: Cf, prefix: &[u8]) {
        self.nodes[node].is_damaged = true;
        let kv = self.nodes[node].alive.as_ref().expect("it runs").store.kv();
        let mut batch = Batch::new();
        for row in kv.view().rows(cf, prefix, &[]) {
            batch.put(cf, row.expect("a disk in memory answers").0, [0xFF]);
        }
        assert!(!batch.is_empty(), "there are rows to damage");
        kv.write(batch, Durability::Buffered).expect("a disk in memory answers");
    }

    /// Sets the offset of a node's clock from the world's clock, in milliseconds; negative means behind.
    pub fn set_clock(&mut self, node: usize, ahead_ms: i64) {
        self.nodes[node].skew = ahead_ms * 1_000_000;
        self.tell(node, || format!("has a clock that is {ahead_ms} ms ahead"));
    }

    /// Sets the offset of a node's wall clock from its steady clock, while it runs.
    pub fn jump_clock(&mut self, node: usize, ahead: Duration) {
        self.nodes[node].jump = ahead.as_nanos() as i64;
        self.tell(node, || format!("has a wall clock that jumped {ahead:?} ahead"));
    }

    /// Deletes the signing state file of a node that is down.
    pub fn lose_signing_state(&mut self, node: usize) {
        self.nodes[node].state_file = StateFile::default();
    }

    /// Returns the status that a node that runs reports.
    pub fn status(&self, node: usize) -> Status {
        self.nodes[node].alive.as_ref().expect("it runs").replica.status()
    }

    /// Returns the reason why a node does not sign, if there is one.
    pub fn silence(&self, node: usize) -> Option<&'static str> {
        self.nodes[node].alive.as_ref()?.replica.status().silence.map(|silence| silence.reason())
    }

    /// Returns the block with evidence of each infraction, in the decided chain.
    pub fn evidence(&self) -> &BTreeMap<Infraction, Height> {
        self.checker.evidence().blocks()
    }

    /// Returns what a node announced at a height, in any process.
    pub fn committed(&self, node: usize, height: u64) -> Option<&Arc<Committed>> {
        self.nodes[node].committed.get(&Height(height))
    }

    /// Returns true if the validator of `node` signed the block of `height`, according to the next block.
    pub fn signed(&self, node: usize, height: u64) -> bool {
        let next = (0..self.nodes.len()).find_map(|node| self.committed(node, height + 1));
        let commit = next.and_then(|next| next.block.last_commit.as_ref()).expect("the next height is decided");
        let mut votes = (0..commit.signatures.len()).filter_map(|index| commit.vote(index));
        votes.any(|vote| self.nodes[node].is_own(&vote.vote.validator))
    }

    /// Returns the height, round and step of each message that a correct node signed.
    pub fn signed_by(&self, node: usize) -> impl Iterator<Item = (Height, Round, u8)> {
        let own = self.checker.signed().filter(move |place| place.0 == node);
        own.map(|(_, height, round, step)| (*height, *round, *step))
    }

    // ---- delivery by hand ----------------------------------------------------------------------------------------

    /// Holds back the messages for which `rule` returns true, from now on.
    pub fn hold(&mut self, rule: impl Fn(&Parcel) -> bool + 'static) {
        self.rule = Some(Box::new(rule));
    }

    /// Holds back no further message. Those that are held stay with the world.
    pub fn stop_holding(&mut self) {
        self.rule = None;
    }

    /// Takes the messages that were held back, in the order in which they were sent. [`World::hand`] delivers one.
    pub fn take_held(&mut self) -> Vec<Parcel> {
        std::mem::take(&mut self.held)
    }

    /// Lets nodes that violate the protocol change the blocks that they serve, from now on.
    pub fn falsify(&mut self, lie: impl Fn(&mut BlockResponse) + 'static) {
        self.lie = Some(Box::new(lie));
    }

    /// Makes the network lose this number of messages per thousand from now on.
    pub fn storm(&mut self, per_thousand: u32) {
        self.network.storm = per_thousand;
    }

    /// Returns all nodes, ordered by index.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Submits a transaction to a node like a client. Returns true if it was accepted.
    pub fn submit(&mut self, node: usize, bytes: &[u8]) -> bool {
        let clock = self.nodes[node].clock(self.epoch, self.now);
        let _broken = self.nodes[node].broken_rules();
        let Some(alive) = &mut self.nodes[node].alive else { return false };
        let taken = alive.take_tx(bytes, clock, Source::Local);
        let txs = Arc::new(alive.txs.mempool.take_outgoing(usize::MAX));
        if !txs.is_empty() {
            for to in 0..self.nodes.len() {
                let Some(connection) = self.connections[node][to] else { continue };
                for at in self.network.arrivals(&mut self.random, self.now, node, to) {
                    self.schedule(at, Event::Txs { from: node, to, connection, txs: Arc::clone(&txs) });
                }
            }
        }
        self.wake(node);
        taken
    }
}
