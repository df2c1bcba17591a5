//! Gossip of transactions over gossipsub: anonymous, identified by content, forwarded only after the consumer's
//! verdict.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::gossipsub::{
    Behaviour, ConfigBuilder, IdentTopic, IdentityTransform, Message, MessageAcceptance, MessageAuthenticity,
    MessageId, PeerScoreParams, PeerScoreThresholds, ValidationMode, WhitelistSubscriptionFilter,
};

use crate::limits::{GOSSIP_BYTES_MAX, MESH_PEERS_LOW};

/// Identifies a gossiped batch and the peer that forwarded it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GossipId {
    pub(crate) message: MessageId,
    pub(crate) source: PeerId,
}

impl fmt::Debug for GossipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GossipId({})", data_encoding::HEXLOWER.encode(&self.message.0))
    }
}

/// The consumer's decision about a gossiped batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The batch is valid: forward it.
    Accept,
    /// Do not forward the batch: it is known or expired, or there is no room.
    Ignore,
    /// Drop the batch and penalise its forwarder, since no honest node forwards it.
    Reject,
}

impl Verdict {
    pub(crate) fn acceptance(self) -> MessageAcceptance {
        match self {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        }
    }
}

/// Application score of a peer that may be in the mesh.
pub(crate) const GOOD: f64 = 0.0;
/// Application score of a peer that is kept out of the mesh but is served otherwise.
pub(crate) const UNPROVEN: f64 = -1.0;

pub(crate) type Gossip = Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// Returns the gossip topic of a chain's transactions.
pub(crate) fn topic(chain_id: &str) -> IdentTopic {
    IdentTopic::new(format!("txs/{chain_id}"))
}

/// Returns the id of a batch, which is the hash of its content: the same batch from two authors is forwarded once.
fn message_id(message: &Message) -> MessageId {
    MessageId::new(blake3::hash(&message.data).as_bytes())
}

/// Creates the gossipsub behaviour of one chain.
///
/// With up to 8 peers, each node pushes whole batches to all of its peers (the mesh holds them all), so a test network
/// of 4 to 9 nodes needs one hop. Larger networks have 6 to 12 mesh neighbours per node and at most two or three hops
/// up to a hundred nodes. Own batches go to the mesh only: sending them to all peers would multiply an author's upload
/// by the number of peers.
///
/// The task decides which peers may be in the mesh ([`GOOD`], [`UNPROVEN`]): gossipsub chooses at random, so forty
/// silent unproven peers could fill it. An unproven peer outside the mesh is informed of batches within a heartbeat and
/// fetches them.
///
/// Errors: a description if gossipsub rejects the configuration.
pub(crate) fn behaviour(chain_id: &str) -> Result<Gossip, String> {
    let config = ConfigBuilder::default()
        .protocol_id_prefix(format!("/cairn/{chain_id}/txs"))
        .heartbeat_interval(Duration::from_secs(1))
        .heartbeat_initial_delay(Duration::from_millis(200))
        .mesh_outbound_min(2)
        .mesh_n_low(MESH_PEERS_LOW)
        .mesh_n(8)
        .mesh_n_high(12)
        .gossip_lazy(6)
        .history_length(6)
        .history_gossip(3)
        .flood_publish(false)
        .prune_backoff(Duration::from_secs(10)) // an unproven peer that proves itself is admitted soon
        .max_transmit_size(GOSSIP_BYTES_MAX + 1024) // room for the envelope
        .duplicate_cache_time(Duration::from_secs(60))
        .connection_handler_queue_len(256)
        .publish_queue_duration(Duration::from_secs(5))
        .forward_queue_duration(Duration::from_secs(2))
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .build()
        .map_err(|error| error.to_string())?;
    let topic = topic(chain_id);
    let filter = WhitelistSubscriptionFilter(HashSet::from([topic.hash()]));
    let mut gossip = Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)?;
    // Only the scores that we set count; the built-in scoring of gossipsub is switched off.
    let params = PeerScoreParams {
        app_specific_weight: 1.0,
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: 0.0,
        slow_peer_weight: 0.0,
        // We set the score of each peer that connects. By default, gossipsub keeps that of each key for an hour after it has
        // disconnected, however many keys a peer uses.
        retain_score: Duration::ZERO,
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds { opportunistic_graft_threshold: 0.0, ..PeerScoreThresholds::default() };
    gossip.with_peer_score(params, thresholds)?;
    gossip.subscribe(&topic).map_err(|error| error.to_string())?;
    Ok(gossip)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use libp2p::core::{ConnectedPoint, Multiaddr};
    use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
    use libp2p::swarm::{ConnectionId, FromSwarm, NetworkBehaviour};

    use super::*;

    #[tokio::test]
    async fn nothing_is_kept_of_a_peer_that_has_disconnected() {
        let (mut gossip, peer) = (behaviour("chain-1").unwrap(), PeerId::random());
        let (connection_id, address) = (ConnectionId::new_unchecked(1), Multiaddr::empty());
        let endpoint = &ConnectedPoint::Listener { local_addr: address.clone(), send_back_addr: address.clone() };
        gossip.handle_established_inbound_connection(connection_id, peer, &address, &address).unwrap();
        let up = ConnectionEstablished {
            peer_id: peer,
            connection_id,
            endpoint,
            failed_addresses: &[],
            other_established: 0,
        };
        gossip.on_swarm_event(FromSwarm::ConnectionEstablished(up));
        assert!(gossip.set_application_score(&peer, UNPROVEN));
        let down = ConnectionClosed { peer_id: peer, connection_id, endpoint, cause: None, remaining_established: 0 };
        gossip.on_swarm_event(FromSwarm::ConnectionClosed(down));
        let beats = poll_fn(|cx| {
            while gossip.poll(cx).is_ready() {}
            // A score can be set only of a known peer.
            if gossip.set_application_score(&peer, UNPROVEN) { Poll::Pending } else { Poll::Ready(()) }
        });
        tokio::time::timeout(Duration::from_secs(30), beats).await.expect("a heartbeat forgets the peer");
    }

    #[test]
    fn settings_are_consistent() {
        behaviour("chain-1").unwrap();
    }
}
