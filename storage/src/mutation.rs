//! Rules of the store that can be broken on purpose.
//!
//! `storage/tests/suite/mutations.rs` names for those of rewind and prune the tests that detect them; the simulator detects the
//! others (`docs/simulation.md`). Without the feature `mutations`,
//! [`mutated`] is the constant `false`, so that the compiler removes every question and what depends on it.
//!
//! Some rules cannot be broken here, because something else holds them too: a height outside the window has no tip to which a
//! rewind could move.

types::mutations! {
    // A height is written.
    /// Does not sync what must be durable before a message is sent (S1).
    SkipSync: simulated,
    /// Leaves the bytes of blocks out of what is written before a precommit (S1).
    SkipPending: simulated,
    /// Writes the tip before the rest of the height, and not in one batch with it (S2).
    TipFirst: simulated,
    /// Writes the tip after the rest of the height, and not in one batch with it (S2).
    TipLast: simulated,
    /// Does not write where the transactions of a block are.
    ForgetTxs: simulated,

    // A rewind begins.
    /// Takes back the hard state to the height of the rewind (S3).
    HardStateGoesBack,
    /// Forgets the signing floor (S3).
    ForgetSigningFloor,
    /// Deletes the blocks above the former tip, which this node precommitted (S3).
    ForgetPending,
    /// Leaves the hashes of the trees of a height above the tip.
    KeepTrees,
    /// Leaves the index over last changes as it was at the former tip.
    KeepLastChanges,

    // It is not finished: rows above the tip are stored.
    /// Shows evidence in blocks above the tip as committed.
    SeeEvidenceAbove,
    /// Finds blocks above the tip by their hash.
    SeeBlocksAbove,
    /// Finds transactions above the tip.
    SeeTxsAbove,

    // Heights are deleted, or committed again (S8).
    /// Leaves versions of rows that a height above the tip wrote.
    KeepVersions,
    /// Leaves rows of transactions above the tip.
    KeepTxs,
    /// Leaves rows of the index of events above the tip.
    KeepEvents,
    /// Leaves evidence above the tip as committed.
    KeepEvidence,
    /// Leaves the hashes of blocks above the tip.
    KeepHashes,
    /// Leaves validator sets and parameters that blocks above the tip determined.
    KeepRules,
    /// Forgets after the first batch of deletions that there are more.
    EndEarly,
    /// Does not search the store for the rows of a height whose lists are damaged.
    SkipSearch,
    /// Leaves what the first execution of a block wrote when it is committed again.
    KeepFirstExecution,
    /// Says after the last block that was committed again that the rewind is not finished.
    NeverEnd,

    // The window moves.
    /// Moves the start of the window back.
    WindowGoesBack,
    /// Moves the start of the window above the tip.
    PassTip,
    /// Deletes rows before the start of the window above them is durable (S7).
    DeleteBeforeDurable,
    /// Announces the start of the window when the rows below it are gone (S7).
    AnnounceLate,
    /// Deletes what the lowest reader still needs (S7).
    IgnoreReaders,

    // Rows below the window are deleted.
    /// Deletes the versions that the state under the earliest block reads (S5).
    DeleteInForce: both,
    /// Deletes the validator set and the parameters that are in force at the start of the window.
    DeleteRulesInForce,
    /// Deletes what checks evidence that has not expired, below the window.
    DeleteForEvidence,
    /// Keeps deletions of rows below the window.
    KeepDeletions,
    /// Removes all versions of a row that was deleted below the window, also later ones (S5).
    DeleteLaterVersions,
    /// Deletes the lists of changes before the deletions in them are durably removed.
    DeleteListsEarly,
}
