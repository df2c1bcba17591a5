//! What passes between the nodes of a world: connections, messages, transactions and blocks.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use mempool::Source;
use replica::{Checked, Input, UnverifiedEvidence};
use types::{
    Address, BlockId, BlockRequest, BlockResponse, ConsensusSecretKey, Evidence, KeyType, PeerMessage, Round,
    SignedVote, Time, Transaction, TxBatch, Wire, blake3,
};

use super::{Event, Parcel, World, short};
use crate::{
    byzantine::{Said, Twister},
    liar::{Behaviour, Liar},
    node::peer,
    random::Random,
    scheduler::Field,
};

/// Minimum number of rounds that fail at a height with a plan.
const PLAN_ROUNDS_MIN: u32 = 2;

/// The key with which nodes sign that have no key of a validator.
static STRANGER: LazyLock<ConsensusSecretKey> =
    LazyLock::new(|| ConsensusSecretKey::from_bytes(KeyType::Secp256k1, &[250; 32]).expect("a small number is a key"));

impl World {
    /// Returns what a node with this behaviour sends instead of what it should send.
    pub(super) fn twist(&mut self, node: usize, behaviour: Behaviour, said: Vec<Said>) -> Vec<Said> {
        self.as_liar(node, behaviour, |twister, liar, random| twister.twist(liar, random, said))
    }

    /// Lets a running node that violates the protocol act with all that it knows.
    fn as_liar<R>(
        &mut self,
        node: usize,
        behaviour: Behaviour,
        act: impl FnOnce(&mut Twister, &Liar<'_>, &mut Random) -> R,
    ) -> R {
        let mut twister = std::mem::take(&mut self.nodes[node].twister);
        let tally = twister.tally().clone();
        let now = self.nodes[node].clock(self.epoch, self.now);
        let others: Vec<usize> = (0..self.nodes.len()).filter(|other| *other != node).collect();
        let is_ally = |other: &&usize| behaviour.is_coordinated() && self.nodes[**other].behaviour == Some(behaviour);
        let allies: Vec<usize> = others.iter().filter(is_ally).copied().collect();
        let of = &self.nodes[node];
        let conspirators = [&allies[..], &[node]].concat();
        let key_of = |node: usize| self.nodes[node].key().filter(|_| behaviour == Behaviour::Coalition).cloned();
        let coalition: Vec<ConsensusSecretKey> = conspirators.into_iter().filter_map(key_of).collect();
        let engine = of.alive.as_ref().expect("it runs").replica.engine();
        let power_of = |other: &usize| {
            let address = self.nodes[*other].key_in(engine.validators())?.public_key().address();
            Some((*other, engine.validators().by_address(&address)?.1.power.0))
        };
        let powers = || -> Vec<(usize, u64)> { others.iter().filter_map(power_of).collect() };
        let liar = Liar {
            behaviour,
            index: node,
            key: of.key().unwrap_or(&STRANGER),
            coalition: &coalition,
            allies: &allies,
            chain_id: &self.chain_id,
            synchrony: self.setup.params.synchrony,
            block_bytes_max: self.setup.params.block.bytes_max,
            validators: engine.validators(),
            height: engine.height(),
            round: engine.round(),
            others: &others,
            powers: &powers,
            now,
            decided: &of.committed,
            tally: &tally,
        };
        let result = act(&mut twister, &liar, &mut self.random);
        self.nodes[node].twister = twister;
        result
    }

    /// Sends a message over the links.
    pub(super) fn say(&mut self, from: usize, said: &Said) {
        let bytes = said.message.encode();
        self.note(4, from, &blake3(&bytes).0);
        let decoded = PeerMessage::decode(&bytes);
        if self.nodes[from].is_correct() {
            assert_eq!(decoded.as_ref(), Ok(&*said.message), "what a correct node sends decodes to itself");
        } else if decoded.is_err() {
            // The receivers would only disconnect, which needs no simulation.
            return;
        }
        self.plan(from, &said.message);
        for to in said.to.iter().copied() {
            let Some(connection) = self.connections[from][to] else { continue };
            let parcel = Parcel { from, to, message: Arc::clone(&said.message) };
            if self.rule.as_ref().is_some_and(|rule| rule(&parcel)) {
                self.held.push(parcel);
                continue;
            }
            let is_part = matches!(*said.message, PeerMessage::Part { .. });
            let parts_delay = if is_part { self.setup.parts_delay } else { Duration::ZERO };
            let more = parts_delay + self.lateness(&parcel);
            for at in self.network.arrivals(&mut self.random, self.now, from, to) {
                self.last_arrival = self.last_arrival.max(at + more);
                self.schedule(at + more, Event::Deliver { connection, parcel: parcel.clone() });
            }
        }
        self.tell_said(from, said);
    }

    fn tell_said(&mut self, from: usize, said: &Said) {
        let line = match &*said.message {
            PeerMessage::Vote(signed) if self.nodes[from].is_own(&signed.vote.validator) => {
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

    // ---- the adversary's delays ----------------------------------------------------------------------------------

    /// Lets the adversary plan for the height of a message, if it has not and the height is that of its sender.
    fn plan(&mut self, from: usize, message: &PeerMessage) {
        let height = match message {
            PeerMessage::Proposal(signed) => signed.proposal.height,
            PeerMessage::Vote(signed) => signed.vote.height,
            _ => return,
        };
        if !self.is_troubled || self.setup.plans == 0 || !self.scheduler.is_new(height) {
            return;
        }
        let Some(alive) = &self.nodes[from].alive else { return };
        let engine = alive.replica.engine();
        if engine.height() != height {
            return;
        }
        let set = engine.validators();
        let is_planned = self.random.chance(self.setup.plans);
        let rounds = if is_planned {
            self.random.within(u64::from(PLAN_ROUNDS_MIN), u64::from(self.setup.plan_rounds.max(PLAN_ROUNDS_MIN)))
                as u32
        } else {
            0
        };
        let addresses: Vec<Option<Address>> =
            self.nodes.iter().map(|node| Some(node.key_in(set)?.public_key().address())).collect();
        let power = |address: &Option<Address>| Some(set.by_address(address.as_ref()?)?.1.power.0);
        let powers: Vec<u64> = addresses.iter().map(|address| power(address).unwrap_or(0)).collect();
        let proposer = |round: u32| {
            let address = set.proposer_of_round(Round(round)).address();
            addresses.iter().position(|own| *own == Some(address)).unwrap_or(from)
        };
        let proposers: Vec<usize> = if is_planned { (0..=rounds).map(proposer).collect() } else { Vec::new() };
        let field = Field {
            powers: &powers,
            proposers: &proposers,
            timeouts: self.setup.params.timeouts,
            delay: 2 * self.setup.links.delay_max,
        };
        self.counts.plans += u64::from(is_planned);
        self.scheduler.plan(height, &field, &mut self.random);
    }

    /// Returns by how much the adversary makes a message late.
    fn lateness(&mut self, parcel: &Parcel) -> Duration {
        if !self.is_troubled || self.setup.plans == 0 {
            return Duration::ZERO;
        }
        let nodes = &self.nodes;
        self.scheduler.late(parcel.to, &parcel.message, |voter| nodes.iter().position(|node| node.is_own(voter)))
    }

    // ---- links ---------------------------------------------------------------------------------------------------

    /// Returns true if the topology allows a connection between two nodes.
    fn is_linked(&self, a: usize, b: usize) -> bool {
        let behind = |who: usize, of: usize| self.setup.behind.get(&who).is_none_or(|sentry| *sentry == of);
        a != b && behind(a, b) && behind(b, a)
    }

    /// Connects all pairs that may be connected, are up and are not apart.
    pub(super) fn dial(&mut self) {
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
        if self.believed[node][other] {
            self.input(node, life, Input::PeerDown(peer(other)));
        }
        self.believed[node][other] = true;
        self.input(node, life, Input::PeerUp(peer(other)));
    }

    /// Ends the connection of two nodes. Each notices it after some time.
    pub(super) fn disconnect(&mut self, a: usize, b: usize) {
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

    /// Reports the end of a connection to a node, unless it is connected again.
    pub(super) fn peer_down(&mut self, node: usize, life: u64, other: usize) {
        let is_gone = self.connections[node][other].is_none();
        if self.nodes[node].life == life && is_gone && std::mem::take(&mut self.believed[node][other]) {
            self.input(node, life, Input::PeerDown(peer(other)));
        }
    }

    fn is_open(&self, from: usize, to: usize, connection: u64) -> bool {
        self.connections[from][to] == Some(connection) && !self.network.is_blocked(from, to)
    }

    /// Delivers a message, if its connection is still open.
    pub(super) fn deliver(&mut self, connection: u64, parcel: &Parcel) {
        if !self.is_open(parcel.from, parcel.to, connection) {
            return;
        }
        if self.nodes[parcel.to].machine.check_time == Duration::ZERO {
            return self.hand(parcel);
        }
        let received = self.nodes[parcel.to].clock(self.epoch, self.now);
        let (life, at) = (self.nodes[parcel.to].life, self.nodes[parcel.to].machine.check(self.now));
        self.schedule(at, Event::Checked { life, parcel: parcel.clone(), received });
    }

    /// Delivers a message at once and over any link: one that was held back, or a forged one.
    pub fn hand(&mut self, parcel: &Parcel) {
        let received = self.nodes[parcel.to].clock(self.epoch, self.now);
        self.hand_received(parcel, received);
    }

    /// Puts a message that arrived when its receiver's clock showed `received`, and is checked now, into the inbox.
    pub(super) fn hand_received(&mut self, parcel: &Parcel, received: Time) {
        let Parcel { from, to, ref message } = *parcel;
        self.nodes[to].twister.hear(from, message);
        if !self.nodes[to].can_hear(message) {
            return;
        }
        let life = self.nodes[to].life;
        let Some(alive) = &self.nodes[to].alive else { return };
        let broken = self.nodes[to].broken_rules();
        let checked: Checked = alive.verifier.check(PeerMessage::clone(message));
        drop(broken);
        // A replica does not hear a peer that is not connected.
        if self.nodes[to].is_correct() && self.believed[to][from] {
            self.checker.on_delivered(&self.nodes[to], message);
        }
        self.input(to, life, Input::Message { peer: peer(from), message: checked, received });
    }

    /// Handles the report of a node that it has evidence.
    pub(super) fn on_evidence(&mut self, node: usize, evidence: &Evidence) {
        let named = (0..self.nodes.len()).filter(|who| self.nodes[*who].addresses().any(|one| evidence.names(&one)));
        let named: Vec<usize> = named.collect();
        self.counts.equivocations += u64::from(self.nodes[node].is_correct());
        self.tell(node, || format!("has evidence against {named:?}"));
    }

    /// Delivers gossiped transactions, if their connection is still open.
    pub(super) fn deliver_txs(&mut self, from: usize, to: usize, connection: u64, txs: &Arc<Vec<Vec<u8>>>) {
        if !self.is_open(from, to, connection) {
            return;
        }
        let clock = self.nodes[to].clock(self.epoch, self.now);
        let _broken = self.nodes[to].broken_rules();
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

    /// Verifies the transactions, precommits and evidence of a block, and reports the result to the node some time later.
    pub(super) fn verify_block(
        &mut self,
        node: usize,
        life: u64,
        id: BlockId,
        (txs, precommits, evidence): (&[Transaction], &[SignedVote], &[UnverifiedEvidence]),
    ) {
        let _broken = self.nodes[node].broken_rules();
        let Some(alive) = &self.nodes[node].alive else { return };
        let valid = alive.txs.verifier.verify_all(txs)
            && alive.verifier.hold(precommits)
            && alive.verifier.hold_evidence(evidence);
        let after = Duration::from_micros(self.random.within(50, 5_000));
        self.at(after, Event::Input { node, life, input: Input::TxsVerified { block_id: id, valid } });
    }

    // ---- block requests ------------------------------------------------------------------------------------------

    /// Sends a request for blocks to a peer.
    pub(super) fn ask(&mut self, from: usize, to: usize, request: u64, blocks: BlockRequest) {
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

    /// Answers a request for blocks from a node's store.
    pub(super) fn serve(&mut self, from: usize, to: usize, connection: u64, request: u64, blocks: BlockRequest) {
        if !self.is_open(from, to, connection) {
            return;
        }
        let broken = self.nodes[to].broken_rules();
        let Some(alive) = &self.nodes[to].alive else { return };
        let (mut response, None) = replica::serve(&alive.store, blocks) else { return };
        drop(broken);
        if let Some(behaviour) = self.nodes[to].behaviour {
            let served = self.as_liar(to, behaviour, |twister, liar, random| twister.serve(liar, random, response));
            let Some(served) = served else { return };
            response = served;
            if let Some(lie) = &self.lie {
                lie(&mut response);
            }
        }
        if let Some(at) = self.network.arrivals(&mut self.random, self.now, to, from).into_iter().next() {
            let response = BlockResponse::decode(&response.encode()).ok();
            let after = at - self.now;
            self.answer(from, request, response, after);
        }
    }

    fn answer(&mut self, node: usize, request: u64, response: Option<BlockResponse>, after: Duration) {
        let life = self.nodes[node].life;
        let _broken = self.nodes[node].broken_rules();
        let Some(alive) = &self.nodes[node].alive else { return };
        let response = response.map(|response| alive.verifier.check_blocks(response));
        self.at(after, Event::Input { node, life, input: Input::Blocks { request, response } });
    }
}
