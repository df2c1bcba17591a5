//! Bounds of all resources that a peer can make this node use. Names contain the units; texts say what happens at the
//! bound.

use std::time::Duration;

/// Maximum bytes of a frame on the consensus channel. A larger one is an offence: the length is read before the body.
pub const CONSENSUS_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Maximum bytes of a frame on the parts channel: twice the size of a 64 KiB part with its proof.
pub const PARTS_FRAME_BYTES_MAX: usize = 128 * 1024;
/// Maximum bytes of a frame on the control channel: [`ADDRESSES_PER_MESSAGE_MAX`] addresses of at most 320 bytes.
pub const CONTROL_FRAME_BYTES_MAX: usize = 16 * 1024;
/// Maximum number of control frames queued for one peer. Further frames are dropped.
pub const CONTROL_QUEUE_MAX: usize = 32;
/// Maximum bytes of a peer's moniker, its version, or a text in its refusal. Longer text is cut.
pub const TEXT_BYTES_MAX: usize = 128;

/// Maximum number of messages queued for one peer on one channel. Further ones are dropped and counted.
pub const SEND_QUEUE_MESSAGES_MAX: usize = 8192;
/// Maximum bytes of messages queued for one peer on one channel. Further messages are dropped and counted.
pub const SEND_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Target size in bytes of one write to a stream: queued messages are collected up to it.
pub const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// Maximum number of events queued for the consumer. When the queue is full, reading from peers stops.
pub const EVENT_QUEUE_MAX: usize = 4096;
/// Maximum bytes of one peer's messages queued for the consumer. When they are used, reading from that peer stops.
pub const EVENT_BYTES_PER_PEER_MAX: usize = 2 * 1024 * 1024;
/// Maximum number of Ups and Downs that wait for room in the event queue. Beyond, no new connection is accepted.
pub const OUTBOX_MAX: usize = 1024;
/// Maximum number of commands queued for the swarm task. Further ones are refused and counted.
pub const COMMAND_QUEUE_MAX: usize = 8192;

/// Maximum bytes per second that are read from one peer on one channel. Beyond, reading is delayed.
pub const RATE_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// Maximum messages per second that are read from one peer on one channel. Beyond, reading is delayed.
pub const RATE_MESSAGES_PER_SECOND: u64 = 20_000;

/// Maximum bytes of a gossip message. Larger ones are refused when published and dropped when received.
pub const GOSSIP_BYTES_MAX: usize = 1024 * 1024;
/// Maximum bytes of own gossip queued for the swarm task. Further batches are refused and counted.
pub const PUBLISH_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Maximum bytes of own gossip kept while no peer takes part in the gossip. Beyond, the oldest batches are dropped.
pub const UNSENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Maximum number of own batches kept while no peer takes part in the gossip. Beyond, the oldest are dropped.
pub const UNSENT_BATCHES_MAX: usize = 1024;
/// Maximum bytes of gossip of one connection kept until its handshake ends. Further batches are dropped.
pub const EARLY_GOSSIP_BYTES_MAX: usize = GOSSIP_BYTES_MAX;

/// Maximum bytes of a request.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Maximum bytes of a response: the largest block (16 MiB) with its commit, and some reserve.
pub const RESPONSE_BYTES_MAX: usize = 18 * 1024 * 1024;
/// Maximum number of open requests of one peer, from their arrival until their answer is written. Further ones are
/// answered "busy".
pub const INBOUND_REQUESTS_PER_PEER_MAX: usize = 8;
/// Maximum number of open requests of all peers. Further ones are answered "busy".
pub const INBOUND_REQUESTS_MAX: usize = 512;
/// Maximum number of requests of one peer that wait for the end of its handshake: a peer may ask as soon as it has
/// accepted us.
pub const EARLY_REQUESTS_PER_PEER_MAX: usize = 2;
/// A request that arrives before the end of its handshake is answered "busy" if this number of requests of all peers
/// are open; otherwise it waits.
pub const EARLY_REQUESTS_MAX: usize = INBOUND_REQUESTS_MAX / 4;
/// Maximum bytes of answers that wait to be written to one peer. Its further requests wait; an answer beyond the bound
/// is replaced by "busy", unless it is the only one.
pub const RESPONSE_BYTES_PER_PEER_MAX: usize = 8 * 1024 * 1024;
/// Maximum bytes of answers that wait to be written to all peers. Further requests wait; an answer beyond the bound is
/// replaced by "busy". A persistent peer may always have one answer, whatever the others use.
pub const RESPONSE_BYTES_ALL_MAX: usize = 64 * 1024 * 1024;
/// Bytes that a request counts until its answer is given, because the size of the answer is unknown until then.
pub const RESPONSE_BYTES_EXPECTED: usize = 2 * 1024 * 1024;
/// Maximum bytes of answers per second to one peer. Beyond, its requests wait.
pub const RESPONSE_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// Maximum requests per second of one peer. Beyond, they wait.
pub const REQUESTS_PER_SECOND: u64 = 32;
/// Maximum number of our own open requests to one peer. Further ones fail at once.
pub const OUTBOUND_REQUESTS_PER_PEER_MAX: usize = 32;

/// Maximum number of inbound connections in their encryption handshake, from all addresses. Further ones are denied.
pub const PENDING_INBOUND_MAX: usize = 64;
/// Maximum number of inbound connections in their encryption handshake from one IP address. Further ones are denied.
pub const PENDING_INBOUND_PER_IP_MAX: usize = 16;
/// Burst of inbound connections from one IP address (IPv6: one /64); one more is allowed per [`INBOUND_PER_IP_PAUSE`]. Further
/// ones are denied before their encryption handshake, which takes longer than a signature check, and adds lines to the log.
pub const INBOUND_PER_IP_BURST: u32 = 64;
/// Interval after which one more connection is allowed; see [`INBOUND_PER_IP_BURST`].
pub const INBOUND_PER_IP_PAUSE: Duration = Duration::from_millis(200);
/// Maximum number of open streams of one connection, of both sides together. A peer that opens more loses the connection. An
/// honest pair has 12, and one for each open request: 32 from each side.
pub const STREAMS_MAX: usize = 128;
/// Maximum bytes by which all windows of one TCP connection grow beyond the first 256 KiB of each: what a peer may send before
/// it is read. One stream then carries 40 MiB per second over 100 ms.
pub const GROWN_WINDOWS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Maximum number of connections in the handshake or closing, in addition to the configured numbers of peers.
pub const GREETING_MAX: usize = 32;
/// Maximum number of simultaneous dials to addresses of the address book. Persistent peers are not counted.
pub const DIALS_MAX: usize = 8;
/// A frame of the multiplexer with less data is small; so is one without data, such as a reset. Each waits in about 100 bytes of
/// memory, so larger ones take about as much as they say.
pub const SMALL_FRAME_BYTES: usize = 64;
/// Burst of small frames of one TCP connection; one more is allowed per [`SMALL_FRAMES_PAUSE`]. A peer that sends more loses the
/// connection. An honest one sends about ten for each request, and few else.
pub const SMALL_FRAMES_BURST: u32 = 4096;
/// Interval after which one more small frame is allowed; see [`SMALL_FRAMES_BURST`].
pub const SMALL_FRAMES_PAUSE: Duration = Duration::from_millis(1);

/// Maximum number of addresses in one message of the peer exchange. More are an offence.
pub const ADDRESSES_PER_MESSAGE_MAX: usize = 32;
/// Maximum messages per minute of the peer exchange on one connection. Further ones are an offence.
pub const ADDRESS_MESSAGES_PER_MINUTE_MAX: u32 = 12;
/// Maximum number of learned addresses in the book. Further ones are ignored.
pub const BOOK_ADDRESSES_MAX: usize = 1024;
/// Maximum number of addresses in the book that one range of addresses reported, under any number of keys.
pub const BOOK_ADDRESSES_PER_SOURCE_MAX: usize = 64;
/// Maximum number of public addresses in the book that lie in one range.
pub const BOOK_ADDRESSES_PER_RANGE_MAX: usize = 32;
/// Burst of failed dials to addresses that one source range reported. When they are used up, its unproven addresses are
/// forgotten; one more dial is allowed per [`DIALS_PER_SOURCE_PAUSE`].
pub const DIALS_PER_SOURCE_BURST: u32 = 8;
/// Interval after which one more dial is allowed; see [`DIALS_PER_SOURCE_BURST`].
pub const DIALS_PER_SOURCE_PAUSE: Duration = Duration::from_secs(60);
/// Burst of failed dials to learned addresses in one range, so that no peer can make us flood the ports of a third
/// party.
pub const DIALS_PER_RANGE_BURST: u32 = 8;
/// Interval after which one more dial is allowed; see [`DIALS_PER_RANGE_BURST`].
pub const DIALS_PER_RANGE_PAUSE: Duration = Duration::from_secs(10);
/// Burst of failed dials to learned addresses from all sources. One more is allowed per [`DIALS_LEARNED_PAUSE`].
pub const DIALS_LEARNED_BURST: u32 = 32;
/// Interval after which one more dial is allowed; see [`DIALS_LEARNED_BURST`].
pub const DIALS_LEARNED_PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of addresses or ranges in one table of budgets. Beyond, the least recently used one is dropped.
pub const BUCKETS_MAX: usize = 1024;
/// Maximum bytes that are read of an address book file.
pub const BOOK_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Maximum number of peers, and of ranges of addresses, whose penalties are remembered. Beyond, the lowest
/// sum of penalties without a ban is dropped.
pub const PENALTIES_MAX: usize = 4096;
/// Maximum number of proven peers that are remembered. Beyond, the oldest one that is not connected is dropped.
pub const PROVEN_MAX: usize = 256;
/// Divisor of the inbound places: one place of this number is reserved for proven peers.
pub const PROVEN_SHARE: usize = 4;
/// Divisor of the inbound places: the unproven peers of one range of addresses may take one place of this number.
pub const RANGE_SHARE: usize = 4;
/// Number of peers in the gossip mesh below which gossipsub adds peers. Unproven peers fill the places that configured,
/// dialled and proven peers leave free, so up to four of the latter always have a place in the mesh.
pub const MESH_PEERS_LOW: usize = 6;
/// Number of unproven peers in the mesh regardless of the other peers, because a new peer must be able to prove itself.
pub const MESH_UNPROVEN_MIN: usize = 2;
/// Maximum number of repeated problems whose last log line is remembered. Beyond, the oldest is dropped.
pub const NOTICES_MAX: usize = 256;
/// Burst of log lines about repeated problems; one more is allowed per [`NOTICES_PAUSE`].
pub const NOTICES_BURST: u32 = 30;
/// Interval after which one more line is allowed; see [`NOTICES_BURST`].
pub const NOTICES_PAUSE: Duration = Duration::from_secs(5);
/// Time for which a configured peer may be unreachable before it is logged. Nodes that start together connect sooner.
pub const UNREACHABLE_LOGGED_AFTER: Duration = Duration::from_secs(5);

/// Time that a refused peer has to read the reason, and maximum time to close a connection.
pub const LINGER: Duration = Duration::from_secs(1);
/// Interval between two requests for addresses while outbound peers are missing.
pub const ASK_INTERVAL: Duration = Duration::from_secs(30);
/// Interval between two writes of the address book.
pub const BOOK_SAVE_INTERVAL: Duration = Duration::from_secs(120);
/// Lifetime after which a connection counts as good, so that the back-off of its address is reset.
pub const STABLE: Duration = Duration::from_secs(5);

const _: () = assert!(CONSENSUS_FRAME_BYTES_MAX <= EVENT_BYTES_PER_PEER_MAX, "any frame fits the quota");
const _: () = assert!(PARTS_FRAME_BYTES_MAX <= EVENT_BYTES_PER_PEER_MAX, "any frame fits the quota");
const _: () = assert!(GOSSIP_BYTES_MAX <= EVENT_BYTES_PER_PEER_MAX, "any batch fits the quota");
const _: () = assert!(CONSENSUS_FRAME_BYTES_MAX <= SEND_QUEUE_BYTES_MAX, "any frame fits the queue");
const _: () = assert!(RESPONSE_BYTES_EXPECTED <= RESPONSE_BYTES_PER_PEER_MAX, "a peer may ask something");
const _: () = assert!(RESPONSE_BYTES_MAX <= RESPONSE_BYTES_ALL_MAX, "any answer fits");
const _: () = assert!(12 + 2 * OUTBOUND_REQUESTS_PER_PEER_MAX <= STREAMS_MAX, "honest peers have room");
const _: () = assert!(ADDRESSES_PER_MESSAGE_MAX * 320 <= CONTROL_FRAME_BYTES_MAX, "any address message fits a frame");
