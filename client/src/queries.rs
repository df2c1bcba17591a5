//! Queries with typed answers.

use std::time::Duration;

use serde_json::{Value, json};
use types::{Address, ChainId, Height, Time};

use crate::{Client, ClientError, FieldError, fields};

/// What a node reports about itself and its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name of the chain.
    pub chain_id: ChainId,
    /// Last height that the node has committed.
    pub height: Height,
    /// Time of the block of that height.
    pub time: Time,
    /// True if the node is still catching up with the chain.
    pub catching_up: bool,
    /// Identity of the node among its peers.
    pub node_id: String,
    /// Name that the node gives itself.
    pub moniker: String,
    /// Version that the node reports; empty if it reports none.
    pub version: String,
}

/// Parameters of the chain that a sender of transactions needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainParams {
    /// Minimum fee of a transaction of less than 1 KiB.
    pub fee_min: u64,
    /// Amount by which the minimum fee grows for each full KiB of a transaction.
    pub fee_per_kib: u64,
    /// Maximum time after which an unordered transaction may expire.
    pub tx_ttl_max: Duration,
}

/// State of an account on the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Amount of money in the account.
    pub balance: u64,
    /// Nonce of its next ordered transaction. It follows those of the account's transactions in the node's mempool.
    pub nonce: u64,
    /// Height to which this state belongs.
    pub height: Height,
}

impl ChainParams {
    /// Returns the minimum fee of a transaction of this number of bytes.
    pub fn fee_of(&self, tx_bytes: usize) -> u64 {
        self.fee_min.saturating_add(self.fee_per_kib.saturating_mul(tx_bytes as u64 / 1024))
    }
}

impl Client {
    /// Queries what the node reports about itself and its chain.
    ///
    /// Errors: those of [`Client::call`]; [`ClientError::Field`] when the answer lacks a field.
    pub fn chain(&self) -> Result<Chain, ClientError> {
        let status = self.call("status", json!({}))?;
        let chain = || {
            let text = |pointer| Ok(fields::text(&status, pointer)?.to_owned());
            let chain_id = ChainId::new(&text("/node_info/network")?)
                .map_err(|_| FieldError { pointer: "/node_info/network".to_owned(), what: "name of a chain" })?;
            Ok(Chain {
                chain_id,
                height: Height(fields::number(&status, "/sync_info/latest_block_height")?),
                time: fields::time(&status, "/sync_info/latest_block_time")?,
                catching_up: status.pointer("/sync_info/catching_up").and_then(Value::as_bool).unwrap_or(false),
                node_id: text("/node_info/id")?,
                moniker: text("/node_info/moniker")?,
                version: text("/node_info/other/cairn_version").unwrap_or_default(),
            })
        };
        chain().map_err(|error| self.lacks(error))
    }

    /// Queries the parameters of the chain.
    ///
    /// Errors: those of [`Client::call`]; [`ClientError::Node`] when the node has no parameters yet;
    /// [`ClientError::Field`] when one is missing.
    pub fn params(&self) -> Result<ChainParams, ClientError> {
        let answer = self.call("abci_query", json!({ "path": "/params" }))?;
        let code = fields::number(&answer, "/response/code").unwrap_or(0);
        if code != 0 {
            let log = fields::text(&answer, "/response/log").unwrap_or_default();
            return Err(self.refusal("abci_query", &format!("{log} (code {code})")));
        }
        let params = || {
            let value = fields::bytes(&answer, "/response/value")?;
            let params: Value = serde_json::from_slice(&value)
                .map_err(|_| FieldError { pointer: "/response/value".to_owned(), what: "JSON" })?;
            Ok(ChainParams {
                fee_min: fields::number(&params, "/fee_min")?,
                fee_per_kib: fields::number(&params, "/fee_per_kib")?,
                tx_ttl_max: Duration::from_millis(fields::number(&params, "/tx_ttl_ms_max")?),
            })
        };
        params().map_err(|error| self.lacks(error))
    }

    /// Queries the state of an account.
    ///
    /// Errors: those of [`Client::call`]; [`ClientError::Field`] when the answer lacks a field.
    pub fn account(&self, address: &Address) -> Result<AccountState, ClientError> {
        account(&self.call("account", of_account(address))?).map_err(|error| self.lacks(error))
    }

    /// Queries the states of accounts in one request, and returns them in the order of `addresses`.
    ///
    /// Errors: those of [`Client::batch`], and of each of its calls; [`ClientError::Field`] when an answer lacks a field.
    pub fn accounts(&self, addresses: &[Address]) -> Result<Vec<AccountState>, ClientError> {
        let answers = self.batch(addresses.iter().map(|address| ("account", of_account(address))))?;
        answers.into_iter().map(|answer| account(&answer?).map_err(|error| self.lacks(error))).collect()
    }

    /// Queries how many transactions wait in the node's mempool.
    ///
    /// Errors: those of [`Client::call`]; [`ClientError::Field`] when the answer has no number.
    pub fn waiting(&self) -> Result<u64, ClientError> {
        fields::number(&self.call("num_unconfirmed_txs", json!({}))?, "/total").map_err(|error| self.lacks(error))
    }

    /// Returns how many calls the node accepts in one request, at most `wanted`. It tries smaller and smaller sizes.
    ///
    /// Errors: those of [`Client::batch`] when the node does not accept even one call.
    pub fn batch_max(&self, wanted: usize) -> Result<usize, ClientError> {
        let mut size = wanted;
        loop {
            match self.batch((0..size).map(|_| ("health", json!({})))) {
                Ok(_) => return Ok(size),
                Err(error) if size <= 1 => return Err(error),
                // CometBFT's default limit is ten calls, so that size is tried before smaller ones.
                Err(_) => size = if size > 10 { (size / 2).max(10) } else { size / 2 },
            }
        }
    }
}

fn of_account(address: &Address) -> Value {
    json!({ "address": address.to_string() })
}

fn account(answer: &Value) -> Result<AccountState, FieldError> {
    Ok(AccountState {
        balance: fields::number(answer, "/balance")?,
        nonce: fields::number(answer, "/nonce")?,
        height: Height(fields::number(answer, "/height")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::node;

    #[test]
    fn accounts_are_in_the_order_of_their_addresses() {
        let body = r#"[{"id":1,"result":{"balance":"7","nonce":"2","height":"9"}},
            {"id":0,"result":{"balance":"5","nonce":"0","height":"9"}}]"#;
        let accounts = node(&[body]).accounts(&[Address([1; 20]), Address([2; 20])]).unwrap();
        let state = |balance, nonce| AccountState { balance, nonce, height: Height(9) };
        assert_eq!(accounts, [state(5, 0), state(7, 2)]);
        let error = node(&[r#"{"id":1,"result":{"balance":"7"}}"#]).account(&Address([1; 20])).unwrap_err();
        assert!(error.to_string().contains("no value at /nonce"), "{error}");
    }

    #[test]
    fn the_largest_batch_is_found_by_trying() {
        let refused = r#"{"error":{"code":-32600,"data":"a batch of 15 calls, at most 10 are allowed"}}"#;
        let fits: Vec<Value> = (0..10).map(|id| json!({ "id": id, "result": {} })).collect();
        assert_eq!(node(&[refused, &Value::Array(fits).to_string()]).batch_max(15).unwrap(), 10);
        let error = node(&[refused; 3]).batch_max(4).unwrap_err().to_string();
        assert!(error.contains("at most 10"), "{error}");
    }

    #[test]
    fn parameters_are_json_in_base64() {
        let value = data_encoding::BASE64.encode(br#"{"fee_min":"3","fee_per_kib":"2","tx_ttl_ms_max":"7","more":1}"#);
        let body = json!({ "id": 1, "result": { "response": { "code": 0, "value": value } } }).to_string();
        assert_eq!(
            node(&[&body]).params().unwrap(),
            ChainParams { fee_min: 3, fee_per_kib: 2, tx_ttl_max: Duration::from_millis(7) }
        );
        let refused = r#"{"id":1,"result":{"response":{"code":1,"log":"no block yet","value":null}}}"#;
        assert!(node(&[refused]).params().unwrap_err().to_string().contains("no block yet (code 1)"));
        let error = node(&[r#"{"id":1,"result":{"response":{"value":null}}}"#]).params().unwrap_err();
        assert!(error.to_string().contains("no JSON at /response/value"), "{error}");
    }

    #[test]
    fn an_answer_that_no_node_gives_is_an_error() {
        for body in ["", "<html>", "{}", "[]", r#"{"result":{"node_info":{}}}"#, r#"{"error":{"message":"no"}}"#] {
            let client = node(&[body]);
            let error = client.chain().unwrap_err().to_string();
            assert!(error.starts_with(&client.url()), "{error}");
        }
    }
}
