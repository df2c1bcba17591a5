//! Access to the fields of a node's JSON responses by JSON pointer. Each error names the pointer of the missing field.

use serde_json::Value;
use types::Time;

use super::failure::Failure;

fn missing(pointer: &str, what: &str) -> Failure {
    Failure::new(format!("the node's answer has no {what} at {pointer}: is it a Cairn node of this version?"))
}

/// Returns the value at `pointer`.
///
/// Errors: the response has no value there.
pub fn at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value, Failure> {
    value.pointer(pointer).ok_or_else(|| missing(pointer, "value"))
}

/// Returns the string at `pointer`.
///
/// Errors: the response has no string there.
pub fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, Failure> {
    at(value, pointer)?.as_str().ok_or_else(|| missing(pointer, "text"))
}

/// Returns the unsigned number at `pointer`, which is a JSON number or a string: nodes write 64-bit numbers as strings.
///
/// Errors: the response has neither there.
pub fn number(value: &Value, pointer: &str) -> Result<u64, Failure> {
    let found = at(value, pointer)?;
    let number = found.as_u64().or_else(|| found.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| missing(pointer, "number"))
}

/// Returns the time at `pointer`.
///
/// Errors: the response has no valid time there.
pub fn time(value: &Value, pointer: &str) -> Result<Time, Failure> {
    Time::parse(text(value, pointer)?).map_err(|_| missing(pointer, "time"))
}

/// Returns the bytes that the base64 string at `pointer` encodes. Null stands for no bytes.
///
/// Errors: the response has neither base64 nor null there.
pub fn bytes(value: &Value, pointer: &str) -> Result<Vec<u8>, Failure> {
    let found = at(value, pointer)?;
    let decoded = match found {
        Value::Null => Some(Vec::new()),
        found => found.as_str().and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok()),
    };
    decoded.ok_or_else(|| missing(pointer, "base64"))
}

/// Returns the array at `pointer`. Null stands for an empty array.
///
/// Errors: the response has neither an array nor null there.
pub fn list<'a>(value: &'a Value, pointer: &str) -> Result<&'a [Value], Failure> {
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
