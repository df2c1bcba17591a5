//! Fields of evidence in CometBFT's JSON, with their names for error messages.

use data_encoding::BASE64;
use serde_json::Value;
use types::{Time, limits::VALIDATORS_MAX, pb};

use crate::error::Error;

/// A JSON value with its name in the evidence.
pub(super) struct Field<'a> {
    pub name: String,
    pub value: &'a Value,
}

impl<'a> Field<'a> {
    /// Returns the outermost value.
    pub fn root(value: &'a Value) -> Self {
        Self { name: String::new(), value }
    }

    /// Returns a field of this object; null if it is absent.
    pub fn get(&self, field: &str) -> Self {
        let name = if self.name.is_empty() { field.to_owned() } else { format!("{}.{field}", self.name) };
        Self { name, value: &self.value[field] }
    }

    /// As [`Field::get`], for a field that CometBFT and other software call differently.
    pub fn either(&self, name: &str, other: &str) -> Self {
        if self.value[name].is_null() && !self.value[other].is_null() { self.get(other) } else { self.get(name) }
    }

    /// Returns the items of a list of at most [`VALIDATORS_MAX`]; null is an empty list.
    ///
    /// Errors: it is another value, or has more items.
    pub fn items(&self) -> Result<Vec<Self>, Error> {
        let list = match self.value {
            Value::Array(list) => list.as_slice(),
            Value::Null => &[],
            other => return Err(unreadable(&self.name, other, "a list")),
        };
        if list.len() > VALIDATORS_MAX {
            let reason = format_args!(
                "parameter evidence: {} has {} elements, at most {VALIDATORS_MAX} are allowed",
                self.name,
                list.len()
            );
            return Err(Error::invalid_params(reason));
        }
        Ok(list.iter().enumerate().map(|(at, value)| Self { name: format!("{}[{at}]", self.name), value }).collect())
    }

    /// Parses a number, plain or quoted.
    ///
    /// Errors: it is no number.
    pub fn signed(&self) -> Result<i64, Error> {
        let number = self.value.as_i64().or_else(|| self.value.as_str()?.parse().ok());
        number.ok_or_else(|| unreadable(&self.name, self.value, "a whole number such as \"5\""))
    }

    /// As [`Field::signed`], for numbers of 32 bits.
    ///
    /// Errors: it is no number, or too large.
    pub fn small(&self) -> Result<i32, Error> {
        i32::try_from(self.signed()?).map_err(|_| unreadable(&self.name, self.value, "a number below 2^31"))
    }

    /// Returns the text; an empty one for another value.
    pub fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// Parses bytes in hexadecimal digits; an absent value is no bytes.
    ///
    /// Errors: it has other characters.
    pub fn hex(&self) -> Result<Vec<u8>, Error> {
        let text = self.text().to_ascii_uppercase();
        let bytes = data_encoding::HEXUPPER.decode(text.as_bytes());
        bytes.map_err(|_| unreadable(&self.name, self.value, "hexadecimal digits"))
    }

    /// Parses bytes in base64; an absent value is no bytes.
    ///
    /// Errors: it is not base64.
    pub fn base64(&self) -> Result<Vec<u8>, Error> {
        BASE64.decode(self.text().as_bytes()).map_err(|_| unreadable(&self.name, self.value, "base64"))
    }

    /// Parses a time in RFC 3339.
    ///
    /// Errors: it is no time.
    pub fn time(&self) -> Result<Option<pb::Timestamp>, Error> {
        const SECOND: i64 = 1_000_000_000;
        let nanos = time(&self.name, self.value)?.unix_nanos();
        Ok(Some(pb::Timestamp { seconds: nanos.div_euclid(SECOND), nanos: nanos.rem_euclid(SECOND) as i32 }))
    }
}

/// Parses a number that is not negative, plain or quoted.
///
/// Errors: it is no such number.
pub(super) fn number(name: &str, value: &Value) -> Result<u64, Error> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| unreadable(name, value, "a whole number such as \"5\""))
}

/// Parses a time in RFC 3339.
///
/// Errors: it is no time.
pub(super) fn time(name: &str, value: &Value) -> Result<Time, Error> {
    let time = value.as_str().and_then(|text| Time::parse(text).ok());
    time.ok_or_else(|| unreadable(name, value, "a time such as \"2026-01-31T12:00:00Z\""))
}

/// Creates the error for a field with another value than expected.
pub(super) fn unreadable(name: &str, got: &Value, expected: &str) -> Error {
    let got: String = got.to_string().chars().take(80).collect();
    Error::invalid_params(format_args!("parameter evidence: {name} is {got}: expected {expected}"))
}
