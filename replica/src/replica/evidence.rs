//! Evidence that validators signed twice or attacked light clients: what our engine found, what the commits of the chain show, what
//! others report, and what is in blocks.

use std::sync::Arc;

use storage::{Kv, Store, StoreError};
use types::{Block, Commit, Evidence, Height, MisbehaviorKind, PeerMessage};

use super::Replica;
use crate::{
    Halt, Output, VerifiedEvidence,
    evidence::{self, Waiting},
    mutation::{Mutation, mutated},
    verifier::CheckEvidence,
};

/// Maximum number of pieces of evidence that are sent to all peers again in a gossip interval.
const SENT_AGAIN_MAX: usize = 8;

impl<K: Kv> Replica<K> {
    /// Takes evidence that our engine found, at the height being decided or the one before. If it is against our own key,
    /// another process signs with it, and this node stops.
    pub(super) fn on_evidence_found(&mut self, evidence: Evidence) {
        let (height, is_own) = (evidence.height(), self.names_us(&evidence));
        self.outputs.push(Output::Evidence(evidence.clone()));
        if self.halted {
            return;
        }
        if let Err(error) = self.keep_found(evidence) {
            return self.halt(error);
        }
        if is_own {
            self.halt(Halt::AnotherSigner { height });
        }
    }

    /// Reports validators that signed other precommits than those in a commit of the chain, as far as our engine holds them. A
    /// validator can show one vote to us and another one to those that built the commit.
    pub(super) fn compare_commit(&mut self, commit: &Commit) {
        for evidence in self.engine.contradictions(commit) {
            self.on_evidence_found(evidence);
        }
    }

    /// Returns true if evidence is against a key of ours.
    fn names_us(&self, evidence: &Evidence) -> bool {
        self.engine.signer().is_some_and(|signer| signer.addresses().any(|own| evidence.names(&own)))
    }

    fn keep_found(&mut self, mut evidence: Evidence) -> Result<(), StoreError> {
        if mutated(Mutation::DropEvidence) {
            return Ok(());
        }
        if evidence.height() <= self.chain.tip.height {
            if evidence::repeated(&self.store, &evidence)?.is_some() {
                return Ok(());
            }
            evidence.set_time(self.store.block_time(evidence.height())?);
        }
        self.keep_evidence(&evidence).map(drop)
    }

    /// Takes evidence that a peer or a client sent. If it is against our own key at a height that was not decided when
    /// this process started, another process signs with it, and this node stops.
    pub(super) fn on_evidence(&mut self, evidence: &VerifiedEvidence) {
        // The chain may have advanced since it was verified. A row that cannot be read is no reason to stop for a peer.
        if self.halted || evidence::check_place(&self.store, evidence).is_err() {
            return;
        }
        if mutated(Mutation::DropAttacks) && evidence.kind() == MisbehaviorKind::LightClientAttack {
            return;
        }
        match self.keep_evidence(evidence) {
            Ok(true) => self.outputs.push(Output::Evidence(Evidence::clone(evidence))),
            Ok(false) => {}
            Err(error) => return self.halt(error),
        }
        let height = evidence.height();
        if height > self.signing.opened_at && self.names_us(evidence) {
            self.halt(Halt::AnotherSigner { height });
        }
    }

    /// Stores evidence until it is in a block, and sends it to all peers, unless its height is not decided yet. Returns
    /// false if there is some of the same infraction, or no room.
    fn keep_evidence(&mut self, evidence: &Evidence) -> Result<bool, StoreError> {
        if !self.evidence.add(evidence.clone()) {
            return Ok(false);
        }
        self.store.put_waiting_evidence(evidence)?;
        if evidence.height() <= self.chain.tip.height {
            self.send_evidence(evidence.clone());
        }
        Ok(true)
    }

    /// Handles the evidence of a block that was committed, and that of its height, which has a time now.
    pub(super) fn on_evidence_committed(&mut self, block: &Block, synced: bool) -> Result<(), StoreError> {
        let header = &block.header;
        let is_news = |evidence: &&Evidence| !synced && !self.evidence.has(&evidence.key());
        let news: Vec<Output> = block.evidence.iter().filter(is_news).cloned().map(Output::Evidence).collect();
        self.outputs.extend(news);
        let is_committed = |one: &_| self.store.committed_evidence(one).map(|place| place.is_some());
        let gone = self.evidence.on_committed(&block.evidence, self.chain.evidence_floor, is_committed)?;
        if !gone.is_empty() {
            self.store.remove_waiting_evidence(&gone)?;
        }
        for evidence in self.evidence.decide(header.height, header.time) {
            self.store.put_waiting_evidence(&evidence)?;
            self.send_evidence(evidence);
        }
        Ok(())
    }

    fn send_evidence(&mut self, evidence: Evidence) {
        self.outputs.push(Output::Broadcast(Arc::new(PeerMessage::Evidence(Box::new(evidence)))));
    }

    /// Sends evidence that still waits for a block to all peers: a message may have been lost, and a peer may not have
    /// decided its height when it came.
    pub(super) fn send_evidence_again(&mut self) {
        for evidence in self.evidence_for_block().into_iter().take(SENT_AGAIN_MAX) {
            self.send_evidence(evidence);
        }
    }

    /// Returns the evidence for a block after the tip.
    pub(super) fn evidence_for_block(&self) -> Vec<Evidence> {
        let bytes_max = self.chain.params.evidence.bytes_max.min(self.chain.body_bytes_max() as u64);
        self.evidence.for_block(self.chain.tip.height, bytes_max, |evidence| evidence::fresh(&self.store, evidence))
    }
}

/// Returns the check of peers' evidence against this store.
pub(super) fn check_evidence_in<K: Kv>(store: Arc<Store<K>>) -> CheckEvidence {
    Box::new(move |evidence| {
        if store.waiting_evidence_of(&evidence.key())?.is_some() {
            return Ok(None);
        }
        evidence::check_evidence(&store, evidence).map(Some)
    })
}

/// Loads the evidence that waits for a block, and removes what has no room. The process may have ended before the evidence
/// of a decided height got its time, or before expired evidence was removed.
pub(super) fn load_evidence<K: Kv>(store: &Store<K>, floor: Height) -> Result<Waiting, StoreError> {
    let mut waiting = Waiting::default();
    if mutated(Mutation::LoseWaitingEvidence) {
        return Ok(waiting);
    }
    let tip = store.tip().map_or(Height::GENESIS, |tip| tip.height);
    for mut evidence in store.waiting_evidence()? {
        let height = evidence.height();
        if height < floor || evidence::repeated(store, &evidence)?.is_some() {
            store.remove_waiting_evidence(&[evidence.key()])?;
            continue;
        }
        if height <= tip {
            evidence.set_time(store.block_time(height)?);
        }
        let key = evidence.key();
        if !waiting.add(evidence) {
            store.remove_waiting_evidence(&[key])?;
        }
    }
    Ok(waiting)
}
