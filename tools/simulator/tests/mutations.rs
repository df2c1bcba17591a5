//! Proves that every check can fail: a rule that is broken in every correct node is detected within some seeds.
//! Mutations that are rarely detected this way have their own scenarios in `tests/scenarios.rs`:
//! `a_quorum_of_nils_does_not_unlock` (unlock_on_nil),
//! `i4_an_evicted_block_is_fetched_again_before_it_is_locked` (keep_verdicts),
//! `i6_rounds_without_end_take_no_memory_without_end` (keep_rounds) and
//! `i6_full_blocks_without_end_take_no_memory_without_end` (keep_blocks).
#![allow(missing_docs)]

use simulator::{Mutation, Story, live};

/// Finds the first seed that detects the mutation, and checks that one of these checks did.
fn caught(name: &str, seeds: u64, by: &[&str]) {
    let mutation = Mutation::named(name).expect("a mutation of this name");
    let found = (0..seeds).find_map(|seed| Some((seed, live(seed, Some(mutation), Story::default()).broken?)));
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
fn one_seed_gives_one_run() {
    for seed in [0, 5, 87, 93, 172, 694] {
        assert_eq!(live(seed, None, Story::default()), live(seed, None, Story::default()));
    }
}
