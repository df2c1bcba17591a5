//! Rules of the types that can be broken on purpose.
//!
//! The simulator detects each of them; `docs/simulation.md` says how. Without the feature `mutations`, [`mutated`] is the constant
//! `false`, so that the compiler removes every question and what depends on it.

crate::mutations! {
    // Power.
    /// Takes more than a third of the power as a quorum.
    ThirdIsQuorum: simulated,
    /// Takes exactly two thirds of the power as a quorum.
    TwoThirdsAreQuorum: simulated,

    // Signatures.
    /// Accepts any signature of a vote.
    AnyVoteSignature: simulated,
    /// Accepts the signature of any member of the set under a vote.
    SignatureOfAnother: simulated,
    /// Accepts any signature of a proposal.
    AnyProposalSignature: simulated,
    /// Accepts any signature in the commit of a synced block.
    AnyCommitSignature: simulated,
    /// Accepts entries of a commit at the place of another validator.
    AnyCommitIndex: simulated,
    /// Accepts a commit that too little power signed.
    AnyCommitPower: simulated,

    // The content of a block.
    /// Does not compare the hash of the transactions with the header.
    AnyDataHash: simulated,
    /// Does not compare the hash of the evidence with the header.
    AnyEvidenceHash: simulated,
    /// Does not compare the hash of the last commit with the header.
    AnyLastCommitHash: simulated,
    /// Does not compare the bytes of a part with its proof.
    AnyPart: simulated,

    // Attacks on light clients.
    /// Takes all validators of the common height for guilty of an attack on light clients.
    BlameAll: simulated,

    // The rotation of proposers.
    /// Lets the higher address propose first when priorities are equal.
    TiesGoHigher: simulated,
    /// Has the proposer of the next round in each round after the first.
    RoundsOneLater: simulated,
    /// Has the same proposer in all rounds of a height.
    RoundsStay: simulated,
    /// Does not center priorities.
    SkipCenter: simulated,
    /// Lets a new validator start with the priority 0.
    NewcomerFirst: simulated,
}
