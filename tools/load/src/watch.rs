//! Observes what validators commit. One thread per validator reads headers from a WebSocket; each block is read once,
//! from one validator.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use client::{Client, NodeAddress};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::json;
use tungstenite::{Message, WebSocket, client::client_with_config, protocol::WebSocketConfig};

use crate::{LoadError, http, plan, records::TxKey, tracker::Tracker};

/// Maximum size in bytes of a message about a header. Real ones have about 2,000 bytes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Timeout for each read and write while connecting and subscribing.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without any message, even a ping (every 27 s), after which a node counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pause between two attempts to reconnect.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Maximum number of heights that wait for one reader. When its queue is full, the watcher waits; readers are much
/// faster than consensus.
const UNREAD_MAX: usize = 100_000;

/// Watches all validators until it is dropped.
pub struct Watchers {
    stop: Arc<AtomicBool>,
    /// For each validator, the socket on which its thread waits.
    sockets: Vec<Arc<Mutex<Option<TcpStream>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Watchers {
    /// Subscribes to the headers of each validator, and starts the threads that watch them and read blocks.
    ///
    /// Errors: [`LoadError::Plan`] when a URL is not an address; [`LoadError::Node`] when a validator does not answer
    /// or refuses the subscription; [`LoadError::System`] when no thread can be started.
    pub fn start(urls: &[String], tracker: &Arc<Tracker>) -> Result<Self, LoadError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut watchers = Self { stop, sockets: Vec::new(), threads: Vec::new() };
        // If this function fails, `readers` is dropped before `watchers`: a reader's thread ends when its queue has no
        // sender.
        let mut readers = Vec::new();
        for (node, _) in urls.iter().enumerate() {
            let (to, heights) = sync_channel(UNREAD_MAX);
            readers.push(to);
            let (urls, tracker, stop) = (urls.to_vec(), tracker.clone(), watchers.stop.clone());
            let read = move || read_blocks(&urls, node, &heights, &tracker, &stop);
            watchers.spawn(format!("load-read-{node}"), read)?;
        }
        for (node, url) in urls.iter().enumerate() {
            let address = plan::address(url)?;
            let socket = subscribe(&address)
                .map_err(|error| LoadError::node(url, format!("its events cannot be watched: {error}")))?;
            let shared = Arc::new(Mutex::new(socket.get_ref().try_clone().ok()));
            watchers.sockets.push(shared.clone());
            let watcher = Watcher {
                node,
                url: url.clone(),
                address,
                tracker: tracker.clone(),
                readers: readers.clone(),
                stop: watchers.stop.clone(),
                shared,
            };
            watchers.spawn(format!("load-watch-{node}"), move || watcher.run(socket))?;
        }
        Ok(watchers)
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> Result<(), LoadError> {
        let thread = thread::Builder::new().name(name).spawn(run);
        self.threads.push(thread.map_err(|error| LoadError::System { what: "a thread", error })?);
        Ok(())
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for socket in &self.sockets {
            if let Some(socket) = &*socket.lock().expect("nothing panics while it holds the lock") {
                let _ = socket.shutdown(Shutdown::Both); // wakes the thread; the socket may be closed already
            }
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // the thread has no result
        }
    }
}

struct Watcher {
    node: usize,
    url: String,
    address: NodeAddress,
    tracker: Arc<Tracker>,
    /// Queues of the threads that read blocks, one per validator.
    readers: Vec<SyncSender<u64>>,
    stop: Arc<AtomicBool>,
    shared: Arc<Mutex<Option<TcpStream>>>,
}

impl Watcher {
    fn run(self, mut socket: WebSocket<TcpStream>) {
        loop {
            let why = self.watch(&mut socket);
            if self.is_stopped() {
                return;
            }
            self.tracker.set_live(self.node, false);
            self.tracker.change(format!("{}: went away ({why}); the run continues with the others", self.url));
            socket = loop {
                thread::sleep(RETRY_PAUSE);
                if self.is_stopped() {
                    return;
                }
                if let Ok(socket) = subscribe(&self.address) {
                    break socket;
                }
            };
            *self.shared.lock().expect("nothing panics while it holds the lock") = socket.get_ref().try_clone().ok();
            if self.is_stopped() {
                // Another thread may have set `stop` and closed the sockets just before the new socket was stored.
                return;
            }
            self.tracker.set_live(self.node, true);
            self.tracker.change(format!("{}: is back", self.url));
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Watches until the connection ends, and returns the reason.
    fn watch(&self, socket: &mut WebSocket<TcpStream>) -> String {
        loop {
            let message = match socket.read() {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) => {
                    return format!("no message for {} s", SILENCE_MAX.as_secs());
                }
                Err(error) => return error.to_string(),
            };
            let at = self.tracker.clock().now();
            let Message::Text(text) = message else { continue }; // the library answers pings
            match header(text.as_str()) {
                Ok(None) => {}
                Ok(Some(seen)) => {
                    for height in self.tracker.header(self.node, seen.height, at, seen.is_empty, seen.fingerprint) {
                        let reader = &self.readers[(height % self.readers.len() as u64) as usize];
                        if reader.send(height).is_err() {
                            return "the run ends".to_owned();
                        }
                    }
                }
                Err(reason) => return reason,
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Connects to a node, and subscribes to its headers.
fn subscribe(address: &NodeAddress) -> Result<WebSocket<TcpStream>, String> {
    let text = |error: io::Error| error.to_string();
    let stream = http::connect(address).map_err(text)?;
    stream.set_read_timeout(Some(NODE_TIMEOUT)).map_err(text)?;
    stream.set_write_timeout(Some(NODE_TIMEOUT)).map_err(text)?;
    let url = format!("ws://{}{}", address.authority(), address.path("/websocket"));
    let limits =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let (mut socket, _) = client_with_config(url, stream, Some(limits)).map_err(|error| error.to_string())?;
    let request = client::request(1, "subscribe", &json!({ "query": "tm.event='NewBlockHeader'" }));
    socket.send(Message::text(request.to_string())).map_err(|error| error.to_string())?;
    loop {
        if let Message::Text(text) = socket.read().map_err(|error| error.to_string())? {
            // The first text message answers the subscription. It is no event, but it may be an error.
            header(text.as_str())?;
            break;
        }
    }
    socket.get_ref().set_read_timeout(Some(SILENCE_MAX)).map_err(text)?;
    Ok(socket)
}

/// The report of a validator about one height.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    height: u64,
    /// True if the header says that the block has no transactions.
    is_empty: bool,
    /// Hash of the fields on which all validators must agree.
    fingerprint: u64,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    result: Option<EventResult<'a>>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct EventResult<'a> {
    #[serde(borrow)]
    data: Option<EventData<'a>>,
}

#[derive(Deserialize)]
struct EventData<'a> {
    #[serde(borrow)]
    value: EventValue<'a>,
}

#[derive(Deserialize)]
struct EventValue<'a> {
    #[serde(borrow)]
    header: Header<'a>,
    num_txs: Option<&'a str>,
}

#[derive(Deserialize)]
struct Header<'a> {
    height: &'a str,
    #[serde(borrow)]
    last_block_id: LastBlockId<'a>,
    data_hash: &'a str,
    app_hash: &'a str,
}

#[derive(Deserialize)]
struct LastBlockId<'a> {
    hash: &'a str,
}

/// Parses a message about a height. Returns `None` if it is not an event.
///
/// Errors: a sentence that says what is wrong, when the message is an error or not a valid event.
fn header(text: &str) -> Result<Option<Seen>, String> {
    let unexpected = |_| "it sent an event that is no header event".to_owned();
    let event: Event<'_> = serde_json::from_str(text).map_err(unexpected)?;
    if let Some(error) = event.error {
        let text = error.get("data").or(error.get("message")).and_then(|text| text.as_str()).unwrap_or("an error");
        return Err(text.chars().take(200).collect());
    }
    let Some(data) = event.result.and_then(|result| result.data) else { return Ok(None) };
    let Header { height, last_block_id, data_hash, app_hash } = data.value.header;
    let height = height.parse().map_err(|_| "its height is not a number".to_owned())?;
    let mut hasher = DefaultHasher::new();
    (last_block_id.hash, data_hash, app_hash).hash(&mut hasher);
    Ok(Some(Seen { height, is_empty: data.value.num_txs == Some("0"), fingerprint: hasher.finish() }))
}

/// Reads the blocks of the heights in the queue: from validator `first`, or from the next ones if that fails.
fn read_blocks(urls: &[String], first: usize, heights: &Receiver<u64>, tracker: &Tracker, stop: &AtomicBool) {
    let nodes: Vec<Client> =
        (0..urls.len()).filter_map(|i| plan::client(&urls[(first + i) % urls.len()]).ok()).collect();
    for height in heights {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let keys = nodes.iter().find_map(|node| block_keys(node, height));
        tracker.block(height, keys.as_deref());
    }
}

#[derive(Deserialize)]
struct BlockAnswer<'a> {
    #[serde(borrow)]
    result: BlockResult<'a>,
}

#[derive(Deserialize)]
struct BlockResult<'a> {
    #[serde(borrow)]
    block: Block<'a>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    txs: Option<Vec<&'a str>>,
}

/// Reads the block of a height from a node, and returns the keys of its transactions. Returns `None` if the node does
/// not have the block, or its answer is invalid.
pub fn block_keys(node: &Client, height: u64) -> Option<Vec<TxKey>> {
    keys(&node.call_raw("block", json!({ "height": height.to_string() })).ok()?)
}

/// Returns the keys of the transactions of the block in an answer.
fn keys(answer: &[u8]) -> Option<Vec<TxKey>> {
    let answer: BlockAnswer<'_> = serde_json::from_slice(answer).ok()?;
    let mut bytes = Vec::new();
    let key = |text: &str| {
        bytes.resize(BASE64.decode_len(text.len()).ok()?, 0);
        let length = BASE64.decode_mut(text.as_bytes(), &mut bytes).ok()?;
        Some(TxKey::of(&bytes[..length]))
    };
    answer.result.block.data.txs.unwrap_or_default().into_iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_from_its_event() {
        let event = |height: &str, app_hash: &str, txs: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"query":"q","data":{{"type":"tendermint/event/NewBlockHeader","value":
                {{"header":{{"version":{{"block":"11"}},"height":"{height}","last_block_id":{{"hash":"AA","parts":{{}}}},
                "data_hash":"BB","app_hash":"{app_hash}"}}{txs}}}}},"events":{{}}}}}}"#
            )
        };
        let seen = |text: &str| header(text).unwrap().unwrap();
        let one = seen(&event("7", "CC", r#","num_txs":"0""#));
        assert_eq!((one.height, one.is_empty), (7, true));
        assert!(!seen(&event("7", "CC", r#","num_txs":"3""#)).is_empty);
        assert!(!seen(&event("7", "CC", "")).is_empty, "an event without a count does not say that the block is empty");
        assert_eq!(one.fingerprint, seen(&event("7", "CC", "")).fingerprint);
        assert_ne!(one.fingerprint, seen(&event("7", "DD", "")).fingerprint);
        assert_eq!(header(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).unwrap(), None);
        let refused = r#"{"id":1,"error":{"code":-32000,"message":"Server error","data":"too many clients"}}"#;
        assert_eq!(header(refused).unwrap_err(), "too many clients");
        for bad in ["", "[]", "7", &event("x", "", ""), r#"{"result":{"data":{"value":{}}}}"#] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn transactions_are_recognised_in_a_block() {
        let txs = [b"first".as_slice(), b"second!"].map(|tx| BASE64.encode(tx));
        let answer = json!({ "result": { "block_id": {}, "block": { "header": {}, "data": { "txs": txs } } } });
        assert_eq!(keys(answer.to_string().as_bytes()).unwrap(), [TxKey::of(b"first"), TxKey::of(b"second!")]);
        assert_eq!(keys(br#"{"result":{"block":{"data":{"txs":null}}}}"#).unwrap(), []);
        for bad in [r#"{"error":{}}"#, r#"{"result":{"block":{"data":{"txs":["?"]}}}}"#, ""] {
            assert_eq!(keys(bad.as_bytes()), None);
        }
    }
}
