//! The messages of transactions about proposals.

use std::time::Duration;

use types::{
    Act, Address, Choice, Deadline, Event, History, NsName, Params, ProposalKind, Propose, Reader, Revert,
    limits::PROPOSAL_STEP_S_MAX,
};

use super::{
    acts,
    block::{self, Decisions},
    diff,
    record::{
        self, Ending, OperatorVote, Proposal, ProposalState, ProposedRevert, Subject, all, cast, is_third_of, load,
        set_all, store, take_back_demands, votes,
    },
};
use crate::{
    error::Refusal,
    event::event,
    kv::At,
    mutation::{Mutation, mutated},
    state::{Operator, check_payment},
    view::View,
};

/// Checks the parts of a proposal that do not depend on the state, and returns the deposit for it.
///
/// Errors: `E_BAD_NAME`, `E_NOTICE`, `E_BAD_RECIPIENT` or `E_ZERO_AMOUNT`.
pub(crate) fn check_propose(params: &Params, propose: &Propose) -> Result<u64, Refusal> {
    match &propose.kind {
        ProposalKind::Revert(revert) => {
            for scope in &revert.scope {
                NsName::new(&scope.ns).map_err(|reason| Refusal::BadName { reason })?;
            }
            notice_of(params, revert)?;
        }
        ProposalKind::Act(Act::Spend { to, amount }) => check_payment(to, *amount)?,
        ProposalKind::Act(_) => {}
    }
    Ok(params.proposals.deposit)
}

/// Returns the notice of a revert.
///
/// Errors: `E_NOTICE` if it is out of bounds.
pub(super) fn notice_of(params: &Params, revert: &Revert) -> Result<Duration, Refusal> {
    let (min, max) = (params.proposals.notice_min, Duration::from_secs(PROPOSAL_STEP_S_MAX));
    match revert.notice.unwrap_or(min) {
        notice if (min..=max).contains(&notice) || mutated(Mutation::AnyNotice) => Ok(notice),
        notice => Err(Refusal::Notice { got: notice.as_millis(), min: min.as_millis(), max: max.as_millis() }),
    }
}

/// Opens a proposal. The conditions are those of the state before the block.
///
/// Errors: the [`Refusal`]; some writes may have been made then, which the caller undoes.
pub(crate) fn propose<R: History + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    signer: &Address,
    propose: &Propose,
    decisions: &mut Decisions,
) -> Result<Vec<Event>, Refusal> {
    let deposit = check_propose(at.params, propose)?;
    let max = at.params.proposals.open_max;
    let (mut open, id) = all(view);
    let is_full = open.len() as u64 >= max && !mutated(Mutation::AnyOpen);
    if is_full || (decisions.tries >= max && !mutated(Mutation::AnyTries)) {
        return Err(Refusal::TooManyOpen { max });
    }
    view.take_deposit(signer, if mutated(Mutation::FreeProposal) { 0 } else { deposit })?;
    let (subject, notice) = match &propose.kind {
        ProposalKind::Revert(revert) => {
            // A proposal that is refused after this has cost reads of the history too.
            decisions.tries += 1;
            (Subject::Revert(proposed_revert(view, at, revert)?), notice_of(at.params, revert)?)
        }
        ProposalKind::Act(act) => {
            if !mutated(Mutation::SkipActProposed) {
                acts::check(view, at, act)?;
            }
            (Subject::Act(act.clone()), Duration::ZERO)
        }
    };
    let proposal = Proposal {
        id,
        subject,
        reason: propose.reason.clone(),
        uri: propose.uri.clone(),
        proposer: *signer,
        deposit,
        opened: at.height,
        voting_ends: at.after(at.params.proposals.voting),
        notice,
        state: ProposalState::Voting,
    };
    store(view, &proposal);
    open.push(id);
    set_all(view, open, id + u64::from(!mutated(Mutation::ReuseId)));
    Ok(vec![opening_event(&proposal)])
}

/// Returns the event of a new proposal.
fn opening_event(proposal: &Proposal) -> Event {
    let kind = format!("{}.proposed", proposal.topic());
    let id = ("id", (proposal.id.to_string(), true));
    let proposer = ("proposer", (proposal.proposer.to_string(), true));
    let deadline = ("deadline", (proposal.voting_ends.unix_millis().to_string(), false));
    match &proposal.subject {
        Subject::Act(act) => event(&kind, [id, proposer, ("kind", (act.name().to_owned(), false)), deadline]),
        Subject::Revert(ProposedRevert { revert, keys, bytes, diff_digest, .. }) => {
            let scope: Vec<&str> = revert.scope.iter().map(|scope| scope.ns.as_str()).collect();
            let target = ("target", (revert.target.to_string(), false));
            let scope = ("scope", (scope.join(","), false));
            let (keys, bytes) = (("keys", (keys.to_string(), false)), ("bytes", (bytes.to_string(), false)));
            let digest = ("diff_digest", (diff_digest.to_string(), false));
            event(&kind, [id, proposer, target, scope, keys, bytes, digest, deadline])
        }
    }
}

/// Compares the namespaces of a revert with their content at its target.
///
/// Errors: the first condition that does not hold.
fn proposed_revert<R: History + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    revert: &Revert,
) -> Result<ProposedRevert, Refusal> {
    let mut scoped = diff::scoped(view, at, revert)?;
    check_cooldown(at, &scoped)?;
    diff::check_expected(&scoped, revert)?;
    scoped.retain(|scoped| scoped.from != scoped.to || mutated(Mutation::KeepUnchanged));
    if scoped.is_empty() && !mutated(Mutation::NoChange) {
        return Err(Refusal::NoOp { target: revert.target });
    }
    diff::check_dirty(&scoped, revert)?;
    let changes = diff::changes(view.history(), at.params, revert.target, &scoped)?;
    let (keys, bytes) = diff::size(changes.iter().flatten());
    let shown = if mutated(Mutation::OtherDigest) { &[] } else { &changes[..] };
    let diff_digest = diff::digest(&scoped, shown);
    let mut kept = revert.clone();
    kept.scope.retain(|scope| scoped.iter().any(|scoped| *scoped.name == *scope.ns));
    Ok(ProposedRevert { revert: kept, keys, bytes, diff_digest, frozen_until: None })
}

/// Checks that no namespace was reverted recently.
///
/// Errors: `E_COOLDOWN` for the first one that was.
pub(super) fn check_cooldown(at: &At<'_>, scoped: &[diff::Scoped]) -> Result<(), Refusal> {
    let is_ahead = |until: &Deadline| !until.has_passed(at.time) && !mutated(Mutation::NoCooldown);
    let until = |scoped: &diff::Scoped| scoped.now.propose_after.filter(is_ahead);
    match scoped.iter().find_map(|scoped| Some((scoped.name.clone(), until(scoped)?))) {
        None => Ok(()),
        Some((ns, until)) => Err(Refusal::Cooldown { ns, until }),
    }
}

/// Returns an open proposal, and the validator for which the signer votes.
///
/// Errors: `E_UNKNOWN`, `E_CLOSED` or `E_NOT_VALIDATOR`.
fn open_to<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    signer: &Address,
    id: u64,
) -> Result<(Proposal, Operator), Refusal> {
    let proposal = load(view, id).ok_or(Refusal::UnknownProposal { id })?;
    if !proposal.is_open() && !mutated(Mutation::VoteOnClosed) {
        return Err(Refusal::Closed { id, state: proposal.state.to_string() });
    }
    match view.operator(signer) {
        Some(operator) => Ok((proposal, operator)),
        None if mutated(Mutation::AnyVoter) => Ok((proposal, Operator::nobody())),
        None => Err(Refusal::NotValidator { signer: *signer }),
    }
}

/// Votes on an open proposal.
///
/// Errors: `E_UNKNOWN`, `E_CLOSED` or `E_NOT_VALIDATOR`.
pub(crate) fn vote<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    signer: &Address,
    id: u64,
    choice: Choice,
    decisions: &mut Decisions,
) -> Result<Vec<Event>, Refusal> {
    let (proposal, operator) = open_to(view, signer, id)?;
    let stays = |first: Option<Choice>| first.filter(|_| mutated(Mutation::FirstVoteStays));
    let tally = cast(view, id, signer, |vote| vote.choice = stays(vote.choice).or(Some(choice)));
    decisions.has_changed = true;
    Ok(vec![event(
        &format!("{}.vote", proposal.topic()),
        [
            ("id", (id.to_string(), true)),
            ("validator", (operator.public_key.address().to_string(), true)),
            ("vote", (choice.name().to_owned(), false)),
            ("yes_power", (tally.yes.to_string(), false)),
            ("total", (tally.total.to_string(), false)),
        ],
    )])
}

/// Demands that the namespaces of an open proposal take no writes. When more than 1/3 demand it, they take none. A
/// validator demands this of one proposal at a time: a demand that has not led to a freeze moves from another one.
///
/// Errors: `E_UNKNOWN`, `E_CLOSED`, `E_NOT_VALIDATOR`, `E_NOT_REVERT`, `E_ONE_FREEZE` or `E_FREEZE_COOLDOWN`.
pub(crate) fn freeze<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    signer: &Address,
    id: u64,
) -> Result<Vec<Event>, Refusal> {
    let (mut proposal, operator) = open_to(view, signer, id)?;
    if let Subject::Act(act) = &proposal.subject
        && !mutated(Mutation::FreezeActs)
    {
        return Err(Refusal::NotRevert { id, kind: act.name() });
    }
    let mut events = move_demand(view, signer, &operator, id)?;
    for name in proposal.names() {
        let after = view.namespace(&name).and_then(|namespace| namespace.freeze_after);
        if let Some(until) = after.filter(|after| !after.has_passed(at.time) && !mutated(Mutation::FreezeAgain)) {
            return Err(Refusal::FreezeCooldown { ns: name, until });
        }
    }
    let tally = cast(view, id, signer, |vote| vote.freeze = true);
    let is_demanded = tally.freeze.is_honest_of(tally.total)
        || mutated(Mutation::OneFreezes)
        || (mutated(Mutation::ThirdFreezes) && is_third_of(tally.freeze, tally.total));
    if is_demanded {
        events.extend(block::freeze(view, at, &mut proposal));
    }
    Ok(events)
}

/// Takes back what an operator demands of open proposals other than `to`. Returns the events.
///
/// Errors: `E_ONE_FREEZE` if one of them is frozen.
fn move_demand<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    signer: &Address,
    operator: &Operator,
    to: u64,
) -> Result<Vec<Event>, Refusal> {
    let mut events = Vec::new();
    for proposal in record::open(view) {
        let (from, frozen_until) = (proposal.id, proposal.frozen_until());
        let demands = |vote: &OperatorVote| vote.operator == *signer && vote.freeze;
        if from == to || !votes(view, from).iter().any(demands) {
            continue;
        }
        match frozen_until {
            Some(_) if mutated(Mutation::SeveralFreezes) => continue,
            Some(until) => return Err(Refusal::OneFreeze { by: from, until }),
            None if mutated(Mutation::KeepDemands) => continue,
            None => take_back_demands(view, from, |of| of == signer),
        }
        events.push(event(
            "revert.demand_moved",
            [
                ("id", (from.to_string(), true)),
                ("validator", (operator.public_key.address().to_string(), true)),
                ("to", (to.to_string(), false)),
            ],
        ));
    }
    Ok(events)
}

/// Withdraws a proposal that is not decided yet.
///
/// Errors: `E_UNKNOWN`, `E_NOT_PROPOSER` or `E_CLOSED`.
pub(crate) fn cancel<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    signer: &Address,
    id: u64,
) -> Result<Vec<Event>, Refusal> {
    let proposal = load(view, id).ok_or(Refusal::UnknownProposal { id })?;
    if proposal.proposer != *signer && !mutated(Mutation::AnyCanceller) {
        return Err(Refusal::NotProposer { id, proposer: proposal.proposer });
    }
    let may_cancel = match proposal.state {
        ProposalState::Voting => true,
        ProposalState::Scheduled { .. } => mutated(Mutation::CancelScheduled),
        ProposalState::Closed { .. } => mutated(Mutation::CancelClosed),
    };
    if !may_cancel {
        return Err(Refusal::Closed { id, state: proposal.state.to_string() });
    }
    let mut decisions = Decisions::default();
    block::close(view, at, proposal, Ending::Cancelled, &mut decisions);
    Ok(decisions.events)
}
