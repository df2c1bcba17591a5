//! The conditions for evidence in decided blocks.
//!
//! | check | condition |
//! |---|---|
//! | EV1 | a validator of the height that is not correct signed both votes; powers and time are those of the height |
//! | EV1 | an attack on light clients contradicts the chain, and names exactly those that took part, none of them correct |
//! | EV2 | each piece names a validator and height of which neither an earlier block nor an earlier piece has evidence |
//! | EV3 | it is of an earlier height, and not older than both bounds of age |
//! | EV4 | the results have an event for each validator and height that is new, and for nothing else |
//! | EV5 | it is within `evidence.max_bytes` |

use std::collections::{BTreeMap, BTreeSet};

use replica::Committed;
use types::{
    Address, ChainId, Evidence, EvidenceParams, Height, Infraction, LightClientAttackEvidence, Signers, Time,
    TrustedBlock, UNNAMED, ValidatorSet,
};

use crate::broken::{Broken, ensure};

/// The evidence in the decided blocks of a world.
pub struct EvidenceRecord {
    chain_id: ChainId,
    params: EvidenceParams,
    /// Addresses of the validators that follow the protocol.
    correct: BTreeSet<Address>,
    times: BTreeMap<Height, Time>,
    /// The sets of the heights.
    sets: BTreeMap<Height, ValidatorSet>,
    /// What judges attacks on light clients.
    trusted: BTreeMap<Height, TrustedBlock>,
    /// For each infraction, the block with evidence of it.
    blocks: BTreeMap<Infraction, Height>,
}

impl EvidenceRecord {
    /// Creates a record for a chain without blocks.
    pub fn new(chain_id: ChainId, params: EvidenceParams, correct: BTreeSet<Address>) -> Self {
        let (times, sets, trusted, blocks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { chain_id, params, correct, times, sets, trusted, blocks }
    }

    /// Returns the block with evidence of each infraction.
    pub fn blocks(&self) -> &BTreeMap<Infraction, Height> {
        &self.blocks
    }

    /// Returns true if a block has evidence of an infraction.
    pub fn has(&self, infraction: &Infraction) -> bool {
        self.blocks.contains_key(infraction)
    }

    /// Returns the last decided height.
    pub fn tip(&self) -> Option<Height> {
        self.times.last_key_value().map(|(height, _)| *height)
    }

    /// Returns true if evidence may be in the block after `tip` and proves something new. The answer is `false` unless `tip` is the
    /// last decided height.
    pub fn is_usable(&self, evidence: &Evidence, tip: Height) -> bool {
        let infractions = evidence.infractions();
        let is_new = infractions.iter().any(|infraction| !self.has(infraction));
        let fits = Evidence::list_bytes(std::slice::from_ref(evidence)) as u64 <= self.params.bytes_max;
        self.tip() == Some(tip) && is_new && fits && self.check_piece(tip.next(), evidence).is_ok()
    }

    /// Returns true if evidence of a decided height is older than both bounds of age, for the block after the last one.
    pub fn has_expired(&self, height: Height) -> bool {
        let (Some(time), Some((tip, now))) = (self.times.get(&height), self.times.last_key_value()) else {
            return false;
        };
        tip.0 - height.0 > self.params.age_heights_max && now.since(*time) > self.params.age_max
    }

    /// Checks the evidence of a block when it is first decided.
    ///
    /// Errors: [`Broken`] if one of the conditions is violated.
    pub fn on_decided(&mut self, committed: &Committed) -> Result<(), Broken> {
        let (header, list) = (&committed.block.header, &committed.block.evidence);
        let block = header.height;
        let got = Evidence::list_bytes(list) as u64;
        ensure!(got <= self.params.bytes_max, "EV5: block {block} has {got} bytes of evidence");
        let mut expected = Vec::new();
        for evidence in list {
            self.check_piece(block, evidence)?;
            let height = evidence.height();
            let infractions = evidence.infractions();
            let news: Vec<Infraction> =
                infractions.into_iter().filter(|infraction| !self.blocks.contains_key(infraction)).collect();
            ensure!(
                !news.is_empty(),
                "EV2: block {block} repeats evidence of height {height} against {:?}",
                evidence.key().1
            );
            self.blocks.extend(news.iter().map(|infraction| (*infraction, block)));
            let named = news.iter().filter(|(_, validator)| *validator != UNNAMED);
            let kind = evidence.kind().name();
            expected
                .extend(named.map(|(height, validator)| [validator.to_string(), height.to_string(), kind.to_owned()]));
        }
        let events: Vec<[String; 3]> = committed
            .results
            .events
            .iter()
            .filter(|event| event.kind == "evidence")
            .map(|event| [0, 1, 2].map(|at| event.attributes[at].value.clone()))
            .collect();
        ensure!(events == expected, "EV4: block {block} has events {events:?} for evidence {expected:?}");
        self.times.insert(block, header.time);
        self.sets.insert(block, committed.validators.clone());
        self.trust(committed);
        Ok(())
    }

    /// Checks what must hold of evidence in a block that follows the last decided one.
    fn check_piece(&self, block: Height, evidence: &Evidence) -> Result<(), Broken> {
        let height = evidence.height();
        let known = self.times.get(&height).zip(self.sets.get(&height)).zip(self.times.last_key_value());
        let Some(((time, set), (tip, now))) = known else {
            return Err(Broken(format!("EV3: block {block} has evidence of height {height}")));
        };
        let is_expired = tip.0 - height.0 > self.params.age_heights_max && now.since(*time) > self.params.age_max;
        ensure!(!is_expired, "EV3: evidence of height {height} in block {block} has expired");
        ensure!(evidence.time() == *time, "EV1: evidence in block {block} has time {}, not {time}", evidence.time());
        let verified = evidence.verify(&self.chain_id, set);
        ensure!(verified.is_ok(), "EV1: evidence in block {block}: {}", verified.unwrap_err());
        if let Evidence::LightClientAttack(attack) = evidence {
            self.check_attack(block, attack, set)?;
        }
        for (_, validator) in evidence.infractions() {
            let is_correct = self.correct.contains(&validator);
            ensure!(!is_correct, "EV1: block {block} accuses {validator}, which is correct");
        }
        Ok(())
    }

    /// Remembers what judges attacks: this block, and who signed the one before.
    fn trust(&mut self, committed: &Committed) {
        let (header, last_commit) = (&committed.block.header, &committed.block.last_commit);
        if let (Some((_, last)), Some(commit)) = (self.trusted.last_key_value(), last_commit) {
            let last = TrustedBlock { commit: Some(Signers::of(commit)), ..last.clone() };
            self.trusted.insert(commit.height, last);
        }
        let trusted = TrustedBlock { hash: header.hash(), derived: header.derived_hash(), commit: None };
        self.trusted.insert(header.height, trusted);
    }

    fn check_attack(
        &self,
        block: Height,
        attack: &LightClientAttackEvidence,
        validators: &ValidatorSet,
    ) -> Result<(), Broken> {
        let header = &attack.conflicting.header;
        let trusted = self.trusted.get(&header.height);
        let tip = self.trusted.last_key_value().and_then(|(height, _)| self.times.get(height));
        let is_judged = match trusted {
            None => tip.is_some_and(|tip| header.time <= *tip),
            Some(trusted) => trusted.commit.is_some() || attack.is_lunatic(trusted),
        };
        ensure!(is_judged, "EV1: block {block} has an attack at height {}, which is not decided", header.height);
        let checked = attack.check_conflict().and_then(|()| attack.check_attack(trusted, validators));
        ensure!(checked.is_ok(), "EV1: evidence in block {block}: {}", checked.unwrap_err());
        Ok(())
    }
}
