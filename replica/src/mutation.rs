//! Rules of rewind and prune that can be broken on purpose.
//!
//! `replica/tests/ways_back/mutations.rs` names for each of them the test that detects it. The rules that the store holds are in
//! `storage/src/mutation.rs`. Without the feature `mutations`, [`mutated`] is the constant `false`.

types::mutations! {
    // Before a rewind changes something.
    /// Does not compare the state at the height with the next header.
    SkipState,
    /// Undoes blocks that revert to a height that is no longer kept.
    SkipWindow,
    /// Accepts a height below the earliest kept block.
    BelowBase,
    /// Accepts headers that do not name the block before them.
    AnyParent,
    /// Executes blocks again across an upgrade.
    CrossUpgrade,
    /// Accepts a last block whose commit does not prove that it was decided.
    AnyCommit,

    // While blocks are executed again.
    /// Accepts another app hash than the chain agreed on.
    AnyAppHash,
    /// Accepts other results than the chain agreed on.
    AnyResultsHash,
    /// Reports that no row was repaired.
    CallNothingRepaired,
    /// Starts a node on a rewind that is not finished.
    StartUnfinished,

    // What a node keeps.
    /// Keeps only the latest height, not those that the chain asks for, so that the target of an open revert is deleted.
    IgnoreRetainBlocks,
    /// Keeps no height for its age.
    IgnoreRetainTime,
}
