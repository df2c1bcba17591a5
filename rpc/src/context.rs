//! The interfaces through which the RPC uses the rest of the node.

use std::{fs::File, io, net::IpAddr, os::unix::fs::FileExt, sync::Arc, time::Duration};

use consensus::RoundNote;
use futures::future::BoxFuture;
use replica::{Committed, LiveApp, Status, VerifiedEvidence};
use serde_json::Value;
use storage::{RocksKv, Store};
use tokio::sync::broadcast;
use types::{Address, ChainId, Evidence, Time, TxId};

use crate::{
    clients::{self, Client},
    cors::Cors,
};

/// The data and handles that the RPC methods use.
pub struct Context {
    /// The id of the chain.
    pub chain_id: ChainId,
    /// The identity of this node.
    pub identity: Identity,
    /// The genesis document as text.
    pub genesis: GenesisText,
    /// Blocks, results, state and indexes; only read.
    pub store: Arc<Store<RocksKv>>,
    /// The application at the tip; only read.
    pub app: LiveApp,
    /// The transactions that wait in the mempool.
    pub pool: Arc<dyn Pool>,
    /// Handle that submits transactions to the mempool.
    pub submitter: Arc<dyn Submitter>,
    /// The peers of this node.
    pub network: Arc<dyn Network>,
    /// Returns the current status of consensus.
    pub status: Box<dyn Fn() -> Arc<Status> + Send + Sync>,
    /// Subscribes to the heights that are committed from now on; each is stored before it is published.
    pub committed: Box<dyn Fn() -> broadcast::Receiver<Arc<Committed>> + Send + Sync>,
    /// Subscribes to events inside heights from now on. Held only while a client has subscribed to them: recording them
    /// costs the consensus thread time.
    pub happened: Box<dyn Fn() -> broadcast::Receiver<Arc<Happened>> + Send + Sync>,
    /// Passes evidence that a client submits to the replica. Returns false if the node is too busy to take it.
    pub evidence: Box<dyn Fn(VerifiedEvidence) -> bool + Send + Sync>,
    /// Returns the reasons why the node is not ready, one sentence each; empty when it is ready.
    pub not_ready: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Called after each call with the method, its duration, and true if it had a result.
    pub observe: Box<dyn Fn(&'static str, Duration, bool) + Send + Sync>,
    /// Receives each error of a read that failed because of the disk, as a sentence.
    pub unreadable: Box<dyn Fn(&str) + Send + Sync>,
    /// Gives the calling thread the priority of background work; called by the thread that parses large requests.
    pub background: fn(),
    /// The bounds on what clients may request.
    pub limits: Limits,
    /// The web pages that may call this node.
    pub cors: Cors,
}

/// An event inside a height.
#[derive(Clone, Debug)]
pub enum Happened {
    /// A note of the replica about one round.
    Round(RoundNote),
    /// A double sign that this node saw, or that a peer, a client or a block reports; its signatures are verified.
    Evidence(Box<Evidence>),
}

/// The genesis document as clients receive it, in JSON.
#[derive(Debug)]
pub enum GenesisText {
    /// The whole document, with every field written out.
    Whole(String),
    /// A document that is too large for memory: the operator's file, open since the start.
    File {
        /// The handle of the file.
        file: File,
        /// The size of the file in bytes.
        bytes: u64,
    },
}

impl GenesisText {
    /// Returns the size of the document in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Whole(text) => text.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Parses the document. Returns null if it is too large for one answer.
    pub(crate) fn document(&self) -> Value {
        match self {
            Self::Whole(text) => serde_json::from_str(text).unwrap_or_default(),
            Self::File { .. } => Value::Null,
        }
    }

    /// Returns up to `bytes_max` bytes from position `from`. Reads from the disk.
    ///
    /// Errors: the file was truncated since the start, or the disk cannot read it.
    pub fn piece(&self, from: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        let bytes = self.bytes().saturating_sub(from).min(bytes_max) as usize;
        match self {
            Self::Whole(text) => Ok(text.as_bytes()[from as usize..][..bytes].to_vec()),
            Self::File { file, .. } => {
                let mut piece = vec![0; bytes];
                file.read_exact_at(&mut piece, from)?;
                Ok(piece)
            }
        }
    }
}

/// The identity of this node, for `status`.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node id: 40 hexadecimal digits.
    pub node_id: String,
    /// The name of the node for people.
    pub moniker: String,
    /// The address at which peers reach this node.
    pub listen_address: String,
    /// The address at which clients reach this node.
    pub rpc_address: String,
}

/// The bounds on what clients may request: `[rpc]` of the configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum number of concurrent connections, WebSockets included.
    pub open_connections_max: usize,
    /// Maximum number of concurrent connections of one address; 0 means half of all.
    pub open_connections_per_address_max: usize,
    /// Maximum bytes per second of requests and events of one address; 0 means no limit.
    pub client_bytes_per_second: usize,
    /// Maximum processor time for one address, in percent of one core; 0 means no limit.
    pub client_cpu_percent: usize,
    /// Maximum processor time for all addresses together, in percent of one core; 0 means no limit.
    pub all_cpu_percent: usize,
    /// Names by which clients may address this node, in addition to those that no third party can own; "*" allows any
    /// name.
    pub allowed_hosts: Vec<String>,
    /// Maximum number of WebSocket clients with subscriptions, and of concurrent calls of `broadcast_tx_commit`. One
    /// address may have half of each.
    pub subscription_clients_max: usize,
    /// Maximum number of subscriptions of one client.
    pub subscriptions_per_client_max: usize,
    /// Maximum number of heights that wait for a client; one that is further behind gets an error and is disconnected.
    pub subscription_buffer: usize,
    /// Maximum time that `broadcast_tx_commit` waits for the commit.
    pub broadcast_tx_commit_time: Duration,
    /// Maximum number of calls in one batch.
    pub batch_calls_max: usize,
    /// Maximum bytes of a request body.
    pub body_bytes_max: usize,
    /// Maximum bytes of a request's headers, clamped to the server's own bounds.
    pub header_bytes_max: usize,
    /// Maximum time for which one call computes trees of a state below the tip, after a first portion of some adjacent rows.
    /// The next call for the same height continues. No setting of the configuration.
    pub proof_call_time_max: Duration,
    /// True if the methods that change the node are offered.
    pub offer_unsafe: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_connections_max: 900,
            open_connections_per_address_max: 0,
            client_bytes_per_second: 16 << 20,
            client_cpu_percent: 50,
            all_cpu_percent: 0,
            allowed_hosts: Vec::new(),
            subscription_clients_max: 100,
            subscriptions_per_client_max: 5,
            subscription_buffer: 200,
            broadcast_tx_commit_time: Duration::from_secs(10),
            batch_calls_max: 10,
            body_bytes_max: 1_000_000,
            header_bytes_max: 16 << 10,
            proof_call_time_max: Duration::from_secs(1),
            offer_unsafe: false,
        }
    }
}

impl Limits {
    /// Returns the bounds that apply to connections and addresses.
    pub(crate) fn of_clients(&self) -> clients::Limits {
        let half = self.open_connections_max.div_ceil(2).max(2);
        let address_connections_max = match self.open_connections_per_address_max {
            0 => half,
            given => given,
        };
        clients::Limits {
            connections_max: self.open_connections_max,
            address_connections_max,
            bytes_per_second: self.client_bytes_per_second,
            cpu_percent: self.client_cpu_percent,
            all_cpu_percent: self.all_cpu_percent,
        }
    }
}

/// The transactions that wait for a block. Every method returns quickly.
pub trait Pool: Send + Sync {
    /// Returns the number of transactions and their bytes.
    fn size(&self) -> PoolSize;
    /// Returns the first `limit` transactions in the order in which blocks include them.
    fn list(&self, limit: usize) -> Vec<Vec<u8>>;
    /// Returns the transaction with this id, if it waits.
    fn get(&self, id: &TxId) -> Option<Vec<u8>>;
    /// Returns true if the transaction recently waited until it expired.
    fn has_expired(&self, _id: &TxId) -> bool {
        false
    }
    /// Returns the nonce after the last one of this sender that waits without a gap; `None` when none waits.
    fn next_nonce(&self, sender: &Address) -> Option<u64>;
    /// Drops all waiting transactions.
    fn flush(&self);
}

/// The amount of waiting transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSize {
    /// The number of transactions.
    pub txs: usize,
    /// The sum of their bytes.
    pub bytes: usize,
}

/// Submits transactions to the mempool. Signatures are checked on the verification pool, not on the caller's thread,
/// and charged to `payer`.
pub trait Submitter: Send + Sync {
    /// Adds a transaction to the mempool and gossips it.
    ///
    /// Errors: the mempool rejects it.
    fn submit(&self, tx: Vec<u8>, payer: Arc<Client>) -> BoxFuture<'static, Result<Accepted, Rejection>>;
    /// Checks if a transaction would be accepted, without a change of the mempool.
    ///
    /// Errors: the mempool would reject it.
    fn check(&self, tx: Vec<u8>, payer: Arc<Client>) -> BoxFuture<'static, Result<Accepted, Rejection>>;
}

/// The result for a transaction that the mempool accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The gas that the transaction requests.
    pub gas_wanted: i64,
}

/// The reason why the mempool rejects a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A stable number, never 0.
    pub code: u32,
    /// The namespace of the number.
    pub codespace: String,
    /// A sentence that says what the client can do.
    pub log: String,
}

/// The peers of this node.
pub trait Network: Send + Sync {
    /// Returns the addresses on which this node listens for peers.
    fn listeners(&self) -> Vec<String>;
    /// Returns the connected peers.
    fn peers(&self) -> Vec<PeerSeen>;
    /// Dials the address `id@host:port` once.
    ///
    /// Errors: the text is not an address.
    fn dial(&self, address: &str) -> Result<(), String>;
}

/// A connected peer, as clients see it.
#[derive(Clone, Debug)]
pub struct PeerSeen {
    /// The peer's node id: 40 hexadecimal digits.
    pub node_id: String,
    /// The name that the peer reports.
    pub moniker: String,
    /// The software version that the peer reports.
    pub version: String,
    /// The address at which the peer can be dialled; empty if it reports none.
    pub listen_address: String,
    /// The IP address of the remote end of the connection.
    pub remote_ip: IpAddr,
    /// True if this node dialled the peer.
    pub is_outbound: bool,
    /// The time when the connection was established.
    pub since: Time,
    /// The age of the connection.
    pub age: Duration,
    /// The traffic that was sent to the peer.
    pub sent: Traffic,
    /// The traffic that was received from the peer.
    pub received: Traffic,
    /// Per channel: its id, queued messages, sent bytes.
    pub channels: Vec<(u8, u64, u64)>,
}

/// Bytes and messages since the connection was established.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The number of payload bytes.
    pub bytes: u64,
    /// The number of messages.
    pub messages: u64,
}
