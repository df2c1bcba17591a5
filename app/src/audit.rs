//! Checks of rows that no hash covers: where a row is stored, and the lists of names and keys.

use data_encoding::HEXLOWER;
use types::Reader;

use crate::{
    area::{Area, NAMES, NEVER_REVERTED, REVERTIBLE, STAKES, key_row, keys_prefix, listed_stake, stake_rows},
    state::key,
    tree::rows::{path_of, split_row},
    view::View,
};

/// Returns a description of the first row that is not where it belongs, or is missing in a list; `None` if there is
/// none. It complements the app hash, which covers the paths and values of the rows.
///
/// Cost: one scan of the state, and a read of each key of a namespace.
pub fn misplaced_row<R: Reader + ?Sized>(reader: &R) -> Option<String> {
    let first = |prefix| {
        let mut fault = None;
        reader.scan(prefix, &mut |row_key, row| {
            fault = fault_of(reader, row_key, row);
            fault.is_none()
        });
        fault
    };
    first(NEVER_REVERTED).or_else(|| first(REVERTIBLE)).or_else(|| lists(reader))
}

fn fault_of<R: Reader + ?Sized>(reader: &R, row_key: &[u8], row: &[u8]) -> Option<String> {
    let found = Area::of_row(row_key).zip(split_row(row));
    let Some(((area, _), (key, _))) = found.filter(|((_, path), (key, _))| path_of(key) == *path) else {
        return Some(format!("the row of key {} holds another key", HEXLOWER.encode(row_key)));
    };
    let listed = match (area, key.strip_prefix(key::NAMESPACE)) {
        (Area::Namespace(number), _) => vec![key_row(number, key)],
        (Area::NeverReverted, Some(name)) => vec![[NAMES, name].concat()],
        (Area::NeverReverted, None) => stake_rows(key),
    };
    let missing = listed.into_iter().find(|listed| reader.get(listed).is_none())?;
    Some(format!("the row of key {} is missing: it lists {}", HEXLOWER.encode(&missing), HEXLOWER.encode(row_key)))
}

/// Compares the lengths of the lists with what N says: with the checks of each row, the lists are then exact.
fn lists<R: Reader + ?Sized>(reader: &R) -> Option<String> {
    let count = |prefix: &[u8]| {
        let mut count = 0_u64;
        reader.scan(prefix, &mut |_, _| {
            count += 1;
            true
        });
        count
    };
    let mut view = View::of_state(reader);
    let mut fault = None;
    let mut names = 0;
    reader.scan(NAMES, &mut |row, _| {
        names += 1;
        let name = std::str::from_utf8(&row[NAMES.len()..]).unwrap_or_default();
        fault = match view.namespace(name) {
            None => Some(format!("the list of names has {name}, which does not exist")),
            Some(namespace) => match count(&keys_prefix(namespace.number)) {
                keys if keys == namespace.keys => None,
                keys => Some(format!("the list of keys of {name} has {keys}, expected {}", namespace.keys)),
            },
        };
        fault.is_none()
    });
    let created = view.amount(key::NAMESPACES);
    let fault =
        fault.or_else(|| (names != created).then(|| format!("the list of names has {names}, expected {created}")));
    fault.or_else(|| stakes(reader, &mut view))
}

/// Checks that validators and delegations exist that the lists name.
fn stakes<R: Reader + ?Sized>(reader: &R, view: &mut View<'_, R>) -> Option<String> {
    let mut fault = None;
    reader.scan(STAKES, &mut |row, _| {
        let exists = listed_stake(row).is_some_and(|key| view.get(&key).is_some());
        if !exists {
            fault = Some(format!("the row of key {} lists what does not exist", HEXLOWER.encode(row)));
        }
        exists
    });
    fault
}
