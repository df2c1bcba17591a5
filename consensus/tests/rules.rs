//! Proves each rule line of Algorithm 1 with a test: an input, and the exact outputs that it must cause.

mod support;

use consensus::{Engine, Input, Message, Output, Timeout, TimeoutKind::*, timers::Delays};
use support::*;
use types::*;

/// Creates four validators and returns one that proposes in neither round 0 nor 1, and the others.
fn cast() -> (Cast, u32, [u32; 3]) {
    let cast = Cast::new(4);
    let me = cast.not_proposer(2);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    (cast, me, others.try_into().unwrap())
}

/// Returns an engine that has prevoted `value` in round 0.
fn prevoted(cast: &Cast, me: u32, value: char) -> Engine {
    let mut engine = cast.started(me);
    engine.step(now(), proposal(cast.proposal(0, None, block(value))));
    engine.step(now(), checked(block(value), true));
    engine
}

/// Returns an engine that is locked on `value` since round 0 and is now in round 1.
fn locked(cast: &Cast, me: u32, others: [u32; 3], value: char) -> Engine {
    let mut engine = prevoted(cast, me, value);
    for other in &others[..2] {
        engine.step(now(), cast.prevote(*other, 0, Some(block(value))));
    }
    assert_eq!(engine.locked().unwrap().block_id, block(value));
    for other in &others[..2] {
        engine.step(now(), cast.precommit(*other, 0, None));
    }
    engine.step(now(), timeout(Precommit, 0));
    assert_eq!(engine.round(), Round(1));
    engine
}

// ---- L11–L21 ---------------------------------------------------------------------------------------------------

#[test]
fn line_18_the_proposer_builds_a_block() {
    let cast = Cast::new(4);
    let mut engine = cast.engine(cast.proposer(0));
    expect!(engine, cast.start() => [
        timer(Rebroadcast, 0, ms(250)),
        Output::BuildBlock { height: HEIGHT, round: Round(0) },
    ]);
}

#[test]
fn line_19_proposal_and_prevote_leave_under_one_write() {
    let cast = Cast::new(4);
    let me = cast.proposer(0);
    let mut engine = cast.started(me);
    let built = Input::BlockBuilt { round: Round(0), block_id: block('a'), time: now() };
    expect!(engine, built => [
        write(),
        Output::Broadcast(Message::Proposal(cast.proposal(0, None, block('a')).into_signed())),
        cast.say_prevote(me, 0, Some(block('a'))),
    ]);
}

#[test]
fn line_16_the_proposer_proposes_the_valid_block_again_with_its_polka() {
    let cast = Cast::new(4);
    let me = cast.proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut engine = prevoted(&cast, me, 'a');
    for other in &others[..2] {
        engine.step(now(), cast.prevote(*other, 0, Some(block('a'))));
    }
    engine.step(now(), cast.precommit(others[0], 0, None));
    engine.step(now(), cast.precommit(others[1], 0, None));
    let polka = cast.certificate(&[me, others[0], others[1]], VoteType::Prevote, 0, Some(block('a')));
    expect!(engine, timeout(Precommit, 0) => [
        write(),
        Output::Broadcast(Message::Proposal(cast.proposal(1, Some(0), block('a')).into_signed())),
        Output::Broadcast(Message::Certificate(polka)),
        cast.say_prevote(me, 1, Some(block('a'))),
    ]);
}

#[test]
fn line_21_the_others_start_the_propose_timer() {
    let (cast, me, _) = cast();
    let mut engine = cast.engine(me);
    expect!(engine, cast.start() => [timer(Rebroadcast, 0, ms(250)), timer(Propose, 0, ms(3000))]);
}

// ---- L22–L27 ---------------------------------------------------------------------------------------------------

#[test]
fn line_22_waits_for_the_verdict_then_prevotes_a_valid_proposal() {
    let (cast, me, _) = cast();
    let mut engine = cast.started(me);
    expect!(engine, proposal(cast.proposal(0, None, block('a'))) => [Output::CheckBlock(block('a'))]);
    expect!(engine, checked(block('a'), true) => [write(), cast.say_prevote(me, 0, Some(block('a')))]);
}

#[test]
fn line_26_prevotes_nil_when_the_block_is_invalid() {
    let (cast, me, _) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
    expect!(engine, checked(block('a'), false) => [write(), cast.say_prevote(me, 0, None)]);
}

#[test]
fn line_26_prevotes_nil_when_the_blocks_time_is_not_the_proposals() {
    let (cast, me, _) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
    let other_time = Input::BlockChecked { block_id: block('a'), time: now().saturating_add(ms(1)), valid: true };
    expect!(engine, other_time => [write(), cast.say_prevote(me, 0, None)]);
}

#[test]
fn line_26_prevotes_nil_when_locked_on_another_block() {
    let (cast, me, others) = cast();
    let mut engine = locked(&cast, me, others, 'a');
    engine.step(now(), proposal(cast.proposal(1, None, block('b'))));
    expect!(engine, checked(block('b'), true) => [write(), cast.say_prevote(me, 1, None)]);
    assert_eq!(engine.locked().unwrap().block_id, block('a'));
    assert_eq!(engine.valid().unwrap().block_id, block('a'));
}

#[test]
fn line_23_prevotes_the_block_it_is_locked_on() {
    let (cast, me, others) = cast();
    let mut engine = locked(&cast, me, others, 'a');
    expect!(engine, proposal(cast.proposal(1, None, block('a'))) => [write(), cast.say_prevote(me, 1, Some(block('a')))]);
}

#[test]
fn line_22_judges_timeliness_at_its_bounds() {
    let Synchrony { precision, message_delay } = Params::default().synchrony;
    let just = std::time::Duration::from_nanos(1);
    let earliest = now().saturating_sub(precision);
    let latest = now().saturating_add(message_delay).saturating_add(precision);
    for (received, timely) in
        [(earliest, true), (earliest.saturating_sub(just), false), (latest, true), (latest.saturating_add(just), false)]
    {
        let (cast, me, _) = cast();
        let mut engine = cast.started(me);
        engine.step(now(), Input::Proposal { proposal: cast.proposal(0, None, block('a')), received });
        let value = timely.then_some(block('a'));
        expect!(engine, checked(block('a'), true) => [write(), cast.say_prevote(me, 0, value)]);
    }
}

// ---- L28–L33 ---------------------------------------------------------------------------------------------------

/// Returns an unlocked engine in round 1 with a valid re-proposal of `a` with POL round 0, and `n` prevotes for `a` in
/// round 0.
fn reproposed(cast: &Cast, me: u32, others: [u32; 3], n: usize) -> Engine {
    let mut engine = cast.started(me);
    for other in &others[..n] {
        engine.step(now(), cast.prevote(*other, 0, Some(block('a'))));
    }
    for other in others {
        engine.step(now(), cast.precommit(other, 0, None));
    }
    assert_eq!(engine.round(), Round(1));
    engine.step(now(), proposal(cast.proposal(1, Some(0), block('a'))));
    engine
}

#[test]
fn line_28_prevotes_a_reproposal_with_its_polka() {
    let (cast, me, others) = cast();
    let mut engine = reproposed(&cast, me, others, 3);
    expect!(engine, checked(block('a'), true) => [write(), cast.say_prevote(me, 1, Some(block('a')))]);
}

#[test]
fn line_28_sends_nothing_while_the_polka_is_incomplete() {
    let (cast, me, others) = cast();
    let mut engine = reproposed(&cast, me, others, 2);
    expect!(engine, checked(block('a'), true) => []);
    let polka = cast.certificate(&others, VoteType::Prevote, 0, Some(block('a')));
    let polka = polka.verify(&chain(), &cast.set).unwrap();
    expect!(engine, Input::Certificate(polka) => [write(), cast.say_prevote(me, 1, Some(block('a')))]);
}

#[test]
fn line_28_sends_nothing_when_the_polka_is_for_another_block() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    for other in others {
        engine.step(now(), cast.prevote(other, 0, Some(block('b'))));
        engine.step(now(), cast.precommit(other, 0, None));
    }
    engine.step(now(), proposal(cast.proposal(1, Some(0), block('a'))));
    expect!(engine, checked(block('a'), true) => []);
    expect!(engine, timeout(Propose, 1) => [write(), cast.say_prevote(me, 1, None)]);
}

#[test]
fn line_31_prevotes_nil_when_locked_later_on_another_block() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(3);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut engine = cast.started(me);
    for other in others.iter().copied() {
        engine.step(now(), cast.prevote(other, 0, Some(block('a'))));
        engine.step(now(), cast.precommit(other, 0, None));
    }
    engine.step(now(), proposal(cast.proposal(1, None, block('b'))));
    engine.step(now(), checked(block('b'), true));
    engine.step(now(), checked(block('a'), true));
    engine.step(now(), cast.prevote(others[0], 1, Some(block('b'))));
    engine.step(now(), cast.prevote(others[1], 1, Some(block('b'))));
    assert_eq!(engine.locked(), Some(Lock { round: Round(1), block_id: block('b') }));
    for other in others {
        engine.step(now(), cast.precommit(other, 1, None));
    }
    assert_eq!(engine.round(), Round(2));
    let lock = engine.locked();
    expect!(engine, proposal(cast.proposal(2, Some(0), block('a'))) => [write(), cast.say_prevote(me, 2, None)]);
    assert_eq!(engine.locked(), lock, "never unlocked by nil or by an older polka");
}

// ---- L34 -------------------------------------------------------------------------------------------------------

#[test]
fn line_34_starts_the_prevote_timer_once() {
    let (cast, me, others) = cast();
    let mut engine = prevoted(&cast, me, 'a');
    expect!(engine, cast.prevote(others[0], 0, None) => []);
    expect!(engine, cast.prevote(others[1], 0, Some(block('b'))) => [timer(Prevote, 0, ms(1000))]);
    expect!(engine, cast.prevote(others[2], 0, None) => []);
}

// ---- L36–L43 ---------------------------------------------------------------------------------------------------

#[test]
fn line_36_locks_and_precommits_upon_a_polka() {
    let (cast, me, others) = cast();
    let mut engine = prevoted(&cast, me, 'a');
    engine.step(now(), cast.prevote(others[0], 0, Some(block('a'))));
    expect!(engine, cast.prevote(others[1], 0, Some(block('a'))) => [
        timer(Prevote, 0, ms(1000)),
        write(),
        cast.say_precommit(me, 0, Some(block('a'))),
    ]);
    let lock = Some(Lock { round: Round(0), block_id: block('a') });
    assert_eq!((engine.locked(), engine.valid()), (lock, lock));
    assert_eq!(engine.hard_state().valid_polka.unwrap().votes().len(), 3);
}

#[test]
fn line_36_fires_the_moment_the_proposal_comes_after_its_polka() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    for other in others {
        engine.step(now(), cast.prevote(other, 0, Some(block('a'))));
    }
    engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
    expect!(engine, checked(block('a'), true) => [
        write(),
        cast.say_prevote(me, 0, Some(block('a'))),
        timer(Prevote, 0, ms(1000)),
        cast.say_precommit(me, 0, Some(block('a'))),
    ]);
}

#[test]
fn line_42_remembers_a_late_polka_as_valid_without_a_lock() {
    let (cast, me, others) = cast();
    let mut engine = prevoted(&cast, me, 'a');
    engine.step(now(), cast.prevote(others[0], 0, None));
    engine.step(now(), cast.prevote(others[1], 0, Some(block('a'))));
    expect!(engine, timeout(Prevote, 0) => [write(), cast.say_precommit(me, 0, None)]);
    expect!(engine, cast.prevote(others[2], 0, Some(block('a'))) => []);
    assert_eq!(engine.locked(), None);
    assert_eq!(engine.valid(), Some(Lock { round: Round(0), block_id: block('a') }));
}

#[test]
fn d6_a_hidden_polka_that_is_shown_is_proposed_by_the_next_proposer() {
    let cast = Cast::new(4);
    let me = cast.proposer(2);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut engine = prevoted(&cast, me, 'a');
    // Round 0 fails on this node without a polka.
    for other in &others[..2] {
        engine.step(now(), cast.precommit(*other, 0, None));
    }
    engine.step(now(), timeout(Precommit, 0));
    assert_eq!((engine.round(), engine.valid()), (Round(1), None));
    // A peer sends the polka. The engine neither sends a message nor locks, because the round has passed.
    let polka = cast.certificate(&others, VoteType::Prevote, 0, Some(block('a')));
    expect!(engine, Input::Certificate(polka.clone().verify(&chain(), &cast.set).unwrap()) => []);
    assert_eq!(engine.valid(), Some(Lock { round: Round(0), block_id: block('a') }));
    assert_eq!(engine.locked(), None);
    // Round 1 fails as well, and this node is the next proposer.
    for other in &others[..2] {
        engine.step(now(), cast.precommit(*other, 1, None));
    }
    let polka = cast.certificate(&[0, 1, 2, 3], VoteType::Prevote, 0, Some(block('a')));
    engine.step(now(), timeout(Propose, 1));
    expect!(engine, timeout(Prevote, 1) => [
        write(),
        cast.say_precommit(me, 1, None),
        Output::Broadcast(Message::Proposal(cast.proposal(2, Some(0), block('a')).into_signed())),
        Output::Broadcast(Message::Certificate(polka)),
        cast.say_prevote(me, 2, Some(block('a'))),
    ]);
}

#[test]
fn d6_of_two_polkas_the_later_one_counts_and_an_earlier_one_changes_nothing() {
    let (cast, me, others) = cast();
    let mut engine = locked(&cast, me, others, 'a');
    for other in others {
        engine.step(now(), cast.precommit(other, 1, None));
    }
    assert_eq!(engine.round(), Round(2));
    let show = |round, value| {
        let polka = cast.certificate(&others, VoteType::Prevote, round, Some(block(value)));
        Input::Certificate(polka.verify(&chain(), &cast.set).unwrap())
    };
    expect!(engine, show(1, 'b') => [Output::CheckBlock(block('b'))]);
    assert_eq!(engine.valid().unwrap().block_id, block('a'), "not before its bytes are here and valid");
    expect!(engine, checked(block('b'), true) => []);
    assert_eq!(engine.valid(), Some(Lock { round: Round(1), block_id: block('b') }));
    assert_eq!(
        engine.locked(),
        Some(Lock { round: Round(0), block_id: block('a') }),
        "a passed polka does not move a lock"
    );
    expect!(engine, show(0, 'a') => []);
    assert_eq!(engine.valid(), Some(Lock { round: Round(1), block_id: block('b') }));
}

#[test]
fn line_36_an_equivocating_proposer_may_get_a_prevote_and_a_precommit_for_two_blocks() {
    let (cast, me, others) = cast();
    let mut engine = prevoted(&cast, me, 'a');
    engine.step(now(), proposal(cast.proposal(0, None, block('b'))));
    engine.step(now(), checked(block('b'), true));
    engine.step(now(), cast.prevote(others[0], 0, Some(block('b'))));
    engine.step(now(), cast.prevote(others[1], 0, Some(block('b'))));
    expect!(engine, cast.prevote(others[2], 0, Some(block('b'))) => [
        write(),
        cast.say_precommit(me, 0, Some(block('b'))),
    ]);
}

// ---- L44 -------------------------------------------------------------------------------------------------------

#[test]
fn line_44_precommits_nil_upon_a_quorum_of_nil_and_keeps_the_lock() {
    let (cast, me, others) = cast();
    let mut engine = locked(&cast, me, others, 'a');
    engine.step(now(), timeout(Propose, 1));
    engine.step(now(), cast.prevote(others[0], 1, None));
    expect!(engine, cast.prevote(others[1], 1, None) => [
        timer(Prevote, 1, ms(1500)),
        write(),
        cast.say_precommit(me, 1, None),
    ]);
    assert_eq!(engine.locked().unwrap().block_id, block('a'));
}

// ---- L47 -------------------------------------------------------------------------------------------------------

#[test]
fn line_47_starts_the_precommit_timer_once() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), cast.precommit(others[0], 0, None));
    engine.step(now(), cast.precommit(others[1], 0, Some(block('a'))));
    expect!(engine, cast.precommit(others[2], 0, Some(block('b'))) => [timer(Precommit, 0, ms(1000))]);
    expect!(engine, cast.precommit(others[2], 0, Some(block('b'))) => []);
}

#[test]
fn d2_a_quorum_of_nil_precommits_starts_the_next_round_at_once() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), cast.precommit(others[0], 0, None));
    engine.step(now(), cast.precommit(others[1], 0, None));
    expect!(engine, cast.precommit(others[2], 0, None) => [timer(Propose, 1, ms(3500))]);
    assert_eq!(engine.round(), Round(1));
}

// ---- L49–L54 ---------------------------------------------------------------------------------------------------

fn commit(cast: &Cast, who: &[u32], round: u32, id: BlockId) -> Output {
    let votes: Vec<SignedVote> =
        who.iter().map(|i| cast.signed_vote(*i, VoteType::Precommit, round, Some(id))).collect();
    Output::Commit { block_id: id, commit: Commit::from_votes(HEIGHT, Round(round), id, &cast.set, &votes) }
}

#[test]
fn line_49_decides_in_any_step_with_the_votes_it_counted() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
    for other in others {
        engine.step(now(), cast.precommit(other, 0, Some(block('a'))));
    }
    expect!(engine, checked(block('a'), true) => [commit(&cast, &others, 0, block('a'))]);
    expect!(engine, timeout(Propose, 0) => []);
}

#[test]
fn line_49_decides_for_an_earlier_round_and_for_a_later_one() {
    for round in [0, 3] {
        let (cast, me, others) = cast();
        let mut engine = cast.started(me);
        engine.step(now(), checked(block('a'), true));
        for other in others {
            engine.step(now(), cast.precommit(other, 1, None));
        }
        assert_eq!(engine.round(), Round(2));
        let certificate = cast.certificate(&others, VoteType::Precommit, round, Some(block('a')));
        let certificate = certificate.verify(&chain(), &cast.set).unwrap();
        expect!(engine, Input::Certificate(certificate) => [commit(&cast, &others, round, block('a'))]);
    }
}

#[test]
fn line_49_decides_when_an_invalid_block_turns_out_valid() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), checked(block('a'), false));
    for other in others {
        engine.step(now(), cast.precommit(other, 0, Some(block('a'))));
    }
    assert!(!engine.is_decided());
    expect!(engine, checked(block('a'), true) => [commit(&cast, &others, 0, block('a'))]);
}

#[test]
fn line_49_valid_never_turns_invalid() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), checked(block('a'), true));
    engine.step(now(), checked(block('a'), false));
    for other in &others[..2] {
        engine.step(now(), cast.precommit(*other, 0, Some(block('a'))));
    }
    expect!(engine, cast.precommit(others[2], 0, Some(block('a'))) => [commit(&cast, &others, 0, block('a'))]);
}

#[test]
fn late_precommits_are_added_to_the_last_commit() {
    let (cast, me, others) = cast();
    let mut engine = prevoted(&cast, me, 'a');
    engine.step(now(), checked(block('a'), true));
    for other in &others[..2] {
        engine.step(now(), cast.prevote(*other, 0, Some(block('a'))));
        engine.step(now(), cast.precommit(*other, 0, Some(block('a'))));
    }
    assert!(engine.is_decided());
    let Input::StartHeight { validators, timeouts, synchrony, .. } = cast.start() else { unreachable!() };
    let next =
        Input::StartHeight { height: HEIGHT.next(), validators, timeouts, synchrony, hard_state: None, abstain: false };
    engine.step(now(), next);
    let signers = |engine: &Engine| engine.last_commit().unwrap().to_certificate().unwrap().votes().len();
    assert_eq!(signers(&engine), 3);
    expect!(engine, cast.precommit(others[2], 0, Some(block('a'))) => []);
    assert_eq!(signers(&engine), 4);
    assert_eq!(engine.last_commit().unwrap().verify(&chain(), &cast.set), Ok(()));
}

// ---- L55 -------------------------------------------------------------------------------------------------------

#[test]
fn line_55_skips_to_a_round_where_more_than_a_third_votes() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    expect!(engine, cast.prevote(others[0], 5, None) => []);
    engine.step(now(), cast.precommit(others[1], 5, None));
    assert_eq!(engine.round(), Round(5));
}

#[test]
fn line_55_counts_a_validator_once_whatever_it_votes() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    expect!(engine, cast.prevote(others[0], 5, None) => []);
    expect!(engine, cast.precommit(others[0], 5, None) => []);
    assert_eq!(engine.round(), Round(0));
}

#[test]
fn rounds_far_ahead_are_bounded_by_one_for_each_validator() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    for round in 2..200 {
        engine.step(now(), cast.prevote(others[0], round, None));
    }
    assert_eq!(engine.round(), Round(0));
    assert_eq!(engine.votes().rounds().count(), 1);
    engine.step(now(), cast.prevote(others[1], 199, None));
    assert_eq!(engine.round(), Round(199), "the latest one is kept");
}

// ---- L57, L61, L65 ----------------------------------------------------------------------------------------------

#[test]
fn line_57_prevotes_nil_only_in_its_round_and_step() {
    let (cast, me, _) = cast();
    let mut engine = cast.started(me);
    expect!(engine, timeout(Propose, 1) => []);
    expect!(engine, timeout(Propose, 0) => [write(), cast.say_prevote(me, 0, None)]);
    expect!(engine, timeout(Propose, 0) => []);
}

#[test]
fn line_61_precommits_nil_only_in_its_round_and_step() {
    let (cast, me, _) = cast();
    let mut engine = cast.started(me);
    expect!(engine, timeout(Prevote, 0) => []);
    engine.step(now(), timeout(Propose, 0));
    expect!(engine, timeout(Prevote, 1) => []);
    expect!(engine, timeout(Prevote, 0) => [write(), cast.say_precommit(me, 0, None)]);
}

#[test]
fn line_65_starts_the_next_round_in_any_step() {
    let (cast, me, _) = cast();
    let mut engine = cast.started(me);
    expect!(engine, timeout(Precommit, 1) => []);
    expect!(engine, timeout(Precommit, 0) => [timer(Propose, 1, ms(3500))]);
}

// ---- the wait for a proposal and its block (D7) -----------------------------------------------------------------

/// Returns the engine of validator `me` after ten heights whose blocks were checked `millis` ms after the start.
fn measured(cast: &Cast, me: u32, millis: u64) -> Engine {
    let mut engine = cast.engine(me);
    for height in 1..=10 {
        engine.step(now(), cast.start_height(height));
        engine.step(now(), proposal(cast.proposal_of_height(height, numbered(height as u32))));
        engine.step(now().saturating_add(ms(millis)), checked(numbered(height as u32), true));
    }
    engine
}

fn propose_wait(outputs: &[Output]) -> std::time::Duration {
    let wait = |output: &Output| match output {
        Output::StartTimer(timeout, after) if timeout.kind == Propose => Some(*after),
        _ => None,
    };
    outputs.iter().find_map(wait).expect("the propose timer is started")
}

#[test]
fn d7_the_wait_for_a_proposal_adapts_to_the_verdict_on_its_block() {
    let (cast, me, _) = cast();
    let mut expected = Delays::default();
    (0..10).for_each(|_| expected.block_checked(ms(500)));
    let proposer = cast.set.proposer_of_round(Round(0)).address();
    let wait = expected.propose(&Timeouts::default(), &proposer, Round(0));
    assert!(wait > ms(1000), "the proposals came at once, their blocks after 500 ms: {wait:?}");
    let mut engine = measured(&cast, me, 500);
    assert_eq!(propose_wait(&engine.step(now(), cast.start_height(11))), wait);
}

#[test]
fn d7_a_late_copy_of_a_proposal_is_no_sample() {
    let (cast, me, _) = cast();
    let (mut engine, mut other) = (measured(&cast, me, 1), measured(&cast, me, 1));
    for _ in 0..20 {
        let late = now().saturating_add(ms(2000));
        let copy = Input::Proposal { proposal: cast.proposal_of_height(10, numbered(10)), received: late };
        assert_eq!(engine.step(late, copy), []);
    }
    let wait = propose_wait(&engine.step(now(), cast.start_height(11)));
    assert_eq!(wait, propose_wait(&other.step(now(), cast.start_height(11))));
    assert_eq!(wait, ms(200));
}

#[test]
fn d7_line_57_waits_up_to_the_bound_while_the_block_of_a_timely_proposal_arrives() {
    let (cast, me, _) = cast();
    let start = |engine: &mut Engine| assert_eq!(propose_wait(&engine.step(now(), cast.start_height(11))), ms(200));
    let timer = |kind, after| Output::StartTimer(Timeout { kind, height: Height(11), round: Round(0) }, after);
    let timeout = || Input::Timeout(Timeout { kind: Propose, height: Height(11), round: Round(0) });
    let prevotes = |engine: &mut Engine, input: Input, value: Option<BlockId>| {
        let outputs = engine.step(now(), input);
        let [Output::WriteAhead(_), Output::Broadcast(Message::Vote(signed))] = &outputs[..] else {
            panic!("{outputs:?}")
        };
        assert_eq!(signed.vote.block_id, value);
    };
    // The block arrives after the adapted wait, and it is prevoted.
    let mut engine = measured(&cast, me, 1);
    start(&mut engine);
    engine.step(now(), proposal(cast.proposal_of_height(11, block('a'))));
    assert_eq!(engine.step(now(), timeout()), [timer(Propose, ms(2800))]);
    prevotes(&mut engine, checked(block('a'), true), Some(block('a')));
    // The block does not arrive within the bound.
    let mut engine = measured(&cast, me, 1);
    start(&mut engine);
    engine.step(now(), proposal(cast.proposal_of_height(11, block('a'))));
    assert_eq!(engine.step(now(), timeout()), [timer(Propose, ms(2800))]);
    prevotes(&mut engine, timeout(), None);
    // If there is no proposal, or it is not timely, the adapted wait is not extended.
    let mut engine = measured(&cast, me, 1);
    start(&mut engine);
    prevotes(&mut engine, timeout(), None);
    let mut engine = measured(&cast, me, 1);
    start(&mut engine);
    let received = now().saturating_add(ms(60_000));
    engine.step(now(), Input::Proposal { proposal: cast.proposal_of_height(11, block('a')), received });
    prevotes(&mut engine, timeout(), None);
}

// ---- rounds that end in nil (D2) --------------------------------------------------------------------------------

#[test]
fn d2_rounds_that_end_in_nil_back_off() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    let nil = |engine: &mut Engine, round: u32, at: Time| {
        engine.step(at, cast.precommit(others[0], round, None));
        engine.step(at, cast.precommit(others[1], round, None));
        engine.step(at, cast.precommit(others[2], round, None))
    };
    for round in [0, 1] {
        nil(&mut engine, round, now());
        assert_eq!(engine.round(), Round(round + 1), "two rounds cost nothing");
    }
    assert_eq!(nil(&mut engine, 2, now()), [timer(Precommit, 2, ms(200))]);
    assert_eq!(engine.round(), Round(2));
    engine.step(now(), timeout(Precommit, 2));
    assert_eq!(engine.round(), Round(3));
    assert_eq!(nil(&mut engine, 3, now().saturating_add(ms(150))), [timer(Precommit, 3, ms(250))]);
    engine.step(now(), timeout(Precommit, 3));
    nil(&mut engine, 4, now().saturating_add(ms(800)));
    assert_eq!(engine.round(), Round(5), "it lasted long enough");
}

// ---- which bytes are available (I4) -----------------------------------------------------------------------------

#[test]
fn i4_a_dropped_block_is_checked_again_before_it_is_voted_for() {
    let (cast, me, others) = cast();
    let mut engine = prevoted(&cast, me, 'a');
    for other in others {
        engine.step(now(), cast.precommit(other, 0, None));
    }
    expect!(engine, Input::BlockDropped { block_id: block('a') } => []);
    expect!(engine, proposal(cast.proposal(1, Some(0), block('a'))) => [Output::CheckBlock(block('a'))]);
    expect!(engine, cast.show(&others, VoteType::Prevote, 0, Some(block('a'))) => []);
    for other in &others[..2] {
        engine.step(now(), cast.prevote(*other, 1, Some(block('a'))));
    }
    assert_eq!((engine.locked(), engine.valid()), (None, None), "its bytes are not here");
    expect!(engine, checked(block('a'), true) => [
        write(),
        cast.say_prevote(me, 1, Some(block('a'))),
        timer(Prevote, 1, ms(1500)),
        cast.say_precommit(me, 1, Some(block('a'))),
    ]);
}

#[test]
fn i4_a_dropped_block_that_a_rule_needs_is_checked_again_at_once() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
    let dropped = |letter| Input::BlockDropped { block_id: block(letter) };
    expect!(engine, dropped('a') => [Output::CheckBlock(block('a'))]);
    engine.step(now(), checked(block('a'), true));
    for other in &others[..2] {
        engine.step(now(), cast.prevote(*other, 0, Some(block('a'))));
    }
    assert_eq!(engine.needed_blocks(), [block('a')].into());
    expect!(engine, dropped('a') => [Output::CheckBlock(block('a'))]);
    expect!(engine, cast.show(&others, VoteType::Prevote, 0, Some(block('a'))) => []);
    expect!(engine, dropped('b') => []);
}

#[test]
fn i6_after_hundreds_of_blocks_the_locked_one_is_still_known_and_decided() {
    let (cast, me, others) = cast();
    let mut engine = locked(&cast, me, others, 'a');
    for n in 0..300 {
        engine.step(now(), checked(numbered(n), true));
    }
    assert!(engine.held_bytes() <= engine.held_bytes_max());
    expect!(engine, proposal(cast.proposal(1, Some(0), block('a'))) => [write(), cast.say_prevote(me, 1, Some(block('a')))]);
    let precommits = cast.show(&others, VoteType::Precommit, 1, Some(block('a')));
    expect!(engine, precommits => [commit(&cast, &others, 1, block('a'))]);
}

// ---- what is held (I6) ------------------------------------------------------------------------------------------

#[test]
fn i6_votes_and_proposals_of_rounds_long_past_are_not_kept() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), cast.prevote(others[0], 300, None));
    engine.step(now(), cast.prevote(others[1], 300, None));
    assert_eq!(engine.round(), Round(300));
    for round in 0..300 {
        for vote_type in [VoteType::Prevote, VoteType::Precommit] {
            engine.step(now(), Input::Vote(cast.vote(others[0], vote_type, round, None)));
            engine.step(now(), Input::Vote(cast.vote(others[0], vote_type, round, Some(block('a')))));
        }
        engine.step(now(), proposal(cast.proposal(round, None, block('b'))));
    }
    assert_eq!(engine.votes().rounds().count(), 33, "this one and 32 before");
    assert_eq!((0..300).filter(|round| engine.proposal(Round(*round)).is_some()).count(), 32);
    assert!(engine.held_bytes() <= engine.held_bytes_max());
}

#[test]
fn i6_double_votes_of_one_validator_are_reported_a_few_times_in_a_height() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    let mut reports = 0;
    for round in 2..40 {
        engine.step(now(), cast.prevote(others[0], round, None));
        let outputs = engine.step(now(), cast.prevote(others[0], round, Some(block('a'))));
        reports += outputs.iter().filter(|output| matches!(output, Output::Evidence(_))).count();
    }
    assert_eq!(reports, 4);
}

#[test]
fn a_decision_and_a_polka_of_a_round_long_past_count_when_a_certificate_proves_them() {
    let (cast, me, others) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), checked(block('a'), true));
    engine.step(now(), cast.prevote(others[0], 91, None));
    engine.step(now(), cast.prevote(others[1], 91, None));
    assert_eq!(engine.round(), Round(91));
    for other in others {
        expect!(engine, cast.precommit(other, 3, Some(block('b'))) => []);
    }
    expect!(engine, cast.show(&others, VoteType::Prevote, 1, Some(block('a'))) => []);
    assert_eq!(engine.valid(), Some(Lock { round: Round(1), block_id: block('a') }));
    // The block of a decision may arrive many rounds later.
    expect!(engine, cast.show(&others, VoteType::Precommit, 2, Some(block('c'))) => [Output::CheckBlock(block('c'))]);
    engine.step(now(), cast.prevote(others[0], 191, None));
    engine.step(now(), cast.prevote(others[1], 191, None));
    assert_eq!(engine.round(), Round(191));
    expect!(engine, checked(block('c'), true) => [commit(&cast, &others, 2, block('c'))]);
}

// ---- what is sent again ----------------------------------------------------------------------------------------

#[test]
fn own_messages_are_rebroadcast_less_and_less_often() {
    let (cast, me, _) = cast();
    let mut engine = cast.started(me);
    engine.step(now(), timeout(Propose, 0));
    expect!(engine, timeout(Rebroadcast, 0) => [cast.say_prevote(me, 0, None), timer(Rebroadcast, 1, ms(500))]);
    engine.step(now(), timeout(Prevote, 0));
    expect!(engine, timeout(Rebroadcast, 1) => [
        cast.say_prevote(me, 0, None),
        cast.say_precommit(me, 0, None),
        timer(Rebroadcast, 2, ms(1000)),
    ]);
}

#[test]
fn a_hidden_lock_is_shown_from_the_first_failed_round_on() {
    let (cast, me, others) = cast();
    let mut engine = prevoted(&cast, me, 'a');
    for other in &others[..2] {
        engine.step(now(), cast.prevote(*other, 0, Some(block('a'))));
    }
    let polka = cast.certificate(&[me, others[0], others[1]], VoteType::Prevote, 0, Some(block('a')));
    expect!(engine, timeout(Precommit, 0) => [
        Output::Broadcast(Message::Certificate(polka)),
        timer(Propose, 1, ms(3500)),
    ]);
}
