//! Proves safety and progress in single situations, many of which revealed an error in a random run.
//!
//! Each sentence has a test, here or in another file:
//!
//! | sentence | test |
//! |---|---|
//! | a block that was pushed out is fetched before it is precommitted | `i4_an_evicted_block_is_fetched_again_before_it_is_locked` |
//! | and can still be judged | `steps` of `replica`: `i4_a_block_that_was_evicted_before_its_parts_came_still_gets_a_verdict` |
//! | one Byzantine of four keeps rounds failing while the locked one is cut off | `named`: the test of this name |
//! | an old copy meets its height in a later round | `backups`: `a_disk_of_an_earlier_round_signs_nothing_at_its_height` |
//! | and is silent at the first live height | `backups`: `the_first_live_height_after_catching_up_is_left_out` |
//! | claims of strangers do not stop a restarted network | `named`: the test of this name |
//! | and are not our catching up | `claims_of_far_heights_change_nothing_that_clients_see` |
//! | answers to one peer are bounded whatever it says | `claims` of `replica`: `answers_to_round_states_are_always_bounded` |
//! | garbage for the next height does not start it | `unsigned_messages_start_no_height` |
//! | blocks slower than their proposals are decided in round 0 | `blocks_that_take_long_to_arrive_are_decided_in_round_0` |
//! | a lock outlives 256 other blocks | `rules` of `consensus`: `i6_after_hundreds_of_blocks_the_locked_one_is_still_known_and_decided` |
//! | a forged vote counts nowhere | `named`: the test of this name |
//! | a block of several parts has one holder | `named`: `a_block_of_several_parts_that_one_node_received_reaches_the_others_from_there` |
//! | its parts come before the proposal | `named`: `parts_that_come_before_their_proposal_wait_for_it` |
//! | parts of another block come | `named`: `parts_of_another_block_do_not_delay_the_block`, `a_proposal_with_the_parts_of_another_block_fails_its_round_only` |
//! | clocks jump | `cluster`: `a_wall_clock_jump_costs_only_the_proposals_made_during_it`; `deadlines`: `a_clock_that_jumps_ahead_costs_few_heights` |
//! | safety breaks above one third and only there | `named`: the test of this name |
//! | two of four lose everything after a decision | `named`: the test of this name, and `two_of_four_lose_their_unsynced_writes_after_a_decision` |
//! | eight liars and a late node | `named`: `a_late_node_catches_up_among_eight_liars` |
//! | a hundred validators, a late round that heals, a flood of invalid votes | `bounds` |
#![allow(missing_docs)]

use std::time::Duration;

use simulator::{
    Behaviour, Broken, Counts, Mutation, Setup, Story, World,
    directed::{
        Scenario,
        locks::{self, HiddenLock},
        memory::four_clocks,
        stage::Stage,
    },
    live,
};
use support::{Checked, SOON, ms};
use types::{Height, Round, Step};

mod support;

/// Creates four correct validators that have decided three heights.
fn four() -> Result<World, Broken> {
    let mut c = World::new(Setup::validators(4));
    c.run_until_height(3, SOON)?;
    Ok(c)
}

#[test]
fn four_validators_decide_on_a_quiet_network_in_round_0() -> Checked {
    let mut c = four()?;
    c.run_until_height(12, SOON)?;
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    assert!(c.counts.txs > 0);
    Ok(())
}

#[test]
fn validators_with_keys_of_both_types_decide_through_crashes_and_an_equivocator() -> Checked {
    let setup = Setup { ed25519: vec![0, 2], ..Setup::validators(4) };
    let mut c = World::new(setup.clone().with_byzantine(2, Behaviour::Equivocator));
    c.run_until_height(4, SOON)?;
    c.crash(0, 0);
    c.restart(0);
    c.run_until_height(8, SOON)?;
    let mut c = World::new(setup);
    c.run_until_height(4, SOON)?;
    c.crash_all();
    c.restart_all();
    c.expect_progress(3, SOON)
}

#[test]
fn a_failed_run_says_where_each_node_is() -> Checked {
    let mut c = World::new(Setup { late: vec![3], ..Setup::validators(4) });
    c.crash(1, 0);
    assert!(c.standing().starts_with("n0 tip 0 at "), "{}", c.standing());
    assert!(c.standing().ends_with("n1 down before its first height; n2 tip 0 at 0/0 Propose; n3 has not joined"));
    c.restart(1);
    c.run_until("three heights", SOON, |world| world.tip(0) >= Height(3) && world.tip(1) == world.tip(0))?;
    c.crash(1, 0);
    let announced = c.correct().nth(1).map(|node| node.announced()).filter(|height| *height >= Height(2));
    let announced = announced.expect("all but the last height are announced");
    assert!(c.standing().contains(&format!("; n1 down after announcing {announced}; ")), "{}", c.standing());
    Ok(())
}

#[test]
fn one_validator_alone_decides() -> Checked {
    let mut c = World::new(Setup::validators(1));
    c.run_until_height(5, SOON)?;
    c.crash(0, 0);
    c.restart(0);
    c.run_until_height(10, SOON)
}

#[test]
fn all_lose_power_just_after_a_decision_was_announced_and_decide_the_same_block_again() -> Checked {
    let mut taken_back = 0;
    for seed in 0..20 {
        let mut c = World::new(Setup { seed, ..Setup::validators(4) });
        c.run_until_height(3, SOON)?;
        let height = (0..4).map(|node| c.tip(node)).max().expect("four nodes").0 + 1;
        c.run_until("the decision", SOON, |c| (0..4).any(|node| c.tip(node) == Height(height)))?;
        let announced = c.block_id(height);
        c.crash_all();
        c.restart_all();
        taken_back += (0..4).filter(|node| c.tip(*node) < Height(height)).count();
        c.expect_progress(3, SOON)?;
        assert_eq!(c.block_id(height), announced);
    }
    assert!(taken_back > 40, "the crash takes the decision back from {taken_back} disks of 80");
    Ok(())
}

#[test]
fn all_restart_at_one_height_and_continue_at_once() -> Checked {
    let mut c = four()?;
    c.crash_all();
    c.run_for(ms(1000))?;
    c.restart_all();
    c.expect_progress(2, ms(2000))
}

#[test]
fn a_partition_in_halves_decides_nothing_and_heals() -> Checked {
    let mut c = four()?;
    c.partition(&[&[0, 1], &[2, 3]]);
    c.run_for(ms(500))?;
    let before = c.checker_height();
    c.run_for(ms(5000))?;
    assert_eq!(c.checker_height(), before, "two of four decide nothing");
    c.heal();
    c.expect_progress(3, SOON)
}

#[test]
fn three_of_four_continue_and_the_fourth_rejoins_consensus() -> Checked {
    let mut c = four()?;
    c.partition(&[&[0, 1, 2], &[3]]);
    c.run_until("ten heights without one", SOON, |c| c.tip(0).0 >= c.tip(3).0 + 10)?;
    c.heal();
    c.run_until("the fourth catches up", SOON, |c| c.tip(3) >= c.tip(0))?;
    assert!(c.counts.synced > 0);
    c.crash(0, 0);
    c.run_until("three go on with the one that came back", SOON, |c| c.tip(3).0 >= c.tip(0).0 + 3)
}

#[test]
fn a_proposer_that_is_down_costs_a_round_not_the_chain() -> Checked {
    let mut c = four()?;
    c.crash(2, 0);
    let before = c.checker_height();
    c.run_until("eight heights by three", SOON, |c| c.checker_height() >= before + 8)?;
    assert!(c.counts.later_rounds > 0, "the heights that it should propose are decided in later rounds: {}", c.counts);
    c.restart(2);
    c.expect_progress(3, SOON)
}

#[test]
fn a_node_that_joins_late_syncs_and_takes_part() -> Checked {
    let mut c = World::new(Setup { late: vec![3], ..Setup::validators(4) });
    c.run_until("three decide without the fourth", SOON, |c| c.tip(0).0 >= 8)?;
    c.restart(3);
    c.run_until("it syncs", SOON, |c| c.tip(3) >= c.tip(0))?;
    assert!(c.counts.synced >= 8, "{}", c.counts);
    c.crash(1, 0);
    c.run_until("it is needed, and there", SOON, |c| c.tip(3).0 >= c.tip(1).0 + 4)
}

#[test]
fn a_full_node_follows() -> Checked {
    let mut c = World::new(Setup::validators(4).with_full_nodes(1));
    c.run_until_height(6, SOON)?;
    c.crash(4, 0);
    c.run_for(ms(3000))?;
    c.restart(4);
    c.expect_progress(3, SOON)
}

/// Creates a height in which one validator alone, the proposer of round `turn`, has locked the block of round 0.
fn hidden_lock(setup: Setup, turn: usize, mutation: Option<Mutation>) -> Result<HiddenLock, Broken> {
    let rest = |c: &mut World, _: usize| assert!((0..4).all(|node| c.height(node) == c.tip(node)));
    let hidden = locks::hidden_lock(&Stage::new(mutation, Story::default()), setup, turn, rest)?;
    let HiddenLock { c, height, locked, late, others } = &hidden;
    assert!(c.locked(*locked).is_some());
    assert!(others.iter().chain([late]).all(|node| c.locked(*node).is_none()));
    assert_eq!((c.checker_height(), c.round(*late)), (height - 1, Round(0)));
    Ok(hidden)
}

/// Without the late node, no block is decided without the locked one. The locked node shows the polka from the first
/// failed round on, so the next running proposer proposes its block in round 2, before its own turn in round 3.
#[test]
fn a_hidden_lock_is_shown() -> Checked {
    let HiddenLock { mut c, height, locked, late, others } = hidden_lock(Setup::validators(4), 3, None)?;
    let block = c.locked(locked);
    c.crash(late, 0);
    others.iter().for_each(|to| c.cut(locked, *to, false));
    c.run_until("the height is decided", SOON, |c| c.checker_height() >= height)?;
    assert_eq!(c.block_id(height), block);
    assert_eq!(c.counts.later_rounds, 1);
    assert_eq!((0..4).map(|node| c.round(node)).max(), Some(Round(2)));
    Ok(())
}

/// The others prevote nil in round 1 and propose another block in round 2: the lock stays, despite a quorum of nil
/// votes.
#[test]
fn a_quorum_of_nils_does_not_unlock() -> Checked {
    let told = |mutation: Option<Mutation>| {
        let HiddenLock { mut c, height, locked, late, others } = hidden_lock(Setup::validators(4), 1, mutation)?;
        let block = c.locked(locked);
        others.iter().for_each(|from| c.cut(*from, late, false));
        let reached = |c: &World, node: usize| (c.round(node), c.step(node)) >= (Round(2), Step::Prevote);
        c.run_until("votes of round 2", SOON, |c| (0..4).all(|node| reached(c, node)))?;
        assert_eq!(c.locked(locked), block);
        [others[0], others[1], late].iter().for_each(|to| c.cut(locked, *to, false));
        c.run_until_height(height, SOON)
    };
    told(None)?;
    let unlocks = Mutation::named("unlock_on_nil");
    let noticed = told(unlocks).expect_err("a rule is broken");
    assert!(noticed.0.starts_with("lock: "), "{noticed:?}");
    Ok(())
}

/// A block gets a polka in round 0, and later rounds name so many other blocks that its bytes are evicted. When it is
/// proposed again with its polka, a validator must fetch it again before it precommits it.
#[test]
fn i4_an_evicted_block_is_fetched_again_before_it_is_locked() -> Checked {
    let told = |mutation: Option<Mutation>| {
        let mut setup = Setup::validators(4);
        setup.params.synchrony.message_delay = ms(1000);
        let HiddenLock { mut c, height, locked, late, others } = hidden_lock(setup, 3, mutation)?;
        let block = c.locked(locked);
        // Three validators are enough for a round, and two of them find no proposal timely: each round fails with its
        // own block.
        c.set_clock(late, 10_000);
        others.iter().for_each(|peer| c.cut(*peer, late, false));
        let three = [others[0], others[1], late];
        c.run_until("round 16", Duration::from_secs(300), |c| three.iter().all(|node| c.round(*node) >= Round(16)))?;
        assert!(three.iter().all(|node| c.locked(*node).is_none()));
        three.iter().for_each(|to| c.cut(locked, *to, false));
        c.run_until("the height is decided", Duration::from_secs(300), |c| c.checker_height() >= height)?;
        assert_eq!(c.block_id(height), block);
        Ok::<(), Broken>(())
    };
    told(None)?;
    let believes = Mutation::named("keep_verdicts");
    let panic = std::panic::catch_unwind(|| told(believes)).expect_err("it precommits what it does not have");
    let panic = panic.downcast_ref::<String>().expect("an assertion with a message");
    assert!(panic.starts_with("I4: the precommit for block"), "{panic}");
    Ok(())
}

/// No validator finds another one's proposal timely, so each round ends in nil as fast as messages travel.
#[test]
fn rounds_that_end_in_nil_do_not_spin() -> Checked {
    let mut c = four_clocks(&Stage::new(None, Story::default()), Setup::validators(4));
    c.run_for(Duration::from_secs(60))?;
    assert_eq!(c.checker_height(), 0);
    for node in 0..4 {
        let syncs = c.nodes()[node].alive.as_ref().expect("it runs").replica.status().syncs;
        let round = c.round(node).0;
        assert!((10..60).contains(&round), "n{node} is in round {round} after a minute");
        assert!(syncs <= 2 * u64::from(round + 1), "n{node} made {syncs} syncs in {round} rounds");
    }
    (0..4).for_each(|node| c.set_clock(node, 0));
    c.expect_progress(3, Duration::from_secs(60))
}

/// The memory of a height does not grow with its rounds.
#[test]
fn i6_rounds_without_end_take_no_memory_without_end() -> Checked {
    let scenario = Scenario::named("rounds_without_end").expect("a scenario of this name");
    scenario.run(None, Story::default())?;
    let noticed = scenario.run(Mutation::named("keep_rounds"), Story::default()).expect_err("it keeps every vote");
    assert!(noticed.0.starts_with("I6: "), "{noticed:?}");
    Ok(())
}

/// The memory for blocks does not grow either: each round names its own full block, and none is decided.
#[test]
fn i6_full_blocks_without_end_take_no_memory_without_end() -> Checked {
    let scenario = Scenario::named("full_blocks_without_end").expect("a scenario of this name");
    scenario.run(None, Story::default())?;
    let noticed = scenario.run(Mutation::named("keep_blocks"), Story::default()).expect_err("it keeps every block");
    assert!(noticed.0.starts_with("I6: ") && noticed.0.contains("bytes of blocks"), "{noticed:?}");
    Ok(())
}

#[test]
fn no_height_starts_before_the_genesis_time() -> Checked {
    let mut c = World::new(Setup { genesis_ahead: Duration::from_secs(11), ..Setup::validators(4) });
    c.run_for(Duration::from_secs(9))?;
    for node in c.nodes() {
        let alive = node.alive.as_ref().expect("it runs");
        assert_eq!((alive.replica.engine().height(), alive.replica.status().syncs), (Height(0), 0));
        let waits = alive.replica.status().waits_until;
        assert_eq!(waits, alive.store.genesis().map(|genesis| genesis.time), "it reports what it waits for");
    }
    c.run_until_height(3, ms(3000))?;
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    Ok(())
}

#[test]
fn clocks_that_are_set_back_at_a_restart_wait_for_the_tips_time() -> Checked {
    let mut c = four()?;
    c.crash_all();
    (0..4).for_each(|node| c.set_clock(node, -60_000));
    c.restart_all();
    let tip = c.checker_height();
    c.run_for(Duration::from_secs(55))?;
    assert_eq!(c.checker_height(), tip);
    for node in c.nodes() {
        let alive = node.alive.as_ref().expect("it runs");
        let status = alive.replica.status();
        assert_eq!((status.round, status.syncs), (Round(0), 0), "n{}", node.index);
        assert!(status.waits_until.is_some());
    }
    c.expect_progress(3, SOON)
}

/// The proposal is small and arrives at once; its block takes longer than the timeout that is derived from the
/// proposals' delays.
#[test]
fn blocks_that_take_long_to_arrive_are_decided_in_round_0() -> Checked {
    let mut setup = Setup { parts_delay: ms(600), ..Setup::validators(4) };
    let timeouts = &mut setup.params.timeouts;
    // These timeouts are so long that no message is repeated or late while a block travels.
    (timeouts.propose, timeouts.prevote, timeouts.precommit) = (ms(3000), ms(3000), ms(3000));
    let mut c = World::new(setup);
    c.run_until_height(30, Duration::from_secs(120))?;
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    Ok(())
}

#[test]
fn an_equivocator_is_seen_and_changes_nothing() -> Checked {
    let mut c = World::new(Setup::validators(4).with_byzantine(0, Behaviour::Equivocator));
    c.run_until_height(12, Duration::from_secs(60))?;
    assert!(c.counts.equivocations > 0, "{}", c.counts);
    Ok(())
}

#[test]
fn invalid_blocks_are_not_decided_and_the_next_proposer_decides() -> Checked {
    let mut c = World::new(Setup::validators(4).with_byzantine(1, Behaviour::BadBlocks));
    c.run_until_height(12, Duration::from_secs(60))?;
    assert!(c.counts.later_rounds > 0, "{}", c.counts);
    Ok(())
}

#[test]
fn garbage_is_penalized_and_harmless() -> Checked {
    let mut c = World::new(Setup::validators(4).with_byzantine(3, Behaviour::Garbage));
    c.run_until_height(12, Duration::from_secs(60))?;
    assert!(c.counts.penalties > 0, "{}", c.counts);
    Ok(())
}

#[test]
fn a_silent_and_a_selective_validator_only_delay_decisions() -> Checked {
    for behaviour in [Behaviour::Silent, Behaviour::Selective] {
        let mut c = World::new(Setup::validators(4).with_byzantine(2, behaviour));
        c.run_until_height(8, Duration::from_secs(60))?;
    }
    Ok(())
}

/// Seed 93: after a restart, a validator behind a sentry is connected with one peer only, and without it there is no
/// quorum.
#[test]
fn a_validator_behind_a_sentry_signs_again_after_a_restart() -> Checked {
    let setup = Setup { powers: vec![1, 8, 8, 4], behind: [(1, 2)].into(), ..Setup::validators(4) };
    let mut c = World::new(setup);
    c.run_until_height(3, SOON)?;
    c.crash_all();
    c.restart_all();
    c.expect_progress(3, SOON)
}

/// Seed 172: if two heights were possible in one step, one step could contain an endless number of heights.
#[test]
fn a_lone_validator_with_empty_blocks_at_once_still_receives_messages() -> Checked {
    let mut setup = Setup::validators(1).with_full_nodes(1);
    setup.config.empty_block_interval = Some(Duration::ZERO);
    let mut c = World::new(setup);
    c.run_until_height(20, SOON)
}

/// Seed 6279: the write of a decided height is on disk but was reported as failed, and a client's transaction arrives
/// before the node has stopped.
#[test]
fn a_client_request_between_a_failed_write_and_the_stop_does_not_break_the_node() -> Checked {
    for seed in 0..12 {
        let mut setup = Setup { seed, tx_interval: Some(Duration::from_micros(500)), ..Setup::validators(1) };
        setup.config.empty_block_interval = Some(ms(10));
        let mut c = World::new(setup);
        c.run_until_height(2, SOON)?;
        c.nodes()[0].disk.fail_write(seed % 4, storage::Fault::Kept);
        c.run_for(ms(40))?;
        c.expect_progress(1, SOON)?;
    }
    Ok(())
}

#[test]
fn rounds_that_fail_end_and_later_rounds_decide() -> Checked {
    let mut c = four()?;
    c.storm(700);
    c.run_for(ms(6000))?;
    c.heal();
    c.expect_progress(5, SOON)?;
    assert!((0..4).all(|node| c.round(node) < Round(3)), "{}", c.standing());
    Ok(())
}

/// Each kind of event about stake occurs in random worlds.
#[test]
fn validators_decide_rotate_upgrade_and_are_slashed_in_random_worlds() {
    let mut counts = Counts::default();
    let all = |counts: &Counts| {
        let Counts { params_changed, rotations, upgrades, jailed, slashed, slashed_by_old_keys, unbonded, .. } =
            *counts;
        [params_changed, rotations, upgrades, jailed, slashed, slashed_by_old_keys, unbonded]
            .iter()
            .all(|count| *count > 0)
    };
    for seed in (0..800).filter(|seed| Setup::of_seed(*seed).stakes) {
        let life = live(seed, None, Story::default());
        assert_eq!(life.broken, None, "seed {seed}");
        counts.add(&life.counts);
        if all(&counts) {
            return;
        }
    }
    panic!("some do not occur: {counts}");
}

/// Creates four validators, idle except for one block per second, and nodes without stake that have just joined.
fn four_and(strangers: usize, behaviour: Behaviour) -> Result<World, Broken> {
    let mut setup = Setup::validators(4).with_strangers(strangers, behaviour);
    setup.config.empty_block_interval = Some(ms(1000));
    setup.tx_interval = None;
    let mut c = World::new(setup);
    c.run_until_height(3, SOON)?;
    (4..4 + strangers).for_each(|node| c.restart(node));
    Ok(c)
}

#[test]
fn claims_of_far_heights_change_nothing_that_clients_see() -> Checked {
    let mut c = four_and(3, Behaviour::Claimant)?;
    let before = c.checker_height();
    for _ in 0..2000 {
        c.run_for(ms(10))?;
        assert!((0..4).all(|node| !c.catching_up(node)), "a claim is no reason to be catching up: {}", c.standing());
    }
    let heights = c.checker_height() - before;
    assert!((18..=21).contains(&heights), "{heights} heights in 20 s, one per second is expected");
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    assert!(c.counts.penalties > 0, "claims that are not served cost score");
    Ok(())
}

#[test]
fn unsigned_messages_start_no_height() -> Checked {
    let mut c = four_and(2, Behaviour::Unsigned)?;
    let before = c.checker_height();
    c.run_for(ms(20_000))?;
    let heights = c.checker_height() - before;
    assert!((18..=21).contains(&heights), "{heights} heights in 20 s, one per second is expected");
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    assert!(c.counts.penalties > 100, "{}", c.counts);
    Ok(())
}

/// Ten blocks are decided per second. The validator that was cut off for four seconds knows 14 nodes without stake and
/// three validators; unanswered requests last 5 s.
#[test]
fn a_paused_node_catches_up_among_peers_that_serve_no_claimed_block() -> Checked {
    let mut setup = Setup::validators(4).with_strangers(14, Behaviour::Claimant);
    setup.config.empty_block_interval = Some(ms(100));
    setup.config.gossip_interval = ms(1000);
    setup.config.sync_timeout = ms(5000);
    let mut c = World::new(setup);
    c.run_until_height(5, SOON)?;
    (4..18).for_each(|node| c.restart(node));
    c.run_for(ms(2000))?;
    c.partition(&[&[0, 1, 2]]);
    c.run_for(ms(4000))?;
    assert!(c.tip(0).0 >= c.tip(3).0 + 20, "{}", c.standing());
    c.heal();
    c.run_until("the fourth catches up", ms(3000), |c| c.tip(3) >= c.tip(0))?;
    c.crash(0, 0);
    c.run_until("three decide with it", ms(4000), |c| c.tip(3).0 >= c.tip(0).0 + 5)
}
