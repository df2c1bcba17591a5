//! Decides which heights a node keeps.
//!
//! A height is kept while it is among the last `retain_blocks` of the chain's parameters, or younger than the node's
//! `retain_time` by the blocks' own times. A number of heights alone would be a day on an idle chain and minutes on a
//! busy one.

use std::time::Duration;

use storage::{FORGET_STEP, Kv, Store, StoreError};
use types::{Height, Time};

use crate::mutation::{Mutation, mutated};

/// Returns the first height that a node keeps now; `None` if there is nothing to prune.
///
/// Cost: one header while there is nothing to prune, else a binary search.
pub fn first_kept<K: Kv>(store: &Store<K>, retain_time: Duration) -> Option<Height> {
    let (tip, params) = store.tip().zip(store.next_params())?;
    let retain_blocks = if mutated(Mutation::IgnoreRetainBlocks) { 1 } else { params.retain_blocks };
    let by_height = Height((tip.height.0 + 1).saturating_sub(retain_blocks));
    let is_old = |height: Height| {
        let time = time_of(store, height);
        time.is_some_and(|time| tip.time.since(time) > retain_time || mutated(Mutation::IgnoreRetainTime))
    };
    first_young(store.earliest(), by_height, is_old)
}

/// Returns the first height to keep; `None` if there is nothing to prune. `is_old` is true up to some height and false
/// above it.
///
/// Pruning in steps of [`FORGET_STEP`] costs one small write per step instead of one per height, and one header read
/// while there is nothing to do.
fn first_young(earliest: Height, by_height: Height, is_old: impl Fn(Height) -> bool) -> Option<Height> {
    let step = Height(earliest.0 + FORGET_STEP);
    if by_height < step || !is_old(Height(step.0 - 1)) {
        return None;
    }
    // Heights below `old` are old; heights from `young` on are not, unless `young` is still `by_height`.
    let (mut old, mut young) = (step.0, by_height.0);
    while old < young {
        let middle = old + (young - old) / 2;
        match is_old(Height(middle)) {
            true => old = middle + 1,
            false => young = middle,
        }
    }
    Some(Height(old))
}

/// Returns the time of a block or, where its row is damaged, of the next readable one within [`FORGET_STEP`] heights. A
/// damaged row must neither keep older heights forever nor delete younger ones.
fn time_of<K: Kv>(store: &Store<K>, height: Height) -> Option<Time> {
    let near = (height.0..).take(FORGET_STEP as usize);
    near.map_while(|at| match store.header(Height(at)) {
        Err(StoreError::Future { .. } | StoreError::Pruned { .. }) => None,
        read => Some(read.ok()),
    })
    .flatten()
    .next()
    .map(|header| header.time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_height_is_kept_for_its_age_or_for_its_number() {
        let old_below = |height: u64| move |at: Height| at.0 < height;
        let first =
            |earliest, by_height, old| first_young(Height(earliest), Height(by_height), old_below(old)).map(|h| h.0);
        assert_eq!(first(1, 64, 1000), None, "less than a step");
        assert_eq!(first(1, 65, 1000), Some(65));
        assert_eq!(first(1, 900, 1000), Some(900), "the chain asks for the rest");
        assert_eq!(first(1, 900, 500), Some(500), "the rest is too young");
        assert_eq!(first(1, 900, 64), None);
        assert_eq!(first(1, 900, 65), Some(65));
        assert_eq!(first(1, 0, 1000), None, "the chain has less than it asks for");
    }
}
