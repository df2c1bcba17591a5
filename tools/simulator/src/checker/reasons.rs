//! Why a correct node signs what it signs: the guards of Algorithm 1 (arXiv:1807.04938), judged from outside.
//!
//! Each guard is judged twice: by the messages that exist in the whole world ([`Words`]), and, while the node is still in the
//! round of the message, by those that its engine holds.

use std::collections::BTreeMap;

use consensus::{Engine, TimeoutKind};
use replica::Replica;
use storage::Kv;
use types::{BlockId, Height, PeerMessage, Round, SignedProposal, Vote, VoteType};

use crate::{
    broken::{Broken, ensure},
    checker::{
        rotation::{Rotation, Turns},
        step::Step,
        words::Words,
    },
};

/// What correct nodes are bound to by what they signed.
#[derive(Default)]
pub struct Reasons {
    /// Last block that a correct node precommitted at a height.
    precommitted: BTreeMap<(usize, Height), (Round, BlockId)>,
}

/// Checks the order of the rounds of lock and valid block (I3).
///
/// Errors: [`Broken`] if it is wrong.
pub fn check_order<K: Kv>(node: usize, replica: &Replica<K>) -> Result<(), Broken> {
    let engine = replica.engine();
    let round_of = |lock: Option<types::Lock>| lock.map(|lock| lock.round);
    let (locked, valid, round) = (round_of(engine.locked()), round_of(engine.valid()), engine.round());
    ensure!(locked <= valid && valid <= Some(round), "I3: n{node}: locked {locked:?}, valid {valid:?}, round {round}");
    Ok(())
}

impl Reasons {
    /// Remembers what a correct node is bound to by a message that it signed.
    pub fn note(&mut self, who: usize, message: &PeerMessage) {
        if let PeerMessage::Vote(signed) = message
            && let (VoteType::Precommit, Some(id)) = (signed.vote.vote_type, signed.vote.block_id)
        {
            let vote = &signed.vote;
            let last = self.precommitted.entry((who, vote.height)).or_insert((vote.round, id));
            *last = (*last).max((vote.round, id));
        }
    }

    /// Checks a message that a correct node signed in this step.
    ///
    /// Errors: [`Broken`] if no rule lets it sign this.
    pub fn check(
        &self,
        step: &Step<'_>,
        message: &PeerMessage,
        words: &Words,
        rotation: &Rotation,
    ) -> Result<(), Broken> {
        match message {
            PeerMessage::Vote(signed) => {
                let vote = &signed.vote;
                // The set of a height that others have decided is known before a node starts it.
                let Some(turns) = rotation.at(vote.height) else { return Ok(()) };
                match (vote.vote_type, vote.block_id) {
                    (VoteType::Prevote, Some(id)) => {
                        check_prevote(step, vote, id, words, turns)?;
                        self.check_lock(step.node.index, vote, id, words, turns)
                    }
                    (VoteType::Prevote, None) => check_nil_prevote(step, vote, words, turns),
                    (VoteType::Precommit, Some(id)) => check_precommit(step, vote, id, words, turns),
                    (VoteType::Precommit, None) => check_nil_precommit(step, vote, words, turns),
                }
            }
            PeerMessage::Proposal(signed) => self.check_proposal(step, signed, rotation),
            _ => Ok(()),
        }
    }

    /// Checks the rule of L22 and L28: only a polka of the lock's round or a later one releases a lock.
    fn check_lock(&self, who: usize, vote: &Vote, id: BlockId, words: &Words, turns: &Turns) -> Result<(), Broken> {
        let (height, round) = (vote.height, vote.round);
        let Some((locked_round, locked)) = self.precommitted.get(&(who, height)).copied() else { return Ok(()) };
        let releases = |pol: Round| pol >= locked_round && pol < round && words.has_polka(turns, height, pol, Some(id));
        let mut pols = words.proposals(height, round).filter(|(proposed, _)| *proposed == id);
        ensure!(
            locked == id || locked_round >= round || pols.any(|(_, pol)| pol.is_some_and(releases)),
            "lock: n{who} precommitted {locked} in round {locked_round} of height {height}, and prevotes {id} in round {round}"
        );
        Ok(())
    }

    /// Checks the rule of L14 to L19: a proposer that is locked proposes again a block whose polka is of the lock's round or
    /// later, and each such proposal travels with its polka.
    fn check_proposal(&self, step: &Step<'_>, signed: &SignedProposal, rotation: &Rotation) -> Result<(), Broken> {
        let (who, p) = (step.node.index, &signed.proposal);
        let locked = self.precommitted.get(&(who, p.height)).filter(|(round, _)| *round < p.round);
        ensure!(
            locked.is_none_or(|(round, _)| p.pol_round >= Some(*round)),
            "L16: n{who} precommitted {locked:?} and proposes {} with POL round {:?} at height {}, round {}",
            p.block_id,
            p.pol_round,
            p.height,
            p.round
        );
        let (Some(pol), Some(turns)) = (p.pol_round, rotation.at(p.height)) else { return Ok(()) };
        let proves = |message: &PeerMessage| {
            let PeerMessage::Certificate(certificate) = message else { return false };
            let is_of = |vote: &&Vote| {
                (vote.vote_type, vote.height, vote.round, vote.block_id)
                    == (VoteType::Prevote, p.height, pol, Some(p.block_id))
            };
            let votes = certificate.votes().iter().map(|signed| &signed.vote).filter(is_of);
            turns.is_quorum(votes.map(|vote| &vote.validator))
        };
        ensure!(
            step.messages().any(|message| proves(message)),
            "polka: n{who} proposes {} again at height {}, round {}, without the polka of round {pol}",
            p.block_id,
            p.height,
            p.round
        );
        Ok(())
    }
}

/// Returns the engine of a step's node, if it is still in the round of a vote.
fn engine_at<'a>(step: &Step<'a>, vote: &Vote) -> Option<&'a Engine> {
    let engine = step.node.alive.as_ref()?.replica.engine();
    (engine.height() == vote.height && engine.round() == vote.round).then_some(engine)
}

/// Returns true if an engine holds prevotes of more than two thirds of the power for a value, or holds no vote of the round any
/// more.
fn holds_polka(engine: &Engine, turns: &Turns, round: Round, value: Option<BlockId>) -> bool {
    let Some(prevotes) = engine.prevotes(round) else { return true };
    let voters: Vec<_> = prevotes.votes_for(value).map(|vote| vote.vote.validator).collect();
    turns.is_quorum(&voters)
}

/// L22, L28: a proposal names the block, with a polka of its POL round if it has one.
fn check_prevote(step: &Step<'_>, vote: &Vote, id: BlockId, words: &Words, turns: &Turns) -> Result<(), Broken> {
    let (who, height, round) = (step.node.index, vote.height, vote.round);
    let mut proposals = words.proposals(height, round).filter(|(proposed, _)| *proposed == id).peekable();
    ensure!(
        proposals.peek().is_some(),
        "L22: n{who} prevotes {id} at height {height}, round {round}, whose proposer did not propose it"
    );
    let has_polka = |pol: Round| pol < round && words.has_polka(turns, height, pol, Some(id));
    ensure!(
        proposals.any(|(_, pol)| pol.is_none_or(has_polka)),
        "L28: n{who} prevotes {id} at height {height}, round {round}, and its POL round has no polka"
    );
    let Some(engine) = engine_at(step, vote) else { return Ok(()) };
    let mut held = engine.proposals(round).map(|signed| &signed.proposal).filter(|p| p.block_id == id);
    ensure!(
        held.any(|p| p.pol_round.is_none_or(|pol| pol < round && holds_polka(engine, turns, pol, Some(id)))),
        "L28: n{who} prevotes {id} at height {height}, round {round}, without the proposal or the polka of its POL round"
    );
    Ok(())
}

/// L22, L28, L57: a proposal could be judged, or the propose timer expired.
fn check_nil_prevote(step: &Step<'_>, vote: &Vote, words: &Words, turns: &Turns) -> Result<(), Broken> {
    let (who, height, round) = (step.node.index, vote.height, vote.round);
    let is_judged = |(id, pol): (BlockId, Option<Round>)| {
        pol.is_none_or(|pol| pol < round && words.has_polka(turns, height, pol, Some(id)))
    };
    ensure!(
        step.given.has_expired(TimeoutKind::Propose, height, round) || words.proposals(height, round).any(is_judged),
        "L57: n{who} prevotes nil at height {height}, round {round}, before its timer and without a proposal to judge"
    );
    Ok(())
}

/// L36: the block has a polka in this round.
fn check_precommit(step: &Step<'_>, vote: &Vote, id: BlockId, words: &Words, turns: &Turns) -> Result<(), Broken> {
    let (who, height, round) = (step.node.index, vote.height, vote.round);
    ensure!(
        words.has_polka(turns, height, round, Some(id)),
        "L36: n{who} precommits {id} at height {height}, round {round}, and no polka for it exists"
    );
    ensure!(
        engine_at(step, vote).is_none_or(|engine| holds_polka(engine, turns, round, Some(id))),
        "L36: n{who} precommits {id} at height {height}, round {round}, and does not hold its polka"
    );
    Ok(())
}

/// L44, L61: more than two thirds prevoted nil, or the prevote timer expired.
fn check_nil_precommit(step: &Step<'_>, vote: &Vote, words: &Words, turns: &Turns) -> Result<(), Broken> {
    let (who, height, round) = (step.node.index, vote.height, vote.round);
    let is_held = engine_at(step, vote).is_none_or(|engine| holds_polka(engine, turns, round, None));
    ensure!(
        step.given.has_expired(TimeoutKind::Prevote, height, round)
            || (is_held && words.has_polka(turns, height, round, None)),
        "L44: n{who} precommits nil at height {height}, round {round}, before its timer and without a quorum for nil"
    );
    Ok(())
}

/// Feeds the checks with forged histories, for those that no broken rule of a node reaches.
#[cfg(test)]
mod tests {
    use consensus::Timeout;
    use replica::{Input, Output, Timer};
    use types::{Certificate, ChainId, Hash, KeyType, PartSetHeader, Power, Proposal, SignedVote, Time};

    use super::*;
    use crate::{
        checker::step::Given,
        node::{Node, validator_key},
    };

    const H: Height = Height(1);

    struct History {
        words: Words,
        rotation: Rotation,
        reasons: Reasons,
        node: Node,
    }

    fn chain() -> ChainId {
        ChainId::new("cairn-simulated").unwrap()
    }

    fn id(byte: u8) -> BlockId {
        let hash = Hash([byte; 32]);
        BlockId { hash, parts: PartSetHeader { total: 1, hash } }
    }

    fn vote(vote_type: VoteType, voter: usize, round: u32, block_id: Option<BlockId>) -> SignedVote {
        let key = validator_key(voter, KeyType::Ed25519, 0);
        let (round, timestamp, validator) = (Round(round), Time::UNIX_EPOCH, key.public_key().address());
        Vote { vote_type, height: H, round, block_id, timestamp, validator, validator_index: voter as u32 }
            .sign(&chain(), &key)
    }

    impl History {
        fn new() -> Self {
            let key = |index| validator_key(index, KeyType::Ed25519, 0);
            let first = Turns::first((0..4).map(|index| (key(index).public_key(), Power(1))));
            Self {
                words: Words::new(chain()),
                rotation: Rotation::new((0..4).map(|index| key(index).public_key().address()).collect(), first),
                reasons: Reasons::default(),
                node: Node::new(0, Some(key(0)), None),
            }
        }

        fn prevoted(&mut self, voters: std::ops::Range<usize>, round: u32, block_id: Option<BlockId>) {
            voters.for_each(|voter| self.words.say_vote(&vote(VoteType::Prevote, voter, round, block_id)));
        }

        fn proposal(&mut self, round: u32, block_id: BlockId, pol: Option<u32>) -> SignedProposal {
            let (round, pol_round, timestamp) = (Round(round), pol.map(Round), Time::UNIX_EPOCH);
            let proposal = Proposal { height: H, round, pol_round, block_id, timestamp };
            let signed = proposal.sign(&chain(), self.node.key().unwrap());
            self.words.say_proposal(&signed);
            signed
        }

        /// Lets node 0 sign a message in a step with these expired timers and these other messages.
        fn signs(&mut self, message: PeerMessage, expired: &[(TimeoutKind, u32)], others: Vec<PeerMessage>) -> String {
            let timer = |(kind, round): &(TimeoutKind, u32)| {
                Input::Timer(Timer::Consensus(Timeout { kind: *kind, height: H, round: Round(*round) }))
            };
            let given = Given::of(&expired.iter().map(timer).collect::<Vec<_>>());
            let outputs: Vec<Output> = others.into_iter().map(|other| Output::Broadcast(other.into())).collect();
            let step = Step { node: &self.node, given: &given, outputs: &outputs };
            self.reasons.note(0, &message);
            let checked = self.reasons.check(&step, &message, &self.words, &self.rotation);
            checked.err().map_or_else(String::new, |broken| broken.0.split(':').next().unwrap_or_default().to_owned())
        }

        fn votes(&mut self, vote_type: VoteType, round: u32, block_id: Option<BlockId>) -> String {
            self.signs(PeerMessage::Vote(vote(vote_type, 0, round, block_id)), &[], Vec::new())
        }
    }

    #[test]
    fn a_prevote_needs_a_proposal_and_the_polka_of_its_pol_round() {
        let mut history = History::new();
        assert_eq!(history.votes(VoteType::Prevote, 0, Some(id(1))), "L22");
        history.proposal(0, id(1), None);
        assert_eq!(history.votes(VoteType::Prevote, 0, Some(id(1))), "");
        history.proposal(2, id(2), Some(1));
        history.prevoted(0..2, 1, Some(id(2)));
        assert_eq!(history.votes(VoteType::Prevote, 2, Some(id(2))), "L28");
        history.prevoted(2..3, 1, Some(id(2)));
        assert_eq!(history.votes(VoteType::Prevote, 2, Some(id(2))), "");
    }

    #[test]
    fn a_prevote_for_nil_needs_the_timer_or_a_proposal_that_can_be_judged() {
        let mut history = History::new();
        assert_eq!(history.votes(VoteType::Prevote, 0, None), "L57");
        let nil = PeerMessage::Vote(vote(VoteType::Prevote, 0, 0, None));
        assert_eq!(history.signs(nil.clone(), &[(TimeoutKind::Propose, 1)], Vec::new()), "L57", "of another round");
        assert_eq!(history.signs(nil, &[(TimeoutKind::Propose, 0)], Vec::new()), "");
        history.proposal(1, id(1), Some(0));
        assert_eq!(history.votes(VoteType::Prevote, 1, None), "L57", "its polka is missing");
        history.prevoted(1..4, 0, Some(id(1)));
        assert_eq!(history.votes(VoteType::Prevote, 1, None), "");
    }

    #[test]
    fn a_precommit_needs_its_polka() {
        let mut history = History::new();
        history.prevoted(0..2, 0, Some(id(1)));
        history.prevoted(2..4, 0, Some(id(2)));
        history.prevoted(0..4, 1, Some(id(1)));
        assert_eq!(history.votes(VoteType::Precommit, 0, Some(id(1))), "L36");
        assert_eq!(history.votes(VoteType::Precommit, 1, Some(id(1))), "");
    }

    #[test]
    fn a_precommit_for_nil_needs_a_quorum_for_nil_or_the_timer() {
        let mut history = History::new();
        history.prevoted(0..2, 0, None);
        assert_eq!(history.votes(VoteType::Precommit, 0, None), "L44");
        let nil = PeerMessage::Vote(vote(VoteType::Precommit, 0, 0, None));
        assert_eq!(history.signs(nil.clone(), &[(TimeoutKind::Propose, 0)], Vec::new()), "L44");
        assert_eq!(history.signs(nil, &[(TimeoutKind::Prevote, 0)], Vec::new()), "");
        history.prevoted(2..3, 0, None);
        assert_eq!(history.votes(VoteType::Precommit, 0, None), "");
    }

    #[test]
    fn a_lock_is_kept_until_a_later_polka_and_its_proposer_proposes_it_with_its_polka() {
        let mut history = History::new();
        history.prevoted(0..3, 1, Some(id(1)));
        assert_eq!(history.votes(VoteType::Precommit, 1, Some(id(1))), "");
        history.proposal(2, id(2), None);
        assert_eq!(history.votes(VoteType::Prevote, 2, Some(id(2))), "lock");
        let other = history.proposal(3, id(3), None);
        assert_eq!(history.signs(PeerMessage::Proposal(other), &[], Vec::new()), "L16");
        let again = PeerMessage::Proposal(history.proposal(3, id(1), Some(1)));
        assert_eq!(history.signs(again.clone(), &[], Vec::new()), "polka");
        let polka = |voters: std::ops::Range<usize>| {
            let votes = voters.map(|voter| vote(VoteType::Prevote, voter, 1, Some(id(1)))).collect();
            PeerMessage::Certificate(Certificate::new(votes).unwrap())
        };
        assert_eq!(history.signs(again.clone(), &[], vec![polka(0..2)]), "polka", "two of four are no polka");
        assert_eq!(history.signs(again, &[], vec![polka(1..4)]), "");
        history.proposal(4, id(2), Some(2));
        history.prevoted(1..4, 2, Some(id(2)));
        assert_eq!(history.votes(VoteType::Prevote, 4, Some(id(2))), "", "a later polka releases the lock");
    }
}
