//! Invalid blocks: one flaw each, in turn, for each rule that a block must keep. [`FLAWS`] lists them.

use std::time::Duration;

use types::{Address, Block, BlockId, BlockResponse, ChainId, Commit, CommitSig, Hash, Header, Proposal, Time, Wire};

use super::{
    conduct::Conduct,
    said::Said,
    spoil::spoil_response,
    twins::{Twin, Twins},
};
use crate::{liar::Liar, random::Random};

/// Makes a valid block invalid and returns its bytes; `None` if this block cannot have the flaw.
type Spoil = fn(&Liar<'_>, &mut Random, Block) -> Option<Vec<u8>>;

/// The flaws, by name.
pub(super) const FLAWS: [(&str, Spoil); 37] = [
    ("version of another program", |_, _, block| header(block, |header| header.version_app += 1)),
    ("another chain", |_, _, block| header(block, |header| header.chain_id = ChainId::new("another").expect("a name"))),
    ("later height", |_, _, block| header(block, |header| header.height = header.height.next())),
    ("earlier height", |_, _, block| {
        let before = block.header.height.prev().filter(|height| height.0 > 0)?;
        header(block, |header| header.height = before)
    }),
    ("time of the last block", |liar, _, block| {
        let last = liar.decided.get(&block.header.height.prev()?)?.block.header.time;
        header(block, |header| header.time = last)
    }),
    ("time long past", |_, _, block| header(block, |header| header.time = Time::from_unix_nanos(1))),
    ("time far ahead", |_, _, block| {
        header(block, |header| header.time = header.time.saturating_add(Duration::from_secs(3600)))
    }),
    ("another last block", |_, _, block| {
        let last = block.header.last_block_id?;
        header(block, |header| header.last_block_id = Some(BlockId { hash: OTHER, ..last }))
    }),
    ("no last block", |_, _, block| {
        block.header.last_block_id?;
        header(block, |header| header.last_block_id = None)
    }),
    ("hash of the last commit", |_, _, block| header(block, |header| header.last_commit_hash = OTHER)),
    ("hash of the transactions", |_, _, block| header(block, |header| header.data_hash = OTHER)),
    ("hash of the validators", |_, _, block| header(block, |header| header.validators_hash = OTHER)),
    ("hash of the next validators", |_, _, block| header(block, |header| header.next_validators_hash = OTHER)),
    ("hash of the parameters", |_, _, block| header(block, |header| header.consensus_hash = OTHER)),
    ("hash of the state", |_, _, block| header(block, |header| header.app_hash = OTHER)),
    ("hash of the results", |_, _, block| header(block, |header| header.last_results_hash = OTHER)),
    ("hash of the evidence", |_, _, block| header(block, |header| header.evidence_hash = OTHER)),
    ("proposer that is no validator", |_, _, block| header(block, |header| header.proposer = Address([3; 20]))),
    ("no last commit", |_, _, mut block| {
        block.last_commit.take()?;
        header(block, |header| header.last_commit_hash = Commit::empty_hash())
    }),
    ("commit with a false signature", |_, random, block| {
        commit(block, |commit| {
            let some = random.index(commit.signatures.len());
            let mut signed: Vec<&mut CommitSig> = commit.signatures.iter_mut().filter(|sig| is_signed(sig)).collect();
            let count = signed.len();
            if let CommitSig::Commit { signature, .. } = signed.swap_remove(some % count) {
                signature.0[random.index(64)] ^= 1;
            }
        })
    }),
    ("commit with false signatures only", |_, _, block| {
        commit(block, |commit| {
            for entry in &mut commit.signatures {
                if let CommitSig::Commit { signature, .. } = entry {
                    signature.0[5] ^= 1;
                }
            }
        })
    }),
    ("commit with the time of a vote changed", |_, _, block| {
        commit(block, |commit| {
            for entry in &mut commit.signatures {
                if let CommitSig::Commit { timestamp, .. } = entry {
                    *timestamp = timestamp.saturating_add(Duration::from_nanos(1));
                }
            }
        })
    }),
    ("commit with too few signatures", |_, _, block| {
        commit(block, |commit| commit.signatures.iter_mut().skip(1).for_each(|entry| *entry = CommitSig::Absent))
    }),
    ("commit with votes for nil", |_, _, block| {
        commit(block, |commit| {
            for entry in &mut commit.signatures {
                if let CommitSig::Commit { validator, timestamp, signature } = *entry {
                    *entry = CommitSig::Nil { validator, timestamp, signature };
                }
            }
        })
    }),
    ("commit with one signature twice", |_, _, block| {
        commit(block, |commit| {
            let signed = commit.signatures.iter().find(|entry| is_signed(entry)).cloned();
            if let Some(signed) = signed {
                commit.signatures.fill(signed);
            }
        })
    }),
    ("commit with an entry too many", |_, _, block| commit(block, |commit| commit.signatures.push(CommitSig::Absent))),
    ("commit with an entry too few", |_, _, block| {
        commit(block, |commit| commit.signatures.truncate(commit.signatures.len() - 1))
    }),
    ("commit of another round", |_, _, block| commit(block, |commit| commit.round.0 += 1)),
    ("commit of another height", |_, _, block| commit(block, |commit| commit.height = commit.height.next())),
    ("commit of another block", |_, _, block| commit(block, |commit| commit.block_id.hash = OTHER)),
    ("commit of the block before the last", |liar, _, mut block| {
        let before = block.header.height.prev()?.prev()?;
        block.last_commit = Some(liar.decided.get(&before)?.commit.clone());
        let hash = block.last_commit.as_ref()?.hash();
        header(block, |header| header.last_commit_hash = hash)
    }),
    ("transaction that does not decode", |_, _, mut block| {
        block.txs.push(vec![1, 2, 3]);
        with_txs(block)
    }),
    ("transaction with a false signature", |_, _, mut block| {
        let tx = block.txs.last_mut()?;
        let last = tx.len().checked_sub(3)?;
        tx[last] ^= 1;
        with_txs(block)
    }),
    ("transaction that the header does not have", |_, _, mut block| {
        block.txs.push(vec![4; 200]);
        Some(block.encode())
    }),
    ("transaction too much for the block", |liar, _, mut block| {
        const TX_BYTES: usize = 32 * 1024;
        let count = usize::try_from(liar.block_bytes_max).ok()? / TX_BYTES + 1;
        block.txs.extend((count <= 8).then(|| vec![vec![5; TX_BYTES]; count])?);
        with_txs(block)
    }),
    ("bytes that are no block", |_, random, _| {
        Some((0..random.within(1, 3000)).map(|_| random.next() as u8).collect())
    }),
    ("bytes after the block", |_, _, block| {
        let mut bytes = block.encode();
        bytes.extend([0xFF; 7]);
        Some(bytes)
    }),
];

/// A hash that is nothing's.
const OTHER: Hash = Hash([7; 32]);

/// Name of the flaw that is none of the block: the id does not name its header.
pub(super) const FALSE_ID: &str = "id of another header";

fn header(mut block: Block, change: impl FnOnce(&mut Header)) -> Option<Vec<u8>> {
    change(&mut block.header);
    Some(block.encode())
}

fn is_signed(entry: &CommitSig) -> bool {
    matches!(entry, CommitSig::Commit { .. })
}

/// Changes the last commit, and the hash of it in the header.
fn commit(mut block: Block, change: impl FnOnce(&mut Commit)) -> Option<Vec<u8>> {
    let commit = block.last_commit.as_mut()?;
    change(commit);
    block.header.last_commit_hash = commit.hash();
    Some(block.encode())
}

fn with_txs(mut block: Block) -> Option<Vec<u8>> {
    block.header.data_hash = Block::data_hash(&block.txs);
    Some(block.encode())
}

/// A proposer of invalid blocks, which also answers requests for blocks falsely.
#[derive(Debug, Default)]
pub(super) struct BadBlocks {
    twins: Twins,
    /// Numbers of the flaws that no block had yet in this turn. A flaw that a block cannot have waits for another one.
    left: Vec<usize>,
}

impl BadBlocks {
    /// Makes an invalid block with the first of the flaws that are left and that this block can have.
    fn twin(
        left: &mut Vec<usize>,
        liar: &Liar<'_>,
        random: &mut Random,
        first: &Proposal,
        block: &Block,
    ) -> Option<Twin> {
        if left.is_empty() {
            left.extend(0..=FLAWS.len());
        }
        let make = |number: usize, random: &mut Random| match FLAWS.get(number) {
            Some((name, spoil)) => {
                let bytes = spoil(liar, random, block.clone())?;
                Some((*name, Twin::of_bytes(liar, first, &bytes)))
            }
            None => {
                let mut twin = Twin::of_bytes(liar, first, &block.encode());
                let block_id = BlockId { hash: OTHER, ..twin.id() };
                twin.proposal = Proposal { block_id, ..first.clone() }.sign(liar.chain_id, liar.key);
                Some((FALSE_ID, twin))
            }
        };
        let (at, (name, twin)) = (0..left.len()).find_map(|at| Some((at, make(left[at], random)?)))?;
        left.remove(at);
        liar.tally.add(name);
        liar.tally.add_invalid(twin.id());
        Some(twin)
    }
}

impl Conduct for BadBlocks {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        let Self { twins, left } = self;
        twins.make(liar, &said, |first, block| Self::twin(left, liar, random, first, &block));
        said.into_iter().flat_map(|said| self.twins.instead(liar, random, said)).collect()
    }

    fn serve(&mut self, liar: &Liar<'_>, random: &mut Random, response: BlockResponse) -> Option<BlockResponse> {
        liar.tally.add("false answer to a request for blocks");
        Some(spoil_response(random, response))
    }
}
