//! Holds `docs/simulation.md`: each mutation of its table is noticed by the checker and in the world that its row names, and each
//! directed scenario passes while all rules are in force.
#![allow(missing_docs)]

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use simulator::{
    Mutation, Story,
    directed::SCENARIOS,
    live,
    run::ended,
    score::{Row, broken_in, checker_of},
};

/// Number of threads, each with worlds of its own.
const THREADS: usize = 2;

const COMMAND: &str = "write the table anew: \
    cargo run -q -p cairn-simulator --features mutations -- --mutation-score --page docs/simulation.md";

fn rows() -> Vec<Row> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/simulation.md");
    Row::all_of(&std::fs::read_to_string(page).expect("the page is there"))
}

/// Runs `check` for each item in several threads, and returns what it finds.
fn in_threads<T: Sync>(items: &[T], check: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Relaxed)) {
                    found.lock().expect("no check panics").extend(check(item));
                }
            });
        }
    });
    found.into_inner().expect("no check panics")
}

#[test]
fn each_mutation_is_noticed_by_the_checker_and_in_the_world_of_the_page() {
    let rows = rows();
    let faults = in_threads(&rows, |Row { mutation: name, checker, place, .. }| {
        let Some(mutation) = Mutation::named(name) else { return Some(format!("{name} is no mutation")) };
        let (Some(checker), Some(place)) = (checker, place) else { return Some(format!("nothing notices {name}")) };
        match broken_in(place, mutation) {
            None => Some(format!("{name} is not noticed in {place}")),
            Some(broken) if checker_of(&broken) != *checker => {
                Some(format!("{name} is noticed in {place}, but not by {checker}: {broken}"))
            }
            Some(_) => None,
        }
    });
    assert!(faults.is_empty(), "{} of {}; {COMMAND}\n{}", faults.len(), rows.len(), faults.join("\n"));
}

#[test]
fn the_page_has_each_mutation_once() {
    let rows = rows();
    let on_page: BTreeSet<&str> = rows.iter().map(|row| row.mutation.as_str()).collect();
    assert_eq!(on_page.len(), rows.len(), "a mutation has two rows; {COMMAND}");
    let all = Mutation::all();
    let missing: Vec<&str> =
        all.iter().map(|known| known.name.as_str()).filter(|name| !on_page.contains(name)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}; {COMMAND}");
    for known in &all {
        let row = rows.iter().find(|row| row.mutation == known.name).expect("it has a row");
        assert_eq!(row.effect, known.effect, "{COMMAND}");
    }
    assert!(all.len() >= 80, "{} mutations", all.len());
}

#[test]
fn each_directed_scenario_passes_while_all_rules_are_in_force() {
    let faults = in_threads(SCENARIOS, |scenario| {
        let broken = ended(|| scenario.run(None, Story::default()))?;
        Some(format!("{}: {broken}", scenario.name))
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for name in SCENARIOS.iter().flat_map(|scenario| scenario.breaks) {
        assert!(Mutation::named(name).is_some(), "a scenario lists {name}, which is no mutation");
    }
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [0, 5, 17, 33, 87, 93, 172, 694] {
        assert_eq!(live(seed, None, Story::default()), live(seed, None, Story::default()));
    }
}
