//! Budgets of bytes and of processor time: how much of them may be used per second.

use std::time::{Duration, Instant};

/// Burst of bytes for one address: it may save up to the budget of this many seconds and spend it at once.
const BYTES_BURST_SECONDS: f64 = 8.0;

/// Burst of processor time, for one address and for all: up to the budget of this many seconds may be saved. During a
/// burst, consensus has less.
const CPU_BURST_SECONDS: f64 = 2.0;

/// Maximum time that [`Debt::wait`] returns, in seconds.
const WAIT_SECONDS_MAX: f64 = 3600.0;

/// The bounds that an operator configures.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of concurrent connections.
    pub connections_max: usize,
    /// Maximum number of concurrent connections of one address.
    pub address_connections_max: usize,
    /// Maximum bytes per second of requests and events of one address; 0 means no limit.
    pub bytes_per_second: usize,
    /// Maximum processor time for one address, in percent of one core; 0 means no limit.
    pub cpu_percent: usize,
    /// Maximum processor time for all addresses together, in percent of one core; 0 means no limit.
    pub all_cpu_percent: usize,
}

impl Limits {
    /// Returns bounds of the connections alone: in total, and of one address.
    pub const fn of_connections(connections_max: usize, address_connections_max: usize) -> Self {
        Self { connections_max, address_connections_max, bytes_per_second: 0, cpu_percent: 0, all_cpu_percent: 0 }
    }
}

/// A leaky bucket: what was used, and the elapsed time has not paid off yet.
#[derive(Debug)]
struct Bucket {
    used: f64,
    at: Instant,
}

/// What one address has used.
#[derive(Debug)]
pub struct Debt {
    bytes: Bucket,
    cpu_seconds: Bucket,
}

/// The processor time that all addresses have used together.
#[derive(Debug)]
pub struct Total(Bucket);

impl Bucket {
    fn empty(now: Instant) -> Self {
        Self { used: 0.0, at: now }
    }

    /// Pays off `rate` per second for the time since the last call.
    fn pay(&mut self, now: Instant, rate: f64) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.used = (self.used - seconds * rate).max(0.0);
    }

    /// Returns the seconds until no more is owed than `burst` seconds pay off; 0 if `rate` is 0, which means no limit.
    fn wait(&mut self, now: Instant, rate: f64, burst: f64) -> f64 {
        self.pay(now, rate);
        if rate > 0.0 { (self.used / rate - burst).max(0.0) } else { 0.0 }
    }

    /// Returns true if nothing is owed.
    fn is_paid(&mut self, now: Instant, rate: f64) -> bool {
        self.pay(now, rate);
        rate == 0.0 || self.used <= 0.0
    }
}

impl Debt {
    /// Creates the account of an address that has used nothing.
    pub fn none(now: Instant) -> Self {
        Self { bytes: Bucket::empty(now), cpu_seconds: Bucket::empty(now) }
    }

    /// Charges bytes of requests or events.
    pub fn add_bytes(&mut self, bytes: usize) {
        self.bytes.used += bytes as f64;
    }

    /// Charges processor time to the address.
    pub fn add_cpu(&mut self, used: Duration) {
        self.cpu_seconds.used += used.as_secs_f64();
    }

    /// Returns the processor time that is owed.
    #[cfg(test)]
    pub fn cpu(&self) -> Duration {
        Duration::from_secs_f64(self.cpu_seconds.used)
    }

    /// Returns the time until the debt is within the burst again, at most one hour. `cpu_rate` is the number of cores that the
    /// address may use.
    pub fn wait(&mut self, now: Instant, limits: &Limits, cpu_rate: f64) -> Duration {
        let bytes = self.bytes.wait(now, limits.bytes_per_second as f64, BYTES_BURST_SECONDS);
        let cpu = self.cpu_seconds.wait(now, cpu_rate, CPU_BURST_SECONDS);
        Duration::from_secs_f64(bytes.max(cpu).min(WAIT_SECONDS_MAX))
    }

    /// Returns true if nothing is owed. `cpu_rate` is the number of cores that the address may use.
    pub fn is_paid(&mut self, now: Instant, limits: &Limits, cpu_rate: f64) -> bool {
        self.bytes.is_paid(now, limits.bytes_per_second as f64) && self.cpu_seconds.is_paid(now, cpu_rate)
    }
}

impl Total {
    /// Creates the account of clients that have used nothing.
    pub fn none(now: Instant) -> Self {
        Self(Bucket::empty(now))
    }

    /// Charges processor time to all addresses together.
    pub fn add_cpu(&mut self, used: Duration) {
        self.0.used += used.as_secs_f64();
    }

    /// Returns the number of cores that each address may use: its own maximum or, while all of them together are over
    /// theirs, an equal share of that if it is less. `addresses` is their number. 0 means no limit.
    pub fn cpu_rate(&mut self, now: Instant, limits: &Limits, addresses: usize) -> f64 {
        let (own, all) = (cores(limits.cpu_percent), cores(limits.all_cpu_percent));
        if self.0.wait(now, all, CPU_BURST_SECONDS) <= 0.0 {
            return own;
        }
        let share = all / addresses.max(1) as f64;
        if own > 0.0 { own.min(share) } else { share }
    }
}

/// Returns percent of one core as a number of cores.
fn cores(percent: usize) -> f64 {
    percent as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { bytes_per_second: 1000, cpu_percent: 50, all_cpu_percent: 100, ..Limits::of_connections(1, 1) };

    #[test]
    fn elapsed_time_pays_a_debt() {
        let (at, second) = (Instant::now(), Duration::from_secs(1));
        let mut debt = Debt::none(at);
        debt.add_cpu(10 * second);
        assert_eq!(debt.wait(at, &LIMITS, 0.5), 18 * second);
        assert_eq!(debt.wait(at + 5 * second, &LIMITS, 0.5), 13 * second);
        assert_eq!(debt.wait(at + 5 * second, &LIMITS, 0.0), Duration::ZERO, "0 means no limit");
        assert!(!debt.is_paid(at + 19 * second, &LIMITS, 0.5) && debt.is_paid(at + 20 * second, &LIMITS, 0.5));
        debt.add_bytes(9_000);
        assert_eq!(debt.wait(at + 20 * second, &LIMITS, 0.5), second);
    }

    #[test]
    fn addresses_share_what_all_may_use_while_all_use_more() {
        let (at, second) = (Instant::now(), Duration::from_secs(1));
        let mut total = Total::none(at);
        total.add_cpu(2 * second);
        assert_eq!(total.cpu_rate(at, &LIMITS, 10), 0.5, "they had saved it");
        total.add_cpu(second);
        assert_eq!(total.cpu_rate(at, &LIMITS, 10), 0.1);
        assert_eq!(total.cpu_rate(at, &LIMITS, 1), 0.5, "its own maximum is less than its share");
        assert_eq!(total.cpu_rate(at, &Limits { cpu_percent: 0, ..LIMITS }, 4), 0.25);
        assert_eq!(total.cpu_rate(at, &Limits { all_cpu_percent: 0, ..LIMITS }, 10), 0.5, "0 means no limit");
        assert_eq!(total.cpu_rate(at + second, &LIMITS, 10), 0.5, "time has paid for it");
    }

    /// Ten addresses that each use all that they may get what all may use together, and no more; a client that uses
    /// little never waits.
    #[test]
    fn many_greedy_addresses_use_no_more_than_all_may() {
        const STEP: Duration = Duration::from_millis(10);
        let begun = Instant::now();
        let (mut total, mut used) = (Total::none(begun), Duration::ZERO);
        let (mut greedy, mut modest): ([Debt; 10], _) = (std::array::from_fn(|_| Debt::none(begun)), Debt::none(begun));
        for step in 0..6_000 {
            let now = begun + step * STEP;
            let mut charge = |debt: &mut Debt, work| {
                debt.add_cpu(work);
                total.add_cpu(work);
                used += work;
                total.cpu_rate(now, &LIMITS, 11)
            };
            let rate = charge(&mut modest, STEP / 100);
            assert_eq!(modest.wait(now, &LIMITS, rate), Duration::ZERO);
            for debt in &mut greedy {
                let rate = charge(debt, Duration::ZERO);
                if debt.wait(now, &LIMITS, rate).is_zero() {
                    charge(debt, STEP);
                }
            }
        }
        let used = used.as_secs_f64();
        assert!((58.0..66.0).contains(&used), "{used} s of processor time in 60 s");
    }
}
