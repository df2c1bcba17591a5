//! Queries of validators and stake, as tables for people or as JSON.

use client::{FieldError, fields};
use node::exit::Failure;
use serde_json::{Value, json};
use types::Time;

use super::{
    output,
    query::{self, Asker},
    show::Facts,
};

/// Titles of the table of validators.
const VALIDATOR_TITLES: [&str; 9] =
    ["operator", "moniker", "status", "power", "tokens", "commission", "missed", "jailed for", "jailed until"];
/// The end of a jail that the operator may end in the next block.
const ANY_TIME: &str = "any time";
/// The end of a jail that does not end.
const FOR_EVER: &str = "for ever";

/// Returns the reason for which a validator is in jail at a time, and until when; `None` if it is not in jail.
///
/// Errors: the answer about the validator lacks a field.
fn jail(validator: &Value, now: Time) -> Result<Option<[String; 2]>, FieldError> {
    if fields::at(validator, "/jailed")?.is_null() {
        return Ok(None);
    }
    let until = fields::time(validator, "/jailed/until")?;
    let until = match fields::at(validator, "/tombstoned")? == &json!(true) {
        true => FOR_EVER.to_owned(),
        false if until <= now => ANY_TIME.to_owned(),
        false => until.to_string(),
    };
    Ok(Some([fields::text(validator, "/jailed/why")?.to_owned(), until]))
}

/// Returns why a validator is not in the set.
fn absence(jail: Option<[String; 2]>) -> String {
    match jail {
        None => "no: it has less stake than the members, or than a unit of power".to_owned(),
        Some([why, until]) if until == FOR_EVER => format!("no: jailed for {why}, for ever"),
        Some([why, until]) if until == ANY_TIME => format!("no: jailed for {why}, until `cairn stake unjail`"),
        Some([why, until]) => format!("no: jailed for {why}, until {until}"),
    }
}

impl Asker {
    /// Prints all validators, those outside of the set too.
    ///
    /// Errors: the node does not respond or refuses.
    pub fn all_validators(&self, height: Option<u64>) -> Result<(), Failure> {
        let (all, at) = query::pages(&self.client, "/staking/validators", "/validators", height)?;
        if self.json {
            output::json(&json!({ "validators": all, "height": at.to_string() }));
            return Ok(());
        }
        let params = query::state(&self.client, "/staking/params", &[], Some(at))?.value;
        let window = fields::number(&params, "/downtime_window")?;
        let names = self.names();
        let time = self.time_of(at);
        let mut rows = vec![VALIDATOR_TITLES.map(str::to_owned).to_vec()];
        for one in &all {
            let bps = fields::number(one, "/commission_bps")?;
            let [why, until] = jail(one, time)?.unwrap_or_default();
            rows.push(vec![
                names.name_of(fields::text(one, "/operator")?),
                fields::text(one, "/moniker")?.to_owned(),
                fields::text(one, "/status")?.to_owned(),
                fields::number(one, "/power")?.to_string(),
                fields::number(one, "/tokens")?.to_string(),
                format!("{}.{:02} %", bps / 100, bps % 100),
                format!("{} of {window}", fields::number(one, "/missed")?),
                why,
                until,
            ]);
        }
        output::table(&rows, &[3, 4, 5, 6]).iter().for_each(output::line);
        Ok(())
    }

    /// Returns the time of the block at a height. The state before the first block has no header: then it is the epoch.
    fn time_of(&self, height: u64) -> Time {
        let answer = self.client.call("header", json!({ "height": height.to_string() }));
        answer.ok().and_then(|answer| fields::time(&answer, "/header/time").ok()).unwrap_or(Time::UNIX_EPOCH)
    }

    /// Prints what a validator and those behind it lost.
    ///
    /// Errors: the account is unknown, the node does not respond or refuses.
    pub fn slashes(&self, validator: &str, height: Option<u64>) -> Result<(), Failure> {
        let path = format!("/staking/slashes/{}", self.keyring.address_of(validator)?);
        let (all, at) = query::pages(&self.client, &path, "/slashes", height)?;
        if self.json {
            output::json(&json!({ "slashes": all, "height": at.to_string() }));
            return Ok(());
        }
        let mut rows = vec![["infraction", "height", "slashed at", "fraction", "burned"].map(str::to_owned).to_vec()];
        for one in &all {
            let bps = fields::number(one, "/fraction_bps")?;
            rows.push(vec![
                fields::text(one, "/infraction")?.to_owned(),
                fields::number(one, "/height")?.to_string(),
                fields::number(one, "/block")?.to_string(),
                format!("{}.{:02} %", bps / 100, bps % 100),
                fields::number(one, "/burned")?.to_string(),
            ]);
        }
        output::table(&rows, &[1, 2, 3, 4]).iter().for_each(output::line);
        Ok(())
    }

    /// Prints which heights a validator did not sign.
    ///
    /// Errors: the account is unknown, the node does not respond or refuses.
    pub fn uptime(&self, validator: &str, height: Option<u64>) -> Result<(), Failure> {
        let operator = self.keyring.address_of(validator)?;
        let path = format!("/staking/uptime/{operator}");
        let query::Answer { mut value, height } = query::state(&self.client, &path, &[], height)?;
        if self.json {
            value["height"] = Value::from(height.to_string());
            output::json(&value);
            return Ok(());
        }
        let path = format!("/staking/validator/{operator}");
        let validator = query::state(&self.client, &path, &[], Some(height))?.value;
        let is_member = fields::number(&validator, "/power")? > 0;
        let last = fields::number(&value, "/last_missed").ok();
        // The state of a height knows who signed the height before.
        let is_silent = is_member && last.is_some_and(|last| last + 1 >= height);
        let time = |field: &str| Some(fields::text(&value, field).ok().filter(|_| is_silent)?.to_owned());
        let mut facts = Facts::default();
        if is_member {
            facts.add("in the set since height", fields::number(&value, "/since")?);
        } else {
            facts.add("in the set", absence(jail(&validator, self.time_of(height))?));
        }
        let (missed, window) = (fields::number(&value, "/missed")?, fields::number(&value, "/window")?);
        facts.add("missed", format!("{missed} of {window}"));
        facts.add("last missed height", last.map_or_else(|| "none".to_owned(), |last| last.to_string()));
        if is_member {
            facts.add("silent since", time("/silent_since").unwrap_or_else(|| "it signs".to_owned()));
        }
        if let Some(from) = time("/jailed_from") {
            facts.add("jailed if silent until", from);
        }
        facts.add("at height", height).print();
        Ok(())
    }

    /// Prints what an account has delegated.
    ///
    /// Errors: the account is unknown, the node does not respond or refuses.
    pub fn delegations(&self, account: &str, height: Option<u64>) -> Result<(), Failure> {
        let path = format!("/staking/delegations/{}", self.keyring.address_of(account)?);
        let (all, at) = query::pages(&self.client, &path, "/delegations", height)?;
        if self.json {
            output::json(&json!({ "delegations": all, "height": at.to_string() }));
            return Ok(());
        }
        let names = self.names();
        let mut rows = vec![["validator", "amount", "unbondings"].map(str::to_owned).to_vec()];
        for one in &all {
            rows.push(vec![
                names.name_of(fields::text(one, "/validator")?),
                fields::number(one, "/amount")?.to_string(),
                fields::number(one, "/unbonding")?.to_string(),
            ]);
        }
        output::table(&rows, &[1, 2]).iter().for_each(output::line);
        Ok(())
    }

    /// Prints what an account takes back, and what it moved, with the times until which it is locked.
    ///
    /// Errors: the account is unknown, the node does not respond or refuses.
    pub fn unbonding(&self, account: &str, height: Option<u64>) -> Result<(), Failure> {
        let address = self.keyring.address_of(account)?;
        let ask = |kind: &str, height| {
            query::pages(&self.client, &format!("/staking/{kind}/{address}"), "/departures", height)
        };
        let (unbonding, at) = ask("unbonding", height)?;
        let (moved, _) = ask("redelegations", Some(at))?;
        if self.json {
            output::json(&json!({ "unbonding": unbonding, "redelegations": moved, "height": at.to_string() }));
            return Ok(());
        }
        let names = self.names();
        let mut rows = vec![["validator", "id", "amount", "goes to", "locked until"].map(str::to_owned).to_vec()];
        for one in unbonding.iter().chain(&moved) {
            let to = fields::text(one, "/to").map_or_else(|_| "the account".to_owned(), |to| names.name_of(to));
            let until = fields::text(one, "/completes_at").unwrap_or("the next height sets it");
            rows.push(vec![
                names.name_of(fields::text(one, "/validator")?),
                fields::number(one, "/id")?.to_string(),
                fields::number(one, "/amount")?.to_string(),
                to,
                until.to_owned(),
            ]);
        }
        output::table(&rows, &[1, 2]).iter().for_each(output::line);
        Ok(())
    }

    /// Prints what the stake of an account has earned.
    ///
    /// Errors: the account is unknown, the node does not respond or refuses.
    pub fn rewards(&self, account: &str, height: Option<u64>) -> Result<(), Failure> {
        let path = format!("/staking/rewards/{}", self.keyring.address_of(account)?);
        let (all, at) = query::pages(&self.client, &path, "/rewards", height)?;
        if self.json {
            output::json(&json!({ "rewards": all, "height": at.to_string() }));
            return Ok(());
        }
        let names = self.names();
        let mut rows = vec![["validator", "amount"].map(str::to_owned).to_vec()];
        for one in &all {
            rows.push(vec![
                names.name_of(fields::text(one, "/validator")?),
                fields::number(one, "/amount")?.to_string(),
            ]);
        }
        output::table(&rows, &[1]).iter().for_each(output::line);
        Ok(())
    }

    /// Prints stake, rewards, fees and what is the community's, and the power of the set.
    ///
    /// Errors: the node does not respond or refuses.
    pub fn pool(&self, height: Option<u64>) -> Result<(), Failure> {
        let query::Answer { mut value, height } = query::state(&self.client, "/staking/pool", &[], height)?;
        if self.json {
            value["height"] = Value::from(height.to_string());
            output::json(&value);
            return Ok(());
        }
        let mut facts = Facts::default();
        for pool in ["bonded", "unbonding", "rewards", "fees", "community"] {
            facts.add(pool, fields::number(&value, &format!("/{pool}"))?);
        }
        facts.add("power of the set", fields::number(&value, "/power")?);
        facts.add("at height", height).print();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jail_has_a_reason_and_an_end() {
        let now = Time::from_unix_millis(86_400_000);
        let of = |until: &str, tombstoned: bool| {
            let why = if tombstoned { "double_sign" } else { "downtime" };
            let validator = json!({ "jailed": { "why": why, "until": until }, "tombstoned": tombstoned });
            let jail = jail(&validator, now).unwrap();
            (jail.clone().unwrap()[1].clone(), absence(jail))
        };
        let says = |until: &str, absence: &str| (until.to_owned(), absence.to_owned());
        let later = "1970-01-02T00:00:01Z";
        assert_eq!(of(later, false), says(later, "no: jailed for downtime, until 1970-01-02T00:00:01Z"));
        let passed = says("any time", "no: jailed for downtime, until `cairn stake unjail`");
        assert_eq!(of("1970-01-02T00:00:00Z", false), passed);
        assert_eq!(of("1970-01-01T00:00:00Z", false), passed);
        assert_eq!(of("1970-01-01T00:00:00Z", true), says("for ever", "no: jailed for double_sign, for ever"));
        assert_eq!(jail(&json!({ "jailed": null, "tombstoned": false }), now), Ok(None));
        assert_eq!(absence(None), "no: it has less stake than the members, or than a unit of power");
    }
}
