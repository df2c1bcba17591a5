//! Writes and reads the files of a new node and of a new testnet: keys, genesis document, configuration.
//!
//! Node `i` of a testnet has its own ports: peers at the first port + 10·i (TCP, and QUIC over UDP), RPC one above,
//! metrics four above. For node 0 these are CometBFT's ports 26656, 26657 and 26660. If each node has its own machine
//! (`--hostname-prefix`), all nodes use the ports of node 0 and listen on every address.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use files::{Access, Existing, FileError, PlannedFile, Testnet, TestnetOptions, load_genesis, testnet::write_files};
use genesis::Genesis;
use node::{clock, config::Config, exit::Failure};
use p2p::NodeId;
use serde_json::{Value, json};
use types::{ChainId, KeyType, limits::VALIDATORS_MAX};

/// Default of the first port of a testnet.
pub const BASE_PORT: u16 = 26656;
/// Distance between the ports of two consecutive nodes on one machine.
const PORTS_PER_NODE: u16 = 10;
/// Default number of validators of a testnet.
pub const VALIDATORS: usize = 4;
/// Maximum calls in one batch request that the nodes of a testnet accept. `cairn load` sends up to this many by
/// default.
const REQUEST_BATCH: usize = 100;
/// Time for which stake that was taken back is locked in a testnet, so that one sees it come back.
const UNBONDING: Duration = Duration::from_secs(600);
/// Maximum age of evidence in a testnet: stake must not come back while evidence against it can still come.
const EVIDENCE_AGE: Duration = Duration::from_secs(300);
/// Default chain id of a testnet.
pub const TESTNET_CHAIN: &str = "cairn-testnet";
/// Maximum number of persistent peers of a node. In a testnet with at most one node more than this, each node connects
/// to all others.
const NEIGHBOURS: usize = 32;
/// Name of a marker file in the home of the first node. It exists while the files of a testnet or a single home are
/// written, and is removed when they are complete.
const UNFINISHED: &str = ".unfinished";
/// Path, relative to the testnet's folder, of the file from which Prometheus reads its scrape targets.
const TARGETS: &str = "prometheus/targets.json";
/// Folder of [`TARGETS`], relative to the testnet's folder.
const TARGETS_FOLDER: &str = "prometheus";

/// Requested properties of a testnet. `None` accepts the value of an existing testnet, and selects the default for a
/// new one.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Folder of the testnet's files.
    pub dir: PathBuf,
    /// Number of the testnet's validators.
    pub validators: Option<usize>,
    /// Id of the testnet's chain.
    pub chain_id: Option<ChainId>,
    /// Peer port of node 0, the lowest port of the testnet.
    pub base_port: Option<u16>,
    /// Interval between two empty blocks; `Some(None)` turns empty blocks off.
    pub empty_block_interval: Option<Option<Duration>>,
    /// Prefix of host names. If given, each node has its own machine, whose host name is this prefix and the node's
    /// index.
    pub hostname_prefix: Option<String>,
    /// Type of the validators' keys.
    pub key_type: Option<KeyType>,
}

/// A testnet whose files exist on disk.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Genesis document of the testnet's chain.
    pub genesis: Genesis,
    /// Configurations of the nodes, from node 0.
    pub nodes: Vec<Config>,
    /// True if this call wrote the files, false if they existed.
    pub is_new: bool,
}

/// Returns the ports of `count` nodes on one machine: for each node those for peers, RPC and metrics.
#[cfg(feature = "tools")]
pub fn ports(base: u16, count: usize) -> impl Iterator<Item = u16> {
    let of_node = move |index: usize| [0, 1, 4].map(|offset| base + PORTS_PER_NODE * index as u16 + offset);
    (0..count).flat_map(of_node)
}

/// Returns the name of a node, which is also that of its home in the testnet's folder.
pub fn node_name(index: usize) -> String {
    format!("node{index}")
}

/// Returns the testnet in the folder if it has the wanted properties; writes a new testnet if the folder has none.
/// Keys, genesis documents and configurations are never overwritten.
///
/// Errors: the existing testnet is incomplete or differs from `wanted` (the failure names the difference and the
/// remedies), the wanted properties are impossible, or a file cannot be read or written.
pub fn testnet(wanted: &Wanted) -> Result<Prepared, Failure> {
    let dir = &wanted.dir;
    if dir.join(node_name(0)).join(UNFINISHED).exists() {
        return Err(Failure::refused(format!(
            "{0} is unfinished, because an earlier command was interrupted: remove it (`rm -r {0}`, or its volumes with \
             `docker compose down --volumes`) and try again",
            dir.display()
        )));
    }
    // An empty home does not count as existing: a new container volume is an empty folder.
    let is_new = (0..=VALIDATORS_MAX).all(|index| !is_made(&dir.join(node_name(index))));
    if is_new {
        write_testnet(wanted)?;
    } else if !is_made(&dir.join(node_name(0))) {
        return Err(Failure::refused(format!(
            "{} has homes of other nodes, but none of node0: restore it, or remove the others with their chain",
            dir.display()
        )));
    }
    let genesis = load_genesis(&dir.join(node_name(0)).join("config").join("genesis.json"))?;
    let nodes: Vec<Config> = homes(dir).iter().map(|home| load(home)).collect::<Result<_, Failure>>()?;
    let prepared = Prepared { genesis, nodes, is_new };
    if !is_new {
        check_same(wanted, &prepared)?;
    }
    write_targets(dir, &prepared.nodes)?;
    Ok(prepared)
}

/// Returns the existing homes `node0`, `node1`, … up to the first one that is missing.
pub fn homes(dir: &Path) -> Vec<PathBuf> {
    (0..=VALIDATORS_MAX).map(|index| dir.join(node_name(index))).take_while(|home| is_made(home)).collect()
}

/// Returns true if a home has a configuration folder.
fn is_made(home: &Path) -> bool {
    home.join("config").is_dir()
}

/// Returns the host and port through which a client reaches a listening address of a node. The host is `127.0.0.1` if
/// all nodes share this machine.
fn reached_at(node: &Config, index: usize, address: &str) -> Option<String> {
    let port = address.rsplit(':').next()?;
    let host = hostname_prefix(node).map_or_else(|| "127.0.0.1".to_owned(), |prefix| format!("{prefix}{index}"));
    Some(format!("{host}:{port}"))
}

/// Returns the host name prefix of the testnet's machines, taken from the node's external address. A node of a testnet
/// on one machine has no external address; then the result is `None`.
fn hostname_prefix(node: &Config) -> Option<&str> {
    let (host, _) = node.p2p.external_address.rsplit_once(':')?;
    Some(host.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Returns true if each node is for a machine of its own, whose name is its external address.
pub fn on_machines_of_their_own(nodes: &[Config]) -> bool {
    nodes.first().is_some_and(|first| hostname_prefix(first).is_some())
}

/// Writes the scrape targets of Prometheus in the form of its `file_sd_configs`, with the name of each node as label
/// `instance`.
///
/// The content follows from the configuration files, so it is updated on each call.
fn write_targets(dir: &Path, nodes: &[Config]) -> Result<(), Failure> {
    let target = |(index, node): (usize, &Config)| {
        let address = &node.instrumentation.prometheus_listen_addr;
        let target = node.instrumentation.prometheus.then(|| reached_at(node, index, address)).flatten()?;
        Some(json!({ "targets": [target], "labels": { "instance": node_name(index) } }))
    };
    let targets: Vec<Value> = nodes.iter().enumerate().filter_map(target).collect();
    let file = dir.join(TARGETS);
    let text = format!("{:#}\n", Value::Array(targets));
    if std::fs::read_to_string(&file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    readable_folder(dir)?;
    readable_folder(&dir.join(TARGETS_FOLDER))?;
    Ok(files::write(&file, text.as_bytes(), Access::Public, Existing::Replace)?)
}

/// Creates a folder, if it is absent, that other users may list, because Prometheus runs as another user.
fn readable_folder(folder: &Path) -> Result<(), Failure> {
    let make = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    make.map_err(|error| Failure::file("created", folder, &error))
}

/// Checks that an existing testnet is complete and has the wanted properties.
///
/// Errors: it does not; the failure names the difference and the remedies.
fn check_same(wanted: &Wanted, there: &Prepared) -> Result<(), Failure> {
    let dir = wanted.dir.display();
    let other = |what: String, flag: &str| {
        Err(Failure::refused(format!(
            "{dir} is there already and {what}: leave out {flag} to use it, choose another --dir, or remove it \
             with its chain (`rm -r {dir}`)"
        )))
    };
    let members = &there.genesis.document().validators;
    let validators = members.len();
    if validators != there.nodes.len() {
        let nodes = there.nodes.len();
        return Err(Failure::refused(format!(
            "{dir} has {nodes} homes, but its genesis document has {validators} validators: restore the missing ones, or \
             remove it with its chain (`rm -r {dir}`, or its volumes with `docker compose down --volumes`)"
        )));
    }
    match wanted {
        Wanted { validators: Some(asked), .. } if *asked != validators => {
            other(format!("has {validators} validators, not {asked}"), "--validators")
        }
        Wanted { chain_id: Some(asked), .. } if asked != there.genesis.chain_id() => {
            other(format!("its chain is {}, not {asked}", there.genesis.chain_id()), "--chain-id")
        }
        Wanted { base_port: Some(asked), .. } if !there.nodes[0].p2p.laddr.ends_with(&format!(":{asked}")) => {
            other(format!("its first node listens at {}, not at port {asked}", there.nodes[0].p2p.laddr), "--base-port")
        }
        Wanted { key_type: Some(asked), .. } if members.iter().any(|member| member.public_key.key_type() != *asked) => {
            other(format!("not all of its validators have {asked} keys"), "--key-type")
        }
        Wanted { hostname_prefix: Some(asked), .. } if hostname_prefix(&there.nodes[0]) != Some(asked) => {
            other("its nodes are for machines with other names".to_owned(), "--hostname-prefix")
        }
        Wanted { empty_block_interval: Some(asked), .. }
            if there.nodes.iter().any(|node| node.consensus.empty_block_interval != *asked) =>
        {
            other(
                "its config.toml files have another empty_block_interval (edit them, or set \
                 CAIRN_CONSENSUS_EMPTY_BLOCK_INTERVAL)"
                    .to_owned(),
                "--empty-block-interval",
            )
        }
        _ => Ok(()),
    }
}

/// Reads the configuration of a testnet's node from its file and the environment. The variables in [`OF_ONE_NODE`] are
/// ignored, because they would give all nodes the same address or name.
///
/// Errors: the file cannot be read, or a setting is invalid.
pub fn load(home: &Path) -> Result<Config, Failure> {
    let file = Config::path_in(home);
    let text = std::fs::read_to_string(&file).map_err(|error| Failure::file("read", &file, &error))?;
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Config::read(home, &text, environment.filter(|(name, _)| !OF_ONE_NODE.contains(&name.as_str())), &[])?)
}

/// Environment variables that are meaningful for one node only, and must not apply to several nodes.
pub const OF_ONE_NODE: [&str; 7] = [
    "CAIRN_HOME",
    "CAIRN_MONIKER",
    "CAIRN_RPC_LADDR",
    "CAIRN_P2P_LADDR",
    "CAIRN_P2P_EXTERNAL_ADDRESS",
    "CAIRN_P2P_PERSISTENT_PEERS",
    "CAIRN_INSTRUMENTATION_PROMETHEUS_LISTEN_ADDR",
];

fn write_testnet(wanted: &Wanted) -> Result<(), Failure> {
    let count = wanted.validators.unwrap_or(VALIDATORS);
    if let Some(prefix) = wanted.hostname_prefix.as_ref().filter(|prefix| !is_host(prefix)) {
        return Err(Failure::refused(format!(
            "--hostname-prefix {prefix:?} is not a valid prefix of host names: use letters, digits, dots and dashes, such as \
             node for node0, node1, ..."
        )));
    }
    if !(1..=VALIDATORS_MAX).contains(&count) {
        return Err(Failure::refused(format!("--validators is {count}: use 1 to {VALIDATORS_MAX}")));
    }
    let base_port = wanted.base_port.unwrap_or(BASE_PORT);
    let prefix = wanted.hostname_prefix.as_deref();
    let ports_apart = if prefix.is_some() { 0 } else { PORTS_PER_NODE };
    let last =
        usize::from(base_port) + usize::from(ports_apart) * count.saturating_sub(1) + usize::from(PORTS_PER_NODE);
    if base_port < 1024 || last > usize::from(u16::MAX) {
        return Err(Failure::refused(format!(
            "--base-port {base_port}: {count} validators need ports {base_port} to {last}: use a port of at least 1024, and no port \
             above 65535"
        )));
    }
    let chain_id = match &wanted.chain_id {
        Some(chain_id) => chain_id.clone(),
        None => ChainId::new(TESTNET_CHAIN).expect("the default is a chain id"),
    };
    let mut options = TestnetOptions::generate(chain_id, clock::wall(), count, wanted.key_type.unwrap_or_default())?;
    (options.params.staking.unbonding, options.params.evidence.age_max) = (UNBONDING, EVIDENCE_AGE);
    let ids: Vec<NodeId> = options.nodes.iter().map(|keys| keys.node.id()).collect();
    let plan = plan(options)?;
    let files = plan.files(|index| {
        let mut config = Config::default();
        config.base.moniker = node_name(index);
        let port = |index: usize, offset: u16| base_port + ports_apart * index as u16 + offset;
        let host = |index: usize| prefix.map_or_else(|| "127.0.0.1".to_owned(), |prefix| format!("{prefix}{index}"));
        let listen = if prefix.is_some() { "0.0.0.0" } else { "127.0.0.1" };
        config.p2p.laddr = format!("tcp://{listen}:{}", port(index, 0));
        if prefix.is_some() {
            config.p2p.external_address = format!("{}:{}", host(index), port(index, 0));
        }
        config.p2p.addr_book_strict = false;
        config.p2p.allow_duplicate_ip = true;
        config.p2p.max_num_inbound_peers = config.p2p.max_num_inbound_peers.max(2 * NEIGHBOURS);
        let peers = neighbours(index, count).map(|peer| format!("{}@{}:{}", ids[peer], host(peer), port(peer, 0)));
        config.p2p.persistent_peers = peers.collect();
        config.rpc.laddr = format!("tcp://{listen}:{}", port(index, 1));
        config.rpc.max_request_batch_size = REQUEST_BATCH;
        config.instrumentation.prometheus = true;
        config.instrumentation.prometheus_listen_addr = format!("{listen}:{}", port(index, 4));
        if let Some(interval) = wanted.empty_block_interval {
            config.consensus.empty_block_interval = interval;
        }
        config.to_commented_toml()
    });
    let dir = &wanted.dir;
    readable_folder(dir)?;
    write_marked(dir, &dir.join(node_name(0)), &files, Existing::Refuse)
}

/// Writes files under `folder`. While they are incomplete, the marker file [`UNFINISHED`] exists in `home`.
fn write_marked(folder: &Path, home: &Path, files: &[PlannedFile], existing: Existing) -> Result<(), Failure> {
    std::fs::create_dir_all(home).map_err(|error| Failure::file("created", home, &error))?;
    let mark = home.join(UNFINISHED);
    std::fs::write(&mark, "").map_err(|error| Failure::file("written", &mark, &error))?;
    write_files(folder, files, existing)?;
    std::fs::remove_file(&mark).map_err(|error| Failure::file("removed", &mark, &error))
}

/// Returns true if the prefix with a number appended is a host name from which [`hostname_prefix`] recovers the prefix.
fn is_host(prefix: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    prefix.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !prefix.ends_with(|c: char| c.is_ascii_digit())
        && prefix.len() <= 60
        && prefix.chars().all(inner)
}

/// Returns the indexes of a node's persistent peers: all other nodes, or the [`NEIGHBOURS`] nearest nodes on a ring of
/// all nodes.
fn neighbours(index: usize, count: usize) -> impl Iterator<Item = usize> {
    let all = count <= NEIGHBOURS + 1;
    let near = move |other: &usize| {
        let apart = other.abs_diff(index);
        all || apart.min(count - apart) <= NEIGHBOURS / 2
    };
    (0..count).filter(move |other| *other != index).filter(near)
}

fn plan(options: TestnetOptions) -> Result<Testnet, Failure> {
    Testnet::plan(options)
        .map_err(|error| Failure::refused(format!("these settings give no valid genesis document: {error}")))
}

/// Writes the files of one node with its own chain: one validator, and one funded account, alice. Returns the genesis
/// document. Files that an interrupted call left behind are replaced.
///
/// Errors: one of the files exists and no call was interrupted (then nothing is written), the options make no genesis
/// document, or a file cannot be written.
pub fn single(
    home: &Path,
    chain_id: Option<ChainId>,
    moniker: Option<String>,
    key_type: KeyType,
) -> Result<Genesis, Failure> {
    let chain_id = match chain_id {
        Some(chain_id) => chain_id,
        None => ChainId::new(&format!("test-chain-{:06x}", clock::wall().unix_nanos() & 0xFF_FFFF))
            .expect("letters, dashes and digits make a chain id"),
    };
    let mut options = TestnetOptions::generate(chain_id, clock::wall(), 1, key_type)?;
    options.accounts.truncate(1);
    let plan = plan(options)?;
    let files = plan.files(|_| {
        let mut config = Config::default();
        config.base.moniker = moniker.clone().unwrap_or_else(|| "cairn".to_owned());
        config.to_commented_toml()
    });
    // The plan is that of a testnet with one node; its files under `node0/` belong directly into the home here.
    let into_home = |file: PlannedFile| PlannedFile {
        path: file.path.strip_prefix(node_name(0)).map(Path::to_owned).unwrap_or(file.path.clone()),
        ..file
    };
    let files: Vec<PlannedFile> = files.into_iter().map(into_home).collect();
    if home.join(UNFINISHED).exists() {
        write_marked(home, home, &files, Existing::Replace)?;
        return Ok(plan.genesis);
    }
    if let Some(file) = files.iter().map(|file| home.join(&file.path)).find(|file| file.symlink_metadata().is_ok()) {
        return Err(FileError::Exists { file }.into());
    }
    write_marked(home, home, &files, Existing::Refuse)?;
    Ok(plan.genesis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(dir: &Path, validators: Option<usize>) -> Wanted {
        Wanted {
            dir: dir.to_owned(),
            validators,
            chain_id: None,
            base_port: None,
            empty_block_interval: None,
            hostname_prefix: None,
            key_type: None,
        }
    }

    #[test]
    fn a_testnet_is_created_once_and_then_continued() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("t");
        let first = testnet(&wanted(&dir, Some(3))).unwrap();
        assert!(first.is_new && first.nodes.len() == 3);
        let params = first.genesis.params();
        assert_eq!((params.staking.unbonding, params.evidence.age_max), (UNBONDING, EVIDENCE_AGE));
        let second = testnet(&wanted(&dir, None)).unwrap();
        assert!(!second.is_new);
        assert_eq!(second.genesis, first.genesis);
        for (index, node) in second.nodes.iter().enumerate() {
            assert_eq!(node.base.moniker, node_name(index));
            assert_eq!(node.p2p.laddr, format!("tcp://127.0.0.1:{}", 26656 + 10 * index));
            assert_eq!(node.rpc.laddr, format!("tcp://127.0.0.1:{}", 26657 + 10 * index));
            assert_eq!(node.instrumentation.prometheus_listen_addr, format!("127.0.0.1:{}", 26660 + 10 * index));
            assert_eq!(node.p2p.persistent_peers.len(), 2);
        }
    }

    #[test]
    fn a_testnet_with_other_settings_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        testnet(&wanted(dir.path(), Some(2))).unwrap();
        let other = |wanted: Wanted| testnet(&wanted).unwrap_err().to_string();
        let base = wanted(dir.path(), None);
        assert!(other(wanted(dir.path(), Some(4))).contains("has 2 validators, not 4: leave out --validators"));
        let chain_id = Some(ChainId::new("other").unwrap());
        assert!(other(Wanted { chain_id, ..base.clone() }).contains("its chain is cairn-testnet, not other"));
        assert!(other(Wanted { base_port: Some(4000), ..base.clone() }).contains("not at port 4000"));
        let key_type = Some(KeyType::Ed25519);
        assert!(other(Wanted { key_type, ..base.clone() }).contains("not all of its validators have ed25519 keys"));
        testnet(&Wanted { key_type: Some(KeyType::Secp256k1), ..base.clone() }).unwrap();
        assert!(other(Wanted { empty_block_interval: Some(None), ..base.clone() }).contains("empty_block_interval"));
        std::fs::remove_dir_all(dir.path().join("node1")).unwrap();
        assert!(other(base.clone()).contains("has 1 homes, but its genesis document has 2 validators"));
        std::fs::write(dir.path().join("node0").join(UNFINISHED), "").unwrap();
        assert!(other(base).contains("unfinished"));
    }

    #[test]
    fn nodes_on_machines_of_their_own_have_the_usual_ports_and_know_each_other_by_name() {
        let dir = tempfile::tempdir().unwrap();
        // New container volumes look like this: the folder exists and is empty.
        (0..3).for_each(|index| std::fs::create_dir(dir.path().join(node_name(index))).unwrap());
        let wanted = Wanted { hostname_prefix: Some("node".to_owned()), ..wanted(dir.path(), Some(3)) };
        let first = testnet(&wanted).unwrap();
        assert!(first.is_new && on_machines_of_their_own(&first.nodes));
        for (index, node) in first.nodes.iter().enumerate() {
            assert_eq!(node.p2p.laddr, "tcp://0.0.0.0:26656");
            assert_eq!(node.p2p.external_address, format!("node{index}:26656"));
            assert_eq!(node.rpc.laddr, "tcp://0.0.0.0:26657");
            assert_eq!(node.instrumentation.prometheus_listen_addr, "0.0.0.0:26660");
        }
        assert!(first.nodes[0].p2p.persistent_peers[1].ends_with("@node2:26656"));
        let second = testnet(&wanted).unwrap();
        assert!(!second.is_new && second.genesis == first.genesis);
        let other = Wanted { hostname_prefix: Some("host".to_owned()), ..wanted.clone() };
        assert!(testnet(&other).unwrap_err().to_string().contains("--hostname-prefix"));
        let targets = std::fs::read_to_string(dir.path().join(TARGETS)).unwrap();
        assert!(targets.contains("\"node2:26660\"") && targets.contains("\"instance\": \"node2\""), "{targets}");
        std::fs::remove_dir_all(dir.path().join("node0/config")).unwrap();
        assert!(testnet(&wanted).unwrap_err().to_string().contains("none of node0"));
    }

    #[test]
    fn one_node_may_be_for_a_machine_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = Wanted { hostname_prefix: Some("node".to_owned()), ..wanted(dir.path(), Some(1)) };
        assert!(on_machines_of_their_own(&testnet(&wanted).unwrap().nodes));
        assert!(!on_machines_of_their_own(&[]));
    }

    #[test]
    fn the_prometheus_targets_of_a_local_testnet_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let made = testnet(&wanted(dir.path(), Some(2))).unwrap();
        assert!(!on_machines_of_their_own(&made.nodes));
        let file = dir.path().join(TARGETS);
        let targets = std::fs::read_to_string(&file).unwrap();
        assert!(targets.contains("\"127.0.0.1:26670\"") && targets.contains("\"instance\": \"node1\""), "{targets}");
        std::fs::remove_file(&file).unwrap();
        testnet(&wanted(dir.path(), None)).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), targets);
    }

    #[test]
    fn impossible_testnets_write_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("t");
        let named = Wanted { hostname_prefix: Some("a b".to_owned()), ..wanted(&dir, Some(2)) };
        let high = Wanted { base_port: Some(65_530), ..wanted(&dir, Some(2)) };
        for bad in [wanted(&dir, Some(0)), wanted(&dir, Some(VALIDATORS_MAX + 1)), high, named] {
            assert!(testnet(&bad).is_err());
        }
        assert!(!dir.exists());
    }

    #[test]
    fn the_peers_of_a_large_testnet_are_a_connected_ring() {
        assert_eq!(neighbours(1, 4).collect::<Vec<_>>(), [0, 2, 3]);
        for count in [33, 34, 100] {
            for index in 0..count {
                let peers: Vec<usize> = neighbours(index, count).collect();
                assert_eq!(peers.len(), NEIGHBOURS, "{count}");
                assert!(peers.contains(&((index + 1) % count)));
                assert!(peers.iter().all(|peer| neighbours(*peer, count).any(|back| back == index)));
            }
        }
    }
}
