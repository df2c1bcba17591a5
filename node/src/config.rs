//! The configuration of a node, which the operator sets.
//!
//! Each setting has a default; `config/config.toml` overrides it, an environment variable `CAIRN_SECTION_KEY` overrides
//! the file, and a flag overrides both. Names and form are CometBFT's wherever it has the setting. Parameters that must
//! be equal on all nodes of a chain are in the genesis document instead.
//!
//! | where | example |
//! |---|---|
//! | file | `[rpc]` `laddr = "tcp://127.0.0.1:26657"` |
//! | environment | `CAIRN_RPC_LADDR=tcp://127.0.0.1:26657`; above all sections: `CAIRN_LOG_LEVEL=info` |
//! | flag | `--rpc.laddr tcp://127.0.0.1:26657` |

mod check;
mod foreign;
mod load;
mod manual;
mod setting;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use app::Upgrades;
use replica::HaltAt;

pub use check::listen_address;
pub use load::{ConfigError, Origin};
pub use manual::manual;
pub use setting::{Key, Section, Setting, duration_text, parse_duration};

use setting::section;

section! {
    /// Settings of the whole node.
    pub struct Base in "" {
        /// A name of this node for people; peers receive it.
        moniker: String = "cairn".to_owned(),
        /// The log level: one level, or levels per module: "consensus:debug,p2p:none,*:info". Levels: trace, debug, info, warn, error,
        /// none. Modules: main, consensus, p2p, mempool, rpc, state, metrics.
        log_level: String = "info".to_owned(),
        /// Format of the log: "plain" for people, "json" for programs.
        log_format: String = "plain".to_owned(),
        /// File of the genesis document. Paths are relative to the home.
        genesis_file: String = "config/genesis.json".to_owned(),
        /// File of the key with which this validator signs.
        priv_validator_key_file: String = "config/priv_validator_key.json".to_owned(),
        /// File that records what that key signed last. When you move the key to another machine, move this file too. The node never signs
        /// below this record.
        priv_validator_state_file: String = "data/priv_validator_state.json".to_owned(),
        /// File of the key that proves this node's identity to its peers.
        node_key_file: String = "config/node_key.json".to_owned(),
        /// Folder of the database.
        db_dir: String = "data".to_owned(),
    }
}

section! {
    /// The interface for clients: JSON-RPC over HTTP and WebSocket.
    pub struct Rpc in "rpc" {
        /// Address on which this node listens for clients. Empty: no RPC.
        laddr: String = "tcp://127.0.0.1:26657".to_owned(),
        /// Origins (web sites) from which browsers may call this node; "*" allows all. Empty: none.
        cors_allowed_origins: Vec<String> = Vec::new(),
        /// HTTP methods that browsers may use.
        cors_allowed_methods: Vec<String> = vec!["HEAD".to_owned(), "GET".to_owned(), "POST".to_owned()],
        /// HTTP headers that browsers may send.
        cors_allowed_headers: Vec<String> = ["Origin", "Accept", "Content-Type", "X-Requested-With"].map(str::to_owned).to_vec(),
        /// Host names by which clients may address this node, in addition to IP addresses, names without a dot, and names that end in
        /// .localhost, .local or .internal; "*" allows all. This prevents a foreign web page from making a browser read this node's
        /// responses (DNS rebinding).
        allowed_hosts: Vec<String> = Vec::new(),
        /// Offer the methods that change the node: dial_seeds, dial_peers, unsafe_flush_mempool.
        r#unsafe: bool = false,
        /// Maximum number of open connections, including WebSockets.
        max_open_connections: usize = 900,
        /// Maximum number of open connections of one IP address (IPv6: of one /64 network). 0: half of max_open_connections.
        max_open_connections_per_address: usize = 0,
        /// Maximum bytes per second of one address, in its requests and in the events sent to it, after a burst of eight times as much. 0:
        /// no limit. If all clients connect through a proxy, they are one address: then raise this setting and the next, and let the proxy
        /// limit its clients.
        max_client_bytes_per_second: usize = 16 << 20,
        /// Maximum processor time of one address, for its requests, checks of its transactions, and its events, in percent of one core,
        /// after a burst of two seconds at that rate. 0: no limit.
        max_client_cpu_percent: usize = 50,
        /// Maximum processor time of all addresses together, in percent of all cores of the machine, after a burst of two seconds at that
        /// rate. While they ask for more, each has an equal share of it. 0: no limit.
        max_cpu_percent: usize = 50,
        /// Maximum number of WebSocket clients with subscriptions, and maximum number of calls of broadcast_tx_commit that wait. One
        /// address may have half of each.
        max_subscription_clients: usize = 100,
        /// Maximum number of subscriptions of one client.
        max_subscriptions_per_client: usize = 5,
        /// Maximum number of heights whose events may wait for one client; a slower client gets an error and is disconnected.
        subscription_buffer_size: usize = 200,
        /// Maximum time that broadcast_tx_commit waits until the transaction is committed.
        timeout_broadcast_tx_commit: Duration = Duration::from_secs(10),
        /// Maximum number of calls in one batch.
        max_request_batch_size: usize = 10,
        /// Maximum bytes of a request's body.
        max_body_bytes: usize = 1_000_000,
        /// Maximum bytes of a request's headers, 8192 to 65536.
        max_header_bytes: usize = 16 << 10,
    }
}

section! {
    /// The network of nodes.
    pub struct P2p in "p2p" {
        /// Address on which this node listens for peers.
        laddr: String = "tcp://0.0.0.0:26656".to_owned(),
        /// The host:port at which peers reach this node, if it differs from the address on which this node listens.
        external_address: String = String::new(),
        /// Also accept and use QUIC, on the UDP port with the same number.
        quic: bool = true,
        /// Peers that this node asks for addresses of further peers: "id@host:port,id@host:port".
        seeds: Vec<String> = Vec::new(),
        /// Peers with which this node always keeps a connection: "id@host:port,id@quic://host:port".
        persistent_peers: Vec<String> = Vec::new(),
        /// File of the peer addresses that this node has learned.
        addr_book_file: String = "config/addrbook.json".to_owned(),
        /// Ignore loopback and private addresses that peers report. Set this to false in a local testnet.
        addr_book_strict: bool = true,
        /// Maximum number of peers that dialled this node.
        max_num_inbound_peers: usize = 40,
        /// Maximum number of peers that this node dials, without the persistent peers.
        max_num_outbound_peers: usize = 10,
        /// Ids of peers that do not count towards any limit.
        unconditional_peer_ids: Vec<String> = Vec::new(),
        /// Ids of peers behind this node: their addresses are never given to other peers, and messages to and from them are
        /// forwarded at once.
        private_peer_ids: Vec<String> = Vec::new(),
        /// Exchange addresses with peers.
        pex: bool = true,
        /// Accept any number of peers from one IP address. Otherwise at most 16.
        allow_duplicate_ip: bool = false,
        /// Maximum time from a new connection until the peer is accepted.
        handshake_timeout: Duration = Duration::from_secs(5),
        /// Maximum time to establish a connection.
        dial_timeout: Duration = Duration::from_secs(3),
    }
}

section! {
    /// Transactions that wait for a block.
    pub struct Mempool in "mempool" {
        /// Send new transactions to peers.
        broadcast: bool = true,
        /// Maximum number of transactions that wait.
        size: usize = 50_000,
        /// Maximum bytes of all transactions that wait.
        max_txs_bytes: usize = 64 << 20,
        /// Maximum bytes of one transaction.
        max_tx_bytes: usize = 229_376,
        /// Maximum number of transactions of one sender that wait.
        max_txs_per_sender: usize = 4_096,
        /// Number of transaction ids that the node remembers, so that it does not check a transaction twice.
        cache_size: usize = 100_000,
        /// Maximum time that a transaction waits before it is dropped.
        ttl_duration: Duration = Duration::from_secs(600),
    }
}

section! {
    /// How this node takes part in consensus. Timeouts are the chain's: see consensus_params in the genesis document.
    pub struct Consensus in "consensus" {
        /// Time without transactions after which an empty block is made. "0s": at once. "off": only if the chain needs one.
        empty_block_interval: Option<Duration> = Some(Duration::from_secs(1)),
        /// Minimum time between two blocks. "0s": none.
        min_block_interval: Duration = Duration::ZERO,
        /// Interval at which the node reports its height, round and votes to its peers when nothing else happens, so that lost messages are
        /// sent again.
        gossip_interval: Duration = Duration::from_secs(1),
        /// Number of threads that check the signatures of transactions and blocks. 0: two, or one on a single core.
        verify_threads: usize = 0,
    }
}

section! {
    /// Fetching decided blocks from peers.
    pub struct Blocksync in "blocksync" {
        /// Maximum time that a peer may take to respond before the node asks another peer.
        request_timeout: Duration = Duration::from_secs(5),
    }
}

section! {
    /// The data that is kept on disk.
    pub struct Storage in "storage" {
        /// Keep every height permanently: an archive node, from which others can fetch the whole chain.
        keep_all: bool = false,
        /// Minimum time that a height is kept, by the times of the blocks. The node also keeps at least the number of heights that the
        /// chain requires (retain_blocks in the genesis document). 0s: only that number. A node that was offline for longer cannot catch
        /// up from peers with this setting.
        retain_time: Duration = Duration::from_secs(7 * 24 * 3600),
        /// Bytes per second at which the background check reads the store to find damaged rows. 0: no background check.
        scrub_bytes_per_second: usize = 512 << 10,
    }
}

section! {
    /// Metrics and the readiness check.
    pub struct Instrumentation in "instrumentation" {
        /// Serve metrics to Prometheus at http://<prometheus_listen_addr>/metrics.
        prometheus: bool = false,
        /// Address on which metrics are served. ":26660" is that port on all addresses.
        prometheus_listen_addr: String = ":26660".to_owned(),
        /// Maximum number of requests that are answered at one time; further requests get the status 503.
        max_open_connections: usize = 3,
        /// Prefix of the names of all metrics; existing dashboards expect "cometbft".
        namespace: String = "cometbft".to_owned(),
        /// Time without a block after which the node reports that it is not ready.
        stall_after: Duration = Duration::from_secs(30),
    }
}

/// The configuration of a node.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The home folder of the node.
    pub home: PathBuf,
    /// The settings above all sections.
    pub base: Base,
    /// Section `[rpc]`: the interface for clients.
    pub rpc: Rpc,
    /// Section `[p2p]`: the network of nodes.
    pub p2p: P2p,
    /// Section `[mempool]`: transactions that wait.
    pub mempool: Mempool,
    /// Section `[consensus]`: the node's part in consensus.
    pub consensus: Consensus,
    /// Section `[blocksync]`: fetching of decided blocks.
    pub blocksync: Blocksync,
    /// Section `[storage]`: the data kept on disk.
    pub storage: Storage,
    /// Section `[instrumentation]`: metrics and readiness.
    pub instrumentation: Instrumentation,
    /// Where the node stops. It is of one start, so it has flags of `cairn start` and no setting.
    pub halt: HaltAt,
    /// The upgrades of this program.
    pub upgrades: Upgrades,
    /// The sources of the settings that are not defaults.
    origins: BTreeMap<String, Origin>,
    /// Names of `CAIRN_` variables that were ignored, because a container platform sets them for a service of that
    /// name.
    passed_over: Vec<String>,
}

impl Config {
    /// Returns the path of the configuration file in a home.
    pub fn path_in(home: &std::path::Path) -> PathBuf {
        home.join("config").join("config.toml")
    }

    /// Resolves a path from the settings: relative to the home unless it is absolute.
    pub fn path(&self, file: &str) -> PathBuf {
        self.home.join(file)
    }

    /// Returns the path of the genesis document.
    pub fn genesis_file(&self) -> PathBuf {
        self.path(&self.base.genesis_file)
    }

    /// Returns the path of the validator's key.
    pub fn priv_validator_key_file(&self) -> PathBuf {
        self.path(&self.base.priv_validator_key_file)
    }

    /// Returns the path of the key that will replace the validator's, beside it.
    pub fn next_validator_key_file(&self) -> PathBuf {
        self.priv_validator_key_file().with_file_name("next_validator_key.json")
    }

    /// Returns the path of the key that the validator had before, beside its key.
    pub fn old_validator_key_file(&self) -> PathBuf {
        self.priv_validator_key_file().with_file_name("old_validator_key.json")
    }

    /// Returns the path of the file that records what the validator's keys signed last.
    pub fn priv_validator_state_file(&self) -> PathBuf {
        self.path(&self.base.priv_validator_state_file)
    }

    /// Returns the path of the node's key.
    pub fn node_key_file(&self) -> PathBuf {
        self.path(&self.base.node_key_file)
    }

    /// Returns the path of the data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.path(&self.base.db_dir)
    }

    /// Returns the path of the database folder.
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir().join("cairn.db")
    }

    /// Returns the path of the address book.
    pub fn addr_book_file(&self) -> PathBuf {
        self.path(&self.p2p.addr_book_file)
    }

    /// Returns the text of a configuration file with these values and an explanation of each setting.
    pub fn to_commented_toml(&self) -> String {
        let mut text = String::from(
            "# Settings of this node. Parameters on which all nodes of the chain agree are in genesis.json.\n\
             # An environment variable overrides this file: CAIRN_SECTION_KEY, for example CAIRN_RPC_LADDR.\n\
             # A flag of `cairn start` overrides both: --rpc.laddr.\n",
        );
        write_section(&mut text, &self.base);
        write_section(&mut text, &self.rpc);
        write_section(&mut text, &self.p2p);
        write_section(&mut text, &self.mempool);
        write_section(&mut text, &self.consensus);
        write_section(&mut text, &self.blocksync);
        write_section(&mut text, &self.storage);
        write_section(&mut text, &self.instrumentation);
        text
    }
}

fn write_section<S: Section>(text: &mut String, section: &S) {
    text.push('\n');
    for line in S::DOC {
        text.push_str(&format!("#{line}\n"));
    }
    if !S::NAME.is_empty() {
        text.push_str(&format!("[{}]\n", S::NAME));
    }
    for key in section.keys() {
        text.push('\n');
        for line in key.doc {
            text.push_str(&format!("#{line}\n"));
        }
        text.push_str(&format!("{} = {}\n", key.name, key.value));
    }
}
