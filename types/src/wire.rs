//! Conversion between types and their encoded bytes.

use prost::Message;
use thiserror::Error;

use crate::{Address, BlockId, Hash, Height, List, PartSetHeader, Round, Time, limits::KV_OPS_MAX, pb};

/// Reason why bytes do not decode to a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// There are more bytes than the type allows; nothing was decoded.
    #[error("{name}: {got} bytes, at most {max} are allowed")]
    TooLarge {
        /// Name of the type.
        name: &'static str,
        /// Number of bytes given.
        got: usize,
        /// Number of bytes allowed.
        max: usize,
    },
    /// The bytes are not protobuf of this shape.
    #[error("{name}: not valid protobuf: {reason}")]
    Protobuf {
        /// Name of the type.
        name: &'static str,
        /// Error message of the codec.
        reason: String,
    },
    /// A field is missing or breaks an invariant of the type.
    #[error("{field}: {reason}")]
    Field {
        /// Name of the field, as in `proto/cairn.proto`.
        field: &'static str,
        /// Description of what is wrong with the field.
        reason: String,
    },
    /// A write to a namespace has too many operations; a variant of its own, because clients get a code of its own.
    #[error("a write of {got} operations, at most {KV_OPS_MAX} are allowed")]
    TooManyOps {
        /// Number of operations given.
        got: usize,
    },
}

impl DecodeError {
    /// Creates the error for a field that breaks an invariant.
    pub fn field(field: &'static str, reason: impl ToString) -> Self {
        Self::Field { field, reason: reason.to_string() }
    }
}

/// A type with encoded bytes: for signing, hashing, sending and storing.
///
/// `decode(encode(x)) == x`. Decoding never allocates more than a small multiple of [`Wire::BYTES_MAX`]. It refuses
/// values that break the invariants of the type, and names the field.
pub trait Wire: Sized {
    /// The generated protobuf structure.
    type Pb: Message + Default;
    /// Name of the type in errors.
    const NAME: &'static str;
    /// Maximum bytes that [`Wire::decode`] accepts.
    const BYTES_MAX: usize;
    /// Lists whose number of elements [`Wire::decode`] checks before it decodes: those of messages.
    const LISTS: &'static [List] = &[];

    /// Converts to the generated structure.
    fn to_pb(&self) -> Self::Pb;
    /// Converts from the generated structure and checks it.
    ///
    /// Errors: `Field` with the field that is missing or breaks an invariant; `TooLarge` or `Protobuf` for encoded
    /// bytes inside it.
    fn from_pb(pb: Self::Pb) -> Result<Self, DecodeError>;

    /// Returns the encoded bytes of the value.
    fn encode(&self) -> Vec<u8> {
        self.to_pb().encode_to_vec()
    }

    /// Decodes a value from its bytes.
    ///
    /// Errors: `TooLarge`, `Protobuf`, or `Field` with the field that is wrong.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(DecodeError::TooLarge { name: Self::NAME, got: bytes.len(), max: Self::BYTES_MAX });
        }
        Self::LISTS.iter().try_for_each(|list| at_most(list.field, list.count_in(bytes), list.max))?;
        let pb =
            Self::Pb::decode(bytes).map_err(|e| DecodeError::Protobuf { name: Self::NAME, reason: e.to_string() })?;
        Self::from_pb(pb)
    }
}

/// Returns the field's value, or an error that names the field.
pub(crate) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or_else(|| DecodeError::field(field, "is missing"))
}

/// Checks that there are at most `max` elements.
pub(crate) fn at_most(field: &'static str, got: usize, max: usize) -> Result<(), DecodeError> {
    if got > max {
        return Err(DecodeError::field(field, format!("{got} elements, at most {max} are allowed")));
    }
    Ok(())
}

pub(crate) fn height(field: &'static str, value: i64) -> Result<Height, DecodeError> {
    u64::try_from(value).map(Height).map_err(|_| DecodeError::field(field, format!("{value} is negative")))
}

pub(crate) fn height_pb(height: Height) -> i64 {
    i64::try_from(height.0).expect("heights stay below i64::MAX")
}

pub(crate) fn round(field: &'static str, value: i32) -> Result<Round, DecodeError> {
    u32::try_from(value).map(Round).map_err(|_| DecodeError::field(field, format!("{value} is negative")))
}

pub(crate) fn round_pb(round: Round) -> i32 {
    i32::try_from(round.0).expect("rounds stay below i32::MAX")
}

pub(crate) fn hash(field: &'static str, bytes: &[u8]) -> Result<Hash, DecodeError> {
    bytes.try_into().map(Hash).map_err(|_| DecodeError::field(field, format!("{} bytes, a hash has 32", bytes.len())))
}

pub(crate) fn address(field: &'static str, bytes: &[u8]) -> Result<Address, DecodeError> {
    bytes
        .try_into()
        .map(Address)
        .map_err(|_| DecodeError::field(field, format!("{} bytes, an address has 20", bytes.len())))
}

pub(crate) fn time(field: &'static str, value: Option<pb::Timestamp>) -> Result<Time, DecodeError> {
    let value = required(field, value)?;
    Time::from_parts(value.seconds, value.nanos)
        .ok_or_else(|| DecodeError::field(field, format!("{}.{} s is out of range", value.seconds, value.nanos)))
}

pub(crate) fn time_pb(time: Time) -> Option<pb::Timestamp> {
    let (seconds, nanos) = time.parts();
    Some(pb::Timestamp { seconds, nanos })
}

pub(crate) fn parts_header(
    field: &'static str,
    value: Option<pb::PartSetHeader>,
) -> Result<PartSetHeader, DecodeError> {
    let value = required(field, value)?;
    if value.total == 0 || value.total > crate::limits::PARTS_MAX {
        return Err(DecodeError::field(
            field,
            format!("{} parts, 1 to {} are allowed", value.total, crate::limits::PARTS_MAX),
        ));
    }
    Ok(PartSetHeader { total: value.total, hash: hash(field, &value.hash)? })
}

pub(crate) fn parts_header_pb(header: PartSetHeader) -> Option<pb::PartSetHeader> {
    Some(pb::PartSetHeader { total: header.total, hash: header.hash.0.to_vec() })
}

/// Decodes a block id that may be nil: Tendermint writes nil as an id with empty fields.
pub(crate) fn block_id_or_nil(field: &'static str, value: Option<pb::BlockId>) -> Result<Option<BlockId>, DecodeError> {
    let Some(value) = value else { return Ok(None) };
    let parts = value.part_set_header.clone().unwrap_or_default();
    if value.hash.is_empty() && parts.total == 0 && parts.hash.is_empty() {
        return Ok(None);
    }
    Ok(Some(BlockId { hash: hash(field, &value.hash)?, parts: parts_header(field, value.part_set_header)? }))
}

pub(crate) fn block_id(field: &'static str, value: Option<pb::BlockId>) -> Result<BlockId, DecodeError> {
    required(field, block_id_or_nil(field, value)?)
}

pub(crate) fn block_id_pb(id: Option<BlockId>) -> Option<pb::BlockId> {
    Some(match id {
        Some(id) => pb::BlockId { hash: id.hash.0.to_vec(), part_set_header: parts_header_pb(id.parts) },
        None => pb::BlockId { hash: Vec::new(), part_set_header: Some(pb::PartSetHeader::default()) },
    })
}

/// Decodes an amount that Tendermint writes as int64. A negative value is an error.
pub(crate) fn unsigned(field: &'static str, value: i64) -> Result<u64, DecodeError> {
    u64::try_from(value).map_err(|_| DecodeError::field(field, format!("{value} is negative")))
}
