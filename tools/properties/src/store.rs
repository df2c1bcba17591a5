//! Rows of the database: damage of any of them is an error, never a panic.

use std::{fmt::Display, sync::OnceLock};

use storage::{Batch, Cf, CommitBatch, Durability, Genesis, GenesisBatch, Kv, MemDisk, MemKv, Store};
use types::{BlockId, Commit, Height, History, Reader, Time, TxOrder, VerifiedTx, Wire, results_hash};

use crate::{
    chain::{Chain, body, messages, params},
    judge::{check_reason, decoded, same, survives},
    samples,
};

/// Number of heights of the chain in the store.
const HEIGHTS: u64 = 6;

/// Rows of a database: family, key and value.
type Rows = Vec<(Cf, Vec<u8>, Vec<u8>)>;

/// The rows of a store with a short chain.
fn rows() -> &'static Rows {
    static ROWS: OnceLock<Rows> = OnceLock::new();
    ROWS.get_or_init(|| fill().dump())
}

/// Fills a new store: a chain, and what a node has beside it.
fn fill() -> MemDisk {
    let disk = MemDisk::new();
    let store = Store::open(disk.open(), &samples::chain_id()).expect("an empty disk is a store");
    let chain = write_chain(&store);
    let pending = samples::block(HEIGHTS + 1, Vec::new()).encode();
    store.write_ahead(&samples::hard_state(), &[(samples::id(5), &pending)]).expect("the disk takes it");
    store.put_waiting_evidence(&samples::double_sign()).expect("the disk takes it");
    store
        .update_trees(chain.app.height(), chain.app.stored().map(app::tree::stored::StoredNode::row))
        .expect("the disk takes it");
    disk
}

/// Writes a short chain into an empty store.
pub(crate) fn write_chain<K: Kv>(store: &Store<K>) -> Chain {
    let mut chain = Chain::new();
    let genesis = Genesis {
        initial_height: Height(1),
        time: Time::UNIX_EPOCH,
        app_hash: chain.app.app_hash(),
        document_hash: types::blake3(b"document"),
    };
    let mut validators = samples::validators();
    let first = GenesisBatch { genesis, validators: &validators, params: &params() };
    store.init_genesis(&first, chain.rows.at(Height(0))).expect("an empty store takes a genesis");
    validators.increment(1);
    let (mut last_commit, mut last_results, mut messages) = (None::<Commit>, Vec::new(), messages().into_iter());
    for height in (1..=HEIGHTS).map(Height) {
        let app_hash = chain.app.app_hash();
        let (seed, message) = messages.next().expect("there are more messages than heights");
        let order = TxOrder::Nonce(chain.account(seed).nonce);
        let tx = VerifiedTx::verified_before(body(seed, order, vec![message]).sign(&samples::key(seed)));
        let txs = vec![tx.bytes().to_vec()];
        let mut block = samples::block(1, txs);
        block.last_commit.clone_from(&last_commit);
        block.evidence.extend((height == Height(5)).then(samples::double_sign));
        block.header = samples::header(height.0, &block.txs, &block.evidence, last_commit.as_ref());
        block.header.app_hash = app_hash;
        block.header.last_results_hash = results_hash(&last_results);
        block.header.consensus_hash = params().hash();
        block.header.time = chain.time;
        let parts = block.part_set();
        let block_id = block.id(&parts);
        let seen_commit = samples::commit_of(height, block_id);
        let outcome = chain.execute(&[tx]);
        validators.increment(1);
        store
            .commit_block(&CommitBatch {
                block_id,
                block: &block,
                block_bytes: &parts.bytes().expect("the set is complete"),
                seen_commit: &seen_commit,
                results: &outcome.results,
                writes: &outcome.writes,
                replaced: &outcome.replaced,
                validators: &validators,
                params: &params(),
                evidence_floor: Height(0),
            })
            .expect("the block follows the tip");
        last_results.clone_from(&outcome.results.txs);
        chain.commit(outcome);
        last_commit = Some(seen_commit);
    }
    chain
}

/// Damages rows of a store and reads everything: an input is a list of damages, each a column family (1 byte), a row of it
/// (1 byte), what happens to it (1 byte), a place in it (1 byte), and a byte.
///
/// It checks that nothing panics, that a store without damage has no finding and all its blocks, and that each reason is
/// short.
pub fn store_rows(bytes: &[u8]) -> bool {
    let (damages, _) = bytes.as_chunks::<5>();
    let mut damaged = rows().clone();
    for [family, row, act, place, byte] in damages.iter().take(16) {
        let family = Cf::ALL[usize::from(*family) % Cf::ALL.len()];
        let members: Vec<usize> = (0..damaged.len()).filter(|index| damaged[*index].0 == family).collect();
        let Some(index) = members.get(usize::from(*row) % members.len().max(1)) else { continue };
        let (_, key, value) = &mut damaged[*index];
        let part = if act & 1 == 0 { value } else { key };
        let at = usize::from(*place) % part.len().max(1);
        match act >> 1 & 3 {
            0 if !part.is_empty() => part[at] = *byte,
            1 => part.truncate(at),
            2 => part.insert(at.min(part.len()), *byte),
            _ => drop(damaged.remove(*index)),
        }
    }
    let is_whole = damaged == *rows();
    let disk = MemDisk::new();
    let mut batch = Batch::new();
    damaged.into_iter().for_each(|(family, key, value)| batch.put(family, key, value));
    disk.open().write(batch, Durability::Synced).expect("memory takes everything");
    let opened = Store::open(disk.open(), &samples::chain_id());
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            assert!(!is_whole, "a whole store opens: {error}");
            check_reason(&error.to_string());
            return false;
        }
    };
    read_all(&store, is_whole);
    let mut verification = store.verification();
    while verification.step(1 << 20) {}
    let report = verification.finish();
    report.findings.iter().for_each(|finding| check_reason(&finding.reason));
    assert!(!is_whole || report.findings_total() == 0, "a whole store has no finding: {:?}", report.findings);
    is_whole || report.findings_total() == 0
}

/// Reads everything that a store offers.
fn read_all(store: &Store<MemKv>, is_whole: bool) {
    for height in (0..HEIGHTS + 3).map(Height) {
        let is_there = (1..=HEIGHTS).contains(&height.0);
        let block = read(store.block(height), is_whole && is_there);
        if let Some(block) = block {
            survives(&block, Wire::encode, types::Block::decode);
            let hash = block.header.hash();
            let found = read(store.height_of(&hash), is_whole).flatten();
            assert!(!is_whole || found == Some(height), "a block is found by its hash");
            read(store.block_by_hash(&hash), is_whole);
        }
        read(store.head(height), is_whole && is_there);
        read(store.seen_commit(height), is_whole && is_there);
        read(store.commit(height), false);
        read(store.results(height), is_whole && is_there);
        read(store.validators(height), is_whole && is_there);
        read(store.params(height), is_whole && is_there);
        read(store.block_time(height), false);
        read(store.trusted_block(height), false);
        read(store.validators_for_evidence(height), false);
        if let Some(reader) = read(store.reader_at(height), false) {
            reader.scan(b"", &mut |key, value| {
                same(reader.get_at(height, key).as_deref(), reader.get_at(height, key).as_deref(), "a row is a row");
                !value.is_empty()
            });
            reader.changed_since(height.prev().unwrap_or_default(), b"", &mut |_| true);
            read(reader.check(), is_whole);
        }
    }
    read(store.hard_state(), is_whole);
    read(store.pending_block(&samples::id(5)), is_whole);
    read(store.pending_block(&BlockId { hash: types::Hash([0; 32]), ..samples::id(5) }), is_whole);
    read(store.waiting_evidence(), is_whole);
    read(store.evidence_floor(), is_whole);
    read(store.committed_evidence(&(Height(3), crate::chain::address(2))), is_whole);
    read(store.trees_height(), is_whole);
    read(store.read_trees(&mut |_, _| true), is_whole);
}

/// Returns what was read. Panics if the reading of a whole store failed.
fn read<T, E: Display>(result: Result<T, E>, must: bool) -> Option<T> {
    if let Err(error) = &result {
        assert!(!must, "a whole store is read: {error}");
    }
    decoded(&[], |_| result)
}

/// Returns the seeds of [`store_rows`]: no damage, and some of each family.
pub fn store_rows_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new()];
    // A byte that is what it was, in each family; then a changed value.
    let rows = rows();
    for (index, family) in Cf::ALL.into_iter().enumerate() {
        if let Some((_, _, value)) = rows.iter().find(|(of, _, value)| *of == family && !value.is_empty()) {
            seeds.push(vec![index as u8, 0, 0, 0, value[0]]);
            seeds.push(vec![index as u8, 0, 0, 3, 0x55]);
        }
    }
    seeds
}
