//! Proves with four validator processes that they agree, survive `kill -9`, halt without a quorum, and continue with
//! one.

mod processes;

use std::time::Duration;

use processes::{Homes, Validator};

fn four() -> Homes {
    Homes::new(4, Duration::from_millis(50))
}

/// Waits until the votes of these validators are in commits. A validator that is killed before its first signature has
/// no signing record, and would wait for the others after its restart.
fn until_all_sign(nodes: &mut [Validator]) {
    for node in nodes {
        node.wait_until("it signs", |node| node.metric("cometbft_consensus_validator_last_signed_height") >= 1.0);
    }
}

/// Creates four validators that report after 1.5 s that no block is decided.
fn quick_to_stall() -> Homes {
    Homes::with(4, Duration::from_millis(50), |options| {
        options.params.timeouts.propose = Duration::from_millis(500);
    })
}

/// Waits until a node reports that the height after its latest one is not decided; returns this height and the log
/// line. Reports for earlier heights are skipped, because a node may have logged them while the nodes started one after
/// the other.
fn stall(node: &mut Validator) -> (u64, String) {
    let last = node.height();
    let height_of = |line: &str| -> u64 {
        line.split_whitespace().find_map(|word| word.strip_prefix("height=")).unwrap().parse().unwrap()
    };
    let line = node.wait_for_line_where("no block is decided", |line| height_of(line) > last);
    (height_of(&line), line)
}

/// Checks that all nodes have the same block at a height, with the same app hash in its header.
fn expect_agreement(nodes: &[Validator], height: u64) {
    let hashes: Vec<_> = nodes.iter().map(|node| node.block_hash(height)).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}

/// Checks that `docs/metrics.md` documents each exported metric with its kind, and that a node has at most 1,000
/// series.
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
    let deadline = std::time::Instant::now() + processes::WAIT_MAX;
    while nodes[3].metric(signs) < goal as f64 {
        assert!(std::time::Instant::now() < deadline, "it does not sign again");
        std::thread::sleep(Duration::from_millis(50));
    }
    expect_agreement(&nodes, goal + 5);
}

#[test]
fn without_a_quorum_nothing_is_decided_and_with_one_the_chain_continues() {
    let homes = quick_to_stall();
    let mut nodes = homes.start_all();
    until_all_sign(&mut nodes);
    nodes.pop().unwrap().kill();
    nodes.pop().unwrap().kill();
    let (height, _) = stall(&mut nodes[0]);
    let halted = height - 1;
    assert_eq!(nodes[0].height(), halted);
    assert_eq!(stall(&mut nodes[0]).0, height, "two of four decide nothing, however long it lasts");
    assert_eq!(nodes[0].height(), halted);
    nodes.push(homes.start(2));
    nodes[0].wait_for_height(halted + 4);
    nodes[2].wait_for_height(halted + 4);
    expect_agreement(&nodes, halted + 4);
}

#[test]
fn validators_killed_all_at_once_continue_at_their_height() {
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

#[test]
fn a_stall_is_logged_at_once_with_the_missing_validators() {
    let homes = quick_to_stall();
    let mut nodes = homes.start_all();
    until_all_sign(&mut nodes);
    let addresses: Vec<String> = [2, 3]
        .map(|index: usize| nodes[index].call("status")["validator_info"]["address"].as_str().unwrap()[..10].to_owned())
        .into();
    nodes.drain(2..).for_each(Validator::kill);
    let (_, line) = stall(&mut nodes[0]);
    assert!(line.contains("missing_power=20") && line.contains("total_power=40"), "{line}");
    assert!(addresses.iter().all(|address| line.contains(address)), "{addresses:?} in {line}");
    let reasons = nodes[0].call_any("ready")["reasons"].to_string();
    assert!(reasons.contains("only validators with 20 of 40 power") && reasons.contains(&addresses[0]), "{reasons}");
    assert_eq!(nodes[0].metric("cometbft_consensus_missing_validators_power"), 20.0);
    assert_eq!(nodes[0].metric("cometbft_consensus_missing_validators"), 2.0);
    nodes.push(homes.start(2));
    nodes[0].wait_for_line("blocks are decided again");
}

#[test]
fn a_process_with_few_files_refuses_clients_first() {
    let homes = four();
    let mut nodes: Vec<_> = (0..4)
        .map(|index| Validator::spawn_with_files(&homes.home(index), 200, &[]))
        .collect::<Vec<_>>()
        .into_iter()
        .map(Validator::listening)
        .collect();
    assert!(nodes[0].log.iter().any(|line| line.contains("allows few open files")), "{:?}", nodes[0].log);
    nodes[0].wait_for_height(2);
    let address = nodes[0].rpc.strip_prefix("http://").unwrap().to_owned();
    let clients: Vec<_> = (0..300).filter_map(|_| std::net::TcpStream::connect(&address).ok()).collect();
    let goal = nodes[1].height() + 10;
    nodes[1].wait_for_height(goal);
    nodes[0].wait_for_height(goal); // its RPC still answers while the other clients hold their connections
    assert_eq!(nodes[0].metric("cometbft_p2p_peers"), 3.0);
    drop(clients);
    for node in nodes {
        let (code, log) = node.terminate();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn gauges_are_right_from_the_start() {
    let homes = Homes::new(1, Duration::from_millis(50));
    let mut node = homes.start(0);
    node.wait_for_height(5);
    assert_eq!(node.terminate().0, Some(0));
    // The gauges must come from the store: after the restart, the node decides at most the height for which it had
    // voted, and the next height waits for an hour.
    let node = Validator::spawn(&homes.home(0), &["--consensus.min_block_interval", "1h"]).listening();
    let scrape = node.metrics_text();
    let metric = |name: &str| processes::sum_of(&scrape, &format!("cometbft_consensus_{name}"));
    let height = metric("latest_block_height");
    assert!(height >= 5.0, "{height}");
    for (name, value) in [
        ("height", height + 1.0),
        ("validators", 1.0),
        ("validators_power", 10.0),
        ("validator_power", 10.0),
        ("validator_last_signed_height", height - 1.0),
        ("power_online", 10.0),
        ("precommits_counted", 1.0),
        ("precommits_staking_percentage", 1.0),
        ("validator_missed_blocks", 0.0),
        ("byzantine_validators", 0.0),
    ] {
        assert_eq!(metric(name), value, "{name}");
    }
    assert!(metric("block_size_bytes") > 100.0);
}

#[test]
fn a_full_node_keeps_a_transaction_for_validators_that_restart() {
    let homes = four();
    std::fs::remove_file(homes.home(0).join("config/priv_validator_key.json")).unwrap();
    let mut nodes = homes.start_all();
    until_all_sign(&mut nodes[1..]);
    // Two of the three validators are killed, so that the third is the only validator that receives the transaction.
    nodes.drain(2..).for_each(Validator::kill);
    let sent = std::process::Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(["tx", "send", "--from", "alice", "--to", "bob", "--amount", "5", "--no-wait"])
        .args(["--node", &nodes[0].rpc, "--home"])
        .arg(homes.folder.path())
        .output()
        .unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let waiting = |node: &Validator| node.call("num_unconfirmed_txs")["total"].clone();
    processes::eventually("the validator hears of it", || waiting(&nodes[1]) == "1");
    nodes.pop().unwrap().kill();
    // Now no running validator has the transaction. After their restart, the full node must send it to them.
    for index in 1..4 {
        nodes.push(homes.start(index));
    }
    processes::eventually("it is in a block", || waiting(&nodes[0]) == "0");
    for node in nodes {
        let (code, log) = node.terminate();
        assert_eq!(code, Some(0), "{log}");
    }
}
