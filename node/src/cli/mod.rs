//! The command line of `cairn`: parses the arguments, runs the command, and prints its error.
//!
//! | file | content |
//! |---|---|
//! | `home.rs` | finds the home folder of a command |
//! | `keyring.rs`, `keys.rs` | key files of accounts, and the commands for them |
//! | `rotate.rs` | the consensus key of a validator, replaced while its node runs |
//! | `args.rs` | arguments that several commands share: the node to ask, durations |
//! | `tx.rs`, `query.rs`, `show.rs` | transactions, queries, and the text form of responses |
//! | `proof.rs`, `verify.rs` | proofs to hand over, and their verification without a node |
//! | `ns.rs`, `kv.rs`, `diff.rs` | namespaces, their keys and values, and what changed |
//! | `revert.rs`, `proposal.rs` | reverts of namespaces, and proposals to the validators |
//! | `acts.rs`, `voting.rs` | the other proposals, and what reverts share with them |
//! | `stake.rs`, `stake_advice.rs`, `stakes.rs` | validators and the stake behind them, warnings before they change, and queries of them |
//! | `explain.rs` | the meaning of error codes |
//! | `genesis.rs`, `export.rs` | the document with which a chain starts, checked or made from a state |
//! | `prepare.rs` | files of a new node or a new testnet |
//! | `local.rs` | commands for one home: start, init, ids, reset |
//! | `store.rs` | a node's store: verify, backup, restore |
//! | `rewind.rs`, `rewind/` | a node's store taken back to an earlier height |
//! | `progress.rs` | progress of long commands |
//! | `tools/` | load, benchmarks and faults, if the feature `tools` is on |
//! | `shell.rs` | completions for shells, and man pages |
//! | `signals.rs` | signals that stop a command |
//! | `compose.rs` | a compose file for a testnet in containers |
//! | `testnet.rs`, `children.rs`, `watch.rs`, `view.rs` | the local testnet: its processes, their state, its display |
//!
//! Parsing has no side effects, and a command receives validated values. A failure is a sentence that includes a
//! remedy; this module prints it once. An error never contains a secret.

mod acts;
mod args;
mod children;
mod compose;
mod diff;
mod explain;
mod export;
mod genesis;
mod home;
mod keyring;
mod keys;
mod kv;
mod local;
mod ns;
mod output;
mod prepare;
mod progress;
mod proof;
mod proposal;
mod query;
mod revert;
mod rewind;
mod rotate;
mod shell;
mod show;
mod signals;
mod stake;
mod stake_advice;
mod stakes;
mod store;
mod testnet;
#[cfg(feature = "tools")]
mod tools;
mod tx;
mod verify;
mod view;
mod voting;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use node::exit::Failure;

use home::Home;

/// Returns the end of the help, with an example of the tools only if they are there.
fn examples() -> String {
    let load = match cfg!(feature = "tools") {
        true => "  cairn load --rate 500                               load, and latencies at every validator\n",
        false => "",
    };
    format!(
        "\
Examples:
  cairn testnet                                       four validators on this machine
  cairn tx send --from alice --to bob --amount 5      in a second terminal, in the same folder
  cairn query account bob
{load}  cairn start --home testnet/node2                    only this validator

Files: a node's home has the folders config/ and data/. The home is --home, else CAIRN_HOME, else
./testnet/node0 if it exists (its accounts are in ./testnet/keys), else ~/.cairn. `init`, `restore`
and `unsafe-reset-all` use ./testnet/node0 only if it is given."
    )
}

/// A Tendermint-style proof-of-stake validator, and the tools around it
#[derive(Debug, Parser)]
#[command(name = "cairn", version, after_help = examples(), arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Home folder of the node [default: ./testnet/node0 if it exists (not for init, restore and unsafe-reset-all),
    /// else ~/.cairn]
    #[arg(long, global = true, env = "CAIRN_HOME", hide_env_values = true, value_name = "DIR")]
    home: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write keys, genesis and configuration of a chain with one validator
    Init(local::Init),
    /// Run the node of a home until Ctrl-C or SIGTERM
    Start(local::Start),
    /// Run several validators on this machine, with a live view
    Testnet(testnet::Testnet),
    /// Create, list, import, export and delete keys of accounts; replace a consensus key
    Keys(keys::Keys),
    /// Sign and send transactions, or decode one
    Tx(tx::Tx),
    /// Create, show and list namespaces of keys and values
    Ns(ns::Ns),
    /// Write and read keys of a namespace
    Kv(kv::Kv),
    /// Show what changed in a namespace between two heights
    Diff(diff::Diff),
    /// Preview, propose, decide and follow reverts of namespaces
    Revert(revert::Revert),
    /// Propose parameters, upgrades, payments and texts to the validators, vote, and show proposals of every kind
    Proposal(proposal::Proposal),
    /// Create validators, and delegate, move and take back stake
    Stake(stake::Stake),
    /// Query a node for accounts, transactions, blocks and validators
    Query(query::Query),
    /// Check the document with which a chain starts
    Genesis(genesis::GenesisArgs),
    /// Write the state of this home's stopped node as the genesis document of a new chain
    Export(export::Export),
    /// Explain an error code: when it occurs, and what to do
    Explain(explain::Explain),
    /// Change the log levels of a running node, until its next start
    LogLevel(local::LogLevel),
    #[cfg(feature = "tools")]
    #[command(flatten)]
    Tool(tools::Tool),
    /// Print the effective configuration: the file, overridden by the environment
    Config(local::Config),
    /// Print the public key of this home's validator, in the format of genesis files
    ShowValidator,
    /// Print the id by which peers know this home's node
    ShowNodeId,
    /// Get a proof about the state, to hand to someone who trusts no node
    Proof(proof::Proof),
    /// Check a proof without a node, or that stored data is complete and undamaged
    Verify(verify::Verify),
    /// Copy the store of this home's node, also while it runs, without keys and signing record
    Backup(store::Backup),
    /// Install a copy of another node's store, made by `cairn backup`
    Restore(store::Restore),
    /// Take the store of this home's stopped node back to an earlier height; the network is not affected
    Rewind(rewind::Rewind),
    /// Delete blocks and state, and start again from genesis; keep keys and the signing record
    UnsafeResetAll(local::Reset),
    /// Print the program's version
    Version(local::Version),
    /// Print the completions of this program for a shell
    Completions(shell::Completions),
    /// Write a man page for each command
    Man(shell::Man),
    /// Print a manual as Markdown, or the description of the RPC as OpenAPI
    #[command(hide = true)]
    Manual {
        /// Manual to print
        #[arg(value_enum, default_value = "commands")]
        of: Manual,
    },
}

/// The manuals that the program writes itself.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Manual {
    Commands,
    Config,
    Metrics,
    Openapi,
    Rpc,
}

/// Parses the command line, runs the command, prints its error if it fails, and returns the exit code of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            ExitCode::from(failure.code as u8)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let given = cli.home;
    match cli.command {
        Command::Init(args) => args.run(&Home::given_or_default(given)?),
        Command::Start(args) => args.run(&Home::find(given)?),
        Command::Testnet(args) => args.run(),
        Command::Keys(args) => args.run(&Home::find(given)?),
        Command::Tx(args) => args.run(&Home::find(given)?),
        Command::Ns(args) => args.run(&Home::find(given)?),
        Command::Kv(args) => args.run(&Home::find(given)?),
        Command::Diff(args) => args.run(&Home::find(given)?),
        Command::Revert(args) => args.run(&Home::find(given)?),
        Command::Proposal(args) => args.run(&Home::find(given)?),
        Command::Stake(args) => args.run(&Home::find(given)?),
        Command::Query(args) => args.run(&Home::find(given)?),
        Command::Genesis(args) => args.run(|| Home::find(given)),
        Command::Export(args) => args.run(&Home::find(given)?),
        Command::Explain(args) => args.run(),
        Command::LogLevel(args) => args.run(&Home::find(given)?),
        #[cfg(feature = "tools")]
        Command::Tool(tool) => tool.run(given),
        Command::Config(args) => args.run(&Home::find(given)?),
        Command::ShowValidator => local::show_validator(&Home::find(given)?),
        Command::ShowNodeId => local::show_node_id(&Home::find(given)?),
        Command::Proof(args) => args.run(&Home::find(given)?),
        Command::Verify(args) => args.run(|| Home::find(given)),
        Command::Backup(args) => args.run(&Home::find(given)?),
        Command::Restore(args) => args.run(&Home::given_or_default(given)?),
        Command::Rewind(args) => args.run(&Home::find(given)?),
        Command::UnsafeResetAll(args) => args.run(&Home::given_or_default(given)?),
        Command::Version(args) => args.run(),
        Command::Completions(args) => args.run(Cli::command()),
        Command::Man(args) => args.run(Cli::command()),
        Command::Manual { of } => {
            let page = match of {
                Manual::Commands => manual(),
                Manual::Config => node::config::manual(),
                Manual::Metrics => node::metrics::manual(),
                Manual::Openapi => rpc::openapi(),
                Manual::Rpc => rpc::manual(),
            };
            output::line(page.trim_end());
            Ok(())
        }
    }
}

/// Returns a Markdown page with the help text of every visible command.
fn manual() -> String {
    let mut page = String::from(
        "# The command line\n\n`cairn manual` generates this page from the program's help; a test checks that both agree.\n",
    );
    let mut command = Cli::command().max_term_width(100).term_width(100).color(clap::ColorChoice::Never);
    command.build();
    describe(&mut command, "cairn", &mut page);
    page
}

/// Appends the help text of `command` and of its visible subcommands to `page`. `path` is the full name of the command.
fn describe(command: &mut clap::Command, path: &str, page: &mut String) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name());
        describe(sub, &path, page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_commands_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_explains_itself() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no summary");
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                assert!(arg.get_help().is_some(), "{path}: {} has no help", arg.get_id());
            }
            for sub in command.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&Cli::command(), "cairn");
    }
}
