//! Verification of a whole store: whether each row exists, is what was written, and agrees with the other rows.
//!
//! | first, for each kept height | must be |
//! |---|---|
//! | `heads` | of this height; its block id the hash of its header, its `last_block_id` the block before |
//! | `blocks` | bytes whose parts hash to the block id; a block with that header and the content that it names |
//! | `commits` | of this height and for its block |
//! | `results` | of this height; results and app hash as in the next header |
//! | `changes` | of this height; every key has a version of this height in `state`; heights of replaced values as there |
//! | `recent` | a row for each revertible row whose newest version is of this height |
//! | `validators`, `params` | in force at this height, with the hashes in the header |
//! | `times`, `evidence` | the time in the header; a row for each piece of evidence in the block |
//! | `block_hash`, `txs` | from the block's hash and the ids of its transactions back to the block |
//! | `events` | a row for each attribute in the results that is marked for indexing |
//!
//! Then the rows of each family from the first to the last: readable, in the format of their family, and not above the
//! tip; in `recent` of the height of the newest version. The database verifies the checksum of whatever it reads. The tree over the state belongs to the application:
//! the caller compares its root with the one that the chain agreed on.
//!
//! The work is divided into steps of a few bytes each, so that a node can do it in the background.

use std::collections::BTreeSet;

use types::{Block, BlockResults, Commit, Evidence, Hash, Height, Params, PartSet, ValidatorSet, Wire, results_hash};

use crate::{
    error::{Result, StoreError},
    evidence, index,
    kv::{Cf, HeightAt, Kv, View},
    rewind::Rewind,
    schema::{self, Change, Genesis, Head, Tip},
    store::{Store, genesis_tip, meta},
    txs,
};

/// Maximum number of findings that are kept with their details; further ones are only counted. A store with more
/// findings is not repaired row by row.
pub const FINDINGS_MAX: usize = 1000;

/// Attempts to find a readable row after an unreadable one, for each length of the key's prefix.
const SKIPS: u32 = 8;

/// Maximum bytes at the start of a key that are changed to find a readable row.
const SKIP_PREFIX_MAX: usize = 16;

/// Maximum number of index rows that are looked up together.
const LOOK_UPS_MAX: usize = 1024;

/// A fault that was found in a row of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Column family of the row.
    pub cf: Cf,
    /// Height that the row belongs to, if known.
    pub height: Option<Height>,
    /// Key of the row, in hexadecimal.
    pub key: String,
    /// Description of the fault.
    pub reason: String,
}

/// Counters of one column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyCount {
    /// Column family that the counters belong to.
    pub cf: Cf,
    /// Number of rows that were read.
    pub rows: u64,
    /// Size of the keys and values that were read, in bytes.
    pub bytes: u64,
    /// Number of faults that were found in this family.
    pub findings: u64,
}

/// Result of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The first height that was verified.
    pub earliest: Height,
    /// The last height that was verified.
    pub tip: Height,
    /// Number of heights that were verified.
    pub heights: u64,
    /// Counters for each column family.
    pub families: Vec<FamilyCount>,
    /// The first [`FINDINGS_MAX`] faults, in the order in which they were found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns the total number of faults, also those beyond the list in [`Report::findings`].
    pub fn findings_total(&self) -> u64 {
        self.families.iter().map(|family| family.findings).sum()
    }

    /// Returns the number of bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.families.iter().map(|family| family.bytes).sum()
    }

    /// Records a fault of a row.
    pub fn find(&mut self, cf: Cf, height: Option<Height>, key: &[u8], reason: impl ToString) {
        self.families[cf as usize].findings += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { cf, height, key: schema::shown(key), reason: reason.to_string() });
        }
    }

    /// Adds rows that were read to the counters.
    pub fn count(&mut self, cf: Cf, rows: u64, bytes: usize) {
        let family = &mut self.families[cf as usize];
        family.rows += rows;
        family.bytes += bytes as u64;
    }
}

/// Progress of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The heights are verified; this one is next.
    Heights(Height),
    /// The rows are verified; the family with this index in [`Cf::ALL`] is next, from this key on.
    Rows(usize, Vec<u8>),
    Done,
}

/// Verification of a whole store. The store may be in use: heights that are committed later are not verified, and
/// heights that are deleted in the meantime are skipped.
pub struct Verification<'s, K: Kv> {
    store: &'s Store<K>,
    tip: Option<Tip>,
    stage: Stage,
    /// Head of the height before, if it could be read.
    before: Option<Head>,
    /// Height, app hash and results hash of the height before, if they could be read.
    leaves: Option<(Height, Hash, Hash)>,
    report: Report,
}

impl<K: Kv> Store<K> {
    /// Starts a verification of everything in the store.
    pub fn verification(&self) -> Verification<'_, K> {
        let (tip, earliest) = (self.read_tip(), self.earliest());
        let families = Cf::ALL.map(|cf| FamilyCount { cf, rows: 0, bytes: 0, findings: 0 }).to_vec();
        let height = tip.map_or(Height::GENESIS, |tip| tip.height);
        let report = Report { earliest, tip: height, heights: 0, families, findings: Vec::new() };
        let genesis =
            self.genesis().filter(|genesis| genesis.initial_height == earliest).map(|genesis| genesis_tip(&genesis));
        let leaves = genesis.map(|tip| (tip.height, tip.app_hash, tip.results_hash));
        Verification { store: self, tip, stage: Stage::Heights(earliest), before: None, leaves, report }
    }
}

impl<K: Kv> Verification<'_, K> {
    /// Returns the result so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns a line of progress: heights first, then one family after the other.
    pub fn progress(&self) -> String {
        let Report { earliest, tip, .. } = self.report;
        match &self.stage {
            Stage::Heights(height) => format!("height {height} of {earliest} to {tip}"),
            Stage::Rows(index, _) => {
                Cf::ALL.get(*index).map_or_else(String::new, |cf| format!("rows of {}", cf.name()))
            }
            Stage::Done => "done".to_owned(),
        }
    }

    /// Verifies about `bytes_max` more bytes, at least one height or row. Returns true if there is more.
    pub fn step(&mut self, bytes_max: u64) -> bool {
        let goal = self.report.bytes().saturating_add(bytes_max);
        while self.stage != Stage::Done {
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Heights(height)
                    if self.tip.is_some_and(|tip| tip.block_id.is_some() && height <= tip.height) =>
                {
                    self.height(height.max(self.store.earliest()));
                    let next = height.max(self.store.earliest()).next();
                    self.stage = Stage::Heights(next);
                }
                Stage::Heights(_) => {
                    self.last();
                    self.stage = Stage::Rows(0, self.first_key(0));
                }
                Stage::Rows(index, from) => self.rows(index, from, goal),
                Stage::Done => {}
            }
            if self.report.bytes() >= goal {
                break;
            }
        }
        self.stage != Stage::Done
    }

    /// Verifies everything that is left and returns the result.
    pub fn finish(mut self) -> Report {
        while self.step(u64::MAX) {}
        self.report
    }

    // ---- heights -------------------------------------------------------------------------------------------------

    fn height(&mut self, height: Height) {
        self.report.heights += 1;
        let head = self.of_height(Cf::Heads, height, Head::decode);
        if let Some(head) = &head {
            self.head(height, head);
        }
        self.of_height(Cf::Commits, height, |bytes| Commit::decode(bytes).ok()).into_iter().for_each(|commit| {
            if commit.height != height || head.as_ref().is_some_and(|head| head.block_id != commit.block_id) {
                self.find_at(Cf::Commits, height, "it is not a commit for the block of its height");
            }
        });
        let results = self.of_height(Cf::Results, height, |bytes| BlockResults::decode(bytes).ok());
        if let Some(head) = &head {
            self.block(height, head, results.as_ref());
        }
        self.leaves = results.as_ref().map(|results| (height, results.app_hash, results_hash(&results.txs)));
        self.events(height, results);
        self.changes(height);
        self.before = head;
    }

    fn head(&mut self, height: Height, head: &Head) {
        let header = &head.header;
        if header.height != height || header.hash() != head.block_id.hash {
            self.find_at(Cf::Heads, height, "the header does not hash to the block's id");
        }
        if let Some(before) = self.before.as_ref().filter(|before| before.header.height.next() == height)
            && header.last_block_id != Some(before.block_id)
        {
            self.find_at(Cf::Heads, height, "its parent is not the previous block");
        }
        if let Some((at, app_hash, results_hash)) = self.leaves.filter(|(at, ..)| at.next() == height)
            && (header.app_hash, header.last_results_hash) != (app_hash, results_hash)
        {
            self.find_at(Cf::Results, at, "they do not match the next header");
        }
        for (cf, hash, expected) in [
            (Cf::Validators, self.store.validators(height).map(|set| set.hash()), header.validators_hash),
            (Cf::Validators, self.store.validators(height.next()).map(|set| set.hash()), header.next_validators_hash),
            (Cf::Params, self.store.params(height).map(|params| params.hash()), header.consensus_hash),
        ] {
            match hash {
                Ok(hash) if hash == expected => {}
                Ok(_) => self.find_at(cf, height, "the value in force at this height does not match the header"),
                Err(error) => self.failed(cf, Some(height), &schema::height(height), &error),
            }
        }
        match self.store.time_row(height) {
            Ok(row) if (row.time, row.hash, row.derived) == (header.time, header.hash(), header.derived_hash()) => {}
            Ok(_) => self.find_at(Cf::Times, height, "time or hashes are not the header's"),
            Err(error) => self.failed(Cf::Times, Some(height), &schema::height(height), &error),
        }
        let hash = head.block_id.hash;
        match self.store.kv().get(Cf::BlockHash, &hash.0) {
            Ok(Some(row)) if schema::read_height(&row) == Some(height) => {}
            Ok(_) => self.find(Cf::BlockHash, height, &hash.0, "it does not lead to its block"),
            Err(error) => self.failed(Cf::BlockHash, Some(height), &hash.0, &error),
        }
    }

    /// Checks that each infraction in a block leads to it, or, of an attack on light clients, to an earlier one, and that
    /// the row of the block's height is that of its last commit.
    fn evidence(&mut self, height: Height, block: &Block) {
        if let Ok(row) = self.store.time_row(height)
            && row != evidence::time_row_of(block, row.floor)
        {
            self.find_at(Cf::Times, height, "the signers are not those of the last commit");
        }
        let mut before = BTreeSet::new();
        for evidence in &block.evidence {
            let is_attack = matches!(evidence, Evidence::LightClientAttack(_));
            for infraction in evidence.infractions() {
                if !before.insert(infraction) {
                    continue;
                }
                let (key, expected) = (schema::infraction(&infraction), Some((height, evidence.hash())));
                match self.store.committed_evidence(&infraction) {
                    Ok(committed) if committed == expected => {}
                    Ok(Some((at, _))) if is_attack && at < height => {}
                    Ok(None) if self.store.evidence_floor().is_ok_and(|floor| infraction.0 < floor) => {} // it has expired
                    Ok(_) => self.find(Cf::Evidence, height, &key, "it does not lead to the block with the evidence"),
                    Err(error) => self.failed(Cf::Evidence, Some(height), &key, &error),
                }
            }
        }
    }

    fn block(&mut self, height: Height, head: &Head, results: Option<&BlockResults>) {
        let key = schema::block(height, &head.block_id);
        let bytes = match self.store.kv().get(Cf::Blocks, &key) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                if self.store.check_kept(height).is_ok() {
                    self.find(Cf::Blocks, height, &key, "the row is missing");
                }
                return;
            }
            Err(error) => return self.failed(Cf::Blocks, Some(height), &key, &error),
        };
        self.report.count(Cf::Blocks, 1, key.len() + bytes.len());
        if PartSet::from_bytes(&bytes).header() != head.block_id.parts {
            return self.find(Cf::Blocks, height, &key, "its bytes do not hash to the block's id");
        }
        let block = match Block::decode(&bytes) {
            Ok(block) => block,
            Err(error) => return self.find(Cf::Blocks, height, &key, error),
        };
        if block.header != head.header || head.block_bytes != bytes.len() as u64 || head.txs as usize != block.txs.len()
        {
            self.find_at(Cf::Heads, height, "header or sizes are not the block's");
        }
        if let Err(error) = block.check_content() {
            self.find(Cf::Blocks, height, &key, error);
        }
        self.evidence(height, &block);
        for (key, position) in results.iter().flat_map(|results| txs::rows_of(height, block.tx_ids(), results)) {
            match self.store.kv().get(Cf::Txs, &key) {
                Ok(Some(row)) if row == position => {}
                Ok(_) if self.store.check_kept(height).is_err() => return,
                Ok(_) => self.find(Cf::Txs, height, &key, "it does not lead to the transaction's block"),
                Err(error) => self.failed(Cf::Txs, Some(height), &key, &error),
            }
        }
    }

    /// Verifies that the event index has every row that follows from the results.
    fn events(&mut self, height: Height, results: Option<BlockResults>) {
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> =
            results.iter().flat_map(|results| index::rows_of(height, results)).collect();
        rows.sort_unstable();
        for rows in rows.chunks(LOOK_UPS_MAX) {
            let keys: Vec<&[u8]> = rows.iter().map(|(key, _)| key.as_slice()).collect();
            match self.store.kv().multi_get(Cf::Events, &keys) {
                Ok(there) if self.store.check_kept(height).is_ok() => {
                    for ((key, _), _) in rows.iter().zip(there).filter(|((_, row), there)| there.as_ref() != Some(row))
                    {
                        self.find(Cf::Events, height, key, "the row is missing or names other events than the results");
                    }
                }
                Ok(_) => return,
                Err(error) => self.failed(Cf::Events, Some(height), keys[0], &error),
            }
        }
    }

    /// Verifies the list of changed keys, and that every key in it has a version of this height.
    fn changes(&mut self, height: Height) {
        let read = |bytes: &[u8]| {
            let owned = |change: Option<Change<'_>>| change.map(|change| (change.key.to_vec(), change.before));
            let changes: Option<Vec<_>> = schema::Changes::new(bytes).map(owned).collect();
            changes.filter(|changes| changes.is_sorted_by_key(|(key, _)| key))
        };
        for (key, before) in self.of_height(Cf::Changes, height, read).into_iter().flatten() {
            let row = schema::version(&key, height);
            match self.store.kv().get(Cf::State, &row) {
                Ok(Some(value)) if schema::read_version_value(&value).is_some() => {}
                Ok(None) if self.store.check_kept(height).is_err() => return,
                Ok(_) => self.find(Cf::State, height, &row, "the row is missing or unreadable"),
                Err(error) => self.failed(Cf::State, Some(height), &row, &error),
            }
            if let Some(row) = schema::recent(&key, height)
                && let Err(error) = self.revertible(height, &key, before, &row)
            {
                self.failed(Cf::Recent, Some(height), &row, &error);
            }
        }
    }

    /// Verifies what a list and the index have about a revertible row that a height changed; `row` is its row in the
    /// index, if no later height changed it.
    fn revertible(&mut self, height: Height, key: &[u8], before: Option<Height>, row: &[u8]) -> Result<()> {
        let store = self.store;
        let view = store.kv().view();
        let newest = store.version_in(&view, key, store.tip_in(&view)?)?;
        let is_indexed = view.get(Cf::Recent, row)?.is_some();
        let below = height.prev().and_then(|below| store.version_in(&view, key, below).transpose()).transpose()?;
        let replaced = below.and_then(|(at, value)| value.map(|_| at));
        if store.check_kept(height).is_err() {
            return Ok(());
        }
        let is_settled = store.unfinished_rewind().is_none_or(|rewind| rewind.recent_of.is_none());
        if is_settled && newest.is_some_and(|(newest, _)| newest == height) != is_indexed {
            self.find(Cf::Recent, height, row, "the row is missing, or a later height changed the key too");
        }
        if replaced != before {
            self.find(Cf::Changes, height, key, "the list has another height for the value that was replaced");
        }
        Ok(())
    }

    /// Verifies the tip, and the results of the last height.
    fn last(&mut self) {
        let Some(tip) = self.tip.filter(|tip| self.store.read_tip() == Some(*tip)) else { return };
        let is_tips = |head: &Head| tip.block_id == Some(head.block_id) && tip.time == head.header.time;
        if self.before.as_ref().is_some_and(|head| !is_tips(head)) {
            self.find(Cf::Meta, tip.height, meta::TIP, "it is not the last block");
        }
        if self
            .leaves
            .is_some_and(|leaves| leaves.0 == tip.height && leaves != (tip.height, tip.app_hash, tip.results_hash))
        {
            self.find_at(Cf::Results, tip.height, "they do not match the tip");
        }
    }

    /// Reads a row that every kept height must have.
    fn of_height<T>(&mut self, cf: Cf, height: Height, decode: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let key = schema::height(height);
        match self.store.kv().get(cf, &key) {
            Ok(Some(bytes)) => {
                self.report.count(cf, 1, key.len() + bytes.len());
                let read = decode(&bytes);
                if read.is_none() {
                    self.find_at(cf, height, "the row is unreadable");
                }
                read
            }
            Ok(None) => {
                if self.store.check_kept(height).is_ok() {
                    self.find_at(cf, height, "the row is missing");
                }
                None
            }
            Err(error) => {
                self.failed(cf, Some(height), &key, &error);
                None
            }
        }
    }

    // ---- rows ----------------------------------------------------------------------------------------------------

    /// Returns the key at which reading a family begins: rows that every height has were already read with the heights.
    fn first_key(&self, index: usize) -> Vec<u8> {
        match Cf::ALL.get(index) {
            Some(Cf::Heads | Cf::Blocks | Cf::Commits | Cf::Results | Cf::Changes) => {
                schema::height(self.report.tip.next()).to_vec()
            }
            _ => Vec::new(),
        }
    }

    fn rows(&mut self, index: usize, from: Vec<u8>, goal: u64) {
        let Some(cf) = Cf::ALL.get(index).copied() else { return };
        let store = self.store;
        let view = store.kv().view();
        // The tip is read after the view, so that no row of the view is above it.
        let tip = store.read_tip().map_or(Height::GENESIS, |tip| tip.height);
        let tip = store.unfinished_rewind().map_or(tip, |rewind| tip.max(rewind.rows_to));
        let mut last = from.clone();
        for row in view.rows(cf, &[], &from) {
            match row {
                Ok((key, value)) => {
                    self.report.count(cf, 1, key.len() + value.len());
                    self.row(cf, &key, &value, tip);
                    if cf == Cf::Recent {
                        self.last_change(&view, &key);
                    }
                    last = [&key[..], &[0]].concat();
                    if self.report.bytes() >= goal {
                        self.stage = Stage::Rows(index, last);
                        return;
                    }
                }
                Err(error) => {
                    let next = self.skip(&view, cf, &last);
                    let to = next
                        .as_deref()
                        .map_or_else(|| "the end".to_owned(), |next| format!("key {}", schema::shown(next)));
                    let reason = format!("rows from here up to {to} cannot be read: {}", reason_of(&error));
                    self.report.find(cf, None, &last, reason);
                    self.stage = match next {
                        Some(next) => Stage::Rows(index, next),
                        None => Stage::Rows(index + 1, self.first_key(index + 1)),
                    };
                    return;
                }
            }
        }
        self.stage = Stage::Rows(index + 1, self.first_key(index + 1));
    }

    /// Returns a key after `from` whose row can be read. It increments the start of the key in larger and larger steps.
    fn skip(&self, view: &K::View<'_>, cf: Cf, from: &[u8]) -> Option<Vec<u8>> {
        let mut start = from.to_vec();
        start.resize(start.len().max(SKIP_PREFIX_MAX), 0);
        for length in (1..=SKIP_PREFIX_MAX).rev() {
            start.truncate(length);
            for _ in 0..SKIPS {
                let last = start.iter().rposition(|byte| *byte < u8::MAX)?;
                start[last] += 1;
                start[last + 1..].fill(0);
                match view.rows(cf, &[], &start).next() {
                    Some(Ok(_)) => return Some(start),
                    Some(Err(_)) => {}
                    None => return None,
                }
            }
        }
        None
    }

    /// Verifies one row by itself.
    fn row(&mut self, cf: Cf, key: &[u8], value: &[u8], tip: Height) {
        let height = cf.height_of(key, value);
        let is_readable = match cf {
            Cf::Meta => meta_is_readable(key, value),
            Cf::Blocks => {
                let id = key.get(8..).and_then(schema::read_block_id);
                id.is_some_and(|id| PartSet::from_bytes(value).header() == id.parts)
            }
            Cf::BlockHash => key.len() == 32 && schema::read_height(value).is_some(),
            Cf::Txs => txs::is_readable(key, value),
            Cf::State => {
                let is_key = schema::split_version(key).is_some_and(|(key, _)| schema::read_terminated(key).is_some());
                is_key && schema::read_version_value(value).is_some()
            }
            Cf::Recent => schema::split_recent(key).is_some() && value.is_empty(),
            Cf::Validators => key.len() == 8 && ValidatorSet::decode(value).is_ok(),
            Cf::Params => key.len() == 8 && Params::decode(value).is_ok(),
            Cf::Events => index::is_readable(key, value),
            Cf::Times => key.len() == 8 && schema::read_time_row(value).is_some(),
            Cf::Evidence | Cf::EvidenceWaiting => evidence::is_readable(cf, key, value),
            // The application knows their shape and content.
            Cf::Trees => true,
            // The rows of heights were already verified with their height.
            Cf::Heads | Cf::Commits | Cf::Results | Cf::Changes => true,
        };
        if !is_readable {
            self.report.find(cf, height, key, "the row is not of its family's shape");
        }
        // Blocks above the tip were precommitted; validator sets and parameters are known ahead.
        let known_to = match cf {
            Cf::Blocks => Height(u64::MAX),
            // Its height is being decided.
            Cf::EvidenceWaiting => Height(u64::MAX),
            Cf::Validators => tip.next().next(),
            Cf::Params => tip.next(),
            _ => tip,
        };
        if cf.height_at() != HeightAt::Nowhere && height.is_some_and(|height| height > known_to) {
            self.report.find(cf, height, key, format!("the row is above the tip, which is at height {tip}"));
        }
    }

    /// Verifies that a row in the index of last changes has the height of the newest version of its key.
    fn last_change(&mut self, view: &K::View<'_>, row: &[u8]) {
        let Some((part, at, rest)) = schema::split_recent(row) else { return };
        if self.store.unfinished_rewind().is_some_and(|rewind| rewind.recent_of.is_some()) {
            return; // the index is being moved back
        }
        let newest = self.store.tip_in(view).and_then(|tip| self.store.version_in(view, &[part, rest].concat(), tip));
        match newest {
            // Rows below the window are never read, and deletions there may be gone.
            Ok(newest) if at < self.store.earliest() || newest.as_ref().is_some_and(|(newest, _)| *newest == at) => {}
            Ok(_) => self.find(Cf::Recent, at, row, "it is not of the height of the key's newest version"),
            Err(error) => self.failed(Cf::Recent, Some(at), row, &error),
        }
    }

    // ---- findings ------------------------------------------------------------------------------------------------

    fn find(&mut self, cf: Cf, height: Height, key: &[u8], reason: impl ToString) {
        self.report.find(cf, Some(height), key, reason);
    }

    fn find_at(&mut self, cf: Cf, height: Height, reason: &str) {
        self.find(cf, height, &schema::height(height), reason);
    }

    /// Records a read that failed, unless the window moved past the row in the meantime.
    fn failed(&mut self, cf: Cf, height: Option<Height>, key: &[u8], error: &StoreError) {
        if !matches!(error, StoreError::Pruned { .. }) {
            self.report.find(cf, height, key, reason_of(error));
        }
    }
}

/// Returns the reason without the location and the remedy, which the report adds.
fn reason_of(error: &StoreError) -> String {
    match error {
        StoreError::Damaged { reason, .. } | StoreError::Io { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

fn meta_is_readable(name: &[u8], value: &[u8]) -> bool {
    match name {
        meta::TIP => Tip::decode(value).is_some(),
        meta::GENESIS => Genesis::decode(value).is_some(),
        meta::HARD_STATE => types::HardState::decode(value).is_ok(),
        meta::REWIND => Rewind::decode(value).is_some(),
        meta::EARLIEST | meta::SIGNING_FLOOR | meta::TREES => schema::read_height(value).is_some(),
        meta::FORMAT => value.len() == 4,
        _ => true,
    }
}
