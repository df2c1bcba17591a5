//! Events of the network into inputs of the host, and offences back.

use std::sync::Arc;

use host::{Host, Input, Offence, Peer};
use p2p::{Event, Events, Network, NodeId, RequestId};
use storage::{RocksKv, Store};
use tokio::sync::Semaphore;
use types::{BlockRequest, Wire};

use crate::{inbox::Inbox, metrics::Metrics, verify_pool::VerifyPool};

/// Answers of block sync being read and sent at one time, each of up to `SYNC_RESPONSE_BYTES_MAX`; further askers are told
/// that we are busy.
const ANSWERS_MAX: usize = 4;

/// Passes events on until the network ends. A task on the network's runtime: nothing here waits for anything but events.
pub async fn pass_events(
    mut events: Events,
    network: Network,
    pool: Arc<VerifyPool>,
    inbox: Arc<Inbox>,
    store: Arc<Store<RocksKv>>,
    metrics: Arc<Metrics>,
) {
    let answers = Arc::new(Semaphore::new(ANSWERS_MAX));
    while let Some(event) = events.recv().await {
        match event {
            Event::Up { peer } => {
                inbox.push_now(Input::PeerUp(Peer(peer.id.0)));
                if network.peer_ids().len() == 1 {
                    pool.publish_again();
                }
            }
            Event::Down { peer, .. } => {
                let peer = Peer(peer.0);
                pool.forget(peer);
                inbox.push_now(Input::PeerDown(peer));
            }
            Event::Message { peer, bytes, received, .. } => pool.message(Peer(peer.0), bytes, received),
            Event::Txs { from, id, bytes } => pool.batch(Peer(from.0), id, bytes),
            Event::Request { peer, id, bytes } => answer(&network, &store, &metrics, &answers, peer, id, &bytes),
            Event::Refused { .. } => {} // the network has logged it
        }
    }
}

/// Answers a request for blocks on a thread that may read from the disk.
fn answer(
    network: &Network,
    store: &Arc<Store<RocksKv>>,
    metrics: &Arc<Metrics>,
    answers: &Arc<Semaphore>,
    peer: NodeId,
    id: RequestId,
    bytes: &[u8],
) {
    let request = match BlockRequest::decode(bytes) {
        Ok(request) => request,
        Err(error) => {
            penalize(network, Peer(peer.0), &Offence::Malformed(error.to_string()));
            return network.decline(id);
        }
    };
    let Ok(place) = answers.clone().try_acquire_owned() else { return network.decline(id) };
    let (network, store, metrics) = (network.clone(), store.clone(), metrics.clone());
    tokio::task::spawn_blocking(move || {
        let (response, unreadable) = Host::serve(&store, request);
        if let Some(error) = unreadable {
            metrics.unreadable.note("peer", &error);
        }
        network.respond(id, response.encode());
        drop(place);
    });
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
