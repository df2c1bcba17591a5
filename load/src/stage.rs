//! One stage: load at one rate, or with one number of transactions under way.
//!
//! ```text
//!   begin         from                         to              end
//!     |-- warm-up --|--------- measured ---------|-- cool-down --|- - - until nothing is open, or timed out - - >
//! ```
//! In an open loop the pacer knows when each transaction is due and never waits for an answer. What it sends too late for its own
//! reasons is part of the latency, and told besides. What is due within a [`TICK`] may share a request; then the senders of one
//! request follow each other, and each sender always takes the same connection, so that its nonces keep their order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    Event, LoadError, Plan,
    pacing::Times,
    recipe::Kind,
    run::Watch,
    submit::Lane,
    supply::Supply,
    tally::Tally,
    tracker::{Due, Tracker},
    usage::{Meters, Reading},
};

/// Transactions due within this share a request, so that their number is bounded at any rate: each costs more than what is in it,
/// here and at the node. Waiting for the last of them is part of the latency.
pub const TICK: Duration = Duration::from_millis(4);
/// From the start of a stage to the first transaction.
const RUN_UP: Duration = Duration::from_millis(20);
/// The pacer looks at least this often whether it is to stop.
const NAP_MAX: Duration = Duration::from_millis(50);
/// How often the screen is told, and time-outs are looked for.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// How often it is looked whether all is done, after the last was sent.
const DRAIN_PERIOD: Duration = Duration::from_millis(10);
/// Transactions taken in one go when the pacer is behind.
const BURST_MAX: u64 = 10_000;

/// How a stage loads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many a second.
    Open {
        /// Transactions a second.
        rate: f64,
    },
    /// So many wait for their commit.
    Closed {
        /// Transactions.
        window: u64,
    },
}

/// What a stage needs.
pub struct Stage<'a> {
    /// The run's plan.
    pub plan: &'a Plan,
    /// Where transactions come from.
    pub supply: &'a mut Supply,
    /// Where they go.
    pub lanes: &'a mut [Lane],
    /// What becomes of them.
    pub tracker: &'a Tracker,
    /// Calls in a request that all nodes take.
    pub batch: usize,
    /// Who tells of processor time.
    pub meters: &'a mut Meters,
}

/// What came of it.
pub struct Outcome {
    /// Counts.
    pub tally: Tally,
    /// Processor time at the beginning and at the end of the measured part.
    pub usage: [Reading; 2],
    /// The supply was used up before the time was.
    pub ran_out: bool,
}

impl Stage<'_> {
    /// Runs it to its end, or until it is stopped.
    pub fn run(self, load: Load, watch: &mut Watch<'_>) -> Result<Outcome, LoadError> {
        let Self { plan, supply, lanes, tracker, batch, meters } = self;
        let clock = tracker.clock();
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let begin = clock.now() + nanos(RUN_UP);
        let from = begin.saturating_add(nanos(plan.warm_up));
        let to = plan.duration.map_or(u64::MAX, |duration| from.saturating_add(nanos(duration)));
        let end = to.saturating_add(nanos(plan.cool_down));
        tracker.begin(begin, from, to);
        let base = tracker.next_number().wrapping_sub(supply.position());
        let stop = watch.stop;
        let nodes = plan.nodes.len();
        let pacer = Pacer { supply, lanes, nodes, tracker, batch, base, due: Vec::new(), begin, end, stop };
        let (mut first, mut second): (Option<Reading>, Option<Reading>) = (None, None);
        let paced = thread::scope(|scope| {
            let pacing = thread::Builder::new().name("load-pace".to_owned()).spawn_scoped(scope, || match load {
                Load::Open { rate } => pacer.open(Times::new(plan.arrivals, rate, plan.seed), rate),
                Load::Closed { window } => pacer.closed(window),
            });
            let pacing = pacing.map_err(|error| LoadError::System { what: "a thread", error })?;
            let mut look_at = 0;
            loop {
                let now = clock.now();
                if first.is_none() && now >= from {
                    first = Some(meters.read(now));
                }
                let is_over = pacing.is_finished();
                if second.is_none() && (now >= to || is_over) {
                    tracker.end_measuring();
                    second = Some(meters.read(now.min(clock.now())));
                }
                if now >= look_at {
                    let open = tracker.expire();
                    tracker.news().iter().for_each(|news| watch.note(news));
                    watch.see(&Event::Live(tracker.live()));
                    look_at = now + nanos(LOOK_PERIOD);
                    if is_over && open == 0 {
                        break;
                    }
                }
                if is_over {
                    if tracker.expire() == 0 {
                        break;
                    }
                    thread::sleep(DRAIN_PERIOD);
                    continue;
                }
                let edge = if first.is_none() { from } else { to };
                let until = look_at.min(if second.is_none() { edge } else { u64::MAX });
                thread::sleep(
                    Duration::from_nanos(until.saturating_sub(now)).clamp(Duration::from_millis(1), LOOK_PERIOD),
                );
            }
            pacing.join().expect("the pacer does not panic")
        });
        let ran_out = paced?;
        tracker.with_tally(|tally| tally.close_seconds(u64::MAX));
        let tally = tracker.begin(u64::MAX, u64::MAX, u64::MAX);
        let first = first.unwrap_or_default();
        let second = second.unwrap_or_else(|| first.clone());
        Ok(Outcome { tally, usage: [first, second], ran_out })
    }
}

/// Sends what is due when it is due.
struct Pacer<'a> {
    supply: &'a mut Supply,
    lanes: &'a mut [Lane],
    /// How many nodes the lanes lead to, in turn.
    nodes: usize,
    tracker: &'a Tracker,
    batch: usize,
    /// What to add (modulo 2^64) to a supply's numbers for the tracker's.
    base: u64,
    /// Taken from the supply, not told to the tracker yet.
    due: Vec<Due>,
    begin: u64,
    end: u64,
    stop: &'a AtomicBool,
}

impl Pacer<'_> {
    /// At a rate. Tells whether the supply was used up.
    fn open(mut self, mut times: Times, rate: f64) -> Result<bool, LoadError> {
        let run = ((rate * TICK.as_secs_f64()) as u64).clamp(1, self.batch as u64);
        // Waiting for the last of a run, all of it shares a request.
        let patience = ((run - 1) as f64 / rate * 1e9) as u64;
        let mut next = self.begin + times.next();
        while next < self.end && !self.is_stopped() {
            if !self.sleep_until(next + patience) {
                break;
            }
            let now = self.tracker.clock().now();
            let mut burst = 0;
            while next <= now && next < self.end && burst < BURST_MAX {
                if self.take(next, run)?.is_none() {
                    self.send_all();
                    return Ok(true);
                }
                next = self.begin + times.next();
                burst += 1;
            }
            self.send_all();
        }
        Ok(false)
    }

    /// With so many under way. Tells whether the supply was used up.
    fn closed(mut self, window: u64) -> Result<bool, LoadError> {
        let run = (window / 8).clamp(1, self.batch as u64);
        self.sleep_until(self.begin);
        loop {
            let now = self.tracker.clock().now();
            if now >= self.end || self.is_stopped() {
                return Ok(false);
            }
            let mut room = self.tracker.wait_for_room(window + 1 - run, NAP_MAX).saturating_add(run - 1);
            if room < run {
                self.send_all(); // what sockets did not take
                continue;
            }
            let now = self.tracker.clock().now();
            while room > 0 {
                let Some(kind) = self.take(now, run)? else {
                    self.send_all();
                    return Ok(true);
                };
                room -= u64::from(kind == Kind::Valid);
            }
            self.send_all();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// False: stopped meanwhile.
    fn sleep_until(&self, at: u64) -> bool {
        loop {
            let now = self.tracker.clock().now();
            if now >= at {
                return true;
            }
            if self.is_stopped() {
                return false;
            }
            thread::sleep(Duration::from_nanos(at - now).min(NAP_MAX));
        }
    }

    /// Takes the next transaction, due at `at`, into a request. `None`: there is none left.
    fn take(&mut self, at: u64, run: u64) -> Result<Option<Kind>, LoadError> {
        let Some((number, record)) = self.supply.next()? else { return Ok(None) };
        let kind = record.kind;
        let turn = if kind == Kind::Valid { u64::from(record.sender) } else { number };
        let lane = (turn / run % self.lanes.len() as u64) as usize;
        let number = number.wrapping_add(self.base);
        // Another one while this one is broken.
        let lanes = self.lanes.len();
        let open = (0..lanes)
            .map(|next| (lane + next) % lanes)
            .find(|lane| self.lanes[*lane].len() > 0 || self.lanes[*lane].is_open());
        let lane = open.unwrap_or(lane);
        // Neighbours in the list are connections to different nodes.
        let node = lane % self.nodes;
        self.due.push(Due { at, key: record.key, kind, node });
        self.lanes[lane].push(number, record.call);
        if self.lanes[lane].len() >= self.batch {
            self.tell();
            self.send(lane);
        }
        Ok(Some(kind))
    }

    /// The tracker knows of a transaction before any node does.
    fn tell(&mut self) {
        if !self.due.is_empty() {
            self.tracker.add(&self.due);
            self.due.clear();
        }
    }

    fn send(&mut self, lane: usize) {
        if let Err(numbers) = self.lanes[lane].send(self.base) {
            self.tracker.unsent(&numbers);
        }
    }

    fn send_all(&mut self) {
        self.tell();
        (0..self.lanes.len()).for_each(|lane| self.send(lane));
    }
}
