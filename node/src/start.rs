//! Starts and stops a node: starts its parts in the order of their dependencies, then waits until any of them ends.
//!
//! ```text
//!   home lock → genesis, keys → store → replica → p2p → verify pool → consensus thread, pruner, trees → RPC, metrics
//! ```
//! A graceful stop has the reverse order: first the RPC accepts no more requests, then the loop ends after its current
//! batch, then the pool and the network stop; last the store is synced.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use consensus::Signer;
use files::NodeKey;
use mempool::{Mempool, SharedPool, TxVerifier};
use p2p::Network;
use replica::{LiveApp, Replica, ReplicaError, Status, TreesFrom, Verifier};
use rpc::http::Handle;
use storage::{RocksKv, Store};
use tokio::runtime::Runtime;

use crate::{
    admin,
    beginning::Beginning,
    board::Board,
    config::{Config, listen_address},
    consensus_thread::ConsensusThread,
    exit::{Code, Failure},
    file_handles::Files,
    home::Lock,
    inbox::Inbox,
    intake::{self, Intake},
    logging,
    metrics::{self, Metrics, Snapshot, Sources},
    network::{self, Exchange},
    os,
    progress::Progress,
    pruner,
    readiness::Readiness,
    rpc_parts,
    scrub::{self, Scrub},
    signals::NodeSignals,
    signing,
    stake_log::StakeLog,
    stop::{End, Stopper, end_after, end_on_panic},
    trees,
    verify_pool::{Deps, Submitter, VerifyPool},
};

/// Worker threads of each runtime, of the network and of the clients: they move bytes and compute little. The runtimes
/// are separate, so that no client delays a vote.
const RUNTIME_THREADS: usize = 2;

/// Maximum number of blocking threads of each runtime, for reads from the disk.
const BLOCKING_THREADS_MAX: usize = 16;

/// Maximum time of a graceful stop before the process is ended. Nothing is lost then: every sent message is durable.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);

/// Runs the node of a home until it is asked to stop (by `signals`, or by the [`Stopper`] given to `with_stopper`), or
/// a part of it ends.
///
/// The main thread of the process calls this: it starts the logs, and makes a panic in any thread end the process.
///
/// Errors: the node cannot start, a part of it fails, or its last writes fail. The [`Failure`] has the exit code.
pub fn run(config: Config, signals: &NodeSignals, with_stopper: impl FnOnce(Stopper)) -> Result<(), Failure> {
    logging::start(&config.base.log_level, &config.base.log_format).map_err(Failure::config)?;
    end_on_panic();
    let data_dir = config.data_dir();
    // The file holds a request to an earlier process.
    let _ = std::fs::remove_file(logging::levels_file(&data_dir));
    if !config.passed_over().is_empty() {
        tracing::info!(
            target: "main", variables = %config.passed_over().join(","),
            "these environment variables look like service links of a container platform; they are ignored"
        );
    }
    let node = Node::start(config)?;
    signals.node_runs(node.stopper(), data_dir);
    with_stopper(node.stopper());
    let result = node.wait();
    match &result {
        Ok(()) => tracing::info!(target: "main", "stopped"),
        Err(failure) => tracing::error!(target: "main", code = failure.code as u64, reason = %failure, "stopped"),
    }
    logging::flush();
    result
}

/// The parts of a node that other parts use.
struct Parts {
    store: Arc<Store<RocksKv>>,
    txs: SharedPool,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    inbox: Arc<Inbox>,
    network: Network,
    pool: Arc<VerifyPool>,
}

/// The threads of a node, without those of its runtimes.
struct Threads {
    consensus: JoinHandle<()>,
    /// Threads of the verify pool, the pruner, the trees and the scrub.
    others: Vec<JoinHandle<()>>,
    /// Keeps the scrub running; it ends when this is dropped.
    scrub_lives: SyncSender<()>,
}

/// A running node with all its parts.
pub struct Node {
    config: Config,
    parts: Parts,
    readiness: Readiness,
    threads: Threads,
    rpc: Option<Handle>,
    metrics_server: Option<Handle>,
    stopper: Stopper,
    ended: Receiver<End>,
    runtime: Runtime,
    /// Runtime of the RPC and the metrics server.
    clients_runtime: Runtime,
    _lock: Lock,
}

impl Node {
    /// Starts all parts. When this returns, the node listens, and the consensus loop runs.
    ///
    /// Errors: the home is in use; a file, setting or port cannot be used; the store is damaged or of another chain.
    pub fn start(config: Config) -> Result<Self, Failure> {
        let lock = Lock::take(&config.data_dir())?;
        let node_key = NodeKey::load(&config.node_key_file())?;
        warn_of_open_keys(&config);
        let files = share_files(&config);
        let (store, genesis) = open_chain(&config, files.tables)?;
        let signer = signing::load_signer(&config, &store)?;
        let metrics = Arc::new(Metrics::new(&config.instrumentation.namespace, genesis.chain_id()));
        let (replica, verifier) = resume(&config, &store, &metrics, signer)?;
        let propose_bound = show_tip(&store, &metrics, &replica.status())?;
        let app = replica.app();

        let runtime = runtime_of("network", os::prefer_latency)?;
        let clients_runtime = runtime_of("clients", os::serve_clients)?;
        let mut p2p = p2p_config(&config, &genesis)?;
        p2p.max_inbound = files.inbound_peers;
        let (network, events) = runtime.block_on(p2p::start(p2p, node_key))?;

        let parts = Parts::new(&config, store, metrics, network, replica.status(), verifier);
        let (stopper, ended) = Stopper::new();
        let progress = Progress::new(propose_bound, config.consensus.empty_block_interval);
        parts.wake_for_txs();
        let threads = parts.start_threads(&config, replica, progress, &stopper);
        runtime.spawn(parts.exchange(&config).pass_events(events, parts.inbox.clone()));
        let readiness = parts.readiness(&config);
        parts.metrics.watch(Snapshot::new(parts.sources(&config, app.clone(), readiness.clone())));
        let mut node = Self {
            config,
            parts,
            readiness,
            threads,
            rpc: None,
            metrics_server: None,
            stopper,
            ended,
            runtime,
            clients_runtime,
            _lock: lock,
        };
        if let Err(failure) = node.serve(genesis, app, files) {
            let _ = node.stop(); // the first failure is the one to report
            return Err(failure);
        }
        node.log_start();
        Ok(node)
    }

    /// Starts the operator's socket, the metrics server and the RPC, as configured.
    fn serve(&mut self, genesis: Beginning, app: LiveApp, files: Files) -> Result<(), Failure> {
        {
            let _on_runtime = self.runtime.enter();
            admin::serve(&self.config.data_dir(), self.parts.store.clone());
        }
        if self.config.instrumentation.prometheus {
            let address = address(&self.config.instrumentation.prometheus_listen_addr);
            let requests_max = self.config.instrumentation.max_open_connections;
            let _on_runtime = self.clients_runtime.enter();
            let server = metrics::serve(self.parts.metrics.clone(), address, requests_max, files.metrics)?;
            self.metrics_server = Some(server);
        }
        if !self.config.rpc.laddr.is_empty() {
            self.config.rpc.max_open_connections = files.rpc;
            let context = rpc_parts::context(rpc_parts::NodeHandles {
                config: &self.config,
                genesis,
                store: self.parts.store.clone(),
                app,
                mempool: self.parts.txs.mempool.clone(),
                submitter: self.submitter(),
                network: self.parts.network.clone(),
                board: self.parts.board.clone(),
                readiness: self.readiness.clone(),
                metrics: self.parts.metrics.clone(),
                inbox: self.parts.inbox.clone(),
            });
            let _on_runtime = self.clients_runtime.enter();
            let listener = crate::listen::bind("rpc.laddr", address(&self.config.rpc.laddr))?;
            let rpc = rpc::serve(context, listener).map_err(Failure::config)?;
            self.parts.metrics.watch_clients(rpc.clients().clone());
            self.rpc = Some(rpc);
        }
        Ok(())
    }

    /// Logs the first line, with the addresses of this node.
    fn log_start(&self) {
        let or_none =
            |address: Option<SocketAddr>| address.map_or_else(|| "none".to_owned(), |address| address.to_string());
        let listening: Vec<String> =
            self.network().listening().iter().map(|(transport, socket)| format!("{transport:?}:{socket}")).collect();
        tracing::info!(
            target: "main", version = env!("CARGO_PKG_VERSION"), chain = %self.store().chain_id(), node_id = %self.network().id(),
            height = self.board().status().tip.0, p2p = %listening.join(","), rpc = %or_none(self.rpc_address()),
            metrics = %or_none(self.metrics_address()), home = %self.config.home.display(), "started"
        );
    }

    /// Returns the address on which the RPC listens; `None` without an RPC.
    pub fn rpc_address(&self) -> Option<SocketAddr> {
        self.rpc.as_ref().map(Handle::address)
    }

    /// Returns the address on which metrics are served; `None` without a metrics server.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_server.as_ref().map(Handle::address)
    }

    /// Returns the handle of the p2p network.
    pub fn network(&self) -> &Network {
        &self.parts.network
    }

    /// Returns the published state of the consensus thread.
    pub fn board(&self) -> &Arc<Board> {
        &self.parts.board
    }

    /// Returns the store of the node.
    pub fn store(&self) -> &Arc<Store<RocksKv>> {
        &self.parts.store
    }

    /// Returns the metrics of the node.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }

    /// Returns a handle that submits transactions to the mempool.
    pub fn submitter(&self) -> Submitter {
        Submitter(self.parts.pool.clone())
    }

    /// Returns the judge of whether the node is ready.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Returns a handle that stops this node.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until the node is asked to stop or a part of it ends, then stops the rest.
    ///
    /// Errors: the failure of the part that ended, or that of [`Node::stop`].
    pub fn wait(self) -> Result<(), Failure> {
        let end = self.ended.recv().expect("we hold a sender");
        let stopped = self.stop();
        end.and(stopped)
    }

    /// Stops the node gracefully.
    ///
    /// Errors: the last sync of the store failed. The store is then as after a crash, which is safe.
    pub fn stop(self) -> Result<(), Failure> {
        end_after(STOP_TIME_MAX);
        if let Some(rpc) = self.rpc {
            self.clients_runtime.block_on(rpc.stop());
        }
        self.parts.inbox.close();
        let _ = self.threads.consensus.join(); // a panic has ended the process, or the test
        self.parts.pool.close();
        drop(self.threads.scrub_lives);
        for thread in self.threads.others {
            let _ = thread.join();
        }
        self.parts.network.shutdown_and_join();
        self.parts.store.sync()?;
        drop(self.metrics_server);
        self.clients_runtime.shutdown_timeout(Duration::from_secs(1));
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(())
    }
}

impl Parts {
    /// Creates the parts between the network and the replica. None of them has a thread yet.
    fn new(
        config: &Config,
        store: Arc<Store<RocksKv>>,
        metrics: Arc<Metrics>,
        network: Network,
        status: Status,
        verifier: Verifier,
    ) -> Self {
        let txs = SharedPool {
            mempool: Arc::new(Mempool::new(mempool_config(config), store.chain_id().clone())),
            // Transactions in the mempool are verified, and are not verified again when they arrive in a block.
            verifier: Arc::new(TxVerifier::new(config.mempool.cache_size.max(2 * config.mempool.size))),
        };
        let inbox = Arc::new(Inbox::default());
        let intake = Intake::new(intake::Handles {
            txs: txs.verifier.clone(),
            mempool: txs.mempool.clone(),
            store: store.clone(),
            network: network.clone(),
            metrics: metrics.clone(),
            is_broadcasting: config.mempool.broadcast,
        });
        let pool = VerifyPool::new(Deps {
            verifier,
            txs: txs.verifier.clone(),
            intake,
            network: network.clone(),
            inbox: inbox.clone(),
            metrics: metrics.clone(),
        });
        Self { store, txs, metrics, board: Arc::new(Board::new(status)), inbox, network, pool }
    }

    /// Starts the threads of the verify pool, the pruner, the scrub, the trees and consensus. The failure of the pruner,
    /// of the trees or of consensus goes to `stopper`.
    fn start_threads(
        &self,
        config: &Config,
        replica: Replica<RocksKv>,
        progress: Progress,
        stopper: &Stopper,
    ) -> Threads {
        let on_end = || {
            let stopper = stopper.clone();
            move |end| stopper.on_end(end)
        };
        let mut others = self.pool.start(config.consensus.verify_threads);
        let keeps = pruner::Keeps { all: config.storage.keep_all, time: config.storage.retain_time };
        let (wake_pruner, pruner) = pruner::start(self.store.clone(), self.metrics.clone(), keeps, on_end());
        let (scrub_lives, scrub) = scrub::start(Scrub {
            store: self.store.clone(),
            app: replica.app(),
            metrics: self.metrics.clone(),
            bytes_per_second: config.storage.scrub_bytes_per_second,
        });
        let (wake_trees, trees) = trees::start(self.store.clone(), replica.app(), on_end());
        others.extend([pruner, scrub, trees]);
        let consensus = ConsensusThread {
            replica,
            txs: self.txs.clone(),
            inbox: self.inbox.clone(),
            network: self.network.clone(),
            pool: self.pool.clone(),
            board: self.board.clone(),
            metrics: self.metrics.clone(),
            pruner: wake_pruner,
            trees: wake_trees,
            new_keys: signing::NewKeys::of(config),
            progress,
            stake_log: StakeLog::new(self.store.clone()),
            stopper: stopper.clone(),
            data_dir: config.data_dir(),
        };
        let end = on_end();
        let consensus = thread::Builder::new().name("consensus".to_owned()).spawn(move || end(consensus.run()));
        Threads { consensus: consensus.expect("a thread can be started"), others, scrub_lives }
    }

    /// Creates the exchange of blocks and transactions with peers.
    fn exchange(&self, config: &Config) -> Arc<Exchange> {
        Exchange::new(network::Handles {
            network: self.network.clone(),
            pool: self.pool.clone(),
            store: self.store.clone(),
            mempool: self.txs.mempool.clone(),
            metrics: self.metrics.clone(),
            is_broadcasting: config.mempool.broadcast,
        })
    }

    /// Makes the mempool wake the consensus thread for transactions that could go into a block, and the verify pool for
    /// transactions to publish.
    fn wake_for_txs(&self) {
        let inbox = self.inbox.clone();
        self.txs.mempool.on_ready(move || {
            inbox.try_push(replica::Input::TxsAvailable); // full: the loop will look anyway
        });
        let pool = Arc::downgrade(&self.pool); // weak, because the pool holds the mempool
        self.txs.mempool.on_outgoing(move || {
            if let Some(pool) = pool.upgrade() {
                pool.on_outgoing();
            }
        });
    }

    /// Returns the judge of whether the node is ready.
    fn readiness(&self, config: &Config) -> Readiness {
        let (stall_after, interval) = (config.instrumentation.stall_after, config.consensus.empty_block_interval);
        let skew = self.metrics.clock_skew();
        Readiness::new(self.board.clone(), self.network.clone(), skew, stall_after, interval)
    }

    /// Returns the parts whose counters are collected at each scrape.
    fn sources(&self, config: &Config, app: LiveApp, readiness: Readiness) -> Sources {
        Sources {
            store: self.store.clone(),
            app,
            network: self.network.clone(),
            board: self.board.clone(),
            mempool: self.txs.mempool.clone(),
            txs: self.txs.verifier.clone(),
            pool: self.pool.clone(),
            readiness,
            data_dir: config.data_dir(),
            mempool_max: (config.mempool.size, config.mempool.max_txs_bytes),
        }
    }
}

fn runtime_of(name: &str, on_thread_start: fn()) -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name(name)
        .on_thread_start(on_thread_start)
        .enable_all()
        .build()
        .map_err(|error| Failure::config(format!("the threads of the {name} cannot be started: {error}")))
}

/// Logs a warning for each key file that other users of the machine may read or write.
fn warn_of_open_keys(config: &Config) {
    for file in [config.node_key_file(), config.priv_validator_key_file(), config.next_validator_key_file()] {
        if files::is_open_to_others(&file) {
            tracing::warn!(
                target: "main", file = %file.display(),
                "other users of this machine may read or change this secret key, and whoever has it can act as this node: run \
                 `chmod 600` on the file"
            );
        }
    }
}

/// Raises the limit of open files and divides the handles; logs a warning when they are too few for the configuration.
fn share_files(config: &Config) -> Files {
    let allowed = usize::try_from(os::raise_open_files()).unwrap_or(usize::MAX);
    let files = Files::share(config, allowed);
    if allowed < files.wanted {
        tracing::warn!(
            target: "main", allowed, wanted = files.wanted, database = files.tables, inbound_peers = files.inbound_peers,
            clients = files.rpc,
            "the system allows few open files, fewer than this configuration needs: the database and peers get theirs first, \
             and clients get the rest. Raise the limit (ulimit -n, LimitNOFILE in a systemd unit), or lower \
             rpc.max_open_connections"
        );
    }
    files
}

/// Sets the metrics to the tip of the chain before the first step; returns the propose timeout bound.
fn show_tip(store: &Store<RocksKv>, metrics: &Metrics, status: &Status) -> Result<Duration, Failure> {
    let us = status.own.map(|own| own.address());
    let tip = store.tip().filter(|tip| tip.block_id.is_some());
    if let Some(tip) = tip {
        // Damaged rows of the tip are reported by the parts that need them.
        if let (Ok(head), Ok(block)) = (store.head(tip.height), store.block(tip.height)) {
            let signers = tip.height.0.checked_sub(1).and_then(|before| store.validators(types::Height(before)).ok());
            let validators = store.validators(tip.height).ok();
            metrics.on_start(status, us, Some((&block, head.block_bytes)), signers.as_ref(), validators);
            return Ok(store.params(status.height)?.timeouts.propose);
        }
    }
    metrics.on_start(status, us, None, None, None);
    Ok(store.params(status.height)?.timeouts.propose)
}

/// Opens the store, and puts the first state of the chain into it if it is new.
fn open_chain(config: &Config, tables_max: usize) -> Result<(Arc<Store<RocksKv>>, Beginning), Failure> {
    let kv = open_database(config, tables_max)?;
    let mut genesis = Beginning::read(&config.genesis_file(), &kv)?;
    let store = Arc::new(Store::open(kv, genesis.chain_id())?);
    if let Some(document) = genesis.document.take() {
        Replica::begin(&store, &document).map_err(cannot_open)?;
        genesis.file_hash.map_or(Ok(()), |hash| store.note_genesis_file(hash))?;
    }
    Ok((store, genesis))
}

/// Resumes the replica from the store, and keeps its signing state in the file of a validator.
fn resume(
    config: &Config,
    store: &Arc<Store<RocksKv>>,
    metrics: &Metrics,
    signer: Option<Signer>,
) -> Result<(Replica<RocksKv>, Verifier), Failure> {
    let signed = signer.as_ref().map(|signer| signer.state().clone());
    let (mut replica, verifier) =
        Replica::resume(replica_config(config)?, store.clone(), signer).map_err(cannot_open)?;
    match replica.trees_from() {
        TreesFrom::Stored { height, changed } => {
            tracing::debug!(target: "state", stored_at = height.0, changed, "read the hashes of the state's trees");
        }
        TreesFrom::State(reason) => tracing::info!(
            target: "state", reason, "computed the state's trees from all rows, because the stored hashes could not be used"
        ),
    }
    replica.on_phase(metrics.phase_clock());
    if let Some(signed) = signed {
        replica.keep_signed_in(signing::StateFile::start(config.priv_validator_state_file(), &signed)?)?;
    }
    Ok((replica, verifier))
}

fn open_database(config: &Config, tables_max: usize) -> Result<RocksKv, Failure> {
    let tables_max = i32::try_from(tables_max).unwrap_or(storage::OPEN_FILES_MAX);
    let kv = RocksKv::open_with(&config.store_dir(), tables_max)?;
    for warning in kv.warnings() {
        tracing::warn!(target: "state", "{warning}");
    }
    Ok(kv)
}

fn cannot_open(error: ReplicaError) -> Failure {
    match error {
        ReplicaError::Store(error) => error.into(),
        ReplicaError::OtherGenesis { .. } | ReplicaError::Rewinding { .. } => Failure::config(error),
        ReplicaError::State { .. } => Failure::new(Code::Disk, error),
    }
}

/// Parses an address that was validated when the configuration was loaded.
fn address(text: &str) -> SocketAddr {
    listen_address(text).expect("checked when the configuration was read")
}

fn replica_config(config: &Config) -> Result<replica::Config, Failure> {
    Ok(replica::Config {
        empty_block_interval: config.consensus.empty_block_interval,
        block_interval_min: config.consensus.min_block_interval,
        gossip_interval: config.consensus.gossip_interval,
        sync_timeout: config.blocksync.request_timeout,
        halt: config.halt,
        upgrades: config.upgrades,
        hidden_peers: parse("p2p.private_peer_ids", &config.p2p.private_peer_ids)?.into_iter().collect(),
    })
}

fn mempool_config(config: &Config) -> mempool::Config {
    let settings = &config.mempool;
    mempool::Config {
        txs_max: settings.size,
        bytes_max: settings.max_txs_bytes,
        tx_bytes_max: settings.max_tx_bytes,
        sender_txs_max: settings.max_txs_per_sender,
        ttl: settings.ttl_duration,
        committed_max: settings.cache_size,
        ..mempool::Config::default()
    }
}

fn parse<T>(key: &str, texts: &[String]) -> Result<Vec<T>, Failure>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let one = |text: &String| text.parse().map_err(|error| Failure::config(format!("{key}: {error}")));
    texts.iter().map(one).collect()
}

fn p2p_config(config: &Config, genesis: &Beginning) -> Result<p2p::Config, Failure> {
    let settings = &config.p2p;
    let external = &settings.external_address;
    let mut p2p = p2p::Config::new(genesis.chain_id().as_str(), config.base.moniker.clone());
    p2p.genesis_hash = genesis.hash().0;
    p2p.laddr = address(&settings.laddr).to_string();
    p2p.quic = settings.quic;
    p2p.external_address = parse(
        "p2p.external_address",
        std::slice::from_ref(external).get(..usize::from(!external.is_empty())).unwrap_or_default(),
    )?
    .pop();
    p2p.persistent_peers = parse("p2p.persistent_peers", &settings.persistent_peers)?;
    p2p.seeds = parse("p2p.seeds", &settings.seeds)?;
    p2p.unconditional_ids =
        parse("p2p.unconditional_peer_ids", &settings.unconditional_peer_ids)?.into_iter().collect();
    p2p.private_ids = parse("p2p.private_peer_ids", &settings.private_peer_ids)?.into_iter().collect();
    p2p.max_inbound = settings.max_num_inbound_peers;
    p2p.max_outbound = settings.max_num_outbound_peers;
    p2p.max_inbound_per_ip = if settings.allow_duplicate_ip { 0 } else { p2p.max_inbound_per_ip };
    p2p.pex = settings.pex;
    p2p.allow_private = !settings.addr_book_strict;
    p2p.address_book = settings.pex.then(|| config.addr_book_file());
    p2p.dial_timeout = settings.dial_timeout;
    p2p.handshake_timeout = settings.handshake_timeout;
    p2p.request_timeout = config.blocksync.request_timeout;
    Ok(p2p)
}
