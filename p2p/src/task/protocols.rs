//! Handling of ping, gossip and requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use libp2p::gossipsub::{self, PublishError};
use libp2p::request_response::{
    Event as RequestsEvent, InboundFailure, InboundRequestId, Message as RequestsMessage, OutboundFailure,
    OutboundRequestId, ResponseChannel,
};
use libp2p::{PeerId, ping};

use super::{Link, Phase, Stage, Task, ToAnswer};
use crate::NodeId;
use crate::events::{DownReason, Event};
use crate::gossip::{self, GossipId, Verdict};
use crate::key::node_id;
use crate::limits::*;
use crate::peer::ConnectedPeer;
use crate::requests::{OnReply, RequestError, RequestId, Response};
use crate::score::Penalty;

/// Number of failed pings in a row after which a peer is disconnected.
const PING_FAILURES_MAX: u32 = 2;

impl Task {
    pub(super) fn live_peer(&self, peer_id: &PeerId) -> Option<Arc<ConnectedPeer>> {
        let connection = self.live.get(&node_id(peer_id)?)?;
        match &self.links.get(connection)?.phase {
            Phase::Live(peer) => Some(peer.clone()),
            _ => None,
        }
    }

    /// Returns true if a handshake with the peer is in progress.
    fn is_greeting(&self, peer: &NodeId) -> bool {
        self.links.values().any(|link| link.peer == *peer && matches!(link.phase, Phase::Greeting))
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        self.count_mesh();
        let Some(link) = self.links.get_mut(&event.connection) else { return };
        match event.result {
            Ok(rtt) => {
                (link.ping_failures, link.heard_at) = (0, Instant::now());
                if let Phase::Live(peer) = &link.phase {
                    peer.set_rtt(rtt);
                }
            }
            Err(failure) => {
                let is_hopeless = matches!(failure, ping::Failure::Unsupported); // it would not be retried
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
            // A batch that is already known needs no action; full queues belong to peers that are too slow.
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
        let greets = |link: &&mut Link| link.peer_id == propagation_source && matches!(link.phase, Phase::Greeting);
        if let Some(link) = self.links.values_mut().find(greets)
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
                if let Some(forwarder) = node_id(&id.source) {
                    self.penalize(forwarder, Penalty::BAD_GOSSIP);
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
                            self.penalize(peer, Penalty::INVALID);
                        }
                        RequestError::Failed(error.to_string())
                    }
                };
                self.on_reply(request_id, Err(error));
            }
            RequestsEvent::InboundFailure { request_id, error, .. } => self.on_answered(request_id, Some(error)),
            RequestsEvent::ResponseSent { request_id, .. } => self.on_answered(request_id, None),
        }
    }

    pub(super) fn on_request(
        &mut self,
        peer_id: PeerId,
        id: InboundRequestId,
        bytes: Vec<u8>,
        channel: ResponseChannel<Response>,
    ) {
        let now = Instant::now();
        let peer = node_id(&peer_id).filter(|peer| {
            // The other side may have completed the handshake while its last message is still on its way to us.
            let (of_peer, of_all) = match self.live.contains_key(peer) {
                true => (INBOUND_REQUESTS_PER_PEER_MAX, INBOUND_REQUESTS_MAX),
                false if self.is_greeting(peer) => (EARLY_REQUESTS_PER_PEER_MAX, EARLY_REQUESTS_MAX),
                false => return false,
            };
            let open = self.to_answer.values().filter(|open| open.peer == *peer).count();
            open < of_peer && self.to_answer.len() < of_all
        });
        let Some(peer) = peer else {
            self.shared.counters.requests_busy.add(1);
            self.answer(channel, Response::Busy);
            return;
        };
        if let Some(link) = self.live.get(&peer).and_then(|connection| self.links.get_mut(connection)) {
            link.asks_at = now + link.asks.pay(now, 0);
        }
        self.to_answer.insert(id, ToAnswer { peer, stage: Stage::Waiting(bytes, channel) });
        self.give_requests(now);
    }

    /// Passes the waiting requests that are allowed by now to the consumer, oldest first.
    pub(super) fn give_requests(&mut self, now: Instant) {
        self.answer_at = None;
        let is_waiting = |open: &ToAnswer| matches!(open.stage, Stage::Waiting(..));
        let waiting: Vec<_> = self.to_answer.iter().filter(|(_, open)| is_waiting(open)).map(|(id, _)| *id).collect();
        if waiting.is_empty() {
            return;
        }
        let (mut of_peer, mut of_all) = (BTreeMap::<NodeId, usize>::new(), 0);
        for open in self.to_answer.values() {
            *of_peer.entry(open.peer).or_default() += open.bytes();
            of_all += open.bytes();
        }
        for id in waiting {
            let Some(ToAnswer { peer, stage: Stage::Waiting(..) }) = self.to_answer.get(&id) else { continue };
            let link = self.live.get(peer).and_then(|connection| self.links.get(connection));
            let live = link.and_then(|link| match &link.phase {
                Phase::Live(peer) => Some((peer.clone(), link)),
                _ => None,
            });
            let Some((peer, link)) = live else {
                if self.is_greeting(peer) {
                    continue;
                }
                self.to_answer.remove(&id); // its Down has already been queued
                continue;
            };
            if link.asks_at > now {
                self.answer_at = Some(self.answer_at.map_or(link.asks_at, |at| at.min(link.asks_at)));
                continue;
            }
            let used = of_peer.entry(peer.id).or_default();
            let is_full = *used + RESPONSE_BYTES_EXPECTED > RESPONSE_BYTES_PER_PEER_MAX && *used > 0;
            let are_full = of_all + RESPONSE_BYTES_EXPECTED > RESPONSE_BYTES_ALL_MAX && !peer.is_persistent;
            if is_full || are_full {
                continue; // until an answer is written
            }
            let Some(ToAnswer { stage: Stage::Waiting(bytes, channel), .. }) = self.to_answer.remove(&id) else {
                continue;
            };
            if self.try_emit(Event::Request { peer: peer.id, id: RequestId(id), bytes }, peer.link, None) {
                *used += RESPONSE_BYTES_EXPECTED;
                of_all += RESPONSE_BYTES_EXPECTED;
                self.shared.counters.requests_received.add(1);
                self.to_answer.insert(id, ToAnswer { peer: peer.id, stage: Stage::Given(channel) });
            } else {
                self.shared.counters.requests_busy.add(1);
                self.answer(channel, Response::Busy);
            }
        }
    }

    /// Sends the consumer's response. The place of the request stays occupied until the response is written.
    pub(super) fn on_respond(&mut self, id: InboundRequestId, response: Option<Vec<u8>>) {
        let Some(ToAnswer { peer, stage: Stage::Given(channel) }) = self.to_answer.remove(&id) else { return };
        let (mut of_peer, mut of_all) = (0, 0);
        for open in self.to_answer.values() {
            let Stage::Writing(bytes) = open.stage else { continue };
            of_all += bytes;
            of_peer += if open.peer == peer { bytes } else { 0 };
        }
        let fits = |bytes: usize| {
            bytes <= RESPONSE_BYTES_MAX
                && (of_peer == 0 || of_peer + bytes <= RESPONSE_BYTES_PER_PEER_MAX)
                && (of_all + bytes <= RESPONSE_BYTES_ALL_MAX || (of_peer == 0 && self.config().is_persistent(&peer)))
        };
        let is_declined = response.is_none();
        let response = response.filter(|bytes| fits(bytes.len()));
        let bytes = response.as_ref().map_or(0, Vec::len);
        if response.is_none() && !is_declined {
            self.shared.counters.requests_busy.add(1);
        }
        let now = Instant::now();
        if let Some(link) = self.live.get(&peer).and_then(|connection| self.links.get_mut(connection)) {
            link.asks_at = now + link.asks.pay_bytes(now, bytes);
        }
        self.to_answer.insert(id, ToAnswer { peer, stage: Stage::Writing(bytes) });
        self.shared.counters.response_bytes.set((of_all + bytes) as u64);
        if !self.answer(channel, response.map_or(Response::Busy, Response::Answer)) {
            self.on_answered(id, None);
        }
    }

    /// Frees the place of a request whose answer is written or cannot be written.
    pub(super) fn on_answered(&mut self, id: InboundRequestId, failure: Option<InboundFailure>) {
        let Some(open) = self.to_answer.remove(&id) else { return };
        if matches!((&open.stage, failure), (Stage::Writing(1..), Some(InboundFailure::Timeout))) {
            self.penalize(open.peer, Penalty::UNREAD);
        }
        let writing = |open: &ToAnswer| if let Stage::Writing(bytes) = open.stage { bytes } else { 0 };
        self.shared.counters.response_bytes.set(self.to_answer.values().map(writing).sum::<usize>() as u64);
        self.give_requests(Instant::now());
    }

    /// Sets which peers may be in the gossip mesh: all but unproven ones, which fill the places that the others leave
    /// free.
    pub(super) fn rank_gossip(&mut self) {
        let (mut good, mut unproven) = (BTreeSet::new(), BTreeMap::<PeerId, u64>::new());
        for link in self.links.values().filter(|link| !matches!(link.phase, Phase::Leaving)) {
            if !self.is_unproven(link) {
                good.insert(link.peer_id);
                continue;
            }
            // The oldest connections come first, then those whose handshake is not complete.
            let age = if let Phase::Live(peer) = &link.phase { peer.link } else { u64::MAX };
            let first = unproven.entry(link.peer_id).or_insert(age);
            *first = age.min(*first);
        }
        let mut unproven: Vec<_> = unproven.into_iter().filter(|(peer, _)| !good.contains(peer)).collect();
        unproven.sort_unstable_by_key(|(peer, age)| (*age, *peer));
        let room = MESH_PEERS_LOW.saturating_sub(good.len()).max(MESH_UNPROVEN_MIN);
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        for peer in &good {
            gossip.set_application_score(peer, gossip::GOOD);
        }
        for (n, (peer, _)) in unproven.iter().enumerate() {
            gossip.set_application_score(peer, if n < room { gossip::GOOD } else { gossip::UNPROVEN });
        }
    }

    /// Updates the counters of the peers in the gossip mesh.
    pub(super) fn count_mesh(&mut self) {
        let mesh: Vec<PeerId> = self.swarm.behaviour().gossip.mesh_peers(&self.topic).copied().collect();
        let is_good = |peer: &PeerId| self.links.values().any(|link| link.peer_id == *peer && !self.is_unproven(link));
        let good = mesh.iter().filter(|peer| is_good(peer)).count();
        self.shared.counters.mesh_peers.set(good as u64);
        self.shared.counters.mesh_unproven.set((mesh.len() - good) as u64);
    }

    /// Sends a response. Returns false if the requester is gone or has timed out.
    pub(super) fn answer(&mut self, channel: ResponseChannel<Response>, response: Response) -> bool {
        self.swarm.behaviour_mut().requests.send_response(channel, response).is_ok()
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
