//! The conditions for evidence in decided blocks.
//!
//! | check | condition |
//! |---|---|
//! | EV1 | a validator of the height that is not correct signed both votes; powers and time are those of the height |
//! | EV2 | no block has evidence of a validator and height that an earlier block has evidence of |
//! | EV3 | it is of an earlier height, and not older than both bounds of age |
//! | EV4 | the results have an event for each piece, and for nothing else |
//! | EV5 | it is within `evidence.max_bytes` |

use std::collections::{BTreeMap, BTreeSet};

use replica::Committed;
use types::{Address, ChainId, Evidence, EvidenceParams, Height, Infraction, Time};

use crate::broken::{Broken, ensure};

/// The evidence in the decided blocks of a world.
pub struct EvidenceRecord {
    chain_id: ChainId,
    params: EvidenceParams,
    /// Addresses of the validators that follow the protocol.
    correct: BTreeSet<Address>,
    times: BTreeMap<Height, Time>,
    /// For each infraction, the block with evidence of it.
    blocks: BTreeMap<Infraction, Height>,
}

impl EvidenceRecord {
    /// Creates a record for a chain without blocks.
    pub fn new(chain_id: ChainId, params: EvidenceParams, correct: BTreeSet<Address>) -> Self {
        Self { chain_id, params, correct, times: BTreeMap::new(), blocks: BTreeMap::new() }
    }

    /// Returns the block with evidence of each infraction.
    pub fn blocks(&self) -> &BTreeMap<Infraction, Height> {
        &self.blocks
    }

    /// Checks the evidence of a block when it is first decided. The set of validators never changes in a world.
    ///
    /// Errors: [`Broken`] if one of the conditions is violated.
    pub fn on_decided(&mut self, committed: &Committed) -> Result<(), Broken> {
        let (header, list) = (&committed.block.header, &committed.block.evidence);
        let (block, last) = (header.height, self.times.last_key_value().map(|(height, time)| (*height, *time)));
        self.times.insert(block, header.time);
        let got = Evidence::list_bytes(list) as u64;
        ensure!(got <= self.params.bytes_max, "EV5: block {block} has {got} bytes of evidence");
        for evidence in list {
            let (height, validator) = evidence.infraction();
            let verified = evidence.verify(&self.chain_id, &committed.validators);
            ensure!(verified.is_ok(), "EV1: evidence in block {block}: {}", verified.unwrap_err());
            ensure!(!self.correct.contains(&validator), "EV1: block {block} accuses {validator}, which is correct");
            ensure!(height < block, "EV3: block {block} has evidence of height {height}");
            let time = self.times[&height];
            ensure!(evidence.time() == time, "EV1: evidence in block {block} has time {}, not {time}", evidence.time());
            let (tip, now) = last.expect("the height of the evidence was decided");
            let is_expired = tip.0 - height.0 > self.params.age_heights_max && now.since(time) > self.params.age_max;
            ensure!(!is_expired, "EV3: evidence of height {height} in block {block} has expired");
            let before = self.blocks.insert((height, validator), block);
            ensure!(before.is_none(), "EV2: block {block} repeats evidence of height {height} against {validator}");
        }
        let events: Vec<(String, String)> = committed
            .results
            .events
            .iter()
            .filter(|event| event.kind == "evidence")
            .map(|event| (event.attributes[0].value.clone(), event.attributes[1].value.clone()))
            .collect();
        let expected: Vec<(String, String)> =
            list.iter().map(|evidence| (evidence.validator().to_string(), evidence.height().to_string())).collect();
        ensure!(events == expected, "EV4: block {block} has events {events:?} for evidence {expected:?}");
        Ok(())
    }
}
