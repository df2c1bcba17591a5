//! What validators sign, and what is made of it.

use types::{
    Certificate, Commit, Evidence, HardState, SignState, SignedProposal, SignedVote, VerifiedVote, VoteType, Wire,
};

use crate::{
    judge::{MEMORY_BASE, MEMORY_PER_OWN_BYTE, check_reason, same, wire, wire_within},
    samples,
};

/// Checks a vote: the bytes that are signed depend on all that is signed, and a vote that verifies is the only one with its
/// signature.
pub fn vote(bytes: &[u8]) -> bool {
    let Some(vote) = wire::<SignedVote>(bytes) else { return false };
    let sign_bytes = vote.vote.sign_bytes(&samples::chain_id());
    let mut other = vote.vote.clone();
    other.round = other.round.next();
    assert_ne!(other.sign_bytes(&samples::chain_id()), sign_bytes, "the round is signed");
    match vote.clone().verify(&samples::chain_id(), &samples::validators()) {
        Ok(verified) => {
            same(VerifiedVote::into_signed(verified), vote.clone(), "a verified vote is the vote that was verified");
            let changed = SignedVote { vote: other, signature: vote.signature };
            assert!(
                changed.verify(&samples::chain_id(), &samples::validators()).is_err(),
                "a signature is of one vote"
            );
        }
        Err(error) => check_reason(&error.to_string()),
    }
    true
}

/// Returns the seeds of [`vote`].
pub fn vote_seeds() -> Vec<Vec<u8>> {
    let types = [VoteType::Prevote, VoteType::Precommit];
    let votes = types
        .into_iter()
        .flat_map(|vote_type| [None, Some(samples::id(1))].map(|id| samples::vote(vote_type, 1, id).encode()));
    votes.collect()
}

/// Checks a proposal: its POL round is below its round, and a proposal that verifies is signed by the proposer.
pub fn proposal(bytes: &[u8]) -> bool {
    let Some(signed) = wire::<SignedProposal>(bytes) else { return false };
    let proposal = &signed.proposal;
    assert!(proposal.pol_round.is_none_or(|pol| pol < proposal.round), "a polka is of an earlier round");
    let key = samples::key(1).public_key().into();
    let holds = |signed: &SignedProposal| signed.clone().verify(&samples::chain_id(), &key).is_ok();
    if holds(&signed) {
        let mut changed = signed.clone();
        changed.proposal.round = changed.proposal.round.next();
        assert!(!holds(&changed), "a signature is of one proposal");
    }
    true
}

/// Returns the seeds of [`proposal`].
pub fn proposal_seeds() -> Vec<Vec<u8>> {
    [None, Some(types::Round(0))].map(|pol| samples::proposal(pol).encode()).to_vec()
}

/// Checks a certificate: its votes are of one place, in the order of their validators.
pub fn certificate(bytes: &[u8]) -> bool {
    let Some(certificate) = wire::<Certificate>(bytes) else { return false };
    let votes = certificate.votes();
    assert!((1..=types::limits::VALIDATORS_MAX).contains(&votes.len()), "{} votes", votes.len());
    assert!(votes.is_sorted_by(|a, b| a.vote.validator_index < b.vote.validator_index), "each validator votes once");
    let place = (certificate.height(), certificate.round(), certificate.vote_type());
    let places = votes.iter().map(|signed| (signed.vote.height, signed.vote.round, signed.vote.vote_type));
    assert!(places.into_iter().all(|other| other == place), "the votes are of one place");
    match certificate.clone().verify(&samples::chain_id(), &samples::validators()) {
        Ok(verified) => assert!(verified.power().0 <= 40, "each validator counts once"),
        Err(error) => check_reason(&error.to_string()),
    }
    true
}

/// Returns the seeds of [`certificate`].
pub fn certificate_seeds() -> Vec<Vec<u8>> {
    let one = Certificate::new(vec![samples::vote(VoteType::Precommit, 2, None)]).expect("one vote is enough");
    vec![samples::certificate().encode(), one.encode()]
}

/// Checks a commit: each entry gives its vote back, and a commit that verifies proves the height to those who know the set.
pub fn commit(bytes: &[u8]) -> bool {
    let Some(commit) = wire::<Commit>(bytes) else { return false };
    assert!(commit.signatures.len() <= types::limits::VALIDATORS_MAX, "a commit is bounded");
    let (chain_id, set) = (samples::chain_id(), samples::validators());
    let votes: Vec<SignedVote> = (0..commit.signatures.len()).filter_map(|index| commit.vote(index)).collect();
    match commit.verify(&chain_id, &set) {
        Ok(()) => {
            let again = Commit::from_votes(commit.height, commit.round, commit.block_id, &set, &votes);
            same(&again, &commit, "a commit is what its votes make");
            same(again.hash(), commit.hash(), "the hash of a commit is that of its votes");
            assert!(commit.verify_by_known(&chain_id, &set).is_ok(), "the set knows itself");
        }
        Err(error) => check_reason(&error.to_string()),
    }
    if let Some(certificate) = commit.to_certificate() {
        assert!(certificate.votes().len() <= votes.len(), "a certificate has no vote that the commit does not have");
    }
    true
}

/// Returns the seeds of [`commit`].
pub fn commit_seeds() -> Vec<Vec<u8>> {
    let id = samples::id(1);
    let votes: Vec<_> = (0..4).map(|index| samples::vote(VoteType::Precommit, index, Some(id))).collect();
    let whole = Commit::from_votes(types::Height(3), types::Round(1), id, &samples::validators(), &votes);
    vec![whole.encode(), samples::commit_of(types::Height(3), id).encode()]
}

/// Checks evidence: its size and names are bounded, its hash is that of its bytes, and evidence that verifies does not
/// contradict itself.
pub fn evidence(bytes: &[u8]) -> bool {
    let Some(evidence) = wire::<Evidence>(bytes) else { return false };
    let (infractions, misbehavior) = (evidence.infractions(), evidence.misbehavior());
    same(misbehavior.len(), evidence.named(), "there is one misbehavior for each named validator");
    assert_eq!(infractions.len(), evidence.named().max(1), "there is one infraction for each, and at least one");
    assert!(evidence.signatures() <= types::limits::VALIDATORS_MAX.max(2), "the work of a check is bounded");
    assert!(Evidence::list_bytes(std::slice::from_ref(&evidence)) >= evidence.encode().len(), "a list is not smaller");
    let again = Evidence::decode(&evidence.encode()).expect("it was decoded before");
    same(again.hash(), evidence.hash(), "the hash depends on the content alone");
    let conflict = evidence.check_conflict();
    match evidence.verify(&samples::chain_id(), &samples::validators()) {
        Ok(()) if matches!(evidence, Evidence::DuplicateVote(_)) => {
            assert_eq!(conflict, Ok(()), "evidence that verifies does not contradict itself");
        }
        Ok(()) => {}
        Err(error) => check_reason(&error.to_string()),
    }
    true
}

/// Returns the seeds of [`evidence`].
pub fn evidence_seeds() -> Vec<Vec<u8>> {
    vec![samples::double_sign().encode(), samples::attack().encode()]
}

/// Checks the hard state: what was signed last, as it says, is a message that it holds.
pub fn hard_state(bytes: &[u8]) -> bool {
    let Some(state) = wire_within::<HardState>(bytes, MEMORY_BASE + MEMORY_PER_OWN_BYTE * bytes.len()) else {
        return false;
    };
    let chain_id = samples::chain_id();
    let signed = SignState::of_hard_state(&state, &chain_id);
    let votes = state.votes.iter().map(|signed| SignState::of_vote(signed, &chain_id));
    let proposals = state.proposals.iter().map(|signed| SignState::of_proposal(signed, &chain_id));
    let greatest = votes.chain(proposals).map(|one| (one.height, one.round, one.step)).max();
    if let Some(greatest) = greatest {
        same((signed.height, signed.round, signed.step), greatest, "what was signed last is the latest message");
    }
    true
}

/// Returns the seeds of [`hard_state`].
pub fn hard_state_seeds() -> Vec<Vec<u8>> {
    vec![samples::hard_state().encode(), HardState::default().encode()]
}
