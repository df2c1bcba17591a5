//! The messages of transactions about proposals.

use std::time::Duration;

use types::{
    Address, Deadline, Event, History, NsName, Params, ProposalKind, Propose, Reader, Revert,
    limits::PROPOSAL_STEP_S_MAX,
};

use super::{
    block::{self, Decisions},
    diff,
    record::{
        self, Ending, OperatorVote, Proposal, ProposalState, all, cast, is_third_of, load, set_all, store,
        take_back_demands, votes,
    },
};
use crate::{
    error::Refusal,
    event::event,
    kv::At,
    mutation::{Mutation, mutated},
    state::Operator,
    view::View,
};

/// Checks the parts of a proposal that do not depend on the state, and returns the deposit for it.
///
/// Errors: `E_BAD_NAME` or `E_NOTICE`.
pub(crate) fn check_propose(params: &Params, propose: &Propose) -> Result<u64, Refusal> {
    let ProposalKind::Revert(revert) = &propose.kind;
    for scope in &revert.scope {
        NsName::new(&scope.ns).map_err(|reason| Refusal::BadName { reason })?;
    }
    notice_of(params, revert)?;
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
    let ProposalKind::Revert(revert) = &propose.kind;
    let max = at.params.proposals.open_max;
    let (mut open, id) = all(view);
    let is_full = open.len() as u64 >= max && !mutated(Mutation::AnyOpen);
    if is_full || (decisions.tries >= max && !mutated(Mutation::AnyTries)) {
        return Err(Refusal::TooManyOpen { max });
    }
    view.take_deposit(signer, if mutated(Mutation::FreeProposal) { 0 } else { deposit })?;
    // A proposal that is refused after this has cost reads of the history too.
    decisions.tries += 1;
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
    let proposal = Proposal {
        id,
        propose: Propose { kind: ProposalKind::Revert(kept), ..propose.clone() },
        proposer: *signer,
        deposit,
        opened: at.height,
        voting_ends: at.after(at.params.proposals.voting),
        notice: notice_of(at.params, revert)?,
        keys,
        bytes,
        diff_digest,
        frozen_until: None,
        state: ProposalState::Voting,
    };
    store(view, &proposal);
    open.push(id);
    set_all(view, open, id + u64::from(!mutated(Mutation::ReuseId)));
    let scope: Vec<&str> = proposal.revert().scope.iter().map(|scope| scope.ns.as_str()).collect();
    Ok(vec![event(
        "revert.proposed",
        [
            ("id", (id.to_string(), true)),
            ("proposer", (signer.to_string(), true)),
            ("target", (revert.target.to_string(), false)),
            ("scope", (scope.join(","), false)),
            ("keys", (keys.to_string(), false)),
            ("bytes", (bytes.to_string(), false)),
            ("diff_digest", (diff_digest.to_string(), false)),
            ("deadline", (proposal.voting_ends.unix_millis().to_string(), false)),
        ],
    )])
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
    yes: bool,
    decisions: &mut Decisions,
) -> Result<Vec<Event>, Refusal> {
    let (_, operator) = open_to(view, signer, id)?;
    let stays = |first: Option<bool>| first.filter(|_| mutated(Mutation::FirstVoteStays));
    let tally = cast(view, id, signer, |vote| vote.yes = stays(vote.yes).or(Some(yes)));
    decisions.has_changed = true;
    Ok(vec![event(
        "revert.vote",
        [
            ("id", (id.to_string(), true)),
            ("validator", (operator.public_key.address().to_string(), true)),
            ("vote", (if yes { "yes" } else { "no" }.to_owned(), false)),
            ("yes_power", (tally.yes.to_string(), false)),
            ("total", (tally.total.to_string(), false)),
        ],
    )])
}

/// Demands that the namespaces of an open proposal take no writes. When more than 1/3 demand it, they take none. A
/// validator demands this of one proposal at a time: a demand that has not led to a freeze moves from another one.
///
/// Errors: `E_UNKNOWN`, `E_CLOSED`, `E_NOT_VALIDATOR`, `E_ONE_FREEZE` or `E_FREEZE_COOLDOWN`.
pub(crate) fn freeze<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    signer: &Address,
    id: u64,
) -> Result<Vec<Event>, Refusal> {
    let (mut proposal, operator) = open_to(view, signer, id)?;
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
    for Proposal { id: from, frozen_until, .. } in record::open(view) {
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
