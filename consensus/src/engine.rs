//! The engine: what has happened in a height, and what follows from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use types::{
    BlockId, Certificate, ChainId, Commit, DuplicateVoteEvidence, Evidence, HardState, Height, Lock, Moment, Power,
    Proposal, Round, SignedProposal, SignedVote, Step, Synchrony, Time, Timeouts, ValidatorSet, VerifiedCertificate,
    VerifiedProposal, VerifiedVote, Vote, VoteType, limits::OWN_ROUNDS_MAX,
};

use crate::{
    notes::{Notes, RoundStep, What},
    seen::{self, Reports, Verdict},
    signer::Signer,
    timers::{self, Delays, Timeout, TimeoutKind},
    votes::{Added, HeightVotes, VoteSet},
};

/// Everything the engine can be told. Time, randomness, disk answers and peer bytes arrive as values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Decide this height; the one before is committed. Heights only grow.
    StartHeight {
        /// The height.
        height: Height,
        /// Its validators, rotated for it.
        validators: ValidatorSet,
        /// Upper bounds of the timeouts.
        timeouts: Timeouts,
        /// What counts as a timely proposal.
        synchrony: Synchrony,
        /// What this node had said of this height before it stopped.
        hard_state: Option<Box<HardState>>,
        /// Follow and sign nothing at this height, until [`Input::SignAgain`]: for a node that may have signed at it what it
        /// does not remember, because it was restored from an old backup.
        abstain: bool,
    },
    /// A proposal; it names a block by id, block bytes never enter the engine.
    Proposal {
        /// Signed by the proposer of its round.
        proposal: VerifiedProposal,
        /// When it arrived here.
        received: Time,
    },
    /// A vote of this height, or a late one of the height before.
    Vote(VerifiedVote),
    /// A polka, a commit, or a reason to skip rounds: votes that we may lack.
    Certificate(VerifiedCertificate),
    /// Answers [`Output::BuildBlock`].
    BlockBuilt {
        /// The round it was built for.
        round: Round,
        /// The new block, valid and at hand.
        block_id: BlockId,
        /// Its header's time.
        time: Time,
    },
    /// Answers [`Output::CheckBlock`]. `false` may be followed by `true`, not the other way round.
    BlockChecked {
        /// The block.
        block_id: BlockId,
        /// Its header's time; a proposal of it must have the same.
        time: Time,
        /// Whether it is a valid next block, with its bytes at hand.
        valid: bool,
    },
    /// The bytes of a block that was named are not at hand any more: others needed the room. It is asked about again when a rule
    /// needs it. A block of [`Engine::needed_blocks`] is never dropped.
    BlockDropped {
        /// The block.
        block_id: BlockId,
    },
    /// A timer went off.
    Timeout(Timeout),
    /// Sign from now on, although the height started with `abstain`.
    SignAgain,
}

/// Everything the engine can ask for. The order of the outputs is the order in which to do them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Build a block for this round, then tell [`Input::BlockBuilt`].
    BuildBlock {
        /// The height.
        height: Height,
        /// The round.
        round: Round,
    },
    /// Fetch the block if it is not at hand, validate it, then tell [`Input::BlockChecked`].
    CheckBlock(BlockId),
    /// Make this durable, with the bytes of the blocks it names, before anything after it in the list.
    WriteAhead(Box<HardState>),
    /// Tell all peers.
    Broadcast(Message),
    /// Tell [`Input::Timeout`] after this long.
    StartTimer(Timeout, Duration),
    /// The height is decided.
    Commit {
        /// On this block.
        block_id: BlockId,
        /// By these precommits.
        commit: Commit,
    },
    /// Two votes of one validator contradict each other.
    Evidence(Box<Evidence>),
}

/// What the engine says to peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A proposal; its block travels beside it.
    Proposal(SignedProposal),
    /// A vote.
    Vote(SignedVote),
    /// Votes that prove a threshold.
    Certificate(Certificate),
}

/// A rule that is switched off, to prove that a checker notices.
#[cfg(any(test, feature = "mutations"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Forgets what it is locked on (L39).
    SkipLock,
    /// Unlocks when a quorum prevotes nil.
    UnlockOnNil,
    /// Speaks before the hard state is durable (I2).
    SkipWriteAhead,
    /// Precommits nil beside each precommit for a block.
    DoubleSign,
    /// Takes one validator less for a quorum of precommits (L49).
    WeakCommit,
    /// Goes on believing in a block whose bytes were dropped (I4).
    KeepVerdicts,
    /// Never forgets votes of rounds that have passed (I6).
    KeepRounds,
}

/// A proposal that was received, and whether it was timely.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) signed: SignedProposal,
    pub(crate) timely: bool,
}

/// Proposals of one round that are kept: an equivocating proposer may send two, more help nobody.
const PROPOSALS_PER_ROUND_MAX: usize = 2;

/// Blocks that rules need at one time, whose bytes the host therefore holds whatever else is named: those locked and valid, the
/// decided one, four that this round and the next propose, and as many as have room of those with a polka, the latest first.
pub const NEEDED_BLOCKS_MAX: usize = 16;

const _: () = assert!(NEEDED_BLOCKS_MAX < seen::BLOCKS_MAX);

/// The votes of the height before, to gather late ones.
#[derive(Clone, Debug)]
struct Last {
    round: Round,
    block_id: BlockId,
    validators: ValidatorSet,
    votes: HeightVotes,
    reports: Reports,
}

/// Algorithm 1 of arXiv:1807.04938 as a function: [`Engine::step`] takes an input and tells what to do, in order.
///
/// The same state and the same inputs give the same outputs. See the crate's documentation for rules and invariants.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) chain_id: ChainId,
    pub(crate) signer: Option<Signer>,
    pub(crate) own_index: Option<u32>,
    abstain: bool,

    // h_p, round_p, step_p
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) step: Step,
    // lockedValue_p and lockedRound_p, validValue_p and validRound_p, and the polka behind the latter
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
    own_proposals: Vec<SignedProposal>,
    own_votes: Vec<SignedVote>,
    /// "For the first time" of L34, L36 and L47 in the current round.
    pub(crate) done: Done,
    /// What brought us into this round, for those who are still in another.
    pub(crate) entry: Vec<Certificate>,
    pub(crate) decided: Option<(Round, BlockId)>,
    last: Option<Last>,
    pub(crate) delays: Delays,
    round_started: Time,
    /// The moment of this step: its steady time, and what the wall clock shows.
    pub(crate) now: Time,
    wall: Time,
    outputs: Vec<Output>,
    /// Something was signed since the last [`Output::WriteAhead`].
    unsaved: bool,
    pub(crate) notes: Notes,
    #[cfg(any(test, feature = "mutations"))]
    pub(crate) mutation: Option<Mutation>,
}

/// Which of a round's once-only rules have fired.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) line_34: bool,
    pub(crate) line_36: Option<BlockId>,
    pub(crate) line_47: bool,
    /// The next round waits, because this one ended in nil too soon.
    pub(crate) back_off: bool,
    /// We tried to propose; the guard may have refused.
    pub(crate) proposed: bool,
    /// The wait for the proposal, and whether the wait for its block has taken its place.
    pub(crate) propose_wait: Duration,
    pub(crate) waits_for_block: bool,
    /// The time from the round's start to the verdict on its proposal is measured.
    pub(crate) measured: bool,
    /// The proposal of this round was noted as complete.
    pub(crate) complete: bool,
}

impl Engine {
    /// An engine that waits for [`Input::StartHeight`]. Without a signer it follows and decides, and says nothing.
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
            #[cfg(any(test, feature = "mutations"))]
            mutation: None,
        }
    }

    /// Switches a rule off, to prove that a checker notices.
    #[cfg(any(test, feature = "mutations"))]
    pub fn with_mutation(mut self, mutation: Mutation) -> Self {
        self.mutation = Some(mutation);
        self
    }

    #[cfg(any(test, feature = "mutations"))]
    pub(crate) fn mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Takes one input and returns what to do, in order. The steady time of `now` measures delays, its wall time dates votes.
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

    /// The outputs of this step, with the hard state before the first thing said.
    fn take_outputs(&mut self) -> Vec<Output> {
        let mut outputs = std::mem::take(&mut self.outputs);
        if std::mem::take(&mut self.unsaved) {
            #[cfg(any(test, feature = "mutations"))]
            if self.mutated(Mutation::SkipWriteAhead) {
                return outputs;
            }
            let first =
                outputs.iter().position(|output| matches!(output, Output::Broadcast(_))).unwrap_or(outputs.len());
            outputs.insert(first, Output::WriteAhead(Box::new(self.hard_state())));
        }
        assert!(self.locked_round() <= self.valid.map(|valid| valid.round), "I3: locked round ≤ valid round");
        assert!(self.valid.is_none_or(|valid| valid.round <= self.round), "I3: valid round ≤ round");
        outputs
    }

    /// Fires rules until none has anything left to do.
    fn run_rules(&mut self) {
        while self.decided.is_none() && self.height != Height::GENESIS && self.fire_one_rule() {}
    }

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

    // ---- inputs --------------------------------------------------------------------------------------------------

    fn on_start_height(
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
        self.own_index = self
            .signer
            .as_ref()
            .and_then(|signer| self.validators.by_address(&signer.address()))
            .map(|(index, _)| index);
        if self.signer.is_some() {
            self.start_timer(TimeoutKind::Rebroadcast, Round::ZERO);
        }
        match hard_state {
            Some(hard_state) => self.restore(*hard_state),
            None => self.line_11_start_round(Round::ZERO),
        }
    }

    /// Goes on where this node stopped: the same locks, and the same words again. They were durable before they were first
    /// said, so nothing is written.
    fn restore(&mut self, hard_state: HardState) {
        assert_eq!(hard_state.height, self.height, "the hard state is of the height that starts");
        if let Some(signer) = &mut self.signer {
            signer.raise_to(&hard_state, &self.chain_id);
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

    fn on_proposal(&mut self, proposal: VerifiedProposal, received: Time) {
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

    /// Whether proposals of a round are kept. Of rounds ahead only where votes say that the round is real.
    fn is_kept(&self, round: Round) -> bool {
        round >= self.votes.oldest() && (round <= self.round.next() || self.votes.round(round).is_some())
    }

    fn keep_proposal(&mut self, known: Known) {
        let (round, block_id) = (known.signed.proposal.round, known.signed.proposal.block_id);
        let kept = self.proposals.entry(round).or_default();
        if kept.len() < PROPOSALS_PER_ROUND_MAX && kept.iter().all(|other| other.signed != known.signed) {
            kept.push(known);
            self.forget_proposals();
            self.pin_rounds();
            // What a later round proposes is asked about when it starts.
            if round <= self.round.next() && round.next() >= self.round {
                self.check_block(block_id);
            }
        }
    }

    /// Forgets proposals of rounds that are too far back, and of rounds ahead whose votes were forgotten.
    fn forget_proposals(&mut self) {
        let (votes, next) = (&self.votes, self.round.next());
        self.proposals.retain(|round, _| *round >= votes.oldest() && (*round <= next || votes.round(*round).is_some()));
    }

    /// Tells which rounds the votes are kept of, whatever their age.
    pub(crate) fn pin_rounds(&mut self) {
        let locks = [self.locked, self.valid].into_iter().flatten().map(|lock| lock.round);
        let proposals = [self.round, self.round.next()].map(|round| self.proposals_of(round)).into_iter().flatten();
        let pols = proposals.filter_map(|known| known.signed.proposal.pol_round).filter(|pol| *pol < self.round.next());
        let pinned = locks.chain(pols).collect();
        self.votes.pin(pinned);
        #[cfg(any(test, feature = "mutations"))]
        self.votes.keep_all(self.mutated(Mutation::KeepRounds));
    }

    /// Counts a vote; `proven` if a certificate shows a quorum for its value.
    fn on_vote(&mut self, vote: VerifiedVote, proven: bool) {
        if vote.vote.height != self.height {
            self.gather_late_vote(vote);
            return;
        }
        let copy = (*vote).clone();
        match self.votes.add(vote, proven) {
            Added::Conflicting { first, report: true } => {
                let evidence = report(&mut self.reports, *first, copy, &self.validators, self.wall);
                self.outputs.extend(evidence.map(Output::Evidence));
            }
            Added::New => self.note(|| What::Vote(Box::new(copy))),
            _ => {}
        }
    }

    fn on_certificate(&mut self, certificate: VerifiedCertificate) {
        if certificate.height() != self.height {
            return;
        }
        let mut powers: BTreeMap<Option<BlockId>, Power> = BTreeMap::new();
        for vote in certificate.votes() {
            let power = powers.entry(vote.vote.block_id).or_default();
            *power = power.checked_add(vote.power()).expect("each validator stands once in a certificate");
        }
        let total = self.validators.total_power();
        for vote in certificate.votes() {
            self.on_vote(vote.clone(), powers[&vote.vote.block_id].is_quorum_of(total));
        }
    }

    fn on_block_built(&mut self, round: Round, block_id: BlockId, time: Time) {
        self.judge(block_id, Verdict { valid: true, time });
        let own_turn = round == self.round && self.step == Step::Propose && self.is_proposer();
        if own_turn && self.decided.is_none() && self.own_proposal(round).is_none() {
            self.propose(block_id, time, None);
        }
    }

    fn judge(&mut self, block_id: BlockId, verdict: Verdict) {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.judge(block_id, verdict, || self.needed_blocks());
        self.blocks = blocks;
    }

    fn on_block_dropped(&mut self, block_id: BlockId) {
        #[cfg(any(test, feature = "mutations"))]
        if self.mutated(Mutation::KeepVerdicts) {
            return;
        }
        self.blocks.forget(&block_id);
        if self.needed_blocks().contains(&block_id) {
            self.check_block(block_id);
        }
    }

    fn on_timeout(&mut self, timeout: Timeout) {
        if timeout.height != self.height || self.decided.is_some() {
            return;
        }
        match timeout.kind {
            TimeoutKind::Rebroadcast => {
                self.say_again();
                self.start_timer(TimeoutKind::Rebroadcast, timeout.round.next());
            }
            _ if self.is_abstaining() || timeout.round != self.round => {}
            TimeoutKind::Propose => self.line_57(),
            TimeoutKind::Prevote => self.line_61(),
            TimeoutKind::Precommit => {
                self.note(|| What::TimeoutWait);
                self.line_65();
            }
        }
    }

    fn on_sign_again(&mut self) {
        if std::mem::take(&mut self.abstain) && self.decided.is_none() && self.height != Height::GENESIS {
            self.line_11_propose_or_wait();
        }
    }

    // ---- what rules share ----------------------------------------------------------------------------------------

    /// Whether nothing is signed at this height.
    pub fn is_abstaining(&self) -> bool {
        self.abstain
    }

    pub(crate) fn is_proposer(&self) -> bool {
        let Some(signer) = &self.signer else { return false };
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

    /// The proposals of a round, in order of arrival.
    pub(crate) fn proposals_of(&self, round: Round) -> &[Known] {
        self.proposals.get(&round).map_or(&[], Vec::as_slice)
    }

    /// `time − PRECISION ≤ received ≤ time + MESSAGE_DELAY · 1.1^round + PRECISION`.
    fn is_timely(&self, time: Time, received: Time, round: Round) -> bool {
        let Synchrony { precision, message_delay } = self.synchrony;
        let delay = (0..round.0.min(100)).fold(message_delay, |delay, _| delay * 11 / 10);
        time.saturating_sub(precision) <= received && received <= time.saturating_add(delay).saturating_add(precision)
    }

    /// Asks once for a verdict on a block.
    pub(crate) fn check_block(&mut self, block_id: BlockId) {
        let mut blocks = std::mem::take(&mut self.blocks);
        if blocks.ask(block_id, || self.needed_blocks()) {
            self.outputs.push(Output::CheckBlock(block_id));
        }
        self.blocks = blocks;
    }

    /// Measures, once a round, how long after its start somebody else's block was here and checked.
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

    /// Whether the block of a proposal that we may prevote is still arriving or being checked.
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

    /// How long this round has lasted.
    pub(crate) fn round_age(&self) -> Duration {
        self.now.since(self.round_started)
    }

    /// Moves to a round, keeping what rules of other rounds still need.
    pub(crate) fn enter_round(&mut self, round: Round) {
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
        self.outputs.push(Output::StartTimer(Timeout { kind, height: self.height, round }, after));
    }

    pub(crate) fn build_block(&mut self) {
        self.outputs.push(Output::BuildBlock { height: self.height, round: self.round });
    }

    pub(crate) fn own_proposal(&self, round: Round) -> Option<&SignedProposal> {
        self.own_proposals.iter().find(|signed| signed.proposal.round == round)
    }

    /// Signs and says a proposal (L19). A re-proposal travels with the polka that justifies it.
    ///
    /// The guard refuses what a signing state from elsewhere says was signed already; then the round goes on without us.
    pub(crate) fn propose(&mut self, block_id: BlockId, timestamp: Time, pol_round: Option<Round>) {
        let proposal = Proposal { height: self.height, round: self.round, pol_round, block_id, timestamp };
        let signer = self.signer.as_mut().expect("only a proposer proposes");
        let signed = signer.sign_proposal(proposal, &self.chain_id);
        self.done.proposed = true;
        let Ok(signed) = signed else { return self.start_timer(TimeoutKind::Propose, self.round) };
        keep_own(&mut self.own_proposals, signed.clone(), |signed| signed.proposal.round);
        self.unsaved = true;
        self.outputs.push(Output::Broadcast(Message::Proposal(signed.clone())));
        if let (Some(_), Some(polka)) = (pol_round, self.valid_polka.clone()) {
            self.outputs.push(Output::Broadcast(Message::Certificate(polka)));
        }
        self.keep_proposal(Known { signed, timely: true });
    }

    /// Signs, counts and says a vote of the current round, and moves to its step. Who is no validator just moves.
    pub(crate) fn vote(&mut self, vote_type: VoteType, block_id: Option<BlockId>) {
        self.step = match vote_type {
            VoteType::Prevote => Step::Prevote,
            VoteType::Precommit => Step::Precommit,
        };
        let step = self.step;
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
        #[cfg(any(test, feature = "mutations"))]
        if self.mutation == Some(Mutation::DoubleSign) && block_id.is_some() {
            let other = signer.sign_vote_unguarded(Vote { block_id: None, ..vote.clone() }, &self.chain_id);
            self.outputs.push(Output::Broadcast(Message::Vote(other)));
        }
        // The guard refuses what a signing state from elsewhere says was signed already; then we only follow.
        let Ok(signed) = signer.sign_vote(vote, &self.chain_id) else { return };
        keep_own(&mut self.own_votes, signed.clone(), |signed| signed.vote.round);
        self.unsaved = true;
        self.votes.add(VerifiedVote::of_own(signed.clone(), &self.validators), false);
        self.note(|| What::Vote(Box::new(signed.clone())));
        self.outputs.push(Output::Broadcast(Message::Vote(signed)));
    }

    /// Says again what we said last, what brought us into this round, and the polka that others may have missed: who is locked
    /// on a value whose polka is hidden from others shows it from the first failed round on.
    pub(crate) fn say_again(&mut self) {
        if self.signer.is_none() {
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

    pub(crate) fn show_polka(&mut self) {
        if self.round > Round::ZERO
            && let Some(polka) = self.valid_polka.clone()
        {
            self.outputs.push(Output::Broadcast(Message::Certificate(polka)));
        }
    }

    /// Decides: the commit is built from the very votes that were counted.
    pub(crate) fn decide(&mut self, round: Round, block_id: BlockId) {
        self.decided = Some((round, block_id));
        self.note(|| What::NewStep(RoundStep::Commit));
        let commit = commit_of(&self.votes, self.height, round, block_id, &self.validators);
        self.outputs.push(Output::Commit { block_id, commit });
    }

    /// Takes a late vote of the height before, of a round that is held: a precommit makes the commit better, and either type may prove
    /// that its validator signed twice.
    fn gather_late_vote(&mut self, vote: VerifiedVote) {
        let Some(last) = &mut self.last else { return };
        let v = &vote.vote;
        let is_late = v.height.next() == self.height;
        if !is_late || v.round != last.round && last.votes.round(v.round).is_none() {
            return;
        }
        let copy = (*vote).clone();
        if let Added::Conflicting { first, report: true } = last.votes.add(vote, false) {
            let evidence = report(&mut last.reports, *first, copy, &last.validators, self.wall);
            self.outputs.extend(evidence.map(Output::Evidence));
        }
    }

    // ---- what others may read ------------------------------------------------------------------------------------

    /// The blocks whose bytes must stay at hand, at most [`NEEDED_BLOCKS_MAX`]: a rule may lock, propose or decide them.
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
        needed
    }

    /// Memory held for this height and the votes of the last, in bytes.
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

    /// The most that [`Engine::held_bytes`] may be (I6): a function of the number of validators.
    pub fn held_bytes_max(&self) -> usize {
        let validators = self.validators.len().max(self.last.as_ref().map_or(0, |last| last.validators.len()));
        // Proposals are kept of as many rounds as single votes make real.
        let rounds = crate::votes::PAST_ROUNDS_MAX as usize + 2 + validators;
        2 * (HeightVotes::bytes_max(validators) + Reports::bytes_max(validators))
            + seen::BLOCKS_BYTES_MAX
            + PROPOSALS_PER_ROUND_MAX * rounds * size_of::<Known>()
            + OWN_ROUNDS_MAX * (size_of::<SignedProposal>() + 2 * size_of::<SignedVote>())
            // What brought us here, of either type, and the polka behind `valid`.
            + 3 * validators * size_of::<SignedVote>()
    }

    /// What must be durable before we speak.
    pub fn hard_state(&self) -> HardState {
        HardState {
            height: self.height,
            round: self.round,
            step: self.step,
            locked: self.locked,
            valid: self.valid,
            valid_polka: self.valid_polka.clone(),
            proposals: self.own_proposals.clone(),
            votes: self.own_votes.clone(),
        }
    }

    /// The height being decided, or decided last.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The current round.
    pub fn round(&self) -> Round {
        self.round
    }

    /// The current step.
    pub fn current_step(&self) -> Step {
        self.step
    }

    /// Whether this height is decided; then the next is waited for.
    pub fn is_decided(&self) -> bool {
        self.decided.is_some()
    }

    /// The decision of this height and its round, once there is one.
    pub fn decision(&self) -> Option<(Round, BlockId)> {
        self.decided
    }

    /// The precommits that decided this height, for a peer that lacks them.
    pub fn decision_certificate(&self) -> Option<Certificate> {
        let (round, block_id) = self.decided?;
        self.precommits(round)?.certificate_for(Some(block_id))
    }

    /// What we are locked on.
    pub fn locked(&self) -> Option<Lock> {
        self.locked
    }

    /// What was last seen with a polka.
    pub fn valid(&self) -> Option<Lock> {
        self.valid
    }

    /// The polka behind [`Engine::valid`].
    pub fn valid_polka(&self) -> Option<&Certificate> {
        self.valid_polka.as_ref()
    }

    /// What brought us into this round.
    pub fn entry_certificates(&self) -> &[Certificate] {
        &self.entry
    }

    /// The first proposal held of a round.
    pub fn proposal(&self, round: Round) -> Option<&SignedProposal> {
        self.proposals_of(round).first().map(|known| &known.signed)
    }

    /// Every proposal held of a round, at most two.
    pub fn proposals(&self, round: Round) -> impl Iterator<Item = &SignedProposal> {
        self.proposals_of(round).iter().map(|known| &known.signed)
    }

    /// The votes held of this height.
    pub fn votes(&self) -> &HeightVotes {
        &self.votes
    }

    /// The validators of this height.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// When the current round started.
    pub fn round_started(&self) -> Time {
        self.round_started
    }

    /// Signs nothing of this height, nor below, from now on.
    pub fn seal(&mut self, height: Height) {
        if let Some(signer) = &mut self.signer {
            signer.seal(height);
        }
    }

    /// The guarded key, if there is one.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// Our index in this height's set.
    pub fn own_index(&self) -> Option<u32> {
        self.own_index
    }

    /// The best commit of the height before: with the precommits that came late. `None` if it was not decided here.
    pub fn last_commit(&self) -> Option<Commit> {
        let last = self.last.as_ref()?;
        Some(commit_of(&last.votes, self.height.prev()?, last.round, last.block_id, &last.validators))
    }

    /// The precommits held of a round.
    pub fn precommits(&self, round: Round) -> Option<&VoteSet> {
        self.votes.round(round).map(|votes| &votes.precommits)
    }

    /// The prevotes held of a round.
    pub fn prevotes(&self, round: Round) -> Option<&VoteSet> {
        self.votes.round(round).map(|votes| &votes.prevotes)
    }
}

fn commit_of(
    votes: &HeightVotes,
    height: Height,
    round: Round,
    block_id: BlockId,
    validators: &ValidatorSet,
) -> Commit {
    let precommits = votes.round(round).map(|votes| &votes.precommits);
    let signed = precommits.into_iter().flat_map(VoteSet::votes).map(|vote| &**vote);
    Commit::from_votes(height, round, block_id, validators, signed)
}

/// The evidence of a double vote, if it is due.
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

/// Keeps what we signed in the last rounds.
fn keep_own<T: PartialEq>(own: &mut Vec<T>, signed: T, round: impl Fn(&T) -> Round) {
    if own.contains(&signed) {
        return;
    }
    own.push(signed);
    let rounds: BTreeSet<Round> = own.iter().map(&round).collect();
    if let Some(oldest) = rounds.iter().rev().nth(OWN_ROUNDS_MAX - 1) {
        own.retain(|signed| round(signed) >= *oldest);
    }
}
