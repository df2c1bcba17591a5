//! Start and end of simulated faults.

use std::time::Duration;

use storage::Fault;
use types::Height;

use crate::{
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
        let kinds: [(bool, fn(&mut Self)); 12] = [
            (f.crashes, Self::fault_crash),
            (f.cluster_crashes, Self::fault_cluster_crash),
            (f.crashes_after_commit, Self::fault_after_commit),
            (f.partitions, Self::fault_partition),
            (f.one_way, Self::fault_one_way),
            (f.storms, Self::fault_storm),
            (f.failing_writes, Self::fault_write),
            (f.slow_disks, Self::fault_slow_disk),
            (f.rewinds, Self::fault_rewind),
            (f.prunes, Self::fault_prune),
            (self.setup.stake_events.upgrades, Self::fault_early_program),
            (self.setup.stake_events.downtime, Self::fault_outage),
        ];
        let on: Vec<fn(&mut Self)> = kinds.into_iter().filter(|(on, _)| *on).map(|(_, fault)| fault).collect();
        if !on.is_empty() {
            let fault = self.random.pick(&on);
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

    fn fault_crash(&mut self) {
        let Some(node) = self.some_node() else { return };
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
        self.crash_all();
        for node in 0..self.nodes.len() {
            if self.nodes[node].arrived {
                let after = self.fault_length() / 2;
                self.at(after, Event::Restart { node });
            }
        }
    }

    fn fault_after_commit(&mut self) {
        if let Some(node) = self.some_node() {
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
        let count = self.nodes.len();
        for _ in 0..count {
            let (from, to) = (self.random.index(count), self.random.index(count));
            self.network.block(from, to, true);
        }
        let after = self.fault_length();
        self.at(after, Event::EndOfFault(FaultEnd::Links));
    }

    fn fault_storm(&mut self) {
        self.network.storm = self.random.within(100, 700) as u32;
        let after = self.fault_length();
        self.at(after, Event::EndOfFault(FaultEnd::Storm));
    }

    fn fault_write(&mut self) {
        let Some(node) = self.some_node() else { return };
        self.counts.failed_writes += 1;
        let (nth, fault) = (self.random.below(4), self.random.pick(&[Fault::Lost, Fault::Kept]));
        self.nodes[node].disk.fail_write(nth, fault);
    }

    fn fault_slow_disk(&mut self) {
        let Some(node) = self.some_node() else { return };
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
        }
    }
}
