//! Whom to dial, and when: persistent peers for ever, seeds and learned addresses while there is room.
//!
//! | kind       | dialled                                    | back-off                              | given up        |
//! |------------|--------------------------------------------|---------------------------------------|-----------------|
//! | persistent | whenever not connected                     | `redial_min` doubling to `redial_max` | never           |
//! | learned    | while outbound peers are missing           | 1 s, times four, to 10 min            | after 6 failures |
//! | seed       | while they are and no learned one is due   | as learned                            | never           |
//!
//! The next dial is scheduled when a dial begins, so a dial that fails needs no further step. Every pause has a
//! jitter of a quarter, so that nodes that lost each other do not meet again in step.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::limits::*;
use crate::{NodeId, PeerAddress};

const LEARNED_ATTEMPTS_MAX: u32 = 6;
const LEARNED_REDIAL_MAX: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Persistent,
    Seed,
    /// `None`: from the file.
    Learned {
        source: Option<NodeId>,
    },
}

#[derive(Debug)]
struct Entry {
    address: PeerAddress,
    kind: Kind,
    /// Dials since the last good connection.
    attempts: u32,
    next_dial: Instant,
}

/// The addresses. At most the configured ones and [`BOOK_ADDRESSES_MAX`] learned ones.
#[derive(Debug)]
pub(crate) struct Book {
    own_id: NodeId,
    entries: BTreeMap<NodeId, Entry>,
    redial_min: Duration,
    redial_max: Duration,
    allow_private: bool,
    salt: u64,
    /// Learned addresses changed since the last `take_json`.
    is_dirty: bool,
}

/// The file: learned addresses only.
#[derive(Serialize, Deserialize)]
struct File {
    addresses: Vec<String>,
}

impl Book {
    /// The configured addresses. `salt` is random: it spreads nodes' dials in time and choice.
    pub(crate) fn new(own_id: NodeId, config: &Config, now: Instant, salt: u64) -> Book {
        let mut book = Book {
            own_id,
            entries: BTreeMap::new(),
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
            self.entries.insert(address.id, Entry { address, kind, attempts: 0, next_dial: now });
        }
    }

    /// Adds an address that a peer told us. False when it is of no use or there is no room.
    pub(crate) fn learn(&mut self, address: PeerAddress, source: NodeId, now: Instant) -> bool {
        let told = |entry: &&Entry| entry.kind == Kind::Learned { source: Some(source) };
        if self.entries.values().filter(told).count() >= BOOK_ADDRESSES_PER_SOURCE_MAX {
            return false;
        }
        self.learn_from(address, Some(source), now)
    }

    fn learn_from(&mut self, address: PeerAddress, source: Option<NodeId>, now: Instant) -> bool {
        let learned = self.learned().count();
        let is_useful = address.id != self.own_id
            && !self.entries.contains_key(&address.id)
            && (self.allow_private || address.is_public());
        if !is_useful || learned >= BOOK_ADDRESSES_MAX {
            return false;
        }
        self.insert(address, Kind::Learned { source }, now);
        self.is_dirty = true;
        true
    }

    fn learned(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| matches!(entry.kind, Kind::Learned { .. }))
    }

    /// Takes the addresses to dial now, at most `room` beyond the persistent ones, and tells when to ask again.
    ///
    /// `is_busy` says who is connected or being dialled. When an answer of `is_busy` or `room` changes, ask again.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        room: usize,
        is_busy: impl Fn(&NodeId) -> bool,
    ) -> (Vec<PeerAddress>, Option<Instant>) {
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        let mut candidates = Vec::new();
        for (id, entry) in self.entries.iter().filter(|(id, _)| !is_busy(id)) {
            let is_persistent = entry.kind == Kind::Persistent;
            if !is_persistent && room == 0 {
                continue;
            }
            if entry.next_dial > now {
                next = Some(next.map_or(entry.next_dial, |next| next.min(entry.next_dial)));
            } else if is_persistent {
                due.push(*id);
            } else {
                candidates.push((entry.kind == Kind::Seed, entry.attempts, self.mix(id, 0), *id));
            }
        }
        candidates.sort_unstable();
        let are_learned = candidates.iter().any(|(is_seed, ..)| !is_seed);
        let chosen = candidates.into_iter().filter(|(is_seed, ..)| !(*is_seed && are_learned)).take(room);
        due.extend(chosen.map(|(.., id)| id));
        let addresses = due.iter().map(|id| self.begin(id, now)).collect();
        for id in &due {
            let again = self.entries[id].next_dial;
            next = Some(next.map_or(again, |next| next.min(again)));
        }
        (addresses, next)
    }

    /// Notes a dial and schedules the next one, in case it fails.
    fn begin(&mut self, id: &NodeId, now: Instant) -> PeerAddress {
        let pause = self.pause(id);
        let entry = self.entries.get_mut(id).expect("due entries are in the book");
        entry.next_dial = now + pause;
        entry.attempts = entry.attempts.saturating_add(1);
        entry.address.clone()
    }

    /// The pause after the attempts so far, with jitter.
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

    /// A number that looks random, the same for the same arguments in one run.
    fn mix(&self, id: &NodeId, n: u32) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.salt.to_be_bytes()).update(&id.0).update(&n.to_be_bytes());
        u64::from_be_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("eight bytes"))
    }

    /// Notes that a dial gave no connection: a learned address that fails too often is forgotten.
    pub(crate) fn on_failed(&mut self, id: &NodeId) {
        let is_hopeless =
            |entry: &Entry| matches!(entry.kind, Kind::Learned { .. }) && entry.attempts >= LEARNED_ATTEMPTS_MAX;
        if self.entries.get(id).is_some_and(is_hopeless) {
            self.forget(id);
        }
    }

    /// Removes an address, unless it is configured.
    pub(crate) fn forget(&mut self, id: &NodeId) {
        if self.entries.get(id).is_some_and(|entry| matches!(entry.kind, Kind::Learned { .. })) {
            self.entries.remove(id);
            self.is_dirty = true;
        }
    }

    /// Notes that a peer was lost: dial again, soon when the connection was a good one, and not before `not_before`.
    pub(crate) fn on_down(&mut self, id: &NodeId, lived: Duration, now: Instant, not_before: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if lived >= STABLE {
            entry.attempts = 0;
        }
        let again = now + self.pause(id);
        let entry = self.entries.get_mut(id).expect("found above");
        entry.next_dial = again.max(not_before.unwrap_or(again));
    }

    /// Number of addresses.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds the learned addresses of a file. A missing file is an empty one.
    pub(crate) fn load(&mut self, path: &Path, now: Instant) -> std::io::Result<()> {
        let file = match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let mut text = String::new();
        file.take(BOOK_FILE_BYTES_MAX).read_to_string(&mut text)?;
        let File { addresses } = serde_json::from_str(&text)?;
        for address in addresses.iter().filter_map(|text| text.parse().ok()) {
            self.learn_from(address, None, now);
        }
        self.is_dirty = false;
        Ok(())
    }

    /// The content of the file, if it changed since it was last asked for.
    pub(crate) fn take_json(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.is_dirty) {
            return None;
        }
        let addresses = self.learned().map(|entry| entry.address.to_string()).collect();
        serde_json::to_string_pretty(&File { addresses }).ok()
    }
}

/// Writes a file so that a crash leaves the old or the new one.
pub(crate) fn save(path: &Path, json: &str) -> std::io::Result<()> {
    use std::io::Write;
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(json.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;

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
            book.on_failed(&NodeId([1; 20]));
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses[0] >= Duration::from_millis(75) && pauses[0] <= Duration::from_millis(125), "{:?}", pauses[0]);
        assert!(pauses[39] >= Duration::from_millis(7500) && pauses[39] <= Duration::from_millis(12_500));
        assert_eq!(book.due(now, 0, |_| true), (vec![], None), "a busy one sets no timer");
    }

    #[test]
    fn a_good_connection_starts_the_pauses_anew_and_a_ban_is_waited_for() {
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
        assert!(book.learn(address(1, "a.example.org"), NodeId([5; 20]), now));
        assert!(book.learn(address(2, "b.example.org"), NodeId([5; 20]), now));
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
        let source = NodeId([5; 20]);
        assert!(!book.learn(address(1, "127.0.0.1"), source, now), "private");
        assert!(!book.learn(address(0, "a.example.org"), source, now), "ourselves");
        for n in 1..=255u8 {
            book.learn(address(n, "a.example.org"), source, now);
        }
        assert_eq!(book.len(), BOOK_ADDRESSES_PER_SOURCE_MAX);
        let id = NodeId([1; 20]);
        for _ in 0..LEARNED_ATTEMPTS_MAX {
            book.begin(&id, now);
            book.on_failed(&id);
        }
        assert_eq!(book.len(), BOOK_ADDRESSES_PER_SOURCE_MAX - 1);
    }

    #[test]
    fn the_file_keeps_learned_addresses_only() {
        let folder = tempfile::tempdir().unwrap();
        let (path, now) = (folder.path().join("addrbook.json"), Instant::now());
        let mut old = book(|c| c.persistent_peers = vec![address(1, "10.0.0.1")], now);
        assert_eq!(old.take_json(), None);
        old.learn(address(2, "b.example.org"), NodeId([5; 20]), now);
        save(&path, &old.take_json().unwrap()).unwrap();
        assert_eq!(old.take_json(), None, "unchanged");
        let mut new = book(|_| (), now);
        new.load(&path, now).unwrap();
        assert_eq!(new.due(now, 9, |_| false).0, [address(2, "b.example.org")]);
        new.load(&folder.path().join("missing"), now).unwrap();
        assert_eq!(new.len(), 1);
        std::fs::write(&path, "{\"addresses\": 7}").unwrap();
        assert!(new.load(&path, now).is_err());
    }
}
