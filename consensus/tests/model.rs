//! Proves that engines under a random scheduler agree, sign one value for each place and, once the faults stop, decide.
//! The faults are loss, duplication, reordering, early timers, crashes and one equivocator. Also proves that each
//! mutation is caught.

mod support;

use std::collections::BTreeMap;

use consensus::{BrokenRule, Engine, Input, Message, Mutation, Output, Timeout};
use support::{Cast, chain};
use types::*;

/// Deterministic random numbers by SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }
}

struct World {
    cast: Cast,
    random: Random,
    engines: Vec<Engine>,
    durable: Vec<Option<HardState>>,
    mail: Vec<(usize, Message)>,
    timers: Vec<(usize, Timeout)>,
    decisions: BTreeMap<usize, BlockId>,
    said: BTreeMap<(usize, Round, VoteType), Option<BlockId>>,
    mutation: Option<Mutation>,
    byzantine: Option<usize>,
    broken: Option<String>,
    loss: u64,
}

impl World {
    fn new(seed: u64, validators: u8, mutation: Option<Mutation>) -> Self {
        let cast = Cast::new(validators);
        let mut random = Random(seed);
        let byzantine = random.percent(60).then(|| random.below(validators as usize));
        let count = validators as usize;
        let mut world = Self {
            engines: (0..count).map(|i| cast.engine(i as u32)).collect(),
            cast,
            loss: [0, 5, 30][random.below(3)],
            random,
            durable: vec![None; count],
            mail: Vec::new(),
            timers: Vec::new(),
            decisions: BTreeMap::new(),
            said: BTreeMap::new(),
            mutation,
            byzantine,
            broken: None,
        };
        for who in 0..count {
            let start = world.cast.start();
            world.feed(who, start);
        }
        world
    }

    fn feed(&mut self, who: usize, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in self.engines[who].step(support::now(), input) {
                match output {
                    Output::BuildBlock { round, .. } => {
                        let letter = (b'a' + (who as u8 * 7 + round.0 as u8) % 26) as char;
                        inputs.push(Input::BlockBuilt {
                            round,
                            block_id: support::block(letter),
                            time: support::now(),
                        });
                    }
                    Output::CheckBlock(id) => inputs.push(support::checked(id, true)),
                    Output::WriteAhead(hard_state) => self.durable[who] = Some(*hard_state),
                    Output::Broadcast(message) => self.say(who, message),
                    Output::StartTimer(timeout, _) => self.timers.push((who, timeout)),
                    Output::Commit { block_id, commit } => self.decided(who, block_id, &commit),
                    Output::Evidence(_) => {}
                }
            }
        }
    }

    fn say(&mut self, who: usize, message: Message) {
        if let (Message::Vote(signed), true) = (&message, self.byzantine != Some(who)) {
            let vote = &signed.vote;
            let first = *self.said.entry((who, vote.round, vote.vote_type)).or_insert(vote.block_id);
            if first != vote.block_id {
                self.broken = Some(format!("I1: validator {who} sent two different messages in round {}", vote.round));
            }
            let durable = self.durable[who].as_ref().is_some_and(|durable| durable.votes.contains(signed));
            if !durable && self.mutation != Some(Mutation::DoubleSign) {
                self.broken = Some(format!("I2: validator {who} sent a message before it was durable"));
            }
        }
        for to in (0..self.engines.len()).filter(|to| *to != who) {
            self.mail.push((to, message.clone()));
        }
    }

    fn decided(&mut self, who: usize, block_id: BlockId, commit: &Commit) {
        if commit.verify(&chain(), &self.cast.set).is_err() {
            self.broken = Some(format!("validator {who} decided without a quorum"));
        }
        if self.byzantine != Some(who) && self.decisions.values().any(|other| *other != block_id) {
            self.broken = Some("agreement: two blocks were decided".into());
        }
        if self.byzantine != Some(who) {
            self.decisions.insert(who, block_id);
        }
    }

    fn deliver(&mut self, to: usize, message: Message) {
        let set = &self.cast.set;
        let input = match message {
            Message::Proposal(signed) => {
                let proposer = set.proposer_of_round(signed.proposal.round).public_key;
                let Ok(proposal) = signed.verify(&chain(), &proposer) else { return };
                Input::Proposal { proposal, received: support::now() }
            }
            Message::Vote(signed) => Input::Vote(VerifiedVote::of_own(signed, set)),
            Message::Certificate(certificate) => {
                Input::Certificate(certificate.verify(&chain(), set).expect("honest certificates are valid"))
            }
        };
        self.feed(to, input);
    }

    /// Sends a contradicting vote of the equivocator, and in its turn a second proposal, to one validator.
    fn equivocate(&mut self) {
        let Some(who) = self.byzantine else { return };
        let round = self.engines[who].round().0;
        let vote_type = if self.random.percent(50) { VoteType::Prevote } else { VoteType::Precommit };
        let known: Vec<BlockId> = self.engines[who].proposals(Round(round)).map(|p| p.proposal.block_id).collect();
        let value = if known.is_empty() || self.random.percent(50) {
            None
        } else {
            Some(known[self.random.below(known.len())])
        };
        let vote = self.cast.signed_vote(who as u32, vote_type, round, value);
        let to = self.random.below(self.engines.len());
        self.mail.push((to, Message::Vote(vote)));
        if self.cast.proposer(round) as usize == who {
            let other = self.cast.proposal(round, None, support::block('z')).into_signed();
            self.mail.push((to, Message::Proposal(other)));
        }
    }

    /// Restarts a validator with only its durable state.
    fn crash(&mut self, who: usize) {
        self.engines[who] = self.cast.engine(who as u32);
        self.timers.retain(|(of, _)| *of != who);
        let start = self.cast.start_with(self.durable[who].clone());
        self.feed(who, start);
    }

    fn faulty_step(&mut self) {
        match self.random.below(100) {
            0..=1 => {
                let who = self.random.below(self.engines.len());
                self.crash(who);
            }
            2..=5 => self.equivocate(),
            6..=15 if !self.timers.is_empty() => {
                let at = self.random.below(self.timers.len());
                let (who, timeout) = self.timers.swap_remove(at);
                self.feed(who, Input::Timeout(timeout));
            }
            _ if !self.mail.is_empty() => {
                let at = self.random.below(self.mail.len());
                let (to, message) =
                    if self.random.percent(5) { self.mail[at].clone() } else { self.mail.swap_remove(at) };
                if !self.random.percent(self.loss) {
                    self.deliver(to, message);
                }
            }
            _ => self.equivocate(),
        }
    }

    fn correct(&self) -> usize {
        self.engines.len() - usize::from(self.byzantine.is_some())
    }

    fn run(&mut self) {
        for _ in 0..600 {
            self.faulty_step();
            if self.broken.is_some() || self.decisions.len() == self.correct() {
                return;
            }
        }
        // After the faults all messages are delivered, a validator that is behind receives the votes of the others, and
        // a timer expires only when no message is left.
        self.byzantine_goes_silent();
        for turn in 0..300_000 {
            if self.broken.is_some() || self.decisions.len() == self.correct() {
                return;
            }
            if let Some((to, message)) = self.mail.pop() {
                self.deliver(to, message);
            } else if !self.timers.is_empty() {
                let (who, timeout) = self.timers.remove(0);
                self.feed(who, Input::Timeout(timeout));
                if turn % 8 == 0 {
                    self.repair();
                }
            } else {
                break;
            }
        }
        self.broken = Some("liveness: no decision after healing".into());
    }

    fn byzantine_goes_silent(&mut self) {
        if let Some(who) = self.byzantine {
            self.timers.retain(|(of, _)| *of != who);
        }
    }

    /// Anti-entropy: sends the votes and the current proposals of each validator to all others, as the replica does.
    fn repair(&mut self) {
        for from in 0..self.engines.len() {
            let engine = &self.engines[from];
            let votes = engine.votes().rounds().flat_map(|(_, v)| v.prevotes.votes().chain(v.precommits.votes()));
            let mut messages: Vec<Message> = votes.map(|vote| Message::Vote((**vote).clone())).collect();
            messages.extend(engine.proposals(engine.round()).cloned().map(Message::Proposal));
            let all = (0..self.engines.len()).filter(|to| *to != from);
            self.mail.extend(all.flat_map(|to| messages.iter().map(move |m| (to, m.clone()))).collect::<Vec<_>>());
        }
    }
}

fn break_of(seed: u64, validators: u8, mutation: Option<Mutation>) -> Option<String> {
    let _broken = mutation.map(BrokenRule::new);
    let mut world = World::new(seed, validators, mutation);
    world.run();
    world.broken
}

#[test]
fn correct_validators_agree_and_decide() {
    for seed in 0..300 {
        let validators = if seed % 5 == 0 { 7 } else { 4 };
        assert_eq!(break_of(seed, validators, None), None, "seed {seed}");
    }
}

#[test]
fn each_mutation_is_caught() {
    for mutation in [
        Mutation::SkipLock,
        Mutation::UnlockOnNil,
        Mutation::SkipWriteAhead,
        Mutation::DoubleSign,
        Mutation::WeakCommit,
    ] {
        let caught = (0..3_000).find_map(|seed| break_of(seed, 4, Some(mutation)));
        assert!(caught.is_some(), "{mutation:?} was not caught");
    }
}
