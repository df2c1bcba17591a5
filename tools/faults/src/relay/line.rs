//! A delay line: data that goes in comes out later, in the same order.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, RwLock},
    time::{Duration, Instant},
};

use super::settings::Settings;

/// Maximum number of bytes in a line. When a line is full, the sender of a stream waits, as it does on a slow network,
/// and a datagram is lost. With a delay of 200 ms this allows 10 MB per second.
pub const LINE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Overhead of a piece in bytes, which is counted so that many small pieces are bounded too.
const PIECE_BYTES: usize = 64;

/// Settings that the lines of a link share.
#[derive(Default)]
pub struct Shared(RwLock<Settings>);

impl Shared {
    /// Creates a container with these settings.
    pub fn new(settings: Settings) -> Self {
        Self(RwLock::new(settings))
    }

    /// Returns a copy of the settings.
    pub fn get(&self) -> Settings {
        *self.0.read().expect("nothing panics while it holds the lock")
    }

    /// Replaces the settings. [`Line::wake`] must follow for the lines that wait.
    pub fn set(&self, settings: Settings) {
        *self.0.write().expect("nothing panics while it holds the lock") = settings;
    }
}

/// Computes when each piece is due from the time when it came: first a bottleneck of `rate`, then the delay.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Time at which the bottleneck is free again.
    free_at: Instant,
    /// Time at which the last piece is due.
    last_due: Instant,
    random: u64,
}

impl Pace {
    fn new(now: Instant, seed: u64) -> Self {
        Self { free_at: now, last_due: now, random: seed | 1 }
    }

    /// Returns when a piece that comes now is due, which is never before an earlier piece is.
    fn due(&mut self, now: Instant, bytes: usize, settings: &Settings) -> Instant {
        let passing = settings.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate as f64));
        self.free_at = self.free_at.max(now) + passing;
        let late = settings.jitter.mul_f64(self.chance());
        self.last_due = self.last_due.max(self.free_at + settings.delay + late);
        self.last_due
    }

    /// Returns a pseudo-random fraction from 0 to 1 (xorshift64).
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

struct Inner {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    pace: Pace,
    /// No more data will go in; what is in the line still comes out.
    is_ended: bool,
    /// No data comes out any more.
    is_broken: bool,
}

/// A delay line for one direction of a connection. One thread puts data in, another takes it out.
pub struct Line {
    inner: Mutex<Inner>,
    changed: Condvar,
    settings: Arc<Shared>,
}

impl Line {
    /// Creates an empty line. `seed` determines its jitter.
    pub fn new(settings: Arc<Shared>, seed: u64) -> Self {
        let pace = Pace::new(Instant::now(), seed);
        let inner = Inner { pieces: VecDeque::new(), bytes: 0, pace, is_ended: false, is_broken: false };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), settings }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the lock")
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.changed.wait(inner).expect("nothing panics while it holds the lock")
    }

    /// Puts in a part of a stream, and waits while the line is full. Returns false if the line was broken off.
    pub fn push(&self, bytes: Vec<u8>) -> bool {
        let came = Instant::now();
        let mut inner = self.lock();
        while !inner.is_broken && !inner.has_room(bytes.len()) {
            inner = self.wait(inner);
        }
        self.put(&mut inner, came, bytes)
    }

    /// Puts in a datagram. Returns false if it is lost, because the link is cut or the line is full or broken off.
    pub fn offer(&self, bytes: Vec<u8>) -> bool {
        let came = Instant::now();
        let mut inner = self.lock();
        !self.settings.get().is_cut && inner.has_room(bytes.len()) && self.put(&mut inner, came, bytes)
    }

    fn put(&self, inner: &mut Inner, came: Instant, bytes: Vec<u8>) -> bool {
        if inner.is_broken {
            return false;
        }
        let due = inner.pace.due(came, bytes.len(), &self.settings.get());
        inner.bytes += cost(bytes.len());
        inner.pieces.push_back((due, bytes));
        self.changed.notify_all();
        true
    }

    /// Takes out the next part of a stream, when it is due and the link is not cut. Returns `None` at the end of the
    /// stream.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.next(true)
    }

    /// Takes out the next datagram when it is due; one that is due while the link is cut is lost. Returns `None` when
    /// no more will come.
    pub fn take_datagram(&self) -> Option<Vec<u8>> {
        loop {
            let bytes = self.next(false)?;
            if !self.settings.get().is_cut {
                return Some(bytes);
            }
        }
    }

    fn next(&self, waits_while_cut: bool) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        loop {
            if inner.is_broken {
                return None;
            }
            let is_held = waits_while_cut && self.settings.get().is_cut;
            let now = Instant::now();
            let due = inner.pieces.front().map(|(due, _)| *due);
            match due {
                _ if is_held => inner = self.wait(inner),
                None if inner.is_ended => return None,
                None => inner = self.wait(inner),
                Some(due) if due > now => {
                    let waited = self.changed.wait_timeout(inner, due - now);
                    inner = waited.expect("nothing panics while it holds the lock").0;
                }
                Some(_) => {
                    let (_, bytes) = inner.pieces.pop_front().expect("it was there a moment ago");
                    inner.bytes -= cost(bytes.len());
                    self.changed.notify_all();
                    return Some(bytes);
                }
            }
        }
    }

    /// Waits while the link is cut. Returns false if the line was broken off.
    pub fn wait_until_healed(&self) -> bool {
        let mut inner = self.lock();
        while !inner.is_broken && self.settings.get().is_cut {
            inner = self.wait(inner);
        }
        !inner.is_broken
    }

    /// Returns true if no data comes out any more.
    pub fn is_broken(&self) -> bool {
        self.lock().is_broken
    }

    /// Wakes the threads that wait, after the settings have changed.
    pub fn wake(&self) {
        // Without the lock, a thread that has checked the settings and does not wait yet would miss the notification.
        let _inner = self.lock();
        self.changed.notify_all();
    }

    /// Marks the end of the data: no more will go in.
    pub fn end(&self) {
        self.lock().is_ended = true;
        self.changed.notify_all();
    }

    /// Breaks the line off: the data in it is dropped, and none comes out any more.
    pub fn break_off(&self) {
        let mut inner = self.lock();
        inner.is_broken = true;
        inner.pieces.clear();
        inner.bytes = 0;
        self.changed.notify_all();
    }
}

impl Inner {
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes + cost(bytes) <= LINE_BYTES_MAX
    }
}

fn cost(bytes: usize) -> usize {
    bytes + PIECE_BYTES
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn line(settings: Settings) -> (Arc<Line>, Arc<Shared>) {
        let shared = Arc::new(Shared::new(settings));
        (Arc::new(Line::new(shared.clone(), 7)), shared)
    }

    #[test]
    fn a_piece_is_due_after_the_bottleneck_and_the_delay() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, 1);
        let settings = Settings { delay: ms(50), rate: Some(1_000_000), ..Settings::default() };
        let at = |due: Instant| (due - begin).as_millis();
        assert_eq!(at(pace.due(begin, 10_000, &settings)), 60);
        assert_eq!(at(pace.due(begin, 10_000, &settings)), 70, "behind the first");
        assert_eq!(at(pace.due(begin + ms(500), 0, &settings)), 550, "the bottleneck is free again");
        let faster = Settings::default();
        assert_eq!(at(pace.due(begin + ms(501), 1, &faster)), 550, "order is kept when the delay falls");
        assert_eq!(at(pace.due(begin + ms(600), 1, &faster)), 600);
    }

    #[test]
    fn jitter_adds_and_keeps_the_order() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, 1);
        let settings = Settings { delay: ms(50), jitter: ms(20), ..Settings::default() };
        let late: Vec<Duration> =
            (0..100).map(|n| pace.due(begin + ms(100 * n), 1, &settings) - (begin + ms(100 * n))).collect();
        assert!(late.iter().all(|late| (ms(50)..=ms(70)).contains(late)), "{late:?}");
        assert!(late.iter().min() < Some(&ms(53)) && late.iter().max() > Some(&ms(67)), "{late:?}");
        let dues: Vec<Instant> = (0..100).map(|n| pace.due(begin + ms(20_000 + n), 1, &settings)).collect();
        assert!(dues.is_sorted());
    }

    #[test]
    fn a_full_line_loses_datagrams_and_makes_streams_wait() {
        let (line, shared) = line(Settings { delay: ms(60_000), ..Settings::default() });
        let taken = (0..100).filter(|_| line.offer(vec![0; 50_000])).count();
        assert_eq!(taken, LINE_BYTES_MAX / cost(50_000));
        let pushing = {
            let line = line.clone();
            thread::spawn(move || line.push(vec![0; 50_000]))
        };
        assert!(!line.offer(vec![0; 50_000]), "there is no room");
        line.break_off();
        assert!(!pushing.join().unwrap(), "and the stream's sender gets an error");
        assert!(!line.offer(vec![]) && line.take().is_none());
        shared.set(Settings::default());
    }

    #[test]
    fn small_pieces_are_bounded_too() {
        let (line, _) = line(Settings { delay: ms(60_000), ..Settings::default() });
        let taken = (0..1_000_000).take_while(|_| line.offer(vec![])).count();
        assert_eq!(taken, LINE_BYTES_MAX / PIECE_BYTES);
    }

    #[test]
    fn cut_a_stream_waits_and_a_datagram_is_lost() {
        let (line, shared) = line(Settings { is_cut: true, ..Settings::default() });
        assert!(!line.offer(vec![1]));
        assert!(line.push(vec![2]));
        line.end();
        let taking = {
            let line = line.clone();
            thread::spawn(move || [line.take(), line.take()])
        };
        shared.set(Settings::default());
        line.wake();
        assert_eq!(taking.join().unwrap(), [Some(vec![2]), None]);
    }

    #[test]
    fn a_datagram_that_falls_due_while_cut_is_lost() {
        let (line, shared) = line(Settings { delay: ms(1), ..Settings::default() });
        assert!(line.offer(vec![1]));
        shared.set(Settings { is_cut: true, ..Settings::default() });
        line.end();
        assert_eq!(line.take_datagram(), None);
    }
}
