//! `cairn diff` prints what changed in a namespace between two heights.

use clap::Args;
use client::fields;
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

The key that changed last is first. A key with the same value at both heights is left out. Heights are
those that the node keeps: `cairn query status` shows the first. Values in --json are base64, null where
the key is absent; if --limit leaves keys out, \"complete\" is false there.";

/// Maximum characters of a value in the table.
const SHOWN_CHARS_MAX: usize = 40;

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
        let client = self.node.client(home)?;
        let (mut rows, mut next, mut to) = (Vec::new(), Some(Vec::new()), self.to);
        let (mut last, limit) = (Value::Null, self.limit as usize);
        while let Some(from) = next.take_if(|_| rows.len() < limit) {
            // The pages after the first one are of its height, so that all keys are compared at the same two heights.
            let to_option = to.map(|to| format!("&to={to}")).unwrap_or_default();
            let limit = (limit - rows.len()).min(100);
            let path = format!("/kv/diff/{}?from={}{to_option}&limit={limit}", self.ns, self.from);
            let Answer { value, height } = query::state(&client, &path, &from, None)?;
            to = Some(height);
            rows.extend_from_slice(fields::list(&value, "/rows")?);
            next = match value.get("next").is_none_or(Value::is_null) {
                true => None,
                false => Some(fields::bytes(&value, "/next")?),
            };
            last = value;
        }
        let is_complete = next.is_none();
        let root = |field: &str| fields::text(&last, field);
        if self.json {
            output::json(&json!({
                "ns": self.ns.as_str(),
                "from": self.from.to_string(),
                "to": to.unwrap_or(self.from).to_string(),
                "from_root": root("/from_root")?,
                "to_root": root("/to_root")?,
                "rows": rows,
                "complete": is_complete,
            }));
            return Ok(());
        }
        let to = to.unwrap_or(self.from);
        if rows.is_empty() && is_complete {
            output::line(format_args!("{} is the same at heights {} and {to}", self.ns, self.from));
            return Ok(());
        }
        let mut table = vec![vec!["key".to_owned(), format!("at {}", self.from), format!("at {to}")]];
        for row in &rows {
            let value = |field: &str| match row.pointer(field).is_none_or(Value::is_null) {
                true => Ok("-".to_owned()),
                false => Ok::<_, Failure>(shortened(&fields::bytes(row, field)?)),
            };
            table.push(vec![show::text(&fields::bytes(row, "/key")?), value("/old")?, value("/new")?]);
        }
        output::table(&table, &[]).iter().for_each(output::line);
        output::line(format_args!("root {} -> {}", root("/from_root")?, root("/to_root")?));
        if !is_complete {
            output::note(format_args!("there are more keys: use a greater --limit"));
        }
        Ok(())
    }
}

/// Returns a value for a table.
pub fn shortened(value: &[u8]) -> String {
    let text = show::text(value);
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], value.len()),
        None => text,
    }
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
}
