//! Turns network events into inputs of the replica, and exchanges blocks and transactions with peers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mempool::Mempool;
use p2p::{Event, Events, Network, NodeId, RequestId};
use replica::{Input, Offence};
use storage::{RocksKv, Store};
use tokio::{sync::Semaphore, task::AbortHandle};
use types::{
    PeerRequest, TxBatch, TxId, WaitingTxs, Wire,
    limits::{SYNC_RESPONSE_BYTES_MAX, TX_BATCH_BYTES_MAX, TX_BYTES_MAX, TXS_PER_REQUEST_MAX, WAITING_TXS_MAX},
};

use crate::{inbox::Inbox, metrics::Metrics, penalty::penalize, verify_pool::VerifyPool};

/// Maximum number of responses that are prepared at one time, each up to `SYNC_RESPONSE_BYTES_MAX`. Others wait; the
/// network bounds their number.
const ANSWERS_MAX: usize = 4;

/// Time for which one list of waiting transactions is reused for requests of peers.
const OFFER_GOOD_FOR: Duration = Duration::from_secs(1);

/// Maximum number of peers from which waiting transactions are fetched at one time. Others wait; persistent peers do
/// not.
const FETCHES_MAX: usize = 4;

/// Maximum time of one attempt to fetch the waiting transactions of a peer.
const FETCH_TIME_MAX: Duration = Duration::from_secs(60);

/// Pauses before a peer is asked again when not all offered transactions arrived. A request is lost with its
/// connection, and a node that is behind refuses transactions that it accepts a moment later.
const FETCH_AGAIN_AFTER: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

/// Maximum bytes of transactions that one request asks for.
const FETCH_BYTES: usize = 256 << 10;

const _: () = assert!(SYNC_RESPONSE_BYTES_MAX <= p2p::limits::RESPONSE_BYTES_MAX, "any block can be answered with");
const _: () = assert!(FETCH_BYTES + TX_BYTES_MAX + 8 * TXS_PER_REQUEST_MAX <= TX_BATCH_BYTES_MAX, "with tags");

/// The handles of other parts that are passed to the exchange.
pub struct Handles {
    /// The network that delivers requests of peers and sends ours.
    pub network: Network,
    /// Pool that verifies messages and transactions from peers.
    pub pool: Arc<VerifyPool>,
    /// Store with the blocks that peers request.
    pub store: Arc<Store<RocksKv>>,
    /// Mempool with the transactions that peers request.
    pub mempool: Arc<Mempool>,
    /// Counters of rows that cannot be read.
    pub metrics: Arc<Metrics>,
    /// True if peers may learn which transactions wait here.
    pub is_broadcasting: bool,
}

/// Serves requests of peers, and fetches waiting transactions from them.
pub struct Exchange {
    handles: Handles,
    answers: Arc<Semaphore>,
    fetches: Semaphore,
    offer: Offer,
}

impl Exchange {
    /// Creates an exchange without outstanding requests.
    pub fn new(handles: Handles) -> Arc<Self> {
        let (answers, fetches) = (Arc::new(Semaphore::new(ANSWERS_MAX)), Semaphore::new(FETCHES_MAX));
        Arc::new(Self { handles, answers, fetches, offer: Offer::default() })
    }

    /// Forwards events until the network ends. Spawned on the network's runtime: it waits for nothing but events.
    pub async fn pass_events(self: Arc<Self>, mut events: Events, inbox: Arc<Inbox>) {
        let mut fetching: BTreeMap<NodeId, AbortHandle> = BTreeMap::new();
        while let Some(event) = events.recv().await {
            match event {
                Event::Up { peer } => {
                    self.offer.withdraw();
                    self.handles.pool.expect(peer.id);
                    inbox.push_now(Input::PeerUp(peer.id));
                    let task = tokio::spawn(self.clone().fetch_waiting(peer.id, peer.is_persistent));
                    fetching.insert(peer.id, task.abort_handle());
                }
                Event::Down { peer, .. } => {
                    if let Some(task) = fetching.remove(&peer) {
                        task.abort();
                    }
                    self.handles.pool.forget(peer);
                    inbox.push_now(Input::PeerDown(peer));
                }
                Event::Message { peer, bytes, received, .. } => self.handles.pool.message(peer, bytes, received),
                Event::Txs { from, id, bytes } => self.handles.pool.batch(from, id, bytes),
                Event::Request { peer, id, bytes } => self.answer(peer, id, &bytes),
                Event::Refused { .. } => {} // the network has logged the reason
            }
        }
    }

    /// Answers a request on a blocking thread, because the response may need the disk.
    fn answer(self: &Arc<Self>, peer: NodeId, id: RequestId, bytes: &[u8]) {
        let request = match PeerRequest::decode(bytes) {
            Ok(request) => request,
            Err(error) => {
                penalize(&self.handles.network, peer, &Offence::Malformed(error.to_string()));
                return self.handles.network.decline(id);
            }
        };
        let exchange = self.clone();
        tokio::spawn(async move {
            let place = exchange.answers.clone().acquire_owned().await.expect("the semaphore is never closed");
            tokio::task::spawn_blocking(move || {
                let response = exchange.response(request);
                exchange.handles.network.respond(id, response);
                drop(place);
            });
        });
    }

    fn response(&self, request: PeerRequest) -> Vec<u8> {
        match request {
            PeerRequest::Blocks(request) => {
                let (response, unreadable) = replica::serve(&self.handles.store, request);
                if let Some(error) = unreadable {
                    self.handles.metrics.unreadable.note("peer", &error);
                }
                response.encode()
            }
            PeerRequest::WaitingTxs => {
                let limit = if self.handles.is_broadcasting { WAITING_TXS_MAX } else { 0 };
                self.offer.get(Instant::now(), || WaitingTxs(self.handles.mempool.waiting(limit)).encode())
            }
            PeerRequest::Txs(ids) => {
                TxBatch { txs: self.handles.mempool.batch(&ids, FETCH_BYTES + TX_BYTES_MAX), salt: 0 }.encode()
            }
        }
    }

    /// Fetches the transactions that wait at a newly connected peer, with retries until all have arrived. Gossip sends
    /// each batch once, possibly while this node was disconnected.
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
                    return penalize(&self.handles.network, peer, &Offence::BadResponse(error));
                }
                Err(Unfetched::Lost(why)) => {
                    tracing::debug!(target: "mempool", %peer, why, "not all transactions of a peer's mempool were fetched");
                }
            }
        }
    }

    /// Asks a peer once for the transactions that wait there and are unknown here.
    async fn fetch_all(&self, peer: NodeId) -> Result<(), Unfetched> {
        let Handles { network, mempool, pool, .. } = &self.handles;
        let lost = |error: p2p::RequestError| Unfetched::Lost(error.to_string());
        let reply = network.request(peer, PeerRequest::WaitingTxs.encode()).await.map_err(lost)?;
        let WaitingTxs(mut txs) = WaitingTxs::decode(&reply).map_err(|error| Unfetched::Bad(error.to_string()))?;
        mempool.retain_unknown(&mut txs);
        let offered = txs.len();
        for mut group in groups(&txs) {
            mempool.retain_unknown(&mut group); // another peer may have delivered some
            if group.is_empty() {
                continue;
            }
            let ids: Vec<TxId> = group.into_iter().map(|(id, _)| id).collect();
            let reply = network.request(peer, PeerRequest::Txs(ids).encode()).await.map_err(lost)?;
            // Waits until they are accepted, so that they arrive no faster than this node can check them.
            let taken = pool.fetched(peer, reply).await;
            taken.map_err(|_| Unfetched::Lost("this node has too many transactions to check".to_owned()))?;
        }
        mempool.retain_unknown(&mut txs);
        if offered > 0 {
            let (count, left) = (offered - txs.len(), txs.len());
            tracing::info!(target: "mempool", %peer, count, left, "fetched transactions of a peer's mempool");
        }
        if txs.is_empty() {
            Ok(())
        } else {
            Err(Unfetched::Lost(format!("{} were not delivered or not accepted", txs.len())))
        }
    }
}

/// The encoded list of transactions that wait here, cached because making it walks the whole mempool.
///
/// A peer never gets a list that is older than its connection: it would never learn of transactions gossiped between
/// the two.
#[derive(Default)]
struct Offer(Mutex<Option<(Instant, Vec<u8>)>>);

impl Offer {
    /// Drops the cached list, because a peer has connected.
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

/// Why not all waiting transactions of a peer were fetched.
enum Unfetched {
    /// A failure that a later attempt may avoid, with its reason.
    Lost(String),
    /// A protocol violation of the peer, with its description.
    Bad(String),
}

/// Splits transactions into groups that fit one request and its response, if the claimed sizes are true.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_no_list_that_is_older_than_its_connection() {
        let (offer, now) = (Offer::default(), Instant::now());
        assert_eq!(offer.get(now, || vec![1]), [1]);
        assert_eq!(offer.get(now + OFFER_GOOD_FOR / 2, || unreachable!("it is made once a second")), [1]);
        offer.withdraw(); // a transaction was gossiped, then a peer connected
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
