//! The parameters and the program of each height.

use std::{collections::BTreeMap, time::Duration};

use app::{Answer, Barrier, View, query};
use consensus::{Timeout, TimeoutKind};
use types::{Height, ParamChange, Params, UpgradePlan};

use super::decided::Decided;
use crate::{
    broken::{Broken, ensure},
    node::Node,
    program,
    rows::{Rows, attribute, of_kind},
    story::Counts,
};

/// The parameters and the program of each height of a world's chain.
#[derive(Default)]
pub(super) struct RuleRecord {
    /// The parameters of each height, up to the next one.
    params: BTreeMap<Height, Params>,
    /// The plan of an upgrade before the block of each height, if there was one.
    plans: BTreeMap<Height, UpgradePlan>,
    /// The upgrades that were executed, by height.
    done: BTreeMap<Height, String>,
}

impl RuleRecord {
    /// Sets the parameters of the first height.
    pub(super) fn start(&mut self, height: Height, params: Params) {
        self.params.insert(height, params);
    }

    /// Returns the parameters of a height.
    ///
    /// Errors: [`Broken`] if the height before was not followed.
    pub(super) fn at(&self, height: Height) -> Result<&Params, Broken> {
        self.params.get(&height).ok_or_else(|| Broken(format!("params: those of height {height} are not known")))
    }

    /// Follows what a block decides about parameters and upgrades.
    pub(super) fn on_decided(&mut self, decided: &Decided<'_>, counts: &mut Counts) -> Result<(), Broken> {
        let Decided { block, results, now, params, .. } = decided;
        let (header, height) = (&block.header, block.header.height);
        let (got, expected) = ((header.version_app, header.consensus_hash), (params.version_app, params.hash()));
        ensure!(got == expected, "params: header {height} has version and hash {got:?}, not {expected:?}");
        let mut next = Params::clone(params);
        let plan = self.plans.get(&height).cloned();
        let applied: Vec<&str> =
            of_kind(&results.events, "upgrade.applied").map(|event| attribute(event, "name")).collect();
        let due: Vec<&str> = plan.iter().filter(|plan| plan.height <= height).map(|plan| plan.name.as_str()).collect();
        ensure!(applied == due, "upgrade: height {height} applies {applied:?}, {due:?} is due");
        let (left, last) = upgrade_in(now);
        if let Some(plan) = plan.iter().find(|plan| plan.height <= height) {
            let barrier = Barrier { height, kind: plan.name.clone() };
            ensure!(plan.height == height, "upgrade: height {height} applies {plan:?}");
            ensure!(last.as_ref() == Some(&barrier), "upgrade: after height {height} the last upgrade is {last:?}");
            ensure!(left.as_ref() != Some(plan), "upgrade: after height {height}, {plan:?} is still planned");
            let is_new = self.done.values().all(|name| *name != plan.name);
            ensure!(is_new, "upgrade: height {height} applies {} again", plan.name);
            next.version_app += 1;
            program::migrate_params(&mut next);
            self.done.insert(height, plan.name.clone());
            counts.upgrades += 1;
        }
        self.plans.extend(left.map(|plan| (height.next(), plan)));
        for event in of_kind(&results.events, "params.changed") {
            let changed = next.changed(&changes(attribute(event, "changes")));
            next =
                changed.map_err(|error| Broken(format!("params: height {height} decides impossible ones: {error}")))?;
            counts.params_changed += 1;
        }
        let after = View::of_state(*now).params();
        ensure!(after == next, "params: after height {height} they are {after:?}, not {next:?}");
        let (update, expected) = (results.params_update.as_ref(), (next != **params).then_some(&next));
        ensure!(update == expected, "params: the results of height {height} have {update:?}, not {expected:?}");
        self.params.insert(height.next(), next);
        Ok(())
    }

    pub(super) fn check_program(&self, node: &Node, height: Height) -> Result<(), Broken> {
        let (who, program) = (node.index, node.program);
        if let Some((since, name)) = self.done.range(..height).next_back() {
            ensure!(
                program::has(program, name),
                "upgrade: n{who} decides height {height} with a program that lacks {name}, which is needed since {since}"
            );
        }
        if let Some(UpgradePlan { name, height: since, .. }) = self.plans.get(&height) {
            let (has, must) = (program::has(program, name), height >= *since);
            ensure!(
                has == must,
                "upgrade: n{who} decides height {height} with program {program}, and {name} is planned for height {since}"
            );
        }
        Ok(())
    }

    pub(super) fn check_wait(&self, node: usize, timeout: &Timeout, after: Duration) -> Result<(), Broken> {
        let Some(params) = self.params.get(&timeout.height) else { return Ok(()) };
        let t = &params.timeouts;
        let (base, delta) = match timeout.kind {
            TimeoutKind::Prevote => (t.prevote, t.prevote_delta),
            TimeoutKind::Precommit => (t.precommit, t.precommit_delta),
            // These adapt to what is measured.
            TimeoutKind::Propose | TimeoutKind::Rebroadcast => return Ok(()),
        };
        let expected = base + delta * timeout.round.0;
        // In later rounds, an engine waits less for precommits if that is enough.
        let is_shorter = timeout.kind == TimeoutKind::Precommit && timeout.round.0 > 0 && after < expected;
        ensure!(after == expected || is_shorter, "params: n{node} waits {after:?} for {timeout:?}, not {expected:?}");
        Ok(())
    }
}

/// Returns the plan of the next upgrade, and the last upgrade, of a state.
fn upgrade_in(rows: &Rows) -> (Option<UpgradePlan>, Option<Barrier>) {
    match query(rows, "/upgrade", b"") {
        Ok(Answer::Upgrade { plan, last }) => (plan, last),
        _ => (None, None),
    }
}

/// Reads the changes in an event.
fn changes(text: &str) -> Vec<ParamChange> {
    let change = |text: &str| {
        let (name, value) = text.split_once('=')?;
        Some(ParamChange { name: name.to_owned(), value: value.parse().ok()? })
    };
    text.split(',').filter_map(change).collect()
}
