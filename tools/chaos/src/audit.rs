//! The account of a whole chain at the end of a run: reads all blocks of one validator, and compares what they say with what
//! was answered during the run and with what each validator answers now.
//!
//! - **A1** Each transaction is in one block at most.
//! - **A2** A transaction of which a node said that it is committed is at that height, at every validator.
//! - **A3** The transactions of an account have the nonces 0, 1, 2, …, in the order of the blocks.
//! - **A4** The money of an account is what the blocks say, at every validator.
//! - **A5** The supply has shrunk by what was burned, and by nothing else.
//! - **A6** Evidence is against the liar only.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use client::{Client, ClientError, fields};
use data_encoding::BASE64;
use serde_json::{Value, json};
use types::{Address, Msg, Transaction, TxId, TxOrder, Wire};

use crate::ledger::{Committed, Unfinished, Why};

/// Number of heights that are read with one request.
const HEIGHTS_IN_BATCH: u64 = 40;
/// Number of transactions that are asked for with one request.
const TXS_IN_BATCH: usize = 100;

/// What the blocks of a chain say.
#[derive(Default)]
pub struct Audit {
    /// Height and result code of each transaction.
    txs: HashMap<TxId, (u64, u64)>,
    /// What each account received less what it spent on transfers and fees.
    money: BTreeMap<Address, i128>,
    /// Next nonce of each account.
    nonces: BTreeMap<Address, u64>,
    /// Height of each piece of evidence, and the address of the validator that it accuses.
    pub evidence: Vec<(u64, String)>,
    /// Stake that slashes burned.
    pub burned: u64,
    /// Operators of the slashed validators, with the kind of the offence.
    pub slashed: Vec<(String, String)>,
    /// What is wrong, one sentence each.
    pub wrong: Vec<String>,
}

impl Audit {
    /// Reads the blocks of a validator up to a height.
    ///
    /// Errors: those of [`Client::batch`], and of each of its calls.
    pub fn read(client: &Client, tip: u64) -> Result<Self, ClientError> {
        let mut audit = Self::default();
        let mut low = 1;
        while low <= tip {
            let high = (low + HEIGHTS_IN_BATCH - 1).min(tip);
            let call = |method: &'static str| {
                (low..=high).map(move |height| (method, json!({ "height": height.to_string() })))
            };
            let mut answers = client.batch(call("block").chain(call("block_results")))?;
            let results = answers.split_off(answers.len() / 2);
            for (height, (block, results)) in (low..=high).zip(answers.into_iter().zip(results)) {
                audit.add(height, &block?, &results?);
            }
            low = high + 1;
        }
        Ok(audit)
    }

    fn add(&mut self, height: u64, block: &Value, results: &Value) {
        let list = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let txs = list(block, "/block/data/txs");
        let codes = list(results, "/txs_results");
        if txs.len() != codes.len() {
            self.wrong.push(format!("height {height} has {} transactions and {} results", txs.len(), codes.len()));
        }
        for (tx, result) in txs.iter().zip(&codes) {
            let bytes = tx.as_str().and_then(|text| BASE64.decode(text.as_bytes()).ok()).unwrap_or_default();
            match Transaction::decode(&bytes) {
                Ok(tx) => self.execute(height, &tx, fields::number(result, "/code").unwrap_or(u64::MAX)),
                Err(error) => self.wrong.push(format!("height {height} has a transaction that is none: {error}")),
            }
        }
        for evidence in list(block, "/block/evidence/evidence") {
            let accused = evidence.pointer("/value/vote_a/validator_address").and_then(Value::as_str);
            self.evidence.push((height, accused.unwrap_or("unknown").to_owned()));
        }
        for event in list(results, "/finalize_block_events").iter().filter(|event| event["type"] == "staking.slashed") {
            let attribute = |key: &str| -> String {
                let all = event["attributes"].as_array().into_iter().flatten();
                all.into_iter()
                    .find(|one| one["key"] == key)
                    .and_then(|one| one["value"].as_str())
                    .unwrap_or_default()
                    .to_owned()
            };
            self.burned += attribute("burned").parse::<u64>().unwrap_or_default();
            self.slashed.push((attribute("validator"), attribute("infraction")));
        }
    }

    fn execute(&mut self, height: u64, tx: &Transaction, code: u64) {
        if let Some((first, _)) = self.txs.insert(tx.id(), (height, code)) {
            self.wrong.push(format!("transaction {} is at height {first} and at height {height}", tx.id()));
        }
        let body = tx.body();
        let signer = body.signer.address();
        if let TxOrder::Nonce(nonce) = body.order {
            let next = self.nonces.entry(signer).or_default();
            if nonce != *next {
                self.wrong.push(format!("{signer} has nonce {nonce} at height {height}, and {next} was its next one"));
            }
            *next = nonce + 1;
        }
        *self.money.entry(signer).or_default() -= i128::from(body.fee);
        for message in body.messages.iter().filter(|_| code == 0) {
            if let Msg::Transfer { to, amount } = message {
                *self.money.entry(signer).or_default() -= i128::from(*amount);
                *self.money.entry(*to).or_default() += i128::from(*amount);
            }
        }
    }

    /// Compares the blocks with what was answered during the run.
    pub fn compare_answers(&mut self, committed: &[Committed], unfinished: &[Unfinished]) {
        for answer in committed {
            match self.txs.get(&answer.id) {
                None => self.wrong.push(format!(
                    "transaction {} was answered as committed at height {}, and is in no block",
                    answer.id, answer.height
                )),
                Some((height, _)) if *height != answer.height => self.wrong.push(format!(
                    "transaction {} was answered as committed at height {}, and is at height {height}",
                    answer.id, answer.height
                )),
                Some(_) => {}
            }
        }
        for tx in unfinished {
            let is_there = self.txs.contains_key(&tx.id);
            let says = match (tx.why, is_there) {
                (Why::Expired, false) => continue,
                (Why::Expired, true) => "expired before it was committed, and is in a block nevertheless".to_owned(),
                (Why::Refused(code), false) => format!("was refused with code {code}"),
                (Why::Refused(code), true) => format!("was refused with code {code}, and is in a block"),
                (Why::Late, false) => "was never committed, although it was sent again and again".to_owned(),
                (Why::Late, true) => "is in a block, and no validator said so".to_owned(),
            };
            self.wrong.push(format!("transaction {} {says}", tx.id));
        }
    }

    /// Compares the blocks with the answers of one validator about accounts and transactions.
    ///
    /// Errors: those of [`Client::batch`]; the error of a single call is a finding.
    pub fn compare_validator(
        &mut self,
        name: &str,
        client: &Client,
        accounts: &[Address],
        committed: &[Committed],
    ) -> Result<(), ClientError> {
        let call = |address: &Address| ("account", json!({ "address": address.to_string() }));
        let answers = client.batch(accounts.iter().map(call))?;
        for (address, answer) in accounts.iter().zip(answers) {
            let answer = answer?;
            let number = |field: &str| fields::number(&answer, field).unwrap_or(u64::MAX);
            let (money, nonce) = (number("/balance"), number("/committed_nonce"));
            let (of_blocks, next) =
                (self.money.get(address).copied().unwrap_or(0), self.nonces.get(address).copied().unwrap_or(0));
            if i128::from(money) != of_blocks || nonce != next {
                self.wrong.push(format!(
                    "{name}: account {address} has {money} and nonce {nonce}; by the blocks it has {of_blocks} and nonce {next}"
                ));
            }
        }
        for part in committed.chunks(TXS_IN_BATCH) {
            let answers = client.batch(part.iter().map(|tx| ("tx", json!({ "hash": tx.id.to_string() }))))?;
            for (tx, answer) in part.iter().zip(answers) {
                let height = answer.ok().and_then(|answer| fields::number(&answer, "/height").ok());
                if height != Some(tx.height) {
                    self.wrong.push(format!(
                        "{name}: transaction {} is at {height:?} and not at height {}",
                        tx.id, tx.height
                    ));
                }
            }
        }
        Ok(())
    }

    /// Compares the supply at two heights with what was burned between them.
    ///
    /// Errors: those of [`Client::call`]; [`ClientError::Field`] when an answer lacks the supply.
    pub fn compare_supply(&mut self, name: &str, client: &Client, tip: u64) -> Result<(), ClientError> {
        let (first, last) = (supply(client, 1)?, supply(client, tip)?);
        if first.checked_sub(self.burned) != Some(last) {
            let burned = self.burned;
            self.wrong.push(format!("{name}: the supply was {first} and is {last}, but {burned} was burned"));
        }
        Ok(())
    }

    /// Checks that evidence accuses only the validator with this address; `None` if there is no liar.
    pub fn compare_evidence(&mut self, liar: Option<&str>) {
        let accused: BTreeSet<&String> = self.evidence.iter().map(|(_, accused)| accused).collect();
        let innocent = accused.iter().filter(|accused| Some(accused.as_str()) != liar);
        let innocent: Vec<String> =
            innocent.map(|accused| format!("a block has evidence against the correct validator {accused}")).collect();
        self.wrong.extend(innocent);
    }

    /// Returns the number of transactions in all blocks.
    pub fn txs(&self) -> usize {
        self.txs.len()
    }
}

fn supply(client: &Client, height: u64) -> Result<u64, ClientError> {
    query(client, "/supply", height).map(|value| fields::number(&value, "/total").unwrap_or_default())
}

/// Returns the answer of the application to a query at a height.
///
/// Errors: those of [`Client::call`]; [`ClientError::Field`] when the answer has no value.
pub fn query(client: &Client, path: &str, height: u64) -> Result<Value, ClientError> {
    let answer = client.call("abci_query", json!({ "path": path, "height": height.to_string() }))?;
    let value =
        fields::bytes(&answer, "/response/value").map_err(|error| ClientError::Field { url: client.url(), error })?;
    Ok(serde_json::from_slice(&value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use types::{ChainId, SecretKey, TxBody};

    use super::*;

    fn transfer(nonce: u64, amount: u64) -> Transaction {
        let key = SecretKey::from_bytes(&[7; 32]).unwrap();
        let messages = vec![Msg::Transfer { to: Address([9; 20]), amount }];
        let order = TxOrder::Nonce(nonce);
        TxBody { chain_id: ChainId::new("c").unwrap(), signer: key.public_key(), order, fee: 2, messages }.sign(&key)
    }

    fn audit(heights: &[&[(Transaction, u64)]]) -> Audit {
        let mut audit = Audit::default();
        for (height, txs) in (1..).zip(heights) {
            let bytes: Vec<String> = txs.iter().map(|(tx, _)| BASE64.encode(tx.bytes())).collect();
            let results: Vec<Value> = txs.iter().map(|(_, code)| json!({ "code": code })).collect();
            audit.add(height, &json!({ "block": { "data": { "txs": bytes } } }), &json!({ "txs_results": results }));
        }
        audit
    }

    #[test]
    fn blocks_are_added_up() {
        let audit = audit(&[&[(transfer(0, 5), 0), (transfer(1, 7), 11)], &[(transfer(2, 1), 0)]]);
        let signer = transfer(0, 5).body().signer.address();
        assert_eq!(audit.wrong, [""; 0]);
        assert_eq!((audit.money[&signer], audit.money[&Address([9; 20])], audit.nonces[&signer]), (-12, 6, 3));
    }

    #[test]
    fn a_transaction_in_two_blocks_or_with_a_wrong_nonce_is_found() {
        let twice = audit(&[&[(transfer(0, 5), 0)], &[(transfer(0, 5), 0)]]);
        assert!(twice.wrong[0].contains("is at height 1 and at height 2"), "{:?}", twice.wrong);
        let gap = audit(&[&[(transfer(1, 5), 0)]]);
        assert!(gap.wrong[0].contains("has nonce 1 at height 1, and 0 was its next one"), "{:?}", gap.wrong);
    }

    #[test]
    fn a_lost_and_a_moved_transaction_are_found() {
        let mut audit = audit(&[&[(transfer(0, 5), 0)]]);
        let id = transfer(0, 5).id();
        audit.compare_answers(&[Committed { id, height: 1 }], &[]);
        assert_eq!(audit.wrong, [""; 0]);
        let lost = transfer(9, 9).id();
        let unfinished = [(id, Why::Expired), (lost, Why::Late)].map(|(id, why)| Unfinished { id, why });
        audit.compare_answers(&[Committed { id, height: 2 }, Committed { id: lost, height: 1 }], &unfinished);
        let says = ["and is at height 1", "and is in no block", "in a block nevertheless", "was never committed"];
        assert!(audit.wrong.iter().zip(says).all(|(wrong, says)| wrong.contains(says)), "{:?}", audit.wrong);
        assert_eq!(audit.wrong.len(), says.len());
    }

    #[test]
    fn evidence_against_another_validator_is_found() {
        let mut audit = Audit::default();
        let evidence = json!({ "value": { "vote_a": { "validator_address": "AB" } } });
        audit.add(1, &json!({ "block": { "evidence": { "evidence": [evidence] } } }), &json!({}));
        audit.compare_evidence(Some("AB"));
        assert_eq!(audit.wrong, [""; 0]);
        audit.compare_evidence(Some("CD"));
        audit.compare_evidence(None);
        assert_eq!(audit.wrong.len(), 2);
    }
}
