//! A validator that decides alone, with a peer: its evidence is tested in `evidence.rs` and `attacks.rs`.
#![allow(dead_code, missing_docs)]

use std::{sync::Arc, time::Duration};

use consensus::Signer;
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use mempool::{Mempool, SharedPool, Source};
use replica::{Checked, Committed, Config, Input, Output, Replica, Timer, Verifier};
use storage::{MemDisk, MemKv, Store};
use types::*;

/// The peer of the validator.
pub const PEER: NodeId = NodeId([7; 20]);

/// Heights after which evidence expires here.
pub const AGE_HEIGHTS: u64 = 6;
/// Age after which evidence expires here.
pub const AGE: Duration = Duration::from_secs(5);

/// Returns the key of a validator.
pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

/// Returns the id of the chain.
pub fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

/// Returns a genesis whose first validator decides alone, and has some money; the second one has little power.
pub fn genesis() -> Genesis {
    let validator = |(seed, power)| GenesisValidator {
        public_key: key(seed).public_key().into(),
        power: Power(power),
        name: String::new(),
        operator: None,
    };
    let mut params = Params::default();
    (params.evidence.age_heights_max, params.evidence.age_max) = (AGE_HEIGHTS, AGE);
    Genesis::new(Document {
        genesis_time: Time::from_unix_millis(1_700_000_000_000),
        chain_id: chain(),
        initial_height: Height(1),
        params,
        validators: [(1, 100), (2, 1)].map(validator).to_vec(),
        app_hash: None,
        stake: genesis::FirstStake::default(),
        accounts: vec![GenesisAccount {
            address: key(1).public_key().address(),
            balance: 1_000_000,
            name: String::new(),
        }],
    })
    .unwrap()
}

/// The validator that decides alone, with a peer.
pub struct One {
    pub disk: MemDisk,
    pub replica: Replica<MemKv>,
    pub verifier: Verifier,
    pub store: Arc<Store<MemKv>>,
    pub txs: SharedPool,
    pub now: Time,
    pub committed: Vec<Arc<Committed>>,
}

impl One {
    pub fn new() -> Self {
        Self::on(MemDisk::new(), Time::from_unix_millis(1_700_000_001_000), SignState::default())
    }

    pub fn on(disk: MemDisk, now: Time, signed: SignState) -> Self {
        Self::with(disk, now, Signer::new(key(1), signed))
    }

    /// Starts a process that signs with these keys.
    pub fn with(disk: MemDisk, now: Time, signer: Signer) -> Self {
        let store = Arc::new(Store::open(disk.open(), &chain()).unwrap());
        let mempool = Arc::new(Mempool::new(mempool::Config::default(), chain()));
        let txs = SharedPool { mempool, verifier: Arc::default() };
        let config = Config { empty_block_interval: Some(Duration::from_secs(1)), ..Config::default() };
        let (replica, verifier) = Replica::open(config, &genesis(), store.clone(), Some(signer)).unwrap();
        let mut one = Self { disk, replica, verifier, store, txs, now, committed: Vec::new() };
        one.step(vec![Input::Start, Input::PeerUp(PEER)]);
        one
    }

    /// Starts another process on the same disk.
    pub fn restart(self) -> Self {
        let signed = self.replica.signer().unwrap().state().clone();
        let Self { disk, now, .. } = self;
        Self::on(disk, now, signed)
    }

    pub fn step(&mut self, inputs: Vec<Input>) -> Vec<Output> {
        let outputs = self.replica.step(self.now, inputs, &self.txs);
        self.committed.extend(outputs.iter().filter_map(|output| match output {
            Output::Committed(committed) => Some(committed.clone()),
            _ => None,
        }));
        outputs
    }

    /// Adds a transaction of the first validator's operator to the mempool.
    pub fn submit(&mut self, message: Msg) {
        let reader = self.store.reader().unwrap();
        let signer = key(1).public_key();
        let nonce = app::View::of_state(&reader).account(&signer.address()).nonce;
        let body = TxBody { chain_id: chain(), signer, order: TxOrder::Nonce(nonce), fee: 50, messages: vec![message] };
        let tx = VerifiedTx::verified_before(body.sign(&key(1)));
        self.txs.mempool.add(&reader, reader.height(), &Params::default(), tx, self.now, Source::Local).unwrap();
    }

    pub fn tip(&self) -> Height {
        self.store.tip().unwrap().height
    }

    /// Lets time pass until this height is decided.
    pub fn decide(&mut self, height: u64) {
        while self.tip().0 < height {
            self.now = self.now.saturating_add(Duration::from_secs(1));
            let next = self.tip().next();
            self.step(vec![Input::Timer(Timer::EmptyBlock(next))]);
        }
    }

    pub fn time_of(&self, height: u64) -> Time {
        self.store.header(Height(height)).unwrap().time
    }

    /// Returns the vote of a validator at a height.
    pub fn vote(&self, seed: u8, height: u64, byte: u8) -> SignedVote {
        let set = self.store.validators_for_evidence(Height(1)).unwrap();
        let validator = key(seed).public_key().address();
        let validator_index = set.by_address(&validator).map_or(0, |(index, _)| index);
        let hash = Hash([byte; 32]);
        let block_id = Some(BlockId { hash, parts: PartSetHeader { total: 1, hash } });
        let (vote_type, height, round, timestamp) = (VoteType::Precommit, Height(height), Round(0), self.now);
        Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }.sign(&chain(), &key(seed))
    }

    /// Returns evidence against a validator, valid if the height is decided.
    pub fn evidence(&self, seed: u8, height: u64) -> Evidence {
        let set = self.store.validators_for_evidence(Height(1)).unwrap();
        let time = if height <= self.tip().0 { self.store.block_time(Height(height)).unwrap() } else { self.now };
        let (a, b) = (self.vote(seed, height, 1), self.vote(seed, height, 2));
        Evidence::DuplicateVote(DuplicateVoteEvidence::new(a, b, &set, time).unwrap())
    }

    /// Passes evidence from the peer.
    pub fn says(&mut self, evidence: &Evidence) -> (Checked, Vec<Output>) {
        let message = self.verifier.check(PeerMessage::Evidence(Box::new(evidence.clone())));
        (message.clone(), self.step(vec![Input::Message { peer: PEER, message, received: self.now }]))
    }

    /// Returns the heights of the blocks with evidence, as far as this process committed them.
    pub fn blocks_with_evidence(&self) -> Vec<u64> {
        let blocks = self.committed.iter().map(|committed| &committed.block);
        blocks.filter(|block| !block.evidence.is_empty()).map(|block| block.header.height.0).collect()
    }
}

/// Returns true if evidence is sent to peers.
pub fn is_sent(outputs: &[Output]) -> bool {
    let is_evidence = |message: &PeerMessage| matches!(message, PeerMessage::Evidence(_));
    outputs.iter().any(|output| match output {
        Output::Broadcast(message) | Output::Send { message, .. } => is_evidence(message),
        _ => false,
    })
}
