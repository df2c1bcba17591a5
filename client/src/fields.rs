//! Access to the fields of a node's answers by JSON pointer. Each error names the pointer of the missing field.

use serde_json::Value;
use thiserror::Error;
use types::Time;

/// The answer has no field of the expected type at a pointer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the node's answer has no {what} at {pointer}: is it a Cairn node of this version?")]
pub struct FieldError {
    /// JSON pointer of the field.
    pub pointer: String,
    /// Type of the value that is missing.
    pub what: &'static str,
}

fn missing(pointer: &str, what: &'static str) -> FieldError {
    FieldError { pointer: pointer.to_owned(), what }
}

/// Returns the value at `pointer`.
///
/// Errors: the answer has no value there.
pub fn at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value, FieldError> {
    value.pointer(pointer).ok_or_else(|| missing(pointer, "value"))
}

/// Returns the string at `pointer`.
///
/// Errors: the answer has no string there.
pub fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, FieldError> {
    at(value, pointer)?.as_str().ok_or_else(|| missing(pointer, "text"))
}

/// Returns the unsigned number at `pointer`, which is a JSON number or a string: nodes write 64-bit numbers as strings.
///
/// Errors: the answer has neither there.
pub fn number(value: &Value, pointer: &str) -> Result<u64, FieldError> {
    let found = at(value, pointer)?;
    let number = found.as_u64().or_else(|| found.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| missing(pointer, "number"))
}

/// Returns the time at `pointer`.
///
/// Errors: the answer has no valid time there.
pub fn time(value: &Value, pointer: &str) -> Result<Time, FieldError> {
    Time::parse(text(value, pointer)?).map_err(|_| missing(pointer, "time"))
}

/// Returns the bytes that the base64 string at `pointer` encodes. Null stands for no bytes.
///
/// Errors: the answer has neither base64 nor null there.
pub fn bytes(value: &Value, pointer: &str) -> Result<Vec<u8>, FieldError> {
    let found = at(value, pointer)?;
    let decoded = match found {
        Value::Null => Some(Vec::new()),
        found => found.as_str().and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok()),
    };
    decoded.ok_or_else(|| missing(pointer, "base64"))
}

/// Returns the array at `pointer`. Null stands for an empty array.
///
/// Errors: the answer has neither an array nor null there.
pub fn list<'a>(value: &'a Value, pointer: &str) -> Result<&'a [Value], FieldError> {
    match at(value, pointer)? {
        Value::Null => Ok(&[]),
        found => found.as_array().map(Vec::as_slice).ok_or_else(|| missing(pointer, "list")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_from_numbers_or_text() {
        let value = json!({"a": {"b": "7", "c": 8, "d": "x", "e": null}});
        assert_eq!(number(&value, "/a/b").unwrap(), 7);
        assert_eq!(number(&value, "/a/c").unwrap(), 8);
        assert!(number(&value, "/a/d").unwrap_err().to_string().contains("/a/d"));
        assert!(number(&value, "/a/x").is_err());
        assert!(list(&value, "/a/e").unwrap().is_empty());
        assert!(bytes(&value, "/a/e").unwrap().is_empty());
        assert!(bytes(&value, "/a/d").is_err());
    }
}
