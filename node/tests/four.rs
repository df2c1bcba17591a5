//! Four validators, each a process: they agree, survive kill −9, halt without a quorum, and go on.

mod processes;

use std::time::Duration;

use processes::{Homes, Validator};

fn four() -> Homes {
    Homes::new(4, Duration::from_millis(50))
}

/// All have the same block, with the same state behind it.
fn expect_agreement(nodes: &[Validator], height: u64) {
    let hashes: Vec<_> = nodes.iter().map(|node| node.block_hash(height)).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}

/// Whatever a node exports stands in `docs/metrics.md`, with its kind, and there is not too much of it.
fn expect_documented_metrics(node: &Validator) {
    let (page, text) = (node::metrics::manual(), node.metrics_text());
    let sections: Vec<&str> = page.split("\n## ").collect();
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE cometbft_")) {
        let (name, kind) = family.split_once(' ').unwrap();
        let (subsystem, rest) = name.split_once('_').unwrap();
        let section = sections.iter().find(|section| section.starts_with(&format!("{subsystem}\n")));
        let is_row = |line: &str| line.starts_with(&format!("| `{rest}` |")) && line.contains(&format!("| {kind} |"));
        assert!(
            section.is_some_and(|section| section.lines().any(is_row)),
            "{name}, a {kind}, is not in docs/metrics.md"
        );
    }
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series <= 1_000, "{series} series");
}

#[test]
fn four_validators_agree_and_each_height_costs_two_syncs() {
    let homes = four();
    let mut nodes = homes.start_all();
    nodes.iter_mut().for_each(|node| node.wait_for_height(20));
    expect_agreement(&nodes, 20);
    let syncs = "cometbft_consensus_syncs_total";
    let (syncs_before, height_before) = (nodes[0].metric(syncs), nodes[0].height());
    let goal = nodes[0].height() + 20;
    nodes[0].wait_for_height(goal);
    let per_height = (nodes[0].metric(syncs) - syncs_before) / (nodes[0].height() - height_before) as f64;
    assert!((1.8..2.3).contains(&per_height), "{per_height} syncs a height");
    assert!(nodes[0].metric("cometbft_p2p_peers") == 3.0);
    assert!(nodes[0].metric("cometbft_consensus_height") >= 20.0);
    assert!(nodes[0].metric("cometbft_consensus_ready") == 1.0);
    assert!(nodes[0].metric("cometbft_consensus_power_online") >= 30.0);
    assert!(nodes[0].metric("cometbft_consensus_clock_skew_seconds").abs() < 5.0, "all have one clock");
    nodes.iter().for_each(expect_documented_metrics);
    for node in nodes {
        let (code, log) = node.terminate();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn a_killed_validator_comes_back_catches_up_and_signs_again() {
    let homes = four();
    let mut nodes = homes.start_all();
    nodes[3].wait_for_height(3);
    nodes.pop().unwrap().kill();
    let goal = nodes[0].height() + 10;
    nodes[0].wait_for_height(goal);
    nodes.push(homes.start(3));
    nodes[3].wait_for_height(goal + 5);
    let signs = "cometbft_consensus_validator_last_signed_height";
    let deadline = std::time::Instant::now() + processes::PATIENCE;
    while nodes[3].metric(signs) < goal as f64 {
        assert!(std::time::Instant::now() < deadline, "it does not sign again");
        std::thread::sleep(Duration::from_millis(50));
    }
    expect_agreement(&nodes, goal + 5);
}

#[test]
fn without_a_quorum_nothing_is_decided_and_with_one_it_goes_on() {
    let homes = four();
    let mut nodes = homes.start_all();
    nodes.iter_mut().for_each(|node| node.wait_for_height(3));
    nodes.pop().unwrap().kill();
    nodes.pop().unwrap().kill();
    std::thread::sleep(Duration::from_millis(500)); // what was under way may still be decided
    let halted = nodes[0].height();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(nodes[0].height(), halted, "two of four decide nothing");
    nodes.push(homes.start(2));
    nodes[0].wait_for_height(halted + 4);
    nodes[2].wait_for_height(halted + 4);
    expect_agreement(&nodes, halted + 4);
}

#[test]
fn all_killed_at_once_go_on_from_where_they_were() {
    let homes = four();
    let mut nodes = homes.start_all();
    nodes.iter_mut().for_each(|node| node.wait_for_height(5));
    let before: Vec<_> = (1..=5).map(|height| nodes[0].block_hash(height)).collect();
    nodes.into_iter().for_each(Validator::kill);
    let mut nodes = homes.start_all();
    nodes.iter_mut().for_each(|node| node.wait_for_height(10));
    let after: Vec<_> = (1..=5).map(|height| nodes[1].block_hash(height)).collect();
    assert_eq!(before, after, "a decided height never changes");
    expect_agreement(&nodes, 10);
}
