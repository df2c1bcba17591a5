//! The budget of one address: how many bytes and how much processor time it may use per second.

use std::time::{Duration, Instant};

/// Burst of bytes for one address: it may save up to the budget of this many seconds and spend it at once.
const BYTES_BURST_SECONDS: f64 = 8.0;

/// Burst of processor time for one address: it may save up to the budget of this many seconds. During a burst,
/// consensus has less.
const CPU_BURST_SECONDS: f64 = 2.0;

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
}

/// Leaky buckets: the used bytes and processor time that elapsed time has not yet paid off.
#[derive(Debug)]
pub struct Debt {
    /// Bytes of requests and events.
    pub bytes: f64,
    /// Processor time in seconds.
    pub cpu_seconds: f64,
    at: Instant,
}

impl Debt {
    /// Creates the account of an address that has used nothing.
    pub fn none() -> Self {
        Self { bytes: 0.0, cpu_seconds: 0.0, at: Instant::now() }
    }

    /// Reduces the debt by what the time since the last call pays.
    fn pay(&mut self, now: Instant, limits: &Limits) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.bytes = (self.bytes - seconds * limits.bytes_per_second as f64).max(0.0);
        self.cpu_seconds = (self.cpu_seconds - seconds * limits.cpu_percent as f64 / 100.0).max(0.0);
    }

    /// Returns the time until the debt is within the burst again, at most one hour.
    pub fn wait(&mut self, now: Instant, limits: &Limits) -> Duration {
        self.pay(now, limits);
        let over = |used: f64, rate: f64, burst: f64| if rate > 0.0 { used / rate - burst } else { 0.0 };
        let bytes = over(self.bytes, limits.bytes_per_second as f64, BYTES_BURST_SECONDS);
        let cpu = over(self.cpu_seconds, limits.cpu_percent as f64 / 100.0, CPU_BURST_SECONDS);
        Duration::from_secs_f64(bytes.max(cpu).clamp(0.0, 3600.0))
    }

    /// Returns true if nothing is owed.
    pub fn is_paid(&mut self, now: Instant, limits: &Limits) -> bool {
        self.pay(now, limits);
        let is_settled = |used: f64, rate: usize| rate == 0 || used <= 0.0;
        is_settled(self.bytes, limits.bytes_per_second) && is_settled(self.cpu_seconds, limits.cpu_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_pays_a_debt() {
        let limits = Limits { connections_max: 1, address_connections_max: 1, bytes_per_second: 1000, cpu_percent: 50 };
        let mut debt = Debt { cpu_seconds: 10.0, ..Debt::none() };
        let (at, second) = (debt.at, Duration::from_secs(1));
        assert_eq!(debt.wait(at, &limits), 18 * second);
        assert_eq!(debt.wait(at + 5 * second, &limits), 13 * second);
        assert!(debt.is_paid(at + 20 * second, &limits));
    }
}
