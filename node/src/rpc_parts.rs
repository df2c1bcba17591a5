//! Adapts the parts of the node to the interfaces of the RPC.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{FutureExt, future::BoxFuture};
use mempool::Mempool;
use p2p::{Channel, PeerAddress, PeerInfo};
use replica::{Input, LiveApp};
use rpc::{
    Accepted, Context, Cors, Identity, Limits, Network, PeerSeen, Pool, PoolSize, Rejection, Submitter, Traffic,
    clients::Client,
};
use storage::{RocksKv, Store};
use types::{Address, TxId};

use crate::{
    beginning::Beginning, board::Board, clock::time_of, config::Config, inbox::Inbox, intake, metrics::Metrics, os,
    readiness::Readiness, verify_pool,
};

/// The handles of the node's parts that are passed to the RPC.
pub(crate) struct NodeHandles<'a> {
    pub config: &'a Config,
    pub genesis: Beginning,
    pub store: Arc<Store<RocksKv>>,
    pub app: LiveApp,
    pub mempool: Arc<Mempool>,
    pub submitter: verify_pool::Submitter,
    pub network: p2p::Network,
    pub board: Arc<Board>,
    pub readiness: Readiness,
    pub metrics: Arc<Metrics>,
    pub inbox: Arc<Inbox>,
}

/// Builds the context of the RPC from the node's parts.
pub(crate) fn context(handles: NodeHandles<'_>) -> Context {
    let NodeHandles { config, genesis, store, app, mempool, submitter, network, board, readiness, metrics, inbox } =
        handles;
    let settings = &config.rpc;
    let identity = Identity {
        node_id: network.id().to_string(),
        moniker: config.base.moniker.clone(),
        listen_address: match config.p2p.external_address.as_str() {
            "" => config.p2p.laddr.clone(),
            external => external.to_owned(),
        },
        rpc_address: settings.laddr.clone(),
    };
    let limits = Limits {
        open_connections_max: settings.max_open_connections,
        open_connections_per_address_max: settings.max_open_connections_per_address,
        client_bytes_per_second: settings.max_client_bytes_per_second,
        client_cpu_percent: settings.max_client_cpu_percent,
        all_cpu_percent: settings.max_cpu_percent * std::thread::available_parallelism().map_or(1, usize::from),
        allowed_hosts: settings.allowed_hosts.clone(),
        subscription_clients_max: settings.max_subscription_clients,
        subscriptions_per_client_max: settings.max_subscriptions_per_client,
        subscription_buffer: settings.subscription_buffer_size,
        broadcast_tx_commit_time: settings.timeout_broadcast_tx_commit,
        batch_calls_max: settings.max_request_batch_size,
        body_bytes_max: settings.max_body_bytes,
        header_bytes_max: settings.max_header_bytes,
        offer_unsafe: settings.r#unsafe,
        ..Limits::default()
    };
    let cors = Cors {
        origins: settings.cors_allowed_origins.clone(),
        methods: settings.cors_allowed_methods.clone(),
        headers: settings.cors_allowed_headers.clone(),
    };
    Context {
        chain_id: genesis.chain_id().clone(),
        identity,
        genesis: genesis.text,
        store,
        app,
        pool: Arc::new(Waiting(mempool)),
        submitter: Arc::new(submitter),
        network: Arc::new(Peers(network)),
        status: Box::new({
            let board = board.clone();
            move || board.status()
        }),
        evidence: Box::new(move |evidence| inbox.try_push(Input::Evidence(evidence))),
        happened: Box::new({
            let board = board.clone();
            move || board.watch()
        }),
        committed: Box::new(move || board.subscribe()),
        not_ready: Box::new(move || readiness.ready().err().map(|reason| reason.to_string()).into_iter().collect()),
        observe: Box::new({
            let metrics = metrics.clone();
            move |method, took, has_result| metrics.rpc.observe(method, took, !has_result)
        }),
        unreadable: Box::new(move |reason| metrics.unreadable.note("client", &reason)),
        background: os::work_in_background,
        limits,
        cors,
    }
}

struct Waiting(Arc<Mempool>);

impl Pool for Waiting {
    fn size(&self) -> PoolSize {
        let stats = self.0.stats();
        PoolSize { txs: stats.txs, bytes: stats.bytes }
    }

    fn list(&self, limit: usize) -> Vec<Vec<u8>> {
        self.0.list(limit)
    }

    fn get(&self, id: &TxId) -> Option<Vec<u8>> {
        self.0.get(id).map(|tx| tx.bytes().to_vec())
    }

    fn has_expired(&self, id: &TxId) -> bool {
        self.0.has_expired(id)
    }

    fn next_nonce(&self, sender: &Address) -> Option<u64> {
        self.0.next_nonce(sender)
    }

    fn flush(&self) {
        self.0.flush();
    }
}

impl Submitter for verify_pool::Submitter {
    fn submit(&self, tx: Vec<u8>, payer: Arc<Client>) -> BoxFuture<'static, Result<Accepted, Rejection>> {
        self.submit(tx, payer).map(in_rpc_words).boxed()
    }

    fn check(&self, tx: Vec<u8>, payer: Arc<Client>) -> BoxFuture<'static, Result<Accepted, Rejection>> {
        self.check(tx, payer).map(in_rpc_words).boxed()
    }
}

fn in_rpc_words<E>(answer: Result<intake::Answer, E>) -> Result<Accepted, Rejection> {
    // When the node stops, the sender is dropped without an answer.
    let answer = answer.unwrap_or_else(|_| Err(intake::Rejection::busy()));
    answer.map(|gas_wanted| Accepted { gas_wanted }).map_err(|rejection| Rejection {
        code: rejection.code,
        codespace: rejection.codespace.to_owned(),
        log: rejection.log,
    })
}

struct Peers(p2p::Network);

impl Network for Peers {
    fn listeners(&self) -> Vec<String> {
        self.0
            .listening()
            .iter()
            .map(|(transport, socket)| format!("{}://{socket}", format!("{transport:?}").to_lowercase()))
            .collect()
    }

    fn peers(&self) -> Vec<PeerSeen> {
        self.0.peers().into_iter().map(seen).collect()
    }

    fn dial(&self, address: &str) -> Result<(), String> {
        let address: PeerAddress = address.parse().map_err(|error: p2p::AddressError| error.to_string())?;
        self.0.dial(address);
        Ok(())
    }
}

fn seen(peer: PeerInfo) -> PeerSeen {
    let sum = |number: fn(&p2p::ChannelInfo) -> u64| peer.channels.iter().map(number).sum();
    let channel = |(id, info): (u8, &p2p::ChannelInfo)| (id, info.queued_messages, info.bytes_out);
    PeerSeen {
        node_id: peer.id.to_string(),
        listen_address: peer.address.as_ref().map(listen_address).unwrap_or_default(),
        remote_ip: ip_of(&peer.remote),
        is_outbound: peer.is_outbound,
        since: time_of(peer.since),
        age: SystemTime::now().duration_since(peer.since).unwrap_or(Duration::ZERO),
        sent: Traffic { bytes: sum(|info| info.bytes_out), messages: sum(|info| info.messages_out) },
        received: Traffic { bytes: sum(|info| info.bytes_in), messages: sum(|info| info.messages_in) },
        channels: CHANNEL_IDS.into_iter().zip(&peer.channels).map(channel).collect(),
        moniker: peer.moniker,
        version: peer.version,
    }
}

/// Channel ids in CometBFT for votes and block data, in the order of [`Channel::ALL`].
const CHANNEL_IDS: [u8; Channel::ALL.len()] = [0x22, 0x21];

/// Returns a listen address in CometBFT's form, with brackets around an IPv6 address.
fn listen_address(address: &p2p::PeerAddress) -> String {
    format!("tcp://{}", p2p::HostPort { host: address.host.clone(), port: address.port })
}

/// Returns the IP address in a multiaddr such as `/ip4/127.0.0.1/tcp/26656`; 0.0.0.0 when there is none.
fn ip_of(multiaddr: &str) -> IpAddr {
    let mut parts = multiaddr.split('/').skip(1);
    let host = parts.next().and_then(|_| parts.next()).unwrap_or_default();
    host.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_listen_address_has_brackets() {
        let address = |text: &str| listen_address(&format!("{}@{text}", "ab".repeat(20)).parse().unwrap());
        assert_eq!(address("[2001:db8::7]:26656"), "tcp://[2001:db8::7]:26656");
        assert_eq!(address("example.org:26656"), "tcp://example.org:26656");
    }

    #[test]
    fn the_ip_of_a_peer_is_read_from_its_multiaddr() {
        assert_eq!(ip_of("/ip4/127.0.0.1/tcp/26656"), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(ip_of("/ip6/::1/udp/1/quic-v1"), "::1".parse::<IpAddr>().unwrap());
        assert_eq!(ip_of("nonsense"), IpAddr::from([0, 0, 0, 0]));
    }
}
