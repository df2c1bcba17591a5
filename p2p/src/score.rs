//! Penalties and bans.
//!
//! An offence adds its weight to the peer's penalty. The penalty halves every [`HALF_LIFE`]. At [`BAN_AT`] the peer
//! is disconnected and banned for a time, and its penalty starts anew. Persistent peers are banned too, but for a
//! short time that does not grow: a validator whose operator mends it must come back soon.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::NodeId;
use crate::limits::PENALTIES_MAX;

/// Penalty at which a peer is banned.
pub const BAN_AT: f64 = 100.0;
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
    /// An answer that did not come or is of no use.
    pub const USELESS: Offence = Offence::new(2, "gave no useful answer");

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
    fn penalty(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.penalty * (-age / HALF_LIFE.as_secs_f64()).exp2()
    }

    fn is_banned(&self, now: Instant) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }
}

/// Penalties of peers, at most [`PENALTIES_MAX`]: beyond, the least penalised peer that is not banned is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    records: BTreeMap<NodeId, Record>,
}

impl Scores {
    /// Adds an offence. `Some(end)` when it starts a ban; `ban_time` is the length of a first one, `grows` says
    /// whether later ones are longer.
    pub(crate) fn penalize(
        &mut self,
        now: Instant,
        id: NodeId,
        weight: u32,
        ban_time: Duration,
        grows: bool,
    ) -> Option<Instant> {
        self.make_room(now, &id);
        let record = self.records.entry(id).or_insert(Record { penalty: 0.0, at: now, bans: 0, banned_until: None });
        record.penalty = record.penalty(now) + f64::from(weight);
        record.at = now;
        if record.penalty < BAN_AT || record.is_banned(now) {
            return None;
        }
        let doublings = if grows { record.bans.min(16) } else { 0 };
        let until = now + ban_time.saturating_mul(1 << doublings).min(BAN_TIME_MAX);
        record.penalty = 0.0;
        record.bans = record.bans.saturating_add(1);
        record.banned_until = Some(until);
        Some(until)
    }

    /// The penalty now: 0 is good, [`BAN_AT`] is a ban.
    pub(crate) fn penalty(&self, now: Instant, id: &NodeId) -> f64 {
        self.records.get(id).map_or(0.0, |record| record.penalty(now))
    }

    /// The end of the ban, when there is one.
    pub(crate) fn banned_until(&self, now: Instant, id: &NodeId) -> Option<Instant> {
        self.records.get(id).and_then(|record| record.banned_until).filter(|until| now < *until)
    }

    /// How many peers are banned.
    pub(crate) fn banned_count(&self, now: Instant) -> usize {
        self.records.values().filter(|record| record.is_banned(now)).count()
    }

    fn make_room(&mut self, now: Instant, id: &NodeId) {
        if self.records.len() < PENALTIES_MAX || self.records.contains_key(id) {
            return;
        }
        let rank = |record: &Record| (record.is_banned(now), record.penalty(now));
        let least = self.records.iter().min_by(|a, b| {
            let ((banned_a, penalty_a), (banned_b, penalty_b)) = (rank(a.1), rank(b.1));
            banned_a.cmp(&banned_b).then(penalty_a.total_cmp(&penalty_b))
        });
        if let Some(id) = least.map(|(id, _)| *id) {
            self.records.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 20]);
    const BAN: Duration = Duration::from_secs(10);

    #[test]
    fn penalties_add_up_and_fade() {
        let (mut scores, now) = (Scores::default(), Instant::now());
        assert_eq!(scores.penalize(now, A, 60, BAN, true), None);
        let later = now + HALF_LIFE;
        assert!((scores.penalty(later, &A) - 30.0).abs() < 1e-6);
        assert_eq!(scores.penalize(later, A, 60, BAN, true), None, "30 + 60 is below the bound");
        assert_eq!(scores.penalize(later, A, 10, BAN, true), Some(later + BAN));
        assert_eq!(scores.banned_count(later), 1);
    }

    #[test]
    fn a_ban_ends_and_the_next_is_longer_unless_persistent() {
        let (mut scores, now) = (Scores::default(), Instant::now());
        assert_eq!(scores.penalize(now, A, 100, BAN, true), Some(now + BAN));
        assert_eq!(scores.banned_until(now, &A), Some(now + BAN));
        assert_eq!(scores.penalize(now, A, 100, BAN, true), None, "banned already");
        let later = now + BAN;
        assert_eq!(scores.banned_until(later, &A), None);
        assert_eq!(scores.penalize(later, A, 100, BAN, true), Some(later + 2 * BAN));
        let much_later = later + 2 * BAN;
        assert_eq!(scores.penalize(much_later, A, 100, BAN, false), Some(much_later + BAN));
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
}
