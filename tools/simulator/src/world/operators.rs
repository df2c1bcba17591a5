//! What operators do with the store of a node: they rewind it and delete old heights.

use std::sync::Arc;

use replica::{RewindError, RewindPlan};
use storage::{Batch, BlocksAbove, Cf, Durability, Fault, Kv, MemDisk, Store, StoreError, View};
use types::{HardState, Height};

use super::World;
use crate::{
    broken::{Broken, ensure},
    disk::SimKv,
    mutation::Mutation,
    node::Node,
};

/// One start of the rewind command.
#[derive(Clone, Copy, Debug)]
pub struct RewindRun {
    /// Height to which the store is rewound.
    pub height: Height,
    /// Future of the blocks above: they are executed again, or deleted.
    pub blocks: BlocksAbove,
    /// The loss of power that interrupts it, if it gets so far.
    pub cut: Option<Cut>,
}

/// A loss of power during a rewind.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Number of writes before the one that fails.
    pub write: u64,
    /// Effect of the write that fails.
    pub fault: Fault,
    /// Number of writes since the last sync that survive.
    pub keep: usize,
}

impl RewindRun {
    /// Creates a run that is not interrupted.
    pub fn whole(height: Height, blocks: BlocksAbove) -> Self {
        Self { height, blocks, cut: None }
    }
}

impl World {
    /// Rewinds the store of a node by one or several runs of the command, of which the last must succeed. Its process is
    /// stopped first, and stays down. No run may go to a height above that of the run before it.
    ///
    /// Errors: [`Broken`] if a run fails that is not interrupted, a process starts on a rewind that is not finished, the
    /// last run does not lead to the state of its height, blocks that are executed again give other rows, or what the node
    /// has signed changes.
    pub fn rewind(&mut self, node: usize, runs: &[RewindRun]) -> Result<(), Broken> {
        if self.nodes[node].alive.is_some() {
            self.stop(node, None);
        }
        let disk = self.nodes[node].disk.clone();
        disk.fail_write(u64::MAX, Fault::Kept);
        disk.set_full(false);
        let mut store = self.open_stopped(node)?;
        let signed = signed_in(&store)?;
        let mut whole = (store.tip(), dump(&disk));
        for run in runs {
            let tip = store.tip().map_or(Height::GENESIS, |tip| tip.height);
            self.tell(node, || {
                format!("is rewound from {tip} to {}: blocks are {:?}, {:?}", run.height, run.blocks, run.cut)
            });
            disk.fail_write(run.cut.map_or(u64::MAX, |cut| cut.write), run.cut.map_or(Fault::Kept, |cut| cut.fault));
            let done = self.run_rewind(node, &store, run);
            disk.fail_write(u64::MAX, Fault::Kept);
            match (done, run.cut) {
                // Blocks that were executed again give the rows that were there, byte for byte.
                (Ok(()), _) if store.tip() == whole.0 => {
                    ensure!(dump(&disk) == whole.1, "rewind: n{node} has other rows at the same tip");
                }
                (Ok(()), _) => whole = (store.tip(), dump(&disk)),
                (Err(RewindError::Store(StoreError::Io { .. })), Some(cut)) => {
                    self.counts.cut_rewinds += 1;
                    self.nodes[node].lose(cut.keep);
                    store = self.open_stopped(node)?;
                    if store.unfinished_rewind().is_some() {
                        self.check_no_start(node)?;
                        store = self.open_stopped(node)?;
                    } else {
                        whole = (store.tip(), dump(&disk));
                    }
                }
                (Err(error), _) => return Err(Broken(format!("rewind: n{node}: {error}"))),
            }
        }
        ensure!(store.unfinished_rewind().is_none(), "rewind: n{node} has not finished its rewind");
        match self.mutation_of(node) {
            Some(Mutation::RewindForgetsSigning) => store.strip_signing_state().map_err(broken)?,
            Some(Mutation::RewindTakesMore) => take_more(&store).map_err(broken)?,
            _ => {}
        }
        let now = signed_in(&store)?;
        ensure!(now == signed, "rewind: n{node} forgets what it signed: its hard state is {:?}", now.0);
        self.counts.rewinds += 1;
        let tip = store.tip().map_or(Height::GENESIS, |tip| tip.height);
        self.note(6, node, &tip.0.to_be_bytes());
        self.checker.on_stored(node, &store)
    }

    /// Does what one run of the command does, as far as the disk lets it.
    ///
    /// Errors: those of the command.
    fn run_rewind(&mut self, node: usize, store: &Store<SimKv>, run: &RewindRun) -> Result<(), RewindError> {
        let tip = store.tip().map_or(Height::GENESIS, |tip| tip.height);
        // An earlier loss of power may have taken these heights back.
        if tip <= run.height && store.unfinished_rewind().is_none() {
            return Ok(());
        }
        let _broken = self.nodes[node].broken_rules();
        if run.blocks == BlocksAbove::Dropped {
            return store.rewind(run.height).map(drop).map_err(RewindError::Store);
        }
        #[cfg(feature = "mutations")]
        let _differs = (self.mutation_of(node) == Some(Mutation::ReplayDiffers))
            .then(|| app::BrokenRule::new(app::Mutation::KeepEpoch));
        let plan = RewindPlan::new(store, app::UPGRADES, run.height, run.blocks, &mut |_| {})?;
        let done = plan.run(store, &mut |height| {
            self.counts.replayed += 1;
            let now = self.now;
            self.story.tell(now, || format!("n{node} has executed block {height} again"));
        })?;
        assert_eq!(done.repaired, 0, "n{node} had rows that its blocks do not give");
        Ok(())
    }

    /// Checks that no process starts on a rewind that is not finished.
    fn check_no_start(&mut self, node: usize) -> Result<(), Broken> {
        let started = self.nodes[node].start(&self.setup.config, &self.genesis);
        self.nodes[node].stop(None);
        match started {
            Err(reason) if reason.contains("rewind") => Ok(()),
            other => Err(Broken(format!("rewind: n{node} starts on a rewind that is not finished: {other:?}"))),
        }
    }

    pub(super) fn mutation_of(&self, node: usize) -> Option<Mutation> {
        self.nodes[node].mutation.filter(|_| self.nodes[node].is_correct())
    }

    fn open_stopped(&self, node: usize) -> Result<Store<SimKv>, Broken> {
        let _broken = self.nodes[node].broken_rules();
        let kv = SimKv::open(&self.nodes[node].disk, self.mutation_of(node));
        Store::open(kv, &self.chain_id).map_err(broken)
    }

    /// Deletes the heights of a running node below `retain`.
    ///
    /// Errors: [`Broken`] if a kept height changes, or a deleted one can still be read.
    pub fn prune(&mut self, node: usize, retain: Height) -> Result<(), Broken> {
        let Some(alive) = &self.nodes[node].alive else { return Ok(()) };
        let store = Arc::clone(&alive.store);
        let before = store.earliest();
        let broken = self.nodes[node].broken_rules();
        let pruned = store.prune(retain);
        drop(broken);
        if let Err(error) = pruned {
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

    /// Rewinds a node by some heights, with random interruptions. All heights that its next blocks may refer to must be
    /// there. Blocks are deleted only if the others can bring the node back: one of them has durably all that it has, and
    /// none has deleted what it lacks then.
    pub(super) fn rewind_some(&mut self, node: usize, back: u64) -> Result<(), Broken> {
        let Some((tip, earliest)) = self.stored(&self.nodes[node], false) else { return Ok(()) };
        let others: Vec<(Height, Height)> =
            self.correct().filter(|other| other.index != node).filter_map(|other| self.stored(other, true)).collect();
        let whole = if earliest <= Height(1) { 0 } else { earliest.0 - 1 + self.setup.params.retain_blocks };
        let served = others.iter().map(|(_, earliest)| earliest.0.saturating_sub(1)).max().unwrap_or(0);
        let may_drop = others.iter().any(|(other, _)| *other >= tip) && whole.max(served) < tip.0;
        let floor = if may_drop { whole.max(served) } else { whole.max(earliest.0) };
        if floor >= tip.0 {
            return Ok(());
        }
        let mut height = tip.0.saturating_sub(back).max(floor);
        let cuts = self.random.pick(&[0, 0, 1, 2]);
        let mut runs = Vec::new();
        for nth in 0..=cuts {
            let keeps = height >= earliest.0 && (!may_drop || self.random.chance(500));
            let blocks = if keeps { BlocksAbove::Kept } else { BlocksAbove::Dropped };
            let cut = Cut {
                write: self.random.below(8),
                fault: self.random.pick(&[Fault::Lost, Fault::Kept]),
                keep: self.random.below(12) as usize,
            };
            runs.push(RewindRun { height: Height(height), blocks, cut: (nth < cuts).then_some(cut) });
            if self.random.chance(300) {
                height = self.random.within(floor, height);
            }
        }
        self.rewind(node, &runs)
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

fn broken(error: StoreError) -> Broken {
    Broken(format!("rewind: {error}"))
}

/// Returns what a store says about the signatures of its validator.
fn signed_in(store: &Store<SimKv>) -> Result<(Option<HardState>, Height), Broken> {
    Ok((store.hard_state().map_err(broken)?, store.signing_floor()))
}

/// Returns all rows of a disk, apart from the hashes of the trees, which the next start computes again.
fn dump(disk: &MemDisk) -> Vec<(Cf, Vec<u8>, Vec<u8>)> {
    let mut rows = disk.dump();
    rows.retain(|(cf, key, _)| *cf != Cf::Trees && !(*cf == Cf::Meta && key == b"trees"));
    rows
}

/// Deletes the newest version of a row (`Mutation::RewindTakesMore`).
fn take_more<K: Kv>(store: &Store<K>) -> storage::Result<()> {
    let row = store.kv().view().rows(Cf::State, &[], &[]).next().transpose()?;
    let mut batch = Batch::new();
    row.into_iter().for_each(|(row, _)| batch.delete(Cf::State, row));
    store.kv().write(batch, Durability::Synced)
}
