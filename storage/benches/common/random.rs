//! Pseudo-random numbers.

/// A generator of pseudo-random numbers with a fixed seed, so that every run writes the same bytes.
pub struct Random(pub u64);

impl Random {
    /// Returns the next number, below 2^44.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 20
    }
}
