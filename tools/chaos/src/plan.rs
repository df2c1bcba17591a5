//! The plan of a run: all faults with their times, which follow from the seed alone.
//!
//! - **P1** A seed has one plan (`plan`: a seed repeats its plan).
//! - **P2** The process or the disk of a validator has one fault at a time (`plan`: no two faults meet in a process).
//! - **P3** A round takes the memory of one validator at most. Before the next round, all validators are at the tip and sign
//!   again. If more than 1/3 of the power forgets an undecided height, that height is never decided
//!   (`docs/operate.md`), so this is no fault that a chain survives (`plan`: one validator forgets in a round).
//! - **P4** At least the wanted number of kills is in the plan.

use std::time::Duration;

use crate::{
    fault::{Fault, Record},
    random::Random,
};

/// A fault, and its time from the beginning of its round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// Time from the beginning of the round.
    pub at: Duration,
    /// The fault that begins at this time.
    pub fault: Fault,
}

/// Faults between two times of calm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Validators of which a backup is taken before the round.
    pub backups: Vec<usize>,
    /// The faults, in the order of their times.
    pub acts: Vec<Act>,
}

/// All faults of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The rounds of the run.
    pub rounds: Vec<Round>,
    /// Index of the round before which the validators plan an upgrade of the program.
    pub upgrade_before: usize,
    /// The validator that runs twice at the end.
    pub liar: usize,
}

/// What a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Seed of all choices.
    pub seed: u64,
    /// Number of validators in the run.
    pub nodes: usize,
    /// Number of rounds in the plan.
    pub rounds: usize,
    /// Minimum number of kills in all rounds.
    pub kills: usize,
    /// Length of a round.
    pub length: Duration,
    /// The validator whose disk is small.
    pub small_disk: usize,
}

/// Kinds of faults that take a part of a validator's memory.
const FORGETTING: [Kind; 5] = [
    Kind::Wipe(Record::Kept),
    Kind::Wipe(Record::Lost),
    Kind::Forget,
    Kind::Restore(Record::Kept),
    Kind::Restore(Record::Lost),
];
/// Kinds of other faults of a process.
const OTHERS: [Kind; 5] = [Kind::Pause, Kind::RestartAll, Kind::Fill, Kind::Clock, Kind::Swap];
/// Kinds of faults of the network.
const NETWORK: [Kind; 6] = [Kind::CutOne, Kind::CutHalf, Kind::Deaf, Kind::Delay, Kind::Lose, Kind::Narrow];

/// Time for which a start keeps a process busy, so that the next fault meets a process that runs.
const START: Duration = Duration::from_millis(1_200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    Pause,
    RestartAll,
    Wipe(Record),
    Forget,
    Restore(Record),
    Fill,
    Clock,
    Swap,
    CutOne,
    CutHalf,
    Deaf,
    Delay,
    Lose,
    Narrow,
}

/// Kinds in a random order, each once before one comes again.
struct Bag {
    all: Vec<Kind>,
    left: Vec<Kind>,
}

impl Bag {
    fn new(all: &[Kind]) -> Self {
        Self { all: all.to_vec(), left: Vec::new() }
    }

    fn draw(&mut self, random: &mut Random) -> Kind {
        if self.left.is_empty() {
            self.left = random.shuffled(self.all.clone());
        }
        self.left.pop().expect("a bag has kinds")
    }
}

impl Plan {
    /// Draws the plan of a shape.
    pub fn draw(shape: Shape) -> Self {
        let mut random = Random::new(shape.seed);
        let [mut forgetting, mut others, mut network] = [&FORGETTING[..], &OTHERS, &NETWORK].map(Bag::new);
        let mut rounds = Vec::with_capacity(shape.rounds);
        let mut kills_left = shape.kills;
        for index in 0..shape.rounds {
            let mut kinds = vec![forgetting.draw(&mut random), others.draw(&mut random), network.draw(&mut random)];
            if random.below(3) > 0 {
                kinds.push(network.draw(&mut random));
            }
            let kills = kills_left.div_ceil(shape.rounds - index);
            kinds.extend(vec![Kind::Kill; kills]);
            let acts = place(&shape, &kinds, &mut random);
            let counted = |act: &Act| match act.fault {
                Fault::RestartAll { .. } => shape.nodes,
                _ if act.fault.process_of().is_some() => usize::from(matches!(act.fault, Fault::Kill { .. })),
                _ => 0,
            };
            kills_left = kills_left.saturating_sub(acts.iter().map(counted).sum());
            rounds.push(Round { backups: Vec::new(), acts });
        }
        let liar = random.below(shape.nodes);
        // Early enough that not every validator has been given the second program by a swap.
        let mut plan = Self { rounds, upgrade_before: (shape.rounds / 3).min(6), liar };
        plan.take_backups_in_time();
        plan
    }

    /// Puts each backup one round before the round that restores it, so that it is old.
    fn take_backups_in_time(&mut self) {
        for index in 0..self.rounds.len() {
            let restored = self.rounds[index].acts.iter().filter_map(|act| match act.fault {
                Fault::Restore { node, .. } => Some(node),
                _ => None,
            });
            let restored: Vec<usize> = restored.collect();
            self.rounds[index.saturating_sub(1)].backups.extend(restored);
        }
    }

    /// Returns one line for each fault, in their order.
    pub fn lines(&self) -> Vec<String> {
        let of_round = |(index, round): (usize, &Round)| -> Vec<String> {
            let line = |act: &Act| format!("round {index} at {:.3} s: {}", act.at.as_secs_f64(), act.fault);
            round.acts.iter().map(line).collect()
        };
        self.rounds.iter().enumerate().flat_map(of_round).collect()
    }
}

/// Gives each kind its parameters and a time, so that no two faults meet in one process.
fn place(shape: &Shape, kinds: &[Kind], random: &mut Random) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    let mut length = shape.length;
    for kind in kinds.iter().filter(|kind| **kind != Kind::RestartAll) {
        loop {
            let act = Act { at: ms(random.between(100, millis(length))), fault: draw(*kind, shape, random) };
            if acts.iter().all(|other| !meet(&act, other)) {
                acts.push(act);
                break;
            }
            length += ms(100); // a round that is too full becomes longer
        }
    }
    if kinds.contains(&Kind::RestartAll) {
        let processes = acts.iter().filter(|act| act.fault.process_of().is_some());
        let at = processes.map(|act| act.at + busy(&act.fault)).max().unwrap_or_default() + ms(random.between(0, 500));
        acts.push(Act { at, fault: Fault::RestartAll { down: ms(random.between(0, 1_500)) } });
    }
    acts.sort_by_key(|act| act.at);
    acts
}

/// Returns true if two faults affect one process at the same time, or if the network has the same kind of fault twice.
fn meet(one: &Act, other: &Act) -> bool {
    let is_same = match (one.fault.process_of(), other.fault.process_of()) {
        (Some(one), Some(other)) => one == other,
        (None, None) => true,
        _ => false,
    };
    is_same && one.at < other.at + busy(&other.fault) && other.at < one.at + busy(&one.fault)
}

/// Returns the time for which a fault occupies a process or the network.
fn busy(fault: &Fault) -> Duration {
    fault.time() + if fault.process_of().is_some() { START } else { ms(200) }
}

fn draw(kind: Kind, shape: &Shape, random: &mut Random) -> Fault {
    let node = random.below(shape.nodes);
    // A fault of the network or a pause lasts for a tenth to a half of a round.
    let time = ms(random.between(millis(shape.length) / 10, millis(shape.length) / 2));
    match kind {
        Kind::Kill => {
            // Half of the kills meet a process that starts again at once.
            let down = if random.below(2) == 0 { random.between(0, 50) } else { random.between(50, 3_000) };
            Fault::Kill { node, down: ms(down) }
        }
        Kind::Pause => Fault::Pause { node, time },
        Kind::RestartAll => Fault::RestartAll { down: time },
        Kind::Wipe(record) => Fault::Wipe { node, record },
        Kind::Forget => Fault::Forget { node },
        Kind::Restore(record) => Fault::Restore { node, record },
        Kind::Fill => Fault::Fill { node: shape.small_disk, time },
        Kind::Clock => {
            let offset_ms = [300, 2_000, 60_000, 3_600_000][random.below(4)];
            Fault::Clock { node, offset_ms: if random.below(2) == 0 { offset_ms } else { -offset_ms }, time }
        }
        Kind::Swap => Fault::Swap { node },
        Kind::CutOne => Fault::Cut { side: vec![node], time },
        Kind::CutHalf => {
            let mut side = random.shuffled((0..shape.nodes).collect());
            side.truncate(shape.nodes / 2);
            side.sort_unstable();
            Fault::Cut { side, time }
        }
        Kind::Deaf => Fault::Deaf { node, time },
        Kind::Delay => Fault::Delay { delay_ms: random.between(5, 150), jitter_ms: random.between(0, 100), time },
        Kind::Lose => Fault::Lose { node, percent: random.between(3, 40), time },
        Kind::Narrow => Fault::Narrow { node, rate: random.between(4_000, 40_000), time },
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn shape(seed: u64) -> Shape {
        Shape { seed, nodes: 5, rounds: 12, kills: 40, length: ms(20_000), small_disk: 1 }
    }

    #[test]
    fn a_seed_repeats_its_plan() {
        assert_eq!(Plan::draw(shape(7)), Plan::draw(shape(7)));
        assert_ne!(Plan::draw(shape(7)).lines(), Plan::draw(shape(8)).lines());
    }

    #[test]
    fn no_two_faults_meet_in_a_process() {
        for seed in 0..50 {
            for round in Plan::draw(shape(seed)).rounds {
                assert!(round.acts.is_sorted_by_key(|act| act.at));
                for (index, one) in round.acts.iter().enumerate() {
                    for other in &round.acts[index + 1..] {
                        let all = |act: &Act| matches!(act.fault, Fault::RestartAll { .. });
                        let is_process = |act: &Act| act.fault.process_of().is_some();
                        assert!(!meet(one, other) || all(one) || all(other), "{seed}: {one:?} {other:?}");
                        if all(other) && is_process(one) {
                            assert!(one.at + busy(&one.fault) <= other.at, "{seed}: {one:?} {other:?}");
                        }
                        assert!(!all(one) || !is_process(other), "{seed}: {one:?} {other:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_validator_forgets_in_a_round_and_enough_are_killed() {
        for seed in 0..50 {
            let plan = Plan::draw(shape(seed));
            let forgets =
                |act: &&Act| matches!(act.fault, Fault::Wipe { .. } | Fault::Forget { .. } | Fault::Restore { .. });
            assert!(plan.rounds.iter().all(|round| round.acts.iter().filter(forgets).count() == 1));
            let kills: usize = plan
                .rounds
                .iter()
                .flat_map(|round| &round.acts)
                .map(|act| match act.fault {
                    Fault::Kill { .. } => 1,
                    Fault::RestartAll { .. } => 5,
                    _ => 0,
                })
                .sum();
            assert!(kills >= 40, "{seed}: {kills}");
        }
    }

    #[test]
    fn each_kind_of_fault_is_in_a_plan_of_six_rounds() {
        for seed in 0..50 {
            let plan = Plan::draw(Shape { rounds: 6, nodes: 4, kills: 8, length: ms(6_000), ..shape(seed) });
            let kinds: BTreeSet<&str> =
                plan.rounds.iter().flat_map(|round| &round.acts).map(|act| act.fault.kind()).collect();
            assert_eq!(kinds.len(), 17, "{seed}: {kinds:?}");
        }
    }

    #[test]
    fn a_backup_is_taken_a_round_before_it_is_restored() {
        let plan = Plan::draw(shape(1));
        for (index, round) in plan.rounds.iter().enumerate() {
            for act in &round.acts {
                if let Fault::Restore { node, .. } = act.fault {
                    assert!(plan.rounds[index.saturating_sub(1)].backups.contains(&node));
                }
            }
        }
    }
}
