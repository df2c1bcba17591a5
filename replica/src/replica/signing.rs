//! What our keys sign: whether it may sign, and what is durable before a signed message leaves.

use std::collections::{BTreeMap, BTreeSet};

use consensus::Input as EngineInput;
use storage::{Kv, StoreError};
use types::{
    Address, BlockId, ConsensusPublicKey, ConsensusSecretKey, HardState, Height, Round, SignState, SignedVote, VoteType,
};

use super::{Replica, Turn};
use crate::{
    Halt, Phase, SigningRecord, Silence,
    guard::{self, Guard, Words},
    mutation::{Mutation, mutated},
};

/// What our keys signed, and whether they may sign.
pub(super) struct Signing {
    pub guard: Guard,
    /// Height of the tip when the replica was opened.
    pub opened_at: Height,
    /// Height up to which nothing is signed, whatever the guard decides.
    pub floor: Height,
    /// The hard state that this node wrote before it stopped, until its height starts.
    pub restored: Option<HardState>,
    /// Height of the hard state that was written last.
    pub hard_state_height: Height,
    /// Height and round of the last precommit for a block that is durable together with the block.
    pub precommitted: Option<(Height, Round)>,
    /// The newest position and messages that our key signed, kept also outside of the store by `record`.
    pub signed: SignState,
    pub record: Option<Box<dyn SigningRecord>>,
    /// True if the store holds signed messages that the signer's state did not contain when this replica was opened.
    pub is_record_behind: bool,
    /// Number of syncs to disk since the replica was opened.
    pub syncs: u64,
}

impl Signing {
    /// Makes `signed` durable outside of the store, if it is later than the recorded state.
    fn keep(&mut self, signed: &SignState) -> Result<(), StoreError> {
        if signed.hrs() <= self.signed.hrs() {
            return Ok(());
        }
        self.signed = signed.clone();
        let Some(record) = &mut self.record else { return Ok(()) };
        record.begin(signed);
        record.finish()
    }
}

impl<K: Kv> Replica<K> {
    /// Starts to sign from now on, if enough is known.
    pub(super) fn ask_to_sign(&mut self, turn: &mut Turn<'_>) {
        let height = self.chain.height();
        let may_ask = self.is_live() && (height > self.signing.floor || mutated(Mutation::IgnoreFloor));
        // At a height that others have already decided there is nothing to sign.
        let is_decided = || self.engine.votes().decision().next().is_some();
        if self.signing.guard.signs() || self.engine.own_index().is_none() || !may_ask || is_decided() {
            return;
        }
        let (words, total) = (self.words(), self.chain.validators.total_power());
        if self.signing.guard.look(height, self.now, self.config.gossip_interval, words, total) {
            self.drive(turn, EngineInput::SignAgain);
        }
        self.seal_if_due(height);
    }

    /// Returns the votes of other validators at the height being decided.
    fn words(&self) -> Words {
        if !self.is_live() {
            return Words::default();
        }
        guard::words(
            &self.engine,
            self.signing.guard.words_count_from(),
            self.signing.guard.known_round(self.engine.height()),
        )
    }

    /// Makes it durable that nothing is signed at a height at which this node abstains.
    pub(super) fn seal_if_due(&mut self, height: Height) {
        if self.signing.guard.must_seal(height) && self.is_validator() {
            self.engine.seal(height);
            let kept = self.engine.signer().filter(|_| !self.halted).map(|signer| self.signing.keep(signer.state()));
            if let Some(Err(error)) = kept {
                self.halt(error);
            }
        }
    }

    /// Returns the key with which we sign at the height being decided, if it is in the set; `None` for a full node.
    pub(super) fn own(&self) -> Option<&ConsensusPublicKey> {
        self.engine.signer().map(|signer| signer.key_in(&self.chain.validators))
    }

    /// Returns true if a key with this address is ours.
    pub(super) fn is_own(&self, address: &Address) -> bool {
        self.engine.signer().is_some_and(|signer| signer.is_own(address))
    }

    fn is_validator(&self) -> bool {
        self.own().is_some_and(|own| self.chain.validators.by_address(&own.address()).is_some())
    }

    /// Holds a further consensus key, which signs from the first height on whose set has it and not the present one. A full
    /// node holds no key.
    pub fn hold(&mut self, key: ConsensusSecretKey) {
        self.engine.hold(key);
    }

    /// Returns the reason why our validator does not sign.
    pub(super) fn silence(&self) -> Option<Silence> {
        let (height, tip) = (self.chain.height(), self.chain.tip.height);
        if !self.is_validator() {
            return None;
        }
        if height <= self.signing.floor {
            return Some(Silence::SignedAhead { signed: self.signing.floor, tip });
        }
        if self.signing.guard.signs() {
            return None;
        }
        self.signing.guard.silence(height, self.words(), self.chain.validators.total_power())
    }

    /// Returns true if a vote may be counted. A vote of ours that is unknown here halts the node while we sign, because
    /// another process signs with our key; while we abstain, it ends all signing at its height.
    pub(super) fn check_own(&mut self, vote: &SignedVote) -> bool {
        let height = vote.vote.height;
        if !self.is_own(&vote.vote.validator) || guard::is_known(vote, &self.engine.hard_state()) {
            return true;
        }
        if height > self.signing.floor && self.signing.guard.on_unknown_vote(height) {
            self.halt(Halt::AnotherSigner { height });
            return false;
        }
        self.seal_if_due(height);
        true
    }

    /// Keeps what the key signs also in `record`, from now on: no message is sent before it is durable there.
    ///
    /// The store may hold signed messages that a failed write kept from this record. They are sent again, so they are
    /// written to the record first.
    ///
    /// Errors: those of the record.
    pub fn keep_signed_in(&mut self, mut record: impl SigningRecord + 'static) -> Result<(), StoreError> {
        if self.signing.is_record_behind {
            record.begin(&self.signing.signed);
            record.finish()?;
        }
        self.signing.record = Some(Box::new(record));
        Ok(())
    }

    /// Makes the hard state durable, with the bytes of the blocks that it names, in one disk sync.
    pub(super) fn write_ahead(&mut self, hard_state: &HardState) {
        let locks = [hard_state.locked, hard_state.valid].into_iter().flatten().map(|lock| lock.block_id);
        let proposed = hard_state.proposals.iter().map(|signed| signed.proposal.block_id);
        let precommitted = precommits(hard_state).map(|(_, id)| id);
        let ids: BTreeSet<BlockId> = locks.chain(proposed).chain(precommitted).collect();
        let at_hand = |id: BlockId| {
            self.blocks.get(&id).filter(|entry| entry.parts.is_complete()).map(|entry| (id, entry.bytes.as_slice()))
        };
        // A block that an earlier write-ahead named was written with it, and may have been evicted from memory since.
        let blocks: BTreeMap<BlockId, &[u8]> = ids.into_iter().filter_map(at_hand).collect();
        for ((height, round), id) in precommits(hard_state).filter(|(at, _)| Some(*at) > self.signing.precommitted) {
            assert!(
                blocks.contains_key(&id),
                "I4: the precommit for block {id} at height {height}, round {round} is not in one write with the block's bytes"
            );
        }
        let blocks: Vec<(BlockId, &[u8])> = blocks.into_iter().collect();
        (self.on_phase)(Phase::WriteAhead);
        self.signing.signed.raise_to(SignState::of_hard_state(hard_state, &self.chain.id));
        let mut record = self.signing.record.as_mut().filter(|_| !mutated(Mutation::SkipRecord));
        if let Some(record) = &mut record {
            record.begin(&self.signing.signed);
        }
        let written = self.store.write_ahead(hard_state, &blocks);
        let written = written.and_then(|()| record.map_or(Ok(()), |record| record.finish()));
        (self.on_phase)(Phase::Rest);
        if let Err(error) = written {
            return self.halt(error);
        }
        self.signing.syncs += 1;
        self.signing.hard_state_height = hard_state.height;
        self.signing.precommitted = self.signing.precommitted.max(precommits(hard_state).map(|(at, _)| at).max());
    }
}

/// Returns the precommits for blocks in a hard state: height and round, and the block.
pub(super) fn precommits(hard_state: &HardState) -> impl Iterator<Item = ((Height, Round), BlockId)> {
    let votes = hard_state.votes.iter().map(|signed| &signed.vote).filter(|vote| vote.vote_type == VoteType::Precommit);
    votes.filter_map(|vote| Some(((vote.height, vote.round), vote.block_id?)))
}
