//! Records the result of each transaction, as far as nodes have reported it.
//!
//! ```text
//!   pacer ── add, unsent ──┐                       ┌── answers ── a thread for each connection
//!                          ├──> Tracker (a lock) <─┤
//!   screen <── live ───────┘                       └── header, block ── threads that watch validators
//! ```
//! The tracker guards [`Results`], which says what became of each, and wakes a closed loop that waits for room.

use std::{
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    Witness,
    clock::RunClock,
    kind::Kind,
    progress::Live,
    records::TxKey,
    results::{Results, Verdict},
    tally::{State, Tally},
};

/// A transaction that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Intended send time, in nanoseconds of the run's clock.
    pub at: u64,
    /// Key that identifies it in blocks.
    pub key: TxKey,
    /// Kind of the transaction: valid, or why nodes must refuse it.
    pub kind: Kind,
    /// Index of the node to which it goes.
    pub node: usize,
}

/// The shared state of all transactions and heights of a run, behind a lock.
pub struct Tracker {
    inner: Mutex<Results>,
    /// Notified when a transaction may be sent in a closed loop.
    freed: Condvar,
    /// Highest height that any validator has reported.
    height: AtomicU64,
    clock: RunClock,
    witness: Option<Arc<dyn Witness>>,
}

impl Tracker {
    /// Creates the tracker of a run over `nodes` validators, whose chain is at `height`.
    pub fn new(nodes: usize, height: u64, timeout: Duration, clock: RunClock) -> Self {
        let inner = Results::new(nodes, height, timeout, clock);
        Self { inner: Mutex::new(inner), freed: Condvar::new(), height: AtomicU64::new(height), clock, witness: None }
    }

    /// Sets a witness, which receives reports while the run lasts.
    pub fn with_witness(self, witness: Option<Arc<dyn Witness>>) -> Self {
        Self { witness, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Results> {
        self.inner.lock().expect("nothing panics while it holds the lock")
    }

    /// Returns a copy of the run's clock.
    pub fn clock(&self) -> RunClock {
        self.clock
    }

    /// Starts a stage, and returns the counts of the stage before. `begin` is its start and `from` to `to` its measured
    /// part, in nanoseconds.
    pub fn begin(&self, begin: u64, from: u64, to: u64) -> Tally {
        let mut inner = self.lock();
        let tally = Tally::new(begin, from, to, inner.is_live.len());
        std::mem::replace(&mut inner.tally, tally)
    }

    /// Ends the measured part now, unless it has already ended.
    pub fn end_measuring(&self) {
        let mut inner = self.lock();
        inner.tally.to = inner.tally.to.min(self.clock.now());
    }

    /// Calls a function with the current counts, under the lock.
    pub fn with_tally<T>(&self, look: impl FnOnce(&mut Tally) -> T) -> T {
        look(&mut self.lock().tally)
    }

    /// Records a problem outside the counts. The same sentence is recorded only once.
    pub fn problem(&self, sentence: String) {
        self.lock().problem(sentence);
    }

    /// Records a change that may occur again, each time that it occurs.
    pub fn change(&self, sentence: String) {
        self.lock().note(sentence);
    }

    /// Returns all problems and changes that were recorded.
    pub fn problems(&self) -> Vec<String> {
        self.lock().problems.clone()
    }

    /// Returns the problems and changes that were recorded since the last call.
    pub fn news(&self) -> Vec<String> {
        let mut inner = self.lock();
        let to = inner.problems.len();
        let from = std::mem::replace(&mut inner.noted, to);
        inner.problems[from..].to_vec()
    }

    /// Returns the number that the next transaction gets.
    pub fn next_number(&self) -> u64 {
        let inner = self.lock();
        inner.first + inner.txs.len() as u64
    }

    /// Adds transactions that are sent now. They get the next numbers, in order.
    pub fn add(&self, due: &[Due]) {
        let now = self.clock.now();
        if let Some(witness) = &self.witness {
            for due in due.iter().filter(|due| due.kind == Kind::Valid) {
                witness.sending(due.node, due.key, self.clock.instant(due.at));
            }
        }
        let mut inner = self.lock();
        for Due { at, key, kind, .. } in due {
            inner.add(now, *at, *key, *kind);
        }
    }

    /// Records that these transactions could not be sent to any node.
    pub fn unsent(&self, numbers: &[u64]) {
        let mut inner = self.lock();
        numbers.iter().for_each(|number| inner.unsent(*number));
        drop(inner);
        self.freed.notify_all();
    }

    /// Records the verdicts of a node on transactions, each with the tracker's number.
    pub fn answers(&self, answers: Vec<(u64, Verdict)>) {
        let mut inner = self.lock();
        let mut refused = false;
        let mut taken = Vec::new();
        for (number, verdict) in answers {
            refused |= verdict != Verdict::Taken;
            if self.witness.is_some() && verdict == Verdict::Taken {
                taken.extend(inner.tx(number).filter(|tx| tx.kind == Kind::Valid).map(|tx| tx.key));
            }
            inner.answer(number, verdict);
        }
        drop(inner);
        if let Some(witness) = &self.witness {
            taken.into_iter().for_each(|key| witness.accepted(key));
        }
        if refused {
            self.freed.notify_all();
        }
    }

    /// Records a header: validator `node` reported at `at` that it has committed `height`. `is_empty` is true if the
    /// header says that the block has no transactions; `fingerprint` is a hash of the header's main fields. Returns the
    /// heights whose blocks must be read.
    pub fn header(&self, node: usize, height: u64, at: u64, is_empty: bool, fingerprint: u64) -> Range<u64> {
        self.height.fetch_max(height, Ordering::Relaxed);
        if let Some(witness) = &self.witness {
            witness.committed(node, height, self.clock.instant(at));
        }
        self.lock().header(node, height, at, is_empty, fingerprint)
    }

    /// Records the transactions of a height. `None`: no node returned its block.
    pub fn block(&self, height: u64, keys: Option<&[TxKey]>) {
        if let (Some(witness), Some(keys)) = (&self.witness, keys) {
            witness.block(height, keys);
        }
        let mut inner = self.lock();
        if keys.is_none() {
            inner
                .problem(format!("no node could be asked for block {height}: its transactions count as not committed"));
        }
        inner.block(height, keys.unwrap_or_default());
        drop(inner);
        self.freed.notify_all();
    }

    /// Sets whether the tracker waits for a validator's headers.
    pub fn set_live(&self, node: usize, is_live: bool) {
        let mut inner = self.lock();
        inner.is_live[node] = is_live;
        inner.finish();
    }

    /// Gives up transactions and heights after the timeout. Returns for how many transactions a result is still
    /// expected.
    pub fn expire(&self) -> u64 {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.expire(now);
        let unresolved = inner.unresolved;
        drop(inner);
        self.freed.notify_all();
        unresolved
    }

    /// Waits until fewer than `window` valid transactions are waiting, or until the timeout `patience`. Returns how
    /// many more may be sent.
    pub fn wait_for_room(&self, window: u64, patience: Duration) -> u64 {
        let inner = self.lock();
        let waited = self.freed.wait_timeout_while(inner, patience, |inner| inner.waiting >= window);
        let (inner, _) = waited.expect("nothing panics while it holds the lock");
        window.saturating_sub(inner.waiting)
    }

    /// Returns the current figures of the stage.
    pub fn live(&self) -> Live {
        let now = self.clock.now();
        let mut inner = self.lock();
        let (waiting, height) = (inner.waiting, self.height.load(Ordering::Relaxed));
        let tally = &mut inner.tally;
        let seconds = now.saturating_sub(tally.begin) as f64 / 1e9;
        if let Some(second) = tally.second(now) {
            second.waiting = waiting;
        }
        let last = now.checked_sub(crate::pacing::SECOND).and_then(|at| tally.second(at));
        let (due_per_s, committed_per_s) = last.map_or((0, 0), |second| (second.due, second.committed));
        let recent = tally.recent(now);
        let failed = [State::Refused, State::TimedOut, State::Unsent].iter().map(|state| tally.in_state(*state)).sum();
        Live {
            seconds,
            due_per_s,
            committed_per_s,
            p50_ms: recent.quantile(0.5, recent.len()),
            p99_ms: recent.quantile(0.99, recent.len()),
            waiting,
            failed,
            height,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn key(n: u64) -> TxKey {
        TxKey([n, n])
    }

    /// Returns a tracker of two validators. Everything due from 0 on is measured, and the timeout is 1 s.
    fn tracker() -> Tracker {
        let tracker = Tracker::new(2, 10, Duration::from_secs(1), RunClock::new());
        tracker.begin(0, 0, u64::MAX);
        tracker
    }

    fn add(tracker: &Tracker, txs: &[(u64, u64, Kind)]) {
        let due: Vec<Due> =
            txs.iter().map(|(n, at, kind)| Due { at: *at, key: key(*n), kind: *kind, node: 0 }).collect();
        tracker.add(&due);
    }

    fn refused(code: u32) -> Verdict {
        Verdict::Refused { code, log: format!("code {code}") }
    }

    #[test]
    fn a_transaction_is_committed_when_the_last_validator_has_committed_it() {
        let tracker = tracker();
        add(&tracker, &[(1, 5 * MS, Kind::Valid), (2, 6 * MS, Kind::Valid)]);
        tracker.answers(vec![(0, Verdict::Taken)]);
        assert_eq!(tracker.header(0, 11, 10 * MS, false, 7), 11..12);
        assert_eq!(tracker.header(1, 11, 30 * MS, false, 7), 11..11, "one reader is enough");
        assert_eq!(tracker.wait_for_room(2, Duration::ZERO), 0);
        tracker.block(11, Some(&[key(1), key(99)]));
        assert_eq!(tracker.wait_for_room(2, Duration::ZERO), 1);
        tracker.with_tally(|tally| {
            assert_eq!((tally.in_state(State::Everywhere), tally.in_state(State::Sent)), (1, 1));
            assert_eq!(tally.first.quantile(1.0, 1), Some(5.0));
            assert_eq!(tally.everywhere.quantile(1.0, 1), Some(25.0));
            assert_eq!(tally.nodes.iter().map(|node| node.quantile(1.0, 1).unwrap()).collect::<Vec<_>>(), [5.0, 25.0]);
            assert_eq!((tally.heights, tally.txs_max, tally.committed_meanwhile), (1, 2, 1));
        });
        // The block of a transaction may be known before its answer.
        tracker.header(0, 12, 40 * MS, false, 8);
        tracker.block(12, Some(&[key(2)]));
        tracker.answers(vec![(1, Verdict::Taken)]);
        tracker.with_tally(|tally| assert_eq!(tally.in_state(State::InBlock), 1));
        assert_eq!(tracker.expire(), 1);
        tracker.header(1, 12, 41 * MS, false, 8);
        tracker.with_tally(|tally| assert_eq!((tally.due(), tally.in_state(State::Everywhere)), (2, 2)));
        assert_eq!(tracker.expire(), 0);
        assert!(tracker.problems().is_empty());
    }

    #[test]
    fn a_transaction_whose_commit_is_expected_stays_in_memory() {
        let tracker = tracker();
        tracker.lock().txs_max = 2;
        add(&tracker, &[(0, 0, Kind::Valid), (1, 0, Kind::Garbage), (2, 0, Kind::Valid)]);
        tracker.answers(vec![(0, Verdict::Taken), (1, Verdict::Taken)]);
        add(&tracker, &[(3, 0, Kind::Valid)]);
        assert_eq!(tracker.expire(), 3);
        assert_eq!(tracker.lock().first, 0, "the first one waits for its block");
        tracker.header(0, 11, MS, false, 7);
        tracker.header(1, 11, MS, false, 7);
        tracker.block(11, Some(&[key(0), key(2), key(3)]));
        assert_eq!(tracker.expire(), 0, "a stage ends");
        assert_eq!(tracker.wait_for_room(9, Duration::ZERO), 9, "a closed loop has its whole window");
        add(&tracker, &[(4, 0, Kind::Valid)]);
        assert_eq!(tracker.lock().first, 3);
    }

    #[test]
    fn every_transaction_ends_in_one_state() {
        let tracker = tracker();
        let valid = |n| (n, 0, Kind::Valid);
        add(&tracker, &[valid(0), valid(1), valid(2), valid(3), valid(4)]);
        tracker.answers(vec![(0, refused(64)), (1, refused(65)), (2, Verdict::Taken)]);
        tracker.answers(vec![(0, Verdict::Taken), (99, Verdict::Taken)]); // these answers match no open transaction
        tracker.unsent(&[3]);
        tracker.header(0, 11, MS, false, 7);
        tracker.header(1, 11, MS, false, 7);
        tracker.block(11, Some(&[key(1)]));
        tracker.lock().expire(2_000 * MS);
        tracker.with_tally(|tally| {
            let states = [State::Refused, State::Everywhere, State::TimedOut, State::Unsent].map(|s| tally.in_state(s));
            assert_eq!((states, tally.due()), ([1, 1, 2, 1], 5));
            assert_eq!((tally.refusals[&64].count, tally.refusals[&64].example.as_str()), (1, "code 64"));
        });
        assert_eq!(tracker.expire(), 0);
        // A transaction that is committed too late stays failed, and is counted separately.
        tracker.header(0, 12, MS, false, 7);
        tracker.block(12, Some(&[key(2), key(0)]));
        tracker.with_tally(|tally| assert_eq!((tally.late, tally.refused_and_committed), (1, 1)));
    }

    #[test]
    fn an_invalid_transaction_that_is_not_refused_is_a_problem() {
        let tracker = tracker();
        add(&tracker, &[(0, 0, Kind::Garbage), (1, 0, Kind::Expired), (2, 0, Kind::Expired), (3, 0, Kind::WrongChain)]);
        add(&tracker, &[(4, 0, Kind::WrongNonce)]);
        tracker.unsent(&[4]);
        tracker.answers(vec![(0, refused(1)), (1, refused(6)), (2, Verdict::Taken)]);
        assert_eq!(tracker.lock().unresolved, 1);
        assert!(tracker.problems()[0].contains("expired"));
        tracker.header(0, 11, MS, false, 7);
        tracker.block(11, Some(&[key(2)]));
        tracker.lock().expire(2_000 * MS);
        tracker.with_tally(|tally| {
            let expired = &tally.invalid[&Kind::Expired];
            assert_eq!((expired.due, expired.taken, expired.committed, expired.codes[&6]), (2, 1, 1, 1));
            assert_eq!(tally.invalid[&Kind::WrongChain].unanswered, 1);
            assert_eq!(tally.invalid[&Kind::WrongNonce].unanswered, 1, "it was handed to no node");
            assert_eq!(tally.due(), 0, "valid ones");
        });
        assert!(tracker.problems()[1].contains("was committed"));
        assert_eq!(tracker.expire(), 0);
    }

    #[test]
    fn an_unreachable_validator_is_not_waited_for() {
        let tracker = tracker();
        add(&tracker, &[(0, 0, Kind::Valid)]);
        tracker.header(0, 11, MS, false, 7);
        tracker.block(11, Some(&[key(0)]));
        tracker.with_tally(|tally| assert_eq!(tally.in_state(State::InBlock), 1));
        tracker.set_live(1, false);
        tracker.with_tally(|tally| assert_eq!(tally.in_state(State::Everywhere), 1));
        // The validator returns and reports a height, so it has all heights before it too.
        tracker.header(0, 12, 2 * MS, true, 7);
        tracker.header(0, 13, 3 * MS, true, 7);
        tracker.set_live(1, true);
        tracker.header(0, 14, 4 * MS, true, 7);
        assert_eq!(tracker.lock().finished, 13);
        tracker.header(1, 14, 5 * MS, true, 7);
        assert_eq!(tracker.lock().finished, 14);
    }

    #[test]
    fn problems_are_reported_once_and_changes_each_time() {
        let tracker = tracker();
        for _ in 0..2 {
            tracker.problem("it is wrong".to_owned());
            tracker.change("it went away".to_owned());
        }
        let news = tracker.news();
        let noted = |what: &str| news.iter().filter(|sentence| sentence.ends_with(&format!(" s: {what}"))).count();
        assert_eq!((noted("it is wrong"), noted("it went away"), news.len()), (1, 2, 3), "{news:?}");
        assert!(tracker.news().is_empty());
        assert_eq!(tracker.problems(), news);
    }

    #[test]
    fn heights_without_an_event_are_read() {
        let tracker = tracker();
        assert_eq!(tracker.header(0, 14, MS, true, 7), 11..14);
        assert_eq!(tracker.header(1, 14, MS, true, 7), 14..14);
        for height in 11..14 {
            tracker.block(height, Some(&[]));
        }
        assert_eq!(tracker.lock().finished, 14);
        assert_eq!(tracker.header(0, 14, MS, true, 7), 14..14);
        assert_eq!(tracker.header(1, u64::MAX, MS, false, 7).end, u64::MAX, "however high a node says it is");
    }

    #[test]
    fn double_commits_and_disagreement_are_found() {
        let tracker = tracker();
        add(&tracker, &[(0, 0, Kind::Valid)]);
        tracker.header(0, 11, MS, false, 7);
        tracker.header(1, 11, MS, false, 8);
        tracker.block(11, Some(&[key(0), key(0)]));
        let problems = tracker.problems();
        assert!(problems[0].contains("DISAGREE") && problems[1].contains("two blocks"), "{problems:?}");
        tracker.with_tally(|tally| assert_eq!((tally.duplicates, tally.in_state(State::Everywhere)), (1, 1)));
    }
}
