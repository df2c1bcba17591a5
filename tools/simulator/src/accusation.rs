//! What a validator that violates the protocol puts into its blocks as evidence: forged, repeated, expired, of a height
//! that is not decided, of another chain, with a wrong time, naming the innocent, or twice.

use types::{
    Block, BlockId, ChainId, Commit, CommitSig, ConsensusPublicKey, ConsensusSecretKey, DuplicateVoteEvidence,
    Evidence, Hash, Header, Height, LightBlock, LightClientAttackEvidence, PartSetHeader, PeerMessage, Power, Round,
    Signature, Time, Validator, ValidatorSet, Vote, VoteType,
};

use crate::{liar::Liar, random::Random};

/// Puts evidence into a block that no correct node accepts there, unless the liar's own evidence of the lowest height has
/// not expired.
pub(crate) fn accuse(liar: &Liar<'_>, random: &mut Random, mut block: Block) -> Block {
    let Some((&lowest, first)) = liar.decided.first_key_value() else { return block };
    let decided: Vec<(Height, Time)> =
        liar.decided.iter().map(|(height, committed)| (*height, committed.block.header.time)).collect();
    let (height, time) = random.pick(&decided);
    let before: Vec<&Evidence> = liar.decided.values().flat_map(|committed| &committed.block.evidence).collect();
    block.evidence = match random.below(7) {
        0 => vec![forged(liar, random, height, time)],
        1 if !before.is_empty() => vec![before[random.index(before.len())].clone()],
        2 => vec![confession(liar, liar.chain_id, lowest, first.block.header.time)],
        3 => vec![confession(liar, liar.chain_id, block.header.height, block.header.time)],
        4 => vec![confession(liar, &ChainId::new("another").expect("a name"), height, time)],
        5 => vec![confession(liar, liar.chain_id, height, Time::from_unix_nanos(time.unix_nanos() + 1))],
        6 => vec![confession(liar, liar.chain_id, height, time); 2],
        _ => vec![forged(liar, random, height, time)],
    };
    block.header.evidence_hash = Block::evidence_hash(&block.evidence);
    block
}

/// Returns a message with evidence that proves nothing.
pub(crate) fn slander(liar: &Liar<'_>, random: &mut Random, height: Height) -> PeerMessage {
    let time = liar.decided.get(&height).map_or(liar.now, |committed| committed.block.header.time);
    PeerMessage::Evidence(Box::new(forged(liar, random, height, time)))
}

/// Returns evidence against another validator, with signatures of the liar, or that no key made.
fn forged(liar: &Liar<'_>, random: &mut Random, height: Height, time: Time) -> Evidence {
    let own = liar.key.public_key().address();
    let others: Vec<u32> =
        (0..).zip(liar.validators.iter()).filter(|(_, v)| v.address() != own).map(|(i, _)| i).collect();
    let victim = if others.is_empty() { 0 } else { random.pick(&others) };
    let mut pair = pair(liar, liar.key, liar.chain_id, victim, height, time);
    if random.chance(500) {
        pair.vote_a.signature = Signature(std::array::from_fn(|_| random.next() as u8));
    }
    Evidence::DuplicateVote(pair)
}

/// Returns evidence against the liar itself, correctly signed.
fn confession(liar: &Liar<'_>, chain_id: &ChainId, height: Height, time: Time) -> Evidence {
    let own = liar.validators.by_address(&liar.key.public_key().address()).map_or(0, |(index, _)| index);
    Evidence::DuplicateVote(pair(liar, liar.key, chain_id, own, height, time))
}

fn pair(
    liar: &Liar<'_>,
    key: &ConsensusSecretKey,
    chain_id: &ChainId,
    index: u32,
    height: Height,
    time: Time,
) -> DuplicateVoteEvidence {
    let validator = liar.validators.get(index).expect("an index in the set").address();
    let vote = |byte| {
        let hash = Hash([byte; 32]);
        let block_id = Some(types::BlockId { hash, parts: types::PartSetHeader { total: 1, hash } });
        let (vote_type, round) = (VoteType::Precommit, Round(9));
        Vote { vote_type, height, round, block_id, timestamp: time, validator, validator_index: index }
            .sign(chain_id, key)
    };
    let pair = DuplicateVoteEvidence::new(vote(1), vote(2), liar.validators, time);
    pair.expect("the votes contradict each other")
}

/// Puts an attack on light clients into a block: a true one, or one that no correct node accepts there.
pub(crate) fn conspire(liar: &Liar<'_>, random: &mut Random, block: Block) -> Block {
    let decided: Vec<Height> = liar.decided.keys().copied().collect();
    let [lowest, .., last] = decided[..] else { return block };
    let common = random.pick(&decided[..decided.len() - 1]);
    let height = Height(random.within(common.0 + 1, last.0));
    let before: Vec<&Evidence> = liar.decided.values().flat_map(|committed| &committed.block.evidence).collect();
    let true_one = |common| lunatic(liar, liar.coalition, common, height.max(common), Hash([7; 32]));
    let list = match random.below(6) {
        1 if !before.is_empty() => return with_evidence(block, vec![before[random.index(before.len())].clone()]),
        2 => vec![true_one(lowest)],
        choice @ (3 | 4) => {
            let mut attack = true_one(common);
            if let Some(attack) = &mut attack {
                falsify(liar, random, attack, choice == 3);
            }
            vec![attack]
        }
        5 => vec![true_one(common), lunatic(liar, liar.coalition, common, height, Hash([8; 32]))],
        _ => vec![true_one(common)],
    };
    let list = list.into_iter().flatten().map(|attack| Evidence::LightClientAttack(Box::new(attack)));
    with_evidence(block, list.collect())
}

fn with_evidence(mut block: Block, evidence: Vec<Evidence>) -> Block {
    block.evidence = evidence;
    block.header.evidence_hash = Block::evidence_hash(&block.evidence);
    block
}

/// Names an innocent validator, or breaks a signature of the commit.
fn falsify(liar: &Liar<'_>, random: &mut Random, attack: &mut LightClientAttackEvidence, names: bool) {
    let named = |one: &&Validator| attack.byzantine.iter().any(|other| other.address() == one.address());
    let innocent = liar.validators.iter().find(|one| !named(one)).cloned();
    match innocent {
        Some(innocent) if names => {
            attack.byzantine.push(innocent);
            attack.byzantine.sort_by_key(|one| (std::cmp::Reverse(one.power), one.address()));
        }
        _ => {
            if let Some(CommitSig::Commit { signature, .. }) = attack.conflicting.commit.signatures.first_mut() {
                signature.0[random.index(64)] ^= 1;
            }
        }
    }
}

/// Returns evidence that these keys signed a block with a false state at `height`, for a light client that trusts the set
/// of the `common` height: their own set has more than 2/3 of their own power. `None` if it is no attack.
fn lunatic(
    liar: &Liar<'_>,
    keys: &[ConsensusSecretKey],
    common: Height,
    height: Height,
    app_hash: Hash,
) -> Option<LightClientAttackEvidence> {
    let header = &liar.decided.get(&height)?.block.header;
    let members: Vec<(ConsensusPublicKey, Power)> = keys.iter().map(|key| (key.public_key(), Power(10))).collect();
    let validators = ValidatorSet::new(members).ok()?;
    let header = Header { app_hash, validators_hash: validators.hash(), ..header.clone() };
    let conflicting = signed_by(liar.chain_id, header, validators, keys);
    let time = liar.decided.get(&common)?.block.header.time;
    LightClientAttackEvidence::new(conflicting, common, None, liar.validators, time).ok()
}

/// Returns a block for light clients that these keys signed in round 0.
pub fn signed_by(
    chain_id: &ChainId,
    header: Header,
    validators: ValidatorSet,
    keys: &[ConsensusSecretKey],
) -> LightBlock {
    let (hash, height) = (header.hash(), header.height);
    let block_id = BlockId { hash, parts: PartSetHeader { total: 1, hash } };
    let votes = keys.iter().filter_map(|key| {
        let validator = key.public_key().address();
        let (validator_index, _) = validators.by_address(&validator)?;
        let (vote_type, round, timestamp) = (VoteType::Precommit, Round(0), header.time);
        let block_id = Some(block_id);
        Some(Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }.sign(chain_id, key))
    });
    let votes: Vec<_> = votes.collect();
    let commit = Commit::from_votes(height, Round(0), block_id, &validators, &votes);
    LightBlock { header, commit, validators }
}
