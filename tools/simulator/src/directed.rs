//! Directed scenarios: worlds that are led by hand to the place where a broken rule shows.
//!
//! Random worlds reach some of these places in fewer than one of a thousand seeds. Each scenario passes while all rules are in
//! force, and is broken by the mutations that it lists.
//! `cairn-simulator --scenario NAME --mutation NAME` runs one and prints its events.

use crate::{broken::Broken, mutation::Mutation, story::Story};
use stage::Stage;

mod copies;
pub mod evidence;
mod gossip;
mod liars;
pub mod locks;
pub mod memory;
mod puppets;
pub mod stage;
pub mod sync;
mod transactions;

/// A scenario that passes unless a rule is broken.
pub struct Scenario {
    /// Its name, which `--scenario` accepts.
    pub name: &'static str,
    /// Names of the mutations that break it.
    pub breaks: &'static [&'static str],
    run: fn(&Stage) -> Result<(), Broken>,
}

/// All directed scenarios, by topic.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "bad_blocks",
        breaks: &[
            "prevote_invalid",
            "header_version",
            "header_chain",
            "header_validators",
            "header_next_validators",
            "header_params",
            "header_state",
            "header_results",
            "header_time",
            "header_proposer",
            "skip_tx_signatures",
            "skip_precommits",
            "any_data_hash",
            "any_evidence_hash",
            "any_last_commit_hash",
        ],
        run: liars::bad_blocks,
    },
    Scenario { name: "bad_times", breaks: &["accept_untimely", "accept_other_time"], run: liars::bad_times },
    Scenario { name: "bad_parts", breaks: &["any_part"], run: liars::bad_parts },
    Scenario { name: "false_pol_rounds", breaks: &["skip_polka"], run: liars::false_pol_rounds },
    Scenario { name: "forger", breaks: &["any_vote_signature", "signature_of_another"], run: liars::forger },
    Scenario { name: "unsigned", breaks: &["any_proposal_signature"], run: liars::unsigned },
    Scenario { name: "round_flood", breaks: &["skip_for_one"], run: liars::round_flood },
    Scenario { name: "equivocators", breaks: &["ignore_conflicts"], run: liars::equivocators },
    Scenario {
        name: "double_votes",
        breaks: &["ignore_conflicts_in_certificates", "ignore_late_conflicts", "forget_early"],
        run: puppets::double_votes,
    },
    Scenario { name: "double_precommits", breaks: &["trust_last_commits"], run: puppets::precommits_in_decided },
    Scenario {
        name: "double_precommits_fetched",
        breaks: &["trust_fetched_commits"],
        run: puppets::precommits_in_fetched,
    },
    Scenario { name: "later_lock", breaks: &["ignore_later_lock"], run: puppets::later_lock },
    Scenario { name: "both_votes_count", breaks: &["first_vote_only"], run: puppets::both_votes_count },
    Scenario {
        name: "lock_after_a_restart",
        breaks: &["lose_lock", "restore_no_lock", "restore_nothing"],
        run: locks::lock_after_a_restart,
    },
    Scenario { name: "forty_rounds_behind", breaks: &["stay_in_round"], run: locks::forty_rounds_behind },
    Scenario { name: "quiet", breaks: &["keep_parts"], run: gossip::quiet },
    Scenario { name: "behind_a_sentry", breaks: &["no_relay"], run: gossip::behind_a_sentry },
    Scenario { name: "one_holder", breaks: &["no_repair"], run: gossip::one_holder },
    Scenario { name: "sent_again", breaks: &["keep_nonce", "any_digest"], run: transactions::sent_again },
    Scenario { name: "failures", breaks: &["keep_failed", "refund_failed"], run: transactions::failures },
    Scenario { name: "many_wait", breaks: &["forget_waiting", "keep_committed"], run: transactions::many_wait },
    Scenario { name: "one_nonce_twice", breaks: &["skip_recheck"], run: transactions::one_nonce_twice },
    Scenario {
        name: "much_is_lost",
        breaks: &[
            "keep_polka_to_itself",
            "no_precommit_timer",
            "ignore_precommit_timer",
            "count_other_rounds",
            "any_timer",
            "rounds_stay",
            "rounds_one_later",
        ],
        run: liars::much_is_lost,
    },
    Scenario {
        name: "power_fails_often",
        breaks: &[
            "keep_first_state",
            "lower_step",
            "restore_no_messages",
            "skip_sync",
            "tip_first",
            "tip_last",
            "forget_stored_block",
        ],
        run: liars::power_fails_often,
    },
    Scenario {
        name: "quorum_of_nils",
        breaks: &["unlock_on_nil", "ignore_lock", "skip_lock"],
        run: locks::quorum_of_nils,
    },
    Scenario {
        name: "hidden_lock",
        breaks: &["forget_passed_polka", "ignore_certificates"],
        run: locks::hidden_lock_is_shown,
    },
    Scenario { name: "evicted_block", breaks: &["keep_verdicts"], run: locks::evicted_block },
    Scenario { name: "rounds_without_end", breaks: &["keep_rounds"], run: memory::rounds_without_end },
    Scenario { name: "full_blocks_without_end", breaks: &["keep_blocks"], run: memory::full_blocks_without_end },
    Scenario { name: "liar", breaks: &["withhold_evidence", "drop_evidence"], run: evidence::liar },
    Scenario {
        name: "accuser",
        breaks: &["accept_unverified_evidence", "accept_repeated_evidence", "accept_expired_evidence"],
        run: evidence::accuser,
    },
    Scenario { name: "coalition", breaks: &["accept_named_evidence"], run: evidence::coalition },
    Scenario { name: "only_holder", breaks: &["lose_waiting_evidence"], run: evidence::only_holder },
    Scenario { name: "attack", breaks: &["drop_attacks", "withhold_attacks", "blame_all"], run: evidence::attack },
    Scenario { name: "forgotten_lock", breaks: &["ignore_floor", "ignore_abstain"], run: copies::forgotten_lock },
    Scenario { name: "lost_signing_state", breaks: &["sign_at_once"], run: copies::lost_state },
    Scenario {
        name: "false_commit",
        breaks: &["any_commit_signature", "sync_any_commit", "sync_unverified"],
        run: sync::false_signature,
    },
    Scenario { name: "moved_entry", breaks: &["any_commit_index"], run: sync::moved_entry },
    Scenario { name: "short_commit", breaks: &["any_commit_power"], run: sync::short_commit },
    Scenario { name: "false_bytes", breaks: &["sync_any_bytes"], run: sync::false_bytes },
    Scenario { name: "strangers_far_ahead", breaks: &["believe_claims"], run: sync::strangers_far_ahead },
];

impl Scenario {
    /// Returns the scenario with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Returns the first scenario that a mutation of this name breaks.
    pub fn of(mutation: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.breaks.contains(&mutation))
    }

    /// Runs the scenario with a rule that is broken in every correct node.
    ///
    /// Errors: [`Broken`] with the first violated condition.
    pub fn run(&self, mutation: Option<Mutation>, story: Story) -> Result<(), Broken> {
        let _memo = types::Memo::new();
        (self.run)(&Stage::new(mutation, story))
    }
}
