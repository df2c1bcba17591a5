//! The composition of a world: drawn from a seed, or defined by a scenario.

use std::{collections::BTreeMap, time::Duration};

use replica::Config;
use types::{Params, ProposalParams, StakingParams, Synchrony, Timeouts};

use crate::{liar::Behaviour, mutation::Mutation, network::LinkSetup, random::Random};

/// Maximum difference between the clocks of correct nodes: below the chain's precision.
pub const SKEW_MAX: Duration = Duration::from_millis(200);

/// The kinds of faults that occur in a world. Whole kinds are disabled in many worlds, so that each is also tested
/// alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Single nodes lose power or are killed, and restart.
    pub crashes: bool,
    /// All nodes lose power at once.
    pub cluster_crashes: bool,
    /// Nodes lose power right after a decision was announced.
    pub crashes_after_commit: bool,
    /// Groups of nodes cannot communicate with each other.
    pub partitions: bool,
    /// Links carry messages in one direction only.
    pub one_way: bool,
    /// Many messages are lost for some time.
    pub storms: bool,
    /// Writes to disk fail.
    pub failing_writes: bool,
    /// Disk syncs take long.
    pub slow_disks: bool,
    /// Operators rewind the store of a node, also with interruptions.
    pub rewinds: bool,
    /// Nodes delete heights that are below the chain's window.
    pub prunes: bool,
}

impl Faults {
    /// Returns true if processes of correct nodes may end.
    fn can_crash(self) -> bool {
        self.crashes || self.cluster_crashes || self.crashes_after_commit || self.failing_writes
    }

    fn random(random: &mut Random) -> Self {
        let mut on = || random.chance(500);
        Self {
            crashes: on(),
            cluster_crashes: on(),
            crashes_after_commit: on(),
            partitions: on(),
            one_way: on(),
            storms: on(),
            failing_writes: on(),
            slow_disks: on(),
            // Only worlds with reverts have these.
            rewinds: false,
            prunes: false,
        }
    }
}

/// What happens in a world in which stake moves, beside that. Whole kinds are disabled in many worlds, as with [`Faults`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StakeEvents {
    /// Validators decide parameters and payments.
    pub params: bool,
    /// Validators decide upgrades, and operators replace the programs of their nodes.
    pub upgrades: bool,
    /// Operators replace the consensus keys of their validators.
    pub rotations: bool,
    /// Validators are soon jailed when they sign nothing.
    pub downtime: bool,
}

/// The properties of a world.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Seed of all random choices.
    pub seed: u64,
    /// Voting powers, one per validator.
    pub powers: Vec<u64>,
    /// Indices of validators with Ed25519 keys; the others use secp256k1.
    pub ed25519: Vec<usize>,
    /// Number of nodes that are not validators.
    pub full_nodes: usize,
    /// Additional nodes that have the key of a validator, by index: node and validator.
    pub twins: BTreeMap<usize, usize>,
    /// Nodes that violate the protocol, by index; in worlds that are drawn, the validators among them have less than a third
    /// of the power.
    pub byzantine: BTreeMap<usize, Behaviour>,
    /// True if double signs cost nothing.
    pub is_forgiving: bool,
    /// Indices of nodes that join late.
    pub late: Vec<usize>,
    /// Nodes that are connected with one other node only: a validator behind a sentry.
    pub behind: BTreeMap<usize, usize>,
    /// Consensus parameters of the chain.
    pub params: Params,
    /// Settings of all nodes.
    pub config: Config,
    /// Properties of the links.
    pub links: LinkSetup,
    /// Kinds of faults that occur until all faults end.
    pub faults: Faults,
    /// Typical interval between two faults.
    pub fault_interval: Duration,
    /// Maximum duration of a fault.
    pub fault_max: Duration,
    /// Typical interval between two transactions of clients; `None`: there are no clients.
    pub tx_interval: Option<Duration>,
    /// True if clients mostly write to namespaces and propose reverts, and the operators of validators vote on them.
    pub reverts: bool,
    /// True if clients mostly move stake, and nodes that are not validators have keys and become validators.
    pub stakes: bool,
    /// What else happens in a world in which stake moves.
    pub stake_events: StakeEvents,
    /// Maximum difference between the clocks of two nodes.
    pub skew: Duration,
    /// How far the genesis time is ahead of the clocks at the start.
    pub genesis_ahead: Duration,
    /// Additional delay of block parts, compared with other messages.
    pub parts_delay: Duration,
    /// The broken rule, if any.
    pub mutation: Option<Mutation>,
    /// Number of decided heights after which the faults end.
    pub heights: u64,
    /// Maximum duration of the phase with faults.
    pub faults_for: Duration,
}

/// Clients move stake in the world of one in this many seeds.
const STAKES_EVERY: u64 = 8;

impl Setup {
    /// Creates a world of correct validators with equal power on a quiet network.
    pub fn validators(count: usize) -> Self {
        let ms = Duration::from_millis;
        Self {
            seed: 1,
            powers: vec![1; count],
            ed25519: Vec::new(),
            full_nodes: 0,
            twins: BTreeMap::new(),
            byzantine: BTreeMap::new(),
            is_forgiving: false,
            late: Vec::new(),
            behind: BTreeMap::new(),
            params: Params {
                timeouts: Timeouts {
                    propose: ms(400),
                    propose_delta: ms(100),
                    prevote: ms(200),
                    prevote_delta: ms(100),
                    precommit: ms(200),
                    precommit_delta: ms(100),
                },
                synchrony: Synchrony { precision: ms(505), message_delay: Duration::from_secs(15) },
                ..Params::default()
            },
            config: Config {
                empty_block_interval: Some(ms(200)),
                gossip_interval: ms(300),
                sync_timeout: ms(500),
                ..Config::default()
            },
            links: LinkSetup::quiet(),
            faults: Faults::default(),
            fault_interval: ms(200),
            fault_max: Duration::from_secs(2),
            tx_interval: Some(ms(50)),
            reverts: false,
            stakes: false,
            stake_events: StakeEvents::default(),
            skew: Duration::ZERO,
            genesis_ahead: Duration::ZERO,
            parts_delay: Duration::ZERO,
            mutation: None,
            heights: 10,
            faults_for: Duration::from_secs(30),
        }
    }

    /// Adds nodes that are not validators.
    pub fn with_full_nodes(mut self, count: usize) -> Self {
        self.full_nodes = count;
        self
    }

    /// Adds nodes without stake that violate the protocol. They join when they are started.
    pub fn with_strangers(mut self, count: usize, behaviour: Behaviour) -> Self {
        let first = self.powers.len() + self.full_nodes;
        self.full_nodes += count;
        for index in first..first + count {
            self.byzantine.insert(index, behaviour);
            self.late.push(index);
        }
        self
    }

    /// Adds a second process with the key of a validator. Neither of the two is expected to be correct.
    pub fn with_twin(mut self, validator: usize) -> Self {
        let twin = self.powers.len() + self.full_nodes;
        self.full_nodes += 1;
        self.twins.insert(twin, validator);
        self.with_byzantine(validator, Behaviour::Twin).with_byzantine(twin, Behaviour::Twin)
    }

    /// Makes a validator Byzantine.
    pub fn with_byzantine(mut self, index: usize, behaviour: Behaviour) -> Self {
        self.byzantine.insert(index, behaviour);
        self
    }

    /// Creates a world whose last validators violate the protocol together, whatever their power is. From more than a third of
    /// the power on they may break agreement; with exactly a third they can only stop the chain.
    pub fn with_coalition(correct: &[u64], coalition: &[u64], behaviour: Behaviour) -> Self {
        let powers = [correct, coalition].concat();
        let members = correct.len()..powers.len();
        let setup = Self { powers, ..Self::validators(members.end) };
        members.fold(setup, |setup, index| setup.with_byzantine(index, behaviour))
    }

    /// Sets the rule that is broken in every correct node.
    pub fn with_mutation(mut self, mutation: Option<Mutation>) -> Self {
        self.mutation = mutation;
        self
    }

    /// Draws a random world from a seed.
    pub fn of_seed(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let count = random.pick(&[1, 2, 3, 4, 4, 4, 4, 5, 6, 7]);
        let mut setup = Self { seed, ..Self::validators(count) };
        if random.chance(300) {
            setup.powers = (0..count).map(|_| random.within(1, 10)).collect();
        }
        setup.full_nodes = usize::from(random.chance(300));
        setup.draw_byzantine(random);
        let nodes = count + setup.full_nodes;
        if nodes > 1 && random.chance(250) {
            setup.late.push(random.index(nodes));
        }
        if nodes > 3 && random.chance(150) {
            let who = random.index(nodes);
            let sentry = (who + 1 + random.index(nodes - 1)) % nodes;
            if !setup.byzantine.contains_key(&sentry) {
                setup.behind.insert(who, sentry);
            }
        }
        setup.draw_pace(random);
        setup.faults = if random.chance(50) { Faults::default() } else { Faults::random(random) };
        setup.skew =
            if random.chance(500) { Duration::ZERO } else { random.duration(Duration::from_millis(1), SKEW_MAX) };
        setup.tx_interval = Some(random.duration(Duration::from_millis(20), Duration::from_secs(2)));
        setup.heights = random.within(4, 10);
        setup = setup.draw_strangers(random);
        let mut setup = if random.chance(200) { setup.draw_reverts(random) } else { setup };
        if random.chance(500) {
            setup = setup.with_evidence_of(random.within(1, 5), Duration::from_secs(1));
        }
        if !setup.reverts && seed % STAKES_EVERY == 1 {
            setup = setup.draw_stakes(&mut Random::new(seed ^ 0x57A6E));
        }
        setup.spare_late_validators();
        setup
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

    /// Makes evidence expire when it is older than both.
    pub fn with_evidence_of(mut self, heights: u64, age: Duration) -> Self {
        (self.params.evidence.age_heights_max, self.params.evidence.age_max) = (heights, age);
        self
    }

    /// Lets double signs cost nothing, so that liars stay in the set and repeat what they do. It needs the feature `mutations`.
    pub fn forgiving(mut self) -> Self {
        self.is_forgiving = true;
        self
    }

    /// Makes clients propose reverts. Proposals have short times, so that many are decided within a few dozen heights.
    pub fn with_reverts(mut self) -> Self {
        let ms = Duration::from_millis;
        self.reverts = true;
        self.params.retain_blocks = 20;
        self.params.proposals = ProposalParams {
            deposit: 100,
            open_max: 3,
            voting: ms(2000),
            notice_min: ms(200),
            freeze_max: ms(1000),
            cooldown: ms(300),
            revert_keys_max: 12,
            revert_bytes_max: 400,
        };
        self
    }

    /// Makes clients move stake, so that validators come and go within a few dozen heights.
    pub fn with_stakes(mut self) -> Self {
        self.stakes = true;
        self.params.staking = StakingParams {
            power_unit: 10_000,
            unbonding: Duration::from_millis(1500),
            own_stake_min: 10_000,
            ..self.params.staking
        };
        self.params.proposals = ProposalParams {
            deposit: 100,
            voting: Duration::from_millis(1500),
            notice_min: Duration::ZERO,
            ..self.params.proposals
        };
        self.with_evidence_of(5, Duration::from_secs(1))
    }

    /// Draws the properties of a world in which clients move stake. All its nodes follow the protocol: a liar could otherwise get
    /// a third of the power. So could a validator that never signed, and it abstains at the first height that it meets after a
    /// restart: there is none where nodes crash, are upgraded or fail for long.
    fn draw_stakes(self, random: &mut Random) -> Self {
        let mut setup = self.with_stakes();
        setup.byzantine.clear();
        let validators = setup.powers.len();
        if random.chance(500) {
            let Faults { partitions, one_way, storms, slow_disks, .. } = setup.faults;
            setup.faults = Faults { partitions, one_way, storms, slow_disks, ..Faults::default() };
        }
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
        if validators > 1 && random.chance(400) {
            self.byzantine.insert(random.index(self.powers.len()), Behaviour::Traitor);
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

    /// Draws the properties of a world with reverts. They come last, so that the other worlds do not depend on them.
    fn draw_reverts(self, random: &mut Random) -> Self {
        let mut setup = self.with_reverts();
        setup.faults.rewinds = random.chance(700);
        setup.faults.prunes = random.chance(500);
        setup.draw_busy_heights(random);
        setup
    }

    /// Draws the pace of a world in which clients do much within a few dozen heights.
    fn draw_busy_heights(&mut self, random: &mut Random) {
        let ms = Duration::from_millis;
        self.tx_interval = Some(ms(random.within(20, 60)));
        self.heights = random.within(20, 40);
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
        let scale = random.pick(&[1, 1, 4, 10]);
        let t = |random: &mut Random| ms(random.within(50, 200) * scale);
        self.params.timeouts = Timeouts {
            propose: t(random),
            propose_delta: t(random) / 2,
            prevote: t(random),
            prevote_delta: t(random) / 2,
            precommit: t(random),
            precommit_delta: t(random) / 2,
        };
        for timeout in [
            &mut self.params.timeouts.propose_delta,
            &mut self.params.timeouts.prevote_delta,
            &mut self.params.timeouts.precommit_delta,
        ] {
            *timeout = ms(timeout.as_millis() as u64);
        }
        self.config.empty_block_interval = Some(random.pick(&[ms(0), ms(50), ms(50 * scale), ms(1000)]));
        self.config.block_interval_min = random.pick(&[ms(0), ms(0), ms(20 * scale)]);
        self.config.gossip_interval = ms(random.within(50, 300) * scale);
        self.config.sync_timeout = ms(random.within(100, 500) * scale);
        self.links = LinkSetup::random(random, ms(20 * scale));
        self.fault_interval = random.duration(ms(20 * scale), ms(300 * scale));
        self.fault_max = ms(random.within(100, 1500) * scale);
        self.faults_for = self.fault_interval * random.within(8, 25) as u32;
    }
}
