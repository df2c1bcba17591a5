//! Rules of namespaces and reverts that can be broken on purpose.

/// A rule that is switched off or broken, to prove that a checker notices it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Logs the root that a namespace had before the block (I-KV1).
    LogOldRoot,
    /// Leaves out the last key of a revert, and does not compare the root (I-RV1).
    RestoreLess,
    /// As [`Mutation::RestoreLess`], but only for a namespace that was reverted before (I-RV6).
    RestoreLessAgain,
    /// Takes back the account of the proposer too (I-RV2).
    RestoreMore,
    /// Leaves the data epoch of a reverted namespace as it is (I-RV2).
    KeepEpoch,
    /// Lets more than 1/3 of the power decide a revert (I-RV3).
    ThirdDecides,
    /// Executes a revert without notice (I-RV3).
    SkipNotice,
    /// Shows the digest of no changes (I-RV5).
    OtherDigest,
    /// Accepts writes to a frozen namespace.
    IgnoreFreeze,
}
