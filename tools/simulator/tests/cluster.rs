//! Proves what clusters do in daily work: pace, transactions, restarts, catching up, and one damaged disk.
#![allow(missing_docs)]

use std::{sync::Arc, time::Duration};

use replica::{Committed, Halt};
use simulator::{Broken, Setup, World};
use storage::{Cf, Fault, Store};
use support::{Checked, MINUTE, SOON, idle, ms, reached, tx, until};
use types::{BlockRequest, ChainId, Height, Msg, Round, SecretKey, SignState, TxOrder};

mod support;

/// Returns a transfer from the first to the second account of a world.
fn transfer(nonce: u64) -> Vec<u8> {
    let to = SecretKey::from_bytes(&[101; 32]).expect("a small number is a key").public_key().address();
    tx(TxOrder::Nonce(nonce), vec![Msg::Transfer { to, amount: 1 }])
}

/// Creates a world of correct validators that have decided `height`.
fn decided(validators: usize, height: u64) -> Result<World, Broken> {
    let mut c = World::new(idle(validators));
    c.run_until_height(height, MINUTE)?;
    Ok(c)
}

/// Returns what a node announced, ordered by height.
fn committed(c: &World, node: usize) -> impl Iterator<Item = &Arc<Committed>> {
    c.nodes()[node].committed.values()
}

fn txs(c: &World, node: usize) -> usize {
    committed(c, node).map(|committed| committed.block.txs.len()).sum()
}

#[test]
fn four_validators_decide_twenty_heights_with_transfers() -> Checked {
    let mut c = decided(4, 1)?;
    for nonce in 0..40 {
        // The node that receives it first gossips it, and each node also receives it from the client.
        let first = nonce as usize % 4;
        assert!(c.submit(first, &transfer(nonce)));
        (0..4).filter(|node| *node != first).for_each(|node| assert!(c.submit(node, &transfer(nonce))));
        c.run_for(ms(7))?;
    }
    c.run_until_height(20, SOON)?;
    c.run_until("all transfers", SOON, |c| (0..4).all(|node| txs(c, node) == 40))?;
    assert!(committed(&c, 0).all(|committed| committed.results.txs.iter().all(|result| result.code == 0)));
    assert!(committed(&c, 0).all(|committed| committed.timing.rounds == 0), "nothing failed");
    let (status, heights) = (c.status(0), c.tip(0).0);
    assert!(status.syncs <= 2 * (heights + 1), "{} syncs for {heights} heights", status.syncs);
    assert!(!status.catching_up && status.peer_heights.len() == 3);
    // All validators sign: each commit in a block has at least a quorum, and late precommits are included.
    assert!((2..10).any(|height| (0..4).all(|node| c.signed(node, height))));
    Ok(())
}

#[test]
fn a_block_whose_transactions_are_new_here_is_checked_first() -> Checked {
    let mut c = decided(4, 1)?;
    // All gossip of the transfers is lost.
    c.storm(1000);
    (0..5).for_each(|nonce| assert!(c.submit(2, &transfer(nonce))));
    c.storm(0);
    c.run_until("the transfers", MINUTE, |c| (0..4).all(|node| txs(c, node) == 5))?;
    let verifier = &c.nodes()[0].alive.as_ref().expect("it runs").txs.verifier;
    assert_eq!(verifier.checks(), 5, "each signature is checked once a node");
    Ok(())
}

#[test]
fn a_late_node_catches_up_and_signs() -> Checked {
    let mut c = World::new(Setup { late: vec![3], ..idle(4) });
    until(&mut c, &[0, 1, 2], 150)?;
    c.restart(3);
    c.run_until("the late one", MINUTE, |c| c.tip(3) >= c.tip(0))?;
    assert!(c.committed(3, 20).expect("it has the height").synced);
    let tip = c.tip(0).0;
    c.run_until_height(tip + 10, MINUTE)?;
    assert!(c.signed(3, tip + 5), "it takes part again");
    assert!(!c.status(3).catching_up);
    Ok(())
}

#[test]
fn a_damaged_old_block_is_not_served_and_affects_no_node() -> Checked {
    let mut c = World::new(Setup { late: vec![3], ..idle(4) });
    until(&mut c, &[0, 1, 2], 60)?;
    c.damage(0, Cf::Blocks, &20_u64.to_be_bytes());
    let store = &c.nodes()[0].alive.as_ref().expect("it runs").store;
    // The commit of height 19 is in block 20.
    let (answer, unreadable) = replica::serve(store, BlockRequest { from: Height(15), count: 10 });
    assert_eq!(answer.blocks.len(), 4);
    let unreadable = unreadable.expect("for the log");
    assert!(unreadable.is_of_the_disk(), "{unreadable}");
    let (answer, unreadable) = replica::serve(store, BlockRequest { from: Height(21), count: 10 });
    assert_eq!((answer.blocks.len(), unreadable.is_none()), (10, true));
    c.restart(3);
    c.run_until("the late one", MINUTE, |c| c.tip(3) >= c.tip(0))?;
    assert!(c.nodes().iter().all(|node| node.halted.is_none()), "{}", c.standing());
    Ok(())
}

#[test]
fn a_damaged_row_of_the_state_halts_its_node_and_names_the_row() -> Checked {
    let mut c = decided(4, 5)?;
    c.damage(1, Cf::State, b"n");
    let tip = c.tip(0).0;
    until(&mut c, &[0, 2, 3], tip + 10)?;
    let Some(Halt::Store(error)) = &c.nodes()[1].halted else { panic!("it does not halt: {}", c.standing()) };
    let sentence = error.to_string();
    assert!(sentence.contains("in state") && sentence.contains("key 6e"), "{sentence}");
    Ok(())
}

#[test]
fn a_node_that_loses_its_unsynced_writes_continues() -> Checked {
    let mut c = World::new(idle(4));
    for round in 0..3 {
        c.expect_progress(5, MINUTE)?;
        c.crash(round, 0);
        c.run_for(ms(300 * round as u64))?;
        c.restart(round);
    }
    c.expect_progress(5, MINUTE)
}

#[test]
fn all_lose_power_while_heights_follow_at_once_and_decide_the_same_again() -> Checked {
    for extra in 0..12 {
        let mut setup = idle(4);
        setup.config.empty_block_interval = Some(Duration::ZERO);
        let mut c = World::new(setup);
        c.run_until_height(5, MINUTE)?;
        c.run_for(ms(extra))?;
        c.crash_all();
        c.run_for(ms(50))?;
        c.restart_all();
        c.run_until_height(12, MINUTE)?;
    }
    Ok(())
}

#[test]
fn two_of_four_killed_and_one_restarted_continue() -> Checked {
    let mut c = decided(4, 5)?;
    c.kill(2);
    c.kill(3);
    c.run_for(Duration::from_secs(20))?;
    let tip = c.tip(0).0;
    assert!(tip <= 7, "two of four decide nothing");
    c.restart(3);
    until(&mut c, &[0, 1, 3], tip + 5)
}

/// A whole network that restarts, with data that agrees, does not wait for itself.
#[test]
fn all_restart_between_two_heights_and_continue_at_once() -> Checked {
    let mut c = decided(4, 5)?;
    c.run_for(ms(50))?;
    (0..4).for_each(|node| c.kill(node));
    c.restart_all();
    let tip = c.tip(0).0;
    c.run_for(ms(500))?;
    assert!(reached(&c, &[0, 1, 2, 3], tip + 2), "{}", c.standing());
    Ok(())
}

#[test]
fn lost_messages_are_sent_again() -> Checked {
    let mut setup = idle(4);
    setup.links.loss = 300;
    let mut c = World::new(setup);
    c.run_until_height(10, MINUTE)
}

#[test]
fn a_validator_behind_a_full_node_takes_part() -> Checked {
    // Without the fourth validator every decision needs the hidden one.
    let mut c = World::new(Setup { late: vec![3], behind: [(0, 4)].into(), ..idle(4).with_full_nodes(1) });
    until(&mut c, &[0, 1, 2, 4], 3)?;
    let tip = c.tip(1).0;
    until(&mut c, &[0, 1, 2, 4], tip + 30)?;
    let since = c.nodes()[1].committed.range(Height(tip + 1)..).map(|(_, committed)| committed.timing);
    let first_rounds: Vec<Duration> = since.filter(|timing| timing.rounds == 0).map(|timing| timing.decide).collect();
    assert!(first_rounds.len() > 15, "{first_rounds:?}");
    assert!(first_rounds.iter().all(|decide| *decide < ms(20)), "{first_rounds:?}");
    Ok(())
}

#[test]
fn a_validator_behind_a_sentry_signs_each_height() -> Checked {
    // Three of the four validators are enough, and heights are shorter than what the sentry's samples would need.
    let mut setup = Setup { behind: [(0, 4)].into(), ..idle(4).with_full_nodes(1) };
    setup.config.empty_block_interval = Some(ms(50));
    let mut c = World::new(setup);
    c.run_until_height(10, MINUTE)?;
    let from = c.tip(1).0;
    c.run_until_height(from + 40, MINUTE)?;
    let missed: Vec<u64> = (from..from + 40).filter(|height| !c.signed(0, *height)).collect();
    assert!(missed.is_empty(), "{missed:?}");
    Ok(())
}

#[test]
fn a_lone_validator_with_no_pause_between_heights_still_receives_messages() -> Checked {
    let mut setup = idle(1);
    setup.config.empty_block_interval = Some(Duration::ZERO);
    let mut c = World::new(setup);
    let mut tip = 0;
    for event in 0..200 {
        c.run_one()?;
        assert!(c.tip(0).0 <= tip + 1, "one height in a step");
        tip = c.tip(0).0;
        if event < 3 {
            assert!(c.submit(0, &transfer(event)));
        }
    }
    assert!(tip >= 5 && txs(&c, 0) == 3, "{}", c.standing());
    Ok(())
}

#[test]
fn without_transactions_and_interval_only_needed_blocks_are_made() -> Checked {
    let mut setup = idle(4);
    setup.config.empty_block_interval = None;
    let mut c = World::new(setup);
    c.run_for(Duration::from_secs(30))?;
    let idle = c.tip(0).0;
    assert!(idle <= 2, "{idle} blocks for nothing");
    (0..4).for_each(|node| assert!(c.submit(node, &transfer(0))));
    c.run_for(Duration::from_secs(30))?;
    // One block contains the transfer, one the app hash after it.
    assert_eq!(c.tip(0).0, idle + 2);
    assert!(reached(&c, &[0, 1, 2, 3], idle + 2));
    Ok(())
}

#[test]
fn the_least_interval_between_blocks_is_kept() -> Checked {
    let mut setup = idle(4);
    setup.config.empty_block_interval = Some(Duration::ZERO);
    setup.config.block_interval_min = ms(50);
    let mut c = World::new(setup);
    c.run_for(Duration::from_secs(5))?;
    let tip = c.tip(0).0;
    assert!((60..=101).contains(&tip), "{tip} heights in 5 s");
    Ok(())
}

#[test]
fn a_wall_clock_jump_costs_only_the_proposals_made_during_it() -> Checked {
    let mut c = decided(4, 5)?;
    c.jump_clock(1, Duration::from_secs(365 * 24 * 3600));
    c.run_for(ms(3000))?;
    assert!(c.counts.later_rounds > 0, "proposals from the future cost a round: {}", c.counts);
    c.jump_clock(1, Duration::ZERO);
    c.run_for(ms(3000))?;
    let jumped = c.tip(0);
    c.run_for(ms(10_000))?;
    let address = c.nodes()[1].address().expect("it is a validator");
    let later = c.nodes()[0].committed.range(jumped..).map(|(_, committed)| &committed.block.header);
    let (heights, proposed) = later
        .fold((0, 0), |(heights, proposed), header| (heights + 1, proposed + usize::from(header.proposer == address)));
    assert!(heights > 20 && proposed * 5 >= heights, "{proposed} of {heights} heights were proposed by one of four");
    assert_eq!(c.round(1), Round::ZERO, "no round fails any more");
    Ok(())
}

/// Simulator seed 1666: the store kept a write whose reply was lost, so its messages are sent again after the restart.
#[test]
fn messages_that_a_failed_write_left_in_the_store_are_recorded_before_they_are_sent_again() -> Checked {
    let mut c = World::new(idle(1));
    c.nodes()[0].disk.fail_write(0, Fault::Kept);
    c.run_until("it halts", SOON, |c| c.nodes()[0].halted.is_some())?;
    assert!(matches!(c.nodes()[0].halted, Some(Halt::Store(_))));
    let node = &c.nodes()[0];
    let store = Store::open(node.disk.open(), &ChainId::new("cairn-simulated").expect("a name")).expect("its own disk");
    let said = store.hard_state().expect("a disk in memory answers").expect("the write was kept");
    drop(store);
    assert_eq!(node.state_file.kept(), SignState::default(), "the replica stopped before it got there");
    c.restart(0);
    assert_eq!(c.nodes()[0].state_file.kept().height, said.height);
    // The checker verifies that the record covers each message.
    c.run_until_height(3, SOON)
}
