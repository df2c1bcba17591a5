//! The conditions of a revert, and the keys that it changes.

use types::{Hash, Height, History, NsName, Params, Reader, Revert, blake3, pb};

use crate::{
    area::Area,
    error::Refusal,
    kv::{At, Namespace},
    mutation::{Mutation, mutated},
    state::key,
    tree::rows::{hash_value, split_row},
    upgrade::{Barrier, barrier},
    view::View,
};

/// Begin of the bytes of which [`digest`] is the hash.
const DIGEST_CONTEXT: &[u8] = b"cairn revert diff v1";

/// One namespace in the scope of a revert.
pub(crate) struct Scoped {
    pub name: NsName,
    /// The namespace in this block.
    pub now: Namespace,
    /// The namespace at the target height.
    pub then: Namespace,
    /// Its root before this block.
    pub from: Hash,
    /// Its root at the target height.
    pub to: Hash,
}

impl Scoped {
    pub fn area(&self) -> Area {
        Area::Namespace(self.now.number)
    }
}

/// The change of one row by a revert.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Key of the row.
    pub row: Vec<u8>,
    /// Height of the last change of the row before this block, if it is known.
    pub changed: Option<Height>,
    /// Value of the row before this block.
    pub now: Option<Vec<u8>>,
    /// Value of the row at the target height.
    pub then: Option<Vec<u8>>,
}

impl Change {
    /// Returns the key in the namespace.
    pub fn key(&self) -> &[u8] {
        let row = self.now.as_ref().or(self.then.as_ref()).expect("a change has a value before or after it");
        split_row(row).expect("rows are checked when they are read").0
    }

    /// Returns the hashes of the values now and at the target; zeros where there is none.
    fn hashes(&self) -> [[u8; 32]; 2] {
        [&self.now, &self.then].map(|row| match row {
            None => [0; 32],
            Some(row) => hash_value(split_row(row).expect("rows are checked when they are read").1).0,
        })
    }
}

/// Checks that every node can read the state at the target of a revert, and that no barrier is in between.
///
/// Errors: `E_HEIGHT_FUTURE`, `E_CROSSES_BARRIER` or `E_HEIGHT_PRUNED`.
pub(crate) fn check_target<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    target: Height,
) -> Result<(), Refusal> {
    if target >= at.height && !mutated(Mutation::FutureTarget) {
        return Err(Refusal::HeightFuture { got: target, latest: at.height.prev().unwrap_or_default() });
    }
    let is_before = |barrier: &Barrier| target < barrier.height && !mutated(Mutation::CrossBarrier);
    if let Some(barrier) = barrier(view).filter(is_before) {
        return Err(Refusal::CrossesBarrier { height: barrier.height, kind: barrier.kind });
    }
    if target < at.earliest() && !mutated(Mutation::PrunedTarget) {
        return Err(Refusal::HeightPruned { got: target, earliest: at.earliest() });
    }
    Ok(())
}

/// Returns the namespaces of a revert, now and at its target, in the order of their names.
///
/// Errors: those of [`check_target`], `E_BAD_NAME`, `E_NS_UNKNOWN` or `E_NS_NEWER`.
pub(crate) fn scoped<R: History + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    revert: &Revert,
) -> Result<Vec<Scoped>, Refusal> {
    check_target(view, at, revert.target)?;
    let mut all = Vec::with_capacity(revert.scope.len());
    for scope in &revert.scope {
        let name = NsName::new(&scope.ns).map_err(|reason| Refusal::BadName { reason })?;
        let Some(now) = view.namespace(&name) else { return Err(Refusal::NsUnknown { ns: name }) };
        if now.created >= revert.target && !mutated(Mutation::NewerNamespace) {
            return Err(Refusal::NsNewer { ns: name, created: now.created });
        }
        let then: Option<pb::Namespace> = view.message_at(revert.target, &key::namespace(&name));
        let Some(then) = then.and_then(|then| Namespace::from_pb(&then)) else {
            view.unreadable::<()>(&key::namespace(&name), "it was no namespace after its creation");
            return Err(Refusal::NsNewer { ns: name, created: now.created });
        };
        let (from, to) = (view.root_of(&now), view.root_of(&then));
        all.push(Scoped { name, now, then, from, to });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Checks that the namespaces had the roots at the target that a proposal expects.
///
/// Errors: `E_ROOT_MISMATCH` for the first one that had not.
pub(crate) fn check_expected(scoped: &[Scoped], revert: &Revert) -> Result<(), Refusal> {
    for scope in &revert.scope {
        let found = scoped.iter().find(|scoped| *scoped.name == *scope.ns);
        if let Some((found, expected)) = found.zip(scope.expect_root)
            && found.to != expected
            && !mutated(Mutation::AnyExpectedRoot)
        {
            return Err(Refusal::RootMismatch { ns: found.name.clone(), expected, actual: found.to });
        }
    }
    Ok(())
}

/// Checks that no namespace changed after the height that a proposal names.
///
/// Errors: `E_DIRTY` for the first one that did.
pub(crate) fn check_dirty(scoped: &[Scoped], revert: &Revert) -> Result<(), Refusal> {
    let Some(dirty_after) = revert.dirty_after else { return Ok(()) };
    let is_dirty = |scoped: &&Scoped| scoped.now.changed > dirty_after && !mutated(Mutation::IgnoreDirty);
    match scoped.iter().find(is_dirty) {
        None => Ok(()),
        Some(Scoped { name, now, .. }) => Err(Refusal::Dirty { ns: name.clone(), changed: now.changed, dirty_after }),
    }
}

/// Returns the changes of each namespace, in the order of the rows.
///
/// Cost: one walk over the rows that changed since the target, and their two versions. The limits count all of these, also those that have their old
/// value again, because a limit must mean the same work on every node.
///
/// Errors: `E_TOO_LARGE` if more keys or bytes changed than the parameters allow.
pub(crate) fn changes<R: History + ?Sized>(
    history: &R,
    params: &Params,
    target: Height,
    scoped: &[Scoped],
) -> Result<Vec<Vec<Change>>, Refusal> {
    let (keys_max, bytes_max) = (params.proposals.revert_keys_max, params.proposals.revert_bytes_max);
    let too_large = || Refusal::RevertTooLarge { target, keys_max, bytes_max };
    let mut rows: Vec<Vec<Vec<u8>>> = Vec::with_capacity(scoped.len());
    let mut keys = 0;
    for scoped in scoped {
        let mut changed = Vec::new();
        history.changed_since(target, &scoped.area().prefix(), &mut |row| {
            changed.push(row.to_vec());
            keys += 1;
            keys <= keys_max || mutated(Mutation::RevertAnyKeys) || mutated(Mutation::CountDifferent)
        });
        if keys > keys_max && !mutated(Mutation::RevertAnyKeys) && !mutated(Mutation::CountDifferent) {
            return Err(too_large());
        }
        changed.sort_unstable();
        rows.push(changed);
    }
    let mut bytes = 0;
    let mut changes_of = |rows: Vec<Vec<u8>>| {
        let mut changes = Vec::with_capacity(rows.len());
        history.compare(target, &rows, &mut |index, now, then| {
            let row = &rows[index];
            let whole = |value: &&[u8]| split_row(value).is_some() || unreadable(history, row);
            let changed = now.map(|(at, _)| at);
            let [now, then] = [now.and_then(|(_, value)| value), then].map(|value| value.filter(whole));
            bytes +=
                [now, then].map(|value| value.map_or(0, |value| value.len() as u64 - LENGTH_BYTES)).iter().sum::<u64>();
            if now != then {
                let [now, then] = [now, then].map(|value| value.map(<[u8]>::to_vec));
                changes.push(Change { row: row.clone(), changed, now, then });
            }
            bytes <= bytes_max || mutated(Mutation::RevertAnyBytes)
        });
        if bytes > bytes_max && !mutated(Mutation::RevertAnyBytes) { Err(too_large()) } else { Ok(changes) }
    };
    let changes: Vec<Vec<Change>> = rows.into_iter().map(&mut changes_of).collect::<Result<_, Refusal>>()?;
    if mutated(Mutation::CountDifferent) && changes.iter().flatten().count() as u64 > keys_max {
        return Err(too_large());
    }
    Ok(changes)
}

/// Bytes of a row's value that are neither its key nor its value.
const LENGTH_BYTES: u64 = 2;

fn unreadable<R: Reader + ?Sized>(reader: &R, row: &[u8]) -> bool {
    reader.unreadable(row, "it is incomplete");
    false
}

/// Returns the number of changed keys, and the bytes of these keys with their values now and at the target.
pub(crate) fn size<'c>(changes: impl IntoIterator<Item = &'c Change>) -> (u64, u64) {
    let bytes = |row: &Option<Vec<u8>>| row.as_ref().map_or(0, |row| row.len() as u64 - LENGTH_BYTES);
    changes.into_iter().fold((0, 0), |(keys, all), change| (keys + 1, all + bytes(&change.now) + bytes(&change.then)))
}

/// Returns the hash that identifies the changes of a revert: over the namespaces in the order of their names, and the
/// keys in their order, each with the hashes of its values now and at the target.
///
/// | bytes of a change | |
/// |---|---|
/// | 1 and as many | length of the name, name |
/// | 2 and as many | length of the key, big-endian, and the key |
/// | 32 and 32 | BLAKE3 of the value now and at the target, zeros if there is none |
pub(crate) fn digest(scoped: &[Scoped], changes: &[Vec<Change>]) -> Hash {
    let mut bytes = DIGEST_CONTEXT.to_vec();
    for (scoped, changes) in scoped.iter().zip(changes) {
        let mut sorted: Vec<&Change> = changes.iter().collect();
        sorted.sort_by_key(|change| change.key());
        for change in sorted {
            let (name, key) = (scoped.name.as_bytes(), change.key());
            bytes.push(name.len() as u8);
            bytes.extend(name);
            bytes.extend((key.len() as u16).to_be_bytes());
            bytes.extend(key);
            bytes.extend(change.hashes().as_flattened());
        }
    }
    blake3(&bytes)
}
