//! `cairn faults` measures how validators in containers handle faults under load.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use faults::{FaultsError, Report, Scenario, Wanted};
use node::{exit::Failure, os};

use super::{load, meter::Meter, report};
use crate::cli::{args::duration, output, signals};

const HELP: &str = "\
Examples:
  make image && cairn faults                      all scenarios on four validators, about 4 min
  cairn faults --scenarios kill,cut-half --duration 10s
  cairn faults --scenarios delay --delay 100ms --jitter 10ms --rate 20
  cairn faults --json faults.json

Starts validators in containers of their own, which are connected only through a relay (`cairn
relay`), puts load on all of them, and injects the faults. It needs Docker, `docker compose` or
docker-compose 1.29, and an image of Cairn. At its end, also after Ctrl-C, it removes everything
that it has started.

Scenarios, each after a --baseline and followed by its recovery:
  baseline  no fault: shows how much the figures vary by themselves
  kill      the last validator is killed (SIGKILL), and started again
  pause     the last validator is paused: it is silent, its connections stay open
  cut-one   the last validator is cut off from the others; clients still reach it
  cut-half  two halves are cut off from each other: no block until they are connected again
  delay     everything between validators is delayed by --delay, one way, plus at most --jitter

Transactions arrive at random times, at --rate on average, at all validators in turn.

Columns:
  before, during   tx/s committed before the fault, and during it
  kept             the committed share of the due transactions, relative to the share before
  of reachable     the same, for transactions sent to validators that could continue
  worst            the longest time without a new height at more than half of the validators that
                   could continue, from the fault until the recovery is complete
  at tip           from the end of the fault until all validators had the newest height
  full again       from the end of the fault until 90 % of --rate were committed again
  p50, p99         latency from the intended send time to the commit at more than half of the
                   validators that could continue

Exit code 1 if an accepted transaction is in no block or in two blocks, if validators have different
blocks, or if a validator signed twice, stopped by itself, or never came back. Transactions that a
validator accepted in the last second before it was killed may be lost: the report shows them, but
they are not a failure.";

/// Kill, pause, partition and delay validators in containers under load, and measure the effect
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Faults {
    /// Docker image of Cairn
    #[arg(long, env = "CAIRN_IMAGE", hide_env_values = true, value_name = "NAME", default_value = "cairn:latest")]
    image: String,
    /// Number of validators, 4 to 16
    #[arg(long, value_name = "N", default_value_t = 4)]
    validators: usize,
    /// Connect the validators by QUIC instead of TCP: a cut then drops packets instead of stopping streams
    #[arg(long)]
    quic: bool,
    /// Scenarios to run, in this order [default: all]
    #[arg(long, value_name = "NAME,NAME,...", value_delimiter = ',', value_parser = |text: &str| text.parse::<Scenario>())]
    scenarios: Vec<Scenario>,
    /// Transactions per second, due at this rate even if the validators fail; half of the machine's maximum is a good
    /// choice
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    rate: f64,
    /// Duration of each fault
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "20s")]
    duration: Duration,
    /// Duration of the measurement before each fault, with which the fault is compared
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    baseline: Duration,
    /// One-way delay in the scenario delay
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "50ms")]
    delay: Duration,
    /// Maximum random addition to the delay in the scenario delay
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5ms")]
    jitter: Duration,
    /// Write the report as JSON to this file; with -, to standard output, which then has nothing else
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
}

impl Faults {
    /// Runs the scenarios and prints the report.
    ///
    /// Errors: the report cannot be written, signals cannot be handled, the arguments are invalid, the containers or
    /// the load cannot be started, or the report has violations.
    pub fn run(self) -> Result<(), Failure> {
        let scenarios = if self.scenarios.is_empty() { Scenario::ALL.to_vec() } else { self.scenarios.clone() };
        report::check(self.json.as_deref())?;
        let folder = Folder::new()?;
        let wanted = Wanted {
            image: self.image.clone(),
            validators: self.validators,
            quic: self.quic,
            scenarios,
            rate: self.rate,
            duration: self.duration,
            baseline: self.baseline,
            delay: self.delay,
            jitter: self.jitter,
            file: folder.0.join("load.txs"),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        // No number of signals ends the process earlier, because its containers must be removed first.
        signals::on_each(move |_| stopping.store(true, Ordering::Relaxed))?;
        os::prefer_latency();
        let tell = |line: &str| output::note(line);
        let mut meter = Meter::new(true, true);
        let report = faults::run(&wanted, &tell, &mut meter, &stop).map_err(failed)?;
        self.show(&report)?;
        if report.is_well() {
            return Ok(());
        }
        let (first, more) = (&report.violations[0], report.violations.len() - 1);
        let more = if more == 0 { String::new() } else { format!(", and {more} more violations") };
        Err(Failure::refused(format!("{first}{more}: see the report")))
    }

    fn show(&self, report: &Report) -> Result<(), Failure> {
        let is_quiet = self.json.as_deref() == Some("-");
        if !is_quiet {
            let table = report.table();
            let right: Vec<usize> = (1..table[0].len()).collect();
            output::table(&table, &right).iter().chain(&report.lines()).for_each(output::line);
        }
        match &self.json {
            Some(path) => report::write(path, report),
            None => Ok(()),
        }
    }
}

/// A temporary folder of this process, which is removed when the value is dropped.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("cairn-faults-{}", std::process::id()));
        // An earlier process with the same id may have been killed before it removed its folder.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(|error| Failure::file("created", &path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // if this fails, the system cleans its temporary folder later
    }
}

fn failed(error: FaultsError) -> Failure {
    match error {
        FaultsError::Load(error) => load::failed(error),
        error => Failure::refused(error),
    }
}
