//! A whole run: prepares the validators, injects the faults of each round, checks after each of them, lets one validator lie,
//! and audits the chain.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use client::{Client, fields};
use serde_json::json;

use crate::{
    ChaosError,
    agreement::Agreement,
    audit::Audit,
    inject::Injector,
    liar,
    net::Net,
    node::Version,
    plan::{Plan, Shape},
    tally::Report,
    traffic::Traffic,
    upgrade,
    wanted::{Place, Wanted},
    watch::Watch,
};

/// Time limit from the start of the processes until all validators have decided heights.
const READY_TIME_MAX: Duration = Duration::from_secs(90);
/// Interval between two looks at the validators during a calm.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// Number of heights from the decision about the upgrade to the upgrade.
const UPGRADE_AHEAD: u64 = 120;
/// Number of new heights that every validator must have after the faults of a round.
const NEW_HEIGHTS: u64 = 2;

/// Returns the plan of a run, which follows from its parameters alone.
pub fn plan(wanted: &Wanted) -> Plan {
    Plan::draw(Shape {
        seed: wanted.seed,
        nodes: wanted.validators,
        rounds: wanted.rounds(),
        kills: wanted.kills,
        length: wanted.round,
        small_disk: Net::SMALL_DISK,
    })
}

/// Executes a run. `say` receives a line when something happens; setting `stop` ends the run early.
///
/// All processes have ended when it returns or panics. A rule that the chain broke is in the report.
///
/// Errors: [`ChaosError::Wanted`] when the parameters are not possible; [`ChaosError::Machine`] when this machine does not do
/// what the run needs; [`ChaosError::Stopped`] when the run is stopped.
pub fn run(wanted: &Wanted, say: &dyn Fn(&str), stop: &AtomicBool) -> Result<Report, ChaosError> {
    wanted.check()?;
    let begun = Instant::now();
    let tell = |line: &str| say(&format!("[{:8.3} s] {line}", begun.elapsed().as_secs_f64()));
    let place = match wanted.place {
        Place::Namespaces => "namespaces",
        Place::Loopback => "loopback",
    };
    let validators = format!("{} in {place}", wanted.validators);
    let mut report = Report { seed: wanted.seed, validators, ..Report::default() };
    let plan = plan(wanted);
    let mut net = Net::prepare(wanted)?;
    report.skipped = net.skipped.clone();
    let ended = live(wanted, &plan, &mut net, &mut report, &tell, stop);
    report.time = begun.elapsed();
    match ended {
        Ok(()) => {}
        Err(ChaosError::Violation(sentence)) => report.violations.push(sentence),
        Err(error) => return Err(error),
    }
    if !report.is_well() {
        for node in &net.nodes {
            tell(&format!("{} says last: {}", node.name, node.last_words()));
        }
    }
    Ok(report)
}

/// The life of the chain. A violation ends it at once.
fn live(
    wanted: &Wanted,
    plan: &Plan,
    net: &mut Net,
    report: &mut Report,
    say: &dyn Fn(&str),
    stop: &AtomicBool,
) -> Result<(), ChaosError> {
    say(&format!("starting {} validators", net.nodes.len()));
    (0..net.nodes.len()).try_for_each(|index| net.start(index, &[]))?;
    let mut agreement = Agreement::default();
    let watch = Watch::start(net);
    let mut injector = Injector::new(net, report, &watch, say, stop);
    wait_until_ready(&mut injector)?;
    let mut traffic = Traffic::start(injector.net, wanted.seed, wanted.rate, plan.liar)?;
    let mut planned = None;
    for (index, round) in plan.rounds.iter().enumerate() {
        injector.back_up(&round.backups)?;
        if index == plan.upgrade_before {
            let height = upgrade::plan(injector.net, UPGRADE_AHEAD)?;
            say(&format!("the validators plan the upgrade {} for height {height}", upgrade::NAME));
            planned = Some(height);
        }
        say(&format!("round {} of {}", index + 1, plan.rounds.len()));
        injector.round(round, wanted.seed ^ index as u64)?;
        calm(wanted, &mut injector, &mut agreement, &watch)?;
    }
    wait_for_upgrade(wanted, &mut injector, planned)?;
    say(&format!("node{} runs twice from now on", plan.liar));
    let punished = liar::run(injector.net, plan.liar, stop)?;
    say(&format!(
        "{} is slashed and out of the set after {:.1} s, in which one of its processes stopped {} times",
        punished.address,
        punished.time.as_secs_f64(),
        punished.stops
    ));
    traffic.finish(wanted.recovery_max);
    audit(injector.net, injector.report, &traffic, &mut agreement, plan.liar, &punished.address)?;
    drop(traffic);
    let seen = watch.seen.votes.lock().expect("nothing panics while it holds the lock");
    (report.votes, report.round_max) = (seen.count(), seen.round_max);
    Ok(())
}

fn wait_until_ready(injector: &mut Injector<'_>) -> Result<(), ChaosError> {
    let until = Instant::now() + READY_TIME_MAX;
    loop {
        injector.supervise()?;
        if injector.net.nodes.iter().all(|node| node.client.chain().is_ok_and(|chain| chain.height.0 >= 2)) {
            return Ok(());
        }
        if Instant::now() > until {
            let words = injector.net.nodes.iter().map(|node| format!("{}: {}", node.name, node.last_words()));
            let words = words.collect::<Vec<_>>().join("\n");
            return Err(ChaosError::Machine(format!("no blocks within {} s:\n{words}", READY_TIME_MAX.as_secs())));
        }
        thread::sleep(LOOK_PERIOD);
    }
}

/// Ends all faults, waits until all validators are at the tip and sign, and compares their chains.
fn calm(
    wanted: &Wanted,
    injector: &mut Injector<'_>,
    agreement: &mut Agreement,
    watch: &Watch,
) -> Result<(), ChaosError> {
    injector.heal()?;
    let begun = Instant::now();
    let mut goal = None;
    let mut first_height = 0;
    loop {
        injector.start_what_is_down()?;
        let heights: Vec<Option<u64>> = injector.net.nodes.iter().map(|node| height_of(&node.client)).collect();
        if goal.is_none() && heights.iter().all(Option::is_some) {
            first_height = heights.iter().flatten().max().copied().unwrap_or_default();
            goal = Some(first_height + NEW_HEIGHTS);
        }
        let are_at_tip =
            goal.is_some_and(|goal| heights.iter().all(|height| height.is_some_and(|height| height >= goal)));
        if are_at_tip && all_sign(injector.net, first_height) {
            break;
        }
        if begun.elapsed() > wanted.recovery_max {
            return Err(ChaosError::Violation(format!(
                "{} s after the faults, the validators are at {heights:?} of {goal:?}, and not all sign",
                wanted.recovery_max.as_secs()
            )));
        }
        thread::sleep(LOOK_PERIOD);
    }
    injector.report.recovery_max = injector.report.recovery_max.max(begun.elapsed());
    let tips = injector.net.nodes.iter().filter_map(|node| height_of(&node.client));
    let tip = tips.min().unwrap_or_default();
    let nodes = injector.net.nodes.iter();
    let compared = nodes.map(|node| agreement.compare(&node.name, &node.client, tip));
    let mut wrong = Vec::new();
    for compared in compared {
        wrong.extend(compared.map_err(|error| ChaosError::Violation(format!("a validator does not answer: {error}")))?);
    }
    wrong.extend(observed(watch));
    if let Some(first) = wrong.first() {
        injector.report.violations.extend(wrong[1..].iter().cloned());
        return Err(ChaosError::Violation(first.clone()));
    }
    Ok(())
}

/// Returns what the observers found, one sentence each. No validator lies at this time.
fn observed(watch: &Watch) -> Vec<String> {
    let votes = watch.seen.votes.lock().expect("nothing panics while it holds the lock");
    let double = votes.double.iter().map(|slot| format!("a correct validator voted for two values: {slot:?}"));
    let repeated = votes.repeated.iter().map(|slot| format!("a correct validator signed one vote twice: {slot:?}"));
    let records = watch.seen.records.lock().expect("nothing panics while it holds the lock");
    double.chain(repeated).chain(records.iter().cloned()).collect()
}

fn height_of(client: &Client) -> Option<u64> {
    let status = client.call("status", json!({})).ok()?;
    let is_catching_up = status.pointer("/sync_info/catching_up").and_then(serde_json::Value::as_bool).unwrap_or(true);
    fields::number(&status, "/sync_info/latest_block_height").ok().filter(|_| !is_catching_up)
}

/// Returns true if each validator has signed a height after `from`, as commits show.
fn all_sign(net: &Net, from: u64) -> bool {
    let ask = || -> Option<bool> {
        let witness = &net.nodes[0].client;
        let tip = height_of(witness)?;
        let mut missing: Vec<String> = Vec::new();
        for node in &net.nodes {
            let status = node.client.call("status", json!({})).ok()?;
            missing.push(fields::text(&status, "/validator_info/address").ok()?.to_owned());
        }
        // Ten heights back are enough: a validator that signs is in nearly all of them.
        for height in (from + 1).max(tip.saturating_sub(10))..=tip {
            let commit = witness.call("commit", json!({ "height": height.to_string() })).ok()?;
            let signatures = commit.pointer("/signed_header/commit/signatures")?.as_array()?.clone();
            missing.retain(|address| !signatures.iter().any(|one| one["validator_address"] == address.as_str()));
        }
        Some(missing.is_empty())
    };
    ask().unwrap_or(false)
}

/// Waits until the chain is upgraded and all validators run the second program.
fn wait_for_upgrade(wanted: &Wanted, injector: &mut Injector<'_>, planned: Option<u64>) -> Result<(), ChaosError> {
    let Some(planned) = planned else { return Ok(()) };
    let until = Instant::now() + wanted.recovery_max.max(Duration::from_secs(60));
    loop {
        injector.start_what_is_down()?;
        let client = injector.net.nodes[0].client.clone();
        let done = upgrade::done(&client).ok().flatten();
        let all = injector.net.nodes.iter().all(|node| {
            node.version == Version::Next && height_of(&node.client).is_some_and(|height| height > planned)
        });
        if done == Some(planned) && all {
            injector.report.upgrade = done;
            return Ok(());
        }
        if Instant::now() > until {
            return Err(ChaosError::Violation(format!("the upgrade at height {planned} did not happen: {done:?}")));
        }
        thread::sleep(LOOK_PERIOD);
    }
}

/// Compares all heights of all correct validators, and what the blocks say with what was answered.
fn audit(
    net: &Net,
    report: &mut Report,
    traffic: &Traffic,
    agreement: &mut Agreement,
    liar: usize,
    address: &str,
) -> Result<(), ChaosError> {
    let failed = |error| ChaosError::Violation(format!("a validator does not answer after all faults: {error}"));
    let correct = || net.nodes.iter().filter(|node| node.index != liar);
    let mut tip = u64::MAX;
    for node in correct() {
        tip = tip.min(node.client.chain().map_err(failed)?.height.0);
    }
    agreement.again();
    for node in correct() {
        report.violations.extend(agreement.compare(&node.name, &node.client, tip).map_err(failed)?);
    }
    report.heights = agreement.heights();
    let ledger = &traffic.ledger;
    let (committed, accounts) = (ledger.all_committed(), ledger.accounts());
    let first = correct().next().expect("there are at least three");
    let mut audit = Audit::read(&first.client, tip).map_err(failed)?;
    audit.compare_answers(&committed, &ledger.all_unfinished());
    audit.compare_evidence(Some(address));
    for node in correct() {
        audit.compare_validator(&node.name, &node.client, &accounts, &committed).map_err(failed)?;
        audit.compare_supply(&node.name, &node.client, tip).map_err(failed)?;
    }
    if audit.evidence.is_empty() {
        audit.wrong.push("no block has evidence against the liar".to_owned());
    }
    report.evidence = audit.evidence.iter().map(|(height, _)| *height).collect();
    report.in_blocks = audit.txs();
    report.committed = committed.len();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    report.transfers = count(&ledger.transfers);
    report.stakes = (count(&ledger.stakes), count(&ledger.refused));
    report.repeated = count(&ledger.repeated);
    report.violations.append(&mut audit.wrong);
    Ok(())
}
