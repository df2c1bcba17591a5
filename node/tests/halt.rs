//! Proves that nodes stop after the height that their operators chose, all at the same one, and go on without the flags.

mod processes;

use std::time::{Duration, SystemTime};

use processes::{Homes, Validator, signed};
use types::Time;

/// Returns the height of the line that says that a node stops.
fn last_height(log: &str) -> u64 {
    let line = log.lines().find(|line| line.contains("this is the last height")).unwrap_or_else(|| panic!("{log}"));
    line.split_whitespace().find_map(|word| word.strip_prefix("height=")).unwrap().parse().unwrap()
}

#[test]
fn all_validators_stop_after_the_same_height_and_go_on_without_the_flag() {
    let homes = Homes::new(4, Duration::from_millis(20));
    let starting: Vec<_> = (0..4).map(|node| Validator::spawn(&homes.home(node), &["--halt-height", "12"])).collect();
    for (node, validator) in starting.into_iter().enumerate() {
        let (code, log) = validator.ended();
        assert_eq!((code, last_height(&log)), (Some(0), 12), "{log}");
        assert_eq!(signed(&homes.home(node)).map(|(height, ..)| height), Some(12), "it signs nothing above");
    }
    let (code, log) = Validator::spawn(&homes.home(0), &["--halt-height", "12"]).ended();
    assert_eq!((code, last_height(&log)), (Some(0), 12), "it is there already: {log}");

    let mut nodes = homes.start_all();
    nodes.iter_mut().for_each(|node| node.wait_for_height(15));
    let hashes: Vec<_> = nodes.iter().map(|node| node.block_hash(13)).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}

#[test]
fn a_height_or_time_that_is_none_is_refused() {
    let homes = Homes::new(1, Duration::from_millis(20));
    for [flag, value] in [["--halt-height", "0"], ["--halt-height", "soon"], ["--halt-time", "soon"]] {
        let (code, log) = Validator::spawn(&homes.home(0), &[flag, value]).ended();
        assert_eq!(code, Some(2), "{flag} {value}: {log}");
    }
}

#[test]
fn one_node_stops_after_the_first_height_with_a_block_time_while_the_others_go_on() {
    let homes = Homes::new(4, Duration::from_millis(20));
    let nodes: Vec<_> = (0..3).map(|node| Validator::spawn(&homes.home(node), &[])).collect();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let time = Time::from_unix_millis(since.as_millis() as u64 + 3_000);
    let (code, log) = Validator::spawn(&homes.home(3), &["--halt-time", &time.to_string()]).ended();
    assert_eq!(code, Some(0), "{log}");
    let last = last_height(&log);
    let mut nodes: Vec<_> = nodes.into_iter().map(Validator::listening).collect();
    nodes[0].wait_for_height(last + 2);
    let time_of = |height: u64| {
        let block = nodes[0].call(&format!("block?height={height}"));
        Time::parse(block["block"]["header"]["time"].as_str().unwrap_or_else(|| panic!("{block}"))).unwrap()
    };
    assert!(time_of(last) >= time && time_of(last - 1) < time, "height {last}");
}
