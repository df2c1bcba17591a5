//! Votes that were seen at the validators: no correct validator votes for two values.
//!
//! `dump_consensus_state` shows the votes of the height that a node decides, each as a text:
//! `Vote{INDEX:VALIDATOR HEIGHT/ROUND/TYPE(NAME) BLOCK SIGNATURE @ TIME}`, with the first 6 bytes of each hash.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The place of a vote: height, round, type and validator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Height of the vote.
    pub height: u64,
    /// Round of the vote.
    pub round: u64,
    /// Type of the vote: 1 for a prevote, 2 for a precommit.
    pub vote_type: u64,
    /// First 6 bytes of the validator's address.
    pub validator: String,
}

/// All votes that were seen.
#[derive(Default)]
pub struct Votes {
    seen: BTreeMap<Slot, (String, String)>,
    /// Places at which a validator voted for two blocks, or for a block and for nil.
    pub double: BTreeSet<Slot>,
    /// Places at which a validator signed the same value twice, with another time. It is no offence, but a correct
    /// validator signs once.
    pub repeated: BTreeSet<Slot>,
    /// Greatest round in which a vote was seen.
    pub round_max: u64,
}

impl Votes {
    /// Adds all votes of an answer to `dump_consensus_state`.
    pub fn add(&mut self, dump: &Value) {
        for round in dump.pointer("/round_state/votes").and_then(Value::as_array).into_iter().flatten() {
            for kind in ["prevotes", "precommits"] {
                let votes = round[kind].as_array().into_iter().flatten().filter_map(Value::as_str);
                votes.filter_map(parse).for_each(|(slot, block, signature)| self.see(slot, block, signature));
            }
        }
    }

    fn see(&mut self, slot: Slot, block: &str, signature: &str) {
        self.round_max = self.round_max.max(slot.round);
        let Some((first_block, first_signature)) = self.seen.get(&slot) else {
            self.seen.insert(slot, (block.to_owned(), signature.to_owned()));
            return;
        };
        if first_block != block {
            self.double.insert(slot);
        } else if first_signature != signature {
            self.repeated.insert(slot);
        }
    }

    /// Returns the number of different votes that were seen.
    pub fn count(&self) -> usize {
        self.seen.len()
    }
}

/// Returns the place of a vote, the beginning of its block's hash, and that of its signature.
fn parse(text: &str) -> Option<(Slot, &str, &str)> {
    let mut words = text.strip_prefix("Vote{")?.split(' ');
    let (_, validator) = words.next()?.split_once(':')?;
    let mut place = words.next()?.split('/');
    let mut number = || place.next()?.split('(').next()?.parse::<u64>().ok();
    let (height, round, vote_type) = (number()?, number()?, number()?);
    Some((Slot { height, round, vote_type, validator: validator.to_owned() }, words.next()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dump(block: &str, signature: &str) -> Value {
        let vote = format!("Vote{{0:0102030405AB 7/01/1(Prevote) {block} {signature} @ 2026-01-01T00:00:00Z}}");
        json!({ "round_state": { "votes": [{ "round": 1, "prevotes": ["nil-Vote", vote], "precommits": [] }] } })
    }

    #[test]
    fn a_second_value_and_a_second_signature_are_noticed() {
        let mut votes = Votes::default();
        votes.add(&dump("AA", "S1"));
        votes.add(&dump("AA", "S1"));
        assert_eq!((votes.count(), votes.double.len(), votes.repeated.len(), votes.round_max), (1, 0, 0, 1));
        votes.add(&dump("AA", "S2"));
        assert_eq!((votes.double.len(), votes.repeated.len()), (0, 1));
        votes.add(&dump("BB", "S3"));
        let slot = Slot { height: 7, round: 1, vote_type: 1, validator: "0102030405AB".to_owned() };
        assert_eq!(votes.double.into_iter().collect::<Vec<_>>(), [slot]);
    }

    #[test]
    fn another_text_is_no_vote() {
        for text in ["", "nil-Vote", "Vote{", "Vote{0:AA", "Vote{0:AA 7/x/1 B S", "Vote{0:AA 7/1 B S}"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
