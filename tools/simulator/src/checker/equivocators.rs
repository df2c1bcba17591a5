//! A validator that signs two values for one place is proven guilty, whatever correct node holds both.
//!
//! A node must report the two votes in the step after which it holds both, if it certainly does ([`Memory`]): votes that came one by
//! one or in certificates, early, in time or late, and precommits in the commits of the chain, of blocks that it decided or fetched.
//! What a node reported must be in a block in the end, also after the process that reported it has ended, unless the node's disk has
//! lost something since. But it may expire.
//!
//! Left out is what no node reads: certificates of a height that it has decided, and votes of earlier heights. A round state has no
//! votes, only claims; what it makes a peer send is a certificate.

use std::collections::{BTreeMap, BTreeSet};

use replica::Output;
use types::{Address, Evidence, Infraction};

use crate::{
    broken::{Broken, ensure},
    checker::{heard::Memory, step::Step},
    evidence::EvidenceRecord,
    node::Node,
};

/// What is known about validators that sign twice.
pub struct Equivocators {
    /// Addresses of the validators that follow the protocol.
    correct: BTreeSet<Address>,
    /// What the present process of each node holds.
    memories: BTreeMap<usize, Memory>,
    /// Nodes that reported two votes and how often their disks had lost something, by infraction.
    reported: BTreeMap<Infraction, BTreeSet<(usize, u64)>>,
}

impl Equivocators {
    /// Creates an empty record.
    pub fn new(correct: BTreeSet<Address>) -> Self {
        Self { correct, memories: BTreeMap::new(), reported: BTreeMap::new() }
    }

    /// Checks what a node reports in a step, and that it reports what it must.
    ///
    /// Errors: [`Broken`] if it accuses a correct validator, or does not report two votes that contradict each other.
    pub fn on_step(&mut self, step: &Step<'_>, record: &EvidenceRecord) -> Result<(), Broken> {
        let (who, life) = (step.node.index, step.node.life);
        let (mut is_excused, mut reports) = (step.node.alive.is_none(), Vec::new());
        let memory = self.memories.entry(who).or_insert_with(|| Memory::new(life));
        if !memory.is_of(life) {
            *memory = Memory::new(life);
        }
        let due = memory.on_step(step, |address| self.correct.contains(address));
        for output in step.outputs {
            match output {
                Output::Evidence(evidence) => {
                    let innocent = self.correct.iter().find(|one| evidence.names(one));
                    ensure!(innocent.is_none(), "EV1: n{who} has evidence against {innocent:?}, which is correct");
                    if let Evidence::DuplicateVote(_) = evidence {
                        reports.extend(evidence.infractions());
                    }
                }
                Output::Halt(_) => is_excused = true,
                _ => {}
            }
        }
        // A node that stops may have failed to write what it reports.
        if !is_excused {
            self.report((who, step.node.losses), reports);
        }
        if is_excused { Ok(()) } else { self.check_reported(who, &due, record) }
    }

    fn report(&mut self, reporter: (usize, u64), reports: Vec<Infraction>) {
        for infraction in reports {
            self.reported.entry(infraction).or_default().insert(reporter);
        }
    }

    /// Checks that a node has reported what it must, in any of its processes, unless a block has it.
    fn check_reported(&self, who: usize, due: &[Infraction], record: &EvidenceRecord) -> Result<(), Broken> {
        for infraction in due {
            let is_reported = self.reported.get(infraction).is_some_and(|all| all.iter().any(|(node, _)| *node == who));
            ensure!(
                is_reported || record.blocks().contains_key(infraction),
                "EV6: n{who} holds two votes of {} at height {} that contradict each other, and reports nothing",
                infraction.1,
                infraction.0
            );
        }
        Ok(())
    }

    /// Returns the infractions that a running node reported, whose disk has lost nothing since, of which no block has evidence, and
    /// whose evidence has not expired.
    pub fn owed(&self, nodes: &[Node], record: &EvidenceRecord) -> Vec<Infraction> {
        let has = |(node, losses): &(usize, u64)| nodes[*node].still_has(*losses);
        let is_owed = |(infraction, reporters): &(&Infraction, &BTreeSet<(usize, u64)>)| {
            let is_open = !record.blocks().contains_key(infraction) && !record.has_expired(infraction.0);
            is_open && reporters.iter().any(has)
        };
        self.reported.iter().filter(is_owed).map(|(infraction, _)| *infraction).collect()
    }
}

#[cfg(test)]
mod tests {
    use types::{ChainId, Height, Params};

    use super::*;

    const LIAR: Address = Address([7; 20]);

    fn record() -> EvidenceRecord {
        EvidenceRecord::new(ChainId::new("cairn-simulated").unwrap(), Params::default().evidence, BTreeSet::new())
    }

    #[test]
    fn two_votes_that_are_not_reported_are_noticed() {
        let (mut all, due) = (Equivocators::new(BTreeSet::new()), [(Height(5), LIAR)]);
        all.report((0, 1), due.to_vec());
        let broken = all.check_reported(1, &due, &record()).unwrap_err();
        assert!(broken.0.starts_with("EV6: n1 holds two votes"), "another node reported it: {broken:?}");
        all.report((1, 4), due.to_vec());
        assert_eq!(all.check_reported(1, &due, &record()), Ok(()));
    }

    #[test]
    fn what_a_node_reported_is_owed_while_it_runs() {
        let mut all = Equivocators::new(BTreeSet::new());
        all.report((0, 3), vec![(Height(5), LIAR)]);
        let mut node = Node::new(0, None, None);
        node.losses = 3;
        assert_eq!(all.owed(&[node], &record()), [], "it is down");
    }
}
