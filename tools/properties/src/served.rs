//! A server of the RPC on loopback, over a chain of a few blocks, and requests to it.

use std::{
    cell::RefCell,
    fs,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, OnceLock},
    time::Duration,
};

use app::App;
use replica::{LiveApp, Status};
use rpc::{
    Accepted, Context, Cors, GenesisText, Identity, Limits, Network, PeerSeen, Pool, PoolSize, Rejection, Submitter,
    clients::Client, http::Handle,
};
use serde_json::Value;
use storage::{RocksKv, Store};
use tokio::{runtime::Runtime, sync::broadcast};
use types::{Address, TxId, VerifiedTx};

use crate::{chain::Chain, samples, store};

/// Ports below those that the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 21_000..32_000;

/// Maximum time for an answer. A server that does not answer has failed.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status of the answer.
    pub status: u16,
    /// The body, null if it is not JSON.
    pub body: Value,
}

struct Served {
    address: SocketAddr,
    _handle: Handle,
    _runtime: Runtime,
    _folder: tempfile::TempDir,
}

/// Starts the server, once in a process.
fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let db = folder.path().join("db");
        fs::create_dir_all(&db).expect("the folder is ours");
        let kv = RocksKv::open(&db).expect("a new database opens");
        let store = Store::open(kv, &samples::chain_id()).expect("it is an empty store");
        let chain = store::write_chain(&store);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let listener =
            PORTS.into_iter().find_map(|port| TcpListener::bind((loopback, port)).ok()).expect("a port is free");
        listener.set_nonblocking(true).expect("a socket can wait for nothing");
        let address = listener.local_addr().expect("it listens");
        let handle = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes it");
            rpc::serve(context(store, chain), listener).expect("it listens")
        });
        Served { address, _handle: handle, _runtime: runtime, _folder: folder }
    })
}

fn context(store: Store<RocksKv>, chain: Chain) -> Context {
    let tip = store.tip().expect("the store has a chain");
    let validators = Arc::new(samples::validators());
    let status = Arc::new(Status::at_rest(tip.height, tip.app_hash, tip.time, validators));
    let (committed, happened) = (broadcast::Sender::new(1), broadcast::Sender::new(1));
    let genesis =
        String::from_utf8(crate::documents::genesis_document_seeds().swap_remove(0)).expect("a document is text");
    Context {
        chain_id: samples::chain_id(),
        identity: Identity {
            node_id: "ab".repeat(20),
            moniker: "properties".into(),
            listen_address: "tcp://127.0.0.1:26656".into(),
            rpc_address: "tcp://127.0.0.1:26657".into(),
        },
        genesis: GenesisText::Whole(genesis),
        app: LiveApp::new(App::open(&chain.rows, samples::chain_id(), chain.app.height())),
        store: Arc::new(store),
        pool: Arc::new(Nothing),
        submitter: Arc::new(Nothing),
        network: Arc::new(Nothing),
        status: Box::new(move || status.clone()),
        committed: Box::new(move || committed.subscribe()),
        happened: Box::new(move || happened.subscribe()),
        evidence: Box::new(|_| true),
        not_ready: Box::new(Vec::new),
        observe: Box::new(|_, _, _| {}),
        unreadable: Box::new(|reason: &str| panic!("the disk of this server is well: {reason}")),
        background: || {},
        limits: Limits {
            client_bytes_per_second: 0,
            client_cpu_percent: 0,
            broadcast_tx_commit_time: Duration::from_millis(1),
            offer_unsafe: true,
            ..Limits::default()
        },
        cors: Cors { origins: vec!["*".into()], methods: vec!["POST".into()], headers: Vec::new() },
    }
}

/// A mempool in which nothing waits, which takes what a signature covers, and a network without peers.
struct Nothing;

impl Pool for Nothing {
    fn size(&self) -> PoolSize {
        PoolSize { txs: 0, bytes: 0 }
    }

    fn list(&self, _limit: usize) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn get(&self, _id: &TxId) -> Option<Vec<u8>> {
        None
    }

    fn next_nonce(&self, _sender: &Address) -> Option<u64> {
        None
    }

    fn flush(&self) {}
}

fn judged(tx: &[u8]) -> Result<Accepted, Rejection> {
    match VerifiedTx::from_bytes(tx).map_err(app::Refusal::from) {
        Ok(_) => Ok(Accepted { gas_wanted: 1 }),
        Err(refusal) => Err(Rejection {
            code: refusal.code().number,
            codespace: app::CODESPACE.to_owned(),
            log: refusal.to_string(),
        }),
    }
}

type Judgement = futures::future::BoxFuture<'static, Result<Accepted, Rejection>>;

impl Submitter for Nothing {
    fn submit(&self, tx: Vec<u8>, _: Arc<Client>) -> Judgement {
        Box::pin(std::future::ready(judged(&tx)))
    }

    fn check(&self, tx: Vec<u8>, _: Arc<Client>) -> Judgement {
        Box::pin(std::future::ready(judged(&tx)))
    }
}

impl Network for Nothing {
    fn listeners(&self) -> Vec<String> {
        Vec::new()
    }

    fn peers(&self) -> Vec<PeerSeen> {
        Vec::new()
    }

    fn dial(&self, address: &str) -> Result<(), String> {
        address.parse::<p2p::PeerAddress>().map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Posts a body and returns the answer.
pub fn post(body: &[u8]) -> Answer {
    let head = format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    exchange(&[head.as_bytes(), body].concat())
}

/// Asks for a target, which has no line break, and returns the answer.
pub fn get(target: &[u8]) -> Answer {
    exchange(&[b"GET ", target, b" HTTP/1.1\r\nhost: localhost\r\n\r\n"].concat())
}

thread_local! {
    /// The connection of this thread, if the last answer left one open.
    static CONNECTION: RefCell<Option<TcpStream>> = const { RefCell::new(None) };
}

fn exchange(request: &[u8]) -> Answer {
    CONNECTION.with_borrow_mut(|connection| {
        let mut stream = connection.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(served().address).expect("the server takes connections");
            stream.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("it is not zero");
            stream.set_nodelay(true).expect("it is a socket");
            stream
        });
        stream.write_all(request).expect("the server reads");
        let (answer, stays) = read(&mut stream);
        *connection = stays.then_some(stream);
        answer
    })
}

/// Reads an answer. Panics if the server does not answer: then a thread of it has panicked, or waits for ever.
fn read(stream: &mut TcpStream) -> (Answer, bool) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break (String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase(), bytes.split_off(end + 4));
        }
        more(stream, &mut bytes);
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
    let value = |name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    let length: usize = value("content-length:").map_or(0, |length| length.parse().expect("it is a number"));
    let mut body = body;
    while body.len() < length {
        more(stream, &mut body);
    }
    let is_json = value("content-type:").is_some_and(|kind| kind == "application/json");
    let stays = value("connection:").is_none_or(|connection| connection != "close");
    let body = if is_json { serde_json::from_slice(&body).expect("an answer is JSON") } else { Value::Null };
    (Answer { status, body }, stays)
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) {
    let mut piece = [0; 16 * 1024];
    // The timer of a fuzzer interrupts the call.
    let got = loop {
        match stream.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read.expect("the server answers"),
        }
    };
    assert!(got > 0, "the server closed the connection without an answer");
    bytes.extend_from_slice(&piece[..got]);
}
