//! Events of the network into inputs of the host, offences back, and what peers ask for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use host::{Host, Input, Mempool, Offence, Peer};
use p2p::{Event, Events, Network, NodeId, RequestId};
use storage::{RocksKv, Store};
use tokio::{sync::Semaphore, task::AbortHandle};
use types::{
    PeerRequest, TxBatch, TxId, WaitingTxs, Wire,
    limits::{SYNC_RESPONSE_BYTES_MAX, TX_BATCH_BYTES_MAX, TX_BYTES_MAX, TXS_PER_REQUEST_MAX, WAITING_TXS_MAX},
};

use crate::{inbox::Inbox, metrics::Metrics, verify_pool::VerifyPool};

/// Answers being made at one time, each of up to `SYNC_RESPONSE_BYTES_MAX`. Others wait; the network bounds how many.
const ANSWERS_MAX: usize = 4;

/// How long a list of what waits here is good for a peer that asks again.
const OFFER_GOOD_FOR: Duration = Duration::from_secs(1);

/// Peers that we ask at one time for the transactions that wait with them. Others wait; persistent ones do not.
const FETCHES_MAX: usize = 4;

/// Time in which one peer must have given what waits with it.
const FETCH_TIME_MAX: Duration = Duration::from_secs(60);

/// Waits before a peer is asked again, when not all that it offered was taken: a request is lost with the connection that carried
/// it, and a node that is behind refuses what it takes a moment later.
const FETCH_AGAIN_AFTER: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

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
    offer: Offer,
}

impl Exchange {
    /// Nothing was asked yet.
    pub fn new(lent: Lent) -> Arc<Self> {
        let (answers, fetches) = (Arc::new(Semaphore::new(ANSWERS_MAX)), Semaphore::new(FETCHES_MAX));
        Arc::new(Self { lent, answers, fetches, offer: Offer::default() })
    }

    /// Passes events on until the network ends. A task on the network's runtime: nothing here waits for anything but events.
    pub async fn pass_events(self: Arc<Self>, mut events: Events, inbox: Arc<Inbox>) {
        let mut fetching: BTreeMap<NodeId, AbortHandle> = BTreeMap::new();
        while let Some(event) = events.recv().await {
            match event {
                Event::Up { peer } => {
                    self.offer.withdraw();
                    inbox.push_now(Input::PeerUp(Peer(peer.id.0)));
                    let task = tokio::spawn(self.clone().fetch_waiting(peer.id, peer.is_persistent));
                    fetching.insert(peer.id, task.abort_handle());
                }
                Event::Down { peer, .. } => {
                    if let Some(task) = fetching.remove(&peer) {
                        task.abort();
                    }
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
            PeerRequest::WaitingTxs => {
                let limit = if self.lent.is_broadcasting { WAITING_TXS_MAX } else { 0 };
                self.offer.get(Instant::now(), || WaitingTxs(self.lent.mempool.waiting(limit)).encode())
            }
            PeerRequest::Txs(ids) => {
                TxBatch { txs: self.lent.mempool.batch(&ids, FETCH_BYTES + TX_BYTES_MAX), salt: 0 }.encode()
            }
        }
    }

    /// Asks a peer that came up for the transactions that wait with it, until all are here: gossip tells each batch once, and it
    /// may have been told when this node, or all of them, were away.
    async fn fetch_waiting(self: Arc<Self>, peer: NodeId, is_persistent: bool) {
        for pause in [None].into_iter().chain(FETCH_AGAIN_AFTER.map(Some)) {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let _place = match is_persistent {
                true => None,
                false => Some(self.fetches.acquire().await.expect("the semaphore is never closed")),
            };
            let fetched = tokio::time::timeout(FETCH_TIME_MAX, self.fetch_all(peer)).await;
            match fetched.unwrap_or_else(|_| Err(Unfetched::Lost(format!("it took longer than {FETCH_TIME_MAX:?}")))) {
                Ok(()) => return,
                Err(Unfetched::Bad(error)) => {
                    return penalize(&self.lent.network, Peer(peer.0), &Offence::BadResponse(error));
                }
                Err(Unfetched::Lost(why)) => {
                    tracing::debug!(target: "mempool", %peer, why, "not all transactions that wait with a peer were fetched");
                }
            }
        }
    }

    /// Asks a peer once for what waits with it and not here.
    async fn fetch_all(&self, peer: NodeId) -> Result<(), Unfetched> {
        let Lent { network, mempool, pool, .. } = &self.lent;
        let lost = |error: p2p::RequestError| Unfetched::Lost(error.to_string());
        let reply = network.request(peer, PeerRequest::WaitingTxs.encode()).await.map_err(lost)?;
        let WaitingTxs(mut txs) = WaitingTxs::decode(&reply).map_err(|error| Unfetched::Bad(error.to_string()))?;
        mempool.retain_unknown(&mut txs);
        let offered = txs.len();
        for mut group in groups(&txs) {
            mempool.retain_unknown(&mut group); // another peer may have been faster
            if group.is_empty() {
                continue;
            }
            let ids: Vec<TxId> = group.into_iter().map(|(id, _)| id).collect();
            let reply = network.request(peer, PeerRequest::Txs(ids).encode()).await.map_err(lost)?;
            // Waits until they are taken: no faster than this node can check them.
            let taken = pool.fetched(Peer(peer.0), reply).await;
            taken.map_err(|_| Unfetched::Lost("this node has too many transactions to check".to_owned()))?;
        }
        mempool.retain_unknown(&mut txs);
        if offered > 0 {
            let (count, left) = (offered - txs.len(), txs.len());
            tracing::info!(target: "mempool", %peer, count, left, "fetched transactions that waited with a peer");
        }
        if txs.is_empty() { Ok(()) } else { Err(Unfetched::Lost(format!("{} were not given or not taken", txs.len()))) }
    }
}

/// The list of what waits here, encoded, and when it was made: making it walks the whole mempool.
///
/// A peer never gets a list that is older than its connection: what was gossiped between the two, the peer would never hear of.
#[derive(Default)]
struct Offer(Mutex<Option<(Instant, Vec<u8>)>>);

impl Offer {
    /// A peer came up.
    fn withdraw(&self) {
        *self.0.lock().expect("a thread that panics stops the process") = None;
    }

    fn get(&self, now: Instant, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        let mut offer = self.0.lock().expect("a thread that panics stops the process");
        match &*offer {
            Some((at, bytes)) if now.saturating_duration_since(*at) < OFFER_GOOD_FOR => bytes.clone(),
            _ => offer.insert((now, make())).1.clone(),
        }
    }
}

/// Why not all that waits with a peer is here.
enum Unfetched {
    /// It may be here the next time, because of this.
    Lost(String),
    /// The peer broke the protocol so.
    Bad(String),
}

/// Groups of which each fits one request and its answer, if the sizes are true.
fn groups(txs: &[(TxId, u32)]) -> Vec<Vec<(TxId, u32)>> {
    let mut groups: Vec<Vec<(TxId, u32)>> = Vec::new();
    let mut bytes = 0;
    for &(id, size) in txs {
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
    fn a_peer_gets_no_list_that_is_older_than_its_connection() {
        let (offer, now) = (Offer::default(), Instant::now());
        assert_eq!(offer.get(now, || vec![1]), [1]);
        assert_eq!(offer.get(now + OFFER_GOOD_FOR / 2, || unreachable!("it is made once a second")), [1]);
        offer.withdraw(); // a transaction came and was gossiped; then a peer came up
        assert_eq!(offer.get(now + OFFER_GOOD_FOR / 2, || vec![2]), [2]);
        assert_eq!(offer.get(now + 2 * OFFER_GOOD_FOR, || vec![3]), [3]);
    }

    #[test]
    fn requests_for_transactions_are_bounded_by_number_and_bytes_whatever_sizes_are_claimed() {
        let txs = |count: usize, size: u32| (0..count).map(|_| (TxId([1; 32]), size)).collect::<Vec<_>>();
        let lengths = |txs: Vec<_>| groups(&txs).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(txs(2_100, 100)), [1_024, 1_024, 52]);
        assert_eq!(lengths(txs(9, 64 << 10)), [4, 4, 1]);
        assert_eq!(lengths(txs(3, u32::MAX)), [1, 1, 1]);
        assert_eq!(lengths(txs(0, 1)).len(), 0);
    }
}
