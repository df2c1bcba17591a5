//! What the rest of the node lends to the RPC.

use std::{fs::File, io, net::IpAddr, os::unix::fs::FileExt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use host::{Committed, LiveApp, Status};
use storage::{RocksKv, Store};
use tokio::sync::broadcast;
use types::{Address, ChainId, ConsensusPublicKey, Evidence, Time, TxId};

use super::Cors;
use crate::{
    board::Happened,
    clients::{self, Client},
};

/// Everything that the methods read and call.
pub struct Context {
    /// The chain.
    pub chain_id: ChainId,
    /// Who this node is.
    pub identity: Identity,
    /// The genesis document.
    pub genesis: GenesisText,
    /// Blocks, results, state and indexes. Only read.
    pub store: Arc<Store<RocksKv>>,
    /// The application at the tip. Only read.
    pub app: LiveApp,
    /// Transactions that wait.
    pub pool: Arc<dyn Pool>,
    /// The way into the mempool.
    pub submitter: Arc<dyn Submitter>,
    /// The peers.
    pub network: Arc<dyn Network>,
    /// Where consensus stands.
    pub status: Box<dyn Fn() -> Arc<Status> + Send + Sync>,
    /// Heights committed from now on; each is in the store before it is told.
    pub committed: Box<dyn Fn() -> broadcast::Receiver<Arc<Committed>> + Send + Sync>,
    /// What happens inside heights from now on. Held only while a client has subscribed to it: noting costs the consensus thread.
    pub happened: Box<dyn Fn() -> broadcast::Receiver<Arc<Happened>> + Send + Sync>,
    /// Told of contradictions that clients sent and that hold, again when they are sent again.
    pub evidence: Box<dyn Fn(Evidence) + Send + Sync>,
    /// Why the node is not ready to serve, a sentence each; empty when it is.
    pub not_ready: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Told after each call: the method, how long it took, and whether it had a result.
    pub observe: Box<dyn Fn(&'static str, Duration, bool) + Send + Sync>,
    /// Told of each read that failed because of the disk; a sentence.
    pub unreadable: Box<dyn Fn(&str) + Send + Sync>,
    /// Bounds of what clients may ask for.
    pub limits: Limits,
    /// Which web pages may call.
    pub cors: Cors,
}

/// The genesis document as clients get it: JSON.
#[derive(Debug)]
pub enum GenesisText {
    /// Every field written out.
    Whole(String),
    /// Too large for memory: the operator's file as it is, held open since the start.
    File {
        /// The file.
        file: File,
        /// Its bytes.
        bytes: u64,
    },
}

impl GenesisText {
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Whole(text) => text.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Up to `bytes_max` bytes from `from` on. Reads from the disk.
    ///
    /// Errors: the file was changed since, or the disk refuses.
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

/// Who this node is, for `status`.
#[derive(Clone, Debug)]
pub struct Identity {
    /// 40 hexadecimal digits.
    pub node_id: String,
    /// A name for people.
    pub moniker: String,
    /// Where peers reach this node.
    pub listen_address: String,
    /// Where clients reach this node.
    pub rpc_address: String,
    /// The key that this node signs votes with, if any.
    pub validator: Option<ConsensusPublicKey>,
}

/// Bounds of what clients may ask for: `[rpc]` of the configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time, WebSockets included.
    pub open_connections_max: usize,
    /// Of these, those of one address; 0: half of them.
    pub open_connections_per_address_max: usize,
    /// Bytes of requests and events of one address, a second; 0: any number.
    pub client_bytes_per_second: usize,
    /// Processor time for one address, in percent of one core; 0: any.
    pub client_cpu_percent: usize,
    /// Names by which clients may address this node, beside those that no stranger can own; "*": any.
    pub allowed_hosts: Vec<String>,
    /// WebSocket clients with subscriptions, and calls of `broadcast_tx_commit`, at one time: each of both, one address half of them.
    pub subscription_clients_max: usize,
    /// Subscriptions of one client.
    pub subscriptions_per_client_max: usize,
    /// Heights that may wait for a client; one that is further behind gets an error and is cut off.
    pub subscription_buffer: usize,
    /// How long `broadcast_tx_commit` waits for the commit.
    pub broadcast_tx_commit_time: Duration,
    /// Calls in one batch.
    pub batch_calls_max: usize,
    /// Bytes of a request.
    pub body_bytes_max: usize,
    /// Bytes of a request's headers, within what the server takes in any case.
    pub header_bytes_max: usize,
    /// Offer the methods that change the node.
    pub offer_unsafe: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_connections_max: 900,
            open_connections_per_address_max: 0,
            client_bytes_per_second: 16 << 20,
            client_cpu_percent: 50,
            allowed_hosts: Vec::new(),
            subscription_clients_max: 100,
            subscriptions_per_client_max: 5,
            subscription_buffer: 200,
            broadcast_tx_commit_time: Duration::from_secs(10),
            batch_calls_max: 10,
            body_bytes_max: 1_000_000,
            header_bytes_max: 16 << 10,
            offer_unsafe: false,
        }
    }
}

impl Limits {
    /// Those of all methods together.
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
        }
    }
}

/// Transactions that wait for a block. Every method is quick.
pub trait Pool: Send + Sync {
    /// How many, and how large.
    fn size(&self) -> PoolSize;
    /// The first `limit` in the order in which blocks take them.
    fn list(&self, limit: usize) -> Vec<Vec<u8>>;
    /// One of them.
    fn get(&self, id: &TxId) -> Option<Vec<u8>>;
    /// Whether it waited, lately, until it was too late for it.
    fn has_expired(&self, _id: &TxId) -> bool {
        false
    }
    /// The nonce after the last one of this sender that waits without a gap; `None` when none waits.
    fn next_nonce(&self, sender: &Address) -> Option<u64>;
    /// Drops all.
    fn flush(&self);
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSize {
    /// Transactions.
    pub txs: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// The way into the mempool. Signatures are checked on the node's workers, not on the caller's thread, and charged to `payer`.
pub trait Submitter: Send + Sync {
    /// Takes a transaction in, and tells peers.
    fn submit(&self, tx: Vec<u8>, payer: Arc<Client>) -> BoxFuture<'static, Result<Accepted, Rejection>>;
    /// Whether it would be taken in; changes nothing.
    fn check(&self, tx: Vec<u8>, payer: Arc<Client>) -> BoxFuture<'static, Result<Accepted, Rejection>>;
}

/// A transaction that the mempool takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Gas that it asks for.
    pub gas_wanted: i64,
}

/// A transaction that the mempool does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A stable number, not 0.
    pub code: u32,
    /// Whose number.
    pub codespace: String,
    /// A sentence with the way out.
    pub log: String,
}

/// The peers.
pub trait Network: Send + Sync {
    /// Where we listen.
    fn listeners(&self) -> Vec<String>;
    /// Who is connected.
    fn peers(&self) -> Vec<PeerSeen>;
    /// Dials `id@host:port` once.
    ///
    /// Errors: the text is not an address.
    fn dial(&self, address: &str) -> Result<(), String>;
}

/// A connected peer.
#[derive(Clone, Debug)]
pub struct PeerSeen {
    /// 40 hexadecimal digits.
    pub node_id: String,
    /// The name that it gives itself.
    pub moniker: String,
    /// The version that it gives itself.
    pub version: String,
    /// Where others can dial it, if it says so.
    pub listen_address: String,
    /// The other end of the connection.
    pub remote_ip: IpAddr,
    /// We dialled it.
    pub is_outbound: bool,
    /// When it came up.
    pub since: Time,
    /// How long it has been up.
    pub age: Duration,
    /// What was sent.
    pub sent: Traffic,
    /// What came.
    pub received: Traffic,
    /// By channel: its id, messages that wait, bytes sent.
    pub channels: Vec<(u8, u64, u64)>,
}

/// Bytes and messages since the peer came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Payload bytes.
    pub bytes: u64,
    /// Messages.
    pub messages: u64,
}
