//! Reading a node's answers: fields by JSON pointer, with errors that name them.

use serde_json::Value;
use types::Time;

use super::failure::Failure;

fn missing(pointer: &str, what: &str) -> Failure {
    Failure::new(format!("the node's answer has no {what} at {pointer}: is it a Cairn node of this version?"))
}

/// The value there.
pub fn at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value, Failure> {
    value.pointer(pointer).ok_or_else(|| missing(pointer, "value"))
}

/// The text there.
pub fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, Failure> {
    at(value, pointer)?.as_str().ok_or_else(|| missing(pointer, "text"))
}

/// The number there; 64-bit numbers stand in text.
pub fn number(value: &Value, pointer: &str) -> Result<u64, Failure> {
    let found = at(value, pointer)?;
    let number = found.as_u64().or_else(|| found.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| missing(pointer, "number"))
}

/// The time there.
pub fn time(value: &Value, pointer: &str) -> Result<Time, Failure> {
    Time::parse(text(value, pointer)?).map_err(|_| missing(pointer, "time"))
}

/// The bytes there, from base64; null is none.
pub fn bytes(value: &Value, pointer: &str) -> Result<Vec<u8>, Failure> {
    let found = at(value, pointer)?;
    let decoded = match found {
        Value::Null => Some(Vec::new()),
        found => found.as_str().and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok()),
    };
    decoded.ok_or_else(|| missing(pointer, "base64"))
}

/// The list there; null is an empty one.
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
    fn numbers_stand_as_numbers_or_in_text() {
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
