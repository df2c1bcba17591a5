//! Proves that every check can fail: a rule that is broken in every correct node is detected within some seeds.
//! Mutations that are rarely detected this way have their own scenarios in `tests/scenarios.rs`:
//! `a_quorum_of_nils_does_not_unlock` (unlock_on_nil),
//! `i4_an_evicted_block_is_fetched_again_before_it_is_locked` (keep_verdicts),
//! `i6_rounds_without_end_take_no_memory_without_end` (keep_rounds) and
//! `i6_full_blocks_without_end_take_no_memory_without_end` (keep_blocks). Those of the rules of evidence are in
//! `tests/evidence.rs`.
#![allow(missing_docs)]

use simulator::{Behaviour, Mutation, Setup, Story, live};

/// Finds the first seed that detects the mutation, and checks that one of these checks did.
fn caught(name: &str, seeds: u64, by: &[&str]) {
    caught_by(name, seeds, by, |_| true);
}

/// As [`caught`], in worlds with reverts.
fn caught_by_reverts(name: &str, seeds: u64, by: &[&str]) {
    caught_by(name, seeds, by, |setup| setup.reverts);
}

/// As [`caught`], in worlds in which stake moves.
fn caught_by_stakes(name: &str, seeds: u64, by: &[&str]) {
    caught_by(name, seeds, by, |setup| setup.stakes);
}

/// Returns true if a validator shows votes with which it contradicts itself.
fn has_traitor(setup: &Setup) -> bool {
    setup.byzantine.values().any(|behaviour| *behaviour == Behaviour::Traitor)
}

fn caught_by(name: &str, seeds: u64, by: &[&str], is_tried: fn(&Setup) -> bool) {
    let mutation = Mutation::named(name).expect("a mutation of this name");
    let tried = (0..seeds).filter(|seed| is_tried(&Setup::of_seed(*seed)));
    let found = tried.into_iter().find_map(|seed| Some((seed, live(seed, Some(mutation), Story::default()).broken?)));
    let (seed, broken) = found.unwrap_or_else(|| panic!("{name} was not detected within {seeds} seeds"));
    assert!(
        by.iter().any(|check| broken.contains(check)),
        "{name} was detected by seed {seed}, but not by {by:?}: {broken}"
    );
}

#[test]
fn sending_before_the_hard_state_is_durable_is_detected() {
    caught("skip_write_ahead", 20, &["I2", "I4"]);
}

#[test]
fn a_disk_that_only_claims_to_sync_is_detected() {
    caught("lose_syncs", 20, &["I2"]);
}

#[test]
fn signing_twice_is_detected() {
    caught("double_sign", 20, &["I1"]);
}

#[test]
fn deciding_with_too_few_precommits_is_detected() {
    caught("weak_commit", 100, &["validity", "agreement"]);
}

#[test]
fn forgetting_a_lock_is_detected() {
    caught("skip_lock", 500, &["lock", "agreement"]);
}

#[test]
fn a_root_that_is_logged_late_is_detected() {
    caught_by_reverts("log_old_root", 100, &["I-KV1"]);
}

#[test]
fn a_disk_that_changes_old_versions_is_detected() {
    caught_by_reverts("rewrite_history", 100, &["I-KV2"]);
}

#[test]
fn a_revert_that_leaves_out_a_key_is_detected() {
    caught_by_reverts("restore_less", 100, &["I-RV1"]);
}

#[test]
fn a_revert_of_money_is_detected() {
    caught_by_reverts("restore_more", 100, &["I-RV2", "supply"]);
}

#[test]
fn a_revert_without_a_new_epoch_is_detected() {
    caught_by_reverts("keep_epoch", 100, &["I-RV2"]);
}

#[test]
fn a_decision_by_a_third_is_detected() {
    caught_by_reverts("third_decides", 100, &["I-RV3"]);
}

#[test]
fn a_revert_without_notice_is_detected() {
    caught_by_reverts("skip_notice", 100, &["I-RV3"]);
}

#[test]
fn a_digest_of_other_changes_is_detected() {
    caught_by_reverts("other_digest", 100, &["I-RV5"]);
}

#[test]
fn a_revert_that_undoes_another_one_in_part_is_detected() {
    caught_by_reverts("restore_less_again", 300, &["I-RV6"]);
}

#[test]
fn a_write_to_a_frozen_namespace_is_detected() {
    caught_by_reverts("ignore_freeze", 200, &["fence"]);
}

#[test]
fn an_operator_that_freezes_for_two_proposals_is_detected() {
    caught_by_reverts("several_freezes", 300, &["I-RV3"]);
}

#[test]
fn a_rewind_that_takes_too_much_is_detected() {
    caught_by_reverts("rewind_takes_more", 100, &["determinism", "I-KV2"]);
}

#[test]
fn a_rewind_that_forgets_what_was_signed_is_detected() {
    caught_by_reverts("rewind_forgets_signing", 100, &["rewind: "]);
}

#[test]
fn a_replay_by_another_rule_is_detected() {
    caught_by_reverts("replay_differs", 200, &["again gives the app hash"]);
}

#[test]
fn stake_that_comes_back_too_early_is_detected() {
    caught_by_stakes("unbond_early", 200, &["ST6"]);
}

#[test]
fn stake_that_comes_back_twice_is_detected() {
    caught_by_stakes("unbond_twice", 200, &["supply"]);
}

#[test]
fn a_validator_that_stays_without_stake_is_detected() {
    caught_by_stakes("keep_leaver", 200, &["ST4"]);
}

#[test]
fn a_set_that_is_too_large_is_detected() {
    caught_by_stakes("any_set_size", 1600, &["ST4"]);
}

#[test]
fn stake_of_a_validator_that_keeps_its_power_is_not_paid() {
    caught_by("pay_kept", 800, &["ST6"], |setup| setup.stakes);
}

#[test]
fn a_set_without_members_is_detected() {
    caught_by("empty_set", 800, &["ST7", "make a set"], |setup| setup.stakes);
}

#[test]
fn a_validator_in_jail_that_stays_is_detected() {
    caught_by("jailed_signs", 200, &["ST4", "ST5"], |setup| setup.stakes);
}

#[test]
fn shares_that_are_worth_too_much_are_detected() {
    caught_by("round_up", 200, &["ST2"], |setup| setup.stakes);
}

#[test]
fn a_price_that_stays_after_a_slash_is_detected() {
    caught_by("keep_price", 400, &["ST2"], |setup| has_traitor(setup) || setup.stake_events.downtime);
}

#[test]
fn rewards_that_are_paid_twice_are_detected() {
    caught_by("pay_again", 200, &["ST3"], |setup| setup.stakes);
}

#[test]
fn a_lost_remainder_of_rewards_is_detected() {
    caught_by("lose_remainder", 200, &["ST3"], |setup| setup.stakes);
}

#[test]
fn money_that_the_supply_does_not_count_is_detected() {
    caught_by("issue_uncounted", 200, &["ST1", "supply"], |setup| setup.stakes);
}

#[test]
fn issuance_by_heights_is_detected() {
    caught_by("issue_by_height", 200, &["ST1"], |setup| setup.stakes);
}

#[test]
fn a_burn_that_the_supply_does_not_know_is_detected() {
    caught_by("burn_keeps_supply", 400, &["ST1", "supply"], has_traitor);
}

#[test]
fn parameters_that_act_at_once_are_detected() {
    caught_by("params_at_once", 200, &["params"], |setup| setup.stake_events.params);
}

#[test]
fn timeouts_that_do_not_follow_the_parameters_are_detected() {
    caught_by("keep_timeouts", 3200, &["params"], |setup| setup.stake_events.params);
}

#[test]
fn a_set_that_does_not_follow_its_maximum_size_is_detected() {
    caught_by("keep_set", 1600, &["ST4"], |setup| setup.stake_events.params);
}

#[test]
fn an_upgrade_without_a_new_version_is_detected() {
    caught_by("keep_version", 400, &["params"], |setup| setup.stake_events.upgrades);
}

#[test]
fn an_upgrade_without_a_barrier_is_detected() {
    caught_by("no_barrier", 400, &["upgrade"], |setup| setup.stake_events.upgrades);
}

#[test]
fn an_upgrade_that_stays_planned_is_detected() {
    caught_by("keep_plan", 400, &["upgrade"], |setup| setup.stake_events.upgrades);
}

#[test]
fn a_program_that_runs_past_an_unknown_upgrade_is_detected() {
    caught_by("any_program", 400, &["upgrade"], |setup| setup.stake_events.upgrades);
}

#[test]
fn an_old_key_that_stays_in_the_set_is_detected() {
    caught_by("old_key_signs", 400, &["ST4", "liveness"], |setup| setup.stake_events.rotations);
}

#[test]
fn an_old_key_that_is_forgotten_at_once_is_detected() {
    caught_by("forget_old_key", 400, &["rotation"], |setup| setup.stake_events.rotations);
}

#[test]
fn an_old_key_that_is_never_forgotten_is_detected() {
    caught_by("keep_old_key", 800, &["rotation"], |setup| setup.stake_events.rotations);
}

#[test]
fn a_node_without_its_new_key_is_detected() {
    caught_by("forget_next_key", 400, &["liveness"], |setup| setup.stake_events.rotations);
}

#[test]
fn a_second_slash_is_detected() {
    caught_by("slash_again", 800, &["ST5"], has_traitor);
}

#[test]
fn a_liar_that_may_return_is_detected() {
    caught_by("no_tombstone", 400, &["ST5"], has_traitor);
}

#[test]
fn a_slash_of_the_stake_of_another_height_is_detected() {
    caught_by("slash_other_height", 1600, &["ST5"], has_traitor);
}

#[test]
fn stake_that_left_and_is_not_slashed_is_detected() {
    caught_by("forget_departures", 800, &["ST5"], has_traitor);
}

#[test]
fn a_burn_that_is_rounded_up_is_detected() {
    caught_by("round_burn_up", 400, &["ST5"], |setup| setup.stake_events.downtime);
}

#[test]
fn jail_after_a_short_silence_is_detected() {
    caught_by("downtime_by_heights", 800, &["ST5"], |setup| setup.stake_events.downtime);
}

#[test]
fn jail_after_few_misses_is_detected() {
    caught_by("downtime_by_time", 800, &["ST5"], |setup| setup.stake_events.downtime);
}

#[test]
fn jail_for_more_than_a_third_is_detected() {
    caught_by("jail_all", 800, &["ST5"], |setup| setup.stake_events.downtime);
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [0, 5, 17, 33, 87, 93, 172, 694] {
        assert_eq!(live(seed, None, Story::default()), live(seed, None, Story::default()));
    }
}
