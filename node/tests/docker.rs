//! Proves that the image and docker-compose.yml work as a user runs them: four validators and Prometheus start without
//! any files, and the validators are killed, paused, disconnected, stopped, removed and started again. Also runs a
//! short form of `cairn faults`.
//!
//! The tests need a Docker daemon; [`Docker::find`] lists the other requirements and reports what is missing. The image
//! contains the program of this build. `CAIRN_TEST_IMAGE=cairn` selects another image, such as the one of
//! `make image`, which is built from source.
//!
//! No test waits for a fixed time. Each wait is for an event, with a deadline that holds on a loaded machine too.
#![allow(clippy::print_stdout, reason = "it tells what it measured")]

mod optional;
mod program;

use std::{
    path::Path,
    process::{Command, ExitCode, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use program::{Cairn, free_ports, json, ok, sources};
use serde_json::Value;

/// Timeout of each expected event; it holds on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(90);
/// Maximum time from `up` to the first block. The promised time is 15 s on an otherwise idle machine.
const FIRST_BLOCK: Duration = Duration::from_secs(60);
/// Maximum time from SIGTERM to the end of all validators.
const STOP: Duration = Duration::from_secs(10);
/// Maximum number of bytes that the layers of this project add to the base image.
const LAYERS_BYTES_MAX: u64 = 45_000_000;
/// Service names of the validators in docker-compose.yml.
const NODES: [&str; 4] = ["node0", "node1", "node2", "node3"];
/// Prefix of the compose project's name in this test, followed by the id of the test's process.
const PROJECT: &str = "cairn-test-";
/// Prefix of the compose project's name in `cairn faults`, followed by the id of its process.
const FAULTS_PROJECT: &str = "cairn-faults-";

fn main() -> ExitCode {
    optional::main(
        Docker::find,
        &[
            (
                "the_image_is_small_and_says_what_docker_needs_to_know",
                the_image_is_small_and_says_what_docker_needs_to_know,
            ),
            ("a_compose_file_is_written_for_any_number", a_compose_file_is_written_for_any_number),
            (
                "four_validators_in_containers_do_what_a_person_expects",
                four_validators_in_containers_do_what_a_person_expects,
            ),
            ("validators_bear_faults_under_load", validators_bear_faults_under_load),
            ("a_run_of_faults_that_is_interrupted_leaves_nothing", a_run_of_faults_that_is_interrupted_leaves_nothing),
        ],
    )
}

fn the_image_is_small_and_says_what_docker_needs_to_know(docker: &Docker) {
    let image = json(&ok(Command::new("docker").args(["image", "inspect", &docker.image])));
    let config = &image[0]["Config"];
    assert_eq!(config["User"], "10001:10001");
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["Entrypoint"], serde_json::json!(["cairn"]));
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD", "cairn", "query", "ready"]));
    // The history lists the newest layer first. The sum ends at the first instruction of our Dockerfile, behind which
    // the layers of the base image follow.
    let history = ok(Command::new("docker").args([
        "history",
        "--no-trunc",
        "--human=false",
        "--format",
        "{{.Size}} {{.CreatedBy}}",
        &docker.image,
    ]));
    let mut bytes = 0;
    for line in history.lines() {
        bytes += line.split(' ').next().unwrap().parse::<u64>().unwrap();
        if line.contains("groupadd") {
            println!("our layers of the image: {:.1} MB", bytes as f64 / 1e6);
            assert!(bytes <= LAYERS_BYTES_MAX, "{history}");
            return;
        }
    }
    panic!("no layer makes the user: {history}");
}

fn a_compose_file_is_written_for_any_number(docker: &Docker) {
    let cairn = Cairn::new();
    let folder = cairn.folder().join("seven");
    let mut write = cairn.command(&["testnet", "--validators", "7", "--compose", "--dir"]);
    let said = ok(write.arg(&folder).current_dir(sources()));
    let file = folder.join("docker-compose.yml");
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    let mut config = Command::new(&docker.compose[0]);
    config.args(&docker.compose[1..]).arg("-f").arg(&file).args(["config", "--services"]);
    let mut services: Vec<String> = ok(&mut config).lines().map(str::to_owned).collect();
    services.sort();
    let mut expected = vec!["grafana".to_owned(), "init".to_owned(), "prometheus".to_owned()];
    expected.extend((0..7).map(|i| format!("node{i}")));
    expected.sort();
    // `docker-compose` lists services of inactive profiles, `docker compose` does not.
    services.retain(|service| service != "load" && service != "node7");
    assert_eq!(services, expected);
    let twice = cairn
        .command(&["testnet", "--validators", "5", "--compose", "--dir"])
        .arg(&folder)
        .current_dir(sources())
        .output();
    assert!(String::from_utf8_lossy(&twice.unwrap().stderr).contains("docker-compose.yml"), "nothing is overwritten");
}

fn four_validators_in_containers_do_what_a_person_expects(docker: &Docker) {
    let net = Net::new(docker);
    let started = Instant::now();
    net.up();
    net.reaches("node0", 1);
    let first_block = started.elapsed();
    println!("from up to the first block: {:.1} s", first_block.as_secs_f64());
    assert!(first_block < FIRST_BLOCK);
    NODES.iter().for_each(|node| net.is_healthy(node));
    net.all_agree();
    NODES.iter().for_each(|node| net.is_confined(node));
    net.prometheus_sees_all();
    net.grafana_has_the_dashboards();

    // The keys of the accounts are in a volume that node0 has.
    let sent = net.exec("node0", &["cairn", "tx", "send", "--from", "alice", "--to", "bob", "--amount", "5"]);
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));

    net.bears_load();

    // A killed validator: the others continue, and it starts again only when a user starts it.
    net.compose(&["kill", "node2"]);
    net.go_on_without("node2");
    assert_eq!(net.state("node2")["ExitCode"], 137);
    net.compose(&["start", "node2"]);
    net.catches_up("node2");

    // A paused validator: the others continue, and it catches up afterwards.
    net.compose(&["pause", "node1"]);
    net.go_on_without("node1");
    net.compose(&["unpause", "node1"]);
    net.catches_up("node1");

    // A disconnected validator reports that it is not ready, and catches up without help after the connection is back.
    let (network, node3) = (format!("{}_default", net.project), net.id("node3"));
    let cut = Instant::now();
    ok(Command::new("docker").args(["network", "disconnect", &network, &node3]));
    net.go_on_without("node3");
    eventually("node3 says that it is not ready", || {
        let said = net.exec("node3", &["cairn", "query", "ready"]);
        (said.status.code() == Some(1)).then_some(())
    });
    println!("from the cut to not ready: {:.1} s", cut.elapsed().as_secs_f64());
    let back = Instant::now();
    ok(Command::new("docker").args(["network", "connect", &network, &node3]));
    net.catches_up("node3");
    println!("from connect to caught up: {:.1} s", back.elapsed().as_secs_f64());
    net.is_healthy("node3");

    // After SIGTERM, all validators end cleanly within the time limit.
    let height = net.height("node0").unwrap();
    let (genesis, keys) = (net.genesis(), net.key("node3"));
    let stopping = Instant::now();
    net.compose(&["stop", "node0", "node1", "node2", "node3"]);
    println!("from stop to stopped, all four: {:.1} s", stopping.elapsed().as_secs_f64());
    for node in NODES {
        let state = net.state(node);
        assert_eq!(state["ExitCode"], 0, "{node}: {state}");
    }
    assert!(stopping.elapsed() < STOP, "{:?}", stopping.elapsed());

    // After `down` and `up`, the chain and the keys are the same, and the chain continues from the same height.
    net.compose(&["down"]);
    assert_eq!(net.containers(), "");
    net.up();
    NODES.iter().for_each(|node| {
        net.reaches(node, height + 1);
    });
    assert_eq!((net.genesis(), net.key("node3")), (genesis, keys));
    net.all_agree();
    net.lets_a_fifth_node_join();
}

/// Runs a short form of `cairn faults` and checks the outcomes and the report. The performance on this machine is not
/// judged.
fn validators_bear_faults_under_load(docker: &Docker) {
    let cairn = Cairn::new();
    let mut faults = cairn.command(&["faults", "--rate", "50", "--duration", "5s", "--baseline", "3s"]);
    faults.args(["--delay", "20ms", "--jitter", "2ms", "--json", "-", "--image", &docker.image]);
    let run = faults.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let project = format!("{FAULTS_PROJECT}{}", run.id());
    let output = run.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    assert_eq!(left_of(&project), "");
    let report = json(&out);
    assert_eq!(report["violations"], serde_json::json!([]));
    let transactions = &report["transactions"];
    assert_eq!((&transactions["lost"], &transactions["duplicates"]), (&Value::from(0), &Value::from(0)));
    assert!(transactions["committed"].as_u64() > Some(500), "{transactions}");
    assert!(report["heights_compared"].as_u64() > Some(50), "{report}");
    let rows = report["scenarios"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let number = |field: &str| row[field].as_f64().unwrap_or_else(|| panic!("{field} of {row}"));
        let (kept, stall) = (number("kept_reachable"), number("worst_stall_ms"));
        match row["scenario"].as_str().unwrap() {
            // No side has more than 2/3 of the power. Only blocks in progress at the time of the cut may still be
            // decided.
            "cut-half" => assert!(kept < 0.3 && stall > 4_000.0, "{row}"),
            // Proposal, prevote and precommit each pass the relay once, which adds 20 ms each.
            "delay" => assert!(row["latency"]["p50_ms"].as_f64() >= Some(60.0) && kept > 0.3, "{row}"),
            _ => assert!(kept > 0.3, "the others go on: {row}"),
        }
        assert!(number("at_tip_ms") < 60_000.0 && number("full_again_ms") < 60_000.0, "{row}");
    }
}

fn a_run_of_faults_that_is_interrupted_leaves_nothing(docker: &Docker) {
    let cairn = Cairn::new();
    let mut run = cairn
        .command(&[
            "faults",
            "--scenarios",
            "pause",
            "--rate",
            "10",
            "--duration",
            "60s",
            "--baseline",
            "1s",
            "--image",
        ])
        .arg(&docker.image)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let project = format!("{FAULTS_PROJECT}{}", run.id());
    // The interrupt comes while a container is paused, because a paused container is the hardest to remove.
    eventually("a container is paused", || {
        let filter = format!("label=com.docker.compose.project={project}");
        let paused = ok(Command::new("docker").args(["ps", "-q", "--filter", &filter, "--filter", "status=paused"]));
        let has_ended = run.try_wait().unwrap();
        assert!(has_ended.is_none(), "{has_ended:?}");
        (!paused.is_empty()).then_some(())
    });
    for _ in 0..2 {
        ok(Command::new("kill").args(["-INT", &run.id().to_string()])); // users often press Ctrl-C twice
    }
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(left_of(&project), "");
}

/// Returns the ids of the containers, volumes and networks of a project; an empty string if nothing is left.
fn left_of(project: &str) -> String {
    let filter = format!("label=com.docker.compose.project={project}");
    let list = |what: &[&str]| ok(Command::new("docker").args(what).args(["-q", "--filter", &filter]));
    [&["ps", "-a"][..], &["volume", "ls"], &["network", "ls"]].map(list).concat()
}

/// The tools and images of this machine that the tests use.
struct Docker {
    /// Words of the compose command: `docker compose`, or the older `docker-compose`.
    compose: Vec<String>,
    /// Name of the image under test.
    image: String,
    /// Official image names that stand-in images have during the tests.
    stand_ins: Vec<String>,
    /// True if this machine has an image of Grafana.
    grafana: bool,
}

impl Docker {
    /// Finds a daemon and a compose command, provides the base images, and builds the image under test.
    ///
    /// Errors: a requirement is missing; the text names it. An image that does not build makes the test fail instead.
    fn find() -> Result<Self, String> {
        let answers = |command: &[&str]| {
            let run = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output();
            run.is_ok_and(|output| output.status.success())
        };
        if !answers(&["docker", "info"]) {
            return Err("no Docker daemon answers".to_owned());
        }
        let compose: &[&str] = if answers(&["docker", "compose", "version"]) {
            &["docker", "compose"]
        } else if answers(&["docker-compose", "version"]) {
            &["docker-compose"]
        } else {
            return Err("there is neither `docker compose` nor docker-compose".to_owned());
        };
        let given = std::env::var("CAIRN_TEST_IMAGE").ok();
        if given.is_none() && !answers(&["strip", "--version"]) {
            return Err("there is no strip, which takes the debug information out of the program".to_owned());
        }
        if given.is_none() && libc_is_newer_than((2, 36)) {
            return Err("programs built here need a newer C library than the image's; see CAIRN_TEST_IMAGE".to_owned());
        }
        let images = Command::new(sources().join("scripts/base-images")).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&images.stdout);
        let named = |what: &str| said.lines().filter_map(|line| line.strip_suffix(what)).map(str::to_owned).collect();
        if !images.status.success() {
            let missing = said.lines().find(|line| line.contains("missing")).unwrap_or("scripts/base-images failed");
            return Err(missing.to_owned());
        }
        let mut docker = Self {
            compose: compose.iter().map(|word| (*word).to_owned()).collect(),
            image: String::new(),
            stand_ins: named(": stand-in"),
            grafana: !said.lines().any(|line| line.starts_with("grafana/") && line.contains("missing")),
        };
        docker.image = given.unwrap_or_else(build_image);
        docker.remove_what_a_dead_run_left();
        Ok(docker)
    }

    /// Removes the projects of earlier runs of this test whose processes no longer exist.
    fn remove_what_a_dead_run_left(&self) {
        let label = "com.docker.compose.project";
        let projects = [["ps", "-a"], ["volume", "ls"], ["network", "ls"]].map(|list| {
            let filter = format!("label={label}");
            let format = format!("{{{{.Label \"{label}\"}}}}");
            ok(Command::new("docker").args(list).args(["--filter", &filter, "--format", &format]))
        });
        let mut projects: Vec<&str> = projects.iter().flat_map(|list| list.lines()).collect();
        projects.sort();
        projects.dedup();
        for project in projects {
            let pid = project.strip_prefix(PROJECT).filter(|pid| pid.parse::<u32>().is_ok());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                self.command(project).args(["down", "--volumes", "--remove-orphans", "-t", "0"]).output().unwrap();
            }
        }
    }

    /// Returns the compose command for a project, with the folder of the sources as working folder.
    fn command(&self, project: &str) -> Command {
        let mut command = Command::new(&self.compose[0]);
        command.args(&self.compose[1..]).args(["-p", project]).current_dir(sources()).stdin(Stdio::null());
        command.env("CAIRN_IMAGE", &self.image).env_remove("BIND_ADDRESS").env_remove("COMPOSE_FILE");
        command
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        for name in &self.stand_ins {
            let _ = Command::new("docker").args(["rmi", "--no-prune", name]).output(); // removes this name only
        }
    }
}

/// Builds an image with the program of this build, through the stage `prebuilt` of the Dockerfile, and returns its
/// name.
fn build_image() -> String {
    let image = "cairn-test:prebuilt";
    let id = || ok(Command::new("docker").args(["images", "-q", image]));
    let before = id();
    let folder = tempfile::tempdir().unwrap();
    ok(Command::new("strip").arg("-o").arg(folder.path().join("cairn")).arg(env!("CARGO_BIN_EXE_cairn")));
    let mut build = Command::new("docker");
    build.args(["build", "-q", "-t", image, "--target", "prebuilt", "--build-arg", "BINARY=cairn", "-f"]);
    ok(build.arg(sources().join("Dockerfile")).arg(folder.path()));
    if !before.is_empty() && before != id() {
        let _ = Command::new("docker").args(["rmi", before.trim()]).output(); // fails if the old image is in use
    }
    image.to_owned()
}

/// Four validators, Prometheus and Grafana on separate ports, which are removed when the value is dropped.
struct Net<'a> {
    docker: &'a Docker,
    project: String,
    /// First of three consecutive host ports: RPC, Prometheus, Grafana.
    port: u16,
}

impl<'a> Net<'a> {
    fn new(docker: &'a Docker) -> Self {
        Self { docker, project: format!("{PROJECT}{}", std::process::id()), port: free_ports(3) }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.docker.command(&self.project);
        for (offset, name) in ["RPC_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT"].into_iter().enumerate() {
            command.env(name, (self.port + offset as u16).to_string());
        }
        command.args(args);
        command
    }

    #[track_caller]
    fn compose(&self, args: &[&str]) -> String {
        ok(&mut self.command(args))
    }

    fn up(&self) {
        let mut args = vec!["up", "-d", "--no-build"];
        if !self.docker.grafana {
            args.extend(NODES.iter().chain(&["prometheus"]));
        }
        self.compose(&args);
    }

    /// Checks the service `load`: its senders are funded, its transactions are committed, it reports when it is
    /// stopped, and it continues when it is started again.
    #[track_caller]
    fn bears_load(&self) {
        let logs = || self.compose(&["logs", "--no-color", "load"]);
        let is_committing = |line: &&str| line.contains("tx/s due") && !line.contains(" 0 committed");
        let mut seen = 0;
        for run in 1..=2 {
            self.compose(&["up", "-d", "--no-build", "load"]);
            eventually("what the service sends is committed", || {
                let committing = logs().lines().filter(is_committing).count();
                (committing > seen).then(|| seen = committing)
            });
            self.compose(&["stop", "load"]);
            let said = logs();
            assert_eq!(self.state("load")["ExitCode"], 0, "{said}");
            assert_eq!(said.matches("committed everywhere, 0 refused, 0 timed out, 0 not sent").count(), run, "{said}");
            seen = said.lines().filter(is_committing).count();
        }
        self.compose(&["rm", "-f", "load"]);
    }

    /// Runs the commands of docs/operate.md by which a fifth node joins the running chain and becomes a validator.
    #[track_caller]
    fn lets_a_fifth_node_join(&self) {
        let page = std::fs::read_to_string(sources().join("docs/operate.md")).unwrap();
        let commands = page.lines().filter_map(|line| line.strip_prefix("docker compose "));
        let commands: Vec<Vec<&str>> =
            commands.filter(|line| !line.contains(" up")).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(commands.len(), 4, "{commands:?}");
        self.compose(&["up", "-d", "--no-build", "node4"]);
        eventually("node4 is ready", || self.query("node4", &["ready"]));
        for command in &commands {
            let (exec, rest) = command.split_at(1);
            assert_eq!(exec, ["exec"]);
            self.compose(&[exec, &["-T"], rest].concat());
        }
        let created = self.height("node4").unwrap();
        self.reaches("node0", created + 2);
        self.catches_up("node4");
        self.compose(&["rm", "-s", "-f", "node4"]);
    }

    fn exec(&self, node: &str, command: &[&str]) -> Output {
        self.command(&["exec", "-T", node]).args(command).output().unwrap()
    }

    /// Returns the JSON response of `cairn query` in a node's container, or `None` if the command fails.
    fn query(&self, node: &str, what: &[&str]) -> Option<Value> {
        let said = self.exec(node, &[&["cairn", "query"], what, &["--json"]].concat());
        said.status.success().then(|| json(&String::from_utf8_lossy(&said.stdout)))
    }

    fn height(&self, node: &str) -> Option<u64> {
        self.query(node, &["status"])?["sync_info"]["latest_block_height"].as_str()?.parse().ok()
    }

    #[track_caller]
    fn reaches(&self, node: &str, height: u64) {
        eventually(&format!("{node} reaches height {height}"), || self.height(node).filter(|got| *got >= height));
    }

    /// Waits until the other validators have committed three more blocks without this one.
    #[track_caller]
    fn go_on_without(&self, node: &str) {
        let others: Vec<&&str> = NODES.iter().filter(|other| **other != node).collect();
        let height = eventually("a height is known", || self.height(others[0]));
        others.iter().for_each(|other| self.reaches(other, height + 3));
    }

    /// Waits until a validator has the height of the others, and its precommits are in their commits again.
    #[track_caller]
    fn catches_up(&self, node: &str) {
        let asked = NODES.iter().find(|other| **other != node).unwrap();
        let height = eventually("a height is known", || self.height(asked));
        self.reaches(node, height);
        let address = eventually("its address is known", || {
            Some(self.query(node, &["status"])?["validator_info"]["address"].as_str()?.to_owned())
        });
        eventually(&format!("{node} signs again"), || {
            let block = self.query(asked, &["block"])?;
            let signatures = block["block"]["last_commit"]["signatures"].as_array()?.clone();
            let signed = |one: &Value| one["validator_address"] == address.as_str() && one["block_id_flag"] == 2;
            signatures.iter().any(signed).then_some(())
        });
    }

    #[track_caller]
    fn all_agree(&self) {
        let heights = NODES.map(|node| eventually("a height is known", || self.height(node)));
        let height = heights.into_iter().min().unwrap().to_string();
        let hash = |node| self.query(node, &["block", &height]).unwrap()["block_id"]["hash"].clone();
        let hashes = NODES.map(hash);
        assert!(hashes.iter().all(|hash| hash.is_string() && *hash == hashes[0]), "height {height}: {hashes:?}");
    }

    #[track_caller]
    fn is_healthy(&self, node: &str) {
        eventually(&format!("{node} is healthy"), || {
            let state = self.state(node);
            (state["Health"]["Status"] == "healthy").then_some(())
        });
    }

    /// Checks that a node runs as an unprivileged user with resource limits, and that only node0 publishes a port, on
    /// loopback.
    #[track_caller]
    fn is_confined(&self, node: &str) {
        let user = self.exec(node, &["id", "-u"]);
        assert_eq!(String::from_utf8_lossy(&user.stdout).trim(), "10001");
        let container = &self.inspect(node);
        let host = &container["HostConfig"];
        assert_eq!((&host["Memory"], &host["NanoCpus"]), (&Value::from(1u64 << 30), &Value::from(1_000_000_000)));
        assert_eq!((&host["ReadonlyRootfs"], &host["Privileged"]), (&Value::from(true), &Value::from(false)));
        assert_eq!(host["LogConfig"]["Config"], serde_json::json!({"max-size": "10m", "max-file": "3"}));
        let ports: Vec<&Value> = container["NetworkSettings"]["Ports"].as_object().unwrap().values().collect();
        let published: Vec<&Value> = ports.iter().filter_map(|port| port.as_array()).flatten().collect();
        assert_eq!(published.len(), usize::from(node == "node0"), "{published:?}");
        assert!(published.iter().all(|port| port["HostIp"] == "127.0.0.1"), "{published:?}");
    }

    #[track_caller]
    fn prometheus_sees_all(&self) {
        eventually("Prometheus has scraped all four", || {
            let targets = get(self.port + 1, "/api/v1/targets")?["data"]["activeTargets"].as_array()?.clone();
            let is_up = |node: &&str| {
                let of_node = targets.iter().find(|target| target["labels"]["instance"] == **node);
                of_node.is_some_and(|target| target["health"] == "up")
            };
            (targets.len() == NODES.len() && NODES.iter().all(is_up)).then_some(())
        });
        let rules = get(self.port + 1, "/api/v1/rules").expect("Prometheus answers");
        assert!(rules["data"]["groups"].as_array().is_some_and(|groups| !groups.is_empty()), "it has alerts: {rules}");
    }

    /// Waits until Grafana has all dashboards. Does nothing without an image of Grafana.
    #[track_caller]
    fn grafana_has_the_dashboards(&self) {
        if !self.docker.grafana {
            println!("there is no image of Grafana here: its provisioning was not tried, see the test `monitoring`");
            return;
        }
        let count = std::fs::read_dir(sources().join("monitoring/grafana/dashboards")).unwrap().count();
        eventually("Grafana has the dashboards", || {
            let found = get(self.port + 2, "/api/search?type=dash-db")?;
            (found.as_array()?.len() == count).then_some(())
        });
    }

    /// Returns the genesis document that node0 serves.
    fn genesis(&self) -> Value {
        eventually("a genesis document", || self.query("node0", &["genesis"]))
    }

    /// Returns a validator's public key, read from its key file.
    fn key(&self, node: &str) -> String {
        String::from_utf8(self.exec(node, &["cairn", "show-validator"]).stdout).unwrap()
    }

    #[track_caller]
    fn id(&self, node: &str) -> String {
        // `docker compose` lists stopped containers only with --all, which `docker-compose` does not accept with -q.
        let all: &[&str] = if self.docker.compose.len() > 1 { &["--all"] } else { &[] };
        self.compose(&[&["ps", "-q"], all, &[node]].concat()).trim().to_owned()
    }

    #[track_caller]
    fn inspect(&self, node: &str) -> Value {
        json(&ok(Command::new("docker").args(["inspect", &self.id(node)])))[0].take()
    }

    #[track_caller]
    fn state(&self, node: &str) -> Value {
        self.inspect(node)["State"].take()
    }

    /// Returns the ids of the containers that the project still has.
    fn containers(&self) -> String {
        let filter = format!("label=com.docker.compose.project={}", self.project);
        ok(Command::new("docker").args(["ps", "-aq", "--filter", &filter]))
    }
}

impl Drop for Net<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let logs = self.command(&["logs", "--no-color", "--tail", "20"]).output().unwrap();
            println!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        let _ = self.command(&["down", "--volumes", "--remove-orphans", "-t", "0"]).output();
    }
}

/// Returns true if this machine's C library is newer than `known`. A library without a glibc version counts as newer,
/// because it is another implementation.
fn libc_is_newer_than(known: (u32, u32)) -> bool {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().replace("glibc ", "");
    let mut numbers = said.split('.').map(|number| number.parse().unwrap_or(u32::MAX));
    (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(u32::MAX)) > known
}

/// Returns the JSON response of a server on this machine, or `None` without a valid response.
fn get(port: u16, path: &str) -> Option<Value> {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build();
    config.new_agent().get(format!("http://127.0.0.1:{port}{path}")).call().ok()?.body_mut().read_json().ok()
}

#[track_caller]
fn eventually<T>(what: &str, happened: impl FnMut() -> Option<T>) -> T {
    program::within(DEADLINE, what, happened)
}
