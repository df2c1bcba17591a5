//! Proves which notes observers receive, and that the outputs of the engine do not depend on notes.

mod support;

use consensus::{
    Engine, RoundNote,
    RoundStep::{self, *},
    TimeoutKind,
    What::{self, *},
};
use support::*;
use types::*;

fn notes(engine: &mut Engine) -> Vec<(RoundStep, What)> {
    let pair = |note: RoundNote| {
        assert_eq!(note.height, HEIGHT);
        (note.step, note.what)
    };
    engine.take_notes().into_iter().map(pair).collect()
}

/// Creates four validators and returns one that proposes in neither round 0 nor 1, and the others.
fn cast() -> (Cast, u32, Vec<u32>) {
    let cast = Cast::new(4);
    let me = cast.not_proposer(2);
    let others = (0..4).filter(|i| *i != me).collect();
    (cast, me, others)
}

fn voted(cast: &Cast, index: u32, vote_type: VoteType, round: u32, id: Option<BlockId>) -> What {
    Vote(Box::new(cast.signed_vote(index, vote_type, round, id)))
}

#[test]
fn a_round_that_decides_is_noted_from_its_start_to_its_end() {
    let (cast, me, others) = cast();
    let (a, mut engine) = (block('a'), cast.engine(me));
    engine.watch(true);
    engine.step(now(), cast.start());
    let index = cast.proposer(0);
    let proposer = cast.key(index).public_key().address();
    assert_eq!(notes(&mut engine), [(Propose, NewRound { proposer, index }), (Propose, NewStep(Propose))]);

    engine.step(now(), proposal(cast.proposal(0, None, a)));
    assert_eq!(notes(&mut engine), [], "the block is not here yet");
    engine.step(now(), checked(a, true));
    let own = voted(&cast, me, VoteType::Prevote, 0, Some(a));
    assert_eq!(notes(&mut engine), [(Propose, CompleteProposal(a)), (Prevote, NewStep(Prevote)), (Prevote, own)]);

    engine.step(now(), cast.prevote(others[0], 0, Some(a)));
    engine.step(now(), cast.prevote(others[0], 0, Some(a)));
    let vote = voted(&cast, others[0], VoteType::Prevote, 0, Some(a));
    assert_eq!(notes(&mut engine), [(Prevote, vote)], "the same vote again gives no note");
    engine.step(now(), cast.prevote(others[1], 0, Some(a)));
    let noted: Vec<What> = notes(&mut engine).into_iter().map(|(_, what)| what).collect();
    let expected = [
        voted(&cast, others[1], VoteType::Prevote, 0, Some(a)),
        NewStep(PrevoteWait),
        Polka,
        ValidBlock(a),
        Lock(a),
        NewStep(Precommit),
        voted(&cast, me, VoteType::Precommit, 0, Some(a)),
    ];
    assert_eq!(noted, expected);

    for other in &others[..2] {
        engine.step(now(), cast.precommit(*other, 0, Some(a)));
    }
    assert_eq!(notes(&mut engine).last(), Some(&(Commit, NewStep(Commit))));
}

#[test]
fn timeouts_and_a_second_lock_are_noted() {
    let (cast, me, others) = cast();
    let (a, mut engine) = (block('a'), cast.started(me));
    engine.watch(true);
    engine.step(now(), timeout(TimeoutKind::Propose, 0));
    assert_eq!(notes(&mut engine)[0], (Propose, TimeoutPropose));
    engine.step(now(), timeout(TimeoutKind::Propose, 0));
    assert_eq!(notes(&mut engine), [], "it no longer matters");
    for other in &others[..2] {
        engine.step(now(), cast.prevote(*other, 0, Some(a)));
    }
    engine.take_notes();
    engine.step(now(), timeout(TimeoutKind::Prevote, 0));
    assert_eq!(notes(&mut engine)[0], (PrevoteWait, TimeoutWait));

    // The engine locks in a round and relocks the same block in the next one.
    let mut engine = cast.started(me);
    engine.watch(true);
    for round in 0..2 {
        engine.step(now(), proposal(cast.proposal(round, (round > 0).then_some(0), a)));
        engine.step(now(), checked(a, true));
        for other in &others[..2] {
            engine.step(now(), cast.prevote(*other, round, Some(a)));
        }
        let locked = if round == 0 { Lock(a) } else { Relock(a) };
        assert!(notes(&mut engine).iter().any(|(_, what)| *what == locked), "round {round}");
        for other in &others[..2] {
            engine.step(now(), cast.precommit(*other, round, None));
        }
        engine.step(now(), timeout(TimeoutKind::Precommit, round));
    }
}

#[test]
fn without_a_watcher_nothing_is_noted_and_outputs_are_the_same() {
    let (cast, me, others) = cast();
    let (mut watched, mut other) = (cast.started(me), cast.started(me));
    watched.watch(true);
    let inputs = [
        proposal(cast.proposal(0, None, block('a'))),
        checked(block('a'), true),
        cast.prevote(others[0], 0, Some(block('a'))),
        cast.prevote(others[1], 0, Some(block('a'))),
        cast.precommit(others[0], 0, Some(block('a'))),
        cast.precommit(others[1], 0, Some(block('a'))),
    ];
    for input in inputs {
        assert_eq!(watched.step(now(), input.clone()), other.step(now(), input));
    }
    assert!(!watched.take_notes().is_empty() && other.take_notes().is_empty());
    watched.watch(false);
    watched.step(now(), cast.precommit(others[2], 0, Some(block('a'))));
    assert!(watched.take_notes().is_empty());
}
