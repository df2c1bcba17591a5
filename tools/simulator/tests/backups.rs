//! Proves that a node whose database is older than what its key signed contradicts nothing, and signs again in the end.
//!
//! The checker of the world verifies at every message that no key contradicts itself (I1) and that the signing state
//! covers the message (I2).
#![allow(missing_docs)]

use std::time::Duration;

use replica::Silence;
use simulator::{Backup, Behaviour, Broken, Parcel, Setup, SigningState, World};
use storage::Store;
use support::{Checked, MINUTE, SOON, idle, ms, reached, until};
use types::{ChainId, Height, PeerMessage, Round};

mod support;

/// Creates a world of correct validators that have decided `height` and rest before the next one.
fn decided(validators: usize, height: u64) -> Result<World, Broken> {
    let mut c = World::new(idle(validators));
    c.run_until_height(height, MINUTE)?;
    c.run_for(ms(50))?;
    Ok(c)
}

/// Runs the world until a block that was decided two heights ago has the signature of `node`.
fn until_it_signs(c: &mut World, node: usize) -> Checked {
    let signs = c.run_until("it signs again", MINUTE, |c| c.signed(node, c.checker_height() - 2));
    signs.map_err(|Broken(what)| Broken(format!("{what}; n{node} is silent: {:?}", c.silence(node))))
}

/// Returns a copy of node 3. If the signing state will be restored with it, node 3 does not propose at the next height: there
/// it is not protected (docs/operate.md), and would sign a second proposal before it hears of the first.
fn backup_of_3(c: &mut World, state: SigningState) -> Result<Backup, Broken> {
    if state == SigningState::EquallyOld {
        c.run_until("another node's turn", MINUTE, |c| c.next_proposer(3, Round(0)) != 3)?;
        c.run_for(ms(50))?;
    }
    Ok(c.backup(3))
}

#[test]
fn an_old_backup_does_not_sign_again() -> Checked {
    for state in [SigningState::Kept, SigningState::Lost, SigningState::EquallyOld] {
        let mut c = decided(4, 10)?;
        let backup = backup_of_3(&mut c, state)?;
        c.run_until_height(30, MINUTE)?;
        c.kill(3);
        c.restore(3, &backup, state);
        c.restart(3);
        c.expect_progress(10, MINUTE)?;
        until_it_signs(&mut c, 3)?;
        assert_eq!(c.silence(3), None);
    }
    Ok(())
}

/// After a restore from an old copy, the database is at a height at which the validator has signed messages that the
/// database does not contain.
#[test]
fn a_database_restored_from_an_old_copy_does_not_sign_twice() -> Checked {
    for seed in 0..30 {
        let mut c = World::new(Setup { seed, ..Setup::validators(4) });
        c.run_until_height(3, SOON)?;
        let durable = Backup { disk: c.nodes()[3].disk.durable(), ..c.backup(3) };
        c.run_for(ms(50 * seed))?;
        c.crash(3, usize::MAX);
        c.restore(3, &durable, if seed % 2 == 0 { SigningState::Lost } else { SigningState::Kept });
        c.restart(3);
        c.expect_progress(3, SOON)?;
        c.run_until("it signs again", SOON, |c| c.silence(3).is_none())?;
    }
    Ok(())
}

/// Two of four restart with old disks while the other two are down: the checker verifies that they do not contradict
/// their earlier votes.
#[test]
fn two_old_disks_that_reach_only_each_other_sign_nothing() -> Checked {
    for state in [SigningState::Kept, SigningState::Lost] {
        let mut c = World::new(Setup::validators(4));
        c.run_until_height(3, SOON)?;
        let copies = [2, 3].map(|node| Backup { disk: c.nodes()[node].disk.durable(), ..c.backup(node) });
        let from = c.checker_height();
        c.run_until_height(from + 4, SOON)?;
        c.crash_all();
        for (node, copy) in [2, 3].into_iter().zip(&copies) {
            c.restore(node, copy, state);
            c.restart(node);
        }
        c.run_for(Duration::from_secs(30))?;
        assert!([2, 3].iter().all(|node| c.tip(*node).0 <= from + 1 && c.silence(*node).is_some()), "{}", c.standing());
    }
    Ok(())
}

/// Two of four nodes are restored while the other two are unreachable: their votes do not make each other sign.
#[test]
fn the_votes_of_two_old_backups_do_not_make_each_other_sign() -> Checked {
    for state in [SigningState::Kept, SigningState::Lost] {
        let mut c = decided(4, 5)?;
        let copies = [2, 3].map(|node| c.backup(node));
        let from = c.tip(2).0;
        c.run_until_height(from + 8, MINUTE)?;
        c.run_for(ms(50))?;
        (0..4).for_each(|node| c.kill(node));
        for (node, copy) in [2, 3].into_iter().zip(&copies) {
            c.restore(node, copy, state);
            c.restart(node);
        }
        let messages = |c: &World| (0..4).map(|node| c.signed_by(node).count()).sum::<usize>();
        let signed = messages(&c);
        c.run_for(MINUTE)?;
        assert_eq!((c.tip(2).0, c.tip(3).0), (from, from));
        assert_eq!(messages(&c), signed, "they sign no new message");
        assert!([2, 3].iter().all(|node| c.silence(*node).is_some()));
        c.restart_all();
        let after_restart = c.tip(0).0 + 10;
        // If the file says that they did not sign at the height that waits for them, they sign after a while.
        c.run_for(MINUTE)?;
        match state {
            SigningState::Kept => until(&mut c, &[0, 1, 2, 3], after_restart)?,
            _ => assert!([2, 3].iter().all(|node| c.silence(*node) == Some("no_signing_state"))),
        }
    }
    Ok(())
}

/// A restored node does not sign at the first height that it reaches live, even if all it had to catch up with was one
/// commit.
#[test]
fn the_first_live_height_after_catching_up_is_left_out() -> Checked {
    for (state, behind) in [
        (SigningState::Kept, 1),
        (SigningState::Lost, 1),
        (SigningState::Lost, 2),
        (SigningState::Lost, 9),
        (SigningState::EquallyOld, 5),
    ] {
        let mut c = decided(4, 10)?;
        let backup = backup_of_3(&mut c, state)?;
        let from = c.tip(3).0;
        c.run_until_height(from + behind, MINUTE)?;
        c.run_for(ms(50))?;
        c.kill(3);
        // The other two nodes are at a height that needs one more vote than they have.
        c.kill(2);
        c.restore(3, &backup, state);
        c.run_for(ms(3000))?;
        let height = c.tip(0).0 + 1;
        c.restart(3);
        c.run_until("it has caught up", MINUTE, |c| c.tip(3).0 + 1 == height)?;
        c.run_for(ms(8000))?;
        assert_eq!((c.tip(0).0 + 1, c.tip(3).0 + 1), (height, height), "it does not sign: {state:?}");
        assert!(c.silence(3).is_some());
        // After a restart it does not sign either, if there is no record that it did not sign here.
        if state == SigningState::Lost {
            c.kill(3);
            c.restart(3);
            c.run_for(ms(8000))?;
            assert_eq!(c.tip(3).0 + 1, height, "{state:?} after a restart: {:?}", c.silence(3));
        }
        c.restart(2);
        c.run_until_height(height + 30, MINUTE)?;
        until_it_signs(&mut c, 3)?;
    }
    Ok(())
}

#[test]
fn an_old_backup_is_silent_at_a_height_where_peers_know_its_votes() -> Checked {
    let votes_at = |c: &World, height: u64| {
        let votes = c.signed_by(3).filter(|(at, _, step)| at.0 == height && *step > 1);
        votes.count()
    };
    let knows = |c: &World, node: usize| {
        let own = c.nodes()[3].address();
        let votes = c.nodes()[node].alive.as_ref().expect("it runs").replica.engine().votes();
        let votes = votes.rounds().flat_map(|(_, round)| round.prevotes.votes().chain(round.precommits.votes()));
        votes.into_iter().any(|vote| Some(vote.vote.validator) == own)
    };
    let mut cases_with_votes = 0;
    for extra in 0..8 {
        for state in [SigningState::Kept, SigningState::Lost] {
            let mut setup = idle(4);
            setup.config.empty_block_interval = Some(Duration::ZERO);
            let mut c = World::new(setup);
            c.run_until_height(10, MINUTE)?;
            let backup = c.backup(3);
            c.run_until_height(30, MINUTE)?;
            // Two nodes are left at a height where the fourth may already have voted.
            c.kill(2);
            c.run_for(ms(extra))?;
            c.kill(3);
            c.restore(3, &backup, state);
            c.run_for(ms(2000))?;
            let height = c.tip(0).0 + 1;
            let votes = votes_at(&c, height);
            cases_with_votes += usize::from(knows(&c, 0) || knows(&c, 1));
            c.restart(3);
            c.run_for(ms(10_000))?;
            let context = format!("{state:?} after {extra} ms, {votes} votes at height {height}");
            assert_eq!((c.tip(0).0 + 1, c.tip(3).0 + 1), (height, height), "no quorum without it: {context}");
            assert!(c.silence(3).is_some(), "{context}");
            assert_eq!(votes_at(&c, height), votes, "it signs no other vote: {context}");
            c.restart(2);
            c.run_until_height(height + 4, MINUTE)?;
            until_it_signs(&mut c, 3)?;
        }
    }
    assert!(cases_with_votes >= 4, "peers knew its votes in only {cases_with_votes} of 16 cases");
    Ok(())
}

/// Of five validators four are a quorum, and one is stopped in a late round; its disk from round 0 is then restored.
#[test]
fn a_disk_of_an_earlier_round_signs_nothing_at_its_height() -> Checked {
    for (state, reason) in [(SigningState::Kept, "signed_ahead"), (SigningState::Lost, "may_have_signed")] {
        let mut c = decided(5, 5)?;
        // No node receives parts and proposals, so that rounds fail; votes are delivered.
        c.hold(|parcel| matches!(*parcel.message, PeerMessage::Proposal(_) | PeerMessage::Part { .. }));
        let height = c.tip(0).0 + 1;
        c.run_until("round 0 is under way", MINUTE, |c| c.height(4).0 == height)?;
        c.run_for(ms(200))?;
        assert_eq!(c.round(4), Round(0));
        let backup = c.backup(4);
        c.run_until("a late round", MINUTE, |c| c.round(4) >= Round(3))?;
        c.kill(4);
        c.restore(4, &backup, state);
        c.run_until("a later round", MINUTE, |c| c.round(0) >= Round(5))?;
        c.restart(4);
        c.run_for(ms(20_000))?;
        assert_eq!(c.height(4).0, height);
        assert_eq!(c.silence(4), Some(reason));
        c.stop_holding();
        c.run_until_height(height + 3, MINUTE)?;
        until_it_signs(&mut c, 4)?;
    }
    Ok(())
}

/// One node is restored behind an equally old full node, its only link, while the chain is far ahead.
#[test]
fn an_old_backup_behind_an_old_sentry_waits_for_the_network() -> Checked {
    for state in [SigningState::Kept, SigningState::Lost] {
        let setup = Setup { behind: [(0, 4)].into(), ..idle(4).with_full_nodes(1) };
        let mut c = World::new(setup);
        c.run_until_height(5, MINUTE)?;
        c.run_for(ms(50))?;
        let copies = [0, 4].map(|node| c.backup(node));
        let from = c.tip(0);
        c.run_until_height(from.0 + 13, MINUTE)?;
        c.partition(&[&[0, 4], &[1, 2, 3]]);
        for (node, copy) in [0, 4].into_iter().zip(&copies) {
            c.kill(node);
            c.restore(node, copy, state);
            c.restart(node);
        }
        c.run_for(Duration::from_secs(30))?;
        assert_eq!((c.tip(0), c.tip(4)), (from, from), "{state:?}");
        c.kill(4);
        c.partition(&[&[0, 1, 2, 3, 4]]);
        c.restart(4);
        c.expect_progress(10, MINUTE)?;
        until_it_signs(&mut c, 0)?;
    }
    Ok(())
}

/// Runs the world for a time in which `liar` answers each round state with one of the same place that claims all votes.
fn run_with_liar(c: &mut World, liar: usize, time: Duration) -> Checked {
    for _ in 0..time.as_millis() {
        c.run_for(ms(1))?;
        for Parcel { from, message, .. } in c.take_held() {
            let PeerMessage::RoundState(mut state) = PeerMessage::clone(&message) else { continue };
            let votes = std::iter::once(&mut state.current).chain(state.previous.as_mut());
            votes
                .flat_map(|votes| [&mut votes.prevotes, &mut votes.precommits])
                .for_each(|bits| (0..4).for_each(|validator| bits.set(validator)));
            c.hand(&Parcel { from: liar, to: from, message: PeerMessage::RoundState(state).into() });
        }
    }
    Ok(())
}

/// False claims of a peer without stake delay neither nodes whose data agrees nor nodes that must wait for votes.
#[test]
fn false_claims_of_an_unproven_peer_do_not_keep_validators_from_signing() -> Checked {
    for state in [SigningState::EquallyOld, SigningState::Lost] {
        let mut c = World::new(idle(4).with_strangers(1, Behaviour::Silent));
        c.run_until_height(5, MINUTE)?;
        c.run_for(ms(50))?;
        // Without two nodes nothing is decided; a node that lost its signing state waits for a network that continues.
        let restarted = if state == SigningState::Lost { vec![3] } else { vec![2, 3] };
        restarted.iter().for_each(|node| c.kill(*node));
        c.run_for(ms(2000))?;
        if state == SigningState::Lost {
            c.lose_signing_state(3);
        }
        let tip = c.tip(0).0;
        c.hold(|parcel| parcel.to == 4);
        c.restart(4);
        restarted.iter().for_each(|node| c.restart(*node));
        let all_sign = |c: &World| [2, 3].iter().all(|node| c.signed(*node, c.checker_height() - 2));
        for _ in 0..60 {
            if !reached(&c, &[0, 1, 2, 3], tip + 5) || !all_sign(&c) {
                run_with_liar(&mut c, 4, ms(1000))?;
            }
        }
        assert!(reached(&c, &[0, 1, 2, 3], tip + 5) && all_sign(&c), "after a minute: {}", c.standing());
    }
    Ok(())
}

/// All nodes are restored to an old height but keep their signing states: none decides it again, and each reports why.
#[test]
fn all_restored_with_their_signing_states_decide_no_height_twice() -> Checked {
    let mut c = decided(4, 5)?;
    let copies: Vec<Backup> = (0..4).map(|node| c.backup(node)).collect();
    let from = c.tip(0);
    c.run_until_height(from.0 + 8, MINUTE)?;
    (0..4).for_each(|node| c.kill(node));
    copies.iter().enumerate().for_each(|(node, copy)| c.restore(node, copy, SigningState::Kept));
    c.restart_all();
    c.run_for(MINUTE)?;
    for node in 0..4 {
        assert_eq!(c.tip(node), from);
        let Some(Silence::SignedAhead { signed, tip }) = c.status(node).silence else { panic!("it says nothing") };
        assert!(signed.0 >= from.0 + 8 && tip == from, "{signed} {tip}");
    }
    Ok(())
}

#[test]
fn a_rewound_node_signs_nothing_twice() -> Checked {
    let mut c = decided(4, 10)?;
    c.kill(3);
    let chain_id = ChainId::new("cairn-simulated").expect("a name");
    let store = Store::open(c.nodes()[3].disk.open(), &chain_id).expect("its own disk");
    store.rewind(Height(4)).expect("a kept height");
    drop(store);
    c.restart(3);
    c.expect_progress(10, MINUTE)?;
    until_it_signs(&mut c, 3)
}

#[test]
fn a_second_process_with_the_same_key_is_detected() -> Checked {
    let mut c = World::new(idle(4).with_twin(0));
    c.run_for(Duration::from_secs(20))?;
    let halted: Vec<_> = c.nodes().iter().filter(|node| node.halted.is_some()).collect();
    assert!(!halted.is_empty() && halted.iter().all(|node| [0, 4].contains(&node.index)), "{}", c.standing());
    let first = halted[0].halted.as_ref().expect("it halted");
    assert!(matches!(first, replica::Halt::AnotherSigner { .. }), "{first}");
    Ok(())
}
