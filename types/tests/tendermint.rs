//! Proves that the same data in Cairn's types and in the `tendermint` crate has the same hashes, sign-bytes and
//! addresses.

use tendermint::block::signed_header::SignedHeader;
use tendermint::crypto::{
    default::{Sha256, signature::Verifier},
    signature::Verifier as _,
};
use tendermint_proto::v0_38 as proto;
use types::*;

use prost::Message as _;

fn chain() -> ChainId {
    ChainId::new("cairn-golden").unwrap()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn block_id(seed: u8) -> BlockId {
    BlockId { hash: Hash([seed; 32]), parts: PartSetHeader { total: 3, hash: Hash([seed + 1; 32]) } }
}

fn time() -> Time {
    Time::parse("2026-11-23T01:02:03.456789Z").unwrap()
}

fn validators() -> ValidatorSet {
    ValidatorSet::new((1..=4).map(|seed| (key(seed).public_key(), Power(10 * u64::from(seed)))).collect()).unwrap()
}

fn header(last_block_id: Option<BlockId>) -> Header {
    let hash = |seed| Hash([seed; 32]);
    Header {
        version_app: 1,
        chain_id: chain(),
        height: Height(42),
        time: time(),
        last_block_id,
        last_commit_hash: hash(1),
        data_hash: hash(2),
        validators_hash: validators().hash(),
        next_validators_hash: hash(4),
        consensus_hash: hash(5),
        app_hash: hash(6),
        last_results_hash: hash(7),
        evidence_hash: hash(8),
        proposer: key(1).public_key().address(),
    }
}

fn vote(vote_type: VoteType, block_id: Option<BlockId>) -> Vote {
    Vote {
        vote_type,
        height: Height(42),
        round: Round(2),
        block_id,
        timestamp: time(),
        validator: key(4).public_key().address(),
        validator_index: 0,
    }
}

/// Decodes our bytes as a type of the other implementation.
fn theirs<T: prost::Message + Default>(bytes: &[u8]) -> T {
    T::decode(bytes).unwrap()
}

#[test]
fn header_hash() {
    for last in [None, Some(block_id(9))] {
        let ours = header(last);
        let theirs: tendermint::block::Header = theirs::<proto::types::Header>(&ours.encode()).try_into().unwrap();
        assert_eq!(theirs.hash().as_bytes(), ours.hash().as_ref());
    }
    assert_eq!(header(None).hash().to_string(), "319AADA6DD252AC568794963BD3BF5CE62A8D763C9870C39AFCAB734DF028DEA");
}

#[test]
fn vote_sign_bytes_and_signature() {
    let key = key(4);
    let their_key = tendermint::PublicKey::from_raw_secp256k1(key.public_key().bytes()).unwrap();
    for vote_type in [VoteType::Prevote, VoteType::Precommit] {
        for id in [None, Some(block_id(9))] {
            let signed = vote(vote_type, id).sign(&chain(), &key);
            let theirs: tendermint::Vote = theirs::<proto::types::Vote>(&signed.encode()).try_into().unwrap();
            let their_chain = tendermint::chain::Id::try_from("cairn-golden").unwrap();
            let sign_bytes = signed.vote.sign_bytes(&chain());
            assert_eq!(theirs.clone().into_signable_vec(their_chain), sign_bytes);
            Verifier.verify(their_key, &sign_bytes, theirs.signature.as_ref().unwrap()).unwrap();
            assert_eq!(SignedVote::decode(&signed.encode()), Ok(signed));
        }
    }
    let golden = vote(VoteType::Precommit, None).sign(&chain(), &key);
    assert_eq!(
        data_encoding::HEXUPPER.encode(&golden.signature.0),
        "A73B8FD0C19E7467E0D002DEB50EBE53ED7E6A25153D76AE17515108593952F779014CB4D2215D6F727AAAB8674E0BE55D4CCB3C8E312B219BF77A13004FEF46"
    );
}

#[test]
fn proposal_sign_bytes() {
    for pol_round in [None, Some(Round(1))] {
        let proposal =
            Proposal { height: Height(42), round: Round(2), pol_round, block_id: block_id(9), timestamp: time() };
        let signed = proposal.sign(&chain(), &key(1));
        let theirs: tendermint::Proposal = theirs::<proto::types::Proposal>(&signed.encode()).try_into().unwrap();
        let their_chain = tendermint::chain::Id::try_from("cairn-golden").unwrap();
        let mut sign_bytes = Vec::new();
        theirs.to_signable_bytes(their_chain, &mut sign_bytes).unwrap();
        assert_eq!(sign_bytes, signed.proposal.sign_bytes(&chain()));
        assert_eq!(SignedProposal::decode(&signed.encode()), Ok(signed));
    }
}

#[test]
fn validator_set_hash_order_and_addresses() {
    let ours = validators();
    let theirs: tendermint::validator::Set = theirs::<proto::types::ValidatorSet>(&ours.encode()).try_into().unwrap();
    assert_eq!(theirs.hash().as_bytes(), ours.hash().as_ref());
    for (ours, theirs) in ours.iter().zip(theirs.validators()) {
        assert_eq!(ours.address().0, theirs.address.as_bytes());
        assert_eq!(ours.power.0, theirs.power.value());
    }
    assert_eq!(ours.hash().to_string(), "AB963CA7D472BD3F1EDA4294EF198EC0A380C3DEE07292B6C8973066A281D40F");
}

#[test]
fn commit_and_signed_header() {
    let header = header(Some(block_id(9)));
    let parts = PartSet::from_bytes(b"any block").header();
    let decided = BlockId { hash: header.hash(), parts };
    let set = validators();
    let votes: Vec<SignedVote> = set
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != 2)
        .map(|(index, validator)| {
            let seed = (1..=4).find(|seed| key(*seed).public_key() == validator.public_key).unwrap();
            let block_id = (index != 3).then_some(decided);
            Vote {
                validator: validator.address(),
                validator_index: index as u32,
                ..vote(VoteType::Precommit, block_id)
            }
            .sign(&chain(), &key(seed))
        })
        .collect();
    let commit = Commit::from_votes(Height(42), Round(2), decided, &set, &votes);
    assert_eq!(commit.verify(&chain(), &set), Ok(()), "40 + 30 of 100");
    let theirs_commit: tendermint::block::Commit = theirs::<proto::types::Commit>(&commit.encode()).try_into().unwrap();
    let theirs_header: tendermint::block::Header = theirs::<proto::types::Header>(&header.encode()).try_into().unwrap();
    SignedHeader::new(theirs_header, theirs_commit).unwrap();
    assert_eq!(Commit::decode(&commit.encode()), Ok(commit));
}

/// Returns the root over `leaves`, computed by the other implementation.
fn root(leaves: &[Vec<u8>]) -> [u8; 32] {
    tendermint::merkle::simple_hash_from_byte_vectors::<Sha256>(leaves)
}

#[test]
fn evidence_bytes() {
    let set = validators();
    let (a, b) = (vote(VoteType::Prevote, Some(block_id(9))), vote(VoteType::Prevote, None));
    let evidence =
        DuplicateVoteEvidence::new(a.sign(&chain(), &key(4)), b.sign(&chain(), &key(4)), &set, time()).unwrap();
    assert_eq!(evidence.vote_a.vote.block_id, None, "nil is lowest");
    let evidence = Evidence::DuplicateVote(evidence);
    assert_eq!(evidence.verify(&chain(), &set), Ok(()));
    let pb: proto::types::Evidence = theirs(&evidence.encode());
    assert_eq!(pb.encode_to_vec(), evidence.encode());
    assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence.clone()));

    // CometBFT hashes the inner message, without the tag of its kind, and the list as a tree over these bytes.
    let Some(proto::types::evidence::Sum::DuplicateVoteEvidence(inner)) = pb.sum.clone() else { panic!("{pb:?}") };
    assert_eq!(evidence.hashed_bytes(), inner.encode_to_vec());
    let parsed: tendermint::evidence::Evidence = pb.clone().try_into().unwrap();
    let tendermint::evidence::Evidence::DuplicateVote(parsed) = parsed else { panic!("{parsed:?}") };
    assert_eq!((parsed.vote_a.height.value(), parsed.total_voting_power.value()), (evidence.height().0, 100));
    let leaf = inner.encode_to_vec();
    assert_eq!(Block::evidence_hash(&[evidence.clone(), evidence.clone()]).0, root(&[leaf.clone(), leaf]));
    assert_eq!(Block::evidence_hash(&[]).0, root(&[]));
    let list = proto::types::EvidenceList { evidence: vec![pb.clone(), pb] };
    assert_eq!(Evidence::list_bytes(&[evidence.clone(), evidence.clone()]), list.encoded_len());
    // Computed by a separate program: protobuf written by hand, RFC 6979, SHA-256.
    let golden = "C9E7D5CA789E0A6E6E8B5B7482AF42B27AE2F8116CDA4D36833781FDD7963DFD";
    assert_eq!((evidence.hash().to_string().as_str(), evidence.hashed_bytes().len()), (golden, 317));
}

/// An attack on light clients in which validators 3 and 4 of the four signed a false state.
fn attack() -> LightClientAttackEvidence {
    let common = validators();
    let members = [3, 4].map(|seed| (key(seed).public_key(), Power(1)));
    let set = ValidatorSet::new(members.to_vec()).unwrap();
    let header = Header { validators_hash: set.hash(), ..header(Some(block_id(9))) };
    let block_id = BlockId { hash: header.hash(), parts: block_id(9).parts };
    let vote = |seed| {
        let validator = key(seed).public_key().address();
        let (validator_index, _) = set.by_address(&validator).unwrap();
        Vote { validator, validator_index, ..vote(VoteType::Precommit, Some(block_id)) }.sign(&chain(), &key(seed))
    };
    let commit = Commit::from_votes(header.height, Round(2), block_id, &set, &[vote(3), vote(4)]);
    let conflicting = LightBlock { header, commit, validators: set };
    LightClientAttackEvidence::new(conflicting, Height(40), None, &common, time()).unwrap()
}

#[test]
fn attack_bytes() {
    let evidence = Evidence::LightClientAttack(Box::new(attack()));
    let pb: proto::types::Evidence = theirs(&evidence.encode());
    assert_eq!(pb.encode_to_vec(), evidence.encode());
    assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence.clone()));
    let Some(proto::types::evidence::Sum::LightClientAttackEvidence(inner)) = pb.sum.clone() else { panic!("{pb:?}") };
    // CometBFT leaves the sum of the powers out of the bytes that a block hashes.
    let set = inner.conflicting_block.as_ref().and_then(|block| block.validator_set.as_ref()).unwrap();
    assert_eq!((set.total_voting_power, set.validators.len()), (0, 2));
    let leaf = inner.encode_to_vec();
    assert_eq!(evidence.hashed_bytes(), leaf);
    assert_eq!(Block::evidence_hash(std::slice::from_ref(&evidence)).0, root(&[leaf]));
    let parsed: tendermint::evidence::Evidence = pb.clone().try_into().unwrap();
    let tendermint::evidence::Evidence::LightClientAttack(parsed) = parsed else { panic!("{parsed:?}") };
    assert_eq!((parsed.common_height.value(), parsed.total_voting_power.value()), (40, 100));
    let names: Vec<(Vec<u8>, u64)> =
        parsed.byzantine_validators.iter().map(|one| (one.address.as_bytes().to_vec(), one.power())).collect();
    let expected = [(4, 40), (3, 30)].map(|(seed, power)| (key(seed).public_key().address().0.to_vec(), power));
    assert_eq!(names, expected);
    let signed = &parsed.conflicting_block.signed_header;
    assert_eq!(signed.header.hash().as_bytes(), attack().conflicting.header.hash().as_ref());
    let list = proto::types::EvidenceList { evidence: vec![pb] };
    assert_eq!(Evidence::list_bytes(std::slice::from_ref(&evidence)), list.encoded_len());
    // These are the bytes that `tendermint-proto` writes (above); a change of them changes the hashes of blocks.
    let golden = "770E0F14BB056B5C33289794112318F4595D1A313AD40733F6F54B8E9F66F211";
    assert_eq!((sha256(&evidence.hashed_bytes()).to_string().as_str(), evidence.hashed_bytes().len()), (golden, 1079));
}
