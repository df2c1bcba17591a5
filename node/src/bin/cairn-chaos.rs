//! `cairn-chaos` breaks real validators in every way, and checks that the chain keeps its promises.
//!
//! The program is also the second version of the node that a run needs: as `cairn-chaos start --home DIR`, it runs a node
//! that has the upgrade `v2`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

use std::process::ExitCode;

#[cfg(not(feature = "tools"))]
fn main() -> ExitCode {
    eprintln!("error: this program was built without the feature `tools`: build it with that feature");
    ExitCode::FAILURE
}

#[cfg(feature = "tools")]
fn main() -> ExitCode {
    tools::main()
}

#[cfg(feature = "tools")]
mod tools {
    use std::{
        env, fs,
        io::{self, Read, Write},
        os::unix::process::CommandExt,
        path::{Path, PathBuf},
        process::{Command, ExitCode},
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::{Duration, SystemTime},
    };

    use app::{Migration, Upgrade, Upgrades};
    use chaos::{ChaosError, Place, Report, UPGRADE, Wanted};
    use clap::{Args, Parser, Subcommand};
    use node::{
        config::Config,
        exit::{Code, Failure},
        home::Lock,
        os,
        signals::{self, NodeSignals},
        signing,
    };
    use tokio::signal::unix::SignalKind;
    use types::Height;

    /// Environment variable that says that this process is inside namespaces of its own. Its value is the process id outside
    /// of them, because the one inside is always 1.
    const INSIDE: &str = "CHAOS_INSIDE";

    const HELP: &str = "\
Examples:
  cairn-chaos --short --seed 1                 each kind of fault once, about a minute, on loopback
  cairn-chaos --minutes 15 --kills 100         the long form, in network namespaces
  cairn-chaos --minutes 15 --kills 100 --validators 7 --seed 12
  cairn-chaos --seed 12 --plan                 print all faults of the seed, and do nothing

Starts validators as processes of the program `cairn` and sends transfers and operations on stake
to them. Faults come in rounds: SIGKILL at random times, pauses, restarts of all, lost databases
and signing states, old backups, a full disk, wrong clocks, another version of the program,
partitions, one-way partitions, delays, lost packets, and slow connections. Before the upgrade's
height the validators decide about it while faults happen. At the end, one validator runs twice.

Checks, after each round and at the end: all validators have the same blocks; each transaction that
was answered as committed is at its height at every validator, and was executed once; nonces and
money add up; no correct validator signs twice, and its signing state never goes back; all are at
the tip and sign again within --recovery; no process ends by itself; the validator that runs twice
is slashed, jailed for ever, and leaves the set.

The first line names the seed; the same seed and options repeat the same plan of faults. Each fault
is a line with its time, and the end is a summary. Exit code 0: no rule was broken. 1: a rule was
broken, and the folder with homes and logs stays. 2: the command line is wrong. 69: this machine
cannot do what the run needs.

Each validator has a network namespace of its own, inside namespaces of this command, so that
nothing on the machine changes and everything ends with it. This needs root, or a system that
allows user namespaces, and the programs unshare, ip and iptables. Otherwise, and with --loopback,
all validators are on loopback, and what is not possible there is skipped with a sentence. Clocks
need a C compiler (cc). Disk: about 300 MB for each quarter of an hour, removed at the end.";

    /// Break real validators in every way, and check that the chain keeps its promises
    #[derive(Debug, Parser)]
    #[command(name = "cairn-chaos", version, after_help = HELP, max_term_width = 100, args_conflicts_with_subcommands = true)]
    struct Cli {
        #[command(subcommand)]
        start: Option<Start>,
        #[command(flatten)]
        options: Options,
    }

    #[derive(Debug, Subcommand)]
    enum Start {
        /// Run a node that has the upgrade v2
        #[command(hide = true)]
        Start(Node),
    }

    #[derive(Debug, Args)]
    struct Node {
        /// Home folder of the node
        #[arg(long)]
        home: PathBuf,
        /// Stop when standard input closes
        #[arg(long)]
        until_stdin_closes: bool,
        /// Height up to which the key may have signed
        #[arg(long)]
        signed_up_to: Option<u64>,
    }

    #[derive(Debug, Args)]
    struct Options {
        /// Seed of the plan of faults and of the transactions [default: from the clock]
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Number of validators, 4 to 7
        #[arg(long, value_name = "N", default_value_t = 4)]
        validators: usize,
        /// Time for the rounds of faults, in minutes [default: 15, or 0.9 with --short]
        #[arg(long, value_name = "N")]
        minutes: Option<f64>,
        /// Minimum number of kills by SIGKILL [default: 100, or 8 with --short]
        #[arg(long, value_name = "N")]
        kills: Option<usize>,
        /// Transfers per second, on average
        #[arg(long, value_name = "N", default_value_t = 20.0)]
        rate: f64,
        /// Maximum time in seconds after the faults of a round until all validators are at the tip and sign again
        #[arg(long, value_name = "SECONDS", default_value_t = 90)]
        recovery: u64,
        /// Short rounds of 6 s instead of 20 s: each kind of fault at least once in about a minute
        #[arg(long)]
        short: bool,
        /// Run on loopback, without namespaces
        #[arg(long)]
        loopback: bool,
        /// Print the plan of the seed, and do nothing
        #[arg(long)]
        plan: bool,
        /// New folder for homes, logs and backups [default: in the temporary folder of the system]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Keep the folder at the end, also if no rule was broken
        #[arg(long)]
        keep: bool,
        /// Program of the validators [default: `cairn` in the folder of this program]
        #[arg(long, value_name = "FILE")]
        cairn: Option<PathBuf>,
    }

    /// The upgrades of the second version of the program.
    const UPGRADES: Upgrades = Upgrades(&[Upgrade { name: UPGRADE, migrate }]);

    /// Makes namespaces dearer.
    fn migrate(migration: &mut Migration<'_>) {
        let mut params = migration.params();
        params.ns_deposit += 7;
        migration.set_params(&params);
    }

    pub fn main() -> ExitCode {
        let cli = Cli::parse();
        let done = match cli.start {
            Some(Start::Start(node)) => node.run(),
            None => cli.options.run(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("error: {failure}");
                ExitCode::from(failure.code as u8)
            }
        }
    }

    impl Node {
        /// Runs the node of the home, as `cairn start` does, with the upgrade.
        fn run(self) -> Result<(), Failure> {
            let signals = NodeSignals::handle()?;
            let mut config = Config::load(&self.home, &[])?;
            config.upgrades = UPGRADES;
            if let Some(height) = self.signed_up_to {
                let _lock = Lock::take(&config.data_dir())?;
                signing::declare(&config.priv_validator_state_file(), Height(height))?;
            }
            node::start::run(config, &signals, |stopper| {
                if self.until_stdin_closes {
                    thread::spawn(move || {
                        let _ = io::stdin().lock().read_to_end(&mut Vec::new()); // an error ends it too
                        stopper.stop();
                    });
                }
            })
        }
    }

    impl Options {
        fn run(self) -> Result<(), Failure> {
            let seed = self.seed.unwrap_or_else(|| {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                now.as_micros() as u64 % 1_000_000
            });
            let is_inside = env::var_os(INSIDE).is_some();
            if !self.plan
                && !self.loopback
                && !self.short
                && !is_inside
                && let Some(words) = chaos::wrapper()
            {
                return Err(enter(&words, seed));
            }
            let place = if is_inside { Place::Namespaces } else { Place::Loopback };
            let wanted = self.wanted(seed, place)?;
            println!("seed {seed}: {}", self.repeat(seed));
            if self.plan {
                chaos::plan(&wanted).lines().iter().for_each(|line| println!("{line}"));
                return Ok(());
            }
            if place == Place::Loopback && !self.loopback && !self.short {
                println!("all validators are on loopback, because this user may not create namespaces");
            }
            let stop = Arc::new(AtomicBool::new(false));
            let stopping = stop.clone();
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            // No number of signals ends the process earlier, because its children must end first.
            signals::on_each(&kinds, move |_| stopping.store(true, Ordering::Relaxed)).map_err(Failure::refused)?;
            os::prefer_latency();
            let ended = chaos::run(&wanted, &say, &stop);
            let is_kept = self.keep || ended.as_ref().is_ok_and(|report| !report.is_well());
            if is_kept {
                say(&format!("homes, logs and backups are in {}", wanted.dir.display()));
            } else {
                let _ = fs::remove_dir_all(&wanted.dir); // a mount in it is gone with its owner
            }
            let report = ended.map_err(failed)?;
            show(&report, &wanted.dir)
        }

        /// Returns the parameters of the run.
        fn wanted(&self, seed: u64, place: Place) -> Result<Wanted, Failure> {
            let own = env::current_exe().map_err(|error| Failure::file("found", Path::new("cairn-chaos"), &error))?;
            let cairn = self.cairn.clone().unwrap_or_else(|| own.with_file_name("cairn"));
            if !self.plan && !cairn.is_file() {
                let sentence = format!("{} is no program: build `cairn`, or name it with --cairn", cairn.display());
                return Err(Failure::refused(sentence));
            }
            let process = env::var(INSIDE).unwrap_or_else(|_| std::process::id().to_string());
            let name = format!("cairn-chaos-{process}-{seed}");
            let minutes = self.minutes.unwrap_or(if self.short { 0.9 } else { 15.0 });
            let wanted = Wanted {
                cairn,
                next: own,
                dir: self.dir.clone().unwrap_or_else(|| env::temp_dir().join(name)),
                seed,
                validators: self.validators,
                time: Duration::try_from_secs_f64(60.0 * minutes).unwrap_or_default(),
                kills: self.kills.unwrap_or(if self.short { 8 } else { 100 }),
                round: Duration::from_secs(if self.short { 6 } else { 20 }),
                rate: self.rate,
                recovery_max: Duration::from_secs(self.recovery),
                gossip: Duration::from_millis(if self.short { 200 } else { 1_000 }),
                place,
            };
            if wanted.dir.exists() && !self.plan {
                let sentence = format!("{} exists: name a new folder with --dir", wanted.dir.display());
                return Err(Failure::refused(sentence));
            }
            wanted.check().map_err(failed)?;
            Ok(wanted)
        }

        /// Returns the command that repeats the plan of this run.
        fn repeat(&self, seed: u64) -> String {
            let mut words = vec!["cairn-chaos".to_owned(), format!("--seed {seed}")];
            words.extend(self.short.then(|| "--short".to_owned()));
            words.extend(self.loopback.then(|| "--loopback".to_owned()));
            words.extend((self.validators != 4).then(|| format!("--validators {}", self.validators)));
            words.extend(self.minutes.map(|minutes| format!("--minutes {minutes}")));
            words.extend(self.kills.map(|kills| format!("--kills {kills}")));
            words.join(" ")
        }
    }

    /// Replaces this process by one inside namespaces of its own, with the same arguments. Returns the reason if it fails.
    fn enter(words: &[String], seed: u64) -> Failure {
        let own = match env::current_exe() {
            Ok(own) => own,
            Err(error) => return Failure::file("found", Path::new("cairn-chaos"), &error),
        };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(own).args(env::args_os().skip(1));
        if !env::args().any(|argument| argument == "--seed" || argument.starts_with("--seed=")) {
            command.args(["--seed", &seed.to_string()]);
        }
        let error = command.env(INSIDE, std::process::id().to_string()).exec();
        Failure::file("started", Path::new(&words[0]), &error)
    }

    /// Prints a line of the run at once.
    fn say(line: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush()); // a run goes to its end without a reader
    }

    fn show(report: &Report, dir: &Path) -> Result<(), Failure> {
        say("");
        report.lines().iter().for_each(|line| say(line));
        match report.violations.first() {
            None => Ok(()),
            Some(first) => {
                Err(Failure::refused(format!("{first}: see the summary, and the logs in {}", dir.display())))
            }
        }
    }

    fn failed(error: ChaosError) -> Failure {
        match error {
            ChaosError::Wanted(_) => Failure::new(Code::Usage, error),
            ChaosError::Machine(_) => Failure::new(Code::InUse, error),
            ChaosError::Violation(_) | ChaosError::Stopped => Failure::refused(error),
        }
    }
}
