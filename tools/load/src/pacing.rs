//! Intended send times of transactions. This module reads no clock: times are nanoseconds from the beginning of a
//! stage.

use crate::plan::Arrivals;

/// Number of nanoseconds in one second.
pub const SECOND: u64 = 1_000_000_000;

/// Pseudo-random numbers that depend on the seed only, on every machine.
///
/// Source: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates a generator from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next 64-bit number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns the next fraction, above 0 and at most 1.
    fn fraction(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// Sequence of intended send times.
#[derive(Clone, Debug)]
pub struct Times {
    arrivals: Arrivals,
    rate: f64,
    index: u64,
    random: Random,
    /// Time of the last independent arrival, in seconds.
    at: f64,
}

impl Times {
    /// Creates a sequence with an average of `rate` times per second.
    pub fn new(arrivals: Arrivals, rate: f64, seed: u64) -> Self {
        Self { arrivals, rate, index: 0, random: Random::new(seed), at: 0.0 }
    }

    /// Returns the next time, in nanoseconds.
    pub fn next(&mut self) -> u64 {
        let seconds = match self.arrivals {
            // The time is computed from the index, not from the previous time, so that rounding errors do not add up.
            Arrivals::Constant => self.index as f64 / self.rate,
            Arrivals::Poisson => {
                self.at -= self.random.fraction().ln() / self.rate;
                self.at
            }
        };
        self.index += 1;
        (seconds * SECOND as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_times_are_exact_however_late() {
        let mut times = Times::new(Arrivals::Constant, 8_000.0, 1);
        assert_eq!([times.next(), times.next(), times.next()], [0, 125_000, 250_000]);
        let mut times = Times::new(Arrivals::Constant, 3.0, 1);
        let last = (0..=3_000_000).map(|_| times.next()).last();
        assert_eq!(last, Some(1_000_000 * SECOND));
    }

    #[test]
    fn independent_arrivals_have_the_mean_and_the_spread_of_a_poisson_process() {
        let mut times = Times::new(Arrivals::Poisson, 1_000.0, 7);
        let times: Vec<u64> = (0..200_000).map(|_| times.next()).collect();
        assert!(times.is_sorted());
        let mean = times[times.len() - 1] as f64 / times.len() as f64;
        assert!((mean / 1e6 - 1.0).abs() < 0.01, "mean gap {mean} ns");
        // In a Poisson process the counts of equal intervals have a variance that equals their mean.
        let spans = 2_000;
        let span = times[times.len() - 1] / spans + 1;
        let mut counts = vec![0.0_f64; spans as usize];
        times.iter().for_each(|time| counts[(time / span) as usize] += 1.0);
        let mean = counts.iter().sum::<f64>() / spans as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / spans as f64;
        assert!((variance / mean - 1.0).abs() < 0.15, "variance / mean {}", variance / mean);
    }

    #[test]
    fn a_seed_decides_all_times() {
        let times = |seed| {
            let mut times = Times::new(Arrivals::Poisson, 10.0, seed);
            [times.next(), times.next(), times.next()]
        };
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
        // These are the published first outputs of SplitMix64 for seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }
}
