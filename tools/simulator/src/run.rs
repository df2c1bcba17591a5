//! One complete run of a seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    broken::Broken,
    mutation::Mutation,
    setup::Setup,
    story::{Counts, Story},
    world::World,
};

/// Result of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Seed of the run.
    pub seed: u64,
    /// The violated condition, if there is one.
    pub broken: Option<String>,
    /// Counters of the run.
    pub counts: Counts,
    /// A digest of all events: equal for equal seeds.
    pub hash: [u8; 32],
}

/// Runs the world of a seed. A panic in it also counts as a violated condition.
pub fn live(seed: u64, mutation: Option<Mutation>, story: Story) -> Life {
    live_in(Setup::of_seed(seed).with_mutation(mutation), story)
}

/// Runs a world that is defined by its setup. A panic in it also counts as a violated condition.
pub fn live_in(setup: Setup, story: Story) -> Life {
    let _memo = types::Memo::new();
    let seed = setup.seed;
    let mut world = World::new(setup);
    world.story = story;
    let broken = ended(|| world.live());
    Life { seed, broken, counts: world.counts, hash: world.hash() }
}

/// Returns what is violated in a run; a panic in it also counts.
pub fn ended(run: impl FnOnce() -> Result<(), Broken>) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => None,
        Ok(Err(broken)) => Some(broken.0),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_signature_checks_change_nothing() {
        for seed in [1, 2, 3] {
            let life = live(seed, None, Story::default());
            let mut world = World::new(Setup::of_seed(seed));
            assert_eq!((world.live(), life.broken), (Ok(()), None));
            assert_eq!((world.hash(), world.counts), (life.hash, life.counts));
        }
    }
}
