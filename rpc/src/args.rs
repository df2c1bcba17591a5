//! Parses the arguments of a call from JSON or a URI.
//!
//! | type | in JSON | in a URI |
//! |---|---|---|
//! | number | `5`, `"5"` | `5`, `"5"` |
//! | boolean | `true`, `"true"` | `true`, `"true"` |
//! | string | `"abc"` | `"abc"`, `abc` |
//! | bytes | base64 | `0x` and hex, or `"raw text"` |
//! | hash, hex bytes | hex, with or without `0x`; a hash also in base64 | `0x` and hex, or plain hex |
//!
//! Null and an empty URI value count as absent. Names that the method does not know are ignored, as in CometBFT.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};
use serde_json::Value;

use crate::{error::Error, methods::Param};

#[derive(Clone, Debug, PartialEq)]
enum Arg {
    /// Null, a boolean, a number or a string.
    Json(Value),
    /// A list or an object as JSON text, which takes less memory while the call waits.
    Nested(String),
    Uri(String),
}

impl Arg {
    fn of_json(value: Value) -> Self {
        if value.is_array() || value.is_object() { Self::Nested(value.to_string()) } else { Self::Json(value) }
    }
}

/// The arguments of one call, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args(BTreeMap<&'static str, Arg>);

type Result<T> = std::result::Result<T, Error>;

impl Args {
    /// Reads `params` of a JSON-RPC call, which is JSON text: an object by name, an array by position, or null for none.
    ///
    /// Errors: `params` is none of these, or has more values than the method has names.
    pub fn of_json(params: &str, known: &'static [Param]) -> Result<Self> {
        let mut args = BTreeMap::new();
        match serde_json::from_str(params).map_err(Error::invalid_params)? {
            Value::Null => {}
            Value::Object(mut given) => {
                args.extend(
                    known.iter().filter_map(|param| Some((param.name, Arg::of_json(given.remove(param.name)?)))),
                );
            }
            Value::Array(given) if given.len() <= known.len() => {
                args.extend(known.iter().map(|param| param.name).zip(given.into_iter().map(Arg::of_json)));
            }
            Value::Array(given) => {
                let names: Vec<&str> = known.iter().map(|param| param.name).collect();
                return Err(Error::invalid_params(format_args!(
                    "{} parameters by position, but the method has {}: {}",
                    given.len(),
                    names.len(),
                    names.join(", ")
                )));
            }
            _ => {
                return Err(Error::invalid_params(
                    "params is neither an object nor an array: name them as in {\"height\":\"5\"}",
                ));
            }
        }
        args.retain(|_, arg| *arg != Arg::Json(Value::Null));
        Ok(Self(args))
    }

    /// Reads the query part of a URI; if a name occurs several times, its last value is used.
    pub fn of_uri(pairs: Vec<(String, String)>, known: &'static [Param]) -> Self {
        let mut args = BTreeMap::new();
        for (name, value) in pairs {
            if let Some(param) = known.iter().find(|param| param.name == name) {
                args.insert(param.name, Arg::Uri(value));
            }
        }
        args.retain(|_, arg| *arg != Arg::Uri(String::new()));
        Self(args)
    }

    /// Returns an integer; `None` if absent.
    ///
    /// Errors: the value is not an integer of 64 bits.
    pub fn number(&self, name: &'static str) -> Result<Option<i64>> {
        let number = match self.0.get(name) {
            None => return Ok(None),
            Some(Arg::Json(Value::Number(number))) => number.as_i64(),
            Some(Arg::Json(Value::String(text))) => text.parse().ok(),
            Some(Arg::Json(_) | Arg::Nested(_)) => None,
            Some(Arg::Uri(text)) => unquote(text).parse().ok(),
        };
        number.map(Some).ok_or_else(|| self.unreadable(name, "a whole number such as \"5\""))
    }

    /// Returns a boolean; false if absent.
    ///
    /// Errors: the value is neither true nor false.
    pub fn truth(&self, name: &'static str) -> Result<bool> {
        let text = match self.0.get(name) {
            None => return Ok(false),
            Some(Arg::Json(Value::Bool(truth))) => return Ok(*truth),
            Some(Arg::Json(Value::String(text))) => text,
            Some(Arg::Json(_) | Arg::Nested(_)) => "",
            Some(Arg::Uri(text)) => unquote(text),
        };
        text.parse().map_err(|_| self.unreadable(name, "true or false"))
    }

    /// Returns a string; `None` if absent.
    ///
    /// Errors: the value is not a string, or its quotes are not closed.
    pub fn text(&self, name: &'static str) -> Result<Option<String>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Arg::Json(Value::String(text))) => Ok(Some(text.clone())),
            Some(Arg::Json(_) | Arg::Nested(_)) => Err(self.unreadable(name, "text")),
            Some(Arg::Uri(raw)) => self.uri_text(name, raw).map(Some),
        }
    }

    /// Returns any JSON value.
    ///
    /// Errors: the value is absent or not JSON.
    pub fn json(&self, name: &'static str) -> Result<Value> {
        match self.required(name)? {
            Arg::Json(value) => Ok(value.clone()),
            Arg::Nested(raw) | Arg::Uri(raw) => serde_json::from_str(raw).map_err(|_| self.unreadable(name, "JSON")),
        }
    }

    /// Returns a list of strings, empty if absent. In a URI: a JSON list, or strings separated by commas.
    ///
    /// Errors: the value is not a list of strings.
    pub fn texts(&self, name: &'static str) -> Result<Vec<String>> {
        let expected = "a list of texts such as [\"a\",\"b\"]";
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(Arg::Json(_)) => Err(self.unreadable(name, expected)),
            Some(Arg::Uri(raw)) if !raw.starts_with('[') => {
                Ok(unquote(raw).split(',').map(|text| text.trim().to_owned()).collect())
            }
            Some(Arg::Nested(raw) | Arg::Uri(raw)) => {
                serde_json::from_str(raw).map_err(|_| self.unreadable(name, expected))
            }
        }
    }

    /// Returns bytes in one of the forms above.
    ///
    /// Errors: the value is absent or has another form.
    pub fn bytes(&self, name: &'static str) -> Result<Vec<u8>> {
        let bytes = match self.required(name)? {
            Arg::Json(Value::String(text)) => BASE64.decode(text.as_bytes()).ok(),
            Arg::Json(_) | Arg::Nested(_) => None,
            Arg::Uri(raw) => match hex_digits(raw) {
                Some(digits) => HEXUPPER_PERMISSIVE.decode(digits.as_bytes()).ok(),
                None if raw.starts_with('"') => Some(self.uri_text(name, raw)?.into_bytes()),
                None => None,
            },
        };
        bytes.ok_or_else(|| {
            self.unreadable(name, "bytes: base64 in JSON; 0x and hexadecimal digits, or \"raw text\", in a URI")
        })
    }

    /// Returns bytes that are usually written in hex; empty if absent.
    ///
    /// Errors: the value is not hex.
    pub fn hex(&self, name: &'static str) -> Result<Vec<u8>> {
        let bytes = match self.0.get(name) {
            None => return Ok(Vec::new()),
            Some(Arg::Json(Value::String(text))) => decode_hex(text),
            Some(Arg::Json(_) | Arg::Nested(_)) => None,
            Some(Arg::Uri(raw)) if raw.starts_with('"') => Some(self.uri_text(name, raw)?.into_bytes()),
            Some(Arg::Uri(raw)) => decode_hex(raw),
        };
        bytes.ok_or_else(|| self.unreadable(name, "hexadecimal digits, two for each byte"))
    }

    /// Returns a hash of 32 bytes.
    ///
    /// Errors: the value is absent, or is not 32 bytes in hex or base64.
    pub fn hash(&self, name: &'static str) -> Result<[u8; 32]> {
        let text = match self.required(name)? {
            Arg::Json(Value::String(text)) => text.as_str(),
            Arg::Json(_) | Arg::Nested(_) => "",
            Arg::Uri(raw) => unquote(raw),
        };
        let bytes = decode_hex(text).filter(|bytes| bytes.len() == 32).or_else(|| BASE64.decode(text.as_bytes()).ok());
        let hash = bytes.and_then(|bytes| bytes.try_into().ok());
        hash.ok_or_else(|| self.unreadable(name, "a hash: 32 bytes, as 64 hexadecimal digits or in base64"))
    }

    fn required(&self, name: &'static str) -> Result<&Arg> {
        self.0
            .get(name)
            .ok_or_else(|| Error::invalid_params(format_args!("parameter {name} is missing: give it by this name")))
    }

    fn uri_text(&self, name: &'static str, raw: &str) -> Result<String> {
        if !raw.starts_with('"') {
            return Ok(raw.to_owned());
        }
        serde_json::from_str(raw).map_err(|_| self.unreadable(name, "text, its quotes closed"))
    }

    fn unreadable(&self, name: &'static str, expected: &str) -> Error {
        let got = match self.0.get(name) {
            Some(Arg::Json(value)) => value.to_string(),
            Some(Arg::Nested(raw) | Arg::Uri(raw)) => raw.clone(),
            None => String::new(),
        };
        let got: String = got.chars().take(80).collect();
        Error::invalid_params(format_args!("parameter {name} is {got}: expected {expected}"))
    }
}

fn unquote(raw: &str) -> &str {
    raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw)
}

fn hex_digits(raw: &str) -> Option<&str> {
    raw.strip_prefix("0x").or_else(|| raw.strip_prefix("0X"))
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    HEXUPPER_PERMISSIVE.decode(hex_digits(text).unwrap_or(text).as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::methods::Form;

    /// Parameters whose forms do not matter here: each test reads them in its own.
    const PARAMS: &[Param] = &[
        Param::required("height", Form::Json, ""),
        Param::required("tx", Form::Json, ""),
        Param::required("hash", Form::Json, ""),
        Param::required("prove", Form::Json, ""),
        Param::required("path", Form::Json, ""),
        Param::required("data", Form::Json, ""),
    ];

    fn uri(pairs: &[(&str, &str)]) -> Args {
        Args::of_uri(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), PARAMS)
    }

    fn json(params: Value) -> Args {
        Args::of_json(&params.to_string(), PARAMS).unwrap()
    }

    #[test]
    fn numbers_may_be_plain_or_quoted() {
        for args in [
            json(json!({"height": "5"})),
            json(json!({"height": 5})),
            json(json!(["5"])),
            uri(&[("height", "5")]),
            uri(&[("height", "\"5\"")]),
        ] {
            assert_eq!(args.number("height"), Ok(Some(5)), "{args:?}");
        }
        for args in
            [json(json!(null)), json(json!({})), json(json!([])), json(json!({"height": null})), uri(&[("height", "")])]
        {
            assert_eq!(args.number("height"), Ok(None), "{args:?}");
        }
        for args in [
            json(json!({"height": "x"})),
            json(json!({"height": 1.5})),
            json(json!({"height": [1]})),
            json(json!({"height": "99999999999999999999"})),
            uri(&[("height", "0x5")]),
            uri(&[("height", "\"5")]),
        ] {
            let error = args.number("height").unwrap_err();
            assert!(error.data.starts_with("parameter height is "), "{error:?}");
        }
    }

    /// A fuzzer found it: `/block_search?page=%110%22`.
    #[test]
    fn an_error_repeats_no_control_character_of_a_uri() {
        let error = uri(&[("height", "\u{11}0\"")]).number("height").unwrap_err();
        assert_eq!(error.data, "parameter height is \\u{11}0\": expected a whole number such as \"5\"");
    }

    #[test]
    fn bytes_are_base64_in_json_and_hex_or_raw_in_a_uri() {
        assert_eq!(json(json!({"tx": "YWJj"})).bytes("tx"), Ok(b"abc".to_vec()));
        assert_eq!(uri(&[("tx", "0x616263")]).bytes("tx"), Ok(b"abc".to_vec()));
        assert_eq!(uri(&[("tx", "\"abc\"")]).bytes("tx"), Ok(b"abc".to_vec()));
        assert!(uri(&[("tx", "abc")]).bytes("tx").is_err());
        assert!(uri(&[("tx", "0xabc")]).bytes("tx").is_err());
        assert!(json(json!({"tx": "Y"})).bytes("tx").is_err());
        assert!(json(json!({})).bytes("tx").unwrap_err().data.contains("missing"));
        assert_eq!(json(json!({"data": "616263"})).hex("data"), Ok(b"abc".to_vec()));
        assert_eq!(json(json!({})).hex("data"), Ok(vec![]));
        assert_eq!(uri(&[("data", "\"abc\"")]).hex("data"), Ok(b"abc".to_vec()));
    }

    #[test]
    fn hashes_are_hex_or_base64() {
        let hash = [0xAB; 32];
        let hex = data_encoding::HEXLOWER.encode(&hash);
        for args in [
            json(json!({ "hash": hex.to_uppercase() })),
            json(json!({ "hash": format!("0x{hex}") })),
            json(json!({ "hash": BASE64.encode(&hash) })),
            uri(&[("hash", &format!("0x{hex}"))]),
            uri(&[("hash", &hex)]),
            uri(&[("hash", &format!("\"{hex}\""))]),
        ] {
            assert_eq!(args.hash("hash"), Ok(hash), "{args:?}");
        }
        assert!(json(json!({"hash": "AB"})).hash("hash").is_err());
    }

    #[test]
    fn params_are_named_placed_or_absent() {
        assert!(Args::of_json("\"5\"", PARAMS).is_err());
        assert!(Args::of_json(r#"["1","2","3"]"#, &PARAMS[..1]).unwrap_err().data.contains("the method has 1"));
        assert_eq!(json(json!({"path": ["a", "b"]})).texts("path"), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(json(json!({"data": {"a": [1]}})).json("data"), Ok(json!({"a": [1]})));
        assert_eq!(json(json!({"unknown": 1})), Args::default());
        assert_eq!(uri(&[("prove", "true")]).truth("prove"), Ok(true));
        assert_eq!(json(json!({"prove": "false"})).truth("prove"), Ok(false));
        assert!(json(json!({"prove": 1})).truth("prove").is_err());
        assert_eq!(uri(&[("path", "\"a\\u0062\"")]).text("path"), Ok(Some("ab".into())));
        assert_eq!(uri(&[("path", "a,b")]).texts("path"), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(uri(&[("path", "[\"a\",\"b\"]")]).texts("path"), Ok(vec!["a".into(), "b".into()]));
    }

    proptest! {
        #[test]
        fn parsers_never_panic(raw in ".{0,40}", quoted in any::<bool>()) {
            let raw = if quoted { format!("\"{raw}\"") } else { raw };
            for args in [uri(&[("height", &raw)]), json(json!({ "height": raw.clone() }))] {
                let _ = (args.number("height"), args.truth("height"), args.text("height"), args.texts("height"));
                let _ = (args.bytes("height"), args.hex("height"), args.hash("height"));
            }
        }
    }
}
