//! Proofs about states below the tip: keeps the trees of the heights that were asked for last, because such requests come in
//! bursts.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

use app::{EarlierTrees, StateProof, tree::StaleReader};
use replica::{LiveApp, prepare_earlier};
use storage::{RocksKv, StateReader, Store};
use types::Height;

use crate::error::{Error, PROOF_UNFINISHED};

/// Maximum bytes of the trees that are kept: those of 7 heights of a state with more than 700,000 rows, or of many heights of
/// smaller ones. The trees of the last call are always kept.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// The trees of heights below the tip. One call computes trees at a time, and each computes something. The next call for the
/// same height continues, so a state of any size is proven in the end, and each client pays for its calls.
pub struct EarlierProver {
    /// Maximum time for which one call computes trees.
    call_time_max: Duration,
    /// The trees of the last call first.
    kept: Mutex<VecDeque<EarlierTrees>>,
}

impl EarlierProver {
    /// Creates a prover that has no trees.
    pub fn new(call_time_max: Duration) -> Self {
        Self { call_time_max, kept: Mutex::default() }
    }

    /// Proves what `prove` asks of the trees of the reader's height. `number` is that of the namespace whose keys it proves.
    ///
    /// Errors: `E_PROOF_UNFINISHED` if the trees could not be computed within the time of one call; a row is unreadable; the height is no longer
    /// kept; an internal error if the rows do not lead to the app hash of the chain.
    pub fn prove(
        &self,
        store: &Store<RocksKv>,
        app: &LiveApp,
        reader: &StateReader<'_, RocksKv>,
        number: Option<u32>,
        prove: impl FnOnce(&EarlierTrees) -> Result<StateProof, StaleReader>,
    ) -> Result<StateProof, Error> {
        let begun = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let height = reader.height();
        let found = kept.iter().position(|trees| trees.height() == height);
        let mut trees = match found.and_then(|found| kept.remove(found)) {
            Some(trees) => trees,
            None => EarlierTrees::new(reader, height),
        };
        // Trees that met a failed read are dropped with the error.
        let mut is_first = true;
        let may_go_on = &mut || std::mem::take(&mut is_first) || begun.elapsed() < self.call_time_max;
        let is_complete = prepare_earlier(&mut trees, number, store, app, reader, may_go_on)?;
        if is_complete && trees.app_hash() != Some(app_hash_of(store, height)?) {
            return Err(Error::internal(format_args!(
                "the rows of height {height} do not lead to the app hash of the chain: the operator should run `cairn verify store`"
            )));
        }
        let proof = is_complete.then(|| prove(&trees));
        let percent = trees.percent();
        keep(&mut kept, trees);
        let Some(proof) = proof else {
            return Err(Error::server(format_args!(
                "{PROOF_UNFINISHED}: much has changed since height {height}, and {percent} % of that is prepared for proofs \
                 by now: ask again, and the node continues; or ask for a later height"
            )));
        };
        reader.check()?;
        proof.map_err(|_| Error::internal("the trees are not of the state's height"))
    }
}

/// Keeps trees as the first ones, and drops the last ones when all have too many bytes.
fn keep(kept: &mut VecDeque<EarlierTrees>, mut trees: EarlierTrees) {
    if trees.memory_bytes() > KEPT_BYTES_MAX {
        trees.forget_namespaces();
    }
    kept.push_front(trees);
    let mut bytes = 0;
    kept.retain(|trees| {
        let is_first = bytes == 0;
        bytes += trees.memory_bytes();
        is_first || bytes <= KEPT_BYTES_MAX
    });
}

/// Returns the app hash of the state after a height at or below the tip.
fn app_hash_of(store: &Store<RocksKv>, height: Height) -> Result<types::Hash, Error> {
    match store.tip().filter(|tip| tip.height == height) {
        Some(tip) => Ok(tip.app_hash),
        None => Ok(store.header(height.next())?.app_hash),
    }
}
