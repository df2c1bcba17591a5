//! Draws worlds from seeds.
//!
//! Each concern is drawn by a generator of its own, seeded by the seed and the concern's name, so that a new concern does not
//! change what the others draw. Whole concerns are switched off in many worlds, and their intensities differ by orders of
//! magnitude, so that each is tested alone and in all mixtures.

use std::time::Duration;

use types::{Timeouts, blake3};

use super::{Setup, StakeEvents};
use crate::{kinds::Faults, liar::Behaviour, machine::Drift, network::LinkSetup, random::Random};

/// Maximum difference between the clocks of correct nodes: below the chain's precision.
pub const SKEW_MAX: Duration = Duration::from_millis(200);

/// Clients move stake in the world of one in this many seeds.
const STAKES_EVERY: u64 = 8;

/// One in this many worlds has 31 validators, and one in this many of those 100.
const LARGE_EVERY: u64 = 400;
const LARGEST_EVERY: u64 = 4;

/// Maximum number of validators in a world with reverts, which has many heights.
const BUSY_VALIDATORS_MAX: usize = 5;

/// Maximum number of validators in most worlds.
const FEW_VALIDATORS_MAX: usize = 7;

/// Maximum number of its heights per thousand whose first rounds the scheduler makes fail.
const BUSY_PLANS_MAX: u32 = 600;

/// Maximum number of validators that violate the protocol in a large world.
const LARGE_LIARS_MAX: usize = 2;

/// Maximum duration of a check of signatures. Liars send many messages, and here the limits for a peer do not protect a node.
const SLOW_CHECK_MAX: Duration = Duration::from_micros(500);

/// Maximum duration that plans give to the faults.
const PLANNED_MAX: Duration = Duration::from_secs(60);

/// Maximum interval between two transactions.
const TX_INTERVAL_MAX: Duration = Duration::from_secs(2);

/// Returns the generator of one concern of a seed.
fn of(seed: u64, concern: &str) -> Random {
    let hash = blake3(concern.as_bytes()).0;
    let bytes = hash.first_chunk().expect("a hash has more than eight bytes");
    Random::new(seed ^ u64::from_le_bytes(*bytes))
}

impl Setup {
    /// Draws a random world from a seed.
    pub fn of_seed(seed: u64) -> Self {
        Self::of_seed_with(seed, None)
    }

    /// Draws a random world from a seed, with this number of validators if one is given.
    pub fn of_seed_with(seed: u64, validators: Option<usize>) -> Self {
        let count = validators.unwrap_or_else(|| draw_count(&mut of(seed, "validators"), seed % STAKES_EVERY == 1));
        let mut setup = Self { seed, ..Self::validators(count) };
        let is_large = count > 20;
        setup.draw_plans(&mut of(seed, "plans"));
        setup.draw_pace(&mut of(seed, "pace"));
        setup.draw_powers(&mut of(seed, "powers"));
        setup.draw_byzantine(&mut of(seed, "byzantine"));
        setup.draw_topology(&mut of(seed, "topology"));
        setup.draw_faults(&mut of(seed, "faults"));
        setup.draw_machines(&mut of(seed, "machines"));
        setup.draw_clients(&mut of(seed, "clients"));
        let random = &mut of(seed, "features");
        setup.heights = if setup.plans > 0 { random.within(3, 7) } else { random.within(4, 10) };
        if !is_large {
            setup = setup.draw_strangers(random);
        }
        if is_large {
            setup.shrink_large();
        } else if seed % STAKES_EVERY == 1 {
            setup = setup.draw_stakes(&mut of(seed, "stakes"));
        } else if count <= BUSY_VALIDATORS_MAX && random.chance(100) {
            setup = setup.draw_reverts(&mut of(seed, "reverts"));
        }
        if !setup.stakes && random.chance(500) {
            setup = setup.with_evidence_of(random.within(1, 5), Duration::from_secs(1));
        }
        setup.spare_late_validators();
        setup.give_plans_time();
        setup
    }

    /// Lets the faults last until the plans for the heights have been carried out, but not without end. There are as many faults and
    /// transactions as without plans.
    fn give_plans_time(&mut self) {
        let t = &self.params.timeouts;
        let rounds = self.plan_rounds;
        let timeouts = t.propose + t.prevote + t.precommit;
        let deltas = t.propose_delta + t.prevote_delta + t.precommit_delta;
        let needed = (timeouts + deltas * rounds / 2) * rounds * self.plans / 1000 * self.heights as u32;
        let needed = needed.min(PLANNED_MAX);
        if needed > self.faults_for {
            let factor = needed.as_secs_f64() / self.faults_for.as_secs_f64();
            self.fault_interval = self.fault_interval.mul_f64(factor);
            self.tx_interval = self.tx_interval.map(|interval| interval.mul_f64(factor).min(TX_INTERVAL_MAX));
            self.faults_for = needed;
        }
    }

    /// Lets no correct validator join late that may crash beside a validator that violates the protocol. It abstains at the
    /// first height that it meets, and seals the next one too if it crashes before it has signed; with the liar, more power
    /// is then missing at that height than may be.
    fn spare_late_validators(&mut self) {
        let validators = self.powers.len();
        if self.faults.can_crash() && self.byzantine.keys().any(|liar| *liar < validators) {
            let byzantine = &self.byzantine;
            self.late.retain(|node| *node >= validators || byzantine.contains_key(node));
        }
    }

    /// Makes a world of many validators cheap: their messages are many, and checks of them must not take long.
    fn shrink_large(&mut self) {
        self.heights = 2;
        self.machines.slow_checks = (0, Duration::ZERO);
        let validators = self.powers.len();
        let kept: Vec<usize> = self.byzantine.keys().copied().take(LARGE_LIARS_MAX).collect();
        self.byzantine.retain(|node, _| *node >= validators || kept.contains(node));
        self.faults_for = self.faults_for.min(Duration::from_secs(5));
        self.fault_interval = self.fault_interval.max(Duration::from_millis(500));
        self.large_txs = 0;
    }

    /// Draws voting powers, from equal to extreme, and the types of the keys.
    fn draw_powers(&mut self, random: &mut Random) {
        let count = self.powers.len();
        match random.below(10) {
            0..3 => self.powers = (0..count).map(|_| random.within(1, 10)).collect(),
            3 => self.powers = (0..count).map(|_| 1 << random.below(10)).collect(),
            _ => {}
        }
        if random.chance(200) {
            self.ed25519 = (0..count).filter(|_| random.chance(500)).collect();
        }
    }

    /// Draws nodes that are not validators, that join late, and that hide behind a sentry.
    fn draw_topology(&mut self, random: &mut Random) {
        let count = self.powers.len();
        self.full_nodes = usize::from(random.chance(300));
        let nodes = count + self.full_nodes;
        if nodes > 1 && random.chance(250) {
            self.late.push(random.index(nodes));
        }
        if nodes > 3 && random.chance(150) {
            let who = random.index(nodes);
            let sentry = (who + 1 + random.index(nodes - 1)) % nodes;
            if !self.byzantine.contains_key(&sentry) {
                self.behind.insert(who, sentry);
            }
        }
    }

    fn draw_faults(&mut self, random: &mut Random) {
        self.faults = if random.chance(50) { Faults::default() } else { Faults::random(random) };
    }

    /// Draws how far clocks and machines are from ideal. All clocks of correct nodes together stay within [`SKEW_MAX`]: constant
    /// offsets, drift and jumps get a third of it each.
    fn draw_machines(&mut self, random: &mut Random) {
        let third = SKEW_MAX / 3;
        let ms = Duration::from_millis;
        self.skew = if random.chance(500) { Duration::ZERO } else { random.duration(ms(1), third) };
        let machines = &mut self.machines;
        if random.chance(300) {
            machines.drift =
                Some(Drift { most: random.duration(ms(1), third), period: random.duration(ms(500), ms(20_000)) });
        }
        machines.jump_max = third / 2;
        if random.chance(300) {
            machines.slow_checks =
                (random.within(100, 600) as u32, random.duration(Duration::from_micros(20), SLOW_CHECK_MAX));
        }
        if random.chance(300) {
            machines.uneven_timers = random.within(50, 400) as u32;
        }
    }

    /// Draws how often the scheduler makes the rounds of a height fail.
    fn draw_plans(&mut self, random: &mut Random) {
        self.plans = if random.chance(200) { 0 } else { random.pick(&[500, 900, 950]) };
        self.plan_rounds = random.pick(&[2, 4, 6]);
    }

    fn draw_clients(&mut self, random: &mut Random) {
        self.tx_interval = Some(random.duration(Duration::from_millis(20), TX_INTERVAL_MAX));
        self.large_txs = if random.chance(400) { 0 } else { random.pick(&[100, 300, 800]) };
    }

    /// Draws the properties of a world in which clients move stake. All its nodes follow the protocol: a liar could otherwise get
    /// a third of the power. So could a validator that never signed, and it abstains at the first height that it meets after a
    /// restart: there is none where nodes crash, are upgraded or fail for long.
    fn draw_stakes(self, random: &mut Random) -> Self {
        let mut setup = self.with_stakes();
        setup.byzantine.clear();
        let validators = setup.powers.len();
        if random.chance(500) {
            setup.faults = setup.faults.only_delays();
        }
        // A validator whose database is older than what it signed abstains for some heights, and may get more than a third of
        // the power meanwhile.
        (setup.faults.old_copies, setup.faults.wipes) = (0, 0);
        setup.stake_events = StakeEvents {
            params: random.chance(600),
            upgrades: random.chance(400),
            rotations: random.chance(500),
            downtime: random.chance(500),
        };
        let StakeEvents { upgrades, downtime, .. } = setup.stake_events;
        let restarts = setup.faults.can_crash() || upgrades || downtime;
        setup.full_nodes = if restarts { 0 } else { random.within(1, 2) as usize };
        setup.late.clear();
        setup.behind.retain(|node, sentry| *node.max(sentry) < validators);
        setup.powers = (0..validators).map(|_| random.within(10, 30)).collect();
        setup.draw_staking(random);
        setup.draw_busy_heights(random);
        setup
    }

    /// Draws the parameters of stake.
    fn draw_staking(&mut self, random: &mut Random) {
        let (ms, validators) = (Duration::from_millis, self.powers.len() as u64);
        if validators > 1 && random.chance(500) {
            self.byzantine.insert(random.index(self.powers.len()), Behaviour::Traitor);
            // It also signs with keys that were replaced.
            self.stake_events.rotations |= random.chance(800);
        }
        let staking = &mut self.params.staking;
        staking.validators_max = random.within(validators, validators + 1);
        staking.issuance_bps_per_year = random.pick(&[0, 10_000]);
        staking.community_bps = random.pick(&[0, 2_000]);
        if self.stake_events.downtime {
            staking.slash_downtime_bps = random.pick(&[1, 333]);
            staking.downtime_window = random.within(4, 10);
            staking.downtime = ms(random.within(200, 1000));
            staking.jail = ms(random.within(200, 1000));
        }
    }

    /// Draws the properties of a world with reverts. Its nodes may delete heights, so that a node with an older database could
    /// lack what all others deleted: there is none.
    fn draw_reverts(self, random: &mut Random) -> Self {
        let mut setup = self.with_reverts();
        setup.params.retain_blocks = random.pick(&[10, 20]);
        setup.faults.rewinds = if random.chance(700) { random.within(1, 4) as u32 } else { 0 };
        setup.faults.prunes = if random.chance(500) { random.within(2, 8) as u32 } else { 0 };
        (setup.faults.old_copies, setup.faults.wipes) = (0, 0);
        setup.draw_busy_heights(random);
        setup
    }

    /// Draws the pace of a world in which clients do much within a few dozen heights.
    fn draw_busy_heights(&mut self, random: &mut Random) {
        let ms = Duration::from_millis;
        self.tx_interval = Some(ms(random.within(20, 60)));
        self.large_txs = random.pick(&[0, 10, 30]);
        self.heights = random.within(20, 40);
        self.plans = self.plans.min(BUSY_PLANS_MAX);
        self.config.empty_block_interval = Some(random.pick(&[ms(50), ms(100), ms(200)]));
        self.config.block_interval_min = random.pick(&[ms(20), ms(50)]);
        self.fault_interval = self.fault_interval.max(ms(200));
        self.faults_for = random.duration(Duration::from_secs(5), Duration::from_secs(20));
    }

    /// Adds nodes without stake that violate the protocol. They join during the phase with faults, and stay.
    fn draw_strangers(self, random: &mut Random) -> Self {
        if !random.chance(300) {
            return self;
        }
        let count = random.pick(&[1, 1, 2, 5]);
        (0..count).fold(self, |setup, _| setup.with_strangers(1, Behaviour::random_stranger(random)))
    }

    /// Draws Byzantine validators, which have less than a third of the power.
    fn draw_byzantine(&mut self, random: &mut Random) {
        if !random.chance(500) {
            return;
        }
        let total: u64 = self.powers.iter().sum();
        let mut power = 0;
        for index in 0..self.powers.len() {
            if 3 * (power + self.powers[index]) < total && random.chance(600) {
                power += self.powers[index];
                self.byzantine.insert(index, Behaviour::random(random));
            }
        }
    }

    /// Draws the speed of the world: links, timeouts and faults have a common scale.
    fn draw_pace(&mut self, random: &mut Random) {
        let ms = Duration::from_millis;
        // Rounds that fail take long: with short timeouts, many of them happen before the faults end.
        let scale = random.pick(if self.plans > 0 { &[1, 1, 1, 4] } else { &[1, 1, 4, 10] });
        let t = |random: &mut Random| ms(random.within(50, 200) * scale);
        let delta = |random: &mut Random| ms(random.within(25, 100) * scale);
        self.params.timeouts = Timeouts {
            propose: t(random),
            propose_delta: delta(random),
            prevote: t(random),
            prevote_delta: delta(random),
            precommit: t(random),
            precommit_delta: delta(random),
        };
        self.config.empty_block_interval = Some(random.pick(&[ms(0), ms(50), ms(50 * scale), ms(1000)]));
        self.config.block_interval_min = random.pick(&[ms(0), ms(0), ms(20 * scale)]);
        if self.powers.len() > FEW_VALIDATORS_MAX {
            // Their messages are many. Without a pause, a node that returns would see hundreds of heights.
            self.config.empty_block_interval = Some(random.pick(&[ms(200), ms(1000)]));
            self.config.block_interval_min = ms(20);
        }
        self.config.gossip_interval = ms(random.within(50, 300) * scale);
        self.config.sync_timeout = ms(random.within(100, 500) * scale);
        self.links = LinkSetup::random(random, ms(20 * scale));
        self.fault_interval = random.duration(ms(20 * scale), ms(300 * scale));
        self.fault_max = ms(random.within(100, 1500) * scale);
        self.faults_for = self.fault_interval * random.within(8, 25) as u32;
    }
}

/// Draws a number of validators. Worlds that are `busy` have many heights, and few validators.
fn draw_count(random: &mut Random, is_busy: bool) -> usize {
    if is_busy {
        return random.pick(&[1, 2, 3, 4, 4, 4, 4, 5, 6, 7]);
    }
    if random.below(LARGE_EVERY) == 0 {
        return if random.below(LARGEST_EVERY) == 0 { 100 } else { 31 };
    }
    match random.below(80) {
        0 => 13,
        1 => random.within(8, 12) as usize,
        _ => random.pick(&[1, 2, 3, 4, 4, 4, 4, 5, 6, 7]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worlds_that_are_drawn_have_less_than_a_third_of_liars() {
        for seed in 0..2000 {
            let setup = Setup::of_seed(seed);
            let total: u64 = setup.powers.iter().sum();
            let liars = setup.byzantine.iter().filter(|(_, behaviour)| **behaviour != Behaviour::Traitor);
            let power: u64 = liars.filter_map(|(node, _)| setup.powers.get(*node)).sum();
            assert!(3 * power < total, "seed {seed}");
        }
    }

    #[test]
    fn worlds_of_all_sizes_are_drawn() {
        let sizes: std::collections::BTreeSet<usize> =
            (0..20_000).map(|seed| draw_count(&mut of(seed, "validators"), false)).collect();
        let expected: Vec<usize> = (1..=13).chain([31, 100]).collect();
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), expected);
    }
}
