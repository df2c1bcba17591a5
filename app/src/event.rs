//! Creation of events.

use types::Event;

/// Creates an event. Only addresses, names of namespaces and numbers of proposals are marked for indexing, because users
/// search by them and each indexed attribute costs a row in every node's store.
pub(crate) fn event<const N: usize>(kind: &str, attributes: [(&'static str, (String, bool)); N]) -> Event {
    Event::new(kind, attributes.map(|(key, (value, index))| (key, value, index)))
}
