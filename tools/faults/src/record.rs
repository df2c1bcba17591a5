//! The record of what was seen of a chain under load, and figures that are pure functions of the times in it.
//!
//! The chain has committed a height when more than half of the counted validators were seen to have committed it, and a
//! transaction when it has committed its height. A validator that reports a height has committed all heights before it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use load::{TxKey, Witness};

/// Maximum number of heights that a validator may have committed without reporting them.
const MISSED_MAX: u64 = 100_000;
/// Time before a kill in which a transaction that only the killed validator knew may be lost.
const NOT_GOSSIPED: Duration = Duration::from_secs(1);
/// Share of the expected throughput from which the throughput counts as recovered...
const FULL: f64 = 0.9;
/// ...if it lasts at least this long.
const FULL_FOR: Duration = Duration::from_secs(1);

/// An interval of time.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Start of the interval, inclusive.
    pub from: Instant,
    /// End of the interval, exclusive.
    pub to: Instant,
}

impl Span {
    fn has(&self, at: Instant) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// Returns the length in seconds.
    pub fn seconds(&self) -> f64 {
        self.to.saturating_duration_since(self.from).as_secs_f64()
    }
}

#[derive(Clone, Debug)]
struct Tx {
    node: usize,
    due: Instant,
    is_accepted: bool,
    height: Option<u64>,
    /// Number of times that it is found in a block.
    copies: u32,
}

/// All transactions, commits and blocks that were seen.
#[derive(Clone, Debug, Default)]
pub struct Record {
    txs: HashMap<TxKey, Tx>,
    /// Time at which each validator was seen to have committed a height.
    seen: BTreeMap<u64, Vec<Option<Instant>>>,
    /// Highest height that each validator has reported.
    latest: Vec<u64>,
    /// Number of this run's transactions in each height that was read.
    counts: BTreeMap<u64, u64>,
}

/// The results of all transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Account {
    /// Transactions that were sent or were about to be sent.
    pub due: u64,
    /// Transactions that a validator accepted.
    pub accepted: u64,
    /// Transactions that are in a block.
    pub committed: u64,
    /// Transactions that were accepted and are in no block: 0 on a correct chain.
    pub lost: u64,
    /// Transactions that are in no block, but were due at most 1 s before the validator that accepted them was killed:
    /// perhaps no other validator knew them.
    pub died_with_validator: u64,
    /// Transactions that are in more than one block: 0 on a correct chain.
    pub duplicates: u64,
}

/// Latencies from the intended send time, in milliseconds. `None`: the quantile falls among transactions that were not
/// committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Latency {
    /// 10th percentile: typical of transactions that were sent to the next proposer.
    pub p10_ms: Option<f64>,
    /// Median of the latencies.
    pub p50_ms: Option<f64>,
    /// 99th percentile of the latencies.
    pub p99_ms: Option<f64>,
}

impl Record {
    /// Creates an empty record of `nodes` validators.
    pub fn new(nodes: usize) -> Self {
        Self { latest: vec![0; nodes], ..Self::default() }
    }

    /// Records that a transaction is sent to validator `node`, with `due` as its intended send time.
    pub fn sending(&mut self, node: usize, key: TxKey, due: Instant) {
        self.txs.insert(key, Tx { node, due, is_accepted: false, height: None, copies: 0 });
    }

    /// Records that the validator accepted the transaction.
    pub fn accepted(&mut self, key: TxKey) {
        if let Some(tx) = self.txs.get_mut(&key) {
            tx.is_accepted = true;
        }
    }

    /// Records that a validator was seen at `at` to have committed a height.
    pub fn committed(&mut self, node: usize, height: u64, at: Instant) {
        let nodes = self.latest.len();
        let first = self.seen.first_key_value().map_or(height, |(first, _)| *first);
        let from = (self.latest[node] + 1).max(first).max(height.saturating_sub(MISSED_MAX));
        for height in from..=height {
            self.seen.entry(height).or_insert_with(|| vec![None; nodes])[node].get_or_insert(at);
        }
        self.latest[node] = self.latest[node].max(height);
    }

    /// Records the transactions of a height. A second report about the same height is ignored.
    pub fn block(&mut self, height: u64, keys: &[TxKey]) {
        if self.counts.contains_key(&height) {
            return;
        }
        let mut count = 0;
        for key in keys {
            if let Some(tx) = self.txs.get_mut(key) {
                tx.height = tx.height.or(Some(height));
                tx.copies += 1;
                count += 1;
            }
        }
        self.counts.insert(height, count);
    }

    /// Returns true if the transactions of a height were recorded.
    pub fn has_read(&self, height: u64) -> bool {
        self.counts.contains_key(&height)
    }

    /// Returns the highest height that any validator has reported.
    pub fn height(&self) -> u64 {
        self.latest.iter().copied().max().unwrap_or(0)
    }

    /// Returns the lowest height that is in the record.
    pub fn first_height(&self) -> Option<u64> {
        self.seen.first_key_value().map(|(height, _)| *height)
    }

    /// Returns when more than half of `counted` had committed each height, for the heights where they have.
    fn beats(&self, counted: &[usize]) -> BTreeMap<u64, Instant> {
        self.seen.iter().filter_map(|(height, seen)| Some((*height, beat(counted, seen)?))).collect()
    }

    /// Returns the heights that any validator reported at `since` or later, in order. Cost: only the heights returned,
    /// because it is called often.
    fn told_since(&self, since: Instant) -> Vec<(u64, &Vec<Option<Instant>>)> {
        let is_new = |seen: &Vec<Option<Instant>>| seen.iter().flatten().any(|at| *at >= since);
        let newest = self.seen.iter().rev().take_while(|(_, seen)| is_new(seen));
        let mut heights: Vec<_> = newest.map(|(height, seen)| (*height, seen)).collect();
        heights.reverse();
        heights
    }

    /// Returns the transactions committed in a span, per second.
    pub fn committed_per_s(&self, counted: &[usize], span: Span) -> f64 {
        let beats = self.beats(counted);
        let in_span = beats.iter().filter(|(_, at)| span.has(**at));
        let count: u64 = in_span.filter_map(|(height, _)| self.counts.get(height)).sum();
        count as f64 / span.seconds().max(1e-9)
    }

    /// Returns the transactions committed in a span as a share of those due in it. Only transactions that were sent to
    /// one of `reachable` count.
    pub fn committed_share(&self, counted: &[usize], reachable: &[usize], span: Span) -> f64 {
        let beats = self.beats(counted);
        let (mut due, mut committed) = (0u32, 0u32);
        for tx in self.txs.values().filter(|tx| reachable.contains(&tx.node)) {
            let at = tx.height.and_then(|height| beats.get(&height));
            due += u32::from(span.has(tx.due));
            committed += u32::from(at.is_some_and(|at| span.has(*at)));
        }
        f64::from(committed) / f64::from(due.max(1))
    }

    /// Returns the longest interval without a new height that ended in a span, or that was still open at its end.
    pub fn worst_stall(&self, counted: &[usize], span: Span) -> Duration {
        let mut worst = Duration::ZERO;
        let mut last: Option<Instant> = None;
        for at in self.beats(counted).into_values() {
            let since = last.unwrap_or(at);
            let until = at.min(span.to);
            if at >= span.from {
                worst = worst.max(until.saturating_duration_since(since));
            }
            last = Some(since.max(at));
        }
        worst.max(span.to.saturating_duration_since(last.unwrap_or(span.from)))
    }

    /// Returns the latencies of the transactions that were due in a span and sent to one of `counted`.
    pub fn latency(&self, counted: &[usize], span: Span) -> Latency {
        let beats = self.beats(counted);
        let (mut due, mut late) = (0, Vec::new());
        for tx in self.txs.values().filter(|tx| span.has(tx.due) && counted.contains(&tx.node)) {
            due += 1;
            let at = tx.height.and_then(|height| beats.get(&height));
            late.extend(at.map(|at| at.saturating_duration_since(tx.due).as_secs_f64() * 1e3));
        }
        late.sort_by(f64::total_cmp);
        // Transactions that were not committed rank behind all that were.
        let quantile = |share: f64| late.get(((share * f64::from(due)).ceil() as usize).max(1) - 1).copied();
        Latency { p10_ms: quantile(0.1), p50_ms: quantile(0.5), p99_ms: quantile(0.99) }
    }

    /// Returns how long after `healed` all of `behind` were at the tip; `None` if one is not yet. A validator is at the
    /// tip when it reports a height before most of `counted` have committed the second height after it.
    pub fn at_tip(&self, counted: &[usize], behind: &[usize], healed: Instant) -> Option<Duration> {
        let heights = self.told_since(healed);
        let reached = |node: &usize| {
            let at = heights.iter().enumerate().find_map(|(index, (_, seen))| {
                let at = seen[*node].filter(|at| *at >= healed)?;
                let two_further = heights.get(index + 2).and_then(|(_, seen)| beat(counted, seen));
                two_further.is_none_or(|beat| at <= beat).then_some(at)
            });
            at.map(|at| at - healed)
        };
        // If no validator was behind, all were at the tip all the time.
        behind.iter().map(reached).try_fold(Duration::ZERO, |latest, reached| Some(latest.max(reached?)))
    }

    /// Returns how long after `healed` the first second began in which 90 % of `per_s` were committed; `None` if there
    /// is none yet.
    pub fn is_full_again(&self, counted: &[usize], per_s: f64, healed: Instant, now: Instant) -> Option<Duration> {
        let commit =
            |(height, seen): (u64, &Vec<Option<Instant>>)| Some((beat(counted, seen)?, *self.counts.get(&height)?));
        let mut commits: Vec<(Instant, u64)> = self.told_since(healed).into_iter().filter_map(commit).collect();
        commits.retain(|(at, _)| *at >= healed);
        commits.sort();
        let begins = std::iter::once(healed).chain(commits.iter().map(|(at, _)| *at));
        let is_full = |begin: &Instant| {
            let span = Span { from: *begin, to: *begin + FULL_FOR };
            let count: u64 = commits.iter().filter(|(at, _)| span.has(*at)).map(|(_, count)| count).sum();
            span.to <= now && count as f64 >= FULL * per_s * FULL_FOR.as_secs_f64()
        };
        begins.into_iter().find(is_full).map(|begin| begin - healed)
    }

    /// Returns how many transactions were accepted and due before `before`, and are in no block.
    pub fn waiting(&self, before: Instant) -> usize {
        self.txs.values().filter(|tx| tx.is_accepted && tx.copies == 0 && tx.due < before).count()
    }

    /// Counts how the transactions ended. `kills`: which validator was killed, and when.
    pub fn account(&self, kills: &[(usize, Instant)]) -> Account {
        let mut account = Account::default();
        for tx in self.txs.values() {
            account.due += 1;
            account.accepted += u64::from(tx.is_accepted);
            account.committed += u64::from(tx.copies > 0);
            account.duplicates += u64::from(tx.copies > 1);
            if tx.is_accepted && tx.copies == 0 {
                let died = |(node, at): &(usize, Instant)| {
                    *node == tx.node && tx.due <= *at && at.saturating_duration_since(tx.due) <= NOT_GOSSIPED
                };
                match kills.iter().any(died) {
                    true => account.died_with_validator += 1,
                    false => account.lost += 1,
                }
            }
        }
        account
    }
}

/// Returns the time at which more than half of `counted` had committed a height. `seen`: the time of each validator.
fn beat(counted: &[usize], seen: &[Option<Instant>]) -> Option<Instant> {
    let mut times: Vec<Instant> = counted.iter().filter_map(|node| seen[*node]).collect();
    times.sort();
    times.get(counted.len() / 2).copied()
}

/// A record that the threads of the load write to.
pub struct Ledger(Mutex<Record>);

impl Ledger {
    /// Creates an empty record of `nodes` validators.
    pub fn new(nodes: usize) -> Self {
        Self(Mutex::new(Record::new(nodes)))
    }

    /// Locks the record and returns it.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

impl Witness for Ledger {
    fn sending(&self, node: usize, key: TxKey, due: Instant) {
        self.record().sending(node, key, due);
    }

    fn accepted(&self, key: TxKey) {
        self.record().accepted(key);
    }

    fn committed(&self, node: usize, height: u64, at: Instant) {
        self.record().committed(node, height, at);
    }

    fn block(&self, height: u64, keys: &[TxKey]) {
        self.record().block(height, keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn key(n: u64) -> TxKey {
        TxKey([n, n])
    }

    /// Returns a record of four validators that commit a height every 100 ms, from 100 ms on, 1 ms after each other.
    /// Each height has one transaction, due 40 ms before and sent to the validators in rotation. Heights 51 to 100 are
    /// in seconds 5 to 10.
    fn healthy(begin: Instant, heights: u64) -> Record {
        let mut record = Record::new(4);
        for height in 1..=heights {
            let at = begin + ms(100 * height);
            record.sending((height % 4) as usize, key(height), at - ms(40));
            record.accepted(key(height));
            (0..4).for_each(|node| record.committed(node, height, at + ms(node as u64)));
            record.block(height, &[key(height)]);
        }
        record
    }

    const ALL: [usize; 4] = [0, 1, 2, 3];
    const SURVIVORS: [usize; 3] = [0, 1, 2];

    #[test]
    fn a_height_is_committed_when_most_have_it() {
        let begin = Instant::now();
        let mut record = healthy(begin, 100);
        let span = Span { from: begin + ms(1_000), to: begin + ms(6_000) };
        assert_eq!(record.committed_per_s(&ALL, span), 10.0);
        assert_eq!(record.committed_share(&ALL, &SURVIVORS, span), 1.0);
        assert_eq!(record.worst_stall(&ALL, span), ms(100));
        let latency = record.latency(&ALL, span);
        assert_eq!((latency.p50_ms, latency.p99_ms), (Some(42.0), Some(42.0)), "the third of four is seen 2 ms later");
        assert_eq!(record.latency(&SURVIVORS, span).p50_ms, Some(41.0), "the second of three");
        record.sending(3, key(500), begin + ms(5_000));
        assert_eq!(record.committed_share(&ALL, &SURVIVORS, span), 1.0, "handed to another one");
        assert_eq!(record.committed_share(&ALL, &ALL, span), 50.0 / 51.0);
    }

    #[test]
    fn a_stall_is_the_longest_time_without_a_height() {
        let begin = Instant::now();
        let mut record = Record::new(3);
        for at in [100, 200, 900, 1_000] {
            let height = record.height() + 1;
            SURVIVORS.iter().for_each(|node| record.committed(*node, height, begin + ms(at)));
        }
        let stall = |from, to| record.worst_stall(&SURVIVORS, Span { from: begin + ms(from), to: begin + ms(to) });
        assert_eq!(stall(0, 1_000), ms(700));
        assert_eq!(stall(500, 1_000), ms(700), "it began before");
        assert_eq!(stall(0, 600), ms(400), "it ends later");
        assert_eq!(stall(0, 250), ms(100));
        assert_eq!(stall(950, 3_000), ms(2_000), "nothing more came");
        assert_eq!(Record::new(3).worst_stall(&SURVIVORS, Span { from: begin, to: begin + ms(50) }), ms(50));
    }

    #[test]
    fn an_absent_validator_is_at_the_tip_when_it_keeps_up() {
        let begin = Instant::now();
        let mut record = Record::new(4);
        for height in 1..=60 {
            SURVIVORS.iter().for_each(|node| record.committed(*node, height, begin + ms(100 * height)));
            if height <= 10 {
                record.committed(3, height, begin + ms(100 * height));
            }
        }
        let healed = begin + ms(3_000);
        let at_tip = |record: &Record| record.at_tip(&SURVIVORS, &[3], healed);
        assert_eq!(at_tip(&record), None);
        // The validator reports old heights first, and then the tip.
        (11..=50).for_each(|height| record.committed(3, height, begin + ms(5_400)));
        assert_eq!(at_tip(&record), None, "the others were at 54");
        record.committed(3, 55, begin + ms(5_550));
        assert_eq!(at_tip(&record), Some(ms(2_550)));
        assert_eq!(record.at_tip(&SURVIVORS, &[], healed), Some(Duration::ZERO), "no validator was away");
    }

    #[test]
    fn throughput_has_recovered_after_one_second_at_the_baseline() {
        let begin = Instant::now();
        let mut record = healthy(begin, 50);
        let healed = begin + ms(8_000);
        let full = |record: &Record, now| record.is_full_again(&ALL, 10.0, healed, begin + ms(now));
        assert_eq!(full(&record, 60_000), None);
        for height in 51..=100 {
            let at = begin + ms(4_000 + 100 * height); // from 9.1 s on
            record.sending(0, key(height), at);
            (0..4).for_each(|node| record.committed(node, height, at));
            record.block(height, &[key(height)]);
        }
        assert_eq!(full(&record, 10_000), None, "not yet a second");
        assert_eq!(full(&record, 60_000), Some(ms(1_100)));
        assert_eq!(record.is_full_again(&ALL, 10.0, begin + ms(2_000), begin + ms(4_000)), Some(Duration::ZERO));
    }

    #[test]
    fn transactions_without_a_commit_rank_behind_all_committed_ones() {
        let begin = Instant::now();
        let mut record = healthy(begin, 99);
        let span = Span { from: begin, to: begin + ms(60_000) };
        assert_eq!(record.latency(&ALL, span).p99_ms, Some(42.0));
        (200..202).for_each(|n| record.sending(0, key(n), begin + ms(n)));
        let latency = record.latency(&ALL, span);
        assert_eq!(latency, Latency { p10_ms: Some(42.0), p50_ms: Some(42.0), p99_ms: None });
        assert_eq!(record.waiting(begin + ms(60_000)), 0, "no validator has accepted these");
        record.accepted(key(201));
        assert_eq!((record.waiting(begin + ms(60_000)), record.waiting(begin + ms(201))), (1, 0));
    }

    /// The changes below are mutations that the check for lost transactions must notice.
    #[test]
    fn lost_duplicate_and_unread_transactions_are_detected() {
        let begin = Instant::now();
        let right = healthy(begin, 100).account(&[]);
        assert_eq!(right, Account { due: 100, accepted: 100, committed: 100, ..Account::default() });

        let mut dropped = healthy(begin, 100);
        dropped.sending(1, key(500), begin + ms(9_000));
        assert_eq!(dropped.account(&[]).lost, 0, "no validator has accepted it yet");
        dropped.accepted(key(500));
        assert_eq!(dropped.account(&[]).lost, 1);
        assert_eq!(dropped.account(&[(1, begin + ms(9_500))]).lost, 0);
        assert_eq!(dropped.account(&[(1, begin + ms(9_500))]).died_with_validator, 1);
        assert_eq!(dropped.account(&[(2, begin + ms(9_500))]).lost, 1, "another one was killed");
        assert_eq!(dropped.account(&[(1, begin + ms(10_500))]).lost, 1, "it had time to send it to others");
        assert_eq!(dropped.account(&[(1, begin + ms(8_999))]).lost, 1, "it was back already");

        let mut doubled = healthy(begin, 100);
        doubled.committed(0, 101, begin + ms(10_100));
        doubled.block(101, &[key(7)]);
        assert_eq!(doubled.account(&[]).duplicates, 1);
        let mut twice_in_one = healthy(begin, 100);
        twice_in_one.block(101, &[key(500)]);
        twice_in_one.block(7, &[key(7)]);
        assert_eq!(twice_in_one.account(&[]).duplicates, 0, "a height that is read twice counts once");
    }
}
