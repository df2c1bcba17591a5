//! Proposals, votes and taken back heights as rows of N.

use std::{fmt, time::Duration};

use prost::Message;
use types::{
    Address, Deadline, Hash, Height, NsName, Power, ProposalKind, Propose, Reader, Revert, Wire,
    limits::VALIDATORS_MAX, pb,
};

use crate::{
    kv::{deadline_of, deadline_pb, height_pb},
    mutation::{Mutation, mutated},
    state::key,
    view::View,
};

/// Maximum number of [`Taint`]s of a namespace. Beyond, the two oldest become one that covers both.
const TAINTS_MAX: usize = 64;

/// A proposal to the validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Number of the proposal, from 1.
    pub id: u64,
    /// What is proposed. Its scope has only the namespaces whose content differed from that of the target.
    pub propose: Propose,
    /// Account that made the proposal.
    pub proposer: Address,
    /// Amount that the proposer deposited.
    pub deposit: u64,
    /// Height that opened the proposal.
    pub opened: Height,
    /// End of the voting.
    pub voting_ends: Deadline,
    /// Time between the decision and its execution.
    pub notice: Duration,
    /// Number of keys that the revert would have changed when it was proposed.
    pub keys: u64,
    /// Bytes of these keys, with their values at the target and when it was proposed.
    pub bytes: u64,
    /// Hash of the changes that the revert would have made when it was proposed.
    pub diff_digest: Hash,
    /// End of the freeze of its namespaces, while they are frozen.
    pub frozen_until: Option<Deadline>,
    /// Progress of the proposal.
    pub state: ProposalState,
}

/// The progress of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalState {
    /// Validators vote on it.
    Voting,
    /// More than 2/3 voted yes; it will be executed.
    Scheduled {
        /// Time of its execution.
        at: Deadline,
    },
    /// Nothing about it changes any more.
    Closed {
        /// Height that closed it.
        height: Height,
        /// How it was closed.
        ending: Ending,
        /// The votes at that height.
        tally: Tally,
    },
}

/// How a proposal was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its namespaces were reverted.
    Executed,
    /// It could not be executed, and changed nothing.
    Failed {
        /// Number of the reason in the table of codes.
        code: u32,
    },
    /// The voting ended without a decision.
    Expired,
    /// More than 1/3 voted no.
    Rejected,
    /// Its proposer withdrew it.
    Cancelled,
    /// A revert of one of its namespaces was executed.
    Superseded {
        /// Number of the proposal of that revert.
        by: u64,
    },
}

/// The vote of one validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorVote {
    /// Account that votes for the validator.
    pub operator: Address,
    /// True for yes, false for no; `None` if it only demands a freeze.
    pub yes: Option<bool>,
    /// True if it demands a freeze.
    pub freeze: bool,
}

/// Sums of the power of votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Power of the votes for the proposal.
    pub yes: Power,
    /// Power of the votes against it.
    pub no: Power,
    /// Power of the demands to freeze its namespaces.
    pub freeze: Power,
    /// Power of all validators.
    pub total: Power,
}

/// The heights of a namespace whose content a revert took back: above the target, below the execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Height whose content returned.
    pub target: Height,
    /// Height that executed the revert.
    pub executed: Height,
    /// Number of the proposal.
    pub proposal: u64,
}

/// The last change of the chain's rules across which no revert goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// First height with the new rules.
    pub height: Height,
    /// Description of the new rules.
    pub kind: String,
}

impl ProposalState {
    /// Returns the state in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Voting => "voting",
            Self::Scheduled { .. } => "scheduled",
            Self::Closed { ending, .. } => match ending {
                Ending::Executed => "executed",
                Ending::Failed { .. } => "failed",
                Ending::Expired => "expired",
                Ending::Rejected => "rejected",
                Ending::Cancelled => "cancelled",
                Ending::Superseded { .. } => "superseded",
            },
        }
    }
}

impl fmt::Display for ProposalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Proposal {
    /// Reads a row of the state with a proposal, for example from a proof; `None` if it is no such row.
    pub fn from_row(key: &[u8], value: &[u8]) -> Option<Self> {
        let id = key::proposal_id(key)?;
        Self::from_pb(id, pb::ProposalRecord::decode(value).ok()?)
    }

    /// Returns the revert that is proposed.
    pub fn revert(&self) -> &Revert {
        let ProposalKind::Revert(revert) = &self.propose.kind;
        revert
    }

    /// Returns true until the proposal is closed.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, ProposalState::Closed { .. })
    }

    /// Returns the names of the namespaces in the scope.
    pub fn names(&self) -> impl Iterator<Item = NsName> {
        let name = |ns: &str| NsName::new(ns).expect("names are checked when a proposal is made or read");
        self.revert().scope.iter().map(move |scope| name(&scope.ns))
    }

    /// Returns true if both proposals have a namespace in their scope.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let has = |ns: &str| other.revert().scope.iter().any(|scope| scope.ns == ns);
        self.revert().scope.iter().any(|scope| has(&scope.ns))
    }

    fn to_pb(&self) -> pb::ProposalRecord {
        use pb::proposal_record::State;
        pb::ProposalRecord {
            propose: Some(self.propose.to_pb()),
            proposer: self.proposer.0.to_vec(),
            deposit: self.deposit,
            opened_height: height_pb(self.opened),
            voting_ends_ms: self.voting_ends.unix_millis(),
            notice_ms: self.notice.as_millis() as u64,
            keys: self.keys,
            bytes: self.bytes,
            diff_digest: self.diff_digest.0.to_vec(),
            frozen_until_ms: deadline_pb(self.frozen_until),
            state: match self.state {
                ProposalState::Voting => None,
                ProposalState::Scheduled { at } => Some(State::ScheduledMs(at.unix_millis())),
                ProposalState::Closed { height, ending, tally } => {
                    Some(State::Closed(closed_pb(height, ending, tally)))
                }
            },
        }
    }

    fn from_pb(id: u64, pb: pb::ProposalRecord) -> Option<Self> {
        use pb::proposal_record::State;
        let propose = Propose::from_pb(pb.propose?).ok()?;
        let ProposalKind::Revert(revert) = &propose.kind;
        if revert.scope.iter().any(|scope| NsName::new(&scope.ns).is_err()) {
            return None;
        }
        Some(Self {
            id,
            propose,
            proposer: Address(pb.proposer.try_into().ok()?),
            deposit: pb.deposit,
            opened: height_of(pb.opened_height)?,
            voting_ends: Deadline::from_unix_millis(pb.voting_ends_ms)?,
            notice: Duration::from_millis(pb.notice_ms),
            keys: pb.keys,
            bytes: pb.bytes,
            diff_digest: Hash(pb.diff_digest.try_into().ok()?),
            frozen_until: deadline_of(pb.frozen_until_ms)?,
            state: match pb.state {
                None => ProposalState::Voting,
                Some(State::ScheduledMs(millis)) => {
                    ProposalState::Scheduled { at: Deadline::from_unix_millis(millis)? }
                }
                Some(State::Closed(closed)) => closed_of(closed)?,
            },
        })
    }
}

fn closed_pb(height: Height, ending: Ending, tally: Tally) -> pb::ProposalClosed {
    use pb::proposal_closed as closed;
    pb::ProposalClosed {
        height: height_pb(height),
        ending: Some(match ending {
            Ending::Executed => closed::Ending::Executed(pb::Reverted {}),
            Ending::Failed { code } => closed::Ending::FailedCode(code),
            Ending::Expired => closed::Ending::Expired(pb::Expired {}),
            Ending::Rejected => closed::Ending::Rejected(pb::Rejected {}),
            Ending::Cancelled => closed::Ending::Cancelled(pb::Cancelled {}),
            Ending::Superseded { by } => closed::Ending::SupersededBy(by),
        }),
        yes_power: tally.yes.0,
        no_power: tally.no.0,
        freeze_power: tally.freeze.0,
        total_power: tally.total.0,
    }
}

fn closed_of(pb: pb::ProposalClosed) -> Option<ProposalState> {
    use pb::proposal_closed as closed;
    let ending = match pb.ending? {
        closed::Ending::Executed(_) => Ending::Executed,
        closed::Ending::FailedCode(code) => Ending::Failed { code },
        closed::Ending::Expired(_) => Ending::Expired,
        closed::Ending::Rejected(_) => Ending::Rejected,
        closed::Ending::Cancelled(_) => Ending::Cancelled,
        closed::Ending::SupersededBy(by) => Ending::Superseded { by },
    };
    let [yes, no, freeze, total] = [pb.yes_power, pb.no_power, pb.freeze_power, pb.total_power].map(Power);
    Some(ProposalState::Closed { height: height_of(pb.height)?, ending, tally: Tally { yes, no, freeze, total } })
}

fn height_of(height: i64) -> Option<Height> {
    u64::try_from(height).ok().map(Height)
}

/// Returns the numbers of the open proposals, ascending, and that of the next one.
pub(crate) fn all<R: Reader + ?Sized>(view: &mut View<'_, R>) -> (Vec<u64>, u64) {
    let list: pb::ProposalList = view.message(key::PROPOSALS).unwrap_or_default();
    (list.open, list.next.max(1))
}

pub(crate) fn set_all<R: Reader + ?Sized>(view: &mut View<'_, R>, open: Vec<u64>, next: u64) {
    view.set(key::PROPOSALS, Some(pb::ProposalList { next, open }.encode_to_vec()));
}

/// Returns a proposal, if there is one with this number.
pub(crate) fn load<R: Reader + ?Sized>(view: &mut View<'_, R>, id: u64) -> Option<Proposal> {
    let key = key::proposal(id);
    let pb: pb::ProposalRecord = view.message(&key)?;
    Proposal::from_pb(id, pb).or_else(|| view.unreadable(&key, "it is not a proposal"))
}

pub(crate) fn store<R: Reader + ?Sized>(view: &mut View<'_, R>, proposal: &Proposal) {
    view.set(&key::proposal(proposal.id), Some(proposal.to_pb().encode_to_vec()));
}

/// Returns the open proposals in the order of their numbers.
pub(crate) fn open<R: Reader + ?Sized>(view: &mut View<'_, R>) -> Vec<Proposal> {
    all(view).0.into_iter().filter_map(|id| load(view, id)).collect()
}

/// Returns the votes on a proposal, in the order of the operators' addresses.
pub(crate) fn votes<R: Reader + ?Sized>(view: &mut View<'_, R>, id: u64) -> Vec<OperatorVote> {
    let key = key::votes(id);
    let pb: pb::ProposalVotes = view.message(&key).unwrap_or_default();
    let vote = |pb: pb::OperatorVote| {
        let operator = Address(pb.operator.try_into().ok()?);
        Some(OperatorVote { operator, yes: pb.yes, freeze: pb.freeze })
    };
    let votes: Option<Vec<OperatorVote>> = pb.votes.into_iter().map(vote).collect();
    votes.or_else(|| view.unreadable(&key, "an operator has not 20 bytes")).unwrap_or_default()
}

/// Changes the vote of one validator. Returns the sums with it.
pub(crate) fn cast<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    id: u64,
    operator: &Address,
    change: impl FnOnce(&mut OperatorVote),
) -> Tally {
    let mut votes = votes(view, id);
    if votes.len() >= VALIDATORS_MAX {
        // Validators left the set since they voted: their votes weigh nothing, and the list must not grow.
        votes.retain(|vote| view.operator(&vote.operator).is_some());
    }
    let place = votes.binary_search_by_key(operator, |vote| vote.operator).unwrap_or_else(|place| {
        votes.insert(place, OperatorVote { operator: *operator, yes: None, freeze: false });
        place
    });
    change(&mut votes[place]);
    set_votes(view, id, &votes);
    sum(view, &votes)
}

/// Takes back the demands of some operators to freeze the namespaces of a proposal.
pub(crate) fn take_back_demands<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    id: u64,
    mut is_of: impl FnMut(&Address) -> bool,
) {
    let mut votes = votes(view, id);
    votes.retain_mut(|vote| {
        vote.freeze &= !is_of(&vote.operator);
        vote.freeze || vote.yes.is_some()
    });
    set_votes(view, id, &votes);
}

fn set_votes<R: Reader + ?Sized>(view: &mut View<'_, R>, id: u64, votes: &[OperatorVote]) {
    let pb = |vote: &OperatorVote| pb::OperatorVote {
        operator: vote.operator.0.to_vec(),
        yes: vote.yes,
        freeze: vote.freeze,
    };
    let row = pb::ProposalVotes { votes: votes.iter().map(pb).collect() }.encode_to_vec();
    view.set(&key::votes(id), Some(row).filter(|row| !row.is_empty()));
}

/// Returns the sums of the votes: those when the proposal was closed, otherwise with the present powers.
pub(crate) fn tally_of<R: Reader + ?Sized>(view: &mut View<'_, R>, proposal: &Proposal) -> Tally {
    match proposal.state {
        ProposalState::Closed { tally, .. } => tally,
        _ => {
            let votes = votes(view, proposal.id);
            sum(view, &votes)
        }
    }
}

/// Returns true if more than 2/3 of the power voted yes.
pub(crate) fn is_decided(tally: &Tally) -> bool {
    let Tally { yes, total, .. } = *tally;
    yes.is_quorum_of(total)
        || (mutated(Mutation::ThirdDecides) && yes.is_honest_of(total))
        || (mutated(Mutation::TwoThirdsDecide) && 3 * yes.0 == 2 * total.0)
}

/// Returns true if a power is exactly 1/3 of the total.
pub(crate) fn is_third_of(power: Power, total: Power) -> bool {
    3 * u128::from(power.0) == u128::from(total.0)
}

fn sum<R: Reader + ?Sized>(view: &mut View<'_, R>, votes: &[OperatorVote]) -> Tally {
    let mut tally = Tally { total: view.power_total(), ..Tally::default() };
    let add = |sum: &mut Power, power: Power| *sum = sum.checked_add(power).expect("powers are part of the total");
    for vote in votes {
        let power = view.operator(&vote.operator).map_or(Power::ZERO, |operator| operator.power);
        match vote.yes {
            Some(true) => add(&mut tally.yes, power),
            Some(false) => add(&mut tally.no, power),
            None => {}
        }
        if vote.freeze {
            add(&mut tally.freeze, power);
        }
    }
    if mutated(Mutation::TotalOfVoters) {
        tally.total = Power(tally.yes.0 + tally.no.0);
    }
    tally
}

/// Returns the last barrier, if there is one.
pub(crate) fn barrier<R: Reader + ?Sized>(view: &mut View<'_, R>) -> Option<Barrier> {
    let pb: pb::Barrier = view.message(key::BARRIER)?;
    let height = height_of(pb.height).or_else(|| view.unreadable(key::BARRIER, "its height is negative"))?;
    Some(Barrier { height, kind: pb.kind })
}

fn taints<R: Reader + ?Sized>(view: &mut View<'_, R>, number: u32) -> Vec<Taint> {
    let key = key::taints(number);
    let pb: pb::Taints = view.message(&key).unwrap_or_default();
    let taint = |pb: pb::Taint| {
        let (target, executed) = (height_of(pb.target_height)?, height_of(pb.executed_height)?);
        Some(Taint { target, executed, proposal: pb.proposal })
    };
    let taints: Option<Vec<Taint>> = pb.taints.into_iter().map(taint).collect();
    taints.or_else(|| view.unreadable(&key, "a height is negative")).unwrap_or_default()
}

/// Adds a taint to a namespace, and removes those below the window, which starts at `earliest`.
pub(crate) fn taint<R: Reader + ?Sized>(view: &mut View<'_, R>, number: u32, taint: Taint, earliest: Height) {
    let mut taints = taints(view, number);
    taints.retain(|taint| taint.executed > earliest || mutated(Mutation::KeepTaints));
    if mutated(Mutation::ForgetTaints) {
        taints.clear();
    }
    taints.push(taint);
    if taints.len() > TAINTS_MAX && !mutated(Mutation::AnyTaints) {
        let oldest = taints.remove(0);
        taints[0].target = taints[0].target.min(oldest.target);
    }
    let pb = |taint: &Taint| pb::Taint {
        target_height: height_pb(taint.target),
        executed_height: height_pb(taint.executed),
        proposal: taint.proposal,
    };
    let row = pb::Taints { taints: taints.iter().map(pb).collect() };
    view.set(&key::taints(number), Some(row.encode_to_vec()));
}

/// The reverts of a namespace whose heights are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taints(Vec<Taint>);

impl Taints {
    /// Reads the reverts of a namespace; there are none if it does not exist. `reader` is the state at the tip.
    pub fn of<R: Reader + ?Sized>(reader: &R, ns: &NsName) -> Self {
        let mut view = View::of_state(reader);
        let namespace = view.namespace(ns);
        Self(namespace.map(|namespace| taints(&mut view, namespace.number)).unwrap_or_default())
    }

    /// Returns the number of the proposal whose revert took back the content that the namespace had at `height`: the first
    /// one, if there were several.
    pub fn reverted_by(&self, height: Height) -> Option<u64> {
        let taint = self.0.iter().find(|taint| taint.target < height && height < taint.executed);
        taint.map(|taint| taint.proposal)
    }
}
