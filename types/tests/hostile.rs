//! Proves that decoding any bytes ends in an error, or in a value that survives encoding. No input panics.

use std::collections::BTreeMap;

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use types::*;

/// Number of inputs that each type decoded, by the name of the type.
type Decoded = BTreeMap<&'static str, u32>;

fn survives<T: Wire + std::fmt::Debug + PartialEq>(bytes: &[u8], decoded: &mut Decoded) {
    let count = decoded.entry(std::any::type_name::<T>()).or_default();
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(T::decode(&value.encode()).as_ref(), Ok(&value));
        *count += 1;
    }
}

/// Decodes the bytes as each type.
fn all_survive(bytes: &[u8]) -> Decoded {
    let mut decoded = Decoded::new();
    survives::<SignedVote>(bytes, &mut decoded);
    survives::<SignedProposal>(bytes, &mut decoded);
    survives::<Certificate>(bytes, &mut decoded);
    survives::<Commit>(bytes, &mut decoded);
    survives::<Header>(bytes, &mut decoded);
    survives::<Block>(bytes, &mut decoded);
    survives::<Part>(bytes, &mut decoded);
    survives::<Evidence>(bytes, &mut decoded);
    survives::<ValidatorSet>(bytes, &mut decoded);
    survives::<HardState>(bytes, &mut decoded);
    survives::<Params>(bytes, &mut decoded);
    survives::<Transaction>(bytes, &mut decoded);
    survives::<TxBody>(bytes, &mut decoded);
    survives::<TxResult>(bytes, &mut decoded);
    survives::<BlockResults>(bytes, &mut decoded);
    survives::<PeerMessage>(bytes, &mut decoded);
    survives::<RoundState>(bytes, &mut decoded);
    survives::<TxBatch>(bytes, &mut decoded);
    survives::<PeerRequest>(bytes, &mut decoded);
    survives::<WaitingTxs>(bytes, &mut decoded);
    survives::<BlockRequest>(bytes, &mut decoded);
    survives::<BlockResponse>(bytes, &mut decoded);
    survives::<BitSet>(bytes, &mut decoded);
    decoded
}

fn key() -> SecretKey {
    SecretKey::from_bytes(&[5; 32]).unwrap()
}

fn chain() -> ChainId {
    ChainId::new("hostile").unwrap()
}

/// Returns valid evidence of a set of one validator.
fn evidence() -> Evidence {
    let set = ValidatorSet::new(vec![(key().public_key(), Power(1))]).unwrap();
    let (height, round, timestamp, validator) =
        (Height(3), Round(1), Time::from_unix_millis(1_800_000_000_000), key().public_key().address());
    let vote = |byte: Option<u8>| {
        let id = |byte| BlockId { hash: Hash([byte; 32]), parts: PartSetHeader { total: 1, hash: Hash([2; 32]) } };
        let (vote_type, block_id) = (VoteType::Prevote, byte.map(id));
        Vote { vote_type, height, round, block_id, timestamp, validator, validator_index: 0 }.sign(&chain(), &key())
    };
    Evidence::DuplicateVote(DuplicateVoteEvidence::new(vote(None), vote(Some(1)), &set, timestamp).unwrap())
}

/// Returns a valid attack on light clients by a set of one validator.
fn attack() -> Evidence {
    let set = ValidatorSet::new(vec![(key().public_key(), Power(1))]).unwrap();
    let (hash, timestamp) = (Hash([1; 32]), Time::from_unix_millis(1_800_000_000_000));
    let header = Header {
        version_app: 1,
        chain_id: chain(),
        height: Height(5),
        time: timestamp,
        last_block_id: Some(BlockId { hash, parts: PartSetHeader { total: 1, hash } }),
        last_commit_hash: hash,
        data_hash: hash,
        validators_hash: set.hash(),
        next_validators_hash: hash,
        consensus_hash: hash,
        app_hash: hash,
        last_results_hash: hash,
        evidence_hash: hash,
        proposer: key().public_key().address(),
    };
    let block_id = BlockId { hash: header.hash(), parts: PartSetHeader { total: 1, hash } };
    let validator = key().public_key().address();
    let (vote_type, height, round, id) = (VoteType::Precommit, Height(5), Round(1), Some(block_id));
    let vote = Vote { vote_type, height, round, block_id: id, timestamp, validator, validator_index: 0 };
    let commit = Commit::from_votes(height, round, block_id, &set, &[vote.sign(&chain(), &key())]);
    let conflicting = LightBlock { header, commit, validators: set.clone() };
    let attack = LightClientAttackEvidence::new(conflicting, Height(3), None, &set, timestamp);
    Evidence::LightClientAttack(Box::new(attack.unwrap()))
}

/// Returns valid messages that the test damages.
fn samples() -> Vec<Vec<u8>> {
    let chain = chain();
    let id = BlockId { hash: Hash([1; 32]), parts: PartSetHeader { total: 1, hash: Hash([2; 32]) } };
    let set = ValidatorSet::new(vec![(key().public_key(), Power(1))]).unwrap();
    let time = Time::from_unix_millis(1_800_000_000_000);
    let validator = key().public_key().address();
    let vote = Vote {
        vote_type: VoteType::Precommit,
        height: Height(3),
        round: Round(1),
        block_id: Some(id),
        timestamp: time,
        validator,
        validator_index: 0,
    }
    .sign(&chain, &key());
    let proposal =
        Proposal { height: Height(3), round: Round(1), pol_round: Some(Round(0)), block_id: id, timestamp: time }
            .sign(&chain, &key());
    let commit = Commit::from_votes(Height(3), Round(1), id, &set, [&vote]);
    let certificate = Certificate::new(vec![vote.clone()]).unwrap();
    let hard_state = HardState {
        height: Height(3),
        round: Round(1),
        locked: Some(Lock { round: Round(1), block_id: id }),
        valid_polka: Some(certificate.clone()),
        votes: vec![vote.clone()],
        proposals: vec![proposal.clone()],
        ..HardState::default()
    };
    let part = PartSet::from_bytes(b"block").get(0).unwrap().clone();
    let (evidence, attack) = (evidence(), attack());
    vec![
        attack.encode(),
        PeerMessage::Evidence(Box::new(attack)).encode(),
        evidence.encode(),
        PeerMessage::Evidence(Box::new(evidence)).encode(),
        vote.encode(),
        proposal.encode(),
        commit.encode(),
        certificate.encode(),
        hard_state.encode(),
        set.encode(),
        Params::default().encode(),
        PeerMessage::Vote(vote).encode(),
        PeerMessage::Proposal(proposal).encode(),
        PeerMessage::Certificate(certificate).encode(),
        PeerMessage::Part { height: Height(3), round: Round(1), part }.encode(),
        BlockResponse {
            earliest: Height(1),
            latest: Height(3),
            latest_commit: Some(commit.clone()),
            blocks: vec![BlockAndCommit { block: vec![1], commit }],
        }
        .encode(),
    ]
}

/// Generates bytes that are valid protobuf: fields in ascending order, with numbers, byte strings of the usual lengths
/// and messages inside them.
fn fields(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let number = prop_oneof![8 => 0..4_u64, 2 => 0..300_u64, 1 => any::<u64>()];
    let length = proptest::sample::select(&[0, 1, 8, 20, 32, 33, 64][..]);
    let bytes = (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]).boxed();
    let inner = if depth == 0 { bytes } else { prop_oneof![bytes, fields(depth - 1)].boxed() };
    let value = prop_oneof![
        number.prop_map(|number| (0_u8, varint(number))),
        inner.prop_map(|inner| (2_u8, [varint(inner.len() as u64), inner].concat())),
    ];
    let message = proptest::collection::vec(proptest::option::weighted(0.7, value), 0..9);
    let encoded = message.prop_map(|fields| {
        let present = fields.into_iter().zip(1_u8..).filter_map(|(field, tag)| Some((field?, tag)));
        present.flat_map(|((wire_type, bytes), tag)| [vec![tag << 3 | wire_type], bytes].concat()).collect()
    });
    encoded.boxed()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[test]
fn random_fields_never_panic_and_some_of_them_decode() {
    let (mut runner, strategy) = (TestRunner::deterministic(), fields(3));
    let mut decoded = Decoded::new();
    for _ in 0..20_000 {
        let bytes = strategy.new_tree(&mut runner).unwrap().current();
        all_survive(&bytes).into_iter().for_each(|(name, count)| *decoded.entry(name).or_default() += count);
    }
    let types = decoded.values().filter(|count| **count > 0).count();
    assert!(types >= 8, "only {types} types decoded any of these inputs: {decoded:#?}");
}

/// The samples are of each kind of message, so damage to them starts from bytes that decode.
#[test]
fn undamaged_samples_decode() {
    for sample in samples() {
        assert!(all_survive(&sample).values().any(|count| *count == 1), "{sample:?}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        all_survive(&bytes);
    }

    #[test]
    fn damaged_messages_never_panic(which in 0..14_usize, at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = samples().swap_remove(which);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        all_survive(&bytes);
    }
}

#[test]
fn each_flipped_bit_of_evidence_makes_it_invalid_and_none_panics() {
    let set = ValidatorSet::new(vec![(key().public_key(), Power(1))]).unwrap();
    let (good, mut invalid) = (evidence(), 0);
    assert_eq!(good.verify(&chain(), &set), Ok(()));
    for bit in 0..good.encode().len() * 8 {
        let mut bytes = good.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(mut evidence) = Evidence::decode(&bytes) else { continue };
        if evidence.verify(&chain(), &set).is_ok() {
            // Its time is not signed; it is compared with that of the block.
            evidence.set_time(good.time());
            assert_eq!(evidence, good, "bit {bit}");
            continue;
        }
        invalid += 1;
    }
    assert!(invalid > 1000, "{invalid} of the changed bytes decode");
}

/// What is neither hashed nor signed is compared with the chain, or is the priority that CometBFT does not compare.
#[test]
fn each_flipped_bit_of_an_attack_makes_it_invalid_and_none_panics() {
    let set = ValidatorSet::new(vec![(key().public_key(), Power(1))]).unwrap();
    let (good, mut invalid) = (attack(), 0);
    let check = |evidence: &Evidence| {
        let Evidence::LightClientAttack(attack) = evidence else { return false };
        let checked = attack.check_conflict().and_then(|()| attack.check_attack(None, &set));
        checked.is_ok() && evidence.verify(&chain(), &set).is_ok()
    };
    assert!(check(&good));
    let Evidence::LightClientAttack(expected) = &good else { panic!("{good:?}") };
    for bit in 0..good.encode().len() * 8 {
        let mut bytes = good.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(evidence) = Evidence::decode(&bytes) else { continue };
        if !check(&evidence) {
            invalid += 1;
            continue;
        }
        let Evidence::LightClientAttack(attack) = evidence else { panic!("bit {bit}") };
        assert_eq!(
            (&attack.conflicting.header, &attack.conflicting.commit.signatures),
            (&expected.conflicting.header, &expected.conflicting.commit.signatures),
            "bit {bit}"
        );
        assert_eq!(attack.byzantine.len(), 1, "bit {bit}");
    }
    assert!(invalid > 1000, "{invalid} of the changed bytes decode");
}

#[test]
fn an_attack_with_other_numbers_of_validators_is_refused_before_their_keys_are_read() {
    let pb::Evidence { sum: Some(pb::evidence::Sum::LightClientAttackEvidence(good)) } = attack().to_pb() else {
        panic!()
    };
    let refused = |change: &dyn Fn(&mut pb::LightClientAttackEvidence)| {
        let mut attack = good.clone();
        change(&mut attack);
        let sum = Some(pb::evidence::Sum::LightClientAttackEvidence(attack));
        Evidence::from_pb(pb::Evidence { sum }).unwrap_err().to_string()
    };
    fn set(attack: &mut pb::LightClientAttackEvidence) -> &mut pb::ValidatorSet {
        attack.conflicting_block.as_mut().unwrap().validator_set.as_mut().unwrap()
    }
    let bad_key = pb::Validator { pub_key: None, ..good.byzantine_validators[0].clone() };
    assert_eq!(
        refused(&|attack| set(attack).validators = vec![bad_key.clone(); 2]),
        "evidence.commit: 1 signatures, the conflicting set has 2 validators"
    );
    assert_eq!(
        refused(&|attack| attack.byzantine_validators = vec![bad_key.clone(); 201]),
        "evidence.byzantine_validators: 201 elements, at most 200 are allowed"
    );
    assert_eq!(refused(&|attack| set(attack).proposer = None), "proposer: is missing");
    assert_eq!(refused(&|attack| attack.common_height = -1), "evidence.common_height: -1 is negative");
    assert_eq!(refused(&|attack| attack.conflicting_block = None), "evidence.conflicting_block: is missing");
    assert_eq!(refused(&|attack| attack.total_voting_power = -1), "evidence.total_voting_power: -1 is negative");
    let error = Evidence::decode(&vec![0; limits::ATTACK_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { name: "evidence", .. }), "{error}");
}

/// One attack can name the whole set, beside the two votes of others; two such attacks do not fit into a block.
#[test]
fn the_evidence_of_a_block_names_a_bounded_number_of_validators() {
    let pb::Evidence { sum: Some(pb::evidence::Sum::LightClientAttackEvidence(good)) } = attack().to_pb() else {
        panic!()
    };
    let naming = |named| {
        let byzantine_validators = vec![good.byzantine_validators[0].clone(); named];
        let attack = pb::LightClientAttackEvidence { byzantine_validators, ..good.clone() };
        pb::Evidence { sum: Some(pb::evidence::Sum::LightClientAttackEvidence(attack)) }
    };
    let Evidence::LightClientAttack(attack) = attack() else { panic!() };
    let header = attack.conflicting.header.to_pb();
    let block = |list| pb::Block {
        header: Some(header.clone()),
        data: None,
        evidence: Some(pb::EvidenceList { evidence: list }),
        last_commit: None,
    };
    assert!(Block::from_pb(block(vec![naming(200), naming(64)])).is_ok());
    let error = Block::from_pb(block(vec![naming(200), naming(65)])).unwrap_err();
    assert_eq!(error.to_string(), "validators in block.evidence: 265 elements, at most 264 are allowed");
}

#[test]
fn messages_above_the_size_limit_are_refused() {
    let error = SignedVote::decode(&vec![0; limits::VOTE_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { name: "vote", .. }), "{error}");
}
