//! Rules that are broken on purpose in every correct node, which proves that each check can fail (`tests/mutations.rs`,
//! and scenarios for those that random runs rarely reveal):
//!
//! | mutation | detected by |
//! |---|---|
//! | `skip_write_ahead` | I2, I4 |
//! | `lose_syncs` (*) | I2 |
//! | `double_sign` | I1 |
//! | `weak_commit` | validity, agreement |
//! | `skip_lock` | lock, agreement |
//! | `unlock_on_nil` | lock |
//! | `keep_verdicts` | I4 |
//! | `keep_rounds`, `keep_blocks` | I6 |
//! | `log_old_root`: the log has the root of the height before | I-KV1 |
//! | `rewrite_history` (*): earlier versions of a row get the newest value | I-KV2 |
//! | `restore_less`: a revert leaves out a key | I-RV1 |
//! | `restore_more`: a revert takes back an account | I-RV2, supply |
//! | `keep_epoch`: a revert does not raise the epoch | I-RV2 |
//! | `third_decides`: more than 1/3 decides | I-RV3 |
//! | `skip_notice`: a decision takes effect at once | I-RV3 |
//! | `other_digest`: a proposal shows another digest | I-RV5 |
//! | `restore_less_again`: the second revert of a namespace leaves out a key | I-RV6 |
//! | `ignore_freeze`: a frozen namespace takes writes | fence |
//! | `accept_unverified_evidence`: the signatures of evidence in a block are not checked | EV1 |
//! | `accept_repeated_evidence`: evidence of an earlier block is accepted | EV2 |
//! | `accept_expired_evidence`: expired evidence is accepted | EV3 |
//! | `accept_named_evidence`: an attack on light clients may name the innocent | EV1 |
//! | `withhold_evidence`: no block has evidence | a scenario that waits for it |
//! | `several_freezes`: an operator freezes for several proposals | I-RV3 |
//! | `unbond_early`: stake comes back after half of the unbonding time | ST6 |
//! | `unbond_twice`: stake comes back twice | supply |
//! | `keep_leaver`: a validator without enough stake stays in the set | ST4 |
//! | `any_set_size`: the set has more validators than it may have | ST4 |
//! | `forgive_double_sign`: a double sign costs nothing | ST5 |
//! | `pay_kept`: stake of a validator that keeps its power for lack of others is paid | ST6 |
//! | `empty_set`: the set has no members | ST7 |
//! | `jailed_signs`: a validator in jail stays in the set | ST4 |
//! | `keep_set`: the set does not follow its maximum size | ST4 |
//! | `round_up`: shares are worth one more | ST2 |
//! | `keep_price`: a slash leaves the price of shares | ST2 |
//! | `pay_again`: rewards are paid again | ST3 |
//! | `lose_remainder`: what a division of income leaves is lost | ST3 |
//! | `issue_uncounted`: issued money is not in the supply | supply |
//! | `issue_by_height`: money is issued by heights | ST1 |
//! | `burn_keeps_supply`: burned money stays in the supply | ST1, supply |
//! | `keep_timeouts`: engines keep the timeouts of their first height | params |
//! | `params_at_once`: parameters act in the block that changes them | params |
//! | `keep_version`: an upgrade does not raise the version | params |
//! | `no_barrier`: an upgrade sets no barrier | upgrade |
//! | `keep_plan`: an upgrade stays planned | upgrade |
//! | `any_program`: a program runs past an upgrade that it lacks | upgrade |
//! | `old_key_signs`: a replaced key stays in the set | ST4, progress |
//! | `forget_old_key`: a replaced key is forgotten at once | rotation |
//! | `keep_old_key`: a replaced key is never forgotten | rotation |
//! | `slash_again`: each double sign of a validator is slashed | ST5 |
//! | `no_tombstone`: a double sign does not jail for ever | ST5 |
//! | `slash_other_height`: stake that left with the block before a double sign is not slashed | ST5 |
//! | `forget_departures`: stake that left is not slashed | ST5 |
//! | `round_burn_up`: what is burned is rounded up | ST5 |
//! | `downtime_by_heights`: many misses jail at once | ST5 |
//! | `downtime_by_time`: few misses jail | ST5 |
//! | `jail_all`: more than a third is jailed for downtime | ST5 |
//! | `forget_next_key` (*): nodes do not hold the key that replaces theirs | progress |
//! | `rewind_takes_more` (*): a rewind deletes a version that it should keep | determinism, I-KV2 |
//! | `rewind_forgets_signing` (*): a rewind deletes the hard state | rewind |
//! | `replay_differs`: a rewind executes reverts by another rule than the chain | rewind |
//!
//! (*) These need no feature; the others need `mutations`.

/// A rule that is broken on purpose in every correct node, to prove that a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A mutation of the consensus engine.
    #[cfg(feature = "mutations")]
    Engine(consensus::Mutation),
    /// The bytes of every named block are kept (violates I6).
    #[cfg(feature = "mutations")]
    KeepBlocks,
    /// A mutation of the application.
    #[cfg(feature = "mutations")]
    App(app::Mutation),
    /// A mutation of the rules of evidence.
    #[cfg(feature = "mutations")]
    Evidence(replica::EvidenceMutation),
    /// Nodes do not hold the key that replaces theirs.
    ForgetNextKey,
    /// The disks only claim to sync.
    LoseSyncs,
    /// The disks give all earlier versions of a row the value of the newest one (violates I-KV2).
    RewriteHistory,
    /// A rewind also deletes a version of a row that it should keep.
    RewindTakesMore,
    /// A rewind deletes what the store knows about signatures.
    RewindForgetsSigning,
    /// A rewind executes reverts without a new epoch, as no node of the chain did.
    #[cfg(feature = "mutations")]
    ReplayDiffers,
}

impl Mutation {
    /// All mutations, with the names that `--mutation` accepts.
    pub const ALL: &[(&'static str, Self)] = &[
        #[cfg(feature = "mutations")]
        ("skip_lock", Self::Engine(consensus::Mutation::SkipLock)),
        #[cfg(feature = "mutations")]
        ("unlock_on_nil", Self::Engine(consensus::Mutation::UnlockOnNil)),
        #[cfg(feature = "mutations")]
        ("skip_write_ahead", Self::Engine(consensus::Mutation::SkipWriteAhead)),
        #[cfg(feature = "mutations")]
        ("double_sign", Self::Engine(consensus::Mutation::DoubleSign)),
        #[cfg(feature = "mutations")]
        ("weak_commit", Self::Engine(consensus::Mutation::WeakCommit)),
        #[cfg(feature = "mutations")]
        ("keep_verdicts", Self::Engine(consensus::Mutation::KeepVerdicts)),
        #[cfg(feature = "mutations")]
        ("keep_rounds", Self::Engine(consensus::Mutation::KeepRounds)),
        #[cfg(feature = "mutations")]
        ("keep_timeouts", Self::Engine(consensus::Mutation::KeepTimeouts)),
        #[cfg(feature = "mutations")]
        ("keep_blocks", Self::KeepBlocks),
        #[cfg(feature = "mutations")]
        ("log_old_root", Self::App(app::Mutation::LogOldRoot)),
        #[cfg(feature = "mutations")]
        ("restore_less", Self::App(app::Mutation::RestoreLess)),
        #[cfg(feature = "mutations")]
        ("restore_less_again", Self::App(app::Mutation::RestoreLessAgain)),
        #[cfg(feature = "mutations")]
        ("restore_more", Self::App(app::Mutation::RestoreMore)),
        #[cfg(feature = "mutations")]
        ("keep_epoch", Self::App(app::Mutation::KeepEpoch)),
        #[cfg(feature = "mutations")]
        ("third_decides", Self::App(app::Mutation::ThirdDecides)),
        #[cfg(feature = "mutations")]
        ("skip_notice", Self::App(app::Mutation::SkipNotice)),
        #[cfg(feature = "mutations")]
        ("other_digest", Self::App(app::Mutation::OtherDigest)),
        #[cfg(feature = "mutations")]
        ("ignore_freeze", Self::App(app::Mutation::IgnoreFreeze)),
        #[cfg(feature = "mutations")]
        ("several_freezes", Self::App(app::Mutation::SeveralFreezes)),
        #[cfg(feature = "mutations")]
        ("unbond_early", Self::App(app::Mutation::UnbondEarly)),
        #[cfg(feature = "mutations")]
        ("unbond_twice", Self::App(app::Mutation::UnbondTwice)),
        #[cfg(feature = "mutations")]
        ("keep_leaver", Self::App(app::Mutation::KeepLeaver)),
        #[cfg(feature = "mutations")]
        ("any_set_size", Self::App(app::Mutation::AnySetSize)),
        #[cfg(feature = "mutations")]
        ("forgive_double_sign", Self::App(app::Mutation::ForgiveDoubleSign)),
        #[cfg(feature = "mutations")]
        ("pay_kept", Self::App(app::Mutation::PayKept)),
        #[cfg(feature = "mutations")]
        ("keep_set", Self::App(app::Mutation::KeepSet)),
        #[cfg(feature = "mutations")]
        ("params_at_once", Self::App(app::Mutation::ParamsAtOnce)),
        #[cfg(feature = "mutations")]
        ("keep_version", Self::App(app::Mutation::KeepVersion)),
        #[cfg(feature = "mutations")]
        ("no_barrier", Self::App(app::Mutation::NoBarrier)),
        #[cfg(feature = "mutations")]
        ("keep_plan", Self::App(app::Mutation::KeepPlan)),
        #[cfg(feature = "mutations")]
        ("any_program", Self::App(app::Mutation::AnyProgram)),
        #[cfg(feature = "mutations")]
        ("old_key_signs", Self::App(app::Mutation::OldKeySigns)),
        #[cfg(feature = "mutations")]
        ("forget_old_key", Self::App(app::Mutation::ForgetOldKey)),
        #[cfg(feature = "mutations")]
        ("keep_old_key", Self::App(app::Mutation::KeepOldKey)),
        #[cfg(feature = "mutations")]
        ("empty_set", Self::App(app::Mutation::EmptySet)),
        #[cfg(feature = "mutations")]
        ("jailed_signs", Self::App(app::Mutation::JailedSigns)),
        #[cfg(feature = "mutations")]
        ("slash_again", Self::App(app::Mutation::SlashAgain)),
        #[cfg(feature = "mutations")]
        ("no_tombstone", Self::App(app::Mutation::NoTombstone)),
        #[cfg(feature = "mutations")]
        ("slash_other_height", Self::App(app::Mutation::SlashOtherHeight)),
        #[cfg(feature = "mutations")]
        ("forget_departures", Self::App(app::Mutation::ForgetDepartures)),
        #[cfg(feature = "mutations")]
        ("round_burn_up", Self::App(app::Mutation::RoundBurnUp)),
        #[cfg(feature = "mutations")]
        ("keep_price", Self::App(app::Mutation::KeepPrice)),
        #[cfg(feature = "mutations")]
        ("burn_keeps_supply", Self::App(app::Mutation::BurnKeepsSupply)),
        #[cfg(feature = "mutations")]
        ("downtime_by_heights", Self::App(app::Mutation::DowntimeByHeights)),
        #[cfg(feature = "mutations")]
        ("downtime_by_time", Self::App(app::Mutation::DowntimeByTime)),
        #[cfg(feature = "mutations")]
        ("jail_all", Self::App(app::Mutation::JailAll)),
        #[cfg(feature = "mutations")]
        ("round_up", Self::App(app::Mutation::RoundUp)),
        #[cfg(feature = "mutations")]
        ("pay_again", Self::App(app::Mutation::PayAgain)),
        #[cfg(feature = "mutations")]
        ("lose_remainder", Self::App(app::Mutation::LoseRemainder)),
        #[cfg(feature = "mutations")]
        ("round_reward_up", Self::App(app::Mutation::RoundRewardUp)),
        #[cfg(feature = "mutations")]
        ("issue_uncounted", Self::App(app::Mutation::IssueUncounted)),
        #[cfg(feature = "mutations")]
        ("issue_by_height", Self::App(app::Mutation::IssueByHeight)),
        #[cfg(feature = "mutations")]
        ("accept_unverified_evidence", Self::Evidence(replica::EvidenceMutation::AcceptUnverified)),
        #[cfg(feature = "mutations")]
        ("accept_repeated_evidence", Self::Evidence(replica::EvidenceMutation::AcceptRepeated)),
        #[cfg(feature = "mutations")]
        ("accept_expired_evidence", Self::Evidence(replica::EvidenceMutation::AcceptExpired)),
        #[cfg(feature = "mutations")]
        ("accept_named_evidence", Self::Evidence(replica::EvidenceMutation::AcceptNamed)),
        #[cfg(feature = "mutations")]
        ("withhold_evidence", Self::Evidence(replica::EvidenceMutation::Withhold)),
        ("forget_next_key", Self::ForgetNextKey),
        ("lose_syncs", Self::LoseSyncs),
        ("rewrite_history", Self::RewriteHistory),
        ("rewind_takes_more", Self::RewindTakesMore),
        ("rewind_forgets_signing", Self::RewindForgetsSigning),
        #[cfg(feature = "mutations")]
        ("replay_differs", Self::ReplayDiffers),
    ];

    /// Returns the mutation with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, mutation)| *mutation)
    }
}
