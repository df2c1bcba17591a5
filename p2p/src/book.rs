//! The address book: decides which peers to dial, and when. Persistent peers are dialled always; seeds and learned
//! addresses while outbound places are free.
//!
//! | kind       | dialled                            | back-off                              | given up             |
//! |------------|------------------------------------|---------------------------------------|----------------------|
//! | persistent | whenever it is not connected       | `redial_min` doubling to `redial_max` | never                |
//! | learned    | while outbound peers are missing   | 1 s, times four, to 10 min            | after 3 failures (*) |
//! | seed       | the same, if no learned one is due | as learned                            | never                |
//!
//! (*) After 6 failures if it once had a good connection.
//!
//! The next dial is scheduled when a dial begins, so a failed dial needs no further step. Every pause has a jitter of
//! plus or minus a quarter, so that nodes that lost each other do not redial in lockstep.
//!
//! A learned address is an unverified claim. A peer may only report addresses that reach at least as far as its own: a
//! public peer may report public addresses only. Dials to learned addresses that do not result in a peer are counted:
//! for the range of addresses that reported them, for the range that was dialled, and in total. A dial that results in
//! a peer is refunded. When a source range has used its budget up, its unproven addresses are forgotten.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use files::{Access, Existing, FileError};
use serde::{Deserialize, Serialize};

use crate::budget::{Bucket, Buckets};
use crate::config::Config;
use crate::limits::*;
use crate::range::{self, Range, Reach};
use crate::{NodeId, PeerAddress};

const UNPROVEN_ATTEMPTS_MAX: u32 = 3;
const PROVEN_ATTEMPTS_MAX: u32 = 6;
const LEARNED_REDIAL_MAX: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Persistent,
    Seed,
    Learned {
        /// Range of addresses that reported this address. `None`: it comes from the file.
        source: Option<Range>,
        /// Minimum reach of the address once its name is resolved.
        reach_min: Reach,
        /// True if it once had a connection that lasted [`STABLE`].
        is_proven: bool,
    },
}

impl Kind {
    fn is_learned(&self) -> bool {
        matches!(self, Kind::Learned { .. })
    }
}

#[derive(Debug)]
struct Entry {
    address: PeerAddress,
    /// The range of its IP address; `None` for a DNS name.
    range: Option<Range>,
    kind: Kind,
    /// Number of dials since the last good connection.
    attempts: u32,
    next_dial: Instant,
    /// Time of the first failed dial since the last connection.
    failing_since: Option<Instant>,
}

/// Budgets of dials to learned addresses; a dial that results in a peer is refunded.
#[derive(Debug)]
struct Dials {
    by_source: Buckets<Range>,
    by_target: Buckets<Range>,
    all: Bucket,
}

/// The address book. It holds the configured addresses and at most [`BOOK_ADDRESSES_MAX`] learned ones.
#[derive(Debug)]
pub(crate) struct Book {
    own_id: NodeId,
    entries: BTreeMap<NodeId, Entry>,
    dials: Dials,
    redial_min: Duration,
    redial_max: Duration,
    allow_private: bool,
    salt: u64,
    /// True if learned addresses changed since the last `take_json`.
    is_dirty: bool,
}

/// Content of the address book file: learned addresses only.
#[derive(Serialize, Deserialize)]
struct File {
    addresses: Vec<String>,
}

impl Book {
    /// Creates a book with the configured addresses. `salt` is random: it makes the jitter and the choice of addresses
    /// differ between nodes.
    pub(crate) fn new(own_id: NodeId, config: &Config, now: Instant, salt: u64) -> Book {
        let mut book = Book {
            own_id,
            entries: BTreeMap::new(),
            dials: Dials {
                by_source: Buckets::new(DIALS_PER_SOURCE_BURST, DIALS_PER_SOURCE_PAUSE),
                by_target: Buckets::new(DIALS_PER_RANGE_BURST, DIALS_PER_RANGE_PAUSE),
                all: Bucket::new(now, DIALS_LEARNED_BURST, DIALS_LEARNED_PAUSE),
            },
            redial_min: config.redial_min,
            redial_max: config.redial_max,
            allow_private: config.allow_private,
            salt,
            is_dirty: false,
        };
        for address in &config.persistent_peers {
            book.insert(address.clone(), Kind::Persistent, now);
        }
        for address in &config.seeds {
            if !book.entries.contains_key(&address.id) {
                book.insert(address.clone(), Kind::Seed, now);
            }
        }
        book
    }

    fn insert(&mut self, address: PeerAddress, kind: Kind, now: Instant) {
        if address.id != self.own_id {
            let range = range_of(&address);
            let entry = Entry { address, range, kind, attempts: 0, next_dial: now, failing_since: None };
            self.entries.insert(entry.address.id, entry);
        }
    }

    /// Adds an address that a peer at `source` reported. Returns false if the address is not usable or the book is
    /// full.
    pub(crate) fn learn(&mut self, address: PeerAddress, source: IpAddr, now: Instant) -> bool {
        let range = Some(Range::of(source));
        let learned = |entry: &&Entry| matches!(entry.kind, Kind::Learned { source, .. } if source == range);
        if self.entries.values().filter(learned).count() >= BOOK_ADDRESSES_PER_SOURCE_MAX {
            return false;
        }
        let reach_min = match range::reach(source) {
            Some(reach) if self.allow_private => reach,
            _ => Reach::Public,
        };
        self.learn_from(address, range, reach_min, now)
    }

    fn learn_from(&mut self, address: PeerAddress, source: Option<Range>, reach_min: Reach, now: Instant) -> bool {
        let reach = address.reach();
        let is_useful = address.id != self.own_id
            && !self.entries.contains_key(&address.id)
            && reach.is_some_and(|reach| reach >= reach_min);
        if !is_useful || self.learned().count() >= BOOK_ADDRESSES_MAX {
            return false;
        }
        if let (Some(Reach::Public), Some(range)) = (reach, range_of(&address))
            && self.learned().filter(|entry| entry.range == Some(range)).count() >= BOOK_ADDRESSES_PER_RANGE_MAX
        {
            return false;
        }
        self.insert(address, Kind::Learned { source, reach_min, is_proven: false }, now);
        self.is_dirty = true;
        true
    }

    fn learned(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.kind.is_learned())
    }

    /// Returns the addresses to dial now, at most `room` beyond the persistent ones, and the time of the next call.
    ///
    /// `is_busy` returns true for a peer that is connected or being dialled. When a result of `is_busy` or `room`
    /// changes, call this function again.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        room: usize,
        is_busy: impl Fn(&NodeId) -> bool,
    ) -> (Vec<PeerAddress>, Option<Instant>) {
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        let mut look_again = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        let mut candidates = Vec::new();
        for (id, entry) in self.entries.iter().filter(|(id, _)| !is_busy(id)) {
            let is_persistent = entry.kind == Kind::Persistent;
            if !is_persistent && room == 0 {
                continue;
            }
            if entry.next_dial > now {
                look_again(entry.next_dial);
            } else if is_persistent {
                due.push(*id);
            } else {
                let is_unproven = !matches!(entry.kind, Kind::Learned { is_proven: true, .. });
                let source = if let Kind::Learned { source, .. } = entry.kind { source } else { None };
                let order = (entry.kind == Kind::Seed, is_unproven, entry.attempts, self.mix(id, 0), *id);
                candidates.push((order, source));
            }
        }
        candidates.sort_unstable();
        let (mut chosen, mut are_learned) = (Vec::new(), false);
        for ((is_seed, .., id), source) in candidates {
            if chosen.len() >= room || (is_seed && are_learned) {
                break;
            }
            if !is_seed {
                let wait = self.dials.wait(now, source);
                if !wait.is_zero() {
                    look_again(now + wait);
                    continue;
                }
                self.dials.take(now, source);
                are_learned = true;
            }
            chosen.push(id);
        }
        due.extend(chosen);
        let addresses = due.iter().map(|id| self.begin(id, now)).collect();
        for id in &due {
            look_again(self.entries[id].next_dial);
        }
        (addresses, next)
    }

    /// Checks whether the resolved socket of an address in the book may be dialled: a DNS name may resolve to a network
    /// that its source must not report.
    ///
    /// Errors: the reason, as the end of a sentence, if the address was forgotten meanwhile, does not reach far enough,
    /// or too many dials to its range failed recently.
    pub(crate) fn may_dial(&mut self, id: &NodeId, ip: IpAddr, now: Instant) -> Result<(), &'static str> {
        let Some(entry) = self.entries.get(id) else { return Err("its source was banned in the meantime") };
        let Kind::Learned { reach_min, .. } = &entry.kind else { return Ok(()) };
        if range::reach(ip).is_none_or(|reach| reach < *reach_min) {
            self.forget(id);
            return Err("a peer gave an address of a network that it is not in");
        }
        if !self.dials.by_target.of(now, Range::of(ip)).take(now) {
            return Err("too many recent dials to addresses in its range failed");
        }
        Ok(())
    }

    /// Records that a dial resulted in a peer at `ip`.
    pub(crate) fn on_up(&mut self, id: &NodeId, ip: Option<IpAddr>, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.failing_since = None;
        if let Kind::Learned { source, .. } = entry.kind {
            self.dials.give_back(now, source, ip.map(Range::of));
        }
    }

    /// Records a dial and schedules the next one, in case this one fails.
    fn begin(&mut self, id: &NodeId, now: Instant) -> PeerAddress {
        let pause = self.pause(id);
        let entry = self.entries.get_mut(id).expect("due entries are in the book");
        entry.next_dial = now + pause;
        entry.attempts = entry.attempts.saturating_add(1);
        entry.address.clone()
    }

    /// Returns the pause after the attempts so far, with jitter.
    fn pause(&self, id: &NodeId) -> Duration {
        let entry = &self.entries[id];
        let attempts = entry.attempts.min(20);
        let pause = match entry.kind {
            Kind::Persistent => self.redial_min.saturating_mul(1 << attempts).min(self.redial_max),
            _ => Duration::from_secs(1 << (2 * attempts.min(10))).min(LEARNED_REDIAL_MAX),
        };
        let jitter = (self.mix(id, entry.attempts) % 1000) as f64 / 1000.0; // 0 to 1
        pause.mul_f64(0.75 + jitter / 2.0)
    }

    /// Returns a pseudo-random number that depends only on the salt and the arguments.
    fn mix(&self, id: &NodeId, n: u32) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.salt.to_be_bytes()).update(&id.0).update(&n.to_be_bytes());
        u64::from_be_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("eight bytes"))
    }

    /// Records that a dial gave no connection. A learned address that fails too often is forgotten; so are all unproven
    /// addresses of a source range whose dials fail too often. Returns for how long a configured peer has been
    /// unreachable.
    pub(crate) fn on_failed(&mut self, id: &NodeId, now: Instant) -> Option<Duration> {
        let entry = self.entries.get_mut(id)?;
        let since = *entry.failing_since.get_or_insert(now);
        let Kind::Learned { source, is_proven, .. } = entry.kind else { return Some(now - since) };
        if entry.attempts >= if is_proven { PROVEN_ATTEMPTS_MAX } else { UNPROVEN_ATTEMPTS_MAX } {
            self.forget(id);
        }
        if let Some(range) = source
            && !self.dials.by_source.of(now, range).wait(now).is_zero()
        {
            let before = self.entries.len();
            let is_of_range =
                |kind: &Kind| matches!(kind, Kind::Learned { source, is_proven: false, .. } if *source == Some(range));
            self.entries.retain(|_, entry| !is_of_range(&entry.kind));
            self.is_dirty |= self.entries.len() < before;
        }
        None
    }

    /// Removes an address, unless it is configured.
    pub(crate) fn forget(&mut self, id: &NodeId) {
        if self.entries.get(id).is_some_and(|entry| entry.kind.is_learned()) {
            self.entries.remove(id);
            self.is_dirty = true;
        }
    }

    /// Records the loss of a peer and schedules the next dial: soon after a good connection, and not before
    /// `not_before`.
    pub(crate) fn on_down(&mut self, id: &NodeId, lived: Duration, now: Instant, not_before: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if lived >= STABLE {
            entry.attempts = 0;
            if let Kind::Learned { is_proven, .. } = &mut entry.kind {
                *is_proven = true;
            }
        }
        let again = now + self.pause(id);
        let entry = self.entries.get_mut(id).expect("found above");
        entry.next_dial = again.max(not_before.unwrap_or(again));
    }

    /// Returns the number of addresses in the book.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds the learned addresses of a file. A missing file counts as empty.
    ///
    /// Errors: [`FileError`] if the file cannot be read, is larger than [`BOOK_FILE_BYTES_MAX`] or is not JSON of the
    /// expected form.
    pub(crate) fn load(&mut self, path: &Path, now: Instant) -> Result<(), FileError> {
        let text = match files::read(path, BOOK_FILE_BYTES_MAX) {
            Err(FileError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            text => text?,
        };
        let addresses =
            addresses_of_file(&text).map_err(|reason| FileError::Content { file: path.to_owned(), reason })?;
        for address in addresses {
            let reach_min = if self.allow_private { Reach::Host } else { Reach::Public };
            self.learn_from(address, None, reach_min, now);
        }
        self.is_dirty = false;
        Ok(())
    }

    /// Writes the file, completely or not at all, if a learned address changed since the last call.
    ///
    /// Errors: those of [`files::write`].
    pub(crate) fn save(&mut self, path: &Path) -> Result<(), FileError> {
        match self.take_json() {
            Some(json) => files::write(path, json.as_bytes(), Access::Public, Existing::Replace),
            None => Ok(()),
        }
    }

    /// Returns the new content of the file, or `None` if no learned address changed since the last call.
    fn take_json(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.is_dirty) {
            return None;
        }
        Some(addresses_to_file(self.learned().map(|entry| &entry.address)))
    }
}

/// Reads the content of an address book file. An address that this version cannot read is left out.
///
/// Errors: a sentence with the place at which the content is no address book.
pub fn addresses_of_file(bytes: &[u8]) -> Result<Vec<PeerAddress>, String> {
    // The error of the library repeats what is in the file, however long it is.
    let File { addresses } = serde_json::from_slice(bytes).map_err(|error| {
        format!("no address book at line {}, column {}: delete the file", error.line(), error.column())
    })?;
    Ok(addresses.iter().filter_map(|text| text.parse().ok()).collect())
}

/// Returns the content of an address book file with these addresses.
pub fn addresses_to_file<'a>(addresses: impl IntoIterator<Item = &'a PeerAddress>) -> String {
    let addresses = addresses.into_iter().map(PeerAddress::to_string).collect();
    serde_json::to_string_pretty(&File { addresses }).expect("a list of texts is JSON")
}

fn range_of(address: &PeerAddress) -> Option<Range> {
    address.host.parse().ok().map(Range::of)
}

impl Dials {
    /// Returns the time until an address that `source` reported may be dialled; zero if it may be dialled now.
    fn wait(&mut self, now: Instant, source: Option<Range>) -> Duration {
        let of_source = source.map_or(Duration::ZERO, |range| self.by_source.of(now, range).wait(now));
        of_source.max(self.all.wait(now))
    }

    fn take(&mut self, now: Instant, source: Option<Range>) {
        if let Some(range) = source {
            self.by_source.of(now, range).take(now);
        }
        self.all.take(now);
    }

    fn give_back(&mut self, now: Instant, source: Option<Range>, target: Option<Range>) {
        if let Some(range) = source {
            self.by_source.of(now, range).give_back();
        }
        if let Some(range) = target {
            self.by_target.of(now, range).give_back();
        }
        self.all.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(9, 9, 9, 9));

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn address(n: u8, host: &str) -> PeerAddress {
        PeerAddress { id: NodeId([n; 20]), host: host.into(), port: 1, transport: Transport::Tcp }
    }

    fn book(change: impl FnOnce(&mut Config), now: Instant) -> Book {
        let mut config = Config::new("chain-1", "");
        change(&mut config);
        Book::new(NodeId([0; 20]), &config, now, 7)
    }

    #[test]
    fn persistent_peers_are_dialled_for_ever_with_growing_pauses() {
        let mut now = Instant::now();
        let mut book = book(|c| c.persistent_peers = vec![address(1, "10.0.0.1"), address(0, "10.0.0.2")], now);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            let (due, next) = book.due(now, 0, |_| false);
            assert_eq!(due, [address(1, "10.0.0.1")], "never ourselves");
            let next = next.unwrap();
            assert_eq!(book.due(now, 0, |_| false), (vec![], Some(next)), "not twice");
            book.on_failed(&NodeId([1; 20]), now);
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses[0] >= Duration::from_millis(75) && pauses[0] <= Duration::from_millis(125), "{:?}", pauses[0]);
        assert!(pauses[39] >= Duration::from_millis(7500) && pauses[39] <= Duration::from_millis(12_500));
        assert_eq!(book.due(now, 0, |_| true), (vec![], None), "a busy one sets no timer");
    }

    #[test]
    fn a_good_connection_resets_the_pauses_and_a_banned_peer_is_dialled_after_its_ban() {
        let now = Instant::now();
        let mut book = book(|c| c.persistent_peers = vec![address(1, "10.0.0.1")], now);
        let id = NodeId([1; 20]);
        for _ in 0..20 {
            book.begin(&id, now);
        }
        book.on_down(&id, Duration::ZERO, now, None);
        assert!(book.due(now, 0, |_| false).1.unwrap() - now > Duration::from_secs(5), "a short life is no success");
        book.on_down(&id, STABLE, now, None);
        assert!(book.due(now, 0, |_| false).1.unwrap() - now < Duration::from_millis(200));
        let end = now + Duration::from_secs(77);
        book.on_down(&id, STABLE, now, Some(end));
        assert_eq!(book.due(now, 0, |_| false), (vec![], Some(end)));
    }

    #[test]
    fn learned_addresses_are_dialled_while_there_is_room_and_seeds_when_there_are_none() {
        let now = Instant::now();
        let mut book = book(|c| c.seeds = vec![address(9, "seed.example.org")], now);
        assert_eq!(book.due(now, 0, |_| false), (vec![], None), "no room, no timer");
        assert!(book.learn(address(1, "a.example.org"), SOURCE, now));
        assert!(book.learn(address(2, "b.example.org"), SOURCE, now));
        let (due, _) = book.due(now, 1, |_| false);
        assert_eq!(due.len(), 1);
        assert_ne!(due[0].id, NodeId([9; 20]));
        let (due, _) = book.due(now, 5, |_| false);
        assert_eq!(due.len(), 1, "the other one; the seed waits for its turn");
        assert_eq!(book.due(now, 5, |_| false).0, [address(9, "seed.example.org")]);
    }

    #[test]
    fn learned_addresses_are_checked_bounded_and_forgotten() {
        let now = Instant::now();
        let mut book = book(|_| (), now);
        assert!(!book.learn(address(1, "127.0.0.1"), SOURCE, now), "private");
        assert!(!book.learn(address(0, "a.example.org"), SOURCE, now), "ourselves");
        for n in 1..=255u8 {
            book.learn(address(n, "a.example.org"), SOURCE, now);
        }
        assert_eq!(book.len(), BOOK_ADDRESSES_PER_SOURCE_MAX);
        let id = NodeId([1; 20]);
        for _ in 0..UNPROVEN_ATTEMPTS_MAX {
            book.begin(&id, now);
            book.on_failed(&id, now);
        }
        assert_eq!(book.len(), BOOK_ADDRESSES_PER_SOURCE_MAX - 1);
    }

    #[test]
    fn the_file_keeps_learned_addresses_only() {
        let folder = tempfile::tempdir().unwrap();
        let (path, now) = (folder.path().join("addrbook.json"), Instant::now());
        let mut old = book(|c| c.persistent_peers = vec![address(1, "10.0.0.1")], now);
        assert_eq!(old.take_json(), None);
        old.learn(address(2, "b.example.org"), SOURCE, now);
        old.save(&path).unwrap();
        assert!(path.exists());
        assert_eq!(old.take_json(), None, "unchanged");
        let mut new = book(|_| (), now);
        new.load(&path, now).unwrap();
        assert_eq!(new.due(now, 9, |_| false).0, [address(2, "b.example.org")]);
        new.load(&folder.path().join("missing"), now).unwrap();
        assert_eq!(new.len(), 1);
        std::fs::write(&path, "{\"addresses\": 7}").unwrap();
        assert!(new.load(&path, now).is_err());
    }

    #[test]
    fn addresses_from_a_peer_are_taken_only_for_networks_that_it_is_in() {
        let now = Instant::now();
        let learned = |allow_private, source: &str, host: &str| {
            let mut book = book(|c| c.allow_private = allow_private, now);
            book.learn(address(1, host), ip(source), now)
        };
        for (source, host, is_taken) in [
            ("8.8.8.8", "9.9.9.9", true),
            ("8.8.8.8", "10.0.0.1", false),
            ("8.8.8.8", "127.0.0.1", false),
            ("8.8.8.8", "169.254.169.254", false),
            ("8.8.8.8", "::ffff:10.0.0.1", false),
            ("10.0.0.9", "10.0.0.1", true),
            ("10.0.0.9", "127.0.0.1", false),
            ("10.0.0.9", "localhost", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "9.9.9.9", true),
            ("127.0.0.1", "224.0.0.1", false),
        ] {
            assert_eq!(learned(true, source, host), is_taken, "{source} sends {host}");
            let is_public = is_taken && host == "9.9.9.9";
            assert_eq!(learned(false, source, host), is_public, "strict: {source} sends {host}");
        }
        // A DNS name hides its target until it is resolved.
        let mut book = book(|c| c.allow_private = true, now);
        assert!(book.learn(address(1, "a.example.org"), SOURCE, now));
        assert!(book.may_dial(&NodeId([1; 20]), ip("10.0.0.1"), now).is_err());
        assert_eq!(book.len(), 0, "and is forgotten");
        assert!(book.may_dial(&NodeId([1; 20]), ip("9.9.9.9"), now).is_err(), "also while its name is looked up");
    }

    #[test]
    fn sources_of_false_addresses_cause_few_dials() {
        let begin = Instant::now();
        let mut book = book(|_| (), begin);
        let (mut dials, mut at_victim) = (0, 0);
        for second in 0..35 {
            let now = begin + Duration::from_secs(second);
            // 30 ranges report 64 addresses each, again and again; half of these are ports of one victim.
            for source in 0..if second % 5 == 0 { 30u8 } else { 0 } {
                for n in 0..64u8 {
                    let mut id = [source + 1; 20];
                    (id[0], id[1]) = (n, second as u8);
                    let host = if n % 2 == 0 { "9.9.9.9".to_owned() } else { format!("11.{source}.{n}.1") };
                    let address = PeerAddress { id: NodeId(id), ..address(1, &host) };
                    book.learn(address, ip(&format!("20.{source}.0.1")), now);
                }
            }
            for address in book.due(now, DIALS_MAX, |_| false).0 {
                dials += 1;
                if book.may_dial(&address.id, ip(&address.host), now).is_ok() && address.host == "9.9.9.9" {
                    at_victim += 1;
                }
                book.on_failed(&address.id, now);
            }
        }
        assert!(dials <= 35 + DIALS_LEARNED_BURST, "{dials}");
        assert!(at_victim <= DIALS_PER_RANGE_BURST + 4, "{at_victim}");
    }

    #[test]
    fn a_range_of_failing_addresses_is_forgotten_and_a_range_that_answers_is_not_limited() {
        let now = Instant::now();
        let mut book = book(|_| (), now);
        for n in 1..=60u8 {
            book.learn(address(n, &format!("11.0.{n}.1")), SOURCE, now);
        }
        for _ in 0..2 {
            for address in book.due(now, 30, |_| false).0 {
                assert_eq!(book.may_dial(&address.id, ip(&address.host), now), Ok(()));
                book.on_up(&address.id, Some(ip(&address.host)), now);
            }
        }
        assert_eq!(book.len(), 60);
        let failed = book.due(now, 60, |_| false).0;
        assert_eq!(failed.len(), DIALS_PER_SOURCE_BURST as usize);
        assert!(failed.iter().all(|address| book.on_failed(&address.id, now).is_none()));
        assert_eq!(book.len(), 0);
        let mut book = self::book(|c| c.persistent_peers = vec![address(1, "10.0.0.1")], now);
        assert_eq!(book.on_failed(&NodeId([1; 20]), now), Some(Duration::ZERO));
        assert_eq!(
            book.on_failed(&NodeId([1; 20]), now + STABLE),
            Some(STABLE),
            "returns the time since the first failure"
        );
    }
}
