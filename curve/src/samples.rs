//! Makes values for tests and benches: the same values in each run.

/// A generator of numbers that look random (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.word() % limit
    }

    /// Returns 32 bytes of which about half of the words are extreme: zero, the maximum, or near to one of them.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            let word = self.word();
            let word = match self.below(16) {
                0..2 => 0,
                2..4 => u64::MAX,
                4 => word % 3,
                5 => u64::MAX - word % 3,
                6 => 1 << (word % 64),
                7 => (1_u64 << (word % 64)).wrapping_neg(),
                _ => word,
            };
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// Returns 32 bytes, each of which looks random.
    pub(crate) fn plain_bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.word().to_be_bytes()));
        bytes
    }
}
