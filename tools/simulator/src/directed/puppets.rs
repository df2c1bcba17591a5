//! One validator among three that a script plays: it signs for them whatever the scenario needs.

use std::sync::Arc;

use super::stage::{SOON, Stage, idle, ms};
use crate::{
    broken::Broken,
    liar::Behaviour,
    node::validator_key,
    world::{Parcel, World},
};
use types::{
    Block, BlockId, Certificate, ChainId, ConsensusSecretKey, Height, KeyType, PartSet, PeerMessage, Proposal, Round,
    SignedVote, Step, Time, Vote, VoteType, Wire,
};

/// The first height of a world in which only `me` follows the protocol, and proposes in none of the rounds 0 to 2.
struct Puppets {
    c: World,
    me: usize,
    /// The proposers of the rounds 0 to 2.
    proposers: [usize; 3],
}

fn key(who: usize) -> ConsensusSecretKey {
    validator_key(who, KeyType::Secp256k1, 0)
}

fn chain() -> ChainId {
    ChainId::new("cairn-simulated").expect("a name")
}

impl Puppets {
    fn new(stage: &Stage) -> Self {
        let probe = World::new(idle(4));
        let proposers = [0, 1, 2].map(|round| probe.next_proposer(0, Round(round)));
        let me = (0..4).find(|who| !proposers.contains(who)).expect("four take turns");
        let setup = proposers.iter().fold(idle(4), |setup, who| setup.with_byzantine(*who, Behaviour::Traitor));
        let mut c = stage.world(setup);
        c.hold(|_| true);
        Self { c, me, proposers }
    }

    fn hand(&mut self, from: usize, message: PeerMessage) {
        self.c.hand(&Parcel { from, to: self.me, message: Arc::new(message) });
    }

    /// Waits for the block of the proposer of round 0, and returns it.
    fn first_block(&mut self) -> Result<Block, Broken> {
        self.c.run_for(ms(500))?;
        let (from, held) = (self.proposers[0], self.c.take_held());
        let mut set: Option<PartSet> = None;
        for message in held.into_iter().filter(|parcel| parcel.from == from).map(|parcel| parcel.message) {
            if let PeerMessage::Part { part, .. } = &*message {
                let checked = Arc::clone(part).check().expect("it follows the protocol");
                let set = set.get_or_insert_with(|| PartSet::empty(checked.header()));
                set.add_checked(checked);
            }
        }
        let bytes = set.and_then(|set| set.bytes()).expect("it proposes at once");
        Ok(Block::decode(&bytes).expect("it follows the protocol"))
    }

    /// Hands over a proposal of a block in a round, with the parts of the block, and returns the id of the block.
    fn propose(&mut self, round: u32, block: &Block, pol_round: Option<u32>) -> Result<BlockId, Broken> {
        let (parts, from, height) = (block.part_set(), self.proposers[round as usize], Height(1));
        let (block_id, timestamp) = (block.id(&parts), block.header.time);
        let proposal = Proposal { height, round: Round(round), pol_round: pol_round.map(Round), block_id, timestamp };
        self.hand(from, PeerMessage::Proposal(proposal.sign(&chain(), &key(from))));
        for index in 0..parts.header().total {
            let part = Arc::clone(parts.get(index).expect("it is complete"));
            self.hand(from, PeerMessage::Part { height, round: Round(round), part });
        }
        self.c.run_for(ms(200))?;
        Ok(block_id)
    }

    /// Hands over votes of some of the puppets.
    fn vote(
        &mut self,
        voters: &[usize],
        vote_type: VoteType,
        round: u32,
        block_id: Option<BlockId>,
    ) -> Result<(), Broken> {
        for place in voters {
            let signed = self.signed(*place, (1, round, vote_type), block_id);
            self.hand(self.proposers[*place], PeerMessage::Vote(signed));
        }
        self.c.run_for(ms(100))
    }

    /// Returns the vote of a puppet at a height, round and type.
    fn signed(
        &self,
        place: usize,
        (height, round, vote_type): (u64, u32, VoteType),
        block_id: Option<BlockId>,
    ) -> SignedVote {
        let key = key(self.proposers[place]);
        let engine = self.c.nodes()[self.me].alive.as_ref().expect("it runs").replica.engine();
        let validator = key.public_key().address();
        let (validator_index, _) = engine.validators().by_address(&validator).expect("a validator");
        let (height, round, timestamp) = (Height(height), Round(round), Time::from_unix_millis(1_780_000_001_000));
        Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }.sign(&chain(), &key)
    }

    fn until(&mut self, round: u32, step: Step) -> Result<(), Broken> {
        let me = self.me;
        let is_there = move |c: &World| (c.round(me), c.step(me)) >= (Round(round), step);
        self.c.run_until(&format!("step {step:?} of round {round}"), SOON, is_there)
    }

    /// Plays round 0: its block gets two prevotes for nil, and no polka.
    fn round_0(&mut self) -> Result<Block, Broken> {
        let block = self.first_block()?;
        self.propose(0, &block, None)?;
        self.vote(&[0, 1], VoteType::Prevote, 0, None)?;
        self.until(0, Step::Precommit)?;
        self.vote(&[0, 1], VoteType::Precommit, 0, None)?;
        self.until(1, Step::Propose)?;
        Ok(block)
    }
}

/// A validator is locked in round 1. A block is proposed again whose polka is of round 0: it prevotes nil (L28).
pub(super) fn later_lock(stage: &Stage) -> Result<(), Broken> {
    let mut p = Puppets::new(stage);
    let first = p.round_0()?;
    let mut second = first.clone();
    second.header.time = second.header.time.saturating_add(ms(1));
    let id = p.propose(1, &second, None)?;
    p.vote(&[0, 1], VoteType::Prevote, 1, Some(id))?;
    p.until(1, Step::Precommit)?;
    p.vote(&[0, 1], VoteType::Precommit, 1, None)?;
    p.until(2, Step::Propose)?;
    p.vote(&[0, 1, 2], VoteType::Prevote, 0, Some(first.id(&first.part_set())))?;
    p.propose(2, &first, Some(0))?;
    p.until(2, Step::Prevote)
}

/// Two validators prevoted nil and the block of round 0. Both votes count, so that it has a polka, and is prevoted when it is
/// proposed again, before the propose timer expires (L28).
pub(super) fn both_votes_count(stage: &Stage) -> Result<(), Broken> {
    let mut p = Puppets::new(stage);
    let first = p.round_0()?;
    p.vote(&[0, 1], VoteType::Prevote, 1, None)?;
    p.until(1, Step::Prevote)?;
    p.vote(&[0, 1], VoteType::Precommit, 1, None)?;
    p.until(2, Step::Propose)?;
    p.vote(&[0, 1, 2], VoteType::Prevote, 0, Some(first.id(&first.part_set())))?;
    p.propose(2, &first, Some(0))?;
    match p.c.step(p.me) {
        Step::Propose => {
            Err(Broken("L28: a block is proposed again with its polka, and not prevoted at once".to_owned()))
        }
        Step::Prevote | Step::Precommit => Ok(()),
    }
}

/// Each of three validators votes twice: one in a certificate, one late, and one before the height starts.
pub(super) fn double_votes(stage: &Stage) -> Result<(), Broken> {
    let mut p = Puppets::new(stage);
    let block = p.first_block()?;
    let id = p.propose(0, &block, None)?;
    p.vote(&[0], VoteType::Prevote, 0, None)?;
    let mut polka = [0, 1].map(|place| p.signed(place, (1, 0, VoteType::Prevote), Some(id)));
    polka.sort_by_key(|signed| signed.vote.validator_index);
    let polka = Certificate::new(polka.to_vec()).expect("votes of one place");
    p.hand(p.proposers[1], PeerMessage::Certificate(polka));
    p.until(0, Step::Precommit)?;
    for block_id in [None, Some(id)] {
        let early = p.signed(2, (2, 0, VoteType::Prevote), block_id);
        p.hand(p.proposers[2], PeerMessage::Vote(early));
    }
    p.vote(&[1, 2], VoteType::Precommit, 0, Some(id))?;
    let me = p.me;
    p.c.run_until("height 2 starts", SOON, |c| c.height(me) == Height(2))?;
    p.vote(&[1], VoteType::Precommit, 0, None)?;
    match p.c.counts.equivocations {
        3.. => Ok(()),
        count => Err(Broken(format!("EV6: three validators vote twice, and {count} of them are reported"))),
    }
}

/// A validator shows a precommit for nil to one node at each height, and the one for the block to the others: the node finds the other
/// one in the blocks of the chain, in those that it decides and in those that it fetches.
fn double_precommits(stage: &Stage, is_cut_off: bool) -> Result<(), Broken> {
    const LIAR: usize = 3;
    let mut c = stage.world(idle(4).with_byzantine(LIAR, Behaviour::Traitor).forgiving());
    c.hold(|parcel| {
        let is_of_liar = match &*parcel.message {
            PeerMessage::Vote(signed) => signed.vote.validator == key(LIAR).public_key().address(),
            PeerMessage::Certificate(_) => true,
            _ => false,
        };
        parcel.to == 2 && is_of_liar
    });
    c.run_until_height(5, SOON)?;
    for _ in 0..5 {
        c.run_until("the next height starts", SOON, |c| c.height(2) == c.tip(2).next())?;
        let next = c.height(2);
        let engine = c.nodes()[2].alive.as_ref().expect("it runs").replica.engine();
        let validator = key(LIAR).public_key().address();
        let (validator_index, _) = engine.validators().by_address(&validator).expect("a validator");
        let (vote_type, height, round, timestamp) =
            (VoteType::Precommit, next, Round::ZERO, Time::from_unix_millis(1_780_000_001_000));
        let vote = Vote { vote_type, height, round, block_id: None, timestamp, validator, validator_index };
        let message = Arc::new(PeerMessage::Vote(vote.sign(&chain(), &key(LIAR))));
        c.hand(&Parcel { from: LIAR, to: 2, message });
        if is_cut_off {
            c.partition(&[&[0, 1, LIAR]]);
            c.run_until("the others decide without it", SOON, |c| c.tip(0).0 >= next.0 + 5)?;
            c.partition(&[&[0, 1, 2, LIAR]]);
        }
        c.run_until("it follows", SOON, |c| c.tip(2) > next)?;
    }
    c.stop_holding();
    c.expect_evidence(SOON)?;
    match c.evidence().len() {
        1.. => Ok(()),
        0 => {
            Err(Broken("EV6: a validator precommits twice at each height, and no block has evidence of it".to_owned()))
        }
    }
}

/// The node decides the blocks itself whose commits contradict what it holds.
pub(super) fn precommits_in_decided(stage: &Stage) -> Result<(), Broken> {
    double_precommits(stage, false)
}

/// The node fetches the blocks whose commits contradict what it holds.
pub(super) fn precommits_in_fetched(stage: &Stage) -> Result<(), Broken> {
    double_precommits(stage, true)
}
