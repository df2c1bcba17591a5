//! One simulated machine: a real replica on a simulated disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use app::{Account, View};
use consensus::Signer;
use genesis::Genesis;
use mempool::{Mempool, SharedPool, Source};
use replica::{Committed, Config, Halt, Input, Replica, SigningRecord, Verifier};
use storage::{Kv, MemDisk, Store, StoreError};
use types::{Address, ConsensusSecretKey, Height, KeyType, Moment, NodeId, PeerMessage, SignState, Time, ValidatorSet};

use crate::{
    byzantine::Twister,
    disk::SimKv,
    liar::Behaviour,
    machine::Machine,
    mutation::{BrokenRules, Mutation},
    program::PROGRAMS,
};

/// A machine, whether its process runs or not.
pub struct Node {
    /// Index of the node in the world.
    pub index: usize,
    /// The validator keys that its operator made so far, the newest last; none for a full node. A process holds the last two.
    keys: Vec<(ConsensusSecretKey, Address)>,
    /// Number of the upgrades that its program has, of those in [`NAMES`](crate::program::NAMES).
    pub program: usize,
    /// How the node violates the protocol, if it does.
    pub behaviour: Option<Behaviour>,
    /// True if its application lets double signs cost nothing.
    pub is_forgiving: bool,
    /// The rule that is broken in it, if one is.
    pub mutation: Option<Mutation>,
    /// Memory of a Byzantine node.
    pub twister: Twister,
    /// Disk of the machine, which survives its processes.
    pub disk: MemDisk,
    /// Last signature of its key, in a file separate from the disk.
    pub state_file: StateFile,
    /// Nodes that are connected with this one only: it is their sentry.
    pub hidden_peers: BTreeSet<NodeId>,
    /// The process, while it runs.
    pub alive: Option<Alive>,
    /// Counter of starts and stops: events for an earlier process are dropped.
    pub life: u64,
    /// False for a late node that has not joined yet.
    pub arrived: bool,
    /// Offset of its clocks from the world's clock, in nanoseconds.
    pub skew: i64,
    /// Offset by which its wall clock jumped while it ran, in nanoseconds; its steady clock did not.
    pub jump: i64,
    /// Duration of one sync of the disk.
    pub sync_time: Duration,
    /// Clocks, timers and speed of the machine.
    pub machine: Machine,
    /// True if power fails right after the next decision is announced.
    pub dies_after_commit: bool,
    /// True if power fails between two outputs of the next step that has several.
    pub dies_between_outputs: bool,
    /// True if power fails in the step in which a write to its disk fails.
    pub dies_in_step: bool,
    /// An older copy of its disk, if there is one.
    pub copy: Option<MemDisk>,
    /// The height of its signing state when its database was replaced or deleted last, if that happened.
    pub robbed_at: Option<Height>,
    /// Number of times that its disk may have lost something: the power failed, or an older copy took its place.
    pub losses: u64,
    /// True if rows of its store were overwritten: it may halt, and it may lack blocks that it claims to have.
    pub is_damaged: bool,
    /// Number of penalties that correct nodes gave it.
    pub penalties: u32,
    /// Decisions that it announced, in any process.
    pub committed: BTreeMap<Height, Arc<Committed>>,
    /// Reason why a process of it halted last.
    pub halted: Option<Halt>,
}

/// State of a running process.
pub struct Alive {
    /// The validator under test.
    pub replica: Replica<SimKv>,
    /// Store of the process.
    pub store: Arc<Store<SimKv>>,
    /// Verifier of the messages of peers.
    pub verifier: Verifier,
    /// Time between two round states that the configuration asks for.
    pub gossip_interval: Duration,
    /// Waiting transactions of the process, and its verifier of transaction signatures.
    pub txs: SharedPool,
    /// Inputs that are not processed yet.
    pub inbox: Vec<Input>,
    /// True if the processing of the inbox is already scheduled.
    pub scheduled: bool,
    /// Time until which the process is busy, mainly with disk syncs.
    pub busy_until: Duration,
    /// Set when the mempool becomes non-empty.
    ready: Arc<AtomicBool>,
}

/// A signing state file separate from the disk: the state that was begun, and the durable one. Clones share one file.
#[derive(Clone, Default)]
pub struct StateFile(Arc<Mutex<(SignState, SignState)>>);

impl StateFile {
    /// Creates a file that holds this state.
    pub fn new(state: SignState) -> Self {
        Self(Arc::new(Mutex::new((SignState::default(), state))))
    }

    /// Returns the durable signing state.
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
        assert!(file.0.hrs() >= file.1.hrs(), "what is signed only grows: {:?} after {:?}", file.0, file.1);
        file.1 = file.0.clone();
        Ok(())
    }
}

/// Maximum number of validator keys that an operator makes for a node in the life of a world.
pub const KEYS_MAX: usize = 4;

/// Returns the validator key that the operator of a node makes first, second and so on.
pub fn validator_key(index: usize, key_type: KeyType, number: usize) -> ConsensusSecretKey {
    let mut bytes = [1 + index as u8; 32];
    if number > 0 {
        bytes[0] = 200 + number as u8;
    }
    ConsensusSecretKey::from_bytes(key_type, &bytes).expect("it is below the order of the curve")
}

fn with_address(key: ConsensusSecretKey) -> (ConsensusSecretKey, Address) {
    let address = key.public_key().address();
    (key, address)
}

/// Returns the peer id of a node.
pub fn peer(index: usize) -> NodeId {
    NodeId([index as u8 + 1; 20])
}

/// Returns the index of the node with this peer id.
pub fn index_of(peer: &NodeId) -> usize {
    usize::from(peer.0[0]) - 1
}

impl Node {
    /// Creates a machine with an empty disk that is not started.
    pub fn new(index: usize, key: Option<ConsensusSecretKey>, behaviour: Option<Behaviour>) -> Self {
        Self {
            index,
            keys: key.map(with_address).into_iter().collect(),
            program: 0,
            behaviour,
            is_forgiving: false,
            mutation: None,
            twister: behaviour.map(Twister::new).unwrap_or_default(),
            disk: MemDisk::new(),
            state_file: StateFile::default(),
            hidden_peers: BTreeSet::new(),
            alive: None,
            life: 0,
            arrived: true,
            skew: 0,
            jump: 0,
            sync_time: Duration::from_micros(300),
            machine: Machine::default(),
            dies_after_commit: false,
            dies_between_outputs: false,
            dies_in_step: false,
            copy: None,
            robbed_at: None,
            losses: 0,
            is_damaged: false,
            penalties: 0,
            committed: BTreeMap::new(),
            halted: None,
        }
    }

    /// Returns the highest height that it announced in any process.
    pub fn announced(&self) -> Height {
        self.committed.last_key_value().map_or(Height::GENESIS, |(height, _)| *height)
    }

    /// Breaks a rule in the node, if it follows the protocol or is part of a coalition: of more than 1/3, which decides nothing
    /// without it.
    pub fn with_mutation(mut self, mutation: Option<Mutation>) -> Self {
        let is_mutated = matches!(self.behaviour, None | Some(Behaviour::Coalition | Behaviour::Traitor));
        self.mutation = mutation.filter(|_| is_mutated);
        self
    }

    /// Breaks the rules that are broken in the node for what this thread does, until the result is dropped. All code of the node
    /// runs under it, and no code of a checker.
    pub fn broken_rules(&self) -> BrokenRules {
        BrokenRules::new(self.mutation, self.is_forgiving)
    }

    /// Returns true if the node follows the protocol.
    pub fn is_correct(&self) -> bool {
        self.behaviour.is_none()
    }

    /// Returns the validator key of the node, if it has one: the oldest one that its process holds.
    pub fn key(&self) -> Option<&ConsensusSecretKey> {
        self.held().next()
    }

    /// Returns the validator keys that a process of the node holds: the newest, and the one before it.
    fn held(&self) -> impl Iterator<Item = &ConsensusSecretKey> {
        self.keys[self.keys.len().saturating_sub(2)..].iter().map(|(key, _)| key)
    }

    /// Returns the address of the first validator key of the node, if it has one.
    pub fn address(&self) -> Option<Address> {
        self.addresses().next()
    }

    /// Returns the addresses of all validator keys that the node has had, the newest last.
    pub fn addresses(&self) -> impl DoubleEndedIterator<Item = Address> {
        self.keys.iter().map(|(_, address)| *address)
    }

    /// Returns true if this is the address of a validator key of the node.
    pub fn is_own(&self, address: &Address) -> bool {
        self.addresses().any(|own| own == *address)
    }

    /// Returns the key that is in a validator set.
    pub fn key_in(&self, validators: &ValidatorSet) -> Option<&ConsensusSecretKey> {
        let is_in = |address: &Address| validators.by_address(address).is_some();
        self.keys.iter().find(|(_, address)| is_in(address)).map(|(key, _)| key)
    }

    /// Adds the next validator key, as a file beside that of the present one. A process finds it at its start, and with
    /// [`Node::find_keys`].
    pub fn add_key(&mut self, key: ConsensusSecretKey) {
        self.keys.push(with_address(key));
    }

    /// Lets the process of the node look for new validator keys, as it does when one enters the set.
    pub fn find_keys(&mut self) {
        let newest = self.keys.last().map(|(key, _)| key.clone());
        if let (Some(alive), Some(key)) = (&mut self.alive, newest)
            && self.mutation != Some(Mutation::ForgetNextKey)
        {
            alive.replica.hold(key);
        }
    }

    /// Returns false if the node violates the protocol and the message shows what it signed itself: its replica would stop,
    /// because it knows nothing of that, and the node would lie no more.
    pub fn can_hear(&self, message: &PeerMessage) -> bool {
        if matches!(self.behaviour, None | Some(Behaviour::Twin)) {
            return true;
        }
        match message {
            PeerMessage::Evidence(evidence) => !self.addresses().any(|address| evidence.names(&address)),
            PeerMessage::Vote(signed) => !self.is_own(&signed.vote.validator),
            PeerMessage::Certificate(certificate) => {
                !certificate.votes().iter().any(|signed| self.is_own(&signed.vote.validator))
            }
            _ => true,
        }
    }

    /// Starts a process on the disk of the machine.
    ///
    /// Errors: a sentence as the operator would see it, if the store, the replica or the signing state cannot be opened.
    pub fn start(&mut self, config: &Config, genesis: &Genesis) -> Result<(), String> {
        let _broken = self.broken_rules();
        self.life += 1;
        let kv = SimKv::open(&self.disk, self.mutation);
        let chain_id = genesis.chain_id();
        let store = Arc::new(Store::open(kv, chain_id).map_err(|e| e.to_string())?);
        let mempool = Mempool::new(mempool::Config::default(), chain_id.clone());
        let ready = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ready);
        mempool.on_ready(move || flag.store(true, Relaxed));
        let txs = SharedPool { mempool: Arc::new(mempool), verifier: Arc::default() };
        let mut signer: Option<Signer> = None;
        for key in self.held().cloned() {
            match &mut signer {
                None => signer = Some(Signer::new(key, self.state_file.kept())),
                Some(_) if self.mutation == Some(Mutation::ForgetNextKey) => {}
                Some(signer) => signer.hold(key),
            }
        }
        let (upgrades, hidden_peers) = (PROGRAMS[self.program], self.hidden_peers.clone());
        let config = Config { upgrades, hidden_peers, ..config.clone() };
        let gossip_interval = config.gossip_interval;
        let (mut replica, verifier) =
            Replica::open(config, genesis, Arc::clone(&store), signer).map_err(|e| e.to_string())?;
        replica.keep_signed_in(self.state_file.clone()).map_err(|e| e.to_string())?;
        let (inbox, busy_until) = (vec![Input::Start], Duration::ZERO);
        self.alive =
            Some(Alive { replica, store, verifier, gossip_interval, txs, inbox, scheduled: false, busy_until, ready });
        Ok(())
    }

    /// Ends the process. If `power` is `Some(keep)`, all unsynced writes but the first `keep` are lost.
    pub fn stop(&mut self, power: Option<usize>) {
        self.alive = None;
        self.life += 1;
        (self.dies_after_commit, self.dies_between_outputs, self.dies_in_step) = (false, false, false);
        if let Some(keep) = power {
            self.lose(keep);
        }
    }

    /// Loses all unsynced writes but the first `keep`.
    pub fn lose(&mut self, keep: usize) {
        self.disk.crash(keep);
        self.losses += 1;
    }

    /// Puts another disk in the place of the present one.
    pub fn replace_disk(&mut self, disk: MemDisk) {
        self.disk = disk;
        self.losses += 1;
    }

    /// Returns true if it runs and has what it wrote when its disk had lost something `losses` times.
    pub fn still_has(&self, losses: u64) -> bool {
        self.losses == losses && self.alive.is_some()
    }

    /// Returns the time of the node's wall clock.
    pub fn clock(&self, epoch: Time, now: Duration) -> Time {
        self.moment(epoch, now).wall
    }

    /// Returns the time of both clocks of the node.
    pub fn moment(&self, epoch: Time, now: Duration) -> Moment {
        let steady = epoch.unix_nanos() + now.as_nanos() as i64 + self.skew + self.machine.drifted(now);
        Moment { wall: Time::from_unix_nanos(steady + self.jump), steady: Time::from_unix_nanos(steady) }
    }

    /// Returns the last committed height, or `Height::GENESIS` if the node is down.
    pub fn tip(&self) -> Height {
        self.alive.as_ref().and_then(|alive| alive.store.tip()).map_or(Height::GENESIS, |tip| tip.height)
    }
}

impl Alive {
    /// Handles a received transaction like a node: verifies the signature once and adds it to the mempool. Returns true
    /// if it was added.
    pub fn take_tx(&mut self, bytes: &[u8], now: Time, source: Source) -> bool {
        let Ok(tx) = self.txs.verifier.verify(bytes) else { return false };
        if self.txs.mempool.known(&tx.id()).is_some() {
            return false;
        }
        let reader = self.store.reader().expect("a disk in memory answers");
        let height = reader.height();
        // The parameters are read with the state, as a node does: after a failed write, the store may not know that it
        // is one height further.
        let params = View::of_state(&reader).params();
        let added = self.txs.mempool.add(&reader, height, &params, tx, now, source);
        drop(reader);
        if self.ready.swap(false, Relaxed) {
            self.inbox.push(Input::TxsAvailable);
        }
        added.is_ok()
    }

    /// Returns the account of an address at the tip.
    pub fn account(&self, address: &Address) -> Account {
        View::of_state(&self.store.reader().expect("a disk in memory answers")).account(address)
    }

    /// Returns the number of disk syncs of this process.
    pub fn syncs(&self) -> u64 {
        self.store.kv().stats().syncs
    }
}
