//! Start and end of simulated faults.

use std::time::Duration;

use storage::{Fault, MemDisk};
use types::Height;

use crate::{
    node::Node,
    program::NAMES,
    world::{Event, World},
};

/// A fault that ends at a later time.
#[derive(Clone, Debug)]
pub(crate) enum FaultEnd {
    /// End of blocked links and partitions.
    Links,
    /// End of a storm of lost messages.
    Storm,
    /// End of the slow syncs of a node's disk.
    Disk(usize),
    /// There is space again on a node's disk.
    Space(usize),
    /// A node's wall clock is set right.
    Clock(usize),
}

impl World {
    /// Starts the random faults that the setup enables.
    pub fn begin_faults(&mut self) {
        self.is_troubled = true;
        let after = self.random.duration(self.setup.fault_interval / 4, self.setup.fault_interval * 2);
        self.at(after, Event::Fault);
    }

    /// Makes power fail at a node right after it announces its next decision.
    pub fn fail_after_commit(&mut self, node: usize) {
        self.nodes[node].dies_after_commit = true;
    }

    pub(crate) fn fault(&mut self) {
        if !self.is_troubled {
            return;
        }
        let f = self.setup.faults;
        let kinds: [(u32, fn(&mut Self)); 18] = [
            (f.crashes, Self::fault_crash),
            (f.cluster_crashes, Self::fault_cluster_crash),
            (f.crashes_after_commit, Self::fault_after_commit),
            (f.crashes_between_outputs, Self::fault_between_outputs),
            (f.crashes_in_steps, Self::fault_in_step),
            (f.partitions, Self::fault_partition),
            (f.one_way, Self::fault_one_way),
            (f.storms, Self::fault_storm),
            (f.failing_writes, Self::fault_write),
            (f.full_disks, Self::fault_full_disk),
            (f.slow_disks, Self::fault_slow_disk),
            (f.old_copies, Self::fault_old_copy),
            (f.wipes, Self::fault_wipe),
            (f.jumps, Self::fault_jump),
            (f.rewinds, Self::fault_rewind),
            (f.prunes, Self::fault_prune),
            (2 * u32::from(self.setup.stake_events.upgrades), Self::fault_early_program),
            (2 * u32::from(self.setup.stake_events.downtime), Self::fault_outage),
        ];
        let sum: u32 = kinds.iter().map(|(weight, _)| weight).sum();
        if sum > 0 {
            let mut at = self.random.below(u64::from(sum)) as u32;
            let chosen = kinds.iter().find(|(weight, _)| {
                let is_here = at < *weight;
                at = at.saturating_sub(*weight);
                is_here
            });
            let (_, fault) = chosen.expect("the number is below the sum");
            fault(self);
        }
        let after = self.random.duration(self.setup.fault_interval / 4, self.setup.fault_interval * 2);
        self.at(after, Event::Fault);
    }

    fn fault_length(&mut self) -> Duration {
        self.random.duration(Duration::from_millis(1), self.setup.fault_max)
    }

    fn some_node(&mut self) -> Option<usize> {
        let up: Vec<usize> = self.running().into_iter().collect();
        (!up.is_empty()).then(|| self.random.pick(&up))
    }

    /// Returns a running node that may lose its memory. A validator that has blocks and has signed nothing abstains at the next
    /// height that it meets, also after a further restart: with few validators, the others wait for it without end.
    fn some_mortal(&mut self) -> Option<usize> {
        let up: Vec<usize> = self.running().into_iter().filter(|node| self.is_mortal(*node)).collect();
        (!up.is_empty()).then(|| self.random.pick(&up))
    }

    /// Returns true if a node may lose its memory.
    pub(crate) fn is_mortal(&self, node: usize) -> bool {
        self.has_signed(node) || self.nodes[node].address().is_none() || self.tip(node) == Height::GENESIS
    }

    fn fault_crash(&mut self) {
        let Some(node) = self.some_mortal() else { return };
        if self.random.chance(300) {
            self.kill(node);
        } else {
            let unsynced = self.nodes[node].disk.unsynced() as u64;
            let keep = self.random.within(0, unsynced) as usize;
            self.crash(node, keep);
        }
        let after = self.fault_length();
        self.at(after, Event::Restart { node });
    }

    fn fault_cluster_crash(&mut self) {
        self.counts.cluster_crashes += 1;
        for node in 0..self.nodes.len() {
            if self.nodes[node].arrived && self.is_mortal(node) {
                self.crash(node, 0);
                let after = self.fault_length() / 2;
                self.at(after, Event::Restart { node });
            }
        }
    }

    fn fault_after_commit(&mut self) {
        if let Some(node) = self.some_mortal() {
            self.fail_after_commit(node);
        }
    }

    /// Makes power fail after a decision was announced and before any further message left the node; in half of the
    /// cases at all nodes.
    pub(crate) fn power_fails_after_commit(&mut self, node: usize) {
        self.counts.after_commit += 1;
        if self.random.chance(500) {
            self.fault_cluster_crash();
        } else {
            self.crash(node, 0);
            let after = self.fault_length();
            self.at(after, Event::Restart { node });
        }
    }

    fn fault_between_outputs(&mut self) {
        if let Some(node) = self.some_mortal() {
            self.nodes[node].dies_between_outputs = true;
        }
    }

    /// Returns the number of outputs that a node carries out before power fails, if it fails between two of these.
    pub(crate) fn cut_of(&mut self, node: usize, outputs: usize) -> Option<usize> {
        if !self.nodes[node].dies_between_outputs || outputs < 2 || !self.is_mortal(node) {
            return None;
        }
        self.counts.cut_outputs += 1;
        Some(self.random.within(1, outputs as u64 - 1) as usize)
    }

    /// Makes power fail at a node now; it starts again after some time.
    pub(crate) fn power_fails(&mut self, node: usize) {
        let unsynced = self.nodes[node].disk.unsynced() as u64;
        let keep = self.random.within(0, unsynced) as usize;
        self.crash(node, keep);
        let after = self.fault_length();
        self.at(after, Event::Restart { node });
    }

    /// Makes power fail at one of the next writes of a node. The write is complete or was never made, and nothing follows: not
    /// the signing state that is written after it, nor what the mempool and the application do then.
    fn fault_in_step(&mut self) {
        let Some(node) = self.some_mortal() else { return };
        let (nth, fault) = (self.random.below(4), self.random.pick(&[Fault::Lost, Fault::Kept]));
        self.nodes[node].dies_in_step = true;
        self.nodes[node].disk.fail_write(nth, fault);
    }

    /// Makes power fail in a step whose last write failed: nothing of the step leaves the node.
    pub(crate) fn power_fails_in_step(&mut self, node: usize) {
        self.counts.cut_steps += 1;
        self.power_fails(node);
    }

    fn fault_full_disk(&mut self) {
        let Some(node) = self.some_mortal() else { return };
        self.counts.full_disks += 1;
        self.tell(node, || "has a full disk".to_owned());
        self.nodes[node].disk.set_full(true);
        let after = self.fault_length();
        self.at(after, Event::EndOfFault(FaultEnd::Space(node)));
    }

    /// Copies the disks of all nodes without a copy, or replaces a disk by the copy that was made before. The signing state file
    /// stays as it is.
    fn fault_old_copy(&mut self) {
        let Some(node) = self.some_node() else { return };
        if self.nodes[node].copy.is_none() {
            let without = self.nodes.iter_mut().filter(|node| node.copy.is_none());
            without.for_each(|node| node.copy = Some(node.disk.copy()));
        } else if self.may_be_robbed(node) {
            self.counts.old_copies += 1;
            let copy = self.nodes[node].copy.take().expect("it has one");
            self.rob(node, copy);
        }
    }

    /// Deletes the database of a node. The signing state file stays as it is: without it, a validator is not protected before it
    /// hears of the heights that it signed at (docs/operate.md).
    fn fault_wipe(&mut self) {
        let Some(node) = self.some_node().filter(|node| self.may_be_robbed(*node)) else { return };
        self.counts.wipes += 1;
        self.rob(node, MemDisk::new());
    }

    fn rob(&mut self, node: usize, disk: MemDisk) {
        self.kill(node);
        let signed = self.nodes[node].state_file.kept().height;
        self.tell(node, || format!("gets an older database; it has signed at height {signed}"));
        self.nodes[node].replace_disk(disk);
        self.nodes[node].robbed_at = Some(signed);
        let after = self.fault_length();
        self.at(after, Event::Restart { node });
    }

    /// Returns true if a node may lose its database. A validator abstains then for some heights. So it counts as faulty until it
    /// has signed again, and the faulty ones together must stay below a third of the power.
    fn may_be_robbed(&self, node: usize) -> bool {
        let power = |node: usize| self.setup.powers.get(node).copied().unwrap_or(0);
        let total: u64 = self.setup.powers.iter().sum();
        let others = self.nodes.iter().filter(|other| other.index != node && self.may_abstain(other));
        let faulty: u64 = others.map(|other| power(other.index)).sum();
        power(node) == 0 || !self.nodes[node].is_correct() || 3 * (faulty + power(node)) < total
    }

    /// Returns true if a validator violates the protocol, or may abstain at the present height because its database is older than
    /// its signing state, or it has not signed yet.
    fn may_abstain(&self, node: &Node) -> bool {
        let is_back = |height: Height| self.checker.has_signed_above(node.index, height);
        !node.is_correct()
            || node.state_file.kept().height == Height::GENESIS
            || node.robbed_at.is_some_and(|height| !is_back(height))
    }

    fn fault_jump(&mut self) {
        let Some(node) = self.some_node() else { return };
        let most = self.setup.machines.jump_max.as_nanos() as u64;
        self.counts.jumps += 1;
        self.nodes[node].jump = self.random.within(0, 2 * most) as i64 - most as i64;
        self.tell(node, || "has a wall clock that jumps".to_owned());
        let after = self.fault_length();
        self.at(after, Event::EndOfFault(FaultEnd::Clock(node)));
    }

    fn fault_partition(&mut self) {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        let one = self.random.some_of(&all);
        let other: Vec<usize> = all.into_iter().filter(|node| !one.contains(node)).collect();
        let now = self.now;
        self.story.tell(now, || format!("-- partition {one:?} | {other:?} --"));
        if self.random.chance(500) {
            self.partition(&[&one, &other]);
        } else {
            self.counts.partitions += 1;
            for a in &one {
                for b in &other {
                    self.network.block(*a, *b, true);
                    self.network.block(*b, *a, true);
                }
            }
        }
        let after = self.fault_length();
        self.at(after, Event::EndOfFault(FaultEnd::Links));
    }

    fn fault_one_way(&mut self) {
        self.counts.one_way += 1;
        let count = self.nodes.len();
        for _ in 0..count {
            let (from, to) = (self.random.index(count), self.random.index(count));
            self.network.block(from, to, true);
        }
        let after = self.fault_length();
        self.at(after, Event::EndOfFault(FaultEnd::Links));
    }

    fn fault_storm(&mut self) {
        self.counts.storms += 1;
        self.network.storm = self.random.within(100, 700) as u32;
        let after = self.fault_length();
        self.at(after, Event::EndOfFault(FaultEnd::Storm));
    }

    fn fault_write(&mut self) {
        let Some(node) = self.some_mortal() else { return };
        self.counts.failed_writes += 1;
        let (nth, fault) = (self.random.below(4), self.random.pick(&[Fault::Lost, Fault::Kept]));
        self.nodes[node].disk.fail_write(nth, fault);
    }

    fn fault_slow_disk(&mut self) {
        let Some(node) = self.some_node() else { return };
        self.counts.slow_disks += 1;
        self.nodes[node].sync_time = self.fault_length() / 4;
        let after = self.fault_length();
        self.at(after, Event::EndOfFault(FaultEnd::Disk(node)));
    }

    /// Rewinds a node by some heights, or to before its first block. Its process starts again after some time.
    fn fault_rewind(&mut self) {
        let all: Vec<usize> = self.correct().map(|node| node.index).collect();
        let node = self.random.pick(&all);
        let back = self.random.duration(Duration::from_nanos(1), Duration::from_nanos(64)).as_nanos() as u64;
        self.at(Duration::ZERO, Event::Rewind { node, back });
        let after = self.fault_length();
        self.at(after, Event::Restart { node });
    }

    /// Installs the next program at a node, whether its time has come or not.
    fn fault_early_program(&mut self) {
        let Some(node) = self.some_node().filter(|node| self.has_signed(*node)) else { return };
        let program = (self.nodes[node].program + 1).min(NAMES.len());
        self.at(Duration::ZERO, Event::Install { node, program });
    }

    /// Kills a node for longer than its validator may be silent, unless another one is down.
    fn fault_outage(&mut self) {
        let Some(node) = self.some_node().filter(|node| self.has_signed(*node)) else { return };
        if self.running().len() == self.nodes.len() {
            self.kill(node);
            let after = self.random.duration(Duration::from_secs(1), Duration::from_secs(3));
            self.at(after, Event::Restart { node });
        }
    }

    /// Returns true if a node has signed something. Otherwise it abstains at the first height that it meets after a restart.
    fn has_signed(&self, node: usize) -> bool {
        self.nodes[node].state_file.kept().height > Height::GENESIS
    }

    /// Deletes the heights of a node that are below the window of the chain, up to some height.
    fn fault_prune(&mut self) {
        let Some(node) = self.some_node() else { return };
        let slack = self.random.below(8);
        self.at(Duration::ZERO, Event::Prune { node, slack });
    }

    pub(crate) fn end_fault(&mut self, end: FaultEnd) {
        match end {
            FaultEnd::Links => self.network.heal(),
            FaultEnd::Storm => self.network.storm = 0,
            FaultEnd::Disk(node) => self.nodes[node].sync_time = Duration::from_micros(300),
            FaultEnd::Space(node) => {
                self.nodes[node].disk.set_full(false);
                self.restart(node);
            }
            FaultEnd::Clock(node) => self.nodes[node].jump = 0,
        }
    }
}
