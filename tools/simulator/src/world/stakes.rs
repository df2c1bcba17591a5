//! What operators and clients do in worlds in which stake moves.

use std::{sync::Arc, time::Duration};

use app::{UpgradeStop, View};
use types::{
    BlockId, DuplicateVoteEvidence, Evidence, Hash, Height, Infraction, KeyType, PartSetHeader, PeerMessage, Round,
    Vote, VoteType,
};

use super::{Event, HEALED_WITHIN, Parcel, World};
use crate::{
    broken::Broken,
    clients::operator_key,
    liar::Behaviour,
    node::{KEYS_MAX, validator_key},
    program,
};

/// Number of the latest heights of which a traitor shows votes.
const BETRAYED_HEIGHTS: u64 = 6;

impl World {
    /// Sends what clients and operators send at one moment, to a node.
    pub(super) fn stake_clients(&mut self, node: usize) {
        let events = self.setup.stake_events;
        if let Some(traitor) = self.traitor().filter(|_| self.random.chance(40)) {
            // Often two heights, which are two infractions.
            for _ in 0..self.random.within(1, 2) {
                let back = self.random.below(BETRAYED_HEIGHTS);
                let last = self.last_departure(node, traitor).filter(|_| self.random.chance(500));
                let height = last.map_or(Height(self.tip(node).0.saturating_sub(back)), Height::next);
                self.betray(traitor, node, height);
            }
        }
        let sent = if events.rotations && self.random.chance(100) { self.rotate(node) } else { self.petition(node) };
        for bytes in sent {
            self.submit(node, &bytes);
        }
    }

    /// Creates what clients send at one moment to a node, or operators that vote.
    fn petition(&mut self, node: usize) -> Vec<Vec<u8>> {
        let events = self.setup.stake_events;
        let (now, tip) = (self.nodes[node].clock(self.epoch, self.now), self.nodes[node].tip());
        let alive = self.nodes[node].alive.as_ref().expect("it is up");
        let reader = alive.store.reader().expect("a disk in memory answers");
        if (events.params || events.upgrades) && self.random.chance(300) {
            return self.clients.decide(&mut self.random, now, tip, &reader, events);
        }
        self.clients.stake(&mut self.random, now, tip, &reader)
    }

    // ---- consensus keys ------------------------------------------------------------------------------------------

    /// Replaces the consensus key of some validator, as `cairn keys rotate` does: the key is made first, and its node finds it.
    /// The state is that of `from`.
    fn rotate(&mut self, from: usize) -> Vec<Vec<u8>> {
        let node = match self.traitor().filter(|_| self.random.chance(300)) {
            Some(traitor) => traitor,
            // A node that became a validator later may become one again, with its first key.
            None => self.random.index(self.setup.powers.len()),
        };
        let now = self.nodes[from].clock(self.epoch, self.now);
        let alive = self.nodes[from].alive.as_ref().expect("it is up");
        let reader = alive.store.reader().expect("a disk in memory answers");
        let operator = operator_key(node).public_key().address();
        let found = View::of_state(&reader).validator(&operator);
        drop(reader);
        let Some(validator) = found else { return Vec::new() };
        let made = self.nodes[node].addresses().count();
        let is_newest = self.nodes[node].addresses().next_back() == Some(validator.public_key.address());
        let key_type = if self.setup.ed25519.contains(&node) { KeyType::Ed25519 } else { KeyType::Secp256k1 };
        // The newest key may not have been accepted yet: then it is sent again.
        if is_newest && (made == KEYS_MAX || validator.old_key.is_some()) {
            return Vec::new();
        }
        if is_newest {
            self.nodes[node].add_key(validator_key(node, key_type, made));
            self.tell(node, || "has a new validator key".to_owned());
        }
        let made = self.nodes[node].addresses().count();
        self.clients.rotate(&mut self.random, now, node, &validator_key(node, key_type, made - 1))
    }

    // ---- programs ------------------------------------------------------------------------------------------------

    /// Handles the stop of a node because of an upgrade: some time later, its operator installs the program that the message
    /// asks for.
    ///
    /// Errors: [`Broken`] if its program is the right one.
    pub(super) fn stopped_by_upgrade(&mut self, node: usize, stop: &UpgradeStop) -> Result<(), Broken> {
        self.counts.upgrade_stops += 1;
        let (name, is_early) = match stop {
            UpgradeStop::Needed(plan) => (&plan.name, false),
            UpgradeStop::Early { plan, .. } => (&plan.name, true),
            UpgradeStop::Outdated { name, .. } => (name, false),
        };
        let (has, place) = (program::has(self.nodes[node].program, name), program::place(name));
        let Some(place) = place.filter(|_| has == is_early) else {
            return Err(Broken(format!("upgrade: n{node} stops with program {}: {stop}", self.nodes[node].program)));
        };
        self.stop(node, None);
        let after = self.random.duration(Duration::from_millis(1), self.setup.fault_max);
        self.at(after, Event::Install { node, program: if is_early { place } else { place + 1 } });
        Ok(())
    }

    /// Replaces the program of a node, and starts it.
    pub(super) fn install(&mut self, node: usize, program: usize) {
        if self.nodes[node].alive.is_some() {
            self.stop(node, None);
        }
        self.nodes[node].program = program;
        self.tell(node, || format!("gets the program with {program} upgrades"));
        self.restart(node);
    }

    // ---- evidence ------------------------------------------------------------------------------------------------

    fn traitor(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.behaviour == Some(Behaviour::Traitor))
    }

    /// Returns the height at which stake left the validator of a node last, according to another node.
    fn last_departure(&self, from: usize, node: usize) -> Option<Height> {
        let reader = self.nodes[from].alive.as_ref()?.store.reader().expect("a disk in memory answers");
        let (mut view, operator) = (View::of_state(&reader), operator_key(node).public_key().address());
        let next = view.validator(&operator)?.next_departure;
        view.departure(&operator, next - 1).map(|departure| departure.height)
    }

    /// Shows two votes of a traitor that contradict each other to a node. Returns the infraction, if the traitor was a validator
    /// at that height.
    fn betray(&mut self, traitor: usize, to: usize, height: Height) -> Option<Infraction> {
        let committed = self.nodes[to].committed.get(&height)?;
        let (set, time) = (&committed.validators, committed.block.header.time);
        let key = self.nodes[traitor].key_in(set)?;
        let validator = key.public_key().address();
        let (validator_index, _) = set.by_address(&validator)?;
        let vote = |byte| {
            let hash = Hash([byte; 32]);
            let block_id = Some(BlockId { hash, parts: PartSetHeader { total: 1, hash } });
            let (vote_type, round, timestamp) = (VoteType::Precommit, Round(5), time);
            Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }.sign(&self.chain_id, key)
        };
        let evidence = DuplicateVoteEvidence::new(vote(1), vote(2), set, time).ok()?;
        let message = Arc::new(PeerMessage::Evidence(Box::new(Evidence::DuplicateVote(evidence))));
        self.tell(traitor, || format!("shows n{to} that it signed twice at height {height}"));
        self.hand(&Parcel { from: traitor, to, message });
        Some((height, validator))
    }

    /// Expects what must follow in the end: evidence of the tip is in a block, and each member of the set signs.
    ///
    /// Errors: [`Broken`] if it does not follow.
    pub(super) fn expect_justice(&mut self) -> Result<(), Broken> {
        if let Some(traitor) = self.traitor()
            && let Some(to) = self.furthest_peer(traitor)
            && self.is_minority(traitor, to)
            && let Some(infraction) = self.betray(traitor, to, self.tip(to))
        {
            let is_proven = |world: &Self| world.evidence().contains_key(&infraction);
            self.run_until("the traitor is in a block", HEALED_WITHIN, is_proven)?;
        }
        if !self.setup.stake_events.rotations {
            return Ok(());
        }
        let tip = self.nodes.iter().map(|node| node.tip()).max().unwrap_or_default();
        self.run_until("each member signs", HEALED_WITHIN, |world| {
            world.correct().all(|node| world.takes_part(node.index, tip))
        })
    }

    /// Returns the correct node with the greatest height that a node is connected with: another one would ignore it.
    fn furthest_peer(&self, of: usize) -> Option<usize> {
        let peers = self.correct().filter(|node| node.alive.is_some() && self.connections[of][node.index].is_some());
        peers.max_by_key(|node| node.tip()).map(|node| node.index)
    }

    /// Returns true if a node has less than a third of the power, so that others propose too.
    fn is_minority(&self, node: usize, at: usize) -> bool {
        let Some(alive) = &self.nodes[at].alive else { return false };
        let set = alive.replica.engine().validators();
        let key = self.nodes[node].key_in(set).map(|key| key.public_key().address());
        let power = key.and_then(|key| set.by_address(&key)).map_or(0, |(_, validator)| validator.power.0);
        3 * power < set.total_power().0
    }

    /// Returns true if a node has signed something above a height, is no member of the set, or says why it does not sign. It need
    /// not sign either if one member is a quorum alone: that one may decide faster than messages reach the others.
    fn takes_part(&self, node: usize, above: Height) -> bool {
        let Some(alive) = &self.nodes[node].alive else { return false };
        let set = alive.replica.engine().validators();
        self.nodes[node].key_in(set).is_none()
            || self.silence(node).is_some()
            || set.iter().any(|member| member.power.is_quorum_of(set.total_power()))
            || self.checker.has_signed_above(node, above)
    }
}
