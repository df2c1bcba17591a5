//! The log lines of the chain's progress: one a height, fewer when there are many; who is missing when a round fails.

use std::time::{Duration, Instant};

use host::{Committed, Status};
use types::{Address, Height, Round, ValidatorSet};

/// Lines a second about committed heights; further heights are told together.
const LINES_PER_SECOND: u32 = 10;

/// Validators named in one line.
const NAMED_MAX: usize = 8;

/// What has been told.
#[derive(Debug)]
pub struct Progress {
    us: Option<Address>,
    last_block: Option<Instant>,
    second: Instant,
    lines: u32,
    untold: u64,
    untold_txs: u64,
    not_kept: NotKept,
}

/// Since when no peer keeps the block that we lack, and when that is told next.
#[derive(Debug, Default)]
struct NotKept {
    next: Option<Instant>,
    told: u32,
}

/// After how long it is told first; each time after twice as long, up to an hour.
const NOT_KEPT_TOLD_AFTER: Duration = Duration::from_secs(5);

impl NotKept {
    fn is_due(&mut self, is_so: bool, now: Instant) -> bool {
        if !is_so {
            *self = Self::default();
            return false;
        }
        let next = *self.next.get_or_insert(now + NOT_KEPT_TOLD_AFTER);
        if now < next {
            return false;
        }
        self.told += 1;
        let pause = NOT_KEPT_TOLD_AFTER.saturating_mul(1 << self.told.min(10)).min(Duration::from_secs(3600));
        self.next = Some(now + pause);
        true
    }
}

impl Progress {
    /// Nothing yet. `us` is the address that this node signs with.
    pub fn new(us: Option<Address>) -> Self {
        Self {
            us,
            last_block: None,
            second: Instant::now(),
            lines: 0,
            untold: 0,
            untold_txs: 0,
            not_kept: NotKept::default(),
        }
    }

    /// Tells of a committed height; returns the time since the one before.
    pub fn on_committed(&mut self, committed: &Committed) -> Option<Duration> {
        let now = Instant::now();
        let interval = self.last_block.replace(now).map(|last| now - last);
        let height = committed.block.header.height;
        if now - self.second >= Duration::from_secs(1) {
            if self.untold > 0 {
                tracing::info!(target: "consensus", heights = self.untold, txs = self.untold_txs, to = height.0 - 1, "committed more");
            }
            (self.second, self.lines, self.untold, self.untold_txs) = (now, 0, 0, 0);
        }
        self.lines += 1;
        if self.lines > LINES_PER_SECOND {
            self.untold += 1;
            self.untold_txs += committed.block.txs.len() as u64;
            return interval;
        }
        let is_ours = self.us == Some(committed.block.header.proposer);
        tracing::info!(
            target: "consensus", height = height.0, round = committed.commit.round.0, txs = committed.block.txs.len(),
            bytes = committed.block_bytes, hash = %short(&committed.block_id.hash.to_string()),
            app_hash = %short(&committed.results.app_hash.to_string()), ours = is_ours, synced = committed.synced, "committed"
        );
        interval
    }

    /// Tells of rounds that failed, of entering and leaving block sync, and of waiting for the time of the last block.
    pub fn on_status(&mut self, before: &Status, after: &Status) {
        if before.catching_up != after.catching_up {
            let best = after.peer_heights.iter().map(|(_, height)| *height).max().unwrap_or(Height::GENESIS);
            if after.catching_up {
                tracing::info!(target: "consensus", height = after.height.0, peers_at = best.0, "fetching blocks from peers");
            } else {
                tracing::info!(target: "consensus", height = after.height.0, "caught up");
            }
        }
        if let (None, Some(until)) = (before.waits_until, after.waits_until) {
            tracing::warn!(
                target: "consensus", height = after.height.0, until = %until,
                "the next height does not start before the time of the last block: this machine's clock is behind it, or the genesis \
                 time has not come yet; check the clock"
            );
        } else if let (Some(until), None) = (before.waits_until, after.waits_until) {
            tracing::info!(target: "consensus", height = after.height.0, until = %until, "waited for the time of the last block");
        }
        if self.not_kept.is_due(after.not_kept.is_some(), Instant::now()) {
            let (height, earliest) = (after.tip.next(), after.not_kept.unwrap_or_default());
            tracing::warn!(
                target: "consensus", height = height.0, earliest_of_peers = earliest.0,
                "no connected peer keeps the block that this node needs next, so it cannot catch up from them; stop it and `cairn \
                 restore` a copy of a running node's store (`cairn backup`), or connect it to an archive node (storage.keep_all)"
            );
        }
        if before.height == after.height && after.round > before.round {
            let (missing, power) = missing(after, before.round);
            tracing::warn!(
                target: "consensus", height = after.height.0, round = after.round.0,
                proposer = %short(&before.validators.proposer_of_round(before.round).address().to_string()),
                missing = %missing, missing_power = power, total_power = after.validators.total_power().0,
                "the round before failed"
            );
        }
    }
}

/// Who sent no vote of a round: their addresses, shortened, and their power.
fn missing(status: &Status, round: Round) -> (String, u64) {
    let held = status.votes.iter().find(|votes| votes.round == round);
    let has_voted = |index: u32| {
        held.is_some_and(|held| {
            held.prevotes.iter().chain(&held.precommits).any(|vote| vote.vote.validator_index == index)
        })
    };
    absent(&status.validators, has_voted)
}

/// The validators for whom `is_present` does not hold.
fn absent(validators: &ValidatorSet, is_present: impl Fn(u32) -> bool) -> (String, u64) {
    let (mut names, mut power, mut count) = (Vec::new(), 0, 0);
    for (index, validator) in (0u32..).zip(validators.iter()) {
        if !is_present(index) {
            power += validator.power.0;
            count += 1;
            if names.len() < NAMED_MAX {
                names.push(short(&validator.address().to_string()));
            }
        }
    }
    if count > names.len() {
        names.push(format!("and {} more", count - names.len()));
    }
    (if names.is_empty() { "nobody".to_owned() } else { names.join(" ") }, power)
}

/// The first digits, as people compare them.
fn short(hex: &str) -> String {
    hex.chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use types::{Power, SecretKey};

    use super::*;

    #[test]
    fn that_nobody_keeps_a_block_is_told_after_a_moment_and_then_ever_more_seldom() {
        let (mut not_kept, start) = (NotKept::default(), Instant::now());
        let told: Vec<u64> =
            (0..100).filter(|second| not_kept.is_due(true, start + Duration::from_secs(*second))).collect();
        assert_eq!(told, [5, 15, 35, 75]);
        assert!(!not_kept.is_due(false, start) && !not_kept.is_due(true, start + Duration::from_secs(4)));
    }

    #[test]
    fn the_missing_are_named_with_their_power() {
        let keys = (1u8..=12).map(|i| SecretKey::from_bytes(&[i; 32]).unwrap().public_key());
        let set = ValidatorSet::new(keys.map(|key| (key, Power(5))).collect()).unwrap();
        assert_eq!(absent(&set, |_| true), ("nobody".to_owned(), 0));
        let (names, power) = absent(&set, |index| index != 3);
        assert_eq!((names, power), (short(&set.get(3).unwrap().address().to_string()), 5));
        let (names, power) = absent(&set, |_| false);
        assert!(names.ends_with("and 4 more") && power == 60, "{names}");
    }
}
