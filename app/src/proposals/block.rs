//! What a block decides about proposals: before its first transaction what is due, after its last one what has the votes.

use std::time::Duration;

use types::{Event, Height, History, Reader, Time};

use super::{
    acts,
    record::{
        Ending, Proposal, ProposalState, Subject, Tally, all, is_decided, is_third_of, open, set_all, store,
        take_back_demands, tally_of,
    },
    revert::{self, Restored},
};
use crate::{
    error::Refusal,
    event::event,
    kv::{At, Frozen},
    mutation::{Mutation, mutated},
    namespaces::Trees,
    view::View,
};

/// What a block decided so far about proposals.
#[derive(Default)]
pub(crate) struct Decisions {
    /// Events of the block, outside of transactions.
    pub events: Vec<Event>,
    /// The namespaces that this block reverts.
    pub restored: Vec<Restored>,
    /// Number of proposals for which this block compared namespaces.
    pub tries: u64,
    /// True if votes or proposals changed, so that there may be something to decide.
    pub has_changed: bool,
}

/// Decides what is due, before the first transaction of a block.
pub(crate) fn begin<R: History + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, trees: Trees<'_>) -> Decisions {
    let mut decisions = Decisions::default();
    let mut is_executed = false;
    for id in all(view).0 {
        // An execution may have closed the proposals after it.
        let Some(mut proposal) = super::load(view, id).filter(Proposal::is_open) else { continue };
        let is_over = proposal.frozen_until().is_some_and(|until| until.has_passed(at.time));
        if is_over && !mutated(Mutation::NeverUnfreeze) {
            unfreeze(view, at, &mut proposal, &mut decisions.events);
            // Otherwise one validator alone could repeat the freeze of a third.
            take_back_demands(view, id, |_| true);
            store(view, &proposal);
        }
        match proposal.state {
            ProposalState::Voting if proposal.voting_ends.has_passed(at.time) && !mutated(Mutation::NeverExpire) => {
                close(view, at, proposal, Ending::Expired, &mut decisions);
            }
            // One revert per block: the others, which are due too, follow in the next blocks.
            ProposalState::Scheduled { at: due }
                if due.has_passed(at.time) && (proposal.revert().is_none() || !is_executed) =>
            {
                is_executed |= proposal.revert().is_some() && !mutated(Mutation::ExecuteAll);
                execute(view, at, trees, proposal, &mut decisions);
            }
            _ => {}
        }
    }
    decisions
}

fn execute<R: History + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    trees: Trees<'_>,
    proposal: Proposal,
    decisions: &mut Decisions,
) {
    let done = check_power(view, &proposal).and_then(|()| match &proposal.subject {
        Subject::Revert(proposed) => revert::execute(view, at, trees, &proposal, &proposed.revert),
        Subject::Act(act) => acts::execute(view, at, proposal.id, act).map(|events| (Vec::new(), events)),
    });
    match done {
        Err(refusal) => {
            if mutated(Mutation::FailInPart) {
                revert::raise_epochs(view, &proposal);
            }
            close(view, at, proposal, Ending::Failed { code: refusal.code().number }, decisions);
        }
        Ok((restored, events)) => {
            decisions.restored.extend(restored);
            decisions.events.extend(events);
            let others: Vec<Proposal> =
                open(view).into_iter().filter(|other| other.id != proposal.id && other.overlaps(&proposal)).collect();
            let by = proposal.id;
            close(view, at, proposal, Ending::Executed, decisions);
            for other in others.into_iter().filter(|_| !mutated(Mutation::NeverSupersede)) {
                close(view, at, other, Ending::Superseded { by }, decisions);
            }
        }
    }
}

/// Checks that more than 2/3 of the power still vote for a proposal.
///
/// Errors: `E_POWER_LOST`.
fn check_power<R: Reader + ?Sized>(view: &mut View<'_, R>, proposal: &Proposal) -> Result<(), Refusal> {
    let tally = tally_of(view, proposal);
    if !is_decided(&tally) && !mutated(Mutation::SkipRecount) {
        return Err(Refusal::PowerLost { yes: tally.yes, total: tally.total });
    }
    Ok(())
}

/// Schedules the proposals that more than 2/3 support, and closes those that can no longer have as many, after the last
/// transaction of a block.
pub(crate) fn end<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, decisions: &mut Decisions) {
    if !decisions.has_changed {
        return;
    }
    let mut scheduled = Vec::new();
    let mut voting = Vec::new();
    for proposal in open(view) {
        if proposal.state == ProposalState::Voting { voting.push(proposal) } else { scheduled.push(proposal) }
    }
    for mut proposal in voting {
        let tally = tally_of(view, &proposal);
        let is_free = !scheduled.iter().any(|other| other.overlaps(&proposal)) || mutated(Mutation::ScheduleOverlap);
        if is_decided(&tally) && is_free {
            let notice = if mutated(Mutation::SkipNotice) { Duration::ZERO } else { proposal.notice };
            let due = at.after(notice);
            proposal.state = ProposalState::Scheduled { at: due };
            store(view, &proposal);
            decisions.events.push(event(
                &format!("{}.scheduled", proposal.topic()),
                [
                    ("id", (proposal.id.to_string(), true)),
                    ("at", (due.unix_millis().to_string(), false)),
                    ("yes_power", (tally.yes.to_string(), false)),
                ],
            ));
            scheduled.push(proposal);
        } else if is_rejected(&tally) && !mutated(Mutation::NeverReject) {
            close(view, at, proposal, Ending::Rejected, decisions);
        }
    }
}

/// Closes a proposal: its namespaces are no longer frozen, and its deposit is returned, unless more than 1/3 voted no with
/// veto.
pub(crate) fn close<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    mut proposal: Proposal,
    ending: Ending,
    decisions: &mut Decisions,
) {
    let tally = tally_of(view, &proposal);
    decisions.has_changed = true;
    decisions.events.extend(closing_event(&proposal, ending, &tally));
    if !mutated(Mutation::FreezeOutlives) {
        unfreeze(view, at, &mut proposal, &mut decisions.events);
    }
    let is_lost = (is_vetoed(&tally) && !mutated(Mutation::ReturnLost)) || mutated(Mutation::KeepDeposit);
    if is_lost {
        view.add_to_fee_pool(proposal.deposit);
    } else {
        view.pay(&proposal.proposer, proposal.deposit);
    }
    proposal.state = ProposalState::Closed { height: at.height, ending, tally };
    store(view, &proposal);
    let (mut open, next) = all(view);
    open.retain(|id| *id != proposal.id || mutated(Mutation::StayOpen));
    set_all(view, open, next);
}

/// Returns the event of the end of a proposal; an executed revert has one for each namespace instead.
fn closing_event(proposal: &Proposal, ending: Ending, tally: &Tally) -> Option<Event> {
    let kind = |what: &str| format!("{}.{what}", proposal.topic());
    let id = ("id", (proposal.id.to_string(), true));
    Some(match ending {
        Ending::Executed => match &proposal.subject {
            Subject::Revert(_) => return None,
            Subject::Act(act) => event(&kind("executed"), [id, ("kind", (act.name().to_owned(), false))]),
        },
        Ending::Failed { code } => {
            let name = crate::error::CODES.iter().find(|line| line.number == code).map_or("", |line| line.name);
            event(&kind("failed"), [id, ("code", (name.to_owned(), false))])
        }
        Ending::Expired => event(&kind("expired"), [id]),
        Ending::Rejected => {
            let (no, total) = (tally.no.to_string(), tally.total.to_string());
            event(&kind("rejected"), [id, ("no_power", (no, false)), ("total", (total, false))])
        }
        Ending::Cancelled => event(&kind("cancelled"), [id, ("by", (proposal.proposer.to_string(), false))]),
        Ending::Superseded { by } => event(&kind("superseded"), [id, ("by", (by.to_string(), false))]),
    })
}

/// Returns true if more than 1/3 of the power voted no with veto.
fn is_vetoed(tally: &Tally) -> bool {
    let power = if mutated(Mutation::NoIsVeto) { tally.no } else { tally.veto };
    power.is_honest_of(tally.total) || (mutated(Mutation::ThirdVetoes) && is_third_of(power, tally.total))
}

/// Returns true if more than 1/3 of the power voted no.
fn is_rejected(tally: &Tally) -> bool {
    tally.no.is_honest_of(tally.total) || (mutated(Mutation::ThirdRejects) && is_third_of(tally.no, tally.total))
}

/// Lets the namespaces of a proposal take writes again.
fn unfreeze<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, proposal: &mut Proposal, events: &mut Vec<Event>) {
    let Subject::Revert(proposed) = &mut proposal.subject else { return };
    let Some(until) = proposed.frozen_until.take() else { return };
    for name in proposal.names() {
        let Some(mut namespace) = view.namespace(&name) else { continue };
        namespace.frozen = None;
        if !until.has_passed(at.time) && !mutated(Mutation::NoPause) {
            namespace.freeze_after = Some(at.after(at.params.proposals.cooldown));
        }
        view.set_namespace(&name, &namespace);
        let (id, ns) = ((proposal.id.to_string(), true), (name.to_string(), true));
        events.push(event("revert.unfrozen", [("id", id), ("ns", ns)]));
    }
}

/// Freezes the namespaces of a proposal until it ends, at most for the time that the parameters allow. Returns the
/// events.
pub(crate) fn freeze<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, proposal: &mut Proposal) -> Vec<Event> {
    let params = &at.params.proposals;
    let end = match proposal.state {
        ProposalState::Scheduled { at } => at.time(),
        _ => proposal.voting_ends.time().saturating_add(proposal.notice),
    };
    let duration = match (params.freeze_max, end.since(at.time)) {
        (_, left) if mutated(Mutation::LongFreeze) => left,
        (max, _) if mutated(Mutation::FreezePastEnd) => max,
        (max, left) => max.min(left),
    };
    let until = at.after(duration);
    let power = tally_of(view, proposal).freeze;
    if let Subject::Revert(proposed) = &mut proposal.subject {
        proposed.frozen_until = Some(until);
    }
    store(view, proposal);
    let mut events = Vec::new();
    for name in proposal.names() {
        let Some(mut namespace) = view.namespace(&name) else { continue };
        namespace.frozen = Some(Frozen { until, by: proposal.id });
        namespace.freeze_after = Some(At { time: until.time(), ..*at }.after(params.cooldown));
        view.set_namespace(&name, &namespace);
        events.push(event(
            "revert.frozen",
            [
                ("id", (proposal.id.to_string(), true)),
                ("ns", (name.to_string(), true)),
                ("until", (until.unix_millis().to_string(), false)),
                ("power", (power.to_string(), false)),
            ],
        ));
    }
    events
}

/// Returns the targets of the open reverts. A later block may read the state of these heights.
pub fn open_targets<R: Reader + ?Sized>(reader: &R) -> Vec<Height> {
    let target = |proposal: &Proposal| proposal.revert().map(|proposed| proposed.revert.target);
    open(&mut View::of_state(reader)).iter().filter_map(target).collect()
}

/// Returns the earliest time at which a block decides something about proposals, whatever its transactions are. It may
/// have passed: then the next block decides.
///
/// Cost: one read, and one for each open proposal.
pub(crate) fn earliest_deadline<R: Reader + ?Sized>(view: &mut View<'_, R>) -> Option<Time> {
    let next = |proposal: Proposal| {
        let due = match proposal.state {
            ProposalState::Scheduled { at } => at,
            _ => proposal.voting_ends,
        };
        let frozen_until = proposal.frozen_until().filter(|_| !mutated(Mutation::ForgetFreezeEnd));
        frozen_until.map_or(due, |until| until.min(due)).time()
    };
    open(view).into_iter().map(next).min()
}
