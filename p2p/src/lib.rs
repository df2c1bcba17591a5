//! Messages to and from named peers, bounded and scored. What the messages mean is not known here.
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
//! A message handed to [`Network::send`] wakes the connection's own task and is written there at once: it does not pass
//! the swarm task. A message read goes from that task straight to the consumer.
//!
//! | protocol                     | carries                              | bound                        | beyond the bound           |
//! |------------------------------|--------------------------------------|------------------------------|----------------------------|
//! | `/cairn/control/1`           | hello, accept, refuse, addresses     | 16 KiB a frame, 16 a second  | ban; reading is delayed    |
//! | `/cairn/consensus/1`         | [`Channel::Consensus`], frames       | 1 MiB a frame                | ban                        |
//! | `/cairn/parts/1`             | [`Channel::Parts`], frames           | 128 KiB a frame              | ban                        |
//! | `/cairn/<chain>/requests/1`  | one question and one answer a stream | 64 KiB, 18 MiB, 8 a peer     | stream ends; "busy"        |
//! | `/cairn/<chain>/txs/…`       | gossipsub, topic `txs/<chain>`       | 1 MiB a batch                | dropped                    |
//! | identify, ping               | libp2p's own                         |                              |                            |
//!
//! A frame is four bytes of length, big endian, and the body. Transports: TCP with Noise and Yamux, and QUIC.
//!
//! **Handshake.** Both sides say hello: chain, genesis hash, protocol version, name, port, and a number of this run. The
//! node with the larger id accepts or refuses first; then the smaller one does, and its word is the last: it alone decides which
//! of two simultaneous connections stays (the first to get so far), so both sides keep the same one and none flaps. If
//! the number of the run has changed, the peer restarted, and the new connection replaces the old; likewise if the old
//! one has not answered pings for a while. If the old one is alive and the new one comes from another place, two nodes use
//! one key: the old one stays, and all three say so in their logs. What two operators must settle (wrong id, chain, genesis,
//! release, key) is one line in the log of each side, repeated with growing pauses.
//!
//! **Requests.** A place is free again when the answer is written, not when it is handed over. What waits to be written is
//! bounded in bytes for each peer and for all, and each peer has a rate; within the bounds a request waits for its turn.
//!
//! **Strangers.** Whoever was neither configured nor dialled by us and never brought anything of use ([`Network::prove`])
//! competes with its like: for the inbound places that are not kept for proven peers, for a share of places and penalties by
//! range of addresses, and for what the better peers leave of the gossip's mesh.
//!
//! Invariants, each with the test that holds it:
//! - **I1** The consumer sees, per peer, `Up (Message | Txs | Request)* Down`, over and over.
//!   (`a_restarted_peer_comes_back`, `simultaneous_dials_leave_one_connection_and_no_flapping`)
//! - **I2** Messages of one peer and channel arrive in the order they were sent, each once or, after a Down, not at all.
//!   (`messages_arrive_in_order_both_ways`)
//! - **I3** No call of [`Network`] waits for the network. (`a_full_queue_never_blocks_the_sender`)
//! - **I4** A peer is who its id says, and of our chain. (`a_wrong_id_is_refused`, `a_wrong_chain_is_refused_and_told_why`)
//! - **I5** Whatever a peer sends or does not read, our memory for it is bounded ([`limits`]) and nothing panics.
//!   (`garbage_and_oversized_frames_are_banned`, `a_consumer_that_is_behind_stops_the_sender`)
//! - **I6** A gossiped batch is forwarded only after [`Verdict::Accept`]. (`gossip_waits_for_the_verdict`)
//! - **I7** After [`Network::shutdown`] no task and no socket is left. (`shutdown_leaves_nothing`)

mod address;
mod book;
mod budget;
mod config;
mod control;
mod events;
mod frame;
mod gate;
mod gossip;
mod key;
pub mod limits;
mod network;
mod notices;
mod peer;
mod range;
mod requests;
mod score;
mod stats;
mod streams;
mod task;
mod transport;

pub use address::{AddressError, HostPort, PeerAddress, Transport};
pub use config::{Config, ConfigError};
pub use control::{PROTOCOL_VERSION, Refusal};
pub use events::{DownReason, Event, Events};
pub use gossip::{GossipId, Verdict};
pub use key::{NodeId, NodeIdError, NodeKey, NodeKeyError};
pub use libp2p::bytes::Bytes;
pub use network::{Error, Network, start};
pub use peer::{Channel, ChannelInfo, PeerInfo};
pub use requests::{Reply, RequestError, RequestId};
pub use score::{BAN_AT, HALF_LIFE, Offence, RANGE_BAN_AT};
pub use stats::Stats;
