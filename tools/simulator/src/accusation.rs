//! What a validator that violates the protocol puts into its blocks as evidence: forged, repeated, expired, of a height
//! that is not decided, of another chain, with a wrong time, or twice.

use types::{
    Block, ChainId, ConsensusSecretKey, DuplicateVoteEvidence, Evidence, Hash, Height, PeerMessage, Round, Signature,
    Time, Vote, VoteType,
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
    let Evidence::DuplicateVote(mut pair) = pair(liar, liar.key, liar.chain_id, victim, height, time);
    if random.chance(500) {
        pair.vote_a.signature = Signature(std::array::from_fn(|_| random.next() as u8));
    }
    Evidence::DuplicateVote(pair)
}

/// Returns evidence against the liar itself, correctly signed.
fn confession(liar: &Liar<'_>, chain_id: &ChainId, height: Height, time: Time) -> Evidence {
    let own = liar.validators.by_address(&liar.key.public_key().address()).map_or(0, |(index, _)| index);
    pair(liar, liar.key, chain_id, own, height, time)
}

fn pair(
    liar: &Liar<'_>,
    key: &ConsensusSecretKey,
    chain_id: &ChainId,
    index: u32,
    height: Height,
    time: Time,
) -> Evidence {
    let validator = liar.validators.get(index).expect("an index in the set").address();
    let vote = |byte| {
        let hash = Hash([byte; 32]);
        let block_id = Some(types::BlockId { hash, parts: types::PartSetHeader { total: 1, hash } });
        let (vote_type, round) = (VoteType::Precommit, Round(9));
        Vote { vote_type, height, round, block_id, timestamp: time, validator, validator_index: index }
            .sign(chain_id, key)
    };
    let pair = DuplicateVoteEvidence::new(vote(1), vote(2), liar.validators, time);
    Evidence::DuplicateVote(pair.expect("the votes contradict each other"))
}
