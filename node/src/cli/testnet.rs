//! `cairn testnet` runs several validators on this machine, each in its own process, and displays their state.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use clap::Args;
use node::{
    config::{Config, duration_text, parse_duration},
    exit::{self, Failure},
};
use types::{ChainId, KeyType};

use super::{
    children::{self, Validator},
    compose,
    home::reachable,
    output,
    prepare::{self, Prepared, Wanted},
    show, signals,
    view::{Condition, Picture, Row, Screen},
    watch::{self, Look},
};

const HELP: &str = "\
Examples:
  cairn testnet                                         four validators in ./testnet
  cairn testnet --validators 7 --dir ./seven            seven; each uses the next ten ports
  cairn testnet --validators 7 --dir ./seven --init-only
  cairn testnet --validators 7 --dir ./seven --compose  writes ./seven/docker-compose.yml
  cairn testnet --hostname-prefix node --init-only      for machines named node0, node1, ...
  cairn testnet --dir ./fast --base-port 30000 --empty-block-interval 0s

Files: DIR/nodeN is a node's home, DIR/nodeN/cairn.log its log; DIR/keys has the keys of the funded
accounts alice, bob and carol, and of validator-0, validator-1, ..., which vote for the validators;
DIR/prometheus/targets.json lists the scrape targets for Prometheus. Existing files are never overwritten: the next run continues from the same height. `rm -r DIR`
deletes the testnet.
Ports of validator i: peers 26656 (TCP, and QUIC over UDP), RPC 26657, metrics 26660, plus 10*i.
Ctrl-C or SIGTERM stops all. A validator that stops by itself is not restarted:
`cairn start --home DIR/nodeN` starts it again.";

/// Time that validators have for a clean stop before they are killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Interval between two checks of the processes, each followed by an update of the display.
const TICK: Duration = Duration::from_millis(500);
/// Number of consecutive observations without an answer after which a validator that answered before counts as silent.
const SILENT_AFTER: u32 = 3;

/// Run several validators on this machine, with a live view
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Testnet {
    /// Number of validators [default: 4, or as many as DIR has]
    #[arg(long, alias = "v", value_name = "N")]
    validators: Option<usize>,
    /// Folder of the testnet
    #[arg(long, alias = "o", value_name = "DIR", default_value = "./testnet")]
    dir: PathBuf,
    /// Write the files if they do not exist, and start no validator
    #[arg(long)]
    init_only: bool,
    /// First port; validator i uses this port + 10*i and some above it [default: 26656]
    #[arg(long, alias = "starting-port", value_name = "PORT")]
    base_port: Option<u16>,
    /// Name of the chain [default: cairn-testnet]
    #[arg(long, value_name = "ID")]
    chain_id: Option<ChainId>,
    /// Type of the validators' keys: secp256k1, or ed25519, which every CometBFT client supports [default: secp256k1]
    #[arg(long, value_name = "TYPE")]
    key_type: Option<KeyType>,
    /// Time without transactions after which an empty block is made: 1s, 0s (at once), off [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    empty_block_interval: Option<Interval>,
    /// Write each node's files for its own machine, named PREFIX0, PREFIX1, ...: all nodes use the default ports and
    /// listen on every address. Needs --init-only
    #[arg(long, value_name = "PREFIX", requires = "init_only")]
    hostname_prefix: Option<String>,
    /// Only write DIR/docker-compose.yml, which starts the validators in containers with Prometheus and Grafana. Run
    /// this in the folder of Cairn's sources
    #[arg(long, conflicts_with_all = ["init_only", "base_port", "no_view"])]
    compose: bool,
    /// Print lines instead of drawing the view
    #[arg(long)]
    no_view: bool,
}

/// A duration, or `None` for `off`.
#[derive(Clone, Copy, Debug)]
struct Interval(Option<Duration>);

fn interval(text: &str) -> Result<Interval, String> {
    match text {
        "off" => Ok(Interval(None)),
        text => parse_duration(text)
            .map(|duration| Interval(Some(duration)))
            .ok_or_else(|| "use a duration such as 500ms, 1s or 0s, or off".to_owned()),
    }
}

/// An event for the main thread of the testnet.
enum Event {
    Look(Look),
    Stop,
}

impl From<Look> for Event {
    fn from(look: Look) -> Self {
        Self::Look(look)
    }
}

impl Testnet {
    /// Prepares the testnet and, unless asked only for files, runs it and returns when all validators have stopped.
    ///
    /// Errors: those of [`prepare::testnet`] and [`compose::write`], a port is in use, signals cannot be handled, a
    /// validator's process cannot be started, or all validators end before one of them has answered.
    pub fn run(self) -> Result<(), Failure> {
        if self.compose {
            return self.write_compose();
        }
        let wanted = Wanted {
            dir: self.dir.clone(),
            validators: self.validators,
            chain_id: self.chain_id.clone(),
            base_port: self.base_port,
            empty_block_interval: self.empty_block_interval.map(|interval| interval.0),
            hostname_prefix: self.hostname_prefix.clone(),
            key_type: self.key_type,
        };
        let prepared = prepare::testnet(&wanted)?;
        if self.init_only {
            describe(&self.dir, &prepared);
            return Ok(());
        }
        if prepare::on_machines_of_their_own(&prepared.nodes) {
            return Err(Failure::refused(format!(
                "the nodes in {0} are for machines of their own, and would all use the same ports here: start each with `cairn \
                 start --home {0}/nodeN` on its machine, or create another testnet with --dir",
                self.dir.display()
            )));
        }
        ports_are_free(&prepared)?;
        let (to, events) = mpsc::channel();
        let hurry = Arc::new(AtomicBool::new(false));
        let (to_stop, hurried) = (to.clone(), hurry.clone());
        signals::on_each(move |count| {
            hurried.store(count > 1, Ordering::Relaxed); // from the second signal on, validators are killed
            let _ = to_stop.send(Event::Stop); // fails only if the testnet is stopping already
        })?;
        let program = std::env::current_exe().map_err(|error| {
            Failure::refused(format!("the path of this program's own file cannot be determined: {error}"))
        })?;
        let mut running = Running::start(&program, &self.dir, &prepared, &to)?;
        let result = running.watch(&events, Screen::new(self.no_view));
        running.stop(|| hurry.load(Ordering::Relaxed));
        result
    }

    fn write_compose(&self) -> Result<(), Failure> {
        let mut arguments = Vec::new();
        if let Some(chain_id) = &self.chain_id {
            arguments.extend(["--chain-id".to_owned(), chain_id.to_string()]);
        }
        if let Some(key_type) = self.key_type {
            arguments.extend(["--key-type".to_owned(), key_type.to_string()]);
        }
        if let Some(Interval(interval)) = self.empty_block_interval {
            let text = interval.map_or_else(|| "off".to_owned(), duration_text);
            arguments.extend(["--empty-block-interval".to_owned(), text]);
        }
        let validators = self.validators.unwrap_or(prepare::VALIDATORS);
        let file = compose::write(&compose::Wanted { dir: self.dir.clone(), validators, arguments })?;
        let (file, count) = (file.display(), show::count(validators as u64, "validator"));
        output::line(format_args!("{count}, Prometheus and Grafana: {file}"));
        output::line(format_args!("start them with: docker compose -f {file} up"));
        Ok(())
    }
}

/// Prints the result of `--init-only`, and how to start the validators.
fn describe(dir: &Path, prepared: &Prepared) {
    let dir = dir.display();
    let count = prepared.nodes.len();
    let written = if prepared.is_new { "written" } else { "there already, nothing was changed" };
    output::line(format_args!("{count} validators of chain {} in {dir}: {written}", prepared.genesis.chain_id()));
    if prepare::on_machines_of_their_own(&prepared.nodes) {
        output::line(format_args!("start each on its machine: cairn start --home {dir}/node0"));
    } else {
        output::line(format_args!("start them all with: cairn testnet --dir {dir}"));
        output::line(format_args!("or each by itself:   cairn start --home {dir}/node0"));
    }
}

/// Checks that the validators can listen at all their addresses.
///
/// Errors: an address is in use or cannot be bound; the failure names the address, its use and the remedies.
fn ports_are_free(prepared: &Prepared) -> Result<(), Failure> {
    for (index, node) in prepared.nodes.iter().enumerate() {
        let uses = [
            ("peers", &node.p2p.laddr, node.p2p.quic),
            ("RPC", &node.rpc.laddr, false),
            ("metrics", &node.instrumentation.prometheus_listen_addr, false),
        ];
        for (what, address, udp) in uses {
            let text = address.trim_start_matches("tcp://");
            let text = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
            let Ok(socket) = text.parse::<SocketAddr>() else { continue };
            if let Err(error) = is_free(socket, udp) {
                let name = prepare::node_name(index);
                return Err(Failure::new(
                    exit::Code::InUse,
                    format!(
                        "{name} cannot listen at {text} ({what}): {error}. If this or another testnet is running, stop it, or \
                         create one with other ports: cairn testnet --dir ./other --base-port 30000"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Checks that this process can listen at an address, over TCP and, if `udp` is true, also over UDP.
///
/// Errors: the address is in use, or cannot be bound for another reason.
pub fn is_free(address: SocketAddr, udp: bool) -> std::io::Result<()> {
    TcpListener::bind(address)?;
    if udp {
        UdpSocket::bind(address)?;
    }
    Ok(())
}

/// The running processes of a testnet, and their observed state.
struct Running {
    validators: Vec<Validator>,
    picture: Picture,
    /// Number of observations without an answer since the last answer, for each validator.
    unanswered: Vec<u32>,
    /// True if any validator has answered at least once.
    answered: bool,
}

impl Running {
    /// Starts the processes of all validators, and the threads that observe them.
    fn start(program: &Path, dir: &Path, prepared: &Prepared, to: &Sender<Event>) -> Result<Self, Failure> {
        let command = command_name(program);
        let mut running = Self {
            validators: Vec::new(),
            picture: picture(dir, prepared, &command),
            unanswered: vec![0; prepared.nodes.len()],
            answered: false,
        };
        for (index, node) in prepared.nodes.iter().enumerate() {
            running.validators.push(Validator::start(program, &prepare::node_name(index), &node.home)?);
        }
        for (index, node) in prepared.nodes.iter().enumerate() {
            if !node.rpc.laddr.is_empty() {
                let metrics = metrics_address(node);
                watch::spawn(index, &reachable(&node.rpc.laddr), metrics, to.clone())?;
            }
        }
        Ok(running)
    }

    /// Shows the state of the validators until a stop is requested.
    ///
    /// Errors: all validators ended before any of them had answered.
    fn watch(&mut self, events: &Receiver<Event>, mut screen: Screen) -> Result<(), Failure> {
        screen.introduce(&self.picture);
        let mut tick = Instant::now();
        loop {
            match events.recv_timeout(tick.saturating_duration_since(Instant::now())) {
                Ok(Event::Look(look)) => {
                    self.take(look);
                    continue;
                }
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => tick = Instant::now() + TICK,
            }
            self.look_after_processes();
            screen.show(&self.picture);
            if !self.answered && self.validators.iter_mut().all(|one| one.ended().is_some()) {
                return Err(self.none_started());
            }
        }
    }

    fn take(&mut self, look: Look) {
        let (row, unanswered) = (&mut self.picture.rows[look.index], &mut self.unanswered[look.index]);
        match look.seen {
            Some(seen) => {
                (*unanswered, self.answered) = (0, true);
                // An answer counts even if the process of this testnet has ended: the validator was then started by
                // hand.
                row.condition = Condition::Up(seen);
            }
            None => {
                *unanswered = unanswered.saturating_add(1);
                if matches!(row.condition, Condition::Up(_)) && *unanswered >= SILENT_AFTER {
                    row.condition = Condition::Silent;
                }
            }
        }
    }

    /// Marks the validators whose processes have ended as down, unless they still answer.
    fn look_after_processes(&mut self) {
        for (index, validator) in self.validators.iter_mut().enumerate() {
            let row = &mut self.picture.rows[index];
            let answers = matches!(row.condition, Condition::Up(_)) && self.unanswered[index] == 0;
            if answers || matches!(row.condition, Condition::Down { .. }) {
                continue;
            }
            if let Some(status) = validator.ended() {
                // A process that was killed by a signal had no time to log the reason.
                let log = if status.code().is_some() { validator.last_words() } else { String::new() };
                row.condition = Condition::Down { how: children::how(status), log };
            }
        }
    }

    fn none_started(&mut self) -> Failure {
        let first = &mut self.validators[0];
        let code = first.ended().and_then(|status| status.code());
        let sentence = format!(
            "no validator started. {} says: {} (its log is {})",
            first.name,
            first.last_words().trim_start_matches("error: "),
            children::log_file(&first.home).display()
        );
        let in_use = code == Some(i32::from(exit::Code::InUse as u8));
        Failure::new(if in_use { exit::Code::InUse } else { exit::Code::Refused }, sentence)
    }

    /// Stops all validators and prints which of them were killed or still run because they were started by hand.
    fn stop(mut self, hurry: impl Fn() -> bool) {
        let started_by_hand: Vec<String> = self
            .validators
            .iter_mut()
            .zip(&self.picture.rows)
            .filter_map(|(one, row)| {
                let is_up = matches!(row.condition, Condition::Up(_));
                (one.ended().is_some() && is_up).then(|| one.name.clone())
            })
            .collect();
        let running = self.validators.iter_mut().filter_map(|one| one.ended().is_none().then_some(())).count();
        output::line(format_args!("stopping {}", show::count(running as u64, "validator")));
        let killed = children::stop(&mut self.validators, STOP_TIME_MAX, hurry);
        if killed.is_empty() {
            output::line("all stopped cleanly");
        } else {
            output::line(format_args!("did not stop in time and was killed: {}", killed.join(", ")));
        }
        if !started_by_hand.is_empty() {
            output::line(format_args!("started by hand and still running: {}", started_by_hand.join(", ")));
        }
    }
}

fn metrics_address(node: &Config) -> Option<String> {
    let on = node.instrumentation.prometheus;
    on.then(|| reachable(&node.instrumentation.prometheus_listen_addr))
}

fn picture(dir: &Path, prepared: &Prepared, command: &str) -> Picture {
    let short = dir.strip_prefix("./").unwrap_or(dir).display().to_string();
    let rows = (0..prepared.nodes.len()).map(|index| {
        let name = prepare::node_name(index);
        let restart = format!("{command} start --home {short}/{name}");
        Row { name, condition: Condition::Starting, restart }
    });
    let ports = |address: &dyn Fn(&Config) -> Option<String>| {
        let addresses: Vec<String> = prepared.nodes.iter().filter_map(address).collect();
        let Some((first, others)) = addresses.split_first() else { return "off".to_owned() };
        let port = |address: &String| {
            let port = address.rsplit(':').next().unwrap_or_default();
            port.split('/').next().unwrap_or_default().to_owned()
        };
        let others: Vec<String> = others.iter().map(port).collect();
        if others.is_empty() { first.clone() } else { format!("{first}  and ports {}", others.join(", ")) }
    };
    let home = if short == "testnet" { String::new() } else { format!(" --home {short}/node0") };
    let mut footer = vec![
        format!("RPC       {}", ports(&|node| Some(reachable(&node.rpc.laddr)))),
        format!("metrics   {}", ports(&|node| Some(format!("{}/metrics", metrics_address(node)?)))),
    ];
    let accounts = &prepared.genesis.document().accounts;
    if let Some(account) = accounts.first() {
        footer.push(format!("account   {} {} began with {}", account.name, account.address, account.balance));
    }
    if let [from, to, ..] = &accounts[..] {
        footer.push(format!("try       {command} tx send{home} --from {} --to {} --amount 5", from.name, to.name));
    }
    let count = prepared.nodes.len();
    footer.push(format!(
        "Ctrl-C    stops {}; logs are in {short}/node*/cairn.log",
        if count == 1 { "it" } else { "all" }
    ));
    Picture {
        title: format!("chain {}, {} in {short}", prepared.genesis.chain_id(), show::count(count as u64, "validator")),
        rows: rows.collect(),
        footer,
    }
}

/// Returns the command with which a user runs this program here: `cairn` if the search path leads to this file, else
/// its path.
fn command_name(program: &Path) -> String {
    let same =
        |found: PathBuf| found.canonicalize().is_ok_and(|found| program.canonicalize().is_ok_and(|own| own == found));
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).find(|dir| dir.join("cairn").is_file()).is_some_and(|dir| same(dir.join("cairn"))) {
        return "cairn".to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    program.strip_prefix(here).unwrap_or(program).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_block_intervals_are_durations_or_off() {
        assert_eq!(interval("off").unwrap().0, None);
        assert_eq!(interval("0s").unwrap().0, Some(Duration::ZERO));
        assert!(interval("soon").is_err());
    }

    #[test]
    fn a_port_in_use_is_named_with_its_use() {
        let dir = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let wanted = Wanted {
            dir: dir.path().join("t"),
            validators: Some(1),
            chain_id: None,
            base_port: None,
            empty_block_interval: None,
            hostname_prefix: None,
            key_type: None,
        };
        let mut prepared = prepare::testnet(&wanted).unwrap();
        let any = "127.0.0.1:0".to_owned();
        prepared.nodes[0].p2p.laddr = any.clone();
        prepared.nodes[0].instrumentation.prometheus_listen_addr = any;
        prepared.nodes[0].rpc.laddr = format!("tcp://{}", taken.local_addr().unwrap());
        let error = ports_are_free(&prepared).unwrap_err().to_string();
        assert!(error.contains("(RPC)") && error.contains("--base-port"), "{error}");
        drop(taken);
        ports_are_free(&prepared).unwrap();
    }
}
