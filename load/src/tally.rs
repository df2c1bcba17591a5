//! What is counted in one stage.

use std::collections::BTreeMap;

use crate::{pacing::SECOND, recipe::Kind, stats::Samples};

/// What has become of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Handed to a node, which has not answered yet.
    Sent,
    /// The node took it in.
    Taken,
    /// The node refused it.
    Refused,
    /// No node could be handed it.
    Unsent,
    /// In a block, which not all validators have committed yet.
    InBlock,
    /// Committed by all validators.
    Everywhere,
    /// Not committed everywhere in time.
    TimedOut,
}

impl State {
    /// How many there are.
    const COUNT: usize = 7;

    /// Whether nothing more is expected of a valid transaction.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Refused | Self::Unsent | Self::Everywhere | Self::TimedOut)
    }
}

/// Answers of one code.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// The words of the first.
    pub example: String,
}

/// What became of invalid transactions of one kind.
#[derive(Clone, Debug, Default)]
pub struct Invalid {
    /// Due.
    pub due: u64,
    /// Refused, by code.
    pub codes: BTreeMap<u32, u64>,
    /// Taken in, which is wrong.
    pub taken: u64,
    /// Committed, which is worse.
    pub committed: u64,
    /// Not answered.
    pub unanswered: u64,
}

/// One second of a stage.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Valid transactions that were due in it.
    pub due: u64,
    /// Transactions that were committed everywhere in it.
    pub committed: u64,
    /// Valid ones due in it that failed.
    pub failed: u64,
    /// Waiting at its end.
    pub waiting: u64,
    /// Latencies of those due in it, while it is young.
    latencies: Option<Box<Samples>>,
    /// Their quantiles, afterwards: p50, p99, largest.
    pub quantiles: [Option<f64>; 3],
}

/// Seconds of a stage that are kept; of a longer one, the last of them.
const SECONDS_MAX: usize = 3_600;
/// Seconds over which the live quantiles reach.
const RECENT_SECONDS: u64 = 5;

/// All that is counted in one stage. Times are nanoseconds of the run's clock.
pub struct Tally {
    /// When the stage begins.
    pub begin: u64,
    /// What is due from here …
    pub from: u64,
    /// … to here, exclusive, is measured.
    pub to: u64,
    /// Of the measured valid ones, how many are in each state.
    states: [u64; State::COUNT],
    /// Of the measured valid ones: from when it was due to the first validator's commit.
    pub first: Samples,
    /// To the last validator's.
    pub everywhere: Samples,
    /// To each validator's.
    pub nodes: Vec<Samples>,
    /// By how much each was sent too late.
    pub lag: Samples,
    /// Why valid ones were refused.
    pub refusals: BTreeMap<u32, Refusals>,
    /// Of the measured ones, by kind.
    pub invalid: BTreeMap<Kind, Invalid>,
    /// Committed everywhere while measuring, whenever they were due.
    pub committed_meanwhile: u64,
    /// Heights committed everywhere while measuring.
    pub heights: u64,
    /// Those without transactions.
    pub empty_heights: u64,
    /// Most transactions in one.
    pub txs_max: u64,
    /// In blocks twice.
    pub duplicates: u64,
    /// In blocks after all, though refused.
    pub refused_and_committed: u64,
    /// In blocks, but too late.
    pub late: u64,
    /// The number of the first second kept.
    pub seconds_from: u64,
    /// Seconds from the stage's beginning.
    pub seconds: std::collections::VecDeque<Second>,
    /// Latencies by the second of the commit, for the screen.
    recent: Vec<(u64, Samples)>,
}

impl Tally {
    /// Of a stage that begins at `begin` and measures from `from` to `to`.
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

    /// Whether what happens, or is due, at this time is measured.
    pub fn measures(&self, at: u64) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// A measured valid transaction came into a state, `from` another or as a new one.
    pub fn count(&mut self, from: Option<State>, to: State) {
        if let Some(from) = from {
            self.states[from as usize] -= 1;
        }
        self.states[to as usize] += 1;
    }

    /// Measured valid ones in a state.
    pub fn in_state(&self, state: State) -> u64 {
        self.states[state as usize]
    }

    /// Measured valid ones.
    pub fn due(&self) -> u64 {
        self.states.iter().sum()
    }

    /// The second of a time; none if it is no longer kept, or far away.
    pub fn second(&mut self, at: u64) -> Option<&mut Second> {
        let number = at.checked_sub(self.begin)? / SECOND;
        let index = usize::try_from(number.checked_sub(self.seconds_from)?).ok()?;
        if index >= self.seconds.len() + SECONDS_MAX {
            return None; // no stage has a pause of an hour
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

    /// A transaction that was due at `due` was committed everywhere at `at`.
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

    /// Latencies of those committed in the last seconds.
    pub fn recent(&self, now: u64) -> Samples {
        let mut all = Samples::default();
        let young = self.recent.iter().filter(|(second, _)| second + RECENT_SECONDS > now / SECOND);
        young.for_each(|(_, samples)| all.add_all(samples));
        all
    }

    /// Reduces the seconds before `before` to their quantiles: nothing of them is open any more.
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
    fn seconds_know_what_was_due_and_what_was_committed_in_them() {
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
    fn of_a_long_stage_the_last_seconds_are_kept() {
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
