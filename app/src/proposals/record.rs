//! Proposals, votes and taken back heights as rows of N.

use std::{fmt, time::Duration};

use prost::Message;
use types::{
    Act, Address, Choice, Deadline, Hash, Height, NsName, Power, ProposalKind, Propose, Reader, Revert, Wire,
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
    /// What the validators shall decide.
    pub subject: Subject,
    /// Reason for people; may be empty.
    pub reason: String,
    /// Where to read more; may be empty.
    pub uri: String,
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
    /// Progress of the proposal.
    pub state: ProposalState,
}

/// What a proposal is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Namespaces return to their content at an earlier height.
    Revert(ProposedRevert),
    /// Anything else. It has no scope, no notice and no freeze.
    Act(Act),
}

/// A revert that is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposedRevert {
    /// The revert. Its scope has only the namespaces whose content differed from that of the target.
    pub revert: Revert,
    /// Number of keys that it would have changed when it was proposed.
    pub keys: u64,
    /// Bytes of these keys, with their values at the target and when it was proposed.
    pub bytes: u64,
    /// Hash of the changes that it would have made when it was proposed.
    pub diff_digest: Hash,
    /// End of the freeze of its namespaces, while they are frozen.
    pub frozen_until: Option<Deadline>,
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
    /// It did what it says.
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
    /// What it votes; `None` if it only demands a freeze.
    pub choice: Option<Choice>,
    /// True if it demands a freeze.
    pub freeze: bool,
}

/// Sums of the power of votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Power of the votes for the proposal.
    pub yes: Power,
    /// Power of the votes against it, those with veto included.
    pub no: Power,
    /// Power of the votes against it with veto.
    pub veto: Power,
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

    /// Returns the revert that is proposed, if it is one.
    pub fn revert(&self) -> Option<&ProposedRevert> {
        match &self.subject {
            Subject::Revert(proposed) => Some(proposed),
            Subject::Act(_) => None,
        }
    }

    /// Returns the proposal as a transaction carries it.
    pub fn propose(&self) -> Propose {
        let kind = match &self.subject {
            Subject::Revert(proposed) => ProposalKind::Revert(proposed.revert.clone()),
            Subject::Act(act) => ProposalKind::Act(act.clone()),
        };
        Propose { kind, reason: self.reason.clone(), uri: self.uri.clone() }
    }

    /// Returns the first part of the kinds of its events.
    pub(crate) fn topic(&self) -> &'static str {
        match self.subject {
            Subject::Revert(_) => "revert",
            Subject::Act(_) => "proposal",
        }
    }

    /// Returns the end of the freeze of its namespaces, if they are frozen.
    pub fn frozen_until(&self) -> Option<Deadline> {
        self.revert().and_then(|proposed| proposed.frozen_until)
    }

    /// Returns true until the proposal is closed.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, ProposalState::Closed { .. })
    }

    /// Returns the names of the namespaces in the scope of a revert; an act has none.
    pub fn names(&self) -> impl Iterator<Item = NsName> {
        let name = |ns: &str| NsName::new(ns).expect("names are checked when a proposal is made or read");
        self.revert().into_iter().flat_map(|proposed| &proposed.revert.scope).map(move |scope| name(&scope.ns))
    }

    /// Returns true if both proposals have a namespace in their scope.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let names: Vec<NsName> = other.names().collect();
        self.names().any(|name| names.contains(&name))
    }

    fn to_pb(&self) -> pb::ProposalRecord {
        use pb::proposal_record::State;
        let revert = self.revert();
        pb::ProposalRecord {
            propose: Some(self.propose().to_pb()),
            proposer: self.proposer.0.to_vec(),
            deposit: self.deposit,
            opened_height: height_pb(self.opened),
            voting_ends_ms: self.voting_ends.unix_millis(),
            notice_ms: self.notice.as_millis() as u64,
            keys: revert.map_or(0, |proposed| proposed.keys),
            bytes: revert.map_or(0, |proposed| proposed.bytes),
            diff_digest: revert.map_or_else(Vec::new, |proposed| proposed.diff_digest.0.to_vec()),
            frozen_until_ms: deadline_pb(self.frozen_until()),
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
        let Propose { kind, reason, uri } = Propose::from_pb(pb.propose?).ok()?;
        let subject = match kind {
            ProposalKind::Revert(revert) if revert.scope.iter().any(|scope| NsName::new(&scope.ns).is_err()) => {
                return None;
            }
            ProposalKind::Revert(revert) => Subject::Revert(ProposedRevert {
                revert,
                keys: pb.keys,
                bytes: pb.bytes,
                diff_digest: Hash(pb.diff_digest.try_into().ok()?),
                frozen_until: deadline_of(pb.frozen_until_ms)?,
            }),
            ProposalKind::Act(act) => Subject::Act(act),
        };
        Some(Self {
            id,
            subject,
            reason,
            uri,
            proposer: Address(pb.proposer.try_into().ok()?),
            deposit: pb.deposit,
            opened: height_of(pb.opened_height)?,
            voting_ends: Deadline::from_unix_millis(pb.voting_ends_ms)?,
            notice: Duration::from_millis(pb.notice_ms),
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
        veto_power: tally.veto.0,
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
    let [yes, no, veto] = [pb.yes_power, pb.no_power, pb.veto_power].map(Power);
    let tally = Tally { yes, no, veto, freeze: Power(pb.freeze_power), total: Power(pb.total_power) };
    Some(ProposalState::Closed { height: height_of(pb.height)?, ending, tally })
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
        let choice = pb.yes.map(|yes| Choice::from_flags(yes, pb.veto));
        Some(OperatorVote {
            operator,
            choice: choice.map_or(Some(None), |choice| choice.map(Some))?,
            freeze: pb.freeze,
        })
    };
    let votes: Option<Vec<OperatorVote>> = pb.votes.into_iter().map(vote).collect();
    votes.or_else(|| view.unreadable(&key, "they are no votes")).unwrap_or_default()
}

/// Changes the vote of one validator. Returns the sums with it.
pub(crate) fn cast<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    id: u64,
    operator: &Address,
    change: impl FnOnce(&mut OperatorVote),
) -> Tally {
    let mut votes = votes(view, id);
    if votes.len() >= VALIDATORS_MAX && !mutated(Mutation::KeepGoneVotes) {
        // Validators left the set since they voted: their votes weigh nothing, and the list must not grow.
        votes.retain(|vote| view.operator(&vote.operator).is_some());
    }
    let place = votes.binary_search_by_key(operator, |vote| vote.operator).unwrap_or_else(|place| {
        votes.insert(place, OperatorVote { operator: *operator, choice: None, freeze: false });
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
        vote.freeze || vote.choice.is_some()
    });
    set_votes(view, id, &votes);
}

fn set_votes<R: Reader + ?Sized>(view: &mut View<'_, R>, id: u64, votes: &[OperatorVote]) {
    let pb = |vote: &OperatorVote| pb::OperatorVote {
        operator: vote.operator.0.to_vec(),
        yes: vote.choice.map(|choice| choice == Choice::Yes),
        freeze: vote.freeze,
        veto: vote.choice == Some(Choice::Veto),
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
        match vote.choice {
            Some(Choice::Yes) => add(&mut tally.yes, power),
            Some(Choice::No) => add(&mut tally.no, power),
            Some(Choice::Veto) => {
                add(&mut tally.no, power);
                add(&mut tally.veto, power);
            }
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
