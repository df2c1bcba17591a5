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
mod setting;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

pub use check::listen_address;
pub use load::{ConfigError, Origin};
pub use setting::{Key, Section, Setting, duration_text, parse_duration};

use setting::section;

section! {
    /// What concerns the whole node.
    pub struct Base in "" {
        /// A name for people: in logs, and given to peers.
        moniker: String = "cairn".to_owned(),
        /// What is logged: a level, or levels by module: "consensus:debug,p2p:none,*:info".
        /// Levels: trace, debug, info, warn, error, none. Modules: main, consensus, p2p, mempool, rpc, state, metrics.
        log_level: String = "info".to_owned(),
        /// "plain" for people, "json" for programs.
        log_format: String = "plain".to_owned(),
        /// The genesis document. Paths are relative to the home.
        genesis_file: String = "config/genesis.json".to_owned(),
        /// The key that this validator signs with.
        priv_validator_key_file: String = "config/priv_validator_key.json".to_owned(),
        /// What that key signed last; travels with the key. The node never signs below it.
        priv_validator_state_file: String = "data/priv_validator_state.json".to_owned(),
        /// The key that proves who this node is to its peers.
        node_key_file: String = "config/node_key.json".to_owned(),
        /// The folder of the database.
        db_dir: String = "data".to_owned(),
    }
}

section! {
    /// The interface for clients: JSON-RPC over HTTP and WebSocket.
    pub struct Rpc in "rpc" {
        /// Where to listen. Empty: nowhere.
        laddr: String = "tcp://127.0.0.1:26657".to_owned(),
        /// Origins that browsers may call from; "*" is any. Empty: none.
        cors_allowed_origins: Vec<String> = Vec::new(),
        /// Methods that browsers may use.
        cors_allowed_methods: Vec<String> = vec!["HEAD".to_owned(), "GET".to_owned(), "POST".to_owned()],
        /// Headers that browsers may send.
        cors_allowed_headers: Vec<String> = ["Origin", "Accept", "Content-Type", "X-Requested-With"].map(str::to_owned).to_vec(),
        /// Names by which clients may address this node, beside IP addresses, names without a dot, and names that end in .localhost, .local or
        /// .internal; "*" is any. A page of another name cannot make a browser read answers of this node.
        allowed_hosts: Vec<String> = Vec::new(),
        /// Offer the methods that change the node: dial_seeds, dial_peers, unsafe_flush_mempool.
        r#unsafe: bool = false,
        /// Connections at one time, WebSockets included.
        max_open_connections: usize = 900,
        /// Connections of one IP address (IPv6: of one /64 network) at one time. 0: half of max_open_connections.
        max_open_connections_per_address: usize = 0,
        /// Bytes that one address may send in requests and be sent in events, a second, after a burst of eight seconds' worth. 0: any
        /// number. A proxy that all clients come through is one address: raise this and the next for it, and let it set limits of its own.
        max_client_bytes_per_second: usize = 16 << 20,
        /// Processor time that one address may take for requests, checks of transactions and events, in percent of one core, after a burst
        /// of two seconds' worth. 0: any.
        max_client_cpu_percent: usize = 50,
        /// WebSocket clients with subscriptions at one time, and calls of broadcast_tx_commit; one address may have half of each.
        max_subscription_clients: usize = 100,
        /// Subscriptions of one client.
        max_subscriptions_per_client: usize = 5,
        /// Heights whose events may wait for one client; a slower client gets an error and is disconnected.
        subscription_buffer_size: usize = 200,
        /// How long broadcast_tx_commit waits for the transaction to be committed.
        timeout_broadcast_tx_commit: Duration = Duration::from_secs(10),
        /// Calls in one batch.
        max_request_batch_size: usize = 10,
        /// Bytes of a request.
        max_body_bytes: usize = 1_000_000,
        /// Bytes of a request's headers. At least 8192 are taken, at most 65536.
        max_header_bytes: usize = 16 << 10,
    }
}

section! {
    /// The network of nodes.
    pub struct P2p in "p2p" {
        /// Where to listen for peers.
        laddr: String = "tcp://0.0.0.0:26656".to_owned(),
        /// host:port at which peers reach this node, if it is not what it listens on.
        external_address: String = String::new(),
        /// Also speak QUIC, on the UDP port of the same number.
        quic: bool = true,
        /// Peers to ask for more peers: "id@host:port,id@host:port".
        seeds: Vec<String> = Vec::new(),
        /// Peers to be connected with always: "id@host:port,id@quic://host:port".
        persistent_peers: Vec<String> = Vec::new(),
        /// Where learned addresses are kept.
        addr_book_file: String = "config/addrbook.json".to_owned(),
        /// Learn no loopback and private addresses from peers. Set to false in a local testnet.
        addr_book_strict: bool = true,
        /// Peers that may have dialled us.
        max_num_inbound_peers: usize = 40,
        /// Peers that we dial, beyond the persistent ones.
        max_num_outbound_peers: usize = 10,
        /// Ids of peers that count in no limit.
        unconditional_peer_ids: Vec<String> = Vec::new(),
        /// Ids of peers whose addresses are never given to other peers.
        private_peer_ids: Vec<String> = Vec::new(),
        /// Exchange addresses with peers.
        pex: bool = true,
        /// Take any number of peers from one IP address; otherwise 16.
        allow_duplicate_ip: bool = false,
        /// Time from a connection to an accepted peer.
        handshake_timeout: Duration = Duration::from_secs(5),
        /// Time for a connection.
        dial_timeout: Duration = Duration::from_secs(3),
    }
}

section! {
    /// Transactions that wait for a block.
    pub struct Mempool in "mempool" {
        /// Tell peers of new transactions.
        broadcast: bool = true,
        /// How many may wait.
        size: usize = 50_000,
        /// Bytes of them all.
        max_txs_bytes: usize = 64 << 20,
        /// Bytes of one.
        max_tx_bytes: usize = 65_536,
        /// How many of one sender may wait.
        max_txs_per_sender: usize = 4_096,
        /// Ids of transactions remembered, so that none is checked twice.
        cache_size: usize = 100_000,
        /// How long one may wait before it is dropped.
        ttl_duration: Duration = Duration::from_secs(600),
    }
}

section! {
    /// How this node takes part in consensus. Timeouts are the chain's: see consensus_params in the genesis document.
    pub struct Consensus in "consensus" {
        /// After how long without transactions an empty block follows. "0s": at once. "off": only when needed.
        empty_block_interval: Option<Duration> = Some(Duration::from_secs(1)),
        /// The least time between two blocks. "0s": none.
        min_block_interval: Duration = Duration::ZERO,
        /// How often peers tell each other where they stand when nothing happens, and repair what was lost.
        gossip_interval: Duration = Duration::from_secs(1),
        /// Threads that check signatures. 0: two, or one on a single core.
        verify_threads: usize = 0,
    }
}

section! {
    /// Fetching decided blocks from peers.
    pub struct Blocksync in "blocksync" {
        /// How long a peer may take to answer before another is asked.
        request_timeout: Duration = Duration::from_secs(5),
    }
}

section! {
    /// What is kept on disk.
    pub struct Storage in "storage" {
        /// Keep every height for ever: an archive node, from which others can fetch the chain from its beginning.
        keep_all: bool = false,
        /// How long a height is kept at least, by the blocks' own times; and at least as many heights as the chain asks for
        /// (retain_blocks in the genesis document). A node that was away for longer cannot catch up from its peers.
        retain_time: Duration = Duration::from_secs(7 * 24 * 3600),
        /// How fast the store is read in the background to find rows that have rotted. 0: not at all.
        scrub_bytes_per_second: usize = 512 << 10,
    }
}

section! {
    /// What others can measure.
    pub struct Instrumentation in "instrumentation" {
        /// Serve metrics to Prometheus at http://<prometheus_listen_addr>/metrics.
        prometheus: bool = false,
        /// Where. ":26660" is that port on all addresses.
        prometheus_listen_addr: String = ":26660".to_owned(),
        /// Requests that are answered at one time; one more is answered with 503.
        max_open_connections: usize = 3,
        /// What all names begin with; existing dashboards expect "cometbft".
        namespace: String = "cometbft".to_owned(),
        /// After how long without a block the node says that it is not ready.
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

    /// Returns the path of the file that records what the validator's key signed last.
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
            "# Settings of this node. What all nodes of the chain agree on stands in genesis.json.\n\
             # Each can be set by an environment variable too, which wins over this file: CAIRN_SECTION_KEY, e.g. CAIRN_RPC_LADDR;\n\
             # and by a flag of `cairn start`, which wins over both: --rpc.laddr.\n",
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
