//! Counters for users and dashboards, read as a snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::denied::{DENIALS, Denied};
use crate::score::OFFENCES;

/// How often peers committed one kind of offence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offences {
    /// Penalties for this offence.
    pub penalties: u64,
    /// Bans of peers that were started by this offence.
    pub bans: u64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since the start of the network, and current values. A counter only grows unless its text says
        /// "now".
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Offences of peers, in the order of [`Penalty::ALL`](crate::Penalty::ALL).
            pub offences: [Offences; OFFENCES],
            /// Connections that were denied before the handshake, in the order of [`Stats::DENIALS`].
            pub denials: [u64; DENIALS],
            /// Connected inbound peers, now.
            pub peers_inbound: u64,
            /// Connected outbound peers, now.
            pub peers_outbound: u64,
            /// Peers that are banned by their id, now.
            pub banned: u64,
            /// Ranges of addresses that are banned now.
            pub banned_ranges: u64,
            /// Events that are queued for the consumer, now.
            pub events_queued: u64,
            /// Addresses in the address book, now.
            pub book_addresses: u64,
            /// Bytes of responses that wait to be written, now.
            pub response_bytes: u64,
            /// Configured, dialled or proven peers in the gossip mesh, now.
            pub mesh_peers: u64,
            /// Other (unproven) peers in the gossip mesh, now.
            pub mesh_unproven: u64,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
            pub(crate) penalties_of: [Counter; OFFENCES],
            pub(crate) bans_of: [Counter; OFFENCES],
            pub(crate) denials: [Counter; DENIALS],
            pub(crate) book_addresses: Counter,
            pub(crate) response_bytes: Counter,
            pub(crate) mesh_peers: Counter,
            pub(crate) mesh_unproven: Counter,
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats {
                    $($name: self.$name.get(),)*
                    offences: std::array::from_fn(|offence| Offences {
                        penalties: self.penalties_of[offence].get(),
                        bans: self.bans_of[offence].get(),
                    }),
                    denials: std::array::from_fn(|reason| self.denials[reason].get()),
                    book_addresses: self.book_addresses.get(),
                    response_bytes: self.response_bytes.get(),
                    mesh_peers: self.mesh_peers.get(),
                    mesh_unproven: self.mesh_unproven.get(),
                    ..Stats::default()
                }
            }
        }
    };
}

counters! {
    /// Dials that were started.
    dials,
    /// Dials that resulted in no connection.
    dial_failures,
    /// Failed dials that were not tried because of the target: it is banned, its network is one that the source of the
    /// address is not in, or too many dials to its range failed recently.
    dials_refused,
    /// Connections that became peers.
    ups,
    /// Peers that were lost for any reason.
    downs,
    /// Connections that this node refused in the handshake.
    refused_by_us,
    /// Connections that the other side refused in the handshake.
    refused_by_peer,
    /// Connections that were denied before the handshake, because of a limit or a ban.
    denied,
    /// Penalties of peers.
    penalties,
    /// Bans of peers that were started.
    bans,
    /// Messages that were not queued: the peer is not connected, its queue was full, or the message was too large.
    sends_dropped,
    /// Own gossip batches that were passed to the network.
    gossip_published,
    /// Own gossip batches that were refused: too large, or the queue was full.
    gossip_publish_refused,
    /// Gossip batches that were received and passed to the consumer.
    gossip_received,
    /// Gossip batches that were received but dropped because the consumer is behind.
    gossip_dropped,
    /// Gossip batches that were forwarded after the verdict "accept".
    gossip_accepted,
    /// Gossip batches that got the verdict "ignore".
    gossip_ignored,
    /// Gossip batches that got the verdict "reject".
    gossip_rejected,
    /// Requests that were sent to peers.
    requests_sent,
    /// Requests to peers that got no response.
    requests_failed,
    /// Requests that were received and passed to the consumer.
    requests_received,
    /// Received requests that were answered "busy".
    requests_busy,
    /// Commands that were refused because the swarm task is behind.
    commands_refused,
}

impl Stats {
    /// Names of the reasons for which a connection is denied before the handshake.
    pub const DENIALS: [&str; DENIALS] = Denied::NAMES;
}

/// A counter that many threads may update.
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
