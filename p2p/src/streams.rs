//! The direct streams of one connection: a control stream for the handshake, then one ordered stream per channel.
//!
//! Each side writes to the streams that it opened and reads from those that the other side opened. All of this runs in
//! the connection's own task: a queued message wakes this task, which writes it to the socket immediately; a received
//! message goes from this task to the consumer's queue. There is no hop through the swarm task and no further task to
//! manage: when the connection ends, all of its state is dropped with it.
//!
//! The crate libp2p-stream does not fit: it chooses a connection at random when there are two, drops an inbound stream
//! when its single slot is taken, and does not report the connection of a stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use futures::io::BufReader;
use futures::stream::FuturesUnordered;
use futures::{AsyncWriteExt, StreamExt};
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, StreamUpgradeError,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, Stream, StreamProtocol};
use prost::Message;
use tokio::sync::mpsc;

use crate::Channel;
use crate::address::socket_of;
use crate::control::{Control, Hello, Say};
use crate::denied::Denied;
use crate::events::{Event, Item};
use crate::frame::{self, FrameError, Rate};
use crate::gate::Gate;
use crate::key::node_id;
use crate::limits::*;
use crate::peer::{ConnectedPeer, LaneReceivers};
use crate::shared::Shared;

const READ_BUFFER_BYTES: usize = 16 * 1024;
const CONTROL_MESSAGES_PER_SECOND: u64 = 16;

/// Purpose of a stream. The name of the control protocol does not contain the chain, so that a peer of another chain
/// can be refused with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Control,
    Channel(Channel),
}

const PURPOSES: [(Purpose, &str); 3] = [
    (Purpose::Control, "/cairn/control/1"),
    (Purpose::Channel(Channel::Consensus), "/cairn/consensus/1"),
    (Purpose::Channel(Channel::Parts), "/cairn/parts/1"),
];

/// Protocol negotiation that determines the purpose of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Negotiate(Vec<(Purpose, &'static str)>);

impl Negotiate {
    fn any() -> Negotiate {
        Negotiate(PURPOSES.to_vec())
    }

    fn one(purpose: Purpose) -> Negotiate {
        Negotiate(PURPOSES.into_iter().filter(|(known, _)| *known == purpose).collect())
    }

    fn purpose(name: &StreamProtocol) -> Purpose {
        let known = PURPOSES.iter().find(|(_, known)| *known == name.as_ref());
        known.expect("only our names are negotiated").0
    }
}

impl UpgradeInfo for Negotiate {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        let names: Vec<_> = self.0.iter().map(|(_, name)| StreamProtocol::new(name)).collect();
        names.into_iter()
    }
}

impl InboundUpgrade<Stream> for Negotiate {
    type Output = (Stream, Purpose);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, Negotiate::purpose(&name))))
    }
}

impl OutboundUpgrade<Stream> for Negotiate {
    type Output = (Stream, Purpose);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, Negotiate::purpose(&name))))
    }
}

/// A command of the swarm task to a connection.
#[derive(Debug)]
pub(crate) enum ToHandler {
    /// Send this control frame.
    Say(Control),
    /// Send this control frame and close the connection afterwards.
    Refuse(Control),
    /// The peer's Up is on its way to the consumer: open the channels and start to read.
    Start(Arc<ConnectedPeer>, LaneReceivers),
}

/// A report of a connection to the swarm task.
#[derive(Debug)]
pub(crate) enum FromHandler {
    /// The other side sent this control frame.
    Said(Say),
    /// The connection is no longer usable. Reported once.
    Failed(StreamError),
}

/// The reason why a connection is no longer usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StreamError {
    /// A stream ended or broke.
    Lost(String),
    /// A frame was larger than its bound.
    Oversized,
    /// Bytes did not follow the protocol.
    Garbage,
    /// The handshake took too long.
    Slow,
    /// We refused the connection, and the other side has had time to read the reason.
    Refused,
}

/// Result of one job of a connection.
enum Done {
    /// A control frame was read; the reader continues with the next one.
    Said(Box<ControlReader>, Say),
    Failed(StreamError),
    /// The job ended without consequence.
    Finished,
}

type Job = futures::future::BoxFuture<'static, Done>;

/// Handler of the streams of one connection.
pub(crate) struct Handler {
    events: mpsc::Sender<Item>,
    jobs: FuturesUnordered<Job>,
    output: VecDeque<ConnectionHandlerEvent<Negotiate, (), FromHandler>>,
    /// Queue of control frames. `None` when no further frame is to be sent.
    control: Option<mpsc::Sender<Control>>,
    control_queue: Option<mpsc::Receiver<Control>>,
    is_control_read: bool,
    peer: Option<Arc<ConnectedPeer>>,
    lane_queues: [Option<mpsc::UnboundedReceiver<libp2p::bytes::Bytes>>; 2],
    /// Streams that the other side opened before the peer was accepted.
    lane_streams: [Option<Stream>; 2],
    is_lane_read: [bool; 2],
    has_failed: bool,
}

impl Handler {
    fn new(hello: Hello, events: mpsc::Sender<Item>, handshake_timeout: Duration) -> Handler {
        let (control, control_queue) = mpsc::channel(CONTROL_QUEUE_MAX);
        control.try_send(Control { say: Some(Say::Hello(hello)) }).expect("an empty queue has room");
        let jobs = FuturesUnordered::new();
        let timer: Job = Box::pin(async move {
            tokio::time::sleep(handshake_timeout).await;
            Done::Failed(StreamError::Slow)
        });
        jobs.push(timer);
        let mut handler = Handler {
            events,
            jobs,
            output: VecDeque::new(),
            control: Some(control),
            control_queue: Some(control_queue),
            is_control_read: false,
            peer: None,
            lane_queues: [None, None],
            lane_streams: [None, None],
            is_lane_read: [false; 2],
            has_failed: false,
        };
        handler.open(Purpose::Control);
        handler
    }

    fn open(&mut self, purpose: Purpose) {
        let protocol = SubstreamProtocol::new(Negotiate::one(purpose), ());
        self.output.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
    }

    fn fail(&mut self, error: StreamError) {
        if !std::mem::replace(&mut self.has_failed, true) {
            self.output.push_back(ConnectionHandlerEvent::NotifyBehaviour(FromHandler::Failed(error)));
        }
    }

    fn say(&mut self, frame: Control) {
        // If the queue is full, the peer does not read. It misses a frame, and the timer of the handshake handles the
        // rest.
        if let Some(control) = &self.control {
            let _ = control.try_send(frame);
        }
    }

    fn on_stream_opened(&mut self, stream: Stream, purpose: Purpose) {
        match purpose {
            Purpose::Control => {
                if let Some(queue) = self.control_queue.take() {
                    self.jobs.push(Box::pin(write_control(stream, queue)));
                }
            }
            Purpose::Channel(channel) => {
                if let (Some(peer), Some(queue)) = (self.peer.clone(), self.lane_queues[channel as usize].take()) {
                    self.jobs.push(Box::pin(write_lane(stream, peer, channel, queue)));
                }
            }
        }
    }

    fn on_stream_accepted(&mut self, stream: Stream, purpose: Purpose) {
        match purpose {
            Purpose::Control if !self.is_control_read => {
                self.is_control_read = true;
                self.jobs.push(Box::pin(ControlReader::new(stream).next()));
            }
            Purpose::Channel(channel) if !self.is_lane_read[channel as usize] => {
                self.is_lane_read[channel as usize] = true;
                self.lane_streams[channel as usize] = Some(stream);
                self.read_lanes();
            }
            _ => self.fail(StreamError::Garbage), // only one stream per purpose is allowed
        }
    }

    /// Starts to read the channels that the other side has opened, once the peer is accepted.
    fn read_lanes(&mut self) {
        let Some(peer) = &self.peer else { return };
        for channel in Channel::ALL {
            if let Some(stream) = self.lane_streams[channel as usize].take() {
                self.jobs.push(Box::pin(read_lane(stream, peer.clone(), channel, self.events.clone())));
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Said(reader, say) => {
                self.jobs.push(Box::pin(reader.next()));
                self.output.push_back(ConnectionHandlerEvent::NotifyBehaviour(FromHandler::Said(say)));
            }
            Done::Failed(StreamError::Slow) if self.peer.is_some() => {} // the handshake was in time
            Done::Failed(failure) => self.fail(failure),
            Done::Finished => {}
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ToHandler;
    type ToBehaviour = FromHandler;
    type InboundProtocol = Negotiate;
    type OutboundProtocol = Negotiate;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Negotiate> {
        SubstreamProtocol::new(Negotiate::any(), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true // the swarm task decides, and pings detect dead connections
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Negotiate, (), FromHandler>> {
        loop {
            if let Some(output) = self.output.pop_front() {
                return Poll::Ready(output);
            }
            match self.jobs.poll_next_unpin(cx) {
                Poll::Ready(Some(done)) => self.on_done(done),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn on_behaviour_event(&mut self, event: ToHandler) {
        match event {
            ToHandler::Say(frame) => self.say(frame),
            ToHandler::Refuse(frame) => {
                self.say(frame);
                self.control = None;
                self.jobs.push(Box::pin(async {
                    tokio::time::sleep(LINGER).await;
                    Done::Failed(StreamError::Refused)
                }));
            }
            ToHandler::Start(peer, queues) => {
                self.peer = Some(peer);
                self.lane_queues = queues.map(Some);
                for channel in Channel::ALL {
                    self.open(Purpose::Channel(channel));
                }
                self.read_lanes();
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Negotiate, Negotiate>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (stream, purpose), .. }) => {
                self.on_stream_accepted(stream, purpose);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, purpose), ..
            }) => {
                self.on_stream_opened(stream, purpose);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                let reason = match error {
                    StreamUpgradeError::NegotiationFailed => "the peer does not speak our protocol".to_owned(),
                    error => format!("a stream did not open: {error}"),
                };
                self.fail(StreamError::Lost(reason));
            }
            _ => {}
        }
    }
}

fn failure_of(error: FrameError, name: &str) -> StreamError {
    match error {
        FrameError::Closed(error) => StreamError::Lost(format!("{name} stream: {error}")),
        FrameError::Oversized { got, max } => {
            tracing::debug!(name, got, max, "frame larger than allowed");
            StreamError::Oversized
        }
    }
}

/// Reads control frames at a limited rate.
struct ControlReader {
    stream: BufReader<Stream>,
    rate: Rate,
}

impl ControlReader {
    fn new(stream: Stream) -> ControlReader {
        let rate = Rate::new(Instant::now(), CONTROL_FRAME_BYTES_MAX as u64 * 4, CONTROL_MESSAGES_PER_SECOND);
        ControlReader { stream: BufReader::with_capacity(1024, stream), rate }
    }

    async fn next(mut self) -> Done {
        let bytes = match frame::read(&mut self.stream, CONTROL_FRAME_BYTES_MAX).await {
            Ok(bytes) => bytes,
            Err(error) => return Done::Failed(failure_of(error, "control")),
        };
        tokio::time::sleep(self.rate.pay(Instant::now(), bytes.len())).await;
        match Control::decode(bytes.as_slice()) {
            Ok(Control { say: Some(say) }) => Done::Said(Box::new(self), say),
            _ => Done::Failed(StreamError::Garbage),
        }
    }
}

/// Writes control frames until the queue ends, then closes the stream.
async fn write_control(mut stream: Stream, mut queue: mpsc::Receiver<Control>) -> Done {
    let written: std::io::Result<()> = async {
        while let Some(frame) = queue.recv().await {
            let mut bytes = Vec::new();
            frame::append(&mut bytes, &frame.encode_to_vec());
            stream.write_all(&bytes).await?;
            stream.flush().await?;
        }
        stream.close().await
    }
    .await;
    match written {
        Ok(()) => Done::Finished,
        Err(error) => Done::Failed(StreamError::Lost(format!("control stream: {error}"))),
    }
}

/// Writes the messages of a channel; messages that queued up meanwhile are combined into one write.
async fn write_lane(
    mut stream: Stream,
    peer: Arc<ConnectedPeer>,
    channel: Channel,
    mut queue: mpsc::UnboundedReceiver<libp2p::bytes::Bytes>,
) -> Done {
    let mut batch = Vec::new();
    let written: std::io::Result<()> = async {
        while let Some(first) = queue.recv().await {
            let (mut messages, mut bytes, mut next) = (0, 0, Some(first));
            while let Some(message) = next {
                frame::append(&mut batch, &message);
                messages += 1;
                bytes += message.len();
                next = if batch.len() < WRITE_BATCH_BYTES { queue.try_recv().ok() } else { None };
            }
            stream.write_all(&batch).await?;
            stream.flush().await?;
            peer.lane(channel).on_written(messages, bytes);
            batch.clear();
            batch.shrink_to(2 * WRITE_BATCH_BYTES); // release the memory of a large message
        }
        Ok(())
    }
    .await;
    match written {
        Ok(()) => Done::Finished,
        Err(error) => Done::Failed(StreamError::Lost(format!("{} stream: {error}", channel.name()))),
    }
}

/// Reads the messages of a channel and passes them to the consumer, no faster than the consumer takes them.
async fn read_lane(stream: Stream, peer: Arc<ConnectedPeer>, channel: Channel, events: mpsc::Sender<Item>) -> Done {
    let mut stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
    let mut rate = Rate::new(Instant::now(), RATE_BYTES_PER_SECOND, RATE_MESSAGES_PER_SECOND);
    loop {
        let bytes = match frame::read(&mut stream, channel.bytes_max()).await {
            Ok(bytes) => bytes,
            Err(error) => return Done::Failed(failure_of(error, channel.name())),
        };
        let (received, length) = (SystemTime::now(), bytes.len());
        peer.lane(channel).on_read(length);
        let permit = peer.quota.clone().acquire_many_owned(length as u32).await.ok();
        let event = Event::Message { peer: peer.id, channel, bytes, received };
        let Ok(slot) = events.reserve().await else {
            return Done::Failed(StreamError::Lost("the receiver of its messages has ended".to_owned()));
        };
        slot.send(Item { event, link: peer.link, _permit: permit });
        let wait = rate.pay(Instant::now(), length);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// The libp2p behaviour that manages the direct streams of all connections.
pub(crate) struct Streams {
    shared: Arc<Shared>,
    hello: Hello,
    events: mpsc::Sender<Item>,
    gate: Gate,
    queue: VecDeque<ToSwarm<StreamsEvent, ToHandler>>,
    waker: Option<Waker>,
    /// True while the consumer is too far behind to accept more connections.
    pub(crate) is_closed: bool,
}

/// A report of one connection's handler.
#[derive(Debug)]
pub(crate) struct StreamsEvent {
    pub(crate) connection: ConnectionId,
    pub(crate) what: FromHandler,
}

impl Streams {
    pub(crate) fn new(shared: Arc<Shared>, events: mpsc::Sender<Item>, session: u64) -> Streams {
        let hello = Hello::ours(&shared.config, session, 0);
        Streams { shared, hello, events, gate: Gate::new(), queue: VecDeque::new(), waker: None, is_closed: false }
    }

    /// Sets the port that the hello announces, once it is known.
    pub(crate) fn set_port(&mut self, port: u16) {
        self.hello.port = port.into();
    }

    /// Announces a dial; only announced dials are admitted.
    pub(crate) fn expect(&mut self, connection: ConnectionId) {
        self.gate.expect(connection);
    }

    /// Sends a command to a connection's handler.
    pub(crate) fn notify(&mut self, peer_id: PeerId, connection: ConnectionId, event: ToHandler) {
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&self) -> Handler {
        Handler::new(self.hello.clone(), self.events.clone(), self.shared.config.handshake_timeout)
    }

    fn denied(&self, denied: Denied) -> ConnectionDenied {
        self.shared.counters.denied.add(1);
        self.shared.counters.denials[denied as usize].add(1);
        ConnectionDenied::new(denied)
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = StreamsEvent;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if self.is_closed {
            return Err(self.denied(Denied::TooMany));
        }
        let ip = socket_of(remote).map(|(_, socket)| socket.ip());
        self.gate.admit_pending(connection, ip, &self.shared.config).map_err(|denied| self.denied(denied))
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let ip = socket_of(remote).map(|(_, socket)| socket.ip());
        let id = node_id(&peer).ok_or_else(|| self.denied(Denied::WrongKey))?;
        self.gate.admit_inbound(connection, id, ip, &self.shared).map_err(|denied| self.denied(denied))?;
        Ok(self.handler())
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        match self.gate.is_expected(&connection) {
            true => Ok(Vec::new()),
            false => Err(ConnectionDenied::new(Denied::NotDialled)), // another behaviour dialled
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let ip = socket_of(remote).map(|(_, socket)| socket.ip());
        let id = node_id(&peer).ok_or_else(|| self.denied(Denied::WrongKey))?;
        self.gate.admit_outbound(connection, id, ip, &self.shared).map_err(|denied| self.denied(denied))?;
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.gate.forget(&closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.gate.forget(&failure.connection_id),
            FromSwarm::DialFailure(failure) => self.gate.forget(&failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, connection: ConnectionId, what: THandlerOutEvent<Self>) {
        self.queue.push_back(ToSwarm::GenerateEvent(StreamsEvent { connection, what }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<StreamsEvent, THandlerInEvent<Self>>> {
        match self.queue.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
