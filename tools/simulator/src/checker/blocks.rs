//! A decided block follows its predecessor, is valid, and more than 2/3 of the power signed it (validity, once, time).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use replica::Committed;
use types::{BlockId, Commit, Hash, Height, Round, Time, Transaction, ValidatorSet, Wire};

use crate::{
    broken::{Broken, ensure},
    checker::{agreement::Decided, rotation::Rotation, words::Words},
    effects::is_taken,
    node::Node,
    setup::SKEW_MAX,
    story::Counts,
};

/// What the decided blocks of a world must not repeat.
pub struct Blocks {
    precision: Duration,
    /// Signed bodies that were executed, whether they succeeded or failed and paid.
    executed: BTreeSet<Hash>,
    /// The set of each decided height, in the order of its commit.
    sets: BTreeMap<Height, ValidatorSet>,
}

impl Blocks {
    /// Creates the record of a chain without blocks, in which correct clocks may differ by `precision`.
    pub fn new(precision: Duration) -> Self {
        Self { precision, executed: BTreeSet::new(), sets: BTreeMap::new() }
    }

    /// Checks that the validators of its height signed a decision.
    ///
    /// Errors: [`Broken`] if the commit is of another block, or at most 2/3 of the power signed it.
    pub fn check_commit(
        &mut self,
        who: usize,
        committed: &Committed,
        words: &mut Words,
        rotation: &Rotation,
    ) -> Result<(), Broken> {
        let (height, id) = (committed.block.header.height, committed.block_id);
        self.sets.entry(height).or_insert_with(|| committed.validators.clone());
        let what = format!("n{who}, height {height}: commit");
        check_commit(&what, &committed.commit, (height, id), &committed.validators, words, rotation)
    }

    /// Checks the block of a height that is decided for the first time. `before` is the decision before it, if it is known.
    ///
    /// Errors: [`Broken`] if it is not valid, is from the future, or executes something again.
    pub fn check(
        &mut self,
        committed: &Committed,
        before: Option<&Decided>,
        now: Time,
        (words, rotation): (&mut Words, &Rotation),
    ) -> Result<(), Broken> {
        let (block, height) = (&committed.block, committed.block.header.height);
        let content = block.check_content();
        ensure!(content.is_ok(), "validity: block {height}: {}", content.unwrap_err());
        ensure!(block.id(&block.part_set()) == committed.block_id, "validity: block {height} has another id");
        ensure!(committed.validators.hash() == block.header.validators_hash, "validity: validators of block {height}");
        if let Some(before) = before {
            let (got, expected) = (block.header.app_hash, before.app_hash);
            ensure!(got == expected, "validity: header {height} has app hash {got}, the state before has {expected}");
            ensure!(
                block.header.last_block_id == Some(before.block_id),
                "validity: block {height} follows another block"
            );
            ensure!(block.header.time > before.time, "time: block {height} is not later than the previous block");
        }
        let last = height.prev().and_then(|last| Some((last, before?, self.sets.get(&last)?)));
        if let (Some((last, before, set)), Some(commit)) = (last, &block.last_commit) {
            let what = format!("the last commit in block {height}");
            check_commit(&what, commit, (last, before.block_id), set, words, rotation)?;
        }
        let latest = now.saturating_add(self.precision).saturating_add(SKEW_MAX);
        ensure!(block.header.time <= latest, "time: block {height} is from the future");
        Ok(())
    }

    /// Checks the transactions of a height that is decided for the first time.
    ///
    /// Errors: [`Broken`] if one is badly signed, or was executed before.
    pub fn check_once(&mut self, committed: &Committed, counts: &mut Counts) -> Result<(), Broken> {
        let height = committed.block.header.height;
        ensure!(committed.block.txs.len() == committed.results.txs.len(), "validity: results of block {height}");
        for (bytes, result) in committed.block.txs.iter().zip(&committed.results.txs) {
            let tx = Transaction::decode(bytes);
            ensure!(tx.is_ok(), "validity: block {height} has a transaction that does not decode");
            let tx = tx.expect("just checked");
            let digest = tx.digest();
            ensure!(tx.verify().is_ok(), "validity: block {height} has a badly signed transaction");
            counts.txs += u64::from(result.code == 0);
            if is_taken(result) {
                ensure!(self.executed.insert(digest), "once: block {height} executes {digest} again");
            }
        }
        Ok(())
    }
}

/// Checks that a node finds each transaction that succeeded in a block that it committed.
///
/// Errors: [`Broken`] if its store has another place of it, or none.
pub fn check_index(node: &Node, committed: &Committed) -> Result<(), Broken> {
    let Some(alive) = &node.alive else { return Ok(()) };
    let height = committed.block.header.height;
    for ((id, result), index) in committed.block.tx_ids().zip(&committed.results.txs).zip(0..) {
        let place = alive.store.tx(&id).map_err(|error| Broken(format!("index: n{}: {error}", node.index)))?;
        ensure!(
            result.code != 0 || place == Some((height, index)),
            "index: n{} finds transaction {index} of height {height} at {place:?}",
            node.index
        );
    }
    Ok(())
}

/// Checks a commit with its own counting: each entry is of the validator at its place and signed by it, and the entries for the
/// block have more than two thirds of the power.
fn check_commit(
    what: &str,
    commit: &Commit,
    (height, id): (Height, BlockId),
    set: &ValidatorSet,
    words: &mut Words,
    rotation: &Rotation,
) -> Result<(), Broken> {
    ensure!((commit.height, commit.block_id) == (height, id), "validity: {what} is of another block");
    let Some(turns) = rotation.at(height) else { return Ok(()) };
    ensure!(commit.signatures.len() == set.len(), "validity: {what} has {} entries", commit.signatures.len());
    let mut signers = BTreeSet::new();
    for index in 0..commit.signatures.len() {
        let Some(signed) = commit.vote(index) else { continue };
        let voter = signed.vote.validator;
        let expected = set.get(index as u32).map(types::Validator::address);
        ensure!(expected == Some(voter), "validity: {what}: entry {index} is of {voter}, not of {expected:?}");
        ensure!(words.is_signed(&signed, rotation), "validity: {what}: {voter} did not sign entry {index}");
        if signed.vote.block_id == Some(id) {
            signers.insert(voter);
        }
    }
    let round: Round = commit.round;
    ensure!(turns.is_quorum(&signers), "validity: {what} of round {round} has {} signers only", signers.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use types::{ChainId, CommitSig, ConsensusSecretKey, KeyType, PartSetHeader, Power, Signature, Vote, VoteType};

    use super::*;
    use crate::{checker::rotation::Turns, node::validator_key};

    #[test]
    fn a_commit_that_is_short_forged_moved_or_of_another_block_is_noticed() {
        let chain = ChainId::new("cairn-simulated").unwrap();
        let keys: Vec<ConsensusSecretKey> = (0..4).map(|index| validator_key(index, KeyType::Ed25519, 0)).collect();
        let members = || keys.iter().map(|key| (key.public_key(), Power(1)));
        let set = ValidatorSet::new(members().collect()).unwrap();
        let rotation = Rotation::new(BTreeSet::new(), Turns::first(members()));
        let mut words = Words::new(chain.clone());
        let id = |byte| {
            let hash = Hash([byte; 32]);
            BlockId { hash, parts: PartSetHeader { total: 1, hash } }
        };
        let votes: Vec<_> = (0..3)
            .map(|index| {
                let validator = set.get(index).unwrap().address();
                let key = keys.iter().find(|key| key.public_key().address() == validator).unwrap();
                let (vote_type, height, round, timestamp) =
                    (VoteType::Precommit, Height(1), Round(0), Time::UNIX_EPOCH);
                let block_id = Some(id(1));
                Vote { vote_type, height, round, block_id, timestamp, validator, validator_index: index }
                    .sign(&chain, key)
            })
            .collect();
        let commit = Commit::from_votes(Height(1), Round(0), id(1), &set, &votes);
        let mut check = |commit: &Commit| {
            let checked = check_commit("it", commit, (Height(1), id(1)), &set, &mut words, &rotation);
            checked.err().map_or_else(String::new, |broken| broken.0)
        };
        assert_eq!(check(&commit), "");
        let mut short = commit.clone();
        short.signatures[1] = CommitSig::Absent;
        assert!(check(&short).contains("2 signers only"));
        let mut forged = commit.clone();
        let CommitSig::Commit { signature, .. } = &mut forged.signatures[1] else { panic!("it signed") };
        *signature = Signature([7; 64]);
        assert!(check(&forged).contains("did not sign entry 1"));
        let mut moved = commit.clone();
        moved.signatures.swap(0, 1);
        assert!(check(&moved).contains("entry 0 is of"));
        assert!(check(&Commit { block_id: id(2), ..commit }).contains("is of another block"));
    }
}
