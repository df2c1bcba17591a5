//! Namespaces: their rows in N, the messages that create and change them, and the log of their roots.
//!
//! **Compare and set.** `if_height: h` lets a write pass if the key has a value and did not change after height h; with
//! height 0 it passes if the key is absent. The result must be the same on every node, whatever history a node keeps.
//! So an absent key has no height: a condition above 0 on it fails, whether it was deleted long ago, just now, or never
//! existed. And a condition below the window of `retain_blocks` is refused, because no node has to know when a row
//! changed that is older. A write of the value that a key has already is no change.
//!
//! **The log of roots** has the root of each namespace at every height of the window: an entry for each height that
//! changed it, with the height of the entry before. An entry is deleted when the next one of its namespace is as old as
//! the start of the window; lists of changed roots wait for that in a queue. What a block deletes is bounded
//! ([`TRIMMED_MIN`]); the rest waits for later blocks.

use std::{fmt, time::Duration};

use data_encoding::HEXUPPER;
use prost::Message;
use types::{
    Address, Deadline, Event, Hash, Height, KvOp, NsName, NsOwner, Params, Reader, Time, is_plain,
    limits::{KV_KEY_BYTES_MAX, KV_OLD_BYTES_MAX, KV_OPS_MAX, KV_VALUE_BYTES_MAX},
    pb,
};

use crate::{
    area::Area,
    error::{Found, Refusal, Usage},
    event::event,
    mutation::{Mutation, mutated},
    state::key,
    tree::EMPTY_ROOT,
    view::View,
};

/// Number of entries of the log of roots that any block may delete.
pub const TRIMMED_MIN: usize = 1024;

/// Number of further entries that a block may delete, per namespace that it changes. A change adds one entry, so the
/// backlog shrinks whatever the blocks contain.
pub const TRIMMED_PER_CHANGE: usize = 2;

/// Maximum number of namespaces in one list of changed roots.
const CHANGED_PER_ROW: usize = 1024;

/// The data epoch of a new namespace. A revert raises it.
const FIRST_EPOCH: u64 = 1;

/// A namespace, without its keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Number in the keys of its rows: 0 for the first namespace of the chain, never used again.
    pub number: u32,
    /// The accounts that may write to it.
    pub owner: Owner,
    /// Epoch that a write must name.
    pub data_epoch: u64,
    /// Maximum number of keys.
    pub quota_keys: u64,
    /// Maximum bytes of all keys and values together.
    pub quota_bytes: u64,
    /// Number of keys that have a value.
    pub keys: u64,
    /// Bytes of all keys and values together.
    pub bytes: u64,
    /// Height that created it.
    pub created: Height,
    /// Last height that changed its root; 0 if none did.
    pub changed: Height,
    /// Number of writes since its creation, each with one or several keys.
    pub writes: u64,
    /// The freeze in force, until the block that ends it.
    pub frozen: Option<Frozen>,
    /// Time from which on it may be frozen again.
    pub freeze_after: Option<Deadline>,
    /// Time from which on a revert of it may be proposed again.
    pub propose_after: Option<Deadline>,
    /// Last height that reverted it.
    pub reverted: Option<Height>,
}

/// A time in which a namespace takes no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// End of the freeze.
    pub until: Deadline,
    /// Number of the proposal whose supporters demand it.
    pub by: u64,
}

/// The accounts that may write to a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Only this account may write to it.
    Account(Address),
    /// Every account may write to it.
    Shared,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(address) => address.fmt(f),
            Self::Shared => f.write_str("shared"),
        }
    }
}

impl Namespace {
    fn to_pb(&self) -> pb::Namespace {
        pb::Namespace {
            number: self.number,
            owner: Some(match self.owner {
                Owner::Account(address) => pb::namespace::Owner::Account(address.0.to_vec()),
                Owner::Shared => pb::namespace::Owner::Shared(pb::Shared {}),
            }),
            data_epoch: self.data_epoch,
            quota_keys: self.quota_keys,
            quota_bytes: self.quota_bytes,
            keys: self.keys,
            bytes: self.bytes,
            created_height: height_pb(self.created),
            changed_height: height_pb(self.changed),
            writes: self.writes,
            frozen_until_ms: deadline_pb(self.frozen.map(|frozen| frozen.until)),
            frozen_by: self.frozen.map_or(0, |frozen| frozen.by),
            freeze_after_ms: deadline_pb(self.freeze_after),
            propose_after_ms: deadline_pb(self.propose_after),
            reverted_height: self.reverted.map_or(0, height_pb),
        }
    }

    pub(crate) fn from_pb(pb: &pb::Namespace) -> Option<Self> {
        let height = |height: i64| u64::try_from(height).ok().map(Height);
        Some(Self {
            number: pb.number,
            owner: match pb.owner.as_ref()? {
                pb::namespace::Owner::Account(address) => Owner::Account(Address(address.as_slice().try_into().ok()?)),
                pb::namespace::Owner::Shared(_) => Owner::Shared,
            },
            data_epoch: pb.data_epoch,
            quota_keys: pb.quota_keys,
            quota_bytes: pb.quota_bytes,
            keys: pb.keys,
            bytes: pb.bytes,
            created: height(pb.created_height)?,
            changed: height(pb.changed_height)?,
            writes: pb.writes,
            frozen: deadline_of(pb.frozen_until_ms)?.map(|until| Frozen { until, by: pb.frozen_by }),
            freeze_after: deadline_of(pb.freeze_after_ms)?,
            propose_after: deadline_of(pb.propose_after_ms)?,
            reverted: Some(height(pb.reverted_height)?).filter(|height| *height > Height::GENESIS),
        })
    }

    /// Returns the time until which it takes no writes in this block, if it does not.
    fn takes_no_writes(&self, at: &At<'_>) -> Option<Deadline> {
        let is_quiet = self.reverted == Some(at.height) && !mutated(Mutation::WriteInRevert);
        let is_frozen = |until: &Deadline| !until.has_passed(at.time) && !mutated(Mutation::IgnoreFreeze);
        let frozen = self.frozen.map(|frozen| frozen.until).filter(is_frozen);
        frozen.or_else(|| is_quiet.then(|| Deadline::at(at.time)))
    }
}

/// Encodes a time that may be absent: as 0 then, because no block of a chain is that old.
pub(crate) fn deadline_pb(deadline: Option<Deadline>) -> u64 {
    deadline.map_or(0, Deadline::unix_millis)
}

/// Decodes the result of [`deadline_pb`]; the outer `None` stands for an invalid number.
pub(crate) fn deadline_of(millis: u64) -> Option<Option<Deadline>> {
    if millis == 0 { Some(None) } else { Deadline::from_unix_millis(millis).map(Some) }
}

/// Checks the parts of a creation that do not depend on the state.
///
/// Errors: the [`Refusal`] for a bad name.
pub(crate) fn check_create(ns: &str) -> Result<NsName, Refusal> {
    NsName::new(ns).map_err(|reason| Refusal::BadName { reason })
}

/// Checks the parts of a write that do not depend on the state.
///
/// Errors: the [`Refusal`] for a bad name, too many operations, or the size of a key or a value.
pub(crate) fn check_write(ns: &str, ops: &[KvOp]) -> Result<NsName, Refusal> {
    let name = check_create(ns)?;
    if ops.len() > KV_OPS_MAX && !mutated(Mutation::AnyOps) {
        return Err(Refusal::TooManyOps { got: ops.len() });
    }
    for op in ops {
        if !(1..=KV_KEY_BYTES_MAX).contains(&op.key.len()) && !mutated(Mutation::AnyKeySize) {
            return Err(Refusal::KeySize { got: op.key.len() });
        }
        // No empty value, because other software does not accept proofs of one.
        if let Some(value) = &op.value
            && !(1..=KV_VALUE_BYTES_MAX).contains(&value.len())
            && !mutated(Mutation::AnyValueSize)
        {
            return Err(Refusal::ValueSize { key: shown(&op.key), got: value.len() });
        }
    }
    Ok(name)
}

/// The block in which something is executed.
#[derive(Clone, Copy)]
pub(crate) struct At<'p> {
    /// Height of the block.
    pub height: Height,
    /// Time in the header of the block.
    pub time: Time,
    /// Parameters of this height.
    pub params: &'p Params,
}

impl At<'_> {
    /// Returns the lowest height that a condition or a revert may name.
    pub fn earliest(&self) -> Height {
        window_start(self.height, self.params.retain_blocks)
    }

    /// Returns the first deadline that is not before `duration` from the time of the block.
    pub fn after(&self, duration: Duration) -> Deadline {
        let part_of_ms = Duration::from_nanos(999_999);
        Deadline::at(self.time.saturating_add(duration).saturating_add(part_of_ms))
    }
}

/// Returns the lowest height whose state every node can read after the block of `height`.
fn window_start(height: Height, retain_blocks: u64) -> Height {
    Height(height.0.saturating_sub(retain_blocks))
}

impl<R: Reader + ?Sized> View<'_, R> {
    /// Returns a namespace, if there is one with this name.
    pub fn namespace(&mut self, name: &str) -> Option<Namespace> {
        let key = key::namespace(name);
        let pb: pb::Namespace = self.message(&key)?;
        Namespace::from_pb(&pb).or_else(|| self.unreadable(&key, "it is not a namespace"))
    }

    pub(crate) fn set_namespace(&mut self, name: &NsName, namespace: &Namespace) {
        self.set(&key::namespace(name), Some(namespace.to_pb().encode_to_vec()));
    }

    /// Returns the value of a key in a namespace.
    pub fn value(&mut self, namespace: &Namespace, key: &[u8]) -> Option<&[u8]> {
        self.get_in(Area::Namespace(namespace.number), key)
    }

    /// Returns the root of a namespace at the height of this state.
    pub fn root_of(&mut self, namespace: &Namespace) -> Hash {
        if namespace.changed == Height::GENESIS {
            return EMPTY_ROOT;
        }
        let key = key::logged_root(namespace.number, namespace.changed);
        let logged: Option<pb::LoggedRoot> = self.message(&key);
        let root = logged.and_then(|logged| logged.root.try_into().ok().map(Hash));
        root.or_else(|| self.unreadable(&key, "it is not the root of a namespace")).unwrap_or(EMPTY_ROOT)
    }

    /// Creates a namespace and takes the deposit for it.
    ///
    /// Errors: the [`Refusal`]; some writes may have been made then, which the caller undoes.
    pub(crate) fn create_namespace(
        &mut self,
        at: &At<'_>,
        signer: &Address,
        ns: &str,
        owner: NsOwner,
        (quota_keys, quota_bytes): (u64, u64),
    ) -> Result<Event, Refusal> {
        let name = check_create(ns)?;
        if self.namespace(&name).is_some() && !mutated(Mutation::CreateTwice) {
            return Err(Refusal::NsExists { ns: name });
        }
        let deposit = if mutated(Mutation::FreeNamespace) { 0 } else { at.params.ns_deposit };
        self.take_deposit(signer, deposit)?;
        if !mutated(Mutation::BurnDeposit) {
            self.add_to_fee_pool(deposit);
        }
        let created = self.amount(key::NAMESPACES);
        self.set_amount(key::NAMESPACES, created + u64::from(!mutated(Mutation::ReuseNumber)));
        let owner = match owner {
            NsOwner::Signer if mutated(Mutation::OwnedByAll) => Owner::Shared,
            NsOwner::Signer => Owner::Account(*signer),
            NsOwner::Shared => Owner::Shared,
        };
        let namespace = Namespace {
            number: u32::try_from(created).expect("the names of 2^32 namespaces do not fit into any memory"),
            owner,
            data_epoch: if mutated(Mutation::EpochFromZero) { 0 } else { FIRST_EPOCH },
            quota_keys,
            quota_bytes,
            keys: 0,
            bytes: 0,
            created: at.height,
            changed: Height::GENESIS,
            writes: 0,
            frozen: None,
            freeze_after: None,
            propose_after: None,
            reverted: None,
        };
        self.set_namespace(&name, &namespace);
        Ok(event(
            "kv.ns_created",
            [
                ("ns", (name.to_string(), true)),
                ("owner", (owner.to_string(), false)),
                ("quota_keys", (quota_keys.to_string(), false)),
                ("quota_bytes", (quota_bytes.to_string(), false)),
            ],
        ))
    }

    /// Changes keys of a namespace.
    ///
    /// Errors: the [`Refusal`]; some writes may have been made then, which the caller undoes.
    pub(crate) fn write_keys(
        &mut self,
        at: &At<'_>,
        signer: &Address,
        ns: &str,
        data_epoch: u64,
        ops: &[KvOp],
    ) -> Result<Event, Refusal> {
        let name = check_write(ns, ops)?;
        let Some(mut namespace) = self.namespace(&name) else { return Err(Refusal::NsUnknown { ns: name }) };
        match namespace.owner {
            Owner::Account(owner) if owner != *signer && !mutated(Mutation::AnyWriter) => {
                return Err(Refusal::NotWriter { ns: name, owner });
            }
            Owner::Account(_) | Owner::Shared => {}
        }
        if let Some(until) = namespace.takes_no_writes(at) {
            return Err(Refusal::NsFrozen { ns: name, until });
        }
        if data_epoch != namespace.data_epoch && !mutated(Mutation::AnyEpoch) {
            return Err(Refusal::StaleEpoch { ns: name, got: data_epoch, current: namespace.data_epoch });
        }
        let area = Area::Namespace(namespace.number);
        for KvOp { key, value, if_height } in ops {
            if self.namespace_bytes() >= KV_OLD_BYTES_MAX && !mutated(Mutation::AnyOldBytes) {
                return Err(Refusal::OldValues);
            }
            if let Some(height) = if_height {
                self.check_unchanged(at, area, key, *height)?;
            }
            let bytes = |value: &[u8]| (key.len() + value.len()) as u64;
            if let Some(old) = self.get_in(area, key)
                && !mutated(Mutation::CountReplaced)
            {
                (namespace.keys, namespace.bytes) = (namespace.keys - 1, namespace.bytes - bytes(old));
            }
            if let Some(new) = value {
                (namespace.keys, namespace.bytes) = (namespace.keys + 1, namespace.bytes + bytes(new));
            }
            self.set_in(area, key, value.clone());
        }
        let has_many_keys = namespace.keys > namespace.quota_keys && !mutated(Mutation::AnyKeyCount);
        let has_many_bytes = namespace.bytes > namespace.quota_bytes && !mutated(Mutation::AnyByteCount);
        if has_many_keys || has_many_bytes {
            let Namespace { keys, quota_keys, bytes, quota_bytes, .. } = namespace;
            return Err(Refusal::Quota { ns: name, usage: Usage { keys, quota_keys, bytes, quota_bytes } });
        }
        namespace.writes += 1;
        self.set_namespace(&name, &namespace);
        let keys: Vec<String> = ops.iter().map(|op| HEXUPPER.encode(&op.key)).collect();
        Ok(event(
            "kv.write",
            [
                ("ns", (name.to_string(), true)),
                ("data_epoch", (data_epoch.to_string(), false)),
                ("signer", (signer.to_string(), false)),
                ("keys", (keys.join(","), false)),
                ("n", (ops.len().to_string(), false)),
            ],
        ))
    }

    /// Checks the condition of an operation.
    fn check_unchanged(&mut self, at: &At<'_>, area: Area, key: &[u8], height: Height) -> Result<(), Refusal> {
        let conflict = |found| Err(Refusal::Cas { key: shown(key), if_height: height, found });
        let is_present = self.get_in(area, key).is_some();
        match (height, is_present) {
            (Height::GENESIS, false) => Ok(()),
            (Height::GENESIS, true) if mutated(Mutation::PresentIsAbsent) => Ok(()),
            (Height::GENESIS, true) => conflict(Found::Present),
            _ if height < at.earliest() && !mutated(Mutation::AnyConditionHeight) => {
                Err(Refusal::HeightPruned { got: height, earliest: at.earliest() })
            }
            (_, false) if mutated(Mutation::AbsentIsUnchanged) => Ok(()),
            (_, false) => conflict(Found::Absent),
            (_, true) => match self.changed_in(area, key, at.height) {
                changed if changed > height && !mutated(Mutation::ChangedIsUnchanged) => {
                    conflict(Found::ChangedAt(changed))
                }
                _ => Ok(()),
            },
        }
    }

    /// Returns number and name of each namespace that this block created.
    pub(crate) fn created_namespaces(&self) -> Vec<(u32, NsName)> {
        let created = self.added(key::NAMESPACE).map(|(key, value)| {
            let pb = pb::Namespace::decode(value).expect("this block wrote the row");
            let name = std::str::from_utf8(&key[key::NAMESPACE.len()..]).ok().and_then(|name| NsName::new(name).ok());
            (pb.number, name.expect("only a valid name gets a namespace"))
        });
        created.collect()
    }

    /// Adds the new roots of a block to the log, and deletes entries that left the window.
    pub(crate) fn log_roots(&mut self, height: Height, retain_blocks: u64, changed: &[(NsName, Hash)]) {
        let mut replaced = Vec::new();
        for (name, root) in changed {
            let Some(mut namespace) = self.namespace(name) else {
                self.unreadable::<()>(&key::namespace(name), "the namespace of a tree is missing");
                continue;
            };
            let root = if mutated(Mutation::LogOldRoot) { self.root_of(&namespace) } else { *root };
            let previous = namespace.changed;
            if previous > Height::GENESIS {
                replaced.push(namespace.number);
            }
            namespace.changed = height;
            self.set_namespace(name, &namespace);
            let pb = pb::LoggedRoot { root: root.0.to_vec(), previous_height: height_pb(previous) };
            self.set(&key::logged_root(namespace.number, height), Some(pb.encode_to_vec()));
        }
        let before: pb::ChangedRootsQueue = self.message(key::CHANGED_ROOTS).unwrap_or_default();
        let mut queue = before;
        for numbers in replaced.chunks(CHANGED_PER_ROW) {
            let list = pb::ChangedRoots { height: height_pb(height), numbers: numbers.to_vec() };
            self.set(&key::changed_roots(queue.next), Some(list.encode_to_vec()));
            queue.next += 1;
        }
        let start = height_pb(window_start(height, retain_blocks)) + i64::from(mutated(Mutation::ForgetRoots));
        let bound = TRIMMED_MIN + TRIMMED_PER_CHANGE * changed.len();
        let mut left = match bound {
            _ if mutated(Mutation::DeleteAtOnce) => usize::MAX,
            _ if mutated(Mutation::KeepRoots) => 0,
            bound => bound,
        };
        while queue.first < queue.next && left > 0 && self.trim(queue.first, start, &mut left) {
            queue.first += 1;
        }
        if queue != before {
            let waits = queue.first < queue.next;
            self.set(key::CHANGED_ROOTS, waits.then(|| queue.encode_to_vec()));
        }
    }

    /// Deletes the entries of the log that are older than those of a list, unless the list is younger than `start`.
    /// Returns true if it did; `left` counts down the deleted entries.
    fn trim(&mut self, place: u64, start: i64, left: &mut usize) -> bool {
        let row = key::changed_roots(place);
        let list: Option<pb::ChangedRoots> = self.message(&row);
        let list = list.or_else(|| self.unreadable(&row, "a list of changed roots is missing")).unwrap_or_default();
        if list.height > start {
            return false;
        }
        let at = |height: i64| Height(height.unsigned_abs());
        for number in &list.numbers {
            let key = key::logged_root(*number, at(list.height));
            let logged: Option<pb::LoggedRoot> = self.message(&key);
            let logged = logged.or_else(|| self.unreadable(&key, "a root is missing")).unwrap_or_default();
            self.set(&key::logged_root(*number, at(logged.previous_height)), None);
        }
        self.set(&row, None);
        *left = left.saturating_sub(list.numbers.len());
        true
    }
}

pub(crate) fn height_pb(height: Height) -> i64 {
    i64::try_from(height.0).expect("heights stay below i64::MAX")
}

/// Returns a key for people: as text if it is printable, otherwise in hexadecimal digits.
fn shown(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if text.chars().all(is_plain) => text.to_owned(),
        _ => format!("0x{}", HEXUPPER.encode(key)),
    }
}
