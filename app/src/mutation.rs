//! Rules of namespaces, reverts and trees that can be broken on purpose.
//!
//! `app/tests/rules/mutations.rs` names for each of them the tests that detect it, except for those that only the simulator
//! detects (`docs/simulation.md`). Without the feature `mutations`,
//! [`mutated`] is the constant `false`, so that the compiler removes every question and what depends on it.
//!
//! Some rules cannot be broken here, because a type holds them: only a valid name is an [`NsName`](types::NsName), and
//! without a row there is no namespace to write to and no proposal to vote on.

types::mutations! {
    // A namespace is created.
    /// Creates a namespace whose name is taken.
    CreateTwice,
    /// Takes no deposit for a namespace.
    FreeNamespace,
    /// Destroys the deposit for a namespace instead of adding it to the fee pool.
    BurnDeposit,
    /// Gives two namespaces the same number.
    ReuseNumber,
    /// Lets every account write to a namespace of its creator.
    OwnedByAll,
    /// Starts a namespace with the data epoch 0.
    EpochFromZero,

    // A transaction is checked and executed.
    /// Leaves the nonce of the account as it was.
    KeepNonce: simulated,
    /// Executes an unordered transaction again.
    AnyDigest: simulated,
    /// Takes no fee from the account.
    FreeFees: simulated,
    /// Does not add the fees of a block to the pool.
    LoseFees: simulated,
    /// Pays a transfer without taking it from the sender.
    FreeTransfer: simulated,
    /// Accepts transactions that fit into no block.
    AnyTxSize,

    // A namespace is written to.
    /// Accepts writes of accounts that are not the owner.
    AnyWriter,
    /// Accepts writes to a frozen namespace.
    IgnoreFreeze: both,
    /// Accepts writes in the block that reverts the namespace.
    WriteInRevert,
    /// Accepts writes with another data epoch.
    AnyEpoch,
    /// Accepts a condition that the key is absent when it has a value.
    PresentIsAbsent,
    /// Accepts a condition with a height on a key without a value.
    AbsentIsUnchanged,
    /// Accepts a condition although the key changed after its height.
    ChangedIsUnchanged,
    /// Does not see the changes of the same block in a condition.
    ForgetOwnBlock,
    /// Accepts a condition with a height below the window.
    AnyConditionHeight,
    /// Accepts more keys than the quota.
    AnyKeyCount,
    /// Accepts more bytes than the quota.
    AnyByteCount,
    /// Counts a replaced value together with the new one.
    CountReplaced,
    /// Accepts keys of any size.
    AnyKeySize,
    /// Accepts values of any size.
    AnyValueSize,
    /// Accepts any number of operations in a write.
    AnyOps,
    /// Lets a block replace any number of bytes of old values.
    AnyOldBytes,
    /// Keeps what a failed transaction wrote.
    KeepFailed: both,
    /// Gives the fee and the nonce of a transaction back when it fails.
    RefundFailed: simulated,

    // The log of roots.
    /// Logs the root that a namespace had before the block (I-KV1).
    LogOldRoot: both,
    /// Deletes no roots from the log.
    KeepRoots,
    /// Deletes a root from the log one height too early.
    ForgetRoots,
    /// Deletes any number of roots in a block.
    DeleteAtOnce,

    // A revert is proposed. Those of the target, the size and `dirty_after` apply to the execution, too.
    /// Accepts a target that is not in the past.
    FutureTarget,
    /// Accepts a target below the last barrier.
    CrossBarrier,
    /// Accepts a target below the window.
    PrunedTarget,
    /// Accepts a target at the height that created the namespace.
    NewerNamespace,
    /// Accepts another root at the target than the proposal expects.
    AnyExpectedRoot,
    /// Accepts a revert that changes nothing.
    NoChange,
    /// Leaves namespaces with their old content in the scope.
    KeepUnchanged,
    /// Accepts a revert of any number of keys.
    RevertAnyKeys,
    /// Accepts a revert of any number of bytes.
    RevertAnyBytes,
    /// Counts only the keys whose value differs from that of the target.
    CountDifferent,
    /// Accepts a revert of a namespace that changed after `dirty_after`.
    IgnoreDirty,
    /// Accepts any number of open proposals.
    AnyOpen,
    /// Compares namespaces for any number of proposals in a block.
    AnyTries,
    /// Accepts a proposal right after a revert of its namespace.
    NoCooldown,
    /// Takes no deposit for a proposal.
    FreeProposal,
    /// Accepts a notice of any length.
    AnyNotice,
    /// Gives two proposals the same number.
    ReuseId,
    /// Shows the digest of no changes (I-RV5).
    OtherDigest: both,
    /// Does not show in a preview that too many proposals are open.
    PreviewForgetsOpen,

    // Validators vote.
    /// Accepts votes and freezes of accounts that are not operators.
    AnyVoter,
    /// Accepts votes and freezes after a proposal is closed.
    VoteOnClosed,
    /// Ignores a vote of a validator that has voted before.
    FirstVoteStays,
    /// Keeps the votes of validators that left the set, whatever their number.
    KeepGoneVotes,
    /// Counts only the power of those that voted as the total.
    TotalOfVoters,
    /// Lets exactly 2/3 of the power decide a revert.
    TwoThirdsDecide,
    /// Lets more than 1/3 of the power decide a revert (I-RV3).
    ThirdDecides: both,
    /// Never rejects a proposal, whatever the votes against it.
    NeverReject,
    /// Rejects a proposal when exactly 1/3 of the power votes no.
    ThirdRejects,
    /// Takes votes after the end of the voting.
    NeverExpire,
    /// Schedules a proposal of which another scheduled one has a namespace.
    ScheduleOverlap,
    /// Executes a revert without notice (I-RV3).
    SkipNotice: both,
    /// Lets anybody cancel a proposal.
    AnyCanceller,
    /// Cancels a scheduled proposal.
    CancelScheduled,
    /// Cancels a closed proposal again.
    CancelClosed,
    /// Leaves a closed proposal in the list of the open ones.
    StayOpen,
    /// Keeps the deposit of every proposal.
    KeepDeposit,
    /// Returns the deposit of a proposal against which more than 1/3 voted with veto.
    ReturnLost,
    /// Counts a vote against a proposal as one with veto.
    NoIsVeto,
    /// Takes the deposit when exactly 1/3 of the power votes with veto.
    ThirdVetoes,

    // Validators decide acts.
    /// Does not check an act when it is proposed.
    SkipActProposed,
    /// Does not check an upgrade again when it is planned.
    SkipActCheck,
    /// Lets parameters act in the block that changes them.
    ParamsAtOnce: both,
    /// Accepts any price of transactions and proposals.
    AnyPrice,
    /// Does not compute the set again when its maximum size changes (ST4).
    KeepSet: both,
    /// Lets validators freeze a proposal that is no revert.
    FreezeActs,
    /// Pays more than the community pool has (ST1).
    SpendMore,
    /// Pays without taking it from the community pool (ST1).
    SpendForNothing,
    /// Replaces the plan of an upgrade by another one.
    SeveralPlans,
    /// Plans an upgrade for a height that has passed.
    AnyUpgradeHeight,
    /// Plans an upgrade that the chain has.
    UpgradeTwice,
    /// Keeps the plan after the upgrade.
    KeepPlan: both,
    /// Does not raise the version of the application with an upgrade.
    KeepVersion: both,
    /// Lets reverts go back before an upgrade.
    NoBarrier: both,
    /// Executes heights with a program that lacks the upgrade for them, or has one too early.
    AnyProgram: both,

    // Validators freeze namespaces.
    /// Lets one validator freeze a namespace.
    OneFreezes,
    /// Lets exactly 1/3 of the power freeze a namespace.
    ThirdFreezes,
    /// Accepts a freeze of a namespace that is or was just frozen.
    FreezeAgain,
    /// Lets a validator freeze the namespaces of several proposals at a time.
    SeveralFreezes: both,
    /// Counts the demand of a validator for every proposal for which it ever demanded a freeze.
    KeepDemands,
    /// Sets no pause after a freeze that ends with its proposal.
    NoPause,
    /// Freezes for longer than the parameters allow.
    LongFreeze,
    /// Freezes for longer than the proposal may take.
    FreezePastEnd,
    /// Does not end a freeze when its time is over.
    NeverUnfreeze,
    /// Does not end a freeze with its proposal.
    FreezeOutlives,
    /// Names no deadline for the end of a freeze to the host.
    ForgetFreezeEnd,

    // A revert is executed.
    /// Does not count the votes again.
    SkipRecount,
    /// Does not compare the root with that of the target.
    AnyRoot,
    /// Raises the epoch although the revert fails.
    FailInPart,
    /// Executes all reverts that are due in one block.
    ExecuteAll,
    /// Leaves out the last key of a revert, and does not compare the root (I-RV1).
    RestoreLess: both,
    /// As [`Mutation::RestoreLess`], but only for a namespace that was reverted before (I-RV6).
    RestoreLessAgain: both,
    /// Takes back the account of the proposer too (I-RV2).
    RestoreMore: both,
    /// Takes back the number of writes of a namespace (I-RV2).
    RestoreWrites,
    /// Leaves the number of keys and bytes of a reverted namespace as it is.
    KeepSizes,
    /// Leaves the list of keys of a reverted namespace as it is.
    KeepKeyList,
    /// Leaves the data epoch of a reverted namespace as it is (I-RV2).
    KeepEpoch: both,
    /// Allows a new proposal right after a revert.
    NoCooldownSet,
    /// Does not record the heights that a revert took back.
    NoTaint,
    /// Records no more than the last revert of a namespace.
    ForgetTaints,
    /// Records the reverts of any number of heights.
    KeepTaints,
    /// Records any number of reverts of a namespace in the window.
    AnyTaints,
    /// Leaves overlapping proposals open after a revert.
    NeverSupersede,

    // A tree has many keys in one bucket.
    /// Divides no bucket, whatever the number of its leaves.
    CrowdedEnds,
    /// Leaves a bucket divided when it has few leaves again.
    KeepDivided,

    // A validator is created or changed.
    /// Creates a validator for an operator that has one.
    ValidatorTwice,
    /// Creates a validator with the consensus key of another one.
    AnyKey,
    /// Accepts a possession of the key that was signed for another operator.
    AnyPossession,
    /// Accepts any commission of a new validator.
    AnyCommission,
    /// Accepts any rise of a commission.
    AnyRise,
    /// Accepts a second change of a commission in a day.
    NoCommissionPause,
    /// Accepts any own stake, and any minimum of it.
    AnyOwnStake,
    /// Accepts any text about a validator.
    AnyDescription,
    /// Ends the jail before its time.
    UnjailEarly,
    /// Ends the jail of a validator that signed twice.
    UnjailTombstoned,

    // A validator replaces its consensus key.
    /// Accepts a second rotation while evidence against the last key can come.
    RotateTwice,
    /// Leaves the old key in the set beside the new one (ST4).
    OldKeySigns: both,
    /// Changes the set for a validator outside of it.
    RotateOutside,
    /// Forgets at once whose key the old one was.
    ForgetOldKey: both,
    /// Never forgets whose key the old one was.
    KeepOldKey: both,
    /// Ends a validator while evidence against its old key can come.
    EndWithOldKey,

    // Stake moves.
    /// Rounds the worth of shares up (ST2).
    RoundUp: both,
    /// Sells shares of a validator whose shares are worth nothing.
    DelegateToNothing,
    /// Accepts more stake than a set may have power.
    AnyPower,
    /// Accepts any amount of an undelegation.
    AnyAmount,
    /// Accepts any number of unbondings of a pair.
    AnyUnbondings,
    /// Accepts any number of redelegations to a validator.
    AnyRedelegations,
    /// Leaves a validator free whose operator's own stake is below its minimum.
    IgnoreOwnStake,
    /// Moves on stake that arrived by redelegation.
    Transitive,
    /// Redelegates stake to its own validator.
    RedelegateToSelf,
    /// Cancels the unbonding of another delegator.
    CancelOthers,
    /// Cancels an unbonding that has matured.
    CancelMatured,
    /// Cancels an unbonding from a validator that signed twice (ST5).
    CancelTombstoned,

    // A block matures stake and computes the set.
    /// Gives stake a time at which it is not paid, because stake that left before it waits longer.
    ForgetBatchBefore,
    /// Pays stake after half of the time (ST6).
    UnbondEarly: both,
    /// Pays an unbonding twice (ST1).
    UnbondTwice: both,
    /// Pays stake of a validator that kept its power (ST6).
    PayKept: both,
    /// Matures everything that is due in one block.
    MatureAll,
    /// Names no deadline of the queue to the host.
    ForgetQueue,
    /// Keeps a validator in the set that lost its stake (ST4).
    KeepLeaver: both,
    /// Lets a validator in jail sign (ST4).
    JailedSigns: both,
    /// Accepts any number of members of the set (ST4).
    AnySetSize: both,
    /// Computes a set without members (ST7).
    EmptySet: both,

    // A validator is slashed.
    /// Takes nothing for a double sign, and leaves the validator where it is (ST5).
    ForgiveDoubleSign: both,
    /// Slashes a validator for each double sign (ST5).
    SlashAgain: both,
    /// Takes no jail for ever for a double sign.
    NoTombstone: both,
    /// Leaves out what left with the block before the infraction, which still counted.
    SlashOtherHeight: both,
    /// Leaves out what left while the validator kept its power.
    ForgetKept,
    /// Takes nothing of what left the validator.
    ForgetDepartures: both,
    /// Takes nothing at the target of a redelegation.
    ForgetTarget,
    /// Takes nothing of what was undelegated from the target of a redelegation.
    ForgetFollowed,
    /// Leaves a validator free whose own stake a slash took below its minimum.
    ForgetOwnStake,
    /// Rounds what is burned up.
    RoundBurnUp: both,
    /// Leaves the price of the shares of a slashed validator as it is (ST2).
    KeepPrice: both,
    /// Leaves what was burned in the supply (ST1).
    BurnKeepsSupply: both,

    // A validator signs nothing.
    /// Jails a validator whatever the time of its silence.
    DowntimeByHeights: both,
    /// Jails a validator whatever the number of heights that it missed.
    DowntimeByTime: both,
    /// Counts misses that left the window.
    AllMisses,
    /// Jails all that are silent.
    JailAll: both,
    /// Keeps the misses of a validator that left jail.
    KeepWindow,

    // Rewards.
    /// Gives the income of a height to the set that the block before computed.
    RewardNewSet,
    /// Gives operators no commission.
    NoCommission,
    /// Gives operators their commission, and delegators all (ST3).
    CommissionOnTop,
    /// Rounds what a delegator is paid up (ST3).
    RoundRewardUp: both,
    /// Pays what was paid before (ST3).
    PayAgain: both,
    /// Changes shares and commissions without settling the validator first (ST3).
    ForgetSettle,
    /// Lets sums end at 2^128 instead of wrapping around.
    SumsEnd,
    /// Drops what the division of an income leaves (ST3).
    LoseRemainder: both,
    /// Accepts a withdrawal of nothing.
    WithdrawNothing,
    /// Gives the commission of a validator that ends to all.
    KeepCommission,
    /// Ends a validator that can still earn.
    EndEarning,
    /// Issues for a second in each height, whatever its time.
    IssueByHeight: both,
    /// Issues for the time in which nothing was to be issued.
    IssueForPause,
    /// Drops what the division of an issuance leaves.
    LoseIssued,
    /// Issues money that the supply does not count (ST1).
    IssueUncounted: both,
    /// Drops what is due to shares that a slash takes (ST3).
    ForfeitNothing,
    /// Gives the community nothing.
    NoCommunity,
}
