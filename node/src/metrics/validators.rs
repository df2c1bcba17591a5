//! Metrics of subsystem `consensus` about validators: powers, signatures, double signs.

use std::{collections::BTreeSet, sync::Mutex};

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use types::{Address, Block, Commit, CommitSig, Power, Validator, ValidatorSet};

use super::register::Subsystem;
use crate::heard::Heard;

/// Metrics of the validator set, and of the signatures in the commit that the last block contains.
pub(super) struct Validators {
    pub(super) validators: IntGauge,
    pub(super) validators_power: IntGauge,
    pub(super) validator_power: IntGaugeVec,
    pub(super) validator_last_signed_height: IntGaugeVec,
    pub(super) validator_missed_blocks: IntGaugeVec,
    pub(super) missing_validators: IntGauge,
    pub(super) missing_validators_power: IntGauge,
    pub(super) power_online: IntGauge,
    pub(super) byzantine_validators: IntGauge,
    pub(super) byzantine_validators_power: IntGauge,
    pub(super) precommits_counted: IntGauge,
    pub(super) precommits_staking_percentage: Gauge,
    pub(super) missed_blocks_total: IntCounterVec,
    pub(super) evidence_total: IntCounter,
    pub(super) evidence_power_total: IntCounter,
    evidence_committed_total: IntCounter,
    /// Validators of the last committed height, whose signatures are in the next block, late ones included. These
    /// validators have series of their own.
    before: Mutex<Option<ValidatorSet>>,
}

impl Validators {
    /// Creates and registers the metrics.
    pub fn new(on: &Subsystem<'_>) -> Self {
        let validator = &["validator_address"];
        Self {
            validators: on.gauge("validators", "Validators."),
            validators_power: on.gauge("validators_power", "Power of all validators."),
            validator_power: on.gauges("validator_power", "Power of this node's validator.", validator),
            validator_last_signed_height: on.gauges(
                "validator_last_signed_height",
                "Last height whose commit, in the next block, contains the signature of this node's validator.",
                validator,
            ),
            validator_missed_blocks: on.gauges(
                "validator_missed_blocks",
                "Heights since the start whose commit, in the next block, lacks the signature of this node's validator.",
                validator,
            ),
            missing_validators: on.gauge("missing_validators", "Validators whose signature is not in the commit that the last block \
                contains; while a step waits for votes, validators whose vote is missing."),
            missing_validators_power: on.gauge("missing_validators_power", "Power of the missing validators, see missing_validators."),
            power_online: on.gauge("power_online", "Power of the validators whose signature is in the commit that the last block \
                contains; while a step waits for votes, power of the validators whose vote has arrived."),
            byzantine_validators: on
                .gauge("byzantine_validators", "Validators that double-voted or attacked light clients, by the evidence in the last block."),
            byzantine_validators_power: on.gauge("byzantine_validators_power", "Power of the validators that double-voted or \
                attacked light clients, by the evidence in the last block."),
            precommits_counted: on.gauge("precommits_counted", "Precommits in the commit that the last block contains."),
            precommits_staking_percentage: on
                .float("precommits_staking_percentage", "Share of the power whose precommits are in the commit that the last block \
                    contains, 0 to 1."),
            missed_blocks_total: on.counters(
                "missed_blocks_total",
                "Heights since the start whose commit, in the next block, lacks the signature of this validator; for all validators.",
                validator,
            ),
            evidence_committed_total: on.counter(
                "evidence_committed_total",
                "Pieces of evidence in the blocks that this node has committed since the start.",
            ),
            evidence_total: on.counter("evidence_total", "Double votes and attacks on light clients that this node has seen since the start."),
            evidence_power_total: on.counter("evidence_power_total", "Power of the validators whose double votes and attacks on light \
                clients this node has seen since the start."),
            before: Mutex::default(),
        }
    }

    /// Counts the signatures and the evidence in a committed block, whose validators are `validators`. Returns the
    /// addresses of those that have left the set with it. `us` is the address with which this node signs.
    pub fn on_committed(&self, block: &Block, validators: &ValidatorSet, us: Option<Address>) -> Vec<Address> {
        self.evidence_committed_total.inc_by(block.evidence.len() as u64);
        self.record_byzantine(block, validators);
        let mut before = self.before.lock().expect("a thread that panics stops the process");
        let mut gone = Vec::new();
        if let (Some(before), Some(commit)) = (&*before, &block.last_commit) {
            self.count_signers(before, commit, us);
            gone = self.forget_who_left(before, validators);
        }
        self.record_validators(validators, us);
        *before = Some(validators.clone());
        gone
    }

    /// Sets the metrics when the process starts: all of these validators count as online.
    pub fn on_start(&self, validators: &ValidatorSet, us: Option<Address>) {
        self.record_validators(validators, us);
        self.power_online.set(validators.total_power().0 as i64);
    }

    /// Sets the metrics to the tip of the chain when the process starts: `signers` are the validators whose signatures
    /// are in its last commit, and `validators` its own.
    pub fn on_tip(
        &self,
        block: &Block,
        us: Option<Address>,
        signers: Option<&ValidatorSet>,
        validators: Option<ValidatorSet>,
    ) {
        if let Some(validators) = &validators {
            self.record_byzantine(block, validators);
        }
        if let (Some(signers), Some(commit)) = (signers, &block.last_commit) {
            self.record_signers(signers, commit, us);
        }
        *self.before.lock().expect("a thread that panics stops the process") = validators;
    }

    fn record_validators(&self, validators: &ValidatorSet, us: Option<Address>) {
        let Power(total) = validators.total_power();
        self.validators.set(validators.len() as i64);
        self.validators_power.set(total as i64);
        if let Some((_, validator)) = us.and_then(|us| validators.by_address(&us)) {
            let address = validator.address().to_string();
            self.validator_power.with_label_values(&[&address]).set(validator.power.0 as i64);
            self.validator_missed_blocks.with_label_values(&[&address]); // creates the series, with 0
        }
    }

    /// Shows the validators against which this block has evidence: those that are validators now, with their current
    /// power.
    fn record_byzantine(&self, block: &Block, validators: &ValidatorSet) {
        let named: BTreeSet<Address> =
            block.evidence.iter().flat_map(types::Evidence::misbehavior).map(|one| one.validator).collect();
        let power = |address: &Address| validators.by_address(address).map(|(_, validator)| validator.power.0);
        let powers: Vec<u64> = named.iter().filter_map(power).collect();
        self.byzantine_validators.set(powers.len() as i64);
        self.byzantine_validators_power.set(powers.iter().sum::<u64>() as i64);
    }

    /// Shows the missing validators of a step that has waited for votes for some time.
    pub fn on_waiting(&self, heard: &Heard) {
        self.missing_validators.set(heard.missing as i64);
        self.missing_validators_power.set(heard.missing_power().0 as i64);
        self.power_online.set(heard.power.0 as i64);
    }

    /// Removes the series of validators that have left the set, and returns their addresses.
    fn forget_who_left(&self, before: &ValidatorSet, now: &ValidatorSet) -> Vec<Address> {
        let is_gone = |address: &Address| now.by_address(address).is_none();
        let all_gone: Vec<Address> = before.iter().map(Validator::address).filter(is_gone).collect();
        for gone in all_gone.iter().map(Address::to_string) {
            for gauges in [&self.validator_power, &self.validator_last_signed_height, &self.validator_missed_blocks] {
                let _ = gauges.remove_label_values(&[&gone]); // the validator may have no series
            }
            let _ = self.missed_blocks_total.remove_label_values(&[&gone]);
        }
        all_gone
    }

    /// Counts the signatures of the block before.
    fn count_signers(&self, validators: &ValidatorSet, commit: &Commit, us: Option<Address>) {
        for (validator, signature) in validators.iter().zip(&commit.signatures) {
            let address = validator.address();
            if matches!(signature, CommitSig::Absent) {
                self.missed_blocks_total.with_label_values(&[&address.to_string()]).inc();
            }
            if us == Some(address) && !matches!(signature, CommitSig::Commit { .. }) {
                self.validator_missed_blocks.with_label_values(&[&address.to_string()]).inc();
            }
        }
        self.record_signers(validators, commit, us);
    }

    /// Shows the signatures of the block before.
    fn record_signers(&self, validators: &ValidatorSet, commit: &Commit, us: Option<Address>) {
        let (mut missing, mut missing_power, mut counted) = (0, 0, 0);
        for (validator, signature) in validators.iter().zip(&commit.signatures) {
            if matches!(signature, CommitSig::Absent) {
                missing += 1;
                missing_power += validator.power.0;
                continue;
            }
            counted += 1;
            if us == Some(validator.address()) && matches!(signature, CommitSig::Commit { .. }) {
                let address = validator.address().to_string();
                self.validator_last_signed_height.with_label_values(&[&address]).set(commit.height.0 as i64);
            }
        }
        let Power(total) = validators.total_power();
        self.power_online.set((total - missing_power) as i64);
        self.missing_validators.set(missing);
        self.missing_validators_power.set(missing_power as i64);
        self.precommits_counted.set(counted);
        self.precommits_staking_percentage.set((total - missing_power) as f64 / total.max(1) as f64);
    }

    /// Counts a double sign of a validator, or an attack on light clients.
    pub fn on_evidence(&self, evidence: &types::Evidence) {
        self.evidence_total.inc();
        self.evidence_power_total.inc_by(evidence.misbehavior().iter().map(|one| one.power.0).sum());
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use types::{ConsensusSecretKey, KeyType};

    use super::*;
    use crate::samples::committed;

    fn validators() -> Validators {
        let (registry, facts) = (Registry::new(), Mutex::default());
        Validators::new(&Subsystem { registry: &registry, facts: &facts, name: "consensus" })
    }

    /// The four validators have the powers 4, 3, 2 and 1. The last commit in the block has the first one's precommit
    /// for the block before and the second one's for nil; the block has evidence against the second.
    #[test]
    fn validators_are_counted_as_cometbft_counts_them() {
        let address = |index| committed(7, &[]).validators.get(index).unwrap().address();
        for (index, signed, missed) in [(0, 6, 0), (1, 0, 1), (2, 0, 1)] {
            let (us, label) = (Some(address(index)), address(index).to_string());
            let metrics = validators();
            for height in [6, 7] {
                let committed = committed(height, &[]);
                metrics.on_committed(&committed.block, &committed.validators, us);
            }
            let of = |gauges: &IntGaugeVec| gauges.with_label_values(&[&label]).get();
            assert_eq!(of(&metrics.validator_missed_blocks), missed, "a vote for nil is a missed block");
            assert_eq!(of(&metrics.validator_last_signed_height), signed, "validator {index}");
            assert_eq!(of(&metrics.validator_power), 4 - i64::from(index));
            let missing = (metrics.missing_validators.get(), metrics.missing_validators_power.get());
            assert_eq!(missing, (2, 3), "a vote for nil is not missing");
            assert_eq!(metrics.missed_blocks_total.with_label_values(&[&address(1).to_string()]).get(), 0);
            assert_eq!(metrics.precommits_counted.get(), 2);
            assert!((metrics.precommits_staking_percentage.get() - 0.7).abs() < 1e-9, "a share from 0 to 1");
            assert_eq!((metrics.byzantine_validators.get(), metrics.byzantine_validators_power.get()), (1, 3));
        }
    }

    #[test]
    fn byzantine_metrics_count_only_validators_with_evidence_in_the_last_block() {
        let metrics = validators();
        let mut block = committed(7, &[]).block.clone();
        let key = ConsensusSecretKey::from_bytes(KeyType::Secp256k1, &[9; 32]).unwrap();
        let others = ValidatorSet::new(vec![(key.public_key(), Power(5))]).unwrap();
        let told = || (metrics.byzantine_validators.get(), metrics.byzantine_validators_power.get());
        metrics.record_byzantine(&block, &committed(7, &[]).validators);
        assert_eq!(told(), (1, 3));
        metrics.record_byzantine(&block, &others);
        assert_eq!(told(), (0, 0), "a validator that has left does not count");
        block.evidence.clear();
        metrics.record_byzantine(&block, &committed(7, &[]).validators);
        assert_eq!(told(), (0, 0), "the last block has none");
    }
}
