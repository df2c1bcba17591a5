//! Downtime: which members of the set sign nothing, and what becomes of them.
//!
//! The last commit of a block says who signed the height before. A block in which all did reads and writes nothing here. A
//! miss writes a row with what is known about the validator's misses, and a bit in a chunk of 1,024 heights.
//!
//! A member is jailed and loses a fraction of its stake when both are true:
//!
//! - it missed more than half of `staking.downtime_window`, of the last so many heights;
//! - it has signed nothing for `staking.downtime_ms` of block time: heights are no duration.
//!
//! The window starts empty when a validator enters the set, and when it leaves jail: what is known is about one membership,
//! which is named by its first height. What happened before is forgotten with the next miss. A validator in jail, or on its way
//! out of the set, misses nothing.
//!
//! **Not all at once.** Those that were jailed within a window have at most 1/3 of the power: a network that fails is not the
//! fault of each validator. The others stay, and are looked at again with their next miss.
//!
//! **Bounds.** A miss costs the rows of the validator and of its key, its own row, the chunk of the height, and the chunk where
//! the window begins; more only when chunks left the window. A validator has at most
//! `downtime_window / 1024 + 2` chunks. The log of jails has an entry for each validator, at most three for each place in the
//! set, because each took half a window of misses.

use prost::Message;
use types::{Address, Deadline, Event, Height, Power, Reader, pb};

use super::{
    changes::Staked,
    record::{Jail, JailReason, StakedValidator},
    slash::{self, Slash, SlashReason, amount_of},
};
use crate::{
    kv::{At, height_pb},
    mutation::{Mutation, mutated},
    state::key,
    view::View,
};

/// Number of heights in a chunk.
const CHUNK: u64 = 1024;

/// What is known about the heights that a validator missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uptime {
    /// First height of the membership that this is about.
    pub since: Height,
    /// The last height that it missed.
    pub last_missed: Height,
    /// Time of the block after the first of the heights that it missed without a signature between them and the last one.
    pub silent_since: Deadline,
    /// Number of the heights that it missed in the window that ends with the last one.
    pub missed: u64,
    /// Chunks in which it missed a height, ascending, each with the number of these heights.
    chunks: Vec<(u64, u32)>,
}

/// A validator that was jailed for downtime.
struct Jailed {
    validator: Address,
    height: Height,
    power: Power,
}

/// Records the misses of the height before this block, and jails whom they are enough for.
pub(crate) fn on_commit<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    absent: &[Address],
    staked: &mut Staked,
    events: &mut Vec<Event>,
) {
    let Some(missed) = at.height.prev().filter(|_| !absent.is_empty()) else { return };
    for consensus in absent {
        let Some(operator) = view.key_owner(consensus) else { continue };
        let Some(validator) = view.validator(&operator) else { continue };
        let is_member = validator.power > Power::ZERO && validator.member_since <= missed;
        if !is_member || validator.jail.is_some() {
            continue;
        }
        let uptime = record(view, at, &operator, validator.member_since, missed);
        if is_too_much(at, &uptime) && has_turn(view, at, &operator, validator.power) {
            jail(view, at, operator, validator, events);
            staked.changed.insert(operator);
        }
    }
}

/// Records that a validator missed a height.
fn record<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    operator: &Address,
    since: Height,
    height: Height,
) -> Uptime {
    let known = view.uptime(operator);
    let mut uptime = match known {
        Some(known) if known.since == since || mutated(Mutation::KeepWindow) => known,
        _ => {
            forget(view, operator);
            let silent_since = Deadline::at(at.time);
            Uptime { since, last_missed: height, silent_since, missed: 0, chunks: Vec::new() }
        }
    };
    if uptime.last_missed.next() < height {
        uptime.silent_since = Deadline::at(at.time);
    }
    uptime.last_missed = height;
    let (index, bit) = (height.0 / CHUNK, height.0 % CHUNK);
    let mut bits = view.uptime_bits(operator, index);
    bits[bit as usize / 8] |= 1 << (bit % 8);
    view.set_uptime_bits(operator, index, Some(&bits));
    match uptime.chunks.last_mut() {
        Some((last, missed)) if *last == index => *missed += 1,
        _ => uptime.chunks.push((index, 1)),
    }
    let start = height.0.saturating_add(1).saturating_sub(at.params.staking.downtime_window);
    for (gone, _) in uptime.chunks.extract_if(.., |(index, _)| (*index + 1) * CHUNK <= start) {
        view.set_uptime_bits(operator, gone, None);
    }
    let before = match uptime.chunks.first() {
        Some((first, _)) if first * CHUNK < start => {
            ones_below(&view.uptime_bits(operator, *first), start - first * CHUNK)
        }
        _ => 0,
    };
    let missed: u64 = uptime.chunks.iter().map(|(_, missed)| u64::from(*missed)).sum();
    uptime.missed = missed.saturating_sub(if mutated(Mutation::AllMisses) { 0 } else { before });
    view.set_uptime(operator, Some(&uptime));
    uptime
}

/// Returns the number of ones among the first `count` bits.
fn ones_below(bits: &[u8], count: u64) -> u64 {
    let (whole, rest) = (count as usize / 8, count % 8);
    let ones: u32 = bits.iter().take(whole).map(|byte| byte.count_ones()).sum();
    let last = bits.get(whole).map_or(0, |byte| (byte & ((1 << rest) - 1)).count_ones());
    u64::from(ones + last)
}

/// Returns true if a validator is to be jailed for the misses that end with this block's.
fn is_too_much(at: &At<'_>, uptime: &Uptime) -> bool {
    let staking = &at.params.staking;
    let by = At { time: uptime.silent_since.time(), ..*at }.after(staking.downtime);
    let is_long = by.has_passed(at.time) || mutated(Mutation::DowntimeByHeights);
    let is_often = uptime.missed > staking.downtime_window / 2 || mutated(Mutation::DowntimeByTime);
    is_long && is_often
}

/// Returns true if a validator with this power may be jailed now, and notes it then: with those of the last window, it has at
/// most 1/3 of the power.
fn has_turn<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>, validator: &Address, power: Power) -> bool {
    let mut log = view.downtime_log();
    let is_recent = |one: &Jailed| one.height.0.saturating_add(at.params.staking.downtime_window) > at.height.0;
    log.retain(|one| one.validator != *validator && is_recent(one));
    // Those that are in the set are part of its power.
    let is_out = |view: &mut View<'_, R>, one: &Jailed| {
        view.validator(&one.validator).is_none_or(|validator| validator.power == Power::ZERO)
    };
    let gone: u64 = log.iter().filter(|one| is_out(view, one)).map(|one| one.power.0).sum();
    let jailed: u64 = log.iter().map(|one| one.power.0).sum();
    let total = u128::from(view.power_total().0) + u128::from(gone);
    if 3 * (u128::from(jailed) + u128::from(power.0)) > total && !mutated(Mutation::JailAll) {
        return false;
    }
    log.push(Jailed { validator: *validator, height: at.height, power });
    view.set_downtime_log(&log);
    true
}

fn jail<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    operator: Address,
    mut validator: StakedValidator,
    events: &mut Vec<Event>,
) {
    let staking = &at.params.staking;
    let bps = staking.slash_downtime_bps;
    let jail = Jail { until: at.after(staking.jail), why: JailReason::Downtime };
    validator.jail = Some(jail);
    let burned = validator.slash(amount_of(validator.tokens, bps));
    slash::burn(view, burned, 0);
    view.set_validator(&operator, Some(&validator));
    if !mutated(Mutation::KeepWindow) {
        forget(view, &operator);
    }
    let slash = Slash {
        why: SlashReason::Downtime,
        height: at.height.prev().unwrap_or_default(),
        block: at.height,
        fraction_bps: bps,
        burned,
        evidence: None,
    };
    slash::record(view, &operator, &slash, events);
    events.push(slash::jailed_event(&operator, jail));
}

/// Deletes what is known about the misses of a validator.
pub(super) fn forget<R: Reader + ?Sized>(view: &mut View<'_, R>, operator: &Address) {
    let Some(uptime) = view.uptime(operator) else { return };
    for (index, _) in uptime.chunks {
        view.set_uptime_bits(operator, index, None);
    }
    view.set_uptime(operator, None);
}

impl Uptime {
    /// Reads the value under the key of a validator's uptime, for example from a proof; `None` if it is none.
    pub fn from_value(value: &[u8]) -> Option<Self> {
        Self::from_pb(pb::Uptime::decode(value).ok()?)
    }

    fn from_pb(pb: pb::Uptime) -> Option<Self> {
        Some(Self {
            since: Height(u64::try_from(pb.since).ok()?),
            last_missed: Height(u64::try_from(pb.last_missed).ok()?),
            silent_since: Deadline::from_unix_millis(pb.silent_since_ms)?,
            missed: pb.missed,
            chunks: pb.chunks.into_iter().map(|chunk| (chunk.index, chunk.missed)).collect(),
        })
    }

    fn to_pb(&self) -> pb::Uptime {
        pb::Uptime {
            since: height_pb(self.since),
            last_missed: height_pb(self.last_missed),
            silent_since_ms: self.silent_since.unix_millis(),
            missed: self.missed,
            chunks: self
                .chunks
                .iter()
                .map(|(index, missed)| pb::UptimeChunk { index: *index, missed: *missed })
                .collect(),
        }
    }
}

impl<R: Reader + ?Sized> View<'_, R> {
    /// Returns what is known about the misses of a validator; `None` if it missed nothing. It may be about an earlier
    /// membership: compare [`Uptime::since`] with [`StakedValidator::member_since`].
    pub fn uptime(&mut self, operator: &Address) -> Option<Uptime> {
        let key = key::uptime(operator);
        let pb: pb::Uptime = self.message(&key)?;
        Uptime::from_pb(pb).or_else(|| self.unreadable(&key, "it is not about misses"))
    }

    fn set_uptime(&mut self, operator: &Address, uptime: Option<&Uptime>) {
        self.set(&key::uptime(operator), uptime.map(|uptime| uptime.to_pb().encode_to_vec()));
    }

    fn uptime_bits(&mut self, operator: &Address, index: u64) -> [u8; CHUNK as usize / 8] {
        let key = key::uptime_bits(operator, index);
        let Some(pb) = self.message::<pb::UptimeBits>(&key) else { return [0; CHUNK as usize / 8] };
        let bits = pb.bits.try_into().ok();
        bits.or_else(|| self.unreadable(&key, "it has not 1,024 bits")).unwrap_or([0; CHUNK as usize / 8])
    }

    fn set_uptime_bits(&mut self, operator: &Address, index: u64, bits: Option<&[u8]>) {
        let value = bits.map(|bits| pb::UptimeBits { bits: bits.to_vec() }.encode_to_vec());
        self.set(&key::uptime_bits(operator, index), value);
    }

    fn downtime_log(&mut self) -> Vec<Jailed> {
        let pb: pb::DowntimeLog = self.message(key::DOWNTIME_LOG).unwrap_or_default();
        let jailed = |pb: pb::DowntimeJail| {
            let (validator, height) = (Address(pb.validator.try_into().ok()?), u64::try_from(pb.height).ok()?);
            Some(Jailed { validator, height: Height(height), power: Power(pb.power) })
        };
        let log: Option<Vec<Jailed>> = pb.jailed.into_iter().map(jailed).collect();
        log.or_else(|| self.unreadable(key::DOWNTIME_LOG, "it is not a log of jails")).unwrap_or_default()
    }

    fn set_downtime_log(&mut self, log: &[Jailed]) {
        let jailed = log.iter().map(|one| pb::DowntimeJail {
            validator: one.validator.0.to_vec(),
            height: height_pb(one.height),
            power: one.power.0,
        });
        self.set(key::DOWNTIME_LOG, Some(pb::DowntimeLog { jailed: jailed.collect() }.encode_to_vec()));
    }
}
