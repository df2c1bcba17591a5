//! The short form of `cairn-chaos`: real validators on loopback, with each kind of fault that needs no namespaces at least
//! once, and all checks.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// Seed of the run: its plan is the same on each machine.
const SEED: &str = "1";

/// Runs the program with arguments; returns its exit code and its output.
fn chaos(args: &[&str]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cairn-chaos"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Standard error has one sentence at most, so it fits into its pipe.
    let out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect::<Vec<_>>().join("\n");
    let output = child.wait_with_output().unwrap();
    (output.status.code(), out + "\n" + &String::from_utf8(output.stderr).unwrap())
}

/// Returns the numbers in the line of the summary that begins with a word.
fn numbers(output: &str, word: &str) -> Vec<u64> {
    let line = output.lines().rev().find(|line| line.strip_prefix(word).is_some_and(|rest| rest.starts_with("  ")));
    let line = line.unwrap_or_else(|| panic!("no {word:?} in:\n{output}"));
    let words = line[word.len()..].split(|c: char| !c.is_ascii_digit());
    words.filter(|word| !word.is_empty()).map(|word| word.parse().unwrap()).collect()
}

#[test]
fn validators_survive_each_kind_of_fault() {
    let (code, output) = chaos(&["--short", "--loopback", "--seed", SEED]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.starts_with("seed 1: cairn-chaos --seed 1 --short --loopback\n"), "{output}");
    for kind in [
        "kill",
        "pause",
        "restart-all",
        "wipe-database",
        "wipe-all",
        "lose-record",
        "restore-old",
        "restore-old-lose-record",
        "swap-program",
        "cut-one",
        "cut-half",
        "delay",
        "loss",
        "narrow",
    ] {
        assert!(numbers(&output, kind)[0] >= 1, "{kind}: {output}");
    }
    // These need a mount, a C compiler, and namespaces.
    for kind in ["full-disk", "clock", "one-way"] {
        let counts = numbers(&output, kind);
        assert!(counts[0] + counts[1] >= 1, "{kind}: {output}");
        assert!(counts[1] == 0 || output.contains(&format!("{kind} was skipped: ")), "{kind}: {output}");
    }
    assert!(numbers(&output, "processes killed")[0] >= 8, "{output}");
    assert!(numbers(&output, "answered as committed")[0] > 100, "{output}");
    assert_eq!(numbers(&output, "upgrade").len(), 1, "{output}");
    assert!(!numbers(&output, "evidence against the liar").is_empty(), "{output}");
    assert_eq!(numbers(&output, "violations"), [0], "{output}");
}

#[test]
fn a_seed_repeats_its_plan() {
    let plan = |seed: &str| chaos(&["--plan", "--minutes", "15", "--kills", "100", "--seed", seed]).1;
    assert_eq!(plan("3"), plan("3"));
    assert_ne!(plan("3").lines().skip(1).collect::<Vec<_>>(), plan("4").lines().skip(1).collect::<Vec<_>>());
    assert!(plan("3").matches("kill -9").count() >= 60, "{}", plan("3"));
}

#[test]
fn what_is_not_possible_is_refused_with_the_option() {
    for (args, option) in [
        (["--validators", "3"], "--validators 3"),
        (["--rate", "0"], "--rate 0"),
        (["--minutes", "0"], "--minutes 0"),
        (["--kills", "20000"], "--kills 20000"),
    ] {
        let (code, output) = chaos(&[&args[..], &["--plan"]].concat());
        assert!(code == Some(2) && output.contains(option), "{code:?} {output}");
    }
}
