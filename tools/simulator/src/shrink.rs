//! Makes the world of a failing seed small: fewer kinds of faults, fewer heights, fewer validators, as long as the same check
//! fails.

use crate::{
    mutation::Mutation,
    run::{Life, live_in},
    setup::Setup,
    story::Story,
};

/// Maximum number of times that all parts are tried again.
const PASSES_MAX: usize = 3;

/// What is left out of the world of a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Less {
    /// Names of the parts that are left out.
    pub without: Vec<String>,
    /// Number of heights with faults, if it differs from that of the seed.
    pub heights: Option<u64>,
    /// Number of validators, if it differs from that of the seed.
    pub validators: Option<usize>,
}

impl Less {
    /// Returns the world of a seed without what is left out.
    ///
    /// Errors: the name of a part that no world has.
    pub fn of_seed(&self, seed: u64) -> Result<Setup, String> {
        let mut setup = Setup::of_seed_with(seed, self.validators);
        for name in &self.without {
            if !setup.leave_out(name) {
                return Err(format!(
                    "--without {name}: no world has such a part; --seed {seed} prints those that it has"
                ));
            }
        }
        setup.heights = self.heights.unwrap_or(setup.heights);
        Ok(setup)
    }

    /// Returns the arguments with which the program leaves out the same.
    pub fn arguments(&self) -> String {
        let mut text = String::new();
        if !self.without.is_empty() {
            text.push_str(&format!(" --without {}", self.without.join(",")));
        }
        if let Some(heights) = self.heights {
            text.push_str(&format!(" --heights {heights}"));
        }
        if let Some(validators) = self.validators {
            text.push_str(&format!(" --validators {validators}"));
        }
        text
    }

    fn and_without(&self, part: &str) -> Self {
        let mut less = self.clone();
        less.without.push(part.to_owned());
        less
    }

    fn live(&self, seed: u64, mutation: Option<Mutation>) -> Option<Life> {
        Some(live_in(self.of_seed(seed).ok()?.with_mutation(mutation), Story::default()))
    }
}

/// Returns the name of the check that failed.
pub fn check_of(broken: &str) -> &str {
    broken.split_once(':').map_or(broken, |(check, _)| check)
}

/// Leaves out as much as possible of the world of a seed, so that the same check still fails. `first` is what is left out already;
/// `on_step` is called with each smaller world. Returns `None` if the world does not fail.
pub fn shrink(seed: u64, mutation: Option<Mutation>, first: &Less, mut on_step: impl FnMut(&Less)) -> Option<Less> {
    let broken = first.live(seed, mutation)?.broken?;
    let check = check_of(&broken).to_owned();
    let fails = |less: &Less| {
        let life = less.live(seed, mutation)?;
        life.broken.filter(|broken| check_of(broken) == check)
    };
    let mut best = first.clone();
    for _ in 0..PASSES_MAX {
        let before = best.clone();
        let setup = best.of_seed(seed).expect("these parts have been left out before");
        let mut tried: Vec<Less> =
            (1..setup.powers.len()).map(|count| Less { validators: Some(count), ..best.clone() }).collect();
        tried.truncate(12);
        if let Some(less) = tried.into_iter().find(|less| fails(less).is_some()) {
            on_step(&less);
            best = less;
        }
        for part in best.of_seed(seed).expect("these parts have been left out before").parts() {
            let less = best.and_without(part);
            if fails(&less).is_some() {
                on_step(&less);
                best = less;
            }
        }
        let heights = best.of_seed(seed).expect("these parts have been left out before").heights;
        let fewer = (1..heights)
            .map(|heights| Less { heights: Some(heights), ..best.clone() })
            .find(|less| fails(less).is_some());
        if let Some(less) = fewer {
            on_step(&less);
            best = less;
        }
        if best == before {
            break;
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_all_that_is_left_out() {
        assert_eq!(Less::default().arguments(), "");
        let less =
            Less { without: vec!["crashes".to_owned(), "storms".to_owned()], heights: Some(3), validators: Some(2) };
        assert_eq!(less.arguments(), " --without crashes,storms --heights 3 --validators 2");
        let setup = less.of_seed(7).unwrap();
        assert_eq!((setup.faults.crashes, setup.heights, setup.powers.len()), (0, 3, 2));
        assert!(less.and_without("rain").of_seed(7).unwrap_err().contains("--without rain"));
    }

    #[test]
    fn a_check_is_named_before_the_colon() {
        assert_eq!(check_of("I1: n2 signs twice: at 3/0"), "I1");
        assert_eq!(check_of("nothing"), "nothing");
    }
}
