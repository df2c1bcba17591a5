//! What makes a machine differ from an ideal one: its clocks, its timers, and the speed of its checks of signatures.

use std::time::Duration;

use crate::random::Random;

/// A clock that is adjusted back and forth: it gains up to `most`, loses it again, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Maximum difference that the drift causes between two clocks.
    pub most: Duration,
    /// Duration after which the drift repeats. It is longer than twice `most`, so that no clock runs backwards.
    pub period: Duration,
}

/// How far the machines of a world are from ideal ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineSetup {
    /// The drift of the clocks, if they drift.
    pub drift: Option<Drift>,
    /// Maximum jump of a wall clock, forwards or backwards.
    pub jump_max: Duration,
    /// Number of machines per thousand that check signatures slowly, and the duration of one check.
    pub slow_checks: (u32, Duration),
    /// Maximum number of thousandths by which the timers of a machine are late.
    pub uneven_timers: u32,
}

/// The machine of one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    drift: Option<Drift>,
    /// Part of the drift's period at which the clock started.
    phase: Duration,
    /// Duration of one check of signatures.
    pub check_time: Duration,
    /// Number of thousandths by which timers are late.
    late_timers: u32,
    /// Time at which all checks that were begun are done.
    checks_done: Duration,
}

impl Machine {
    /// Draws the machine of a node.
    pub fn random(setup: &MachineSetup, random: &mut Random) -> Self {
        let phase = setup.drift.map_or(Duration::ZERO, |drift| random.duration(Duration::from_nanos(1), drift.period));
        let (slow, time) = setup.slow_checks;
        let check_time = if random.chance(slow) { time } else { Duration::ZERO };
        let late_timers = random.within(0, u64::from(setup.uneven_timers)) as u32;
        Self { drift: setup.drift, phase, check_time, late_timers, checks_done: Duration::ZERO }
    }

    /// Returns what the drift adds to the clock at a time, in nanoseconds: a triangle around zero.
    pub fn drifted(&self, now: Duration) -> i64 {
        let Some(Drift { most, period }) = self.drift else { return 0 };
        let half = period.as_nanos() as i64 / 2;
        let at = ((now + self.phase).as_nanos() % period.as_nanos()) as i64;
        let up = if at < half { at } else { 2 * half - at }.max(0);
        (i128::from(most.as_nanos() as i64) * i128::from(up) / i128::from(half.max(1))) as i64
            - most.as_nanos() as i64 / 2
    }

    /// Returns the time after which a timer really ends.
    pub fn timer(&self, after: Duration) -> Duration {
        after + after * self.late_timers / 1000
    }

    /// Returns when the check of a message is done that arrives now; one check follows another.
    pub fn check(&mut self, now: Duration) -> Duration {
        self.checks_done = self.checks_done.max(now) + self.check_time;
        self.checks_done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_clock_stays_within_its_bound_and_never_runs_backwards() {
        let (most, period) = (Duration::from_millis(60), Duration::from_millis(500));
        let setup = MachineSetup { drift: Some(Drift { most, period }), ..MachineSetup::default() };
        for seed in 0..20 {
            let machine = Machine::random(&setup, &mut Random::new(seed));
            let at = |ms: u64| machine.drifted(Duration::from_millis(ms));
            let all: Vec<i64> = (0..1000).map(at).collect();
            assert!(all.iter().all(|ns| ns.unsigned_abs() <= 30_000_000), "{all:?}");
            assert!(all.iter().max() > Some(&29_000_000) && all.iter().min() < Some(&-29_000_000));
            assert!(all.windows(2).all(|pair| pair[1] - pair[0] > -1_000_000), "1 ms later the clock shows more");
        }
    }

    #[test]
    fn checks_follow_one_another() {
        let ms = Duration::from_millis;
        let setup = MachineSetup { slow_checks: (1000, ms(3)), ..MachineSetup::default() };
        let mut machine = Machine::random(&setup, &mut Random::new(1));
        assert_eq!([machine.check(ms(10)), machine.check(ms(11)), machine.check(ms(40))], [ms(13), ms(16), ms(43)]);
    }
}
