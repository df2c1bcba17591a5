//! Queries of what changed in a namespace: its difference between two heights, and the versions of a key.
//!
//! They read more than one height, so they need the store, where other queries need the state of one height. The answers
//! are pages: bounded in rows, in bytes, and in the number of rows that are read for them.

use app::{Namespace, RANGE_BYTES_MAX, ROWS_MAX, Refusal, Taints, View, area::Area, tree};
use serde_json::{Value, json};
use storage::{Change, RocksKv, StateReader};
use types::{Hash, Height, NsName, Reader, limits::KV_KEY_BYTES_MAX};

use super::{namespaces, shared::Server};
use crate::{args::Args, error::Error, json};

/// Maximum number of changed keys that are compared for one page of a difference: most of them may have the same value
/// at both heights.
const COMPARED_MAX: usize = 1000;

/// The answer, or the application's refusal; with the height of the state.
pub type Answer = (Result<Value, Refusal>, Height);

/// Returns true for the paths that [`query`] answers.
pub fn answers(path: &str) -> bool {
    path.starts_with("/kv/diff/") || path.starts_with("/kv/history/")
}

/// Answers a query whose path [`answers`] accepts.
///
/// Errors: a bad argument, a height that is unknown or pruned, an unreadable row.
pub fn query(server: &Server, args: &Args, path: &str, data: &[u8]) -> Result<Answer, Error> {
    let given = match args.number("height")? {
        None | Some(0) => None,
        Some(_) => Some(server.block_height(args)?.0),
    };
    let asked = match Asked::of(path, given) {
        Ok(asked) => asked,
        Err(refusal) => return Ok((Err(refusal), server.tip()?.height)),
    };
    let store = &server.context.store;
    let reader = match asked.to {
        None => store.reader()?,
        Some(height) => store.reader_at(height)?,
    };
    let mut view = View::of_state(&reader);
    let namespace = view.namespace(&asked.ns);
    let taints = server.taints(&asked.ns)?;
    let answer = match (namespace, asked.from) {
        (None, _) => Err(Refusal::NsUnknown { ns: asked.ns.clone() }),
        (Some(namespace), None) => versions(&reader, &asked, (&namespace, &taints), data)?,
        (Some(namespace), Some(from)) => {
            let old = store.reader_at(from)?;
            let root = view.root_of(&namespace);
            let mut answer = match from <= reader.height() {
                true => difference(&old, &reader, &asked, (&namespace, root), data)?,
                false => Err(bad("from is above the height with which it is compared")),
            };
            old.check()?;
            if let Ok(answer) = &mut answer {
                note_reverted(answer, "from_reverted_by", &taints, from);
                note_reverted(answer, "to_reverted_by", &taints, reader.height());
            }
            answer
        }
    };
    reader.check()?;
    Ok((answer, reader.height()))
}

/// Adds the number of the proposal to an answer, if a revert took back the content of the height.
fn note_reverted(answer: &mut Value, field: &str, taints: &Taints, height: Height) {
    if let Some(id) = taints.reverted_by(height) {
        answer[field] = json!(id.to_string());
    }
}

/// What a path asks for.
struct Asked {
    ns: NsName,
    /// The first height of a difference; `None` if the versions of a key are asked for.
    from: Option<Height>,
    /// The last height; `None` for the latest.
    to: Option<Height>,
    limit: usize,
}

impl Asked {
    /// Parses a path; `height` is the height that was given beside it.
    fn of(path: &str, height: Option<Height>) -> Result<Self, Refusal> {
        let (place, options) = path.split_once('?').unwrap_or((path, ""));
        let (is_difference, name) = match place.strip_prefix("/kv/diff/") {
            Some(name) => (true, name),
            None => (false, place.strip_prefix("/kv/history/").unwrap_or(place)),
        };
        let ns = NsName::new(name).map_err(|reason| Refusal::BadName { reason })?;
        let (mut from, mut to, mut limit) = (None, None, ROWS_MAX);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let number =
                |text: &str| text.parse().map(Height).map_err(|_| bad("from and to are heights: whole numbers"));
            match option.split_once('=') {
                Some(("from", text)) if is_difference => from = Some(number(text)?),
                Some(("to", text)) if is_difference => to = Some(number(text)?),
                Some(("limit", text)) => {
                    limit = text
                        .parse()
                        .ok()
                        .filter(|limit| (1..=ROWS_MAX).contains(limit))
                        .ok_or_else(|| bad("limit is a number from 1 to 100"))?;
                }
                _ => return Err(bad("an option is not from=HEIGHT, to=HEIGHT (both only for /kv/diff) or limit=N")),
            }
        }
        if is_difference && from.is_none() {
            return Err(bad("from=HEIGHT is missing"));
        }
        if to.is_some() && height.is_some() && to != height {
            return Err(bad("to and the parameter height name different heights: leave one out"));
        }
        Ok(Self { ns, from, to: to.or(height), limit })
    }
}

fn bad(reason: &str) -> Refusal {
    Refusal::BadQuery { path: "/kv/diff and /kv/history", reason: reason.into() }
}

/// Returns a page of the keys whose values differ at the heights of two readers, the last change first.
fn difference<'a>(
    old: &StateReader<'a, RocksKv>,
    new: &StateReader<'a, RocksKv>,
    asked: &Asked,
    (namespace, root): (&Namespace, Hash),
    data: &[u8],
) -> Result<Result<Value, Refusal>, Error> {
    let mut view = View::of_state(old);
    let old_root = view.namespace(&asked.ns).map_or(tree::EMPTY_ROOT, |namespace| view.root_of(&namespace));
    let part = Area::Namespace(namespace.number).prefix();
    let Some(from) = place(&part, (old.height(), new.height()), data) else {
        return Ok(Err(bad("data is not the next of an earlier answer")));
    };
    let (mut rows, mut next) = (Vec::new(), None);
    let (mut compared, mut bytes) = (0, 0);
    let mut visit = |key: &[u8], at: Height| {
        let [before, after] = [old.get(key), new.get(key)];
        let values =
            [(old, &before), (new, &after)].map(|(reader, row)| row.as_ref().and_then(|row| split(reader, key, row)));
        bytes += [&before, &after].into_iter().flatten().map(Vec::len).sum::<usize>();
        if compared > 0 && (rows.len() == asked.limit || compared == COMPARED_MAX || bytes > RANGE_BYTES_MAX) {
            next = Some(Change { at, key: key.to_vec() });
            return false;
        }
        compared += 1;
        let [before, after] = values;
        if let Some((raw, _)) = after.or(before)
            && before != after
        {
            rows.push(namespaces::difference(raw, before.map(|(_, value)| value), after.map(|(_, value)| value)));
        }
        true
    };
    let rest = match old_root == root {
        true => None,
        false => new.try_changed_from(old.height(), &part, &from, &mut visit)?,
    };
    let next = rest.or(next).map(|place| [&place.at.0.to_be_bytes(), &place.key[part.len()..]].concat());
    Ok(Ok(json!({
        "ns": asked.ns.as_str(),
        "from": old.height().to_string(),
        "to": new.height().to_string(),
        "from_root": old_root.to_string(),
        "to_root": root.to_string(),
        "rows": rows,
        "next": next.as_deref().map(json::base64),
    })))
}

/// Returns the place that `next` of an earlier page stands for; `None` if no page between the two heights has it.
fn place(part: &[u8], (oldest, newest): (Height, Height), data: &[u8]) -> Option<Change> {
    if data.is_empty() {
        return Some(Change { at: newest, key: part.to_vec() });
    }
    let (at, rest) = data.split_first_chunk::<8>()?;
    let at = Height(u64::from_be_bytes(*at));
    (oldest < at && at <= newest && rest.len() <= tree::rows::PATH_BYTES)
        .then(|| Change { at, key: [part, rest].concat() })
}

/// Returns a page of the versions of a key, the newest first.
fn versions(
    reader: &StateReader<'_, RocksKv>,
    asked: &Asked,
    (namespace, taints): (&Namespace, &Taints),
    key: &[u8],
) -> Result<Result<Value, Refusal>, Error> {
    if !(1..=KV_KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(Err(Refusal::KeySize { got: key.len() }));
    }
    let row = Area::Namespace(namespace.number).row_key(&tree::rows::path_of(key));
    let (mut rows, mut next, mut bytes) = (Vec::new(), None, 0);
    reader.try_versions(&row, &mut |at, value| {
        bytes += value.map_or(0, <[u8]>::len);
        if !rows.is_empty() && (rows.len() == asked.limit || bytes > RANGE_BYTES_MAX) {
            next = Some(at.to_string());
            return false;
        }
        let value = value.and_then(|value| split(reader, &row, value)).map(|(_, value)| value);
        let mut version = json!({ "height": at.to_string(), "value": value.map(json::base64) });
        note_reverted(&mut version, "reverted_by", taints, at);
        rows.push(version);
        true
    })?;
    Ok(Ok(json!({ "ns": asked.ns.as_str(), "key": json::base64(key), "rows": rows, "next_height": next })))
}

/// Returns raw key and value of a row; if it is invalid, the reader records that.
fn split<'a>(reader: &StateReader<'_, RocksKv>, key: &[u8], row: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let split = tree::rows::split_row(row);
    if split.is_none() {
        reader.unreadable(key, "it is incomplete");
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_parsed() {
        let asked = |path: &str, height: Option<u64>| {
            let Asked { ns, from, to, limit } =
                Asked::of(path, height.map(Height)).map_err(|refusal| refusal.code().name)?;
            Ok((ns.to_string(), from.map(|height| height.0), to.map(|height| height.0), limit))
        };
        let ok = |ns: &str, from, to, limit| Ok((ns.to_owned(), from, to, limit));
        for (path, height, expected) in [
            ("/kv/diff/a/b?from=0", None, ok("a/b", Some(0), None, 100)),
            ("/kv/diff/a?from=1&to=2&limit=7", None, ok("a", Some(1), Some(2), 7)),
            ("/kv/diff/a?to=2&from=1", Some(2), ok("a", Some(1), Some(2), 100)),
            ("/kv/diff/a?from=1", Some(2), ok("a", Some(1), Some(2), 100)),
            ("/kv/history/a/b", None, ok("a/b", None, None, 100)),
            ("/kv/history/a?limit=1", Some(3), ok("a", None, Some(3), 1)),
            ("/kv/diff/a", None, Err("E_BAD_QUERY")),
            ("/kv/diff/a?from=", None, Err("E_BAD_QUERY")),
            ("/kv/diff/a?from=-1", None, Err("E_BAD_QUERY")),
            ("/kv/diff/a?from=18446744073709551616", None, Err("E_BAD_QUERY")),
            ("/kv/diff/a?from=1&to=2", Some(3), Err("E_BAD_QUERY")),
            ("/kv/diff/a?from=1&limit=0", None, Err("E_BAD_QUERY")),
            ("/kv/diff/a?from=1&limit=101", None, Err("E_BAD_QUERY")),
            ("/kv/diff/a?from=1&till=2", None, Err("E_BAD_QUERY")),
            ("/kv/history/a?from=1", None, Err("E_BAD_QUERY")),
            ("/kv/diff/?from=1", None, Err("E_BAD_NAME")),
            ("/kv/history/A", None, Err("E_BAD_NAME")),
            ("/kv/history//kv/history/a", None, Err("E_BAD_NAME")),
        ] {
            assert_eq!(asked(path, height), expected, "{path}");
        }
    }

    #[test]
    fn a_place_is_inside_its_part_and_between_the_heights() {
        let (part, heights) = (b"r\0\0\0\x01", (Height(2), Height(7)));
        let next = |at: u64, bytes: usize| [&at.to_be_bytes()[..], &vec![9; bytes]].concat();
        assert_eq!(place(part, heights, &[]), Some(Change { at: Height(7), key: part.to_vec() }));
        let key = [&part[..], &[9; 32]].concat();
        assert_eq!(place(part, heights, &next(7, 32)), Some(Change { at: Height(7), key }));
        for data in [next(8, 32), next(u64::MAX, 0), next(2, 32), next(0, 0), next(7, 33), vec![0; 7]] {
            assert_eq!(place(part, heights, &data), None, "{data:?}");
        }
    }
}
