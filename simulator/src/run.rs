//! One seed, from setup to verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    setup::{Mutation, Setup},
    story::{Counts, Story},
    world::World,
};

/// What became of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its seed.
    pub seed: u64,
    /// The promise that was broken, if one was.
    pub broken: Option<String>,
    /// What happened.
    pub counts: Counts,
    /// A digest of all events: equal for equal seeds.
    pub hash: [u8; 32],
}

/// Lives through a seed's world. A panic in it is a broken promise too.
pub fn live(seed: u64, mutation: Option<Mutation>, story: Story) -> Life {
    let mut world = World::new(Setup::of_seed(seed).with_mutation(mutation));
    world.story = story;
    let ended = catch_unwind(AssertUnwindSafe(|| world.live()));
    let broken = match ended {
        Ok(Ok(())) => None,
        Ok(Err(broken)) => Some(broken.0),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(format!("panic: {}", text.unwrap_or_default()))
        }
    };
    Life { seed, broken, counts: world.counts, hash: world.hash() }
}
