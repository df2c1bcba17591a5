//! Searches for the transactions or blocks that match a query.
//!
//! ```text
//!   query ──▶ candidates, ascending ──▶ those that match ──▶ a page of them
//!             the fewest of:            the index, or        read and written as JSON
//!             a hash, an indexed        results of their
//!             value, an indexed         block
//!             attribute, heights
//! ```
//! A search answers completely or fails: one that would read more than [`SEARCH_WORK_MAX`] returns an error that says
//! how to ask for less. Everything is found as soon as its height is committed, because the index is written in the
//! height's batch.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use storage::{Indexed, Position};
use types::{Block, BlockResults, Hash, Height, TxId, merkle};

use super::{
    shared::{Answer, Outcome, Server},
    txs::proofs_of,
    validators::page,
};
use crate::{
    args::Args,
    error::Error,
    json,
    query::{Query, kind_of},
};

/// Maximum units of work for finding matches: one unit is a row read, or decoding the results of [`RESULTS_PER_UNIT`]
/// transactions. A unit takes a few µs, so a search holds a thread for less than a second.
const SEARCH_WORK_MAX: u64 = 100_000;

/// Number of transactions whose results cost one unit.
const RESULTS_PER_UNIT: u64 = 4;

/// Maximum bytes of the blocks from which a page of transactions is taken: decoding takes some ms per MiB.
const TX_PAGE_BYTES_MAX: u64 = 64 << 20;

/// Maximum bytes of the blocks on a page, unless it is one block: as JSON they take twice as many.
const BLOCK_PAGE_BYTES_MAX: u64 = 8 << 20;

/// Maximum number of index rows per value that are counted to find the value with the fewest.
const PROBED_ROWS: usize = 64;

/// A range with fewer heights than this is read height by height instead of through all values of an attribute.
const FEW_HEIGHTS: u64 = 64;

/// The units of work that a search has left.
struct Work {
    left: u64,
}

impl Work {
    /// Deducts units of work.
    ///
    /// Errors: too few units are left.
    fn spend(&mut self, units: u64) -> Result<(), Error> {
        self.left = self.left.checked_sub(units).ok_or_else(|| {
            Error::refused(format_args!(
                "the search would read more than {SEARCH_WORK_MAX} rows: bound it with tx.height (or block.height), or name a value \
                 of an indexed attribute, such as transfer.recipient = '…'"
            ))
        })?;
        Ok(())
    }
}

/// A decoded block whose transactions are on a page.
struct Read {
    height: Height,
    block: Block,
    results: BlockResults,
    ids: Vec<TxId>,
    proofs: Option<(Hash, Vec<merkle::Proof>)>,
}

/// Returns the committed transactions that match a query.
///
/// Errors: a bad argument, too much work, a page of too many bytes, an unreadable row.
pub fn tx_search(server: &Server, args: &Args) -> Outcome {
    let (found, total) = find(server, args, Indexed::Txs, true)?;
    let prove = args.truth("prove")?;
    let store = &server.context.store;
    let mut bytes = PageBytes::of(TX_PAGE_BYTES_MAX);
    let mut last: Option<Read> = None;
    let mut txs = Vec::with_capacity(found.len());
    for Position { height, index } in found {
        if last.as_ref().is_none_or(|read| read.height != height) {
            bytes.take(store.head(height)?.block_bytes)?;
            let (block, results) = (store.block(height)?, store.results(height)?);
            let (ids, proofs) = (block.tx_ids().collect(), prove.then(|| proofs_of(&block)));
            last = Some(Read { height, block, results, ids, proofs });
        }
        let Read { block, results, ids, proofs, .. } = last.as_ref().expect("read above");
        let misplaced = || Error::internal(format_args!("height {height} has no transaction {index}"));
        let tx = block.txs.get(index as usize).ok_or_else(misplaced)?;
        let result = results.txs.get(index as usize).ok_or_else(misplaced)?;
        let mut answer = json!({
            "hash": ids[index as usize].to_string(),
            "height": height.to_string(),
            "index": index,
            "tx_result": json::tx_result(result),
            "tx": json::base64(tx),
        });
        if let Some((root, proofs)) = proofs {
            answer["proof"] = json::tx_proof(*root, tx, proofs.get(index as usize).ok_or_else(misplaced)?);
        }
        txs.push(answer);
    }
    Ok(answer("txs", txs, total))
}

/// Returns the blocks that match a query.
///
/// Errors: a bad argument, too much work, a page of too many bytes, an unreadable row.
pub fn block_search(server: &Server, args: &Args) -> Outcome {
    let (found, total) = find(server, args, Indexed::Blocks, false)?;
    let store = &server.context.store;
    let mut bytes = PageBytes::of(BLOCK_PAGE_BYTES_MAX);
    let mut blocks = Vec::with_capacity(found.len());
    for Position { height, .. } in found {
        let head = store.head(height)?;
        bytes.take(head.block_bytes)?;
        blocks.push(json::block_with_id(head.block_id, &store.block(height)?));
    }
    Ok(answer("blocks", blocks, total))
}

fn answer(name: &str, list: Vec<Value>, total: usize) -> Answer {
    json!({ name: list, "total_count": total.to_string() }).into()
}

/// Bytes of the blocks from which a page was taken so far, and their maximum.
struct PageBytes {
    taken: u64,
    max: u64,
}

impl PageBytes {
    fn of(max: u64) -> Self {
        Self { taken: 0, max }
    }

    /// Counts the bytes of one more block; the first block always fits.
    ///
    /// Errors: the page is taken from too many bytes.
    fn take(&mut self, bytes: u64) -> Result<(), Error> {
        if self.taken > 0 && self.taken + bytes > self.max {
            return Err(Error::refused(format_args!(
                "this page needs more than {} bytes of blocks: ask for a smaller one with per_page",
                self.max
            )));
        }
        self.taken += bytes;
        Ok(())
    }
}

/// Returns the requested page, in the requested order, and the total number of matches.
fn find(server: &Server, args: &Args, of: Indexed, ascending: bool) -> Result<(Vec<Position>, usize), Error> {
    let text = args.text("query")?.ok_or_else(|| {
        Error::invalid_params("parameter query is missing: give it, such as tx.height > 5 AND transfer.recipient = '…'")
    })?;
    let query: Query = text.parse()?;
    let ascending = match args.text("order_by")?.as_deref() {
        None | Some("") => ascending,
        Some("asc") => true,
        Some("desc") => false,
        Some(other) => {
            return Err(Error::invalid_params(format_args!(
                "parameter order_by is {other:?}: expected either `asc` or `desc` or an empty value"
            )));
        }
    };
    let mut found = Search::new(server, &query, of)?.run()?;
    if !ascending {
        found.reverse();
    }
    let (skip, take) = page(args, found.len())?;
    Ok((found.iter().skip(skip).take(take).copied().collect(), found.len()))
}

struct Search<'a> {
    server: &'a Server,
    query: &'a Query,
    of: Indexed,
    /// The heights that may match, both bounds inclusive.
    heights: (Height, Height),
    work: Work,
    /// The results that were read last.
    results: Option<(Height, BlockResults)>,
}

impl<'a> Search<'a> {
    fn new(server: &'a Server, query: &'a Query, of: Indexed) -> Result<Self, Error> {
        let others: &[&str] = match of {
            Indexed::Txs => &["block.height"],
            Indexed::Blocks => &["tx.height", "tx.hash"],
        };
        if let Some(other) = others.iter().find(|tag| query.mentions(tag)) {
            return Err(Error::invalid_params(format_args!(
                "a search for {} has no {other}: use {}",
                if of == Indexed::Txs { "transactions" } else { "blocks" },
                height_tag(of)
            )));
        }
        if query.mentions("tx.hash") && query.text_of("tx.hash").is_none() {
            return Err(Error::invalid_params("tx.hash is searched by its whole value: tx.hash = '…'"));
        }
        let (low, high) = query.range_of(height_tag(of));
        let heights = (Height(low).max(server.context.store.earliest()), Height(high).min(server.tip()?.height));
        Ok(Self { server, query, of, heights, work: Work { left: SEARCH_WORK_MAX }, results: None })
    }

    /// Returns all matches, in ascending order.
    fn run(mut self) -> Result<Vec<Position>, Error> {
        let name = match self.of {
            Indexed::Txs => "Tx",
            Indexed::Blocks => "NewBlock",
        };
        // The range may be wider than the conditions on the height, so those are checked again.
        if !self.query.holds_for("tm.event", name) || self.heights.0 > self.heights.1 {
            return Ok(Vec::new());
        }
        if let (Indexed::Txs, Some(hash)) = (self.of, self.query.text_of("tx.hash")) {
            return self.of_hash(hash);
        }
        if let Some((tag, value)) = self.fewest()? {
            return self.of_value(&tag, &value);
        }
        let few = self.heights.1.0 - self.heights.0.0 < FEW_HEIGHTS;
        if !few && let Some(tag) = self.indexed_tag()? {
            return self.of_attribute(&tag);
        }
        self.of_heights()
    }

    fn of_hash(&mut self, text: &str) -> Result<Vec<Position>, Error> {
        let Ok(hash) = text.parse::<Hash>() else {
            return Err(Error::invalid_params(format_args!("tx.hash is {text:?}: expected 64 hexadecimal digits")));
        };
        let Some((height, index)) = self.server.context.store.tx(&TxId(hash.0))? else { return Ok(Vec::new()) };
        let at = Position { height, index };
        let agree = self.query.holds_for("tx.hash", text); // several conditions may contradict each other
        let is_in = agree && height >= self.heights.0 && height <= self.heights.1;
        Ok(if is_in && self.holds_height(height) && self.holds_events(at)? { vec![at] } else { Vec::new() })
    }

    /// Returns the indexed value among the conditions that has the fewest rows.
    fn fewest(&mut self) -> Result<Option<(String, String)>, Error> {
        let mut best: Option<(usize, (String, String))> = None;
        for equality in self.query.equalities() {
            if !self.is_indexed(equality.tag)? {
                continue;
            }
            let mut rows = 0;
            let store = &self.server.context.store;
            store.index_rows(self.of, equality.tag, Some(equality.value), self.heights.0, &mut |_| {
                rows += 1;
                rows < PROBED_ROWS
            })?;
            self.work.spend(1 + rows as u64)?;
            if best.as_ref().is_none_or(|(fewest, _)| rows < *fewest) {
                best = Some((rows, (equality.tag.to_owned(), equality.value.to_owned())));
            }
        }
        Ok(best.map(|(_, value)| value))
    }

    /// Returns the first attribute among the conditions that is indexed.
    fn indexed_tag(&mut self) -> Result<Option<String>, Error> {
        for tag in self.query.attribute_tags() {
            if self.is_indexed(tag)? {
                return Ok(Some(tag.to_owned()));
            }
        }
        Ok(None)
    }

    /// Returns true if the index has any row of this attribute. An attribute that is not marked for indexing has none;
    /// its conditions are checked with the results.
    fn is_indexed(&mut self, tag: &str) -> Result<bool, Error> {
        self.work.spend(1)?;
        let mut any = false;
        self.server.context.store.index_rows(self.of, tag, None, Height::GENESIS, &mut |_| {
            any = true;
            false
        })?;
        Ok(any)
    }

    /// Finds matches through the rows of one value, which are in ascending order.
    fn of_value(&mut self, tag: &str, value: &str) -> Result<Vec<Position>, Error> {
        let (mut rows, mut result) = (Vec::new(), Ok(()));
        let (highest, work) = (self.heights.1, &mut self.work);
        self.server.context.store.index_rows(self.of, tag, Some(value), self.heights.0, &mut |row| {
            if row.at.height > highest {
                return false;
            }
            result = work.spend(1);
            rows.push((row.at, row.events));
            result.is_ok()
        })?;
        result?;
        // These conditions can be checked with the index alone: values of indexed attributes, of one event if they are
        // of one kind.
        let others: Vec<(String, String)> = {
            let equalities = self.query.equalities().filter(|other| (other.tag, other.value) != (tag, value));
            equalities.map(|other| (other.tag.to_owned(), other.value.to_owned())).collect()
        };
        let covered = self.query.attribute_tags().count() == others.len() + 1;
        let mut found = Vec::new();
        for (at, events) in rows {
            if !self.holds_height(at.height) || !self.index_agrees(at, kind_of(tag), events, &others)? {
                continue;
            }
            if (covered && others.is_empty()) || self.holds_events(at)? {
                found.push(at);
            }
        }
        Ok(found)
    }

    /// Returns false if the index rules out that the other values are there too, which avoids reading results.
    fn index_agrees(
        &mut self,
        at: Position,
        kind: &str,
        events: Vec<u16>,
        others: &[(String, String)],
    ) -> Result<bool, Error> {
        let mut events: BTreeSet<u16> = events.into_iter().collect();
        for (tag, value) in others {
            self.work.spend(1)?;
            let Some(carry) = self.server.context.store.index_row(self.of, tag, value, at)? else {
                if self.is_indexed(tag)? {
                    return Ok(false);
                }
                continue;
            };
            if kind_of(tag) == kind {
                events.retain(|event| carry.contains(event));
            }
        }
        Ok(!events.is_empty())
    }

    /// Finds matches through all rows of an attribute, with any value.
    fn of_attribute(&mut self, tag: &str) -> Result<Vec<Position>, Error> {
        let (mut candidates, mut result) = (BTreeSet::new(), Ok(()));
        let ((low, high), query, work) = (self.heights, self.query, &mut self.work);
        self.server.context.store.index_rows(self.of, tag, None, Height::GENESIS, &mut |row| {
            if row.at.height >= low && row.at.height <= high && query.holds_for(tag, &row.value) {
                candidates.insert(row.at);
            }
            result = work.spend(1);
            result.is_ok()
        })?;
        result?;
        let alone = self.query.attribute_tags().count() == 1;
        let mut found = Vec::new();
        for at in candidates {
            if self.holds_height(at.height) && (alone || self.holds_events(at)?) {
                found.push(at);
            }
        }
        Ok(found)
    }

    /// Finds matches by reading the heights one after the other.
    fn of_heights(&mut self) -> Result<Vec<Position>, Error> {
        let (low, high) = self.heights;
        self.work.spend(high.0 - low.0)?; // deducted first: a range that is too wide reads nothing
        let any = self.query.attribute_tags().next().is_none();
        let mut found = Vec::new();
        for height in (low.0..=high.0).map(Height) {
            if !self.holds_height(height) {
                continue;
            }
            let places = match self.of {
                Indexed::Txs => self.server.context.store.head(height)?.txs,
                Indexed::Blocks => 1,
            };
            self.work.spend(1 + u64::from(places) / 16)?;
            for index in 0..places {
                let at = Position { height, index };
                if any || self.holds_events(at)? {
                    found.push(at);
                }
            }
        }
        Ok(found)
    }

    fn holds_height(&self, height: Height) -> bool {
        self.query.holds_for(height_tag(self.of), &height.to_string())
    }

    /// Returns true if the conditions on attributes hold for the events of the block's execution.
    fn holds_events(&mut self, at: Position) -> Result<bool, Error> {
        if self.results.as_ref().is_none_or(|(of, _)| *of != at.height) {
            let store = &self.server.context.store;
            self.work.spend(1 + u64::from(store.head(at.height)?.txs) / RESULTS_PER_UNIT)?;
            self.results = Some((at.height, store.results(at.height)?));
        }
        let (_, results) = self.results.as_ref().expect("read above");
        let events = match self.of {
            Indexed::Txs => results.txs.get(at.index as usize).map(|result| &result.events),
            Indexed::Blocks => Some(&results.events),
        };
        Ok(events.is_some_and(|events| self.query.matches_events(events)))
    }
}

fn height_tag(of: Indexed) -> &'static str {
    match of {
        Indexed::Txs => "tx.height",
        Indexed::Blocks => "block.height",
    }
}
