//! The counts and latencies of one stage.

use std::collections::BTreeMap;

use crate::{kind::Kind, pacing::SECOND, stats::Samples};

/// State of a transaction, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is handed to a connection, and the node has not accepted it yet.
    Sent,
    /// The node accepted it into its mempool.
    Taken,
    /// The node refused it.
    Refused,
    /// It could not be handed to any node.
    Unsent,
    /// It is in a block that not every validator has committed yet.
    InBlock,
    /// Every validator has committed it.
    Everywhere,
    /// Not every validator committed it in time.
    TimedOut,
}

impl State {
    /// Number of different states.
    const COUNT: usize = 7;

    /// Returns true if a valid transaction in this state will not change its state any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Refused | Self::Unsent | Self::Everywhere | Self::TimedOut)
    }
}

/// Refusals of valid transactions with one code.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// Number of refusals with this code.
    pub count: u64,
    /// Explanation of the first refusal with this code.
    pub example: String,
}

/// Results of invalid transactions of one kind.
#[derive(Clone, Debug, Default)]
pub struct Invalid {
    /// Number of transactions that were due.
    pub due: u64,
    /// Numbers of refused transactions by code.
    pub codes: BTreeMap<u32, u64>,
    /// Number that a node accepted, which is wrong.
    pub taken: u64,
    /// Number that were committed, which is worse.
    pub committed: u64,
    /// Number that were not answered or not sent.
    pub unanswered: u64,
}

/// Figures of one second of a stage.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Valid transactions that were due in it.
    pub due: u64,
    /// Transactions whose commit by the last validator fell into it.
    pub committed: u64,
    /// Valid transactions due in it that failed.
    pub failed: u64,
    /// Transactions that waited for a block at its end.
    pub waiting: u64,
    /// Latencies of the transactions due in it, as long as some of them are open.
    latencies: Option<Box<Samples>>,
    /// Quantiles of these latencies after that, in milliseconds: p50, p99 and the largest.
    pub quantiles: [Option<f64>; 3],
}

/// Maximum number of seconds that are kept of a stage. Of a longer stage the last ones are kept.
const SECONDS_MAX: usize = 3_600;
/// Number of seconds that the live quantiles cover.
const RECENT_SECONDS: u64 = 5;

/// All counts of one stage. Times are nanoseconds of the run's clock.
pub struct Tally {
    /// Time at which the stage begins.
    pub begin: u64,
    /// Beginning of the measured part, inclusive.
    pub from: u64,
    /// End of the measured part, exclusive.
    pub to: u64,
    /// Number of measured valid transactions in each state.
    states: [u64; State::COUNT],
    /// Latencies of measured valid transactions from the intended send time to the first validator's commit.
    pub first: Samples,
    /// Latencies of the same transactions to the last validator's commit.
    pub everywhere: Samples,
    /// Latencies of the same transactions to each validator's commit.
    pub nodes: Vec<Samples>,
    /// Delays from the intended to the actual send time.
    pub lag: Samples,
    /// Refusals of measured valid transactions, by code.
    pub refusals: BTreeMap<u32, Refusals>,
    /// Results of measured invalid transactions, by kind.
    pub invalid: BTreeMap<Kind, Invalid>,
    /// Transactions that every validator committed in the measured part, whenever they were due.
    pub committed_meanwhile: u64,
    /// Number of heights that every validator committed in the measured part.
    pub heights: u64,
    /// Number of these heights without transactions.
    pub empty_heights: u64,
    /// Largest number of transactions in one of these heights.
    pub txs_max: u64,
    /// Number of transactions found in a second block.
    pub duplicates: u64,
    /// Number of transactions found in a block although they were refused or not sent.
    pub refused_and_committed: u64,
    /// Number of transactions found in a block after their timeout.
    pub late: u64,
    /// Number of the first second that is kept.
    pub seconds_from: u64,
    /// Figures of each second, counted from the stage's beginning.
    pub seconds: std::collections::VecDeque<Second>,
    /// Latencies by the second of the commit, for the live figures.
    recent: Vec<(u64, Samples)>,
}

impl Tally {
    /// Creates the counts of a stage that begins at `begin` and is measured from `from` to `to`, in nanoseconds.
    pub fn new(begin: u64, from: u64, to: u64, nodes: usize) -> Self {
        Self {
            begin,
            from,
            to,
            states: [0; State::COUNT],
            first: Samples::default(),
            everywhere: Samples::default(),
            nodes: vec![Samples::default(); nodes],
            lag: Samples::default(),
            refusals: BTreeMap::new(),
            invalid: BTreeMap::new(),
            committed_meanwhile: 0,
            heights: 0,
            empty_heights: 0,
            txs_max: 0,
            duplicates: 0,
            refused_and_committed: 0,
            late: 0,
            seconds_from: 0,
            seconds: Default::default(),
            recent: Vec::new(),
        }
    }

    /// Returns true if this time, in nanoseconds, is in the measured part.
    pub fn measures(&self, at: u64) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// Counts a measured valid transaction that came into state `to`, either from state `from` or as a new one.
    pub fn count(&mut self, from: Option<State>, to: State) {
        if let Some(from) = from {
            self.states[from as usize] -= 1;
        }
        self.states[to as usize] += 1;
    }

    /// Returns the number of measured valid transactions in a state.
    pub fn in_state(&self, state: State) -> u64 {
        self.states[state as usize]
    }

    /// Returns the number of measured valid transactions.
    pub fn due(&self) -> u64 {
        self.states.iter().sum()
    }

    /// Returns the second that contains a time; `None` if it is no longer kept, or more than an hour ahead.
    pub fn second(&mut self, at: u64) -> Option<&mut Second> {
        let number = at.checked_sub(self.begin)? / SECOND;
        let index = usize::try_from(number.checked_sub(self.seconds_from)?).ok()?;
        if index >= self.seconds.len() + SECONDS_MAX {
            return None; // no stage has a pause of one hour
        }
        while self.seconds.len() <= index {
            self.seconds.push_back(Second::default());
        }
        let mut index = index;
        while self.seconds.len() > SECONDS_MAX {
            self.seconds.pop_front();
            self.seconds_from += 1;
            index -= 1;
        }
        self.seconds.get_mut(index)
    }

    /// Counts a transaction that was due at `due` and that the last validator committed at `at`, both in nanoseconds.
    pub fn committed(&mut self, due: u64, at: u64) {
        let latency = at.saturating_sub(due);
        if let Some(second) = self.second(due) {
            second.latencies.get_or_insert_default().add(latency);
        }
        if let Some(second) = self.second(at) {
            second.committed += 1;
        }
        if self.measures(at) {
            self.committed_meanwhile += 1;
        }
        let now = at / SECOND;
        match self.recent.iter_mut().find(|(second, _)| *second == now) {
            Some((_, samples)) => samples.add(latency),
            None => {
                self.recent.retain(|(second, _)| second + RECENT_SECONDS > now);
                let mut samples = Samples::default();
                samples.add(latency);
                self.recent.push((now, samples));
            }
        }
    }

    /// Returns the latencies of the transactions committed in the last 5 seconds.
    pub fn recent(&self, now: u64) -> Samples {
        let mut all = Samples::default();
        let young = self.recent.iter().filter(|(second, _)| second + RECENT_SECONDS > now / SECOND);
        young.for_each(|(_, samples)| all.add_all(samples));
        all
    }

    /// Reduces the latencies of the seconds before `before` to quantiles, because no transaction of them is open any
    /// more.
    pub fn close_seconds(&mut self, before: u64) {
        let end = (before.saturating_sub(self.begin) / SECOND).saturating_sub(self.seconds_from) as usize;
        for second in self.seconds.iter_mut().take(end) {
            if let Some(samples) = second.latencies.take() {
                let due = samples.len() + second.failed;
                second.quantiles = [0.5, 0.99, 1.0].map(|share| samples.quantile(share, due));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_and_committed_transactions_are_counted_for_each_second() {
        let mut tally = Tally::new(10 * SECOND, 11 * SECOND, 12 * SECOND, 1);
        tally.committed(10 * SECOND, 10 * SECOND + 5_000_000);
        tally.committed(10 * SECOND + 1, 11 * SECOND + 1);
        tally.close_seconds(13 * SECOND);
        assert_eq!(tally.seconds.iter().map(|second| second.committed).collect::<Vec<_>>(), [1, 1]);
        let [p50, p99, max] = tally.seconds[0].quantiles;
        assert_eq!((p50.map(f64::round), p99, max), (Some(5.0), Some(1000.0), Some(1000.0)));
        assert_eq!(tally.committed_meanwhile, 1, "what is committed while warming up is not counted");
        assert_eq!(tally.recent(12 * SECOND).len(), 2);
        assert_eq!(tally.recent(15 * SECOND).len(), 1);
        assert!(tally.second(9 * SECOND).is_none());
    }

    #[test]
    fn the_last_seconds_of_a_long_stage_are_kept() {
        let mut tally = Tally::new(0, 0, u64::MAX, 1);
        for second in 0..SECONDS_MAX as u64 + 5 {
            tally.second(second * SECOND).unwrap().due = second;
        }
        assert_eq!((tally.seconds_from, tally.seconds.len()), (5, SECONDS_MAX));
        assert_eq!(tally.seconds[0].due, 5);
        assert!(tally.second(4 * SECOND).is_none());
        assert!(tally.second(u64::MAX).is_none());
    }
}
