//! A chain without consensus. A test commits each height explicitly; three of the four validators sign it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, SystemTime},
};

use app::{App, Refusal};
use futures::future::{BoxFuture, FutureExt, ready};
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use node::board::ReportedEvidence;
use replica::{CommitTiming, Committed, LiveApp, Status};
use rpc::{
    Accepted, Context, Cors, GenesisText, Happened, Identity, Limits, Network, PeerSeen, Pool, PoolSize, Rejection,
    Submitter, clients::Client, http::Handle,
};
use storage::{GenesisBatch, RocksKv, Store};
use tokio::{net::TcpListener, sync::broadcast};
use types::{
    Address, ChainId, ConsensusSecretKey, Evidence, Height, KeyType, Msg, Params, Power, SecretKey, Time, TxBody, TxId,
    TxOrder, VerifiedTx, Wire, results_hash,
};

use crate::blocks::Blocks;

/// Returns the account key that follows from a seed.
pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

/// Returns the id of the test's chain.
pub fn chain_id() -> ChainId {
    ChainId::new("cairn-rpc-test").unwrap()
}

/// Returns the validator key that follows from a type and a seed.
fn validator_key(key_type: KeyType, seed: u8) -> ConsensusSecretKey {
    ConsensusSecretKey::from_bytes(key_type, &[seed; 32]).unwrap()
}

/// Returns the key of alice, the only account with enough money for transfers.
pub fn alice() -> SecretKey {
    key(50)
}

/// Returns the encoded bytes of a transfer that alice signed.
pub fn transfer(nonce: u64, amount: u64) -> Vec<u8> {
    let body = TxBody {
        chain_id: chain_id(),
        signer: alice().public_key(),
        order: TxOrder::Nonce(nonce),
        fee: 2,
        messages: vec![Msg::Transfer { to: key(51).public_key().address(), amount }],
    };
    body.sign(&alice()).encode()
}

fn genesis(key_type: KeyType, others: u32) -> Genesis {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let validator = |seed: u8| GenesisValidator {
        public_key: validator_key(key_type, seed).public_key(),
        power: Power(10),
        name: String::new(),
        operator: None,
    };
    let other = |number: u32| {
        let mut address = Address([0xAA; 20]);
        address.0[..4].copy_from_slice(&number.to_be_bytes());
        GenesisAccount { address, balance: 1, name: String::new() }
    };
    Genesis::new(Document {
        genesis_time: Time::from_unix_millis(now.as_millis() as u64).saturating_sub(Duration::from_secs(3600)),
        chain_id: chain_id(),
        initial_height: Height(1),
        params: Params::default(),
        validators: (1..=4).map(validator).collect(),
        app_hash: None,
        stake: genesis::FirstStake::default(),
        accounts: [GenesisAccount {
            address: alice().public_key().address(),
            balance: 1_000_000,
            name: "alice".into(),
        }]
        .into_iter()
        .chain((1..=others).map(other))
        .collect(),
    })
    .unwrap()
}

/// The chain, its mempool, and the senders of its events.
pub struct Chain {
    /// Store of the committed heights.
    pub store: Arc<Store<RocksKv>>,
    key_type: KeyType,
    /// Application state at the tip.
    pub app: LiveApp,
    /// Genesis document of the chain.
    pub genesis: Genesis,
    /// Sender of committed heights to subscribers.
    pub events: broadcast::Sender<Arc<Committed>>,
    /// Sender of round notes and evidence to subscribers.
    pub happened: broadcast::Sender<Arc<Happened>>,
    /// Whether the node reports that it is catching up.
    pub catching_up: Mutex<bool>,
    /// Whether each submitted transaction is committed at once, in a block of its own.
    pub commits_at_once: Mutex<bool>,
    blocks: Mutex<Blocks>,
    waiting: Mutex<Vec<Vec<u8>>>,
    _folder: tempfile::TempDir,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl Chain {
    /// Creates a chain whose validators have secp256k1 keys, at height 0.
    pub fn new() -> Arc<Self> {
        Self::with_keys(KeyType::Secp256k1)
    }

    /// Creates a chain whose validators have keys of this type.
    pub fn with_keys(key_type: KeyType) -> Arc<Self> {
        Self::with(key_type, 0)
    }

    /// Creates a chain with alice's account and `others` further accounts.
    pub fn with_accounts(others: u32) -> Arc<Self> {
        Self::with(KeyType::Secp256k1, others)
    }

    fn with(key_type: KeyType, others: u32) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let genesis = genesis(key_type, others);
        let store = Store::open(RocksKv::open(&folder.path().join("db")).unwrap(), &chain_id()).unwrap();
        let first = genesis.first_state();
        let began = storage::Genesis {
            initial_height: first.initial_height,
            time: first.time,
            app_hash: first.state.app_hash,
            document_hash: first.genesis_hash,
        };
        let batch = GenesisBatch { genesis: began, validators: &first.validators, params: &first.params };
        store.init_genesis(&batch, first.state.rows()).unwrap();
        let app = LiveApp::new(App::open(&store.reader().unwrap(), chain_id(), Height(0)));
        Arc::new(Self {
            store: Arc::new(store),
            key_type,
            app,
            genesis,
            events: broadcast::Sender::new(256),
            happened: broadcast::Sender::new(256),
            catching_up: Mutex::new(false),
            commits_at_once: Mutex::new(false),
            blocks: Mutex::new(Blocks::new(chain_id(), first.validators)),
            waiting: Mutex::default(),
            _folder: folder,
        })
    }

    /// Commits a height with these transactions and sends it to all subscribers.
    pub fn grow(&self, txs: Vec<Vec<u8>>) -> Arc<Committed> {
        self.grow_with(txs, Vec::new())
    }

    /// As [`Chain::grow`], with evidence in the block.
    pub fn grow_with(&self, txs: Vec<Vec<u8>>, evidence: Vec<Evidence>) -> Arc<Committed> {
        let committed = Arc::new(self.commit(txs, evidence));
        let _ = self.events.send(committed.clone());
        committed
    }

    /// Sets the lowest height whose evidence has not expired after the next block.
    pub fn expire_evidence_below(&self, floor: u64) {
        lock(&self.blocks).evidence_floor = Height(floor);
    }

    fn commit(&self, txs: Vec<Vec<u8>>, evidence: Vec<Evidence>) -> Committed {
        let mut blocks = lock(&self.blocks);
        let params = self.genesis.params();
        let keys = [1, 2, 3].map(|seed| validator_key(self.key_type, seed));
        let next = blocks.next(&self.store.tip().unwrap(), params, txs, evidence, &keys);
        let (context, txs) = next.execution();
        let outcome = self.app.read().execute(&self.store.reader().unwrap(), &context, &txs);
        let tip = self.store.commit_block(&next.batch(&outcome, params)).unwrap();
        assert_eq!(tip.results_hash, results_hash(&outcome.results.txs));
        self.app.commit(outcome.update);
        let validators = blocks.advance(&next);
        lock(&self.waiting).retain(|tx| !next.block.txs.contains(tx));
        Committed {
            block_bytes: next.block_bytes.len(),
            block_id: next.block_id,
            block: next.block,
            commit: next.commit,
            results: outcome.results,
            validators,
            synced: false,
            timing: CommitTiming::default(),
        }
    }

    fn status(&self) -> Status {
        let (tip, blocks) = (self.store.tip().unwrap(), lock(&self.blocks));
        Status {
            own: Some(validator_key(self.key_type, 1).public_key()),
            catching_up: *lock(&self.catching_up),
            hard_state_height: tip.height.next(),
            ..Status::at_rest(tip.height, tip.app_hash, tip.time, Arc::new(blocks.validators.clone()))
        }
    }

    /// Starts an RPC server for this chain on a free port.
    pub async fn serve(self: &Arc<Self>, limits: Limits) -> Served {
        let context = Context {
            chain_id: chain_id(),
            identity: Identity {
                node_id: "ab".repeat(20),
                moniker: "test".into(),
                listen_address: "tcp://127.0.0.1:26656".into(),
                rpc_address: "tcp://127.0.0.1:26657".into(),
            },
            genesis: GenesisText::Whole(self.genesis.to_json()),
            store: self.store.clone(),
            app: self.app.clone(),
            pool: Arc::new(Shared(self.clone())),
            submitter: Arc::new(Shared(self.clone())),
            network: Arc::new(Shared(self.clone())),
            status: Box::new({
                let chain = self.clone();
                move || Arc::new(chain.status())
            }),
            committed: Box::new({
                let events = self.events.clone();
                move || events.subscribe()
            }),
            evidence: Box::new({
                let (happened, reported) = (self.happened.clone(), Mutex::new(ReportedEvidence::default()));
                move |evidence| {
                    if lock(&reported).is_news(&evidence) {
                        let _ = happened.send(Arc::new(Happened::Evidence(Box::new(Evidence::clone(&evidence)))));
                    }
                    true
                }
            }),
            happened: Box::new({
                let happened = self.happened.clone();
                move || happened.subscribe()
            }),
            not_ready: Box::new({
                let chain = self.clone();
                move || lock(&chain.catching_up).then(|| "catching up".to_owned()).into_iter().collect()
            }),
            observe: Box::new(|_, _, _| {}),
            unreadable: Box::new(|_| {}),
            background: || {},
            limits,
            cors: Cors { origins: vec!["http://page.test".into()], methods: vec!["POST".into()], headers: vec![] },
        };
        // Each server has its own address, so that the server of another test never gets a port that this one has
        // released.
        static SERVERS: AtomicU8 = AtomicU8::new(0);
        let address = [127, 0, 1, SERVERS.fetch_add(1, Ordering::Relaxed)];
        let listener = TcpListener::bind((IpAddr::from(address), 0)).await.unwrap();
        Served { handle: rpc::serve(context, listener).unwrap() }
    }
}

/// A chain with a running RPC server.
pub struct Served {
    /// Handle of the running RPC server.
    pub handle: Handle,
}

impl Served {
    /// Returns the HTTP URL of the server.
    pub fn http(&self) -> String {
        format!("http://{}", self.handle.address())
    }

    /// Returns the WebSocket URL of the server.
    pub fn websocket(&self) -> String {
        format!("ws://{}/websocket", self.handle.address())
    }
}

/// The chain as mempool, submitter and network of the RPC server.
#[derive(Clone)]
struct Shared(Arc<Chain>);

impl Pool for Shared {
    fn size(&self) -> PoolSize {
        let waiting = lock(&self.0.waiting);
        PoolSize { txs: waiting.len(), bytes: waiting.iter().map(Vec::len).sum() }
    }

    fn list(&self, limit: usize) -> Vec<Vec<u8>> {
        lock(&self.0.waiting).iter().take(limit).cloned().collect()
    }

    fn get(&self, id: &TxId) -> Option<Vec<u8>> {
        lock(&self.0.waiting).iter().find(|tx| TxId::of(tx) == *id).cloned()
    }

    fn next_nonce(&self, sender: &Address) -> Option<u64> {
        assert_eq!(*sender, alice().public_key().address());
        let nonce = |tx: &Vec<u8>| match VerifiedTx::from_bytes(tx).unwrap().body().order {
            TxOrder::Nonce(nonce) => Some(nonce + 1),
            TxOrder::Expires(_) => None,
        };
        lock(&self.0.waiting).iter().filter_map(nonce).max()
    }

    fn flush(&self) {
        lock(&self.0.waiting).clear();
    }
}

impl Submitter for Shared {
    fn submit(&self, tx: Vec<u8>, _: Arc<Client>) -> BoxFuture<'static, Result<Accepted, Rejection>> {
        let lent = self.clone();
        let take_in = move || {
            let accepted = lent.judge(&tx)?;
            lock(&lent.0.waiting).push(tx.clone());
            if *lock(&lent.0.commits_at_once) {
                lent.0.grow(vec![tx]);
            }
            Ok(accepted)
        };
        tokio::task::spawn_blocking(take_in).map(Result::unwrap).boxed()
    }

    fn check(&self, tx: Vec<u8>, _: Arc<Client>) -> BoxFuture<'static, Result<Accepted, Rejection>> {
        ready(self.judge(&tx)).boxed()
    }
}

impl Shared {
    fn judge(&self, tx: &[u8]) -> Result<Accepted, Rejection> {
        match VerifiedTx::from_bytes(tx).map_err(Refusal::from) {
            Ok(_) => Ok(Accepted { gas_wanted: 1 }),
            Err(refusal) => Err(Rejection {
                code: refusal.code().number,
                codespace: app::CODESPACE.to_owned(),
                log: refusal.to_string(),
            }),
        }
    }
}

impl Network for Shared {
    fn listeners(&self) -> Vec<String> {
        vec!["tcp://127.0.0.1:26656".into()]
    }

    fn peers(&self) -> Vec<PeerSeen> {
        vec![]
    }

    fn dial(&self, address: &str) -> Result<(), String> {
        if address.contains('@') { Ok(()) } else { Err(format!("{address:?} is not id@host:port")) }
    }
}
