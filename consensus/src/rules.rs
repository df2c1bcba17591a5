//! The rules of Algorithm 1: one function for each rule, named by its line in the paper. The documentation of the crate
//! defines the words and the deviations D1 to D7. A function that returns a boolean returns true if its rule fired.
//!
//! The condition in the code is the condition in the paper, for the current height, except where a deviation is named.
//! `Done` holds the "for the first time" of the paper. `Lock` is a block with the round of its polka: the type of
//! `locked` and of `valid`.

use std::collections::BTreeSet;

use types::{BlockId, Lock, Round, Step, Time, VoteType};

use crate::{
    engine::Engine,
    mutation::{Mutation, is_any_rule_broken, mutated},
    notes::{RoundStep, What},
    seen::Verdict,
    timers::{self, TimeoutKind},
};

impl Engine {
    /// L11–L21: starts a round. The proposer proposes, the other validators wait for its proposal.
    pub(crate) fn line_11_start_round(&mut self, round: Round) {
        assert!(round > self.round || round == Round::ZERO, "L11: the rounds of a height only grow");
        self.enter_round(round);
        self.line_11_propose_or_wait();
    }

    /// L14–L21: proposes, or starts the propose timer. If there is `valid`, its block is proposed again, with the round
    /// of its polka. A node that is not the proposer broadcasts the polka behind its `valid` from round 1 on (D4).
    pub(crate) fn line_11_propose_or_wait(&mut self) {
        if self.step != Step::Propose || self.is_abstaining() {
            return;
        }
        if !self.is_proposer() {
            self.show_polka();
            self.start_timer(TimeoutKind::Propose, self.round);
            if mutated(Mutation::PrevoteNilAtOnce) {
                self.vote(VoteType::Prevote, None);
            }
            return;
        }
        if self.own_proposal(self.round).is_some() {
            return self.start_timer(TimeoutKind::Propose, self.round);
        }
        if self.valid.is_some() && mutated(Mutation::ForgetValid) {
            return self.build_block();
        }
        match self.checked_valid() {
            Some((valid, time)) => self.propose(valid.block_id, time, Some(valid.round)),
            // After a restart the bytes of `valid` may not be available yet. They may still arrive in this round (see
            // [`Engine::line_16_when_checked`]); if not, another proposer has to propose it.
            None if self.valid.is_some() => self.start_timer(TimeoutKind::Propose, self.round),
            None => self.build_block(),
        }
    }

    /// L16, late: proposes `valid` if its block was not checked yet when our turn to propose started.
    pub(crate) fn line_16_when_checked(&mut self) -> bool {
        if self.step != Step::Propose
            || self.done.proposed
            || !self.is_proposer()
            || mutated(Mutation::ForgetValid)
            || self.own_proposal(self.round).is_some()
        {
            return false;
        }
        let Some((valid, time)) = self.checked_valid() else { return false };
        self.propose(valid.block_id, time, Some(valid.round));
        true
    }

    /// Returns `valid` and the time in its block's header, if its block is checked and available.
    fn checked_valid(&self) -> Option<(Lock, Time)> {
        let valid = self.valid?;
        let verdict = self.verdict(&valid.block_id).filter(|verdict| verdict.valid)?;
        Some((valid, verdict.time))
    }

    /// L22: upon a proposal without a POL round, in step Propose, when its block is checked: prevote the block if it is
    /// valid and there is no lock on another block, else nil.
    ///
    /// If the proposal is not timely (D5), or its time is not that of the block's header, nil is prevoted. Of several
    /// such proposals only the first that arrived is judged.
    pub(crate) fn line_22(&mut self) -> bool {
        if self.step != Step::Propose {
            return false;
        }
        let first = self.proposals_of(self.round).iter().find(|known| known.signed.proposal.pol_round.is_none());
        let Some(known) = first else { return false };
        let (block_id, timestamp, timely) =
            (known.signed.proposal.block_id, known.signed.proposal.timestamp, known.timely);
        let Some(verdict) = self.verdict(&block_id) else { return false };
        let unlocked = self.locked.is_none_or(|locked| locked.block_id == block_id) || mutated(Mutation::IgnoreLock);
        let timely = timely || mutated(Mutation::AcceptUntimely);
        let acceptable = timely && is_acceptable(verdict, timestamp);
        self.vote(VoteType::Prevote, (acceptable && unlocked).then_some(block_id));
        true
    }

    /// L28: upon a proposal with a POL round and its polka, in step Propose, when its block is checked: prevote the
    /// block if it is valid, has the time of the proposal, and this node is not locked on another block in a later
    /// round than the polka, else nil. While the polka or the check is missing, this rule does not vote; L57 ends the
    /// wait.
    pub(crate) fn line_28(&mut self) -> bool {
        if self.step != Step::Propose {
            return false;
        }
        let justified = self.proposals_of(self.round).iter().find_map(|known| {
            let p = &known.signed.proposal;
            let has_polka = |pol: &Round| self.votes.has_polka(*pol, &p.block_id) || mutated(Mutation::SkipPolka);
            let pol_round = p.pol_round.filter(|pol| *pol < self.round && has_polka(pol))?;
            Some((p.block_id, p.timestamp, pol_round))
        });
        let Some((block_id, timestamp, pol_round)) = justified else { return false };
        let Some(verdict) = self.verdict(&block_id) else { return false };
        let unlocked = self.locked.is_none_or(|locked| locked.round <= pol_round || locked.block_id == block_id)
            || mutated(Mutation::IgnoreLaterLock);
        let acceptable = is_acceptable(verdict, timestamp);
        self.vote(VoteType::Prevote, (acceptable && unlocked).then_some(block_id));
        true
    }

    /// L34: upon a quorum of any prevotes in this round, in step Prevote, for the first time: start the prevote timer.
    pub(crate) fn line_34(&mut self) -> bool {
        let quorum = self.prevotes(self.round).is_some_and(|prevotes| prevotes.has_quorum());
        if self.step != Step::Prevote || self.done.line_34 || !quorum {
            return false;
        }
        self.done.line_34 = true;
        if mutated(Mutation::PrecommitNilAtOnce) {
            self.vote(VoteType::Precommit, None);
            return true;
        }
        self.note(|| What::NewStep(RoundStep::PrevoteWait));
        self.start_timer(TimeoutKind::Prevote, self.round);
        true
    }

    /// L36: upon a valid block with a polka in this round, in step Prevote or Precommit, for the first time: lock it
    /// and precommit it (in Prevote only), and remember it as valid (in both steps).
    ///
    /// The polka identifies the block, so the proposal itself is not needed (D1). The rule fires once for each block:
    /// one round has polkas for two blocks only if more than a third of the power is faulty.
    pub(crate) fn line_36(&mut self) -> bool {
        if self.step < Step::Prevote {
            return false;
        }
        let polka = self.prevotes(self.round).and_then(|prevotes| prevotes.quorum()).flatten();
        let polka = polka.or_else(|| self.weak_polka());
        let Some(block_id) = polka else { return false };
        if self.done.line_36 == Some(block_id) {
            return false;
        }
        self.check_block(block_id);
        if !self.is_valid(&block_id) {
            return false;
        }
        self.done.line_36 = Some(block_id);
        self.note(|| What::Polka);
        let lock = Lock { round: self.round, block_id };
        self.remember_valid(lock);
        if self.step == Step::Prevote {
            self.lock(lock);
            self.vote(VoteType::Precommit, Some(block_id));
        }
        true
    }

    /// L42–L43 for a past round (D6): sets `valid` to the block of the latest polka, if that is later than `valid`. So
    /// a proposer that missed a polka in its round, and received it since, proposes its block. Without this rule, the
    /// others would wait for the turn of a validator that is locked on the block.
    pub(crate) fn line_42_of_a_passed_round(&mut self) -> bool {
        let after = self.valid.map_or(Round::ZERO, |valid| valid.round.next());
        if after >= self.round || mutated(Mutation::ForgetPassedPolka) {
            return false;
        }
        let Some((round, block_id)) = self.votes.latest_polka(after, self.round) else { return false };
        self.check_block(block_id);
        if !self.is_valid(&block_id) {
            return false;
        }
        self.remember_valid(Lock { round, block_id });
        true
    }

    /// Returns the first valid block that prevotes of more than a third of the power name in this round
    /// (`Mutation::WeakPolka`).
    fn weak_polka(&self) -> Option<BlockId> {
        if !mutated(Mutation::WeakPolka) {
            return None;
        }
        let prevotes = self.prevotes(self.round)?;
        let id = prevotes.votes().filter_map(|vote| vote.vote.block_id).find(|id| self.is_valid(id))?;
        let power: u64 = prevotes.votes_for(Some(id)).map(|vote| vote.power().0).sum();
        types::Power(power).is_honest_of(self.validators.total_power()).then_some(id)
    }

    /// L42–L43: sets block and round of `valid`, and the polka behind it.
    fn remember_valid(&mut self, valid: Lock) {
        self.assert_undecided();
        assert!(self.is_valid(&valid.block_id), "I4: a valid block is checked, and its bytes are here");
        assert!(self.valid.is_none_or(|before| before.round <= valid.round), "L43: the valid round only grows");
        assert!(
            self.votes.has_polka(valid.round, &valid.block_id) || is_any_rule_broken(),
            "L42: a polka justifies a valid block"
        );
        self.valid_polka =
            self.prevotes(valid.round).and_then(|prevotes| prevotes.certificate_for(Some(valid.block_id)));
        self.valid = Some(valid);
        self.pin_rounds();
        self.note(|| What::ValidBlock(valid.block_id));
    }

    /// L38–L39: sets block and round of the lock. `line_36` has set `valid` to the same block before.
    fn lock(&mut self, lock: Lock) {
        self.assert_undecided();
        assert_eq!(self.valid, Some(lock), "I3: the block that is locked was set as valid before");
        assert!(lock.round == self.round, "L39: a lock is made in its own round");
        assert!(self.locked_round() < Some(lock.round), "L39: a lock only moves to a later round");
        if mutated(Mutation::SkipLock) {
            return;
        }
        let before = self.locked.replace(lock);
        self.note(|| match before.is_some_and(|before| before.block_id == lock.block_id) {
            true => What::Relock(lock.block_id),
            false => What::Lock(lock.block_id),
        });
    }

    /// L44: upon a quorum of nil prevotes in this round, in step Prevote: precommit nil. The lock does not change.
    pub(crate) fn line_44(&mut self) -> bool {
        let nil = self.prevotes(self.round).and_then(|prevotes| prevotes.quorum()) == Some(None);
        if self.step != Step::Prevote || !nil {
            return false;
        }
        if mutated(Mutation::UnlockOnNil) {
            self.locked = None;
        }
        // CometBFT calls this event a polka too, although the quorum is for nil.
        self.note(|| What::Polka);
        self.vote(VoteType::Precommit, None);
        true
    }

    /// L47: upon a quorum of any precommits in this round, for the first time: start the precommit timer.
    ///
    /// If the quorum is for nil, no block can be decided in this round any more. Then the next round starts at once or,
    /// from the third round of the height on, when this round has lasted long enough (D2).
    pub(crate) fn line_47(&mut self) -> bool {
        let Some(precommits) = self.precommits(self.round).filter(|precommits| precommits.has_quorum()) else {
            return false;
        };
        if precommits.quorum() == Some(None) {
            return self.line_65_after_nil();
        }
        if self.done.line_47 {
            return false;
        }
        self.done.line_47 = true;
        self.note(|| What::NewStep(RoundStep::PrecommitWait));
        self.start_timer(TimeoutKind::Precommit, self.round);
        true
    }

    /// D2: leaves a round that ended in nil. The later the round, the longer it has to last before, so that a lasting
    /// cause of nil votes does not cause a fast sequence of rounds with a disk sync in each. If it has not lasted long
    /// enough, the precommit timer is started for the rest, and L65 leaves the round.
    fn line_65_after_nil(&mut self) -> bool {
        let wait = timers::nil_round(&self.timeouts, self.round).saturating_sub(self.round_age());
        if wait.is_zero() {
            self.line_65();
            return true;
        }
        if self.done.back_off {
            return false;
        }
        self.done.back_off = true;
        self.start_timer_after(TimeoutKind::Precommit, self.round, wait);
        true
    }

    /// L49: upon a quorum of precommits for a valid block in any round of this height, earlier or later, in any step:
    /// decide that block.
    ///
    /// The quorum identifies the block, so the proposal itself is not needed (D1).
    pub(crate) fn line_49(&mut self) -> bool {
        if mutated(Mutation::WeakCommit)
            && let Some((round, block_id)) = self.weak_decision()
        {
            self.decide(round, block_id);
            return true;
        }
        let decisions: BTreeSet<(Round, BlockId)> = self.votes.decision().collect();
        for (round, block_id) in decisions {
            self.check_block(block_id);
            if self.is_valid(&block_id) {
                self.decide(round, block_id);
                return true;
            }
        }
        false
    }

    /// Returns a valid block that precommits of more than a third of the power name (`Mutation::WeakCommit`).
    fn weak_decision(&self) -> Option<(Round, BlockId)> {
        let total = self.validators.total_power();
        self.votes.rounds().find_map(|(round, votes)| {
            let id = votes.precommits.votes().find_map(|vote| vote.vote.block_id)?;
            let power: u64 = votes.precommits.votes_for(Some(id)).map(|vote| vote.power().0).sum();
            (self.is_valid(&id) && types::Power(power).is_honest_of(total)).then_some((round, id))
        })
    }

    /// L55: upon votes of more than a third of the power in a later round, prevotes and precommits together, each
    /// validator counted once: start that round. If there are several such rounds, the latest is started.
    pub(crate) fn line_55(&mut self) -> bool {
        if mutated(Mutation::StayInRound) {
            return false;
        }
        let Some(round) = self.votes.honest_round_above(self.round) else { return false };
        let votes = self.votes.round(round).expect("it has votes");
        self.entry = [&votes.prevotes, &votes.precommits].into_iter().filter_map(|set| set.certificate()).collect();
        self.line_11_start_round(round);
        true
    }

    /// L57: the propose timer expired, in step Propose: prevote nil.
    ///
    /// If a proposal that may be prevoted has arrived, but its block is not checked, the wait continues once, up to the
    /// bound (D7).
    pub(crate) fn line_57(&mut self) {
        if self.step == Step::Propose && !mutated(Mutation::IgnoreProposeTimer) {
            let bound = timers::bound(self.timeouts.propose, self.timeouts.propose_delta, self.round);
            let more = bound.saturating_sub(self.done.propose_wait);
            if !self.done.waits_for_block && !more.is_zero() && self.is_block_arriving() {
                self.done.waits_for_block = true;
                return self.start_timer_after(TimeoutKind::Propose, self.round, more);
            }
            let proposer = self.validators.proposer_of_round(self.round).address();
            if self.proposals_of(self.round).is_empty() {
                self.delays.proposal_missed(proposer);
            }
            self.note(|| What::TimeoutPropose);
            self.vote(VoteType::Prevote, None);
        }
    }

    /// L61: the prevote timer expired, in step Prevote: precommit nil.
    pub(crate) fn line_61(&mut self) {
        if self.step == Step::Prevote && !mutated(Mutation::IgnorePrevoteTimer) {
            self.note(|| What::TimeoutWait);
            self.vote(VoteType::Precommit, None);
        }
    }

    /// L65: starts the next round, because the precommit timer expired or this round ended in nil (D2).
    pub(crate) fn line_65(&mut self) {
        self.entry = self.precommits(self.round).and_then(|precommits| precommits.certificate()).into_iter().collect();
        self.line_11_start_round(self.round.next());
    }
}

/// Returns true if a block is valid and has the time of its proposal.
fn is_acceptable(verdict: Verdict, timestamp: Time) -> bool {
    (verdict.valid || mutated(Mutation::PrevoteInvalid))
        && (verdict.time == timestamp || mutated(Mutation::AcceptOtherTime))
}
