//! A correct proposer takes transactions that can be executed: its mempool follows the chain.

use std::collections::BTreeSet;

use replica::Committed;
use types::Address;

use crate::broken::{Broken, ensure};

/// Checks that each transaction in a block of a correct proposer could pay its fee and was its sender's next one: then its result
/// has events, even if a message of it failed.
///
/// Errors: [`Broken`] if one was not.
pub fn check(committed: &Committed, correct: &BTreeSet<Address>) -> Result<(), Broken> {
    let header = &committed.block.header;
    if !correct.contains(&header.proposer) {
        return Ok(());
    }
    for (index, result) in committed.results.txs.iter().enumerate() {
        ensure!(
            !result.events.is_empty(),
            "pool: {} is correct, and proposes transaction {index} at height {}, which is not to be executed: {}",
            header.proposer,
            header.height,
            result.log
        );
    }
    Ok(())
}
