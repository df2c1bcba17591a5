//! Bounds on everything that can grow, with unit, reason and proof.
//!
//! A bound that several crates must agree on stands here. A bound of one queue stands beside that queue.

/// Validators in a set. A height costs every node O(n²) votes; 200 is where votes begin to weigh (2.5–12 ms of CPU at 100).
pub const VALIDATORS_MAX: usize = 200;

/// Total power of a set: MaxInt64 / 8, as Tendermint, so that `3 · power` and priorities never overflow.
pub const POWER_TOTAL_MAX: u64 = (i64::MAX / 8) as u64;

/// Bytes of a block part: small enough to forward before the whole block is there.
pub const PART_BYTES: usize = 65_536;

/// Bytes of an encoded block, whatever the parameters say.
pub const BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Parts of the largest block.
pub const PARTS_MAX: u32 = (BLOCK_BYTES_MAX / PART_BYTES) as u32;

/// Bytes of one transaction.
pub const TX_BYTES_MAX: usize = 64 * 1024;

/// Messages in one transaction; they succeed or fail together.
pub const TX_MESSAGES_MAX: usize = 16;

/// Transactions in one block: bounds the memory that decoding a block takes (a transaction is at least 100 bytes).
pub const BLOCK_TXS_MAX: usize = BLOCK_BYTES_MAX / 100;

/// Pieces of evidence in one block.
pub const EVIDENCE_PER_BLOCK_MAX: usize = 64;

/// Bytes of one encoded vote: 64 of signature, 74 of block id, 20 of address, 12 of time, numbers and tags.
pub const VOTE_BYTES_MAX: usize = 256;

/// Bytes of a certificate: one vote for each validator, with tags.
pub const CERTIFICATE_BYTES_MAX: usize = VALIDATORS_MAX * (VOTE_BYTES_MAX + 4);

/// Bytes of the hard state: a polka, and what we signed at one height.
pub const HARD_STATE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a message on the consensus channel.
pub const CONSENSUS_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a message on the parts channel: a part with its proof.
pub const PART_MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Bytes of a batch of transactions on the gossip topic.
pub const TX_BATCH_BYTES_MAX: usize = 512 * 1024;

/// Transactions of a batch on the gossip topic.
pub const TX_BATCH_MAX: usize = 4096;

/// Transactions of which a peer tells that they wait with it: the ids are 2 MiB.
pub const WAITING_TXS_MAX: usize = 65_536;

/// Transactions that one request may ask for by id.
pub const TXS_PER_REQUEST_MAX: usize = 1_024;

/// Bytes of a request to a peer: the ids of transactions, with tags.
pub const PEER_REQUEST_BYTES_MAX: usize = TXS_PER_REQUEST_MAX * 32 + 64;

/// Blocks that one sync request may ask for.
pub const SYNC_BLOCKS_MAX: u32 = 64;

/// Bytes of the answer to a sync request: at least one block of the largest size, with its commit.
pub const SYNC_RESPONSE_BYTES_MAX: usize = BLOCK_BYTES_MAX + 2 * 1024 * 1024;

/// Characters of a chain id, as Tendermint.
pub const CHAIN_ID_CHARS_MAX: usize = 50;

/// Events of one transaction or block.
pub const EVENTS_MAX: usize = 1024;

/// Rounds of a height of which we keep what we signed, the last ones: older messages help nobody, and can never be signed
/// again, because rounds only grow.
pub const OWN_ROUNDS_MAX: usize = 4;

const _: () = assert!(PARTS_MAX as usize * PART_BYTES == BLOCK_BYTES_MAX);
const _: () = assert!(CERTIFICATE_BYTES_MAX < CONSENSUS_MESSAGE_BYTES_MAX);
const _: () = assert!(2 * CERTIFICATE_BYTES_MAX < HARD_STATE_BYTES_MAX);
const _: () = assert!(PART_BYTES + 1024 < PART_MESSAGE_BYTES_MAX);
const _: () = assert!(TX_BYTES_MAX < TX_BATCH_BYTES_MAX);
const _: () = assert!(CERTIFICATE_BYTES_MAX + BLOCK_BYTES_MAX < SYNC_RESPONSE_BYTES_MAX);
