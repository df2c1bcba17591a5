//! The handle through which other threads use the network, at any time and without waiting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use files::NodeKey;
use libp2p::bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::error::Error;
use crate::events::{Events, Item};
use crate::gossip::{GossipId, Verdict};
use crate::limits::*;
use crate::requests::{OnReply, Reply, RequestError, RequestId};
use crate::score::Penalty;
use crate::shared::Shared;
use crate::stats::Stats;
use crate::task::Command;
use crate::task::start::spawn;
use crate::{Channel, NodeId, PeerAddress, PeerInfo, Transport};

/// Starts the network on the current tokio runtime. When this function returns, the network listens.
///
/// The network ends with [`Network::shutdown`], or when all handles or the events are dropped.
///
/// Errors: [`Error::Config`] if a setting cannot work, [`Error::Listen`] if the socket cannot be bound,
/// [`Error::Transport`] if the gossip or the transport rejects its configuration.
pub async fn start(config: Config, key: NodeKey) -> Result<(Network, Events), Error> {
    let socket = config.validate()?;
    let shared = Arc::new(Shared::new(key.id(), config));
    let (commands, command_receiver) = mpsc::channel(COMMAND_QUEUE_MAX);
    let (events, event_receiver) = mpsc::channel(EVENT_QUEUE_MAX);
    let events_weak = events.downgrade();
    spawn(shared.clone(), &key, socket, command_receiver, events).await?;
    let network = Network { shared, commands, events: events_weak, runtime: tokio::runtime::Handle::current() };
    Ok((network, Events::new(event_receiver)))
}

/// Handle of the network. It is cheap to clone; every method may be called from any thread, and none waits unless its
/// text says so.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    events: mpsc::WeakSender<Item>,
    runtime: tokio::runtime::Handle,
}

impl Network {
    /// Returns the id of this node.
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// Returns the sockets that the network listens on, with the ports that the system chose.
    pub fn listening(&self) -> &[(Transport, SocketAddr)] {
        self.shared.listening.get().map_or(&[], Vec::as_slice)
    }

    /// Queues a message for one peer. Returns false, and counts the drop, if the peer is not connected, its queue is
    /// full, or the message is larger than [`Channel::bytes_max`]. Messages of one channel arrive in order.
    pub fn send(&self, peer: NodeId, channel: Channel, message: impl Into<Bytes>) -> bool {
        let message = message.into();
        let sent = message.len() <= channel.bytes_max()
            && self.shared.peer(&peer).is_some_and(|peer| peer.lane(channel).push(message));
        if !sent {
            self.shared.counters.sends_dropped.add(1);
        }
        sent
    }

    /// Queues a message for every connected peer; the bytes are shared. Returns the number of peers for which it was
    /// queued.
    pub fn broadcast(&self, channel: Channel, message: impl Into<Bytes>) -> usize {
        let message = message.into();
        let peers = self.shared.peers();
        let is_allowed = message.len() <= channel.bytes_max();
        let sent = peers.iter().filter(|peer| is_allowed && peer.lane(channel).push(message.clone())).count();
        self.shared.counters.sends_dropped.add((peers.len() - sent) as u64);
        sent
    }

    /// Gossips a batch of transactions. Returns false if it is larger than [`GOSSIP_BYTES_MAX`] or a queue is full.
    /// Without peers, the batch waits for the first one ([`UNSENT_BYTES_MAX`]). It does not come back as an event.
    pub fn publish(&self, batch: Vec<u8>) -> bool {
        let (queued, bytes) = (&self.shared.publish_queued_bytes, batch.len());
        let before = queued.fetch_add(bytes, Ordering::Relaxed);
        let fits = bytes <= GOSSIP_BYTES_MAX && before + bytes <= PUBLISH_QUEUE_BYTES_MAX;
        if fits && self.command(Command::Publish(batch)).is_ok() {
            return true;
        }
        queued.fetch_sub(bytes, Ordering::Relaxed);
        self.shared.counters.gossip_publish_refused.add(1);
        false
    }

    /// Reports the decision about a gossiped batch. `Reject` also penalises its forwarder with [`Penalty::BAD_GOSSIP`].
    pub fn verdict(&self, id: GossipId, verdict: Verdict) {
        let _ = self.command(Command::Verdict(id, verdict));
    }

    /// Sends a request to a peer. Await the reply, or call [`Reply::wait`] on a plain thread.
    pub fn request(&self, peer: NodeId, request: impl Into<Vec<u8>>) -> Reply {
        let (sender, receiver) = oneshot::channel();
        self.request_then(peer, request, move |reply| {
            let _ = sender.send(reply); // fails only if the caller dropped the reply
        });
        Reply(receiver)
    }

    /// Sends a request to a peer and passes the answer to a function, which runs on the network's thread and must not
    /// block. The function is called exactly once, unless the network ends before.
    pub fn request_then(
        &self,
        peer: NodeId,
        request: impl Into<Vec<u8>>,
        then: impl FnOnce(Result<Vec<u8>, RequestError>) + Send + 'static,
    ) {
        let (request, then): (Vec<u8>, OnReply) = (request.into(), Box::new(then));
        if request.len() > REQUEST_BYTES_MAX {
            return then(Err(RequestError::TooLarge { got: request.len(), max: REQUEST_BYTES_MAX }));
        }
        if let Err(Command::Request { then, .. }) = self.command(Command::Request { peer, request, then }) {
            then(Err(RequestError::Closed));
        }
    }

    /// Answers a request. After a late answer, the requester has timed out. If the answer is larger than
    /// [`RESPONSE_BYTES_MAX`] or exceeds the bytes that may wait to be written, the requester receives "busy".
    pub fn respond(&self, id: RequestId, response: impl Into<Vec<u8>>) {
        let _ = self.command(Command::Respond(id, Some(response.into())));
    }

    /// Answers a request with "busy": this node is overloaded or does not have the requested data.
    pub fn decline(&self, id: RequestId) {
        let _ = self.command(Command::Respond(id, None));
    }

    /// Returns true if a peer is banned by its id: what it sent before counts for nothing any more.
    pub fn is_banned(&self, peer: &NodeId) -> bool {
        self.shared.banned_until(peer).is_some()
    }

    /// Adds a penalty of a peer. If their sum reaches the limit, the peer is disconnected and banned for a time. A peer that is
    /// banned already gets none.
    pub fn penalize(&self, peer: NodeId, penalty: Penalty) {
        if self.shared.penalize(peer, penalty) {
            let _ = self.command(Command::Banned(peer, penalty.reason));
        }
    }

    /// Marks a peer as proven: it delivered something useful that cannot be forged, such as a vote signed by a
    /// validator. Proven peers have priority over unproven ones for places and for transactions.
    pub fn prove(&self, peer: NodeId) {
        if self.shared.peer(&peer).is_some_and(|peer| peer.prove()) {
            let _ = self.command(Command::Proven(peer)); // if lost, it proves itself again after a reconnect
        }
    }

    /// Ends the connection with a peer. The peer may connect again, as persistent peers do.
    pub fn disconnect(&self, peer: NodeId) {
        let _ = self.command(Command::Disconnect(peer));
    }

    /// Dials an address once, now. A new peer or a refusal is reported as an event; other failures are only counted.
    pub fn dial(&self, address: PeerAddress) {
        let _ = self.command(Command::Dial(address));
    }

    /// Returns the connected peers, ordered by id.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared.peers().iter().map(|peer| peer.info(self.shared.penalties(&peer.id))).collect()
    }

    /// Returns the ids of the connected peers, in order.
    pub fn peer_ids(&self) -> Vec<NodeId> {
        self.shared.peers().iter().map(|peer| peer.id).collect()
    }

    /// Returns a snapshot of the counters, for dashboards.
    pub fn stats(&self) -> Stats {
        let peers = self.shared.peers();
        let outbound = peers.iter().filter(|peer| peer.is_outbound).count();
        let queued = self.events.upgrade().map_or(0, |events| events.max_capacity() - events.capacity());
        let (banned, banned_ranges) = {
            let (scores, now) = (self.shared.scores(), Instant::now());
            (scores.banned_count(now), scores.banned_range_count(now))
        };
        Stats {
            peers_inbound: (peers.len() - outbound) as u64,
            peers_outbound: outbound as u64,
            banned: banned as u64,
            banned_ranges: banned_ranges as u64,
            events_queued: queued as u64,
            ..self.shared.counters.snapshot()
        }
    }

    /// Starts the shutdown: the connections close, then the tasks and the events end.
    pub fn shutdown(&self) {
        self.shared.stop.send_replace(true);
    }

    /// Waits until the network has ended, with no task and no socket left.
    pub async fn ended(&self) {
        // An error is possible only if the sender has been dropped, and this handle holds it.
        let _ = self.shared.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Calls [`Network::shutdown`] and waits on a plain thread until the network has ended. Panics inside an async
    /// task.
    pub fn shutdown_and_join(&self) {
        self.shutdown();
        self.runtime.block_on(self.ended());
    }

    /// Queues a command for the swarm task.
    ///
    /// Errors: the command itself, if the queue is full or the task has ended.
    fn command(&self, command: Command) -> Result<(), Command> {
        self.commands.try_send(command).map_err(|error| {
            self.shared.counters.commands_refused.add(1);
            match error {
                mpsc::error::TrySendError::Full(command) | mpsc::error::TrySendError::Closed(command) => command,
            }
        })
    }
}
