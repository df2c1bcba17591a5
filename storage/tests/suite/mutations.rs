//! Proves that each rule of rewind and prune is held by a test: with the rule broken, the named test fails, and its failure
//! says what the table expects.

use storage::{BrokenRule, Mutation};

use super::{crash, evidence, history, index, prune, rewind, store, trees};

types::detections! {
    HardStateGoesBack: rewind::a_rewind_keeps_what_was_signed "the hard state";
    ForgetSigningFloor: rewind::a_rewind_keeps_what_was_signed "the signing floor";
    ForgetPending: rewind::a_rewind_keeps_what_was_signed "the block that was precommitted";
    KeepTrees: trees::memory::a_rewind_drops_the_trees_of_a_height_that_it_removes "right: None";
    KeepLastChanges: crash::a_rewind_that_is_interrupted_at_any_write_is_continued "left: []";

    SeeEvidenceAbove: evidence::memory::a_rewind_forgets_the_evidence_of_the_blocks_that_it_drops "above the tip";
    SeeBlocksAbove: rewind::rows_above_the_tip_are_not_seen_while_a_rewind_is_unfinished "the block is above the tip";
    SeeTxsAbove: rewind::rows_above_the_tip_are_not_seen_while_a_rewind_is_unfinished "the transaction is above the tip";

    KeepVersions: rewind::dropped_heights_leave_no_row "left in state";
    KeepTxs: rewind::dropped_heights_leave_no_row "left in txs";
    KeepEvents: index::memory::rewinding_removes_index_rows_above_the_height "left: [(1, 0), (2, 0), (2, 1), (3, 0)";
    KeepEvidence: evidence::memory::a_rewind_forgets_the_evidence_of_the_blocks_that_it_drops "the time of the first block";
    KeepHashes: rewind::dropped_heights_leave_no_row "left in block_hash";
    KeepRules: rewind::a_replay_replaces_everything_that_a_wrong_execution_wrote "disk.dump() == right.dump()";
    EndEarly: crash::a_rewind_that_is_interrupted_at_any_write_is_continued "the row is above the tip";
    SkipSearch: rewind::damaged_lists_above_the_height_do_not_stop_a_rewind_that_drops_blocks "heads";
    KeepFirstExecution: rewind::a_replay_replaces_everything_that_a_wrong_execution_wrote "disk.dump() == right.dump()";
    NeverEnd: rewind::a_replay_that_is_interrupted_at_any_write_ends_as_if_never_rewound "write 1, ";

    WindowGoesBack: store::memory::reads_below_the_window_are_pruned_and_above_the_tip_are_future "left: Height(8)";
    PassTip: store::memory::reads_below_the_window_are_pruned_and_above_the_tip_are_future "the tip is always kept";
    DeleteBeforeDurable: prune::the_window_moves_before_rows_are_deleted "durable: 1";
    AnnounceLate: prune::the_window_moves_before_rows_are_deleted "announced: 1";
    IgnoreReaders: prune::rows_that_a_reader_needs_are_not_deleted "and height 5 is read";

    DeleteInForce: prune::heights_above_a_prune_read_as_before "the state at 79 is another one";
    DeleteRulesInForce: store::memory::pruning_removes_heights_in_steps_and_keeps_sets_and_parameters_in_force "height 130 has no row in validators";
    DeleteForEvidence: evidence::memory::what_checks_evidence_outlives_the_window "Pruned { got: Height(10)";
    KeepDeletions: history::rows_below_the_window_are_gone_from_memory "one more than heights";
    DeleteLaterVersions: prune::heights_above_a_prune_read_as_before "is another one";
    DeleteListsEarly: crash::a_crash_while_deletions_are_removed_brings_nothing_back "two versions of the counter";
}
