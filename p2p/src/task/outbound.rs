//! Outbound connections: the peer exchange and the dials.

use std::time::{Duration, Instant};

use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError};

use super::{Link, Phase, Resolved, Task};
use crate::control::{Control, Refusal};
use crate::limits::*;
use crate::range::{self, Reach};
use crate::score::Penalty;
use crate::streams::ToHandler;
use crate::{NodeId, PeerAddress};

/// Returns the key of the log notice about an address that cannot be reached.
pub(super) fn dial_notice(address: &PeerAddress) -> String {
    format!("dial {address}")
}

impl Task {
    /// Sends addresses of our connected peers to a peer.
    pub(super) fn on_ask(&mut self, connection: ConnectionId) {
        let Some(link) = self.links.get(&connection) else { return };
        let (config, asker, link_ip) = (self.config(), link.peer, link.ip());
        if !config.pex || !self.count_address_message(connection) {
            return;
        }
        // A public peer cannot use private addresses, and should not learn them.
        let of_asker = link_ip.and_then(range::reach);
        let config = self.config();
        let reach_min = of_asker.filter(|_| config.allow_private).unwrap_or(Reach::Public);
        let mut known: Vec<_> = self
            .shared
            .peers()
            .iter()
            .filter(|peer| peer.id != asker && !config.private_ids.contains(&peer.id))
            .filter_map(|peer| peer.address.clone())
            .filter(|address| address.reach().is_some_and(|reach| reach >= reach_min))
            .collect();
        if known.is_empty() {
            return;
        }
        let offset = self.share_offset % known.len();
        known.rotate_left(offset);
        self.share_offset = self.share_offset.wrapping_add(ADDRESSES_PER_MESSAGE_MAX);
        self.notify_handler(connection, ToHandler::Say(Control::addresses(known.into_iter())));
    }

    pub(super) fn on_addresses(&mut self, connection: ConnectionId, received: Vec<String>) {
        let Some(link) = self.links.get(&connection) else { return };
        let (source, ip, now) = (link.peer, link.ip(), Instant::now());
        if !self.config().pex || !self.count_address_message(connection) {
            return;
        }
        if received.len() > ADDRESSES_PER_MESSAGE_MAX {
            return self.penalize(source, Penalty::GARBAGE);
        }
        let Some(ip) = ip else { return };
        for address in received.iter().filter_map(|text| text.parse::<PeerAddress>().ok()) {
            if self.book.learn(address, ip, now) && self.config().address_book.is_some() {
                self.save_at.get_or_insert(now + BOOK_SAVE_INTERVAL);
            }
        }
        self.look_at_book();
    }

    /// Counts a message of the peer exchange. Returns false, and adds a penalty, if there are too many.
    pub(super) fn count_address_message(&mut self, connection: ConnectionId) -> bool {
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
        self.penalize(peer, Penalty::FLOOD);
        false
    }

    pub(super) fn look_at_book(&mut self) {
        self.dial_at = Some(Instant::now());
    }

    /// Returns the number of dials that may start to peers other than the persistent ones.
    pub(super) fn outbound_room(&self) -> usize {
        if !self.config().pex {
            return 0;
        }
        let counts = |peer: &NodeId| !self.config().is_exempt(peer);
        let is_used =
            |link: &&Link| link.dialled.is_some() && !matches!(link.phase, Phase::Leaving) && counts(&link.peer);
        let linked = self.links.values().filter(is_used).count();
        let dialling = self.dialling.iter().filter(|peer| counts(peer)).count();
        self.config().max_outbound.saturating_sub(linked + dialling).min(DIALS_MAX.saturating_sub(dialling))
    }

    /// Performs what is due by now: dials, requests for addresses, waiting requests, and saving the book.
    pub(super) fn on_time(&mut self, now: Instant) {
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
                self.dial(address, true);
            }
        }
        if self.answer_at.is_some_and(|at| at <= now) {
            self.give_requests(now);
        }
        if self.save_at.is_some_and(|at| at <= now) {
            self.save_book();
        }
    }

    /// Asks one peer for addresses.
    pub(super) fn ask(&mut self, now: Instant) {
        self.ask_at = now + ASK_INTERVAL;
        let likes = |connection: &&ConnectionId| {
            self.links.get(connection).and_then(|link| link.hello.as_ref()).is_some_and(|hello| hello.pex)
        };
        let connections: Vec<_> = self.live.values().filter(likes).copied().collect();
        if !connections.is_empty() {
            self.share_offset = self.share_offset.wrapping_add(1);
            self.notify_handler(connections[self.share_offset % connections.len()], ToHandler::Say(Control::ask()));
        }
    }

    pub(super) fn save_book(&mut self) {
        self.save_at = None;
        let Some(path) = &self.shared.config.address_book else { return };
        if let Err(error) = self.book.save(path) {
            tracing::warn!(%error, path = %path.display(), "address book not saved");
        }
    }

    pub(super) fn dial(&mut self, address: PeerAddress, from_book: bool) {
        if address.id == self.shared.id {
            return self.emit_refused(Some(address.id), address.to_string(), true, Refusal::Myself);
        }
        if !self.dialling.insert(address.id) {
            return;
        }
        self.shared.counters.dials.add(1);
        // If a name has several addresses, successive dials use them in turn.
        let (timeout, turn) = (self.config().dial_timeout, self.shared.counters.dials.get() as usize);
        self.resolving.push(Box::pin(async move {
            let lookup = tokio::net::lookup_host((address.host.as_str(), address.port));
            let socket = match tokio::time::timeout(timeout, lookup).await {
                Ok(Ok(sockets)) => {
                    let sockets: Vec<_> = sockets.collect();
                    let socket = sockets.get(turn % sockets.len().max(1)).copied();
                    socket.ok_or_else(|| "the name has no address".to_owned())
                }
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("looking up the name took too long".to_owned()),
            };
            Resolved { address, from_book, socket }
        }));
    }

    pub(super) fn on_resolved(&mut self, Resolved { address, from_book, socket }: Resolved) {
        let socket = match socket {
            Ok(socket) => socket,
            Err(reason) => return self.on_dial_given_up(&address, &reason),
        };
        let ip = socket.ip();
        let allowed = if self.shared.is_banned(&address.id, Some(ip)) {
            Err("it is banned")
        } else if from_book {
            self.book.may_dial(&address.id, ip, Instant::now())
        } else {
            Ok(())
        };
        if let Err(reason) = allowed {
            self.shared.counters.dials_refused.add(1);
            return self.on_dial_given_up(&address, reason);
        }
        let options =
            DialOpts::unknown_peer_id().address(address.transport.multiaddr(socket)).allocate_new_port().build();
        let connection = options.connection_id();
        self.swarm.behaviour_mut().streams.expect(connection);
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, address);
            }
            Err(error) => self.on_dial_failed(address, error),
        }
    }

    pub(super) fn on_dial_failed(&mut self, address: PeerAddress, error: DialError) {
        let refusal = match &error {
            // We passed one address; the swarm removes addresses that it listens on itself.
            DialError::LocalPeerId { .. } | DialError::NoAddresses => Some(Refusal::Myself),
            _ => None,
        };
        if let Some(refusal) = refusal {
            self.book.forget(&address.id);
            self.emit_refused(Some(address.id), address.to_string(), true, refusal);
        }
        self.on_dial_given_up(&address, &error.to_string());
    }

    pub(super) fn on_dial_given_up(&mut self, address: &PeerAddress, reason: &str) {
        tracing::debug!(%address, reason, "dial failed");
        self.shared.counters.dial_failures.add(1);
        self.dialling.remove(&address.id);
        let now = Instant::now();
        if let Some(lasts) = self.book.on_failed(&address.id, now)
            && lasts >= UNREACHABLE_LOGGED_AFTER
            && let Some(passed_over) = self.notices.is_due(now, dial_notice(address))
        {
            tracing::warn!(
                %address, reason, for_s = lasts.as_secs(), passed_over,
                "a configured peer cannot be reached; check its host and port, and that it runs. The node keeps dialling it"
            );
        }
        self.look_at_book();
    }
}
