//! What happened, counted and told.

use std::{fmt, time::Duration};

/// How often things happened, to see that the faults really occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Heights decided, each counted once for a world.
    pub heights: u64,
    /// Decisions at correct nodes.
    pub decisions: u64,
    /// Of these, by block sync.
    pub synced: u64,
    /// Of these, in a round above 0.
    pub later_rounds: u64,
    /// Transactions executed with success.
    pub txs: u64,
    /// Nodes that lost power or were killed.
    pub crashes: u64,
    /// All nodes losing power at once.
    pub cluster_crashes: u64,
    /// Power lost right after a decision was announced.
    pub after_commit: u64,
    /// Heights decided once more after a crash took them back.
    pub redecided: u64,
    /// Groups separated.
    pub partitions: u64,
    /// Writes that failed.
    pub failed_writes: u64,
    /// Messages that did not arrive.
    pub lost: u64,
    /// Two votes of one validator that contradict each other, as correct nodes saw them.
    pub equivocations: u64,
    /// Reproaches to peers.
    pub penalties: u64,
    /// Nodes that came later.
    pub late: u64,
    /// Of these, such as have no stake and do not keep to the protocol.
    pub strangers: u64,
}

impl Counts {
    const NAMES: [&'static str; 16] = [
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
        "penalties",
        "late",
        "strangers",
    ];

    fn values(&mut self) -> [&mut u64; 16] {
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
            &mut self.penalties,
            &mut self.late,
            &mut self.strangers,
        ]
    }

    /// Each with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut copy = *self;
        let values = copy.values().map(|value| *value);
        Self::NAMES.into_iter().zip(values)
    }

    /// Adds another world's.
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

/// Tells what happens, line by line, if somebody listens.
#[derive(Default)]
pub struct Story {
    teller: Option<Box<dyn FnMut(&str)>>,
}

impl Story {
    /// Hands each line to `teller`.
    pub fn told_to(teller: impl FnMut(&str) + 'static) -> Self {
        Self { teller: Some(Box::new(teller)) }
    }

    /// Tells a line; it is only made if somebody listens.
    pub fn tell(&mut self, now: Duration, line: impl FnOnce() -> String) {
        if let Some(teller) = &mut self.teller {
            teller(&format!("{:>10.4} s  {}", now.as_secs_f64(), line()));
        }
    }
}
