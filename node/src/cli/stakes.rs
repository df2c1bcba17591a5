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
        let names = self.names();
        let titles = ["operator", "moniker", "status", "power", "tokens", "commission", "jailed until"];
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
                if fields::at(one, "/tombstoned")? == &json!(true) { "for ever" } else { jailed }.to_owned(),
            ]);
        }
        output::table(&rows, &[3, 4, 5]).iter().for_each(output::line);
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
