//! Queries of validators and stake, as tables for people or as JSON.

use client::fields;
use node::exit::Failure;
use serde_json::{Value, json};

use super::{
    output,
    query::{self, Asker},
    show::Facts,
};

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
        let titles = ["operator", "moniker", "status", "power", "tokens", "commission", "missed", "jailed until"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        for one in &all {
            let bps = fields::number(one, "/commission_bps")?;
            let jailed = fields::text(one, "/jailed/until").unwrap_or_default();
            rows.push(vec![
                names.name_of(fields::text(one, "/operator")?),
                fields::text(one, "/moniker")?.to_owned(),
                fields::text(one, "/status")?.to_owned(),
                fields::number(one, "/power")?.to_string(),
                fields::number(one, "/tokens")?.to_string(),
                format!("{}.{:02} %", bps / 100, bps % 100),
                format!("{} of {window}", fields::number(one, "/missed")?),
                if fields::at(one, "/tombstoned")? == &json!(true) { "for ever" } else { jailed }.to_owned(),
            ]);
        }
        output::table(&rows, &[3, 4, 5, 6]).iter().for_each(output::line);
        Ok(())
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
        let path = format!("/staking/uptime/{}", self.keyring.address_of(validator)?);
        let query::Answer { mut value, height } = query::state(&self.client, &path, &[], height)?;
        if self.json {
            value["height"] = Value::from(height.to_string());
            output::json(&value);
            return Ok(());
        }
        let last = fields::number(&value, "/last_missed").ok();
        // The state of a height knows who signed the height before.
        let is_silent = last.is_some_and(|last| last + 1 >= height);
        let time = |field: &str| Some(fields::text(&value, field).ok().filter(|_| is_silent)?.to_owned());
        let mut facts = Facts::default();
        facts.add("in the set since height", fields::number(&value, "/since")?);
        let (missed, window) = (fields::number(&value, "/missed")?, fields::number(&value, "/window")?);
        facts.add("missed", format!("{missed} of {window}"));
        facts.add("last missed height", last.map_or_else(|| "none".to_owned(), |last| last.to_string()));
        facts.add("silent since", time("/silent_since").unwrap_or_else(|| "it signs".to_owned()));
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
