//! The kinds of faults of a world, each with its weight. A weight of 0 disables the kind, so that each is also tested alone.

use crate::random::Random;

/// Declares the kinds of faults.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The weights of the kinds of faults that occur in a world: a kind with twice the weight occurs twice as often.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Faults {
            $($(#[$doc])+ pub $name: u32,)+
        }

        impl Faults {
            /// Returns each kind with its weight.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u32)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            /// Returns the weight of the kind with this name.
            pub fn weight(&mut self, name: &str) -> Option<&mut u32> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Single nodes lose power or are killed, and restart.
    crashes,
    /// All nodes lose power at once.
    cluster_crashes,
    /// Nodes lose power right after a decision was announced.
    crashes_after_commit,
    /// Nodes lose power between two outputs of a step: what the first ones ask for is done, the rest is not.
    crashes_between_outputs,
    /// Nodes lose power during a step: of its writes to the database and to the signing state file only the first are done.
    crashes_in_steps,
    /// Groups of nodes cannot communicate with each other.
    partitions,
    /// Links carry messages in one direction only.
    one_way,
    /// Many messages are lost for some time.
    storms,
    /// Writes to disk fail.
    failing_writes,
    /// Disks are full for some time: all their writes fail.
    full_disks,
    /// Disk syncs take long.
    slow_disks,
    /// The database of a node is replaced by an older copy.
    old_copies,
    /// The database of a node is deleted.
    wipes,
    /// Wall clocks jump.
    jumps,
    /// Operators rewind the store of a node, also with interruptions.
    rewinds,
    /// Nodes delete heights that are below the chain's window.
    prunes,
}

impl Faults {
    /// Draws the kinds and their weights. Only worlds with reverts have rewinds and prunes.
    pub fn random(random: &mut Random) -> Self {
        let mut faults = Self::default();
        let names: Vec<&'static str> = faults.named().map(|(name, _)| name).collect();
        for name in names {
            let weight = if random.chance(500) { random.pick(&[1, 2, 2, 4, 8]) } else { 0 };
            *faults.weight(name).expect("a kind of this name") = weight;
        }
        Self { rewinds: 0, prunes: 0, ..faults }
    }

    /// Returns the faults of links and the slowness of disks alone.
    pub fn only_delays(self) -> Self {
        let Self { partitions, one_way, storms, slow_disks, .. } = self;
        Self { partitions, one_way, storms, slow_disks, ..Self::default() }
    }

    /// Returns true if processes of correct nodes may end.
    pub fn can_crash(self) -> bool {
        let Self { partitions, one_way, storms, slow_disks, jumps, rewinds, prunes, .. } = self;
        self != Self { partitions, one_way, storms, slow_disks, jumps, rewinds, prunes, ..Self::default() }
    }
}
