//! Requests to a node.

use std::{io, time::Duration};

use serde_json::{Value, json};

use crate::{ClientError, FieldError, NodeAddress};

/// Maximum size in bytes of an answer that is read: enough for a block of 16 MiB in base64.
pub const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Default time limit of each step of a request. A node may take 10 s for `broadcast_tx_commit`.
const STEP_TIME_MAX: Duration = Duration::from_secs(20);
/// Time limit for opening a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// Maximum number of characters of a node's error that are kept.
const SAID_CHARS_MAX: usize = 300;

/// A client of one node, which keeps its connection open between requests. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    address: NodeAddress,
    option: Option<&'static str>,
}

/// Returns the JSON-RPC request that calls one method with parameters by name.
pub fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// An answer of HTTP, whatever its status is.
struct Reply {
    status: u16,
    body: Vec<u8>,
}

impl Client {
    /// Creates a client of the node at `url`: `http://HOST:PORT`, `tcp://HOST:PORT` or `HOST:PORT`, with or without a
    /// path. It does not connect yet. `option` is the option of the command line that names the node, for the texts of
    /// errors.
    ///
    /// Errors: [`ClientError::Address`] when the text has none of these forms.
    pub fn new(url: &str, option: Option<&'static str>) -> Result<Self, ClientError> {
        Self::with_timeout(url, option, STEP_TIME_MAX)
    }

    /// Creates a client with the given time limit instead of 20 s. It limits each step of a request: sending the request,
    /// waiting for the answer, and reading it. Opening a connection takes 3 s at most.
    ///
    /// Errors: those of [`Client::new`].
    pub fn with_timeout(url: &str, option: Option<&'static str>, timeout: Duration) -> Result<Self, ClientError> {
        let address = NodeAddress::parse(url).map_err(|reason| ClientError::Address { option, reason })?;
        // There is no limit for a whole request, because ureq would start a thread for each to resolve the node's name.
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(timeout.min(CONNECT_TIME_MAX)))
            .timeout_send_request(Some(timeout))
            .timeout_send_body(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_recv_body(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.new_agent(), address, option })
    }

    /// Returns the address of the node in the form `http://HOST:PORT`.
    pub fn url(&self) -> String {
        self.address.url("")
    }

    /// Calls one method with parameters by name and returns its result.
    ///
    /// Errors: [`ClientError::Refused`] when no process listens at the address; [`ClientError::NoAnswer`] when no
    /// JSON-RPC answer arrives in time; [`ClientError::Node`] when the node answers with an error.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, ClientError> {
        let reply = self.post(&request(1, method, &params), is_query(method))?;
        self.result(method, self.json(&reply)?)
    }

    /// Calls one method with parameters by name and returns the whole answer as it came, for a caller that parses it
    /// without copies. The answer may be an error.
    ///
    /// Errors: those of [`Client::call`] except for [`ClientError::Node`].
    pub fn call_raw(&self, method: &str, params: Value) -> Result<Vec<u8>, ClientError> {
        Ok(self.post(&request(1, method, &params), is_query(method))?.body)
    }

    /// Makes several calls, each a method and its parameters, in one request, and returns their results in the order of
    /// `calls`. The error of a single call is the element at its position.
    ///
    /// Errors: those of [`Client::call`] when the request fails as a whole, or a call has no answer.
    pub fn batch<'a>(
        &self,
        calls: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Result<Vec<Result<Value, ClientError>>, ClientError> {
        let (methods, params): (Vec<&str>, Vec<Value>) = calls.into_iter().unzip();
        let calls = methods.iter().zip(&params).zip(0..).map(|((method, params), id)| request(id, method, params));
        let reply = self.post(&calls.collect(), methods.iter().all(|method| is_query(method)))?;
        let answers = match self.json(&reply)? {
            Value::Array(answers) => answers,
            answer => {
                self.result("a batch", answer)?;
                return Err(self.no_answer("one answer to several calls"));
            }
        };
        let mut results: Vec<Option<Result<Value, ClientError>>> = methods.iter().map(|_| None).collect();
        for answer in answers {
            let id = answer.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
            if let Some((id, slot)) = id.and_then(|id| Some((id, results.get_mut(id)?))) {
                *slot = Some(self.result(methods[id], answer));
            }
        }
        if let Some(missing) = results.iter().position(Option::is_none) {
            return Err(self.no_answer(&format!("no answer to each call of a batch: {} has none", methods[missing])));
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Calls several methods without parameters in one request, at most 10, and returns their results in the order of
    /// `methods`.
    ///
    /// Errors: those of [`Client::call`]; the error of any call, or a missing answer, fails the whole batch.
    pub fn call_all<const N: usize>(&self, methods: [&str; N]) -> Result<[Value; N], ClientError> {
        let results = self.batch(methods.map(|method| (method, json!({}))))?;
        let results: Vec<Value> = results.into_iter().collect::<Result<_, _>>()?;
        Ok(results.try_into().expect("a batch has as many results as calls"))
    }

    /// Returns the page at `path` of this address, such as `/metrics`.
    ///
    /// Errors: those of [`Client::call`]; [`ClientError::NoAnswer`] also when the status of the answer is not 200.
    pub fn page(&self, path: &str) -> Result<String, ClientError> {
        let reply = self.exchange(true, || self.agent.get(self.address.url(path)).call())?;
        match reply.status {
            200 => Ok(String::from_utf8_lossy(&reply.body).into_owned()),
            status => Err(self.no_answer(&format!("HTTP status {status} for {path}"))),
        }
    }

    fn post(&self, body: &Value, is_query: bool) -> Result<Reply, ClientError> {
        let (url, body) = (self.address.url("/"), body.to_string());
        self.exchange(is_query, || self.agent.post(&url).content_type("application/json").send(&body))
    }

    /// Sends a request, and reads the whole answer. A query whose connection breaks is sent once more: ureq notices a kept
    /// connection that the node closed before the request, but not one that it closes in the same moment.
    fn exchange(
        &self,
        is_query: bool,
        send: impl Fn() -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Reply, ClientError> {
        let once = || {
            let mut response = send()?;
            let status = response.status().as_u16();
            let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
            Ok(Reply { status, body })
        };
        let reply = match once() {
            Err(ureq::Error::Io(error)) if is_query && is_break(&error) => once(),
            reply => reply,
        };
        reply.map_err(|error| match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.refused(),
            ureq::Error::ConnectionFailed => self.refused(),
            ureq::Error::BodyExceedsLimit(bytes) => self.no_answer(&format!("an answer of more than {bytes} bytes")),
            error => self.no_answer(&error.to_string()),
        })
    }

    fn json(&self, reply: &Reply) -> Result<Value, ClientError> {
        serde_json::from_slice(&reply.body)
            .map_err(|_| self.no_answer(&format!("HTTP status {}, and no JSON", reply.status)))
    }

    /// Returns the result of an answer to a call of `method`.
    fn result(&self, method: &str, mut answer: Value) -> Result<Value, ClientError> {
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let text = |field: &str| error.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
            return Err(self.refusal(method, text("data").or(text("message")).unwrap_or("an error without text")));
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(self.no_answer("neither result nor error")),
        }
    }

    fn refused(&self) -> ClientError {
        ClientError::Refused { url: self.url(), option: self.option }
    }

    fn no_answer(&self, reason: &str) -> ClientError {
        ClientError::NoAnswer { url: self.url(), option: self.option, reason: reason.to_owned() }
    }

    /// Returns the error of a node that refused a call. The text comes from another program, so its length is bounded, and it
    /// loses what would control a terminal.
    pub(crate) fn refusal(&self, method: &str, said: &str) -> ClientError {
        let said = said.chars().filter(|c| types::is_plain(*c)).take(SAID_CHARS_MAX).collect();
        ClientError::Node { url: self.url(), method: method.to_owned(), said }
    }

    pub(crate) fn lacks(&self, error: FieldError) -> ClientError {
        ClientError::Field { url: self.url(), error }
    }
}

/// Returns true if a call of the method has the same effect when it is repeated. `broadcast_…` submits a transaction or
/// evidence.
fn is_query(method: &str) -> bool {
    !method.starts_with("broadcast_")
}

/// Returns true if the connection was closed by the other side.
fn is_break(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::DEFAULT_NODE;
    use std::{
        io::{Read, Write},
        net::{Shutdown, TcpListener, TcpStream},
        thread,
    };

    /// Reads a request up to the end of its body.
    fn read_request(stream: &mut TcpStream) {
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        let head = String::from_utf8(request).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        stream.read_exact(&mut vec![0; length.map_or(0, |length| length.parse().unwrap())]).unwrap();
    }

    /// Starts a server that serves one connection after the other with the next of `serve`, and returns a client of it.
    fn serving(serve: Vec<Box<dyn FnOnce(TcpStream) + Send>>) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = listener.local_addr().unwrap().to_string();
        thread::spawn(move || serve.into_iter().for_each(|serve| serve(listener.accept().unwrap().0)));
        Client::with_timeout(&url, Some("--node"), Duration::from_secs(5)).unwrap()
    }

    /// Answers one request with this status line and body.
    fn answer(stream: &mut TcpStream, status: &str, body: &str) {
        read_request(stream);
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    }

    fn answering(status: &str, body: &str) -> Client {
        let (status, body) = (status.to_owned(), body.to_owned());
        serving(vec![Box::new(move |mut stream| answer(&mut stream, &status, &body))])
    }

    /// Returns a client of a node that answers each request with the next of these bodies, on one connection.
    pub fn node(bodies: &[&str]) -> Client {
        let bodies: Vec<String> = bodies.iter().map(|body| (*body).to_owned()).collect();
        serving(vec![Box::new(move |mut stream| bodies.iter().for_each(|body| answer(&mut stream, "200 OK", body)))])
    }

    const ONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":1}"#;

    #[test]
    fn a_wrong_address_is_reported_with_its_option() {
        let error = Client::new("https://h:1", Some("--node")).unwrap_err().to_string();
        assert!(error.starts_with("--node: \"https://h:1\"") && error.contains(DEFAULT_NODE), "{error}");
        assert!(Client::new("h", None).unwrap_err().to_string().starts_with("\"h\""));
    }

    #[test]
    fn results_and_errors_are_distinguished() {
        let client = node(&[r#"{"jsonrpc":"2.0","id":1,"result":{"a":"1"}}"#]);
        assert_eq!(client.call("m", json!({})).unwrap(), json!({"a": "1"}));
        let error =
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Internal error","data":"no height 9"}}"#;
        let client = answering("500 Internal Server Error", error);
        let error = client.call("block", json!({})).unwrap_err().to_string();
        assert_eq!(error, format!("{} refuses the call of `block`: no height 9", client.url()));
        let hostile = r#"{"error":{"message":"no\u001b[2J\n\u009cheight"}}"#;
        let error = node(&[hostile]).call("m", json!({})).unwrap_err().to_string();
        assert!(error.ends_with(": no[2Jheight"), "{error:?}");
        for (status, body) in [("200 OK", "<html>"), ("404 Not Found", ""), ("200 OK", "{}"), ("302 Found", "[]")] {
            let error = answering(status, body).call("m", json!({})).unwrap_err();
            assert!(matches!(&error, ClientError::NoAnswer { .. }), "{body}: {error}");
        }
        let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(1000));
        assert!(node(&[&long]).call("m", json!({})).unwrap_err().to_string().len() < 400);
    }

    #[test]
    fn several_answers_come_in_the_order_of_the_calls() {
        let body = r#"[{"jsonrpc":"2.0","id":1,"result":"b"},{"jsonrpc":"2.0","id":0,"result":"a"},{"id":9}]"#;
        assert_eq!(node(&[body]).call_all(["x", "y"]).unwrap(), [json!("a"), json!("b")]);
        let error = node(&[r#"[{"id":1,"result":1}]"#]).call_all(["x", "y"]).unwrap_err().to_string();
        assert!(error.contains("x has none"), "{error}");
        let body = r#"[{"id":0,"result":1},{"id":1,"error":{"message":"no"}}]"#;
        let results = node(&[body]).batch(["x", "y"].map(|method| (method, json!({})))).unwrap();
        assert!(matches!(&results[..], [Ok(_), Err(ClientError::Node { method, .. })] if method == "y"));
    }

    #[test]
    fn a_refused_connection_is_reported_with_the_remedy() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Client::new(&format!("127.0.0.1:{port}"), Some("--nodes")).unwrap();
        let error = client.call("status", json!({})).unwrap_err().to_string();
        assert!(error.contains("cairn testnet") && error.ends_with("choose another with --nodes"), "{error}");
    }

    #[test]
    fn a_connection_is_kept() {
        let client = node(&[ONE, ONE, ONE]);
        (0..3).for_each(|_| drop(client.call("m", json!({})).unwrap()));
    }

    /// Returns a client of a node that breaks off its first connection after it has read a request, and serves a second.
    fn breaking() -> Client {
        let break_off = |mut stream: TcpStream| {
            read_request(&mut stream);
            stream.shutdown(Shutdown::Both).unwrap();
        };
        serving(vec![Box::new(break_off), Box::new(|mut stream| answer(&mut stream, "200 OK", ONE))])
    }

    #[test]
    fn a_query_is_repeated_once_and_a_transaction_is_not() {
        assert_eq!(breaking().call("m", json!({})).unwrap(), json!(1));
        let error = breaking().call("broadcast_tx_sync", json!({})).unwrap_err();
        assert!(matches!(&error, ClientError::NoAnswer { .. }), "{error}");
        let error = breaking().batch([("m", json!({})), ("broadcast_tx_sync", json!({}))]).unwrap_err();
        assert!(matches!(&error, ClientError::NoAnswer { .. }), "{error}");
    }

    #[test]
    fn an_answer_that_is_too_large_is_refused() {
        let endless = |mut stream: TcpStream| {
            read_request(&mut stream);
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").unwrap();
            while stream.write_all(&[b' '; 65536]).is_ok() {}
        };
        let error = serving(vec![Box::new(endless)]).call("m", json!({})).unwrap_err().to_string();
        assert!(error.contains("more than 33554432 bytes"), "{error}");
    }

    #[test]
    fn a_silent_node_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let client = Client::with_timeout(&url, None, Duration::from_millis(50)).unwrap();
        let error = client.call("m", json!({})).unwrap_err().to_string();
        assert!(error.contains("timeout"), "{error}");
    }

    #[test]
    fn a_page_is_text_and_its_status_is_checked() {
        assert_eq!(answering("200 OK", "a 1\n").page("/metrics").unwrap(), "a 1\n");
        assert!(answering("404 Not Found", "").page("/metrics").unwrap_err().to_string().contains("404"));
    }

    /// These three are the limits for which ureq resolves the name of a node on a thread of its own, with every request.
    #[test]
    fn a_request_starts_no_thread() {
        let limits = Client::new(DEFAULT_NODE, None).unwrap().agent.config().timeouts();
        assert_eq!([limits.global, limits.per_call, limits.resolve], [None; 3]);
    }
}
