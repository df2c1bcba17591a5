//! A cluster under a virtual clock: one queue of events, one random number generator, real hosts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use mempool::Source;
use replica::{Checked, Halt, Input, Offence, Output, Timer};
use storage::StoreError;
use types::{
    BlockId, BlockRequest, BlockResponse, ChainId, ConsensusSecretKey, Height, KeyType, PeerMessage, Power, Round,
    SignedVote, Step, Time, Transaction, TxBatch, Wire, blake3,
};

use crate::{
    byzantine::{Behaviour, Liar, Said, spoil_response},
    checker::{Broken, Checker},
    clients::{ACCOUNTS, BALANCE, Clients},
    faults::FaultEnd,
    network::Network,
    node::{Node, StateFile, index_of, peer},
    random::Random,
    setup::Setup,
    story::{Counts, Story},
};

/// Processing time of one batch of inputs, without syncs.
const STEP_TIME: Duration = Duration::from_micros(50);

/// Interval between attempts to connect pairs that are not connected.
const DIAL_INTERVAL: Duration = Duration::from_millis(200);

/// Number of heights that all correct nodes must decide after the world has healed, and the time limit for it.
const HEALED_HEIGHTS: u64 = 3;
const HEALED_WITHIN: Duration = Duration::from_secs(180);

/// An event that is scheduled for a point in virtual time.
pub(crate) enum Event {
    Process { node: usize, life: u64 },
    Release { node: usize, life: u64, outputs: Vec<Output> },
    Deliver { from: usize, to: usize, connection: u64, message: Arc<PeerMessage> },
    Txs { from: usize, to: usize, connection: u64, txs: Arc<Vec<Vec<u8>>> },
    Request { from: usize, to: usize, connection: u64, request: u64, blocks: BlockRequest },
    Input { node: usize, life: u64, input: Input },
    Timer { node: usize, life: u64, timer: Timer },
    PeerDown { node: usize, life: u64, peer: usize },
    Arrive { node: usize },
    Restart { node: usize },
    Dial,
    Client,
    Fault,
    EndOfFault(FaultEnd),
}

/// A simulated cluster with its clock and its checker.
pub struct World {
    pub(crate) setup: Setup,
    pub(crate) random: Random,
    pub(crate) now: Duration,
    epoch: Time,
    queue: BTreeMap<(Duration, u64), Event>,
    scheduled: u64,
    genesis: Genesis,
    chain_id: ChainId,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    /// Number of the current connection of each pair of nodes.
    connections: Vec<Vec<Option<u64>>>,
    connection_count: u64,
    /// For each node, the peers that it believes to be connected.
    told: Vec<Vec<bool>>,
    clients: Clients,
    pub(crate) checker: Checker,
    /// Counters of the events so far.
    pub counts: Counts,
    /// Log of the run.
    pub story: Story,
    /// True while random faults occur.
    pub(crate) is_troubled: bool,
    hash: [u8; 32],
}

impl World {
    /// Creates a world; its nodes start at once, except late ones.
    pub fn new(setup: Setup) -> Self {
        let mut random = Random::new(setup.seed ^ 0x005E_ED0F_CA1B);
        let chain_id = ChainId::new("cairn-simulated").expect("a name");
        let epoch = Time::from_unix_millis(1_780_000_000_000);
        let clients = Clients::new(chain_id.clone());
        let validators = setup.powers.len();
        let key = |index: usize| {
            let key_type = if setup.ed25519.contains(&index) { KeyType::Ed25519 } else { KeyType::Secp256k1 };
            ConsensusSecretKey::from_bytes(key_type, &[1 + index as u8; 32]).expect("a small number is a key")
        };
        let genesis = Genesis::new(Document {
            genesis_time: epoch.saturating_add(setup.genesis_ahead),
            chain_id: chain_id.clone(),
            initial_height: Height(1),
            params: setup.params.clone(),
            validators: (0..validators)
                .map(|index| GenesisValidator {
                    public_key: key(index).public_key(),
                    power: Power(setup.powers[index]),
                    name: String::new(),
                })
                .collect(),
            app_hash: None,
            accounts: clients
                .addresses()
                .into_iter()
                .map(|address| GenesisAccount { address, balance: BALANCE, name: String::new() })
                .collect(),
        })
        .expect("the simulated genesis is valid");
        let count = validators + setup.full_nodes;
        let skew_max = setup.skew.as_nanos() as u64;
        let nodes: Vec<Node> = (0..count)
            .map(|index| {
                let validator_key = (index < validators).then(|| key(index));
                let mut node = Node::new(index, validator_key, setup.byzantine.get(&index).copied());
                // Offsets are distributed on both sides of zero, so that two clocks differ by at most `skew`.
                node.skew = random.within(0, skew_max) as i64 - (skew_max / 2) as i64;
                node.arrived = !setup.late.contains(&index);
                node
            })
            .collect();
        let supply = ACCOUNTS as u64 * BALANCE;
        let checker = Checker::new(chain_id.clone(), clients.addresses(), supply, &setup);
        let network = Network::new(setup.links, count, &mut random);
        let mut world = Self {
            setup,
            random,
            now: Duration::from_secs(1),
            epoch,
            queue: BTreeMap::new(),
            scheduled: 0,
            genesis,
            chain_id,
            nodes,
            network,
            connections: vec![vec![None; count]; count],
            connection_count: 0,
            told: vec![vec![false; count]; count],
            clients,
            checker,
            counts: Counts::default(),
            story: Story::default(),
            is_troubled: false,
            hash: [0; 32],
        };
        for node in 0..count {
            if world.nodes[node].arrived {
                world.start(node);
            }
        }
        world.at(Duration::ZERO, Event::Dial);
        world.at(Duration::from_millis(10), Event::Client);
        world
    }

    /// Runs the whole life of the world: faults, healing, and the progress that is required afterwards.
    ///
    /// Errors: [`Broken`] with the first violated condition.
    pub fn live(&mut self) -> Result<(), Broken> {
        self.begin_faults();
        for node in self.setup.late.clone() {
            let after =
                self.random.duration(Duration::from_millis(50), self.setup.faults_for.max(Duration::from_millis(51)));
            self.at(after, Event::Arrive { node });
        }
        let (heights, end) = (self.setup.heights, self.now + self.setup.faults_for);
        while self.now < end && self.checker_height() < heights {
            self.run_one()?;
        }
        self.heal();
        self.expect_progress(HEALED_HEIGHTS, HEALED_WITHIN)?;
        self.counts.lost = self.network.lost;
        self.checker.compare(&self.nodes)
    }

    /// Returns a digest of all events so far.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Returns the greatest height that was decided so far.
    pub fn checker_height(&self) -> u64 {
        self.counts.heights
    }

    // ---- functions for scenarios ---------------------------------------------------------------------------------

    /// Runs the world for some time.
    ///
    /// Errors: [`Broken`] with the violated condition.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Broken> {
        let end = self.now + time;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.run_one()?;
        }
        self.now = end;
        Ok(())
    }

    /// Runs the world until `done` returns true.
    ///
    /// Errors: [`Broken`] with the violated condition, or if it takes longer than `within`.
    pub fn run_until(&mut self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) -> Result<(), Broken> {
        let end = self.now + within;
        while !done(self) {
            self.run_one()?;
            if self.now > end {
                return Err(Broken(format!("liveness: {what}: not within {within:?}: {}", self.standing())));
            }
        }
        Ok(())
    }

    /// Runs the world until all correct nodes are up and at `height` or above.
    ///
    /// Errors: those of [`World::run_until`].
    pub fn run_until_height(&mut self, height: u64, within: Duration) -> Result<(), Broken> {
        self.run_until(&format!("height {height} everywhere"), within, |world| {
            world.correct().all(|node| node.alive.is_some() && node.tip().0 >= height)
        })
    }

    /// Runs the world until all correct nodes have decided `heights` more than the highest tip of any node now.
    ///
    /// Errors: those of [`World::run_until`].
    pub fn expect_progress(&mut self, heights: u64, within: Duration) -> Result<(), Broken> {
        let tip = self.nodes.iter().map(|node| node.tip().0).max().unwrap_or(0);
        self.run_until_height(tip + heights, within)
    }

    /// Returns the last height that a node committed, or `Height::GENESIS` if it is down.
    pub fn tip(&self, node: usize) -> Height {
        self.nodes[node].tip()
    }

    /// Returns the current round of a node.
    pub fn round(&self, node: usize) -> Round {
        self.nodes[node].alive.as_ref().map_or(Round::ZERO, |alive| alive.replica.engine().round())
    }

    /// Returns the height that a node is deciding, or has decided last.
    pub fn height(&self, node: usize) -> Height {
        self.nodes[node].alive.as_ref().map_or(Height::GENESIS, |alive| alive.replica.engine().height())
    }

    /// Returns true if a node reports that it lacks decided heights.
    pub fn catching_up(&self, node: usize) -> bool {
        self.nodes[node].alive.as_ref().is_some_and(|alive| alive.replica.status().catching_up)
    }

    /// Returns the block that a node is locked on, at a height that is not decided yet.
    pub fn locked(&self, node: usize) -> Option<BlockId> {
        let engine = self.nodes[node].alive.as_ref()?.replica.engine();
        engine.locked().filter(|_| !engine.is_decided()).map(|lock| lock.block_id)
    }

    /// Returns the block that was decided at a height.
    pub fn block_id(&self, height: u64) -> Option<BlockId> {
        self.checker.block_id(Height(height))
    }

    /// Returns the current step of a node.
    pub fn step(&self, node: usize) -> Step {
        self.nodes[node].alive.as_ref().map_or(Step::Propose, |alive| alive.replica.engine().current_step())
    }

    /// Returns the proposer of a round of the height after `node`'s tip.
    pub fn next_proposer(&self, node: usize, round: Round) -> usize {
        let store = &self.nodes[node].alive.as_ref().expect("it runs").store;
        let validators = store.validators(self.tip(node).next()).expect("the next height's set is stored");
        let address = validators.proposer_of_round(round).address();
        self.nodes.iter().position(|node| node.address() == Some(address)).expect("a validator of the world")
    }

    /// Returns the state of all nodes, for error messages.
    pub fn standing(&self) -> String {
        let one = |node: &Node| match &node.alive {
            None => format!("n{} down at {}", node.index, node.tip()),
            Some(alive) => {
                let engine = alive.replica.engine();
                let (height, round, step) = (engine.height(), engine.round(), engine.current_step());
                format!("n{} tip {} at {height}/{round} {step:?}", node.index, node.tip())
            }
        };
        self.nodes.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// Returns the nodes that follow the protocol.
    pub fn correct(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_correct())
    }

    /// Makes a node lose power: of its unsynced writes only the first `keep` survive.
    pub fn crash(&mut self, node: usize, keep: usize) {
        if self.nodes[node].alive.is_some() {
            self.counts.crashes += 1;
            self.tell(node, || format!("loses power, {keep} unsynced writes survive"));
            self.stop(node, Some(keep));
        }
    }

    /// Makes all nodes lose power and everything that was not synced.
    pub fn crash_all(&mut self) {
        self.counts.cluster_crashes += 1;
        (0..self.nodes.len()).for_each(|node| self.crash(node, 0));
    }

    /// Starts a node that is down.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].arrived = true;
        if self.nodes[node].alive.is_none() {
            self.start(node);
        }
    }

    /// Starts all nodes that are down.
    pub fn restart_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.restart(node));
    }

    /// Separates groups: only nodes of one group can communicate, and nodes in no group with no other. Connections
    /// break, and the nodes are informed.
    pub fn partition(&mut self, groups: &[&[usize]]) {
        self.counts.partitions += 1;
        let count = self.nodes.len();
        for (a, b) in (0..count).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let together = groups.iter().any(|group| group.contains(&a) && group.contains(&b));
            self.network.set_apart(a, b, !together);
            if !together {
                self.disconnect(a, b);
            }
        }
    }

    /// Blocks or unblocks one direction between two nodes. The nodes are not informed.
    pub fn cut(&mut self, from: usize, to: usize, cut: bool) {
        self.network.block(from, to, cut);
    }

    /// Ends all faults: all nodes are up, and all links carry messages.
    pub fn heal(&mut self) {
        let now = self.now;
        self.story.tell(now, || "-- all faults end --".to_owned());
        self.is_troubled = false;
        self.network.calm();
        for node in 0..self.nodes.len() {
            self.nodes[node].dies_after_commit = false;
            self.nodes[node].sync_time = Duration::from_micros(300);
            self.nodes[node].disk.fail_write(u64::MAX, storage::Fault::Kept);
            self.restart(node);
        }
    }

    /// Replaces the disk of a node that is down by an old copy. Its signing state file stays.
    pub fn restore(&mut self, node: usize, copy: &storage::MemDisk) {
        self.nodes[node].disk = copy.durable();
    }

    /// Sets the offset of a node's clock from the world's clock, in milliseconds; negative means behind.
    pub fn set_clock(&mut self, node: usize, ahead_ms: i64) {
        self.nodes[node].skew = ahead_ms * 1_000_000;
        self.tell(node, || format!("has a clock that is {ahead_ms} ms ahead"));
    }

    /// Deletes the signing state file of a node that is down.
    pub fn lose_signing_state(&mut self, node: usize) {
        self.nodes[node].state_file = StateFile::default();
    }

    /// Returns the reason why a node does not sign, if there is one.
    pub fn silence(&self, node: usize) -> Option<&'static str> {
        self.nodes[node].alive.as_ref()?.replica.status().silence.map(|silence| silence.reason())
    }

    /// Makes the network lose this number of messages per thousand from now on.
    pub fn storm(&mut self, per_thousand: u32) {
        self.network.storm = per_thousand;
    }

    /// Returns all nodes, ordered by index.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Submits a transaction to a node like a client. Returns true if it was accepted.
    pub fn submit(&mut self, node: usize, bytes: &[u8]) -> bool {
        let clock = self.nodes[node].clock(self.epoch, self.now);
        let Some(alive) = &mut self.nodes[node].alive else { return false };
        let taken = alive.take_tx(bytes, clock, Source::Local);
        let txs = Arc::new(alive.txs.mempool.take_outgoing(usize::MAX));
        if !txs.is_empty() {
            for to in 0..self.nodes.len() {
                let Some(connection) = self.connections[node][to] else { continue };
                for at in self.network.arrivals(&mut self.random, self.now, node, to) {
                    self.schedule(at, Event::Txs { from: node, to, connection, txs: Arc::clone(&txs) });
                }
            }
        }
        self.wake(node);
        taken
    }

    // ---- the event loop ------------------------------------------------------------------------------------------

    pub(crate) fn at(&mut self, after: Duration, event: Event) {
        self.schedule(self.now + after, event);
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.insert((at.max(self.now), self.scheduled), event);
    }

    /// Processes the next event.
    ///
    /// Errors: [`Broken`] with the violated condition.
    pub fn run_one(&mut self) -> Result<(), Broken> {
        let ((at, _), event) = self.queue.pop_first().expect("timers never end");
        self.now = at;
        match event {
            Event::Process { node, life } => return self.process(node, life),
            Event::Release { node, life, outputs } => return self.release(node, life, outputs),
            Event::Deliver { from, to, connection, message } => self.deliver(from, to, connection, &message),
            Event::Txs { from, to, connection, txs } => self.deliver_txs(from, to, connection, &txs),
            Event::Request { from, to, connection, request, blocks } => {
                self.serve(from, to, connection, request, blocks);
            }
            Event::Input { node, life, input } => self.input(node, life, input),
            Event::Timer { node, life, timer } => self.input(node, life, Input::Timer(timer)),
            Event::PeerDown { node, life, peer } => self.peer_down(node, life, peer),
            Event::Arrive { node } => {
                self.counts.late += 1;
                let is_stranger = self.nodes[node].key.is_none() && !self.nodes[node].is_correct();
                self.counts.strangers += u64::from(is_stranger);
                self.tell(node, || "arrives".to_owned());
                self.restart(node);
            }
            Event::Restart { node } => self.restart(node),
            Event::Dial => {
                self.dial();
                self.at(DIAL_INTERVAL, Event::Dial);
            }
            Event::Client => self.client(),
            Event::Fault => self.fault(),
            Event::EndOfFault(end) => self.end_fault(end),
        }
        Ok(())
    }

    fn note(&mut self, what: u8, who: usize, bytes: &[u8]) {
        let now = (self.now.as_nanos() as u64).to_be_bytes();
        self.hash = types::blake3_parts(&[&self.hash, &now, &[what, who as u8], bytes]).0;
    }

    pub(crate) fn tell(&mut self, node: usize, line: impl FnOnce() -> String) {
        let now = self.now;
        let role = match self.nodes[node].behaviour {
            None => String::new(),
            Some(behaviour) => format!(" ({behaviour:?})"),
        };
        self.story.tell(now, || format!("n{node}{role} {}", line()));
    }

    fn start(&mut self, node: usize) {
        let Setup { config, mutation, .. } = &self.setup;
        if let Err(reason) = self.nodes[node].start(config, &self.genesis, *mutation) {
            // Only a disk that lost synced data can cause this; the checker reports it when it next examines the node.
            self.tell(node, || format!("cannot start: {reason}"));
            self.nodes[node].alive = None;
            return;
        }
        let tip = self.nodes[node].tip();
        self.tell(node, || format!("starts at tip {tip}"));
        self.checker.on_start(node, tip);
        self.note(1, node, &tip.0.to_be_bytes());
        self.wake(node);
    }

    pub(crate) fn stop(&mut self, node: usize, power: Option<usize>) {
        self.nodes[node].stop(power);
        self.note(2, node, &[]);
        for other in 0..self.nodes.len() {
            self.told[node][other] = false;
            self.disconnect(node, other);
        }
    }

    /// Schedules the processing of a node's inbox as soon as it is free.
    fn wake(&mut self, node: usize) {
        let (life, now) = (self.nodes[node].life, self.now);
        let Some(alive) = &mut self.nodes[node].alive else { return };
        if !alive.scheduled && !alive.inbox.is_empty() {
            alive.scheduled = true;
            let at = alive.busy_until.max(now);
            self.schedule(at, Event::Process { node, life });
        }
    }

    fn input(&mut self, node: usize, life: u64, input: Input) {
        if self.nodes[node].life == life
            && let Some(alive) = &mut self.nodes[node].alive
        {
            alive.inbox.push(input);
            self.wake(node);
        }
    }

    /// Processes one batch of inputs. Its writes are on disk when this returns; its messages leave when the sync is
    /// finished.
    fn process(&mut self, node: usize, life: u64) -> Result<(), Broken> {
        let clock = self.nodes[node].clock(self.epoch, self.now);
        if self.nodes[node].life != life {
            return Ok(());
        }
        let sync_time = self.nodes[node].sync_time;
        let Some(alive) = &mut self.nodes[node].alive else { return Ok(()) };
        alive.scheduled = false;
        let syncs = alive.syncs();
        let inputs = std::mem::take(&mut alive.inbox);
        if inputs.iter().any(|input| matches!(input, Input::Timer(Timer::Gossip))) {
            alive.txs.mempool.expire(clock);
        }
        let outputs = alive.replica.step(clock, inputs, &alive.txs);
        let took = if alive.syncs() > syncs { STEP_TIME + sync_time } else { STEP_TIME };
        alive.busy_until = self.now + took;
        if self.nodes[node].is_correct() {
            self.checker.after_step(&self.nodes[node])?;
            let messages = outputs.iter().filter_map(|output| match output {
                Output::Broadcast(message) | Output::Send { message, .. } => Some(&**message),
                _ => None,
            });
            self.checker.on_said(&self.nodes[node], messages)?;
            for output in &outputs {
                if let Output::Committed(committed) = output {
                    let now = self.epoch.saturating_add(self.now);
                    self.checker.on_committed(&self.nodes[node], committed, now, &mut self.counts)?;
                }
            }
        }
        self.at(took, Event::Release { node, life, outputs });
        Ok(())
    }

    /// Carries out the outputs of a replica.
    fn release(&mut self, node: usize, life: u64, outputs: Vec<Output>) -> Result<(), Broken> {
        if self.nodes[node].life != life || self.nodes[node].alive.is_none() {
            return Ok(());
        }
        let mut said = Vec::new();
        for output in outputs {
            match output {
                Output::Send { to, message } => said.push(Said { to: vec![index_of(&to)], message }),
                Output::Broadcast(message) => {
                    let to = (0..self.nodes.len()).filter(|to| self.told[node][*to]).collect();
                    said.push(Said { to, message });
                }
                Output::StartTimer { timer, after } => self.at(after, Event::Timer { node, life, timer }),
                Output::VerifyTxs { block_id, txs, precommits } => {
                    self.verify_txs(node, life, block_id, &txs, &precommits);
                }
                Output::VerifyCommit { commit } => {
                    let Some(alive) = &self.nodes[node].alive else { continue };
                    let input = Input::CommitVerified(alive.verifier.verify_commit(commit));
                    self.at(Duration::from_millis(1), Event::Input { node, life, input });
                }
                Output::RequestBlocks { peer, request, blocks } => self.ask(node, index_of(&peer), request, blocks),
                Output::Penalize { peer, offence } => {
                    self.counts.penalties += 1;
                    let (who, is_correct) = (index_of(&peer), self.nodes[node].is_correct());
                    self.tell(node, || format!("penalizes n{who}: {offence}"));
                    // A request or an answer may be lost with a link, some time before the node is informed that the
                    // link is down.
                    let may_be_lost =
                        matches!(&offence, Offence::Unserved(why) if why.starts_with("it did not answer"));
                    if is_correct && self.nodes[who].is_correct() && !may_be_lost {
                        return Err(Broken(format!("n{node} penalizes n{who}, which is correct: {offence}")));
                    }
                }
                Output::Committed(committed) => {
                    self.nodes[node].announced = self.nodes[node].announced.max(committed.block.header.height);
                    self.announce(node, &committed);
                    if self.nodes[node].dies_after_commit {
                        self.power_fails_after_commit(node);
                        return Ok(());
                    }
                }
                Output::Evidence(evidence) => {
                    let types::Evidence::DuplicateVote(pair) = &evidence;
                    let address = pair.vote_a.vote.validator;
                    let who = self.nodes.iter().position(|node| node.address() == Some(address));
                    if self.nodes[node].is_correct() {
                        self.counts.equivocations += 1;
                        let innocent = who.filter(|who| self.nodes[*who].is_correct());
                        if let Some(who) = innocent {
                            return Err(Broken(format!("n{node} has evidence against n{who}, which is correct")));
                        }
                    }
                    self.tell(node, || format!("has evidence against n{}", who.unwrap_or(99)));
                }
                Output::Halt(why) => return self.halted(node, &why),
            }
        }
        if let Some(behaviour) = self.nodes[node].behaviour {
            said = self.twist(node, behaviour, said);
        }
        for said in said {
            self.say(node, &said);
        }
        Ok(())
    }

    fn announce(&mut self, node: usize, committed: &replica::Committed) {
        let (height, id) = (committed.block.header.height, committed.block_id);
        self.note(3, node, &id.hash.0);
        let how = if committed.synced { "syncs" } else { "decides" };
        let (round, txs) = (committed.commit.round, committed.block.txs.len());
        self.tell(node, || format!("{how} height {height} in round {round}: block {}, {txs} transactions", short(&id)));
    }

    fn halted(&mut self, node: usize, why: &Halt) -> Result<(), Broken> {
        self.tell(node, || format!("halts: {why}"));
        let disk_failed = matches!(why, Halt::Store(error) if matches!(**error, StoreError::Io { .. }));
        if self.nodes[node].is_correct() && !disk_failed {
            return Err(Broken(format!("n{node} halts: {why}")));
        }
        self.stop(node, None);
        let after = self.random.duration(Duration::from_millis(1), self.setup.fault_max);
        self.at(after, Event::Restart { node });
        Ok(())
    }

    fn twist(&mut self, node: usize, behaviour: Behaviour, said: Vec<Said>) -> Vec<Said> {
        let mut twister = std::mem::take(&mut self.nodes[node].twister);
        let now = self.nodes[node].clock(self.epoch, self.now);
        let others: Vec<usize> = (0..self.nodes.len()).filter(|other| *other != node).collect();
        let of = &self.nodes[node];
        let engine = of.alive.as_ref().expect("it just sent a message").replica.engine();
        let stranger = ConsensusSecretKey::from_bytes(KeyType::Secp256k1, &[250; 32]).expect("a small number is a key");
        let liar = Liar {
            behaviour,
            key: of.key.as_ref().unwrap_or(&stranger),
            chain_id: &self.chain_id,
            validators: engine.validators(),
            height: engine.height(),
            others: &others,
            now,
        };
        let twisted = twister.twist(&liar, &mut self.random, said);
        self.nodes[node].twister = twister;
        twisted
    }

    fn say(&mut self, from: usize, said: &Said) {
        let bytes = said.message.encode();
        self.note(4, from, &blake3(&bytes).0);
        let decoded = PeerMessage::decode(&bytes);
        if self.nodes[from].is_correct() {
            assert_eq!(decoded.as_ref(), Ok(&*said.message), "what a correct node sends decodes to itself");
        } else if decoded.is_err() {
            // The receivers would only disconnect, which needs no simulation.
            return;
        }
        self.checker.heard(&self.nodes[from], &said.message);
        for to in said.to.iter().copied() {
            let Some(connection) = self.connections[from][to] else { continue };
            let is_part = matches!(*said.message, PeerMessage::Part { .. });
            let more = if is_part { self.setup.parts_delay } else { Duration::ZERO };
            for at in self.network.arrivals(&mut self.random, self.now, from, to) {
                let message = Arc::clone(&said.message);
                self.schedule(at + more, Event::Deliver { from, to, connection, message });
            }
        }
        self.tell_said(from, said);
    }

    fn tell_said(&mut self, from: usize, said: &Said) {
        let line = match &*said.message {
            PeerMessage::Vote(signed) if Some(signed.vote.validator) == self.nodes[from].address() => {
                let vote = &signed.vote;
                let what = vote.block_id.map_or_else(|| "nil".to_owned(), |id| short(&id));
                format!("{:?}s {what} at {}/{}", vote.vote_type, vote.height, vote.round).to_lowercase()
            }
            PeerMessage::Proposal(signed) => {
                let p = &signed.proposal;
                let again = p.pol_round.map_or_else(String::new, |pol| format!(", as in round {pol}"));
                format!("proposes {} at {}/{}{again}", short(&p.block_id), p.height, p.round)
            }
            _ => return,
        };
        let to = &said.to;
        self.tell(from, || format!("{line} to {to:?}"));
    }

    // ---- links ---------------------------------------------------------------------------------------------------

    /// Returns true if the topology allows a connection between two nodes.
    fn is_linked(&self, a: usize, b: usize) -> bool {
        let behind = |who: usize, of: usize| self.setup.behind.get(&who).is_none_or(|sentry| *sentry == of);
        a != b && behind(a, b) && behind(b, a)
    }

    fn dial(&mut self) {
        let count = self.nodes.len();
        for (a, b) in (0..count).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let both = self.nodes[a].alive.is_some() && self.nodes[b].alive.is_some();
            if both && self.is_linked(a, b) && self.connections[a][b].is_none() && !self.network.is_apart(a, b) {
                self.connection_count += 1;
                let connection = Some(self.connection_count);
                (self.connections[a][b], self.connections[b][a]) = (connection, connection);
                self.peer_up(a, b);
                self.peer_up(b, a);
            }
        }
    }

    fn peer_up(&mut self, node: usize, other: usize) {
        let life = self.nodes[node].life;
        if self.told[node][other] {
            self.input(node, life, Input::PeerDown(peer(other)));
        }
        self.told[node][other] = true;
        self.input(node, life, Input::PeerUp(peer(other)));
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        if self.connections[a][b].take().is_none() {
            return;
        }
        self.connections[b][a] = None;
        for (node, peer) in [(a, b), (b, a)] {
            let after = self.random.duration(Duration::from_millis(1), Duration::from_millis(400));
            let life = self.nodes[node].life;
            self.at(after, Event::PeerDown { node, life, peer });
        }
    }

    fn peer_down(&mut self, node: usize, life: u64, other: usize) {
        let is_gone = self.connections[node][other].is_none();
        if self.nodes[node].life == life && is_gone && std::mem::take(&mut self.told[node][other]) {
            self.input(node, life, Input::PeerDown(peer(other)));
        }
    }

    fn is_open(&self, from: usize, to: usize, connection: u64) -> bool {
        self.connections[from][to] == Some(connection) && !self.network.is_blocked(from, to)
    }

    fn deliver(&mut self, from: usize, to: usize, connection: u64, message: &Arc<PeerMessage>) {
        if !self.is_open(from, to, connection) {
            return;
        }
        let received = self.nodes[to].clock(self.epoch, self.now);
        let life = self.nodes[to].life;
        let Some(alive) = &self.nodes[to].alive else { return };
        let message: Checked = alive.verifier.check((**message).clone());
        self.input(to, life, Input::Message { peer: peer(from), message, received });
    }

    fn deliver_txs(&mut self, from: usize, to: usize, connection: u64, txs: &Arc<Vec<Vec<u8>>>) {
        if !self.is_open(from, to, connection) {
            return;
        }
        let clock = self.nodes[to].clock(self.epoch, self.now);
        let Some(alive) = &mut self.nodes[to].alive else { return };
        let batch =
            TxBatch::decode(&TxBatch { txs: txs.to_vec(), salt: 0 }.encode()).expect("what is gossiped decodes");
        let mut is_new = false;
        for bytes in &batch.txs {
            is_new |= alive.take_tx(bytes, clock, Source::Peer(peer(from)));
        }
        self.wake(to);
        // Gossip forwards new transactions to nodes that may lack them, because the topology may not be a full mesh.
        if is_new && !self.setup.behind.is_empty() {
            for next in (0..self.nodes.len()).filter(|next| *next != from) {
                let Some(connection) = self.connections[to][next] else { continue };
                for at in self.network.arrivals(&mut self.random, self.now, to, next) {
                    self.schedule(at, Event::Txs { from: to, to: next, connection, txs: Arc::clone(txs) });
                }
            }
        }
    }

    fn verify_txs(&mut self, node: usize, life: u64, id: BlockId, txs: &[Transaction], precommits: &[SignedVote]) {
        let Some(alive) = &self.nodes[node].alive else { return };
        let valid = alive.txs.verifier.verify_all(txs) && alive.verifier.hold(precommits);
        let after = Duration::from_micros(self.random.within(50, 5_000));
        self.at(after, Event::Input { node, life, input: Input::TxsVerified { block_id: id, valid } });
    }

    // ---- block requests ------------------------------------------------------------------------------------------

    fn ask(&mut self, from: usize, to: usize, request: u64, blocks: BlockRequest) {
        self.note(5, from, &blocks.from.0.to_be_bytes());
        let Some(connection) = self.connections[from][to] else {
            return self.answer(from, request, None, Duration::from_millis(1));
        };
        // A lost request gets no answer; the replica has its own timeout.
        let arrival = self.network.arrivals(&mut self.random, self.now, from, to).into_iter().next();
        if let Some(at) = arrival {
            self.schedule(at, Event::Request { from, to, connection, request, blocks });
        }
    }

    fn serve(&mut self, from: usize, to: usize, connection: u64, request: u64, blocks: BlockRequest) {
        if !self.is_open(from, to, connection) {
            return;
        }
        let Some(alive) = &self.nodes[to].alive else { return };
        if self.nodes[to].behaviour == Some(Behaviour::Claimant) {
            return;
        }
        let (mut response, None) = replica::serve(&alive.store, blocks) else { return };
        if self.nodes[to].behaviour.is_some_and(|b| matches!(b, Behaviour::Garbage | Behaviour::BadBlocks)) {
            spoil_response(&mut self.random, &mut response);
        }
        if let Some(at) = self.network.arrivals(&mut self.random, self.now, to, from).into_iter().next() {
            let response = BlockResponse::decode(&response.encode()).ok();
            let after = at - self.now;
            self.answer(from, request, response, after);
        }
    }

    fn answer(&mut self, node: usize, request: u64, response: Option<BlockResponse>, after: Duration) {
        let life = self.nodes[node].life;
        let Some(alive) = &self.nodes[node].alive else { return };
        let response = response.map(|response| alive.verifier.check_blocks(response));
        self.at(after, Event::Input { node, life, input: Input::Blocks { request, response } });
    }

    // ---- clients -------------------------------------------------------------------------------------------------

    fn client(&mut self) {
        let up: Vec<usize> = self.nodes.iter().filter(|node| node.alive.is_some()).map(|node| node.index).collect();
        if !up.is_empty() {
            let node = self.random.pick(&up);
            let alive = self.nodes[node].alive.as_ref().expect("it is up");
            let tip = self.nodes[node].tip();
            let nonce = |address: &types::Address| alive.account(address).nonce;
            let bytes = self.clients.transaction(&mut self.random, tip, nonce);
            self.submit(node, &bytes);
        }
        let interval = self.setup.tx_interval;
        let after = self.random.duration(interval / 4, interval * 2);
        self.at(after, Event::Client);
    }

    /// Returns the indices of the running nodes.
    pub(crate) fn running(&self) -> BTreeSet<usize> {
        self.nodes.iter().filter(|node| node.alive.is_some()).map(|node| node.index).collect()
    }
}

pub(crate) fn short(id: &BlockId) -> String {
    id.to_string()[..6].to_owned()
}
