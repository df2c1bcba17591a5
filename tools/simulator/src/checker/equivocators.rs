//! A validator that signs two values for one place is proven guilty, whatever correct node receives both.
//!
//! A node must report the two votes in the step in which it handles the second one, if both are of the height that it is
//! deciding, and of a round that it certainly keeps. What a process reported must be in a block in the end, as long as it runs:
//! a loss of power may take it back, and it may expire.

use std::collections::{BTreeMap, BTreeSet};

use replica::{Checked, Output};
use types::{Address, BlockId, Evidence, Height, Infraction, Round, VoteType};

use crate::{
    broken::{Broken, ensure},
    checker::step::Step,
    evidence::EvidenceRecord,
    node::Node,
};

/// Number of rounds below its own whose votes a node certainly keeps.
const ROUNDS_KEPT: u32 = 16;

/// The votes of one height that reached a process.
struct Received {
    life: u64,
    height: Height,
    votes: BTreeMap<(Round, VoteType, Address), Option<BlockId>>,
    /// Contradictions that the next step must report.
    due: BTreeSet<Infraction>,
}

/// What is known about validators that sign twice.
pub struct Equivocators {
    /// Addresses of the validators that follow the protocol.
    correct: BTreeSet<Address>,
    received: BTreeMap<usize, Received>,
    /// Processes that reported two votes, by infraction.
    reported: BTreeMap<Infraction, BTreeSet<(usize, u64)>>,
}

impl Equivocators {
    /// Creates an empty record.
    pub fn new(correct: BTreeSet<Address>) -> Self {
        Self { correct, received: BTreeMap::new(), reported: BTreeMap::new() }
    }

    /// Records a message that was put into the inbox of a correct node.
    pub fn on_delivered(&mut self, to: &Node, message: &Checked) {
        let (Checked::Vote(vote), Some(alive)) = (message, &to.alive) else { return };
        let (engine, vote) = (alive.replica.engine(), &vote.vote);
        let is_counted = engine.height() == vote.height
            && to.tip().next() == vote.height
            && !engine.is_decided()
            && vote.round <= engine.round().next()
            && vote.round.0 + ROUNDS_KEPT >= engine.round().0;
        if is_counted && !self.correct.contains(&vote.validator) {
            let place = (vote.round, vote.vote_type, vote.validator);
            self.add((to.index, to.life), vote.height, place, vote.block_id);
        }
    }

    fn add(
        &mut self,
        (node, life): (usize, u64),
        height: Height,
        place: (Round, VoteType, Address),
        value: Option<BlockId>,
    ) {
        let empty = || Received { life, height, votes: BTreeMap::new(), due: BTreeSet::new() };
        let received = self.received.entry(node).or_insert_with(empty);
        if (received.life, received.height) != (life, height) {
            *received = empty();
        }
        if *received.votes.entry(place).or_insert(value) != value {
            received.due.insert((height, place.2));
        }
    }

    /// Checks what a node reports in a step, and that it reports what it must.
    ///
    /// Errors: [`Broken`] if it accuses a correct validator, or does not report two votes that contradict each other.
    pub fn on_step(&mut self, step: &Step<'_>, record: &EvidenceRecord) -> Result<(), Broken> {
        let (who, life) = (step.node.index, step.node.life);
        let (mut is_excused, mut reports) = (step.node.alive.is_none(), Vec::new());
        for output in step.outputs {
            match output {
                Output::Evidence(evidence) => {
                    let innocent = self.correct.iter().find(|one| evidence.names(one));
                    ensure!(innocent.is_none(), "EV1: n{who} has evidence against {innocent:?}, which is correct");
                    if let Evidence::DuplicateVote(_) = evidence {
                        reports.extend(evidence.infractions());
                    }
                }
                // It does not hear the votes of a height that block sync delivers.
                Output::Committed(committed) => is_excused |= committed.synced,
                Output::Halt(_) => is_excused = true,
                _ => {}
            }
        }
        self.report((who, life), reports, is_excused, record)
    }

    fn report(
        &mut self,
        (who, life): (usize, u64),
        reports: Vec<Infraction>,
        is_excused: bool,
        record: &EvidenceRecord,
    ) -> Result<(), Broken> {
        for infraction in reports {
            self.reported.entry(infraction).or_default().insert((who, life));
        }
        let Some(received) = self.received.get_mut(&who).filter(|received| received.life == life) else {
            return Ok(());
        };
        for infraction in std::mem::take(&mut received.due) {
            let reporters = self.reported.get(&infraction);
            let is_reported = reporters.is_some_and(|all| all.iter().any(|(node, _)| *node == who))
                || record.blocks().contains_key(&infraction);
            ensure!(
                is_reported || is_excused,
                "EV6: n{who} received two votes of {} at height {} that contradict each other, and reports nothing",
                infraction.1,
                infraction.0
            );
        }
        Ok(())
    }

    /// Returns the infractions that a running process reported, of which no block has evidence and whose evidence has not
    /// expired.
    pub fn owed(&self, nodes: &[Node], record: &EvidenceRecord) -> Vec<Infraction> {
        let runs = |(node, life): &(usize, u64)| nodes[*node].life == *life && nodes[*node].alive.is_some();
        let is_owed = |(infraction, reporters): &(&Infraction, &BTreeSet<(usize, u64)>)| {
            let is_open = !record.blocks().contains_key(infraction) && !record.has_expired(infraction.0);
            is_open && reporters.iter().any(runs)
        };
        self.reported.iter().filter(is_owed).map(|(infraction, _)| *infraction).collect()
    }
}

#[cfg(test)]
mod tests {
    use types::{ChainId, Hash, Params, PartSetHeader};

    use super::*;

    const LIAR: Address = Address([7; 20]);
    const ONE: (usize, u64) = (1, 4);

    fn id(byte: u8) -> Option<BlockId> {
        let hash = Hash([byte; 32]);
        Some(BlockId { hash, parts: PartSetHeader { total: 1, hash } })
    }

    /// Delivers prevotes of one round to a process at height 5.
    fn received(values: &[Option<BlockId>]) -> Equivocators {
        let mut all = Equivocators::new(BTreeSet::new());
        for value in values {
            all.add(ONE, Height(5), (Round(0), VoteType::Prevote, LIAR), *value);
        }
        all
    }

    fn record() -> EvidenceRecord {
        EvidenceRecord::new(ChainId::new("cairn-simulated").unwrap(), Params::default().evidence, BTreeSet::new())
    }

    #[test]
    fn two_votes_that_are_not_reported_are_noticed() {
        assert_eq!(received(&[id(1), id(1)]).report(ONE, Vec::new(), false, &record()), Ok(()), "one vote, twice");
        let broken = received(&[id(1), None]).report(ONE, Vec::new(), false, &record()).unwrap_err();
        assert!(broken.0.starts_with("EV6: n1 received two votes"), "{broken:?}");
        let infraction = (Height(5), LIAR);
        assert_eq!(received(&[id(1), id(2)]).report(ONE, vec![infraction], false, &record()), Ok(()));
        assert_eq!(received(&[id(1), id(2)]).report(ONE, Vec::new(), true, &record()), Ok(()), "it cannot report");
        let later = (ONE.0, ONE.1 + 1);
        assert_eq!(received(&[id(1), id(2)]).report(later, Vec::new(), false, &record()), Ok(()), "its inbox is lost");
    }

    #[test]
    fn what_a_process_reported_is_owed_while_it_runs() {
        let mut all = received(&[]);
        all.report((0, 3), vec![(Height(5), LIAR)], false, &record()).unwrap();
        let mut node = Node::new(0, None, None);
        node.life = 3;
        assert_eq!(all.owed(&[node], &record()), [], "its process has ended");
    }
}
