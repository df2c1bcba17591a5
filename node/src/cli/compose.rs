//! `cairn testnet --compose` writes a compose file for validators in containers. `docker-compose.yml` in the sources is
//! its output for four validators.
//!
//! The compose file refers to the Dockerfile and to `monitoring/` of the sources. Its `init` service creates the keys
//! and the genesis document.

use std::path::{Component, Path, PathBuf};

use files::{Access, Existing};
use node::exit::Failure;

/// Maximum number of validators of a compose file. The image has this many empty homes, from which each volume takes
/// its owner.
pub const NODES_MAX: usize = 100;

/// Requested content of a compose file.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Folder in which the compose file is written.
    pub dir: PathBuf,
    /// Number of validators, each in a container of its own.
    pub validators: usize,
    /// Further arguments that the `init` service passes to `cairn testnet`.
    pub arguments: Vec<String>,
}

/// Writes `dir/docker-compose.yml` for the sources in the current folder and returns its path. A file with the same
/// content is left as it is.
///
/// Errors: the number of validators is not 1 to [`NODES_MAX`], the current folder is not that of the sources or cannot
/// be determined, another file of this name exists, or the file cannot be written.
pub fn write(wanted: &Wanted) -> Result<PathBuf, Failure> {
    let Wanted { dir, validators, arguments } = wanted;
    if !(1..=NODES_MAX).contains(validators) {
        return Err(Failure::refused(format!("--validators is {validators}: in containers use 1 to {NODES_MAX}")));
    }
    for needed in ["Dockerfile", "monitoring/prometheus/prometheus.yml"] {
        if !Path::new(needed).is_file() {
            return Err(Failure::refused(format!(
                "there is no {needed} in this folder: a compose file needs it, so run this in the folder of Cairn's sources"
            )));
        }
    }
    let root = root_from(dir)?;
    let file = dir.join("docker-compose.yml");
    let text = text(*validators, &root, arguments);
    if std::fs::read_to_string(&file).is_ok_and(|there| there == text) {
        return Ok(file);
    }
    files::write(&file, text.as_bytes(), Access::Public, Existing::Refuse)?;
    Ok(file)
}

/// Returns the path from `dir` to the current folder, without a trailing slash.
fn root_from(dir: &Path) -> Result<String, Failure> {
    let mut depth = 0;
    for component in dir.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            // No relative path leads back from an absolute path or from a parent folder.
            _ => {
                let here = std::env::current_dir().map_err(|error| Failure::file("read", Path::new("."), &error))?;
                return Ok(here.display().to_string());
            }
        }
    }
    Ok(if depth == 0 { ".".to_owned() } else { vec![".."; depth].join("/") })
}

/// Returns the text of the compose file. `root` is the path from its folder to the sources.
fn text(validators: usize, root: &str, arguments: &[String]) -> String {
    let each = |line: &dyn Fn(usize) -> String| (0..validators).map(line).collect::<String>();
    let count = match validators {
        1 => "One validator".to_owned(),
        4 => "Four validators".to_owned(),
        count => format!("{count} validators"),
    };
    let arguments: String = arguments.iter().map(|argument| format!(", {argument:?}")).collect();
    let homes = each(&|i| format!("      - node{i}:/testnet/node{i}\n"));
    let nodes = each(&|i| {
        let (ports, keys) = if i == 0 { (PORTS, "      - keys:/testnet/keys\n") } else { ("", "") };
        format!(
            "\n  node{i}:\n    <<: *node\n    hostname: node{i}\n    environment:\n      CAIRN_HOME: /testnet/node{i}\n\
             {ports}    volumes:\n      - node{i}:/testnet/node{i}\n{keys}"
        )
    });
    let urls: Vec<String> = (0..validators).map(|i| format!("http://node{i}:26657")).collect();
    let healthy = each(&|i| format!("      node{i}:\n        condition: service_healthy\n"));
    // The image has a home for each of `NODES_MAX` nodes.
    let join = if validators < NODES_MAX { JOIN.replace("{next}", &validators.to_string()) } else { String::new() };
    let homes_max = NODES_MAX.min(validators + 1);
    let volumes: String = (0..homes_max).map(|i| format!("  node{i}:\n")).collect();
    TEMPLATE
        .replace("{count}", &count)
        .replace("{validators}", &validators.to_string())
        .replace("{arguments}", &arguments)
        .replace("{homes}", &homes)
        .replace("{nodes}", &nodes)
        .replace("{join}", &join)
        .replace("{urls}", &urls.join(","))
        .replace("{healthy}", &healthy)
        .replace("{volumes}", &volumes)
        .replace("{root}", root)
}

const PORTS: &str = "    # Published on this machine only. BIND_ADDRESS=0.0.0.0 opens it to the network: then anyone can send transactions
    # and put load on the node. Use a proxy with limits instead.
    ports:
      - \"${BIND_ADDRESS:-127.0.0.1}:${RPC_PORT:-26657}:26657\"
";

const JOIN: &str = r#"
  # Runs only with `--profile join`: a full node, until an account locks stake behind its key. Its home is a new one, with the
  # genesis document and the address of node0.
  node{next}:
    <<: *node
    profiles:
      - join
    hostname: node{next}
    entrypoint: ["sh", "-ec"]
    command:
      - |
        if ! [ -e "$$CAIRN_HOME/config/genesis.json" ]; then
          cairn init --moniker node{next}
          cp /testnet/node0/config/genesis.json "$$CAIRN_HOME/config/"
        fi
        peer="$$(cairn show-node-id --home /testnet/node0)@node0:26656"
        exec cairn start --p2p.addr_book_strict=false --p2p.persistent_peers="$$peer"
    environment:
      CAIRN_HOME: /testnet/node{next}
    volumes:
      - node{next}:/testnet/node{next}
      - node0:/testnet/node0:ro
      - keys:/testnet/keys:ro
"#;

const TEMPLATE: &str = r#"# {count}, Prometheus and Grafana, each in a container of its own.
#
#   docker compose up                  the first time it builds the image (minutes); Ctrl-C stops
#   docker compose --profile load up   the same, with a continuous load of transfers
#   docker compose --profile join up   the same, with one more node, which can become a validator: see docs/operate.md
#   docker compose up --build          builds the image again from the sources, after they changed
#   docker compose down                removes the containers; keys and blocks stay in their volumes
#   docker compose down --volumes      removes these too
#
# RPC of node0 at http://localhost:26657, Prometheus at http://localhost:9090, Grafana at http://localhost:3000.
# Other ports and addresses: RPC_PORT, PROMETHEUS_PORT, GRAFANA_PORT, BIND_ADDRESS. Another image: CAIRN_IMAGE.
#
# Generated by `cairn testnet --compose`, for any number of validators: change node/src/cli/compose.rs instead of this file.

x-logging: &logging
  driver: json-file
  options:
    max-size: 10m
    max-file: "3"

x-cairn: &cairn
  image: ${CAIRN_IMAGE:-cairn:latest}
  # Containers are not restarted automatically: a validator that stopped to avoid signing twice (exit code 76) must stay stopped.
  restart: "no"
  # A node that has not stopped cleanly after 20 s ends its process.
  stop_grace_period: 30s
  cpus: 1
  mem_limit: 1g
  pids_limit: 256
  read_only: true
  cap_drop:
    - ALL
  security_opt:
    - no-new-privileges:true
  logging: *logging

x-node: &node
  <<: *cairn
  command: ["start"]
  depends_on:
    init:
      condition: service_completed_successfully

services:
  # Creates keys, genesis and configuration when the volumes are empty; otherwise changes nothing. It needs no network.
  init:
    <<: *cairn
    build: {root}
    network_mode: none
    command: ["testnet", "--init-only", "--dir", "/testnet", "--hostname-prefix", "node", "--validators", "{validators}"{arguments}]
    healthcheck:
      disable: true
    volumes:
{homes}      - keys:/testnet/keys
      - targets:/testnet/prometheus
{nodes}{join}
  # Runs only with `--profile load`. The account alice funds the senders once. Transactions are signed during the load, so no file is written.
  load:
    <<: *cairn
    profiles:
      - load
    command: ["load", "--nodes", "{urls}", "--fund-from", "alice", "--rate", "200", "--duration", "0"]
    environment:
      CAIRN_HOME: /testnet/node0
    healthcheck:
      disable: true
    depends_on:
{healthy}    volumes:
      - keys:/testnet/keys:ro

  prometheus:
    image: prom/prometheus:v3.5.0
    command:
      - --config.file=/etc/prometheus/prometheus.yml
      - --storage.tsdb.path=/prometheus
      - --storage.tsdb.retention.time=15d
    depends_on:
      init:
        condition: service_completed_successfully
    cpus: 1
    mem_limit: 1g
    logging: *logging
    ports:
      - "${BIND_ADDRESS:-127.0.0.1}:${PROMETHEUS_PORT:-9090}:9090"
    volumes:
      - {root}/monitoring/prometheus:/etc/prometheus:ro
      - targets:/targets:ro
      - prometheus:/prometheus

  grafana:
    image: grafana/grafana:11.6.0
    environment:
      # Viewing needs no account. To change something, sign in as admin; the initial password is admin.
      GF_AUTH_ANONYMOUS_ENABLED: "true"
      GF_AUTH_ANONYMOUS_ORG_ROLE: Viewer
      GF_ANALYTICS_REPORTING_ENABLED: "false"
      GF_ANALYTICS_CHECK_FOR_UPDATES: "false"
      GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: /etc/grafana/dashboards/overview.json
    depends_on:
      - prometheus
    cpus: 1
    mem_limit: 512m
    logging: *logging
    ports:
      - "${BIND_ADDRESS:-127.0.0.1}:${GRAFANA_PORT:-3000}:3000"
    volumes:
      - {root}/monitoring/grafana/provisioning/datasources:/etc/grafana/provisioning/datasources:ro
      - {root}/monitoring/grafana/provisioning/dashboards:/etc/grafana/provisioning/dashboards:ro
      - {root}/monitoring/grafana/dashboards:/etc/grafana/dashboards:ro
      - grafana:/var/lib/grafana

volumes:
{volumes}  keys:
  targets:
  prometheus:
  grafana:
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares `docker-compose.yml` of the sources with the output for four validators.
    /// `rm docker-compose.yml && cairn testnet --compose --dir .` writes this file again.
    #[test]
    fn the_compose_file_in_the_sources_equals_the_one_written_for_four() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker-compose.yml");
        let there = std::fs::read_to_string(path).expect("docker-compose.yml is there");
        assert!(
            there == text(4, ".", &[]),
            "`rm docker-compose.yml && cairn testnet --compose --dir .` in the sources writes docker-compose.yml anew"
        );
    }

    #[test]
    fn the_image_has_a_home_for_each_node_of_a_compose_file() {
        let dockerfile = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Dockerfile")).unwrap();
        assert!(dockerfile.contains(&format!("/testnet/node%g 0 {}", NODES_MAX - 1)));
    }

    #[test]
    fn another_number_of_validators_changes_only_what_depends_on_it() {
        let seven = text(7, "..", &["--chain-id".to_owned(), "seven".to_owned()]);
        assert!(seven.contains(r#""--validators", "7", "--chain-id", "seven"]"#), "{seven}");
        assert!(seven.contains("build: ..\n") && seven.contains("- ../monitoring/prometheus:/etc/prometheus:ro"));
        assert_eq!(seven.matches("<<: *node").count(), 7 + 1, "one more node can join");
        assert_eq!(seven.matches(":26657\"\n").count(), 1, "one RPC is published");
        assert!(!seven.contains("node8") && !seven.contains("http://node7") && seven.contains("http://node6:26657"));
    }

    #[test]
    fn no_node_joins_beyond_the_homes_of_the_image() {
        let all = text(NODES_MAX, ".", &[]);
        assert!(all.contains("node99:") && !all.contains("node100") && !all.contains("- join"), "{all}");
    }

    #[test]
    fn the_sources_are_found_from_the_files_folder() {
        assert_eq!(root_from(Path::new(".")).unwrap(), ".");
        assert_eq!(root_from(Path::new("./seven")).unwrap(), "..");
        assert_eq!(root_from(Path::new("a/b/")).unwrap(), "../..");
        assert!(Path::new(&root_from(Path::new("/x")).unwrap()).is_absolute());
        assert!(Path::new(&root_from(Path::new("../x")).unwrap()).is_absolute());
    }
}
