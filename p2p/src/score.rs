//! Penalties and bans of peers and of ranges of addresses.
//!
//! Each offence costs a [`Penalty`]. The sum of a peer's penalties halves every [`HALF_LIFE`]. At [`BAN_AT`] the peer is
//! disconnected and banned for a time, and the sum is reset. Persistent peers are banned for a short, constant
//! time, because a validator must come back soon after its operator has repaired it.
//!
//! Keys cost nothing, so penalties are also added up for the range of the peer's address. At [`RANGE_BAN_AT`] the range
//! is banned, with all peers in it except the configured ones. The sums outlive the connection.
//!
//! What a banned peer sent before it noticed its ban adds nothing to either sum: otherwise one key with many messages on their
//! way would ban its whole range.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::NodeId;
use crate::limits::PENALTIES_MAX;
use crate::range::Range;

/// Sum of penalties at which a peer is banned.
pub const BAN_AT: f64 = 100.0;
/// Sum of penalties at which a range of addresses is banned: twice [`BAN_AT`].
pub const RANGE_BAN_AT: f64 = 200.0;
/// Time in which a sum of penalties halves.
pub const HALF_LIFE: Duration = Duration::from_secs(300);
const BAN_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Number of kinds of offences.
pub const OFFENCES: usize = 8;

/// The penalty for an offence of a peer: its weight (100 causes a ban), and the offence for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// Weight that is added to the sum; [`BAN_AT`] causes an immediate ban.
    pub weight: u32,
    /// Name of the offence in labels of metrics.
    pub name: &'static str,
    /// Description of the offence, as the end of a sentence: "sent a frame larger than allowed".
    pub reason: &'static str,
}

impl Penalty {
    /// Bytes that do not follow the protocol.
    pub const GARBAGE: Penalty = Penalty::new(100, "garbage", "sent bytes that do not follow the protocol");
    /// A frame above the bound of its channel.
    pub const OVERSIZED: Penalty = Penalty::new(100, "oversized", "sent a frame larger than allowed");
    /// A message that decodes but violates a rule that every honest node follows.
    pub const INVALID: Penalty = Penalty::new(25, "invalid", "sent an invalid message");
    /// A signature that does not verify.
    pub const BAD_SIGNATURE: Penalty = Penalty::new(50, "bad_signature", "sent a bad signature");
    /// A transaction batch that no honest node forwards.
    pub const BAD_GOSSIP: Penalty = Penalty::new(10, "bad_gossip", "forwarded an invalid batch");
    /// More messages than allowed in a period of time.
    pub const FLOOD: Penalty = Penalty::new(10, "flood", "sent more messages than allowed");
    /// The peer did not send blocks that it claims to have. An honest peer with a bad link is asked less and less
    /// often, so its sum stays below a ban.
    pub const UNSERVED: Penalty = Penalty::new(10, "unserved", "did not send the blocks that it said it has");
    /// A response that the peer asked for and did not read in time.
    pub const UNREAD: Penalty = Penalty::new(2, "unread", "did not read an answer that it asked for");

    /// All penalties, in the order of [`Stats::offences`](crate::Stats::offences).
    pub const ALL: [Penalty; OFFENCES] = [
        Penalty::GARBAGE,
        Penalty::OVERSIZED,
        Penalty::INVALID,
        Penalty::BAD_SIGNATURE,
        Penalty::BAD_GOSSIP,
        Penalty::FLOOD,
        Penalty::UNSERVED,
        Penalty::UNREAD,
    ];

    const fn new(weight: u32, name: &'static str, reason: &'static str) -> Penalty {
        Penalty { weight, name, reason }
    }

    /// Returns the place in [`Penalty::ALL`].
    pub(crate) fn index(&self) -> usize {
        Penalty::ALL.iter().position(|known| known == self).expect("only this file creates penalties")
    }
}

#[derive(Clone, Copy, Debug)]
struct Record {
    penalties: f64,
    at: Instant,
    bans: u32,
    banned_until: Option<Instant>,
}

impl Record {
    fn new(now: Instant) -> Record {
        Record { penalties: 0.0, at: now, bans: 0, banned_until: None }
    }

    fn penalties(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.penalties * (-age / HALF_LIFE.as_secs_f64()).exp2()
    }

    fn is_banned(&self, now: Instant) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }

    /// Adds the weight of a penalty. Returns the end of the ban if this starts one.
    fn add(&mut self, now: Instant, weight: u32, ban_at: f64, ban_time: Duration, grows: bool) -> Option<Instant> {
        self.penalties = self.penalties(now) + f64::from(weight);
        self.at = now;
        if self.penalties < ban_at || self.is_banned(now) {
            return None;
        }
        let doublings = if grows { self.bans.min(16) } else { 0 };
        let until = now + ban_time.saturating_mul(1 << doublings).min(BAN_TIME_MAX);
        self.penalties = 0.0;
        self.bans = self.bans.saturating_add(1);
        self.banned_until = Some(until);
        Some(until)
    }
}

/// The bans that one penalty started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bans {
    /// End of the ban of the peer.
    pub(crate) peer: Option<Instant>,
    /// Range of addresses that the penalty banned.
    pub(crate) range: Option<Range>,
}

/// Penalties of peers and of ranges, at most [`PENALTIES_MAX`] of each; beyond, the lowest sum without a ban is dropped.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    records: BTreeMap<NodeId, Record>,
    ranges: BTreeMap<Range, Record>,
    /// Range of the last known address of each peer; at most [`PENALTIES_MAX`] entries.
    places: BTreeMap<NodeId, Range>,
}

impl Scores {
    /// Records the range of a peer's address. `None`: its penalties count for no range.
    pub(crate) fn note(&mut self, id: NodeId, range: Option<Range>) {
        let Some(range) = range else {
            self.places.remove(&id);
            return;
        };
        if self.places.len() >= PENALTIES_MAX && !self.places.contains_key(&id) {
            // Entries of peers without a penalty are dropped first, because they are not needed.
            let idle = self.places.keys().find(|id| !self.records.contains_key(id)).copied();
            let idle = idle.or_else(|| self.places.keys().next().copied());
            idle.map(|id| self.places.remove(&id));
        }
        self.places.insert(id, range);
    }

    /// Adds a penalty, unless the peer is banned already. `ban_time` is the length of the first ban; if `grows` is true, it doubles with each further
    /// ban.
    pub(crate) fn penalize(&mut self, now: Instant, id: NodeId, weight: u32, ban_time: Duration, grows: bool) -> Bans {
        let record = record_of(&mut self.records, now, id);
        if record.is_banned(now) {
            return Bans::default();
        }
        let peer = record.add(now, weight, BAN_AT, ban_time, grows);
        let range = self.places.get(&id).copied().filter(|range| {
            record_of(&mut self.ranges, now, *range).add(now, weight, RANGE_BAN_AT, ban_time, grows).is_some()
        });
        Bans { peer, range }
    }

    /// Returns the current sum of penalties: 0 is good, a peer is banned at [`BAN_AT`].
    pub(crate) fn penalties(&self, now: Instant, id: &NodeId) -> f64 {
        self.records.get(id).map_or(0.0, |record| record.penalties(now))
    }

    /// Returns the end of the peer's current ban, if it is banned.
    pub(crate) fn banned_until(&self, now: Instant, id: &NodeId) -> Option<Instant> {
        self.records.get(id).and_then(|record| record.banned_until).filter(|until| now < *until)
    }

    /// Returns true if the range is banned.
    pub(crate) fn is_range_banned(&self, now: Instant, range: &Range) -> bool {
        self.ranges.get(range).is_some_and(|record| record.is_banned(now))
    }

    /// Returns the number of peers that are banned by their id.
    pub(crate) fn banned_count(&self, now: Instant) -> usize {
        self.records.values().filter(|record| record.is_banned(now)).count()
    }

    /// Returns the number of banned ranges.
    pub(crate) fn banned_range_count(&self, now: Instant) -> usize {
        self.ranges.values().filter(|record| record.is_banned(now)).count()
    }
}

fn record_of<K: Ord + Copy>(records: &mut BTreeMap<K, Record>, now: Instant, key: K) -> &mut Record {
    if records.len() >= PENALTIES_MAX && !records.contains_key(&key) {
        let rank = |record: &Record| (record.is_banned(now), record.penalties(now));
        let least = records.iter().min_by(|a, b| {
            let ((banned_a, sum_a), (banned_b, sum_b)) = (rank(a.1), rank(b.1));
            banned_a.cmp(&banned_b).then(sum_a.total_cmp(&sum_b))
        });
        if let Some(key) = least.map(|(key, _)| *key) {
            records.remove(&key);
        }
    }
    records.entry(key).or_insert(Record::new(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 20]);
    const BAN: Duration = Duration::from_secs(10);

    #[test]
    fn penalties_add_up_and_fade() {
        let (mut scores, now) = (Scores::default(), Instant::now());
        assert_eq!(scores.penalize(now, A, 60, BAN, true).peer, None);
        let later = now + HALF_LIFE;
        assert!((scores.penalties(later, &A) - 30.0).abs() < 1e-6);
        assert_eq!(scores.penalize(later, A, 60, BAN, true).peer, None, "30 + 60 is below the bound");
        assert_eq!(scores.penalize(later, A, 10, BAN, true).peer, Some(later + BAN));
        assert_eq!(scores.banned_count(later), 1);
    }

    #[test]
    fn a_ban_ends_and_the_next_is_longer_unless_persistent() {
        let (mut scores, now) = (Scores::default(), Instant::now());
        assert_eq!(scores.penalize(now, A, 100, BAN, true).peer, Some(now + BAN));
        assert_eq!(scores.banned_until(now, &A), Some(now + BAN));
        assert_eq!(scores.penalize(now, A, 100, BAN, true).peer, None, "banned already");
        let later = now + BAN;
        assert_eq!(scores.banned_until(later, &A), None);
        assert_eq!(scores.penalize(later, A, 100, BAN, true).peer, Some(later + 2 * BAN));
        let much_later = later + 2 * BAN;
        assert_eq!(scores.penalize(much_later, A, 100, BAN, false).peer, Some(much_later + BAN));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_bans() {
        let (mut scores, now) = (Scores::default(), Instant::now());
        scores.penalize(now, A, 100, BAN, true);
        for i in 0..2 * PENALTIES_MAX as u32 {
            let mut id = [9; 20];
            id[..4].copy_from_slice(&i.to_be_bytes());
            scores.penalize(now, NodeId(id), 1, BAN, true);
        }
        assert_eq!(scores.records.len(), PENALTIES_MAX);
        assert!(scores.banned_until(now, &A).is_some());
    }

    #[test]
    fn one_key_bans_no_range_whatever_it_has_sent_before_it_is_disconnected() {
        let (mut scores, now) = (Scores::default(), Instant::now());
        let range = Range::of("8.8.8.8".parse().unwrap());
        scores.note(A, Some(range));
        let bans: Vec<Bans> = (0..20).map(|_| scores.penalize(now, A, 50, BAN, true)).collect();
        assert_eq!(bans.iter().filter(|bans| bans.peer.is_some()).count(), 1);
        assert!(!scores.is_range_banned(now, &range));
        assert_eq!(scores.penalties(now + BAN, &A), 0.0, "the peer begins anew after its ban");
        let other = NodeId([2; 20]);
        scores.note(other, Some(range));
        scores.penalize(now, other, 100, BAN, true);
        assert!(scores.is_range_banned(now, &range), "two keys are several");
    }

    #[test]
    fn new_keys_in_one_range_count_as_one_offender() {
        let (mut scores, now) = (Scores::default(), Instant::now());
        let range = Range::of("8.8.8.8".parse().unwrap());
        for n in 1..=10u8 {
            let id = NodeId([n; 20]);
            scores.note(id, Some(range));
            let bans = scores.penalize(now, id, 20, BAN, true);
            assert_eq!((bans.peer, bans.range), (None, (n == 10).then_some(range)), "{n} keys");
        }
        assert!(scores.is_range_banned(now, &range) && !scores.is_range_banned(now + BAN, &range));
        assert_eq!((scores.banned_count(now), scores.banned_range_count(now)), (0, 1));
        // Penalties of a configured peer count for no range.
        scores.note(A, None);
        assert_eq!(scores.penalize(now, A, 100, BAN, true).range, None);
        for n in 0..2 * PENALTIES_MAX as u32 {
            let mut id = [9; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            scores.note(NodeId(id), Some(range));
        }
        assert_eq!(scores.places.len(), PENALTIES_MAX);
    }
}
