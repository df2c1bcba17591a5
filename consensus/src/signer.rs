//! The consensus keys of a validator, behind one guard that prevents double signing.

use thiserror::Error;
use types::{
    Address, ChainId, ConsensusPublicKey, ConsensusSecretKey, Height, Proposal, Round, SignState, Signature,
    SignedProposal, SignedVote, ValidatorSet, Vote,
};

use crate::mutation::{Mutation, is_any_rule_broken, mutated};

/// Refusal to sign a message that contradicts, or may contradict, one that was signed before.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "refused to sign for height {}, round {}, step {}: height {}, round {}, step {} is signed already",
    asked.0, asked.1, asked.2, signed.0, signed.1, signed.2
)]
pub struct DoubleSign {
    /// Height, round and step of the message to be signed.
    pub asked: (Height, Round, u8),
    /// Height, round and step of the message that was signed last.
    pub signed: (Height, Round, u8),
}

/// Signs proposals and votes, at most one for each (height, round, type), whatever the key (I1).
///
/// A validator that replaces its key holds the old one and the new one: at each height it signs with the one that is in the
/// set of the height. Both are behind one guard, so nothing is signed twice, although the new key has signed nothing yet.
///
/// The signed (height, round, step) only grows: no message at or below the last one is signed. The only exception is a
/// message with exactly the bytes that were signed last, for which the same signature is returned.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The keys, at least one.
    keys: Vec<Key>,
    /// The key that signs at this height: a place in `keys`.
    current: usize,
    state: SignState,
}

#[derive(Clone, Debug)]
struct Key {
    secret: ConsensusSecretKey,
    public: ConsensusPublicKey,
}

impl Key {
    fn new(secret: ConsensusSecretKey) -> Self {
        Self { public: secret.public_key(), secret }
    }
}

impl Signer {
    /// Creates a signer from a key and the state of what it signed last.
    pub fn new(key: impl Into<ConsensusSecretKey>, state: SignState) -> Self {
        Self { keys: vec![Key::new(key.into())], current: 0, state }
    }

    /// Holds a further key, which signs from the first height on whose set has it and not the others. A key that is held
    /// already changes nothing.
    pub fn hold(&mut self, key: ConsensusSecretKey) {
        let key = Key::new(key);
        if !self.is_own(&key.public.address()) {
            self.keys.push(key);
        }
    }

    /// Chooses the key that signs at a height with this set, and returns its index in the set. If the set has several
    /// keys, the one that signed before stays; if it has none, nothing changes.
    pub fn choose(&mut self, validators: &ValidatorSet) -> Option<u32> {
        let (place, index) = self.member(validators)?;
        self.current = place;
        Some(index)
    }

    /// Returns the key that would sign at a height with this set.
    pub fn key_in(&self, validators: &ValidatorSet) -> &ConsensusPublicKey {
        &self.keys[self.member(validators).map_or(self.current, |(place, _)| place)].public
    }

    /// Returns the place of the key that is in a set, and its index there.
    fn member(&self, validators: &ValidatorSet) -> Option<(usize, u32)> {
        let places = std::iter::once(self.current).chain(0..self.keys.len());
        let index = |place: usize| validators.by_address(&self.keys[place].public.address()).map(|(index, _)| index);
        places.filter_map(|place| Some((place, index(place)?))).next()
    }

    /// Returns the addresses of all keys.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        self.keys.iter().map(|key| key.public.address())
    }

    /// Returns true if a key with this address is held.
    pub fn is_own(&self, address: &Address) -> bool {
        self.addresses().any(|own| own == *address)
    }

    /// Returns the public half of the key that signs at this height.
    pub fn public_key(&self) -> &ConsensusPublicKey {
        &self.keys[self.current].public
    }

    /// Returns the validator address of that key.
    pub fn address(&self) -> Address {
        self.public_key().address()
    }

    fn secret(&self) -> &ConsensusSecretKey {
        &self.keys[self.current].secret
    }

    /// Returns what was signed last, for export.
    pub fn state(&self) -> &SignState {
        &self.state
    }

    /// Raises the signing state, so that no message at `state` or below it is signed from now on.
    pub fn raise_to(&mut self, state: SignState) {
        let expected = self.state.hrs().max(state.hrs());
        self.state.raise_to(state);
        assert!(self.state.hrs() == expected, "I1: what is signed only grows");
    }

    /// Signs a proposal of this node.
    ///
    /// Errors: [`DoubleSign`] if a proposal of the same height and round with other or unknown bytes, or any later
    /// message, was signed before.
    pub fn sign_proposal(&mut self, proposal: Proposal, chain_id: &ChainId) -> Result<SignedProposal, DoubleSign> {
        if let Some(signature) = self.guard(proposal.hrs(), &proposal.sign_bytes(chain_id))? {
            return Ok(SignedProposal { proposal, signature });
        }
        let signed = proposal.sign(chain_id, self.secret());
        self.record(SignState::of_proposal(&signed, chain_id));
        Ok(signed)
    }

    /// Signs a vote of this node.
    ///
    /// Errors: [`DoubleSign`] if a vote of the same height, round and type with other or unknown bytes, or any later
    /// message, was signed before.
    pub fn sign_vote(&mut self, vote: Vote, chain_id: &ChainId) -> Result<SignedVote, DoubleSign> {
        if let Some(signature) = self.guard(vote.hrs(), &vote.sign_bytes(chain_id))? {
            return Ok(SignedVote { vote, signature });
        }
        let signed = vote.sign(chain_id, self.secret());
        self.record(SignState::of_vote(&signed, chain_id));
        Ok(signed)
    }

    /// Records a new signature.
    fn record(&mut self, state: SignState) {
        if is_any_rule_broken() && state.hrs() <= self.state.hrs() {
            return;
        }
        assert!(state.hrs() > self.state.hrs(), "I1: {:?} is signed after {:?}", state.hrs(), self.state.hrs());
        self.raise_to(state);
        assert!(self.state.signed.is_some(), "I1: the last signature is known");
    }

    /// Returns the earlier signature if the same bytes were signed last, or `None` if the message may be signed now.
    ///
    /// Errors: [`DoubleSign`] if the message is not later than the last signed one and its bytes differ, or the last
    /// bytes are not known.
    fn guard(&self, asked: (Height, Round, u8), sign_bytes: &[u8]) -> Result<Option<Signature>, DoubleSign> {
        let signed = self.state.hrs();
        match &self.state.signed {
            _ if asked > signed || mutated(Mutation::GuardOff) => Ok(None),
            _ if asked == signed && mutated(Mutation::GuardSameStep) => Ok(None),
            Some((bytes, signature)) if asked == signed && bytes == sign_bytes => Ok(Some(*signature)),
            _ => Err(DoubleSign { asked, signed }),
        }
    }

    /// Signs a vote without the guard: for a Byzantine validator in tests, and for the mutation that proves the
    /// checkers.
    #[cfg(feature = "mutations")]
    pub fn sign_vote_unguarded(&self, vote: Vote, chain_id: &ChainId) -> SignedVote {
        vote.sign(chain_id, self.secret())
    }
}
