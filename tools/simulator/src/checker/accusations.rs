//! Evidence that a correct node is given is used: of two votes, or of an attack on light clients (EV7).
//!
//! A node that is given evidence which may be in the block after the chain's last one keeps it, unless what waits there proves the same,
//! or there is no room. An attack that a node reported must be in a block in the end, also after the process that reported it has
//! ended, unless the node's disk has lost something since. But the attack may expire, and the decision of its height may show that
//! others were guilty.
//! [`EvidenceRecord`] holds the rest: evidence in a block is new, in its window, and names exactly the guilty.

use std::collections::{BTreeMap, BTreeSet};

use replica::Output;
use types::{Evidence, Hash, Infraction, PeerMessage, limits::EVIDENCE_WAITING_PER_VALIDATOR_MAX};

use crate::{
    broken::{Broken, ensure},
    checker::step::Step,
    evidence::EvidenceRecord,
    node::Node,
};

/// What correct nodes were given as evidence, and what they reported of attacks.
#[derive(Default)]
pub struct Accusations {
    /// Evidence that the next step of a process must keep, by node, with the life of the process.
    given: BTreeMap<usize, Vec<(u64, Evidence)>>,
    /// Attacks by the hash of the evidence, with the nodes that reported them and how often their disks had lost something.
    attacks: BTreeMap<Hash, (Evidence, BTreeSet<(usize, u64)>)>,
}

impl Accusations {
    /// Records a message that was put into the inbox of a correct node.
    pub fn on_delivered(&mut self, to: &Node, message: &PeerMessage, record: &EvidenceRecord) {
        let PeerMessage::Evidence(evidence) = message else { return };
        if !to.is_damaged && record.is_usable(evidence, to.tip()) {
            self.given.entry(to.index).or_default().push((to.life, Evidence::clone(evidence)));
        }
    }

    /// Checks that a node keeps the evidence that it was given before a step.
    ///
    /// Errors: [`Broken`] if it keeps nothing of it.
    pub fn on_step(&mut self, step: &Step<'_>, record: &EvidenceRecord) -> Result<(), Broken> {
        let (who, life) = (step.node.index, step.node.life);
        let has_halted = step.outputs.iter().any(|output| matches!(output, Output::Halt(_)));
        let given = self.given.remove(&who).unwrap_or_default();
        for output in step.outputs {
            if let Output::Evidence(evidence) = output
                && let Evidence::LightClientAttack(_) = evidence
                && !has_halted
            {
                let (_, reporters) =
                    self.attacks.entry(evidence.hash()).or_insert_with(|| (evidence.clone(), BTreeSet::new()));
                reporters.insert((who, step.node.losses));
            }
        }
        // A decision in the step may have made it worthless, and a peer that is gone is not heard.
        let is_excused = has_halted || step.committed().next().is_some() || !step.given.gone.is_empty();
        let Some(alive) = step.node.alive.as_ref().filter(|_| !is_excused && !given.is_empty()) else { return Ok(()) };
        let Ok(waiting) = alive.store.waiting_evidence() else { return Ok(()) };
        let known: BTreeSet<Infraction> = waiting.iter().flat_map(Evidence::infractions).collect();
        let has_room = waiting.len() < EVIDENCE_WAITING_PER_VALIDATOR_MAX;
        for (_, evidence) in given.iter().filter(|(of, _)| *of == life && has_room) {
            let lost = evidence.infractions().into_iter().find(|one| !known.contains(one) && !record.has(one));
            ensure!(lost.is_none(), "EV7: n{who} was given evidence of {lost:?}, and keeps none");
        }
        Ok(())
    }

    /// Returns the infractions in attacks that a running node reported, whose disk has lost nothing since, and that may be in the
    /// next block, of which no block has evidence.
    pub fn owed(&self, nodes: &[Node], record: &EvidenceRecord) -> Vec<Infraction> {
        let has = |(node, losses): &(usize, u64)| nodes[*node].still_has(*losses);
        let is_owed = |evidence: &Evidence| record.tip().is_some_and(|tip| record.is_usable(evidence, tip));
        let owed = self.attacks.values().filter(|(evidence, by)| by.iter().any(has) && is_owed(evidence));
        owed.flat_map(|(evidence, _)| evidence.infractions()).filter(|one| !record.has(one)).collect()
    }
}
