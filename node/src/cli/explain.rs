//! `cairn explain` prints what an error code means.

use app::{CODES, Code};
use clap::Args;
use node::exit::Failure;
use serde_json::json;

use super::{output, show::Facts};

/// Explain an error code of a transaction or query: when it occurs, and what to do
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
        let all = || CODES.iter().chain(mempool::CODES);
        let Some(asked) = &self.code else {
            if self.json {
                output::json(&all().map(as_json).collect());
                return Ok(());
            }
            let mut all: Vec<&Code> = all().collect();
            all.sort_by_key(|code| code.number);
            let rows: Vec<Vec<String>> =
                all.iter().map(|code| vec![code.number.to_string(), code.name.into(), code.when.into()]).collect();
            output::table(&rows, &[0]).iter().for_each(output::line);
            return Ok(());
        };
        let is_asked = |code: &&Code| asked.eq_ignore_ascii_case(code.name) || *asked == code.number.to_string();
        let Some(code) = all().find(is_asked) else {
            return Err(Failure::refused(format!("there is no code {asked:?}: `cairn explain` lists them")));
        };
        if self.json {
            output::json(&as_json(code));
            return Ok(());
        }
        let mut facts = Facts::default();
        facts.add("code", format_args!("{} {}", code.number, code.name));
        facts.add("when", code.when).add("what to do", code.way_out).print();
        Ok(())
    }
}

fn as_json(code: &Code) -> serde_json::Value {
    json!({ "code": code.number, "name": code.name, "when": code.when, "what_to_do": code.way_out })
}
