//! Proves that the dashboards and alerts of `monitoring/` work with a real Prometheus that scrapes a live testnet.
//! Every query of the dashboards and of the community's CometBFT dashboards returns data, the metrics of every alert
//! exist, and alerts fire when they should.
//!
//! The tests need `prometheus` and `promtool`: those on the PATH, else the Debian package, which is unpacked into the
//! cache and not installed.
#![allow(clippy::print_stdout, reason = "it tells what it measured")]

mod optional;
mod program;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use program::{Cairn, free_ports, json, ok, sources};
use serde_json::Value;

/// Timeout of each expected event; it holds on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(90);
/// Maximum number of series of one node in a testnet of four.
const SERIES_MAX: f64 = 1_000.0;
/// Maximum duration in seconds of the fastest scrape of each node.
const SCRAPE_SECONDS_MAX: f64 = 0.020;
/// Uid by which the Grafana dashboards refer to their data source.
const DATA_SOURCE: &str = "prometheus";

/// The queries of well-known dashboards, with CometBFT's namespace: Grafana 11036 ("Cosmos Network Dashboard") and
/// 15991, and the dashboards of CometBFT's own monitoring and end-to-end tests. Their queries for metrics that have no
/// meaning here are left out, because they return no data: the connection to an application in another process
/// (`abci_connection_…`), vote extensions, and Go's runtime (`go_…`).
const COMMUNITY: &[&str] = &[
    "label_values(cometbft_consensus_height, chain_id)",
    "cometbft_consensus_height{chain_id=\"$chain_id\"}",
    "cometbft_consensus_height{chain_id=\"$chain_id\", instance=\"$instance\"}",
    "cometbft_consensus_total_txs{chain_id=\"$chain_id\", instance=\"$instance\"}",
    "increase(cometbft_consensus_total_txs[1m])",
    "rate(cometbft_consensus_block_interval_seconds_sum{chain_id=\"$chain_id\"}[1m]) / rate(cometbft_consensus_block_interval_seconds_count{chain_id=\"$chain_id\"}[1m])",
    "cometbft_consensus_validators{chain_id=\"$chain_id\"}",
    "cometbft_consensus_validators_power{chain_id=\"$chain_id\"}",
    "cometbft_consensus_missing_validators",
    "cometbft_consensus_missing_validators_power",
    "cometbft_consensus_byzantine_validators",
    "cometbft_consensus_byzantine_validators_power",
    "cometbft_consensus_block_size_bytes",
    "cometbft_consensus_num_txs",
    "cometbft_consensus_rounds",
    "cometbft_consensus_latest_block_height",
    "cometbft_consensus_validator_last_signed_height",
    "cometbft_consensus_validator_missed_blocks",
    "cometbft_consensus_validator_power",
    "cometbft_consensus_round_voting_power_percent",
    "cometbft_consensus_chain_size_bytes",
    "rate(cometbft_consensus_proposal_create_count[1m])",
    "rate(cometbft_consensus_proposal_receive_count[1m])",
    "histogram_quantile(0.9, sum by (le, step) (rate(cometbft_consensus_step_duration_seconds_bucket[1m])))",
    "cometbft_p2p_peers",
    "rate(cometbft_p2p_peer_receive_bytes_total[1m])",
    "rate(cometbft_p2p_peer_send_bytes_total[1m])",
    "sum by (message_type) (rate(cometbft_p2p_message_send_bytes_total[1m]))",
    "sum by (message_type) (rate(cometbft_p2p_message_receive_bytes_total[1m]))",
    "cometbft_mempool_size",
    "cometbft_mempool_tx_size_bytes_sum",
    "cometbft_mempool_failed_txs",
    "cometbft_mempool_recheck_times",
    "cometbft_mempool_already_received_txs",
    "cometbft_blocksync_syncing",
    "cometbft_statesync_syncing",
    "rate(cometbft_state_block_processing_time_sum[1m]) / rate(cometbft_state_block_processing_time_count[1m])",
    "process_resident_memory_bytes",
    "rate(process_cpu_seconds_total[1m])",
    "process_open_fds",
];

fn main() -> ExitCode {
    optional::main(
        Tools::find,
        &[
            ("the_configuration_and_the_alerts_are_sound", the_configuration_and_the_alerts_are_sound),
            ("the_dashboards_are_what_grafana_reads", the_dashboards_are_what_grafana_reads),
            ("every_query_returns_data_of_a_live_testnet", every_query_returns_data_of_a_live_testnet),
        ],
    )
}

fn the_configuration_and_the_alerts_are_sound(tools: &Tools) {
    let folder = sources().join("monitoring/prometheus");
    ok(Command::new(&tools.promtool).args(["check", "config", "prometheus.yml"]).current_dir(&folder));
    ok(Command::new(&tools.promtool).args(["test", "rules", "alerts.test.yml"]).current_dir(&folder));

    // The tests of the alerts must be able to fail: with another threshold they do.
    let alerts = fs::read_to_string(folder.join("alerts.yml")).unwrap();
    for (right, wrong) in [("> 0.25", "> 25"), ("revert_timestamp_seconds) > 0", "revert_timestamp_seconds) > 200")] {
        let broken = tempfile::tempdir().unwrap();
        assert!(alerts.contains(right), "{right}");
        fs::write(broken.path().join("alerts.yml"), alerts.replace(right, wrong)).unwrap();
        fs::copy(folder.join("alerts.test.yml"), broken.path().join("alerts.test.yml")).unwrap();
        let mut test = Command::new(&tools.promtool);
        test.args(["test", "rules", "alerts.test.yml"]).current_dir(broken.path());
        assert!(!test.output().unwrap().status.success(), "{wrong}");
    }

    // Each alert has a test, and refers to the section of the runbook with its name.
    let tests = fs::read_to_string(folder.join("alerts.test.yml")).unwrap();
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(
            tests.contains(&format!("alertname: {name}")) || tests.contains(&format!("alertname=\"{name}\"")),
            "{name}"
        );
        let kebab = name.chars().fold(String::new(), |mut kebab, c| {
            if c.is_ascii_uppercase() && !kebab.is_empty() {
                kebab.push('-');
            }
            kebab.push(c.to_ascii_lowercase());
            kebab
        });
        assert!(alerts.contains(&format!("runbook: docs/operate.md#{kebab}\n")), "{name} has no runbook #{kebab}");
    }
}

/// Keys that each panel of a dashboard must have, and no others, by Grafana's dashboard model (classic, schema 39).
const PANEL_KEYS: [&str; 9] =
    ["datasource", "description", "fieldConfig", "gridPos", "id", "options", "targets", "title", "type"];
/// Keys that each target of a panel must have, and no others.
const TARGET_KEYS: [&str; 6] = ["datasource", "editorMode", "expr", "legendFormat", "range", "refId"];

fn the_dashboards_are_what_grafana_reads(_: &Tools) {
    let provisioning = sources().join("monitoring/grafana/provisioning");
    let source = fs::read_to_string(provisioning.join("datasources/prometheus.yml")).unwrap();
    for line in ["apiVersion: 1", &format!("uid: {DATA_SOURCE}"), "type: prometheus", "url: http://prometheus:9090"] {
        assert!(source.lines().any(|there| there.trim() == line), "the data source says {line}");
    }
    let provider = fs::read_to_string(provisioning.join("dashboards/cairn.yml")).unwrap();
    let compose = fs::read_to_string(sources().join("docker-compose.yml")).unwrap();
    let folder = provider.lines().find_map(|line| line.trim().strip_prefix("path: ")).unwrap();
    assert!(compose.contains(&format!("./monitoring/grafana/dashboards:{folder}:ro")), "{folder} is mounted");
    assert!(compose.contains(&format!("HOME_DASHBOARD_PATH: {folder}/overview.json")));

    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        let text = |key: &str| dashboard[key].as_str().unwrap_or_else(|| panic!("{name}: {key} is no text")).to_owned();
        assert!(uids.insert(text("uid")) && text("uid").len() <= 40, "{name}: uid");
        assert!(!text("title").is_empty() && dashboard["id"].is_null(), "{name}");
        assert_eq!(dashboard["schemaVersion"], 39, "{name}: Grafana 11's");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let variables: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(variables, ["chain_id", "instance"], "{name}");

        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            let keys: Vec<&String> = panel.as_object().unwrap().keys().collect();
            assert_eq!(keys, PANEL_KEYS, "{name}: {title}");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title} has the id of another panel");
            assert!(
                ["stat", "timeseries", "state-timeline"].contains(&panel["type"].as_str().unwrap()),
                "{name}: {title}"
            );
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{name}: {title} explains itself");
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{name}: {title} is beside the grid");
            for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line))) {
                assert!(taken.insert(cell), "{name}: {title} lies over another panel");
            }
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title} has a unit");
            assert_eq!(
                (&panel["datasource"]["type"], &panel["datasource"]["uid"]),
                (&"prometheus".into(), &DATA_SOURCE.into())
            );
            let mut references = BTreeSet::new();
            for target in panel["targets"].as_array().unwrap() {
                let keys: Vec<&String> = target.as_object().unwrap().keys().collect();
                assert_eq!(keys, TARGET_KEYS, "{name}: {title}");
                assert_eq!(target["datasource"]["uid"], DATA_SOURCE, "{name}: {title}");
                assert!(references.insert(target["refId"].as_str().unwrap()), "{name}: {title}: refId");
            }
        }
    }
    assert_eq!(uids.len(), 6);
}

fn every_query_returns_data_of_a_live_testnet(tools: &Tools) {
    let cairn = Cairn::new();
    let (base, port) = (free_ports(40), free_ports(1));
    let log = |name: &str| File::create(cairn.folder().join(name)).unwrap();
    let base = base.to_string();
    let prepare = ["testnet", "--init-only", "--base-port", &base, "--empty-block-interval", "200ms"];
    cairn.run(&prepare).succeeds();
    // So few heights are kept that some are pruned during the test.
    for node in 0..4 {
        let file = cairn.folder().join(format!("testnet/node{node}/config/genesis.json"));
        let genesis = fs::read_to_string(&file).unwrap();
        assert!(genesis.contains("\"retain_blocks\": \"100000\""), "{genesis}");
        fs::write(&file, genesis.replace("\"retain_blocks\": \"100000\"", "\"retain_blocks\": \"50\"")).unwrap();
        let file = cairn.folder().join(format!("testnet/node{node}/config/config.toml"));
        let config = fs::read_to_string(&file).unwrap();
        assert!(config.contains("retain_time = \"168h\""), "{config}");
        fs::write(&file, config.replace("retain_time = \"168h\"", "retain_time = \"0s\"")).unwrap();
    }
    let mut command = cairn.command(&["testnet", "--no-view"]);
    let _testnet = Process(command.stdout(log("testnet.log")).stderr(log("testnet.err")).spawn().unwrap());
    let targets = cairn.folder().join("testnet/prometheus/targets.json");
    eventually("the targets are written", || targets.exists().then_some(()));
    let prometheus = Prometheus::start(tools, &cairn.folder(), &targets, port);
    eventually("all four are scraped", || (prometheus.value("sum(up)")? == 4.0).then_some(()));

    // These events give every metric a value: transfers, a refused call, and a validator that is killed, misses blocks
    // and comes back.
    let send = |amount: u32| {
        let args = ["tx", "send", "--from", "alice", "--to", "bob", "--amount", &amount.to_string()];
        cairn.run(&args).succeeds();
    };
    (1..=8).for_each(send);
    cairn.run(&["query", "block", "999999"]).fails();
    let lock = cairn.folder().join("testnet/node3/data/cairn.lock");
    let pid = fs::read_to_string(lock).unwrap();
    ok(Command::new("kill").args(["-KILL", pid.trim()]));
    eventually("a round of the dead proposer fails", || {
        (prometheus.value("max(cometbft_consensus_round_increment_total)")? > 0.0).then_some(())
    });
    eventually("an alert tells of the dead node", || {
        let firing = "count(ALERTS{alertname=\"NodeDown\", alertstate=\"firing\", instance=\"node3\"})";
        (prometheus.value(firing)? == 1.0).then_some(())
    });
    let mut command = cairn.command(&["start", "--home", "testnet/node3"]);
    let _node3 = Process(command.stdout(log("node3.log")).stderr(log("node3.err")).spawn().unwrap());
    (9..=16).for_each(send);
    eventually("node3 knows what it missed", || {
        let signs = "max(cometbft_consensus_latest_block_height) - on () cometbft_consensus_validator_last_signed_height{instance=\"node3\"} < 3";
        prometheus.value(signs)?;
        prometheus.value("cometbft_consensus_validator_missed_blocks{instance=\"node3\"} > 0")
    });
    eventually("the others have scraped the last transfers too", || {
        (prometheus.value("min(cometbft_consensus_total_txs{instance!=\"node3\"})")? >= 16.0).then_some(())
    });
    eventually("heights are forgotten", || prometheus.value("max(cometbft_state_prune_seconds_count) > 0"));
    // A rate has a value only with two samples after the change.
    let scrapes = prometheus.value("count_over_time(up{instance=\"node3\"}[10m])").unwrap();
    eventually("three more scrapes", || {
        (prometheus.value("count_over_time(up{instance=\"node3\"}[10m])")? >= scrapes + 3.0).then_some(())
    });

    prometheus.answers_all();
    let series = prometheus.value("max(scrape_samples_scraped)").unwrap();
    let quickest = prometheus.value("max(min_over_time(scrape_duration_seconds[5m]))").unwrap();
    let median = prometheus.value("max(quantile_over_time(0.5, scrape_duration_seconds[5m]))").unwrap();
    println!("series of a node: {series}; a scrape: median {:.1} ms, quickest {:.1} ms", median * 1e3, quickest * 1e3);
    assert!(series <= SERIES_MAX);
    assert!(quickest <= SCRAPE_SECONDS_MAX);
}

/// A running Prometheus process and its address.
struct Prometheus {
    _process: Process,
    url: String,
}

impl Prometheus {
    /// Starts Prometheus with the configuration and alerts of `monitoring/`. It scrapes the targets of a testnet every
    /// second.
    fn start(tools: &Tools, folder: &Path, targets: &Path, port: u16) -> Self {
        let from = sources().join("monitoring/prometheus");
        let config = fs::read_to_string(from.join("prometheus.yml")).unwrap();
        let replaced = [
            ("/targets/*.json", targets.to_str().unwrap()),
            ("scrape_interval: 5s", "scrape_interval: 1s"),
            ("scrape_timeout: 4s", "scrape_timeout: 1s"),
            ("evaluation_interval: 5s", "evaluation_interval: 1s"),
        ];
        let config = replaced.iter().fold(config, |config, (old, new)| {
            assert!(config.contains(old), "prometheus.yml has {old}");
            config.replace(old, new)
        });
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        fs::copy(from.join("alerts.yml"), folder.join("alerts.yml")).unwrap();
        let log = File::create(folder.join("prometheus.log")).unwrap();
        let mut command = Command::new(&tools.prometheus);
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("prometheus.data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(folder);
        let process = Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
        let agent = config.http_status_as_error(false).build().new_agent();
        let request = agent.get(format!("{}{path}", self.url)).query_pairs(query.iter().copied());
        request.call().ok()?.body_mut().read_json().ok()
    }

    /// Returns the current value of the first series of a query, if it has one.
    fn value(&self, query: &str) -> Option<f64> {
        let answer = self.get("/api/v1/query", &[("query", query)])?;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Returns true if a range query over the last ten minutes, like that of a panel, returns a finite number.
    fn has_data(&self, query: &str) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let (start, end) = ((now - 600).to_string(), now.to_string());
        let range = [("query", query), ("start", start.as_str()), ("end", end.as_str()), ("step", "2")];
        let answer = self.get("/api/v1/query_range", &range).expect("Prometheus answers");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap();
        let mut values = series.iter().flat_map(|series| series["values"].as_array().unwrap());
        values.any(|value| value[1].as_str().unwrap().parse::<f64>().is_ok_and(f64::is_finite))
    }

    /// Checks that every query of the dashboards and of the community returns data, and that the metrics of every alert
    /// exist.
    #[track_caller]
    fn answers_all(&self) {
        let names = self.get("/api/v1/label/__name__/values", &[]).unwrap();
        let names: BTreeSet<String> =
            names["data"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        let mut queries: Vec<(String, String)> = Vec::new();
        for (name, dashboard) in dashboards() {
            for variable in dashboard["templating"]["list"].as_array().unwrap() {
                queries.push((format!("{name}: variable"), variable["definition"].as_str().unwrap().to_owned()));
            }
            for panel in dashboard["panels"].as_array().unwrap() {
                for target in panel["targets"].as_array().unwrap() {
                    let place = format!("{name}: {}", panel["title"].as_str().unwrap());
                    queries.push((place, target["expr"].as_str().unwrap().to_owned()));
                }
            }
        }
        queries.extend(COMMUNITY.iter().map(|query| ("community".to_owned(), (*query).to_owned())));
        // The query of an alert that does not fire has no data, so only the names of its metrics are checked.
        let rules = self.get("/api/v1/rules", &[]).unwrap();
        let rules: Vec<Value> = rules["data"]["groups"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect();
        assert!(rules.iter().all(|rule| rule["health"] == "ok"), "{rules:?}");

        let mut wrong = BTreeMap::new();
        for rule in &rules {
            let (name, query) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
            for metric in metrics_of(query).difference(&names) {
                wrong.insert(format!("alert {name}: {metric}"), "there is no such metric");
            }
        }
        for (place, query) in &queries {
            let asked = asked(query);
            if !metrics_of(&asked).is_subset(&names) {
                wrong.insert(format!("{place}: {query}"), "there is no such metric");
            } else if !self.has_data(&asked) {
                wrong.insert(format!("{place}: {query}"), "no data");
            }
        }
        println!("{} of {} queries return data", queries.len() - wrong.len(), queries.len());
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// Returns a query as Grafana sends it: with its variables replaced, and only the series of `label_values`.
fn asked(query: &str) -> String {
    let query = query.strip_prefix("label_values(").map_or(query, |rest| rest.rsplit_once(", ").unwrap().0);
    let known = [("$__rate_interval", "30s"), ("$chain_id", "cairn-testnet")];
    let query = known.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
    let query = query.replace("instance=\"$instance\"", "instance=\"node0\"").replace("$instance", ".*");
    assert!(!query.contains('$'), "a variable is not known: {query}");
    query
}

/// Returns the names of the metrics in a query.
fn metrics_of(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric =
        |word: &&str| word.starts_with("cometbft_") || word.starts_with("process_") || word.starts_with("scrape_");
    words.filter(is_metric).map(str::to_owned).collect()
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = sources().join("monitoring/grafana/dashboards");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), json(&fs::read_to_string(path).unwrap()))
    };
    files.map(read).collect()
}

/// Paths of the two programs that the tests run.
struct Tools {
    prometheus: PathBuf,
    promtool: PathBuf,
}

impl Tools {
    /// Finds the programs on the PATH, or fetches the Debian package into the cache.
    ///
    /// Errors: the programs are not on the PATH, and the package cannot be fetched or does not run here.
    fn find() -> Result<Self, String> {
        let works =
            |program: &Path| Command::new(program).arg("--version").output().is_ok_and(|said| said.status.success());
        let there = Self { prometheus: "prometheus".into(), promtool: "promtool".into() };
        if works(&there.prometheus) && works(&there.promtool) {
            return Ok(there);
        }
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(std::env::home_dir()?.join(".cache")));
        let cache = cache.ok_or("there is no home folder to keep Prometheus in")?.join("cairn/tools");
        let fetched = Command::new(sources().join("scripts/debian-tool")).arg("prometheus").arg(&cache).output();
        let fetched = fetched.map_err(|error| error.to_string())?;
        let folder = cache.join("prometheus/usr/bin");
        let unpacked = Self { prometheus: folder.join("prometheus"), promtool: folder.join("promtool") };
        if fetched.status.success() && works(&unpacked.prometheus) && works(&unpacked.promtool) {
            return Ok(unpacked);
        }
        let why = String::from_utf8_lossy(&fetched.stderr);
        let why = why.lines().last().unwrap_or("Debian's program does not run here");
        Err(format!("prometheus and promtool are not on the PATH: {why}"))
    }
}

/// A process that is killed when the value is dropped, so that it does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // The validators of a testnet end with its process, because their standard input closes.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn eventually<T>(what: &str, happened: impl FnMut() -> Option<T>) -> T {
    program::within(DEADLINE, what, happened)
}
