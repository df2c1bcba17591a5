//! Namespaces of keys and values, as transactions name and change them.
//!
//! A transaction carries what its author wrote, within the bounds of memory. Whether a name, a key or a value is allowed
//! is decided by the application, which refuses each with a code of its own.

use std::{fmt, ops::Deref, str::FromStr};

use thiserror::Error;

use crate::{
    Height,
    limits::{KV_OPS_MAX, NS_NAME_BYTES_MAX},
    pb,
    wire::{self, DecodeError},
};

/// The name of a namespace: segments of lower-case letters, digits, `-` and `_`, separated by `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NsName(String);

/// Reason why a text is not the name of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{got:?} is not a name: use 1 to {NS_NAME_BYTES_MAX} lower-case letters, digits, '-', '_' and '/', and no empty segment"
)]
pub struct NsNameError {
    got: String,
}

impl NsName {
    /// Creates a name from a text.
    ///
    /// Errors: [`NsNameError`] if the length is not 1 to [`NS_NAME_BYTES_MAX`], a segment is empty, or a character is
    /// not a lower-case letter, a digit, '-', '_' or '/'.
    pub fn new(text: &str) -> Result<Self, NsNameError> {
        let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_".contains(&c);
        let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(is_allowed);
        if text.len() <= NS_NAME_BYTES_MAX && text.split('/').all(is_segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NsNameError { got: text.chars().take(80).collect() })
        }
    }

    /// Returns the text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NsName {
    type Err = NsNameError;
    fn from_str(text: &str) -> Result<Self, NsNameError> {
        Self::new(text)
    }
}

impl Deref for NsName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The accounts that may write to a new namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NsOwner {
    /// Only the account that creates it may write to it.
    Signer,
    /// Every account may write to it.
    Shared,
}

/// One operation of a write to a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvOp {
    /// Key that the operation changes.
    pub key: Vec<u8>,
    /// New value of the key; `None` deletes it.
    pub value: Option<Vec<u8>>,
    /// Condition: the key has not changed after this height, at which the author read it. Height 0 means that the key is
    /// absent. `None` means that there is no condition.
    pub if_height: Option<Height>,
}

pub(crate) fn owner_pb(owner: NsOwner) -> pb::ns_create::Owner {
    match owner {
        NsOwner::Signer => pb::ns_create::Owner::Signer(pb::Signer {}),
        NsOwner::Shared => pb::ns_create::Owner::Shared(pb::Shared {}),
    }
}

pub(crate) fn owner(value: Option<pb::ns_create::Owner>) -> Result<NsOwner, DecodeError> {
    match wire::required("transaction.messages.ns_create.owner", value)? {
        pb::ns_create::Owner::Signer(_) => Ok(NsOwner::Signer),
        pb::ns_create::Owner::Shared(_) => Ok(NsOwner::Shared),
    }
}

pub(crate) fn ops_pb(ops: &[KvOp]) -> Vec<pb::KvOp> {
    let op = |op: &KvOp| {
        let (key, if_height) = (op.key.clone(), op.if_height.map(wire::height_pb));
        let sum = match &op.value {
            Some(value) => pb::kv_op::Sum::Put(pb::KvPut { key, value: value.clone(), if_height }),
            None => pb::kv_op::Sum::Del(pb::KvDel { key, if_height }),
        };
        pb::KvOp { sum: Some(sum) }
    };
    ops.iter().map(op).collect()
}

pub(crate) fn ops(ops: Vec<pb::KvOp>) -> Result<Vec<KvOp>, DecodeError> {
    const OPS: &str = "transaction.messages.kv_write.ops";
    if ops.is_empty() {
        return Err(DecodeError::field(OPS, "there is none, at least 1 is needed"));
    }
    if ops.len() > KV_OPS_MAX {
        return Err(DecodeError::TooManyOps { got: ops.len() });
    }
    let op = |op: pb::KvOp| {
        let (key, value, if_height) = match wire::required(OPS, op.sum)? {
            pb::kv_op::Sum::Put(put) => (put.key, Some(put.value), put.if_height),
            pb::kv_op::Sum::Del(del) => (del.key, None, del.if_height),
        };
        let if_height = if_height.map(|height| wire::height("transaction.messages.kv_write.ops.if_height", height));
        Ok(KvOp { key, value, if_height: if_height.transpose()? })
    };
    ops.into_iter().map(op).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_segments_of_plain_characters() {
        let longest = "a".repeat(NS_NAME_BYTES_MAX);
        for good in ["a", "0", "-", "shared/policy", "g/fleet-7/board_2", &longest] {
            assert_eq!(NsName::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(NS_NAME_BYTES_MAX + 1);
        for bad in ["", "/", "a/", "/a", "a//b", "A", "a b", "a.b", "ä", "a?b", &too_long] {
            assert!(NsName::new(bad).unwrap_err().to_string().contains("lower-case letters"), "{bad}");
        }
    }
}
