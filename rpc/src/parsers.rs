//! Parses bodies into calls at a bounded cost, and large ones without cost to the async threads.
//!
//! JSON made of small values takes many times its bytes of memory. So the values are counted before any is built, and a
//! body with more values than calls can need is refused. A body beyond [`INLINE_BYTES_MAX`] is parsed on a separate
//! thread with low priority, the smallest body first.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use axum::body::Bytes;
use tokio::{sync::oneshot, time::timeout};

use crate::{
    clients::{Client, Place, Places},
    error::Error,
    jsonrpc::{self, Body},
};

/// Maximum bytes of a body that is parsed at once: it takes some 20 µs.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// Number of threads that parse larger bodies.
const THREADS: usize = 1;

/// Maximum number of bodies that wait for these threads, half as many of one address; further ones are refused. Their
/// bytes are bounded together with all that clients send.
const WAITING_MAX: usize = 256;

/// Maximum time that a body waits. Smaller bodies go first, so a large one may wait long.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Maximum JSON values of a body: this many for each allowed call, plus those of the largest single one (evidence
/// of an attack by a set of the largest size has about 7,100).
const VALUES_PER_CALL: usize = 64;
const VALUES_MORE: usize = 8192;

/// Counts the values of a JSON text that arrives in pieces, without parsing it.
#[derive(Debug)]
pub struct Values {
    left: usize,
    max: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Values {
    /// Creates a counter for a body with up to `calls` calls.
    pub fn of_calls(calls: usize) -> Self {
        let max = calls * VALUES_PER_CALL + VALUES_MORE;
        Self { left: max, max, in_text: false, is_escaped: false }
    }

    /// Counts the values that begin in the next piece.
    ///
    /// Errors: the body has too many values.
    pub fn count(&mut self, piece: &[u8]) -> Result<(), Error> {
        for byte in piece {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = self.in_text,
                b'"' => self.in_text = !self.in_text,
                b',' | b':' | b'[' | b'{' if !self.in_text => {
                    self.left = self.left.checked_sub(1).ok_or_else(|| {
                        Error::invalid_request(format_args!(
                            "the body has more than {} JSON values, which no call needs: send fewer calls at once",
                            self.max
                        ))
                    })?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Parses request bodies, large ones on threads with low priority.
pub struct Parsers(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    places: Arc<Places>,
}

#[derive(Default)]
struct Queue {
    waiting: BinaryHeap<Job>,
    taken: u64,
    is_closed: bool,
}

/// A body that waits: the smallest first, then in order of arrival.
struct Job {
    order: Reverse<(usize, u64)>,
    bytes: Bytes,
    batch_calls_max: usize,
    client: Arc<Client>,
    reply: oneshot::Sender<Result<Body, Error>>,
    _place: Place,
}

impl Parsers {
    /// Starts the threads; they end when this value is dropped. Each calls `background` first, which gives it a low
    /// priority.
    pub fn new(background: fn()) -> Self {
        let shared = Arc::new(Shared::new());
        for _ in 0..THREADS {
            let shared = shared.clone();
            let run = move || {
                background();
                while let Some(job) = shared.next() {
                    if !job.reply.is_closed() {
                        let body = job.client.charged(|| jsonrpc::parse(&job.bytes, job.batch_calls_max));
                        let _ = job.reply.send(body); // fails when the client has left
                    }
                }
            };
            thread::Builder::new().name("rpc-parser".to_owned()).spawn(run).expect("a thread can be started");
        }
        Self(shared)
    }

    /// Parses a body whose values were counted.
    ///
    /// Errors: the body is not JSON, not a call or batch, or too many bodies wait.
    pub async fn parse(&self, bytes: Bytes, batch_calls_max: usize, client: &Arc<Client>) -> Result<Body, Error> {
        if bytes.len() <= INLINE_BYTES_MAX {
            return jsonrpc::parse(&bytes, batch_calls_max);
        }
        let busy =
            || Error::server("busy: too many large requests wait to be read: send smaller ones, or try again later");
        let (reply, answer) = oneshot::channel();
        if !self.0.push(bytes, batch_calls_max, client.clone(), reply) {
            return Err(busy());
        }
        match timeout(WAIT_MAX, answer).await {
            Ok(Ok(body)) => body,
            _ => Err(busy()),
        }
    }
}

impl Drop for Parsers {
    fn drop(&mut self) {
        *self.0.lock() = Queue { is_closed: true, ..Queue::default() };
        self.0.filled.notify_all();
    }
}

impl Shared {
    fn new() -> Self {
        Self { queue: Mutex::default(), filled: Condvar::new(), places: Places::new(WAITING_MAX) }
    }

    fn push(
        &self,
        bytes: Bytes,
        batch_calls_max: usize,
        client: Arc<Client>,
        reply: oneshot::Sender<Result<Body, Error>>,
    ) -> bool {
        let mut queue = self.lock();
        queue.waiting.retain(|job| !job.reply.is_closed()); // else its client has left
        let Ok(place) = self.places.take(&client) else { return false };
        queue.taken += 1;
        let order = Reverse((bytes.len(), queue.taken));
        queue.waiting.push(Job { order, bytes, batch_calls_max, client, reply, _place: place });
        drop(queue);
        self.filled.notify_one();
        true
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.is_closed {
                return None;
            }
            match queue.waiting.pop() {
                Some(job) => return Some(job),
                None => queue = self.filled.wait(queue).expect("a thread that panics stops the process"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("a thread that panics stops the process")
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Job {}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clients::{Clients, Limits};

    fn client_from(last: u8) -> Arc<Client> {
        let limits = Limits::of_connections(1, 1);
        Clients::new(limits).enter([127, 0, 0, last].into()).unwrap()
    }

    fn client() -> Arc<Client> {
        client_from(1)
    }

    #[test]
    fn a_body_of_tiny_values_is_refused_before_it_is_built() {
        let tiny = format!("[{}]", vec!["{}"; 300_000].join(","));
        let mut values = Values::of_calls(10);
        let refused = tiny.as_bytes().chunks(1000).position(|piece| values.count(piece).is_err());
        assert!(refused.is_some_and(|piece| piece < 20), "{refused:?}");
        let text = format!(r#"{{"params":{{"tx":"{}"}}}}"#, r#",:[{\""#.repeat(100_000));
        Values::of_calls(1).count(text.as_bytes()).unwrap();
    }

    #[test]
    fn the_smallest_body_is_parsed_first_and_a_full_queue_refuses() {
        let shared = Shared::new();
        let [one, two, three] = [1, 2, 3].map(client_from);
        let push = |client: &Arc<Client>, bytes: usize| {
            let (reply, answer) = oneshot::channel();
            shared.push(Bytes::from(vec![b' '; bytes]), 1, client.clone(), reply).then_some(answer)
        };
        let mut answers: Vec<_> = [500, 20, 300].into_iter().map(|bytes| push(&one, bytes)).collect();
        assert_eq!(shared.next().unwrap().bytes.len(), 20);
        assert_eq!(shared.next().unwrap().bytes.len(), 300);
        answers.extend((0..WAITING_MAX / 2 - 1).map(|_| push(&one, 9)));
        assert!(push(&one, 1).is_none(), "an address has half of the places");
        answers.extend((0..WAITING_MAX / 2).map(|_| push(&two, 9)));
        assert!(push(&three, 1).is_none());
        answers.pop();
        assert!(push(&three, 1).is_some(), "no client waits for one of them any more");
    }

    #[tokio::test]
    async fn large_bodies_are_parsed_on_other_threads_and_charged() {
        let (parsers, client) = (Parsers::new(|| {}), client());
        let body = format!(r#"{{"id":1,"method":"status","params":["{}"]}}"#, "x".repeat(100_000));
        let parsed = parsers.parse(Bytes::from(body.clone()), 1, &client).await.unwrap();
        assert_eq!(parsed, jsonrpc::parse(body.as_bytes(), 1).unwrap());
        assert!(parsers.parse(Bytes::from(vec![b'['; 100_000]), 1, &client).await.is_err());
    }

    proptest! {
        #[test]
        fn more_values_than_counted_are_never_built(text in "[\\[\\]{}\",:\\\\a1 ]{0,60}") {
            let mut values = Values::of_calls(0);
            values.count(text.as_bytes()).unwrap();
            let counted = values.max - values.left;
            fn built(value: &serde_json::Value) -> usize {
                1 + match value {
                    serde_json::Value::Array(values) => values.iter().map(built).sum(),
                    serde_json::Value::Object(fields) => fields.values().map(|value| 1 + built(value)).sum(),
                    _ => 0,
                }
            }
            if let Ok(value) = serde_json::from_str(&text) {
                prop_assert!(built(&value) <= 2 * counted + 1);
            }
        }
    }
}
