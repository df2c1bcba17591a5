//! The random number generator of a simulated world, which is seeded once.

use std::time::Duration;

/// xoshiro256**, seeded by splitmix64: small, fast, and the same on every platform.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// Creates the generator for a seed.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut splitmix = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        Self(std::array::from_fn(|_| splitmix()))
    }

    /// Returns a number from the whole range of 64 bits.
    pub fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Returns a number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Returns an index below `len`, which must not be 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Returns true with a probability of `per_thousand` in 1000.
    pub fn chance(&mut self, per_thousand: u32) -> bool {
        self.below(1000) < u64::from(per_thousand)
    }

    /// Returns one of the elements of `of`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// Returns a duration from `low` to `high`; each doubling of `low` is equally likely. `low` must not be zero.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        let (low, high) = (low.as_nanos() as u64, high.as_nanos() as u64);
        let doublings = (high / low.max(1)).max(1).ilog2() + 1;
        let from = (low << self.below(u64::from(doublings))).min(high);
        Duration::from_nanos(self.within(from, (2 * from).min(high).max(from)))
    }

    /// Returns each element with a probability of one half, but at least one if there are any.
    pub fn some_of(&mut self, of: &[usize]) -> Vec<usize> {
        let chosen: Vec<usize> = of.iter().copied().filter(|_| self.chance(500)).collect();
        if chosen.is_empty() && !of.is_empty() { vec![self.pick(of)] } else { chosen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let take = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn random_numbers_stay_in_their_ranges() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!((5..=9).contains(&random.within(5, 9)));
            let d = random.duration(Duration::from_millis(2), Duration::from_millis(900));
            assert!((2..=900).contains(&d.as_millis()), "{d:?}");
            assert!(!random.some_of(&[1, 2, 3]).is_empty());
        }
        assert!((0..1000).all(|_| !random.chance(0) && random.chance(1000)));
    }
}
