//! Finds the validators whose votes the current step waits for, by the votes that have arrived. Connections and claims
//! of peers are not used: they prove nothing about validators.

use std::time::Duration;

use replica::Status;
use types::{Power, Step, Validator};

/// Time after which a validator whose vote has not arrived counts as missing. Votes of a step normally arrive within
/// milliseconds of each other; a step that lacks more than 1/3 of the power by then cannot end.
pub const MISSING_AFTER: Duration = Duration::from_secs(1);

/// Maximum number of validators that one sentence names.
const NAMED_MAX: usize = 8;

/// Power and names of the validators that have voted in the current step, and of those that have not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Voting power of the validators that voted.
    pub power: Power,
    /// Voting power of all validators.
    pub total: Power,
    /// Number of validators that did not vote.
    pub missing: usize,
    /// Some of the missing validators: the first digits of each address, with its power.
    pub names: String,
}

impl Heard {
    /// Returns the votes of the current step; `None` while no votes are due because the proposal is awaited.
    pub fn now(status: &Status) -> Option<Self> {
        (status.step != Step::Propose).then(|| Self::of(status))
    }

    /// Returns the votes of the current step, whether votes are due or not. While the proposal is awaited, a prevote
    /// counts.
    pub fn of(status: &Status) -> Self {
        Self::among(status.validators.iter(), |index| has_voted(status, index))
    }

    /// Returns the cause of a failed round, derived from the votes at its end, with advice on what to check.
    pub fn failure(&self, is_proposer_heard: bool) -> &'static str {
        match (is_proposer_heard, self.is_quorum()) {
            (false, _) => "its proposer is missing",
            (true, false) => "validators with 1/3 of the power or more are missing",
            (true, true) => {
                "validators with more than 2/3 of the power voted, but not for the same block; compare the validators' \
                clocks"
            }
        }
    }

    fn among<'a>(validators: impl Iterator<Item = &'a Validator>, has_voted: impl Fn(u32) -> bool) -> Self {
        let (mut power, mut total, mut missing, mut names) = (0, 0, 0, Vec::new());
        for (index, validator) in (0u32..).zip(validators) {
            total += validator.power.0;
            if has_voted(index) {
                power += validator.power.0;
                continue;
            }
            missing += 1;
            if names.len() < NAMED_MAX {
                let address: String = validator.address().to_string().chars().take(10).collect();
                names.push(format!("{address} ({})", validator.power));
            }
        }
        if missing > names.len() {
            names.push(format!("and {} more", missing - names.len()));
        }
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Self { power: Power(power), total: Power(total), missing, names }
    }

    /// Returns true if the validators that voted have enough power to decide a block.
    pub fn is_quorum(&self) -> bool {
        self.power.is_quorum_of(self.total)
    }

    /// Returns why these votes decide no block, and what the operator can do.
    pub fn advice(&self) -> &'static str {
        if self.is_quorum() {
            return "Validators with more than 2/3 of the power vote, but not for the same block: compare the clocks of the \
                validators (`timedatectl`, cometbft_consensus_clock_skew_seconds), and check that blocks reach all validators \
                in time";
        }
        "A block needs the votes of validators with more than 2/3 of the power: start the validators that are missing, or \
         repair their network; the chain then continues by itself"
    }

    /// Returns the power of the validators that did not vote.
    pub fn missing_power(&self) -> Power {
        Power(self.total.0 - self.power.0)
    }
}

/// Returns true if this node has the validator's vote of the current step. While the proposal is awaited, a prevote
/// counts.
pub fn has_voted(status: &Status, index: u32) -> bool {
    let of = |votes: &[types::SignedVote]| votes.iter().any(|vote| vote.vote.validator_index == index);
    let votes = status.votes.iter().find(|votes| votes.round == status.round);
    votes.is_some_and(|votes| of(&votes.precommits) || status.step != Step::Precommit && of(&votes.prevotes))
}

#[cfg(test)]
mod tests {
    use types::{SecretKey, ValidatorSet};

    use super::*;

    #[test]
    fn missing_validators_are_named_with_their_power() {
        let keys = (1u8..=12).map(|i| SecretKey::from_bytes(&[i; 32]).unwrap().public_key());
        let set = ValidatorSet::new(keys.map(|key| (key, Power(5))).collect()).unwrap();
        let all = Heard::among(set.iter(), |_| true);
        assert_eq!((all.names.as_str(), all.missing, all.is_quorum()), ("none", 0, true));
        assert!(all.advice().contains("compare the clocks"), "{}", all.advice());
        assert!(all.failure(true).contains("clocks") && all.failure(false).contains("its proposer is missing"));
        let one = Heard::among(set.iter(), |index| index != 3);
        let address = set.get(3).unwrap().address().to_string();
        assert_eq!((one.names.clone(), one.missing_power()), (format!("{} (5)", &address[..10]), Power(5)));
        let none = Heard::among(set.iter(), |_| false);
        assert!(none.advice().contains("start the validators that are missing"), "{}", none.advice());
        assert!(none.names.ends_with("and 4 more") && none.missing == 12 && none.total == Power(60), "{none:?}");
        assert!(!Heard::among(set.iter(), |index| index < 8).is_quorum(), "2/3 are not more than 2/3");
    }
}
