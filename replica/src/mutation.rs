//! Rules of the replica that can be broken on purpose.
//!
//! `replica/tests/ways_back/mutations.rs` names for those of rewind and prune the test that detects it; the simulator detects the
//! others, and `docs/simulation.md` says how. The rules that the store holds are in `storage/src/mutation.rs`. Without the feature `mutations`, [`mutated`] is the constant `false`.

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

    // The next block.
    /// Does not compare the version of the program in a header.
    HeaderVersion: simulated,
    /// Does not compare the chain in a header.
    HeaderChain: simulated,
    /// Does not compare the hash of the set in a header.
    HeaderValidators: simulated,
    /// Does not compare the hash of the next set in a header.
    HeaderNextValidators: simulated,
    /// Does not compare the hash of the parameters in a header.
    HeaderParams: simulated,
    /// Does not compare the hash of the state in a header.
    HeaderState: simulated,
    /// Does not compare the hash of the results in a header.
    HeaderResults: simulated,
    /// Accepts a header that is not later than the last one.
    HeaderTime: simulated,
    /// Accepts a header whose proposer is no validator.
    HeaderProposer: simulated,
    /// Does not check the signatures of the transactions in a block.
    SkipTxSignatures: simulated,
    /// Does not check the signatures of the last commit in a block.
    SkipPrecommits: simulated,
    /// Forgets the block that it locked at a restart, although its store has it.
    ForgetStoredBlock: simulated,

    // The rules of the next heights.
    /// Lets the changes of a block to the set act one height too early.
    SetTooEarly: simulated,
    /// Does not change the set.
    SameSet: simulated,
    /// Does not turn the rotation between heights.
    NoTurn: simulated,
    /// Does not change the parameters.
    SameParams: simulated,

    // What is signed, and when.
    /// Does not write what it signs to the signing state beside the store (I2).
    SkipRecord: simulated,
    /// Signs at heights up to that of a signing state that is ahead (G5).
    IgnoreFloor: simulated,
    /// Signs at once, also where an earlier process may have signed (G1, G2).
    SignAtOnce: simulated,
    /// Sends its messages although the write that should make them durable failed.
    SpeakAfterFailure: simulated,

    // Gossip and block sync.
    /// Answers no round state, so that nothing that is lost comes again.
    NoRepair: simulated,
    /// Shows its round state to its peers five times less often.
    SlowGossip: simulated,
    /// Shows its round state to its peers only when it starts.
    GossipOnce: simulated,
    /// Forwards no message.
    NoRelay: simulated,
    /// Sends no part of its own block.
    KeepParts: simulated,
    /// Forgets messages of a height that has not started.
    ForgetEarly: simulated,
    /// Asks for no block.
    NoSync: simulated,
    /// Serves no block.
    ServeNothing: simulated,
    /// Starts no height while a peer claims to be ahead.
    BelieveClaims: simulated,
    /// Applies a synced block whose commit does not hold.
    SyncAnyCommit: simulated,
    /// Applies a synced block without the verification of its commit by the set of its height.
    SyncUnverified: simulated,
    /// Applies a synced block whose bytes are not those of its commit.
    SyncAnyBytes: simulated,

    // Blocks and evidence.
    /// Forgets the evidence that its engine finds.
    DropEvidence: simulated,
    /// Forgets at a restart the evidence that waits for a block.
    LoseWaitingEvidence: simulated,
    /// Does not compare the last commit in a block with the votes that it holds.
    TrustLastCommits: simulated,
    /// Does not compare the commit of a block that it fetched with the votes that it holds.
    TrustFetchedCommits: simulated,
    /// Keeps the bytes of every block that is named (I6).
    KeepBlocks: simulated,
    /// Does not check the signatures of evidence in a block.
    AcceptUnverifiedEvidence: simulated,
    /// Accepts evidence in a block that an earlier block has.
    AcceptRepeatedEvidence: simulated,
    /// Accepts evidence in a block that has expired.
    AcceptExpiredEvidence: simulated,
    /// Accepts an attack on light clients in a block that names validators without a part in it.
    AcceptNamedEvidence: simulated,
    /// Puts no evidence into a block.
    WithholdEvidence: simulated,
    /// Forgets attacks on light clients that others report.
    DropAttacks: simulated,
    /// Puts no attack on light clients into a block.
    WithholdAttacks: simulated,
}
