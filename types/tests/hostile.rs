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
    let evidence = evidence();
    vec![
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

#[test]
fn evidence_of_an_attack_on_light_clients_is_refused_by_name() {
    for content in [&[][..], &[10, 0], &[0xFF; 40]] {
        let mut bytes = vec![2 << 3 | 2, content.len() as u8];
        bytes.extend(content);
        assert_eq!(Evidence::decode(&bytes), Err(DecodeError::LightClientAttack));
    }
}

#[test]
fn messages_above_the_size_limit_are_refused() {
    let error = SignedVote::decode(&vec![0; limits::VOTE_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { name: "vote", .. }), "{error}");
}
