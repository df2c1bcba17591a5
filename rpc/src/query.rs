//! The query language of subscriptions and searches: the part of CometBFT's that is useful for events.
//!
//! ```text
//! query     = condition *( " AND " condition )
//! condition = tag ( "=" | "<" | "<=" | ">" | ">=" ) operand | tag "CONTAINS" text | tag "EXISTS"
//! operand   = text | number | "TIME" rfc3339 | "DATE" yyyy-mm-dd
//! text      = "'" any but "'" "'"
//! ```
//! A tag is `tm.event` (or, as in old clients, `tm.events.type`), `tx.hash`, `tx.height`, `block.height`, or an
//! attribute of an event: `transfer.to`. A condition holds when it holds for one of the tag's values; a number is
//! compared with values that are numbers, a time with values that are times.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use types::{Event, Time};

use crate::error::Error;

/// Maximum bytes of a query. A query is compared with each event, so it must be cheap.
const QUERY_CHARS_MAX: usize = 512;

/// Maximum number of conditions of a query.
const CONDITIONS_MAX: usize = 16;

/// The values of an event, by tag.
pub type Tags = BTreeMap<String, Vec<String>>;

/// A query: conditions that must all hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Query(Vec<Condition>);

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    tag: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Exists,
    Contains(String),
    Text(Order, String),
    Number(Order, Decimal),
    Time(Order, Time),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Query {
    /// Returns true if all conditions hold for these values.
    pub fn matches(&self, tags: &Tags) -> bool {
        self.0.iter().all(|Condition { tag, test }| {
            tags.get(tag).is_some_and(|values| values.iter().any(|value| test.holds(value)))
        })
    }

    /// Returns false if a condition on `tag` fails when `value` is its only value. A cheap filter before
    /// [`Query::matches`].
    pub fn may_match(&self, tag: &str, value: &str) -> bool {
        self.0.iter().filter(|condition| condition.tag == tag).all(|condition| condition.test.holds(value))
    }
}

/// An exact value of an attribute, with which a search reads the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equality<'a> {
    /// The attribute as `kind.key`.
    pub tag: &'a str,
    /// The value of the attribute.
    pub value: &'a str,
}

/// Tags that are not attributes of events.
const RESERVED: [&str; 4] = ["tm.event", "tx.hash", "tx.height", "block.height"];

impl Query {
    /// Returns the conditions on attributes that require an exact value, in order. Numbers are written as the
    /// application writes them: without leading zeros.
    pub fn equalities(&self) -> impl Iterator<Item = Equality<'_>> {
        self.attributes().filter_map(|condition| match &condition.test {
            Test::Text(Order::Equal, value) => Some(Equality { tag: &condition.tag, value }),
            Test::Number(Order::Equal, number) => Some(Equality { tag: &condition.tag, value: number.whole_text()? }),
            _ => None,
        })
    }

    /// Returns the attributes on which there are conditions, in order.
    pub fn attribute_tags(&self) -> impl Iterator<Item = &str> {
        self.attributes().map(|condition| condition.tag.as_str())
    }

    /// Returns true if all conditions on an attribute hold for a value.
    pub fn holds_for(&self, tag: &str, value: &str) -> bool {
        self.may_match(tag, value)
    }

    /// Returns true if there is a condition on `tag`.
    pub fn mentions(&self, tag: &str) -> bool {
        self.0.iter().any(|condition| condition.tag == tag)
    }

    /// Returns the text to which `tag` must be equal, if there is such a condition.
    pub fn text_of(&self, tag: &str) -> Option<&str> {
        self.0.iter().find_map(|condition| match &condition.test {
            Test::Text(Order::Equal, text) if condition.tag == tag => Some(text.as_str()),
            _ => None,
        })
    }

    /// Returns the bounds, both inclusive, of the integers that conditions on `tag` allow; wider than necessary where a
    /// bound is not an integer.
    pub fn range_of(&self, tag: &str) -> (u64, u64) {
        let (mut low, mut high) = (0, u64::MAX);
        for condition in self.0.iter().filter(|condition| condition.tag == tag) {
            let (order, number) = match &condition.test {
                Test::Number(order, number) => (*order, number.whole_text().and_then(|text| text.parse::<u64>().ok())),
                Test::Text(Order::Equal, text) => (Order::Equal, text.parse().ok()),
                _ => continue,
            };
            let Some(number) = number else { continue };
            match order {
                Order::Equal => (low, high) = (low.max(number), high.min(number)),
                Order::Less => high = high.min(number.saturating_sub(1)),
                Order::LessOrEqual => high = high.min(number),
                Order::Greater => low = low.max(number.saturating_add(1)),
                Order::GreaterOrEqual => low = low.max(number),
            }
        }
        (low, high)
    }

    /// Returns true if the conditions on attributes hold for the events of one transaction or block. Those on one kind
    /// of event must hold for one and the same event, as in CometBFT's searches.
    pub fn matches_events(&self, events: &[Event]) -> bool {
        let kinds: BTreeSet<&str> = self.attributes().map(|condition| kind_of(&condition.tag)).collect();
        kinds.into_iter().all(|kind| {
            let conditions = || self.attributes().filter(|condition| kind_of(&condition.tag) == kind);
            events.iter().filter(|event| event.kind == kind).any(|event| {
                conditions().all(|condition| {
                    let key = condition.tag[kind.len()..].trim_start_matches('.');
                    event
                        .attributes
                        .iter()
                        .any(|attribute| attribute.key == key && condition.test.holds(&attribute.value))
                })
            })
        })
    }

    fn attributes(&self) -> impl Iterator<Item = &Condition> {
        self.0.iter().filter(|condition| !RESERVED.contains(&condition.tag.as_str()))
    }
}

/// Returns the kind of event in the tag of an attribute.
pub fn kind_of(tag: &str) -> &str {
    tag.rsplit_once('.').map_or(tag, |(kind, _)| kind)
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Exists => true,
            Self::Contains(part) => value.contains(part.as_str()),
            Self::Text(order, text) => order.holds(value.cmp(text)),
            Self::Number(order, number) => value.parse::<Decimal>().is_ok_and(|value| order.holds(value.cmp(number))),
            Self::Time(order, time) => Time::parse(value).is_ok_and(|value| order.holds(value.cmp(time))),
        }
    }
}

impl FromStr for Query {
    type Err = Error;

    /// Parses a query.
    ///
    /// Errors: the query is too long or malformed, with the place and what is expected there.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > QUERY_CHARS_MAX {
            let got = text.len();
            return Err(Error::invalid_params(format_args!(
                "a query of {got} bytes, at most {QUERY_CHARS_MAX} are allowed"
            )));
        }
        let mut rest = Rest { text, at: 0 };
        let mut conditions = Vec::new();
        loop {
            conditions.push(rest.condition().map_err(|expected| rest.error(expected))?);
            if rest.is_over() {
                return Ok(Self(conditions));
            }
            if !rest.word("AND") {
                return Err(rest.error("AND, or the end"));
            }
            if conditions.len() == CONDITIONS_MAX {
                return Err(rest.error(&format!("no more than {CONDITIONS_MAX} conditions")));
            }
        }
    }
}

/// The rest of a query that is not parsed yet.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

type Expected = &'static str;

impl<'a> Rest<'a> {
    fn condition(&mut self) -> Result<Condition, Expected> {
        let tag = self.while_true(|c| !c.is_whitespace() && !"=<>'\"()".contains(c));
        if tag.is_empty() {
            return Err("a tag such as tm.event");
        }
        // Clients still send this old name of the same tag.
        let tag = if tag == "tm.events.type" { "tm.event" } else { tag }.to_owned();
        if self.word("EXISTS") {
            return Ok(Condition { tag, test: Test::Exists });
        }
        if self.word("CONTAINS") {
            return Ok(Condition { tag, test: Test::Contains(self.quoted()?) });
        }
        let order = self.order().ok_or("=, <, <=, >, >=, CONTAINS or EXISTS after the tag")?;
        Ok(Condition { tag, test: self.operand(order)? })
    }

    fn order(&mut self) -> Option<Order> {
        let orders = [
            ("<=", Order::LessOrEqual),
            (">=", Order::GreaterOrEqual),
            ("<", Order::Less),
            (">", Order::Greater),
            ("=", Order::Equal),
        ];
        self.skip_spaces();
        let (sign, order) = orders.into_iter().find(|(sign, _)| self.left().starts_with(sign))?;
        self.at += sign.len();
        Some(order)
    }

    fn operand(&mut self, order: Order) -> Result<Test, Expected> {
        let time = |text: &str| Time::parse(text).map(|time| Test::Time(order, time));
        if self.word("TIME") {
            return time(self.value()).map_err(|_| "a time such as TIME 2026-01-31T12:00:00Z");
        }
        if self.word("DATE") {
            return time(&format!("{}T00:00:00Z", self.value())).map_err(|_| "a date such as DATE 2026-01-31");
        }
        self.skip_spaces();
        if self.left().starts_with('\'') {
            return Ok(Test::Text(order, self.quoted()?));
        }
        let number = self.value().parse().map_err(|()| "a number, or text in single quotes")?;
        Ok(Test::Number(order, number))
    }

    fn quoted(&mut self) -> Result<String, Expected> {
        self.skip_spaces();
        let expected = "text in single quotes";
        let inner = self.left().strip_prefix('\'').ok_or(expected)?;
        let (text, _) = inner.split_once('\'').ok_or(expected)?;
        self.at += text.len() + 2;
        Ok(text.to_owned())
    }

    fn value(&mut self) -> &'a str {
        self.while_true(|c| !c.is_whitespace())
    }

    /// Consumes a keyword that stands alone, if it is next.
    fn word(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let Some(after) = self.left().strip_prefix(word) else { return false };
        let alone = !after.starts_with(|c: char| c.is_alphanumeric() || c == '.' || c == '_');
        if alone {
            self.at += word.len();
        }
        alone
    }

    fn while_true(&mut self, of_word: impl Fn(char) -> bool) -> &'a str {
        self.skip_spaces();
        let left = self.left();
        let end = left.find(|c| !of_word(c)).unwrap_or(left.len());
        self.at += end;
        &left[..end]
    }

    fn skip_spaces(&mut self) {
        let left = self.left();
        self.at += left.len() - left.trim_start().len();
    }

    fn is_over(&mut self) -> bool {
        self.skip_spaces();
        self.left().is_empty()
    }

    fn left(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, expected: &str) -> Error {
        let (before, _) = self.text.split_at(self.at);
        Error::invalid_params(format_args!(
            "query {:?}: after {before:?} expected {expected}; such as tm.event = 'Tx' AND transfer.amount >= 10",
            self.text
        ))
    }
}

/// An exact decimal number of any size.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// The digits before the point, without leading zeros.
    whole: String,
    /// The digits after the point, without trailing zeros.
    fraction: String,
}

impl FromStr for Decimal {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(());
        }
        let (whole, fraction) = (whole.trim_start_matches('0').to_owned(), fraction.trim_end_matches('0').to_owned());
        let zero = whole.is_empty() && fraction.is_empty();
        Ok(Self { negative: negative && !zero, whole, fraction })
    }
}

impl Decimal {
    /// Returns the digits of a number that is an integer and not negative.
    fn whole_text(&self) -> Option<&str> {
        let whole = if self.whole.is_empty() { "0" } else { &self.whole };
        (!self.negative && self.fraction.is_empty()).then_some(whole)
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let size = |a: &Self, b: &Self| {
            let whole = (a.whole.len(), &a.whole).cmp(&(b.whole.len(), &b.whole));
            whole.then_with(|| a.fraction.cmp(&b.fraction))
        };
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self, other),
            (true, true) => size(other, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags() -> Tags {
        [
            ("tm.event", vec!["Tx"]),
            ("tx.height", vec!["10"]),
            ("tx.hash", vec!["AB12"]),
            ("transfer.to", vec!["Igor Ivan", "Ann"]),
            ("transfer.amount", vec!["5", "18446744073709551615"]),
            ("tx.time", vec!["2026-05-03T14:45:00Z"]),
            ("pool.rate", vec!["0.25"]),
        ]
        .into_iter()
        .map(|(tag, values)| (tag.to_owned(), values.into_iter().map(str::to_owned).collect()))
        .collect()
    }

    #[test]
    fn each_condition_matches_or_does_not() {
        let table = [
            ("tm.event='Tx'", true),
            ("tm.event = 'NewBlock'", false),
            ("  tm.event  =  'Tx'  ", true),
            ("tm.event='Tx' AND tx.height>5", true),
            ("tm.event='Tx' AND tx.height>10", false),
            ("tx.height=10", true),
            ("tx.height = '10'", true),
            ("tx.height = 010.0", true),
            ("tx.height >= 10 AND tx.height <= 10", true),
            ("tx.height<9", false),
            ("tx.height > -1", true),
            ("tx.hash='AB12'", true),
            ("tx.hash = 12", false),
            ("transfer.to = 'Ann'", true),
            ("transfer.to CONTAINS 'Igor'", true),
            ("transfer.to CONTAINS 'Bob'", false),
            ("transfer.amount > 18446744073709551614", true),
            ("transfer.amount > 18446744073709551615", false),
            ("transfer.to EXISTS AND transfer.amount EXISTS", true),
            ("slash.reason EXISTS", false),
            ("EXISTS EXISTS", false),
            ("tx.time >= TIME 2026-05-03T14:45:00Z", true),
            ("tx.time < DATE 2026-05-03", false),
            ("tx.time > DATE 2026-05-03", true),
            ("pool.rate < 0.3", true),
            ("pool.rate < 0.249", false),
        ];
        for (text, expected) in table {
            let query: Query = text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert_eq!(query.matches(&tags()), expected, "{text}");
        }
    }

    #[test]
    fn malformed_queries_say_where() {
        for text in [
            "",
            "   ",
            "tm.event",
            "tm.event =",
            "tm.event = Tx",
            "tm.event = 'Tx",
            "= 'Tx'",
            "tm.event == 'Tx'",
            "tm.event = 'Tx' OR tx.height = 1",
            "tm.event = 'Tx' AND",
            "tm.event = 'Tx'AND",
            "a CONTAINS 5",
            "a > TIME yesterday",
            "a > DATE 2026-13-01",
            "a = 1.2.3",
            "a = -",
            "(a = 1)",
        ] {
            let error = text.parse::<Query>().unwrap_err();
            assert!(error.data.contains("expected"), "{text}: {error:?}");
        }
        assert!("a".repeat(513).parse::<Query>().unwrap_err().data.contains("at most 512"));
        assert!(["a=1"; 17].join(" AND ").parse::<Query>().unwrap_err().data.contains("16 conditions"));
    }

    #[test]
    fn searches_read_only_what_the_conditions_need() {
        let query: Query =
            "tx.height > 5 AND tx.height<=9.5 AND transfer.to='Ann' AND a.b = 07 AND c.d = 1.5 AND tx.hash='AB'"
                .parse()
                .unwrap();
        let equalities: Vec<_> = query.equalities().map(|equality| (equality.tag, equality.value)).collect();
        assert_eq!(equalities, [("transfer.to", "Ann"), ("a.b", "7")]);
        assert_eq!(query.range_of("tx.height"), (6, u64::MAX), "a bound that is no whole number bounds nothing here");
        assert_eq!((query.text_of("tx.hash"), query.text_of("tm.event")), (Some("AB"), None));
        let range = |text: &str| text.parse::<Query>().unwrap().range_of("h");
        assert_eq!(range("h = 7 AND h < 9"), (7, 7));
        assert_eq!(range("h = '7'"), (7, 7));
        assert_eq!(range("h > 7 AND h < 7"), (8, 6));
        assert_eq!(range("h >= 0 AND h <= -1"), (0, u64::MAX));
    }

    #[test]
    fn conditions_on_one_event_type_match_within_one_event() {
        let event = |kind: &str, pairs: &[(&str, &str)]| Event {
            kind: kind.into(),
            attributes: pairs
                .iter()
                .map(|(key, value)| types::Attribute { key: (*key).into(), value: (*value).into(), index: true })
                .collect(),
        };
        let events =
            [event("t", &[("a", "1"), ("b", "1")]), event("t", &[("a", "2"), ("b", "2")]), event("u", &[("c", "3")])];
        for (text, expected) in [
            ("t.a = 1 AND t.b = 1", true),
            ("t.a = 1 AND t.b = 2", false),
            ("t.a = 1 AND u.c = 3", true),
            ("t.a = 1 AND u.c = 4", false),
            ("t.a > 1 AND t.b EXISTS AND tx.height = 99", true),
            ("t.c EXISTS", false),
            ("nothing EXISTS", false),
        ] {
            assert_eq!(text.parse::<Query>().unwrap().matches_events(&events), expected, "{text}");
        }
    }

    #[test]
    fn a_ruled_out_event_is_not_looked_at() {
        let query: Query = "tm.event = 'NewBlock' AND block.height > 3".parse().unwrap();
        assert!(query.may_match("tm.event", "NewBlock") && !query.may_match("tm.event", "Tx"));
        let any: Query = "transfer.to EXISTS".parse().unwrap();
        assert!(any.may_match("tm.event", "Tx"));
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in ".{0,60}", shaped in "[a-z.]{1,5} ?(=|<=|>|CONTAINS|EXISTS|TIME|DATE| AND |')? ?('?[0-9a-zé]{0,4}'?)?") {
            for text in [text, shaped] {
                if let Ok(query) = text.parse::<Query>() {
                    let _ = query.matches(&tags());
                }
            }
        }

        #[test]
        fn numbers_compare_as_numbers(a in any::<i64>(), b in any::<i64>()) {
            let decimal = |n: i64| n.to_string().parse::<Decimal>().unwrap();
            prop_assert_eq!(decimal(a).cmp(&decimal(b)), a.cmp(&b));
        }
    }
}
