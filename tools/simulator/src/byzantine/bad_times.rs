//! Wrong times of blocks, proposals and votes.
//!
//! | its new block is dated | a correct node that receives it at once |
//! |---|---|
//! | 1 ns after the last block | prevotes it, if the last block is not older than the message delay and the precision |
//! | 1 ms less than the precision ahead | prevotes it |
//! | exactly the precision ahead | prevotes it |
//! | 50 ms more than the precision ahead | finds it untimely |
//! | 1 hour ahead, and the last time of all | finds it untimely |
//! | 1 ms more recent, and 1 ms older, than the message delay and the precision allow | prevotes the one, finds the other untimely or not later than the last block |
//! | the time that its proposal does not have | prevotes nil |
//!
//! Its votes have the first or the last time of all, or are a year old or ahead. Times of votes decide nothing.

use std::time::Duration;

use types::{Block, Header, PeerMessage, Proposal, Time, Vote, Wire};

use super::{
    conduct::Conduct,
    said::{Said, own_vote},
    twins::{Twin, Twins},
};
use crate::{liar::Liar, random::Random};

const MS: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The wrong times, by name.
pub(super) const TIMES: [&str; 9] = [
    "block just after the last one",
    "block just within the precision",
    "block at the precision",
    "block just beyond the precision",
    "block far ahead",
    "block at the end of time",
    "block just recent enough",
    "block just too old",
    "proposal with another time than its block",
];

/// A validator that dates what it signs wrongly. Each vote is signed once.
#[derive(Debug, Default)]
pub(super) struct BadTimes {
    twins: Twins,
    next: usize,
}

impl BadTimes {
    fn twin(next: &mut usize, liar: &Liar<'_>, first: &Proposal, block: Block) -> Twin {
        let number = *next % TIMES.len();
        *next += 1;
        let (now, precision, delay) = (liar.now, liar.synchrony.precision, liar.synchrony.message_delay);
        let oldest = now.saturating_sub(delay).saturating_sub(precision);
        let last = block.header.height.prev().and_then(|last| liar.decided.get(&last));
        let time = match number {
            0 => last.map_or(now, |last| last.block.header.time.saturating_add(Duration::from_nanos(1))),
            1 => now.saturating_add(precision).saturating_sub(MS),
            2 => now.saturating_add(precision),
            3 => now.saturating_add(precision + 50 * MS),
            4 => now.saturating_add(3600 * 1000 * MS),
            5 => Time::from_unix_nanos(i64::MAX),
            6 => oldest.saturating_add(10 * MS),
            7 => oldest.saturating_sub(MS),
            _ => block.header.time,
        };
        liar.tally.add(TIMES[number]);
        let block = Block { header: Header { time, ..block.header }, ..block };
        let mut twin = Twin::of_bytes(liar, first, &block.encode());
        if number == 8 {
            let timestamp = time.saturating_add(MS);
            twin.proposal = Proposal { timestamp, ..twin.proposal.proposal }.sign(liar.chain_id, liar.key);
            liar.tally.add_invalid(twin.id());
        }
        twin
    }
}

impl Conduct for BadTimes {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        let Self { twins, next } = self;
        twins.make(liar, &said, |first, block| Some(Self::twin(next, liar, first, block)));
        let dated = |said: Said| {
            let Some(signed) = own_vote(liar, &said.message) else { return said };
            liar.tally.add("vote with a wrong time");
            // The same vote always has the same time, so that it is one vote.
            let timestamp = match (signed.vote.height.0 + u64::from(signed.vote.round.0)) % 4 {
                0 => Time::UNIX_EPOCH,
                1 => Time::from_unix_nanos(i64::MAX),
                2 => signed.vote.timestamp.saturating_sub(YEAR),
                _ => signed.vote.timestamp.saturating_add(YEAR),
            };
            let vote = Vote { timestamp, ..signed.vote.clone() }.sign(liar.chain_id, liar.key);
            Said::new(&said.to, PeerMessage::Vote(vote))
        };
        said.into_iter().flat_map(|said| self.twins.instead(liar, random, said)).map(dated).collect()
    }
}
