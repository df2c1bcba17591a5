//! Proves that the worlds that are drawn from seeds reach what they should: hard rounds, large blocks, each kind of fault; that
//! progress after healing is bounded tightly; and that a failing world can be made smaller.
#![allow(missing_docs)]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use simulator::{Coverage, Less, Life, Mutation, Setup, Story, live_in, shrink, shrink::check_of};

/// Number of worlds whose coverage is measured.
const SEEDS: u64 = 300;

/// Number of worlds that are slowed down.
const SLOW_SEEDS: u64 = 40;

/// Runs the worlds of the first seeds on two threads.
fn lives(seeds: u64, setup_of: impl Fn(u64) -> Setup + Sync) -> Vec<Life> {
    let (next, lives) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let life = live_in(setup_of(seed), Story::default());
                    lives.lock().expect("a world that panics is a life that failed").push(life);
                }
            });
        }
    });
    lives.into_inner().expect("a world that panics is a life that failed")
}

/// The counters that show that a kind of fault occurred.
const KINDS: [&str; 19] = [
    "crashes",
    "cluster_crashes",
    "after_commit",
    "cut_outputs",
    "cut_steps",
    "partitions",
    "one_way",
    "storms",
    "failed_writes",
    "full_disks",
    "slow_disks",
    "old_copies",
    "wipes",
    "jumps",
    "plans",
    "delayed",
    "rewinds",
    "pruned",
    "late",
];

#[test]
fn the_worlds_of_the_first_seeds_come_near_the_goals_with_each_kind_of_fault() {
    let mut coverage = Coverage::default();
    for life in lives(SEEDS, Setup::of_seed) {
        assert_eq!(life.broken, None, "seed {}", life.seed);
        coverage.add(&Setup::of_seed(life.seed), &life.counts);
    }
    for goal in coverage.goals() {
        // The goals are for runs of thousands of seeds; a few hundred may miss them by a quarter.
        assert!(4 * goal.reached >= 3 * goal.wanted, "{goal:?}\n{coverage}");
    }
    for kind in KINDS {
        let count = coverage.counts().named().find(|(name, _)| *name == kind).expect("a counter of this name").1;
        assert!(count > 0, "{kind} never occurred");
    }
    assert!((1..=7).all(|size| coverage.validators().contains_key(&size)), "{coverage}");
}

/// Returns the world of a seed without clients, whose validators decide an empty block each second when nothing disturbs them.
fn at_rest(seed: u64) -> Setup {
    let mut setup = Setup::of_seed(seed);
    setup.tx_interval = None;
    setup.config.empty_block_interval = Some(Duration::from_secs(1));
    setup
}

/// A world in which all takes five times longer than in another one needs five times its time.
#[test]
fn progress_that_is_five_times_slower_would_be_noticed() {
    let lives = lives(SLOW_SEEDS, at_rest);
    for life in &lives {
        assert_eq!(life.broken, None, "seed {}", life.seed);
    }
    let times: Vec<(u64, u64)> =
        lives.iter().map(|life| (life.counts.healing_ms, life.counts.healing_max_ms)).collect();
    let count = times.iter().filter(|(took, bound)| 5 * took > *bound).count() as u64;
    // The others have long timeouts, or validators that may abstain, and need neither at this pace.
    assert!(3 * count > SLOW_SEEDS, "{count} of {SLOW_SEEDS} worlds would be too slow: {times:?}");
}

/// In the first, a peer sent the second block of a liar back to it, and its flaw was taken away. In the second, one validator has most
/// of the power, and decides faster than messages reach the others. In the third, a store was opened between an unsynced prune
/// and a loss of power. In the fourth, the block with evidence pays the last stake of the guilty. In the fifth, no correct node announces the
/// first height.
#[test]
fn worlds_that_failed_once_pass() {
    for seed in [3703, 4713, 9250, 12201, 12785] {
        assert_eq!(live_in(Setup::of_seed(seed), Story::default()).broken, None, "seed {seed}");
    }
}

#[test]
fn a_failing_world_is_made_smaller() {
    let mutation = Mutation::named("double_sign");
    let life = (0..50).map(|seed| live_in(Setup::of_seed(seed).with_mutation(mutation), Story::default()));
    let life = life.into_iter().find(|life| life.broken.is_some()).expect("a double sign is noticed");
    let (seed, broken) = (life.seed, life.broken.expect("it failed"));
    let mut steps = 0;
    let least = shrink(seed, mutation, &Less::default(), |_| steps += 1).expect("the world fails");
    assert!(steps > 0, "nothing can be left out of seed {seed}");
    let (first, small) = (Setup::of_seed(seed), least.of_seed(seed).expect("its names are known"));
    assert!(small.parts().len() < first.parts().len() && small.heights <= first.heights, "{}", least.arguments());
    let again = live_in(small.with_mutation(mutation), Story::default());
    assert_eq!(check_of(&again.broken.expect("the small world fails")), check_of(&broken));
    assert_eq!(shrink(seed, None, &Less::default(), |_| ()), None, "without the mutation the world passes");
}
