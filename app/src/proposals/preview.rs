//! A revert on a scratch view: what it would change, and what not.

use types::{Hash, Height, History, NsName, ProposalKind, Propose, Time, Wire, pb};

use super::{
    diff,
    messages::{check_cooldown, check_propose},
    record::all,
};
use crate::{
    error::Refusal,
    kv::At,
    mutation::{Mutation, mutated},
    state::key,
    upgrade::{Barrier, barrier},
    view::View,
};

/// Path of the query that [`preview`] answers, because it needs the history and the time.
pub const REVERT_PREVIEW: &str = "/revert/preview";

/// What a revert would do if it was executed in the next block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Height whose content would return.
    pub target: Height,
    /// The lowest height that a revert may return to.
    pub earliest: Height,
    /// The last change of the chain's rules, before which no revert goes.
    pub barrier: Option<Barrier>,
    /// The namespaces, in the order of their names. One with its old content has no changed keys, and a proposal leaves
    /// it out.
    pub namespaces: Vec<NsPreview>,
    /// Number of keys that would change.
    pub keys: u64,
    /// Bytes of these keys, with their values now and at the target.
    pub bytes: u64,
    /// Hash of the changes.
    pub diff_digest: Hash,
    /// What was executed since the target and would stay.
    pub not_undone: NotUndone,
    /// The reasons why a block would refuse to open the proposal, or to execute it, now.
    pub refusals: Vec<Refusal>,
}

/// What a revert would do to one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NsPreview {
    /// Name of the namespace.
    pub name: NsName,
    /// Its root before the revert.
    pub from: Hash,
    /// Its root at the target, which would be its root again.
    pub to: Hash,
    /// Number of keys that would change.
    pub keys: u64,
    /// Bytes of these keys, with their values now and at the target.
    pub bytes: u64,
    /// Number of writes since the target.
    pub writes: u64,
    /// Its data epoch after the revert.
    pub data_epoch: u64,
}

/// Numbers of what was executed since the target of a revert and stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUndone {
    /// Transactions, which stay in their blocks with their fees and nonces.
    pub txs: u64,
    /// Transfers from account to account.
    pub transfers: u64,
    /// Writes to other namespaces.
    pub writes: u64,
}

/// Returns what a revert would do. `history` is the state after the block of `height`, `time` about that of the next
/// block, and `proposal` the bytes of a [`Propose`].
///
/// Cost: that of a new proposal. It needs no lock, and no tree.
///
/// Errors: a [`Refusal`] for which there is nothing to preview: bytes that are no proposal of a revert, a name, a notice, the target,
/// or more changes than the parameters allow. Other refusals are part of the preview.
pub fn preview<R: History + ?Sized>(
    history: &R,
    height: Height,
    time: Time,
    proposal: &[u8],
) -> Result<Preview, Refusal> {
    let propose = Propose::decode(proposal)?;
    let ProposalKind::Revert(revert) = &propose.kind else {
        let reason = "only a revert has a preview".into();
        return Err(Refusal::BadQuery { path: REVERT_PREVIEW, reason });
    };
    let mut view = View::of_state(history);
    let params = view.params();
    let at = At { height: height.next(), time, params: &params };
    check_propose(&params, &propose)?;
    let scoped = diff::scoped(&mut view, &at, revert)?;
    let changes = diff::changes(history, &params, revert.target, &scoped)?;
    let max = params.proposals.open_max;
    let is_full = all(&mut view).0.len() as u64 >= max && !mutated(Mutation::PreviewForgetsOpen);
    let conditions = [
        if is_full { Err(Refusal::TooManyOpen { max }) } else { Ok(()) },
        check_cooldown(&at, &scoped),
        diff::check_expected(&scoped, revert),
        if changes.iter().all(Vec::is_empty) { Err(Refusal::NoOp { target: revert.target }) } else { Ok(()) },
        diff::check_dirty(&scoped, revert),
    ];
    let (now, then) =
        (view.counters(), view.message_at::<pb::Counters>(revert.target, key::COUNTERS).unwrap_or_default());
    let namespaces: Vec<NsPreview> = scoped
        .iter()
        .zip(&changes)
        .map(|(scoped, changes)| {
            let (keys, bytes) = diff::size(changes);
            NsPreview {
                name: scoped.name.clone(),
                from: scoped.from,
                to: scoped.to,
                keys,
                bytes,
                writes: scoped.now.writes.saturating_sub(scoped.then.writes),
                data_epoch: scoped.now.data_epoch + 1,
            }
        })
        .collect();
    let (keys, bytes) = diff::size(changes.iter().flatten());
    let writes: u64 = namespaces.iter().map(|namespace| namespace.writes).sum();
    Ok(Preview {
        target: revert.target,
        earliest: at.earliest(),
        barrier: barrier(&mut view),
        keys,
        bytes,
        diff_digest: diff::digest(&scoped, &changes),
        not_undone: NotUndone {
            txs: now.txs.saturating_sub(then.txs),
            transfers: now.transfers.saturating_sub(then.transfers),
            writes: now.writes.saturating_sub(then.writes).saturating_sub(writes),
        },
        namespaces,
        refusals: conditions.into_iter().filter_map(Result::err).collect(),
    })
}
