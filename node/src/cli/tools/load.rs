//! `cairn load` sends transactions to validators and measures throughput and latency.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::{Args, ValueEnum};
use client::DEFAULT_NODE;
use load::{Arrivals, LoadError, Mode, Node, Order, Plan};
use node::{exit::Failure, os};

use super::{meter::Meter, report};
use crate::cli::{
    args::duration,
    home::{Home, reachable},
    keyring::{KeyName, Keyring},
    output, prepare, signals,
};

const HELP: &str = "\
Examples:
  cairn load                                            500 tx/s for 30 s, on the testnet here
  cairn load --rate 2000 --duration 60s --plots ./plots
  cairn load --mode closed                              finds the highest throughput
  cairn load --mode sweep --rates 250..4000/9 --json sweep.json --plots ./plots
  cairn load --rate 200 --invalid-share 0.1             10 % invalid transactions
  cairn load --rate 50 --duration 0                     until Ctrl-C
  cairn load --nodes http://10.0.0.1:26657,http://10.0.0.2:26657 --fund-from alice

Modes. open: transactions are due at a fixed rate, however fast the validators are; the latency of a
transaction begins when it was due, and ends when every validator has committed it. closed: a fixed
number of transactions is in flight at any time, more from stage to stage, until throughput no
longer grows. sweep: mode open at one rate after the other, until the validators cannot sustain one.
Each stage measures for --duration, after --warm-up.

The senders' keys are derived from the chain's name, so anyone can spend their money: use them on
testnets only, or set --sender-seed. Senders without money are funded once, from --fund-from.

By nonce (the default), transactions are signed before the load and stored in --file, and each
sender's transactions go to one node in order. Unordered transactions expire within minutes and are
signed during the load, which costs processor time; a lost one does not delay others, so a load
without end uses them.

The display shows the tx/s that are due and that are committed everywhere, the latencies of the last
seconds, and the number of transactions that wait.";

/// Default rate of mode open, in transactions per second.
const RATE: f64 = 500.0;
/// Default rates of a sweep, in transactions per second.
const RATES: &str = "125..8000/13";
/// Maximum number of rates in a sweep.
const RATES_MAX: usize = 100;
/// Default number of rates in a range without a count.
const RANGE_RATES: usize = 8;

/// Put load on validators, and measure throughput and latency
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Load {
    /// RPC addresses of the validators [default: the home's; if it is in a testnet's folder, those of the whole
    /// testnet]
    #[arg(long, env = "CAIRN_LOAD_NODES", hide_env_values = true, value_name = "URL,URL,...", value_delimiter = ',')]
    nodes: Vec<String>,
    /// Addresses of the validators' metrics, in the same order, to report their processor time
    #[arg(long, value_name = "URL,URL,...", value_delimiter = ',', requires = "nodes")]
    metrics: Vec<String>,
    /// How the load is generated, see below
    #[arg(long, value_enum, default_value_t = ModeName::Open)]
    mode: ModeName,
    /// Transactions per second in mode open [default: 500]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Rates of mode sweep in transactions per second: a list such as 500,1000,2000, or a range such as 500..8000/9,
    /// which means 9 rates from 500 to 8000 with a constant factor between them [default: 125..8000/13]
    #[arg(long, value_name = "RATES", value_parser = rates)]
    rates: Option<Rates>,
    /// Measurement time of each stage; 0: until Ctrl-C [default: 30s; closed and sweep: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Time under load before the measurement
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2s")]
    warm_up: Duration,
    /// Time under load after the measurement, so that the last measured transactions are also under load
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    cool_down: Duration,
    /// Arrival of the transactions: at constant intervals, or random (a Poisson process) as from many independent users
    #[arg(long, value_enum, default_value_t = ArrivalsName::Constant)]
    arrivals: ArrivalsName,
    /// Time after which a transaction that is not committed by all validators counts as failed
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    timeout: Duration,
    /// Number of accounts that send, in turn; at most as many as there are transactions are used
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    senders: u32,
    /// Text from which the senders' keys are derived; anyone who knows it can spend their money
    #[arg(long, value_name = "TEXT", env = "CAIRN_LOAD_SENDER_SEED", hide_env_values = true)]
    sender_seed: Option<String>,
    /// Key of the account that funds senders without money [default in a testnet's folder: alice]
    #[arg(long, value_name = "NAME")]
    fund_from: Option<KeyName>,
    /// Share of invalid transactions, which the validators have to refuse: bad signatures, wrong nonces, unaffordable,
    /// of another chain, expired, garbage
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    invalid_share: f64,
    /// Order of a sender's transactions: by nonce, signed before the load; or unordered, signed during the load
    /// [default: nonce; with --duration 0: unordered]
    #[arg(long, value_enum)]
    order: Option<OrderName>,
    /// Fee of each transaction [default: the chain's minimum fee]
    #[arg(long, value_name = "N")]
    fee: Option<u64>,
    /// Seed of the random numbers, for arrivals and garbage
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Maximum number of transactions in one request; the nodes must allow as many (rpc.max_request_batch_size)
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: usize,
    /// Number of connections to each node
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: usize,
    /// File of the signed transactions; a later run reuses those that fit [default: load.txs beside the testnet's keys,
    /// else in the home]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write the report as JSON to this file; with -, to standard output, which then has nothing else
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
    /// Folder for charts (SVG): throughput and latency over time, and over the offered load
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Print new lines instead of updating one line
    #[arg(long)]
    no_view: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeName {
    Open,
    Closed,
    Sweep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ArrivalsName {
    Constant,
    Poisson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OrderName {
    Nonce,
    Unordered,
}

/// The rates of a sweep in transactions per second, in ascending order.
#[derive(Clone, Debug, PartialEq)]
struct Rates(Vec<f64>);

/// Parses the rates of a sweep: a list such as `500,1000`, or a range such as `500..8000/9`.
fn rates(text: &str) -> Result<Rates, String> {
    let usage = || "use growing numbers such as 500,1000,2000, or a range such as 500..8000/9".to_owned();
    let number =
        |text: &str| text.trim().parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0).ok_or_else(usage);
    let rates = match text.split_once("..") {
        None => text.split(',').map(number).collect::<Result<Vec<f64>, String>>()?,
        Some((from, rest)) => {
            let (to, count) = rest.split_once('/').unwrap_or((rest, ""));
            let count = if count.is_empty() { Ok(RANGE_RATES) } else { count.parse().map_err(|_| usage()) }?;
            let (from, to) = (number(from)?, number(to)?);
            if !(2..=RATES_MAX).contains(&count) || from >= to {
                return Err(usage());
            }
            let factor = (to / from).powf(1.0 / (count - 1) as f64);
            // Rates are rounded to whole numbers, which are easier to read in reports.
            (0..count).map(|index| (from * factor.powi(index as i32)).round().max(1.0)).collect()
        }
    };
    if rates.len() > RATES_MAX || !rates.is_sorted() {
        return Err(usage());
    }
    Ok(Rates(rates))
}

impl Load {
    /// Runs the load, and prints and writes its report.
    ///
    /// Errors: the arguments contradict each other, a key or a node's configuration cannot be read, an output file
    /// cannot be written, signals cannot be handled, or the load fails.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let plan = self.plan(home)?;
        // The outputs are checked before minutes of load, and not after them.
        if let Some(folder) = &self.plots {
            fs::create_dir_all(folder).map_err(|error| Failure::file("created", folder, &error))?;
        }
        let to_stdout = self.json.as_deref() == Some("-");
        report::check(self.json.as_deref())?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        signals::on_each(move |count| {
            stopping.store(true, Ordering::Relaxed);
            if count > 1 {
                std::process::exit(130); // the second signal ends the process at once, without a report
            }
        })?;
        // The threads of the load wait most of the time, and must wake on time on a machine whose validators compute.
        os::prefer_latency();
        let mut meter = Meter::new(self.no_view, to_stdout);
        let result = load::run(&plan, &mut meter, &stop);
        meter.end();
        let report = result.map_err(failed)?;
        if !to_stdout {
            report.lines().iter().for_each(output::line);
        }
        if let Some(path) = &self.json {
            report::write(path, &report)?;
        }
        if let Some(folder) = &self.plots {
            let files = load::plot(&report, folder).map_err(|error| Failure::refused(error.to_string()))?;
            if !to_stdout {
                files.iter().for_each(|file| output::line(format_args!("plot         {}", file.display())));
            }
        }
        Ok(())
    }

    fn plan(&self, home: &Home) -> Result<Plan, Failure> {
        let testnet = Testnet::of(home);
        let mode = match self.mode {
            ModeName::Open => Mode::Open { rate: self.rate.unwrap_or(RATE) },
            ModeName::Closed => Mode::Closed,
            ModeName::Sweep => {
                let default = || rates(RATES).expect("the default is a range");
                Mode::Sweep { rates: self.rates.clone().unwrap_or_else(default).0 }
            }
        };
        let of_other_mode = match self.mode {
            _ if self.rate.is_some() && self.mode != ModeName::Open => Some("--rate is only for --mode open"),
            _ if self.rates.is_some() && self.mode != ModeName::Sweep => Some("--rates is only for --mode sweep"),
            _ => None,
        };
        if let Some(what) = of_other_mode {
            return Err(Failure::refused(format!("{what}: leave it out, or choose that mode")));
        }
        let usual = Duration::from_secs(if self.mode == ModeName::Open { 30 } else { 10 });
        let duration = Some(self.duration.unwrap_or(usual)).filter(|duration| !duration.is_zero());
        let order = match (self.order, duration) {
            (Some(OrderName::Nonce), _) | (None, Some(_)) => Order::Nonce,
            (Some(OrderName::Unordered), _) | (None, None) => Order::Unordered,
        };
        if !(0.0..=1.0).contains(&self.invalid_share) {
            return Err(Failure::refused(format!("--invalid-share is {}: use 0 to 1", self.invalid_share)));
        }
        let file = match &self.file {
            Some(file) => file.clone(),
            None => testnet
                .as_ref()
                .map_or_else(|| home.path().to_owned(), |testnet| testnet.folder.clone())
                .join("load.txs"),
        };
        let mut plan = Plan::new(self.nodes(home, testnet.as_ref())?, mode, usual, file);
        plan.duration = duration;
        plan.warm_up = self.warm_up;
        plan.cool_down = self.cool_down;
        plan.timeout = self.timeout;
        plan.arrivals = match self.arrivals {
            ArrivalsName::Constant => Arrivals::Constant,
            ArrivalsName::Poisson => Arrivals::Poisson,
        };
        plan.senders = self.senders;
        plan.sender_seed = self.sender_seed.clone();
        plan.order = order;
        plan.invalid_ppm = (self.invalid_share * 1e6).round() as u32;
        plan.fee = self.fee;
        plan.seed = self.seed;
        plan.batch = self.batch;
        plan.connections = self.connections;
        plan.funder = self.funder(home, testnet.is_some())?;
        Ok(plan)
    }

    /// Returns the key of the account that funds the senders: the named one, else alice in a testnet's folder.
    fn funder(&self, home: &Home, is_testnet: bool) -> Result<Option<types::SecretKey>, Failure> {
        let keyring = Keyring::of(home);
        if let Some(name) = &self.fund_from {
            return Ok(Some(keyring.get(name)?.secret));
        }
        // Only the money of a testnet is spent without an explicit request.
        let alice: KeyName = "alice".parse().expect("alice is a name");
        let is_there = is_testnet && self.nodes.is_empty() && keyring.file(&alice).exists();
        Ok(if is_there { Some(keyring.get(&alice)?.secret) } else { None })
    }

    /// Returns the nodes to load: the named ones, else all nodes of the testnet, else the home's node.
    fn nodes(&self, home: &Home, testnet: Option<&Testnet>) -> Result<Vec<Node>, Failure> {
        if !self.nodes.is_empty() {
            if !self.metrics.is_empty() && self.metrics.len() != self.nodes.len() {
                let (metrics, nodes) = (self.metrics.len(), self.nodes.len());
                return Err(Failure::refused(format!(
                    "--metrics has {metrics} addresses, but --nodes has {nodes}: give one for each node, in the same order"
                )));
            }
            let metrics = |index: usize| self.metrics.get(index).map(|url| url.trim_end_matches("/metrics").to_owned());
            let node = |(index, url): (usize, &String)| Node { rpc: url.clone(), metrics: metrics(index) };
            return Ok(self.nodes.iter().enumerate().map(node).collect());
        }
        if let Some(testnet) = testnet {
            return Ok(testnet.nodes.clone());
        }
        let rpc = home.rpc_address()?.unwrap_or_else(|| DEFAULT_NODE.to_owned());
        Ok(vec![Node { rpc, metrics: None }])
    }
}

/// The testnet that a home belongs to.
struct Testnet {
    folder: PathBuf,
    nodes: Vec<Node>,
}

impl Testnet {
    /// Returns the testnet of a home, or `None` if the home is not in the folder of a testnet.
    fn of(home: &Home) -> Option<Self> {
        let path = std::path::absolute(home.path()).ok()?;
        let name = path.file_name()?.to_str()?;
        let folder = path.parent()?;
        if !name.starts_with("node") || !folder.join("keys").is_dir() {
            return None;
        }
        let nodes: Vec<Node> = prepare::homes(folder).iter().filter_map(|home| node(home)).collect();
        // Messages and files use the path as the user typed it, and not the absolute one.
        let folder = home.path().parent().unwrap_or(folder).to_owned();
        (!nodes.is_empty()).then_some(Self { folder, nodes })
    }
}

/// Returns the addresses of a testnet's node, or `None` if its configuration cannot be read or its RPC is off.
fn node(home: &Path) -> Option<Node> {
    let config = prepare::load(home).ok()?;
    let metrics = config.instrumentation.prometheus.then(|| reachable(&config.instrumentation.prometheus_listen_addr));
    (!config.rpc.laddr.is_empty()).then(|| Node { rpc: reachable(&config.rpc.laddr), metrics })
}

/// Returns the failure of a command whose load failed. Each field of the plan is a flag of the same name.
pub fn failed(error: LoadError) -> Failure {
    Failure::refused(match error {
        LoadError::Plan { field, reason } => format!("--{}: {reason}", field.replace('_', "-")),
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_list_or_a_range() {
        assert_eq!(rates("500,1000, 2000").unwrap().0, [500.0, 1000.0, 2000.0]);
        assert_eq!(rates("0.5").unwrap().0, [0.5]);
        assert_eq!(rates("500..8000/5").unwrap().0, [500.0, 1000.0, 2000.0, 4000.0, 8000.0]);
        assert_eq!(rates("100..200").unwrap().0.len(), RANGE_RATES);
        assert_eq!(rates(RATES).unwrap().0.last(), Some(&8000.0));
        for bad in ["", "x", "2,1", "-1", "0", "NaN", "inf", "500..", "500..400/3", "1..2/1", "1..2/1000", "1..2/x"] {
            assert!(rates(bad).unwrap_err().contains("500..8000/9"), "{bad}");
        }
    }

    #[test]
    fn a_plans_error_names_the_flag() {
        let error = LoadError::Plan { field: "invalid_share", reason: "2 is out of range: use 0 to 1".into() };
        assert_eq!(failed(error).to_string(), "--invalid-share: 2 is out of range: use 0 to 1");
    }

    #[test]
    fn a_testnets_home_means_all_its_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("t");
        let wanted = prepare::Wanted {
            dir: folder.clone(),
            validators: Some(3),
            chain_id: None,
            base_port: Some(31_000),
            empty_block_interval: None,
            hostname_prefix: None,
            key_type: None,
        };
        prepare::testnet(&wanted).unwrap();
        let testnet = Testnet::of(&Home::find(Some(folder.join("node1"))).unwrap()).unwrap();
        let expected = |index: u16| Node {
            rpc: format!("http://127.0.0.1:{}", 31_001 + 10 * index),
            metrics: Some(format!("http://127.0.0.1:{}", 31_004 + 10 * index)),
        };
        assert_eq!(testnet.nodes, [expected(0), expected(1), expected(2)]);
        assert_eq!(testnet.folder, folder);
        assert!(Testnet::of(&Home::find(Some(dir.path().join("mine"))).unwrap()).is_none());
    }
}
