//! What a run of many worlds reached, compared with what it should reach: hard rounds, large blocks, sets of all sizes.

use std::{collections::BTreeMap, fmt};

use crate::{setup::Setup, story::Counts};

/// Number of decided heights from which on the shares mean something.
pub const HEIGHTS_MIN: u64 = 1000;

/// A share of the decided heights that a run should reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Property that the heights of the share have.
    pub name: &'static str,
    /// Share that a run should reach, in thousandths.
    pub wanted: u64,
    /// Share that the run reached, in thousandths.
    pub reached: u64,
}

impl Goal {
    /// Returns true if the run reached what it should.
    pub fn is_met(&self) -> bool {
        self.reached >= self.wanted
    }
}

/// Sums over the worlds of a run.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: Counts,
    validators: BTreeMap<usize, u64>,
}

impl Coverage {
    /// Adds a world and what happened in it.
    pub fn add(&mut self, setup: &Setup, counts: &Counts) {
        self.counts.add(counts);
        *self.validators.entry(setup.powers.len()).or_default() += 1;
    }

    /// Returns the sums of all counters.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the number of worlds for each number of validators.
    pub fn validators(&self) -> &BTreeMap<usize, u64> {
        &self.validators
    }

    /// Returns the shares of heights that a run should reach.
    pub fn goals(&self) -> [Goal; 4] {
        let Counts { heights, after_round_1, after_round_3, reproposed, multi_part, .. } = self.counts;
        let goal = |name, wanted, count: u64| Goal {
            name,
            wanted,
            reached: (1000 * count).checked_div(heights).unwrap_or_default(),
        };
        [
            goal("decided in a round above 1", 200, after_round_1),
            goal("decided in a round above 3", 50, after_round_3),
            goal("proposed again with a POL round", 50, reproposed),
            goal("blocks of several parts", 50, multi_part),
        ]
    }

    /// Returns the summary as fields of a JSON object.
    pub fn json(&self) -> String {
        let goal = |goal: &Goal| format!("{:?}:{{\"goal\":{},\"reached\":{}}}", goal.name, goal.wanted, goal.reached);
        let goals: Vec<String> = self.goals().iter().map(goal).collect();
        let sizes: Vec<String> = self.validators.iter().map(|(size, worlds)| format!("\"{size}\":{worlds}")).collect();
        format!("\"thousandths_of_heights\":{{{}}},\"worlds_by_validators\":{{{}}}", goals.join(","), sizes.join(","))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |thousandths: u64| format!("{}.{} %", thousandths / 10, thousandths % 10);
        writeln!(f, "| heights | goal | reached | |")?;
        writeln!(f, "|---|---|---|---|")?;
        for goal in self.goals() {
            let verdict = if self.counts.heights < HEIGHTS_MIN {
                "too few heights"
            } else if goal.is_met() {
                "met"
            } else {
                "missed"
            };
            writeln!(f, "| {} | {} | {} | {verdict} |", goal.name, percent(goal.wanted), percent(goal.reached))?;
        }
        let sizes: Vec<String> = self.validators.iter().map(|(size, worlds)| format!("{size}: {worlds}")).collect();
        write!(f, "worlds by number of validators: {}", sizes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_heights_of_all_worlds() {
        let mut coverage = Coverage::default();
        let one = Counts { heights: 600, after_round_1: 150, largest_block: 9, ..Counts::default() };
        let other = Counts { heights: 400, after_round_1: 49, largest_block: 7, ..Counts::default() };
        coverage.add(&Setup::validators(4), &one);
        coverage.add(&Setup::validators(7), &other);
        let [goal, ..] = coverage.goals();
        assert_eq!((goal.reached, goal.is_met()), (199, false));
        assert_eq!(coverage.counts().largest_block, 9);
        assert_eq!(coverage.validators(), &BTreeMap::from([(4, 1), (7, 1)]));
        assert!(coverage.to_string().contains("| decided in a round above 1 | 20.0 % | 19.9 % | missed |"));
        coverage.add(&Setup::validators(1), &Counts { after_round_1: 1, ..Counts::default() });
        assert!(coverage.goals()[0].is_met());
    }

    #[test]
    fn a_run_without_heights_reaches_nothing() {
        assert!(Coverage::default().goals().iter().all(|goal| goal.reached == 0));
    }
}
