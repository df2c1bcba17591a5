//! Bounds of everything a peer can make us hold. Units are in the names; what happens at the bound is in the text.

use std::time::Duration;

/// Largest frame on the consensus channel, in bytes. A larger one is an offence: the length is read before the body.
pub const CONSENSUS_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Largest frame on the parts channel, in bytes: a part of 64 KiB with its proof, twice over.
pub const PARTS_FRAME_BYTES_MAX: usize = 128 * 1024;
/// Largest frame on the control channel, in bytes: [`ADDRESSES_PER_MESSAGE_MAX`] addresses of at most 320 bytes.
pub const CONTROL_FRAME_BYTES_MAX: usize = 16 * 1024;
/// Control frames that may wait for a peer. A peer that does not read its control stream gets no more of them.
pub const CONTROL_QUEUE_MAX: usize = 32;
/// Text that a peer may call itself by (moniker, version) or give as a reason, in bytes. Longer text is cut.
pub const TEXT_BYTES_MAX: usize = 128;

/// Messages that may wait for one peer on one channel. Further ones are dropped and counted.
pub const SEND_QUEUE_MESSAGES_MAX: usize = 8192;
/// Bytes that may wait for one peer on one channel. Further messages are dropped and counted.
pub const SEND_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes gathered into one write to a stream.
pub const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// Events that may wait for the consumer. When full, reading from peers stops until there is room.
pub const EVENT_QUEUE_MAX: usize = 4096;
/// Bytes of one peer's messages that may wait for the consumer. When full, reading from that peer stops.
pub const EVENT_BYTES_PER_PEER_MAX: usize = 2 * 1024 * 1024;
/// Ups and Downs that may wait for room among the events. Beyond, no new connection is taken.
pub const OUTBOX_MAX: usize = 1024;
/// Commands that may wait for the swarm task. Further ones are refused and counted.
pub const COMMAND_QUEUE_MAX: usize = 8192;

/// Bytes per second and channel that we read from one peer. Beyond, reading is delayed.
pub const RATE_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// Messages per second and channel that we read from one peer. Beyond, reading is delayed.
pub const RATE_MESSAGES_PER_SECOND: u64 = 20_000;

/// Largest gossip message, in bytes. Larger ones are refused when published and dropped when received.
pub const GOSSIP_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of own gossip that may wait for the swarm task. Further batches are refused and counted.
pub const PUBLISH_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of own gossip kept while there is nobody to gossip with. The oldest batches are dropped beyond.
pub const UNSENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Batches kept while there is nobody to gossip with. The oldest are dropped beyond.
pub const UNSENT_BATCHES_MAX: usize = 1024;
/// Bytes of gossip of one connection that may wait for the end of its handshake. Further batches are dropped.
pub const EARLY_GOSSIP_BYTES_MAX: usize = GOSSIP_BYTES_MAX;

/// Largest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Largest response, in bytes: the largest block (16 MiB) with its commit and room to spare.
pub const RESPONSE_BYTES_MAX: usize = 18 * 1024 * 1024;
/// Requests of one peer that may be open, from their arrival until their answer is written. Further ones are answered
/// "busy".
pub const INBOUND_REQUESTS_PER_PEER_MAX: usize = 8;
/// Requests of all peers that may be open. Further ones are answered "busy".
pub const INBOUND_REQUESTS_MAX: usize = 512;
/// Requests of one peer that may wait for the end of its handshake: what a peer asks as soon as it has accepted us.
pub const EARLY_REQUESTS_PER_PEER_MAX: usize = 2;
/// Requests that may wait for the end of a handshake, or be open when one comes before it. Further ones are answered "busy".
pub const EARLY_REQUESTS_MAX: usize = INBOUND_REQUESTS_MAX / 4;
/// Bytes of answers that may wait to be written to one peer. Its further requests wait; an answer beyond is replaced by
/// "busy", unless it is the only one.
pub const RESPONSE_BYTES_PER_PEER_MAX: usize = 8 * 1024 * 1024;
/// Bytes of answers that may wait to be written to all peers. Further requests wait; an answer beyond is replaced by
/// "busy". Persistent peers have their own share whatever the others use.
pub const RESPONSE_BYTES_ALL_MAX: usize = 64 * 1024 * 1024;
/// Bytes that a request counts while its answer is being made: nobody knows the answer's size before.
pub const RESPONSE_BYTES_EXPECTED: usize = 2 * 1024 * 1024;
/// Bytes of answers per second to one peer. Beyond, its requests wait until it has room again.
pub const RESPONSE_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// Requests per second of one peer. Beyond, they wait.
pub const REQUESTS_PER_SECOND: u64 = 32;
/// Requests of ours to one peer that may be open at once. Further ones fail at once.
pub const OUTBOUND_REQUESTS_PER_PEER_MAX: usize = 32;

/// Connections that may be in their encryption handshake, from all addresses.
pub const PENDING_INBOUND_MAX: usize = 64;
/// Connections that may be in their encryption handshake, from one address.
pub const PENDING_INBOUND_PER_IP_MAX: usize = 16;
/// Streams that one connection may have open over TCP. A peer that opens more loses the connection.
pub const STREAMS_MAX: usize = 256;
/// Connections that may be greeting or leaving beyond the configured numbers of peers.
pub const GREETING_MAX: usize = 32;
/// Dials to peers of the address book that may run at once. Persistent peers are not counted.
pub const DIALS_MAX: usize = 8;

/// Addresses in one message of the peer exchange.
pub const ADDRESSES_PER_MESSAGE_MAX: usize = 32;
/// Messages of the peer exchange that one peer may send us in a minute. Further ones are an offence.
pub const ADDRESS_MESSAGES_PER_MINUTE_MAX: u32 = 12;
/// Addresses in the book that are not configured.
pub const BOOK_ADDRESSES_MAX: usize = 1024;
/// Addresses in the book that one range of addresses told us, with however many keys.
pub const BOOK_ADDRESSES_PER_SOURCE_MAX: usize = 64;
/// Public addresses in the book that lie in one range.
pub const BOOK_ADDRESSES_PER_RANGE_MAX: usize = 32;
/// Dials without success to addresses that one range of addresses told us. When they are used up, what it told us is
/// forgotten; one more comes each [`DIALS_PER_SOURCE_PAUSE`].
pub const DIALS_PER_SOURCE_BURST: u32 = 8;
/// See [`DIALS_PER_SOURCE_BURST`].
pub const DIALS_PER_SOURCE_PAUSE: Duration = Duration::from_secs(60);
/// Dials without success to learned addresses in one range: nobody shall make us knock at a stranger's ports.
pub const DIALS_PER_RANGE_BURST: u32 = 8;
/// One more each; see [`DIALS_PER_RANGE_BURST`].
pub const DIALS_PER_RANGE_PAUSE: Duration = Duration::from_secs(10);
/// Dials without success to learned addresses, whoever told us. One more comes each [`DIALS_LEARNED_PAUSE`].
pub const DIALS_LEARNED_BURST: u32 = 32;
/// See [`DIALS_LEARNED_BURST`].
pub const DIALS_LEARNED_PAUSE: Duration = Duration::from_secs(1);
/// Ranges whose dials we count.
pub const BUCKETS_MAX: usize = 1024;
/// Size of an address book file that we read, in bytes.
pub const BOOK_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Peers whose penalties we remember, and ranges of addresses whose penalties we remember.
pub const PENALTIES_MAX: usize = 4096;
/// Peers that we remember for having brought what is of use.
pub const PROVEN_MAX: usize = 256;
/// Share of the inbound places that only proven peers may take: one of so many.
pub const PROVEN_SHARE: usize = 4;
/// Share of the inbound places that unproven peers of one range may take: one of so many.
pub const RANGE_SHARE: usize = 4;
/// Peers of the gossip's mesh below which gossipsub takes in more. Strangers fill what configured, dialled and proven peers
/// leave of it, so that up to four of those are in the mesh always.
pub const MESH_PEERS_LOW: usize = 6;
/// Strangers in the mesh however many better peers there are: a newcomer must be able to prove itself.
pub const MESH_STRANGERS_MIN: usize = 2;
/// Things that go wrong again and again of which the log has told.
pub const NOTICES_MAX: usize = 256;
/// Lines in the log about such things at once; one more comes each [`NOTICES_PAUSE`].
pub const NOTICES_BURST: u32 = 30;
/// See [`NOTICES_BURST`].
pub const NOTICES_PAUSE: Duration = Duration::from_secs(5);
/// Time for which a configured peer may be out of reach before the log says so: nodes that start together meet sooner.
pub const UNREACHABLE_TOLD_AFTER: Duration = Duration::from_secs(5);

/// Time that a refused peer has to read why, and that closing a connection may take.
pub const LINGER: Duration = Duration::from_secs(1);
/// Time between two questions for addresses when outbound peers are missing.
pub const ASK_INTERVAL: Duration = Duration::from_secs(30);
/// Time between two writes of the address book.
pub const BOOK_SAVE_INTERVAL: Duration = Duration::from_secs(120);
/// A connection that lived this long was a good one: the back-off of its address starts anew.
pub const STABLE: Duration = Duration::from_secs(5);

const _: () = assert!(CONSENSUS_FRAME_BYTES_MAX <= EVENT_BYTES_PER_PEER_MAX, "any frame fits the quota");
const _: () = assert!(PARTS_FRAME_BYTES_MAX <= EVENT_BYTES_PER_PEER_MAX, "any frame fits the quota");
const _: () = assert!(GOSSIP_BYTES_MAX <= EVENT_BYTES_PER_PEER_MAX, "any batch fits the quota");
const _: () = assert!(CONSENSUS_FRAME_BYTES_MAX <= SEND_QUEUE_BYTES_MAX, "any frame fits the queue");
const _: () = assert!(RESPONSE_BYTES_EXPECTED <= RESPONSE_BYTES_PER_PEER_MAX, "a peer may ask something");
const _: () = assert!(RESPONSE_BYTES_MAX <= RESPONSE_BYTES_ALL_MAX, "any answer fits");
const _: () = assert!(ADDRESSES_PER_MESSAGE_MAX * 320 <= CONTROL_FRAME_BYTES_MAX, "any address message fits a frame");
