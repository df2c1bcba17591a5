//! Logs the progress of the chain: one line per height, fewer when heights are frequent, what becomes of proposals to
//! the validators, and the missing validators when a round fails or no block is decided.

use std::time::{Duration, Instant};

use replica::{Committed, Silence, Status};
use types::{Address, BlockResults, Event, Height, Round, Step};

use crate::heard::{self, Heard};

/// Maximum lines per second about committed heights; further heights are summarized in one line.
const LINES_PER_SECOND: u32 = 10;

/// Maximum lines per second about what any account can do: make a proposal and withdraw it.
const PROPOSER_LINES_PER_SECOND: u32 = 4;

/// A chain stalls when no block is decided for this many propose timeout bounds.
const STALL_BOUNDS: u32 = 3;

/// Maximum interval between two lines about one stall.
const STALL_PERIOD_MAX: Duration = Duration::from_secs(300);

/// The state behind the log lines about progress.
#[derive(Debug)]
pub struct Progress {
    propose_bound: Duration,
    /// Normal time without a block; `None`: unlimited while no block is needed.
    empty_block_interval: Option<Duration>,
    /// When the wait for the next block began.
    since: Instant,
    stall: Stall,
    last_block: Option<Instant>,
    second: Instant,
    lines: u32,
    untold: u64,
    untold_txs: u64,
    /// Lines of this second about what proposers did.
    proposer_lines: u32,
    fetching: Fetching,
    not_kept: NotKept,
}

/// Tracks whether fetching of blocks was reported, and since when no blocks are missing.
#[derive(Debug, Default)]
struct Fetching {
    is_told: bool,
    caught_up: Option<Instant>,
}

/// A change in fetching that has to be reported.
#[derive(Debug, PartialEq, Eq)]
enum Fetched {
    Begun,
    CaughtUp,
}

/// Time without missing heights before "caught up" is reported. Between two responses no height may be known to be
/// missing, until the next peer is asked for its heights.
const CAUGHT_UP_LOGGED_AFTER: Duration = Duration::from_secs(2);

impl Fetching {
    /// Updates the state. `is_behind`: heights that are proven to be decided are missing; `is_kept`: a peer keeps the
    /// next of them.
    fn look(&mut self, is_behind: bool, is_kept: bool, now: Instant) -> Option<Fetched> {
        if is_behind {
            self.caught_up = None;
            return (is_kept && !std::mem::replace(&mut self.is_told, true)).then_some(Fetched::Begun);
        }
        let since = *self.caught_up.get_or_insert(now);
        let is_over = now.saturating_duration_since(since) >= CAUGHT_UP_LOGGED_AFTER;
        (is_over && std::mem::take(&mut self.is_told)).then_some(Fetched::CaughtUp)
    }
}

/// Schedules the warning that no peer keeps the block that this node needs.
#[derive(Debug, Default)]
struct NotKept {
    next: Option<Instant>,
    logged: u32,
}

/// Delay of the first warning; each further delay is twice as long, up to one hour.
const NOT_KEPT_LOGGED_AFTER: Duration = Duration::from_secs(5);

impl NotKept {
    fn is_due(&mut self, is_so: bool, now: Instant) -> bool {
        if !is_so {
            *self = Self::default();
            return false;
        }
        let next = *self.next.get_or_insert(now + NOT_KEPT_LOGGED_AFTER);
        if now < next {
            return false;
        }
        self.logged += 1;
        let pause = NOT_KEPT_LOGGED_AFTER.saturating_mul(1 << self.logged.min(10)).min(Duration::from_secs(3600));
        self.next = Some(now + pause);
        true
    }
}

impl Progress {
    /// Creates the state at the start. `propose_bound` is the propose timeout bound of the next height's parameters.
    pub fn new(propose_bound: Duration, empty_block_interval: Option<Duration>) -> Self {
        let (since, stall) = (Instant::now(), Stall::default());
        let (last_block, second, lines, untold, untold_txs) = (None, since, 0, 0, 0);
        let (fetching, not_kept) = (Fetching::default(), NotKept::default());
        Self {
            propose_bound,
            empty_block_interval,
            since,
            stall,
            last_block,
            second,
            lines,
            untold,
            untold_txs,
            proposer_lines: 0,
            fetching,
            not_kept,
        }
    }

    /// Logs a committed height; returns the time since the one before. `us` is the address with which this node signs.
    pub fn on_committed(&mut self, committed: &Committed, us: Option<Address>) -> Option<Duration> {
        let now = Instant::now();
        let interval = self.last_block.replace(now).map(|last| now - last);
        let height = committed.block.header.height;
        if self.stall.end() {
            tracing::info!(target: "consensus", height = height.0, after_s = (now - self.since).as_secs(), "blocks are decided again");
        }
        self.since = now;
        if let Some(params) = &committed.results.params_update {
            self.propose_bound = params.timeouts.propose;
        }
        if now - self.second >= Duration::from_secs(1) {
            if self.untold > 0 {
                tracing::info!(
                    target: "consensus", heights = self.untold, txs = self.untold_txs, to = height.0 - 1,
                    "committed further heights"
                );
            }
            (self.second, self.lines, self.untold, self.untold_txs) = (now, 0, 0, 0);
            self.proposer_lines = 0;
        }
        self.log_proposals(height, &committed.results);
        self.lines += 1;
        if self.lines > LINES_PER_SECOND {
            self.untold += 1;
            self.untold_txs += committed.block.txs.len() as u64;
            return interval;
        }
        let is_ours = us == Some(committed.block.header.proposer);
        tracing::info!(
            target: "consensus", height = height.0, round = committed.commit.round.0, txs = committed.block.txs.len(),
            bytes = committed.block_bytes, hash = %short(&committed.block_id.hash.to_string()),
            app_hash = %short(&committed.results.app_hash.to_string()), ours = is_ours, synced = committed.synced, "committed"
        );
        interval
    }

    /// Logs what a height changed about proposals to the validators.
    fn log_proposals(&mut self, height: Height, results: &BlockResults) {
        let of_txs = results.txs.iter().flat_map(|tx| &tx.events);
        for event in results.events.iter().chain(of_txs) {
            let Some(what) = what_happened(&event.kind) else { continue };
            if OF_PROPOSERS.contains(&&*event.kind) {
                self.proposer_lines += 1;
                if self.proposer_lines > PROPOSER_LINES_PER_SECOND {
                    continue;
                }
            }
            tracing::info!(
                target: "state", height = height.0, id = attribute(event, "id"), ns = attribute(event, "ns"),
                details = details(event), "{what}"
            );
        }
    }

    /// Logs the reason if this node is a validator that starts without signing.
    pub fn on_start(&self, status: &Status) {
        log_silence(None, status);
    }

    /// Logs changes between two statuses: failed rounds, begin and end of block sync, waiting for the time of the last
    /// block, and the reason why the validator signs nothing.
    pub fn on_status(&mut self, before: &Status, after: &Status) {
        let reason = |status: &Status| status.silence.as_ref().map(Silence::reason);
        if reason(before) != reason(after) {
            log_silence(reason(before), after);
        }
        match self.fetching.look(after.catching_up, after.not_kept.is_none(), Instant::now()) {
            Some(Fetched::Begun) => {
                tracing::info!(target: "consensus", height = after.height.0, decided = after.proven_height.0, "fetching blocks from peers");
            }
            Some(Fetched::CaughtUp) => tracing::info!(target: "consensus", height = after.height.0, "caught up"),
            None => {}
        }
        if let (None, Some(until)) = (before.waits_until, after.waits_until) {
            tracing::warn!(
                target: "consensus", height = after.height.0, until = %until,
                "the next height cannot start yet, because the time of the last block (or the genesis time) is in the future \
                 by this machine's clock; check the clock and NTP"
            );
        } else if let (Some(until), None) = (before.waits_until, after.waits_until) {
            tracing::info!(
                target: "consensus", height = after.height.0, until = %until,
                "the time of the last block has come, and the next height starts"
            );
        }
        if self.not_kept.is_due(after.not_kept.is_some(), Instant::now()) {
            let (height, earliest) = (after.tip.next(), after.not_kept.unwrap_or_default());
            tracing::warn!(
                target: "consensus", height = height.0, earliest_of_peers = earliest.0,
                "no connected peer keeps the next block that this node needs, so it cannot catch up. Either stop it and \
                 restore a copy of a running node's store (`cairn backup` there, `cairn restore` here), or connect it to an \
                 archive node (storage.keep_all = true)"
            );
        }
        if before.height == after.height && after.round > before.round {
            let mut failed = after.clone();
            (failed.round, failed.step) = (before.round, Step::Prevote);
            let heard = Heard::of(&failed);
            let proposer = before.validators.proposer_of_round(before.round).address();
            let is_proposer_heard =
                before.validators.by_address(&proposer).is_some_and(|(index, _)| heard::has_voted(&failed, index));
            tracing::warn!(
                target: "consensus", height = after.height.0, round = after.round.0, proposer = %short(&proposer.to_string()),
                missing = %heard.names, missing_power = heard.missing_power().0, total_power = heard.total.0,
                "the previous round failed: {}", heard.failure(is_proposer_heard)
            );
        }
        self.log_stall(after, Instant::now());
    }

    /// Logs that no block is decided, and which validators are missing.
    fn log_stall(&mut self, status: &Status, now: Instant) {
        if status.catching_up || status.waits_until.is_some() {
            self.since = now;
            return;
        }
        // Votes, or a round above 0, mean that a block is needed, whatever the interval is.
        let idle = match self.empty_block_interval {
            _ if status.round > Round::ZERO || status.step != Step::Propose => Duration::ZERO,
            Some(interval) => interval,
            None => return,
        };
        let Some(since) = self.stall.is_due(self.since, idle + STALL_BOUNDS * self.propose_bound, now) else { return };
        let heard = Heard::of(status);
        tracing::warn!(
            target: "consensus", height = status.height.0, round = status.round.0, step = ?status.step, since_s = since.as_secs(),
            missing = %heard.names, missing_power = heard.missing_power().0, total_power = heard.total.0,
            "no block is decided. {}", heard.advice()
        );
    }
}

/// The events that need no validator.
const OF_PROPOSERS: &[&str] = &["revert.proposed", "revert.cancelled", "proposal.proposed", "proposal.cancelled"];

/// Returns the message of the log about an event of a proposal; `None` for votes, which come one by one, and for other
/// events.
fn what_happened(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "revert.proposed" => "an account proposes a revert, on which the validators may vote",
        "revert.cancelled" => "its proposer withdrew a revert",
        "revert.frozen" => "validators let a namespace take no writes for now",
        "revert.unfrozen" => "a namespace takes writes again",
        "revert.scheduled" => "the validators decided a revert, which waits for its notice",
        "revert.executed" => "a revert returned a namespace to its content at an earlier height",
        "revert.failed" => "a revert was not possible any more, and changed nothing",
        "revert.rejected" => "the validators rejected a revert",
        "revert.expired" => "the voting on a revert ended without a decision",
        "revert.superseded" => "a revert was closed, because another one returned one of its namespaces",
        "proposal.proposed" => "an account made a proposal, on which the validators may vote",
        "proposal.cancelled" => "its proposer withdrew a proposal",
        "proposal.scheduled" => "the validators passed a proposal, which acts in the next block",
        "proposal.executed" => "a proposal was executed",
        "proposal.failed" => "a proposal was not possible any more, and changed nothing",
        "proposal.rejected" => "the validators rejected a proposal",
        "proposal.expired" => "the voting on a proposal ended without a decision",
        "params.changed" => "the validators changed parameters of the chain",
        "upgrade.planned" => "the validators planned an upgrade: from its height on, the chain needs another program",
        "upgrade.cancelled" => "the validators cancelled the planned upgrade",
        "upgrade.applied" => "the chain was upgraded",
        "community.spent" => "the validators paid from the community pool",
        _ => return None,
    })
}

/// Returns the value of an attribute of an event, if it has the attribute.
pub(crate) fn attribute<'e>(event: &'e Event, key: &str) -> Option<&'e str> {
    event.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &*attribute.value)
}

/// Returns the other attributes of an event, if it has some.
fn details(event: &Event) -> Option<String> {
    let others = event.attributes.iter().filter(|attribute| !["id", "ns"].contains(&&*attribute.key));
    let details: Vec<String> = others.map(|attribute| format!("{}={}", attribute.key, attribute.value)).collect();
    (!details.is_empty()).then(|| details.join(" "))
}

/// Schedules the warnings about a stall: after a patience, then after twice the time each, at most [`STALL_PERIOD_MAX`]
/// apart.
#[derive(Debug, Default)]
struct Stall {
    /// Duration of the stall at the last warning.
    logged: Option<Duration>,
}

impl Stall {
    /// Returns the duration of the stall if a warning is due now.
    fn is_due(&mut self, since: Instant, patience: Duration, now: Instant) -> Option<Duration> {
        let lasted = now.saturating_duration_since(since);
        let due = self.logged.map_or(patience, |logged| logged + logged.max(patience).min(STALL_PERIOD_MAX));
        (lasted >= due).then(|| *self.logged.insert(lasted))
    }

    /// Ends the stall; returns true if it was reported.
    fn end(&mut self) -> bool {
        self.logged.take().is_some()
    }
}

/// Returns the first 10 digits, as people compare them.
fn short(hex: &str) -> String {
    hex.chars().take(10).collect()
}

fn log_silence(before: Option<&str>, status: &Status) {
    let height = status.height.0;
    match &status.silence {
        Some(why @ Silence::CaughtUp) => {
            tracing::info!(target: "consensus", height, reason = why.reason(), "the validator signs nothing: {why}");
        }
        Some(why) => {
            tracing::warn!(target: "consensus", height, reason = why.reason(), "the validator signs nothing: {why}");
        }
        None if before.is_some() => tracing::info!(target: "consensus", height, "the validator signs again"),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_proposal_is_logged_and_votes_are_not() {
        let attributes = [("id", "4", true), ("ns", "a/b", true), ("target", "7", false), ("keys", "2", false)];
        let event = Event::new("revert.executed", attributes);
        assert_eq!(attribute(&event, "ns"), Some("a/b"));
        assert_eq!(details(&event).as_deref(), Some("target=7 keys=2"));
        assert_eq!(details(&Event::new("revert.unfrozen", [("id", "4", true)])), None);
        assert!(what_happened("revert.executed").is_some());
        assert!(what_happened("upgrade.planned").is_some());
        for kind in ["revert.vote", "proposal.vote", "kv.write", "transfer"] {
            assert_eq!(what_happened(kind), None);
        }
    }

    #[test]
    fn missing_blocks_are_logged_after_5_s_and_then_less_and_less_often() {
        let (mut not_kept, start) = (NotKept::default(), Instant::now());
        let logged: Vec<u64> =
            (0..100).filter(|second| not_kept.is_due(true, start + Duration::from_secs(*second))).collect();
        assert_eq!(logged, [5, 15, 35, 75]);
        assert!(!not_kept.is_due(false, start) && !not_kept.is_due(true, start + Duration::from_secs(4)));
    }

    #[test]
    fn a_node_whose_missing_blocks_no_peer_keeps_neither_fetches_nor_has_caught_up() {
        let (mut fetching, start) = (Fetching::default(), Instant::now());
        let mut look = |ms, is_behind, is_kept| fetching.look(is_behind, is_kept, start + Duration::from_millis(ms));
        assert_eq!(look(0, false, true), None);
        assert_eq!(look(3000, true, false), None, "no peer keeps the next block");
        assert_eq!(
            (look(3010, true, true), look(3020, true, true)),
            (Some(Fetched::Begun), None),
            "one comes that does"
        );
        // The last block that this peer keeps has arrived; then another peer proves that there are more, which no peer
        // keeps.
        assert_eq!((look(4000, false, true), look(4100, true, false)), (None, None));
        assert_eq!(look(60_000, true, false), None);
        // An archive node was found, and all blocks have arrived.
        assert_eq!((look(70_000, false, true), look(71_999, false, true)), (None, None));
        assert_eq!((look(72_000, false, true), look(90_000, false, true)), (Some(Fetched::CaughtUp), None));
    }

    #[test]
    fn a_stall_is_logged_after_its_timeout_and_then_less_and_less_often() {
        let secs = Duration::from_secs;
        let (mut stall, start) = (Stall::default(), Instant::now());
        let logged: Vec<u64> =
            (0..400).filter(|second| stall.is_due(start, secs(9), start + secs(*second)).is_some()).collect();
        assert_eq!(logged, [9, 18, 36, 72, 144, 288]);
        assert_eq!(stall.is_due(start, secs(9), start + secs(580)), Some(secs(580)));
        assert!(stall.is_due(start, secs(9), start + secs(870)).is_none());
        assert!(stall.is_due(start, secs(9), start + secs(880)).is_some(), "every five minutes at least");
        assert!(stall.end() && !stall.end());
    }
}
