//! Checks that all validators have the same chain.

use std::collections::BTreeMap;

use client::{Client, ClientError};
use faults::chain::{Head, heads};

/// The blocks that all validators must have, by height, and how far each validator was compared with them.
#[derive(Default)]
pub struct Agreement {
    agreed: BTreeMap<u64, (Head, String)>,
    compared: BTreeMap<String, u64>,
}

impl Agreement {
    /// Compares the heights of a validator up to `to` that were not compared yet. Returns what is wrong, one sentence each:
    /// a block differs, or is missing.
    ///
    /// Errors: those of [`Client::call`].
    pub fn compare(&mut self, name: &str, client: &Client, to: u64) -> Result<Vec<String>, ClientError> {
        let from = self.compared.get(name).copied().unwrap_or(0) + 1;
        if from > to {
            return Ok(Vec::new());
        }
        let found = heads(client, from..=to)?;
        let mut wrong = Vec::new();
        for height in from..=to {
            match found.get(&height) {
                None => wrong.push(format!("{name} does not have height {height}")),
                Some(head) => wrong.extend(self.add(name, height, head)),
            }
        }
        self.compared.insert(name.to_owned(), to);
        Ok(wrong)
    }

    fn add(&mut self, name: &str, height: u64, head: &Head) -> Option<String> {
        let (first, of) = self.agreed.entry(height).or_insert_with(|| (head.clone(), name.to_owned()));
        (first != head).then(|| format!("{name} and {of} have different blocks at height {height}"))
    }

    /// Forgets how far a validator was compared, so that all of its heights are compared again.
    pub fn again(&mut self) {
        self.compared.clear();
    }

    /// Returns the number of heights that were compared.
    pub fn heights(&self) -> u64 {
        self.agreed.last_key_value().map_or(0, |(height, _)| *height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_block_is_a_fork() {
        let head = |id: &str| Head { block_id: id.into(), app_hash: "A".into(), evidence_hash: "E".into(), txs: 0 };
        let mut agreement = Agreement::default();
        assert_eq!(agreement.add("node0", 7, &head("B")), None);
        assert_eq!(agreement.add("node1", 7, &head("B")), None);
        let fork = agreement.add("node2", 7, &head("C")).unwrap();
        assert_eq!(fork, "node2 and node0 have different blocks at height 7");
        assert_eq!(agreement.heights(), 7);
    }
}
