//! `cairn revert` returns namespaces to an earlier content: it previews, proposes and decides reverts.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use client::{Client, ClientError, fields};
use node::exit::Failure;
use serde_json::{Value, json};
use types::{
    Hash, Height, Msg, NsName, ProposalKind, Propose, Revert as RevertOf, RevertScope, Wire, limits::REVERT_SCOPE_MAX,
};

use super::{
    args::{duration, height},
    diff::Compared,
    home::Home,
    keyring::Keyring,
    ns::Reading,
    output,
    proposal::{self, Listing, Shown, Watched},
    query::{self, Answer},
    show::{self, Facts, Names},
    tx::Signing,
    voting::{Ballot, Explained},
};

const HELP: &str = "\
Examples:
  cairn revert preview --to 88120 --ns shared/policy,shared/tools --diff
  cairn revert propose --to 88120 --ns shared/policy --reason \"poisoned prompt\" --from alice
  cairn revert freeze 4 --from validator-0
  cairn revert vote 4 --yes --from validator-0
  cairn revert watch 4

A revert writes the content that namespaces had at an earlier height again, in a new block. More
than 2/3 of the voting power decide it, then it waits for its notice, then it is executed. Any
account may propose one, for a deposit; the operators of validators vote and freeze. Money, nonces,
votes and blocks never go back. A revert is undone by another one, to the height before it.";

/// Maximum number of keys of a namespace that a preview shows.
const DIFF_KEYS_MAX: usize = 1000;

/// Maximum number of transactions of a namespace whose signers a preview counts: those of one page of the node's answer.
const WRITERS_TXS_MAX: u64 = 100;

/// Maximum number of accounts of a namespace that a preview names.
const WRITERS_SHOWN_MAX: usize = 5;

/// Preview, propose, decide and follow reverts of namespaces
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Revert {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a revert would change and what not, without proposing it
    Preview {
        #[command(flatten)]
        wanted: Wanted,
        /// Show each key that would change, at most 1000 of a namespace
        #[arg(long)]
        diff: bool,
        #[command(flatten)]
        reading: Reading,
    },
    /// Propose a revert to the validators
    Propose {
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        explained: Explained,
        #[command(flatten)]
        signing: Signing,
    },
    /// Vote on a revert as the operator of a validator; a later vote replaces it until the revert is closed
    Vote {
        /// Number of the revert
        id: u64,
        #[command(flatten)]
        ballot: Ballot,
        #[command(flatten)]
        signing: Signing,
    },
    /// Demand, as the operator of a validator, that the namespaces of a revert take no writes for now
    Freeze {
        /// Number of the revert
        id: u64,
        #[command(flatten)]
        signing: Signing,
    },
    /// Withdraw a revert that you proposed and that is not scheduled yet
    Cancel {
        /// Number of the revert
        id: u64,
        #[command(flatten)]
        signing: Signing,
    },
    /// List the reverts in the order of their numbers
    List(Listing),
    /// Show a revert with its votes
    Show(Shown),
    /// Print each change of a revert until it is closed; the exit code is 0 only if it was executed
    Watch(Watched),
}

/// The revert that is previewed or proposed.
#[derive(Debug, Args)]
struct Wanted {
    /// Height whose content returns
    #[arg(long, value_name = "HEIGHT", value_parser = height)]
    to: Height,
    /// The namespaces, separated by commas
    #[arg(long, value_name = "NS,...", required = true, value_delimiter = ',')]
    ns: Vec<NsName>,
    /// The root that each namespace must have had at that height, in the order of --ns, separated by commas; `cairn
    /// revert preview` shows them
    #[arg(long, value_name = "ROOT,...", value_delimiter = ',')]
    expect_root: Vec<Hash>,
    /// Time between the decision and the execution [default: the chain's minimum]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    notice: Option<Duration>,
    /// Condition: no namespace changes after this height, so that only what you know is taken back
    #[arg(long, value_name = "HEIGHT", value_parser = height)]
    dirty_after: Option<Height>,
}

impl Revert {
    /// Runs the subcommand with the keyring and the node of the home.
    ///
    /// Errors: an input is invalid, the node does not respond or refuses, a transaction fails or is not committed within
    /// `--timeout`, or a watched revert is closed and was not executed.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        match self.command {
            Command::Preview { wanted, diff, reading } => wanted.preview(home, &reading, diff),
            Command::Propose { wanted, explained, signing } => {
                signing.send(home, Msg::Propose(Box::new(wanted.propose(explained)?)))
            }
            Command::Vote { id, ballot, signing } => signing.send(home, Msg::Vote { id, choice: ballot.choice() }),
            Command::Freeze { id, signing } => signing.send(home, Msg::Freeze { id }),
            Command::Cancel { id, signing } => signing.send(home, Msg::Cancel { id }),
            Command::List(listing) => proposal::list(home, &listing),
            Command::Show(shown) => proposal::show(home, &shown),
            Command::Watch(watched) => proposal::watch(home, &watched),
        }
    }
}

impl Wanted {
    /// Returns the proposal of this revert.
    fn propose(&self, explained: Explained) -> Result<Propose, Failure> {
        if self.ns.len() > REVERT_SCOPE_MAX {
            let sentence = format!("{} namespaces, at most {REVERT_SCOPE_MAX} go into one revert", self.ns.len());
            return Err(Failure::refused(sentence));
        }
        if !self.expect_root.is_empty() && self.expect_root.len() != self.ns.len() {
            return Err(Failure::refused(format!(
                "--expect-root has {}, and --ns {}: give one root for each namespace, or none",
                show::count(self.expect_root.len() as u64, "root"),
                show::count(self.ns.len() as u64, "namespace")
            )));
        }
        let scope = |(index, ns): (usize, &NsName)| RevertScope {
            ns: ns.to_string(),
            expect_root: self.expect_root.get(index).copied(),
        };
        explained.propose(ProposalKind::Revert(RevertOf {
            target: self.to,
            scope: self.ns.iter().enumerate().map(scope).collect(),
            notice: self.notice,
            dirty_after: self.dirty_after,
        }))
    }

    fn preview(&self, home: &Home, reading: &Reading, has_diff: bool) -> Result<(), Failure> {
        let propose = self.propose(Explained::nothing())?;
        let client = reading.client(home)?;
        let Answer { mut value, height } = query::state(&client, "/revert/preview", &propose.encode(), reading.height)?;
        let diffs = if has_diff { self.diffs(&client, &value, height)? } else { Vec::new() };
        let namespaces = value.get_mut("namespaces").and_then(Value::as_array_mut).into_iter().flatten();
        for namespace in namespaces.filter(|namespace| is_changed(namespace)) {
            let ns = fields::text(namespace, "/ns")?;
            namespace["writers"] = writers(&client, ns, self.to.0, height)?;
        }
        if reading.json {
            value["height"] = json!(height.to_string());
            if has_diff {
                let diff = |(ns, diff): &(String, Compared)| json!({ "ns": ns, "rows": diff.rows, "complete": diff.is_complete });
                value["diff"] = diffs.iter().map(diff).collect();
            }
            output::json(&value);
            return Ok(());
        }
        facts_of(&value, height, &Names::of(&Keyring::of(home)))?.print();
        for (ns, diff) in &diffs {
            output::line(format_args!("\n{ns}"));
            // The revert goes from the later height to the earlier one.
            diff.table([("now", "/new"), ("after it", "/old")])?.iter().for_each(output::line);
            if !diff.is_complete {
                output::note(format_args!("there are more keys: cairn diff {ns} --from {} --limit N", self.to));
            }
        }
        if value.get("would_execute").and_then(Value::as_bool) == Some(true) {
            output::note(format_args!("to propose it: cairn revert propose {} --from NAME", self.arguments(&value)?));
        }
        Ok(())
    }

    /// Returns the namespaces of a preview that would change, each with its keys.
    fn diffs(&self, client: &Client, preview: &Value, height: u64) -> Result<Vec<(String, Compared)>, Failure> {
        let diff = |namespace: &Value| {
            let ns = fields::text(namespace, "/ns")?;
            Ok((ns.to_owned(), Compared::ask(client, ns, (self.to.0, Some(height)), DIFF_KEYS_MAX)?))
        };
        changed(preview)?.map(diff).collect()
    }

    /// Returns the arguments that propose what was previewed, with its roots as conditions. Namespaces that have their old
    /// content are left out.
    fn arguments(&self, preview: &Value) -> Result<String, Failure> {
        let (mut names, mut roots) = (Vec::new(), Vec::new());
        for namespace in changed(preview)? {
            names.push(fields::text(namespace, "/ns")?);
            roots.push(fields::text(namespace, "/to_root")?);
        }
        let mut arguments = format!("--to {} --ns {} --expect-root {}", self.to, names.join(","), roots.join(","));
        if let Some(notice) = self.notice {
            arguments.push_str(&format!(" --notice {}ms", notice.as_millis()));
        }
        if let Some(height) = self.dirty_after {
            arguments.push_str(&format!(" --dirty-after {height}"));
        }
        Ok(arguments)
    }
}

/// Returns the namespaces of a preview whose content would change.
fn changed(preview: &Value) -> Result<impl Iterator<Item = &Value>, Failure> {
    Ok(fields::list(preview, "/namespaces")?.iter().filter(|namespace| is_changed(namespace)))
}

/// Returns true if the content of a namespace of a preview would change.
fn is_changed(namespace: &Value) -> bool {
    namespace.get("from_root") != namespace.get("to_root")
}

/// Returns who wrote to a namespace after the height `from`, up to the height `to`, by the node's index of transactions:
/// the accounts with the most transactions first. `complete` is false if there are more transactions than were counted; the value is
/// null if the node has no answer, for example because it keeps no index.
///
/// Errors: the node does not respond, or its answer cannot be read.
fn writers(client: &Client, ns: &str, from: u64, to: u64) -> Result<Value, Failure> {
    let query = format!("kv.write.ns = '{ns}' AND tx.height > {from} AND tx.height <= {to}");
    let params = json!({ "query": query, "per_page": WRITERS_TXS_MAX.to_string(), "order_by": "desc" });
    let answer = match client.call("tx_search", params) {
        Ok(answer) => answer,
        Err(ClientError::Node { .. }) => return Ok(Value::Null),
        Err(error) => return Err(error.into()),
    };
    let txs = fields::list(&answer, "/txs")?;
    let mut accounts: BTreeMap<&str, u64> = BTreeMap::new();
    for tx in txs {
        let events = fields::list(tx, "/tx_result/events")?;
        let wrote = events.iter().find_map(|event| {
            let of = |key: &str| attribute(event, key).filter(|_| fields::text(event, "/type") == Ok("kv.write"));
            of("signer").filter(|_| of("ns") == Some(ns))
        });
        if let Some(signer) = wrote {
            *accounts.entry(signer).or_default() += 1;
        }
    }
    let mut accounts: Vec<(&str, u64)> = accounts.into_iter().collect();
    accounts.sort_by_key(|(_, txs)| Reverse(*txs));
    let account = |(address, txs): (&str, u64)| json!({ "address": address, "txs": txs.to_string() });
    let total = fields::number(&answer, "/total_count")?;
    Ok(json!({
        "txs": total.to_string(),
        "accounts": accounts.into_iter().map(account).collect::<Vec<_>>(),
        "complete": total == txs.len() as u64,
    }))
}

/// Returns the value of an attribute of an event.
fn attribute<'a>(event: &'a Value, key: &str) -> Option<&'a str> {
    let attributes = event.get("attributes")?.as_array()?;
    attributes.iter().find(|attribute| attribute["key"] == key)?["value"].as_str()
}

/// Returns writers for people: their number, and those who wrote most.
fn writers_text(writers: &Value, names: &Names) -> Result<String, Failure> {
    if writers.is_null() {
        return Ok("not known to this node".to_owned());
    }
    let accounts = fields::list(writers, "/accounts")?;
    if accounts.is_empty() {
        return Ok("none".to_owned());
    }
    let mut named = Vec::new();
    for account in accounts.iter().take(WRITERS_SHOWN_MAX) {
        named.push(format!(
            "{} {}",
            names.name_of(fields::text(account, "/address")?),
            fields::number(account, "/txs")?
        ));
    }
    if accounts.len() > named.len() {
        named.push(format!("{} more", accounts.len() - named.len()));
    }
    let txs = show::count(fields::number(writers, "/txs")?, "transaction");
    let of = match writers["complete"] == true {
        true => txs,
        false => format!("the last {WRITERS_TXS_MAX} of {txs}"),
    };
    Ok(format!("{} in {of}: {}", show::count(accounts.len() as u64, "account"), named.join(", ")))
}

/// Returns a preview as text. `height` is that of the state in which it was made.
fn facts_of(preview: &Value, height: u64, names: &Names) -> Result<Facts, Failure> {
    let number = |pointer: &str| fields::number(preview, pointer);
    let mut facts = Facts::default();
    facts.add("target", format_args!("height {}", number("/target_height")?));
    facts.add("now", format_args!("height {height}"));
    facts.add("earliest", format_args!("height {}", number("/earliest_height")?));
    match preview.get("barrier").filter(|barrier| !barrier.is_null()) {
        Some(barrier) => facts.add(
            "barrier",
            format_args!("height {}: {}", fields::number(barrier, "/height")?, fields::text(barrier, "/kind")?),
        ),
        None => facts.add("barrier", "none"),
    };
    for namespace in fields::list(preview, "/namespaces")? {
        let of = |pointer: &str| fields::number(namespace, pointer);
        let name = fields::text(namespace, "/ns")?;
        let writes = show::count(of("/writes")?, "write");
        if !is_changed(namespace) {
            facts.add("namespace", format_args!("{name}: has its old content, is left out; {writes} since"));
            continue;
        }
        let keys = show::count(of("/keys")?, "key");
        facts.add(
            "namespace",
            format_args!(
                "{name}: {keys}, {} bytes, {writes} since; data epoch {} after it",
                of("/bytes")?,
                of("/data_epoch")?
            ),
        );
        facts.add("  root now", fields::text(namespace, "/from_root")?);
        facts.add("  root then", fields::text(namespace, "/to_root")?);
        facts.add("  writers", writers_text(&namespace["writers"], names)?);
    }
    facts.add("in total", format_args!("{}, {} bytes", show::count(number("/keys")?, "key"), number("/bytes")?));
    facts.add(
        "not undone",
        format_args!(
            "{} with their fees and nonces, {}, {} to other namespaces",
            show::count(number("/not_undone/txs")?, "transaction"),
            show::count(number("/not_undone/transfers")?, "transfer"),
            show::count(number("/not_undone/writes")?, "write")
        ),
    );
    facts.add("diff digest", fields::text(preview, "/diff_digest")?);
    let refusals = fields::list(preview, "/refusals")?;
    facts.add("would execute", if refusals.is_empty() { "yes" } else { "no" });
    for refusal in refusals {
        facts.add("", fields::text(refusal, "/log")?);
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Wants {
        #[command(flatten)]
        wanted: Wanted,
    }

    fn wanted(arguments: &str) -> Wanted {
        Wants::try_parse_from(["cairn"].into_iter().chain(arguments.split(' '))).unwrap().wanted
    }

    #[test]
    fn a_revert_has_a_root_for_each_namespace_or_none() {
        let (a, b) = ("AA".repeat(32), "BB".repeat(32));
        let propose = |arguments: String| wanted(&arguments).propose(Explained::nothing());
        let kind = propose(format!("--to 7 --ns x,y --expect-root {a},{b}")).unwrap().kind;
        let ProposalKind::Revert(revert) = kind else { panic!("{kind:?}") };
        let roots: Vec<Option<String>> =
            revert.scope.iter().map(|scope| scope.expect_root.map(|root| root.to_string())).collect();
        assert_eq!(roots, [Some(a.clone()), Some(b)]);
        let error = |arguments: String| propose(arguments).unwrap_err().to_string();
        assert!(error(format!("--to 7 --ns x,y --expect-root {a}")).contains("1 root, and --ns 2 namespaces"));
        assert!(error("--to 7 --ns x,y,x".into()).contains("names \"x\" twice"));
        let names: Vec<String> = (0..33).map(|n| format!("n{n}")).collect();
        assert!(error(format!("--to 7 --ns {}", names.join(","))).contains("33 namespaces, at most 32"));
        assert!(propose("--to 7 --ns x --notice 90s".into()).is_ok());
        for arguments in ["--to 9223372036854775808 --ns x", "--to 7 --ns x --dirty-after 18446744073709551615"] {
            let arguments = ["cairn"].into_iter().chain(arguments.split(' '));
            let error = Wants::try_parse_from(arguments).err().expect("no transaction has such a height").to_string();
            assert!(error.contains("a height is a whole number from 0 to 9223372036854775807"), "{error}");
        }
    }

    #[test]
    fn writers_are_named_with_their_transactions() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::given_or_default(Some(folder.path().to_owned())).unwrap();
        let names = Names::of(&Keyring::of(&home));
        let text = |writers: Value| writers_text(&writers, &names).unwrap();
        let accounts =
            |n: u64| (0..n).map(|n| json!({ "address": format!("{n:040}"), "txs": "3" })).collect::<Vec<_>>();
        let address = "0".repeat(39);
        assert_eq!(
            text(json!({ "txs": "4", "accounts": accounts(1), "complete": true })),
            format!("1 account in 4 transactions: {address}0 3")
        );
        let many = text(json!({ "txs": "250", "accounts": accounts(7), "complete": false }));
        assert!(many.starts_with("7 accounts in the last 100 of 250 transactions: "), "{many}");
        assert!(many.ends_with(&format!("{address}4 3, 2 more")), "{many}");
        assert_eq!(text(Value::Null), "not known to this node");
        assert_eq!(text(json!({ "txs": "0", "accounts": [], "complete": true })), "none");
    }

    #[test]
    fn a_preview_ends_in_the_arguments_that_propose_it() {
        let namespace = |ns: &str, from: &str, to: &str| json!({ "ns": ns, "from_root": from, "to_root": to });
        let preview = json!({ "namespaces": [namespace("a", "11", "22"), namespace("b", "33", "33")] });
        let wanted = wanted("--to 7 --ns a,b --notice 1m --dirty-after 9");
        let arguments = "--to 7 --ns a --expect-root 22 --notice 60000ms --dirty-after 9";
        assert_eq!(wanted.arguments(&preview).unwrap(), arguments);
    }
}
