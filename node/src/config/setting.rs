//! The types of settings, and the macro that declares a section of settings as a documented struct.
//!
//! A section is written once. Its struct, its defaults, the comments of the generated file, the list of known keys, and
//! the parsing of values from file, environment and flags all come from that one text.

use std::time::Duration;

use toml::Value;

/// A type that a setting can have. Parsers return `None` for a value of another type; [`Setting::EXPECTED`] completes
/// the message "… is not".
pub trait Setting: Sized {
    /// Name of the type in documents.
    const TYPE: &'static str;

    /// Description of valid values for messages: "a number", "true or false".
    const EXPECTED: &'static str;

    /// Parses a value from the configuration file.
    fn from_value(value: &Value) -> Option<Self>;

    /// Parses the text of an environment variable or a flag.
    fn from_text(text: &str) -> Option<Self>;

    /// Converts to a value for the configuration file.
    fn to_value(&self) -> Value;
}

impl Setting for String {
    const TYPE: &'static str = "string";
    const EXPECTED: &'static str = "a text in quotes";

    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn to_value(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Setting for bool {
    const TYPE: &'static str = "boolean";
    const EXPECTED: &'static str = "true or false";

    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_value(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for usize {
    const TYPE: &'static str = "integer";
    const EXPECTED: &'static str = "a whole number, 0 or more";

    fn from_value(value: &Value) -> Option<Self> {
        value.as_integer().and_then(|number| Self::try_from(number).ok())
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_value(&self) -> Value {
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

/// In the file a duration is a string: `"1s"`, `"500ms"`, `"1m30s"`, `"0s"`.
impl Setting for Duration {
    const TYPE: &'static str = "duration";
    const EXPECTED: &'static str = "a duration in quotes, such as \"500ms\", \"1s\" or \"1m30s\"";

    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().and_then(parse_duration)
    }

    fn from_text(text: &str) -> Option<Self> {
        parse_duration(text)
    }

    fn to_value(&self) -> Value {
        Value::String(duration_text(*self))
    }
}

/// A duration, or `"off"` for `None`.
impl Setting for Option<Duration> {
    const TYPE: &'static str = "duration or \"off\"";
    const EXPECTED: &'static str = "a duration in quotes, such as \"500ms\" or \"1s\", or \"off\"";

    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "off" { Some(None) } else { parse_duration(text).map(Some) }
    }

    fn to_value(&self) -> Value {
        Value::String(self.map_or_else(|| "off".to_owned(), duration_text))
    }
}

/// A string of items separated by commas, as CometBFT writes peers, or a list of strings.
impl Setting for Vec<String> {
    const TYPE: &'static str = "list of strings";
    const EXPECTED: &'static str = "a text of items separated by commas, or a list of texts";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::from_text(text),
            Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    fn to_value(&self) -> Value {
        Value::String(self.join(","))
    }
}

/// Durations in the configuration are shorter than this number of nanoseconds: 31 years.
const NANOS_END: u128 = 1_000_000_000_000_000_000;

/// Parses `1h`, `90s`, `1m30s`, `1.5s`, `500ms`, `10us`: numbers with units, in any order. Returns `None` for any other
/// text, and for 31 years and more. Parts of a nanosecond are rounded.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos = 0_u128;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let nanos_per_unit: u128 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        nanos += product(number, nanos_per_unit)?;
        if nanos >= NANOS_END {
            return None;
        }
        rest = tail;
        parts += 1;
    }
    (parts > 0).then_some(Duration::from_nanos(nanos as u64))
}

/// Returns the product of a decimal number such as `1`, `1.5` or `.5` and a unit, rounded. `number` has only digits and points. Returns
/// `None` if it has no digit or two points, or does not fit a `u64`. Ignores the digits after the 18th behind the point.
fn product(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(18)];
    let value = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u64>().ok().map(u128::from) };
    let scale = 10_u128.pow(fraction.len() as u32);
    Some(value(whole)? * unit + (value(fraction)? * unit + scale / 2) / scale)
}

/// Formats a duration in the largest unit that is exact; the inverse of [`parse_duration`].
pub fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units: [(u128, &str); 5] =
        [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    match units.into_iter().find(|(unit, _)| nanos > 0 && nanos.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None if nanos == 0 => "0s".to_owned(),
        None => format!("{nanos}ns"),
    }
}

/// One key of a section, for messages and the generated file.
#[derive(Clone, Debug)]
pub struct Key {
    /// The name of the key, without the section.
    pub name: &'static str,
    /// The name of its type.
    pub of: &'static str,
    /// The lines of text that explain it.
    pub doc: &'static [&'static str],
    /// The value in this configuration.
    pub value: Value,
}

/// A section of the configuration file.
pub trait Section: Default {
    /// The `[name]` in the file; empty for the settings above all sections.
    const NAME: &'static str;
    /// The lines of text that explain the section.
    const DOC: &'static [&'static str];

    /// Returns the keys of the section, with their values.
    fn keys(&self) -> Vec<Key>;

    /// Sets a key from the file. Returns `None` when there is no such key.
    ///
    /// Errors: the description of the expected values.
    fn set_value(&mut self, key: &str, value: &Value) -> Option<Result<(), &'static str>>;

    /// Sets a key from an environment variable or a flag. Returns `None` when there is no such key.
    ///
    /// Errors: the description of the expected values.
    fn set_text(&mut self, key: &str, text: &str) -> Option<Result<(), &'static str>>;
}

/// Returns the name of a field without the prefix `r#` of Rust keywords.
pub(super) fn bare(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// Declares a section: a documented struct with a default for each field. The doc comments are also the text of the
/// generated file.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        pub struct $type:ident in $name:literal {
            $($(#[doc = $field_doc:literal])* $field:ident: $field_type:ty = $default:expr,)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $type {
            $($(#[doc = $field_doc])* pub $field: $field_type,)*
        }

        impl Default for $type {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Section for $type {
            const NAME: &'static str = $name;
            const DOC: &'static [&'static str] = &[$($doc,)*];

            fn keys(&self) -> Vec<Key> {
                vec![$(Key {
                    name: $crate::config::setting::bare(stringify!($field)),
                    of: <$field_type as Setting>::TYPE,
                    doc: &[$($field_doc,)*],
                    value: self.$field.to_value(),
                },)*]
            }

            fn set_value(&mut self, key: &str, value: &toml::Value) -> Option<Result<(), &'static str>> {
                $(if key == $crate::config::setting::bare(stringify!($field)) {
                    let read = <$field_type as Setting>::from_value(value);
                    return Some(read.map(|value| self.$field = value).ok_or(<$field_type as Setting>::EXPECTED));
                })*
                None
            }

            fn set_text(&mut self, key: &str, text: &str) -> Option<Result<(), &'static str>> {
                $(if key == $crate::config::setting::bare(stringify!($field)) {
                    let read = <$field_type as Setting>::from_text(text);
                    return Some(read.map(|value| self.$field = value).ok_or(<$field_type as Setting>::EXPECTED));
                })*
                None
            }
        }
    };
}
pub(crate) use section;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in
            [("0s", 0), ("0", 0), ("500ms", 500), ("1s", 1000), ("1m30s", 90_000), ("1.5s", 1500), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for (text, ns) in [
            (".5us", 500),
            ("1.us", 1000),
            ("0.1234567895s", 123_456_790),
            ("0.3333333333333333333h", 1_200_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_nanos(ns)), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "1 fortnight",
            "1e9s",
            "ms5",
            ".s",
            "..s",
            "1.2.3s",
            "99999999999999h",
            "200000h100000h",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_survive_their_text() {
        // The last ones are those of a fuzzer: they have more digits than a floating-point number.
        let found = [690_606_025_895_000_000, NANOS_END as u64 - 1].map(Duration::from_nanos);
        for duration in
            [Duration::ZERO, Duration::from_nanos(3), Duration::from_micros(1500), Duration::from_secs(7200)]
                .into_iter()
                .chain(found)
        {
            assert_eq!(parse_duration(&duration_text(duration)), Some(duration));
        }
    }

    #[test]
    fn lists_are_read_in_both_forms() {
        let list = Value::Array(vec!["a".into(), "b".into()]);
        assert_eq!(Vec::<String>::from_value(&list), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(Vec::<String>::from_value(&" a, b ,".into()), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(Vec::<String>::from_value(&Value::Integer(1)), None);
    }
}
