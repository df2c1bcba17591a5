//! One simulated machine: a real host on a simulated disk.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use app::{Account, Rules, View};
use consensus::{SignState, Signer};
use genesis::Genesis;
use host::{Config, Host, Input, Mempool, Peer, SigningRecord, Source, TxVerifier, Verifier, mempool};
use storage::{Kv, MemDisk, Store, StoreError};
use types::{Address, ConsensusSecretKey, Height, Time};

use crate::{
    byzantine::{Behaviour, Twister},
    disk::SimKv,
    setup::Mutation,
};

/// A machine, running or not.
pub struct Node {
    /// Its place in the world.
    pub index: usize,
    /// Its validator key, unless it only follows.
    pub key: Option<ConsensusSecretKey>,
    /// How it breaks the protocol, if it does.
    pub behaviour: Option<Behaviour>,
    /// What a Byzantine one needs to remember.
    pub twister: Twister,
    /// Its disk, which outlives it.
    pub disk: MemDisk,
    /// What its key signed last, in a file beside the disk.
    pub state_file: StateFile,
    /// The process, while it runs.
    pub alive: Option<Alive>,
    /// Counts processes: what was meant for an earlier one is dropped.
    pub life: u64,
    /// Whether it may run: a late one is not there yet.
    pub arrived: bool,
    /// How far its clock is off.
    pub skew: i64,
    /// How long a sync takes.
    pub sync_time: Duration,
    /// Power fails right after the next decision is announced.
    pub dies_after_commit: bool,
    /// The highest height it announced in any life.
    pub announced: Height,
}

/// A running process.
pub struct Alive {
    /// The validator itself.
    pub host: Host<SimKv>,
    /// Its store.
    pub store: Arc<Store<SimKv>>,
    /// Checks peers' messages.
    pub verifier: Verifier,
    /// Its mempool.
    pub mempool: Arc<Mempool>,
    /// Checks transactions.
    pub txs: Arc<TxVerifier>,
    /// What came and is not processed yet.
    pub inbox: Vec<Input>,
    /// Whether processing is due already.
    pub scheduled: bool,
    /// Until when the disk keeps it busy.
    pub busy_until: Duration,
    /// The mempool holds something again.
    ready: Arc<AtomicBool>,
}

/// A signing state beside the disk: what is begun, and what is durable. Clones are the same file.
#[derive(Clone, Default)]
pub struct StateFile(Arc<Mutex<(SignState, SignState)>>);

impl StateFile {
    /// What is durable.
    pub fn kept(&self) -> SignState {
        self.0.lock().expect("no thread panics while it holds the file").1.clone()
    }
}

impl SigningRecord for StateFile {
    fn begin(&mut self, signed: &SignState) {
        self.0.lock().expect("no thread panics while it holds the file").0 = signed.clone();
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let mut file = self.0.lock().expect("no thread panics while it holds the file");
        file.1 = file.0.clone();
        Ok(())
    }
}

/// What a peer is called in the world.
pub fn peer(index: usize) -> Peer {
    Peer([index as u8 + 1; 20])
}

/// Whom a peer's name stands for.
pub fn index_of(peer: &Peer) -> usize {
    usize::from(peer.0[0]) - 1
}

impl Node {
    /// A machine that was never switched on.
    pub fn new(index: usize, key: Option<ConsensusSecretKey>, behaviour: Option<Behaviour>) -> Self {
        Self {
            index,
            key,
            behaviour,
            twister: Twister::default(),
            disk: MemDisk::new(),
            state_file: StateFile::default(),
            alive: None,
            life: 0,
            arrived: true,
            skew: 0,
            sync_time: Duration::from_micros(300),
            dies_after_commit: false,
            announced: Height::GENESIS,
        }
    }

    /// Whether it keeps to the protocol.
    pub fn is_correct(&self) -> bool {
        self.behaviour.is_none()
    }

    /// Its validator address.
    pub fn address(&self) -> Option<Address> {
        self.key.as_ref().map(|key| key.public_key().address())
    }

    /// Starts a process. Errors: a sentence, as the operator would see it.
    pub fn start(&mut self, config: &Config, genesis: &Genesis, mutation: Option<Mutation>) -> Result<(), String> {
        self.life += 1;
        let mutation = mutation.filter(|_| self.is_correct());
        let kv = SimKv::open(&self.disk, mutation == Some(Mutation::LoseSyncs));
        let chain_id = genesis.chain_id();
        let store = Arc::new(Store::open(kv, chain_id).map_err(|e| e.to_string())?);
        let mempool = Arc::new(Mempool::new(mempool::Config::default(), chain_id.clone()));
        let ready = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ready);
        mempool.on_ready(move || flag.store(true, Relaxed));
        let txs = Arc::new(TxVerifier::default());
        let signer = self.key.clone().map(|key| Signer::new(key, self.state_file.kept()));
        let (mut host, verifier) =
            Host::open(config.clone(), genesis, Arc::clone(&store), Arc::clone(&mempool), Arc::clone(&txs), signer)
                .map_err(|e| e.to_string())?;
        host.keep_signed_in(self.state_file.clone()).map_err(|e| e.to_string())?;
        #[cfg(feature = "mutations")]
        let host = match mutation {
            Some(Mutation::Engine(mutation)) => host.with_mutation(mutation),
            Some(Mutation::KeepBlocks) => host.keep_blocks(),
            _ => host,
        };
        let (inbox, busy_until) = (vec![Input::Start], Duration::ZERO);
        self.alive = Some(Alive { host, store, verifier, mempool, txs, inbox, scheduled: false, busy_until, ready });
        Ok(())
    }

    /// The process is gone; with `power` it loses what was not synced, but for the first `keep` writes.
    pub fn stop(&mut self, power: Option<usize>) {
        self.alive = None;
        self.life += 1;
        self.dies_after_commit = false;
        if let Some(keep) = power {
            self.disk.crash(keep);
        }
    }

    /// Its clock.
    pub fn clock(&self, epoch: Time, now: Duration) -> Time {
        let nanos = epoch.unix_nanos() + now.as_nanos() as i64 + self.skew;
        Time::from_unix_nanos(nanos)
    }

    /// Its tip, or what it was before it stopped.
    pub fn tip(&self) -> Height {
        self.alive.as_ref().and_then(|alive| alive.store.tip()).map_or(Height::GENESIS, |tip| tip.height)
    }
}

impl Alive {
    /// Takes a transaction as a node does: the signature once, then the mempool. True if it is new.
    pub fn take_tx(&mut self, bytes: &[u8], now: Time, source: Source) -> bool {
        let Ok(tx) = self.txs.verify(bytes) else { return false };
        if self.mempool.known(&tx.id()).is_some() {
            return false;
        }
        let reader = self.store.reader().expect("a disk in memory answers");
        let height = reader.height();
        // They are read with the state, as a node does: after a write that failed, the store may not know that it is a height further.
        let params = Rules::new(&reader, self.store.chain_id().clone(), height.next()).params;
        let added = self.mempool.add(&reader, height, &params, tx, now, source);
        drop(reader);
        if self.ready.swap(false, Relaxed) {
            self.inbox.push(Input::TxsAvailable);
        }
        added.is_ok()
    }

    /// What an account has at the tip.
    pub fn account(&self, address: &Address) -> Account {
        View::of_state(&self.store.reader().expect("a disk in memory answers")).account(address)
    }

    /// Syncs to disk in this life.
    pub fn syncs(&self) -> u64 {
        self.store.kv().stats().syncs
    }
}
