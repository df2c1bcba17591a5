//! Warnings before stake is sent, for what is allowed and seldom meant. A question that the node does not answer leads to no
//! warning: the transaction itself says what is wrong.

use client::{Client, fields};
use node::{config::Config, exit::Failure, home::Lock};
use serde_json::json;
use types::Address;

use super::{home::Home, output, query, watch};

/// Power of a validator, and of all validators.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    power: u64,
    total: u64,
}

impl Share {
    /// Returns true if the chain makes no block without this validator, because blocks need more than 2/3 of the power.
    fn stops_the_chain(&self) -> bool {
        3 * u128::from(self.power) >= u128::from(self.total)
    }
}

/// Warns if the chain would stand whenever the validator does not sign, with `added` to its stake. `operator` is `None` for a
/// validator that is to be created.
pub fn warn_of_power(client: &Client, operator: Option<&Address>, added: u64) {
    if let Some(share) = share_with(client, operator, added).filter(Share::stops_the_chain) {
        let Share { power, total } = share;
        output::note(format_args!(
            "warning: the validator will have {power} of {total} of the power, which is 1/3 or more: the chain makes no block \
             while that validator's node does not run"
        ));
    }
}

/// Returns the share of a validator with more stake; `None` if the node does not answer, or the validator is in jail.
fn share_with(client: &Client, operator: Option<&Address>, added: u64) -> Option<Share> {
    let ask = |path: &str| Some(query::state(client, path, &[], None).ok()?.value);
    let unit = fields::number(&ask("/staking/params")?, "/power_unit").ok()?;
    let total = fields::number(&ask("/staking/pool")?, "/power").ok()?;
    let (tokens, before) = match operator {
        None => (0, 0),
        Some(operator) => {
            let validator = ask(&format!("/staking/validator/{operator}"))?;
            if !fields::at(&validator, "/jailed").ok()?.is_null() {
                return None;
            }
            (fields::number(&validator, "/tokens").ok()?, fields::number(&validator, "/power").ok()?)
        }
    };
    let power = tokens.saturating_add(added) / unit.max(1);
    Some(Share { power, total: total.saturating_sub(before).saturating_add(power) })
}

/// Warns if the node of the home, which has the consensus key of this address, does not run or is not ready.
pub fn warn_of_node(home: &Home, config: &Config, client: &Client, consensus: &Address) {
    let jailed =
        "its validator is in the set two heights after the transaction, and goes to jail if it signs nothing for long";
    let place = home.path().display();
    if Lock::holder(&config.data_dir()).is_none() {
        output::note(format_args!("warning: the node of {place} does not run: {jailed}. Start it with `cairn start`"));
        return;
    }
    // The node may listen elsewhere than the file says, so the answer must come from the node with this key.
    let of_file = home.rpc_address().ok().flatten().and_then(|url| Client::new(&url, None).ok());
    for client in [Some(client), of_file.as_ref()].into_iter().flatten() {
        let Ok([status, ready]) = client.call_all(["status", "ready"]) else { continue };
        if fields::text(&status, "/validator_info/address") == Ok(&*consensus.to_string()) {
            if ready.get("ready") != Some(&json!(true)) {
                let why = watch::not_ready(&ready);
                output::note(format_args!("warning: the node of {place} is not ready ({why}): {jailed}"));
            }
            return;
        }
    }
}

/// Returns the minimum of an operator's own stake on the chain.
///
/// Errors: the node does not respond, or its answer lacks it.
pub fn own_stake_min(client: &Client) -> Result<u64, Failure> {
    let params = query::state(client, "/staking/params", &[], None)?.value;
    Ok(fields::number(&params, "/own_stake_min")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_power_stops_the_chain() {
        let stops = |power, total| Share { power, total }.stops_the_chain();
        assert!(stops(1, 3) && stops(1, 1) && stops(u64::MAX, u64::MAX));
        assert!(!stops(10, 31) && !stops(0, 1));
    }
}
