//! A test chain: consecutive blocks, and the state after each. The benchmark uses it too.
#![allow(dead_code)]

use std::collections::BTreeMap;

use storage::{CommitBatch, Genesis, GenesisBatch, Kv, MemDisk, MemKv, StateReader, Store};
use types::{
    Block, BlockId, BlockResults, ChainId, Commit, CommitSig, Evidence, HardState, Hash, Header, Height, Params, Power,
    Replaced, Round, SecretKey, Signature, Step, Time, TxResult, ValidatorSet, ValidatorUpdate, Wire, WriteSet, blake3,
    results_hash,
};

/// A database that can be opened again.
pub trait Rig {
    type Kv: Kv;
    fn new() -> Self;
    /// Opens the database. The previous handle must be dropped first.
    fn open(&self) -> Self::Kv;
}

pub struct MemRig(pub MemDisk);

impl Rig for MemRig {
    type Kv = MemKv;
    fn new() -> Self {
        Self(MemDisk::new())
    }
    fn open(&self) -> MemKv {
        self.0.open()
    }
}

#[cfg(feature = "rocksdb")]
pub struct RocksRig(pub tempfile::TempDir);

#[cfg(feature = "rocksdb")]
impl Rig for RocksRig {
    type Kv = storage::RocksKv;
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }
    fn open(&self) -> storage::RocksKv {
        storage::RocksKv::open(&self.0.path().join("store")).expect("opens")
    }
}

pub fn chain_id() -> ChainId {
    ChainId::new("test-chain").expect("a fine name")
}

/// Opens the store in the rig's database.
pub fn open<R: Rig>(rig: &R) -> Store<R::Kv> {
    Store::open(rig.open(), &chain_id()).expect("opens")
}

pub fn writes<const N: usize>(rows: [(&[u8], Option<&[u8]>); N]) -> WriteSet {
    WriteSet(rows.into_iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect())
}

pub fn public_key(seed: u8) -> types::PublicKey {
    SecretKey::from_bytes(&[seed; 32]).expect("a scalar").public_key()
}

/// The chain that is written to the store, and the values that the store must return.
pub struct Chain {
    pub genesis: Genesis,
    pub tip: Option<BlockId>,
    pub height: Height,
    pub last_commit: Option<Commit>,
    pub app_hash: Hash,
    pub results_hash: Hash,
    /// Validator sets by height.
    pub validators: BTreeMap<Height, ValidatorSet>,
    pub params: BTreeMap<Height, Params>,
    /// The state after each height.
    pub states: BTreeMap<Height, BTreeMap<Vec<u8>, Vec<u8>>>,
    pub made: BTreeMap<Height, Made>,
    /// If true, states and blocks of all heights are kept; the benchmark does not need them.
    pub remember: bool,
}

/// The data of one height, as the store receives it.
#[derive(Clone)]
pub struct Made {
    pub block: Block,
    pub bytes: Vec<u8>,
    pub id: BlockId,
    pub seen_commit: Commit,
    pub results: BlockResults,
    pub writes: WriteSet,
    pub replaced: Replaced,
    pub validators: ValidatorSet,
    pub params: Params,
    pub evidence_floor: Height,
}

impl Made {
    pub fn batch(&self) -> CommitBatch<'_> {
        CommitBatch {
            block_id: self.id,
            block: &self.block,
            block_bytes: &self.bytes,
            seen_commit: &self.seen_commit,
            results: &self.results,
            writes: &self.writes,
            replaced: &self.replaced,
            validators: &self.validators,
            params: &self.params,
            evidence_floor: self.evidence_floor,
        }
    }

    /// Returns a hard state of this height after its precommit.
    pub fn hard_state(&self) -> HardState {
        HardState { height: self.block.header.height, step: Step::Precommit, ..HardState::default() }
    }
}

impl Chain {
    /// Writes the genesis state of a chain whose first block has height `initial`.
    pub fn start<K: Kv>(store: &Store<K>, initial: u64, first: WriteSet) -> Self {
        let genesis = Genesis {
            initial_height: Height(initial),
            time: Time::from_unix_nanos(1_700_000_000_000_000_000),
            app_hash: blake3(b"genesis"),
            document_hash: blake3(b"document"),
        };
        let set = ValidatorSet::new((1..=4).map(|seed| (public_key(seed), Power(10 * u64::from(seed)))).collect());
        let set = set.expect("a set");
        let params = Params::default();
        store
            .init_genesis(&GenesisBatch { genesis, validators: &set, params: &params }, rows_of(&first))
            .expect("an empty store takes a genesis");
        let mut next = set.clone();
        next.increment(1);
        let height = Height(initial - 1);
        let state = first.0.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Self {
            genesis,
            tip: None,
            height,
            last_commit: None,
            app_hash: genesis.app_hash,
            results_hash: results_hash(&[]),
            validators: BTreeMap::from([(Height(initial), set), (Height(initial + 1), next)]),
            params: BTreeMap::from([(Height(initial), params)]),
            states: BTreeMap::from([(height, state)]),
            made: BTreeMap::new(),
            remember: true,
        }
    }

    /// Creates the next height. At every seventh height the power of a validator changes, at every fifth the
    /// parameters.
    pub fn next(&mut self, writes: WriteSet, txs: Vec<Vec<u8>>) -> Made {
        self.next_with(writes, txs, Vec::new())
    }

    /// As [`Chain::next`], with evidence. All evidence of earlier heights has expired.
    pub fn next_with(&mut self, writes: WriteSet, txs: Vec<Vec<u8>>, evidence: Vec<Evidence>) -> Made {
        let height = self.height.next();
        let time = Time::from_unix_nanos(self.genesis.time.unix_nanos() + height.0 as i64 * 1_000_000);
        let set = self.validators[&height].clone();
        let header = Header {
            version_app: 1,
            chain_id: chain_id(),
            height,
            time,
            last_block_id: self.tip,
            last_commit_hash: self.last_commit.as_ref().map_or_else(Commit::empty_hash, Commit::hash),
            data_hash: Block::data_hash(&txs),
            validators_hash: set.hash(),
            next_validators_hash: self.validators[&height.next()].hash(),
            consensus_hash: self.params[&height].hash(),
            app_hash: self.app_hash,
            last_results_hash: self.results_hash,
            evidence_hash: Block::evidence_hash(&evidence),
            proposer: set.proposer().address(),
        };
        let results = BlockResults {
            txs: txs.iter().map(|_| TxResult { gas_used: 7, ..TxResult::default() }).collect(),
            app_hash: blake3(&height.0.to_be_bytes()),
            ..BlockResults::default()
        };
        let block = Block { header, txs, evidence, last_commit: self.last_commit.clone() };
        let parts = block.part_set();
        let id = block.id(&parts);
        // The commit that this node saw differs from the one in the next block, as is possible in operation.
        let seen_commit = commit(height, id, &set, 4);
        let known = self.validators.last_key_value().expect("genesis has sets").1;
        let mut validators = known.clone();
        if height.0.is_multiple_of(7) {
            let update = ValidatorUpdate { public_key: public_key(1).into(), power: Power(height.0 + 1) };
            validators = known.update(&[update]).expect("a fine update");
        }
        validators.increment(1);
        let mut params = self.params.last_key_value().expect("genesis has parameters").1.clone();
        if height.0.is_multiple_of(5) {
            params.fee_min = height.0;
        }
        let (replaced, evidence_floor) = (Replaced::default(), height);
        let bytes = block.encode();
        let made =
            Made { bytes, block, id, seen_commit, results, writes, replaced, validators, params, evidence_floor };
        self.follow(&made);
        made
    }

    fn follow(&mut self, made: &Made) {
        let height = made.block.header.height;
        if self.remember {
            let mut state = self.states[&self.height].clone();
            for (key, value) in &made.writes.0 {
                match value {
                    Some(value) => state.insert(key.clone(), value.clone()),
                    None => state.remove(key),
                };
            }
            self.states.insert(height, state);
            self.made.insert(height, made.clone());
        }
        self.last_commit = Some(commit(height, made.id, &self.validators[&height], 3));
        self.tip = Some(made.id);
        self.height = height;
        self.app_hash = made.results.app_hash;
        self.results_hash = results_hash(&made.results.txs);
        self.validators.insert(height.next().next(), made.validators.clone());
        self.params.insert(height.next(), made.params.clone());
        if !self.remember {
            self.validators.remove(&height);
            self.params.remove(&height);
        }
    }

    /// Returns the keys with this prefix that the heights above `above`, up to `upto`, changed, each with the last of these
    /// heights; the newest first.
    pub fn changes(&self, above: Height, upto: Height, prefix: &[u8]) -> Vec<(Vec<u8>, Height)> {
        let heights = self.made.iter().filter(|(height, _)| **height > above && **height <= upto);
        let keys = heights.flat_map(|(height, made)| made.writes.0.keys().map(|key| (key.clone(), *height)));
        let last: BTreeMap<_, _> = keys.filter(|(key, _)| key.starts_with(prefix)).collect();
        let mut changes: Vec<_> = last.into_iter().collect();
        changes.sort_by(|(a, at), (b, bt)| (bt, a).cmp(&(at, b)));
        changes
    }

    /// Creates and commits the next height.
    pub fn commit<K: Kv>(&mut self, store: &Store<K>, writes: WriteSet) -> Made {
        let txs = vec![[b"tx ".as_slice(), &self.height.0.to_be_bytes()].concat()];
        let made = self.next(writes, txs);
        store.commit_block(&made.batch()).expect("commits");
        made
    }
}

/// Returns the key in `Cf::State` of the version of `key` that a height wrote; `key` has no zero bytes.
pub fn version(key: &[u8], height: u64) -> Vec<u8> {
    [key, &[0, 0], &(!height).to_be_bytes()].concat()
}

/// The start of the keys of the revertible rows of a part.
pub const PART: &[u8] = b"r\0\0\0\x01";

/// Returns the key of a revertible row.
pub fn revertible(rest: &[u8]) -> Vec<u8> {
    [PART, rest].concat()
}

/// Returns the keys with this prefix that changed above `height`, each with the height of its last change.
pub fn changed_since<K: Kv>(reader: &StateReader<'_, K>, height: Height, prefix: &[u8]) -> Vec<(Vec<u8>, Height)> {
    let mut keys = Vec::new();
    let visit = &mut |key: &[u8], at| {
        keys.push((key.to_vec(), at));
        true
    };
    reader.try_changed_since(height, prefix, visit).expect("kept");
    keys
}

/// Returns the rows that the writes set.
pub fn rows_of(writes: &WriteSet) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    writes.0.clone().into_iter().filter_map(|(key, value)| Some((key, value?)))
}

fn commit(height: Height, block_id: BlockId, set: &ValidatorSet, signed: usize) -> Commit {
    let signature = |(index, validator): (usize, &types::Validator)| match index < signed {
        true => CommitSig::Commit {
            validator: validator.address(),
            timestamp: Time::from_unix_nanos(height.0 as i64),
            signature: Signature([index as u8 + 1; 64]),
        },
        false => CommitSig::Absent,
    };
    Commit { height, round: Round(0), block_id, signatures: set.iter().enumerate().map(signature).collect() }
}
