//! The rows of a state, and the attributes of events, as the records of a world's chain read them.

use std::collections::BTreeMap;

use types::Event;

/// The rows of a state.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn of_kind<'e>(events: &'e [Event], kind: &str) -> impl Iterator<Item = &'e Event> {
    events.iter().filter(move |event| event.kind == kind)
}

pub(crate) fn attribute<'e>(event: &'e Event, key: &str) -> &'e str {
    event.attributes.iter().find(|attribute| attribute.key == key).map_or("", |attribute| &attribute.value)
}

pub(crate) fn number(event: &Event, key: &str) -> u64 {
    attribute(event, key).parse().unwrap_or(u64::MAX)
}
