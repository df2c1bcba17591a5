//! `cairn-simulator --seeds 2000`: simulates whole clusters, each from one seed.
#![allow(clippy::print_stderr, reason = "a program that prints")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use clap::Parser;
use simulator::{
    Coverage, Less, Life, Mutation, Setup, Story,
    directed::{SCENARIOS, Scenario},
    live_in,
    mutation::Named,
    run::ended,
    score::{BEGIN, END, Row, score, table, with_table},
    shrink,
};

/// Exit code of a program whose output nothing reads any more: that of a shell for the signal of a closed pipe.
const CLOSED_PIPE: i32 = 141;

/// Prints a line. It ends the program if its output is closed, as that of `cairn-simulator --seed 7 | head` is.
macro_rules! say {
    ($($line:tt)*) => {
        if writeln!(std::io::stdout(), $($line)*).is_err() {
            std::process::exit(CLOSED_PIPE);
        }
    };
}

/// Number of seeds of a run.
const SEEDS: u64 = 200;

/// Maximum number of worlds in which a mutation is tried.
const SCORE_WORLDS: usize = 300;

/// Runs simulated clusters through faults, checks safety at every step and progress after healing.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// How many seeds to run: 200 if it is not given, and at most 300 for each mutation with --mutation-score.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this seed and print its events line by line.
    #[arg(long)]
    seed: Option<u64>,
    /// Break a rule in every correct node, to check that this is detected. `docs/simulation.md` lists the names.
    /// Most of them need `--features mutations`.
    #[arg(long)]
    mutation: Option<String>,
    /// Leave out parts of the worlds, by name, separated by commas.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Number of decided heights after which the faults end, instead of that of the seed.
    #[arg(long)]
    heights: Option<u64>,
    /// Number of validators, instead of that of the seed.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100))]
    validators: Option<u8>,
    /// With `--seed`: if the world fails, leave out as much as possible, and print the command of the smallest one that fails
    /// the same check.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// Number of threads; each world runs on one thread.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Run every nth seed twice and compare all events; 0 for none.
    #[arg(long, default_value_t = 100)]
    twice: u64,
    /// Break each rule in turn, and print which checker notices it first and in which world, as a Markdown table.
    #[arg(long)]
    mutation_score: bool,
    /// With --mutation-score: write the table into this page instead of printing it.
    #[arg(long, requires = "mutation_score")]
    page: Option<PathBuf>,
    /// With --mutation-score: only mutations whose name contains this text, without the page.
    #[arg(long, requires = "mutation_score", conflicts_with = "page")]
    only: Option<String>,
    /// Run this directed scenario and print its events line by line.
    #[arg(long)]
    scenario: Option<String>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mutation = match args.mutation.as_deref().map(|name| (name, Mutation::named(name))) {
        None => None,
        Some((_, Some(mutation))) => Some(mutation),
        Some((name, None)) => {
            let known: Vec<String> = Mutation::all().into_iter().map(|known| known.name).collect();
            eprintln!(
                "--mutation {name}: this build has {}; to use the others, run\n  \
                 cargo run -q -p cairn-simulator --features mutations -- --mutation NAME",
                known.join(", ")
            );
            return ExitCode::from(2);
        }
    };
    let less =
        Less { without: args.without.clone(), heights: args.heights, validators: args.validators.map(usize::from) };
    if let Err(reason) = less.of_seed(args.seed.unwrap_or(args.from)) {
        eprintln!("{reason}");
        return ExitCode::from(2);
    }
    match (args.seed, &args.scenario) {
        _ if args.mutation_score => print_score(&args),
        (_, Some(name)) => tell_scenario(name, mutation),
        (Some(seed), None) if args.shrink => shrink_seed(seed, mutation, &less, &args),
        (Some(seed), None) => tell(seed, mutation, &less, &args),
        (None, None) => run(mutation, &less, &args),
    }
}

fn tell(seed: u64, mutation: Option<Mutation>, less: &Less, args: &Args) -> ExitCode {
    say!("seed {seed}");
    let setup = world(seed, mutation, less);
    say!("{setup:#?}");
    say!("parts: {}", setup.parts().join(", "));
    let life = live_in(setup, Story::told_to(|line| say!("{line}")));
    say!("{}", life.counts);
    let failed = life.broken.is_some();
    if let Some(broken) = &life.broken {
        say!("seed {seed} failed: {broken}");
        say!("repeat with: {}", command(seed, less, args));
        say!("make it smaller with: {} --shrink", command(seed, less, args));
    }
    say!("{} seeds passed, {} failed", u64::from(!failed), u64::from(failed));
    ExitCode::from(u8::from(failed))
}

/// Runs a directed scenario, and prints its events.
fn tell_scenario(name: &str, mutation: Option<Mutation>) -> ExitCode {
    let Some(scenario) = Scenario::named(name) else {
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        eprintln!("--scenario {name}: the scenarios are {}", known.join(", "));
        return ExitCode::from(2);
    };
    let broken = ended(|| scenario.run(mutation, Story::told_to(|line| say!("{line}"))));
    match &broken {
        Some(broken) => say!("{name} failed: {broken}"),
        None => say!("{name} passed"),
    }
    ExitCode::from(u8::from(broken.is_some()))
}

/// Prints the mutation score, or writes it into a page.
fn print_score(args: &Args) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let is_asked = |known: &Named| args.only.as_ref().is_none_or(|part| known.name.contains(part));
    let all: Vec<Named> = Mutation::all().into_iter().filter(is_asked).collect();
    let worlds_max = args.seeds.map_or(SCORE_WORLDS, |seeds| seeds as usize);
    let next = AtomicUsize::new(0);
    let rows: Mutex<BTreeMap<usize, Row>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                while let Some((place, named)) =
                    Some(next.fetch_add(1, Relaxed)).and_then(|at| Some((at, all.get(at)?)))
                {
                    let row = score(named, worlds_max);
                    eprintln!("{row}");
                    rows.lock().expect("panics are caught").insert(place, row);
                }
            });
        }
    });
    let rows: Vec<Row> = rows.into_inner().expect("panics are caught").into_values().collect();
    let missed = rows.iter().filter(|row| row.checker.is_none()).count();
    match &args.page {
        None => say!("{}", table(&rows).trim_end()),
        Some(path) => {
            if let Err(error) = write_page(path, &rows) {
                eprintln!("--page {}: {error}", path.display());
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::from(u8::from(missed > 0))
}

/// Replaces the table of a page.
///
/// Errors: a sentence if the page cannot be read or written, or lacks the marks of the table.
fn write_page(path: &Path, rows: &[Row]) -> Result<(), String> {
    let page = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let page = with_table(&page, rows).ok_or_else(|| format!("it lacks the lines {BEGIN} and {END}"))?;
    fs::write(path, page).map_err(|error| error.to_string())
}

/// Leaves out as much as possible of the world of a failing seed. Each smaller world that fails is printed at once.
fn shrink_seed(seed: u64, mutation: Option<Mutation>, less: &Less, args: &Args) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    match shrink(seed, mutation, less, |smaller| say!("still fails: {}", command(seed, smaller, args))) {
        None => {
            say!("seed {seed} passes: there is nothing to shrink");
            ExitCode::SUCCESS
        }
        Some(least) => {
            say!("smallest: {}", command(seed, &least, args));
            ExitCode::from(1)
        }
    }
}

fn world(seed: u64, mutation: Option<Mutation>, less: &Less) -> Setup {
    less.of_seed(seed).expect("main has checked the names").with_mutation(mutation)
}

fn command(seed: u64, less: &Less, args: &Args) -> String {
    let less = less.arguments();
    match &args.mutation {
        None => format!("cargo run -q -p cairn-simulator -- --seed {seed}{less}"),
        Some(name) => {
            format!("cargo run -q -p cairn-simulator --features mutations -- --mutation {name} --seed {seed}{less}")
        }
    }
}

fn run(mutation: Option<Mutation>, less: &Less, args: &Args) -> ExitCode {
    let Args { from, threads, twice, .. } = *args;
    let end = from.saturating_add(args.seeds.unwrap_or(SEEDS));
    if !args.json {
        say!("seeds {from} to {}", end.saturating_sub(1));
    }
    // A panic is reported with its seed only; a run of the seed alone shows its position.
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let lives: Mutex<BTreeMap<u64, Life>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= end {
                        return;
                    }
                    let live = || live_in(world(seed, mutation, less), Story::default());
                    let mut life = live();
                    let again = twice > 0 && seed.is_multiple_of(twice);
                    if again && live() != life {
                        life.broken = Some("determinism: the same seed ran differently the second time".to_owned());
                    }
                    if let (Some(broken), false) = (&life.broken, args.json) {
                        say!("seed {seed} failed: {broken}");
                    }
                    lives.lock().expect("panics are caught").insert(seed, life);
                }
            });
        }
    });
    let lives = lives.into_inner().expect("panics are caught");
    let mut coverage = Coverage::default();
    lives.values().for_each(|life| coverage.add(&world(life.seed, None, less), &life.counts));
    let failed: Vec<&Life> = lives.values().filter(|life| life.broken.is_some()).collect();
    let passed = lives.len() - failed.len();
    if args.json {
        print_json(&coverage, passed, &failed);
    } else {
        say!("{}", coverage.counts());
        say!("{coverage}");
        say!("{:.1} s", started.elapsed().as_secs_f64());
        if let Some(first) = failed.first() {
            say!("repeat with: {}", command(first.seed, less, args));
            say!("make it smaller with: {} --shrink", command(first.seed, less, args));
        }
        say!("{passed} seeds passed, {} failed", failed.len());
    }
    ExitCode::from(u8::from(!failed.is_empty()))
}

fn print_json(coverage: &Coverage, passed: usize, failed: &[&Life]) {
    let counts: Vec<String> = coverage.counts().named().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let failure =
        |life: &&Life| format!("{{\"seed\":{},\"broken\":{:?}}}", life.seed, life.broken.as_deref().unwrap_or(""));
    let failures: Vec<String> = failed.iter().map(failure).collect();
    say!(
        "{{\"passed\":{passed},\"failed\":{},\"counts\":{{{}}},{},\"failures\":[{}]}}",
        failed.len(),
        counts.join(","),
        coverage.json(),
        failures.join(",")
    );
}
