//! Proves the rules of evidence at one replica: what it takes, from whom, what it does with it, and for how long.

use std::time::Duration;

use replica::{Checked, EvidenceRefusal, Halt, Input, Offence, Output, Timer, check_evidence};
use types::*;

mod one;
use one::{AGE, AGE_HEIGHTS, One, PEER, is_sent, key};

#[test]
fn valid_evidence_is_stored_sent_on_and_in_the_next_block_once() {
    let mut one = One::new();
    one.decide(3);
    let evidence = one.evidence(2, 2);
    let (checked, outputs) = one.says(&evidence);
    assert!(matches!(checked, Checked::Evidence(_)), "{checked:?}");
    assert!(is_sent(&outputs) && outputs.iter().any(|output| matches!(output, Output::Evidence(_))), "{outputs:?}");
    // Evidence is a reason to start a height at once.
    assert_eq!((one.tip(), one.blocks_with_evidence()), (Height(4), vec![4]));
    let committed = one.committed.last().unwrap();
    assert_eq!(committed.block.evidence, std::slice::from_ref(&evidence));
    assert_eq!(committed.block.check_content(), Ok(()));
    let event = &committed.results.events[0];
    assert_eq!(event.kind, "evidence");
    assert_eq!(event.attributes[0].value, key(2).public_key().address().to_string());
    assert_eq!(event.attributes[1].value, "2");
    assert_eq!((event.attributes[2].key.as_str(), event.attributes[2].value.as_str()), ("kind", "duplicate_vote"));
    assert_eq!(one.store.waiting_evidence().unwrap(), []);

    let (checked, outputs) = one.says(&evidence);
    assert!(matches!(checked, Checked::Unchecked(_)), "a peer may not have that block yet");
    assert!(outputs.is_empty(), "{outputs:?}");
    one.decide(8);
    assert_eq!(one.blocks_with_evidence(), [4]);
}

#[test]
fn each_reason_for_a_refusal_is_named() {
    let mut one = One::new();
    one.decide(3);
    let good = one.evidence(2, 2);
    let Evidence::DuplicateVote(pair) = good.clone() else { panic!("{good:?}") };
    let refused = |one: &One, evidence: Evidence| check_evidence(&one.store, evidence).unwrap_err();
    let with = |change: fn(&mut DuplicateVoteEvidence)| {
        let mut pair = pair.clone();
        change(&mut pair);
        Evidence::DuplicateVote(pair)
    };
    let invalid = |evidence| match refused(&one, evidence) {
        EvidenceRefusal::Invalid(error) => error,
        other => panic!("{other}"),
    };
    assert_eq!(invalid(with(|pair| pair.vote_b = pair.vote_a.clone())), EvidenceError::NoConflict);
    assert_eq!(invalid(with(|pair| pair.vote_b.vote.round = Round(1))), EvidenceError::NoConflict);
    assert_eq!(invalid(with(|pair| std::mem::swap(&mut pair.vote_a, &mut pair.vote_b))), EvidenceError::Order);
    assert_eq!(invalid(with(|pair| pair.validator_power = Power(2))), EvidenceError::Power);
    assert_eq!(invalid(with(|pair| pair.total_power = Power(2))), EvidenceError::Power);
    let signature = EvidenceError::Vote(VoteError::Signature);
    assert_eq!(invalid(with(|pair| pair.vote_a.signature.0[3] ^= 1)), signature);
    assert_eq!(invalid(with(|pair| pair.vote_b.signature.0[3] ^= 1)), signature);
    let other_chain = with(|pair| {
        let sign = |vote: &SignedVote| vote.vote.clone().sign(&ChainId::new("other").unwrap(), &key(2));
        (pair.vote_a, pair.vote_b) = (sign(&pair.vote_a), sign(&pair.vote_b));
    });
    assert_eq!(invalid(other_chain), signature);
    assert!(matches!(invalid(one.evidence(9, 2)), EvidenceError::Vote(VoteError::NotAValidator { .. })));
    let mut late = good.clone();
    late.set_time(one.time_of(3));
    assert!(matches!(refused(&one, late), EvidenceRefusal::Time { height: Height(2), .. }));
    let future = refused(&one, one.evidence(2, 4));
    assert!(matches!(future, EvidenceRefusal::Future { height: Height(4), tip: Height(3) }));
    one.says(&good);
    let repeated = refused(&one, good);
    assert!(matches!(repeated, EvidenceRefusal::Repeated { block: Height(4), .. }), "{repeated}");
}

#[test]
fn evidence_that_proves_nothing_costs_its_sender_and_is_never_forwarded() {
    let mut one = One::new();
    one.decide(3);
    let mut forged = one.evidence(2, 2);
    let Evidence::DuplicateVote(pair) = &mut forged else { panic!("{forged:?}") };
    pair.vote_b.signature.0[9] ^= 1;
    let mut wrong_time = one.evidence(2, 2);
    wrong_time.set_time(one.now);
    for bad in [forged, wrong_time, one.evidence(9, 2)] {
        let (checked, outputs) = one.says(&bad);
        assert!(matches!(checked, Checked::Bad(Offence::BadEvidence(_))), "{checked:?}");
        assert!(matches!(outputs[..], [Output::Penalize { peer: PEER, .. }]), "{outputs:?}");
    }
    // Evidence of a height that is not decided here, or that has expired here, may be good elsewhere.
    let future = one.evidence(2, 9);
    one.decide(12);
    let expired = one.evidence(2, 1);
    for useless in [future, expired] {
        let (checked, outputs) = one.says(&useless);
        assert!(matches!(checked, Checked::Unchecked(_)) || matches!(checked, Checked::Bad(_)), "{checked:?}");
        assert!(!is_sent(&outputs), "{outputs:?}");
    }
    assert_eq!(one.store.waiting_evidence().unwrap(), []);
    assert_eq!(one.blocks_with_evidence(), Vec::<u64>::new());
}

#[test]
fn late_votes_that_contradict_each_other_become_evidence_with_the_time_of_their_block() {
    let mut one = One::new();
    one.decide(5);
    let mut outputs = Vec::new();
    for byte in [1, 2] {
        let message = one.verifier.check(PeerMessage::Vote(one.vote(2, 5, byte)));
        outputs.extend(one.step(vec![Input::Message { peer: PEER, message, received: one.now }]));
    }
    assert!(is_sent(&outputs), "{outputs:?}");
    assert_eq!(one.blocks_with_evidence(), [6]);
    let evidence = &one.committed.last().unwrap().block.evidence[0];
    assert_eq!((evidence.height(), evidence.time()), (Height(5), one.time_of(5)));
    assert!(evidence.names(&key(2).public_key().address()));
}

#[test]
fn what_waits_survives_the_process_and_expires() {
    let mut one = One::new();
    one.decide(3);
    let evidence = one.evidence(2, 2);
    // The process ends before the evidence is in a block; a row has the time of the report, because its height was not
    // decided when it was found.
    let mut waiting = evidence.clone();
    waiting.set_time(Time::from_unix_millis(5));
    one.store.put_waiting_evidence(&waiting).unwrap();
    let mut one = one.restart();
    assert_eq!(one.blocks_with_evidence(), [4], "it starts a height at once");
    assert_eq!(one.committed[0].block.evidence, [evidence], "with the time of its block");

    one.decide(12);
    let expired = one.evidence(2, 3);
    one.store.put_waiting_evidence(&expired).unwrap();
    let one = one.restart();
    assert_eq!((one.replica.status().evidence_waiting, one.store.waiting_evidence().unwrap()), (0, vec![]));
}

/// Evidence expires when it is older than both bounds; the times of the blocks are irregular.
#[test]
fn the_floor_is_the_lowest_height_that_is_young_by_one_of_both_bounds() {
    let mut one = One::new();
    for (height, pause_ms) in (1..40).zip([1000, 10, 3000, 20, 10, 10, 9000, 400].into_iter().cycle()) {
        one.now = one.now.saturating_add(Duration::from_millis(pause_ms));
        while one.tip().0 < height {
            one.now = one.now.saturating_add(Duration::from_millis(100));
            let next = one.tip().next();
            one.step(vec![Input::Timer(Timer::EmptyBlock(next)), Input::TxsAvailable]);
        }
        let tip = one.store.tip().unwrap();
        let is_expired = |at: &u64| tip.height.0 - at > AGE_HEIGHTS && tip.time.since(one.time_of(*at)) > AGE;
        let expected = (1..=tip.height.0).find(|at| !is_expired(at)).unwrap();
        assert_eq!(one.store.evidence_floor().unwrap(), Height(expected), "after {}", tip.height);
    }
    assert!(one.store.evidence_floor().unwrap() > Height(15));
}

#[test]
fn evidence_against_our_own_key_stops_the_node_if_it_is_of_this_process() {
    let mut one = One::new();
    one.decide(3);
    let evidence = one.evidence(1, 2);
    let verified = check_evidence(&one.store, evidence.clone()).unwrap();
    let outputs = one.step(vec![Input::Evidence(verified)]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Evidence(_))), "it is reported: {outputs:?}");
    let halt = outputs.iter().find_map(|output| match output {
        Output::Halt(halt) => Some(halt.clone()),
        _ => None,
    });
    assert!(matches!(halt, Some(Halt::AnotherSigner { height: Height(2) })), "{halt:?}");

    // The operator has found the other process: what it signed before is no reason to stop again.
    let mut one = one.restart();
    one.decide(5);
    assert_eq!(one.blocks_with_evidence(), [4], "and it is used like any other evidence");
}
