//! Fields of evidence in CometBFT's JSON, with their names for error messages.

use data_encoding::BASE64;
use serde_json::Value;
use types::{Time, limits::VALIDATORS_MAX};

use crate::error::Error;

/// The expected form of a number.
const WHOLE: &str = "a whole number such as \"5\"";

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
            _ => return Err(self.unreadable("a list")),
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
        number.ok_or_else(|| self.unreadable(WHOLE))
    }

    /// As [`Field::signed`], for numbers that are not negative.
    ///
    /// Errors: it is no such number.
    pub fn unsigned(&self) -> Result<u64, Error> {
        let number = self.value.as_u64().or_else(|| self.value.as_str()?.parse().ok());
        number.ok_or_else(|| self.unreadable(WHOLE))
    }

    /// As [`Field::signed`], for numbers of 32 bits.
    ///
    /// Errors: it is no number, or too large.
    pub fn small(&self) -> Result<i32, Error> {
        i32::try_from(self.signed()?).map_err(|_| self.unreadable("a number below 2^31"))
    }

    /// As [`Field::unsigned`], for numbers of 32 bits.
    ///
    /// Errors: it is no such number, or too large.
    pub fn count(&self) -> Result<u32, Error> {
        u32::try_from(self.unsigned()?).map_err(|_| self.unreadable("a number below 2^32"))
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
        bytes.map_err(|_| self.unreadable("hexadecimal digits"))
    }

    /// Parses bytes in base64; an absent value is no bytes.
    ///
    /// Errors: it is not base64.
    pub fn base64(&self) -> Result<Vec<u8>, Error> {
        BASE64.decode(self.text().as_bytes()).map_err(|_| self.unreadable("base64"))
    }

    /// Parses a time in RFC 3339.
    ///
    /// Errors: it is no time.
    pub fn time(&self) -> Result<Time, Error> {
        let time = self.value.as_str().and_then(|text| Time::parse(text).ok());
        time.ok_or_else(|| self.unreadable("a time such as \"2026-01-31T12:00:00Z\""))
    }

    /// Creates the error for another value than expected.
    pub fn unreadable(&self, expected: &str) -> Error {
        let got: String = self.value.to_string().chars().take(80).collect();
        Error::invalid_params(format_args!("parameter evidence: {} is {got}: expected {expected}", self.name))
    }
}
