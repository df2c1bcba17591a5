//! Commands for one home: create it, run its node, print its ids and configuration, reset it.

use std::{fs, io, io::Read, path::Path, thread};

use clap::{ArgMatches, Args, FromArgMatches};
use files::{Existing, NodeKey, ValidatorKey, load_genesis, signing_state};
use node::{
    config::{self, Section},
    exit::{self, Failure},
    home::Lock,
    logging, os,
    signals::NodeSignals,
    signing,
};
use replica::HaltAt;
use serde_json::json;
use storage::{RocksKv, Store};
use types::{ChainId, Height, KeyType, SignState, Time};

use super::{home::Home, output, prepare, show::Facts};

const INIT_HELP: &str = "\
Examples:
  cairn init                                    in ~/.cairn
  cairn init --home ./mine --chain-id mine-1
  cairn init --key-type ed25519
  cairn start --home ./mine

Writes config/{config.toml,genesis.json,node_key.json,priv_validator_key.json},
data/priv_validator_state.json, and keys/alice.json: the key of an account that owns all the money.
To join another chain, replace genesis.json with that chain's, and add its peers to config.toml.";

/// Write keys, genesis and configuration of a chain with one validator
#[derive(Debug, Args)]
#[command(after_help = INIT_HELP)]
pub struct Init {
    /// Name of the chain [default: test-chain- and six digits]
    #[arg(long, value_name = "ID")]
    chain_id: Option<ChainId>,
    /// Name of the node, for people
    #[arg(long, value_name = "NAME")]
    moniker: Option<String>,
    /// Type of the validator's key: secp256k1, or ed25519, which every CometBFT client supports
    #[arg(long, value_name = "TYPE", default_value_t)]
    key_type: KeyType,
}

impl Init {
    /// Writes the files of a new home and prints what was created.
    ///
    /// Errors: those of [`prepare::single`].
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let genesis = prepare::single(home.path(), self.chain_id, self.moniker, self.key_type)?;
        let mut facts = Facts::default();
        facts.add("home", home.path().display());
        facts.add("chain", genesis.chain_id());
        for account in &genesis.document().accounts {
            facts.add("account", format_args!("{} has {}, address {}", account.name, account.balance, account.address));
        }
        facts.add("start it", format_args!("cairn start --home {}", home.path().display()));
        facts.print();
        Ok(())
    }
}

const LOG_LEVEL_HELP: &str = "\
Examples:
  cairn log-level debug
  cairn log-level 'consensus:debug,p2p:warn,*:info' --home testnet/node2
  docker compose exec node0 cairn log-level info

Levels: trace, debug, info, warn, error, none. Modules: main, consensus, p2p, mempool, rpc, state,
metrics; * means all others. To change the levels permanently, set log_level in config.toml.";

/// Change the log levels of a running node, until its next start
#[derive(Debug, Args)]
#[command(after_help = LOG_LEVEL_HELP)]
pub struct LogLevel {
    /// One level for all modules, or module:level,module:level
    #[arg(value_name = "LEVELS")]
    levels: String,
}

impl LogLevel {
    /// Writes the new log levels to a file and signals the running node to read it.
    ///
    /// Errors: the levels are invalid, the home has no configuration that can be read, no node runs in it, the file
    /// cannot be written, or the node's process cannot be signalled.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let Self { levels } = self;
        logging::parse_levels(&levels).map_err(|reason| Failure::refused(format!("{levels}: {reason}")))?;
        home.must_exist()?;
        let data = config::Config::load(home.path(), &[])?.data_dir();
        let nobody = || {
            let home = home.path().display();
            Failure::refused(format!(
                "no node runs in {home}: give its --home, or set log_level in {home}/config/config.toml"
            ))
        };
        let pid = Lock::holder(&data).ok_or_else(nobody)?;
        let file = logging::levels_file(&data);
        fs::write(&file, &levels).map_err(|error| Failure::file("written", &file, &error))?;
        os::signal_log_levels(pid).map_err(|error| {
            Failure::refused(format!("process {pid} cannot be signalled: {error}; run this as the node's user"))
        })?;
        output::line(format_args!("log levels {levels}, until the node's next start"));
        Ok(())
    }
}

const START_HELP: &str = "\
Examples:
  cairn start --home testnet/node2
  cairn start --log_level debug --rpc.laddr tcp://127.0.0.1:7777
  CAIRN_LOG_LEVEL=consensus:debug,*:info cairn start

Every setting of config.toml is also a flag; `--help` lists them, `-h` does not. A flag overrides
the environment, which overrides the file. Use --signed-up-to if the record of what the key signed
(data/priv_validator_state.json) is lost: a height that is too low makes the validator sign twice.
--halt-height and --halt-time are for changes that all operators make together: all nodes stop after
the same height, because block time is the same everywhere.
Ctrl-C and SIGTERM stop the node cleanly.
Exit codes: 0 stopped as requested, 20 the next height needs another program, 21 this program is too
new for it, 69 port or home in use, 70 broken invariant, 74 disk or store, 76 stopped to avoid
signing twice, 78 configuration, genesis or key file.";

/// Run the node of a home until Ctrl-C or SIGTERM
#[derive(Debug, Args)]
#[command(after_help = START_HELP)]
pub struct Start {
    /// Stop when standard input closes: how `cairn testnet` stops its validators
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
    /// Declare that the validator's key signed nothing above this height: the node then signs nothing up to this
    /// height, and does not wait for the network
    #[arg(long, value_name = "HEIGHT")]
    signed_up_to: Option<u64>,
    /// Stop after this height, once the connected peers have it too, at most 10 seconds later. The node signs and
    /// commits nothing above it
    #[arg(long, value_name = "HEIGHT", value_parser = clap::value_parser!(u64).range(1..))]
    halt_height: Option<u64>,
    /// Stop after the first height with this block time or a later one, as for --halt-height: a time such as
    /// 2026-12-01T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = Time::parse)]
    halt_time: Option<Time>,
    #[command(flatten)]
    settings: Settings,
}

/// Settings that were given as flags, as pairs of the setting's name and its text.
#[derive(Debug, Default)]
struct Settings(Vec<(String, String)>);

/// Returns every setting of the configuration with its name, `section.key`, and its description.
fn settings() -> Vec<(String, config::Key)> {
    fn of<S: Section>(section: &S) -> Vec<(String, config::Key)> {
        let name = |key: &config::Key| match S::NAME {
            "" => key.name.to_owned(),
            section => format!("{section}.{}", key.name),
        };
        section.keys().into_iter().map(|key| (name(&key), key)).collect()
    }
    let config = config::Config::default();
    [
        of(&config.base),
        of(&config.rpc),
        of(&config.p2p),
        of(&config.mempool),
        of(&config.consensus),
        of(&config.blocksync),
        of(&config.storage),
        of(&config.instrumentation),
    ]
    .concat()
}

impl Args for Settings {
    fn augment_args(command: clap::Command) -> clap::Command {
        settings().into_iter().fold(command, |command, (name, key)| {
            // clap requires static strings as names. A process builds this command at most twice, so the leak is small.
            let name: &'static str = Box::leak(name.into_boxed_str());
            let doc: Vec<&str> = key.doc.iter().map(|line| line.trim()).collect();
            let arg = clap::Arg::new(name)
                .long(name)
                .value_name("VALUE")
                .help(format!("{} [default: {}]", doc.join(" "), key.value))
                .help_heading("Settings of config.toml")
                .hide_short_help(true);
            command.arg(match key.value.is_bool() {
                true => arg.num_args(0..=1).default_missing_value("true"),
                false => arg.allow_hyphen_values(true),
            })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |(name, _): (String, config::Key)| {
            let text = matches.get_one::<String>(&name)?.clone();
            Some((name, text))
        };
        Ok(Self(settings().into_iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Start {
    /// Runs the node of the home and returns when it has stopped.
    ///
    /// Errors: signals cannot be handled, the home has no valid configuration, the height of `--signed-up-to` is out of
    /// range or cannot be recorded, or [`node::start::run`] fails. The failure carries the exit code.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let signals = NodeSignals::handle()?;
        home.must_exist().map_err(|failure| Failure::config(failure.sentence))?;
        let mut config = config::Config::load(home.path(), &self.settings.0)?;
        config.halt = HaltAt { height: self.halt_height.map(Height), time: self.halt_time };
        if let Some(height) = self.signed_up_to {
            declare_signed(&config, height)?;
        }
        let until_stdin_closes = self.until_stdin_closes;
        node::start::run(config, &signals, |stopper| {
            if until_stdin_closes {
                when_stdin_closes(move || stopper.stop());
            }
        })?;
        Ok(())
    }
}

/// Records the operator's statement that the validator's key signed nothing above a height.
fn declare_signed(config: &config::Config, height: u64) -> Result<(), Failure> {
    if !(1..=i64::MAX as u64).contains(&height) {
        return Err(Failure::new(
            exit::Code::Usage,
            format!("--signed-up-to {height}: use a height from 1 to {}", i64::MAX),
        ));
    }
    let _lock = Lock::take(&config.data_dir())?;
    let file = config.priv_validator_state_file();
    let known = signing::declare(&file, Height(height))?;
    if known.0 > height {
        output::note(format_args!(
            "{} records that height {known} was signed, which is above --signed-up-to {height}: it stays as it is",
            file.display()
        ));
    }
    Ok(())
}

const CONFIG_HELP: &str = "\
Examples:
  cairn config                         everything, as a config.toml
  cairn config rpc.laddr               one setting, and where it comes from";

/// Print the effective configuration: the file, overridden by the environment
#[derive(Debug, Args)]
#[command(after_help = CONFIG_HELP)]
pub struct Config {
    /// Setting to print, such as rpc.laddr [default: all]
    setting: Option<String>,
}

impl Config {
    /// Prints one setting with its origin, or the whole configuration.
    ///
    /// Errors: the home has no valid configuration, or there is no such setting.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        home.must_exist()?;
        let config = config::Config::load(home.path(), &[])?;
        let Some(name) = self.setting else {
            output::line(config.to_commented_toml().trim_end());
            return Ok(());
        };
        let text = config.to_commented_toml();
        let table: toml::Table = text.parse().expect("a written configuration can be read");
        let value = name.split('.').try_fold(toml::Value::Table(table), |value, key| value.get(key).cloned());
        match value.filter(|value| !value.is_table()) {
            Some(value) => {
                output::line(format_args!("{name} = {value}  # {}", config.origin(&name)));
                Ok(())
            }
            None => Err(Failure::refused(format!("there is no setting {name}: `cairn config` prints all"))),
        }
    }
}

/// Prints the public key of the home's validator in the JSON form of genesis files.
///
/// Errors: the home has no valid configuration, or its key file cannot be read.
pub fn show_validator(home: &Home) -> Result<(), Failure> {
    home.must_exist()?;
    let config = config::Config::load(home.path(), &[])?;
    let key = ValidatorKey::load(&config.priv_validator_key_file())?;
    let public = key.public_key();
    let value = data_encoding::BASE64.encode(public.bytes());
    output::line(json!({ "type": public.key_type().public_tag(), "value": value }));
    Ok(())
}

/// Prints the id by which peers know the home's node.
///
/// Errors: the home has no valid configuration, or its node key file cannot be read or holds no valid key.
pub fn show_node_id(home: &Home) -> Result<(), Failure> {
    home.must_exist()?;
    let config = config::Config::load(home.path(), &[])?;
    output::line(NodeKey::load(&config.node_key_file())?.id());
    Ok(())
}

const RESET_HELP: &str = "\
Examples:
  cairn unsafe-reset-all --home testnet/node2

Removes the database and the learned addresses of peers. Keeps config/, all keys, and the record of
what the validator's key has signed (data/priv_validator_state.json), even if the database is
damaged: a validator without this record may sign twice. The node must not be running. After its
next start it fetches the chain from its peers, from genesis on, and signs again once it has caught
up. The peers must still keep all blocks: a node keeps a week unless storage.keep_all is set. If no
peer keeps them, copy another node's store with `cairn backup`, and `cairn restore` it here.";

/// Delete blocks and state, and start again from genesis; keep keys and the signing record
#[derive(Debug, Args)]
#[command(after_help = RESET_HELP)]
pub struct Reset {
    /// Keep the learned addresses of peers
    #[arg(long)]
    keep_addr_book: bool,
    /// Also delete the record of what the validator's key has signed. Only for a chain that starts again from genesis:
    /// otherwise the validator signs twice
    #[arg(long)]
    forget_what_was_signed: bool,
}

impl Reset {
    /// Removes the store and, unless asked otherwise, the address book. The record of what the key has signed is kept,
    /// unless `--forget-what-was-signed` is given.
    ///
    /// Errors: the home has no valid configuration, its node runs, the signing record exists neither in the database
    /// nor in its file in a form that can be read, or a file cannot be written or removed.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        home.must_exist()?;
        let config = config::Config::load(home.path(), &[])?;
        let _lock = Lock::take(&config.data_dir())?;
        let (store, state_file) = (config.store_dir(), config.priv_validator_state_file());
        let mut facts = Facts::default();
        // The signing record must be on disk before the store, which may hold a newer one, is removed.
        if self.forget_what_was_signed {
            signing_state::save(&SignState::default(), &state_file, Existing::Replace)?;
        } else if store.exists() {
            match keep_what_was_signed(&config) {
                Ok(chain) => add_change_of_chain(&config, chain.as_ref(), &mut facts),
                Err(failure) => {
                    // The file was durable before any signed message left this node, so it suffices without the database if
                    // it records a signature.
                    if !state_file.exists() || signing_state::load(&state_file)?.height == Height::GENESIS {
                        return Err(only_in_database(&failure, &state_file));
                    }
                    let file = state_file.display();
                    facts.add("not read", format_args!("{failure}. {file} has the record of what was signed"));
                }
            }
        }
        remove(&store, |store| fs::remove_dir_all(store))?;
        if !self.keep_addr_book {
            remove(&config.addr_book_file(), |file| fs::remove_file(file))?;
        }
        facts.add("removed", store.display());
        let state = if state_file.exists() { signing_state::load(&state_file)? } else { SignState::default() };
        let kept = match state.height {
            _ if self.forget_what_was_signed => "deleted, as requested".to_owned(),
            Height(0) => "nothing was signed yet".to_owned(),
            height => format!("kept: up to height {height}, round {}, step {}", state.round, state.step),
        };
        facts.add("signing state", kept).print();
        Ok(())
    }
}

fn remove(path: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> Result<(), Failure> {
    match remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::file("removed", path, &error)),
        _ => Ok(()),
    }
}

/// Returns the failure of a reset that would delete the only record of what the key has signed.
fn only_in_database(unreadable: &Failure, state_file: &Path) -> Failure {
    Failure::new(
        exit::Code::Disk,
        format!(
            "{unreadable}. The record of what the validator's key has signed is in this database, and {} does not have it. If \
             the database cannot be repaired, --forget-what-was-signed deletes it nevertheless; then never use this key \
             again on a chain for which it has signed, or start with --signed-up-to",
            state_file.display()
        ),
    )
}

/// Adds what a kept record means if the genesis document is now that of another chain than that of the database.
fn add_change_of_chain(config: &config::Config, chain: Option<&ChainId>, facts: &mut Facts) {
    if let (Some(old), Ok(genesis)) = (chain, load_genesis(&config.genesis_file()))
        && old != genesis.chain_id()
    {
        let new = genesis.chain_id();
        facts.add(
            "other chain",
            format_args!(
                "the database was of {old}, the genesis document is of {new}: on a chain that starts now, the validator signs \
                 nothing up to the height below, unless --forget-what-was-signed is given"
            ),
        );
    }
}

/// Copies the signing record of the database to the state file that accompanies the key, and returns the chain of the
/// database; `None` if it holds no chain yet.
///
/// Errors: the database or the state file cannot be read, or the state file cannot be written. Without the database, what
/// the key has signed last may be unknown.
fn keep_what_was_signed(config: &config::Config) -> Result<Option<ChainId>, Failure> {
    let kv = RocksKv::open(&config.store_dir())?;
    let Some(chain_id) = storage::chain_of(&kv)? else { return Ok(None) };
    let store = Store::open(kv, &chain_id)?;
    let file = config.priv_validator_state_file();
    if let Some(signed) = store.hard_state()? {
        signing::save_state(&file, &signed, &chain_id)?;
    }
    let height = store.signing_floor();
    let written = if file.exists() { signing_state::load(&file)?.height } else { Height::GENESIS };
    if height > Height::GENESIS && height >= written {
        signing::declare(&file, height)?;
    }
    Ok(Some(chain_id))
}

/// Print the program's version
#[derive(Debug, Args)]
pub struct Version {
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Version {
    /// Prints the version, the commit, and the protocol versions of this program.
    ///
    /// Errors: never; commands share this signature.
    pub fn run(self) -> Result<(), Failure> {
        let version = env!("CARGO_PKG_VERSION");
        // The build script sets this variable if it finds the commit.
        let commit = option_env!("CAIRN_COMMIT");
        let (block, app) = (types::BLOCK_PROTOCOL, types::Params::default().version_app);
        if self.json {
            output::json(&json!({
                "name": "cairn",
                "version": version,
                "commit": commit,
                "protocol": { "block": block.to_string(), "app": app.to_string() },
            }));
        } else {
            let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
            output::line(format_args!("cairn {version}{commit}, block protocol {block}, app version {app}"));
        }
        Ok(())
    }
}

/// Calls `then` on a separate thread when standard input closes or cannot be read.
fn when_stdin_closes(then: impl FnOnce() + Send + 'static) {
    let wait = move || {
        let mut bytes = [0; 64];
        let mut stdin = io::stdin().lock();
        while matches!(stdin.read(&mut bytes), Ok(1..)) {}
        then();
    };
    thread::Builder::new().name("stdin".to_owned()).spawn(wait).expect("a thread can be started");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    fn parse(args: &[&str]) -> Vec<(String, String)> {
        let command = Settings::augment_args(Command::new("start").no_binary_name(true));
        Settings::from_arg_matches(&command.get_matches_from(args)).unwrap().0
    }

    #[test]
    fn every_setting_is_a_flag() {
        let names: Vec<String> = settings().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, config::Config::known_keys());
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        assert_eq!(parse(&["--rpc.laddr", "tcp://127.0.0.1:1"]), own(&[("rpc.laddr", "tcp://127.0.0.1:1")]));
        assert_eq!(parse(&["--p2p.pex", "--log_level=debug"]), own(&[("log_level", "debug"), ("p2p.pex", "true")]));
        assert_eq!(parse(&["--p2p.pex=false"]), own(&[("p2p.pex", "false")]));
        assert!(parse(&[]).is_empty());
    }
}
