//! `cairn explain` prints what an error code means.

use app::CODES;
use clap::Args;
use node::exit::Failure;
use serde_json::json;

use super::{output, rewind, show::Facts};

/// A code of any kind.
struct Entry {
    /// Number in results; commands have none.
    number: Option<u32>,
    name: &'static str,
    when: &'static str,
    way_out: &'static str,
}

impl Entry {
    /// Returns the number as text; `-` if there is none.
    fn number(&self) -> String {
        self.number.map_or_else(|| "-".to_owned(), |number| number.to_string())
    }
}

/// Returns the codes of transactions and queries by their numbers, then those of commands.
fn all() -> Vec<Entry> {
    let mut numbered: Vec<&app::Code> = CODES.iter().chain(mempool::CODES).collect();
    numbered.sort_by_key(|code| code.number);
    let numbered = numbered.into_iter().map(|code| Entry {
        number: Some(code.number),
        name: code.name,
        when: code.when,
        way_out: code.way_out,
    });
    let of_commands = rewind::CODES.iter().map(|code| Entry {
        number: None,
        name: code.name,
        when: code.when,
        way_out: code.way_out,
    });
    numbered.chain(of_commands).collect()
}

/// Returns the name of a code of a transaction or a query; `None` if there is no such code.
pub fn name_of(number: u64) -> Option<&'static str> {
    CODES.iter().chain(mempool::CODES).find(|code| u64::from(code.number) == number).map(|code| code.name)
}

/// Explain an error code: when it occurs, and what to do
#[derive(Debug, Args)]
pub struct Explain {
    /// Name or number of the code, such as E_NONCE or 5 [default: list all codes]
    code: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Explain {
    /// Prints a code, or all.
    ///
    /// Errors: there is no such code.
    pub fn run(self) -> Result<(), Failure> {
        let Some(asked) = &self.code else {
            if self.json {
                output::json(&all().iter().map(as_json).collect());
                return Ok(());
            }
            let rows: Vec<Vec<String>> =
                all().iter().map(|code| vec![code.number(), code.name.into(), code.when.into()]).collect();
            output::table(&rows, &[0]).iter().for_each(output::line);
            return Ok(());
        };
        let is_asked = |code: &Entry| asked.eq_ignore_ascii_case(code.name) || *asked == code.number();
        let Some(code) = all().into_iter().find(is_asked) else {
            return Err(Failure::refused(format!("there is no code {asked:?}: `cairn explain` lists them")));
        };
        if self.json {
            output::json(&as_json(&code));
            return Ok(());
        }
        let mut facts = Facts::default();
        facts.add("code", format_args!("{} {}", code.number(), code.name));
        facts.add("when", code.when).add("what to do", code.way_out).print();
        Ok(())
    }
}

fn as_json(code: &Entry) -> serde_json::Value {
    json!({ "code": code.number, "name": code.name, "when": code.when, "what_to_do": code.way_out })
}
