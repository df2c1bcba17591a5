//! `cairn proposal` shows proposals to the validators, of every kind. `cairn revert` lists, shows and watches with the same
//! code.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use client::{Client, FieldError, fields};
use node::{clock, exit::Failure};
use serde_json::{Value, json};
use types::{Deadline, Time};

use super::{
    args::{NodeArgs, duration},
    home::Home,
    keyring::Keyring,
    ns::Reading,
    output,
    query::{self, Answer},
    show::{self, Facts, Names},
};

const HELP: &str = "\
Examples:
  cairn proposal list --open
  cairn proposal show 4
  cairn proposal watch 4 --json

A proposal asks the validators for a decision. `cairn revert` proposes, votes, freezes and cancels.";

/// First and longest pause between two queries of a proposal that is watched.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// Show proposals to the validators
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Proposal {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the proposals in the order of their numbers
    List(Listing),
    /// Show a proposal with its votes
    Show(Shown),
    /// Print each change of a proposal until it is closed; the exit code is 0 only if it was executed
    Watch(Watched),
}

/// Which proposals are listed.
#[derive(Debug, Args)]
pub struct Listing {
    /// Only those that are not closed
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    reading: Reading,
}

/// Which proposal is shown.
#[derive(Debug, Args)]
pub struct Shown {
    /// Number of the proposal
    id: u64,
    #[command(flatten)]
    reading: Reading,
}

/// Which proposal is watched, and how long.
#[derive(Debug, Args)]
pub struct Watched {
    /// Number of the proposal
    id: u64,
    /// Maximum time to watch [default: until it is closed]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Print one JSON object per line, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

impl Proposal {
    /// Runs the subcommand with the node of the home.
    ///
    /// Errors: the node does not respond or refuses, or a watched proposal is closed and was not executed.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        match self.command {
            Command::List(listing) => list(home, &listing),
            Command::Show(shown) => show(home, &shown),
            Command::Watch(watched) => watch(home, &watched),
        }
    }
}

/// Prints the proposals as a table.
///
/// Errors: the node does not respond or refuses.
pub fn list(home: &Home, Listing { open, reading }: &Listing) -> Result<(), Failure> {
    let client = reading.client(home)?;
    let (all, height) = if *open {
        let Answer { value, height } = query::state(&client, "/proposals?limit=1", &[], reading.height)?;
        let proposal = |id: &Value| {
            let path = format!("/proposal/{}", id.as_str().unwrap_or_default());
            Ok(query::state(&client, &path, &[], Some(height))?.value)
        };
        (fields::list(&value, "/open")?.iter().map(proposal).collect::<Result<_, Failure>>()?, height)
    } else {
        query::pages(&client, "/proposals", "/proposals", reading.height)?
    };
    if reading.json {
        output::json(&json!({ "proposals": all, "height": height.to_string() }));
        return Ok(());
    }
    let now = clock::wall();
    let mut rows = vec![["id", "state", "target", "namespaces", "yes", "no", "when"].map(str::to_owned).to_vec()];
    for proposal in &all {
        let total = fields::number(proposal, "/total_power")?;
        let share = |pointer: &str| Ok::<_, FieldError>(percent(fields::number(proposal, pointer)?, total));
        rows.push(vec![
            fields::text(proposal, "/id")?.to_owned(),
            fields::text(proposal, "/state")?.to_owned(),
            fields::text(proposal, "/target_height")?.to_owned(),
            names(proposal)?.join(","),
            share("/yes_power")?,
            share("/no_power")?,
            when(proposal, now)?,
        ]);
    }
    output::table(&rows, &[0, 2, 4, 5]).iter().for_each(output::line);
    Ok(())
}

/// Prints a proposal with its votes.
///
/// Errors: the node does not respond, or there is no such proposal.
pub fn show(home: &Home, Shown { id, reading }: &Shown) -> Result<(), Failure> {
    let Answer { mut value, height } = reading.ask(home, &format!("/proposal/{id}"), &[])?;
    if reading.json {
        value["height"] = json!(height.to_string());
        output::json(&value);
        return Ok(());
    }
    let known = Names::of(&Keyring::of(home));
    let text = |pointer: &str| fields::text(&value, pointer);
    let number = |pointer: &str| fields::number(&value, pointer);
    let mut facts = Facts::default();
    facts.add("proposal", format_args!("{id}: {}", text("/kind")?));
    facts.add("state", format_args!("{}, {}", text("/state")?, when(&value, clock::wall())?));
    facts.add("target", format_args!("height {}", text("/target_height")?));
    for scope in fields::list(&value, "/scope")? {
        facts.add("namespace", fields::text(scope, "/ns")?);
        if let Some(root) = scope.get("expect_root").and_then(Value::as_str) {
            facts.add("  expects root", root);
        }
    }
    facts.add(
        "changes",
        format_args!("{}, {} bytes, when it was proposed", show::count(number("/keys")?, "key"), number("/bytes")?),
    );
    facts.add("diff digest", text("/diff_digest")?);
    if let Some(height) = value.get("dirty_after").and_then(Value::as_str) {
        facts.add("fails", format_args!("if a namespace changes after height {height}"));
    }
    facts.add("notice", format_args!("{} ms", text("/notice_ms")?));
    for (label, pointer) in [("reason", "/reason"), ("read more", "/uri")] {
        if !text(pointer)?.is_empty() {
            facts.add(label, text(pointer)?);
        }
    }
    let (proposer, deposit) = (known.of_text(text("/proposer")?), text("/deposit")?);
    facts.add("proposer", format_args!("{proposer}, at height {}, deposit {deposit}", text("/opened_height")?));
    let total = number("/total_power")?;
    for (label, pointer) in [("yes", "/yes_power"), ("no", "/no_power"), ("freeze", "/freeze_power")] {
        let power = number(pointer)?;
        facts.add(label, format_args!("{power} of {total}, {}", percent(power, total)));
    }
    let mut votes = Vec::new();
    for vote in fields::list(&value, "/votes")? {
        let said = vote.get("vote").and_then(Value::as_str).unwrap_or("no vote");
        let freeze = if vote.get("freeze").and_then(Value::as_bool) == Some(true) { ", freeze" } else { "" };
        let power = vote.get("power").and_then(Value::as_str).unwrap_or("0");
        votes.push((known.name_of(fields::text(vote, "/operator")?), format!("{said}{freeze}, power {power}")));
    }
    votes.sort();
    for (operator, vote) in votes {
        facts.add("vote", format_args!("{operator}: {vote}"));
    }
    facts.add("at height", height).print();
    Ok(())
}

/// Prints a line for each change of a proposal, until it is closed.
///
/// Errors: the node does not respond, there is no such proposal, `--timeout` is over, or the proposal is closed and was
/// not executed.
pub fn watch(home: &Home, Watched { id, timeout, json, node }: &Watched) -> Result<(), Failure> {
    let client = node.client(home)?;
    let end = timeout.map(|timeout| Instant::now() + timeout);
    let (mut before, mut pause) = (Value::Null, PAUSE.0);
    loop {
        let Answer { mut value, height } = ask(&client, *id)?;
        if value != before {
            before = value.clone();
            pause = PAUSE.0;
            value["height"] = json!(height.to_string());
            if *json { output::line(&value) } else { output::line(line(&value, height)?) }
        }
        match fields::text(&value, "/state")? {
            "executed" => return Ok(()),
            state if value.get("closed_height").is_some() => {
                return Err(Failure::refused(format!("proposal {id} was not executed: {state}")));
            }
            _ if end.is_some_and(|end| Instant::now() >= end) => {
                return Err(Failure::refused(format!(
                    "proposal {id} is still open: look later with `cairn proposal show {id}`"
                )));
            }
            _ => thread::sleep(pause),
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

fn ask(client: &Client, id: u64) -> Result<Answer, Failure> {
    query::state(client, &format!("/proposal/{id}"), &[], None)
}

/// Returns the state of a watched proposal in one line.
fn line(proposal: &Value, height: u64) -> Result<String, Failure> {
    let total = fields::number(proposal, "/total_power")?;
    let share = |pointer: &str| Ok::<_, FieldError>(percent(fields::number(proposal, pointer)?, total));
    Ok(format!(
        "{height}  {}  yes {}  no {}  {}",
        fields::text(proposal, "/state")?,
        share("/yes_power")?,
        share("/no_power")?,
        when(proposal, clock::wall())?
    ))
}

/// Returns when something about a proposal happens next, or when it was closed, and until when its namespaces are frozen.
fn when(proposal: &Value, now: Time) -> Result<String, Failure> {
    let text = |pointer: &str| fields::text(proposal, pointer);
    let at = |field: &str| {
        let millis = proposal.get(field).and_then(Value::as_str).and_then(|millis| millis.parse().ok());
        millis.and_then(Deadline::from_unix_millis)
    };
    if let Ok(height) = text("/closed_height") {
        let why = match (text("/code"), text("/superseded_by")) {
            (Ok(code), _) => format!(": {code}"),
            (_, Ok(by)) => format!(" by proposal {by}"),
            _ => String::new(),
        };
        return Ok(format!("at height {height}{why}"));
    }
    let next = match (at("at_ms"), at("voting_ends_ms")) {
        (Some(due), _) => format!("is executed {}", until(due, now)),
        (_, Some(due)) => format!("voting ends {}", until(due, now)),
        _ => String::new(),
    };
    Ok(match at("frozen_until_ms") {
        Some(end) => format!("{next}; frozen until {}", until(end, now)),
        None => next,
    })
}

/// Returns a time, and how long it is until then.
fn until(due: Deadline, now: Time) -> String {
    let left = due.time().since(now).as_secs();
    match left {
        0 => format!("{due} (now)"),
        1..120 => format!("{due} (in {left} s)"),
        120..7200 => format!("{due} (in {} min)", left / 60),
        _ => format!("{due} (in {} h)", left / 3600),
    }
}

fn names(proposal: &Value) -> Result<Vec<&str>, FieldError> {
    fields::list(proposal, "/scope")?.iter().map(|scope| fields::text(scope, "/ns")).collect()
}

fn percent(power: u64, total: u64) -> String {
    format!("{:.1} %", power as f64 * 100.0 / total.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_comes_next() {
        let now = Time::from_unix_millis(100_000);
        let open = |more: Value| {
            let mut proposal = json!({ "voting_ends_ms": "142000" });
            proposal.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            when(&proposal, now).unwrap()
        };
        assert_eq!(open(json!({})), "voting ends 1970-01-01T00:02:22Z (in 42 s)");
        assert_eq!(
            open(json!({ "at_ms": "99000", "frozen_until_ms": "700000" })),
            "is executed 1970-01-01T00:01:39Z (now); frozen until 1970-01-01T00:11:40Z (in 10 min)"
        );
        assert_eq!(open(json!({ "closed_height": "7" })), "at height 7");
        assert_eq!(open(json!({ "closed_height": "7", "code": "E_DIRTY" })), "at height 7: E_DIRTY");
        assert_eq!(open(json!({ "closed_height": "7", "superseded_by": "3" })), "at height 7 by proposal 3");
    }
}
