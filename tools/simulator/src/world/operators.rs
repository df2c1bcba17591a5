//! What operators do with the store of a node: they rewind it and delete old heights.

use std::sync::Arc;

use storage::{Batch, Cf, Durability, Fault, Kv, Store, StoreError, View};
use types::Height;

use super::World;
use crate::{broken::Broken, disk::SimKv, node::Node, setup::Mutation};

impl World {
    /// Rewinds the store of a node to a height. Its process is stopped first, and stays down. If `fault` is given, this write of
    /// the rewind fails, power is lost, and the operator starts the rewind again.
    ///
    /// Errors: [`Broken`] if the rewind does not lead to the state of that height, or changes what the node has signed.
    pub fn rewind(&mut self, node: usize, height: Height, fault: Option<(u64, Fault)>) -> Result<(), Broken> {
        if self.nodes[node].alive.is_some() {
            self.stop(node, None);
        }
        let (disk, chain_id) = (self.nodes[node].disk.clone(), self.chain_id.clone());
        let mutation = self.setup.mutation.filter(|_| self.nodes[node].is_correct());
        let broken = |error: StoreError| Broken(format!("rewind: n{node}: {error}"));
        let open = || Store::open(SimKv::open(&disk, mutation), &chain_id).map_err(broken);
        let mut store = open()?;
        let (hard_state, floor) = (store.hard_state().map_err(broken)?, store.signing_floor());
        disk.fail_write(u64::MAX, Fault::Kept);
        if let Some((nth, fault)) = fault {
            disk.fail_write(nth, fault);
            if store.rewind(height).is_err() {
                disk.crash(0);
                store = open()?;
            }
            disk.fail_write(u64::MAX, Fault::Kept);
        }
        let tip = store.tip().map_or(Height::GENESIS, |tip| tip.height);
        self.tell(node, || format!("is rewound from {tip} to {height}"));
        if tip > height {
            store.rewind(height).map_err(broken)?;
        }
        match mutation {
            Some(Mutation::RewindForgetsSigning) => store.strip_signing_state().map_err(broken)?,
            Some(Mutation::RewindTakesMore) => take_more(&store).map_err(broken)?,
            _ => {}
        }
        let signed = (store.hard_state().map_err(broken)?, store.signing_floor());
        if signed != (hard_state, floor) {
            return Err(Broken(format!("rewind: n{node} forgets what it signed: its hard state is {:?}", signed.0)));
        }
        self.counts.rewinds += 1;
        self.note(6, node, &height.0.to_be_bytes());
        self.checker.on_stored(node, &store)
    }

    /// Deletes the heights of a running node below `retain`.
    ///
    /// Errors: [`Broken`] if a kept height changes, or a deleted one can still be read.
    pub fn prune(&mut self, node: usize, retain: Height) -> Result<(), Broken> {
        let Some(alive) = &self.nodes[node].alive else { return Ok(()) };
        let store = Arc::clone(&alive.store);
        let before = store.earliest();
        if let Err(error) = store.prune(retain) {
            // The node notices with its own next write that its disk failed.
            return if matches!(error, StoreError::Io { .. }) {
                Ok(())
            } else {
                Err(Broken(format!("prune: {error}")))
            };
        }
        let earliest = store.earliest();
        self.counts.pruned += earliest.0 - before.0;
        self.tell(node, || format!("keeps the heights from {earliest} on"));
        if let Some(below) = earliest.prev().and_then(Height::prev) {
            let read = store.reader_at(below);
            let is_refused = matches!(read, Err(StoreError::Pruned { .. }));
            if !is_refused && before < earliest {
                return Err(Broken(format!(
                    "prune: n{node} still reads height {below}, it keeps those from {earliest}"
                )));
            }
        }
        self.checker.on_stored(node, &store)
    }

    /// Rewinds a node by some heights, if the others can bring it back: one of them has durably all that it has, and none
    /// has deleted what it lacks then. And all heights that its next blocks may refer to must be there.
    pub(super) fn rewind_some(&mut self, node: usize, back: u64) -> Result<(), Broken> {
        let Some(tip) = self.stored(&self.nodes[node], false).map(|stored| stored.0) else { return Ok(()) };
        let others: Vec<(Height, Height)> =
            self.correct().filter(|other| other.index != node).filter_map(|other| self.stored(other, true)).collect();
        let Some((_, earliest)) = self.stored(&self.nodes[node], false) else { return Ok(()) };
        let whole = if earliest <= Height(1) { 0 } else { earliest.0 - 1 + self.setup.params.retain_blocks };
        let served = others.iter().map(|(_, earliest)| earliest.0.saturating_sub(1)).max().unwrap_or(0);
        let height = Height(tip.0.saturating_sub(back).max(whole).max(served));
        if height >= tip || others.iter().all(|(other, _)| *other < tip) {
            return Ok(());
        }
        let is_interrupted = self.random.chance(300);
        let fault = (self.random.below(2), self.random.pick(&[Fault::Lost, Fault::Kept]));
        self.rewind(node, height, is_interrupted.then_some(fault))
    }

    /// Deletes heights of a node that are below the chain's window, and that no correct node lacks.
    pub(super) fn prune_some(&mut self, node: usize, slack: u64) -> Result<(), Broken> {
        let lacked =
            self.correct().map(|node| self.stored(node, true).map_or(0, |stored| stored.0.0)).min().unwrap_or(0);
        let window = (self.tip(node).0 + 1).saturating_sub(self.setup.params.retain_blocks);
        self.prune(node, Height(window.min(lacked).saturating_sub(slack)))
    }

    /// Returns the tip and the earliest block of a node's disk, as after a crash if `durable`; `None` if it has none.
    fn stored(&self, node: &Node, durable: bool) -> Option<(Height, Height)> {
        let disk = if durable { node.disk.durable() } else { node.disk.copy() };
        let store = Store::open(disk.open(), &self.chain_id).ok()?;
        Some((store.tip()?.height, store.earliest()))
    }
}

/// Deletes the newest version of a row (`Mutation::RewindTakesMore`).
fn take_more<K: Kv>(store: &Store<K>) -> storage::Result<()> {
    let row = store.kv().view().rows(Cf::State, &[], &[]).next().transpose()?;
    let mut batch = Batch::new();
    row.into_iter().for_each(|(row, _)| batch.delete(Cf::State, row));
    store.kv().write(batch, Durability::Synced)
}
