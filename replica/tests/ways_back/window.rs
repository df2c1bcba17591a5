//! Which heights a node keeps: those of which the chain obliges it, and younger ones.

use std::time::Duration;

use replica::first_kept;
use storage::FORGET_STEP;
use types::Height;

use crate::chain::{Chain, REVERTED_AT, REVERTED_TO};

const LEAD: u64 = 3 * FORGET_STEP;

/// The node prunes all that it may, between the decision about a revert and its execution, which reads the target.
#[test]
pub fn a_prune_leaves_the_target_of_an_open_revert() {
    let mut chain = Chain::begin(8);
    chain.empty_blocks(LEAD);
    (1..REVERTED_AT).for_each(|_| chain.next_block(None));
    let retain = first_kept(chain.store(), Duration::ZERO).unwrap();
    assert_eq!(retain, Height(LEAD + REVERTED_AT - 8), "the last 8 heights are kept");
    assert!(retain.0 <= LEAD + REVERTED_TO);
    chain.store().prune(retain).unwrap();
    chain.next_block(None);
    let events = chain.store().results(Height(LEAD + REVERTED_AT)).unwrap().events;
    assert!(events.iter().any(|event| event.kind == "revert.executed"), "{events:?}");
}

/// The blocks are one second apart.
#[test]
pub fn a_height_is_kept_while_it_is_young() {
    let mut chain = Chain::begin(2);
    chain.empty_blocks(LEAD);
    let kept = |seconds| first_kept(chain.store(), Duration::from_secs(seconds)).map(|height| height.0);
    assert_eq!(kept(0), Some(LEAD - 1), "no more than the chain asks for");
    assert_eq!(kept(100), Some(LEAD - 100), "the last 100 seconds");
    assert_eq!(kept(LEAD - FORGET_STEP - 1), Some(FORGET_STEP + 1), "a whole step is old");
    assert_eq!(kept(LEAD - FORGET_STEP), None, "less than a step is old");
}
