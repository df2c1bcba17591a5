//! Blocks, their parts, and what is stored with them.

use std::sync::Arc;

use types::{
    Block, BlockResults, Header, Params, Part, PartSet, Round, ValidatorSet, ValidatorUpdate, Wire, limits,
    results_hash,
};

use crate::{
    judge::{MEMORY_BASE, MEMORY_PER_OWN_BYTE, check_reason, decoded, same, survives, wire, wire_within},
    samples,
};

/// Checks a header: its hash depends on its content alone, and on all of it.
pub fn header(bytes: &[u8]) -> bool {
    let Some(header) = wire::<Header>(bytes) else { return false };
    let again = Header::decode(&header.encode()).expect("it was decoded before");
    same(again.hash(), header.hash(), "the hash depends on the content alone");
    let changes: [fn(&mut Header); 4] = [
        |header| header.app_hash.0[31] ^= 1,
        |header| header.version_app ^= 1,
        |header| header.proposer.0[0] ^= 1,
        |header| header.data_hash.0[5] ^= 1,
    ];
    for change in changes {
        let mut other = header.clone();
        change(&mut other);
        assert_ne!(other.hash(), header.hash(), "the hash depends on every field");
    }
    true
}

/// Returns the seeds of [`header`].
pub fn header_seeds() -> Vec<Vec<u8>> {
    [1, 2].map(|height| samples::block(height, vec![vec![1]]).header.encode()).to_vec()
}

/// Checks a part: a part that belongs to a set keeps its place there, and no changed part does.
pub fn part(bytes: &[u8]) -> bool {
    let Some(part) = wire::<Part>(bytes) else { return false };
    assert!(part.bytes.len() <= limits::PART_BYTES, "a part is bounded");
    match Arc::new(part.clone()).check() {
        Ok(checked) => {
            let total = checked.header().total;
            assert!(part.index < total, "a part is inside of its set");
            if total <= limits::PARTS_MAX {
                let mut set = PartSet::empty(checked.header());
                same(set.add(part.clone()), Ok(true), "the set takes its part");
                same(set.get(part.index).map(|held| Part::clone(held)), Some(part.clone()), "the set holds its part");
            }
            let mut changed = part.clone();
            changed.bytes[0] ^= 1;
            assert!(Arc::new(changed).check().is_err(), "a changed part belongs to no set");
        }
        Err(error) => check_reason(&error.to_string()),
    }
    true
}

/// Returns the seeds of [`part`].
pub fn part_seeds() -> Vec<Vec<u8>> {
    let one = PartSet::from_bytes(b"a block in one part");
    let two = PartSet::from_bytes(&vec![7; limits::PART_BYTES + 5]);
    let encode = |part: Option<&Arc<Part>>| part.expect("the set is complete").encode();
    vec![encode(one.get(0)), encode(two.get(1))]
}

/// Checks a block: its size and lists are bounded, its parts give it back, its id is that of its bytes, and its
/// transactions are judged without a panic.
pub fn block(bytes: &[u8]) -> bool {
    let Some(block) = wire::<Block>(bytes) else { return false };
    assert!(block.txs.len() <= limits::BLOCK_TXS_MAX && block.evidence.len() <= limits::EVIDENCE_PER_BLOCK_MAX);
    assert!(block.txs.iter().all(|tx| tx.len() <= limits::TX_BYTES_MAX), "a transaction is bounded");
    let parts = block.part_set();
    let id = block.id(&parts);
    assert_eq!(id.hash, block.header.hash(), "the id is the hash of the header");
    let whole = parts.bytes().expect("a set that was cut from a block is complete");
    same(Block::decode(&whole).as_ref(), Ok(&block), "the parts give the block back");
    match block.check_content() {
        Ok(()) => {
            let mut changed = block.clone();
            changed.txs.push(vec![0]);
            assert!(changed.check_content().is_err(), "the header names the transactions");
        }
        Err(error) => check_reason(&error.to_string()),
    }
    match app::decode_block_txs(&samples::chain_id(), &Params::default(), &block.txs, |_| None) {
        Ok(txs) => same(txs.len(), block.txs.len(), "each transaction is decoded"),
        Err(invalid) => {
            assert!(invalid.index < block.txs.len(), "it is one of the transactions");
            check_reason(&invalid.to_string());
        }
    }
    true
}

/// Returns the seeds of [`block`].
pub fn block_seeds() -> Vec<Vec<u8>> {
    let txs = crate::transactions::transaction_seeds();
    vec![
        samples::block(1, Vec::new()).encode(),
        samples::block(2, vec![vec![1], vec![2, 3]]).encode(),
        samples::block(4, txs).encode(),
    ]
}

/// Checks the results of a block: the hash covers what the next header names, and no log.
pub fn results(bytes: &[u8]) -> bool {
    let Some(results) = wire_within::<BlockResults>(bytes, MEMORY_BASE + MEMORY_PER_OWN_BYTE * bytes.len()) else {
        return false;
    };
    assert!(results.txs.len() <= limits::BLOCK_TXS_MAX && results.events.len() <= limits::EVENTS_MAX);
    let mut reworded = results.txs.clone();
    reworded.iter_mut().for_each(|result| result.log.push('!'));
    same(results_hash(&reworded), results_hash(&results.txs), "a log is no result");
    if let Some(first) = reworded.first_mut() {
        first.code ^= 1;
        assert_ne!(results_hash(&reworded), results_hash(&results.txs), "a code is a result");
    }
    for result in &results.txs {
        survives(result, Wire::encode, types::TxResult::decode);
    }
    true
}

/// Returns the seeds of [`results`].
pub fn results_seeds() -> Vec<Vec<u8>> {
    vec![samples::results().encode(), BlockResults::default().encode()]
}

/// Checks a validator set: each member has its address, the proposer is a member, the powers are bounded, and the rotation
/// keeps the set.
pub fn validator_set(bytes: &[u8]) -> bool {
    let Some(set) = wire::<ValidatorSet>(bytes) else { return false };
    assert!((1..=limits::VALIDATORS_MAX).contains(&set.len()), "{} validators", set.len());
    let total: u64 = set.iter().map(|member| member.power.0).sum();
    same(set.total_power().0, total, "the total is the sum");
    assert!(total <= limits::POWER_TOTAL_MAX, "the total is bounded");
    for (index, member) in set.iter().enumerate() {
        let found = set.by_address(&member.address()).map(|(index, _)| index as usize);
        assert_eq!(found, Some(index), "each member is found at its index");
    }
    let mut later = set.clone();
    later.increment(3);
    same(later.hash(), set.hash(), "the rotation changes no member");
    let proposer = set.proposer_of_round(Round(3)).address();
    assert!(set.by_address(&proposer).is_some(), "the proposer of a round is a member");
    let update = ValidatorUpdate { public_key: samples::key(9).public_key().into(), power: types::Power(1) };
    match set.update(std::slice::from_ref(&update)) {
        Ok(next) => assert!(next.by_address(&update.public_key.address()).is_some(), "an update is in the next set"),
        Err(error) => check_reason(&error.to_string()),
    }
    true
}

/// Returns the seeds of [`validator_set`].
pub fn validator_set_seeds() -> Vec<Vec<u8>> {
    let mut later = samples::validators();
    later.increment(2);
    vec![samples::validators().encode(), later.encode()]
}

/// Checks parameters: those that are accepted are in range, and each of their fields can be set to its own value.
pub fn params(bytes: &[u8]) -> bool {
    let Some(params) = wire::<Params>(bytes) else { return false };
    assert_eq!(params.check(), Ok(()), "parameters that are decoded are in range");
    assert!(params.tx_bytes_max() <= params.block.bytes_max as usize, "a transaction fits into a block");
    let json = genesis::params_json(&params).to_string();
    assert!(
        decoded(json.as_bytes(), |bytes| serde_json::from_slice::<serde_json::Value>(bytes)).is_some(),
        "they are shown as JSON"
    );
    true
}

/// Returns the seeds of [`params`].
pub fn params_seeds() -> Vec<Vec<u8>> {
    vec![Params::default().encode(), crate::chain::params().encode()]
}
