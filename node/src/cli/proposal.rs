//! `cairn proposal` makes proposals to the validators, and shows those of every kind. `cairn revert` lists, shows and watches with the same
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
    acts::Decide,
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
  cairn proposal params --set block.max_bytes=2000000 --set fee_min=2 --from alice
  cairn proposal upgrade --name v2 --height 120000 --info https://example.org/v2 --from alice
  cairn proposal spend --to bob --amount 5000 --reason \"an audit\" --from alice
  cairn proposal vote 4 --yes --from validator-0
  cairn proposal list --open
  cairn proposal show 4
  cairn proposal watch 4 --json

A proposal asks the validators for a decision, for a deposit: more than 2/3 of the voting power pass
it, more than 1/3 reject it. The deposit comes back unless more than 1/3 vote no with veto. `cairn
revert` proposes reverts of namespaces.";

/// First and longest pause between two queries of a proposal that is watched.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// Propose parameters, upgrades, payments and texts to the validators, vote, and show proposals of every kind
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Proposal {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Decide(Decide),
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
    /// Errors: an input is invalid, the node does not respond or refuses, a transaction fails, or a watched proposal is closed and was not executed.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        match self.command {
            Command::Decide(decide) => decide.run(home),
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
    let mut rows = vec![["id", "kind", "state", "what", "yes", "no", "when"].map(str::to_owned).to_vec()];
    for proposal in &all {
        let total = fields::number(proposal, "/total_power")?;
        let share = |pointer: &str| Ok::<_, FieldError>(percent(fields::number(proposal, pointer)?, total));
        rows.push(vec![
            fields::text(proposal, "/id")?.to_owned(),
            fields::text(proposal, "/kind")?.to_owned(),
            fields::text(proposal, "/state")?.to_owned(),
            what(proposal)?,
            share("/yes_power")?,
            share("/no_power")?,
            when(proposal, now)?,
        ]);
    }
    output::table(&rows, &[0, 4, 5]).iter().for_each(output::line);
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
    match text("/kind")? {
        "revert" => add_revert(&value, &mut facts)?,
        _ => add_act(&value, &known, &mut facts)?,
    }
    for (label, pointer) in [("reason", "/reason"), ("read more", "/uri")] {
        if !text(pointer)?.is_empty() {
            facts.add(label, text(pointer)?);
        }
    }
    let (proposer, deposit) = (known.of_text(text("/proposer")?), text("/deposit")?);
    facts.add("proposer", format_args!("{proposer}, at height {}, deposit {deposit}", text("/opened_height")?));
    let total = number("/total_power")?;
    let mut sums = vec![("yes", "/yes_power"), ("no", "/no_power")];
    if number("/veto_power")? > 0 {
        sums.push(("with veto", "/veto_power"));
    }
    if value.get("freeze_power").is_some() {
        sums.push(("freeze", "/freeze_power"));
    }
    for (label, pointer) in sums {
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

/// Adds what a revert would do.
fn add_revert(value: &Value, facts: &mut Facts) -> Result<(), FieldError> {
    let text = |pointer: &str| fields::text(value, pointer);
    let number = |pointer: &str| fields::number(value, pointer);
    facts.add("target", format_args!("height {}", text("/target_height")?));
    for scope in fields::list(value, "/scope")? {
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
    Ok(())
}

/// Adds what an act would do.
fn add_act(value: &Value, known: &Names, facts: &mut Facts) -> Result<(), FieldError> {
    let text = |pointer: &str| fields::text(value, pointer);
    match text("/kind")? {
        "params" => {
            for change in fields::list(value, "/changes")? {
                let (name, new) = (fields::text(change, "/name")?, fields::text(change, "/value")?);
                facts.add("parameter", format_args!("{name} = {new}"));
            }
        }
        "upgrade" => {
            facts.add("upgrade", format_args!("{} at height {}", text("/upgrade/name")?, text("/upgrade/height")?));
            if !text("/upgrade/info")?.is_empty() {
                facts.add("program", text("/upgrade/info")?);
            }
        }
        "spend" => {
            facts.add("pays", format_args!("{} to {}", text("/amount")?, known.of_text(text("/to")?)));
        }
        "text" => {
            facts.add("title", text("/title")?);
            for line in text("/body")?.lines() {
                facts.add("", line);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Returns what a proposal would do, in a few words.
fn what(proposal: &Value) -> Result<String, FieldError> {
    let text = |pointer: &str| fields::text(proposal, pointer);
    Ok(match text("/kind")? {
        "revert" => format!("{} to height {}", names(proposal)?.join(","), text("/target_height")?),
        "params" => {
            let name = |change: &Value| Ok(fields::text(change, "/name")?.to_owned());
            fields::list(proposal, "/changes")?.iter().map(name).collect::<Result<Vec<_>, FieldError>>()?.join(",")
        }
        "upgrade" => format!("{} at height {}", text("/upgrade/name")?, text("/upgrade/height")?),
        "spend" => format!("{} to {}", text("/amount")?, text("/to")?),
        "text" => text("/title")?.to_owned(),
        _ => String::new(),
    })
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
