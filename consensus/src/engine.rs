//! The engine: the state of one height, the loop that fires the rules, and what several rules share. `inputs.rs` has
//! what each input changes, `read.rs` the read access of others, and `rules.rs` the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use types::{
    BlockId, Certificate, ChainId, Commit, DuplicateVoteEvidence, Evidence, Height, Lock, Moment, Proposal, Round,
    SignedProposal, SignedVote, Step, Synchrony, Time, Timeouts, ValidatorSet, VerifiedVote, Vote, VoteType,
    limits::OWN_ROUNDS_MAX,
};

use crate::{
    io::{Input, Message, Output},
    mutation::{Mutation, mutated},
    notes::{Notes, RoundStep, What},
    seen::{self, Reports, Verdict},
    signer::Signer,
    timers::{self, Delays, Timeout, TimeoutKind},
    votes::{Added, HeightVotes, VoteSet},
};

mod inputs;
mod read;

/// A proposal that is held, and whether it was timely (D5).
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) signed: SignedProposal,
    pub(crate) timely: bool,
}

/// Maximum number of proposals that are kept for one round. An equivocating proposer may send two; more are of no use.
const PROPOSALS_PER_ROUND_MAX: usize = 2;

/// Maximum number of blocks that rules need at one time. The replica keeps their bytes, whatever other blocks peers
/// name. They are: the locked and the valid block, up to two with a quorum of precommits, up to four that this round
/// and the next propose, and, in the remaining places, blocks with a polka, the latest first.
pub const NEEDED_BLOCKS_MAX: usize = 16;

const _: () = assert!(NEEDED_BLOCKS_MAX < seen::BLOCKS_MAX);

/// Holds the decision and the votes of the height before, to collect its late votes.
#[derive(Clone, Debug)]
struct Last {
    round: Round,
    block_id: BlockId,
    validators: ValidatorSet,
    votes: HeightVotes,
    reports: Reports,
}

/// Implements Algorithm 1 of arXiv:1807.04938 as a function: [`Engine::step`] takes an input and returns the actions to
/// execute, in order.
///
/// The same state and the same inputs give the same outputs. The documentation of the crate has the rules and the
/// invariants.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) chain_id: ChainId,
    pub(crate) signer: Option<Signer>,
    pub(crate) own_index: Option<u32>,
    abstain: bool,

    // In the paper: h_p, round_p, step_p.
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) step: Step,
    // In the paper: lockedValue_p with lockedRound_p, and validValue_p with validRound_p; then the polka behind the
    // latter.
    pub(crate) locked: Option<Lock>,
    pub(crate) valid: Option<Lock>,
    pub(crate) valid_polka: Option<Certificate>,

    pub(crate) validators: ValidatorSet,
    pub(crate) timeouts: Timeouts,
    synchrony: Synchrony,
    pub(crate) votes: HeightVotes,
    pub(crate) proposals: BTreeMap<Round, Vec<Known>>,
    blocks: seen::Blocks,
    reports: Reports,
    pub(crate) own_proposals: Vec<SignedProposal>,
    pub(crate) own_votes: Vec<SignedVote>,
    /// The "for the first time" of L34, L36 and L47 in the current round, and other rules that fire once per round.
    pub(crate) done: Done,
    /// The certificates that brought this node into its round, for peers that are still in another round.
    pub(crate) entry: Vec<Certificate>,
    pub(crate) decided: Option<(Round, BlockId)>,
    last: Option<Last>,
    pub(crate) delays: Delays,
    round_started: Time,
    /// Steady time of this step: it measures durations and never goes back.
    pub(crate) now: Time,
    /// Time of the wall clock in this step, for timestamps.
    wall: Time,
    outputs: Vec<Output>,
    /// True if a message was signed since the last [`Output::WriteAhead`].
    unsaved: bool,
    pub(crate) notes: Notes,
}

/// Records which once-only rules of the current round have fired. `line_36` holds the block for which it fired.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) line_34: bool,
    pub(crate) line_36: Option<BlockId>,
    pub(crate) line_47: bool,
    /// The start of the next round is delayed, because this round ended in nil too soon (D2).
    pub(crate) back_off: bool,
    /// The node tried to propose in this round, although the guard ([`Signer`]) may have refused the signature.
    pub(crate) proposed: bool,
    /// Duration of the propose timer, and whether the extended wait for the block has replaced it (D7).
    pub(crate) propose_wait: Duration,
    pub(crate) waits_for_block: bool,
    /// The time from the start of the round to the verdict on its proposal was measured.
    pub(crate) measured: bool,
    /// The complete proposal of this round was recorded as a note.
    pub(crate) complete: bool,
}

impl Engine {
    /// Creates an engine that waits for [`Input::StartHeight`]. Without a signer it follows and decides, but sends no
    /// message.
    pub fn new(chain_id: ChainId, signer: Option<Signer>, validators: ValidatorSet) -> Self {
        Self {
            chain_id,
            signer,
            own_index: None,
            abstain: false,
            height: Height::GENESIS,
            round: Round::ZERO,
            step: Step::Propose,
            locked: None,
            valid: None,
            valid_polka: None,
            votes: HeightVotes::new(validators.clone()),
            validators,
            timeouts: Timeouts::default(),
            synchrony: types::Params::default().synchrony,
            proposals: BTreeMap::new(),
            blocks: seen::Blocks::default(),
            reports: Reports::default(),
            own_proposals: Vec::new(),
            own_votes: Vec::new(),
            done: Done::default(),
            entry: Vec::new(),
            decided: None,
            last: None,
            delays: Delays::default(),
            round_started: Time::UNIX_EPOCH,
            now: Time::UNIX_EPOCH,
            wall: Time::UNIX_EPOCH,
            outputs: Vec::new(),
            unsaved: false,
            notes: Notes::default(),
        }
    }

    /// Takes one input and returns the actions to execute, in order. The steady time of `now` measures delays, and its
    /// wall time is the timestamp of votes and evidence.
    pub fn step(&mut self, now: impl Into<Moment>, input: Input) -> Vec<Output> {
        Moment { wall: self.wall, steady: self.now } = now.into();
        match input {
            Input::StartHeight { height, validators, timeouts, synchrony, hard_state, abstain } => {
                self.abstain = abstain;
                self.on_start_height(height, validators, timeouts, synchrony, hard_state);
            }
            Input::Proposal { proposal, received } => self.on_proposal(proposal, received),
            Input::Vote(vote) => self.on_vote(vote, false),
            Input::Certificate(certificate) => self.on_certificate(certificate),
            Input::BlockBuilt { round, block_id, time } => self.on_block_built(round, block_id, time),
            Input::BlockChecked { block_id, time, valid } => self.judge(block_id, Verdict { valid, time }),
            Input::BlockDropped { block_id } => self.on_block_dropped(block_id),
            Input::Timeout(timeout) => self.on_timeout(timeout),
            Input::SignAgain => self.on_sign_again(),
        }
        self.measure_proposal();
        self.run_rules();
        self.take_outputs()
    }

    /// Returns the outputs of this step. If a message was signed, the hard state precedes the first message (I2).
    fn take_outputs(&mut self) -> Vec<Output> {
        let mut outputs = std::mem::take(&mut self.outputs);
        if std::mem::take(&mut self.unsaved) {
            if mutated(Mutation::SkipWriteAhead) {
                return outputs;
            }
            let first =
                outputs.iter().position(|output| matches!(output, Output::Broadcast(_))).unwrap_or(outputs.len());
            outputs.insert(first, Output::WriteAhead(Box::new(self.hard_state())));
        }
        self.assert_invariants(&outputs);
        outputs
    }

    /// Fires rules until no rule can fire any more.
    fn run_rules(&mut self) {
        while self.decided.is_none() && self.height != Height::GENESIS && self.fire_one_rule() {}
    }

    /// Fires the first rule that can fire, and returns false if there is none. L49 and L55 are tried first, because a
    /// node that abstains has only these two: it decides and follows the rounds of the others, without a vote.
    fn fire_one_rule(&mut self) -> bool {
        self.note_complete_proposal();
        if self.line_49() || self.line_55() {
            return true;
        }
        if self.is_abstaining() {
            return false;
        }
        self.line_16_when_checked()
            || self.line_22()
            || self.line_28()
            || self.line_34()
            || self.line_36()
            || self.line_42_of_a_passed_round()
            || self.line_44()
            || self.line_47()
    }

    // ---- proposals ---------------------------------------------------------------------------------------------

    /// Returns true if proposals of `round` are kept. Those of rounds after the next one are kept only if votes of the
    /// round are held.
    fn is_kept(&self, round: Round) -> bool {
        round >= self.votes.oldest() && (round <= self.round.next() || self.votes.round(round).is_some())
    }

    fn keep_proposal(&mut self, known: Known) {
        let (round, block_id) = (known.signed.proposal.round, known.signed.proposal.block_id);
        let kept = self.proposals.entry(round).or_default();
        if kept.len() < PROPOSALS_PER_ROUND_MAX && kept.iter().all(|other| other.signed != known.signed) {
            kept.push(known);
            assert!(kept.len() <= PROPOSALS_PER_ROUND_MAX, "I6: {} proposals of one round are held", kept.len());
            self.forget_proposals();
            self.pin_rounds();
            // For a round after the next one, `enter_round` requests the check when the round before it starts. For a
            // round before the last one, a rule requests it upon a polka or a quorum of precommits.
            if round <= self.round.next() && round.next() >= self.round {
                self.check_block(block_id);
            }
        }
    }

    /// Forgets proposals of rounds that are too old, and of later rounds whose votes were forgotten.
    fn forget_proposals(&mut self) {
        let (votes, next) = (&self.votes, self.round.next());
        self.proposals.retain(|round, _| *round >= votes.oldest() && (*round <= next || votes.round(*round).is_some()));
    }

    /// Sets the rounds whose votes are kept at any age, because rules refer to them: those of `locked` and `valid`, and
    /// the POL rounds of the proposals of this round and the next.
    pub(crate) fn pin_rounds(&mut self) {
        let locks = [self.locked, self.valid].into_iter().flatten().map(|lock| lock.round);
        let proposals = [self.round, self.round.next()].map(|round| self.proposals_of(round)).into_iter().flatten();
        let pols = proposals.filter_map(|known| known.signed.proposal.pol_round).filter(|pol| *pol < self.round.next());
        let pinned = locks.chain(pols).collect();
        self.votes.pin(pinned);
    }

    // ---- helpers of several rules --------------------------------------------------------------------------------

    /// Returns true if this node does not sign at this height.
    pub fn is_abstaining(&self) -> bool {
        self.abstain && !mutated(Mutation::IgnoreAbstain)
    }

    pub(crate) fn is_proposer(&self) -> bool {
        let Some(signer) = &self.signer else { return false };
        if mutated(Mutation::ProposeOutOfTurn) {
            return !self.is_abstaining() && self.own_index.is_some();
        }
        !self.is_abstaining() && self.validators.proposer_of_round(self.round).address() == signer.address()
    }

    pub(crate) fn locked_round(&self) -> Option<Round> {
        self.locked.map(|locked| locked.round)
    }

    pub(crate) fn is_valid(&self, block_id: &BlockId) -> bool {
        self.verdict(block_id).is_some_and(|verdict| verdict.valid)
    }

    pub(crate) fn verdict(&self, block_id: &BlockId) -> Option<Verdict> {
        self.blocks.verdict(block_id)
    }

    /// Returns the proposals of a round, in order of arrival.
    pub(crate) fn proposals_of(&self, round: Round) -> &[Known] {
        self.proposals.get(&round).map_or(&[], Vec::as_slice)
    }

    /// Returns true if `time − PRECISION ≤ received ≤ time + MESSAGE_DELAY · 1.1^round + PRECISION`.
    fn is_timely(&self, time: Time, received: Time, round: Round) -> bool {
        let Synchrony { precision, message_delay } = self.synchrony;
        let delay = (0..round.0.min(100)).fold(message_delay, |delay, _| delay * 11 / 10);
        time.saturating_sub(precision) <= received && received <= time.saturating_add(delay).saturating_add(precision)
    }

    /// Requests the check of a block, unless it was requested before.
    pub(crate) fn check_block(&mut self, block_id: BlockId) {
        let mut blocks = std::mem::take(&mut self.blocks);
        if blocks.ask(block_id, || self.needed_blocks()) {
            self.outputs.push(Output::CheckBlock(block_id));
        }
        self.blocks = blocks;
    }

    /// Measures, once per round, the time from its start until the block of another proposer is available and checked.
    fn measure_proposal(&mut self) {
        if self.done.measured || self.decided.is_some() {
            return;
        }
        let known = self.proposals_of(self.round).iter();
        if !known.map(|known| known.signed.proposal.block_id).any(|id| self.verdict(&id).is_some()) {
            return;
        }
        self.done.measured = true;
        let proposer = self.validators.proposer_of_round(self.round).address();
        if self.signer.as_ref().is_none_or(|signer| signer.address() != proposer) {
            self.delays.block_checked(self.now.since(self.round_started));
        }
    }

    /// Returns true if the block of a proposal that this node may prevote is still arriving or being checked.
    pub(crate) fn is_block_arriving(&self) -> bool {
        self.proposals_of(self.round).iter().any(|known| {
            let p = &known.signed.proposal;
            let is_acceptable = match p.pol_round {
                None => known.timely,
                Some(pol) => pol < self.round && self.votes.has_polka(pol, &p.block_id),
            };
            is_acceptable && self.verdict(&p.block_id).is_none()
        })
    }

    /// Returns how long the current round has lasted.
    pub(crate) fn round_age(&self) -> Duration {
        self.now.since(self.round_started)
    }

    /// Moves to step Propose of a round, forgets what no rule needs any more, and requests the checks of the blocks
    /// that this round and the next propose.
    pub(crate) fn enter_round(&mut self, round: Round) {
        self.assert_undecided();
        self.round = round;
        self.step = Step::Propose;
        self.done = Done::default();
        self.round_started = self.now;
        self.votes.enter_round(round);
        self.forget_proposals();
        self.pin_rounds();
        let proposed = [round, round.next()].map(|round| self.proposals_of(round)).into_iter().flatten();
        let proposed: Vec<BlockId> = proposed.map(|known| known.signed.proposal.block_id).collect();
        proposed.into_iter().for_each(|block_id| self.check_block(block_id));
        self.note_new_round();
    }

    pub(crate) fn start_timer(&mut self, kind: TimeoutKind, round: Round) {
        let t = &self.timeouts;
        let after = match kind {
            TimeoutKind::Propose => {
                let proposer = self.validators.proposer_of_round(round).address();
                self.done.propose_wait = self.delays.propose(t, &proposer, round);
                self.done.propose_wait
            }
            TimeoutKind::Prevote => timers::bound(t.prevote, t.prevote_delta, round),
            TimeoutKind::Precommit => timers::bound(t.precommit, t.precommit_delta, round),
            TimeoutKind::Rebroadcast => timers::rebroadcast(t, round),
        };
        self.start_timer_after(kind, round, after);
    }

    pub(crate) fn start_timer_after(&mut self, kind: TimeoutKind, round: Round, after: Duration) {
        let is_lost = match kind {
            TimeoutKind::Propose => mutated(Mutation::NoProposeTimer),
            TimeoutKind::Prevote => mutated(Mutation::NoPrevoteTimer),
            TimeoutKind::Precommit => mutated(Mutation::NoPrecommitTimer),
            TimeoutKind::Rebroadcast => mutated(Mutation::RepeatOnce) && round > Round::ZERO,
        };
        if is_lost {
            return;
        }
        let after = match kind {
            TimeoutKind::Prevote if mutated(Mutation::HastyPrevoteTimer) => Duration::ZERO,
            _ if mutated(Mutation::SlowTimers) => 5 * after,
            _ => after,
        };
        assert!(kind == TimeoutKind::Rebroadcast || round == self.round, "L21, L35, L48: timers of this round");
        self.outputs.push(Output::StartTimer(Timeout { kind, height: self.height, round }, after));
    }

    pub(crate) fn build_block(&mut self) {
        assert!(
            self.is_proposer() && (self.valid.is_none() || mutated(Mutation::ForgetValid)),
            "L18: a proposer without a valid block builds one"
        );
        self.outputs.push(Output::BuildBlock { height: self.height, round: self.round });
    }

    pub(crate) fn own_proposal(&self, round: Round) -> Option<&SignedProposal> {
        self.own_proposals.iter().find(|signed| signed.proposal.round == round)
    }

    /// Signs and broadcasts a proposal (L19). A re-proposal is sent together with the polka that justifies it.
    ///
    /// The guard ([`Signer`]) refuses the signature if an imported signing state says that a conflicting message may
    /// have been signed. Then the node starts the propose timer like the others.
    pub(crate) fn propose(&mut self, block_id: BlockId, timestamp: Time, pol_round: Option<Round>) {
        self.assert_undecided();
        assert!(self.is_proposer() && self.step == Step::Propose, "L14: only the proposer proposes, in step Propose");
        assert!(self.own_proposal(self.round).is_none(), "I1: one proposal in each round");
        assert!(self.is_valid(&block_id), "I4: a proposed block is valid and its bytes are available");
        let pol_round = pol_round.map(|pol| if mutated(Mutation::OtherPolRound) { pol.next() } else { pol });
        assert!(
            pol_round.is_none_or(|pol| pol < self.round) || mutated(Mutation::OtherPolRound),
            "L16: a polka of an earlier round justifies a re-proposal"
        );
        let proposal = Proposal { height: self.height, round: self.round, pol_round, block_id, timestamp };
        let signer = self.signer.as_mut().expect("only a proposer proposes");
        let signed = signer.sign_proposal(proposal, &self.chain_id);
        self.done.proposed = true;
        let Ok(signed) = signed else { return self.start_timer(TimeoutKind::Propose, self.round) };
        keep_own(&mut self.own_proposals, signed.clone(), |signed| signed.proposal.hrs());
        self.unsaved = true;
        self.outputs.push(Output::Broadcast(Message::Proposal(signed.clone())));
        if let (Some(_), Some(polka), false) = (pol_round, self.valid_polka.clone(), mutated(Mutation::HidePolka)) {
            self.outputs.push(Output::Broadcast(Message::Certificate(polka)));
        }
        self.keep_proposal(Known { signed, timely: true });
    }

    /// Signs, counts and broadcasts a vote of the current round, and moves to its step. A node that is not a validator
    /// only advances its step.
    pub(crate) fn vote(&mut self, vote_type: VoteType, block_id: Option<BlockId>) {
        let step = match vote_type {
            VoteType::Prevote => Step::Prevote,
            VoteType::Precommit => Step::Precommit,
        };
        self.assert_undecided();
        assert!(!self.is_abstaining(), "I1: a node that may have signed at this height before does not vote");
        assert!(self.step < step, "I1: a node votes once in each step, and steps only grow");
        assert!(
            block_id.is_none_or(|id| self.is_valid(&id)),
            "I4: the block of a vote is valid, and its bytes are here"
        );
        self.step = step;
        self.note(|| What::NewStep(step.into()));
        let (Some(index), Some(signer)) = (self.own_index, self.signer.as_mut()) else { return };
        let vote = Vote {
            vote_type,
            height: self.height,
            round: self.round,
            block_id,
            timestamp: self.wall,
            validator: signer.address(),
            validator_index: index,
        };
        #[cfg(feature = "mutations")]
        if mutated(Mutation::DoubleSign) && block_id.is_some() {
            let other = signer.sign_vote_unguarded(Vote { block_id: None, ..vote.clone() }, &self.chain_id);
            self.outputs.push(Output::Broadcast(Message::Vote(other)));
        }
        // The guard refuses if an imported signing state says that a conflicting message may have been signed; then the
        // node only follows.
        let Ok(signed) = signer.sign_vote(vote, &self.chain_id) else { return };
        keep_own(&mut self.own_votes, signed.clone(), |signed| signed.vote.hrs());
        self.unsaved = true;
        self.votes.add(VerifiedVote::of_own(signed.clone(), &self.validators), false);
        self.note(|| What::Vote(Box::new(signed.clone())));
        self.outputs.push(Output::Broadcast(Message::Vote(signed)));
    }

    /// Sends again our last messages, the certificates that brought this node into its round, and, after the first
    /// failed round, the polka behind `valid`: if other nodes missed it, a lock of this node would stay hidden from
    /// them.
    pub(crate) fn say_again(&mut self) {
        if self.signer.is_none() || mutated(Mutation::NeverRepeat) {
            return;
        }
        if let Some(proposal) = self.own_proposals.last().cloned() {
            self.outputs.push(Output::Broadcast(Message::Proposal(proposal)));
        }
        for vote_type in [VoteType::Prevote, VoteType::Precommit] {
            if let Some(vote) = self.own_votes.iter().rfind(|signed| signed.vote.vote_type == vote_type).cloned() {
                self.outputs.push(Output::Broadcast(Message::Vote(vote)));
            }
        }
        for certificate in self.entry.clone() {
            self.outputs.push(Output::Broadcast(Message::Certificate(certificate)));
        }
        self.show_polka();
    }

    /// Broadcasts the polka behind `valid`, if there is one and round 0 has failed (D4).
    pub(crate) fn show_polka(&mut self) {
        if self.round > Round::ZERO
            && !mutated(Mutation::KeepPolkaToItself)
            && let Some(polka) = self.valid_polka.clone()
        {
            self.outputs.push(Output::Broadcast(Message::Certificate(polka)));
        }
    }

    /// Decides the height. The commit is built from the votes that were counted.
    pub(crate) fn decide(&mut self, round: Round, block_id: BlockId) {
        self.assert_undecided();
        assert!(self.is_valid(&block_id), "I4: a decided block is valid, and its bytes are here");
        self.decided = Some((round, block_id));
        self.note(|| What::NewStep(RoundStep::Commit));
        let commit = commit_of(&self.votes, self.height, round, block_id, &self.validators);
        self.outputs.push(Output::Commit { block_id, commit });
    }

    /// Takes a late vote of the height before, if its round is held. A precommit adds a signature to the last commit,
    /// and a vote of either type may prove that its validator signed twice.
    fn gather_late_vote(&mut self, vote: VerifiedVote) {
        let Some(last) = &mut self.last else { return };
        let v = &vote.vote;
        let is_late = v.height.next() == self.height;
        if !is_late || v.round != last.round && last.votes.round(v.round).is_none() {
            return;
        }
        let copy = (*vote).clone();
        if let Added::Conflicting { first, report: true } = last.votes.add(vote, false)
            && !mutated(Mutation::IgnoreLateConflicts)
        {
            let evidence = report(&mut last.reports, *first, copy, &last.validators, self.wall);
            self.outputs.extend(evidence.map(Output::Evidence));
        }
    }

    /// Compares the precommits of a commit, whose signatures hold, with the votes that are held of its height, this one or the one
    /// before, and returns evidence of what they contradict and was not reported before. The precommits count for nothing.
    ///
    /// Our own key is left out: what another process signs with it reaches this node as a vote, or as the evidence of a peer, and
    /// the replica judges it there. Cost: O(n log n) if votes of the round are held, none otherwise.
    pub fn contradictions(&mut self, commit: &Commit) -> Vec<Evidence> {
        let is_own = |address| self.signer.as_ref().is_some_and(|signer| signer.addresses().any(|own| own == address));
        let (votes, validators, reports) = match &mut self.last {
            _ if commit.height == self.height => (&self.votes, &self.validators, &mut self.reports),
            Some(last) if commit.height.next() == self.height => (&last.votes, &last.validators, &mut last.reports),
            _ => return Vec::new(),
        };
        let Some(held) = votes.round(commit.round) else { return Vec::new() };
        let precommits = (0..commit.signatures.len()).filter_map(|index| commit.vote(index));
        let mut found = Vec::new();
        for second in precommits.filter(|signed| !is_own(signed.vote.validator)) {
            let mut of_validator = held.precommits.votes_of(second.vote.validator_index);
            let Some(first) = of_validator.find(|held| held.vote.block_id != second.vote.block_id) else { continue };
            found.extend(report(reports, (**first).clone(), second, validators, self.wall).map(|evidence| *evidence));
        }
        found
    }

    // ---- read access ---------------------------------------------------------------------------------------------

    /// Returns the blocks whose bytes must stay available, at most [`NEEDED_BLOCKS_MAX`]: a rule may lock, propose or
    /// decide them.
    pub fn needed_blocks(&self) -> BTreeSet<BlockId> {
        let locks = [self.locked, self.valid].into_iter().flatten().map(|lock| lock.block_id);
        let decided = self.decided.into_iter().chain(self.votes.decision()).map(|(_, block_id)| block_id).take(2);
        let proposals = [self.round, self.round.next()].map(|round| self.proposals_of(round)).into_iter().flatten();
        let polkas = self.votes.rounds().rev().filter_map(|(_, votes)| votes.prevotes.quorum().flatten());
        let mut needed = BTreeSet::new();
        for block_id in locks.chain(decided).chain(proposals.map(|known| known.signed.proposal.block_id)).chain(polkas)
        {
            if needed.len() < NEEDED_BLOCKS_MAX {
                needed.insert(block_id);
            }
        }
        let mut locks = [self.locked, self.valid].into_iter().flatten();
        assert!(
            locks.all(|lock| needed.contains(&lock.block_id)),
            "I4: the replica keeps the locked and the valid block"
        );
        needed
    }

    /// Returns the memory held for this height and for the votes of the last one, in bytes.
    pub fn held_bytes(&self) -> usize {
        let last = self.last.as_ref().map_or(0, |last| last.votes.bytes() + last.reports.bytes());
        let proposals: usize = self.proposals.values().map(Vec::len).sum();
        let own = size_of_val(&self.own_proposals[..]) + size_of_val(&self.own_votes[..]);
        let certificates = self.entry.iter().chain(&self.valid_polka).map(|certificate| certificate.votes().len());
        last + self.votes.bytes()
            + self.reports.bytes()
            + self.blocks.bytes()
            + proposals * size_of::<Known>()
            + own
            + certificates.sum::<usize>() * size_of::<SignedVote>()
    }

    /// Returns the maximum of [`Engine::held_bytes`], in bytes (I6). It depends only on the number of validators, of
    /// this height and of the last one.
    pub fn held_bytes_max(&self) -> usize {
        let validators = self.validators.len().max(self.last.as_ref().map_or(0, |last| last.validators.len()));
        // A single vote of a validator in a far round is enough for proposals of that round to be kept.
        let rounds = crate::votes::PAST_ROUNDS_MAX as usize + 2 + validators;
        2 * (HeightVotes::bytes_max(validators) + Reports::bytes_max(validators))
            + seen::BLOCKS_BYTES_MAX
            + PROPOSALS_PER_ROUND_MAX * rounds * size_of::<Known>()
            + OWN_ROUNDS_MAX * (size_of::<SignedProposal>() + 2 * size_of::<SignedVote>())
            // Certificates: at most two that brought this node into its round, one of each type, and the polka behind
            // `valid`.
            + 3 * validators * size_of::<SignedVote>()
    }
}

fn commit_of(
    votes: &HeightVotes,
    height: Height,
    round: Round,
    block_id: BlockId,
    validators: &ValidatorSet,
) -> Commit {
    let round = if mutated(Mutation::CommitOfOtherRound) { Round(round.0.saturating_sub(1)) } else { round };
    let precommits = votes.round(round).map(|votes| &votes.precommits);
    let signed = precommits.into_iter().flat_map(VoteSet::votes).map(|vote| &**vote);
    Commit::from_votes(height, round, block_id, validators, signed)
}

/// Returns the evidence of a double vote, if it must be reported.
fn report(
    reports: &mut Reports,
    first: SignedVote,
    second: SignedVote,
    validators: &ValidatorSet,
    now: Time,
) -> Option<Box<Evidence>> {
    let vote = &second.vote;
    if !reports.is_due(vote.validator_index, vote.round, vote.vote_type) {
        return None;
    }
    let evidence = DuplicateVoteEvidence::new(first, second, validators, now).ok()?;
    Some(Box::new(Evidence::DuplicateVote(evidence)))
}

/// Adds a signed message and keeps only messages of the last [`OWN_ROUNDS_MAX`] rounds.
fn keep_own<T: PartialEq>(own: &mut Vec<T>, signed: T, hrs: impl Fn(&T) -> (Height, Round, u8)) {
    if own.contains(&signed) {
        return;
    }
    assert!(own.last().is_none_or(|last| hrs(last) < hrs(&signed)), "I1: one message for each height, round and type");
    own.push(signed);
    let rounds: BTreeSet<Round> = own.iter().map(|signed| hrs(signed).1).collect();
    if let Some(oldest) = rounds.iter().rev().nth(OWN_ROUNDS_MAX - 1) {
        own.retain(|signed| hrs(signed).1 >= *oldest);
    }
}
