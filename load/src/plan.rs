//! What a run is to do.

use std::{path::PathBuf, sync::Arc, time::Duration};

use types::SecretKey;

use crate::{LoadError, Witness};

/// Transactions in one request at most.
pub const BATCH_MAX: usize = 1_000;

/// A run: against whom, with what, how.
#[derive(Clone)]
pub struct Plan {
    /// The validators to load and to watch.
    pub nodes: Vec<Node>,
    /// How the load arrives.
    pub mode: Mode,
    /// How long the measured part of a stage lasts; `None` in [`Mode::Open`]: until it is stopped.
    pub duration: Option<Duration>,
    /// Load before the measured part, not counted: caches and queues fill.
    pub warm_up: Duration,
    /// Load after the measured part, not counted: so that the last measured transactions meet the same load as the others.
    pub cool_down: Duration,
    /// How intended send times are spaced.
    pub arrivals: Arrivals,
    /// Accounts that send.
    pub senders: u32,
    /// Whose keys the senders have; `None`: those of [`genesis::testnet::sender_key`], which everybody can work out.
    pub sender_seed: Option<String>,
    /// How a sender's transactions are ordered.
    pub order: Order,
    /// Of each million transactions, how many are to be refused.
    pub invalid_ppm: u32,
    /// Decides everything random.
    pub seed: u64,
    /// Transactions in one request at most.
    pub batch: usize,
    /// Connections to each node.
    pub connections: usize,
    /// A transaction not committed everywhere after this is a failure.
    pub timeout: Duration,
    /// What a transaction pays; `None`: the chain's least fee.
    pub fee: Option<u64>,
    /// Who funds senders without money.
    pub funder: Option<SecretKey>,
    /// The file of signed transactions.
    pub file: PathBuf,
    /// Who is told of each transaction and height.
    pub witness: Option<Arc<dyn Witness>>,
}

/// A validator's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Of its RPC: `http://HOST:PORT`, `tcp://HOST:PORT` or `HOST:PORT`.
    pub rpc: String,
    /// Of its metrics, likewise, if it serves them: for the processor time that it uses.
    pub metrics: Option<String>,
}

/// How the load arrives.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// At this many a second, whatever becomes of them.
    Open {
        /// Transactions a second.
        rate: f64,
    },
    /// So many wait for their commit at any time; more and more, until throughput no longer grows.
    Closed,
    /// One open-loop stage for each rate, until one cannot be sustained.
    Sweep {
        /// Transactions a second, growing.
        rates: Vec<f64>,
    },
}

/// How intended send times are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// Independently of each other, as many users send.
    Poisson,
}

/// How a sender's transactions are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By nonce: signed before the run, into a file.
    Nonce,
    /// Not at all; they expire instead, so they are signed during the run.
    Unordered,
}

impl Plan {
    /// A plan with the usual choices: nonces, constant arrivals, 100,000 senders, 2 s of warm-up.
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

    /// That it can be carried out.
    ///
    /// Errors: [`LoadError::Plan`] names the field, its value and what is possible.
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
            return bad("rate", rate, "0.1 to 1000000 a second");
        }
        if matches!(&self.mode, Mode::Sweep { rates } if rates.is_empty() || !rates.is_sorted()) {
            return bad("rates", &"the list", "one or more, growing");
        }
        match self.duration {
            None if !matches!(self.mode, Mode::Open { .. }) => {
                return bad("duration", &0, "a duration, or the mode open");
            }
            None if self.order == Order::Nonce => {
                let reason = "a run without end signs as it goes, and one lost transaction would block its sender's nonces for good: \
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
        assert!(refused(|plan| plan.mode = Mode::Sweep { rates: vec![2.0, 1.0] }).contains("growing"));
        assert!(refused(|plan| plan.duration = None).contains("unordered"));
        assert!(refused(|plan| (plan.duration, plan.mode) = (None, Mode::Closed)).contains("duration"));
        assert!(refused(|plan| plan.invalid_ppm = 1_000_001).contains("invalid_share"));
        assert!(refused(|plan| plan.batch = 0).contains("1 to 1000"));
    }
}
