//! A whole run: starts validators in containers, loads them, injects faults, queries the results, and removes
//! everything.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use load::{Arrivals, Event, LoadError, Mode, Observer, Order, Plan, Rpc};
use serde_json::{Value, json};
use types::SecretKey;

use crate::{
    FaultsError, chain,
    docker::{self, Project},
    record::{Ledger, Span},
    relay::Control,
    report::{self, FORMAT, Report, Row, Times},
    scenario::Scenario,
    topology::{NODES_MAX, NODES_MIN, Topology},
};

/// Prefix of the projects' names; the id of the process that owns the project follows.
const PROJECT: &str = "cairn-faults-";
/// Time limit from the start of the containers until all validators have committed a height.
const READY_TIME_MAX: Duration = Duration::from_secs(90);
/// Time limit from the end of a fault until everything has recovered.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(60);
/// Time limit from the end of the load until all accepted transactions are committed.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(30);
/// Usual maximum time of the calls to Docker, the recovery and the wait for calm of one scenario.
const USUAL_TIME_MAX: Duration = Duration::from_secs(20);
/// Length of the load before the first scenario.
const WARM_UP: Duration = Duration::from_secs(3);
/// Pause between a baseline and its fault, so that what was due in the baseline is committed before the fault.
const GAP: Duration = Duration::from_secs(1);
/// The next scenario starts when at most this share of one second's transactions has waited for more than 1 s.
const BACKLOG: f64 = 0.05;
/// Interval between two checks of a condition.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// Maximum number of transactions of a run, because each has its own sender.
const TXS_MAX: f64 = 500_000.0;

/// The parameters of a run.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Name of the image that has Cairn.
    pub image: String,
    /// Number of validators in the chain.
    pub validators: usize,
    /// True if the validators dial each other over QUIC instead of TCP.
    pub quic: bool,
    /// Scenarios in the order in which they are executed.
    pub scenarios: Vec<Scenario>,
    /// Rate of the load in transactions per second.
    pub rate: f64,
    /// Duration of each fault.
    pub duration: Duration,
    /// Duration of the measurement before each fault, with which the fault is compared.
    pub baseline: Duration,
    /// Delay of each direction in the scenario `delay`.
    pub delay: Duration,
    /// Maximum random time that is added to this delay.
    pub jitter: Duration,
    /// Path of the file of signed transactions during the run.
    pub file: PathBuf,
}

impl Wanted {
    /// Returns the maximum duration of the load.
    fn load_time_max(&self) -> Duration {
        let each = self.baseline + GAP + self.duration + USUAL_TIME_MAX;
        // The run ends after a scenario that takes longer to recover.
        WARM_UP + each * u32::try_from(self.scenarios.len()).unwrap_or(u32::MAX) + 2 * RECOVERY_TIME_MAX
    }

    /// Checks that every value is in its range.
    fn check(&self) -> Result<(), FaultsError> {
        let wrong = |sentence: String| Err(FaultsError::Wanted(sentence));
        let Self { validators, rate, duration, baseline, .. } = self;
        if !(NODES_MIN..=NODES_MAX).contains(validators) {
            return wrong(format!("--validators is {validators}: use {NODES_MIN} to {NODES_MAX}"));
        }
        if self.scenarios.is_empty() {
            return wrong("--scenarios is empty: leave it out for all of them".to_owned());
        }
        let lengths = Duration::from_secs(1)..=Duration::from_secs(600);
        for (flag, length) in [("--duration", duration), ("--baseline", baseline)] {
            if !lengths.contains(length) {
                return wrong(format!("{flag} is {} s: use 1s to 600s", length.as_secs_f64()));
            }
        }
        if self.delay + self.jitter > Duration::from_secs(10) {
            return wrong("--delay and --jitter are more than 10 s together: use less".to_owned());
        }
        let txs = rate * self.load_time_max().as_secs_f64();
        if !(*rate >= 1.0 && txs <= TXS_MAX) {
            return wrong(format!(
                "--rate is {rate}: use 1 to {:.0} per second, so that the longest possible run has at most {TXS_MAX} transactions",
                TXS_MAX / self.load_time_max().as_secs_f64()
            ));
        }
        Ok(())
    }
}

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

fn remove_what_dead_runs_left(compose: &[String]) -> Result<(), FaultsError> {
    for name in docker::projects()? {
        let pid = name.strip_prefix(PROJECT).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| pid != std::process::id() && is_gone(pid)) {
            // Compose finds what belongs to the project by its labels, so the file can be a placeholder.
            let project = Project::new(compose.to_vec(), name, "services: {x: {image: x}}\n".to_owned());
            project.remove()?;
            remove_volumes(&project)?;
        }
    }
    Ok(())
}

/// Returns true if there is no such process. Returns false on systems where this cannot be found out.
fn is_gone(pid: u32) -> bool {
    let processes = std::path::Path::new("/proc");
    processes.join("self").exists() && !processes.join(pid.to_string()).exists()
}

/// Removes the volumes and networks of the project that its file does not name.
fn remove_volumes(project: &Project) -> Result<(), FaultsError> {
    for what in ["volume", "network"] {
        let filter = format!("label=com.docker.compose.project={}", project.name());
        let left = docker::docker(&[what, "ls", "-q", "--filter", &filter])?;
        for name in left.lines() {
            docker::docker(&[what, "rm", name])?;
        }
    }
    Ok(())
}

/// The scenarios that were executed, with their times.
#[derive(Default)]
struct Tried {
    times: Vec<Times>,
    /// Indices of the killed validators, with the time of each kill.
    kills: Vec<(usize, Instant)>,
}

/// Validators in containers, which are removed when it is dropped.
struct Net {
    project: Project,
    names: Vec<String>,
    containers: Vec<String>,
    urls: Vec<String>,
    relay: Control,
    funder: SecretKey,
}

/// Guard that removes a project when it is dropped.
struct Removed(Option<Project>);

impl Removed {
    fn keep(mut self) -> Option<Project> {
        self.0.take()
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if let Some(project) = &self.0 {
            let _ = project.remove(); // on an error, the next run tries again
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // A paused container cannot be stopped, so it is unpaused first; for other containers this call fails without
        // effect.
        if let Some(container) = self.containers.last() {
            let _ = docker::docker(&["unpause", container]);
        }
        let _ = self.project.remove(); // on an error, the next run tries again
    }
}

impl Net {
    fn start(wanted: &Wanted, compose: Vec<String>, stop: &AtomicBool) -> Result<Self, FaultsError> {
        let ports = free_ports(wanted.validators + 1)?;
        let (control_port, rpc_ports) = (ports[0], ports[1..].to_vec());
        let topology = Topology { image: wanted.image.clone(), rpc_ports, control_port, quic: wanted.quic };
        let name = format!("{PROJECT}{}", std::process::id());
        let mut removed = Removed(Some(Project::new(compose, name, topology.compose_file(&[]))));
        let project = removed.0.as_mut().expect("it was put there a moment ago");
        let said = project.compose(&["run", "--rm", "-T", "init", &topology.init_script()])?;
        let (ids, key) = said.split_once('{').unwrap_or((&said, ""));
        let ids: Vec<String> = ids.split_whitespace().map(str::to_owned).collect();
        let unexpected = || FaultsError::Docker(format!("{} has no `cairn` of this version", wanted.image));
        let funder = secret(&format!("{{{key}")).filter(|_| ids.len() == wanted.validators).ok_or_else(unexpected)?;
        if stop.load(Ordering::Relaxed) {
            return Err(FaultsError::Stopped);
        }
        project.set_file(topology.compose_file(&ids));
        let names: Vec<String> = (0..wanted.validators).map(|index| format!("node{index}")).collect();
        let services: Vec<&str> = names.iter().map(String::as_str).chain(["relay"]).collect();
        project.compose(&[&["up", "-d", "--no-build"], &services[..]].concat())?;
        let containers = names.iter().map(|name| project.container(name)).collect::<Result<_, _>>()?;
        let net = Self {
            names,
            containers,
            urls: topology.rpc_ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect(),
            relay: Control::at(SocketAddr::from((Ipv4Addr::LOCALHOST, control_port))),
            funder,
            project: removed.keep().expect("it is held until it is taken here"),
        };
        net.wait_until_ready(stop)?;
        Ok(net)
    }

    fn wait_until_ready(&self, stop: &AtomicBool) -> Result<(), FaultsError> {
        let until = Instant::now() + READY_TIME_MAX;
        loop {
            let not_ready: Vec<&String> = self
                .names
                .iter()
                .zip(&self.urls)
                .filter(|(_, url)| !self.is_ready(url))
                .map(|(name, _)| name)
                .collect();
            if not_ready.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                let (seconds, words) = (READY_TIME_MAX.as_secs(), self.last_words());
                return Err(FaultsError::Docker(format!("{not_ready:?} not ready within {seconds} s\n{words}")));
            }
            sleep(LOOK_PERIOD, stop)?;
        }
    }

    /// Returns true if the validator has a height, is not catching up, and has a connection to each other validator.
    fn is_ready(&self, url: &str) -> bool {
        let ask = || -> Result<bool, LoadError> {
            let mut rpc = Rpc::new(url)?;
            let chain = rpc.chain()?;
            let peers = rpc.call("net_info", json!({}))?["n_peers"].as_str().and_then(|count| count.parse().ok());
            Ok(chain.height.0 > 0 && !chain.catching_up && peers == Some(self.names.len() - 1))
        };
        ask().unwrap_or(false)
    }

    fn last_words(&self) -> String {
        self.project.compose(&["logs", "--no-color", "--tail", "5"]).unwrap_or_default()
    }

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

    /// Returns the container of the last validator, which the faults affect.
    fn victim(&self) -> &str {
        self.containers.last().expect("there are at least four")
    }

    fn begin(&self, scenario: Scenario, wanted: &Wanted) -> Result<(), FaultsError> {
        match (scenario, scenario.orders(self.names.len(), wanted.delay, wanted.jitter)) {
            (Scenario::Kill, _) => docker::docker(&["kill", "-s", "KILL", self.victim()]).map(drop),
            (Scenario::Pause, _) => docker::docker(&["pause", self.victim()]).map(drop),
            (_, Some((begin, _))) => self.relay.order(&begin).map(drop).map_err(FaultsError::Docker),
            (_, None) => Ok(()),
        }
    }

    fn end(&self, scenario: Scenario, wanted: &Wanted) -> Result<(), FaultsError> {
        match (scenario, scenario.orders(self.names.len(), wanted.delay, wanted.jitter)) {
            (Scenario::Kill, _) => docker::docker(&["start", self.victim()]).map(drop),
            (Scenario::Pause, _) => docker::docker(&["unpause", self.victim()]).map(drop),
            (_, Some((_, end))) => self.relay.order(&end).map(drop).map_err(FaultsError::Docker),
            (_, None) => Ok(()),
        }
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
        let mut rpc = Rpc::new(&self.urls[0])?;
        let tip = rpc.chain()?.height.0;
        let first = ledger.record().first_height().unwrap_or(tip);
        let missing: Vec<u64> = (first..=tip).filter(|height| !ledger.record().has_read(*height)).collect();
        for height in missing {
            if let Some(keys) = load::block_keys(&mut rpc, height) {
                ledger.record().block(height, &keys);
            }
        }
        Ok(())
    }

    fn report(&self, wanted: &Wanted, ledger: &Ledger, tried: &Tried) -> Result<Report, FaultsError> {
        let nodes = self.names.len();
        self.read_what_is_missing(ledger)?;
        let mut violations = self.who_ended()?;
        let mut rpcs = self.urls.iter().map(|url| Rpc::new(url)).collect::<Result<Vec<Rpc>, _>>()?;
        let tips = rpcs.iter_mut().map(|rpc| Ok(rpc.chain()?.height.0)).collect::<Result<Vec<u64>, FaultsError>>()?;
        let last = tips.into_iter().min().unwrap_or(0);
        let first = ledger.record().first_height().unwrap_or(last);
        let chains = rpcs
            .iter_mut()
            .map(|rpc| Ok(chain::heads(rpc, first..=last)?))
            .collect::<Result<Vec<chain::Heads>, FaultsError>>()?;
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

    /// Returns the bytes that have passed the relay, in both directions of all links.
    fn passed_bytes(&self) -> Result<u64, FaultsError> {
        let status = self.relay.status().map_err(FaultsError::Docker)?;
        let of_link = |line: &str| line.split("passed_bytes=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        Ok(status.lines().filter_map(of_link).sum())
    }

    /// Returns a sentence for each validator that is not running.
    fn who_ended(&self) -> Result<Vec<String>, FaultsError> {
        let mut found = Vec::new();
        for (name, container) in self.names.iter().zip(&self.containers) {
            let state = docker::docker(&["inspect", "-f", "{{json .State}}", container])?;
            let state: Value = serde_json::from_str(&state).unwrap_or_default();
            if state["Running"] != true {
                found.push(format!("{name} has ended by itself with exit code {}", state["ExitCode"]));
            }
        }
        Ok(found)
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

/// Reads the secret key of an account from the text of its file.
fn secret(file: &str) -> Option<SecretKey> {
    let value: Value = serde_json::from_str(file).ok()?;
    let bytes = BASE64.decode(value.pointer("/priv_key/value")?.as_str()?.as_bytes()).ok()?;
    SecretKey::from_bytes(&bytes).ok()
}

/// Returns ports that are free on loopback now.
fn free_ports(count: usize) -> Result<Vec<u16>, FaultsError> {
    let none = |error| FaultsError::Docker(format!("there are no free ports on 127.0.0.1: {error}"));
    // All listeners are open at the same time, so that no port is returned twice.
    let listeners = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>();
    let port = |listener: &TcpListener| Ok(listener.local_addr().map_err(none)?.port());
    listeners.map_err(none)?.iter().map(port).collect()
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

fn wait_for(flag: &AtomicBool, has_ended: impl Fn() -> bool, stop: &AtomicBool) -> Result<(), FaultsError> {
    while !flag.load(Ordering::Relaxed) {
        if has_ended() {
            return Err(FaultsError::LoadEnded);
        }
        sleep(LOOK_PERIOD, stop)?;
    }
    Ok(())
}

/// Sleeps for a duration.
///
/// Errors: [`FaultsError::Stopped`] when the run is stopped before.
fn sleep(duration: Duration, stop: &AtomicBool) -> Result<(), FaultsError> {
    let until = Instant::now() + duration;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(FaultsError::Stopped);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(LOOK_PERIOD));
    }
}
