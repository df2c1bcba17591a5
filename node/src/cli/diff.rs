//! `cairn diff` prints what changed in a namespace between two heights.

use clap::Args;
use client::{Client, fields};
use node::exit::Failure;
use serde_json::{Value, json};
use types::NsName;

use super::{
    args::NodeArgs,
    home::Home,
    output,
    query::{self, Answer},
    show,
};

const HELP: &str = "\
Examples:
  cairn diff shared/policy --from 88120                 since height 88120
  cairn diff shared/policy --from 88120 --to 88300 --json

The key that changed last is first. A key with the same value at both heights is left out. Of long
values that begin alike, … stands for the equal part. Heights are those that the node keeps:
`cairn query status` shows the first. Values in --json are base64, null where the key is absent; if
--limit leaves keys out, \"complete\" is false there. \"from_reverted_by\" and \"to_reverted_by\" name
the proposal whose revert took back the content of a height.";

/// Fields of an answer with the number of the proposal whose revert took back the content of the earlier and of the later
/// height.
const REVERTED_BY: [&str; 2] = ["from_reverted_by", "to_reverted_by"];

/// Maximum characters of a value in the table.
const SHOWN_CHARS_MAX: usize = 40;

/// Number of equal characters that are shown before the first difference of two long values.
const ALIKE_CHARS_SHOWN: usize = 8;

/// Show what changed in a namespace between two heights
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Diff {
    /// Name of the namespace
    ns: NsName,
    /// Height to compare with
    #[arg(long, value_name = "HEIGHT")]
    from: u64,
    /// Height that is compared [default: the latest]
    #[arg(long, value_name = "HEIGHT")]
    to: Option<u64>,
    /// Maximum number of keys
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

impl Diff {
    /// Asks the node of the home for all pages, and prints them.
    ///
    /// Errors: the node does not respond, or refuses the namespace or a height.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let Self { ns, from, to, limit, json, node } = self;
        let compared = Compared::ask(&node.client(home)?, &ns, (from, to), limit as usize)?;
        let Compared { to, rows, is_complete, .. } = &compared;
        if json {
            let mut value = json!({
                "ns": ns.as_str(),
                "from": from.to_string(),
                "to": to.to_string(),
                "from_root": compared.from_root,
                "to_root": compared.to_root,
                "rows": rows,
                "complete": is_complete,
            });
            for field in REVERTED_BY {
                if let Some(id) = compared.last.get(field) {
                    value[field] = id.clone();
                }
            }
            output::json(&value);
            return Ok(());
        }
        if rows.is_empty() && *is_complete {
            output::line(format_args!("{ns} is the same at heights {from} and {to}"));
        } else {
            compared
                .table([(&format!("at {from}"), "/old"), (&format!("at {to}"), "/new")])?
                .iter()
                .for_each(output::line);
            output::line(format_args!("root {} -> {}", compared.from_root, compared.to_root));
        }
        for (field, height) in REVERTED_BY.into_iter().zip([from, *to]) {
            show::note_reverted(&compared.last, &format!("/{field}"), &format!("the content of height {height}"));
        }
        if !is_complete {
            output::note(format_args!("there are more keys: use a greater --limit"));
        }
        Ok(())
    }
}

/// What differs in a namespace between two heights.
pub struct Compared {
    /// The later height.
    to: u64,
    from_root: String,
    to_root: String,
    /// The keys, as the node answers them.
    pub rows: Vec<Value>,
    /// False if there are more keys.
    pub is_complete: bool,
    /// The node's answer for the last page.
    last: Value,
}

impl Compared {
    /// Asks a node for the keys of a namespace that differ between two heights, at most `limit`. Without a later height, it is
    /// the latest one.
    ///
    /// Errors: the node does not respond, or refuses the namespace or a height.
    pub fn ask(client: &Client, ns: &str, heights: (u64, Option<u64>), limit: usize) -> Result<Self, Failure> {
        let (from, mut to) = heights;
        let (mut rows, mut next, mut last) = (Vec::new(), Some(Vec::new()), Value::Null);
        while let Some(key) = next.take_if(|_| rows.len() < limit) {
            // The pages after the first one are of its height, so that all keys are compared at the same two heights.
            let to_option = to.map(|to| format!("&to={to}")).unwrap_or_default();
            let limit = (limit - rows.len()).min(100);
            let path = format!("/kv/diff/{ns}?from={from}{to_option}&limit={limit}");
            let Answer { value, height } = query::state(client, &path, &key, None)?;
            to = to.or(Some(height));
            rows.extend_from_slice(fields::list(&value, "/rows")?);
            next = match value.get("next").is_none_or(Value::is_null) {
                true => None,
                false => Some(fields::bytes(&value, "/next")?),
            };
            last = value;
        }
        let root = |field: &str| fields::text(&last, field).map(ToOwned::to_owned);
        let (from_root, to_root) = (root("/from_root")?, root("/to_root")?);
        Ok(Self { to: to.unwrap_or(from), from_root, to_root, rows, is_complete: next.is_none(), last })
    }

    /// Returns the keys as lines of a table, with two columns of values: their titles, and the fields of the node's answer.
    ///
    /// Errors: the node's answer has no such field.
    pub fn table(&self, columns: [(&str, &str); 2]) -> Result<Vec<String>, Failure> {
        let [(left, before), (right, after)] = columns;
        let mut table = vec![vec!["key".to_owned(), left.to_owned(), right.to_owned()]];
        for row in &self.rows {
            let value = |field: &str| match row.pointer(field).is_none_or(Value::is_null) {
                true => Ok(None),
                false => Ok::<_, Failure>(Some(fields::bytes(row, field)?)),
            };
            let [left, right] = shown_apart([value(before)?.as_deref(), value(after)?.as_deref()]);
            table.push(vec![show::text(&fields::bytes(row, "/key")?), left, right]);
        }
        Ok(output::table(&table, &[]))
    }
}

/// Returns a value for a table.
pub fn shortened(value: &[u8]) -> String {
    shortened_from(value, 0)
}

/// Returns a value for a table, beginning with the character of this index.
fn shortened_from(value: &[u8], start: usize) -> String {
    let text = show::text(value);
    let start = text.char_indices().nth(start).map_or(text.len(), |(start, _)| start);
    let (mark, rest) = (if start == 0 { "" } else { "…" }, &text[start..]);
    match rest.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{mark}{}… ({} bytes)", &rest[..end], value.len()),
        None if start == 0 => text,
        None => format!("{mark}{rest} ({} bytes)", value.len()),
    }
}

/// Returns two different values for a line of a table, `-` for none. If both are long and begin alike, it shows them from a few
/// characters before the first difference on.
fn shown_apart(values: [Option<&[u8]>; 2]) -> [String; 2] {
    let start = match values.map(|value| value.map(show::text)) {
        [Some(a), Some(b)] => {
            let alike = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
            let is_cut = [a, b].iter().all(|text| text.chars().count() > SHOWN_CHARS_MAX);
            if is_cut && alike >= SHOWN_CHARS_MAX { alike - ALIKE_CHARS_SHOWN } else { 0 }
        }
        _ => 0,
    };
    values.map(|value| value.map_or_else(|| "-".to_owned(), |value| shortened_from(value, start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_shortened_at_a_character() {
        assert_eq!(shortened(b"ask first"), "ask first");
        assert_eq!(shortened("é".repeat(40).as_bytes()), "é".repeat(40));
        assert_eq!(shortened("é".repeat(41).as_bytes()), format!("{}… (82 bytes)", "é".repeat(40)));
    }

    #[test]
    fn long_values_that_begin_alike_are_shown_where_they_differ() {
        let apart = |a: &str, b: &str| shown_apart([Some(a.as_bytes()), Some(b.as_bytes())]);
        let same = "0123456789".repeat(5);
        let [a, b] = [format!("{same}old{}", "x".repeat(50)), format!("{same}new")];
        assert_eq!(
            apart(&a, &b),
            [format!("…23456789old{}… (103 bytes)", "x".repeat(29)), "…23456789new (53 bytes)".into()]
        );
        // One is the beginning of the other.
        assert_eq!(apart(&same, &format!("{same}!")), ["…23456789 (50 bytes)", "…23456789! (51 bytes)"]);
        assert_eq!(apart("short", "other"), ["short", "other"]);
        assert_eq!(apart(&same, "other"), [format!("{}… (50 bytes)", &same[..40]), "other".into()]);
        assert_eq!(shown_apart([None, Some(b"new")]), ["-", "new"]);
    }
}
