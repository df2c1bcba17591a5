//! Sends transactions to nodes without ever waiting for a node.
//!
//! A [`Lane`] is one connection to one node. The lane keeps a request until the socket has taken all of it. A thread of
//! the lane reads the answers, in the order of the requests. No node can make the sender wait: a node that reads too
//! slowly fills its lane up to [`UNWRITTEN_BYTES_MAX`], and further transactions count as unsent. A lane whose
//! connection broke reconnects by itself once the node is available and not catching up. Until then its transactions
//! use another lane.

use std::{
    borrow::Cow,
    collections::VecDeque,
    io,
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use client::NodeAddress;
use serde::Deserialize;
use socket2::SockRef;

use crate::{
    LoadError,
    http::{self, Answers},
    plan,
    results::Verdict,
    tracker::Tracker,
};

/// Maximum number of bytes that wait until a node reads them.
const UNWRITTEN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Maximum size in bytes of an answer: enough for 1,000 transactions that are refused with a long sentence each.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pause between two attempts to reconnect.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A connection to a node, with the request that is being built for it.
pub struct Lane {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    /// Calls of the next request, with `[` before the first and commas between.
    calls: Vec<u8>,
    numbers: Vec<u64>,
}

struct Shared {
    address: NodeAddress,
    url: String,
    link: Mutex<Link>,
    stop: AtomicBool,
}

#[derive(Default)]
struct Link {
    stream: Option<TcpStream>,
    /// Bytes that the socket has not taken yet.
    unwritten: Vec<u8>,
    /// Requests that wait for their answers, in the order in which they were sent.
    requests: VecDeque<Request>,
}

/// A request that waits for its answer.
struct Request {
    /// Difference (modulo 2^64) from the id of a call to the number in the tracker.
    base: u64,
    /// Numbers of its calls in the tracker, ascending.
    numbers: Vec<u64>,
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().expect("nothing panics while it holds the lock")
    }
}

impl Link {
    /// Writes as many bytes as the socket takes without blocking.
    fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let socket = SockRef::from(stream);
        let mut written = 0;
        let done = loop {
            if written == self.unwritten.len() {
                break Ok(());
            }
            match socket.send_with_flags(&self.unwritten[written..], libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.unwritten.drain(..written);
        done
    }

    /// Closes the connection. Its transactions may have reached the node, so the tracker still waits for them.
    fn break_off(&mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = stream.shutdown(Shutdown::Both); // the connection may be closed already, so an error is ignored
        }
        self.unwritten.clear();
        self.requests.clear();
    }
}

impl Lane {
    /// Connects to a node, and starts the thread that reads its answers.
    ///
    /// Errors: [`LoadError::Plan`] when the URL is not an address; [`LoadError::Node`] when no connection can be
    /// opened; [`LoadError::System`] when no thread can be started.
    pub fn open(url: &str, tracker: Arc<Tracker>) -> Result<Self, LoadError> {
        let address = plan::address(url)?;
        let no_answer =
            |error: io::Error| LoadError::node(url, format!("no connection ({error}): is a node running there?"));
        let stream = http::connect(&address).map_err(no_answer)?;
        let reading = stream.try_clone().map_err(no_answer)?;
        let link = Mutex::new(Link { stream: Some(stream), ..Link::default() });
        let shared = Arc::new(Shared { address, url: url.to_owned(), link, stop: AtomicBool::new(false) });
        let of_reader = shared.clone();
        let read = move || read_answers(&of_reader, reading, &tracker);
        let reader = thread::Builder::new().name("load-answers".to_owned()).spawn(read);
        let reader = Some(reader.map_err(|error| LoadError::System { what: "a thread", error })?);
        Ok(Self { shared, reader, calls: Vec::new(), numbers: Vec::new() })
    }

    /// Returns true if there is a connection.
    pub fn is_open(&self) -> bool {
        self.shared.link().stream.is_some()
    }

    /// Appends a call to the next request.
    pub fn push(&mut self, number: u64, call: &[u8]) {
        self.calls.push(if self.calls.is_empty() { b'[' } else { b',' });
        self.calls.extend_from_slice(call);
        self.numbers.push(number);
    }

    /// Returns the number of calls in the next request.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Sends the request that was built, if there is one; otherwise writes what the socket did not take before. `base`
    /// is the difference (modulo 2^64) from the ids of its calls to the numbers in the tracker. Never waits.
    ///
    /// Errors: the numbers of the calls when there is no connection or the lane is full. None of them was sent.
    pub fn send(&mut self, base: u64) -> Result<(), Vec<u64>> {
        if self.numbers.is_empty() {
            return self.flush();
        }
        self.calls.push(b']');
        let Self { shared, calls, numbers, .. } = self;
        let numbers = std::mem::take(numbers);
        let mut link = shared.link();
        if link.stream.is_none() || link.unwritten.len() + calls.len() > UNWRITTEN_BYTES_MAX {
            calls.clear();
            return Err(numbers);
        }
        http::write_post(&shared.address, calls.len(), &mut link.unwritten);
        link.unwritten.append(calls);
        link.requests.push_back(Request { base, numbers });
        if link.flush().is_err() {
            link.break_off();
        }
        Ok(())
    }

    /// Tries again to write the bytes that the socket did not take.
    fn flush(&mut self) -> Result<(), Vec<u64>> {
        let mut link = self.shared.link();
        if !link.unwritten.is_empty() && link.flush().is_err() {
            link.break_off();
        }
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.link().break_off(); // this wakes the reader
        if let Some(reader) = self.reader.take() {
            let _ = reader.join(); // the thread has no result
        }
    }
}

/// Reads answers until the lane is dropped, and reconnects when the connection is lost.
fn read_answers(shared: &Shared, stream: TcpStream, tracker: &Tracker) {
    let mut answers = Answers::of(stream);
    loop {
        let why = loop {
            match answers.next(ANSWER_BYTES_MAX) {
                Ok(answer) => {
                    let Some(request) = shared.link().requests.pop_front() else {
                        break "an answer without a request".to_owned();
                    };
                    tracker.answers(verdicts(&answer.body, answer.status, request));
                }
                Err(error) if is_end(&error) => break "the node closed it".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        shared.link().break_off();
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        tracker.problem(format!("{}: a connection is lost ({why}); connecting again", shared.url));
        answers = loop {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            // A node that is catching up accepts no transactions.
            let is_ready =
                plan::client(&shared.url).is_ok_and(|node| node.chain().is_ok_and(|chain| !chain.catching_up));
            let connected = http::connect(&shared.address).and_then(|stream| Ok((stream.try_clone()?, stream)));
            if let Ok((stream, reading)) = connected
                && is_ready
            {
                shared.link().stream = Some(stream);
                if shared.stop.load(Ordering::Relaxed) {
                    // Another thread may have set `stop` and closed the link just before the new stream was stored.
                    return;
                }
                break Answers::of(reading);
            }
            thread::sleep(RETRY_PAUSE);
        };
    }
}

/// Returns true if the connection was ended by the other side, as it is when its node stops.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[derive(Deserialize)]
struct Said<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<Taken<'a>>,
    #[serde(borrow)]
    error: Option<Refused<'a>>,
}

#[derive(Deserialize)]
struct Taken<'a> {
    code: u32,
    #[serde(borrow, default)]
    log: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Cow<'a, str>,
}

/// Maximum number of characters of a refusal that are kept.
const LOG_CHARS_MAX: usize = 200;

impl Refused<'_> {
    fn verdict(self) -> Verdict {
        refused(0, if self.data.is_empty() { &self.message } else { &self.data })
    }
}

fn refused(code: u32, log: &str) -> Verdict {
    Verdict::Refused { code, log: log.chars().take(LOG_CHARS_MAX).collect() }
}

/// Returns the verdict on each call of a request. A call that the answer does not mention gets no verdict.
fn verdicts(body: &[u8], status: u16, request: Request) -> Vec<(u64, Verdict)> {
    let Request { base, numbers } = request;
    if let Ok(said) = serde_json::from_slice::<Vec<Said<'_>>>(body) {
        let verdict = |said: Said<'_>| {
            let number = said.id?.wrapping_add(base);
            numbers.binary_search(&number).ok()?;
            match (said.result, said.error) {
                (Some(taken), None) if taken.code == 0 => Some((number, Verdict::Taken)),
                (Some(taken), None) => Some((number, refused(taken.code, &taken.log))),
                (_, Some(error)) => Some((number, error.verdict())),
                (None, None) => None,
            }
        };
        return said.into_iter().filter_map(verdict).collect();
    }
    // Here the whole request was refused, by the node or by a proxy before it.
    let verdict = match serde_json::from_slice::<Said<'_>>(body) {
        Ok(Said { error: Some(error), .. }) => error.verdict(),
        _ => refused(0, &format!("HTTP {status}, and no answer of a node")),
    };
    numbers.into_iter().map(|number| (number, verdict.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(base: u64, numbers: &[u64]) -> Request {
        Request { base, numbers: numbers.to_vec() }
    }

    #[test]
    fn each_call_gets_its_verdict_by_its_id() {
        let body = br#"[{"jsonrpc":"2.0","id":8,"result":{"code":5,"log":"E_NONCE: \"7\"","hash":"AB"}},
            {"id":7,"result":{"code":0,"data":"","log":"","codespace":"","hash":"CD"}},
            {"id":9,"error":{"code":-32603,"message":"Internal error","data":"closed"}},
            {"id":99,"result":{"code":0}},{"id":null},{"id":10}]"#;
        assert_eq!(
            verdicts(body, 200, request(100, &[107, 108, 109, 110])),
            [(108, refused(5, "E_NONCE: \"7\"")), (107, Verdict::Taken), (109, refused(0, "closed"))]
        );
    }

    #[test]
    fn a_request_that_was_refused_as_a_whole_refuses_all_its_calls() {
        let body =
            br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request","data":"too many"}}"#;
        let both = |log: &str| vec![(3, refused(0, log)), (4, refused(0, log))];
        assert_eq!(verdicts(body, 200, request(0, &[3, 4])), both("too many"));
        assert_eq!(verdicts(b"<html>", 502, request(0, &[3, 4])), both("HTTP 502, and no answer of a node"));
    }
}
