//! Proves that each rule is held by a test: with the rule broken, the named test fails, and its failure says what the
//! table expects; with all rules in force the same tests pass.

use app::{BrokenRule, Mutation};

use super::{decisions, namespaces, proposals, rewards, rotation, slash, stake, trees, uptime};

types::detections! {
    CreateTwice: namespaces::each_refusal_leaves_the_state_unchanged "E_NS_EXISTS";
    FreeNamespace: namespaces::a_namespace_costs_its_deposit_and_a_large_transaction_a_higher_fee "right: 1200";
    BurnDeposit: namespaces::a_namespace_costs_its_deposit_and_a_large_transaction_a_higher_fee "fee_pool: 1200";
    ReuseNumber: namespaces::numbers_are_in_the_order_of_creation_and_lists_in_the_order_of_names "right: [0, 1, 2]";
    OwnedByAll: namespaces::a_namespace_is_created_written_and_read "owner";
    EpochFromZero: namespaces::a_namespace_is_created_written_and_read "E_STALE_EPOCH";

    AnyWriter: namespaces::each_refusal_leaves_the_state_unchanged "E_NOT_WRITER";
    IgnoreFreeze: proposals::more_than_a_third_freezes_until_the_proposal_ends_or_the_time_is_over "E_NS_FROZEN";
    WriteInRevert: proposals::a_revert_returns_the_old_content_and_nothing_else "in the block that reverts it";
    AnyEpoch: namespaces::each_refusal_leaves_the_state_unchanged "E_STALE_EPOCH",
        proposals::a_revert_returns_the_old_content_and_nothing_else "E_STALE_EPOCH";
    PresentIsAbsent: namespaces::each_refusal_leaves_the_state_unchanged "E_CAS: key k exists";
    AbsentIsUnchanged: namespaces::each_refusal_leaves_the_state_unchanged "E_CAS: key x is absent";
    ChangedIsUnchanged: namespaces::each_refusal_leaves_the_state_unchanged "E_CAS: key k changed at height 2";
    ForgetOwnBlock: namespaces::a_condition_sees_changes_of_its_own_block_and_transaction "this transaction changed it";
    AnyConditionHeight: namespaces::a_condition_below_the_window_is_refused "E_HEIGHT_PRUNED";
    AnyKeyCount: namespaces::each_refusal_leaves_the_state_unchanged "E_QUOTA: mine would have 3 of 2 keys";
    AnyByteCount: namespaces::each_refusal_leaves_the_state_unchanged "and 15 of 12 bytes";
    CountReplaced: namespaces::the_size_of_a_namespace_is_that_of_what_it_holds "right: (2, 5)";
    AnyKeySize: namespaces::each_refusal_leaves_the_state_unchanged "an empty key or value cannot be proven";
    AnyValueSize: namespaces::each_refusal_leaves_the_state_unchanged "E_VALUE_SIZE";
    AnyOps: namespaces::each_refusal_leaves_the_state_unchanged "E_TOO_MANY_OPS";
    AnyOldBytes: namespaces::the_old_values_that_a_block_replaces_are_bounded "right: 112";
    KeepFailed: namespaces::each_refusal_leaves_the_state_unchanged "leaves no trace";

    LogOldRoot: namespaces::the_log_keeps_the_roots_of_the_window_and_no_others "the root at height 3";
    KeepRoots: namespaces::the_log_keeps_the_roots_of_the_window_and_no_others "older than the window";
    ForgetRoots: namespaces::the_log_keeps_the_roots_of_the_window_and_no_others "the root of height";
    DeleteAtOnce: namespaces::what_a_block_deletes_from_the_log_is_bounded "right: 2";

    FutureTarget: proposals::every_impossible_proposal_is_refused "E_HEIGHT_FUTURE";
    CrossBarrier: proposals::no_revert_goes_back_before_a_barrier "E_CROSSES_BARRIER",
        proposals::a_revert_that_is_not_possible_any_more_fails_and_changes_nothing "E_CROSSES_BARRIER";
    PrunedTarget: proposals::every_impossible_proposal_is_refused "E_HEIGHT_PRUNED",
        proposals::a_revert_that_is_not_possible_any_more_fails_and_changes_nothing "E_HEIGHT_PRUNED";
    NewerNamespace: proposals::every_impossible_proposal_is_refused "E_NS_NEWER";
    AnyExpectedRoot: proposals::conditions_of_a_proposal_are_checked_when_it_is_opened "E_ROOT_MISMATCH";
    NoChange: proposals::every_impossible_proposal_is_refused "E_NOOP";
    KeepUnchanged: proposals::a_namespace_with_its_old_content_is_left_out "ns did not change since height 4";
    RevertAnyKeys: proposals::a_revert_that_is_too_large_is_refused "E_TOO_LARGE",
        proposals::a_revert_that_is_not_possible_any_more_fails_and_changes_nothing "E_TOO_LARGE";
    RevertAnyBytes: proposals::a_revert_that_is_too_large_is_refused "E_TOO_LARGE";
    CountDifferent: proposals::a_revert_that_is_too_large_is_refused "E_TOO_LARGE";
    IgnoreDirty: proposals::conditions_of_a_proposal_are_checked_when_it_is_opened "E_DIRTY",
        proposals::a_revert_that_is_not_possible_any_more_fails_and_changes_nothing "E_DIRTY";
    AnyOpen: proposals::no_more_proposals_are_open_or_tried_in_a_block_than_allowed "E_TOO_MANY_OPEN";
    AnyTries: proposals::no_more_proposals_are_open_or_tried_in_a_block_than_allowed "a block compares three times";
    NoCooldown: proposals::after_a_revert_a_namespace_is_not_proposed_again_for_a_while "E_COOLDOWN";
    FreeProposal: proposals::a_revert_returns_the_old_content_and_nothing_else "fee and deposit";
    AnyNotice: proposals::every_impossible_proposal_is_refused "E_NOTICE";
    ReuseId: proposals::no_more_proposals_are_open_or_tried_in_a_block_than_allowed "there is no proposal 2";
    OtherDigest: proposals::a_preview_shows_what_a_proposal_would_do_and_what_it_would_not_undo "left: ";
    PreviewForgetsOpen: proposals::a_preview_shows_what_a_proposal_would_do_and_what_it_would_not_undo "E_TOO_MANY_OPEN";

    AnyVoter: proposals::only_operators_vote_and_only_until_a_proposal_is_closed "E_NOT_VALIDATOR";
    VoteOnClosed: proposals::only_operators_vote_and_only_until_a_proposal_is_closed "E_CLOSED";
    FirstVoteStays: proposals::a_vote_replaces_the_earlier_one "right: (0, 10, 40)";
    KeepGoneVotes: decisions::votes_of_validators_that_left_make_room "199 votes are of validators that left";
    TotalOfVoters: proposals::a_revert_returns_the_old_content_and_nothing_else "total=40";
    TwoThirdsDecide: proposals::exactly_two_thirds_decide_nothing "20 of 30";
    ThirdDecides: proposals::a_revert_returns_the_old_content_and_nothing_else "no decision without more than 2/3";
    NeverReject: proposals::more_than_a_third_rejects_and_the_deposit_comes_back "revert.rejected id=1";
    ThirdRejects: proposals::exactly_a_third_neither_freezes_nor_rejects "10 of 30 vote no";
    NeverExpire: proposals::a_proposal_expires_and_its_deposit_comes_back "right: 121";
    ScheduleOverlap: proposals::one_of_two_overlapping_proposals_is_scheduled_and_supersedes_the_other
        "revert.scheduled revert.scheduled";
    SkipNotice: proposals::a_revert_returns_the_old_content_and_nothing_else "at=12000";
    AnyCanceller: proposals::only_operators_vote_and_only_until_a_proposal_is_closed "E_NOT_PROPOSER";
    CancelScheduled: proposals::only_operators_vote_and_only_until_a_proposal_is_closed "E_CLOSED";
    CancelClosed: proposals::only_operators_vote_and_only_until_a_proposal_is_closed "E_CLOSED";
    StayOpen: proposals::no_more_proposals_are_open_or_tried_in_a_block_than_allowed "E_TOO_MANY_OPEN";
    KeepDeposit: proposals::a_revert_returns_the_old_content_and_nothing_else "the deposit came back";
    ReturnLost: decisions::more_than_a_third_with_veto_takes_the_deposit "the deposit is lost";
    NoIsVeto: proposals::more_than_a_third_rejects_and_the_deposit_comes_back "Rejected";
    ThirdVetoes: decisions::exactly_a_third_with_veto_takes_nothing "it comes back";

    SkipActProposed: decisions::parameters_that_would_stop_the_chain_are_refused "E_BAD_PARAMS",
        decisions::an_upgrade_is_planned_once_and_ahead_of_its_height "E_UPGRADE_HEIGHT";
    SkipActCheck: decisions::an_upgrade_is_planned_once_and_ahead_of_its_height "proposal.failed id=2";
    ParamsAtOnce: decisions::parameters_act_in_the_next_block "the block that changes them has the old ones";
    AnyPrice: decisions::parameters_that_would_stop_the_chain_are_refused "E_BAD_PARAMS";
    AnyTxSize: decisions::a_transaction_fits_into_a_block_of_the_largest_set "E_TOO_LARGE";
    KeepSet: decisions::the_set_follows_its_maximum_size "one leaves the set";
    FreezeActs: decisions::only_a_revert_can_freeze "E_NOT_REVERT";
    SpendMore: decisions::the_community_pool_pays_what_it_has "proposal.failed id=2";
    SpendForNothing: decisions::the_community_pool_pays_what_it_has "the supply";
    SeveralPlans: decisions::an_upgrade_is_planned_once_and_ahead_of_its_height "E_UPGRADE_PLANNED";
    AnyUpgradeHeight: decisions::an_upgrade_is_planned_once_and_ahead_of_its_height "E_UPGRADE_HEIGHT";
    UpgradeTwice: decisions::an_upgrade_migrates_the_state_before_the_first_transaction "E_UPGRADE_DONE";
    KeepPlan: decisions::an_upgrade_migrates_the_state_before_the_first_transaction "no plan is left";
    KeepVersion: decisions::an_upgrade_migrates_the_state_before_the_first_transaction "version_app=2";
    NoBarrier: decisions::no_revert_goes_back_before_an_upgrade "E_CROSSES_BARRIER";
    AnyProgram: decisions::a_program_executes_only_the_heights_whose_rules_it_has "Early";

    OneFreezes: proposals::more_than_a_third_freezes_until_the_proposal_ends_or_the_time_is_over "10 of 40";
    ThirdFreezes: proposals::exactly_a_third_neither_freezes_nor_rejects "10 of 30 demand a freeze";
    FreezeAgain: proposals::more_than_a_third_freezes_until_the_proposal_ends_or_the_time_is_over "E_FREEZE_COOLDOWN";
    SeveralFreezes: proposals::a_validator_freezes_for_one_proposal_at_a_time "E_ONE_FREEZE";
    KeepDemands: proposals::a_validator_freezes_for_one_proposal_at_a_time "revert.demand_moved";
    NoPause: proposals::more_than_a_third_freezes_until_the_proposal_ends_or_the_time_is_over "right: Some(";
    LongFreeze: proposals::more_than_a_third_freezes_until_the_proposal_ends_or_the_time_is_over "until=14000";
    FreezePastEnd: proposals::a_freeze_lasts_no_longer_than_its_proposal_can "the voting and the notice";
    NeverUnfreeze: proposals::more_than_a_third_freezes_until_the_proposal_ends_or_the_time_is_over "revert.unfrozen id=1";
    FreezeOutlives: proposals::more_than_a_third_freezes_until_the_proposal_ends_or_the_time_is_over
        "revert.cancelled revert.unfrozen";
    ForgetFreezeEnd: proposals::the_deadline_of_the_host_is_the_earliest_one "the freeze ends";

    SkipRecount: proposals::a_revert_that_is_not_possible_any_more_fails_and_changes_nothing "E_POWER_LOST";
    AnyRoot: proposals::a_revert_that_is_not_possible_any_more_fails_and_changes_nothing "E_ROOT_MISMATCH";
    FailInPart: proposals::a_revert_that_is_not_possible_any_more_fails_and_changes_nothing "E_POWER_LOST";
    ExecuteAll: proposals::a_block_executes_one_revert_and_the_next_block_the_next "revert.executed revert.executed";
    RestoreLess: proposals::a_revert_returns_the_old_content_and_nothing_else "keys=2";
    RestoreLessAgain: proposals::a_revert_to_the_height_before_a_revert_undoes_it "left: ";
    RestoreMore: proposals::a_revert_returns_the_old_content_and_nothing_else "the deposit came back";
    RestoreWrites: proposals::a_revert_returns_the_old_content_and_nothing_else "writes are not undone";
    KeepSizes: proposals::a_revert_returns_the_old_content_and_nothing_else "writes are not undone";
    KeepKeyList: proposals::a_revert_returns_the_old_content_and_nothing_else "the list of keys fits";
    KeepEpoch: proposals::a_revert_returns_the_old_content_and_nothing_else "data_epoch=2";
    NoCooldownSet: proposals::after_a_revert_a_namespace_is_not_proposed_again_for_a_while "E_COOLDOWN";
    NoTaint: proposals::a_revert_returns_the_old_content_and_nothing_else "right: [None, Some(1), Some(1), None, None]";
    ForgetTaints: proposals::the_heights_that_reverts_took_back_are_recorded_for_the_window "(8, 11)";
    KeepTaints: proposals::the_heights_that_reverts_took_back_are_recorded_for_the_window "(5, 8)";
    AnyTaints: proposals::the_oldest_of_many_reverts_in_a_window_share_a_record "the first four became one";
    NeverSupersede: proposals::one_of_two_overlapping_proposals_is_scheduled_and_supersedes_the_other
        "revert.superseded";

    CrowdedEnds: trees::a_write_beside_many_keys_with_equal_first_bits_reads_few_rows "rows are read",
        trees::the_nodes_of_a_bucket_are_stored_while_it_is_crowded "right: [6, 45, 6, 45]";
    KeepDivided: trees::the_nodes_of_a_bucket_are_stored_while_it_is_crowded "left: [6, 45, 45, 45]";

    ValidatorTwice: stake::a_validator_that_cannot_be_created_changes_nothing "E_VALIDATOR_EXISTS";
    AnyKey: stake::a_validator_that_cannot_be_created_changes_nothing "E_KEY_IN_USE",
        rotation::a_rotation_that_is_refused_changes_nothing "E_KEY_IN_USE";
    AnyPossession: stake::a_validator_is_created_and_joins_the_set "E_BAD_POSSESSION",
        rotation::the_new_key_enters_the_set_with_the_power_of_the_old_one "E_BAD_POSSESSION";
    AnyCommission: stake::a_validator_that_cannot_be_created_changes_nothing "E_COMMISSION";
    AnyRise: stake::an_operator_changes_its_validator_within_its_own_bounds "E_COMMISSION";
    NoCommissionPause: stake::an_operator_changes_its_validator_within_its_own_bounds "E_COMMISSION";
    AnyOwnStake: stake::a_validator_that_cannot_be_created_changes_nothing "E_TOO_LITTLE",
        stake::an_operator_changes_its_validator_within_its_own_bounds "E_TOO_LITTLE",
        stake::an_own_stake_below_its_minimum_jails "E_TOO_LITTLE";
    AnyDescription: stake::a_validator_that_cannot_be_created_changes_nothing "E_DESCRIPTION";
    UnjailEarly: stake::a_jail_lasts_until_its_time_and_a_tombstone_for_ever "E_JAILED";
    UnjailTombstoned: stake::a_jail_lasts_until_its_time_and_a_tombstone_for_ever "E_TOMBSTONED";

    RotateTwice: rotation::a_key_is_replaced_once_per_unbonding_time "E_ROTATED";
    OldKeySigns: rotation::the_new_key_enters_the_set_with_the_power_of_the_old_one "the set changes";
    RotateOutside: rotation::a_validator_outside_of_the_set_changes_only_its_record "the set changes";
    ForgetOldKey: rotation::the_old_key_leads_to_its_operator_until_its_evidence_has_expired "whose key it was";
    KeepOldKey: rotation::the_old_key_leads_to_its_operator_until_its_evidence_has_expired "forgotten";
    EndWithOldKey: rotation::a_validator_does_not_end_while_evidence_against_its_old_key_can_come "validator_ended";

    RoundUp: stake::the_worth_of_shares_is_rounded_down "right: [9999, 9999, 9999]";
    DelegateToNothing: stake::shares_that_are_worth_nothing_are_not_sold "E_NO_VALUE";
    AnyPower: stake::stake_of_all_has_no_more_power_than_a_set_may_have "E_TOO_MUCH_POWER";
    AnyAmount: stake::stake_is_paid_the_unbonding_time_after_the_last_height_at_which_it_counted "E_NO_DELEGATION";
    AnyUnbondings: stake::seven_unbondings_of_a_pair_wait_at_once "E_TOO_MANY";
    AnyRedelegations: stake::seven_unbondings_of_a_pair_wait_at_once "E_TOO_MANY";
    IgnoreOwnStake: stake::an_own_stake_below_its_minimum_jails "index out of bounds";
    Transitive: stake::stake_that_arrived_by_redelegation_moves_on_only_after_it_matured "E_TRANSITIVE";
    RedelegateToSelf: stake::stake_that_arrived_by_redelegation_moves_on_only_after_it_matured "E_SAME";
    CancelOthers: stake::an_unbonding_is_cancelled_until_it_matures "E_UNKNOWN";
    CancelMatured: stake::an_unbonding_is_cancelled_until_it_matures "E_MATURED";
    CancelTombstoned: slash::what_unbonds_from_a_validator_that_signed_twice_does_not_return_to_it "E_TOMBSTONED";

    UnbondEarly: stake::stake_is_paid_the_unbonding_time_after_the_last_height_at_which_it_counted
        "nothing is paid before";
    UnbondTwice: stake::stake_is_paid_the_unbonding_time_after_the_last_height_at_which_it_counted "it is paid once";
    PayKept: stake::the_set_is_never_empty "unbonding: 10000";
    ForgetBatchBefore: decisions::stake_that_leaves_after_the_time_was_shortened_waits_for_what_left_before "right";
    MatureAll: stake::a_block_matures_no_more_than_its_bound "right: 1024";
    ForgetQueue: stake::the_queue_names_its_deadline_to_the_host "the next block sets the time";
    KeepLeaver: stake::a_validator_that_loses_all_stake_leaves_and_ends "right: [(51, 0)]";
    JailedSigns: stake::an_own_stake_below_its_minimum_jails "right: [(51, 0)]";
    AnySetSize: stake::the_set_is_the_strongest_by_tokens_and_then_by_operator "four have more";
    EmptySet: stake::the_set_is_never_empty "staking.set_kept";

    ForgiveDoubleSign: slash::a_double_sign_costs_the_fraction_and_the_place_in_the_set_for_ever "tombstoned=true";
    SlashAgain: slash::a_double_sign_is_punished_once_and_an_earlier_one_takes_from_what_has_not_paid "burned=750";
    NoTombstone: slash::a_double_sign_costs_the_fraction_and_the_place_in_the_set_for_ever "right: (11400, true";
    SlashOtherHeight: slash::what_counted_at_the_infraction_pays_wherever_it_unbonds "right: [1000, 950, 950]";
    ForgetKept: slash::what_left_a_validator_that_kept_its_power_pays "burned=500";
    ForgetDepartures: slash::what_counted_at_the_infraction_pays_wherever_it_unbonds "right: [1000, 950, 950]";
    ForgetTarget: slash::redelegated_stake_pays_at_its_target_and_where_it_unbonds_from_there "burned=700";
    ForgetFollowed: slash::redelegated_stake_pays_at_its_target_and_where_it_unbonds_from_there "burned=700";
    ForgetOwnStake: slash::own_stake_that_a_slash_takes_below_its_minimum_jails_in_the_same_block "staking.jailed";
    RoundBurnUp: slash::what_counted_at_the_infraction_pays_wherever_it_unbonds "right: [1000, 950, 950]";
    KeepPrice: slash::a_double_sign_costs_the_fraction_and_the_place_in_the_set_for_ever "right: [9499, 1899]";
    BurnKeepsSupply: slash::a_double_sign_costs_the_fraction_and_the_place_in_the_set_for_ever "the supply";

    DowntimeByHeights: uptime::a_silent_validator_is_jailed_after_half_of_the_window_and_the_time "after 15 s";
    DowntimeByTime: uptime::a_silent_validator_is_jailed_after_half_of_the_window_and_the_time "after 11 misses";
    AllMisses: uptime::misses_are_counted_in_the_window_and_forgotten_after_it "right: 10";
    JailAll: uptime::those_that_are_jailed_in_a_window_have_a_third_of_the_power "one of four";
    KeepWindow: uptime::the_window_starts_empty_when_a_validator_leaves_jail "right: (None, 0)";

    RewardNewSet: rewards::the_income_of_a_height_goes_to_its_set_by_power_after_the_commission "[197, 197]";
    NoCommission: rewards::the_income_of_a_height_goes_to_its_set_by_power_after_the_commission "[124, 124]";
    CommissionOnTop: rewards::the_income_of_a_height_goes_to_its_set_by_power_after_the_commission "[124, 124]",
        rewards::what_a_division_leaves_is_divided_later "ST3";
    RoundRewardUp: rewards::the_income_of_a_height_goes_to_its_set_by_power_after_the_commission "[124, 124]";
    PayAgain: rewards::what_is_due_is_paid_once "ST3";
    ForgetSettle: rewards::a_new_commission_is_that_of_later_income "1 % of 250",
        rewards::shares_change_only_after_their_rewards_are_paid "right: 123";
    SumsEnd: rewards::sums_wrap_around "[247, 247]";
    LoseRemainder: rewards::what_a_division_leaves_is_divided_later "ST3";
    WithdrawNothing: rewards::what_is_due_is_paid_once "the second one has nothing to pay";
    KeepCommission: rewards::a_validator_that_ends_is_paid_its_commission "staking.commission_paid";
    EndEarning: rewards::a_validator_ends_when_it_can_earn_no_more "staking.validator_ended";
    IssueByHeight: rewards::issuance_is_by_block_time_and_its_fractions_add_up "a hundred times 7 ms";
    IssueForPause: rewards::nothing_is_issued_for_the_time_in_which_there_is_no_issuance "it begins to count";
    LoseIssued: rewards::issuance_is_by_block_time_and_its_fractions_add_up "a hundred times 7 ms";
    IssueUncounted: rewards::issuance_is_by_block_time_and_its_fractions_add_up "2094";
    NoCommunity: rewards::the_community_has_its_part_of_all_income "rounded down";
    ForfeitNothing: rewards::shares_that_a_slash_takes_leave_their_rewards_to_the_others "ST3";
}
