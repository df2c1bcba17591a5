//! The handshake that turns a connection into a peer: hello, accept or refuse. The crate's documentation gives the
//! order.

use std::time::Instant;

use libp2p::swarm::ConnectionId;

use super::outbound::dial_notice;
use super::{Link, Outgoing, Phase, Task};
use crate::address::socket_of;
use crate::control::{Control, Hello, PROTOCOL_VERSION, Refusal, Say, hex, printable};
use crate::events::DownReason;
use crate::limits::*;
use crate::peer::{ConnectedPeer, PeerFacts};
use crate::score::Penalty;
use crate::streams::ToHandler;

impl Task {
    pub(super) fn on_said(&mut self, connection: ConnectionId, say: Say) {
        let Some(link) = self.links.get(&connection) else { return };
        let (peer, is_live) = (link.peer, matches!(link.phase, Phase::Live(_)));
        match (say, &link.phase) {
            (_, Phase::Leaving) => {}
            (Say::Hello(hello), Phase::Greeting) if link.hello.is_none() => self.on_hello(connection, hello),
            (Say::Accept(_), Phase::Greeting) if link.hello.is_some() => self.on_accept(connection),
            (Say::Refuse(refuse), Phase::Greeting) => {
                let refusal = Refusal::from_wire(&refuse, self.config(), self.shared.id);
                let address = link.place();
                if refusal.is_lasting() {
                    self.book.forget(&peer);
                }
                self.emit_refused(Some(peer), address, false, refusal);
                self.close(connection, DownReason::Disconnected);
            }
            (Say::Ask(_), _) if is_live => self.on_ask(connection),
            (Say::Addresses(received), _) if is_live => self.on_addresses(connection, received.addresses),
            _ => self.penalize(peer, Penalty::GARBAGE),
        }
    }

    pub(super) fn on_hello(&mut self, connection: ConnectionId, hello: Hello) {
        if let Err(refusal) = self.judge(connection, &hello).and_then(|()| self.judge_key(connection, &hello)) {
            return self.refuse(connection, refusal);
        }
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.hello = Some(hello);
        if self.shared.id > link.peer {
            link.is_accepted = true;
            self.notify_handler(connection, ToHandler::Say(Control::accept()));
        }
    }

    /// Handles the acceptance by the other side. The smaller id answers last, and decides which of two connections
    /// stays.
    pub(super) fn on_accept(&mut self, connection: ConnectionId) {
        let Some(link) = self.links.get(&connection) else { return };
        let Some(hello) = link.hello.clone() else { return };
        let current = self.live.get(&link.peer).copied();
        if self.shared.id < link.peer {
            let is_same_run = |old: &Link| old.hello.as_ref().is_some_and(|old| old.session == hello.session);
            if current
                .and_then(|current| self.links.get(&current))
                .is_some_and(|old| is_same_run(old) && self.is_alive(old))
            {
                return self.refuse(connection, Refusal::Duplicate);
            }
            if let Err(refusal) = self.judge(connection, &hello).and_then(|()| self.judge_key(connection, &hello)) {
                return self.refuse(connection, refusal);
            }
            self.notify_handler(connection, ToHandler::Say(Control::accept()));
        } else if !link.is_accepted {
            let peer = link.peer;
            return self.penalize(peer, Penalty::GARBAGE);
        }
        if let Some(old) = current {
            self.close(old, DownReason::Replaced);
        }
        self.go_live(connection, hello);
    }

    /// Returns true if an old connection is still alive. A connection that was silent for two ping intervals may be
    /// dead without our knowledge: otherwise the peer would not connect again.
    fn is_alive(&self, old: &Link) -> bool {
        old.heard_at.elapsed() < 2 * self.config().ping_interval
    }

    /// Checks that the node is the known owner of its key: a restarted node comes back at the same address.
    ///
    /// Errors: [`Refusal::SameKey`] if a live connection of another run and another address has this key.
    fn judge_key(&self, connection: ConnectionId, hello: &Hello) -> Result<(), Refusal> {
        let Some(new) = self.links.get(&connection) else { return Ok(()) };
        let current = self.live.get(&new.peer).and_then(|current| self.links.get(current));
        let Some((old, Some(known))) = current.map(|old| (old, old.hello.as_ref())) else { return Ok(()) };
        let is_elsewhere = old.ip() != new.ip() || (&known.external, known.port) != (&hello.external, hello.port);
        if known.session != hello.session && is_elsewhere && self.is_alive(old) {
            return Err(Refusal::SameKey { id: new.peer, known: old.place() });
        }
        Ok(())
    }

    /// Checks whether the other side may become a peer.
    ///
    /// Errors: the [`Refusal`] for another protocol version, chain or genesis document, or if no place is free.
    pub(super) fn judge(&self, connection: ConnectionId, hello: &Hello) -> Result<(), Refusal> {
        let config = self.config();
        if hello.protocol != PROTOCOL_VERSION {
            return Err(Refusal::WrongVersion { ours: PROTOCOL_VERSION, theirs: hello.protocol });
        }
        if hello.chain_id != config.chain_id {
            return Err(Refusal::WrongChain { ours: config.chain_id.clone(), theirs: printable(&hello.chain_id) });
        }
        if hello.genesis_hash != config.genesis_hash {
            return Err(Refusal::WrongGenesis { ours: hex(&config.genesis_hash), theirs: hex(&hello.genesis_hash) });
        }
        let Some(link) = self.links.get(&connection) else { return Ok(()) };
        if config.is_exempt(&link.peer) || self.live.contains_key(&link.peer) {
            return Ok(()); // needs no place, or already has one
        }
        let is_outbound = link.dialled.is_some();
        let is_unproven = self.is_unproven(link);
        let max = match (is_outbound, is_unproven) {
            (true, _) => config.max_outbound,
            (false, true) => config.max_inbound - config.max_inbound / PROVEN_SHARE,
            (false, false) => config.max_inbound,
        };
        let takes_place = |(other, link): &(&ConnectionId, &Link)| {
            **other != connection
                && link.dialled.is_some() == is_outbound
                && (matches!(link.phase, Phase::Live(_)) || (link.is_accepted && matches!(link.phase, Phase::Greeting)))
                && !config.is_exempt(&link.peer)
        };
        let others = || self.links.iter().filter(takes_place);
        if others().count() >= max {
            return Err(Refusal::Full);
        }
        // The unproven peers of one range share few places, regardless of the number of their keys.
        let range = |link: &Link| link.ip().and_then(|ip| config.range_of(&link.peer, ip));
        let is_counted = is_unproven && config.max_inbound_per_ip != 0;
        if let Some(of_link) = range(link).filter(|_| is_counted) {
            let same = others().filter(|(_, other)| self.is_unproven(other) && range(other) == Some(of_link)).count();
            if same >= (config.max_inbound / RANGE_SHARE).max(1) {
                return Err(Refusal::Full);
            }
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, connection: ConnectionId, refusal: Refusal) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.phase = Phase::Leaving;
        let (peer, address) = (link.peer, link.place());
        self.notify_handler(connection, ToHandler::Refuse(refusal.to_wire()));
        if refusal.is_lasting() {
            self.book.forget(&peer);
        }
        self.emit_refused(Some(peer), address, true, refusal);
        self.look_at_book();
    }

    pub(super) fn go_live(&mut self, connection: ConnectionId, hello: Hello) {
        self.link_count += 1;
        let Some(link) = self.links.get_mut(&connection) else { return };
        let address = match (&link.dialled, socket_of(&link.remote)) {
            (Some(dialled), _) => Some(dialled.clone()),
            (None, Some((transport, socket))) => hello.address(link.peer, socket.ip(), transport),
            (None, None) => None,
        };
        let (peer, queues) = ConnectedPeer::new(PeerFacts {
            id: link.peer,
            link: self.link_count,
            moniker: printable(&hello.moniker),
            version: printable(&hello.version),
            remote: link.remote.to_string(),
            address,
            is_outbound: link.dialled.is_some(),
            is_persistent: self.shared.config.is_persistent(&link.peer),
            is_proven: self.proven.contains_key(&link.peer),
        });
        tracing::info!(peer = %peer.id, moniker = peer.moniker, remote = peer.remote, outbound = peer.is_outbound, "peer up");
        link.phase = Phase::Live(peer.clone());
        let (peer_id, early_gossip) = (link.peer_id, std::mem::take(&mut link.early_gossip));
        if let Some(dialled) = &link.dialled {
            self.notices.forget(&dial_notice(dialled));
            self.book.on_up(&peer.id, socket_of(&link.remote).map(|(_, socket)| socket.ip()), Instant::now());
        }
        self.live.insert(peer.id, connection);
        self.shared.counters.ups.add(1);
        self.shared.insert_peer(peer.clone());
        self.outbox.push_back(Outgoing::Up { peer: peer.clone(), peer_id, connection, queues });
        let early = early_gossip.into_iter().map(|(id, bytes)| Outgoing::Txs { peer: peer.clone(), id, bytes });
        self.outbox.extend(early);
        self.answer_at = Some(Instant::now()); // its early requests may be served after its Up
        self.rank_gossip();
        if self.config().pex && hello.pex {
            self.on_ask(connection); // sent once without a request
        }
    }
}
