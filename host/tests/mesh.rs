//! Four hosts over a perfect network and disks in memory: they commit, one restarts, one comes late.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use consensus::{SignState, Signer};
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use host::{Checked, Config, Host, Input, Mempool, Output, Peer, Source, TxVerifier, Verifier, mempool};
use storage::{MemDisk, MemKv, Store};
use types::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn genesis(validators: u8) -> Genesis {
    Genesis::new(Document {
        genesis_time: Time::from_unix_millis(1_700_000_000_000),
        chain_id: ChainId::new("host-test").unwrap(),
        initial_height: Height(1),
        params: Params::default(),
        validators: (1..=validators)
            .map(|seed| GenesisValidator { public_key: key(seed).public_key(), power: Power(1), name: String::new() })
            .collect(),
        app_hash: None,
        accounts: vec![GenesisAccount {
            address: key(99).public_key().address(),
            balance: 1_000_000,
            name: String::new(),
        }],
    })
    .unwrap()
}

struct Node {
    host: Host<MemKv>,
    verifier: Verifier,
    store: Arc<Store<MemKv>>,
    mempool: Arc<Mempool>,
    txs: Arc<TxVerifier>,
}

/// Everybody is connected to everybody; a message takes a millisecond.
struct Net {
    genesis: Genesis,
    now: Time,
    nodes: BTreeMap<u8, Node>,
    disks: BTreeMap<u8, MemDisk>,
    /// What is to happen, by time and order.
    events: BTreeMap<(Time, u64), (u8, Input)>,
    order: u64,
    committed: BTreeMap<Height, BlockId>,
    halted: Vec<String>,
}

fn peer(n: u8) -> Peer {
    Peer([n; 20])
}

impl Net {
    fn new(validators: u8) -> Self {
        Self {
            genesis: genesis(validators),
            now: Time::from_unix_millis(1_700_000_001_000),
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            events: BTreeMap::new(),
            order: 0,
            committed: BTreeMap::new(),
            halted: Vec::new(),
        }
    }

    fn start(&mut self, n: u8) {
        let disk = self.disks.entry(n).or_default();
        let store = Arc::new(Store::open(disk.open(), self.genesis.chain_id()).unwrap());
        let mempool = Arc::new(Mempool::new(mempool::Config::default(), self.genesis.chain_id().clone()));
        let txs = Arc::new(TxVerifier::default());
        let signer = Some(Signer::new(key(n), SignState::default()));
        let (host, verifier) = Host::open(
            Config { empty_block_interval: Some(Duration::ZERO), ..Config::default() },
            &self.genesis,
            Arc::clone(&store),
            Arc::clone(&mempool),
            Arc::clone(&txs),
            signer,
        )
        .unwrap();
        let others: Vec<u8> = self.nodes.keys().copied().collect();
        self.nodes.insert(n, Node { host, verifier, store, mempool, txs });
        self.tell(n, Input::Start);
        for other in others {
            self.tell(n, Input::PeerUp(peer(other)));
            self.tell(other, Input::PeerUp(peer(n)));
        }
    }

    /// Kill −9: what was not synced is lost.
    fn crash(&mut self, n: u8) {
        self.nodes.remove(&n);
        self.disks[&n].crash(0);
        self.events.retain(|_, (to, _)| *to != n);
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.tell(other, Input::PeerDown(peer(n)));
        }
    }

    fn after(&mut self, delay: Duration, to: u8, input: Input) {
        self.order += 1;
        self.events.insert((self.now.saturating_add(delay), self.order), (to, input));
    }

    fn tell(&mut self, n: u8, input: Input) {
        self.after(Duration::ZERO, n, input);
    }

    fn transfer(&mut self, to: u8, nonce: u64) {
        let tx = TxBody {
            chain_id: self.genesis.chain_id().clone(),
            signer: key(99).public_key(),
            order: TxOrder::Nonce(nonce),
            fee: 1,
            messages: vec![Msg::Transfer { to: Address([7; 20]), amount: 10 }],
        }
        .sign(&key(99))
        .encode();
        let now = self.now;
        let node = &self.nodes[&to];
        let (verified, _) = node.txs.verify(&tx).unwrap();
        let tip = node.store.tip().unwrap();
        let params = node.store.params(tip.height.next()).unwrap();
        let reader = node.store.reader().unwrap();
        node.mempool.add(&reader, tip.height, &params, verified, tx, now, Source::Local).unwrap();
        drop(reader);
        self.tell(to, Input::TxsAvailable);
    }

    fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let mut last = BTreeSet::new();
        for _ in 0..200_000 {
            if done(self) {
                return;
            }
            let ((at, _), (n, input)) = self.events.pop_first().expect("something always comes next");
            self.now = self.now.max(at);
            let Some(node) = self.nodes.get_mut(&n) else { continue };
            last.insert(format!("{:?}", node.host.status().step));
            for output in node.host.step(self.now, vec![input]) {
                self.act(n, output);
            }
        }
        panic!("never: {what}; tips {:?}; halted {:?}", self.tips(), self.halted);
    }

    fn tips(&self) -> Vec<u64> {
        self.nodes.values().map(|node| node.host.status().tip.0).collect()
    }

    fn act(&mut self, n: u8, output: Output) {
        let delay = Duration::from_millis(1);
        let mut to: VecDeque<(u8, Arc<PeerMessage>)> = VecDeque::new();
        match output {
            Output::Send { to: Peer([peer, ..]), message } => to.push_back((peer, message)),
            Output::Broadcast(message) => {
                to.extend(self.nodes.keys().filter(|other| **other != n).map(|other| (*other, Arc::clone(&message))));
            }
            Output::StartTimer { timer, after } => self.after(after, n, Input::Timer(timer)),
            Output::VerifyTxs { block_id, txs } => {
                let valid = self.nodes[&n].txs.verify_all(&txs);
                self.tell(n, Input::TxsVerified { block_id, valid });
            }
            Output::RequestBlocks { peer: Peer([peer, ..]), request, blocks } => {
                let response = self.nodes.get(&peer).map(|node| Host::serve(&node.store, blocks).unwrap());
                self.after(delay, n, Input::Blocks { request, response });
            }
            Output::Penalize { peer, offence } => panic!("{n} found {peer} at fault: {offence}"),
            Output::Committed(committed) => {
                let height = committed.block.header.height;
                let first = *self.committed.entry(height).or_insert(committed.block_id);
                assert_eq!(first, committed.block_id, "two blocks at height {height}");
            }
            Output::Evidence(evidence) => panic!("{evidence:?}"),
            Output::Halt(sentence) => self.halted.push(sentence),
        }
        for (other, message) in to {
            let Some(node) = self.nodes.get(&other) else { continue };
            let message = PeerMessage::decode(&message.encode()).expect("what is sent can be read");
            let checked: Checked = node.verifier.check(message);
            let received = self.now.saturating_add(delay);
            self.after(delay, other, Input::Message { peer: peer(n), message: checked, received });
        }
    }
}

#[test]
fn four_validators_commit_transfers_in_one_round_each() {
    let mut net = Net::new(4);
    (1..=4).for_each(|n| net.start(n));
    net.run_until("height 3", |net| net.tips().iter().all(|tip| *tip >= 3));
    for nonce in 0..5 {
        net.transfer(1, nonce);
    }
    net.run_until("height 20", |net| net.tips().iter().all(|tip| *tip >= 20));
    let included: usize = (1..=20).map(|height| net.nodes[&2].store.block(Height(height)).unwrap().txs.len()).sum();
    assert_eq!(included, 5);
    for height in (1..20).map(Height) {
        let commits: Vec<Commit> = net.nodes.values().map(|node| node.store.commit(height).unwrap()).collect();
        assert!(commits.iter().all(|commit| commit.round == Round(0)), "height {height} took more than one round");
    }
    let hashes: BTreeSet<Hash> = net.nodes.values().map(|n| n.store.header(Height(20)).unwrap().app_hash).collect();
    assert_eq!(hashes.len(), 1);
    assert_eq!(net.nodes[&1].txs.checks(), 5, "each signature is checked once");
    assert_eq!(net.nodes[&2].txs.checks(), 5);
    assert_eq!(net.halted, Vec::<String>::new());
}

#[test]
fn a_crashed_validator_comes_back_and_signs_again() {
    let mut net = Net::new(4);
    (1..=4).for_each(|n| net.start(n));
    net.run_until("height 3", |net| net.tips().iter().all(|tip| *tip >= 3));
    net.crash(2);
    net.run_until("the others go on", |net| net.tips().iter().all(|tip| *tip >= 12));
    net.start(2);
    let own = key(2).public_key().address();
    net.run_until("it signs again", |net| {
        let store = &net.nodes[&1].store;
        let tip = store.tip().unwrap().height;
        let commit = store.seen_commit(tip).unwrap();
        let signed = |entry: &CommitSig| matches!(entry, CommitSig::Commit { validator, .. } if *validator == own);
        net.nodes[&2].host.status().tip.0 >= 12 && commit.signatures.iter().any(signed)
    });
    assert_eq!(net.halted, Vec::<String>::new());
}

#[test]
fn two_of_four_halt_and_a_third_brings_the_chain_on() {
    let mut net = Net::new(4);
    (1..=4).for_each(|n| net.start(n));
    net.run_until("height 3", |net| net.tips().iter().all(|tip| *tip >= 3));
    net.crash(3);
    net.run_until("height 8", |net| net.tips().iter().all(|tip| *tip >= 8));
    net.crash(4);
    for _ in 0..20_000 {
        let Some(((at, _), (n, input))) = net.events.pop_first() else { break };
        net.now = net.now.max(at);
        let outputs = net.nodes.get_mut(&n).map(|node| node.host.step(at, vec![input])).unwrap_or_default();
        outputs.into_iter().for_each(|output| net.act(n, output));
    }
    let halted_at = *net.tips().iter().max().unwrap();
    assert!(halted_at <= 10, "two of four must not decide: {halted_at}");
    net.start(3);
    net.run_until("it goes on", |net| net.tips().iter().all(|tip| *tip >= halted_at + 5));
    assert_eq!(net.halted, Vec::<String>::new());
}

#[test]
fn all_lose_what_was_not_synced_and_decide_the_same_again() {
    let mut net = Net::new(4);
    (1..=4).for_each(|n| net.start(n));
    net.run_until("somebody announced height 7", |net| net.committed.contains_key(&Height(7)));
    (1..=4).for_each(|n| net.crash(n));
    (1..=4).for_each(|n| net.start(n));
    net.run_until("height 12", |net| net.tips().iter().all(|tip| *tip >= 12));
    assert_eq!(net.halted, Vec::<String>::new());
}
