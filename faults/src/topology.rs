//! Validators that reach each other through a relay only, as a compose file.
//!
//! ```text
//!   node0 ── net0 ──┐                ┌── net2 ── node2        node i dials node j at relay:PORT(i, j); the relay forwards to
//!                   ├──── relay ─────┤                        nodej:26656 and is the only one in two networks
//!   node1 ── net1 ──┘                └── net3 ── node3
//! ```

use crate::scenario::link_name;

/// Validators at most: each takes a network, of which Docker has some 30 addresses by itself.
pub const NODES_MAX: usize = 16;
/// Validators at least: fewer cannot bear the loss of one.
pub const NODES_MIN: usize = 4;
/// Where links begin in the relay's container; link i-j is `NODES_MAX * i + j` above.
const LINK_PORT: usize = 20_000;
/// Where the relay's control listens in its container.
const CONTROL_PORT: u16 = 19_999;

/// What a compose file is made of.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The image of all containers.
    pub image: String,
    /// On 127.0.0.1: the RPC of each validator.
    pub rpc_ports: Vec<u16>,
    /// On 127.0.0.1: the control of the relay.
    pub control_port: u16,
    /// Validators dial each other by QUIC, not by TCP.
    pub quic: bool,
}

impl Topology {
    fn nodes(&self) -> usize {
        self.rpc_ports.len()
    }

    /// Prints, in the service `init`, the id of each node and then the key of the account that has money, after it made all files.
    pub fn init_script(&self) -> String {
        let nodes = self.nodes();
        let last = nodes - 1;
        format!(
            "cairn testnet --init-only --dir /testnet --hostname-prefix node --validators {nodes} >&2 \
             && for i in $(seq 0 {last}); do cairn show-node-id --home /testnet/node$i || exit 1; done \
             && cairn keys export alice --home /testnet/node0"
        )
    }

    /// The persistent peers of a node, each at its own port of the relay.
    fn peers(&self, from: usize, ids: &[String]) -> String {
        let others = ids.iter().enumerate().filter(|(to, _)| *to != from);
        let scheme = if self.quic { "quic://" } else { "" };
        let peers: Vec<String> = others.map(|(to, id)| format!("{id}@{scheme}relay:{}", link_port(from, to))).collect();
        peers.join(",")
    }

    /// The file. `ids`: of the nodes, once they are known.
    pub fn compose_file(&self, ids: &[String]) -> String {
        let Self { image, rpc_ports, control_port, .. } = self;
        let each = |line: &dyn Fn(usize) -> String| (0..self.nodes()).map(line).collect::<String>();
        let homes = each(&|i| format!("      - node{i}:/testnet/node{i}\n"));
        let links: String = (0..self.nodes())
            .flat_map(|from| (0..self.nodes()).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .map(|(from, to)| {
                let (name, port) = (link_name(from, to), link_port(from, to));
                format!("      - {name}=0.0.0.0:{port}/node{to}:26656\n")
            })
            .collect();
        let nodes = each(&|i| {
            let (port, peers) = (rpc_ports[i], self.peers(i, ids));
            format!(
                "\n  node{i}:\n    <<: *cairn\n    hostname: node{i}\n    command: [\"start\"]\n    environment:\n      \
                 CAIRN_HOME: /testnet/node{i}\n      CAIRN_P2P_PEX: \"false\"\n      CAIRN_P2P_PERSISTENT_PEERS: \"{peers}\"\n    \
                 ports:\n      - \"127.0.0.1:{port}:26657\"\n    networks:\n      - net{i}\n    volumes:\n      - \
                 node{i}:/testnet/node{i}\n"
            )
        });
        TEMPLATE
            .replace("{image}", &format!("{image:?}"))
            .replace("{homes}", &homes)
            .replace("{links}", &links)
            .replace("{control}", &CONTROL_PORT.to_string())
            .replace("{published}", &control_port.to_string())
            .replace("{in_all}", &each(&|i| format!("      - net{i}\n")))
            .replace("{nodes}", &nodes)
            .replace("{networks}", &each(&|i| format!("  net{i}:\n")))
            .replace("{volumes}", &each(&|i| format!("  node{i}:\n")))
    }
}

fn link_port(from: usize, to: usize) -> usize {
    LINK_PORT + NODES_MAX * from + to
}

// Containers have no share of the processor of their own: a quota lets one stand still for up to 100 ms, which would be measured.
const TEMPLATE: &str = r#"x-cairn: &cairn
  image: {image}
  restart: "no"
  mem_limit: 1g
  pids_limit: 1024
  read_only: true
  cap_drop:
    - ALL
  security_opt:
    - no-new-privileges:true
  healthcheck:
    disable: true
  logging:
    driver: json-file
    options:
      max-size: 10m
      max-file: "1"

services:
  init:
    <<: *cairn
    network_mode: none
    entrypoint: ["/bin/sh", "-c"]
    volumes:
{homes}      - keys:/testnet/keys
      - targets:/testnet/prometheus

  relay:
    <<: *cairn
    command:
      - relay
      - --control
      - 0.0.0.0:{control}
{links}    ports:
      - "127.0.0.1:{published}:{control}"
    networks:
{in_all}{nodes}
networks:
{networks}
volumes:
{volumes}  keys:
  targets:
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::LinkSpec;

    fn topology() -> Topology {
        Topology {
            image: "cairn:latest".to_owned(),
            rpc_ports: vec![1001, 1002, 1003, 1004],
            control_port: 1000,
            quic: false,
        }
    }

    #[test]
    fn every_pair_has_a_link_and_every_node_dials_its_own() {
        let ids = ["a", "b", "c", "d"].map(str::to_owned);
        let file = topology().compose_file(&ids);
        let links: Vec<LinkSpec> = file
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- "))
            .filter(|item| item.ends_with(":26656"))
            .map(|item| item.parse().unwrap())
            .collect();
        assert_eq!(links.len(), 12);
        let of = |name: &str| links.iter().find(|link| link.name == name).unwrap();
        assert_eq!((of("2-3").listen.as_str(), of("2-3").target.as_str()), ("0.0.0.0:20035", "node3:26656"));
        assert!(file.contains("CAIRN_P2P_PERSISTENT_PEERS: \"a@relay:20048,b@relay:20049,c@relay:20050\""), "{file}");
        let by_quic = Topology { quic: true, ..topology() }.compose_file(&ids);
        assert!(by_quic.contains("\"a@quic://relay:20048,"), "{by_quic}");
        for link in &links {
            let port = link.listen.rsplit(':').next().unwrap();
            assert_eq!(file.matches(&format!("@relay:{port}")).count(), 1, "{}", link.name);
        }
    }

    #[test]
    fn a_node_is_in_one_network_and_published_on_loopback_only() {
        let file = topology().compose_file(&[]);
        let of_node2 = file.split("\n  node2:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        assert_eq!(of_node2.matches("- net").count(), 1);
        assert!(of_node2.contains("- net2\n") && of_node2.contains("127.0.0.1:1003:26657"), "{of_node2}");
        assert!(file.lines().filter(|line| line.contains(":26657\"")).all(|line| line.contains("\"127.0.0.1:")));
        assert!(!file.contains('{'), "nothing is left to fill in: {file}");
    }

    #[test]
    fn ports_of_the_largest_testnet_do_not_meet() {
        let last = link_port(NODES_MAX - 1, NODES_MAX - 2);
        assert!(last < 65_536 && usize::from(CONTROL_PORT) < LINK_PORT);
        assert_ne!(link_port(1, 0), link_port(0, NODES_MAX - 1));
    }
}
