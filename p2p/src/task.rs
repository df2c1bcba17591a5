//! The swarm task: the one place that knows all connections. It decides who is a peer, dials, bans, asks and answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::core::Multiaddr;
use libp2p::core::transport::ListenerId;
use libp2p::request_response::{
    Event as RequestsEvent, InboundRequestId, Message as RequestsMessage, OutboundFailure, OutboundRequestId, ResponseChannel,
};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError, NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::gossipsub::{self, PublishError};
use libp2p::{PeerId, identify, ping};
use tokio::sync::{mpsc, watch};

use crate::address::socket_of;
use crate::book::{self, Book};
use crate::config::Config;
use crate::control::{Control, Hello, PROTOCOL_VERSION, Refusal, Say, printable};
use crate::events::{DownReason, Event, Item};
use crate::gossip::{self, Gossip, GossipId, Verdict};
use crate::limits::*;
use crate::network::{Error, Shared};
use crate::peer::{LaneReceivers, Peer, PeerFacts};
use crate::requests::{self, OnReply, RequestError, RequestId, Requests, Response};
use crate::score::Offence;
use crate::streams::{Failure, FromHandler, Streams, StreamsEvent, ToHandler};
use crate::transport::{self, Tasks};
use crate::{NodeId, NodeKey, PeerAddress, Transport};

/// Failed pings in a row after which a peer is given up.
const PING_FAILURES_MAX: u32 = 2;
/// Ports tried when any will do.
const LISTEN_ATTEMPTS_MAX: u32 = 16;

/// What the handle asks of the swarm task.
pub(crate) enum Command {
    Publish(Vec<u8>),
    Verdict(GossipId, Verdict),
    Request { peer: NodeId, request: Vec<u8>, then: OnReply },
    /// `None`: busy.
    Respond(RequestId, Option<Vec<u8>>),
    /// The ban is noted already; the text says what for.
    Banned(NodeId, &'static str),
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

/// One connection.
struct Link {
    peer: NodeId,
    peer_id: PeerId,
    remote: Multiaddr,
    /// The address dialled; `None` when they dialled us.
    dialled: Option<PeerAddress>,
    hello: Option<Hello>,
    /// We said "accept".
    is_accepted: bool,
    phase: Phase,
    ping_failures: u32,
    /// Address messages in the minute that began then.
    address_messages: (Instant, u32),
}

enum Phase {
    Greeting,
    Live(Arc<Peer>),
    /// Refused, refusing or closing: nothing it says counts any more.
    Leaving,
}

/// Ups and Downs on their way to the consumer. They wait here when it is behind: they must neither be lost nor block.
enum Outgoing {
    Up { peer: Arc<Peer>, peer_id: PeerId, connection: ConnectionId, queues: LaneReceivers },
    Down { peer: NodeId, link: u64, reason: DownReason },
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
    /// Who is being resolved or dialled.
    dialling: BTreeSet<NodeId>,
    dials: BTreeMap<ConnectionId, PeerAddress>,
    resolving: FuturesUnordered<BoxFuture<'static, (PeerAddress, Result<SocketAddr, String>)>>,
    /// The next moment to look at the book. `None`: when something changes.
    dial_at: Option<Instant>,
    ask_at: Instant,
    save_at: Option<Instant>,
    share_offset: usize,
    asked: BTreeMap<OutboundRequestId, (NodeId, OnReply)>,
    to_answer: BTreeMap<InboundRequestId, (NodeId, ResponseChannel<Response>)>,
    topic: gossipsub::TopicHash,
    /// Own batches that wait for somebody to gossip with, oldest first.
    unsent: VecDeque<Vec<u8>>,
    unsent_bytes: usize,
}

/// Sets up the swarm, listens, and runs the task on the current runtime.
pub(crate) async fn spawn(
    shared: Arc<Shared>,
    key: &NodeKey,
    socket: SocketAddr,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Item>,
) -> Result<(), Error> {
    let (keys, config, now) = (key.keypair(), &shared.config, Instant::now());
    let random = RandomState::new();
    let (session, salt) = (random.hash_one(0), random.hash_one(1));

    let mut book = Book::new(shared.id, config, now, salt);
    if let Some(path) = &config.address_book {
        book.load(path, now).map_err(|source| Error::AddressBook { path: path.display().to_string(), source })?;
    }
    let agent = format!("cairn/{}", config.version);
    let protocols = Protocols {
        streams: Streams::new(shared.clone(), events.clone(), session),
        gossip: gossip::behaviour(&config.chain_id).map_err(Error::Transport)?,
        requests: requests::behaviour(&config.chain_id, config.request_timeout),
        identify: identify::Behaviour::new(
            identify::Config::new("/cairn/1".into(), keys.public()).with_agent_version(agent).with_cache_size(0),
        ),
        ping: ping::Behaviour::new(
            ping::Config::new().with_interval(config.ping_interval).with_timeout(config.ping_timeout),
        ),
    };
    let tasks = Tasks::new();
    let transport = transport::build(&keys, config.quic, config.dial_timeout).map_err(Error::Transport)?;
    let swarm_config =
        libp2p::swarm::Config::with_executor(tasks.executor()).with_per_connection_event_buffer_size(64);
    let mut swarm = Swarm::new(transport, protocols, keys.public().to_peer_id(), swarm_config);

    let mut early = Vec::new();
    let socket = listen_on_all(&mut swarm, socket, config.quic, &mut early).await?;
    swarm.behaviour_mut().streams.set_port(socket.port());
    tracing::info!(id = %shared.id, %socket, quic = config.quic, "listening for peers");
    let transports = [Transport::Tcp, Transport::Quic].into_iter().take(if config.quic { 2 } else { 1 });
    shared.listening.set(transports.map(|transport| (transport, socket)).collect()).expect("started once");

    let topic = gossip::topic(&config.chain_id).hash();
    let stop = shared.stop.subscribe();
    let mut task = Task {
        shared,
        swarm,
        events,
        outbox: VecDeque::new(),
        links: BTreeMap::new(),
        live: BTreeMap::new(),
        link_count: 0,
        book,
        dialling: BTreeSet::new(),
        dials: BTreeMap::new(),
        resolving: FuturesUnordered::new(),
        dial_at: Some(now),
        ask_at: now + ASK_INTERVAL,
        save_at: None,
        share_offset: salt as usize % 1024,
        asked: BTreeMap::new(),
        to_answer: BTreeMap::new(),
        topic,
        unsent: VecDeque::new(),
        unsent_bytes: 0,
    };
    tokio::spawn(async move {
        let _ended = Ended(task.shared.clone());
        for event in early {
            task.on_swarm_event(event);
        }
        task.run(commands, stop).await;
        task.leave().await;
        drop(task); // the swarm, and with it the executor
        tasks.stop().await;
    });
    Ok(())
}

/// Tells that the task has ended, however it did.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

/// Listens on the TCP port and, when wanted, on the UDP port of the same number. Port 0: the system chooses.
async fn listen_on_all(
    swarm: &mut Swarm<Protocols>,
    socket: SocketAddr,
    with_quic: bool,
    early: &mut Vec<SwarmEvent<ProtocolsEvent>>,
) -> Result<SocketAddr, Error> {
    if socket.port() != 0 {
        // libp2p lets sockets share a port, so two nodes could listen on one: ask plainly first.
        std::net::TcpListener::bind(socket).map_err(|source| Error::Listen { address: socket.to_string(), source })?;
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (tcp, port) = listen(swarm, Transport::Tcp, socket, early).await?;
        let chosen = SocketAddr::new(socket.ip(), port);
        if !with_quic {
            return Ok(chosen);
        }
        match listen(swarm, Transport::Quic, chosen, early).await {
            Ok(_) => return Ok(chosen),
            // The number that the system chose for TCP may be in use for UDP.
            Err(_) if socket.port() == 0 && attempts < LISTEN_ATTEMPTS_MAX => swarm.remove_listener(tcp),
            Err(error) => return Err(error),
        };
    }
}

/// Listens and waits until the system has chosen the port. What else happens meanwhile goes to `early`.
async fn listen(
    swarm: &mut Swarm<Protocols>,
    transport: Transport,
    socket: SocketAddr,
    early: &mut Vec<SwarmEvent<ProtocolsEvent>>,
) -> Result<(ListenerId, u16), Error> {
    let failed = |source| Error::Listen { address: format!("{socket} ({transport:?})"), source };
    let listener = swarm.listen_on(transport.multiaddr(socket)).map_err(|error| failed(transport::listen_error(error)))?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => {
                let (_, socket) = socket_of(&address).ok_or_else(|| failed(std::io::Error::other("no port")))?;
                return Ok((listener, socket.port()));
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                return Err(failed(reason.err().unwrap_or_else(|| std::io::Error::other("the listener closed"))));
            }
            SwarmEvent::ListenerError { listener_id, error } if listener_id == listener => return Err(failed(error)),
            event => early.push(event),
        }
    }
}

impl Task {
    fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Runs until someone says stop or nobody listens any more.
    async fn run(&mut self, mut commands: mpsc::Receiver<Command>, mut stop: watch::Receiver<bool>) {
        loop {
            self.flush_outbox();
            self.on_time(Instant::now());
            let alarm = [self.dial_at, self.save_at].into_iter().flatten().min();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.events.closed() => return,
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                Some((address, socket)) = self.resolving.next() => self.on_resolved(address, socket),
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

    /// Closes all connections, so that the other sides know at once.
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

    // ---- events out -------------------------------------------------------------------------------------------

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

    /// Turns an Up or Down into its event. An Up lets its connection begin to read: its event is sent right after this,
    /// before that connection can be told.
    fn announce(&mut self, outgoing: Outgoing) -> Item {
        match outgoing {
            Outgoing::Up { peer, peer_id, connection, queues } => {
                let (link, info) = (peer.link, peer.info(self.shared.penalty(&peer.id)));
                self.swarm.behaviour_mut().streams.tell(peer_id, connection, ToHandler::Start(peer, queues));
                Item { event: Event::Up { peer: info }, link, _permit: None }
            }
            Outgoing::Down { peer, link, reason } => {
                Item { event: Event::Down { peer, reason }, link, _permit: None }
            }
        }
    }

    /// Hands an event to the consumer unless it is behind. Never before an Up that waits.
    fn try_emit(&mut self, event: Event, link: u64, permit: Option<tokio::sync::OwnedSemaphorePermit>) -> bool {
        self.outbox.is_empty() && self.events.try_send(Item { event, link, _permit: permit }).is_ok()
    }

    fn emit_refused(&mut self, peer: Option<NodeId>, address: String, by_us: bool, refusal: Refusal) {
        let counters = &self.shared.counters;
        if by_us { &counters.refused_by_us } else { &counters.refused_by_peer }.add(1);
        tracing::debug!(?peer, address, by_us, %refusal, "connection refused");
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
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => self.on_dial_failed(connection_id, error),
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                tracing::debug!(%error, from = %send_back_addr, "inbound connection failed");
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener failed to accept"),
            SwarmEvent::ListenerClosed { reason, .. } => tracing::error!(?reason, "listener closed"),
            _ => {}
        }
    }

    fn on_established(&mut self, connection: ConnectionId, peer_id: PeerId, remote: Multiaddr) {
        let dialled = self.dials.remove(&connection);
        let Some(peer) = NodeId::from_peer_id(&peer_id) else {
            self.swarm.close_connection(connection); // the gate lets no such key pass
            return;
        };
        self.dialling.remove(&peer);
        let link = Link {
            peer,
            peer_id,
            remote,
            dialled,
            hello: None,
            is_accepted: false,
            phase: Phase::Greeting,
            ping_failures: 0,
            address_messages: (Instant::now(), 0),
        };
        self.links.insert(connection, link);
        self.look_at_book();
    }

    fn on_closed(&mut self, connection: ConnectionId, cause: String) {
        self.take_down(connection, DownReason::Lost(cause));
        let Some(link) = self.links.remove(&connection) else { return };
        if link.dialled.is_some() && !self.live.contains_key(&link.peer) {
            let banned_until = self.shared.banned_until(&link.peer);
            self.book.on_down(&link.peer, Duration::ZERO, Instant::now(), banned_until);
        }
        self.look_at_book();
    }

    /// Ends a connection.
    fn close(&mut self, connection: ConnectionId, reason: DownReason) {
        self.take_down(connection, reason);
        if let Some(link) = self.links.get_mut(&connection) {
            link.phase = Phase::Leaving;
            self.swarm.close_connection(connection);
        }
    }

    /// Tells the consumer that a peer is down, if the connection was a peer's.
    fn take_down(&mut self, connection: ConnectionId, reason: DownReason) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        let Phase::Live(peer) = std::mem::replace(&mut link.phase, Phase::Leaving) else { return };
        // Not a good connection any more for the back-off of a dial that follows `on_closed`.
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

    fn on_failure(&mut self, connection: ConnectionId, failure: Failure) {
        let Some(link) = self.links.get(&connection) else { return };
        let peer = link.peer;
        let offence = match failure {
            Failure::Oversized => Offence::OVERSIZED,
            Failure::Garbage => Offence::GARBAGE,
            Failure::Lost(cause) => return self.close(connection, DownReason::Lost(cause)),
            Failure::Refused | Failure::Slow => return self.close(connection, DownReason::Disconnected),
        };
        self.penalize(peer, offence);
        self.close(connection, DownReason::Lost(offence.reason.to_owned())); // unless the ban did
    }

    fn penalize(&mut self, peer: NodeId, offence: Offence) {
        if self.shared.penalize(peer, offence) {
            self.on_banned(peer, offence.reason);
        }
    }

    fn on_banned(&mut self, peer: NodeId, reason: &'static str) {
        for connection in self.connections_of(&peer) {
            self.close(connection, DownReason::Banned(reason));
        }
    }

    fn connections_of(&self, peer: &NodeId) -> Vec<ConnectionId> {
        self.links.iter().filter(|(_, link)| link.peer == *peer).map(|(connection, _)| *connection).collect()
    }

    fn tell(&mut self, connection: ConnectionId, event: ToHandler) {
        if let Some(link) = self.links.get(&connection) {
            self.swarm.behaviour_mut().streams.tell(link.peer_id, connection, event);
        }
    }

    // ---- handshake --------------------------------------------------------------------------------------------

    fn on_said(&mut self, connection: ConnectionId, say: Say) {
        let Some(link) = self.links.get(&connection) else { return };
        let (peer, is_live) = (link.peer, matches!(link.phase, Phase::Live(_)));
        match (say, &link.phase) {
            (_, Phase::Leaving) => {}
            (Say::Hello(hello), Phase::Greeting) if link.hello.is_none() => self.on_hello(connection, hello),
            (Say::Accept(_), Phase::Greeting) if link.hello.is_some() => self.on_accept(connection),
            (Say::Refuse(refuse), Phase::Greeting) => {
                let refusal = Refusal::from_wire(&refuse, self.config());
                let address = link.place();
                if matches!(refusal, Refusal::WrongChain { .. }) {
                    self.book.forget(&peer);
                }
                self.emit_refused(Some(peer), address, false, refusal);
                self.close(connection, DownReason::Disconnected);
            }
            (Say::Ask(_), _) if is_live => self.on_ask(connection),
            (Say::Addresses(told), _) if is_live => self.on_addresses(connection, told.addresses),
            _ => self.penalize(peer, Offence::GARBAGE),
        }
    }

    fn on_hello(&mut self, connection: ConnectionId, hello: Hello) {
        if let Err(refusal) = self.judge(connection, &hello) {
            return self.refuse(connection, refusal);
        }
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.hello = Some(hello);
        if self.shared.id > link.peer {
            link.is_accepted = true;
            self.tell(connection, ToHandler::Say(Control::accept()));
        }
    }

    /// The other side accepted. The smaller id speaks last, and decides which of two connections stays.
    fn on_accept(&mut self, connection: ConnectionId) {
        let Some(link) = self.links.get(&connection) else { return };
        let Some(hello) = link.hello.clone() else { return };
        let current = self.live.get(&link.peer).copied();
        if self.shared.id < link.peer {
            let is_same_run = |other: &ConnectionId| {
                self.links.get(other).and_then(|link| link.hello.as_ref()).is_some_and(|old| old.session == hello.session)
            };
            if current.as_ref().is_some_and(is_same_run) {
                return self.refuse(connection, Refusal::Duplicate);
            }
            if let Err(refusal) = self.judge(connection, &hello) {
                return self.refuse(connection, refusal);
            }
            self.tell(connection, ToHandler::Say(Control::accept()));
        } else if !link.is_accepted {
            let peer = link.peer;
            return self.penalize(peer, Offence::GARBAGE);
        }
        if let Some(old) = current {
            self.close(old, DownReason::Replaced);
        }
        self.go_live(connection, hello);
    }

    /// Whether the other side may become a peer.
    fn judge(&self, connection: ConnectionId, hello: &Hello) -> Result<(), Refusal> {
        let config = self.config();
        if hello.protocol != PROTOCOL_VERSION {
            return Err(Refusal::WrongVersion { ours: PROTOCOL_VERSION, theirs: hello.protocol });
        }
        if hello.chain_id != config.chain_id {
            return Err(Refusal::WrongChain { ours: config.chain_id.clone(), theirs: printable(&hello.chain_id) });
        }
        let Some(link) = self.links.get(&connection) else { return Ok(()) };
        if config.is_exempt(&link.peer) || self.live.contains_key(&link.peer) {
            return Ok(()); // takes no place, or the one it has
        }
        let is_outbound = link.dialled.is_some();
        let max = if is_outbound { config.max_outbound } else { config.max_inbound };
        let takes_place = |(other, link): &(&ConnectionId, &Link)| {
            **other != connection
                && link.dialled.is_some() == is_outbound
                && (matches!(link.phase, Phase::Live(_)) || (link.is_accepted && matches!(link.phase, Phase::Greeting)))
                && !config.is_exempt(&link.peer)
        };
        if self.links.iter().filter(takes_place).count() >= max {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    fn refuse(&mut self, connection: ConnectionId, refusal: Refusal) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.phase = Phase::Leaving;
        let (peer, address) = (link.peer, link.place());
        self.tell(connection, ToHandler::Refuse(refusal.to_wire()));
        if matches!(refusal, Refusal::WrongChain { .. }) {
            self.book.forget(&peer);
        }
        self.emit_refused(Some(peer), address, true, refusal);
        self.look_at_book();
    }

    fn go_live(&mut self, connection: ConnectionId, hello: Hello) {
        self.link_count += 1;
        let Some(link) = self.links.get_mut(&connection) else { return };
        let address = match (&link.dialled, socket_of(&link.remote)) {
            (Some(dialled), _) => Some(dialled.clone()),
            (None, Some((transport, socket))) => hello.address(link.peer, socket.ip(), transport),
            (None, None) => None,
        };
        let (peer, queues) = Peer::new(PeerFacts {
            id: link.peer,
            link: self.link_count,
            moniker: printable(&hello.moniker),
            version: printable(&hello.version),
            remote: link.remote.to_string(),
            address,
            is_outbound: link.dialled.is_some(),
            is_persistent: self.shared.config.is_persistent(&link.peer),
        });
        tracing::info!(peer = %peer.id, moniker = peer.moniker, remote = peer.remote, outbound = peer.is_outbound, "peer up");
        link.phase = Phase::Live(peer.clone());
        let peer_id = link.peer_id;
        self.live.insert(peer.id, connection);
        self.shared.counters.ups.add(1);
        self.shared.insert_peer(peer.clone());
        self.outbox.push_back(Outgoing::Up { peer, peer_id, connection, queues });
        if self.config().pex && hello.pex {
            self.on_ask(connection); // told without being asked
        }
    }

    // ---- addresses --------------------------------------------------------------------------------------------

    /// Tells a peer whom we are connected with.
    fn on_ask(&mut self, connection: ConnectionId) {
        let Some(link) = self.links.get(&connection) else { return };
        let (config, asker) = (self.config(), link.peer);
        if !config.pex || !self.count_address_message(connection) {
            return;
        }
        let config = self.config();
        let mut known: Vec<_> = self
            .shared
            .peers()
            .iter()
            .filter(|peer| peer.id != asker && !config.private_ids.contains(&peer.id))
            .filter_map(|peer| peer.address.clone())
            .filter(|address| config.allow_private || address.is_public())
            .collect();
        if known.is_empty() {
            return;
        }
        let offset = self.share_offset % known.len();
        known.rotate_left(offset);
        self.share_offset = self.share_offset.wrapping_add(ADDRESSES_PER_MESSAGE_MAX);
        self.tell(connection, ToHandler::Say(Control::addresses(known.into_iter())));
    }

    fn on_addresses(&mut self, connection: ConnectionId, told: Vec<String>) {
        let Some(link) = self.links.get(&connection) else { return };
        let (source, now) = (link.peer, Instant::now());
        if !self.config().pex || !self.count_address_message(connection) {
            return;
        }
        if told.len() > ADDRESSES_PER_MESSAGE_MAX {
            return self.penalize(source, Offence::GARBAGE);
        }
        for address in told.iter().filter_map(|text| text.parse::<PeerAddress>().ok()) {
            if self.book.learn(address, source, now) && self.config().address_book.is_some() {
                self.save_at.get_or_insert(now + BOOK_SAVE_INTERVAL);
            }
        }
        self.look_at_book();
    }

    /// Counts a message of the peer exchange. False, and an offence, when there are too many.
    fn count_address_message(&mut self, connection: ConnectionId) -> bool {
        let Some(link) = self.links.get_mut(&connection) else { return false };
        let (began, count) = &mut link.address_messages;
        if began.elapsed() >= Duration::from_secs(60) {
            (*began, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count <= ADDRESS_MESSAGES_PER_MINUTE_MAX {
            return true;
        }
        let peer = link.peer;
        self.penalize(peer, Offence::FLOOD);
        false
    }

    fn look_at_book(&mut self) {
        self.dial_at = Some(Instant::now());
    }

    /// Places for peers that we dial beyond the persistent ones.
    fn outbound_room(&self) -> usize {
        if !self.config().pex {
            return 0;
        }
        let counts = |peer: &NodeId| !self.config().is_exempt(peer);
        let is_used = |link: &&Link| link.dialled.is_some() && !matches!(link.phase, Phase::Leaving) && counts(&link.peer);
        let linked = self.links.values().filter(is_used).count();
        let dialling = self.dialling.iter().filter(|peer| counts(peer)).count();
        self.config().max_outbound.saturating_sub(linked + dialling).min(DIALS_MAX.saturating_sub(dialling))
    }

    /// Does what time brings: dials, questions for addresses, saving the book.
    fn on_time(&mut self, now: Instant) {
        if self.dial_at.is_some_and(|at| at <= now) {
            let room = self.outbound_room();
            let mut busy = self.dialling.clone();
            busy.extend(self.links.values().filter(|link| !matches!(link.phase, Phase::Leaving)).map(|link| link.peer));
            let (due, mut next) = self.book.due(now, room, |id| busy.contains(id));
            if room > 0 && !self.live.is_empty() {
                if self.ask_at <= now {
                    self.ask(now);
                }
                next = Some(next.map_or(self.ask_at, |next| next.min(self.ask_at)));
            }
            self.dial_at = next;
            self.shared.counters.book_addresses.set(self.book.len() as u64);
            for address in due {
                self.dial(address);
            }
        }
        if self.save_at.is_some_and(|at| at <= now) {
            self.save_book();
        }
    }

    /// Asks one peer for addresses.
    fn ask(&mut self, now: Instant) {
        self.ask_at = now + ASK_INTERVAL;
        let likes = |connection: &&ConnectionId| {
            self.links.get(connection).and_then(|link| link.hello.as_ref()).is_some_and(|hello| hello.pex)
        };
        let connections: Vec<_> = self.live.values().filter(likes).copied().collect();
        if !connections.is_empty() {
            self.share_offset = self.share_offset.wrapping_add(1);
            self.tell(connections[self.share_offset % connections.len()], ToHandler::Say(Control::ask()));
        }
    }

    fn save_book(&mut self) {
        self.save_at = None;
        if let (Some(path), Some(json)) = (self.shared.config.address_book.clone(), self.book.to_json()) {
            if let Err(error) = book::save(&path, &json) {
                tracing::warn!(%error, path = %path.display(), "address book not saved");
            }
        }
    }

    // ---- dials ------------------------------------------------------------------------------------------------

    fn dial(&mut self, address: PeerAddress) {
        if address.id == self.shared.id {
            return self.emit_refused(Some(address.id), address.to_string(), true, Refusal::Myself);
        }
        if !self.dialling.insert(address.id) {
            return;
        }
        self.shared.counters.dials.add(1);
        let timeout = self.config().dial_timeout;
        self.resolving.push(Box::pin(async move {
            let lookup = tokio::net::lookup_host((address.host.as_str(), address.port));
            let socket = match tokio::time::timeout(timeout, lookup).await {
                Ok(Ok(mut sockets)) => sockets.next().ok_or_else(|| "the name has no address".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("looking up the name took too long".to_owned()),
            };
            (address, socket)
        }));
    }

    fn on_resolved(&mut self, address: PeerAddress, socket: Result<SocketAddr, String>) {
        let socket = match socket {
            Ok(socket) => socket,
            Err(reason) => return self.on_dial_given_up(&address, &reason),
        };
        let options = DialOpts::unknown_peer_id().address(address.transport.multiaddr(socket)).allocate_new_port().build();
        let connection = options.connection_id();
        self.swarm.behaviour_mut().streams.expect(connection, address.id);
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, address);
            }
            Err(error) => self.on_dial_given_up(&address, &error.to_string()),
        }
    }

    fn on_dial_failed(&mut self, connection: ConnectionId, error: DialError) {
        let Some(address) = self.dials.remove(&connection) else { return };
        let refusal = match &error {
            DialError::LocalPeerId { .. } => Some(Refusal::Myself),
            DialError::Denied { cause } => cause.downcast_ref::<Refusal>().cloned(),
            _ => None,
        };
        if let Some(refusal) = refusal {
            self.book.forget(&address.id);
            self.emit_refused(Some(address.id), address.to_string(), true, refusal);
        }
        self.on_dial_given_up(&address, &error.to_string());
    }

    fn on_dial_given_up(&mut self, address: &PeerAddress, reason: &str) {
        tracing::debug!(%address, reason, "dial failed");
        self.shared.counters.dial_failures.add(1);
        self.dialling.remove(&address.id);
        self.book.on_failed(&address.id);
        self.look_at_book();
    }

    // ---- ping, gossip, requests -------------------------------------------------------------------------------

    fn live_peer(&self, peer_id: &PeerId) -> Option<Arc<Peer>> {
        let connection = self.live.get(&NodeId::from_peer_id(peer_id)?)?;
        match &self.links.get(connection)?.phase {
            Phase::Live(peer) => Some(peer.clone()),
            _ => None,
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        let Some(link) = self.links.get_mut(&event.connection) else { return };
        match event.result {
            Ok(rtt) => {
                link.ping_failures = 0;
                if let Phase::Live(peer) = &link.phase {
                    peer.set_rtt(rtt);
                }
            }
            Err(_) => {
                link.ping_failures += 1;
                if link.ping_failures >= PING_FAILURES_MAX {
                    self.close(event.connection, DownReason::Silent);
                }
            }
        }
    }

    /// Gossips a batch, or keeps it until the first peer takes part in the gossip.
    fn publish(&mut self, batch: Vec<u8>) {
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

    fn on_gossip(&mut self, event: gossipsub::Event) {
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

    fn on_batch(&mut self, propagation_source: PeerId, message_id: gossipsub::MessageId, bytes: Vec<u8>) {
        let id = GossipId { message: message_id, source: propagation_source };
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

    fn report(&mut self, id: &GossipId, verdict: Verdict) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(&id.message, &id.source, verdict.acceptance());
    }

    fn on_verdict(&mut self, id: GossipId, verdict: Verdict) {
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

    fn on_requests(&mut self, event: RequestsEvent<Vec<u8>, Response>) {
        match event {
            RequestsEvent::Message { peer, message: RequestsMessage::Request { request_id, request, channel }, .. } => {
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
                    OutboundFailure::UnsupportedProtocols => RequestError::Failed("the peer answers no requests".to_owned()),
                    OutboundFailure::Io(error) => {
                        if let (std::io::ErrorKind::InvalidData, Some((peer, _))) = (error.kind(), self.asked.get(&request_id)) {
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

    fn on_request(&mut self, peer_id: PeerId, id: InboundRequestId, bytes: Vec<u8>, channel: ResponseChannel<Response>) {
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

    fn answer(&mut self, channel: ResponseChannel<Response>, response: Response) {
        // Fails when the asker has gone or the time is over: nobody waits for it then.
        let _ = self.swarm.behaviour_mut().requests.send_response(channel, response);
    }

    fn on_reply(&mut self, id: OutboundRequestId, reply: Result<Vec<u8>, RequestError>) {
        if reply.is_err() {
            self.shared.counters.requests_failed.add(1);
        }
        if let Some((_, then)) = self.asked.remove(&id) {
            then(reply);
        }
    }

    fn on_ask_peer(&mut self, peer: NodeId, request: Vec<u8>, then: OnReply) {
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
            Command::Respond(id, response) => {
                if let Some((_, channel)) = self.to_answer.remove(&id.0) {
                    let response = match response {
                        Some(bytes) if bytes.len() <= RESPONSE_BYTES_MAX => Response::Answer(bytes),
                        _ => Response::Busy,
                    };
                    self.answer(channel, response);
                }
            }
            Command::Banned(peer, reason) => self.on_banned(peer, reason),
            Command::Disconnect(peer) => {
                for connection in self.connections_of(&peer) {
                    self.close(connection, DownReason::Disconnected);
                }
            }
            Command::Dial(address) => self.dial(address),
        }
    }
}

impl Link {
    /// Where the other end is, for people.
    fn place(&self) -> String {
        self.dialled.as_ref().map_or_else(|| self.remote.to_string(), PeerAddress::to_string)
    }
}

/// Waits for a moment, or for ever without one.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
