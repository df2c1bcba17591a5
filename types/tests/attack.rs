//! Proves the rules about evidence of attacks on light clients, each with its exact result.

use types::*;

fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

fn key(seed: u8) -> ConsensusSecretKey {
    ConsensusSecretKey::from_bytes(KeyType::ALL[usize::from(seed % 2)], &[seed; 32]).unwrap()
}

fn address(seed: u8) -> Address {
    key(seed).public_key().address()
}

/// Returns a set of validators with these powers.
fn set(members: &[(u8, u64)]) -> ValidatorSet {
    ValidatorSet::new(members.iter().map(|(seed, power)| (key(*seed).public_key(), Power(*power))).collect()).unwrap()
}

/// The validators of the common height.
fn common() -> ValidatorSet {
    set(&[(1, 40), (2, 30), (3, 20), (4, 10)])
}

fn time(second: u64) -> Time {
    Time::from_unix_millis(1_800_000_000_000 + 1000 * second)
}

/// Returns the chain's header of a height.
fn header(height: u64) -> Header {
    let hash = |byte| Hash([byte; 32]);
    Header {
        version_app: 1,
        chain_id: chain(),
        height: Height(height),
        time: time(height),
        last_block_id: Some(BlockId { hash: hash(1), parts: PartSetHeader { total: 1, hash: hash(2) } }),
        last_commit_hash: hash(3),
        data_hash: hash(4),
        validators_hash: common().hash(),
        next_validators_hash: common().hash(),
        consensus_hash: hash(5),
        app_hash: hash(6),
        last_results_hash: hash(7),
        evidence_hash: hash(8),
        proposer: address(1),
    }
}

/// Returns a block for light clients that these members signed in a round.
fn signed(header: Header, validators: ValidatorSet, signers: &[u8], round: u32) -> LightBlock {
    let (hash, height) = (header.hash(), header.height);
    let block_id = BlockId { hash, parts: PartSetHeader { total: 1, hash } };
    let vote = |seed: &u8| {
        let (vote_type, round, validator) = (VoteType::Precommit, Round(round), address(*seed));
        let (validator_index, _) = validators.by_address(&validator).unwrap();
        let (block_id, timestamp) = (Some(block_id), time(9));
        Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }.sign(&chain(), &key(*seed))
    };
    let votes: Vec<_> = signers.iter().map(vote).collect();
    let commit = Commit::from_votes(height, Round(round), block_id, &validators, &votes);
    LightBlock { header, commit, validators }
}

/// Returns the chain's block of a height, decided in round 0 by these members of the common set.
fn trusted(height: u64, signers: &[u8]) -> TrustedBlock {
    let LightBlock { header, commit, .. } = signed(header(height), common(), signers, 0);
    TrustedBlock { hash: header.hash(), derived: header.derived_hash(), commit: Some(Signers::of(&commit)) }
}

/// Returns a block of height 5 with a false state, signed by validators 2 and 3 of the common set and by a stranger.
fn lunatic_block() -> LightBlock {
    let validators = set(&[(2, 5), (3, 7), (9, 1)]);
    let header = Header { app_hash: Hash([66; 32]), validators_hash: validators.hash(), ..header(5) };
    signed(header, validators, &[2, 3, 9], 4)
}

fn lunatic() -> LightClientAttackEvidence {
    let trusted = trusted(5, &[1, 2, 3]);
    LightClientAttackEvidence::new(lunatic_block(), Height(3), Some(&trusted), &common(), time(3)).unwrap()
}

/// Returns evidence that the chain's block of height 5 has a twin with other transactions.
fn twin(signers: &[u8], round: u32, common_height: u64) -> LightClientAttackEvidence {
    let header = Header { data_hash: Hash([66; 32]), ..header(5) };
    let block = signed(header, common(), signers, round);
    let trusted = trusted(5, &[1, 2, 3]);
    let time = time(common_height);
    LightClientAttackEvidence::new(block, Height(common_height), Some(&trusted), &common(), time).unwrap()
}

fn named(evidence: &LightClientAttackEvidence) -> Vec<(Address, u64)> {
    evidence.byzantine.iter().map(|validator| (validator.address(), validator.power.0)).collect()
}

#[test]
fn a_false_header_names_its_signers_of_the_common_set_with_their_power_there() {
    let attack = lunatic();
    assert_eq!(named(&attack), [(address(2), 30), (address(3), 20)], "the stranger had no power at height 3");
    assert_eq!((attack.common_height, attack.total_power, attack.timestamp), (Height(3), Power(100), time(3)));
    assert_eq!(attack.check_conflict(), Ok(()));
    assert_eq!(attack.check_attack(Some(&trusted(5, &[1, 2, 3])), &common()), Ok(()));
    assert_eq!(attack.verify(&chain()), Ok(()));
    assert_eq!(attack.signatures(), 3);
    let evidence = Evidence::LightClientAttack(Box::new(attack));
    assert_eq!(
        (evidence.height(), evidence.time(), evidence.named(), evidence.signatures()),
        (Height(3), time(3), 2, 3)
    );
    assert_eq!(evidence.infractions(), [(Height(3), address(2)), (Height(3), address(3))]);
    assert!(evidence.names(&address(2)) && !evidence.names(&address(9)) && !evidence.names(&UNNAMED));
    let (kind, height, total_power) = (MisbehaviorKind::LightClientAttack, Height(3), Power(100));
    let one = |seed, power| Misbehavior {
        kind,
        validator: address(seed),
        height,
        time: time(3),
        power: Power(power),
        total_power,
        evidence: evidence.hash(),
    };
    assert_eq!(evidence.misbehavior(), [one(2, 30), one(3, 20)]);
}

#[test]
fn each_false_hash_of_what_the_chain_determines_makes_a_header_lunatic() {
    let trusted = trusted(5, &[1, 2, 3]);
    type Change = fn(&mut Header);
    let changes: [(Change, bool); 9] = [
        (|header| header.validators_hash.0[0] ^= 1, true),
        (|header| header.next_validators_hash.0[0] ^= 1, true),
        (|header| header.consensus_hash.0[0] ^= 1, true),
        (|header| header.app_hash.0[31] ^= 1, true),
        (|header| header.last_results_hash.0[0] ^= 1, true),
        (|header| header.data_hash.0[0] ^= 1, false),
        (|header| header.time = time(6), false),
        (|header| header.last_commit_hash.0[0] ^= 1, false),
        (|header| header.proposer = address(2), false),
    ];
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let mut attack = lunatic();
        attack.conflicting.header = header(5);
        change(&mut attack.conflicting.header);
        assert_eq!(attack.is_lunatic(&trusted), expected, "change {index}");
    }
    // Computed by a separate program (hashlib): SHA-256 over the five hashes of 32 equal bytes.
    let five = Header {
        validators_hash: Hash([1; 32]),
        next_validators_hash: Hash([2; 32]),
        consensus_hash: Hash([3; 32]),
        app_hash: Hash([4; 32]),
        last_results_hash: Hash([5; 32]),
        ..header(5)
    };
    let golden = "E1039B308DE302656FCDB3C52E970EA1C29BDDD2DAAD74D128270662ABD63358";
    assert_eq!(five.derived_hash().to_string(), golden);
}

#[test]
fn a_twin_of_the_same_round_names_those_that_signed_both() {
    for common_height in [3, 5] {
        let attack = twin(&[1, 3, 4], 0, common_height);
        assert_eq!(named(&attack), [(address(1), 40), (address(3), 20)], "2 and 4 signed one block each");
        assert_eq!(attack.verify(&chain()), Ok(()));
    }
}

#[test]
fn a_twin_of_another_round_names_no_validator() {
    let attack = twin(&[1, 3, 4], 2, 5);
    assert_eq!(named(&attack), []);
    assert_eq!(attack.verify(&chain()), Ok(()));
    let evidence = Evidence::LightClientAttack(Box::new(attack));
    assert_eq!((evidence.infractions(), evidence.misbehavior()), (vec![(Height(5), UNNAMED)], vec![]));
}

#[test]
fn a_block_of_an_undecided_height_names_its_signers_of_the_common_set() {
    let attack = LightClientAttackEvidence::new(lunatic_block(), Height(3), None, &common(), time(3)).unwrap();
    assert_eq!(named(&attack), [(address(2), 30), (address(3), 20)]);
    // Even if it says the same about everything else.
    let block = signed(header(5), common(), &[1, 2, 3], 0);
    let attack = LightClientAttackEvidence::new(block, Height(3), None, &common(), time(3)).unwrap();
    assert_eq!(named(&attack), [(address(1), 40), (address(2), 30), (address(3), 20)]);
}

#[test]
fn evidence_that_contradicts_itself_is_refused() {
    let with = |change: fn(&mut LightClientAttackEvidence)| {
        let mut attack = lunatic();
        change(&mut attack);
        attack.check_conflict().unwrap_err()
    };
    let heights =
        |common, conflicting| AttackError::Heights { common: Height(common), conflicting: Height(conflicting) };
    assert_eq!(with(|attack| attack.common_height = Height(0)), heights(0, 5));
    assert_eq!(with(|attack| attack.common_height = Height(6)), heights(6, 5));
    assert_eq!(
        with(|attack| attack.conflicting.commit.height = Height(6)),
        AttackError::CommitHeight { got: Height(6), expected: Height(5) }
    );
    let hash = lunatic().conflicting.header.hash();
    assert_eq!(
        with(|attack| attack.conflicting.commit.block_id.hash = Hash([1; 32])),
        AttackError::CommitBlock { got: Hash([1; 32]), expected: hash }
    );
    let (got, expected) = (set(&[(2, 5)]).hash(), lunatic().conflicting.header.validators_hash);
    assert_eq!(
        with(|attack| attack.conflicting.validators = set(&[(2, 5)])),
        AttackError::Validators { got, expected }
    );
}

#[test]
fn what_is_no_attack_on_this_chain_is_refused() {
    let trusted = trusted(5, &[1, 2, 3]);
    let new = |block, common_height| {
        let common_height = Height(common_height);
        LightClientAttackEvidence::new(block, common_height, Some(&trusted), &common(), time(3)).unwrap_err()
    };
    let own = signed(header(5), common(), &[1, 2, 3], 0);
    assert_eq!(new(own, 3), AttackError::NoConflict(header(5).hash()));
    assert_eq!(new(lunatic_block(), 5), AttackError::NotDerived);
    // A third of the power is not more than a third.
    let validators = set(&[(3, 1), (4, 1)]);
    let false_header = Header { validators_hash: validators.hash(), ..header(5) };
    let block = signed(false_header, validators, &[3, 4], 0);
    assert_eq!(new(block, 3), AttackError::Trust { got: Power(30), total: Power(100) });
    let third = set(&[(2, 10), (3, 10), (4, 10)]);
    let validators = set(&[(2, 1)]);
    let false_header = Header { validators_hash: validators.hash(), ..header(5) };
    let block = signed(false_header, validators, &[2], 0);
    let attack = LightClientAttackEvidence::new(block, Height(3), Some(&trusted), &third, time(3));
    assert_eq!(attack, Err(AttackError::Trust { got: Power(10), total: Power(30) }));
}

#[test]
fn other_names_and_powers_than_those_of_the_attackers_are_refused() {
    let trusted = trusted(5, &[1, 2, 3]);
    let member = |seed| common().by_address(&address(seed)).unwrap().1.clone();
    let check = |change: &dyn Fn(&mut LightClientAttackEvidence)| {
        let mut attack = lunatic();
        change(&mut attack);
        attack.check_attack(Some(&trusted), &common())
    };
    let refused = |got| Err(AttackError::Named { got, expected: 2 });
    assert_eq!(check(&|attack| attack.byzantine.push(member(4))), refused(3), "an innocent one");
    assert_eq!(check(&|attack| attack.byzantine[1] = member(4)), refused(2), "an innocent one in place of another");
    assert_eq!(check(&|attack| attack.byzantine.truncate(1)), refused(1), "one is left out");
    assert_eq!(check(&|attack| attack.byzantine.reverse()), refused(2), "another order");
    assert_eq!(check(&|attack| attack.byzantine[0].power = Power(31)), refused(2));
    assert_eq!(check(&|attack| attack.byzantine[0].proposer_priority = 7), Ok(()), "CometBFT does not compare it");
    let total = check(&|attack| attack.total_power = Power(99));
    assert_eq!(total, Err(AttackError::TotalPower { got: Power(99), expected: Power(100) }));
    let amnesia = twin(&[1, 3, 4], 2, 5);
    let mut blames = amnesia.clone();
    blames.byzantine.push(member(1));
    assert_eq!(blames.check_attack(Some(&trusted), &common()), Err(AttackError::Named { got: 1, expected: 0 }));
}

#[test]
fn every_signature_of_the_commit_must_hold() {
    let with = |change: &dyn Fn(&mut Commit)| {
        let mut attack = lunatic();
        change(&mut attack.conflicting.commit);
        attack.verify(&chain())
    };
    let error = |error| Err(AttackError::Commit(error));
    for index in 0..3 {
        let broken = with(&|commit| {
            let CommitSig::Commit { signature, .. } = &mut commit.signatures[index] else { panic!() };
            signature.0[9] ^= 1;
        });
        assert_eq!(broken, error(CommitError::Signature { index }));
    }
    let other = |commit: &mut Commit| {
        let CommitSig::Commit { validator, .. } = &mut commit.signatures[2] else { panic!() };
        *validator = address(1);
    };
    assert_eq!(with(&other), error(CommitError::Validator { index: 2 }), "an innocent one");
    let few = with(&|commit| commit.signatures[0] = CommitSig::Absent);
    assert_eq!(few, error(CommitError::Power { got: Power(6), total: Power(13) }));
    assert_eq!(
        lunatic().verify(&ChainId::new("another").unwrap()),
        error(CommitError::Signature { index: 0 }),
        "signed for another chain"
    );
}

/// The hash is CometBFT's (`types/evidence.go`, `LightClientAttackEvidence.Hash`), computed by a separate program: SHA-256
/// over the first 31 bytes of the header's hash, a zero byte, and the common height as Go's `binary.PutVarint` writes it.
#[test]
fn the_hash_is_of_the_header_and_the_common_height() {
    let mut attack = lunatic();
    let header = "A160238108C22BC1976B0A66171BBA60A531C73DAFB0E7BC730C875099F2E3F1";
    assert_eq!(attack.conflicting.header.hash().to_string(), header);
    assert_eq!(attack.hash().to_string(), "DF158D6C903CBE7B6DAE0E7663A1E6FB802E05BA64736EF939CE402B9D34F7B6");
    attack.common_height = Height(300);
    assert_eq!(attack.hash().to_string(), "1151C1A83A940E464E0B656D272BEF14BDC369F09529B1765BBBB72EC8F1EB06");
    // Other signatures, powers and times make no other evidence.
    attack.common_height = Height(3);
    attack.conflicting.commit.signatures[0] = CommitSig::Absent;
    (attack.byzantine, attack.total_power, attack.timestamp) = (Vec::new(), Power(1), time(99));
    let evidence = Evidence::LightClientAttack(Box::new(attack));
    assert_eq!(evidence.hash(), lunatic().hash());
    assert_eq!(evidence.key(), (Height(3), Address(*evidence.hash().0.first_chunk().unwrap())));
}

#[test]
fn evidence_of_the_largest_set_fits() {
    let members: Vec<_> = (0..limits::VALIDATORS_MAX as u16)
        .map(|seed| {
            let mut bytes = [1; 32];
            bytes[..2].copy_from_slice(&seed.to_be_bytes());
            (ConsensusSecretKey::from_bytes(KeyType::Secp256k1, &bytes).unwrap(), Power(limits::POWER_TOTAL_MAX / 200))
        })
        .collect();
    let validators =
        ValidatorSet::new(members.iter().map(|(key, power)| (key.public_key(), *power)).collect()).unwrap();
    let header = Header { validators_hash: validators.hash(), height: Height(u64::MAX >> 1), ..header(5) };
    let block_id =
        BlockId { hash: header.hash(), parts: PartSetHeader { total: limits::PARTS_MAX, hash: Hash([1; 32]) } };
    let entry = |validator: &Validator| CommitSig::Commit {
        validator: validator.address(),
        timestamp: Time::from_unix_nanos(i64::MAX),
        signature: Signature([255; 64]),
    };
    let commit = Commit {
        height: header.height,
        round: Round(i32::MAX as u32),
        block_id,
        signatures: validators.iter().map(entry).collect(),
    };
    let conflicting = LightBlock { header, commit, validators: validators.clone() };
    let time = Time::from_unix_nanos(i64::MAX);
    let attack = LightClientAttackEvidence::new(conflicting, Height(1 << 62), None, &validators, time).unwrap();
    let evidence = Evidence::LightClientAttack(Box::new(attack));
    assert_eq!(evidence.named(), limits::VALIDATORS_MAX);
    let bytes = evidence.encode();
    assert!(bytes.len() <= limits::ATTACK_BYTES_MAX, "{} bytes", bytes.len());
    assert!(bytes.len() as u64 <= Params::default().evidence.bytes_max, "{} bytes fit into a block", bytes.len());
    assert_eq!(Evidence::decode(&bytes), Ok(evidence));
}
