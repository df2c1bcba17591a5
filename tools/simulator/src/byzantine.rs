//! Nodes that violate the protocol, with and without stake: a real replica whose outgoing messages are changed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use types::{
    BitSet, Block, BlockId, BlockResponse, Certificate, CommitSig, Hash, Height, Part, PartSet, PartSetHeader,
    PeerMessage, Proposal, Round, RoundState, RoundVotes, Signature, SignedProposal, SignedVote, Step, Time, Vote,
    VoteType, Wire, merkle,
};

use crate::{
    accusation::{accuse, conspire, slander},
    liar::{Behaviour, Liar},
    random::Random,
};

/// An outgoing message and its receivers.
#[derive(Clone, Debug)]
pub struct Said {
    /// Indices of the receiving nodes.
    pub to: Vec<usize>,
    /// Message that they receive.
    pub message: Arc<PeerMessage>,
}

impl Said {
    fn new(to: &[usize], message: PeerMessage) -> Self {
        Self { to: to.to_vec(), message: Arc::new(message) }
    }
}

/// A second block that is sent in place of a proposed one.
#[derive(Clone, Debug)]
struct Twin {
    proposal: SignedProposal,
    parts: Vec<Arc<Part>>,
}

/// Memory of a node that violates the protocol.
#[derive(Clone, Debug, Default)]
pub struct Twister {
    twins: BTreeMap<BlockId, Twin>,
    /// Earlier messages, which are sent again at a wrong time.
    before: VecDeque<Arc<PeerMessage>>,
    /// Time at which a node without stake last sent messages, and how often it has.
    spoke: Option<Time>,
    speeches: u32,
}

/// Minimum interval between two sends of a node without stake, so that it is active but does not fill the world's
/// queue.
const SPEECH_INTERVAL: Duration = Duration::from_millis(20);

const BEFORE_MAX: usize = 32;
const TWINS_MAX: usize = 32;

impl Twister {
    /// Returns the messages that are sent instead of `said`.
    pub fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        match liar.behaviour {
            Behaviour::Silent => {
                said.into_iter().filter(|said| matches!(*said.message, PeerMessage::RoundState(_))).collect()
            }
            Behaviour::Selective => said
                .into_iter()
                .map(|said| Said { to: said.to.into_iter().filter(|_| random.chance(500)).collect(), ..said })
                .collect(),
            Behaviour::Equivocator | Behaviour::BadBlocks | Behaviour::Accuser | Behaviour::Coalition => {
                self.make_twins(liar, random, &said);
                said.into_iter().flat_map(|said| self.split(liar, random, said)).collect()
            }
            Behaviour::Twin | Behaviour::Traitor => said,
            Behaviour::Garbage => self.add_garbage(liar, random, said),
            Behaviour::Claimant | Behaviour::Unsigned => self.speak(liar, random),
        }
    }

    /// Returns the messages that a node without stake sends to all nodes instead of its own.
    fn speak(&mut self, liar: &Liar<'_>, random: &mut Random) -> Vec<Said> {
        if self.spoke.is_some_and(|spoke| liar.now >= spoke && liar.now.since(spoke) < SPEECH_INTERVAL) {
            return Vec::new();
        }
        self.spoke = Some(liar.now);
        self.speeches += 1;
        let messages = match liar.behaviour {
            Behaviour::Claimant => vec![PeerMessage::RoundState(claim(liar, random, self.speeches))],
            _ => unsigned(liar, random),
        };
        messages.into_iter().map(|message| Said::new(liar.others, message)).collect()
    }

    /// Creates a second block for each block that is proposed in these messages.
    fn make_twins(&mut self, liar: &Liar<'_>, random: &mut Random, said: &[Said]) {
        for signed in said.iter().filter_map(|said| own_proposal(liar, &said.message)) {
            let id = signed.proposal.block_id;
            if self.twins.contains_key(&id) || signed.proposal.pol_round.is_some() {
                continue;
            }
            let mut parts = PartSet::empty(id.parts);
            for said in said {
                if let PeerMessage::Part { part, .. } = &*said.message {
                    let _ = parts.add(part.clone());
                }
            }
            let Some(block) = parts.bytes().and_then(|bytes| Block::decode(&bytes).ok()) else { continue };
            let bytes = match liar.behaviour {
                Behaviour::BadBlocks => spoil(random, block),
                Behaviour::Accuser => accuse(liar, random, block).encode(),
                Behaviour::Coalition => conspire(liar, random, block).encode(),
                _ => {
                    let time = block.header.time.saturating_add(Duration::from_millis(1));
                    Block { header: types::Header { time, ..block.header }, ..block }.encode()
                }
            };
            let parts = PartSet::from_bytes(&bytes);
            let decoded = Block::decode(&bytes).ok();
            let hash = decoded.as_ref().map_or(types::blake3(&bytes), |block| block.header.hash());
            let timestamp = decoded.map_or(signed.proposal.timestamp, |block| block.header.time);
            let block_id = BlockId { hash, parts: parts.header() };
            let proposal = Proposal { block_id, timestamp, ..signed.proposal.clone() };
            if self.twins.len() >= TWINS_MAX {
                self.twins.pop_first();
            }
            let parts = (0..parts.header().total).filter_map(|index| parts.get(index).cloned()).collect();
            self.twins.insert(id, Twin { proposal: proposal.sign(liar.chain_id, liar.key), parts });
        }
    }

    /// Sends the true message to one half and the false one to the other half (`BadBlocks` and `Accuser`: the false one to
    /// all).
    /// Sometimes all receive the true one too.
    fn split(&self, liar: &Liar<'_>, random: &mut Random, said: Said) -> Vec<Said> {
        let all_false = matches!(liar.behaviour, Behaviour::BadBlocks | Behaviour::Accuser | Behaviour::Coalition);
        let is_false = |to: &usize| all_false || (*to as u64 + liar.height.0) % 2 == 1;
        let (told_false, told_true): (Vec<usize>, Vec<usize>) = said.to.iter().partition(|to| is_false(to));
        let both = random.chance(150);
        let truth = Said { to: if both { said.to.clone() } else { told_true }, message: Arc::clone(&said.message) };
        if let Some(signed) = own_proposal(liar, &said.message) {
            let Some(twin) = self.twins.get(&signed.proposal.block_id) else { return vec![said] };
            let (height, round) = (twin.proposal.proposal.height, twin.proposal.proposal.round);
            let mut lies = vec![truth, Said::new(&told_false, PeerMessage::Proposal(twin.proposal.clone()))];
            lies.extend(
                twin.parts
                    .iter()
                    .map(|part| Said::new(&told_false, PeerMessage::Part { height, round, part: part.clone() })),
            );
            return lies;
        }
        match &*said.message {
            PeerMessage::Part { .. } if !all_false => vec![truth],
            PeerMessage::Vote(signed) if signed.vote.validator == liar.key.public_key().address() => {
                let twin = signed.vote.block_id.and_then(|id| self.twins.get(&id));
                let block_id = match twin {
                    Some(twin) if random.chance(700) => Some(twin.proposal.proposal.block_id),
                    _ if liar.behaviour == Behaviour::Accuser && random.chance(300) => None,
                    _ if all_false => signed.vote.block_id,
                    _ => None,
                };
                if block_id == signed.vote.block_id {
                    return vec![said];
                }
                let lie = Vote { block_id, ..signed.vote.clone() }.sign(liar.chain_id, liar.key);
                vec![truth, Said::new(&told_false, PeerMessage::Vote(lie))]
            }
            _ => vec![said],
        }
    }

    fn add_garbage(&mut self, liar: &Liar<'_>, random: &mut Random, mut said: Vec<Said>) -> Vec<Said> {
        for said in &said {
            self.before.push_back(Arc::clone(&said.message));
        }
        while self.before.len() > BEFORE_MAX {
            self.before.pop_front();
        }
        if liar.others.is_empty() || !random.chance(400) {
            return said;
        }
        for _ in 0..random.within(1, 4) {
            let message = match random.below(10) {
                0 if !self.before.is_empty() => Arc::clone(&self.before[random.index(self.before.len())]),
                _ => Arc::new(nonsense(liar, random)),
            };
            let to = if random.chance(500) { liar.others.to_vec() } else { vec![random.pick(liar.others)] };
            said.push(Said { to, message });
        }
        said
    }
}

fn own_proposal<'m>(liar: &Liar<'_>, message: &'m PeerMessage) -> Option<&'m SignedProposal> {
    let PeerMessage::Proposal(signed) = message else { return None };
    let proposer = liar.validators.proposer_of_round(signed.proposal.round).public_key;
    (signed.proposal.height == liar.height && proposer == liar.key.public_key()).then_some(signed)
}

/// Returns the bytes of a block that no correct node accepts.
fn spoil(random: &mut Random, mut block: Block) -> Vec<u8> {
    match random.below(8) {
        0 => block.header.app_hash = Hash([7; 32]),
        1 => {
            block.txs.push(vec![1, 2, 3]);
            block.header.data_hash = Block::data_hash(&block.txs);
        }
        2 => block.txs.push(vec![4; 200]),
        3 => block.header.time = Time::from_unix_nanos(1),
        4 => block.header.time = block.header.time.saturating_add(Duration::from_secs(3600)),
        5 => block.header.height = block.header.height.next(),
        6 => {
            if let Some(commit) = &mut block.last_commit {
                for signature in &mut commit.signatures {
                    if let CommitSig::Commit { signature, .. } = signature {
                        signature.0[5] ^= 1;
                    }
                }
                block.header.last_commit_hash = commit.hash();
            }
            block.header.proposer = types::Address([3; 20]);
        }
        _ => return (0..random.within(1, 3000)).map(|_| random.next() as u8).collect(),
    }
    block.encode()
}

fn random_id(random: &mut Random) -> BlockId {
    let hash = |random: &mut Random| types::blake3(&random.next().to_be_bytes());
    let total = random.pick(&[1, 2, 256]);
    BlockId { hash: hash(random), parts: PartSetHeader { total, hash: hash(random) } }
}

fn random_round(random: &mut Random) -> Round {
    Round(random.pick(&[0, 1, 2, 5, 100, 1_000_000, i32::MAX as u32]))
}

/// Returns a message that decodes, but is wrong or useless.
fn nonsense(liar: &Liar<'_>, random: &mut Random) -> PeerMessage {
    let height =
        Height((liar.height.0 + random.below(4)).saturating_sub(1).max(1) + random.pick(&[0, 0, 0, 0, 9, 1_000_000]));
    match random.below(9) {
        0 => {
            let signature = Signature(std::array::from_fn(|_| random.next() as u8));
            PeerMessage::Vote(SignedVote { signature, ..vote(liar, random, height) })
        }
        1 | 2 => PeerMessage::Vote(vote(liar, random, height)),
        3 => {
            let (first, second) = (vote(liar, random, height), vote(liar, random, height));
            let second = SignedVote {
                vote: Vote {
                    vote_type: first.vote.vote_type,
                    height: first.vote.height,
                    round: first.vote.round,
                    validator_index: first.vote.validator_index + 1,
                    ..second.vote
                },
                ..second
            };
            match Certificate::new(vec![first.clone(), second]) {
                Ok(certificate) => PeerMessage::Certificate(certificate),
                Err(_) => PeerMessage::Vote(first),
            }
        }
        4 => {
            let (round, pol_round) = (random_round(random), random.chance(300).then(|| random_round(random)));
            let block_id = random_id(random);
            let proposal = Proposal { height, round, pol_round, block_id, timestamp: liar.now };
            PeerMessage::Proposal(proposal.sign(liar.chain_id, liar.key))
        }
        5 => {
            let mut bytes: Vec<u8> = (0..random.within(1, 200)).map(|_| random.next() as u8).collect();
            let (_, proofs) = merkle::proofs(merkle::Hasher::Blake3, &[&bytes, &bytes]);
            bytes[0] ^= u8::from(random.chance(500));
            let proof = proofs.into_iter().next().expect("two leaves have two proofs");
            let part = Arc::new(Part { index: proof.index, bytes, proof });
            PeerMessage::Part { height, round: random_round(random), part }
        }
        6 => {
            let count = liar.validators.len() as u32;
            let bits = |random: &mut Random| {
                let mut bits = BitSet::new(random.pick(&[0, 1, count, count, 64]));
                (0..bits.len()).filter(|_| random.chance(500)).for_each(|index| bits.set(index));
                bits
            };
            let votes = |random: &mut Random| RoundVotes {
                round: random_round(random),
                prevotes: bits(random),
                precommits: bits(random),
            };
            PeerMessage::RoundState(RoundState {
                height,
                round: random_round(random),
                step: random.pick(&[Step::Propose, Step::Prevote, Step::Precommit]),
                has_proposal: random.chance(500),
                parts_header: random.chance(500).then(|| random_id(random).parts),
                parts: bits(random),
                current: votes(random),
                previous: random.chance(500).then(|| votes(random)),
                earliest_height: Height(random.below(5)),
            })
        }
        7 => slander(liar, random, height),
        _ => {
            let (block_id, round) = (random_id(random), random_round(random));
            let header = PartSet::from_bytes(&block_id.hash.0);
            let part = header.get(0).cloned().expect("a set of one part");
            PeerMessage::Part { height: liar.height, round, part }
        }
    }
}

/// Returns a false round state: far ahead with nothing to serve, one or two heights ahead, or at the current height in
/// a new or an existing round, without any vote or with all votes.
fn claim(liar: &Liar<'_>, random: &mut Random, speeches: u32) -> RoundState {
    let ahead = random.pick(&[0, 0, 1, 2, 1_000_000]);
    let height = Height(liar.height.0 + ahead);
    let round = Round(if ahead == 0 { random.pick(&[speeches, speeches, 0, 1]) } else { 0 });
    let earliest = if random.chance(500) { height } else { Height(1) };
    let mut state = RoundState::empty(height, round, liar.validators.len() as u32, earliest);
    if random.chance(500) {
        let held = [&mut state.current.prevotes, &mut state.current.precommits];
        held.into_iter().for_each(|votes| (0..votes.len()).for_each(|index| votes.set(index)));
    }
    state
}

/// Returns messages of the current or a later height, enough to start it, that no validator signed.
fn unsigned(liar: &Liar<'_>, random: &mut Random) -> Vec<PeerMessage> {
    let height = Height(liar.height.0 + random.pick(&[0, 1, 1, 2]));
    let (id, round) = (random_id(random), random.pick(&[Round(0), Round(1_000_000)]));
    let vote = |index: u32, validator| {
        let vote_type = VoteType::Precommit;
        let vote = Vote {
            vote_type,
            height,
            round,
            block_id: Some(id),
            timestamp: liar.now,
            validator,
            validator_index: index,
        };
        vote.sign(liar.chain_id, liar.key)
    };
    let votes: Vec<SignedVote> =
        (0..).zip(liar.validators.iter()).map(|(index, validator)| vote(index, validator.address())).collect();
    let proposal = Proposal { height, round, pol_round: None, block_id: id, timestamp: liar.now };
    let mut messages = vec![
        PeerMessage::Vote(votes[random.index(votes.len())].clone()),
        PeerMessage::Proposal(proposal.sign(liar.chain_id, liar.key)),
    ];
    messages.extend(Certificate::new(votes).map(PeerMessage::Certificate));
    messages
}

/// Returns a vote that the node signed, at a random round, for nil or for a block that does not exist.
fn vote(liar: &Liar<'_>, random: &mut Random, height: Height) -> SignedVote {
    let validator = liar.key.public_key().address();
    let index = liar.validators.by_address(&validator).map_or(0, |(index, _)| index);
    Vote {
        vote_type: random.pick(&[VoteType::Prevote, VoteType::Precommit]),
        height,
        round: random_round(random),
        block_id: random.chance(700).then(|| random_id(random)),
        timestamp: liar.now,
        validator,
        validator_index: if random.chance(800) { index } else { random.below(300) as u32 },
    }
    .sign(liar.chain_id, liar.key)
}

/// Makes a response to a sync request invalid.
pub fn spoil_response(random: &mut Random, response: &mut BlockResponse) {
    match random.below(4) {
        0 => response.blocks.clear(),
        1 => {
            if let Some(sent) = response.blocks.first_mut() {
                let at = random.index(sent.block.len());
                sent.block[at] ^= 1;
            }
        }
        2 => {
            for sent in &mut response.blocks {
                sent.commit.signatures.iter_mut().skip(1).for_each(|signature| *signature = CommitSig::Absent);
            }
        }
        _ => response.blocks.reverse(),
    }
}
