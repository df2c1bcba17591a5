//! An adversary that delays messages so that rounds fail in chosen ways. Random loss alone rarely makes validators lock in
//! different rounds; this one aims at it.
//!
//! Until all faults end, a network may delay each message as it likes. For some heights, a plan says for each of the first
//! rounds which messages arrive after the timeouts of their receivers:
//!
//! | move | late | result |
//! |---|---|---|
//! | no proposal | the proposal and its parts, to all others | the round ends in nil, after the propose timeout |
//! | half a polka | the proposal to less than a third of the power, and to all that must not see the polka some prevotes | the others lock, and no validator decides |
//! | hidden polka | as half a polka, but only one validator sees the polka | it locks alone |
//!
//! A validator that lacks a prevote waits for it unless it has prevotes of a quorum for anything. So some validators prevote nil,
//! because the proposal reaches them late: with these prevotes the others reach the prevote timeout.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use types::{Address, Height, PeerMessage, Round, Timeouts, VoteType};

use crate::random::Random;

/// What the scheduler knows of the validators of a height.
pub struct Field<'a> {
    /// The power of each node, by index; nodes that are not validators have none.
    pub powers: &'a [u64],
    /// The proposer of each of the first rounds.
    pub proposers: &'a [usize],
    /// The timeouts of the chain.
    pub timeouts: Timeouts,
    /// The maximum delay of a message that is not late.
    pub delay: Duration,
}

/// What is late in a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Move {
    /// Nodes that get the proposal and its parts late.
    no_proposal: BTreeSet<usize>,
    /// For each node that must not see the polka, the validators whose prevotes it gets late.
    no_prevotes: BTreeMap<usize, BTreeSet<usize>>,
    /// The time by which the proposal is late.
    proposal_late: Duration,
    /// The time by which prevotes are late.
    prevotes_late: Duration,
}

/// The adversary with its plans for the heights so far.
#[derive(Debug, Default)]
pub struct Scheduler {
    plans: BTreeMap<Height, Vec<Move>>,
    /// Number of messages that it delayed.
    pub delayed: u64,
}

impl Scheduler {
    /// Returns true if it is not decided yet whether a height has a plan.
    pub fn is_new(&self, height: Height) -> bool {
        !self.plans.contains_key(&height)
    }

    /// Lets the first rounds of a height fail, as many as the field has proposers but one. None: the height has no plan.
    pub fn plan(&mut self, height: Height, field: &Field<'_>, random: &mut Random) {
        let rounds = field.proposers.len().saturating_sub(1);
        let moves = (0..rounds).map(|round| Move::random(field, round, random)).collect();
        self.plans.insert(height, moves);
    }

    /// Returns by how much a message to a node is late.
    pub fn late(&mut self, to: usize, message: &PeerMessage, node_of: impl Fn(&Address) -> Option<usize>) -> Duration {
        let late = self.lateness(to, message, node_of);
        self.delayed += u64::from(late > Duration::ZERO);
        late
    }

    fn lateness(&self, to: usize, message: &PeerMessage, node_of: impl Fn(&Address) -> Option<usize>) -> Duration {
        let at = |height: Height, round: Round| self.plans.get(&height).and_then(|moves| moves.get(round.0 as usize));
        match message {
            PeerMessage::Proposal(signed) => match at(signed.proposal.height, signed.proposal.round) {
                Some(of) if of.no_proposal.contains(&to) => of.proposal_late,
                _ => Duration::ZERO,
            },
            PeerMessage::Part { height, round, .. } => match at(*height, *round) {
                Some(of) if of.no_proposal.contains(&to) => of.proposal_late,
                _ => Duration::ZERO,
            },
            PeerMessage::Vote(signed) if signed.vote.vote_type == VoteType::Prevote => {
                let of = at(signed.vote.height, signed.vote.round);
                let hidden = of.and_then(|of| of.no_prevotes.get(&to));
                match (of, hidden, hidden.and_then(|_| node_of(&signed.vote.validator))) {
                    (Some(of), Some(hidden), Some(voter)) if hidden.contains(&voter) => of.prevotes_late,
                    _ => Duration::ZERO,
                }
            }
            PeerMessage::Certificate(certificate) => {
                let first = certificate.votes().first().map(|signed| &signed.vote);
                let of = first.filter(|vote| vote.vote_type == VoteType::Prevote);
                match of.and_then(|vote| at(vote.height, vote.round)) {
                    Some(of) if of.no_prevotes.contains_key(&to) => of.prevotes_late,
                    _ => Duration::ZERO,
                }
            }
            _ => Duration::ZERO,
        }
    }
}

impl Move {
    fn random(field: &Field<'_>, round: usize, random: &mut Random) -> Self {
        let (proposer, next) = (field.proposers[round], field.proposers[round + 1]);
        let t = &field.timeouts;
        let grown = |base: Duration, delta: Duration| base + delta * round as u32;
        // Receivers begin a round at different times, up to some delays of the links apart.
        let apart = field.delay * 4;
        let proposal_late = grown(t.propose, t.propose_delta) * 3 / 2 + apart;
        let prevotes_late = proposal_late + grown(t.prevote, t.prevote_delta) * 3 / 2 + apart;
        let none = Self { proposal_late, prevotes_late, ..Self::default() };
        let nodes: Vec<usize> = (0..field.powers.len()).filter(|node| *node != proposer).collect();
        let no_proposal = Self { no_proposal: nodes.into_iter().collect(), ..none.clone() };
        let half = match random.below(10) {
            0..2 => return no_proposal,
            2..4 => none.half_polka(field, random, proposer, (None, 0)),
            // The next proposer mostly sees the polka, and proposes the block again.
            _ => {
                let total: u64 = field.powers.iter().sum();
                let first = Some(next).filter(|_| random.chance(800));
                none.half_polka(field, random, proposer, (first, 2 * total / 3))
            }
        };
        // Among few validators none has less than a third of the power: each prevote is needed, and each would be waited for.
        if half.no_proposal.is_empty() { no_proposal } else { half }
    }

    /// Lets the polka be seen by `first`, and by others until `seen_max` of the power sees it; or by one validator alone.
    fn half_polka(
        mut self,
        field: &Field<'_>,
        random: &mut Random,
        proposer: usize,
        (first, seen_max): (Option<usize>, u64),
    ) -> Self {
        let power = |of: &BTreeSet<usize>| of.iter().map(|node| field.powers[*node]).sum::<u64>();
        let total: u64 = field.powers.iter().sum();
        let mut order: Vec<usize> = (0..field.powers.len()).filter(|node| field.powers[*node] > 0).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.index(last + 1));
        }
        // Less than a third of the power does not get the proposal in time.
        for node in order.iter().copied().filter(|node| *node != proposer) {
            if 3 * (power(&self.no_proposal) + field.powers[node]) < total {
                self.no_proposal.insert(node);
                if random.chance(500) {
                    break;
                }
            }
        }
        let mut seers: BTreeSet<usize> = first.into_iter().collect();
        for node in order.iter().copied() {
            if power(&seers) + field.powers[node] <= seen_max {
                seers.insert(node);
            }
        }
        if seers.is_empty() {
            seers.extend(order.first());
        }
        let late = &self.no_proposal;
        for node in order.iter().copied().filter(|node| !seers.contains(node)) {
            let mut hidden = BTreeSet::new();
            for other in order.iter().copied().filter(|other| *other != node && !late.contains(other)) {
                let for_block = total - power(late) - power(&hidden);
                // With less than a quorum of prevotes for anything it would wait.
                let would_wait = 3 * (total - power(&hidden) - field.powers[other]) <= 2 * total;
                if 3 * for_block > 2 * total && !would_wait {
                    hidden.insert(other);
                }
            }
            self.no_prevotes.insert(node, hidden);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a move of the kind "half a polka" among four validators, of which node 2 proposes in the next round.
    fn halves() -> impl Iterator<Item = Move> {
        let timeouts = Timeouts::default();
        (0..200).filter_map(move |seed| {
            let field = Field { powers: &[1, 1, 1, 1], proposers: &[0, 2], timeouts, delay: Duration::ZERO };
            let one = Move::random(&field, 0, &mut Random::new(seed));
            (!one.no_prevotes.is_empty()).then_some(one)
        })
    }

    #[test]
    fn half_a_polka_leaves_the_others_a_quorum_of_prevotes_that_is_no_polka() {
        let mut hiding = 0;
        for half in halves() {
            assert_eq!(half.no_proposal.len(), 1, "less than a third of four");
            assert!(!half.no_proposal.contains(&0), "the proposer has its proposal");
            for hidden in half.no_prevotes.values() {
                assert!(hidden.len() <= 1, "three prevotes of four arrive, one of them for nil");
                hiding += hidden.len();
            }
        }
        assert!(hiding > 100, "{hiding} prevotes are late");
    }

    #[test]
    fn the_next_proposer_mostly_sees_the_polka() {
        let (all, seeing): (Vec<_>, Vec<_>) = halves().map(|half| ((), !half.no_prevotes.contains_key(&2))).unzip();
        let seeing = seeing.into_iter().filter(|sees| *sees).count();
        assert!(2 * seeing > all.len(), "{seeing} of {}", all.len());
    }
}
