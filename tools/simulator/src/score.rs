//! The mutation score: for each broken rule, the checker that notices it first, and the world in which it does.
//!
//! A mutation is first tried in its directed scenario ([`crate::directed`]), if it has one, and otherwise in the worlds of the
//! seeds from 0 on in which its rule matters, until one is broken. The table is in `docs/simulation.md`, which is its only place:
//! `tests/score.rs` runs exactly the world that a row names.

use std::{collections::BTreeMap, fmt};

use crate::{
    directed::Scenario,
    liar::Behaviour,
    mutation::{Mutation, Named},
    run::{ended, live},
    setup::Setup,
    story::Story,
};

/// First and last line of the table in a page, without the rows between them.
pub const BEGIN: &str = "<!-- mutation score: begin -->";
/// The seeds among which worlds for a rare kind of event are looked for.
const SEEDS_MAX: u64 = 5000;

/// The line after the table.
pub const END: &str = "<!-- mutation score: end -->";

/// The world in which a mutation is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The world of this seed.
    Seed(u64),
    /// The directed scenario of this name.
    Scenario(String),
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the mutation.
    pub mutation: String,
    /// What a node does when the rule is broken.
    pub effect: String,
    /// The checker that noticed it; `None` if none did.
    pub checker: Option<String>,
    /// The world in which it did.
    pub place: Option<Place>,
    /// Number of worlds of seeds that were run for it.
    pub worlds: u64,
}

/// Runs a mutation in its directed scenario, or in at most this number of worlds of seeds in which its rule matters.
pub fn score(named: &Named, worlds_max: usize) -> Row {
    let (mutation, effect) = (named.name.clone(), named.effect.to_owned());
    let row = |broken: Option<(String, Place)>, worlds| {
        let (checker, place) = broken.map(|(broken, place)| (checker_of(&broken), place)).unzip();
        Row { mutation: mutation.clone(), effect: effect.clone(), checker, place, worlds }
    };
    if let Some(scenario) = Scenario::of(&named.name)
        && let Some(broken) = broken_in(&Place::Scenario(scenario.name.to_owned()), named.mutation)
    {
        return row(Some((broken, Place::Scenario(scenario.name.to_owned()))), 0);
    }
    let mut worlds = 0;
    let tried = (0..SEEDS_MAX).filter(|seed| matters_in(named, &Setup::of_seed(*seed)));
    for seed in tried.take(worlds_max) {
        worlds += 1;
        if let Some(broken) = broken_in(&Place::Seed(seed), named.mutation)
            && live(seed, None, Story::default()).broken.is_none()
        {
            return row(Some((broken, Place::Seed(seed))), worlds);
        }
    }
    row(None, worlds)
}

/// Returns what is violated in a world in which a rule is broken; `None` if nothing is, or there is no such world.
pub fn broken_in(place: &Place, mutation: Mutation) -> Option<String> {
    match place {
        Place::Seed(seed) => live(*seed, Some(mutation), Story::default()).broken,
        Place::Scenario(name) => {
            let scenario = Scenario::named(name)?;
            ended(|| scenario.run(Some(mutation), Story::default()))
        }
    }
}

/// Returns true if the rule can matter in a world: the others are not tried.
fn matters_in(named: &Named, setup: &Setup) -> bool {
    let (events, has_traitor) = (setup.stake_events, setup.byzantine.values().any(|one| *one == Behaviour::Traitor));
    match named.name.as_str() {
        "keep_timeouts" | "params_at_once" | "keep_set" | "same_params" => events.params,
        "keep_version" | "no_barrier" | "keep_plan" | "any_program" => events.upgrades,
        "old_key_signs" | "forget_old_key" | "keep_old_key" | "forget_next_key" => events.rotations,
        "slash_again" | "no_tombstone" | "slash_other_height" | "forget_departures" | "forgive_double_sign" => {
            has_traitor
        }
        "round_burn_up" | "downtime_by_heights" | "downtime_by_time" | "jail_all" => events.downtime,
        "keep_price" | "burn_keeps_supply" => has_traitor || events.downtime,
        "log_old_root" | "restore_less" | "restore_less_again" | "restore_more" | "keep_epoch" | "third_decides"
        | "skip_notice" | "other_digest" | "ignore_freeze" | "several_freezes" | "rewrite_history" => setup.reverts,
        "rewind_takes_more" | "rewind_forgets_signing" | "replay_differs" => setup.faults.rewinds > 0,
        "unbond_early" | "unbond_twice" | "keep_leaver" | "any_set_size" | "pay_kept" | "empty_set"
        | "jailed_signs" | "round_up" | "pay_again" | "lose_remainder" | "round_reward_up" | "issue_uncounted"
        | "issue_by_height" | "same_set" | "set_too_early" | "newcomer_first" => setup.stakes,
        _ => true,
    }
}

/// Returns the name of the checker that reports a violation: what precedes the first colon, and for an assertion of the
/// validator itself also the rule that it names.
pub fn checker_of(broken: &str) -> String {
    let tag = |text: &str| {
        let tag = text.split_once(':').map(|(tag, _)| tag.trim()).unwrap_or_default();
        let is_plain = tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == ' ');
        let is_tag = is_plain && !tag.is_empty() && tag.len() <= 16 && tag.split(' ').count() <= 2;
        is_tag.then(|| tag.to_owned())
    };
    match broken.strip_prefix("panic: ") {
        Some(text) => tag(text).map_or_else(|| "assertion".to_owned(), |rule| format!("assertion {rule}")),
        None => tag(broken).unwrap_or_else(|| "other".to_owned()),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(seed) => write!(f, "seed {seed}"),
            Self::Scenario(name) => write!(f, "`{name}`"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mutation, effect, checker, place, worlds } = self;
        let checker = checker.as_deref().unwrap_or("none");
        let place = place.as_ref().map_or_else(|| "none".to_owned(), Place::to_string);
        write!(f, "| `{mutation}` | {effect} | {checker} | {place} | {worlds} |")
    }
}

impl Row {
    /// Reads a row of the table, as [`Row`] prints it; `None` for another line.
    pub fn read(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ").collect();
        let [mutation, effect, checker, place, worlds] = cells[..] else { return None };
        let place = match place.strip_prefix("seed ") {
            Some(seed) => Some(Place::Seed(seed.parse().ok()?)),
            None => place.strip_prefix('`').map(|name| Place::Scenario(name.trim_end_matches('`').to_owned())),
        };
        Some(Self {
            mutation: mutation.trim_end_matches('`').to_owned(),
            effect: effect.to_owned(),
            checker: (checker != "none").then(|| checker.to_owned()),
            place,
            worlds: worlds.parse().ok()?,
        })
    }

    /// Reads all rows between the marks of a page.
    pub fn all_of(page: &str) -> Vec<Self> {
        let table = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map_or("", |(table, _)| table);
        table.lines().filter_map(Self::read).collect()
    }
}

/// Returns the table of these rows, with the numbers of mutations for each checker below it.
pub fn table(rows: &[Row]) -> String {
    let mut text = "| mutation | what a node does | checker | world | worlds run |\n|---|---|---|---|---|\n".to_owned();
    rows.iter().for_each(|row| text.push_str(&format!("{row}\n")));
    let noticed = rows.iter().filter(|row| row.checker.is_some()).count();
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().filter_map(|row| row.checker.as_deref()).for_each(|checker| *by.entry(checker).or_default() += 1);
    let by: Vec<String> = by.iter().map(|(checker, count)| format!("{checker} {count}")).collect();
    text.push_str(&format!(
        "\n{noticed} of {} mutations are noticed, by these checkers: {}.\n",
        rows.len(),
        by.join(", ")
    ));
    text
}

/// Returns the page with a new table between its marks; `None` if it lacks them.
pub fn with_table(page: &str, rows: &[Row]) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n{END}{after}", table(rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let row = Row {
            mutation: "skip_lock".to_owned(),
            effect: "Never sets the lock (L38, L39).".to_owned(),
            checker: Some("lock".to_owned()),
            place: Some(Place::Seed(17)),
            worlds: 18,
        };
        let scenario = Row { place: Some(Place::Scenario("hidden_lock".to_owned())), ..row.clone() };
        let missed = Row { checker: None, place: None, ..row.clone() };
        let rows = [row, scenario, missed];
        let page = with_table(&format!("# Page\n{BEGIN}\nold\n{END}\nMore.\n"), &rows).expect("it has the marks");
        assert_eq!(Row::all_of(&page), rows);
        assert!(page.starts_with("# Page\n") && page.ends_with("\nMore.\n") && !page.contains("old"), "{page}");
        assert!(page.contains("2 of 3 mutations are noticed, by these checkers: lock 2."), "{page}");
    }

    #[test]
    fn a_violation_names_its_checker() {
        for (broken, checker) in [
            ("lock: n1 precommitted a block", "lock"),
            ("app hash: agreement: n1 has another one", "app hash"),
            ("panic: I4: the precommit for block", "assertion I4"),
            ("panic: called `Option::unwrap()` on a `None` value", "assertion"),
            ("n1 did something, and no checker has a name for it: this", "other"),
        ] {
            assert_eq!(checker_of(broken), checker, "{broken}");
        }
    }
}
