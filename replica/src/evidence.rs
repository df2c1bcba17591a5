//! Evidence that a validator signed twice, or attacked light clients: its checks against the chain, and what of it waits for
//! a block.
//!
//! | evidence of | is |
//! |---|---|
//! | a height that is not decided here | kept if our engine found it; not judged if it comes from others |
//! | a height below the floor ([`floor_after`]) | expired: worthless |
//! | validators and a height, of each of which a block has evidence | worthless |
//! | an attack at an undecided height that is later than the tip, or at the tip with a header that may be true | not judged |
//! | the rest, with the time of the block, the powers of its set, and signatures that hold | valid |
//!
//! Whether evidence may be in a block depends on the chain alone: on the blocks up to the one before. So all validators
//! agree, whichever evidence they have heard of before, and whichever blocks they keep.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::Arc,
};

use storage::{Kv, Store, StoreError};
use thiserror::Error;
use types::{
    Address, AttackError, Evidence, EvidenceError, EvidenceKey, Hash, Height, Infraction, LightClientAttackEvidence,
    Misbehavior, MisbehaviorKind, Params, Time, ValidatorSet,
    limits::{
        ATTACK_BYTES_MAX, ATTACKS_WAITING_MAX, EVIDENCE_NAMED_MAX, EVIDENCE_PER_BLOCK_MAX, EVIDENCE_WAITING_MAX,
        EVIDENCE_WAITING_PER_VALIDATOR_MAX, VOTE_BYTES_MAX,
    },
};

use crate::mutation::{Mutation, mutated};

/// Evidence that is valid for the next block, by [`check_evidence`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEvidence(Box<Evidence>);

impl Deref for VerifiedEvidence {
    type Target = Evidence;
    fn deref(&self) -> &Evidence {
        &self.0
    }
}

/// Reason why evidence cannot be in the next block.
#[derive(Debug, Error)]
pub enum EvidenceRefusal {
    /// Its height is not decided yet.
    #[error("its height {height} is not decided yet, the last decided one is {tip}: send it again later")]
    Future {
        /// Height of the misbehavior.
        height: Height,
        /// The last decided height.
        tip: Height,
    },
    /// It is older than both bounds of age.
    #[error("it is of height {height} and has expired: the lowest height whose evidence is taken is {floor}")]
    Expired {
        /// Height of the misbehavior.
        height: Height,
        /// The lowest height whose evidence has not expired.
        floor: Height,
    },
    /// The time is not that of the block of its height.
    #[error("its time is {got}, the time of block {height} is {expected}")]
    Time {
        /// Height of the misbehavior.
        height: Height,
        /// Time in the evidence.
        got: Time,
        /// Time of the block.
        expected: Time,
    },
    /// The attack on light clients is judged only when its block, and for some the next one, is decided.
    #[error(
        "it is of an attack at height {height}, which is not decided yet, the last decided one is {tip}: send it again later"
    )]
    Undecided {
        /// Height of the conflicting block.
        height: Height,
        /// The last decided height.
        tip: Height,
    },
    /// The attack named others before the block of its height was decided.
    #[error("since block {height} is decided, the attack is judged otherwise: {error}")]
    Outdated {
        /// Height of the conflicting block.
        height: Height,
        /// What is wrong with it now.
        error: AttackError,
    },
    /// Blocks have evidence of this infraction, and of all others in it.
    #[error("it is repeated: block {block} has evidence {hash} against validator {validator} at height {height}")]
    Repeated {
        /// The validator that misbehaved.
        validator: Address,
        /// Height of the misbehavior.
        height: Height,
        /// Height of the block with the evidence.
        block: Height,
        /// Hash of the evidence in it.
        hash: Hash,
    },
    /// It proves no misbehavior of the validator.
    #[error(transparent)]
    Invalid(#[from] EvidenceError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EvidenceRefusal {
    /// Returns true if no honest node sends such evidence, wherever it is in the chain.
    pub(crate) fn is_offence(&self) -> bool {
        matches!(self, Self::Time { .. } | Self::Invalid(_))
    }
}

/// Checks whether evidence may be in the block after the tip; on any thread.
///
/// Cost: some rows; then, if it may be, a validator set and its signatures, at most one for each validator.
///
/// Errors: [`EvidenceRefusal`], the first reason found.
pub fn check_evidence<K: Kv>(store: &Store<K>, evidence: Evidence) -> Result<VerifiedEvidence, EvidenceRefusal> {
    check_place(store, &evidence)?;
    let validators = store.validators_for_evidence(evidence.height())?;
    evidence.verify(store.chain_id(), &validators)?;
    Ok(VerifiedEvidence(Box::new(evidence)))
}

/// Checks all but the powers and the signatures, of two votes also all but the validator. Cost: three rows for two votes;
/// for an attack on light clients a row for each validator that it names, five more, and a validator set.
pub(crate) fn check_place<K: Kv>(store: &Store<K>, evidence: &Evidence) -> Result<(), EvidenceRefusal> {
    evidence.check_conflict()?;
    let (height, tip) = (evidence.height(), store.tip().map_or(Height::GENESIS, |tip| tip.height));
    if height > tip {
        return Err(EvidenceRefusal::Future { height, tip });
    }
    let floor = store.evidence_floor()?;
    if height < floor {
        return Err(EvidenceRefusal::Expired { height, floor });
    }
    if let Some(refusal) = repeated(store, evidence)? {
        return Err(refusal);
    }
    let (got, expected) = (evidence.time(), store.block_time(height)?);
    if got != expected {
        return Err(EvidenceRefusal::Time { height, got, expected });
    }
    match evidence {
        Evidence::DuplicateVote(_) => Ok(()),
        Evidence::LightClientAttack(attack) => check_attack(store, attack, tip),
    }
}

/// Returns a refusal that names the first infraction, if blocks have evidence of all of them.
///
/// Errors: those of the store.
pub fn repeated<K: Kv>(store: &Store<K>, evidence: &Evidence) -> Result<Option<EvidenceRefusal>, StoreError> {
    let mut first = None;
    for infraction @ (height, validator) in evidence.infractions() {
        let Some((block, hash)) = store.committed_evidence(&infraction)? else { return Ok(None) };
        first.get_or_insert(EvidenceRefusal::Repeated { validator, height, block, hash });
    }
    Ok(first)
}

/// Compares an attack on light clients with the chain. No signature is checked.
fn check_attack<K: Kv>(
    store: &Store<K>,
    attack: &LightClientAttackEvidence,
    tip: Height,
) -> Result<(), EvidenceRefusal> {
    let (header, id) = (&attack.conflicting.header, attack.conflicting.commit.block_id);
    let height = header.height;
    // The chain's time only grows, so a block above the tip that is not later than the tip cannot become one of its own.
    let trusted = match height > tip {
        true if header.time > store.block_time(tip)? => return Err(EvidenceRefusal::Undecided { height, tip }),
        true => None,
        false => Some(store.trusted_block(height)?),
    };
    // Who signed the tip is decided by the next block.
    let is_open = |trusted: &types::TrustedBlock| {
        trusted.commit.is_none() && trusted.hash != id.hash && !attack.is_lunatic(trusted)
    };
    if trusted.as_ref().is_some_and(is_open) {
        return Err(EvidenceRefusal::Undecided { height, tip });
    }
    let common = store.validators_for_evidence(attack.common_height)?;
    match attack.check_attack(trusted.as_ref(), &common) {
        // Whether the height is decided can change who misbehaved, and other nodes may be ahead of this one, or behind.
        Err(AttackError::Named { .. }) if height > tip => Err(EvidenceRefusal::Undecided { height, tip }),
        Err(error @ AttackError::Named { .. })
            if attack.common_height < height && header.time <= time_before(store, height)? =>
        {
            Err(EvidenceRefusal::Outdated { height, error })
        }
        checked => Ok(checked.map_err(EvidenceError::from)?),
    }
}

/// Returns the time of the block before `height`, which is above that of the first block whose evidence is kept.
fn time_before<K: Kv>(store: &Store<K>, height: Height) -> Result<Time, StoreError> {
    store.block_time(height.prev().unwrap_or_default())
}

/// Returns the infractions of evidence that no block has evidence of; none if it cannot be in the next block, or a row
/// cannot be read. Two votes that wait are fresh until a block has them.
pub(crate) fn fresh<K: Kv>(store: &Store<K>, evidence: &Evidence) -> Vec<Infraction> {
    let mut infractions = evidence.infractions();
    if let Evidence::LightClientAttack(_) = evidence {
        let is_usable = check_place(store, evidence).is_ok();
        infractions.retain(|infraction| is_usable && matches!(store.committed_evidence(infraction), Ok(None)));
    }
    infractions
}

/// Returns what the application is informed of for the evidence of the block after the tip: each infraction once, and
/// none that an earlier block has evidence of.
///
/// Errors: `Damaged` or `Io` when a row cannot be read.
pub(crate) fn misbehavior_in<K: Kv>(store: &Store<K>, list: &[Evidence]) -> Result<Vec<Misbehavior>, StoreError> {
    let (mut seen, mut news) = (BTreeSet::new(), Vec::new());
    for misbehavior in list.iter().flat_map(Evidence::misbehavior) {
        let infraction = (misbehavior.height, misbehavior.validator);
        if seen.insert(infraction) && store.committed_evidence(&infraction)?.is_none() {
            news.push(misbehavior);
        }
    }
    Ok(news)
}

/// Reason why the evidence of a block makes the block invalid.
#[derive(Debug, Error)]
pub(crate) enum BlockEvidenceFault {
    #[error("{got} bytes of evidence, the parameters allow {max}")]
    Size { got: usize, max: u64 },
    #[error("evidence {hash} of height {height} names no validator that evidence before it does not name")]
    Twice { hash: Hash, height: Height },
    #[error("evidence {hash} cannot be in this block: {refusal}")]
    Refused { hash: Hash, refusal: EvidenceRefusal },
}

/// Evidence in a block whose signatures were not checked here before.
#[derive(Clone, Debug)]
pub struct UnverifiedEvidence {
    /// The evidence to verify.
    pub evidence: Evidence,
    /// The validators of its height.
    pub validators: Arc<ValidatorSet>,
}

/// Checks all of a block's evidence as [`check_place`] does, and that each piece proves something that neither an earlier
/// block nor an earlier piece does. Refusals that `is_excused` names are passed over. Cost: that of [`check_place`] for each
/// piece, and a row for each validator that an attack names.
///
/// Errors: [`BlockEvidenceFault`], the first found. If it contains an error of the store, nothing is known about the block.
pub(crate) fn check_list<K: Kv>(
    store: &Store<K>,
    params: &Params,
    list: &[Evidence],
    is_excused: impl Fn(&EvidenceRefusal) -> bool,
) -> Result<(), BlockEvidenceFault> {
    if list.is_empty() {
        return Ok(());
    }
    let (got, max) = (Evidence::list_bytes(list), params.evidence.bytes_max);
    if got as u64 > max {
        return Err(BlockEvidenceFault::Size { got, max });
    }
    let mut before = BTreeSet::new();
    for evidence in list {
        let refused = |refusal| BlockEvidenceFault::Refused { hash: evidence.hash(), refusal };
        let is_excused = match check_place(store, evidence) {
            Ok(()) => false,
            Err(refusal) if is_excused(&refusal) => true,
            Err(refusal) => return Err(refused(refusal)),
        };
        let mut is_news = false;
        for infraction in evidence.infractions() {
            let is_first = before.insert(infraction);
            is_news |= is_first
                && (is_excused
                    || store.committed_evidence(&infraction).map_err(|error| refused(error.into()))?.is_none());
        }
        if !is_news {
            return Err(BlockEvidenceFault::Twice { hash: evidence.hash(), height: evidence.height() });
        }
    }
    Ok(())
}

/// Returns the lowest height whose evidence has not expired after the block of `height` with this time, which follows
/// the tip: evidence has expired when it is older than both bounds of age. `floor` is the result for the tip, and the
/// result is never lower.
///
/// Cost: usually two rows; at most twice the logarithm of the heights that expire.
///
/// Errors: `Damaged` or `Io` when a row is missing or cannot be read.
pub(crate) fn floor_after<K: Kv>(
    store: &Store<K>,
    params: &Params,
    floor: Height,
    height: Height,
    time: Time,
) -> Result<Height, StoreError> {
    let is_old = |at: u64| Ok::<_, StoreError>(time.since(store.block_time(Height(at))?) > params.evidence.age_max);
    // Heights below `low` have expired, those from `high` on have not.
    let (mut low, mut high) = (floor.0, height.0.saturating_sub(params.evidence.age_heights_max));
    let mut step = 1;
    while low < high {
        let at = low + step.min((high - low).div_ceil(2)) - 1;
        match is_old(at)? {
            true => (low, step) = (at + 1, step.saturating_mul(2)),
            false => high = at,
        }
    }
    Ok(Height(low))
}

/// Maximum bytes of the tags of a piece of evidence in a list.
const LIST_TAG_BYTES_MAX: usize = 16;

/// Maximum encoded bytes of two votes that contradict each other: the votes, two powers and a time, with tags.
const PAIR_BYTES_MAX: usize = 2 * (VOTE_BYTES_MAX + LIST_TAG_BYTES_MAX) + 64;

/// The evidence that waits for a block: verified, or found by our engine. The store has the same.
///
/// Bounds: [`EVIDENCE_WAITING_MAX`] pairs of votes, [`EVIDENCE_WAITING_PER_VALIDATOR_MAX`] of one validator, and
/// [`ATTACKS_WAITING_MAX`] attacks on light clients; a further one is refused.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pieces: BTreeMap<EvidenceKey, Evidence>,
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Returns the encoded bytes of the evidence that waits.
    pub fn bytes(&self) -> usize {
        self.pieces.values().map(|evidence| Evidence::list_bytes(std::slice::from_ref(evidence))).sum()
    }

    /// Returns the maximum of [`Waiting::bytes`] (I6).
    pub fn bytes_max() -> usize {
        EVIDENCE_WAITING_MAX * PAIR_BYTES_MAX + ATTACKS_WAITING_MAX * (ATTACK_BYTES_MAX + LIST_TAG_BYTES_MAX)
    }

    pub fn has(&self, key: &EvidenceKey) -> bool {
        self.pieces.contains_key(key)
    }

    /// Returns true if exactly this evidence waits.
    pub fn knows(&self, evidence: &Evidence) -> bool {
        if mutated(Mutation::AcceptUnverifiedEvidence) {
            return true;
        }
        self.pieces.get(&evidence.key()) == Some(evidence)
    }

    /// Checks the evidence of a block, and returns what was not verified here before.
    ///
    /// Cost: that of [`check_list`], and a validator set for each piece that is returned.
    ///
    /// Errors: those of [`check_list`].
    pub fn check_of_block<K: Kv>(
        &self,
        store: &Store<K>,
        params: &Params,
        list: &[Evidence],
    ) -> Result<Vec<UnverifiedEvidence>, BlockEvidenceFault> {
        check_list(store, params, list, Self::is_excused)?;
        let unverified = |evidence: &Evidence| match store.validators_for_evidence(evidence.height()) {
            Ok(validators) => Ok(UnverifiedEvidence { evidence: evidence.clone(), validators: Arc::new(validators) }),
            Err(error) => Err(BlockEvidenceFault::Refused { hash: evidence.hash(), refusal: error.into() }),
        };
        list.iter().filter(|evidence| !self.knows(evidence)).map(unverified).collect()
    }

    /// Returns true for a refusal that a broken rule passes over.
    fn is_excused(refusal: &EvidenceRefusal) -> bool {
        match refusal {
            EvidenceRefusal::Repeated { .. } => mutated(Mutation::AcceptRepeatedEvidence),
            EvidenceRefusal::Expired { .. } => mutated(Mutation::AcceptExpiredEvidence),
            EvidenceRefusal::Invalid(EvidenceError::Attack(AttackError::Named { .. })) => {
                mutated(Mutation::AcceptNamedEvidence)
            }
            _ => false,
        }
    }

    /// Adds evidence. Returns false, without effect, if there is some of the same infractions, or no room.
    pub fn add(&mut self, evidence: Evidence) -> bool {
        let key = evidence.key();
        let is_welcome = !self.has(&key) && self.has_room_for(&evidence);
        if is_welcome {
            self.pieces.insert(key, evidence);
        }
        is_welcome
    }

    fn has_room_for(&self, evidence: &Evidence) -> bool {
        let attacks = self.attacks().count();
        match evidence {
            Evidence::DuplicateVote(_) => {
                let validator = evidence.key().1;
                let of_validator = self.pieces.keys().filter(|(_, other)| *other == validator).count();
                self.len() - attacks < EVIDENCE_WAITING_MAX && of_validator < EVIDENCE_WAITING_PER_VALIDATOR_MAX
            }
            Evidence::LightClientAttack(_) => {
                let of_height = self.pieces.values().filter(|other| other.height() == evidence.height());
                let known: BTreeSet<Infraction> = of_height.flat_map(Evidence::infractions).collect();
                attacks < ATTACKS_WAITING_MAX && !evidence.infractions().iter().all(|one| known.contains(one))
            }
        }
    }

    fn attacks(&self) -> impl Iterator<Item = &Evidence> {
        self.pieces.values().filter(|evidence| matches!(evidence, Evidence::LightClientAttack(_)))
    }

    /// Returns evidence of decided heights up to `tip` for a block, the oldest first, within `bytes_max` bytes of a list.
    /// `fresh` returns the infractions of evidence that no block has evidence of, as [`fresh`] does.
    pub fn for_block(
        &self,
        tip: Height,
        bytes_max: u64,
        fresh: impl Fn(&Evidence) -> Vec<Infraction>,
    ) -> Vec<Evidence> {
        if mutated(Mutation::WithholdEvidence) {
            return Vec::new();
        }
        let (mut left, mut named, mut before, mut chosen) = (bytes_max, 0, BTreeSet::new(), Vec::new());
        for evidence in self.pieces.values().take_while(|evidence| evidence.height() <= tip) {
            let bytes = Evidence::list_bytes(std::slice::from_ref(evidence)) as u64;
            let fits = bytes <= left && named + evidence.named() <= EVIDENCE_NAMED_MAX;
            let is_withheld =
                mutated(Mutation::WithholdAttacks) && evidence.kind() == MisbehaviorKind::LightClientAttack;
            if chosen.len() == EVIDENCE_PER_BLOCK_MAX || !fits || is_withheld {
                continue;
            }
            let mut is_news = false;
            fresh(evidence).into_iter().for_each(|infraction| is_news |= before.insert(infraction));
            if is_news {
                (left, named) = (left - bytes, named + evidence.named());
                chosen.push(evidence.clone());
            }
        }
        chosen
    }

    /// Removes what a block has evidence of, in `committed`, what adds nothing to that, and what has expired below
    /// `floor`. `is_committed` says whether a block has evidence of an infraction. Returns the keys of what the block does
    /// not contain.
    ///
    /// Errors: those of `is_committed`.
    pub fn on_committed(
        &mut self,
        committed: &[Evidence],
        floor: Height,
        is_committed: impl Fn(&Infraction) -> Result<bool, StoreError>,
    ) -> Result<Vec<EvidenceKey>, StoreError> {
        let mut heights = BTreeSet::new();
        for evidence in committed {
            self.pieces.remove(&evidence.key());
            heights.insert(evidence.height());
            for infraction in evidence.infractions() {
                self.pieces.remove(&infraction); // two votes of a validator that an attack names
            }
        }
        let live = self.pieces.split_off(&(floor, Address::default()));
        let mut gone: Vec<EvidenceKey> = std::mem::replace(&mut self.pieces, live).into_keys().collect();
        for evidence in self.attacks().filter(|evidence| heights.contains(&evidence.height())) {
            let mut is_news = false;
            for infraction in evidence.infractions() {
                is_news |= !is_committed(&infraction)?;
            }
            if !is_news {
                gone.push(evidence.key());
            }
        }
        gone.iter().for_each(|key| drop(self.pieces.remove(key)));
        Ok(gone)
    }

    /// Gives the evidence of `height` the time of its block, which is decided now, and returns it.
    pub fn decide(&mut self, height: Height, time: Time) -> Vec<Evidence> {
        let of_height = self.pieces.range_mut((height, Address::default())..).take_while(|((at, _), _)| *at == height);
        let decided = of_height.map(|(_, evidence)| {
            evidence.set_time(time);
            evidence.clone()
        });
        decided.collect()
    }
}

#[cfg(test)]
mod tests {
    use types::{
        BlockId, ChainId, ConsensusSecretKey, DuplicateVoteEvidence, KeyType, PartSetHeader, Power, Round, Vote,
        VoteType,
    };

    use super::*;

    fn key(seed: u8) -> ConsensusSecretKey {
        ConsensusSecretKey::from_bytes(KeyType::Secp256k1, &[seed; 32]).unwrap()
    }

    fn evidence(seed: u8, height: u64) -> Evidence {
        let set = ValidatorSet::new(vec![(key(seed).public_key(), Power(1))]).unwrap();
        let (height, timestamp, validator) =
            (Height(height), Time::from_unix_millis(1), key(seed).public_key().address());
        let vote = |byte| {
            let hash = Hash([byte; 32]);
            let block_id = Some(BlockId { hash, parts: PartSetHeader { total: 1, hash } });
            let (vote_type, round) = (VoteType::Prevote, Round(0));
            Vote { vote_type, height, round, block_id, timestamp, validator, validator_index: 0 }
                .sign(&ChainId::new("c").unwrap(), &key(seed))
        };
        Evidence::DuplicateVote(DuplicateVoteEvidence::new(vote(1), vote(2), &set, timestamp).unwrap())
    }

    #[test]
    fn what_waits_is_bounded_per_validator_and_in_total() {
        let mut waiting = Waiting::default();
        let mut added = 0;
        for seed in 1..=100 {
            let of_one = (1..=20).filter(|height| waiting.add(evidence(seed, *height))).count();
            assert_eq!(of_one, EVIDENCE_WAITING_PER_VALIDATOR_MAX.min(EVIDENCE_WAITING_MAX - added), "{seed}");
            added += of_one;
        }
        assert_eq!(waiting.len(), EVIDENCE_WAITING_MAX);
        assert!(waiting.has(&evidence(1, 1).key()) && waiting.knows(&evidence(1, 1)));
    }

    #[test]
    fn a_block_takes_decided_evidence_within_its_bytes_the_oldest_first() {
        let mut waiting = Waiting::default();
        for height in [3, 1, 2, 5] {
            assert!(waiting.add(evidence(1, height)) && !waiting.add(evidence(1, height)));
        }
        let heights = |bytes| {
            waiting.for_block(Height(4), bytes, Evidence::infractions).iter().map(|e| e.height().0).collect::<Vec<_>>()
        };
        assert_eq!(heights(10_000), [1, 2, 3], "height 5 is not decided");
        let two = Evidence::list_bytes(&[evidence(1, 1), evidence(1, 2)]) as u64;
        assert_eq!((heights(two), heights(two - 1), heights(0)), (vec![1, 2], vec![1], vec![]));
    }

    #[test]
    fn what_is_in_a_block_or_expired_waits_no_more_and_a_decided_height_gives_its_time() {
        let mut waiting = Waiting::default();
        (1..=5).for_each(|height| assert!(waiting.add(evidence(1, height))));
        assert_eq!(
            waiting.on_committed(&[evidence(1, 4)], Height(3), |_| Ok(true)).unwrap(),
            [evidence(1, 1), evidence(1, 2)].map(|e| e.key())
        );
        assert_eq!(waiting.len(), 2);
        let time = Time::from_unix_millis(9);
        let decided = waiting.decide(Height(5), time);
        assert_eq!(decided.iter().map(|e| (e.height(), e.time())).collect::<Vec<_>>(), [(Height(5), time)]);
        assert_eq!(waiting.for_block(Height(5), 10_000, Evidence::infractions)[1], decided[0]);
        assert_eq!(waiting.decide(Height(6), time), []);
    }
}
