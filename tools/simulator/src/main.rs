//! `cairn-simulator --seeds 2000`: simulates whole clusters, each from one seed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use clap::Parser;
use simulator::{Counts, Life, Mutation, Setup, Story, live};

/// Runs simulated clusters through faults, checks safety at every step and progress after healing.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this seed and print its events line by line.
    #[arg(long)]
    seed: Option<u64>,
    /// Break a rule in every correct node, to check that this is detected. The documentation of the crate lists the names.
    /// Most of them need `--features mutations`.
    #[arg(long)]
    mutation: Option<String>,
    /// Number of threads; each world runs on one thread.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Run every nth seed twice and compare all events; 0 for none.
    #[arg(long, default_value_t = 100)]
    twice: u64,
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
            let known: Vec<&str> = Mutation::ALL.iter().map(|(name, _)| *name).collect();
            eprintln!(
                "--mutation {name}: this build has {}; to use the others, run\n  \
                 cargo run -q -p cairn-simulator --features mutations -- --mutation NAME",
                known.join(", ")
            );
            return ExitCode::from(2);
        }
    };
    match args.seed {
        Some(seed) => tell(seed, mutation, &args),
        None => run(mutation, &args),
    }
}

fn tell(seed: u64, mutation: Option<Mutation>, args: &Args) -> ExitCode {
    println!("seed {seed}");
    println!("{:#?}", Setup::of_seed(seed));
    let life = live(seed, mutation, Story::told_to(|line| println!("{line}")));
    println!("{}", life.counts);
    let failed = life.broken.is_some();
    if let Some(broken) = &life.broken {
        println!("seed {seed} failed: {broken}");
        println!("repeat with: {}", command(seed, args));
    }
    println!("{} seeds passed, {} failed", u64::from(!failed), u64::from(failed));
    ExitCode::from(u8::from(failed))
}

fn command(seed: u64, args: &Args) -> String {
    match &args.mutation {
        None => format!("cargo run -q -p cairn-simulator -- --seed {seed}"),
        Some(name) => {
            format!("cargo run -q -p cairn-simulator --features mutations -- --mutation {name} --seed {seed}")
        }
    }
}

fn run(mutation: Option<Mutation>, args: &Args) -> ExitCode {
    let Args { from, seeds, threads, twice, .. } = *args;
    let end = from.saturating_add(seeds);
    if !args.json {
        println!("seeds {from} to {}", end.saturating_sub(1));
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
                    let mut life = live(seed, mutation, Story::default());
                    let again = twice > 0 && seed.is_multiple_of(twice);
                    if again && live(seed, mutation, Story::default()) != life {
                        life.broken = Some("determinism: the same seed ran differently the second time".to_owned());
                    }
                    if let (Some(broken), false) = (&life.broken, args.json) {
                        println!("seed {seed} failed: {broken}");
                    }
                    lives.lock().expect("panics are caught").insert(seed, life);
                }
            });
        }
    });
    let lives = lives.into_inner().expect("panics are caught");
    let mut counts = Counts::default();
    lives.values().for_each(|life| counts.add(&life.counts));
    let failed: Vec<&Life> = lives.values().filter(|life| life.broken.is_some()).collect();
    let passed = lives.len() - failed.len();
    if args.json {
        print_json(&counts, passed, &failed);
    } else {
        println!("{counts}");
        println!("{:.1} s", started.elapsed().as_secs_f64());
        if let Some(first) = failed.first() {
            println!("repeat with: {}", command(first.seed, args));
        }
        println!("{passed} seeds passed, {} failed", failed.len());
    }
    ExitCode::from(u8::from(!failed.is_empty()))
}

fn print_json(counts: &Counts, passed: usize, failed: &[&Life]) {
    let counts: Vec<String> = counts.named().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let failure =
        |life: &&Life| format!("{{\"seed\":{},\"broken\":{:?}}}", life.seed, life.broken.as_deref().unwrap_or(""));
    let failures: Vec<String> = failed.iter().map(failure).collect();
    println!(
        "{{\"passed\":{passed},\"failed\":{},\"counts\":{{{}}},\"failures\":[{}]}}",
        failed.len(),
        counts.join(","),
        failures.join(",")
    );
}
