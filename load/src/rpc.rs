//! Client of one node's RPC, for all queries that are not the load itself. One request at a time.

use std::{io::Write, net::TcpStream, time::Duration};

use data_encoding::BASE64;
use serde_json::{Value, json};
use types::{Address as Account, ChainId, Height, Time};

use crate::{
    LoadError,
    http::{Address, Answers},
};

/// Timeout for reading or writing on the connection.
const NODE_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum size in bytes of an answer that is read: enough for a block of 16 MiB in base64.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Client of a node, with a connection that it keeps while it works.
pub struct Rpc {
    url: String,
    address: Address,
    connection: Option<(TcpStream, Answers)>,
}

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
    /// Minimum fee of a transaction.
    pub fee_min: u64,
    /// Maximum time after which an unordered transaction may expire.
    pub tx_ttl_max: Duration,
}

/// State of an account on the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Amount of money in the account.
    pub balance: u64,
    /// Nonce of its next transaction.
    pub nonce: u64,
}

impl Rpc {
    /// Creates a client of the node at this address, without connecting to it.
    ///
    /// Errors: [`LoadError::Plan`] when the text is not an address.
    pub fn new(url: &str) -> Result<Self, LoadError> {
        let address = Address::parse(url).map_err(|reason| LoadError::Plan { field: "nodes", reason })?;
        Ok(Self { url: url.to_owned(), address, connection: None })
    }

    /// Sends a POST request, and returns the body of the answer. If an existing connection fails, it retries once on a
    /// new one.
    ///
    /// Errors: [`LoadError::Node`] when the node cannot be reached, or its answer is late or invalid.
    pub fn post(&mut self, body: &[u8]) -> Result<Vec<u8>, LoadError> {
        let mut request = Vec::with_capacity(body.len() + 256);
        self.address.write_post(body.len(), &mut request);
        request.extend_from_slice(body);
        self.exchange(&request)
    }

    /// Fetches a page with a GET request, and returns its body. It retries like [`Self::post`].
    ///
    /// Errors: [`LoadError::Node`] when the node cannot be reached, or its answer is late or invalid.
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>, LoadError> {
        let (path, authority) = (self.address.path(path), self.address.authority());
        let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        self.exchange(request.as_bytes())
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, LoadError> {
        let was_open = self.connection.is_some();
        let mut answer = self.try_exchange(request);
        if answer.is_err() && was_open {
            answer = self.try_exchange(request);
        }
        answer.map_err(|error| {
            LoadError::node(
                &self.url,
                format!("no answer ({error}): is a node running there? Name others with --nodes"),
            )
        })
    }

    fn try_exchange(&mut self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let (mut stream, mut answers) = match self.connection.take() {
            Some(open) => open,
            None => {
                let stream = self.address.connect()?;
                stream.set_read_timeout(Some(NODE_TIMEOUT))?;
                stream.set_write_timeout(Some(NODE_TIMEOUT))?;
                let answers = Answers::of(stream.try_clone()?);
                (stream, answers)
            }
        };
        stream.write_all(request)?;
        let answer = answers.next(ANSWER_BYTES_MAX)?;
        // A connection is kept only after an exchange that succeeded.
        self.connection = Some((stream, answers));
        Ok(answer.body)
    }

    /// Calls one method with parameters by name, and returns its result.
    ///
    /// Errors: [`LoadError::Node`] when the node does not answer, the answer is not JSON, or it has an error instead of
    /// a result.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, LoadError> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let answer = self.post(body.as_bytes())?;
        let answer = serde_json::from_slice(&answer).map_err(|_| self.wrong("it does not answer in JSON"))?;
        self.result(answer).map_err(|reason| LoadError::node(&self.url, format!("{method}: {reason}")))
    }

    /// Calls one method several times in one request, and returns the results in the order of `params`.
    ///
    /// Errors: [`LoadError::Node`] when the node does not answer, or does not answer every call. The error of a single
    /// call is the element at its position.
    pub fn batch(&mut self, method: &str, params: &[Value]) -> Result<Vec<Result<Value, String>>, LoadError> {
        let call = |(id, params)| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let calls: Vec<Value> = params.iter().enumerate().map(call).collect();
        let answer = self.post(Value::Array(calls).to_string().as_bytes())?;
        let answers = match serde_json::from_slice(&answer) {
            Ok(Value::Array(answers)) => answers,
            Ok(answer) => return Err(self.wrong(&self.result(answer).err().unwrap_or_default())),
            Err(_) => return Err(self.wrong("it does not answer in JSON")),
        };
        let mut results: Vec<Option<Result<Value, String>>> = vec![None; params.len()];
        for answer in answers {
            let id = answer.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
            if let Some(place) = id.and_then(|id| results.get_mut(id)) {
                *place = Some(self.result(answer));
            }
        }
        let all: Option<Vec<_>> = results.into_iter().collect();
        all.ok_or_else(|| self.wrong("it does not answer each call of a batch"))
    }

    /// Returns how many calls the node accepts in one request, at most `wanted`. It tries smaller and smaller sizes.
    ///
    /// Errors: [`LoadError::Node`] when the node does not accept even one call.
    pub fn batch_max(&mut self, wanted: usize) -> Result<usize, LoadError> {
        let mut size = wanted;
        loop {
            match self.batch("health", &vec![json!({}); size]) {
                Ok(_) => return Ok(size),
                Err(error) if size == 1 => return Err(error),
                // CometBFT's default limit is ten calls, so that size is tried before smaller ones.
                Err(_) => size = if size > 10 { (size / 2).max(10) } else { size / 2 },
            }
        }
    }

    fn result(&self, mut answer: Value) -> Result<Value, String> {
        match answer.get_mut("result") {
            Some(result) if !result.is_null() => Ok(result.take()),
            _ => {
                let text = |field: &str| answer.pointer(field).and_then(Value::as_str).filter(|text| !text.is_empty());
                let said = text("/error/data").or(text("/error/message"));
                // The text comes from another program, so its length is bounded.
                Err(said.unwrap_or("neither result nor error").chars().take(300).collect())
            }
        }
    }

    fn wrong(&self, reason: &str) -> LoadError {
        LoadError::node(&self.url, format!("{reason}: is it the RPC address of a Cairn node?"))
    }

    fn field<'a>(&self, value: &'a Value, pointer: &str) -> Result<&'a str, LoadError> {
        let found = value.pointer(pointer).and_then(Value::as_str);
        found.ok_or_else(|| self.wrong(&format!("its answer has no text at {pointer}")))
    }

    fn number(&self, value: &Value, pointer: &str) -> Result<u64, LoadError> {
        let found = value.pointer(pointer);
        let number = found.and_then(|found| found.as_u64().or_else(|| found.as_str()?.parse().ok()));
        number.ok_or_else(|| self.wrong(&format!("its answer has no number at {pointer}")))
    }

    /// Queries what the node reports about itself and its chain.
    ///
    /// Errors: [`LoadError::Node`] when the node does not answer, or its answer lacks a field.
    pub fn chain(&mut self) -> Result<Chain, LoadError> {
        let status = self.call("status", json!({}))?;
        let name = self.field(&status, "/node_info/network")?;
        let chain_id = ChainId::new(name).map_err(|error| self.wrong(&format!("its chain's name: {error}")))?;
        let time = self.field(&status, "/sync_info/latest_block_time")?;
        let version = status.pointer("/node_info/other/cairn_version").and_then(Value::as_str);
        Ok(Chain {
            chain_id,
            height: Height(self.number(&status, "/sync_info/latest_block_height")?),
            time: Time::parse(time).map_err(|error| self.wrong(&format!("the time of its last block: {error}")))?,
            catching_up: status.pointer("/sync_info/catching_up").and_then(Value::as_bool).unwrap_or(false),
            node_id: self.field(&status, "/node_info/id")?.to_owned(),
            moniker: self.field(&status, "/node_info/moniker")?.to_owned(),
            version: version.unwrap_or_default().to_owned(),
        })
    }

    /// Queries the parameters of the chain.
    ///
    /// Errors: [`LoadError::Node`] when the node does not answer, or its answer lacks a parameter.
    pub fn params(&mut self) -> Result<ChainParams, LoadError> {
        let answer = self.call("abci_query", json!({ "path": "/params" }))?;
        let value = BASE64.decode(self.field(&answer, "/response/value")?.as_bytes()).unwrap_or_default();
        let params = serde_json::from_slice(&value).map_err(|_| self.wrong("its parameters are not JSON"))?;
        Ok(ChainParams {
            fee_min: self.number(&params, "/fee_min")?,
            tx_ttl_max: Duration::from_millis(self.number(&params, "/tx_ttl_ms_max")?),
        })
    }

    /// Queries how many transactions wait in the node's mempool.
    ///
    /// Errors: [`LoadError::Node`] when the node does not answer, or its answer has no number.
    pub fn waiting(&mut self) -> Result<u64, LoadError> {
        let answer = self.call("num_unconfirmed_txs", json!({}))?;
        self.number(&answer, "/total")
    }

    /// Queries the states of accounts in one request, and returns them in the order of `accounts`.
    ///
    /// Errors: [`LoadError::Node`] when the node does not answer, or does not return every state.
    pub fn accounts(&mut self, accounts: &[Account]) -> Result<Vec<AccountState>, LoadError> {
        let params: Vec<Value> = accounts.iter().map(|account| json!({ "address": account.to_string() })).collect();
        let answers = self.batch("account", &params)?;
        let state = |answer: Result<Value, String>| {
            let answer = answer.map_err(|reason| self.wrong(&format!("account: {reason}")))?;
            Ok(AccountState { balance: self.number(&answer, "/balance")?, nonce: self.number(&answer, "/nonce")? })
        };
        answers.into_iter().map(state).collect()
    }

    /// Queries the processor time that the node's process has used, in seconds, from its metrics. Returns `None` if the
    /// page cannot be read.
    pub fn cpu_seconds(&mut self) -> Option<f64> {
        let page = self.get("/metrics").ok()?;
        let page = String::from_utf8_lossy(&page);
        let line = page.lines().find(|line| line.starts_with("process_cpu_seconds_total"))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener, thread};

    use super::*;

    /// Creates a client of a node that answers each request with the next of these bodies, on a new connection each
    /// time.
    fn node(bodies: Vec<String>) -> Rpc {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let rpc = Rpc::new(&listener.local_addr().unwrap().to_string()).unwrap();
        thread::spawn(move || {
            for body in bodies {
                let mut stream = listener.accept().unwrap().0;
                let _ = stream.read(&mut [0; 8192]);
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
            }
        });
        rpc
    }

    #[test]
    fn a_closed_connection_is_opened_anew() {
        let mut rpc = node(vec![r#"{"result":{"total":"1"}}"#.into(), r#"{"result":{"total":"2"}}"#.into()]);
        assert_eq!((rpc.waiting().unwrap(), rpc.waiting().unwrap()), (1, 2));
    }

    #[test]
    fn answers_of_a_batch_are_in_the_order_of_its_calls() {
        let body = r#"[{"id":1,"result":{"balance":"7","nonce":"2"}},{"id":0,"result":{"balance":"5","nonce":"0"}}]"#;
        let accounts = node(vec![body.into()]).accounts(&[Account([1; 20]), Account([2; 20])]).unwrap();
        assert_eq!(accounts.iter().map(|account| account.balance).collect::<Vec<_>>(), [5, 7]);
        let missing = node(vec![r#"[{"id":1,"result":{}}]"#.into()]).accounts(&[Account([1; 20]); 2]);
        assert!(missing.unwrap_err().to_string().contains("each call"));
    }

    #[test]
    fn the_largest_batch_is_found_by_trying() {
        let refused = r#"{"error":{"code":-32600,"data":"a batch of 15 calls, at most 10 are allowed"}}"#.to_owned();
        let fits: Vec<Value> = (0..10).map(|id| json!({ "id": id, "result": {} })).collect();
        let mut rpc = node(vec![refused.clone(), Value::Array(fits).to_string()]);
        assert_eq!(rpc.batch_max(15).unwrap(), 10);
        let error = node(vec![refused; 4]).batch_max(4).unwrap_err().to_string();
        assert!(error.contains("at most 10"), "{error}");
    }

    #[test]
    fn an_answer_that_no_node_gives_is_an_error() {
        for body in ["", "<html>", "{}", "[]", r#"{"result":{"node_info":{}}}"#, r#"{"error":{"message":"no"}}"#] {
            let error = node(vec![body.into()]).chain().unwrap_err().to_string();
            assert!(error.starts_with("127.0.0.1:"), "{error}");
        }
    }
}
