//! Reading of JSON into serde shapes, so that an error names the field, and the JSON format of keys. The files of keys
//! (crate `files`) are read with it too.
//!
//! One shape describes a format in both directions. A shape is read from a [`Value`] by a deserializer of our own. Unlike
//! that of `serde_json`, its errors have the path of the field and say what is expected there, they repeat no value that
//! may be a secret, and a field that is null counts as absent, because CometBFT writes absent fields as null.

use std::fmt::{self, Display};

use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor, value::BorrowedStrDeserializer},
    forward_to_deserialize_any,
};
use serde_json::Value;
use thiserror::Error;
use types::{ConsensusPublicKey, KeyType, is_plain};

/// An error about a missing or invalid field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Path of the field: `validators[2].power`.
    pub field: String,
    /// What is wrong, and which value is allowed.
    pub reason: String,
}

/// Maximum number of characters of an invalid value or name that an error repeats.
const SHOWN_CHARS: usize = 80;

/// Maximum number of characters of the path of a field in an error.
const PATH_CHARS: usize = 200;

impl FieldError {
    /// Creates an error about a field. The author of a document chooses the names of its fields: the error shows a long one only in
    /// part, and nothing of it that would control a terminal.
    pub fn new(field: impl AsRef<str>, reason: impl ToString) -> Self {
        let field = field.as_ref().chars().filter(|c| is_plain(*c)).take(PATH_CHARS).collect();
        Self { field, reason: reason.to_string() }
    }

    /// Returns the error with the path as seen from outside of `parent`, which contains the field or is the field.
    pub fn within(self, parent: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        Self { field: format!("{parent}{dot}{}", self.field), ..self }
    }
}

impl de::Error for FieldError {
    fn custom<T: Display>(reason: T) -> Self {
        Self::new("", reason)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(field, "is missing")
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let field: String = field.chars().take(SHOWN_CHARS).collect();
        Self::new(field, format!("is not a field here: use {}", expected.join(", ")))
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("is of another type, expected {expected}"))
    }
}

/// Reads a document of the shape `T`.
///
/// Errors: [`FieldError`] with the path of the missing, unknown or invalid field.
pub fn read<'a, T: Deserialize<'a>>(document: &'a Value) -> Result<T, FieldError> {
    T::deserialize(At(document)).map_err(|error| match error.field.as_str() {
        "" => error.within("the document"),
        _ => error,
    })
}

/// Reads a part of a document, which has this path.
///
/// Errors: those of [`read`].
pub(crate) fn read_part<'a, T: Deserialize<'a>>(part: &'a Value, path: &str) -> Result<T, FieldError> {
    T::deserialize(At(part)).map_err(|error| error.within(path))
}

/// A JSON value as a deserializer.
struct At<'a>(&'a Value);

impl<'de> At<'de> {
    fn expect<V: Visitor<'de>>(self, fits: bool, expected: &str, visitor: V) -> Result<V::Value, FieldError> {
        let kind = match self.0 {
            _ if fits => return self.deserialize_any(visitor),
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Err(de::Error::custom(format!("is {kind}, expected {expected}")))
    }
}

impl<'de> Deserializer<'de> for At<'de> {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => visitor.visit_string(number.to_string()),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(values) => visitor.visit_seq(Elements(values.iter().enumerate())),
            Value::Object(fields) => visitor.visit_map(Fields { rest: fields.iter(), last: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        let fits = self.0.is_string();
        self.expect(fits, "a string", visitor)
    }

    /// Passes a number as text, whether it is in quotes (CometBFT's format for 64 bits) or not.
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        let fits = self.0.is_string() || self.0.is_number();
        self.expect(fits, "a whole number in quotes", visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        let fits = self.0.is_array();
        self.expect(fits, "a list", visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let fits = self.0.is_object();
        self.expect(fits, "an object", visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str bytes byte_buf unit unit_struct tuple tuple_struct map enum
        identifier ignored_any
    }
}

struct Elements<'a>(std::iter::Enumerate<std::slice::Iter<'a, Value>>);

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = FieldError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, FieldError> {
        let Some((index, value)) = self.0.next() else { return Ok(None) };
        seed.deserialize(At(value)).map(Some).map_err(|error| error.within(&format!("[{index}]")))
    }
}

/// The fields of an object that are not null.
struct Fields<'a> {
    rest: serde_json::map::Iter<'a>,
    /// The field whose name was read last.
    last: Option<(&'a String, &'a Value)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, FieldError> {
        self.last = self.rest.find(|(_, value)| !value.is_null());
        self.last.map(|(name, _)| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FieldError> {
        let (name, value) = self.last.expect("serde asks for the name first");
        seed.deserialize(At(value)).map_err(|error| error.within(name))
    }
}

/// A value in JSON as its text.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent, bound(serialize = "T: Display", deserialize = "T: std::str::FromStr<Err: Display>"))]
pub struct Text<T>(#[serde(with = "text")] pub T);

/// The functions for serde's attribute `with`: a value in JSON as its text.
pub mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes the text of a value.
    ///
    /// Errors: those of the serializer.
    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Reads a value from its text.
    ///
    /// Errors: not a string, or the text cannot be parsed.
    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The functions for serde's attribute `with`: an integer in JSON as a decimal string, CometBFT's format for 64 bits. A
/// JSON number is also read.
pub mod number {
    use std::{any, fmt::Display, str::FromStr};

    use serde::{Deserializer, de};

    pub use super::text::serialize;
    use super::{Digits, SHOWN_CHARS};

    /// Reads an integer in the range of the type.
    ///
    /// Errors: not such an integer.
    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = deserializer.deserialize_u64(Digits)?;
        // `+5` and similar texts also parse as numbers; they are refused, so that every number has one spelling.
        let plain = text.strip_prefix('-').unwrap_or(&text).bytes().all(|digit| digit.is_ascii_digit());
        text.parse().ok().filter(|_| plain).ok_or_else(|| {
            let (shown, kind) = (text.chars().take(SHOWN_CHARS).collect::<String>(), any::type_name::<T>());
            de::Error::custom(format!("{shown:?} is not a whole number that fits {kind}"))
        })
    }
}

/// The visitor of a number's text.
struct Digits;

impl Visitor<'_> for Digits {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// Decodes the text of `field` as exactly `N` bytes in base64. The error does not repeat the text, which may be a secret.
///
/// Errors: [`FieldError`] if it is not that many bytes.
pub fn base64<const N: usize>(field: &str, text: &str) -> Result<[u8; N], FieldError> {
    let bytes = BASE64.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| FieldError::new(field, format!("is not {N} bytes in base64")))
}

/// A key in its JSON format: `{"type": "tendermint/PubKeyEd25519", "value": BASE64}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyShape {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

impl KeyShape {
    /// Creates a key with a tag, like `tendermint/PubKeyEd25519`, and bytes.
    pub fn new(tag: &str, bytes: &[u8]) -> Self {
        Self { kind: tag.to_owned(), value: BASE64.encode(bytes) }
    }

    /// Returns a public key in its JSON format.
    pub fn public(key: &ConsensusPublicKey) -> Self {
        Self::new(key.key_type().public_tag(), key.bytes())
    }

    /// Finds which of `kinds` the key is, by the tag of each.
    ///
    /// Errors: [`FieldError`] about `type`. It does not repeat the text, which may be a misplaced secret.
    pub fn kind<K: Copy>(&self, kinds: &[(K, &str)]) -> Result<K, FieldError> {
        kinds.iter().find(|(_, tag)| *tag == self.kind).map(|(kind, _)| *kind).ok_or_else(|| {
            let tags: Vec<String> = kinds.iter().map(|(_, tag)| format!("{tag:?}")).collect();
            FieldError::new("type", format!("is another type of key: this node uses {}", tags.join(" or ")))
        })
    }

    /// Returns the bytes of the key, of which there must be `N`.
    ///
    /// Errors: [`FieldError`] about `value`.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], FieldError> {
        base64("value", &self.value)
    }

    /// Returns the public key, which must be of one of these types.
    ///
    /// Errors: [`FieldError`] about `type` or `value`.
    pub fn to_public(&self, key_types: &[KeyType]) -> Result<ConsensusPublicKey, FieldError> {
        let tags: Vec<_> = key_types.iter().map(|key_type| (*key_type, key_type.public_tag())).collect();
        let key_type = self.kind(&tags)?;
        let key = match key_type {
            KeyType::Secp256k1 => ConsensusPublicKey::from_bytes(key_type, &self.bytes::<33>()?),
            KeyType::Ed25519 => ConsensusPublicKey::from_bytes(key_type, &self.bytes::<32>()?),
        };
        key.map_err(|error| FieldError::new("value", error))
    }
}
