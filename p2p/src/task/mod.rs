//! The swarm task, which knows all connections. It decides which become peers, and it dials, bans, and handles
//! requests.

mod handshake;
mod outbound;
mod protocols;
pub(crate) mod start;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::core::Multiaddr;
use libp2p::request_response::{InboundRequestId, OutboundRequestId, ResponseChannel};
use libp2p::swarm::{ConnectionId, ListenError, NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{PeerId, gossipsub, identify, ping};
use tokio::sync::{mpsc, watch};

use crate::address::socket_of;
use crate::book::Book;
use crate::config::Config;
use crate::control::{Hello, Refusal};
use crate::denied::Denied;
use crate::events::{DownReason, Event, Item};
use crate::frame::Rate;
use crate::gossip::{Gossip, GossipId, Verdict};
use crate::key::node_id;
use crate::limits::*;
use crate::notices::Notices;
use crate::peer::{ConnectedPeer, LaneReceivers};
use crate::range::Range;
use crate::requests::{OnReply, RequestId, Requests, Response};
use crate::score::Penalty;
use crate::shared::Shared;
use crate::streams::{FromHandler, StreamError, Streams, StreamsEvent, ToHandler};
use crate::{NodeId, PeerAddress};

/// A command of the handle to the swarm task.
pub(crate) enum Command {
    Publish(Vec<u8>),
    Verdict(GossipId, Verdict),
    Request {
        peer: NodeId,
        request: Vec<u8>,
        then: OnReply,
    },
    /// Response to a request; `None` means busy.
    Respond(RequestId, Option<Vec<u8>>),
    /// The ban is already recorded; the text is its reason.
    Banned(NodeId, &'static str),
    Proven(NodeId),
    Disconnect(NodeId),
    Dial(PeerAddress),
}

#[derive(NetworkBehaviour)]
struct Protocols {
    streams: Streams,
    gossip: Gossip,
    requests: Requests,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// State of one connection.
struct Link {
    peer: NodeId,
    peer_id: PeerId,
    remote: Multiaddr,
    /// The address that was dialled; `None` for an inbound connection.
    dialled: Option<PeerAddress>,
    hello: Option<Hello>,
    /// True if we sent "accept".
    is_accepted: bool,
    phase: Phase,
    ping_failures: u32,
    /// Time of the last successful ping; at first, the time at which the connection was established.
    heard_at: Instant,
    /// Start of the current minute, and the number of address messages in it.
    address_messages: (Instant, u32),
    /// Rate limit of the peer's requests.
    asks: Rate,
    /// Time at which the peer's next request may be passed to the consumer.
    asks_at: Instant,
    /// Gossip that arrived before the handshake ended. It is kept because gossipsub does not send it again.
    early_gossip: Vec<(GossipId, Vec<u8>)>,
}

/// A received request that is not answered yet.
struct ToAnswer {
    peer: NodeId,
    stage: Stage,
}

enum Stage {
    /// The request waits until the rate limit and the byte bounds allow it.
    Waiting(Vec<u8>, ResponseChannel<Response>),
    /// The consumer has the request.
    Given(ResponseChannel<Response>),
    /// The answer of this many bytes is being written.
    Writing(usize),
}

impl ToAnswer {
    /// Returns the bytes that the request counts towards the bounds per peer and for all peers.
    fn bytes(&self) -> usize {
        match self.stage {
            Stage::Waiting(..) => 0,
            Stage::Given(_) => RESPONSE_BYTES_EXPECTED,
            Stage::Writing(bytes) => bytes,
        }
    }
}

/// A resolved address that is to be dialled.
struct Resolved {
    address: PeerAddress,
    /// True if the address book chose the address; false if the consumer asked for the dial.
    from_book: bool,
    socket: Result<SocketAddr, String>,
}

enum Phase {
    Greeting,
    Live(Arc<ConnectedPeer>),
    /// The connection is refused or closing; further frames from it are ignored.
    Leaving,
}

/// Ups and Downs on their way to the consumer. They wait here if it is behind, because they must neither be lost nor
/// block.
enum Outgoing {
    Up {
        peer: Arc<ConnectedPeer>,
        peer_id: PeerId,
        connection: ConnectionId,
        queues: LaneReceivers,
    },
    Down {
        peer: NodeId,
        link: u64,
        reason: DownReason,
    },
    /// A batch that a peer gossiped before its Up.
    Txs {
        peer: Arc<ConnectedPeer>,
        id: GossipId,
        bytes: Vec<u8>,
    },
}

struct Task {
    shared: Arc<Shared>,
    swarm: Swarm<Protocols>,
    events: mpsc::Sender<Item>,
    outbox: VecDeque<Outgoing>,
    links: BTreeMap<ConnectionId, Link>,
    live: BTreeMap<NodeId, ConnectionId>,
    link_count: u64,
    book: Book,
    /// Peers whose address is being resolved or dialled.
    dialling: BTreeSet<NodeId>,
    dials: BTreeMap<ConnectionId, PeerAddress>,
    resolving: FuturesUnordered<BoxFuture<'static, Resolved>>,
    /// Next time to check the address book. `None`: only when something changes.
    dial_at: Option<Instant>,
    ask_at: Instant,
    save_at: Option<Instant>,
    share_offset: usize,
    asked: BTreeMap<OutboundRequestId, (NodeId, OnReply)>,
    /// Requests of peers, from their arrival until their answer is written.
    to_answer: BTreeMap<InboundRequestId, ToAnswer>,
    /// Next time at which a waiting request may be passed to the consumer.
    answer_at: Option<Instant>,
    /// Peers that proved themselves, and when they last did.
    proven: BTreeMap<NodeId, Instant>,
    notices: Notices,
    topic: gossipsub::TopicHash,
    /// Own batches that wait until a peer takes part in the gossip, oldest first.
    unsent: VecDeque<Vec<u8>>,
    unsent_bytes: usize,
}

impl Task {
    fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Runs until shutdown, or until all handles or the events are dropped.
    async fn run(&mut self, mut commands: mpsc::Receiver<Command>, mut stop: watch::Receiver<bool>) {
        loop {
            self.flush_outbox();
            self.on_time(Instant::now());
            let alarm = [self.dial_at, self.save_at, self.answer_at].into_iter().flatten().min();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.events.closed() => return,
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                Some(resolved) = self.resolving.next() => self.on_resolved(resolved),
                Ok(slot) = self.events.clone().reserve_owned(), if !self.outbox.is_empty() => {
                    if let Some(outgoing) = self.outbox.pop_front() {
                        let item = self.announce(outgoing);
                        slot.send(item);
                    }
                }
                () = sleep_until(alarm), if alarm.is_some() => {}
            }
        }
    }

    /// Closes all connections, so that the other sides are informed at once.
    async fn leave(&mut self) {
        self.save_book();
        self.swarm.behaviour_mut().streams.is_closed = true;
        for connection in self.links.keys().copied().collect::<Vec<_>>() {
            self.swarm.close_connection(connection);
        }
        let deadline = tokio::time::Instant::now() + 2 * LINGER;
        while !self.links.is_empty() {
            tokio::select! {
                event = self.swarm.select_next_some() => {
                    if let SwarmEvent::ConnectionClosed { connection_id, .. } = event {
                        self.links.remove(&connection_id);
                    }
                }
                () = tokio::time::sleep_until(deadline) => return,
            }
        }
    }

    // ---- events to the consumer -------------------------------------------------------------------------------

    fn flush_outbox(&mut self) {
        while !self.outbox.is_empty() {
            let Ok(slot) = self.events.clone().try_reserve_owned() else { break };
            if let Some(outgoing) = self.outbox.pop_front() {
                let item = self.announce(outgoing);
                slot.send(item);
            }
        }
        self.swarm.behaviour_mut().streams.is_closed = self.outbox.len() >= OUTBOX_MAX;
    }

    /// Converts an Up or Down into its event. An Up also starts the reading of its connection: the caller sends the
    /// event right after this call, before that connection can run.
    fn announce(&mut self, outgoing: Outgoing) -> Item {
        match outgoing {
            Outgoing::Up { peer, peer_id, connection, queues } => {
                let (link, info) = (peer.link, peer.info(self.shared.penalties(&peer.id)));
                self.swarm.behaviour_mut().streams.notify(peer_id, connection, ToHandler::Start(peer, queues));
                Item { event: Event::Up { peer: info }, link, _permit: None }
            }
            Outgoing::Down { peer, link, reason } => Item { event: Event::Down { peer, reason }, link, _permit: None },
            Outgoing::Txs { peer, id, bytes } => {
                self.shared.counters.gossip_received.add(1);
                Item { event: Event::Txs { from: peer.id, id, bytes }, link: peer.link, _permit: None }
            }
        }
    }

    /// Sends an event to the consumer unless it is behind. An event is never sent before a waiting Up.
    fn try_emit(&mut self, event: Event, link: u64, permit: Option<tokio::sync::OwnedSemaphorePermit>) -> bool {
        self.outbox.is_empty() && self.events.try_send(Item { event, link, _permit: permit }).is_ok()
    }

    fn emit_refused(&mut self, peer: Option<NodeId>, address: String, by_us: bool, refusal: Refusal) {
        let counters = &self.shared.counters;
        if by_us { &counters.refused_by_us } else { &counters.refused_by_peer }.add(1);
        let id = peer.map(tracing::field::display);
        match refusal {
            Refusal::Duplicate | Refusal::Full => {
                tracing::debug!(peer = id, address, by_us, %refusal, "connection refused");
            }
            _ => {
                let what = format!("{peer:?} {by_us} {}", refusal.code());
                if let Some(passed_over) = self.notices.is_due(Instant::now(), what) {
                    let by = if by_us { "us" } else { "the peer" };
                    tracing::warn!(peer = id, address, by, %refusal, passed_over, "connection refused");
                }
            }
        }
        if refusal != Refusal::Duplicate {
            self.try_emit(Event::Refused { peer, address, by_us, refusal }, 0, None);
        }
    }

    // ---- connections ------------------------------------------------------------------------------------------

    fn on_swarm_event(&mut self, event: SwarmEvent<ProtocolsEvent>) {
        match event {
            SwarmEvent::Behaviour(ProtocolsEvent::Streams(StreamsEvent { connection, what })) => match what {
                FromHandler::Said(say) => self.on_said(connection, say),
                FromHandler::Failed(failure) => self.on_failure(connection, failure),
            },
            SwarmEvent::Behaviour(ProtocolsEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Requests(event)) => self.on_requests(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Identify(_)) => {}
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(connection_id, peer_id, endpoint.get_remote_address().clone());
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                let cause = cause.map_or_else(|| "closed".to_owned(), |cause| cause.to_string());
                self.on_closed(connection_id, cause);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(address) = self.dials.remove(&connection_id) {
                    self.on_dial_failed(address, error);
                }
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr, peer_id, .. } => {
                self.on_inbound_failed(error, &send_back_addr, peer_id.and_then(|peer| node_id(&peer)));
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener failed to accept"),
            SwarmEvent::ListenerClosed { reason, .. } => tracing::error!(?reason, "listener closed"),
            _ => {}
        }
    }

    fn on_established(&mut self, connection: ConnectionId, peer_id: PeerId, remote: Multiaddr) {
        let dialled = self.dials.remove(&connection);
        let Some(peer) = node_id(&peer_id) else {
            self.swarm.close_connection(connection); // the gate admits no such key
            return;
        };
        let expected = dialled.as_ref().map(|dialled| dialled.id);
        self.dialling.remove(&expected.unwrap_or(peer));
        let now = Instant::now();
        let link = Link {
            peer,
            peer_id,
            remote,
            dialled,
            hello: None,
            is_accepted: false,
            phase: Phase::Greeting,
            ping_failures: 0,
            heard_at: now,
            address_messages: (now, 0),
            asks: Rate::new(now, RESPONSE_BYTES_PER_SECOND, REQUESTS_PER_SECOND),
            asks_at: now,
            early_gossip: Vec::new(),
        };
        // A penalty is possible before the handshake ends. The address of a configured peer counts for no range.
        self.shared.note_place(peer, link.ip());
        self.links.insert(connection, link);
        match expected {
            Some(expected) if expected != peer => self.on_wrong_id(connection, expected, peer),
            _ => self.rank_gossip(),
        }
        self.look_at_book();
    }

    /// Handles a node that answers with another id than the dialled one: it is refused and informed of the expected id.
    fn on_wrong_id(&mut self, connection: ConnectionId, expected: NodeId, got: NodeId) {
        self.shared.counters.dial_failures.add(1);
        self.book.on_failed(&expected, Instant::now());
        self.book.forget(&expected);
        self.refuse(connection, Refusal::WrongId { expected, got });
    }

    /// Logs an inbound connection that could not be established, if it is worth a notice.
    fn on_inbound_failed(&mut self, error: ListenError, from: &Multiaddr, peer: Option<NodeId>) {
        tracing::debug!(%error, %from, peer = peer.map(tracing::field::display), "inbound connection failed");
        let from = socket_of(from).map_or_else(|| from.to_string(), |(_, socket)| Range::of(socket.ip()).to_string());
        let (what, reason) = match &error {
            ListenError::Aborted => return,
            ListenError::LocalPeerId { address } => {
                (format!("own key {from}"), format!("{address}: {}", Refusal::Myself))
            }
            ListenError::Denied { cause } => match cause.downcast_ref::<Denied>() {
                Some(denied @ (Denied::Banned | Denied::WrongKey)) => (format!("denied {from}"), denied.to_string()),
                _ => return,
            },
            error => (format!("inbound {from}"), error.to_string()),
        };
        if let Some(passed_over) = self.notices.is_due(Instant::now(), what) {
            tracing::info!(
                from,
                peer = peer.map(tracing::field::display),
                reason,
                passed_over,
                "a connection from outside did not come up"
            );
        }
    }

    fn on_closed(&mut self, connection: ConnectionId, cause: String) {
        self.take_down(connection, DownReason::Lost(cause));
        let Some(link) = self.links.remove(&connection) else { return };
        if let Some(dialled) = link.dialled.filter(|dialled| !self.live.contains_key(&dialled.id)) {
            let banned_until = self.shared.banned_until(&dialled.id);
            self.book.on_down(&dialled.id, Duration::ZERO, Instant::now(), banned_until);
        }
        self.rank_gossip();
        self.look_at_book();
    }

    /// Ends a connection for the given reason.
    fn close(&mut self, connection: ConnectionId, reason: DownReason) {
        self.take_down(connection, reason);
        if let Some(link) = self.links.get_mut(&connection) {
            link.phase = Phase::Leaving;
            self.swarm.close_connection(connection);
        }
    }

    /// Queues a Down for the consumer if the connection belonged to a peer.
    fn take_down(&mut self, connection: ConnectionId, reason: DownReason) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        let Phase::Live(peer) = std::mem::replace(&mut link.phase, Phase::Leaving) else { return };
        // The book records the end of the connection below; `on_closed` must not record it again as a failed dial.
        link.dialled = None;
        tracing::info!(peer = %peer.id, %reason, "peer down");
        self.live.remove(&peer.id);
        self.shared.remove_peer(&peer.id);
        self.shared.counters.downs.add(1);
        let banned_until = self.shared.banned_until(&peer.id);
        self.book.on_down(&peer.id, peer.since_instant.elapsed(), Instant::now(), banned_until);
        self.outbox.push_back(Outgoing::Down { peer: peer.id, link: peer.link, reason });
        self.look_at_book();
    }

    fn on_failure(&mut self, connection: ConnectionId, failure: StreamError) {
        let Some(link) = self.links.get(&connection) else { return };
        let peer = link.peer;
        let penalty = match failure {
            StreamError::Oversized => Penalty::OVERSIZED,
            StreamError::Garbage => Penalty::GARBAGE,
            StreamError::Lost(cause) => return self.close(connection, DownReason::Lost(cause)),
            StreamError::Refused | StreamError::Slow => return self.close(connection, DownReason::Disconnected),
        };
        self.penalize(peer, penalty);
        self.close(connection, DownReason::Lost(penalty.reason.to_owned())); // has no effect if the ban closed it
    }

    fn penalize(&mut self, peer: NodeId, penalty: Penalty) {
        if self.shared.penalize(peer, penalty) {
            self.on_banned(peer, penalty.reason);
        }
    }

    fn on_banned(&mut self, peer: NodeId, reason: &'static str) {
        for connection in self.connections_of(&peer) {
            self.close(connection, DownReason::Banned(reason));
        }
        let is_banned = |link: &Link| self.shared.is_banned(&link.peer, link.ip());
        let others = self.links.iter().filter(|(_, link)| !matches!(link.phase, Phase::Leaving) && is_banned(link));
        for connection in others.map(|(connection, _)| *connection).collect::<Vec<_>>() {
            self.close(connection, DownReason::Banned("is at addresses that misbehaved under several keys"));
        }
    }

    fn connections_of(&self, peer: &NodeId) -> Vec<ConnectionId> {
        self.links.iter().filter(|(_, link)| link.peer == *peer).map(|(connection, _)| *connection).collect()
    }

    fn notify_handler(&mut self, connection: ConnectionId, event: ToHandler) {
        if let Some(link) = self.links.get(&connection) {
            self.swarm.behaviour_mut().streams.notify(link.peer_id, connection, event);
        }
    }

    // ---- commands ---------------------------------------------------------------------------------------------

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Publish(batch) => {
                self.shared.on_publish_taken(batch.len());
                self.shared.counters.gossip_published.add(1);
                self.publish(batch);
            }
            Command::Verdict(id, verdict) => self.on_verdict(id, verdict),
            Command::Request { peer, request, then } => self.on_ask_peer(peer, request, then),
            Command::Respond(id, response) => self.on_respond(id.0, response),
            Command::Proven(peer) => self.on_proven(peer),
            Command::Banned(peer, reason) => self.on_banned(peer, reason),
            Command::Disconnect(peer) => {
                for connection in self.connections_of(&peer) {
                    self.close(connection, DownReason::Disconnected);
                }
            }
            Command::Dial(address) => self.dial(address, false),
        }
    }

    fn on_proven(&mut self, peer: NodeId) {
        if self.proven.len() >= PROVEN_MAX && !self.proven.contains_key(&peer) {
            let is_idle = |id: &NodeId| !self.live.contains_key(id);
            let oldest = self.proven.iter().filter(|(id, _)| is_idle(id)).min_by_key(|(_, at)| **at).map(|(id, _)| *id);
            let Some(oldest) = oldest else { return };
            self.proven.remove(&oldest);
        }
        self.proven.insert(peer, Instant::now());
        self.rank_gossip();
    }

    /// Returns true if the peer is unproven: neither dialled by us, nor configured, nor known to be useful.
    fn is_unproven(&self, link: &Link) -> bool {
        link.dialled.is_none() && !self.config().is_exempt(&link.peer) && !self.proven.contains_key(&link.peer)
    }
}

impl Link {
    fn ip(&self) -> Option<IpAddr> {
        socket_of(&self.remote).map(|(_, socket)| socket.ip())
    }

    /// Returns the address of the other end, for logs.
    fn place(&self) -> String {
        self.dialled.as_ref().map_or_else(|| self.remote.to_string(), PeerAddress::to_string)
    }
}

/// Sleeps until a point in time, or without end if there is none.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
