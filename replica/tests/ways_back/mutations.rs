//! Proves that each rule of rewind and prune is held by a test: with the rule broken, the named test fails, and its failure
//! says what the table expects.

use std::panic::catch_unwind;

use replica::{BrokenRule, Mutation};

use super::{plan, upgrade, window};

/// A test that detects a mutation.
struct Detection {
    mutation: Mutation,
    name: &'static str,
    test: fn(),
    /// Part of the failure of the test.
    says: &'static str,
}

macro_rules! table {
    ($($mutation:ident: $test:path, $says:literal;)*) => {
        &[$(Detection { mutation: Mutation::$mutation, name: stringify!($test), test: $test, says: $says },)*]
    };
}

const TABLE: &[Detection] = table! {
    SkipState: plan::a_state_that_is_not_the_one_of_the_next_block_is_refused_and_nothing_is_changed, "Err(Differs(";
    SkipWindow: plan::a_block_that_reverts_to_a_height_that_is_no_longer_kept_is_not_undone, "height 2 is no longer kept";
    BelowBase: plan::wrong_heights_are_refused_and_change_nothing, "Pruned { got: Height(0)";
    CrossUpgrade: upgrade::blocks_before_an_upgrade_are_not_executed_again_after_it, "executed across an upgrade";
    AnyParent: plan::headers_that_are_no_chain_are_refused_and_nothing_is_changed, "headers without a chain";
    AnyCommit: plan::a_last_block_that_was_not_decided_is_refused_and_nothing_is_changed, "a block without a valid commit";
    AnyAppHash: plan::a_block_that_gives_another_result_stops_the_replay_and_is_named, "6: Err(Block { height: Height(7), reason: \"header.app_hash";
    AnyResultsHash: plan::a_block_that_gives_another_result_stops_the_replay_and_is_named, "6: Err(Block { height: Height(7), reason: \"header.last_results_hash";
    CallNothingRepaired: plan::a_state_that_is_not_the_one_of_the_next_block_is_refused_and_nothing_is_changed, "right: (6, 1)";
    StartUnfinished: plan::a_block_that_gives_another_result_stops_the_replay_and_is_named, "refused";

    IgnoreRetainBlocks: window::a_prune_leaves_the_target_of_an_open_revert, "the last 8 heights are kept";
    IgnoreRetainTime: window::a_height_is_kept_while_it_is_young, "the last 100 seconds";
};

/// Runs a test; returns the text of its failure, if it fails.
fn failure_of(test: fn()) -> Option<String> {
    let panic = catch_unwind(test).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

#[test]
fn each_broken_rule_is_detected_by_the_test_that_holds_it() {
    let missing: Vec<&Mutation> =
        Mutation::ALL.iter().filter(|mutation| !TABLE.iter().any(|line| line.mutation == **mutation)).collect();
    assert!(missing.is_empty(), "no test of the table holds these rules: {missing:?}");
    let mut faults = Vec::new();
    for Detection { mutation, name, test, says } in TABLE {
        let broken = BrokenRule::new(*mutation);
        match failure_of(*test) {
            None => faults.push(format!("{mutation:?} is not detected by {name}")),
            Some(failure) if !failure.contains(says) => {
                faults.push(format!("{mutation:?} is detected by {name}, which does not say {says:?}: {failure}"));
            }
            Some(_) => {}
        }
        drop(broken);
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), TABLE.len(), faults.join("\n"));
}
