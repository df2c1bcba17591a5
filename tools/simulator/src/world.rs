//! A cluster under a virtual clock: one queue of events, one random number generator, real replicas.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use replica::{Committed, Halt, Input, Output, Timer};
use types::{Address, BlockId, BlockRequest, BlockResponse, ChainId, Height, KeyType, PeerMessage, Power, Time};

use crate::{
    broken::{Broken, ensure},
    byzantine::Said,
    checker::{Checker, Given, Step, Turns},
    clients::{BALANCE, Clients, operator_key},
    evidence::EvidenceRecord,
    faults::FaultEnd,
    ledger::Ledger,
    machine::Machine,
    network::Network,
    node::{KEYS_MAX, Node, index_of, peer, validator_key},
    random::Random,
    scheduler::Scheduler,
    setup::Setup,
    story::{Counts, Story},
};

mod healing;
mod operators;
mod scenario;
mod stakes;
mod traffic;

pub use healing::HealingBound;
pub use operators::{Cut, RewindRun};
pub use scenario::{Backup, SigningState};

/// Processing time of one batch of inputs, without syncs.
const STEP_TIME: Duration = Duration::from_micros(50);

/// Interval between attempts to connect pairs that are not connected.
const DIAL_INTERVAL: Duration = Duration::from_millis(200);

/// Number of heights that all correct nodes must decide after the world has healed, within [`World::healing_bound`].
const HEALED_HEIGHTS: u64 = 2;
/// Maximum time until the blocks have all evidence, and each member of the set signs.
const HEALED_WITHIN: Duration = Duration::from_secs(180);
/// Time without a new height after the end of faults, in timeouts of block sync, after which silent nodes are started again
/// in worlds in which stake moves.
const CATCH_UP_TIMEOUTS: u32 = 6;
/// Maximum number of times that silent nodes are started again.
const SILENT_RESTARTS_MAX: u32 = 5;

/// Number of penalties after which no node hears a liar any more.
const PENALTIES_MAX: u32 = 1500;

/// An event that is scheduled for a point in virtual time.
pub(crate) enum Event {
    Process { node: usize, life: u64 },
    Release { node: usize, life: u64, outputs: Vec<Output> },
    Deliver { connection: u64, parcel: Parcel },
    Checked { life: u64, parcel: Parcel, received: Time },
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
    Install { node: usize, program: usize },
    Rewind { node: usize, back: u64 },
    Prune { node: usize, slack: u64 },
}

/// A message between two nodes that a scenario holds back or delivers by hand.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Node that sent the message, or claims to have sent it.
    pub from: usize,
    /// Node that receives the message.
    pub to: usize,
    /// Message as it was sent, or forged.
    pub message: Arc<PeerMessage>,
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
    believed: Vec<Vec<bool>>,
    clients: Clients,
    pub(crate) checker: Checker,
    /// Counters of the events so far.
    pub counts: Counts,
    /// Log of the run.
    pub story: Story,
    /// True while random faults occur.
    pub(crate) is_troubled: bool,
    /// Adversary that delays messages while random faults occur.
    scheduler: Scheduler,
    /// Time at which the last message arrives of those that were sent so far.
    last_arrival: Duration,
    /// Decides which messages are held back.
    rule: Option<Box<dyn Fn(&Parcel) -> bool>>,
    held: Vec<Parcel>,
    /// What nodes that violate the protocol change in the blocks that they serve.
    lie: Option<Box<dyn Fn(&mut BlockResponse)>>,
    hash: [u8; 32],
}

impl World {
    /// Creates a world; its nodes start at once, except late ones.
    pub fn new(setup: Setup) -> Self {
        let mut random = Random::new(setup.seed ^ 0x005E_ED0F_CA1B);
        let chain_id = ChainId::new("cairn-simulated").expect("a name");
        let epoch = Time::from_unix_millis(1_780_000_000_000);
        let validators = setup.powers.len();
        let operators: Vec<Address> = (0..validators).map(|index| operator_key(index).public_key().address()).collect();
        let keys = setup.ed25519.clone();
        let key_type = |index: usize| if keys.contains(&index) { KeyType::Ed25519 } else { KeyType::Secp256k1 };
        let key = |index: usize| validator_key(index, key_type(index), 0);
        let count = validators + setup.full_nodes;
        let joiners = if setup.stakes { (validators..count).map(key).collect() } else { Vec::new() };
        let clients = Clients::new(chain_id.clone(), validators, joiners);
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
                    operator: Some(operators[index]),
                })
                .collect(),
            app_hash: None,
            stake: genesis::FirstStake::default(),
            accounts: clients
                .addresses()
                .into_iter()
                .map(|address| GenesisAccount { address, balance: BALANCE, name: String::new() })
                .collect(),
        })
        .expect("the simulated genesis is valid");
        let skew_max = setup.skew.as_nanos() as u64;
        let nodes: Vec<Node> = (0..count)
            .map(|index| {
                let validator = Some(index)
                    .filter(|index| *index < validators || setup.stakes)
                    .or(setup.twins.get(&index).copied());
                let mut node = Node::new(index, validator.map(key), setup.byzantine.get(&index).copied())
                    .with_mutation(setup.mutation);
                // Offsets are distributed on both sides of zero, so that two clocks differ by at most `skew`.
                node.skew = random.within(0, skew_max) as i64 - (skew_max / 2) as i64;
                node.machine = Machine::random(&setup.machines, &mut random);
                node.arrived = !setup.late.contains(&index);
                node.is_forgiving = setup.is_forgiving;
                let hidden = setup.behind.iter().filter(|(_, sentry)| **sentry == index);
                node.hidden_peers = hidden.map(|(hidden, _)| peer(*hidden)).collect();
                node
            })
            .collect();
        let stake = setup.powers.iter().take(validators).sum::<u64>() * setup.params.staking.power_unit;
        let supply = clients.addresses().len() as u64 * BALANCE + stake;
        let precision = setup.params.synchrony.precision;
        let followers = nodes.iter().filter(|node| node.is_correct() && node.address().is_some());
        let later = followers.clone().filter(|_| setup.stake_events.rotations).flat_map(|node| {
            let number = move |number| validator_key(node.index, key_type(node.index), number).public_key().address();
            (1..KEYS_MAX).map(number)
        });
        let correct: BTreeSet<Address> = followers.filter_map(Node::address).chain(later).collect();
        let slashed = (!setup.is_forgiving).then(|| correct.clone());
        let ledger = Ledger::new(chain_id.clone(), setup.params.clone(), slashed, (clients.addresses(), supply));
        let evidence = EvidenceRecord::new(chain_id.clone(), setup.params.evidence, correct.clone());
        let first = Turns::first((0..validators).map(|index| (key(index).public_key(), Power(setup.powers[index]))));
        let records = (ledger, evidence);
        let checker = Checker::new(&chain_id, clients.addresses(), precision, (correct, first), records);
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
            believed: vec![vec![false; count]; count],
            clients,
            checker,
            counts: Counts::default(),
            story: Story::default(),
            is_troubled: false,
            scheduler: Scheduler::default(),
            last_arrival: Duration::ZERO,
            rule: None,
            held: Vec::new(),
            lie: None,
            hash: [0; 32],
        };
        for node in 0..count {
            if world.nodes[node].arrived {
                world.start(node);
            }
        }
        world.at(Duration::ZERO, Event::Dial);
        if world.setup.tx_interval.is_some() {
            world.at(Duration::from_millis(10), Event::Client);
        }
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
        if self.setup.stakes {
            self.restart_silent()?;
        }
        self.expect_healing(HEALED_HEIGHTS)?;
        self.expect_evidence(HEALED_WITHIN)?;
        if self.setup.stakes {
            self.expect_justice()?;
        }
        self.counts.lost = self.network.lost;
        self.counts.delayed = self.scheduler.delayed;
        self.checker.compare(&self.nodes)
    }

    /// Starts silent nodes again while the chain stands, as their operators would. A validator that lagged behind signs nothing at
    /// the first height that it meets. The others wait for it if it has got more than a third of the power meanwhile.
    fn restart_silent(&mut self) -> Result<(), Broken> {
        for _ in 0..SILENT_RESTARTS_MAX {
            let (height, end) = (self.checker_height(), self.now + CATCH_UP_TIMEOUTS * self.setup.config.sync_timeout);
            while self.now < end && self.checker_height() == height {
                self.run_one()?;
            }
            if self.checker_height() > height {
                break;
            }
            for node in 0..self.nodes.len() {
                if self.silence(node).is_some() {
                    self.stop(node, None);
                    self.restart(node);
                }
            }
        }
        Ok(())
    }

    /// Returns a digest of all events so far.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Returns the greatest height that was decided so far.
    pub fn checker_height(&self) -> u64 {
        self.counts.heights
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
            Event::Deliver { connection, parcel } => self.deliver(connection, &parcel),
            Event::Checked { life, parcel, received } if self.nodes[parcel.to].life == life => {
                self.hand_received(&parcel, received);
            }
            Event::Checked { .. } => {}
            Event::Txs { from, to, connection, txs } => self.deliver_txs(from, to, connection, &txs),
            Event::Request { from, to, connection, request, blocks } => {
                self.serve(from, to, connection, request, blocks);
            }
            Event::Input { node, life, input } => self.input(node, life, input),
            Event::Timer { node, life, timer } => self.input(node, life, Input::Timer(timer)),
            Event::PeerDown { node, life, peer } => self.peer_down(node, life, peer),
            Event::Arrive { node } => {
                self.counts.late += 1;
                let is_stranger = self.nodes[node].key().is_none() && !self.nodes[node].is_correct();
                self.counts.strangers += u64::from(is_stranger);
                self.tell(node, || "arrives".to_owned());
                self.restart(node);
            }
            Event::Restart { node } => self.restart(node),
            Event::Install { node, program } => self.install(node, program),
            Event::Dial => {
                self.dial();
                self.at(DIAL_INTERVAL, Event::Dial);
            }
            Event::Client => self.client(),
            Event::Fault => self.fault(),
            Event::EndOfFault(end) => self.end_fault(end),
            Event::Rewind { node, back } => return self.rewind_some(node, back),
            Event::Prune { node, slack } => return self.prune_some(node, slack),
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
        if let Err(reason) = self.nodes[node].start(&self.setup.config, &self.genesis) {
            // Only a disk that lost synced data can cause this; the checker reports it when it next examines the node.
            self.tell(node, || format!("cannot start: {reason}"));
            self.nodes[node].alive = None;
            return;
        }
        let tip = self.nodes[node].tip();
        self.tell(node, || format!("starts at tip {tip}"));
        self.checker.on_start(&self.nodes[node]);
        self.note(1, node, &tip.0.to_be_bytes());
        self.wake(node);
    }

    pub(crate) fn stop(&mut self, node: usize, power: Option<usize>) {
        self.nodes[node].stop(power);
        self.note(2, node, &[]);
        for other in 0..self.nodes.len() {
            self.believed[node][other] = false;
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
        let moment = self.nodes[node].moment(self.epoch, self.now);
        if self.nodes[node].life != life {
            return Ok(());
        }
        let sync_time = self.nodes[node].sync_time;
        let broken = self.nodes[node].broken_rules();
        let Some(alive) = &mut self.nodes[node].alive else { return Ok(()) };
        alive.scheduled = false;
        let syncs = alive.syncs();
        let inputs = std::mem::take(&mut alive.inbox);
        if inputs.iter().any(|input| matches!(input, Input::Timer(Timer::Gossip))) {
            alive.txs.mempool.drop_outdated(moment.wall);
        }
        let given = Given::of(&inputs);
        let outputs = alive.replica.step(moment, inputs, &alive.txs);
        // A node does this on another thread. If the disk has failed, the replica has stopped.
        let _ = alive.replica.app().store_trees(&alive.store, false);
        drop(broken);
        let took = if alive.syncs() > syncs { STEP_TIME + sync_time } else { STEP_TIME };
        alive.busy_until = self.now + took;
        if self.nodes[node].dies_in_step && self.nodes[node].disk.has_failed() {
            self.power_fails_in_step(node);
            return Ok(());
        }
        if self.nodes[node].is_correct() {
            let step = Step { node: &self.nodes[node], given: &given, outputs: &outputs };
            self.checker.on_step(&step, self.epoch.saturating_add(self.now), &mut self.counts)?;
            self.check_not_invalid(node, &outputs)?;
        }
        if outputs.iter().any(brings_keys) {
            self.nodes[node].find_keys();
        }
        self.at(took, Event::Release { node, life, outputs });
        Ok(())
    }

    /// Checks that no block is decided that a liar made invalid.
    fn check_not_invalid(&self, node: usize, outputs: &[Output]) -> Result<(), Broken> {
        for output in outputs {
            let Output::Committed(committed) = output else { continue };
            let id = &committed.block_id;
            let liar = self.nodes.iter().find(|liar| liar.twister.tally().invalid().contains(id));
            let height = committed.block.header.height;
            ensure!(liar.is_none(), "validity: n{node} decides a block of height {height} that a liar made invalid");
        }
        Ok(())
    }

    /// Carries out the outputs of a replica.
    fn release(&mut self, node: usize, life: u64, outputs: Vec<Output>) -> Result<(), Broken> {
        if self.nodes[node].life != life || self.nodes[node].alive.is_none() {
            return Ok(());
        }
        let mut said = Vec::new();
        let cut = self.cut_of(node, outputs.len());
        for output in outputs.into_iter().take(cut.unwrap_or(usize::MAX)) {
            match output {
                Output::Send { to, message } => said.push(Said { to: vec![index_of(&to)], message }),
                Output::Broadcast(message) => {
                    let to = (0..self.nodes.len()).filter(|to| self.believed[node][*to]).collect();
                    said.push(Said { to, message });
                }
                Output::StartTimer { timer, after } => {
                    let after = self.nodes[node].machine.timer(after);
                    self.at(after, Event::Timer { node, life, timer });
                }
                Output::VerifyTxs { block_id, txs, precommits, evidence } => {
                    self.verify_block(node, life, block_id, (&txs, &precommits, &evidence));
                }
                Output::VerifyCommit { commit } => {
                    let _broken = self.nodes[node].broken_rules();
                    let Some(alive) = &self.nodes[node].alive else { continue };
                    let input = Input::CommitVerified(alive.verifier.verify_commit(commit));
                    self.at(Duration::from_millis(1), Event::Input { node, life, input });
                }
                Output::RequestBlocks { peer, request, blocks } => self.ask(node, index_of(&peer), request, blocks),
                Output::Penalize { peer, offence } => {
                    self.counts.penalties += 1;
                    let who = index_of(&peer);
                    self.nodes[who].penalties += 1;
                    self.tell(node, || format!("penalizes n{who}: {offence}"));
                    self.checker.on_penalty(&self.nodes[node], &self.nodes[who], &offence)?;
                }
                Output::Committed(committed) => {
                    self.announce(node, committed);
                    if self.nodes[node].dies_after_commit && self.is_mortal(node) {
                        self.power_fails_after_commit(node);
                        return Ok(());
                    }
                }
                Output::Evidence(evidence) => self.on_evidence(node, &evidence),
                Output::Finished => return Err(Broken(format!("n{node} stops, and no last height was chosen"))),
                Output::Halt(why) => return self.halted(node, &why),
            }
        }
        if let Some(behaviour) = self.nodes[node].behaviour {
            said = self.twist(node, behaviour, said);
            // A real node bans such a peer much earlier. This one is heard until there is nothing new in what it says.
            if self.nodes[node].penalties > PENALTIES_MAX {
                said.clear();
            }
        }
        for said in said {
            self.say(node, &said);
        }
        if cut.is_some() {
            self.power_fails(node);
        }
        Ok(())
    }

    fn announce(&mut self, node: usize, committed: Arc<Committed>) {
        let (height, id) = (committed.block.header.height, committed.block_id);
        self.note(3, node, &id.hash.0);
        let how = if committed.synced { "syncs" } else { "decides" };
        let (round, txs) = (committed.commit.round, committed.block.txs.len());
        self.tell(node, || format!("{how} height {height} in round {round}: block {}, {txs} transactions", short(&id)));
        self.nodes[node].committed.insert(height, committed);
    }

    fn halted(&mut self, node: usize, why: &Halt) -> Result<(), Broken> {
        self.tell(node, || format!("halts: {why}"));
        if let Halt::Upgrade(stop) = why {
            return self.stopped_by_upgrade(node, stop);
        }
        self.nodes[node].halted = Some(why.clone());
        self.checker.on_halt(&self.nodes[node], why)?;
        self.stop(node, None);
        // With a full disk it would only stop again; it starts when there is space.
        if !self.nodes[node].disk.is_full() {
            let after = self.random.duration(Duration::from_millis(1), self.setup.fault_max);
            self.at(after, Event::Restart { node });
        }
        Ok(())
    }

    // ---- clients -------------------------------------------------------------------------------------------------

    fn client(&mut self) {
        let up: Vec<usize> = self.nodes.iter().filter(|node| node.alive.is_some()).map(|node| node.index).collect();
        if !up.is_empty() {
            let node = self.random.pick(&up);
            let alive = self.nodes[node].alive.as_ref().expect("it is up");
            let now = self.nodes[node].clock(self.epoch, self.now);
            let tip = self.nodes[node].tip();
            let reader = alive.store.reader().expect("a disk in memory answers");
            let sent = if self.random.chance(self.setup.large_txs) {
                vec![self.clients.large(&mut self.random, now)]
            } else if self.setup.reverts {
                self.clients.petition(&mut self.random, now, tip, &reader)
            } else if self.setup.stakes && self.is_troubled {
                drop(reader);
                self.stake_clients(node);
                return self.client_again();
            } else {
                let nonce = |address: &Address| alive.account(address).nonce;
                vec![self.clients.transaction(&mut self.random, now, tip, nonce)]
            };
            drop(reader);
            for bytes in sent {
                self.submit(node, &bytes);
            }
        }
        self.client_again();
    }

    fn client_again(&mut self) {
        if let Some(interval) = self.setup.tx_interval {
            let after = self.random.duration(interval / 4, interval * 2);
            self.at(after, Event::Client);
        }
    }

    /// Returns the indices of the running nodes.
    pub(crate) fn running(&self) -> BTreeSet<usize> {
        self.nodes.iter().filter(|node| node.alive.is_some()).map(|node| node.index).collect()
    }
}

/// Returns true if a block brings a validator key into the set that was not there, maybe.
fn brings_keys(output: &Output) -> bool {
    matches!(output, Output::Committed(committed) if !committed.results.validator_updates.is_empty())
}

pub(crate) fn short(id: &BlockId) -> String {
    id.to_string()[..6].to_owned()
}
