//! The execution of a revert.

#[cfg(feature = "mutations")]
use types::Reader;
use types::{Event, History, WriteSet};

use super::{
    diff::{self, Change, Scoped},
    record::{Proposal, Taint, taint, tally_of},
};
#[cfg(feature = "mutations")]
use crate::{Mutation, kv::Namespace, state::key};
use crate::{area::key_row, error::Refusal, event::event, kv::At, namespaces::Trees, tree::Update, view::View};

/// The rows of a reverted namespace, and their effect on its tree.
///
/// They are not in the view of the block, because a quiet namespace is neither read nor written in its block.
pub(crate) struct Restored {
    pub number: u32,
    /// Rows to write, those of the list of keys included.
    pub writes: WriteSet,
    /// Effect on the tree. The root is that of the target.
    pub update: Update,
}

/// Executes the revert of a scheduled proposal, or changes nothing.
///
/// Errors: the first condition that does not hold, in this order: `E_POWER_LOST`, `E_CROSSES_BARRIER`,
/// `E_HEIGHT_PRUNED`, `E_TOO_LARGE`, `E_DIRTY`, `E_ROOT_MISMATCH`.
pub(crate) fn execute<R: History + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    trees: Trees<'_>,
    proposal: &Proposal,
) -> Result<(Vec<Restored>, Vec<Event>), Refusal> {
    let (revert, history) = (proposal.revert(), view.history());
    let tally = tally_of(view, proposal);
    let is_decided = tally.yes.is_quorum_of(tally.total);
    #[cfg(feature = "mutations")]
    let is_decided = is_decided || super::record::third_decides(view, &tally);
    if !is_decided {
        return Err(Refusal::PowerLost { yes: tally.yes, total: tally.total });
    }
    let scoped = diff::scoped(view, at, revert)?;
    let changes = diff::changes(history, at.params, revert.target, &scoped)?;
    #[cfg(feature = "mutations")]
    let changes = less(view, &scoped, changes);
    diff::check_dirty(&scoped, revert)?;
    let restore = |(scoped, changes): (&Scoped, &Vec<Change>)| {
        let (number, writes) = (scoped.now.number, rows_of(changes));
        let update = trees.update_of(number, history, &writes);
        let actual = update.root();
        let is_restored = actual == scoped.to;
        #[cfg(feature = "mutations")]
        let is_restored = is_restored || loses_key(view, scoped);
        if !is_restored {
            return Err(Refusal::RootMismatch { ns: scoped.name.clone(), expected: scoped.to, actual });
        }
        Ok(Restored { number, writes, update })
    };
    let restored: Vec<Restored> = scoped.iter().zip(&changes).map(restore).collect::<Result<_, Refusal>>()?;
    let mut events = Vec::with_capacity(scoped.len());
    let mut all = Vec::with_capacity(scoped.len());
    for ((scoped, changes), mut restored) in scoped.into_iter().zip(changes).zip(restored) {
        for change in &changes {
            let list = (change.now.is_some() != change.then.is_some()).then(|| key_row(restored.number, change.key()));
            restored.writes.0.extend(list.map(|row| (row, change.then.as_ref().map(|_| Vec::new()))));
        }
        events.push(record(view, at, proposal, scoped, changes.len()));
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
    scoped: Scoped,
    keys: usize,
) -> Event {
    let Scoped { name, now: mut namespace, then, from, to } = scoped;
    let target = proposal.revert().target;
    (namespace.keys, namespace.bytes) = (then.keys, then.bytes);
    namespace.data_epoch += 1;
    #[cfg(feature = "mutations")]
    break_rest(view, proposal, &mut namespace);
    namespace.reverted = Some(at.height);
    namespace.propose_after = Some(at.after(at.params.proposals.cooldown));
    view.set_namespace(&name, &namespace);
    let interval = Taint { target, executed: at.height, proposal: proposal.id };
    taint(view, namespace.number, interval, at.earliest());
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

/// Returns true if a key of this namespace is left out (`Mutation::RestoreLess`, `Mutation::RestoreLessAgain`).
#[cfg(feature = "mutations")]
fn loses_key<R: Reader + ?Sized>(view: &View<'_, R>, scoped: &Scoped) -> bool {
    let is_again = view.mutated(Mutation::RestoreLessAgain) && scoped.now.reverted.is_some();
    view.mutated(Mutation::RestoreLess) || is_again
}

/// Leaves out the last key of each namespace that loses one.
#[cfg(feature = "mutations")]
fn less<R: Reader + ?Sized>(view: &View<'_, R>, scoped: &[Scoped], mut changes: Vec<Vec<Change>>) -> Vec<Vec<Change>> {
    let losing = scoped.iter().zip(&mut changes).filter(|(scoped, _)| loses_key(view, scoped));
    losing.for_each(|(_, changes)| drop(changes.pop()));
    changes
}

/// Breaks what a revert does beside its rows (`Mutation::KeepEpoch`, `Mutation::RestoreMore`).
#[cfg(feature = "mutations")]
fn break_rest<R: History + ?Sized>(view: &mut View<'_, R>, proposal: &Proposal, namespace: &mut Namespace) {
    if view.mutated(Mutation::KeepEpoch) {
        namespace.data_epoch -= 1;
    }
    if view.mutated(Mutation::RestoreMore) {
        let key = key::account(&proposal.proposer);
        let then = view.message_at::<types::pb::Account>(proposal.revert().target, &key);
        view.set(&key, then.map(|account| prost::Message::encode_to_vec(&account)));
    }
}

fn rows_of(changes: &[Change]) -> WriteSet {
    WriteSet(changes.iter().map(|change| (change.row.clone(), change.then.clone())).collect())
}
