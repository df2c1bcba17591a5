//! State that the handle, the swarm task and the connections share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::watch;

use crate::config::Config;
use crate::peer::ConnectedPeer;
use crate::score::{Penalty, Scores};
use crate::stats::Counters;
use crate::{NodeId, Transport};

/// The shared state of one network.
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    peers: RwLock<BTreeMap<NodeId, Arc<ConnectedPeer>>>,
    scores: Mutex<Scores>,
    pub(crate) publish_queued_bytes: AtomicUsize,
    pub(crate) listening: OnceLock<Vec<(Transport, SocketAddr)>>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) ended: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(id: NodeId, config: Config) -> Shared {
        Shared {
            id,
            config,
            counters: Counters::default(),
            peers: RwLock::default(),
            scores: Mutex::default(),
            publish_queued_bytes: AtomicUsize::new(0),
            listening: OnceLock::new(),
            stop: watch::Sender::new(false),
            ended: watch::Sender::new(false),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(config: Config) -> Shared {
        Shared::new(NodeId([0; 20]), config)
    }

    // The maps behind the locks are valid between any two statements, so a poisoned lock can be used.

    pub(crate) fn peer(&self, id: &NodeId) -> Option<Arc<ConnectedPeer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(crate) fn peers(&self) -> Vec<Arc<ConnectedPeer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn insert_peer(&self, peer: Arc<ConnectedPeer>) {
        self.peers.write().unwrap_or_else(PoisonError::into_inner).insert(peer.id, peer);
    }

    pub(crate) fn remove_peer(&self, id: &NodeId) {
        self.peers.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub(crate) fn scores(&self) -> MutexGuard<'_, Scores> {
        self.scores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn penalties(&self, id: &NodeId) -> f64 {
        self.scores().penalties(Instant::now(), id)
    }

    pub(crate) fn banned_until(&self, id: &NodeId) -> Option<Instant> {
        self.scores().banned_until(Instant::now(), id)
    }

    /// Returns true if a peer is banned, either by its id or by the range of its address.
    pub(crate) fn is_banned(&self, id: &NodeId, ip: Option<IpAddr>) -> bool {
        let (scores, now) = (self.scores(), Instant::now());
        let range = ip.and_then(|ip| self.config.range_of(id, ip));
        scores.banned_until(now, id).is_some() || range.is_some_and(|range| scores.is_range_banned(now, &range))
    }

    /// Records the address of a peer, so that its penalties count for the range of the address.
    pub(crate) fn note_place(&self, id: NodeId, ip: Option<IpAddr>) {
        self.scores().note(id, ip.and_then(|ip| self.config.range_of(&id, ip)));
    }

    /// Adds a penalty, unless the peer is banned already. Returns true if it starts a ban; the caller must then disconnect the
    /// banned peers.
    pub(crate) fn penalize(&self, id: NodeId, penalty: Penalty) -> bool {
        if self.banned_until(&id).is_some() {
            return false;
        }
        let is_persistent = self.config.is_persistent(&id);
        let ban_time = if is_persistent { self.config.ban_time_persistent } else { self.config.ban_time };
        let now = Instant::now();
        let bans = self.scores().penalize(now, id, penalty.weight, ban_time, !is_persistent);
        self.counters.penalties.add(1);
        self.counters.penalties_of[penalty.index()].add(1);
        if let Some(until) = bans.peer {
            self.counters.bans.add(1);
            self.counters.bans_of[penalty.index()].add(1);
            tracing::warn!(peer = %id, reason = penalty.reason, for_s = (until - now).as_secs(), "peer banned");
        } else {
            tracing::debug!(peer = %id, reason = penalty.reason, weight = penalty.weight, "peer penalised");
        }
        if let Some(range) = bans.range {
            tracing::warn!(%range, reason = penalty.reason, "addresses banned: peers there misbehaved under several keys");
        }
        bans.peer.is_some() || bans.range.is_some()
    }

    pub(crate) fn on_publish_taken(&self, bytes: usize) {
        self.publish_queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
