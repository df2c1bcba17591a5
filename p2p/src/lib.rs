//! Exchange of messages with identified peers, with bounded queues and penalties. This crate does not interpret the
//! messages.
//!
//! ```text
//!  any thread                        one task per connection                     the peer
//!  ─────────                         ───────────────────────                     ────────
//!  Network::send ──▶ queue per peer and channel ──▶ stream "consensus" ─────────▶ its reader
//!                                                └▶ stream "parts" ─────────────▶ its reader
//!  Events ◀───────────── bounded queue ◀── readers of the peer's two streams ◀──── its writer
//!     ▲                                                    │ handshake
//!     │ Up Down Txs Request                                ▼
//!     └──────────────────────── swarm task: peers, dials, bans, gossip, requests, addresses
//!  Network::publish, verdict, request, respond, penalize … ──▶ bounded queue ──▶ swarm task
//! ```
//! A message that is passed to [`Network::send`] wakes the task of the peer's connection, which writes it at once; the
//! swarm task is not involved. A received message goes directly from the connection's task to the consumer.
//!
//! | protocol                    | carries                        | bound                       | beyond the bound    |
//! |-----------------------------|--------------------------------|-----------------------------|---------------------|
//! | `/cairn/control/1`          | handshake, addresses           | 16 KiB a frame, 16 frames/s | ban; slow reading   |
//! | `/cairn/consensus/1`        | [`Channel::Consensus`], frames | 1 MiB a frame               | ban                 |
//! | `/cairn/parts/1`            | [`Channel::Parts`], frames     | 128 KiB a frame             | ban                 |
//! | `/cairn/<chain>/requests/1` | request, response              | 64 KiB, 18 MiB, 8 per peer  | stream ends; "busy" |
//! | `/cairn/<chain>/txs/…`      | gossipsub, topic `txs/<chain>` | 1 MiB a batch               | dropped             |
//! | identify, ping              | libp2p's own messages          |                             |                     |
//!
//! A frame is the length of the body (four bytes, big endian) and the body. Transports: TCP with Noise and Yamux, and
//! QUIC.
//!
//! **Handshake.** Both sides send a hello: chain, genesis hash, protocol version, name, port, and a session number that
//! differs in each run of a node. The node with the larger id accepts or refuses first, then the node with the smaller
//! id. The answer of the smaller id is final: it alone decides which of two simultaneous connections stays (the first
//! one to reach this step), so both sides keep the same connection. If the session number has changed, the peer has
//! restarted, and the new connection replaces the old one; likewise if the old one has not answered pings for a while.
//! If the old connection is alive and the new one comes from another address, two nodes use the same key: the old
//! connection stays, and all three nodes log the fact. An error that two operators must resolve (wrong id, chain,
//! genesis, release or key) is one log line on each side, repeated with increasing pauses.
//!
//! **Requests.** A request occupies one of the peer's places until its answer is written, not only until the consumer
//! has given it. The bytes of unwritten answers are bounded per peer and for all peers together, and each peer has a
//! rate limit. A request within these bounds waits for its turn.
//!
//! **Unproven peers** (unproven, in the names of the code). An inbound peer that is not configured and has not
//! delivered anything useful yet ([`Network::prove`]) competes only with other unproven peers: for the inbound places
//! that are not reserved for proven peers, for a share of places and penalties per range of addresses, and for the
//! places in the gossip mesh that the other peers leave free.
//!
//! Invariants, each with the test that holds it:
//! - **I1** The consumer receives, per peer, `Up (Message | Txs | Request)* Down`, repeated.
//!   (`a_restarted_peer_comes_back`, `simultaneous_dials_leave_one_connection_and_no_flapping`)
//! - **I2** Messages of one peer and channel arrive in the order they were sent, each once or, after a Down, not at
//!   all.
//!   (`messages_arrive_in_order_both_ways`)
//! - **I3** No method of [`Network`] waits for the network, except for its end.
//!   (`a_full_queue_never_blocks_the_sender`)
//! - **I4** A peer owns the key of its id, and is of our chain. (`a_wrong_id_is_refused`,
//!   `a_wrong_chain_is_refused_with_the_reason`)
//! - **I5** Whatever a peer sends or does not read, the memory it uses here is bounded ([`limits`]) and nothing panics.
//!   (`garbage_and_oversized_frames_are_banned`, `a_slow_consumer_stops_the_sender`)
//! - **I6** A gossiped batch is forwarded only after [`Verdict::Accept`]. (`gossip_waits_for_the_verdict`)
//! - **I7** After [`Network::shutdown`] no task and no socket is left. (`shutdown_leaves_no_task_and_no_socket`)

mod address;
mod book;
mod budget;
mod config;
mod control;
mod denied;
mod error;
mod events;
mod frame;
mod gate;
mod gossip;
mod key;
pub mod limits;
mod muxing;
mod network;
mod notices;
mod peer;
mod range;
mod requests;
mod score;
mod shared;
mod stats;
mod streams;
mod task;
mod transport;

pub use address::{AddressError, HostPort, PeerAddress, Transport};
pub use book::{addresses_of_file, addresses_to_file};
pub use config::{Config, ConfigError};
pub use control::{ControlRead, PROTOCOL_VERSION, Refusal, control_samples, read_control};
pub use error::Error;
pub use events::{DownReason, Event, Events};
pub use files::NodeKey;
pub use gossip::{GossipId, Verdict};
pub use libp2p::bytes::Bytes;
pub use network::{Network, start};
pub use peer::{Channel, ChannelInfo, PeerInfo};
pub use requests::{Reply, RequestError, RequestId};
pub use score::{BAN_AT, HALF_LIFE, OFFENCES, Penalty, RANGE_BAN_AT};
pub use stats::{Offences, Stats};
pub use types::NodeId;
