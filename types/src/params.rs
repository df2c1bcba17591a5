//! Parameters that every node of a chain shares. They are part of genesis and of the state, so the app hash commits to
//! them. The bounds of a block also have their own hash in each header.

use std::time::Duration;

use prost::Message;
use thiserror::Error;

use crate::{
    Block, Hash,
    limits::{BLOCK_BYTES_MAX, DOWNTIME_WINDOW_MAX, PROPOSAL_STEP_S_MAX, PROPOSALS_OPEN_MAX, VALIDATORS_MAX},
    pb, sha256,
    wire::{DecodeError, Wire},
};

/// All parameters of a chain. Changes made at height H take effect at H + 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Bounds of a block.
    pub block: BlockParams,
    /// Maximum age and size of evidence.
    pub evidence: EvidenceParams,
    /// Version of the application's rules.
    pub version_app: u64,
    /// Upper bounds of the timeouts; nodes adapt below them.
    pub timeouts: Timeouts,
    /// Bounds within which a proposal is timely.
    pub synchrony: Synchrony,
    /// Number of heights whose blocks and history every node keeps.
    pub retain_blocks: u64,
    /// Maximum time from a block to the expiry of an unordered transaction in it, in whole milliseconds.
    pub tx_ttl_max: Duration,
    /// Minimum fee of a transaction of less than 1 KiB.
    pub fee_min: u64,
    /// Amount by which the minimum fee grows for each full KiB of a transaction.
    pub fee_per_kib: u64,
    /// Price of a namespace. Its creator pays it, and it is not returned.
    pub ns_deposit: u64,
    /// Bounds of proposals to the validators, and of the reverts that they decide.
    pub proposals: ProposalParams,
    /// Bounds of validators and of the stake behind them.
    pub staking: StakingParams,
}

/// Bounds of validators and of the stake behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StakingParams {
    /// Amount of stake that gives a power of 1.
    pub power_unit: u64,
    /// Maximum number of validators in a set.
    pub validators_max: u64,
    /// Time for which stake stays locked after the last height at which it counted, in whole milliseconds of block time.
    /// It is longer than the maximum age of evidence.
    pub unbonding: Duration,
    /// Minimum share of the rewards that an operator keeps, in hundredths of a percent.
    pub commission_bps_min: u64,
    /// Maximum share of the rewards that an operator keeps, in hundredths of a percent.
    pub commission_bps_max: u64,
    /// Minimum stake of an operator behind its own validator.
    pub own_stake_min: u64,
    /// Share of the stake that a validator loses that signed twice, in hundredths of a percent.
    pub slash_duplicate_vote_bps: u64,
    /// Share of the stake that a validator loses that was absent for too long, in hundredths of a percent.
    pub slash_downtime_bps: u64,
    /// Number of the latest heights of which a validator may miss half.
    pub downtime_window: u64,
    /// Time without a signature after which a validator is absent for too long.
    pub downtime: Duration,
    /// Time for which it is in jail then.
    pub jail: Duration,
    /// Part of the supply that is issued in a year of block time, in hundredths of a percent. It is income of the validators.
    pub issuance_bps_per_year: u64,
    /// Part of all income that goes to the community pool, in hundredths of a percent.
    pub community_bps: u64,
}

/// Bounds of proposals to the validators, and of the reverts that they decide. Durations are block time in whole
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposalParams {
    /// Amount that a proposal's author deposits. It is returned, unless more than 1/3 of the power votes no with veto.
    pub deposit: u64,
    /// Maximum number of open proposals.
    pub open_max: u64,
    /// Time in which validators vote.
    pub voting: Duration,
    /// Minimum time between a decision and its execution.
    pub notice_min: Duration,
    /// Maximum time for which one proposal freezes its namespaces.
    pub freeze_max: Duration,
    /// Time after a revert until its namespaces may be in another proposal, and after a freeze until they may be
    /// frozen again.
    pub cooldown: Duration,
    /// Maximum number of keys that changed in the scope of a revert since its target.
    pub revert_keys_max: u64,
    /// Maximum bytes of these keys, with their values at the target and now.
    pub revert_bytes_max: u64,
}

/// Bounds of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockParams {
    /// Maximum bytes of an encoded block.
    pub bytes_max: u64,
    /// Maximum gas of a block; −1 means no bound. A message costs 1 gas, a write to a namespace 1 per operation.
    pub gas_max: i64,
}

/// Bounds of evidence. Evidence is too old if both age bounds are exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceParams {
    /// Maximum age in heights.
    pub age_heights_max: u64,
    /// Maximum age in time.
    pub age_max: Duration,
    /// Maximum bytes of evidence in a block.
    pub bytes_max: u64,
}

/// Timeouts in whole milliseconds: `timeout(round) = base + delta · round`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Base of the wait for a proposal.
    pub propose: Duration,
    /// Increase of the propose timeout per round.
    pub propose_delta: Duration,
    /// Base of the wait for more prevotes, after a quorum of prevotes for any values.
    pub prevote: Duration,
    /// Increase of the prevote timeout per round.
    pub prevote_delta: Duration,
    /// Base of the wait for more precommits, after a quorum of precommits for any values.
    pub precommit: Duration,
    /// Increase of the precommit timeout per round.
    pub precommit_delta: Duration,
}

/// Proposer-based timestamps: bounds within which a proposal is timely, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synchrony {
    /// Maximum difference between the clocks of correct nodes.
    pub precision: Duration,
    /// Maximum transmission time of a proposal in round 0; it grows by a factor of 1.1 per round.
    pub message_delay: Duration,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            block: BlockParams::default(),
            evidence: EvidenceParams::default(),
            version_app: 1,
            timeouts: Timeouts::default(),
            synchrony: Synchrony::default(),
            retain_blocks: 100_000,
            tx_ttl_max: Duration::from_secs(600),
            fee_min: 1,
            fee_per_kib: 1,
            ns_deposit: 100,
            proposals: ProposalParams::default(),
            staking: StakingParams::default(),
        }
    }
}

impl Default for StakingParams {
    fn default() -> Self {
        Self {
            power_unit: 1_000_000,
            validators_max: 100,
            unbonding: Duration::from_secs(21 * 24 * 3600),
            commission_bps_min: 0,
            commission_bps_max: BPS_MAX,
            own_stake_min: 1_000_000,
            slash_duplicate_vote_bps: 500,
            slash_downtime_bps: 1,
            downtime_window: 10_000,
            downtime: Duration::from_secs(600),
            jail: Duration::from_secs(600),
            issuance_bps_per_year: 0,
            community_bps: 0,
        }
    }
}

impl Default for ProposalParams {
    fn default() -> Self {
        Self {
            deposit: 10_000,
            open_max: 4,
            voting: Duration::from_secs(200),
            notice_min: Duration::from_secs(60),
            freeze_max: Duration::from_secs(200),
            cooldown: Duration::from_secs(100),
            revert_keys_max: 10_000,
            revert_bytes_max: 4 * 1024 * 1024,
        }
    }
}

impl Default for BlockParams {
    fn default() -> Self {
        Self { bytes_max: 4 * 1024 * 1024, gas_max: -1 }
    }
}

impl Default for EvidenceParams {
    fn default() -> Self {
        Self { age_heights_max: 100_000, age_max: Duration::from_secs(48 * 3600), bytes_max: 65_536 }
    }
}

impl Default for Synchrony {
    fn default() -> Self {
        Self { precision: Duration::from_millis(505), message_delay: Duration::from_secs(15) }
    }
}

/// The defaults of CometBFT.
impl Default for Timeouts {
    fn default() -> Self {
        Self {
            propose: Duration::from_millis(3_000),
            propose_delta: Duration::from_millis(500),
            prevote: Duration::from_millis(1_000),
            prevote_delta: Duration::from_millis(500),
            precommit: Duration::from_millis(1_000),
            precommit_delta: Duration::from_millis(500),
        }
    }
}

/// A parameter that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {got} is out of range, use {range}")]
pub struct ParamsError {
    /// Name of the parameter, as in genesis.
    pub field: &'static str,
    /// Value of the parameter.
    pub got: String,
    /// Description of the allowed values.
    pub range: String,
}

/// Maximum of every timeout, so that sums and encoded values stay in range.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Maximum of [`Params::tx_ttl_max`]: the state keeps each unordered transaction until it expires.
const TX_TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// All of something, in hundredths of a percent.
pub const BPS_MAX: u64 = 10_000;

/// Maximum of [`StakingParams::unbonding`].
const UNBONDING_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Maximum of every duration of a proposal.
const PROPOSAL_STEP_MAX: Duration = Duration::from_secs(PROPOSAL_STEP_S_MAX);

/// Maximum of [`ProposalParams::revert_keys_max`]: a block executes one revert, and a key costs some microseconds.
const REVERT_KEYS_MAX: u64 = 100_000;

/// Maximum of [`ProposalParams::revert_bytes_max`], which a node holds in memory while it executes a revert.
const REVERT_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl Params {
    /// Returns the header's `consensus_hash`: SHA-256 over the bounds of a block alone, as in Tendermint. The app hash
    /// commits to all parameters, because they are a row of the state.
    pub fn hash(&self) -> Hash {
        let hashed =
            pb::HashedParams { block_max_bytes: self.block.bytes_max as i64, block_max_gas: self.block.gas_max };
        sha256(&hashed.encode_to_vec())
    }

    /// Returns the maximum bytes of a transaction: it fits into a block of the largest validator set.
    pub fn tx_bytes_max(&self) -> usize {
        let tag_and_length = Block::tx_bytes_in_block(BLOCK_BYTES_MAX) - BLOCK_BYTES_MAX;
        let room = usize::try_from(self.block.bytes_max).unwrap_or(usize::MAX);
        room.saturating_sub(Block::overhead_bytes_max(VALIDATORS_MAX) + tag_and_length)
    }

    /// Returns the minimum fee of a transaction with this number of bytes.
    pub fn fee_min_of(&self, tx_bytes: usize) -> u64 {
        self.fee_min.saturating_add(self.fee_per_kib.saturating_mul(tx_bytes as u64 / 1024))
    }

    /// Checks the range of every parameter.
    ///
    /// Errors: [`ParamsError`] for the first parameter that is out of range, with its name in genesis.
    pub fn check(&self) -> Result<(), ParamsError> {
        let within = |field, got: u64, low: u64, high: u64| {
            if (low..=high).contains(&got) {
                return Ok(());
            }
            Err(ParamsError { field, got: got.to_string(), range: format!("{low} to {high}") })
        };
        let millis = |field, got: Duration, low: u64, high: Duration| {
            if !got.subsec_nanos().is_multiple_of(1_000_000) {
                return Err(ParamsError { field, got: format!("{got:?}"), range: "whole milliseconds".into() });
            }
            within(field, u64::try_from(got.as_millis()).unwrap_or(u64::MAX), low, high.as_millis() as u64)
        };
        within("block.max_bytes", self.block.bytes_max, 65_536, BLOCK_BYTES_MAX as u64)?;
        if self.block.gas_max < -1 || self.block.gas_max == 0 {
            let got = self.block.gas_max.to_string();
            return Err(ParamsError { field: "block.max_gas", got, range: "-1 (no bound) or 1 and more".into() });
        }
        within("evidence.max_age_num_blocks", self.evidence.age_heights_max, 1, u64::MAX >> 1)?;
        within("evidence.max_age_duration", self.evidence.age_max.as_secs(), 1, 10 * 365 * 24 * 3600)?;
        within("evidence.max_bytes", self.evidence.bytes_max, 0, self.block.bytes_max.min(1_048_576))?;
        within("version.app", self.version_app, 0, u64::MAX >> 1)?;
        millis("timeouts.propose_ms", self.timeouts.propose, 1, TIMEOUT_MAX)?;
        millis("timeouts.propose_delta_ms", self.timeouts.propose_delta, 0, TIMEOUT_MAX)?;
        millis("timeouts.prevote_ms", self.timeouts.prevote, 1, TIMEOUT_MAX)?;
        millis("timeouts.prevote_delta_ms", self.timeouts.prevote_delta, 0, TIMEOUT_MAX)?;
        millis("timeouts.precommit_ms", self.timeouts.precommit, 1, TIMEOUT_MAX)?;
        millis("timeouts.precommit_delta_ms", self.timeouts.precommit_delta, 0, TIMEOUT_MAX)?;
        millis("synchrony.precision_ms", self.synchrony.precision, 1, TIMEOUT_MAX)?;
        millis("synchrony.message_delay_ms", self.synchrony.message_delay, 1, TIMEOUT_MAX)?;
        within("retain_blocks", self.retain_blocks, 2, u64::MAX >> 1)?;
        millis("tx_ttl_ms_max", self.tx_ttl_max, 1, TX_TTL_MAX)?;
        within("fee_min", self.fee_min, 0, u64::MAX >> 1)?;
        within("fee_per_kib", self.fee_per_kib, 0, u64::MAX >> 9)?;
        within("ns_deposit", self.ns_deposit, 0, u64::MAX >> 1)?;
        let proposals = &self.proposals;
        within("proposals.deposit", proposals.deposit, 0, u64::MAX >> 9)?;
        within("proposals.open_max", proposals.open_max, 1, PROPOSALS_OPEN_MAX)?;
        millis("proposals.voting_ms", proposals.voting, 1, PROPOSAL_STEP_MAX)?;
        millis("proposals.notice_ms_min", proposals.notice_min, 0, PROPOSAL_STEP_MAX)?;
        millis("proposals.freeze_ms_max", proposals.freeze_max, 1, PROPOSAL_STEP_MAX)?;
        millis("proposals.cooldown_ms", proposals.cooldown, 0, PROPOSAL_STEP_MAX)?;
        within("proposals.revert_keys_max", proposals.revert_keys_max, 1, REVERT_KEYS_MAX)?;
        within("proposals.revert_bytes_max", proposals.revert_bytes_max, 1, REVERT_BYTES_MAX)?;
        let staking = &self.staking;
        within("staking.power_unit", staking.power_unit, 1, u64::MAX >> 1)?;
        within("staking.validators_max", staking.validators_max, 1, VALIDATORS_MAX as u64)?;
        let evidence_ms = u64::try_from(self.evidence.age_max.as_millis()).unwrap_or(u64::MAX);
        millis("staking.unbonding_ms", staking.unbonding, evidence_ms.saturating_add(1), UNBONDING_MAX)?;
        within("staking.commission_bps_max", staking.commission_bps_max, 0, BPS_MAX)?;
        within("staking.commission_bps_min", staking.commission_bps_min, 0, staking.commission_bps_max)?;
        within("staking.own_stake_min", staking.own_stake_min, 1, u64::MAX >> 1)?;
        within("staking.slash_duplicate_vote_bps", staking.slash_duplicate_vote_bps, 0, BPS_MAX)?;
        within("staking.slash_downtime_bps", staking.slash_downtime_bps, 0, BPS_MAX)?;
        within("staking.downtime_window", staking.downtime_window, 1, DOWNTIME_WINDOW_MAX)?;
        millis("staking.downtime_ms", staking.downtime, 1, UNBONDING_MAX)?;
        millis("staking.jail_ms", staking.jail, 1, UNBONDING_MAX)?;
        within("staking.issuance_bps_per_year", staking.issuance_bps_per_year, 0, BPS_MAX)?;
        within("staking.community_bps", staking.community_bps, 0, BPS_MAX)
    }
}

impl Wire for Params {
    type Pb = pb::Params;
    const NAME: &'static str = "parameters";
    const BYTES_MAX: usize = 1024;

    fn to_pb(&self) -> pb::Params {
        let ms = |duration: Duration| duration.as_millis() as u64;
        pb::Params {
            block_bytes_max: self.block.bytes_max,
            block_gas_max: self.block.gas_max,
            evidence_age_heights_max: self.evidence.age_heights_max,
            evidence_age_ms_max: ms(self.evidence.age_max),
            evidence_bytes_max: self.evidence.bytes_max,
            version_app: self.version_app,
            propose_ms: ms(self.timeouts.propose),
            propose_delta_ms: ms(self.timeouts.propose_delta),
            prevote_ms: ms(self.timeouts.prevote),
            prevote_delta_ms: ms(self.timeouts.prevote_delta),
            precommit_ms: ms(self.timeouts.precommit),
            precommit_delta_ms: ms(self.timeouts.precommit_delta),
            precision_ms: ms(self.synchrony.precision),
            message_delay_ms: ms(self.synchrony.message_delay),
            retain_blocks: self.retain_blocks,
            tx_ttl_ms_max: ms(self.tx_ttl_max),
            fee_min: self.fee_min,
            fee_per_kib: self.fee_per_kib,
            ns_deposit: self.ns_deposit,
            proposal_deposit: self.proposals.deposit,
            proposals_open_max: self.proposals.open_max,
            voting_ms: ms(self.proposals.voting),
            notice_ms_min: ms(self.proposals.notice_min),
            freeze_ms_max: ms(self.proposals.freeze_max),
            cooldown_ms: ms(self.proposals.cooldown),
            revert_keys_max: self.proposals.revert_keys_max,
            revert_bytes_max: self.proposals.revert_bytes_max,
            power_unit: self.staking.power_unit,
            validators_max: self.staking.validators_max,
            unbonding_ms: ms(self.staking.unbonding),
            commission_bps_min: self.staking.commission_bps_min,
            commission_bps_max: self.staking.commission_bps_max,
            own_stake_min: self.staking.own_stake_min,
            slash_duplicate_vote_bps: self.staking.slash_duplicate_vote_bps,
            slash_downtime_bps: self.staking.slash_downtime_bps,
            downtime_window: self.staking.downtime_window,
            downtime_ms: ms(self.staking.downtime),
            jail_ms: ms(self.staking.jail),
            issuance_bps_per_year: self.staking.issuance_bps_per_year,
            community_bps: self.staking.community_bps,
        }
    }

    fn from_pb(pb: pb::Params) -> Result<Self, DecodeError> {
        let params = Self {
            block: BlockParams { bytes_max: pb.block_bytes_max, gas_max: pb.block_gas_max },
            evidence: EvidenceParams {
                age_heights_max: pb.evidence_age_heights_max,
                age_max: Duration::from_millis(pb.evidence_age_ms_max),
                bytes_max: pb.evidence_bytes_max,
            },
            version_app: pb.version_app,
            timeouts: Timeouts {
                propose: Duration::from_millis(pb.propose_ms),
                propose_delta: Duration::from_millis(pb.propose_delta_ms),
                prevote: Duration::from_millis(pb.prevote_ms),
                prevote_delta: Duration::from_millis(pb.prevote_delta_ms),
                precommit: Duration::from_millis(pb.precommit_ms),
                precommit_delta: Duration::from_millis(pb.precommit_delta_ms),
            },
            synchrony: Synchrony {
                precision: Duration::from_millis(pb.precision_ms),
                message_delay: Duration::from_millis(pb.message_delay_ms),
            },
            retain_blocks: pb.retain_blocks,
            tx_ttl_max: Duration::from_millis(pb.tx_ttl_ms_max),
            fee_min: pb.fee_min,
            fee_per_kib: pb.fee_per_kib,
            ns_deposit: pb.ns_deposit,
            proposals: ProposalParams {
                deposit: pb.proposal_deposit,
                open_max: pb.proposals_open_max,
                voting: Duration::from_millis(pb.voting_ms),
                notice_min: Duration::from_millis(pb.notice_ms_min),
                freeze_max: Duration::from_millis(pb.freeze_ms_max),
                cooldown: Duration::from_millis(pb.cooldown_ms),
                revert_keys_max: pb.revert_keys_max,
                revert_bytes_max: pb.revert_bytes_max,
            },
            staking: StakingParams {
                power_unit: pb.power_unit,
                validators_max: pb.validators_max,
                unbonding: Duration::from_millis(pb.unbonding_ms),
                commission_bps_min: pb.commission_bps_min,
                commission_bps_max: pb.commission_bps_max,
                own_stake_min: pb.own_stake_min,
                slash_duplicate_vote_bps: pb.slash_duplicate_vote_bps,
                slash_downtime_bps: pb.slash_downtime_bps,
                downtime_window: pb.downtime_window,
                downtime: Duration::from_millis(pb.downtime_ms),
                jail: Duration::from_millis(pb.jail_ms),
                issuance_bps_per_year: pb.issuance_bps_per_year,
                community_bps: pb.community_bps,
            },
        };
        params.check().map_err(|e| DecodeError::field(e.field, e.to_string()))?;
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range_and_survive_their_bytes() {
        let params = Params::default();
        assert_eq!(params.check(), Ok(()));
        assert_eq!(Params::decode(&params.encode()), Ok(params));
    }

    #[test]
    fn an_error_names_the_field() {
        let mut params = Params::default();
        params.timeouts.prevote = Duration::ZERO;
        assert_eq!(params.check().unwrap_err().field, "timeouts.prevote_ms");
        type Change = fn(&mut ProposalParams);
        let wrong: [(&str, Change); 8] = [
            ("proposals.open_max", |params| params.open_max = PROPOSALS_OPEN_MAX + 1),
            ("proposals.open_max", |params| params.open_max = 0),
            ("proposals.voting_ms", |params| params.voting = Duration::ZERO),
            ("proposals.notice_ms_min", |params| params.notice_min = PROPOSAL_STEP_MAX * 2),
            ("proposals.freeze_ms_max", |params| params.freeze_max = Duration::from_nanos(1)),
            ("proposals.cooldown_ms", |params| params.cooldown = PROPOSAL_STEP_MAX * 2),
            ("proposals.revert_keys_max", |params| params.revert_keys_max = REVERT_KEYS_MAX + 1),
            ("proposals.revert_bytes_max", |params| params.revert_bytes_max = 0),
        ];
        for (field, change) in wrong {
            let mut params = Params::default();
            change(&mut params.proposals);
            assert_eq!(params.check().unwrap_err().field, field);
        }
        type ChangeStaking = fn(&mut Params);
        let wrong: [(&str, ChangeStaking); 16] = [
            ("version.app", |params| params.version_app = u64::MAX),
            ("staking.power_unit", |params| params.staking.power_unit = 0),
            ("staking.validators_max", |params| params.staking.validators_max = 0),
            ("staking.validators_max", |params| params.staking.validators_max = 201),
            ("staking.unbonding_ms", |params| params.staking.unbonding = params.evidence.age_max),
            ("staking.commission_bps_max", |params| params.staking.commission_bps_max = 10_001),
            ("staking.commission_bps_min", |params| {
                (params.staking.commission_bps_min, params.staking.commission_bps_max) = (6, 5);
            }),
            ("staking.own_stake_min", |params| params.staking.own_stake_min = 0),
            ("staking.slash_duplicate_vote_bps", |params| params.staking.slash_duplicate_vote_bps = 10_001),
            ("staking.slash_downtime_bps", |params| params.staking.slash_downtime_bps = 10_001),
            ("staking.downtime_window", |params| params.staking.downtime_window = 0),
            ("staking.downtime_window", |params| params.staking.downtime_window = DOWNTIME_WINDOW_MAX + 1),
            ("staking.downtime_ms", |params| params.staking.downtime = Duration::ZERO),
            ("staking.jail_ms", |params| params.staking.jail = Duration::from_nanos(1)),
            ("staking.issuance_bps_per_year", |params| params.staking.issuance_bps_per_year = 10_001),
            ("staking.community_bps", |params| params.staking.community_bps = 10_001),
        ];
        for (field, change) in wrong {
            let mut params = Params::default();
            change(&mut params);
            assert_eq!(params.check().unwrap_err().field, field);
        }
        let mut params = Params::default();
        params.block.bytes_max = u64::MAX;
        assert_eq!(params.check().unwrap_err().field, "block.max_bytes");
        assert!(Params::decode(&params.encode()).is_err());
    }
}
