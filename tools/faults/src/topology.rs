//! A compose file of validators that reach each other only through a relay.
//!
//! ```text
//!   node0 ── net0 ──┐                ┌── net2 ── node2
//!                   ├──── relay ─────┤
//!   node1 ── net1 ──┘                └── net3 ── node3
//! ```
//! Node i dials node j at relay:PORT(i, j). The relay forwards to nodej:26656, and it alone is in more than one
//! network.

use crate::scenario::link_name;

/// Maximum number of validators: each needs a network, and Docker's default address pools have about 30.
pub const NODES_MAX: usize = 16;
/// Minimum number of validators: with fewer, a chain cannot continue after the loss of one.
pub const NODES_MIN: usize = 4;
/// First port of the links in the relay's container: link i-j listens at `LINK_PORT + NODES_MAX * i + j`.
const LINK_PORT: usize = 20_000;
/// Port of the relay's control in its container.
const CONTROL_PORT: u16 = 19_999;

/// The parameters of a compose file.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Name of the image of all containers.
    pub image: String,
    /// Port on 127.0.0.1 of each validator's RPC.
    pub rpc_ports: Vec<u16>,
    /// Port on 127.0.0.1 of the relay's control.
    pub control_port: u16,
    /// True if validators dial each other over QUIC instead of TCP.
    pub quic: bool,
}

impl Topology {
    fn nodes(&self) -> usize {
        self.rpc_ports.len()
    }

    /// Returns the script of the service `init`: it makes all files, then prints the id of each node and the key of the
    /// funded account.
    pub fn init_script(&self) -> String {
        let nodes = self.nodes();
        let last = nodes - 1;
        format!(
            "cairn testnet --init-only --dir /testnet --hostname-prefix node --validators {nodes} >&2 \
             && for i in $(seq 0 {last}); do cairn show-node-id --home /testnet/node$i || exit 1; done \
             && cairn keys export alice --home /testnet/node0"
        )
    }

    /// Returns the persistent peers of a node, each with its own port of the relay.
    fn peers(&self, from: usize, ids: &[String]) -> String {
        let others = ids.iter().enumerate().filter(|(to, _)| *to != from);
        let scheme = if self.quic { "quic://" } else { "" };
        let peers: Vec<String> = others.map(|(to, id)| format!("{id}@{scheme}relay:{}", link_port(from, to))).collect();
        peers.join(",")
    }

    /// Returns the text of the compose file. `ids`: ids of the nodes, empty until they are known.
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

// Containers have no CPU quota: a quota can stop a container for up to 100 ms, which would be measured.
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
