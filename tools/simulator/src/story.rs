//! Counters of events, and the log of a run.

use std::{fmt, time::Duration};

/// Counters of events, which show that the faults really occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Decided heights, each counted once per world.
    pub heights: u64,
    /// Decisions of correct nodes.
    pub decisions: u64,
    /// Decisions of correct nodes that came from block sync.
    pub synced: u64,
    /// Decisions of correct nodes in a round above 0.
    pub later_rounds: u64,
    /// Transactions that were executed successfully.
    pub txs: u64,
    /// Crashes of nodes, by loss of power or by a kill.
    pub crashes: u64,
    /// Power failures of all nodes at once.
    pub cluster_crashes: u64,
    /// Power failures right after a decision was announced.
    pub after_commit: u64,
    /// Heights that were decided again after a crash undid them.
    pub redecided: u64,
    /// Partitions of the network into groups.
    pub partitions: u64,
    /// Writes to disk that failed.
    pub failed_writes: u64,
    /// Messages that did not arrive.
    pub lost: u64,
    /// Pairs of contradicting votes of one validator that correct nodes detected.
    pub equivocations: u64,
    /// Pieces of evidence in decided blocks.
    pub evidence: u64,
    /// Penalties that nodes gave to peers.
    pub penalties: u64,
    /// Nodes that joined late.
    pub late: u64,
    /// Late nodes without stake that violate the protocol.
    pub strangers: u64,
    /// Namespaces that reverts took back.
    pub reverts: u64,
    /// Of these, those that returned to a height that an earlier revert had taken back.
    pub undone: u64,
    /// Reverts that were decided and could not be executed.
    pub refused_reverts: u64,
    /// Proposals that were closed because another revert was executed.
    pub superseded: u64,
    /// Proposals whose voting ended without a decision.
    pub expired: u64,
    /// Rewinds of a node's store.
    pub rewinds: u64,
    /// Losses of power during a rewind.
    pub cut_rewinds: u64,
    /// Blocks that rewinds executed again.
    pub replayed: u64,
    /// Heights that nodes deleted.
    pub pruned: u64,
    /// Events about stake of transactions.
    pub stakings: u64,
    /// Unbondings that were paid out.
    pub unbonded: u64,
    /// Changes of the validator set.
    pub set_changes: u64,
    /// Decisions that changed parameters.
    pub params_changed: u64,
    /// Consensus keys that were replaced.
    pub rotations: u64,
    /// Upgrades that were executed.
    pub upgrades: u64,
    /// Processes that stopped because of an upgrade: their program lacked it, or had it too early.
    pub upgrade_stops: u64,
    /// Validators that were jailed for downtime.
    pub jailed: u64,
    /// Slashes for double signs.
    pub slashed: u64,
    /// Of these, those for votes of a key that was replaced meanwhile.
    pub slashed_by_old_keys: u64,
}

impl Counts {
    const NAMES: [&'static str; 36] = [
        "heights",
        "decisions",
        "synced",
        "later_rounds",
        "txs",
        "crashes",
        "cluster_crashes",
        "after_commit",
        "redecided",
        "partitions",
        "failed_writes",
        "lost",
        "equivocations",
        "evidence",
        "penalties",
        "late",
        "strangers",
        "reverts",
        "undone",
        "refused_reverts",
        "superseded",
        "expired",
        "rewinds",
        "cut_rewinds",
        "replayed",
        "pruned",
        "stakings",
        "unbonded",
        "set_changes",
        "params_changed",
        "rotations",
        "upgrades",
        "upgrade_stops",
        "jailed",
        "slashed",
        "slashed_by_old_keys",
    ];

    fn values(&mut self) -> [&mut u64; 36] {
        [
            &mut self.heights,
            &mut self.decisions,
            &mut self.synced,
            &mut self.later_rounds,
            &mut self.txs,
            &mut self.crashes,
            &mut self.cluster_crashes,
            &mut self.after_commit,
            &mut self.redecided,
            &mut self.partitions,
            &mut self.failed_writes,
            &mut self.lost,
            &mut self.equivocations,
            &mut self.evidence,
            &mut self.penalties,
            &mut self.late,
            &mut self.strangers,
            &mut self.reverts,
            &mut self.undone,
            &mut self.refused_reverts,
            &mut self.superseded,
            &mut self.expired,
            &mut self.rewinds,
            &mut self.cut_rewinds,
            &mut self.replayed,
            &mut self.pruned,
            &mut self.stakings,
            &mut self.unbonded,
            &mut self.set_changes,
            &mut self.params_changed,
            &mut self.rotations,
            &mut self.upgrades,
            &mut self.upgrade_stops,
            &mut self.jailed,
            &mut self.slashed,
            &mut self.slashed_by_old_keys,
        ]
    }

    /// Returns each counter with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut copy = *self;
        let values = copy.values().map(|value| *value);
        Self::NAMES.into_iter().zip(values)
    }

    /// Adds the counters of another world.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        self.values().into_iter().zip(other.values()).for_each(|(sum, value)| *sum += *value);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.named().map(|(name, value)| format!("{name} {value}")).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Writes the log of a run line by line, if it has a receiver.
#[derive(Default)]
pub struct Story {
    teller: Option<Box<dyn FnMut(&str)>>,
}

impl Story {
    /// Creates a log that passes each line to `teller`.
    pub fn told_to(teller: impl FnMut(&str) + 'static) -> Self {
        Self { teller: Some(Box::new(teller)) }
    }

    /// Writes a line; the text is created only if the log has a receiver.
    pub fn tell(&mut self, now: Duration, line: impl FnOnce() -> String) {
        if let Some(teller) = &mut self.teller {
            teller(&format!("{:>10.4} s  {}", now.as_secs_f64(), line()));
        }
    }
}
