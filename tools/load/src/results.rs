//! The results of all transactions and heights of a run, without the lock that guards them.
//!
//! A transaction is committed everywhere at the time at which the last validator was seen to have committed its height.
//! A validator that has disappeared is not waited for, and the report says so. Heights are finished in order: a height is
//! finished when every validator has reported it and its content is known.
//!
//! Memory: 32 bytes per transaction and up to 50 bytes to find it by its key, for the last [`TXS_MAX`]; a few bytes per
//! height that is not finished. One million transactions take about 80 MB at most.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::Duration,
};

use crate::{
    clock::RunClock,
    kind::Kind,
    records::{ByKey, TxKey},
    tally::{State, Tally},
};

/// Number of transactions above which the tracker forgets the oldest, if nothing more is expected of them. Those of the last
/// timeout may be more.
const TXS_MAX: usize = 2_000_000;
/// Maximum number of heights that are read after all validators' headers were missed for a while.
const MISSED_MAX: u64 = 10_000;
/// Mempool codes for a transaction that the mempool holds, or held not long ago. They are no refusal.
const KNOWN: [u32; 2] = [65, 66];
/// Maximum number of problems and changes that are kept.
const PROBLEMS_MAX: usize = 100;

/// The answer of a node to one submitted transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The node accepted the transaction into its mempool.
    Taken,
    /// The node refused the transaction.
    Refused {
        /// Code of the mempool or the application; 0 if the node's RPC refused the request.
        code: u32,
        /// Explanation that the node gave.
        log: String,
    },
}

/// A transaction of this run.
pub struct Tx {
    at: u64,
    /// Key that identifies it in blocks.
    pub key: TxKey,
    /// Kind of the transaction: valid, or why nodes must refuse it.
    pub kind: Kind,
    state: State,
    is_measured: bool,
}

impl Tx {
    /// Returns true if its result is still expected: of a valid one the commit, of an invalid one the answer.
    fn is_awaited(&self) -> bool {
        !self.state.is_final() && (self.kind == Kind::Valid || self.state == State::Sent)
    }
}

/// A height that is not finished.
struct Pending {
    /// Time at which each validator was seen to have committed the height.
    seen: Vec<Option<u64>>,
    /// Fingerprint of the first validator's header, with which the others are compared.
    fingerprint: Option<u64>,
    /// Number of transactions in the height, and the tracker's numbers of those of this run. `None` until the block was
    /// read.
    content: Option<(u64, Vec<u64>)>,
}

/// The state of all transactions and heights of a run, and their counts.
pub struct Results {
    /// Number of the transaction `txs[0]`.
    pub first: u64,
    /// Transactions that are remembered, in the order of their numbers.
    pub txs: VecDeque<Tx>,
    /// Number of transactions above which the oldest are forgotten: [`TXS_MAX`].
    pub txs_max: usize,
    numbers: ByKey<u64>,
    /// Number of the first transaction that may still time out.
    open_from: u64,
    /// Number of valid transactions that are neither in a block nor failed.
    pub waiting: u64,
    /// Number of transactions for which a result is still expected.
    pub unresolved: u64,
    heights: BTreeMap<u64, Pending>,
    /// Last height up to which all heights are finished.
    pub finished: u64,
    /// Whether each validator's headers are waited for.
    pub is_live: Vec<bool>,
    timeout: u64,
    /// Counts and latencies of the current stage.
    pub tally: Tally,
    /// Problems and changes outside the counts, each a sentence with its time in the stage.
    pub problems: Vec<String>,
    /// Number of these sentences that `Tracker::news` has returned.
    pub noted: usize,
    clock: RunClock,
}

impl Results {
    /// Creates the results of a run over `nodes` validators, whose chain is at `height`.
    pub fn new(nodes: usize, height: u64, timeout: Duration, clock: RunClock) -> Self {
        Self {
            first: 0,
            txs: VecDeque::new(),
            txs_max: TXS_MAX,
            numbers: ByKey::default(),
            open_from: 0,
            waiting: 0,
            unresolved: 0,
            heights: BTreeMap::new(),
            finished: height,
            is_live: vec![true; nodes],
            timeout: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
            tally: Tally::new(0, 0, 0, nodes),
            problems: Vec::new(),
            noted: 0,
            clock,
        }
    }

    /// Records a problem, unless the same sentence is recorded already.
    pub fn problem(&mut self, sentence: String) {
        if !self.problems.iter().any(|noted| noted.ends_with(&sentence)) {
            self.note(sentence);
        }
    }

    /// Records a sentence with its time in the stage, while there is room.
    pub fn note(&mut self, sentence: String) {
        if self.problems.len() < PROBLEMS_MAX {
            let at = self.clock.now().saturating_sub(self.tally.begin);
            self.problems.push(format!("at {:.1} s: {sentence}", at as f64 / 1e9));
        }
    }

    /// Adds a transaction that is due at `at` and is sent now, at `now`.
    pub fn add(&mut self, now: u64, at: u64, key: TxKey, kind: Kind) {
        let number = self.first + self.txs.len() as u64;
        let is_measured = self.tally.measures(at);
        self.numbers.insert(key, number);
        self.txs.push_back(Tx { at, key, kind, state: State::Sent, is_measured });
        self.unresolved += 1;
        if is_measured {
            self.tally.lag.add(now.saturating_sub(at));
        }
        match kind {
            Kind::Valid => {
                self.waiting += 1;
                if is_measured {
                    self.tally.count(None, State::Sent);
                }
                if let Some(second) = self.tally.second(at) {
                    second.due += 1;
                }
            }
            kind if is_measured => self.tally.invalid.entry(kind).or_default().due += 1,
            _ => {}
        }
        while self.txs.len() > self.txs_max && self.txs.front().is_some_and(|tx| !tx.is_awaited()) {
            if let Some(tx) = self.txs.pop_front() {
                self.numbers.remove(&tx.key);
                self.first += 1;
            }
        }
    }

    /// Returns the transaction with this number, unless it is forgotten.
    pub fn tx(&mut self, number: u64) -> Option<&mut Tx> {
        self.txs.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Moves a transaction to a state, unless it is already in a final state.
    fn settle(&mut self, number: u64, state: State) {
        let Some(tx) = self.tx(number).filter(|tx| !tx.state.is_final()) else { return };
        let (from, at, is_valid, is_measured) = (tx.state, tx.at, tx.kind == Kind::Valid, tx.is_measured);
        tx.state = state;
        if !is_valid {
            // No further result is expected of an invalid transaction after its answer.
            self.unresolved -= u64::from(from == State::Sent);
            return;
        }
        self.unresolved -= u64::from(state.is_final());
        let waited = matches!(from, State::Sent | State::Taken);
        let waits = matches!(state, State::Sent | State::Taken);
        self.waiting -= u64::from(waited && !waits);
        if is_measured {
            self.tally.count(Some(from), state);
        }
        if matches!(state, State::Refused | State::Unsent | State::TimedOut)
            && let Some(second) = self.tally.second(at)
        {
            second.failed += 1;
        }
    }

    /// Records that no node could be reached with this transaction.
    pub fn unsent(&mut self, number: u64) {
        let Some(tx) = self.tx(number).filter(|tx| tx.state == State::Sent) else { return };
        let (kind, is_measured) = (tx.kind, tx.is_measured);
        if kind != Kind::Valid && is_measured {
            self.tally.invalid.entry(kind).or_default().unanswered += 1;
        }
        self.settle(number, State::Unsent);
    }

    /// Records the verdict of a node on a transaction.
    pub fn answer(&mut self, number: u64, verdict: Verdict) {
        let Some(tx) = self.tx(number) else { return };
        let (kind, is_measured, state) = (tx.kind, tx.is_measured, tx.state);
        if kind == Kind::Valid {
            match verdict {
                Verdict::Refused { code, .. } if KNOWN.contains(&code) => {}
                Verdict::Refused { code, log } if matches!(state, State::Sent | State::Taken) => {
                    if is_measured {
                        let refusals = self.tally.refusals.entry(code).or_default();
                        refusals.count += 1;
                        if refusals.example.is_empty() {
                            refusals.example = log;
                        }
                    }
                    self.settle(number, State::Refused);
                }
                Verdict::Taken if state == State::Sent => self.settle(number, State::Taken),
                _ => {} // the block was seen before the answer
            }
            return;
        }
        if state != State::Sent {
            return;
        }
        if is_measured {
            let invalid = self.tally.invalid.entry(kind).or_default();
            match &verdict {
                Verdict::Taken => invalid.taken += 1,
                Verdict::Refused { code, .. } => *invalid.codes.entry(*code).or_default() += 1,
            }
        }
        if verdict == Verdict::Taken {
            self.problem(format!("a node accepted a transaction that it must refuse ({})", kind.words()));
        }
        self.settle(number, if verdict == Verdict::Taken { State::Taken } else { State::Refused });
    }

    /// Records that validator `node` reported a header. Returns the heights whose blocks must be read.
    pub fn header(&mut self, node: usize, height: u64, at: u64, is_empty: bool, fingerprint: u64) -> Range<u64> {
        if height <= self.finished {
            return height..height;
        }
        let nodes = self.is_live.len();
        let known = self.heights.last_key_value().map_or(self.finished, |(last, _)| *last);
        // Usually this is one height. There are more if all validators' events were missed for a while.
        let from = known.saturating_add(1).max(height.saturating_sub(MISSED_MAX)).min(height);
        let is_new = height > known;
        if is_new {
            for new in from..=height {
                self.heights.insert(new, Pending { seen: vec![None; nodes], fingerprint: None, content: None });
            }
        }
        // A validator that has committed a height has also committed all heights before it.
        for (_, pending) in self.heights.range_mut(..=height) {
            pending.seen[node].get_or_insert(at);
        }
        let mut disagree = false;
        if let Some(pending) = self.heights.get_mut(&height) {
            disagree = *pending.fingerprint.get_or_insert(fingerprint) != fingerprint;
            if is_empty {
                pending.content.get_or_insert((0, Vec::new()));
            }
        }
        if disagree {
            self.problem(format!(
                "VALIDATORS DISAGREE about height {height}: compare `cairn query block {height}` of each"
            ));
        }
        let end = if is_empty { height } else { height.saturating_add(1) };
        let to_read = if is_new { from..end.max(from) } else { height..height };
        self.finish();
        to_read
    }

    /// Records the transactions of a height.
    pub fn block(&mut self, height: u64, keys: &[TxKey]) {
        let mut ours = Vec::new();
        for key in keys {
            let Some(number) = self.numbers.get(key).copied() else { continue };
            let Some(tx) = self.tx(number) else { continue };
            let (kind, state, is_measured) = (tx.kind, tx.state, tx.is_measured);
            match state {
                _ if kind != Kind::Valid => {
                    if is_measured {
                        self.tally.invalid.entry(kind).or_default().committed += 1;
                    }
                    self.problem(format!("a transaction that nodes must refuse ({}) was committed", kind.words()));
                }
                State::InBlock | State::Everywhere => {
                    self.tally.duplicates += 1;
                    self.problem(format!("a transaction is in two blocks; one of them has height {height}"));
                }
                State::Refused | State::Unsent => self.tally.refused_and_committed += 1,
                State::TimedOut => self.tally.late += 1,
                State::Sent | State::Taken => {
                    self.settle(number, State::InBlock);
                    ours.push(number);
                }
            }
        }
        if let Some(pending) = self.heights.get_mut(&height) {
            pending.content.get_or_insert((keys.len() as u64, ours));
        }
        self.finish();
    }

    /// Finishes, in order, the heights for which everything is known.
    pub fn finish(&mut self) {
        let is_live = self.is_live.clone();
        if !is_live.contains(&true) {
            return;
        }
        while let Some(entry) = self.heights.first_entry() {
            let pending = entry.get();
            let is_seen = pending.seen.iter().zip(&is_live).all(|(seen, is_live)| seen.is_some() || !is_live);
            if !is_seen || pending.content.is_none() {
                return;
            }
            let (height, pending) = entry.remove_entry();
            self.finish_height(height, pending);
        }
    }

    fn finish_height(&mut self, height: u64, pending: Pending) {
        self.finished = height;
        let Pending { seen, content, .. } = pending;
        let (count, ours) = content.unwrap_or_default();
        let times = seen.iter().flatten();
        let (Some(first), Some(last)) = (times.clone().min().copied(), times.max().copied()) else { return };
        if self.tally.measures(last) {
            self.tally.heights += 1;
            self.tally.empty_heights += u64::from(count == 0);
            self.tally.txs_max = self.tally.txs_max.max(count);
        }
        for number in ours {
            let timeout = self.timeout;
            let Some(tx) = self.tx(number).filter(|tx| tx.state == State::InBlock) else { continue };
            let (at, is_measured) = (tx.at, tx.is_measured);
            if last.saturating_sub(at) > timeout {
                self.settle(number, State::TimedOut);
                continue;
            }
            self.settle(number, State::Everywhere);
            self.tally.committed(at, last);
            if is_measured {
                self.tally.first.add(first.saturating_sub(at));
                self.tally.everywhere.add(last.saturating_sub(at));
                for (samples, seen) in self.tally.nodes.iter_mut().zip(&seen) {
                    seen.iter().for_each(|seen| samples.add(seen.saturating_sub(at)));
                }
            }
        }
    }

    /// Gives up the transactions and heights that are older than the timeout at `now`.
    pub fn expire(&mut self, now: u64) {
        self.open_from = self.open_from.max(self.first);
        while let Some((state, at)) = self.tx(self.open_from).map(|tx| (tx.state, tx.at))
            && at.saturating_add(self.timeout) < now
        {
            let number = self.open_from;
            self.open_from += 1;
            let Some(tx) = self.tx(number) else { continue };
            let (kind, is_measured) = (tx.kind, tx.is_measured);
            if kind != Kind::Valid && state == State::Sent && is_measured {
                self.tally.invalid.entry(kind).or_default().unanswered += 1;
            }
            self.settle(number, State::TimedOut);
        }
        // No transaction of such a height is open any more: a live validator has not reported it within the timeout.
        while let Some(entry) = self.heights.first_entry()
            && entry.get().seen.iter().flatten().min().is_none_or(|seen| seen.saturating_add(self.timeout) < now)
        {
            let (height, pending) = entry.remove_entry();
            self.finish_height(height, pending);
        }
        self.tally.close_seconds(now.saturating_sub(self.timeout));
    }
}
