//! Proves that decoding any bytes ends in an error, or in a value that survives encoding. No input panics.

use proptest::prelude::*;
use types::*;

fn survives<T: Wire + std::fmt::Debug + PartialEq>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(T::decode(&value.encode()).as_ref(), Ok(&value));
    }
}

fn all_survive(bytes: &[u8]) {
    survives::<SignedVote>(bytes);
    survives::<SignedProposal>(bytes);
    survives::<Certificate>(bytes);
    survives::<Commit>(bytes);
    survives::<Header>(bytes);
    survives::<Block>(bytes);
    survives::<Part>(bytes);
    survives::<Evidence>(bytes);
    survives::<ValidatorSet>(bytes);
    survives::<HardState>(bytes);
    survives::<Params>(bytes);
    survives::<Transaction>(bytes);
    survives::<TxBody>(bytes);
    survives::<TxResult>(bytes);
    survives::<BlockResults>(bytes);
    survives::<PeerMessage>(bytes);
    survives::<RoundState>(bytes);
    survives::<TxBatch>(bytes);
    survives::<PeerRequest>(bytes);
    survives::<WaitingTxs>(bytes);
    survives::<BlockRequest>(bytes);
    survives::<BlockResponse>(bytes);
    survives::<BitSet>(bytes);
}

fn key() -> SecretKey {
    SecretKey::from_bytes(&[5; 32]).unwrap()
}

/// Returns valid messages that the test damages.
fn samples() -> Vec<Vec<u8>> {
    let chain = ChainId::new("hostile").unwrap();
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
    vec![
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

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        all_survive(&bytes);
    }

    #[test]
    fn damaged_messages_never_panic(which in 0..12_usize, at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
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
fn messages_above_the_size_limit_are_refused() {
    let error = SignedVote::decode(&vec![0; limits::VOTE_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { name: "vote", .. }), "{error}");
}
