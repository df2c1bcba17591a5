//! Counters of events, and the log of a run.

use std::{fmt, time::Duration};

/// Declares the counters, each with the way in which those of two worlds are joined.
macro_rules! counts {
    ($($(#[$doc:meta])+ $join:ident $name:ident,)+) => {
        /// Counters of events, which show that the faults really occur.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Counts {
            /// Returns each counter with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            /// Adds the counters of another world.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = $join(self.$name, other.$name);)+
            }
        }
    };
}

fn sum(a: u64, b: u64) -> u64 {
    a + b
}

fn max(a: u64, b: u64) -> u64 {
    a.max(b)
}

counts! {
    /// Decided heights, each counted once per world.
    sum heights,
    /// Decisions of correct nodes.
    sum decisions,
    /// Decisions of correct nodes that came from block sync.
    sum synced,
    /// Decisions of correct nodes in a round above 0.
    sum later_rounds,
    /// Decided heights that were decided in a round above 1.
    sum after_round_1,
    /// Decided heights that were decided in a round above 3.
    sum after_round_3,
    /// Decided heights at which a correct validator proposed a block again with the round of its polka.
    sum reproposed,
    /// Decided heights whose block has more than one part.
    sum multi_part,
    /// The greatest round in which a height was decided.
    max greatest_round,
    /// The bytes of the largest decided block.
    max largest_block,
    /// Time from the end of all faults to the last height that must follow, in milliseconds.
    sum healing_ms,
    /// Maximum of that time by [`World::healing_bound`](crate::World::healing_bound), in milliseconds.
    sum healing_max_ms,
    /// The greatest share of its maximum that a world needed, in thousandths.
    max healing_worst,
    /// Transactions that were executed successfully.
    sum txs,
    /// Crashes of nodes, by loss of power or by a kill.
    sum crashes,
    /// Power failures of all nodes at once.
    sum cluster_crashes,
    /// Power failures right after a decision was announced.
    sum after_commit,
    /// Losses of power between two outputs of a step.
    sum cut_outputs,
    /// Losses of power between two writes of a step.
    sum cut_steps,
    /// Heights that were decided again after a crash undid them.
    sum redecided,
    /// Partitions of the network into groups.
    sum partitions,
    /// Times at which links in one direction were blocked.
    sum one_way,
    /// Storms of lost messages.
    sum storms,
    /// Writes to disk that failed.
    sum failed_writes,
    /// Disks that were full for some time.
    sum full_disks,
    /// Disks whose syncs took long for some time.
    sum slow_disks,
    /// Databases that were replaced by an older copy.
    sum old_copies,
    /// Databases that were deleted.
    sum wipes,
    /// Jumps of wall clocks.
    sum jumps,
    /// Heights whose first rounds the adversary made fail.
    sum plans,
    /// Messages that the adversary delayed.
    sum delayed,
    /// Messages that did not arrive.
    sum lost,
    /// Pairs of contradicting votes of one validator that correct nodes detected.
    sum equivocations,
    /// Pieces of evidence in decided blocks.
    sum evidence,
    /// Penalties that nodes gave to peers.
    sum penalties,
    /// Nodes that joined late.
    sum late,
    /// Late nodes without stake that violate the protocol.
    sum strangers,
    /// Namespaces that reverts took back.
    sum reverts,
    /// Of these, those that returned to a height that an earlier revert had taken back.
    sum undone,
    /// Reverts that were decided and could not be executed.
    sum refused_reverts,
    /// Proposals that were closed because another revert was executed.
    sum superseded,
    /// Proposals whose voting ended without a decision.
    sum expired,
    /// Rewinds of a node's store.
    sum rewinds,
    /// Losses of power during a rewind.
    sum cut_rewinds,
    /// Blocks that rewinds executed again.
    sum replayed,
    /// Heights that nodes deleted.
    sum pruned,
    /// Events about stake of transactions.
    sum stakings,
    /// Unbondings that were paid out.
    sum unbonded,
    /// Changes of the validator set.
    sum set_changes,
    /// Decisions that changed parameters.
    sum params_changed,
    /// Consensus keys that were replaced.
    sum rotations,
    /// Upgrades that were executed.
    sum upgrades,
    /// Processes that stopped because of an upgrade: their program lacked it, or had it too early.
    sum upgrade_stops,
    /// Validators that were jailed for downtime.
    sum jailed,
    /// Slashes for double signs.
    sum slashed,
    /// Of these, those for votes of a key that was replaced meanwhile.
    sum slashed_by_old_keys,
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
