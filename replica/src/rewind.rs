//! Takes the store of one stopped node back to a kept height, and executes the blocks above it again.
//!
//! ```text
//!   Plan::new   reads: is the state at the height the one that the next header commits to? are the blocks above it whole?
//!   Plan::run   writes: Store::begin_rewind ─> Store::drop_undone, or Replay::step for each block
//! ```
//! Nothing here changes what the network agreed on or what this node has signed. After an interruption at any moment
//! the same plan continues, and a [`crate::Replica`] refuses the store until then.

use app::{App, BlockTx, UpgradeStop, Upgrades};
use storage::{BlocksAbove, CommitBatch, Head, Kv, Rewind, Store, StoreError, Tip, Undone};
use thiserror::Error;
use types::{
    Block, BlockResults, Hash, Height, Msg, PartSet, ProposalKind, Transaction, TxResult, VerifiedTx, Wire, WriteSet,
    limits::PART_BYTES, results_hash,
};

use crate::{
    chain::Chain,
    evidence,
    mutation::{Mutation, mutated},
    trees::scan_app,
};

/// Maximum number of keys that a [`Difference`] lists; further ones are counted.
pub const DIFFERING_KEYS_MAX: usize = 32;

/// Reason why a rewind was refused, or stopped.
#[derive(Debug, Error)]
pub enum RewindError {
    /// The store refused or failed an operation.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The height is not below the tip.
    #[error("height {got} is not below the tip of this node, {tip}")]
    Future {
        /// Height that was requested.
        got: Height,
        /// Height of the tip.
        tip: Height,
    },
    /// The height is below the earliest kept block.
    #[error("height {got} is below the earliest block that this node keeps, {base}")]
    BelowBase {
        /// Height that was requested.
        got: Height,
        /// Height of the earliest kept block.
        base: Height,
    },
    /// A block above the height reverts namespaces to a height that this node no longer keeps, so it cannot be executed
    /// again here.
    #[error(
        "block {height} proposes or executes a revert to height {target}, and this node keeps no state below height {lowest}"
    )]
    Window {
        /// Height of the block, or of the first one that may execute the revert.
        height: Height,
        /// Height to which the block reverts.
        target: Height,
        /// The lowest height whose state this node keeps.
        lowest: Height,
    },
    /// The blocks above the height need several programs.
    #[error(
        "the chain has the upgrade {name} since height {height}, and one program cannot execute the blocks before and after it again"
    )]
    CrossesUpgrade {
        /// First height with the upgrade.
        height: Height,
        /// Name of the upgrade.
        name: String,
    },
    /// This program may not execute the blocks above the height.
    #[error(transparent)]
    Upgrade(#[from] UpgradeStop),
    /// What the store has for a height is not what the next block says.
    #[error("the {what} after height {height} is {got} in this store, but block {} says {expected}", height.next())]
    NotAgreed {
        /// Height that was checked.
        height: Height,
        /// Name of what differs.
        what: &'static str,
        /// Value in the store.
        got: Hash,
        /// Value in the header of the next block.
        expected: Hash,
    },
    /// A stored block is not the one that was decided, or is not valid on the state before it.
    #[error("block {height} in this store cannot be executed again: {reason}")]
    Block {
        /// Height of the block.
        height: Height,
        /// Fault of the block.
        reason: String,
    },
    /// Executing a block again gives another result than the chain agreed on.
    #[error("{0}")]
    Differs(Box<Difference>),
    /// Another rewind was begun and is not finished.
    #[error("a rewind to height {to} is not finished: the blocks from {} to {rows_to} wait to be executed again", tip.next())]
    Unfinished {
        /// Height that the other rewind goes back to.
        to: Height,
        /// Height of the tip, to which the blocks were executed again.
        tip: Height,
        /// Height of the last block that waits.
        rows_to: Height,
    },
}

/// The first block whose repeated execution gives another result than the chain agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("executing block {height} again gives {what} {got}, but the chain agreed on {expected}")]
pub struct Difference {
    /// Height of the block.
    pub height: Height,
    /// What differs: the app hash, or the hash of the results.
    pub what: &'static str,
    /// Hash of the repeated execution.
    pub got: Hash,
    /// Hash that the chain agreed on.
    pub expected: Hash,
    /// The first transaction with another result than at its first execution on this node.
    pub tx: Option<TxDifference>,
    /// The first [`DIFFERING_KEYS_MAX`] rows that were written with other values than at the first execution.
    pub keys: Vec<KeyDifference>,
    /// Number of all rows that differ.
    pub keys_total: usize,
}

/// A transaction with another result than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxDifference {
    /// Index of the transaction in its block.
    pub index: usize,
    /// Result that is stored; `None` if it has none.
    pub stored: Option<TxResult>,
    /// Result of the repeated execution; `None` if it has none.
    pub got: Option<TxResult>,
}

/// A row of the state that was written with another value than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDifference {
    /// Key of the row.
    pub key: Vec<u8>,
    /// Effect of the first execution.
    pub stored: Effect,
    /// Effect of the repeated execution.
    pub got: Effect,
}

/// What a block did to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did not write the row.
    Nothing,
    /// It deleted the row.
    Deleted,
    /// It set the row to this value.
    Set(Vec<u8>),
}

/// A rewind that was checked and can be carried out.
pub struct Plan {
    /// Height that the rewind goes back to, or from which an interrupted one continues.
    pub to: Height,
    /// The tip before the rewind.
    pub from: Tip,
    /// Future of the blocks above `to`.
    pub blocks: BlocksAbove,
    /// True if an interrupted rewind is continued.
    pub is_resumed: bool,
    /// App hash of the state at `to`, which was computed from its rows and is that of the next header.
    pub app_hash: Hash,
    /// Number of transactions in the blocks above `to`.
    pub txs: u64,
    /// Size of the blocks above `to` in bytes.
    pub block_bytes: u64,
    /// Number of distinct rows that changed above `to`; `None` if their lists are damaged, or were read before an
    /// interruption.
    pub changed_keys: Option<u64>,
    app: App,
}

/// Result of a rewind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// The tip of the store now.
    pub tip: Tip,
    /// Number of blocks that were executed again.
    pub replayed: u64,
    /// Number of these whose stored rows or results were not what the execution gives. They are replaced.
    pub repaired: u64,
}

impl Plan {
    /// Checks a rewind to `to` by a program with these upgrades, without writing anything. `progress` receives the names of
    /// long steps.
    ///
    /// Cost: one scan of the state at `to`, the heads of the blocks above it, and their lists of changed keys.
    ///
    /// Errors: [`RewindError`], each before anything is changed.
    pub fn new<K: Kv>(
        store: &Store<K>,
        upgrades: Upgrades,
        to: Height,
        blocks: BlocksAbove,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, RewindError> {
        let tip = store.tip().ok_or_else(|| StoreError::NoGenesis { place: store.kv().place() })?;
        let unfinished = store.unfinished_rewind();
        let is_resumed = unfinished.is_some_and(|rewind| match (rewind.blocks, blocks) {
            (BlocksAbove::Dropped, _) => to == tip.height,
            (BlocksAbove::Kept, BlocksAbove::Kept) => to == rewind.to || to == tip.height,
            (BlocksAbove::Kept, BlocksAbove::Dropped) => false,
        });
        // One that drops blocks is finished before another one begins.
        let unfinished = unfinished.filter(|rewind| is_resumed || rewind.blocks == BlocksAbove::Kept);
        let to = if is_resumed { tip.height } else { to };
        // The blocks above the tip can be dropped too.
        let is_above_tip = unfinished.is_some() && to == tip.height;
        if to >= tip.height && !is_above_tip {
            return Err(match unfinished {
                Some(Rewind { to, rows_to, .. }) => RewindError::Unfinished { to, tip: tip.height, rows_to },
                None => RewindError::Future { got: to, tip: tip.height },
            });
        }
        let base = store.earliest();
        if to < base && !mutated(Mutation::BelowBase) {
            return Err(RewindError::BelowBase { got: to, base });
        }
        let blocks = unfinished.filter(|_| is_resumed).map_or(blocks, |rewind| rewind.blocks);
        let (from, rows_to) = unfinished.map_or((tip, tip.height), |rewind| (rewind.from, rewind.rows_to));
        let next = match store.undone_head(to.next()) {
            Ok(next) => Some(next),
            // The heights above the tip are being deleted: it was checked when that began.
            Err(_) if is_resumed && blocks == BlocksAbove::Dropped => None,
            Err(error) => return Err(error.into()),
        };
        progress(&format!("the state at height {to}"));
        let app = scan_app(store, to)?;
        if let Some(next) = next.filter(|_| !mutated(Mutation::SkipState)) {
            check_state(store, to, &app, &next)?;
        }
        if !is_resumed && !mutated(Mutation::SkipWindow) {
            check_window(store, to, rows_to)?;
        }
        if !is_resumed && blocks == BlocksAbove::Kept && !mutated(Mutation::CrossUpgrade) {
            check_upgrades(store, upgrades, to)?;
        }
        let mut plan = Self {
            to,
            from,
            blocks,
            is_resumed,
            app_hash: app.app_hash(),
            txs: 0,
            block_bytes: 0,
            changed_keys: None,
            app: app.with_upgrades(upgrades),
        };
        progress("the blocks above it");
        plan.read_heads(store, rows_to)?;
        if unfinished.is_none() {
            plan.changed_keys = count_changed_keys(store, to)?;
        }
        Ok(plan)
    }

    /// Counts the transactions and bytes of the blocks above `to`. If they are to be executed again, checks that each
    /// names the one before it, and that more than 2/3 decided the last one.
    fn read_heads<K: Kv>(&mut self, store: &Store<K>, rows_to: Height) -> Result<(), RewindError> {
        let is_strict = self.blocks == BlocksAbove::Kept;
        let fault = |height: Height, reason: &str| RewindError::Block { height, reason: reason.to_owned() };
        let mut last = store.head(self.to).map(|head| head.block_id)?;
        for height in (self.to.next().0..=rows_to.0).map(Height) {
            let head = match store.undone_head(height) {
                Err(StoreError::Damaged { .. }) if !is_strict => continue,
                head => head?,
            };
            self.txs += u64::from(head.txs);
            self.block_bytes += head.block_bytes;
            let Head { block_id, header, .. } = head;
            if is_strict && (header.height != height || header.hash() != block_id.hash) {
                return Err(fault(height, "its header does not hash to its id"));
            }
            if is_strict && header.last_block_id != Some(last) && !mutated(Mutation::AnyParent) {
                return Err(fault(height, "it does not name the block before it"));
            }
            last = block_id;
        }
        if !is_strict || self.is_resumed {
            return Ok(());
        }
        if self.from.block_id != Some(last) {
            return Err(fault(self.from.height, "it is not the one that the tip names"));
        }
        if store.tip().is_some_and(|tip| tip == self.from) && !mutated(Mutation::AnyCommit) {
            let (commit, validators) = (store.seen_commit(self.from.height)?, store.validators(self.from.height)?);
            let is_its = commit.block_id == last;
            let decided = commit.verify(store.chain_id(), &validators).map_err(|error| error.to_string());
            decided.and_then(|()| if is_its { Ok(()) } else { Err("it is for another block".to_owned()) }).map_err(
                |reason| fault(self.from.height, &format!("its commit does not prove that it was decided: {reason}")),
            )?;
        }
        Ok(())
    }

    /// Carries the plan out; everything is durable when it returns. Calls `progress` with each height to which the store
    /// has come.
    ///
    /// Errors: `Store` when a read or write fails; `Block`, `Upgrade` or `Differs` when a block cannot be executed again or
    /// gives another result. The store is then at the last good height, and the blocks above it still wait.
    pub fn run<K: Kv>(self, store: &Store<K>, progress: &mut dyn FnMut(Height)) -> Result<Rewound, RewindError> {
        if !self.is_resumed {
            if store.unfinished_rewind().is_some_and(|rewind| rewind.blocks == BlocksAbove::Dropped) {
                store.drop_undone(progress)?;
            }
            store.begin_rewind(self.to, self.blocks)?;
        }
        if self.blocks == BlocksAbove::Dropped {
            let tip = store.drop_undone(progress)?;
            return Ok(Rewound { tip, replayed: 0, repaired: 0 });
        }
        let mut replay = Replay::new(store, self.app, self.from)?;
        let (mut replayed, mut repaired) = (0, 0);
        let end = loop {
            match replay.step() {
                Ok(None) => break Ok(()),
                Ok(Some(is_repaired)) => {
                    replayed += 1;
                    repaired += u64::from(is_repaired);
                    progress(replay.chain.tip.height);
                }
                Err(error) => break Err(error),
            }
        };
        store.sync()?;
        end?;
        Ok(Rewound { tip: replay.chain.tip, replayed, repaired })
    }
}

/// Counts the distinct rows that changed above a height; `None` if a list of them is damaged.
fn count_changed_keys<K: Kv>(store: &Store<K>, height: Height) -> Result<Option<u64>, StoreError> {
    let mut count = 0;
    let counted = store.reader()?.try_changed_since(height, b"", &mut |_, _| {
        count += 1;
        true
    });
    match counted {
        Err(StoreError::Damaged { .. }) => Ok(None),
        counted => counted.map(|()| Some(count)),
    }
}

/// Checks that the store has, after `height`, what the header of the next block commits to.
fn check_state<K: Kv>(store: &Store<K>, height: Height, app: &App, next: &Head) -> Result<(), RewindError> {
    let same = |what: &'static str, got: Hash, expected: Hash| match got == expected {
        true => Ok(()),
        false => Err(RewindError::NotAgreed { height, what, got, expected }),
    };
    let header = &next.header;
    let last = header.last_block_id.map_or(Hash::default(), |id| id.hash);
    same("header of the next block", header.hash(), next.block_id.hash)?;
    same("block", store.head(height)?.block_id.hash, last)?;
    same("validator set", store.validators(height.next())?.hash(), header.validators_hash)?;
    same("next validator set", store.validators(height.next().next())?.hash(), header.next_validators_hash)?;
    same("parameters", store.params(height.next())?.hash(), header.consensus_hash)?;
    let results = store.results(height)?;
    same("results hash", results_hash(&results.txs), header.last_results_hash)?;
    same("app hash in its results", results.app_hash, header.app_hash)?;
    same("hash of the state", app.app_hash(), header.app_hash)
}

/// Checks that no block above `to`, up to `rows_to`, reverts namespaces to a height whose state is no longer kept. The
/// chain lets a block revert to any of the `retain_blocks` heights before it, and pruning keeps those of the tip, not
/// those of a lower height.
///
/// Cost: nothing if the heights before `to` are kept too, else the blocks above it. Damaged blocks are passed over.
///
/// Errors: `Window` for the first such block; `Store` when a read fails.
fn check_window<K: Kv>(store: &Store<K>, to: Height, rows_to: Height) -> Result<(), RewindError> {
    let (base, retain_blocks) = (store.earliest(), store.params(to.next())?.retain_blocks);
    let lowest = base.prev().unwrap_or_default();
    let is_from_genesis = store.genesis().is_some_and(|genesis| genesis.initial_height == base);
    if is_from_genesis || to.next().0.saturating_sub(retain_blocks) >= lowest.0 {
        return Ok(());
    }
    let check = |height: Height, targets: &[Height]| {
        let is_missing = |target: &&Height| **target < lowest && target.0.saturating_add(retain_blocks) >= height.0;
        match targets.iter().find(is_missing) {
            None => Ok(()),
            Some(target) => Err(RewindError::Window { height, target: *target, lowest }),
        }
    };
    let reader = store.reader_at(to)?;
    let open = app::open_targets(&reader);
    reader.check()?;
    check(to.next(), &open)?;
    for height in (to.next().0..=rows_to.0).map(Height) {
        let undone = match store.undone(height) {
            Err(StoreError::Damaged { .. }) => continue,
            undone => undone?,
        };
        let txs = Block::decode(&undone.block_bytes).map_or_else(|_| Vec::new(), |block| block.txs);
        let txs: Vec<Transaction> = txs.iter().filter_map(|tx| Transaction::decode(tx).ok()).collect();
        let target = |message: &Msg| match message {
            Msg::Propose(propose) => match &propose.kind {
                ProposalKind::Revert(revert) => Some(revert.target),
                ProposalKind::Act(_) => None,
            },
            _ => None,
        };
        let targets: Vec<Height> = txs.iter().flat_map(|tx| &tx.body().messages).filter_map(target).collect();
        check(height, &targets)?;
    }
    Ok(())
}

/// Checks that a program with these upgrades may execute all blocks above `to` again.
///
/// Errors: `CrossesUpgrade` if an upgrade is among them, after the first one; `Upgrade` if the program has not the upgrades of
/// the state, or has one whose height has not come.
fn check_upgrades<K: Kv>(store: &Store<K>, upgrades: Upgrades, to: Height) -> Result<(), RewindError> {
    let reader = store.reader()?;
    let last = app::last_upgrade(&reader).filter(|last| last.height > to.next());
    reader.check()?;
    if let Some(last) = last {
        return Err(RewindError::CrossesUpgrade { height: last.height, name: last.kind });
    }
    let reader = store.reader_at(to)?;
    let stop = upgrades.check(&reader, to.next());
    reader.check()?;
    Ok(stop?)
}

/// Executes the blocks above the tip that a rewind has kept, one after the other.
struct Replay<'a, K: Kv> {
    store: &'a Store<K>,
    chain: Chain,
    app: App,
    /// The tip before the rewind.
    from: Tip,
}

impl<'a, K: Kv> Replay<'a, K> {
    /// Begins at the tip of the store, of which `app` is the state.
    fn new(store: &'a Store<K>, app: App, from: Tip) -> Result<Self, StoreError> {
        store.resume_rewind()?;
        let tip = store.tip().ok_or_else(|| StoreError::NoGenesis { place: store.kv().place() })?;
        Ok(Self { store, chain: Chain::load(store, tip)?, app, from })
    }

    /// Executes and commits the next block; `None` at the former tip. Returns true if the stored rows or results of the
    /// block were others than these.
    ///
    /// Errors: `Block` if the block is not the one that was decided or is not valid here; `Upgrade` if this program may not
    /// execute it; `Differs` if it gives another
    /// app hash or results hash than the next header names, or at the former tip than it had. Then nothing was written.
    fn step(&mut self) -> Result<Option<bool>, RewindError> {
        let height = self.chain.height();
        if height > self.from.height {
            return Ok(None);
        }
        let undone = self.store.undone(height)?;
        let (block, txs) = self.examine(&undone).map_err(|reason| RewindError::Block { height, reason })?;
        let header = &block.header;
        let misbehavior = evidence::misbehavior_in(self.store, &block.evidence)?;
        let context = self.chain.context_of(&block, misbehavior);
        let reader = self.store.reader()?;
        self.app.check_program(&reader)?;
        let outcome = self.app.execute(&reader, &context, &txs);
        reader.check()?;
        drop(reader);
        self.compare(height, &undone, &outcome.results, &outcome.writes)?;
        let is_as_before = outcome.results == undone.results
            && self.store.undone_writes(height).is_ok_and(|stored| stored == outcome.writes);
        let (validators, params) = self.chain.rules_after(&outcome.results);
        let floor = evidence::floor_after(self.store, &params, self.chain.evidence_floor, height, header.time)?;
        let tip = self.store.commit_block(&CommitBatch {
            block_id: undone.block_id,
            block: &block,
            block_bytes: &undone.block_bytes,
            seen_commit: &undone.commit,
            results: &outcome.results,
            writes: &outcome.writes,
            replaced: &outcome.replaced,
            validators: &validators,
            params: &params,
            evidence_floor: floor,
        })?;
        self.app.commit(outcome.update);
        self.chain.advance(tip, (header, &outcome.results), undone.commit, validators, params, floor);
        Ok(Some(!is_as_before && !mutated(Mutation::CallNothingRepaired)))
    }

    /// Checks that the stored bytes are the block that was decided, and that it is a valid next block. Its signatures
    /// were checked when it was decided.
    fn examine(&self, undone: &Undone) -> Result<(Block, Vec<VerifiedTx>), String> {
        let Undone { block_id, block_bytes, commit, .. } = undone;
        if u64::from(block_id.parts.total) > (block_bytes.len() as u64).div_ceil(PART_BYTES as u64)
            || PartSet::from_bytes(block_bytes).header() != block_id.parts
        {
            return Err("its bytes do not hash to its id".to_owned());
        }
        let block = Block::decode(block_bytes).map_err(|error| error.to_string())?;
        if block.header.hash() != block_id.hash || commit.block_id != *block_id {
            return Err("its header or its commit is of another block".to_owned());
        }
        self.chain.check_block(&block, block_bytes.len(), None).map_err(|fault| fault.to_string())?;
        evidence::check_list(self.store, &self.chain.params, &block.evidence, |_| false)
            .map_err(|fault| fault.to_string())?;
        let txs = app::decode_block_txs(&self.chain.id, &self.chain.params, &block.txs, |_| None)
            .map_err(|fault| fault.to_string())?;
        let verified = |tx| match tx {
            BlockTx::Known(tx) => tx,
            BlockTx::Unverified(tx) => VerifiedTx::verified_before(tx),
        };
        Ok((block, txs.into_iter().map(verified).collect()))
    }

    /// Compares a repeated execution with what the chain agreed on.
    fn compare(
        &self,
        height: Height,
        undone: &Undone,
        results: &BlockResults,
        writes: &WriteSet,
    ) -> Result<(), RewindError> {
        let (app_hash, last_results_hash) = if height == self.from.height {
            (self.from.app_hash, self.from.results_hash)
        } else {
            let next = self.store.undone_head(height.next())?.header;
            (next.app_hash, next.last_results_hash)
        };
        let compared = [
            ("the results hash", results_hash(&results.txs), last_results_hash),
            ("the app hash", results.app_hash, app_hash),
        ];
        let is_ignored = |what: &str| match what {
            "the app hash" => mutated(Mutation::AnyAppHash),
            _ => mutated(Mutation::AnyResultsHash),
        };
        let mut compared = compared.into_iter();
        let differs = compared.find(|(what, got, expected)| got != expected && !is_ignored(what));
        let Some((what, got, expected)) = differs else { return Ok(()) };
        let stored = self.store.undone_writes(height).unwrap_or_default(); // a damaged row is no reason to say nothing
        let (keys, keys_total) = differing_keys(&stored, writes);
        let tx = differing_tx(&undone.results.txs, &results.txs);
        Err(RewindError::Differs(Box::new(Difference { height, what, got, expected, tx, keys, keys_total })))
    }
}

fn differing_tx(stored: &[TxResult], got: &[TxResult]) -> Option<TxDifference> {
    let index = (0..stored.len().max(got.len())).find(|index| stored.get(*index) != got.get(*index))?;
    Some(TxDifference { index, stored: stored.get(index).cloned(), got: got.get(index).cloned() })
}

/// Returns the first rows that two executions wrote differently, and the number of all.
fn differing_keys(stored: &WriteSet, got: &WriteSet) -> (Vec<KeyDifference>, usize) {
    let effect = |writes: &WriteSet, key: &Vec<u8>| match writes.0.get(key) {
        None => Effect::Nothing,
        Some(None) => Effect::Deleted,
        Some(Some(value)) => Effect::Set(value.clone()),
    };
    let only_got = got.0.keys().filter(|key| !stored.0.contains_key(*key));
    let mut keys: Vec<_> =
        stored.0.keys().chain(only_got).filter(|key| stored.0.get(*key) != got.0.get(*key)).collect();
    keys.sort_unstable();
    let of_key = |key: &Vec<u8>| KeyDifference { key: key.clone(), stored: effect(stored, key), got: effect(got, key) };
    (keys.iter().take(DIFFERING_KEYS_MAX).map(|key| of_key(key)).collect(), keys.len())
}
