//! What each input changes in the engine. The rules fire after it.

use std::collections::BTreeMap;

use types::{
    BlockId, HardState, Height, Power, Round, SignState, Step, Synchrony, Time, Timeouts, ValidatorSet,
    VerifiedCertificate, VerifiedProposal, VerifiedVote,
};

use super::{Engine, Known, Last, report};
use crate::{
    io::Output,
    mutation::{Mutation, mutated},
    notes::What,
    seen::Verdict,
    timers::{Timeout, TimeoutKind},
    votes::{Added, HeightVotes},
};

impl Engine {
    pub(super) fn on_start_height(
        &mut self,
        height: Height,
        validators: ValidatorSet,
        timeouts: Timeouts,
        synchrony: Synchrony,
        hard_state: Option<Box<HardState>>,
    ) {
        assert!(height > self.height, "heights only grow: {height} after {}", self.height);
        let votes = std::mem::replace(&mut self.votes, HeightVotes::new(validators.clone()));
        let last_validators = std::mem::replace(&mut self.validators, validators);
        let reports = std::mem::take(&mut self.reports);
        self.last = self.decided.take().filter(|_| self.height.next() == height).map(|(round, block_id)| Last {
            round,
            block_id,
            validators: last_validators,
            votes,
            reports,
        });
        let keeps_timeouts = mutated(Mutation::KeepTimeouts) && self.height > Height::GENESIS;
        let timeouts = if keeps_timeouts { self.timeouts } else { timeouts };
        self.height = height;
        (self.timeouts, self.synchrony) = (timeouts, synchrony);
        (self.locked, self.valid, self.valid_polka) = (None, None, None);
        self.proposals.clear();
        self.blocks.clear();
        self.own_proposals.clear();
        self.own_votes.clear();
        self.entry.clear();
        let validators = &self.validators;
        self.delays.retain(|address| validators.by_address(address).is_some());
        self.own_index = self.signer.as_mut().and_then(|signer| signer.choose(&self.validators));
        if self.signer.is_some() {
            self.start_timer(TimeoutKind::Rebroadcast, Round::ZERO);
        }
        match hard_state.filter(|_| !mutated(Mutation::RestoreNothing)) {
            Some(hard_state) => self.restore(*hard_state),
            None => self.line_11_start_round(Round::ZERO),
        }
    }

    /// Continues where this node stopped, with the same locks, and sends the same signed messages again. They were
    /// durable before they were first sent, so no write-ahead is needed.
    fn restore(&mut self, mut hard_state: HardState) {
        if mutated(Mutation::RestoreNoLock) {
            (hard_state.locked, hard_state.valid, hard_state.valid_polka) = (None, None, None);
        }
        if mutated(Mutation::RestoreNoMessages) {
            (hard_state.proposals, hard_state.votes) = (Vec::new(), Vec::new());
        }
        assert_eq!(hard_state.height, self.height, "the hard state is of the height that starts");
        if let Some(signer) = &mut self.signer {
            signer.raise_to(SignState::of_hard_state(&hard_state, &self.chain_id));
        }
        self.enter_round(hard_state.round);
        self.step = hard_state.step;
        (self.locked, self.valid, self.valid_polka) = (hard_state.locked, hard_state.valid, hard_state.valid_polka);
        self.pin_rounds();
        for block_id in [self.locked, self.valid].into_iter().flatten().map(|lock| lock.block_id) {
            self.check_block(block_id);
        }
        if let Some(polka) = self.valid_polka.clone() {
            for vote in polka.votes().iter().filter(|vote| (vote.vote.validator_index as usize) < self.validators.len())
            {
                self.votes.add(VerifiedVote::of_own(vote.clone(), &self.validators), true);
            }
        }
        for signed in hard_state.proposals {
            self.own_proposals.push(signed.clone());
            self.keep_proposal(Known { signed, timely: true });
        }
        for signed in hard_state.votes {
            self.own_votes.push(signed.clone());
            self.votes.add(VerifiedVote::of_own(signed, &self.validators), false);
        }
        self.say_again();
        if self.step == Step::Propose {
            self.line_11_propose_or_wait();
        }
    }

    pub(super) fn on_proposal(&mut self, proposal: VerifiedProposal, received: Time) {
        let p = &proposal.proposal;
        if p.height != self.height || self.decided.is_some() || !self.is_kept(p.round) {
            return;
        }
        let timely = self.is_timely(p.timestamp, received, p.round);
        if p.round == self.round {
            self.delays.proposal_came(&self.validators.proposer_of_round(p.round).address());
        }
        self.keep_proposal(Known { signed: proposal.into_signed(), timely });
    }

    /// Counts a vote. `proven` means that a certificate shows a quorum for its value.
    pub(super) fn on_vote(&mut self, vote: VerifiedVote, proven: bool) {
        if vote.vote.height != self.height {
            self.gather_late_vote(vote);
            return;
        }
        let copy = (*vote).clone();
        match self.votes.add(vote, proven) {
            Added::Conflicting { first, report: true } if !mutated(Mutation::IgnoreConflicts) => {
                let evidence = report(&mut self.reports, *first, copy, &self.validators, self.wall);
                self.outputs.extend(evidence.map(Output::Evidence));
            }
            Added::New => self.note(|| What::Vote(Box::new(copy))),
            _ => {}
        }
    }

    pub(super) fn on_certificate(&mut self, certificate: VerifiedCertificate) {
        if certificate.height() != self.height || mutated(Mutation::IgnoreCertificates) {
            return;
        }
        let mut powers: BTreeMap<Option<BlockId>, Power> = BTreeMap::new();
        for vote in certificate.votes() {
            let power = powers.entry(vote.vote.block_id).or_default();
            *power = power.checked_add(vote.power()).expect("a certificate names each validator once");
        }
        let total = self.validators.total_power();
        for vote in certificate.votes() {
            self.on_vote(vote.clone(), powers[&vote.vote.block_id].is_quorum_of(total));
        }
        if mutated(Mutation::IgnoreConflictsInCertificates) {
            self.outputs.retain(|output| !matches!(output, Output::Evidence(_)));
        }
    }

    pub(super) fn on_block_built(&mut self, round: Round, block_id: BlockId, time: Time) {
        self.judge(block_id, Verdict { valid: true, time });
        let own_turn = round == self.round && self.step == Step::Propose && self.is_proposer();
        if own_turn && self.decided.is_none() && self.own_proposal(round).is_none() {
            self.propose(block_id, time, None);
        }
    }

    pub(super) fn judge(&mut self, block_id: BlockId, verdict: Verdict) {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.judge(block_id, verdict, || self.needed_blocks());
        self.blocks = blocks;
        assert!(!verdict.valid || self.is_valid(&block_id), "L49: a valid block stays valid");
    }

    pub(super) fn on_block_dropped(&mut self, block_id: BlockId) {
        if mutated(Mutation::KeepVerdicts) {
            return;
        }
        self.blocks.forget(&block_id);
        if self.needed_blocks().contains(&block_id) {
            self.check_block(block_id);
        }
    }

    pub(super) fn on_timeout(&mut self, timeout: Timeout) {
        if timeout.height != self.height || self.decided.is_some() {
            return;
        }
        match timeout.kind {
            TimeoutKind::Rebroadcast => {
                self.say_again();
                self.start_timer(TimeoutKind::Rebroadcast, timeout.round.next());
            }
            _ if self.is_abstaining() || (timeout.round != self.round && !mutated(Mutation::AnyTimer)) => {}
            TimeoutKind::Propose => self.line_57(),
            TimeoutKind::Prevote => self.line_61(),
            TimeoutKind::Precommit if mutated(Mutation::IgnorePrecommitTimer) => {}
            TimeoutKind::Precommit => {
                self.note(|| What::TimeoutWait);
                self.line_65();
            }
        }
    }

    pub(super) fn on_sign_again(&mut self) {
        if std::mem::take(&mut self.abstain) && self.decided.is_none() && self.height != Height::GENESIS {
            self.line_11_propose_or_wait();
        }
    }
}
