//! The header: the part of a block that light clients read.

use prost::Message;

use crate::{
    Address, BlockId, ChainId, Hash, Height, Time, merkle, pb,
    wire::{self, DecodeError, Wire},
};

/// Tendermint's version of the block format.
pub const BLOCK_PROTOCOL: u64 = 11;

/// The header of a block. Its hash (SHA-256, Tendermint's layout) identifies the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the application's rules.
    pub version_app: u64,
    /// Id of the chain that the block belongs to.
    pub chain_id: ChainId,
    /// Position of the block in the chain.
    pub height: Height,
    /// Time from the proposer's clock, strictly later than the previous block's time.
    pub time: Time,
    /// Id of the previous block; `None` only in the first block.
    pub last_block_id: Option<BlockId>,
    /// Root over the previous block's commit: [`Commit::hash`](crate::Commit::hash).
    pub last_commit_hash: Hash,
    /// Root over the transactions: [`Block::data_hash`](crate::Block::data_hash).
    pub data_hash: Hash,
    /// Hash of the validators of this height: [`ValidatorSet::hash`](crate::ValidatorSet::hash).
    pub validators_hash: Hash,
    /// Hash of the validators of the next height.
    pub next_validators_hash: Hash,
    /// Hash of the parameters of this height: [`Params::hash`](crate::Params::hash).
    pub consensus_hash: Hash,
    /// Root of the state after the previous block (BLAKE3), under which proofs of the state hold.
    pub app_hash: Hash,
    /// Root over the previous block's results: [`results_hash`](crate::results_hash).
    pub last_results_hash: Hash,
    /// Root over this block's evidence: [`Block::evidence_hash`](crate::Block::evidence_hash).
    pub evidence_hash: Hash,
    /// Address of the validator that proposed the block first.
    pub proposer: Address,
}

#[derive(Clone, PartialEq, Message)]
struct StringValue {
    #[prost(string, tag = "1")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Int64Value {
    #[prost(int64, tag = "1")]
    value: i64,
}

#[derive(Clone, PartialEq, Message)]
struct BytesValue {
    #[prost(bytes, tag = "1")]
    value: Vec<u8>,
}

impl Header {
    /// Returns the SHA-256 Merkle root over the fourteen fields, each encoded in protobuf.
    pub fn hash(&self) -> Hash {
        let pb = self.to_pb();
        let bytes = |value: Vec<u8>| BytesValue { value }.encode_to_vec();
        let fields = [
            pb.version.unwrap_or_default().encode_to_vec(),
            StringValue { value: pb.chain_id }.encode_to_vec(),
            Int64Value { value: pb.height }.encode_to_vec(),
            pb.time.unwrap_or_default().encode_to_vec(),
            pb.last_block_id.unwrap_or_default().encode_to_vec(),
            bytes(pb.last_commit_hash),
            bytes(pb.data_hash),
            bytes(pb.validators_hash),
            bytes(pb.next_validators_hash),
            bytes(pb.consensus_hash),
            bytes(pb.app_hash),
            bytes(pb.last_results_hash),
            bytes(pb.evidence_hash),
            bytes(pb.proposer_address),
        ];
        merkle::root(merkle::Hasher::Sha256, &fields)
    }
}

impl Wire for Header {
    type Pb = pb::Header;
    const NAME: &'static str = "header";
    const BYTES_MAX: usize = 1024;

    fn to_pb(&self) -> pb::Header {
        pb::Header {
            version: Some(pb::ConsensusVersion { block: BLOCK_PROTOCOL, app: self.version_app }),
            chain_id: self.chain_id.as_str().to_owned(),
            height: wire::height_pb(self.height),
            time: wire::time_pb(self.time),
            last_block_id: wire::block_id_pb(self.last_block_id),
            last_commit_hash: self.last_commit_hash.0.to_vec(),
            data_hash: self.data_hash.0.to_vec(),
            validators_hash: self.validators_hash.0.to_vec(),
            next_validators_hash: self.next_validators_hash.0.to_vec(),
            consensus_hash: self.consensus_hash.0.to_vec(),
            app_hash: self.app_hash.0.to_vec(),
            last_results_hash: self.last_results_hash.0.to_vec(),
            evidence_hash: self.evidence_hash.0.to_vec(),
            proposer_address: self.proposer.0.to_vec(),
        }
    }

    fn from_pb(pb: pb::Header) -> Result<Self, DecodeError> {
        let version = wire::required("header.version", pb.version)?;
        if version.block != BLOCK_PROTOCOL {
            return Err(DecodeError::field(
                "header.version.block",
                format!("{} is not {BLOCK_PROTOCOL}", version.block),
            ));
        }
        Ok(Self {
            version_app: version.app,
            chain_id: ChainId::new(&pb.chain_id).map_err(|e| DecodeError::field("header.chain_id", e))?,
            height: wire::height("header.height", pb.height)?,
            time: wire::time("header.time", pb.time)?,
            last_block_id: wire::block_id_or_nil("header.last_block_id", pb.last_block_id)?,
            last_commit_hash: wire::hash("header.last_commit_hash", &pb.last_commit_hash)?,
            data_hash: wire::hash("header.data_hash", &pb.data_hash)?,
            validators_hash: wire::hash("header.validators_hash", &pb.validators_hash)?,
            next_validators_hash: wire::hash("header.next_validators_hash", &pb.next_validators_hash)?,
            consensus_hash: wire::hash("header.consensus_hash", &pb.consensus_hash)?,
            app_hash: wire::hash("header.app_hash", &pb.app_hash)?,
            last_results_hash: wire::hash("header.last_results_hash", &pb.last_results_hash)?,
            evidence_hash: wire::hash("header.evidence_hash", &pb.evidence_hash)?,
            proposer: wire::address("header.proposer_address", &pb.proposer_address)?,
        })
    }
}
