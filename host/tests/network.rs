//! Hosts in one process under a virtual clock: a small network without threads, sockets or disks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use consensus::{SignState, Signer};
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use host::{
    Checked, Committed, Config, Halt, Host, Input, Mempool, Offence, Output, Peer, Source, Status, TxVerifier,
    Verifier, mempool,
};
use storage::{Batch, Cf, Durability, Fault, Kv, MemDisk, MemKv, Store, View};
use types::{
    Address, BlockId, BlockRequest, ChainId, Height, Moment, Msg, Params, PeerMessage, Power, Round, SecretKey, Time,
    Transaction, TxBody, TxOrder, Wire,
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
    host: Host<MemKv>,
    verifier: Verifier,
    store: Arc<Store<MemKv>>,
    mempool: Arc<Mempool>,
    txs: Arc<TxVerifier>,
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
    nodes: Vec<Option<Node>>,
    keys: Vec<Option<u8>>,
    links: BTreeSet<(usize, usize)>,
    /// Each node's lives so far: what was meant for an earlier one is lost.
    lives: Vec<u64>,
    events: BTreeMap<(Time, u64), (u64, Event)>,
    sequence: u64,
    now: Time,
    /// Of a thousand messages, so many are lost.
    loss: u64,
    random: u64,
    committed: Vec<BTreeMap<Height, Arc<Committed>>>,
    halted: Vec<Option<Halt>>,
    /// What each key signed, as it went over the wire: it never contradicts itself.
    votes: BTreeMap<(Address, Height, Round, types::VoteType), Option<BlockId>>,
    twins: bool,
    /// How far a node's clock is ahead.
    skew: Vec<Duration>,
    /// How far a node's wall clock has jumped since it started.
    jump: Vec<Duration>,
}

fn peer(node: usize) -> Peer {
    Peer([node as u8; 20])
}

impl Network {
    /// `keys`: a validator's key for each node, or none for a full node.
    fn new(validators: usize, keys: &[Option<u8>]) -> Self {
        let count = keys.len();
        let mut network = Self {
            genesis: genesis(validators),
            config: Config { empty_block_interval: Some(Duration::from_millis(100)), ..Config::default() },
            disks: (0..count).map(|_| MemDisk::new()).collect(),
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

    fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.start(node));
    }

    fn start(&mut self, node: usize) {
        let store = Arc::new(Store::open(self.disks[node].open(), &chain()).unwrap());
        let mempool = Arc::new(Mempool::new(mempool::Config::default(), chain()));
        let txs = Arc::new(TxVerifier::default());
        let signer = self.keys[node].map(|seed| Signer::new(key(seed), SignState::default()));
        let (host, verifier) =
            Host::open(self.config.clone(), &self.genesis, store.clone(), mempool.clone(), txs.clone(), signer)
                .unwrap();
        self.nodes[node] = Some(Node { host, verifier, store, mempool, txs });
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
        }
        if self.nodes[to].is_some() && self.links.contains(&(from, to)) && !self.lost() {
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
                let message = node.verifier.check(decoded);
                let received = self.now.saturating_add(self.skew[to] + self.jump[to]);
                self.step(to, Input::Message { peer: peer(from), message, received });
            }
            Event::Request { from, to, request, blocks, life } => {
                let response = self.nodes[to].as_ref().map(|node| Host::serve(&node.store, blocks).0);
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
        for output in node.host.step(now, vec![input]) {
            match output {
                Output::Send { to, message } => self.send(index, to.0[0] as usize, message),
                Output::Broadcast(message) => {
                    (0..self.nodes.len()).for_each(|to| self.send(index, to, message.clone()));
                }
                Output::StartTimer { timer, after } => {
                    self.at(after, index, Event::Input(index, Box::new(Input::Timer(timer))))
                }
                Output::VerifyTxs { block_id, txs } => {
                    let valid = self.nodes[index].as_ref().unwrap().txs.verify_all(&txs);
                    self.at(LATENCY, index, Event::Input(index, Box::new(Input::TxsVerified { block_id, valid })));
                }
                Output::RequestBlocks { peer, request, blocks } => {
                    let life = self.lives[index];
                    let to = peer.0[0] as usize;
                    self.at(LATENCY, index, Event::Request { from: index, to, request, blocks, life });
                }
                // Whoever cannot read a block of its own does not serve what it says it has.
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
        let verified = node_ref.txs.verify(tx.bytes()).unwrap();
        let tip = node_ref.store.tip().unwrap().height;
        let params = node_ref.store.params(tip.next()).unwrap();
        let reader = node_ref.store.reader().unwrap();
        node_ref.mempool.add(&reader, tip, &params, verified, self.now, Source::Local).unwrap();
        drop(reader);
        self.at(Duration::ZERO, node, Event::Input(node, Box::new(Input::TxsAvailable)));
    }

    fn tip(&self, node: usize) -> u64 {
        self.nodes[node].as_ref().map_or(0, |node| node.store.tip().unwrap().height.0)
    }

    fn status(&self, node: usize) -> Status {
        self.nodes[node].as_ref().unwrap().host.status()
    }

    fn reached(&self, nodes: &[usize], height: u64) -> bool {
        nodes.iter().all(|node| self.tip(*node) >= height)
    }

    /// Every height that two nodes have is the same.
    fn assert_agreement(&self) {
        let mut chain = BTreeMap::new();
        for committed in self.committed.iter().flat_map(BTreeMap::values) {
            let (height, id) = (committed.block.header.height, committed.block_id);
            let app_hash = committed.results.app_hash;
            assert_eq!(*chain.entry(height).or_insert((id, app_hash)), (id, app_hash), "height {height}");
        }
    }

    /// Whether `node`'s validator signed the block of `height`, as its successor's last commit has it.
    fn signed(&self, node: usize, height: u64) -> bool {
        let address = key(self.keys[node].unwrap()).public_key().address();
        let next = self.committed.iter().find_map(|committed| committed.get(&Height(height + 1))).unwrap();
        let commit = next.block.last_commit.as_ref().unwrap();
        (0..4).filter_map(|index| commit.vote(index)).any(|vote| vote.vote.validator == address)
    }
}

#[test]
fn four_hosts_commit_twenty_heights_with_transfers() {
    let mut network = Network::mesh(4);
    network.start_all();
    network.run_until("first height", |network| network.reached(&[0, 1, 2, 3], 1));
    for nonce in 0..40 {
        network.submit(nonce as usize % 4, transfer(nonce));
        if nonce % 4 != 3 {
            // Without transaction gossip the others hear of it in blocks only.
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
    // Everybody signs: each commit in a block has at least a quorum, and late precommits are gathered.
    assert!((2..10).any(|height| (0..4).all(|node| network.signed(node, height))));
}

#[test]
fn a_block_whose_transactions_are_new_here_is_checked_first() {
    let mut network = Network::mesh(4);
    network.start_all();
    network.run_until("first height", |network| network.reached(&[0, 1, 2, 3], 1));
    for nonce in 0..5 {
        network.submit(2, transfer(nonce));
    }
    let with_txs = |network: &Network, node: usize| -> usize {
        network.committed[node].values().map(|committed| committed.block.txs.len()).sum()
    };
    network.run_until("the transfers", |network| (0..4).all(|node| with_txs(network, node) == 5));
    assert!(network.nodes[0].as_ref().unwrap().txs.checks() == 5, "each signature is checked once a node");
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

/// Puts garbage into the rows of a family whose keys begin so.
fn damage(store: &Store<MemKv>, cf: Cf, prefix: &[u8]) {
    let mut batch = Batch::new();
    let view = store.kv().view();
    view.rows(cf, prefix, &[]).for_each(|row| batch.put(cf, row.unwrap().0, [0xFF]));
    assert!(!batch.is_empty());
    store.kv().write(batch, Durability::Buffered).unwrap();
}

#[test]
fn a_damaged_old_block_is_not_served_and_hinders_nobody() {
    let mut network = Network::mesh(4);
    (0..3).for_each(|node| network.start(node));
    network.run_until("sixty heights", |network| network.reached(&[0, 1, 2], 60));
    let store = &network.nodes[0].as_ref().unwrap().store;
    damage(store, Cf::Blocks, &20_u64.to_be_bytes());
    // The commit of height 19 is in block 20.
    let (answer, unreadable) = Host::serve(store, BlockRequest { from: Height(15), count: 10 });
    assert_eq!(answer.blocks.len(), 4);
    let unreadable = unreadable.expect("for the log");
    assert!(unreadable.is_of_the_disk(), "{unreadable}");
    let (answer, unreadable) = Host::serve(store, BlockRequest { from: Height(21), count: 10 });
    assert_eq!((answer.blocks.len(), unreadable.is_none()), (10, true));
    network.start(3);
    network.run_until("the late one", |network| network.tip(3) >= network.tip(0));
    assert!(network.halted.iter().all(Option::is_none), "{:?}", network.halted);
    network.assert_agreement();
}

#[test]
fn a_damaged_row_of_the_state_halts_its_node_and_names_the_row() {
    let mut network = Network::mesh(4);
    network.start_all();
    network.run_until("five heights", |network| network.reached(&[0, 1, 2, 3], 5));
    damage(&network.nodes[1].as_ref().unwrap().store, Cf::State, b"n");
    let tip = network.tip(0);
    network.run_until("ten more without it", |network| network.reached(&[0, 2, 3], tip + 10));
    let Some(Halt::Store(error)) = &network.halted[1] else { panic!("{:?}", network.halted) };
    let sentence = error.to_string();
    assert!(sentence.contains("in state") && sentence.contains("key 6e"), "{sentence}");
}

#[test]
fn a_node_that_loses_its_unsynced_writes_goes_on() {
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
        network.run_until("it goes on", |network| network.reached(&[0, 1, 2, 3], 12));
        network.assert_agreement();
    }
}

#[test]
fn two_of_four_killed_and_one_restarted_go_on() {
    let mut network = Network::mesh(4);
    network.start_all();
    network.run_until("five heights", |network| network.reached(&[0, 1, 2, 3], 5));
    network.stop(2);
    network.stop(3);
    network.run_for(Duration::from_secs(20));
    let tip = network.tip(0);
    assert!(tip <= 7, "two of four decide nothing");
    network.start(3);
    network.run_until("five more", |network| network.reached(&[0, 1, 3], tip + 5));
    network.assert_agreement();
}

/// A copy of a disk as it is now.
fn backup(disk: &MemDisk) -> MemDisk {
    let mut batch = Batch::new();
    disk.dump().into_iter().for_each(|(cf, key, value)| batch.put(cf, key, value));
    let copy = MemDisk::new();
    copy.open().write(batch, Durability::Synced).unwrap();
    copy
}

#[test]
fn an_old_backup_does_not_sign_again() {
    let mut network = Network::mesh(4);
    network.start_all();
    network.run_until("ten heights", |network| network.reached(&[0, 1, 2, 3], 10));
    let old = backup(&network.disks[3]);
    network.run_until("thirty heights", |network| network.reached(&[0, 1, 2, 3], 30));
    network.stop(3);
    network.disks[3] = backup(&old);
    network.start(3);
    // What it signs goes through `Network::send`, which asserts that it never contradicts what it signed before.
    let tip = network.tip(0);
    network.run_until("it takes part again", |network| network.reached(&[0, 1, 2, 3], tip + 10));
    network.run_until("it signs again", |network| network.signed(3, network.tip(0) - 2));
    network.assert_agreement();
}

#[test]
fn an_old_backup_is_silent_at_a_height_where_peers_know_its_votes() {
    for extra in 0..8 {
        let mut network = Network::mesh(4);
        network.config.empty_block_interval = Some(Duration::ZERO);
        network.start_all();
        network.run_until("ten heights", |network| network.reached(&[0, 1, 2, 3], 10));
        let old = backup(&network.disks[3]);
        network.run_until("thirty heights", |network| network.reached(&[0, 1, 2, 3], 30));
        // Two are left, stuck at a height where the fourth may have voted already.
        network.stop(2);
        network.run_for(Duration::from_millis(extra));
        network.stop(3);
        network.disks[3] = backup(&old);
        network.run_for(Duration::from_secs(2));
        network.start(3);
        network.run_for(Duration::from_secs(10));
        network.start(2);
        let tip = network.tip(0);
        network.run_until("they go on", |network| network.reached(&[0, 1, 2, 3], tip + 5));
        network.assert_agreement();
    }
}

#[test]
fn a_rewound_node_signs_nothing_twice() {
    let mut network = Network::mesh(4);
    network.start_all();
    network.run_until("ten heights", |network| network.reached(&[0, 1, 2, 3], 10));
    network.stop(3);
    Store::open(network.disks[3].open(), &chain()).unwrap().rewind(Height(4)).unwrap();
    network.start(3);
    let tip = network.tip(0);
    network.run_until("it takes part again", |network| network.reached(&[0, 1, 2, 3], tip + 10));
    network.run_until("it signs again", |network| network.signed(3, network.tip(0) - 2));
    network.assert_agreement();
}

#[test]
fn messages_that_are_lost_are_repaired() {
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
    // Without the fourth validator the hidden one is needed for every decision.
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
fn a_lone_validator_with_no_pause_between_heights_still_hears_others() {
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
    // One with the transfer, one with the app hash that it left.
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
fn a_second_process_with_the_same_key_is_noticed() {
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
fn a_wall_clock_that_jumps_for_a_while_costs_the_proposals_of_that_while() {
    let mut network = Network::mesh(4);
    network.start_all();
    network.run_until("height 5", |network| network.reached(&[0, 1, 2, 3], 5));
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

/// Simulator seed 1486: an answer to a peer showed our proposal, and the write that was to explain it failed in the same step.
#[test]
fn a_node_whose_write_fails_says_nothing_in_that_step() {
    let mut network = Network::mesh(4);
    let proposer = network.genesis.first_state().validators.proposer().address();
    let ours = (0..4).find(|node| key(*node as u8 + 1).public_key().address() == proposer).unwrap();
    network.start(ours);
    let (now, disk) = (network.now, network.disks[ours].clone());
    let host = &mut network.nodes[ours].as_mut().unwrap().host;
    let peers: Vec<Peer> = (0..4).filter(|node| *node != ours).map(peer).collect();
    let mut inputs = vec![Input::Start];
    inputs.extend(peers.iter().map(|peer| Input::PeerUp(*peer)));
    let outputs = host.step(now, inputs);
    let Some(Output::Send { message: state, .. }) = outputs.iter().find(|output| matches!(output, Output::Send { .. }))
    else {
        panic!("a peer is told where we stand: {outputs:?}")
    };
    // Enough peers stand where we do: now it signs, and shows them what they lack.
    let told =
        |peer: &Peer| Input::Message { peer: *peer, message: Checked::Unchecked((**state).clone()), received: now };
    disk.fail_write(0, Fault::Lost);
    let outputs = host.step(now, peers.iter().map(told).collect());
    assert!(outputs.iter().any(|output| matches!(output, Output::Halt(Halt::Store(_)))), "{outputs:?}");
    let words = outputs.iter().filter(|output| matches!(output, Output::Send { .. } | Output::Broadcast(_)));
    assert_eq!(words.count(), 0, "{outputs:?}");
    assert!(network.nodes[ours].as_ref().unwrap().store.hard_state().unwrap().is_none());
}
