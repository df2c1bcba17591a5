//! The parameters of a chain by their names in the genesis document, so that proposals can change some of them.

use thiserror::Error;

use crate::{ParamChange, Params, ParamsError};

/// A parameter with a name in the genesis document.
pub struct ParamField {
    /// Name of the parameter: its path in `consensus_params`, with dots.
    pub name: &'static str,
    /// What a proposal may make of it.
    may_become: MayBecome,
    get: fn(&Params) -> i64,
    set: fn(&mut Params, i64) -> Option<()>,
}

/// What a proposal may make of a parameter, beside the ranges of [`Params::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MayBecome {
    /// Any value in its range.
    Any,
    /// A value between these two: with another one, no decision could change it back, or undo what it did to validators.
    Within(i64, i64),
    /// A value that is not greater than the present one.
    Less,
    /// Nothing, for this reason.
    Fixed(&'static str),
}

/// Reason why a set of parameters cannot be changed by a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParamsChangeError {
    /// There is no parameter of this name.
    #[error(
        "there is no parameter {0}: use the names of consensus_params in the genesis document, such as block.max_bytes"
    )]
    Unknown(String),
    /// No proposal changes this parameter.
    #[error("{name} cannot be changed: {why}")]
    Fixed {
        /// Name of the parameter.
        name: &'static str,
        /// The reason for it.
        why: &'static str,
    },
    /// The parameter would grow.
    #[error(
        "{name} would become {got}, and at most its present value, {max}, is possible: heights that were pruned do not come back"
    )]
    Grows {
        /// Name of the parameter.
        name: &'static str,
        /// Value that a proposal gives it.
        got: i64,
        /// Value that it has now.
        max: i64,
    },
    /// The resulting set is out of range.
    #[error(transparent)]
    Range(#[from] ParamsError),
}

/// A number of type `u64`.
mod number {
    pub(super) fn get(value: &u64) -> i64 {
        i64::try_from(*value).unwrap_or(i64::MAX)
    }

    pub(super) fn set(value: &mut u64, to: i64) -> Option<()> {
        *value = to.try_into().ok()?;
        Some(())
    }
}

/// A number of type `i64`.
mod signed {
    pub(super) fn get(value: &i64) -> i64 {
        *value
    }

    pub(super) fn set(value: &mut i64, to: i64) -> Option<()> {
        *value = to;
        Some(())
    }
}

/// A duration in milliseconds.
mod millis {
    use std::time::Duration;

    pub(super) fn get(value: &Duration) -> i64 {
        value.as_millis().try_into().unwrap_or(i64::MAX)
    }

    pub(super) fn set(value: &mut Duration, to: i64) -> Option<()> {
        *value = Duration::from_millis(to.try_into().ok()?);
        Some(())
    }
}

/// A duration of whole milliseconds, in nanoseconds.
mod nanos {
    use std::time::Duration;

    pub(super) fn get(value: &Duration) -> i64 {
        value.as_nanos().try_into().unwrap_or(i64::MAX)
    }

    pub(super) fn set(value: &mut Duration, to: i64) -> Option<()> {
        let nanos = u64::try_from(to).ok()?;
        *value = Duration::from_nanos(nanos);
        nanos.is_multiple_of(1_000_000).then_some(())
    }
}

macro_rules! fields {
    ($($name:literal $kind:ident $($part:ident).+, $may:expr;)*) => {
        /// All parameters that have a name, in the order of the genesis document.
        const FIELDS: &[ParamField] = &[$(ParamField {
            name: $name,
            may_become: $may,
            get: |params| $kind::get(&params.$($part).+),
            set: |params, to| $kind::set(&mut params.$($part).+, to),
        },)*];
    };
}

use MayBecome::{Any, Fixed, Less, Within};

/// A minute and a month in milliseconds.
const MINUTE: i64 = 60_000;
const MONTH: i64 = 30 * 24 * 60 * MINUTE;

fields! {
    "block.max_bytes" number block.bytes_max, Any;
    "block.max_gas" signed block.gas_max, Any;
    "evidence.max_age_num_blocks" number evidence.age_heights_max, Any;
    "evidence.max_age_duration" nanos evidence.age_max, Any;
    "evidence.max_bytes" number evidence.bytes_max, Any;
    "version.app" number version_app, Fixed("an upgrade raises it");
    "timeouts.propose_ms" millis timeouts.propose, Within(10, MINUTE);
    "timeouts.propose_delta_ms" millis timeouts.propose_delta, Within(10, MINUTE);
    "timeouts.prevote_ms" millis timeouts.prevote, Within(10, MINUTE);
    "timeouts.prevote_delta_ms" millis timeouts.prevote_delta, Within(10, MINUTE);
    "timeouts.precommit_ms" millis timeouts.precommit, Within(10, MINUTE);
    "timeouts.precommit_delta_ms" millis timeouts.precommit_delta, Within(10, MINUTE);
    "synchrony.precision_ms" millis synchrony.precision, Within(10, i64::MAX);
    "synchrony.message_delay_ms" millis synchrony.message_delay, Within(100, i64::MAX);
    "retain_blocks" number retain_blocks, Less;
    "tx_ttl_ms_max" millis tx_ttl_max, Within(1_000, i64::MAX);
    "fee_min" number fee_min, Any;
    "fee_per_kib" number fee_per_kib, Any;
    "ns_deposit" number ns_deposit, Any;
    "proposals.deposit" number proposals.deposit, Any;
    "proposals.open_max" number proposals.open_max, Any;
    "proposals.voting_ms" millis proposals.voting, Within(10_000, i64::MAX);
    "proposals.notice_ms_min" millis proposals.notice_min, Any;
    "proposals.freeze_ms_max" millis proposals.freeze_max, Any;
    "proposals.cooldown_ms" millis proposals.cooldown, Any;
    "proposals.revert_keys_max" number proposals.revert_keys_max, Any;
    "proposals.revert_bytes_max" number proposals.revert_bytes_max, Any;
    "staking.power_unit" number staking.power_unit, Fixed("the power of all validators would change at once");
    "staking.validators_max" number staking.validators_max, Within(4, i64::MAX);
    "staking.unbonding_ms" millis staking.unbonding, Any;
    "staking.commission_bps_min" number staking.commission_bps_min, Any;
    "staking.commission_bps_max" number staking.commission_bps_max, Any;
    "staking.own_stake_min" number staking.own_stake_min, Any;
    "staking.issuance_bps_per_year" number staking.issuance_bps_per_year, Any;
    "staking.community_bps" number staking.community_bps, Any;
    "staking.slash_duplicate_vote_bps" number staking.slash_duplicate_vote_bps, Any;
    "staking.slash_downtime_bps" number staking.slash_downtime_bps, Within(0, 1_000);
    "staking.downtime_window" number staking.downtime_window, Within(100, i64::MAX);
    "staking.downtime_ms" millis staking.downtime, Within(10_000, i64::MAX);
    "staking.jail_ms" millis staking.jail, Within(1_000, MONTH);
}

impl ParamField {
    /// All parameters that have a name, in the order of the genesis document.
    pub const ALL: &[Self] = FIELDS;

    /// Returns the value of the parameter, in the unit of the genesis document.
    pub fn value(&self, params: &Params) -> i64 {
        (self.get)(params)
    }
}

impl Params {
    /// Returns the parameters after some changes. They are checked as a whole.
    ///
    /// Errors: [`ParamsChangeError`] for the first name that is unknown or may not become its value, or for the first
    /// parameter of the resulting set that is out of range.
    pub fn changed(&self, changes: &[ParamChange]) -> Result<Self, ParamsChangeError> {
        let mut params = self.clone();
        for ParamChange { name, value } in changes {
            let field = FIELDS.iter().find(|field| field.name == name);
            let field = field.ok_or_else(|| ParamsChangeError::Unknown(name.clone()))?;
            let (name, got, present) = (field.name, *value, field.value(self));
            let range = |range: String| ParamsError { field: name, got: got.to_string(), range };
            match field.may_become {
                Fixed(why) => return Err(ParamsChangeError::Fixed { name, why }),
                Less if got > present => return Err(ParamsChangeError::Grows { name, got, max: present }),
                Within(least, most) if !(least..=most).contains(&got) => {
                    let most = if most == i64::MAX { "and more".to_owned() } else { format!("to {most}") };
                    return Err(range(format!("{least} {most} in a proposal")).into());
                }
                Any | Less | Within(..) => {}
            }
            let is_whole = (field.set)(&mut params, got).is_some();
            if !is_whole {
                let whole = if got < 0 { "no negative number" } else { "whole milliseconds, which end with 000000" };
                return Err(range(whole.into()).into());
            }
        }
        params.check()?;
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, value: i64) -> ParamChange {
        ParamChange { name: name.into(), value }
    }

    #[test]
    fn each_parameter_is_set_and_read_by_its_name() {
        let params = Params::default();
        for field in ParamField::ALL {
            let (mut copy, value) = (params.clone(), field.value(&params));
            assert_eq!((field.set)(&mut copy, value), Some(()), "{}", field.name);
            assert_eq!(copy, params, "{}", field.name);
            assert_eq!((field.set)(&mut copy, value + 1_000_000), Some(()), "{}", field.name);
            assert_eq!(field.value(&copy), value + 1_000_000, "{}", field.name);
            let others = ParamField::ALL.iter().filter(|other| other.name != field.name);
            assert!(others.clone().all(|other| other.value(&copy) == other.value(&params)), "{}", field.name);
        }
    }

    #[test]
    fn changes_are_checked_as_a_whole() {
        let params = Params::default();
        let day = 24 * 3600 * 1000;
        let both =
            [change("staking.unbonding_ms", 30 * day), change("evidence.max_age_duration", 29 * day * 1_000_000)];
        let changed = params.changed(&both).unwrap();
        assert_eq!(changed.staking.unbonding.as_millis() as i64, 30 * day);
        let error = |changes: &[ParamChange]| params.changed(changes).unwrap_err().to_string();
        assert!(
            error(&both[1..]).starts_with("staking.unbonding_ms: 1814400000 is out of range"),
            "{}",
            error(&both[1..])
        );
        assert!(error(&[change("block.max_bytes", 0)]).starts_with("block.max_bytes: 0 is out of range, use 65536"));
        assert!(error(&[change("block.bytes", 1)]).starts_with("there is no parameter block.bytes"));
        assert!(error(&[change("version.app", 2)]).starts_with("version.app cannot be changed"));
        assert!(error(&[change("staking.power_unit", 1)]).starts_with("staking.power_unit cannot be changed"));
        assert!(error(&[change("retain_blocks", 100_001)]).contains("at most its present value, 100000"));
        assert!(params.changed(&[change("retain_blocks", 10)]).is_ok());
        assert!(error(&[change("fee_min", -1)]).contains("use no negative number"));
        assert!(error(&[change("evidence.max_age_duration", 1)]).contains("whole milliseconds"));
        for (name, value, range) in [
            ("proposals.voting_ms", 9_999, "use 10000 and more in a proposal"),
            ("timeouts.propose_ms", 9, "use 10 to 60000 in a proposal"),
            ("timeouts.propose_delta_ms", 0, "use 10 to 60000 in a proposal"),
            ("timeouts.precommit_ms", 60_001, "use 10 to 60000 in a proposal"),
            ("staking.validators_max", 3, "use 4 and more in a proposal"),
            ("staking.slash_downtime_bps", 1_001, "use 0 to 1000 in a proposal"),
            ("staking.downtime_window", 99, "use 100 and more in a proposal"),
            ("staking.downtime_ms", 9_999, "use 10000 and more in a proposal"),
            ("staking.jail_ms", MONTH + 1, "use 1000 to 2592000000 in a proposal"),
        ] {
            assert!(error(&[change(name, value)]).contains(range), "{name}");
        }
    }
}
