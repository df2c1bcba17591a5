//! Start of the network: from the settings to a running swarm task.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use files::NodeKey;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p::core::transport::ListenerId;
use libp2p::identity::Keypair;
use libp2p::swarm::{Swarm, SwarmEvent};
use libp2p::{identify, ping};
use tokio::sync::mpsc;

use super::{Command, Protocols, ProtocolsEvent, Task};
use crate::address::socket_of;
use crate::book::Book;
use crate::error::Error;
use crate::events::Item;
use crate::key::keypair;
use crate::limits::ASK_INTERVAL;
use crate::notices::Notices;
use crate::shared::Shared;
use crate::streams::Streams;
use crate::transport::{self, Tasks};
use crate::{Transport, gossip, requests};

/// Maximum number of ports to try if the system chooses the port.
const LISTEN_ATTEMPTS_MAX: u32 = 16;

/// Sets up the swarm, listens, and runs the task on the current runtime.
///
/// Errors: [`Error::Listen`] if a socket cannot be bound, [`Error::Transport`] if the gossip or the transport rejects
/// its configuration.
pub(crate) async fn spawn(
    shared: Arc<Shared>,
    key: &NodeKey,
    socket: SocketAddr,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Item>,
) -> Result<(), Error> {
    let (keys, config, now) = (keypair(key), &shared.config, Instant::now());
    let random = RandomState::new();
    let (session, salt) = (random.hash_one(0), random.hash_one(1));
    let book = open_book(&shared, now, salt);
    let protocols = protocols(&shared, &keys, events.clone(), session)?;
    let tasks = Tasks::new();
    let transport = transport::build(&keys, config.quic, config.dial_timeout).map_err(Error::Transport)?;
    let swarm_config = libp2p::swarm::Config::with_executor(tasks.executor()).with_per_connection_event_buffer_size(64);
    let mut swarm = Swarm::new(transport, protocols, keys.public().to_peer_id(), swarm_config);

    let mut early = Vec::new();
    let socket = listen_on_all(&mut swarm, socket, config.quic, &mut early).await?;
    swarm.behaviour_mut().streams.set_port(socket.port());
    tracing::info!(id = %shared.id, %socket, quic = config.quic, "listening for peers");
    let transports = [Transport::Tcp, Transport::Quic].into_iter().take(if config.quic { 2 } else { 1 });
    shared.listening.set(transports.map(|transport| (transport, socket)).collect()).expect("started once");

    let stop = shared.stop.subscribe();
    let mut task = Task::new(shared, swarm, events, book, now, salt);
    tokio::spawn(async move {
        let _ended = Ended(task.shared.clone());
        for event in early {
            task.on_swarm_event(event);
        }
        task.run(commands, stop).await;
        task.leave().await;
        drop(task); // drops the swarm, and with it the executor
        tasks.stop().await;
    });
    Ok(())
}

/// Returns the address book with the addresses of its file. A file that cannot be read is set aside.
fn open_book(shared: &Shared, now: Instant, salt: u64) -> Book {
    let mut book = Book::new(shared.id, &shared.config, now, salt);
    if let Some(path) = &shared.config.address_book
        && let Err(error) = book.load(path, now)
    {
        let aside = path.with_extension("json.unreadable");
        match std::fs::rename(path, &aside) {
            Ok(()) => tracing::warn!(
                file = %path.display(), reason = %error, set_aside = %aside.display(),
                "the address book is unreadable; it was renamed, and a new one is written with the addresses that peers send"
            ),
            Err(not_renamed) => tracing::warn!(
                file = %path.display(), reason = %error, %not_renamed,
                "the address book is unreadable and cannot be renamed; it will be replaced by a new one with the addresses that \
                 peers send, if its folder can be written"
            ),
        }
    }
    book
}

/// Returns the protocols that each connection speaks.
///
/// Errors: [`Error::Transport`] if the gossip rejects its configuration.
fn protocols(
    shared: &Arc<Shared>,
    keys: &Keypair,
    events: mpsc::Sender<Item>,
    session: u64,
) -> Result<Protocols, Error> {
    let config = &shared.config;
    let agent = format!("cairn/{}", config.version);
    Ok(Protocols {
        streams: Streams::new(shared.clone(), events, session),
        gossip: gossip::behaviour(&config.chain_id).map_err(Error::Transport)?,
        requests: requests::behaviour(&config.chain_id, config.request_timeout),
        identify: identify::Behaviour::new(
            identify::Config::new("/cairn/1".into(), keys.public()).with_agent_version(agent).with_cache_size(0),
        ),
        ping: ping::Behaviour::new(
            ping::Config::new().with_interval(config.ping_interval).with_timeout(config.ping_timeout),
        ),
    })
}

impl Task {
    /// Creates the task of a swarm that listens and has no connection yet.
    fn new(
        shared: Arc<Shared>,
        swarm: Swarm<Protocols>,
        events: mpsc::Sender<Item>,
        book: Book,
        now: Instant,
        salt: u64,
    ) -> Self {
        Self {
            topic: gossip::topic(&shared.config.chain_id).hash(),
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
            answer_at: None,
            proven: BTreeMap::new(),
            notices: Notices::new(now),
            unsent: VecDeque::new(),
            unsent_bytes: 0,
        }
    }
}

/// Reports that the task has ended, even if it panicked.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

/// Listens on the TCP port and, if `with_quic` is set, on the UDP port of the same number. Port 0: the system chooses.
///
/// Errors: [`Error::Listen`] if a socket cannot be bound.
async fn listen_on_all(
    swarm: &mut Swarm<Protocols>,
    socket: SocketAddr,
    with_quic: bool,
    early: &mut Vec<SwarmEvent<ProtocolsEvent>>,
) -> Result<SocketAddr, Error> {
    if socket.port() != 0 {
        // libp2p lets sockets share a port, so two nodes could use the same one. A plain bind detects this first.
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
            // The port that the system chose for TCP may be in use for UDP.
            Err(_) if socket.port() == 0 && attempts < LISTEN_ATTEMPTS_MAX => swarm.remove_listener(tcp),
            Err(error) => return Err(error),
        };
    }
}

/// Listens and waits until the system has chosen the port. Other events that occur meanwhile are added to `early`.
///
/// Errors: [`Error::Listen`] if the socket cannot be bound or the listener closes.
async fn listen(
    swarm: &mut Swarm<Protocols>,
    transport: Transport,
    socket: SocketAddr,
    early: &mut Vec<SwarmEvent<ProtocolsEvent>>,
) -> Result<(ListenerId, u16), Error> {
    let failed = |source| Error::Listen { address: format!("{socket} ({transport:?})"), source };
    let listener =
        swarm.listen_on(transport.multiaddr(socket)).map_err(|error| failed(transport::listen_error(error)))?;
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
