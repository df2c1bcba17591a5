//! A test harness for tests with requirements that not every machine meets. If a requirement is missing, the tests
//! count as ignored, and the reason is shown. The harness of the standard library can decide this only at compile time.
#![allow(clippy::print_stdout, reason = "what a harness is for")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

/// A test: its name, and the function to run with the value that `prepare` returned.
pub type Test<T> = (&'static str, fn(&T));

/// Runs the tests one after the other. If the command line has arguments, only tests whose name contains one of them
/// run.
///
/// `prepare` provides the requirements; the returned value is dropped at the end. If it fails, its error is the reason
/// why all tests are ignored.
pub fn main<T>(prepare: impl FnOnce() -> Result<T, String>, tests: &[Test<T>]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let wanted: Vec<&Test<T>> = tests.iter().filter(|(name, _)| is_wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        wanted.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    // `--ignored` asks for tests that are marked as ignored, and this harness has none.
    let wanted = if arguments.iter().any(|argument| argument == "--ignored") { Vec::new() } else { wanted };
    let started = Instant::now();
    println!("\nrunning {} tests", wanted.len());
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    let prepared = if wanted.is_empty() { Err("none is wanted".to_owned()) } else { prepare() };
    for (name, run) in &wanted {
        let outcome = match &prepared {
            Err(reason) => {
                ignored += 1;
                format!("ignored, {reason}")
            }
            Ok(found) if catch_unwind(AssertUnwindSafe(|| run(found))).is_ok() => {
                passed += 1;
                "ok".to_owned()
            }
            Ok(_) => {
                failed += 1;
                "FAILED".to_owned()
            }
        };
        println!("test {name} ... {outcome}");
    }
    drop(prepared);
    let (verdict, filtered) = (if failed == 0 { "ok" } else { "FAILED" }, tests.len() - wanted.len());
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {filtered} filtered out; \
         finished in {:.2}s\n",
        started.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
