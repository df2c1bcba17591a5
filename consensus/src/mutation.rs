//! Rules of the engine that can be broken on purpose.
//!
//! The simulator detects each of them; `docs/simulation.md` says how. Without the feature `mutations`, [`mutated`] is the constant
//! `false`, so that the compiler removes every question and what depends on it.

types::mutations! {
    // The rules of Algorithm 1.
    /// Proposes a new block although there is a valid one (L16).
    ForgetValid: simulated,
    /// Proposes without being the proposer of the round (L14).
    ProposeOutOfTurn: simulated,
    /// Proposes the valid block again with a POL round that is one later than its polka (L19).
    OtherPolRound: simulated,
    /// Sends no polka with a block that it proposes again (D4).
    HidePolka: simulated,
    /// Sends no polka when it enters a round or repeats its messages (D4).
    KeepPolkaToItself: simulated,
    /// Never repeats its messages, so that one that is lost stays lost.
    NeverRepeat: simulated,
    /// Repeats its messages once and starts no further timer for it.
    RepeatOnce: simulated,
    /// Prevotes a proposal that is not timely (D5).
    AcceptUntimely: simulated,
    /// Prevotes a proposal whose time is not that of its block (D5).
    AcceptOtherTime: simulated,
    /// Prevotes a proposed block that is not valid (L22).
    PrevoteInvalid: simulated,
    /// Prevotes a new block although it is locked on another one (L22).
    IgnoreLock: simulated,
    /// Prevotes a block that is proposed again although it is locked on another one in a later round (L28).
    IgnoreLaterLock: simulated,
    /// Prevotes a block that is proposed again without its polka (L28).
    SkipPolka: simulated,
    /// Prevotes nil as soon as it enters a round in which it is not the proposer (L57).
    PrevoteNilAtOnce: simulated,
    /// Precommits nil upon a quorum of any prevotes, without the timer (L34, L61).
    PrecommitNilAtOnce: simulated,
    /// Takes prevotes of more than a third of the power as a polka (L36).
    WeakPolka: simulated,
    /// Never sets the lock (L38, L39).
    SkipLock: simulated,
    /// Never takes a polka of a passed round into account (D6).
    ForgetPassedPolka: simulated,
    /// Removes the lock upon a quorum of nil prevotes (L44).
    UnlockOnNil: simulated,
    /// Decides a valid block upon precommits of more than a third of the power instead of a quorum (L49).
    WeakCommit: simulated,
    /// Builds the commit of a decision from the votes of the round before (L49).
    CommitOfOtherRound: simulated,
    /// Never starts a later round for the votes of others (L55).
    StayInRound: simulated,
    /// Starts a later round upon a vote of a single validator (L55).
    SkipForOne: simulated,

    // Timers.
    /// Starts no propose timer (L21).
    NoProposeTimer: simulated,
    /// Starts no prevote timer (L35).
    NoPrevoteTimer: simulated,
    /// Starts no precommit timer (L48).
    NoPrecommitTimer: simulated,
    /// Does nothing when the propose timer expires (L57).
    IgnoreProposeTimer: simulated,
    /// Does nothing when the prevote timer expires (L61).
    IgnorePrevoteTimer: simulated,
    /// Does nothing when the precommit timer expires (L65).
    IgnorePrecommitTimer: simulated,
    /// Starts a prevote timer that expires at once (L35).
    HastyPrevoteTimer: simulated,
    /// Starts timers that take five times as long.
    SlowTimers: simulated,
    /// Starts timers that do not grow with the rounds.
    SameTimers: simulated,
    /// Takes the timer of another round as that of its own.
    AnyTimer: simulated,
    /// Keeps the timeouts of the first height.
    KeepTimeouts: simulated,

    // Votes.
    /// Counts only the first of two votes of an equivocator.
    FirstVoteOnly: simulated,
    /// Counts a vote again each time that it arrives.
    CountTwice: simulated,
    /// Gives each validator the same power.
    CountHeads: simulated,
    /// Takes a quorum of prevotes or precommits for any values as one for the first block among them.
    AnyValueQuorum: simulated,
    /// Counts votes of other rounds in its own round.
    CountOtherRounds: simulated,
    /// Counts prevotes as precommits too.
    CountOtherType: simulated,
    /// Does not count the votes of certificates.
    IgnoreCertificates: simulated,
    /// Reports no two votes that contradict each other.
    IgnoreConflicts: simulated,
    /// Reports no vote of a certificate that contradicts another one.
    IgnoreConflictsInCertificates: simulated,
    /// Reports no late vote of the height before that contradicts another one.
    IgnoreLateConflicts: simulated,
    /// Never forgets votes of past rounds (I6).
    KeepRounds: simulated,
    /// Keeps the verdict on a block whose bytes were dropped (I4).
    KeepVerdicts: simulated,

    // What is signed, and what is durable before it is sent.
    /// Signs and sends a nil vote in addition to each vote for a block (I1).
    DoubleSign: simulated,
    /// Signs whatever is asked, also what contradicts what was signed before (I1).
    GuardOff: simulated,
    /// Signs another message in place of the last one, of the same height, round and step (I1).
    GuardSameStep: simulated,
    /// Signs at a height at which the replica wants it to abstain.
    IgnoreAbstain: simulated,
    /// Emits no write-ahead, so that messages are sent before the hard state is durable (I2).
    SkipWriteAhead: simulated,
    /// Keeps the first hard state of a batch, not the last one (I2).
    KeepFirstState: simulated,
    /// Writes the hard state of a batch after the decision in it (I2).
    CommitBeforeWrite: simulated,
    /// Leaves the last vote out of the hard state (I2).
    LoseLastVote: simulated,
    /// Leaves the lock and the valid block out of the hard state.
    LoseLock: simulated,
    /// Writes the step before the present one to the hard state.
    LowerStep: simulated,
    /// Starts a height anew after a restart, and not where it was.
    RestoreNothing: simulated,
    /// Forgets the lock and the valid block at a restart.
    RestoreNoLock: simulated,
    /// Forgets at a restart what it sent.
    RestoreNoMessages: simulated,
}

/// Returns true if a rule of the engine is broken: then the checkers outside the engine must notice, not its assertions.
pub(crate) fn is_any_rule_broken() -> bool {
    #[cfg(feature = "mutations")]
    return BrokenRule::now().is_some();
    #[cfg(not(feature = "mutations"))]
    false
}
