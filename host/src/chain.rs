//! The chain as far as it is committed here, and which block may come next.

use types::{
    Address, Block, BlockId, ChainId, Commit, Evidence, Hash, Header, Height, Params, PartSet, Time, ValidatorSet,
    VerifiedTx,
};

use storage::Tip;

/// What the next block follows from.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) chain_id: ChainId,
    pub(crate) initial_height: Height,
    pub(crate) tip: Tip,
    /// The validators of the tip; none before the first block.
    pub(crate) last_validators: Option<ValidatorSet>,
    /// The validators of the next block.
    pub(crate) validators: ValidatorSet,
    /// The validators of the block after it.
    pub(crate) next_validators: ValidatorSet,
    /// The parameters of the next block.
    pub(crate) params: Params,
}

/// Why a block may not come next.
pub(crate) type Reason = String;

impl Chain {
    /// The height of the next block.
    pub(crate) fn height(&self) -> Height {
        self.tip.height.next()
    }

    fn is_first(&self) -> bool {
        self.height() == self.initial_height
    }

    /// The block that this node proposes next.
    pub(crate) fn build(
        &self,
        now: Time,
        proposer: Address,
        last_commit: Option<Commit>,
        txs: Vec<Vec<u8>>,
    ) -> (BlockId, Block, PartSet) {
        let evidence: Vec<Evidence> = Vec::new();
        let after_last = Time::from_unix_nanos(self.tip.time.unix_nanos().saturating_add(1));
        let header = Header {
            time: now.max(after_last),
            last_commit_hash: last_commit.as_ref().map_or_else(Commit::empty_hash, Commit::hash),
            data_hash: Block::data_hash(&txs),
            evidence_hash: Block::evidence_hash(&evidence),
            proposer,
            ..self.expected_header()
        };
        let block = Block { header, txs, evidence, last_commit };
        let parts = block.part_set();
        (block.id(&parts), block, parts)
    }

    /// The fields of the next header that follow from the chain; the others are left empty.
    fn expected_header(&self) -> Header {
        Header {
            version_app: self.params.version_app,
            chain_id: self.chain_id.clone(),
            height: self.height(),
            time: Time::UNIX_EPOCH,
            last_block_id: self.tip.block_id,
            last_commit_hash: Hash::default(),
            data_hash: Hash::default(),
            validators_hash: self.validators.hash(),
            next_validators_hash: self.next_validators.hash(),
            consensus_hash: self.params.hash(),
            app_hash: self.tip.app_hash,
            last_results_hash: self.tip.results_hash,
            evidence_hash: Hash::default(),
            proposer: Address::default(),
        }
    }

    /// Whether `block` may come next, all but its transactions. `known` is a commit of the tip built from verified votes:
    /// signatures that stand in it are not checked again.
    ///
    /// Cost: one encoding of the set, and one signature check for each vote of the last commit that is not known.
    pub(crate) fn check(&self, block: &Block, block_bytes: usize, known: Option<&Commit>) -> Result<(), Reason> {
        let header = &block.header;
        let expected = Header {
            time: header.time,
            last_commit_hash: header.last_commit_hash,
            data_hash: header.data_hash,
            evidence_hash: header.evidence_hash,
            proposer: header.proposer,
            ..self.expected_header()
        };
        if *header != expected {
            return Err(difference(header, &expected));
        }
        if header.time <= self.tip.time {
            return Err(format!("header.time {} is not after the previous block's {}", header.time, self.tip.time));
        }
        if self.validators.by_address(&header.proposer).is_none() {
            return Err(format!("header.proposer {} is no validator of this height", header.proposer));
        }
        if block_bytes as u64 > self.params.block.bytes_max {
            return Err(format!("{block_bytes} bytes, at most {} are allowed", self.params.block.bytes_max));
        }
        if !block.evidence.is_empty() {
            return Err("evidence is not taken into blocks by this version".into());
        }
        block.check_content().map_err(|e| e.to_string())?;
        match (&block.last_commit, &self.last_validators) {
            (None, _) if self.is_first() => Ok(()),
            (Some(commit), Some(validators)) if !self.is_first() => {
                commit.verify_beside(&self.chain_id, validators, known).map_err(|e| format!("last_commit: {e}"))
            }
            _ => Err("the first block, and only that, has no last commit".into()),
        }
    }

    /// Moves on to a committed block.
    pub(crate) fn advance(&mut self, tip: Tip, next_validators: ValidatorSet, params: Params) {
        let validators = std::mem::replace(&mut self.next_validators, next_validators);
        self.last_validators = Some(std::mem::replace(&mut self.validators, validators));
        self.tip = tip;
        self.params = params;
    }
}

/// Names the first field that differs, with both values.
fn difference(got: &Header, expected: &Header) -> Reason {
    let differ = |field: &str, got: String, expected: String| {
        (got != expected).then(|| format!("header.{field} is {got}, expected {expected}"))
    };
    let id = |id: Option<BlockId>| id.map_or_else(|| "none".into(), |id| id.to_string());
    differ("chain_id", got.chain_id.to_string(), expected.chain_id.to_string())
        .or_else(|| differ("height", got.height.to_string(), expected.height.to_string()))
        .or_else(|| differ("version.app", got.version_app.to_string(), expected.version_app.to_string()))
        .or_else(|| differ("last_block_id", id(got.last_block_id), id(expected.last_block_id)))
        .or_else(|| differ("validators_hash", got.validators_hash.to_string(), expected.validators_hash.to_string()))
        .or_else(|| {
            differ(
                "next_validators_hash",
                got.next_validators_hash.to_string(),
                expected.next_validators_hash.to_string(),
            )
        })
        .or_else(|| differ("consensus_hash", got.consensus_hash.to_string(), expected.consensus_hash.to_string()))
        .or_else(|| differ("app_hash", got.app_hash.to_string(), expected.app_hash.to_string()))
        .or_else(|| {
            differ("last_results_hash", got.last_results_hash.to_string(), expected.last_results_hash.to_string())
        })
        .unwrap_or_else(|| "last_block_id names other parts than the previous block's".into())
}

/// What executing a block takes.
pub(crate) fn context(block: &Block) -> app::BlockContext {
    app::BlockContext { height: block.header.height, time: block.header.time, proposer: block.header.proposer }
}

/// Turns checked transactions into executable ones, those that were unverified having been verified since.
pub(crate) fn verified(txs: Vec<app::BlockTx>) -> Vec<VerifiedTx> {
    txs.into_iter()
        .map(|tx| match tx {
            app::BlockTx::Known(tx) => tx,
            app::BlockTx::Unverified(tx) => VerifiedTx::verified_before(tx),
        })
        .collect()
}
