//! The JSON of the application's answers about proposals to the validators, and about upgrades. `docs/proposals.md` and
//! `docs/reverts.md` describe it.

use app::{
    Barrier, CODES, Ending, NotUndone, NsPreview, Operator, OperatorVote, Preview, Proposal, ProposalState,
    ProposedRevert, Refusal, Subject, Tally,
};
use serde_json::{Value, json};
use types::{Act, Deadline, ParamChange, RevertScope, UpgradePlan};

fn ms(deadline: Deadline) -> String {
    deadline.unix_millis().to_string()
}

/// Returns a proposal, and the sums of its votes.
pub fn shown(proposal: &Proposal, tally: &Tally) -> Value {
    let mut value = json!({
        "id": proposal.id.to_string(),
        "state": proposal.state.name(),
        "proposer": proposal.proposer.to_string(),
        "deposit": proposal.deposit.to_string(),
        "opened_height": proposal.opened.to_string(),
        "voting_ends_ms": ms(proposal.voting_ends),
        "notice_ms": proposal.notice.as_millis().to_string(),
        "reason": proposal.reason,
        "uri": proposal.uri,
        "yes_power": tally.yes.to_string(),
        "no_power": tally.no.to_string(),
        "veto_power": tally.veto.to_string(),
        "total_power": tally.total.to_string(),
    });
    match &proposal.subject {
        Subject::Revert(proposed) => {
            value["freeze_power"] = json!(tally.freeze.to_string());
            add_revert(&mut value, proposed);
        }
        Subject::Act(act) => {
            value["kind"] = json!(act.name());
            add_act(&mut value, act);
        }
    }
    match proposal.state {
        ProposalState::Voting => {}
        ProposalState::Scheduled { at } => value["at_ms"] = json!(ms(at)),
        ProposalState::Closed { height, ending, .. } => {
            value["closed_height"] = json!(height.to_string());
            match ending {
                Ending::Failed { code } => value["code"] = json!(name_of(code)),
                Ending::Superseded { by } => value["superseded_by"] = json!(by.to_string()),
                Ending::Executed | Ending::Expired | Ending::Rejected | Ending::Cancelled => {}
            }
        }
    }
    value
}

/// Adds what a revert would do.
fn add_revert(value: &mut Value, proposed: &ProposedRevert) {
    let ProposedRevert { revert, keys, bytes, diff_digest, frozen_until } = proposed;
    let scope =
        |scope: &RevertScope| json!({ "ns": scope.ns, "expect_root": scope.expect_root.map(|root| root.to_string()) });
    value["kind"] = json!("revert");
    value["frozen_until_ms"] = json!(frozen_until.map(ms));
    value["target_height"] = json!(revert.target.to_string());
    value["scope"] = revert.scope.iter().map(scope).collect();
    value["dirty_after"] = json!(revert.dirty_after.map(|height| height.to_string()));
    value["keys"] = json!(keys.to_string());
    value["bytes"] = json!(bytes.to_string());
    value["diff_digest"] = json!(diff_digest.to_string());
}

/// Adds what an act would do.
fn add_act(value: &mut Value, act: &Act) {
    match act {
        Act::Params(changes) => {
            let change = |change: &ParamChange| json!({ "name": change.name, "value": change.value.to_string() });
            value["changes"] = changes.iter().map(change).collect();
        }
        Act::Upgrade(plan) => value["upgrade"] = of_plan(plan),
        Act::UpgradeCancel => {}
        Act::Spend { to, amount } => {
            value["to"] = json!(to.to_string());
            value["amount"] = json!(amount.to_string());
        }
        Act::Text { title, body } => {
            value["title"] = json!(title);
            value["body"] = json!(body);
        }
    }
}

fn of_plan(plan: &UpgradePlan) -> Value {
    json!({ "name": plan.name, "height": plan.height.to_string(), "info": plan.info })
}

/// Returns the plan of the next upgrade, and the last upgrade.
pub fn upgrade(plan: Option<&UpgradePlan>, last: Option<&Barrier>) -> Value {
    let last = last.map(|last| json!({ "name": last.kind, "height": last.height.to_string() }));
    json!({ "plan": plan.map(of_plan), "last": last })
}

fn name_of(code: u32) -> &'static str {
    CODES.iter().find(|line| line.number == code).map_or("", |line| line.name)
}

/// Returns a proposal with its votes.
pub fn with_votes(proposal: &Proposal, tally: &Tally, votes: &[(OperatorVote, Option<Operator>)]) -> Value {
    let vote = |(vote, operator): &(OperatorVote, Option<Operator>)| {
        json!({
            "operator": vote.operator.to_string(),
            "validator": operator.map(|operator| operator.public_key.address().to_string()),
            "power": operator.map(|operator| operator.power.to_string()),
            "vote": vote.choice.map(|choice| choice.name()),
            "freeze": vote.freeze,
        })
    };
    let mut value = shown(proposal, tally);
    value["votes"] = votes.iter().map(vote).collect();
    value
}

/// Returns proposals, the numbers of the open ones, and the number that continues the list.
pub fn list(list: &[(Proposal, Tally)], open: &[u64], next: Option<u64>) -> Value {
    let list: Vec<Value> = list.iter().map(|(proposal, tally)| shown(proposal, tally)).collect();
    let open: Vec<String> = open.iter().map(u64::to_string).collect();
    json!({ "proposals": list, "open": open, "next": next.map(|next| next.to_string()) })
}

/// Returns the preview of a revert.
pub fn preview(preview: &Preview) -> Value {
    let NotUndone { txs, transfers, writes } = preview.not_undone;
    json!({
        "target_height": preview.target.to_string(),
        "earliest_height": preview.earliest.to_string(),
        "barrier": preview.barrier.as_ref().map(|barrier| {
            json!({ "height": barrier.height.to_string(), "kind": barrier.kind })
        }),
        "namespaces": preview.namespaces.iter().map(of_namespace).collect::<Vec<_>>(),
        "keys": preview.keys.to_string(),
        "bytes": preview.bytes.to_string(),
        "diff_digest": preview.diff_digest.to_string(),
        "not_undone": {
            "txs": txs.to_string(),
            "transfers": transfers.to_string(),
            "writes": writes.to_string(),
        },
        "would_execute": preview.refusals.is_empty(),
        "refusals": preview.refusals.iter().map(refusal).collect::<Vec<_>>(),
    })
}

fn of_namespace(namespace: &NsPreview) -> Value {
    json!({
        "ns": namespace.name.as_str(),
        "from_root": namespace.from.to_string(),
        "to_root": namespace.to.to_string(),
        "keys": namespace.keys.to_string(),
        "bytes": namespace.bytes.to_string(),
        "writes": namespace.writes.to_string(),
        "data_epoch": namespace.data_epoch.to_string(),
    })
}

fn refusal(refusal: &Refusal) -> Value {
    json!({ "code": refusal.code().number, "name": refusal.code().name, "log": refusal.to_string() })
}
