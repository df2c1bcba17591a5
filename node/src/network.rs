//! Events of the network into inputs of the host, offences back, and what peers ask for.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use host::{Host, Input, Mempool, Offence, Peer};
use p2p::{Event, Events, Network, NodeId, RequestId};
use storage::{RocksKv, Store};
use tokio::sync::Semaphore;
use types::{
    PeerRequest, TxBatch, TxId, WaitingTxs, Wire,
    limits::{SYNC_RESPONSE_BYTES_MAX, TX_BATCH_BYTES_MAX, TX_BYTES_MAX, TXS_PER_REQUEST_MAX, WAITING_TXS_MAX},
};

use crate::{inbox::Inbox, metrics::Metrics, verify_pool::VerifyPool};

/// Answers being made at one time, each of up to `SYNC_RESPONSE_BYTES_MAX`. Others wait; the network bounds how many.
const ANSWERS_MAX: usize = 4;

/// How long a list of what waits here is good for further askers.
const WAITING_GOOD_FOR: Duration = Duration::from_secs(1);

/// Peers that we ask at one time for the transactions that wait with them. Others wait; persistent ones do not.
const FETCHES_MAX: usize = 4;

/// Time in which one peer must have given what waits with it.
const FETCH_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of transactions that one request asks for.
const FETCH_BYTES: usize = 256 << 10;

const _: () = assert!(SYNC_RESPONSE_BYTES_MAX <= p2p::limits::RESPONSE_BYTES_MAX, "any block can be answered with");
const _: () = assert!(FETCH_BYTES + TX_BYTES_MAX + 8 * TXS_PER_REQUEST_MAX <= TX_BATCH_BYTES_MAX, "with tags");

/// What the exchange works with.
pub struct Lent {
    /// Brings requests, and takes ours.
    pub network: Network,
    /// Takes what peers send.
    pub pool: Arc<VerifyPool>,
    /// Has the blocks that peers ask for.
    pub store: Arc<Store<RocksKv>>,
    /// Has the transactions that peers ask for.
    pub mempool: Arc<Mempool>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Whether peers are told of the transactions that wait here.
    pub is_broadcasting: bool,
}

/// What peers are served from, and what they are asked for.
pub struct Exchange {
    lent: Lent,
    answers: Arc<Semaphore>,
    fetches: Semaphore,
    /// The list of what waits here, encoded, and when it was made: making it walks the whole mempool.
    waiting: Mutex<Option<(Instant, Vec<u8>)>>,
}

impl Exchange {
    /// Nothing was asked yet.
    pub fn new(lent: Lent) -> Arc<Self> {
        let (answers, fetches) = (Arc::new(Semaphore::new(ANSWERS_MAX)), Semaphore::new(FETCHES_MAX));
        Arc::new(Self { lent, answers, fetches, waiting: Mutex::new(None) })
    }

    /// Passes events on until the network ends. A task on the network's runtime: nothing here waits for anything but events.
    pub async fn pass_events(self: Arc<Self>, mut events: Events, inbox: Arc<Inbox>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Up { peer } => {
                    inbox.push_now(Input::PeerUp(Peer(peer.id.0)));
                    tokio::spawn(self.clone().fetch_waiting(peer.id, peer.is_persistent));
                }
                Event::Down { peer, .. } => {
                    let peer = Peer(peer.0);
                    self.lent.pool.forget(peer);
                    inbox.push_now(Input::PeerDown(peer));
                }
                Event::Message { peer, bytes, received, .. } => self.lent.pool.message(Peer(peer.0), bytes, received),
                Event::Txs { from, id, bytes } => self.lent.pool.batch(Peer(from.0), id, bytes),
                Event::Request { peer, id, bytes } => self.answer(peer, id, &bytes),
                Event::Refused { .. } => {} // the network has logged it
            }
        }
    }

    /// Answers a request on a thread that may read from the disk.
    fn answer(self: &Arc<Self>, peer: NodeId, id: RequestId, bytes: &[u8]) {
        let request = match PeerRequest::decode(bytes) {
            Ok(request) => request,
            Err(error) => {
                penalize(&self.lent.network, Peer(peer.0), &Offence::Malformed(error.to_string()));
                return self.lent.network.decline(id);
            }
        };
        let exchange = self.clone();
        tokio::spawn(async move {
            let place = exchange.answers.clone().acquire_owned().await.expect("the semaphore is never closed");
            tokio::task::spawn_blocking(move || {
                let response = exchange.response(request);
                exchange.lent.network.respond(id, response);
                drop(place);
            });
        });
    }

    fn response(&self, request: PeerRequest) -> Vec<u8> {
        match request {
            PeerRequest::Blocks(request) => {
                let (response, unreadable) = Host::serve(&self.lent.store, request);
                if let Some(error) = unreadable {
                    self.lent.metrics.unreadable.note("peer", &error);
                }
                response.encode()
            }
            PeerRequest::WaitingTxs => self.waiting(),
            PeerRequest::Txs(ids) => {
                TxBatch { txs: self.lent.mempool.batch(&ids, FETCH_BYTES + TX_BYTES_MAX), salt: 0 }.encode()
            }
        }
    }

    /// The list of what waits here.
    fn waiting(&self) -> Vec<u8> {
        let mut waiting = self.waiting.lock().expect("a thread that panics stops the process");
        if let Some((at, bytes)) = &*waiting
            && at.elapsed() < WAITING_GOOD_FOR
        {
            return bytes.clone();
        }
        let limit = if self.lent.is_broadcasting { WAITING_TXS_MAX } else { 0 };
        let bytes = WaitingTxs(self.lent.mempool.waiting(limit)).encode();
        *waiting = Some((Instant::now(), bytes.clone()));
        bytes
    }

    /// Asks a peer that came up for the transactions that wait with it: gossip tells each batch once, and it may have been told
    /// when this node, or all of them, were away.
    async fn fetch_waiting(self: Arc<Self>, peer: NodeId, is_persistent: bool) {
        let _place = match is_persistent {
            true => None,
            false => Some(self.fetches.acquire().await.expect("the semaphore is never closed")),
        };
        match tokio::time::timeout(FETCH_TIME_MAX, self.fetch_all(peer)).await {
            Ok(Some(0)) => {}
            Ok(Some(count)) => {
                tracing::info!(target: "mempool", %peer, count, "fetched transactions that waited with a peer")
            }
            Ok(None) | Err(_) => tracing::debug!(target: "mempool", %peer, "a peer did not give what waits with it"),
        }
    }

    /// How many were asked for; `None` when the peer did not answer.
    async fn fetch_all(&self, peer: NodeId) -> Option<usize> {
        let reply = self.lent.network.request(peer, PeerRequest::WaitingTxs.encode()).await.ok()?;
        let mut txs = match WaitingTxs::decode(&reply) {
            Ok(WaitingTxs(txs)) => txs,
            Err(error) => {
                penalize(&self.lent.network, Peer(peer.0), &Offence::BadResponse(error.to_string()));
                return None;
            }
        };
        self.lent.mempool.retain_unknown(&mut txs);
        let mut count = 0;
        for mut group in groups(txs) {
            self.lent.mempool.retain_unknown(&mut group); // another peer may have been faster
            if group.is_empty() {
                continue;
            }
            count += group.len();
            let ids: Vec<TxId> = group.into_iter().map(|(id, _)| id).collect();
            let reply = self.lent.network.request(peer, PeerRequest::Txs(ids).encode()).await.ok()?;
            // Waits until they are taken: no faster than this node can check them.
            self.lent.pool.fetched(Peer(peer.0), reply).await.ok()?;
        }
        Some(count)
    }
}

/// Groups of which each fits one request and its answer, if the sizes are true.
fn groups(txs: Vec<(TxId, u32)>) -> Vec<Vec<(TxId, u32)>> {
    let mut groups: Vec<Vec<(TxId, u32)>> = Vec::new();
    let mut bytes = 0;
    for (id, size) in txs {
        bytes += size as usize;
        match groups.last_mut() {
            Some(group) if bytes <= FETCH_BYTES && group.len() < TXS_PER_REQUEST_MAX => group.push((id, size)),
            _ => {
                bytes = size as usize;
                groups.push(vec![(id, size)]);
            }
        }
    }
    groups
}

/// Tells the network of an offence, with its weight.
pub fn penalize(network: &Network, peer: Peer, offence: &Offence) {
    tracing::warn!(target: "p2p", peer = %peer, reason = %offence, "a peer misbehaved");
    let weight = match offence {
        Offence::Malformed(_) => p2p::Offence::GARBAGE,
        Offence::BadSignature(_) => p2p::Offence::BAD_SIGNATURE,
        Offence::BadBlock(_) => p2p::Offence::INVALID,
        Offence::BadResponse(_) => p2p::Offence::INVALID,
        Offence::Unserved(_) => p2p::Offence::UNSERVED,
        Offence::Flood(_) => p2p::Offence::FLOOD,
    };
    network.penalize(NodeId(peer.0), weight);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_transactions_are_bounded_by_number_and_bytes_whatever_sizes_are_claimed() {
        let txs = |count: usize, size: u32| (0..count).map(|_| (TxId([1; 32]), size)).collect::<Vec<_>>();
        let lengths = |txs| groups(txs).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(txs(2_100, 100)), [1_024, 1_024, 52]);
        assert_eq!(lengths(txs(9, 64 << 10)), [4, 4, 1]);
        assert_eq!(lengths(txs(3, u32::MAX)), [1, 1, 1]);
        assert_eq!(lengths(txs(0, 1)).len(), 0);
    }
}
