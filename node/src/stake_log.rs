//! Logs what happens to validators: lost stake, jails, replaced consensus keys. Events about this node's own validator are
//! warnings or errors that say what to do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use app::View;
use consensus::Signer;
use replica::Committed;
use storage::{RocksKv, StateReader, Store};
use tracing::Level;
use types::{Address, Deadline, Event, Height};

use crate::progress::attribute;

/// Maximum lines per second about what transactions do to validators of others: anybody can create a validator, and let it
/// go to jail and back.
const OTHERS_LINES_PER_SECOND: u32 = 4;

/// What the log says about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    level: Level,
    what: &'static str,
}

/// What the log says if the chain has a consensus key of this node's validator that this node does not hold.
const KEY_LOST: &str = "this node's validator has a consensus key that this node does not hold, so it signs nothing from the second \
    height after the rotation on. Put a copy of config/next_validator_key.json back and start the node again. Without a \
    copy, run `cairn keys rotate --lost-key` as soon as the chain allows another rotation";

/// The log lines about validators.
pub struct StakeLog {
    store: Arc<Store<RocksKv>>,
    second: Instant,
    /// Lines of this second about validators of others.
    lines: u32,
}

impl StakeLog {
    /// Creates the log. `store` says whose validators have the keys of this node.
    pub fn new(store: Arc<Store<RocksKv>>) -> Self {
        Self { store, second: Instant::now(), lines: 0 }
    }

    /// Logs an error if a validator has had a key of this node, and now has one that this node does not hold.
    pub fn on_start(&self, signer: Option<&Signer>) {
        let (Some(signer), Ok(reader)) = (signer, self.store.reader()) else { return };
        let mut view = View::of_state(&reader);
        let lost = signer.addresses().find_map(|held| {
            let operator = view.key_owner(&held)?;
            let now = view.validator(&operator)?.public_key.address();
            (!signer.is_own(&now)).then_some((held, now))
        });
        if let (true, Some((held, now))) = (all_read(&reader), lost) {
            tracing::error!(target: "state", %held, validator_has = %now, "{KEY_LOST}");
        }
    }

    /// Logs what a height changed about validators. `signer` holds the keys of this node.
    pub fn on_committed(&mut self, committed: &Committed, signer: Option<&Signer>) {
        let results = &committed.results;
        let of_txs = results.txs.iter().flat_map(|tx| &tx.events);
        let events = results.events.iter().map(|event| (event, false)).chain(of_txs.map(|event| (event, true)));
        let mut events = events.filter(|(event, _)| is_logged(&event.kind)).peekable();
        if events.peek().is_none() {
            return;
        }
        let own = self.operators(signer);
        let holds = |key: &Address| signer.is_some_and(|signer| signer.is_own(key));
        for (event, is_of_tx) in events {
            let validator = attribute(event, "validator").and_then(|text| text.parse().ok());
            let is_own = validator.is_some_and(|validator| own.contains(&validator));
            if is_own || !is_of_tx || self.has_room() {
                log(committed.block.header.height, event, line(event, is_own, holds));
            }
        }
    }

    /// Returns the operators of the validators that have, or had until recently, a key of this node.
    fn operators(&self, signer: Option<&Signer>) -> Vec<Address> {
        let (Some(signer), Ok(reader)) = (signer, self.store.reader()) else { return Vec::new() };
        let mut view = View::of_state(&reader);
        let operators = signer.addresses().filter_map(|key| view.key_owner(&key)).collect();
        if all_read(&reader) { operators } else { Vec::new() }
    }

    fn has_room(&mut self) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            (self.second, self.lines) = (Instant::now(), 0);
        }
        self.lines += 1;
        self.lines <= OTHERS_LINES_PER_SECOND
    }
}

/// Returns true if no read has failed. A part of the node that must stop for a failed read reports it.
fn all_read(reader: &StateReader<'_, RocksKv>) -> bool {
    reader.check().is_ok()
}

/// Returns true if events of this kind are logged.
fn is_logged(kind: &str) -> bool {
    let suffix = kind.strip_prefix("staking.");
    suffix.is_some_and(|kind| ["slashed", "jailed", "unjailed", "set_kept", "key_rotated"].contains(&kind))
}

/// Returns what the log says about an event of one of these kinds. `holds` is true for the keys of this node.
fn line(event: &Event, is_own: bool, holds: impl Fn(&Address) -> bool) -> Line {
    let is = |key: &str, value: &str| attribute(event, key) == Some(value);
    let holds_new = || attribute(event, "consensus").and_then(|key| key.parse().ok()).is_some_and(|key| holds(&key));
    let (level, what) = match (&*event.kind, is_own) {
        ("staking.set_kept", _) => (
            Level::WARN,
            "no validator could be in the next set, so the last set stays: delegate to a validator, or end the jail of one",
        ),
        ("staking.slashed", false) => (Level::INFO, "a validator and its delegators lost stake"),
        ("staking.slashed", true) if is("tombstoned", "true") => (
            Level::ERROR,
            "this node's validator signed two values that contradict each other: it lost stake, and stays in jail for ever. Find \
             the other process that signs with its key before anything else",
        ),
        ("staking.slashed", true) => (
            Level::ERROR,
            "this node's validator and its delegators lost stake, because it signed nothing for too long",
        ),
        ("staking.jailed", false) => (Level::INFO, "a validator went to jail, and leaves the set"),
        ("staking.jailed", true) if is("why", "own_stake") => (
            Level::ERROR,
            "this node's validator went to jail, because its operator's own stake is below its minimum: delegate to it, then \
             send `cairn stake unjail`",
        ),
        ("staking.jailed", true) => (
            Level::ERROR,
            "this node's validator went to jail: when `cairn query ready` succeeds and the time `until` has come, send `cairn \
             stake unjail`",
        ),
        ("staking.unjailed", false) => (Level::INFO, "a validator left jail"),
        ("staking.unjailed", true) => {
            (Level::INFO, "this node's validator left jail: with enough stake, it is in the set two heights later")
        }
        (_, false) => (Level::INFO, "a validator replaced its consensus key; the new one signs two heights later"),
        (_, true) if holds_new() => (
            Level::INFO,
            "this node's validator replaced its consensus key; this node holds the new one, which signs two heights later",
        ),
        (_, true) => (Level::ERROR, KEY_LOST),
    };
    Line { level, what }
}

fn log(height: Height, event: &Event, Line { level, what }: Line) {
    let (height, validator, details) = (height.0, attribute(event, "validator"), details(event));
    match level {
        Level::ERROR => tracing::error!(target: "state", height, validator, details, "{what}"),
        Level::WARN => tracing::warn!(target: "state", height, validator, details, "{what}"),
        _ => tracing::info!(target: "state", height, validator, details, "{what}"),
    }
}

/// Returns the attributes of an event without its validator, if it has some, with times that people can read.
fn details(event: &Event) -> Option<String> {
    let is_time = |key: &str| ["until", "next_at"].contains(&key);
    let time = |value: &str| value.parse().ok().and_then(Deadline::from_unix_millis);
    let others = event.attributes.iter().filter(|attribute| attribute.key != "validator");
    let details: Vec<String> = others
        .map(|attribute| match time(&attribute.value).filter(|_| is_time(&attribute.key)) {
            Some(time) => format!("{}={time}", attribute.key),
            None => format!("{}={}", attribute.key, attribute.value),
        })
        .collect();
    (!details.is_empty()).then(|| details.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns level and beginning of the line about an event.
    fn of(kind: &str, attributes: &[(&'static str, &str)], is_own: bool) -> (Level, String) {
        let held = Address([1; 20]);
        let event = Event::new(kind, attributes.iter().map(|(key, value)| (*key, *value, false)));
        assert!(is_logged(kind));
        let Line { level, what } = line(&event, is_own, |key| *key == held);
        (level, what.split_inclusive([':', ',', ';']).next().unwrap().to_owned())
    }

    #[test]
    fn what_happens_to_the_own_validator_is_an_error_that_says_what_to_do() {
        let says = |level, what: &str| (level, what.to_owned());
        let (ours, theirs) = (Address([1; 20]).to_string(), Address([2; 20]).to_string());
        let twice = [("tombstoned", "true")];
        assert_eq!(
            of("staking.slashed", &twice, false),
            says(Level::INFO, "a validator and its delegators lost stake")
        );
        let what = "this node's validator signed two values that contradict each other:";
        assert_eq!(of("staking.slashed", &twice, true), says(Level::ERROR, what));
        let silent = [("tombstoned", "false")];
        let what = "this node's validator and its delegators lost stake,";
        assert_eq!(of("staking.slashed", &silent, true), says(Level::ERROR, what));
        assert_eq!(of("staking.jailed", &[], false), says(Level::INFO, "a validator went to jail,"));
        let what = "this node's validator went to jail";
        assert_eq!(of("staking.jailed", &[("why", "downtime")], true), says(Level::ERROR, &format!("{what}:")));
        assert_eq!(of("staking.jailed", &[("why", "own_stake")], true), says(Level::ERROR, &format!("{what},")));
        assert_eq!(of("staking.unjailed", &[], true), says(Level::INFO, "this node's validator left jail:"));
        let what = "no validator could be in the next set,";
        assert_eq!(of("staking.set_kept", &[], false), says(Level::WARN, what));
        let what = "a validator replaced its consensus key;";
        assert_eq!(of("staking.key_rotated", &[("consensus", &theirs)], false), says(Level::INFO, what));
        let what = "this node's validator replaced its consensus key;";
        assert_eq!(of("staking.key_rotated", &[("consensus", &ours)], true), says(Level::INFO, what));
        let what = "this node's validator has a consensus key that this node does not hold,";
        assert_eq!(of("staking.key_rotated", &[("consensus", &theirs)], true), says(Level::ERROR, what));
        assert!(!is_logged("staking.delegated") && !is_logged("revert.executed"));
    }

    #[test]
    fn times_of_events_are_written_for_people() {
        let attributes = [("validator", "v", true), ("why", "downtime", false), ("until", "86400000", false)];
        let event = Event::new("staking.jailed", attributes);
        assert_eq!(details(&event).as_deref(), Some("why=downtime until=1970-01-02T00:00:00Z"));
        assert_eq!(details(&Event::new("staking.unjailed", [("validator", "v", true)])), None);
    }
}
