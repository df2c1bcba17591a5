//! The composition of a world: drawn from a seed, or defined by a scenario.

use std::{collections::BTreeMap, time::Duration};

use replica::Config;
use types::{Params, ProposalParams, StakingParams, Synchrony, Timeouts};

use crate::{kinds::Faults, liar::Behaviour, machine::MachineSetup, mutation::Mutation, network::LinkSetup};

mod draw;
mod parts;

pub use draw::SKEW_MAX;

/// What happens in a world in which stake moves, beside that. Whole kinds are disabled in many worlds, as with
/// [`Faults`].
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
    /// Maximum constant difference between the clocks of two nodes.
    pub skew: Duration,
    /// How far the machines are from ideal ones.
    pub machines: MachineSetup,
    /// Number of heights per thousand whose first rounds the scheduler makes fail.
    pub plans: u32,
    /// Maximum number of rounds that the scheduler makes fail at such a height.
    pub plan_rounds: u32,
    /// Number of transactions per thousand that are large.
    pub large_txs: u32,
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
            machines: MachineSetup::default(),
            plans: 0,
            plan_rounds: 1,
            large_txs: 0,
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
}
