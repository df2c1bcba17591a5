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
    Block, BlockId, ChainId, ConsensusSecretKey, Height, KeyType, PartSet, PeerMessage, Proposal, Round, SignedVote,
    Step, Vote, VoteType, Wire,
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
            let voter = self.proposers[*place];
            let engine = self.c.nodes()[self.me].alive.as_ref().expect("it runs").replica.engine();
            let validator = key(voter).public_key().address();
            let (validator_index, _) = engine.validators().by_address(&validator).expect("a validator");
            let timestamp = types::Time::from_unix_millis(1_780_000_001_000);
            let (height, round) = (Height(1), Round(round));
            let vote = Vote { vote_type, height, round, block_id, timestamp, validator, validator_index };
            let signed: SignedVote = vote.sign(&chain(), &key(voter));
            self.hand(voter, PeerMessage::Vote(signed));
        }
        self.c.run_for(ms(100))
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
