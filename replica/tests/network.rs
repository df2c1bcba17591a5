//! Proves that several replicas agree in one process under a virtual clock: a small network without threads, sockets or
//! disks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use consensus::Signer;
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use mempool::{Mempool, SharedPool, Source};
use replica::{Committed, Config, Halt, Input, Offence, Output, Replica, SigningRecord, Silence, Status, Verifier};
use storage::{Batch, Cf, Durability, Fault, Kv, MemDisk, MemKv, Store, StoreError, View};
use types::{
    Address, BlockId, BlockRequest, ChainId, Height, Moment, Msg, NodeId, Params, PeerMessage, Power, Round, SecretKey,
    SignState, Time, Transaction, TxBody, TxOrder, Wire,
};

const LATENCY: Duration = Duration::from_millis(1);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

fn start_time() -> Time {
    Time::from_unix_millis(1_700_000_000_000)
}

fn account() -> SecretKey {
    key(200)
}

fn genesis(validators: usize) -> Genesis {
    let validator = |n: usize| GenesisValidator {
        public_key: key(n as u8 + 1).public_key().into(),
        power: Power(10),
        name: String::new(),
    };
    Genesis::new(Document {
        genesis_time: start_time(),
        chain_id: chain(),
        initial_height: Height(1),
        params: Params::default(),
        validators: (0..validators).map(validator).collect(),
        app_hash: None,
        accounts: vec![GenesisAccount {
            address: account().public_key().address(),
            balance: 1_000_000,
            name: String::new(),
        }],
    })
    .unwrap()
}

fn transfer(nonce: u64) -> Transaction {
    TxBody {
        chain_id: chain(),
        signer: account().public_key(),
        order: TxOrder::Nonce(nonce),
        fee: 1,
        messages: vec![Msg::Transfer { to: Address([9; 20]), amount: 1 }],
    }
    .sign(&account())
}

struct Node {
    replica: Replica<MemKv>,
    verifier: Verifier,
    store: Arc<Store<MemKv>>,
    txs: SharedPool,
}

enum Event {
    Input(usize, Box<Input>),
    Message { from: usize, to: usize, message: Arc<PeerMessage>, life: u64 },
    Request { from: usize, to: usize, request: u64, blocks: BlockRequest, life: u64 },
}

struct Network {
    genesis: Genesis,
    config: Config,
    disks: Vec<MemDisk>,
    /// Each validator's signing state, which outlives its disk.
    records: Vec<Record>,
    nodes: Vec<Option<Node>>,
    keys: Vec<Option<u8>>,
    links: BTreeSet<(usize, usize)>,
    /// Number of starts of each node; messages for an earlier start are lost.
    lives: Vec<u64>,
    events: BTreeMap<(Time, u64), (u64, Event)>,
    sequence: u64,
    now: Time,
    /// Number of messages that are lost, per thousand.
    loss: u64,
    random: u64,
    committed: Vec<BTreeMap<Height, Arc<Committed>>>,
    halted: Vec<Option<Halt>>,
    /// The votes that each key signed, as they were sent: a key never contradicts itself.
    votes: BTreeMap<(Address, Height, Round, types::VoteType), Option<BlockId>>,
    twins: bool,
    /// Offset by which a node's clock is ahead.
    skew: Vec<Duration>,
    /// Offset by which a node's wall clock has jumped since it started.
    jump: Vec<Duration>,
    /// True if no node receives proposals and parts, so that rounds fail.
    without_proposals: bool,
    /// A node that responds to each round state with one of the same place whose vote bitmaps are all ones.
    liar: Option<usize>,
}

/// A signing state beside the store: the record that was begun, and the one that was finished.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<(SignState, SignState)>>);

impl Record {
    fn kept(&self) -> SignState {
        self.0.lock().unwrap().1.clone()
    }
}

impl SigningRecord for Record {
    fn begin(&mut self, signed: &SignState) {
        self.0.lock().unwrap().0 = signed.clone();
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let mut states = self.0.lock().unwrap();
        assert!(states.0.hrs() > states.1.hrs(), "it only grows: {:?} after {:?}", states.0, states.1);
        states.1 = states.0.clone();
        Ok(())
    }
}

fn peer(node: usize) -> NodeId {
    NodeId([node as u8; 20])
}

impl Network {
    /// Creates a network. `keys`: the seed of a validator's key for each node, or `None` for a full node.
    fn new(validators: usize, keys: &[Option<u8>]) -> Self {
        let count = keys.len();
        let mut network = Self {
            genesis: genesis(validators),
            config: Config { empty_block_interval: Some(Duration::from_millis(100)), ..Config::default() },
            disks: (0..count).map(|_| MemDisk::new()).collect(),
            records: (0..count).map(|_| Record::default()).collect(),
            nodes: (0..count).map(|_| None).collect(),
            keys: keys.to_vec(),
            links: BTreeSet::new(),
            lives: vec![0; count],
            events: BTreeMap::new(),
            sequence: 0,
            now: start_time().saturating_add(Duration::from_secs(1)),
            loss: 0,
            random: 88172645463325252,
            committed: vec![BTreeMap::new(); count],
            halted: vec![None; count],
            votes: BTreeMap::new(),
            twins: false,
            skew: vec![Duration::ZERO; count],
            jump: vec![Duration::ZERO; count],
            without_proposals: false,
            liar: None,
        };
        for a in 0..count {
            for b in 0..count {
                if a != b {
                    network.links.insert((a, b));
                }
            }
        }
        network
    }

    fn mesh(validators: usize) -> Self {
        Self::new(validators, &(0..validators).map(|n| Some(n as u8 + 1)).collect::<Vec<_>>())
    }

    /// Returns a mesh of validators that have decided heights up to `height`.
    fn decided(validators: usize, height: u64) -> Self {
        let mut network = Self::mesh(validators);
        network.start_all();
        let all: Vec<usize> = (0..validators).collect();
        network.run_until("the first heights", |network| network.reached(&all, height));
        network
    }

    fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.start(node));
    }

    fn start(&mut self, node: usize) {
        let store = Arc::new(Store::open(self.disks[node].open(), &chain()).unwrap());
        let txs = SharedPool {
            mempool: Arc::new(Mempool::new(mempool::Config::default(), chain())),
            verifier: Arc::default(),
        };
        let signer = self.keys[node].map(|seed| Signer::new(key(seed), self.records[node].kept()));
        let (mut replica, verifier) = Replica::open(self.config.clone(), &self.genesis, store.clone(), signer).unwrap();
        replica.keep_signed_in(self.records[node].clone()).unwrap();
        self.nodes[node] = Some(Node { replica, verifier, store, txs });
        self.lives[node] += 1;
        self.at(Duration::ZERO, node, Event::Input(node, Box::new(Input::Start)));
        for other in 0..self.nodes.len() {
            if self.nodes[other].is_some() && self.links.contains(&(node, other)) {
                self.at(LATENCY, node, Event::Input(node, Box::new(Input::PeerUp(peer(other)))));
                self.at(LATENCY, other, Event::Input(other, Box::new(Input::PeerUp(peer(node)))));
            }
        }
    }

    fn stop(&mut self, node: usize) {
        self.nodes[node] = None;
        for other in 0..self.nodes.len() {
            if self.nodes[other].is_some() && self.links.contains(&(node, other)) {
                self.at(LATENCY, other, Event::Input(other, Box::new(Input::PeerDown(peer(node)))));
            }
        }
    }

    fn at(&mut self, after: Duration, node: usize, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now.saturating_add(after), self.sequence), (self.lives[node], event));
    }

    fn lost(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 1000 < self.loss
    }

    fn send(&mut self, from: usize, to: usize, message: Arc<PeerMessage>) {
        if let PeerMessage::Vote(signed) = &*message {
            let v = &signed.vote;
            let said = *self.votes.entry((v.validator, v.height, v.round, v.vote_type)).or_insert(v.block_id);
            assert!(said == v.block_id || self.twins, "{from} signed twice: {v:?}");
            let is_own = self.keys[from].is_some_and(|seed| key(seed).public_key().address() == v.validator);
            let step = if v.vote_type == types::VoteType::Prevote { 2 } else { 3 };
            let kept = self.records[from].kept().hrs();
            assert!(
                !is_own || kept.0 == Height(0) || kept >= (v.height, v.round, step),
                "{from} said {v:?}, and the signing state has {kept:?}"
            );
        }
        let is_stopped =
            self.without_proposals && matches!(*message, PeerMessage::Proposal(_) | PeerMessage::Part { .. });
        if self.nodes[to].is_some() && self.links.contains(&(from, to)) && !is_stopped && !self.lost() {
            let life = self.lives[to];
            self.at(LATENCY, to, Event::Message { from, to, message, life });
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now.saturating_add(duration);
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), (life, event)) = entry.remove_entry();
            self.now = at;
            self.on_event(life, event);
        }
        self.now = end;
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..6000 {
            if done(self) {
                return;
            }
            self.run_for(Duration::from_millis(10));
        }
        panic!(
            "after a minute still not: {what}; halted {:?}; tips {:?}",
            self.halted,
            (0..self.nodes.len()).map(|n| self.tip(n)).collect::<Vec<_>>()
        );
    }

    /// Sends the response of the liar.
    fn lie(&mut self, liar: usize, to: usize, message: &PeerMessage) {
        let PeerMessage::RoundState(state) = message else { return };
        let mut state = state.clone();
        let votes = std::iter::once(&mut state.current).chain(state.previous.as_mut());
        votes
            .flat_map(|votes| [&mut votes.prevotes, &mut votes.precommits])
            .for_each(|bits| (0..4).for_each(|n| bits.set(n)));
        self.send(liar, to, Arc::new(PeerMessage::RoundState(state)));
    }

    fn on_event(&mut self, life: u64, event: Event) {
        match event {
            Event::Input(node, input) => {
                if self.lives[node] == life {
                    self.step(node, *input);
                }
            }
            Event::Message { from, to, message, life } => {
                let Some(node) = self.nodes[to].as_ref().filter(|_| self.lives[to] == life) else { return };
                let decoded = PeerMessage::decode(&message.encode()).unwrap();
                if self.liar == Some(to) {
                    return self.lie(to, from, &decoded);
                }
                let message = node.verifier.check(decoded);
                let received = self.now.saturating_add(self.skew[to] + self.jump[to]);
                self.step(to, Input::Message { peer: peer(from), message, received });
            }
            Event::Request { from, to, request, blocks, life } => {
                let response = self.nodes[to].as_ref().map(|node| replica::serve(&node.store, blocks).0);
                let verifier = self.nodes[from].as_ref().map(|node| node.verifier.clone());
                let response = response.zip(verifier).map(|(response, verifier)| verifier.check_blocks(response));
                if self.lives[from] == life {
                    self.at(LATENCY, from, Event::Input(from, Box::new(Input::Blocks { request, response })));
                }
            }
        }
    }

    fn step(&mut self, index: usize, input: Input) {
        let steady = self.now.saturating_add(self.skew[index]);
        let now = Moment { wall: steady.saturating_add(self.jump[index]), steady };
        let Some(node) = &mut self.nodes[index] else { return };
        for output in node.replica.step(now, vec![input], &node.txs) {
            match output {
                Output::Send { to, message } => self.send(index, to.0[0] as usize, message),
                Output::Broadcast(message) => {
                    (0..self.nodes.len()).for_each(|to| self.send(index, to, message.clone()));
                }
                Output::StartTimer { timer, after } => {
                    self.at(after, index, Event::Input(index, Box::new(Input::Timer(timer))))
                }
                Output::VerifyTxs { block_id, txs, precommits } => {
                    let node = self.nodes[index].as_ref().unwrap();
                    let valid = node.txs.verifier.verify_all(&txs) && node.verifier.hold(&precommits);
                    self.at(LATENCY, index, Event::Input(index, Box::new(Input::TxsVerified { block_id, valid })));
                }
                Output::VerifyCommit { commit } => {
                    let verified = self.nodes[index].as_ref().unwrap().verifier.verify_commit(commit);
                    self.at(LATENCY, index, Event::Input(index, Box::new(Input::CommitVerified(verified))));
                }
                Output::RequestBlocks { peer, request, blocks } => {
                    let life = self.lives[index];
                    let to = peer.0[0] as usize;
                    self.at(LATENCY, index, Event::Request { from: index, to, request, blocks, life });
                }
                // A node that cannot read one of its own blocks does not serve what it claims to have.
                Output::Penalize { offence: Offence::Unserved(_), .. } => {}
                Output::Penalize { peer, offence } => {
                    panic!("node {index} penalized {peer}: {offence}");
                }
                Output::Committed(committed) => {
                    let before = self.committed[index].insert(committed.block.header.height, committed.clone());
                    assert!(
                        before.is_none_or(|before| before.block_id == committed.block_id),
                        "a decided height changed"
                    );
                }
                Output::Evidence(_) => {}
                Output::Halt(reason) => {
                    self.halted[index] = Some(reason);
                    self.nodes[index] = None;
                    return;
                }
            }
        }
    }

    fn submit(&mut self, node: usize, tx: Transaction) {
        let node_ref = self.nodes[node].as_ref().unwrap();
        let verified = node_ref.txs.verifier.verify(tx.bytes()).unwrap();
        let tip = node_ref.store.tip().unwrap().height;
        let params = node_ref.store.params(tip.next()).unwrap();
        let reader = node_ref.store.reader().unwrap();
        node_ref.txs.mempool.add(&reader, tip, &params, verified, self.now, Source::Local).unwrap();
        drop(reader);
        self.at(Duration::ZERO, node, Event::Input(node, Box::new(Input::TxsAvailable)));
    }

    fn tip(&self, node: usize) -> u64 {
        self.nodes[node].as_ref().map_or(0, |node| node.store.tip().unwrap().height.0)
    }

    fn status(&self, node: usize) -> Status {
        self.nodes[node].as_ref().unwrap().replica.status()
    }

    fn reached(&self, nodes: &[usize], height: u64) -> bool {
        nodes.iter().all(|node| self.tip(*node) >= height)
    }

    /// Asserts that no two nodes committed different blocks or app hashes at one height.
    fn assert_agreement(&self) {
        let mut chain = BTreeMap::new();
        for committed in self.committed.iter().flat_map(BTreeMap::values) {
            let (height, id) = (committed.block.header.height, committed.block_id);
            let app_hash = committed.results.app_hash;
            assert_eq!(*chain.entry(height).or_insert((id, app_hash)), (id, app_hash), "height {height}");
        }
    }

    /// Returns true if `node`'s validator signed the block of `height`, according to the last commit in the next block.
    fn signed(&self, node: usize, height: u64) -> bool {
        let address = key(self.keys[node].unwrap()).public_key().address();
        let next = self.committed.iter().find_map(|committed| committed.get(&Height(height + 1))).unwrap();
        let commit = next.block.last_commit.as_ref().unwrap();
        (0..4).filter_map(|index| commit.vote(index)).any(|vote| vote.vote.validator == address)
    }
}

#[test]
fn four_hosts_commit_twenty_heights_with_transfers() {
    let mut network = Network::decided(4, 1);
    for nonce in 0..40 {
        network.submit(nonce as usize % 4, transfer(nonce));
        if nonce % 4 != 3 {
            // There is no transaction gossip, so the other nodes receive each transfer directly.
            (0..4).filter(|n| *n != nonce as usize % 4).for_each(|n| network.submit(n, transfer(nonce)));
        } else {
            (0..4).filter(|n| *n != 3).for_each(|n| network.submit(n, transfer(nonce)));
        }
        network.run_for(Duration::from_millis(7));
    }
    network.run_until("twenty heights", |network| network.reached(&[0, 1, 2, 3], 20));
    network.assert_agreement();
    let txs: usize = network.committed[0].values().map(|committed| committed.block.txs.len()).sum();
    assert_eq!(txs, 40);
    let fine = |committed: &Arc<Committed>| committed.results.txs.iter().all(|result| result.code == 0);
    assert!(network.committed[0].values().all(fine));
    assert!(network.committed[0].values().all(|committed| committed.timing.rounds == 0), "nothing failed");
    let status = network.status(0);
    let heights = network.tip(0);
    assert!(status.syncs <= 2 * (heights + 1), "{} syncs for {heights} heights", status.syncs);
    assert!(!status.catching_up && status.peer_heights.len() == 3);
    // All validators sign: each commit in a block has at least a quorum, and late precommits are included.
    assert!((2..10).any(|height| (0..4).all(|node| network.signed(node, height))));
}

#[test]
fn a_block_whose_transactions_are_new_here_is_checked_first() {
    let mut network = Network::decided(4, 1);
    for nonce in 0..5 {
        network.submit(2, transfer(nonce));
    }
    let with_txs = |network: &Network, node: usize| -> usize {
        network.committed[node].values().map(|committed| committed.block.txs.len()).sum()
    };
    network.run_until("the transfers", |network| (0..4).all(|node| with_txs(network, node) == 5));
    assert!(network.nodes[0].as_ref().unwrap().txs.verifier.checks() == 5, "each signature is checked once a node");
    network.assert_agreement();
}

#[test]
fn a_late_node_catches_up_and_signs() {
    let mut network = Network::mesh(4);
    (0..3).for_each(|node| network.start(node));
    network.run_until("a hundred and fifty heights", |network| network.reached(&[0, 1, 2], 150));
    network.start(3);
    network.run_until("the late one", |network| network.tip(3) >= network.tip(0));
    assert!(network.committed[3][&Height(20)].synced);
    let tip = network.tip(0);
    network.run_until("ten more", |network| network.reached(&[0, 1, 2, 3], tip + 10));
    assert!(network.signed(3, tip + 5), "it takes part again");
    assert!(!network.status(3).catching_up);
    network.assert_agreement();
}

/// Overwrites the rows of a family whose keys have this prefix with invalid bytes.
fn damage(store: &Store<MemKv>, cf: Cf, prefix: &[u8]) {
    let mut batch = Batch::new();
    let view = store.kv().view();
    view.rows(cf, prefix, &[]).for_each(|row| batch.put(cf, row.unwrap().0, [0xFF]));
    assert!(!batch.is_empty());
    store.kv().write(batch, Durability::Buffered).unwrap();
}

#[test]
fn a_damaged_old_block_is_not_served_and_affects_no_node() {
    let mut network = Network::mesh(4);
    (0..3).for_each(|node| network.start(node));
    network.run_until("sixty heights", |network| network.reached(&[0, 1, 2], 60));
    let store = &network.nodes[0].as_ref().unwrap().store;
    damage(store, Cf::Blocks, &20_u64.to_be_bytes());
    // The commit of height 19 is in block 20.
    let (answer, unreadable) = replica::serve(store, BlockRequest { from: Height(15), count: 10 });
    assert_eq!(answer.blocks.len(), 4);
    let unreadable = unreadable.expect("for the log");
    assert!(unreadable.is_of_the_disk(), "{unreadable}");
    let (answer, unreadable) = replica::serve(store, BlockRequest { from: Height(21), count: 10 });
    assert_eq!((answer.blocks.len(), unreadable.is_none()), (10, true));
    network.start(3);
    network.run_until("the late one", |network| network.tip(3) >= network.tip(0));
    assert!(network.halted.iter().all(Option::is_none), "{:?}", network.halted);
    network.assert_agreement();
}

#[test]
fn a_damaged_row_of_the_state_halts_its_node_and_names_the_row() {
    let mut network = Network::decided(4, 5);
    damage(&network.nodes[1].as_ref().unwrap().store, Cf::State, b"n");
    let tip = network.tip(0);
    network.run_until("ten more without it", |network| network.reached(&[0, 2, 3], tip + 10));
    let Some(Halt::Store(error)) = &network.halted[1] else { panic!("{:?}", network.halted) };
    let sentence = error.to_string();
    assert!(sentence.contains("in state") && sentence.contains("key 6e"), "{sentence}");
}

#[test]
fn a_node_that_loses_its_unsynced_writes_continues() {
    let mut network = Network::mesh(4);
    network.start_all();
    for round in 0..3 {
        let tip = network.tip(0);
        network.run_until("five more", |network| network.reached(&[0, 1, 2, 3], tip + 5));
        network.stop(round);
        network.disks[round].crash(0);
        network.run_for(Duration::from_millis(300 * round as u64));
        network.start(round);
    }
    let tip = network.tip(3);
    network.run_until("all of them", |network| network.reached(&[0, 1, 2, 3], tip + 5));
    network.assert_agreement();
}

#[test]
fn all_lose_power_just_after_a_decision_and_decide_the_same_again() {
    for extra in 0..12 {
        let mut network = Network::mesh(4);
        network.config.empty_block_interval = Some(Duration::ZERO);
        network.start_all();
        network.run_until("five heights", |network| network.reached(&[0, 1, 2, 3], 5));
        network.run_for(Duration::from_millis(extra));
        (0..4).for_each(|node| network.stop(node));
        (0..4).for_each(|node| network.disks[node].crash(0));
        network.run_for(Duration::from_millis(50));
        network.start_all();
        network.run_until("it continues", |network| network.reached(&[0, 1, 2, 3], 12));
        network.assert_agreement();
    }
}

#[test]
fn two_of_four_killed_and_one_restarted_continue() {
    let mut network = Network::decided(4, 5);
    network.stop(2);
    network.stop(3);
    network.run_for(Duration::from_secs(20));
    let tip = network.tip(0);
    assert!(tip <= 7, "two of four decide nothing");
    network.start(3);
    network.run_until("five more", |network| network.reached(&[0, 1, 3], tip + 5));
    network.assert_agreement();
}

/// Returns a copy of a disk as it is now.
fn backup(disk: &MemDisk) -> MemDisk {
    let mut batch = Batch::new();
    disk.dump().into_iter().for_each(|(cf, key, value)| batch.put(cf, key, value));
    let copy = MemDisk::new();
    copy.open().write(batch, Durability::Synced).unwrap();
    copy
}

/// Treatment of the signing state when a disk is restored from a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Kept,
    Lost,
    EquallyOld,
}

impl Network {
    fn put_back(&mut self, node: usize, disk: &MemDisk, state: State, old: &Record) {
        self.disks[node] = backup(disk);
        match state {
            State::Kept => {}
            State::Lost => self.records[node] = Record::default(),
            State::EquallyOld => self.records[node] = Record(Arc::new(Mutex::new(old.0.lock().unwrap().clone()))),
        }
    }

    /// Returns a copy of a node's data, to be restored later.
    fn copy(&self, node: usize) -> (MemDisk, Record) {
        let states = self.records[node].0.lock().unwrap().clone();
        (backup(&self.disks[node]), Record(Arc::new(Mutex::new(states))))
    }

    fn silence(&self, node: usize) -> Option<&'static str> {
        self.status(node).silence.as_ref().map(Silence::reason)
    }
}

#[test]
fn an_old_backup_does_not_sign_again() {
    for state in [State::Kept, State::Lost, State::EquallyOld] {
        let mut network = Network::decided(4, 10);
        network.run_for(Duration::from_millis(50));
        let (disk, old) = network.copy(3);
        network.run_until("thirty heights", |network| network.reached(&[0, 1, 2, 3], 30));
        network.stop(3);
        network.put_back(3, &disk, state, &old);
        network.start(3);
        // All votes pass through `Network::send`, which asserts that they never contradict earlier ones.
        let tip = network.tip(0);
        network.run_until("it takes part again", |network| network.reached(&[0, 1, 2, 3], tip + 10));
        network.run_until("it signs again", |network| network.signed(3, network.tip(0) - 2));
        assert_eq!(network.silence(3), None);
        network.assert_agreement();
    }
}

/// A restored node does not sign at the first height that it reaches live, even if all it had to catch up with was one
/// commit.
#[test]
fn the_first_live_height_after_catching_up_is_left_out() {
    for (state, behind) in
        [(State::Kept, 1), (State::Lost, 1), (State::Lost, 2), (State::Lost, 9), (State::EquallyOld, 5)]
    {
        let mut network = Network::decided(4, 10);
        network.run_for(Duration::from_millis(50));
        let (disk, old) = network.copy(3);
        let from = network.tip(3);
        network.run_until("some more", |network| network.reached(&[0, 1, 2, 3], from + behind));
        network.run_for(Duration::from_millis(50));
        network.stop(3);
        // The other two nodes are at a height that needs one more vote than they have.
        network.stop(2);
        network.put_back(3, &disk, state, &old);
        network.run_for(Duration::from_secs(3));
        let height = network.tip(0) + 1;
        network.start(3);
        network.run_until("it has caught up", |network| network.tip(3) + 1 == height);
        network.run_for(Duration::from_secs(8));
        assert_eq!((network.tip(0) + 1, network.tip(3) + 1), (height, height), "it does not sign: {state:?}");
        assert!(network.silence(3).is_some());
        // After a restart it does not sign either, if there is no record that it did not sign here.
        if state == State::Lost {
            network.stop(3);
            network.start(3);
            network.run_for(Duration::from_secs(8));
            assert_eq!(network.tip(3) + 1, height, "{state:?} after a restart: {:?}", network.silence(3));
        }
        network.start(2);
        network.run_until("they continue", |network| network.reached(&[0, 1, 2, 3], height + 30));
        network.run_until("it signs again", |network| network.signed(3, network.tip(0) - 2));
        network.assert_agreement();
    }
}

#[test]
fn an_old_backup_is_silent_at_a_height_where_peers_know_its_votes() {
    let address = key(4).public_key().address();
    let votes_at = |network: &Network, height: u64| {
        network.votes.keys().filter(|(voter, at, ..)| (*voter, at.0) == (address, height)).count()
    };
    let mut cases_with_votes = 0;
    for extra in 0..8 {
        for state in [State::Kept, State::Lost] {
            let mut network = Network::mesh(4);
            network.config.empty_block_interval = Some(Duration::ZERO);
            network.start_all();
            network.run_until("ten heights", |network| network.reached(&[0, 1, 2, 3], 10));
            let (disk, old) = network.copy(3);
            network.run_until("thirty heights", |network| network.reached(&[0, 1, 2, 3], 30));
            // Two nodes are left at a height where the fourth may already have voted.
            network.stop(2);
            network.run_for(Duration::from_millis(extra));
            network.stop(3);
            network.put_back(3, &disk, state, &old);
            network.run_for(Duration::from_secs(2));
            let height = network.tip(0) + 1;
            let votes = votes_at(&network, height);
            cases_with_votes += usize::from(votes > 0);
            network.start(3);
            network.run_for(Duration::from_secs(10));
            let context = format!("{state:?} after {extra} ms, {votes} votes at height {height}");
            assert_eq!((network.tip(0) + 1, network.tip(3) + 1), (height, height), "no quorum without it: {context}");
            assert!(network.silence(3).is_some(), "{context}");
            assert_eq!(votes_at(&network, height), votes, "it signs no other vote: {context}");
            network.start(2);
            network.run_until("they continue", |network| network.reached(&[0, 1, 2, 3], height + 4));
            network.run_until("it signs again", |network| network.signed(3, network.tip(0) - 2));
            network.assert_agreement();
        }
    }
    assert!(cases_with_votes >= 4, "peers knew its votes in only {cases_with_votes} of 16 cases");
}

/// Of five validators four are a quorum, and one is stopped in a late round; its disk from round 0 is then restored.
#[test]
fn a_disk_of_an_earlier_round_signs_nothing_at_its_height() {
    for state in [State::Kept, State::Lost] {
        let mut network = Network::decided(5, 5);
        network.run_for(Duration::from_millis(50));
        // No node receives parts and proposals, so that rounds fail; votes are delivered.
        network.without_proposals = true;
        let height = network.tip(0) + 1;
        network.run_until("round 0 is under way", |network| network.status(4).height.0 == height);
        network.run_for(Duration::from_millis(200));
        let (disk, old) = network.copy(4);
        network.run_until("a late round", |network| network.status(4).round >= Round(3));
        network.stop(4);
        network.put_back(4, &disk, state, &old);
        network.run_until("a later round", |network| network.status(0).round >= Round(5));
        network.start(4);
        network.run_for(Duration::from_secs(20));
        assert_eq!(network.status(4).height.0, height);
        let reason = if state == State::Kept { "signed_ahead" } else { "may_have_signed" };
        assert_eq!(network.silence(4), Some(reason));
        network.without_proposals = false;
        network.run_until("they continue", |network| network.reached(&[0, 1, 2, 3, 4], height + 3));
        network.run_until("it signs again", |network| network.signed(4, network.tip(0) - 2));
        network.assert_agreement();
    }
}

/// Two of four nodes are restored while the other two are unreachable: their votes do not make each other sign.
#[test]
fn the_votes_of_two_old_backups_do_not_make_each_other_sign() {
    for state in [State::Kept, State::Lost] {
        let mut network = Network::decided(4, 5);
        network.run_for(Duration::from_millis(50));
        let copies = [2, 3].map(|node| network.copy(node));
        let from = network.tip(2);
        network.run_until("some more", |network| network.reached(&[0, 1, 2, 3], from + 8));
        network.run_for(Duration::from_millis(50));
        (0..4).for_each(|node| network.stop(node));
        for (node, (disk, old)) in [2, 3].into_iter().zip(&copies) {
            network.put_back(node, disk, state, old);
        }
        [2, 3].into_iter().for_each(|node| network.start(node));
        let said = network.votes.len();
        network.run_for(Duration::from_secs(60));
        assert_eq!((network.tip(2), network.tip(3)), (from, from));
        assert_eq!(network.votes.len(), said, "they sign no new message");
        assert!([2, 3].iter().all(|node| network.silence(*node).is_some()));
        [0, 1].into_iter().for_each(|node| network.start(node));
        let after_restart = network.tip(0) + 10;
        // If the file says that they did not sign at the height that waits for them, they sign after a while.
        network.run_for(Duration::from_secs(60));
        network.assert_agreement();
        match state {
            State::Kept => network.run_until("they continue", |network| network.reached(&[0, 1, 2, 3], after_restart)),
            _ => assert!([2, 3].iter().all(|node| network.silence(*node) == Some("no_signing_state"))),
        }
    }
}

/// One node is restored behind an equally old full node, its only link, while the chain is far ahead.
#[test]
fn an_old_backup_behind_an_old_sentry_waits_for_the_network() {
    for state in [State::Kept, State::Lost] {
        let mut network = Network::new(4, &[Some(1), Some(2), Some(3), Some(4), None]);
        for other in [1, 2, 3] {
            network.links.remove(&(0, other));
            network.links.remove(&(other, 0));
        }
        network.start_all();
        network.run_until("five heights", |network| network.reached(&[0, 1, 2, 3, 4], 5));
        network.run_for(Duration::from_millis(50));
        let copies = [0, 4].map(|node| network.copy(node));
        let from = network.tip(0);
        network.run_until("thirteen more", |network| network.reached(&[0, 1, 2, 3, 4], from + 13));
        [0, 4].into_iter().for_each(|node| network.stop(node));
        for (node, (disk, old)) in [0, 4].into_iter().zip(&copies) {
            network.put_back(node, disk, state, old);
        }
        let links = network.links.clone();
        network.links.retain(|(a, b)| [0, 4].contains(a) == [0, 4].contains(b));
        [0, 4].into_iter().for_each(|node| network.start(node));
        network.run_for(Duration::from_secs(30));
        assert_eq!((network.tip(0), network.tip(4)), (from, from), "{state:?}");
        network.stop(4);
        network.links = links;
        network.start(4);
        let tip = network.tip(1);
        network.run_until("it catches up", |network| network.reached(&[0, 1, 2, 3, 4], tip + 10));
        network.run_until("it signs again", |network| network.signed(0, network.tip(1) - 2));
        network.assert_agreement();
    }
}

/// False claims of a peer without stake delay neither nodes whose data agrees nor nodes that must wait for votes.
#[test]
fn false_claims_of_an_unproven_peer_do_not_keep_validators_from_signing() {
    for state in [State::EquallyOld, State::Lost] {
        let mut network = Network::new(4, &[Some(1), Some(2), Some(3), Some(4), None]);
        network.liar = Some(4);
        (0..4).for_each(|node| network.start(node));
        network.run_until("five heights", |network| network.reached(&[0, 1, 2, 3], 5));
        network.run_for(Duration::from_millis(50));
        // Without two nodes nothing is decided; a node that lost its signing state waits for a network that continues.
        let restarted = if state == State::Lost { vec![3] } else { vec![2, 3] };
        restarted.iter().for_each(|node| network.stop(*node));
        network.run_for(Duration::from_secs(2));
        if state == State::Lost {
            network.records[3] = Record::default();
        }
        let tip = network.tip(0);
        network.start(4);
        restarted.iter().for_each(|node| network.start(*node));
        network.run_until("they continue", |network| network.reached(&[0, 1, 2, 3], tip + 5));
        network.run_until("all sign", |network| [2, 3].iter().all(|node| network.signed(*node, network.tip(0) - 2)));
        network.assert_agreement();
    }
}

/// All nodes are restored to an old height but keep their signing states: none decides it again, and each reports why.
#[test]
fn all_restored_with_their_signing_states_decide_no_height_twice() {
    let mut network = Network::decided(4, 5);
    network.run_for(Duration::from_millis(50));
    let copies: Vec<_> = (0..4).map(|node| network.copy(node)).collect();
    let from = network.tip(0);
    network.run_until("some more", |network| network.reached(&[0, 1, 2, 3], from + 8));
    (0..4).for_each(|node| network.stop(node));
    for (node, (disk, old)) in copies.iter().enumerate() {
        network.put_back(node, disk, State::Kept, old);
    }
    network.start_all();
    network.run_for(Duration::from_secs(60));
    for node in 0..4 {
        assert_eq!(network.tip(node), from);
        let Some(Silence::SignedAhead { signed, tip }) = network.status(node).silence else {
            panic!("it says nothing")
        };
        assert!(signed.0 >= from + 8 && tip.0 == from, "{signed} {tip}");
    }
}

/// A whole network that restarts, with data that agrees, does not wait for itself.
#[test]
fn all_restart_between_two_heights_and_continue_at_once() {
    let mut network = Network::decided(4, 5);
    network.run_for(Duration::from_millis(50));
    (0..4).for_each(|node| network.stop(node));
    network.start_all();
    let tip = network.tip(0);
    network.run_for(Duration::from_millis(500));
    assert!(network.reached(&[0, 1, 2, 3], tip + 2), "{}", network.tip(0));
}

#[test]
fn a_rewound_node_signs_nothing_twice() {
    let mut network = Network::decided(4, 10);
    network.stop(3);
    Store::open(network.disks[3].open(), &chain()).unwrap().rewind(Height(4)).unwrap();
    network.start(3);
    let tip = network.tip(0);
    network.run_until("it takes part again", |network| network.reached(&[0, 1, 2, 3], tip + 10));
    network.run_until("it signs again", |network| network.signed(3, network.tip(0) - 2));
    network.assert_agreement();
}

#[test]
fn lost_messages_are_sent_again() {
    let mut network = Network::mesh(4);
    network.loss = 300;
    network.start_all();
    network.run_until("ten heights", |network| network.reached(&[0, 1, 2, 3], 10));
    network.assert_agreement();
}

#[test]
fn a_validator_behind_a_full_node_takes_part() {
    let mut network = Network::new(4, &[Some(1), Some(2), Some(3), Some(4), None]);
    for other in [1, 2, 3] {
        network.links.remove(&(0, other));
        network.links.remove(&(other, 0));
    }
    // Without the fourth validator every decision needs the hidden one.
    [0, 1, 2, 4].into_iter().for_each(|node| network.start(node));
    network.run_until("the first heights", |network| network.reached(&[0, 1, 2, 4], 3));
    let tip = network.tip(1);
    network.run_until("thirty more", |network| network.reached(&[0, 1, 2, 4], tip + 30));
    let since = network.committed[1].range(Height(tip + 1)..).map(|(_, committed)| committed.timing);
    let first_rounds: Vec<Duration> = since.filter(|timing| timing.rounds == 0).map(|timing| timing.decide).collect();
    assert!(first_rounds.len() > 15 && first_rounds.iter().all(|decide| *decide < Duration::from_millis(20)));
    network.assert_agreement();
}

#[test]
fn a_lone_validator_with_no_pause_between_heights_still_receives_messages() {
    let mut network = Network::mesh(1);
    network.config.empty_block_interval = Some(Duration::ZERO);
    network.start(0);
    network.step(0, Input::Start);
    assert!(network.tip(0) <= 1, "one height in a step");
    for nonce in 0..3 {
        network.submit(0, transfer(nonce));
    }
    let mut steps = 0;
    while network.tip(0) < 5 {
        let ((at, _), (life, event)) = network.events.pop_first().unwrap();
        network.now = at;
        network.on_event(life, event);
        steps += 1;
        assert!(steps < 200);
    }
}

#[test]
fn without_transactions_and_interval_only_needed_blocks_are_made() {
    let mut network = Network::mesh(4);
    network.config.empty_block_interval = None;
    network.start_all();
    network.run_for(Duration::from_secs(30));
    let idle = network.tip(0);
    assert!(idle <= 2, "{idle} blocks for nothing");
    (0..4).for_each(|node| network.submit(node, transfer(0)));
    network.run_for(Duration::from_secs(30));
    // One block contains the transfer, one the app hash after it.
    assert_eq!(network.tip(0), idle + 2);
    assert!(network.reached(&[0, 1, 2, 3], idle + 2));
}

#[test]
fn the_least_interval_between_blocks_is_kept() {
    let mut network = Network::mesh(4);
    network.config.empty_block_interval = Some(Duration::ZERO);
    network.config.block_interval_min = Duration::from_millis(50);
    network.start_all();
    network.run_for(Duration::from_secs(5));
    let tip = network.tip(0);
    assert!((60..=101).contains(&tip), "{tip} heights in 5 s");
}

#[test]
fn a_second_process_with_the_same_key_is_detected() {
    let mut network = Network::new(4, &[Some(1), Some(2), Some(3), Some(4), Some(1)]);
    network.twins = true;
    network.skew[4] = Duration::from_micros(7);
    network.start_all();
    network.run_for(Duration::from_secs(20));
    let halted: Vec<usize> = (0..5).filter(|node| network.halted[*node].is_some()).collect();
    assert!(!halted.is_empty() && halted.iter().all(|node| [0, 4].contains(node)), "{:?}", network.halted);
    assert!(matches!(network.halted[halted[0]], Some(Halt::AnotherSigner { .. })), "{:?}", network.halted);
    network.assert_agreement();
}

#[test]
fn a_wall_clock_jump_costs_only_the_proposals_made_during_it() {
    let mut network = Network::decided(4, 5);
    network.jump[1] = Duration::from_secs(365 * 24 * 3600);
    network.run_for(Duration::from_secs(3));
    network.jump[1] = Duration::ZERO;
    network.run_for(Duration::from_secs(3));
    let jumped = network.tip(0);
    network.run_for(Duration::from_secs(10));
    let address = key(2).public_key().address();
    let later = network.committed[0].range(Height(jumped)..).map(|(_, committed)| &committed.block.header);
    let (heights, proposed) = later
        .fold((0, 0), |(heights, proposed), header| (heights + 1, proposed + usize::from(header.proposer == address)));
    assert!(heights > 20 && proposed * 5 >= heights, "{proposed} of {heights} heights were proposed by one of four");
    assert_eq!(network.status(1).round, Round::ZERO, "no round fails any more");
    network.assert_agreement();
}

/// Simulator seed 1486: a message to a peer showed our proposal, and the write that should have made it durable failed
/// in the same step.
#[test]
fn a_node_whose_write_fails_sends_nothing_in_that_step() {
    let mut network = Network::mesh(4);
    let proposer = network.genesis.first_state().validators.proposer().address();
    let ours = (0..4).find(|node| key(*node as u8 + 1).public_key().address() == proposer).unwrap();
    network.start(ours);
    let (now, disk) = (network.now, network.disks[ours].clone());
    let Node { replica, txs, .. } = network.nodes[ours].as_mut().unwrap();
    let peers: Vec<NodeId> = (0..4).filter(|node| *node != ours).map(peer).collect();
    // The node proposes in its first step, and its round state shows that to each peer.
    let mut inputs = vec![Input::Start];
    inputs.extend(peers.iter().map(|peer| Input::PeerUp(*peer)));
    disk.fail_write(0, Fault::Lost);
    let outputs = replica.step(now, inputs, txs);
    assert!(outputs.iter().any(|output| matches!(output, Output::Halt(Halt::Store(_)))), "{outputs:?}");
    let words = outputs.iter().filter(|output| matches!(output, Output::Send { .. } | Output::Broadcast(_)));
    assert_eq!(words.count(), 0, "{outputs:?}");
    assert!(network.nodes[ours].as_ref().unwrap().store.hard_state().unwrap().is_none());
    assert_eq!(network.records[ours].kept(), SignState::default(), "the signing state is never ahead of the store");
}

/// Simulator seed 1666: the store kept a write whose reply was lost, so its messages are sent again after the restart.
#[test]
fn messages_that_a_failed_write_left_in_the_store_are_recorded_before_they_are_sent_again() {
    let mut network = Network::mesh(1);
    network.start(0);
    network.disks[0].fail_write(0, Fault::Kept);
    network.run_for(Duration::from_secs(1));
    assert!(matches!(network.halted[0].take(), Some(Halt::Store(_))));
    let store = Store::open(network.disks[0].open(), &chain()).unwrap();
    let said = store.hard_state().unwrap().expect("the write was kept");
    drop(store);
    assert_eq!(network.records[0].kept(), SignState::default(), "the replica stopped before it got there");
    network.start(0);
    assert_eq!(network.records[0].kept().height, said.height);
    // `send` asserts that the record covers each vote.
    network.run_until("height 3", |network| network.reached(&[0], 3));
}
