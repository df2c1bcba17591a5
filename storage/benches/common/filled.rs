//! A store with many rows.

use storage::{GenesisBatch, RocksKv, Store};
use types::{Height, WriteSet};

use crate::chain::{Chain, Rig, RocksRig, open};

/// Returns a chain at its genesis that does not remember its states.
pub fn chain() -> Chain {
    let mut chain = Chain::start(&open(&RocksRig::new()), 1, WriteSet::default());
    chain.remember = false;
    chain
}

/// Creates the store of a [`chain`] whose genesis state has these rows, compacted as in a node that runs for a while.
pub fn store(rig: &RocksRig, chain: &Chain, rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Store<RocksKv> {
    let store = open(rig);
    let genesis = GenesisBatch {
        genesis: chain.genesis,
        validators: &chain.validators[&Height(1)],
        params: &chain.params[&Height(1)],
    };
    store.init_genesis(&genesis, rows).expect("empty");
    store.kv().compact().expect("compacts");
    store
}
