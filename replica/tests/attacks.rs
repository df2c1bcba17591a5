//! Proves the rules of attacks on light clients at one replica: what it takes, what it does with it, and for how long.

use std::time::Duration;

use replica::{Checked, EvidenceRefusal, Halt, Input, Offence, Output, check_evidence};
use types::*;

mod one;
use one::{One, chain, is_sent, key};

fn address(seed: u8) -> Address {
    key(seed).public_key().address()
}

/// Returns a block for light clients that these validators signed, all of its set.
fn signed(header: Header, validators: ValidatorSet, signers: &[u8], round: u32) -> LightBlock {
    let (hash, height, timestamp) = (header.hash(), header.height, header.time);
    let block_id = BlockId { hash, parts: PartSetHeader { total: 1, hash } };
    let vote = |seed: &u8| {
        let (vote_type, round, validator) = (VoteType::Precommit, Round(round), address(*seed));
        let (validator_index, _) = validators.by_address(&validator).unwrap();
        let block_id = Some(block_id);
        Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }.sign(&chain(), &key(*seed))
    };
    let votes: Vec<_> = signers.iter().map(vote).collect();
    let commit = Commit::from_votes(height, Round(round), block_id, &validators, &votes);
    LightBlock { header, commit, validators }
}

/// Returns evidence about this block, without any check of its own.
fn evidence(one: &One, conflicting: LightBlock, common: u64, named: &[u8]) -> Evidence {
    let set = one.store.validators_for_evidence(Height(1)).unwrap();
    let member = |seed: &u8| set.by_address(&address(*seed)).unwrap().1.clone();
    Evidence::LightClientAttack(Box::new(LightClientAttackEvidence {
        conflicting,
        common_height: Height(common),
        byzantine: named.iter().map(member).collect(),
        total_power: set.total_power(),
        timestamp: one.store.block_time(Height(common)).unwrap(),
    }))
}

/// Returns evidence that these validators signed a false state of a height, with a set of their own.
fn lunatic(one: &One, signers: &[u8], common: u64, height: u64, byte: u8) -> Evidence {
    let members = signers.iter().map(|seed| (key(*seed).public_key(), Power(5))).collect();
    let validators = ValidatorSet::new(members).unwrap();
    let tip = one.tip().0;
    let header = one.store.header(Height(height.min(tip))).unwrap();
    let (validators_hash, app_hash) = (validators.hash(), Hash([byte; 32]));
    let header = Header { height: Height(height), validators_hash, app_hash, ..header };
    evidence(one, signed(header, validators, signers, 3), common, signers)
}

/// Returns evidence that both validators signed another block of a height that differs in its transactions.
fn twin(one: &One, common: u64, height: u64, round: u32, named: &[u8]) -> Evidence {
    let set = one.store.validators_for_evidence(Height(1)).unwrap();
    let header = Header { data_hash: Hash([9; 32]), ..one.store.header(Height(height)).unwrap() };
    evidence(one, signed(header, set, &[1, 2], round), common, named)
}

/// Returns a process that has not signed what the evidence is about: its own key may be named.
fn at(height: u64) -> One {
    let mut one = One::new();
    one.decide(height);
    one.restart()
}

fn refused(one: &One, evidence: &Evidence) -> EvidenceRefusal {
    check_evidence(&one.store, evidence.clone()).unwrap_err()
}

fn invalid(one: &One, evidence: &Evidence) -> AttackError {
    match refused(one, evidence) {
        EvidenceRefusal::Invalid(EvidenceError::Attack(error)) => error,
        other => panic!("{other}"),
    }
}

/// Returns the events about evidence in a block: validator, height and kind.
fn events(one: &One, block: u64) -> Vec<[String; 3]> {
    let committed = one.committed.iter().find(|committed| committed.block.header.height.0 == block).unwrap();
    let events = committed.results.events.iter().filter(|event| event.kind == "evidence");
    events.map(|event| [0, 1, 2].map(|index| event.attributes[index].value.clone())).collect()
}

fn event(seed: u8, height: u64) -> [String; 3] {
    [address(seed).to_string(), height.to_string(), "light_client_attack".to_owned()]
}

#[test]
fn a_valid_attack_is_sent_on_and_in_the_next_block_once_with_an_event_for_each_validator() {
    let mut one = at(5);
    let attack = lunatic(&one, &[1, 2], 2, 4, 7);
    let (checked, outputs) = one.says(&attack);
    assert!(matches!(checked, Checked::Evidence(_)), "{checked:?}");
    assert!(is_sent(&outputs) && outputs.iter().any(|output| matches!(output, Output::Evidence(_))), "{outputs:?}");
    assert_eq!((one.tip(), one.blocks_with_evidence()), (Height(6), vec![6]));
    assert_eq!(one.committed.last().unwrap().block.evidence, std::slice::from_ref(&attack));
    assert_eq!(events(&one, 6), [event(1, 2), event(2, 2)]);
    assert_eq!(one.store.waiting_evidence().unwrap(), []);
    let (checked, outputs) = one.says(&attack);
    assert!(matches!(checked, Checked::Unchecked(_)) && outputs.is_empty(), "{checked:?} {outputs:?}");
    // Another false block proves nothing more about the same validators and height.
    let another = lunatic(&one, &[1, 2], 2, 5, 8);
    assert!(matches!(refused(&one, &another), EvidenceRefusal::Repeated { block: Height(6), .. }));
    one.decide(9);
    assert_eq!(one.blocks_with_evidence(), [6]);
    assert_eq!(one.store.verification().finish().findings, []);
}

#[test]
fn each_reason_for_a_refusal_is_named() {
    let one = at(5);
    let good = lunatic(&one, &[1, 2], 2, 4, 7);
    assert!(check_evidence(&one.store, good.clone()).is_ok());
    let with = |change: &dyn Fn(&mut LightClientAttackEvidence)| {
        let Evidence::LightClientAttack(mut attack) = good.clone() else { panic!("{good:?}") };
        change(&mut attack);
        Evidence::LightClientAttack(attack)
    };
    let heights = AttackError::Heights { common: Height(5), conflicting: Height(4) };
    assert_eq!(invalid(&one, &with(&|attack| attack.common_height = Height(5))), heights);
    assert!(matches!(
        invalid(&one, &with(&|attack| attack.conflicting.header.app_hash = Hash([1; 32]))),
        AttackError::CommitBlock { .. }
    ));
    let time = with(&|attack| attack.timestamp = one.time_of(3));
    assert!(matches!(refused(&one, &time), EvidenceRefusal::Time { height: Height(2), .. }));
    let total = with(&|attack| attack.total_power = Power(7));
    assert_eq!(invalid(&one, &total), AttackError::TotalPower { got: Power(7), expected: Power(101) });
    let named = |got| AttackError::Named { got, expected: 2 };
    assert_eq!(invalid(&one, &with(&|attack| attack.byzantine.truncate(1))), named(1));
    assert_eq!(invalid(&one, &lunatic(&one, &[2], 2, 4, 7)), AttackError::Trust { got: Power(1), total: Power(101) });
    assert_eq!(invalid(&one, &lunatic(&one, &[1, 2], 4, 4, 7)), AttackError::NotDerived);
    let signature = with(&|attack| {
        let CommitSig::Commit { signature, .. } = &mut attack.conflicting.commit.signatures[1] else { panic!() };
        signature.0[5] ^= 1;
    });
    assert_eq!(invalid(&one, &signature), AttackError::Commit(CommitError::Signature { index: 1 }));
    let id = one.store.header(Height(4)).unwrap().hash();
    let own = LightBlock {
        header: one.store.header(Height(4)).unwrap(),
        commit: one.store.commit(Height(4)).unwrap(),
        validators: one.store.validators_for_evidence(Height(4)).unwrap(),
    };
    assert_eq!(invalid(&one, &evidence(&one, own, 2, &[1, 2])), AttackError::NoConflict(id));
}

#[test]
fn a_twin_of_the_round_names_the_signers_of_both_and_one_of_another_round_no_validator() {
    let mut one = at(5);
    let signers: Vec<u8> = match one.store.trusted_block(Height(4)).unwrap().commit.unwrap() {
        signers if signers.has(1) => vec![1, 2],
        _ => vec![1],
    };
    let same_round = twin(&one, 4, 4, 0, &signers);
    assert!(check_evidence(&one.store, same_round).is_ok());
    assert_eq!(invalid(&one, &twin(&one, 4, 4, 1, &[1])), AttackError::Named { got: 1, expected: 0 });
    let amnesia = twin(&one, 4, 4, 1, &[]);
    let (checked, _) = one.says(&amnesia);
    assert!(matches!(checked, Checked::Evidence(_)), "{checked:?}");
    assert_eq!((one.blocks_with_evidence(), events(&one, 6)), (vec![6], vec![]));
    // One for each height is enough: no validator is punished for it.
    assert!(matches!(refused(&one, &twin(&one, 4, 4, 2, &[])), EvidenceRefusal::Repeated { validator: UNNAMED, .. }));
}

/// Who signed the tip is known from the next block. Until then, only a header with something false is judged.
#[test]
fn a_twin_of_the_tip_is_judged_when_the_next_block_is_decided() {
    let mut one = at(5);
    let amnesia = twin(&one, 5, 5, 1, &[]);
    let open = refused(&one, &amnesia);
    assert!(matches!(open, EvidenceRefusal::Undecided { height: Height(5), tip: Height(5) }), "{open}");
    let (checked, outputs) = one.says(&amnesia);
    assert!(matches!(checked, Checked::Unchecked(_)) && outputs.is_empty(), "it costs its sender nothing: {checked:?}");
    assert!(check_evidence(&one.store, lunatic(&one, &[1, 2], 2, 5, 7)).is_ok());
    one.decide(6);
    assert!(check_evidence(&one.store, amnesia).is_ok());
}

#[test]
fn a_block_above_the_tip_is_an_attack_if_it_is_not_later_than_the_tip() {
    let mut one = at(5);
    let in_future = |one: &One, later| {
        let members = [1, 2].map(|seed| (key(seed).public_key(), Power(5)));
        let validators = ValidatorSet::new(members.to_vec()).unwrap();
        let tip = one.store.header(Height(5)).unwrap();
        let (validators_hash, time) = (validators.hash(), tip.time.saturating_add(Duration::from_nanos(later)));
        let header = Header { height: Height(50), validators_hash, time, ..tip };
        evidence(one, signed(header, validators, &[1, 2], 0), 2, &[1, 2])
    };
    let open = refused(&one, &in_future(&one, 1));
    assert!(matches!(open, EvidenceRefusal::Undecided { height: Height(50), tip: Height(5) }), "{open}");
    // Nodes that have decided the height may know that others misbehaved.
    let Evidence::LightClientAttack(mut few) = in_future(&one, 0) else { panic!() };
    few.byzantine.pop();
    let open = refused(&one, &Evidence::LightClientAttack(few));
    assert!(matches!(open, EvidenceRefusal::Undecided { height: Height(50), tip: Height(5) }), "{open}");
    let (checked, _) = one.says(&in_future(&one, 0));
    assert!(matches!(checked, Checked::Evidence(_)), "{checked:?}");
    assert_eq!((one.blocks_with_evidence(), events(&one, 6)), (vec![6], vec![event(1, 2), event(2, 2)]));
}

/// A block above the tip names all its signers. If it turns out to be a twin of another round, it names none: what waits
/// is not proposed any more, and peers that have not decided the height are not punished for it.
#[test]
fn an_attack_that_names_others_once_its_height_is_decided_is_outdated() {
    let mut one = at(5);
    let set = one.store.validators_for_evidence(Height(1)).unwrap();
    let tip = one.store.header(Height(5)).unwrap();
    let mut same = at(5);
    same.decide(8);
    // What the chain determines is that of its own block.
    let ahead = Header { time: tip.time, ..same.store.header(Height(7)).unwrap() };
    let derived = ahead.derived_hash();
    let attack = evidence(&one, signed(ahead, set, &[1, 2], 1), 2, &[1, 2]);
    let verified = check_evidence(&one.store, attack.clone()).unwrap();
    assert!(verified.names(&address(2)));
    one.store.put_waiting_evidence(&attack).unwrap();
    one.decide(8);
    assert_eq!(one.store.header(Height(7)).unwrap().derived_hash(), derived);
    let outdated = refused(&one, &attack);
    assert!(
        matches!(
            &outdated,
            EvidenceRefusal::Outdated { height: Height(7), error: AttackError::Named { got: 2, expected: 0 } }
        ),
        "{outdated}"
    );
    let mut one = one.restart();
    assert_eq!(one.replica.status().evidence_waiting, 1);
    one.decide(10);
    assert_eq!(one.blocks_with_evidence(), Vec::<u64>::new());
}

#[test]
fn an_attack_tells_the_application_only_of_those_that_no_block_has_named_at_that_height() {
    let mut one = at(5);
    let votes = one.evidence(2, 2);
    one.says(&votes);
    assert_eq!(one.blocks_with_evidence(), [6]);
    let attack = lunatic(&one, &[1, 2], 2, 4, 7);
    let (checked, _) = one.says(&attack);
    assert!(matches!(checked, Checked::Evidence(_)), "{checked:?}");
    one.decide(7);
    assert_eq!((one.blocks_with_evidence(), events(&one, 7)), (vec![6, 7], vec![event(1, 2)]));
    let placed = |seed| one.store.committed_evidence(&(Height(2), address(seed))).unwrap().unwrap();
    assert_eq!((placed(1), placed(2)), ((Height(7), attack.hash()), (Height(6), votes.hash())));
    assert_eq!(one.store.verification().finish().findings, []);
}

/// Two votes, and an attack of the same height, wait together: the block contains each that names somebody new.
#[test]
fn a_block_contains_each_piece_that_names_somebody_new() {
    let one = at(5);
    let pieces = [one.evidence(2, 2), lunatic(&one, &[1, 2], 2, 4, 7), lunatic(&one, &[1, 2], 2, 4, 8)];
    pieces.iter().for_each(|piece| one.store.put_waiting_evidence(piece).unwrap());
    let one = one.restart();
    assert_eq!(one.blocks_with_evidence(), [6]);
    let block = &one.committed[0].block;
    let named: usize = block.evidence.iter().map(Evidence::named).sum();
    assert!(block.evidence.len() <= 2 && named >= 2, "{:?}", block.evidence);
    let mut events = events(&one, 6);
    events.iter_mut().for_each(|event| event[2].clear());
    events.sort();
    let mut expected = [1, 2].map(|seed| [address(seed).to_string(), "2".to_owned(), String::new()]);
    expected.sort();
    assert_eq!(events, expected, "each validator once");
    assert_eq!((one.store.waiting_evidence().unwrap(), one.replica.status().evidence_waiting), (vec![], 0));
}

#[test]
fn an_attack_expires_as_its_common_height_does() {
    let mut one = at(5);
    let old = lunatic(&one, &[1, 2], 2, 4, 7);
    assert!(check_evidence(&one.store, old.clone()).is_ok());
    one.decide(15);
    let expired = refused(&one, &old);
    assert!(matches!(expired, EvidenceRefusal::Expired { height: Height(2), .. }), "{expired}");
}

#[test]
fn an_attack_that_names_others_costs_its_sender_and_is_never_forwarded() {
    let mut one = at(5);
    let Evidence::LightClientAttack(mut names) = lunatic(&one, &[1, 2], 2, 4, 7) else { panic!() };
    names.byzantine.pop();
    let Evidence::LightClientAttack(mut forged) = lunatic(&one, &[1, 2], 2, 4, 7) else { panic!() };
    let CommitSig::Commit { signature, .. } = &mut forged.conflicting.commit.signatures[0] else { panic!() };
    signature.0[1] ^= 1;
    for bad in [names, forged] {
        let (checked, outputs) = one.says(&Evidence::LightClientAttack(bad));
        assert!(matches!(checked, Checked::Bad(Offence::BadEvidence(_))), "{checked:?}");
        assert!(!is_sent(&outputs), "{outputs:?}");
    }
    assert_eq!(one.store.waiting_evidence().unwrap(), []);
}

#[test]
fn an_attack_with_our_own_key_stops_the_node_if_its_common_height_is_of_this_process() {
    let mut one = One::new();
    one.decide(5);
    let attack = lunatic(&one, &[1, 2], 2, 4, 7);
    let verified = check_evidence(&one.store, attack).unwrap();
    let outputs = one.step(vec![Input::Evidence(verified)]);
    let halt = outputs.iter().find_map(|output| match output {
        Output::Halt(halt) => Some(halt.clone()),
        _ => None,
    });
    assert!(matches!(halt, Some(Halt::AnotherSigner { height: Height(2) })), "{halt:?}");
    let mut one = one.restart();
    one.decide(7);
    assert_eq!(one.blocks_with_evidence(), [6], "it is used like any other evidence");
}
