//! Ping, gossip and requests.

use std::sync::Arc;
use std::time::Instant;

use libp2p::gossipsub::{self, PublishError};
use libp2p::request_response::{
    Event as RequestsEvent, InboundRequestId, Message as RequestsMessage, OutboundFailure, OutboundRequestId,
    ResponseChannel,
};
use libp2p::{PeerId, ping};

use super::{Link, Phase, Task};
use crate::NodeId;
use crate::events::{DownReason, Event};
use crate::gossip::{GossipId, Verdict};
use crate::limits::*;
use crate::peer::Peer;
use crate::requests::{OnReply, RequestError, RequestId, Response};
use crate::score::Offence;

/// Failed pings in a row after which a peer is given up.
const PING_FAILURES_MAX: u32 = 2;

impl Task {
    pub(super) fn live_peer(&self, peer_id: &PeerId) -> Option<Arc<Peer>> {
        let connection = self.live.get(&NodeId::from_peer_id(peer_id)?)?;
        match &self.links.get(connection)?.phase {
            Phase::Live(peer) => Some(peer.clone()),
            _ => None,
        }
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        let Some(link) = self.links.get_mut(&event.connection) else { return };
        match event.result {
            Ok(rtt) => {
                (link.ping_failures, link.heard_at) = (0, Instant::now());
                if let Phase::Live(peer) = &link.phase {
                    peer.set_rtt(rtt);
                }
            }
            Err(failure) => {
                let is_hopeless = matches!(failure, ping::Failure::Unsupported); // it would not be tried again
                link.ping_failures += if is_hopeless { PING_FAILURES_MAX } else { 1 };
                if link.ping_failures >= PING_FAILURES_MAX {
                    self.close(event.connection, DownReason::Silent);
                }
            }
        }
    }

    /// Gossips a batch, or keeps it until the first peer takes part in the gossip.
    pub(super) fn publish(&mut self, batch: Vec<u8>) {
        let topic = self.topic.clone();
        match self.swarm.behaviour_mut().gossip.publish(topic, batch.clone()) {
            Err(PublishError::NoPeersSubscribedToTopic) => {
                self.unsent_bytes += batch.len();
                self.unsent.push_back(batch);
                while self.unsent_bytes > UNSENT_BYTES_MAX || self.unsent.len() > UNSENT_BATCHES_MAX {
                    self.unsent_bytes -= self.unsent.pop_front().map_or(0, |batch| batch.len());
                }
            }
            // A batch that is known already needs no more; queues that are full belong to peers that are too slow.
            Err(error) => tracing::debug!(%error, "batch not gossiped"),
            Ok(_) => {}
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                self.on_batch(propagation_source, message_id, message.data);
            }
            gossipsub::Event::Subscribed { .. } => {
                self.unsent_bytes = 0;
                for batch in std::mem::take(&mut self.unsent) {
                    self.publish(batch);
                }
            }
            _ => {}
        }
    }

    pub(super) fn on_batch(&mut self, propagation_source: PeerId, message_id: gossipsub::MessageId, bytes: Vec<u8>) {
        let id = GossipId { message: message_id, source: propagation_source };
        let is_greeting =
            |link: &&mut Link| link.peer_id == propagation_source && matches!(link.phase, Phase::Greeting);
        if let Some(link) = self.links.values_mut().find(is_greeting)
            && !self.live.contains_key(&link.peer)
        {
            let held: usize = link.early_gossip.iter().map(|(_, bytes)| bytes.len()).sum();
            if held + bytes.len() <= EARLY_GOSSIP_BYTES_MAX {
                link.early_gossip.push((id, bytes));
            }
            return;
        }
        let emitted = self.live_peer(&propagation_source).is_some_and(|peer| {
            let Ok(permit) = peer.quota.clone().try_acquire_many_owned(bytes.len() as u32) else { return false };
            self.try_emit(Event::Txs { from: peer.id, id: id.clone(), bytes }, peer.link, Some(permit))
        });
        if emitted {
            self.shared.counters.gossip_received.add(1);
        } else {
            self.shared.counters.gossip_dropped.add(1);
            self.report(&id, Verdict::Ignore);
        }
    }

    pub(super) fn report(&mut self, id: &GossipId, verdict: Verdict) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(&id.message, &id.source, verdict.acceptance());
    }

    pub(super) fn on_verdict(&mut self, id: GossipId, verdict: Verdict) {
        self.report(&id, verdict);
        let counters = &self.shared.counters;
        match verdict {
            Verdict::Accept => counters.gossip_accepted.add(1),
            Verdict::Ignore => counters.gossip_ignored.add(1),
            Verdict::Reject => {
                counters.gossip_rejected.add(1);
                if let Some(forwarder) = NodeId::from_peer_id(&id.source) {
                    self.penalize(forwarder, Offence::BAD_GOSSIP);
                }
            }
        }
    }

    pub(super) fn on_requests(&mut self, event: RequestsEvent<Vec<u8>, Response>) {
        match event {
            RequestsEvent::Message {
                peer, message: RequestsMessage::Request { request_id, request, channel }, ..
            } => {
                self.on_request(peer, request_id, request, channel);
            }
            RequestsEvent::Message { message: RequestsMessage::Response { request_id, response }, .. } => {
                let reply = match response {
                    Response::Answer(bytes) => Ok(bytes),
                    Response::Busy => Err(RequestError::Busy),
                };
                self.on_reply(request_id, reply);
            }
            RequestsEvent::OutboundFailure { request_id, error, .. } => {
                let error = match error {
                    OutboundFailure::DialFailure | OutboundFailure::ConnectionClosed => RequestError::NotConnected,
                    OutboundFailure::Timeout => RequestError::Timeout,
                    OutboundFailure::UnsupportedProtocols => {
                        RequestError::Failed("the peer answers no requests".to_owned())
                    }
                    OutboundFailure::Io(error) => {
                        if let (std::io::ErrorKind::InvalidData, Some((peer, _))) =
                            (error.kind(), self.asked.get(&request_id))
                        {
                            let peer = *peer;
                            self.penalize(peer, Offence::INVALID);
                        }
                        RequestError::Failed(error.to_string())
                    }
                };
                self.on_reply(request_id, Err(error));
            }
            RequestsEvent::InboundFailure { request_id, .. } | RequestsEvent::ResponseSent { request_id, .. } => {
                self.to_answer.remove(&request_id);
            }
        }
    }

    pub(super) fn on_request(
        &mut self,
        peer_id: PeerId,
        id: InboundRequestId,
        bytes: Vec<u8>,
        channel: ResponseChannel<Response>,
    ) {
        let taken = self.live_peer(&peer_id).is_some_and(|peer| {
            let open = self.to_answer.values().filter(|(asker, _)| *asker == peer.id).count();
            open < INBOUND_REQUESTS_PER_PEER_MAX
                && self.to_answer.len() < INBOUND_REQUESTS_MAX
                && self.try_emit(Event::Request { peer: peer.id, id: RequestId(id), bytes }, peer.link, None)
        });
        match (taken, NodeId::from_peer_id(&peer_id)) {
            (true, Some(peer)) => {
                self.shared.counters.requests_received.add(1);
                self.to_answer.insert(id, (peer, channel));
            }
            _ => {
                self.shared.counters.requests_busy.add(1);
                self.answer(channel, Response::Busy);
            }
        }
    }

    pub(super) fn answer(&mut self, channel: ResponseChannel<Response>, response: Response) {
        // Fails when the asker has gone or the time is over: nobody waits for it then.
        let _ = self.swarm.behaviour_mut().requests.send_response(channel, response);
    }

    pub(super) fn on_reply(&mut self, id: OutboundRequestId, reply: Result<Vec<u8>, RequestError>) {
        if reply.is_err() {
            self.shared.counters.requests_failed.add(1);
        }
        if let Some((_, then)) = self.asked.remove(&id) {
            then(reply);
        }
    }

    pub(super) fn on_ask_peer(&mut self, peer: NodeId, request: Vec<u8>, then: OnReply) {
        self.shared.counters.requests_sent.add(1);
        let peer_id = self.live.get(&peer).and_then(|connection| self.links.get(connection)).map(|link| link.peer_id);
        let open = self.asked.values().filter(|(asked, _)| *asked == peer).count();
        let refused = match peer_id {
            None => Some(RequestError::NotConnected),
            Some(_) if open >= OUTBOUND_REQUESTS_PER_PEER_MAX => Some(RequestError::TooMany),
            Some(_) => None,
        };
        match (peer_id, refused) {
            (Some(peer_id), None) => {
                let id = self.swarm.behaviour_mut().requests.send_request(&peer_id, request);
                self.asked.insert(id, (peer, then));
            }
            (_, refused) => {
                self.shared.counters.requests_failed.add(1);
                then(Err(refused.unwrap_or(RequestError::NotConnected)));
            }
        }
    }
}
