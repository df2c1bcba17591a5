//! A whole run: starts validators in containers, loads them, injects faults, queries the results, and removes
//! everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use client::Client;
use load::{Arrivals, Event, Mode, Observer, Order, Plan};

use crate::{
    FaultsError, chain, docker,
    net::{Net, remove_what_dead_runs_left},
    record::{Ledger, Span},
    report::{self, FORMAT, Report, Row, Times},
    scenario::Scenario,
    wait::{LOOK_PERIOD, sleep, wait_for},
    wanted::{GAP, RECOVERY_TIME_MAX, WARM_UP, Wanted},
};

/// Time limit from the end of the load until all accepted transactions are committed.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(30);
/// The next scenario starts when at most this share of one second's transactions has waited for more than 1 s.
const BACKLOG: f64 = 0.05;

/// Executes a run. `on_phase` receives a line when a phase starts, `load_seen` receives the progress of the load, and
/// setting `stop` ends the run early.
///
/// Containers, networks and volumes are removed when it returns or panics. The next run removes what a killed run left
/// behind.
///
/// Errors: [`FaultsError::Wanted`] when the parameters are not possible; [`FaultsError::Docker`] when Docker or the
/// relay fails; [`FaultsError::Load`] when the load cannot begin or a validator does not answer;
/// [`FaultsError::LoadEnded`] when the load ends too early; [`FaultsError::Stopped`] when the run is stopped. Faults of
/// the validators are not errors but part of the report.
pub fn run(
    wanted: &Wanted,
    on_phase: &(dyn Fn(&str) + Sync),
    load_seen: &mut (dyn Observer + Send),
    stop: &AtomicBool,
) -> Result<Report, FaultsError> {
    wanted.check()?;
    let compose = docker::compose_command()?;
    if docker::docker(&["image", "inspect", "-f", "{{.Id}}", &wanted.image]).is_err() {
        let image = &wanted.image;
        return Err(FaultsError::Wanted(format!(
            "there is no image {image}: `make image` in the sources builds cairn:latest, --image names another"
        )));
    }
    remove_what_dead_runs_left(&compose)?;
    on_phase("starting validators and a relay between them");
    let net = Net::start(wanted, compose, stop)?;
    let result = net.try_scenarios(wanted, on_phase, load_seen, stop);
    if result.is_err() && !stop.load(Ordering::Relaxed) {
        on_phase(&net.last_words());
    }
    result
}

/// The scenarios that were executed, with their times.
#[derive(Default)]
struct Tried {
    times: Vec<Times>,
    /// Indices of the killed validators, with the time of each kill.
    kills: Vec<(usize, Instant)>,
}

impl Net {
    fn try_scenarios(
        &self,
        wanted: &Wanted,
        on_phase: &(dyn Fn(&str) + Sync),
        load_seen: &mut (dyn Observer + Send),
        stop: &AtomicBool,
    ) -> Result<Report, FaultsError> {
        let ledger = Arc::new(Ledger::new(self.names.len()));
        let plan = self.plan(wanted, &ledger);
        let (is_loading, end_load) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let mut seen = Seen { inner: load_seen, is_loading: &is_loading };
            let (plan, end) = (&plan, &end_load);
            let loading = scope.spawn(move || load::run(plan, &mut seen, end));
            let tried = wait_for(&is_loading, || loading.is_finished(), stop)
                .and_then(|()| sleep(WARM_UP, stop))
                .and_then(|()| self.each_scenario(wanted, &ledger, on_phase, &|| loading.is_finished(), stop));
            end_load.store(true, Ordering::Relaxed);
            on_phase("ending the load");
            let loaded = loading.join().expect("the load does not panic");
            let tried = match (tried, loaded) {
                (Err(FaultsError::LoadEnded), Err(error)) => return Err(error.into()),
                (tried, _) => tried?,
            };
            self.settle(&ledger, &tried, stop)?;
            on_phase("comparing the validators' chains");
            self.report(wanted, &ledger, &tried)
        })
    }

    fn plan(&self, wanted: &Wanted, ledger: &Arc<Ledger>) -> Plan {
        let nodes = self.urls.iter().map(|url| load::Node { rpc: url.clone(), metrics: None }).collect();
        let length = wanted.load_time_max();
        let mut plan = Plan::new(nodes, Mode::Open { rate: wanted.rate }, length, wanted.file.clone());
        // Each transaction has its own sender, so that one that is lost with a validator does not block others.
        let txs = wanted.rate * (length + plan.warm_up + plan.cool_down).as_secs_f64();
        plan.senders = (txs + 6.0 * txs.sqrt()).ceil() as u32 + 10;
        // Evenly spaced transactions would align with the rotation of proposers: each would go to the same proposer in
        // turn.
        plan.arrivals = Arrivals::Poisson;
        plan.order = Order::Nonce;
        plan.funder = Some(self.funder.clone());
        plan.timeout = SETTLE_TIME_MAX;
        plan.witness = Some(ledger.clone());
        plan
    }

    /// Executes each scenario, with its baseline before and its recovery after it.
    fn each_scenario(
        &self,
        wanted: &Wanted,
        ledger: &Ledger,
        on_phase: &(dyn Fn(&str) + Sync),
        load_has_ended: &dyn Fn() -> bool,
        stop: &AtomicBool,
    ) -> Result<Tried, FaultsError> {
        let mut tried = Tried::default();
        for scenario in &wanted.scenarios {
            on_phase(&format!("{scenario}: {:.0} s of baseline", wanted.baseline.as_secs_f64()));
            let from = Instant::now();
            sleep(wanted.baseline, stop)?;
            let baseline = Span { from, to: Instant::now() };
            sleep(GAP, stop)?;
            on_phase(&format!("{scenario}: {:.0} s", wanted.duration.as_secs_f64()));
            let begun = Instant::now();
            self.begin(*scenario, wanted)?;
            if *scenario == Scenario::Kill {
                tried.kills.push((self.names.len() - 1, Instant::now()));
            }
            let slept = sleep(wanted.duration.saturating_sub(begun.elapsed()), stop);
            let healed = Instant::now();
            self.end(*scenario, wanted)?;
            slept?; // the error of an early end is returned only now, after the fault has ended
            let mut times =
                Times { scenario: *scenario, baseline, fault: Span { from: begun, to: healed }, end: Instant::now() };
            let has_recovered = self.wait_for_recovery(wanted, ledger, &mut times, load_has_ended, stop)?;
            tried.times.push(times);
            if !has_recovered {
                on_phase(&format!(
                    "{scenario}: no recovery after {} s; the remaining scenarios are skipped",
                    RECOVERY_TIME_MAX.as_secs()
                ));
                break;
            }
            wait_for_calm(wanted, ledger, stop)?;
        }
        Ok(tried)
    }

    /// Waits until all validators are at the tip and the throughput has recovered. Returns false if it takes more than
    /// 60 s.
    fn wait_for_recovery(
        &self,
        wanted: &Wanted,
        ledger: &Ledger,
        times: &mut Times,
        load_has_ended: &dyn Fn() -> bool,
        stop: &AtomicBool,
    ) -> Result<bool, FaultsError> {
        let nodes = self.names.len();
        let (counted, behind) = (times.scenario.counted(nodes), times.scenario.behind(nodes));
        let healed = times.fault.to;
        loop {
            let now = Instant::now();
            let is_over = {
                let record = ledger.record();
                record.at_tip(&counted, &behind, healed).is_some()
                    && record.is_full_again(&counted, wanted.rate, healed, now).is_some()
            };
            times.end = now;
            if is_over || now > healed + RECOVERY_TIME_MAX {
                return Ok(is_over);
            }
            if load_has_ended() {
                return Err(FaultsError::LoadEnded);
            }
            sleep(LOOK_PERIOD, stop)?;
        }
    }

    /// Waits until no accepted transaction counts as lost, or until the time limit.
    fn settle(&self, ledger: &Ledger, tried: &Tried, stop: &AtomicBool) -> Result<(), FaultsError> {
        let until = Instant::now() + SETTLE_TIME_MAX;
        while ledger.record().account(&tried.kills).lost > 0 && Instant::now() < until {
            self.read_what_is_missing(ledger)?;
            sleep(LOOK_PERIOD, stop)?;
        }
        Ok(())
    }

    /// Reads the heights that were not read yet, from the first validator.
    fn read_what_is_missing(&self, ledger: &Ledger) -> Result<(), FaultsError> {
        let client = Client::new(&self.urls[0], None)?;
        let tip = client.chain()?.height.0;
        let first = ledger.record().first_height().unwrap_or(tip);
        let missing: Vec<u64> = (first..=tip).filter(|height| !ledger.record().has_read(*height)).collect();
        for height in missing {
            if let Some(keys) = load::block_keys(&client, height) {
                ledger.record().block(height, &keys);
            }
        }
        Ok(())
    }

    fn report(&self, wanted: &Wanted, ledger: &Ledger, tried: &Tried) -> Result<Report, FaultsError> {
        let nodes = self.names.len();
        self.read_what_is_missing(ledger)?;
        let mut violations = self.who_ended()?;
        let clients = self.urls.iter().map(|url| Client::new(url, None)).collect::<Result<Vec<Client>, _>>()?;
        let tips =
            clients.iter().map(|client| Ok(client.chain()?.height.0)).collect::<Result<Vec<u64>, FaultsError>>()?;
        let last = tips.into_iter().min().unwrap_or(0);
        let first = ledger.record().first_height().unwrap_or(last);
        let chains = clients
            .iter()
            .map(|client| chain::heads(client, first..=last))
            .collect::<Result<Vec<chain::Heads>, _>>()?;
        let record = ledger.record();
        let unread = chains[0].iter().filter(|(height, head)| head.txs > 0 && !record.has_read(**height)).count();
        if unread > 0 {
            violations.push(format!("{unread} blocks could not be read from any validator"));
        }
        let differences = chain::differences(&self.names, &chains, first..=last);
        let heights_compared = (last + 1).saturating_sub(first);
        violations.extend(differences.into_iter().take(20));
        let transactions = record.account(&tried.kills);
        violations.extend(report::losses(&transactions));
        let scenarios: Vec<Row> = tried.times.iter().map(|times| Row::of(&record, times, nodes, wanted.rate)).collect();
        violations.extend(scenarios.iter().flat_map(report::not_recovered));
        let mut warnings = Vec::new();
        if transactions.died_with_validator > 0 {
            warnings.push(format!(
                "{} transactions were accepted by a validator in the last second before it was killed, and were lost with it: an answer to \
                 broadcast_tx_sync does not promise a commit",
                transactions.died_with_validator
            ));
        }
        match self.passed_bytes()? {
            0 => violations.push("no bytes passed the relay: the validators are connected without it".to_owned()),
            bytes => warnings.push(format!("{:.1} MB between validators passed the relay", bytes as f64 / 1e6)),
        }
        Ok(Report {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            validators: nodes,
            rate_per_s: wanted.rate,
            scenarios,
            transactions,
            heights_compared,
            violations,
            warnings,
        })
    }
}

/// Observer that notices the start of the load, and passes all events to another observer.
struct Seen<'a> {
    inner: &'a mut (dyn Observer + Send),
    is_loading: &'a AtomicBool,
}

impl Observer for Seen<'_> {
    fn see(&mut self, event: &Event<'_>) {
        if let Event::StageBegins { .. } = event {
            self.is_loading.store(true, Ordering::Relaxed);
        }
        self.inner.see(event);
    }
}

/// Waits until the backlog of a fault is small, so that it does not affect other figures, or until the time limit.
fn wait_for_calm(wanted: &Wanted, ledger: &Ledger, stop: &AtomicBool) -> Result<(), FaultsError> {
    let until = Instant::now() + RECOVERY_TIME_MAX;
    let few = (wanted.rate * BACKLOG).ceil() as usize;
    while ledger.record().waiting(Instant::now() - Duration::from_secs(1)) > few && Instant::now() < until {
        sleep(LOOK_PERIOD, stop)?;
    }
    Ok(())
}
