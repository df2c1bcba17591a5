//! Proves that each rule of rewind and prune is held by a test: with the rule broken, the named test fails, and its failure
//! says what the table expects.

use replica::{BrokenRule, Mutation};

use super::{plan, upgrade, window};

types::detections! {
    SkipState: plan::a_state_that_is_not_the_one_of_the_next_block_is_refused_and_nothing_is_changed "Err(Differs(";
    SkipWindow: plan::a_block_that_reverts_to_a_height_that_is_no_longer_kept_is_not_undone "height 2 is no longer kept";
    BelowBase: plan::wrong_heights_are_refused_and_change_nothing "0: Err(Store(Pruned {";
    CrossUpgrade: upgrade::blocks_before_an_upgrade_are_not_executed_again_after_it "executed across an upgrade";
    AnyParent: plan::headers_that_are_no_chain_are_refused_and_nothing_is_changed "headers without a chain";
    AnyCommit: plan::a_last_block_that_was_not_decided_is_refused_and_nothing_is_changed "a block without a valid commit";
    AnyAppHash: plan::a_block_that_gives_another_result_stops_the_replay_and_is_named "6: Err(Block { height: Height(7), reason: \"header.app_hash";
    AnyResultsHash: plan::a_block_that_gives_another_result_stops_the_replay_and_is_named "6: Err(Block { height: Height(7), reason: \"header.last_results_hash";
    CallNothingRepaired: plan::a_state_that_is_not_the_one_of_the_next_block_is_refused_and_nothing_is_changed "right: (6, 1)";
    StartUnfinished: plan::a_block_that_gives_another_result_stops_the_replay_and_is_named "refused";

    IgnoreRetainBlocks: window::a_prune_leaves_the_target_of_an_open_revert "the last 8 heights are kept";
    IgnoreRetainTime: window::a_height_is_kept_while_it_is_young "the last 100 seconds";
}
