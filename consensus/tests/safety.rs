//! Proves that a validator does not contradict itself: the guard, restart, equivocation, abstention and the driver.

mod support;

use std::collections::VecDeque;

use consensus::{DoubleSign, Engine, Input, Message, Output, Signer, TimeoutKind::*, driver};
use support::*;
use types::*;

// ---- the guard (I1) --------------------------------------------------------------------------------------------

fn vote(cast: &Cast, vote_type: VoteType, round: u32, value: Option<BlockId>) -> Vote {
    cast.signed_vote(0, vote_type, round, value).vote
}

#[test]
fn i1_the_guard_refuses_every_step_back_and_every_second_value() {
    let cast = Cast::new(4);
    let mut signer = cast.signer(0);
    let first = signer.sign_vote(vote(&cast, VoteType::Prevote, 1, Some(block('a'))), &chain()).unwrap();
    let mut refused = |vote: Vote| {
        let place = (vote.height, vote.round, if vote.vote_type == VoteType::Prevote { 2 } else { 3 });
        assert_eq!(signer.sign_vote(vote, &chain()), Err(DoubleSign { asked: place, signed: (HEIGHT, Round(1), 2) }));
    };
    refused(vote(&cast, VoteType::Prevote, 1, None));
    refused(vote(&cast, VoteType::Prevote, 1, Some(block('b'))));
    refused(vote(&cast, VoteType::Prevote, 0, Some(block('a'))));
    refused(vote(&cast, VoteType::Precommit, 0, Some(block('a'))));
    refused(Vote { height: Height(0), ..vote(&cast, VoteType::Precommit, 5, None) });
    refused(Vote { timestamp: now().saturating_add(ms(1)), ..vote(&cast, VoteType::Prevote, 1, Some(block('a'))) });
    let again = signer.sign_vote(vote(&cast, VoteType::Prevote, 1, Some(block('a'))), &chain());
    assert_eq!(again, Ok(first), "the same bytes have the same signature");
    assert!(signer.sign_vote(vote(&cast, VoteType::Precommit, 1, None), &chain()).is_ok());
}

#[test]
fn i1_an_imported_signing_state_is_respected() {
    let (cast, me) = (Cast::new(4), Cast::new(4).not_proposer(1));
    let state = SignState { height: HEIGHT, round: Round(2), step: 3, signed: None };
    let mut engine = Engine::new(chain(), Some(Signer::new(cast.key(me), state)), cast.set.clone());
    engine.step(now(), cast.start());
    expect!(engine, timeout(Propose, 0) => []);
    assert_eq!(engine.current_step(), Step::Prevote, "it follows and sends nothing");
}

#[test]
fn i1_of_several_keys_the_one_in_the_set_signs_and_all_have_one_guard() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let (old, new) = (key(99), cast.key(me));
    let mut signer = Signer::new(old.clone(), SignState::default());
    signer.hold(new.clone().into());
    signer.hold(new.clone().into());
    assert_eq!(signer.addresses().collect::<Vec<_>>(), [old.public_key().address(), new.public_key().address()]);
    assert_eq!((signer.address(), *signer.key_in(&cast.set)), (old.public_key().address(), new.public_key().into()));
    let mut engine = Engine::new(chain(), Some(signer), cast.set.clone());
    engine.step(now(), cast.start());
    assert_eq!((engine.own_index(), engine.signer().unwrap().address()), (Some(me), new.public_key().address()));
    expect!(engine, timeout(Propose, 0) => [write(), cast.say_prevote(me, 0, None)]);
    // The old key in another set of the height: what the new one signed is signed.
    let mut signer = engine.signer().unwrap().clone();
    let other = ValidatorSet::new(vec![(old.public_key(), Power(1))]).unwrap();
    assert_eq!((signer.choose(&other), signer.address()), (Some(0), old.public_key().address()));
    let of_old = |vote| Vote { validator: old.public_key().address(), ..vote };
    assert!(signer.sign_vote(of_old(vote(&cast, VoteType::Prevote, 0, Some(block('a')))), &chain()).is_err());
    let signed = signer.sign_vote(of_old(vote(&cast, VoteType::Precommit, 0, None)), &chain()).unwrap();
    assert!(signed.verify(&chain(), &other).is_ok());
    // With both keys in a set, the one that signed before stays.
    let both = ValidatorSet::new([&old, &new].map(|key| (key.public_key(), Power(1))).to_vec()).unwrap();
    signer.choose(&both);
    assert_eq!(signer.address(), old.public_key().address());
}

#[test]
fn a_proposer_whose_signing_guard_refuses_waits_for_the_timeout() {
    let cast = Cast::new(4);
    let me = cast.proposer(0);
    let state = SignState { height: HEIGHT, round: Round(0), step: 1, signed: None };
    let mut engine = Engine::new(chain(), Some(Signer::new(cast.key(me), state)), cast.set.clone());
    engine.step(now(), cast.start());
    let built = Input::BlockBuilt { round: Round(0), block_id: block('a'), time: now() };
    expect!(engine, built => [timer(Propose, 0, ms(3000))]);
    expect!(engine, timeout(Propose, 0) => [write(), cast.say_prevote(me, 0, None)]);
}

// ---- restart ---------------------------------------------------------------------------------------------------

#[test]
fn a_restarted_validator_sends_the_same_messages_and_nothing_else() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut engine = cast.started(me);
    engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
    engine.step(now(), checked(block('a'), true));
    engine.step(now(), cast.prevote(others[0], 0, Some(block('a'))));
    engine.step(now(), cast.prevote(others[1], 0, Some(block('a'))));
    let hard_state = engine.hard_state();
    assert_eq!(HardState::decode(&hard_state.encode()).as_ref(), Ok(&hard_state));

    let mut restarted = cast.engine(me);
    expect!(restarted, cast.start_with(Some(hard_state.clone())) => [
        timer(Rebroadcast, 0, ms(250)),
        Output::CheckBlock(block('a')),
        cast.say_prevote(me, 0, Some(block('a'))),
        cast.say_precommit(me, 0, Some(block('a'))),
    ]);
    assert_eq!(restarted.hard_state(), hard_state);
    for kind in [Propose, Prevote] {
        expect!(restarted, timeout(kind, 0) => []);
    }
    restarted.step(now(), proposal(cast.proposal(0, None, block('b'))));
    expect!(restarted, checked(block('b'), true) => []);
}

#[test]
fn a_restarted_proposer_does_not_propose_twice() {
    let cast = Cast::new(4);
    let me = cast.proposer(0);
    let mut engine = cast.started(me);
    let built = |letter| Input::BlockBuilt { round: Round(0), block_id: block(letter), time: now() };
    engine.step(now(), built('a'));
    let hard_state = engine.hard_state();
    let mut restarted = cast.engine(me);
    expect!(restarted, cast.start_with(Some(hard_state)) => [
        timer(Rebroadcast, 0, ms(250)),
        Output::CheckBlock(block('a')),
        Output::Broadcast(Message::Proposal(cast.proposal(0, None, block('a')).into_signed())),
        cast.say_prevote(me, 0, Some(block('a'))),
    ]);
    expect!(restarted, built('b') => []);
}

/// Returns an engine that locked block `a` in round 0 and was restarted, and the other validators.
fn restarted_with_lock(cast: &Cast, me: u32) -> (Engine, Vec<u32>) {
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut engine = cast.started(me);
    engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
    engine.step(now(), checked(block('a'), true));
    for other in &others[..2] {
        engine.step(now(), cast.prevote(*other, 0, Some(block('a'))));
    }
    let mut restarted = cast.engine(me);
    restarted.step(now(), cast.start_with(Some(engine.hard_state())));
    (restarted, others)
}

#[test]
fn a_lock_survives_a_restart() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(2);
    let (mut restarted, _) = restarted_with_lock(&cast, me);
    restarted.step(now(), timeout(Precommit, 0));
    restarted.step(now(), proposal(cast.proposal(1, None, block('b'))));
    expect!(restarted, checked(block('b'), true) => [write(), cast.say_prevote(me, 1, None)]);
}

#[test]
fn line_16_a_restored_proposer_proposes_the_valid_block_when_its_bytes_come() {
    let cast = Cast::new(4);
    let me = cast.proposer(1);
    let (mut restarted, others) = restarted_with_lock(&cast, me);
    expect!(restarted, timeout(Precommit, 0) => [timer(Propose, 1, ms(3500))]);
    let polka = cast.certificate(&[me, others[0], others[1]], VoteType::Prevote, 0, Some(block('a')));
    expect!(restarted, checked(block('a'), true) => [
        write(),
        Output::Broadcast(Message::Proposal(cast.proposal(1, Some(0), block('a')).into_signed())),
        Output::Broadcast(Message::Certificate(polka)),
        cast.say_prevote(me, 1, Some(block('a'))),
    ]);
    expect!(restarted, checked(block('a'), true) => []);
}

// ---- abstaining ------------------------------------------------------------------------------------------------

#[test]
fn an_abstaining_validator_decides_and_sends_nothing_until_it_may_sign() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let mut engine = cast.engine(me);
    let Input::StartHeight { height, validators, timeouts, synchrony, hard_state, .. } = cast.start() else {
        unreachable!()
    };
    let start = Input::StartHeight { height, validators, timeouts, synchrony, hard_state, abstain: true };
    expect!(engine, start => [timer(Rebroadcast, 0, ms(250))]);
    engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
    expect!(engine, checked(block('a'), true) => []);
    expect!(engine, timeout(Propose, 0) => []);
    expect!(engine, timeout(Rebroadcast, 0) => [timer(Rebroadcast, 1, ms(500))]);
    expect!(engine, Input::SignAgain => [
        timer(Propose, 0, ms(3000)),
        write(),
        cast.say_prevote(me, 0, Some(block('a'))),
    ]);
}

// ---- equivocation ----------------------------------------------------------------------------------------------

#[test]
fn both_votes_of_an_equivocator_count_for_their_value_and_once_for_any() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut engine = cast.started(me);
    engine.step(now(), checked(block('a'), true));
    engine.step(now(), cast.precommit(others[0], 0, None));
    engine.step(now(), cast.precommit(others[1], 0, Some(block('a'))));
    let evidence = engine.step(now(), cast.precommit(others[0], 0, Some(block('a'))));
    let [Output::Evidence(evidence)] = evidence.as_slice() else { panic!("{evidence:?}") };
    assert_eq!(evidence.verify(&chain(), &cast.set), Ok(()));
    assert!(!engine.is_decided());
    assert!(!engine.precommits(Round(0)).unwrap().has_quorum(), "two of four");
    expect!(engine, cast.precommit(others[0], 0, Some(block('b'))) => []);
    engine.step(now(), cast.precommit(others[2], 0, Some(block('a'))));
    assert!(engine.is_decided(), "the quorum that other nodes saw is seen here");
}

#[test]
fn a_certificates_vote_counts_though_two_others_of_its_voter_are_held() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut engine = cast.started(me);
    engine.step(now(), checked(block('a'), true));
    engine.step(now(), cast.precommit(others[0], 0, None));
    engine.step(now(), cast.precommit(others[0], 0, Some(block('b'))));
    let certificate = cast.certificate(&others, VoteType::Precommit, 0, Some(block('a')));
    engine.step(now(), Input::Certificate(certificate.verify(&chain(), &cast.set).unwrap()));
    assert!(engine.is_decided());
}

#[test]
fn a_certificate_that_proves_nothing_takes_no_vote_from_a_polka() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    for values in [['b', 'a'], ['a', 'b']] {
        let mut engine = cast.started(me);
        for value in values {
            engine.step(now(), cast.prevote(others[0], 0, Some(block(value))));
        }
        engine.step(now(), cast.prevote(others[1], 0, Some(block('a'))));
        engine.step(now(), cast.prevote(others[2], 0, Some(block('a'))));
        assert!(engine.prevotes(Round(0)).unwrap().has_quorum_for(&block('a')));
        for value in [None, Some(block('c'))] {
            engine.step(now(), cast.show(&others[..1], VoteType::Prevote, 0, value));
            engine.step(now(), cast.show(&others[..2], VoteType::Prevote, 0, value));
        }
        assert!(engine.prevotes(Round(0)).unwrap().has_quorum_for(&block('a')), "{values:?}");
        // A quorum that other nodes saw still replaces a vote that no quorum here needs.
        engine.step(now(), checked(block('c'), true));
        engine.step(now(), cast.precommit(others[0], 0, None));
        engine.step(now(), cast.precommit(others[0], 0, Some(block('b'))));
        engine.step(now(), cast.show(&others, VoteType::Precommit, 0, Some(block('c'))));
        assert!(engine.is_decided());
    }
}

#[test]
fn a_late_vote_that_contradicts_an_earlier_one_is_evidence() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    for vote_type in [VoteType::Prevote, VoteType::Precommit] {
        let mut engine = cast.started(me);
        engine.step(now(), checked(block('a'), true));
        engine.step(now(), cast.show(&others, VoteType::Prevote, 0, Some(block('a'))));
        engine.step(now(), cast.show(&others, VoteType::Precommit, 0, Some(block('a'))));
        assert!(engine.is_decided());
        engine.step(now(), cast.start_height(2));
        let mut late = |round, letter| {
            engine.step(now(), Input::Vote(cast.vote(others[1], vote_type, round, Some(block(letter)))))
        };
        let outputs = late(0, 'b');
        let [Output::Evidence(evidence)] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(evidence.verify(&chain(), &cast.set), Ok(()));
        assert_eq!(late(0, 'b'), [], "it is reported once");
        assert_eq!(late(0, 'c'), [], "one pair is enough");
        // Late votes of rounds that are not held are ignored.
        assert_eq!((late(7, 'a'), late(7, 'b')), (vec![], vec![]));
        assert!(engine.held_bytes() <= engine.held_bytes_max());
    }
}

#[test]
fn a_commit_that_contradicts_a_vote_is_evidence_at_its_height_and_after_it() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    // One of the others signs nil here, and the block in the commit that the chain contains.
    let signed = |index: u32| cast.signed_vote(index, VoteType::Precommit, 0, Some(block('a')));
    let votes: Vec<SignedVote> = (0..4).map(signed).collect();
    let commit = Commit::from_votes(Height(1), Round(0), block('a'), &cast.set, &votes);
    let names_the_liar = |found: &[Evidence]| {
        let [evidence] = found else { panic!("{found:?}") };
        assert_eq!(evidence.verify(&chain(), &cast.set), Ok(()));
        assert!(evidence.names(&cast.key(others[0]).public_key().address()));
    };
    let mut fetching = cast.started(me);
    fetching.step(now(), cast.precommit(others[0], 0, None));
    names_the_liar(&fetching.contradictions(&commit));
    assert_eq!(fetching.contradictions(&commit), [], "it is reported once");

    let mut deciding = cast.started(me);
    deciding.step(now(), proposal(cast.proposal(0, None, block('a'))));
    deciding.step(now(), checked(block('a'), true));
    deciding.step(now(), cast.show(&others, VoteType::Prevote, 0, Some(block('a'))));
    deciding.step(now(), cast.precommit(others[0], 0, None));
    deciding.step(now(), cast.show(&others[1..], VoteType::Precommit, 0, Some(block('a'))));
    assert!(deciding.is_decided());
    deciding.step(now(), cast.start_height(2));
    names_the_liar(&deciding.contradictions(&commit));
    let of_other_round = Commit { round: Round(1), ..commit.clone() };
    assert_eq!(deciding.contradictions(&of_other_round), [], "no vote of its round is held");
    deciding.step(now(), cast.start_height(3));
    assert_eq!(deciding.contradictions(&commit), [], "the votes of the height are forgotten");
}

#[test]
fn our_own_votes_in_a_commit_are_not_judged_by_the_engine() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut engine = cast.started(me);
    engine.step(now(), timeout(Propose, 0));
    engine.step(now(), cast.show(&others, VoteType::Prevote, 0, None));
    assert_eq!(engine.current_step(), Step::Precommit, "it precommits nil");
    let signed = |index: u32| cast.signed_vote(index, VoteType::Precommit, 0, Some(block('a')));
    let votes: Vec<SignedVote> = (0..4).map(signed).collect();
    let commit = Commit::from_votes(Height(1), Round(0), block('a'), &cast.set, &votes);
    assert_eq!(engine.contradictions(&commit), []);
}

#[test]
fn votes_of_a_past_round_that_contradict_each_other_are_evidence() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut engine = cast.started(me);
    for index in &others[..2] {
        engine.step(now(), cast.prevote(*index, 2, None));
    }
    assert_eq!(engine.round(), Round(2), "it has skipped the rounds before");
    for round in [0, 1] {
        engine.step(now(), cast.prevote(others[2], round, Some(block('a'))));
        let outputs = engine.step(now(), cast.prevote(others[2], round, Some(block('b'))));
        let [Output::Evidence(evidence)] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(evidence.verify(&chain(), &cast.set), Ok(()));
    }
}

#[test]
fn a_certificate_with_one_bad_signature_is_rejected_whole() {
    let cast = Cast::new(4);
    let good = cast.certificate(&[0, 1, 2], VoteType::Prevote, 0, Some(block('a')));
    assert!(good.clone().verify(&chain(), &cast.set).is_ok());
    let mut votes = good.votes().to_vec();
    votes[1].signature.0[7] ^= 1;
    assert!(Certificate::new(votes).unwrap().verify(&chain(), &cast.set).is_err());
    let twice = vec![good.votes()[0].clone(), good.votes()[0].clone()];
    assert!(Certificate::new(twice).is_err());
    let other_chain = ChainId::new("other").unwrap();
    assert!(good.clone().verify(&other_chain, &cast.set).is_err(), "signatures do not replay on another chain");
    assert!(good.verify(&chain(), &Cast::with_powers(&[1, 2, 3, 4]).set).is_err(), "nor for another set");
}

#[test]
fn a_flood_of_equivocation_takes_no_more_than_two_votes() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let other = (0..4).find(|i| *i != me).unwrap();
    let mut engine = cast.started(me);
    let mut reports = 0;
    for letter in 'a'..='z' {
        reports += engine.step(now(), cast.prevote(other, 0, Some(block(letter)))).len();
    }
    assert_eq!(reports, 1, "evidence once");
    assert_eq!(engine.prevotes(Round(0)).unwrap().votes().count(), 2);
}

// ---- the driver ------------------------------------------------------------------------------------------------

/// Runs one batch in which every block is built and valid, and returns what was executed, in order. Each output is
/// executed when the driver returns it; its answer precedes the remaining inputs.
fn drive(engine: &mut Engine, inputs: Vec<Input>) -> Vec<String> {
    let (mut batch, mut calls, mut queue) = (driver::Batch::default(), Vec::new(), VecDeque::from(inputs));
    while let Some(input) = queue.pop_front() {
        let mut answers = Vec::new();
        for output in batch.step(engine, now().into(), input) {
            calls.extend(name(&output));
            answers.extend(match output {
                Output::BuildBlock { round, .. } => {
                    Some(Input::BlockBuilt { round, block_id: block('a'), time: now() })
                }
                Output::CheckBlock(block_id) => Some(checked(block_id, true)),
                _ => None,
            });
        }
        answers.into_iter().rev().for_each(|answer| queue.push_front(answer));
    }
    calls.extend(batch.finish().filter_map(|output| name(&output)));
    calls
}

fn name(output: &Output) -> Option<String> {
    Some(match output {
        Output::BuildBlock { .. } => "build".into(),
        Output::CheckBlock(_) => "check".into(),
        Output::Commit { .. } => "commit".into(),
        Output::WriteAhead(hard_state) => format!("write {}", hard_state.votes.len()),
        Output::Broadcast(Message::Proposal(_)) => "say proposal".into(),
        Output::Broadcast(Message::Vote(vote)) => format!("say {:?}", vote.vote.vote_type).to_lowercase(),
        Output::Broadcast(Message::Certificate(_)) => "say certificate".into(),
        Output::StartTimer(..) | Output::Evidence(_) => return None,
    })
}

#[test]
fn i2_a_batch_is_written_once_before_anything_is_sent() {
    let cast = Cast::new(4);
    let me = cast.not_proposer(1);
    let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
    let mut batch = vec![proposal(cast.proposal(0, None, block('a')))];
    batch.extend(others.iter().map(|i| cast.prevote(*i, 0, Some(block('a')))));
    let mut engine = cast.started(me);
    assert_eq!(drive(&mut engine, batch), ["check", "write 2", "say prevote", "say precommit"]);
}

#[test]
fn an_ordinary_height_takes_two_writes_of_the_proposer_and_of_the_others() {
    let cast = Cast::new(4);
    for me in 0..4 {
        let others: Vec<u32> = (0..4).filter(|i| *i != me).collect();
        let mut engine = cast.engine(me);
        let mut calls = drive(&mut engine, vec![cast.start()]);
        calls.extend(drive(&mut engine, vec![proposal(cast.proposal(0, None, block('a')))]));
        for other in &others {
            calls.extend(drive(&mut engine, vec![cast.prevote(*other, 0, Some(block('a')))]));
        }
        for other in &others {
            calls.extend(drive(&mut engine, vec![cast.precommit(*other, 0, Some(block('a')))]));
        }
        assert_eq!(calls.iter().filter(|call| call.starts_with("write")).count(), 2, "{calls:?}");
        assert_eq!(calls.iter().filter(|call| *call == "commit").count(), 1);
    }
}

// ---- a full node -----------------------------------------------------------------------------------------------

#[test]
fn a_full_node_decides_and_sends_nothing() {
    let cast = Cast::new(4);
    let mut engine = Engine::new(chain(), None, cast.set.clone());
    let mut outputs = engine.step(now(), cast.start());
    outputs.extend(engine.step(now(), proposal(cast.proposal(0, None, block('a')))));
    outputs.extend(engine.step(now(), checked(block('a'), true)));
    for i in 0..3 {
        outputs.extend(engine.step(now(), cast.prevote(i, 0, Some(block('a')))));
    }
    for i in 0..3 {
        outputs.extend(engine.step(now(), cast.precommit(i, 0, Some(block('a')))));
    }
    assert!(engine.is_decided());
    assert!(!outputs.iter().any(|output| matches!(output, Output::Broadcast(_) | Output::WriteAhead(_))));
}
