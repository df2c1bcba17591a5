//! Reading of JSON field by field, so that an error can name the field.

use std::{fmt::Display, str::FromStr};

use data_encoding::BASE64;
use serde_json::{Map, Value};
use thiserror::Error;

/// An error about a missing or invalid field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Path of the field: `validators[2].power`.
    pub field: String,
    /// What is wrong, and which value is allowed.
    pub reason: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, reason: impl ToString) -> Self {
        Self { field: field.into(), reason: reason.to_string() }
    }
}

/// A JSON value and its path in the document.
///
/// Errors: the methods return [`FieldError`] with the path, if the value is missing or has another form.
#[derive(Clone)]
pub(crate) struct At<'a> {
    value: &'a Value,
    pub path: String,
}

/// Maximum number of characters of an invalid value that an error repeats.
const SHOWN_CHARS: usize = 80;

impl<'a> At<'a> {
    pub fn root(value: &'a Value) -> Self {
        Self::new(value, String::new())
    }

    pub fn new(value: &'a Value, path: String) -> Self {
        Self { value, path }
    }

    /// Returns an error about this value.
    ///
    /// Errors: always, with this value's path and the reason.
    pub fn error<T>(&self, reason: impl ToString) -> Result<T, FieldError> {
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        Err(FieldError::new(path, reason))
    }

    fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    fn map(&self) -> Result<&'a Map<String, Value>, FieldError> {
        match self.value {
            Value::Object(map) => Ok(map),
            _ => self.error(format!("is {}, expected an object", self.kind())),
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Refuses fields that are not known, because they would be ignored.
    ///
    /// Errors: a [`FieldError`] for the first field that is not known, or if the value is no object.
    pub fn only(&self, known: &[&str]) -> Result<(), FieldError> {
        match self.map()?.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let key: String = key.chars().take(SHOWN_CHARS).collect();
                Err(FieldError::new(self.path_of(&key), format!("is not a field here: use {}", known.join(", "))))
            }
        }
    }

    /// Returns the field, or `None` if it is absent or null.
    ///
    /// Errors: a [`FieldError`] if the value is no object.
    pub fn get(&self, key: &str) -> Result<Option<At<'a>>, FieldError> {
        let value = self.map()?.get(key).filter(|value| !value.is_null());
        Ok(value.map(|value| At { value, path: self.path_of(key) }))
    }

    /// Returns the field, which must be present and not null.
    ///
    /// Errors: a [`FieldError`] if the field is missing or the value is no object.
    pub fn need(&self, key: &str) -> Result<At<'a>, FieldError> {
        match self.get(key)? {
            Some(field) => Ok(field),
            None => Err(FieldError::new(self.path_of(key), "is missing")),
        }
    }

    /// Returns the elements of a list.
    ///
    /// Errors: a [`FieldError`] if the value is no list.
    pub fn list(&self) -> Result<Vec<At<'a>>, FieldError> {
        match self.value {
            Value::Array(values) => {
                let at = |(index, value)| At { value, path: format!("{}[{index}]", self.path) };
                Ok(values.iter().enumerate().map(at).collect())
            }
            _ => self.error(format!("is {}, expected a list", self.kind())),
        }
    }

    /// Returns the text of a string.
    ///
    /// Errors: a [`FieldError`] if the value is no string.
    pub fn text(&self) -> Result<&'a str, FieldError> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => self.error(format!("is {}, expected a string", self.kind())),
        }
    }

    /// Reads a short text without control characters.
    ///
    /// Errors: a [`FieldError`] if the value is no string, is too long, or has control characters.
    pub fn name(&self, chars_max: usize) -> Result<String, FieldError> {
        let text = self.text()?;
        if text.chars().count() > chars_max || text.chars().any(char::is_control) {
            return self.error(format!("use at most {chars_max} characters, without line breaks"));
        }
        Ok(text.to_owned())
    }

    /// Reads a text and parses it into a value.
    ///
    /// Errors: a [`FieldError`] if the value is no string or does not parse.
    pub fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, FieldError> {
        let text = self.text()?;
        text.parse().or_else(|error| self.error(error))
    }

    /// Reads an integer in the range of the type, from a decimal string (CometBFT's format for 64 bits) or a JSON
    /// number.
    ///
    /// Errors: a [`FieldError`] if the value is no whole number, is out of range, or has another spelling.
    pub fn number<T: FromStr<Err: Display>>(&self) -> Result<T, FieldError> {
        let text = match self.value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return self.error(format!("is {}, expected a whole number in quotes", self.kind())),
        };
        // `+5` and similar texts also parse as numbers; they are refused, so that every number has one spelling.
        let plain = text.strip_prefix('-').unwrap_or(&text).bytes().all(|digit| digit.is_ascii_digit());
        match text.parse() {
            Ok(number) if plain => Ok(number),
            _ => {
                let shown: String = text.chars().take(SHOWN_CHARS).collect();
                let kind = std::any::type_name::<T>();
                self.error(format!("{shown:?} is not a whole number that fits {kind}"))
            }
        }
    }

    /// Reads exactly `N` bytes in base64. The error does not repeat the text, which may be a secret.
    ///
    /// Errors: a [`FieldError`] if the value is not base64 of `N` bytes.
    pub fn base64<const N: usize>(&self) -> Result<[u8; N], FieldError> {
        let bytes = BASE64.decode(self.text()?.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        match bytes {
            Some(bytes) => Ok(bytes),
            None => self.error(format!("is not {N} bytes in base64")),
        }
    }

    /// Reads the bytes of a key, `{"type": KIND, "value": BASE64}`.
    ///
    /// Errors: those of [`At::key_of`] and [`At::base64`].
    pub fn key<const N: usize>(&self, kind: &str) -> Result<[u8; N], FieldError> {
        self.key_of(&[((), kind)])?.1.base64()
    }

    /// Finds which of `kinds` a key is, by the tag of each, and returns it with the field of the key's bytes.
    ///
    /// Errors: a [`FieldError`] if the object has other fields, or its type is none of `kinds`.
    pub fn key_of<K: Copy>(&self, kinds: &[(K, &str)]) -> Result<(K, At<'a>), FieldError> {
        self.only(&["type", "value"])?;
        // The error does not repeat the text, which may be a misplaced secret.
        let got = self.need("type")?;
        let text = got.text()?;
        match kinds.iter().find(|(_, tag)| *tag == text) {
            Some((kind, _)) => Ok((*kind, self.need("value")?)),
            None => {
                let tags: Vec<String> = kinds.iter().map(|(_, tag)| format!("{tag:?}")).collect();
                got.error(format!("is another type of key: this node uses {}", tags.join(" or ")))
            }
        }
    }
}
