//! Checks peers' messages away from the host, on any thread.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use types::{
    Certificate, ChainId, Hash, Height, PeerMessage, Round, SignedProposal, SignedVote, ValidatorSet, VerifiedVote,
    VoteType, Wire, blake3,
};

use crate::{Checked, Offence};

/// Against what messages are checked: published by the host at each new height.
#[derive(Debug)]
struct Context {
    height: Height,
    validators: ValidatorSet,
    /// The validators of the height before, for late precommits.
    last_validators: Option<ValidatorSet>,
}

/// Votes whose signature was checked, so that one that comes again (repeated, relayed, in a certificate) costs no second check.
#[derive(Debug, Default)]
struct Seen {
    young: BTreeSet<Hash>,
    old: BTreeSet<Hash>,
}

/// Votes remembered in each of two generations: those of 20 rounds of 100 validators.
const SEEN_MAX: usize = 4096;

/// Rounds ahead of which a proposer is computed; a proposal further ahead is not looked at.
const PROPOSAL_ROUND_MAX: Round = Round(10_000);

/// Checks signatures of votes, proposals and certificates of the host's current height. Cheap to clone, for any thread.
#[derive(Clone, Debug)]
pub struct Verifier {
    chain_id: ChainId,
    context: Arc<RwLock<Arc<Context>>>,
    seen: Arc<Mutex<Seen>>,
    checks: Arc<AtomicU64>,
}

impl Verifier {
    pub(crate) fn new(
        chain_id: ChainId,
        height: Height,
        validators: ValidatorSet,
        last_validators: Option<ValidatorSet>,
    ) -> Self {
        let context = Arc::new(Context { height, validators, last_validators });
        Self { chain_id, context: Arc::new(RwLock::new(context)), seen: Arc::default(), checks: Arc::default() }
    }

    /// From now on messages of `height` are checked.
    pub(crate) fn enter(&self, height: Height, validators: ValidatorSet, last_validators: ValidatorSet) {
        let context = Arc::new(Context { height, validators, last_validators: Some(last_validators) });
        *self.context.write().unwrap_or_else(PoisonError::into_inner) = context;
    }

    /// Signatures checked since the start.
    pub fn checks(&self) -> u64 {
        self.checks.load(Relaxed)
    }

    /// Checks what can be checked now. What is of another height comes back as [`Checked::Unchecked`].
    ///
    /// Cost: one signature check for each vote or proposal not seen before.
    pub fn check(&self, message: PeerMessage) -> Checked {
        let context = Arc::clone(&self.context.read().unwrap_or_else(PoisonError::into_inner));
        match message {
            PeerMessage::Vote(signed) => self.check_vote(&context, signed),
            PeerMessage::Proposal(signed) => self.check_proposal(&context, signed),
            PeerMessage::Certificate(certificate) => self.check_certificate(&context, certificate),
            other => Checked::Unchecked(other),
        }
    }

    fn check_vote(&self, context: &Context, signed: SignedVote) -> Checked {
        let vote = &signed.vote;
        let late = vote.height.next() == context.height && vote.vote_type == VoteType::Precommit;
        let validators = match &context.last_validators {
            _ if vote.height == context.height => &context.validators,
            Some(last) if late => last,
            _ => return Checked::Unchecked(PeerMessage::Vote(signed)),
        };
        match self.verify(signed, validators) {
            Ok(vote) => Checked::Vote(vote),
            Err(error) => Checked::Bad(Offence::BadSignature(error.to_string())),
        }
    }

    fn verify(&self, signed: SignedVote, validators: &ValidatorSet) -> Result<VerifiedVote, types::VoteError> {
        let name = blake3(&signed.encode());
        let at_its_place =
            validators.get(signed.vote.validator_index).is_some_and(|v| v.address() == signed.vote.validator);
        if at_its_place && self.was_seen(&name) {
            return Ok(VerifiedVote::of_own(signed, validators));
        }
        self.checks.fetch_add(1, Relaxed);
        let verified = signed.verify(&self.chain_id, validators)?;
        self.remember(name);
        Ok(verified)
    }

    fn was_seen(&self, name: &Hash) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.young.contains(name) || seen.old.contains(name)
    }

    fn remember(&self, name: Hash) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.young.len() >= SEEN_MAX {
            seen.old = std::mem::take(&mut seen.young);
        }
        seen.young.insert(name);
    }

    fn check_proposal(&self, context: &Context, signed: SignedProposal) -> Checked {
        let (height, round) = (signed.proposal.height, signed.proposal.round);
        if height != context.height || round > PROPOSAL_ROUND_MAX {
            return Checked::Unchecked(PeerMessage::Proposal(signed));
        }
        let proposer = context.validators.proposer_of_round(round).public_key;
        self.checks.fetch_add(1, Relaxed);
        match signed.verify(&self.chain_id, &proposer) {
            Ok(proposal) => Checked::Proposal(proposal),
            Err(error) => Checked::Bad(Offence::BadSignature(error.to_string())),
        }
    }

    fn check_certificate(&self, context: &Context, certificate: Certificate) -> Checked {
        if certificate.height() != context.height {
            return Checked::Unchecked(PeerMessage::Certificate(certificate));
        }
        let votes: Result<Vec<VerifiedVote>, _> =
            certificate.votes().iter().map(|vote| self.verify(vote.clone(), &context.validators)).collect();
        match votes {
            Ok(votes) => Checked::Certificate(certificate.verified(votes)),
            Err(error) => Checked::Bad(Offence::BadSignature(error.to_string())),
        }
    }
}
