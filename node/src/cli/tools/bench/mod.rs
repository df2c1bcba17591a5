//! `cairn bench` runs named workloads on a temporary testnet and prints one table of their costs.
//!
//! | file | content |
//! |---|---|
//! | `mod.rs` | the command: runs the workloads in their order |
//! | `workload.rs` | the names of the workloads |
//! | `chain.rs` | the testnet in a temporary folder, and the resources that its processes have used |
//! | `figures.rs` | computes figures from two readings and a report of load, and a table from figures |
//! | `machine.rs` | measures a sync, a signature check and a round trip on this machine, as a scale for the figures |
//!
//! Validators are real processes with their data on disk. They report the counts (checks, syncs, rounds, bytes);
//! [`load`] measures the latencies.

mod chain;
mod figures;
mod machine;
mod workload;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use load::{Event, Mode, Observer, Plan, Report};
use node::{config::parse_duration, exit::Failure, os};
use serde::Serialize;

use self::{
    chain::{Chain, Reading},
    figures::Figures,
    machine::Machine,
    workload::Workload,
};
use super::{load::failed, meter::Meter, report};
use crate::cli::{output, signals};

const HELP: &str = "\
Examples:
  cairn bench                                  all workloads, four validators, some minutes
  cairn bench --workload idle,single           only these workloads
  cairn bench --workload half --rate 1000      at this rate instead of half of the maximum
  cairn bench --duration 30s --json bench.json

Workloads, each measured for --duration:
  empty      empty blocks, one right after the other
  idle       one empty block per second, no transfers
  single     20 transfers per second, so that each finds an idle chain
  saturate   closed loop: more transfers in flight from stage to stage until no more are committed
  half       open loop at half of the rate that `saturate` found, which runs first without --rate

The validators and the load share this machine. Times depend on it, so the table also shows how long
one sync of a file, one signature check and one round trip over loopback take.";

/// Rate of the workload `single` in transfers per second. It is low enough that each transfer finds an idle chain.
const SINGLE_RATE: f64 = 20.0;
/// Interval between two checks for Ctrl-C during a pause.
const TICK: Duration = Duration::from_millis(50);

/// Measure throughput, latency and resource use of a testnet on this machine, in one table
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Bench {
    /// Workloads to run [default: all]
    #[arg(long, value_enum, value_name = "NAME,NAME,...", value_delimiter = ',')]
    workload: Vec<Workload>,
    /// Number of validators
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    validators: u16,
    /// Measurement time of each workload, and of each stage of saturate
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    duration: Duration,
    /// Transfers per second of the workload half [default: half of what saturates the validators]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Number of accounts that send, in turn
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    senders: u32,
    /// Folder for the validators, on the disk to be measured; it is created, and removed afterwards
    #[arg(long, value_name = "DIR", default_value = "./bench-testnet")]
    dir: PathBuf,
    /// Keep the folder with the validators' logs
    #[arg(long)]
    keep: bool,
    /// Write the figures as JSON to this file; with -, to standard output, which then has nothing else
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(3600);
    parse_duration(text).filter(|duration| bounds.contains(duration)).ok_or_else(|| "use 1s to 1h".to_owned())
}

/// The results in the form in which they are written as JSON.
#[derive(Serialize)]
struct Results<'a> {
    version: &'static str,
    validators: u16,
    duration_s: f64,
    machine: &'a Machine,
    workloads: &'a [Figures],
}

impl Bench {
    /// Runs the workloads, prints the table, and writes the JSON report if asked.
    ///
    /// Errors: the report or the folder cannot be written, the folder exists, signals cannot be handled, a testnet
    /// cannot be started or stopped cleanly, or a load fails.
    pub fn run(self) -> Result<(), Failure> {
        report::check(self.json.as_deref())?;
        let to_stdout = self.json.as_deref() == Some("-");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        signals::on_each(move |_| stopping.store(true, Ordering::Relaxed))?;
        let folder = Folder::new(&self.dir, self.keep)?;
        let machine = Machine::look(&self.dir)?;
        if !to_stdout {
            machine.lines().iter().for_each(output::line);
        }
        os::prefer_latency();
        let figures = self.workloads(&stop)?;
        drop(folder);
        if !to_stdout {
            output::line(format_args!(
                "\n{} validators, each measured for {} s\n",
                self.validators,
                self.duration.as_secs_f64()
            ));
            figures::table(&figures).iter().for_each(output::line);
        }
        let results = Results {
            version: env!("CARGO_PKG_VERSION"),
            validators: self.validators,
            duration_s: self.duration.as_secs_f64(),
            machine: &machine,
            workloads: &figures,
        };
        match &self.json {
            Some(path) => report::write(path, &results),
            None => Ok(()),
        }
    }

    /// Returns the workloads to run, in order. `half` without a rate adds `saturate`.
    fn wanted(&self) -> Vec<Workload> {
        let mut wanted =
            if self.workload.is_empty() { Workload::value_variants().to_vec() } else { self.workload.clone() };
        if wanted.contains(&Workload::Half) && self.rate.is_none() {
            wanted.push(Workload::Saturate);
        }
        wanted.sort(); // saturate must run before half, whose rate follows from it
        wanted.dedup();
        wanted
    }

    /// Runs each workload on a new chain. Ctrl-C ends the current workload, and skips those that follow.
    fn workloads(&self, stop: &AtomicBool) -> Result<Vec<Figures>, Failure> {
        let mut all = Vec::new();
        let mut saturation = self.rate.map(|rate| 2.0 * rate);
        for workload in self.wanted() {
            if stop.load(Ordering::Relaxed) {
                output::note("stopped: the remaining workloads are skipped");
                break;
            }
            let interval = if workload == Workload::Empty { Duration::ZERO } else { Duration::from_secs(1) };
            let name = format!("{workload:?}").to_lowercase();
            output::note(format_args!("{name}"));
            let mut chain = Chain::start(&self.dir.join(&name), self.validators.into(), interval, stop)?;
            let figures = match workload {
                Workload::Empty | Workload::Idle => self.watch(workload, &chain, stop)?,
                Workload::Single => self.load(workload, &chain, Mode::Open { rate: SINGLE_RATE }, stop)?.0,
                Workload::Saturate => {
                    let (figures, found) = self.load(workload, &chain, Mode::Closed, stop)?;
                    saturation = saturation.or(found);
                    figures
                }
                Workload::Half => match saturation {
                    Some(most) => {
                        self.load(workload, &chain, Mode::Open { rate: (most / 2.0).round().max(1.0) }, stop)?.0
                    }
                    None => {
                        return Err(Failure::refused(
                            "nothing was committed in the workload saturate, so half of it is not a rate",
                        ));
                    }
                },
            };
            chain.stop()?;
            all.push(figures);
        }
        Ok(all)
    }

    /// Measures a workload without transfers.
    fn watch(&self, workload: Workload, chain: &Chain, stop: &AtomicBool) -> Result<Figures, Failure> {
        pause(Duration::from_secs(2).min(self.duration), stop); // warm-up, which fills the caches
        let before = chain.read()?;
        pause(self.duration, stop);
        Ok(Figures::without_load(workload, &before, &chain.read()?))
    }

    /// Runs a load. Returns the figures of the stage with the highest throughput, and this throughput in transfers per
    /// second if the load found a saturation.
    fn load(
        &self,
        workload: Workload,
        chain: &Chain,
        mode: Mode,
        stop: &AtomicBool,
    ) -> Result<(Figures, Option<f64>), Failure> {
        let mut plan = Plan::new(chain.nodes(), mode, self.duration, chain.folder().join("load.txs"));
        plan.senders = self.senders;
        plan.funder = Some(chain.funder()?);
        let mut observer = Readings { meter: Meter::new(false, false), chain, begins: Vec::new(), ends: Vec::new() };
        let report = load::run(&plan, &mut observer, stop);
        observer.meter.end();
        let report = report.map_err(failed)?;
        report.doubts.iter().chain(&report.warnings).for_each(output::note);
        let index = best(&report);
        let missing = || Failure::refused("a validator did not serve its metrics: look at its log (--keep keeps it)");
        let reading =
            |readings: &mut Vec<Option<Reading>>| readings.get_mut(index).and_then(Option::take).ok_or_else(missing);
        let (before, after) = (reading(&mut observer.begins)?, reading(&mut observer.ends)?);
        let stage = report.stages.get(index).ok_or_else(missing)?;
        Ok((Figures::of_load(workload, &before, &after, stage), report.saturation.map(|most| most.committed_per_s)))
    }
}

/// Returns the index of the stage with the highest throughput, or 0 if the load found no saturation.
fn best(report: &Report) -> usize {
    report.saturation.as_ref().map_or(0, |saturation| saturation.stage)
}

/// An observer that reads the used resources of the validators at the begin and at the end of each stage.
struct Readings<'a> {
    meter: Meter,
    chain: &'a Chain,
    begins: Vec<Option<Reading>>,
    ends: Vec<Option<Reading>>,
}

impl Observer for Readings<'_> {
    fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::StageBegins { .. } => self.begins.push(self.chain.read().ok()),
            Event::StageEnds(_) => self.ends.push(self.chain.read().ok()),
            _ => {}
        }
        self.meter.see(event);
    }
}

fn pause(duration: Duration, stop: &AtomicBool) {
    let until = Instant::now() + duration;
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(TICK));
    }
}

/// A new folder that is removed when the value is dropped, unless `keep` is set.
struct Folder<'a> {
    path: &'a Path,
    keep: bool,
}

impl<'a> Folder<'a> {
    fn new(path: &'a Path, keep: bool) -> Result<Self, Failure> {
        if path.exists() {
            let path = path.display();
            return Err(Failure::refused(format!(
                "{path} is there already: remove it if an earlier run left it (`rm -r {path}`), or choose another --dir"
            )));
        }
        fs::create_dir_all(path).map_err(|error| Failure::file("created", path, &error))?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(self.path); // if this fails, the next run reports that the folder exists
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(workload: &[Workload], rate: Option<f64>) -> Bench {
        Bench {
            workload: workload.to_vec(),
            validators: 4,
            duration: Duration::from_secs(1),
            rate,
            senders: 1,
            dir: "x".into(),
            keep: false,
            json: None,
        }
    }

    #[test]
    fn the_half_workload_runs_saturate_first_unless_a_rate_is_given() {
        use Workload::{Empty, Half, Idle, Saturate, Single};
        assert_eq!(bench(&[], None).wanted(), [Empty, Idle, Single, Saturate, Half]);
        assert_eq!(bench(&[Half, Empty], None).wanted(), [Empty, Saturate, Half]);
        assert_eq!(bench(&[Half, Half], Some(5.0)).wanted(), [Half]);
    }

    #[test]
    fn durations_are_bounded() {
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("0s").is_err() && duration("2h").is_err() && duration("x").is_err());
    }

    #[test]
    fn the_bench_folder_must_be_new_and_is_removed_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let folder = Folder::new(&path, false).unwrap();
        assert!(Folder::new(&path, false).is_err(), "somebody's folder is not taken, nor removed");
        drop(folder);
        assert!(!path.exists());
        drop(Folder::new(&path, true).unwrap());
        assert!(path.exists());
    }
}
