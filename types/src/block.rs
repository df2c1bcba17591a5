//! Blocks: a header, transactions, evidence, and the commit of the block before.

use thiserror::Error;

use crate::{
    BlockId, Commit, Evidence, Hash, Header, List, PartSet, TxId,
    limits::{
        BLOCK_BYTES_MAX, BLOCK_TXS_MAX, EVIDENCE_NAMED_MAX, EVIDENCE_PER_BLOCK_MAX, TX_BYTES_MAX, VALIDATORS_MAX,
    },
    merkle,
    mutation::{Mutation, mutated},
    pb,
    wire::{self, DecodeError, Wire},
};

/// A block as it is proposed, decided and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The part of the block that light clients read.
    pub header: Header,
    /// Bytes of the transactions, in the order of their execution.
    pub txs: Vec<Vec<u8>>,
    /// Misbehaviour that is reported in this block.
    pub evidence: Vec<Evidence>,
    /// The commit of the previous block; `None` only in the first block.
    pub last_commit: Option<Commit>,
}

/// Reason why a block contradicts itself. Whether it fits the chain is checked elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The `data_hash` of the header does not match the transactions.
    #[error("header.data_hash is not the root over the transactions")]
    DataHash,
    /// The `evidence_hash` of the header does not match the evidence.
    #[error("header.evidence_hash is not the root over the evidence")]
    EvidenceHash,
    /// The `last_commit_hash` of the header does not match the last commit.
    #[error("header.last_commit_hash is not the root over the last commit")]
    LastCommitHash,
    /// The last commit is not for the header's `last_block_id` at the height before, or only one of the two is present.
    #[error("the last commit is not for header.last_block_id")]
    LastCommit,
}

impl Block {
    /// Returns the header's `data_hash`: the Merkle root (SHA-256) over the ids of the transactions.
    pub fn data_hash(txs: &[Vec<u8>]) -> Hash {
        Self::data_hash_of(&txs.iter().map(|tx| TxId::of(tx)).collect::<Vec<_>>())
    }

    /// As [`Block::data_hash`], from the ids of the transactions.
    pub fn data_hash_of(ids: &[TxId]) -> Hash {
        merkle::root(merkle::Hasher::Sha256, ids)
    }

    /// Iterates over the ids of the transactions, in order.
    pub fn tx_ids(&self) -> impl ExactSizeIterator<Item = TxId> {
        self.txs.iter().map(|tx| TxId::of(tx))
    }

    /// Returns the header's `evidence_hash`: the Merkle root (SHA-256) over the bytes of each piece of evidence.
    pub fn evidence_hash(evidence: &[Evidence]) -> Hash {
        let leaves: Vec<Vec<u8>> = evidence.iter().map(Evidence::hashed_bytes).collect();
        merkle::root(merkle::Hasher::Sha256, &leaves)
    }

    /// Cuts the block into parts. Cost: one encoding and one BLAKE3 over it.
    pub fn part_set(&self) -> PartSet {
        PartSet::from_bytes(&self.encode())
    }

    /// Returns the id of the block, given its parts.
    pub fn id(&self, parts: &PartSet) -> BlockId {
        BlockId { hash: self.header.hash(), parts: parts.header() }
    }

    /// Checks that the hashes in the header match the content of this block.
    ///
    /// Errors: the [`BlockError`] of the first hash that does not match, or [`BlockError::LastCommit`] if the last
    /// commit is not for `last_block_id` at the height before.
    pub fn check_content(&self) -> Result<(), BlockError> {
        let header = &self.header;
        if Self::data_hash(&self.txs) != header.data_hash && !mutated(Mutation::AnyDataHash) {
            return Err(BlockError::DataHash);
        }
        if Self::evidence_hash(&self.evidence) != header.evidence_hash && !mutated(Mutation::AnyEvidenceHash) {
            return Err(BlockError::EvidenceHash);
        }
        if self.last_commit.as_ref().map_or_else(Commit::empty_hash, Commit::hash) != header.last_commit_hash
            && !mutated(Mutation::AnyLastCommitHash)
        {
            return Err(BlockError::LastCommitHash);
        }
        let of_commit = self.last_commit.as_ref().map(|commit| (commit.block_id, commit.height.next()));
        if of_commit != header.last_block_id.map(|id| (id, header.height)) {
            return Err(BlockError::LastCommit);
        }
        Ok(())
    }

    /// Returns the maximum bytes of a block without transactions and with this number of validators. The rest of the
    /// parameter `bytes_max` is available for transactions.
    pub fn overhead_bytes_max(validators: usize) -> usize {
        1024 + validators * 128
    }

    /// Returns the bytes that a transaction of `len` bytes takes in a block: itself, its tag and its length.
    pub fn tx_bytes_in_block(len: usize) -> usize {
        1 + prost::length_delimiter_len(len) + len
    }
}

impl Wire for Block {
    type Pb = pb::Block;
    const NAME: &'static str = "block";
    const BYTES_MAX: usize = BLOCK_BYTES_MAX;
    const LISTS: &'static [List] = &[
        List::new("block.data.txs", &[2, 1], BLOCK_TXS_MAX),
        List::new("block.evidence", &[3, 1], EVIDENCE_PER_BLOCK_MAX),
        List::new("signatures in block.evidence", &[3, 1, 2, 1, 1, 2, 4], EVIDENCE_PER_BLOCK_MAX * VALIDATORS_MAX),
        List::new("sets in block.evidence", &[3, 1, 2, 1, 2, 1], EVIDENCE_PER_BLOCK_MAX * VALIDATORS_MAX),
        List::new("validators in block.evidence", &[3, 1, 2, 3], EVIDENCE_NAMED_MAX),
        List::new("commit.signatures", &[4, 4], VALIDATORS_MAX),
    ];

    fn to_pb(&self) -> pb::Block {
        pb::Block {
            header: Some(self.header.to_pb()),
            data: Some(pb::Data { txs: self.txs.clone() }),
            evidence: Some(pb::EvidenceList { evidence: self.evidence.iter().map(Wire::to_pb).collect() }),
            last_commit: self.last_commit.as_ref().map(Wire::to_pb),
        }
    }

    fn from_pb(pb: pb::Block) -> Result<Self, DecodeError> {
        let txs = pb.data.unwrap_or_default().txs;
        wire::at_most("block.data.txs", txs.len(), BLOCK_TXS_MAX)?;
        if let Some(tx) = txs.iter().find(|tx| tx.len() > TX_BYTES_MAX) {
            return Err(DecodeError::field(
                "block.data.txs",
                format!("a transaction of {} bytes, at most {TX_BYTES_MAX} are allowed", tx.len()),
            ));
        }
        let evidence = pb.evidence.unwrap_or_default().evidence;
        wire::at_most("block.evidence", evidence.len(), EVIDENCE_PER_BLOCK_MAX)?;
        let evidence = evidence.into_iter().map(Evidence::from_pb).collect::<Result<Vec<_>, _>>()?;
        let named = evidence.iter().map(Evidence::named).sum();
        wire::at_most("validators in block.evidence", named, EVIDENCE_NAMED_MAX)?;
        Ok(Self {
            header: Header::from_pb(wire::required("block.header", pb.header)?)?,
            txs,
            evidence,
            last_commit: pb.last_commit.map(Commit::from_pb).transpose()?,
        })
    }
}
