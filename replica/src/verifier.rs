//! Verification of peers' messages, on any thread, normally not the replica's.
//!
//! The replica publishes its height, round and validator sets; a thread that receives messages verifies them against
//! these. A valid signature is remembered for a while: votes arrive more than once (relayed, repeated, in certificates)
//! and need one check only.
//!
//! | message | of height | becomes |
//! |---|---|---|
//! | vote | current, next, or previous (a late vote can prove a double signature) | `Vote`, `Bad` |
//! | proposal, up to [`ROUNDS_AHEAD_MAX`] rounds ahead | current or next | `Proposal`, `Bad` |
//! | certificate | current or next | `Certificate`, `Bad` |
//! | part of a block | current or next | `Part`, `Bad` |
//! | evidence that may be in the next block | decided, and not expired | `Evidence`, `Bad` |
//! | anything else | | `Unchecked`: useless to the replica until it is at that height |
//!
//! The validators of the next height are known before the current one is decided, so its messages are verified as they
//! arrive, and an unsigned message never waits for it.
//!
//! Blocks from a peer are hashed and their commits verified here too ([`Verifier::check_blocks`]), so that the replica's
//! thread does neither.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use types::{
    BlockAndCommit, BlockResponse, Certificate, ChainId, Commit, EarlierChecks, Evidence, Hash, Height, PartSet,
    PeerMessage, PreparedKey, PublicKey, Round, SignedProposal, SignedVote, ValidatorSet, Wire, blake3,
    limits::PART_BYTES,
};

use crate::{
    Checked, CheckedBlocks, EvidenceRefusal, Offence, SyncedBlock, UnverifiedEvidence, Verification, VerifiedCommit,
    VerifiedEvidence, prepared::PreparedKeys,
};

/// Maximum number of rounds that a proposal may be ahead to be checked: finding its proposer takes turns of the
/// rotation.
pub const ROUNDS_AHEAD_MAX: u32 = 100;

/// Maximum number of signatures that are remembered as valid: two votes of 200 validators in ten rounds.
const RECENT_MAX: usize = 4096;

/// The position of the replica, as far as verification needs it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub height: Height,
    pub round: Round,
    pub validators: Arc<ValidatorSet>,
    /// The validators of the height after the current one, rotated for it.
    pub next_validators: Arc<ValidatorSet>,
    /// The validators of the height before; `None` before the first block.
    pub last_validators: Option<Arc<ValidatorSet>>,
}

/// Checks evidence against the store of the replica, whose type is of no interest here. `Ok(None)`: evidence with the
/// same key waits for a block already.
pub(crate) type CheckEvidence =
    Box<dyn Fn(Evidence) -> Result<Option<VerifiedEvidence>, EvidenceRefusal> + Send + Sync>;

/// Verifies messages of peers; clones share all state.
#[derive(Clone)]
pub struct Verifier(Arc<Shared>);

impl Place {
    /// Returns the validators against which messages of `height` can be checked, for the current height and the next.
    fn validators_of(&self, height: Height) -> Option<&Arc<ValidatorSet>> {
        match height {
            height if height == self.height => Some(&self.validators),
            height if height == self.height.next() => Some(&self.next_validators),
            _ => None,
        }
    }
}

struct Shared {
    chain_id: ChainId,
    place: RwLock<Arc<Place>>,
    check_evidence: CheckEvidence,
    recent: Mutex<Recent>,
    prepared: PreparedKeys,
    checks: AtomicU64,
    hits: AtomicU64,
}

/// Hashes of votes with a valid signature; the oldest is evicted first.
#[derive(Default)]
struct Recent {
    names: HashSet<Hash>,
    order: VecDeque<Hash>,
}

impl Recent {
    fn insert(&mut self, name: Hash) {
        if !self.names.insert(name) {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }
}

impl Verifier {
    pub(crate) fn new(chain_id: ChainId, place: Place, check_evidence: CheckEvidence) -> Self {
        Self(Arc::new(Shared {
            chain_id,
            place: RwLock::new(Arc::new(place)),
            check_evidence,
            recent: Mutex::default(),
            prepared: PreparedKeys::default(),
            checks: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }))
    }

    /// Publishes the replica's new position.
    pub(crate) fn publish(&self, place: Place) {
        self.0.prepared.make_room(&place.next_validators);
        *self.0.place.write().expect("no holder of this lock panics") = Arc::new(place);
    }

    /// Returns the number of signatures checked so far.
    pub fn checks(&self) -> u64 {
        self.0.checks.load(Relaxed)
    }

    /// Returns the number of signatures that were already known to be valid.
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Relaxed)
    }

    /// Returns the memory of the signatures that are remembered and of the prepared keys, in bytes.
    pub(crate) fn remembered_bytes(&self) -> usize {
        let recent = self.0.recent.lock().expect("no holder of this lock panics");
        (recent.names.len() + recent.order.len()) * size_of::<Hash>() + self.0.prepared.bytes()
    }

    /// Returns the maximum of [`Verifier::remembered_bytes`] (I6).
    pub(crate) fn remembered_bytes_max() -> usize {
        2 * RECENT_MAX * size_of::<Hash>() + PreparedKeys::bytes_max()
    }

    /// Verifies a peer's message as far as that is possible outside of the replica.
    ///
    /// Cost: 16 to 40 µs for each signature that was not seen before, a hash of a part's bytes.
    pub fn check(&self, message: PeerMessage) -> Checked {
        let place = self.0.place.read().expect("no holder of this lock panics").clone();
        match message {
            PeerMessage::Vote(vote) => self.check_vote(&place, vote),
            PeerMessage::Proposal(proposal) => self.check_proposal(&place, proposal),
            PeerMessage::Certificate(certificate) => self.check_certificate(&place, certificate),
            PeerMessage::Part { height, round, part } if place.validators_of(height).is_some() => match part.check() {
                Ok(part) => Checked::Part { height, round, part },
                Err(error) => Checked::Bad(Offence::BadBlock(error.to_string())),
            },
            PeerMessage::Evidence(evidence) => self.check_evidence(*evidence),
            other @ (PeerMessage::Part { .. } | PeerMessage::RoundState(_)) => Checked::Unchecked(other),
        }
    }

    fn check_vote(&self, place: &Place, vote: SignedVote) -> Checked {
        let is_late = vote.vote.height.next() == place.height;
        let last = || place.last_validators.as_ref().filter(|_| is_late);
        let Some(validators) = place.validators_of(vote.vote.height).or_else(last) else {
            return Checked::Unchecked(PeerMessage::Vote(vote));
        };
        match vote.verify_by(&self.0.chain_id, validators, self) {
            Ok(vote) => {
                self.remember(&vote);
                Checked::Vote(vote)
            }
            Err(error) => Checked::Bad(Offence::BadSignature(error.to_string())),
        }
    }

    fn check_proposal(&self, place: &Place, proposal: SignedProposal) -> Checked {
        let p = &proposal.proposal;
        let round = if p.height == place.height { place.round } else { Round::ZERO };
        let Some(validators) =
            place.validators_of(p.height).filter(|_| p.round.0 <= round.0.saturating_add(ROUNDS_AHEAD_MAX))
        else {
            return Checked::Unchecked(PeerMessage::Proposal(proposal));
        };
        let proposer = validators.proposer_of_round(p.round).public_key;
        self.0.checks.fetch_add(1, Relaxed);
        match proposal.verify_by(&self.0.chain_id, &proposer, self) {
            Ok(proposal) => Checked::Proposal(proposal),
            Err(error) => Checked::Bad(Offence::BadSignature(error.to_string())),
        }
    }

    fn check_certificate(&self, place: &Place, certificate: Certificate) -> Checked {
        let Some(validators) = place.validators_of(certificate.height()) else {
            return Checked::Unchecked(PeerMessage::Certificate(certificate));
        };
        match certificate.verify_by(&self.0.chain_id, validators, self) {
            Ok(certificate) => {
                certificate.votes().iter().for_each(|vote| self.remember(vote));
                Checked::Certificate(certificate)
            }
            Err(error) => Checked::Bad(Offence::BadSignature(error.to_string())),
        }
    }

    /// Evidence that only is of no use now, here or at its sender, is no offence; nor is a row that cannot be read.
    fn check_evidence(&self, evidence: Evidence) -> Checked {
        let unchecked = PeerMessage::Evidence(Box::new(evidence.clone()));
        match (self.0.check_evidence)(evidence) {
            Ok(Some(evidence)) => Checked::Evidence(evidence),
            Err(refusal) if refusal.is_offence() => Checked::Bad(Offence::BadEvidence(refusal.to_string())),
            Ok(None) | Err(_) => Checked::Unchecked(unchecked),
        }
    }

    /// Checks a peer's response to a block request: hashes the blocks into parts, and verifies commits against the
    /// validators of the current height. If the validators have changed when the turn of a commit comes, the replica
    /// requests another verification.
    ///
    /// Cost: a hash of all bytes, and 37 µs for each signature, up to the first invalid commit.
    pub fn check_blocks(&self, response: BlockResponse) -> CheckedBlocks {
        let place = self.0.place.read().expect("no holder of this lock panics").clone();
        let chain_id = &self.0.chain_id;
        let proves = |commit: &Commit| {
            commit.height >= place.height && commit.verify_by_known(chain_id, &place.validators).is_ok()
        };
        let proven = response.latest_commit.filter(proves).map(|commit| commit.height);
        let mut holds = true;
        let check = |BlockAndCommit { block, commit }: BlockAndCommit| {
            let verified = holds.then(|| self.verification(&place, &commit));
            holds = verified.is_some_and(|verified| verified.result.is_ok());
            let parts = (block.len().div_ceil(PART_BYTES) == commit.block_id.parts.total as usize && !block.is_empty())
                .then(|| PartSet::from_bytes(&block));
            SyncedBlock { bytes: block.len(), parts, commit: Arc::new(commit), verified }
        };
        let blocks = response.blocks.into_iter().map(check).collect();
        CheckedBlocks { earliest: response.earliest, latest: response.latest, proven, blocks }
    }

    /// Verifies a commit against the validators of the current height. Cost: 37 µs for each signature.
    pub fn verify_commit(&self, commit: Arc<Commit>) -> VerifiedCommit {
        let place = self.0.place.read().expect("no holder of this lock panics").clone();
        let verification = self.verification(&place, &commit);
        VerifiedCommit { commit, verification }
    }

    fn verification(&self, place: &Place, commit: &Commit) -> Verification {
        let result = commit.verify(&self.0.chain_id, &place.validators);
        Verification { validators: place.validators.hash(), result }
    }

    /// Returns true if all these votes, of the current height or a neighbor, are signed by their validators. Cost: as
    /// [`Verifier::check`].
    pub fn hold(&self, votes: &[SignedVote]) -> bool {
        let place = self.0.place.read().expect("no holder of this lock panics").clone();
        votes.iter().all(|vote| matches!(self.check_vote(&place, vote.clone()), Checked::Vote(_)))
    }

    /// Returns true if all this evidence of a block is valid with the validators of its height. Cost: two signatures for
    /// each pair of votes, up to one for each validator of an attack on light clients.
    pub fn hold_evidence(&self, evidence: &[UnverifiedEvidence]) -> bool {
        let holds = |UnverifiedEvidence { evidence, validators }: &UnverifiedEvidence| {
            evidence.verify(&self.0.chain_id, validators).is_ok()
        };
        evidence.iter().all(holds)
    }

    /// Returns true if exactly these bytes were checked recently and were valid.
    pub(crate) fn is_known(&self, vote: &SignedVote) -> bool {
        self.0.recent.lock().expect("no holder of this lock panics").names.contains(&name(vote))
    }

    fn remember(&self, vote: &SignedVote) {
        self.0.recent.lock().expect("no holder of this lock panics").insert(name(vote));
    }
}

/// What is remembered makes a check cheaper. Each question about a vote is counted.
impl EarlierChecks for Verifier {
    fn knows(&self, vote: &SignedVote) -> bool {
        let known = self.is_known(vote);
        if known { &self.0.hits } else { &self.0.checks }.fetch_add(1, Relaxed);
        known
    }

    fn prepared(&self, key: &PublicKey) -> Option<Arc<PreparedKey>> {
        self.0.prepared.get(key)
    }
}

/// Returns the hash of all bytes of the vote, signature included: a vote that differs in any byte is another vote.
fn name(vote: &SignedVote) -> Hash {
    blake3(&vote.encode())
}

#[cfg(test)]
mod tests {
    use types::{BlockId, PartSetHeader, Power, Proposal, SecretKey, Time, Vote, VoteType};

    use super::*;

    fn chain() -> ChainId {
        ChainId::new("cairn-test").unwrap()
    }

    fn keys() -> Vec<SecretKey> {
        (1..=4).map(|seed| SecretKey::from_bytes(&[seed; 32]).unwrap()).collect()
    }

    fn place(height: u64) -> Place {
        let set = ValidatorSet::new(keys().iter().map(|key| (key.public_key(), Power(10))).collect()).unwrap();
        let validators = Arc::new(set);
        Place {
            height: Height(height),
            round: Round(2),
            last_validators: Some(validators.clone()),
            next_validators: validators.clone(),
            validators,
        }
    }

    fn vote(key: &SecretKey, vote_type: VoteType, height: u64) -> SignedVote {
        let (index, _) =
            place(height).validators.by_address(&key.public_key().address()).map(|(i, v)| (i, v.power)).unwrap();
        let validator = key.public_key().address();
        let (height, round, timestamp) = (Height(height), Round(0), Time::from_unix_millis(5));
        Vote { vote_type, height, round, block_id: None, timestamp, validator, validator_index: index }
            .sign(&chain(), key)
    }

    fn proposal(round: u32, key: &SecretKey) -> PeerMessage {
        let block_id = BlockId { hash: Hash([1; 32]), parts: PartSetHeader { total: 1, hash: Hash([2; 32]) } };
        let (height, round, timestamp) = (Height(7), Round(round), Time::from_unix_millis(5));
        PeerMessage::Proposal(Proposal { height, round, pol_round: None, block_id, timestamp }.sign(&chain(), key))
    }

    #[test]
    fn votes_of_this_height_the_next_and_the_last_are_checked() {
        let verifier = Verifier::new(chain(), place(7), Box::new(|_| Ok(None)));
        let key = &keys()[0];
        for (vote_type, height, checked) in [
            (VoteType::Prevote, 7, true),
            (VoteType::Precommit, 7, true),
            (VoteType::Precommit, 6, true),
            (VoteType::Prevote, 6, true),
            (VoteType::Prevote, 5, false),
            (VoteType::Precommit, 5, false),
            (VoteType::Prevote, 8, true),
            (VoteType::Prevote, 9, false),
        ] {
            let got = verifier.check(PeerMessage::Vote(vote(key, vote_type, height)));
            assert_eq!(matches!(got, Checked::Vote(_)), checked, "{vote_type:?} of {height}: {got:?}");
            assert_eq!(matches!(got, Checked::Unchecked(_)), !checked);
        }
    }

    #[test]
    fn a_vote_costs_one_check_however_often_it_comes() {
        let verifier = Verifier::new(chain(), place(7), Box::new(|_| Ok(None)));
        let votes: Vec<SignedVote> = keys().iter().map(|key| vote(key, VoteType::Prevote, 7)).collect();
        for _ in 0..3 {
            assert!(matches!(verifier.check(PeerMessage::Vote(votes[0].clone())), Checked::Vote(_)));
        }
        assert_eq!((verifier.checks(), verifier.hits()), (1, 2));
        let mut sorted = votes.clone();
        sorted.sort_by_key(|vote| vote.vote.validator_index);
        let certificate = Certificate::new(sorted).unwrap();
        assert!(matches!(verifier.check(PeerMessage::Certificate(certificate)), Checked::Certificate(_)));
        assert_eq!((verifier.checks(), verifier.hits()), (4, 3));
    }

    #[test]
    fn a_changed_byte_is_another_vote() {
        let verifier = Verifier::new(chain(), place(7), Box::new(|_| Ok(None)));
        let good = vote(&keys()[0], VoteType::Prevote, 7);
        verifier.check(PeerMessage::Vote(good.clone()));
        let mut bad = good.clone();
        bad.vote.timestamp = Time::from_unix_millis(6);
        assert!(matches!(verifier.check(PeerMessage::Vote(bad)), Checked::Bad(Offence::BadSignature(_))));
        let mut other = good;
        other.vote.validator_index = (other.vote.validator_index + 1) % 4;
        assert!(matches!(verifier.check(PeerMessage::Vote(other)), Checked::Bad(Offence::BadSignature(_))));
    }

    #[test]
    fn a_proposal_is_checked_against_the_proposer_of_its_round() {
        let verifier = Verifier::new(chain(), place(7), Box::new(|_| Ok(None)));
        for round in [0, 1, 2, 9] {
            let proposer = place(7).validators.proposer_of_round(Round(round)).address();
            for key in keys() {
                let got = verifier.check(proposal(round, &key));
                let right = key.public_key().address() == proposer;
                assert_eq!(matches!(got, Checked::Proposal(_)), right);
                assert_eq!(matches!(got, Checked::Bad(_)), !right);
            }
        }
        assert!(matches!(verifier.check(proposal(2 + ROUNDS_AHEAD_MAX + 1, &keys()[0])), Checked::Unchecked(_)));
    }

    #[test]
    fn remembered_results_are_bounded() {
        let mut recent = Recent::default();
        for i in 0..2 * RECENT_MAX as u64 {
            recent.insert(blake3(&i.to_be_bytes()));
        }
        assert_eq!((recent.names.len(), recent.order.len()), (RECENT_MAX, RECENT_MAX));
    }
}
