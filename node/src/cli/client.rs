//! Client of a node's RPC: JSON-RPC 2.0 over HTTP POST.

use std::{io, time::Duration};

use serde_json::{Value, json};

use super::failure::Failure;

/// Default RPC address of a node.
pub const DEFAULT_NODE: &str = "http://127.0.0.1:26657";
/// Timeout of a request. A node may take 10 s for `broadcast_tx_commit`.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Maximum size in bytes of a response that is read: a block of 16 MiB in base64, and its results.
const ANSWER_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// A client of one node, which keeps its connection open between requests.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
}

/// The reason why a request has no result.
#[derive(Debug)]
pub enum ClientError {
    /// No process listens at the address.
    Refused { url: String },
    /// The request failed otherwise, or the response is not a JSON-RPC response.
    NoAnswer { url: String, reason: String },
    /// The node responded with a JSON-RPC error.
    Node { message: String, data: String },
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { url } => {
                write!(f, "no node answers at {url}: start one with `cairn testnet`, or choose another with --node")
            }
            Self::NoAnswer { url, reason } => {
                write!(
                    f,
                    "{url} does not respond like a node ({reason}): look at its log, or choose another node with --node"
                )
            }
            Self::Node { message, data, .. } if data.is_empty() => write!(f, "the node says: {message}"),
            Self::Node { data, .. } => write!(f, "the node says: {data}"),
        }
    }
}

impl Client {
    /// Creates a client for the node at `node`: `http://HOST:PORT`, `tcp://HOST:PORT` or `HOST:PORT`.
    ///
    /// Errors: the address has none of these forms.
    pub fn new(node: &str) -> Result<Self, Failure> {
        Self::with_timeout(node, ANSWER_TIME_MAX)
    }

    /// Creates a client with the given timeout per request, instead of the default of 20 s.
    ///
    /// Errors: those of [`Client::new`].
    pub fn with_timeout(node: &str, timeout: Duration) -> Result<Self, Failure> {
        let bad = |why: &str| Failure::new(format!("--node {node:?}: {why}; write it like {DEFAULT_NODE}"));
        let rest = node.strip_prefix("http://").or_else(|| node.strip_prefix("tcp://")).unwrap_or(node);
        if rest.contains("://") {
            return Err(bad("only http is supported"));
        }
        let url = format!("http://{}", rest.trim_end_matches('/'));
        let uri: ureq::http::Uri = url.parse().map_err(|_| bad("this is not an address"))?;
        if uri.host().is_none_or(str::is_empty) || uri.port().is_none() {
            return Err(bad("host and port are needed"));
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.new_agent(), url })
    }

    /// Returns the address of the node in the form `http://HOST:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls one method with parameters by name and returns its result.
    ///
    /// Errors: no process listens at the address, no JSON-RPC response arrives within the timeout, or the node responds
    /// with an error.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, ClientError> {
        let answer = self.post(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))?;
        self.result(answer)
    }

    /// Calls several methods without parameters in one batch request, at most 10, and returns their results in the
    /// order of `methods`.
    ///
    /// Errors: those of [`Client::call`]; the error of any call, or a missing answer, fails the whole batch.
    pub fn call_all<const N: usize>(&self, methods: [&str; N]) -> Result<[Value; N], ClientError> {
        let calls: Vec<Value> = methods
            .iter()
            .enumerate()
            .map(|(id, method)| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}))
            .collect();
        let mut results = [const { None }; N];
        let Value::Array(answers) = self.post(&Value::Array(calls))? else {
            return Err(self.no_answer("one response to several calls"));
        };
        for answer in answers {
            let id = answer.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
            if let Some(slot) = id.and_then(|id| results.get_mut(id)) {
                *slot = Some(self.result(answer)?);
            }
        }
        if let Some(missing) = results.iter().position(Option::is_none) {
            return Err(self.no_answer(&format!("no answer to the call of {}", methods[missing])));
        }
        Ok(results.map(Option::unwrap_or_default))
    }

    /// Returns the Prometheus metrics page, if this address serves one.
    pub fn metrics(&self) -> Option<String> {
        let mut response = self.agent.get(format!("{}/metrics", self.url)).call().ok()?;
        response.body_mut().read_to_string().ok()
    }

    fn post(&self, body: &Value) -> Result<Value, ClientError> {
        let mut response = self.agent.post(&self.url).send_json(body).map_err(|error| self.transport(error))?;
        let status = response.status();
        let read = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json();
        read.map_err(|error| match error {
            ureq::Error::Json(_) => self.no_answer(&format!("HTTP status {status}, and no JSON")),
            other => self.transport(other),
        })
    }

    fn transport(&self, error: ureq::Error) -> ClientError {
        match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                ClientError::Refused { url: self.url.clone() }
            }
            ureq::Error::ConnectionFailed => ClientError::Refused { url: self.url.clone() },
            error => self.no_answer(&error.to_string()),
        }
    }

    fn no_answer(&self, reason: &str) -> ClientError {
        ClientError::NoAnswer { url: self.url.clone(), reason: reason.to_owned() }
    }

    fn result(&self, mut answer: Value) -> Result<Value, ClientError> {
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let text = |field: &str| error.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            return Err(ClientError::Node { message: text("message"), data: text("data") });
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(self.no_answer("neither result nor error")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{Shutdown, TcpListener},
        thread,
    };

    /// Starts a server that answers one request with this status and body, and returns a client for it.
    fn answer_once(status: &'static str, body: &'static str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::with_timeout(&listener.local_addr().unwrap().to_string(), Duration::from_secs(5)).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // A socket that is closed with unread data resets the connection, and the client would lose the response.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        client
    }

    #[test]
    fn addresses_are_written_in_three_ways() {
        for node in ["http://127.0.0.1:1", "tcp://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1/"] {
            assert_eq!(Client::new(node).unwrap().url(), "http://127.0.0.1:1");
        }
        for bad in ["https://127.0.0.1:1", "127.0.0.1", "", "http://", "a b:1", "unix:///x:1"] {
            let error = Client::new(bad).unwrap_err().to_string();
            assert!(error.contains(DEFAULT_NODE), "{error}");
        }
    }

    #[test]
    fn results_and_errors_are_distinguished() {
        let client = answer_once("200 OK", r#"{"jsonrpc":"2.0","id":1,"result":{"a":"1"}}"#);
        assert_eq!(client.call("m", json!({})).unwrap(), json!({"a": "1"}));
        let error =
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Internal error","data":"no height 9"}}"#;
        let error = answer_once("200 OK", error).call("m", json!({})).unwrap_err();
        assert!(matches!(&error, ClientError::Node { .. }), "{error}");
        assert_eq!(error.to_string(), "the node says: no height 9");
        for (status, body) in [("200 OK", "<html>"), ("404 Not Found", ""), ("200 OK", "{}"), ("200 OK", "[]")] {
            let error = answer_once(status, body).call("m", json!({})).unwrap_err();
            assert!(matches!(&error, ClientError::NoAnswer { .. }), "{body}: {error}");
        }
    }

    #[test]
    fn several_answers_come_in_the_order_of_the_calls() {
        let body = r#"[{"jsonrpc":"2.0","id":1,"result":"b"},{"jsonrpc":"2.0","id":0,"result":"a"}]"#;
        assert_eq!(answer_once("200 OK", body).call_all(["x", "y"]).unwrap(), [json!("a"), json!("b")]);
    }

    #[test]
    fn a_refused_connection_is_reported_with_the_remedy() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Client::new(&format!("127.0.0.1:{port}")).unwrap();
        let error = client.call("status", json!({})).unwrap_err().to_string();
        assert!(error.contains("cairn testnet") && error.contains("--node"), "{error}");
    }
}
