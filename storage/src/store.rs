//! The store of one chain: opening it, and all writes to it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use types::{
    Block, BlockId, BlockResults, ChainId, Commit, HardState, Hash, Height, Params, Replaced, Round, Step,
    ValidatorSet, Wire, WriteSet, results_hash,
};

use crate::{
    error::{Result, StoreError},
    index,
    kv::{Batch, Cf, Durability, Kv, View},
    mutation::{Mutation, mutated},
    rewind::Rewind,
    schema::{self, Change, Genesis, Head, Tip},
    txs,
    window::Window,
};

/// Format number of keys and values. A change of either needs a new number.
pub const FORMAT: u32 = 7;

/// Interval in heights at which a whole validator set is stored, so that reading one takes fewer turns of the rotation.
pub const VALIDATORS_EVERY: u64 = 64;

/// Maximum bytes of genesis state rows in one batch; a batch is written as soon as it reaches them.
const GENESIS_BATCH_BYTES: usize = 2 << 20;

/// Keys of the rows in [`Cf::Meta`].
pub(crate) mod meta {
    pub(crate) const FORMAT: &[u8] = b"format";
    pub(crate) const CHAIN_ID: &[u8] = b"chain_id";
    pub(crate) const GENESIS: &[u8] = b"genesis";
    pub(crate) const TIP: &[u8] = b"tip";
    pub(crate) const EARLIEST: &[u8] = b"earliest";
    pub(crate) const GENESIS_FILE: &[u8] = b"genesis_file";
    pub(crate) const HARD_STATE: &[u8] = b"hard_state";
    pub(crate) const SIGNING_FLOOR: &[u8] = b"signing_floor";
    pub(crate) const REWIND: &[u8] = b"rewind";
    pub(crate) const TREES: &[u8] = b"trees";
}

/// Returns the chain whose data a database holds; `None` when it is empty.
///
/// Errors: `OtherFormat` for another format number; `Damaged` for an unreadable format number or chain id; `Damaged` or
/// `Io` when a read fails.
pub fn chain_of<K: Kv>(kv: &K) -> Result<Option<ChainId>> {
    let damaged = |reason: &str| StoreError::damaged(kv.place(), reason);
    let Some(format) = kv.get(Cf::Meta, meta::FORMAT)? else { return Ok(None) };
    let format = format.try_into().map(u32::from_be_bytes).map_err(|_| damaged("its format number is unreadable"))?;
    if format != FORMAT {
        return Err(StoreError::OtherFormat { place: kv.place(), got: format, expected: FORMAT });
    }
    let id = kv.get(Cf::Meta, meta::CHAIN_ID)?.ok_or_else(|| damaged("it names no chain"))?;
    chain_id_of(id).map(Some).ok_or_else(|| damaged("the name of its chain is unreadable"))
}

/// Decodes the name of a chain; `None` for bytes that are none.
fn chain_id_of(bytes: Vec<u8>) -> Option<ChainId> {
    ChainId::new(&String::from_utf8(bytes).ok()?).ok()
}

/// Identity of the chain that a database was initialized with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Chain id of the database.
    pub chain_id: ChainId,
    /// Hash of the meaning of the genesis document, as in [`Genesis::document_hash`].
    pub document: Hash,
    /// BLAKE3 hash of the bytes of the genesis file, if it was noted.
    pub file: Option<Hash>,
}

/// Returns the identity of the chain that a database was initialized with; `None` before there is a genesis state.
///
/// Errors: as [`chain_of`], and `Damaged` for an unreadable genesis row.
pub fn begun_with<K: Kv>(kv: &K) -> Result<Option<Begun>> {
    let Some(chain_id) = chain_of(kv)? else { return Ok(None) };
    let Some(genesis) = kv.get(Cf::Meta, meta::GENESIS)? else { return Ok(None) };
    let genesis = Genesis::decode(&genesis);
    let document = genesis.ok_or_else(|| StoreError::damaged(kv.place(), "its genesis is unreadable"))?.document_hash;
    let file = kv.get(Cf::Meta, meta::GENESIS_FILE)?.and_then(|hash| hash.try_into().ok()).map(Hash);
    Ok(Some(Begun { chain_id, document, file }))
}

/// The data of one chain in a database. By convention one thread writes (a second one waits); any number of threads
/// read.
pub struct Store<K: Kv> {
    pub(crate) kv: K,
    chain_id: ChainId,
    genesis: Mutex<Option<Genesis>>,
    tip: Mutex<Option<Tip>>,
    /// The parameters of tip + 1.
    next_params: Mutex<Option<Arc<Params>>>,
    writer: Mutex<Writer>,
    pub(crate) window: Mutex<Window>,
    pub(crate) pruning: Mutex<()>,
}

/// Values that the next write is compared with.
#[derive(Default)]
pub(crate) struct Writer {
    hard_state: Option<(Height, Round, Step)>,
    signing_floor: Height,
    /// The validator set of tip + 2.
    pub(crate) validators: Option<ValidatorSet>,
    /// The parameters of tip + 1.
    pub(crate) params: Option<Params>,
    /// Blocks above the tip whose bytes are stored.
    pub(crate) pending: BTreeSet<(Height, BlockId)>,
    /// The rewind that is not finished.
    pub(crate) rewind: Option<Rewind>,
}

/// The genesis state without the rows of the application.
#[derive(Clone, Copy)]
pub struct GenesisBatch<'a> {
    /// Properties of the chain at its genesis.
    pub genesis: Genesis,
    /// Validator set of the initial height. The set of the next height is this one, rotated by one turn.
    pub validators: &'a ValidatorSet,
    /// Parameters of the initial height.
    pub params: &'a Params,
}

/// Everything that one height adds to the store.
#[derive(Clone, Copy)]
pub struct CommitBatch<'a> {
    /// Id of the decided block.
    pub block_id: BlockId,
    /// The decided block itself.
    pub block: &'a Block,
    /// Bytes of the block, of which `block_id.parts` is the root.
    pub block_bytes: &'a [u8],
    /// Commit that this node saw for the block.
    pub seen_commit: &'a Commit,
    /// Results of executing the block; their `app_hash` becomes the tip's.
    pub results: &'a BlockResults,
    /// Rows that executing the block changed. They are not compared with the stored ones: each counts as a change.
    pub writes: &'a WriteSet,
    /// What the revertible ones of these rows replace. The store searches for what is not in it.
    pub replaced: &'a Replaced,
    /// Validator set of this height + 2.
    pub validators: &'a ValidatorSet,
    /// Parameters of this height + 1.
    pub params: &'a Params,
    /// The lowest height whose evidence has not expired, for the block after this one. It never moves back.
    pub evidence_floor: Height,
}

impl<K: Kv> Store<K> {
    /// Opens the store in a database that is empty or holds the data of `chain_id`.
    ///
    /// Errors: `OtherFormat`, `OtherChain`, or `Damaged` when rows are missing or unreadable; `Damaged` or `Io` when a
    /// read or write fails.
    pub fn open(kv: K, chain_id: &ChainId) -> Result<Self> {
        let store = Self {
            kv,
            chain_id: chain_id.clone(),
            genesis: Mutex::default(),
            tip: Mutex::default(),
            next_params: Mutex::default(),
            writer: Mutex::default(),
            window: Mutex::default(),
            pruning: Mutex::default(),
        };
        match store.kv.get(Cf::Meta, meta::FORMAT)? {
            None => store.claim()?,
            Some(format) => store.check_owner(&format)?,
        }
        *lock(&store.genesis) = store.meta(meta::GENESIS, Genesis::decode)?;
        *lock(&store.tip) = store.meta(meta::TIP, Tip::decode)?;
        if let Some(tip) = store.read_tip() {
            let earliest =
                store.meta(meta::EARLIEST, schema::read_height)?.ok_or_else(|| store.damaged("no earliest height"))?;
            // What is below the earliest height is deleted.
            if earliest > tip.height.next() {
                return Err(store.damaged("its earliest height is above its tip"));
            }
            *lock(&store.window) = Window::new(earliest);
        }
        store.reload()?;
        Ok(store)
    }

    /// Marks an empty database as the store of this chain.
    fn claim(&self) -> Result<()> {
        if let Some(row) = self.kv.view().rows(Cf::Meta, &[], &[]).next() {
            row?;
            return Err(self.damaged("it has rows but no format number"));
        }
        let mut batch = Batch::new();
        batch.put(Cf::Meta, meta::FORMAT, FORMAT.to_be_bytes());
        batch.put(Cf::Meta, meta::CHAIN_ID, self.chain_id.as_str());
        self.kv.write(batch, Durability::Synced)
    }

    fn check_owner(&self, format: &[u8]) -> Result<()> {
        let format =
            format.try_into().map(u32::from_be_bytes).map_err(|_| self.damaged("its format number is unreadable"))?;
        if format != FORMAT {
            return Err(StoreError::OtherFormat { place: self.kv.place(), got: format, expected: FORMAT });
        }
        let chain = self.kv.get(Cf::Meta, meta::CHAIN_ID)?.ok_or_else(|| self.damaged("it names no chain"))?;
        if chain != self.chain_id.as_bytes() {
            let got =
                chain_id_of(chain).ok_or_else(|| self.damaged("the name of its chain is unreadable"))?.to_string();
            return Err(StoreError::OtherChain { place: self.kv.place(), got, expected: self.chain_id.to_string() });
        }
        Ok(())
    }

    /// Reads the values that writes are compared with.
    pub(crate) fn reload(&self) -> Result<()> {
        let mut writer = Writer {
            hard_state: self.hard_state()?.as_ref().map(position),
            signing_floor: self.meta(meta::SIGNING_FLOOR, schema::read_height)?.unwrap_or_default(),
            rewind: self.meta(meta::REWIND, Rewind::decode)?,
            ..Writer::default()
        };
        let mut above = schema::height(Height::GENESIS);
        if let Some(tip) = self.read_tip() {
            // The blocks of an unfinished rewind are found by their heads: a scan would read their bytes.
            above = schema::height(writer.rewind.map_or(tip.height, |rewind| rewind.rows_to).next());
            writer.validators = Some(self.validators(self.validators_known_to(&tip))?);
            writer.params = Some(self.params(tip.height.next())?);
            *lock(&self.next_params) = writer.params.clone().map(Arc::new);
        }
        let view = self.kv.view();
        for row in view.rows(Cf::Blocks, &[], &above) {
            let (key, _) = row?;
            let parsed =
                key.split_first_chunk::<8>().and_then(|(height, id)| Some((height, schema::read_block_id(id)?)));
            let (height, id) = parsed.ok_or_else(|| self.damaged("a block's key is unreadable"))?;
            writer.pending.insert((Height(u64::from_be_bytes(*height)), id));
        }
        *self.writer() = writer;
        Ok(())
    }

    /// Returns the id of the chain whose data this is.
    pub fn chain_id(&self) -> &ChainId {
        &self.chain_id
    }

    /// Returns the database, for its counters and sizes.
    pub fn kv(&self) -> &K {
        &self.kv
    }

    /// Returns the tip of the chain; `None` before [`Store::init_genesis`].
    pub fn tip(&self) -> Option<Tip> {
        self.read_tip()
    }

    /// Returns the parameters of the height after the tip, from memory; `None` before [`Store::init_genesis`].
    pub fn next_params(&self) -> Option<Arc<Params>> {
        lock(&self.next_params).clone()
    }

    /// Returns the properties of the chain at its genesis; `None` before [`Store::init_genesis`].
    pub fn genesis(&self) -> Option<Genesis> {
        *lock(&self.genesis)
    }

    /// Writes the genesis state with these rows, synced.
    ///
    /// The rows can be more than fit into memory: they are written in batches, and only the last batch makes the store
    /// a chain. After a crash before it the store has no chain, and the next call removes the remaining rows.
    ///
    /// Errors: `HasGenesis` when there is a chain already; `Damaged` or `Io` when a read or write fails.
    pub fn init_genesis(
        &self,
        first: &GenesisBatch<'_>,
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Tip> {
        let mut writer = self.writer();
        if let Some(tip) = self.read_tip() {
            return Err(StoreError::HasGenesis { place: self.kv.place(), tip: tip.height });
        }
        let initial = first.genesis.initial_height;
        let tip = genesis_tip(&first.genesis);
        self.remove_state()?;
        let (mut batch, mut bytes) = (Batch::new(), 0);
        for (key, value) in rows {
            bytes += key.len() + value.len();
            batch.put(Cf::State, schema::version(&key, tip.height), schema::version_value(Some(&value)));
            if bytes >= GENESIS_BATCH_BYTES {
                self.kv.write(std::mem::take(&mut batch), Durability::Buffered)?;
                bytes = 0;
            }
        }
        batch.put(Cf::Meta, meta::GENESIS, first.genesis.encode());
        batch.put(Cf::Meta, meta::TIP, tip.encode());
        batch.put(Cf::Meta, meta::EARLIEST, schema::height(initial));
        batch.put(Cf::Validators, schema::height(initial), first.validators.encode());
        batch.put(Cf::Params, schema::height(initial), first.params.encode());
        self.kv.write(batch, Durability::Synced)?;
        let mut next = first.validators.clone();
        next.increment(1);
        writer.validators = Some(next);
        writer.params = Some(first.params.clone());
        *lock(&self.next_params) = Some(Arc::new(first.params.clone()));
        *lock(&self.window) = Window::new(initial);
        *lock(&self.genesis) = Some(first.genesis);
        *lock(&self.tip) = Some(tip);
        Ok(tip)
    }

    /// Removes the rows of a genesis state whose writing was interrupted.
    fn remove_state(&self) -> Result<()> {
        loop {
            let mut batch = Batch::new();
            let view = self.kv.view();
            for row in view.rows(Cf::State, &[], &[]).take(10_000) {
                batch.delete(Cf::State, row?.0);
            }
            drop(view);
            if batch.is_empty() {
                return Ok(());
            }
            self.kv.write(batch, Durability::Buffered)?;
        }
    }

    /// Notes that a file with this hash of its bytes is the chain's genesis document, so that it need not be read in
    /// full again.
    ///
    /// Errors: `Damaged` or `Io` when the write fails.
    pub fn note_genesis_file(&self, hash: Hash) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(Cf::Meta, meta::GENESIS_FILE, hash.0);
        self.kv.write(batch, Durability::Synced)
    }

    /// Writes a height as one batch, not synced (S1, S2). The batch also deletes the other pending blocks up to this
    /// height, and the rows that an unfinished rewind has left of it.
    ///
    /// Errors: `NoGenesis`; `WrongHeight` and `WrongParent` when the block does not follow the tip; `Damaged` or `Io`
    /// when a read or write fails.
    pub fn commit_block(&self, commit: &CommitBatch<'_>) -> Result<Tip> {
        self.resume_rewind()?;
        let mut writer = self.writer();
        let before = self.tip_or_error()?;
        let header = &commit.block.header;
        let height = header.height;
        if height != before.height.next() {
            return Err(StoreError::WrongHeight { got: height, expected: before.height.next() });
        }
        if header.last_block_id != before.block_id {
            let hash = |id: Option<BlockId>| id.map(|id| id.hash);
            let (got, expected) = (hash(header.last_block_id), hash(before.block_id));
            return Err(StoreError::WrongParent { height, got, expected });
        }
        let tip = Tip {
            height,
            block_id: Some(commit.block_id),
            time: header.time,
            app_hash: commit.results.app_hash,
            results_hash: results_hash(&commit.results.txs),
        };
        let mut batch = Batch::new();
        let rewind = writer.rewind.filter(|rewind| height <= rewind.rows_to);
        let mut is_stored = writer.pending.contains(&(height, commit.block_id));
        if let Some(rewind) = &rewind {
            let mut ignored = Batch::new();
            let deletions = if mutated(Mutation::KeepFirstExecution) { &mut ignored } else { &mut batch };
            let undone = self.undo(&self.kv.view(), deletions, height)?;
            is_stored |= undone == commit.block_id;
            if undone != commit.block_id {
                batch.delete(Cf::Blocks, schema::block(height, &undone));
            }
            if height == rewind.rows_to && !mutated(Mutation::NeverEnd) {
                batch.delete(Cf::Meta, meta::REWIND);
            }
        }
        if !is_stored {
            batch.put(Cf::Blocks, schema::block(height, &commit.block_id), commit.block_bytes);
        }
        self.put_block(&mut batch, commit, &writer.pending)?;
        self.put_writes(&mut batch, height, commit.writes, commit.replaced)?;
        put_rules(&mut batch, &writer, commit);
        if mutated(Mutation::TipFirst) || mutated(Mutation::TipLast) {
            self.write_in_two(batch, &tip)?;
        } else {
            batch.put(Cf::Meta, meta::TIP, tip.encode());
            self.kv.write(batch, Durability::Buffered)?;
        }
        writer.pending.retain(|(pending, _)| *pending > height);
        writer.rewind = rewind.filter(|rewind| height < rewind.rows_to);
        writer.validators = Some(commit.validators.clone());
        if writer.params.as_ref() != Some(commit.params) {
            writer.params = Some(commit.params.clone());
            *lock(&self.next_params) = Some(Arc::new(commit.params.clone()));
        }
        *lock(&self.tip) = Some(tip);
        Ok(tip)
    }

    /// Writes a height in two batches (`Mutation::TipFirst`, `Mutation::TipLast`).
    fn write_in_two(&self, batch: Batch, tip: &Tip) -> Result<()> {
        let mut of_tip = Batch::new();
        of_tip.put(Cf::Meta, meta::TIP, tip.encode());
        let (first, second) = if mutated(Mutation::TipFirst) { (of_tip, batch) } else { (batch, of_tip) };
        self.kv.write(first, Durability::Buffered)?;
        self.kv.write(second, Durability::Buffered)
    }

    /// Adds to the batch a version of each changed row, the moves in the index over last changes, and the list of changes.
    fn put_writes(&self, batch: &mut Batch, height: Height, writes: &WriteSet, replaced: &Replaced) -> Result<()> {
        let (mut list, mut left) = (Vec::new(), Vec::new());
        let (tip, mut view) = (height.prev().unwrap_or_default(), None);
        for (key, value) in &writes.0 {
            batch.put(Cf::State, schema::version(key, height), schema::version_value(value.as_deref()));
            let mut before = None;
            if let Some(row) = schema::recent(key, height) {
                let version = match replaced.0.get(key) {
                    Some(version) => *version,
                    None => self.replaced(view.get_or_insert_with(|| self.kv.view()), tip, key)?,
                };
                // The row is deleted below the window too: what is the start of the window in memory may not be durable.
                left.extend(version.and_then(|version| schema::recent(key, version.at)));
                before = version.filter(|version| !version.is_deletion).map(|version| version.at);
                batch.put(Cf::Recent, row, []);
            }
            schema::push_change(&mut list, Change { key, is_deletion: value.is_none(), before });
        }
        // In their order, the database finds the places of neighbours faster.
        left.sort_unstable();
        left.into_iter().for_each(|row| batch.delete(Cf::Recent, row));
        batch.put(Cf::Changes, schema::height(height), list);
        Ok(())
    }

    fn put_block(
        &self,
        batch: &mut Batch,
        commit: &CommitBatch<'_>,
        pending: &BTreeSet<(Height, BlockId)>,
    ) -> Result<()> {
        let (id, block) = (commit.block_id, commit.block);
        let height = block.header.height;
        let head = Head {
            block_id: id,
            header: block.header.clone(),
            block_bytes: commit.block_bytes.len() as u64,
            txs: block.txs.len() as u32,
        };
        batch.put(Cf::Heads, schema::height(height), head.encode());
        for (at, loser) in pending.iter().filter(|(at, pending)| *at <= height && (*at, *pending) != (height, id)) {
            batch.delete(Cf::Blocks, schema::block(*at, loser));
        }
        batch.put(Cf::BlockHash, id.hash.0, schema::height(height));
        batch.put(Cf::Commits, schema::height(height), commit.seen_commit.encode());
        batch.put(Cf::Results, schema::height(height), commit.results.encode());
        let rows = txs::rows_of(height, block.tx_ids(), commit.results);
        for (key, position) in rows.filter(|_| !mutated(Mutation::ForgetTxs)) {
            batch.put(Cf::Txs, key, position);
        }
        index::put(batch, height, commit.results);
        self.put_evidence(batch, block, commit.evidence_floor)
    }

    /// Makes `hard_state` durable with one sync, and with it the bytes of blocks of its height and everything written
    /// before.
    ///
    /// Bytes that are already stored are not written again. Blocks at or below the tip are not written.
    ///
    /// Errors: `HardStateMovedBack` when (height, round, step) is below the durable one (equal is allowed); `Damaged`
    /// or `Io` when the write fails.
    pub fn write_ahead(&self, hard_state: &HardState, blocks: &[(BlockId, &[u8])]) -> Result<()> {
        let mut writer = self.writer();
        let got = position(hard_state);
        if let Some(expected) = writer.hard_state.filter(|stored| got < *stored) {
            return Err(StoreError::HardStateMovedBack { got, expected });
        }
        let mut batch = Batch::new();
        batch.put(Cf::Meta, meta::HARD_STATE, hard_state.encode());
        let height = hard_state.height;
        let above_tip = self.read_tip().is_none_or(|tip| height > tip.height);
        let mut stored = Vec::new();
        for (id, bytes) in blocks {
            if above_tip && !writer.pending.contains(&(height, *id)) && !mutated(Mutation::SkipPending) {
                batch.put(Cf::Blocks, schema::block(height, id), *bytes);
                stored.push((height, *id));
            }
        }
        let durability = if mutated(Mutation::SkipSync) { Durability::Buffered } else { Durability::Synced };
        self.kv.write(batch, durability)?;
        writer.hard_state = Some(got);
        writer.pending.extend(stored);
        Ok(())
    }

    /// Returns the last durable hard state. Its height can be above tip + 1 after a rewind, and below it for a node
    /// that caught up.
    ///
    /// Errors: `Damaged` when the row is unreadable; `Damaged` or `Io` when the read fails.
    pub fn hard_state(&self) -> Result<Option<HardState>> {
        self.meta(meta::HARD_STATE, |bytes| HardState::decode(bytes).ok())
    }

    /// Returns the bytes of a block above the tip that [`Store::write_ahead`] stored; `None` if it is not stored.
    ///
    /// Errors: `Damaged` or `Io` when the read fails.
    pub fn pending_block(&self, id: &BlockId) -> Result<Option<Vec<u8>>> {
        let height = self.writer().pending.iter().find(|(_, pending)| pending == id).map(|(height, _)| *height);
        match height {
            Some(height) => self.kv.get(Cf::Blocks, &schema::block(height, id)),
            None => Ok(None),
        }
    }

    /// Returns the highest height at or below which the key of this store must not sign; 0 when none was set.
    pub fn signing_floor(&self) -> Height {
        self.writer().signing_floor
    }

    /// Raises the signing floor, synced; a lower or equal `height` changes nothing.
    ///
    /// Errors: `Damaged` or `Io` when the write fails.
    pub fn raise_signing_floor(&self, height: Height) -> Result<()> {
        let mut writer = self.writer();
        if height > writer.signing_floor {
            let mut batch = Batch::new();
            batch.put(Cf::Meta, meta::SIGNING_FLOOR, schema::height(height));
            self.kv.write(batch, Durability::Synced)?;
            writer.signing_floor = height;
        }
        Ok(())
    }

    /// Removes the signing state: hard state, signing floor, and the blocks above the tip. Synced.
    ///
    /// For the copy of a store with which another node begins. A validator that signs with such a store has only the
    /// signing state that is kept outside of it.
    ///
    /// Errors: `Damaged` or `Io` when the write fails.
    pub fn strip_signing_state(&self) -> Result<()> {
        let mut writer = self.writer();
        let mut batch = Batch::new();
        batch.delete(Cf::Meta, meta::HARD_STATE);
        batch.delete(Cf::Meta, meta::SIGNING_FLOOR);
        for (height, id) in &writer.pending {
            batch.delete(Cf::Blocks, schema::block(*height, id));
        }
        self.kv.write(batch, Durability::Synced)?;
        (writer.hard_state, writer.signing_floor) = (None, Height::GENESIS);
        writer.pending.clear();
        Ok(())
    }

    /// Makes everything written so far durable: for a graceful stop, and for nodes that write no hard state.
    ///
    /// Errors: `Damaged` or `Io` when the sync fails.
    pub fn sync(&self) -> Result<()> {
        self.kv.write(Batch::new(), Durability::Synced)
    }

    /// Returns the highest height whose validator set is known.
    pub(crate) fn validators_known_to(&self, tip: &Tip) -> Height {
        // Genesis determines the sets of the first two heights; each block determines the set of its height + 2.
        tip.height.next().next()
    }

    pub(crate) fn read_tip(&self) -> Option<Tip> {
        *lock(&self.tip)
    }

    pub(crate) fn set_tip(&self, tip: Tip) {
        *lock(&self.tip) = Some(tip);
    }

    pub(crate) fn tip_or_error(&self) -> Result<Tip> {
        self.read_tip().ok_or_else(|| StoreError::NoGenesis { place: self.kv.place() })
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }

    pub(crate) fn damaged(&self, reason: impl ToString) -> StoreError {
        StoreError::damaged(self.kv.place(), reason)
    }

    pub(crate) fn meta<T>(&self, name: &[u8], decode: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>> {
        let Some(bytes) = self.kv.get(Cf::Meta, name)? else { return Ok(None) };
        let unreadable = || self.damaged(format!("its {} is unreadable", String::from_utf8_lossy(name)));
        decode(&bytes).map(Some).ok_or_else(unreadable)
    }
}

/// Adds the validator set and the parameters to the batch, where they differ from what the rows below imply.
fn put_rules(batch: &mut Batch, writer: &Writer, commit: &CommitBatch<'_>) {
    let next = commit.block.header.height.next();
    let of = next.next();
    let rotated = writer.validators.clone().map(|mut set| {
        set.increment(1);
        set
    });
    if rotated.as_ref() != Some(commit.validators) || of.0.is_multiple_of(VALIDATORS_EVERY) {
        batch.put(Cf::Validators, schema::height(of), commit.validators.encode());
    }
    if writer.params.as_ref() != Some(commit.params) {
        batch.put(Cf::Params, schema::height(next), commit.params.encode());
    }
}

/// Returns the tip before the first block.
pub(crate) fn genesis_tip(genesis: &Genesis) -> Tip {
    Tip {
        height: genesis.initial_height.prev().expect("the initial height is 1 or more"),
        block_id: None,
        time: genesis.time,
        app_hash: genesis.app_hash,
        results_hash: results_hash(&[]),
    }
}

fn position(hard_state: &HardState) -> (Height, Round, Step) {
    (hard_state.height, hard_state.round, hard_state.step)
}

/// Locks a mutex; it cannot be poisoned, because a panic of another thread stops the process.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a thread that panics stops the process")
}
