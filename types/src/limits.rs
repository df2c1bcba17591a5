//! Bounds on everything that can grow, with unit, reason and proof.
//!
//! A bound that several crates must agree on is defined here. A bound of one queue is defined next to that queue.

/// Maximum number of validators in a set. Each height costs O(n²) votes in the network; near 200 their cost becomes
/// significant (2.5–12 ms of CPU per height at 100).
pub const VALIDATORS_MAX: usize = 200;

/// Maximum total power of a set: MaxInt64 / 8, as in Tendermint, so that `3 · power` and priorities never overflow.
pub const POWER_TOTAL_MAX: u64 = (i64::MAX / 8) as u64;

/// Bytes of a full block part: small enough to forward parts before the whole block has arrived.
pub const PART_BYTES: usize = 65_536;

/// Maximum bytes of an encoded block, independent of the chain's parameters.
pub const BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Maximum number of parts of a block, for a block of the largest size.
pub const PARTS_MAX: u32 = (BLOCK_BYTES_MAX / PART_BYTES) as u32;

/// Maximum bytes of one encoded transaction: it has room for three values of the largest size.
pub const TX_BYTES_MAX: usize = 224 * 1024;

/// Maximum number of messages in one transaction; they succeed or fail together.
pub const TX_MESSAGES_MAX: usize = 16;

/// Maximum number of operations in one write to a namespace.
pub const KV_OPS_MAX: usize = 64;

/// Maximum bytes of a key in a namespace; the minimum is 1.
pub const KV_KEY_BYTES_MAX: usize = 256;

/// Maximum bytes of a value in a namespace.
pub const KV_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of old values in namespaces after which a block replaces no more. A write of a few bytes can replace
/// [`KV_VALUE_BYTES_MAX`], and a node holds the old values until the block is executed; without a bound, a block of such writes
/// would fill its memory.
pub const KV_OLD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Maximum bytes of the name of a namespace.
pub const NS_NAME_BYTES_MAX: usize = 64;

/// Maximum bytes of the reason in a proposal to the validators.
pub const PROPOSAL_REASON_BYTES_MAX: usize = 280;

/// Maximum bytes of the address in a proposal at which people read more.
pub const PROPOSAL_URI_BYTES_MAX: usize = 256;

/// Maximum bytes of the name of a validator; the minimum is 1.
pub const MONIKER_BYTES_MAX: usize = 70;

/// Maximum bytes of the address of a validator's page.
pub const WEBSITE_BYTES_MAX: usize = 140;

/// Maximum bytes of the further text about a validator.
pub const DETAILS_BYTES_MAX: usize = 280;

/// Maximum number of heights in the window in which missed heights are counted: their bits take 12.5 KB for a validator.
pub const DOWNTIME_WINDOW_MAX: u64 = 100_000;

/// Maximum number of parameters that one proposal changes.
pub const PARAM_CHANGES_MAX: usize = 64;

/// Maximum bytes of the name of a parameter in a proposal.
pub const PARAM_NAME_BYTES_MAX: usize = 64;

/// Maximum bytes of the name of an upgrade; the minimum is 1.
pub const UPGRADE_NAME_BYTES_MAX: usize = 64;

/// Maximum bytes of the text of an upgrade that says where its program is.
pub const UPGRADE_INFO_BYTES_MAX: usize = 1024;

/// Maximum bytes of the title of a proposal that only states something; the minimum is 1.
pub const STATEMENT_TITLE_BYTES_MAX: usize = 140;

/// Maximum bytes of its body.
pub const STATEMENT_BODY_BYTES_MAX: usize = 4096;

/// Maximum number of namespaces that one revert returns.
pub const REVERT_SCOPE_MAX: usize = 32;

/// Upper bound of the number of open proposals that a chain's parameters can allow. It bounds the events of a block,
/// because all open proposals may end in one.
pub const PROPOSALS_OPEN_MAX: u64 = 8;

/// Maximum duration between two steps of a proposal, in seconds.
pub const PROPOSAL_STEP_S_MAX: u64 = 30 * 24 * 3600;

/// Maximum number of transactions in one block. It bounds the memory for decoding a block (a transaction has at least
/// 100 bytes).
pub const BLOCK_TXS_MAX: usize = BLOCK_BYTES_MAX / 100;

/// Maximum number of pieces of evidence in one block.
pub const EVIDENCE_PER_BLOCK_MAX: usize = 64;

/// Maximum number of validators that the evidence of one block names: each is one misbehavior, with an event. One attack
/// on light clients can name a whole set, beside the two votes of others.
pub const EVIDENCE_NAMED_MAX: usize = EVIDENCE_PER_BLOCK_MAX + VALIDATORS_MAX;

/// Maximum number of pieces of evidence that wait for a block at a node: 600 KiB of votes, beside
/// [`ATTACKS_WAITING_MAX`]. Further ones are refused until some are in a block.
pub const EVIDENCE_WAITING_MAX: usize = 1024;

/// Maximum number of attacks on light clients among the evidence that waits for a block: at most 8 MiB.
pub const ATTACKS_WAITING_MAX: usize = 64;

/// Maximum number of pieces of evidence against one validator that wait for a block, so that one validator leaves room
/// for the others. There is one for each height, and one is enough to slash it.
pub const EVIDENCE_WAITING_PER_VALIDATOR_MAX: usize = 16;

/// Maximum bytes of one encoded vote: 64 for the signature, 74 for the block id, 20 for the address, 12 for the time,
/// and numbers and tags.
pub const VOTE_BYTES_MAX: usize = 256;

/// Maximum bytes of a certificate: one vote of each validator, with tags.
pub const CERTIFICATE_BYTES_MAX: usize = VALIDATORS_MAX * (VOTE_BYTES_MAX + 4);

/// Maximum bytes of one validator with its tag: 50 for the key, 22 for the address, 10 for the power, 11 for the priority.
pub const VALIDATOR_BYTES_MAX: usize = 104;

/// Maximum bytes of evidence of an attack on light clients: a header, a commit, a set of validators, and those of them
/// that misbehaved, with tags.
pub const ATTACK_BYTES_MAX: usize = 2048 + CERTIFICATE_BYTES_MAX + (2 * VALIDATORS_MAX + 1) * VALIDATOR_BYTES_MAX;

/// Maximum bytes of the hard state: a polka, and the messages that this node signed at one height.
pub const HARD_STATE_BYTES_MAX: usize = 1024 * 1024;

/// Maximum bytes of a message on the consensus channel.
pub const CONSENSUS_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Maximum bytes of a message on the parts channel: a part with its proof.
pub const PART_MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Maximum bytes of a batch of transactions on the gossip topic.
pub const TX_BATCH_BYTES_MAX: usize = 512 * 1024;

/// Maximum number of transactions in a batch on the gossip topic.
pub const TX_BATCH_MAX: usize = 4096;

/// Maximum number of waiting transactions that a peer lists in one answer; their ids take 2 MiB.
pub const WAITING_TXS_MAX: usize = 65_536;

/// Maximum number of transactions that one request asks for by id.
pub const TXS_PER_REQUEST_MAX: usize = 1_024;

/// Maximum bytes of a request to a peer: the ids of transactions, with tags.
pub const PEER_REQUEST_BYTES_MAX: usize = TXS_PER_REQUEST_MAX * 32 + 64;

/// Maximum number of blocks that one sync request asks for.
pub const SYNC_BLOCKS_MAX: u32 = 64;

/// Maximum bytes of the answer to a sync request: at least one block of the largest size, with its commit.
pub const SYNC_RESPONSE_BYTES_MAX: usize = BLOCK_BYTES_MAX + 2 * 1024 * 1024;

/// Maximum number of characters in a chain id, as in Tendermint.
pub const CHAIN_ID_CHARS_MAX: usize = 50;

/// Maximum number of events of one transaction or block.
pub const EVENTS_MAX: usize = 8192;

/// Number of the latest rounds of a height whose own signed messages are kept. Older messages are of no use, and can
/// never be signed again, because rounds only grow.
pub const OWN_ROUNDS_MAX: usize = 4;

const _: () = assert!(PARTS_MAX as usize * PART_BYTES == BLOCK_BYTES_MAX);
const _: () = assert!(CERTIFICATE_BYTES_MAX < CONSENSUS_MESSAGE_BYTES_MAX);
const _: () = assert!(2 * CERTIFICATE_BYTES_MAX < HARD_STATE_BYTES_MAX);
const _: () = assert!(ATTACK_BYTES_MAX + 16 < CONSENSUS_MESSAGE_BYTES_MAX);
const _: () = assert!(ATTACKS_WAITING_MAX * ATTACK_BYTES_MAX <= 8 * 1024 * 1024);
const _: () = assert!(PART_BYTES + 1024 < PART_MESSAGE_BYTES_MAX);
const _: () = assert!(TX_BYTES_MAX < TX_BATCH_BYTES_MAX);
const _: () = assert!(3 * (KV_VALUE_BYTES_MAX + KV_KEY_BYTES_MAX) + 1024 < TX_BYTES_MAX);
// At most twice that many proposals end in a block, those that it opens included: one event for each, and one for each
// of its namespaces, or one for what it does. Each validator that evidence names has two events, and each that is jailed for
// downtime; an upgrade has one.
const _: () = assert!(
    2 * PROPOSALS_OPEN_MAX as usize * (REVERT_SCOPE_MAX + 1)
        + REVERT_SCOPE_MAX
        + 2 * (EVIDENCE_NAMED_MAX + VALIDATORS_MAX)
        + 1
        < EVENTS_MAX
);
const _: () = assert!(CERTIFICATE_BYTES_MAX + BLOCK_BYTES_MAX < SYNC_RESPONSE_BYTES_MAX);
