//! The parameters of a load run.

use std::{path::PathBuf, sync::Arc, time::Duration};

use client::{Client, NodeAddress};
use types::SecretKey;

use crate::{LoadError, Witness};

/// Maximum number of transactions in one request.
pub const BATCH_MAX: usize = 1_000;

/// Parameters of a run: its nodes, its load, its transactions.
#[derive(Clone)]
pub struct Plan {
    /// The validators that receive the load and are watched.
    pub nodes: Vec<Node>,
    /// How the load is controlled.
    pub mode: Mode,
    /// Length of the measured part of a stage. `None`, only in [`Mode::Open`]: until the run is stopped.
    pub duration: Option<Duration>,
    /// Length of the load before the measured part, which fills caches and queues and is not counted.
    pub warm_up: Duration,
    /// Length of the load after the measured part, which is not counted: the last measured transactions then meet the
    /// same load as the others.
    pub cool_down: Duration,
    /// Spacing of the intended send times.
    pub arrivals: Arrivals,
    /// Maximum number of accounts that send transactions.
    pub senders: u32,
    /// Secret seed of the senders' keys. `None`: the keys of [`genesis::sender_key`], which anyone can derive.
    pub sender_seed: Option<String>,
    /// How the transactions of one sender are ordered.
    pub order: Order,
    /// Number of invalid transactions per million, which nodes must refuse.
    pub invalid_ppm: u32,
    /// Seed of all random choices of the run.
    pub seed: u64,
    /// Maximum number of transactions in one request.
    pub batch: usize,
    /// Number of connections to each node.
    pub connections: usize,
    /// Time after which a transaction that not every validator has committed is a failure.
    pub timeout: Duration,
    /// Fee of each transaction. `None`: the minimum fee of the chain.
    pub fee: Option<u64>,
    /// Key of the account that funds unfunded senders.
    pub funder: Option<SecretKey>,
    /// Path of the file of signed transactions.
    pub file: PathBuf,
    /// Receiver of reports about each transaction and height.
    pub witness: Option<Arc<dyn Witness>>,
}

/// The addresses of one validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Address of its RPC: `http://HOST:PORT`, `tcp://HOST:PORT` or `HOST:PORT`.
    pub rpc: String,
    /// Address of its metrics in the same forms, if it serves them. They report the processor time that it used.
    pub metrics: Option<String>,
}

/// How the load of a run is controlled.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Open loop: transactions arrive at a fixed rate, whatever the nodes do.
    Open {
        /// Rate in transactions per second.
        rate: f64,
    },
    /// Closed loop: a fixed number of transactions wait for their commit at any time. The number grows from stage to
    /// stage, until throughput no longer grows.
    Closed,
    /// One open-loop stage for each rate, until a rate cannot be sustained.
    Sweep {
        /// Ascending rates in transactions per second.
        rates: Vec<f64>,
    },
}

/// Kind and amount of the load of one stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Open loop at a fixed rate.
    Open {
        /// Rate in transactions per second.
        rate: f64,
    },
    /// Closed loop with a fixed number of transactions in flight.
    Closed {
        /// Number of transactions that wait for their commit.
        window: u64,
    },
}

/// Spacing of the intended send times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Send times with constant intervals.
    Constant,
    /// Send times that are independent of each other, as those of many users are.
    Poisson,
}

/// How the transactions of one sender are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ordered by nonce. They are signed before the run, into a file.
    Nonce,
    /// Unordered. They expire instead, so they are signed during the run.
    Unordered,
}

impl Plan {
    /// Creates a plan with the usual values: ordered by nonce, constant arrivals, 100,000 senders, 2 s of warm-up.
    pub fn new(nodes: Vec<Node>, mode: Mode, duration: Duration, file: PathBuf) -> Self {
        Self {
            nodes,
            mode,
            duration: Some(duration),
            warm_up: Duration::from_secs(2),
            cool_down: Duration::from_secs(1),
            arrivals: Arrivals::Constant,
            senders: 100_000,
            sender_seed: None,
            order: Order::Nonce,
            invalid_ppm: 0,
            seed: 1,
            batch: 100,
            connections: 4,
            timeout: Duration::from_secs(30),
            fee: None,
            funder: None,
            file,
            witness: None,
        }
    }

    /// Checks that every value is in its range.
    ///
    /// Errors: [`LoadError::Plan`] names the field, its value and the values that are possible.
    pub fn check(&self) -> Result<(), LoadError> {
        let bad = |field: &'static str, got: &dyn std::fmt::Display, range: &str| {
            Err(LoadError::Plan { field, reason: format!("{got} is out of range: use {range}") })
        };
        let rates: &[f64] = match &self.mode {
            Mode::Open { rate } => std::slice::from_ref(rate),
            Mode::Closed => &[],
            Mode::Sweep { rates } => rates,
        };
        if let Some(rate) = rates.iter().find(|rate| !(0.1..=1_000_000.0).contains(*rate)) {
            return bad("rate", rate, "0.1 to 1000000 per second");
        }
        if matches!(&self.mode, Mode::Sweep { rates } if rates.is_empty() || !rates.is_sorted()) {
            return bad("rates", &"the list", "one or more rates in ascending order");
        }
        match self.duration {
            None if !matches!(self.mode, Mode::Open { .. }) => {
                return bad("duration", &0, "a duration, or the mode open");
            }
            None if self.order == Order::Nonce => {
                let reason = "a run without end signs while it sends, and one lost transaction would block its sender permanently: \
                              use unordered transactions, or give a duration"
                    .to_owned();
                return Err(LoadError::Plan { field: "duration", reason });
            }
            Some(duration) if duration < Duration::from_millis(100) || duration > Duration::from_secs(86_400) => {
                return bad("duration", &duration.as_secs_f64(), "0.1 s to 24 h");
            }
            _ => {}
        }
        let ranges = [
            ("nodes", self.nodes.len() as u64, 1, 64),
            ("senders", self.senders.into(), 1, 10_000_000),
            ("invalid_share", self.invalid_ppm.into(), 0, 1_000_000),
            ("batch", self.batch as u64, 1, BATCH_MAX as u64),
            ("connections", self.connections as u64, 1, 64),
            ("timeout", self.timeout.as_millis() as u64, 100, 600_000),
            ("warm_up", self.warm_up.as_millis() as u64, 0, 3_600_000),
            ("cool_down", self.cool_down.as_millis() as u64, 0, 3_600_000),
        ];
        match ranges.iter().find(|(_, got, least, most)| got < least || got > most) {
            Some((field, got, least, most)) => bad(field, got, &format!("{least} to {most}")),
            None => Ok(()),
        }
    }
}

/// Creates a client of the node at `url`, without connecting to it.
///
/// Errors: [`LoadError::Client`] when the text is not an address.
pub fn client(url: &str) -> Result<Client, LoadError> {
    Ok(Client::new(url, Some("--nodes"))?)
}

/// Parses the address of a node.
///
/// Errors: [`LoadError::Plan`] when the text is not an address.
pub fn address(url: &str) -> Result<NodeAddress, LoadError> {
    NodeAddress::parse(url).map_err(|reason| LoadError::Plan { field: "nodes", reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_plan_is_refused_with_its_field() {
        let node = Node { rpc: "127.0.0.1:1".into(), metrics: None };
        let plan = Plan::new(vec![node], Mode::Open { rate: 10.0 }, Duration::from_secs(1), "x".into());
        plan.check().unwrap();
        let refused = |change: fn(&mut Plan)| {
            let mut plan = plan.clone();
            change(&mut plan);
            plan.check().unwrap_err().to_string()
        };
        assert!(refused(|plan| plan.nodes.clear()).contains("nodes"));
        assert!(refused(|plan| plan.mode = Mode::Open { rate: f64::NAN }).contains("rate"));
        assert!(refused(|plan| plan.mode = Mode::Sweep { rates: vec![] }).contains("rates"));
        assert!(refused(|plan| plan.mode = Mode::Sweep { rates: vec![2.0, 1.0] }).contains("ascending"));
        assert!(refused(|plan| plan.duration = None).contains("unordered"));
        assert!(refused(|plan| (plan.duration, plan.mode) = (None, Mode::Closed)).contains("duration"));
        assert!(refused(|plan| plan.invalid_ppm = 1_000_001).contains("invalid_share"));
        assert!(refused(|plan| plan.batch = 0).contains("1 to 1000"));
    }
}
