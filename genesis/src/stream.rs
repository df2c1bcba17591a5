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

use app::{FirstDelegation, FirstStake, FirstTerms};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::{
    document::{GENESIS_BYTES_MAX, GENESIS_HEAD_BYTES_MAX, GenesisAccount, GenesisError},
    faults::Faults,
    json::FieldError,
    stake::{self, DelegationShape, TermsShape},
};

/// The state of reading one document. The errors of serde are only text, so the typed error is kept here.
struct Reading {
    /// Bytes that may be read before the next account or the end.
    head_left: Cell<u64>,
    all_left: Cell<u64>,
    /// The error that ends the reading.
    error: RefCell<Option<GenesisError>>,
    /// Faults of elements of lists, after which the reading continues.
    faults: RefCell<Faults>,
}

impl Reading {
    fn at<P: Place>(&self, _: P) -> Passing<'_, P> {
        Passing(self, PhantomData)
    }

    fn fail<T, E: de::Error>(&self, field: impl AsRef<str>, reason: impl ToString) -> Result<T, E> {
        self.fail_with(FieldError::new(field, reason))
    }

    fn fail_with<T, E: de::Error>(&self, error: impl Into<GenesisError>) -> Result<T, E> {
        self.error.borrow_mut().get_or_insert(error.into());
        Err(E::custom("reported separately"))
    }
}

/// The parts of a document: its fields except `app_state`, which are not checked yet, and `app_state`.
#[derive(Default)]
pub(crate) struct Parts {
    pub head: Map<String, Value>,
    pub accounts: Vec<GenesisAccount>,
    pub stake: FirstStake,
}

/// Reads a document. Returns its parts, and the faults of the elements of lists, which are not among the parts.
///
/// Errors: [`GenesisError`], the last one is that which ended the reading; for a list with the path of the invalid field.
pub(crate) fn read(reader: impl Read) -> Result<(Parts, Faults), Vec<GenesisError>> {
    let reading = Reading {
        head_left: Cell::new(GENESIS_HEAD_BYTES_MAX),
        all_left: Cell::new(GENESIS_BYTES_MAX),
        error: RefCell::default(),
        faults: RefCell::default(),
    };
    let mut deserializer = serde_json::Deserializer::from_reader(Metered { reader, reading: &reading });
    let read = reading.at(Document).deserialize(&mut deserializer);
    let read = read.and_then(|document| deserializer.end().map(|()| document));
    let (error, faults) = (reading.error.take(), reading.faults.take());
    let json = match read {
        Ok(parts) => return Ok((parts, faults)),
        Err(json) => json,
    };
    let last = match (error, json.io_error_kind()) {
        (Some(error), _) => error,
        (None, Some(kind)) => GenesisError::Io(kind),
        (None, None) => GenesisError::Json(json.to_string()),
    };
    Err(faults.into_vec().into_iter().map(GenesisError::from).chain([last]).collect())
}

/// A reader that counts the bytes and fails when a limit is exceeded.
struct Metered<'a, R> {
    reader: R,
    reading: &'a Reading,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Reading { head_left, all_left, error, .. } = self.reading;
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
    type Content = Parts;
    const FIELD: &'static str = "the document";
    const EXPECTED: &'static str = "an object";

    fn object<'de, A: MapAccess<'de>>(reading: &Reading, mut map: A) -> Result<Self::Content, A::Error> {
        let (mut head, mut state) = (Map::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            if head.contains_key(&key) || key == "app_state" && state.is_some() {
                return reading.fail(key, "is given twice: leave one out");
            }
            match key.as_str() {
                "app_state" => state = Some(map.next_value_seed(reading.at(AppState))?),
                _ => {
                    head.insert(key, map.next_value()?);
                }
            }
        }
        Ok(Parts { head, ..state.unwrap_or_default() })
    }
}

struct AppState;

impl Place for AppState {
    type Content = Parts;
    const FIELD: &'static str = "app_state";
    const EXPECTED: &'static str = "an object";

    fn null<E: de::Error>(_: &Reading) -> Result<Self::Content, E> {
        Ok(Parts::default())
    }

    fn object<'de, A: MapAccess<'de>>(reading: &Reading, mut map: A) -> Result<Self::Content, A::Error> {
        const FIELDS: &[&str] = &["accounts", "validators", "delegations", "community_pool", "fee_pool"];
        let (mut parts, mut seen) = (Parts::default(), [false; FIELDS.len()]);
        while let Some(key) = map.next_key::<String>()? {
            let Some(place) = FIELDS.iter().position(|field| *field == key) else {
                let unknown: FieldError = de::Error::unknown_field(&key, FIELDS);
                return reading.fail_with(unknown.within(Self::FIELD));
            };
            if std::mem::replace(&mut seen[place], true) {
                return reading.fail(format!("{}.{key}", Self::FIELD), "is given twice: leave one out");
            }
            match key.as_str() {
                "accounts" => parts.accounts = map.next_value_seed(reading.at(List(PhantomData)))?,
                "validators" => parts.stake.terms = map.next_value_seed(reading.at(List(PhantomData)))?,
                "delegations" => parts.stake.delegations = map.next_value_seed(reading.at(List(PhantomData)))?,
                pool => {
                    let path = format!("{}.{key}", Self::FIELD);
                    let amount = stake::amount(&map.next_value()?, &path);
                    let amount = amount.map_err(|fault| reading.faults.borrow_mut().push(fault)).unwrap_or_default();
                    match pool {
                        "community_pool" => parts.stake.community = amount,
                        _ => parts.stake.fee_pool = amount,
                    }
                }
            }
        }
        Ok(parts)
    }
}

/// An element of a list of `app_state`.
trait Element: Sized {
    const LIST: &'static str;

    fn read(value: Value, path: &str, faults: &mut Faults) -> Option<Self>;
}

impl Element for GenesisAccount {
    const LIST: &'static str = "app_state.accounts";

    fn read(value: Value, path: &str, faults: &mut Faults) -> Option<Self> {
        faults.read(value, path)
    }
}

impl Element for FirstTerms {
    const LIST: &'static str = "app_state.validators";

    fn read(value: Value, path: &str, faults: &mut Faults) -> Option<Self> {
        let terms = Self::try_from(faults.read::<TermsShape>(value, path)?);
        terms.map_err(|fault| faults.push(fault.within(path))).ok()
    }
}

impl Element for FirstDelegation {
    const LIST: &'static str = "app_state.delegations";

    fn read(value: Value, path: &str, faults: &mut Faults) -> Option<Self> {
        faults.read::<DelegationShape>(value, path).map(Self::from)
    }
}

struct List<E>(PhantomData<E>);

impl<E: Element> Place for List<E> {
    type Content = Vec<E>;
    const FIELD: &'static str = E::LIST;
    const EXPECTED: &'static str = "a list";

    fn null<D: de::Error>(_: &Reading) -> Result<Self::Content, D> {
        Ok(Vec::new())
    }

    fn list<'de, A: SeqAccess<'de>>(reading: &Reading, mut seq: A) -> Result<Self::Content, A::Error> {
        let (mut list, mut index) = (Vec::new(), 0);
        while let Some(value) = seq.next_element::<Value>()? {
            let mut faults = reading.faults.borrow_mut();
            list.extend(E::read(value, &format!("{}[{index}]", Self::FIELD), &mut faults));
            if faults.is_full() {
                return reading.fail(Self::FIELD, "has further elements, which are not read after so many faults");
            }
            index += 1;
            reading.head_left.set(GENESIS_HEAD_BYTES_MAX);
        }
        Ok(list)
    }
}
