//! Reading a genesis document of any number of accounts: they pass by one at a time, everything else is small.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::{self, Read},
};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::{
    GenesisAccount, GenesisError,
    document::{FIELDS, GENESIS_BYTES_MAX, GENESIS_HEAD_BYTES_MAX, read_account},
    json::{At, FieldError},
};

/// What passes while a document is read. Serde's errors are texts; ours have a field.
struct Reading {
    /// Bytes until the next account, or the end.
    head_left: Cell<u64>,
    all_left: Cell<u64>,
    error: RefCell<Option<GenesisError>>,
}

impl Reading {
    fn fail<T, E: de::Error>(&self, field: impl Into<String>, reason: impl ToString) -> Result<T, E> {
        self.fail_with(FieldError::new(field, reason))
    }

    fn fail_with<T, E: de::Error>(&self, error: impl Into<GenesisError>) -> Result<T, E> {
        self.error.borrow_mut().get_or_insert(error.into());
        Err(E::custom("told elsewhere"))
    }
}

/// The document's fields but `app_state`, not looked at yet, and its accounts.
///
/// Errors: [`GenesisError`], for an account with its path.
pub(crate) fn read(reader: impl Read) -> Result<(Map<String, Value>, Vec<GenesisAccount>), GenesisError> {
    let reading = Reading {
        head_left: Cell::new(GENESIS_HEAD_BYTES_MAX),
        all_left: Cell::new(GENESIS_BYTES_MAX),
        error: RefCell::default(),
    };
    let mut deserializer = serde_json::Deserializer::from_reader(Metered { reader, reading: &reading });
    let read = Document(&reading).deserialize(&mut deserializer);
    let read = read.and_then(|document| deserializer.end().map(|()| document));
    let error = reading.error.borrow_mut().take();
    read.map_err(|json| match (error, json.io_error_kind()) {
        (Some(error), _) => error,
        (None, Some(kind)) => GenesisError::Io(kind),
        (None, None) => GenesisError::Json(json.to_string()),
    })
}

/// Counts what is read, and stops where it is too much.
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

/// What else than an object or a list stands somewhere.
macro_rules! mistyped {
    ($visitor:ty, $($method:ident $of:ty => $kind:literal),*) => {
        $(fn $method<E: de::Error>(self, _: $of) -> Result<Self::Value, E> {
            self.mistyped($kind)
        })*
    };
}

macro_rules! scalars_are_mistyped {
    ($visitor:ty) => {
        mistyped!($visitor, visit_bool bool => "a boolean", visit_i64 i64 => "a number", visit_u64 u64 => "a number",
            visit_f64 f64 => "a number", visit_str &str => "a string");
    };
}

struct Document<'a>(&'a Reading);

impl Document<'_> {
    fn mistyped<T, E: de::Error>(&self, kind: &str) -> Result<T, E> {
        self.0.fail("the document", format!("is {kind}, expected an object"))
    }
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = (Map<String, Value>, Vec<GenesisAccount>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = (Map<String, Value>, Vec<GenesisAccount>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a genesis document")
    }

    scalars_are_mistyped!(Self);

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        self.mistyped("null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        self.mistyped("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut head, mut accounts) = (Map::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            if !FIELDS.contains(&key.as_str()) {
                let one = Value::Object(Map::from_iter([(key, Value::Null)]));
                return self.0.fail_with(At::root(&one).only(FIELDS).expect_err("it is none of them"));
            }
            if head.contains_key(&key) || key == "app_state" && accounts.is_some() {
                return self.0.fail(key, "is there twice: leave one out");
            }
            match key.as_str() {
                "app_state" => accounts = Some(map.next_value_seed(AppState(self.0))?),
                _ => {
                    head.insert(key, map.next_value()?);
                }
            }
        }
        Ok((head, accounts.unwrap_or_default()))
    }
}

#[derive(Clone, Copy)]
struct AppState<'a>(&'a Reading);

impl AppState<'_> {
    fn mistyped<T, E: de::Error>(&self, kind: &str) -> Result<T, E> {
        self.0.fail("app_state", format!("is {kind}, expected an object"))
    }
}

impl<'de> DeserializeSeed<'de> for AppState<'_> {
    type Value = Vec<GenesisAccount>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AppState<'_> {
    type Value = Vec<GenesisAccount>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state")
    }

    scalars_are_mistyped!(Self);

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        self.mistyped("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut accounts = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "accounts" {
                let one = Value::Object(Map::from_iter([(key, Value::Null)]));
                let at = At::new(&one, "app_state".to_owned());
                return self.0.fail_with(at.only(&["accounts"]).expect_err("it is another one"));
            }
            if accounts.is_some() {
                return self.0.fail("app_state.accounts", "is there twice: leave one out");
            }
            accounts = Some(map.next_value_seed(Accounts(self.0))?);
        }
        Ok(accounts.unwrap_or_default())
    }
}

struct Accounts<'a>(&'a Reading);

impl Accounts<'_> {
    fn mistyped<T, E: de::Error>(&self, kind: &str) -> Result<T, E> {
        self.0.fail("app_state.accounts", format!("is {kind}, expected a list"))
    }
}

impl<'de> DeserializeSeed<'de> for Accounts<'_> {
    type Value = Vec<GenesisAccount>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Accounts<'_> {
    type Value = Vec<GenesisAccount>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of accounts")
    }

    scalars_are_mistyped!(Self);

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        self.mistyped("an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut accounts = Vec::new();
        while let Some(value) = seq.next_element::<Value>()? {
            let at = At::new(&value, format!("app_state.accounts[{}]", accounts.len()));
            match read_account(&at) {
                Ok(account) => accounts.push(account),
                Err(error) => return self.0.fail_with(error),
            }
            self.0.head_left.set(GENESIS_HEAD_BYTES_MAX);
        }
        Ok(accounts)
    }
}
