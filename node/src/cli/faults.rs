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
use node::os;

use super::{failure::Failure, load::duration, meter::Meter, output, signals};

const HELP: &str = "\
Examples:
  make image && cairn faults                      all scenarios on four validators: some four minutes
  cairn faults --scenarios kill,cut-half --duration 10s
  cairn faults --scenarios delay --delay 100ms --jitter 10ms --rate 20
  cairn faults --json faults.json

It starts validators in containers of their own, with a relay between them (`cairn relay`) that nothing
can go around, puts load on all of them, and does to them what is asked for. It needs Docker and
`docker compose` or docker-compose 1.29, and an image of Cairn; nothing of what it starts is left when
it ends, also by Ctrl-C.

Scenarios, each after a --baseline and followed by its recovery:
  baseline  nothing: how much the figures differ by themselves
  kill      the last validator is killed (SIGKILL), and started again
  pause     the last validator is paused: silent, its connections stay
  cut-one   the last validator is cut off from the others; clients still reach it
  cut-half  two halves are cut off from each other: no block until they are joined
  delay     everything between validators takes --delay longer, one way, and up to --jitter more

Transactions arrive by chance, at --rate on average, at all validators in turn. Columns. before,
during: tx/s committed. kept: the share of what was due, compared with before; of reachable: of those
transactions only that were handed to validators which could go on. worst: the longest time without a new height at most
of those that could go on, from the fault until all is as before; at tip, full again: from the end of
the fault until everybody had the newest height, and until 90 % of --rate were committed again. p50, p99:
latency from the intended send time to the commit at most of those that could go on.

Exit code 1 if a transaction that was accepted is in no block or in two, if validators have different
blocks, if one signed twice, ended by itself, or never came back. What a validator took in during its
last second before it was killed may die with it; that is reported and is no failure.";

/// Kill, pause, cut off and delay validators in containers under load, and measure what they make of it
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Faults {
    /// The image of Cairn
    #[arg(long, env = "CAIRN_IMAGE", hide_env_values = true, value_name = "NAME", default_value = "cairn:latest")]
    image: String,
    /// How many, 4 to 16
    #[arg(long, value_name = "N", default_value_t = 4)]
    validators: usize,
    /// Validators reach each other by QUIC instead of TCP: a cut loses packets instead of holding streams
    #[arg(long)]
    quic: bool,
    /// What is done, in this order [default: all]
    #[arg(long, value_name = "NAME,NAME,...", value_delimiter = ',', value_parser = |text: &str| text.parse::<Scenario>())]
    scenarios: Vec<Scenario>,
    /// Transactions a second, due whatever becomes of them; half of what the machine can do is a good choice
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    rate: f64,
    /// How long each fault lasts
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "20s")]
    duration: Duration,
    /// Before each fault, what it is compared with
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    baseline: Duration,
    /// Of scenario delay: one way
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "50ms")]
    delay: Duration,
    /// Of scenario delay: up to so much more, by chance
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5ms")]
    jitter: Duration,
    /// Write the report as JSON; - is standard output, and then nothing else is
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
        output::check_report(self.json.as_deref())?;
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
        let report = faults::run(&wanted, &tell, &mut meter, &stop)?;
        self.show(&report)?;
        if report.is_well() {
            return Ok(());
        }
        let (first, more) = (&report.violations[0], report.violations.len() - 1);
        let more = if more == 0 { String::new() } else { format!(", and {more} more violations") };
        Err(Failure::new(format!("{first}{more}: see the report")))
    }

    fn show(&self, report: &Report) -> Result<(), Failure> {
        let is_quiet = self.json.as_deref() == Some("-");
        if !is_quiet {
            let table = report.table();
            let right: Vec<usize> = (1..table[0].len()).collect();
            output::table(&table, &right).iter().chain(&report.lines()).for_each(output::line);
        }
        match &self.json {
            Some(path) => output::report(path, report),
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
        fs::create_dir(&path).map_err(|error| Failure::file("made", &path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // if this fails, the system cleans its temporary folder later
    }
}

impl From<FaultsError> for Failure {
    fn from(error: FaultsError) -> Self {
        match error {
            FaultsError::Load(error) => error.into(),
            error => Self::new(error.to_string()),
        }
    }
}
