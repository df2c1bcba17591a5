//! Messages about stake, for a chain with validators.
#![allow(dead_code, missing_docs)]

use app::{StakedValidator, View};
use types::{
    Address, Commission, ConsensusKey, Description, Event, EvidenceParams, Hash, Height, KeyRotate, Misbehavior,
    MisbehaviorKind, Msg, Params, Power, StakeMsg, StakingParams, Time, ValidatorCreate, possession_message,
};

use super::{
    chain_id, key,
    net::{Net, seconds},
};

/// Stake that gives a power of 1 on these chains.
pub const UNIT: u64 = 1000;

/// Parameters with an unbonding time of 10 seconds. All income is the community's, so that these tests have no rewards.
pub fn params(validators_max: u64) -> Params {
    Params {
        evidence: EvidenceParams { age_max: seconds(5), ..EvidenceParams::default() },
        staking: StakingParams {
            power_unit: UNIT,
            validators_max,
            unbonding: seconds(10),
            commission_bps_min: 100,
            commission_bps_max: 5000,
            own_stake_min: 500,
            issuance_bps_per_year: 0,
            community_bps: 10_000,
            ..StakingParams::default()
        },
        ..super::net::params()
    }
}

/// A chain whose four validators have a power of 10 each, with operators of the keys 51 to 54.
pub fn net(validators_max: u64) -> Net {
    Net::with(&params(validators_max))
}

/// The address of an account.
pub fn of(seed: u8) -> Address {
    super::address(seed)
}

/// A new validator of the account `seed`, whose consensus key is that of `200 + seed`.
pub fn new_validator(seed: u8, amount: u64) -> ValidatorCreate {
    let consensus = key(200 + seed);
    ValidatorCreate {
        public_key: consensus.public_key().into(),
        possession: consensus.sign_message(&possession_message(&chain_id(), &of(seed))),
        amount,
        commission: Commission { rate_bps: 500, max_bps: 2000, rise_max_bps: 300 },
        own_min: 500,
        description: Description { moniker: format!("v{seed}"), ..Description::default() },
    }
}

pub fn create_of(create: ValidatorCreate) -> Msg {
    Msg::Stake(StakeMsg::Create(Box::new(create)))
}

pub fn create_validator(seed: u8, amount: u64) -> Msg {
    create_of(new_validator(seed, amount))
}

pub fn delegate(validator: u8, amount: u64) -> Msg {
    Msg::Stake(StakeMsg::Delegate { validator: of(validator), amount })
}

pub fn undelegate(validator: u8, amount: u64) -> Msg {
    Msg::Stake(StakeMsg::Undelegate { validator: of(validator), amount: Some(amount) })
}

pub fn undelegate_all(validator: u8) -> Msg {
    Msg::Stake(StakeMsg::Undelegate { validator: of(validator), amount: None })
}

pub fn cancel_unbonding(validator: u8, id: u64, amount: u64) -> Msg {
    Msg::Stake(StakeMsg::Cancel { validator: of(validator), id, amount })
}

pub fn redelegate(from: u8, to: u8, amount: u64) -> Msg {
    Msg::Stake(StakeMsg::Redelegate { from: of(from), to: of(to), amount })
}

pub fn withdraw(validator: u8) -> Msg {
    Msg::Stake(StakeMsg::WithdrawRewards { validator: of(validator) })
}

pub fn withdraw_commission() -> Msg {
    Msg::Stake(StakeMsg::WithdrawCommission)
}

pub fn unjail() -> Msg {
    Msg::Stake(StakeMsg::Unjail)
}

/// A double sign of the validator of the operator `seed`, which had this power at that height.
pub fn double_sign(seed: u8, height: u64, power: u64) -> Misbehavior {
    let consensus = if seed > 50 { seed + 50 } else { seed + 200 };
    Misbehavior {
        kind: MisbehaviorKind::DuplicateVote,
        validator: super::address(consensus),
        height: Height(height),
        time: Time::from_unix_millis(1000 * height),
        power: Power(power),
        total_power: Power(40),
        evidence: Hash([height as u8; 32]),
    }
}

/// Replaces the consensus key of the validator of an account by that of the seed `consensus`.
pub fn rotate_key(seed: u8, consensus: u8) -> Msg {
    rotate_with(key(consensus), &of(seed))
}

/// As [`rotate_key`], with a possession that was signed for this operator.
pub fn rotate_with(consensus: types::SecretKey, operator: &Address) -> Msg {
    let possession = consensus.sign_message(&possession_message(&chain_id(), operator));
    Msg::Stake(StakeMsg::RotateKey(Box::new(KeyRotate { public_key: consensus.public_key().into(), possession })))
}

impl Net {
    /// Executes an empty block with evidence of these double signs, and returns its events.
    pub fn accuse(&mut self, misbehavior: &[Misbehavior]) -> Vec<Event> {
        self.chain.misbehavior = misbehavior.to_vec();
        self.empty()
    }

    /// Executes an empty block in whose last commit the validators of these operators are absent, and returns its events.
    pub fn without(&mut self, operators: &[u8]) -> Vec<Event> {
        self.chain.absent = operators.iter().map(|seed| super::address(seed + 50)).collect();
        self.empty()
    }

    pub fn validator(&self, seed: u8) -> StakedValidator {
        View::of_state(&self.chain.rows).validator(&of(seed)).expect("the validator exists")
    }

    /// Returns the changes of the set by the last block: seed of the operator's key and power, ascending.
    pub fn changes(&self) -> Vec<(u8, u64)> {
        let operator = |update: &types::ValidatorUpdate| {
            let is_key = |seed: u8| update.public_key == key(seed).public_key();
            let first = (51_u8..55).find(|operator| is_key(operator + 50));
            first.or_else(|| (1..10).find(|operator| is_key(operator + 200))).expect("a known key")
        };
        let mut changes: Vec<_> = self.chain.updates.iter().map(|update| (operator(update), update.power.0)).collect();
        changes.sort_unstable();
        changes
    }

    pub fn power_total(&self) -> Power {
        View::of_state(&self.chain.rows).power_total()
    }
}
