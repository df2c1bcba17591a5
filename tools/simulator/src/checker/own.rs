//! What correct nodes signed: one value for each place (I1), durable before it leaves (I2), with the bytes of the block (I4).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use storage::{MemKv, Store};
use types::{BlockId, ChainId, HardState, Hash, Height, PeerMessage, Round, SignedVote, VoteType, Wire, blake3};

use crate::{
    broken::{Broken, ensure},
    checker::rotation::Rotation,
    disk::SimKv,
    node::Node,
};

/// Node, height, round and step of a signed message: 1 proposal, 2 prevote, 3 precommit.
pub type Place = (usize, Height, Round, u8);

/// A message that a node signed, and that no node has seen before.
#[derive(Clone, Debug)]
pub struct News {
    /// Place of the message.
    place: Place,
    hash: Hash,
    /// True if an earlier process of the node had signed it, and its store had it at the start.
    pub is_restored: bool,
    /// The signed message that the node sends.
    pub message: Arc<PeerMessage>,
}

/// The messages that correct nodes signed.
pub struct Own {
    chain_id: ChainId,
    /// Hashes of the messages.
    said: BTreeMap<Place, Hash>,
    /// Hashes of the messages that were found in a durable hard state.
    durable: BTreeSet<(usize, Hash)>,
    /// Hashes of the messages that were in the hard state of a node when a process of it started.
    restored: BTreeSet<(usize, Hash)>,
}

impl Own {
    /// Creates an empty record.
    pub fn new(chain_id: ChainId) -> Self {
        Self { chain_id, said: BTreeMap::new(), durable: BTreeSet::new(), restored: BTreeSet::new() }
    }

    /// Returns the id of the chain.
    pub fn chain_id(&self) -> &ChainId {
        &self.chain_id
    }

    /// Records a message that was in the hard state of a node when a process of it started.
    pub fn restore(&mut self, node: usize, message: &PeerMessage) {
        match message {
            PeerMessage::Vote(signed) => drop(self.restored.insert((node, blake3(&signed.encode())))),
            PeerMessage::Proposal(signed) => drop(self.restored.insert((node, blake3(&signed.encode())))),
            _ => {}
        }
    }

    /// Returns the places of all messages that correct nodes signed.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.said.keys()
    }

    /// Returns true if a correct node signed a message above a height.
    pub fn has_signed_above(&self, node: usize, height: Height) -> bool {
        let first = (node, height.next(), Round::ZERO, 0);
        self.said.range(first..).next().is_some_and(|(place, _)| place.0 == node)
    }

    /// Records the messages that a node itself signed, and returns those that are new.
    ///
    /// Errors: [`Broken`] if it signed two values for one place (I1).
    pub fn on_said<'m>(
        &mut self,
        node: &Node,
        rotation: &Rotation,
        messages: impl Iterator<Item = &'m Arc<PeerMessage>>,
    ) -> Result<Vec<News>, Broken> {
        let mut new = Vec::new();
        for message in messages {
            let Some((place, hash)) = own_word(node, rotation, message) else { continue };
            let (who, height, round, kind) = place;
            match self.said.insert(place, hash) {
                Some(before) => ensure!(
                    before == hash,
                    "I1: n{who} signed two {}s at height {height}, round {round}",
                    ["", "proposal", "prevote", "precommit"][usize::from(kind)]
                ),
                None => {
                    let is_restored = self.restored.contains(&(who, hash));
                    new.push(News { place, hash, is_restored, message: Arc::clone(message) });
                }
            }
        }
        Ok(new)
    }

    /// Checks that a message that is sent for the first time is covered by durable data.
    ///
    /// Errors: [`Broken`] if it is not (I2, I4).
    pub fn check_durable(&mut self, node: &Node, news: &News) -> Result<(), Broken> {
        let (News { place, hash, message, .. }, hash_of) = (news, |bytes: Vec<u8>| blake3(&bytes));
        let (who, height, round, kind) = *place;
        let kept = node.state_file.kept().hrs();
        ensure!(
            kept >= (height, round, kind),
            "I2: n{who} signs at {height}/{round}, its signing state is at {kept:?}"
        );
        if !self.durable.contains(&(who, *hash)) {
            let hard_state = durable_hard_state(node, &self.chain_id)?;
            if let Some(hard_state) = hard_state {
                let votes = hard_state.votes.iter().map(|vote| hash_of(vote.encode()));
                let proposals = hard_state.proposals.iter().map(|proposal| hash_of(proposal.encode()));
                self.durable.extend(votes.chain(proposals).map(|hash| (who, hash)));
                if hard_state.height > height {
                    // One batch may contain messages of a decided height and of the next one. They are covered by the
                    // hard state of the next height: with it, no message of the decided height is ever signed again.
                    self.durable.insert((who, *hash));
                }
            }
        }
        let is_durable = self.durable.contains(&(who, *hash));
        ensure!(is_durable, "I2: n{who} sends a message of height {height}, round {round} that is not durable");
        if let PeerMessage::Vote(SignedVote { vote, .. }) = &**message
            && let (VoteType::Precommit, Some(id)) = (vote.vote_type, vote.block_id)
        {
            ensure!(
                has_durable_block(node, &self.chain_id, height, &id)?,
                "I4: n{who} precommits {id} at height {height} without its bytes"
            );
        }
        Ok(())
    }
}

/// Returns the place and the hash of a message that the node itself signed.
fn own_word(node: &Node, rotation: &Rotation, message: &PeerMessage) -> Option<(Place, Hash)> {
    match message {
        PeerMessage::Vote(signed) if node.is_own(&signed.vote.validator) => {
            let (height, round, step) = signed.vote.hrs();
            Some(((node.index, height, round, step), blake3(&signed.encode())))
        }
        PeerMessage::Proposal(signed) => {
            let (height, round, step) = signed.proposal.hrs();
            let proposer = rotation.at(height)?.proposer_of(round)?;
            node.is_own(&proposer).then(|| ((node.index, height, round, step), blake3(&signed.encode())))
        }
        _ => None,
    }
}

/// Returns the hard state that a node's disk would contain after a crash now.
fn durable_hard_state(node: &Node, chain_id: &ChainId) -> Result<Option<HardState>, Broken> {
    let read = match synced_store(node) {
        Some(store) => store.hard_state(),
        None => durable(node, chain_id)?.hard_state(),
    };
    read.map_err(|error| Broken(error.to_string()))
}

/// Returns true if a node's disk would contain the bytes of a block after a crash now, or a decision of its height.
fn has_durable_block(node: &Node, chain_id: &ChainId, height: Height, id: &BlockId) -> Result<bool, Broken> {
    let is_pending = |bytes: storage::Result<Option<Vec<u8>>>| bytes.is_ok_and(|bytes| bytes.is_some());
    if synced_store(node).is_some_and(|store| is_pending(store.pending_block(id))) {
        return Ok(true);
    }
    let store = durable(node, chain_id)?;
    Ok(store.tip().is_some_and(|tip| tip.height >= height) || is_pending(store.pending_block(id)))
}

/// Returns the store of a node if a crash now would take nothing from its disk: reading it is much cheaper than opening a copy.
fn synced_store(node: &Node) -> Option<&Store<SimKv>> {
    node.alive.as_ref().filter(|_| node.disk.unsynced() == 0).map(|alive| &*alive.store)
}

/// Returns the data that a node's disk would contain after a crash now.
fn durable(node: &Node, chain_id: &ChainId) -> Result<Store<MemKv>, Broken> {
    Store::open(node.disk.durable().open(), chain_id)
        .map_err(|error| Broken(format!("I2: n{}: after a crash now: {error}", node.index)))
}
