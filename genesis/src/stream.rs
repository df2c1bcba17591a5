//! Reading of a genesis document with any number of accounts: accounts are read one at a time, all other fields are
//! small.
//!
//! This is written by hand, although `shape` describes the format: a derived reader knows neither how many bytes were read
//! since the last account, which bounds the memory for a wrong file, nor the path of an account, which its error names.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::{self, Read},
    marker::PhantomData,
};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::{
    document::{GENESIS_BYTES_MAX, GENESIS_HEAD_BYTES_MAX, GenesisAccount, GenesisError},
    json::{self, FieldError},
};

/// The state of reading one document. The errors of serde are only text, so the typed error is kept here.
struct Reading {
    /// Bytes that may be read before the next account or the end.
    head_left: Cell<u64>,
    all_left: Cell<u64>,
    error: RefCell<Option<GenesisError>>,
}

impl Reading {
    fn at<P: Place>(&self, _: P) -> Passing<'_, P> {
        Passing(self, PhantomData)
    }

    fn fail<T, E: de::Error>(&self, field: impl Into<String>, reason: impl ToString) -> Result<T, E> {
        self.fail_with(FieldError::new(field, reason))
    }

    fn fail_with<T, E: de::Error>(&self, error: impl Into<GenesisError>) -> Result<T, E> {
        self.error.borrow_mut().get_or_insert(error.into());
        Err(E::custom("reported separately"))
    }
}

/// Reads a document. Returns its fields except `app_state`, which are not checked yet, and its accounts.
///
/// Errors: [`GenesisError`]; for an account with the path of the invalid field.
pub(crate) fn read(reader: impl Read) -> Result<(Map<String, Value>, Vec<GenesisAccount>), GenesisError> {
    let reading = Reading {
        head_left: Cell::new(GENESIS_HEAD_BYTES_MAX),
        all_left: Cell::new(GENESIS_BYTES_MAX),
        error: RefCell::default(),
    };
    let mut deserializer = serde_json::Deserializer::from_reader(Metered { reader, reading: &reading });
    let read = reading.at(Document).deserialize(&mut deserializer);
    let read = read.and_then(|document| deserializer.end().map(|()| document));
    let error = reading.error.borrow_mut().take();
    read.map_err(|json| match (error, json.io_error_kind()) {
        (Some(error), _) => error,
        (None, Some(kind)) => GenesisError::Io(kind),
        (None, None) => GenesisError::Json(json.to_string()),
    })
}

/// A reader that counts the bytes and fails when a limit is exceeded.
struct Metered<'a, R> {
    reader: R,
    reading: &'a Reading,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Reading { head_left, all_left, error } = self.reading;
        let bytes = self.reader.read(buffer)?;
        for (left, what, max, way_out) in [
            (all_left, "the document's accounts", GENESIS_BYTES_MAX, "give fewer accounts"),
            (head_left, "the fields beside the accounts", GENESIS_HEAD_BYTES_MAX, "this is not a genesis document"),
        ] {
            match left.get().checked_sub(bytes as u64) {
                Some(rest) => left.set(rest),
                None => {
                    error.borrow_mut().get_or_insert(GenesisError::TooLarge { what, max, way_out });
                    return Err(io::Error::other("too large"));
                }
            }
        }
        Ok(bytes)
    }
}

/// A part of the document that is read as a stream. A JSON type for which it has no method is an error.
trait Place: Sized {
    type Content;
    const FIELD: &'static str;
    const EXPECTED: &'static str;

    fn null<E: de::Error>(reading: &Reading) -> Result<Self::Content, E> {
        Self::mistyped(reading, "null")
    }

    fn list<'de, A: SeqAccess<'de>>(reading: &Reading, _: A) -> Result<Self::Content, A::Error> {
        Self::mistyped(reading, "a list")
    }

    fn object<'de, A: MapAccess<'de>>(reading: &Reading, _: A) -> Result<Self::Content, A::Error> {
        Self::mistyped(reading, "an object")
    }

    fn mistyped<T, E: de::Error>(reading: &Reading, kind: &str) -> Result<T, E> {
        reading.fail(Self::FIELD, format!("is {kind}, expected {}", Self::EXPECTED))
    }
}

/// The serde visitor of one part.
struct Passing<'a, P>(&'a Reading, PhantomData<P>);

impl<'de, P: Place> DeserializeSeed<'de> for Passing<'_, P> {
    type Value = P::Content;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, P: Place> Visitor<'de> for Passing<'_, P> {
    type Value = P::Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(P::EXPECTED)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        P::mistyped(self.0, "a boolean")
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        P::mistyped(self.0, "a number")
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
        P::mistyped(self.0, "a number")
    }

    #[expect(clippy::disallowed_types, reason = "the value is refused unread")]
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        P::mistyped(self.0, "a number")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        P::mistyped(self.0, "a string")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        P::null(self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        P::list(self.0, seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        P::object(self.0, map)
    }
}

struct Document;

impl Place for Document {
    type Content = (Map<String, Value>, Vec<GenesisAccount>);
    const FIELD: &'static str = "the document";
    const EXPECTED: &'static str = "an object";

    fn object<'de, A: MapAccess<'de>>(reading: &Reading, mut map: A) -> Result<Self::Content, A::Error> {
        let (mut head, mut accounts) = (Map::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            if head.contains_key(&key) || key == "app_state" && accounts.is_some() {
                return reading.fail(key, "is given twice: leave one out");
            }
            match key.as_str() {
                "app_state" => accounts = Some(map.next_value_seed(reading.at(AppState))?),
                _ => {
                    head.insert(key, map.next_value()?);
                }
            }
        }
        Ok((head, accounts.unwrap_or_default()))
    }
}

struct AppState;

impl Place for AppState {
    type Content = Vec<GenesisAccount>;
    const FIELD: &'static str = "app_state";
    const EXPECTED: &'static str = "an object";

    fn null<E: de::Error>(_: &Reading) -> Result<Self::Content, E> {
        Ok(Vec::new())
    }

    fn object<'de, A: MapAccess<'de>>(reading: &Reading, mut map: A) -> Result<Self::Content, A::Error> {
        let mut accounts = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "accounts" {
                let unknown: FieldError = de::Error::unknown_field(&key, &["accounts"]);
                return reading.fail_with(unknown.within(Self::FIELD));
            }
            if accounts.is_some() {
                return reading.fail(Accounts::FIELD, "is given twice: leave one out");
            }
            accounts = Some(map.next_value_seed(reading.at(Accounts))?);
        }
        Ok(accounts.unwrap_or_default())
    }
}

struct Accounts;

impl Place for Accounts {
    type Content = Vec<GenesisAccount>;
    const FIELD: &'static str = "app_state.accounts";
    const EXPECTED: &'static str = "a list";

    fn null<E: de::Error>(_: &Reading) -> Result<Self::Content, E> {
        Ok(Vec::new())
    }

    fn list<'de, A: SeqAccess<'de>>(reading: &Reading, mut seq: A) -> Result<Self::Content, A::Error> {
        let mut accounts = Vec::new();
        while let Some(value) = seq.next_element::<Value>()? {
            match json::read_part(&value, &format!("{}[{}]", Self::FIELD, accounts.len())) {
                Ok(account) => accounts.push(account),
                Err(error) => return reading.fail_with(error),
            }
            reading.head_left.set(GENESIS_HEAD_BYTES_MAX);
        }
        Ok(accounts)
    }
}
