//! Rules of the waiting transactions that can be broken on purpose.
//!
//! The simulator detects each of them; `docs/simulation.md` says how. Without the feature `mutations`, [`mutated`] is the constant
//! `false`, so that the compiler removes every question and what depends on it.

types::mutations! {
    /// Checks no sender again after a block, so that transactions wait that cannot be executed any more.
    SkipRecheck: simulated,
    /// Keeps the transactions of a committed block.
    KeepCommitted: simulated,
    /// Forgets all transactions at each block.
    ForgetWaiting: simulated,
}
