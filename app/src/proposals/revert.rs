//! The execution of a revert.

use types::{Event, History, Reader, Replaced, ReplacedVersion, Revert, WriteSet};

use super::{
    diff::{self, Change, Scoped},
    record::{Proposal, Taint, taint},
};
use crate::{
    area::key_row,
    error::Refusal,
    event::event,
    kv::{At, Namespace},
    mutation::{Mutation, mutated},
    namespaces::Trees,
    state::key,
    tree::Update,
    view::View,
};

/// The rows of a reverted namespace, and their effect on its tree.
///
/// They are not in the view of the block, because a quiet namespace is neither read nor written in its block.
pub(crate) struct Restored {
    pub number: u32,
    /// Rows to write, those of the list of keys included.
    pub writes: WriteSet,
    /// What those rows of `writes` replace that are in the tree.
    pub replaced: Replaced,
    /// Effect on the tree. The root is that of the target.
    pub update: Update,
}

/// Executes the revert of a scheduled proposal, or changes nothing.
///
/// Errors: the first condition that does not hold, in this order: `E_CROSSES_BARRIER`, `E_HEIGHT_PRUNED`, `E_TOO_LARGE`,
/// `E_DIRTY`, `E_ROOT_MISMATCH`.
pub(crate) fn execute<R: History + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    trees: Trees<'_>,
    proposal: &Proposal,
    revert: &Revert,
) -> Result<(Vec<Restored>, Vec<Event>), Refusal> {
    let history = view.history();
    let scoped = diff::scoped(view, at, revert)?;
    let changes = less(&scoped, diff::changes(history, at.params, revert.target, &scoped)?);
    diff::check_dirty(&scoped, revert)?;
    let restore = |(scoped, changes): (&Scoped, Vec<Change>)| {
        let (number, keys) = (scoped.now.number, changes.len());
        let lists = lists_of(number, &changes);
        let (mut writes, replaced) = rows_of(changes);
        let update = trees.update_of(number, history, &writes);
        let actual = update.root();
        if actual != scoped.to && !loses_key(scoped) && !mutated(Mutation::AnyRoot) {
            return Err(Refusal::RootMismatch { ns: scoped.name.clone(), expected: scoped.to, actual });
        }
        writes.0.extend(lists.0);
        Ok((Restored { number, writes, replaced, update }, keys))
    };
    let restored: Vec<_> = scoped.iter().zip(changes).map(restore).collect::<Result<_, Refusal>>()?;
    let mut events = Vec::with_capacity(scoped.len());
    let mut all = Vec::with_capacity(scoped.len());
    for (scoped, (restored, keys)) in scoped.into_iter().zip(restored) {
        events.push(record(view, at, proposal, (scoped, revert), keys));
        all.push(restored);
    }
    // A namespace with its old content has no row to write, and its root is in the log already.
    all.retain(|restored| !restored.writes.0.is_empty());
    Ok((all, events))
}

/// Records in N that a namespace was reverted, and returns the event.
fn record<R: History + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    proposal: &Proposal,
    (scoped, revert): (Scoped, &Revert),
    keys: usize,
) -> Event {
    let Scoped { name, now: mut namespace, then, from, to } = scoped;
    let target = revert.target;
    if !mutated(Mutation::KeepSizes) {
        (namespace.keys, namespace.bytes) = (then.keys, then.bytes);
    }
    namespace.data_epoch += 1;
    namespace.reverted = Some(at.height);
    namespace.propose_after =
        Some(at.after(at.params.proposals.cooldown)).filter(|_| !mutated(Mutation::NoCooldownSet));
    break_rest(view, (proposal, revert), &mut namespace, &then);
    view.set_namespace(&name, &namespace);
    let interval = Taint { target, executed: at.height, proposal: proposal.id };
    if !mutated(Mutation::NoTaint) {
        taint(view, namespace.number, interval, at.earliest());
    }
    event(
        "revert.executed",
        [
            ("id", (proposal.id.to_string(), true)),
            ("ns", (name.to_string(), true)),
            ("target", (target.to_string(), false)),
            ("from_root", (from.to_string(), false)),
            ("to_root", (to.to_string(), false)),
            ("keys", (keys.to_string(), false)),
            ("data_epoch", (namespace.data_epoch.to_string(), false)),
        ],
    )
}

/// Returns true if a key of this namespace is left out on purpose.
fn loses_key(scoped: &Scoped) -> bool {
    let is_again = mutated(Mutation::RestoreLessAgain) && scoped.now.reverted.is_some();
    mutated(Mutation::RestoreLess) || is_again
}

/// Leaves out the last key of each namespace that loses one on purpose.
fn less(scoped: &[Scoped], mut changes: Vec<Vec<Change>>) -> Vec<Vec<Change>> {
    let losing = scoped.iter().zip(&mut changes).filter(|(scoped, _)| loses_key(scoped));
    losing.for_each(|(_, changes)| drop(changes.pop()));
    changes
}

/// Breaks on purpose what a revert does beside its rows.
fn break_rest<R: History + ?Sized>(
    view: &mut View<'_, R>,
    (proposal, revert): (&Proposal, &Revert),
    namespace: &mut Namespace,
    then: &Namespace,
) {
    if mutated(Mutation::KeepEpoch) {
        namespace.data_epoch -= 1;
    }
    if mutated(Mutation::RestoreWrites) {
        namespace.writes = then.writes;
    }
    if mutated(Mutation::RestoreMore) {
        let key = key::account(&proposal.proposer);
        let then = view.message_at::<types::pb::Account>(revert.target, &key);
        view.set(&key, then.map(|account| prost::Message::encode_to_vec(&account)));
    }
}

/// Raises the data epochs of a revert that failed (`Mutation::FailInPart`).
pub(crate) fn raise_epochs<R: Reader + ?Sized>(view: &mut View<'_, R>, proposal: &Proposal) {
    for name in proposal.names() {
        let Some(mut namespace) = view.namespace(&name) else { continue };
        namespace.data_epoch += 1;
        view.set_namespace(&name, &namespace);
    }
}

/// Returns the rows of the list of keys of a namespace that change, because a key is added or removed.
fn lists_of(number: u32, changes: &[Change]) -> WriteSet {
    let differs = |change: &&Change| change.now.is_some() != change.then.is_some();
    let changed = changes.iter().filter(|change| differs(change) && !mutated(Mutation::KeepKeyList));
    WriteSet(changed.map(|change| (key_row(number, change.key()), change.then.as_ref().map(|_| Vec::new()))).collect())
}

/// Returns the rows that take changes back, and what they replace.
fn rows_of(changes: Vec<Change>) -> (WriteSet, Replaced) {
    let version = |change: &Change| Some(ReplacedVersion { at: change.changed?, is_deletion: change.now.is_none() });
    let replaced = changes.iter().map(|change| (change.row.clone(), version(change))).collect();
    (WriteSet(changes.into_iter().map(|change| (change.row, change.then)).collect()), Replaced(replaced))
}
