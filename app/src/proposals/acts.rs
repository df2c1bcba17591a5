//! The acts that proposals decide beside reverts: what makes them impossible, and what they do.
//!
//! | act | refusals when proposed, and again when it acts | effect → event |
//! |---|---|---|
//! | parameters | `E_BAD_PARAMS` | the parameters of the next height → `params.changed` |
//! | upgrade | `E_UPGRADE_PLANNED`, `E_UPGRADE_HEIGHT`, `E_UPGRADE_DONE` | the plan, for which [`upgrade`](crate::upgrade) waits → `upgrade.planned` |
//! | cancellation of an upgrade | `E_NO_UPGRADE` | no plan → `upgrade.cancelled` |
//! | payment | when proposed `E_BAD_RECIPIENT`, `E_ZERO_AMOUNT`; when it acts `E_POOL` | money of the community pool goes to an account → `community.spent` |
//! | text | – | – |

use types::{Act, Address, Event, Height, ParamChange, Params, Reader, UpgradePlan};

use crate::{
    error::Refusal,
    event::event,
    kv::At,
    mutation::{Mutation, mutated},
    staking::Pools,
    upgrade,
    view::View,
};

/// Minimum number of heights from the block that plans an upgrade to the upgrade: the block itself has begun, and each
/// node looks at the plan after it.
pub(super) const UPGRADE_MARGIN: u64 = 2;

/// Part of the supply that a minimum fee or a deposit may be at most after a decision. With more, few accounts or none
/// could take it back.
const PRICE_PART: u64 = 1000;

/// Checks whether an act would be possible in this block, apart from amounts.
///
/// Errors: the [`Refusal`], as in the table of this file.
pub(super) fn check<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, act: &Act) -> Result<(), Refusal> {
    match act {
        Act::Params(changes) => changed_params(view, changes).map(drop),
        Act::Upgrade(plan) => check_plan(view, at, plan),
        Act::UpgradeCancel => planned(view).map(drop),
        Act::Spend { .. } | Act::Text { .. } => Ok(()),
    }
}

/// Does what was decided, or changes nothing.
///
/// Errors: the [`Refusal`], as in the table of this file.
pub(super) fn execute<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    id: u64,
    act: &Act,
) -> Result<Vec<Event>, Refusal> {
    let id = ("id", (id.to_string(), true));
    Ok(match act {
        Act::Params(changes) => {
            let params = changed_params(view, changes)?;
            view.set_params(&params);
            let change = |change: &ParamChange| format!("{}={}", change.name, change.value);
            let changes = changes.iter().map(change).collect::<Vec<_>>().join(",");
            let from = ("from_height", (at.height.next().to_string(), false));
            vec![event("params.changed", [id, ("changes", (changes, false)), from])]
        }
        Act::Upgrade(plan) => {
            if !mutated(Mutation::SkipActCheck) {
                check_plan(view, at, plan)?;
            }
            upgrade::set_plan(view, Some(plan));
            vec![plan_event("upgrade.planned", id, plan)]
        }
        Act::UpgradeCancel => {
            let plan = planned(view)?;
            upgrade::set_plan(view, None);
            vec![plan_event("upgrade.cancelled", id, &plan)]
        }
        Act::Spend { to, amount } => {
            spend(view, to, *amount)?;
            let (to, amount) = ((to.to_string(), true), (amount.to_string(), false));
            vec![event("community.spent", [id, ("recipient", to), ("amount", amount)])]
        }
        Act::Text { .. } => Vec::new(),
    })
}

/// Returns the parameters of the next height after some changes.
///
/// Errors: `E_BAD_PARAMS`.
fn changed_params<R: Reader + ?Sized>(view: &mut View<'_, R>, changes: &[ParamChange]) -> Result<Params, Refusal> {
    let bad = |reason: String| Refusal::BadParams { reason };
    let now = view.params();
    let params = now.changed(changes).map_err(|error| bad(error.to_string()))?;
    let max = view.supply() / PRICE_PART;
    let prices = [
        ("fee_min", now.fee_min, params.fee_min),
        ("fee_per_kib", now.fee_per_kib, params.fee_per_kib),
        ("proposals.deposit", now.proposals.deposit, params.proposals.deposit),
    ];
    match prices.iter().find(|(_, now, new)| new > now && *new > max && !mutated(Mutation::AnyPrice)) {
        None => Ok(params),
        Some((name, _, new)) => Err(bad(format!(
            "{name} would become {new}, and at most {max} is possible, a thousandth of the supply: with more, few accounts could change it back"
        ))),
    }
}

fn check_plan<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, new: &UpgradePlan) -> Result<(), Refusal> {
    if let Some(plan) = upgrade::plan(view).filter(|_| !mutated(Mutation::SeveralPlans)) {
        return Err(Refusal::UpgradePlanned { name: plan.name, height: plan.height });
    }
    if let Some(height) = upgrade::done(view, &new.name).filter(|_| !mutated(Mutation::UpgradeTwice)) {
        return Err(Refusal::UpgradeDone { name: new.name.clone(), height });
    }
    let min = Height(at.height.0.saturating_add(UPGRADE_MARGIN));
    if new.height < min && !mutated(Mutation::AnyUpgradeHeight) {
        return Err(Refusal::UpgradeHeight { got: new.height, min });
    }
    Ok(())
}

fn planned<R: Reader + ?Sized>(view: &mut View<'_, R>) -> Result<UpgradePlan, Refusal> {
    upgrade::plan(view).ok_or(Refusal::NoUpgrade)
}

/// Pays an amount of the community pool.
///
/// Errors: `E_POOL` if the pool has less.
fn spend<R: Reader + ?Sized>(view: &mut View<'_, R>, to: &Address, amount: u64) -> Result<(), Refusal> {
    let pools = view.pools();
    let community = match pools.community.checked_sub(amount) {
        Some(rest) if mutated(Mutation::SpendForNothing) => rest + amount,
        Some(rest) => rest,
        None if mutated(Mutation::SpendMore) => 0,
        None => return Err(Refusal::Pool { have: pools.community, need: amount }),
    };
    view.set_pools(Pools { community, ..pools });
    view.pay(to, amount);
    Ok(())
}

fn plan_event(kind: &str, id: (&'static str, (String, bool)), plan: &UpgradePlan) -> Event {
    let (name, height) = ((plan.name.clone(), true), (plan.height.to_string(), false));
    event(kind, [id, ("name", name), ("height", height), ("info", (plan.info.clone(), false))])
}
