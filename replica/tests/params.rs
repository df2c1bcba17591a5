//! Proves with four replicas that the engines use timeouts that the validators decided from the height after the one that
//! executes the decision, also after a restart: exact durations of the timers that the engines start.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use consensus::{Signer, Timeout, TimeoutKind};
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use mempool::{Mempool, SharedPool, Source};
use replica::{Config, Input, Output, Replica, Timer, Verifier};
use storage::{MemDisk, MemKv, Store};
use types::*;

/// Number of validators, each with the power 10.
const COUNT: u8 = 4;

fn key(index: u8) -> SecretKey {
    SecretKey::from_bytes(&[index + 1; 32]).unwrap()
}

fn address(index: u8) -> Address {
    key(index).public_key().address()
}

fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn genesis() -> Genesis {
    let validator = |index| GenesisValidator {
        public_key: key(index).public_key().into(),
        power: Power(10),
        name: String::new(),
        operator: None,
    };
    let account = |index| GenesisAccount { address: address(index), balance: 1_000_000, name: String::new() };
    Genesis::new(Document {
        genesis_time: Time::from_unix_millis(1_700_000_000_000),
        chain_id: chain(),
        initial_height: Height(1),
        params: Params::default(),
        validators: (0..COUNT).map(validator).collect(),
        app_hash: None,
        stake: genesis::FirstStake::default(),
        accounts: (0..COUNT).map(account).collect(),
    })
    .unwrap()
}

/// A validator, which has all others as peers.
struct Node {
    disk: MemDisk,
    replica: Replica<MemKv>,
    verifier: Verifier,
    store: Arc<Store<MemKv>>,
    txs: SharedPool,
}

impl Node {
    fn on(disk: MemDisk, index: u8, signed: SignState) -> Self {
        let store = Arc::new(Store::open(disk.open(), &chain()).unwrap());
        let mempool = Arc::new(Mempool::new(mempool::Config::default(), chain()));
        let txs = SharedPool { mempool, verifier: Arc::default() };
        let signer = Signer::new(key(index), signed);
        let (replica, verifier) = Replica::open(Config::default(), &genesis(), store.clone(), Some(signer)).unwrap();
        Self { disk, replica, verifier, store, txs }
    }
}

/// What reaches a node.
enum Arrival {
    Input(Box<Input>),
    Message { from: u8, message: Arc<PeerMessage> },
}

/// The network, in which messages arrive at once.
struct Net {
    nodes: Vec<Node>,
    /// The node that neither hears nor says anything.
    silent: Option<u8>,
    now: Time,
    /// Durations of the timers that the engines started, by height, purpose and round.
    waits: BTreeMap<(u64, TimeoutKind, u32), BTreeSet<Duration>>,
    /// The timers of consensus that have not expired, each with its node.
    running: Vec<(u8, Timeout)>,
}

impl Net {
    fn new() -> Self {
        let nodes = (0..COUNT).map(|index| Node::on(MemDisk::new(), index, SignState::default())).collect();
        Self::of(nodes, None, Time::from_unix_millis(1_700_000_001_000))
    }

    fn of(nodes: Vec<Node>, silent: Option<u8>, now: Time) -> Self {
        let mut net = Self { nodes, silent, now, waits: BTreeMap::new(), running: Vec::new() };
        let peers = |of: u8| (0..COUNT).filter(move |peer| *peer != of).map(|peer| Input::PeerUp(NodeId([peer; 20])));
        net.pass((0..COUNT).flat_map(|of| [Input::Start].into_iter().chain(peers(of)).map(move |input| (of, input))));
        net
    }

    /// Starts other processes on the same disks.
    fn restart(self) -> Self {
        let again = |(index, node): (u8, Node)| {
            let signed = node.replica.signer().unwrap().state().clone();
            Node::on(node.disk.clone(), index, signed)
        };
        Self::of((0..).zip(self.nodes).map(again).collect(), self.silent, self.now)
    }

    /// Passes inputs to nodes, and all messages that follow from them.
    fn pass(&mut self, inputs: impl IntoIterator<Item = (u8, Input)>) {
        let mut queue: VecDeque<(u8, Arrival)> =
            inputs.into_iter().map(|(to, input)| (to, Arrival::Input(Box::new(input)))).collect();
        while let Some((to, arrival)) = queue.pop_front() {
            if self.silent == Some(to) {
                continue;
            }
            let node = &mut self.nodes[usize::from(to)];
            let input = match arrival {
                Arrival::Input(input) => *input,
                Arrival::Message { from, message } => Input::Message {
                    peer: NodeId([from; 20]),
                    message: node.verifier.check((*message).clone()),
                    received: self.now,
                },
            };
            for output in node.replica.step(self.now, vec![input], &node.txs) {
                match output {
                    Output::Send { to: NodeId(peer), message } => {
                        queue.push_back((peer[0], Arrival::Message { from: to, message }));
                    }
                    Output::Broadcast(message) => {
                        let said = |peer| (peer, Arrival::Message { from: to, message: message.clone() });
                        queue.extend((0..COUNT).filter(|peer| *peer != to).map(said));
                    }
                    Output::VerifyTxs { block_id, .. } => {
                        queue.push_back((to, Arrival::Input(Box::new(Input::TxsVerified { block_id, valid: true }))));
                    }
                    Output::StartTimer { timer: Timer::Consensus(timeout), after } => {
                        let of = (timeout.height.0, timeout.kind, timeout.round.0);
                        self.waits.entry(of).or_default().insert(after);
                        self.running.push((to, timeout));
                    }
                    Output::Penalize { .. } | Output::Halt(_) => panic!("{output:?}"),
                    _ => {}
                }
            }
        }
    }

    /// Adds a transaction of the operator of each of some validators to all mempools.
    fn submit(&self, from: impl IntoIterator<Item = u8>, message: &Msg) {
        for index in from {
            for node in &self.nodes {
                let reader = node.store.reader().unwrap();
                let nonce = app::View::of_state(&reader).account(&address(index)).nonce;
                let (signer, order, messages) = (key(index).public_key(), TxOrder::Nonce(nonce), vec![message.clone()]);
                let body = TxBody { chain_id: chain(), signer, order, fee: 50, messages };
                let tx = VerifiedTx::verified_before(body.sign(&key(index)));
                let height = reader.height();
                node.txs.mempool.add(&reader, height, &Params::default(), tx, self.now, Source::Local).unwrap();
            }
        }
    }

    /// Returns the height of each node that is not silent, which is the same.
    fn tip(&self) -> Height {
        let all = (0..).zip(&self.nodes).filter(|(index, _)| self.silent != Some(*index));
        let tips: BTreeSet<Height> = all.map(|(_, node)| node.store.tip().unwrap().height).collect();
        assert_eq!(tips.len(), 1, "{tips:?}");
        *tips.first().unwrap()
    }

    /// Lets a second pass, and starts the next height.
    fn start(&mut self) {
        self.now = self.now.saturating_add(ms(1000));
        let next = self.tip().next();
        self.pass((0..COUNT).map(|to| (to, Input::Timer(Timer::EmptyBlock(next)))));
    }

    fn decide(&mut self, height: u64) {
        while self.tip() < Height(height) {
            self.start();
        }
    }

    /// Lets the timers of a purpose expire.
    fn expire(&mut self, kind: TimeoutKind) {
        let due: Vec<_> = self.running.extract_if(.., |(_, timeout)| timeout.kind == kind).collect();
        self.pass(due.into_iter().map(|(to, timeout)| (to, Input::Timer(Timer::Consensus(timeout)))));
    }

    /// Returns the durations of the timers of a height, without their nodes.
    fn waits(&self, height: u64) -> Vec<(TimeoutKind, u32, Vec<Duration>)> {
        let of_height = self.waits.range((height, TimeoutKind::Propose, 0)..(height + 1, TimeoutKind::Propose, 0));
        of_height.map(|((_, kind, round), waits)| (*kind, *round, waits.iter().copied().collect())).collect()
    }
}

#[test]
fn the_engines_use_other_timeouts_from_the_height_after_the_decision() {
    use TimeoutKind::{Prevote, Propose, Rebroadcast};
    let mut net = Net::new();
    let begin = net.tip().0;
    let changes = [
        ("propose_ms", 700),
        ("propose_delta_ms", 90),
        ("prevote_ms", 480),
        ("precommit_ms", 320),
        ("precommit_delta_ms", 20),
    ];
    let change = |(name, value)| ParamChange { name: format!("timeouts.{name}"), value };
    let kind = ProposalKind::Act(Act::Params(changes.map(change).to_vec()));
    net.submit([0], &Msg::Propose(Box::new(types::Propose { kind, reason: String::new(), uri: String::new() })));
    net.decide(begin + 1);
    net.submit([0, 1, 2], &Msg::Vote { id: 1, choice: Choice::Yes });
    let acts = begin + 3;
    net.decide(acts);
    assert_eq!(net.tip(), Height(acts));
    let results = net.nodes[0].store.results(Height(acts)).unwrap();
    let kinds: Vec<&str> = results.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["params.changed", "proposal.executed"]);
    let before = [(Propose, 0, vec![ms(3000)]), (Prevote, 0, vec![ms(1000)]), (Rebroadcast, 0, vec![ms(250)])];
    assert_eq!(net.waits(acts), before, "the height that executes the decision has the old ones");

    // The proposer of the next height says nothing, so that its first round fails.
    let proposer = net.nodes[0].store.validators(Height(acts + 1)).unwrap().proposer().address();
    net.silent = (0..COUNT).find(|index| address(*index) == proposer);
    net.start();
    let after = [(Propose, 0, vec![ms(700)]), (Rebroadcast, 0, vec![ms(80)])];
    assert_eq!(net.waits(acts + 1), after);
    net.expire(Propose);
    assert_eq!(net.tip(), Height(acts + 1));
    let after = [
        (Propose, 0, vec![ms(700)]),
        (Propose, 1, vec![ms(790)]),
        (Prevote, 0, vec![ms(480)]),
        (Prevote, 1, vec![ms(980)]),
        (Rebroadcast, 0, vec![ms(80)]),
    ];
    assert_eq!(net.waits(acts + 1), after);

    // Processes that start read them from their stores.
    let mut net = net.restart();
    net.decide(acts + 2);
    assert_eq!(net.waits(acts + 2)[0], (Propose, 0, vec![ms(700)]));
}
