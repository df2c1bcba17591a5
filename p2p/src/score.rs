//! Penalties and bans.
//!
//! An offence adds its weight to the peer's penalty. The penalty halves every [`HALF_LIFE`]. At [`BAN_AT`] the peer
//! is disconnected and banned for a time, and its penalty starts anew. Persistent peers are banned too, but for a
//! short time that does not grow: a validator whose operator mends it must come back soon.
//!
//! Keys are free, so penalties are also kept for the range of addresses that the peer is in: it is banned at
//! [`RANGE_BAN_AT`], with all peers in it but the configured ones. A penalty outlives the connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::NodeId;
use crate::limits::PENALTIES_MAX;
use crate::range::Range;

/// Penalty at which a peer is banned.
pub const BAN_AT: f64 = 100.0;
/// Penalty at which a range of addresses is banned: two bans of single peers.
pub const RANGE_BAN_AT: f64 = 200.0;
/// Time in which a penalty halves.
pub const HALF_LIFE: Duration = Duration::from_secs(300);
const BAN_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Something a peer did wrong: how much it weighs (100 is a ban) and what to tell people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Weight; [`BAN_AT`] bans at once.
    pub weight: u32,
    /// What the peer did, as the end of a sentence: "sent a frame larger than allowed".
    pub reason: &'static str,
}

impl Offence {
    /// Bytes that are not the protocol.
    pub const GARBAGE: Offence = Offence::new(100, "sent bytes that are not the protocol");
    /// A frame above its channel's bound.
    pub const OVERSIZED: Offence = Offence::new(100, "sent a frame larger than allowed");
    /// A message that decodes but breaks a rule that every honest node keeps.
    pub const INVALID: Offence = Offence::new(25, "sent an invalid message");
    /// A signature that does not verify.
    pub const BAD_SIGNATURE: Offence = Offence::new(50, "sent a bad signature");
    /// A transaction batch that no honest node forwards.
    pub const BAD_GOSSIP: Offence = Offence::new(10, "forwarded an invalid batch");
    /// More than a peer should ask or tell in a time.
    pub const FLOOD: Offence = Offence::new(10, "sent more than allowed in a time");
    /// Blocks that the peer said it has, and did not send when it was asked. An honest peer whose link is bad is asked ever less
    /// often, so that it stays below a ban.
    pub const UNSERVED: Offence = Offence::new(10, "did not send the blocks that it said it has");
    /// An answer that did not come or is of no use.
    pub const USELESS: Offence = Offence::new(2, "gave no useful answer");

    /// An answer that it asked for and did not read in time.
    pub const UNREAD: Offence = Offence::new(2, "did not read an answer that it asked for");

    /// An offence of a weight.
    pub const fn new(weight: u32, reason: &'static str) -> Offence {
        Offence { weight, reason }
    }
}

#[derive(Clone, Copy, Debug)]
struct Record {
    penalty: f64,
    at: Instant,
    bans: u32,
    banned_until: Option<Instant>,
}

impl Record {
    fn new(now: Instant) -> Record {
        Record { penalty: 0.0, at: now, bans: 0, banned_until: None }
    }

    fn penalty(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.penalty * (-age / HALF_LIFE.as_secs_f64()).exp2()
    }

    fn is_banned(&self, now: Instant) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }

    /// Adds a weight. The end of the ban that it starts, if it does.
    fn add(&mut self, now: Instant, weight: u32, ban_at: f64, ban_time: Duration, grows: bool) -> Option<Instant> {
        self.penalty = self.penalty(now) + f64::from(weight);
        self.at = now;
        if self.penalty < ban_at || self.is_banned(now) {
            return None;
        }
        let doublings = if grows { self.bans.min(16) } else { 0 };
        let until = now + ban_time.saturating_mul(1 << doublings).min(BAN_TIME_MAX);
        self.penalty = 0.0;
        self.bans = self.bans.saturating_add(1);
        self.banned_until = Some(until);
        Some(until)
    }
}

/// The bans that an offence started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bans {
    /// The peer, until then.
    pub(crate) peer: Option<Instant>,
    /// The range that it is in.
    pub(crate) range: Option<Range>,
}

/// Penalties of peers and of ranges, at most [`PENALTIES_MAX`] of each: beyond, the least penalised that is not banned is
/// forgotten.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    records: BTreeMap<NodeId, Record>,
    ranges: BTreeMap<Range, Record>,
    /// Where the peers are, or were last; at most [`PENALTIES_MAX`].
    places: BTreeMap<NodeId, Range>,
}

impl Scores {
    /// Notes where a peer is. `None`: its offences count for no range.
    pub(crate) fn note(&mut self, id: NodeId, range: Option<Range>) {
        let Some(range) = range else {
            self.places.remove(&id);
            return;
        };
        if self.places.len() >= PENALTIES_MAX && !self.places.contains_key(&id) {
            // One without a record, if there is one: nobody asks for it.
            let idle = self.places.keys().find(|id| !self.records.contains_key(id)).copied();
            let idle = idle.or_else(|| self.places.keys().next().copied());
            idle.map(|id| self.places.remove(&id));
        }
        self.places.insert(id, range);
    }

    /// Adds an offence. `ban_time` is the length of a first ban, `grows` says whether later ones are longer.
    pub(crate) fn penalize(&mut self, now: Instant, id: NodeId, weight: u32, ban_time: Duration, grows: bool) -> Bans {
        let record = record_of(&mut self.records, now, id);
        let peer = record.add(now, weight, BAN_AT, ban_time, grows);
        let range = self.places.get(&id).copied().filter(|range| {
            record_of(&mut self.ranges, now, *range).add(now, weight, RANGE_BAN_AT, ban_time, grows).is_some()
        });
        Bans { peer, range }
    }

    /// The penalty now: 0 is good, [`BAN_AT`] is a ban.
    pub(crate) fn penalty(&self, now: Instant, id: &NodeId) -> f64 {
        self.records.get(id).map_or(0.0, |record| record.penalty(now))
    }

    /// The end of the ban, when there is one.
    pub(crate) fn banned_until(&self, now: Instant, id: &NodeId) -> Option<Instant> {
        self.records.get(id).and_then(|record| record.banned_until).filter(|until| now < *until)
    }

    /// Whether a range is banned.
    pub(crate) fn is_range_banned(&self, now: Instant, range: &Range) -> bool {
        self.ranges.get(range).is_some_and(|record| record.is_banned(now))
    }

    /// How many peers are banned, each by itself.
    pub(crate) fn banned_count(&self, now: Instant) -> usize {
        self.records.values().filter(|record| record.is_banned(now)).count()
    }

    /// How many ranges are banned.
    pub(crate) fn banned_range_count(&self, now: Instant) -> usize {
        self.ranges.values().filter(|record| record.is_banned(now)).count()
    }
}

fn record_of<K: Ord + Copy>(records: &mut BTreeMap<K, Record>, now: Instant, key: K) -> &mut Record {
    if records.len() >= PENALTIES_MAX && !records.contains_key(&key) {
        let rank = |record: &Record| (record.is_banned(now), record.penalty(now));
        let least = records.iter().min_by(|a, b| {
            let ((banned_a, penalty_a), (banned_b, penalty_b)) = (rank(a.1), rank(b.1));
            banned_a.cmp(&banned_b).then(penalty_a.total_cmp(&penalty_b))
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
        assert!((scores.penalty(later, &A) - 30.0).abs() < 1e-6);
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
    fn fresh_keys_of_one_range_are_one_offender() {
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
        // A configured peer counts for no range.
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
