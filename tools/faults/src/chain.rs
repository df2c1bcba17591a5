//! Checks that all validators have the same chain, with queries to the RPC of each.

use std::{collections::BTreeMap, ops::RangeInclusive};

use client::{Client, ClientError};
use serde_json::{Value, json};
use types::Block;

/// Maximum number of heights that a node returns in one answer.
const HEIGHTS_IN_ANSWER: u64 = 20;

/// The data of one height at one validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Id of the block, which covers the whole header.
    pub block_id: String,
    /// Root of the state before the block.
    pub app_hash: String,
    /// Hash of the evidence in the block.
    pub evidence_hash: String,
    /// Number of transactions in the block.
    pub txs: u64,
}

/// The data of a validator by height.
pub type Heads = BTreeMap<u64, Head>;

/// Queries the data that a validator still keeps of these heights.
///
/// Errors: those of [`Client::call`].
pub fn heads(client: &Client, heights: RangeInclusive<u64>) -> Result<Heads, ClientError> {
    let mut heads = Heads::new();
    let mut low = *heights.start();
    while low <= *heights.end() {
        let high = (low + HEIGHTS_IN_ANSWER - 1).min(*heights.end());
        let answer =
            client.call("blockchain", json!({ "minHeight": low.to_string(), "maxHeight": high.to_string() }))?;
        for meta in answer["block_metas"].as_array().into_iter().flatten() {
            if let Some((height, head)) = head(meta) {
                heads.insert(height, head);
            }
        }
        low = high + 1;
    }
    Ok(heads)
}

fn head(meta: &Value) -> Option<(u64, Head)> {
    let text = |pointer: &str| Some(meta.pointer(pointer)?.as_str()?.to_owned());
    let head = Head {
        block_id: text("/block_id/hash")?,
        app_hash: text("/header/app_hash")?,
        evidence_hash: text("/header/evidence_hash")?,
        txs: text("/num_txs")?.parse().ok()?,
    };
    Some((text("/header/height")?.parse().ok()?, head))
}

/// Returns what is wrong with the validators' chains, one sentence each: two chains differ, a validator lacks one of
/// `heights`, or a block has evidence of a double sign.
pub fn differences(names: &[String], chains: &[Heads], heights: RangeInclusive<u64>) -> Vec<String> {
    let mut found = Vec::new();
    let no_evidence = Block::evidence_hash(&[]).to_string();
    for height in heights {
        let of = |chain: &Heads| chain.get(&height).cloned();
        let first = chains.first().and_then(of);
        for (name, chain) in names.iter().zip(chains) {
            match of(chain) {
                None => found.push(format!("{name} does not have height {height}")),
                Some(head) if Some(&head) != first.as_ref() => {
                    found.push(format!("{name} and {} have different blocks at height {height}", names[0]));
                }
                Some(_) => {}
            }
        }
        if first.is_some_and(|head| head.evidence_hash != no_evidence) {
            found.push(format!("the block at height {height} has evidence that a validator signed twice"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Heads {
        let head = |height: u64| Head {
            block_id: format!("B{height}"),
            app_hash: format!("A{height}"),
            evidence_hash: Block::evidence_hash(&[]).to_string(),
            txs: 3,
        };
        (5..=9).map(|height| (height, head(height))).collect()
    }

    /// The changes below are mutations that the comparison must notice.
    #[test]
    fn a_fork_a_missing_height_and_evidence_are_detected() {
        let names = ["node0", "node1"].map(str::to_owned);
        let found = |change: fn(&mut Heads)| {
            let mut other = chain();
            change(&mut other);
            differences(&names, &[chain(), other], 5..=9)
        };
        assert!(found(|_| {}).is_empty());
        let changed: [fn(&mut Head); 2] = [|head| head.block_id.push('X'), |head| head.app_hash.push('X')];
        for change in changed {
            let mut other = chain();
            change(other.get_mut(&7).unwrap());
            let found = differences(&names, &[chain(), other], 5..=9);
            assert_eq!(found, ["node1 and node0 have different blocks at height 7"]);
        }
        assert_eq!(found(|chain| drop(chain.remove(&9))), ["node1 does not have height 9"]);
        let mut guilty = chain();
        guilty.get_mut(&6).unwrap().evidence_hash = "AB".to_owned();
        let found = differences(&names, &[guilty.clone(), guilty], 5..=9);
        assert_eq!(found, ["the block at height 6 has evidence that a validator signed twice"]);
        assert_eq!(differences(&names, &[Heads::new(), chain()], 5..=5).len(), 2, "the first has nothing");
    }

    #[test]
    fn a_head_is_read_from_its_meta() {
        let meta = json!({
            "block_id": { "hash": "B" },
            "header": { "height": "7", "app_hash": "A", "evidence_hash": "E" },
            "num_txs": "3",
        });
        let expected = Head { block_id: "B".into(), app_hash: "A".into(), evidence_hash: "E".into(), txs: 3 };
        assert_eq!(head(&meta), Some((7, expected)));
        assert_eq!(head(&json!({ "header": { "height": "7" } })), None);
    }
}
