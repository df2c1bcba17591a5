//! Numbers for people and dashboards: plain counters, read as a snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened since the start, and what is now. Counters only grow unless their text says "now".
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Connected peers that dialled us, now.
            pub peers_inbound: u64,
            /// Connected peers that we dialled, now.
            pub peers_outbound: u64,
            /// Banned peers, now.
            pub banned: u64,
            /// Banned ranges of addresses, now.
            pub banned_ranges: u64,
            /// Events that wait for the consumer, now.
            pub events_queued: u64,
            /// Addresses in the address book, now.
            pub book_addresses: u64,
            /// Bytes of answers that wait to be written, now.
            pub response_bytes: u64,
            /// Peers in the gossip's mesh that are configured, dialled by us or proven, now.
            pub mesh_peers: u64,
            /// Other peers in the gossip's mesh, now.
            pub mesh_strangers: u64,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
            pub(crate) book_addresses: Counter,
            pub(crate) response_bytes: Counter,
            pub(crate) mesh_peers: Counter,
            pub(crate) mesh_strangers: Counter,
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats {
                    $($name: self.$name.get(),)*
                    book_addresses: self.book_addresses.get(),
                    response_bytes: self.response_bytes.get(),
                    mesh_peers: self.mesh_peers.get(),
                    mesh_strangers: self.mesh_strangers.get(),
                    ..Stats::default()
                }
            }
        }
    };
}

counters! {
    /// Dials begun.
    dials,
    /// Dials that gave no connection.
    dial_failures,
    /// Of those, the ones that were not tried because of where the address leads: to a banned range, to a network that its
    /// teller is not in, or to a range where too many dials failed lately.
    dials_refused,
    /// Connections that became peers.
    ups,
    /// Peers lost, for whatever reason.
    downs,
    /// Connections that we refused in the handshake.
    refused_by_us,
    /// Connections that the other side refused in the handshake.
    refused_by_peer,
    /// Connections refused before the handshake: a limit or a ban.
    denied,
    /// Offences noted.
    penalties,
    /// Bans begun.
    bans,
    /// Messages not queued because the peer is slow (its queue was full).
    sends_dropped,
    /// Own gossip batches handed to the network.
    gossip_published,
    /// Own gossip batches refused: too large, or the queue was full.
    gossip_publish_refused,
    /// Gossip batches received and handed to the consumer.
    gossip_received,
    /// Gossip batches received but dropped because the consumer is behind.
    gossip_dropped,
    /// Gossip batches forwarded after the verdict "accept".
    gossip_accepted,
    /// Gossip batches with the verdict "ignore".
    gossip_ignored,
    /// Gossip batches with the verdict "reject".
    gossip_rejected,
    /// Requests sent.
    requests_sent,
    /// Requests sent that got no response.
    requests_failed,
    /// Requests received and handed to the consumer.
    requests_received,
    /// Requests received but answered "busy".
    requests_busy,
    /// Commands refused because the swarm task is behind.
    commands_refused,
}

/// A number that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
